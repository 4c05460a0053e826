/* transport.c - the plain transport: workers read requests from /dev/fuse (or a socket that speaks the same) and run them.
 *
 * libfuse's own loop is not used: its workers can't be given a painted stack, measured per operation, or bounded.  Each worker has one
 * buffer: requests are read into its first part, replies of data are built in the rest (transport_scratch).  Untouched pages of it
 * cost nothing.
 *
 * How many: `base` workers wait for requests; when the last idle one takes a request another is started, up to WORKERS_MAX, so a slow disk
 * under one request does not stop the others; surplus ones end when idle again.
 *
 * The end: unmounted, read says ENODEV and the worker leaves.  transport_stop sets a flag and writes to an eventfd; transport_wait
 * then wakes the workers out of read(2) by a signal with an empty handler (repeated until the last is gone, so none is lost between look
 * and read), and the mount is taken down by transport_free.
 *
 * Nothing of libfuse may print on these stacks (fprintf takes 10 KB): its log function is replaced, and the write hook keeps errors
 * of replies from its perror. */
#include "fs/transport.h"
#include "fs/inode.h"
#include "fs/transport_wire.h"
#include "base/log.h"
#include "base/os.h"
#include "base/stack.h"
#include "base/thread.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS_MAX 16u
#define REQ_BYTES   (TRANSPORT_MAX_WRITE + 8192u)
#define REPLY_BYTES (TRANSPORT_MAX_WRITE + 8192u)
#define BUF_BYTES   (REQ_BYTES + REPLY_BYTES)
#define WAKE_SIGNAL SIGUSR2

struct worker {
	struct thread th;
	struct transport *t;
	uint8_t *buf;
	enum { W_free, W_running, W_ended } state; /* t->lock */
};
struct transport {
	struct fs *f;
	struct fuse_session *se;
	struct fuse_args args;
	int fd, ev;
	bool custom, mounted;
	char *mnt;
	unsigned base;
	pthread_mutex_t lock; /* guards worker[].state */
	struct worker worker[WORKERS_MAX];
	_Atomic uint32_t running, idle;
	_Atomic bool stop, ready, over;
	_Atomic uint64_t init_unique;
	uint8_t *one_buf;
};

static _Thread_local uint8_t *my_buf;

void *transport_scratch(size_t *ret_cap)
{
	*ret_cap = REPLY_BYTES;
	return my_buf + REQ_BYTES;
}

/* ---- hooks below libfuse ------------------------------------------------------------------------------------------------------------- */

static ssize_t io_read(int fd, void *b, size_t n, void *u)
{
	(void)u;
	return read(fd, b, n);
}

static ssize_t io_writev(int fd, struct iovec *iov, int n, void *u)
{
	struct fs *f = u;
	struct transport *t = f->transport;
	const struct fuse_out_header *o = iov[0].iov_base;
	ssize_t r = writev(fd, iov, n);
	if (o->unique && o->unique == atomic_load_explicit(&t->init_unique, memory_order_relaxed)) {
		atomic_store(&t->init_unique, 0);
		if (!o->error)
			atomic_store(&t->ready, true);
	}
	if (r >= 0 || errno == ENOENT) /* ENOENT: the request was aborted; libfuse passes that on quietly */
		return r;
	if (errno != ENODEV && errno != EPIPE && errno != ECONNRESET)
		log_rc(LOGL_error, "a reply was not taken by the kernel", -errno);
	return (ssize_t)o->len;
}

static void quiet_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	(void)ap; /* formatting takes more stack than a worker has: the words alone */
	if (level <= FUSE_LOG_WARNING)
		log_msg(LOGL_warn, fmt);
}

/* during mounting, on the main thread: keep what libfuse says for the error answer */
static char mount_words[200];
static void keep_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	(void)level;
	struct sbuf b;
	sbuf_fixed(&b, mount_words, sizeof mount_words);
	for (const char *p = fmt; *p; p++) {
		if (*p != '%') {
			if (*p != '\n')
				sb_ch(&b, *p);
			continue;
		}
		p++;
		if (*p == 's') {
			const char *s = va_arg(ap, const char *);
			sb_str(&b, s ? s : "");
		} else if (*p == 'i' || *p == 'd')
			sb_i64(&b, va_arg(ap, int));
		else
			break; /* a form we don't know: stop before reading a wrong argument */
	}
	(void)sbuf_cstr(&b);
}

/* ---- one request ---------------------------------------------------------------------------------------------------------------------- */

static void refuse(struct transport *t, const uint8_t *msg, int rc)
{
	struct fuse_in_header h;
	memcpy(&h, msg, sizeof h);
	struct fuse_out_header o = {.len = sizeof o, .error = rc, .unique = h.unique};
	if (wire_has_reply(h.opcode) && write(t->fd, &o, sizeof o) < 0 && errno != ENOENT && errno != ENODEV)
		log_rc(LOGL_error, "a refusal was not taken by the kernel", -errno);
}

