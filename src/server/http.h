/* http.h - the mount over HTTP: agents (MCP over streamable HTTP at /mcp), programs (POST /v1/query takes what the query file takes), monitors
 * (GET /metrics, /health).
 *
 * Whoever gets in acts as the daemon's user.  So it listens on loopback unless there is a token; a page in a browser does not get in (Host and
 * Origin are looked at); without a token nothing can be changed, for every user of the machine can reach a loopback port. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/os.h"
#include "engine/engine.h"

#define HTTP_BODY_MAX        (8u << 20) /* bytes of a request's body */
#define HTTP_ANSWER_MAX      (64u << 20) /* bytes of an answer */
#define HTTP_CONNECTIONS_MAX 64u
#define HTTP_SESSIONS_MAX    64u /* agents at once; the one idle longest makes room */
#define HTTP_SESSION_IDLE_S  3600u
#define HTTP_SLOW_MS         30000u /* to send a request, to take an answer, to wait for the mount */
#define HTTP_WORKERS         3u
#define HTTP_TOKEN_MIN       16u
#define HTTP_TOKEN_MAX       512u

struct http_addr {
	char host[64]; /* as given: an IPv4 or IPv6 address, without brackets */
	uint16_t port;
	bool loopback, v6;
};
/* http_addr_parse - "127.0.0.1:7070", "[::1]:7070", "localhost:7070", ":7070" and "7070" (loopback). Port 0: one that is free.
 * Return 0; -VX_ERR_bad_value. */
int http_addr_parse(const char *s, struct http_addr *ret);
/* http_host_fits - may a request with this Host header have been meant for us? @h NULL: none was sent. Without a token the name must be a
 * loopback one, which is what ends DNS rebinding. */
bool http_host_fits(const char *h, bool has_token);
/* http_origin_fits - may a page of this origin ask? @o NULL: no page. Pages served by this machine itself (loopback). */
bool http_origin_fits(const char *o);
/* http_token_fits - "Bearer TOKEN" against the token, in a time that tells nothing of it. @h may be NULL */
bool http_token_fits(const char *h, const char *token);
/* http_token_read - one line from a file that nobody else may read. Return 0; -EPERM; -VX_ERR_bad_value (too short, too long); < 0 */
int http_token_read(struct os *os, const char *path, char ret[HTTP_TOKEN_MAX + 1]);
/* http_status - the HTTP status of an error code */
unsigned http_status(int rc);

struct http_cfg {
	struct os *os;
	struct engine *e;
	int root_fd; /* DIR; borrowed */
	const char *mnt, *version;
	uint32_t uid, gid; /* as whom callers act */
	struct http_addr addr;
	const char *token; /* NULL: none */
	uint32_t slow_ms; /* 0: HTTP_SLOW_MS */
};
struct http;
/* http_start - bind and serve on threads of its own. Return 0; -EADDRINUSE, -EACCES …; -VX_ERR_not_owner: no token for an address that is not
 * loopback; -ENOMEM. */
int http_start(const struct http_cfg *cfg, struct http **ret);
uint16_t http_port(const struct http *h);
/* http_stop - no new requests; those that wait are refused; returns when all threads have ended. Before the engine stops. Takes NULL. */
void http_stop(struct http *h);
