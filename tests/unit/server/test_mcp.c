/* The MCP server without a mount: a folder for the files and a query file that records what is asked and answers as told. */
#include <fcntl.h>
#include <jansson.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tap.h"
#include "server/mcp.h"

#define QUERY_FD 1000001
static struct os_ops ops;
static struct os os;
static char asked[70000], told[400000];
static int told_rc;
static int f_openat(struct os *o, int d, const char *path, int flags, mode_t mode)
{
	(void)o;
	if (strcmp(path, ".vexfs/query"))
		return os_real()->ops->openat(os_real(), d, path, flags, mode);
	asked[0] = 0;
	return told_rc ? told_rc : QUERY_FD;
}
static int f_close(struct os *o, int fd)
{
	(void)o;
	return fd == QUERY_FD ? 0 : os_real()->ops->close(os_real(), fd);
}
static ssize_t f_pwrite(struct os *o, int fd, const void *p, size_t n, off_t at)
{
	(void)o;
	if (fd != QUERY_FD || (size_t)at + n >= sizeof asked)
		abort();
	n = n > 7 ? 7 : n; /* in pieces */
	memcpy(asked + at, p, n);
	asked[(size_t)at + n] = 0;
	return (ssize_t)n;
}
static ssize_t f_pread(struct os *o, int fd, void *p, size_t n, off_t at)
{
	(void)o;
	if (fd != QUERY_FD)
		return os_real()->ops->pread(os_real(), fd, p, n, at);
	size_t len = strlen(told), left = (size_t)at < len ? len - (size_t)at : 0;
	n = n < left ? n : left;
	n = n > 1000 ? 1000 : n;
	memcpy(p, told + at, n);
	return (ssize_t)n;
}
static int f_fstatat(struct os *o, int d, const char *path, struct stat *st, int flags)
{
	(void)o;
	return strcmp(path, ".vexfs/query") ? os_real()->ops->fstatat(os_real(), d, path, st, flags) : told_rc;
}

static struct mcp *m;
static char dir[] = "/tmp/vexfs-mcp-XXXXXX";
static struct arena arena;

/* the answer to a message; NULL: none */
static json_t *send_text(const char *text, size_t n)
{
	struct sbuf b;
	arena_reset(&arena);
	sbuf_arena(&b, &arena, 100, 32u << 20);
	int rc = mcp_handle(m, text, n, &b);
	if (rc < 0) {
		printf("# %s\n", err_name(rc));
		return json_string("failed");
	}
	if (memchr(b.p, '\n', b.n))
		return json_string("a line end in the answer");
	return b.n ? json_loadb(b.p, b.n, 0, NULL) : NULL;
}
static json_t *send_msg(const char *text)
{
	return send_text(text, strlen(text));
}
static const char *str(const json_t *j, const char *a, const char *b)
{
	j = json_object_get(j, a);
	j = b ? json_object_get(j, b) : j;
	return json_is_string(j) ? json_string_value(j) : "";
}
static void code_is(const char *msg, int code)
{
	json_t *a = send_msg(msg);
	T_OK(json_integer_value(json_object_get(json_object_get(a, "error"), "code")) == code &&
	                *str(a, "error", "message") && !json_object_get(a, "result"),
	        "%.100s -> %d", msg, code);
	json_decref(a);
}

static json_t *call(const char *tool, const char *args)
{
	char msg[20000];
	snprintf(msg, sizeof msg,
	        "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/"
	        "call\",\"params\":{\"name\":\"%s\",\"arguments\":%s}}",
	        tool, args);
	return send_msg(msg);
}
static const char *text_of(const json_t *a)
{
	return str(json_array_get(json_object_get(json_object_get(a, "result"), "content"), 0), "text", NULL);
}
static bool failed(const json_t *a)
{
	return json_is_true(json_object_get(json_object_get(a, "result"), "isError"));
}
static void bad_args(const char *tool, const char *args, const char *says)
{
	json_t *a = call(tool, args);
	strcpy(asked, "");
	T_OK(failed(a) && strstr(text_of(a), says), "%s %.80s: %s", tool, args, text_of(a));
	json_decref(a);
}

