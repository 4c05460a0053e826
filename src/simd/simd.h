/* simd.h - distance kernels, one file per instruction set, chosen once at start (VEXFS_SIMD=scalar|avx2|avx512|neon overrides).
 * simd_scalar.c is the reference, built without vectorisation; every other kernel is tested against a double reference.
 *
 * f32 kernels add in another order than the reference, so two tables may differ in the last bits; integer kernels are exact.  No
 * kernel reads outside the bytes it was given, needs alignment, or touches memory besides its result. */
#pragma once
#include <stdint.h>
#include "simd/rows.h"

struct simd {
	const char *name;
	float (*l2_f32)(const float *a, const float *b, uint32_t dim); /* squared */
	float (*dot_f32)(const float *a, const float *b, uint32_t dim);
	float (*l1_f32)(const float *a, const float *b, uint32_t dim);
	uint32_t (*hamming)(const uint8_t *a, const uint8_t *b, uint32_t bytes);

	/* a's elements are bf16, q's f32 */
	float (*l2_bf16)(const uint16_t *a, const float *q, uint32_t dim);
	float (*dot_bf16)(const uint16_t *a, const float *q, uint32_t dim);

	/* Batches: n vectors given by address against one query, a result each. dim <= 65535, so no sum leaves 32 bits. */
	void (*l2_f32_n)(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret);
	void (*dot_f32_n)(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret);
	/* dot product over the length of a (not of q); 0 where that is 0 */
	void (*cos_f32_n)(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret);
	/* sum of unsigned code times signed query */
	void (*dot_u8s8_n)(const void *const *a, uint32_t n, const int8_t *q, uint32_t dim, int32_t *ret);
	/* largest magnitude; NaN counts as anything */
	float (*absmax_f32)(const float *x, uint32_t n);
	/* x * inv rounded to nearest and kept within [-127, 127] (NaN: anything in there); the sums of the results and of their
	 * squares */
	void (*quant_s8)(const float *x, uint32_t n, float inv, int8_t *ret, int32_t *ret_sum, int32_t *ret_sum2);
	/* sum of |a - q| over unsigned codes */
	void (*l1_u8_n)(const void *const *a, uint32_t n, const uint8_t *q, uint32_t dim, int32_t *ret);
};
/* simd_get - the chosen table; valid for the process's life; no initialisation needed before. */
const struct simd *simd_get(void);
/* simd_by_name - one of the tables this CPU can run, or NULL. */
const struct simd *simd_by_name(const char *name);
/* simd_finite - 1 if no NaN or Inf among f32[n]. */
int simd_finite(const float *v, uint32_t n);

/* Element conversions. f16 and bf16 round to nearest even; NaN stays NaN; both directions are exact where the value fits. */
float simd_f16_f32(uint16_t h);
uint16_t simd_f32_f16(float f);
static inline float simd_bf16_f32(uint16_t b)
{
	union {
		uint32_t u;
		float f;
	} x = {.u = (uint32_t)b << 16};
	return x.f;
}
uint16_t simd_f32_bf16(float f);
/* simd_to_f32 - elements [first, first + n) of a vector of @dtype as f32; binary gives 0 and 1, lowest bit first. */
void simd_to_f32(const void *v, uint8_t dtype, uint32_t first, uint32_t n, float *ret);
