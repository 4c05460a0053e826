/* vecfile.c - reading vectors from .npy, .fvecs/.bvecs/.ivecs, .jsonl and raw f32.
 *
 * One buffer of 256 KiB stands before the file; a row is converted to f32 from it, so memory does not grow with the file.  Headers
 * come from strangers: every length is checked against the file's real size before anything is taken from it.
 * .npy: numpy's NEP 1, versions 1-3, C order, one or two dimensions, little- or big-endian floats and integers up to 8 bytes. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/conf.h"
#include "base/sbuf.h"
#include "cli/cli.h"
#include "cli/vecfile.h"

#define BUF_BYTES  (256u << 10)
#define LINE_BYTES (8u << 20) /* a .jsonl line: 65,535 numbers and a payload */

struct vecfile {
	enum vecfile_kind kind;
	const char *name;
	int fd;
	uint64_t rows, row, file_bytes, read_bytes;
	uint32_t dim, elem_bytes, pad_bytes; /* pad: the count before each row of .fvecs */
	char type; /* 'f' 'i' 'u' */
	bool big_endian;
	float *v;
	uint8_t *raw; /* one row as it is in the file */
	char *buf;
	size_t buf_n, buf_at;
	char *line;
	size_t line_n, line_cap;
	json_t *doc;
	char *payload;
};

static bool ends(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);
	return n >= m && !strcmp(s + n - m, end);
}

/* n bytes into to; the number got (short only at the end of the file) or -errno */
static ssize_t take(struct vecfile *f, void *to, size_t n)
{
	size_t got = 0;
	while (got < n) {
		if (f->buf_at == f->buf_n) {
			ssize_t r = read(f->fd, f->buf, BUF_BYTES);
			if (r < 0 && errno == EINTR)
				continue;
			if (r < 0)
				return -errno;
			if (!r)
				break;
			f->buf_n = (size_t)r;
			f->buf_at = 0;
		}
		size_t k = f->buf_n - f->buf_at < n - got ? f->buf_n - f->buf_at : n - got;
		memcpy((char *)to + got, f->buf + f->buf_at, k);
		f->buf_at += k;
		got += k;
	}
	f->read_bytes += got;
	return (ssize_t)got;
}

static float half_to_float(uint16_t h)
{
	int e = h >> 10 & 31;
	float m = (float)(h & 1023), s = h & 0x8000 ? -1.0f : 1.0f;
	if (e == 31)
		return m != 0 ? NAN : s * INFINITY;
	return s * (e ? ldexpf(1.0f + m / 1024.0f, e - 15) : ldexpf(m / 1024.0f, -14));
}

static float element(const struct vecfile *f, const uint8_t *p)
{
	uint8_t b[8] = {0};
	for (uint32_t i = 0; i < f->elem_bytes; i++)
		b[i] = p[f->big_endian ? f->elem_bytes - 1 - i : i];
	uint64_t u = le64_get(b);
	if (f->type == 'f') {
		float x;
		double d;
		uint32_t w = (uint32_t)u;
		switch (f->elem_bytes) {
		case 2:
			return half_to_float((uint16_t)u);
		case 4:
			memcpy(&x, &w, 4);
			return x;
		default:
			memcpy(&d, &u, 8);
			return (float)d;
		}
	}
	if (f->type == 'u')
		return (float)u;
	unsigned shift = 64 - 8 * f->elem_bytes;
	return (float)((int64_t)(u << shift) >> shift);
}

/* the value that follows 'key': in numpy's dict literal */
static const char *dict_value(const char *d, const char *key)
{
	const char *p = strstr(d, key);
	if (!p)
		return NULL;
	p += strlen(key);
	while (*p == '\'' || *p == '"' || *p == ':' || *p == ' ')
		p++;
	return p;
}

