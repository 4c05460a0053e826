/* text_filters.h - the table of external commands that turn documents into text: file-name endings, and what to run for them.
 *
 * A line: endings, separated by commas and without the dot, then the command and its arguments, separated by blanks; "…" keeps blanks.  # begins
 * a comment.  The command gets the document on stdin and writes UTF-8 text to stdout:
 *     rtf          unrtf --text --quiet
 *     djvu,djv     djvutxt /dev/stdin */
#pragma once
#include <stddef.h>

#define TEXT_FILTERS_MAX      64u /* lines */
#define TEXT_FILTERS_ARGS_MAX 16u
#define TEXT_FILTERS_FILE_MAX 65536u

struct text_filters;
/* text_filters_new - parse a table. Return 0; -ENOMEM; -VX_ERR_bad_value with the number of the bad line. */
int text_filters_new(const char *p, size_t n, struct text_filters **ret, unsigned *reterr_line);
void text_filters_free(struct text_filters *t); /* takes NULL */
/* text_filters_find - the command for a file of that name, NULL-terminated, or NULL. Letters' case does not count. @t may be NULL */
const char *const *text_filters_find(const struct text_filters *t, const char *name);
