/* serve.c - the daemon: builds the parts from the ground up, serves, takes them down in the opposite order.
 *
 *     root fd -> engine (no thread yet) -> fs -> transport: mounted, workers started -> engine's threads -> wait
 *     -> engine stopped (parked requests are answered while replies can still go out, graphs published) -> transport -> fs -> engine
 *
 * Signals: TERM and INT ask for a clean stop; a second one forces (detach the mount, end the process: the kernel answers every
 * waiting client with ENOTCONN).  HUP and PIPE are ignored: a closed terminal must not take a filesystem down.
 * One malloc arena: glibc would otherwise reserve 64 MiB of address space a thread. */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/conf.h"
#include "base/log.h"
#include "base/thread.h"
#include "cli/cli.h"
#include "cli/serve.h"
#include "engine/engine.h"
#include "fs/fs.h"
#include "fs/transport.h"
#include "server/http.h"
#include "query/query.h"

static struct transport *serving; /* for the handler; set before the signals are let in */
static const char *serving_at;
static volatile sig_atomic_t stops;

static void on_stop(int sig)
{
	int e = errno;
	(void)sig;
	if (stops++) {
		umount2(serving_at,
		        MNT_DETACH); /* refused when not root: then the kernel's abort at exit is the answer */
		_exit(CLI_ERROR);
	}
	if (serving)
		transport_stop(serving);
	errno = e;
}

/* what serves the mount, for `status`: known once the kernel has agreed, which is before the engine answers anything */
static struct {
	char name[12], why[240], watch[12], watch_why[120];
	uint64_t ring_bytes;
	char listen[96];
} way;

static void way_say(const struct transport *t, const struct fs *f)
{
	snprintf(way.watch, sizeof way.watch, "%s", fs_watch_name(f));
	snprintf(way.watch_why, sizeof way.watch_why, "%s", fs_watch_why(f));
	snprintf(way.name, sizeof way.name, "%s", transport_name(t));
	snprintf(way.why, sizeof way.why, "%s", transport_why(t));
	way.ring_bytes = transport_ring_bytes(t);
}

