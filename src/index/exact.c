/* exact.c - distances on the stored vectors, and the exact scan built on them: the oracle, the fallback and the re-rank.
 *
 * f32 vectors go to the kernels directly.  Other element types are widened in runs of RUN elements on the stack and the kernels'
 * sums added up: every metric here is a sum over elements (cosine is made of three), so runs add.  A distance that is not a number
 * (possible only with infinite elements) counts as infinite, so it sorts last and never breaks an order. */
#include <math.h>
#include <string.h>
#include "base/trim.h"
#include "index/hnsw.h"

#define RUN      64u
#define SCAN_RUN 32u

static float finite_or_inf(float d)
{
	return d == d ? d : INFINITY;
}
static uint32_t bits_and(const uint8_t *a, const uint8_t *b, uint32_t n)
{
	uint32_t s = 0;
	for (uint32_t i = 0; i < n; i++)
		s += (uint32_t)__builtin_popcount((unsigned)(a[i] & b[i]));
	return s;
}
static float hamming_f32(const float *a, const float *b, uint32_t n)
{
	uint32_t s = 0;
	for (uint32_t i = 0; i < n; i++)
		s += a[i] != b[i];
	return (float)s;
}
static float run_f32(const struct simd *k, uint8_t metric, const float *a, const float *b, uint32_t n)
{
	switch (metric) {
	case VXM_l2:
		return k->l2_f32(a, b, n);
	case VXM_l1:
		return k->l1_f32(a, b, n);
	case VXM_hamming:
		return hamming_f32(a, b, n);
	default:
		return k->dot_f32(a, b, n);
	}
}
/* the metric's sum over elements; cosine's is the dot product */
static float sum_any(const struct simd *k, const struct vec_rows *r, uint8_t metric, const void *a, const void *b)
{
	float x[RUN], y[RUN];
	double s = 0;
	if (r->dtype == VXD_f32)
		return run_f32(k, metric, a, b, r->dim);
	for (uint32_t i = 0; i < r->dim; i += RUN) {
		uint32_t n = r->dim - i < RUN ? r->dim - i : RUN;
		simd_to_f32(a, r->dtype, i, n, x);
		simd_to_f32(b, r->dtype, i, n, y);
		s += (double)run_f32(k, metric, x, y, n);
	}
	return (float)s;
}
static float distance_binary(const struct simd *k, const struct vec_rows *r, const uint8_t *a, const uint8_t *b)
{
	uint32_t n = (r->dim + 7u) / 8u;
	if (r->metric == VXM_dot)
		return -(float)bits_and(a, b, n);
	if (r->metric == VXM_cosine) {
		float na = (float)bits_and(a, a, n), nb = (float)bits_and(b, b, n);
		return na > 0 && nb > 0 ? 1.0f - (float)bits_and(a, b, n) / sqrtf(na * nb) : 1.0f;
	}
	return (float)k->hamming(a, b, n); /* l1 and squared l2 of bits are the same number */
}
float exact_norm2(const struct simd *simd, const struct vec_rows *rows, const void *v)
{
	return sum_any(simd, rows, VXM_dot, v, v);
}
void exact_init(struct exact_query *e, const struct vec_rows *rows, const void *q)
{
	e->rows = rows;
	e->simd = simd_get();
	e->q = q;
	e->qnorm2 = rows->metric == VXM_cosine && rows->dtype != VXD_binary ? exact_norm2(e->simd, rows, q) : 0;
}
float exact_distance(const struct exact_query *e, const void *v)
{
	const struct vec_rows *r = e->rows;
	if (!v)
		return INFINITY;
	if (r->dtype == VXD_binary)
		return distance_binary(e->simd, r, e->q, v);
	if (r->metric == VXM_cosine) {
		float n = exact_norm2(e->simd, r, v);
		if (!(n > 0) || !(e->qnorm2 > 0))
			return 1.0f;
		/* the norms apart: their product may leave the range of a float */
		return finite_or_inf(1.0f - sum_any(e->simd, r, VXM_dot, e->q, v) / sqrtf(n) / sqrtf(e->qnorm2));
	}
	float s = sum_any(e->simd, r, r->metric, e->q, v);
	return finite_or_inf(r->metric == VXM_dot ? -s : s);
}
const void *exact_read(const struct vec_rows *r, struct os *os, uint32_t row, uint8_t *buf)
{
	uint32_t s = rows_seg(row);
	int fd1 = s < ROWS_SEGS ? atomic_load_explicit(&r->fd1[s], memory_order_acquire) : 0;
	const void *map = rows_vec(r, row);
	if (!fd1 || !map || !buf)
		return map;
	off_t at = (off_t)r->file_off + (off_t)(row - rows_seg_first(s)) * r->stride + r->vec_off;
	return os_pread_all(os, fd1 - 1, buf, rows_vec_bytes(r->dim, r->dtype), at) ? map : buf;
}
float flat_distance(const struct vec_rows *rows, const void *a, const void *b)
{
	struct exact_query e;
	exact_init(&e, rows, a);
	return exact_distance(&e, b);
}
int exact_check_query(const struct vec_rows *rows, const void *q)
{
	if (rows->dtype == VXD_binary)
		return 0;
	float x[RUN];
	bool zero = true;
	for (uint32_t i = 0; i < rows->dim; i += RUN) {
		uint32_t n = rows->dim - i < RUN ? rows->dim - i : RUN;
		simd_to_f32(q, rows->dtype, i, n, x);
		if (!simd_finite(x, n))
			return -VX_ERR_not_finite;
		for (uint32_t j = 0; zero && j < n; j++)
			zero = x[j] == 0;
	}
	return zero && rows->metric == VXM_cosine ? -VX_ERR_zero_vector : 0;
}
uint64_t exact_scan_rows(const struct exact_query *e, const uint32_t *ids, uint32_t n, const struct row_bits *live,
        const struct row_bits *filter, struct hnsw_pool *best)
{
	const uint32_t rows_n = atomic_load_explicit(&e->rows->n, memory_order_acquire);
	uint64_t done = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (ids[i] >= rows_n || !row_bit(live, ids[i]) || (filter && !row_bit(filter, ids[i])))
			continue;
		const void *v = rows_vec(e->rows, ids[i]);
		if (!v)
			continue;
		hnsw_offer(best, exact_distance(e, v), ids[i]);
		done++;
	}
	return done;
}
static void scan_run(
        const struct exact_query *e, const uint32_t *ids, const void *const *v, uint32_t n, struct hnsw_pool *best)
{
	float d[SCAN_RUN];
	const struct vec_rows *r = e->rows;
	if (r->dtype == VXD_f32 && r->metric == VXM_l2) {
		e->simd->l2_f32_n(v, n, e->q, r->dim, d);
	} else {
		for (uint32_t i = 0; i < n; i++)
			d[i] = exact_distance(e, v[i]);
	}
	for (uint32_t i = 0; i < n; i++)
		hnsw_offer(best, finite_or_inf(d[i]), ids[i]);
}
int exact_scan_all(const struct exact_query *e, uint32_t n, struct index_query *q, struct hnsw_pool *best)
{
	uint32_t ids[SCAN_RUN], m = 0;
	const void *v[SCAN_RUN];
	if (n > q->live->n)
		n = q->live->n;
	if (q->filter && n > q->filter->n)
		n = q->filter->n;
	for (uint32_t base = 0; base < n; base += 64) {
		uint64_t w = atomic_load_explicit(&q->live->w[base >> 6], memory_order_relaxed);
		if (q->filter)
			w &= atomic_load_explicit(&q->filter->w[base >> 6], memory_order_relaxed);
		if (n - base < 64)
			w &= (1ull << (n - base)) - 1;
		if (!(base & 0xfff))
			trim_poll();
		if (!(base & 0xfff) && q->cancel && atomic_load_explicit(q->cancel, memory_order_relaxed))
			return -VX_ERR_cancelled;
		for (; w; w &= w - 1) {
			uint32_t row = base + (uint32_t)__builtin_ctzll(w);
			const uint8_t *p = rows_vec(e->rows, row);
			if (!p)
				continue;
			__builtin_prefetch(p);
			__builtin_prefetch(p + 64);
			ids[m] = row;
			v[m++] = p;
			if (m == SCAN_RUN) {
				scan_run(e, ids, v, m, best);
				q->distances += m;
				m = 0;
			}
		}
	}
	scan_run(e, ids, v, m, best);
	q->distances += m;
	return 0;
}
int flat_search(const struct vec_rows *rows, struct index_query *q, struct index_hit *ret)
{
	struct exact_query e;
	struct hnsw_pool best = {.cap = q->k};
	q->distances = q->hops = 0;
	q->exact = true;
	if (!q->k || q->k > CONF_K_MAX)
		return -VX_ERR_k_range;
	VX_TRY(exact_check_query(rows, q->q));
	best.c = mem_alloc(MEM_index_work, ((size_t)q->k + 1) * sizeof(best.c[0]));
	if (!best.c)
		return -ENOMEM;
	exact_init(&e, rows, q->q);
	int rc = exact_scan_all(&e, atomic_load_explicit(&rows->n, memory_order_acquire), q, &best);
	for (uint32_t i = 0; rc >= 0 && i < best.n; i++)
		ret[i] = (struct index_hit){.row = best.c[i].id, .distance = best.c[i].d};
	mem_free(MEM_index_work, best.c);
	return rc < 0 ? rc : (int)best.n;
}
float index_score(uint8_t metric, uint32_t dim, float distance)
{
	switch (metric) {
	case VXM_cosine:
		return 1.0f - distance;
	case VXM_dot:
		return -distance;
	case VXM_hamming:
		return dim ? 1.0f - distance / (float)dim : 0;
	default:
		return 1.0f / (1.0f + distance);
	}
}
