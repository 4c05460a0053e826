/* storetest.h - a store in a directory of its own, ops submitted and waited for: what the tests of store/ share. */
#pragma once
#include "tap.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/os_fault.h"
#include "base/sbuf.h"
#include "store/store.h"
#include "store/store_int.h"

#define DIM 24u

struct box { /* DIR of a test */
	char path[128];
	int fd;
};
struct waiter { /* ops not yet durable */
	pthread_mutex_t m;
	pthread_cond_t c;
	int left, visible, durable, bad_order;
	int first_rc; /* of the first op that failed */
	uint64_t last_seq;
};
struct top { /* an op with what it owns */
	struct store_op op;
	struct waiter *w;
	uint64_t seq;
	bool seen;
	float v[DIM];
	struct store_coll k;
	int rc_visible, rc_durable;
};

static inline void box_open(struct box *b)
{
	const char *t = getenv("VEXFS_TEST_DIR");
	snprintf(b->path, sizeof b->path, "%s/vexfs-store.XXXXXX", t ? t : "/tmp");
	if (!mkdtemp(b->path))
		abort();
	b->fd = open(b->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}
static inline void rm_tree(const char *path)
{
	char cmd[512];
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", path);
	if (system(cmd))
		abort();
}
static inline void box_close(struct box *b)
{
	close(b->fd);
	rm_tree(b->path);
}
static inline void waiter_init(struct waiter *w)
{
	memset(w, 0, sizeof *w);
	pthread_mutex_init(&w->m, NULL);
	pthread_cond_init(&w->c, NULL);
}
static inline void on_visible(struct store_op *op, int rc)
{
	struct top *t = (struct top *)op;
	pthread_mutex_lock(&t->w->m);
	t->w->bad_order += t->seen;
	t->seen = true;
	t->rc_visible = rc;
	t->w->visible++;
	pthread_mutex_unlock(&t->w->m);
}
static inline void on_durable(struct store_op *op, int rc)
{
	struct top *t = (struct top *)op;
	struct waiter *w = t->w;
	pthread_mutex_lock(&w->m);
	w->bad_order += !t->seen || (w->last_seq && t->seq <= w->last_seq);
	w->last_seq = t->seq;
	t->rc_durable = rc;
	if (rc < 0 && !w->first_rc)
		w->first_rc = rc;
	w->durable++;
	w->left--;
	pthread_cond_broadcast(&w->c);
	pthread_mutex_unlock(&w->m);
}
static inline uint64_t next_seq(void)
{
	static uint64_t n;
	return ++n;
}
static inline void send(struct store *st, struct waiter *w, struct top *t)
{
	t->w = w;
	t->seq = next_seq();
	t->seen = false;
	t->op.visible = on_visible;
	t->op.durable = on_durable;
	pthread_mutex_lock(&w->m);
	w->left++;
	pthread_mutex_unlock(&w->m);
	store_submit(st, &t->op);
}
static inline void wait_all(struct waiter *w)
{
	pthread_mutex_lock(&w->m);
	while (w->left)
		pthread_cond_wait(&w->c, &w->m);
	pthread_mutex_unlock(&w->m);
}
/* one op, durable; its result */
static inline int run1(struct store *st, struct top *t)
{
	struct waiter w;
	waiter_init(&w);
	t->op.want_durable = true;
	send(st, &w, t);
	wait_all(&w);
	return t->rc_durable;
}
static inline int open_in(struct box *b, struct os *os, struct store **ret, struct vx_errinfo *e)
{
	struct store_cfg cfg = {.os = os, .root_fd = b->fd};
	return store_open(&cfg, ret, e);
}
static inline struct store *open_ok(struct box *b)
{
	struct store *st = NULL;
	struct vx_errinfo e = {0};
	int rc = open_in(b, os_real(), &st, &e);
	if (rc < 0) {
		printf("# store_open: %d %s\n", rc, e.detail);
		return NULL;
	}
	return st;
}
/* the vector of a number: any 4 bytes tell which write it was */
static inline void vec_fill(float *v, uint64_t x)
{
	uint8_t b[8];
	le64_put(b, x); /* the same on every machine */
	for (uint32_t i = 0; i < DIM; i++)
		v[i] = (float)(uint32_t)(hash64(b, 8, i) & 0xffffff) + 0.5f;
}
static inline void op_bind(struct top *t, uint32_t cid, uint32_t dim)
{
	memset(t, 0, sizeof *t);
	t->op.kind = SOP_coll_dim;
	t->op.cid = cid;
	t->k.dim = dim;
	t->op.coll = &t->k;
}
static inline void op_put(struct top *t, uint32_t cid, uint64_t oid, uint64_t x, uint32_t old_row)
{
	memset(t, 0, sizeof *t);
	t->op.kind = SOP_vec_put;
	t->op.cid = cid;
	t->op.oid = oid;
	t->op.old_row = old_row;
	t->op.stamp.size = x;
	vec_fill(t->v, x);
	t->op.vec = t->v;
	t->op.vec_bytes = sizeof t->v;
	t->op.is_free_point = true;
	t->op.free_id = oid;
}
/* the same for a file: its op_obj must have come first */
static inline void op_put_file(struct top *t, uint32_t cid, uint64_t oid, uint64_t x, uint32_t old_row)
{
	op_put(t, cid, oid, x, old_row);
	t->op.is_free_point = false;
}
static inline void op_obj(struct top *t, uint64_t oid)
{
	memset(t, 0, sizeof *t);
	t->op.kind = SOP_obj_put;
	t->op.oid = oid;
	t->op.obj_kind = STORE_OBJ_file;
	t->op.key.len = 8;
	t->op.key.type = 1;
	le64_put(t->op.key.b, oid * 7919);
}

/* what store_load tells, counted and kept by oid */
struct seen {
	uint32_t colls, objs, links, vecs, dead, graphs, damaged;
	uint32_t row_of[4096]; /* by id; UINT32_MAX: none */
	uint64_t x_of[4096]; /* stamp.size: which write */
	uint32_t dup, keybad;
	struct store *st;
	uint32_t bad_bytes;
	char link_name[CONF_NAME_MAX + 1];
	char graph_name[3][CONF_NAME_MAX + 1];
	uint32_t dim1;
};
static inline int seen_coll(void *u, const struct store_coll *c)
{
	struct seen *s = u;
	s->colls++;
	if (c->cid == 1)
		s->dim1 = c->dim;
	return 0;
}
static inline int seen_obj(void *u, uint64_t oid, const struct obj_key *key, uint8_t kind, uint8_t ts, int32_t te,
        const struct stamp *t, bool pay)
{
	struct seen *s = u;
	s->objs++;
	s->keybad += key->len != 8 || le64_get(key->b) != oid * 7919;
	return 0;
}
static inline int seen_link(void *u, uint64_t oid, uint64_t parent, const char *name)
{
	struct seen *s = u;
	s->links++;
	memcpy(s->link_name, name, strlen(name) + 1);
	return 0;
}
static inline int seen_vec(
        void *u, uint32_t cid, uint32_t row, uint64_t gen, bool dead, bool fp, uint64_t id, const struct stamp *t)
{
	struct seen *s = u;
	if (dead) {
		s->dead++;
		return 0;
	}
	s->vecs++;
	if (cid != 1)
		return 0;
	uint32_t at = (uint32_t)(id % 4096);
	s->dup += s->row_of[at] != UINT32_MAX;
	s->row_of[at] = row;
	s->x_of[at] = t->size;
	float want[DIM];
	vec_fill(want, t->size);
	const void *have = rows_vec(store_rows(s->st, cid), row);
	s->bad_bytes += !have || memcmp(have, want, sizeof want) || !store_row_ok(s->st, cid, row);
	return 0;
}
static inline int seen_graph(void *u, uint32_t cid, uint64_t gen, const char *name)
{
	struct seen *s = u;
	if (s->graphs < 3)
		memcpy(s->graph_name[s->graphs], name, strlen(name) + 1);
	s->graphs++;
	return 0;
}
static inline void seen_damaged(void *u, const char *table, uint64_t id)
{
	((struct seen *)u)->damaged++;
}
static inline int load(struct store *st, struct seen *s)
{
	const struct store_load_cb cb = {seen_coll, seen_obj, seen_link, seen_vec, seen_graph, seen_damaged};
	memset(s, 0, sizeof *s);
	memset(s->row_of, 0xff, sizeof s->row_of);
	s->st = st;
	return store_load(st, &cb, s);
}
