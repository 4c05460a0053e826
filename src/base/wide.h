/* wide.h - 128-bit integers as two words, for machines whose compiler has none (all of 32 bits).
 *
 * Only what number conversion and hashing need.  The product is the one thing that a 64-bit machine has an instruction for and that C cannot
 * say without __int128, so it has two forms, which test_num compares; the rest is the same everywhere. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct wide {
	uint64_t hi, lo;
};

/* wide_mul_words - a * b by four products of 32 bits */
static inline struct wide wide_mul_words(uint64_t a, uint64_t b)
{
	uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
	uint64_t ll = a0 * b0, lh = a0 * b1, hl = a1 * b0;
	uint64_t mid = (ll >> 32) + (uint32_t)lh + (uint32_t)hl; /* < 3 * 2^32 */
	return (struct wide){a1 * b1 + (lh >> 32) + (hl >> 32) + (mid >> 32), mid << 32 | (uint32_t)ll};
}

static inline struct wide wide_mul(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
	unsigned __int128 t = (unsigned __int128)a * b;
	return (struct wide){(uint64_t)(t >> 64), (uint64_t)t};
#else
	return wide_mul_words(a, b);
#endif
}

/* a + b; what does not fit is lost, and *ret_over says so */
static inline struct wide wide_sum(struct wide a, struct wide b, bool *ret_over)
{
	struct wide s = {.lo = a.lo + b.lo};
	uint64_t carry = s.lo < a.lo;
	bool over = __builtin_add_overflow(a.hi, b.hi, &s.hi);
	*ret_over = __builtin_add_overflow(s.hi, carry, &s.hi) || over;
	return s;
}

static inline struct wide wide_add(struct wide a, uint64_t b)
{
	uint64_t lo = a.lo + b;
	return (struct wide){a.hi + (lo < b), lo};
}

/* a - b for b <= a */
static inline struct wide wide_sub(struct wide a, struct wide b)
{
	return (struct wide){a.hi - b.hi - (a.lo < b.lo), a.lo - b.lo};
}

static inline int wide_cmp(struct wide a, struct wide b)
{
	return a.hi != b.hi ? (a.hi < b.hi ? -1 : 1) : a.lo != b.lo ? (a.lo < b.lo ? -1 : 1) : 0;
}

/* a / 2^n, 0 <= n < 128 */
static inline struct wide wide_shr(struct wide a, unsigned n)
{
	if (n >= 64)
		return (struct wide){0, a.hi >> (n - 64)};
	return n ? (struct wide){a.hi >> n, a.lo >> n | a.hi << (64 - n)} : a;
}

/* 2^n, 0 <= n < 128 */
static inline struct wide wide_bit(unsigned n)
{
	return n >= 64 ? (struct wide){1ull << (n - 64), 0} : (struct wide){0, 1ull << n};
}

/* the lowest n bits of a, 0 <= n < 128 */
static inline struct wide wide_low(struct wide a, unsigned n)
{
	if (n >= 64)
		return (struct wide){a.hi & ((1ull << (n - 64)) - 1), a.lo};
	return (struct wide){0, a.lo & ((1ull << n) - 1)};
}

/* a / d, which must fit 64 bits; *ret_rest: what is left */
static inline uint64_t wide_div(struct wide a, uint32_t d, uint32_t *ret_rest)
{
	uint64_t r = a.hi % d; /* a.hi / d is 0 where the quotient fits */
	uint64_t x = r << 32 | a.lo >> 32, q = x / d;
	x = (x % d) << 32 | (uint32_t)a.lo;
	*ret_rest = (uint32_t)(x % d);
	return q << 32 | x / d;
}
