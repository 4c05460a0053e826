/* The safetensors reader: values of each type, and files that lie. */
#include "model_files.h"
#include "base/mem.h"
#include "embed/safetensors.h"

static struct mf_dir dir;

/* a file with this header and this many bytes of data behind it; @len: what the first 8 bytes say, UINT64_MAX: the truth */
static int open_raw(const char *head, size_t data_n, uint64_t len, struct vx_errinfo *e)
{
	struct safetensors s = {.fd = -1};
	size_t h = strlen(head);
	uint8_t *f = calloc(1, 8 + h + data_n);
	if (len == UINT64_MAX)
		len = h;
	memcpy(f, &len, 8);
	memcpy(f + 8, head, h);
	mf_write(&dir, "x.safetensors", f, 8 + h + data_n);
	free(f);
	*e = (struct vx_errinfo){0};
	int rc = safetensors_open(os_real(), dir.fd, "x.safetensors", &s, e);
	safetensors_close(&s);
	return rc;
}

static void test_values(void)
{
	static const float f32[6] = {1, -2.5f, 3e-20f, 4e20f, 0, -0.125f};
	static const uint16_t bf[6] = {0x3f80, 0xc020, 0x0000, 0x4049, 0x8000, 0xbe00};
	static const uint16_t f16[6] = {0x3c00, 0xc100, 0x0001, 0x7bff, 0x8000, 0xb000};
	static const int8_t i8[6] = {1, -128, 127, 0, -1, 5};
	struct mf_st st = {0};
	struct safetensors s;
	struct vx_errinfo e = {0};
	float v[6];
	mf_st_add(&st, "a.f32", "F32", "2,3", f32, sizeof f32);
	mf_st_add(&st, "b.bf16", "BF16", "6", bf, sizeof bf);
	mf_st_add(&st, "c.f16", "F16", "3,2", f16, sizeof f16);
	mf_st_add(&st, "d.i8", "I8", "6,1,1", i8, sizeof i8);
	mf_st_add(&st, "e.i64", "I64", "1", "12345678", 8);
	mf_st_add(&st, "f.none", "F32", "0,7", "", 0);
	mf_st_add(&st, "g.one", "F32", "", f32 + 1, 4);
	mf_st_write(&st, &dir, "v.safetensors");
	T_EQ(safetensors_open(os_real(), dir.fd, "v.safetensors", &s, &e), 0, "open");
	T_EQ(s.n, 7, "tensors");
	T_OK(!safetensors_find(&s, "a") && !safetensors_find(&s, "zz") && !safetensors_find(&s, ""),
	        "names that are not there");
	const struct st_tensor *a = safetensors_find(&s, "a.f32"), *d = safetensors_find(&s, "d.i8");
	T_OK(a && a->rank == 2 && a->shape[0] == 2 && a->shape[1] == 3 && a->elems == 6 && a->bytes == 24,
	        "shape of a");
	T_OK(safetensors_read(&s, a, 0, 6, v) == 0 && !memcmp(v, f32, sizeof v), "F32");
	T_OK(safetensors_read(&s, a, 4, 2, v) == 0 && !memcmp(v, f32 + 4, 8), "the last two");
	T_OK(safetensors_read(&s, safetensors_find(&s, "b.bf16"), 0, 6, v) == 0, "BF16");
	T_OK(v[0] == 1.0f && v[1] == -2.5f && v[2] == 0.0f && v[3] == 3.140625f && v[5] == -0.125f, "its values");
	T_OK(safetensors_read(&s, safetensors_find(&s, "c.f16"), 0, 6, v) == 0, "F16");
	T_OK(v[0] == 1.0f && v[1] == -2.5f && v[2] == 0x1p-24f && v[3] == 65504.0f && v[5] == -0.125f, "its values");
	T_OK(safetensors_read(&s, d, 1, 5, v) == 0 && v[0] == -128.0f && v[1] == 127.0f && v[4] == 5.0f, "I8");
	T_EQ(safetensors_read(&s, a, 5, 2, v), -VX_ERR_bad_value, "beyond the end");
	T_EQ(safetensors_read(&s, a, UINT64_MAX, 2, v), -VX_ERR_bad_value, "far beyond the end");
	T_EQ(safetensors_read(&s, a, 1, UINT64_MAX, v), -VX_ERR_bad_value, "too many");
	T_EQ(safetensors_read(&s, safetensors_find(&s, "e.i64"), 0, 1, v), -VX_ERR_bad_value, "I64 is no weight");
	T_EQ(safetensors_find(&s, "f.none")->elems, 0, "an empty tensor");
	T_OK(safetensors_find(&s, "g.one")->rank == 0 &&
	                safetensors_read(&s, safetensors_find(&s, "g.one"), 0, 1, v) == 0 && v[0] == -2.5f,
	        "a number by itself");
	/* the file shrinks under us */
	int fd = openat(dir.fd, "v.safetensors", O_WRONLY);
	T_EQ(ftruncate(fd, (off_t)d->at + 2), 0, "cut the file");
	close(fd);
	T_EQ(safetensors_read(&s, d, 0, 6, v), -VX_ERR_truncated, "a file that shrank is an error");
	safetensors_close(&s);
	safetensors_close(&s);
}

