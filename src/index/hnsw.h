/* hnsw.h - the graph's insides, shared by the files hnsw_*.c, codes.c and nothing else.
 *
 * A node is a row number.  Everything a visit needs lies in one block of fixed stride, in segments as rows.h has them, so a block
 * never moves while a view lives:
 *
 *     links[M0]  u32 each, EMPTY-terminated          what an expansion reads
 *     meta       u32: level + 1 (0: not linked) in the low 5 bits, first upper link row in the rest
 *     a          f32: the code's per-vector term (codes.c)
 *     code       the traversal code                  what a distance reads, one run of lines with `a`
 *
 * Upper levels are rows of M links in segments of their own: level l of a node is row upper + l - 1.  Behind a segment's rows lies, in
 * memory only, whose they are.
 *
 * Readers and the writer.  A reader takes a work area, stores the epoch in it, loads the view, walks, and stores 0.  Links are
 * atomic words; a node's code and links are written before the first link to it is published (release).  Memory that a reader may
 * still see (a replaced view, the block of a deleted row) is touched again only after hnsw_grace(): every work area is idle or was
 * taken at a later epoch.  Node locks exist only among the writers of a parallel build. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/mem.h"
#include "index/index.h"
#include "simd/simd.h"

#define HNSW_EMPTY       0xffffffffu
#define HNSW_M_MAX       64u
#define HNSW_LEVEL_MAX   16u
#define HNSW_META_LEVEL  31u
#define HNSW_META_SHIFT  5u
#define HNSW_UP_MAX      (1u << 27) /* upper link rows */
#define HNSW_BATCH       160u /* most ids one expansion gathers: 2M = 128 at most, and slack */
#define HNSW_READERS_MAX 64u
#define HNSW_WRITERS_MAX 16u
#define HNSW_LOCKS       1024u
#define HNSW_PAGE        4096u
#define HNSW_PARTS_MAX   256u
#define HNSW_COLD_RUN    32u /* codes read at once from a cold graph */
#define HNSW_HEAP_MAX    32768u /* open candidates of a filtered walk; more, and the exact scan takes over */

typedef _Atomic uint32_t hnsw_link;

/* how distances are found while walking */
enum code_kind {
	CODE_EXACT, /* on the stored vectors by exact.c, any dtype and metric */
	CODE_F32, /* on the stored f32 vectors: l2, cosine, dot */
	CODE_BF16, /* bf16 copy in the block */
	CODE_SQ8, /* u8 codes: l2, cosine, dot */
	CODE_SQ8_L1, /* u8 codes: l1 */
	CODE_BITS, /* binary vectors copied into the block */
};
struct codes {
	uint8_t kind, metric, dtype;
	uint32_t in_dim; /* elements of a stored vector */
	uint32_t dim, bytes; /* components and bytes of one code; dim < in_dim: projected */
	float scale, inv_scale; /* one code step in the metric's space */
	float mean_norm2; /* |mean|^2 */
	double loss; /* measured: mean relative error of a distance on the sample */
	uint32_t sample_n;
	float *mean; /* [in_dim], NULL: none; owned by the view, as the next two */
	uint8_t *proj; /* [dim][in_dim] directions, 128 is zero; NULL: not projected */
	float *proj_scale; /* [dim] */
};

/* what readers see; replaced as a whole when codes are recalibrated or a mapped graph becomes resident */
struct hnsw_view {
	uint32_t M, M0, stride, off_meta, off_a, off_code;
	uint32_t nodes_cap_max; /* end of the rows a mapped view has; HNSW_EMPTY for a resident one */
	uint32_t row_first; /* of a mapped view; 0 */
	_Atomic uint32_t lo[ROWS_SEGS], hi[ROWS_SEGS]; /* resident: rows of the segment whose memory may be touched */
	size_t com_lo[ROWS_SEGS], com_hi[ROWS_SEGS]; /* the same in bytes, of a segment that is charged as it is used */
	_Atomic(uint8_t *) seg[ROWS_SEGS];
	_Atomic(hnsw_link *) up[ROWS_SEGS];
	_Atomic uint32_t up_n; /* upper link rows in use or free; next fresh one */
	struct codes codes;
	struct hnsw_map *map; /* NULL: resident */
	/* of a cold part: terms and codes of rows [row_first, nodes_cap_max) in memory, held_stride apart; NULL: they are read */
	_Atomic(uint8_t *) held;
	uint32_t held_stride;
};

