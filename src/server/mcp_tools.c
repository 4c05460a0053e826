/* mcp_tools.c - the four tools: search, similar, read, status.  Each is a row of a table; its schema is made from the row and its arguments
 * are checked against the row, so the two cannot differ.  All are read-only, and what they give back is bounded: a page of hits with a
 * cursor, a page of lines with the line to go on from. */
#include <string.h>
#include "base/conf.h"
#include "server/mcp_int.h"
#include "text/text_extract.h"

#define PAGE_DEFAULT  10
#define PAGE_MAX      50
#define HITS_MAX      1000 /* cursor + page */
#define SNIPPET_MAX   1200u
#define LINES_DEFAULT 200
#define LINES_MAX     2000
#define READ_MAX      (96u << 10) /* bytes of one page of lines */

enum arg_kind { ARG_text, ARG_integer, ARG_number };
struct arg {
	const char *name, *what;
	enum arg_kind kind;
	bool must;
	int64_t lo, hi; /* text: bytes; integer: value */
	const char *one_of[4];
};
#define ARGS_MAX 7
struct tool {
	const char *name, *title, *what;
	int (*run)(struct mcp *m, const json_t *args, json_t **ret);
	struct arg arg[ARGS_MAX];
};

/* ---- results ---------------------------------------------------------------------------------------------------------------- */
/* takes @text and @data; @data may be NULL */
static json_t *result(json_t *text, json_t *data, bool error)
{
	json_t *r = json_object(), *content = json_array(), *item = json_object();
	int bad = !text || json_object_set_new(item, "type", json_string("text")) ||
	          json_object_set(item, "text", text) || json_array_append(content, item) ||
	          json_object_set(r, "content", content) || json_object_set_new(r, "isError", json_boolean(error)) ||
	          (data && json_object_set(r, "structuredContent", data));
	json_decref(text);
	json_decref(data);
	json_decref(content);
	json_decref(item);
	if (bad) {
		json_decref(r);
		return NULL;
	}
	return r;
}

/* @b was written on an arena that is the caller's; ret NULL means no memory */
static int give(struct sbuf *b, json_t *data, bool error, json_t **ret)
{
	*ret = result(b->over ? NULL : mcp_string(b->p, b->n), data, error);
	return *ret ? 0 : -ENOMEM;
}

static int failure(const char *what, const char *more, json_t **ret)
{
	char text[600];
	struct sbuf b;
	sbuf_fixed(&b, text, sizeof text);
	sb_str(&b, what);
	if (more) {
		size_t n = strlen(more);
		sb_str(&b, ": ");
		sb_bytes(&b, more, n < 400 ? n : 400);
	}
	return give(&b, NULL, true, ret);
}

/* ---- search and similar ---------------------------------------------------------------------------------------------------------- */
static int64_t int_of(const json_t *args, const char *key, int64_t dflt)
{
	const json_t *v = json_object_get(args, key);
	return v ? json_integer_value(v) : dflt;
}

static void show_hit(struct sbuf *b, const json_t *h, uint64_t rank)
{
	const char *path = json_string_value(json_object_get(h, "path")),
	           *snippet = json_string_value(json_object_get(h, "snippet"));
	const json_t *lines = json_object_get(json_object_get(h, "locator"), "lines");
	const char *state = json_string_value(json_object_get(h, "state"));
	sb_u64(b, rank);
	sb_str(b, ". ");
	if (path)
		sb_str(b, path);
	else
		sb_u64(b, (uint64_t)json_integer_value(json_object_get(h, "id")));
	if (json_array_size(lines) == 2) {
		sb_ch(b, ':');
		sb_i64(b, json_integer_value(json_array_get(lines, 0)));
		sb_ch(b, '-');
		sb_i64(b, json_integer_value(json_array_get(lines, 1)));
	}
	sb_str(b, "  (score ");
	sb_fixed(b, json_number_value(json_object_get(h, "score")), 3);
	if (state && strcmp(state, "fresh")) {
		sb_str(b, ", ");
		sb_str(b, state);
	}
	sb_str(b, ")\n");
	if (snippet && *snippet) {
		sb_str(b, snippet);
		sb_str(b, "\n");
	}
	sb_ch(b, '\n');
}

