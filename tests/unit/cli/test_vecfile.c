/* test_vecfile.c - vector files: what is written is read back bit by bit; what is broken is refused with a sentence that names it. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf.h"
#include "base/sbuf.h"
#include "cli/cli.h"
#include "cli/vecfile.h"
#include "tap.h"

const struct cli_command *cli_command_by_name(const char *name)
{
	return NULL;
}

static char dir[64] = "/tmp/vexfs-vecfile-XXXXXX";

static const char *file(const char *name)
{
	return cli_fmt("%s/%s", dir, name);
}

static const char *put(const char *name, const void *p, size_t n)
{
	const char *path = file(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, p, n) != (ssize_t)n)
		T_OK(0, "the test's own file %s", path);
	close(fd);
	return path;
}

/* open and read to the end; the first error, or 0 */
static int whole(const char *path, uint64_t *ret_rows, const char **why)
{
	struct vecfile *f;
	struct vecfile_row r = {0};
	int rc = vecfile_open(path, &f, why);
	*ret_rows = 0;
	if (rc < 0)
		return rc;
	while ((rc = vecfile_next(f, &r, why)) > 0)
		++*ret_rows;
	vecfile_close(f);
	return rc;
}

static void round_trip(const char *name, uint32_t dim, unsigned rows)
{
	struct vecfile_out *o;
	struct vecfile *f;
	struct vecfile_row r = {0};
	const char *why = "";
	float *v = mem_alloc(MEM_cli, dim * sizeof *v);
	unsigned bad = 0, n = 0;
	T_EQ(vecfile_create(file(name), dim, &o, &why), 0, name);
	for (unsigned i = 0; i < rows; i++) {
		for (uint32_t d = 0; d < dim; d++)
			v[d] = (float)((double)i / 3.0 - (double)d * 1e-3);
		r = (struct vecfile_row){.n = i, .v = v, .dim = dim, .id = i, .has_id = true};
		bad += vecfile_put(o, &r) != 0;
	}
	T_EQ(vecfile_finish(o, true), 0, "finished");
	T_EQ(vecfile_open(file(name), &f, &why), 0, why);
	while (vecfile_next(f, &r, &why) > 0) {
		for (uint32_t d = 0; d < dim; d++)
			bad += r.v[d] != (float)((double)n / 3.0 - (double)d * 1e-3);
		bad += r.dim != dim || r.n != n;
		n++;
	}
	T_EQ(n, rows, "rows read back");
	T_EQ(bad, 0, "values that differ");
	vecfile_close(f);
	mem_free(MEM_cli, v);
}

