/* wire.h - drive the file system by raw FUSE messages over a socket pair: no /dev/fuse, no mount, one thread.
 *
 *     struct wire w; wire_open(&w, dir, NULL); int err = wire_call(&w, FUSE_LOOKUP, 1, "name", 5); ... w.out, w.out_n; wire_close(&w);
 *
 * An error comes back as the negative errno of the reply header.  The caller's uid, gid are w.uid, w.gid. */
#pragma once
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include "fs/inode.h"
#include "fs/transport.h"

#define WIRE_BYTES (1u << 19)
struct wire {
	struct fs *f;
	struct transport *t;
	int peer, root;
	uint64_t unique;
	uint32_t uid, gid;
	uint8_t *out; /* the reply behind its header */
	size_t out_n;
	uint8_t *buf;
};

/* send bytes as they are, let them be served, take the reply if there is one: its error, 1: none came */
static inline int wire_raw(struct wire *w, const void *msg, size_t n)
{
	w->out_n = 0;
	if (send(w->peer, msg, n, 0) != (ssize_t)n || transport_serve_one(w->t) != 1)
		return -9999;
	struct fuse_in_header in = {0};
	memcpy(&in, msg, n < sizeof in ? n : sizeof in);
	for (;;) { /* libfuse answers an INTERRUPT that names no request with the next message: not ours, passed over */
		struct fuse_out_header h;
		ssize_t r = recv(w->peer, w->buf, WIRE_BYTES, MSG_DONTWAIT);
		if (r < (ssize_t)sizeof h)
			return 1;
		memcpy(&h, w->buf, sizeof h);
		if (h.unique != in.unique)
			continue;
		w->out = w->buf + sizeof h;
		w->out_n = (size_t)r - sizeof h;
		return h.error;
	}
}

static inline int wire_callv(struct wire *w, uint32_t op, uint64_t node, const struct iovec *iov, int iov_n)
{
	static uint8_t m[WIRE_BYTES];
	size_t n = sizeof(struct fuse_in_header);
	for (int i = 0; i < iov_n; i++) {
		if (iov[i].iov_len)
			memcpy(m + n, iov[i].iov_base, iov[i].iov_len);
		n += iov[i].iov_len;
	}
	struct fuse_in_header h = {.len = (uint32_t)n,
	        .opcode = op,
	        .unique = w->unique += 2,
	        .nodeid = node,
	        .uid = w->uid,
	        .gid = w->gid,
	        .pid = (uint32_t)getpid()};
	memcpy(m, &h, sizeof h);
	return wire_raw(w, m, n);
}
static inline int wire_call(struct wire *w, uint32_t op, uint64_t node, const void *p, size_t n)
{
	struct iovec v = {(void *)(uintptr_t)p, n};
	return wire_callv(w, op, node, &v, 1);
}
/* a fixed struct, then a string with its NUL (or bytes) */
static inline int wire_call2(
        struct wire *w, uint32_t op, uint64_t node, const void *p, size_t n, const void *q, size_t m)
{
	struct iovec v[2] = {{(void *)(uintptr_t)p, n}, {(void *)(uintptr_t)q, m}};
	return wire_callv(w, op, node, v, 2);
}

static inline int wire_init(struct wire *w, uint32_t minor)
{
	struct fuse_init_in in = {.major = 7,
	        .minor = minor,
	        .max_readahead = 65536,
	        .flags = FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_DONT_MASK | FUSE_POSIX_ACL |
	                 FUSE_MAX_PAGES | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_HAS_IOCTL_DIR |
	                 FUSE_PARALLEL_DIROPS};
	return wire_call(w, FUSE_INIT, 0, &in, sizeof in);
}