static int npy_open(struct vecfile *f, const char **reterr)
{
	uint8_t h[12];
	char *d;
	*reterr = cli_fmt("%s is not a .npy file", f->name);
	if (take(f, h, 10) != 10 || memcmp(h, "\x93NUMPY", 6) || h[6] < 1 || h[6] > 3)
		return -VX_ERR_bad_format;
	uint32_t n = le16_get(h + 8);
	if (h[6] > 1) {
		if (take(f, h + 10, 2) != 2)
			return -VX_ERR_truncated;
		n = le32_get(h + 8);
	}
	if (n > 65536)
		return -VX_ERR_bad_format;
	d = cli_alloc(n + 1);
	if (take(f, d, n) != (ssize_t)n) {
		*reterr = cli_fmt("%s is truncated: it ends inside its header", f->name);
		return -VX_ERR_truncated;
	}
	const char *type = strstr(d, "descr"), *shape = dict_value(d, "shape"), *order = dict_value(d, "fortran_order");
	if (!type || !shape || !order || *shape != '(')
		return -VX_ERR_bad_format;
	/* "descr": '<f4' - find the quoted value, so that '<', '>' and '|' are kept */
	type = strchr(type, ':');
	while (type && *type && *type != '\'' && *type != '"')
		type++;
	if (!type || !*type || !type[1] || !type[2])
		return -VX_ERR_bad_format;
	f->big_endian = type[1] == '>';
	f->type = type[2];
	f->elem_bytes = (uint32_t)(type[3] - '0');
	bool size_ok = f->elem_bytes == 4 || f->elem_bytes == 8 || f->elem_bytes == 2 ||
	               (f->elem_bytes == 1 && f->type != 'f');
	if (!strchr("<>|=", type[1]) || !strchr("fiu", f->type) || !size_ok || (type[4] != '\'' && type[4] != '"')) {
		*reterr = cli_fmt("%s holds elements of type %.6s; floats and integers of 1 to 8 bytes can be read",
		        f->name, type + 1);
		return -VX_ERR_bad_format;
	}
	if (!strncmp(order, "True", 4)) {
		*reterr = cli_fmt("%s is in Fortran order; save it with numpy.ascontiguousarray()", f->name);
		return -VX_ERR_bad_format;
	}
	uint64_t dims[3] = {0};
	int nd = 0;
	for (const char *p = shape + 1; *p && *p != ')' && nd < 3;) {
		int k = num_u64(p, strspn(p, "0123456789"), &dims[nd]);
		if (k <= 0)
			break;
		nd++;
		p += k;
		while (*p == ',' || *p == ' ')
			p++;
	}
	if (nd == 1) {
		f->rows = 1;
		dims[1] = dims[0];
	} else {
		f->rows = dims[0];
	}
	if (nd < 1 || nd > 2 || dims[1] < 1 || dims[1] > CONF_DIM_MAX) {
		*reterr = cli_fmt("%s must be one- or two-dimensional with 1 to %u columns", f->name, CONF_DIM_MAX);
		return -VX_ERR_bad_format;
	}
	f->dim = (uint32_t)dims[1];
	uint64_t have = f->file_bytes > f->read_bytes ? f->file_bytes - f->read_bytes : 0;
	uint64_t row_bytes = (uint64_t)f->dim * f->elem_bytes;
	if (f->file_bytes && (f->rows > UINT64_MAX / row_bytes || have < f->rows * row_bytes)) {
		*reterr = cli_fmt("%s is truncated: its header announces %llu rows of %u, its bytes hold %llu", f->name,
		        (unsigned long long)f->rows, f->dim, (unsigned long long)(have / row_bytes));
		return -VX_ERR_truncated;
	}
	return 0;
}

/* Each row of .fvecs/.bvecs/.ivecs begins with its own length. All of them are looked at before the first row is used, so that a
 * file that is wrong in the middle is refused before anything of it is stored. */
