/* test_kernels.c - every table this CPU can run against a double reference: dims 1..2050, every alignment, extreme values, and no
 * byte read outside the vectors (they end at a page that may not be touched). */
#include <sys/mman.h>
#include <unistd.h>
#include "tap.h"
#include "simd/simd.h"

static uint64_t rng;
static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545f4914f6cdd1dull;
}
static float unit(void)
{
	return (float)((double)(rnd() >> 11) * 0x1p-52 - 1.0);
}
/* memory whose end is a forbidden page, so that an over-read faults */
struct edge {
	uint8_t *map, *end;
	size_t n;
};
static void edge_init(struct edge *e, size_t n)
{
	e->n = (n + 8192) & ~4095ul;
	e->map = mmap(NULL, e->n + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	e->end = e->map + e->n;
	mprotect(e->end, 4096, PROT_NONE);
}
#define DIMS 2050u

struct sums {
	double l2, dot, l1, l2b, dotb, scaled;
};
static struct sums reference(const float *a, const float *b, const uint16_t *h, uint32_t dim)
{
	struct sums s = {0};
	for (uint32_t i = 0; i < dim; i++) {
		double x = a[i], y = b[i], z = simd_bf16_f32(h[i]);
		s.l2 += (x - y) * (x - y);
		s.dot += x * y;
		s.l1 += fabs(x - y);
		s.l2b += (z - y) * (z - y);
		s.dotb += z * y;
		s.scaled += fabs(x * y) + fabs(z * y);
	}
	return s;
}
/* the error that f32 sums of dim terms may have, whatever their order */
static int near(double got, double want, double size, uint32_t dim)
{
	return fabs(got - want) <= (4e-7 * sqrt((double)dim) + 6e-7) * size + 1e-30 || (isinf(got) && size > 3e38);
}
static void one_table(const struct simd *k)
{
	struct edge ea, eb, eh, eu, eq;
	uint32_t bad[13] = {0}, runs = 0, worst_dim = 0;
	edge_init(&ea, DIMS * 4 + 64);
	edge_init(&eb, DIMS * 4 + 64);
	edge_init(&eh, DIMS * 2 + 64);
	edge_init(&eu, DIMS + 64);
	edge_init(&eq, DIMS + 64);
	for (uint32_t dim = 1; dim <= DIMS; dim++) {
		/* shifted by whole elements, at the end of readable memory; odd byte addresses for the byte kernels */
		uint32_t back = dim % 5;
		float *a = (float *)(ea.end - (dim + back) * 4), *b = (float *)(eb.end - dim * 4);
		uint16_t *h = (uint16_t *)(eh.end - dim * 2);
		uint8_t *u = eu.end - dim;
		int8_t *q = (int8_t *)(eq.end - dim);
		int kind = dim % 4;
		float mag = kind == 1 ? 1e15f : kind == 2 ? 1e-15f : 1;
		int64_t dot = 0, l1 = 0, ham = 0;
		for (uint32_t i = 0; i < dim; i++) {
			a[i] = unit() * mag;
			b[i] = kind == 3 ? a[i] : unit() * mag;
			h[i] = simd_f32_bf16(a[i]);
			u[i] = kind == 1 ? 255 : (uint8_t)rnd();
			q[i] = kind == 1 ? -128 : (int8_t)rnd();
			dot += (int64_t)u[i] * q[i];
			l1 += u[i] > (uint8_t)q[i] ? u[i] - (uint8_t)q[i] : (uint8_t)q[i] - u[i];
			ham += __builtin_popcount((unsigned)(u[i] ^ (uint8_t)q[i]));
		}
		struct sums s = reference(a, b, h, dim);
		double e[7] = {k->l2_f32(a, b, dim), k->dot_f32(a, b, dim), k->l1_f32(a, b, dim), k->l2_bf16(h, b, dim),
		        k->dot_bf16(h, b, dim)};
		const void *pa[7] = {a, a, a, a, a, a, a}, *pu[7] = {u, u, u, u, u, u, u};
		float r2[7], rd[7];
		int32_t id[7], il[7];
		uint32_t n = 1 + dim % 7;
		k->l2_f32_n(pa, n, b, dim, r2);
		k->dot_f32_n(pa, n, b, dim, rd);
		k->dot_u8s8_n(pu, n, q, dim, id);
		k->l1_u8_n(pu, n, (const uint8_t *)q, dim, il);
		bad[0] += !near(e[0], s.l2, s.l2, dim);
		bad[1] += !near(e[1], s.dot, s.scaled, dim);
		bad[2] += !near(e[2], s.l1, s.l1, dim);
		bad[3] += !near(e[3], s.l2b, s.l2b, dim);
		bad[4] += !near(e[4], s.dotb, s.scaled, dim);
		for (uint32_t i = 0; i < n; i++) {
			bad[5] += !near(r2[i], s.l2, s.l2, dim);
			bad[6] += !near(rd[i], s.dot, s.scaled, dim);
			bad[7] += id[i] != dot;
			bad[8] += il[i] != l1;
		}
		bad[9] += k->hamming(u, (const uint8_t *)q, dim) != ham;
		float rc[7];
		double len = 0;
		for (uint32_t i = 0; i < dim; i++)
			len += (double)a[i] * a[i];
		k->cos_f32_n(pa, n, b, dim, rc);
		for (uint32_t i = 0; i < n; i++)
			bad[12] += !near(rc[i], s.dot / sqrt(len), s.scaled / sqrt(len), dim);
		/* quantisation: nearest, sums that fit what was written */
		float top = 0;
		for (uint32_t i = 0; i < dim; i++)
			top = fmaxf(top, fabsf(a[i]));
		bad[10] += k->absmax_f32(a, dim) != top;
		int32_t sum, sum2, s1 = 0, s2 = 0;
		float inv = (kind == 2 ? 200 : 127) / (top > 0 ? top : 1); /* some are clipped */
		k->quant_s8(a, dim, inv, q, &sum, &sum2);
		for (uint32_t i = 0; i < dim; i++) {
			float v = fmaxf(-127, fminf(127, a[i] * inv));
			bad[11] += q[i] != lrintf(v);
			s1 += q[i];
			s2 += q[i] * q[i];
		}
		bad[11] += s1 != sum || s2 != sum2;
		runs++;
		if (!worst_dim && (bad[0] | bad[1] | bad[7]))
			worst_dim = dim;
	}
	static const char *const name[13] = {"l2_f32", "dot_f32", "l1_f32", "l2_bf16", "dot_bf16", "l2_f32_n",
	        "dot_f32_n", "dot_u8s8_n", "l1_u8_n", "hamming", "absmax_f32", "quant_s8", "cos_f32_n"};
	for (int i = 0; i < 13; i++)
		T_OK(bad[i] == 0, "%s %s: %u of %u dims wrong", k->name, name[i], bad[i], runs);
	if (worst_dim)
		printf("# first wrong at dim %u\n", worst_dim);
	/* the longest vectors do not overflow 32 bits */
	uint32_t big = 65535;
	uint8_t *u = malloc(big);
	int8_t *q = malloc(big);
	memset(u, 255, big);
	memset(q, -128, big);
	const void *p[1] = {u};
	int32_t d;
	k->dot_u8s8_n(p, 1, q, big, &d);
	T_EQ(d, -(int64_t)big * 255 * 128, "65535 dims, largest products");
	memset(q, 0, big);
	k->l1_u8_n(p, 1, (uint8_t *)q, big, &d);
	T_EQ(d, (int64_t)big * 255, "65535 dims, l1");
	/* infinities come through as infinities, not as something finite */
	float inf[40], one[40];
	for (int i = 0; i < 40; i++)
		inf[i] = i == 33 ? INFINITY : 1, one[i] = 1;
	T_OK(isinf(k->l2_f32(inf, one, 40)) && isinf(k->l1_f32(inf, one, 40)) && isinf(k->dot_f32(inf, one, 40)),
	        "%s: infinity stays", k->name);
	inf[33] = 3e38f;
	T_OK(isinf(k->l2_f32(inf, one, 40)), "%s: overflow is infinite", k->name);
	free(u);
	free(q);
	munmap(ea.map, ea.n + 4096);
	munmap(eb.map, eb.n + 4096);
	munmap(eh.map, eh.n + 4096);
	munmap(eu.map, eu.n + 4096);
	munmap(eq.map, eq.n + 4096);
}
static void conversions(void)
{
	uint32_t bad16 = 0, badb = 0, badr = 0, badn = 0;
	for (uint32_t h = 0; h < 65536; h++) {
		float f = simd_f16_f32((uint16_t)h);
		uint32_t e = h >> 10 & 31, m = h & 1023;
		double want = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, (int)e - 25) : ldexp(m, -24);
		if (h & 0x8000)
			want = -want;
		bad16 += !(isnan(want) ? isnan(f) : (double)f == want);
		if (!isnan(f))
			badr += simd_f32_f16(f) != h;
		else
			badn += !isnan(simd_f16_f32(simd_f32_f16(f)));
		float b = simd_bf16_f32((uint16_t)h);
		badb += isnan(b) ? !isnan(simd_bf16_f32(simd_f32_bf16(b))) : simd_f32_bf16(b) != h;
	}
	T_EQ(bad16, 0, "f16 to f32, all values");
	T_EQ(badr, 0, "f16 round trip");
	T_EQ(badn, 0, "NaN stays NaN");
	T_EQ(badb, 0, "bf16 round trip");
	/* rounding: nearest, ties to even */
	uint32_t bad = 0;
	for (uint32_t i = 0; i < 200000; i++) {
		float f = unit() * (float)ldexp(1, (int)(rnd() % 40) - 26);
		float back = simd_f16_f32(simd_f32_f16(f));
		uint16_t h = simd_f32_f16(f);
		float up = simd_f16_f32((uint16_t)(h + 1)),
		      down = (h & 0x7fff) ? simd_f16_f32((uint16_t)(h - 1)) : -simd_f16_f32(1);
		double err = fabs((double)back - f);
		if (isfinite(up))
			bad += err > fabs((double)up - f) || err > fabs((double)down - f);
	}
	T_EQ(bad, 0, "f16 rounds to nearest");
	T_EQ(simd_f32_f16(65520.0f), 0x7c00, "past the largest f16");
	T_EQ(simd_f32_f16(65519.0f), 0x7bff, "the largest f16");
	T_EQ(simd_f32_f16(0x1p-25f), 0, "half of the least f16, to even");
	T_EQ(simd_f32_f16(0x1.8p-25f), 1, "above half of the least f16");
	T_EQ(simd_f32_bf16(1.00390625f), 0x3f80, "bf16 tie to even");
	float v[67];
	for (int i = 0; i < 67; i++)
		v[i] = unit() * 3e38f;
	T_EQ(simd_finite(v, 67), 1, "finite");
	uint32_t missed = 0;
	for (uint32_t i = 0; i < 67; i++) {
		float keep = v[i];
		v[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -INFINITY;
		missed += simd_finite(v, 67);
		v[i] = keep;
	}
	T_EQ(missed, 0, "NaN or Inf at every place");
	uint8_t bits[3] = {0x05, 0x80, 0x01};
	float x[17];
	simd_to_f32(bits, VXD_binary, 0, 17, x);
	T_OK(x[0] == 1 && x[1] == 0 && x[2] == 1 && x[15] == 1 && x[16] == 1, "bits to floats");
}
int main(void)
{
	static const char *const names[] = {"scalar", "avx2", "avx512", "neon", "neon-dot"};
	rng = tap_seed(4711) * 2 + 1;
	conversions();
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct simd *k = simd_by_name(names[i]);
		if (k)
			one_table(k);
		else
			T_SKIP(names[i]);
	}
	T_OK(simd_by_name("nonsense") == NULL, "an unknown name");
	/* the best one that runs here is taken, not the first of the list or none */
	const char *best = simd_by_name("avx512")     ? "avx512"
	                   : simd_by_name("avx2")     ? "avx2"
	                   : simd_by_name("neon-dot") ? "neon-dot"
	                   : simd_by_name("neon")     ? "neon"
	                                              : "scalar";
	if (!getenv("VEXFS_SIMD"))
		T_STR(simd_get()->name, best, "chosen by itself");
	const char *want = getenv("VEXFS_SIMD");
	T_OK(simd_get() && (!want || !simd_by_name(want) || !strcmp(simd_get()->name, want)), "chosen: %s",
	        simd_get()->name);
	return tap_done();
}