static void test_protocol(void)
{
	code_is("", -32700);
	code_is("{", -32700);
	code_is("[]", -32600);
	code_is("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]", -32600);
	code_is("{}", -32600);
	code_is("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}", -32600);
	code_is("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", -32600);
	code_is("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}", -32600);
	code_is("{\"jsonrpc\":\"2.0\",\"id\":1}", -32600);
	code_is("{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}", -32700);
	code_is("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/list\"}", -32601);
	code_is("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}", -32600);
	code_is("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\"}", -32602);
	code_is("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":[]}", -32602);
	json_t *a = send_msg("{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"ping\"}");
	T_OK(!strcmp(str(a, "id", NULL), "x") && json_is_object(json_object_get(a, "result")), "ping");
	json_decref(a);
	static const char *const asks[][2] = {{"2024-11-05", "2024-11-05"}, {"2025-03-26", "2025-03-26"},
	        {"2025-06-18", "2025-06-18"}, {"2099-01-01", "2025-06-18"}, {"", "2025-06-18"}};
	for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
		char msg[300];
		snprintf(msg, sizeof msg,
		        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"%"
		        "s\",\"capabilities\":{},"
		        "\"clientInfo\":{\"name\":\"t\",\"version\":\"1\"}}}",
		        asks[i][0]);
		a = send_msg(msg);
		T_STR(str(a, "result", "protocolVersion"), asks[i][1], "revision");
		json_decref(a);
	}
	T_OK(!send_msg("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"),
	        "a notification has no answer");
	T_OK(!send_msg("{\"jsonrpc\":\"2.0\",\"method\":\"nonsense\"}"), "not even an unknown one");
	T_OK(!send_msg("{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{}}"), "an answer has no answer");
	code_is("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{}}", -32602);
	code_is("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"write\"}}", -32602);
	code_is("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{\"cursor\":\"1\"}}", -32602);
	char *big = malloc(MCP_MESSAGE_MAX + 2);
	memset(big, ' ', MCP_MESSAGE_MAX + 1);
	a = send_text(big, MCP_MESSAGE_MAX + 1);
	T_EQ(json_integer_value(json_object_get(json_object_get(a, "error"), "code")), -32600,
	        "a message that is too long");
	json_decref(a);
	memset(big, '[', MCP_MESSAGE_MAX);
	a = send_text(big, MCP_MESSAGE_MAX);
	T_EQ(json_integer_value(json_object_get(json_object_get(a, "error"), "code")), -32700, "a million brackets");
	json_decref(a);
	free(big);
	for (size_t n = 0; n < 80; n++) { /* every prefix of a request */
		static const char req[] =
		        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"status\"}}";
		a = send_text(req, n < sizeof req - 1 ? n : sizeof req - 2);
		if (json_integer_value(json_object_get(json_object_get(a, "error"), "code")) != -32700)
			T_OK(0, "prefix of %zu bytes", n);
		json_decref(a);
	}
}

static void test_list(void)
{
	json_t *a = send_msg("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{}}"), *t;
	const json_t *list = json_object_get(json_object_get(a, "result"), "tools");
	size_t i, strict = 0, read_only = 0;
	char names[200] = "";
	json_array_foreach(list, i, t)
	{
		const json_t *s = json_object_get(t, "inputSchema"), *h = json_object_get(t, "annotations");
		strict += json_is_false(json_object_get(s, "additionalProperties")) &&
		          !strcmp(str(s, "type", NULL), "object") && json_is_array(json_object_get(s, "required")) &&
		          json_is_object(json_object_get(s, "properties"));
		read_only += json_is_true(json_object_get(h, "readOnlyHint")) &&
		             json_is_false(json_object_get(h, "destructiveHint"));
		strcat(strcat(names, str(t, "name", NULL)), " ");
	}
	T_STR(names, "search similar read status ", "tools");
	T_OK(strict == 4 && read_only == 4, "strict schemas %zu, read-only %zu", strict, read_only);
	const json_t *q = json_object_get(
	        json_object_get(json_object_get(json_array_get(list, 0), "inputSchema"), "properties"), "query");
	T_OK(json_integer_value(json_object_get(q, "maxLength")) == 8192 &&
	                json_integer_value(json_object_get(q, "minLength")) == 1,
	        "bounds of query");
	json_decref(a);
}

