/* hnsw_insert.c - linking a row: level draw, search for neighbours, diverse selection, back links; and the parallel build.
 *
 * A new node is made invisible and whole first: code, level, and its own links on every level, found from the top down.  Only then
 * do others link to it, from level 0 up, so a reader that meets it can always descend.
 *
 * A full neighbour chooses its links again (the same diverse selection among the old ones and the new).  Level 0 counts how many
 * links point at each node; one of the last three that point at a node is not dropped, another with more gives way.  That
 * keeps nodes reachable under pruning and deletion; islands of several nodes are left to hnsw_repair().
 *
 * In a graph that only grows, the nodes that came first found few others, so their links span far: they are what carries a search
 * across clusters and within them.  Were that left to the order of arrival, it would go with these nodes when rows are replaced.
 * So in a graph that has lost nodes, the number that draws the level also makes a quarter of the new ones "early": these choose
 * links among the early ones too, as if the others were not there yet, and those of upper levels keep their links of level 1 on
 * level 0.  And a search for neighbours comes down with a beam, not by single steps: a node that is linked in the wrong cluster
 * leads the next one astray.
 *
 * Among writers of a parallel build a node's link row is changed under the node's (striped) lock, one lock at a time.
 * Source: Malkov & Yashunin, arXiv:1603.09320, Alg. 1 and 4, without extendCandidates and keepPruned. */
#include <math.h>
#include <string.h>
#include "base/thread.h"
#include "base/trim.h"
#include "index/hnsw.h"

#define BUILD_STACK  (128u << 10)
#define CLIP_LOOK    1024u /* inserts between looks at the share of clipped components */
#define CLIP_SHARE   0.02
#define CLIP_VAIN    6u /* times it doubles at most: then it is more than a look sees */
#define TRIAL_ROWS   8192u
#define PART_RUN     16384u /* rows between looks at a part's size */
#define TRIM_LINKS   64u
#define EARLY        0.25 /* share of nodes that also choose links among their like */
#define EARLY_WIDE   2u /* times ef_construction for them: of what they see, a quarter counts */
#define TRIAL_SHARE  8u /* an eighth of the nodes deleted: time to look whether searches still come down well */
#define REPAIR_LEAST 500u /* changes between looks at reachability, */
#define REPAIR_SHARE 64u /* and not before a 64th of the nodes changed: some node visits a change */

