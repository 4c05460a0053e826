/* simd_avx2.c - kernels for AVX2 with FMA: 8 floats a step, two to four accumulators to hide the adder's latency.
 *
 * Codes: without VNNI, u8 times s8 would saturate in maddubs, so both are widened to 16 bits first and vpmaddwd adds pairs into
 * 32 bits, which is exact.  Tails shorter than a step run in scalar code: no load crosses the vector's end. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>
#include "simd/simd_tables.h"

static inline float sum8(__m256 v)
{
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	s = _mm_add_ss(s, _mm_movehdup_ps(s));
	return _mm_cvtss_f32(s);
}
static inline int32_t sum8i(__m256i v)
{
	__m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
	return _mm_cvtsi128_si32(s);
}
static inline __m256 bf8(const uint16_t *p)
{
	return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
static float l2_f32(const float *a, const float *b, uint32_t dim)
{
	__m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
	uint32_t i = 0;
	for (; i + 32 <= dim; i += 32) {
		__m256 d0 = _mm256_sub_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
		__m256 d1 = _mm256_sub_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8));
		__m256 d2 = _mm256_sub_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16));
		__m256 d3 = _mm256_sub_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24));
		s0 = _mm256_fmadd_ps(d0, d0, s0);
		s1 = _mm256_fmadd_ps(d1, d1, s1);
		s2 = _mm256_fmadd_ps(d2, d2, s2);
		s3 = _mm256_fmadd_ps(d3, d3, s3);
	}
	for (; i + 8 <= dim; i += 8) {
		__m256 d0 = _mm256_sub_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
		s0 = _mm256_fmadd_ps(d0, d0, s0);
	}
	float s = sum8(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
	for (; i < dim; i++) {
		float d = a[i] - b[i];
		s += d * d;
	}
	return s;
}
static float dot_f32(const float *a, const float *b, uint32_t dim)
{
	__m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
	uint32_t i = 0;
	for (; i + 32 <= dim; i += 32) {
		s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
		s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), s1);
		s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), s2);
		s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), s3);
	}
	for (; i + 8 <= dim; i += 8)
		s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
	float s = sum8(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
	for (; i < dim; i++)
		s += a[i] * b[i];
	return s;
}
static float l1_f32(const float *a, const float *b, uint32_t dim)
{
	const __m256 sign = _mm256_set1_ps(-0.0f);
	__m256 s0 = _mm256_setzero_ps(), s1 = s0;
	uint32_t i = 0;
	for (; i + 16 <= dim; i += 16) {
		__m256 d0 = _mm256_sub_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i));
		__m256 d1 = _mm256_sub_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8));
		s0 = _mm256_add_ps(s0, _mm256_andnot_ps(sign, d0));
		s1 = _mm256_add_ps(s1, _mm256_andnot_ps(sign, d1));
	}
	float s = sum8(_mm256_add_ps(s0, s1));
	for (; i < dim; i++)
		s += fabsf(a[i] - b[i]);
	return s;
}
static uint32_t hamming(const uint8_t *a, const uint8_t *b, uint32_t bytes)
{
	uint64_t s = 0;
	uint32_t i = 0;
	for (; i + 8 <= bytes; i += 8) {
		uint64_t x, y;
		memcpy(&x, a + i, 8);
		memcpy(&y, b + i, 8);
		s += (uint64_t)_mm_popcnt_u64(x ^ y);
	}
	for (; i < bytes; i++)
		s += (uint64_t)__builtin_popcount((unsigned)(a[i] ^ b[i]));
	return (uint32_t)s;
}
static float l2_bf16(const uint16_t *a, const float *q, uint32_t dim)
{
	__m256 s0 = _mm256_setzero_ps(), s1 = s0;
	uint32_t i = 0;
	for (; i + 16 <= dim; i += 16) {
		__m256 d0 = _mm256_sub_ps(bf8(a + i), _mm256_loadu_ps(q + i));
		__m256 d1 = _mm256_sub_ps(bf8(a + i + 8), _mm256_loadu_ps(q + i + 8));
		s0 = _mm256_fmadd_ps(d0, d0, s0);
		s1 = _mm256_fmadd_ps(d1, d1, s1);
	}
	float s = sum8(_mm256_add_ps(s0, s1));
	for (; i < dim; i++) {
		float d = simd_bf16_f32(a[i]) - q[i];
		s += d * d;
	}
	return s;
}
static float dot_bf16(const uint16_t *a, const float *q, uint32_t dim)
{
	__m256 s0 = _mm256_setzero_ps(), s1 = s0;
	uint32_t i = 0;
	for (; i + 16 <= dim; i += 16) {
		s0 = _mm256_fmadd_ps(bf8(a + i), _mm256_loadu_ps(q + i), s0);
		s1 = _mm256_fmadd_ps(bf8(a + i + 8), _mm256_loadu_ps(q + i + 8), s1);
	}
	float s = sum8(_mm256_add_ps(s0, s1));
	for (; i < dim; i++)
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
	for (uint32_t k = 0; k < n; k++) {
		const uint8_t *c = a[k];
		__m256i s0 = _mm256_setzero_si256(), s1 = s0;
		uint32_t i = 0;
		for (; i + 32 <= dim; i += 32) {
			__m256i x0 = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(c + i)));
			__m256i x1 = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(c + i + 16)));
			__m256i y0 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(q + i)));
			__m256i y1 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(q + i + 16)));
			s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(x0, y0));
			s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(x1, y1));
		}
		int32_t s = sum8i(_mm256_add_epi32(s0, s1));
		for (; i < dim; i++)
			s += (int32_t)c[i] * q[i];
		ret[k] = s;
	}
}
static void l1_u8_n(const void *const *a, uint32_t n, const uint8_t *q, uint32_t dim, int32_t *ret)
{
	for (uint32_t k = 0; k < n; k++) {
		const uint8_t *c = a[k];
		__m256i s0 = _mm256_setzero_si256();
		uint32_t i = 0;
		for (; i + 32 <= dim; i += 32)
			s0 = _mm256_add_epi64(s0, _mm256_sad_epu8(_mm256_loadu_si256((const __m256i *)(c + i)),
			                                  _mm256_loadu_si256((const __m256i *)(q + i))));
		int32_t s = sum8i(s0); /* the upper halves are zero: 65535 * 255 < 2^32 */
		for (; i < dim; i++)
			s += c[i] > q[i] ? c[i] - q[i] : q[i] - c[i];
		ret[k] = s;
	}
}
static float absmax_f32(const float *x, uint32_t n)
{
	const __m256 sign = _mm256_set1_ps(-0.0f);
	__m256 m = _mm256_setzero_ps();
	uint32_t i = 0;
	for (; i + 8 <= n; i += 8)
		m = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)), m);
	float t[8], r = 0;
	_mm256_storeu_ps(t, m);
	for (uint32_t j = 0; j < 8; j++)
		r = t[j] > r ? t[j] : r;
	for (; i < n; i++)
		r = fabsf(x[i]) > r ? fabsf(x[i]) : r;
	return r;
}
static void quant_s8(const float *x, uint32_t n, float inv, int8_t *ret, int32_t *ret_sum, int32_t *ret_sum2)
{
	const __m256 lo = _mm256_set1_ps(-127.0f), hi = _mm256_set1_ps(127.0f), k = _mm256_set1_ps(inv);
	__m256i s = _mm256_setzero_si256(), s2 = s;
	uint32_t i = 0;
	for (; i + 8 <= n; i += 8) {
		__m256 f = _mm256_min_ps(_mm256_max_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), k), lo), hi);
		__m256i e = _mm256_cvtps_epi32(f);
		s = _mm256_add_epi32(s, e);
		s2 = _mm256_add_epi32(s2, _mm256_mullo_epi32(e, e));
		__m128i h = _mm_packs_epi32(_mm256_castsi256_si128(e), _mm256_extracti128_si256(e, 1));
		_mm_storel_epi64((__m128i *)(ret + i), _mm_packs_epi16(h, h));
	}
	int32_t sum = sum8i(s), sum2 = sum8i(s2);
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
static void cos_f32_n(const void *const *a, uint32_t n, const float *q, uint32_t dim, float *ret)
{
	for (uint32_t k = 0; k < n; k++) {
		const float *x = a[k];
		__m256 s0 = _mm256_setzero_ps(), s1 = s0, n0 = s0, n1 = s0;
		uint32_t i = 0;
		for (; i + 16 <= dim; i += 16) {
			__m256 x0 = _mm256_loadu_ps(x + i), x1 = _mm256_loadu_ps(x + i + 8);
			s0 = _mm256_fmadd_ps(x0, _mm256_loadu_ps(q + i), s0);
			s1 = _mm256_fmadd_ps(x1, _mm256_loadu_ps(q + i + 8), s1);
			n0 = _mm256_fmadd_ps(x0, x0, n0);
			n1 = _mm256_fmadd_ps(x1, x1, n1);
		}
		float s = sum8(_mm256_add_ps(s0, s1)), n2 = sum8(_mm256_add_ps(n0, n1));
		for (; i < dim; i++) {
			s += x[i] * q[i];
			n2 += x[i] * x[i];
		}
		ret[k] = n2 > 0 ? s / sqrtf(n2) : 0;
	}
}
const struct simd simd_table_avx2 = {
        .name = "avx2",
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
typedef int simd_avx2_not_here;
#endif
