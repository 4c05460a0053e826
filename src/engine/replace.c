/* replace.c - rename over a file that has vectors: the incoming file, when it brings none, inherits them as stale.
 *
 * Editors save by writing a new file and renaming it over the old one.  To the user it is the same file; the vector is kept but says
 * stale, since nothing tells that it fits the new content but its hash.  In memory the vectors change hands under the note's lock; the
 * catalog follows on the update thread, which may wait for reads: the bytes are put again under the new owner, the payload is copied,
 * then the old object goes.  Until then the old object hangs without a name, invisible to every search. */
#include <string.h>

#include "engine/engine_priv.h"

/* vectors change hands, but for those that are between submit and visible. Return whether there are such. [objects, write] */
static bool hand_over(struct engine *e, struct eng_obj *over, struct eng_obj *moved)
{
	bool busy = false;
	for (struct eng_vec *v = over->vecs, *next; v; v = next) {
		next = v->next;
		if (v->busy && !v->inherited) {
			busy = true;
			continue;
		}
		bool own = obj_vec(moved, v->cid) != NULL; /* set on it since: its own comes first */
		struct eng_coll *c = own || v->row == ENG_ROW_NONE ? NULL : coll_by_cid(e, v->cid);
		struct eng_vec *n = c ? obj_vec_add(&e->t, moved, v->cid) : NULL;
		if (n) {
			n->row = v->row;
			n->stamp = v->stamp;
			n->stamp.size = ENG_STALE_SIZE;
			n->busy = n->inherited = true;
			pthread_mutex_lock(&c->lock);
			c->own[n->row] = moved->oid;
			pthread_mutex_unlock(&c->lock);
			obj_vec_del(&e->t, over, v);
		}
		coll_put(c);
	}
	return busy;
}
/* not now: the engine is closing, or there is no memory.  The catalog has the old one's name and vectors still, so the next walk, maybe the
 * one after the next opening, finds who inherits. */
static void put_off(struct engine *e, struct eng_obj *over, const struct eng_obj *moved)
{
	over->heir = moved->oid;
	eng_lost(e);
}
void update_replace_queue(struct engine *e, struct eng_obj *over, struct eng_obj *moved)
{
	struct eng_job *t = mem_zalloc(MEM_engine, sizeof(*t));
	if (!t) {
		put_off(e, over, moved);
		return;
	}
	t->priv.stage = STAGE_REPLACE;
	t->priv.n[5] = over->oid;
	t->priv.n[6] = moved->oid;
	atomic_fetch_add(&e->pending, 1);
	if (wq_push(&e->update_q, &t->priv.item) < 0) {
		atomic_fetch_sub(&e->pending, 1);
		mem_free(MEM_engine, t);
		put_off(e, over, moved);
		return;
	}
	(void)hand_over(e, over, moved); /* what is on its way follows in replace_run */
	moved->has_payload = over->has_payload;
	over->seen = UINT32_MAX; /* nameless on purpose: not the walk's */
}
/* submit the put of one inherited vector; false: there is none left */
static bool next_vec(struct engine *e, uint64_t oid)
{
	struct eng_op *o = op_get_wait(e, SOP_vec_put);
	bool sent = false;
	eng_wrlock(e);
	struct eng_obj *m = obj_by_oid(&e->t, oid);
	struct eng_vec *v = m ? m->vecs : NULL;
	while (v && !v->inherited)
		v = v->next;
	struct eng_coll *c = v ? coll_by_cid(e, v->cid) : NULL;
	if (v && (!c || !o || !obj_persist(e, m))) {
		v->busy = v->inherited = false;
		sent = true;
	} else if (v) {
		pthread_mutex_lock(&c->lock);
		o->op.cid = v->cid;
		o->op.oid = oid;
		o->op.old_row = v->row;
		o->op.vec = c->rows ? rows_vec(c->rows, v->row) : NULL;
		o->op.vec_bytes = c->rows ? rows_vec_bytes(c->rows->dim, c->rows->dtype) : 0;
		o->op.stamp = v->stamp;
		v->inherited = false;
		o->applied = put_visible;
		o->c = c;
		c->inflight++;
		op_submit(o);
		pthread_mutex_unlock(&c->lock);
		o = NULL;
		c = NULL;
		sent = true;
	}
	eng_unlock(e);
	coll_put(c);
	if (o)
		op_put(o);
	return sent;
}
void replace_submit(struct engine *e, uint64_t oid)
{
	while (next_vec(e, oid))
		;
}
static void copy_payload(struct engine *e, uint64_t from, uint64_t to)
{
	struct arena a;
	arena_init(&a, MEM_engine, CONF_PAYLOAD_MAX * 4);
	struct eng_op *first = op_get_wait(e, SOP_barrier); /* readers see commits only */
	if (first)
		(void)op_run(first, true); /* where it fails there is nothing to read, and the store says so */
	struct store_read rd = {.kind = SRD_payload, .arena = &a, .oid = from};
	struct eng_op *o = rd_sync(e, &rd) >= 0 && rd.data_n ? op_get_wait(e, SOP_payload_put) : NULL;
	if (o) {
		o->op.oid = to;
		o->op.data = rd.data;
		o->op.data_n = rd.data_n;
		(void)op_run(o, false); /* a payload that can't be kept is the store's failure, which status shows */
	}
	arena_done(&a);
}
/* who waits for quiet must not be told before the inherited rows are visible and queued for their hash */
static void put_rest(struct engine *e, uint64_t oid)
{
	for (bool busy = true; busy;) {
		uint64_t seen = bell_rings(&e->update_bell);
		eng_rdlock(e);
		const struct eng_obj *o = obj_by_oid(&e->t, oid);
		busy = false;
		for (const struct eng_vec *v = o ? o->vecs : NULL; v; v = v->next)
			busy |= v->busy;
		eng_unlock(e);
		if (busy)
			bell_wait(&e->update_bell, seen, WQ_FOREVER);
	}
}
void replace_run(struct engine *e, struct eng_job *t)
{
	uint64_t over = t->priv.n[5], moved = t->priv.n[6];
	for (bool busy = true; busy;) {
		uint64_t seen = bell_rings(&e->update_bell);
		eng_wrlock(e);
		struct eng_obj *from = obj_by_oid(&e->t, over), *to = obj_by_oid(&e->t, moved);
		busy = from && to && hand_over(e, from, to);
		eng_unlock(e);
		if (busy)
			bell_wait(&e->update_bell, seen, WQ_FOREVER);
	}
	replace_submit(e, moved);
	put_rest(e, moved);
	eng_rdlock(e);
	const struct eng_obj *o = obj_by_oid(&e->t, over), *m = obj_by_oid(&e->t, moved);
	bool pay = o && m && o->has_payload;
	eng_unlock(e);
	if (pay)
		copy_payload(e, over, moved);
	eng_wrlock(e);
	struct eng_obj *gone = obj_by_oid(&e->t, over);
	const struct eng_obj *next = obj_by_oid(&e->t, moved);
	/* replaced in its turn meanwhile: what it had of the old one goes to the catalog with that replacement, which is queued; the old one's rows
	 * must live until then */
	bool later = gone && next && !next->links && next->seen == UINT32_MAX;
	if (gone && !later)
		obj_drop(e, gone);
	eng_unlock(e);
	if (later && wq_push(&e->update_q, &t->priv.item) >= 0)
		return; /* the engine closes: the catalog has the old one's name and vectors still */
	mem_free(MEM_engine, t);
	atomic_fetch_sub(&e->pending, 1);
	job_wait_check(e);
}
