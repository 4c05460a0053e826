/* text_cut.c - the choice of a cut.
 *
 * Places to cut fall into classes: heading, function boundary, paragraph, line, sentence, word, anywhere between characters.  Each class
 * has a range of chunk lengths it may give; the best class that has a place in its range wins.  Within the class the place is chosen by
 * a hash of the text that follows it, not by its distance from the aim: the place with the largest hash is the same one wherever
 * the chunk began, so after an edit the cuts fall back into step with the old ones at once (content-defined chunking by local
 * maxima; Bjorner, Blass, Gurevich 2010).  The ranges are chosen so that the mean is about TEXT_CHUNK_AIM.
 *
 * The next chunk starts up to TEXT_CHUNK_OVERLAP before the cut, at a paragraph, sentence, line or word; right at the cut when that is
 * a heading or a function boundary, for nothing before it belongs to what follows. */
#include "text/text_cut.h"
#include "text/text.h"
#include "text/text_utf8.h"
#include <string.h>
#include <strings.h>
#include <xxhash.h>

enum cut_class { CUT_any, CUT_word, CUT_sentence, CUT_line, CUT_para, CUT_func, CUT_heading, CUT_CLASSES };
static const struct {
	uint32_t min, max;
} range[CUT_CLASSES] = {
        [CUT_any] = {1400, 2400},
        [CUT_word] = {1400, 2400},
        [CUT_sentence] = {1200, 2400},
        [CUT_line] = {900, 2600},
        [CUT_para] = {900, 2600},
        [CUT_func] = {700, 2800},
        [CUT_heading] = {400, TEXT_CHUNK_MAX},
};
#define WHOLE_MAX  (TEXT_CHUNK_AIM + TEXT_CHUNK_AIM / 4) /* a rest of this length stays one chunk */
#define REST_MIN   300u /* and none shorter than this is left behind */
#define HASH_BYTES 64u

static const char *const code_endings[] = {"c", "h", "cc", "cpp", "cxx", "hpp", "hh", "hxx", "m", "mm", "rs", "go",
        "py", "pyi", "js", "mjs", "cjs", "ts", "tsx", "jsx", "java", "kt", "kts", "scala", "swift", "rb", "pl", "pm",
        "php", "cs", "fs", "lua", "sh", "bash", "zsh", "fish", "el", "lisp", "clj", "scm", "hs", "ml", "mli", "ex",
        "exs", "erl", "hrl", "jl", "r", "sql", "zig", "nim", "d", "dart", "v", "vhd", "vhdl", "asm", "s", "cmake", "mk",
        "proto", "css", "scss", "tcl", "awk", "f90", "f", "pas", "vala", "groovy", "gradle", "ps1", "bat", "json",
        "yaml", "yml", "toml", "ini", "conf", "xml"};
static const char *const markdown_endings[] = {"md", "markdown", "mdown", "mkd", "rmd", "qmd", "mdx"};

static bool ending_in(const char *e, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcasecmp(e, list[i]))
			return true;
	return false;
}

enum text_kind text_kind_of(const char *name)
{
	const char *slash = name ? strrchr(name, '/') : NULL;
	const char *base = slash ? slash + 1 : name;
	const char *dot = base ? strrchr(base, '.') : NULL;
	if (!base)
		return TEXT_KIND_prose;
	if (!strcasecmp(base, "Makefile") || !strcasecmp(base, "CMakeLists.txt") || !strcasecmp(base, "Dockerfile") ||
	        !strcasecmp(base, "meson.build"))
		return TEXT_KIND_code;
	if (!dot)
		return TEXT_KIND_prose;
	if (ending_in(dot + 1, markdown_endings, sizeof markdown_endings / sizeof *markdown_endings))
		return TEXT_KIND_markdown;
	if (ending_in(dot + 1, code_endings, sizeof code_endings / sizeof *code_endings))
		return TEXT_KIND_code;
	return TEXT_KIND_prose;
}

