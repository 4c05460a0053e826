/* gemm_kernel.h - the matrix kernels in vectors of VB bytes, included once by each instruction set's file, which defines
 *   VB            bytes of a vector
 *   MR            rows a step works on: MR * GEMM_NR floats of sums must fit the registers
 *   VSET1(f)      all lanes f
 *   VFMA(a, b, c) a * b + c
 * GNU vector types do the rest; they become the set's own instructions.
 * exp: Cephes expf (S. Moshier), relative error < 2e-7 in [-87, 88].  erf: Abramowitz & Stegun 7.1.26, absolute error < 1.5e-7. */
#include "simd/gemm_tables.h"
#include <math.h>
#include <string.h>

#define VL (VB / 4)
#define VN (GEMM_NR / VL)
typedef float vf __attribute__((vector_size(VB)));
typedef int32_t vi __attribute__((vector_size(VB)));
typedef uint32_t vu __attribute__((vector_size(VB)));
typedef float vf_un __attribute__((vector_size(VB), aligned(4), may_alias));
typedef uint32_t vu_un __attribute__((vector_size(VB), aligned(4), may_alias));

#define V_AT(p)     (*(const vf_un *)(p))
#define V_PUT(p, v) (*(vf_un *)(p) = (v))

static inline vf v_pick(vi mask, vf yes, vf no)
{
	return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
static inline vf v_max(vf a, vf b)
{
	return v_pick((vi)(a > b), a, b);
}
static inline vf v_min(vf a, vf b)
{
	return v_pick((vi)(a < b), a, b);
}
static inline vf v_exp(vf x)
{
	x = v_min(v_max(x, VSET1(-87.0f)), VSET1(88.0f));
	/* adding 1.5 * 2^23 leaves the nearest integer in the low mantissa bits */
	vf t = VFMA(x, VSET1(1.44269504f), VSET1(12582912.0f));
	vf n = t - VSET1(12582912.0f);
	vf r = VFMA(n, VSET1(-0.693359375f), x);
	r = VFMA(n, VSET1(2.12194440e-4f), r);
	vf p = VFMA(r, VSET1(1.9875691500e-4f), VSET1(1.3981999507e-3f));
	p = VFMA(p, r, VSET1(8.3334519073e-3f));
	p = VFMA(p, r, VSET1(4.1665795894e-2f));
	p = VFMA(p, r, VSET1(1.6666665459e-1f));
	p = VFMA(p, r, VSET1(5.0000001201e-1f));
	p = VFMA(p, r * r, r) + VSET1(1.0f);
	return (vf)((vu)p + ((vu)t << 23));
}
static inline vf v_gelu(vf x)
{
	vf z = x * VSET1(0.70710678f);
	vf a = (vf)((vi)z & 0x7fffffff);
	vf t = VSET1(1.0f) / VFMA(a, VSET1(0.3275911f), VSET1(1.0f));
	vf p = VFMA(t, VSET1(1.061405429f), VSET1(-1.453152027f));
	p = VFMA(p, t, VSET1(1.421413741f));
	p = VFMA(p, t, VSET1(-0.284496736f));
	p = VFMA(p, t, VSET1(0.254829592f)) * t;
	vf half_q = VSET1(0.5f) * p * v_exp(-a * a); /* erfc(|z|) / 2 */
	return x * v_pick((vi)(x < VSET1(0.0f)), half_q, VSET1(1.0f) - half_q);
}
static inline vf v_gelu_tanh(vf x)
{
	/* 0.5 * (1 + tanh(u)) = 1 / (1 + exp(-2u)) */
	vf u = VSET1(-1.59576912f) * VFMA(VSET1(0.044715f) * x * x, x, x);
	return x / (VSET1(1.0f) + v_exp(u));
}
static inline float v_sum(vf v)
{
	float s = 0;
	for (int i = 0; i < (int)VL; i++)
		s += v[i];
	return s;
}

static void gelu_map(float *x, size_t n)
{
	size_t i = 0;
	for (; i + VL <= n; i += VL)
		V_PUT(x + i, v_gelu(V_AT(x + i)));
	if (i < n) {
		vf v = VSET1(0.0f);
		memcpy(&v, x + i, (n - i) * sizeof *x);
		v = v_gelu(v);
		memcpy(x + i, &v, (n - i) * sizeof *x);
	}
}

static void gelu_tanh_map(float *x, size_t n)
{
	size_t i = 0;
	for (; i + VL <= n; i += VL)
		V_PUT(x + i, v_gelu_tanh(V_AT(x + i)));
	if (i < n) {
		vf v = VSET1(0.0f);
		memcpy(&v, x + i, (n - i) * sizeof *x);
		v = v_gelu_tanh(v);
		memcpy(x + i, &v, (n - i) * sizeof *x);
	}
}

static void softmax_row(float *x, uint32_t n, float scale)
{
	uint32_t to = (uint32_t)gemm_round(n, 16);
	for (uint32_t i = n; i < to; i++)
		x[i] = -1e30f;
	vf m = V_AT(x), s = VSET1(0.0f);
	for (uint32_t i = VL; i < to; i += VL)
		m = v_max(m, V_AT(x + i));
	float most = m[0];
	for (int i = 1; i < (int)VL; i++)
		most = m[i] > most ? m[i] : most;
	vf mv = VSET1(most), sv = VSET1(scale);
	for (uint32_t i = 0; i < to; i += VL) {
		vf e = v_exp((V_AT(x + i) - mv) * sv);
		V_PUT(x + i, e);
		s += e;
	}
	/* what stood for nothing has become exp(-87) each: below the last bit of the sum, which is at least 1 */
	vf inv = VSET1(1 / v_sum(s));
	for (uint32_t i = 0; i < to; i += VL)
		V_PUT(x + i, V_AT(x + i) * inv);
	for (uint32_t i = n; i < to; i++)
		x[i] = 0;
}

static void layer_norm_row(float *x, const float *add, const float *gamma, const float *beta, uint32_t n, float eps)
{
	vf s = VSET1(0.0f), q = VSET1(0.0f);
	uint32_t i = 0;
	float sum, var, tail = 0, tail_q = 0;
	for (; i + VL <= n; i += VL) {
		vf v = V_AT(x + i);
		if (add)
			v += V_AT(add + i);
		V_PUT(x + i, v);
		s += v;
	}
	for (; i < n; i++)
		tail += x[i] += add ? add[i] : 0;
	sum = v_sum(s) + tail;
	float mean = sum / (float)n;
	vf mv = VSET1(mean);
	for (i = 0; i + VL <= n; i += VL) {
		vf d = V_AT(x + i) - mv;
		q = VFMA(d, d, q);
	}
	for (; i < n; i++)
		tail_q += (x[i] - mean) * (x[i] - mean);
	var = v_sum(q) + tail_q;
	float inv = 1 / sqrtf(var / (float)n + eps);
	vf iv = VSET1(inv);
	for (i = 0; i + VL <= n; i += VL)
		V_PUT(x + i, VFMA((V_AT(x + i) - mv) * iv, V_AT(gamma + i), V_AT(beta + i)));
	for (; i < n; i++)
		x[i] = (x[i] - mean) * inv * gamma[i] + beta[i];
}

/* rows of A by one panel; `rows` is a constant in every call, so the sums stay in registers */
static inline __attribute__((always_inline)) void step_f32(const float *a, size_t lda, const uint16_t *w,
        uint32_t pairs, const float *bias, float *c, size_t ldc, const int rows)
{
	vf acc[MR][VN];
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < (int)VN; v++)
			acc[r][v] = bias ? (vf)V_AT(bias + v * VL) : VSET1(0.0f);
	for (uint32_t t = 0; t < pairs; t++, w += 2 * GEMM_NR) {
#pragma GCC unroll 8
		for (int v = 0; v < (int)VN; v++) {
			vu both = *(const vu_un *)(w + v * 2 * VL);
			vf even = (vf)(both << 16), odd = (vf)(both & 0xffff0000u);
#pragma GCC unroll 8
			for (int r = 0; r < rows; r++) {
				const float *ar = a + r * lda + 2 * t;
				acc[r][v] = VFMA(VSET1(ar[0]), even, acc[r][v]);
				acc[r][v] = VFMA(VSET1(ar[1]), odd, acc[r][v]);
			}
		}
	}
	for (int r = 0; r < rows; r++)
		for (int v = 0; v < (int)VN; v++)
			V_PUT(c + r * ldc + v * VL, acc[r][v]);
}

static __attribute__((unused)) void mul_f32(const float *a, size_t lda, uint32_t m, const uint16_t *wp, uint32_t n,
        uint32_t k, const float *bias, float *c, size_t ldc, void *scratch)
{
	(void)scratch; /* A is used as it is */
	uint32_t pairs = (k + 1) / 2;
	for (uint32_t m0 = 0; m0 < m; m0 += GEMM_MT) {
		uint32_t m1 = m - m0 < GEMM_MT ? m : m0 + GEMM_MT;
		for (uint32_t n0 = 0; n0 < n; n0 += GEMM_NR) {
			const uint16_t *w = wp + (size_t)n0 * 2 * pairs;
			const float *b = bias ? bias + n0 : NULL;
			uint32_t i = m0;
			for (; i + MR <= m1; i += MR)
				step_f32(a + i * lda, lda, w, pairs, b, c + i * ldc + n0, ldc, MR);
			for (; i + 2 <= m1; i += 2)
				step_f32(a + i * lda, lda, w, pairs, b, c + i * ldc + n0, ldc, 2);
			for (; i < m1; i++)
				step_f32(a + i * lda, lda, w, pairs, b, c + i * ldc + n0, ldc, 1);
		}
	}
}
