/* safetensors.c - the reader.  The header is hostile until checked: lengths against the file's size, shapes without overflow, offsets
 * inside the data and exactly as long as dtype and shape say.  (That tensors do not overlap is not checked: they are only read.) */
#include "embed/safetensors.h"
#include <fcntl.h>
#include <string.h>
#include "base/sbuf.h"
#include "embed/embed_int.h"
#include "simd/simd.h"

static const struct {
	const char *name;
	enum st_dtype dtype;
	uint32_t bytes;
} dtypes[] = {{"F32", ST_F32, 4}, {"F16", ST_F16, 2}, {"BF16", ST_BF16, 2}, {"I8", ST_I8, 1}, {"I32", ST_I32, 4},
        {"I64", ST_I64, 8}, {"U8", ST_other, 1}, {"BOOL", ST_other, 1}, {"I16", ST_other, 2}, {"U16", ST_other, 2},
        {"U32", ST_other, 4}, {"U64", ST_other, 8}, {"F64", ST_other, 8}};

static int read_all(struct os *os, int fd, void *buf, size_t n, uint64_t at)
{
	uint8_t *p = buf;
	while (n) {
		ssize_t k = os_pread(os, fd, p, n, (off_t)at);
		if (k == -EINTR)
			continue;
		if (k <= 0)
			return k ? (int)k : -VX_ERR_truncated;
		p += k;
		n -= (size_t)k;
		at += (uint64_t)k;
	}
	return 0;
}

/* 0, or -1: not what a tensor's entry looks like */
static int parse_tensor(const json_t *v, uint64_t data_at, uint64_t data_n, struct st_tensor *t)
{
	const json_t *shape = json_object_get(v, "shape"), *off = json_object_get(v, "data_offsets");
	const char *dtype = json_string_value(json_object_get(v, "dtype"));
	uint32_t width = 0;
	for (size_t i = 0; dtype && i < sizeof dtypes / sizeof *dtypes; i++) {
		if (!strcmp(dtype, dtypes[i].name)) {
			t->dtype = dtypes[i].dtype;
			width = dtypes[i].bytes;
		}
	}
	if (!width || !json_is_array(shape) || json_array_size(shape) > SAFETENSORS_RANK_MAX || !json_is_array(off) ||
	        json_array_size(off) != 2)
		return -1;
	t->rank = (uint32_t)json_array_size(shape);
	t->elems = 1;
	for (uint32_t i = 0; i < t->rank; i++) {
		const json_t *s = json_array_get(shape, i);
		if (!json_is_integer(s) || json_integer_value(s) < 0)
			return -1;
		t->shape[i] = (uint64_t)json_integer_value(s);
		if (__builtin_mul_overflow(t->elems, t->shape[i], &t->elems))
			return -1;
	}
	const json_t *b = json_array_get(off, 0), *e = json_array_get(off, 1);
	if (!json_is_integer(b) || !json_is_integer(e) || json_integer_value(b) < 0 ||
	        json_integer_value(e) < json_integer_value(b) || (uint64_t)json_integer_value(e) > data_n ||
	        __builtin_mul_overflow(t->elems, width, &t->bytes) ||
	        t->bytes != (uint64_t)(json_integer_value(e) - json_integer_value(b)))
		return -1;
	t->at = data_at + (uint64_t)json_integer_value(b);
	return 0;
}

/* Shell's sort with Ciura's gaps: in place, no recursion, at most 65,536 names */
static void sort_names(struct st_tensor *t, uint32_t n)
{
	static const uint32_t gaps[] = {16001, 7129, 3168, 1408, 701, 301, 132, 57, 23, 10, 4, 1};
	for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {
		for (uint32_t i = gaps[g]; i < n; i++) {
			struct st_tensor x = t[i];
			uint32_t k = i;
			for (; k >= gaps[g] && strcmp(t[k - gaps[g]].name, x.name) > 0; k -= gaps[g])
				t[k] = t[k - gaps[g]];
			t[k] = x;
		}
	}
}