struct hnsw_cand {
	float d;
	uint32_t id; /* top bit: expanded */
};
#define HNSW_DESCENT 32u /* a wide beam on upper levels */
#define HNSW_SEEN    0x80000000u

/* sorted ascending by (d, id) */
struct hnsw_pool {
	struct hnsw_cand *c;
	uint32_t n, cap, next; /* next: first that may be unexpanded */
};

struct hnsw_scorer {
	struct index *ix;
	const struct hnsw_view *v;
	const void *q; /* f32 form, or the raw query for CODE_EXACT and CODE_BITS */
	const int8_t *e; /* SQ8 form */
	float mul, add, wa; /* dist = wa * a + mul * (dot - bias) + add */
	int32_t bias;
	float qnorm2; /* CODE_EXACT */
	uint64_t distances;
	uint8_t *cold; /* room for codes read from a cold graph; NULL: the view is memory */
};

#define HNSW_PASSED 8u
#define HNSW_CANDS  (3u * 128u + 8u) /* a node's links, a deleted neighbour's, and the new one */
struct hnsw_write_area {
	struct hnsw_cand cand[HNSW_CANDS], keep[HNSW_BATCH];
	uint32_t outs[HNSW_BATCH];
	uint16_t alive[CONF_EF_MAX];
	uint32_t crowd; /* the hub of more equal nodes than a selection takes; HNSW_EMPTY: it met none */
};
/* a work area; one search or one writer owns it at a time */
struct hnsw_work {
	_Atomic uint32_t busy;
	_Atomic uint64_t epoch; /* 0: idle */
	uint16_t *tags;
	uint32_t tags_cap;
	uint16_t tag;
	struct hnsw_pool pool, res;
	struct hnsw_cand passed[HNSW_PASSED]; /* crowds that a beam passes by: the distance, one of them */
	uint32_t passed_n;
	struct hnsw_cand *heap;
	uint32_t heap_n, ef_cap;
	float *qf, *qf2; /* [dim] */
	int8_t *qe, *qe2; /* [dim] */
	uint32_t dim;
	uint32_t ids[HNSW_BATCH];
	float dist[HNSW_BATCH];
	struct hnsw_write_area *wr; /* writers only */
	uint8_t *cold; /* a page, a link row, codes: what is read from cold graphs */
	size_t cold_cap;
	struct index_hit *hits; /* [ef_cap + 1] of one part; only where there are parts */
	uint32_t hits_cap;
	uint8_t *vec; /* one stored vector */
	size_t vec_cap;
};

struct index {
	const struct vec_rows *rows;
	const struct simd *simd;
	uint32_t M, M0, efc, readers, dim;
	uint8_t codes_wanted, metric, dtype;
	double level_mult;
	uint64_t seed;
	_Atomic(struct hnsw_view *) view;
	_Atomic uint64_t entry; /* row | level << 32; row HNSW_EMPTY: none */
	_Atomic uint64_t epoch;
	_Atomic uint32_t count;
	_Atomic uint32_t failed;
	_Atomic uint32_t descent; /* width of a search's beam on upper levels; 1: by single steps */
	uint32_t recalibrate_at; /* count at which codes are looked at again */
	_Atomic uint64_t clipped, encoded; /* components outside the code range since the last look at them */
	uint32_t clip_vain; /* looks since then that made no better codes */
	_Atomic uint64_t draws;
	/* writer side */
	_Atomic(_Atomic uint16_t *) indeg[ROWS_SEGS]; /* level-0 links that point at a row, saturating */
	uint32_t up_free[HNSW_LEVEL_MAX + 1]; /* free runs of upper link rows by length, chained */
	pthread_mutex_t grow_lock, entry_lock;
	pthread_mutex_t *node_lock; /* [HNSW_LOCKS] while several build */
	bool parallel, no_project;
	bool deleted; /* rows were: the order of arrival no longer gives far links */
	uint32_t deleted_n; /* since the last trial of the descent */
	uint32_t changes; /* since the last look at reachability */
	uint64_t *dying; /* [2][dying_words]: rows being deleted, and refreshed meanwhile; all clear otherwise */
	size_t dying_words;
	_Atomic uint64_t looked; /* link rows looked at by deletions */
	/* parts (hnsw_part.c): sealed graphs over other rows of the same collection, searched beside this one */
	struct os *os;
	int dirfd;
	uint64_t part_bytes; /* 0: this graph grows without end */
	struct index *part[HNSW_PARTS_MAX];
	_Atomic uint32_t part_n;
	_Atomic uint64_t *has; /* of a part: rows linked in it, bit row - row_first */
	_Atomic uint32_t gone; /* of a part: rows taken out of `has` since it was sealed */
	pthread_mutex_t hold_lock; /* whose codes are held, of all parts; and the next two */
	uint8_t *hold; /* of a part: what will be view->held, hold_n rows of it read so far */
	uint32_t hold_n;
	_Atomic uint64_t hold_after_ns; /* memory was refused to others: nothing is held before; 0: it may be */
	_Atomic uint64_t refused_seen; /* mem_refused() when that was looked at last */
	struct hnsw_work *read_work; /* [readers] */
	struct hnsw_work *write_work; /* [HNSW_WRITERS_MAX] */
};