static void test_lies(void)
{
	static const struct {
		const char *head;
		size_t data;
		int want;
	} c[] = {
	        {"{}", 0, 0},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, 0},
	        {"{\"__metadata__\":{\"format\":\"pt\"}}", 0, 0},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 8,
	                -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387905],\"data_offsets\":[0,4]}}", 8,
	                -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,2],\"data_offsets\":[0,8]}}", 8,
	                -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[9223372036854775800,9223372036854775804]}}",
	                8, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0]}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,\"4\"]}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":{}}", 8, -VX_ERR_bad_format},
	        {"{\"a\":null}", 8, -VX_ERR_bad_format},
	        {"{\"a\":[]}", 8, -VX_ERR_bad_format},
	        {"[]", 8, -VX_ERR_bad_format},
	        {"{\"a\":", 8, -VX_ERR_json_syntax},
	        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":["
	         "1],\"data_offsets\":[0,4]}}",
	                8, -VX_ERR_json_syntax},
	        {"{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, -VX_ERR_json_syntax},
	};
	struct vx_errinfo e;
	for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
		int rc = open_raw(c[i].head, c[i].data, UINT64_MAX, &e);
		T_OK(rc == c[i].want, "%.90s: %s (%s)", c[i].head, err_name(rc), e.detail);
	}
	T_EQ(open_raw("{}", 0, 3, &e), -VX_ERR_truncated, "header longer than the file");
	T_EQ(open_raw("{}", 0, UINT64_MAX - 7, &e), -VX_ERR_truncated, "header of 2^64 bytes");
	T_EQ(open_raw("{}", 0, 1, &e), -VX_ERR_bad_format, "header of one byte");
	T_EQ(open_raw("{}", 100, 60, &e), -VX_ERR_json_syntax, "header that reaches into the data");
	char deep[400] = "{\"a\":";
	memset(deep + 5, '[', 300);
	T_EQ(open_raw(deep, 0, UINT64_MAX, &e), -VX_ERR_json_depth, "nested 300 deep");
	mf_write(&dir, "x.safetensors", "", 0);
	struct safetensors s;
	T_EQ(safetensors_open(os_real(), dir.fd, "x.safetensors", &s, &e), -VX_ERR_truncated, "empty file");
	T_EQ(safetensors_open(os_real(), dir.fd, "none", &s, &e), -ENOENT, "no file");
	T_EQ(safetensors_open(os_real(), dir.fd, ".", &s, &e), -VX_ERR_bad_format, "a directory");
}

/* every prefix of a good file, and random bytes changed: an answer or an error, and every tensor within the file */
static void test_damage(void)
{
	struct mf_st st = {0};
	float data[40] = {0};
	mf_st_add(&st, "w", "F32", "4,5", data, 80);
	mf_st_add(&st, "b", "BF16", "20", data, 40);
	size_t n, good = 0, outside = 0;
	uint8_t *f = mf_st_bytes(&st, &n), *g = malloc(n);
	struct vx_errinfo e;
	for (size_t i = 0; i < n + 3000; i++) {
		struct safetensors s = {.fd = -1};
		size_t len = i < n ? i : n;
		memcpy(g, f, n);
		for (int k = 0; i >= n && k < 1 + (int)(i % 3); k++)
			g[mf_rnd((uint32_t)n)] =
			        i % 4 ? (uint8_t) "0123456789-[]{},\"eF"[mf_rnd(19)] : (uint8_t)mf_rnd(256);
		mf_write(&dir, "x.safetensors", g, len);
		if (safetensors_open(os_real(), dir.fd, "x.safetensors", &s, &e) < 0)
			continue;
		good++;
		for (uint32_t t = 0; t < s.n; t++)
			outside += s.t[t].at > len || s.t[t].bytes > len - s.t[t].at;
		safetensors_close(&s);
	}
	T_OK(good > 100 && good < 3000 + n, "damaged files: %zu of %zu still open", good, n + 3000);
	T_EQ(outside, 0, "tensors outside the file");
	free(f);
	free(g);
	free(st.data);
}

int main(void)
{
	mf_rng = tap_seed(mf_rng);
	dir = mf_dir_new();
	test_values();
	test_lies();
	test_damage();
	T_EQ(mem_used(MEM_text), 0, "nothing left");
	mf_dir_done(&dir);
	return tap_done();
}
