/* job.c - where a vector verb goes: answered here and now, parked until the store is open, or handed to the thread that does such work.
 *
 *     inline (the caller's thread)   status, get of a vector, collection info, a search that costs little
 *     search threads (2)             searches, exports, gets with payload
 *     update thread (1)              puts, deletes, payloads, collections: in the order they came
 *     index thread                   verify
 *     snapshot thread                snapshots made, dropped, listed (a search at one: snaps.c)
 *     waiters                        wait: until nothing is pending
 *
 * A parked job's done() is called exactly once, by job_finish.  Jobs that wait for operations of the store count them (priv.n[0]);
 * the last one that comes back finishes the job on the store's thread. */
#include <fcntl.h>
#include <string.h>

#include "engine/sem.h"

/* priv: p[0] next in a list; n[0] operations out, n[1] fd is ours, n[2] answer is incomplete, n[3] walks to wait for, n[4] start,
 * n[5] the watcher's ticket, n[6] what it reads of the catalog is committed; a search's own: search_priv.h */
static enum perf_op perf_of(const struct eng_job *j)
{
	switch (j->verb) {
	case EV_put:
		return PERF_v_put;
	case EV_get:
		return PERF_v_get;
	case EV_del:
		return PERF_v_del;
	case EV_payload:
		return PERF_v_payload;
	case EV_batch_put:
		return PERF_v_batch_put;
	case EV_search:
		return j->like || j->by_like_key ? PERF_v_similar : j->text && !j->vec ? PERF_v_text : PERF_v_search;
	case EV_status:
	case EV_retry:
	case EV_model:
		return PERF_v_status;
	case EV_wait:
		return PERF_v_wait;
	case EV_coll_create:
	case EV_coll_drop:
	case EV_coll_info:
	case EV_coll_list:
	case EV_snap_create:
	case EV_snap_drop:
	case EV_snap_list:
		return PERF_v_collection;
	case EV_export:
		return PERF_v_export;
	case EV_verify:
		return PERF_v_verify;
	case EV_index:
		return PERF_v_collection;
	case EV_locate:
		return PERF_v_query;
	}
	return PERF_v_query;
}
bool job_owner(const struct engine *e, const struct eng_job *j)
{
	return j->who.uid == 0 || j->who.uid == e->cfg.owner_uid;
}
int job_refuse(struct eng_job *j, int rc, const char *detail)
{
	j->rc = rc;
	j->err.code = rc;
	if (!j->err.detail[0] && detail) {
		size_t n = strlen(detail);
		n = n < sizeof(j->err.detail) - 1 ? n : sizeof(j->err.detail) - 1;
		memcpy(j->err.detail, detail, n);
		j->err.detail[n] = 0;
	}
	return rc;
}
int job_keep_fd(struct engine *e, struct eng_job *j)
{
	(void)e;
	if (j->fd <= 0 || j->priv.n[1])
		return 0;
	int fd = fcntl(j->fd, F_DUPFD_CLOEXEC, 3); /* no file I/O: a second name for a handle */
	if (fd < 0)
		return -errno;
	j->fd = fd;
	j->priv.n[1] = 1;
	return 0;
}
void job_close_fd(struct engine *e, struct eng_job *j)
{
	if (!j->priv.n[1])
		return;
	(void)os_close(e->os, j->fd); /* a descriptor opened for looking only */
	j->fd = -1;
	j->priv.n[1] = 0;
}
/* does the answer depend on what a model has embedded? */
static bool meaning(const struct eng_job *j)
{
	if (j->verb == EV_wait)
		return true;
	return j->verb == EV_search && (j->text ? j->mode != ENG_MODE_text && !j->vec : j->like || j->by_like_key);
}
int job_finish(struct engine *e, struct eng_job *j, int rc, bool parked)
{
	job_close_fd(e, j);
	if (rc < 0)
		job_refuse(j, rc, NULL);
	else
		j->rc = 0;
	if (eng_ready(e))
		j->generation = store_generation(e->st);
	uint64_t pending = eng_pending(e) + (meaning(j) ? sem_pending(e) : 0);
	j->pending = job_owner(e, j) ? pending : pending != 0;
	if (!job_owner(e, j))
		j->distances = 0; /* it counts the vectors of others */
	j->complete = !pending && !j->priv.n[2] && !atomic_load(&e->walk_due) && !atomic_load(&e->walk_running);
	j->took_ns = os_mono_ns(e->os) - j->priv.n[4];
	perf_op(perf_of(j), j->took_ns, 0);
	if (!parked) {
		perf_add(PERFC_inline_done, 1);
		return ENG_DONE;
	}
	j->done(j);
	return ENG_PARKED;
}