static void signals_set(void)
{
	struct sigaction sa = {.sa_handler = on_stop};
	sigemptyset(&sa.sa_mask);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

static int fail(int word_fd, const char *text)
{
	struct serve_word w = {0};
	if (word_fd < 0)
		return cli_err("%s", text);
	snprintf(w.text, sizeof w.text, "%s", text);
	if (write(word_fd, &w, sizeof w) != (ssize_t)sizeof w)
		log_msg(LOGL_error, text); /* the parent is gone: only the log is left */
	close(word_fd);
	return CLI_ERROR;
}

static const char *sentence(const char *what, int rc, const struct vx_errinfo *err)
{
	const char *why = rc <= -VX_ERR_BASE ? err_text(rc) : strerror(-rc);
	return err && err->detail[0] ? cli_fmt("%s: %s (%s)", what, why, err->detail) : cli_fmt("%s: %s", what, why);
}

static void let_parent_go(int word_fd)
{
	struct serve_word w = {.ok = 1};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	if (write(word_fd, &w, sizeof w) != (ssize_t)sizeof w)
		log_msg(LOGL_warn, "the mount command was gone before the mount served");
	close(word_fd);
}

static void process_set(void)
{
	struct rlimit rl;
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_TRIM_THRESHOLD, 256 << 10);
	mallopt(M_MMAP_THRESHOLD, 256 << 10);
	umask(0); /* the clients' masks come with their requests */
	if (chdir("/"))
		log_msg(LOGL_warn, "cannot change to /: the start directory stays busy");
	if (!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

/* the network front, when it was asked for. 0 or < 0, *ret_bad the sentence */
static int listen_start(
        const struct serve_cfg *c, struct engine *e, int root_fd, struct http **ret, const char **ret_bad)
{
	static char token[HTTP_TOKEN_MAX + 1];
	struct http_cfg hc = {.os = os_real(),
	        .e = e,
	        .root_fd = root_fd,
	        .mnt = c->mnt,
	        .version = VEXFS_VERSION_TEXT,
	        .slow_ms = c->listen_ms,
	        .uid = (uint32_t)getuid(),
	        .gid = (uint32_t)getgid()};
	if (!c->listen)
		return 0;
	int rc = http_addr_parse(c->listen, &hc.addr);
	if (rc >= 0 && c->token_file) {
		rc = http_token_read(os_real(), c->token_file, token);
		hc.token = token;
		if (rc < 0)
			*ret_bad =
			        rc == -EPERM ? cli_fmt("the token file %s can be read by others; chmod 600 it",
			                               c->token_file)
			        : rc == -VX_ERR_bad_value
			                ? cli_fmt("the token in %s must be 16 to 512 printable characters on one line",
			                          c->token_file)
			                : sentence(c->token_file, rc, NULL);
	}
	if (rc >= 0)
		rc = http_start(&hc, ret);
	if (rc >= 0)
		snprintf(way.listen, sizeof way.listen, hc.addr.v6 ? "http://[%s]:%u" : "http://%s:%u", hc.addr.host,
		        (unsigned)http_port(*ret));
	else if (!*ret_bad)
		*ret_bad = sentence(cli_fmt("cannot listen at %s", c->listen), rc, NULL);
	return rc;
}

int serve_run(const struct serve_cfg *c, int word_fd)
{
	struct http *h = NULL;
	struct engine *e = NULL;
	struct fs *f = NULL;
	struct transport *t = NULL;
	struct vx_errinfo err = {0};
	const char *bad = NULL;
	int rc, status = CLI_ERROR;

	process_set();
	int root_fd = open(c->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return fail(word_fd, sentence(c->dir, -errno, NULL));
	if (c->foreground)
		log_to_stderr();
	else
		log_to_syslog();

	mem_limit_set(c->mem_limit);
	vq_debug_set(c->debug);
	rc = stack_limits(c->stack_warn ? c->stack_warn : CONF_STACK_WARN,
	        c->stack_critical ? c->stack_critical : CONF_STACK_CRITICAL);
	if (rc < 0) {
		bad = "stack-warn and stack-critical: at least 256 bytes each, and the warning not above the other";
		goto out;
	}
	const struct eng_cfg ec = {.os = os_real(),
	        .root_fd = root_fd,
	        .dir = c->dir,
	        .mnt = c->mnt,
	        .store_dir = c->store,
	        .filters = c->filters,
	        .listen = way.listen,
	        .components = c->components,
	        .mem_limit = c->mem_limit,
	        .read_only = c->read_only,
	        .owner_uid = (uint32_t)getuid(),
	        .transport = way.name,
	        .transport_why = way.why,
	        .transport_ring_bytes = &way.ring_bytes,
	        .watch = way.watch,
	        .watch_why = way.watch_why,
	        .version = VEXFS_VERSION_TEXT,
	        .model = c->model,
	        .model_idle_ms = c->model_idle_ms};
	rc = eng_new(&ec, &e);
	if (rc < 0) {
		bad = sentence("the vector engine cannot start", rc, NULL);
		goto out;
	}
	const struct fs_cfg fc = {.dir = c->dir,
	        .mnt = c->mnt,
	        .owner_uid = (uint32_t)getuid(),
	        .owner_gid = (uint32_t)getgid(),
	        .read_only = c->read_only,
	        .allow_other = c->allow_other,
	        .noatime = c->noatime,
	        .nodiratime = c->nodiratime,
	        .entry_timeout = 1.0,
	        .attr_timeout = 1.0,
	        .store_dir = c->store ? c->store : cli_fmt("%s/.vexfs", c->dir)};
	rc = fs_new(&fc, root_fd, e, &f);
	if (rc < 0) {
		bad = sentence("the filesystem cannot start", rc, NULL);
		goto out;
	}
	const struct transport_cfg tc = {.mnt = c->mnt,
	        .fsname = c->dir,
	        .subtype_opts = c->mount_opts,
	        .allow_other = c->allow_other,
	        .read_only = c->read_only,
	        .want = c->transport,
	        .custom_fd = -1};
	rc = transport_new(f, &tc, &t, &err);
	if (rc < 0) {
		bad = sentence(cli_fmt("cannot mount at %s", c->mnt), rc, &err);
		goto out;
	}
	serving = t;
	serving_at = c->mnt;
	signals_set();
	rc = transport_start(t);
	if (rc >= 0) {
		way_say(t, f);
		rc = eng_start(e);
	}
	if (rc >= 0)
		rc = listen_start(c, e, root_fd, &h, &bad);
	if (rc < 0) {
		bad = bad ? bad : sentence("the mount's threads cannot start", rc, NULL);
		goto out;
	}
	if (c->turn_fd >= 0)
		(void)close(c->turn_fd); /* a directory: nothing to lose */
	if (word_fd >= 0)
		let_parent_go(word_fd);
	word_fd = -1;
	rc = transport_wait(t);
	if (rc < 0)
		log_rc(LOGL_error, "the mount ended", rc);
	status = rc < 0 ? CLI_ERROR : CLI_OK;
out:
	if (bad)
		status = fail(word_fd, bad);
	http_stop(h);
	if (e)
		eng_stop(e);
	transport_free(t);
	fs_free(f);
	eng_free(e);
	close(root_fd);
	log_done();
	return status;
}
