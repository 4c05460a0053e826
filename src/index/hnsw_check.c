/* hnsw_check.c - what is wrong with a graph, and linking again what the entry point cannot reach.
 *
 * Reachability is a breadth-first walk over the links of all levels with an explicit queue of at most one place a node. */
#include <string.h>
#include "index/hnsw.h"

#define REPAIR_EF     200u /* nodes looked at for one that takes the link */
#define REPAIR_EQUALS 8u /* the nearest, among whose links one equal to it may be */
#define REPAIR_NEAR   4u /* rounds in which the nearest does */

struct reach {
	uint32_t *queue, head, tail;
	uint64_t *seen;
};
static bool seen_test_set(struct reach *r, uint32_t row)
{
	uint64_t bit = 1ull << (row & 63), *w = &r->seen[row >> 6];
	if (*w & bit)
		return true;
	*w |= bit;
	return false;
}
static uint32_t level_of(const struct hnsw_view *v, uint32_t row) /* + 1; 0: not linked */
{
	return hnsw_has(v, row) ? atomic_load_explicit(hnsw_meta(v, row), memory_order_relaxed) & HNSW_META_LEVEL : 0;
}
static void walk(const struct hnsw_view *v, struct reach *r, uint32_t n, uint32_t from)
{
	if (!seen_test_set(r, from))
		r->queue[r->tail++] = from;
	while (r->head < r->tail) {
		uint32_t x = r->queue[r->head++], levels = level_of(v, x);
		for (uint32_t l = 0; l < levels; l++) {
			uint32_t meta = atomic_load_explicit(hnsw_meta(v, x), memory_order_relaxed);
			if (l && (meta >> HNSW_META_SHIFT) + l - 1 >= atomic_load(&v->up_n))
				break;
			hnsw_link *links = hnsw_links(v, x, l);
			for (uint32_t i = 0; i < (l ? v->M : v->M0); i++) {
				uint32_t to = atomic_load_explicit(&links[i], memory_order_relaxed);
				if (to == HNSW_EMPTY)
					break;
				if (to < n && level_of(v, to) && !seen_test_set(r, to))
					r->queue[r->tail++] = to;
			}
		}
	}
}
static int reach_init(struct reach *r, uint32_t n)
{
	r->head = r->tail = 0;
	r->queue = mem_alloc(MEM_index_work, ((size_t)n + 1) * sizeof(uint32_t));
	r->seen = mem_zalloc(MEM_index_work, ((size_t)n / 64 + 1) * sizeof(uint64_t));
	return r->queue && r->seen ? 0 : -ENOMEM;
}
static void reach_done(struct reach *r)
{
	mem_free(MEM_index_work, r->queue);
	mem_free(MEM_index_work, r->seen);
}
static uint32_t rows_n(const struct index *ix, const struct hnsw_view *v)
{
	uint32_t n = atomic_load_explicit(&ix->rows->n, memory_order_acquire);
	return n < v->nodes_cap_max ? n : v->nodes_cap_max;
}
static void check_links(
        const struct hnsw_view *v, uint32_t n, uint32_t x, uint32_t level, uint16_t *in, struct index_report *r)
{
	hnsw_link *l = hnsw_links(v, x, level);
	uint32_t most = level ? v->M : v->M0;
	for (uint32_t i = 0; i < most; i++) {
		uint32_t to = atomic_load_explicit(&l[i], memory_order_relaxed);
		if (to == HNSW_EMPTY) {
			for (; i < most; i++) /* nothing may follow the end mark */
				r->out_of_bounds += atomic_load_explicit(&l[i], memory_order_relaxed) != HNSW_EMPTY;
			break;
		}
		r->links++;
		if (to >= n || !level_of(v, to)) {
			r->out_of_bounds++;
			continue;
		}
		r->self_links += to == x;
		r->bad_level += level_of(v, to) <= level;
		if (!level && in && in[to] < UINT16_MAX)
			in[to]++;
		for (uint32_t j = 0; j < i; j++)
			r->duplicate_links += atomic_load_explicit(&l[j], memory_order_relaxed) == to;
		if (level_of(v, to) > level) {
			hnsw_link *back = hnsw_links(v, to, level);
			uint32_t j = 0;
			while (j < most && atomic_load_explicit(&back[j], memory_order_relaxed) != HNSW_EMPTY &&
			        atomic_load_explicit(&back[j], memory_order_relaxed) != x)
				j++;
			r->one_way += j == most || atomic_load_explicit(&back[j], memory_order_relaxed) != x;
		}
	}
}
static int check_one(struct index *ix, struct index_report *ret)
{
	struct hnsw_view *v = atomic_load(&ix->view);
	struct reach r;
	uint32_t n = rows_n(ix, v), nodes = 0, entry = (uint32_t)atomic_load(&ix->entry);
	uint32_t entry_level = (uint32_t)(atomic_load(&ix->entry) >> 32);
	if (v->map)
		VX_TRY(hnsw_map_verify(ix, v));
	uint16_t *in = v->map ? NULL : mem_zalloc(MEM_index_work, ((size_t)n + 1) * sizeof(*in));
	int rc = reach_init(&r, n);
	if (rc || (!v->map && !in)) {
		reach_done(&r);
		mem_free(MEM_index_work, in);
		return -ENOMEM;
	}
	for (uint32_t x = 0; x < n; x++) {
		uint32_t levels = level_of(v, x);
		if (!levels)
			continue;
		nodes++;
		ret->bad_level += levels - 1 > HNSW_LEVEL_MAX || levels - 1 > entry_level;
		for (uint32_t l = 0; l < levels && l <= HNSW_LEVEL_MAX; l++)
			check_links(v, n, x, l, in, ret);
	}
	ret->nodes += nodes;
	for (uint32_t x = 0; in && x < n; x++)
		if (level_of(v, x) && atomic_load(hnsw_indeg(ix, x)) < HNSW_INDEG_FULL)
			ret->bad_indegree += in[x] != atomic_load(hnsw_indeg(ix, x));
	if (nodes && (entry >= n || level_of(v, entry) != entry_level + 1))
		ret->bad_level++;
	else if (nodes)
		walk(v, &r, n, entry);
	ret->unreachable += nodes - r.tail;
	reach_done(&r);
	mem_free(MEM_index_work, in);
	bool bad = ret->unreachable || ret->out_of_bounds || ret->bad_level || ret->self_links ||
	           ret->duplicate_links || ret->bad_indegree || nodes != atomic_load(&ix->count);
	return bad ? -VX_ERR_graph_corrupt : 0;
}
int index_check(struct index *ix, struct index_report *ret)
{
	memset(ret, 0, sizeof(*ret));
	int rc = check_one(ix, ret);
	for (uint32_t i = 0; i < atomic_load(&ix->part_n); i++) {
		int e = check_one(ix->part[i], ret);
		rc = rc ? rc : e;
	}
	return rc;
}
/* the nearest reachable node that takes a link to x */
static bool attach(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t x, bool room)
{
	struct hnsw_scorer s;
	uint64_t e = atomic_load(&ix->entry), hops = 0;
	float d;
	codes_node(ix, v, &s, x, w->qf, w->qe);
	uint32_t from = hnsw_greedy(ix, v, &s, w, (uint32_t)e, (uint32_t)(e >> 32), 0, &d);
	w->pool.n = w->pool.next = 0;
	hnsw_tags_next(w);
	(void)hnsw_visit(w, x); /* not itself */
	hnsw_offer(&w->pool, d, from);
	hnsw_beam_near(ix, v, &s, w, 0, &hops);
	for (uint32_t i = 0; i < w->pool.n && i < REPAIR_EQUALS; i++) {
		uint32_t hub = hnsw_hub_of(ix, v, x, w->pool.c[i].id);
		if (hub != HNSW_EMPTY && hub != x) {
			hnsw_join(ix, v, hub, x);
			return true;
		}
	}
	for (uint32_t i = 0; room && i < w->pool.n; i++)
		if (w->pool.c[i].id != x && hnsw_link_n(hnsw_links0(v, w->pool.c[i].id), v->M0) < v->M0 &&
		        hnsw_force_link(ix, v, w->pool.c[i].id, x))
			return true;
	for (uint32_t i = 0; i < w->pool.n; i++)
		if (w->pool.c[i].id != x && hnsw_force_link(ix, v, w->pool.c[i].id, x))
			return true;
	return false;
}
int index_repair(struct index *ix, uint64_t *ret_found)
{
	struct hnsw_work *w;
	uint64_t all = 0, found = 1;
	ix->changes = 0;
	VX_TRY(hnsw_writable(ix));
	VX_TRY(hnsw_writer_take(ix, &w));
	struct hnsw_view *v = atomic_load(&ix->view);
	uint32_t n = rows_n(ix, v), entry = (uint32_t)atomic_load(&ix->entry);
	int rc = hnsw_work_prepare(ix, v, w, ix->efc < REPAIR_EF ? REPAIR_EF : ix->efc);
	/* a forced link takes another's place and may cut that one's node off, so it is looked at again; as that need not come to an
	 * end, later rounds prefer nodes with room to nearer ones */
	for (uint32_t round = 0; !rc && found && entry != HNSW_EMPTY && round < 16; round++) {
		struct reach r;
		found = 0;
		rc = reach_init(&r, n);
		if (!rc) {
			walk(v, &r, n, entry);
			for (uint32_t x = 0; x < n && r.tail < atomic_load(&ix->count); x++) {
				if (!level_of(v, x) || (r.seen[x >> 6] >> (x & 63) & 1))
					continue;
				found++;
				if (attach(ix, v, w, x, round >= REPAIR_NEAR))
					walk(v, &r, n, x);
			}
		}
		reach_done(&r);
		all += found;
	}
	hnsw_work_put(w);
	*ret_found = all;
	return rc;
}
