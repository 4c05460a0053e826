/* sem_ask.c - the thread that turns questions into vectors, so that neither a FUSE thread nor a search thread waits for a model.
 *
 * A search by text that is to use meaning comes here first; with its vector, or the reason why there is none, it goes on to the search
 * threads.  Without a vector a hybrid search is one by words, and says that it is incomplete; one by meaning alone is refused. */
#include <string.h>

#include "engine/search_priv.h"
#include "engine/sem.h"

#define ASK_OPEN_NS  10000000000ull /* a mount that has just begun: its model is being opened */
#define ASK_SLICE_NS 20000000ull

/* the model that answers, opened; waits for one that is on its way. NULL: *reterr says why */
static struct sem_model *model(struct engine *e, struct eng_job *j, int *reterr)
{
	struct sem *s = e->sem;
	uint64_t t0 = os_mono_ns(e->os), none;
	for (;;) {
		struct sem_model *m = sem_answer(e);
		if (m && !sem_model_due(m, &none)) {
			sem_model_put(m);
			*reterr = -VX_ERR_model_failed;
			return NULL;
		}
		if (m) {
			*reterr = sem_model_open(m);
			if (*reterr >= 0 && !sem_coll_is(m)) { /* its folder holds another model by now */
				struct vx_errinfo err = {.position = -1};
				*reterr = -VX_ERR_file_changed;
				sem_model_fail(m, *reterr, &err);
			}
			if (*reterr >= 0)
				return m;
			sem_model_put(m);
			return NULL;
		}
		*reterr = atomic_load(&s->on) ? -VX_ERR_model_failed : -VX_ERR_no_model;
		if (!atomic_load(&s->on) || atomic_load(&s->down) || atomic_load(&j->cancel) || eng_stopping(e) ||
		        os_mono_ns(e->os) - t0 > ASK_OPEN_NS)
			return NULL;
		bell_wait(&s->bell, bell_rings(&s->bell), ASK_SLICE_NS);
	}
}
static int ask(struct engine *e, struct eng_job *j)
{
	struct search_words *w;
	VX_TRY(search_words_parse(j->arena, j->text, j->text_n, (int64_t)os_real_ns(e->os), &w));
	j->priv.p[SEARCH_P_WORDS] = w;
	if (!w->mean_n)
		return -VX_ERR_query_syntax;
	int rc;
	struct sem_model *m = model(e, j, &rc);
	if (!m)
		return rc;
	uint64_t t0 = os_mono_ns(e->os);
	float *v = arena_alloc(j->arena, (size_t)m->info.dim * sizeof(*v));
	const struct embed_text t = {w->mean, w->mean_n};
	rc = v ? sem_model_encode(m, EMBED_query, &t, 1, v) : -VX_ERR_arena_full;
	if (rc >= 0) {
		perf_add(PERFC_embed_queries, 1);
		perf_op(PERF_embed_query, os_mono_ns(e->os) - t0, 0);
		j->priv.p[SEARCH_P_MEANING] = v;
		j->priv.n[SEARCH_N_CID] = m->c->info.cid;
	}
	sem_model_put(m);
	return rc;
}
void sem_ask_thread(void *arg)
{
	struct engine *e = arg;
	struct sem *s = e->sem;
	struct wq_item *it;
	while (wq_pop(&s->ask_q, WQ_FOREVER, &it) == 1) {
		struct eng_job *j = WQ_OF(it, struct eng_job, priv.item);
		int rc = 0;
		atomic_fetch_add(&s->asking, 1);
		if (!eng_stopping(e) && !atomic_load(&j->cancel))
			rc = ask(e, j);
		atomic_fetch_sub(&s->asking, 1);
		bell_ring(&s->bell);
		j->priv.n[SEARCH_N_WHY] = rc < 0 ? (uint64_t)-rc : 0;
		if (eng_stopping(e))
			job_finish(e, j, -VX_ERR_shutting_down, true);
		else if (atomic_load(&j->cancel))
			job_finish(e, j, -VX_ERR_cancelled, true);
		else if (job_push(e, &e->search_q, j) == ENG_DONE)
			job_finish(e, j, j->rc, true);
	}
}
