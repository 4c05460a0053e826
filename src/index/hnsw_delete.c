/* hnsw_delete.c - unlinking rows and mending what they held together.
 *
 * Every node that links to a dying row chooses another link in that one's place among the row's own links, and, where those are
 * dying too, among the links of these: the nearest that its other links do not cover, else the one nearest to the row, so that a
 * link from afar still leads to where it led.  A node to which the row alone leads among its neighbours is handed to the first of
 * them that has room, and the rows' nearest neighbours look for links once more as if they were new: what a neighbourhood knows
 * does not make up for what it loses, and a search would get across less and less.  Neighbours that nothing points at afterwards
 * get a link forced from their nearest one.  If the entry point dies, the highest node left takes its place.  The rows' own links
 * stay until no reader can stand on them; then their blocks may be used again.
 *
 * Who links to a row is not written anywhere.  For one row, or a few, the nodes are looked for among its neighbours and theirs: a
 * thousand link rows; on level 0 the in-degree says whether all were found, and two times in three they were.  Else those that a search from
 * the row comes upon are looked at, one for every 256 rows there are, and most of what is left is found.  Else, and for many rows in any
 * case, one pass over all link rows finds the nodes that lead to any of them: a bit a row says which are dying, 25 KB of bits for 200,000
 * rows.  So it pays to delete many at once.  Upper levels have no in-degree: their link rows are all looked through. */
#include <string.h>
#include "index/hnsw.h"

#define NEAR_MOST   4u /* rows whose neighbours are looked at first */
#define NEAR_LOOKS  4096u /* what that costs a row at most, in rows of a pass */
#define LOOK_NOW    (UINT32_MAX / 2) /* so many changes that it is time to look at reachability */
#define WIDE_SHARE  256u /* of the rows: as many nodes are looked at before all are, */
#define WIDE_LEAST  64u /* if that is worth a walk, */
#define WIDE_MOST   16u /* times ef_construction, */
#define WIDE_LINKS  64u /* and few links are left to find */
#define HUB_LEAST   64u /* links that point at a hub, and a share of all nodes */
#define HUB_SHARE   16u
#define REFRESHED   2u /* neighbours of a dying row that look for links anew; one, where many rows go at once */
#define CHAIN_LEAST 2u /* links to one of a crowd: from before and from behind */
#define THROUGH     16u /* dying rows looked through for living ones */

