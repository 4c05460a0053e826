/* fault_client.c - the store's side of the fault suite: runs a script of operations, tells what was acknowledged, and checks what a fault left.
 *
 * A script is a flat list of store ops made from a seed; after each of its prefixes the expected content is one number (the sum of a
 * hash of everything there is).  Whatever stopped the run, the store must open and its content must be that of some prefix which
 * holds every acknowledged op: groups are atomic and in order, so nothing else can be right.
 *
 *   fault_client setup DIR SEED                 a store with 1,015 points, closed cleanly
 *   fault_client run DIR SEED OPS ACK [LOG]     run the script; ACK gets {u32 ops acknowledged, u64 entries of the block log LOG then}
 *   fault_client full DIR                       put points until the disk is full, say "full N", wait for a line, go on, say "ok N" or "bad WHY"
 *   fault_client serve                          commands on stdin, an answer line each:
 *       check DIR SEED OPS ACKED                "ok PREFIX" | "bad WHY"       (then the store is verified: findings are bad)
 *       rot DIR SEED OPS                        "same" | "told WHY" | "silent WHY"   after bytes of a clean store were changed */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/sbuf.h"
#include "store/store.h"
#include "store/verify_int.h"

#define FILES   10u
#define COLLS   3u /* default, and two that come and go */
#define FILL    1015u
#define OPS_MAX 4096u
#define DIM_MAX 96u

enum fkind {
	F_OBJ,
	F_LINK,
	F_VEC,
	F_VDEL,
	F_OBJDEL,
	F_FREE,
	F_STAMP,
	F_PAY,
	F_PAYDEL,
	F_CHUNKS,
	F_TEXT,
	F_GRAPH,
	F_COLL,
	F_BIND,
	F_UNBIND,
	F_DROP,
	F_MOVE,
	F_REOPEN
};
struct fop {
	enum fkind kind;
	uint32_t f, c;
	uint64_t x;
	bool want;
};
struct model {
	struct {
		uint64_t obj, link, pay, text, vec[COLLS], stamp[COLLS];
	} f[FILES];
	struct {
		uint64_t there, dim;
	} c[COLLS];
	uint64_t graph;
};
static struct fop ops[OPS_MAX];
static uint64_t digest[OPS_MAX + 1];
static uint32_t ops_n;

static uint64_t rnd_state;
static uint32_t rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(rnd_state >> 33) % n;
}

/* ---- the expected content as a number --------------------------------------------------------------------------------------- */
static uint64_t item(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	const uint64_t v[4] = {a, b, c, d};
	return hash64(v, sizeof v, 77);
}
static uint64_t model_digest(const struct model *m)
{
	uint64_t h = 0;
	for (uint32_t f = 0; f < FILES; f++) {
		h += m->f[f].obj ? item(1, f, 0, 0) : 0;
		h += m->f[f].link ? item(2, f, m->f[f].link, 0) : 0;
		h += m->f[f].pay ? item(3, f, m->f[f].pay, 0) : 0;
		h += m->f[f].text ? item(4, f, m->f[f].text, 0) : 0;
		for (uint32_t c = 0; c < COLLS; c++)
			h += m->f[f].vec[c] ? item(5, f * 16 + c, m->f[f].vec[c], m->f[f].stamp[c]) : 0;
	}
	for (uint32_t c = 0; c < COLLS; c++)
		h += m->c[c].there ? item(6, c, m->c[c].dim, 0) : 0;
	h += m->graph ? item(7, m->graph, 0, 0) : 0;
	return h;
}
static void model_apply(struct model *m, const struct fop *o)
{
	switch (o->kind) {
	case F_OBJ:
		m->f[o->f].obj = 1;
		break;
	case F_LINK:
		m->f[o->f].link = o->x;
		break;
	case F_VEC:
		m->f[o->f].vec[o->c] = m->f[o->f].stamp[o->c] = o->x;
		break;
	case F_VDEL:
		m->f[o->f].vec[o->c] = m->f[o->f].stamp[o->c] = 0;
		break;
	case F_OBJDEL:
		memset(&m->f[o->f], 0, sizeof m->f[o->f]);
		break;
	case F_STAMP:
		m->f[o->f].stamp[o->c] = o->x;
		break;
	case F_PAY:
		m->f[o->f].pay = o->x;
		break;
	case F_PAYDEL:
		m->f[o->f].pay = 0;
		break;
	case F_TEXT:
		m->f[o->f].text = o->x;
		break;
	case F_GRAPH:
		m->graph = o->x;
		break;
	case F_COLL:
		m->c[o->c].there = 1;
		m->c[o->c].dim = 0;
		break;
	case F_BIND:
		m->c[o->c].dim = o->x;
		break;
	case F_UNBIND:
		m->c[o->c].dim = 0;
		break;
	case F_DROP:
		m->c[o->c].there = m->c[o->c].dim = 0;
		for (uint32_t f = 0; f < FILES; f++)
			m->f[f].vec[o->c] = m->f[f].stamp[o->c] = 0;
		break;
	case F_FREE:
	case F_MOVE:
	case F_CHUNKS:
	case F_REOPEN:
		break;
	}
}

