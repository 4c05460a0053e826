/* store_ops.c - what each kind of op does: checks it, changes the catalog in the open transaction and the slots, and memory with them.
 *
 * An op answers 0, or < 0 in one of two ways: with st->group_fail 0 the op itself is wrong and nothing was changed; with group_fail
 * < 0 the group cannot go on, which store_thread.c then ends.  What memory holds of an op before COMMIT is told there as well. */
#include <fcntl.h>
#include <string.h>
#include "base/perf.h"
#include "base/sbuf.h"
#include "store/store_int.h"

int store_grp(struct store *st, int rc)
{
	if (rc == -EBADMSG)
		return -VX_ERR_store_corrupt; /* one damaged row is that op's trouble alone */
	if (rc < 0 && rc != -ENOENT)
		st->group_fail = rc;
	return rc;
}
#define GRP(x) VX_TRY(store_grp(st, (x)))

static int live_coll(struct store *st, uint32_t cid, struct coll **ret)
{
	struct coll *c = coll_find(st, cid);
	if (!c || c->dying)
		return -VX_ERR_no_collection;
	*ret = c;
	return 0;
}

static int op_coll_create(struct store *st, struct store_op *op)
{
	struct store_coll k;
	struct coll *c;
	char dir[16];
	if (!op->coll || !op->coll->name[0])
		return -VX_ERR_collection_name;
	if (op->coll->dim > CONF_DIM_MAX || op->coll->metric >= VXM_N || op->coll->dtype >= VXD_N)
		return -VX_ERR_bad_value;
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++) {
		c = atomic_load_explicit(&st->coll[i], memory_order_relaxed);
		if (!c || strcmp(c->c.name, op->coll->name))
			continue;
		if (!c->dying)
			return -VX_ERR_collection_exists;
		store_group_commit(st); /* dropped in this very group: the name is free after its commit */
		if (atomic_load(&st->health) < 0)
			return atomic_load(&st->health);
	}
	if (st->coll_n >= CONF_COLLECTIONS_MAX)
		return -VX_ERR_collection_limit;
	GRP(store_tx(st));
	k = *op->coll;
	k.cid = st->state.next_cid;
	coll_dir_name(dir, k.cid);
	int rc = os_mkdirat(st->os, st->dirfd, dir, 0700);
	if (rc < 0 && rc != -EEXIST)
		return store_grp(st, rc);
	st->dir_dirty = true;
	GRP(coll_add(st, &k, &c));
	c->born = true;
	/* a group that was rolled back or cut off may have left files under this number */
	GRP(coll_dir_clear(st, atomic_load(&c->dirfd), false));
	GRP(cat_coll_put(&st->cat, &k));
	st->state.next_cid++;
	op->ret_cid = k.cid;
	return 0;
}

static int op_coll_dim(struct store *st, struct store_op *op)
{
	struct coll *c;
	VX_TRY(live_coll(st, op->cid, &c));
	uint32_t dim = op->coll ? op->coll->dim : 0;
	if (dim > CONF_DIM_MAX)
		return -VX_ERR_dim_range;
	if (c->unbinding) { /* unbound in this very group: its files leave with the commit, so that comes first */
		store_group_commit(st);
		if (c->unbinding || atomic_load(&st->health) < 0)
			return atomic_load(&st->health) < 0 ? atomic_load(&st->health) : -VX_ERR_store_failed;
	}
	if (dim == c->c.dim)
		return 0;
	GRP(store_tx(st));
	struct store_coll k = c->c;
	k.dim = dim;
	if (dim) {
		if (c->c.dim)
			return -VX_ERR_dim_mismatch;
		GRP(cat_coll_put(&st->cat, &k));
		c->c.dim = dim;
		c->newly_bound = !c->born;
		int rc = slots_bind(st, c);
		if (rc < 0)
			c->c.dim = 0;
		return store_grp(st, rc);
	}
	int live = cat_vec_live(&st->cat, c->c.cid);
	GRP(live);
	if (live)
		return -VX_ERR_bad_value; /* rows still live: nothing to unbind */
	uint64_t dead, none;
	GRP(cat_vec_count(&st->cat, c->c.cid, &none, &dead));
	GRP(cat_vec_del_coll(&st->cat, c->c.cid));
	GRP(cat_coll_put(&st->cat, &k));
	st->state.dead_rows -= dead < st->state.dead_rows ? dead : st->state.dead_rows;
	if (c->born || c->newly_bound) { /* bound in this very group: nobody but it has seen its files */
		c->newly_bound = false;
		coll_unbind(st, c);
		return 0;
	}
	c->unbinding = true;
	return 0;
}

