/* snaps.c - snapshots, as the engine's users see them: made, listed and dropped by a thread of their own, and searched.
 *
 * A search "at" a snapshot runs in an engine of its own over the snapshot's store: read-only, without walk, ingest or indexing, opened at
 * the first such search and closed when it has been idle for a minute or another one needs its place.  That engine knows vectors,
 * stamps and texts as they were; who a file is now, its path, and whether the caller may read it are asked of the live engine and the
 * disk (judge.c), so a result's path can be opened, and its state is that of the old vector against the file as it is: fresh, stale,
 * or gone.  What is gone has no permissions any more: only the mount's owner and root are shown it.
 *
 * A job that searches at a snapshot is handed to the child engine with its done() wrapped; the child's fields (generation, pending,
 * complete) are the answer's.  e->snap_lock guards the table; a child with users is neither closed nor dropped. */
#include <string.h>

#include "engine/engine_priv.h"

#define SNAP_IDLE_NS  (60ull * 1000000000)
#define SNAP_LIST_MAX 65536u

struct snap_job { /* in the job's arena */
	struct engine *e;
	struct eng_snap *s;
	void (*done)(struct eng_job *j);
	void *u;
	const char *at;
	bool stale;
};

/* [snap_lock] the place is empty from now on.  What is returned is freed when the lock is no longer held: threads are joined and maps
 * taken down for that, and whoever only cancels a search wants the lock as well. */
static struct engine *vacate(struct eng_snap *s)
{
	struct engine *c = s->child;
	*s = (struct eng_snap){0};
	return c;
}

/* ---- searching ---------------------------------------------------------------------------------------------------------------- */

