/* mcp_mount.c - what the tools do with the mount: ask its query file, open and read its files. */
#include <fcntl.h>
#include <string.h>
#include "base/conf.h"
#include "base/utf8.h"
#include "server/mcp_int.h"

int mcp_read_all(struct mcp *m, int fd, size_t max, struct mcp_bytes *ret)
{
	char *p = NULL;
	size_t n = 0, cap = 0;
	for (;;) {
		if (n == cap) {
			cap = cap ? cap * 2 : 65536;
			char *q = mem_realloc(MEM_server, p, cap + 1);
			if (!q) {
				mem_free(MEM_server, p);
				return -ENOMEM;
			}
			p = q;
		}
		ssize_t k = os_pread(m->os, fd, p + n, cap - n, (off_t)n);
		if (k == -EINTR)
			continue;
		if (k < 0 || n + (size_t)k > max) {
			mem_free(MEM_server, p);
			return k < 0 ? (int)k : -E2BIG;
		}
		if (!k)
			break;
		n += (size_t)k;
	}
	p[n] = 0;
	*ret = (struct mcp_bytes){p, n};
	return 0;
}

struct text {
	char *p;
	size_t n, cap;
};
static int add_text(const char *p, size_t n, void *u)
{
	struct text *t = u;
	if (n > t->cap - t->n) {
		size_t cap = (t->n + n) * 2 + 256;
		char *q = mem_realloc(MEM_server, t->p, cap);
		if (!q)
			return -1;
		t->p = q;
		t->cap = cap;
	}
	memcpy(t->p + t->n, p, n);
	t->n += n;
	return 0;
}

int mcp_ask(struct mcp *m, const json_t *req, struct mcp_bytes *ret)
{
	struct text t = {0};
	int fd = -1, rc = json_dump_callback(req, add_text, &t, JSON_COMPACT) ? -ENOMEM : 0;
	if (rc >= 0 && m->ask) {
		rc = m->ask(m->ask_u, t.p, t.n, ret);
		mem_free(MEM_server, t.p);
		return rc;
	}
	if (rc >= 0)
		rc = fd = os_openat(m->os, m->root_fd, ".vexfs/query", O_RDWR | O_CLOEXEC, 0);
	for (size_t at = 0; rc >= 0 && at < t.n;) {
		ssize_t k = os_pwrite(m->os, fd, t.p + at, t.n - at, (off_t)at);
		if (k == -EINTR)
			continue;
		rc = k < 0 ? (int)k : 0;
		at += k > 0 ? (size_t)k : 0;
	}
	if (rc >= 0)
		rc = mcp_read_all(m, fd, MCP_ANSWER_MAX, ret);
	if (fd >= 0)
		os_close(m->os, fd);
	mem_free(MEM_server, t.p);
	return rc;
}

int mcp_open_beneath(struct mcp *m, const char *path)
{
	char name[CONF_NAME_MAX + 1];
	int dir = m->root_fd;
	size_t mn = strlen(m->mnt);
	/* an absolute path below the mount is as good as a relative one */
	if (!strncmp(path, m->mnt, mn) && path[mn] == '/')
		path += mn + 1;
	if (*path == '/')
		return -VX_ERR_path_outside;
	for (;;) {
		while (*path == '/')
			path++;
		size_t n = strcspn(path, "/");
		int rc = n == 0                                       ? -EISDIR
		         : n > CONF_NAME_MAX                          ? -ENAMETOOLONG
		         : n == 2 && path[0] == '.' && path[1] == '.' ? -VX_ERR_path_outside
		                                                      : 0;
		/* the virtual tree is no file of the user's: its control files are not read here */
		if (rc >= 0 && dir == m->root_fd && n == 6 && !memcmp(path, ".vexfs", 6))
			rc = -ENOENT;
		bool last = !path[n];
		int fd = -1;
		if (rc >= 0) {
			memcpy(name, path, n);
			name[n] = 0;
			int how = last ? O_RDONLY | O_NONBLOCK | O_NOCTTY : O_PATH | O_DIRECTORY;
			rc = fd = os_openat(m->os, dir, name, how | O_NOFOLLOW | O_CLOEXEC, 0);
		}
		if (dir != m->root_fd)
			os_close(m->os, dir);
		if (rc < 0)
			return rc;
		if (last) {
			struct stat st;
			rc = os_fstat(m->os, fd, &st);
			if (rc >= 0 && !S_ISREG(st.st_mode))
				rc = -EISDIR;
			if (rc >= 0)
				return fd;
			os_close(m->os, fd);
			return rc;
		}
		dir = fd;
		path += n;
	}
}

json_t *mcp_string(const char *p, size_t n)
{
	char *q = mem_alloc(MEM_server, n + 1);
	if (!q)
		return NULL;
	for (size_t at = 0; at < n;) {
		uint32_t c;
		unsigned k = utf8_decode(p + at, n - at, &c);
		if (k == 0 || (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0)) {
			memset(q + at, ' ', k ? k : 1);
			at += k ? k : 1;
			continue;
		}
		memcpy(q + at, p + at, k);
		at += k;
	}
	json_t *s = json_stringn(q, n);
	mem_free(MEM_server, q);
	return s;
}