static int op_coll_drop(struct store *st, struct store_op *op)
{
	struct coll *c;
	uint64_t live, dead;
	VX_TRY(live_coll(st, op->cid, &c));
	if (op->cid == STORE_CID_DEFAULT || op->cid == STORE_CID_TEXT)
		return -VX_ERR_collection_reserved;
	GRP(store_tx(st));
	GRP(cat_vec_count(&st->cat, op->cid, &live, &dead));
	GRP(cat_coll_del(&st->cat, op->cid));
	st->state.vectors -= live < st->state.vectors ? live : st->state.vectors;
	st->state.dead_rows -= dead < st->state.dead_rows ? dead : st->state.dead_rows;
	c->dying = true;
	return 0;
}

static int op_obj_put(struct store *st, struct store_op *op)
{
	struct obj_rec o;
	if (!op->oid || op->oid > INT64_MAX || op->key.len > CONF_KEY_MAX || op->obj_kind > STORE_OBJ_file)
		return -VX_ERR_bad_value;
	GRP(store_tx(st));
	int rc = cat_obj_get(&st->cat, op->oid, &o);
	if (rc == -ENOENT || rc == -EBADMSG) { /* a damaged row is replaced by what the caller knows */
		o = (struct obj_rec){.oid = op->oid};
		st->state.objects += rc == -ENOENT;
	} else {
		GRP(rc);
	}
	o.key = op->key;
	o.kind = op->obj_kind;
	return store_grp(st, cat_obj_put(&st->cat, &o));
}

int store_vec_dead(struct store *st, uint32_t cid, uint32_t row)
{
	struct vec_rec v;
	int rc = cat_vec_get(&st->cat, cid, row, &v);
	if (rc == -ENOENT || (!rc && v.dead))
		return 0;
	if (rc == -EBADMSG) {
		GRP(cat_vec_del(&st->cat, cid, row)); /* it was to go anyway; nothing else in it can be trusted */
	} else {
		GRP(rc);
		v.dead = true;
		GRP(cat_vec_put(&st->cat, &v));
	}
	st->state.vectors -= st->state.vectors > 0;
	st->state.dead_rows++;
	return 0;
}

static int op_obj_del(struct store *st, struct store_op *op)
{
	struct obj_rec o;
	uint64_t n;
	uint32_t cid, row;
	int rc;
	GRP(store_tx(st));
	GRP(cat_chunk_del(&st->cat, op->oid, 0, &n));
	GRP(cat_link_del_oid(&st->cat, op->oid));
	st->state.chunks -= n < st->state.chunks ? n : st->state.chunks;
	GRP(cat_pay_put(&st->cat, 0, op->oid, NULL, 0));
	GRP(cat_emb_del(&st->cat, 0, op->oid));
	while ((rc = cat_vec_of_obj(&st->cat, op->oid, &cid, &row)) == 0)
		VX_TRY(store_vec_dead(st, cid, row));
	if (rc != -ENOENT)
		return store_grp(st, rc);
	rc = cat_obj_get(&st->cat, op->oid, &o);
	if (rc == -ENOENT)
		return 0;
	GRP(cat_obj_del(&st->cat, op->oid));
	st->state.objects -= st->state.objects > 0;
	return 0;
}