/* cut at a character, in the answer's own object */
static int shorten(json_t *h)
{
	json_t *s = json_object_get(h, "snippet");
	size_t n = json_string_length(s);
	if (n <= SNIPPET_MAX)
		return 0;
	const char *p = json_string_value(s);
	for (n = SNIPPET_MAX; n && (p[n] & 0xc0) == 0x80;)
		n--;
	return json_object_set_new(h, "snippet", json_stringn(p, n));
}

static int show_hits(json_t *answer, uint64_t from, uint64_t page, struct sbuf *b, json_t *data)
{
	const json_t *all = json_object_get(answer, "results");
	uint64_t n = json_array_size(all), to = from + page < n ? from + page : n;
	json_t *some = json_array();
	if (!some || json_object_set_new(data, "results", some))
		return -ENOMEM;
	for (uint64_t i = from; i < to; i++) {
		json_t *h = json_array_get(all, i);
		if (shorten(h) || json_array_append(some, h))
			return -ENOMEM;
		show_hit(b, h, i + 1);
	}
	if (from >= n)
		sb_str(b, from ? "No more results.\n" : "Nothing found.\n");
	/* one more was asked for than is shown: is there a next page? */
	if (n > to) {
		char text[24];
		struct sbuf c;
		sbuf_fixed(&c, text, sizeof text);
		sb_u64(&c, to);
		if (json_object_set_new(data, "nextCursor", json_string(sbuf_cstr(&c))))
			return -ENOMEM;
		sb_str(b, "More results: the same call with cursor \"");
		sb_str(b, text);
		sb_str(b, "\".\n");
	}
	if (!json_is_true(json_object_get(answer, "complete")))
		sb_str(b, "Not all files are indexed yet: there may be more.\n");
	static const char *const keep[] = {"generation", "complete", "pending"};
	for (size_t i = 0; i < sizeof keep / sizeof *keep; i++) {
		json_t *v = json_object_get(answer, keep[i]);
		if (v && json_object_set(data, keep[i], v))
			return -ENOMEM;
	}
	return 0;
}

static int ask_and_show(struct mcp *m, json_t *req, uint64_t from, uint64_t page, json_t **ret)
{
	struct mcp_bytes bytes = {0};
	struct arena a;
	struct sbuf b;
	json_t *answer = NULL, *data = NULL;
	int rc = mcp_ask(m, req, &bytes);
	if (rc < 0)
		return rc == -ENOMEM ? rc : failure("the mount did not answer", err_text(rc), ret);
	answer = json_loadb(bytes.p, bytes.n, 0, NULL);
	mem_free(MEM_server, bytes.p);
	const json_t *err = json_object_get(answer, "error");
	if (!answer || err) {
		const char *text = json_string_value(json_object_get(err, "message"));
		rc = failure(answer ? "refused" : "the mount's answer is not JSON", text, ret);
		json_decref(answer);
		return rc;
	}
	arena_init(&a, MEM_server, 4u << 20);
	data = json_object();
	rc = data ? sbuf_arena(&b, &a, 8192, 2u << 20) : -ENOMEM;
	if (rc >= 0)
		rc = show_hits(answer, from, page, &b, data);
	if (rc >= 0)
		rc = give(&b, json_incref(data), false, ret);
	json_decref(data);
	json_decref(answer);
	arena_done(&a);
	return rc;
}

/* the cursor is the rank to go on from. false: not one of ours */
static bool read_cursor(const json_t *args, uint64_t *ret)
{
	const char *s = json_string_value(json_object_get(args, "cursor"));
	*ret = 0;
	return !s || (num_u64(s, strlen(s), ret) == (int)strlen(s) && *ret < HITS_MAX);
}