#define HIT(n)                                                                                                         \
	"{\"rank\":" #n ",\"path\":\"d/f" #n                                                                           \
	".md\",\"score\":0.5,\"state\":\"fresh\",\"locator\":{\"bytes\":[0,9],\"lines\":[3,8]},\"snippet\":\"s" #n     \
	"\"}"
static void test_search(void)
{
	sprintf(told,
	        "{\"generation\":9,\"complete\":true,\"pending\":0,\"results\":[" HIT(1) "," HIT(2) "," HIT(3) "]}");
	json_t *a = call("search", "{\"query\":\"what is it\",\"k\":2,\"mode\":\"hybrid\",\"scope\":\"d\"}"),
	       *req = json_loads(asked, 0, NULL);
	T_OK(!failed(a) && !strcmp(str(req, "verb", NULL), "search") && !strcmp(str(req, "text", NULL), "what is it") &&
	                !strcmp(str(req, "mode", NULL), "hybrid") && !strcmp(str(req, "scope", NULL), "d") &&
	                json_integer_value(json_object_get(req, "k")) == 3 && json_object_size(req) == 5,
	        "what the mount is asked: %s", asked);
	T_OK(!strcmp(text_of(a), "1. d/f1.md:3-8  (score 0.500)\ns1\n\n2. d/f2.md:3-8  (score 0.500)\ns2\n\nMore "
	                         "results: the same call with cursor \"2\".\n"),
	        "the text of two hits and a cursor");
	const json_t *data = json_object_get(json_object_get(a, "result"), "structuredContent");
	T_OK(json_array_size(json_object_get(data, "results")) == 2 && !strcmp(str(data, "nextCursor", NULL), "2") &&
	                json_is_true(json_object_get(data, "complete")) &&
	                json_integer_value(json_object_get(data, "generation")) == 9,
	        "the same as data");
	json_decref(a);
	json_decref(req);
	a = call("search", "{\"query\":\"q\",\"k\":2,\"cursor\":\"2\"}");
	T_OK(!strcmp(text_of(a), "3. d/f3.md:3-8  (score 0.500)\ns3\n\n"), "the next page");
	T_OK(strstr(asked, "\"k\":5") && !*str(json_object_get(a, "result"), "structuredContent", "nextCursor"),
	        "is the last");
	json_decref(a);
	a = call("similar", "{\"like\":\"d/f1.md\"}");
	T_OK(!failed(a) && strstr(asked, "\"like\":\"d/f1.md\"") && strstr(asked, "\"k\":11"), "similar: %s", asked);
	json_decref(a);
	sprintf(told, "{\"generation\":9,\"complete\":false,\"pending\":3,\"results\":[]}");
	a = call("search", "{\"query\":\"q\"}");
	T_OK(!failed(a) && strstr(text_of(a), "Nothing found") && strstr(text_of(a), "Not all files are indexed"),
	        "nothing found, and not all is indexed");
	json_decref(a);
	sprintf(told,
	        "{\"error\":{\"code\":\"filter_syntax\",\"message\":\"the filter \\u001b[31mhurts\",\"position\":3}}");
	a = call("search", "{\"query\":\"q\",\"filter\":\"size >\"}");
	T_OK(failed(a) && strstr(text_of(a), "refused: the filter  [31mhurts"), "the mount's refusal: %s", text_of(a));
	json_decref(a);
	sprintf(told, "garbage");
	a = call("search", "{\"query\":\"q\"}");
	T_OK(failed(a) && strstr(text_of(a), "not JSON"), "garbage: %s", text_of(a));
	json_decref(a);
	told_rc = -ENOTCONN;
	a = call("search", "{\"query\":\"q\"}");
	T_OK(failed(a), "the mount is gone: %s", text_of(a));
	json_decref(a);
	told_rc = 0;
	/* long snippets are cut, between characters */
	char *p = told + sprintf(told, "{\"complete\":true,\"results\":[{\"path\":\"x\",\"score\":1,\"state\":"
	                               "\"stale\",\"snippet\":\"a");
	for (int i = 0; i < 3000; i++)
		p += sprintf(p, "\u20ac");
	strcpy(p, "\"}]}");
	a = call("search", "{\"query\":\"q\"}");
	const char *s = str(
	        json_array_get(
	                json_object_get(json_object_get(json_object_get(a, "result"), "structuredContent"), "results"),
	                0),
	        "snippet", NULL);
	T_OK(strlen(s) > 1190 && strlen(s) <= 1200 && strstr(text_of(a), "1. x  (score 1.000, stale)"),
	        "snippet of %zu bytes", strlen(s));
	json_decref(a);
	bad_args("search", "{}", "\"query\" is missing");
	bad_args("search", "{\"query\":\"\"}", "\"query\" must not be empty");
	bad_args("search", "{\"query\":7}", "\"query\" must be a string");
	code_is("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"tools/"
	        "call\",\"params\":{\"name\":\"search\",\"arguments\":{\"query\":\"a\\u0000b\"}}}",
	        -32700);
	bad_args("search", "{\"query\":\"q\",\"k\":0}", "\"k\" is out of range");
	bad_args("search", "{\"query\":\"q\",\"k\":51}", "\"k\" is out of range");
	bad_args("search", "{\"query\":\"q\",\"k\":2.0}", "\"k\" must be an integer");
	bad_args("search", "{\"query\":\"q\",\"limit\":2}", "\"limit\" is not an argument");
	bad_args("search", "{\"query\":\"q\",\"mode\":\"best\"}", "\"mode\" must be one of");
	bad_args("search", "{\"query\":\"q\",\"min_score\":\"x\"}", "\"min_score\" must be a number");
	bad_args("search", "{\"query\":\"q\",\"cursor\":\"x\"}", "cursor is not one");
	bad_args("search", "{\"query\":\"q\",\"cursor\":\"99999999999999999999\"}", "cursor is not one");
	bad_args("search", "{\"query\":\"q\",\"cursor\":\"1000\"}", "cursor is not one");
	bad_args("search", "[]", "must be an object");
	bad_args("status", "{\"x\":1}", "\"x\" is not an argument");
	char longer[9000] = "{\"query\":\"";
	memset(longer + 10, 'x', 8193);
	strcpy(longer + 10 + 8193, "\"}");
	bad_args("search", longer, "\"query\" is too long");
}

