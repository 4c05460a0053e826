/* update.c - puts, deletes, payloads and collections: one thread, in the order the jobs came.
 *
 * A change is submitted to the store under the object's lock, so that the catalog hears of objects, links and rows in the order they
 * happened; the memory follows when the store says visible.  While an owner's row is between the two (busy) the next change of that
 * owner waits here: its old row is not known yet.  The old row dies and the new one lives in one step under the locks, so a
 * search sees one of them, never both and never none. */
#include <string.h>

#include "engine/engine_priv.h"

struct put { /* one point on its way */
	struct eng_coll *c;
	bool is_free;
	uint64_t owner; /* oid or free id */
	struct note_stat st;
	const void *vec;
	uint32_t vec_bytes;
	const char *payload;
	uint32_t payload_n;
	bool set_payload, force_stale;
	bool open; /* somebody writes the file */
};

static void dims_detail(struct eng_job *j, uint32_t got, uint32_t want)
{
	struct sbuf b;
	sbuf_fixed(&b, j->err.detail, sizeof(j->err.detail));
	sb_str(&b, "it has ");
	sb_u64(&b, got);
	sb_str(&b, ", the collection ");
	sb_u64(&b, want);
	(void)sbuf_cstr(&b); /* terminates it */
}
/* what can be said of a vector without its collection's dimension. Its dim, or < 0. */
static int vec_check(const struct eng_coll *c, const void *vec, uint32_t bytes)
{
	uint32_t dim;
	switch (c->info.dtype) {
	case VXD_f32:
		if (!bytes || bytes % 4)
			return -VX_ERR_dim_range;
		dim = bytes / 4;
		break;
	case VXD_f16:
	case VXD_bf16:
		if (!bytes || bytes % 2)
			return -VX_ERR_dim_range;
		dim = bytes / 2;
		break;
	case VXD_i8:
		dim = bytes;
		break;
	default: /* bits: the bytes leave the last few open, the collection's own dimension says */
		dim = c->info.dim && rows_vec_bytes(c->info.dim, c->info.dtype) == bytes ? c->info.dim : bytes * 8;
		break;
	}
	if (dim < 1 || dim > CONF_DIM_MAX)
		return -VX_ERR_dim_range;
	if (c->info.dtype == VXD_f32) {
		if (!simd_finite(vec, dim))
			return -VX_ERR_not_finite;
		const float *f = vec;
		bool zero = true;
		for (uint32_t i = 0; i < dim && zero; i++)
			zero = f[i] == 0.0f;
		if (zero && c->info.metric == VXM_cosine)
			return -VX_ERR_zero_vector;
	}
	return (int)dim;
}

/* ---- when the store has applied a put ---- [store thread] */
static int put_file_visible(struct eng_op *o, int rc)
{
	struct engine *e = o->e;
	struct eng_coll *c = o->c;
	struct eng_obj *obj = obj_by_oid(&e->t, o->op.oid);
	struct eng_vec *v = obj ? obj_vec(obj, o->op.cid) : NULL;
	if (rc < 0) {
		if (obj &&
		        rc == -VX_ERR_no_object) { /* the group that brought it was rolled back: it is put again with the next try */
			obj->stored = false;
			rc = -VX_ERR_store_full;
		}
		if (v) {
			v->busy = false;
			if (v->row == ENG_ROW_NONE)
				obj_vec_del(&e->t, obj, v);
		}
		return rc;
	}
	rows_refresh(e, c);
	if (!v) /* the file went while its vector was on the way; the store kills the row with it */
		return coll_dead_push(c, o->op.ret_row, false);
	rc = coll_row_live(c, o->op.ret_row, false, obj->oid, true);
	if (v->row != ENG_ROW_NONE) {
		coll_row_dead(c, v->row);
		atomic_fetch_add(&c->moved, o->op.kind == SOP_vec_move);
	}
	v->busy = false;
	if (rc < 0) { /* on disk, but not to be had before the next opening */
		obj_vec_del(&e->t, obj, v);
		eng_lost(e);
		return rc;
	}
	v->row = o->op.ret_row;
	if (memcmp(&v->stamp, &o->op.stamp, sizeof(v->stamp)) != 0)
		vec_stamp_put(e, obj, v);
	if (!v->bind_wait && (v->stamp.size != ENG_STALE_SIZE || v->stamp.hashed))
		ingest_push(e, obj, QF_HASH);
	return 0;
}
/* A change of a free point did not come about: its row is the one before, unless that went meanwhile with a group that was rolled back.  A row
 * that is not live may soon be another point's, and must not be named as the old one of this. */
