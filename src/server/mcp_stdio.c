/* mcp_stdio.c - the transport of one line a message on stdin and stdout.  A line that is too long is answered as an error and skipped; the
 * client's end of stdin ends the server.  Nothing else may write to stdout. */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "server/mcp.h"

#ifndef VEXFS_VERSION_TEXT
#define VEXFS_VERSION_TEXT "0"
#endif

struct line_in {
	char *p;
	size_t n, cap;
	bool skipping; /* the rest of a line that was too long */
};

static int put_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = write(fd, p, n); /* rule file-io: a pipe, not a file */
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 && errno == EAGAIN) {
			struct pollfd pf = {.fd = fd, .events = POLLOUT};
			(void)poll(&pf, 1, -1); /* the write says whether it helped */
			continue;
		}
		if (k < 0)
			return -errno;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

static int one(struct mcp *m, const char *p, size_t n)
{
	struct arena a;
	struct sbuf b;
	while (n && (p[n - 1] == '\r' || p[n - 1] == ' '))
		n--;
	if (!n)
		return 0;
	arena_init(&a, MEM_server, 64u << 20);
	int rc = sbuf_arena(&b, &a, 16384, 32u << 20);
	if (rc >= 0)
		rc = mcp_handle(m, p, n, &b);
	if (rc >= 0 && b.n) {
		sb_ch(&b, '\n');
		rc = b.over ? -VX_ERR_arena_full : put_all(STDOUT_FILENO, b.p, b.n);
	}
	arena_done(&a);
	return rc;
}

/* the lines that are whole; the rest moves to the front */
static int take_lines(struct mcp *m, struct line_in *in)
{
	size_t at = 0;
	for (char *e; (e = memchr(in->p + at, '\n', in->n - at)); at = (size_t)(e - in->p) + 1) {
		if (!in->skipping)
			VX_TRY(one(m, in->p + at, (size_t)(e - in->p) - at));
		in->skipping = false;
	}
	memmove(in->p, in->p + at, in->n - at);
	in->n -= at;
	if (in->n == in->cap) {
		if (!in->skipping)
			VX_TRY(one(m, in->p, in->n)); /* longer than a message may be: mcp_handle says so */
		in->skipping = true;
		in->n = 0;
	}
	return 0;
}

int mcp_stdio(const char *mnt)
{
	struct mcp *m;
	struct line_in in = {.cap = MCP_MESSAGE_MAX + 1};
	int rc = mcp_new(os_real(), mnt, VEXFS_VERSION_TEXT, &m);
	if (rc < 0) {
		log_rc(LOGL_error, mnt, rc);
		return rc;
	}
	signal(SIGPIPE, SIG_IGN); /* a client that went away is an error of write */
	in.p = mem_alloc(MEM_server, in.cap);
	rc = in.p ? 0 : -ENOMEM;
	while (rc >= 0) {
		ssize_t k = read(STDIN_FILENO, in.p + in.n, in.cap - in.n); /* rule file-io: a pipe, not a file */
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 && errno == EAGAIN) {
			struct pollfd pf = {.fd = STDIN_FILENO, .events = POLLIN};
			(void)poll(&pf, 1, -1); /* the read says whether it helped */
			continue;
		}
		if (k <= 0) {
			rc = k < 0 ? -errno : 0;
			break;
		}
		in.n += (size_t)k;
		rc = take_lines(m, &in);
	}
	/* a last line without its end is a message as well */
	if (rc >= 0 && in.n && !in.skipping)
		rc = one(m, in.p, in.n);
	mem_free(MEM_server, in.p);
	mcp_free(m);
	if (rc < 0 && rc != -EPIPE)
		log_rc(LOGL_error, "mcp", rc);
	return rc == -EPIPE ? 0 : rc;
}
