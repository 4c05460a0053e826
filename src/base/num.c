/* num.c - numbers from text, correctly rounded, without a locale and in little stack.
 *
 * Three ways, each taken when the one before can't tell:
 * 1. Clinger's: at most 19 digits below 2^53 and |exponent| <= 22 are one exact floating-point operation.
 * 2. 128-bit: w * 10^q with a bounded error (num_scale).  When no rounding boundary lies inside the error, the answer is known.  That is
 *    the idea of Clinger 1990 and of Lemire, arXiv:2101.11408; instead of 650 powers we keep every 27th of ten and multiply by an exact
 *    power of five, which costs one more product and 10 KB less.
 * 3. Exact: the decimal is compared with the boundary in big integers.  768 significant digits decide every case (the longest exact
 *    midpoint of doubles has 767); later digits count only as "more than". */
#include "base/num.h"
#include "base/err.h"
#include "base/sbuf.h"

#include <float.h>
#include <string.h>

#define DIGITS_MAX 768
#define LIMBS      44 /* 2,816 bits: 769 digits are 2,555, a boundary scaled by 5^1093 less than 2,600 */

static const struct {
	uint64_t hi, lo;
	int e;
} pow10_27[] = {
        /* floor(10^(27 k) / 2^e) in 128 bits, k = -13 .. 12; exact for k = 0 and 1 */
        {0x8049a4ac0c5811aeu, 0x205b896d777d6278u, -1293}, /* 1e-351 */
        {0xcf42894a5dce35eau, 0x52064cac828675b9u, -1204}, /* 1e-324 */
        {0xa76c582338ed2621u, 0xaf2af2b80af6f24eu, -1114}, /* 1e-297 */
        {0x873e4f75e2224e68u, 0x5a7744a6e804a291u, -1024}, /* 1e-270 */
        {0xda7f5bf590966848u, 0xaf39a475506a899eu, -935}, /* 1e-243 */
        {0xb080392cc4349decu, 0xbd8d794d96aacfb3u, -845}, /* 1e-216 */
        {0x8e938662882af53eu, 0x547eb47b7282ee9cu, -755}, /* 1e-189 */
        {0xe65829b3046b0afau, 0x0cb4a5a3112a5112u, -666}, /* 1e-162 */
        {0xba121a4650e4ddebu, 0x92f34d62616ce413u, -576}, /* 1e-135 */
        {0x964e858c91ba2655u, 0x3a6a07f8d510f86fu, -486}, /* 1e-108 */
        {0xf2d56790ab41c2a2u, 0xfae27299423fb9c3u, -397}, /* 1e-81 */
        {0xc428d05aa4751e4cu, 0xaa97e14c3c26b886u, -307}, /* 1e-54 */
        {0x9e74d1b791e07e48u, 0x775ea264cf55347du, -217}, /* 1e-27 */
        {0x8000000000000000u, 0x0000000000000000u, -127}, /* 1e0 */
        {0xcecb8f27f4200f3au, 0x0000000000000000u, -38}, /* 1e27 */
        {0xa70c3c40a64e6c51u, 0x999090b65f67d924u, 52}, /* 1e54 */
        {0x86f0ac99b4e8dafdu, 0x69a028bb3ded71a3u, 142}, /* 1e81 */
        {0xda01ee641a708de9u, 0xe80e6f4820cc9495u, 231}, /* 1e108 */
        {0xb01ae745b101e9e4u, 0x5ec05dcff72e7f8fu, 321}, /* 1e135 */
        {0x8e41ade9fbebc27du, 0x14588f13be847307u, 411}, /* 1e162 */
        {0xe5d3ef282a242e81u, 0x8f1668c8a86da5fau, 500}, /* 1e189 */
        {0xb9a74a0637ce2ee1u, 0x6d953e2bd7173692u, 590}, /* 1e216 */
        {0x95f83d0a1fb69cd9u, 0x4abdaf101564f98eu, 680}, /* 1e243 */
        {0xf24a01a73cf2dccfu, 0xbc633b39673c8cecu, 769}, /* 1e270 */
        {0xc3b8358109e84f07u, 0x0a862f80ec4700c8u, 859}, /* 1e297 */
        {0x9e19db92b4e31ba9u, 0x6c07a2c26a8346d1u, 949}, /* 1e324 */
};