/* --- blocks (hnsw.c) --- */
static inline uint8_t *hnsw_block(const struct hnsw_view *v, uint32_t row)
{
	uint32_t s = rows_seg(row);
	uint8_t *b = atomic_load_explicit(&v->seg[s], memory_order_acquire);
	return b + (size_t)(row - rows_seg_first(s)) * v->stride;
}
static inline hnsw_link *hnsw_links0(const struct hnsw_view *v, uint32_t row)
{
	return (hnsw_link *)hnsw_block(v, row);
}
static inline hnsw_link *hnsw_up_row(const struct hnsw_view *v, uint32_t r)
{
	uint32_t s = rows_seg(r);
	hnsw_link *b = atomic_load_explicit(&v->up[s], memory_order_acquire);
	return b + (size_t)(r - rows_seg_first(s)) * v->M;
}
/* hnsw_up_owner - the node whose an upper link row is; of a resident view, and only where the row is not free. */
static inline uint32_t *hnsw_up_owner(const struct hnsw_view *v, uint32_t r)
{
	uint32_t s = rows_seg(r);
	hnsw_link *b = atomic_load_explicit(&v->up[s], memory_order_acquire);
	return (uint32_t *)(b + (size_t)rows_seg_count(s) * v->M) + (r - rows_seg_first(s));
}
static inline hnsw_link *hnsw_meta(const struct hnsw_view *v, uint32_t row)
{
	return (hnsw_link *)(hnsw_block(v, row) + v->off_meta);
}
static inline float *hnsw_a(const struct hnsw_view *v, uint32_t row)
{
	return (float *)(hnsw_block(v, row) + v->off_a);
}
/* hnsw_links - the link row of a node at a level; level must be <= its own. */
static inline hnsw_link *hnsw_links(const struct hnsw_view *v, uint32_t row, uint32_t level)
{
	if (!level)
		return hnsw_links0(v, row);
	return hnsw_up_row(
	        v, (atomic_load_explicit(hnsw_meta(v, row), memory_order_acquire) >> HNSW_META_SHIFT) + level - 1);
}
static inline bool hnsw_has(const struct hnsw_view *v, uint32_t row)
{
	return row < v->nodes_cap_max && row >= v->row_first && rows_seg(row) < ROWS_SEGS &&
	       atomic_load_explicit(&v->seg[rows_seg(row)], memory_order_acquire);
}
int hnsw_view_new(const struct index *ix, uint8_t kind, struct hnsw_view **ret);
void hnsw_view_free(struct hnsw_view *v);
int hnsw_view_grow(struct index *ix, struct hnsw_view *v, uint32_t row); /* the segment of row exists after it */
int hnsw_up_alloc(struct index *ix, struct hnsw_view *v, uint32_t row, uint32_t levels, uint32_t *ret);
void hnsw_up_release(struct index *ix, struct hnsw_view *v, uint32_t first, uint32_t levels);
void hnsw_grace(struct index *ix);
void hnsw_view_swap(struct index *ix, struct hnsw_view *nv); /* publishes nv, waits, frees the old one */
/* links that point at a node and are not given up: with one alone, two or three nodes could hold each other and nobody else them */
#define HNSW_INDEG_LEAST 3u
#define HNSW_INDEG_FULL  (UINT16_MAX - 64u) /* from here on it is not known, and stays so while the row is linked */
_Atomic uint16_t *hnsw_indeg(const struct index *ix, uint32_t row);
void hnsw_indeg_add(struct index *ix, uint32_t row);
void hnsw_indeg_sub(struct index *ix, uint32_t row);
int hnsw_recode(struct index *ix, const uint32_t *sample, uint32_t sample_n, bool force);
/* hnsw_codes_trial - do projected codes keep neighbours apart here? If not, all rows are coded in full, for good. */
int hnsw_codes_trial(struct index *ix);
/* hnsw_descent_trial - choose ix->descent by how searches fare with either. Writer. */
int hnsw_descent_trial(struct index *ix);
/* hnsw_seg_range - rows of a segment that may be linked: [*from, *to). */
void hnsw_seg_range(const struct index *ix, const struct hnsw_view *v, uint32_t s, uint32_t *from, uint32_t *to);
int hnsw_codes_copy(struct codes *to, const struct codes *from);
void hnsw_layout(struct hnsw_view *v, uint32_t M, uint32_t M0, uint8_t kind, uint32_t dim);
int hnsw_writable(struct index *ix);