static void process(struct transport *t, uint8_t *msg, size_t n)
{
	struct fuse_in_header h;
	struct stack_mark m;
	int rc = wire_check(msg, n);
	if (rc == -EPROTO)
		return;
	if (rc < 0) {
		refuse(t, msg, rc);
		return;
	}
	memcpy(&h, msg, sizeof h);
	enum perf_op op = wire_perf_op(h.opcode);
	if (h.opcode == FUSE_INIT)
		atomic_store(&t->init_unique, h.unique);
	struct fuse_buf fb = {.mem = msg, .size = n};
	uint64_t t0 = os_mono_ns(os_real());
	stack_op_begin_op(&m, op);
	fuse_session_process_buf(t->se, &fb);
	stack_op_end(&m, op);
	perf_op(op, os_mono_ns(os_real()) - t0, 0);
}

/* 1: n bytes; 0: the end; < 0: look again */
static int receive(struct transport *t, uint8_t *buf, size_t *ret_n)
{
	ssize_t n = read(t->fd, buf, REQ_BYTES);
	if (n > 0) {
		*ret_n = (size_t)n;
		return 1;
	}
	if (n == 0 || errno == ENODEV || errno == ECONNRESET || errno == EBADF)
		return 0;
	return -errno; /* EINTR: woken; ENOENT: the request was taken back; EAGAIN */
}

/* ---- workers ---------------------------------------------------------------------------------------------------------------------------- */

static void spawn(struct transport *t);

static void wake_main(struct transport *t)
{
	uint64_t one = 1;
	ssize_t r = write(t->ev, &one, sizeof one);
	(void)r; /* the counter can only be full if a wake-up is pending already */
}

