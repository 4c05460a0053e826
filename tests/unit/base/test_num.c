/* test_num.c - numbers from text and to text, against libc's strtod and printf as the oracle.
 *
 * Random bit patterns reach every exponent; the classes that random ones miss have tests of their own: midpoints between
 * neighbours with long tails (the exact way), subnormals, the ends of the range, short decimals, floats at powers of two. */
#include "base/err.h"
#include "base/num.h"
#include "base/sbuf.h"
#include "tap.h"
#include <time.h>

static uint64_t rng;
static uint64_t rnd(void)
{
	uint64_t z = rng += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}
static double d_of(uint64_t u)
{
	double d;
	memcpy(&d, &u, 8);
	return d;
}
static uint64_t u_of(double d)
{
	uint64_t u;
	memcpy(&u, &d, 8);
	return u;
}
static float f_of(uint32_t u)
{
	float f;
	memcpy(&f, &u, 4);
	return f;
}

/* bits equal to strtod's, all of s taken */
static int parse_ok(const char *s)
{
	double r = 99;
	size_t n = strlen(s);
	int k = num_f64(s, n, &r);
	if (k == (int)n && u_of(r) == u_of(strtod(s, NULL)))
		return 1;
	printf("# \"%.60s\" (%zu bytes): %d, %.17g, want %.17g\n", s, n, k, r, strtod(s, NULL));
	return 0;
}

static void round_trips(void)
{
	char t[64], p[900];
	struct sbuf b;
	int bad64 = 0, bad32 = 0, badp = 0, n64 = 0, n32 = 0, longer64 = 0, longer32 = 0, looked = 0;
	for (int i = 0; i < 1000000; i++) {
		uint64_t u = rnd();
		double d = d_of(u), r = 0;
		if (isfinite(d)) {
			n64++;
			sbuf_fixed(&b, t, sizeof t);
			sb_f64(&b, d);
			bad64 += u_of(strtod(t, NULL)) != u || num_f64(t, b.n, &r) != (int)b.n || u_of(r) != u;
			snprintf(p, sizeof p, "%.*e", (int)(rnd() % 24), d);
			badp += !parse_ok(p);
			if (i % 16 == 0) { /* shortest? */
				int prec = 0;
				for (; prec < 17; prec++) {
					snprintf(p, sizeof p, "%.*e", prec, d);
					if (strtod(p, NULL) == d)
						break;
				}
				int digits = 0, zeros = 0, begun = 0;
				for (const char *c = t; *c && *c != 'e'; c++)
					if (*c >= '0' && *c <= '9' && (begun |= *c != '0')) {
						digits++;
						zeros = *c == '0' ? zeros + 1 : 0;
					}
				longer64 += digits - zeros > prec + 1;
				looked++;
			}
		}
		float f = f_of((uint32_t)u);
		if (isfinite(f)) {
			n32++;
			sbuf_fixed(&b, t, sizeof t);
			sb_f32(&b, f);
			num_f64(t, b.n, &r);
			float g = strtof(t, NULL), h = (float)r;
			bad32 += memcmp(&g, &f, 4) || memcmp(&h, &f, 4);
			int prec = 0;
			char q[40];
			if (i % 16 == 0) {
				for (; prec < 9; prec++) {
					snprintf(q, sizeof q, "%.*e", prec, (double)f);
					/* a decimal in the middle of two floats is not taken, though it reads back: see num_print.c */
					if (strtof(q, NULL) == f && (u_of(strtod(q, NULL)) & 0x1fffffff) != 0x10000000)
						break;
				}
				int digits = 0, zeros = 0, begun = 0;
				for (const char *c = t; *c && *c != 'e'; c++)
					if (*c >= '0' && *c <= '9' && (begun |= *c != '0')) {
						digits++;
						zeros = *c == '0' ? zeros + 1 : 0;
					}
				longer32 += digits - zeros > prec + 1;
			}
		}
	}
	T_EQ(bad64, 0, "doubles that don't read back bit for bit");
	T_EQ(bad32, 0, "floats that don't read back bit for bit, by strtof or num_f64");
	T_EQ(badp, 0, "printed doubles of 1..24 digits read otherwise than by strtod");
	T_EQ(longer64, 0, "doubles written longer than need be");
	T_EQ(longer32, 0, "floats written longer than need be");
	T_OK(n64 > 990000 && n32 > 990000 && looked > 60000, "%d doubles, %d floats tried, %d for length", n64, n32,
	        looked);
}

