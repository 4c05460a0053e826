/* sem.c - which model answers and which is to; what still lacks vectors.
 *
 * What is due is a flag on each object, counted; the ring is only the order in which they are looked at, of bounded length.  When it is
 * full, or after opening, objects are looked through by number in small pieces (sem_scan_step): the flag and chunk_rows say
 * what is missing, so nothing about the queue is ever stored, and nothing is lost by a kill.
 *
 * The model that answers is named in the catalog's meta row "text.model" = {u32 cid, folder}: the cid is that of its collection, which
 * bears its fingerprint in its name. */
#include <string.h>

#include "engine/sem.h"

#define META      "text.model"
#define SCAN_STEP 32u

int sem_new(struct engine *e)
{
	struct sem *s = mem_zalloc(MEM_engine, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->e = e;
	s->idle_ns = (e->cfg.model_idle_ms ? e->cfg.model_idle_ms : SEM_IDLE_MS) * 1000000ull;
	int rc = -pthread_mutex_init(&s->lock, NULL);
	rc = rc ? rc : wq_init(&s->ask_q, ENG_PARKED_MAX);
	rc = rc ? rc : bell_init(&s->bell);
	if (!rc && e->cfg.model) {
		s->want = mem_strdup(MEM_engine, e->cfg.model);
		rc = s->want ? 0 : -ENOMEM;
		s->want_set = true;
		atomic_store(&s->on, 1);
	}
	if (rc < 0) {
		mem_free(MEM_engine, s);
		return rc;
	}
	e->sem = s;
	return 0;
}
void sem_free(struct engine *e)
{
	struct sem *s = e->sem;
	if (!s)
		return;
	sem_model_put(s->answer);
	sem_model_put(s->target);
	mem_free(MEM_engine, s->want);
	mem_free(MEM_engine, s->stored_folder);
	oid_ring_done(&s->q);
	wq_done(&s->ask_q);
	bell_done(&s->bell);
	pthread_mutex_destroy(&s->lock);
	mem_free(MEM_engine, s);
	e->sem = NULL;
}
void sem_load(struct engine *e)
{
	struct sem *s = e->sem;
	uint8_t *b = s ? mem_zalloc(MEM_engine, CONF_PATH_MAX + 8) : NULL;
	uint32_t n = 0;
	if (b && store_meta_get(e->st, META, b, CONF_PATH_MAX + 4, &n) >= 0 && n >= 4) {
		s->stored_cid = le32_get(b);
		mem_free(MEM_engine, s->stored_folder);
		s->stored_folder = mem_strdup(MEM_engine, (char *)b + 4);
		struct eng_coll *c = coll_by_cid(e, s->stored_cid);
		if (c && c->chunks)
			atomic_store(&e->text_cid, s->stored_cid);
		coll_put(c);
	}
	mem_free(MEM_engine, b);
}
int sem_start(struct engine *e)
{
	if (!e->sem)
		return 0;
	VX_TRY(thread_start(&e->sem->asker, "vx-ask", SEM_STACK, sem_ask_thread, e));
	return thread_start(&e->sem->embedder, "vx-embed", SEM_STACK, sem_embed_thread, e);
}
void sem_stop(struct engine *e)
{
	struct sem *s = e->sem;
	if (!s)
		return;
	wq_close(&s->ask_q);
	bell_ring(&s->bell);
	thread_join(&s->asker);
	thread_join(&s->embedder);
	/* they borrow collections, which go before the engine does */
	pthread_mutex_lock(&s->lock);
	struct sem_model *a = s->answer, *t = s->target;
	s->answer = s->target = NULL;
	pthread_mutex_unlock(&s->lock);
	sem_model_put(a);
	sem_model_put(t);
}

/* ---- what is due ---- */
void sem_due(struct engine *e, struct eng_obj *o)
{
	struct sem *s = e->sem;
	if (!s || !atomic_load(&s->on) || o->kind != STORE_OBJ_file)
		return;
	if (!o->emb_due) {
		o->emb_due = true;
		o->emb_tries = 0;
		atomic_fetch_add(&s->due, 1);
	}
	pthread_mutex_lock(&s->lock);
	if (s->q.n >= SEM_QUEUE_MAX || oid_ring_push(&s->q, o->oid) < 0)
		s->scan_again = true;
	pthread_mutex_unlock(&s->lock);
	bell_ring(&s->bell);
}
void sem_undue(struct engine *e, struct eng_obj *o)
{
	if (!o->emb_due)
		return;
	o->emb_due = false;
	if (atomic_fetch_sub(&e->sem->due, 1) == 1)
		bell_ring(
		        &e->sem->bell); /* the thread tells those who wait for quiet: they may not be called under this lock */
}
void sem_refused(struct engine *e, uint64_t oid)
{
	struct sem *s = e->sem;
	for (uint32_t i = 0; s && i < ENG_ERRORS_KEPT; i++)
		if (s->refused_oid[i] == oid)
			return;
	if (s)
		s->refused_oid[s->refused_at++ % ENG_ERRORS_KEPT] = oid;
}
void sem_text_new(struct engine *e, struct eng_obj *o)
{
	if (e->sem) /* the store takes texts (again) */
		atomic_store(&e->sem->stuck_until_ns, 0);
	pthread_mutex_lock(&e->coll_lock);
	for (struct eng_coll *c = e->colls; c; c = c->next) {
		if (!c->chunks)
			continue;
		pthread_mutex_lock(&c->lock);
		struct chunk_file *f = chunk_rows_file(c, o->oid);
		if (f)
			f->current = false;
		pthread_mutex_unlock(&c->lock);
	}
	pthread_mutex_unlock(&e->coll_lock);
	sem_due(e, o);
}
void sem_forget(struct engine *e)
{
	if (!e->sem)
		return;
	pthread_mutex_lock(&e->sem->lock);
	e->sem->q.n = 0;
	pthread_mutex_unlock(&e->sem->lock);
	atomic_store(&e->sem->due, 0);
	atomic_store(&e->text_cid, 0);
}
int sem_want(struct engine *e, const char *folder)
{
	struct sem *s = e->sem;
	if (!s)
		return -VX_ERR_component_off;
	char *copy = folder ? mem_strdup(MEM_engine, folder) : NULL;
	if (folder && !copy)
		return -ENOMEM;
	pthread_mutex_lock(&s->lock);
	mem_free(MEM_engine, s->want);
	s->want = copy;
	s->want_set = true;
	s->want_no++;
	atomic_store(&s->on, folder != NULL);
	pthread_mutex_unlock(&s->lock);
	bell_ring(&s->bell);
	if (!folder) /* nothing is to be embedded any more: who waits for that is told, whatever the thread is at */
		job_wait_check(e);
	return 0;
}
void sem_obj_gone(struct engine *e, struct eng_obj *o)
{
	if (e->sem)
		sem_undue(e, o);
	pthread_mutex_lock(&e->coll_lock);
	for (struct eng_coll *c = e->colls; c; c = c->next) {
		if (!c->chunks)
			continue;
		pthread_mutex_lock(&c->lock);
		chunk_rows_forget(c, o->oid);
		pthread_mutex_unlock(&c->lock);
	}
	pthread_mutex_unlock(&e->coll_lock);
}
bool sem_due_next(struct sem *s, uint64_t *ret_oid)
{
	pthread_mutex_lock(&s->lock);
	bool got = oid_ring_pop(&s->q, ret_oid);
	pthread_mutex_unlock(&s->lock);
	return got;
}
void sem_rescan(struct sem *s)
{
	pthread_mutex_lock(&s->lock);
	s->scan = true;
	s->scan_again = false;
	s->scan_at = 0;
	pthread_mutex_unlock(&s->lock);
}
bool sem_scanning(struct sem *s)
{
	pthread_mutex_lock(&s->lock);
	bool is = s->scan || s->scan_again || s->want_set || atomic_load(&s->reask);
	pthread_mutex_unlock(&s->lock);
	return is;
}
/* [objects, c->lock] has the object chunks without vectors, or vectors without chunks? */
static bool lacks(const struct eng_obj *o, const struct eng_coll *c)
{
	const struct chunk_file *f = chunk_rows_file(c, o->oid);
	if (o->kind != STORE_OBJ_file)
		return false;
	if (o->text_state == STORE_TEXT_done)
		return !f || !f->current || !f->whole;
	return f && f->head != ENG_ROW_NONE;
}
bool sem_scan_step(struct sem *s, struct eng_coll *c)
{
	struct engine *e = s->e;
	pthread_mutex_lock(&s->lock);
	if (!s->scan && s->scan_again && s->q.n < SEM_QUEUE_MAX / 2) {
		s->scan = true;
		s->scan_again = false;
		s->scan_at = 0;
	}
	bool scan = s->scan; /* to its end, whatever the ring has room for: what is due is counted by it */
	uint64_t at = s->scan_at;
	pthread_mutex_unlock(&s->lock);
	if (!scan)
		return false;
	behind_wrlock(e);
	uint64_t end = e->t.next_oid;
	for (unsigned n = 0; n < SCAN_STEP && at < end; n++, at++) {
		struct eng_obj *o = obj_by_oid(&e->t, at);
		if (!o)
			continue;
		pthread_mutex_lock(&c->lock);
		bool due = lacks(o, c);
		pthread_mutex_unlock(&c->lock);
		if (due)
			sem_due(e, o);
	}
	behind_unlock(e);
	pthread_mutex_lock(&s->lock);
	s->scan_at = at;
	s->scan = at < end;
	pthread_mutex_unlock(&s->lock);
	return true;
}
/* does another model answer than the one that is to? */
static bool changing(struct sem *s)
{
	pthread_mutex_lock(&s->lock);
	bool is = s->answer && s->target && s->answer != s->target;
	pthread_mutex_unlock(&s->lock);
	return is;
}
uint64_t sem_pending(struct engine *e)
{
	struct sem *s = e->sem;
	if (!s || !atomic_load(&s->on))
		return 0;
	uint64_t due = atomic_load(&s->due);
	return due ? due : !atomic_load(&s->ready) || sem_scanning(s) || changing(s);
}
void sem_retry(struct engine *e)
{
	struct sem *s = e->sem;
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	struct sem_model *m[2] = {s->answer, s->target};
	for (unsigned i = 0; i < 2; i++) {
		if (!m[i])
			continue;
		pthread_mutex_lock(&m[i]->lock);
		m[i]->retry_at_ns = 0;
		pthread_mutex_unlock(&m[i]->lock);
	}
	pthread_mutex_unlock(&s->lock);
	if (!e->cfg.read_only)
		atomic_store(&s->reask, 1);
	atomic_store(&s->stuck_until_ns, 0);
	bell_ring(&s->bell);
}
bool sem_quiet(struct engine *e)
{
	struct sem *s = e->sem;
	if (!s)
		return true;
	pthread_mutex_lock(&s->lock);
	bool down = atomic_load(&s->down) && !s->want_set; /* of the model before says nothing of the one asked for */
	pthread_mutex_unlock(&s->lock);
	return down || !sem_pending(e);
}

/* ---- who answers ---- */
struct sem_model *sem_answer(struct engine *e)
{
	struct sem *s = e->sem;
	if (!s)
		return NULL;
	pthread_mutex_lock(&s->lock);
	struct sem_model *m = sem_model_ref(s->answer);
	pthread_mutex_unlock(&s->lock);
	return m;
}
struct sem_model *sem_target(struct engine *e)
{
	struct sem *s = e->sem;
	if (!s)
		return NULL;
	pthread_mutex_lock(&s->lock);
	struct sem_model *m = sem_model_ref(s->target);
	pthread_mutex_unlock(&s->lock);
	return m;
}
static void coll_name(const struct sem_model *m, char ret[CONF_COLLECTION_NAME_MAX + 1])
{
	struct sbuf b;
	sbuf_fixed(&b, ret, CONF_COLLECTION_NAME_MAX + 1);
	sb_str(&b, STORE_MODEL_COLL);
	for (size_t i = 0; i < sizeof(m->info.fingerprint); i++)
		sb_hex(&b, m->info.fingerprint[i], 2);
	(void)sbuf_cstr(&b); /* 37 bytes */
}
bool sem_coll_is(const struct sem_model *m)
{
	char name[CONF_COLLECTION_NAME_MAX + 1];
	coll_name(m, name);
	return m->c && !strcmp(m->c->info.name, name) && m->c->info.dim == m->info.dim;
}
int sem_coll_make(struct sem *s, struct sem_model *m)
{
	struct engine *e = s->e;
	struct store_coll k = {.dim = m->info.dim,
	        .metric = VXM_cosine,
	        .dtype = VXD_f32,
	        .M = 16,
	        .ef_construction = 200,
	        .ef = CONF_EF_DEFAULT,
	        .uid = e->cfg.owner_uid,
	        .mode = 0644};
	coll_name(m, k.name);
	if (!m->c) /* else what came after has failed, and is tried again */
		m->c = coll_get(e, k.name);
	if (m->c)
		return m->c->info.dim == k.dim ? 0 : -VX_ERR_dim_mismatch;
	struct eng_op *o = coll_create_op(e, &k);
	if (!o)
		return -ENOMEM;
	VX_TRY(op_run(o, true));
	m->c = coll_get(e, k.name);
	return m->c ? 0 : -VX_ERR_no_collection;
}
void sem_coll_drop(struct engine *e, struct eng_coll *c)
{
	struct eng_op *o = op_get_wait(e, SOP_coll_drop);
	if (!o)
		return; /* at the next opening, then */
	pthread_mutex_lock(&c->lock);
	c->dropped = true;
	while (c->inflight)
		pthread_cond_wait(&c->idle, &c->lock);
	coll_drain(c);
	pthread_mutex_unlock(&c->lock);
	bool listed = coll_unlist(e, c);
	o->op.cid = c->info.cid;
	atomic_fetch_add(&c->refs, 1);
	o->c = c;
	(void)op_run(o, true); /* what is left of it is dropped at the next opening */
	if (listed)
		coll_put(c);
}
void sem_others_drop(struct sem *s)
{
	struct engine *e = s->e;
	for (;;) {
		struct sem_model *t = sem_target(e);
		struct eng_coll *c = NULL;
		pthread_mutex_lock(&e->coll_lock);
		for (struct eng_coll *k = e->colls; k && !c; k = k->next)
			if (k->chunks && k->info.cid != atomic_load(&e->text_cid) && !(t && t->c == k)) {
				c = k;
				atomic_fetch_add(&c->refs, 1);
			}
		pthread_mutex_unlock(&e->coll_lock);
		sem_model_put(t);
		if (!c)
			return;
		sem_coll_drop(e, c);
		bool stuck = !c->dropped;
		coll_put(c);
		if (stuck)
			return;
	}
}
int sem_answer_set(struct sem *s, struct sem_model *m)
{
	struct engine *e = s->e;
	size_t n = strlen(m->folder) + 1;
	uint8_t *b = mem_alloc(MEM_engine, n + 4);
	struct eng_op *o = b ? op_get_wait(e, SOP_meta_put) : NULL;
	if (!o) {
		mem_free(MEM_engine, b);
		return -ENOMEM;
	}
	le32_put(b, m->c->info.cid);
	memcpy(b + 4, m->folder, n);
	memcpy(o->op.name, META, sizeof(META));
	o->op.data = b;
	o->op.data_n = (uint32_t)(n + 4);
	int rc = op_run(o, true);
	mem_free(MEM_engine, b);
	VX_TRY(rc);
	char *folder = mem_strdup(
	        MEM_engine, m->folder); /* without it the answering one is looked for by its rows' name alone */
	mem_free(MEM_engine, s->stored_folder);
	s->stored_folder = folder;
	pthread_mutex_lock(&s->lock);
	struct sem_model *old = s->answer;
	s->answer = sem_model_ref(m);
	pthread_mutex_unlock(&s->lock);
	atomic_store(&e->text_cid, m->c->info.cid);
	sem_model_put(old);
	sem_others_drop(s);
	return 0;
}
