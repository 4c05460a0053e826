/* hnsw_search.c - walking the graph: greedy descent, the beam on one level, the filtered walk, and index_search on top of them.
 *
 * One sorted array serves as candidate queue and result set (its first unexpanded entry is the next to expand), because at usual
 * ef an insertion by memmove costs less than two heaps.  An expansion first gathers the unvisited neighbours and prefetches their
 * codes, then scores them in one batch, then offers them.
 *
 * Filters: rows that fail are walked through but not returned, so open candidates live in a heap and matches in the sorted pool.
 * Before that the matches are counted: when scanning them exactly is cheaper than the walk is expected to be, that is done; and a
 * walk that turns out dearer than the scan is dropped for it.  That also gives k results whenever k exist.
 *
 * Source: Malkov & Yashunin, arXiv:1603.09320, Alg. 2 and 5; single-pool search as in NSG (arXiv:1707.00143). */
#include <math.h>
#include <string.h>
#include "index/hnsw.h"

#define CANCEL_HOPS    64u
#define CROWD_HOPS     16u /* expansions between looks for a crowd of equals in the pool */
#define CROWD_LEAST    16u
#define RERANK_AHEAD   4u
#define ROW_AHEAD      1024u /* bytes of a stored vector fetched ahead; the streamer follows */
#define TRIAL_EF       160u
#define TRIAL_K        10u
#define TRIAL_QUERIES  100u
#define TRIAL_GOOD     0.985
#define TRIAL_MARGIN   100u /* of the hits must be won to change */
#define DESCENT_LEAST  2000u /* nodes: below, any entry is near */
#define STEP_DISTANCES 12u /* new distances an expansion costs, typically, at M0 = 32 */

static inline void prefetch_code(const struct hnsw_view *v, const uint8_t *held, uint32_t id)
{
	const uint8_t *p = held ? held + (size_t)(id - v->row_first) * v->held_stride : hnsw_block(v, id) + v->off_a;
	uint32_t n = v->codes.bytes + 4;
	/* the first lines; the hardware's streamer follows long codes */
	__builtin_prefetch(p);
	if (n > 60)
		__builtin_prefetch(p + 64);
	if (n > 124)
		__builtin_prefetch(p + 128);
	if (n > 188)
		__builtin_prefetch(p + 192);
}
static inline void prefetch_row(const struct vec_rows *r, uint32_t id)
{
	const uint8_t *p = rows_vec(r, id);
	uint32_t n = r->stride < ROW_AHEAD ? r->stride : ROW_AHEAD;
	for (uint32_t i = 0; p && i < n; i += 64)
		__builtin_prefetch(p + i);
}
/* the same of a cold graph, read into the work area: a page for checking comes first there, then the links, then codes */
static const hnsw_link *links_cold(
        struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t id, uint32_t level)
{
	uint8_t *page = w->cold, *to = w->cold + HNSW_PAGE;
	const hnsw_link *at = hnsw_links0(v, id);
	uint32_t meta, n = v->M0;
	if (level) {
		if (!hnsw_read(ix, v, (const void *)hnsw_meta(v, id), sizeof(meta), &meta, page))
			return NULL;
		uint32_t up = (meta >> HNSW_META_SHIFT) + level - 1;
		if ((meta & HNSW_META_LEVEL) <= level || up >= atomic_load_explicit(&v->up_n, memory_order_acquire))
			return NULL;
		at = hnsw_up_row(v, up);
		n = v->M;
	}
	return hnsw_read(ix, v, (const void *)at, n * sizeof(hnsw_link), to, page) ? (const hnsw_link *)(void *)to
	                                                                           : NULL;
}
/* the link row of a node seen in a graph that may come from a damaged file: NULL when it leads nowhere */
static inline const hnsw_link *links_of(
        struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t id, uint32_t level)
{
	if (v->map && hnsw_cold(v))
		return links_cold(ix, v, w, id, level);
	if (v->map && !hnsw_map_touch(ix, v->map, hnsw_block(v, id), v->stride))
		return NULL;
	if (!level)
		return hnsw_links0(v, id);
	uint32_t meta = atomic_load_explicit(hnsw_meta(v, id), memory_order_acquire);
	uint32_t up = (meta >> HNSW_META_SHIFT) + level - 1;
	if ((meta & HNSW_META_LEVEL) <= level || up >= atomic_load_explicit(&v->up_n, memory_order_acquire))
		return NULL;
	const hnsw_link *l = hnsw_up_row(v, up);
	if (v->map && !hnsw_map_touch(ix, v->map, (const void *)l, v->M * 4))
		return NULL;
	return l;
}
/* rows below it have a mark and a block: a resident graph's links are its own, a mapped one's are held against the file's rows */
static inline uint32_t id_limit(const struct hnsw_view *v, const struct hnsw_work *w)
{
	return w->tags_cap < v->nodes_cap_max ? w->tags_cap : v->nodes_cap_max;
}
static inline bool in_view(const struct hnsw_view *v, const struct hnsw_work *w, uint32_t id)
{
	return id < id_limit(v, w) && id >= v->row_first &&
	       atomic_load_explicit(&v->seg[rows_seg(id)], memory_order_acquire);
}
/* neighbours of a node that were not visited yet, marked now; returns how many.  About half were, at random, so the marks are
 * tested without a branch. */
