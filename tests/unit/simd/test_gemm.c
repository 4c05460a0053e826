/* Every table of matrix kernels this CPU can run, against double arithmetic on the same bf16 weights. */
#include "tap.h"
#include "simd/gemm.h"
#include <time.h>

static uint64_t rng;
static double rnd1(void)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (double)(int64_t)rng / 9.3e18;
}
static float *floats(size_t n)
{
	float *p = aligned_alloc(64, (n * 4 + 127) / 64 * 64);
	for (size_t i = 0; i < n; i++)
		p[i] = (float)rnd1();
	return p;
}
static double bf16(double d)
{
	float f = (float)d;
	uint32_t u;
	memcpy(&u, &f, 4);
	u = (u + 0x7fffu + (u >> 16 & 1)) & 0xffff0000u;
	memcpy(&f, &u, 4);
	return f;
}

/* worst error of a product, as a share of sum |a w|; -1: something was written that must not be, or a pad is not 0 */
static double mul_error(const struct gemm *g, uint32_t m, uint32_t n, uint32_t k, int with_bias)
{
	size_t lda = gemm_round(k, 2) + 3, ldc = gemm_round(n, GEMM_NR) + 5, n32 = gemm_round(n, GEMM_NR);
	float *a = floats(m * lda), *w = floats((size_t)n * k), *bias = floats(n32), *c = floats(m * ldc + 1);
	uint16_t *wp = aligned_alloc(64, gemm_packed_bytes(n, k));
	void *scratch = aligned_alloc(64, gemm_scratch_bytes(k));
	memset(wp, 0xff, gemm_packed_bytes(n, k));
	for (uint32_t i = 0; i < m && k % 2; i++)
		a[i * lda + k] = 0;
	for (size_t j = n; j < n32; j++)
		bias[j] = 0;
	for (uint32_t i = 0; i < m; i++)
		for (size_t j = n32; j < ldc; j++)
			c[i * ldc + j] = 77;
	gemm_pack(wp, w, k, 1, n, k);
	g->mul(a, lda, m, wp, n, k, with_bias ? bias : NULL, c, ldc, scratch);
	double worst = 0;
	for (uint32_t i = 0; i < m; i++) {
		for (size_t j = 0; j < n; j++) {
			double sum = with_bias ? (double)bias[j] : 0, mag = fabs(sum) + 1e-30;
			for (uint32_t t = 0; t < k; t++) {
				double v = (double)a[i * lda + t] * bf16(w[j * k + t]);
				sum += v;
				mag += fabs(v);
			}
			double e = fabs(sum - (double)c[i * ldc + j]) / mag;
			worst = e > worst ? e : worst;
		}
		for (size_t j = n; j < n32; j++)
			worst = c[i * ldc + j] != 0 ? -1 : worst;
		for (size_t j = n32; j < ldc; j++)
			worst = c[i * ldc + j] != 77 ? -1 : worst;
		if (worst < 0)
			break;
	}
	free(a);
	free(w);
	free(bias);
	free(c);
	free(wp);
	free(scratch);
	return worst;
}

static void test_mul(const struct gemm *g)
{
	static const uint32_t shape[][3] = {{1, 1, 1}, {1, 32, 2}, {2, 33, 3}, {3, 31, 5}, {5, 64, 31}, {7, 96, 32},
	        {12, 32, 33}, {13, 65, 384}, {25, 100, 77}, {95, 32, 64}, {96, 64, 64}, {97, 33, 66}, {193, 40, 35},
	        {20, 32, 1536}, {11, 1, 129}};
	/* the kernel for BF16 rounds A too: 2^-9 relative on each factor; the others only lose in the sum */
	double allowed = !strcmp(g->name, "avx512bf16") ? 1.0 / 256 : 1e-5, worst = 0, least = 0;
	for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
		for (int b = 0; b < 2; b++) {
			double e = mul_error(g, shape[i][0], shape[i][1], shape[i][2], b);
			worst = e > worst ? e : worst;
			least = e < least ? e : least;
		}
	}
	T_OK(least >= 0, "%s: mul writes what it may, pads with 0", g->name);
	T_OK(worst <= allowed, "%s: mul, worst error %.3g of the sum of magnitudes, allowed %.3g", g->name, worst,
	        allowed);
}