/* The exact middle between a double and its neighbour has up to 767 digits: as it is, with a tail, and one unit less. */
static void midpoints(void)
{
	static char s[1600];
	int bad = 0, tried = 0;
	for (int i = 0; i < 4000; i++) {
		uint64_t u = i < 300   ? (uint64_t)i
		             : i < 600 ? (0x7fefull << 48 | 0xffffffffffffu) - (uint64_t)(i - 300)
		                       : rnd() >> 1;
		if (i % 3 == 0)
			u &= (1ull << 55) - 1; /* subnormals and small */
		if (i % 3 == 1)
			u = (uint64_t)(1000 + rnd() % 90) << 52 |
			    (u & ((1ull << 52) - 1)); /* around 1: short midpoints */
		double lo = d_of(u), hi = d_of(u + 1);
		if (!isfinite(lo) || !isfinite(hi))
			continue;
		/* long double has 64 bits of mantissa and a wider exponent: the middle is exact in it */
		long double mid = ((long double)lo + (long double)hi) / 2;
		snprintf(s, sizeof s, "%.1100Lf", mid);
		if (strlen(s) > 1500)
			continue;
		tried++;
		bad += !parse_ok(s);
		size_t n = strlen(s);
		strcpy(s + n, "000000001");
		bad += !parse_ok(s);
		s[n] = 0;
		char *last = s + n - 1;
		while (*last == '0' && last > s)
			last--;
		if (*last > '0' && *last <= '9') {
			(*last)--;
			memset(last + 1, '9', (size_t)(s + n - last - 1));
			bad += !parse_ok(s);
		}
	}
	T_EQ(bad, 0, "midpoints, just above and just below, read otherwise than by strtod");
	T_OK(tried > 3000, "%d midpoints tried", tried);
}

static void special_text(void)
{
	static const char *const good[] = {"0", "-0", "0.0", "-0.0e5", "0e999999999999", "1", "-1", "10", "0.1", "1e0",
	        "1E+2", "1e-2", "1e22", "1e23", "8.5e22", "9007199254740993", "9007199254740992.5",
	        "9007199254740993e0", "1e308", "1.7976931348623157e308", "1.7976931348623158e308",
	        "1.7976931348623159e308", "1e309", "-1e400", "1e99999999999", "4.9e-324", "2.4703282292062327e-324",
	        "2.4703282292062328e-324", "2.4e-324", "1e-400", "1e-99999999999", "2.2250738585072011e-308",
	        "2.2250738585072014e-308", "123456789012345678901234567890",
	        "0.000000000000000000000000000000000000000000000000000000001", "179769313486231580793728971405301e276",
	        "6.0221409e+23", "3.141592653589793238462643383279502884197169399375105820974944592307816406286",
	        "100000000000000008388608", "100000000000000000000000000000000000000000000000000"};
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		T_OK(parse_ok(good[i]), "%.50s", good[i]);
	static const char *const bad[] = {"", "-", "+1", ".5", "01", "-01", "1.", "1.e5", "1e", "1e+", "1e-", "e5",
	        "nan", "inf", "-.1", " 1", "0x10", "--1"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		double r = 5;
		int want = !strcmp(bad[i], "0x10") ? 1 : -EINVAL; /* reads the 0 and stops */
		int k = num_f64(bad[i], strlen(bad[i]), &r);
		T_OK(k == want && (k > 0 || r == 5), "\"%s\": %d, want %d, result untouched on error", bad[i], k, want);
	}
	double r;
	T_EQ(num_f64("1.5,2", 5, &r), 3, "stops at the comma");
	T_NEAR(r, 1.5, 0, "with 1.5");
	T_EQ(num_f64("1.5e3", 3, &r), 3, "looks at n bytes only");
	T_EQ(num_f64("12345", 3, &r), 3, "also among digits");
	T_NEAR(r, 123, 0, "with 123");
	static char z[2003];
	memset(z, '0', 2000);
	z[0] = '1';
	strcpy(z + 1000, "e-999");
	T_OK(parse_ok(z), "1 and 999 zeros, e-999");
	memset(z, '0', 2000);
	z[1] = '.';
	strcpy(z + 1500, "7e1500");
	T_OK(parse_ok(z), "1,498 zeros behind the point, e1500");
}

