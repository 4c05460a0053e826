/* project.c - a shorter space for long vectors: the few directions in which the collection varies most.
 *
 * Real vectors of many dimensions vary mostly in some hundred directions.  Codes in those alone are a fraction of the bytes that a
 * walk must fetch; what they leave out is made good by re-ranking more candidates.  Distances only shrink under projection, by
 * about the same for all near rows.
 *
 * Directions: subspace iteration on the sample's covariance (never formed: two passes over the sample a round), Gram-Schmidt
 * between rounds.  As many are kept as hold KEEP of the variance of rows the training did not see; if that takes more than half of
 * the dimensions there is no projection.  Whether it also keeps neighbours apart is measured on the graph (hnsw_codes_trial).
 *
 * Applied to every vector stored or asked, it must be cheap: directions are kept in bytes with a scale each, and the vector is
 * quantised for it, so that the code kernel does the products; the same rounding on both sides cancels mostly. */
#include <math.h>
#include <string.h>
#include "index/hnsw.h"

#define ROUNDS   6u
#define KEEP     0.95
#define LEAST_IN 128u /* shorter vectors are cheap as they are */
#define MOST_IN  8192u /* longer ones would train for minutes */
#define MOST_OUT 384u
#define STEP     32u

static void orthonormalise(const struct simd *k, float *v, uint32_t m, uint32_t dim)
{
	for (uint32_t i = 0; i < m; i++) {
		float *a = v + (size_t)i * dim;
		for (uint32_t twice = 0; twice < 2; twice++) { /* once loses orthogonality to rounding */
			for (uint32_t j = 0; j < i; j++) {
				const float *b = v + (size_t)j * dim;
				float c = k->dot_f32(a, b, dim);
				for (uint32_t x = 0; x < dim; x++)
					a[x] -= c * b[x];
			}
		}
		float n = sqrtf(k->dot_f32(a, a, dim));
		for (uint32_t x = 0; x < dim; x++)
			a[x] = n > 1e-20f ? a[x] / n : 0;
	}
}
static void start(float *v, size_t n)
{
	uint64_t r = 0x9e3779b97f4a7c15ull;
	for (size_t i = 0; i < n; i++) {
		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		v[i] = (float)(int64_t)r * 0x1p-63f;
	}
}
/* how many directions hold KEEP of the variance of rows [from, n); 0: more than there are */
static uint32_t enough(
        const struct simd *k, const float *x, uint32_t from, uint32_t n, const float *v, uint32_t m, uint32_t dim)
{
	double all = 0, sum = 0;
	for (uint32_t i = from; i < n; i++)
		all += (double)k->dot_f32(x + (size_t)i * dim, x + (size_t)i * dim, dim);
	for (uint32_t j = 0; j < m; j++) {
		for (uint32_t i = from; i < n; i++) {
			double y = (double)k->dot_f32(x + (size_t)i * dim, v + (size_t)j * dim, dim);
			sum += y * y;
		}
		if (sum >= KEEP * all)
			return (j + STEP) / STEP * STEP;
	}
	return 0;
}
static int keep(struct codes *c, const float *v, uint32_t m)
{
	uint8_t *p = mem_alloc(MEM_index, (size_t)m * c->in_dim);
	float *s = mem_alloc(MEM_index, m * sizeof(float));
	if (!p || !s) {
		mem_free(MEM_index, p);
		mem_free(MEM_index, s);
		return -ENOMEM;
	}
	for (uint32_t j = 0; j < m; j++) {
		const float *d = v + (size_t)j * c->in_dim;
		float top = 0;
		for (uint32_t i = 0; i < c->in_dim; i++)
			top = fmaxf(top, fabsf(d[i]));
		s[j] = top > 0 ? top / 127.0f : 1.0f;
		for (uint32_t i = 0; i < c->in_dim; i++)
			p[(size_t)j * c->in_dim + i] = (uint8_t)(lrintf(d[i] / s[j]) + 128);
	}
	c->proj = p;
	c->proj_scale = s;
	c->dim = m;
	return 0;
}
int project_train(const struct simd *k, struct codes *c, const float *x, uint32_t n)
{
	const uint32_t dim = c->in_dim, train = n - n / 4;
	uint32_t m = dim / 2 < MOST_OUT ? dim / 2 : MOST_OUT;
	if (dim < LEAST_IN || dim > MOST_IN || train < 2 * m)
		return 0;
	m -= m % STEP;
	float *v = mem_alloc(MEM_index_work, (size_t)m * dim * sizeof(float));
	float *w = mem_alloc(MEM_index_work, (size_t)m * dim * sizeof(float));
	int rc = v && w ? 0 : -ENOMEM;
	if (!rc) {
		start(v, (size_t)m * dim);
		orthonormalise(k, v, m, dim);
	}
	for (uint32_t r = 0; !rc && r < ROUNDS; r++) {
		memset(w, 0, (size_t)m * dim * sizeof(float));
		for (uint32_t i = 0; i < train; i++) {
			const float *a = x + (size_t)i * dim;
			for (uint32_t j = 0; j < m; j++) {
				float y = k->dot_f32(a, v + (size_t)j * dim, dim), *to = w + (size_t)j * dim;
				for (uint32_t d = 0; d < dim; d++)
					to[d] += y * a[d];
			}
		}
		float *t = v;
		v = w;
		w = t;
		orthonormalise(k, v, m, dim);
	}
	if (!rc && (m = enough(k, x, train, n, v, m, dim)))
		rc = keep(c, v, m);
	mem_free(MEM_index_work, v);
	mem_free(MEM_index_work, w);
	return rc;
}
void project_apply(const struct simd *k, const struct codes *c, float *x, int8_t *e)
{
	const void *p[PROJECT_RUN];
	int32_t y[PROJECT_RUN];
	int32_t sum, sum2;
	float t = k->absmax_f32(x, c->in_dim) / 127.0f;
	k->quant_s8(x, c->in_dim, t > 0 && isfinite(1.0f / t) ? 1.0f / t : 0, e, &sum, &sum2);
	for (uint32_t j = 0; j < c->dim; j += PROJECT_RUN) {
		uint32_t run = c->dim - j < PROJECT_RUN ? c->dim - j : PROJECT_RUN;
		for (uint32_t i = 0; i < run; i++)
			p[i] = c->proj + (size_t)(j + i) * c->in_dim;
		k->dot_u8s8_n(p, run, e, c->in_dim, y);
		for (uint32_t i = 0; i < run; i++)
			x[j + i] = t * c->proj_scale[j + i] * (float)(y[i] - 128 * sum);
	}
}
