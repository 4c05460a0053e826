/* The endpoint client against a server in this process that behaves as told: what is asked, what is refused, what is asked again. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include "model_files.h"
#include "base/mem.h"
#include "embed/embed.h"

enum act {
	GOOD,
	REVERSED,
	STATUS_500,
	STATUS_503,
	STATUS_429,
	STATUS_401,
	STATUS_400,
	GARBAGE,
	EMPTY,
	HALF,
	HANG_UP,
	SLOW,
	WRONG_DIM,
	TOO_FEW,
	TWICE,
	NAN_WORD,
	NESTED,
	DRIP
};
static struct {
	int fd;
	pthread_t thread;
	_Atomic int act, then_good; /* then_good: after so many answers of `act` (0: never) */
	_Atomic int asked, dim, big_batch;
	_Atomic int auth, stop;
	char last[1 << 16];
} srv;

static void say(int c, const char *status, const char *more, const char *body)
{
	char *out = malloc(strlen(body) + 400);
	int n = sprintf(out, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n%s", status,
	        strlen(body), more, body);
	if (send(c, out, (size_t)n, MSG_NOSIGNAL) < 0)
		puts("# the client went away");
	free(out);
}

/* one vector a text: {number of 'a' in it, its length, 1, 0 …}: the answer to text i can be told from others */
static void answer(int c, const char *body, enum act act)
{
	static char out[1 << 20];
	char vec[64][200];
	int n = 0, at = 0, dim = srv.dim;
	const char *p = strstr(body, "\"input\":[");
	for (p = p ? p + 9 : ""; *p == '"'; p += *p == ',') {
		int a = 0, len = 0;
		for (p++; *p && *p != '"'; p++, len++) {
			p += *p == '\\';
			a += *p == 'a';
		}
		p += *p == '"';
		int k = sprintf(vec[n % 64], "[%d,%d,1", a, len);
		for (int d = 3; d < dim + (act == WRONG_DIM); d++)
			k += sprintf(vec[n % 64] + k, ",0");
		strcpy(vec[n % 64] + k, "]");
		n++;
	}
	if (n > srv.big_batch)
		srv.big_batch = n;
	at = sprintf(out, "{\"object\":\"list\",\"data\":[");
	for (int i = 0; i < n - (act == TOO_FEW); i++) {
		int k = act == REVERSED ? n - 1 - i : i;
		at += sprintf(out + at, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":%s}", i ? "," : "",
		        act == TWICE ? 0 : k, act == NAN_WORD ? "[1,\"NaN\",2]" : vec[k % 64]);
	}
	sprintf(out + at, "],\"model\":\"m\"}");
	if (act == HALF)
		out[strlen(out) / 2] = 0;
	say(c, "200 OK", "", out);
}

static void serve_one(int c)
{
	size_t n = 0, want = SIZE_MAX;
	char *body = NULL;
	while (n < want && n < sizeof srv.last - 1) {
		ssize_t k = recv(c, srv.last + n, sizeof srv.last - 1 - n, 0);
		if (k <= 0)
			return;
		n += (size_t)k;
		srv.last[n] = 0;
		char *end = strstr(srv.last, "\r\n\r\n"), *len = strcasestr(srv.last, "content-length:");
		if (end && len) {
			body = end + 4;
			want = (size_t)(body - srv.last) + strtoul(len + 15, NULL, 10);
		}
	}
	srv.asked++;
	srv.auth = strstr(srv.last, "\r\nAuthorization: Bearer sesame-1\r\n") != NULL;
	enum act act = srv.act;
	if (srv.then_good && --srv.then_good == 0)
		srv.act = GOOD;
	switch (act) {
	case STATUS_500:
		say(c, "500 Oops", "", "{\"error\":\"secret sesame-1\"}");
		break;
	case STATUS_503:
		say(c, "503 Later", "", "");
		break;
	case STATUS_429:
		say(c, "429 Slow down", "Retry-After: 1\r\n", "");
		break;
	case STATUS_401:
		say(c, "401 No", "", "");
		break;
	case STATUS_400:
		say(c, "400 Bad", "", "");
		break;
	case GARBAGE:
		say(c, "200 OK", "", "<html>hello</html>");
		break;
	case EMPTY:
		say(c, "200 OK", "", "");
		break;
	case NESTED: {
		char *deep = malloc(200001);
		memset(deep, '[', 200000);
		deep[200000] = 0;
		say(c, "200 OK", "", deep);
		free(deep);
		break;
	}
	case HANG_UP:
		break;
	case SLOW:
	case DRIP:
		/* until the client gives up */
		while (!srv.stop && (act == SLOW || send(c, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL) > 0)) {
			char b;
			struct timeval tv = {.tv_usec = 20000};
			setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
			if (recv(c, &b, 1, 0) == 0)
				break;
		}
		break;
	case GOOD:
	case REVERSED:
	case HALF:
	case WRONG_DIM:
	case TOO_FEW:
	case TWICE:
	case NAN_WORD:
		answer(c, body, act);
		break;
	}
}
static void *serve(void *u)
{
	(void)u;
	while (!srv.stop) {
		int c = accept(srv.fd, NULL, NULL);
		if (c < 0)
			break;
		serve_one(c);
		shutdown(c, SHUT_WR);
		close(c);
	}
	return NULL;
}