static void integers(void)
{
	uint64_t u = 1;
	int64_t i = 1;
	T_EQ(num_u64("18446744073709551615", 20, &u), 20, "largest u64");
	T_OK(u == UINT64_MAX, "is right");
	T_EQ(num_u64("18446744073709551616", 20, &u), -EINVAL, "one more");
	T_EQ(num_u64("99999999999999999999", 20, &u), -EINVAL, "much more");
	T_EQ(num_u64("-1", 2, &u), -EINVAL, "negative");
	T_EQ(num_u64("007", 3, &u), -EINVAL, "leading zeros");
	T_EQ(num_u64("0", 1, &u), 1, "zero");
	T_EQ(u, 0, "is 0");
	T_EQ(num_i64("-9223372036854775808", 20, &i), 20, "smallest i64");
	T_OK(i == INT64_MIN, "is right");
	T_EQ(num_i64("9223372036854775808", 19, &i), -EINVAL, "too large an i64");
	T_EQ(num_i64("-9223372036854775809", 20, &i), -EINVAL, "too small an i64");
	T_EQ(num_i64("-", 1, &i), -EINVAL, "a sign alone");
	T_EQ(num_i64("-5x", 3, &i), 2, "-5 and what follows is left");
	T_EQ(i, -5, "is -5");
	static const struct {
		const char *s;
		uint64_t v;
		int rc;
	} sizes[] = {{"0", 0, 1}, {"1048576", 1048576, 7}, {"512M", 512u << 20, 4}, {"2G", 2ull << 30, 2},
	        {"1k", 1024, 2}, {"3GiB", 3ull << 30, 4}, {"7B", 7, 2}, {"16E", 0, -EINVAL}, {"15E", 15ull << 60, 3},
	        {"1.5G", 0, -EINVAL}, {"", 0, -EINVAL}, {"M", 0, -EINVAL}, {"5Q", 0, -EINVAL}, {"5 M", 0, -EINVAL},
	        {"-1", 0, -EINVAL}};
	for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
		u = 0;
		int rc = num_size(sizes[k].s, &u);
		T_OK(rc == sizes[k].rc && u == sizes[k].v, "size \"%s\": %d, %llu", sizes[k].s, rc,
		        (unsigned long long)u);
	}
}

static const char *f64_text(double v)
{
	static char t[64];
	struct sbuf b;
	sbuf_fixed(&b, t, sizeof t);
	sb_f64(&b, v);
	return t;
}
static const char *f32_text(float v)
{
	static char t[64];
	struct sbuf b;
	sbuf_fixed(&b, t, sizeof t);
	sb_f32(&b, v);
	return t;
}
static void texts(void)
{
	T_STR(f64_text(0.1), "0.1", "a tenth");
	T_STR(f64_text(0), "0", "zero");
	T_STR(f64_text(-0.0), "-0", "negative zero");
	T_STR(f64_text(-1.5), "-1.5", "negative");
	T_STR(f64_text(1e20), "100000000000000000000", "1e20 in full");
	T_STR(f64_text(1e21), "1e21", "1e21 with an exponent");
	T_STR(f64_text(1e-7), "0.0000001", "1e-7 in full");
	T_STR(f64_text(1.25e-8), "1.25e-8", "1.25e-8 with an exponent");
	T_STR(f64_text(5e-324), "5e-324", "smallest double");
	T_STR(f64_text(1.7976931348623157e308), "1.7976931348623157e308", "largest double");
	T_STR(f64_text(0.1 + 0.2), "0.30000000000000004", "seventeen digits");
	T_STR(f64_text(NAN), "null", "nan");
	T_STR(f64_text(-INFINITY), "null", "-inf");
	T_STR(f32_text(0.1f), "0.1", "a float tenth");
	T_STR(f32_text(0.3f), "0.3", "a float 0.3");
	T_STR(f32_text(16777216.0f), "16777216", "2^24");
	T_STR(f32_text(33554432.0f), "33554432", "2^25: 33554430 lies in the middle of two floats and is not taken");
	T_STR(f32_text(3.4028235e38f), "3.4028235e38", "largest float");
	T_STR(f32_text(1e-45f), "1e-45", "smallest float");
	T_STR(f32_text(0.87654321f), "0.8765432", "seven digits do");
	T_STR(f32_text(INFINITY), "null", "inf");

	char want[400], got[64];
	struct sbuf b;
	int bad = 0, n = 0;
	for (int i = 0; i < 300000; i++) {
		double v = ldexp((double)(int64_t)rnd(), -(int)(rnd() % 130));
		unsigned dec = (unsigned)(rnd() % 10);
		if (i % 3 == 0) /* ties: k/2^j */
			v = (double)(int64_t)(rnd() % 100000) / (double)(1u << rnd() % 12);
		if (fabs(v) >= 9e15)
			continue;
		n++;
		snprintf(want, sizeof want, "%.*f", (int)dec, v);
		sbuf_fixed(&b, got, sizeof got);
		sb_fixed(&b, v, dec);
		if (strcmp(want, got) && bad++ < 3)
			printf("# %.*f: %s\n", (int)dec, v, got);
	}
	T_EQ(bad, 0, "fixed decimals that differ from printf's");
	T_OK(n > 200000, "%d tried", n);
	sbuf_fixed(&b, got, sizeof got);
	sb_fixed(&b, 1e300, 3);
	T_STR(got, "1e300", "a huge value as sb_f64");
}

