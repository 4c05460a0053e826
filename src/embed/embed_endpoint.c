/* embed_endpoint.c - a model behind an OpenAI-compatible /v1/embeddings endpoint (Ollama, llama.cpp's server, vLLM, …) by libcurl.
 *
 * The folder holds endpoint.json and nothing else is needed:
 *   {"url": "http://127.0.0.1:11434/v1/embeddings", "model": "nomic-embed-text", "dim": 768,
 *    "key_file": "/etc/vexfs/key", "batch": 32, "timeout_ms": 30000, "retries": 4, "text_max": 8000,
 *    "query_prefix": "", "document_prefix": ""}
 * url and model must be there.  "dim" spares the first question; a server that answers with another length is refused, for vectors of two
 * lengths are vectors of two models.
 *
 * A request that fails for a passing reason (no connection, time limit, 408, 425, 429, 5xx) is repeated after 0.5, 1, 2, 4 … s, at
 * most 30 s, or what Retry-After says up to 60 s.  Status 400, 413 and 422, a 500 that does not pass, and a vector that holds no number (servers
 * say null for NaN) may be the text's fault: VX_ERR_text_refused.  The key goes out only over https or to this machine, is read anew at each load, and
 * is in no message.  No redirect is followed. */
#include "embed/curl_dl.h"
#include <math.h>
#include <string.h>
#include "base/sbuf.h"
#include "embed/embed_int.h"

#define ANSWER_MAX  (64u << 20)
#define KEY_MAX     4096u
#define WAIT_MAX_NS 30000000000ull
#define SLICE_NS    50000000ull /* how soon a cancel is seen */

struct bytes {
	char *p;
	size_t n, cap, max;
	bool over;
};
struct endpoint {
	char *url, *model, *key_file;
	uint32_t batch, timeout_ms, retries, text_max;
	/* loaded */
	CURL *curl;
	struct curl_slist *headers;
	struct bytes ask, answer;
	uint64_t retry_after_s;
	struct embed *m;
};

static const char *const files[] = {"endpoint.json", NULL};

static int bytes_add(struct bytes *b, const void *p, size_t n)
{
	if (n > b->max - b->n) {
		b->over = true;
		return -E2BIG;
	}
	if (b->n + n > b->cap) {
		size_t cap = b->cap ? b->cap : 4096;
		while (cap < b->n + n)
			cap *= 2;
		char *q = mem_realloc(MEM_text, b->p, cap);
		if (!q)
			return -ENOMEM;
		b->p = q;
		b->cap = cap;
	}
	memcpy(b->p + b->n, p, n);
	b->n += n;
	return 0;
}

static void bytes_free(struct bytes *b)
{
	mem_free(MEM_text, b->p);
	*b = (struct bytes){0};
}

static int to_bytes(const char *p, size_t n, void *u)
{
	return bytes_add(u, p, n) < 0 ? -1 : 0;
}

/* is the url's host this machine? Then a key may go over plain http. */
bool emb_is_loopback(const char *url)
{
	if (emb_curl_init(NULL) < 0)
		return false;
	CURLU *u = curl_url();
	char *host = NULL;
	bool is = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
	          curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK && host &&
	          (!strcmp(host, "localhost") || !strncmp(host, "127.", 4) || !strcmp(host, "[::1]"));
	curl_free(host);
	curl_url_cleanup(u);
	return is;
}

static int take_string(const json_t *j, const char *key, bool must, char **ret, struct vx_errinfo *reterr)
{
	const json_t *v = json_object_get(j, key);
	if (!v && !must) {
		*ret = NULL;
		return 0;
	}
	if (!json_is_string(v) || json_string_length(v) > 4096 || (must && !json_string_length(v)))
		return emb_fail(reterr, -VX_ERR_bad_value, "endpoint.json: not a string of 1 to 4096 bytes", key);
	*ret = mem_strdup(MEM_text, json_string_value(v));
	return *ret ? 0 : -ENOMEM;
}