static pthread_mutex_t *lock_of(struct index *ix, uint32_t row)
{
	return &ix->node_lock[row * 2654435761u >> 22];
}
void hnsw_node_lock(struct index *ix, uint32_t row)
{
	if (ix->parallel)
		pthread_mutex_lock(lock_of(ix, row));
}
void hnsw_node_unlock(struct index *ix, uint32_t row)
{
	if (ix->parallel)
		pthread_mutex_unlock(lock_of(ix, row));
}
static bool cand_less(const struct hnsw_cand *a, const struct hnsw_cand *b)
{
	return a->d < b->d || (a->d == b->d && a->id < b->id);
}
void hnsw_sort(struct hnsw_cand *c, uint32_t n)
{
	/* Shell sort, gaps of Ciura: at most a few hundred elements, no recursion */
	static const uint32_t gaps[] = {132, 57, 23, 10, 4, 1};
	for (uint32_t g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++) {
		uint32_t gap = gaps[g];
		for (uint32_t i = gap; i < n; i++) {
			struct hnsw_cand x = c[i];
			uint32_t j = i;
			for (; j >= gap && cand_less(&x, &c[j - gap]); j -= gap)
				c[j] = c[j - gap];
			c[j] = x;
		}
	}
}
void hnsw_indeg_add(struct index *ix, uint32_t row)
{
	_Atomic uint16_t *d = hnsw_indeg(ix, row);
	if (atomic_load_explicit(d, memory_order_relaxed) < HNSW_INDEG_FULL)
		atomic_fetch_add_explicit(d, 1, memory_order_relaxed);
}
void hnsw_indeg_sub(struct index *ix, uint32_t row)
{
	_Atomic uint16_t *d = hnsw_indeg(ix, row);
	uint32_t n = atomic_load_explicit(d, memory_order_relaxed);
	if (n && n < HNSW_INDEG_FULL)
		atomic_fetch_sub_explicit(d, 1, memory_order_relaxed);
}
static uint32_t indeg_get(const struct index *ix, uint32_t row)
{
	return atomic_load_explicit(hnsw_indeg(ix, row), memory_order_relaxed);
}
uint32_t hnsw_link_n(const hnsw_link *l, uint32_t most)
{
	uint32_t n = 0;
	while (n < most && atomic_load_explicit(&l[n], memory_order_relaxed) != HNSW_EMPTY)
		n++;
	return n;
}
void hnsw_set_links(struct index *ix, const struct hnsw_view *v, uint32_t row, uint32_t level,
        const struct hnsw_cand *sel, uint32_t n)
{
	hnsw_link *l = hnsw_links(v, row, level);
	uint32_t most = level ? v->M : v->M0, old = hnsw_link_n(l, most);
	if (!level) {
		for (uint32_t i = 0; i < n; i++)
			hnsw_indeg_add(ix, sel[i].id);
		for (uint32_t i = 0; i < old; i++)
			hnsw_indeg_sub(ix, atomic_load_explicit(&l[i], memory_order_relaxed));
	}
	for (uint32_t i = 0; i < n; i++)
		atomic_store_explicit(&l[i], sel[i].id, memory_order_release);
	for (uint32_t i = n; i < old; i++)
		atomic_store_explicit(&l[i], HNSW_EMPTY, memory_order_release);
}
/* Diverse selection: a candidate is taken when no taken one is nearer to it than the node itself is.  Done taken by taken: each
 * one strikes out, in one batch, the later candidates it is nearer to. */