static uint32_t gather(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t id, uint32_t level)
{
	const hnsw_link *l = links_of(ix, v, w, id, level);
	const uint32_t most = level ? v->M : v->M0, limit = id_limit(v, w), first = v->row_first;
	uint16_t *tags = w->tags, tag = w->tag;
	uint32_t n = 0, *ids = w->ids;
	if (!l)
		return 0;
	for (uint32_t i = 0; i < most; i++) {
		uint32_t to = atomic_load_explicit(&l[i], memory_order_acquire);
		if (to >= limit || to < first) {
			if (to == HNSW_EMPTY)
				break;
			continue;
		}
		ids[n] = to;
		n += tags[to] != tag;
		tags[to] = tag;
	}
	const uint8_t *held = atomic_load_explicit(&v->held, memory_order_acquire);
	if (v->map && hnsw_cold(v) && !held)
		return n;
	if (v->codes.bytes) {
		for (uint32_t i = 0; i < n; i++)
			prefetch_code(v, held, ids[i]);
	} else {
		for (uint32_t i = 0; i < n; i++)
			prefetch_row(ix->rows, ids[i]);
	}
	return n;
}
uint32_t hnsw_greedy(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, struct hnsw_work *w,
        uint32_t from, uint32_t level, uint32_t stop, float *ret_d)
{
	uint32_t cur = from;
	float best;
	codes_score(s, &cur, 1, &best);
	for (; level > stop; level--) {
		for (bool moved = true; moved;) {
			const hnsw_link *l = links_of(ix, v, w, cur, level);
			uint32_t n = 0;
			moved = false;
			for (uint32_t i = 0; l && i < v->M; i++) {
				uint32_t to = atomic_load_explicit(&l[i], memory_order_acquire);
				if (to == HNSW_EMPTY)
					break;
				if (in_view(v, w, to))
					w->ids[n++] = to;
			}
			codes_score(s, w->ids, n, w->dist);
			for (uint32_t i = 0; i < n; i++) {
				if (w->dist[i] < best) { /* strictly: the walk ends */
					best = w->dist[i];
					cur = w->ids[i];
					moved = true;
				}
			}
		}
	}
	*ret_d = best;
	return cur;
}
/* @hubs: of crowds those stay that most links point at, which only a writer knows */
static inline __attribute__((always_inline)) int beam(struct index *ix, const struct hnsw_view *v,
        struct hnsw_scorer *s, struct hnsw_work *w, uint32_t level, uint32_t keep, const _Atomic int *cancel,
        uint64_t *hops, bool hubs)
{
	struct hnsw_pool *p = &w->pool;
	uint64_t h = 0;
	uint32_t passed = w->passed_n = 0;
	for (uint32_t i = 0; i < p->n; i++)
		(void)hnsw_visit(w, p->c[i].id); /* the starting points, new by definition */
	p->next = 0;
	for (;;) {
		while (p->next < p->n && (p->c[p->next].id & HNSW_SEEN))
			p->next++;
		if (p->next >= p->n)
			break;
		uint32_t id = p->c[p->next].id;
		p->c[p->next++].id = id | HNSW_SEEN;
		if (++h % CANCEL_HOPS == 0 && cancel && atomic_load_explicit(cancel, memory_order_relaxed))
			return -VX_ERR_cancelled;
		if (h % CROWD_HOPS == 0 && keep)
			passed = hnsw_pass_by(ix, v, w, keep, hubs);
		uint32_t n = gather(ix, v, w, id, level);
		if (!n)
			continue;
		codes_score(s, w->ids, n, w->dist);
		if (passed)
			n = hnsw_drop_passed(ix, v, w, n);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t at = hnsw_offer(p, w->dist[i], w->ids[i]);
			/* it may be expanded soon: one expansion ahead is time enough for its links to arrive */
			if (at < p->next + 2 && at < p->cap && !level) {
				const uint8_t *l = (const uint8_t *)hnsw_links0(v, w->ids[i]);
				__builtin_prefetch(l);
				__builtin_prefetch(l + 64);
				__builtin_prefetch(l + 127);
			}
		}
	}
	for (uint32_t i = 0; i < p->n; i++)
		p->c[i].id &= ~HNSW_SEEN;
	*hops += h;
	return 0;
}
int hnsw_beam(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, struct hnsw_work *w, uint32_t level,
        uint32_t keep, const _Atomic int *cancel, uint64_t *hops)
{
	return beam(ix, v, s, w, level, keep, cancel, hops, false);
}
void hnsw_beam_near(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, struct hnsw_work *w,
        uint32_t level, uint64_t *hops)
{
	uint32_t keep = 2 * hnsw_crowd_most(v);
	(void)beam(ix, v, s, w, level, keep, NULL, hops, true); /* without cancel it cannot fail */
}
void hnsw_descend(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, struct hnsw_work *w,
        uint64_t entry, uint32_t stop, uint32_t ef, uint32_t skip)
{
	struct hnsw_pool *p = &w->pool;
	uint32_t from = (uint32_t)entry;
	uint64_t hops = 0;
	float d;
	codes_score(s, &from, 1, &d);
	p->n = p->next = 0;
	p->cap = ef;
	hnsw_offer(p, d, from);
	for (uint32_t level = (uint32_t)(entry >> 32); level > stop; level--) {
		hnsw_tags_next(w);
		(void)hnsw_visit(w, skip);
		(void)hnsw_beam(ix, v, s, w, level, 0, NULL, &hops); /* without cancel it cannot fail */
	}
}

