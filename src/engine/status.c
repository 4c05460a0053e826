/* status.c - the state of everything as one JSON object, from memory and counters: callable while the store is closed, opening or
 * broken, and on a FUSE thread. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "engine/sem.h"

#define STATUS_MAX     (1u << 20)
#define STATUS_VERSION 1

static void key(struct sbuf *b, const char *k)
{
	if (b->n && b->p[b->n - 1] != '{' && b->p[b->n - 1] != '[')
		sb_ch(b, ',');
	sb_ch(b, '"');
	sb_str(b, k);
	sb_str(b, "\":");
}
static void num(struct sbuf *b, const char *k, uint64_t v)
{
	key(b, k);
	sb_u64(b, v);
}
static void str(struct sbuf *b, const char *k, const char *v)
{
	key(b, k);
	if (v)
		sb_json(b, v, strlen(v));
	else
		sb_str(b, "null");
}
static void boolean(struct sbuf *b, const char *k, bool v)
{
	key(b, k);
	sb_str(b, v ? "true" : "false");
}
static const char *state_name(int s)
{
	static const char *const n[] = {"off", "cold", "opening", "ready", "failed"};
	return s >= 0 && s <= ENGS_failed ? n[s] : "?";
}
static void component(
        struct engine *e, struct sbuf *b, const char *name, bool on, int state, int rc, const char *detail)
{
	key(b, name);
	sb_ch(b, '{');
	str(b, "state", on ? state_name(state) : "off");
	if (on && state == ENGS_failed) {
		str(b, "reason", err_text(rc));
		str(b, "code", err_name(rc));
		if (detail && *detail)
			str(b, "detail", detail);
		uint64_t now = os_mono_ns(e->os);
		num(b, "next_retry_ms", e->retry_at_ns > now ? (e->retry_at_ns - now) / 1000000 : 0);
		num(b, "tries", e->open_tries);
	}
	sb_ch(b, '}');
}
/* the model that is to embed; which one answers meanwhile, when that is another */
static void model(struct engine *e, struct sbuf *b)
{
	static const char *const names[] = {[SEM_cold] = "cold", [SEM_ready] = "ready", [SEM_failed] = "failed"};
	struct sem *s = e->sem;
	key(b, "model");
	sb_ch(b, '{');
	if (!s || !atomic_load(&s->on)) {
		str(b, "state", "off");
		str(b, "reason", "no model is set: search is by words and by vectors given");
		sb_ch(b, '}');
		return;
	}
	pthread_mutex_lock(&s->lock); /* no reference: the last one closes a model, which is not for this thread */
	struct sem_model *m = s->target;
	if (!m)
		str(b, "state", "cold");
	if (m) {
		pthread_mutex_lock(&m->lock);
		str(b, "state", names[m->state]);
		if (m->state == SEM_failed) {
			uint64_t now = os_mono_ns(e->os);
			str(b, "reason", err_text(m->err.code));
			str(b, "code", err_name(m->err.code));
			if (m->err.detail[0])
				str(b, "detail", m->err.detail);
			num(b, "next_retry_ms", m->retry_at_ns > now ? (m->retry_at_ns - now) / 1000000 : 0);
			num(b, "tries", m->fails);
		}
		str(b, "name", m->name);
		num(b, "dim", m->info.dim);
		boolean(b, "loaded", m->opened && atomic_load(&m->used_ns));
		pthread_mutex_unlock(&m->lock);
		if (s->answer && s->answer != m)
			str(b, "answers", s->answer->name);
	}
	pthread_mutex_unlock(&s->lock);
	sb_ch(b, '}');
}
static void components(struct engine *e, struct sbuf *b)
{
	pthread_mutex_lock(&e->life);
	int st = atomic_load(&e->state), rc = e->fail.code;
	enum eng_components on = e->cfg.components;
	key(b, "components");
	sb_ch(b, '{');
	component(e, b, "store", on >= ENG_store, st, rc, e->fail.detail);
	component(e, b, "index", on >= ENG_search, st, rc, NULL);
	component(e, b, "text", on >= ENG_all, st, rc, NULL);
	model(e, b);
	sb_ch(b, '}');
	pthread_mutex_unlock(&e->life);
	bool ready = eng_ready(e);
	int health = ready ? store_health(e->st) : 0;
	boolean(b, "writable", ready && !e->cfg.read_only && health >= 0);
	if (health < 0)
		str(b, "read_only_reason", err_text(health));
}
static void collections(struct engine *e, struct sbuf *b, bool owner)
{
	key(b, "collections");
	sb_ch(b, '[');
	pthread_mutex_lock(&e->coll_lock);
	for (struct eng_coll *c = owner ? e->colls : NULL; c; c = c->next) {
		struct eng_coll_info i;
		if (!coll_shown(c))
			continue;
		coll_fill_info(c, &i);
		if (b->p[b->n - 1] != '[')
			sb_ch(b, ',');
		sb_ch(b, '{');
		str(b, "name", i.name);
		num(b, "dim", i.dim);
		num(b, "points", i.points);
		num(b, "linked", i.linked);
		num(b, "tail", i.tail);
		num(b, "dead", i.dead);
		str(b, "index", i.index);
		num(b, "index_bytes", i.index_bytes);
		if (i.target_recall) {
			key(b, "target_recall");
			sb_fixed(b, i.target_recall / 10000.0, 4);
			key(b, "recall");
			sb_fixed(b, i.recall / 10000.0, 4);
			num(b, "recall_ef", i.recall_ef);
			str(b, "recall_state", i.recall_state);
		}
		sb_ch(b, '}');
	}
	pthread_mutex_unlock(&e->coll_lock);
	sb_ch(b, ']');
}
static void memory(struct engine *e, struct sbuf *b, bool owner)
{
	char t[128];
	uint64_t pages[3] = {0};
	int fd = os_openat(e->os, AT_FDCWD, "/proc/self/statm", O_RDONLY | O_CLOEXEC, 0);
	ssize_t n = fd < 0 ? 0 : os_pread(e->os, fd, t, sizeof(t) - 1, 0);
	if (fd >= 0)
		(void)os_close(e->os, fd); /* read only */
	const char *p = t;
	t[n > 0 ? n : 0] = 0;
	for (unsigned i = 0; i < 3 && n > 0; i++) { /* size, resident, shared */
		int r = num_u64(p, strlen(p), &pages[i]);
		if (r < 0)
			break;
		p += r;
		while (*p == ' ')
			p++;
	}
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), mapped = 0;
	struct store_stats s = {0};
	if (eng_ready(e)) {
		store_stats(e->st, &s);
		mapped = s.bytes_slots;
	}
	key(b, "memory");
	sb_ch(b, '{');
	num(b, "rss", pages[1] * page);
	num(b, "vsz", pages[0] * page);
	num(b, "heap", mem_used_all());
	num(b, "mapped", owner ? mapped : 0); /* it counts vectors */
	num(b, "limit", mem_limit());
	sb_ch(b, '}');
}
static void stack_mark(struct sbuf *b, const char *thread, unsigned op, uint32_t bytes, uint64_t limit)
{
	if (!bytes)
		return;
	if (b->n && b->p[b->n - 1] != '[')
		sb_ch(b, ',');
	sb_ch(b, '{');
	str(b, "thread", thread);
	str(b, "operation", perf_op_name((enum perf_op)op));
	num(b, "bytes", bytes);
	num(b, "limit", limit);
	sb_ch(b, '}');
}
static void stack_of(struct thread *t, void *u)
{
	/* request threads are held to the report's limit; the engine's own have stacks of their own size */
	uint64_t limit = thread_of_engine(t) ? t->stack_bytes : stack_limit_critical();
	for (unsigned op = 0; op < PERF_OP_N && op < STACK_OPS_MAX; op++)
		stack_mark(u, t->name, op, atomic_load_explicit(&t->op_high[op], memory_order_relaxed), limit);
}
/* surplus workers end, their marks stay */
static void stack_of_ended(struct sbuf *b)
{
	for (unsigned op = 0; op < PERF_OP_N && op < STACK_OPS_MAX; op++)
		stack_mark(b, "ended", op, stack_op_high_ended(op, false), stack_limit_critical());
}
/* [objects] 0, or why a chunk of the file has no vector */
static int refused(struct engine *e, uint64_t oid)
{
	struct eng_coll *c = coll_get(e, "text");
	bool is = false;
	if (c && c->chunks) {
		pthread_mutex_lock(&c->lock);
		const struct chunk_file *f = chunk_rows_file(c, oid);
		is = f && f->current && f->refused;
		pthread_mutex_unlock(&c->lock);
	}
	coll_put(c);
	return is ? -VX_ERR_text_refused : 0;
}
/* the files of a ring (those that came to state error last, or that the model refuses), newest first, and why */
static void errors(struct engine *e, struct eng_job *j, struct sbuf *b, const uint64_t *ring, const uint32_t *at)
{
	char *path = arena_alloc(j->arena, CONF_PATH_MAX + 1);
	if (!path)
		return;
	key(b, "errors");
	sb_ch(b, '[');
	eng_rdlock(e);
	for (uint32_t i = 0, seen = 0; i < *at && i < ENG_ERRORS_KEPT; i++) {
		uint64_t oid = ring[(*at - 1 - i) % ENG_ERRORS_KEPT];
		const struct eng_obj *o = obj_by_oid(&e->t, oid);
		for (uint32_t k = 0; k < i && o; k++) /* once each */
			if (ring[(*at - 1 - k) % ENG_ERRORS_KEPT] == oid)
				o = NULL;
		int why = !o                   ? 0
		          : ring == e->err_oid ? o->text_state == STORE_TEXT_error ? o->text_error : 0
		                               : refused(e, oid);
		if (!why || obj_path(o, path, CONF_PATH_MAX + 1) < 0)
			continue;
		if (seen++)
			sb_ch(b, ',');
		sb_ch(b, '{');
		str(b, "path", path);
		str(b, "code", err_name(why));
		str(b, "reason", err_text(why));
		sb_ch(b, '}');
	}
	eng_unlock(e);
	sb_ch(b, ']');
}
static void embedding(struct engine *e, struct eng_job *j, struct sbuf *b)
{
	key(b, "embedding");
	sb_ch(b, '{');
	num(b, "pending", sem_pending(e));
	num(b, "files", perf_get(PERFC_embed_files));
	num(b, "chunks", perf_get(PERFC_embed_chunks));
	num(b, "reused", perf_get(PERFC_embed_reused));
	num(b, "failed", perf_get(PERFC_embed_failed));
	num(b, "singly", perf_get(PERFC_embed_singly));
	num(b, "refused", perf_get(PERFC_embed_refused));
	if (e->sem)
		errors(e, j, b, e->sem->refused_oid, &e->sem->refused_at);
	sb_ch(b, '}');
}
int status_run(struct engine *e, struct eng_job *j)
{
	struct sbuf b;
	bool owner = job_owner(e, j), ready = eng_ready(e);
	uint64_t pending = eng_pending(e) + sem_pending(e);
	if (sbuf_arena(&b, j->arena, 4096, STATUS_MAX) < 0)
		return -VX_ERR_arena_full;
	sb_ch(&b, '{');
	num(&b, "schema", STATUS_VERSION);
	num(&b, "pid", (uint64_t)getpid());
	str(&b, "version", e->cfg.version);
	str(&b, "dir", e->cfg.dir);
	str(&b, "mount", e->cfg.mnt);
	num(&b, "uptime_ms", e->start_ns ? (os_mono_ns(e->os) - e->start_ns) / 1000000 : 0);
	components(e, &b);
	str(&b, "transport", e->cfg.transport);
	str(&b, "transport_why", e->cfg.transport_why ? e->cfg.transport_why : "");
	num(&b, "transport_ring_bytes", e->cfg.transport_ring_bytes ? *e->cfg.transport_ring_bytes : 0);
	str(&b, "watch", e->cfg.watch ? e->cfg.watch : "none");
	str(&b, "watch_why", e->cfg.watch_why ? e->cfg.watch_why : "");
	str(&b, "listen", e->cfg.listen ? e->cfg.listen : "");
	num(&b, "generation", ready ? store_generation(e->st) : 0);
	num(&b, "pending", owner ? pending : pending != 0);
	boolean(&b, "walking", atomic_load(&e->walk_running) != 0);
	boolean(&b, "complete", ready && !pending && !atomic_load(&e->walk_due) && !atomic_load(&e->walk_running));
	num(&b, "walks", atomic_load(&e->walks_done));
	num(&b, "events_lost", atomic_load(&e->events_lost));
	collections(e, &b, owner);
	key(&b, "ingest");
	sb_ch(&b, '{');
	num(&b, "queued", owner ? atomic_load(&e->ingest_queued) : 0);
	num(&b, "done", owner ? atomic_load(&e->ingest_done) : 0);
	num(&b, "failed", owner ? atomic_load(&e->ingest_failed) : 0);
	if (owner)
		errors(e, j, &b, e->err_oid, &e->err_n);
	sb_ch(&b, '}');
	if (owner)
		embedding(e, j, &b);
	if (owner && ready) {
		struct store_stats s;
		store_stats(e->st, &s);
		key(&b, "store");
		sb_ch(&b, '{');
		num(&b, "objects", s.objects);
		num(&b, "vectors", s.vectors);
		num(&b, "dead_rows", s.dead_rows);
		num(&b, "chunks", s.chunks);
		num(&b, "commits", s.commits);
		num(&b, "flushes", s.flushes);
		num(&b, "disk_bytes", s.disk_bytes);
		num(&b, "row_tables_damaged", s.tabs_damaged);
		num(&b, "queue", store_queue_len(e->st));
		sb_ch(&b, '}');
	}
	memory(e, &b, owner);
	key(&b, "regressions");
	perf_watch_json(&e->pace, &b, true);
	key(&b, "stack");
	sb_ch(&b, '[');
	thread_each(stack_of, &b);
	stack_of_ended(&b);
	sb_str(&b, "]}");
	const char *text = sbuf_cstr(&b);
	if (b.over)
		return -VX_ERR_arena_full;
	j->out_text = text;
	j->out_text_n = (uint32_t)b.n;
	return 0;
}
