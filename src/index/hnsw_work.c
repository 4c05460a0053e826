/* hnsw_work.c - work areas: what a search or a writer needs besides the graph, made at first use and kept.
 *
 * Visited nodes are marked by a 16-bit generation: forgetting all of them is one increment.  An area grows when the set or ef has
 * grown, which happens a logarithmic number of times; apart from that taking one allocates nothing. */
#include <string.h>
#include "index/hnsw.h"

#define TAGS_HUGE (1u << 19) /* bytes from which tags lie on huge pages */

int hnsw_work_take(struct index *ix, struct hnsw_work *set, uint32_t n, struct hnsw_work **ret)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t free_ = 0;
		if (atomic_load_explicit(&set[i].busy, memory_order_relaxed) ||
		        !atomic_compare_exchange_strong(&set[i].busy, &free_, 1))
			continue;
		atomic_store(&set[i].epoch, atomic_load(&ix->epoch));
		*ret = &set[i];
		return 0;
	}
	return -VX_ERR_visit_pool_empty;
}
int hnsw_writer_take(struct index *ix, struct hnsw_work **ret)
{
	struct hnsw_work *w;
	VX_TRY(hnsw_work_take(ix, ix->write_work, HNSW_WRITERS_MAX, &w));
	if (!w->wr)
		w->wr = mem_alloc(MEM_index_work, sizeof(*w->wr));
	if (!w->wr) {
		hnsw_work_put(w);
		return -ENOMEM;
	}
	*ret = w;
	return 0;
}
void hnsw_work_put(struct hnsw_work *w)
{
	atomic_store(&w->epoch, 0);
	atomic_store_explicit(&w->busy, 0, memory_order_release);
}
static void tags_free(struct hnsw_work *w)
{
	size_t n = (size_t)w->tags_cap * 2;
	if (n < TAGS_HUGE)
		mem_free(MEM_index_work, w->tags);
	else
		mem_huge_free(MEM_index_work, w->tags, n);
	w->tags = NULL;
	w->tags_cap = 0;
}
static int grow(void *pp, size_t bytes)
{
	void *old, *p;
	memcpy(&old, pp, sizeof(old));
	p = mem_realloc(MEM_index_work, old, bytes);
	if (!p)
		return -ENOMEM;
	memcpy(pp, &p, sizeof(p));
	return 0;
}
int hnsw_work_prepare(const struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t ef)
{
	uint32_t need = atomic_load_explicit(&ix->rows->n, memory_order_acquire);
	if (v->map && need > v->nodes_cap_max && !atomic_load_explicit(&ix->part_n, memory_order_acquire))
		need = v->nodes_cap_max;
	if (w->tags_cap < need) {
		uint32_t cap = w->tags_cap ? w->tags_cap : 1024;
		while (cap < need)
			cap = cap > CONF_ROWS_MAX / 2 ? CONF_ROWS_MAX : cap * 2;
		tags_free(w);
		size_t n = (size_t)cap * 2;
		w->tags = n < TAGS_HUGE ? mem_zalloc(MEM_index_work, n) : mem_huge_alloc(MEM_index_work, n);
		if (!w->tags)
			return -ENOMEM;
		w->tags_cap = cap;
		w->tag = 0;
	}
	if (w->dim != ix->dim) {
		VX_TRY(grow(&w->qf, ix->dim * sizeof(float)));
		VX_TRY(grow(&w->qf2, ix->dim * sizeof(float)));
		VX_TRY(grow(&w->qe, ix->dim));
		VX_TRY(grow(&w->qe2, ix->dim));
		w->dim = ix->dim;
	}
	if (w->ef_cap < ef) {
		uint32_t cap = ef < 256 ? 256 : ef;
		VX_TRY(grow(&w->pool.c, ((size_t)cap + 1) * sizeof(struct hnsw_cand)));
		VX_TRY(grow(&w->res.c, ((size_t)cap + 1) * sizeof(struct hnsw_cand)));
		w->ef_cap = cap;
	}
	w->pool.cap = w->res.cap = ef;
	w->pool.n = w->res.n = w->pool.next = w->res.next = 0;
	w->heap_n = 0;
	return 0;
}
int hnsw_work_parts(const struct index *ix, struct hnsw_work *w, uint32_t ef)
{
	/* a page, the longest link row, codes with their terms: bf16 has the longest */
	size_t cold = HNSW_PAGE + 128 * sizeof(hnsw_link) + HNSW_COLD_RUN * (((size_t)ix->dim * 2 + 15) & ~(size_t)7);
	if (w->cold_cap < cold) {
		VX_TRY(grow(&w->cold, cold));
		w->cold_cap = cold;
	}
	size_t vec = rows_vec_bytes(ix->rows->dim, ix->rows->dtype);
	if (ix->part_bytes && w->vec_cap < vec) {
		VX_TRY(grow(&w->vec, vec));
		w->vec_cap = vec;
	}
	if (w->hits_cap < ef) {
		VX_TRY(grow(&w->hits, ((size_t)ef + 1) * sizeof(*w->hits)));
		w->hits_cap = ef;
	}
	w->pool.cap = w->res.cap = ef;
	w->pool.n = w->res.n = w->pool.next = w->res.next = 0;
	w->heap_n = 0;
	return 0;
}
int hnsw_work_heap(struct hnsw_work *w)
{
	if (!w->heap)
		w->heap = mem_alloc(MEM_index_work, HNSW_HEAP_MAX * sizeof(w->heap[0]));
	return w->heap ? 0 : -ENOMEM;
}
void hnsw_work_done(struct hnsw_work *w)
{
	tags_free(w);
	mem_free(MEM_index_work, w->pool.c);
	mem_free(MEM_index_work, w->res.c);
	mem_free(MEM_index_work, w->heap);
	mem_free(MEM_index_work, w->cold);
	mem_free(MEM_index_work, w->vec);
	mem_free(MEM_index_work, w->hits);
	mem_free(MEM_index_work, w->wr);
	mem_free(MEM_index_work, w->qf);
	mem_free(MEM_index_work, w->qf2);
	mem_free(MEM_index_work, w->qe);
	mem_free(MEM_index_work, w->qe2);
	memset((void *)w, 0, sizeof(*w));
}
void hnsw_tags_next(struct hnsw_work *w)
{
	if (++w->tag)
		return;
	memset(w->tags, 0, (size_t)w->tags_cap * 2);
	w->tag = 1;
}
