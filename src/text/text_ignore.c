/* text_ignore.c - patterns of .gitignore: parsed once into rules that point into a copy of the list, matched by two places to go back to.
 *
 * A glob needs no recursion: of several stars only the last can have to take more, since whatever an earlier one would take, the later
 * one can take as well.  With ** there are two kinds, so there are two such places: the last * (which may not take a slash) and the last
 * ** (which may); a new ** makes the * before it final. */
#include "text/text_ignore.h"
#include <errno.h>
#include <string.h>
#include "base/mem.h"

struct rule {
	const char *p; /* in the copy */
	uint32_t n;
	bool in, dir_only, tied;
};
struct text_ignore {
	char *copy;
	struct rule *rule;
	uint32_t n;
};

/* one character class at p ("[…]"); its length, 0: it never ends, so '[' stands for itself */
static size_t class_of(const char *p, size_t n, char c, bool *ret_fits)
{
	size_t i = 1;
	bool not = i < n && (p[i] == '!' || p[i] == '^'), fits = false;
	i += not ;
	for (size_t first = i; i < n && (p[i] != ']' || i == first);) {
		if (p[i] == '\\' && i + 1 < n)
			i++;
		unsigned char lo = (unsigned char)p[i], hi = lo;
		i++;
		if (i + 1 < n && p[i] == '-' && p[i + 1] != ']') {
			i++;
			i += p[i] == '\\' && i + 1 < n;
			hi = (unsigned char)p[i];
			i++;
		}
		fits |= lo <= (unsigned char)c && (unsigned char)c <= hi;
	}
	if (i >= n)
		return 0;
	*ret_fits = fits != not &&c != '/';
	return i + 1;
}

/* the pattern's next element against one character; its length, 0: does not fit */
static size_t step(const char *p, size_t n, char c)
{
	bool fits = false;
	if (*p == '?')
		return c != '/';
	if (*p == '[') {
		size_t k = class_of(p, n, c, &fits);
		if (k)
			return fits ? k : 0;
	}
	if (*p == '\\' && n > 1)
		return p[1] == c ? 2 : 0;
	return *p == c;
}

/* ** that spans directories: a whole component. Its length with the slash behind it; 0: an ordinary star */
static size_t spans(const char *pat, size_t pn, size_t at)
{
	if (at + 1 >= pn || pat[at] != '*' || pat[at + 1] != '*' || (at && pat[at - 1] != '/'))
		return 0;
	return at + 2 == pn ? 2 : pat[at + 2] == '/' ? 3 : 0;
}

bool text_ignore_fits(const char *pat, size_t pn, const char *s, size_t n)
{
	size_t p = 0, i = 0, star_p = SIZE_MAX, star_i = 0, deep_p = SIZE_MAX, deep_i = 0;
	for (;;) {
		size_t k = p < pn ? spans(pat, pn, p) : 0;
		if (k == 2)
			return i < n; /* at the end: everything inside */
		if (k == 3) {
			deep_p = p += 3;
			deep_i = i;
			star_p = SIZE_MAX;
			continue;
		}
		if (p < pn && pat[p] == '*') {
			while (p < pn && pat[p] == '*')
				p++;
			star_p = p;
			star_i = i;
			continue;
		}
		if (p == pn && i == n)
			return true;
		k = p < pn && i < n ? step(pat + p, pn - p, s[i]) : 0;
		if (k) {
			p += k;
			i++;
			continue;
		}
		if (star_p != SIZE_MAX && star_i < n && s[star_i] != '/') {
			i = ++star_i;
			p = star_p;
			continue;
		}
		/* one more component for the last ** */
		const char *slash = deep_p != SIZE_MAX && deep_i < n ? memchr(s + deep_i, '/', n - deep_i) : NULL;
		if (!slash)
			return false;
		i = deep_i = (size_t)(slash - s) + 1;
		p = deep_p;
		star_p = SIZE_MAX;
	}
}

/* false: a line without a pattern */
static bool parse(const char *p, size_t n, struct rule *ret)
{
	struct rule r = {0};
	while (n && (p[n - 1] == '\r' || ((p[n - 1] == ' ' || p[n - 1] == '\t') && (n < 2 || p[n - 2] != '\\'))))
		n--;
	if (!n || *p == '#')
		return false;
	if (*p == '!') {
		r.in = true;
		p++;
		n--;
	}
	if (n && p[n - 1] == '/') {
		r.dir_only = true;
		n--;
	}
	r.tied = n && memchr(p, '/', n);
	if (n && *p == '/') {
		p++;
		n--;
	}
	r.p = p;
	r.n = (uint32_t)n;
	*ret = r;
	return n > 0 && !memchr(p, 0, n);
}

int text_ignore_new(const char *p, size_t n, struct text_ignore **ret)
{
	uint32_t cap = 0;
	struct text_ignore *t = mem_zalloc(MEM_text, sizeof *t);
	n = n < TEXT_IGNORE_FILE_MAX ? n : TEXT_IGNORE_FILE_MAX;
	if (n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) {
		p += 3;
		n -= 3;
	}
	if (t)
		t->copy = mem_alloc(MEM_text, n + 1);
	if (!t || !t->copy) {
		text_ignore_free(t);
		return -ENOMEM;
	}
	memcpy(t->copy, p, n);
	for (size_t at = 0; at < n && t->n < TEXT_IGNORE_RULES_MAX;) {
		const char *e = memchr(t->copy + at, '\n', n - at);
		size_t len = e ? (size_t)(e - t->copy) - at : n - at;
		struct rule r;
		if (parse(t->copy + at, len, &r)) {
			if (t->n == cap) {
				cap = cap ? cap * 2 : 16;
				struct rule *more = mem_realloc(MEM_text, t->rule, cap * sizeof *more);
				if (!more) {
					text_ignore_free(t);
					return -ENOMEM;
				}
				t->rule = more;
			}
			t->rule[t->n++] = r;
		}
		at += len + 1;
	}
	*ret = t;
	return 0;
}

void text_ignore_free(struct text_ignore *t)
{
	if (!t)
		return;
	mem_free(MEM_text, t->copy);
	mem_free(MEM_text, t->rule);
	mem_free(MEM_text, t);
}

enum text_ignore_verdict text_ignore_ask(const struct text_ignore *t, const char *path, size_t n, bool dir)
{
	const char *slash = memrchr(path, '/', n), *name = slash ? slash + 1 : path;
	for (uint32_t i = t->n; i-- > 0;) {
		const struct rule *r = &t->rule[i];
		if (r->dir_only && !dir)
			continue;
		if (r->tied ? text_ignore_fits(r->p, r->n, path, n)
		            : text_ignore_fits(r->p, r->n, name, n - (size_t)(name - path)))
			return r->in ? TEXT_IGNORE_in : TEXT_IGNORE_out;
	}
	return TEXT_IGNORE_silent;
}
