/* search_words.c - what a user types into a search: words, and a few words that narrow.
 *
 *     some words              the more and the rarer of them a chunk has, the better; with a model also what they mean
 *     "two words"             the file must have them one after the other
 *     -word -"two words"      the file must not have it
 *     path:TEXT               its path holds TEXT; with * ? or [ the whole path is matched as by the shell; -path: the opposite
 *     ext:md                  its name ends in .md; several: one of them; -ext: none of them
 *     after:2024-05 before:D  changed at or after the beginning of D; before it. D: YYYY, YYYY-MM, YYYY-MM-DD (UTC), or 7d 2w 3m 1y ago
 *     size>10k size<1M        in bytes; also >= and <=; k M G T are 1024 and its powers
 *
 * Nothing here is ever an error: what does not fit its form (size>big, after:noon, a lone minus) is an ordinary word, an open quote ends
 * with the text, and what is more than there is room for is left out.  A byte 0x1f, put in by search/TEXT/MORE, begins a part of which at
 * least one word must be in the file. */
#include <fnmatch.h>
#include <string.h>
#include <strings.h>

#include "base/sbuf.h"
#include "engine/search_priv.h"

#define DAY_NS       86400000000000ll
#define AGO_DAYS_MAX 100000 /* 273 years: back from 1970, or later, that can be said in nanoseconds */

struct scan {
	const char *p;
	uint32_t n, at;
	struct search_words *w;
	struct sbuf words, mean, deny, part; /* part: the words of the one behind the last 0x1f */
	struct arena *a;
	int64_t now_ns;
	uint32_t parts;
};

static bool space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}
static bool word_byte(char ch)
{
	unsigned char b = (unsigned char)ch;
	return b >= 0x80 || (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z');
}
static bool any_word(const char *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (word_byte(p[i]))
			return true;
	return false;
}

/* ---- values ---- */
static bool digits(const char *p, uint32_t n, int64_t *ret)
{
	int64_t v = 0;
	if (!n || n > 15)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		v = v * 10 + (p[i] - '0');
	}
	*ret = v;
	return true;
}
/* days since 1970 of a date of the proleptic Gregorian calendar (Hinnant, days_from_civil) */
static int64_t days(int64_t y, int64_t m, int64_t d)
{
	y -= m <= 2;
	int64_t era = y / 400, yoe = y - era * 400;
	int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}
static bool date(const char *p, uint32_t n, int64_t now_ns, int64_t *ret)
{
	int64_t y, m = 1, d = 1, ago;
	if (n >= 2 && n <= 5 && digits(p, n - 1, &ago)) {
		int64_t unit = p[n - 1] == 'd'   ? 1
		               : p[n - 1] == 'w' ? 7
		               : p[n - 1] == 'm' ? 30
		               : p[n - 1] == 'y' ? 365
		                                 : 0;
		if (unit) { /* further back than nanoseconds can say is as far back as they can */
			bool far = ago * unit > AGO_DAYS_MAX;
			*ret = far ? INT64_MIN + 1 : now_ns - ago * unit * DAY_NS;
			return true;
		}
	}
	if (n < 4 || !digits(p, 4, &y) || y < 1678 || y > 2261) /* what a count of nanoseconds can say */
		return false;
	if (n > 4 && (n < 7 || p[4] != '-' || !digits(p + 5, 2, &m) || m < 1 || m > 12))
		return false;
	if (n > 7 && (n != 10 || p[7] != '-' || !digits(p + 8, 2, &d) || d < 1 || d > 31))
		return false;
	*ret = days(y, m, d) * DAY_NS;
	return true;
}
static bool bytes_of(const char *p, uint32_t n, uint64_t *ret)
{
	static const char units[] = "kmgt";
	unsigned shift = 0;
	int64_t v;
	if (n && (p[n - 1] | 0x20) == 'b' && n > 1)
		n--;
	const char *u = n ? strchr(units, p[n - 1] | 0x20) : NULL;
	if (u && *u) {
		shift = 10u * (unsigned)(u - units + 1);
		n--;
	}
	if (!digits(p, n, &v) || (shift && v >> (62 - shift)))
		return false;
	*ret = (uint64_t)v << shift;
	return true;
}