static int read_config(struct embed *m, struct endpoint *e, json_t *j, struct vx_errinfo *reterr)
{
	static const char *const known[] = {"url", "model", "dim", "key_file", "batch", "timeout_ms", "retries",
	        "text_max", "query_prefix", "document_prefix"};
	const char *key;
	json_t *v;
	int64_t dim, batch, timeout, retries, text_max;
	json_object_foreach(j, key, v)
	{
		bool is = false;
		for (size_t i = 0; i < sizeof known / sizeof *known; i++)
			is |= !strcmp(key, known[i]);
		if (!is)
			return emb_fail(reterr, -VX_ERR_unknown_key, "endpoint.json", key);
	}
	VX_TRY(take_string(j, "url", true, &e->url, reterr));
	VX_TRY(take_string(j, "model", true, &e->model, reterr));
	VX_TRY(take_string(j, "key_file", false, &e->key_file, reterr));
	VX_TRY(take_string(j, "document_prefix", false, &m->prefix[EMBED_document], reterr));
	VX_TRY(take_string(j, "query_prefix", false, &m->prefix[EMBED_query], reterr));
	VX_TRY(emb_json_int(j, "dim", 1, EMBED_DIM_MAX, 0, &dim, reterr));
	VX_TRY(emb_json_int(j, "batch", 1, 2048, 32, &batch, reterr));
	VX_TRY(emb_json_int(j, "timeout_ms", 1, 600000, 30000, &timeout, reterr));
	VX_TRY(emb_json_int(j, "retries", 0, 20, 4, &retries, reterr));
	VX_TRY(emb_json_int(j, "text_max", 16, 1 << 20, 8000, &text_max, reterr));
	bool https = !strncmp(e->url, "https://", 8);
	if (!https && strncmp(e->url, "http://", 7))
		return emb_fail(reterr, -VX_ERR_bad_value,
		        "endpoint.json: url begins with neither http:// nor https://", e->url);
	if (e->key_file && !https && !emb_is_loopback(e->url))
		return emb_fail(reterr, -VX_ERR_bad_value,
		        "endpoint.json: a key goes only over https or to this machine", e->url);
	m->info.dim = (uint32_t)dim;
	m->info.tokens_max = 0;
	e->batch = (uint32_t)batch;
	e->timeout_ms = (uint32_t)timeout;
	e->retries = (uint32_t)retries;
	e->text_max = (uint32_t)text_max;
	size_t n = strlen(e->model) < EMBED_NAME_MAX ? strlen(e->model) : EMBED_NAME_MAX - 1;
	memcpy(m->info.name, e->model, n);
	m->info.name[n] = 0;
	return 0;
}

static int endpoint_open(struct embed *m, struct vx_errinfo *reterr)
{
	json_t *j;
	VX_TRY(emb_curl_init(reterr));
	struct endpoint *e = mem_zalloc(MEM_text, sizeof *e);
	if (!e)
		return -ENOMEM;
	m->state = e;
	e->m = m;
	VX_TRY(emb_json_file(m->os, m->dirfd, "endpoint.json", &j, reterr));
	int rc = read_config(m, e, j, reterr);
	json_decref(j);
	return rc;
}

static void endpoint_close(struct embed *m)
{
	struct endpoint *e = m->state;
	mem_free(MEM_text, e->url);
	mem_free(MEM_text, e->model);
	mem_free(MEM_text, e->key_file);
	mem_free(MEM_text, e);
	m->state = NULL;
}

static size_t on_body(char *p, size_t one, size_t n, void *u)
{
	struct endpoint *e = u;
	return bytes_add(&e->answer, p, one * n) < 0 ? 0 : one * n; /* less than n stops the transfer */
}

static size_t on_header(char *p, size_t one, size_t n, void *u)
{
	static const char name[] = "retry-after:";
	struct endpoint *e = u;
	size_t at = sizeof name - 1;
	uint64_t v;
	if (one * n > at && !strncasecmp(p, name, at)) {
		while (at < one * n && p[at] == ' ')
			at++;
		if (num_u64(p + at, one * n - at, &v) > 0) /* a date instead of seconds is left alone */
			e->retry_after_s = v;
	}
	return one * n;
}

static int on_progress(void *u, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	(void)a, (void)b, (void)c, (void)d; /* only whether to go on is of interest */
	return emb_cancelled(((struct endpoint *)u)->m);
}

