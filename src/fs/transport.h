/* transport.h - how requests come in and replies go out.  All that touches libfuse's session loop sits behind this, so that kernel
 * passthrough, io_uring rings or an own session layer can replace it without the operations knowing. */
#pragma once
#include <stdbool.h>
#include "fs/fs.h"

struct transport;
struct transport_cfg {
	const char *mnt, *fsname,
	        *subtype_opts; /* extra "-o" options for mount(2)/fusermount3, comma-separated, or NULL */
	bool allow_other, read_only, debug;
	unsigned workers; /* 0: number of CPUs, at most 4 */
	unsigned max_write; /* 0: 128 KiB... the kernel's word is final */
	const char *want; /* "plain", "pt", "uring", "pt+uring", NULL: the best this build has */
	int custom_fd; /* >= 0: a socket that speaks raw FUSE messages instead of /dev/fuse (tests); else -1 */
};
/* transport_new - session made and mounted (or bound to custom_fd). Nothing is served yet. */
int transport_new(struct fs *f, const struct transport_cfg *cfg, struct transport **ret, struct vx_errinfo *reterr);
int transport_start(struct transport *t); /* workers on painted CONF_FUSE_STACK stacks */
int transport_wait(struct transport *t); /* until unmounted, transport_stop, or every worker ended; 0 or < 0 */
void transport_stop(struct transport *t); /* async-signal-safe: ask the workers to end */
void transport_free(struct transport *t); /* unmounts if still mounted, joins */
const char *transport_name(const struct transport *t);
const char *transport_why(const struct transport *t); /* why not a better one */
/* transport_serve_one - tests: receive and process one message on the calling thread. 1 served, 0 end, < 0 */
int transport_serve_one(struct transport *t);
bool transport_ready(struct transport *t); /* INIT has been answered */
uint64_t transport_ring_bytes(const struct transport *t); /* reserved for io_uring entries; touched as used */
/* transport_may_park - may the running request wait for an answer from another thread? false: answer "try again" */
bool transport_may_park(struct transport *t);
