/* http.c - connections: libmicrohttpd's parser and sockets, driven from one thread of ours; requests that are whole go to a few workers.
 *
 *     vx-http     polls, parses, checks who asks, collects bodies; never waits for the mount
 *     vx-httpw-N  answer: they ask the engine and read files, and hand the connection back (MHD_resume_connection)
 *
 * While a worker has a request its connection is suspended, so each request has one owner at any time.  Bounds: connections, body, and time: a
 * client that does not finish its request, or does not take its answer, within slow_ms loses the connection; the library's own time limit
 * begins anew with each byte, so the slots' clocks decide.  At the end: workers first (each hands its request back), then the poller, then
 * the daemon, which wants no suspended connection. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "server/http_int.h"
#include "server/mhd_dl.h"

#define POLLER_STACK (256u << 10)
#define WORKER_STACK (256u << 10)
#define TICK_MS      500

#if MHD_VERSION >= 0x00097002
typedef enum MHD_Result answer_t;
#else
typedef int answer_t;
#endif

/* ---- connections ---- */
static struct http_slot *slot_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	return i ? i->socket_context : NULL;
}
static void slot_turn(struct http *h, struct MHD_Connection *c, bool busy)
{
	struct http_slot *s = slot_of(c);
	if (!s)
		return;
	s->busy = busy;
	s->since_ns = os_mono_ns(h->cfg.os);
}
static void on_connection(void *u, struct MHD_Connection *c, void **ctx, enum MHD_ConnectionNotificationCode what)
{
	struct http *h = u;
	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		struct http_slot *s = *ctx;
		if (s)
			s->fd = -1;
		*ctx = NULL;
		return;
	}
	const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	for (unsigned k = 0; i && k < HTTP_CONNECTIONS_MAX; k++) {
		if (h->slot[k].fd >= 0)
			continue;
		h->slot[k] = (struct http_slot){i->connect_fd, false, os_mono_ns(h->cfg.os)};
		*ctx = &h->slot[k];
		return;
	}
}
/* who has had the turn for too long */
static void end_slow(struct http *h)
{
	uint64_t now = os_mono_ns(h->cfg.os);
	for (unsigned i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
		struct http_slot *s = &h->slot[i];
		if (s->fd < 0 || s->busy || now - s->since_ns < h->cfg.slow_ms * 1000000ull)
			continue;
		(void)shutdown(s->fd, SHUT_RDWR); /* the library sees its end and closes it */
		s->since_ns = now;
	}
}

/* ---- requests ---- */
static void req_free(struct http_req *r)
{
	if (!r)
		return;
	mem_free(MEM_server, r->body);
	mem_free(MEM_server, r->out);
	mem_free(MEM_server, r);
}

static void free_out(void *p)
{
	mem_free(MEM_server, p);
}

static answer_t reply(struct http_req *r)
{
	struct MHD_Response *a = MHD_create_response_from_buffer_with_free_callback(r->out_n, r->out, free_out);
	if (!a)
		return MHD_NO;
	r->out = NULL; /* the response's now */
	int good = MHD_add_response_header(a, "X-Content-Type-Options", "nosniff") == MHD_YES &&
	           MHD_add_response_header(a, "Cache-Control", "no-store") == MHD_YES;
	if (r->type)
		good = good && MHD_add_response_header(a, "Content-Type", r->type) == MHD_YES;
	if (*r->new_session)
		good = good && MHD_add_response_header(a, "Mcp-Session-Id", r->new_session) == MHD_YES;
	if (r->status == 401)
		good = good && MHD_add_response_header(a, "WWW-Authenticate", "Bearer") == MHD_YES;
	if (r->status == 405)
		good = good && MHD_add_response_header(a, "Allow",
		                       r->route == HTTP_mcp     ? "POST, DELETE"
		                       : r->route == HTTP_query ? "POST"
		                                                : "GET") == MHD_YES;
	answer_t rc = good ? MHD_queue_response(r->conn, r->status, a) : MHD_NO;
	MHD_destroy_response(a);
	r->answered = true;
	slot_turn(r->h, r->conn, false);
	return rc;
}
static answer_t refuse(struct http_req *r, unsigned status, const char *code, const char *text)
{
	http_say(r, status, code, text);
	return reply(r);
}

