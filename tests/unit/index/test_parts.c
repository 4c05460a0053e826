/* test_parts.c - a graph of several sealed parts: recall beside a graph of one, deletion, reuse, filters, publish and open, damage, and
 * searches while parts are sealed. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/os.h"
#include "base/thread.h"
#include "index_fixture.h"

enum { N = 6000, DIM = 24, K = 10 };
static char dir[64];
static int dirfd_;

static struct index_cfg parts_cfg(uint64_t bytes)
{
	return (struct index_cfg){.threads = 4, .os = os_real(), .dirfd = dirfd_, .part_bytes = bytes};
}
static uint32_t parts_of(const struct index *ix)
{
	struct index_stats s;
	index_stats(ix, &s);
	return s.parts;
}
static uint32_t *numbers(uint32_t n)
{
	uint32_t *ids = malloc(n * sizeof(*ids));
	for (uint32_t i = 0; i < n; i++)
		ids[i] = i;
	return ids;
}
static double one_graph(struct fix *f, struct gen *g, const uint32_t *ids)
{
	struct index *ix;
	struct index_cfg cfg = {.threads = 4};
	T_EQ(index_new(&f->rows, &cfg, &ix), 0, "one graph");
	T_EQ(index_build(ix, ids, N, 2, NULL), 0, "built");
	struct recall r = fix_recall(f, g, ix, K, 48, 200, NULL);
	index_free(ix);
	return r.recall;
}
static void some(struct fix *f, struct gen *g, struct index *ix, double whole, const char *what)
{
	struct row_bits few = {.w = calloc(N / 64 + 1, 8), .n = N};
	for (uint32_t i = 0; i < N; i += 3)
		few.w[i >> 6] |= 1ull << (i & 63);
	struct recall r = fix_recall(f, g, ix, K, 48, 200, NULL), h = fix_recall(f, g, ix, K, 48, 100, &few);
	T_OK(!r.failed && !r.short_ && !r.wrong && r.recall >= whole - 0.01,
	        "%s: recall %.4f of parts, %.4f of one graph", what, r.recall, whole);
	T_OK(!h.failed && !h.short_ && !h.wrong && h.recall >= fmin(0.95, whole), "%s: filtered %.4f", what, h.recall);
	free((void *)few.w);
}
/* the answers of the same queries, one after the other */
static void answers(struct fix *f, struct index *ix, const float *q, uint32_t n, struct index_hit *ret)
{
	for (uint32_t i = 0; i < n; i++) {
		struct index_query e = {.q = q + (size_t)i * DIM, .k = K, .ef = 48, .live = &f->live};
		if (index_search(ix, &e, ret + (size_t)i * K) != K)
			T_OK(0, "query %u: not %u hits", i, (unsigned)K);
	}
}
/* codes of cold parts in memory: the same answers to the bit, held, half read, given up for a limit, and released */
static void held(struct fix *f, struct gen *g, struct index *ix, bool has_codes)
{
	enum { Q = 60 };
	static float q[Q * DIM];
	static struct index_hit a[Q * K], b[Q * K];
	struct index_stats s;
	uint64_t before = mem_used(MEM_index);
	int steps = 0, rc;
	for (uint32_t i = 0; i < Q; i++)
		gen_vec(g, f, q + (size_t)i * DIM);
	answers(f, ix, q, Q, a);
	while ((rc = index_hold_step(ix)) == 1)
		steps++;
	index_stats(ix, &s);
	/* but for the last part or two, over few of many rows: what was put anew */
	uint32_t most = s.parts_held;
	T_OK(!rc && (has_codes ? most >= 2 && most < s.parts : !most) && steps >= (int)most,
	        "codes of %u of %u parts held", most, s.parts);
	T_OK((mem_used(MEM_index) > before) == has_codes, "which takes memory");
	answers(f, ix, q, Q, b);
	T_OK(!memcmp(a, b, sizeof(a)), "the same answers");
	if (!has_codes)
		return;
	mem_limit_set(mem_used_all() + 4096);
	T_OK(index_hold_due(ix) && index_hold_step(ix) == 0, "memory is short");
	index_stats(ix, &s);
	T_OK(s.parts_held < most && !index_hold_due(ix), "%u of %u parts still held", s.parts_held, s.parts);
	answers(f, ix, q, Q, b);
	T_OK(!memcmp(a, b, sizeof(a)), "the same answers, some parts cold");
	index_hold_release(ix);
	T_EQ(mem_used(MEM_index), before, "all is given back");
	mem_limit_set(0);
	T_EQ(index_hold_step(ix), 1, "and read again");
	mem_limit_set(1);
	T_OK(!mem_alloc(MEM_index, 4096), "somebody is refused memory");
	mem_limit_set(0);
	T_OK(index_hold_due(ix) && index_hold_step(ix) == 0 && index_hold_step(ix) == 0,
	        "given up, and not taken again");
	T_EQ(mem_used(MEM_index), before, "also what was half read");
	answers(f, ix, q, Q, b);
	T_OK(!memcmp(a, b, sizeof(a)), "the same answers, all cold");
}
/* one kind of vectors: built in parts, some deleted, some put anew, published, opened */
static void kind(uint8_t dtype, uint8_t metric, uint8_t codes, uint64_t seed)
{
	struct fix f;
	struct gen g;
	struct index *ix;
	struct index_report rep;
	char what[64];
	snprintf(what, sizeof(what), "dtype %u metric %u codes %u", dtype, metric, codes);
	fix_init(&f, DIM, dtype, metric, N, seed);
	gen_init(&g, &f, DIM);
	fix_fill(&f, &g, 0, N);
	uint32_t *ids = numbers(N);
	double whole = one_graph(&f, &g, ids);
	struct index_cfg cfg = parts_cfg(1500 * 180);
	cfg.codes = codes;
	T_EQ(index_new(&f.rows, &cfg, &ix), 0, what);
	int rc = 0;
	for (uint32_t at = 0; at < N && !rc; at += 1000)
		rc = index_build(ix, ids + at, 1000, 2, NULL);
	T_EQ(rc, 0, "built, a thousand at a time");
	uint32_t parts = parts_of(ix);
	T_OK(parts >= 2, "%s: %u parts were sealed", what, parts);
	T_EQ(index_count(ix), N, "all are linked");
	T_EQ(index_check(ix, &rep), 0, "clean");
	T_EQ(rep.nodes, N, "each once");
	some(&f, &g, ix, whole, what);

	/* every fifth goes; half of those come back as other vectors */
	uint32_t gone = 0;
	for (uint32_t i = 0; i < N; i += 5) {
		fix_live(&f, i, 0);
		gone += !index_delete(ix, i);
	}
	T_EQ(gone, N / 5, "rows are taken out");
	T_EQ(index_count(ix), N - gone, "fewer");
	T_EQ(index_delete(ix, 0), -ENOENT, "once only");
	for (uint32_t i = 0; i < N; i += 10) {
		fix_fill(&f, &g, i, i + 1);
		gone -= !index_insert(ix, i);
	}
	T_EQ(index_count(ix), N - gone, "others in their place");
	T_OK(index_linked(ix, 0) && !index_linked(ix, 5), "row 0 is, row 5 is not");
	T_EQ(fix_bits_wrong(ix, N / 64 + 2), 0, "all rows at once say the same as each");
	some(&f, &g, ix, whole, "after churn");
	T_EQ(index_check(ix, &rep), 0, "clean after churn");

	T_EQ(index_publish(ix, os_real(), dirfd_, "g", 7), 0, "publish");
	index_free(ix);
	for (int cold = 0; cold < 2; cold++) {
		uint64_t gen;
		cfg.part_bytes = cold ? 1500 * 180 : 0;
		T_EQ(index_open(&f.rows, &cfg, os_real(), dirfd_, "g", &gen, &ix), 0,
		        cold ? "open, cold" : "open, mapped");
		T_OK(gen == 7 && parts_of(ix) >= parts && index_count(ix) == N - gone, "generation, parts, count");
		T_OK(index_linked(ix, 0) && !index_linked(ix, 5), "row 0 is, row 5 is not");
		T_EQ(fix_bits_wrong(ix, N / 64 + 2), 0, "all rows at once say the same as each");
		some(&f, &g, ix, whole, cold ? "opened cold" : "opened mapped");
		T_EQ(index_check(ix, &rep), 0, "clean");
		if (cold)
			held(&f, &g, ix, codes != INDEX_CODES_F32);
		T_EQ(index_insert(ix, 5), 0, "goes on");
		fix_live(&f, 5, 1);
		some(&f, &g, ix, whole, "after an insert");
		T_EQ(index_delete(ix, 5), 0, "and back");
		fix_live(&f, 5, 0);
		index_free(ix);
	}
	free(ids);
	gen_done(&g);
	fix_done(&f);
}
/* any byte of the file changed: an error, or right answers */
static void damage(uint64_t seed)
{
	struct fix f;
	struct gen g;
	struct index *ix;
	uint32_t wrong = 0, failed = 0, refused = 0, fine = 0;
	fix_init(&f, DIM, VXD_f32, VXM_l2, N, seed);
	gen_init(&g, &f, DIM);
	fix_fill(&f, &g, 0, 2000);
	atomic_store(&f.rows.n, 2000);
	uint32_t *ids = numbers(2000);
	struct index_cfg cfg = parts_cfg(600 * 180);
	T_EQ(index_new(&f.rows, &cfg, &ix), 0, "new");
	int rc = 0;
	for (uint32_t at = 0; at < 2000 && !rc; at += 500)
		rc = index_build(ix, ids + at, 500, 1, NULL);
	T_EQ(rc, 0, "built");
	T_EQ(index_publish(ix, os_real(), dirfd_, "d", 1), 0, "publish");
	index_free(ix);
	int fd = openat(dirfd_, "d", O_RDWR);
	struct stat st;
	fstat(fd, &st);
	for (int i = 0; i < 150; i++) {
		off_t at = i < 40 ? i * 4 : (off_t)(fix_rand(&f) % (uint64_t)st.st_size);
		uint8_t was, now;
		uint64_t gen;
		if (pread(fd, &was, 1, at) != 1)
			continue;
		now = (uint8_t)(was ^ (1u << (i % 8)));
		rc |= pwrite(fd, &now, 1, at) != 1;
		cfg.part_bytes = i % 2 ? 600 * 180 : 0;
		if (index_open(&f.rows, &cfg, os_real(), dirfd_, "d", &gen, &ix)) {
			refused++;
		} else {
			for (int more = i % 3;
			        more > 0;) /* codes from memory meet the damage when they are read into it */
				more = index_hold_step(ix);
			struct recall r = fix_recall(&f, &g, ix, K, 48, 5, NULL);
			wrong += r.wrong;
			failed += r.failed != 0;
			fine += !r.failed;
			index_free(ix);
		}
		rc |= pwrite(fd, &was, 1, at) != 1;
	}
	close(fd);
	T_EQ(rc, 0, "bytes changed and put back");
	T_OK(!wrong && refused > 30,
	        "%u refused, %u noticed under way, %u not touched by the searches; no wrong distance", refused, failed,
	        fine);
	free(ids);
	gen_done(&g);
	fix_done(&f);
}

