/* undo.c - when a group of changes that everybody could see already did not reach the disk, for want of room or memory.
 *
 * The store rolls the group back and lives on; memory must not stay ahead of the catalog, or what is built on it later (a link of an
 * object that isn't there, a row that is given to another) would be wrong after the next mount.  Each operation of the group is taken
 * back here, on the store's thread: objects and links are marked as not stored, so that they are put again when next needed; a
 * vector that is not on disk leaves search.  What was deleted and lives on in the catalog comes back with the next mount.  A walk is due,
 * at growing intervals while the disk stays full, and reads again what lost its text.  A poisoned store is left as it is: nothing will be
 * written over what memory says. */
#include "engine/sem.h"

#define RESYNC_FIRST_S 2u
#define RESYNC_MAX_S   60u

void walk_later(struct engine *e)
{
	uint32_t s = atomic_load(&e->resync_s);
	uint64_t now = os_mono_ns(e->os);
	if (now >= atomic_load(&e->resync_at_ns)) { /* once a round, not once an operation */
		s = s ? s * 2 : RESYNC_FIRST_S;
		s = s > RESYNC_MAX_S ? RESYNC_MAX_S : s;
		atomic_store(&e->resync_s, s);
		atomic_store(&e->resync_at_ns, now + s * 1000000000ull);
	}
	walk_want(e);
}
static void vec_undone(struct engine *e, struct eng_op *o)
{
	struct eng_coll *c = o->c;
	struct eng_obj *obj = o->op.is_free_point ? NULL : obj_by_oid(&e->t, o->op.oid);
	struct eng_vec *v = obj ? obj_vec(obj, o->op.cid) : NULL;
	pthread_mutex_lock(&c->lock);
	if (o->op.is_free_point && coll_id_row(c, o->op.free_id) == o->op.ret_row)
		coll_id_del(c, o->op.free_id);
	if (c->chunks && obj) { /* its chunk is to be given a vector again */
		struct chunk_file *f = chunk_rows_file(c, obj->oid);
		if (f)
			f->current = false;
	}
	coll_row_dead(c, o->op.ret_row); /* nothing if a later one of the group has replaced it */
	if (v && v->row == o->op.ret_row && !v->busy)
		obj_vec_del(&e->t, obj, v);
	else if (v && v->row == o->op.ret_row)
		v->row = ENG_ROW_NONE; /* the next put of it is on its way */
	pthread_mutex_unlock(&c->lock);
	if (c->chunks && obj)
		sem_due(e, obj);
}
/* the row that was moved lives where it was */
static void move_undone(struct engine *e, struct eng_op *o)
{
	struct eng_coll *c = o->c;
	uint32_t old = o->op.old_row, new = o->op.ret_row;
	bool is_free = o->op.is_free_point;
	struct eng_obj *obj = is_free ? NULL : obj_by_oid(&e->t, o->op.oid);
	struct eng_vec *v = obj ? obj_vec(obj, o->op.cid) : NULL;
	pthread_mutex_lock(&c->lock);
	bool ours = is_free ? coll_id_row(c, o->op.free_id) == new : v && v->row == new;
	coll_row_dead(c, new);
	uint32_t keep = 0;
	for (uint32_t i = 0; ours && i < c->dead_n; i++)
		if (c->dead[i].row != old)
			c->dead[keep++] = c->dead[i];
	if (ours) {
		c->dead_all -= c->dead_n - keep;
		c->dead_n = keep;
	}
	bool back = ours && coll_row_live(c, old, is_free, is_free ? o->op.free_id : obj->oid, true) >= 0;
	if (back && is_free)
		(void)coll_id_set(c, o->op.free_id, old); /* the id has its slot */
	else if (ours && is_free)
		coll_id_del(c, o->op.free_id); /* no memory: back with the next mount */
	else if (back)
		v->row = old;
	else if (ours)
		obj_vec_del(&e->t, obj, v);
	pthread_mutex_unlock(&c->lock);
}
static void coll_undone(struct engine *e, struct eng_op *o)
{
	struct eng_coll *c = o->op.kind == SOP_coll_create ? o->c : coll_by_cid(e, o->op.cid);
	if (!c)
		return;
	if (o->op.kind == SOP_coll_create) {
		bool listed = coll_unlist(e, c);
		pthread_mutex_lock(&c->lock);
		c->dropped = true;
		c->rows = NULL;
		pthread_mutex_unlock(&c->lock);
		if (listed)
			coll_put(c);
		return;
	}
	pthread_mutex_lock(&c->lock);
	rows_refresh(e, c);
	c->info.dim = c->rows ? c->rows->dim : 0;
	pthread_mutex_unlock(&c->lock);
	coll_put(c);
}
void op_undone(struct eng_op *o)
{
	struct engine *e = o->e;
	if (store_health(e->st) == -VX_ERR_store_poisoned || eng_stopping(e))
		return;
	eng_wrlock(e);
	struct eng_obj *obj = obj_by_oid(&e->t, o->op.oid), *parent = obj_by_oid(&e->t, o->op.parent);
	struct eng_link *l = NULL;
	if (o->op.kind == SOP_obj_put) {
		if (obj)
			obj->stored = false;
	} else if (o->op.kind == SOP_link_put) {
		l = parent ? link_find(&e->t, parent, o->op.name) : NULL;
		if (l && l->obj == obj)
			l->stored = false;
	} else if (o->op.kind == SOP_vec_put) {
		vec_undone(e, o);
	} else if (o->op.kind == SOP_chunk_rows) {
		if (obj)
			sem_text_new(e, obj);
	} else if (o->op.kind == SOP_vec_move) {
		move_undone(e, o);
	} else if (o->op.kind == SOP_coll_create || o->op.kind == SOP_coll_dim) {
		coll_undone(e, o);
	} /* deletes, stamps, payloads, texts, graphs: nothing is built on them */
	eng_unlock(e);
	walk_later(e);
}
