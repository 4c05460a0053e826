/* text_chunk.c - the chunker: a window of TEXT_CHUNK_MAX + CUT_LOOKAHEAD bytes slides over the file.
 *
 * A cut is chosen only when the window is full or the file has ended, so what is chosen depends on the file's bytes alone and never on
 * how they arrived.  The window starts on a boundary of characters; a chunk is handed out as a cleaned copy. */
#include "text/text.h"
#include "text/text_cut.h"
#include "text/text_utf8.h"
#include <string.h>

#define WINDOW (TEXT_CHUNK_MAX + CUT_LOOKAHEAD)

struct text_chunker {
	enum text_kind kind;
	bool fence, begun, ended;
	uint32_t ord, n; /* bytes in the window */
	uint64_t base; /* the window's first byte in the file */
	uint64_t covered; /* every byte before this one was in a chunk or is white space */
	uint32_t line; /* of the window's first byte, 1-based */
	uint8_t win[WINDOW];
	char out[WINDOW];
};

int text_chunker_new(const char *file_name, struct text_chunker **ret)
{
	struct text_chunker *c = mem_alloc(MEM_text, sizeof *c);
	if (!c)
		return -ENOMEM;
	memset(c, 0, offsetof(struct text_chunker, win));
	c->kind = text_kind_of(file_name);
	c->line = 1;
	*ret = c;
	return 0;
}

void text_chunker_free(struct text_chunker *c)
{
	mem_free(MEM_text, c);
}

static uint32_t newlines(const uint8_t *p, uint32_t n)
{
	uint32_t k = 0;
	for (const uint8_t *end = p + n; p < end && (p = memchr(p, '\n', (size_t)(end - p))); p++)
		k++;
	return k;
}

static void slide(struct text_chunker *c, uint32_t by)
{
	c->line += newlines(c->win, by);
	memmove(c->win, c->win + by, c->n - by);
	c->n -= by;
	c->base += by;
}

static bool white(uint8_t ch)
{
	return ch == ' ' || (ch >= '\t' && ch <= '\r');
}

/* the window's [0, end) without blank lines at its start and white space at its end */
static int hand_out(struct text_chunker *c, uint32_t end, int (*emit)(void *u, const struct text_chunk *ch), void *u)
{
	uint32_t at = 0, start = 0;
	for (; at < end && white(c->win[at]); at++)
		if (c->win[at] == '\n')
			start = at + 1;
	while (end > at && white(c->win[end - 1]))
		end--;
	/* nothing but white space, or nothing that the chunk before did not have */
	if (at >= end || c->base + end <= c->covered)
		return 0;
	c->covered = c->base + end;
	(void)utf8_clean(c->out, c->win + start, end - start); /* how many bytes were bad is no concern here */
	uint32_t line0 = c->line + newlines(c->win, start);
	struct text_chunk ch = {
	        .ord = c->ord++,
	        .byte0 = c->base + start,
	        .byte1 = c->base + end,
	        .line0 = line0,
	        .line1 = line0 + newlines(c->win + start, end - start),
	        .text = c->out,
	        .text_n = end - start,
	};
	int rc = emit(u, &ch);
	return rc < 0 ? rc : 0;
}

static int cut_window(struct text_chunker *c, bool final, int (*emit)(void *u, const struct text_chunk *ch), void *u)
{
	if (!c->begun) {
		c->begun = true;
		if (c->n >= 3 && !memcmp(c->win, "\xef\xbb\xbf", 3)) {
			slide(c, 3);
			return 0;
		}
	}
	struct cut k = cut_choose(c->win, c->n, final, c->kind, c->fence);
	VX_TRY(hand_out(c, k.end, emit, u));
	c->fence = k.fence;
	slide(c, k.next);
	return 0;
}

int text_feed(struct text_chunker *c, const void *vp, size_t n, bool end,
        int (*emit)(void *u, const struct text_chunk *ch), void *u)
{
	const uint8_t *p = vp;
	vx_assert(!c->ended);
	while (n) {
		size_t take = WINDOW - c->n < n ? WINDOW - c->n : n;
		if (memchr(p, 0, take)) {
			c->ended = true;
			return -VX_ERR_not_text;
		}
		memcpy(c->win + c->n, p, take);
		c->n += (uint32_t)take;
		p += take;
		n -= take;
		if (c->n == WINDOW)
			VX_TRY(cut_window(c, false, emit, u));
	}
	c->ended = end;
	while (end && c->n)
		VX_TRY(cut_window(c, true, emit, u));
	return 0;
}