/* --- work areas (hnsw_work.c) --- */
int hnsw_work_take(struct index *ix, struct hnsw_work *set, uint32_t n, struct hnsw_work **ret);
void hnsw_work_put(struct hnsw_work *w);
int hnsw_writer_take(struct index *ix, struct hnsw_work **ret);
int hnsw_work_prepare(const struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t ef);
/* hnsw_work_parts - room for a part's answer, and for what is read of cold ones. */
int hnsw_work_parts(const struct index *ix, struct hnsw_work *w, uint32_t ef);
int hnsw_work_heap(struct hnsw_work *w); /* room for the open candidates of a filtered walk */
void hnsw_work_done(struct hnsw_work *w);
/* hnsw_tags_next - forget all visits: a new generation, or a cleared table every 65,535th time. */
void hnsw_tags_next(struct hnsw_work *w);
static inline bool hnsw_visit(struct hnsw_work *w, uint32_t id) /* true: first time */
{
	if (id >= w->tags_cap || w->tags[id] == w->tag)
		return false;
	w->tags[id] = w->tag;
	return true;
}

/* --- codes (codes.c) --- */
int codes_calibrate(const struct index *ix, struct codes *c, const uint32_t *sample, uint32_t n, bool project);
/* codes_error - mean squared error of a code's components on a sample, in the space of the codes. */
double codes_error(const struct index *ix, const struct codes *c, const uint32_t *sample, uint32_t n);
/* codes_put - write the code and the per-vector term of a row into its block. Returns components clipped. */
uint32_t codes_put(const struct index *ix, struct hnsw_view *v, uint32_t row, float *scratch, int8_t *scratch8);
/* codes_query - prepare scoring against an arbitrary query in the collection's dtype. */
void codes_query(
        struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, const void *q, float *qf, int8_t *qe);
/* codes_node - prepare scoring against a node already in the graph. */
void codes_node(
        struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, uint32_t row, float *qf, int8_t *qe);
/* codes_score - distances to n <= HNSW_BATCH nodes. */
void codes_score(struct hnsw_scorer *s, const uint32_t *ids, uint32_t n, float *ret);
/* codes_exact - true when scores are the metric's own distances, so that no re-rank is needed. */
static inline bool codes_exact(const struct codes *c)
{
	return c->kind == CODE_EXACT || c->kind == CODE_F32 || c->kind == CODE_BITS;
}

/* --- projection (project.c) --- */
#define PROJECT_RUN 32u
/* project_train - directions from a sample of n shifted vectors f32[in_dim]; leaves c as it is when there is no gain. */
int project_train(const struct simd *k, struct codes *c, const float *x, uint32_t n);
/* project_apply - x f32[in_dim] becomes f32[dim] in place; e is scratch int8[in_dim]. */
void project_apply(const struct simd *k, const struct codes *c, float *x, int8_t *e);