static const uint64_t pow5[28] = {1u, 5u, 25u, 125u, 625u, 3125u, 15625u, 78125u, 390625u, 1953125u, 9765625u,
        48828125u, 244140625u, 1220703125u, 6103515625u, 30517578125u, 152587890625u, 762939453125u, 3814697265625u,
        19073486328125u, 95367431640625u, 476837158203125u, 2384185791015625u, 11920928955078125u, 59604644775390625u,
        298023223876953125u, 1490116119384765625u, 7450580596923828125u};

/* h (top bit set) * 2^e times w, w != 0; truncated to 128 bits */
static struct num_approx mul_norm(struct wide h, int e, uint64_t w)
{
	int lz = __builtin_clzll(w);
	w <<= lz;
	struct wide lo = wide_mul(h.lo, w), top = wide_add(wide_mul(h.hi, w), lo.hi);
	struct num_approx r = {.h = top, .e = e + 64 - lz};
	if (!(top.hi >> 63)) {
		r.h = (struct wide){top.hi << 1 | top.lo >> 63, top.lo << 1 | lo.lo >> 63};
		r.e--;
		lo.lo <<= 1;
	}
	r.err = lo.lo != 0;
	return r;
}

struct num_approx num_scale(uint64_t w, int q)
{
	vx_assert(w && q >= NUM_Q_MIN && q <= NUM_Q_MAX);
	int k = (q - NUM_Q_MIN) / 27, r = q - NUM_Q_MIN - 27 * k; /* the table begins at 10^NUM_Q_MIN */
	struct wide c = {pow10_27[k].hi, pow10_27[k].lo};
	struct num_approx p = mul_norm(c, pow10_27[k].e + r, pow5[r]);
	bool exact = !p.err && (k == 13 || k == 14);
	struct num_approx v = mul_norm(p.h, p.e, w);
	/* table 1 unit, product 1, both doubled by normalising and once more by the second product, which adds its own: < 16 */
	v.err = exact ? v.err : 16;
	return v;
}

/* The double at or below v (its bits), and what the part below its last place says: -1 less than half, 1 more, 0 can't tell or a tie;
 * *tie: exactly half.  @slack: v may be larger by this many units of v.h. */
static int round_floor(struct num_approx v, struct wide slack, uint64_t *ret_bits, bool *ret_tie)
{
	int x = v.e + 127; /* value in [2^x, 2^(x+1)) */
	*ret_tie = false;
	if (x > 1023) {
		*ret_bits = 0x7ffull << 52;
		return -1;
	}
	int keep = x >= -1022 ? 53 : 53 - (-1022 - x);
	if (keep < 0) {
		bool reaches; /* below half of the smallest, unless the error reaches up to it */
		(void)wide_sum(v.h, slack, &reaches); /* whether it overflows is all that is asked */
		*ret_bits = 0;
		return keep < -1 || !reaches ? -1 : 0;
	}
	unsigned s = 128 - (unsigned)keep;
	struct wide half = wide_bit(s - 1), frac = s == 128 ? v.h : wide_low(v.h, s);
	uint64_t m = s == 128 ? 0 : wide_shr(v.h, s).lo;
	*ret_bits = keep == 53 ? ((uint64_t)(x + 1022) << 52) + m : m;
	int c = wide_cmp(frac, half);
	if (c > 0)
		return 1;
	if (!c) {
		*ret_tie = !slack.hi && !slack.lo;
		return 0;
	}
	return wide_cmp(slack, wide_sub(half, frac)) < 0 ? -1 : 0;
}

static double of_bits(uint64_t b)
{
	double d;
	memcpy(&d, &b, 8);
	return d;
}

/* ---- exact: big integers, little-endian limbs, n without leading zeros ---- */

struct big {
	unsigned n;
	uint64_t d[LIMBS];
};

static void big_mul_add(struct big *b, uint64_t mul, uint64_t add)
{
	uint64_t carry = add;
	for (unsigned i = 0; i < b->n; i++) {
		struct wide t = wide_add(wide_mul(b->d[i], mul), carry);
		b->d[i] = t.lo;
		carry = t.hi;
	}
	if (carry) {
		vx_assert(b->n < LIMBS);
		b->d[b->n++] = carry;
	}
}

