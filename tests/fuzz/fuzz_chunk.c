/* fuzz_chunk.c - libFuzzer target: any bytes through the sniffer and the chunker, whole and in pieces: the same chunks, each the file's
 * own bytes and valid UTF-8, none too long, nothing but white space between them.
 *     tests/fuzz/run.py --only chunk [--seconds N] */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "text/text.h"
#include "text/text_utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct seen {
	const uint8_t *file;
	size_t n;
	uint64_t covered, lines_at, line;
	uint8_t hash[16];
	uint32_t chunks;
};
static bool white(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}
static int look(void *u, const struct text_chunk *c)
{
	struct seen *s = u;
	static char clean[TEXT_CHUNK_MAX];
	if (c->ord != s->chunks++ || c->byte1 > s->n || c->byte0 >= c->byte1 || c->byte1 - c->byte0 != c->text_n ||
	        c->text_n > TEXT_CHUNK_MAX || c->byte1 <= s->covered)
		abort();
	utf8_clean(clean, s->file + c->byte0, c->text_n);
	if (memcmp(clean, c->text, c->text_n))
		abort();
	for (uint64_t i = s->covered; i < c->byte0; i++)
		if (!white(s->file[i]))
			abort();
	for (size_t i = 0; i < c->text_n;) {
		int k = utf8_len((const uint8_t *)c->text + i, c->text_n - i);
		if (k <= 0)
			abort();
		i += (size_t)k;
	}
	s->covered = c->byte1;
	struct {
		uint8_t before[16];
		uint64_t b0, b1;
		uint32_t l0, l1;
	} mix = {.b0 = c->byte0, .b1 = c->byte1, .l0 = c->line0, .l1 = c->line1};
	memcpy(mix.before, s->hash, 16);
	text_hash_once(&mix, sizeof mix, s->hash);
	return 0;
}

static int run(const char *name, const uint8_t *p, size_t n, size_t step, struct seen *s)
{
	struct text_chunker *c;
	int rc = text_chunker_new(name, &c);
	*s = (struct seen){.file = p, .n = n, .covered = n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3) ? 3 : 0};
	for (size_t at = 0; rc >= 0; at += step) {
		size_t k = n - at < step ? n - at : step;
		bool end = at + k == n;
		rc = text_feed(c, p + at, k, end, look, s);
		if (end)
			break;
	}
	text_chunker_free(c);
	if (rc >= 0)
		for (uint64_t i = s->covered; i < n; i++)
			if (!white(p[i]))
				abort();
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const names[] = {"a.txt", "a.md", "a.c", "a"};
	struct seen whole, parts;
	if (n < 3)
		return 0;
	const char *name = names[p[0] & 3];
	size_t step = 1 + p[1] * 16u, times = 1 + (p[0] >> 2) % 16u;
	p += 2;
	n -= 2;
	(void)text_sniff(p, n, p[0] & 1); /* only that it answers */
	/* long files from short inputs: the input over and over */
	uint8_t *big = malloc(n * times);
	for (size_t i = 0; i < times; i++)
		memcpy(big + i * n, p, n);
	int a = run(name, big, n * times, n * times, &whole), b = run(name, big, n * times, step, &parts);
	if (a != b || memcmp(whole.hash, parts.hash, 16) || whole.chunks != parts.chunks)
		abort();
	free(big);
	if (mem_used_all())
		abort();
	return 0;
}
