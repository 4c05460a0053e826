/* json.c - see json.h.  Runs on FUSE threads: frames stay below 200 bytes. */
#include "query/json.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/conf.h"
#include "base/sbuf.h"

void js_init(struct js *j, char *s, size_t n, struct vx_errinfo *err)
{
	*j = (struct js){.s = s, .n = n, .err = err};
}

int js_fail(struct js *j, int code, size_t at, const char *a, const char *b, size_t bn, const char *c)
{
	if (!j->err || j->err->code)
		return code;
	struct sbuf t;
	sbuf_fixed(&t, j->err->detail, sizeof j->err->detail);
	if (a)
		sb_str(&t, a);
	if (b)
		sb_bytes(&t, b, bn < 64 ? bn : 64);
	if (c)
		sb_str(&t, c);
	(void)sbuf_cstr(&t); /* only its terminating NUL is wanted */
	j->err->code = code;
	j->err->position = (int64_t)at;
	return code;
}

static int syntax(struct js *j, const char *what)
{
	return js_fail(j, -VX_ERR_json_syntax, j->i, j->i >= j->n ? "the text ends here; expected " : "expected ", what,
	        strlen(what), NULL);
}

static void ws(struct js *j)
{
	while (j->i < j->n) {
		char c = j->s[j->i];
		if (c != ' ' && c != '\n' && c != '\t' && c != '\r')
			return;
		j->i++;
	}
}

int js_peek(struct js *j)
{
	ws(j);
	if (j->i >= j->n)
		return syntax(j, "a value");
	switch (j->s[j->i]) {
	case '{':
		return JS_object;
	case '[':
		return JS_array;
	case '"':
		return JS_string;
	case 't':
		return JS_true;
	case 'f':
		return JS_false;
	case 'n':
		return JS_null;
	case '-':
	case '0' ... '9':
		return JS_number;
	default:
		return syntax(j, "a value");
	}
}

int js_open(struct js *j)
{
	if (j->depth >= CONF_JSON_DEPTH_MAX)
		return js_fail(j, -VX_ERR_json_depth, j->i, NULL, NULL, 0, NULL);
	j->depth++;
	j->i++;
	return 0;
}

/* length of the well-formed UTF-8 sequence at p (RFC 3629, table 3-7 of Unicode), 0 if it is not one */
static unsigned utf8_len(const unsigned char *p, size_t n)
{
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	unsigned len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (n < len)
		return 0;
	unsigned char lo = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
	unsigned char hi = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
	if (p[1] < lo || p[1] > hi)
		return 0;
	for (unsigned k = 2; k < len; k++)
		if ((p[k] & 0xc0) != 0x80)
			return 0;
	return len;
}