/* ---- operations a job waits for ---- */
void job_ops_begin(struct engine *e, struct eng_job *j)
{
	(void)e;
	__atomic_store_n(&j->priv.n[0], 1, __ATOMIC_RELEASE);
	j->rc = 0;
}
void job_op_add(struct eng_job *j, struct eng_op *o)
{
	__atomic_add_fetch(&j->priv.n[0], 1, __ATOMIC_ACQ_REL);
	o->op.want_durable = j->want_durable;
	o->j = j;
}
void job_op_done(struct engine *e, struct eng_job *j, int rc)
{
	if (rc < 0) {
		int zero = 0;
		__atomic_compare_exchange_n(&j->rc, &zero, rc, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	}
	if (__atomic_sub_fetch(&j->priv.n[0], 1, __ATOMIC_ACQ_REL) == 0)
		job_finish(e, j, j->rc, true);
}
void job_ops_end(struct engine *e, struct eng_job *j, int rc)
{
	job_op_done(e, j, rc);
}

int job_push(struct engine *e, struct wq *q, struct eng_job *j)
{
	int rc = job_keep_fd(e, j);
	if (rc >= 0)
		rc = wq_push(q, &j->priv.item);
	if (rc < 0) {
		job_close_fd(e, j);
		job_refuse(j, rc, NULL);
		return ENG_DONE;
	}
	perf_add(PERFC_parked, 1);
	return ENG_PARKED;
}

/* ---- waiting for quiet ---- */
void eng_set_watch(struct engine *e, const struct eng_watch *w)
{
	pthread_mutex_lock(&e->life);
	e->watch = w ? *w : (struct eng_watch){.u = NULL};
	pthread_mutex_unlock(&e->life);
	if (!w)
		job_wait_check(e); /* nobody will tell them any more */
}
static bool quiet(struct engine *e, const struct eng_job *j)
{
	if (j->priv.n[5] && e->watch.told && !e->watch.told(e->watch.u, j->priv.n[5]))
		return false;
	/* a store that is only read never gets to what is pending: the answer's `complete` says so */
	return (e->cfg.read_only || (sem_quiet(e) && !atomic_load(&e->pending))) && !atomic_load(&e->walk_due) &&
	       !atomic_load(&e->walk_running) && atomic_load(&e->walks_done) >= j->priv.n[3];
}
static void wait_done(struct engine *e, struct eng_job *j, int rc)
{
	/* words, and names among them, are found once they are committed */
	bool committed = !store_queue_len(e->st) || store_health(e->st) < 0;
	if (rc < 0 || (!j->want_durable && committed)) {
		job_finish(e, j, rc, true);
		return;
	}
	j->want_durable = true;
	struct eng_op *o = op_get(e, SOP_barrier);
	if (!o) {
		job_finish(e, j, -VX_ERR_queue_full, true);
		return;
	}
	job_ops_begin(e, j);
	o->op.want_durable = true;
	job_op_add(j, o);
	op_submit(o);
	job_ops_end(e, j, 0);
}
void job_wait_check(struct engine *e)
{
	struct eng_job *ready = NULL;
	pthread_mutex_lock(&e->life);
	struct eng_job **p = &e->waiters;
	while (*p) {
		struct eng_job *j = *p;
		bool cancel = atomic_load(&j->cancel) != 0;
		if (!cancel && !quiet(e, j)) {
			p = (struct eng_job **)&j->priv.p[0];
			continue;
		}
		*p = j->priv.p[0];
		j->priv.p[0] = ready;
		ready = j;
	}
	pthread_mutex_unlock(&e->life);
	for (struct eng_job *j = ready, *next; j; j = next) {
		next = j->priv.p[0];
		wait_done(e, j, atomic_load(&j->cancel) ? -VX_ERR_cancelled : 0);
	}
}
bool job_waiting(struct engine *e)
{
	pthread_mutex_lock(&e->life);
	bool any = e->waiters != NULL;
	pthread_mutex_unlock(&e->life);
	return any;
}
static int wait_begin(struct engine *e, struct eng_job *j)
{
	bool rescan = j->rescan; /* once it is among the waiters, it may be answered and gone */
	note_settle(e);
	j->priv.n[3] = rescan ? atomic_load(&e->walks_begun) + 1 : 0;
	int rc = job_keep_fd(e, j);
	if (rc < 0)
		return job_refuse(j, rc, NULL), ENG_DONE;
	pthread_mutex_lock(&e->life);
	if (eng_stopping(e)) {
		pthread_mutex_unlock(&e->life);
		job_refuse(j, -VX_ERR_shutting_down, NULL);
		return ENG_DONE;
	}
	j->priv.n[5] = e->watch.ask ? e->watch.ask(e->watch.u) : 0;
	j->priv.p[0] = e->waiters;
	e->waiters = j;
	pthread_mutex_unlock(&e->life);
	perf_add(PERFC_parked, 1);
	if (rescan)
		walk_want(e);
	bell_ring(&e->ingest_bell);
	job_wait_check(e);
	return ENG_PARKED;
}
void eng_cancel(struct engine *e, struct eng_job *j)
{
	atomic_store(&j->cancel, 1);
	eng_poke(e);
}
void job_poke(struct engine *e)
{
	struct eng_job *out = NULL;
	pthread_mutex_lock(&e->life);
	struct eng_job **p = &e->parked;
	while (*p) {
		struct eng_job *j = *p;
		if (!atomic_load(&j->cancel)) {
			p = (struct eng_job **)&j->priv.p[0];
			continue;
		}
		*p = j->priv.p[0];
		e->parked_n--;
		j->priv.p[0] = out;
		out = j;
	}
	e->parked_tail = p;
	pthread_mutex_unlock(&e->life);
	for (struct eng_job *next; out; out = next) {
		next = out->priv.p[0];
		job_finish(e, out, -VX_ERR_cancelled, true);
	}
	job_wait_check(e);
}
void eng_poke(struct engine *e)
{
	job_poke(e);
	snaps_poke(e);
}

/* ---- collections ---- */
static bool coll_seen_by(const struct eng_coll *c, const struct eng_job *j)
{
	return coll_shown(c) && (c->info.cid <= STORE_CID_TEXT || c->chunks || coll_may(c, &j->who, 4));
}
/* how many files have vectors is for the mount's owner to know; free points belong to the collection */
static void coll_show(struct engine *e, const struct eng_job *j, struct eng_coll *c, struct eng_coll_info *ret)
{
	coll_fill_info(c, ret);
	if (job_owner(e, j))
		return;
	pthread_mutex_lock(&c->lock);
	ret->points = coll_may(c, &j->who, 4) ? c->ids_live : 0;
	pthread_mutex_unlock(&c->lock);
	ret->linked = ret->tail = ret->dead = ret->index_bytes = 0;
}
static int coll_list(struct engine *e, struct eng_job *j)
{
	uint32_t n = 0;
	pthread_mutex_lock(&e->coll_lock);
	for (struct eng_coll *c = e->colls; c; c = c->next)
		n++;
	j->colls = arena_zalloc(j->arena, (size_t)(n ? n : 1) * sizeof(*j->colls));
	j->coll_n = 0;
	for (struct eng_coll *c = e->colls; c && j->colls; c = c->next)
		if (coll_seen_by(c, j))
			coll_show(e, j, c, &j->colls[j->coll_n++]);
	pthread_mutex_unlock(&e->coll_lock);
	if (!j->colls)
		return -VX_ERR_arena_full;
	/* by name: insertion, the list is short */
	for (uint32_t i = 1; i < j->coll_n; i++)
		for (uint32_t k = i; k && strcmp(j->colls[k - 1].name, j->colls[k].name) > 0; k--) {
			unsigned char *a = (unsigned char *)&j->colls[k - 1], *b = (unsigned char *)&j->colls[k];
			for (size_t x = 0; x < sizeof(j->colls[0]); x++) {
				unsigned char t = a[x];
				a[x] = b[x];
				b[x] = t;
			}
		}
	return 0;
}
static int coll_info(struct engine *e, struct eng_job *j)
{
	struct eng_coll *c = coll_get(e, j->coll ? j->coll : "default");
	if (!c || !coll_seen_by(c, j)) {
		coll_put(c);
		return job_refuse(j, -VX_ERR_no_collection, j->coll);
	}
	j->colls = arena_zalloc(j->arena, sizeof(*j->colls));
	if (j->colls) {
		coll_show(e, j, c, j->colls);
		j->coll_n = 1;
	}
	coll_put(c);
	return j->colls ? 0 : -VX_ERR_arena_full;
}

/* where a file is now, for this caller */
static int locate(struct engine *e, struct eng_job *j)
{
	struct judge g;
	struct note_stat st;
	uint64_t ino;
	eng_rdlock(e);
	const struct eng_obj *o = obj_by_key(&e->t, &j->key);
	uint64_t oid = o && o->kind == STORE_OBJ_file ? o->oid : 0;
	eng_unlock(e);
	if (!oid)
		return -ENOENT;
	VX_TRY(judge_begin(&g, e, j));
	int rc = judge_file(&g, oid, &st, &ino) ? 0 : -ENOENT;
	judge_end(&g);
	if (rc < 0)
		return rc;
	j->out_text = g.path;
	j->out_text_n = (uint32_t)strlen(g.path);
	return 0;
}
int job_dispatch(struct engine *e, struct eng_job *j, bool may_inline)
{
	int rc = 0;
	switch (j->verb) {
	case EV_status:
		rc = status_run(e, j);
		break;
	case EV_retry:
		break;
	case EV_model:
		rc = !job_owner(e, j)   ? -VX_ERR_not_owner
		     : e->cfg.read_only ? -VX_ERR_read_only
		                        : sem_want(e, j->path && *j->path ? j->path : NULL);
		if (rc < 0)
			job_refuse(j, rc, NULL);
		break;
	case EV_get:
		rc = j->with_payload || j->with_chunks ? 1 : inline_get(e, j);
		if (rc == 1)
			return job_push(e, &e->search_q, j);
		break;
	case EV_put:
	case EV_del:
	case EV_payload:
	case EV_batch_put:
	case EV_coll_create:
	case EV_coll_drop:
		if (e->cfg.read_only) {
			rc = job_refuse(j, -VX_ERR_read_only, NULL);
			break;
		}
		return job_push(e, &e->update_q, j);
	case EV_snap_create:
	case EV_snap_drop:
		if (!job_owner(e, j) || e->cfg.read_only) {
			rc = job_refuse(j, e->cfg.read_only ? -VX_ERR_read_only : -VX_ERR_not_owner, NULL);
			break;
		}
		return job_push(e, &e->snap_q, j);
	case EV_snap_list:
		return job_push(e, &e->snap_q, j);
	case EV_search:
		if (e->cfg.components < ENG_search) {
			rc = job_refuse(j, -VX_ERR_component_off, NULL);
			break;
		}
		if (may_inline && j->inline_ok && !j->at && search_cheap(e, j)) {
			rc = search_run(e, j);
			break;
		}
		if (j->text && meaning(j) && e->sem && atomic_load(&e->sem->on))
			return job_push(e, &e->sem->ask_q, j);
		return job_push(e, &e->search_q, j);
	case EV_export:
		return job_push(e, &e->search_q, j);
	case EV_locate:
		rc = locate(e, j);
		break;
	case EV_wait:
		return wait_begin(e, j);
	case EV_coll_info:
		rc = coll_info(e, j);
		break;
	case EV_coll_list:
		rc = coll_list(e, j);
		break;
	case EV_index: {
		int r = job_push(e, &e->index_q, j);
		bell_ring(&e->index_bell);
		return r;
	}
	case EV_verify: {
		if (!job_owner(e, j)) {
			rc = job_refuse(j, -VX_ERR_not_owner, NULL);
			break;
		}
		int r = job_push(e, &e->index_q, j);
		bell_ring(&e->index_bell);
		return r;
	}
	}
	j->rc = rc;
	return ENG_DONE;
}
static int retry(struct engine *e, struct eng_job *j)
{
	if (!job_owner(e, j))
		return job_refuse(j, -VX_ERR_not_owner, NULL);
	pthread_mutex_lock(&e->life);
	e->retry_now = e->open_wanted = true;
	atomic_store(&e->resync_s, 0); /* a disk that was full may have room */
	atomic_store(&e->resync_at_ns, 0);
	pthread_mutex_unlock(&e->life);
	bell_ring(&e->life_bell);
	sem_retry(e);
	return 0;
}
int eng_submit(struct engine *e, struct eng_job *j)
{
	memset(&j->priv, 0, sizeof(j->priv));
	j->rc = 0;
	j->err.code = 0;
	j->err.position = -1;
	j->err.detail[0] = 0;
	j->priv.n[4] = os_mono_ns(e->os);
	int rc = stack_check(3072);
	if (rc >= 0 && eng_stopping(e))
		rc = -VX_ERR_shutting_down;
	if (rc < 0)
		return job_finish(e, j, rc, false);
	if (j->verb == EV_status || j->verb == EV_retry)
		return job_finish(e, j, j->verb == EV_status ? status_run(e, j) : retry(e, j), false);
	if (e->cfg.components == ENG_none || !e->started)
		return job_finish(e, j, -VX_ERR_component_off, false);
	int r = -1;
	if (!eng_ready(e))
		r = lazy_park(e, j);
	if (r < 0)
		r = job_dispatch(e, j, true);
	return r == ENG_DONE ? job_finish(e, j, j->rc, false) : r;
}

/* ---- threads ---- */
static void run_marked(struct engine *e, struct eng_job *j, int (*fn)(struct engine *, struct eng_job *))
{
	struct stack_mark m;
	enum perf_op op = perf_of(j);
	stack_op_begin(&m);
	int rc = fn(e, j);
	stack_op_end(&m, op);
	job_finish(e, j, rc, true);
}
static int get_run(struct engine *e, struct eng_job *j)
{
	return j->verb == EV_get ? get_slow(e, j) : j->verb == EV_export ? export_run(e, j) : search_run(e, j);
}
void search_thread(void *arg)
{
	struct engine *e = arg;
	struct wq_item *it;
	thread_prompt();
	while (wq_pop(&e->search_q, WQ_FOREVER, &it) == 1) {
		struct eng_job *j = WQ_OF(it, struct eng_job, priv.item);
		if (eng_stopping(e))
			job_finish(e, j, -VX_ERR_shutting_down, true);
		else if (atomic_load(&j->cancel))
			job_finish(e, j, -VX_ERR_cancelled, true);
		else if (j->verb == EV_search && j->at)
			snaps_search(e, j);
		else
			run_marked(e, j, get_run);
	}
}
void update_thread(void *arg)
{
	struct engine *e = arg;
	struct wq_item *it;
	thread_prompt();
	while (wq_pop(&e->update_q, WQ_FOREVER, &it) == 1) {
		struct eng_job *j = WQ_OF(it, struct eng_job, priv.item);
		if (j->priv.stage == STAGE_REPLACE) {
			replace_run(e, j);
			continue;
		}
		struct stack_mark m;
		enum perf_op op = perf_of(j); /* the job may be gone when update_run returns */
		if (eng_stopping(e)) {
			job_finish(e, j, -VX_ERR_shutting_down, true);
			continue;
		}
		stack_op_begin(&m);
		update_run(e, j);
		stack_op_end(&m, op);
	}
}

/* ---- for threads that may wait ---- */
struct run_wait {
	struct bell bell;
	_Atomic int done;
};
static void run_done(struct eng_job *j)
{
	struct run_wait *w = j->u;
	pthread_mutex_lock(&w->bell.lock);
	atomic_store(&w->done, 1);
	w->bell.rings++;
	pthread_cond_broadcast(&w->bell.cond);
	pthread_mutex_unlock(&w->bell.lock);
}
int eng_run(struct engine *e, struct eng_job *j)
{
	struct run_wait w;
	atomic_init(&w.done, 0);
	VX_TRY(bell_init(&w.bell));
	void *u = j->u;
	void (*done)(struct eng_job *) = j->done;
	j->u = &w;
	j->done = run_done;
	if (eng_submit(e, j) == ENG_PARKED) {
		uint64_t seen = 0;
		while (!atomic_load(&w.done))
			seen = bell_wait(&w.bell, seen, WQ_FOREVER);
	}
	/* run_done has set `done` under the bell's lock: it has left it once we get it */
	pthread_mutex_lock(&w.bell.lock);
	pthread_mutex_unlock(&w.bell.lock);
	j->u = u;
	j->done = done;
	bell_done(&w.bell);
	return j->rc;
}