/* --- exact distances (exact.c) --- */
struct exact_query {
	const struct vec_rows *rows;
	const struct simd *simd;
	const void *q;
	float qnorm2; /* |q|^2, cosine only */
};
void exact_init(struct exact_query *e, const struct vec_rows *rows, const void *q);
float exact_norm2(const struct simd *simd, const struct vec_rows *rows, const void *v);
float exact_distance(const struct exact_query *e, const void *v); /* v NULL: INFINITY */
/* exact_read - a stored vector by pread into buf where that is better than its map. Return it, in buf or in the map. */
const void *exact_read(const struct vec_rows *r, struct os *os, uint32_t row, uint8_t *buf);
int exact_check_query(const struct vec_rows *rows, const void *q);
/* exact_pool_scan - offer every row of a list to a pool of the k best. */
uint64_t exact_scan_rows(const struct exact_query *e, const uint32_t *ids, uint32_t n, const struct row_bits *live,
        const struct row_bits *filter, struct hnsw_pool *best);
/* exact_scan_all - the same over all rows [0, n); -VX_ERR_cancelled. */
int exact_scan_all(const struct exact_query *e, uint32_t n, struct index_query *q, struct hnsw_pool *best);

/* --- pools --- */
/* pool_offer - insert into a sorted pool of at most cap; returns the position or cap when it was not good enough. */
static inline bool hnsw_less(float d, uint32_t id, const struct hnsw_cand *c)
{
	return d < c->d || (d == c->d && id < (c->id & ~HNSW_SEEN));
}
static inline uint32_t hnsw_offer(struct hnsw_pool *p, float d, uint32_t id)
{
	uint32_t lo = 0, len = p->n;
	if (len == p->cap && !hnsw_less(d, id, &p->c[len - 1]))
		return p->cap;
	/* the first place not nearer than d, by halving without branches: each outcome is a coin toss to the predictor */
	const struct hnsw_cand *c = p->c;
	while (len > 1) {
		uint32_t half = len >> 1;
		lo += half & -(uint32_t)(c[lo + half - 1].d < d);
		len -= half;
	}
	if (len)
		lo += c[lo].d < d;
	while (lo < p->n && !hnsw_less(d, id, &c[lo])) /* ties, by number */
		lo++;
	uint32_t end = p->n < p->cap ? p->n++ : p->n - 1;
	__builtin_memmove(&p->c[lo + 1], &p->c[lo], (size_t)(end - lo) * sizeof(p->c[0]));
	p->c[lo].d = d;
	p->c[lo].id = id;
	if (lo < p->next)
		p->next = lo;
	return lo;
}

/* --- walking (hnsw_search.c) --- */
/* hnsw_greedy - from `from` down to the nearest node of level `stop`+1, walking by steps of one. */
uint32_t hnsw_greedy(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, struct hnsw_work *w,
        uint32_t from, uint32_t level, uint32_t stop, float *ret_d);
/* hnsw_descend - w->pool becomes the ef nearest nodes of level `stop`+1, found by beams from the entry point down; the entry alone
 * when it is not above `stop`.  Row `skip` is not met on the way (HNSW_EMPTY: all are).
 * w->pool.cap is ef after it. */
void hnsw_descend(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, struct hnsw_work *w,
        uint64_t entry, uint32_t stop, uint32_t ef, uint32_t skip);
/* hnsw_beam - fill w->pool with the ef nearest nodes of a level, started from the pool's content.  @keep: of a crowd of equals so
 * many stay, the others are passed by; 0: none are. */
int hnsw_beam(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, struct hnsw_work *w, uint32_t level,
        uint32_t keep, const _Atomic int *cancel, uint64_t *hops);
/* hnsw_beam_near - the same for a writer, which looks for neighbours. */
void hnsw_beam_near(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, struct hnsw_work *w,
        uint32_t level, uint64_t *hops);

/* --- equal nodes (hnsw_crowd.c) --- */
bool hnsw_equal(const struct index *ix, const struct hnsw_view *v, uint32_t a, uint32_t b);
/* hnsw_crowd_most - nodes equal to each other that one selection takes. */
uint32_t hnsw_crowd_most(const struct hnsw_view *v);
/* hnsw_thin - w->wr->alive: places of n sorted candidates, in order, without those of a crowd that are too many. Return how many. */
uint32_t hnsw_thin(const struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, const struct hnsw_cand *cand,
        uint32_t n);
