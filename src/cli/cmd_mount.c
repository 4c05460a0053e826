/* cmd_mount.c - vexfs mount: look before mounting, say plainly what is wrong, return exactly when the mount serves.
 *
 * The parent checks everything that can be checked without side effects, forks, and reads one record from a pipe: either the child's
 * reason for failing, or "started".  Then the parent itself calls stat(MNT), which the kernel answers only through the new daemon,
 * so when the command returns the mount has served a request.  No thread exists before the fork. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/conf.h"
#include "base/sbuf.h"
#include "cli/cli.h"
#include "cli/serve.h"
#include "embed/model_store.h"
#include "server/http.h"

#define CLOSE_WAIT_MS 30000 /* for a daemon that has no mount any more */
#define TURN_WAIT_MS  5000 /* for another mount of the same DIR that is just beginning */

static bool below(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	return !strcmp(dir, "/") || (!strncmp(path, dir, n) && (path[n] == '/' || !path[n]));
}

static bool parse_components(const char *s, enum eng_components *ret)
{
	static const struct {
		const char *name;
		enum eng_components c;
	} t[] = {{"none", ENG_none}, {"store", ENG_store}, {"search", ENG_search}, {"all", ENG_all}};
	for (size_t i = 0; i < sizeof t / sizeof *t; i++)
		if (!strcmp(s, t[i].name)) {
			*ret = t[i].c;
			return true;
		}
	cli_err("-o components= is none, store, search or all, not \"%s\"", s);
	return false;
}

/* what mount(8), fstab and systemd add without meaning anything to us */
static bool harmless(const char *o)
{
	static const char *const t[] = {"rw", "nodev", "nosuid", "exec", "atime", "auto", "noauto", "user", "nouser",
	        "users", "_netdev", "nofail", "defaults", "async", "relatime", "diratime", "default_permissions"};
	for (size_t i = 0; i < sizeof t / sizeof *t; i++)
		if (!strcmp(o, t[i]))
			return true;
	return !strncmp(o, "x-", 2);
}

static bool parse_stack(const char *o, const char *what, uint32_t *ret)
{
	uint64_t n;
	if (num_size(o, &n) < 0 || n > CONF_FUSE_STACK - CONF_STACK_RESERVE) {
		cli_err("-o %s= is a number of bytes up to %u, not \"%s\"", what, CONF_FUSE_STACK - CONF_STACK_RESERVE,
		        o);
		return false;
	}
	*ret = (uint32_t)n;
	return true;
}

/* 1: an option of the network front, taken; 0: none of them; -1: a bad one, said */
static int parse_o_listen(struct serve_cfg *c, const char *o)
{
	uint64_t v;
	if (!strncmp(o, "listen=", 7)) {
		c->listen = o + 7;
	} else if (!strncmp(o, "token-file=", 11)) {
		c->token_file = o + 11;
	} else if (!strncmp(o, "listen-timeout=", 15)) {
		if (!cli_u64(o + 15, "-o listen-timeout=", 1, 3600, &v))
			return -1;
		c->listen_ms = (uint32_t)v * 1000;
	} else {
		return 0;
	}
	return 1;
}

