/* cli_ask.c - one request to a mount and its answer, through MNT/.vexfs/query.
 *
 * The command is an ordinary client: it has no private door into the daemon, and is told no more than any program that opens the
 * query file.  A request is written from offset 0 and the answer read from offset 0 of the same handle.
 *
 * A directory that has a store and is not mounted is asked through the library: the store is opened for reading in this process. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/conf.h"
#include "cli/cli.h"
#include "vexfs.h"

bool cli_conn_open_dir(struct cli_conn *c, const char *dir)
{
	memset(c, 0, sizeof *c);
	c->fd = -1;
	int rc = vexfs_open(dir, VEXFS_OPEN_READ_ONLY, &c->local);
	if (rc >= 0)
		return true;
	if (rc == -EBUSY)
		cli_err("the store of %s is in use by another process", dir);
	else
		cli_err("%s is not mounted and its store cannot be read: %s", dir, strerror(-rc));
	return false;
}

bool cli_conn_open(struct cli_conn *c, const char *mnt)
{
	memset(c, 0, sizeof *c);
	c->fd = open(cli_fmt("%s/.vexfs/query", mnt), O_RDWR | O_CLOEXEC);
	if (c->fd >= 0)
		return true;
	/* no file of a read-only mount can be opened for writing, a question neither: the store is read beside it */
	const struct cli_mnt *m = errno == EROFS ? cli_mnt_at(mnt, NULL) : NULL;
	if (m)
		return cli_conn_open_dir(c, m->source);
	if (errno == ENOTCONN)
		cli_err("the mount at %s is dead: its process is gone; `vexfs umount` it and mount again", mnt);
	else if (errno == ENOENT)
		cli_err("the mount at %s runs without its vector side (-o components=none)", mnt);
	else
		cli_err("%s/.vexfs/query: %s", mnt, strerror(errno));
	return false;
}

void cli_conn_close(struct cli_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	vexfs_close(c->local);
	c->local = NULL;
	mem_free(MEM_cli, c->ans);
	c->fd = -1;
	c->ans = NULL;
}

/* the library's answer into c->ans */
static int send_local(struct cli_conn *c, const void *req, size_t n)
{
	void *p = NULL;
	size_t k = 0;
	int rc = vexfs_request(c->local, req, n, &p, &k);
	if (rc < 0)
		return rc;
	char *copy = mem_realloc(MEM_cli, c->ans, k + 1);
	if (copy) {
		memcpy(copy, p, k);
		copy[k] = 0;
		c->ans = copy;
		c->ans_n = k;
		c->ans_cap = k + 1;
	}
	vexfs_free(p);
	return copy ? 0 : -ENOMEM;
}

int cli_send(struct cli_conn *c, const void *req, size_t n)
{
	const char *p = req;
	if (n > CONF_REQUEST_MAX)
		return -VX_ERR_request_too_big;
	if (c->local)
		return send_local(c, req, n);
	for (size_t at = 0; at < n;) {
		ssize_t w = pwrite(c->fd, p + at, n - at < (1u << 20) ? n - at : 1u << 20, (off_t)at);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w ? -errno : -EIO;
		at += (size_t)w;
	}
	c->ans_n = 0;
	for (;;) {
		if (c->ans_cap - c->ans_n < 65536 + 1) {
			size_t cap = c->ans_cap ? c->ans_cap * 2 : 256u << 10;
			char *more = mem_realloc(MEM_cli, c->ans, cap);
			if (!more)
				return -ENOMEM;
			c->ans = more;
			c->ans_cap = cap;
		}
		ssize_t r = pread(c->fd, c->ans + c->ans_n, c->ans_cap - c->ans_n - 1, (off_t)c->ans_n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (!r)
			break;
		c->ans_n += (size_t)r;
	}
	c->ans[c->ans_n] = 0;
	return 0;
}

static void say_error(json_t *e)
{
	const char *code = json_string_value(json_object_get(e, "code"));
	const char *msg = json_string_value(json_object_get(e, "message"));
	const char *detail = json_string_value(json_object_get(e, "detail"));
	json_t *pos = json_object_get(e, "position");

	cli_err("%s%s%s%s%s%s%s", msg ? msg : "the request failed", detail && *detail ? " (" : "", detail ? detail : "",
	        detail && *detail ? ")" : "", code ? " [" : "", code ? code : "", code ? "]" : "");
	if (json_is_integer(pos) && json_integer_value(pos) >= 0)
		cli_note("       at byte %lld of the request", (long long)json_integer_value(pos));
}

json_t *cli_ask(struct cli_conn *c, json_t *req)
{
	json_error_t je;
	char *text = json_dumps(req, JSON_COMPACT);
	json_decref(req);
	if (!text) {
		cli_err("the request cannot be written as JSON (is the text valid UTF-8?)");
		return NULL;
	}
	int rc = cli_send(c, text, strlen(text));
	mem_free(MEM_cli, text);
	if (rc < 0) {
		cli_err("the mount did not answer: %s", rc <= -VX_ERR_BASE ? err_text(rc) : strerror(-rc));
		return NULL;
	}
	json_t *a = json_loadb(c->ans, c->ans_n, 0, &je);
	if (!a) {
		cli_err("the mount's answer is not JSON: %s", je.text);
		return NULL;
	}
	json_t *e = json_object_get(a, "error");
	if (e) {
		say_error(e);
		json_decref(a);
		return NULL;
	}
	return a;
}

json_t *cli_ask_once(const char *mnt, json_t *req)
{
	struct cli_conn c;
	if (!cli_conn_open(&c, mnt)) {
		json_decref(req);
		return NULL;
	}
	json_t *a = cli_ask(&c, req);
	cli_conn_close(&c);
	return a;
}
