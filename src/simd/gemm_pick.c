/* gemm_pick.c - which matrix kernels this process uses; packing of weights.  The choice is kept in one atomic pointer; racing first
 * calls choose the same. */
#include "simd/gemm_tables.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const struct gemm *by_cpu(unsigned i)
{
#if defined(__x86_64__)
	static const struct gemm *const t[] = {
	        &gemm_table_avx512bf16, &gemm_table_avx512, &gemm_table_avx2, &gemm_table_vec128, &gemm_table_scalar};
	bool ok[] = {false, false, false, true, true};
	__builtin_cpu_init();
	ok[2] = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
	ok[1] = ok[2] && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
	ok[0] = ok[1] && __builtin_cpu_supports("avx512bf16");
#else
	static const struct gemm *const t[] = {&gemm_table_vec128, &gemm_table_scalar};
	bool ok[] = {true, true};
#endif
	if (i >= sizeof t / sizeof *t)
		return NULL;
	return ok[i] ? t[i] : &gemm_table_scalar;
}

const struct gemm *gemm_by_name(const char *name)
{
	const struct gemm *g;
	for (unsigned i = 0; (g = by_cpu(i)); i++)
		if (!strcmp(g->name, name))
			return g;
	return NULL;
}

const struct gemm *gemm_get(void)
{
	static _Atomic(const struct gemm *) chosen;
	const struct gemm *g = atomic_load_explicit(&chosen, memory_order_acquire);
	if (g)
		return g;
	const char *name = getenv("VEXFS_SIMD");
	g = name ? gemm_by_name(name) : NULL;
	for (unsigned i = 0; !g; i++)
		if (by_cpu(i) != &gemm_table_scalar || !by_cpu(i + 1))
			g = by_cpu(i);
	atomic_store_explicit(&chosen, g, memory_order_release);
	return g;
}

/* round to nearest even; weights are finite (checked when a model is read) */
static uint16_t to_bf16(float f)
{
	uint32_t u;
	memcpy(&u, &f, 4);
	return (uint16_t)((u + 0x7fffu + (u >> 16 & 1)) >> 16);
}

void gemm_pack_row(uint16_t *wp, uint32_t row, const float *w, size_t step, uint32_t k)
{
	uint16_t *p = wp + (size_t)(row / GEMM_NR) * GEMM_NR * gemm_round(k, 2) + 2 * (row % GEMM_NR);
	uint32_t i = 0;
	for (; i + 2 <= k; i += 2, p += 2 * GEMM_NR) {
		p[0] = to_bf16(w[i * step]);
		p[1] = to_bf16(w[(i + 1) * step]);
	}
	if (i < k) {
		p[0] = to_bf16(w[i * step]);
		p[1] = 0;
	}
}

void gemm_pack(uint16_t *wp, const float *w, size_t row_step, size_t col_step, uint32_t n, uint32_t k)
{
	if (n % GEMM_NR) /* the last panel has columns of nothing */
		memset(wp + gemm_round(k, 2) * (n / GEMM_NR * GEMM_NR), 0, gemm_round(k, 2) * GEMM_NR * sizeof *wp);
	for (uint32_t r = 0; r < n; r++)
		gemm_pack_row(wp, r, w + r * row_step, col_step, k);
}
