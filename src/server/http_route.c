/* http_route.c - what a whole request is answered with: MCP messages, queries, metrics, health.
 *
 * MCP over streamable HTTP (modelcontextprotocol.io, revisions 2025-03-26 and 2025-06-18), the answers as JSON, never as a stream: nothing here
 * has anything to say unasked.  A session begins with `initialize`, is named in Mcp-Session-Id, and is forgotten by DELETE, by an hour of
 * silence, or when room is needed. */
#include <jansson.h>
#include <string.h>
#include "query/query.h"
#include "server/http_int.h"
#include "server/mcp_int.h"

#define TEXT_MAX (1u << 20)

static void give(struct http_req *r, unsigned status, const char *type, const char *p, size_t n)
{
	r->status = status;
	r->type = type;
	r->out = mem_alloc(MEM_server, n ? n : 1);
	if (!r->out) {
		r->status = 503;
		n = 0;
	}
	if (n)
		memcpy(r->out, p, n);
	r->out_n = n;
}

void http_say(struct http_req *r, unsigned status, const char *code, const char *text)
{
	char t[400];
	struct sbuf b;
	sbuf_fixed(&b, t, sizeof t);
	sb_str(&b, "{\"error\":{\"code\":");
	sb_json(&b, code, strlen(code));
	sb_str(&b, ",\"message\":");
	sb_json(&b, text, strlen(text));
	sb_str(&b, "}}\n");
	give(r, status, "application/json", b.p, b.n);
}

/* ---- sessions ---- */
static bool session_known(struct http *h, const char *id, bool drop)
{
	uint64_t now = os_mono_ns(h->cfg.os);
	bool known = false;
	pthread_mutex_lock(&h->sessions_lock);
	for (unsigned i = 0; i < HTTP_SESSIONS_MAX && *id && !known; i++) {
		struct http_session *s = &h->session[i];
		if (strcmp(s->id, id))
			continue;
		known = now - s->used_ns < HTTP_SESSION_IDLE_S * 1000000000ull;
		s->used_ns = now;
		if (drop || !known)
			s->id[0] = 0;
	}
	pthread_mutex_unlock(&h->sessions_lock);
	return known;
}

static int session_new(struct http *h, char ret[40])
{
	uint8_t rnd[16];
	struct sbuf b;
	VX_TRY(os_random(h->cfg.os, rnd, sizeof rnd));
	sbuf_fixed(&b, ret, 40);
	for (unsigned i = 0; i < sizeof rnd; i++)
		sb_hex(&b, rnd[i], 2);
	(void)sbuf_cstr(&b); /* ends the text */
	pthread_mutex_lock(&h->sessions_lock);
	struct http_session *s = &h->session[0];
	for (unsigned i = 0; i < HTTP_SESSIONS_MAX && s->id[0]; i++)
		if (!h->session[i].id[0] || h->session[i].used_ns < s->used_ns)
			s = &h->session[i];
	memcpy(s->id, ret, 33);
	s->used_ns = os_mono_ns(h->cfg.os);
	pthread_mutex_unlock(&h->sessions_lock);
	return 0;
}

static void route_mcp(struct http_req *r, struct mcp *m)
{
	struct http *h = r->h;
	struct arena a;
	struct sbuf b;
	if (*r->session && !session_known(h, r->session, false)) {
		http_say(r, 404, "no_session", "that session is not known any more; begin with initialize");
		return;
	}
	m->greeted = *r->session != 0;
	bool was = m->greeted;
	arena_init(&a, MEM_server, 64u << 20);
	int rc = sbuf_arena(&b, &a, 16384, 32u << 20);
	if (rc >= 0)
		rc = mcp_handle(m, r->body ? r->body : "", r->n, &b);
	if (rc >= 0 && m->greeted && !was)
		rc = session_new(h, r->new_session);
	if (rc < 0)
		http_say(r, http_status(rc), err_name(rc), err_text(rc));
	else if (!b.n)
		give(r, 202, "application/json", "", 0); /* a notification */
	else
		/* what came before initialize is refused in JSON-RPC; the transport says so as well */
		give(r, m->greeted || m->early_ok ? 200 : 400, "application/json", b.p, b.n);
	arena_done(&a);
}

static void route_query(struct http_req *r)
{
	struct http *h = r->h;
	int code = 0;
	char *out = NULL;
	size_t n = 0;
	int rc = r->n ? http_ask(h, r->body, r->n, h->cfg.token != NULL, &out, &n, &code) : -VX_ERR_json_syntax;
	if (rc < 0) {
		http_say(r, http_status(rc), err_name(rc), err_text(rc));
		return;
	}
	if (n > HTTP_ANSWER_MAX) {
		mem_free(MEM_server, out);
		http_say(r, 413, "answer_too_large",
		        "the answer is larger than is sent; ask for fewer results or no vectors");
		return;
	}
	r->out = out;
	r->out_n = n;
	r->status = http_status(code);
	r->type = "application/json";
}

static void route_metrics(struct http_req *r)
{
	struct arena a;
	struct sbuf b;
	arena_init(&a, MEM_server, 2 * TEXT_MAX);
	if (sbuf_arena(&b, &a, 16384, TEXT_MAX) >= 0)
		vq_metrics_text(&b, r->h->cfg.e);
	give(r, 200, "text/plain; version=0.0.4; charset=utf-8", b.p, b.n);
	arena_done(&a);
}

/* alive, and can it answer? Says nothing of what is in the mount: whoever restarts a service may ask without a token */
static void route_health(struct http_req *r)
{
	char ask[] = "{\"verb\":\"status\"}", *out = NULL;
	size_t n = 0;
	int code = 0, rc = http_ask(r->h, ask, sizeof ask - 1, false, &out, &n, &code);
	json_t *j = rc >= 0 ? json_loadb(out, n, 0, NULL) : NULL;
	const char *store =
	        json_string_value(json_object_get(json_object_get(json_object_get(j, "components"), "store"), "state"));
	bool bad = rc < 0 || !store || !strcmp(store, "failed");
	json_t *a = json_pack("{s:s,s:s,s:b}", "status", bad ? "failed" : "ok", "store", store ? store : "unknown",
	        "complete", json_is_true(json_object_get(j, "complete")));
	char text[200];
	size_t k = a ? json_dumpb(a, text, sizeof text - 1, JSON_COMPACT) : 0;
	json_decref(a);
	json_decref(j);
	mem_free(MEM_server, out);
	if (!k || k >= sizeof text) {
		http_say(r, 503, "out_of_memory", err_text(-ENOMEM));
		return;
	}
	text[k++] = '\n';
	give(r, bad ? 503 : 200, "application/json", text, k);
}

void http_route(struct http_req *r, struct mcp *m)
{
	switch (r->route) {
	case HTTP_mcp:
		route_mcp(r, m);
		break;
	case HTTP_query:
		route_query(r);
		break;
	case HTTP_metrics:
		route_metrics(r);
		break;
	case HTTP_health:
		route_health(r);
		break;
	case HTTP_none:
		http_say(r, 404, "no_such_path", "there are /mcp, /v1/query, /metrics and /health");
		break;
	}
}

bool http_session_drop(struct http *h, const char *id)
{
	return session_known(h, id, true);
}
