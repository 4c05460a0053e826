/* hnsw.c - the graph as an object: making and freeing it, its views and their memory, the grace period, recalibration of codes.
 *
 * A view owns the blocks.  There is one current view; hnsw_view_swap publishes another and frees the old one after a grace period.
 * Memory grows by segments as rows.h has them, never moving what is there.  Only writers come here, except for index_stats. */
#include <math.h>
#include <sched.h>
#include <string.h>
#include "index/hnsw.h"

#define SEED_DEFAULT    0x9e3779b97f4a7c15ull
#define SMALL_DIM       16u /* below it a code saves nothing worth its error */
#define SQ8_LOSS_MAX    0.02 /* mean relative error of a distance; above it bf16 serves */
#define RECALIBRATE_1ST 64u
#define SAMPLE_ROWS     2048u

static uint8_t pick_kind(const struct index *ix)
{
	if (ix->dtype == VXD_binary)
		return ix->metric == VXM_dot || ix->metric == VXM_cosine ? CODE_EXACT : CODE_BITS;
	if (ix->metric == VXM_hamming)
		return CODE_EXACT;
	uint8_t raw = ix->dtype == VXD_f32 && ix->metric != VXM_l1 ? CODE_F32 : CODE_EXACT;
	switch (ix->codes_wanted) {
	case INDEX_CODES_F32:
		return raw;
	case INDEX_CODES_BF16:
		return ix->metric == VXM_l1 ? CODE_SQ8_L1 : CODE_BF16;
	case INDEX_CODES_AUTO:
		if (ix->dim < SMALL_DIM && !(ix->dtype == VXD_i8 && ix->metric != VXM_cosine))
			return raw;
		break;
	default:
		break;
	}
	return ix->metric == VXM_l1 ? CODE_SQ8_L1 : CODE_SQ8;
}
static uint32_t code_bytes(uint8_t kind, uint32_t dim)
{
	switch (kind) {
	case CODE_BF16:
		return dim * 2;
	case CODE_SQ8:
	case CODE_SQ8_L1:
		return dim;
	case CODE_BITS:
		return (dim + 7) / 8;
	default:
		return 0;
	}
}
void hnsw_layout(struct hnsw_view *v, uint32_t M, uint32_t M0, uint8_t kind, uint32_t dim)
{
	v->M = M;
	v->M0 = M0;
	v->codes.kind = kind;
	v->codes.dim = dim;
	v->codes.bytes = code_bytes(kind, dim);
	v->off_meta = M0 * 4;
	v->off_a = v->off_meta + 4;
	v->off_code = v->off_a + 4;
	v->stride = (v->off_code + v->codes.bytes + 7u) & ~7u;
}
int hnsw_view_new(const struct index *ix, uint8_t kind, struct hnsw_view **ret)
{
	struct hnsw_view *v = mem_zalloc(MEM_index, sizeof(*v));
	if (!v)
		return -ENOMEM;
	hnsw_layout(v, ix->M, ix->M0, kind, ix->dim);
	v->nodes_cap_max = HNSW_EMPTY;
	v->codes.in_dim = ix->dim;
	v->codes.metric = ix->metric;
	v->codes.dtype = ix->dtype;
	v->codes.scale = v->codes.inv_scale = 1;
	*ret = v;
	return 0;
}
static size_t seg_bytes(const struct hnsw_view *v, uint32_t s)
{
	return (size_t)rows_seg_count(s) * v->stride;
}
static size_t up_bytes(const struct hnsw_view *v, uint32_t s)
{
	return (size_t)rows_seg_count(s) * (v->M + 1) * sizeof(hnsw_link); /* rows, then whose they are */
}
#define SEG_HUGE ((size_t)1 << 20)
#define SEG_RUN  ((size_t)2 << 20)
/* small segments come from the heap: an index of ten vectors is not worth 2 MiB pages */
static void *seg_alloc(size_t n)
{
	return n < (1u << 20) ? mem_zalloc(MEM_index, n) : mem_huge_alloc(MEM_index, n);
}
static void seg_free(void *p, size_t n)
{
	if (!p)
		return;
	if (n < (1u << 20))
		mem_free(MEM_index, p);
	else
		mem_huge_free(MEM_index, p, n);
}
void hnsw_view_free(struct hnsw_view *v)
{
	if (!v)
		return;
	for (uint32_t s = 0; s < ROWS_SEGS; s++) {
		if (!v->map) {
			if (v->com_hi[s])
				mem_huge_release(MEM_index, atomic_load(&v->seg[s]), seg_bytes(v, s),
				        v->com_hi[s] - v->com_lo[s]);
			else
				mem_free(MEM_index, atomic_load(&v->seg[s]));
			seg_free((void *)atomic_load(&v->up[s]), up_bytes(v, s));
		}
	}
	if (atomic_load(&v->held))
		part_hold_free(v, atomic_load(&v->held));
	hnsw_map_free(v->map);
	mem_free(MEM_index, v->codes.mean);
	mem_free(MEM_index, v->codes.proj);
	mem_free(MEM_index, v->codes.proj_scale);
	mem_free(MEM_index, v);
}
static int up_grow(struct hnsw_view *v, uint32_t s)
{
	if (s >= ROWS_SEGS || rows_seg_first(s) >= HNSW_UP_MAX)
		return -VX_ERR_mem_limit;
	if (atomic_load_explicit(&v->up[s], memory_order_relaxed))
		return 0;
	hnsw_link *p = seg_alloc(up_bytes(v, s));
	if (!p)
		return -ENOMEM;
	atomic_store_explicit(&v->up[s], p, memory_order_release);
	return 0;
}
/* the block of a row may be touched after it.  A large segment is room for addresses only, charged in runs of huge pages from the
 * first row used to the last: a graph over late rows alone pays for those. */
