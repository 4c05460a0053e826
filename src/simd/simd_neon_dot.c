/* simd_neon_dot.c - the code kernel for ARM with the dot product extension (v8.2): four products a lane in one instruction.
 * All else is simd_neon.c's. */
#if defined(__aarch64__)
#include <arm_neon.h>
#include "simd/simd_tables.h"

static void dot_u8s8_n(const void *const *a, uint32_t n, const int8_t *q, uint32_t dim, int32_t *ret)
{
	const uint8x16_t flip = vdupq_n_u8(0x80);
	const int8x16_t one = vdupq_n_s8(1);
	const uint32_t whole = dim & ~15u;
	int32x4_t qs = vdupq_n_s32(0);
	for (uint32_t i = 0; i < whole; i += 16)
		qs = vdotq_s32(qs, vld1q_s8(q + i), one);
	const int32_t back = 128 * vaddvq_s32(qs);
	for (uint32_t k = 0; k < n; k++) {
		const uint8_t *c = a[k];
		int32x4_t s0 = vdupq_n_s32(0), s1 = s0;
		uint32_t i = 0;
		for (; i + 32 <= whole; i += 32) {
			s0 = vdotq_s32(s0, vreinterpretq_s8_u8(veorq_u8(vld1q_u8(c + i), flip)), vld1q_s8(q + i));
			s1 = vdotq_s32(
			        s1, vreinterpretq_s8_u8(veorq_u8(vld1q_u8(c + i + 16), flip)), vld1q_s8(q + i + 16));
		}
		for (; i < whole; i += 16)
			s0 = vdotq_s32(s0, vreinterpretq_s8_u8(veorq_u8(vld1q_u8(c + i), flip)), vld1q_s8(q + i));
		int32_t s = vaddvq_s32(vaddq_s32(s0, s1)) + back;
		for (; i < dim; i++)
			s += (int32_t)c[i] * q[i];
		ret[k] = s;
	}
}
const struct simd simd_table_neon_dot = {
        .name = "neon-dot",
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
typedef int simd_neon_dot_not_here;
#endif
