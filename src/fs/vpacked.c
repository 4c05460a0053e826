/* vpacked.c - user.vexfs.packed on real files: read, set, removed, listed; the format is query/packed.h's.
 *
 * Setting is a walk over the value: each vector is put into its collection with the hash of the content it describes, so it is fresh
 * only if the file has that content or gets it later (tar sets attributes first, cp -a last).  A collection that isn't there is made
 * like the one it came from; if the caller may not do that, its vector is left out.  The payload comes last. */
#include <string.h>
#include <sys/xattr.h>

#include "fs/front.h"
#include "query/packed.h"

static int absent(int rc)
{
	return rc == -VX_ERR_no_collection || rc == -VX_ERR_no_object || rc == -VX_ERR_no_vector ? -ENODATA : rc;
}

/* ---- get ---- */

/* by collection: equal points give equal bytes, which is what rsync -X compares. Few: insertion. */
static void in_order(struct eng_packed *p, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
		for (uint32_t k = i; k && strcmp(p[k - 1].coll, p[k].coll) > 0; k--) {
			struct eng_packed t = p[k];
			p[k] = p[k - 1];
			p[k - 1] = t;
		}
}
static void get_answer(struct fs_ask *a)
{
	struct eng_job *j = &a->q->j;
	int rc = absent(j->rc);
	struct sbuf b;
	in_order(j->out_packed, j->out_packed_n);
	if (rc >= 0 || (rc == -ENODATA && j->ret_payload_n)) {
		rc = sbuf_arena(&b, &a->q->arena, 4096, 4 * CONF_XATTR_MAX);
		if (rc >= 0)
			packed_put(&b, j->out_packed, j->out_packed_n, j->ret_payload, j->ret_payload_n);
		if (rc >= 0 && (b.over || b.n > CONF_XATTR_MAX))
			rc = -E2BIG;
	}
	if (rc < 0)
		return fs_ask_fail(a, rc);
	if (!a->size)
		fuse_reply_xattr(a->req, b.n);
	else if (b.n > a->size)
		fs_reply_rc(a->req, -ERANGE);
	else
		fuse_reply_buf(a->req, b.p, b.n);
	fs_ask_free(a);
}

/* the job that reads everything a file carries */
static void want_all(struct vq *q)
{
	vq_verb(q, "get");
	q->j.coll = "*";
	q->j.with_payload = true;
}

void vpacked_get(fuse_req_t req, const struct fs_ref *r, size_t size)
{
	struct fs_ask *a = fs_ask_new(req, get_answer);
	if (!a)
		return;
	a->size = size;
	a->q->j.key = r->file.key;
	a->q->j.fd = r->fd;
	want_all(a->q);
	fs_ask_submit(a, NULL);
}

/* ---- set ---- */

struct unpack {
	struct packed k;
	struct eng_packed cur;
	enum { AT_vec, AT_make, AT_again, AT_payload } at;
	int rc; /* the first failure that is told */
};

static void set_answer(struct fs_ask *a);

static void clear(struct eng_job *j)
{
	j->vec = NULL;
	j->vec_bytes = 0;
	j->payload = NULL;
	j->payload_n = 0;
	j->expect_hash = false;
}

/* the vector u->cur goes into the job */
static int vec_job(struct fs_ask *a)
{
	struct unpack *u = a->u;
	struct eng_job *j = &a->q->j;
	void *v = arena_alloc(&a->q->arena, u->cur.vec_bytes); /* aligned */
	if (!v)
		return -VX_ERR_arena_full;
	memcpy(v, u->cur.vec, u->cur.vec_bytes);
	clear(j);
	vq_verb(a->q, "put");
	j->coll = u->cur.coll;
	j->vec = v;
	j->vec_bytes = u->cur.vec_bytes;
	j->expect_hash = u->cur.hashed || u->cur.stale; /* stale without a hash: zeros, which no content has */
	memcpy(j->hash, u->cur.hash, sizeof j->hash);
	return 0;
}

/* the next job of the walk. 1: ready to submit; 0: all done; < 0 */
static int step(struct fs_ask *a)
{
	struct unpack *u = a->u;
	struct eng_job *j = &a->q->j;
	int r = packed_next(&u->k, &a->q->arena, &u->cur);
	if (r < 0)
		return r;
	if (r) {
		u->at = AT_vec;
		VX_TRY(vec_job(a));
		return 1;
	}
	if (u->at == AT_payload || !u->k.payload_n)
		return 0;
	u->at = AT_payload;
	clear(j);
	vq_verb(a->q, "payload");
	j->coll = NULL;
	j->payload = u->k.payload;
	j->payload_n = u->k.payload_n;
	return 1;
}

