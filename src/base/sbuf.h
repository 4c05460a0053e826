/* sbuf.h - bounded text building and locale-free numbers, without the printf family (2-10 KB of stack each).
 *
 * An sbuf writes into memory it is given, or grows on an arena when made with sbuf_arena.  Once it runs out `over` is set and
 * later writes do nothing: one check at the end is enough. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/mem.h"

struct sbuf {
	char *p;
	size_t n, cap;
	bool over;
	struct arena *arena; /* NULL: fixed */
	size_t max; /* most it may grow to */
};
void sbuf_fixed(struct sbuf *b, char *mem, size_t cap); /* keeps a NUL behind the text: cap counts it */
int sbuf_arena(struct sbuf *b, struct arena *a, size_t first, size_t max);
void sb_bytes(struct sbuf *b, const void *p, size_t n);
void sb_str(struct sbuf *b, const char *s);
void sb_ch(struct sbuf *b, char c);
void sb_u64(struct sbuf *b, uint64_t v);
void sb_i64(struct sbuf *b, int64_t v);
void sb_hex(struct sbuf *b, uint64_t v, unsigned digits);
void sb_pad_u64(struct sbuf *b, uint64_t v, unsigned digits); /* leading zeros */
void sb_fixed(struct sbuf *b, double v, unsigned decimals); /* "0.873"; decimals <= 9; huge values as sb_f64 */
void sb_f32(struct sbuf *b, float v); /* shortest text that reads back the same float; nan, inf as null */
void sb_f64(struct sbuf *b, double v); /* at most 17 significant digits, reads back the same double */
void sb_json(struct sbuf *b, const char *s, size_t n); /* quoted and escaped; invalid UTF-8 bytes become U+FFFD */
const char *sbuf_cstr(struct sbuf *b); /* NUL-terminated text */

/* numbers from text; all return bytes read or -EINVAL; the whole syntax of JSON numbers. Correctly rounded. */
int num_f64(const char *s, size_t n, double *ret);
int num_u64(const char *s, size_t n, uint64_t *ret);
int num_i64(const char *s, size_t n, int64_t *ret);
/* "512M", "2G", "1048576" */
int num_size(const char *s, uint64_t *ret);

/* little-endian on disk and wire */
static inline void le16_put(void *p, uint16_t v)
{
	uint8_t *b = p;
	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
}
static inline void le32_put(void *p, uint32_t v)
{
	uint8_t *b = p;
	for (int i = 0; i < 4; i++)
		b[i] = (uint8_t)(v >> (8 * i));
}
static inline void le64_put(void *p, uint64_t v)
{
	uint8_t *b = p;
	for (int i = 0; i < 8; i++)
		b[i] = (uint8_t)(v >> (8 * i));
}
static inline uint16_t le16_get(const void *p)
{
	const uint8_t *b = p;
	return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t le32_get(const void *p)
{
	const uint8_t *b = p;
	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static inline uint64_t le64_get(const void *p)
{
	return (uint64_t)le32_get(p) | (uint64_t)le32_get((const uint8_t *)p + 4) << 32;
}

/* crc32c (Castagnoli), seed 0 for a fresh one; hash64: xxh3-like mixing for hash tables (not for disk) */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
uint64_t hash64(const void *p, size_t n, uint64_t seed);