static void big_mul_pow5(struct big *b, unsigned n)
{
	for (; n >= 27; n -= 27)
		big_mul_add(b, pow5[27], 0);
	if (n)
		big_mul_add(b, pow5[n], 0);
}

static void big_shl(struct big *b, unsigned bits)
{
	unsigned limbs = bits / 64;
	bits %= 64;
	if (!b->n)
		return;
	vx_assert(b->n + limbs <= LIMBS);
	memmove(b->d + limbs, b->d, b->n * sizeof b->d[0]);
	memset(b->d, 0, limbs * sizeof b->d[0]);
	b->n += limbs;
	if (bits)
		big_mul_add(b, 1ull << bits, 0);
}

static int big_cmp(const struct big *a, const struct big *b)
{
	if (a->n != b->n)
		return a->n < b->n ? -1 : 1;
	for (unsigned i = a->n; i-- > 0;)
		if (a->d[i] != b->d[i])
			return a->d[i] < b->d[i] ? -1 : 1;
	return 0;
}

/* a decimal: w * 10^q, or when digits were cut from w, the digits of the text s[n] with `q_text` for the exponent of its last digit */
struct dec {
	uint64_t w;
	int64_t q;
	const char *s;
	size_t n, digits; /* text; significant digits in it, leading zeros not counted */
	int64_t q_text;
	bool cut;
};

/* the text's digits into b; returns the exponent of ten that goes with them */
static int64_t big_digits(struct big *b, const struct dec *d)
{
	uint64_t chunk = 0, mul = 1;
	size_t got = 0;
	bool begun = false, rest = false;
	for (size_t i = 0; i < d->n; i++) {
		char c = d->s[i];
		if (c < '0' || c > '9')
			continue;
		begun |= c != '0';
		if (!begun)
			continue;
		if (got == DIGITS_MAX) {
			rest |= c != '0';
			continue;
		}
		got++;
		chunk = chunk * 10 + (uint64_t)(c - '0');
		mul *= 10;
		if (mul == 1000000000000000000u) {
			big_mul_add(b, mul, chunk);
			chunk = 0;
			mul = 1;
		}
	}
	big_mul_add(b, mul, chunk);
	int64_t q = d->q_text + (int64_t)(d->digits - got);
	if (!rest)
		return q;
	big_mul_add(b, 10, 1); /* what was left out is more than nothing and less than one in the last place */
	return q - 1;
}

/* sign of (decimal - midpoint above the double of `bits`) */
__attribute__((noinline)) static int cmp_midpoint(const struct dec *d, uint64_t bits)
{
	struct big a = {0}, m = {0};
	int64_t q = d->q;
	if (d->cut)
		q = big_digits(&a, d);
	else
		big_mul_add(&a, 1, d->w);
	uint64_t f = bits & ((1ull << 52) - 1), ef = bits >> 52;
	int e = ef ? (int)ef - 1076 : -1075; /* of the midpoint's last place, half of the double's */
	big_mul_add(&m, 1, 2 * (ef ? f | 1ull << 52 : f) + 1);
	/* a * 5^q * 2^q against m * 2^e: multiply so that only whole numbers remain */
	if (q >= 0)
		big_mul_pow5(&a, (unsigned)q);
	else
		big_mul_pow5(&m, (unsigned)-q);
	if (q > e)
		big_shl(&a, (unsigned)(q - e));
	else
		big_shl(&m, (unsigned)(e - q));
	return big_cmp(&a, &m);
}

