/* simd_tables.h - what the files of this folder share: one table an instruction set. */
#pragma once
#include "simd/simd.h"

extern const struct simd simd_table_scalar;
#if defined(__x86_64__)
extern const struct simd simd_table_avx2;
extern const struct simd simd_table_avx512;
#elif defined(__aarch64__)
extern const struct simd simd_table_neon;
extern const struct simd simd_table_neon_dot;
float simd_neon_l2_f32(const float *a, const float *b, uint32_t dim);
float simd_neon_dot_f32(const float *a, const float *b, uint32_t dim);
float simd_neon_l1_f32(const float *a, const float *b, uint32_t dim);
uint32_t simd_neon_hamming(const uint8_t *a, const uint8_t *b, uint32_t bytes);
float simd_neon_l2_bf16(const uint16_t *a, const float *q, uint32_t dim);
float simd_neon_dot_bf16(const uint16_t *a, const float *q, uint32_t dim);
void simd_neon_l2_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret);
void simd_neon_dot_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret);
float simd_neon_absmax_f32(const float *x, uint32_t n);
void simd_neon_quant_s8(const float *x, uint32_t n, float inv, int8_t *ret, int32_t *ret_sum, int32_t *ret_sum2);
void simd_neon_cos_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret);
void simd_neon_l1_u8_n(const void *const *a, uint32_t n, const uint8_t *q, uint32_t dim, int32_t *ret);
#endif
