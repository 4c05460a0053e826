/* compact.c - room given back: rows moved from the end of a collection into free ones before them, retired maps let go.
 *
 * After many deletes the store has free rows everywhere and can give back only the end of its files.  When it says that this wastes
 * more than a third, the index thread moves the highest live rows down, some at a time: to the store a copy and a death in one
 * operation, to everybody else an update that keeps vector, owner and stamp.  It stops when the store finds no lower free row, until
 * more rows have been freed.  Maps the store has outgrown are let go when no reader is left that can have seen them: each
 * collection's epochs have moved on twice since the store was told last. */
#include "engine/engine_priv.h"

#define COMPACT_STEP 128u

static int move_visible(struct eng_op *o, int rc)
{
	struct eng_coll *c = o->c;
	if (rc < 0) {
		pthread_mutex_lock(&c->lock);
		c->compact_mark = c->rows_freed; /* no room below: not again before there is more */
		c->compact_off = true;
		pthread_mutex_unlock(&c->lock);
	}
	rc = put_visible(o, rc);
	bell_ring(&o->e->index_bell);
	return rc;
}
/* [objects write, c->lock] mark the owner of a row as busy and fill the operation. false: it can't be moved now. */
static bool move_begin(struct engine *e, struct eng_coll *c, uint32_t row, struct eng_op *o)
{
	if (!(c->flags[row] & ROWF_LIVE))
		return false;
	o->op.is_free_point = (c->flags[row] & ROWF_FREE) != 0;
	if (o->op.is_free_point) {
		o->op.free_id = c->own[row];
		if (coll_id_row(c, o->op.free_id) != row || coll_id_set(c, o->op.free_id, ENG_ROW_BUSY) < 0)
			return false;
	} else {
		struct eng_obj *obj = obj_by_oid(&e->t, c->own[row]);
		struct eng_vec *v = obj ? obj_vec(obj, c->info.cid) : NULL;
		if (!v || v->busy || v->row != row)
			return false;
		v->busy = true;
		o->op.oid = obj->oid;
		o->op.stamp = v->stamp;
	}
	o->op.cid = c->info.cid;
	o->op.old_row = row;
	o->applied = move_visible;
	o->c = c;
	atomic_fetch_add(&c->refs, 1);
	c->inflight++;
	return true;
}
/* compact_step - move some rows down. [index thread] */
void compact_step(struct engine *e, struct eng_coll *c)
{
	if (c->chunks)
		return; /* its rows are named by the catalog's table of chunks */
	if (e->cfg.read_only || eng_stopping(e) || store_health(e->st) < 0)
		return;
	uint32_t most = store_compactable(e->st, c->info.cid), sent = 0;
	most = most > COMPACT_STEP ? COMPACT_STEP : most;
	pthread_mutex_lock(&c->lock);
	c->compact_off = c->compact_off && c->compact_mark == c->rows_freed;
	bool idle = !c->compact_off && !c->inflight; /* the last step's have come to rest */
	uint32_t row = c->cap;
	pthread_mutex_unlock(&c->lock);
	if (idle && most && coll_ids_warm(c) < 0)
		return;
	while (idle && sent < most && row > 0) {
		struct eng_op *o = op_get(e, SOP_vec_move);
		if (!o)
			return;
		bool ok = false;
		eng_wrlock(e);
		pthread_mutex_lock(&c->lock);
		for (unsigned look = 0; look < 1024 && row > 0 && !ok && !c->dropped && !c->rebinding; look++)
			ok = move_begin(e, c, --row, o);
		if (ok)
			op_submit(o);
		bool end = c->dropped || c->rebinding;
		pthread_mutex_unlock(&c->lock);
		eng_unlock(e);
		sent += ok;
		if (!ok)
			op_put(o);
		if (end)
			return;
	}
}
/* reclaim_step - tell the store that what it retired before the last telling is in nobody's hands. [index thread] */
void reclaim_step(struct engine *e)
{
	bool all = true;
	pthread_mutex_lock(&e->coll_lock);
	for (struct eng_coll *c = e->colls; c && all; c = c->next) {
		pthread_mutex_lock(&c->lock);
		/* stepped here as well: a collection without rows, as the default one often is, has no other work that does it */
		all = coll_epoch_step(c) >= c->reclaim_epoch + 2;
		pthread_mutex_unlock(&c->lock);
	}
	for (struct eng_coll *c = all ? e->colls : NULL; c; c = c->next) {
		pthread_mutex_lock(&c->lock);
		c->reclaim_epoch = c->epoch;
		pthread_mutex_unlock(&c->lock);
	}
	pthread_mutex_unlock(&e->coll_lock);
	if (!all)
		return;
	store_reclaim(e->st);
	struct eng_op *o = store_retired(e->st) ? op_get(e, SOP_barrier) : NULL;
	if (o)
		op_submit(o); /* the store's thread lets go when it is awake, and nobody may write for hours */
}
