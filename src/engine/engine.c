/* engine.c - life of an engine: made without I/O, started outside FUSE callbacks, stopped in order.
 *
 * Lock order, downwards only, none held across I/O or a wait for the store:
 *   1. e->life       state of the opening, parked and waiting jobs, kept notes
 *   2. e->objects    rwlock: the object table, ingest's and the walk's queues; by eng_wrlock, eng_rdlock, eng_unlock (note_queue.c) alone, which
 *                    apply the notes that file operations left there: a file operation itself only tries it
 *   3. e->coll_lock  the list of collections
 *   4. coll->lock    one collection's rows
 *   5. the store's queue, wq, bells, pools, e->ops_lock, e->openw_lock
 *
 * Threads.  One opener (lazy.c) from eng_start on: it opens the store when first asked, then walks.  The others are started by it once
 * the store is open, so that a mount nobody searches costs one sleeping thread: two searchers, one updater (puts, deletes, collections,
 * in order), one for ingest (idle class), one for the index, one for snapshots.  Stopping goes the other way: jobs are answered, threads joined, the graph
 * published by the index thread's last step, the store closed, which completes every operation still on its way. */
#include <string.h>
#include <unistd.h>

#include "engine/sem.h"

/* ---- bells ---- */
static int cond_init_mono(pthread_cond_t *c)
{
	pthread_condattr_t ca;
	int rc = pthread_condattr_init(&ca);
	if (rc)
		return -rc;
	rc = pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
	if (!rc)
		rc = pthread_cond_init(c, &ca);
	pthread_condattr_destroy(&ca);
	return -rc;
}
int bell_init(struct bell *b)
{
	b->rings = 0;
	int rc = pthread_mutex_init(&b->lock, NULL);
	return rc ? -rc : cond_init_mono(&b->cond);
}
void bell_done(struct bell *b)
{
	pthread_cond_destroy(&b->cond);
	pthread_mutex_destroy(&b->lock);
}
void bell_ring(struct bell *b)
{
	pthread_mutex_lock(&b->lock);
	b->rings++;
	pthread_cond_broadcast(&b->cond);
	pthread_mutex_unlock(&b->lock);
}
uint64_t bell_rings(struct bell *b)
{
	pthread_mutex_lock(&b->lock);
	uint64_t r = b->rings;
	pthread_mutex_unlock(&b->lock);
	return r;
}
uint64_t bell_wait(struct bell *b, uint64_t seen, uint64_t timeout_ns)
{
	/* the real clock, whatever the engine's own says: the condition variable waits by it */
	uint64_t ns = os_mono_ns(os_real()) + (timeout_ns > 3600ull * 1000000000 ? 3600ull * 1000000000 : timeout_ns);
	struct timespec until = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
	pthread_mutex_lock(&b->lock);
	while (b->rings == seen) {
		if (timeout_ns == WQ_FOREVER)
			pthread_cond_wait(&b->cond, &b->lock);
		else if (pthread_cond_timedwait(&b->cond, &b->lock, &until))
			break;
	}
	uint64_t r = b->rings;
	pthread_mutex_unlock(&b->lock);
	return r;
}

