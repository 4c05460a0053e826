/* filter.c - filter expressions:  payload.lang == 'en' and (size > 64K or mtime >= '-7d') and not name glob '*.tmp'
 *
 *     field     payload.KEY[.KEY…]  size  mtime  ctime  name  id
 *     compare   == = != <> < <= > >=   glob 'PATTERN'   contains VALUE   in [VALUE, …]   exists FIELD
 *     combine   and or not && || ! ( )      or binds least, not most
 *     value     'text' or "text" (the quote doubled inside)  12  -1.5e3  64K 2M 1G (of 1024)  true false null
 *     times     'YYYY-MM-DD'  'YYYY-MM-DDTHH:MM:SSZ'  '-7d' '-12h' '-30m' '-10s' (before now)  or seconds since 1970
 *
 * An operator-precedence parser with one bounded operator stack (Dijkstra's shunting yard); no recursion. */
#include <math.h>
#include <string.h>

#include "base/filter.h"
#include "query/json.h"
#include "query/query.h"

#define STACK_MAX 64u

enum tok { T_end, T_lpar, T_rpar, T_and, T_or, T_not, T_word, T_text, T_num, T_cmp, T_lbr, T_rbr, T_comma, T_bad };

struct lex {
	struct arena *a;
	const char *s;
	size_t n, i, at; /* at: where the token began */
	enum tok t;
	enum flt_cmp cmp;
	const char *text; /* T_word: in place; T_text: in the arena */
	size_t text_n;
	double num;
	const char *why;
	int64_t now_s;
};

static bool word_ch(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
	       c == '-';
}
static bool word_is(const char *s, size_t n, const char *w)
{
	return strlen(w) == n && !memcmp(s, w, n);
}

static enum tok quoted(struct lex *l)
{
	char q = l->s[l->i++];
	char *o = arena_alloc(l->a, l->n - l->i + 1);
	if (!o) {
		l->why = "out of working memory";
		return T_bad;
	}
	l->text = o;
	for (;; l->i++) {
		if (l->i >= l->n) {
			l->why = "a closing quote is missing";
			return T_bad;
		}
		if (l->s[l->i] == q) {
			if (l->i + 1 >= l->n || l->s[l->i + 1] != q)
				break;
			l->i++;
		}
		*o++ = l->s[l->i];
	}
	l->i++;
	*o = 0;
	l->text_n = (size_t)(o - l->text);
	return T_text;
}

static enum tok number(struct lex *l)
{
	int k = num_f64(l->s + l->i, l->n - l->i, &l->num);
	if (k <= 0) {
		l->why = "a number was expected";
		return T_bad;
	}
	l->i += (size_t)k;
	if (l->i < l->n) {
		static const char units[] = "KMGT";
		const char *u = memchr(units, l->s[l->i] & ~32, 4);
		if (u && (l->i + 1 >= l->n || !word_ch(l->s[l->i + 1]))) {
			for (const char *k2 = units; k2 <= u; k2++)
				l->num *= 1024;
			l->i++;
		}
	}
	return T_num;
}

static enum tok symbol(struct lex *l)
{
	static const struct {
		char s[3];
		uint8_t n, t, cmp;
	} sym[] = {{"==", 2, T_cmp, FLC_eq}, {"!=", 2, T_cmp, FLC_ne}, {"<>", 2, T_cmp, FLC_ne},
	        {"<=", 2, T_cmp, FLC_le}, {">=", 2, T_cmp, FLC_ge}, {"&&", 2, T_and, 0}, {"||", 2, T_or, 0},
	        {"=", 1, T_cmp, FLC_eq}, {"<", 1, T_cmp, FLC_lt}, {">", 1, T_cmp, FLC_gt}, {"!", 1, T_not, 0},
	        {"(", 1, T_lpar, 0}, {")", 1, T_rpar, 0}, {"[", 1, T_lbr, 0}, {"]", 1, T_rbr, 0}, {",", 1, T_comma, 0}};
	for (size_t k = 0; k < sizeof sym / sizeof *sym; k++)
		if (l->n - l->i >= sym[k].n && !memcmp(l->s + l->i, sym[k].s, sym[k].n)) {
			l->i += sym[k].n;
			l->cmp = (enum flt_cmp)sym[k].cmp;
			return (enum tok)sym[k].t;
		}
	l->why = "an unknown character";
	return T_bad;
}