static enum http_route route_of(const char *url)
{
	return !strcmp(url, "/mcp")        ? HTTP_mcp
	       : !strcmp(url, "/v1/query") ? HTTP_query
	       : !strcmp(url, "/metrics")  ? HTTP_metrics
	       : !strcmp(url, "/health")   ? HTTP_health
	                                   : HTTP_none;
}
/* "application/json; charset=utf-8" is application/json */
static bool is_json(const char *type)
{
	size_t n = type ? strcspn(type, "; \t") : 0;
	return n == 16 && !strncasecmp(type, "application/json", 16);
}
static bool known_revision(const char *v)
{
	return !v || !strcmp(v, "2025-06-18") || !strcmp(v, "2025-03-26") || !strcmp(v, "2024-11-05");
}
static const char *header(struct http_req *r, const char *name)
{
	return MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name);
}

/* what can be said from the headers alone. 0: go on; else the refusal's status, the rest through pointers */
static unsigned headers_wrong(struct http_req *r, const char *method, const char **code, const char **text)
{
	struct http *h = r->h;
	const char *length = header(r, "Content-Length"), *session = header(r, "Mcp-Session-Id");
	bool post = !strcmp(method, "POST"), get = !strcmp(method, "GET") || !strcmp(method, "HEAD");
	uint64_t n = 0;
	*code = "forbidden";
	*text = "this Host is not served here: use localhost, 127.0.0.1 or [::1]";
	if (!http_host_fits(header(r, "Host"), h->cfg.token != NULL))
		return 403;
	*text = "pages of other origins are not answered";
	if (!http_origin_fits(header(r, "Origin")))
		return 403;
	*code = "no_such_path";
	*text = "there are /mcp, /v1/query, /metrics and /health";
	if (r->route == HTTP_none)
		return 404;
	*code = "unauthorized";
	*text = "a bearer token is needed";
	if (h->cfg.token && r->route != HTTP_health && !http_token_fits(header(r, "Authorization"), h->cfg.token))
		return 401;
	*code = "method";
	*text = "this path does not take that method";
	bool body = r->route == HTTP_mcp || r->route == HTTP_query;
	if (body ? !post && !(r->route == HTTP_mcp && !strcmp(method, "DELETE")) : !get)
		return 405;
	*code = "media_type";
	*text = "the body is application/json";
	if (post && !is_json(header(r, "Content-Type")))
		return 415;
	*code = "too_large";
	*text = "the body is larger than is taken";
	if (length && (num_u64(length, strlen(length), &n) != (int)strlen(length) ||
	                      n > (r->route == HTTP_mcp ? MCP_MESSAGE_MAX : HTTP_BODY_MAX)))
		return 413;
	*code = "revision";
	*text = "this MCP-Protocol-Version is not spoken here";
	if (r->route == HTTP_mcp && !known_revision(header(r, "MCP-Protocol-Version")))
		return 400;
	*code = "no_session";
	*text = "that session is not known; begin with initialize";
	if (session && strlen(session) >= sizeof r->session)
		return 404;
	if (session)
		memcpy(r->session, session, strlen(session) + 1);
	return 0;
}

static answer_t begin(struct http *h, struct MHD_Connection *c, const char *url, const char *method, void **ctx)
{
	const char *code, *text;
	struct http_req *r = mem_zalloc(MEM_server, sizeof *r);
	if (!r)
		return MHD_NO;
	*ctx = r;
	r->h = h;
	r->conn = c;
	r->route = route_of(url);
	slot_turn(h, c, false); /* time for the body */
	unsigned status = headers_wrong(r, method, &code, &text);
	if (status)
		return refuse(r, status, code, text);
	if (!strcmp(method, "DELETE")) {
		if (!http_session_drop(h, r->session))
			return refuse(r, 404, "no_session", "there is no such session");
		r->status = 204;
		return reply(r);
	}
	return MHD_YES;
}