/* time that passes only in sleeps: back-off is counted, not waited for */
static _Atomic uint64_t slept;
static int fake_sleep(struct os *os, uint64_t ns)
{
	(void)os;
	slept += ns;
	return 0;
}

static struct mf_dir dir;
static struct os os;
static struct os_ops ops;
static char url[64];

static struct embed *open_it(const char *more, struct vx_errinfo *e, int *ret_rc, _Atomic int *cancel)
{
	char text[800];
	struct embed *m = NULL;
	struct embed_cfg cfg = {.os = &os, .folder = dir.path, .cancel = cancel};
	snprintf(text, sizeof text, "{\"url\":\"%s\",\"model\":\"m\"%s}", url, more);
	mf_text(&dir, "endpoint.json", text);
	*e = (struct vx_errinfo){0};
	*ret_rc = embed_open(&cfg, &m, e);
	return *ret_rc < 0 ? NULL : m;
}

static int ask(enum act act, int then_good, const char *more, uint32_t n, float *v, struct vx_errinfo *e)
{
	static const char *const words[] = {
	        "banana", "xx", "a b c", "", "quote \" and \\ and \n", "\xc3\xa9\xff\xe2\x82"};
	struct embed_text t[200];
	int rc;
	srv.act = act;
	srv.then_good = then_good;
	srv.asked = srv.big_batch = 0;
	slept = 0;
	struct embed *m = open_it(more, e, &rc, NULL);
	for (uint32_t i = 0; i < n; i++)
		t[i] = (struct embed_text){words[i % 6], strlen(words[i % 6])};
	if (m)
		rc = embed_encode(m, EMBED_document, t, n, v, e);
	embed_close(m);
	return rc;
}

static void test_answers(void)
{
	static float v[200 * 4];
	struct vx_errinfo e;
	T_EQ(ask(GOOD, 0, ",\"dim\":4", 1, v, &e), 0, "one text");
	T_OK(fabsf(v[0] - 3 / sqrtf(46)) < 1e-6f && fabsf(v[1] - 6 / sqrtf(46)) < 1e-6f && v[3] == 0,
	        "its vector, of unit length");
	T_OK(strstr(srv.last, "\"model\":\"m\"") && strstr(srv.last, "\"encoding_format\":\"float\"") && !srv.auth,
	        "what was asked");
	T_EQ(ask(GOOD, 0, ",\"dim\":4,\"batch\":7", 200, v, &e), 0, "200 texts");
	int bad = 0;
	for (int i = 0; i < 200; i += 6)
		bad += fabsf(v[i * 4] - 3 / sqrtf(46)) > 1e-6f;
	T_OK(!bad && srv.big_batch == 7 && srv.asked == 29, "in %d requests of at most %d; %d wrong", (int)srv.asked,
	        (int)srv.big_batch, bad);
	T_EQ(ask(REVERSED, 0, ",\"dim\":4", 6, v, &e), 0, "answers in another order");
	T_OK(fabsf(v[0] - 3 / sqrtf(46)) < 1e-6f && v[4] == 0, "are put where they belong");
	T_EQ(ask(GOOD, 0, "", 1, v, &e), -VX_ERR_missing_key, "dim is not known");
	int rc;
	struct embed *m = open_it("", &e, &rc, NULL);
	T_EQ(embed_info(m).dim, 0, "dim before");
	T_EQ(embed_probe(m, &e), 0, "probe");
	T_EQ(embed_info(m).dim, 4, "dim after");
	T_STR(embed_info(m).name, "m", "name");
	struct embed_text t = {"banana", 6};
	T_EQ(embed_encode(m, EMBED_query, &t, 1, v, &e), 0, "encode after");
	embed_drop(m);
	T_EQ(embed_encode(m, EMBED_query, &t, 1, v, &e), 0, "and after a drop");
	embed_close(m);
	m = open_it(",\"dim\":4,\"query_prefix\":\"search: \",\"text_max\":16", &e, &rc, NULL);
	T_EQ(embed_encode(m, EMBED_query, &t, 1, v, &e), 0, "a query");
	T_OK(strstr(srv.last, "[\"search: banana\"]") != NULL, "has its prefix");
	struct embed_text longer = {"0123456789abcd\xe2\x82\xac rest", 22};
	T_EQ(embed_encode(m, EMBED_document, &longer, 1, v, &e), 0, "a long text");
	T_OK(strstr(srv.last, "[\"0123456789abcd\"]") != NULL, "is cut before the character that does not fit");
	embed_close(m);
}

