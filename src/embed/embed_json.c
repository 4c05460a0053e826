/* embed_json.c - reading a model's JSON files.  They come from strangers: size and depth are bounded before jansson sees them (it
 * recurses by depth), duplicate keys are refused. */
#include <fcntl.h>
#include <string.h>
#include "base/sbuf.h"
#include "embed/embed_int.h"

int emb_fail(struct vx_errinfo *reterr, int rc, const char *what, const char *name)
{
	struct sbuf b;
	if (!reterr)
		return rc;
	reterr->code = rc;
	reterr->position = -1;
	sbuf_fixed(&b, reterr->detail, sizeof reterr->detail);
	sb_str(&b, what);
	if (name) {
		size_t n = strlen(name), room = sizeof reterr->detail - 3 - b.n;
		sb_str(&b, ": ");
		sb_bytes(&b, name, n < room ? n : room);
	}
	(void)sbuf_cstr(&b); /* ends the text where it was cut */
	return rc;
}

int emb_read_file(struct os *os, int dirfd, const char *name, size_t max, char **ret, size_t *ret_n)
{
	struct stat st;
	int fd = os_openat(os, dirfd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
	VX_TRY(fd);
	char *p = NULL;
	size_t got = 0, n = 0;
	int rc = os_fstat(os, fd, &st);
	if (rc >= 0 && !S_ISREG(st.st_mode))
		rc = -EINVAL;
	if (rc >= 0 && (uint64_t)st.st_size > max)
		rc = -E2BIG;
	if (rc >= 0) {
		n = (size_t)st.st_size;
		p = mem_alloc(MEM_text, n + 1);
		rc = p ? 0 : -ENOMEM;
	}
	while (rc >= 0 && got < n) {
		ssize_t k = os_pread(os, fd, p + got, n - got, (off_t)got);
		if (k == -EINTR)
			continue;
		if (k <= 0)
			rc = k ? (int)k : -VX_ERR_truncated;
		else
			got += (size_t)k;
	}
	os_close(os, fd);
	if (rc < 0) {
		mem_free(MEM_text, p);
		return rc;
	}
	p[n] = 0;
	*ret = p;
	*ret_n = n;
	return 0;
}

static bool depth_fits(const char *p, size_t n)
{
	unsigned depth = 0;
	bool in_string = false;
	for (size_t i = 0; i < n; i++) {
		char c = p[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
		} else if (c == '"') {
			in_string = true;
		} else if (c == '{' || c == '[') {
			if (++depth > EMBED_JSON_DEPTH)
				return false;
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return true;
}

int emb_json_text(const char *p, size_t n, const char *name, json_t **ret, struct vx_errinfo *reterr)
{
	json_error_t err;
	if (!depth_fits(p, n))
		return emb_fail(reterr, -VX_ERR_json_depth, "nested too deeply", name);
	json_t *j = json_loadb(p, n, JSON_REJECT_DUPLICATES, &err);
	if (!j) {
		emb_fail(reterr, -VX_ERR_json_syntax, "not valid JSON", name);
		if (reterr)
			reterr->position = err.position;
		return -VX_ERR_json_syntax;
	}
	if (!json_is_object(j)) {
		json_decref(j);
		return emb_fail(reterr, -VX_ERR_bad_format, "not a JSON object", name);
	}
	*ret = j;
	return 0;
}

int emb_json_file(struct os *os, int dirfd, const char *name, json_t **ret, struct vx_errinfo *reterr)
{
	char *p;
	size_t n;
	int rc = emb_read_file(os, dirfd, name, EMBED_FILE_JSON_MAX, &p, &n);
	if (rc < 0)
		return emb_fail(reterr, rc, rc == -ENOENT ? "the model's folder has no file" : "cannot read", name);
	rc = emb_json_text(p, n, name, ret, reterr);
	mem_free(MEM_text, p);
	return rc;
}

int emb_json_int(
        const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t dflt, int64_t *ret, struct vx_errinfo *reterr)
{
	const json_t *v = json_object_get(o, key);
	if ((!v || json_is_null(v)) && dflt != INT64_MIN) {
		*ret = dflt;
		return 0;
	}
	if (!json_is_integer(v) || json_integer_value(v) < lo || json_integer_value(v) > hi)
		return emb_fail(reterr, -VX_ERR_bad_value, "missing, or not an integer in its range", key);
	*ret = json_integer_value(v);
	return 0;
}