/* ---- scripts ----------------------------------------------------------------------------------------------------------------- */
static struct model sm;
static void add(enum fkind k, uint32_t f, uint32_t c, uint64_t x)
{
	if (ops_n >= OPS_MAX)
		return;
	struct fop *o = &ops[ops_n++];
	*o = (struct fop){.kind = k, .f = f, .c = c, .x = x};
	model_apply(&sm, o);
	digest[ops_n] = model_digest(&sm);
}
static void add_obj(uint32_t f)
{
	if (sm.f[f].obj)
		return;
	add(F_OBJ, f, 0, 0);
	add(F_LINK, f, 0, ops_n + 1);
}
static void add_coll(uint32_t c)
{
	bool any = false;
	for (uint32_t f = 0; f < FILES; f++)
		any |= sm.f[f].vec[c] != 0;
	if (!sm.c[c].there)
		add(F_COLL, 0, c, 0);
	else if (!sm.c[c].dim)
		add(F_BIND, 0, c, 8 + 8 * rnd(10));
	else if (any && rnd(2))
		add(F_DROP, 0, c, 0);
	else if (!any)
		add(rnd(2) ? F_UNBIND : F_DROP, 0, c, 0);
	else
		for (uint32_t f = 0; f < FILES; f++)
			if (sm.f[f].vec[c])
				add(F_VDEL, f, c, 0);
}
static void script_make(uint64_t seed, uint32_t steps)
{
	memset(&sm, 0, sizeof sm);
	sm.c[0].there = 1;
	sm.c[0].dim = 24;
	ops_n = 0;
	digest[0] = model_digest(&sm);
	rnd_state = seed * 0x9e3779b97f4a7c15ull + 1;
	for (uint32_t i = 0; i < steps; i++) {
		uint32_t f = rnd(FILES), k = rnd(40), c = rnd(3) ? 0 : rnd(COLLS);
		uint64_t x = ops_n + 1;
		if (k < 14) {
			add_obj(f);
			if (sm.c[c].there && sm.c[c].dim)
				add(F_VEC, f, c, x);
			else
				add_coll(c);
		} else if (k < 17 && sm.f[f].vec[c]) {
			add(F_VDEL, f, c, 0);
		} else if (k < 19) {
			add(F_OBJDEL, f, 0, 0);
		} else if (k < 22) {
			add(F_FREE, 0, 0, 0);
		} else if (k < 24 && sm.f[f].vec[c]) {
			add(F_STAMP, f, c, x + 100000);
		} else if (k < 28) {
			add_obj(f);
			add(sm.f[f].pay && rnd(2) ? F_PAYDEL : F_PAY, f, 0, x);
		} else if (k < 32) {
			add_obj(f);
			add(F_CHUNKS, f, 0, x);
			add(F_TEXT, f, 0, x);
		} else if (k < 33) {
			add(F_GRAPH, 0, 0, x);
		} else if (k < 38) {
			add_coll(1 + rnd(COLLS - 1));
		} else if (k < 39 && sm.f[f].vec[c]) {
			add(F_MOVE, f, c, 0);
		} else if (k < 40) {
			add(F_REOPEN, 0, 0, 0);
		}
		if (ops_n)
			ops[ops_n - 1].want |= rnd(3) == 0 || i == steps - 1;
	}
}

static void vec_fill(float *v, uint32_t dim, uint64_t x)
{
	for (uint32_t i = 0; i < dim; i++)
		v[i] = (float)(uint32_t)(hash64(&x, 8, i) & 0xffffff) + 0.5f;
}
static uint32_t pay_fill(char *p, uint64_t x)
{
	uint32_t n = 2 + (uint32_t)(hash64(&x, 8, 1) % 9000); /* up to three overflow pages */
	for (uint32_t i = 0; i < n; i++)
		p[i] = (char)('a' + hash64(&x, 8, i / 64 + 2) % 26);
	return n;
}
static void text_fill(char *p, size_t cap, uint64_t x, uint32_t ord)
{
	snprintf(p, cap, "w%" PRIu64 " part%u of a text about storms and calm seas", x, ord);
}