static int xvecs_open(struct vecfile *f, const char **reterr)
{
	uint8_t b[4];
	f->elem_bytes = f->kind == VECFILE_bvecs ? 1 : 4;
	f->type = f->kind == VECFILE_fvecs ? 'f' : f->kind == VECFILE_bvecs ? 'u' : 'i';
	f->pad_bytes = 4;
	if (pread(f->fd, b, 4, 0) != 4) {
		*reterr = cli_fmt(
		        "%s is %s", f->name, f->file_bytes ? "truncated: it ends inside its first row" : "empty");
		return -VX_ERR_truncated;
	}
	f->dim = le32_get(b);
	if (f->dim < 1 || f->dim > CONF_DIM_MAX) {
		*reterr = cli_fmt(
		        "%s: its first row announces %u dimensions; 1 to %u can be", f->name, f->dim, CONF_DIM_MAX);
		return -VX_ERR_bad_format;
	}
	uint64_t step = 4 + (uint64_t)f->dim * f->elem_bytes;
	f->rows = f->file_bytes / step;
	for (uint64_t i = 0; i < f->rows; i++) {
		if (pread(f->fd, b, 4, (off_t)(i * step)) != 4 || le32_get(b) != f->dim) {
			*reterr = cli_fmt("%s: row %llu has %u dimensions, the rows before it %u; nothing was imported",
			        f->name, (unsigned long long)i, le32_get(b), f->dim);
			return -VX_ERR_dim_mismatch;
		}
	}
	if (f->file_bytes % step) {
		*reterr = cli_fmt("%s is truncated: it ends inside row %llu; nothing was imported", f->name,
		        (unsigned long long)f->rows);
		return -VX_ERR_truncated;
	}
	return 0;
}

int vecfile_open(const char *path, struct vecfile **ret, const char **reterr)
{
	struct stat st;
	struct vecfile *f = mem_zalloc(MEM_cli, sizeof *f);
	int rc = -ENOMEM;
	*reterr = "out of memory";
	if (!f)
		return rc;
	f->name = path;
	f->fd = -1;
	if (ends(path, ".npy"))
		f->kind = VECFILE_npy;
	else if (ends(path, ".fvecs"))
		f->kind = VECFILE_fvecs;
	else if (ends(path, ".bvecs"))
		f->kind = VECFILE_bvecs;
	else if (ends(path, ".ivecs"))
		f->kind = VECFILE_ivecs;
	else if (ends(path, ".jsonl"))
		f->kind = VECFILE_jsonl;
	else {
		*reterr = cli_fmt("%s: its name must end in .npy, .fvecs, .bvecs, .ivecs or .jsonl", path);
		rc = -VX_ERR_bad_format;
		goto out;
	}
	f->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (f->fd < 0 || fstat(f->fd, &st) || !S_ISREG(st.st_mode)) {
		rc = f->fd < 0 ? -errno : -EINVAL;
		*reterr = cli_fmt("%s: %s", path, f->fd < 0 ? strerror(errno) : "is not a regular file");
		goto out;
	}
	f->file_bytes = (uint64_t)st.st_size;
	f->buf = mem_alloc(MEM_cli, BUF_BYTES);
	if (!f->buf)
		goto out;
	if (f->kind == VECFILE_jsonl) {
		f->line = mem_alloc(MEM_cli, f->line_cap = 65536);
		rc = f->line ? 0 : -ENOMEM;
	} else {
		rc = f->kind == VECFILE_npy ? npy_open(f, reterr) : xvecs_open(f, reterr);
	}
	if (rc < 0)
		goto out;
	f->v = mem_alloc(MEM_cli, CONF_DIM_MAX * sizeof(float));
	f->raw = mem_alloc(MEM_cli, (size_t)CONF_DIM_MAX * 8 + 4);
	if (!f->v || !f->raw) {
		rc = -ENOMEM;
		goto out;
	}
	*ret = f;
	return 0;
out:
	vecfile_close(f);
	return rc;
}

void vecfile_close(struct vecfile *f)
{
	if (!f)
		return;
	if (f->fd >= 0)
		close(f->fd);
	json_decref(f->doc);
	mem_free(MEM_cli, f->payload);
	mem_free(MEM_cli, f->v);
	mem_free(MEM_cli, f->raw);
	mem_free(MEM_cli, f->line);
	mem_free(MEM_cli, f->buf);
	mem_free(MEM_cli, f);
}

