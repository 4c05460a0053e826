/* The chunker's properties over generated files: the same chunks however the file arrives, ranges that are the file's own bytes, right
 * lines, nothing left out, lengths in bounds; an edit changes few chunks. */
#include "tap.h"
#include "text/text.h"
#include "text/text_cut.h"
#include "text/text_utf8.h"

static uint64_t rng;
static uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)((rng >> 32) * below >> 32);
}

struct got {
	struct text_chunk *ch;
	size_t n, cap;
};
static int keep(void *u, const struct text_chunk *ch)
{
	struct got *g = u;
	if (g->n == g->cap)
		g->ch = realloc(g->ch, (g->cap = g->cap * 2 + 16) * sizeof *g->ch);
	g->ch[g->n] = *ch;
	char *t = malloc(ch->text_n + 1u);
	memcpy(t, ch->text, ch->text_n);
	t[ch->text_n] = 0;
	g->ch[g->n++].text = t;
	return 0;
}
static void drop(struct got *g)
{
	for (size_t i = 0; i < g->n; i++)
		free((void *)g->ch[i].text);
	free(g->ch);
	*g = (struct got){0};
}

/* piece 0: all at once; else pieces of 1..piece bytes */
static int chunk_all(const char *name, const char *p, size_t n, uint32_t piece, struct got *g)
{
	struct text_chunker *c;
	int rc = text_chunker_new(name, &c);
	size_t at = 0;
	while (rc >= 0) {
		size_t k = piece ? 1 + rnd(piece) : n;
		if (k > n - at)
			k = n - at;
		/* the end is told with the last piece or by an empty one after it */
		bool end = at + k == n && (piece == 0 || k == 0 || rnd(2));
		rc = text_feed(c, p + at, k, end, keep, g);
		at += k;
		if (end)
			break;
	}
	text_chunker_free(c);
	return rc;
}

static bool white(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool same(const struct got *a, const struct got *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++) {
		const struct text_chunk *x = &a->ch[i], *y = &b->ch[i];
		if (x->ord != y->ord || x->byte0 != y->byte0 || x->byte1 != y->byte1 || x->line0 != y->line0 ||
		        x->line1 != y->line1 || x->text_n != y->text_n || memcmp(x->text, y->text, x->text_n))
			return false;
	}
	return true;
}

/* against the file itself: 0, or the number of the rule that is broken */
static int broken_rule(const struct got *g, const char *p, size_t n)
{
	uint64_t covered = n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3) ? 3 : 0, line = 1, at = 0;
	static char clean[TEXT_CHUNK_MAX + CUT_LOOKAHEAD];
	for (size_t i = 0; i < g->n; i++) {
		const struct text_chunk *c = &g->ch[i];
		if (c->ord != i)
			return 1;
		if (c->byte1 <= c->byte0 || c->byte1 > n || c->byte1 - c->byte0 != c->text_n)
			return 2;
		if (c->text_n > TEXT_CHUNK_MAX)
			return 3;
		utf8_clean(clean, (const uint8_t *)p + c->byte0, c->text_n);
		if (memcmp(clean, c->text, c->text_n))
			return 4;
		for (size_t k = 0; k < c->text_n;) {
			int len = utf8_len((const uint8_t *)c->text + k, c->text_n - k);
			if (len <= 0)
				return 5;
			k += (size_t)len;
		}
		/* a valid character of the file is never torn */
		if (!utf8_bound((const uint8_t *)p, n, c->byte0) || !utf8_bound((const uint8_t *)p, n, c->byte1))
			return 6;
		for (uint64_t k = covered; k < c->byte0; k++)
			if (!white(p[k]))
				return 7;
		if (c->byte0 + TEXT_CHUNK_OVERLAP < covered || c->byte1 <= covered)
			return 8;
		covered = c->byte1;
		if (at > c->byte0) {
			line = 1;
			at = 0;
		}
		for (; at < c->byte0; at++)
			line += p[at] == '\n';
		uint64_t line1 = line;
		for (uint64_t k = c->byte0; k + 1 < c->byte1; k++)
			line1 += p[k] == '\n';
		if (c->line0 != line || c->line1 != line1)
			return 9;
		if (white(p[c->byte1 - 1]))
			return 10;
	}
	for (uint64_t k = covered; k < n; k++)
		if (!white(p[k]))
			return 11;
	return 0;
}

enum shape { prose, markdown, code, long_line, noise, cjk, crlf, blanks, SHAPES };
static const char *const names[SHAPES] = {"a.txt", "b.md", "c.c", "d.json", "e", "f.txt", "g.txt", "h.md"};

