/* getvec.c - one point read back: vector, state, hash, payload; and a collection read row by row (export).
 *
 * A vector is copied out of the store's map inside a view of its collection, so its slot can't be given to another meanwhile; no
 * lock is held while its page may come from disk. */
#include <fcntl.h>
#include <string.h>

#include "engine/sem.h"

static int copy_row(struct eng_job *j, struct coll_view *v, uint32_t row, const void **ret, uint32_t *ret_n)
{
	struct engine *e = v->c->e;
	uint32_t n = rows_vec_bytes(v->rows->dim, v->rows->dtype);
	const void *p = rows_vec(v->rows, row);
	void *to = arena_alloc(j->arena, n);
	if (!to)
		return -VX_ERR_arena_full;
	if (!p || !store_row_ok(e->st, v->c->info.cid, row))
		return -VX_ERR_store_corrupt;
	memcpy(to, p, n);
	*ret = to;
	*ret_n = n;
	return 0;
}
/* [e->objects] what a model has made of its text. @own: dim and state are those of a vector of the user's */
static void by_model(struct engine *e, struct eng_job *j, const struct eng_obj *o, bool own)
{
	struct eng_coll *c = coll_get(e, "text");
	bool has = false, refused = false;
	if (c && c->chunks) {
		pthread_mutex_lock(&c->lock);
		const struct chunk_file *f = chunk_rows_file(c, o->oid);
		has = f && f->current && f->head != ENG_ROW_NONE;
		refused = f && f->current && f->refused;
		pthread_mutex_unlock(&c->lock);
	}
	if (has && e->sem) { /* no reference: the last one closes a model, which is not for this thread */
		pthread_mutex_lock(&e->sem->lock);
		const struct sem_model *m = e->sem->answer;
		if (m)
			j->ret_model = arena_strndup(j->arena, m->name, strlen(m->name));
		pthread_mutex_unlock(&e->sem->lock);
	}
	if (has && !own && !j->ret_dim)
		j->ret_dim = c->info.dim;
	coll_put(c);
	if (!own && o->emb_due && j->ret_state == ENG_STATE_fresh && sem_pending(e))
		j->ret_state = ENG_STATE_pending;
	else if (refused && j->ret_state == ENG_STATE_fresh) /* fresh all the same: words find it */
		j->ret_error = -VX_ERR_text_refused;
}
/* [e->objects] a file that nobody has looked into yet: the walk that is due will */
static bool unseen(struct engine *e, const struct eng_obj *o)
{
	return o->text_state == STORE_TEXT_none && o->kind == STORE_OBJ_file && e->cfg.components == ENG_all &&
	       (atomic_load(&e->walk_due) || atomic_load(&e->walk_running));
}
static int get_point(struct engine *e, struct eng_job *j, uint64_t oid, const struct note_stat *st)
{
	struct eng_coll *c = coll_get(e, j->coll ? j->coll : "default");
	if (!c)
		return job_refuse(j, -VX_ERR_no_collection, j->coll);
	struct coll_view view;
	coll_enter(c, &view);
	uint32_t row = ENG_ROW_NONE;
	int rc = 0;
	if (j->is_free_point) {
		pthread_mutex_lock(&c->lock);
		row = coll_id_shown(c, j->free_id);
		rc = row != ENG_ROW_NONE ? 0 : -VX_ERR_no_vector;
		pthread_mutex_unlock(&c->lock);
		if (!coll_may(c, &j->who, 4))
			rc = -EACCES;
		j->ret_state = ENG_STATE_fresh;
	} else {
		eng_rdlock(e);
		struct eng_obj *o = obj_by_oid(&e->t, oid);
		const struct eng_vec *v = o ? obj_vec(o, c->info.cid) : NULL;
		if (o) {
			const struct stamp *s = v ? &v->stamp : &o->text_stamp;
			j->ret_state = (uint8_t)(v ? vec_state(v, st) : text_state(o, st));
			if (!v && (obj_queued(o) || unseen(e, o)))
				j->ret_state = ENG_STATE_pending;
			j->ret_error = j->ret_state == ENG_STATE_error ? o->text_error : 0;
			if (!v && (j->ret_state == ENG_STATE_pending || j->ret_state == ENG_STATE_stale))
				j->ret_error = store_health(e->st); /* a full disk: it waits for room */
			by_model(e, j, o, v != NULL);
			memcpy(j->ret_hash, s->hash, sizeof(j->ret_hash));
			j->ret_hashed = s->hashed != 0;
			row = v ? v->row : ENG_ROW_NONE;
		}
		rc = row != ENG_ROW_NONE ? 0 : -VX_ERR_no_vector;
		eng_unlock(e);
	}
	if (rc >= 0 && !view.rows)
		rc = -VX_ERR_no_vector;
	if (rc >= 0) {
		j->ret_dim = view.rows->dim;
		rc = copy_row(j, &view, row, &j->ret_vec, &j->ret_vec_bytes);
	}
	coll_leave(&view);
	coll_put(c);
	return rc;
}
int inline_get(struct engine *e, struct eng_job *j)
{
	struct note_stat st;
	struct stat s;
	if (j->is_free_point) {
		struct eng_coll *c = coll_get(e, j->coll ? j->coll : "default");
		bool cold = c && atomic_load(&c->ids_cold);
		coll_put(c);
		return cold ? 1 : get_point(e, j, 0, NULL);
	}
	if (!j->key.len || j->fd <= 0)
		return 1;
	eng_rdlock(e);
	const struct eng_obj *o = obj_by_key(&e->t, &j->key);
	uint64_t oid = o ? o->oid : 0;
	eng_unlock(e);
	if (!oid)
		return -VX_ERR_no_vector;
	VX_TRY(os_fstat(e->os, j->fd, &s));
	note_stat_of(&st, &s);
	return get_point(e, j, oid, &st);
}