uint32_t hnsw_select(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, const struct hnsw_cand *cand,
        uint32_t n, uint32_t most, struct hnsw_cand *ret)
{
	struct hnsw_scorer s;
	uint32_t taken = 0;
	/* w->wr->alive: indices of candidates not struck out, in order */
	for (uint32_t left = hnsw_thin(ix, v, w, cand, n); left && taken < most;) {
		struct hnsw_cand c = cand[w->wr->alive[0]];
		uint32_t kept = 0;
		ret[taken++] = c;
		if (taken == most || left == 1)
			break;
		codes_node(ix, v, &s, c.id, w->qf2, w->qe2);
		for (uint32_t at = 1; at < left; at += HNSW_BATCH) {
			uint32_t run = left - at < HNSW_BATCH ? left - at : HNSW_BATCH;
			for (uint32_t i = 0; i < run; i++)
				w->ids[i] = cand[w->wr->alive[at + i]].id;
			codes_score(&s, w->ids, run, w->dist);
			for (uint32_t i = 0; i < run; i++)
				if (!(w->dist[i] < cand[w->wr->alive[at + i]].d))
					w->wr->alive[kept++] = w->wr->alive[at + i];
		}
		left = kept;
	}
	return taken;
}
void hnsw_reselect(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t level,
        struct hnsw_cand *cand, uint32_t n, uint32_t dropped)
{
	hnsw_link *l = hnsw_links(v, row, level);
	uint32_t most = level ? v->M : v->M0;
	hnsw_sort(cand, n);
	uint32_t taken = hnsw_select(ix, v, w, cand, n, most, w->wr->keep);
	if (!level) {
		uint32_t old = hnsw_link_n(l, most);
		for (uint32_t i = 0; i < old; i++) {
			uint32_t id = atomic_load_explicit(&l[i], memory_order_relaxed), j = 0;
			if (id == dropped || indeg_get(ix, id) > HNSW_INDEG_LEAST)
				continue;
			while (j < taken && w->wr->keep[j].id != id)
				j++;
			if (j < taken)
				continue;
			/* the last link to id: it stays, at the end or in the place of the farthest that others point at too */
			if (taken < most) {
				w->wr->keep[taken++] = (struct hnsw_cand){INFINITY, id};
				continue;
			}
			for (j = taken; j-- > 0;) {
				if (indeg_get(ix, w->wr->keep[j].id) > HNSW_INDEG_LEAST) {
					w->wr->keep[j].id = id;
					break;
				}
			}
		}
	}
	hnsw_set_links(ix, v, row, level, w->wr->keep, taken);
}
/* y links to x: free room first, else y chooses again */
static void link_back(
        struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t y, uint32_t x, uint32_t level)
{
	uint32_t most = level ? v->M : v->M0;
	hnsw_node_lock(ix, y);
	hnsw_link *l = hnsw_links(v, y, level);
	uint32_t n = hnsw_link_n(l, most);
	for (uint32_t i = 0; i < n; i++) {
		if (atomic_load_explicit(&l[i], memory_order_relaxed) == x) {
			hnsw_node_unlock(ix, y);
			return;
		}
	}
	if (n < most) {
		if (!level)
			hnsw_indeg_add(ix, x);
		atomic_store_explicit(&l[n], x, memory_order_release);
	} else {
		struct hnsw_scorer s;
		codes_node(ix, v, &s, y, w->qf, w->qe);
		for (uint32_t i = 0; i < n; i++)
			w->ids[i] = atomic_load_explicit(&l[i], memory_order_relaxed);
		w->ids[n] = x;
		codes_score(&s, w->ids, n + 1, w->dist);
		for (uint32_t i = 0; i <= n; i++)
			w->wr->cand[i] = (struct hnsw_cand){w->dist[i], w->ids[i]};
		hnsw_reselect(ix, v, w, y, level, w->wr->cand, n + 1, HNSW_EMPTY);
	}
	hnsw_node_unlock(ix, y);
}
/* hnsw_force_link - x becomes a level-0 link of y even if y would not choose it: in the place of the last that can spare it. */
bool hnsw_force_link(struct index *ix, const struct hnsw_view *v, uint32_t y, uint32_t x)
{
	hnsw_link *l = hnsw_links0(v, y);
	bool done = false;
	hnsw_node_lock(ix, y);
	uint32_t n = hnsw_link_n(l, v->M0);
	for (uint32_t i = 0; i < n && !done; i++)
		done = atomic_load_explicit(&l[i], memory_order_relaxed) == x;
	if (!done && n < v->M0) {
		hnsw_indeg_add(ix, x);
		atomic_store_explicit(&l[n], x, memory_order_release);
		done = true;
	}
	for (uint32_t i = 2 * n; !done && i-- > 0;) { /* at first of those that others would keep anyway */
		uint32_t at = i < n ? i : i - n, old = atomic_load_explicit(&l[at], memory_order_relaxed);
		if (indeg_get(ix, old) <= (i < n ? 1 : HNSW_INDEG_LEAST))
			continue;
		hnsw_indeg_add(ix, x);
		hnsw_indeg_sub(ix, old);
		atomic_store_explicit(&l[at], x, memory_order_release);
		done = true;
	}
	hnsw_node_unlock(ix, y);
	return done;
}
static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	return x ^ x >> 31;
}
/* (0, 1]; it depends on seed and row alone, so a build gives the same levels with any number of threads */
static double draw(const struct index *ix, uint32_t row)
{
	return ((double)(mix(ix->seed + row * 0x9e3779b97f4a7c15ull) >> 11) + 1.0) * 0x1p-53;
}
static uint32_t draw_level(const struct index *ix, uint32_t row)
{
	double l = -log(draw(ix, row)) * ix->level_mult;
	return l < HNSW_LEVEL_MAX - 1 ? (uint32_t)l : HNSW_LEVEL_MAX - 1;
}
static void raise_entry(struct index *ix, uint32_t row, uint32_t level)
{
	pthread_mutex_lock(&ix->entry_lock);
	uint64_t e = atomic_load_explicit(&ix->entry, memory_order_relaxed);
	if ((uint32_t)e == HNSW_EMPTY || level > (uint32_t)(e >> 32))
		atomic_store_explicit(&ix->entry, row | (uint64_t)level << 32, memory_order_release);
	pthread_mutex_unlock(&ix->entry_lock);
}
static uint32_t add_new(struct hnsw_cand *keep, uint32_t n, uint32_t most, struct hnsw_cand c)
{
	for (uint32_t i = 0; i < n; i++)
		if (keep[i].id == c.id)
			return n;
	if (n < most)
		keep[n++] = c;
	return n;
}
/* w->wr->keep has n links of a new node on level 0, chosen from the pool: those that an early node has beside them */
static uint32_t early_links(
        struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t level, uint32_t n)
{
	struct hnsw_cand *keep = w->wr->keep, *c = w->wr->cand, *far = keep + HNSW_BATCH / 2;
	uint32_t m = 0, most = v->M0 - v->M0 / 8; /* room for links back */
	for (uint32_t i = 0; i < w->pool.n && m < HNSW_CANDS; i++)
		if (draw(ix, w->pool.c[i].id) < EARLY)
			c[m++] = w->pool.c[i];
	m = hnsw_select(ix, v, w, c, m, v->M, far);
	for (uint32_t i = 0; i < m; i++)
		n = add_new(keep, n, most, far[i]);
	hnsw_link *up = level ? hnsw_links(v, row, 1) : NULL;
	for (uint32_t i = 0, k = up ? hnsw_link_n(up, v->M) : 0; i < k; i++) {
		uint32_t id = atomic_load_explicit(&up[i], memory_order_relaxed);
		n = add_new(keep, n, most, (struct hnsw_cand){INFINITY, id});
	}
	return n;
}
/* to w->wr->keep's n links those the row has: that few others have, then the farthest first */
static uint32_t old_links(
        struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t level, uint32_t n)
{
	struct hnsw_scorer s;
	struct hnsw_cand *c = w->wr->cand;
	uint32_t most = level ? v->M : v->M0, had = 0;
	hnsw_link *l = hnsw_links(v, row, level);
	for (; had < most; had++) {
		w->ids[had] = atomic_load_explicit(&l[had], memory_order_relaxed);
		if (w->ids[had] == HNSW_EMPTY)
			break;
	}
	codes_node(ix, v, &s, row, w->qf2, w->qe2);
	codes_score(&s, w->ids, had, w->dist);
	for (uint32_t i = 0; i < had; i++)
		c[i] = (struct hnsw_cand){w->dist[i], w->ids[i]};
	hnsw_sort(c, had);
	for (uint32_t i = 0; !level && i < had; i++)
		if (indeg_get(ix, c[i].id) <= HNSW_INDEG_LEAST)
			n = add_new(w->wr->keep, n, most, c[i]);
	while (had--)
		n = add_new(w->wr->keep, n, most, c[had]);
	return n;
}
/* @hub: of the crowd that the row is one of; HNSW_EMPTY: of none */
static void links_back(
        struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t level, uint32_t hub)
{
	uint32_t most = level ? v->M : v->M0, near[2 * HNSW_M_MAX], n = 0;
	hnsw_link *own = hnsw_links(v, row, level);
	if (hub != HNSW_EMPTY) {
		if (!level && !indeg_get(ix, row))
			hnsw_join(ix, v, hub, row);
		return;
	}
	for (; n < most; n++) {
		near[n] = atomic_load_explicit(&own[n], memory_order_relaxed);
		if (near[n] == HNSW_EMPTY)
			break;
	}
	for (uint32_t i = 0; i < n; i++)
		link_back(ix, v, w, near[i], row, level);
	for (uint32_t i = 0; !level && i < n && !indeg_get(ix, row); i++) {
		hub = hnsw_hub_of(ix, v, row, near[i]);
		if (hub != HNSW_EMPTY)
			hnsw_join(ix, v, hub, row);
	}
	for (uint32_t i = 0; !level && i < n && !indeg_get(ix, row); i++)
		hnsw_force_link(ix, v, near[i], row);
}
/* the row's links on levels @start down to 0, and those back to it; @again: it has some already */
static void link_levels(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t start,
        uint64_t entry, bool again)
{
	struct hnsw_scorer s;
	uint32_t wide = ix->efc < HNSW_DESCENT ? ix->efc : HNSW_DESCENT; /* a pool never holds more than its cap */
	uint32_t hub[HNSW_LEVEL_MAX + 1];
	uint64_t hops = 0;
	bool early = ix->deleted && draw(ix, row) < EARLY;
	codes_query(ix, v, &s, rows_vec(ix->rows, row), w->qf, w->qe);
	hnsw_descend(ix, v, &s, w, entry, start, wide, row);
	for (uint32_t l = start + 1; l-- > 0;) {
		w->pool.cap = l || !early ? ix->efc : EARLY_WIDE * ix->efc;
		hnsw_tags_next(w);
		(void)hnsw_visit(w, row); /* never its own neighbour */
		hnsw_beam_near(ix, v, &s, w, l, &hops);
		w->wr->crowd = HNSW_EMPTY;
		uint32_t n = hnsw_select(ix, v, w, w->pool.c, w->pool.n, v->M, w->wr->keep);
		hub[l] = w->wr->crowd;
		if (hub[l] != HNSW_EMPTY && !hnsw_equal(ix, v, row, hub[l]))
			hub[l] = HNSW_EMPTY;
		if (!l && early)
			n = early_links(ix, v, w, row, start, n);
		if (again && hub[l] != HNSW_EMPTY)
			n = hnsw_own_equals(ix, v, row, l, w->wr->keep, n);
		if (again)
			n = old_links(ix, v, w, row, l, n);
		hnsw_set_links(ix, v, row, l, w->wr->keep, n);
		if (w->pool.n > wide)
			w->pool.n = wide;
	}
	for (uint32_t l = 0; l <= start; l++)
		links_back(ix, v, w, row, l, hub[l]);
}
void hnsw_refresh_row(struct index *ix, struct hnsw_view *v, struct hnsw_work *w, uint32_t row)
{
	uint64_t entry = atomic_load_explicit(&ix->entry, memory_order_relaxed);
	uint32_t level = (atomic_load_explicit(hnsw_meta(v, row), memory_order_relaxed) & HNSW_META_LEVEL) - 1;
	if ((uint32_t)entry != row)
		link_levels(ix, v, w, row, level, entry, true);
}
int hnsw_link_row(struct index *ix, struct hnsw_work *w, uint32_t row)
{
	struct hnsw_view *v = atomic_load(&ix->view);
	uint32_t level = draw_level(ix, row), up = 0;
	VX_TRY(hnsw_view_grow(ix, v, row));
	VX_TRY(hnsw_work_prepare(ix, v, w, EARLY_WIDE * ix->efc));
	if (level)
		VX_TRY(hnsw_up_alloc(ix, v, row, level, &up));
	hnsw_link *l0 = hnsw_links0(v, row);
	for (uint32_t i = 0; i < v->M0; i++)
		atomic_store_explicit(&l0[i], HNSW_EMPTY, memory_order_relaxed);
	atomic_store_explicit(hnsw_indeg(ix, row), 0, memory_order_relaxed);
	atomic_fetch_add_explicit(&ix->clipped, codes_put(ix, v, row, w->qf, w->qe), memory_order_relaxed);
	atomic_fetch_add_explicit(&ix->encoded, ix->dim, memory_order_relaxed);
	atomic_store_explicit(hnsw_meta(v, row), (level + 1) | up << HNSW_META_SHIFT, memory_order_release);

	pthread_mutex_lock(&ix->entry_lock);
	uint64_t entry = atomic_load_explicit(&ix->entry, memory_order_relaxed);
	if ((uint32_t)entry == HNSW_EMPTY)
		atomic_store_explicit(&ix->entry, row | (uint64_t)level << 32, memory_order_release);
	pthread_mutex_unlock(&ix->entry_lock);
	atomic_fetch_add_explicit(&ix->count, 1, memory_order_relaxed);
	if ((uint32_t)entry == HNSW_EMPTY)
		return 0;

	uint32_t top = (uint32_t)(entry >> 32), start = level < top ? level : top;
	link_levels(ix, v, w, row, start, entry, false);
	if (level > top)
		raise_entry(ix, row, level);
	return 0;
}
/* Do rows of late fall outside the range of the codes?  Late are the last thousand: however many went well before, say equal ones, those
 * that come now are linked by codes that tell nothing.  It is seen as soon as the share of a thousand is clipped; later, where codes made
 * anew were no better. */