static int op_link(struct store *st, struct store_op *op)
{
	size_t n = strnlen(op->name, sizeof op->name);
	if (!n || n > CONF_NAME_MAX)
		return -VX_ERR_bad_value;
	if (op->kind == SOP_link_put) {
		struct obj_rec o;
		int have = cat_obj_get(&st->cat, op->oid, &o);
		if (have == -ENOENT)
			return -VX_ERR_no_object;
		GRP(have);
	}
	GRP(store_tx(st));
	return store_grp(st, op->kind == SOP_link_put ? cat_link_put(&st->cat, op->oid, op->parent, op->name)
	                                              : cat_link_del(&st->cat, op->oid, op->parent, op->name));
}

static int op_vec_put(struct store *st, struct store_op *op)
{
	struct coll *c;
	VX_TRY(live_coll(st, op->cid, &c));
	if (c->unbinding || !c->c.dim || op->vec_bytes != rows_vec_bytes(c->c.dim, c->c.dtype))
		return -VX_ERR_dim_mismatch;
	if (!op->is_free_point && op->oid > INT64_MAX)
		return -VX_ERR_bad_value;
	if (!op->is_free_point) { /* its obj_put may have been rolled back: a vector of nobody would be lost at the next opening */
		struct obj_rec o;
		int have = cat_obj_get(&st->cat, op->oid, &o);
		if (have == -ENOENT)
			return -VX_ERR_no_object;
		GRP(have);
	}
	struct vec_rec v = {.cid = op->cid,
	        .id = op->is_free_point ? op->free_id : op->oid,
	        .is_free_point = op->is_free_point,
	        .generation = st->state.generation + 1,
	        .vid = st->vid_nonce << 32 | (++st->vid_seq & UINT32_MAX),
	        .stamp = op->stamp};
	VX_TRY(row_alloc(c, &v.row));
	int put = slots_put(st, c, v.row, op->vec, v.vid);
	if (no_space_left(
	            put)) { /* nothing was changed but a slot that nobody names: the group goes on without this op */
		(void)row_free_add(c, v.row); /* no memory for the note: found free at the next opening */
		atomic_store(&st->health, -VX_ERR_store_full);
		return -VX_ERR_store_full;
	}
	GRP(put);
	GRP(store_tx(st));
	GRP(cat_vec_put(&st->cat, &v));
	st->state.vectors++;
	if (op->old_row != UINT32_MAX)
		VX_TRY(store_vec_dead(st, op->cid, op->old_row));
	/* one live vector an owner, whatever the caller thought the old row was: it may have been rolled back since */
	uint32_t other;
	int rc = -ENOENT;
	while (!store_coll_many(&c->c) && (rc = cat_vec_other(&st->cat, &v, &other)) == 0)
		VX_TRY(store_vec_dead(st, op->cid, other));
	if (rc != -ENOENT)
		return store_grp(st, rc);
	op->ret_row = v.row;
	return 0;
}

static int op_vec_move(struct store *st, struct store_op *op)
{
	struct coll *c;
	struct vec_rec v;
	VX_TRY(live_coll(st, op->cid, &c));
	GRP(store_tx(st));
	int rc = cat_vec_get(&st->cat, op->cid, op->old_row, &v);
	if (rc == -ENOENT || (!rc && v.dead) || !c->free_n)
		return -VX_ERR_bad_value;
	GRP(rc);
	const uint8_t *slot = rows_slot(atomic_load(&c->rows), op->old_row);
	if (!slot || !slot_check_mapped(slot, c->c.dim, c->c.dtype))
		return -VX_ERR_store_corrupt;
	uint32_t to;
	GRP(row_alloc(c, &to)); /* the lowest free one */
	if (to > op->old_row) {
		GRP(row_free_add(c, to));
		return -VX_ERR_bad_value;
	}
	GRP(store_vec_dead(st, op->cid, op->old_row)); /* first: one live row an owner, at every moment */
	v.row = to;
	v.generation = st->state.generation + 1;
	v.vid = st->vid_nonce << 32 | (++st->vid_seq & UINT32_MAX);
	GRP(slots_put(st, c, to, slot, v.vid));
	GRP(cat_vec_put(&st->cat, &v));
	st->state.vectors++;
	op->ret_row = to;
	return 0;
}