static void take(struct http_req *r, const char *p, size_t n)
{
	size_t max = r->route == HTTP_mcp ? MCP_MESSAGE_MAX : HTTP_BODY_MAX;
	if (r->too_large || n > max - r->n) {
		r->too_large = true;
		return;
	}
	if (r->n + n + 1 > r->cap) {
		size_t cap = (r->n + n) * 2 + 1024;
		char *q = mem_realloc(MEM_server, r->body, cap);
		if (!q) {
			r->too_large = true;
			return;
		}
		r->body = q;
		r->cap = cap;
	}
	memcpy(r->body + r->n, p, n);
	r->n += n;
	r->body[r->n] = 0;
}

static answer_t on_request(void *u, struct MHD_Connection *c, const char *url, const char *method, const char *version,
        const char *data, size_t *data_n, void **ctx)
{
	struct http *h = u;
	struct http_req *r = *ctx;
	(void)version;
	if (!r)
		return begin(h, c, url, method, ctx);
	if (*data_n) {
		if (!r->answered)
			take(r, data, *data_n);
		*data_n = 0;
		return MHD_YES;
	}
	if (r->answered)
		return MHD_YES;
	if (r->status) /* a worker's answer: back from being suspended */
		return reply(r);
	if (r->too_large)
		return refuse(r, 413, "too_large", "the body is larger than is taken");
	slot_turn(h, c, true);
	MHD_suspend_connection(c);
	if (wq_push(&h->work, &r->item) < 0) {
		http_say(r, 503, "queue_full", err_text(-VX_ERR_queue_full));
		MHD_resume_connection(c);
	}
	return MHD_YES;
}

static void on_completed(void *u, struct MHD_Connection *c, void **ctx, enum MHD_RequestTerminationCode why)
{
	(void)why;
	slot_turn(u, c, false);
	req_free(*ctx);
	*ctx = NULL;
}

/* ---- threads ---- */
static void work(void *u)
{
	struct http *h = u;
	struct mcp *m = NULL;
	struct wq_item *it;
	int rc = http_mcp_new(h, &m);
	if (rc < 0)
		log_rc(LOGL_error, "http: agents cannot be served", rc);
	while (wq_pop(&h->work, WQ_FOREVER, &it) > 0) {
		struct http_req *r = WQ_OF(it, struct http_req, item);
		if (atomic_load(&h->stopping))
			http_say(r, 503, "shutting_down", err_text(-VX_ERR_shutting_down));
		else if (!m)
			http_say(r, 503, "out_of_memory", err_text(-ENOMEM));
		else
			http_route(r, m);
		MHD_resume_connection(r->conn); /* r is the poller's again */
	}
	mcp_free(m);
}

static void poll_all(void *u)
{
	struct http *h = u;
	while (!atomic_load(&h->stopping)) {
		(void)MHD_run_wait(h->daemon, TICK_MS); /* what fails of it ends its connection */
		end_slow(h);
	}
}

/* ---- life ---- */
static int bind_to(const struct http_addr *a, uint16_t *ret_port)
{
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(a->port)};
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
	struct sockaddr *sa = a->v6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4;
	socklen_t n = a->v6 ? sizeof a6 : sizeof a4;
	int one = 1;
	if (inet_pton(a->v6 ? AF_INET6 : AF_INET, a->host, a->v6 ? (void *)&a6.sin6_addr : (void *)&a4.sin_addr) != 1)
		return -VX_ERR_bad_value;
	int fd = socket(a->v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); /* a port of before may linger */
	if (bind(fd, sa, n) || listen(fd, 32) || getsockname(fd, sa, &n)) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	*ret_port = ntohs(a->v6 ? a6.sin6_port : a4.sin_port);
	return fd;
}

