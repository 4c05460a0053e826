/* cli_mnt.c - which VexFS mount is meant, and who serves it.
 *
 * The kernel's list (/proc/self/mountinfo) is the only authority: no file of ours says what is mounted, so nothing can be out of
 * date after a crash. A path belongs to the mount with the longest mount point above it; among equal ones the last listed covers
 * the others. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"

char *cli_read_small(const char *path, size_t max, size_t *ret_n)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	size_t cap = 16384, n = 0;
	char *b = cli_alloc(cap);
	for (;;) {
		if (n + 1 >= cap) {
			char *more = cli_alloc(cap * 2);
			memcpy(more, b, n);
			b = more;
			cap *= 2;
		}
		ssize_t r = read(fd, b + n, cap - n - 1);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 || n > max) {
			int e = r < 0 ? errno : EFBIG;
			close(fd);
			errno = e;
			return NULL;
		}
		if (!r)
			break;
		n += (size_t)r;
	}
	close(fd);
	b[n] = 0;
	if (ret_n)
		*ret_n = n;
	return b;
}

/* mountinfo writes space, tab, newline and backslash as \ooo */
static void unescape(char *s)
{
	char *to = s;
	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' &&
		        s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = 0;
}

int cli_mounts(struct cli_mnt **ret)
{
	char *text = cli_read_small("/proc/self/mountinfo", 64u << 20, NULL);
	if (!text)
		return -errno;
	size_t lines = 0;
	for (const char *p = text; *p; p++)
		lines += *p == '\n';
	struct cli_mnt *m = cli_alloc((lines + 1) * sizeof *m);
	int n = 0;
	char *save = NULL;
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		/* id parent maj:min root MNT options [optional...] - type source super */
		char *dash = strstr(l, " - "), *in = NULL, *f = NULL;
		if (!dash)
			continue;
		*dash = 0;
		f = strtok_r(l, " ", &in);
		for (int i = 0; f && i < 4; i++)
			f = strtok_r(NULL, " ", &in);
		char *tail = NULL, *type = strtok_r(dash + 3, " ", &tail), *src = strtok_r(NULL, " ", &tail);
		if (!f || !type)
			continue;
		unescape(f);
		m[n].mnt = f;
		m[n].type = type;
		m[n].source = src ? src : cli_fmt("%s", "");
		unescape(m[n].source);
		n++;
	}
	*ret = m;
	return n;
}

bool cli_mnt_is_vexfs(const struct cli_mnt *m)
{
	return !strcmp(m->type, "fuse.vexfs");
}

static bool below(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	if (n == 1 && dir[0] == '/')
		return true;
	return !strncmp(path, dir, n) && (path[n] == '/' || !path[n]);
}

bool cli_find_mount(const char *path, const char **ret_mnt, const char **ret_rel)
{
	struct cli_mnt *m;
	char *abs = cli_realpath(path ? path : ".");
	if (!abs) {
		if (errno == ENOTCONN)
			cli_err("the mount at %s is dead: its process is gone; `vexfs umount` it and mount again",
			        path ? path : ".");
		else
			cli_err("%s: %s", path ? path : "the current directory", strerror(errno));
		return false;
	}
	int n = cli_mounts(&m), best = -1;
	if (n < 0) {
		cli_err("/proc/self/mountinfo: %s", strerror(-n));
		return false;
	}
	for (int i = 0; i < n; i++)
		if (below(abs, m[i].mnt) && (best < 0 || strlen(m[i].mnt) >= strlen(m[best].mnt)))
			best = i;
	if (best < 0 || !cli_mnt_is_vexfs(&m[best])) {
		if (path)
			cli_err("%s is not inside a VexFS mount", path);
		else
			cli_err("the current directory is not inside a VexFS mount; name the mount point as the last "
			        "argument");
		return false;
	}
	const char *rel = abs + strlen(m[best].mnt);
	while (*rel == '/')
		rel++;
	*ret_mnt = m[best].mnt;
	*ret_rel = rel;
	return true;
}

/* the nearest directory from abs upwards in which a store lies; cut off in place. false: none */
static bool store_above(char *abs)
{
	for (;;) {
		if (!access(cli_fmt("%s/.vexfs/catalog.db", strcmp(abs, "/") ? abs : ""), F_OK))
			return true;
		char *slash = strrchr(abs, '/');
		if (!slash || !abs[1])
			return false;
		slash[slash == abs] = 0;
	}
}

bool cli_find_place(const char *path, const char **ret_at, const char **ret_rel, bool *ret_local)
{
	struct cli_mnt *m;
	char *abs = cli_realpath(path ? path : "."), *dir = abs ? cli_fmt("%s", abs) : NULL;
	*ret_local = false;
	int n = abs ? cli_mounts(&m) : -1, best = -1;
	for (int i = 0; i < n; i++)
		if (below(abs, m[i].mnt) && (best < 0 || strlen(m[i].mnt) >= strlen(m[best].mnt)))
			best = i;
	if (n < 0 || (best >= 0 && cli_mnt_is_vexfs(&m[best])) || !store_above(dir))
		return cli_find_mount(path, ret_at, ret_rel);
	const char *rel = abs + (strcmp(dir, "/") ? strlen(dir) : 0);
	while (*rel == '/')
		rel++;
	*ret_rel = rel;
	*ret_at = dir;
	*ret_local = true;
	for (int i = 0; i < n; i++) /* served somewhere: ask there */
		if (cli_mnt_is_vexfs(&m[i]) && !strcmp(m[i].source, dir)) {
			*ret_at = m[i].mnt;
			*ret_local = false;
		}
	return true;
}

const struct cli_mnt *cli_mnt_at(const char *path, const char **ret_abs)
{
	struct cli_mnt *m;
	const struct cli_mnt *found = NULL;
	char *copy = cli_fmt("%s", path), *abs;
	size_t n = strlen(copy);

	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = 0;
	char *slash = strrchr(copy, '/');
	const char *last = slash ? slash + 1 : copy;
	if (!strcmp(last, "..") || !strcmp(last, ".") || !*last) {
		abs = cli_realpath(copy);
	} else { /* the last step is not followed if it is dead; a symlink to a mount point is */
		char *full = cli_realpath(copy);
		char *dir = cli_realpath(!slash          ? "."
		                         : slash == copy ? "/"
		                                         : cli_fmt("%.*s", (int)(slash - copy), copy));
		abs = full ? full : dir ? cli_fmt("%s/%s", strcmp(dir, "/") ? dir : "", last) : NULL;
	}
	if (!abs)
		return NULL;
	if (ret_abs)
		*ret_abs = abs;
	int k = cli_mounts(&m);
	for (int i = 0; i < k; i++)
		if (!strcmp(m[i].mnt, abs))
			found = &m[i];
	return found;
}

pid_t cli_mnt_pid(const char *mnt)
{
	size_t n;
	char *t = cli_read_small(cli_fmt("%s/.vexfs/status", mnt), 16u << 20, &n);
	json_t *j = t ? json_loadb(t, n, 0, NULL) : NULL;
	json_int_t pid = json_integer_value(json_object_get(j, "pid"));
	json_decref(j);
	return pid > 1 && pid < INT_MAX ? (pid_t)pid : 0;
}
