/* lazy.c - opening store and index on a thread of their own, at first use, with failure state and retry.
 *
 *     cold --(first job, or eng_start with text)--> opening --> ready
 *                                                      \--> failed --(1, 2, 4 .. 60 s, or EV_retry)--> opening
 *
 * However many jobs touch a cold engine at once, one thread opens; the jobs are parked and answered when it is done: run when it is
 * ready, refused with the reason when it failed.  While it is failed further jobs are refused at once.  After opening the same
 * thread walks the tree whenever a walk is due. */
#include <string.h>

#include "base/rest.h"
#include "base/event.h"
#include "engine/sem.h"

void lazy_want(struct engine *e)
{
	pthread_mutex_lock(&e->life);
	e->open_wanted = true;
	pthread_mutex_unlock(&e->life);
	bell_ring(&e->life_bell);
}
static int refuse_failed(struct engine *e, struct eng_job *j)
{
	/* the reason itself when it is one of ours, so that "locked by pid 17" reaches the user */
	int rc = e->fail.code <= -VX_ERR_BASE ? e->fail.code : -VX_ERR_store_failed;
	return job_refuse(j, rc, e->fail.detail);
}
int lazy_park(struct engine *e, struct eng_job *j)
{
	int ret = -1;
	pthread_mutex_lock(&e->life);
	if (eng_stopping(e)) {
		job_refuse(j, -VX_ERR_shutting_down, NULL);
		ret = ENG_DONE;
	} else if (eng_ready(e)) {
		ret = -1;
	} else if (atomic_load(&e->state) == ENGS_failed) {
		refuse_failed(e, j);
		ret = ENG_DONE;
	} else if (e->parked_n >= ENG_PARKED_MAX) {
		job_refuse(j, -VX_ERR_queue_full, NULL);
		ret = ENG_DONE;
	} else if (atomic_load(&j->cancel)) { /* set before it is listed: eng_poke would not find it */
		job_refuse(j, -VX_ERR_cancelled, NULL);
		ret = ENG_DONE;
	} else {
		int rc = job_keep_fd(e, j);
		if (rc < 0) {
			job_refuse(j, rc, NULL);
			ret = ENG_DONE;
		} else {
			j->priv.p[0] = NULL;
			*e->parked_tail = j;
			e->parked_tail = (struct eng_job **)&j->priv.p[0];
			e->parked_n++;
			e->open_wanted = true;
			perf_add(PERFC_parked, 1);
			bell_ring(&e->life_bell);
			ret = ENG_PARKED;
		}
	}
	pthread_mutex_unlock(&e->life);
	return ret;
}
/* take the parked jobs, under e->life */
static struct eng_job *parked_take(struct engine *e)
{
	struct eng_job *j = e->parked;
	e->parked = NULL;
	e->parked_tail = &e->parked;
	e->parked_n = 0;
	return j;
}
void lazy_answer_all(struct engine *e, int rc)
{
	pthread_mutex_lock(&e->life);
	struct eng_job *lists[2] = {parked_take(e), e->waiters};
	e->waiters = NULL;
	pthread_mutex_unlock(&e->life);
	for (unsigned i = 0; i < 2; i++)
		for (struct eng_job *j = lists[i], *next; j; j = next) {
			next = j->priv.p[0];
			job_finish(e, j, job_refuse(j, rc, NULL), true);
		}
}

