/* gemm_scalar.c - the reference for the matrix kernels: plain loops over the packed layout, built without vectorisation. */
#include "simd/gemm_tables.h"
#include <math.h>
#include <string.h>

static float from_bf16(uint16_t h)
{
	uint32_t u = (uint32_t)h << 16;
	float f;
	memcpy(&f, &u, 4);
	return f;
}

static void mul(const float *a, size_t lda, uint32_t m, const uint16_t *wp, uint32_t n, uint32_t k, const float *bias,
        float *c, size_t ldc, void *scratch)
{
	(void)scratch; /* only kernels that convert A need it */
	for (uint32_t i = 0; i < m; i++) {
		for (uint32_t j = 0; j < gemm_round(n, GEMM_NR); j++) {
			const uint16_t *w = wp + (size_t)(j / GEMM_NR) * GEMM_NR * gemm_round(k, 2) + 2 * (j % GEMM_NR);
			float sum = bias ? bias[j] : 0;
			for (uint32_t t = 0; t < k; t++)
				sum += a[i * lda + t] * from_bf16(w[(size_t)(t / 2) * 2 * GEMM_NR + t % 2]);
			c[i * ldc + j] = sum;
		}
	}
}

static void gelu(float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x[i] = 0.5f * x[i] * (1 + erff(x[i] * 0.70710678f));
}

static void gelu_tanh(float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x[i] = 0.5f * x[i] * (1 + tanhf(0.79788456f * (x[i] + 0.044715f * x[i] * x[i] * x[i])));
}

static void softmax(float *x, uint32_t n, float scale)
{
	float most = x[0], sum = 0;
	for (uint32_t i = 1; i < n; i++)
		most = x[i] > most ? x[i] : most;
	for (uint32_t i = 0; i < n; i++)
		sum += x[i] = expf(scale * (x[i] - most));
	for (uint32_t i = 0; i < n; i++)
		x[i] /= sum;
	for (uint32_t i = n; i < gemm_round(n, 16); i++)
		x[i] = 0;
}

static void layer_norm(float *x, const float *add, const float *gamma, const float *beta, uint32_t n, float eps)
{
	float sum = 0, var = 0;
	for (uint32_t i = 0; i < n; i++)
		sum += x[i] += add ? add[i] : 0;
	float mean = sum / (float)n;
	for (uint32_t i = 0; i < n; i++)
		var += (x[i] - mean) * (x[i] - mean);
	float s = 1 / sqrtf(var / (float)n + eps);
	for (uint32_t i = 0; i < n; i++)
		x[i] = (x[i] - mean) * s * gamma[i] + beta[i];
}

const struct gemm gemm_table_scalar = {"scalar", mul, gelu, gelu_tanh, softmax, layer_norm};