static void file(const char *name, const char *p, size_t n)
{
	char path[200];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (write(fd, p, n) != (ssize_t)n)
		abort();
	close(fd);
}
static void reads(const char *args, const char *text, int end, int next)
{
	json_t *a = call("read", args);
	const json_t *d = json_object_get(json_object_get(a, "result"), "structuredContent");
	T_OK(!failed(a) && !strcmp(text_of(a), text) && json_integer_value(json_object_get(d, "end_line")) == end &&
	                json_integer_value(json_object_get(d, "next_line")) == next &&
	                json_is_true(json_object_get(d, "more")) == (next > 0),
	        "read %s: to %d, next %d", args, (int)json_integer_value(json_object_get(d, "end_line")),
	        (int)json_integer_value(json_object_get(d, "next_line")));
	json_decref(a);
}

static void test_read(void)
{
	char path[200], args[400];
	snprintf(path, sizeof path, "%s/sub", dir);
	mkdir(path, 0700);
	snprintf(path, sizeof path, "%s/link", dir);
	if (symlink("/etc/passwd", path))
		abort();
	snprintf(path, sizeof path, "%s/sub/up", dir);
	if (symlink("..", path))
		abort();
	file("sub/a.txt", "one\ntwo\nthree\nfour", 18);
	file("b.txt", "one\ntwo\n", 8);
	file("empty", "", 0);
	file("bin", "a\nb\0c\nd\n", 8);
	file("esc", "a\x1b[2Jb\xff\xc3\xa9\n", 10);
	reads("{\"path\":\"sub/a.txt\"}", "one\ntwo\nthree\nfour", 4, 0);
	reads("{\"path\":\"./sub//a.txt\",\"start_line\":2,\"lines\":2}", "two\nthree\n", 3, 4);
	reads("{\"path\":\"sub/a.txt\",\"start_line\":4,\"lines\":1}", "four", 4, 0);
	reads("{\"path\":\"sub/a.txt\",\"start_line\":5}", "", 4, 0);
	reads("{\"path\":\"b.txt\"}", "one\ntwo\n", 2, 0);
	reads("{\"path\":\"b.txt\",\"lines\":2}", "one\ntwo\n", 2, 0);
	reads("{\"path\":\"b.txt\",\"lines\":1}", "one\n", 1, 2);
	reads("{\"path\":\"empty\"}", "", 0, 0);
	reads("{\"path\":\"esc\"}", "a [2Jb \u00e9\n", 1, 0);
	snprintf(args, sizeof args, "{\"path\":\"%s/b.txt\"}", dir);
	reads(args, "one\ntwo\n", 2, 0);
	reads("{\"path\":\"bin\",\"lines\":1}", "a\n", 1, 2);
	bad_args("read", "{\"path\":\"bin\"}", "not text");
	bad_args("read", "{\"path\":\"/etc/passwd\"}", "not inside this mount");
	bad_args("read", "{\"path\":\"../etc/passwd\"}", "not inside this mount");
	bad_args("read", "{\"path\":\"sub/../../x\"}", "not inside this mount");
	bad_args("read", "{\"path\":\"link\"}", "symbolic links");
	bad_args("read", "{\"path\":\"sub/up/b.txt\"}", "");
	bad_args("read", "{\"path\":\"sub\"}", "");
	bad_args("read", "{\"path\":\"none\"}", "");
	bad_args("read", "{\"path\":\".vexfs/ctl\"}", "");
	bad_args("read", "{\"path\":\"\"}", "must not be empty");
	bad_args("read", "{\"path\":\"b.txt\",\"start_line\":0}", "out of range");
	/* a page has a size as well as lines: 3,000 lines of 100 bytes, and one line of 300 KB */
	char *big = malloc(400000);
	for (int i = 0; i < 3000; i++)
		sprintf(big + i * 100, "%099d\n", i);
	file("big", big, 300000);
	json_t *a = call("read", "{\"path\":\"big\",\"lines\":2000}");
	const json_t *d = json_object_get(json_object_get(a, "result"), "structuredContent");
	T_OK(strlen(text_of(a)) == 98300 && json_integer_value(json_object_get(d, "end_line")) == 983 &&
	                json_integer_value(json_object_get(d, "next_line")) == 984,
	        "a page of %zu bytes, whole lines", strlen(text_of(a)));
	json_decref(a);
	memset(big, 'x', 300000);
	memcpy(big + 300000, "\nend\n", 5);
	file("long", big, 300005);
	a = call("read", "{\"path\":\"long\"}");
	d = json_object_get(json_object_get(a, "result"), "structuredContent");
	T_OK(strlen(text_of(a)) == 98304 && json_integer_value(json_object_get(d, "end_line")) == 1 &&
	                json_integer_value(json_object_get(d, "next_line")) == 2,
	        "a line longer than a page is cut");
	json_decref(a);
	reads("{\"path\":\"long\",\"start_line\":2}", "end\n", 2, 0);
	free(big);
}