/* [snap_lock] nothing that takes long: the store is opened by the child's own thread.  On failure *ret_gone may be to be freed. */
static int child_open(struct engine *e, const char *name, const char *dir, struct eng_snap *s, struct engine **ret_gone)
{
	struct eng_cfg cfg = e->cfg;
	memcpy(s->dir, dir, sizeof(s->dir));
	cfg.store_dir = s->dir;
	cfg.read_only = true;
	VX_TRY(eng_new(&cfg, &s->child));
	s->child->live = e;
	int rc = eng_start(s->child);
	if (rc < 0) {
		*ret_gone = vacate(s);
		return rc;
	}
	memcpy(s->name, name, strlen(name) + 1);
	return 0;
}
/* [snap_lock] a place for another: an empty one, or the one idle for longest. NULL: all are in use */
static struct eng_snap *place(struct engine *e)
{
	struct eng_snap *best = NULL;
	for (unsigned i = 0; i < ENG_SNAPS_OPEN; i++) {
		struct eng_snap *s = &e->snap[i];
		if (!s->child)
			return s;
		if (!s->users && (!best || s->used_ns < best->used_ns))
			best = s;
	}
	return best;
}
/* the child for a name, with one user more */
static int child_get(struct engine *e, const char *name, struct eng_snap **ret)
{
	char dir[sizeof(e->snap[0].dir)];
	struct engine *gone = NULL, *failed = NULL;
	struct eng_snap *s = NULL;
	VX_TRY(store_snapshot_path(e->st, name, dir, sizeof(dir)));
	pthread_mutex_lock(&e->snap_lock);
	int rc = strcmp(e->snap_dropped, name) ? 0 : -VX_ERR_no_snapshot;
	for (unsigned i = 0; i < ENG_SNAPS_OPEN && !rc; i++)
		if (e->snap[i].child && !strcmp(e->snap[i].name, name))
			s = &e->snap[i];
	if (s && atomic_load(&s->child->state) == ENGS_failed && !s->users) {
		gone = vacate(s); /* opened anew below: the reason may have passed */
		s = NULL;
	}
	if (!s && !rc) {
		s = place(e);
		rc = s ? 0 : -VX_ERR_queue_full;
		if (s && s->child)
			gone = vacate(s); /* no failed one has made room, then */
		if (s)
			rc = child_open(e, name, dir, s, &failed);
	}
	if (!rc) {
		s->users++;
		*ret = s;
	}
	pthread_mutex_unlock(&e->snap_lock);
	engine_child_free(gone);
	engine_child_free(failed);
	return rc;
}
static void child_put(struct engine *e, struct eng_snap *s)
{
	pthread_mutex_lock(&e->snap_lock);
	s->users--;
	s->used_ns = os_mono_ns(e->os);
	pthread_cond_broadcast(&e->snap_cond);
	pthread_mutex_unlock(&e->snap_lock);
}
static void child_done(struct eng_job *j)
{
	struct snap_job *k = j->u;
	struct engine *e = k->e;
	struct eng_snap *s = k->s;
	j->done = k->done;
	j->u = k->u;
	j->at = k->at;
	j->stale = k->stale;
	/* first: after done() nothing of the job is left, and the child may be closed by its last user's thread only after this returns */
	child_put(e, s);
	j->done(j);
}
void snaps_search(struct engine *e, struct eng_job *j)
{
	struct snap_job *k = arena_alloc(j->arena, sizeof(*k));
	struct eng_snap *s = NULL;
	int rc = k ? child_get(e, j->at, &s) : -VX_ERR_arena_full;
	if (rc < 0) {
		if (rc == -VX_ERR_no_snapshot)
			job_refuse(j, rc, j->at);
		job_finish(e, j, rc, true);
		return;
	}
	*k = (struct snap_job){.e = e, .s = s, .done = j->done, .u = j->u, .at = j->at, .stale = j->stale};
	int fd = j->priv.n[1] ? j->fd : -1; /* ours: the child takes its own of it */
	j->done = child_done;
	j->u = k;
	j->at = NULL;
	j->stale = true; /* a file has changed since, or it has not: the state says */
	j->inline_ok = false;
	rc = eng_submit(s->child, j);
	if (fd >= 0)
		(void)os_close(e->os, fd); /* a descriptor opened for looking only */
	if (rc == ENG_DONE)
		child_done(j);
}
void snaps_poke(struct engine *e)
{
	pthread_mutex_lock(&e->snap_lock);
	for (unsigned i = 0; i < ENG_SNAPS_OPEN; i++) {
		struct engine *c = e->snap[i].child;
		e->snap[i].users += c != NULL;
		pthread_mutex_unlock(&e->snap_lock);
		if (c) {
			job_poke(c);
			child_put(e, &e->snap[i]);
		}
		pthread_mutex_lock(&e->snap_lock);
	}
	pthread_mutex_unlock(&e->snap_lock);
}
enum eng_state snaps_state(struct engine *e, const struct stamp *t, uint64_t oid, enum eng_state s)
{
	/* by size and times alone nothing is known: the live vector's or text's stamp may have the hash of the file as it is now */
	struct engine *live = e->live;
	struct obj_key key = {0};
	if (s != ENG_STATE_pending || !t->hashed)
		return s;
	eng_rdlock(e);
	const struct eng_obj *o = obj_by_oid(&e->t, oid);
	if (o)
		key = o->key;
	eng_unlock(e);
	eng_rdlock(live);
	const struct eng_obj *n = obj_by_key(&live->t, &key);
	if (n && !text_changed(n) && n->text_stamp.hashed && n->text_state == STORE_TEXT_done)
		s = memcmp(n->text_stamp.hash, t->hash, sizeof(t->hash)) ? ENG_STATE_stale : ENG_STATE_fresh;
	for (const struct eng_vec *v = n ? n->vecs : NULL; v && s == ENG_STATE_pending; v = v->next)
		if (v->stamp.hashed && !v->changed && !v->bind_wait && v->stamp.size != ENG_STALE_SIZE)
			s = memcmp(v->stamp.hash, t->hash, sizeof(t->hash)) ? ENG_STATE_stale : ENG_STATE_fresh;
	eng_unlock(live);
	return s;
}

/* ---- making, listing, dropping: on the snapshots' own thread -------------------------------------------------------------------- */