/* ---- operations ---- */
struct eng_op *op_get(struct engine *e, enum store_op_kind kind)
{
	struct eng_op *o = pool_get(&e->ops);
	if (!o)
		return NULL;
	pthread_mutex_lock(&e->ops_lock);
	e->ops_out++;
	pthread_mutex_unlock(&e->ops_lock);
	memset(o, 0, sizeof(*o));
	o->e = e;
	o->op.kind = kind;
	o->op.old_row = ENG_ROW_NONE;
	return o;
}
struct eng_op *op_get_wait(struct engine *e, enum store_op_kind kind)
{
	for (;;) {
		struct eng_op *o = op_get(e, kind);
		if (o)
			return o;
		pthread_mutex_lock(&e->ops_lock);
		bool none_out = !e->ops_out;
		e->ops_waiting++;
		if (e->ops_out >= ENG_OPS_MAX)
			pthread_cond_wait(&e->ops_cond, &e->ops_lock);
		e->ops_waiting--;
		pthread_mutex_unlock(&e->ops_lock);
		if (none_out)
			return NULL; /* not the pool's limit: memory */
	}
}
void ops_wait_room(struct engine *e, uint32_t want_free)
{
	pthread_mutex_lock(&e->ops_lock);
	e->ops_waiting++;
	while (e->ops_out + want_free > ENG_OPS_MAX && !eng_stopping(e))
		pthread_cond_wait(&e->ops_cond, &e->ops_lock);
	e->ops_waiting--;
	pthread_mutex_unlock(&e->ops_lock);
}
void op_put(struct eng_op *o)
{
	struct engine *e = o->e;
	coll_put(o->c);
	pool_put(&e->ops, o);
	pthread_mutex_lock(&e->ops_lock);
	e->ops_out--;
	if (e->ops_waiting)
		pthread_cond_broadcast(&e->ops_cond);
	pthread_mutex_unlock(&e->ops_lock);
}
static void op_tell(struct eng_op *o, int rc)
{
	if (o->sync) {
		struct op_sync *s = o->sync;
		o->sync = NULL;
		s->rc = rc;
		pthread_mutex_lock(
		        &s->bell.lock); /* the waiter may free s as soon as it sees done: ring under its lock */
		atomic_store(&s->done, 1);
		s->bell.rings++;
		pthread_cond_broadcast(&s->bell.cond);
		pthread_mutex_unlock(&s->bell.lock);
	}
	if (o->j) {
		struct eng_job *j = o->j;
		o->j = NULL;
		job_op_done(o->e, j, rc);
	}
}
static void op_visible(struct store_op *op, int rc)
{
	struct eng_op *o = (struct eng_op *)op;
	o->was_visible = rc >= 0;
	if (o->applied)
		rc = o->applied(o, rc);
	bool durable = o->j ? o->j->want_durable : o->sync_durable;
	if (!durable || rc < 0)
		op_tell(o, rc);
}
static void op_durable(struct store_op *op, int rc)
{
	struct eng_op *o = (struct eng_op *)op;
	/* an object or link counts as stored from when it is submitted: what failed unseen is taken back as well */
	bool believed = o->was_visible || o->op.kind == SOP_obj_put || o->op.kind == SOP_link_put;
	if (rc < 0 && believed)
		op_undone(o);
	if (o->settled)
		o->settled(o, rc);
	op_tell(o, rc);
	op_put(o);
}
void op_submit(struct eng_op *o)
{
	o->op.visible = op_visible;
	o->op.durable = op_durable;
	store_submit(o->e->st, &o->op);
}
int op_run(struct eng_op *o, bool durable)
{
	struct op_sync s;
	s.rc = 0;
	atomic_init(&s.done, 0);
	int rc = bell_init(&s.bell);
	if (rc < 0) {
		op_put(o);
		return rc;
	}
	o->sync = &s;
	o->sync_durable = durable;
	o->op.want_durable = durable;
	op_submit(o);
	uint64_t seen = 0;
	while (!atomic_load(&s.done))
		seen = bell_wait(&s.bell, seen, WQ_FOREVER);
	/* whoever set `done` did it under the bell's lock: it has left once we get the lock */
	pthread_mutex_lock(&s.bell.lock);
	rc = s.rc;
	pthread_mutex_unlock(&s.bell.lock);
	bell_done(&s.bell);
	return rc;
}

