/* text_filters.c - the table's lines, cut into words inside one copy of the text. */
#include "text/text_filters.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include "base/err.h"
#include "base/mem.h"

struct filter {
	const char *endings;
	const char *argv[TEXT_FILTERS_ARGS_MAX + 1];
};
struct text_filters {
	char *copy;
	unsigned n;
	struct filter f[TEXT_FILTERS_MAX];
};

/* the next word of a line that ends with NUL; NULL: none. *at moves behind it. */
static char *word(char **at)
{
	char *p = *at, *to;
	while (*p == ' ' || *p == '\t' || *p == '\r')
		p++;
	*at = p;
	if (!*p || *p == '#')
		return NULL;
	char *begin = to = p;
	bool quoted = false;
	for (; *p && (quoted || (*p != ' ' && *p != '\t' && *p != '\r')); p++) {
		if (*p == '"')
			quoted = !quoted;
		else
			*to++ = *p;
	}
	if (quoted)
		return NULL;
	*at = *p ? p + 1 : p;
	*to = 0;
	return begin;
}

/* 1: a rule; 0: nothing on this line; < 0 */
static int line(char *p, struct filter *ret)
{
	unsigned n = 0;
	char *w = word(&p);
	if (!w)
		return *p && *p != '#' ? -VX_ERR_bad_value : 0;
	ret->endings = w;
	while ((w = word(&p))) {
		if (n == TEXT_FILTERS_ARGS_MAX)
			return -VX_ERR_bad_value;
		ret->argv[n++] = w;
	}
	ret->argv[n] = NULL;
	return n && (!*p || *p == '#') ? 1 : -VX_ERR_bad_value;
}

int text_filters_new(const char *p, size_t n, struct text_filters **ret, unsigned *reterr_line)
{
	struct text_filters *t = mem_zalloc(MEM_text, sizeof *t);
	if (t)
		t->copy = mem_alloc(MEM_text, n + 1);
	if (!t || !t->copy) {
		text_filters_free(t);
		return -ENOMEM;
	}
	memcpy(t->copy, p, n);
	t->copy[n] = 0;
	unsigned no = 1;
	int rc = memchr(p, 0, n) ? -VX_ERR_bad_value : 0;
	for (char *at = t->copy, *e; rc >= 0 && at < t->copy + n; at = e + 1, no++) {
		e = strchrnul(at, '\n');
		*e = 0;
		struct filter f = {0};
		rc = line(at, &f);
		if (rc > 0 && t->n == TEXT_FILTERS_MAX)
			rc = -VX_ERR_bad_value;
		if (rc > 0)
			t->f[t->n++] = f;
		if (rc < 0)
			break;
	}
	if (rc < 0) {
		*reterr_line = no;
		text_filters_free(t);
		return rc;
	}
	*ret = t;
	return 0;
}

void text_filters_free(struct text_filters *t)
{
	if (!t)
		return;
	mem_free(MEM_text, t->copy);
	mem_free(MEM_text, t);
}

const char *const *text_filters_find(const struct text_filters *t, const char *name)
{
	const char *dot = name ? strrchr(name, '.') : NULL;
	size_t n = dot ? strlen(dot + 1) : 0;
	for (unsigned i = 0; t && n && i < t->n; i++) {
		for (const char *e = t->f[i].endings; *e;) {
			size_t k = strcspn(e, ",");
			if (k == n && !strncasecmp(e, dot + 1, n))
				return t->f[i].argv;
			e += k + (e[k] == ',');
		}
	}
	return NULL;
}