int main(void)
{
	ops = *os_real()->ops;
	ops.openat = f_openat;
	ops.close = f_close;
	ops.pread = f_pread;
	ops.pwrite = f_pwrite;
	ops.fstatat = f_fstatat;
	os.ops = &ops;
	arena_init(&arena, MEM_misc, 64u << 20);
	if (!mkdtemp(dir))
		return 1;
	T_EQ(mcp_new(os_real(), dir, "1", &m), -VX_ERR_component_off, "a folder that is no mount");
	T_EQ(mcp_new(os_real(), "/nonexistent", "1", &m), -ENOENT, "no folder");
	char slashed[100];
	snprintf(slashed, sizeof slashed, "%s//", dir);
	T_EQ(mcp_new(&os, slashed, "1", &m), 0, "new");
	test_protocol();
	test_list();
	test_search();
	test_read();
	strcpy(told, "{\"pid\":1,\"components\":{}}");
	json_t *a = call("status", "{}");
	T_OK(!failed(a) && strstr(text_of(a), "\"pid\"") && strstr(asked, "\"status\"") &&
	                json_integer_value(json_object_get(
	                        json_object_get(json_object_get(a, "result"), "structuredContent"), "pid")) == 1,
	        "status");
	json_decref(a);
	mcp_free(m);
	mcp_free(NULL);
	T_EQ(mem_used(MEM_server), 0, "nothing left");
	arena_done(&arena);
	char cmd[100];
	snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
	return system(cmd) ? 1 : tap_done();
}