static int search_like(struct mcp *m, const json_t *args, json_t *req, json_t **ret)
{
	static const char *const pass[][2] = {{"query", "text"}, {"like", "like"}, {"mode", "mode"}, {"scope", "scope"},
	        {"filter", "filter"}, {"min_score", "min_score"}};
	uint64_t from, page = (uint64_t)int_of(args, "k", PAGE_DEFAULT);
	if (!read_cursor(args, &from))
		return failure("bad argument", "cursor is not one that an earlier call returned", ret);
	int bad = json_object_set_new(req, "verb", json_string("search")) ||
	          json_object_set_new(req, "k",
	                  json_integer((json_int_t)(from + page + 1 < HITS_MAX + 1 ? from + page + 1 : HITS_MAX + 1)));
	for (size_t i = 0; i < sizeof pass / sizeof *pass && !bad; i++) {
		json_t *v = json_object_get(args, pass[i][0]);
		if (v)
			bad = json_object_set(req, pass[i][1], v);
	}
	return bad ? -ENOMEM : ask_and_show(m, req, from, page, ret);
}

static int run_search(struct mcp *m, const json_t *args, json_t **ret)
{
	json_t *req = json_object();
	int rc = req ? search_like(m, args, req, ret) : -ENOMEM;
	json_decref(req);
	return rc;
}

/* ---- read ------------------------------------------------------------------------------------------------------------------------ */
struct page {
	uint64_t line, first, last; /* the line in hand; wanted: [first, last] */
	uint64_t shown_to; /* last line that is in the text whole, and where it ends there */
	size_t whole_n;
	bool more, binary, cut, partial;
};

/* take lines of one block; false: the page is full */
static bool take_lines(struct page *g, struct sbuf *b, const char *p, size_t n)
{
	for (size_t at = 0; at < n;) {
		const char *e = memchr(p + at, '\n', n - at);
		size_t len = e ? (size_t)(e - p) + 1 - at : n - at;
		if (g->line > g->last) {
			g->more = true;
			return false;
		}
		if (g->line >= g->first) {
			if (memchr(p + at, 0, len)) {
				g->binary = true;
				return false;
			}
			if (b->n + len > READ_MAX) {
				/* whole lines only, but for a first line that is longer than a page */
				if (g->whole_n)
					b->n = g->whole_n;
				else
					sb_bytes(b, p + at, READ_MAX - b->n);
				g->cut = g->more = true;
				return false;
			}
			sb_bytes(b, p + at, len);
			g->partial = !e;
		}
		if (e && g->line++ >= g->first) {
			g->shown_to = g->line - 1;
			g->whole_n = b->n;
		}
		at += len;
	}
	return true;
}

static int read_page(struct mcp *m, int fd, struct page *g, struct sbuf *b)
{
	char *buf = mem_alloc(MEM_server, 65536);
	int rc = buf ? 0 : -ENOMEM;
	for (uint64_t at = 0; rc >= 0;) {
		ssize_t k = os_pread(m->os, fd, buf, 65536, (off_t)at);
		if (k == -EINTR)
			continue;
		if (k <= 0 || !take_lines(g, b, buf, (size_t)k)) {
			rc = k < 0 ? (int)k : 0;
			break;
		}
		at += (uint64_t)k;
		if (at > CONF_TEXT_FILE_MAX) {
			g->more = true;
			break;
		}
	}
	mem_free(MEM_server, buf);
	return rc;
}