static void coll_id_back(struct eng_coll *c, uint64_t id, uint32_t old)
{
	if (old < c->cap && (c->flags[old] & ROWF_LIVE) && c->own[old] == id)
		(void)coll_id_set(c, id, old); /* the id has its slot */
	else
		coll_id_del(c, id);
}
static int put_free_visible(struct eng_op *o, int rc)
{
	struct eng_coll *c = o->c;
	uint32_t old = o->op.old_row;
	if (rc < 0) {
		coll_id_back(c, o->op.free_id, old);
		return rc;
	}
	rows_refresh(o->e, c);
	rc = coll_row_live(c, o->op.ret_row, true, o->op.free_id, true);
	if (old != ENG_ROW_NONE) {
		coll_row_dead(c, old);
		atomic_fetch_add(&c->moved, o->op.kind == SOP_vec_move);
	}
	if (rc < 0)
		coll_id_del(c, o->op.free_id);
	else
		(void)coll_id_set(c, o->op.free_id, o->op.ret_row); /* as above */
	return rc;
}
int put_visible(struct eng_op *o, int rc)
{
	struct engine *e = o->e;
	struct eng_coll *c = o->c;
	eng_wrlock(e);
	pthread_mutex_lock(&c->lock);
	c->inflight--;
	rc = o->op.is_free_point ? put_free_visible(o, rc) : put_file_visible(o, rc);
	uint32_t tail = c->tail_n - c->tail_head;
	bool work = c->ix ? tail >= 64 : c->live_n >= ENG_FLAT_MAX;
	pthread_cond_broadcast(&c->idle);
	pthread_mutex_unlock(&c->lock);
	eng_unlock(e);
	bell_ring(&e->update_bell);
	if (work)
		bell_ring(&e->index_bell);
	return rc;
}

