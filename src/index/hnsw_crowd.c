/* hnsw_crowd.c - equal vectors by the thousand: duplicates, empty texts, blank pictures.
 *
 * Between equals no distance tells near from far, so none covers another and none is nearer than the next: left to the ordinary rules
 * they fill each other's links and every pool a search keeps, and what lies beside them is cut off or never seen.  So:
 *
 * - A selection takes at most a quarter of M nodes that are equal to each other, those first that most links point at: these are
 *   the crowd's hubs, and whoever comes to the crowd comes to them.
 * - A search for neighbours that meets more of them keeps a few and passes by the rest (hnsw_search.c), so that a new node of the crowd,
 *   or beside it, has links to others in all directions, as if the crowd were one.
 * - A new member asks for no links back: it is put into a chain, linked both ways, that begins at a hub.  The chain takes one place in
 *   a hub's row however long it is; a member that goes is found at once, for it leads to both who lead to it.
 * - Where a member is deleted, another takes its place: in the links of those that led to it, and with those that it led to.
 *
 * Equal are nodes whose codes are: by these alone the graph goes.  Bytes are compared where distances are the same to the last bit, and
 * only there, so that ordinary sets, which have few such, pay nothing. */
#include <string.h>
#include "index/hnsw.h"

#define CROWD_OVER 8u /* more than are kept, before the rest is passed by */

bool hnsw_equal(const struct index *ix, const struct hnsw_view *v, uint32_t a, uint32_t b)
{
	const struct codes *c = &v->codes;
	if (c->bytes)
		return *hnsw_a(v, a) == *hnsw_a(v, b) &&
		       !memcmp(hnsw_block(v, a) + v->off_code, hnsw_block(v, b) + v->off_code, c->bytes);
	const void *x = rows_vec(ix->rows, a), *y = rows_vec(ix->rows, b);
	return x && y && !memcmp(x, y, rows_vec_bytes(ix->rows->dim, ix->rows->dtype));
}
uint32_t hnsw_crowd_most(const struct hnsw_view *v)
{
	return v->M < 8 ? 2 : v->M / 4;
}
static uint32_t indeg_of(const struct index *ix, uint32_t id)
{
	return atomic_load_explicit(hnsw_indeg(ix, id & ~HNSW_SEEN), memory_order_relaxed);
}
/* of the places [from, to) the `most` whose nodes most links point at, best first */
static void best_of(
        const struct index *ix, const struct hnsw_cand *c, uint32_t from, uint32_t to, uint32_t most, uint16_t *ret)
{
	uint32_t n = 0;
	for (uint32_t i = from; i < to; i++) {
		uint32_t d = indeg_of(ix, c[i].id), at = n < most ? n++ : most;
		for (; at && d > indeg_of(ix, c[ret[at - 1]].id); at--)
			if (at < most)
				ret[at] = ret[at - 1];
		if (at < most)
			ret[at] = (uint16_t)i;
	}
}
uint32_t hnsw_thin(const struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, const struct hnsw_cand *cand,
        uint32_t n)
{
	uint32_t left = 0, most = hnsw_crowd_most(v), half = most / 2;
	uint16_t *ret = w->wr->alive;
	bool ties = false; /* more than `most` in a row: so two of these are */
	for (uint32_t i = 0; i + half < n; i += half)
		ties |= cand[i].d == cand[i + half].d;
	if (!ties) {
		for (uint32_t i = 0; i < n; i++)
			ret[i] = (uint16_t)i;
		return n;
	}
	for (uint32_t i = 0, e; i < n; i = e) {
		e = i + 1;
		while (e < n && cand[e].d == cand[i].d && hnsw_equal(ix, v, cand[i].id, cand[e].id))
			e++;
		if (e - i <= most) {
			for (uint32_t j = i; j < e; j++)
				ret[left++] = (uint16_t)j;
			continue;
		}
		best_of(ix, cand, i, e, most, ret + left);
		if (w->wr->crowd == HNSW_EMPTY)
			w->wr->crowd = cand[ret[left]].id;
		left += most;
	}
	return left;
}
static bool passed(const struct index *ix, const struct hnsw_view *v, const struct hnsw_work *w, float d, uint32_t id)
{
	for (uint32_t i = 0; i < w->passed_n; i++)
		if (d == w->passed[i].d && hnsw_equal(ix, v, w->passed[i].id, id))
			return true;
	return false;
}
uint32_t hnsw_drop_passed(const struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t n)
{
	uint32_t left = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (passed(ix, v, w, w->dist[i], w->ids[i]))
			continue;
		w->dist[left] = w->dist[i];
		w->ids[left++] = w->ids[i];
	}
	return left;
}
static bool all_equal(const struct index *ix, const struct hnsw_view *v, const struct hnsw_cand *c, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
		if (!hnsw_equal(ix, v, c[0].id & ~HNSW_SEEN, c[i].id & ~HNSW_SEEN))
			return false;
	return true;
}
/* Of the pool's places [from, to) `keep` stay: the hubs for a writer.  A search does not know them; whoever it has not expanded yet may be
 * one, so of these as many again. */
