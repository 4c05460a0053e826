/* vecfile_out.c - writing vectors to .npy, .fvecs or .jsonl.
 *
 * The number of rows is known only at the end, so a .npy begins with a header of fixed size (128 bytes, padded as NEP 1 asks) that is
 * patched then.  The file appears under its name only when it is whole and on disk: temporary name, fsync, rename. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/sbuf.h"
#include "cli/cli.h"
#include "cli/vecfile.h"

struct vecfile_out {
	enum vecfile_kind kind;
	FILE *f;
	const char *path, *tmp;
	const char *descr;
	uint32_t dim;
	uint64_t rows;
};

void vecfile_npy_header(char ret[128], const char *descr, uint64_t rows, uint32_t dim)
{
	memset(ret, ' ', 128);
	memcpy(ret, "\x93NUMPY\x01\x00", 8);
	le16_put(ret + 8, 118);
	char text[100];
	int n = dim ? snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (%llu, %u), }",
	                      descr, (unsigned long long)rows, dim)
	            : snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (%llu,), }", descr,
	                      (unsigned long long)rows);
	memcpy(ret + 10, text, (size_t)n);
	ret[127] = '\n';
}

int vecfile_create(const char *path, uint32_t dim, struct vecfile_out **ret, const char **reterr)
{
	struct vecfile_out *o = cli_alloc(sizeof *o);
	const char *dot = strrchr(path, '.');
	o->kind = dot && !strcmp(dot, ".npy")     ? VECFILE_npy
	          : dot && !strcmp(dot, ".fvecs") ? VECFILE_fvecs
	          : dot && !strcmp(dot, ".jsonl") ? VECFILE_jsonl
	                                          : VECFILE_f32;
	if (o->kind == VECFILE_f32) {
		*reterr = cli_fmt("%s: its name must end in .npy, .fvecs or .jsonl", path);
		return -VX_ERR_bad_format;
	}
	o->path = path;
	o->tmp = cli_fmt("%s.tmp%d", path, (int)getpid());
	o->dim = dim;
	o->f = fopen(o->tmp, "we");
	if (!o->f) {
		int e = errno;
		*reterr = cli_fmt("%s: %s", o->tmp, strerror(e));
		return -e;
	}
	char h[128];
	vecfile_npy_header(h, "<f4", 0, dim ? dim : 1);
	if (o->kind == VECFILE_npy && fwrite(h, 1, sizeof h, o->f) != sizeof h) {
		*reterr = cli_fmt("%s: %s", o->tmp, strerror(errno));
		vecfile_finish(o, false);
		return -EIO;
	}
	*ret = o;
	return 0;
}

static void put_le(FILE *f, const float *v, uint32_t dim)
{
	uint8_t b[256];
	for (uint32_t i = 0; i < dim;) {
		size_t n = 0;
		for (; i < dim && n < sizeof b; i++, n += 4) {
			uint32_t u;
			memcpy(&u, &v[i], 4);
			le32_put(b + n, u);
		}
		fwrite(b, 1, n, f);
	}
}

static int put_json(struct vecfile_out *o, const struct vecfile_row *r)
{
	json_t *j = json_object(), *a = json_array();
	for (uint32_t i = 0; i < r->dim; i++)
		json_array_append_new(a, json_real((double)r->v[i]));
	if (r->path)
		json_object_set_new(j, "path", json_string(r->path));
	else
		json_object_set_new(j, "id", json_integer((json_int_t)r->id));
	json_object_set_new(j, "vector", a);
	if (r->payload)
		json_object_set_new(j, "payload", json_loads(r->payload, 0, NULL));
	int rc = json_dumpf(j, o->f, JSON_COMPACT | JSON_REAL_PRECISION(9));
	fputc('\n', o->f);
	json_decref(j);
	return rc;
}

int vecfile_put(struct vecfile_out *o, const struct vecfile_row *r)
{
	uint8_t b[4];
	int rc = 0;
	if (o->kind == VECFILE_jsonl) {
		rc = put_json(o, r);
	} else {
		if (r->dim != o->dim)
			return -VX_ERR_dim_mismatch;
		le32_put(b, r->dim);
		if (o->kind == VECFILE_fvecs)
			fwrite(b, 1, 4, o->f);
		put_le(o->f, r->v, r->dim);
	}
	o->rows++;
	return rc || ferror(o->f) ? -EIO : 0;
}

int vecfile_finish(struct vecfile_out *o, bool commit)
{
	int rc = 0;
	char h[128];
	if (commit && o->kind == VECFILE_npy) {
		vecfile_npy_header(h, "<f4", o->rows, o->dim ? o->dim : 1);
		if (fseek(o->f, 0, SEEK_SET) || fwrite(h, 1, sizeof h, o->f) != sizeof h)
			rc = -EIO;
	}
	if (commit && (fflush(o->f) || ferror(o->f) || fsync(fileno(o->f))))
		rc = errno ? -errno : -EIO;
	if (fclose(o->f) && !rc)
		rc = -EIO;
	if (commit && !rc && rename(o->tmp, o->path))
		rc = -errno;
	if (!commit || rc < 0)
		unlink(o->tmp);
	return rc;
}