/* ---- submitting ---- */
enum { PUT_WAIT = 1, PUT_REBIND = 2 };
static int bind_dim(struct engine *e, struct eng_coll *c, uint32_t dim)
{
	if (c->info.dim == dim)
		return 0;
	if (c->info.dim)
		return c->info.cid == STORE_CID_DEFAULT && !c->live_n ? (c->inflight ? PUT_WAIT : PUT_REBIND)
		                                                      : -VX_ERR_dim_mismatch;
	struct eng_op *b = op_get(e, SOP_coll_dim);
	if (!b)
		return -ENOMEM;
	b->op.cid = c->info.cid;
	b->coll_mem = c->info;
	b->coll_mem.dim = dim;
	b->op.coll = &b->coll_mem;
	c->info.dim = dim;
	op_submit(b);
	return 0;
}
/* an empty default collection takes another dimension: nobody may look at the old rows any more. [update thread] */
static int rebind(struct engine *e, struct eng_coll *c)
{
	struct eng_op *o = op_get_wait(e, SOP_coll_dim);
	if (!o)
		return -ENOMEM;
	pthread_mutex_lock(&c->lock);
	c->rebinding = true;
	coll_drain(c);
	bool ok = !c->live_n && !c->inflight;
	if (ok) {
		coll_bury(c, NULL, c->ix);
		c->ix = NULL;
		c->ix_broken = false;
		c->rows = NULL;
		c->tail_head = c->tail_n = 0;
		c->dead_n = c->dead_all = 0;
		c->linked_pub = 0;
		c->info.dim = 0;
		if (c->flags)
			memset(c->flags, 0, c->cap);
		o->op.cid = c->info.cid;
		o->coll_mem = c->info;
		o->op.coll = &o->coll_mem;
	}
	c->rebinding = false;
	pthread_mutex_unlock(&c->lock);
	if (!ok) {
		op_put(o);
		return 0;
	}
	return op_run(o, false);
}
static int put_locked(struct engine *e, struct eng_job *j, struct put *p, struct eng_op *o, struct eng_op *pay)
{
	struct eng_coll *c = p->c;
	if (c->dropped)
		return -VX_ERR_no_collection;
	struct eng_obj *obj = NULL;
	if (!p->is_free) {
		obj = obj_by_oid(&e->t, p->owner);
		if (!obj)
			return -ENOENT;
	}
	if (p->vec) {
		int dim = vec_check(c, p->vec, p->vec_bytes);
		if (dim < 0)
			return dim;
		uint32_t row = p->is_free ? coll_id_row(c, p->owner) : ENG_ROW_NONE;
		struct eng_vec *v = obj ? obj_vec(obj, c->info.cid) : NULL;
		if (row == ENG_ROW_BUSY || (v && v->busy))
			return PUT_WAIT;
		int rc = bind_dim(e, c, (uint32_t)dim);
		if (rc == -VX_ERR_dim_mismatch)
			dims_detail(j, (uint32_t)dim, c->info.dim);
		if (rc)
			return rc;
		if (obj && !obj_persist(e, obj))
			return -VX_ERR_queue_full;
		if (obj && !v && !(v = obj_vec_add(&e->t, obj, c->info.cid)))
			return -ENOMEM;
		if (p->is_free)
			VX_TRY(coll_id_set(c, p->owner, ENG_ROW_BUSY));
		o->op.cid = c->info.cid;
		o->op.old_row = v ? v->row : row;
		o->op.oid = obj ? obj->oid : 0;
		o->op.is_free_point = p->is_free;
		o->op.free_id = p->is_free ? p->owner : 0;
		o->op.vec = p->vec;
		o->op.vec_bytes = p->vec_bytes;
		if (v) {
			v->busy = true;
			stamp_of(&v->stamp, &p->st);
			v->changed = v->ctime_ours = false;
			v->bind_wait = p->open;
			if (j->expect_hash) { /* it comes with the hash of its content: only that can make it fresh */
				v->stamp.size = ENG_STALE_SIZE;
				memcpy(v->stamp.hash, j->hash, sizeof(v->stamp.hash));
				v->stamp.hashed = 1;
				v->bind_wait = false;
			}
			o->op.stamp = v->stamp;
		}
		o->applied = put_visible;
		o->c = c;
		atomic_fetch_add(&c->refs, 1);
		c->inflight++;
		job_op_add(j, o);
		op_submit(o);
	} else if (obj && !obj_persist(e, obj)) {
		return -VX_ERR_queue_full;
	}
	if (pay) {
		pay->op.oid = obj ? obj->oid : 0;
		pay->op.is_free_point = p->is_free;
		pay->op.cid = p->is_free ? c->info.cid : 0;
		pay->op.free_id = p->is_free ? p->owner : 0;
		pay->op.data = p->payload_n ? p->payload : NULL;
		pay->op.data_n = p->payload_n;
		if (obj)
			obj->has_payload = p->payload_n != 0;
		job_op_add(j, pay);
		op_submit(pay);
	}
	return 0;
}
/* put_point - submit what a point brings; the job counts the operations. 0 or < 0 and nothing was submitted. */
static int put_point(struct engine *e, struct eng_job *j, struct put *p)
{
	if (p->is_free)
		VX_TRY(coll_ids_warm(p->c));
	for (;;) {
		if (eng_stopping(e))
			return -VX_ERR_shutting_down;
		struct eng_op *o = p->vec ? op_get_wait(e, SOP_vec_put) : NULL;
		struct eng_op *pay = p->set_payload ? op_get_wait(e, SOP_payload_put) : NULL;
		int rc = (p->vec && !o) || (p->set_payload && !pay) ? -ENOMEM : 0;
		uint64_t seen = bell_rings(&e->update_bell);
		if (!rc) {
			eng_wrlock(e);
			struct eng_obj *obj = p->is_free ? NULL : obj_by_oid(&e->t, p->owner);
			p->open = obj && note_open_write(e, &obj->key);
			pthread_mutex_lock(&p->c->lock);
			rc = put_locked(e, j, p, o, pay);
			pthread_mutex_unlock(&p->c->lock);
			eng_unlock(e);
		}
		if (!rc)
			return 0;
		if (o)
			op_put(o);
		if (pay)
			op_put(pay);
		if (rc < 0)
			return rc;
		if (rc == PUT_WAIT) {
			if (!p->is_free) /* its own put waits behind us in the queue */
				replace_submit(e, p->owner);
			bell_wait(&e->update_bell, seen, WQ_FOREVER);
		} else {
			VX_TRY(rebind(e, p->c));
		}
	}
}

