/* fuzz_graph.c - libFuzzer target: a published graph of arbitrary content is an error or a right answer, never a crash or a hang.
 *
 * The first byte chooses the collection's kind, the rest is the file.  Checksums would keep the fuzzer at the door, so they are
 * made good before the file is opened (but for one input in four): what is tested is everything behind them: sizes, places,
 * links, levels, codes.  Opened, it is searched in every way, checked, made resident, changed and searched again.
 *
 *     tests/fuzz/run.py --only graph [--seconds N]   builds with clang, makes the seed corpus, runs */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/os.h"
#include "base/sbuf.h"
#include "index/index.h"

#define ROWS_N    300u
#define DIM       12u
#define PAGE      4096u
#define HEADER    152u /* struct file_header in hnsw_io.c */
#define AT_CRC_AT 120u
#define AT_BYTES  128u
#define AT_MORE   140u
#define AT_TABLE  144u
#define AT_HEADER 148u

static struct vec_rows rows;
static uint8_t *slots;
static struct row_bits live, some;
static int memfd = -1;
static struct os_ops ops;
static struct os os;

static const struct {
	uint8_t dtype, metric, codes;
} kinds[] = {{VXD_f32, VXM_l2, INDEX_CODES_SQ8}, {VXD_f32, VXM_cosine, INDEX_CODES_F32},
        {VXD_f32, VXM_dot, INDEX_CODES_BF16}, {VXD_i8, VXM_l1, INDEX_CODES_AUTO},
        {VXD_binary, VXM_hamming, INDEX_CODES_AUTO}, {VXD_f16, VXM_cosine, INDEX_CODES_SQ8}};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static int open_mem(struct os *o, int dirfd, const char *path, int flags, mode_t mode)
{
	return path[0] == '.' ? -ENOENT : dup(memfd);
}
static int setup(unsigned k)
{
	uint64_t r = 88172645463325252ull;
	if (!slots) {
		slots = calloc(ROWS_N, 64);
		live.w = calloc(ROWS_N / 64 + 1, 8);
		some.w = calloc(ROWS_N / 64 + 1, 8);
		live.n = some.n = ROWS_N;
		ops = *os_real()->ops;
		ops.openat = open_mem;
		os.ops = &ops;
	}
	rows.dim = kinds[k].dtype == VXD_binary ? 96 : DIM;
	rows.stride = 64;
	rows.dtype = kinds[k].dtype;
	rows.metric = kinds[k].metric;
	for (uint32_t i = 0; i < ROWS_N; i++) {
		for (uint32_t j = 0; j < DIM; j++) {
			r ^= r << 13;
			r ^= r >> 7;
			r ^= r << 17;
			float x = (float)(int64_t)r * 0x1p-63f + 0.1f;
			uint8_t *v = slots + i * 64;
			if (rows.dtype == VXD_f32)
				memcpy(v + 4 * j, &x, 4);
			else if (rows.dtype == VXD_f16)
				v[2 * j + 1] = (uint8_t)(0x30 | (r >> 50 & 0x8f)), v[2 * j] = (uint8_t)r;
			else
				v[j] = (uint8_t)(r >> 40);
		}
		live.w[i >> 6] |= 1ull << (i & 63);
		if (i % 3)
			some.w[i >> 6] |= 1ull << (i & 63);
	}
	atomic_store(&rows.base[0], slots);
	atomic_store(&rows.n, ROWS_N);
	return 0;
}
static void checksums_of_image(uint8_t *b, size_t n)
{
	uint64_t crc_at = n >= HEADER ? le64_get(b + AT_CRC_AT) : 0;
	if (n >= PAGE && crc_at >= PAGE && crc_at % PAGE == 0 && crc_at < n) {
		for (uint64_t p = 1; p < crc_at / PAGE; p++)
			if (crc_at + p * 4 <= n)
				le32_put(b + crc_at + (p - 1) * 4, crc32c(0, b + p * PAGE, PAGE));
		le32_put(b + AT_TABLE, crc32c(0, b + crc_at, n - crc_at));
	}
	if (n >= HEADER)
		le32_put(b + AT_HEADER, crc32c(0, b, AT_HEADER));
}
static void checksums(uint8_t *b, size_t n)
{
	for (size_t at = 0; at < n && n - at >= HEADER;) {
		uint64_t bytes = le64_get(b + at + AT_BYTES);
		bool more = le32_get(b + at + AT_MORE) == 1 && bytes && bytes < n - at;
		checksums_of_image(b + at, more ? (size_t)bytes : n - at);
		if (!more)
			return;
		at += (size_t)bytes;
	}
}
static void use(struct index *ix)
{
	struct index_hit hit[ROWS_N];
	uint32_t tail[3] = {1, 5, ROWS_N - 1};
	for (uint32_t i = 0; i < 6; i++) {
		struct index_query q = {.q = slots + 64 * (i * 37),
		        .k = i & 1 ? 10 : 200,
		        .ef = i & 2 ? 200 : 16,
		        .live = &live,
		        .filter = i & 4 ? &some : NULL,
		        .extra = tail,
		        .extra_n = i & 1 ? 3 : 0};
		int n = index_search(ix, &q, hit);
		for (int j = 0; j < n; j++)
			if (hit[j].row >= ROWS_N || (j && hit[j].distance < hit[j - 1].distance))
				abort();
	}
}
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct index *ix;
	struct index_report rep;
	uint64_t generation;
	if (size < 2)
		return 0;
	setup(data[0] % KINDS);
	uint8_t *b = malloc(size - 1);
	memcpy(b, data + 1, size - 1);
	if (data[0] < 192)
		checksums(b, size - 1);
	memfd = memfd_create("graph", MFD_CLOEXEC);
	if (memfd < 0 || write(memfd, b, size - 1) != (ssize_t)(size - 1))
		abort();
	struct index_cfg cfg = {.os = &os, .dirfd = AT_FDCWD, .part_bytes = data[0] & 1 ? 2000 : 0};
	if (index_open(&rows, &cfg, &os, AT_FDCWD, "g", &generation, &ix) == 0) {
		use(ix);
		while (index_hold_step(ix) == 1)
			;
		use(ix);
		(void)index_check(ix, &rep); /* any verdict */
		if (index_resident(ix) == 0) {
			/* what was let into memory is sound, so changes must work and keep it sound */
			use(ix);
			for (uint32_t i = 0; i < 12; i++) {
				uint32_t row = (i * 101) % ROWS_N;
				if (index_linked(ix, row) ? index_delete(ix, row) : index_insert(ix, row))
					abort();
			}
			use(ix);
			(void)index_check(ix, &rep);
			if (rep.out_of_bounds || rep.bad_level)
				abort();
		}
		index_free(ix);
	}
	close(memfd);
	free(b);
	return 0;
}
#ifdef MAKE_CORPUS
#include <stdio.h>
int main(int argc, char **argv)
{
	int dir = open(argv[1], O_RDONLY | O_DIRECTORY);
	for (unsigned at = 0; at < 2 * KINDS; at++) {
		/* each kind whole and in parts */
		unsigned k = at % KINDS;
		struct index_cfg cfg = {.codes = kinds[k].codes,
		        .M = 4,
		        .ef_construction = 20,
		        .os = os_real(),
		        .dirfd = dir,
		        .part_bytes = at < KINDS ? 0 : 1500};
		struct index *ix;
		char name[32], path[64];
		setup(k);
		if (dir < 0 || index_new(&rows, &cfg, &ix))
			return 1;
		for (uint32_t i = 0; i < (k ? 60 : ROWS_N); i++)
			if (index_insert(ix, i))
				return 1;
		snprintf(name, sizeof(name), "kind%u", at);
		snprintf(path, sizeof(path), "kind%u.raw", at);
		if (index_publish(ix, os_real(), dir, path, 1))
			return 1;
		index_free(ix);
		int from = openat(dir, path, O_RDONLY), to = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		uint8_t buf[65536], first = (uint8_t)k;
		if (write(to, &first, 1) != 1)
			return 1;
		for (ssize_t n; (n = read(from, buf, sizeof(buf))) > 0;)
			if (write(to, buf, (size_t)n) != n)
				return 1;
		close(from);
		close(to);
		unlinkat(dir, path, 0);
	}
	return 0;
}
#endif