static enum tok next(struct lex *l)
{
	while (l->i < l->n && (l->s[l->i] == ' ' || l->s[l->i] == '\t' || l->s[l->i] == '\n'))
		l->i++;
	l->at = l->i;
	if (l->i >= l->n)
		return l->t = T_end;
	char c = l->s[l->i];
	if (c == '\'' || c == '"')
		return l->t = quoted(l);
	if ((c >= '0' && c <= '9') || c == '-')
		return l->t = number(l);
	if (!word_ch(c))
		return l->t = symbol(l);
	l->text = l->s + l->i;
	while (l->i < l->n && word_ch(l->s[l->i]))
		l->i++;
	l->text_n = (size_t)(l->s + l->i - l->text);
	l->t = word_is(l->text, l->text_n, "and")   ? T_and
	       : word_is(l->text, l->text_n, "or")  ? T_or
	       : word_is(l->text, l->text_n, "not") ? T_not
	                                            : T_word;
	return l->t;
}

/* ---- times ---- */

static bool digits(const char *s, unsigned n, int64_t *ret)
{
	*ret = 0;
	for (unsigned i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		*ret = *ret * 10 + (s[i] - '0');
	}
	return true;
}
/* days since 1970-01-01 of a date in the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date algorithms") */
static int64_t days_of(int64_t y, int64_t m, int64_t d)
{
	y -= m <= 2;
	int64_t era = y / 400, yoe = y - era * 400, doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}
static bool time_of(const struct lex *l, const char *s, size_t n, double *ret)
{
	int64_t y, mo, d, h = 0, mi = 0, se = 0;
	if (n >= 3 && s[0] == '-') {
		double v;
		static const struct {
			char c;
			int s;
		} unit[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}, {'w', 7 * 86400}};
		int k = num_f64(s + 1, n - 2, &v);
		for (size_t i = 0; i < 5; i++)
			if (k == (int)n - 2 && s[n - 1] == unit[i].c) {
				*ret = (double)l->now_s - v * unit[i].s;
				return true;
			}
		return false;
	}
	if (n < 10 || !digits(s, 4, &y) || s[4] != '-' || !digits(s + 5, 2, &mo) || s[7] != '-' ||
	        !digits(s + 8, 2, &d) || mo < 1 || mo > 12 || d < 1 || d > 31)
		return false;
	if (n != 10) {
		if (n < 19 || (s[10] != 'T' && s[10] != ' ') || !digits(s + 11, 2, &h) || s[13] != ':' ||
		        !digits(s + 14, 2, &mi) || s[16] != ':' || !digits(s + 17, 2, &se) || h > 23 || mi > 59 ||
		        se > 60 || (n != 19 && !(n == 20 && s[19] == 'Z')))
			return false;
	}
	*ret = (double)(days_of(y, mo, d) * 86400 + h * 3600 + mi * 60 + se);
	return true;
}

/* ---- fields and comparisons ---- */

/* "payload.a.b" -> $."a"."b" */
static const char *json_path(struct lex *l, const char *s, size_t n)
{
	struct sbuf b;
	if (sbuf_arena(&b, l->a, n * 2 + 16, FLT_TEXT_MAX * 4) < 0)
		return NULL;
	sb_ch(&b, '$');
	for (size_t i = 0; i <= n;) {
		size_t e = i;
		while (e < n && s[e] != '.')
			e++;
		if (e == i) {
			l->why = "an empty key in a payload's path";
			return NULL;
		}
		sb_str(&b, ".\"");
		sb_bytes(&b, s + i, e - i);
		sb_ch(&b, '"');
		i = e + 1;
	}
	return b.over ? NULL : sbuf_cstr(&b);
}