/* ---- documents: the lines are those of their text ---- */
#define PAGE_FULL (-ECANCELED)
struct doc_page {
	struct page *g;
	struct sbuf *b;
};
static int take_doc(void *u, const void *p, size_t n)
{
	struct doc_page *d = u;
	return take_lines(d->g, d->b, p, n) ? 0 : PAGE_FULL;
}
static int read_doc_page(struct mcp *m, int fd, enum text_format format, struct page *g, struct sbuf *b)
{
	struct doc_page d = {g, b};
	struct vx_errinfo err = {0};
	char *helper = mem_alloc(MEM_server, CONF_PATH_MAX);
	int rc = helper ? text_extract_find(m->os, helper, CONF_PATH_MAX) : -ENOMEM;
	const struct text_extract_cfg cfg = {.os = m->os, .helper = helper, .cancel = m->stop};
	if (rc >= 0)
		rc = text_extract(&cfg, fd, format, take_doc, &d, &err);
	mem_free(MEM_server, helper);
	return rc == PAGE_FULL ? 0 : rc == -ENOENT ? -VX_ERR_not_text : rc;
}
/* HTML is text as it is; PDF and office documents are not */
static int read_any(struct mcp *m, int fd, const char *path, struct page *g, struct sbuf *b, bool *ret_doc)
{
	char *head = mem_alloc(MEM_server, 8192);
	ssize_t n = head ? os_pread(m->os, fd, head, 8192, 0) : -ENOMEM;
	enum text_format f = n > 0 ? text_format_of(head, (size_t)n, n < 8192, path) : TEXT_FORMAT_plain;
	mem_free(MEM_server, head);
	if (n < 0)
		return (int)n;
	*ret_doc = f == TEXT_FORMAT_pdf || f == TEXT_FORMAT_zip;
	return *ret_doc ? read_doc_page(m, fd, f, g, b) : read_page(m, fd, g, b);
}

static int run_read(struct mcp *m, const json_t *args, json_t **ret)
{
	const char *path = json_string_value(json_object_get(args, "path"));
	struct page g = {.line = 1, .first = (uint64_t)int_of(args, "start_line", 1)};
	g.last = g.first + (uint64_t)int_of(args, "lines", LINES_DEFAULT) - 1;
	struct arena a;
	struct sbuf b;
	bool doc = false;
	int fd = mcp_open_beneath(m, path);
	if (fd < 0)
		return failure(fd == -ELOOP ? "symbolic links are not followed" : err_text(fd), path, ret);
	arena_init(&a, MEM_server, 1u << 20);
	int rc = sbuf_arena(&b, &a, 8192, READ_MAX + 1024);
	if (rc >= 0)
		rc = read_any(m, fd, path, &g, &b, &doc);
	os_close(m->os, fd);
	if (rc < 0 || g.binary) {
		arena_done(&a);
		return rc == -ENOMEM ? rc : failure(rc < 0 ? err_text(rc) : err_text(-VX_ERR_not_text), path, ret);
	}
	/* the last line that is shown; first - 1 when the file ends before it */
	uint64_t end = g.cut              ? (g.shown_to ? g.shown_to : g.first)
	               : g.partial        ? g.line
	               : g.line > g.first ? g.line - 1
	                                  : g.first - 1;
	json_t *data = json_pack("{s:o?,s:I,s:I,s:b,s:b}", "path", mcp_string(path, strlen(path)), "start_line",
	        (json_int_t)g.first, "end_line", (json_int_t)end, "more", (int)g.more, "extracted", (int)doc);
	if (data && g.more && json_object_set_new(data, "next_line", json_integer((json_int_t)end + 1))) {
		json_decref(data);
		data = NULL;
	}
	rc = data ? give(&b, data, false, ret) : -ENOMEM;
	arena_done(&a);
	return rc;
}

/* ---- status ---------------------------------------------------------------------------------------------------------------------- */
static int run_status(struct mcp *m, const json_t *args, json_t **ret)
{
	json_t *req = json_pack("{s:s}", "verb", "status"), *data = NULL, *text = NULL;
	struct mcp_bytes bytes = {0};
	(void)args; /* it has none */
	int rc = req ? mcp_ask(m, req, &bytes) : -ENOMEM;
	json_decref(req);
	if (rc < 0)
		return rc == -ENOMEM ? rc : failure("the mount did not answer", err_text(rc), ret);
	data = json_loadb(bytes.p, bytes.n, 0, NULL);
	text = mcp_string(bytes.p, bytes.n);
	mem_free(MEM_server, bytes.p);
	if (!json_is_object(data)) {
		json_decref(data);
		data = NULL;
	}
	*ret = result(text, data, json_object_get(data, "error") != NULL);
	return *ret ? 0 : -ENOMEM;
}

