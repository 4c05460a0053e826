/* gemm_avx512.c - matrix kernels for AVX-512, with and without BF16.
 *
 * With BF16 a tile of A is rounded to bf16 once and every pair of inputs is one vdpbf16ps with a broadcast operand: 12 rows by two
 * vectors of columns keep 24 sums in registers, twice the products of an FMA in each instruction. */
#include <immintrin.h>
#define VB            64u
#define MR            8
#define VSET1(f)      ((vf)_mm512_set1_ps(f))
#define VFMA(a, b, c) ((vf)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#include "simd/gemm_kernel.h"

const struct gemm gemm_table_avx512 = {"avx512", mul_f32, gelu_map, gelu_tanh_map, softmax_row, layer_norm_row};

#define BF_MR 12

/* @a  pairs of bf16, `pairs` 32-bit words to the row */
static inline __attribute__((always_inline)) void step_bf16(
        const uint32_t *a, uint32_t pairs, const uint16_t *w, const float *bias, float *c, size_t ldc, const int rows)
{
	__m512 s0[BF_MR], s1[BF_MR];
	__m512 b0 = bias ? _mm512_loadu_ps(bias) : _mm512_setzero_ps();
	__m512 b1 = bias ? _mm512_loadu_ps(bias + 16) : _mm512_setzero_ps();
#pragma GCC unroll 12
	for (int r = 0; r < rows; r++) {
		s0[r] = b0;
		s1[r] = b1;
	}
	for (uint32_t t = 0; t < pairs; t++, w += 2 * GEMM_NR) {
		__m512i w0 = _mm512_loadu_si512(w), w1 = _mm512_loadu_si512(w + 32);
#pragma GCC unroll 12
		for (int r = 0; r < rows; r++) {
			__m512i av = _mm512_set1_epi32((int)a[(size_t)r * pairs + t]);
			s0[r] = _mm512_dpbf16_ps(s0[r], (__m512bh)av, (__m512bh)w0);
			s1[r] = _mm512_dpbf16_ps(s1[r], (__m512bh)av, (__m512bh)w1);
		}
	}
#pragma GCC unroll 12
	for (int r = 0; r < rows; r++) {
		_mm512_storeu_ps(c + r * ldc, s0[r]);
		_mm512_storeu_ps(c + r * ldc + 16, s1[r]);
	}
}

static void to_pairs(const float *a, uint32_t k, uint32_t *ret)
{
	uint32_t i = 0;
	for (; i + 32 <= k; i += 32) {
		__m512bh v = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(a + i));
		_mm512_storeu_si512(ret + i / 2, (__m512i)v);
	}
	for (; i < k; i += 2) {
		/* the float behind an odd k is there and 0 (gemm.h) */
		__m128bh v = _mm_cvtneps_pbh(_mm_castsi128_ps(_mm_loadl_epi64((const void *)(a + i))));
		ret[i / 2] = (uint32_t)_mm_cvtsi128_si32((__m128i)v);
	}
}

static void mul_bf16(const float *a, size_t lda, uint32_t m, const uint16_t *wp, uint32_t n, uint32_t k,
        const float *bias, float *c, size_t ldc, void *scratch)
{
	uint32_t *ap = scratch, pairs = (k + 1) / 2;
	for (uint32_t m0 = 0; m0 < m; m0 += GEMM_MT) {
		uint32_t rows = m - m0 < GEMM_MT ? m - m0 : GEMM_MT;
		for (uint32_t r = 0; r < rows; r++)
			to_pairs(a + (m0 + r) * lda, k, ap + (size_t)r * pairs);
		for (uint32_t n0 = 0; n0 < n; n0 += GEMM_NR) {
			const uint16_t *w = wp + (size_t)n0 * 2 * pairs;
			const float *b = bias ? bias + n0 : NULL;
			float *co = c + m0 * ldc + n0;
			uint32_t r = 0;
			for (; r + 12 <= rows; r += 12)
				step_bf16(ap + (size_t)r * pairs, pairs, w, b, co + r * ldc, ldc, 12);
			for (; r + 8 <= rows; r += 8)
				step_bf16(ap + (size_t)r * pairs, pairs, w, b, co + r * ldc, ldc, 8);
			for (; r + 4 <= rows; r += 4)
				step_bf16(ap + (size_t)r * pairs, pairs, w, b, co + r * ldc, ldc, 4);
			for (; r < rows; r++)
				step_bf16(ap + (size_t)r * pairs, pairs, w, b, co + r * ldc, ldc, 1);
		}
	}
}

const struct gemm gemm_table_avx512bf16 = {
        "avx512bf16", mul_bf16, gelu_map, gelu_tanh_map, softmax_row, layer_norm_row};