static void part_free(struct http *h)
{
	if (h->daemon)
		MHD_stop_daemon(h->daemon); /* and closes the socket */
	else if (h->listen_fd >= 0)
		close(h->listen_fd);
	wq_done(&h->work);
	pthread_mutex_destroy(&h->sessions_lock);
	pthread_mutex_destroy(&h->wait.lock);
	pthread_cond_destroy(&h->wait.cond);
	mem_free(MEM_server, h);
}

static int start_all(struct http *h)
{
	VX_TRY(http_mhd_load());
	h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, h,
	        MHD_OPTION_LISTEN_SOCKET, h->listen_fd, MHD_OPTION_CONNECTION_LIMIT, HTTP_CONNECTIONS_MAX,
	        MHD_OPTION_CONNECTION_TIMEOUT, 2 * h->cfg.slow_ms / 1000 + 1, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	        (size_t)32768, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_NOTIFY_CONNECTION,
	        on_connection, h, MHD_OPTION_END);
	if (!h->daemon)
		return -ENOMEM;
	VX_TRY(thread_start(&h->poller, "vx-http", POLLER_STACK, poll_all, h));
	for (unsigned i = 0; i < HTTP_WORKERS; i++) {
		char name[] = "vx-httpw-0";
		name[sizeof name - 2] = (char)('0' + i);
		VX_TRY(thread_start(&h->worker[i], name, WORKER_STACK, work, h));
	}
	return 0;
}

int http_start(const struct http_cfg *cfg, struct http **ret)
{
	if (!cfg->token && !cfg->addr.loopback)
		return -VX_ERR_not_owner;
	struct http *h = mem_zalloc(MEM_server, sizeof *h);
	if (!h)
		return -ENOMEM;
	h->cfg = *cfg;
	h->cfg.slow_ms = cfg->slow_ms ? cfg->slow_ms : HTTP_SLOW_MS;
	for (unsigned i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		h->slot[i].fd = -1;
	pthread_condattr_t ca;
	int rc = -pthread_condattr_init(&ca);
	if (!rc) {
		rc = -pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
		rc = rc ? rc : -pthread_cond_init(&h->wait.cond, &ca);
		pthread_condattr_destroy(&ca);
	}
	rc = rc ? rc : -pthread_mutex_init(&h->wait.lock, NULL);
	rc = rc ? rc : -pthread_mutex_init(&h->sessions_lock, NULL);
	rc = rc ? rc : wq_init(&h->work, HTTP_CONNECTIONS_MAX);
	if (rc < 0) { /* a lock that cannot be made: nothing of it was used */
		mem_free(MEM_server, h);
		return rc;
	}
	h->listen_fd = bind_to(&cfg->addr, &h->port);
	rc = h->listen_fd < 0 ? h->listen_fd : start_all(h);
	if (rc < 0) {
		http_stop(h);
		return rc;
	}
	*ret = h;
	return 0;
}

uint16_t http_port(const struct http *h)
{
	return h->port;
}

void http_stop(struct http *h)
{
	if (!h)
		return;
	pthread_mutex_lock(&h->wait.lock);
	atomic_store(&h->wait.stop, 1);
	atomic_store(&h->stopping, 1);
	pthread_cond_broadcast(&h->wait.cond);
	pthread_mutex_unlock(&h->wait.lock);
	/* the poller first: it pushes no more; what is queued is then answered by the workers on their way out */
	thread_join(&h->poller);
	wq_close(&h->work);
	for (unsigned i = 0; i < HTTP_WORKERS; i++)
		thread_join(&h->worker[i]);
	/* no connection is suspended now; what they have to say is sent as far as it goes at once */
	if (h->daemon)
		(void)MHD_run(h->daemon);
	part_free(h);
}