/* ---- the table ------------------------------------------------------------------------------------------------------------------- */
static const struct tool tools[] = {
        {"search", "Search files by meaning and words",
                "Find the files (and the lines in them) that best match a question or phrase. Use natural language; "
                "\"quoted phrases\" and -excluded words "
                "work. Each hit has a path, the lines, a score and a snippet; use `read` to see more around it.",
                run_search,
                {{"query", "what to look for", ARG_text, true, 1, CONF_QUERY_TEXT_MAX, {0}},
                        {"k", "hits to return (default 10)", ARG_integer, false, 1, PAGE_MAX, {0}},
                        {"mode", "hybrid (default), words only, or meaning only", ARG_text, false, 1, 16,
                                {"hybrid", "text", "vector"}},
                        {"scope", "only below this directory, relative to the mount", ARG_text, false, 0,
                                CONF_PATH_MAX - 1, {0}},
                        {"filter",
                                "an expression on name, path, size, mtime or payload, e.g. size > 10K and ext == 'md'",
                                ARG_text, false, 1, 4096, {0}},
                        {"min_score", "leave out hits below this score", ARG_number, false, 0, 0, {0}},
                        {"cursor", "nextCursor of the call before, for the next page", ARG_text, false, 1, 20, {0}}}},
        {"similar", "Find similar files", "Find the files whose content is nearest to that of a given file.",
                run_search,
                {{"like", "the file, by its path relative to the mount", ARG_text, true, 1, CONF_PATH_MAX - 1, {0}},
                        {"k", "hits to return (default 10)", ARG_integer, false, 1, PAGE_MAX, {0}},
                        {"scope", "only below this directory, relative to the mount", ARG_text, false, 0,
                                CONF_PATH_MAX - 1, {0}},
                        {"cursor", "nextCursor of the call before, for the next page", ARG_text, false, 1, 20, {0}}}},
        {"read", "Read lines of a file",
                "Read a text file of the mount by lines; of a PDF or office document, its text. When `more` is true go "
                "on from `next_line`.",
                run_read,
                {{"path", "path relative to the mount, as hits give it", ARG_text, true, 1, CONF_PATH_MAX - 1, {0}},
                        {"start_line", "first line, from 1 (default 1)", ARG_integer, false, 1, 1000000000, {0}},
                        {"lines", "how many lines (default 200)", ARG_integer, false, 1, LINES_MAX, {0}}}},
        {"status", "Status of the mount", "What is indexed, what is still pending, which parts work.", run_status,
                {{0}}},
};

static json_t *arg_schema(const struct arg *a)
{
	static const char *const types[] = {"string", "integer", "number"};
	json_t *o = json_pack("{s:s,s:s}", "type", types[a->kind], "description", a->what);
	int bad = !o;
	if (!bad && a->kind == ARG_text && !a->one_of[0])
		bad = json_object_set_new(o, "minLength", json_integer(a->lo)) ||
		      json_object_set_new(o, "maxLength", json_integer(a->hi));
	if (!bad && a->kind == ARG_integer)
		bad = json_object_set_new(o, "minimum", json_integer(a->lo)) ||
		      json_object_set_new(o, "maximum", json_integer(a->hi));
	if (!bad && a->one_of[0]) {
		json_t *e = json_array();
		bad = !e;
		for (int i = 0; i < 4 && a->one_of[i] && !bad; i++)
			bad = json_array_append_new(e, json_string(a->one_of[i]));
		bad = json_object_set_new(o, "enum", e) || bad;
	}
	if (bad) {
		json_decref(o);
		return NULL;
	}
	return o;
}

