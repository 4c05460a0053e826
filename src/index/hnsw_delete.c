/* hnsw_delete.c - unlinking a row and mending what it held together.
 *
 * Every node that links to the row (found among its neighbours and theirs; on level 0 the in-degree says whether all were found,
 * and a scan of the link rows finds the rest) chooses its links again among its own and the row's.  Neighbours that nothing points
 * at afterwards get a link forced from their nearest one.  If the row was the entry point, the highest node left takes its place.
 * The row's own links stay until no reader can stand on it; then its block may be used again. */
#include "index/hnsw.h"

static bool links_to(const hnsw_link *l, uint32_t most, uint32_t row)
{
	for (uint32_t i = 0; i < most; i++) {
		uint32_t to = atomic_load_explicit(&l[i], memory_order_relaxed);
		if (to == row)
			return true;
		if (to == HNSW_EMPTY)
			return false;
	}
	return false;
}
/* x drops `row` and takes in its place the nearest of row's outs that no link of x already covers; else the nearest at all.  Its
 * other links stay: choosing all of them again would thin the graph out with every deletion. */
static void mend(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t x, uint32_t row,
        uint32_t level, uint32_t outs_n)
{
	struct hnsw_scorer s;
	uint32_t most = level ? v->M : v->M0, n = 0, own = 0, add = HNSW_EMPTY;
	hnsw_link *l = hnsw_links(v, x, level);
	struct hnsw_cand *c = w->wr->cand, *sel = w->wr->keep;
	for (uint32_t i = 0; i < most; i++) {
		uint32_t to = atomic_load_explicit(&l[i], memory_order_relaxed);
		if (to == HNSW_EMPTY)
			break;
		if (to != row)
			sel[own++].id = to;
	}
	for (uint32_t i = 0; i < outs_n; i++) {
		uint32_t to = w->wr->outs[i];
		bool have = to == x;
		for (uint32_t j = 0; j < own && !have; j++)
			have = sel[j].id == to;
		if (!have)
			w->ids[n++] = to;
	}
	codes_node(ix, v, &s, x, w->qf, w->qe);
	codes_score(&s, w->ids, n, w->dist);
	for (uint32_t i = 0; i < n; i++)
		c[i] = (struct hnsw_cand){w->dist[i], w->ids[i]};
	hnsw_sort(c, n);
	for (uint32_t i = 0; i < n && add == HNSW_EMPTY; i++) {
		bool covered = false;
		codes_node(ix, v, &s, c[i].id, w->qf2, w->qe2);
		for (uint32_t j = 0; j < own; j++)
			w->ids[j] = sel[j].id;
		codes_score(&s, w->ids, own, w->dist);
		for (uint32_t j = 0; j < own && !covered; j++)
			covered = w->dist[j] < c[i].d;
		if (!covered)
			add = c[i].id;
	}
	if (add == HNSW_EMPTY && n)
		add = c[0].id;
	if (add != HNSW_EMPTY)
		sel[own++].id = add;
	hnsw_set_links(ix, v, x, level, sel, own);
}
static void mend_near(
        struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t level, uint32_t outs_n)
{
	uint32_t most = level ? v->M : v->M0;
	hnsw_tags_next(w);
	(void)hnsw_visit(w, row); /* never mended itself */
	for (uint32_t i = 0; i < outs_n; i++) {
		uint32_t z = w->wr->outs[i];
		hnsw_link *l = hnsw_links(v, z, level);
		for (uint32_t j = 0; j < most; j++) {
			uint32_t y = atomic_load_explicit(&l[j], memory_order_relaxed);
			if (y == HNSW_EMPTY)
				break;
			if (hnsw_visit(w, y) && links_to(hnsw_links(v, y, level), most, row))
				mend(ix, v, w, y, row, level, outs_n);
		}
		if (hnsw_visit(w, z) && links_to(l, most, row))
			mend(ix, v, w, z, row, level, outs_n);
	}
}
/* link rows of upper levels carry no in-degree: all of them are looked through, 64 bytes for every 15th node */
static void drop_upper(const struct hnsw_view *v, uint32_t row)
{
	uint32_t up = atomic_load(&v->up_n);
	for (uint32_t r = 0; r < up; r++) {
		hnsw_link *l = atomic_load(&v->up[rows_seg(r)]) ? hnsw_up_row(v, r) : NULL;
		if (!l || !links_to(l, v->M, row))
			continue;
		uint32_t at = 0, last = hnsw_link_n(l, v->M) - 1;
		while (atomic_load_explicit(&l[at], memory_order_relaxed) != row)
			at++;
		atomic_store_explicit(
		        &l[at], atomic_load_explicit(&l[last], memory_order_relaxed), memory_order_release);
		atomic_store_explicit(&l[last], HNSW_EMPTY, memory_order_release);
	}
}
static void mend_all0(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t outs_n)
{
	uint32_t n = atomic_load(&ix->rows->n);
	for (uint32_t y = 0; y < n && atomic_load_explicit(hnsw_indeg(ix, row), memory_order_relaxed); y++) {
		if (!hnsw_has(v, y)) {
			y = rows_seg_first(rows_seg(y)) + rows_seg_count(rows_seg(y)) -
			    1; /* the whole segment is not there */
			continue;
		}
		if (y != row && (atomic_load_explicit(hnsw_meta(v, y), memory_order_relaxed) & HNSW_META_LEVEL) &&
		        links_to(hnsw_links0(v, y), v->M0, row))
			mend(ix, v, w, y, row, 0, outs_n);
	}
}
static void new_entry(struct index *ix, const struct hnsw_view *v, uint32_t row)
{
	uint32_t n = atomic_load(&ix->rows->n), best = HNSW_EMPTY, best_level = 0;
	for (uint32_t y = 0; y < n; y++) {
		if (!hnsw_has(v, y)) {
			y = rows_seg_first(rows_seg(y)) + rows_seg_count(rows_seg(y)) - 1;
			continue;
		}
		uint32_t l = atomic_load_explicit(hnsw_meta(v, y), memory_order_relaxed) & HNSW_META_LEVEL;
		if (y != row && l && (best == HNSW_EMPTY || l - 1 > best_level)) {
			best = y;
			best_level = l - 1;
		}
	}
	atomic_store_explicit(&ix->entry, best | (uint64_t)best_level << 32, memory_order_release);
}
static uint32_t outs_of(const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t level)
{
	hnsw_link *l = hnsw_links(v, row, level);
	uint32_t n = hnsw_link_n(l, level ? v->M : v->M0);
	for (uint32_t i = 0; i < n; i++)
		w->wr->outs[i] = atomic_load_explicit(&l[i], memory_order_relaxed);
	return n;
}
int index_delete(struct index *ix, uint32_t row)
{
	struct hnsw_work *w;
	if (!index_linked(ix, row))
		return -ENOENT;
	for (uint32_t i = 0; i < atomic_load(&ix->part_n); i++) {
		if (part_has(ix->part[i], row)) {
			part_drop(ix->part[i], row);
			return 0;
		}
	}
	VX_TRY(hnsw_writable(ix));
	VX_TRY(hnsw_writer_take(ix, &w));
	struct hnsw_view *v = atomic_load(&ix->view);
	int rc = hnsw_work_prepare(ix, v, w, ix->efc);
	if (rc) {
		hnsw_work_put(w);
		return rc;
	}
	uint32_t meta = atomic_load(hnsw_meta(v, row)), level = (meta & HNSW_META_LEVEL) - 1, n;
	for (uint32_t l = level; l > 0; l--) {
		n = outs_of(v, w, row, l);
		mend_near(ix, v, w, row, l, n);
	}
	if (level)
		drop_upper(v, row);
	n = outs_of(v, w, row, 0);
	mend_near(ix, v, w, row, 0, n);
	if (atomic_load_explicit(hnsw_indeg(ix, row), memory_order_relaxed))
		mend_all0(ix, v, w, row, n);
	for (uint32_t i = 0; i < n; i++)
		atomic_fetch_sub_explicit(hnsw_indeg(ix, w->wr->outs[i]), 1, memory_order_relaxed);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t z = w->wr->outs[i];
		hnsw_link *l = hnsw_links0(v, z);
		for (uint32_t j = 0; j < v->M0 && !atomic_load(hnsw_indeg(ix, z)); j++) {
			uint32_t y = atomic_load_explicit(&l[j], memory_order_relaxed);
			if (y == HNSW_EMPTY)
				break;
			if (y != row)
				hnsw_force_link(ix, v, y, z);
		}
	}
	if ((uint32_t)atomic_load(&ix->entry) == row)
		new_entry(ix, v, row);
	atomic_fetch_sub_explicit(&ix->count, 1, memory_order_relaxed);
	hnsw_grace(ix);
	for (uint32_t i = 0; i < v->M0; i++)
		atomic_store_explicit(&hnsw_links0(v, row)[i], HNSW_EMPTY, memory_order_relaxed);
	atomic_store_explicit(hnsw_meta(v, row), 0, memory_order_release);
	if (level)
		hnsw_up_release(ix, v, meta >> HNSW_META_SHIFT, level);
	hnsw_work_put(w);
	return hnsw_changed(ix);
}