uint64_t vecfile_total(const struct vecfile *f)
{
	return f->kind == VECFILE_jsonl ? f->file_bytes : f->rows;
}

uint64_t vecfile_done(const struct vecfile *f)
{
	return f->kind == VECFILE_jsonl ? f->read_bytes : f->row;
}

static int next_line(struct vecfile *f)
{
	f->line_n = 0;
	for (;;) {
		char c;
		ssize_t r = take(f, &c, 1);
		if (r < 0)
			return (int)r;
		if (!r && !f->line_n)
			return 0;
		if (!r || c == '\n')
			return 1;
		if (f->line_n + 1 >= f->line_cap) {
			if (f->line_cap >= LINE_BYTES)
				return -VX_ERR_request_too_big;
			char *more = mem_realloc(MEM_cli, f->line, f->line_cap * 2);
			if (!more)
				return -ENOMEM;
			f->line = more;
			f->line_cap *= 2;
		}
		f->line[f->line_n++] = c;
	}
}

static bool blank(const struct vecfile *f)
{
	for (size_t i = 0; i < f->line_n; i++)
		if (!isspace((unsigned char)f->line[i]))
			return false;
	return true;
}

static int json_vector(const json_t *a, float *to, uint32_t *ret_dim)
{
	size_t n = json_array_size(a);
	if (!json_is_array(a) || n < 1 || n > CONF_DIM_MAX)
		return -VX_ERR_dim_range;
	for (size_t i = 0; i < n; i++) {
		const json_t *x = json_array_get(a, i);
		if (!json_is_number(x))
			return -VX_ERR_bad_value;
		to[i] = (float)json_number_value(x);
	}
	*ret_dim = (uint32_t)n;
	return 0;
}

/* {"vector":[...], "id":7 | "path":"a/b", "payload":{...}} */
static int jsonl_next(struct vecfile *f, struct vecfile_row *ret, const char **reterr)
{
	json_error_t je;
	int rc;
	do {
		rc = next_line(f);
		if (rc <= 0) {
			if (rc < 0)
				*reterr = cli_fmt(
				        "%s, line %llu: %s", f->name, (unsigned long long)f->row + 1, err_text(rc));
			return rc;
		}
		f->row++;
	} while (blank(f));
	json_decref(f->doc);
	mem_free(MEM_cli, f->payload);
	f->payload = NULL;
	f->doc = json_loadb(f->line, f->line_n, 0, &je);
	if (!json_is_object(f->doc)) {
		*reterr = cli_fmt("%s, line %llu: not a JSON object (%s, byte %d)", f->name, (unsigned long long)f->row,
		        je.text, je.position);
		return -VX_ERR_json_syntax;
	}
	const char *key;
	json_t *val;
	ret->has_id = false;
	ret->path = NULL;
	bool have = false;
	json_object_foreach(f->doc, key, val)
	{
		if (!strcmp(key, "vector")) {
			rc = json_vector(val, f->v, &ret->dim);
			have = rc == 0;
		} else if (!strcmp(key, "id")) {
			rc = json_is_integer(val) && json_integer_value(val) >= 0 ? 0 : -VX_ERR_bad_value;
			ret->id = (uint64_t)json_integer_value(val);
			ret->has_id = true;
		} else if (!strcmp(key, "path")) {
			rc = json_is_string(val) ? 0 : -VX_ERR_bad_value;
			ret->path = json_string_value(val);
		} else if (!strcmp(key, "payload")) {
			rc = json_is_object(val) ? 0 : -VX_ERR_payload_syntax;
			f->payload = rc ? NULL : json_dumps(val, JSON_COMPACT);
		} else {
			rc = -VX_ERR_unknown_key;
		}
		if (rc < 0) {
			*reterr = cli_fmt(
			        "%s, line %llu, \"%s\": %s", f->name, (unsigned long long)f->row, key, err_text(rc));
			return rc;
		}
	}
	if (!have || (ret->has_id && ret->path)) {
		*reterr = cli_fmt("%s, line %llu: a point has a \"vector\", and an \"id\" or a \"path\" but not both",
		        f->name, (unsigned long long)f->row);
		return -VX_ERR_missing_key;
	}
	if (f->dim && f->dim != ret->dim) {
		*reterr = cli_fmt("%s, line %llu: %u dimensions, the lines before it %u", f->name,
		        (unsigned long long)f->row, ret->dim, f->dim);
		return -VX_ERR_dim_mismatch;
	}
	f->dim = ret->dim;
	ret->n = f->row - 1;
	ret->v = f->v;
	ret->payload = f->payload;
	return 1;
}

