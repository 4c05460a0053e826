/* text_ignore.h - which files are left out of the text index: lists of patterns as in .gitignore, matched without recursion.
 *
 * A list belongs to a directory; its patterns speak of paths below it (gitignore(5)).  Pure: bytes in, a verdict out. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_IGNORE_FILE_MAX  (256u << 10) /* bytes of a list; what is behind them is not read */
#define TEXT_IGNORE_RULES_MAX 4096u

struct text_ignore;
/* text_ignore_new - parse a list. Lines: a pattern; "!pattern" takes back; "pattern/" directories only; a slash at the beginning or in the
 * middle ties it to the list's directory; ** spans directories; # begins a comment. Return 0 or -ENOMEM. */
int text_ignore_new(const char *p, size_t n, struct text_ignore **ret);
void text_ignore_free(struct text_ignore *t); /* takes NULL */
enum text_ignore_verdict { TEXT_IGNORE_silent, TEXT_IGNORE_out, TEXT_IGNORE_in };
/* text_ignore_ask - the last pattern that fits decides.
 * @path  relative to the list's directory, n bytes, no slash at either end
 * @dir   it is a directory
 * Bounds: time O(patterns · pattern · path) at worst; no recursion. */
enum text_ignore_verdict text_ignore_ask(const struct text_ignore *t, const char *path, size_t n, bool dir);
/* text_ignore_fits - one pattern against a path, both whole: * and ? and [a-z] stay within a name, ** does not. */
bool text_ignore_fits(const char *pat, size_t pn, const char *s, size_t n);