static int add_header(struct endpoint *e, const char *text)
{
	struct curl_slist *l = curl_slist_append(e->headers, text);
	if (!l)
		return -ENOMEM;
	e->headers = l;
	return 0;
}

static int add_key(struct embed *m, struct endpoint *e, struct vx_errinfo *reterr)
{
	char *key, *line;
	size_t n;
	int rc = emb_read_file(m->os, m->dirfd, e->key_file, KEY_MAX, &key, &n);
	if (rc < 0)
		return emb_fail(reterr, rc, "cannot read the key file", e->key_file);
	while (n && (key[n - 1] == '\n' || key[n - 1] == '\r' || key[n - 1] == ' '))
		n--;
	bool good = n > 0;
	for (size_t i = 0; i < n; i++)
		good &= key[i] > 0x20 && key[i] < 0x7f;
	line = good ? mem_alloc(MEM_text, n + 32) : NULL;
	if (line) {
		struct sbuf b;
		sbuf_fixed(&b, line, n + 32);
		sb_str(&b, "Authorization: Bearer ");
		sb_bytes(&b, key, n);
		rc = add_header(e, sbuf_cstr(&b));
		explicit_bzero(line, n + 32);
	} else {
		rc = good ? -ENOMEM
		          : emb_fail(reterr, -VX_ERR_bad_value, "the key file holds no key of printable characters",
		                    e->key_file);
	}
	explicit_bzero(key, n);
	mem_free(MEM_text, line);
	mem_free(MEM_text, key);
	return rc;
}

static void endpoint_unload(struct embed *m)
{
	struct endpoint *e = m->state;
	if (e->curl)
		curl_easy_cleanup(e->curl);
	curl_slist_free_all(e->headers);
	e->curl = NULL;
	e->headers = NULL;
	bytes_free(&e->ask);
	bytes_free(&e->answer);
}

static int endpoint_load(struct embed *m, struct vx_errinfo *reterr)
{
	struct endpoint *e = m->state;
	e->ask.max = e->answer.max = ANSWER_MAX;
	e->curl = curl_easy_init();
	int rc = e->curl ? add_header(e, "Content-Type: application/json") : -ENOMEM;
	if (rc >= 0)
		rc = add_header(e, "Expect:"); /* no waiting for "100 Continue" */
	if (rc >= 0 && e->key_file)
		rc = add_key(m, e, reterr);
	if (rc < 0) {
		endpoint_unload(m);
		return rc;
	}
	CURL *c = e->curl;
	curl_easy_setopt(c, CURLOPT_URL, e->url);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_HTTPHEADER, e->headers);
	curl_easy_setopt(c, CURLOPT_USERAGENT, "vexfs");
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)(e->timeout_ms < 5000 ? e->timeout_ms : 5000));
	curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)e->timeout_ms);
	curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(c, CURLOPT_WRITEDATA, e);
	curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(c, CURLOPT_HEADERDATA, e);
	curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(c, CURLOPT_XFERINFODATA, e);
	curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	if (emb_is_loopback(e->url))
		curl_easy_setopt(c, CURLOPT_NOPROXY, "*"); /* a proxy cannot reach this machine's own server */
	return 0;
}

/* texts must be UTF-8 and of bounded length: invalid bytes are left out, and the last character is not torn */
static size_t clean_copy(char *ret, const char *p, size_t n, size_t max)
{
	size_t at = 0, out = 0;
	while (at < n && out < max) {
		uint8_t c = (uint8_t)p[at];
		size_t len = c < 0x80                 ? 1
		             : c >= 0xc2 && c <= 0xdf ? 2
		             : (c & 0xf0) == 0xe0     ? 3
		             : c >= 0xf0 && c <= 0xf4 ? 4
		                                      : 0;
		bool good = len && len <= n - at && c != 0;
		for (size_t i = 1; good && i < len; i++)
			good = (p[at + i] & 0xc0) == 0x80;
		if (good && len == 3)
			good = !(c == 0xe0 && (uint8_t)p[at + 1] < 0xa0) && !(c == 0xed && (uint8_t)p[at + 1] > 0x9f);
		if (good && len == 4)
			good = !(c == 0xf0 && (uint8_t)p[at + 1] < 0x90) && !(c == 0xf4 && (uint8_t)p[at + 1] > 0x8f);
		if (!good) {
			at++;
			continue;
		}
		if (out + len > max)
			break;
		memcpy(ret + out, p + at, len);
		out += len;
		at += len;
	}
	return out;
}