/* ---- life ---- */
const struct eng_cfg *eng_cfg(const struct engine *e)
{
	return &e->cfg;
}
static int groups_of_self(struct engine *e)
{
	int n = getgroups(0, NULL);
	if (n <= 0)
		return 0;
	e->own_groups = mem_alloc(MEM_engine, (size_t)n * sizeof(gid_t));
	if (!e->own_groups)
		return -ENOMEM;
	n = getgroups(n, e->own_groups);
	e->own_group_n = n > 0 ? (uint32_t)n : 0;
	return 0;
}
int eng_new(const struct eng_cfg *cfg, struct engine **ret)
{
	struct engine *e = mem_zalloc(MEM_engine, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->cfg = *cfg;
	e->os = cfg->os;
	e->euid = geteuid();
	e->root_daemon = e->euid == 0;
	e->state = cfg->components == ENG_none ? ENGS_off : ENGS_cold;
	e->parked_tail = &e->parked;
	pthread_rwlockattr_t ra;
	int rc = -pthread_rwlockattr_init(&ra);
	if (!rc) {
		/* notes come from FUSE threads: searches must not keep them out */
		rc = -pthread_rwlockattr_setkind_np(&ra, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
		rc = rc ? rc : -pthread_rwlock_init(&e->objects, &ra);
		pthread_rwlockattr_destroy(&ra);
	}
	rc = rc ? rc : -pthread_mutex_init(&e->openw_lock, NULL);
	rc = rc ? rc : -pthread_mutex_init(&e->life, NULL);
	rc = rc ? rc : -pthread_mutex_init(&e->coll_lock, NULL);
	rc = rc ? rc : -pthread_mutex_init(&e->ops_lock, NULL);
	rc = rc ? rc : -pthread_mutex_init(&e->snap_lock, NULL);
	rc = rc ? rc : cond_init_mono(&e->snap_cond);
	rc = rc ? rc : cond_init_mono(&e->ops_cond);
	rc = rc ? rc : objects_init(&e->t);
	rc = rc ? rc : pool_init(&e->ops, MEM_engine, sizeof(struct eng_op), ENG_OPS_MAX);
	rc = rc ? rc : wq_init(&e->search_q, ENG_PARKED_MAX);
	rc = rc ? rc : wq_init(&e->update_q, ENG_PARKED_MAX);
	rc = rc ? rc : wq_init(&e->index_q, 64);
	rc = rc ? rc : wq_init(&e->snap_q, ENG_PARKED_MAX);
	rc = rc ? rc : bell_init(&e->life_bell);
	rc = rc ? rc : bell_init(&e->ingest_bell);
	rc = rc ? rc : bell_init(&e->index_bell);
	rc = rc ? rc : bell_init(&e->update_bell);
	rc = rc ? rc : cfg->components == ENG_all ? sem_new(e) : 0;
	rc = rc ? rc : perf_watch_init(&e->pace);
	rc = rc ? rc : groups_of_self(e);
	if (rc < 0) {
		/* nothing has been started: what was made is given back by the process's end; this is a mount that fails to begin */
		mem_free(MEM_engine, e->own_groups);
		mem_free(MEM_engine, e);
		return rc;
	}
	*ret = e;
	return 0;
}
int eng_start(struct engine *e)
{
	if (e->cfg.components == ENG_none)
		return 0;
	e->start_ns = os_mono_ns(e->os);
	VX_TRY(thread_start(&e->opener, "vx-open", ENG_OPENER_STACK, lazy_thread, e));
	e->started = true;
	if (e->cfg.components == ENG_all)
		lazy_want(e);
	return 0;
}
/* its jobs are answered, its threads but the index's have ended */
static void stop_work(struct engine *e)
{
	pthread_mutex_lock(&e->life);
	atomic_store(&e->stopping, 1);
	pthread_mutex_unlock(&e->life);
	bell_ring(&e->life_bell);
	pthread_mutex_lock(&e->ops_lock);
	pthread_cond_broadcast(&e->ops_cond);
	pthread_mutex_unlock(&e->ops_lock);
	wq_close(&e->search_q);
	wq_close(&e->update_q);
	wq_close(&e->snap_q);
	bell_ring(&e->ingest_bell);
	bell_ring(&e->update_bell);
	bell_ring(&e->index_bell);
	thread_join(&e->opener);
	lazy_answer_all(e, -VX_ERR_shutting_down);
	for (unsigned i = 0; i < ENG_SEARCHERS; i++)
		thread_join(&e->searcher[i]);
	thread_join(&e->updater);
	thread_join(&e->snapper);
	thread_join(&e->ingester);
	sem_stop(e);
}
static void stop_store(struct engine *e)
{
	wq_close(&e->index_q);
	atomic_store(&e->index_stop_now, 1);
	bell_ring(&e->index_bell);
	thread_join(&e->indexer);
	lazy_answer_all(e, -VX_ERR_shutting_down);
	lazy_close(e);
	e->started = false;
}
static void release(struct engine *e)
{
	note_forget(e);
	filter_cache_drop(e);
	sem_free(e);
	objects_clear(&e->t);
	objects_done(&e->t);
	oid_ring_done(&e->ingest_q);
	oid_ring_done(&e->look_q);
	oid_ring_done(&e->walk_q);
	oid_ring_done(&e->ignore_q);
	oid_ring_done(&e->loose_q);
	pool_done(&e->ops);
	wq_done(&e->search_q);
	wq_done(&e->update_q);
	wq_done(&e->snap_q);
	wq_done(&e->index_q);
	bell_done(&e->life_bell);
	bell_done(&e->ingest_bell);
	bell_done(&e->index_bell);
	bell_done(&e->update_bell);
	perf_watch_done(&e->pace);
	pthread_cond_destroy(&e->ops_cond);
	pthread_mutex_destroy(&e->ops_lock);
	pthread_mutex_destroy(&e->snap_lock);
	pthread_cond_destroy(&e->snap_cond);
	pthread_mutex_destroy(&e->coll_lock);
	pthread_mutex_destroy(&e->life);
	pthread_mutex_destroy(&e->openw_lock);
	pthread_rwlock_destroy(&e->objects);
	perm_done(e);
	mem_free(MEM_engine, e->own_groups);
	mem_free(MEM_engine, e);
}
void eng_stop(struct engine *e)
{
	if (!e || !e->started)
		return;
	stop_work(e);
	snaps_close(e); /* nobody is left who could search at one */
	stop_store(e);
}
void eng_free(struct engine *e)
{
	if (!e)
		return;
	eng_stop(e);
	release(e);
}
void engine_child_free(struct engine *e)
{
	if (e && e->started) {
		stop_work(e);
		stop_store(e);
	}
	if (e)
		release(e);
}