static int parse_header(struct safetensors *s, json_t *j, uint64_t data_at, const char *file, struct vx_errinfo *reterr)
{
	const char *key;
	json_t *v;
	size_t n = json_object_size(j);
	if (n > SAFETENSORS_N_MAX)
		return emb_fail(reterr, -VX_ERR_bad_format, "more tensors than a model has", file);
	s->t = mem_zalloc(MEM_text, (n ? n : 1) * sizeof *s->t);
	if (!s->t)
		return -ENOMEM;
	json_object_foreach(j, key, v)
	{
		if (!strcmp(key, "__metadata__"))
			continue;
		struct st_tensor *t = &s->t[s->n];
		if (!json_is_object(v) || parse_tensor(v, data_at, s->size - data_at, t) < 0)
			return emb_fail(reterr, -VX_ERR_bad_format, "a tensor's shape, type or offsets are wrong", key);
		t->name = mem_strdup(MEM_text, key);
		if (!t->name)
			return -ENOMEM;
		s->n++;
	}
	sort_names(s->t, s->n);
	return 0;
}

int safetensors_open(struct os *os, int dirfd, const char *name, struct safetensors *ret, struct vx_errinfo *reterr)
{
	struct safetensors s = {.os = os, .fd = -1};
	struct stat st;
	uint8_t len8[8];
	char *text = NULL;
	json_t *j = NULL;
	int rc = s.fd = os_openat(os, dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	if (rc < 0)
		return emb_fail(reterr, rc, "cannot open", name);
	rc = os_fstat(os, s.fd, &st);
	if (rc >= 0 && !S_ISREG(st.st_mode))
		rc = emb_fail(reterr, -VX_ERR_bad_format, "not a file", name);
	if (rc < 0)
		goto out;
	s.size = (uint64_t)st.st_size;
	rc = read_all(os, s.fd, len8, 8, 0);
	uint64_t len = rc < 0 ? 0 : le64_get(len8);
	if (rc < 0 || len > s.size - 8) {
		rc = emb_fail(reterr, rc < 0 ? rc : -VX_ERR_truncated, "shorter than its header says", name);
		goto out;
	}
	if (len < 2 || len > SAFETENSORS_HEADER_MAX) {
		rc = emb_fail(reterr, -VX_ERR_bad_format, "not a safetensors file", name);
		goto out;
	}
	text = mem_alloc(MEM_text, len);
	rc = text ? read_all(os, s.fd, text, len, 8) : -ENOMEM;
	if (rc >= 0)
		rc = emb_json_text(text, len, name, &j, reterr);
	if (rc >= 0)
		rc = parse_header(&s, j, 8 + len, name, reterr);
out:
	mem_free(MEM_text, text);
	json_decref(j);
	if (rc < 0) {
		safetensors_close(&s);
		return rc;
	}
	*ret = s;
	return 0;
}

void safetensors_close(struct safetensors *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		mem_free(MEM_text, s->t[i].name);
	mem_free(MEM_text, s->t);
	if (s->os && s->fd >= 0)
		os_close(s->os, s->fd);
	*s = (struct safetensors){.fd = -1};
}

const struct st_tensor *safetensors_find(const struct safetensors *s, const char *name)
{
	uint32_t lo = 0, hi = s->n;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = strcmp(s->t[mid].name, name);
		if (!c)
			return &s->t[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

int safetensors_read(const struct safetensors *s, const struct st_tensor *t, uint64_t first, uint64_t n, float *ret)
{
	_Alignas(16) uint8_t buf[1024];
	if (first > t->elems || n > t->elems - first)
		return -VX_ERR_bad_value;
	if (t->dtype == ST_F32) /* little-endian machines only, as the whole project */
		return read_all(s->os, s->fd, ret, n * 4, t->at + first * 4);
	if (t->dtype > ST_I8)
		return -VX_ERR_bad_value;
	uint32_t width = t->dtype == ST_I8 ? 1 : 2;
	uint8_t as = t->dtype == ST_I8 ? VXD_i8 : t->dtype == ST_F16 ? VXD_f16 : VXD_bf16;
	while (n) {
		uint32_t k = n < sizeof buf / width ? (uint32_t)n : (uint32_t)(sizeof buf / width);
		VX_TRY(read_all(s->os, s->fd, buf, (size_t)k * width, t->at + first * width));
		simd_to_f32(buf, as, 0, k, ret);
		ret += k;
		first += k;
		n -= k;
	}
	return 0;
}
