/* search.c - the plan of a search and its answer.
 *
 * A leg brings candidates, best first: rows of a collection (search_vec.c), or chunks of text by words (search_text.c).  A candidate
 * becomes a result when it is still its owner's row, its file exists at a path the caller may read (judge.c), in scope, with the state
 * asked for.  When too few pass, the leg is asked for four times as many, until k have passed or there are no more; what was judged
 * once isn't judged again.  Candidates that tie with the k-th are judged too, so that equal scores are told apart by path, then id, and
 * not by luck.  Two legs become one list in search_found.c. */
#include <string.h>

#include "engine/search_priv.h"

#define HYBRID_DEPTH 100u
#define ANEW_MAX     8

/* both legs, fused; the one that is not of words comes from @c, or is that of meaning */
static int hybrid(struct search *s, struct eng_coll *c, const float *mean)
{
	struct eng_job *j = s->j;
	uint32_t depth = s->k > HYBRID_DEPTH ? s->k : HYBRID_DEPTH;
	bool min = j->has_min_score;
	j->has_min_score = false; /* of the fused score */
	int rc = mean ? search_mean_leg(s, c, mean, c->info.dim, depth)
	              : search_vec_leg(s, c, j->vec, j->vec_bytes, depth);
	uint32_t first = s->f_n;
	seen_clear(s);
	if (rc >= 0)
		rc = search_text_leg(s, s->words->words, s->words->words_n, depth);
	j->has_min_score = min;
	if (rc < 0)
		return rc;
	if (mean)
		found_blend(s, first);
	else
		found_fuse(s, first);
	for (uint32_t i = 0; min && i < s->f_n;) {
		if (s->f[i].h.score < j->min_score)
			s->f[i] = s->f[--s->f_n];
		else
			i++;
	}
	return 0;
}
/* what was typed: by words, by meaning, or by both */
static int by_text(struct search *s, struct eng_coll *c)
{
	struct eng_job *j = s->j;
	struct search_words *w = j->priv.p[SEARCH_P_WORDS];
	const float *mean = j->mode == ENG_MODE_text ? NULL : j->priv.p[SEARCH_P_MEANING];
	int why = -(int)j->priv.n[SEARCH_N_WHY];
	bool vec = j->vec && j->mode != ENG_MODE_text;
	if (j->text_n > CONF_QUERY_TEXT_MAX)
		return -VX_ERR_query_too_long;
	if (!w)
		VX_TRY(search_words_parse(j->arena, j->text, j->text_n, (int64_t)os_real_ns(s->e->os), &w));
	s->words = w;
	struct eng_coll *t = mean ? coll_by_cid(s->e, (uint32_t)j->priv.n[SEARCH_N_CID]) : NULL;
	if (mean && !t) { /* another model has just taken its place */
		mean = NULL;
		why = -VX_ERR_model_failed;
	}
	int rc = j->mode == ENG_MODE_vector && !mean ? (why < 0 ? why : -VX_ERR_no_model) : 0;
	if (rc >= 0)
		rc = search_filter_read(s, 0, 0);
	if (rc >= 0)
		rc = search_words_sets(s);
	if (rc >= 0 && why < 0 && why != -VX_ERR_no_model && j->mode != ENG_MODE_text)
		j->priv.n[2] = 1; /* by words alone */
	if (rc < 0)
		;
	else if (j->mode == ENG_MODE_vector)
		rc = search_mean_leg(s, t, mean, t->info.dim, s->k);
	else if (vec || mean)
		rc = hybrid(s, vec ? c : t, vec ? NULL : mean);
	else
		rc = search_text_leg(s, w->words, w->words_n, s->k);
	coll_put(t);
	return rc;
}

