/* gemm.h - what a neural encoder computes: a matrix product with bf16 weights, and the row functions between two products.
 *
 * Weights are packed once: bf16 in panels of GEMM_NR output columns, inside a panel pair after pair of inputs, {w[2i], w[2i+1]} of each
 * column side by side.  One layout serves all: vdpbf16ps takes the pairs as they are; the others make two floats of a pair by a
 * shift and a mask.  Activations are f32; only the kernel for AVX512-BF16 rounds them to bf16 (into @scratch) before it multiplies.
 * Sums are f32.
 *
 * Strides: a row of A is readable for k rounded up to 2 floats and holds 0 behind an odd k; a row of C is written for n rounded up to
 * GEMM_NR floats (the columns behind n get 0).  Tables are chosen once at start; VEXFS_SIMD=scalar|vec128|avx2|avx512 overrides. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define GEMM_NR 32u /* columns of a panel */
#define GEMM_MT 96u /* rows that are multiplied while they are in cache */

struct gemm {
	const char *name;
	/* mul - C[m][n] = A[m][k] * W[n][k]^T + bias[n].
	 * @a,@lda     floats from row to row
	 * @wp         packed by gemm_pack
	 * @bias       n rounded up to GEMM_NR floats, or NULL
	 * @scratch    gemm_scratch_bytes(k), 64-aligned; may be shared by calls that follow each other
	 * Bounds: no allocation; frame < 512 B. */
	void (*mul)(const float *a, size_t lda, uint32_t m, const uint16_t *wp, uint32_t n, uint32_t k,
	        const float *bias, float *c, size_t ldc, void *scratch);
	void (*gelu)(float *x, size_t n); /* x * Phi(x), by erf; absolute error < 1e-6 */
	void (*gelu_tanh)(float *x, size_t n); /* the tanh form some models were trained with */
	/* softmax of scale * x over x[0, n); the floats behind, up to n rounded up to 16, become 0 and must be writable */
	void (*softmax)(float *x, uint32_t n, float scale);
	/* x = layer_norm(x + add) * gamma + beta; add may be NULL */
	void (*layer_norm)(float *x, const float *add, const float *gamma, const float *beta, uint32_t n, float eps);
};
/* gemm_get - the chosen table, valid for the process's life.  gemm_by_name - one that this CPU can run, or NULL. */
const struct gemm *gemm_get(void);
const struct gemm *gemm_by_name(const char *name);

static inline size_t gemm_round(size_t v, size_t to)
{
	return (v + to - 1) / to * to;
}
/* bytes of n x k packed weights; a multiple of 64 */
static inline size_t gemm_packed_bytes(size_t n, size_t k)
{
	return gemm_round(n, GEMM_NR) * gemm_round(k, 2) * sizeof(uint16_t);
}
static inline size_t gemm_scratch_bytes(size_t k)
{
	return GEMM_MT * gemm_round(k, 32) * sizeof(uint16_t);
}
/* gemm_pack_row - put row @row of W (k floats, @step floats apart) into the packed matrix. */
void gemm_pack_row(uint16_t *wp, uint32_t row, const float *w, size_t step, uint32_t k);
/* gemm_pack - a whole matrix; element (r, c) is w[r * row_step + c * col_step]. All of the padding becomes 0. */
void gemm_pack(uint16_t *wp, const float *w, size_t row_step, size_t col_step, uint32_t n, uint32_t k);
