/* simd_neon.c - kernels for 64-bit ARM: 4 floats a step in four accumulators.
 *
 * Codes: a code with its top bit flipped is signed (c - 128), so signed products of 8 bits serve: they fit 16 bits, and pairs are
 * added into 32.  What the flip takes off, 128 times the query's sum, is put back at the end. */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <math.h>
#include "simd/simd_tables.h"

static inline float32x4_t bf4(uint16x4_t h)
{
	return vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}
float simd_neon_l2_f32(const float *a, const float *b, uint32_t dim)
{
	float32x4_t s0 = vdupq_n_f32(0), s1 = s0, s2 = s0, s3 = s0;
	uint32_t i = 0;
	for (; i + 16 <= dim; i += 16) {
		float32x4_t d0 = vsubq_f32(vld1q_f32(a + i), vld1q_f32(b + i));
		float32x4_t d1 = vsubq_f32(vld1q_f32(a + i + 4), vld1q_f32(b + i + 4));
		float32x4_t d2 = vsubq_f32(vld1q_f32(a + i + 8), vld1q_f32(b + i + 8));
		float32x4_t d3 = vsubq_f32(vld1q_f32(a + i + 12), vld1q_f32(b + i + 12));
		s0 = vfmaq_f32(s0, d0, d0);
		s1 = vfmaq_f32(s1, d1, d1);
		s2 = vfmaq_f32(s2, d2, d2);
		s3 = vfmaq_f32(s3, d3, d3);
	}
	float s = vaddvq_f32(vaddq_f32(vaddq_f32(s0, s1), vaddq_f32(s2, s3)));
	for (; i < dim; i++) {
		float d = a[i] - b[i];
		s += d * d;
	}
	return s;
}
float simd_neon_dot_f32(const float *a, const float *b, uint32_t dim)
{
	float32x4_t s0 = vdupq_n_f32(0), s1 = s0, s2 = s0, s3 = s0;
	uint32_t i = 0;
	for (; i + 16 <= dim; i += 16) {
		s0 = vfmaq_f32(s0, vld1q_f32(a + i), vld1q_f32(b + i));
		s1 = vfmaq_f32(s1, vld1q_f32(a + i + 4), vld1q_f32(b + i + 4));
		s2 = vfmaq_f32(s2, vld1q_f32(a + i + 8), vld1q_f32(b + i + 8));
		s3 = vfmaq_f32(s3, vld1q_f32(a + i + 12), vld1q_f32(b + i + 12));
	}
	float s = vaddvq_f32(vaddq_f32(vaddq_f32(s0, s1), vaddq_f32(s2, s3)));
	for (; i < dim; i++)
		s += a[i] * b[i];
	return s;
}
float simd_neon_l1_f32(const float *a, const float *b, uint32_t dim)
{
	float32x4_t s0 = vdupq_n_f32(0), s1 = s0;
	uint32_t i = 0;
	for (; i + 8 <= dim; i += 8) {
		s0 = vaddq_f32(s0, vabdq_f32(vld1q_f32(a + i), vld1q_f32(b + i)));
		s1 = vaddq_f32(s1, vabdq_f32(vld1q_f32(a + i + 4), vld1q_f32(b + i + 4)));
	}
	float s = vaddvq_f32(vaddq_f32(s0, s1));
	for (; i < dim; i++)
		s += fabsf(a[i] - b[i]);
	return s;
}
uint32_t simd_neon_hamming(const uint8_t *a, const uint8_t *b, uint32_t bytes)
{
	uint32x4_t s0 = vdupq_n_u32(0);
	uint32_t i = 0;
	for (; i + 16 <= bytes; i += 16)
		s0 = vpadalq_u16(s0, vpaddlq_u8(vcntq_u8(veorq_u8(vld1q_u8(a + i), vld1q_u8(b + i)))));
	uint32_t s = vaddvq_u32(s0);
	for (; i < bytes; i++)
		s += (uint32_t)__builtin_popcount((unsigned)(a[i] ^ b[i]));
	return s;
}
float simd_neon_l2_bf16(const uint16_t *a, const float *q, uint32_t dim)
{
	float32x4_t s0 = vdupq_n_f32(0), s1 = s0;
	uint32_t i = 0;
	for (; i + 8 <= dim; i += 8) {
		uint16x8_t h = vld1q_u16(a + i);
		float32x4_t d0 = vsubq_f32(bf4(vget_low_u16(h)), vld1q_f32(q + i));
		float32x4_t d1 = vsubq_f32(bf4(vget_high_u16(h)), vld1q_f32(q + i + 4));
		s0 = vfmaq_f32(s0, d0, d0);
		s1 = vfmaq_f32(s1, d1, d1);
	}
	float s = vaddvq_f32(vaddq_f32(s0, s1));
	for (; i < dim; i++) {
		float d = simd_bf16_f32(a[i]) - q[i];
		s += d * d;
	}
	return s;
}
float simd_neon_dot_bf16(const uint16_t *a, const float *q, uint32_t dim)
{
	float32x4_t s0 = vdupq_n_f32(0), s1 = s0;
	uint32_t i = 0;
	for (; i + 8 <= dim; i += 8) {
		uint16x8_t h = vld1q_u16(a + i);
		s0 = vfmaq_f32(s0, bf4(vget_low_u16(h)), vld1q_f32(q + i));
		s1 = vfmaq_f32(s1, bf4(vget_high_u16(h)), vld1q_f32(q + i + 4));
	}
	float s = vaddvq_f32(vaddq_f32(s0, s1));
	for (; i < dim; i++)
		s += simd_bf16_f32(a[i]) * q[i];
	return s;
}
void simd_neon_l2_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret)
{
	for (uint32_t i = 0; i < n; i++)
		ret[i] = simd_neon_l2_f32(a[i], q, dim);
}
void simd_neon_dot_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret)
{
	for (uint32_t i = 0; i < n; i++)
		ret[i] = simd_neon_dot_f32(a[i], q, dim);
}
static void dot_u8s8_n(const void *const *a, uint32_t n, const int8_t *q, uint32_t dim, int32_t *ret)
{
	const uint8x16_t flip = vdupq_n_u8(0x80);
	const uint32_t whole = dim & ~15u;
	int32x4_t qs = vdupq_n_s32(0);
	for (uint32_t i = 0; i < whole; i += 16)
		qs = vpadalq_s16(qs, vpaddlq_s8(vld1q_s8(q + i)));
	const int32_t back = 128 * vaddvq_s32(qs);
	for (uint32_t k = 0; k < n; k++) {
		const uint8_t *c = a[k];
		int32x4_t s0 = vdupq_n_s32(0), s1 = s0;
		for (uint32_t i = 0; i < whole; i += 16) {
			int8x16_t x = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(c + i), flip)), y = vld1q_s8(q + i);
			s0 = vpadalq_s16(s0, vmull_s8(vget_low_s8(x), vget_low_s8(y)));
			s1 = vpadalq_s16(s1, vmull_high_s8(x, y));
		}
		int32_t s = vaddvq_s32(vaddq_s32(s0, s1)) + back;
		for (uint32_t i = whole; i < dim; i++)
			s += (int32_t)c[i] * q[i];
		ret[k] = s;
	}
}
void simd_neon_l1_u8_n(const void *const *a, uint32_t n, const uint8_t *q, uint32_t dim, int32_t *ret)
{
	for (uint32_t k = 0; k < n; k++) {
		const uint8_t *c = a[k];
		uint32x4_t s0 = vdupq_n_u32(0);
		uint32_t i = 0;
		for (; i + 16 <= dim; i += 16)
			s0 = vpadalq_u16(s0, vpaddlq_u8(vabdq_u8(vld1q_u8(c + i), vld1q_u8(q + i))));
		int32_t s = (int32_t)vaddvq_u32(s0);
		for (; i < dim; i++)
			s += c[i] > q[i] ? c[i] - q[i] : q[i] - c[i];
		ret[k] = s;
	}
}
float simd_neon_absmax_f32(const float *x, uint32_t n)
{
	float32x4_t m = vdupq_n_f32(0);
	uint32_t i = 0;
	for (; i + 4 <= n; i += 4)
		m = vmaxnmq_f32(m, vabsq_f32(vld1q_f32(x + i)));
	float r = vmaxnmvq_f32(m);
	for (; i < n; i++)
		r = fabsf(x[i]) > r ? fabsf(x[i]) : r;
	return r;
}
void simd_neon_quant_s8(const float *x, uint32_t n, float inv, int8_t *ret, int32_t *ret_sum, int32_t *ret_sum2)
{
	const float32x4_t lo = vdupq_n_f32(-127.0f), hi = vdupq_n_f32(127.0f);
	int32x4_t s = vdupq_n_s32(0), s2 = s;
	uint32_t i = 0;
	for (; i + 8 <= n; i += 8) {
		int32x4_t a = vcvtnq_s32_f32(vminnmq_f32(vmaxnmq_f32(vmulq_n_f32(vld1q_f32(x + i), inv), lo), hi));
		int32x4_t b = vcvtnq_s32_f32(vminnmq_f32(vmaxnmq_f32(vmulq_n_f32(vld1q_f32(x + i + 4), inv), lo), hi));
		s = vaddq_s32(s, vaddq_s32(a, b));
		s2 = vmlaq_s32(vmlaq_s32(s2, a, a), b, b);
		vst1_s8(ret + i, vmovn_s16(vcombine_s16(vmovn_s32(a), vmovn_s32(b))));
	}
	int32_t sum = vaddvq_s32(s), sum2 = vaddvq_s32(s2);
	for (; i < n; i++) {
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
void simd_neon_cos_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret)
{
	for (uint32_t k = 0; k < n; k++) {
		const float *x = a[k];
		float32x4_t s0 = vdupq_n_f32(0), s1 = s0, n0 = s0, n1 = s0;
		uint32_t i = 0;
		for (; i + 8 <= dim; i += 8) {
			float32x4_t x0 = vld1q_f32(x + i), x1 = vld1q_f32(x + i + 4);
			s0 = vfmaq_f32(s0, x0, vld1q_f32(q + i));
			s1 = vfmaq_f32(s1, x1, vld1q_f32(q + i + 4));
			n0 = vfmaq_f32(n0, x0, x0);
			n1 = vfmaq_f32(n1, x1, x1);
		}
		float s = vaddvq_f32(vaddq_f32(s0, s1)), n2 = vaddvq_f32(vaddq_f32(n0, n1));
		for (; i < dim; i++) {
			s += x[i] * q[i];
			n2 += x[i] * x[i];
		}
		ret[k] = n2 > 0 ? s / sqrtf(n2) : 0;
	}
}
const struct simd simd_table_neon = {
        .name = "neon",
        .l2_f32 = simd_neon_l2_f32,
        .dot_f32 = simd_neon_dot_f32,
        .l1_f32 = simd_neon_l1_f32,
        .hamming = simd_neon_hamming,
        .l2_bf16 = simd_neon_l2_bf16,
        .dot_bf16 = simd_neon_dot_bf16,
        .l2_f32_n = simd_neon_l2_f32_n,
        .dot_f32_n = simd_neon_dot_f32_n,
        .cos_f32_n = simd_neon_cos_f32_n,
        .dot_u8s8_n = dot_u8s8_n,
        .absmax_f32 = simd_neon_absmax_f32,
        .quant_s8 = simd_neon_quant_s8,
        .l1_u8_n = simd_neon_l1_u8_n,
};
#else
typedef int simd_neon_not_here;
#endif
