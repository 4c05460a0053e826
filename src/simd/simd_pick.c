/* simd_pick.c - which table of kernels this process uses, and conversions of element types.
 *
 * The choice is made at the first call and kept in one atomic pointer; racing first calls choose the same.  VEXFS_SIMD names a
 * table; a name that is unknown or that this CPU cannot run is ignored, so the variable can never make a mount fail. */
#include <stdatomic.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "simd/simd_tables.h"
#if defined(__aarch64__)
#include <sys/auxv.h>
#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1ul << 20)
#endif
#endif

struct table {
	const struct simd *t;
	bool ok;
};
/* every table of this architecture, best first, and whether this CPU runs it; the last one always does */
static unsigned tables(struct table ret[3])
{
	unsigned n = 0;
#if defined(__x86_64__)
	__builtin_cpu_init();
	bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
	bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	              __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
	              __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq");
	ret[n++] = (struct table){&simd_table_avx512, avx512};
	ret[n++] = (struct table){&simd_table_avx2, avx2};
#elif defined(__aarch64__)
	ret[n++] = (struct table){&simd_table_neon_dot, (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0};
	ret[n++] = (struct table){&simd_table_neon, true};
#endif
	ret[n++] = (struct table){&simd_table_scalar, true};
	return n;
}
const struct simd *simd_by_name(const char *name)
{
	struct table t[3];
	unsigned n = tables(t);
	for (unsigned i = 0; i < n; i++)
		if (t[i].ok && !strcmp(t[i].t->name, name))
			return t[i].t;
	return NULL;
}
const struct simd *simd_get(void)
{
	static _Atomic(const struct simd *) chosen;
	const struct simd *s = atomic_load_explicit(&chosen, memory_order_acquire);
	if (s)
		return s;
	const char *name = getenv("VEXFS_SIMD");
	s = name ? simd_by_name(name) : NULL;
	if (!s) {
		struct table t[3];
		unsigned n = tables(t), i = 0;
		while (i + 1 < n && !t[i].ok)
			i++;
		s = t[i].t;
	}
	atomic_store_explicit(&chosen, s, memory_order_release);
	return s;
}
int simd_finite(const float *v, uint32_t n)
{
	/* an exponent of all ones is Inf or NaN; adding one to it carries into the sign bit */
	uint32_t bad = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t u;
		memcpy(&u, &v[i], 4);
		bad |= (u & 0x7f800000u) + 0x00800000u;
	}
	return !(bad & 0x80000000u);
}
float simd_f16_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exp = h >> 10 & 31u, man = h & 0x3ffu, u;
	if (exp == 31) {
		u = sign | 0x7f800000u | man << 13;
	} else if (exp) {
		u = sign | (exp + 112) << 23 | man << 13;
	} else if (man) {
		uint32_t sh = (uint32_t)__builtin_clz(man) - 21; /* bits until the leading one reaches bit 10 */
		u = sign | (113 - sh) << 23 | (man << sh & 0x3ffu) << 13;
	} else {
		u = sign;
	}
	float f;
	memcpy(&f, &u, 4);
	return f;
}
uint16_t simd_f32_f16(float f)
{
	uint32_t u;
	memcpy(&u, &f, 4);
	uint32_t sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
	if (a > 0x7f800000u)
		return (uint16_t)(sign | 0x7e00u);
	if (a >= 0x477ff000u) /* rounds past 65504 */
		return (uint16_t)(sign | 0x7c00u);
	if (a < 0x38800000u) { /* subnormal: let the adder round at 2^-24 */
		float m;
		memcpy(&m, &a, 4);
		m += 0.5f;
		memcpy(&a, &m, 4);
		return (uint16_t)(sign | (a - 0x3f000000u));
	}
	a += 0xfffu + (a >> 13 & 1);
	return (uint16_t)(sign | (a - 0x38000000u) >> 13);
}
uint16_t simd_f32_bf16(float f)
{
	uint32_t u;
	memcpy(&u, &f, 4);
	if ((u & 0x7fffffffu) > 0x7f800000u)
		return (uint16_t)(u >> 16 | 0x40u);
	return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}
void simd_to_f32(const void *v, uint8_t dtype, uint32_t first, uint32_t n, float *ret)
{
	const uint16_t *h = (const uint16_t *)v + first;
	const int8_t *c = (const int8_t *)v + first;
	const uint8_t *b = v;
	switch (dtype) {
	case VXD_f32:
		memcpy(ret, (const float *)v + first, n * sizeof(float));
		break;
	case VXD_f16:
		for (uint32_t i = 0; i < n; i++)
			ret[i] = simd_f16_f32(h[i]);
		break;
	case VXD_bf16:
		for (uint32_t i = 0; i < n; i++)
			ret[i] = simd_bf16_f32(h[i]);
		break;
	case VXD_i8:
		for (uint32_t i = 0; i < n; i++)
			ret[i] = c[i];
		break;
	default:
		for (uint32_t i = 0; i < n; i++)
			ret[i] = (float)(b[(first + i) >> 3] >> ((first + i) & 7) & 1);
	}
}