static bool parse_o(struct serve_cfg *c, const char *list)
{
	char *save = NULL, *copy = cli_fmt("%s", list);
	for (char *o = strtok_r(copy, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
		int net = parse_o_listen(c, o);
		if (net < 0)
			return false;
		if (net)
			continue;
		if (!strncmp(o, "components=", 11)) {
			if (!parse_components(o + 11, &c->components))
				return false;
		} else if (!strncmp(o, "transport=", 10)) {
			c->transport = o + 10;
			if (strcmp(o + 10, "plain") && strcmp(o + 10, "pt") && strcmp(o + 10, "uring") &&
			        strcmp(o + 10, "pt+uring")) {
				cli_err("-o transport= is plain, pt, uring or pt+uring, not \"%s\"", o + 10);
				return false;
			}
		} else if (!strncmp(o, "store=", 6)) {
			c->store = o + 6;
		} else if (!strncmp(o, "filters=", 8)) {
			c->filters = cli_realpath(o + 8);
			if (!c->filters || access(c->filters, R_OK)) {
				cli_err("-o filters=%s: %s", o + 8, strerror(errno));
				return false;
			}
		} else if (!strncmp(o, "mem-limit=", 10)) {
			if (num_size(o + 10, &c->mem_limit) < 0) {
				cli_err("-o mem-limit= is a size like 512M or 2G, not \"%s\"", o + 10);
				return false;
			}
		} else if (!strncmp(o, "stack-warn=", 11)) {
			if (!parse_stack(o + 11, "stack-warn", &c->stack_warn))
				return false;
		} else if (!strncmp(o, "stack-critical=", 15)) {
			if (!parse_stack(o + 15, "stack-critical", &c->stack_critical))
				return false;
		} else if (!strcmp(o, "debug")) {
			c->debug = true;
		} else if (!strncmp(o, "model=", 6)) {
			c->model = o + 6;
		} else if (!strncmp(o, "model-idle=", 11)) {
			uint64_t s;
			if (num_size(o + 11, &s) < 0 || s < 1 || s > 86400) {
				cli_err("-o model-idle= is 1 to 86400 seconds, not \"%s\"", o + 11);
				return false;
			}
			c->model_idle_ms = s * 1000;
		} else if (!strcmp(o, "allow_other")) {
			c->allow_other = true;
		} else if (!strcmp(o, "ro")) {
			c->read_only = true;
		} else if (!strcmp(o, "dev") || !strcmp(o, "suid") || !strcmp(o, "noexec") || !strcmp(o, "noatime") ||
		           !strcmp(o, "auto_unmount")) {
			c->noatime |= !strcmp(o, "noatime");
			c->nodiratime |= !strcmp(o, "noatime");
			c->mount_opts = c->mount_opts ? cli_fmt("%s,%s", c->mount_opts, o) : cli_fmt("%s", o);
		} else if (!strcmp(o, "nodiratime")) {
			c->nodiratime = true; /* ours alone: libfuse knows no such option */
		} else if (!harmless(o)) {
			cli_err("-o %s: no such option; see `vexfs mount -h`", o);
			return false;
		}
	}
	return true;
}

/* the absolute path of something that need not exist yet: its parent must */
static char *abs_of_new(const char *path)
{
	char *full = cli_realpath(path);
	if (full || errno != ENOENT)
		return full;
	char *copy = cli_fmt("%s", path);
	size_t n = strlen(copy);
	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = 0;
	char *slash = strrchr(copy, '/');
	if (slash)
		*slash = 0;
	char *dir = cli_realpath(!slash ? "." : slash == copy ? "/" : copy);
	return dir ? cli_fmt("%s/%s", strcmp(dir, "/") ? dir : "", slash ? slash + 1 : copy) : NULL;
}

static bool check_dirs(struct serve_cfg *c, const char *dir, const char *mnt)
{
	struct stat st;
	c->dir = cli_realpath(dir);
	if (!c->dir) {
		if (errno == ENOTCONN)
			cli_err("the directory %s is itself a dead mount; `vexfs umount %s` first", dir, dir);
		else
			cli_err("the directory %s cannot be used: %s", dir, strerror(errno));
		return false;
	}
	if (stat(c->dir, &st) || !S_ISDIR(st.st_mode)) {
		cli_err("%s is not a directory", dir);
		return false;
	}
	if (access(c->dir, R_OK | X_OK)) {
		cli_err("no permission to read the directory %s", dir);
		return false;
	}
	c->mnt = cli_realpath(mnt);
	if (!c->mnt) {
		if (errno == ENOENT)
			cli_err("the mount point %s does not exist; make it with mkdir first", mnt);
		else if (errno == ENOTCONN)
			cli_err("a dead mount is left at %s; `vexfs umount %s` first", mnt, mnt);
		else
			cli_err("the mount point %s cannot be used: %s", mnt, strerror(errno));
		return false;
	}
	if (!strcmp(c->dir, c->mnt)) {
		cli_err("the directory and the mount point are the same (%s); mount it at another, empty directory",
		        c->dir);
		return false;
	}
	if (below(c->dir, c->mnt)) {
		cli_err("the directory %s lies inside the mount point %s: the mount would hide it", c->dir, c->mnt);
		return false;
	}
	if (below(c->mnt, c->dir)) {
		cli_err("the mount point %s lies inside the directory %s: the mount would contain itself", c->mnt,
		        c->dir);
		return false;
	}
	if (stat(c->mnt, &st)) {
		cli_err("the mount point %s cannot be used: %s", mnt, strerror(errno));
		return false;
	}
	if (!S_ISDIR(st.st_mode)) {
		cli_err("the mount point %s is not a directory", mnt);
		return false;
	}
	if (geteuid() && (st.st_uid != geteuid() || access(c->mnt, W_OK))) {
		cli_err("no permission to mount at %s: it must be yours and writable", mnt);
		return false;
	}
	return true;
}

/* what a network front must not begin with */
static bool check_listen(struct serve_cfg *c)
{
	struct http_addr a;
	if (c->token_file) {
		const char *abs = cli_realpath(c->token_file);
		if (!abs || !c->listen) {
			cli_err(abs ? "--token-file is for --listen" : "the token file %s: %s", c->token_file,
			        strerror(errno));
			return false;
		}
		c->token_file = abs;
	}
	if (!c->listen)
		return true;
	if (http_addr_parse(c->listen, &a) < 0) {
		cli_err("--listen takes an address and port, such as 127.0.0.1:7070, [::1]:7070 or 7070, not \"%s\"",
		        c->listen);
		return false;
	}
	if (!a.loopback && !c->token_file) {
		cli_err("--listen %s: other machines could reach it; give a bearer token with --token-file, or a "
		        "loopback address",
		        c->listen);
		return false;
	}
	if (c->components == ENG_none) {
		cli_err("--listen has nothing to offer with -o components=none");
		return false;
	}
	return true;
}

/* Of several mounts of DIR that begin at once, each would find nobody there yet: they take turns, by a lock on DIR that is held until the mount is
 * there to be seen.  -1: no turn, which keeps nobody from mounting; a lock of another program on DIR, or no locks here, neither. */
static int take_turn(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; fd >= 0 && i < TURN_WAIT_MS / 10 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	        i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	return fd;
}

static bool check_mounts(const struct serve_cfg *c)
{
	struct cli_mnt *m;
	int n = cli_mounts(&m);
	for (int i = 0; i < n; i++) {
		if (!strcmp(m[i].mnt, c->mnt)) {
			cli_err("the mount point %s is busy: %s (%s) is mounted there", c->mnt, m[i].source, m[i].type);
			return false;
		}
	}
	for (int i = 0; i < n; i++) {
		if (cli_mnt_is_vexfs(&m[i]) && !strcmp(m[i].source, c->dir)) {
			pid_t pid = cli_mnt_pid(m[i].mnt);
			if (pid)
				cli_err("%s is served already at %s by process %d; one mount of a directory at a time",
				        c->dir, m[i].mnt, (int)pid);
			else
				cli_err("%s is mounted already at %s, but its process is gone; `vexfs umount %s` first",
				        c->dir, m[i].mnt, m[i].mnt);
			return false;
		}
	}
	return true;
}

static bool check_fuse(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		close(fd);
	} else if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
		cli_err("there is no /dev/fuse here: load the module (modprobe fuse), or give the container the device "
		        "(docker run --device /dev/fuse --cap-add SYS_ADMIN)");
		return false;
	} else {
		cli_err("no permission to use /dev/fuse: %s", strerror(errno));
		return false;
	}
	if (geteuid()) {
		static const char *const at[] = {
		        "/bin/fusermount3", "/usr/bin/fusermount3", "/usr/local/bin/fusermount3"};
		bool have = false;
		for (size_t i = 0; i < sizeof at / sizeof *at; i++)
			have |= access(at[i], X_OK) == 0;
		if (!have) {
			cli_err("no permission to mount: you are not root and fusermount3 is not installed (package "
			        "fuse3)");
			return false;
		}
	}
	return true;
}