/* --- open candidates of a filtered walk: a binary min-heap --- */
static bool heap_push(struct hnsw_work *w, float d, uint32_t id)
{
	if (w->heap_n == HNSW_HEAP_MAX)
		return false;
	uint32_t i = w->heap_n++;
	while (i) {
		uint32_t up = (i - 1) / 2;
		if (w->heap[up].d <= d)
			break;
		w->heap[i] = w->heap[up];
		i = up;
	}
	w->heap[i] = (struct hnsw_cand){d, id};
	return true;
}
static struct hnsw_cand heap_pop(struct hnsw_work *w)
{
	struct hnsw_cand top = w->heap[0], last = w->heap[--w->heap_n];
	uint32_t i = 0, n = w->heap_n;
	for (;;) {
		uint32_t c = 2 * i + 1;
		if (c >= n)
			break;
		if (c + 1 < n && w->heap[c + 1].d < w->heap[c].d)
			c++;
		if (w->heap[c].d >= last.d)
			break;
		w->heap[i] = w->heap[c];
		i = c;
	}
	w->heap[i] = last;
	return top;
}
static bool passes(const struct index_query *q, uint32_t id)
{
	return row_bit(q->live, id) && (!q->filter || row_bit(q->filter, id));
}
/* matches into w->res; 1 when it became dearer than `most` distances or ran out of heap, 0 when it ended by itself */
static int beam_filtered(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, struct hnsw_work *w,
        struct index_query *q, uint32_t from, float from_d, uint64_t most)
{
	struct hnsw_pool *r = &w->res;
	if (hnsw_work_heap(w))
		return 1; /* the scan needs none */
	hnsw_tags_next(w);
	r->n = r->next = 0;
	w->heap_n = 0;
	(void)hnsw_visit(w, from); /* the starting point, new by definition */
	heap_push(w, from_d, from);
	if (passes(q, from))
		hnsw_offer(r, from_d, from);
	while (w->heap_n) {
		struct hnsw_cand c = heap_pop(w);
		if (r->n == r->cap && c.d > r->c[r->n - 1].d)
			break;
		if (++q->hops % CANCEL_HOPS == 0 && q->cancel && atomic_load_explicit(q->cancel, memory_order_relaxed))
			return -VX_ERR_cancelled;
		uint32_t n = gather(ix, v, w, c.id, 0);
		codes_score(s, w->ids, n, w->dist);
		if (s->distances > most)
			return 1;
		for (uint32_t i = 0; i < n; i++) {
			if (r->n == r->cap && w->dist[i] >= r->c[r->n - 1].d)
				continue;
			if (!heap_push(w, w->dist[i], w->ids[i]))
				return 1;
			if (passes(q, w->ids[i]))
				hnsw_offer(r, w->dist[i], w->ids[i]);
		}
		if (w->heap_n)
			__builtin_prefetch((const void *)hnsw_links0(v, w->heap[0].id));
	}
	return 0;
}