static int build_ask(struct endpoint *e, const struct embed_text *t, uint32_t n)
{
	json_t *j = json_object(), *input = json_array();
	char *copy = mem_alloc(MEM_text, e->text_max);
	int bad = !j || !input || !copy;
	for (uint32_t i = 0; i < n && !bad; i++) {
		size_t k = clean_copy(copy, t[i].p, t[i].n, e->text_max);
		bad = json_array_append_new(
		        input, k ? json_stringn(copy, k) : json_string(" ")); /* servers refuse an empty text */
	}
	if (!bad)
		bad = json_object_set_new(j, "model", json_string(e->model)) || json_object_set(j, "input", input) ||
		      json_object_set_new(j, "encoding_format", json_string("float"));
	e->ask.n = 0;
	e->ask.over = false;
	if (!bad)
		bad = json_dump_callback(j, to_bytes, &e->ask, JSON_COMPACT);
	json_decref(input);
	json_decref(j);
	mem_free(MEM_text, copy);
	return !bad ? 0 : e->ask.over ? -E2BIG : -ENOMEM;
}

/* is it worth asking again? */
static int judge(CURLcode cc, long status, bool *ret_again)
{
	*ret_again = false;
	switch ((int)cc) {
	case CURLE_OK:
		break;
	case CURLE_ABORTED_BY_CALLBACK:
		return -VX_ERR_cancelled;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_OPERATION_TIMEDOUT:
		*ret_again = true;
		return -ETIMEDOUT;
	case CURLE_COULDNT_CONNECT:
		*ret_again = true;
		return -ECONNREFUSED;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		*ret_again = true;
		return -EHOSTUNREACH;
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_PARTIAL_FILE:
		*ret_again = true;
		return -ECONNRESET;
	default:
		return -EPROTO;
	}
	if (status == 200)
		return 0;
	*ret_again = status == 408 || status == 425 || status == 429 || status >= 500;
	switch (status) {
	case 401:
	case 403:
		return -EACCES;
	case 404:
		return -ENOENT;
	case 400: /* too long, for most; llama.cpp and Ollama have said 500 of that */
	case 413:
	case 422:
	case 500:
		return -VX_ERR_text_refused;
	default:
		return *ret_again ? -EAGAIN : -EPROTO;
	}
}

/* what the server says went wrong, without what it may echo of ours: the status and its first words */
static int refuse(struct endpoint *e, int rc, CURLcode cc, long status, struct vx_errinfo *reterr)
{
	char text[96];
	struct sbuf b;
	sbuf_fixed(&b, text, sizeof text);
	if (cc != CURLE_OK) {
		const char *s = curl_easy_strerror(cc);
		sb_bytes(&b, s, strlen(s) < 80 ? strlen(s) : 80);
	} else {
		sb_str(&b, "HTTP status ");
		sb_u64(&b, (uint64_t)status);
	}
	(void)e; /* the body is not shown: it may repeat the request */
	return emb_fail(reterr, rc, rc == -VX_ERR_text_refused ? "the endpoint refused" : "the endpoint did not answer",
	        sbuf_cstr(&b));
}

static int wait_ns(struct embed *m, uint64_t ns)
{
	while (ns) {
		uint64_t k = ns < SLICE_NS ? ns : SLICE_NS;
		if (emb_cancelled(m))
			return -VX_ERR_cancelled;
		int rc = os_sleep_ns(m->os, k);
		if (rc < 0 && rc != -EINTR)
			return rc;
		ns -= k;
	}
	return 0;
}