/* ---- with a thread that may wait ---- */
struct rd_wait {
	struct bell bell;
	_Atomic int done;
};
static void rd_done(struct store_read *rd)
{
	struct rd_wait *w = rd->u;
	pthread_mutex_lock(&w->bell.lock);
	atomic_store(&w->done, 1);
	w->bell.rings++;
	pthread_cond_broadcast(&w->bell.cond);
	pthread_mutex_unlock(&w->bell.lock);
}
int rd_sync(struct engine *e, struct store_read *rd)
{
	struct rd_wait w;
	atomic_init(&w.done, 0);
	VX_TRY(bell_init(&w.bell));
	rd->done = rd_done;
	rd->u = &w;
	int rc = store_read(e->st, rd);
	uint64_t seen = 0;
	while (rc >= 0 && !atomic_load(&w.done))
		seen = bell_wait(&w.bell, seen, WQ_FOREVER);
	pthread_mutex_lock(&w.bell.lock); /* rd_done has left it */
	pthread_mutex_unlock(&w.bell.lock);
	bell_done(&w.bell);
	return rc < 0 ? rc : rd->rc;
}
/* readers see commits only: what was acknowledged before is committed first, once a job. Where that fails the answer says incomplete. */
void reads_fresh(struct engine *e, struct eng_job *j)
{
	if (j->priv.n[6] || !store_queue_len(e->st))
		return;
	j->priv.n[6] = 1;
	struct eng_op *o = store_health(e->st) < 0 ? NULL : op_get_wait(e, SOP_barrier);
	if (!o || op_run(o, true) < 0)
		j->priv.n[2] = 1;
}
static int read_payload(struct engine *e, struct eng_job *j, uint32_t cid, bool is_free, uint64_t owner,
        const char **ret, uint32_t *ret_n)
{
	struct store_read rd = {.kind = SRD_payload, .arena = j->arena, .is_free_point = is_free, .cancel = &j->cancel};
	rd.oid = is_free ? 0 : owner;
	rd.cid = is_free ? cid : 0;
	rd.free_id = is_free ? owner : 0;
	reads_fresh(e, j);
	int rc = rd_sync(e, &rd);
	if (rc < 0 && rc != -ENOENT && rc != -ENODATA)
		return rc;
	*ret = rc < 0 ? NULL : rd.data;
	*ret_n = rc < 0 ? 0 : rd.data_n;
	return 0;
}
int eng_read_payload(struct engine *e, struct eng_job *j, uint32_t cid, bool is_free, uint64_t owner, const char **ret,
        uint32_t *ret_n)
{
	return read_payload(e, j, cid, is_free, owner, ret, ret_n);
}
/* every user vector of a file, with what is needed to know it again elsewhere */
static int get_all(struct engine *e, struct eng_job *j, uint64_t oid, const struct note_stat *st)
{
	uint32_t cap = 0, n = 0;
	eng_rdlock(e);
	const struct eng_obj *o = obj_by_oid(&e->t, oid);
	for (const struct eng_vec *v = o ? o->vecs : NULL; v; v = v->next)
		cap++;
	struct eng_packed *p = arena_zalloc(j->arena, (cap ? cap : 1) * sizeof(*p));
	struct {
		uint32_t cid, row;
	} *at = arena_zalloc(j->arena, (cap ? cap : 1) * sizeof(*at));
	for (const struct eng_vec *v = o && p && at ? o->vecs : NULL; v; v = v->next) {
		if (v->cid == STORE_CID_TEXT || v->row >= ENG_ROW_BUSY)
			continue;
		enum eng_state state = vec_state(v, st);
		p[n].hashed = v->stamp.hashed;
		p[n].stale = state == ENG_STATE_stale;
		memcpy(p[n].hash, v->stamp.hash, sizeof(p[n].hash));
		at[n].cid = v->cid;
		at[n++].row = v->row;
	}
	eng_unlock(e);
	if (!p || !at)
		return -VX_ERR_arena_full;
	j->out_packed = p;
	for (uint32_t i = 0; i < n; i++) {
		struct eng_coll *c = coll_by_cid(e, at[i].cid);
		if (!c)
			continue; /* dropped meanwhile */
		struct coll_view view;
		struct eng_packed k = p[i];
		coll_enter(c, &view);
		int rc = view.rows ? copy_row(j, &view, at[i].row, &k.vec, &k.vec_bytes) : -VX_ERR_no_vector;
		if (rc >= 0) {
			k.dim = view.rows->dim;
			k.dtype = view.rows->dtype;
			k.metric = view.rows->metric;
			k.coll = arena_strndup(j->arena, c->info.name, strlen(c->info.name));
			rc = k.coll ? 0 : -VX_ERR_arena_full;
		}
		coll_leave(&view);
		coll_put(c);
		if (rc == -VX_ERR_arena_full)
			return rc;
		if (rc >= 0)
			p[j->out_packed_n++] = k;
	}
	return j->out_packed_n ? 0 : -VX_ERR_no_vector;
}
int eng_points(struct engine *e, const struct obj_key *key, uint64_t *ret_bytes)
{
	if (!eng_ready(e))
		return -1;
	int rc = 0;
	uint64_t bytes = 0;
	uint32_t cids[16], n = 0;
	eng_rdlock(e);
	const struct eng_obj *o = obj_by_key(&e->t, key);
	rc = o && o->has_payload;
	for (const struct eng_vec *v = o ? o->vecs : NULL; v; v = v->next)
		if (v->cid != STORE_CID_TEXT && v->row < ENG_ROW_BUSY) {
			rc = 1;
			if (n < sizeof(cids) / sizeof(*cids))
				cids[n++] = v->cid;
		}
	eng_unlock(e);
	for (uint32_t i = 0; i < n; i++) {
		struct eng_coll *c = coll_by_cid(e, cids[i]);
		if (c)
			bytes += rows_vec_bytes(c->info.dim, c->info.dtype);
		coll_put(c);
	}
	*ret_bytes = bytes;
	return rc;
}
int get_slow(struct engine *e, struct eng_job *j)
{
	struct note_stat st = {0};
	struct stat s;
	uint64_t oid = 0;
	uint32_t cid = 0;
	if (!j->is_free_point) {
		char *buf = arena_alloc(j->arena, CONF_PATH_MAX + 1);
		if (!buf)
			return -VX_ERR_arena_full;
		struct obj_key k = j->key;
		int fd = j->fd > 0 ? j->fd : e->cfg.root_fd;
		bool by_path = !k.len;
		if (by_path) {
			int n = j->path ? eng_path_clean(j->path, buf, CONF_PATH_MAX + 1) : -VX_ERR_no_object;
			VX_TRY(n);
			VX_TRY(perm_check(e, &j->who, j->arena, buf, 4));
			VX_TRY(objkey_at(e->cfg.root_fd, buf, &k));
		}
		if (by_path || j->fd <= 0)
			VX_TRY(by_path ? os_fstatat(e->os, e->cfg.root_fd, buf, &s, AT_SYMLINK_NOFOLLOW)
			               : -VX_ERR_no_object);
		else
			VX_TRY(os_fstat(e->os, fd, &s));
		note_stat_of(&st, &s);
		eng_rdlock(e);
		const struct eng_obj *o = obj_by_key(&e->t, &k);
		oid = o ? o->oid : 0;
		eng_unlock(e);
		if (!oid)
			return -VX_ERR_no_vector;
	}
	if (j->is_free_point) {
		struct eng_coll *c = coll_get(e, j->coll ? j->coll : "default");
		int rc = c ? coll_ids_warm(c) : 0;
		coll_put(c);
		VX_TRY(rc);
	}
	bool all = !j->is_free_point && j->coll && !strcmp(j->coll, "*");
	j->out_packed_n = 0;
	int rc = all ? get_all(e, j, oid, &st) : get_point(e, j, oid, &st);
	if (j->with_chunks && !j->is_free_point && e->cfg.components == ENG_all) {
		struct store_read rd = {.kind = SRD_chunk_count, .oid = oid, .arena = j->arena, .cancel = &j->cancel};
		if (rd_sync(e, &rd) >= 0)
			j->ret_chunks = rd.id_n;
	}
	if (!j->with_payload || (rc < 0 && rc != -VX_ERR_no_vector))
		return rc;
	if (j->is_free_point) {
		struct eng_coll *c = coll_get(e, j->coll ? j->coll : "default");
		cid = c ? c->info.cid : 0;
		coll_put(c);
	}
	int prc = read_payload(
	        e, j, cid, j->is_free_point, j->is_free_point ? j->free_id : oid, &j->ret_payload, &j->ret_payload_n);
	return prc < 0 ? prc : rc < 0 && j->ret_payload_n ? 0 : rc;
}

