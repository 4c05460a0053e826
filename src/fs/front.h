/* front.h - the vector fronts of fs/ (vxattr, vioctl, virt*): how a FUSE request and a query travel together.
 *
 * An ask is a FUSE request waiting for a job.  It lives in the query's arena, so one pool bounds both.  fs_ask_submit either calls
 * answer() at once or returns with the request parked, and answer() runs on an engine thread; in both cases answer() replies and
 * ends with fs_ask_free, or submits again for a second step.  FUSE_INTERRUPT sets the job's cancel (park.c). */
#pragma once
#include "fs/fs.h"

struct fs_ask {
	fuse_req_t req;
	struct fs *f;
	struct vq *q;
	void (*answer)(struct fs_ask *a);
	size_t size; /* what the caller's buffer holds */
	int kind;
	int fd; /* ours, for a second step; -1: none */
	void *u, *u2;
};
/* fs_ask_new - NULL: the request has been answered with the reason (no engine, no query free). */
struct fs_ask *fs_ask_new(fuse_req_t req, void (*answer)(struct fs_ask *a));
/* fs_ask_on - let the job be about a real node; put back with fs_ask_submit. 0 or -errno. */
int fs_ask_on(struct fs_ask *a, fuse_ino_t ino, struct fs_ref *r);
/* fs_ask_keep - a second step about the same node will follow: keep a descriptor of it for fs_ask_again. 0 or -errno. */
int fs_ask_keep(struct fs_ask *a, const struct fs_ref *r);
void fs_ask_submit(struct fs_ask *a, struct fs_ref *r /* NULL: none */);
/* fs_ask_next - from answer() only: submit another ask of the same request. */
void fs_ask_next(struct fs_ask *a);
/* fs_ask_again - from answer() only: the same job with its answers cleared, changed by the caller before; never inline. */
void fs_ask_again(struct fs_ask *a);
void fs_ask_free(struct fs_ask *a);
/* fs_ask_fail - reply rc and free. */
void fs_ask_fail(struct fs_ask *a, int rc);
enum { FS_WAKE_CANCEL = 1, FS_WAKE_EVENTS = 2, FS_WAKE_TIDY = 4 };
void fs_front_wake(unsigned what); /* any thread, under any lock but the front's own */
void fs_front_events(struct virt *v); /* what is due about v is done from now on */
/* fs_park_done - ends the front thread. After the last request, before the engine goes. */
void fs_park_done(void);

/* vpacked.c: user.vexfs.packed. r stays the caller's. */
void vpacked_get(fuse_req_t req, const struct fs_ref *r, size_t size);
void vpacked_set(fuse_req_t req, const struct fs_ref *r, const char *value, size_t size, int flags);
void vpacked_remove(fuse_req_t req, const struct fs_ref *r);