static int hex4(const struct js *j, size_t at)
{
	if (at + 4 > j->n)
		return -1;
	int v = 0;
	for (size_t k = at; k < at + 4; k++) {
		unsigned char c = (unsigned char)j->s[k];
		int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

static size_t utf8_put(char *o, uint32_t c)
{
	if (c < 0x80) {
		o[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		o[0] = (char)(0xc0 | c >> 6);
		o[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		o[0] = (char)(0xe0 | c >> 12);
		o[1] = (char)(0x80 | (c >> 6 & 63));
		o[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	o[0] = (char)(0xf0 | c >> 18);
	o[1] = (char)(0x80 | (c >> 12 & 63));
	o[2] = (char)(0x80 | (c >> 6 & 63));
	o[3] = (char)(0x80 | (c & 63));
	return 4;
}

/* one escape, the backslash at j->i. Returns the code point, j->i behind it; < 0 */
static int escape(struct js *j)
{
	size_t at = j->i;
	if (at + 1 >= j->n)
		return j->i = j->n, syntax(j, "an escape");
	char c = j->s[at + 1];
	j->i = at + 2;
	switch (c) {
	case '"':
	case '\\':
	case '/':
		return c;
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case 'u': {
		int v = hex4(j, j->i);
		if (v < 0)
			return syntax(j, "four hexadecimal digits");
		j->i += 4;
		if (v < 0xd800 || v > 0xdfff)
			return v;
		int lo = j->i + 6 <= j->n && j->s[j->i] == '\\' && j->s[j->i + 1] == 'u' ? hex4(j, j->i + 2) : -1;
		if (v >= 0xdc00 || lo < 0xdc00 || lo > 0xdfff)
			return j->i = at, syntax(j, "a pair of surrogates");
		j->i += 6;
		return 0x10000 + ((v - 0xd800) << 10) + (lo - 0xdc00);
	}
	default:
		return j->i = at, syntax(j, "an escape");
	}
}

/* one string, its opening quote at j->i. @decode: in place, NUL behind it */
static int string(struct js *j, bool decode, const char **ret, size_t *ret_n)
{
	char *out = j->s + j->i + 1;
	const char *start = out;
	j->i++;
	for (;;) {
		if (j->i >= j->n)
			return syntax(j, "a closing quote");
		unsigned char c = (unsigned char)j->s[j->i];
		if (c == '"')
			break;
		if (c < 0x20)
			return syntax(j, "no raw control character in a string");
		if (c == '\\') {
			int v = escape(j);
			if (v < 0)
				return v;
			if (decode)
				out += utf8_put(out, (uint32_t)v);
			continue;
		}
		unsigned len = utf8_len((const unsigned char *)j->s + j->i, j->n - j->i);
		if (!len)
			return syntax(j, "valid UTF-8");
		if (decode) {
			if (out != j->s + j->i)
				memmove(out, j->s + j->i, len);
			out += len;
		}
		j->i += len;
	}
	j->i++;
	if (decode)
		*out = 0; /* at most where the closing quote was */
	if (ret) {
		*ret = start;
		*ret_n = decode ? (size_t)(out - start) : (size_t)(j->s + j->i - 1 - start);
	}
	return 0;
}

/* end of the number at j->i by the grammar; 0 when it is none */
static size_t number_end(const struct js *j)
{
	size_t i = j->i, n = j->n;
	const char *s = j->s;
	if (i < n && s[i] == '-')
		i++;
	if (i >= n || s[i] < '0' || s[i] > '9')
		return 0;
	if (s[i] == '0')
		i++;
	else
		while (i < n && s[i] >= '0' && s[i] <= '9')
			i++;
	if (i < n && s[i] == '.') {
		size_t d = ++i;
		while (i < n && s[i] >= '0' && s[i] <= '9')
			i++;
		if (i == d)
			return 0;
	}
	if (i < n && (s[i] | 32) == 'e') {
		i++;
		if (i < n && (s[i] == '+' || s[i] == '-'))
			i++;
		size_t d = i;
		while (i < n && s[i] >= '0' && s[i] <= '9')
			i++;
		if (i == d)
			return 0;
	}
	return i;
}

static int want(struct js *j, int kind, const char *what)
{
	int k = js_peek(j);
	if (k < 0)
		return k;
	if (k != kind)
		return js_fail(j, -VX_ERR_bad_value, j->i, "expected ", what, strlen(what), NULL);
	return 0;
}

int js_key(struct js *j, bool *first, const char **ret, size_t *ret_n, size_t *ret_at)
{
	ws(j);
	if (j->i < j->n && j->s[j->i] == '}') {
		j->i++;
		j->depth--;
		return 0;
	}
	if (!*first) {
		if (j->i >= j->n || j->s[j->i] != ',')
			return syntax(j, "',' or '}'");
		j->i++;
		ws(j);
	}
	*first = false;
	if (j->i >= j->n || j->s[j->i] != '"')
		return syntax(j, "a key in quotes");
	*ret_at = j->i;
	VX_TRY(string(j, true, ret, ret_n));
	ws(j);
	if (j->i >= j->n || j->s[j->i] != ':')
		return syntax(j, "':'");
	j->i++;
	return 1;
}

int js_elem(struct js *j, bool *first)
{
	ws(j);
	if (j->i < j->n && j->s[j->i] == ']') {
		j->i++;
		j->depth--;
		return 0;
	}
	if (!*first) {
		if (j->i >= j->n || j->s[j->i] != ',')
			return syntax(j, "',' or ']'");
		j->i++;
		ws(j);
		if (j->i < j->n && j->s[j->i] == ']')
			return syntax(j, "a value");
	}
	*first = false;
	return 1;
}

int js_str(struct js *j, const char **ret, size_t *ret_n)
{
	VX_TRY(want(j, JS_string, "a string"));
	return string(j, true, ret, ret_n);
}

int js_num(struct js *j, double *ret)
{
	VX_TRY(want(j, JS_number, "a number"));
	size_t e = number_end(j);
	if (!e)
		return syntax(j, "a number");
	double v;
	if (num_f64(j->s + j->i, e - j->i, &v) != (int)(e - j->i))
		return syntax(j, "a number");
	j->i = e;
	*ret = v;
	return 0;
}

int js_u64(struct js *j, uint64_t max, uint64_t *ret)
{
	VX_TRY(want(j, JS_number, "a whole number"));
	size_t e = number_end(j);
	if (!e)
		return syntax(j, "a number");
	uint64_t v;
	if (num_u64(j->s + j->i, e - j->i, &v) != (int)(e - j->i))
		return js_fail(j, -VX_ERR_bad_value, j->i, "expected a whole number >= 0", NULL, 0, NULL);
	if (v > max)
		return js_fail(j, -VX_ERR_bad_value, j->i, "the number is too large here", NULL, 0, NULL);
	j->i = e;
	*ret = v;
	return 0;
}

static int literal(struct js *j, const char *w)
{
	size_t n = strlen(w);
	if (j->n - j->i < n || memcmp(j->s + j->i, w, n))
		return syntax(j, "true, false or null");
	j->i += n;
	return 0;
}

int js_bool(struct js *j, bool *ret)
{
	int k = js_peek(j);
	if (k < 0)
		return k;
	if (k != JS_true && k != JS_false)
		return js_fail(j, -VX_ERR_bad_value, j->i, "expected true or false", NULL, 0, NULL);
	VX_TRY(literal(j, k == JS_true ? "true" : "false"));
	*ret = k == JS_true;
	return 0;
}

int js_f32s(struct js *j, struct arena *a, uint32_t max, const float **ret, uint32_t *ret_n)
{
	VX_TRY(want(j, JS_array, "an array of numbers"));
	size_t at = j->i;
	/* its commas give its length: anything in it but numbers fails below */
	size_t commas = 0, close = at;
	while (close < j->n && j->s[close] != ']')
		commas += j->s[close++] == ',';
	if (commas >= max)
		return js_fail(j, -VX_ERR_dim_range, at, NULL, NULL, 0, NULL);
	float *v = arena_alloc(a, (commas + 1) * sizeof *v);
	if (!v)
		return js_fail(j, -VX_ERR_arena_full, at, NULL, NULL, 0, NULL);
	VX_TRY(js_open(j));
	bool first = true;
	uint32_t n = 0;
	for (int r; (r = js_elem(j, &first)) != 0;) {
		if (r < 0)
			return r;
		double d;
		VX_TRY(js_peek(j));
		size_t here = j->i;
		VX_TRY(js_num(j, &d));
		float f = (float)d;
		if (!isfinite(f))
			return js_fail(
			        j, -VX_ERR_not_finite, here, "the number does not fit a 32-bit float", NULL, 0, NULL);
		vx_assert(n <= commas);
		v[n++] = f;
	}
	if (!n)
		return js_fail(j, -VX_ERR_dim_range, at, NULL, NULL, 0, NULL);
	*ret = v;
	*ret_n = n;
	return 0;
}

/* a value that is neither object nor array */
static int scalar(struct js *j, int kind)
{
	switch (kind) {
	case JS_string:
		return string(j, false, NULL, NULL);
	case JS_number: {
		size_t e = number_end(j);
		if (!e)
			return syntax(j, "a number");
		j->i = e;
		return 0;
	}
	case JS_true:
		return literal(j, "true");
	case JS_false:
		return literal(j, "false");
	default:
		return literal(j, "null");
	}
}

/* a key and its colon, kept as they are */
static int skip_key(struct js *j)
{
	ws(j);
	if (j->i >= j->n || j->s[j->i] != '"')
		return syntax(j, "a key in quotes");
	VX_TRY(string(j, false, NULL, NULL));
	ws(j);
	if (j->i >= j->n || j->s[j->i] != ':')
		return syntax(j, "':'");
	j->i++;
	return 0;
}

int js_raw(struct js *j, bool own_depth, const char **ret, size_t *ret_n)
{
	uint32_t was = j->depth, objects = 0,
	         level = own_depth ? 0 : j->depth; /* bit d of objects: level d is an object */
	const uint32_t base = level;
	static_assert(CONF_JSON_DEPTH_MAX < 32, "one bit a level");
	VX_TRY(js_peek(j));
	size_t at = j->i;
	for (;;) {
		int k = js_peek(j);
		if (k < 0)
			return k;
		bool closed = true;
		if (k == JS_object || k == JS_array) {
			if (level >= CONF_JSON_DEPTH_MAX)
				return js_fail(j, -VX_ERR_json_depth, j->i, NULL, NULL, 0, NULL);
			level++;
			objects = k == JS_object ? objects | 1u << level : objects & ~(1u << level);
			j->i++;
			ws(j);
			closed = j->i < j->n && j->s[j->i] == (k == JS_object ? '}' : ']');
			if (closed) {
				j->i++;
				level--;
			} else if (k == JS_object) {
				VX_TRY(skip_key(j));
			}
		} else {
			VX_TRY(scalar(j, k));
		}
		/* a value ended: close what it closes, or go to the next one */
		while (closed && level > base) {
			bool obj = objects >> level & 1;
			ws(j);
			if (j->i < j->n && j->s[j->i] == ',') {
				j->i++;
				if (obj)
					VX_TRY(skip_key(j));
				closed = false;
			} else if (j->i < j->n && j->s[j->i] == (obj ? '}' : ']')) {
				j->i++;
				level--;
			} else {
				return syntax(j, obj ? "',' or '}'" : "',' or ']'");
			}
		}
		if (closed)
			break;
	}
	j->depth = was;
	if (ret) {
		*ret = j->s + at;
		*ret_n = j->i - at;
	}
	return 0;
}

int js_end(struct js *j)
{
	ws(j);
	return j->i == j->n ? 0 : syntax(j, "the end of the request");
}