/* --- the answer --- */
static uint32_t count_matches(const struct index_query *q, uint32_t n)
{
	uint64_t m = 0;
	uint32_t words;
	if (n > q->live->n)
		n = q->live->n;
	if (q->filter && n > q->filter->n)
		n = q->filter->n;
	words = n / 64;
	for (uint32_t i = 0; i < words; i++) {
		uint64_t w = atomic_load_explicit(&q->live->w[i], memory_order_relaxed);
		if (q->filter)
			w &= atomic_load_explicit(&q->filter->w[i], memory_order_relaxed);
		m += (uint64_t)__builtin_popcountll(w);
	}
	for (uint32_t row = words * 64; row < n; row++)
		m += passes(q, row);
	return (uint32_t)m;
}
/* how many of the best codes are looked at again on the stored vectors */
static uint32_t rerank_n(const struct codes *c, uint32_t k, uint32_t n)
{
	uint32_t r = c->proj ? 2 * k + 10 : c->kind == CODE_BF16 ? k + 2 + k / 8 : k + 5 + k / 4;
	return r < n ? r : n;
}
/* the first live ones of a sorted pool, re-ranked, plus the tail, into ret */
static int answer(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, struct index_query *q,
        const struct hnsw_pool *from, struct hnsw_pool *best, struct index_hit *ret)
{
	struct exact_query e;
	bool exact = codes_exact(&v->codes);
	uint32_t most = exact ? q->k : rerank_n(&v->codes, q->k, from->n), n = 0;
	exact_init(&e, ix->rows, q->q);
	best->cap = q->k;
	best->n = best->next = 0;
	for (uint32_t i = 0; !exact && i < from->n && i < RERANK_AHEAD; i++)
		prefetch_row(ix->rows, from->c[i].id);
	for (uint32_t i = 0; i < from->n && n < most; i++) {
		uint32_t id = from->c[i].id;
		if (!exact && i + RERANK_AHEAD < from->n && n + RERANK_AHEAD < most)
			prefetch_row(ix->rows, from->c[i + RERANK_AHEAD].id);
		if (!passes(q, id))
			continue;
		float d = exact ? from->c[i].d
		                : exact_distance(&e, w->vec ? exact_read(ix->rows, os_real(), id, w->vec)
		                                            : rows_vec(ix->rows, id));
		hnsw_offer(best, d, id);
		n++;
	}
	if (!exact)
		q->distances += n;
	for (uint32_t i = 0; i < q->extra_n; i++) {
		uint32_t id = q->extra[i];
		bool twice = false;
		if (!passes(q, id) || id >= atomic_load_explicit(&ix->rows->n, memory_order_acquire))
			continue;
		float d = exact_distance(&e, rows_vec(ix->rows, id));
		q->distances++;
		if (best->n == best->cap && !hnsw_less(d, id, &best->c[best->n - 1]))
			continue;
		for (uint32_t j = 0; j < best->n && !twice; j++)
			twice = best->c[j].id == id;
		if (!twice)
			hnsw_offer(best, d, id);
	}
	for (uint32_t i = 0; i < best->n; i++)
		ret[i] = (struct index_hit){.row = best->c[i].id, .distance = best->c[i].d};
	return (int)best->n;
}
static int by_scan(struct index *ix, struct hnsw_work *w, struct index_query *q, struct index_hit *ret)
{
	struct exact_query e;
	struct hnsw_pool *best = &w->res;
	exact_init(&e, ix->rows, q->q);
	best->cap = q->k;
	best->n = best->next = 0;
	q->exact = true;
	VX_TRY(exact_scan_all(&e, atomic_load_explicit(&ix->rows->n, memory_order_acquire), q, best));
	for (uint32_t i = 0; i < best->n; i++)
		ret[i] = (struct index_hit){.row = best->c[i].id, .distance = best->c[i].d};
	return (int)best->n;
}
/* what a part found goes into the answer so far: both sorted, a row once */
static uint32_t merge(struct index_hit *ret, uint32_t n, uint32_t k, const struct index_hit *add, uint32_t m)
{
	for (uint32_t i = 0; i < m; i++) {
		uint32_t at = n;
		bool twice = false;
		for (uint32_t j = 0; j < n && !twice; j++)
			twice = ret[j].row == add[i].row;
		while (at && (add[i].distance < ret[at - 1].distance ||
		                     (add[i].distance == ret[at - 1].distance && add[i].row < ret[at - 1].row)))
			at--;
		if (twice || at >= k)
			continue;
		n = n < k ? n + 1 : k;
		memmove(&ret[at + 1], &ret[at], (size_t)(n - 1 - at) * sizeof(*ret));
		ret[at] = add[i];
	}
	return n;
}
/* w->pool: the nodes nearest to a row, itself left out */
static void trial_walk(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, struct hnsw_work *w,
        uint32_t row, uint32_t width, uint32_t ef)
{
	uint64_t hops = 0;
	hnsw_descend(ix, v, s, w, atomic_load(&ix->entry), 0, width, row);
	w->pool.cap = ef;
	hnsw_tags_next(w);
	(void)hnsw_visit(w, row);
	(void)hnsw_beam(ix, v, s, w, 0, 0, NULL, &hops); /* without cancel it cannot fail */
}
/* The trial: rows of the graph as queries, a wide search, all of its result ranked exactly; of the true ten, how many would the
 * usual re-rank have found?  Their distances are those of this very set, which no sample can show. */