static int legs(struct search *s, struct eng_coll *c)
{
	struct eng_job *j = s->j;
	if (j->like || j->by_like_key)
		return search_like_leg(s, c, s->k);
	bool vec = j->vec && j->mode != ENG_MODE_text;
	if (vec && (!j->text || j->mode == ENG_MODE_vector))
		return search_vec_leg(s, c, j->vec, j->vec_bytes, s->k);
	if (!j->text)
		return -VX_ERR_missing_key;
	if (s->e->cfg.components != ENG_all)
		return -VX_ERR_component_off;
	return by_text(s, c);
}
/* Is the payload that was read still the file's?  One that was replaced or removed since it was judged has lost its own. */
static bool payload_true(struct search *s, const struct found *f, bool read)
{
	if (f->is_free)
		return true;
	eng_rdlock(s->e);
	const struct eng_obj *o = obj_by_oid(&s->e->t, f->owner);
	bool is = o && o->has_payload == read;
	eng_unlock(s->e);
	return is;
}
static int payloads(struct search *s, struct eng_coll *c)
{
	struct eng_job *j = s->j;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < j->res_n; i++) {
		struct eng_hit *h = &j->res[i];
		VX_TRY(eng_read_payload(
		        s->e, j, c->info.cid, s->f[i].is_free, s->f[i].owner, &h->payload, &h->payload_n));
		if (payload_true(s, &s->f[i], h->payload != NULL))
			j->res[kept++] = *h;
	}
	bool moved = kept < j->res_n;
	j->res_n = kept;
	return moved;
}
static int answer(struct search *s, struct eng_coll *c)
{
	struct eng_job *j = s->j;
	found_sort(s->f, s->f_n);
	uint32_t n = s->f_n < s->k ? s->f_n : s->k;
	j->res = arena_alloc(j->arena, (size_t)(n ? n : 1) * sizeof(*j->res));
	if (!j->res)
		return -VX_ERR_arena_full;
	for (uint32_t i = 0; i < n; i++)
		j->res[i] = s->f[i].h;
	j->res_n = n;
	return j->with_payload ? payloads(s, c) : 0;
}
/* 1: a file went while its payload was read */
static int once(struct search *s, struct eng_coll *c)
{
	s->f_n = 0;
	seen_clear(s);
	int rc = judge_begin(&s->g, s->e, s->j);
	if (rc < 0)
		return rc;
	rc = legs(s, c);
	judge_end(&s->g);
	return rc < 0 ? rc : answer(s, c);
}
int search_run(struct engine *e, struct eng_job *j)
{
	if (j->k > CONF_K_MAX)
		return -VX_ERR_k_range;
	if (j->ef > CONF_EF_MAX)
		return -VX_ERR_ef_range;
	struct eng_coll *c = coll_get(e, j->coll ? j->coll : "default");
	if (!c)
		return job_refuse(j, -VX_ERR_no_collection, j->coll);
	struct search *s = mem_zalloc(MEM_engine, sizeof(*s));
	int rc = s ? 0 : -ENOMEM;
	perf_add(PERFC_searches, 1);
	if (s) {
		s->e = e;
		s->j = j;
		s->k = j->k ? j->k : CONF_K_DEFAULT;
		s->ef = j->ef;
		rc = once(s, c);
		for (int i = 0; rc > 0 && i < ANEW_MAX; i++) /* what is left out would make place for another */
			rc = once(s, c);
		if (rc > 0)
			rc = 0;
		mem_free(MEM_engine, s->f);
		mem_free(MEM_engine, s->seen);
		mem_free(MEM_engine, s);
	}
	coll_put(c);
	return rc;
}
bool search_cheap(struct engine *e, struct eng_job *j)
{
	if (j->text || j->like || j->with_payload || j->filter || j->k > 100)
		return false;
	struct eng_coll *c = coll_get(e, j->coll ? j->coll : "default");
	if (!c)
		return true;
	bool cheap = true;
	if (j->by_like_key) {
		eng_rdlock(e);
		struct eng_obj *o = obj_by_key(&e->t, &j->key);
		cheap = o && obj_vec(o, c->info.cid);
		eng_unlock(e);
	}
	pthread_mutex_lock(&c->lock);
	uint64_t cost = c->rows ? atomic_load_explicit(&c->rows->n, memory_order_relaxed) : 0;
	uint32_t ef = j->ef ? j->ef : recall_ef(c, j->k);
	if (c->ix && !c->ix_broken && !j->exact && ef != ENG_EF_EXACT)
		cost = (uint64_t)ef * (c->info.M ? c->info.M : 16) + (c->tail_n - c->tail_head);
	pthread_mutex_unlock(&c->lock);
	coll_put(c);
	return cheap && cost <= CONF_INLINE_DISTANCES;
}