static int field(struct lex *l, struct flt_node *nd)
{
	static const struct {
		const char *name;
		uint8_t f;
	} fields[] = {
	        {"size", FLF_size}, {"mtime", FLF_mtime}, {"ctime", FLF_ctime}, {"name", FLF_name}, {"id", FLF_id}};
	if (l->t != T_word) {
		l->why = l->t == T_bad ? l->why : "a field was expected: payload.KEY, size, mtime, ctime, name, id";
		return -1;
	}
	for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
		if (word_is(l->text, l->text_n, fields[k].name)) {
			nd->field = fields[k].f;
			return 0;
		}
	if (l->text_n > 8 && !memcmp(l->text, "payload.", 8)) {
		nd->field = FLF_payload;
		nd->path = json_path(l, l->text + 8, l->text_n - 8);
		if (!nd->path && !l->why)
			l->why = "out of working memory";
		return nd->path ? 0 : -1;
	}
	l->why = "unknown field; there are payload.KEY, size, mtime, ctime, name, id";
	return -1;
}

/* the value at the current token into nd; the field is known */
static int value(struct lex *l, struct flt_node *nd)
{
	if (l->t == T_num) {
		nd->value = FLV_number;
		nd->num = l->num;
	} else if (l->t == T_text) {
		nd->value = FLV_text;
		nd->text = l->text;
		nd->text_n = (uint32_t)l->text_n;
	} else if (l->t == T_word && word_is(l->text, l->text_n, "true")) {
		nd->value = FLV_true;
	} else if (l->t == T_word && word_is(l->text, l->text_n, "false")) {
		nd->value = FLV_false;
	} else if (l->t == T_word && word_is(l->text, l->text_n, "null")) {
		nd->value = FLV_null;
	} else {
		l->why = l->t == T_bad ? l->why : "a value was expected: 'text', a number, true, false, null";
		return -1;
	}
	bool when = nd->field == FLF_mtime || nd->field == FLF_ctime, order = nd->cmp >= FLC_lt && nd->cmp <= FLC_ge;
	if (when && nd->value == FLV_text) {
		if (!time_of(l, nd->text, nd->text_n, &nd->num)) {
			l->why = "a time is 'YYYY-MM-DD', 'YYYY-MM-DDTHH:MM:SSZ', '-7d', or seconds since 1970";
			return -1;
		}
		nd->value = FLV_number;
	}
	if (nd->cmp == FLC_glob && (nd->value != FLV_text || (nd->field != FLF_name && nd->field != FLF_payload))) {
		l->why = "glob compares name or a payload's text with 'PATTERN'";
		return -1;
	}
	if (nd->cmp == FLC_contains && nd->field != FLF_payload) {
		l->why = "contains looks into a payload's array or text";
		return -1;
	}
	bool wants_num = when || nd->field == FLF_size || nd->field == FLF_id;
	if ((wants_num && nd->value != FLV_number) || (nd->field == FLF_name && nd->value != FLV_text) ||
	        (order && nd->value != FLV_number && nd->value != FLV_text)) {
		l->why = "this field does not compare with that kind of value";
		return -1;
	}
	return 0;
}

static int emit(struct lex *l, struct flt *f, const struct flt_node *nd)
{
	if (f->n >= FLT_NODES_MAX) {
		l->why = "the filter has too many terms";
		return -1;
	}
	f->node[f->n++] = *nd;
	return 0;
}

/* field in [v, …]: one equality a value, joined by or */
static int in_list(struct lex *l, struct flt *f, struct flt_node *nd)
{
	if (next(l) != T_lbr) {
		l->why = "'[' was expected";
		return -1;
	}
	nd->cmp = FLC_eq;
	for (unsigned k = 0;; k++) {
		(void)next(l); /* judged by value() */
		if (value(l, nd) < 0 || emit(l, f, nd) < 0 || (k && emit(l, f, &(struct flt_node){.op = FLT_or}) < 0))
			return -1;
		enum tok t = next(l);
		if (t == T_rbr)
			return 0;
		if (t != T_comma) {
			l->why = "',' or ']' was expected";
			return -1;
		}
	}
}