int vecfile_next(struct vecfile *f, struct vecfile_row *ret, const char **reterr)
{
	if (f->kind == VECFILE_jsonl)
		return jsonl_next(f, ret, reterr);
	if (f->row >= f->rows)
		return 0;
	size_t n = f->pad_bytes + (size_t)f->dim * f->elem_bytes;
	ssize_t r = take(f, f->raw, n);
	if (r != (ssize_t)n) {
		*reterr = cli_fmt("%s, row %llu: %s", f->name, (unsigned long long)f->row,
		        r < 0 ? strerror((int)-r) : "the file ends here");
		return r < 0 ? (int)r : -VX_ERR_truncated;
	}
	for (uint32_t i = 0; i < f->dim; i++)
		f->v[i] = element(f, f->raw + f->pad_bytes + (size_t)i * f->elem_bytes);
	*ret = (struct vecfile_row){.n = f->row, .v = f->v, .dim = f->dim};
	f->row++;
	return 1;
}

static int raw_one(const char *path, float **ret, uint32_t *ret_dim, const char **reterr)
{
	size_t max = (size_t)CONF_DIM_MAX * 4, n = 0;
	int fd = !strcmp(path, "-") ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	char *b = mem_alloc(MEM_cli, max + 4);
	ssize_t r = fd < 0 ? -1 : 0;
	while (fd >= 0 && b && n < max + 4 && (r = read(fd, b + n, max + 4 - n)) != 0) {
		if (r < 0 && errno != EINTR)
			break;
		n += r > 0 ? (size_t)r : 0;
	}
	int rc = r < 0 ? -errno : !b ? -ENOMEM : !n || n % 4 || n > max ? -VX_ERR_dim_range : 0;
	if (fd > STDIN_FILENO)
		close(fd);
	if (rc < 0) {
		*reterr = cli_fmt("%s: %s", path,
		        r < 0 ? strerror(-rc) : cli_fmt("%zu bytes are not a vector of f32: %s", n, err_text(rc)));
		mem_free(MEM_cli, b);
		return rc;
	}
	*ret = (float *)(void *)b;
	*ret_dim = (uint32_t)(n / 4);
	return 0;
}

int vecfile_one(const char *path, float **ret, uint32_t *ret_dim, const char **reterr)
{
	if (ends(path, ".json")) {
		json_error_t je;
		json_t *j = json_load_file(path, 0, &je);
		float *v = mem_alloc(MEM_cli, CONF_DIM_MAX * sizeof *v);
		int rc = !j ? -VX_ERR_json_syntax : !v ? -ENOMEM : json_vector(j, v, ret_dim);
		if (rc < 0) {
			*reterr = cli_fmt("%s: %s", path, j ? err_text(rc) : je.text);
			mem_free(MEM_cli, v);
		} else {
			*ret = v;
		}
		json_decref(j);
		return rc;
	}
	if (!ends(path, ".npy"))
		return raw_one(path, ret, ret_dim, reterr);
	struct vecfile *f;
	struct vecfile_row r;
	VX_TRY(vecfile_open(path, &f, reterr));
	int rc = f->rows == 1 ? vecfile_next(f, &r, reterr) : -VX_ERR_bad_format;
	if (rc == 1) {
		*ret = f->v;
		*ret_dim = f->dim;
		f->v = NULL;
		rc = 0;
	} else if (f->rows != 1) {
		*reterr = cli_fmt("%s holds %llu vectors; one is needed", path, (unsigned long long)f->rows);
	}
	vecfile_close(f);
	return rc;
}
