/* num_print.c - numbers to text: the shortest decimal that reads back the same, by integers alone.
 *
 * The value is scaled to 17 digits (num_scale: its error is far below the last of them), and one digit after another is rounded away as long
 * as what is left reads back the same.  17 digits always do, since a double's spacing is coarser; a float takes 9, so it starts there.
 * Where a decimal one digit shorter lies inside the rounding interval but is not the nearest of its length, it is not found: that can be
 * only at powers of two, and the text is right all the same.
 *
 * Fixed decimals (sb_fixed) are exact: the binary value times 10^d fits 128 bits, and half goes to even as printf's does. */
#include "base/num.h"
#include "base/sbuf.h"

#include <string.h>

static const uint64_t p10[] = {1u, 10u, 100u, 1000u, 10000u, 100000u, 1000000u, 10000000u, 100000000u, 1000000000u,
        10000000000u, 100000000000u, 1000000000000u, 10000000000000u, 100000000000000u, 1000000000000000u,
        10000000000000000u, 100000000000000000u};

char *num_dec_digits(char *end, uint64_t v)
{
	do
		*--end = (char)('0' + v % 10);
	while (v /= 10);
	return end;
}

static uint64_t bits_of(double v)
{
	uint64_t b;
	memcpy(&b, &v, 8);
	return b;
}

/* v = m * 2^e, v finite and > 0 */
static uint64_t split(double v, int *ret_e)
{
	uint64_t b = bits_of(v), f = b & ((1ull << 52) - 1), ef = b >> 52;
	*ret_e = ef ? (int)ef - 1075 : -1074;
	return ef ? f | 1ull << 52 : f;
}

/* v as digits17 * 10^*ret_q with 10^16 <= digits17 < 10^17; *ret_over: that was rounded up, so a later rounding at a
 * last 5 knows that the value lies below it */
static uint64_t to_17(double v, int *ret_q, bool *ret_over)
{
	int e;
	uint64_t m = split(v, &e);
	int x = e + 63 - __builtin_clzll(m); /* floor(log2 v) */
	int k = 16 - (int)(((int64_t)x * 78913) >> 18); /* 78913 / 2^18 is just below log10 2 */
	for (;;) {
		struct num_approx a = num_scale(m, k);
		unsigned s = (unsigned)-(a.e + e);
		bool up = wide_shr(a.h, s - 1).lo & 1;
		uint64_t d = wide_shr(a.h, s).lo + up;
		if (d >= p10[16] && d < p10[17]) {
			*ret_q = -k;
			*ret_over = up;
			return d;
		}
		k += d < p10[16] ? 1 : -1;
	}
}

/* d without its last `drop` digits, rounded to nearest */
static uint64_t round_off(uint64_t d, unsigned drop, bool over)
{
	uint64_t r = d / p10[drop], low = d % p10[drop], half = p10[drop] / 2;
	if (!drop)
		return d;
	return r + (low > half || (low == half && !over));
}

static bool same(uint64_t w, int q, double v, bool f32)
{
	double r = num_from_dec(w, q);
	if (!f32)
		return r == v;
	/* exactly between two floats: a reader that goes by a double and one that doesn't may differ; one more digit is safer */
	if ((bits_of(r) & 0x1fffffff) == 0x10000000)
		return false;
	return (double)(float)r == v;
}

static unsigned digits_of(uint64_t v)
{
	unsigned n = 1;
	while (n < 18 && v >= p10[n])
		n++;
	return n;
}

/* The fewest digits that read back as v: returned, *ret_n of them, the last one of weight 10^*ret_q. */
static uint64_t shortest(double v, bool f32, unsigned *ret_n, int *ret_q)
{
	int q17;
	bool over;
	uint64_t d17 = to_17(v, &q17, &over), best = 0;
	for (unsigned n = f32 ? 9 : 17; n;) {
		uint64_t d = round_off(d17, 17 - n, over);
		int q = q17 + 17 - (int)n;
		for (; d % 10 == 0; d /= 10)
			q++;
		if (best && !same(d, q, v, f32))
			break; /* the longest needs no proof */
		best = d;
		*ret_q = q;
		*ret_n = digits_of(d);
		n = *ret_n - 1;
	}
	return best;
}

/* digits d (n of them) * 10^q, plain between 1e-7 and 1e21 as JavaScript writes it, else with an exponent */
static void put_decimal(struct sbuf *b, uint64_t d, unsigned n, int q)
{
	char t[20], *p = num_dec_digits(t + sizeof t, d);
	int e = q + (int)n - 1; /* exponent of the first digit */
	if (e < -7 || e >= 21) {
		sb_ch(b, *p);
		if (n > 1) {
			sb_ch(b, '.');
			sb_bytes(b, p + 1, n - 1);
		}
		sb_ch(b, 'e');
		sb_i64(b, e);
	} else if (q >= 0) {
		sb_bytes(b, p, n);
		sb_bytes(b, "000000000000000000000", (size_t)q);
	} else if (e >= 0) {
		sb_bytes(b, p, (size_t)e + 1);
		sb_ch(b, '.');
		sb_bytes(b, p + e + 1, n - (size_t)e - 1);
	} else {
		sb_bytes(b, "0.000000", (size_t)(1 - e));
		sb_bytes(b, p, n);
	}
}

static void put_shortest(struct sbuf *b, double v, bool f32)
{
	uint64_t bits = bits_of(v);
	unsigned n;
	int q;
	if ((bits >> 52 & 0x7ff) == 0x7ff) {
		sb_bytes(b, "null", 4);
		return;
	}
	if (bits >> 63) {
		sb_ch(b, '-');
		v = -v;
	}
	if (v == 0) {
		sb_ch(b, '0');
		return;
	}
	uint64_t d = shortest(v, f32, &n, &q);
	put_decimal(b, d, n, q);
}

void sb_f32(struct sbuf *b, float v)
{
	put_shortest(b, (double)v, true);
}

void sb_f64(struct sbuf *b, double v)
{
	put_shortest(b, v, false);
}

void sb_fixed(struct sbuf *b, double v, unsigned decimals)
{
	uint64_t bits = bits_of(v);
	int e;
	decimals = decimals > 9 ? 9 : decimals;
	if ((bits >> 52 & 0x7ff) == 0x7ff || v >= 9e15 || v <= -9e15) {
		sb_f64(b, v);
		return;
	}
	if (bits >> 63) {
		sb_ch(b, '-');
		v = -v;
	}
	uint64_t whole = 0;
	uint32_t r = 0;
	if (v > 0) {
		struct wide t = wide_mul(split(v, &e), p10[decimals]); /* < 2^53 * 2^30 */
		if (e <= -127) {
			t = (struct wide){0, 0};
		} else if (e < 0) { /* above, v < 9e15 < 2^53: e is 0 */
			int c = wide_cmp(wide_low(t, (unsigned)-e), wide_bit((unsigned)-e - 1));
			t = wide_shr(t, (unsigned)-e);
			t = wide_add(t, c > 0 || (!c && (t.lo & 1)));
		}
		whole = wide_div(t, (uint32_t)p10[decimals], &r);
	}
	sb_u64(b, whole);
	if (decimals) {
		sb_ch(b, '.');
		sb_pad_u64(b, r, decimals);
	}
}