/* ---- verbs ---- */
static int writable_coll(struct engine *e, struct eng_job *j, bool is_free, struct eng_coll **ret)
{
	const char *name = j->coll ? j->coll : "default";
	if (!strcmp(name, "text"))
		return job_refuse(j, -VX_ERR_collection_reserved, NULL);
	struct eng_coll *c = coll_get(e, name);
	if (!c)
		return job_refuse(j, -VX_ERR_no_collection, name);
	if (is_free && !coll_may(c, &j->who, 2)) {
		coll_put(c);
		return -EACCES;
	}
	*ret = c;
	return 0;
}
/* the file a job names, in the table; permission asked for when it came by path */
static int job_file(
        struct engine *e, struct eng_job *j, const char *path, int mode, uint64_t *oid, struct note_stat *st)
{
	char *buf = mem_alloc(MEM_engine, CONF_PATH_MAX + 1);
	if (!buf)
		return -ENOMEM;
	bool by_key = !path && j->key.len;
	struct obj_key none = {0};
	int rc = eng_resolve(e, by_key ? &j->key : &none, by_key ? j->fd : -1,
	        by_key ? j->path
	        : path ? path
	               : j->path,
	        buf, CONF_PATH_MAX + 1, oid, st);
	if (rc >= 0 && !by_key)
		rc = perm_check(e, &j->who, j->arena, buf, mode);
	mem_free(MEM_engine, buf);
	return rc;
}
static int put_run(struct engine *e, struct eng_job *j)
{
	struct put p = {.vec = j->vec, .vec_bytes = j->vec_bytes, .is_free = j->is_free_point};
	if (j->verb == EV_payload)
		p.vec = NULL;
	else if (!p.vec || !p.vec_bytes)
		return -VX_ERR_dim_range;
	p.set_payload = j->payload || j->verb == EV_payload;
	p.payload = j->payload;
	p.payload_n = j->payload ? j->payload_n : 0;
	if (p.payload_n > CONF_PAYLOAD_MAX)
		return -VX_ERR_payload_too_big;
	VX_TRY(writable_coll(e, j, p.is_free, &p.c));
	int rc = 0;
	p.owner = j->free_id;
	if (!p.is_free)
		rc = job_file(e, j, NULL, 2, &p.owner, &p.st);
	rc = rc < 0 ? rc : put_point(e, j, &p);
	coll_put(p.c);
	return rc;
}
static int batch_run(struct engine *e, struct eng_job *j)
{
	if (!j->point_n || j->point_n > CONF_BATCH_MAX)
		return -VX_ERR_batch_range;
	struct eng_coll *c;
	bool any_free = false;
	for (uint32_t i = 0; i < j->point_n; i++)
		any_free |= !j->points[i].path;
	VX_TRY(writable_coll(e, j, any_free, &c));
	int rc = 0;
	for (uint32_t i = 0; i < j->point_n && rc >= 0; i++) {
		const struct eng_point *pt = &j->points[i];
		struct put p = {
		        .c = c, .is_free = !pt->path, .owner = pt->id, .vec = pt->vec, .vec_bytes = pt->vec_bytes};
		p.set_payload = pt->payload != NULL;
		p.payload = pt->payload;
		p.payload_n = pt->payload_n;
		if (!p.vec && !p.set_payload)
			rc = -VX_ERR_dim_range;
		else if (p.payload_n > CONF_PAYLOAD_MAX)
			rc = -VX_ERR_payload_too_big;
		else if (pt->path)
			rc = job_file(e, j, pt->path, 2, &p.owner, &p.st);
		rc = rc < 0 ? rc : put_point(e, j, &p);
		if (rc < 0)
			j->err.position = (int64_t)i;
		if (atomic_load(&j->cancel))
			rc = -VX_ERR_cancelled;
	}
	coll_put(c);
	return rc;
}