static void test_failures(void)
{
	static const struct {
		enum act act;
		int then_good;
		const char *more;
		int want, asked;
		uint64_t slept_ms;
		const char *what;
	} c[] = {
	        {STATUS_500, 2, ",\"dim\":4", 0, 3, 1500, "500 twice, then good"},
	        {STATUS_500, 0, ",\"dim\":4,\"retries\":3", -VX_ERR_text_refused, 4, 3500, "500 for ever"},
	        {STATUS_429, 1, ",\"dim\":4", 0, 2, 1000, "429 with Retry-After"},
	        {HANG_UP, 1, ",\"dim\":4", 0, 2, 500, "hangs up, then good"},
	        {HANG_UP, 0, ",\"dim\":4,\"retries\":1", -ECONNRESET, 2, 500, "hangs up"},
	        {SLOW, 0, ",\"dim\":4,\"retries\":1,\"timeout_ms\":80", -ETIMEDOUT, 2, 500, "never answers"},
	        {DRIP, 0, ",\"dim\":4,\"retries\":0,\"timeout_ms\":80", -ETIMEDOUT, 1, 0, "answers without end"},
	        {STATUS_401, 0, ",\"dim\":4", -EACCES, 1, 0, "401"},
	        {STATUS_503, 0, ",\"dim\":4,\"retries\":1", -EAGAIN, 2, 500, "503 for ever"},
	        {STATUS_400, 0, ",\"dim\":4", -VX_ERR_text_refused, 1, 0, "400"},
	        {GARBAGE, 0, ",\"dim\":4", -EPROTO, 1, 0, "no JSON"},
	        {EMPTY, 0, ",\"dim\":4", -EPROTO, 1, 0, "an empty answer"},
	        {HALF, 0, ",\"dim\":4", -EPROTO, 1, 0, "half an answer"},
	        {NESTED, 0, ",\"dim\":4", -EPROTO, 1, 0, "200,000 brackets"},
	        {WRONG_DIM, 0, ",\"dim\":4", -VX_ERR_dim_mismatch, 1, 0, "vectors of another length"},
	        {TOO_FEW, 0, ",\"dim\":4", -EPROTO, 1, 0, "too few vectors"},
	        {TWICE, 0, ",\"dim\":4", -EPROTO, 1, 0, "one index twice"},
	        {NAN_WORD, 0, ",\"dim\":3", -VX_ERR_text_refused, 1, 0, "a word among the numbers"},
	};
	static float v[40];
	struct vx_errinfo e;
	for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
		int rc = ask(c[i].act, c[i].then_good, c[i].more, 5, v, &e);
		T_OK(rc == c[i].want && srv.asked == c[i].asked && slept / 1000000 == c[i].slept_ms,
		        "%s: %s after %d requests and %d ms of pauses (%s)", c[i].what, err_name(rc), (int)srv.asked,
		        (int)(slept / 1000000), e.detail);
		T_OK(!strstr(e.detail, "sesame"), "the message repeats nothing of the answer");
	}
}