/* ---- a store and what the engine would know of it ------------------------------------------------------------------------------ */
struct view {
	struct store *st;
	struct model m;
	uint32_t row[COLLS][FILES], cid[COLLS], fill, bad, damaged;
	uint32_t dead[COLLS][OPS_MAX], dead_n[COLLS];
	uint32_t text_state[FILES];
	bool pay[FILES];
	char why[200];
};
static void why(struct view *v, const char *what, uint64_t n)
{
	if (!v->why[0])
		snprintf(v->why, sizeof v->why, "%s %" PRIu64, what, n);
	v->bad++;
}
static int coll_of(const struct view *v, uint32_t cid)
{
	for (uint32_t c = 0; c < COLLS; c++)
		if (v->cid[c] == cid)
			return (int)c;
	return -1;
}
static int on_coll(void *u, const struct store_coll *k)
{
	struct view *v = u;
	int c = k->cid == 1 ? 0 : k->name[0] == 'x' ? k->name[1] - '0' : -1;
	if (k->cid == 2)
		return 0;
	if (c < 0 || c >= (int)COLLS) {
		why(v, "a collection nobody made", k->cid);
		return 0;
	}
	v->cid[c] = k->cid;
	v->m.c[c].there = 1;
	v->m.c[c].dim = k->dim;
	return 0;
}
static int on_obj(void *u, uint64_t oid, const struct obj_key *key, uint8_t kind, uint8_t ts, int32_t te,
        const struct stamp *t, bool pay)
{
	struct view *v = u;
	if (oid < 2 || oid >= FILES + 2 || key->len != 8 || le64_get(key->b) != oid * 7919) {
		why(v, "a wrong object", oid);
		return 0;
	}
	v->m.f[oid - 2].obj = 1;
	v->pay[oid - 2] = pay;
	v->text_state[oid - 2] = ts;
	if (ts == STORE_TEXT_done)
		v->m.f[oid - 2].text = t->size;
	return 0;
}
static int on_link(void *u, uint64_t oid, uint64_t parent, const char *name)
{
	struct view *v = u;
	if (oid < 2 || oid >= FILES + 2 || parent != 1 || v->m.f[oid - 2].link)
		why(v, "a wrong link", oid);
	else
		v->m.f[oid - 2].link = strtoull(name + 1, NULL, 10);
	return 0;
}
static int on_vec(
        void *u, uint32_t cid, uint32_t row, uint64_t gen, bool dead, bool fp, uint64_t id, const struct stamp *t)
{
	struct view *v = u;
	int c = coll_of(v, cid);
	float want[DIM_MAX];
	if (c < 0) {
		why(v, "a vector of no collection", cid);
		return 0;
	}
	if (dead) {
		if (v->dead_n[c] < OPS_MAX)
			v->dead[c][v->dead_n[c]++] = row;
		return 0;
	}
	const struct vec_rows *r = store_rows(v->st, cid);
	const void *have = rows_vec(r, row);
	if (!have || !store_row_ok(v->st, cid, row)) {
		why(v, "a bad slot, row", row);
		return 0;
	}
	if (fp) {
		v->fill++;
		vec_fill(want, r->dim, id);
		if (memcmp(have, want, r->dim * 4) || t->size != id)
			why(v, "a wrong point", id);
		return 0;
	}
	if (id < 2 || id >= FILES + 2 || v->m.f[id - 2].vec[c]) {
		why(v, "a vector of a wrong file, or two", id);
		return 0;
	}
	for (uint64_t x = 1; x <= OPS_MAX; x++) {
		vec_fill(want, r->dim > 2 ? 2 : r->dim, x);
		if (memcmp(have, want, 8))
			continue;
		vec_fill(want, r->dim, x);
		if (!memcmp(have, want, r->dim * 4))
			v->m.f[id - 2].vec[c] = x;
	}
	if (!v->m.f[id - 2].vec[c])
		why(v, "bytes no op ever wrote, row", row);
	v->m.f[id - 2].stamp[c] = t->size;
	v->row[c][id - 2] = row;
	return 0;
}
static int on_graph(void *u, uint32_t cid, uint64_t gen, const char *name)
{
	struct view *v = u;
	char buf[16] = {0};
	int fd = openat(store_coll_dirfd(v->st, cid), name, O_RDONLY);
	if (fd < 0 || read(fd, buf, sizeof buf) != 8 || le64_get(buf) != gen)
		why(v, "a graph without its file", gen);
	if (fd >= 0)
		close(fd);
	if (v->m.graph)
		why(v, "a second graph", gen);
	v->m.graph = gen;
	return 0;
}
static void on_damaged(void *u, const char *table, uint64_t id)
{
	struct view *v = u;
	v->damaged++;
	if (!v->why[0])
		snprintf(v->why, sizeof v->why, "damaged row of %s", table);
}