static int op_vec_del(struct store *st, struct store_op *op)
{
	struct coll *c;
	VX_TRY(live_coll(st, op->cid, &c));
	GRP(store_tx(st));
	return store_vec_dead(st, op->cid, op->old_row);
}

static int op_vec_stamp(struct store *st, struct store_op *op)
{
	struct vec_rec v;
	GRP(store_tx(st));
	int rc = cat_vec_get(&st->cat, op->cid, op->old_row, &v);
	if (rc == -ENOENT || (!rc && v.dead))
		return 0; /* replaced meanwhile */
	GRP(rc);
	v.stamp = op->stamp;
	return store_grp(st, cat_vec_put(&st->cat, &v));
}

static int op_row_free(struct store *st, struct store_op *op)
{
	struct coll *c;
	struct vec_rec v;
	VX_TRY(live_coll(st, op->cid, &c));
	if (op->old_row >= c->next_row || row_is_free(c, op->old_row))
		return -VX_ERR_bad_value;
	for (uint32_t i = 0; i < st->pend_free_n; i++) /* a group's frees are few: they come after a publication */
		if (i + 64 > st->pend_free_n && st->pend_free[i].c == c && st->pend_free[i].row == op->old_row)
			return -VX_ERR_bad_value;
	GRP(store_tx(st));
	int rc = cat_vec_get(&st->cat, op->cid, op->old_row, &v);
	if (!rc && !v.dead)
		return -VX_ERR_bad_value; /* live: its slot is the only copy */
	if (rc != -ENOENT)
		GRP(rc);
	if (st->pend_free_n == st->pend_free_cap) {
		uint32_t cap = st->pend_free_cap ? st->pend_free_cap * 2 : 256;
		void *p = mem_realloc(MEM_store, st->pend_free, cap * sizeof *st->pend_free);
		if (!p)
			return store_grp(st, -ENOMEM);
		st->pend_free = p;
		st->pend_free_cap = cap;
	}
	if (!rc) {
		GRP(cat_vec_del(&st->cat, op->cid, op->old_row));
		st->state.dead_rows -= st->state.dead_rows > 0;
	}
	st->pend_free[st->pend_free_n++] = (struct pend_free){c, op->old_row};
	return 0;
}

static int op_payload(struct store *st, struct store_op *op)
{
	struct coll *c;
	if (op->data_n > CONF_PAYLOAD_MAX)
		return -VX_ERR_payload_too_big;
	if (op->is_free_point)
		VX_TRY(live_coll(st, op->cid, &c));
	GRP(store_tx(st));
	return store_grp(st, cat_pay_put(&st->cat, op->is_free_point ? op->cid : 0,
	                             op->is_free_point ? op->free_id : op->oid, op->data, op->data_n));
}

static int op_text_chunks(struct store *st, struct store_op *op)
{
	if (!op->text_ver || op->text_ver > INT64_MAX)
		return -VX_ERR_bad_value;
	GRP(store_tx(st));
	for (uint32_t i = 0; i < op->chunk_n; i++)
		GRP(cat_chunk_put(&st->cat, op->oid, op->text_ver, &op->chunk[i]));
	st->state.chunks += op->chunk_n;
	return 0;
}

static int op_text_done(struct store *st, struct store_op *op)
{
	struct obj_rec o;
	uint64_t n;
	GRP(store_tx(st));
	bool done = op->kind == SOP_text_done;
	int rc = cat_obj_get(&st->cat, op->oid, &o);
	if (rc == -ENOENT) { /* unlinked meanwhile: its chunks go */
		GRP(cat_chunk_del(&st->cat, op->oid, 0, &n));
		st->state.chunks -= n < st->state.chunks ? n : st->state.chunks;
		return -VX_ERR_no_object;
	}
	GRP(rc);
	o.text_stamp = op->stamp;
	if (done) {
		bool text = op->text_state == STORE_TEXT_done;
		GRP(cat_chunk_del(&st->cat, op->oid, text ? op->text_ver : 0, &n));
		st->state.chunks -= n < st->state.chunks ? n : st->state.chunks;
		o.text_ver = op->text_ver;
		o.text_state = op->text_state;
		o.text_error = op->error;
	}
	return store_grp(st, cat_obj_put(&st->cat, &o));
}

