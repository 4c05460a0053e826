/* simd_avx512.c - kernels for AVX-512 (F, BW, VL, DQ) with VNNI and VPOPCNTDQ: 16 floats or 64 codes a step.
 *
 * The last step of each loop is a masked load, so odd lengths cost one step and nothing outside the vector is read.  vpdpbusd
 * multiplies unsigned codes with the signed query and adds four products into 32 bits without saturating. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>
#include "simd/simd_tables.h"

static inline __mmask16 tail16(uint32_t n)
{
	return (__mmask16)((1u << n) - 1);
}
static inline __mmask64 tail64(uint32_t n) /* 1..63 */
{
	return ((__mmask64)1 << n) - 1;
}
static inline __m512 bf16x16(__m256i h)
{
	return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
static inline float l2_one(const float *a, const float *b, uint32_t dim)
{
	__m512 s0 = _mm512_setzero_ps(), s1 = s0;
	uint32_t i = 0;
	for (; i + 32 <= dim; i += 32) {
		__m512 d0 = _mm512_sub_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i));
		__m512 d1 = _mm512_sub_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16));
		s0 = _mm512_fmadd_ps(d0, d0, s0);
		s1 = _mm512_fmadd_ps(d1, d1, s1);
	}
	for (; i < dim; i += 16) {
		__mmask16 m = dim - i >= 16 ? (__mmask16)0xffff : tail16(dim - i);
		__m512 d0 = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i));
		s0 = _mm512_fmadd_ps(d0, d0, s0);
	}
	return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}
static inline float dot_one(const float *a, const float *b, uint32_t dim)
{
	__m512 s0 = _mm512_setzero_ps(), s1 = s0;
	uint32_t i = 0;
	for (; i + 32 <= dim; i += 32) {
		s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
		s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), s1);
	}
	for (; i < dim; i += 16) {
		__mmask16 m = dim - i >= 16 ? (__mmask16)0xffff : tail16(dim - i);
		s0 = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i), s0);
	}
	return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}
static float l2_f32(const float *a, const float *b, uint32_t dim)
{
	return l2_one(a, b, dim);
}
static float dot_f32(const float *a, const float *b, uint32_t dim)
{
	return dot_one(a, b, dim);
}
static float l1_f32(const float *a, const float *b, uint32_t dim)
{
	__m512 s0 = _mm512_setzero_ps();
	for (uint32_t i = 0; i < dim; i += 16) {
		__mmask16 m = dim - i >= 16 ? (__mmask16)0xffff : tail16(dim - i);
		__m512 d = _mm512_sub_ps(_mm512_maskz_loadu_ps(m, a + i), _mm512_maskz_loadu_ps(m, b + i));
		s0 = _mm512_add_ps(s0, _mm512_abs_ps(d));
	}
	return _mm512_reduce_add_ps(s0);
}
static uint32_t hamming(const uint8_t *a, const uint8_t *b, uint32_t bytes)
{
	__m512i s0 = _mm512_setzero_si512();
	for (uint32_t i = 0; i < bytes; i += 64) {
		__mmask64 m = bytes - i >= 64 ? ~(__mmask64)0 : tail64(bytes - i);
		__m512i x = _mm512_xor_si512(_mm512_maskz_loadu_epi8(m, a + i), _mm512_maskz_loadu_epi8(m, b + i));
		s0 = _mm512_add_epi64(s0, _mm512_popcnt_epi64(x));
	}
	return (uint32_t)_mm512_reduce_add_epi64(s0);
}
static float l2_bf16(const uint16_t *a, const float *q, uint32_t dim)
{
	__m512 s0 = _mm512_setzero_ps(), s1 = s0;
	uint32_t i = 0;
	for (; i + 32 <= dim; i += 32) {
		__m512 d0 =
		        _mm512_sub_ps(bf16x16(_mm256_loadu_si256((const __m256i *)(a + i))), _mm512_loadu_ps(q + i));
		__m512 d1 = _mm512_sub_ps(
		        bf16x16(_mm256_loadu_si256((const __m256i *)(a + i + 16))), _mm512_loadu_ps(q + i + 16));
		s0 = _mm512_fmadd_ps(d0, d0, s0);
		s1 = _mm512_fmadd_ps(d1, d1, s1);
	}
	for (; i < dim; i += 16) {
		__mmask16 m = dim - i >= 16 ? (__mmask16)0xffff : tail16(dim - i);
		__m512 d0 = _mm512_sub_ps(bf16x16(_mm256_maskz_loadu_epi16(m, a + i)), _mm512_maskz_loadu_ps(m, q + i));
		s0 = _mm512_fmadd_ps(d0, d0, s0);
	}
	return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}
