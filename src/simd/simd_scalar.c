/* simd_scalar.c - the reference kernels: plain loops, built without vectorisation, one accumulator each.
 *
 * They are the fallback on unknown machines and the yardstick in tests (beside a double sum), so they stay simple enough to be
 * read as the definition of each distance. */
#include <math.h>
#include <string.h>
#include "simd/simd_tables.h"

static float l2_f32(const float *a, const float *b, uint32_t dim)
{
	float s = 0;
	for (uint32_t i = 0; i < dim; i++) {
		float d = a[i] - b[i];
		s += d * d;
	}
	return s;
}
static float dot_f32(const float *a, const float *b, uint32_t dim)
{
	float s = 0;
	for (uint32_t i = 0; i < dim; i++)
		s += a[i] * b[i];
	return s;
}
static float l1_f32(const float *a, const float *b, uint32_t dim)
{
	float s = 0;
	for (uint32_t i = 0; i < dim; i++)
		s += fabsf(a[i] - b[i]);
	return s;
}
static uint32_t hamming(const uint8_t *a, const uint8_t *b, uint32_t bytes)
{
	uint32_t s = 0;
	for (uint32_t i = 0; i < bytes; i++)
		s += (uint32_t)__builtin_popcount((unsigned)(a[i] ^ b[i]));
	return s;
}
static float l2_bf16(const uint16_t *a, const float *q, uint32_t dim)
{
	float s = 0;
	for (uint32_t i = 0; i < dim; i++) {
		float d = simd_bf16_f32(a[i]) - q[i];
		s += d * d;
	}
	return s;
}
static float dot_bf16(const uint16_t *a, const float *q, uint32_t dim)
{
	float s = 0;
	for (uint32_t i = 0; i < dim; i++)
		s += simd_bf16_f32(a[i]) * q[i];
	return s;
}
static void l2_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret)
{
	for (uint32_t i = 0; i < n; i++)
		ret[i] = l2_f32(a[i], q, dim);
}
static void dot_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret)
{
	for (uint32_t i = 0; i < n; i++)
		ret[i] = dot_f32(a[i], q, dim);
}
static void dot_u8s8_n(const void *const *a, uint32_t n, const int8_t *q, uint32_t dim, int32_t *ret)
{
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *c = a[i];
		int32_t s = 0;
		for (uint32_t j = 0; j < dim; j++)
			s += (int32_t)c[j] * q[j];
		ret[i] = s;
	}
}
static void l1_u8_n(const void *const *a, uint32_t n, const uint8_t *q, uint32_t dim, int32_t *ret)
{
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *c = a[i];
		int32_t s = 0;
		for (uint32_t j = 0; j < dim; j++)
			s += c[j] > q[j] ? c[j] - q[j] : q[j] - c[j];
		ret[i] = s;
	}
}
static float absmax_f32(const float *x, uint32_t n)
{
	float m = 0;
	for (uint32_t i = 0; i < n; i++)
		m = fabsf(x[i]) > m ? fabsf(x[i]) : m;
	return m;
}
static void quant_s8(const float *x, uint32_t n, float inv, int8_t *ret, int32_t *ret_sum, int32_t *ret_sum2)
{
	int32_t sum = 0, sum2 = 0;
	for (uint32_t i = 0; i < n; i++) {
		float f = x[i] * inv;
		f = f > -127.0f ? f : -127.0f;
		f = f < 127.0f ? f : 127.0f;
		int32_t e = (int32_t)lrintf(f);
		ret[i] = (int8_t)e;
		sum += e;
		sum2 += e * e;
	}
	*ret_sum = sum;
	*ret_sum2 = sum2;
}
static void cos_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret)
{
	for (uint32_t i = 0; i < n; i++) {
		float n2 = dot_f32(a[i], a[i], dim);
		ret[i] = n2 > 0 ? dot_f32(a[i], q, dim) / sqrtf(n2) : 0;
	}
}
const struct simd simd_table_scalar = {
        .name = "scalar",
        .l2_f32 = l2_f32,
        .dot_f32 = dot_f32,
        .l1_f32 = l1_f32,
        .hamming = hamming,
        .l2_bf16 = l2_bf16,
        .dot_bf16 = dot_bf16,
        .l2_f32_n = l2_f32_n,
        .dot_f32_n = dot_f32_n,
        .cos_f32_n = cos_f32_n,
        .dot_u8s8_n = dot_u8s8_n,
        .absmax_f32 = absmax_f32,
        .quant_s8 = quant_s8,
        .l1_u8_n = l1_u8_n,
};