static void test_rows(const struct gemm *g)
{
	double gelu = 0, tanh_form = 0, soft = 0, norm = 0, zero = 0;
	float *x = floats(70000), *y = floats(70000);
	for (size_t i = 0; i < 70000; i++) {
		float in = (float)((double)i / 70000 * 60 - 30);
		x[i] = y[i] = in;
	}
	g->gelu(x, 70000 - 3);
	g->gelu_tanh(y, 70000 - 5);
	for (size_t i = 0; i < 70000 - 5; i++) {
		double in = (double)(float)((double)i / 70000 * 60 - 30);
		double want = 0.5 * in * (1 + erf(in / sqrt(2)));
		double want_t = 0.5 * in * (1 + tanh(sqrt(2 / 3.14159265358979) * (in + 0.044715 * in * in * in)));
		gelu = fmax(gelu, fabs((double)x[i] - want) / fmax(1, fabs(in)));
		tanh_form = fmax(tanh_form, fabs((double)y[i] - want_t) / fmax(1, fabs(in)));
	}
	for (uint32_t n = 1; n < 600; n += 1 + n / 7) {
		static float r[640], s[640], ga[640], be[640];
		double sum = 0, most = -1e9, mean = 0, var = 0;
		for (uint32_t i = 0; i < 640; i++) {
			r[i] = s[i] = (float)(rnd1() * 30);
			ga[i] = (float)rnd1();
			be[i] = (float)rnd1();
		}
		for (uint32_t i = 0; i < n; i++)
			most = fmax(most, (double)r[i]);
		for (uint32_t i = 0; i < n; i++)
			sum += exp(((double)r[i] - most) * 0.5);
		g->softmax(r, n, 0.5f);
		for (uint32_t i = 0; i < n; i++)
			soft = fmax(soft, fabs((double)r[i] - exp(((double)s[i] - most) * 0.5) / sum));
		for (uint32_t i = n; i < gemm_round(n, 16); i++)
			zero += r[i] != 0;
		memcpy(r, s, sizeof r);
		for (uint32_t i = 0; i < n; i++)
			mean += ((double)s[i] + (double)be[i]) / n;
		for (uint32_t i = 0; i < n; i++)
			var += pow((double)s[i] + (double)be[i] - mean, 2) / n;
		g->layer_norm(r, be, ga, be, n, 1e-12f);
		for (uint32_t i = 0; i < n && n > 1; i++)
			norm = fmax(norm, fabs((double)r[i] - (((double)s[i] + (double)be[i] - mean) /
			                                                      sqrt(var + 1e-12) * (double)ga[i] +
			                                              (double)be[i])));
	}
	T_OK(gelu < 1e-6, "%s: gelu, worst error %.3g", g->name, gelu);
	T_OK(tanh_form < 1e-6, "%s: gelu_tanh, worst error %.3g", g->name, tanh_form);
	T_OK(soft < 1e-6 && zero == 0, "%s: softmax, worst error %.3g, pads not 0: %g", g->name, soft, zero);
	T_OK(norm < 1e-5, "%s: layer_norm, worst error %.3g", g->name, norm);
	free(x);
	free(y);
}

/* not a check: what a product of an encoder's size costs */
static void show_speed(const struct gemm *g)
{
	enum { M = 192, N = 1536, K = 384 };
	float *a = floats(M * K), *c = floats(M * N), *w = floats(N * K);
	uint16_t *wp = aligned_alloc(64, gemm_packed_bytes(N, K));
	void *scratch = aligned_alloc(64, gemm_scratch_bytes(K));
	struct timespec t0, t1;
	double best = 1e9;
	gemm_pack(wp, w, K, 1, N, K);
	for (int rep = 0; rep < 5; rep++) {
		clock_gettime(CLOCK_MONOTONIC, &t0);
		g->mul(a, K, M, wp, N, K, NULL, c, N, scratch);
		clock_gettime(CLOCK_MONOTONIC, &t1);
		best = fmin(best, (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec));
	}
	printf("# %s: %.1f GFLOP/s (192 x 384 x 1536)\n", g->name, 2.0 * M * N * K / best / 1e9);
	free(a);
	free(c);
	free(w);
	free(wp);
	free(scratch);
}

int main(void)
{
	static const char *const names[] = {"scalar", "vec128", "avx2", "avx512", "avx512bf16"};
	rng = tap_seed(20261123);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const struct gemm *g = gemm_by_name(names[i]);
		if (!g) {
			T_SKIP(names[i]);
			continue;
		}
		test_mul(g);
		test_rows(g);
		show_speed(g);
	}
	T_OK(gemm_get() != NULL && !gemm_by_name("nonsense"), "the chosen one is %s", gemm_get()->name);
	return tap_done();
}
