/* codes.c - compact copies of the vectors, kept in the node blocks, on which the graph is walked.
 *
 * The space: l2 and dot use the vector itself, cosine the vector scaled to length one, where half the squared distance is 1 - cos.
 * l2 and cosine are indifferent to a shift, so the sample's mean is taken off first; what is left uses the whole code range.
 *
 * SQ8: x - mean is about scale * (c - 128), c one byte, one scale for all dimensions: the squared distance adds the errors of all
 * dimensions alike, so equal steps are the right ones, and a step chosen by measured error (clipping a few outliers) beats the
 * extremes.  The query becomes e, signed bytes with a step t of its own, and
 *
 *     |x - q|^2 = a + t^2 sum e^2 - 2 scale t (sum c e - 128 sum e),   a = scale^2 sum (c - 128)^2, kept beside the code.
 *
 * A node's own code serves as a query too (e = c - 128, t = scale), so building compares codes with codes.
 * bf16: the shifted vector in 16 bits, against an f32 query.  i8 vectors under l2 and dot are their own SQ8 code, without loss.
 * Hits are re-ranked on the stored vectors, so codes decide only where the walk goes and who reaches the re-rank. */
#include <math.h>
#include <string.h>
#include "index/hnsw.h"

#define SAMPLE_MAX 2048u
#define PAIRS      256u
#define ERROR_ROWS 128u
#define SCORE_RUN  HNSW_COLD_RUN /* scored at once: what the stack holds */

