/* vxattr.c - vectors as extended attributes of real files: user.vexfs.*.
 *
 * The kernel has checked read or write permission on the file before it asks (default_permissions; user.* needs it).  A set is
 * answered when getxattr and search see it; fsync makes it durable.  XATTR_CREATE and XATTR_REPLACE look first and then put: two
 * steps, so two racing creators may both succeed, as with any check before a write. */
#include <string.h>
#include <sys/xattr.h>

#include "fs/front.h"

#define PREFIX    "user.vexfs."
#define SIMILAR_K 10u

enum vx_kind {
	VX_vector,
	VX_payload,
	VX_packed,
	VX_state,
	VX_model,
	VX_dim,
	VX_hash,
	VX_chunks,
	VX_similar,
	VX_error,
	VX_unknown
};

static const char *const kinds[] = {
        "vector", "payload", "packed", "state", "model", "dim", "hash", "chunks", "similar", "error"};

/* user.vexfs.ignore is the user's own mark: it lies in DIR like any attribute, and the text index asks for it (engine/ignore.c) */
static bool ours(const char *name)
{
	return !strncmp(name, PREFIX, sizeof PREFIX - 1) && strcmp(name, VXATTR_IGNORE);
}

bool vxattr_hidden(const char *name)
{
	return ours(name);
}

/* what the name asks for; *ret_coll: the collection named, NULL: default */
static enum vx_kind kind_of(const char *name, const char **ret_coll)
{
	name += sizeof PREFIX - 1;
	*ret_coll = NULL;
	for (int k = 0; k < VX_unknown; k++)
		if (!strcmp(name, kinds[k]))
			return (enum vx_kind)k;
	static const char dotted[] = "vector.";
	size_t n = sizeof dotted - 1;
	if (!strncmp(name, dotted, n) && vq_coll_name_ok(name + n, strlen(name + n))) {
		*ret_coll = name + n;
		return VX_vector;
	}
	return VX_unknown;
}

/* getxattr's three ways to answer: how long it is, too small a buffer, the value */
static void reply_value(fuse_req_t req, size_t size, const void *p, size_t n)
{
	if (n > CONF_XATTR_MAX)
		fs_reply_rc(req, -E2BIG);
	else if (!size)
		fuse_reply_xattr(req, n);
	else if (n > size)
		fs_reply_rc(req, -ERANGE);
	else
		fuse_reply_buf(req, p, n);
}

static int coll_copy(struct fs_ask *a, const char *coll)
{
	if (!coll)
		return 0;
	a->q->j.coll = arena_strndup(&a->q->arena, coll, strlen(coll));
	return a->q->j.coll ? 0 : -VX_ERR_arena_full;
}

/* "absent" is one errno here, whatever was missing */
static int absent(int rc)
{
	return rc == -VX_ERR_no_collection || rc == -VX_ERR_no_object || rc == -VX_ERR_no_vector ? -ENODATA : rc;
}

static void similar_text(struct fs_ask *a, struct sbuf *b)
{
	const struct eng_job *j = &a->q->j;
	for (uint32_t i = 0; i < j->res_n; i++)
		if (j->res[i].path) {
			sb_str(b, j->res[i].path);
			sb_ch(b, '\n');
		}
}

static void hash_text(const struct eng_job *j, struct sbuf *b)
{
	for (size_t i = 0; i < sizeof j->ret_hash; i++)
		sb_hex(b, j->ret_hash[i], 2);
}

/* the value as text into b. 0, or what getxattr fails with */
static int value_text(struct fs_ask *a, struct sbuf *b)
{
	const struct eng_job *j = &a->q->j;
	int rc = absent(j->rc);
	switch ((enum vx_kind)a->kind) {
	case VX_state:
		if (rc < 0 && rc != -ENODATA)
			return rc;
		sb_str(b, vq_state_name(j->ret_state));
		return 0;
	case VX_chunks:
		if (rc < 0 && rc != -ENODATA)
			return rc;
		sb_u64(b, j->ret_chunks);
		return 0;
	case VX_hash:
		if (rc < 0 && rc != -ENODATA)
			return rc;
		if (!j->ret_hashed)
			return -ENODATA;
		hash_text(j, b);
		return 0;
	case VX_error:
		if (rc < 0 && rc != -ENODATA)
			return rc;
		if (!j->ret_error)
			return -ENODATA;
		sb_str(b, err_text(j->ret_error));
		return 0;
	case VX_dim:
		if (rc < 0 && rc != -ENODATA)
			return rc;
		if (!j->ret_dim)
			return -ENODATA;
		sb_u64(b, j->ret_dim);
		return 0;
	case VX_model:
		if (rc < 0 && rc != -ENODATA)
			return rc;
		if (!j->ret_model)
			return -ENODATA;
		sb_str(b, j->ret_model);
		return 0;
	case VX_similar:
		VX_TRY(rc);
		similar_text(a, b);
		return 0;
	case VX_vector:
	case VX_payload:
	case VX_packed:
	case VX_unknown:
		break;
	}
	return -ENODATA;
}