static void pool_keep(const struct index *ix, struct hnsw_pool *p, uint32_t from, uint32_t to, uint32_t keep, bool hubs)
{
	uint16_t best[HNSW_M_MAX / 2];
	uint32_t n = from;
	if (hubs)
		best_of(ix, p->c, from, to, keep, best);
	for (uint32_t i = from, open = 0; i < to; i++) {
		bool stays = !hubs && n < from + keep;
		for (uint32_t k = 0; hubs && k < keep && !stays; k++)
			stays = best[k] == i;
		if (!hubs && !stays && !(p->c[i].id & HNSW_SEEN))
			stays = open++ < keep;
		if (stays)
			p->c[n++] = p->c[i];
	}
	memmove(&p->c[n], &p->c[to], (p->n - to) * sizeof(p->c[0]));
	p->n -= to - n;
	p->next = p->next < from ? p->next : from;
}
uint32_t hnsw_pass_by(const struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t keep, bool hubs)
{
	struct hnsw_pool *p = &w->pool;
	uint32_t half = (keep + CROWD_OVER) / 2;
	for (uint32_t i = 0, from, to; i + half < p->n && w->passed_n < HNSW_PASSED; i = to) {
		to = i + half;
		if (p->c[i].d != p->c[to].d)
			continue;
		for (from = i; from && p->c[from - 1].d == p->c[i].d;)
			from--;
		while (to < p->n && p->c[to].d == p->c[i].d)
			to++;
		/* a tie need not be a crowd: bits differ in many ways */
		if (to - from < 2 * half || !all_equal(ix, v, p->c + from, to - from))
			continue;
		w->passed[w->passed_n++] = (struct hnsw_cand){p->c[from].d, p->c[from].id & ~HNSW_SEEN};
		uint32_t had = p->n;
		pool_keep(ix, p, from, to, keep, hubs);
		to -= had - p->n;
	}
	return w->passed_n;
}
/* the last link of a row that leads to one equal to x, and how many do; HNSW_EMPTY: none */
static uint32_t last_equal(
        const struct index *ix, const struct hnsw_view *v, const hnsw_link *l, uint32_t n, uint32_t x, uint32_t *ret_n)
{
	uint32_t at = HNSW_EMPTY;
	*ret_n = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (hnsw_equal(ix, v, x, atomic_load_explicit(&l[i], memory_order_relaxed))) {
			at = i;
			++*ret_n;
		}
	}
	return at;
}
bool hnsw_leads_to(const hnsw_link *l, uint32_t most, uint32_t id)
{
	for (uint32_t i = 0; i < most; i++) {
		uint32_t to = atomic_load_explicit(&l[i], memory_order_relaxed);
		if (to == id || to == HNSW_EMPTY)
			return to == id;
	}
	return false;
}
static bool append(struct index *ix, const struct hnsw_view *v, uint32_t y, uint32_t x)
{
	hnsw_link *l = hnsw_links0(v, y);
	hnsw_node_lock(ix, y);
	uint32_t n = hnsw_link_n(l, v->M0);
	bool there = hnsw_leads_to(l, n, x);
	if (!there && n < v->M0) {
		hnsw_indeg_add(ix, x);
		atomic_store_explicit(&l[n], x, memory_order_release);
		there = true;
	}
	hnsw_node_unlock(ix, y);
	return there;
}
void hnsw_join(struct index *ix, const struct hnsw_view *v, uint32_t y, uint32_t x)
{
	hnsw_link *l = hnsw_links0(v, y);
	uint32_t equals, n, at, next = HNSW_EMPTY;
	hnsw_node_lock(ix, y);
	n = hnsw_link_n(l, v->M0);
	bool there = hnsw_leads_to(l, n, x);
	at = last_equal(ix, v, l, n, x, &equals);
	if (at != HNSW_EMPTY)
		next = atomic_load_explicit(&l[at], memory_order_relaxed);
	hnsw_node_unlock(ix, y);
	if (there)
		return;
	if (equals >= hnsw_crowd_most(v) && append(ix, v, x, next)) {
		bool done = false;
		hnsw_node_lock(ix, y);
		if (atomic_load_explicit(&l[at], memory_order_relaxed) == next) {
			hnsw_indeg_add(ix, x);
			hnsw_indeg_sub(ix, next);
			atomic_store_explicit(&l[at], x, memory_order_release);
			done = true;
		}
		hnsw_node_unlock(ix, y);
		(void)append(ix, v, next, x); /* back along the chain, where there is room */
		if (done)
			return;
	}
	if (!append(ix, v, y, x))
		(void)hnsw_force_link(ix, v, y, x); /* what nobody can spare stays: index_repair finds x another */
}
uint32_t hnsw_hub(const struct index *ix, const struct hnsw_view *v, uint32_t x, const uint32_t *ids, uint32_t n)
{
	uint32_t best = HNSW_EMPTY;
	for (uint32_t i = 0; i < n; i++)
		if (ids[i] != x && hnsw_equal(ix, v, x, ids[i]) &&
		        (best == HNSW_EMPTY || indeg_of(ix, ids[i]) > indeg_of(ix, best)))
			best = ids[i];
	return best;
}
uint32_t hnsw_hub_of(const struct index *ix, const struct hnsw_view *v, uint32_t x, uint32_t y)
{
	uint32_t ids[2 * HNSW_M_MAX], n = 0;
	hnsw_link *l = hnsw_links0(v, y);
	for (; n < v->M0; n++) {
		ids[n] = atomic_load_explicit(&l[n], memory_order_relaxed);
		if (ids[n] == HNSW_EMPTY)
			break;
	}
	return hnsw_equal(ix, v, x, y) ? y : hnsw_hub(ix, v, x, ids, n);
}
uint32_t hnsw_own_equals(const struct index *ix, const struct hnsw_view *v, uint32_t x, uint32_t level,
        struct hnsw_cand *keep, uint32_t n)
{
	uint32_t most = level ? v->M : v->M0, left = 0, m = 0, own[2 * HNSW_M_MAX];
	hnsw_link *l = hnsw_links(v, x, level);
	for (uint32_t i = 0, had = hnsw_link_n(l, most); i < had && m < most / 2; i++) {
		own[m] = atomic_load_explicit(&l[i], memory_order_relaxed);
		m += hnsw_equal(ix, v, x, own[m]);
	}
	for (uint32_t i = 0; i < n; i++)
		if (!hnsw_equal(ix, v, x, keep[i].id))
			keep[left++] = keep[i];
	memmove(keep + m, keep, left * sizeof(*keep));
	for (uint32_t i = 0; i < m; i++)
		keep[i] = (struct hnsw_cand){0, own[i]};
	return left + m < most ? left + m : most;
}
