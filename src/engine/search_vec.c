/* search_vec.c - the vector leg: rows of a collection, by graph or exact scan, with the tail; which of them are results. */
#include <string.h>

#include "base/probe.h"
#include "base/trim.h"
#include "engine/search_priv.h"

#define MOVED_TRIES 100

#define SEARCH_SLACK 16u

/* ---- candidates ---- */
void search_look_again(struct engine *e, uint64_t oid, uint8_t what)
{
	eng_wrlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, oid);
	if (o)
		ingest_push(e, o, what);
	eng_unlock(e);
}
/* 1: it is a result, in s->f[f_n - 1]; 0: not; < 0 */
static int take_file(struct search *s, struct eng_coll *c, uint64_t oid, uint32_t row, float score, float dist)
{
	struct engine *e = s->e;
	struct note_stat st;
	uint64_t ino;
	if (s->exclude && oid == s->exclude_oid)
		return 0;
	if (s->words) { /* a vector and a text: what the text narrows holds for both */
		eng_rdlock(e);
		const struct eng_obj *w = obj_by_oid(&e->t, oid);
		bool passes = w && search_words_pass(s->words, w, s->g.path) && search_passes(s, oid);
		eng_unlock(e);
		if (!passes)
			return 0;
	}
	bool there = judge_file(&s->g, oid, &st, &ino);
	if (!there && !s->g.gone)
		return 0;
	enum eng_state state = ENG_STATE_none;
	struct stamp stamp = {0};
	bool queued = false;
	eng_rdlock(e);
	struct eng_obj *o = obj_by_oid(&e->t, oid);
	const struct eng_vec *v = o ? obj_vec(o, c->info.cid) : NULL;
	if (v && v->row == row) {
		state = there ? vec_state(v, &st) : ENG_STATE_gone;
		stamp = v->stamp;
	}
	queued = o && obj_queued(o);
	bool held = v && v->bind_wait;
	eng_unlock(e);
	if (state == ENG_STATE_none)
		return 0; /* replaced while we looked */
	if (e->live)
		state = snaps_state(e, &stamp, oid, state);
	else if (state == ENG_STATE_pending && !queued && !held)
		search_look_again(e, oid, QF_HASH);
	if (state == ENG_STATE_stale && !s->j->stale)
		return 0;
	struct found *f = found_add(s);
	if (!f)
		return -ENOMEM;
	f->owner = oid;
	f->h.path = arena_strndup(s->j->arena, s->g.path, strlen(s->g.path));
	if (!f->h.path)
		return -VX_ERR_arena_full;
	f->h.ino = there ? ino : 0;
	f->h.key = s->g.key;
	f->h.score = score;
	f->h.distance = dist;
	f->h.state = (uint8_t)state;
	s->f_n++;
	return 1;
}
static int take_row(struct search *s, struct coll_view *v, const struct index_hit *hit)
{
	struct eng_coll *c = v->c;
	float score = index_score(v->rows->metric, v->rows->dim, hit->distance);
	if (s->j->has_min_score && score < s->j->min_score)
		return 0;
	pthread_mutex_lock(&c->lock);
	bool live = hit->row < c->cap && (c->flags[hit->row] & ROWF_LIVE);
	bool is_free = live && (c->flags[hit->row] & ROWF_FREE);
	uint64_t owner = live ? coll_owner(c, hit->row) : 0;
	pthread_mutex_unlock(&c->lock);
	if (!live)
		return 0;
	int rc = seen_add(s, owner, is_free ? 2 : 1);
	if (rc <= 0)
		return rc;
	uint32_t bad = atomic_load_explicit(&v->rows->bad_segs, memory_order_acquire);
	if (bad && !store_row_ok(s->e->st, c->info.cid, hit->row)) {
		s->j->priv.n[2] = 1;
		return 0;
	}
	if (!is_free) {
		rc = take_file(s, c, owner, hit->row, score, hit->distance);
	} else if (s->free_ok) {
		struct found *f = found_add(s);
		if (!f)
			return -ENOMEM;
		f->is_free = true;
		f->owner = f->h.id = owner;
		f->h.score = score;
		f->h.distance = hit->distance;
		f->h.state = ENG_STATE_fresh;
		s->f_n++;
		rc = 1;
	} else {
		rc = 0;
	}
	if (rc > 0)
		s->f[s->f_n - 1].h.collection = s->g.coll_name;
	if (rc > 0 && s->j->with_vectors) {
		struct eng_hit *h = &s->f[s->f_n - 1].h;
		uint32_t n = rows_vec_bytes(v->rows->dim, v->rows->dtype);
		const void *p = rows_vec(v->rows, hit->row);
		void *to = p ? arena_alloc(s->j->arena, n) : NULL;
		if (!to)
			return -VX_ERR_arena_full;
		memcpy(to, p, n);
		h->vec = to;
		h->vec_bytes = n;
	}
	return rc;
}
int search_filter_read(struct search *s, uint32_t cid, uint32_t rows_n)
{
	struct eng_job *j = s->j;
	if (!j->filter)
		return 0;
	reads_fresh(s->e, j);
	uint64_t generation = store_generation(s->e->st), *data = NULL;
	uint32_t n = 0;
	if (!filter_cached(s->e, j->filter, cid, rows_n, generation, j->arena, &data, &n)) {
		struct store_read rd = {.kind = SRD_filter,
		        .arena = j->arena,
		        .filter = j->filter,
		        .cid = cid,
		        .limit = rows_n,
		        .cancel = &j->cancel};
		VX_TRY(rd_sync(s->e, &rd));
		data = cid ? rd.bits : rd.ids;
		n = rd.id_n;
		size_t words = cid ? (rows_n + 63) / 64 : rd.id_n;
		filter_cache_put(s->e, j->filter, cid, rows_n, generation, data, words * sizeof(*data), rd.id_n);
	}
	if (cid) {
		s->pass = (struct row_bits){.w = (_Atomic uint64_t *)data, .n = rows_n};
		s->pass_rows = true;
	} else {
		s->pass_oid = data;
		s->pass_n = n;
		s->pass_on = true;
	}
	return 0;
}
int search_knn(struct search *s, struct coll_view *v, const void *q, uint32_t want, struct index_hit *hits)
{
	struct index_query iq = {.q = q,
	        .k = want,
	        .ef = s->ef,
	        .live = &v->live,
	        .filter = s->pass_rows ? &s->pass : NULL,
	        .extra = v->tail,
	        .extra_n = v->tail_n,
	        .cancel = &s->j->cancel};
	int n = -VX_ERR_graph_corrupt;
	if (v->ix && !s->j->exact && s->ef != ENG_EF_EXACT && want <= CONF_K_MAX) {
		struct stack_mark m;
		uint64_t t0 = os_mono_ns(s->e->os);
		stack_op_begin_op(&m, PERF_hnsw_search);
		n = index_search(v->ix, &iq, hits);
		stack_op_end(&m, PERF_hnsw_search);
		perf_op(PERF_hnsw_search, os_mono_ns(s->e->os) - t0, 0);
		if (n >= 0 && index_failed(v->ix))
			n = -VX_ERR_graph_corrupt;
		if (n == -VX_ERR_graph_corrupt || index_hold_due(v->ix))
			bell_ring(&s->e->index_bell);
	}
	if (n == -VX_ERR_graph_corrupt || n == -VX_ERR_visit_pool_empty) {
		struct stack_mark m;
		uint64_t t0 = os_mono_ns(s->e->os);
		iq.extra = NULL;
		iq.extra_n = 0;
		stack_op_begin_op(&m, PERF_flat_search);
		n = flat_search(v->rows, &iq, hits);
		stack_op_end(&m, PERF_flat_search);
		perf_op(PERF_flat_search, os_mono_ns(s->e->os) - t0, 0);
		s->j->used_exact = true;
	} else if (n >= 0 && iq.exact) {
		s->j->used_exact = true;
	}
	s->j->distances += iq.distances;
	perf_add(PERFC_distances, iq.distances);
	perf_add(PERFC_hops, iq.hops);
	trim_poll();
	PROBE3(search, want, iq.distances, iq.hops);
	return n;
}
static int vec_rounds(struct search *s, struct coll_view *v, const void *q, uint32_t k)
{
	uint32_t want = k + SEARCH_SLACK;
	uint32_t base = s->f_n;
	/* To others some of the files are shut: what the walk holds anyway is asked for at once, so that few need a second walk.  A quarter
	 * is left to dead rows, which would make the index walk again. */
	if (v->ix && s->ef != ENG_EF_EXACT && s->g.as.uid != s->e->euid && want < s->ef - s->ef / 4)
		want = s->ef - s->ef / 4;
	for (;;) {
		if (want > v->live_n)
			want = v->live_n;
		struct index_hit *hits = mem_alloc(MEM_engine, (size_t)want * sizeof(*hits));
		if (!hits)
			return -ENOMEM;
		int n = search_knn(s, v, q, want, hits), rc = n < 0 ? n : 0;
		bool full = false;
		for (int i = 0; i < n && rc >= 0 && !full; i++) {
			if (s->f_n - base >= k && hits[i].distance > s->f[base + k - 1].h.distance)
				full = true;
			else
				rc = take_row(s, v, &hits[i]);
		}
		mem_free(MEM_engine, hits);
		if (rc < 0)
			return rc;
		if (full || (uint32_t)n < want || want >= v->live_n)
			return 0;
		want = want > v->live_n / 4 ? v->live_n : want * 4;
	}
}
static int query_check(
        struct search *s, struct eng_coll *c, const struct vec_rows *rows, const void *vec, uint32_t bytes)
{
	if (bytes != rows_vec_bytes(rows->dim, rows->dtype)) {
		struct sbuf b;
		sbuf_fixed(&b, s->j->err.detail, sizeof(s->j->err.detail));
		sb_str(&b, "the query has ");
		sb_u64(&b, bytes);
		sb_str(&b, " bytes, the collection's vectors ");
		sb_u64(&b, rows_vec_bytes(rows->dim, rows->dtype));
		(void)sbuf_cstr(&b); /* terminates it */
		return -VX_ERR_dim_mismatch;
	}
	if (rows->dtype != VXD_f32)
		return 0;
	if (!simd_finite(vec, rows->dim))
		return -VX_ERR_not_finite;
	if (c->info.metric != VXM_cosine)
		return 0;
	const float *f = vec;
	for (uint32_t i = 0; i < rows->dim; i++)
		if (f[i] != 0.0f)
			return 0;
	return -VX_ERR_zero_vector;
}
static int one_pass(struct search *s, struct eng_coll *c, const void *vec, uint32_t bytes, uint32_t k)
{
	struct coll_view v;
	int rc = 0;
	coll_enter(c, &v);
	if (v.rows)
		rc = query_check(s, c, v.rows, vec, bytes);
	if (v.rows && !c->chunks) {
		if (rc >= 0)
			rc = search_filter_read(s, c->info.cid, v.rows_n);
		if (rc >= 0)
			rc = vec_rounds(s, &v, vec, k);
		if (atomic_load_explicit(&v.rows->bad_segs, memory_order_acquire))
			s->j->priv.n[2] = 1;
	}
	coll_leave(&v);
	return rc;
}
/* A row that moves while rows are scanned (compaction) may be passed before it is there and reached when it has gone: the pass is made
 * again, so that what was there all the time is found.  Moves come to an end: compaction has a step at a time, and an end. */
int search_vec_leg(struct search *s, struct eng_coll *c, const void *vec, uint32_t bytes, uint32_t k)
{
	if (!bytes || (c->info.dtype == VXD_f32 && bytes % 4))
		return -VX_ERR_dim_range;
	s->free_ok = coll_may(c, &s->j->who, 4) && !s->g.scope_n; /* a free point is in no directory */
	s->g.coll_name = arena_strndup(s->j->arena, c->info.name, strlen(c->info.name));
	if (!s->g.coll_name)
		return -VX_ERR_arena_full;
	if (!s->j->ef)
		s->ef = recall_ef(c, k);
	uint32_t base = s->f_n;
	int rc = 0;
	for (int i = 0;; i++) {
		uint64_t moved = atomic_load(&c->moved);
		rc = one_pass(s, c, vec, bytes, k);
		if (rc < 0 || i == MOVED_TRIES || moved == atomic_load(&c->moved))
			break;
		s->f_n = base;
		seen_clear(s);
	}
	if (rc < 0 || !c->chunks)
		return rc;
	VX_TRY(search_filter_read(s, 0, 0));
	return search_mean_leg(s, c, vec, bytes / (uint32_t)sizeof(float), k);
}