static void get_answer(struct fs_ask *a)
{
	const struct eng_job *j = &a->q->j;
	if (a->kind == VX_vector) {
		if (j->rc < 0)
			return fs_ask_fail(a, absent(j->rc));
		reply_value(a->req, a->size, j->ret_vec, j->ret_vec_bytes);
	} else if (a->kind == VX_payload) {
		/* a file may have a payload and no vector in the default collection */
		if (j->rc < 0 && absent(j->rc) != -ENODATA)
			return fs_ask_fail(a, j->rc);
		if (!j->ret_payload_n)
			return fs_ask_fail(a, -ENODATA);
		reply_value(a->req, a->size, j->ret_payload, j->ret_payload_n);
	} else {
		struct sbuf b;
		int rc = sbuf_arena(&b, &a->q->arena, 256, CONF_XATTR_MAX);
		if (rc >= 0)
			rc = value_text(a, &b);
		if (rc < 0)
			return fs_ask_fail(a, rc);
		reply_value(a->req, a->size, b.p, b.n);
	}
	fs_ask_free(a);
}

/* most files have no vector: what memory knows is answered without a query. True when it was. */
static bool get_quick(fuse_req_t req, struct fs *f, const struct fs_ref *r, enum vx_kind k, size_t size)
{
	if (k != VX_unknown && eng_known(f->e, &r->file.key))
		return false;
	if (k == VX_state)
		reply_value(req, size, "none", 4);
	else if (k == VX_chunks)
		reply_value(req, size, "0", 1);
	else
		fs_reply_rc(req, -ENODATA);
	return true;
}

bool vxattr_get(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	if (!ours(name))
		return false;
	const char *coll;
	enum vx_kind k = kind_of(name, &coll);
	struct fs *f = fs_of(req);
	struct fs_ref r;
	if (!f->e || k == VX_unknown) {
		fs_reply_rc(req, -ENODATA);
		return true;
	}
	int rc = fs_ref(f, ino, &r);
	if (rc < 0) {
		fs_reply_rc(req, rc);
		return true;
	}
	if (get_quick(req, f, &r, k, size)) {
		fs_ref_put(f, &r);
		return true;
	}
	if (k == VX_packed) {
		vpacked_get(req, &r, size);
		fs_ref_put(f, &r);
		return true;
	}
	struct fs_ask *a = fs_ask_new(req, get_answer);
	if (!a) {
		fs_ref_put(f, &r);
		return true;
	}
	a->kind = k;
	a->size = size;
	struct eng_job *j = &a->q->j;
	j->key = r.file.key;
	j->fd = r.fd;
	rc = coll_copy(a, coll);
	if (rc < 0) {
		fs_ref_put(f, &r);
		fs_ask_fail(a, rc);
		return true;
	}
	if (k == VX_similar) {
		vq_verb(a->q, "search");
		j->by_like_key = true;
		j->k = SIMILAR_K;
	} else {
		vq_verb(a->q, "get");
		j->with_vectors = k == VX_vector;
		j->with_payload = k == VX_payload;
		j->with_chunks = k == VX_chunks;
	}
	fs_ask_submit(a, &r);
	return true;
}

static void set_answer(struct fs_ask *a)
{
	int rc = a->q->j.rc;
	fs_reply_rc(a->req, rc < 0 ? rc : 0);
	fs_ask_free(a);
}