static bool shifts(const struct codes *c)
{
	return (c->metric == VXM_l2 || c->metric == VXM_cosine || c->metric == VXM_l1) && c->dtype != VXD_i8;
}
/* a stored vector in the space the codes are made in, mean not yet taken off */
static bool to_space(const struct codes *c, const struct simd *k, const void *v, float *out)
{
	if (!v)
		return false;
	simd_to_f32(v, c->dtype, 0, c->in_dim, out);
	if (c->metric != VXM_cosine)
		return true;
	float n = k->dot_f32(out, out, c->in_dim);
	if (!(n > 0))
		return true;
	/* two factors: 1/sqrt alone may be out of range where n is tiny or infinite */
	float inv = 1.0f / sqrtf(n);
	if (!isfinite(inv) || inv == 0) {
		float m = 0;
		for (uint32_t i = 0; i < c->in_dim; i++)
			m = fmaxf(m, fabsf(out[i]));
		for (uint32_t i = 0; i < c->in_dim; i++)
			out[i] /= m;
		inv = 1.0f / sqrtf(k->dot_f32(out, out, c->in_dim));
	}
	for (uint32_t i = 0; i < c->in_dim; i++)
		out[i] *= inv;
	return true;
}
static void shift(const struct codes *c, float *x)
{
	if (c->mean)
		for (uint32_t i = 0; i < c->in_dim; i++)
			x[i] -= c->mean[i];
}
/* a stored vector as codes are made of it: in the space, shifted, projected */
static bool components(const struct codes *c, const struct simd *k, const void *v, float *x, int8_t *e)
{
	if (!to_space(c, k, v, x))
		return false;
	shift(c, x);
	if (c->proj)
		project_apply(k, c, x, e);
	return true;
}
static uint8_t quant(float x, float inv_scale, uint32_t *clipped)
{
	float f = x * inv_scale;
	f = f < 0 ? f - 0.5f : f + 0.5f;
	if (!(f > -128.5f)) {
		++*clipped;
		return 0;
	}
	if (f >= 128.0f) {
		++*clipped;
		return 255;
	}
	return (uint8_t)((int32_t)f + 128);
}
uint32_t codes_put(const struct index *ix, struct hnsw_view *v, uint32_t row, float *scratch, int8_t *scratch8)
{
	const struct codes *c = &v->codes;
	uint8_t *block = hnsw_block(v, row), *code = block + v->off_code;
	float *a = (float *)(block + v->off_a);
	const void *vec = rows_vec(ix->rows, row);
	uint32_t clipped = 0;
	*a = 0;
	if (c->kind == CODE_EXACT || c->kind == CODE_F32)
		return 0;
	if (c->kind == CODE_BITS) {
		if (vec)
			memcpy(code, vec, c->bytes);
		return 0;
	}
	if (!components(c, ix->simd, vec, scratch, scratch8)) {
		memset(code, 0, c->bytes);
		return 0;
	}
	if (c->kind == CODE_BF16) {
		for (uint32_t i = 0; i < c->dim; i++)
			((uint16_t *)code)[i] = simd_f32_bf16(scratch[i]);
		return 0;
	}
	int64_t norm2 = 0;
	for (uint32_t i = 0; i < c->dim; i++) {
		code[i] = quant(scratch[i], c->inv_scale, &clipped);
		int32_t s = code[i] - 128;
		norm2 += (int64_t)(s * s);
	}
	*a = c->scale * c->scale * (float)norm2;
	return clipped;
}
static void scorer_init(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s)
{
	s->ix = ix;
	s->v = v;
	s->mul = s->add = s->wa = s->qnorm2 = 0;
	s->bias = 0;
	s->e = NULL;
	s->q = NULL;
	s->cold = NULL;
	s->distances = 0;
}
/* the coefficients from a query's step t, sum of e and sum of e^2 */
static void sq8_terms(struct hnsw_scorer *s, float t, int64_t sum, int64_t sum2)
{
	const struct codes *c = &s->v->codes;
	s->bias = (int32_t)(128 * sum);
	if (c->metric == VXM_dot) {
		s->mul = -c->scale * t;
		return;
	}
	float half = c->metric == VXM_cosine ? 0.5f : 1.0f;
	s->wa = half;
	s->mul = -2.0f * half * c->scale * t;
	s->add = half * t * t * (float)sum2;
}
void codes_query(
        struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, const void *q, float *qf, int8_t *qe)
{
	const struct codes *c = &v->codes;
	scorer_init(ix, v, s);
	if (c->kind == CODE_EXACT || c->kind == CODE_BITS) {
		struct exact_query e;
		exact_init(&e, ix->rows, q);
		s->q = q;
		s->qnorm2 = e.qnorm2;
		return;
	}
	if (c->kind == CODE_F32) {
		s->q = q;
		if (c->metric == VXM_cosine) {
			float n = ix->simd->dot_f32(q, q, c->dim);
			s->mul = n > 0 ? -1.0f / sqrtf(n) : 0;
		}
		return;
	}
	(void)components(c, ix->simd, q, qf, qe); /* q is there */
	s->q = qf;
	if (c->kind == CODE_BF16)
		return;
	s->e = qe;
	if (c->kind == CODE_SQ8_L1) {
		uint32_t clipped = 0;
		for (uint32_t i = 0; i < c->dim; i++)
			qe[i] = (int8_t)quant(qf[i], c->inv_scale, &clipped);
		s->mul = c->scale;
		return;
	}
	int32_t sum, sum2;
	float t = ix->simd->absmax_f32(qf, c->dim) / 127.0f;
	ix->simd->quant_s8(qf, c->dim, t > 0 && isfinite(1.0f / t) ? 1.0f / t : 0, qe, &sum, &sum2);
	sq8_terms(s, t, sum, sum2);
}
void codes_node(struct index *ix, const struct hnsw_view *v, struct hnsw_scorer *s, uint32_t row, float *qf, int8_t *qe)
{
	const struct codes *c = &v->codes;
	const uint8_t *code = hnsw_block(v, row) + v->off_code;
	scorer_init(ix, v, s);
	switch (c->kind) {
	case CODE_EXACT:
	case CODE_F32: {
		const void *q = rows_vec(ix->rows, row);
		if (q)
			codes_query(ix, v, s, q, qf, qe);
		break;
	}
	case CODE_BITS:
		s->q = code;
		break;
	case CODE_BF16:
		for (uint32_t i = 0; i < c->dim; i++)
			qf[i] = simd_bf16_f32(((const uint16_t *)code)[i]);
		s->q = qf;
		break;
	case CODE_SQ8_L1:
		memcpy(qe, code, c->dim);
		s->e = qe;
		s->mul = c->scale;
		break;
	default: {
		int32_t sum = 0, sum2 = 0;
		for (uint32_t i = 0; i < c->dim; i++) {
			int32_t e = (int32_t)code[i] - 128;
			qe[i] = (int8_t)e;
			sum += e;
			sum2 += e * e;
		}
		s->e = qe;
		sq8_terms(s, c->scale, sum, sum2);
	}
	}
}
static void score_exact(struct hnsw_scorer *s, const uint32_t *ids, uint32_t n, float *ret)
{
	struct exact_query e = {.rows = s->ix->rows, .simd = s->ix->simd, .q = s->q, .qnorm2 = s->qnorm2};
	for (uint32_t i = 0; i < n; i++)
		ret[i] = s->q ? exact_distance(&e, rows_vec(e.rows, ids[i])) : INFINITY;
}
static void score_run(struct hnsw_scorer *s, const uint32_t *ids, uint32_t n, float *ret)
{
	const struct hnsw_view *v = s->v;
	const struct codes *c = &v->codes;
	const struct simd *k = s->ix->simd;
	const void *p[SCORE_RUN];
	int32_t dot[SCORE_RUN];
	const uint8_t *held = atomic_load_explicit(&v->held, memory_order_acquire);
	p[0] = NULL; /* n is not 0 */
	if (held) {
		for (uint32_t i = 0; i < n; i++)
			p[i] = held + (size_t)(ids[i] - v->row_first) * v->held_stride + (v->off_code - v->off_a);
	} else if (s->cold && c->bytes) {
		/* what lies between the links and the end of the code, node by node */
		uint32_t head = v->off_code - v->off_a;
		uint8_t *to = s->cold + HNSW_PAGE + 128 * sizeof(hnsw_link);
		for (uint32_t i = 0; i < n; i++, to += (head + c->bytes + 7u) & ~7u) {
			(void)hnsw_read(s->ix, v, hnsw_block(v, ids[i]) + v->off_a, head + c->bytes, to,
			        s->cold); /* damage is kept in ix->failed */
			p[i] = to + head;
		}
	} else if (c->bytes) {
		for (uint32_t i = 0; i < n; i++)
			p[i] = hnsw_block(v, ids[i]) + v->off_code;
	}
	if (v->map && !s->cold) {
		for (uint32_t i = 0; i < n; i++)
			(void)hnsw_map_touch(
			        s->ix, v->map, hnsw_block(v, ids[i]), v->stride); /* damage is kept in ix->failed */
	}
	switch (c->kind) {
	case CODE_EXACT:
		score_exact(s, ids, n, ret);
		return;
	case CODE_F32:
		for (uint32_t i = 0; i < n; i++) {
			p[i] = rows_vec(s->ix->rows, ids[i]);
			if (!p[i] || !s->q) {
				score_exact(s, ids, n, ret);
				return;
			}
		}
		if (c->metric == VXM_l2) {
			k->l2_f32_n(p, n, s->q, c->dim, ret);
		} else if (c->metric == VXM_dot) {
			k->dot_f32_n(p, n, s->q, c->dim, ret);
			for (uint32_t i = 0; i < n; i++)
				ret[i] = -ret[i];
		} else { /* lengths are found on the way: keeping them beside the links would cost a cache line each */
			k->cos_f32_n(p, n, s->q, c->dim, ret);
			for (uint32_t i = 0; i < n; i++)
				ret[i] = 1.0f + s->mul * ret[i];
		}
		break;
	case CODE_BITS:
		for (uint32_t i = 0; i < n; i++)
			ret[i] = (float)k->hamming(p[i], s->q, c->bytes);
		return;
	case CODE_BF16:
		for (uint32_t i = 0; i < n; i++) {
			const uint16_t *x = p[i];
			ret[i] = c->metric == VXM_dot
			                 ? -k->dot_bf16(x, s->q, c->dim)
			                 : k->l2_bf16(x, s->q, c->dim) * (c->metric == VXM_cosine ? 0.5f : 1.0f);
		}
		break;
	case CODE_SQ8_L1:
		k->l1_u8_n(p, n, (const uint8_t *)s->e, c->dim, dot);
		for (uint32_t i = 0; i < n; i++)
			ret[i] = s->mul * (float)dot[i];
		return;
	default:
		k->dot_u8s8_n(p, n, s->e, c->dim, dot);
		for (uint32_t i = 0; i < n; i++) {
			const float *a = (const float *)((const uint8_t *)p[i] - v->off_code + v->off_a);
			ret[i] = s->wa * *a + s->mul * (float)(dot[i] - s->bias) + s->add;
		}
	}
	for (uint32_t i = 0; i < n; i++)
		if (!(ret[i] == ret[i]))
			ret[i] = INFINITY;
}
void codes_score(struct hnsw_scorer *s, const uint32_t *ids, uint32_t n, float *ret)
{
	s->distances += n;
	for (uint32_t at = 0; at < n; at += SCORE_RUN)
		score_run(s, ids + at, n - at < SCORE_RUN ? n - at : SCORE_RUN, ret + at);
}
static double sq_err(const struct codes *c, const float *x, float scale)
{
	double s = 0;
	float inv = 1.0f / scale;
	uint32_t clipped = 0;
	for (uint32_t i = 0; i < c->dim; i++) {
		double d = (double)x[i] - (double)scale * ((int)quant(x[i], inv, &clipped) - 128);
		s += d * d;
	}
	return s;
}
/* mean relative error of the distance between coded neighbours in the sample */
static double pair_loss(const struct codes *c, const float *x, uint32_t n)
{
	double sum = 0;
	uint32_t used = 0;
	for (uint32_t i = 0; i + 1 < n && i < PAIRS; i++) {
		const float *a = x + (size_t)i * c->dim, *b = a + c->dim;
		double d = 0, e = 0;
		uint32_t clipped = 0;
		for (uint32_t j = 0; j < c->dim; j++) {
			double u = (double)a[j] - (double)b[j];
			double w = (double)c->scale * ((int)quant(a[j], c->inv_scale, &clipped) -
			                                      (int)quant(b[j], c->inv_scale, &clipped));
			d += u * u;
			e += w * w;
		}
		if (d > 0) {
			sum += fabs(e - d) / d;
			used++;
		}
	}
	return used ? sum / used : 0;
}
/* the step with the least error on the sample */
static void pick_scale(struct codes *c, const float *x, uint32_t m)
{
	float top = 0;
	for (size_t i = 0; i < (size_t)m * c->dim; i++)
		top = fmaxf(top, fabsf(x[i]));
	if (!(top > 0) || !isfinite(top))
		top = 1.0f; /* nothing to go by: one vector, or all alike */
	float best = top / 127.0f;
	if (c->dtype == VXD_i8 && c->metric != VXM_cosine) {
		best = 1.0f;
	} else {
		double best_err = INFINITY;
		uint32_t probe = m < 128 ? m : 128;
		for (float f = 1.0f; f > 0.1f; f *= 0.84f) {
			double e = 0;
			for (uint32_t i = 0; i < probe; i++)
				e += sq_err(c, x + (size_t)(i * (m / probe)) * c->dim, top / 127.0f * f);
			if (e < best_err) {
				best_err = e;
				best = top / 127.0f * f;
			}
		}
	}
	c->scale = best;
	c->inv_scale = 1.0f / best;
	c->loss = pair_loss(c, x, m);
}
int codes_calibrate(const struct index *ix, struct codes *c, const uint32_t *sample, uint32_t n, bool project)
{
	const uint32_t in = c->in_dim;
	if (c->kind == CODE_EXACT || c->kind == CODE_F32 || c->kind == CODE_BITS)
		return 0;
	if (n > SAMPLE_MAX)
		n = SAMPLE_MAX;
	if ((size_t)n * in > (16u << 20)) /* 64 MiB of sample is enough at any dimension */
		n = (uint32_t)((16u << 20) / in);
	float *x = mem_alloc(MEM_index_work, ((size_t)n + 1) * in * sizeof(float)), *mean = NULL;
	int8_t *e = mem_alloc(MEM_index_work, in);
	int rc = x && e ? 0 : -ENOMEM;
	uint32_t m = 0;
	for (uint32_t i = 0; !rc && i < n; i++) {
		float *y = x + (size_t)m * in;
		if (to_space(c, ix->simd, rows_vec(ix->rows, sample[i]), y) && simd_finite(y, in))
			m++;
	}
	c->sample_n = m;
	if (!rc && shifts(c)) {
		mean = mem_zalloc(MEM_index, in * sizeof(float));
		rc = mean ? 0 : -ENOMEM;
		for (uint32_t j = 0; !rc && j < in && m; j++) {
			double s = 0;
			for (uint32_t i = 0; i < m; i++)
				s += (double)x[(size_t)i * in + j];
			mean[j] = (float)(s / m);
		}
	}
	mem_free(MEM_index, c->mean);
	c->mean = mean;
	for (uint32_t i = 0; !rc && i < m; i++)
		shift(c, x + (size_t)i * in);
	if (!rc && project && c->kind == CODE_SQ8 && (c->metric == VXM_l2 || c->metric == VXM_cosine) &&
	        c->dtype != VXD_i8)
		rc = project_train(ix->simd, c, x, m);
	/* from here on the sample's rows are code components, packed */
	for (uint32_t i = 0; !rc && c->proj && i < m; i++) {
		project_apply(ix->simd, c, x + (size_t)i * in, e);
		memmove(x + (size_t)i * c->dim, x + (size_t)i * in, c->dim * sizeof(float));
	}
	if (!rc)
		pick_scale(c, x, m);
	mem_free(MEM_index_work, x);
	mem_free(MEM_index_work, e);
	return rc;
}
double codes_error(const struct index *ix, const struct codes *c, const uint32_t *sample, uint32_t n)
{
	if (c->kind != CODE_SQ8 && c->kind != CODE_SQ8_L1)
		return 0;
	float *x = mem_alloc(MEM_index_work, ((size_t)c->in_dim + 1) * sizeof(float));
	int8_t *q = mem_alloc(MEM_index_work, c->in_dim);
	double e = 0;
	uint32_t m = 0, step = n / ERROR_ROWS + 1; /* from all of the sample: it may be in the order of the rows */
	for (uint32_t i = 0; x && q && i < n; i += step) {
		if (!to_space(c, ix->simd, rows_vec(ix->rows, sample[i]), x) || !simd_finite(x, c->in_dim))
			continue;
		shift(c, x);
		if (c->proj) { /* what lies outside the directions is lost as well */
			e += (double)ix->simd->dot_f32(x, x, c->in_dim);
			project_apply(ix->simd, c, x, q);
			e -= (double)ix->simd->dot_f32(x, x, c->dim);
		}
		e += sq_err(c, x, c->scale);
		m++;
	}
	mem_free(MEM_index_work, x);
	mem_free(MEM_index_work, q);
	return m ? e / m : 0;
}