static int nodes_grow(struct hnsw_view *v, uint32_t row)
{
	const uint32_t s = rows_seg(row), first = rows_seg_first(s);
	const size_t all = seg_bytes(v, s), at = (size_t)(row - first) * v->stride;
	uint8_t *p = atomic_load_explicit(&v->seg[s], memory_order_relaxed);
	if (all < SEG_HUGE) {
		if (!p && !(p = mem_zalloc(MEM_index, all)))
			return -ENOMEM;
		atomic_store_explicit(&v->lo[s], first, memory_order_relaxed);
		atomic_store_explicit(&v->hi[s], first + rows_seg_count(s), memory_order_relaxed);
		atomic_store_explicit(&v->seg[s], p, memory_order_release);
		return 0;
	}
	size_t lo = at & ~(SEG_RUN - 1), hi = (at + v->stride + SEG_RUN - 1) & ~(SEG_RUN - 1);
	if (v->com_hi[s]) {
		lo = v->com_lo[s] < lo ? v->com_lo[s] : lo;
		hi = v->com_hi[s] > hi ? v->com_hi[s] : hi;
	}
	size_t more = hi - lo - (v->com_hi[s] - v->com_lo[s]);
	if (more && !mem_huge_commit(MEM_index, more))
		return -ENOMEM;
	if (!p && !(p = mem_huge_reserve(all))) {
		mem_huge_uncommit(MEM_index, more);
		return -ENOMEM;
	}
	v->com_lo[s] = lo;
	v->com_hi[s] = hi;
	atomic_store_explicit(&v->lo[s], first + (uint32_t)((lo + v->stride - 1) / v->stride), memory_order_relaxed);
	uint32_t end = hi / v->stride < rows_seg_count(s) ? (uint32_t)(hi / v->stride) : rows_seg_count(s);
	atomic_store_explicit(&v->hi[s], first + end, memory_order_relaxed);
	atomic_store_explicit(&v->seg[s], p, memory_order_release);
	return 0;
}
static int indeg_grow(struct index *ix, uint32_t s)
{
	if (atomic_load_explicit(&ix->indeg[s], memory_order_relaxed))
		return 0;
	_Atomic uint16_t *p = mem_zalloc(MEM_index, (size_t)rows_seg_count(s) * sizeof(uint16_t));
	if (!p)
		return -ENOMEM;
	atomic_store_explicit(&ix->indeg[s], p, memory_order_release);
	return 0;
}
int hnsw_view_grow(struct index *ix, struct hnsw_view *v, uint32_t row)
{
	uint32_t s = rows_seg(row);
	if (s >= ROWS_SEGS || row >= CONF_ROWS_MAX)
		return -VX_ERR_mem_limit;
	if (atomic_load_explicit(&v->seg[s], memory_order_acquire) &&
	        atomic_load_explicit(&ix->indeg[s], memory_order_acquire) &&
	        row >= atomic_load_explicit(&v->lo[s], memory_order_acquire) &&
	        row < atomic_load_explicit(&v->hi[s], memory_order_acquire))
		return 0;
	pthread_mutex_lock(&ix->grow_lock);
	int rc = nodes_grow(v, row);
	if (!rc)
		rc = indeg_grow(ix, s);
	pthread_mutex_unlock(&ix->grow_lock);
	return rc;
}
/* a run of upper link rows for a node of `levels` upper levels, all EMPTY; freed runs first. A run never spans two segments. */
int hnsw_up_alloc(struct index *ix, struct hnsw_view *v, uint32_t row, uint32_t levels, uint32_t *ret)
{
	int rc = 0;
	uint32_t first;
	pthread_mutex_lock(&ix->grow_lock);
	if (ix->up_free[levels] != HNSW_EMPTY) {
		first = ix->up_free[levels];
		ix->up_free[levels] = atomic_load_explicit(&hnsw_up_row(v, first)[1], memory_order_relaxed);
	} else {
		first = atomic_load_explicit(&v->up_n, memory_order_relaxed);
		uint32_t s = rows_seg(first);
		if (rows_seg(first + levels - 1) != s)
			first = rows_seg_first(++s);
		rc = up_grow(v, s);
		if (!rc)
			atomic_store_explicit(&v->up_n, first + levels, memory_order_relaxed);
	}
	if (!rc)
		for (uint32_t i = 0; i < levels * v->M; i++)
			atomic_store_explicit(&hnsw_up_row(v, first)[i], HNSW_EMPTY, memory_order_relaxed);
	for (uint32_t i = 0; !rc && i < levels; i++)
		*hnsw_up_owner(v, first + i) = row;
	pthread_mutex_unlock(&ix->grow_lock);
	if (!rc)
		*ret = first;
	return rc;
}
void hnsw_up_release(struct index *ix, struct hnsw_view *v, uint32_t first, uint32_t levels)
{
	pthread_mutex_lock(&ix->grow_lock);
	for (uint32_t i = 0; i < levels * v->M; i++)
		atomic_store_explicit(&hnsw_up_row(v, first)[i], HNSW_EMPTY, memory_order_relaxed);
	/* the chain runs in the second word: the first says that the row is empty */
	atomic_store_explicit(&hnsw_up_row(v, first)[1], ix->up_free[levels], memory_order_relaxed);
	ix->up_free[levels] = first;
	pthread_mutex_unlock(&ix->grow_lock);
}
_Atomic uint16_t *hnsw_indeg(const struct index *ix, uint32_t row)
{
	uint32_t s = rows_seg(row);
	return &atomic_load_explicit(&ix->indeg[s], memory_order_acquire)[row - rows_seg_first(s)];
}
/* hnsw_grace - return when every reader that could have seen the state before the call has left. */
void hnsw_grace(struct index *ix)
{
	uint64_t now = atomic_fetch_add(&ix->epoch, 1) + 1;
	for (uint32_t i = 0; i < ix->readers; i++) {
		for (uint32_t spins = 0;; spins++) {
			uint64_t e = atomic_load(&ix->read_work[i].epoch);
			if (!e || e >= now)
				break;
			if (spins > 64)
				os_sleep_ns(os_real(), 20000);
			else
				sched_yield();
		}
	}
}
void hnsw_view_swap(struct index *ix, struct hnsw_view *nv)
{
	struct hnsw_view *old = atomic_load(&ix->view);
	atomic_store(&ix->view, nv);
	hnsw_grace(ix);
	hnsw_view_free(old);
}
int index_new(const struct vec_rows *rows, const struct index_cfg *cfg, struct index **ret)
{
	uint32_t M = cfg && cfg->M ? cfg->M : 16, efc = cfg && cfg->ef_construction ? cfg->ef_construction : 200;
	uint32_t readers = cfg && cfg->threads ? cfg->threads : 8;
	if (M < 2 || M > HNSW_M_MAX)
		return -VX_ERR_m_range;
	if (efc > CONF_EF_MAX)
		return -VX_ERR_ef_range;
	if (!rows->dim || rows->dim > CONF_DIM_MAX)
		return -VX_ERR_dim_range;
	struct index *ix = mem_zalloc(MEM_index, sizeof(*ix));
	if (!ix)
		return -ENOMEM;
	ix->rows = rows;
	ix->simd = simd_get();
	ix->M = M;
	ix->M0 = 2 * M;
	ix->efc = efc < M ? M : efc;
	ix->readers = readers > HNSW_READERS_MAX ? HNSW_READERS_MAX : readers;
	ix->dim = rows->dim;
	ix->metric = rows->metric;
	ix->dtype = rows->dtype;
	ix->codes_wanted = cfg ? cfg->codes : (uint8_t)INDEX_CODES_AUTO;
	ix->seed = cfg && cfg->seed ? cfg->seed : SEED_DEFAULT;
	ix->os = cfg ? cfg->os : NULL;
	ix->dirfd = cfg ? cfg->dirfd : -1;
	ix->part_bytes = cfg && cfg->os ? cfg->part_bytes : 0;
	ix->level_mult = 1.0 / log((double)M);
	atomic_store(&ix->entry, HNSW_EMPTY);
	atomic_store(&ix->epoch, 1);
	ix->recalibrate_at = 0;
	for (uint32_t i = 0; i <= HNSW_LEVEL_MAX; i++)
		ix->up_free[i] = HNSW_EMPTY;
	pthread_mutex_init(&ix->grow_lock, NULL);
	pthread_mutex_init(&ix->entry_lock, NULL);
	pthread_mutex_init(&ix->hold_lock, NULL);
	atomic_store(&ix->refused_seen, mem_refused());
	struct hnsw_view *v;
	ix->read_work = mem_zalloc(MEM_index_work, ix->readers * sizeof(*ix->read_work));
	ix->write_work = mem_zalloc(MEM_index_work, HNSW_WRITERS_MAX * sizeof(*ix->write_work));
	int rc = ix->read_work && ix->write_work ? hnsw_view_new(ix, pick_kind(ix), &v) : -ENOMEM;
	if (rc) {
		index_free(ix);
		return rc;
	}
	atomic_store(&ix->view, v);
	*ret = ix;
	return 0;
}
static void free_one(struct index *ix)
{
	if (ix->hold)
		part_hold_free(atomic_load(&ix->view), ix->hold);
	hnsw_view_free(atomic_load(&ix->view));
	mem_free(MEM_index, (void *)ix->has);
	for (uint32_t s = 0; s < ROWS_SEGS; s++)
		mem_free(MEM_index, (void *)atomic_load(&ix->indeg[s]));
	for (uint32_t i = 0; ix->read_work && i < ix->readers; i++)
		hnsw_work_done(&ix->read_work[i]);
	for (uint32_t i = 0; ix->write_work && i < HNSW_WRITERS_MAX; i++)
		hnsw_work_done(&ix->write_work[i]);
	mem_free(MEM_index_work, ix->read_work);
	mem_free(MEM_index_work, ix->write_work);
	mem_free(MEM_index_work, ix->dying);
	pthread_mutex_destroy(&ix->grow_lock);
	pthread_mutex_destroy(&ix->entry_lock);
	pthread_mutex_destroy(&ix->hold_lock);
	mem_free(MEM_index, ix);
}
void index_free(struct index *ix)
{
	if (!ix)
		return;
	for (uint32_t i = 0; i < atomic_load(&ix->part_n); i++)
		free_one(ix->part[i]); /* a part has none */
	free_one(ix);
}
bool index_linked(const struct index *ix, uint32_t row)
{
	const struct hnsw_view *v = atomic_load(&ix->view);
	if (hnsw_has(v, row) && (atomic_load_explicit(hnsw_meta(v, row), memory_order_acquire) & HNSW_META_LEVEL))
		return true;
	uint32_t n = atomic_load_explicit(&ix->part_n, memory_order_acquire);
	for (uint32_t i = 0; i < n; i++)
		if (part_has(ix->part[i], row))
			return true;
	return false;
}
uint32_t index_count(const struct index *ix)
{
	uint32_t c = atomic_load_explicit(&ix->count, memory_order_relaxed);
	uint32_t n = atomic_load_explicit(&ix->part_n, memory_order_acquire);
	for (uint32_t i = 0; i < n; i++)
		c += atomic_load_explicit(&ix->part[i]->count, memory_order_relaxed) -
		     atomic_load_explicit(&ix->part[i]->gone, memory_order_relaxed);
	return c;
}
bool index_failed(const struct index *ix)
{
	uint32_t n = atomic_load_explicit(&ix->part_n, memory_order_acquire);
	bool bad = atomic_load_explicit(&ix->failed, memory_order_acquire) != 0;
	for (uint32_t i = 0; i < n && !bad; i++)
		bad = atomic_load_explicit(&ix->part[i]->failed, memory_order_acquire) != 0;
	return bad;
}
bool index_worn(const struct index *ix)
{
	uint32_t n = atomic_load_explicit(&ix->part_n, memory_order_acquire);
	uint64_t gone = 0, all = 0;
	for (uint32_t i = 0; i < n; i++) {
		gone += atomic_load_explicit(&ix->part[i]->gone, memory_order_relaxed);
		all += atomic_load_explicit(&ix->part[i]->count, memory_order_relaxed);
	}
	return gone * 2 > all;
}
void hnsw_seg_range(const struct index *ix, const struct hnsw_view *v, uint32_t s, uint32_t *from, uint32_t *to)
{
	uint32_t n = atomic_load_explicit(&ix->rows->n, memory_order_acquire), lo = rows_seg_first(s),
	         hi = rows_seg_first(s) + rows_seg_count(s);
	*from = *to = lo;
	if (!atomic_load_explicit(&v->seg[s], memory_order_acquire))
		return;
	if (v->map) {
		n = n < v->nodes_cap_max ? n : v->nodes_cap_max;
		lo = lo > v->row_first ? lo : v->row_first;
	} else {
		lo = atomic_load_explicit(&v->lo[s], memory_order_relaxed);
		hi = atomic_load_explicit(&v->hi[s], memory_order_relaxed);
	}
	hi = hi < n ? hi : n;
	*from = lo;
	*to = hi > lo ? hi : lo;
}
void index_stats(const struct index *ix, struct index_stats *ret)
{
	const struct hnsw_view *v = atomic_load(&ix->view);
	uint64_t e = atomic_load(&ix->entry);
	memset(ret, 0, sizeof(*ret));
	ret->nodes = index_count(ix);
	ret->entry = (uint32_t)e;
	ret->max_level = (uint32_t)(e >> 32);
	ret->M = ix->M;
	ret->looked = atomic_load_explicit(&ix->looked, memory_order_relaxed);
	ret->ef_construction = ix->efc;
	ret->mapped = v->map != NULL;
	ret->codes = v->codes.kind == CODE_BF16                                  ? INDEX_CODES_BF16
	             : v->codes.kind == CODE_SQ8 || v->codes.kind == CODE_SQ8_L1 ? INDEX_CODES_SQ8
	                                                                         : INDEX_CODES_F32;
	uint64_t b = 0;
	for (uint32_t s = 0; s < ROWS_SEGS; s++) {
		uint32_t from, to;
		hnsw_seg_range(ix, v, s, &from, &to);
		b += (uint64_t)(to - from) * (v->stride + (v->map ? 0 : 2));
	}
	b += (uint64_t)atomic_load(&v->up_n) * (v->M + (v->map ? 0 : 1)) * 4;
	*(v->map ? &ret->mapped_bytes : &ret->bytes) = b;
	uint32_t n = atomic_load_explicit(&ix->part_n, memory_order_acquire);
	ret->parts = n;
	for (uint32_t i = 0; i < n; i++) {
		const struct index *p = ix->part[i];
		const struct hnsw_view *pv = atomic_load(&p->view);
		ret->bytes += ((uint64_t)pv->nodes_cap_max - pv->row_first) / 8;
		if (atomic_load_explicit(&pv->held, memory_order_relaxed)) {
			ret->bytes += ((uint64_t)pv->nodes_cap_max - pv->row_first) * pv->held_stride;
			ret->parts_held++;
		}
		ret->mapped_bytes += ((uint64_t)pv->nodes_cap_max - pv->row_first) * pv->stride +
		                     (uint64_t)atomic_load(&pv->up_n) * pv->M * 4;
	}
}