static size_t make(enum shape s, char *p, size_t n)
{
	size_t at = 0;
	uint32_t col = 0;
	if (rnd(4) == 0 && n >= 3) {
		memcpy(p, "\xef\xbb\xbf", 3);
		at = 3;
	}
	while (at + 16 < n) {
		uint32_t r = rnd(100);
		switch (s) {
		case noise:
			p[at++] = (char)(1 + rnd(255));
			continue;
		case long_line:
			p[at++] = (char)(rnd(40) ? 'a' + rnd(26) : 0x20 + rnd(0x5f));
			continue;
		case blanks:
			p[at++] = rnd(400) ? " \t\n\r"[rnd(4)] : 'x';
			continue;
		case cjk:
			p[at++] = (char)0xe4;
			p[at++] = (char)(0xb8 + rnd(4));
			p[at++] = (char)(0x80 + rnd(64));
			if (r < 3) {
				memcpy(p + at, "\xe3\x80\x82", 3);
				at += 3;
			}
			continue;
		case markdown:
			if (!col && r < 4) {
				memcpy(p + at, r < 2 ? "## " : "```", 3);
				at += 3;
			}
			break;
		case code:
			if (!col && r < 30) {
				memcpy(p + at, r < 25 ? "\t" : r < 28 ? "}\n" : "}", 1 + (r >= 25 && r < 28));
				at += 1 + (r >= 25 && r < 28);
			}
			break;
		case prose:
		case crlf:
		case SHAPES:
			break;
		}
		for (uint32_t k = 1 + rnd(9); k; k--)
			p[at++] = (char)('a' + rnd(26));
		col += 8;
		if (r < 8)
			p[at++] = '.';
		if (col > 72 || r > 97) {
			if (s == crlf)
				p[at++] = '\r';
			p[at++] = '\n';
			if (rnd(5) == 0)
				p[at++] = '\n';
			col = 0;
		} else {
			p[at++] = ' ';
		}
		if (rnd(1000) == 0)
			p[at++] = (char)(0x80 + rnd(128));
	}
	return at;
}

static void test_properties(void)
{
	static const size_t sizes[] = {
	        0, 1, 17, 40, 400, 2249, 2250, 2251, 3000, 3001, 3511, 3512, 3513, 3600, 6000, 20000, 60000};
	static const uint32_t pieces[] = {1, 2, 3, 7, 64, 511, 3512, 4096, 9000};
	char *p = malloc(70000);
	for (int s = 0; s < SHAPES; s++) {
		int bad_rule = 0, bad_same = 0, bad_rc = 0, files = 0;
		size_t chunks = 0;
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			for (int rep = 0; rep < 3; rep++) {
				size_t n = sizes[i] < 40 ? make((enum shape)s, p, 200)
				                         : make((enum shape)s, p, sizes[i] + 16);
				if (n > sizes[i])
					n = sizes[i];
				struct got whole = {0}, g = {0};
				bad_rc += chunk_all(names[s], p, n, 0, &whole) != 0;
				int rule = broken_rule(&whole, p, n);
				if (rule)
					printf("# shape %d size %zu breaks rule %d\n", s, n, rule);
				bad_rule += rule != 0;
				for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
					bad_rc += chunk_all(names[s], p, n, pieces[k], &g) != 0;
					bad_same += !same(&whole, &g);
					drop(&g);
				}
				files++;
				chunks += whole.n;
				drop(&whole);
			}
		}
		T_OK(!bad_rc && !bad_rule && !bad_same,
		        "shape %d: %d files, %zu chunks; failed %d, rules broken %d, differ by pieces %d", s, files,
		        chunks, bad_rc, bad_rule, bad_same);
	}
	free(p);
}