/* ---- export: rows from the cursor on, as many as asked for ---- */
#define EXPORT_DEFAULT 256u
static int export_rows(struct engine *e, struct eng_job *j, struct coll_view *v, struct judge *g, uint32_t most)
{
	struct eng_coll *c = v->c;
	bool free_ok = coll_may(c, &j->who, 4);
	uint64_t row = j->cursor;
	int rc = 0;
	for (; row < v->rows_n && j->out_point_n < most && rc >= 0; row++) {
		pthread_mutex_lock(&c->lock);
		bool live = row < c->cap && (c->flags[row] & ROWF_LIVE);
		bool is_free = live && (c->flags[row] & ROWF_FREE);
		uint64_t owner = live ? coll_owner(c, (uint32_t)row) : 0;
		pthread_mutex_unlock(&c->lock);
		struct note_stat st;
		uint64_t ino;
		if (!live || (is_free ? !free_ok : !judge_file(g, owner, &st, &ino)))
			continue;
		struct eng_point *p = &j->out_points[j->out_point_n];
		memset(p, 0, sizeof(*p));
		if (is_free)
			p->id = owner;
		else if (!(p->path = arena_strndup(j->arena, g->path, strlen(g->path))))
			rc = -VX_ERR_arena_full;
		if (rc >= 0)
			rc = copy_row(j, v, (uint32_t)row, &p->vec, &p->vec_bytes);
		if (rc == -VX_ERR_store_corrupt) {
			rc = 0; /* said by complete, named by verify */
			j->priv.n[2] = 1;
			continue;
		}
		if (rc >= 0 && j->with_payload)
			rc = read_payload(e, j, c->info.cid, is_free, owner, &p->payload, &p->payload_n);
		if (rc >= 0)
			j->out_point_n++;
	}
	if (rc == -VX_ERR_arena_full && j->out_point_n) { /* the rest at the next call */
		row--;
		rc = 0;
	}
	j->cursor = row;
	return rc;
}
int export_run(struct engine *e, struct eng_job *j)
{
	struct eng_coll *c = coll_get(e, j->coll ? j->coll : "default");
	if (!c)
		return job_refuse(j, -VX_ERR_no_collection, j->coll);
	uint32_t most = j->k ? j->k : EXPORT_DEFAULT;
	most = most > CONF_BATCH_MAX ? CONF_BATCH_MAX : most;
	j->out_point_n = 0;
	j->out_points = arena_alloc(j->arena, (size_t)most * sizeof(*j->out_points));
	struct judge g;
	struct coll_view v;
	int rc = j->out_points ? judge_begin(&g, e, j) : -VX_ERR_arena_full;
	if (rc >= 0) {
		coll_enter(c, &v);
		if (v.rows) {
			j->ret_dim = v.rows->dim;
			rc = export_rows(e, j, &v, &g, most);
		}
		coll_leave(&v);
		judge_end(&g);
	}
	coll_put(c);
	return rc;
}