static void make_coll(struct fs_ask *a)
{
	struct unpack *u = a->u;
	struct eng_job *j = &a->q->j;
	clear(j);
	vq_verb(a->q, "collection_create");
	j->coll = u->cur.coll;
	memset(&j->coll_new, 0, sizeof j->coll_new);
	memcpy(j->coll_new.name, u->cur.coll, strlen(u->cur.coll) + 1);
	j->coll_new.dim = u->cur.dim;
	j->coll_new.metric = u->cur.metric;
	j->coll_new.dtype = u->cur.dtype;
	u->at = AT_make;
}

static void set_answer(struct fs_ask *a)
{
	struct unpack *u = a->u;
	int rc = a->q->j.rc, next = 1;
	if (u->at == AT_vec && rc == -VX_ERR_no_collection) {
		make_coll(a);
	} else if (u->at == AT_make && (rc >= 0 || rc == -VX_ERR_collection_exists)) {
		next = vec_job(a) < 0 ? -VX_ERR_arena_full : 1;
		u->at = AT_again;
	} else {
		/* who may not make the collection loses that vector, no more; the rest is told */
		/* rule errno-map: two codes and an errno mean one thing here */
		bool skipped = u->at == AT_make && (rc == -EACCES || rc == -EPERM || rc == -VX_ERR_not_owner);
		if (rc < 0 && !skipped && !u->rc)
			u->rc = rc;
		next = step(a);
	}
	if (next > 0) {
		fs_ask_again(a);
		return;
	}
	fs_reply_rc(a->req, next < 0 ? next : u->rc);
	fs_ask_free(a);
}

/* XATTR_CREATE, XATTR_REPLACE: is there something that would travel? */
static void flags_answer(struct fs_ask *a)
{
	struct eng_job *j = &a->q->j;
	int rc = absent(j->rc);
	if (rc == -ENODATA)
		rc = 0;
	bool there = j->ret_payload_n || j->out_packed_n;
	if (rc >= 0 && there && a->kind == XATTR_CREATE)
		rc = -EEXIST;
	if (rc >= 0 && !there && a->kind == XATTR_REPLACE)
		rc = -ENODATA;
	if (rc >= 0)
		rc = step(a);
	if (rc <= 0)
		return fs_ask_fail(a, rc); /* 0: nothing in it, done */
	a->answer = set_answer;
	fs_ask_again(a);
}

void vpacked_set(fuse_req_t req, const struct fs_ref *r, const char *value, size_t size, int flags)
{
	struct fs_ask *a = fs_ask_new(req, flags ? flags_answer : set_answer);
	if (!a)
		return;
	struct unpack *u = arena_zalloc(&a->q->arena, sizeof *u);
	void *copy = arena_alloc(&a->q->arena, size); /* the request's own buffer ends with this call */
	int rc = u && copy ? fs_ask_keep(a, r) : -VX_ERR_arena_full;
	a->u = u;
	if (rc >= 0) {
		memcpy(copy, value, size);
		rc = packed_open(&u->k, copy, size);
	}
	a->kind = flags;
	if (rc >= 0 && flags) {
		want_all(a->q);
		rc = 1;
	} else if (rc >= 0) {
		rc = step(a);
	}
	if (rc <= 0) {
		fs_ask_fail(a, rc); /* nothing in it: done */
		return;
	}
	a->q->j.key = r->file.key;
	a->q->j.fd = r->fd;
	fs_ask_submit(a, NULL);
}

/* ---- remove: look, vectors, payload ---- */

static void remove_answer(struct fs_ask *a)
{
	struct eng_job *j = &a->q->j;
	int rc = absent(j->rc);
	if (a->kind == 0) { /* the look */
		bool payload = j->ret_payload_n != 0, vecs = j->out_packed_n != 0;
		if (rc < 0 && !(rc == -ENODATA && payload))
			return fs_ask_fail(a, rc);
		a->kind = vecs ? 1 : 2;
		a->size = payload;
	} else if (rc < 0 && rc != -ENODATA) {
		return fs_ask_fail(a, rc);
	} else {
		a->kind++;
	}
	if (a->kind == 2 && !a->size)
		a->kind = 3;
	if (a->kind == 3) {
		fs_reply_rc(a->req, 0);
		fs_ask_free(a);
		return;
	}
	clear(j);
	vq_verb(a->q, a->kind == 1 ? "del" : "payload");
	j->coll = a->kind == 1 ? "*" : NULL;
	fs_ask_again(a);
}

void vpacked_remove(fuse_req_t req, const struct fs_ref *r)
{
	struct fs_ask *a = fs_ask_new(req, remove_answer);
	if (!a)
		return;
	int rc = fs_ask_keep(a, r);
	if (rc < 0) {
		fs_ask_fail(a, rc);
		return;
	}
	a->q->j.key = r->file.key;
	a->q->j.fd = r->fd;
	want_all(a->q);
	fs_ask_submit(a, NULL);
}