/* the process that holds the store's lock, -1 if it isn't known, 0 if none holds it */
static pid_t store_holder(const char *lock)
{
	char text[16] = "";
	int pid = -1, fd = open(lock, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	bool held = flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
	if (held && (pread(fd, text, sizeof text - 1, 0) <= 0 || sscanf(text, "%d", &pid) != 1))
		pid = -1;
	close(fd);
	return held ? pid : 0;
}

/* Whoever unmounts with umount(8) and mounts again finds the first daemon closing its store: it serves nobody any more, and its end is
 * waited for. Returns who holds the store still. */
static pid_t store_wait(const char *lock, bool elsewhere)
{
	struct cli_mnt *m;
	pid_t pid = store_holder(lock);
	for (int i = 0; pid < 0 && i < CLOSE_WAIT_MS / 10; i++) { /* it is just taking the lock, or leaving it */
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
		pid = store_holder(lock);
	}
	int n = pid > 1 && elsewhere ? cli_mounts(&m) : 0; /* DIR itself is mounted nowhere: check_mounts */
	for (int i = 0; i < n; i++)
		if (cli_mnt_is_vexfs(&m[i]) && cli_mnt_pid(m[i].mnt) == pid)
			return pid;
	int fd = pid > 1 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	if (fd >= 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		(void)poll(&p, 1, CLOSE_WAIT_MS);
		close(fd);
	}
	return pid ? store_holder(lock) : 0;
}

/* The store is opened lazily, so what would make every opening fail is looked for here: a lock that is held, a newer format. */
static bool check_store(struct serve_cfg *c)
{
	uint8_t h[100];
	if (c->store) {
		char *abs = abs_of_new(c->store);
		if (!abs) {
			cli_err("the store %s cannot be used: %s", c->store, strerror(errno));
			return false;
		}
		c->store = abs;
		if (below(abs, c->mnt)) {
			cli_err("the store %s lies inside the mount point %s: a store cannot live in its own mount",
			        abs, c->mnt);
			return false;
		}
	}
	if (c->components == ENG_none)
		return true;
	const char *at = c->store ? c->store : cli_fmt("%s/.vexfs", c->dir);
	struct stat st;
	if (!stat(at, &st) && !S_ISDIR(st.st_mode)) {
		cli_err("the store %s is not a directory", at);
		return false;
	}
	pid_t pid = store_wait(cli_fmt("%s/LOCK", at), c->store);
	if (pid) {
		cli_err("the store %s is in use by process %s; one mount of a directory at a time", at,
		        pid > 0 ? cli_fmt("%d", (int)pid) : "unknown");
		return false;
	}
	int fd = open(cli_fmt("%s/catalog.db", at), O_RDONLY | O_CLOEXEC);
	if (fd >= 0) { /* SQLite's user_version: big-endian at byte 60 of the file */
		ssize_t n = pread(fd, h, sizeof h, 0);
		close(fd);
		uint32_t v = (uint32_t)h[60] << 24 | (uint32_t)h[61] << 16 | (uint32_t)h[62] << 8 | h[63];
		if (n == (ssize_t)sizeof h && !memcmp(h, "SQLite format 3", 16) && v > SERVE_STORE_VERSION) {
			cli_err("the store %s has format %u; this vexfs knows up to %u: %s", at, v, SERVE_STORE_VERSION,
			        err_text(-VX_ERR_store_newer));
			return false;
		}
	}
	return true;
}

/* the model asked for, else the one that `model use` chose; into its folder. A default that is gone is no reason not to mount. */
static bool check_model(struct serve_cfg *c)
{
	char name[MODEL_NAME_MAX + 1], *path = cli_alloc(CONF_PATH_MAX);
	const char *home = cli_model_home(), *want = c->model;
	if (c->components != ENG_all || (want && !strcmp(want, "none"))) {
		c->model = NULL;
		return true;
	}
	if (!want && home && model_default(os_real(), home, name) >= 0)
		want = name;
	if (!want)
		return true;
	struct stat st;
	int rc = model_path(home ? home : "", want, path, CONF_PATH_MAX);
	char *abs = rc < 0 ? NULL : cli_realpath(path);
	if (abs && !stat(abs, &st) && S_ISDIR(st.st_mode)) {
		c->model = abs;
		return true;
	}
	if (c->model) {
		cli_err("there is no model %s; `vexfs model list` names those that are, `vexfs model add` gets one",
		        want);
		return false;
	}
	cli_note("the model %s that `vexfs model use` chose is gone; search is by words", want);
	return true;
}

/* the parent's side: wait for the word, then for the first answer of the mount itself */
static int wait_for_child(pid_t child, int pipe_fd, const struct serve_cfg *c)
{
	struct serve_word w = {0};
	struct stat st;
	ssize_t n;
	do
		n = read(pipe_fd, &w, sizeof w);
	while (n < 0 && errno == EINTR);
	close(pipe_fd);
	if (n == (ssize_t)sizeof w && w.ok) {
		if (stat(c->mnt, &st) == 0)
			return CLI_OK;
		return cli_err("the mount at %s was made but does not answer: %s; the system log says more", c->mnt,
		        strerror(errno));
	}
	int status = 0;
	waitpid(child, &status, 0);
	if (n == (ssize_t)sizeof w) {
		w.text[sizeof w.text - 1] = 0;
		return cli_err("%s", w.text);
	}
	if (WIFSIGNALED(status))
		return cli_err("the daemon was killed by signal %d before it served", WTERMSIG(status));
	return cli_err(
	        "the daemon ended before it served (exit status %d); the system log says more", WEXITSTATUS(status));
}

int cmd_mount(int argc, char **argv)
{
	static const struct option longs[] = {{"foreground", no_argument, NULL, 'f'},
	        {"store", required_argument, NULL, 'S'}, {"model", required_argument, NULL, 'm'},
	        {"mem-limit", required_argument, NULL, 'M'}, {"listen", required_argument, NULL, 'L'},
	        {"token-file", required_argument, NULL, 'T'}, {"help", no_argument, NULL, 'h'}, {0}};
	struct serve_cfg c = {.components = ENG_all, .turn_fd = -1};
	int o, word[2];

	while ((o = getopt_long(argc, argv, "fo:h", longs, NULL)) != -1) {
		switch (o) {
		case 'f':
			c.foreground = true;
			break;
		case 'o':
			if (!parse_o(&c, optarg))
				return CLI_ERROR;
			break;
		case 'S':
			c.store = optarg;
			break;
		case 'm':
			c.model = optarg;
			break;
		case 'M':
			if (num_size(optarg, &c.mem_limit) < 0)
				return cli_err("--mem-limit is a size like 512M or 2G, not \"%s\"", optarg);
			break;
		case 'L':
			c.listen = optarg;
			break;
		case 'T':
			c.token_file = optarg;
			break;
		case 'h':
			return cli_usage("mount", true);
		default:
			return cli_usage("mount", false);
		}
	}
	if (argc - optind != 2)
		return cli_usage("mount", false);
	if (!check_listen(&c))
		return CLI_ERROR;
	if (!check_dirs(&c, argv[optind], argv[optind + 1]))
		return CLI_ERROR;
	c.turn_fd = take_turn(c.dir);
	if (!check_mounts(&c) || !check_store(&c) || !check_model(&c) || !check_fuse())
		return CLI_ERROR;
	if (c.foreground)
		return serve_run(&c, -1);

	fflush(NULL);
	if (pipe2(word, O_CLOEXEC))
		return cli_err("pipe: %s", strerror(errno));
	pid_t child = fork();
	if (child < 0)
		return cli_err("fork: %s", strerror(errno));
	if (!child) {
		close(word[0]);
		setsid();
		_exit(serve_run(&c, word[1]));
	}
	close(word[1]);
	if (c.turn_fd >= 0)
		close(c.turn_fd); /* it is the child's now */
	return wait_for_child(child, word[0], &c);
}