static size_t npy(uint8_t *b, const char *descr, const char *shape, size_t data)
{
	memset(b, ' ', 128);
	memcpy(b, "\x93NUMPY\x01\x00", 8);
	le16_put(b + 8, 118);
	int n = snprintf((char *)b + 10, 110, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", descr, shape);
	b[10 + n] = ' ';
	b[127] = '\n';
	for (size_t i = 0; i < data; i++)
		b[128 + i] = (uint8_t)(i + 1);
	return 128 + data;
}

static void npy_types(void)
{
	static uint8_t b[4096];
	const char *why = "";
	float *v;
	uint32_t dim;
	size_t n = npy(b, "|u1", "(1, 3)", 3);
	T_EQ(vecfile_one(put("u1.npy", b, n), &v, &dim, &why), 0, "u1");
	T_OK(dim == 3 && v[0] == 1 && v[2] == 3, "u1 values: %g %g", (double)v[0], (double)v[2]);
	mem_free(MEM_cli, v);
	npy(b, ">f4", "(2,)", 0);
	memcpy(b + 128, "\x3f\x80\x00\x00\xc0\x00\x00\x00", 8);
	T_EQ(vecfile_one(put("be.npy", b, 136), &v, &dim, &why), 0, ">f4");
	T_OK(v[0] == 1 && v[1] == -2, "big-endian values: %g %g", (double)v[0], (double)v[1]);
	mem_free(MEM_cli, v);
	npy(b, "<f2", "(4,)", 0);
	memcpy(b + 128, "\x00\x3c\x00\xc0\x01\x00\xff\x7b", 8);
	T_EQ(vecfile_one(put("f2.npy", b, 136), &v, &dim, &why), 0, "<f2");
	T_OK(v[0] == 1 && v[1] == -2 && v[2] == 0x1p-24f && v[3] == 65504, "halves: %g %g %g %g", (double)v[0],
	        (double)v[1], (double)v[2], (double)v[3]);
	mem_free(MEM_cli, v);
	npy(b, "<i2", "(2,)", 0);
	memcpy(b + 128, "\xff\xff\x05\x00", 4);
	T_EQ(vecfile_one(put("i2.npy", b, 132), &v, &dim, &why), 0, "<i2");
	T_OK(v[0] == -1 && v[1] == 5, "signed values: %g %g", (double)v[0], (double)v[1]);
	mem_free(MEM_cli, v);
}

static void refused(const char *name, const void *p, size_t n, int want, const char *word)
{
	const char *why = "";
	uint64_t rows;
	T_EQ(whole(put(name, p, n), &rows, &why), want, name);
	T_OK(strstr(why, word), "%s: the sentence says \"%s\": %s", name, word, why);
}

static void bad_npy(void)
{
	static uint8_t b[4096];
	size_t n = npy(b, "<f4", "(2, 4)", 32);
	refused("short.npy", b, n - 1, -VX_ERR_truncated, "truncated");
	refused("head.npy", b, 60, -VX_ERR_truncated, "truncated");
	refused("not.npy", "hello there, no numpy", 21, -VX_ERR_bad_format, "not a .npy");
	npy(b, "<c8", "(2, 2)", 32);
	refused("complex.npy", b, n, -VX_ERR_bad_format, "type");
	npy(b, "<f4", "(2, 0)", 32);
	refused("zero.npy", b, n, -VX_ERR_bad_format, "dimensional");
	npy(b, "<f4", "(2, 65536)", 32);
	refused("wide.npy", b, n, -VX_ERR_bad_format, "dimensional");
	npy(b, "<f4", "(18446744073709551615, 4)", 32);
	refused("huge.npy", b, n, -VX_ERR_truncated, "truncated");
	npy(b, "<f4", "(2, 2, 2)", 32);
	refused("cube.npy", b, n, -VX_ERR_bad_format, "dimensional");
}

static void bad_fvecs(void)
{
	uint8_t b[64] = {0};
	for (int i = 0; i < 3; i++)
		le32_put(b + i * 12, 2);
	refused("short.fvecs", b, 35, -VX_ERR_truncated, "row 2");
	le32_put(b + 12, 3);
	refused("mixed.fvecs", b, 36, -VX_ERR_dim_mismatch, "row 1 has 3");
	le32_put(b, 0);
	refused("zero.fvecs", b, 36, -VX_ERR_bad_format, "0 dimensions");
	refused("empty.fvecs", b, 0, -VX_ERR_truncated, "empty");
}

static void jsonl(void)
{
	static const char good[] =
	        "{\"id\":7,\"vector\":[1,2.5]}\n\n  \n{\"path\":\"a/b\",\"vector\":[0,-1],\"payload\":{\"x\":1}}";
	struct vecfile *f;
	struct vecfile_row r = {0};
	const char *why = "";
	T_EQ(vecfile_open(put("good.jsonl", good, strlen(good)), &f, &why), 0, "opened");
	T_EQ(vecfile_next(f, &r, &why), 1, "the first line");
	T_OK(r.has_id && r.id == 7 && !r.path && r.dim == 2 && r.v[1] == 2.5f, "id %llu", (unsigned long long)r.id);
	T_EQ(vecfile_next(f, &r, &why), 1, "the line after blank ones");
	T_STR(r.path, "a/b", "path");
	T_STR(r.payload, "{\"x\":1}", "payload");
	T_OK(!r.has_id, "no id");
	T_EQ(vecfile_next(f, &r, &why), 0, "the end");
	vecfile_close(f);
#define L(s) s, strlen(s)
	refused("syntax.jsonl", L("{\"vector\":[1]}\n{\"vector\":[1\n"), -VX_ERR_json_syntax, "line 2");
	refused("key.jsonl", L("{\"vektor\":[1]}\n"), -VX_ERR_unknown_key, "vektor");
	refused("dims.jsonl", L("{\"vector\":[1]}\n{\"vector\":[1,2]}\n"), -VX_ERR_dim_mismatch, "line 2");
	refused("none.jsonl", L("{\"id\":1}\n"), -VX_ERR_missing_key, "vector");
	refused("both.jsonl", L("{\"id\":1,\"path\":\"x\",\"vector\":[1]}\n"), -VX_ERR_missing_key, "not both");
	refused("text.jsonl", L("{\"vector\":[\"a\"]}\n"), -VX_ERR_bad_value, "vector");
}

int main(void)
{
	cli_begin();
	if (!mkdtemp(dir))
		return 1;
	round_trip("a.npy", 7, 1000);
	round_trip("a.fvecs", 7, 1000);
	round_trip("a.jsonl", 7, 100);
	round_trip("wide2.npy", CONF_DIM_MAX, 3);
	round_trip("none2.npy", 4, 0);
	npy_types();
	bad_npy();
	bad_fvecs();
	jsonl();
	const char *why = "";
	float *v;
	uint32_t dim;
	T_EQ(vecfile_one(put("odd.f32", "abc", 3), &v, &dim, &why), -VX_ERR_dim_range, "raw f32 of 3 bytes");
	T_EQ(vecfile_one(put("v.json", "[1, 2, 3]", 9), &v, &dim, &why), 0, "a JSON array");
	T_EQ(dim, 3, "its dimension");
	mem_free(MEM_cli, v);
	unsigned before = (unsigned)mem_used(MEM_cli);
	arena_done(&cli_arena);
	T_OK(mem_used(MEM_cli) == 0, "heap left at the end: %llu of %u", (unsigned long long)mem_used(MEM_cli), before);
	char *cmd[] = {"rm", "-rf", dir, NULL};
	fflush(stdout);
	if (!fork()) {
		execvp(cmd[0], cmd);
		_exit(1);
	}
	return tap_done();
}
