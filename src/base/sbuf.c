/* sbuf.c - bounded text building.
 *
 * The text always has room for a NUL behind it (cap counts it), so sbuf_cstr costs nothing.  A write that doesn't fit sets `over` and
 * writes nothing more: a half-written answer must not look like a whole one. */
#include "base/sbuf.h"
#include "base/err.h"
#include "base/num.h"
#include "base/utf8.h"

#include <string.h>

void sbuf_fixed(struct sbuf *b, char *mem, size_t cap)
{
	*b = (struct sbuf){.p = mem, .cap = cap, .max = cap, .over = cap == 0};
	if (cap)
		mem[0] = 0;
}

int sbuf_arena(struct sbuf *b, struct arena *a, size_t first, size_t max)
{
	first = first < 16 ? 16 : first;
	*b = (struct sbuf){.arena = a, .max = max < first ? first : max};
	b->p = arena_alloc(a, first);
	if (!b->p) {
		b->over = true;
		return -VX_ERR_arena_full;
	}
	b->cap = first;
	b->p[0] = 0;
	return 0;
}

/* room for n more bytes and the NUL */
static bool room(struct sbuf *b, size_t n)
{
	if (b->over)
		return false;
	if (n < b->cap - b->n)
		return true;
	if (!b->arena || n >= b->max - b->n) {
		b->over = true;
		return false;
	}
	size_t want = b->n + n + 1, cap = b->cap;
	while (cap < want)
		cap = cap > b->max / 2 ? b->max : cap * 2;
	if (arena_extend(b->arena, b->p, b->cap, cap)) {
		b->cap = cap;
		return true;
	}
	char *q = arena_alloc(b->arena, cap);
	if (!q) {
		b->over = true;
		return false;
	}
	memcpy(q, b->p, b->n + 1);
	b->p = q;
	b->cap = cap;
	return true;
}

void sb_bytes(struct sbuf *b, const void *p, size_t n)
{
	if (!room(b, n))
		return;
	memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = 0;
}

void sb_str(struct sbuf *b, const char *s)
{
	sb_bytes(b, s, strlen(s));
}

void sb_ch(struct sbuf *b, char c)
{
	if (!room(b, 1))
		return;
	b->p[b->n++] = c;
	b->p[b->n] = 0;
}

void sb_u64(struct sbuf *b, uint64_t v)
{
	char t[20], *p = num_dec_digits(t + sizeof t, v);
	sb_bytes(b, p, (size_t)(t + sizeof t - p));
}

void sb_i64(struct sbuf *b, int64_t v)
{
	if (v < 0)
		sb_ch(b, '-');
	sb_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void sb_hex(struct sbuf *b, uint64_t v, unsigned digits)
{
	char t[16];
	digits = digits > 16 ? 16 : digits < 1 ? 1 : digits;
	for (unsigned i = digits; i-- > 0; v >>= 4)
		t[i] = "0123456789abcdef"[v & 15];
	sb_bytes(b, t, digits);
}

void sb_pad_u64(struct sbuf *b, uint64_t v, unsigned digits)
{
	char t[20], *p = num_dec_digits(t + sizeof t, v);
	for (size_t have = (size_t)(t + sizeof t - p); have < digits && !b->over; have++)
		sb_ch(b, '0');
	sb_bytes(b, p, (size_t)(t + sizeof t - p));
}

/* what JSON wants escaped; 0: as it is */
static char short_escape(uint8_t c)
{
	switch (c) {
	case '"':
		return '"';
	case '\\':
		return '\\';
	case '\b':
		return 'b';
	case '\f':
		return 'f';
	case '\n':
		return 'n';
	case '\r':
		return 'r';
	case '\t':
		return 't';
	default:
		return 0;
	}
}

void sb_json(struct sbuf *b, const char *s, size_t n)
{
	const uint8_t *u = (const uint8_t *)s;
	size_t done = 0; /* [done, i) is copied as it is, in one piece */
	sb_ch(b, '"');
	for (size_t i = 0; i < n && !b->over;) {
		uint32_t cp;
		unsigned k = utf8_decode(u + i, n - i, &cp);
		if (k > 1 || (k && u[i] >= 0x20 && u[i] != '"' && u[i] != '\\')) {
			i += k;
			continue;
		}
		sb_bytes(b, s + done, i - done);
		if (!k) {
			sb_bytes(b, "\xef\xbf\xbd", 3); /* U+FFFD, one for each bad byte */
		} else if (short_escape(u[i])) {
			char e[2] = {'\\', short_escape(u[i])};
			sb_bytes(b, e, 2);
		} else {
			sb_bytes(b, "\\u", 2);
			sb_hex(b, u[i], 4);
		}
		done = ++i;
	}
	if (n > done)
		sb_bytes(b, s + done, n - done);
	sb_ch(b, '"');
}

const char *sbuf_cstr(struct sbuf *b)
{
	return b->p && b->cap ? b->p : "";
}