static float dot_bf16(const uint16_t *a, const float *q, uint32_t dim)
{
	__m512 s0 = _mm512_setzero_ps(), s1 = s0;
	uint32_t i = 0;
	for (; i + 32 <= dim; i += 32) {
		s0 = _mm512_fmadd_ps(bf16x16(_mm256_loadu_si256((const __m256i *)(a + i))), _mm512_loadu_ps(q + i), s0);
		s1 = _mm512_fmadd_ps(
		        bf16x16(_mm256_loadu_si256((const __m256i *)(a + i + 16))), _mm512_loadu_ps(q + i + 16), s1);
	}
	for (; i < dim; i += 16) {
		__mmask16 m = dim - i >= 16 ? (__mmask16)0xffff : tail16(dim - i);
		s0 = _mm512_fmadd_ps(bf16x16(_mm256_maskz_loadu_epi16(m, a + i)), _mm512_maskz_loadu_ps(m, q + i), s0);
	}
	return _mm512_reduce_add_ps(_mm512_add_ps(s0, s1));
}
static void l2_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret)
{
	for (uint32_t i = 0; i < n; i++)
		ret[i] = l2_one(a[i], q, dim);
}
static void dot_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret)
{
	for (uint32_t i = 0; i < n; i++)
		ret[i] = dot_one(a[i], q, dim);
}
/* four 16-lane sums to four totals in one register: cheaper than four full reductions */
static inline __m128i reduce4(__m512i a, __m512i b, __m512i c, __m512i d)
{
	__m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
	__m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
	__m512i s = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
	__m256i h = _mm256_add_epi32(_mm512_castsi512_si256(s), _mm512_extracti64x4_epi64(s, 1));
	return _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}