/* the first step of XATTR_CREATE and XATTR_REPLACE: is there one? */
static void look_answer(struct fs_ask *a)
{
	struct eng_job *j = &a->q->j;
	int rc = absent(j->rc);
	if (rc < 0 && rc != -ENODATA)
		return fs_ask_fail(a, rc);
	bool there = a->kind == VX_payload ? j->ret_payload_n > 0 : rc >= 0;
	int flags = (int)a->size;
	if (there && flags == XATTR_CREATE)
		return fs_ask_fail(a, -EEXIST);
	if (!there && flags == XATTR_REPLACE)
		return fs_ask_fail(a, -ENODATA);
	vq_verb(a->q, a->kind == VX_payload ? "payload" : "put");
	a->answer = set_answer;
	fs_ask_again(a);
}

static int set_check(enum vx_kind k, const char *value, size_t size)
{
	switch (k) {
	case VX_vector:
		return size && size % 4 == 0 ? 0 : -VX_ERR_dim_range;
	case VX_payload:
		return vq_payload_check(value, size);
	case VX_packed:
		return 0; /* judged when it is opened */
	case VX_unknown:
		return -EINVAL;
	case VX_state:
	case VX_model:
	case VX_dim:
	case VX_hash:
	case VX_chunks:
	case VX_similar:
	case VX_error:
		break;
	}
	return -EROFS; /* computed */
}

/* vectors belong to regular files */
static int file_check(const struct fs_ref *r)
{
	return S_ISREG(r->file.st.st_mode) ? 0 : -EOPNOTSUPP;
}

/* set, or remove when value is NULL */
static bool packed_call(fuse_req_t req, fuse_ino_t ino, const char *value, size_t size, int flags)
{
	struct fs *f = fs_of(req);
	struct fs_ref r;
	int rc = f->e ? fs_ref(f, ino, &r) : -VX_ERR_component_off;
	if (rc < 0) {
		fs_reply_rc(req, rc);
		return true;
	}
	rc = file_check(&r);
	if (rc < 0)
		fs_reply_rc(req, rc);
	else if (value)
		vpacked_set(req, &r, value, size, flags);
	else
		vpacked_remove(req, &r);
	fs_ref_put(f, &r);
	return true;
}

bool vxattr_set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	if (!ours(name))
		return false;
	const char *coll;
	enum vx_kind k = kind_of(name, &coll);
	int rc = size > CONF_XATTR_MAX ? -E2BIG : set_check(k, value, size);
	if (rc >= 0 && (flags & ~(XATTR_CREATE | XATTR_REPLACE) || flags == (XATTR_CREATE | XATTR_REPLACE)))
		rc = -EINVAL;
	if (rc < 0) {
		fs_reply_rc(req, rc);
		return true;
	}
	if (k == VX_packed)
		return packed_call(req, ino, value, size, flags);
	struct fs_ask *a = fs_ask_new(req, flags ? look_answer : set_answer);
	if (!a)
		return true;
	a->kind = k;
	a->size = (size_t)flags;
	struct eng_job *j = &a->q->j;
	void *copy = arena_alloc(&a->q->arena, size); /* the request's own buffer ends with this call */
	struct fs_ref r;
	rc = copy ? coll_copy(a, coll) : -VX_ERR_arena_full;
	if (rc >= 0)
		rc = fs_ask_on(a, ino, &r);
	if (rc < 0) {
		fs_ask_fail(a, rc);
		return true;
	}
	rc = file_check(&r);
	if (rc >= 0 && flags)
		rc = fs_ask_keep(a, &r);
	if (rc < 0) {
		fs_ref_put(a->f, &r);
		fs_ask_fail(a, rc);
		return true;
	}
	memcpy(copy, value, size);
	if (k == VX_vector) {
		j->vec = copy;
		j->vec_bytes = (uint32_t)size;
	} else {
		j->payload = copy;
		j->payload_n = (uint32_t)size;
	}
	vq_verb(a->q, flags ? "get" : k == VX_payload ? "payload" : "put");
	j->with_payload = k == VX_payload; /* of the look */
	fs_ask_submit(a, &r);
	return true;
}

static void remove_answer(struct fs_ask *a)
{
	int rc = a->q->j.rc;
	fs_reply_rc(a->req, rc < 0 ? absent(rc) : 0);
	fs_ask_free(a);
}