/* one comparison, its first token read */
static int comparison(struct lex *l, struct flt *f)
{
	struct flt_node nd = {.op = FLT_cmp};
	if (l->t == T_word && word_is(l->text, l->text_n, "exists")) {
		(void)next(l); /* judged by field() */
		nd.cmp = FLC_exists;
		return field(l, &nd) < 0 ? -1 : emit(l, f, &nd);
	}
	if (field(l, &nd) < 0)
		return -1;
	enum tok t = next(l);
	bool word = t == T_word;
	if (t == T_cmp) {
		nd.cmp = (uint8_t)l->cmp;
	} else if (word && word_is(l->text, l->text_n, "glob")) {
		nd.cmp = FLC_glob;
	} else if (word && word_is(l->text, l->text_n, "contains")) {
		nd.cmp = FLC_contains;
	} else if (word && word_is(l->text, l->text_n, "in")) {
		return in_list(l, f, &nd);
	} else {
		l->why = "a comparison was expected: == != < <= > >= glob contains in";
		return -1;
	}
	(void)next(l); /* judged by value() */
	return value(l, &nd) < 0 ? -1 : emit(l, f, &nd);
}

/* ---- precedence ---- */

static int rank(enum tok t)
{
	return t == T_or ? 1 : t == T_and ? 2 : t == T_not ? 3 : 0;
}
static int reduce(struct lex *l, struct flt *f, enum tok t)
{
	struct flt_node nd = {.op = t == T_or ? FLT_or : t == T_and ? FLT_and : FLT_not};
	return emit(l, f, &nd);
}

static int parse(struct lex *l, struct flt *f)
{
	uint8_t stack[STACK_MAX];
	unsigned n = 0;
	bool operand = true; /* one is expected */
	for (;;) {
		enum tok t = next(l);
		if (t == T_bad)
			return -1;
		if (operand && (t == T_not || t == T_lpar)) {
			if (n == STACK_MAX) {
				l->why = "the filter nests too deep";
				return -1;
			}
			stack[n++] = (uint8_t)t;
			continue;
		}
		if (operand) {
			if (comparison(l, f) < 0)
				return -1;
			operand = false;
			continue;
		}
		if (t != T_and && t != T_or && t != T_rpar && t != T_end) {
			l->why = "'and', 'or' or the end was expected";
			return -1;
		}
		/* everything above the matching '(' that binds at least as strongly */
		while (n && stack[n - 1] != T_lpar && rank((enum tok)stack[n - 1]) >= rank(t))
			if (reduce(l, f, (enum tok)stack[--n]) < 0)
				return -1;
		if (t == T_end) {
			if (n)
				l->why = "')' is missing";
			return n ? -1 : 0;
		}
		if (t == T_rpar) {
			if (!n) {
				l->why = "')' without '('";
				return -1;
			}
			n--;
			continue;
		}
		if (n == STACK_MAX) {
			l->why = "the filter nests too deep";
			return -1;
		}
		stack[n++] = (uint8_t)t;
		operand = true;
	}
}

int vq_filter_parse(struct arena *a, const char *s, size_t n, int64_t now_s, const struct flt **ret, size_t *reterr_at,
        const char **reterr_why)
{
	struct flt *f = arena_zalloc(a, sizeof *f);
	struct lex l = {.a = a, .s = s, .n = n, .now_s = now_s};
	*reterr_at = 0;
	*reterr_why = NULL;
	if (!f)
		return -VX_ERR_arena_full;
	if (n > FLT_TEXT_MAX)
		return -VX_ERR_query_too_long;
	if (parse(&l, f) < 0) {
		*reterr_at = l.at;
		*reterr_why = l.why;
		return -VX_ERR_filter_syntax;
	}
	*ret = f;
	return 0;
}

int vq_filter_value(struct vq *q, struct js *js)
{
	VX_TRY(js_peek(js));
	size_t at = js->i, n, err_at;
	const char *s, *why;
	VX_TRY(js_str(js, &s, &n));
	int64_t now = q->e ? (int64_t)(os_real_ns(eng_cfg(q->e)->os) / 1000000000u) : 0;
	int rc = vq_filter_parse(&q->arena, s, n, now, &q->j.filter, &err_at, &why);
	/* the quote counts; escapes before the place would shift it */
	return rc < 0 ? js_fail(js, rc, at + 1 + err_at, why, NULL, 0, NULL) : 0;
}