static inline int wire_open_cfg(struct wire *w, struct fs_cfg *cfg, struct engine *e)
{
	int sv[2];
	memset(w, 0, sizeof *w);
	w->root = open(cfg->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	w->uid = geteuid();
	w->gid = getegid();
	w->buf = malloc(WIRE_BYTES);
	if (w->root < 0 || !w->buf || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -1;
	int big = 1 << 20;
	for (int i = 0; i < 2; i++) {
		setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
		setsockopt(sv[i], SOL_SOCKET, SO_RCVBUF, &big, sizeof big);
	}
	cfg->owner_uid = geteuid();
	cfg->owner_gid = getegid();
	int rc = fs_new(cfg, w->root, e, &w->f);
	if (rc < 0)
		return rc;
	struct transport_cfg tc = {.custom_fd = sv[1], .fsname = "test"};
	struct vx_errinfo err = {0};
	w->peer = sv[0];
	rc = transport_new(w->f, &tc, &w->t, &err);
	return rc < 0 ? rc : wire_init(w, 36);
}
static inline int wire_open(struct wire *w, const char *dir, struct engine *e)
{
	struct fs_cfg cfg = {.dir = dir, .entry_timeout = 1, .attr_timeout = 1};
	return wire_open_cfg(w, &cfg, e);
}
static inline void wire_close(struct wire *w)
{
	transport_free(w->t);
	fs_free(w->f);
	close(w->peer);
	close(w->root);
	free(w->buf);
}

/* ---- the common requests ---------------------------------------------------------------------------------------------------------- */
static inline int wire_lookup(struct wire *w, uint64_t dir, const char *name, struct fuse_entry_out *ret)
{
	memset(ret, 0, sizeof *ret);
	int err = wire_call(w, FUSE_LOOKUP, dir, name, strlen(name) + 1);
	if (!err)
		memcpy(ret, w->out, sizeof *ret);
	return !err && !ret->nodeid ? -ENOENT : err; /* a negative entry */
}
static inline void wire_forget(struct wire *w, uint64_t node, uint64_t n)
{
	struct fuse_forget_in in = {.nlookup = n};
	wire_call(w, FUSE_FORGET, node, &in, sizeof in);
}
static inline int wire_create(struct wire *w, uint64_t dir, const char *name, uint32_t mode, uint32_t flags,
        struct fuse_entry_out *e, struct fuse_open_out *o)
{
	struct fuse_create_in in = {.flags = flags, .mode = mode, .umask = 022};
	int err = wire_call2(w, FUSE_CREATE, dir, &in, sizeof in, name, strlen(name) + 1);
	if (!err) {
		memcpy(e, w->out, sizeof *e);
		memcpy(o, w->out + sizeof *e, sizeof *o);
	}
	return err;
}
static inline int wire_openf(struct wire *w, uint64_t node, uint32_t flags, uint64_t *ret_fh)
{
	struct fuse_open_in in = {.flags = flags};
	struct fuse_open_out o;
	int err = wire_call(w, FUSE_OPEN, node, &in, sizeof in);
	if (!err) {
		memcpy(&o, w->out, sizeof o);
		*ret_fh = o.fh;
	}
	return err;
}
static inline int wire_release(struct wire *w, uint64_t node, uint64_t fh, bool dir)
{
	struct fuse_release_in in = {.fh = fh};
	return wire_call(w, dir ? FUSE_RELEASEDIR : FUSE_RELEASE, node, &in, sizeof in);
}
static inline int wire_write(struct wire *w, uint64_t node, uint64_t fh, const void *p, size_t n, uint64_t off)
{
	struct fuse_write_in in = {.fh = fh, .offset = off, .size = (uint32_t)n};
	int err = wire_call2(w, FUSE_WRITE, node, &in, sizeof in, p, n);
	return err ? err : (int)((struct fuse_write_out *)(void *)w->out)->size;
}
static inline int wire_read(struct wire *w, uint64_t node, uint64_t fh, size_t n, uint64_t off)
{
	struct fuse_read_in in = {.fh = fh, .offset = off, .size = (uint32_t)n};
	int err = wire_call(w, FUSE_READ, node, &in, sizeof in);
	return err ? err : (int)w->out_n;
}
static inline int wire_getattr(struct wire *w, uint64_t node, struct fuse_attr *ret)
{
	struct fuse_getattr_in in = {0};
	int err = wire_call(w, FUSE_GETATTR, node, &in, sizeof in);
	if (!err)
		memcpy(ret, &((struct fuse_attr_out *)(void *)w->out)->attr, sizeof *ret);
	return err;
}
static inline int wire_opendir(struct wire *w, uint64_t node, uint64_t *ret_fh)
{
	struct fuse_open_in in = {.flags = O_RDONLY | O_DIRECTORY};
	int err = wire_call(w, FUSE_OPENDIR, node, &in, sizeof in);
	if (!err)
		*ret_fh = ((struct fuse_open_out *)(void *)w->out)->fh;
	return err;
}
static inline int wire_setxattr(
        struct wire *w, uint64_t node, const char *name, const void *v, size_t n, uint32_t flags)
{
	uint32_t head[2] = {(uint32_t)n, flags};
	struct iovec iov[3] = {
	        {head, sizeof head}, {(void *)(uintptr_t)name, strlen(name) + 1}, {(void *)(uintptr_t)v, n}};
	return wire_callv(w, FUSE_SETXATTR, node, iov, 3);
}
static inline int wire_getxattr(struct wire *w, uint64_t node, const char *name, size_t size)
{
	struct fuse_getxattr_in in = {.size = (uint32_t)size};
	return wire_call2(w, FUSE_GETXATTR, node, &in, sizeof in, name, strlen(name) + 1);
}