int hnsw_codes_trial(struct index *ix)
{
	struct hnsw_view *v = atomic_load(&ix->view);
	struct hnsw_work *w;
	uint32_t n = atomic_load_explicit(&ix->rows->n, memory_order_acquire), good = 0, all = 0;
	if (!v->codes.proj || atomic_load(&ix->count) < 1000)
		return 0;
	VX_TRY(hnsw_writer_take(ix, &w));
	int rc = hnsw_work_prepare(ix, v, w, TRIAL_EF);
	for (uint32_t i = 0; !rc && i < TRIAL_QUERIES; i++) {
		struct hnsw_scorer s;
		struct exact_query e;
		uint32_t row = (uint32_t)((uint64_t)i * n / TRIAL_QUERIES),
		         most = rerank_n(&v->codes, TRIAL_K, TRIAL_EF);
		if (!index_linked(ix, row) || !in_view(v, w, row))
			continue;
		codes_query(ix, v, &s, rows_vec(ix->rows, row), w->qf, w->qe);
		trial_walk(ix, v, &s, w, row, 1, TRIAL_EF);
		w->res.n = w->res.next = 0;
		exact_init(&e, ix->rows, rows_vec(ix->rows, row));
		w->res.cap = TRIAL_K;
		for (uint32_t j = 0; j < w->pool.n; j++) /* the place among the codes travels as the id */
			hnsw_offer(&w->res, exact_distance(&e, rows_vec(ix->rows, w->pool.c[j].id)), j);
		for (uint32_t j = 0; j < w->res.n; j++)
			good += w->res.c[j].id < most;
		all += w->res.n;
	}
	hnsw_work_put(w);
	if (rc || good >= TRIAL_GOOD * all)
		return rc;
	ix->no_project = true;
	return hnsw_recode(ix, NULL, 0, true);
}
/* --- how wide to come down --- */
static uint32_t hits(const struct hnsw_pool *a, const struct hnsw_pool *of)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < TRIAL_K && i < a->n; i++)
		for (uint32_t j = 0; j < TRIAL_K && j < of->n; j++)
			n += a->c[i].id == of->c[j].id;
	return n;
}
static void narrow_or_wide(struct index *ix, uint32_t wide, uint32_t steps, uint32_t margin)
{
	if (wide > steps + margin)
		atomic_store(&ix->descent, HNSW_DESCENT);
	else if (steps > wide + margin)
		atomic_store(&ix->descent, 1);
}
/* Rows of the graph as queries: does a wide descent with a small ef find more than single steps with an ef half as large again, which
 * costs as much?  It does where the set falls into clusters between which no distance shows the way. */