/* how much there is in it is for the mount's owner to know, as with the live one */
static void render(struct sbuf *b, const struct store_snap *s, bool owner)
{
	sb_str(b, "{\"name\":");
	sb_json(b, s->name, strlen(s->name));
	if (s->damaged) {
		sb_str(b, ",\"damaged\":true}");
		return;
	}
	const char *const key[] = {",\"generation\":", ",\"made_ns\":", ",\"files\":", ",\"vectors\":", ",\"chunks\":"};
	const uint64_t v[] = {s->generation, s->made_ns, s->objects, s->vectors, s->chunks};
	for (unsigned i = 0; i < (owner ? sizeof(v) / sizeof(v[0]) : 2); i++) {
		sb_str(b, key[i]);
		sb_u64(b, v[i]);
	}
	sb_ch(b, '}');
}
static int answer(struct engine *e, struct eng_job *j, const struct store_snap *s, uint32_t n, bool list)
{
	struct sbuf b;
	if (sbuf_arena(&b, j->arena, 1024, SNAP_LIST_MAX) < 0)
		return -VX_ERR_arena_full;
	if (list)
		sb_str(&b, "{\"snapshots\":[");
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			sb_str(&b, ",\n ");
		render(&b, &s[i], job_owner(e, j));
	}
	if (list)
		sb_str(&b, "]}");
	j->out_text = sbuf_cstr(&b);
	j->out_text_n = (uint32_t)b.n;
	return b.over ? -VX_ERR_arena_full : 0;
}
static int list_run(struct engine *e, struct eng_job *j)
{
	struct store_snap *all = mem_alloc(MEM_engine, CONF_SNAPSHOTS_MAX * sizeof(*all));
	int n = all ? store_snapshot_list(e->st, all) : -ENOMEM;
	if (n >= 0)
		n = answer(e, j, all, (uint32_t)n, true);
	mem_free(MEM_engine, all);
	return n;
}
static int create_run(struct engine *e, struct eng_job *j)
{
	struct store_snap s;
	struct eng_op *o = op_get_wait(e, SOP_barrier); /* what has been asked for before is in it */
	if (!o)
		return -ENOMEM;
	VX_TRY(op_run(o, true));
	int rc = store_snapshot_create(e->st, j->at, &e->stopping, &s);
	return rc < 0 ? job_refuse(j, rc, j->at) : answer(e, j, &s, 1, false);
}
static int drop_run(struct engine *e, struct eng_job *j)
{
	struct engine *gone = NULL;
	size_t n = strlen(j->at);
	pthread_mutex_lock(&e->snap_lock);
	if (n < sizeof(e->snap_dropped)) /* nobody opens it from here to the end: not as it was, when another of its name is made */
		memcpy(e->snap_dropped, j->at, n + 1);
	for (unsigned i = 0; i < ENG_SNAPS_OPEN; i++) {
		struct eng_snap *s = &e->snap[i];
		if (!s->child || strcmp(s->name, j->at) != 0)
			continue;
		while (s->users)
			pthread_cond_wait(&e->snap_cond, &e->snap_lock);
		gone = vacate(s); /* a name has one place */
	}
	pthread_mutex_unlock(&e->snap_lock);
	engine_child_free(gone);
	int rc = store_snapshot_drop(e->st, j->at);
	pthread_mutex_lock(&e->snap_lock);
	e->snap_dropped[0] = 0;
	pthread_mutex_unlock(&e->snap_lock);
	return rc < 0 ? job_refuse(j, rc, j->at) : 0;
}
static int run(struct engine *e, struct eng_job *j)
{
	if (eng_stopping(e))
		return -VX_ERR_shutting_down;
	if (atomic_load(&j->cancel))
		return -VX_ERR_cancelled;
	return j->verb == EV_snap_list ? list_run(e, j) : j->verb == EV_snap_create ? create_run(e, j) : drop_run(e, j);
}
static void close_idle(struct engine *e)
{
	struct engine *gone[ENG_SNAPS_OPEN] = {NULL};
	uint64_t now = os_mono_ns(e->os);
	pthread_mutex_lock(&e->snap_lock);
	for (unsigned i = 0; i < ENG_SNAPS_OPEN; i++) {
		struct eng_snap *s = &e->snap[i];
		if (s->child && !s->users && now > s->used_ns + SNAP_IDLE_NS)
			gone[i] = vacate(s);
	}
	pthread_mutex_unlock(&e->snap_lock);
	for (unsigned i = 0; i < ENG_SNAPS_OPEN; i++)
		engine_child_free(gone[i]);
}
void snaps_thread(void *arg)
{
	struct engine *e = arg;
	struct wq_item *it;
	for (;;) {
		int rc = wq_pop(&e->snap_q, SNAP_IDLE_NS / 4, &it);
		if (rc < 0)
			return;
		if (rc > 0) {
			struct eng_job *j = WQ_OF(it, struct eng_job, priv.item);
			struct stack_mark m;
			stack_op_begin(&m);
			rc = run(e, j);
			stack_op_end(&m, PERF_v_collection);
			job_finish(e, j, rc, true);
		}
		close_idle(e);
	}
}
void snaps_close(struct engine *e)
{
	for (unsigned i = 0; i < ENG_SNAPS_OPEN; i++)
		engine_child_free(vacate(&e->snap[i])); /* its jobs are answered */
}