static double dec_round(const struct dec *d)
{
	static const double p10[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
	        1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	if (!d->w)
		return 0.0;
	/* where a double's arithmetic is a double's alone: the x87 keeps more digits and would round twice */
	if (FLT_EVAL_METHOD == 0 && !d->cut && d->w <= 1ull << 53 && d->q >= -22 && d->q <= 22)
		return d->q < 0 ? (double)d->w / p10[-d->q] : (double)d->w * p10[d->q];
	if (d->q < -343) /* < 10^19 * 10^-344, less than half of the smallest double */
		return 0.0;
	if (d->q > 308)
		return of_bits(0x7ffull << 52);
	struct num_approx v = num_scale(d->w, (int)d->q);
	/* digits cut from w: it may be larger by less than one, and w >= 10^18 is at least 2^59 */
	struct wide slack = {d->cut ? 1u << (70 - 64) : 0, v.err};
	uint64_t bits;
	bool tie;
	int c = round_floor(v, slack, &bits, &tie);
	if (!c && !tie)
		c = cmp_midpoint(d, bits);
	if (c > 0 || (!c && (bits & 1)))
		bits++;
	return of_bits(bits);
}

double num_from_dec(uint64_t w, int q)
{
	struct dec d = {.w = w, .q = q};
	return dec_round(&d);
}

static bool digit_at(const char *s, size_t n, size_t i)
{
	return i < n && s[i] >= '0' && s[i] <= '9';
}

/* the exponent part at s[*io_i] ("e-12"); 0 or -EINVAL.  Huge ones stop at a million: no double is near. */
static int exponent(const char *s, size_t n, size_t *io_i, int64_t *ret)
{
	size_t i = *io_i + 1;
	int64_t v = 0;
	bool neg = i < n && s[i] == '-';
	if (i < n && (s[i] == '-' || s[i] == '+'))
		i++;
	if (!digit_at(s, n, i))
		return -EINVAL;
	for (; digit_at(s, n, i); i++)
		v = v < 100000000 ? v * 10 + (s[i] - '0') : v;
	*ret = neg ? -v : v;
	*io_i = i;
	return 0;
}

int num_f64(const char *s, size_t n, double *ret)
{
	struct dec d = {0};
	size_t i = 0, point = 0;
	bool neg = n && s[0] == '-', dot = false;
	int64_t e10 = 0;
	n = n > INT32_MAX ? INT32_MAX : n;
	i += neg;
	if (!digit_at(s, n, i) || (s[i] == '0' && digit_at(s, n, i + 1)))
		return -EINVAL;
	size_t first = i;
	for (; i < n; i++) {
		if (s[i] == '.' && !dot) {
			dot = true;
			point = i;
			if (!digit_at(s, n, i + 1))
				return -EINVAL;
			continue;
		}
		if (!digit_at(s, n, i))
			break;
		if (!d.digits && s[i] == '0')
			continue;
		if (d.digits++ < 19)
			d.w = d.w * 10 + (uint64_t)(s[i] - '0');
		else
			d.cut |= s[i] != '0';
	}
	d.s = s + first;
	d.n = i - first;
	int64_t fraction = dot ? (int64_t)(i - point - 1) : 0;
	if (i < n && (s[i] == 'e' || s[i] == 'E')) {
		int rc = exponent(s, n, &i, &e10);
		if (rc < 0)
			return rc;
	}
	d.q_text = e10 - fraction;
	d.q = d.q_text + (d.digits > 19 ? (int64_t)d.digits - 19 : 0);
	double v = dec_round(&d);
	*ret = neg ? -v : v;
	return (int)i;
}

int num_u64(const char *s, size_t n, uint64_t *ret)
{
	uint64_t v = 0;
	size_t i = 0;
	if (!digit_at(s, n, 0) || (s[0] == '0' && digit_at(s, n, 1)))
		return -EINVAL;
	for (; digit_at(s, n, i); i++)
		if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
			return -EINVAL;
	*ret = v;
	return (int)i;
}

int num_i64(const char *s, size_t n, int64_t *ret)
{
	bool neg = n && s[0] == '-';
	uint64_t v;
	int k = num_u64(s + neg, n - neg, &v);
	if (k < 0)
		return k;
	if (v > (uint64_t)INT64_MAX + neg)
		return -EINVAL;
	*ret = neg ? (int64_t)(0 - v) : (int64_t)v;
	return k + neg;
}

int num_size(const char *s, uint64_t *ret)
{
	static const char units[] = "KMGTPE";
	uint64_t v;
	size_t n = strlen(s);
	int k = num_u64(s, n, &v);
	if (k < 0)
		return k;
	const char *p = s + k, *u = *p ? strchr(units, *p >= 'a' && *p <= 'z' ? *p - 32 : *p) : NULL;
	if (u) {
		unsigned shift = 10 * (unsigned)(u - units + 1);
		if (v > UINT64_MAX >> shift)
			return -EINVAL;
		v <<= shift;
		p++;
		if (*p == 'i' && p[1] == 'B')
			p++;
	}
	if (*p == 'B')
		p++;
	if (*p)
		return -EINVAL;
	*ret = v;
	return (int)(p - s);
}