static bool clips(struct index *ix)
{
	double all = (double)atomic_load_explicit(&ix->encoded, memory_order_relaxed),
	       look = (double)CLIP_LOOK * ix->dim;
	double bad = (double)atomic_load_explicit(&ix->clipped, memory_order_relaxed);
	if (bad > CLIP_SHARE * look * (1u << ix->clip_vain))
		return true;
	if (all <= look)
		return false;
	if (bad > CLIP_SHARE * all)
		return true;
	atomic_store(&ix->clipped, 0);
	atomic_store(&ix->encoded, 0);
	return false;
}
/* codes follow the data: at growing sizes, and when many components fall outside the range */
static int look_at_codes(struct index *ix, const uint32_t *sample, uint32_t n)
{
	uint32_t count = atomic_load(&ix->count);
	if (!count && atomic_load(&ix->part_n))
		return 0; /* those of the part before */
	if (!count) {
		ix->recalibrate_at = n < 64 ? 64 : n * 8 > n ? n * 8 : UINT32_MAX;
		return hnsw_recode(ix, sample, n, true);
	}
	bool clip = clips(ix);
	if (count < ix->recalibrate_at && !clip)
		return 0;
	const struct hnsw_view *before = atomic_load(&ix->view);
	if (count >= ix->recalibrate_at)
		ix->recalibrate_at = count < UINT32_MAX / 8 ? count * 8 : UINT32_MAX;
	atomic_store(&ix->clipped, 0);
	atomic_store(&ix->encoded, 0);
	int rc = hnsw_recode(ix, NULL, 0, false);
	ix->clip_vain = clip && atomic_load(&ix->view) == before && ix->clip_vain < CLIP_VAIN ? ix->clip_vain + 1 : 0;
	if (!rc)
		rc = hnsw_codes_trial(ix);
	return rc == -ENOMEM ? 0 : rc; /* the old codes still serve */
}
int index_insert(struct index *ix, uint32_t row)
{
	struct hnsw_work *w;
	if (row >= atomic_load_explicit(&ix->rows->n, memory_order_acquire) || !rows_vec(ix->rows, row))
		return -EINVAL;
	if (index_linked(ix, row))
		VX_TRY(index_delete(ix, row));
	VX_TRY(hnsw_writable(ix));
	VX_TRY(part_room(ix));
	VX_TRY(look_at_codes(ix, &row, 1));
	VX_TRY(hnsw_writer_take(ix, &w));
	int rc = hnsw_link_row(ix, w, row);
	hnsw_work_put(w);
	return rc ? rc : hnsw_changed(ix);
}
/* hnsw_changed - after a change by the single writer: from time to time nodes that got cut off are linked again. */
int hnsw_changed(struct index *ix)
{
	uint64_t found;
	if (++ix->changes < REPAIR_LEAST || ix->changes < atomic_load(&ix->count) / REPAIR_SHARE)
		return 0;
	int rc = index_repair(ix, &found);
	if (!rc && ix->deleted_n > atomic_load(&ix->count) / TRIAL_SHARE)
		rc = hnsw_descent_trial(ix);
	return rc == -ENOMEM ? 0 : rc; /* it was housekeeping; the change itself is done */
}
int index_update(struct index *ix, uint32_t row)
{
	return index_insert(ix, row); /* which unlinks what is there */
}