static void speed(void)
{
	struct timespec a, b;
	char t[64];
	struct sbuf s;
	double sum = 0, r;
	int n = 200000;
	for (int f32 = 0; f32 < 2; f32++) {
		uint64_t print_ns = 0, read_ns = 0;
		for (int i = 0; i < n; i++) {
			double v = (double)(int64_t)rnd() / 9.3e18;
			clock_gettime(CLOCK_MONOTONIC, &a);
			for (int k = 0; k < 8; k++) {
				sbuf_fixed(&s, t, sizeof t);
				f32 ? sb_f32(&s, (float)v) : sb_f64(&s, v);
			}
			clock_gettime(CLOCK_MONOTONIC, &b);
			print_ns += (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000u + (uint64_t)(b.tv_nsec - a.tv_nsec);
			for (int k = 0; k < 8; k++) {
				num_f64(t, s.n, &r);
				sum += r;
			}
			clock_gettime(CLOCK_MONOTONIC, &a);
			read_ns += (uint64_t)(a.tv_sec - b.tv_sec) * 1000000000u + (uint64_t)(a.tv_nsec - b.tv_nsec);
		}
		printf("# f%d: %.0f ns to print, %.0f ns to read (%d)\n", f32 ? 32 : 64, (double)print_ns / n / 8,
		        (double)read_ns / n / 8, sum > 1e300);
	}
}

/* 128 bits in two words against the compiler's own, where it has them */
static void wide_words(void)
{
#ifdef __SIZEOF_INT128__
	int bad[7] = {0};
	for (int i = 0; i < 300000; i++) {
		uint64_t a = rnd() >> (rnd() & 63), b = rnd() >> (rnd() & 63), c = i % 3 ? rnd() : UINT64_MAX;
		unsigned __int128 p = (unsigned __int128)a * b, q = (unsigned __int128)c << 64 | a, big = p > q ? p : q,
		                  low = p > q ? q : p, t;
		unsigned n = (unsigned)(rnd() & 127);
		uint32_t d = (uint32_t)(rnd() | 1) >> (rnd() & 31) | 1, rest;
		bool over;
		struct wide w = wide_mul_words(a, b), x = {c, a}, r;
#define SAME(w, v) ((w).lo == (uint64_t)(v) && (w).hi == (uint64_t)((v) >> 64))
		r = wide_mul(a, b);
		bad[0] += !SAME(w, p) || !SAME(r, p);
		r = wide_sum(w, x, &over);
		t = p + q;
		bad[1] += !SAME(r, t) || over != (t < p);
		r = wide_add(x, b);
		t = q + b;
		bad[2] += !SAME(r, t);
		r = wide_sub(p > q ? w : x, p > q ? x : w);
		t = big - low;
		bad[3] += !SAME(r, t) || wide_cmp(w, x) != (p > q) - (p < q) || wide_cmp(w, w);
		r = wide_shr(x, n);
		t = q >> n;
		bad[4] += !SAME(r, t);
		r = wide_low(x, n);
		t = q & (((unsigned __int128)1 << n) - 1);
		bad[5] += !SAME(r, t);
		t = q % ((unsigned __int128)d << 64);
		r = (struct wide){(uint64_t)(t >> 64), (uint64_t)t};
		bad[6] += wide_div(r, d, &rest) != (uint64_t)(t / d) || rest != (uint32_t)(t % d);
#undef SAME
	}
	static const char *const of[] = {"128 bits in two words: products", "sums", "sums with a word",
	        "differences, order", "shifts", "low bits", "quotients"};
	for (int i = 0; i < 7; i++)
		T_EQ(bad[i], 0, of[i]);
#endif
}

int main(void)
{
	rng = tap_seed(20261123);
	special_text();
	integers();
	texts();
	midpoints();
	wide_words();
	round_trips();
	speed();
	return tap_done();
}