/* ---- delete ---- */
static int del_visible(struct eng_op *o, int rc)
{
	struct engine *e = o->e;
	struct eng_coll *c = o->c;
	eng_wrlock(e);
	pthread_mutex_lock(&c->lock);
	if (o->op.is_free_point) {
		if (rc < 0)
			coll_id_back(c, o->op.free_id, o->op.old_row);
		else
			coll_id_del(c, o->op.free_id);
	} else {
		struct eng_obj *obj = obj_by_oid(&e->t, o->op.oid);
		struct eng_vec *v = obj ? obj_vec(obj, o->op.cid) : NULL;
		if (v && rc < 0)
			v->busy = false;
		else if (v)
			obj_vec_del(&e->t, obj, v);
	}
	if (rc >= 0)
		coll_row_dead(c, o->op.old_row);
	pthread_cond_broadcast(&c->idle);
	pthread_mutex_unlock(&c->lock);
	eng_unlock(e);
	bell_ring(&e->update_bell);
	bell_ring(&e->index_bell);
	return rc;
}
static int del_locked(
        struct engine *e, struct eng_job *j, struct eng_coll *c, bool is_free, uint64_t owner, struct eng_op *o)
{
	struct eng_obj *obj = is_free ? NULL : obj_by_oid(&e->t, owner);
	struct eng_vec *v = obj ? obj_vec(obj, c->info.cid) : NULL;
	uint32_t row = is_free ? coll_id_row(c, owner) : v ? v->row : ENG_ROW_NONE;
	if (row == ENG_ROW_BUSY || (v && v->busy))
		return PUT_WAIT;
	if (row == ENG_ROW_NONE)
		return -VX_ERR_no_vector;
	if (is_free)
		(void)coll_id_set(c, owner, ENG_ROW_BUSY); /* it has its slot */
	else
		v->busy = true;
	o->op.cid = c->info.cid;
	o->op.old_row = row;
	o->op.oid = is_free ? 0 : owner;
	o->op.is_free_point = is_free;
	o->op.free_id = is_free ? owner : 0;
	o->applied = del_visible;
	o->c = c;
	atomic_fetch_add(&c->refs, 1);
	job_op_add(j, o);
	op_submit(o);
	return 0;
}
static int del_one(struct engine *e, struct eng_job *j, struct eng_coll *c, bool is_free, uint64_t owner)
{
	if (is_free)
		VX_TRY(coll_ids_warm(c));
	for (;;) {
		if (eng_stopping(e))
			return -VX_ERR_shutting_down;
		struct eng_op *o = op_get_wait(e, SOP_vec_del);
		if (!o)
			return -ENOMEM;
		uint64_t seen = bell_rings(&e->update_bell);
		eng_wrlock(e);
		pthread_mutex_lock(&c->lock);
		int rc = del_locked(e, j, c, is_free, owner, o);
		pthread_mutex_unlock(&c->lock);
		eng_unlock(e);
		if (!rc)
			return 0;
		op_put(o);
		if (rc < 0)
			return rc;
		if (!is_free)
			replace_submit(e, owner);
		bell_wait(&e->update_bell, seen, WQ_FOREVER);
	}
}
static int payload_gone(struct engine *e, struct eng_job *j, uint64_t oid)
{
	struct eng_op *o = op_get_wait(e, SOP_payload_put);
	if (!o)
		return -ENOMEM;
	eng_wrlock(e);
	struct eng_obj *obj = obj_by_oid(&e->t, oid);
	bool had = obj && obj->has_payload;
	if (had) {
		obj->has_payload = false;
		o->op.oid = oid;
		job_op_add(j, o);
		op_submit(o);
	}
	eng_unlock(e);
	if (!had)
		op_put(o);
	return had;
}
static int del_all(struct engine *e, struct eng_job *j, uint64_t oid)
{
	int n = 0;
	uint32_t last = 0;
	for (;;) { /* collections in ascending order: the list changes while we are at it */
		uint32_t cid = UINT32_MAX;
		eng_rdlock(e);
		const struct eng_obj *o = obj_by_oid(&e->t, oid);
		for (const struct eng_vec *v = o ? o->vecs : NULL; v; v = v->next)
			if (v->cid > last && v->cid < cid && v->cid != STORE_CID_TEXT)
				cid = v->cid;
		eng_unlock(e);
		if (cid == UINT32_MAX)
			break;
		last = cid;
		struct eng_coll *c = coll_by_cid(e, cid);
		int rc = c ? del_one(e, j, c, false, oid) : 0;
		coll_put(c);
		if (rc < 0 && rc != -VX_ERR_no_vector)
			return rc;
		n += rc >= 0;
	}
	int rc = payload_gone(e, j, oid);
	if (rc < 0)
		return rc;
	return n + rc ? 0 : -VX_ERR_no_vector;
}
static int del_run(struct engine *e, struct eng_job *j)
{
	uint64_t owner = j->free_id;
	struct note_stat st;
	if (!j->is_free_point) {
		/* by the key alone when it is known: a file may lose its vector whatever has become of its name */
		uint64_t oid = 0;
		if (j->key.len) {
			eng_rdlock(e);
			const struct eng_obj *o = obj_by_key(&e->t, &j->key);
			oid = o ? o->oid : 0;
			eng_unlock(e);
			if (!oid)
				return -VX_ERR_no_vector;
			owner = oid;
		} else {
			VX_TRY(job_file(e, j, NULL, 2, &owner, &st));
		}
		if (j->coll && !strcmp(j->coll, "*"))
			return del_all(e, j, owner);
	}
	struct eng_coll *c;
	VX_TRY(writable_coll(e, j, j->is_free_point, &c));
	int rc = del_one(e, j, c, j->is_free_point, owner);
	if (rc >= 0 && j->is_free_point) {
		struct eng_op *o = op_get_wait(e, SOP_payload_put);
		if (o) {
			o->op.cid = c->info.cid;
			o->op.is_free_point = true;
			o->op.free_id = owner;
			job_op_add(j, o);
			op_submit(o);
		}
	}
	coll_put(c);
	return rc;
}