/* ---- tokens ---- */
static bool starts(const char *p, uint32_t n, const char *with, uint32_t *ret)
{
	size_t k = strlen(with);
	if (n <= k || strncasecmp(p, with, k) != 0)
		return false;
	*ret = (uint32_t)k;
	return true;
}
static bool name_token(struct scan *s, const char *p, uint32_t n, bool not_)
{
	uint32_t k;
	struct search_words *w = s->w;
	bool is_path = starts(p, n, "path:", &k);
	if (!is_path && !starts(p, n, "ext:", &k))
		return false;
	p += k;
	n -= k;
	if (!is_path && *p == '.' && n > 1) {
		p++;
		n--;
	}
	if (n > 1 && *p == '"') { /* the quotes keep spaces together */
		p++;
		n -= 1 + (p[n - 2] == '"');
	}
	if (!n || w->name_n == SEARCH_WORDS_MAX)
		return n != 0;
	char *copy = arena_strndup(s->a, p, n);
	if (!copy)
		return false;
	w->name[w->name_n++] = (struct search_name){
	        .p = copy, .n = n, .not_ = not_, .ext = !is_path, .glob = is_path && strpbrk(copy, "*?[") != NULL};
	return true;
}
static bool value_token(struct scan *s, const char *p, uint32_t n)
{
	struct search_words *w = s->w;
	uint32_t k;
	uint64_t b;
	int64_t t;
	if (starts(p, n, "after:", &k) && date(p + k, n - k, s->now_ns, &t)) {
		w->after_ns = t > w->after_ns ? t : w->after_ns;
		return true;
	}
	if (starts(p, n, "before:", &k) && date(p + k, n - k, s->now_ns, &t)) {
		w->before_ns = t < w->before_ns ? t : w->before_ns;
		return true;
	}
	if (!starts(p, n, "size", &k) || (p[4] != '<' && p[4] != '>'))
		return false;
	bool more = p[4] == '>', or_equal = n > 5 && p[5] == '=';
	k = or_equal ? 6 : 5;
	if (!bytes_of(p + k, n - k, &b))
		return false;
	if (more) {
		b += !or_equal;
		w->size_min = b > w->size_min ? b : w->size_min;
	} else {
		b = or_equal ? b + 1 : b; /* size_end is not in it */
		w->size_end = b < w->size_end ? b : w->size_end;
	}
	return true;
}
static void quoted(struct sbuf *b, const char *p, uint32_t n)
{
	sb_ch(b, 0x1e);
	sb_bytes(b, p, n);
	sb_ch(b, 0x1e);
}
static bool must_add(struct scan *s, const char *p, uint32_t n)
{
	struct search_words *w = s->w;
	char *copy = w->must_n < SEARCH_WORDS_MAX ? arena_strndup(s->a, p, n) : NULL;
	if (!copy)
		return false;
	w->must[w->must_n] = copy;
	w->must_len[w->must_n++] = n;
	return true;
}
static void phrase(struct scan *s, const char *p, uint32_t n, bool not_)
{
	if (!any_word(p, n))
		return;
	if (not_) {
		quoted(&s->deny, p, n);
		return;
	}
	char *q = arena_alloc(s->a, (size_t)n + 2);
	if (q) {
		q[0] = q[n + 1] = 0x1e;
		memcpy(q + 1, p, n);
		(void)must_add(s, q, n + 2); /* one of too many */
	}
	quoted(&s->words, p, n);
	quoted(&s->part, p, n);
	sb_bytes(&s->mean, p, n);
	sb_ch(&s->mean, ' ');
}
static void word(struct scan *s, const char *p, uint32_t n, bool not_)
{
	if (not_) {
		quoted(&s->deny, p, n); /* a word with a hyphen is denied as a whole */
		return;
	}
	sb_bytes(&s->words, p, n);
	sb_ch(&s->words, ' ');
	sb_bytes(&s->part, p, n);
	sb_ch(&s->part, ' ');
	sb_bytes(&s->mean, p, n);
	sb_ch(&s->mean, ' ');
}
/* a part ends: behind the first one at least one of its words must be in the file */
static void part_end(struct scan *s)
{
	if (s->parts && any_word(s->part.p, (uint32_t)s->part.n))
		(void)must_add(s, s->part.p, (uint32_t)s->part.n); /* one of too many */
	s->parts++;
	s->part.n = 0;
}
static uint32_t quote_end(const struct scan *s, uint32_t at)
{
	while (at < s->n && s->p[at] != '"' && s->p[at] != 0x1f)
		at++;
	return at;
}
static void token(struct scan *s)
{
	const char *p = s->p + s->at;
	bool not_ = *p == '-' && s->at + 1 < s->n && (word_byte(p[1]) || p[1] == '"') && (!s->at || !word_byte(p[-1]));
	uint32_t from = s->at + not_, to = from;
	if (s->p[from] == '"') {
		to = quote_end(s, from + 1);
		phrase(s, s->p + from + 1, to - from - 1, not_);
		s->at = to < s->n && s->p[to] == '"' ? to + 1 : to;
		return;
	}
	while (to < s->n && !space(s->p[to]) && s->p[to] != 0x1f && s->p[to] != '"')
		to++;
	if (to < s->n && s->p[to] == '"' && to > from && s->p[to - 1] == ':') { /* path:"with spaces" */
		to = quote_end(s, to + 1);
		to += to < s->n && s->p[to] == '"';
	}
	s->at = to > from ? to : from + 1;
	if (name_token(s, s->p + from, to - from, not_))
		return;
	if (!not_ && value_token(s, s->p + from, to - from))
		return;
	if (to > from)
		word(s, s->p + from, to - from, not_);
}
int search_words_parse(struct arena *a, const char *text, uint32_t n, int64_t now_ns, struct search_words **ret)
{
	struct scan *s = arena_zalloc(a, sizeof(*s));
	struct search_words *w = arena_zalloc(a, sizeof(*w));
	if (!s || !w)
		return -VX_ERR_arena_full;
	if (n > CONF_QUERY_TEXT_MAX)
		return -VX_ERR_query_too_long;
	*s = (struct scan){.p = text, .n = n, .w = w, .a = a, .now_ns = now_ns};
	w->after_ns = INT64_MIN;
	w->before_ns = INT64_MAX;
	w->size_end = UINT64_MAX;
	struct sbuf *b[] = {&s->words, &s->mean, &s->deny, &s->part};
	for (unsigned i = 0; i < 4; i++)
		if (sbuf_arena(b[i], a, 256, 3 * CONF_QUERY_TEXT_MAX + 16) < 0)
			return -VX_ERR_arena_full;
	while (s->at < n) {
		if (text[s->at] == 0x1f) {
			part_end(s);
			sb_ch(&s->words, 0x1f);
			s->at++;
		} else if (space(text[s->at])) {
			s->at++;
		} else {
			token(s);
		}
	}
	part_end(s);
	w->words = sbuf_cstr(&s->words);
	w->words_n = (uint32_t)s->words.n;
	w->mean = sbuf_cstr(&s->mean);
	w->mean_n = s->mean.n ? (uint32_t)s->mean.n - 1 : 0; /* without the last space */
	w->deny = sbuf_cstr(&s->deny);
	w->deny_n = (uint32_t)s->deny.n;
	if (s->words.over || s->mean.over || s->deny.over)
		return -VX_ERR_arena_full;
	w->looks = w->name_n || w->after_ns != INT64_MIN || w->before_ns != INT64_MAX || w->size_min ||
	           w->size_end != UINT64_MAX;
	*ret = w;
	return 0;
}