/* What only reads can tell, payloads and texts, is asked for all at once: a check then wakes up some times, not some hundred, which on a
 * busy machine is most of what a power cut costs. */
struct ask {
	struct store_read r;
	struct arena a;
	uint32_t f;
	char text[80];
};
static struct ask asks[FILES * 5];
static uint32_t asks_n, asks_out;
static pthread_mutex_t ask_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ask_cond = PTHREAD_COND_INITIALIZER;
static void ask_done(struct store_read *r)
{
	pthread_mutex_lock(&ask_lock);
	if (!--asks_out)
		pthread_cond_signal(&ask_cond);
	pthread_mutex_unlock(&ask_lock);
}
static struct ask *ask(enum store_read_kind kind, uint32_t f)
{
	struct ask *k = &asks[asks_n++];
	memset(k, 0, sizeof *k);
	arena_init(&k->a, MEM_misc, 1 << 20);
	k->f = f;
	k->r = (struct store_read){.kind = kind, .oid = f + 2, .arena = &k->a, .done = ask_done};
	return k;
}
static void ask_text(uint32_t f, uint64_t x)
{
	struct ask *k = ask(SRD_fts, f);
	snprintf(k->text, sizeof k->text, "w%" PRIu64, x);
	k->r.text = k->text;
	k->r.text_n = (uint32_t)strlen(k->text);
	k->r.limit = 10;
	for (uint32_t ord = 0; ord < 3; ord++) {
		k = ask(SRD_chunk, f);
		k->r.ord = ord;
		text_fill(k->text, sizeof k->text, x, ord);
	}
}
static void told_payload(struct view *v, const struct ask *k)
{
	static char want[16384];
	for (uint64_t x = 1; x <= OPS_MAX; x++) {
		uint32_t n = 2 + (uint32_t)(hash64(&x, 8, 1) % 9000);
		if (n == k->r.data_n && pay_fill(want, x) == n && !memcmp(want, k->r.data, n)) {
			v->m.f[k->f].pay = x;
			return;
		}
	}
	why(v, "a payload nobody wrote, file", k->f);
}
static void told(struct view *v, const struct ask *k)
{
	if (k->r.kind == SRD_payload && k->r.rc < 0)
		why(v, "a payload that cannot be read, file", k->f);
	else if (k->r.kind == SRD_payload)
		told_payload(v, k);
	else if (k->r.kind == SRD_fts && (k->r.rc < 0 || k->r.hit_n != 3 || k->r.hits[0].oid != k->f + 2))
		why(v, "text that is not found, file", k->f);
	else if (k->r.kind == SRD_chunk && (k->r.rc < 0 || strcmp(k->r.hits[0].snippet, k->text)))
		why(v, "a chunk that is not what was written, file", k->f);
}
static void look_deep(struct view *v)
{
	asks_n = asks_out = 0;
	for (uint32_t f = 0; f < FILES; f++) {
		if (v->pay[f])
			ask(SRD_payload, f);
		if (v->m.f[f].text)
			ask_text(f, v->m.f[f].text);
	}
	asks_out = asks_n;
	for (uint32_t i = 0; i < asks_n; i++)
		if (store_read(v->st, &asks[i].r) < 0)
			abort(); /* the queue holds more */
	pthread_mutex_lock(&ask_lock);
	while (asks_out)
		pthread_cond_wait(&ask_cond, &ask_lock);
	pthread_mutex_unlock(&ask_lock);
	for (uint32_t i = 0; i < asks_n; i++) {
		told(v, &asks[i]);
		arena_done(&asks[i].a);
	}
}

