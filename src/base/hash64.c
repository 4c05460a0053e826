/* hash64.c - mixing for hash tables: 16 bytes a step through one 64x64->128 product, after wyhash (Wang Yi, public domain).
 * Not for disk: its values may change between versions. */
#include "base/sbuf.h"
#include "base/wide.h"

#define K0 0xa0761d6478bd642fu
#define K1 0xe7037ed1a0b428dbu
#define K2 0x8ebc6af09c88c6e3u

static uint64_t mix(uint64_t a, uint64_t b)
{
	struct wide t = wide_mul(a, b);
	return t.lo ^ t.hi;
}

uint64_t hash64(const void *p, size_t n, uint64_t seed)
{
	const uint8_t *b = p;
	size_t len = n;
	uint64_t a = 0, c = 0;
	seed = mix(seed ^ K0, K1);
	for (; n > 16; n -= 16, b += 16)
		seed = mix(le64_get(b) ^ K1, le64_get(b + 8) ^ seed);
	if (n >= 8) { /* the two words overlap below 16 bytes: no byte is left out, none needs a loop */
		a = le64_get(b);
		c = le64_get(b + n - 8);
	} else if (n >= 4) {
		a = le32_get(b);
		c = le32_get(b + n - 4);
	} else if (n) {
		a = (uint64_t)b[0] << 16 | (uint64_t)b[n >> 1] << 8 | b[n - 1];
	}
	return mix(K2 ^ len, mix(a ^ K1, c ^ seed));
}