/* hnsw_pass_by - of crowds in the pool @keep stay, the hubs or the first; others will be passed by. Return how many crowds so far. */
uint32_t hnsw_pass_by(const struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t keep, bool hubs);
/* hnsw_drop_passed - of n ids and distances just scored those of crowds passed by are left out. Return how many are left. */
uint32_t hnsw_drop_passed(const struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t n);
/* hnsw_hub - of n ids that which most links point at among those equal to x; HNSW_EMPTY: none is. */
uint32_t hnsw_hub(const struct index *ix, const struct hnsw_view *v, uint32_t x, const uint32_t *ids, uint32_t n);
/* hnsw_hub_of - the same of y and those it leads to on level 0. */
uint32_t hnsw_hub_of(const struct index *ix, const struct hnsw_view *v, uint32_t x, uint32_t y);
/* hnsw_join - x, equal to y and with links of its own already, gets a place in the chain behind y on level 0. */
void hnsw_join(struct index *ix, const struct hnsw_view *v, uint32_t y, uint32_t x);
/* hnsw_own_equals - of n links chosen anew for x, one of a crowd, those to its equals give way to the ones it has: it is they that carry
 * the chain.  keep has room for HNSW_BATCH. Return how many there are. */
uint32_t hnsw_own_equals(const struct index *ix, const struct hnsw_view *v, uint32_t x, uint32_t level,
        struct hnsw_cand *keep, uint32_t n);
bool hnsw_leads_to(const hnsw_link *l, uint32_t most, uint32_t id);

/* --- linking (hnsw_insert.c) --- */
void hnsw_node_lock(struct index *ix, uint32_t row); /* among writers of a parallel build; else nothing */
void hnsw_node_unlock(struct index *ix, uint32_t row);
int hnsw_changed(struct index *ix);
int hnsw_link_row(struct index *ix, struct hnsw_work *w, uint32_t row);
/* hnsw_refresh_row - a linked row gets the links a new one would, beside its own as far as there is room. Single writer. */
void hnsw_refresh_row(struct index *ix, struct hnsw_view *v, struct hnsw_work *w, uint32_t row);
/* hnsw_set_links - replace a link row; in-degrees follow. */
void hnsw_set_links(struct index *ix, const struct hnsw_view *v, uint32_t row, uint32_t level,
        const struct hnsw_cand *sel, uint32_t n);
uint32_t hnsw_select(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, const struct hnsw_cand *cand,
        uint32_t n, uint32_t most, struct hnsw_cand *ret);
uint32_t hnsw_link_n(const hnsw_link *l, uint32_t most);
bool hnsw_force_link(struct index *ix, const struct hnsw_view *v, uint32_t y, uint32_t x);
/* hnsw_reselect - choose a node's links again among n scored candidates, keeping those that nothing else points at. */
void hnsw_reselect(struct index *ix, const struct hnsw_view *v, struct hnsw_work *w, uint32_t row, uint32_t level,
        struct hnsw_cand *cand, uint32_t n, uint32_t dropped);
void hnsw_sort(struct hnsw_cand *c, uint32_t n);

/* --- parts (hnsw_part.c) --- */
bool part_has(const struct index *part, uint32_t row);
void part_drop(struct index *part, uint32_t row); /* the row is linked there no more */
int part_add(struct index *ix, struct index *part); /* taken on success */
void part_hold_free(const struct hnsw_view *v, uint8_t *p);
/* part_room - seal what is linked so far when it has grown to a part's size. Writer, alone. */
int part_room(struct index *ix);

/* --- mapped files (hnsw_io.c) --- */
bool hnsw_cold(const struct hnsw_view *v); /* read by pread, not through the map */
/* hnsw_read - n bytes at @at in the map, by pread, pages' CRC checked at first. false: damaged, ix->failed is set, `to` is zeros */
bool hnsw_read(struct index *ix, const struct hnsw_view *v, const void *at, size_t n, void *to, uint8_t *page);
/* hnsw_image_write - the graph as one image of a file, from @at on; *ret_end is where it ends. @more: another follows. */
int hnsw_image_write(
        struct index *ix, struct os *os, int fd, uint64_t at, uint64_t generation, bool more, uint64_t *ret_end);
/* hnsw_image_open - a sealed part over the image at @at of a file; fd is dup'ed. */
int hnsw_image_open(struct index *ix, int fd, uint64_t at, bool cold, struct index **ret);
void hnsw_map_free(struct hnsw_map *m);
/* hnsw_map_touch - the pages of [p, p + n) have been checked; false: damaged, ix->failed is set. */
int hnsw_map_verify(struct index *ix, const struct hnsw_view *v); /* every page, every link and level */
bool hnsw_map_touch(struct index *ix, const struct hnsw_map *m, const void *p, size_t n);