/* ---- does a file pass? ---- */
static bool ends_in(const char *name, size_t n, const struct search_name *x)
{
	return n > x->n && name[n - x->n - 1] == '.' && !strncasecmp(name + n - x->n, x->p, x->n);
}
static bool names_pass(const struct search_words *w, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	size_t n = strlen(name);
	bool ext_asked = false, ext = false;
	for (uint32_t i = 0; i < w->name_n; i++) {
		const struct search_name *x = &w->name[i];
		bool is = x->ext ? ends_in(name, n, x) : x->glob ? !fnmatch(x->p, path, 0) : strstr(path, x->p) != NULL;
		if (x->not_ ? is : !is && !x->ext)
			return false;
		if (x->ext && !x->not_) {
			ext_asked = true;
			ext |= is;
		}
	}
	return !ext_asked || ext;
}
/* [e->objects] by what the table knows; @path CONF_PATH_MAX + 1, for the work */
bool search_words_pass(const struct search_words *w, const struct eng_obj *o, char *path)
{
	if (!w->looks)
		return true;
	const struct stamp *t = &o->text_stamp;
	if (t->mtime_ns < w->after_ns || t->mtime_ns >= w->before_ns || t->size < w->size_min || t->size >= w->size_end)
		return false;
	if (!w->name_n)
		return true;
	unsigned n = 0;
	for (const struct eng_link *l = o->links; l && n < ENG_LINKS_TRIED; l = l->obj_next, n++)
		if (link_path(l, path, CONF_PATH_MAX + 1) > 0 && names_pass(w, path))
			return true;
	return false;
}
/* files that have one of the words, ascending. What is no word at all (too long for any index) no file has */
static int files_with(struct search *s, struct store_read *rd)
{
	int rc = rd_sync(s->e, rd);
	if (rc == -VX_ERR_query_syntax)
		rd->id_n = 0;
	return rc == -VX_ERR_query_syntax ? 0 : rc;
}
/* what the catalog must be asked for: files that have what must be there, files that have what may not */
int search_words_sets(struct search *s)
{
	struct search_words *w = s->words;
	for (uint32_t i = 0; i < w->must_n; i++) {
		struct store_read rd = {.kind = SRD_files,
		        .arena = s->j->arena,
		        .text = w->must[i],
		        .text_n = w->must_len[i],
		        .cancel = &s->j->cancel};
		VX_TRY(files_with(s, &rd));
		uint32_t n = 0;
		for (uint32_t k = 0; k < rd.id_n; k++)
			if (!s->pass_on || search_passes(s, rd.ids[k]))
				rd.ids[n++] = rd.ids[k];
		s->pass_oid = rd.ids;
		s->pass_n = n;
		s->pass_on = true;
	}
	if (!w->deny_n)
		return 0;
	struct store_read rd = {
	        .kind = SRD_files, .arena = s->j->arena, .text = w->deny, .text_n = w->deny_n, .cancel = &s->j->cancel};
	VX_TRY(files_with(s, &rd));
	s->deny_oid = rd.ids;
	s->deny_n = rd.id_n;
	return 0;
}
