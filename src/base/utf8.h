/* utf8.h - strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* utf8_decode - the first code point of s[n].  Return its 1..4 bytes and *ret, 0 when the bytes are no UTF-8 (or n is 0). */
static inline unsigned utf8_decode(const void *s, size_t n, uint32_t *ret)
{
	const uint8_t *b = s;
	if (!n)
		return 0;
	if (b[0] < 0x80) {
		*ret = b[0];
		return 1;
	}
	unsigned len = b[0] >= 0xf0 && b[0] < 0xf5   ? 4
	               : b[0] >= 0xe0 && b[0] < 0xf0 ? 3
	               : b[0] >= 0xc2 && b[0] < 0xe0 ? 2
	                                             : 0;
	if (!len || n < len)
		return 0;
	uint32_t c = b[0] & (0x7fu >> len);
	for (unsigned i = 1; i < len; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (b[i] & 0x3fu);
	}
	if ((len == 3 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) || (len == 4 && (c < 0x10000 || c > 0x10ffff)))
		return 0;
	*ret = c;
	return len;
}
/* utf8_encode - bytes written to out[4]: 1..4, or 0 for a surrogate or a value above U+10FFFF */
static inline unsigned utf8_encode(uint32_t c, void *out)
{
	uint8_t *b = out;
	if (c < 0x80) {
		b[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		b[0] = (uint8_t)(0xc0 | c >> 6);
		b[1] = (uint8_t)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c >= 0xd800 && c < 0xe000)
		return 0;
	if (c < 0x10000) {
		b[0] = (uint8_t)(0xe0 | c >> 12);
		b[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		b[2] = (uint8_t)(0x80 | (c & 0x3f));
		return 3;
	}
	if (c > 0x10ffff)
		return 0;
	b[0] = (uint8_t)(0xf0 | c >> 18);
	b[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	b[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	b[3] = (uint8_t)(0x80 | (c & 0x3f));
	return 4;
}
static inline bool utf8_valid(const void *s, size_t n)
{
	const uint8_t *b = s;
	for (size_t i = 0; i < n;) {
		uint32_t c;
		unsigned k = utf8_decode(b + i, n - i, &c);
		if (!k)
			return false;
		i += k;
	}
	return true;
}