static void test_config(void)
{
	static const struct {
		const char *text;
		int want;
	} c[] = {
	        {"{\"url\":\"http://127.0.0.1:9/v1\"}", -VX_ERR_bad_value},
	        {"{\"model\":\"m\"}", -VX_ERR_bad_value},
	        {"{\"url\":\"\",\"model\":\"m\"}", -VX_ERR_bad_value},
	        {"{\"url\":\"file:///etc/passwd\",\"model\":\"m\"}", -VX_ERR_bad_value},
	        {"{\"url\":\"gopher://x\",\"model\":\"m\"}", -VX_ERR_bad_value},
	        {"{\"url\":\"http://127.0.0.1:9/v1\",\"model\":\"m\",\"dims\":4}", -VX_ERR_unknown_key},
	        {"{\"url\":\"http://127.0.0.1:9/v1\",\"model\":\"m\",\"dim\":0}", -VX_ERR_bad_value},
	        {"{\"url\":\"http://127.0.0.1:9/v1\",\"model\":\"m\",\"batch\":100000}", -VX_ERR_bad_value},
	        {"{\"url\":\"http://example.com/v1\",\"model\":\"m\",\"key_file\":\"k\"}", -VX_ERR_bad_value},
	        {"{\"url\":\"http://localhost.example.com/v1\",\"model\":\"m\",\"key_file\":\"k\"}", -VX_ERR_bad_value},
	        {"{\"url\":\"http://localhost:80@example.com/v1\",\"model\":\"m\",\"key_file\":\"k\"}",
	                -VX_ERR_bad_value},
	        {"{\"url\":\"https://example.com/v1\",\"model\":\"m\",\"key_file\":\"k\"}", 0},
	        {"{\"url\":\"http://[::1]:80/v1\",\"model\":\"m\",\"key_file\":\"k\"}", 0},
	        {"[", -VX_ERR_json_syntax},
	};
	struct embed_cfg cfg = {.os = &os, .folder = dir.path};
	struct vx_errinfo e;
	for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
		struct embed *m = NULL;
		mf_text(&dir, "endpoint.json", c[i].text);
		e = (struct vx_errinfo){0};
		int rc = embed_open(&cfg, &m, &e);
		T_OK(rc == c[i].want, "%s: %s (%s)", c[i].text, err_name(rc), e.detail);
		embed_close(m);
	}
}

static void test_key(void)
{
	static float v[8];
	struct vx_errinfo e;
	mf_text(&dir, "k", "sesame-1\r\n");
	T_EQ(ask(GOOD, 0, ",\"dim\":4,\"key_file\":\"k\"", 1, v, &e), 0, "with a key");
	T_OK(srv.auth, "it was sent");
	mf_text(&dir, "k", "two\r\nX-Evil: 1");
	T_EQ(ask(GOOD, 0, ",\"dim\":4,\"key_file\":\"k\"", 1, v, &e), -VX_ERR_bad_value, "a key with a line break");
	T_EQ(srv.asked, 0, "is not sent");
	mf_text(&dir, "k", "\n");
	T_EQ(ask(GOOD, 0, ",\"dim\":4,\"key_file\":\"k\"", 1, v, &e), -VX_ERR_bad_value, "an empty key");
	T_EQ(ask(GOOD, 0, ",\"dim\":4,\"key_file\":\"none\"", 1, v, &e), -ENOENT, "no key file");
}

static void *cancel_soon(void *u)
{
	while (!srv.asked)
		sched_yield();
	*(_Atomic int *)u = 1;
	return NULL;
}

int main(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t an = sizeof a;
	struct vx_errinfo e;
	float v[4];
	int rc;
	srv.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	srv.dim = 4;
	if (bind(srv.fd, (struct sockaddr *)&a, sizeof a) || listen(srv.fd, 16) ||
	        getsockname(srv.fd, (struct sockaddr *)&a, &an) || pthread_create(&srv.thread, NULL, serve, NULL))
		return 1;
	snprintf(url, sizeof url, "http://127.0.0.1:%d/v1/embeddings", ntohs(a.sin_port));
	ops = *os_real()->ops;
	ops.sleep_ns = fake_sleep;
	os.ops = &ops;
	dir = mf_dir_new();
	test_answers();
	test_failures();
	test_config();
	test_key();
	/* cancelled while the server is silent: long before the time limit */
	_Atomic int stop = 0;
	pthread_t th;
	srv.act = SLOW;
	srv.then_good = srv.asked = 0;
	struct embed *m = open_it(",\"dim\":4,\"timeout_ms\":60000", &e, &rc, &stop);
	struct embed_text t = {"x", 1};
	pthread_create(&th, NULL, cancel_soon, &stop);
	T_EQ(embed_encode(m, EMBED_document, &t, 1, v, &e), -VX_ERR_cancelled, "cancelled");
	pthread_join(th, NULL);
	embed_close(m);
	/* nobody listens there any more */
	srv.stop = 1;
	shutdown(srv.fd, SHUT_RDWR);
	close(srv.fd);
	pthread_join(srv.thread, NULL);
	slept = 0;
	m = open_it(",\"dim\":4,\"retries\":2", &e, &rc, NULL);
	T_EQ(embed_encode(m, EMBED_document, &t, 1, v, &e), -ECONNREFUSED, "the server is down");
	T_EQ(slept / 1000000, 1500, "pauses in ms");
	embed_close(m);
	T_EQ(mem_used(MEM_text), 0, "nothing left");
	mf_dir_done(&dir);
	return tap_done();
}