static void dot_u8s8_n(const void *const *a, uint32_t n, const int8_t *q, uint32_t dim, int32_t *ret)
{
	const uint32_t whole = dim & ~63u, rest = dim & 63u;
	const __mmask64 m = tail64(rest);
	uint32_t k = 0;
	for (; k + 4 <= n; k += 4) {
		const uint8_t *c0 = a[k], *c1 = a[k + 1], *c2 = a[k + 2], *c3 = a[k + 3];
		__m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
		for (uint32_t i = 0; i < whole; i += 64) {
			__m512i y = _mm512_loadu_si512(q + i);
			s0 = _mm512_dpbusd_epi32(s0, _mm512_loadu_si512(c0 + i), y);
			s1 = _mm512_dpbusd_epi32(s1, _mm512_loadu_si512(c1 + i), y);
			s2 = _mm512_dpbusd_epi32(s2, _mm512_loadu_si512(c2 + i), y);
			s3 = _mm512_dpbusd_epi32(s3, _mm512_loadu_si512(c3 + i), y);
		}
		if (rest) {
			__m512i y = _mm512_maskz_loadu_epi8(m, q + whole);
			s0 = _mm512_dpbusd_epi32(s0, _mm512_maskz_loadu_epi8(m, c0 + whole), y);
			s1 = _mm512_dpbusd_epi32(s1, _mm512_maskz_loadu_epi8(m, c1 + whole), y);
			s2 = _mm512_dpbusd_epi32(s2, _mm512_maskz_loadu_epi8(m, c2 + whole), y);
			s3 = _mm512_dpbusd_epi32(s3, _mm512_maskz_loadu_epi8(m, c3 + whole), y);
		}
		_mm_storeu_si128((__m128i *)(ret + k), reduce4(s0, s1, s2, s3));
	}
	for (; k < n; k++) {
		const uint8_t *c = a[k];
		__m512i s = _mm512_setzero_si512();
		for (uint32_t i = 0; i < whole; i += 64)
			s = _mm512_dpbusd_epi32(s, _mm512_loadu_si512(c + i), _mm512_loadu_si512(q + i));
		if (rest)
			s = _mm512_dpbusd_epi32(
			        s, _mm512_maskz_loadu_epi8(m, c + whole), _mm512_maskz_loadu_epi8(m, q + whole));
		ret[k] = _mm512_reduce_add_epi32(s);
	}
}
static void l1_u8_n(const void *const *a, uint32_t n, const uint8_t *q, uint32_t dim, int32_t *ret)
{
	for (uint32_t k = 0; k < n; k++) {
		const uint8_t *c = a[k];
		__m512i s = _mm512_setzero_si512();
		for (uint32_t i = 0; i < dim; i += 64) {
			__mmask64 m = dim - i >= 64 ? ~(__mmask64)0 : tail64(dim - i);
			s = _mm512_add_epi64(s,
			        _mm512_sad_epu8(_mm512_maskz_loadu_epi8(m, c + i), _mm512_maskz_loadu_epi8(m, q + i)));
		}
		ret[k] = (int32_t)_mm512_reduce_add_epi64(s);
	}
}
static float absmax_f32(const float *x, uint32_t n)
{
	__m512 m = _mm512_setzero_ps();
	for (uint32_t i = 0; i < n; i += 16) {
		__mmask16 k = n - i >= 16 ? (__mmask16)0xffff : tail16(n - i);
		m = _mm512_max_ps(_mm512_abs_ps(_mm512_maskz_loadu_ps(k, x + i)), m);
	}
	return _mm512_reduce_max_ps(m);
}
static void quant_s8(const float *x, uint32_t n, float inv, int8_t *ret, int32_t *ret_sum, int32_t *ret_sum2)
{
	const __m512 lo = _mm512_set1_ps(-127.0f), hi = _mm512_set1_ps(127.0f), f = _mm512_set1_ps(inv);
	__m512i s = _mm512_setzero_si512(), s2 = s;
	for (uint32_t i = 0; i < n; i += 16) {
		__mmask16 k = n - i >= 16 ? (__mmask16)0xffff : tail16(n - i);
		__m512 v = _mm512_min_ps(_mm512_max_ps(_mm512_mul_ps(_mm512_maskz_loadu_ps(k, x + i), f), lo), hi);
		__m512i e = _mm512_cvtps_epi32(v);
		s = _mm512_add_epi32(s, e);
		s2 = _mm512_add_epi32(s2, _mm512_mullo_epi32(e, e));
		_mm512_mask_cvtepi32_storeu_epi8(ret + i, k, e);
	}
	*ret_sum = _mm512_reduce_add_epi32(s);
	*ret_sum2 = _mm512_reduce_add_epi32(s2);
}
static void cos_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret)
{
	for (uint32_t k = 0; k < n; k++) {
		const float *x = a[k];
		__m512 s0 = _mm512_setzero_ps(), s1 = s0, n0 = s0, n1 = s0;
		uint32_t i = 0;
		for (; i + 32 <= dim; i += 32) {
			__m512 x0 = _mm512_loadu_ps(x + i), x1 = _mm512_loadu_ps(x + i + 16);
			s0 = _mm512_fmadd_ps(x0, _mm512_loadu_ps(q + i), s0);
			s1 = _mm512_fmadd_ps(x1, _mm512_loadu_ps(q + i + 16), s1);
			n0 = _mm512_fmadd_ps(x0, x0, n0);
			n1 = _mm512_fmadd_ps(x1, x1, n1);
		}
		for (; i < dim; i += 16) {
			__mmask16 m = dim - i >= 16 ? (__mmask16)0xffff : tail16(dim - i);
			__m512 x0 = _mm512_maskz_loadu_ps(m, x + i);
			s0 = _mm512_fmadd_ps(x0, _mm512_maskz_loadu_ps(m, q + i), s0);
			n0 = _mm512_fmadd_ps(x0, x0, n0);
		}
		float n2 = _mm512_reduce_add_ps(_mm512_add_ps(n0, n1));
		ret[k] = n2 > 0 ? _mm512_reduce_add_ps(_mm512_add_ps(s0, s1)) / sqrtf(n2) : 0;
	}
}
const struct simd simd_table_avx512 = {
        .name = "avx512",
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
#else
typedef int simd_avx512_not_here;
#endif
