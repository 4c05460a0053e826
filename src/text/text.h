/* text.h - from a file's bytes to chunks of text with byte and line ranges.  Pure: bytes in, chunks out; no I/O, no clock.
 *
 * A chunker is fed a file in pieces of any size and hands out chunks of about TEXT_CHUNK_AIM bytes cut at headings, blank lines,
 * function boundaries, line ends, in that order of liking; neighbours overlap by at most TEXT_CHUNK_OVERLAP bytes.  Memory: one
 * chunk and the piece in hand. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/mem.h"

#define TEXT_CHUNK_AIM     1800u
#define TEXT_CHUNK_MAX     3000u
#define TEXT_CHUNK_OVERLAP 200u

struct text_chunk {
	uint32_t ord;
	uint64_t byte0, byte1; /* [byte0, byte1) in the file */
	uint32_t line0, line1; /* 1-based, inclusive */
	const char *text; /* valid UTF-8 (invalid bytes replaced by a space); borrowed until the next call */
	uint32_t text_n;
};
/* text_sniff - may these first bytes of a file (up to 8 KiB) be text? By content: no NUL, no long run of invalid UTF-8, few control
 * bytes; a BOM of UTF-8 is text; UTF-16 is not. */
bool text_sniff(const void *p, size_t n, bool whole_file);

struct text_chunker;
int text_chunker_new(const char *file_name, struct text_chunker **ret); /* the name's ending tells code from prose */
void text_chunker_free(struct text_chunker *c); /* takes NULL */
/* text_feed - take a piece (@end: the last one), call emit for each chunk that is complete.
 * @p,@n   the file's next bytes; n may be 0
 * @emit   gets each chunk in order; ord counts from 0; < 0 stops and is returned
 * Return: 0; -VX_ERR_not_text when a NUL turns up; what emit returned. After a failure or @end only text_chunker_free is allowed.
 * Bounds: the chunks do not depend on how the file was cut into pieces.  Ranges: no blank line at a chunk's start, no white space at
 * its end; every byte that is not white space lies in at least one chunk; a file of white space gives none.  A cut is chosen by the
 * text around it, not by its offset, so an edit changes the chunks near it and leaves the others as they were. */
int text_feed(struct text_chunker *c, const void *p, size_t n, bool end,
        int (*emit)(void *u, const struct text_chunk *ch), void *u);

/* text_hash - 128-bit content hash (XXH3-128, canonical byte order: what `xxh128sum` prints), streamed */
struct text_hash;
int text_hash_new(struct text_hash **ret); /* 0 or -ENOMEM */
void text_hash_add(struct text_hash *h, const void *p, size_t n);
void text_hash_end(struct text_hash *h, uint8_t ret[16]); /* and frees; ret NULL: only frees; takes NULL */
void text_hash_once(const void *p, size_t n, uint8_t ret[16]);
