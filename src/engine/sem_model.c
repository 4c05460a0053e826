/* sem_model.c - one model as the engine uses it: opened late, loaded at need, dropped when idle, tried again after a failure.
 *
 * A model that fails (its folder is gone, its endpoint does not answer or answers nonsense) is failed with that reason and tried again
 * after 1, 2, 4 .. 60 s by whoever embeds; questions meanwhile are not even tried, so that a search by words is not held up by a
 * server that is down.  The lock is held for looking and setting, never while a model works. */
#include <malloc.h>
#include <string.h>

#include "engine/sem.h"

#define MODEL_RETRY_MAX_S 60u
#define MODEL_WINDOWS     4u /* a chunk may have twice the tokens the model sees at once */

struct sem_model *sem_model_new(struct engine *e, const char *folder)
{
	struct sem_model *s = mem_zalloc(MEM_engine, sizeof(*s));
	if (!s)
		return NULL;
	s->folder = mem_strdup(MEM_engine, folder);
	if (!s->folder || pthread_mutex_init(&s->lock, NULL) || pthread_mutex_init(&s->opening, NULL)) {
		mem_free(MEM_engine, s->folder);
		mem_free(MEM_engine, s);
		return NULL;
	}
	s->e = e;
	s->refs = 1;
	size_t n = strlen(folder), at;
	while (n > 1 && folder[n - 1] == '/')
		n--;
	for (at = n; at && folder[at - 1] != '/'; at--)
		;
	n = n - at < sizeof(s->name) ? n - at : sizeof(s->name) - 1;
	memcpy(s->name, folder + at, n);
	return s;
}
struct sem_model *sem_model_ref(struct sem_model *s)
{
	if (s)
		atomic_fetch_add(&s->refs, 1);
	return s;
}
void sem_model_put(struct sem_model *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	if (s->ask != s->m)
		embed_close(s->ask);
	embed_close(s->m);
	coll_put(s->c);
	pthread_mutex_destroy(&s->opening);
	pthread_mutex_destroy(&s->lock);
	mem_free(MEM_engine, s->folder);
	mem_free(MEM_engine, s);
}
void sem_model_fail(struct sem_model *s, int rc, const struct vx_errinfo *err)
{
	pthread_mutex_lock(&s->lock);
	bool news = s->state != SEM_failed;
	s->state = SEM_failed;
	s->err = *err;
	s->err.code = rc;
	s->fails++;
	s->retry_s = s->retry_s ? s->retry_s * 2 : 1;
	s->retry_s = s->retry_s > MODEL_RETRY_MAX_S ? MODEL_RETRY_MAX_S : s->retry_s;
	s->retry_at_ns = os_mono_ns(s->e->os) + s->retry_s * 1000000000ull;
	pthread_mutex_unlock(&s->lock);
	perf_add(PERFC_embed_failed, 1);
	if (news)
		log_rc(LOGL_warn, "engine: the model cannot be used for now; search goes on by words", rc);
}
static void good(struct sem_model *s)
{
	pthread_mutex_lock(&s->lock);
	s->state = SEM_ready;
	s->retry_s = 0;
	pthread_mutex_unlock(&s->lock);
}
bool sem_model_due(struct sem_model *s, uint64_t *ret_wait_ns)
{
	uint64_t now = os_mono_ns(s->e->os);
	pthread_mutex_lock(&s->lock);
	bool due = s->state != SEM_failed || now >= s->retry_at_ns;
	if (!due)
		*ret_wait_ns = s->retry_at_ns - now;
	pthread_mutex_unlock(&s->lock);
	return due;
}
static int open_locked(struct sem_model *s)
{
	if (s->opened)
		return 0;
	struct vx_errinfo err = {.position = -1};
	struct embed_cfg cfg = {
	        .os = s->e->os, .folder = s->folder, .windows = MODEL_WINDOWS, .cancel = &s->e->stopping};
	struct embed *m = NULL, *ask = NULL;
	int rc = embed_open(&cfg, &m, &err);
	if (rc >= 0 && embed_info(m).kind == EMBED_endpoint) {
		if (!embed_info(m).dim)
			rc = embed_probe(m, &err);
		if (rc >= 0)
			rc = embed_open(&cfg, &ask, &err);
		if (rc >= 0 && !embed_info(ask).dim)
			rc = embed_probe(ask, &err);
	}
	if (rc < 0) {
		embed_close(ask);
		embed_close(m);
		sem_model_fail(s, rc, &err);
		return rc;
	}
	pthread_mutex_lock(&s->lock);
	s->m = m;
	s->ask = ask ? ask : m;
	s->info = embed_info(m);
	s->opened = true;
	pthread_mutex_unlock(&s->lock);
	good(s);
	return 0;
}
int sem_model_open(struct sem_model *s)
{
	pthread_mutex_lock(&s->opening);
	int rc = open_locked(s);
	pthread_mutex_unlock(&s->opening);
	return rc;
}
int sem_model_encode(struct sem_model *s, enum embed_use use, const struct embed_text *t, uint32_t n, float *ret)
{
	struct vx_errinfo err = {.position = -1};
	atomic_store(&s->used_ns, os_mono_ns(s->e->os));
	struct embed *m = use == EMBED_query ? s->ask : s->m;
	int rc = embed_encode(m, use, t, n, ret, &err);
	if (rc == -VX_ERR_text_refused) { /* these texts, or any? */
		int probe = embed_probe(m, &err);
		rc = probe < 0 ? probe : rc;
	}
	atomic_store(&s->used_ns, os_mono_ns(s->e->os));
	if (rc == -VX_ERR_text_refused)
		good(s);
	else if (rc < 0 && rc != -VX_ERR_cancelled && rc != -VX_ERR_not_finite)
		sem_model_fail(s, rc, &err);
	else if (rc >= 0)
		good(s);
	return rc;
}
uint64_t sem_model_idle(struct sem_model *s, uint64_t after_ns)
{
	uint64_t used = atomic_load(&s->used_ns), now = os_mono_ns(s->e->os);
	if (!used)
		return WQ_FOREVER;
	if (now - used < after_ns)
		return after_ns - (now - used);
	atomic_store(&s->used_ns, 0);
	embed_drop(s->m);
	if (s->ask != s->m)
		embed_drop(s->ask);
	(void)malloc_trim(0); /* small blocks of the vocabulary lie among others */
	return WQ_FOREVER;
}