/* --- recalibration --- */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ull;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebull;
	return x ^ x >> 31;
}
/* copy a view's links and levels; codes are made anew unless the calibration is the same */
static int copy_view(struct index *ix, const struct hnsw_view *v, struct hnsw_view *nv, bool recode)
{
	float *scratch = mem_alloc(MEM_index_work, ((size_t)ix->dim + 1) * sizeof(float));
	int8_t *scratch8 = mem_alloc(MEM_index_work, ix->dim);
	int rc = scratch && scratch8 ? 0 : -ENOMEM;
	for (uint32_t s = 0; !rc && s < ROWS_SEGS; s++) {
		uint32_t row, end;
		hnsw_seg_range(ix, v, s, &row, &end);
		for (; !rc && row < end; row++) {
			const uint8_t *from = hnsw_block(v, row);
			if (!(atomic_load_explicit(hnsw_meta(v, row), memory_order_relaxed) & HNSW_META_LEVEL))
				continue; /* a row without a node has no block worth copying */
			if (row < atomic_load(&nv->lo[s]) || row >= atomic_load(&nv->hi[s]))
				rc = nodes_grow(nv, row);
			if (rc)
				break;
			memcpy(hnsw_block(nv, row), from, recode ? v->off_a : v->stride);
			if (recode)
				(void)codes_put(ix, nv, row, scratch, scratch8); /* its loss is in the calibration */
		}
	}
	uint32_t up = atomic_load(&v->up_n);
	for (uint32_t s = 0; !rc && s < ROWS_SEGS && rows_seg_first(s) < up; s++) {
		rc = up_grow(nv, s);
		if (!rc) {
			uint32_t n =
			        up - rows_seg_first(s) < rows_seg_count(s) ? up - rows_seg_first(s) : rows_seg_count(s);
			memcpy((void *)hnsw_up_row(nv, rows_seg_first(s)),
			        (const void *)hnsw_up_row(v, rows_seg_first(s)), (size_t)n * v->M * 4);
			if (!v->map) /* of a file's rows up_free_find tells whose they are */
				memcpy(hnsw_up_owner(nv, rows_seg_first(s)), hnsw_up_owner(v, rows_seg_first(s)),
				        (size_t)n * sizeof(uint32_t));
		}
	}
	atomic_store(&nv->up_n, up);
	mem_free(MEM_index_work, scratch);
	mem_free(MEM_index_work, scratch8);
	return rc;
}
static void *copy_of(const void *p, size_t n)
{
	void *to = mem_alloc(MEM_index, n);
	if (to)
		memcpy(to, p, n);
	return to;
}
int hnsw_codes_copy(struct codes *to, const struct codes *from)
{
	*to = *from;
	to->mean = from->mean ? copy_of(from->mean, from->in_dim * sizeof(float)) : NULL;
	to->proj = from->proj ? copy_of(from->proj, (size_t)from->dim * from->in_dim) : NULL;
	to->proj_scale = from->proj ? copy_of(from->proj_scale, from->dim * sizeof(float)) : NULL;
	return (from->mean && !to->mean) || (from->proj && (!to->proj || !to->proj_scale)) ? -ENOMEM : 0;
}
/* hnsw_recode - measure the codes on a fresh sample (linked rows, or @sample) and, if another calibration is clearly better or
 * @force, recode every node into a new view.  Writer, alone. */
