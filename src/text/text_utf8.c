/* text_utf8.c - validation of UTF-8 by the table of RFC 3629, section 4.  Replacement is byte for byte (a space for each bad byte, not
 * U+FFFD), so that a chunk's text and its byte range stay the same length. */
#include "text/text_utf8.h"
#include <string.h>

int utf8_len(const uint8_t *p, size_t n)
{
	uint8_t c = p[0], lo = 0x80, hi = 0xbf;
	int len;
	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf) {
		len = 2;
	} else if (c >= 0xe0 && c <= 0xef) {
		len = 3;
		lo = c == 0xe0 ? 0xa0 : 0x80;
		hi = c == 0xed ? 0x9f : 0xbf;
	} else if (c >= 0xf0 && c <= 0xf4) {
		len = 4;
		lo = c == 0xf0 ? 0x90 : 0x80;
		hi = c == 0xf4 ? 0x8f : 0xbf;
	} else {
		return 0;
	}
	for (int i = 1; i < len; i++) {
		if ((size_t)i >= n)
			return -1;
		if (p[i] < lo || p[i] > hi)
			return 0;
		lo = 0x80;
		hi = 0xbf;
	}
	return len;
}

bool utf8_bound(const uint8_t *p, size_t n, size_t at)
{
	if (at == 0 || at >= n || (p[at] & 0xc0) != 0x80)
		return true;
	for (size_t back = 1; back <= 3 && back <= at; back++) {
		if ((p[at - back] & 0xc0) == 0x80)
			continue;
		return utf8_len(p + at - back, n - (at - back)) <= (int)back;
	}
	return true;
}

size_t utf8_clean(char *ret, const uint8_t *p, size_t n)
{
	size_t at = 0, bad = 0;
	while (at < n) {
		size_t ascii = at;
		while (ascii < n && p[ascii] < 0x80)
			ascii++;
		memcpy(ret + at, p + at, ascii - at);
		at = ascii;
		if (at == n)
			break;
		int len = utf8_len(p + at, n - at);
		if (len > 0) {
			memcpy(ret + at, p + at, (size_t)len);
			at += (size_t)len;
		} else {
			ret[at++] = ' ';
			bad++;
		}
	}
	return bad;
}