static struct fix cf;
static struct gen cg;
static struct index *cix;
static _Atomic int stop, bad;
static _Atomic uint64_t want, found;
static void reader(void *arg)
{
	struct fix mine = {.rng = 77 + (uint64_t)(uintptr_t)arg};
	float q[DIM];
	struct index_hit a[K], b[K];
	while (!atomic_load(&stop)) {
		gen_vec(&cg, &mine, q);
		struct index_query e = {.q = q, .k = K, .ef = 48, .live = &cf.live};
		int n = flat_search(&cf.rows, &e, a), m = index_search(cix, &e, b);
		atomic_fetch_add(&bad, n != K || m != K);
		for (int i = 0; i < m && i < K; i++)
			atomic_fetch_add(&found, b[i].distance <= a[K - 1].distance * (1 + 1e-6f));
		atomic_fetch_add(&want, K);
	}
}
/* the first rows are live and asked for, the later ones only linked, so that the exact answer stands still */
static void at_once(uint64_t seed)
{
	static struct thread t[2];
	fix_init(&cf, DIM, VXD_f32, VXM_l2, N, seed);
	gen_init(&cg, &cf, DIM);
	fix_fill(&cf, &cg, 0, N);
	for (uint32_t i = 1000; i < N; i++)
		fix_live(&cf, i, 0);
	struct index_cfg cfg = parts_cfg(800 * 180);
	uint32_t *ids = numbers(N);
	T_EQ(index_new(&cf.rows, &cfg, &cix), 0, "new");
	T_EQ(index_build(cix, ids, 1000, 1, NULL), 0, "what is asked for");
	for (uint32_t i = 0; i < 2; i++)
		T_EQ(thread_start(&t[i], "read", 128 << 10, reader, (void *)(uintptr_t)i), 0, "reader");
	int rc = 0;
	for (uint32_t i = 1000; i < N && !rc; i++) {
		rc = index_insert(cix, i);
		if (i % 50 == 0 && !rc && index_hold_step(cix) < 0)
			rc = -1;
		if (i % 700 == 0)
			index_hold_release(cix);
	}
	atomic_store(&stop, 1);
	for (uint32_t i = 0; i < 2; i++)
		thread_join(&t[i]);
	T_EQ(rc, 0, "the writer's work");
	T_OK(parts_of(cix) >= 4, "%u parts sealed beside searches", parts_of(cix));
	T_OK(!bad && want && (double)found >= 0.97 * (double)want, "recall meanwhile %.4f over %llu answers, %d short",
	        (double)found / (double)want, (unsigned long long)want / K, bad);
	index_free(cix);
	free(ids);
	gen_done(&cg);
	fix_done(&cf);
}
int main(void)
{
	uint64_t seed = tap_seed(41);
	snprintf(dir, sizeof(dir), "/tmp/vexfs-parts-XXXXXX");
	if (!mkdtemp(dir) || (dirfd_ = open(dir, O_RDONLY | O_DIRECTORY)) < 0)
		return 1;
#if !defined(__has_feature)
#define __has_feature(x) 0
#endif
#if !__has_feature(thread_sanitizer) /* which is to see the searches beside sealing, and takes minutes for the rest */
	kind(VXD_f32, VXM_l2, INDEX_CODES_AUTO, seed);
	kind(VXD_f32, VXM_cosine, INDEX_CODES_BF16, seed + 1);
	kind(VXD_f32, VXM_l1, INDEX_CODES_AUTO, seed + 2);
	kind(VXD_f32, VXM_dot, INDEX_CODES_F32, seed + 3);
	damage(seed + 4);
#else
	(void)kind;
	(void)damage;
#endif
	at_once(seed + 5);
	unlinkat(dirfd_, "g", 0);
	unlinkat(dirfd_, "d", 0);
	close(dirfd_);
	T_EQ(rmdir(dir), 0, "nothing else was left in the folder");
	T_EQ(mem_used(MEM_index) + mem_used(MEM_index_work), 0, "nothing is left allocated");
	return tap_done();
}
