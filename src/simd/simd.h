/* simd.h - distance kernels, one file per instruction set, chosen once at start (VEXFS_SIMD=scalar|avx2|avx512|neon overrides).
 * simd_scalar.c is the reference, built without vectorisation; every other kernel is tested against a double reference. */
#pragma once
#include <stdint.h>
#include "simd/rows.h"

struct simd {
	const char *name;
	float (*l2_f32)(const float *a, const float *b, uint32_t dim);   /* squared */
	float (*dot_f32)(const float *a, const float *b, uint32_t dim);
	float (*l1_f32)(const float *a, const float *b, uint32_t dim);
	uint32_t (*hamming)(const uint8_t *a, const uint8_t *b, uint32_t bytes);
	/* the index's codes add kernels here (u8/i8/bf16); see simd/ */
};
/* simd_get - the chosen table; valid for the process's life; no initialisation needed before. */
const struct simd *simd_get(void);
/* simd_by_name - one of the tables this CPU can run, or NULL. */
const struct simd *simd_by_name(const char *name);
/* simd_finite - 1 if no NaN or Inf among f32[n]. */
int simd_finite(const float *v, uint32_t n);