static void worker_main(void *arg)
{
	struct worker *w = arg;
	struct transport *t = w->t;
	sigset_t wake;
	sigemptyset(&wake);
	sigaddset(&wake, WAKE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	my_buf = w->buf;
	while (!atomic_load(&t->stop)) {
		size_t n = 0;
		if (atomic_fetch_add(&t->idle, 1) >= t->base && !t->custom) {
			atomic_fetch_sub(&t->idle, 1);
			break; /* surplus */
		}
		int rc = receive(t, w->buf, &n);
		uint32_t was = atomic_fetch_sub(&t->idle, 1);
		if (rc == 0) {
			atomic_store(&t->over, true);
			atomic_store(&t->stop, true);
			break;
		}
		if (rc < 0)
			continue;
		if (was == 1 && !t->custom)
			spawn(t);
		process(t, w->buf, n);
	}
	pthread_mutex_lock(&t->lock);
	w->state = W_ended;
	pthread_mutex_unlock(&t->lock);
	atomic_fetch_sub(&t->running, 1);
	wake_main(t);
}

/* one more worker if there is room; ended ones are joined here and their places used again */
static void spawn(struct transport *t)
{
	struct worker *w = NULL;
	if (pthread_mutex_trylock(&t->lock))
		return; /* somebody is at it */
	for (unsigned i = 0; i < WORKERS_MAX && !w; i++)
		if (t->worker[i].state != W_running)
			w = &t->worker[i];
	if (w && !atomic_load(&t->stop)) {
		if (w->state == W_ended)
			thread_join(&w->th);
		if (!w->buf)
			w->buf = mem_alloc(MEM_fs, BUF_BYTES);
		w->t = t;
		w->state = W_free;
		if (w->buf) {
			memset(&w->th, 0, sizeof w->th);
			atomic_fetch_add(&t->running, 1);
			w->state = W_running;
			int rc = thread_start(&w->th, "vexfs-fuse", CONF_FUSE_STACK, worker_main, w);
			if (rc < 0) {
				w->state = W_free;
				atomic_fetch_sub(&t->running, 1);
			}
		}
	}
	pthread_mutex_unlock(&t->lock);
}

/* ---- life --------------------------------------------------------------------------------------------------------------------------------- */

static int add_opts(struct transport *t, const struct transport_cfg *cfg)
{
	struct arena a;
	struct sbuf b;
	arena_init(&a, MEM_fs, 16384);
	int rc = sbuf_arena(&b, &a, 512, 8192);
	if (rc >= 0) {
		sb_str(&b, "default_permissions,subtype=vexfs,fsname=");
		for (const char *p = cfg->fsname ? cfg->fsname : "vexfs"; *p; p++) {
			if (*p == ',' || *p == '\\')
				sb_ch(&b, '\\');
			sb_ch(&b, *p);
		}
		if (cfg->allow_other)
			sb_str(&b, ",allow_other");
		if (cfg->read_only)
			sb_str(&b, ",ro");
		if (cfg->subtype_opts && *cfg->subtype_opts) {
			sb_ch(&b, ',');
			sb_str(&b, cfg->subtype_opts);
		}
		const char *o = sbuf_cstr(&b);
		if (b.over)
			rc = -E2BIG;
		else if (fuse_opt_add_arg(&t->args, "vexfs") || fuse_opt_add_arg(&t->args, "-o") ||
		         fuse_opt_add_arg(&t->args, o) || (cfg->debug && fuse_opt_add_arg(&t->args, "-odebug")))
			rc = -ENOMEM;
	}
	arena_done(&a);
	return rc;
}

static void wake_handler(int sig)
{
	(void)sig;
}

static int fail(struct transport *t, int rc, struct vx_errinfo *reterr)
{
	if (reterr) {
		struct sbuf b;
		reterr->code = rc;
		reterr->position = -1;
		sbuf_fixed(&b, reterr->detail, sizeof reterr->detail);
		sb_str(&b, mount_words);
		(void)sbuf_cstr(&b);
	}
	transport_free(t);
	return rc;
}

int transport_new(struct fs *f, const struct transport_cfg *cfg, struct transport **ret, struct vx_errinfo *reterr)
{
	static const struct fuse_custom_io io = {.read = io_read, .writev = io_writev};
	struct transport *t = mem_zalloc(MEM_fs, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->f = f;
	t->fd = t->ev = -1;
	t->custom = cfg->custom_fd >= 0;
	mount_words[0] = 0;
	pthread_mutex_init(&t->lock, NULL);
	f->transport = t;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	t->base = cfg->workers ? cfg->workers : cpus > 4 ? 4 : cpus < 2 ? 2 : (unsigned)cpus;
	if (t->base > WORKERS_MAX)
		t->base = WORKERS_MAX;
	t->ev = eventfd(0, EFD_CLOEXEC);
	if (t->ev < 0)
		return fail(t, -errno, reterr);
	fuse_set_log_func(keep_log);
	int rc = add_opts(t, cfg);
	if (rc < 0)
		return fail(t, rc, reterr);
	t->se = fuse_session_new(&t->args, fs_ops(), sizeof *fs_ops(), f);
	if (!t->se)
		return fail(t, -EINVAL, reterr);
	f->se = t->se;
	if (!t->custom) {
		errno = 0;
		if (fuse_session_mount(t->se, cfg->mnt))
			return fail(t, errno ? -errno : -EPERM, reterr);
		t->mounted = true;
		t->mnt = mem_strdup(MEM_fs, cfg->mnt);
		t->fd = fuse_session_fd(t->se);
		fcntl(t->fd, F_SETFD, FD_CLOEXEC);
	} else {
		t->fd = cfg->custom_fd;
	}
	if (fuse_session_custom_io(t->se, &io, t->fd))
		return fail(t, -ENOMEM, reterr);
	t->one_buf = t->custom ? mem_alloc(MEM_fs, BUF_BYTES) : NULL;
	if (t->custom && !t->one_buf)
		return fail(t, -ENOMEM, reterr);
	fuse_set_log_func(quiet_log);
	struct sigaction sa = {.sa_handler = wake_handler, .sa_flags = SA_ONSTACK};
	sigaction(WAKE_SIGNAL, &sa, NULL);
	sa = (struct sigaction){.sa_handler = SIG_IGN};
	sigaction(SIGPIPE, &sa, NULL);
	*ret = t;
	return 0;
}

int transport_start(struct transport *t)
{
	for (unsigned i = 0; i < t->base; i++)
		spawn(t);
	return atomic_load(&t->running) ? 0 : -EAGAIN;
}

static void wake_workers(struct transport *t)
{
	pthread_mutex_lock(&t->lock);
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		if (t->worker[i].state == W_running)
			pthread_kill(t->worker[i].th.id, WAKE_SIGNAL);
	pthread_mutex_unlock(&t->lock);
}

int transport_wait(struct transport *t)
{
	while (atomic_load(&t->running)) {
		struct pollfd p = {.fd = t->ev, .events = POLLIN};
		uint64_t v;
		bool stop = atomic_load(&t->stop);
		if (stop)
			wake_workers(t);
		if (poll(&p, 1, stop ? 20 : -1) > 0) {
			ssize_t r = read(t->ev, &v, sizeof v);
			(void)r; /* only clears the wake-up */
		}
	}
	return 0;
}

void transport_stop(struct transport *t)
{
	int e = errno;
	atomic_store(&t->stop, true);
	wake_main(t);
	errno = e;
}

void transport_free(struct transport *t)
{
	if (!t)
		return;
	atomic_store(&t->stop, true);
	(void)transport_wait(t); /* always 0 */
	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		if (t->worker[i].state != W_free)
			thread_join(&t->worker[i].th);
		mem_free(MEM_fs, t->worker[i].buf);
	}
	if (t->se) {
		if (t->mounted)
			fuse_session_unmount(t->se);
		fuse_session_destroy(t->se);
		t->f->se = NULL;
	}
	fuse_opt_free_args(&t->args);
	if (t->ev >= 0)
		close(t->ev);
	mem_free(MEM_fs, t->one_buf);
	mem_free(MEM_fs, t->mnt);
	pthread_mutex_destroy(&t->lock);
	t->f->transport = NULL;
	mem_free(MEM_fs, t);
}

const char *transport_name(const struct transport *t)
{
	(void)t;
	return "plain";
}
const char *transport_why(const struct transport *t)
{
	(void)t;
	return "";
}
bool transport_ready(struct transport *t)
{
	return atomic_load(&t->ready);
}

int transport_serve_one(struct transport *t)
{
	size_t n = 0;
	my_buf = t->one_buf;
	int rc = receive(t, my_buf, &n);
	if (rc > 0)
		process(t, my_buf, n);
	return rc;
}