/* --- build --- */
struct build {
	struct index *ix;
	const uint32_t *rows;
	uint32_t n;
	_Atomic uint32_t next;
	const _Atomic int *stop;
	_Atomic int rc;
};
static void build_thread(void *arg)
{
	struct build *b = arg;
	struct hnsw_work *w;
	int rc = hnsw_writer_take(b->ix, &w);
	bool taken = !rc;
	while (!rc && !atomic_load_explicit(&b->rc, memory_order_relaxed)) {
		if (b->stop && atomic_load_explicit(b->stop, memory_order_relaxed))
			break;
		uint32_t i = atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed);
		if (i >= b->n)
			break;
		if (!index_linked(b->ix, b->rows[i]))
			rc = hnsw_link_row(b->ix, w, b->rows[i]);
		if (!(i % TRIM_LINKS))
			trim_poll(); /* the stored vectors were read by their map */
	}
	if (taken)
		hnsw_work_put(w);
	if (rc)
		atomic_store(&b->rc, rc);
}
static int build_run(struct build *b, uint32_t threads)
{
	uint32_t started = 0;
	if (threads == 1 || b->n - atomic_load(&b->next) < 256) {
		build_thread(b);
		return atomic_load(&b->rc);
	}
	struct thread *t = mem_zalloc(MEM_index_work, threads * sizeof(*t));
	pthread_mutex_t *lock = mem_alloc(MEM_index_work, HNSW_LOCKS * sizeof(*lock));
	if (!t || !lock) {
		mem_free(MEM_index_work, t);
		mem_free(MEM_index_work, lock);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < HNSW_LOCKS; i++)
		pthread_mutex_init(&lock[i], NULL);
	b->ix->node_lock = lock;
	b->ix->parallel = true;
	for (; started < threads; started++)
		if (thread_start(&t[started], "vx-build", BUILD_STACK, build_thread, b))
			break;
	if (!started)
		build_thread(b);
	for (uint32_t i = 0; i < started; i++)
		thread_join(&t[i]);
	b->ix->parallel = false;
	b->ix->node_lock = NULL;
	for (uint32_t i = 0; i < HNSW_LOCKS; i++)
		pthread_mutex_destroy(&lock[i]);
	mem_free(MEM_index_work, lock);
	mem_free(MEM_index_work, t);
	return atomic_load(&b->rc);
}
static int build_part(struct index *ix, const uint32_t *rows, uint32_t n, uint32_t threads, const _Atomic int *stop)
{
	struct build b = {.ix = ix, .rows = rows, .stop = stop};
	uint32_t rows_n = atomic_load_explicit(&ix->rows->n, memory_order_acquire);
	for (uint32_t i = 0; i < n; i++)
		if (rows[i] >= rows_n || !rows_vec(ix->rows, rows[i]))
			return -EINVAL;
	VX_TRY(hnsw_writable(ix));
	VX_TRY(part_room(ix));
	VX_TRY(look_at_codes(ix, rows, n));
	threads = threads < 1 ? 1 : threads > HNSW_WRITERS_MAX ? HNSW_WRITERS_MAX : threads;
	/* codes are put to the trial on the first rows, when changing them is cheap, and again on all */
	if (n > 2 * TRIAL_ROWS && atomic_load(&ix->count) < TRIAL_ROWS) {
		b.n = TRIAL_ROWS;
		VX_TRY(build_run(&b, threads));
		VX_TRY(hnsw_codes_trial(ix));
		atomic_store(&b.next, b.n); /* threads ran past the end */
	}
	b.n = n;
	VX_TRY(build_run(&b, threads));
	uint64_t found;
	VX_TRY(hnsw_codes_trial(ix));
	VX_TRY(index_repair(ix, &found));
	return hnsw_descent_trial(ix);
}
int index_build(struct index *ix, const uint32_t *rows, uint32_t n, uint32_t threads, const _Atomic int *stop)
{
	uint32_t run = ix->part_bytes ? PART_RUN : n;
	int rc = 0;
	for (uint32_t at = 0; at < n && !rc && !(stop && atomic_load_explicit(stop, memory_order_relaxed)); at += run)
		rc = build_part(ix, rows + at, n - at < run ? n - at : run, threads, stop);
	return rc;
}