/* ---- loading: callbacks on this thread; nobody else reads the tables yet, but handles are counted in them ---- */
struct load {
	struct engine *e;
	bool root_seen;
	struct obj_key root_key;
};
static int load_coll(void *u, const struct store_coll *k)
{
	struct load *l = u;
	struct eng_coll *c = coll_new(l->e, k);
	if (!c)
		return -ENOMEM;
	pthread_mutex_lock(&l->e->coll_lock);
	c->next = l->e->colls;
	l->e->colls = c;
	pthread_mutex_unlock(&l->e->coll_lock);
	return 0;
}
static int load_obj(void *u, uint64_t oid, const struct obj_key *key, uint8_t kind, uint8_t tstate, int32_t terror,
        const struct stamp *tstamp, bool has_payload)
{
	struct load *l = u;
	struct engine *e = l->e;
	eng_wrlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, oid) ? NULL : obj_add(&e->t, oid, key, kind);
	if (o) {
		o->stored = true;
		o->text_state = tstate;
		o->text_error = terror;
		if (tstamp)
			o->text_stamp = *tstamp;
		o->has_payload = has_payload;
	}
	eng_unlock(e);
	if (!o)
		return -ENOMEM;
	if (oid == STORE_OID_ROOT) {
		l->root_seen = true;
		l->root_key = *key;
	}
	return 0;
}
static int load_link(void *u, uint64_t oid, uint64_t parent, const char *name)
{
	struct engine *e = ((struct load *)u)->e;
	int rc = 0;
	eng_wrlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, oid), *p = obj_by_oid(&e->t, parent);
	struct eng_link *other = o && p ? link_find(&e->t, p, name) : NULL;
	if (other && other->obj != o) {
		o->heir = other->obj->oid; /* one replaced the other; the walk will see which */
		mem_free(MEM_objects, o->former);
		o->former = mem_strdup(MEM_objects, name);
		o->former_dir = parent;
	} else if (o && p && o != p && !other) {
		struct eng_link *k = link_add(&e->t, o, p, name);
		if (k)
			k->stored = true;
		rc = k || !*name ? 0 : -ENOMEM;
	}
	eng_unlock(e);
	return rc;
}
static int load_vec(void *u, uint32_t cid, uint32_t row, uint64_t generation, bool dead, bool is_free, uint64_t id,
        const struct stamp *stamp)
{
	struct engine *e = ((struct load *)u)->e;
	(void)generation; /* the graph itself says what it holds */
	/* one live row an owner: an update kills the old row in the same commit */
	struct eng_coll *c = coll_by_cid(e, cid);
	if (!c)
		return 0;
	int rc = 0;
	bool orphan = false;
	eng_wrlock(e);
	pthread_mutex_lock(&c->lock);
	if (!dead && c->chunks) {
		orphan = is_free || !stamp->hashed || !obj_by_oid(&e->t, id);
		rc = orphan ? 0 : coll_row_live(c, row, false, id, false);
		if (!rc && !orphan)
			rc = chunk_rows_add(c, row, id, stamp->hash);
	} else if (dead) {
		rc = coll_reserve(c, row);
		rc = rc < 0 ? rc : coll_dead_push(c, row, false);
	} else if (is_free) {
		orphan = coll_id_row(c, id) != ENG_ROW_NONE;
		rc = orphan ? 0 : coll_row_live(c, row, true, id, false);
		rc = rc || orphan ? rc : coll_id_set(c, id, row);
	} else {
		struct eng_obj *o = obj_by_oid(&e->t, id);
		orphan = !o || obj_vec(o, cid);
		struct eng_vec *v = orphan ? NULL : obj_vec_add(&e->t, o, cid);
		if (v) {
			v->row = row;
			v->stamp = *stamp;
			rc = coll_row_live(c, row, false, id, false);
		} else if (!orphan) {
			rc = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&c->lock);
	eng_unlock(e);
	if (orphan)
		atomic_fetch_add(&e->damaged, 1);
	coll_put(c);
	return rc;
}
static uint64_t *load_points_room(void *u, uint32_t cid, uint32_t rows, uint32_t runs_n)
{
	struct eng_coll *c = coll_by_cid(((struct load *)u)->e, cid);
	uint64_t *room = NULL;
	if (c) {
		pthread_mutex_lock(&c->lock);
		room = coll_points_room(c, rows, runs_n);
		pthread_mutex_unlock(&c->lock);
	}
	coll_put(c);
	return room;
}
static int load_points(
        void *u, uint32_t cid, const uint64_t *live, uint32_t rows, uint32_t n, const struct store_idrun *run)
{
	struct eng_coll *c = coll_by_cid(((struct load *)u)->e, cid);
	int rc = -VX_ERR_store_corrupt;
	if (c) {
		pthread_mutex_lock(&c->lock);
		rc = coll_points(c, live, rows, n, run);
		pthread_mutex_unlock(&c->lock);
	}
	coll_put(c);
	return rc;
}
static int load_chunk_rows(void *u, uint32_t cid, uint64_t oid, uint64_t ver, const uint32_t *row, uint32_t n)
{
	struct engine *e = ((struct load *)u)->e;
	struct eng_coll *c = coll_by_cid(e, cid);
	int rc = 0;
	bool refused = false;
	if (c && c->chunks) {
		pthread_mutex_lock(&c->lock);
		rc = chunk_rows_map(c, oid, ver, row, n);
		const struct chunk_file *f = rc < 0 ? NULL : chunk_rows_file(c, oid);
		refused = f && f->refused;
		pthread_mutex_unlock(&c->lock);
	}
	if (refused) {
		eng_wrlock(e);
		sem_refused(e, oid);
		eng_unlock(e);
	}
	coll_put(c);
	return rc;
}
static int load_graph(void *u, uint32_t cid, uint64_t gen, const char *name)
{
	struct engine *e = ((struct load *)u)->e;
	struct eng_coll *c = coll_by_cid(e, cid);
	if (!c)
		return 0;
	pthread_mutex_lock(&c->lock);
	/* newest first; an older one may link rows that have been given to others since: not used */
	if (!c->graph_gen) {
		c->graph_gen = gen;
		c->graph_name = mem_strdup(MEM_engine, name);
	}
	pthread_mutex_unlock(&c->lock);
	coll_put(c);
	return 0;
}
static void load_damaged(void *u, const char *table, uint64_t rowid)
{
	struct engine *e = ((struct load *)u)->e;
	atomic_fetch_add(&e->damaged, 1);
	log_kv(LOGL_error, table, "damaged row", rowid);
	walk_want(e); /* an object or link that was skipped is found again by its file */
}
static void open_graph(struct engine *e, struct eng_coll *c)
{
	rows_refresh(e, c);
	if (!c->rows || !c->graph_name)
		return;
	struct index_cfg ic = coll_index_cfg(e, c);
	uint64_t gen;
	int rc = index_open(c->rows, &ic, e->os, store_coll_dirfd(e->st, c->info.cid), c->graph_name, &gen, &c->ix);
	mem_free(MEM_engine, c->graph_name);
	c->graph_name = NULL;
	if (rc < 0) {
		log_rc(LOGL_warn, "engine: the graph is rebuilt", rc);
		perf_add(PERFC_graph_rebuilt, 1);
		c->ix = NULL;
		c->graph_kept = true;
		return;
	}
	if (coll_rows_opened(c) < 0) {
		/* a row outside graph and tail would be missed: better no graph */
		index_free(c->ix);
		c->ix = NULL;
		c->graph_kept = true;
		return;
	}
	for (uint32_t i = 0; i < c->dead_n; i++)
		c->flags[c->dead[i].row] |= ROWF_PUB; /* it may name them: they wait for the next one */
	c->linked_pub = index_count(c->ix);
	struct index_stats is;
	index_stats(c->ix, &is);
	c->ix_bytes = is.bytes + is.mapped_bytes;
}
static void unload(struct engine *e)
{
	struct eng_coll *c = e->colls;
	e->colls = NULL;
	for (struct eng_coll *next; c; c = next) {
		next = c->next;
		coll_put(c);
	}
	eng_wrlock(e);
	objects_clear(&e->t);
	e->ingest_q.n = e->look_q.n = e->loose_q.n = 0;
	e->walk_q.n = e->ignore_q.n = 0;
	atomic_store(&e->pending, 0);
	sem_forget(e);
	eng_unlock(e);
}
void lazy_close(struct engine *e)
{
	pthread_mutex_lock(&e->life);
	if (eng_ready(e))
		atomic_store(&e->state, ENGS_cold);
	pthread_mutex_unlock(&e->life);
	/* collections borrow rows of the store, operations borrow collections: operations first, then graphs, then the store's maps.
	 * store_close completes what is queued, so the graphs go while the store still has its maps: index_free reads none of them. */
	store_close(e->st);
	e->st = NULL;
	unload(e);
}
static int start_workers(struct engine *e)
{
	for (unsigned i = 0; i < ENG_SEARCHERS; i++)
		VX_TRY(thread_start(
		        &e->searcher[i], i ? "vx-search2" : "vx-search1", ENG_WORKER_STACK, search_thread, e));
	VX_TRY(sem_start(e));
	if (e->live) /* nothing changes in a snapshot */
		return 0;
	VX_TRY(thread_start(&e->snapper, "vx-snap", ENG_WORKER_STACK, snaps_thread, e));
	VX_TRY(thread_start(&e->indexer, "vx-index", ENG_WORKER_STACK, index_thread, e));
	VX_TRY(thread_start(&e->updater, "vx-update", ENG_WORKER_STACK, update_thread, e));
	return thread_start(&e->ingester, "vx-ingest", ENG_WORKER_STACK, ingest_thread, e);
}
static int open_all(struct engine *e, struct vx_errinfo *err)
{
	struct store_cfg sc = {
	        .os = e->os, .root_fd = e->cfg.root_fd, .store_dir = e->cfg.store_dir, .read_only = e->cfg.read_only};
	VX_TRY(store_open(&sc, &e->st, err));
	static const struct store_load_cb cb = {load_coll, load_obj, load_link, load_vec, load_graph, load_damaged,
	        load_chunk_rows, load_points_room, load_points};
	struct load l = {.e = e};
	VX_TRY(store_load(e->st, &cb, &l));
	sem_load(e);
	if (!e->live)
		baseline_load(e);
	struct obj_key root;
	VX_TRY(objkey_at(e->cfg.root_fd, "", &root));
	eng_wrlock(e);
	int rc = 0;
	struct eng_obj *o = obj_by_oid(&e->t, STORE_OID_ROOT);
	if (!o)
		o = obj_add(&e->t, STORE_OID_ROOT, &root, STORE_OBJ_dir);
	if (!o) {
		rc = -ENOMEM;
	} else if (!objkey_eq(&o->key, &root)) {
		/* the tree was copied, restored or moved to another file system: handles mean nothing, names are all there is */
		e->rebind = true;
		obj_rekey(&e->t, o, &root);
		o->stored = false;
		log_msg(LOGL_info, "engine: the tree is not where the store was made; files are found again by path, "
		                   "size and time");
	}
	bool files = e->t.file_n != 0;
	eng_unlock(e);
	VX_TRY(rc);
	for (struct eng_coll *c = e->colls; c; c = c->next) {
		pthread_mutex_lock(&c->lock);
		recall_load(e, c);
		open_graph(e, c);
		pthread_mutex_unlock(&c->lock);
	}
	if (!e->live && (files || e->cfg.components == ENG_all || e->rebind))
		atomic_store(&e->walk_due, 1);
	uint64_t now = os_real_ns(e->os);
	if (atomic_load(&e->text_ver) < now)
		atomic_store(&e->text_ver, now);
	return 0;
}
/* with e->life not held; exactly one thread comes here */
static void open_once(struct engine *e)
{
	struct vx_errinfo err = {.position = -1};
	uint64_t t0 = os_mono_ns(e->os);
	vx_dassert(thread_self() == &e->opener); /* never in a FUSE callback, nor on whoever asked first */
	int rc = open_all(e, &err);
	if (rc >= 0 && !e->searcher[0].started)
		rc = start_workers(e);
	if (rc < 0) {
		if (e->st) {
			store_close(e->st);
			e->st = NULL;
		}
		unload(e);
	}
	perf_op(PERF_store_open, os_mono_ns(e->os) - t0, 0);
	pthread_mutex_lock(&e->life);
	e->open_tries++;
	if (rc < 0) {
		e->retry_s = e->retry_s ? e->retry_s * 2 : 1;
		if (e->retry_s > ENG_RETRY_MAX_S)
			e->retry_s = ENG_RETRY_MAX_S;
		e->retry_at_ns = os_mono_ns(e->os) + e->retry_s * 1000000000ull;
		e->fail = err;
		e->fail.code = rc;
		atomic_store_explicit(&e->state, ENGS_failed, memory_order_release);
		log_rc(LOGL_error, "engine: the vector store cannot be opened", rc);
		if (!e->live)
			event_post("store_failed", err_text(rc), e->retry_s);
	} else {
		e->retry_s = 0;
		note_replay(e);
		if (!e->live)
			event_post("store_ready", e->cfg.dir, store_generation(e->st));
		atomic_store_explicit(&e->state, ENGS_ready, memory_order_release);
	}
	struct eng_job *j = parked_take(e);
	struct vx_errinfo fail = e->fail;
	pthread_mutex_unlock(&e->life);
	note_kick(e);
	for (struct eng_job *next; j; j = next) {
		next = j->priv.p[0];
		if (rc < 0)
			job_finish(e, j,
			        job_refuse(
			                j, fail.code <= -VX_ERR_BASE ? fail.code : -VX_ERR_store_failed, fail.detail),
			        true);
		else if (job_dispatch(e, j, false) == ENG_DONE)
			job_finish(e, j, j->rc, true);
	}
	/* what was replayed or asked for before it was ready rang while nobody could answer */
	bell_ring(&e->index_bell);
	bell_ring(&e->ingest_bell);
	if (e->sem)
		bell_ring(&e->sem->bell);
}
void lazy_thread(void *arg)
{
	struct engine *e = arg;
	bool rested = false;
	for (;;) {
		uint64_t rings = bell_rings(&e->life_bell), tick = e->live ? WQ_FOREVER : baseline_step(e);
		pthread_mutex_lock(&e->life);
		int st = atomic_load(&e->state);
		uint64_t now = os_mono_ns(e->os), wait = WQ_FOREVER;
		bool open = e->open_wanted &&
		            (st == ENGS_cold || (st == ENGS_failed && (e->retry_now || now >= e->retry_at_ns)));
		if (st == ENGS_failed && !open)
			wait = e->retry_at_ns - now;
		if (open && !eng_stopping(e)) {
			e->retry_now = false;
			atomic_store(&e->state, ENGS_opening);
		}
		pthread_mutex_unlock(&e->life);
		if (eng_stopping(e))
			return;
		if (open) {
			open_once(e);
			rested = false;
		} else if (st == ENGS_ready && atomic_load(&e->walk_due) && now < atomic_load(&e->resync_at_ns)) {
			wait = atomic_load(&e->resync_at_ns) - now;
			bell_wait(&e->life_bell, rings, wait < tick ? wait : tick);
		} else if (st == ENGS_ready && atomic_load(&e->walk_due)) {
			walk_run(e);
			job_wait_check(e);
			if (e->sem)
				bell_ring(
				        &e->sem->bell); /* a new model may be whole now: it was not while this went on */
		} else {
			if (st == ENGS_ready && !rested)
				rest_trim(); /* what opening and the first walk took is not needed again soon */
			rested |= st == ENGS_ready;
			bell_wait(&e->life_bell, rings, wait < tick ? wait : tick);
		}
	}
}