static bool dying(const struct index *ix, uint32_t row)
{
	return ix->dying[row >> 6] >> (row & 63) & 1;
}
static bool links_to_dying(const struct index *ix, const hnsw_link *l, uint32_t most)
{
	for (uint32_t i = 0; i < most; i++) {
		uint32_t to = atomic_load_explicit(&l[i], memory_order_relaxed);
		if (to == HNSW_EMPTY)
			return false;
		if (dying(ix, to))
			return true;
	}
	return false;
}
static bool among(const uint32_t *ids, uint32_t n, uint32_t id)
{
	for (uint32_t i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}
/* w->wr->outs: the living nodes that a dying row leads to on a level; while they are few, those behind dying ones too */
static uint32_t outs_of(
        const struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t level)
{
	uint32_t most = level ? v->M : v->M0, n = 0, via[THROUGH] = {row}, via_n = 1, *outs = w->wr->outs;
	for (uint32_t at = 0; at < via_n && (!at || n < v->M); at++) {
		hnsw_link *l = hnsw_links(v, via[at], level);
		for (uint32_t i = 0; i < most; i++) {
			uint32_t to = atomic_load_explicit(&l[i], memory_order_relaxed);
			if (to == HNSW_EMPTY)
				break;
			if (!dying(ix, to)) {
				if (n < HNSW_BATCH && !(at && among(outs, n, to)))
					outs[n++] = to;
			} else if (via_n < THROUGH && !among(via, via_n, to)) {
				via[via_n++] = to;
			}
		}
	}
	return n;
}
/* Of n scored candidates the nearest that no link of x covers. HNSW_EMPTY: all are. */
static uint32_t choose(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, const struct hnsw_cand *c,
        uint32_t n, const struct hnsw_cand *own, uint32_t own_n)
{
	struct hnsw_scorer s;
	for (uint32_t i = 0; i < n; i++) {
		bool covered = false;
		codes_node(ix, v, &s, c[i].id, w->qf2, w->qe2);
		for (uint32_t j = 0; j < own_n; j++)
			w->ids[j] = own[j].id;
		codes_score(&s, w->ids, own_n, w->dist);
		for (uint32_t j = 0; j < own_n && !covered; j++)
			covered = w->dist[j] < c[i].d;
		if (!covered)
			return c[i].id;
	}
	return HNSW_EMPTY;
}
/* The one equal to a dying row that x links in its place: for one of the crowd itself the next of the chain, which it does not have yet;
 * for another the hub, if it has none of the crowd.  HNSW_EMPTY: none. */
static uint32_t in_place_of(const struct index *ix, const struct hnsw_view *v, const struct hnsw_work *w, uint32_t row,
        uint32_t x, uint32_t outs_n, uint32_t own)
{
	const uint32_t *outs = w->wr->outs;
	uint32_t hub = hnsw_hub(ix, v, row, outs, outs_n), best = HNSW_EMPTY;
	if (hub == HNSW_EMPTY)
		return hub;
	bool inside = hnsw_equal(ix, v, row, x);
	for (uint32_t j = 0; !inside && j < own; j++)
		if (hnsw_equal(ix, v, row, w->wr->keep[j].id))
			return HNSW_EMPTY;
	for (uint32_t k = 0; inside && k < outs_n; k++) {
		bool have = outs[k] == x || !hnsw_equal(ix, v, row, outs[k]);
		for (uint32_t j = 0; j < own && !have; j++)
			have = w->wr->keep[j].id == outs[k];
		if (!have && (best == HNSW_EMPTY || *hnsw_indeg(ix, outs[k]) < *hnsw_indeg(ix, best)))
			best = outs[k];
	}
	return inside ? best : hub;
}
/* x drops its links to dying rows and takes another in the place of each.  Its other links stay: choosing all of them again would
 * thin the graph out with every deletion. */
static void mend(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t x, uint32_t level)
{
	struct hnsw_scorer s;
	uint32_t most = level ? v->M : v->M0, own = 0;
	hnsw_link *l = hnsw_links(v, x, level);
	struct hnsw_cand *c = w->wr->cand, *sel = w->wr->keep;
	uint32_t had = hnsw_link_n(l, most);
	for (uint32_t i = 0; i < had; i++) {
		uint32_t to = atomic_load_explicit(&l[i], memory_order_relaxed);
		if (!dying(ix, to))
			sel[own++].id = to;
	}
	codes_node(ix, v, &s, x, w->qf, w->qe);
	for (uint32_t i = 0; i < had; i++) {
		uint32_t row = atomic_load_explicit(&l[i], memory_order_relaxed), n = 0;
		if (!dying(ix, row))
			continue;
		uint32_t outs_n = outs_of(ix, v, w, row, level), other;
		if (!outs_n)
			ix->changes = LOOK_NOW; /* all around it is dying: what lies behind may be cut off */
		if ((other = in_place_of(ix, v, w, row, x, outs_n, own)) != HNSW_EMPTY) {
			sel[own++].id = other;
			continue;
		}
		for (uint32_t k = 0; k < outs_n; k++) {
			uint32_t to = w->wr->outs[k];
			bool have = to == x;
			for (uint32_t j = 0; j < own && !have; j++)
				have = sel[j].id == to;
			if (!have)
				w->ids[n++] = to;
		}
		if (!n)
			continue;
		uint32_t beside = w->ids[0]; /* link rows begin with the nearest */
		codes_score(&s, w->ids, n, w->dist);
		for (uint32_t k = 0; k < n; k++)
			c[k] = (struct hnsw_cand){w->dist[k], w->ids[k]};
		hnsw_sort(c, n);
		uint32_t add = choose(ix, v, w, c, n, sel, own);
		sel[own++].id = add == HNSW_EMPTY ? beside : add;
	}
	hnsw_set_links(ix, v, x, level, sel, own);
}
static void mend_near(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t level)
{
	uint32_t most = level ? v->M : v->M0;
	hnsw_link *out = hnsw_links(v, row, level);
	uint64_t looked = 0;
	hnsw_tags_next(w);
	for (uint32_t i = 0; i < most; i++) {
		uint32_t z = atomic_load_explicit(&out[i], memory_order_relaxed);
		if (z == HNSW_EMPTY)
			break;
		hnsw_link *l = hnsw_links(v, z, level);
		for (uint32_t j = 0; j <= most; j++) { /* z's, and z itself: mending it comes last, as it changes l */
			uint32_t y = j < most ? atomic_load_explicit(&l[j], memory_order_relaxed) : z;
			if (y == HNSW_EMPTY) {
				j = most - 1;
				continue;
			}
			if (!hnsw_visit(w, y) || dying(ix, y))
				continue;
			looked++;
			if (links_to_dying(ix, hnsw_links(v, y, level), most))
				mend(ix, v, w, y, level);
		}
	}
	atomic_fetch_add_explicit(&ix->looked, looked, memory_order_relaxed);
}
/* nodes that a search from a dying row looks at for those that lead to it: a share of all, since that is what it may spare */
static uint32_t wide_of(const struct index *ix)
{
	uint32_t n = atomic_load(&ix->rows->n) / WIDE_SHARE, most = WIDE_MOST * ix->efc;
	return n < WIDE_LEAST ? 0 : n < most ? n : most;
}
static void mend_wide(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row)
{
	struct hnsw_scorer s;
	uint64_t hops = 0;
	uint32_t wide = wide_of(ix);
	if (!wide || atomic_load_explicit(hnsw_indeg(ix, row), memory_order_relaxed) > WIDE_LINKS)
		return;
	codes_node(ix, v, &s, row, w->qf, w->qe);
	w->pool.cap = wide;
	w->pool.n = w->pool.next = 0;
	hnsw_offer(&w->pool, 0, row);
	hnsw_tags_next(w);
	(void)hnsw_beam(ix, v, &s, w, 0, 0, NULL, &hops); /* without cancel it cannot fail */
	for (uint32_t i = 0; i < w->pool.n; i++) {
		uint32_t y = w->pool.c[i].id;
		if (!dying(ix, y) && links_to_dying(ix, hnsw_links0(v, y), v->M0))
			mend(ix, v, w, y, 0);
	}
	atomic_fetch_add_explicit(&ix->looked, w->pool.n, memory_order_relaxed);
}
static uint32_t level_of(const struct hnsw_view *v, uint32_t row) /* + 1; 0: not linked */
{
	return atomic_load_explicit(hnsw_meta(v, row), memory_order_relaxed) & HNSW_META_LEVEL;
}
static uint32_t segment_end(uint32_t row) /* the last row of a segment that is not there */
{
	return rows_seg_first(rows_seg(row)) + rows_seg_count(rows_seg(row)) - 1;
}
static bool pointed_at(const struct index *ix, const uint32_t *rows, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (atomic_load_explicit(hnsw_indeg(ix, rows[i]), memory_order_relaxed))
			return true;
	return false;
}
/* one pass over all nodes; @few of these rows: level 0 alone, and only until nothing points at them any more */
static void mend_all(
        struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, const uint32_t *few, uint32_t few_n)
{
	uint32_t n = atomic_load(&ix->rows->n);
	uint64_t looked = 0;
	bool done = false;
	for (uint32_t y = 0; y < n && !done; y++) {
		if (!hnsw_has(v, y)) {
			y = segment_end(y);
			continue;
		}
		uint32_t levels = level_of(v, y);
		looked++;
		if (!levels || dying(ix, y))
			continue;
		for (uint32_t l = few ? 1 : levels; l-- > 0;) {
			if (!links_to_dying(ix, hnsw_links(v, y, l), l ? v->M : v->M0))
				continue;
			mend(ix, v, w, y, l);
			done = few && !pointed_at(ix, few, few_n);
		}
	}
	atomic_fetch_add_explicit(&ix->looked, looked, memory_order_relaxed);
}
/* Link rows of upper levels carry no in-degree: all of them are looked through, 64 bytes for every 15th node. */
static void mend_upper(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w)
{
	uint32_t up = atomic_load(&v->up_n);
	for (uint32_t r = 0; r < up; r++) {
		hnsw_link *l = atomic_load(&v->up[rows_seg(r)]) ? hnsw_up_row(v, r) : NULL;
		if (!l || !links_to_dying(ix, l, v->M))
			continue;
		uint32_t y = *hnsw_up_owner(v, r);
		if (!dying(ix, y))
			mend(ix, v, w, y,
			        r - (atomic_load_explicit(hnsw_meta(v, y), memory_order_relaxed) >> HNSW_META_SHIFT) +
			                1);
	}
	atomic_fetch_add_explicit(&ix->looked, up, memory_order_relaxed);
}
static void new_entry(struct index *ix, const struct hnsw_view *v)
{
	uint32_t n = atomic_load(&ix->rows->n), best = HNSW_EMPTY, best_level = 0;
	for (uint32_t y = 0; y < n; y++) {
		if (!hnsw_has(v, y)) {
			y = segment_end(y);
			continue;
		}
		uint32_t l = level_of(v, y);
		if (l && !dying(ix, y) && (best == HNSW_EMPTY || l - 1 > best_level)) {
			best = y;
			best_level = l - 1;
		}
	}
	atomic_store_explicit(&ix->entry, best | (uint64_t)best_level << 32, memory_order_release);
}
/* one of a crowd that lost a neighbour of the chain; false: no hub is near */
static bool chain_again(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t z)
{
	uint32_t n = 0, hub;
	hnsw_link *l = hnsw_links0(v, z);
	for (uint32_t j = 0; j < v->M0; j++) {
		uint32_t y = atomic_load_explicit(&l[j], memory_order_relaxed);
		if (y == HNSW_EMPTY)
			break;
		if (!dying(ix, y))
			w->ids[n++] = y;
	}
	if ((hub = hnsw_hub(ix, v, z, w->ids, n)) == HNSW_EMPTY)
		return false;
	if (atomic_load(hnsw_indeg(ix, z)) < CHAIN_LEAST)
		hnsw_join(ix, v, hub, z);
	return atomic_load(hnsw_indeg(ix, z));
}
/* what a dying row pointed at and little else does gets links from its own neighbours. false: none of them has room, as all hold the
 * last link to somebody: so it is where many vectors are equal, and a few nodes lead to all others */
static bool adopt(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row)
{
	hnsw_link *out = hnsw_links0(v, row);
	bool ok = true;
	for (uint32_t i = 0; i < v->M0; i++) {
		uint32_t z = atomic_load_explicit(&out[i], memory_order_relaxed);
		if (z == HNSW_EMPTY)
			break;
		hnsw_link *l = hnsw_links0(v, z);
		bool chained = !dying(ix, z) && hnsw_equal(ix, v, row, z) && chain_again(ix, v, w, z);
		for (uint32_t j = 0;
		        !chained && !dying(ix, z) && j < v->M0 && atomic_load(hnsw_indeg(ix, z)) < HNSW_INDEG_LEAST;
		        j++) {
			uint32_t y = atomic_load_explicit(&l[j], memory_order_relaxed);
			if (y == HNSW_EMPTY)
				break;
			if (!dying(ix, y))
				hnsw_force_link(ix, v, y, z);
		}
		ok &= dying(ix, z) || atomic_load(hnsw_indeg(ix, z));
	}
	return ok;
}
/* a node that none of a dying row's other neighbours leads to is linked by the first of them that has room */
static void hand_over(struct index *ix, const struct hnsw_view *v, uint32_t row, uint32_t level)
{
	uint32_t most = level ? v->M : v->M0, n = 0, ids[2 * HNSW_M_MAX];
	hnsw_link *out = hnsw_links(v, row, level);
	for (uint32_t i = 0, k = hnsw_link_n(out, most); i < k; i++) {
		uint32_t to = atomic_load_explicit(&out[i], memory_order_relaxed);
		if (!dying(ix, to))
			ids[n++] = to;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t heir = HNSW_EMPTY;
		bool other = false;
		for (uint32_t j = 0; j < n && !other; j++) {
			if (j == i)
				continue;
			const hnsw_link *l = hnsw_links(v, ids[j], level);
			other = hnsw_leads_to(l, most, ids[i]);
			if (heir == HNSW_EMPTY && hnsw_link_n(l, most) < most)
				heir = ids[j];
		}
		if (other || heir == HNSW_EMPTY)
			continue;
		hnsw_link *l = hnsw_links(v, heir, level);
		if (level)
			atomic_store_explicit(&l[hnsw_link_n(l, most)], ids[i], memory_order_release);
		else
			(void)hnsw_force_link(ix, v, heir, ids[i]);
	}
}
/* The hub among a dying row's equals leads to where the row led: it is there that others come to the crowd, and from there that they go on.
 * Return whether there is one. */
static bool inherit(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t level)
{
	uint32_t most = level ? v->M : v->M0, outs_n = outs_of(ix, v, w, row, level), n = 0;
	uint32_t hub = hnsw_hub(ix, v, row, w->wr->outs, outs_n);
	struct hnsw_cand *c = w->wr->cand;
	struct hnsw_scorer s;
	if (hub == HNSW_EMPTY)
		return false;
	hnsw_link *l = hnsw_links(v, hub, level);
	uint32_t had = hnsw_link_n(l, most);
	for (; n < had; n++)
		w->ids[n] = atomic_load_explicit(&l[n], memory_order_relaxed);
	for (uint32_t i = 0; i < outs_n && n < HNSW_BATCH; i++)
		if (!among(w->ids, n, w->wr->outs[i]) && !hnsw_equal(ix, v, row, w->wr->outs[i]))
			w->ids[n++] = w->wr->outs[i];
	if (n == had)
		return true;
	codes_node(ix, v, &s, hub, w->qf, w->qe);
	codes_score(&s, w->ids, n, w->dist);
	for (uint32_t i = 0; i < n; i++)
		c[i] = (struct hnsw_cand){w->dist[i], w->ids[i]};
	if (n <= most)
		hnsw_set_links(ix, v, hub, level, c, n);
	else
		hnsw_reselect(ix, v, w, hub, level, c, n, HNSW_EMPTY);
	return true;
}
static void mend_for(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, const uint32_t *rows, uint32_t n)
{
	bool upper = false;
	if (n > NEAR_MOST || (uint64_t)n * NEAR_LOOKS > atomic_load(&ix->rows->n)) {
		mend_all(ix, v, w, NULL, 0);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint32_t levels = level_of(v, rows[i]);
		upper |= levels > 1;
		for (uint32_t l = levels; l-- > 0;)
			mend_near(ix, v, w, rows[i], l);
	}
	if (upper)
		mend_upper(ix, v, w);
	for (uint32_t i = 0; i < n; i++)
		if (pointed_at(ix, rows + i, 1))
			mend_wide(ix, v, w, rows[i]);
	if (pointed_at(ix, rows, n))
		mend_all(ix, v, w, rows, n);
}
/* The repair above knows a neighbourhood; the nodes nearest to a dying row look for links once more as if they were new. */
static void refresh_near(struct index *ix, struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t most)
{
	uint64_t *done = ix->dying + ix->dying_words;
	hnsw_link *out = hnsw_links0(v, row);
	for (uint32_t i = 0, n = 0; i < v->M0 && n < most; i++) {
		uint32_t to = atomic_load_explicit(&out[i], memory_order_relaxed);
		if (to == HNSW_EMPTY)
			break;
		if (dying(ix, to) || (done[to >> 6] >> (to & 63) & 1))
			continue;
		hnsw_refresh_row(ix, v, w, to);
		done[to >> 6] |= 1ull << (to & 63);
		n++;
	}
}
/* take linked rows out of this graph; their bits are set */
static void take_out(struct index *ix, struct hnsw_view *v, struct hnsw_work *w, const uint32_t *rows, uint32_t n)
{
	ix->deleted = true;
	for (uint32_t i = 0; i < n; i++) /* a hub: of a crowd of equals, say, that hangs on it */
		if (atomic_load(hnsw_indeg(ix, rows[i])) > HUB_LEAST + atomic_load(&ix->count) / HUB_SHARE)
			ix->changes = LOOK_NOW;
	for (uint32_t i = 0; i < n; i++) { /* from here on in-degrees count the links of living nodes */
		hnsw_link *l = hnsw_links0(v, rows[i]);
		for (uint32_t j = 0, m = hnsw_link_n(l, v->M0); j < m; j++)
			hnsw_indeg_sub(ix, atomic_load_explicit(&l[j], memory_order_relaxed));
	}
	mend_for(ix, v, w, rows, n);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t l = level_of(v, rows[i]); l-- > 0;)
			if (inherit(ix, v, w, rows[i], l) && n > 1)
				ix->changes = LOOK_NOW; /* a length of the chain may have gone */
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t l = level_of(v, rows[i]); l-- > 0;)
			hand_over(ix, v, rows[i], l);
	for (uint32_t i = 0; i < n; i++)
		if (!adopt(ix, v, w, rows[i]))
			ix->changes = LOOK_NOW;
	uint32_t entry = (uint32_t)atomic_load(&ix->entry);
	if (entry != HNSW_EMPTY && dying(ix, entry))
		new_entry(ix, v);
	atomic_fetch_sub_explicit(&ix->count, n, memory_order_relaxed);
	for (uint32_t i = 0; i < n; i++)
		refresh_near(ix, v, w, rows[i], n > NEAR_MOST ? 1 : REFRESHED);
	memset(ix->dying + ix->dying_words, 0, ix->dying_words * sizeof(*ix->dying));
	hnsw_grace(ix);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t row = rows[i], meta = atomic_load(hnsw_meta(v, row)), level = (meta & HNSW_META_LEVEL) - 1;
		for (uint32_t j = 0; j < v->M0; j++)
			atomic_store_explicit(&hnsw_links0(v, row)[j], HNSW_EMPTY, memory_order_relaxed);
		atomic_store_explicit(hnsw_meta(v, row), 0, memory_order_release);
		if (level)
			hnsw_up_release(ix, v, meta >> HNSW_META_SHIFT, level);
		ix->dying[row >> 6] &= ~(1ull << (row & 63));
	}
}
/* two bits for every row, dying and refreshed; all are clear between deletions */
static int dying_room(struct index *ix)
{
	size_t need = (size_t)atomic_load(&ix->rows->n) / 64 + 1, cap = ix->dying_words;
	if (cap >= need)
		return 0;
	cap = cap + cap / 2 < need ? need : cap + cap / 2;
	uint64_t *p = mem_zalloc(MEM_index_work, 2 * cap * sizeof(*p));
	if (!p)
		return -ENOMEM;
	mem_free(MEM_index_work, ix->dying);
	ix->dying = p;
	ix->dying_words = cap;
	return 0;
}
static bool drop_from_part(struct index *ix, uint32_t row)
{
	for (uint32_t i = 0; i < atomic_load(&ix->part_n); i++) {
		if (part_has(ix->part[i], row)) {
			part_drop(ix->part[i], row);
			return true;
		}
	}
	return false;
}
/* @list u32[n], scratch */
static int delete_rows(struct index *ix, const uint32_t *rows, uint32_t n, uint32_t *list)
{
	struct hnsw_work *w;
	uint32_t here = 0, m = 0;
	for (uint32_t i = 0; i < n; i++)
		here += !drop_from_part(ix, rows[i]) && index_linked(ix, rows[i]);
	if (!here)
		return 0;
	VX_TRY(hnsw_writable(ix));
	VX_TRY(dying_room(ix));
	VX_TRY(hnsw_writer_take(ix, &w));
	struct hnsw_view *v = atomic_load(&ix->view);
	int rc = hnsw_work_prepare(ix, v, w, wide_of(ix) > 2 * ix->efc ? wide_of(ix) : 2 * ix->efc);
	for (uint32_t i = 0; i < n && !rc; i++) {
		if (!index_linked(ix, rows[i]) || dying(ix, rows[i]))
			continue;
		ix->dying[rows[i] >> 6] |= 1ull << (rows[i] & 63);
		list[m++] = rows[i];
	}
	if (!rc)
		take_out(ix, v, w, list, m);
	hnsw_work_put(w);
	if (rc)
		return rc;
	ix->changes += m - 1;
	ix->deleted_n += m;
	return hnsw_changed(ix);
}
int index_delete_many(struct index *ix, const uint32_t *rows, uint32_t n)
{
	if (!n)
		return 0;
	uint32_t *list = mem_alloc(MEM_index_work, (size_t)n * sizeof(*list));
	int rc = list ? delete_rows(ix, rows, n, list) : -ENOMEM;
	mem_free(MEM_index_work, list);
	return rc;
}
int index_delete(struct index *ix, uint32_t row)
{
	uint32_t list;
	return index_linked(ix, row) ? delete_rows(ix, &row, 1, &list) : -ENOENT;
}