/* one request, repeated while that may help */
static int ask(struct embed *m, struct endpoint *e, struct vx_errinfo *reterr)
{
	uint64_t pause = 500000000;
	CURL *c = e->curl;
	for (uint32_t tries = 0;; tries++) {
		long status = 0;
		bool again;
		e->answer.n = 0;
		e->answer.over = false;
		e->retry_after_s = 0;
		curl_easy_setopt(c, CURLOPT_POSTFIELDS, e->ask.p);
		curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)e->ask.n);
		CURLcode cc = curl_easy_perform(c);
		curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
		if (cc == CURLE_WRITE_ERROR && e->answer.over)
			return emb_fail(reterr, -E2BIG, "the endpoint's answer is larger than 64 MiB", NULL);
		int rc = judge(cc, status, &again);
		if (rc >= 0)
			return 0;
		if (!again || tries == e->retries)
			return refuse(e, rc, cc, status, reterr);
		uint64_t ns = pause;
		if (e->retry_after_s)
			ns = (e->retry_after_s < 60 ? e->retry_after_s : 60) * 1000000000ull;
		VX_TRY(wait_ns(m, ns));
		pause = pause * 2 < WAIT_MAX_NS ? pause * 2 : WAIT_MAX_NS;
	}
}

static int one_row(struct embed *m, const json_t *v, float *ret, struct vx_errinfo *reterr)
{
	size_t n = json_array_size(v), i;
	const json_t *x;
	if (!json_is_array(v) || !n || n > EMBED_DIM_MAX)
		return emb_fail(reterr, -EPROTO, "the endpoint's answer holds no vector of 1 to 4096 numbers", NULL);
	if (!m->info.dim)
		m->info.dim = (uint32_t)n;
	if (n != m->info.dim)
		return emb_fail(reterr, -VX_ERR_dim_mismatch, "the endpoint answers with vectors of another length",
		        m->info.name);
	json_array_foreach(v, i, x)
	{
		if (!json_is_number(x) || !isfinite(json_number_value(x)))
			return emb_fail(
			        reterr, -VX_ERR_text_refused, "the endpoint's vector holds what is no number", NULL);
		ret[i] = (float)json_number_value(x);
	}
	return 0;
}

static int read_answer(struct embed *m, struct endpoint *e, uint32_t n, float *ret, struct vx_errinfo *reterr)
{
	json_t *j = NULL;
	const json_t *row;
	size_t i;
	uint8_t seen[2048 / 8] = {0};
	int rc = emb_json_text(e->answer.p ? e->answer.p : "", e->answer.n, "the endpoint's answer", &j, reterr);
	if (rc < 0)
		return -EPROTO;
	const json_t *data = json_object_get(j, "data");
	if (!json_is_array(data) || json_array_size(data) != n)
		rc = emb_fail(reterr, -EPROTO, "the endpoint did not answer with one vector a text", NULL);
	for (i = 0; rc >= 0 && i < n; i++) {
		row = json_array_get(data, i);
		const json_t *index = json_object_get(row, "index");
		json_int_t k = index ? json_integer_value(index) : (json_int_t)i;
		if ((index && !json_is_integer(index)) || k < 0 || k >= n || (seen[k >> 3] >> (k & 7) & 1))
			rc = emb_fail(reterr, -EPROTO, "the endpoint's answer numbers its vectors wrongly", NULL);
		if (rc < 0)
			break;
		seen[k >> 3] |= (uint8_t)(1 << (k & 7));
		rc = one_row(m, json_object_get(row, "embedding"), ret + (size_t)k * m->info.dim, reterr);
	}
	json_decref(j);
	return rc;
}

static int endpoint_encode(
        struct embed *m, const struct embed_text *t, uint32_t n, float *ret, struct vx_errinfo *reterr)
{
	struct endpoint *e = m->state;
	for (uint32_t i = 0; i < n; i += e->batch) {
		uint32_t k = n - i < e->batch ? n - i : e->batch;
		VX_TRY(build_ask(e, t + i, k));
		VX_TRY(ask(m, e, reterr));
		VX_TRY(read_answer(m, e, k, ret + (size_t)i * m->info.dim, reterr));
	}
	return 0;
}

const struct embed_ops embed_endpoint_ops = {
        endpoint_open, endpoint_close, endpoint_load, endpoint_unload, endpoint_encode, files};
