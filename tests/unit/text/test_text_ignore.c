/* Patterns of .gitignore against what git itself says: rows were taken from gitignore(5)'s text, and random ones are compared with a
 * matcher that tries everything. */
#include <stdlib.h>
#include "tap.h"
#include "text/text_ignore.h"

static void row(const char *list, const char *path, bool dir, enum text_ignore_verdict want)
{
	struct text_ignore *t;
	char shown[40]; /* TAP is of lines */
	snprintf(shown, sizeof shown, "%s", list);
	for (char *c = shown; *c; c++)
		*c = *c == '\n' || *c == '\r' || *c == '#' ? '|' : *c;
	T_EQ(text_ignore_new(list, strlen(list), &t), 0, "a list is read");
	T_OK(text_ignore_ask(t, path, strlen(path), dir) == want, "%.30s  on %s%s", shown, path, dir ? "/" : "");
	text_ignore_free(t);
}

/* every way of the stars, by trying: an oracle may recurse */
static bool slow(const char *p, const char *s, bool start)
{
	if (start && !strcmp(p, "**"))
		return *s != 0;
	if (start && !strncmp(p, "**/", 3)) {
		if (slow(p + 3, s, true))
			return true;
		const char *e = strchr(s, '/');
		return e && slow(p, e + 1, true);
	}
	if (!*p)
		return !*s;
	if (*p == '*') {
		for (;; s++) {
			if (slow(p + 1, s, false))
				return true;
			if (!*s || *s == '/')
				return false;
		}
	}
	return *s && (*p == '?' ? *s != '/' : *p == *s) && slow(p + 1, s + 1, *p == '/');
}

int main(void)
{
	const enum text_ignore_verdict no = TEXT_IGNORE_silent, out = TEXT_IGNORE_out, in = TEXT_IGNORE_in;
	row("", "a", false, no);
	row("# a\n\n   \na", "a", false, out);
	row("*.o\n", "x/y.o", false, out);
	row("*.o\n", "x/y.oo", false, no);
	row("build/\n", "build", false, no);
	row("build/\n", "a/build", true, out);
	row("/build\n", "a/build", true, no);
	row("/build\n", "build", true, out);
	row("doc/*.txt\n", "doc/a.txt", false, out);
	row("doc/*.txt\n", "doc/b/a.txt", false, no);
	row("doc/*.txt\n", "x/doc/a.txt", false, no);
	row("**/foo\n", "foo", false, out);
	row("**/foo\n", "a/b/foo", false, out);
	row("**/foo/bar\n", "a/foo/bar", false, out);
	row("abc/**\n", "abc/x/y", false, out);
	row("abc/**\n", "abc", true, no);
	row("a/**/b\n", "a/b", false, out);
	row("a/**/b\n", "a/x/y/b", false, out);
	row("a/**/b\n", "a/x/yb", false, no);
	row("*\n!*.md\n", "a.md", false, in);
	row("*\n!*.md\n", "a.c", false, out);
	row("!a\na\n", "a", false, out);
	row("\\!a\n", "!a", false, out);
	row("\\#a\n", "#a", false, out);
	row("a\\ \n", "a ", false, out);
	row("a  \n", "a", false, out);
	row("a\r\nb\r\n", "a", false, out);
	row("[a-c]x\n", "bx", false, out);
	row("[!a-c]x\n", "bx", false, no);
	row("[]-]x\n", "]x", false, out);
	row("[a\n", "[a", false, out);
	row("a[b\n", "ab", false, no);
	row("a?c\n", "a/c", false, no);
	row("foo**bar\n", "fooxbar", false, out);
	row("\xef\xbb\xbf*.log\n", "x.log", false, out);
	row("/\n", "a", true, no);
	row("!\n", "a", true, no);

	unsigned bad = 0, hits = 0;
	srand((unsigned)tap_seed(20261128));
	for (int i = 0; i < 200000 && bad < 5; i++) {
		static const char *const bits[] = {"a", "b", "*", "?", "/", "**/", "/**/", "ab"};
		char p[64] = "", s[32];
		for (int k = 1 + rand() % 5; k > 0; k--)
			strcat(p, bits[rand() % 8]);
		size_t n = 1 + (size_t)rand() % 8;
		for (size_t k = 0; k < n; k++)
			s[k] = "ab/"[rand() % 3];
		s[n] = 0;
		if (strstr(p, "***") || strstr(p, "//") || *p == '/' || p[strlen(p) - 1] == '/')
			continue;
		bool want = slow(p, s, true), got = text_ignore_fits(p, strlen(p), s, n);
		hits += want;
		if (want != got && bad++ < 5)
			printf("# %s on %s: %d, not %d\n", p, s, got, want);
	}
	T_OK(!bad && hits > 1000, "random patterns agree with trying everything (%u fit)", hits);
	return tap_done();
}