static bool is_space(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* end of the line at `at`: the index of its '\n', or n */
static uint32_t line_end(const uint8_t *p, uint32_t n, uint32_t at)
{
	const uint8_t *e = at < n ? memchr(p + at, '\n', n - at) : NULL;
	return e ? (uint32_t)(e - p) : n;
}

static bool line_blank(const uint8_t *p, uint32_t at, uint32_t end)
{
	while (at < end && is_space(p[at]))
		at++;
	return at == end;
}

static bool line_fence(const uint8_t *p, uint32_t at, uint32_t end)
{
	for (int i = 0; i < 3 && at < end && p[at] == ' '; i++)
		at++;
	return end - at >= 3 && (!memcmp(p + at, "```", 3) || !memcmp(p + at, "~~~", 3));
}

/* a line of nothing but ===, --- or ~~~ under a title */
static bool line_underline(const uint8_t *p, uint32_t at, uint32_t end)
{
	uint32_t k = 0;
	uint8_t c = at < end ? p[at] : 0;
	if (c != '=' && c != '-' && c != '~')
		return false;
	while (at < end && p[at] == c) {
		at++;
		k++;
	}
	return k >= 3 && line_blank(p, at, end);
}

static enum cut_class line_class(const uint8_t *p, uint32_t n, uint32_t at, uint32_t end, enum text_kind kind,
        bool fence, bool prev_blank, bool prev_close)
{
	if (kind == TEXT_KIND_code) {
		if (is_space(p[at]) || p[at] == '}' || p[at] == ')' || p[at] == ']')
			return prev_blank ? CUT_para : CUT_line;
		return prev_blank || prev_close ? CUT_func : CUT_line;
	}
	if (!fence && p[at] == '#' && (kind == TEXT_KIND_markdown || prev_blank)) {
		uint32_t k = 1;
		while (k < 7 && at + k < end && p[at + k] == '#')
			k++;
		if (k < 7 && at + k < end && (p[at + k] == ' ' || p[at + k] == '\t'))
			return CUT_heading;
	}
	if (!fence && prev_blank && end < n && !is_space(p[at]) && line_underline(p, end + 1, line_end(p, n, end + 1)))
		return CUT_heading;
	return prev_blank ? CUT_para : CUT_line;
}

struct best {
	enum cut_class cls;
	uint32_t at;
	uint64_t hash;
	bool found;
};

static uint32_t from_aim(uint32_t at)
{
	return at > TEXT_CHUNK_AIM ? at - TEXT_CHUNK_AIM : TEXT_CHUNK_AIM - at;
}

/* @len  bytes that follow the place and speak for it */
static void consider(struct best *b, enum cut_class cls, const uint8_t *p, uint32_t at, uint32_t len, uint32_t at_max)
{
	if (at < range[cls].min || at > range[cls].max || at > at_max || (b->found && cls < b->cls))
		return;
	uint64_t h = XXH3_64bits(p + at, len < HASH_BYTES ? len : HASH_BYTES);
	if (b->found && cls == b->cls && (h < b->hash || (h == b->hash && from_aim(at) >= from_aim(b->at))))
		return;
	*b = (struct best){.cls = cls, .at = at, .hash = h, .found = true};
}

static void scan_lines(struct best *b, const uint8_t *p, uint32_t n, uint32_t at_max, enum text_kind kind, bool fence)
{
	bool prev_blank = false, prev_close = false;
	for (uint32_t at = 0; at < n && at <= TEXT_CHUNK_MAX;) {
		uint32_t end = line_end(p, n, at);
		bool blank = line_blank(p, at, end);
		if (at && !blank)
			consider(b, line_class(p, n, at, end, kind, fence, prev_blank, prev_close), p, at, end - at,
			        at_max);
		if (kind == TEXT_KIND_markdown && line_fence(p, at, end))
			fence = !fence;
		prev_blank = blank;
		prev_close = !blank && p[at] == '}';
		at = end + 1;
	}
}

/* does a sentence end right before the white space that ends at `at`? ASCII marks, and the full-width ones of CJK text */
static bool sentence_before(const uint8_t *p, uint32_t at)
{
	while (at && is_space(p[at - 1]))
		at--;
	while (at && strchr("\"')]", p[at - 1]))
		at--;
	if (at && strchr(".!?", p[at - 1]))
		return true;
	if (at < 3)
		return false;
	const uint8_t *q = p + at - 3;
	return !memcmp(q, "\xe3\x80\x82", 3) || !memcmp(q, "\xef\xbc\x81", 3) || !memcmp(q, "\xef\xbc\x9f", 3);
}

static bool word_start(const uint8_t *p, uint32_t at)
{
	return at && is_space(p[at - 1]) && !is_space(p[at]);
}

static void scan_words(struct best *b, const uint8_t *p, uint32_t n, uint32_t at_max)
{
	uint32_t lo = range[CUT_sentence].min, hi = range[CUT_sentence].max;
	for (uint32_t at = lo; at <= hi && at < n; at++) {
		uint32_t left = n - at < 16 ? n - at : 16;
		if (word_start(p, at))
			consider(b, sentence_before(p, at) ? CUT_sentence : CUT_word, p, at, left, at_max);
		else if (p[at - 1] >= 0x80 && utf8_bound(p, n, at) && sentence_before(p, at))
			consider(b, CUT_sentence, p, at, left, at_max);
		else if ((!b->found || b->cls == CUT_any) && utf8_bound(p, n, at))
			consider(b, CUT_any, p, at, left, at_max);
	}
}

/* where the next chunk starts: the earliest good place among the last TEXT_CHUNK_OVERLAP bytes */
static uint32_t overlap_start(const uint8_t *p, uint32_t n, uint32_t cut)
{
	uint32_t lo = cut - TEXT_CHUNK_OVERLAP, para = 0, sentence = 0, line = 0, word = 0;
	for (uint32_t at = cut - 1; at >= lo; at--) {
		if (is_space(p[at]) && p[at] != '\t' && p[at] != ' ')
			continue;
		if (p[at - 1] == '\n' && !line_blank(p, at, line_end(p, n, at))) {
			line = at;
			bool after_blank =
			        at >= 2 && (p[at - 2] == '\n' || (at >= 3 && p[at - 2] == '\r' && p[at - 3] == '\n'));
			para = after_blank ? at : para;
			sentence = sentence_before(p, at) ? at : sentence;
		} else if (word_start(p, at)) {
			word = at;
			sentence = sentence_before(p, at) ? at : sentence;
		} else if (p[at - 1] >= 0x80 && utf8_bound(p, n, at) && sentence_before(p, at)) {
			sentence = at;
		}
	}
	uint32_t best = para ? para : sentence ? sentence : line ? line : word;
	if (best)
		return best;
	while (!utf8_bound(p, n, lo))
		lo++;
	return lo;
}

struct cut cut_choose(const uint8_t *p, uint32_t n, bool final, enum text_kind kind, bool fence)
{
	struct cut c = {.end = n, .next = n, .fence = fence};
	struct best b = {0};
	uint32_t at_max = final ? n - REST_MIN : TEXT_CHUNK_MAX;
	if (final && n <= WHOLE_MAX)
		return c;
	scan_lines(&b, p, n, at_max, kind, fence);
	if (!b.found)
		scan_words(&b, p, n, at_max);
	vx_assert(b.found); /* between 1400 and 1950 there is always a boundary of characters */
	c.end = b.at;
	c.next = b.cls >= CUT_func ? b.at : overlap_start(p, n, b.at);
	for (uint32_t at = 0; kind == TEXT_KIND_markdown && at < c.next;) {
		uint32_t end = line_end(p, n, at);
		if (line_fence(p, at, end))
			c.fence = !c.fence;
		at = end + 1;
	}
	return c;
}