int hnsw_descent_trial(struct index *ix)
{
	struct hnsw_view *v = atomic_load(&ix->view);
	struct hnsw_work *w;
	uint32_t n = atomic_load_explicit(&ix->rows->n, memory_order_acquire), wide = 0, steps = 0, all = 0;
	uint32_t count = atomic_load(&ix->count);
	ix->deleted_n = 0;
	if (v->map || count < DESCENT_LEAST || !(atomic_load(&ix->entry) >> 32))
		return 0;
	VX_TRY(hnsw_writer_take(ix, &w));
	int rc = hnsw_work_prepare(ix, v, w, 6 * HNSW_DESCENT);
	for (uint32_t i = 0; !rc && i < TRIAL_QUERIES; i++) {
		struct hnsw_scorer s;
		uint32_t row = (uint32_t)((uint64_t)i * n / TRIAL_QUERIES);
		if (!index_linked(ix, row) || !in_view(v, w, row) || row == (uint32_t)atomic_load(&ix->entry))
			continue;
		codes_query(ix, v, &s, rows_vec(ix->rows, row), w->qf, w->qe);
		trial_walk(ix, v, &s, w, row, 2 * HNSW_DESCENT, 6 * HNSW_DESCENT);
		w->res.n = w->pool.n < TRIAL_K ? w->pool.n : TRIAL_K;
		memcpy(w->res.c, w->pool.c, w->res.n * sizeof(w->res.c[0]));
		all += w->res.n;
		trial_walk(ix, v, &s, w, row, HNSW_DESCENT, HNSW_DESCENT);
		wide += hits(&w->pool, &w->res);
		trial_walk(ix, v, &s, w, row, 1, HNSW_DESCENT + HNSW_DESCENT / 2);
		steps += hits(&w->pool, &w->res);
	}
	hnsw_work_put(w);
	if (!rc)
		narrow_or_wide(ix, wide, steps, all / TRIAL_MARGIN);
	return rc;
}
/* relative cost of one distance on the stored vectors to one on the codes; a sequential scan is cheaper than random access */
static uint64_t scan_price(const struct hnsw_view *v, uint64_t matches)
{
	return codes_exact(&v->codes) ? matches : matches + matches / 2;
}
/* equal nodes that a search keeps: as many as it may rank. What is read by pread is not compared */
static uint32_t crowd_keep(const struct hnsw_view *v, uint32_t k)
{
	uint32_t n = codes_exact(&v->codes) ? k : rerank_n(&v->codes, k, UINT32_MAX);
	return v->map && hnsw_cold(v) ? 0 : n < CROWD_LEAST ? CROWD_LEAST : n;
}
/* one graph's answer; rows outside it (q->extra) with it. q->exact: it is that of all rows. */
static int search_graph(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, struct index_query *q,
        uint32_t ef, uint32_t graphs, struct index_hit *ret)
{
	struct hnsw_scorer s;
	uint64_t entry = atomic_load_explicit(&ix->entry, memory_order_acquire), most = UINT64_MAX;
	uint32_t rows_n = atomic_load_explicit(&ix->rows->n, memory_order_acquire);
	bool filtered = q->filter != NULL;
	float d;
	if ((uint32_t)entry == HNSW_EMPTY || !in_view(v, w, (uint32_t)entry)) {
		w->pool.n = 0;
		return answer(ix, v, w, q, &w->pool, &w->res, ret);
	}
	if (filtered) {
		uint64_t m = count_matches(q, rows_n), walk = (uint64_t)STEP_DISTANCES * ef * graphs;
		if (!m)
			return 0;
		most = scan_price(v, m);
		if (m <= ef || most <= walk * rows_n / m)
			return by_scan(ix, w, q, ret);
	}
	codes_query(ix, v, &s, q->q, w->qf, w->qe);
	s.cold = v->map && hnsw_cold(v) ? w->cold : NULL;
	uint32_t cap = w->pool.cap, width = atomic_load_explicit(&ix->descent, memory_order_relaxed), from;
	int rc;
	if (width > 1) {
		hnsw_descend(ix, v, &s, w, entry, 0, width < cap ? width : cap, HNSW_EMPTY);
		w->pool.cap = cap;
		from = w->pool.c[0].id;
		d = w->pool.c[0].d;
	} else {
		from = hnsw_greedy(ix, v, &s, w, (uint32_t)entry, (uint32_t)(entry >> 32), 0, &d);
		hnsw_offer(&w->pool, d, from);
	}
	if (!filtered) {
		hnsw_tags_next(w);
		VX_TRY(hnsw_beam(ix, v, &s, w, 0, crowd_keep(v, q->k), q->cancel, &q->hops));
		q->distances += s.distances;
		rc = answer(ix, v, w, q, &w->pool, &w->res, ret);
		/* dead rows in the pool, or of a crowd, took places: walk again past them */
		if (rc < 0 || (uint32_t)rc == q->k || (w->pool.n < w->pool.cap && !w->passed_n))
			return rc;
		s.distances = 0;
		filtered = true;
	}
	rc = beam_filtered(ix, v, &s, w, q, from, d, most);
	q->distances += s.distances;
	if (rc < 0)
		return rc;
	if (rc == 1)
		return by_scan(ix, w, q, ret);
	return answer(ix, v, w, q, &w->res, &w->pool, ret);
}
static int search_in(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, struct index_query *q,
        uint32_t ef, struct index_hit *ret)
{
	uint32_t rows_n = atomic_load_explicit(&ix->rows->n, memory_order_acquire);
	uint32_t parts = atomic_load_explicit(&ix->part_n, memory_order_acquire);
	if (ix->part_bytes)
		VX_TRY(hnsw_work_parts(ix, w, ef));
	int rc = search_graph(ix, v, w, q, ef, parts + 1, ret);
	parts = atomic_load_explicit(&ix->part_n, memory_order_acquire); /* after view and entry: hnsw_part.c */
	for (uint32_t i = 0; i < parts && rc >= 0 && !q->exact; i++) {
		struct index *p = ix->part[i];
		const struct hnsw_view *pv = atomic_load(&p->view);
		struct index_query pq = *q;
		pq.extra_n = 0;
		VX_TRY(hnsw_work_parts(ix, w, ef));
		int n = search_graph(p, pv, w, &pq, ef, parts + 1, w->hits);
		q->distances = pq.distances;
		q->hops = pq.hops;
		if (n < 0)
			return n;
		q->exact = pq.exact;
		if (pq.exact) {
			memcpy(ret, w->hits, (size_t)n * sizeof(*ret));
			return n;
		}
		rc = (int)merge(ret, (uint32_t)rc, q->k, w->hits, (uint32_t)n);
	}
	if (rc < 0 || q->exact)
		return rc;
	if (index_failed(ix))
		return -VX_ERR_graph_corrupt;
	/* fewer than asked: only a scan can tell whether there are more */
	if (rc >= 0 && (uint32_t)rc < q->k && count_matches(q, rows_n) > (uint32_t)rc)
		return by_scan(ix, w, q, ret);
	return rc;
}
int index_search(struct index *ix, struct index_query *q, struct index_hit *ret)
{
	struct hnsw_work *w;
	uint32_t ef = q->ef ? q->ef : CONF_EF_DEFAULT;
	q->distances = q->hops = 0;
	q->exact = false;
	if (!q->k || q->k > CONF_K_MAX)
		return -VX_ERR_k_range;
	if (ef > CONF_EF_MAX)
		return -VX_ERR_ef_range;
	if (ef < q->k)
		ef = q->k;
	VX_TRY(exact_check_query(ix->rows, q->q));
	if (index_failed(ix))
		return -VX_ERR_graph_corrupt;
	VX_TRY(hnsw_work_take(ix, ix->read_work, ix->readers, &w));
	const struct hnsw_view *v = atomic_load(&ix->view);
	int rc = hnsw_work_prepare(ix, v, w, ef);
	if (!rc)
		rc = search_in(ix, v, w, q, ef, ret);
	hnsw_work_put(w);
	return rc;
}