int hnsw_recode(struct index *ix, const uint32_t *sample, uint32_t sample_n, bool force)
{
	struct hnsw_view *v = atomic_load(&ix->view), *nv = NULL;
	uint32_t *ids, n = 0, total = atomic_load_explicit(&ix->rows->n, memory_order_acquire);
	if (codes_exact(&v->codes))
		return 0;
	ids = mem_alloc(MEM_index_work, SAMPLE_ROWS * sizeof(*ids));
	int rc = ids ? hnsw_view_new(ix, pick_kind(ix), &nv) : -ENOMEM;
	for (uint32_t i = 0; !rc && i < 8 * SAMPLE_ROWS && n < SAMPLE_ROWS; i++) {
		if (sample) {
			if (i >= sample_n && i > 0)
				break;
			ids[n++] = sample[sample_n <= SAMPLE_ROWS ? i : (uint32_t)(mix(ix->seed + i) % sample_n)];
			continue;
		}
		uint32_t row = total <= SAMPLE_ROWS ? i : (uint32_t)(mix(ix->seed + i) % total);
		if (row >= total)
			break;
		if (hnsw_has(v, row) && (atomic_load(hnsw_meta(v, row)) & HNSW_META_LEVEL))
			ids[n++] = row;
	}
	if (!rc)
		rc = codes_calibrate(ix, &nv->codes, ids, n, !ix->no_project);
	if (!rc)
		hnsw_layout(nv, ix->M, ix->M0, nv->codes.kind, nv->codes.dim);
	if (!rc && ix->codes_wanted == INDEX_CODES_AUTO && nv->codes.kind == CODE_SQ8 && !nv->codes.proj &&
	        nv->codes.loss > SQ8_LOSS_MAX) {
		hnsw_layout(nv, ix->M, ix->M0, CODE_BF16, ix->dim);
		rc = codes_calibrate(ix, &nv->codes, ids, n, false);
	}
	double old = rc ? 0 : codes_error(ix, &v->codes, ids, n), now = rc ? 0 : codes_error(ix, &nv->codes, ids, n);
	mem_free(MEM_index_work, ids);
	if (rc || !(force || nv->codes.kind != v->codes.kind || !nv->codes.proj != !v->codes.proj || old > 1.2 * now)) {
		hnsw_view_free(nv);
		return rc;
	}
	rc = copy_view(ix, v, nv, true);
	if (rc) {
		hnsw_view_free(nv);
		return rc;
	}
	hnsw_view_swap(ix, nv);
	return 0;
}
/* the published file carries neither whose an upper row is nor the chains of free ones: what no node uses is free */
static int up_free_find(struct index *ix, struct hnsw_view *v)
{
	uint32_t up = atomic_load(&v->up_n);
	uint8_t *used = mem_zalloc(MEM_index_work, (size_t)up / 8 + 1);
	if (!used)
		return -ENOMEM;
	for (uint32_t s = 0; s < ROWS_SEGS; s++) {
		uint32_t row, end;
		hnsw_seg_range(ix, v, s, &row, &end);
		for (; row < end; row++) {
			uint32_t meta = atomic_load(hnsw_meta(v, row));
			for (uint32_t l = 1; l < (meta & HNSW_META_LEVEL); l++) {
				uint32_t r = (meta >> HNSW_META_SHIFT) + l - 1;
				used[r >> 3] = (uint8_t)(used[r >> 3] | 1u << (r & 7));
				*hnsw_up_owner(v, r) = row;
			}
		}
	}
	for (uint32_t r = 0; r < up; r++)
		if (!(used[r >> 3] >> (r & 7) & 1))
			hnsw_up_release(ix, v, r, 1);
	mem_free(MEM_index_work, used);
	return 0;
}
int index_resident(struct index *ix)
{
	struct hnsw_view *v = atomic_load(&ix->view), *nv = NULL;
	if (!v->map)
		return 0;
	VX_TRY(hnsw_map_verify(ix, v));
	VX_TRY(hnsw_view_new(ix, v->codes.kind, &nv));
	int rc = hnsw_codes_copy(&nv->codes, &v->codes);
	if (!rc)
		rc = copy_view(ix, v, nv, false);
	for (uint32_t s = 0; !rc && s < ROWS_SEGS; s++) {
		uint32_t row, end;
		hnsw_seg_range(ix, nv, s, &row, &end);
		if (row < end)
			rc = indeg_grow(ix, s);
		for (; !rc && row < end; row++) {
			hnsw_link *l = hnsw_links0(nv, row);
			if (!(atomic_load(hnsw_meta(nv, row)) & HNSW_META_LEVEL))
				continue;
			for (uint32_t j = 0; j < nv->M0 && l[j] != HNSW_EMPTY; j++)
				if (rows_seg(l[j]) != s)
					rc = indeg_grow(ix, rows_seg(l[j]));
			for (uint32_t j = 0; !rc && j < nv->M0 && l[j] != HNSW_EMPTY; j++)
				if (*hnsw_indeg(ix, l[j]) < UINT16_MAX)
					++*hnsw_indeg(ix, l[j]);
		}
	}
	if (rc) {
		hnsw_view_free(nv);
		return rc;
	}
	if ((rc = up_free_find(ix, nv))) {
		hnsw_view_free(nv);
		return rc;
	}
	ix->recalibrate_at = index_count(ix) < RECALIBRATE_1ST ? RECALIBRATE_1ST : index_count(ix) * 4u;
	hnsw_view_swap(ix, nv);
	return 0;
}
int hnsw_writable(struct index *ix)
{
	return index_resident(ix);
}