static int view_open(struct view *v, const char *dir, bool deep)
{
	static const struct store_load_cb cb = {on_coll, on_obj, on_link, on_vec, on_graph, on_damaged};
	struct vx_errinfo e = {0};
	struct store_cfg cfg = {.os = os_real(), .root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
	memset(v, 0, sizeof *v);
	memset(v->row, 0xff, sizeof v->row);
	if (cfg.root_fd < 0)
		return -errno;
	int rc = store_open(&cfg, &v->st, &e);
	close(cfg.root_fd); /* borrowed only while opening, in fact */
	if (rc < 0) {
		snprintf(v->why, sizeof v->why, "store_open: %s (%s)", e.detail, err_name(rc));
		return rc;
	}
	rc = store_load(v->st, &cb, v);
	if (rc < 0) {
		snprintf(v->why, sizeof v->why, "store_load: %s", err_name(rc));
		store_close(v->st);
		v->st = NULL;
		return rc;
	}
	if (deep)
		look_deep(v);
	return 0;
}

/* ---- run ----------------------------------------------------------------------------------------------------------------------- */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cv = PTHREAD_COND_INITIALIZER;
static uint32_t acked, in_flight;
static bool failed;
static int ack_fd = -1, log_fd = -1;

struct run_op {
	struct store_op op;
	uint32_t i;
	bool seen, scripted, may_fail;
	int rc;
	float v[DIM_MAX];
	char pay[16384];
	struct store_coll k;
	struct store_chunk chunk[3];
	char text[3][80];
};
static void r_visible(struct store_op *op, int rc)
{
	struct run_op *r = (struct run_op *)op;
	pthread_mutex_lock(&mu);
	r->seen = true;
	r->rc = rc;
	failed |= rc < 0 && !(r->may_fail && rc == -VX_ERR_bad_value);
	pthread_cond_broadcast(&cv);
	pthread_mutex_unlock(&mu);
}
static void r_durable(struct store_op *op, int rc)
{
	struct run_op *r = (struct run_op *)op;
	uint8_t rec[12] = {0};
	pthread_mutex_lock(&mu);
	if (r->may_fail && rc == -VX_ERR_bad_value)
		rc = 0;
	failed |= rc < 0;
	if (!rc && !failed && r->scripted) {
		acked = r->i + 1;
		if (ack_fd >= 0) {
			le32_put(rec, acked);
			if (log_fd >= 0 && pread(log_fd, rec + 4, 8, 16) != 8)
				abort();
			if (write(ack_fd, rec, sizeof rec) != sizeof rec)
				abort();
		}
	}
	in_flight--;
	pthread_cond_broadcast(&cv);
	pthread_mutex_unlock(&mu);
	free(r);
}
static void r_send(struct store *st, struct run_op *r)
{
	r->op.visible = r_visible;
	r->op.durable = r_durable;
	pthread_mutex_lock(&mu);
	in_flight++;
	pthread_mutex_unlock(&mu);
	store_submit(st, &r->op);
}
static void drain(void)
{
	pthread_mutex_lock(&mu);
	while (in_flight)
		pthread_cond_wait(&cv, &mu);
	pthread_mutex_unlock(&mu);
}

/* the store thread hands rows back through these: read under mu after visible() */
static uint32_t got_row, got_cid;
static bool got_seen;
static void r_visible_copy(struct store_op *op, int rc)
{
	pthread_mutex_lock(&mu);
	got_row = op->ret_row;
	got_cid = op->ret_cid;
	got_seen = true;
	pthread_mutex_unlock(&mu);
	r_visible(op, rc);
}

static void run_one(struct view *v, uint32_t i)
{
	const struct fop *o = &ops[i];
	struct run_op *r = calloc(1, sizeof *r);
	struct store_op *op = &r->op;
	char name[16];
	r->i = i;
	r->scripted = true;
	op->want_durable = o->want;
	op->oid = o->f + 2;
	op->cid = v->cid[o->c];
	switch (o->kind) {
	case F_OBJ:
		op->kind = SOP_obj_put;
		op->obj_kind = STORE_OBJ_file;
		op->key.len = 8;
		le64_put(op->key.b, op->oid * 7919);
		break;
	case F_LINK:
		op->kind = SOP_link_put;
		op->parent = 1;
		snprintf(op->name, sizeof op->name, "n%" PRIu64, o->x);
		break;
	case F_VEC: {
		uint32_t dim = store_rows(v->st, op->cid)->dim;
		op->kind = SOP_vec_put;
		op->old_row = v->row[o->c][o->f];
		op->stamp.size = o->x;
		vec_fill(r->v, dim, o->x);
		op->vec = r->v;
		op->vec_bytes = dim * 4;
		break;
	}
	case F_VDEL:
		op->kind = SOP_vec_del;
		op->old_row = v->row[o->c][o->f];
		break;
	case F_OBJDEL:
		op->kind = SOP_obj_del;
		break;
	case F_FREE:
		op->kind = v->dead_n[0] ? SOP_row_free : SOP_barrier;
		op->cid = 1;
		if (v->dead_n[0])
			op->old_row = v->dead[0][--v->dead_n[0]];
		break;
	case F_MOVE:
		op->kind = SOP_vec_move;
		op->old_row = v->row[o->c][o->f];
		r->may_fail = true; /* there may be no free row below */
		break;
	case F_STAMP:
		op->kind = SOP_vec_stamp;
		op->old_row = v->row[o->c][o->f];
		op->stamp.size = o->x;
		break;
	case F_PAY:
	case F_PAYDEL:
		op->kind = SOP_payload_put;
		op->data = r->pay;
		op->data_n = o->kind == F_PAY ? pay_fill(r->pay, o->x) : 0;
		break;
	case F_CHUNKS:
		op->kind = SOP_text_chunks;
		op->text_ver = o->x;
		for (uint32_t k = 0; k < 3; k++) {
			text_fill(r->text[k], sizeof r->text[k], o->x, k);
			r->chunk[k] = (struct store_chunk){
			        .ord = k, .text = r->text[k], .text_n = (uint32_t)strlen(r->text[k])};
		}
		op->chunk = r->chunk;
		op->chunk_n = 3;
		break;
	case F_TEXT:
		op->kind = SOP_text_done;
		op->text_ver = o->x;
		op->text_state = STORE_TEXT_done;
		op->stamp.size = o->x;
		break;
	case F_GRAPH: {
		uint8_t b[8];
		op->kind = SOP_graph_put;
		op->cid = 1;
		op->graph_gen = o->x;
		snprintf(op->name, sizeof op->name, "g%" PRIu64 ".hnsw", o->x);
		le64_put(b, o->x);
		int fd = openat(store_coll_dirfd(v->st, 1), op->name, O_CREAT | O_WRONLY | O_TRUNC, 0600);
		if (fd < 0 || write(fd, b, 8) != 8 || fsync(fd) || fsync(store_coll_dirfd(v->st, 1)))
			failed = true; /* a fault meant for the store hit the graph: the script ends here */
		if (fd >= 0)
			close(fd);
		break;
	}
	case F_COLL:
		op->kind = SOP_coll_create;
		snprintf(name, sizeof name, "x%u", o->c);
		memcpy(r->k.name, name, sizeof name);
		r->k.metric = VXM_l2;
		op->coll = &r->k;
		break;
	case F_BIND:
	case F_UNBIND:
		op->kind = SOP_coll_dim;
		r->k.dim = (uint32_t)o->x;
		op->coll = &r->k;
		break;
	case F_DROP:
		op->kind = SOP_coll_drop;
		break;
	case F_REOPEN:
		op->kind = SOP_barrier;
		break;
	}
	if (failed) {
		free(r);
		return;
	}
	got_seen = false;
	pthread_mutex_lock(&mu);
	in_flight++;
	pthread_mutex_unlock(&mu);
	op->visible = r_visible_copy;
	op->durable = r_durable;
	store_submit(v->st, op);
	pthread_mutex_lock(&mu);
	while (!got_seen)
		pthread_cond_wait(&cv, &mu);
	uint32_t row = got_row, cid = got_cid;
	pthread_mutex_unlock(&mu);
	if (failed)
		return;
	if (o->kind == F_MOVE && row == UINT32_MAX)
		return;
	if (o->kind == F_VEC || o->kind == F_VDEL || o->kind == F_MOVE) {
		if (v->row[o->c][o->f] != UINT32_MAX)
			v->dead[o->c][v->dead_n[o->c]++] = v->row[o->c][o->f];
		v->row[o->c][o->f] = o->kind == F_VDEL ? UINT32_MAX : row;
	} else if (o->kind == F_OBJDEL) {
		for (uint32_t c = 0; c < COLLS; c++) {
			if (v->row[c][o->f] != UINT32_MAX)
				v->dead[c][v->dead_n[c]++] = v->row[c][o->f];
			v->row[c][o->f] = UINT32_MAX;
		}
	} else if (o->kind == F_COLL) {
		v->cid[o->c] = cid;
	}
	if (o->kind == F_DROP || o->kind == F_UNBIND) {
		for (uint32_t f = 0; f < FILES; f++)
			v->row[o->c][f] = UINT32_MAX;
		v->dead_n[o->c] = 0;
	}
}

static struct view view, view2;
static int cmd_run(const char *dir, uint64_t seed, uint32_t steps)
{
	script_make(seed, steps);
	if (view_open(&view, dir, false) < 0) {
		fprintf(stderr, "%s\n", view.why);
		return 3;
	}
	for (uint32_t i = 0; i < ops_n && !failed; i++) {
		run_one(&view, i);
		if (ops[i].kind != F_REOPEN || failed)
			continue;
		drain();
		store_close(view.st);
		if (view_open(&view, dir, false) < 0)
			return 3;
	}
	drain();
	store_close(view.st);
	return failed ? 4 : 0;
}

static int cmd_setup(const char *dir, uint64_t seed)
{
	if (view_open(&view, dir, false) < 0) {
		fprintf(stderr, "%s\n", view.why);
		return 3;
	}
	for (uint32_t i = 0; i <= FILL; i++) {
		struct run_op *r = calloc(1, sizeof *r);
		r->op.cid = 1;
		r->op.kind = i ? SOP_vec_put : SOP_coll_dim;
		r->k.dim = 24;
		r->op.coll = &r->k;
		r->op.is_free_point = true;
		r->op.free_id = r->op.stamp.size = 100000 + i;
		r->op.old_row = UINT32_MAX;
		vec_fill(r->v, 24, 100000 + i);
		r->op.vec = r->v;
		r->op.vec_bytes = 96;
		r->op.want_durable = i == FILL;
		r_send(view.st, r);
	}
	drain();
	store_close(view.st);
	(void)seed;
	return failed ? 4 : 0;
}

/* ---- full ---------------------------------------------------------------------------------------------------------------------- */
#define FULL_MAX 200000u
static uint8_t full_ok[FULL_MAX];
static uint32_t full_lost;
static int full_rc;
static bool full_done;
static void full_durable(struct store_op *op, int rc)
{
	pthread_mutex_lock(&mu);
	full_rc = rc;
	full_done = true;
	pthread_cond_broadcast(&cv);
	pthread_mutex_unlock(&mu);
}
static int full_put(struct store *st, uint32_t id)
{
	struct store_op op = {.kind = id ? SOP_vec_put : SOP_coll_dim,
	        .cid = 1,
	        .is_free_point = true,
	        .free_id = id,
	        .old_row = UINT32_MAX,
	        .want_durable = true,
	        .durable = full_durable};
	struct store_coll k = {.dim = 96};
	float v[96];
	op.coll = &k;
	vec_fill(v, 96, id);
	op.stamp.size = id;
	op.vec = v;
	op.vec_bytes = sizeof v;
	pthread_mutex_lock(&mu);
	full_done = false;
	pthread_mutex_unlock(&mu);
	store_submit(st, &op);
	pthread_mutex_lock(&mu);
	while (!full_done)
		pthread_cond_wait(&cv, &mu);
	pthread_mutex_unlock(&mu);
	return full_rc;
}
static int full_vec(
        void *u, uint32_t cid, uint32_t row, uint64_t gen, bool dead, bool fp, uint64_t id, const struct stamp *t)
{
	struct view *v = u;
	float want[96];
	const void *have = rows_vec(store_rows(v->st, cid), row);
	vec_fill(want, 96, id);
	if (dead)
		return 0;
	if (!have || !store_row_ok(v->st, cid, row) || memcmp(have, want, sizeof want) || id >= FULL_MAX)
		why(v, "a wrong vector", id);
	else
		full_ok[id] |= 2;
	return 0;
}
static int cmd_full(const char *dir)
{
	static const struct store_load_cb cb = {.vec = full_vec, .damaged = on_damaged};
	char line[16];
	uint32_t id, after = 0, failed_n = 0;
	if (view_open(&view, dir, false) < 0 || full_put(view.st, 0) < 0) {
		printf("bad %s\n", view.why);
		return 1;
	}
	for (id = 1; id < FULL_MAX && failed_n < 5; id++) { /* several failures: each must leave things as they were */
		int rc = full_put(view.st, id);
		if (!rc)
			full_ok[id] = 1;
		else if (rc != -VX_ERR_store_full) {
			printf("bad a full disk gives %s\n", err_name(rc));
			return 1;
		}
		failed_n += rc < 0;
	}
	printf("full %u\n", id);
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		return 2;
	for (uint32_t end = id + 50; id < end; id++, after++)
		if (full_put(view.st, id) < 0) {
			printf("bad no room after there is room again: %s\n", err_name(full_rc));
			return 1;
		} else {
			full_ok[id] = 1;
		}
	store_close(view.st);
	if (view_open(&view, dir, false) < 0 || store_load(view.st, &cb, &view) < 0)
		why(&view, "it does not open again", 0);
	for (uint32_t i = 1; i < id; i++)
		full_lost += full_ok[i] == 1;
	if (view.bad || view.damaged || full_lost)
		printf("bad %u lost; %s\n", full_lost, view.why);
	else
		printf("ok %u\n", id);
	store_close(view.st);
	return view.bad || view.damaged || full_lost;
}

/* ---- serve --------------------------------------------------------------------------------------------------------------------- */
static char verify_first[200];
static void on_say(void *u, const char *line)
{
	if (!verify_first[0])
		snprintf(verify_first, sizeof verify_first, "%s", line);
}
static int verify(const char *dir, struct store_verify_report *r)
{
	struct store_cfg cfg = {.os = os_real(), .root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
	verify_first[0] = 0;
	int rc = store_verify(&cfg, false, on_say, NULL, r);
	close(cfg.root_fd);
	return rc;
}

static void cmd_check(const char *dir, uint64_t seed, uint32_t steps, uint32_t min)
{
	struct store_verify_report r;
	script_make(seed, steps);
	int rc = view_open(&view2, dir, true);
	if (rc < 0) {
		printf("bad %s\n", view2.why);
		return;
	}
	store_close(view2.st);
	if (view2.bad || view2.damaged || view2.fill != FILL) {
		printf("bad %s; points %u\n", view2.why, view2.fill);
		return;
	}
	uint64_t have = model_digest(&view2.m);
	uint32_t p = min;
	while (p <= ops_n && digest[p] != have)
		p++;
	if (p > ops_n) {
		for (p = 0; p <= ops_n && digest[p] != have;)
			p++;
		if (p <= ops_n)
			printf("bad lost: content is that after %u ops, %u were acknowledged\n", p, min);
		else
			printf("bad half: content is that of no prefix (%u acknowledged)\n", min);
		return;
	}
	rc = verify(dir, &r);
	if (rc)
		printf("bad verify: %d %s\n", rc, verify_first);
	else
		printf("ok %u\n", p);
}

static void cmd_rot(const char *dir, uint64_t seed, uint32_t steps)
{
	struct store_verify_report r;
	script_make(seed, steps);
	int vr = verify(dir, &r); /* first: opening may write */
	int rc = view_open(&view2, dir, true);
	if (rc < 0) {
		printf("told %s\n", view2.why);
		return;
	}
	bool same = model_digest(&view2.m) == digest[ops_n] && view2.fill == FILL && !view2.bad && !view2.damaged;
	/* a slot that is bad, a row that is damaged, an answer that is an error are all told at the time of asking */
	bool told = vr != 0 || view2.damaged || view2.bad;
	for (uint32_t c = 0; c < COLLS; c++)
		told |= view2.cid[c] && atomic_load(&store_rows(view2.st, view2.cid[c])->bad_segs);
	store_close(view2.st);
	if (vr == 0 && same)
		printf("same\n");
	else if (told)
		printf("told %s\n", verify_first[0] ? verify_first : view2.why);
	else
		printf("silent %s points %u\n", view2.why, view2.fill);
}

static int serve(void)
{
	char line[600], cmd[16], dir[400];
	unsigned long long seed;
	unsigned n, min = 0;
	while (fgets(line, sizeof line, stdin)) {
		int k = sscanf(line, "%15s %399s %llu %u %u", cmd, dir, &seed, &n, &min);
		if (k == 5 && !strcmp(cmd, "check"))
			cmd_check(dir, seed, n, min);
		else if (k >= 4 && !strcmp(cmd, "rot"))
			cmd_rot(dir, seed, n);
		else
			printf("bad command\n");
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	log_level_set(LOGL_error);
	if (argc >= 4 && !strcmp(argv[1], "setup"))
		return cmd_setup(argv[2], strtoull(argv[3], NULL, 10));
	if (argc >= 6 && !strcmp(argv[1], "run")) {
		ack_fd = open(argv[5], O_WRONLY | O_CREAT | O_APPEND, 0600);
		log_fd = argc > 6 ? open(argv[6], O_RDONLY) : -1;
		if (ack_fd < 0 || (argc > 6 && log_fd < 0))
			return 2;
		return cmd_run(argv[2], strtoull(argv[3], NULL, 10), (uint32_t)atoi(argv[4]));
	}
	if (argc == 3 && !strcmp(argv[1], "full"))
		return cmd_full(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "serve")) {
		if (!getenv("FAULT_LOG") && !freopen("/dev/null", "w", stderr))
			return 2;
		return serve();
	}
	fprintf(stderr, "usage: see the head of fault_client.c\n");
	return 2;
}