/* payload: the engine's removal doesn't say whether there was one */
static void remove_look(struct fs_ask *a)
{
	struct eng_job *j = &a->q->j;
	if (j->rc < 0 && absent(j->rc) != -ENODATA)
		return fs_ask_fail(a, j->rc);
	if (!j->ret_payload_n)
		return fs_ask_fail(a, -ENODATA);
	vq_verb(a->q, "payload");
	j->payload = NULL;
	j->payload_n = 0;
	a->answer = remove_answer;
	fs_ask_again(a);
}

bool vxattr_remove(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	if (!ours(name))
		return false;
	const char *coll;
	enum vx_kind k = kind_of(name, &coll);
	if (k == VX_packed)
		return packed_call(req, ino, NULL, 0, 0);
	if (k != VX_vector && k != VX_payload) {
		fs_reply_rc(req, k == VX_unknown ? -ENODATA : -EROFS);
		return true;
	}
	struct fs_ask *a = fs_ask_new(req, k == VX_payload ? remove_look : remove_answer);
	if (!a)
		return true;
	struct fs_ref r;
	int rc = coll_copy(a, coll);
	if (rc >= 0)
		rc = fs_ask_on(a, ino, &r);
	if (rc >= 0 && k == VX_payload && (rc = fs_ask_keep(a, &r)) < 0)
		fs_ref_put(a->f, &r);
	if (rc < 0) {
		fs_ask_fail(a, rc);
		return true;
	}
	a->kind = k;
	vq_verb(a->q, k == VX_payload ? "get" : "del");
	a->q->j.with_payload = k == VX_payload;
	fs_ask_submit(a, &r);
	return true;
}

/* ---- listxattr: packed is the only name of ours that tools carry, and only where there is something to carry ---- */

#define PACKED_NAME PREFIX "packed"

struct listed { /* a list that waits for the store */
	size_t n;
	char names[];
};

static void reply_list(fuse_req_t req, size_t size, char *names, size_t n, size_t cap, bool packed)
{
	if (packed && n + sizeof PACKED_NAME <= cap) {
		memcpy(names + n, PACKED_NAME, sizeof PACKED_NAME);
		n += sizeof PACKED_NAME;
	}
	if (!size)
		fuse_reply_xattr(req, n);
	else if (n > size)
		fs_reply_rc(req, -ERANGE);
	else
		fuse_reply_buf(req, names, n);
}

static void list_answer(struct fs_ask *a)
{
	struct listed *l = a->u;
	const struct eng_job *j = &a->q->j;
	uint64_t bytes = j->ret_payload_n;
	for (uint32_t i = 0; i < j->out_packed_n; i++)
		bytes += j->out_packed[i].vec_bytes;
	bool packed = bytes && bytes < CONF_XATTR_MAX - 1024;
	reply_list(a->req, a->size, l->names, l->n, l->n + sizeof PACKED_NAME, packed);
	fs_ask_free(a);
}

bool vxattr_list(fuse_req_t req, fuse_ino_t ino, size_t size, char *names, size_t n, size_t cap)
{
	struct fs *f = fs_of(req);
	struct fs_ref r;
	uint64_t bytes;
	if (!f->e || eng_cfg(f->e)->components == ENG_none || fs_ref(f, ino, &r) < 0)
		return false;
	int has = S_ISREG(r.file.st.st_mode) ? eng_points(f->e, &r.file.key, &bytes) : 0;
	if (has >= 0) {
		fs_ref_put(f, &r);
		reply_list(req, size, names, n, cap, has && bytes < CONF_XATTR_MAX - 1024);
		return true;
	}
	struct fs_ask *a = fs_ask_new(req, list_answer);
	struct listed *l = a ? arena_alloc(&a->q->arena, sizeof *l + n + sizeof PACKED_NAME) : NULL;
	if (!l) {
		if (a)
			fs_ask_fail(a, -VX_ERR_arena_full);
		fs_ref_put(f, &r);
		return true;
	}
	l->n = n;
	memcpy(l->names, names, n);
	a->u = l;
	a->size = size;
	a->q->j.key = r.file.key;
	a->q->j.fd = r.fd;
	vq_verb(a->q, "get");
	a->q->j.coll = "*";
	a->q->j.with_payload = true;
	fs_ask_submit(a, &r);
	return true;
}