static void test_known(void)
{
	struct got g = {0};
	const char *t = "\n\n  one\ntwo\n\n";
	T_EQ(chunk_all("x.txt", t, strlen(t), 0, &g), 0, "small file");
	T_EQ(g.n, 1, "one chunk");
	T_EQ(g.ch[0].byte0, 2, "blank lines at the start are left out, indentation is not");
	T_EQ(g.ch[0].byte1, 11, "white space at the end is left out");
	T_EQ(g.ch[0].line0, 3, "first line");
	T_EQ(g.ch[0].line1, 4, "last line");
	T_OK(!strcmp(g.ch[0].text, "  one\ntwo"), "its text");
	drop(&g);
	T_EQ(chunk_all("x.txt", "a\0b", 3, 0, &g), -VX_ERR_not_text, "a NUL");
	T_EQ(g.n, 0, "gives no chunk");
	drop(&g);
	static char b[200000];
	memset(b, ' ', sizeof b);
	T_EQ(chunk_all("x.txt", b, sizeof b, 4096, &g), 0, "white space only");
	T_EQ(g.n, 0, "gives no chunk");
	memset(b, 'q', sizeof b);
	T_EQ(chunk_all("x.txt", b, sizeof b, 4096, &g), 0, "one line without a place to cut");
	T_OK(g.n >= sizeof b / TEXT_CHUNK_MAX, "is cut all the same: %zu chunks", g.n);
	drop(&g);
	/* sections: each cut that can be at a heading is */
	size_t n = 0;
	for (int s = 0; s < 30; s++) {
		n += (size_t)sprintf(b + n, "# Section %d\n\n", s);
		for (int k = 0; k < 12; k++)
			n += (size_t)sprintf(b + n, "Sentence %d of the section %d, which says a thing or two.\n%s", k,
			        s, k % 4 == 3 ? "\n" : "");
	}
	T_EQ(chunk_all("x.md", b, n, 0, &g), 0, "markdown");
	int at_heading = 0;
	for (size_t i = 0; i < g.n; i++)
		at_heading += g.ch[i].text[0] == '#';
	T_EQ(at_heading, g.n, "chunks that start at a heading");
	drop(&g);
	/* functions */
	n = 0;
	for (int s = 0; s < 60; s++)
		n += (size_t)sprintf(b + n,
		        "int f%d(int a)\n{\n\tint b = a * %d;\n\n\tif (b > 7)\n\t\treturn b;\n\tb += a;\n\treturn b - "
		        "1;\n}\n\n",
		        s, s);
	T_EQ(chunk_all("x.c", b, n, 0, &g), 0, "source code");
	int at_func = 0;
	for (size_t i = 0; i < g.n; i++)
		at_func += !strncmp(g.ch[i].text, "int f", 5);
	T_EQ(at_func, g.n, "chunks that start at a function");
	drop(&g);
	T_EQ(mem_used(MEM_text), 0, "nothing left");
	T_EQ(text_kind_of("a/b/Makefile"), TEXT_KIND_code, "Makefile");
	T_EQ(text_kind_of("README.MD"), TEXT_KIND_markdown, "README.MD");
	T_EQ(text_kind_of("x.y/README"), TEXT_KIND_prose, "README");
	T_EQ(text_kind_of(NULL), TEXT_KIND_prose, "no name");
}

/* edit one paragraph of a file of about 100 chunks: how many chunks' text is new? */
static void test_edit(void)
{
	static char a[250000], b[250000];
	uint32_t worst = 0, sum = 0, runs = 60, over3 = 0;
	size_t chunks = 0;
	for (uint32_t run = 0; run < runs; run++) {
		struct got ga = {0}, gb = {0};
		size_t n = make(run & 1 ? markdown : prose, a, 170000);
		chunk_all("x.md", a, n, 0, &ga);
		chunks += ga.n;
		/* a paragraph in the middle gets 1..300 bytes more */
		size_t at = 20000 + rnd(120000), more = 1 + rnd(300);
		while (strncmp(a + at, "\n\n", 2) && at < n - 4)
			at++;
		at += 2;
		memcpy(b, a, at);
		for (size_t k = 0; k < more; k++)
			b[at + k] = k + 1 == more ? '\n'
			            : k % 7 == 6  ? ' '
			                          : (char)('A' + rnd(26)); /* its own line: ``` stays at a start */
		memcpy(b + at + more, a + at, n - at);
		chunk_all("x.md", b, n + more, 0, &gb);
		uint32_t fresh = 0;
		for (size_t i = 0; i < gb.n; i++) {
			bool known = false;
			for (size_t j = 0; j < ga.n && !known; j++)
				known = gb.ch[i].text_n == ga.ch[j].text_n &&
				        !memcmp(gb.ch[i].text, ga.ch[j].text, gb.ch[i].text_n);
			fresh += !known;
		}
		sum += fresh;
		over3 += fresh > 3;
		worst = fresh > worst ? fresh : worst;
		drop(&ga);
		drop(&gb);
	}
	T_OK(sum <= 2 * runs && over3 * 20 <= runs,
	        "%u edits of files of %zu chunks: %u new chunks in all, at most %u, more than 3 in %u", runs,
	        chunks / runs, sum, worst, over3);
}

static int stop_at_2(void *u, const struct text_chunk *ch)
{
	return ++*(int *)u == 2 ? -ECANCELED : 0;
}

int main(void)
{
	rng = tap_seed(0x5eed7e47) | 1;
	test_known();
	test_properties();
	test_edit();
	static char b[20000];
	size_t n = make(prose, b, sizeof b);
	struct text_chunker *c;
	int calls = 0;
	T_EQ(text_chunker_new("x", &c), 0, "new");
	T_EQ(text_feed(c, b, n, true, stop_at_2, &calls), -ECANCELED, "emit's refusal is returned");
	T_EQ(calls, 2, "at once");
	text_chunker_free(c);
	text_chunker_free(NULL);
	mem_fail_after(1);
	T_EQ(text_chunker_new("x", &c), -ENOMEM, "no memory");
	mem_fail_after(-1);
	return tap_done();
}