static json_t *tool_schema(const struct tool *t)
{
	json_t *props = json_object(), *must = json_array();
	int bad = !props || !must;
	for (int i = 0; i < ARGS_MAX && t->arg[i].name && !bad; i++) {
		bad = json_object_set_new(props, t->arg[i].name, arg_schema(&t->arg[i]));
		if (!bad && t->arg[i].must)
			bad = json_array_append_new(must, json_string(t->arg[i].name));
	}
	if (bad) {
		json_decref(props);
		json_decref(must);
		return NULL;
	}
	return json_pack("{s:s,s:s,s:s,s:{s:s,s:o,s:o,s:b},s:{s:s,s:b,s:b,s:b,s:b}}", "name", t->name, "title",
	        t->title, "description", t->what, "inputSchema", "type", "object", "properties", props, "required",
	        must, "additionalProperties", 0, "annotations", "title", t->title, "readOnlyHint", 1, "destructiveHint",
	        0, "idempotentHint", 1, "openWorldHint", 0);
}

json_t *mcp_tools_list(void)
{
	json_t *list = json_array();
	for (size_t i = 0; list && i < sizeof tools / sizeof *tools; i++) {
		if (json_array_append_new(list, tool_schema(&tools[i]))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static const char *arg_wrong(const struct arg *a, const json_t *v)
{
	int64_t n = (int64_t)json_string_length(v);
	switch (a->kind) {
	case ARG_text:
		if (!json_is_string(v))
			return "must be a string";
		if (n < a->lo || n > a->hi)
			return n ? "is too long" : "must not be empty";
		if (memchr(json_string_value(v), 0, (size_t)n))
			return "must not hold a NUL";
		for (int i = 0; i < 4 && a->one_of[0]; i++) {
			if (!a->one_of[i])
				return "must be one of the values the schema lists";
			if (!strcmp(a->one_of[i], json_string_value(v)))
				break;
		}
		return NULL;
	case ARG_integer:
		if (!json_is_integer(v))
			return "must be an integer";
		return json_integer_value(v) < a->lo || json_integer_value(v) > a->hi ? "is out of range" : NULL;
	case ARG_number:
		return json_is_number(v) ? NULL : "must be a number";
	}
	return "is of no known type";
}

/* NULL: all good; else which argument and what is wrong with it */
static const char *args_wrong(const struct tool *t, json_t *args, const char **ret_name)
{
	const char *key;
	json_t *v;
	json_object_foreach(args, key, v)
	{
		const struct arg *a = NULL;
		for (int i = 0; i < ARGS_MAX && t->arg[i].name && !a; i++)
			a = strcmp(t->arg[i].name, key) ? NULL : &t->arg[i];
		*ret_name = key;
		if (!a)
			return "is not an argument of this tool";
		const char *wrong = arg_wrong(a, v);
		if (wrong)
			return wrong;
	}
	for (int i = 0; i < ARGS_MAX && t->arg[i].name; i++) {
		*ret_name = t->arg[i].name;
		if (t->arg[i].must && !json_object_get(args, t->arg[i].name))
			return "is missing";
	}
	return NULL;
}

int mcp_tool_call(struct mcp *m, const char *name, const json_t *args, json_t **ret)
{
	for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
		const char *which = NULL;
		if (strcmp(tools[i].name, name))
			continue;
		if (args && !json_is_object(args))
			return failure("bad argument", "arguments must be an object", ret);
		const char *wrong = args_wrong(&tools[i], (json_t *)args, &which);
		if (wrong) {
			char text[200];
			struct sbuf b;
			sbuf_fixed(&b, text, sizeof text);
			sb_ch(&b, '"');
			sb_bytes(&b, which, strlen(which) < 80 ? strlen(which) : 80);
			sb_str(&b, "\" ");
			sb_str(&b, wrong);
			return failure("bad argument", sbuf_cstr(&b), ret);
		}
		return tools[i].run(m, args, ret);
	}
	return -ENOENT;
}