static int op_graph_put(struct store *st, struct store_op *op)
{
	struct coll *c;
	VX_TRY(live_coll(st, op->cid, &c));
	if (!op->name[0] || strchr(op->name, '/') || op->graph_gen > INT64_MAX)
		return -VX_ERR_bad_value;
	GRP(store_tx(st));
	GRP(cat_graph_put(&st->cat, op->cid, op->graph_gen, op->name));
	for (;;) {
		if (st->pend_unlink_n == st->pend_unlink_cap) {
			uint32_t cap = st->pend_unlink_cap ? st->pend_unlink_cap * 2 : 4;
			void *p = mem_realloc(MEM_store, st->pend_unlink, cap * sizeof *st->pend_unlink);
			if (!p)
				return store_grp(st, -ENOMEM);
			st->pend_unlink = p;
			st->pend_unlink_cap = cap;
		}
		struct pend_unlink *u = &st->pend_unlink[st->pend_unlink_n];
		uint64_t gen;
		int rc = cat_graph_old(&st->cat, op->cid, &gen, u->name);
		if (rc == -ENOENT)
			return 0;
		GRP(rc);
		GRP(cat_graph_del(&st->cat, op->cid, gen));
		u->c = c;
		st->pend_unlink_n += u->name[0] && strcmp(u->name, op->name);
	}
}

static int op_meta_put(struct store *st, struct store_op *op)
{
	char name[CONF_NAME_MAX + 8];
	struct sbuf b;
	if (!op->name[0] || op->data_n > CONF_PAYLOAD_MAX)
		return -VX_ERR_bad_value;
	struct coll *c;
	if (op->cid)
		VX_TRY(live_coll(st, op->cid, &c));
	sbuf_fixed(&b, name, sizeof name);
	sb_str(&b, "u."); /* apart from the store's own */
	sb_str(&b, op->name);
	GRP(store_tx(st));
	return store_grp(st, cat_meta_put(&st->cat, sbuf_cstr(&b), op->data, op->data_n));
}

int store_apply(struct store *st, struct store_op *op)
{
	switch (op->kind) {
	case SOP_barrier:
		return 0;
	case SOP_coll_create:
		return op_coll_create(st, op);
	case SOP_coll_dim:
		return op_coll_dim(st, op);
	case SOP_coll_drop:
		return op_coll_drop(st, op);
	case SOP_obj_put:
		return op_obj_put(st, op);
	case SOP_obj_del:
		return op_obj_del(st, op);
	case SOP_link_put:
	case SOP_link_del:
		return op_link(st, op);
	case SOP_vec_put: {
		uint64_t t0 = os_mono_ns(st->os);
		int rc = op_vec_put(st, op);
		perf_op(PERF_store_put, os_mono_ns(st->os) - t0, op->vec_bytes);
		return rc;
	}
	case SOP_vec_del:
		return op_vec_del(st, op);
	case SOP_vec_move:
		return op_vec_move(st, op);
	case SOP_vec_stamp:
		return op_vec_stamp(st, op);
	case SOP_row_free:
		return op_row_free(st, op);
	case SOP_payload_put:
		return op_payload(st, op);
	case SOP_text_chunks:
		return op_text_chunks(st, op);
	case SOP_text_done:
	case SOP_text_stamp:
		return op_text_done(st, op);
	case SOP_chunk_rows:
		return chunk_vec_op(st, op);
	case SOP_graph_put:
		return op_graph_put(st, op);
	case SOP_meta_put:
		return op_meta_put(st, op);
	case SOP_snapshot:
		store_group_commit(st); /* between groups: what the catalog shows then is all there is */
		return atomic_load(&st->health) < 0 ? atomic_load(&st->health) : snapshot_freeze(st, op);
	}
	return -VX_ERR_bad_value;
}
