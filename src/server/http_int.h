/* http_int.h - between the connections (http.c), what requests are answered with (http_route.c) and the engine (http_ask.c). */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "base/sbuf.h"
#include "base/thread.h"
#include "base/wq.h"
#include "server/http.h"
#include "server/mcp.h"

enum http_route { HTTP_none, HTTP_mcp, HTTP_query, HTTP_metrics, HTTP_health };

/* one request, from its headers to the last byte of its answer. While a worker has it the connection is suspended and nobody else looks. */
struct http_req {
	struct wq_item item;
	struct http *h;
	void *conn; /* struct MHD_Connection */
	enum http_route route;
	char *body;
	size_t n, cap;
	bool too_large, answered;
	char session[40]; /* Mcp-Session-Id as sent, "" for none */
	/* the answer */
	unsigned status;
	const char *type; /* static */
	char *out; /* MEM_server, given to the connection */
	size_t out_n;
	char new_session[40];
};

struct http_session {
	char id[40]; /* "" free */
	uint64_t used_ns;
};

/* what an answer is waited for with */
struct http_waiter {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	_Atomic int stop;
};

struct http {
	struct http_cfg cfg;
	struct http_waiter wait; /* workers' answers from the engine, and the end */
	struct wq work;
	struct thread poller, worker[HTTP_WORKERS];
	_Atomic int stopping;
	void *daemon; /* struct MHD_Daemon */
	int listen_fd;
	uint16_t port;
	pthread_mutex_t sessions_lock;
	struct http_session session[HTTP_SESSIONS_MAX]; /* [sessions_lock] */
	struct http_slot { /* a connection, the poller's own */
		int fd; /* -1: free */
		bool busy; /* we owe the next step, not the client */
		uint64_t since_ns;
	} slot[HTTP_CONNECTIONS_MAX];
};

/* http_ask - a request in JSON to the engine of this process, its answer in JSON (MEM_server, *ret taken by the caller).
 * @may_change  false: verbs that change anything are refused
 * @ret_code    0, or the error that the answer tells of
 * Return: 0; -ENOMEM; -VX_ERR_deadline after slow_ms; -VX_ERR_shutting_down. */
int http_ask(struct http *h, char *req, size_t n, bool may_change, char **ret, size_t *ret_n, int *ret_code);
/* http_route - the answer to a request that is whole and may be asked; on a worker. m is the worker's own. */
void http_route(struct http_req *r, struct mcp *m);
/* http_say - a short JSON error as the answer */
void http_say(struct http_req *r, unsigned status, const char *code, const char *text);
int http_mcp_new(struct http *h, struct mcp **ret); /* for one worker */
bool http_session_drop(struct http *h, const char *id); /* false: there was none of that name */