/* ---- collections ---- */
static int create_run(struct engine *e, struct eng_job *j)
{
	struct store_coll k = {0};
	const struct eng_coll_info *n = &j->coll_new;
	const char *name = n->name[0] ? n->name : j->coll ? j->coll : "";
	if (!coll_name_ok(name))
		return -VX_ERR_collection_name;
	memcpy(k.name, name, strlen(name) + 1);
	if (n->dim > CONF_DIM_MAX)
		return -VX_ERR_dim_range;
	if (n->metric >= VXM_N || n->dtype >= VXD_N || (n->metric == VXM_hamming) != (n->dtype == VXD_binary))
		return -VX_ERR_bad_value;
	if (n->M && (n->M < 2 || n->M > 64))
		return -VX_ERR_m_range;
	if (n->ef > CONF_EF_MAX || n->ef_construction > CONF_EF_MAX)
		return -VX_ERR_ef_range;
	if (n->target_recall > 10000)
		return -VX_ERR_bad_value;
	VX_TRY(perm_check(e, &j->who, j->arena, "", 2));
	k.dim = n->dim;
	k.metric = n->metric;
	k.dtype = n->dtype;
	k.M = n->M ? n->M : 16;
	k.ef_construction = n->ef_construction ? n->ef_construction : 200;
	k.ef = n->ef ? n->ef : CONF_EF_DEFAULT;
	k.uid = j->who.uid;
	k.gid = j->who.gid;
	k.mode = n->mode ? n->mode & 0777 : 0644;
	struct eng_coll *old = coll_get(e, name);
	if (old) {
		coll_put(old);
		return job_refuse(j, -VX_ERR_collection_exists, name);
	}
	struct eng_op *o = coll_create_op(e, &k);
	if (!o)
		return -ENOMEM;
	struct eng_coll *c = o->c;
	c->recall.target = n->target_recall;
	atomic_fetch_add(&c->refs, 1);
	int rc = op_run(o, true); /* so that the next job of this thread finds it */
	if (rc >= 0 && n->target_recall)
		rc = recall_save(e, c);
	coll_put(c);
	return rc;
}
static int drop_run(struct engine *e, struct eng_job *j)
{
	struct eng_coll *c;
	if (!j->coll)
		return -VX_ERR_no_collection;
	if (!strcmp(j->coll, "default") || !strcmp(j->coll, "text"))
		return job_refuse(j, -VX_ERR_collection_reserved, j->coll);
	c = coll_get(e, j->coll);
	if (!c)
		return job_refuse(j, -VX_ERR_no_collection, j->coll);
	if (!job_owner(e, j) && j->who.uid != c->info.uid) {
		coll_put(c);
		return job_refuse(j, -VX_ERR_not_owner, NULL);
	}
	struct eng_op *o = op_get_wait(e, SOP_coll_drop);
	if (!o) {
		coll_put(c);
		return -ENOMEM;
	}
	pthread_mutex_lock(&c->lock);
	c->dropped = true;
	while (c->inflight)
		pthread_cond_wait(&c->idle, &c->lock);
	coll_drain(c);
	uint32_t cap = c->cap;
	pthread_mutex_unlock(&c->lock);
	bool listed = coll_unlist(e, c);
	/* its files forget it; nobody else changes own[] of a dropped collection */
	for (uint32_t r = 0; r < cap; r++) {
		if ((c->flags[r] & (ROWF_LIVE | ROWF_FREE)) != ROWF_LIVE)
			continue;
		eng_wrlock(e);
		struct eng_obj *obj = obj_by_oid(&e->t, c->own[r]);
		struct eng_vec *v = obj ? obj_vec(obj, c->info.cid) : NULL;
		if (v)
			obj_vec_del(&e->t, obj, v);
		eng_unlock(e);
	}
	o->op.cid = c->info.cid;
	o->c = c; /* our reference goes with the op */
	int rc = op_run(o, true);
	if (listed)
		coll_put(c); /* the list's */
	return rc;
}

void update_run(struct engine *e, struct eng_job *j)
{
	job_ops_begin(e, j);
	int rc = 0;
	switch (j->verb) {
	case EV_put:
	case EV_payload:
		rc = put_run(e, j);
		break;
	case EV_batch_put:
		rc = batch_run(e, j);
		break;
	case EV_del:
		rc = del_run(e, j);
		break;
	case EV_coll_create:
		rc = create_run(e, j);
		break;
	case EV_coll_drop:
		rc = drop_run(e, j);
		break;
	case EV_get:
	case EV_search:
	case EV_status:
	case EV_wait:
	case EV_coll_info:
	case EV_coll_list:
	case EV_export:
	case EV_verify:
	case EV_retry:
	case EV_model:
	case EV_locate:
	case EV_index:
	case EV_snap_create:
	case EV_snap_drop:
	case EV_snap_list:
		rc = -VX_ERR_unknown_verb;
		break;
	}
	job_ops_end(e, j, rc);
}
