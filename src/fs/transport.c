/* transport.c - the life of a session: mounted, agreed on with the kernel, served, taken down; and which transport serves it.
 *
 * Four transports: /dev/fuse alone (plain), with kernel passthrough of file data (pt), requests over io_uring (uring), both.  Which
 * is possible shows in steps, and each step that fails leaves the next lower one running:
 *
 *   before the mount   are we root (backing ids need it); is the kernel's enable_uring on
 *   INIT arrives       does the kernel offer them
 *   before its reply   io_uring rings set up, their memory reserved; only then is FUSE_OVER_IO_URING said, for from then on the
 *                      kernel holds requests back until the rings are there
 *   after its reply    the rings' entries handed over (if that is refused the kernel goes back to /dev/fuse by itself); one backing
 *                      id opened and closed
 *
 * libfuse 3.14 knows none of these flags: the writev hook adds them to the INIT reply it built.  INIT is served by transport_start on
 * its caller's thread, before there are workers.
 *
 * FUSE_HANDLE_KILLPRIV_V2 is always taken: without it each write asks for security.capability first.  It makes clearing suid and sgid
 * our duty: the kernel says in the request when (transport_kill_priv), see ops_file.c and transport_pt.c.
 *
 * The end: unmounted, read says ENODEV and the rings' commands ENOTCONN, and their threads leave.  transport_stop sets a flag and
 * writes to an eventfd; transport_wait then wakes the workers (repeated until the last is gone, so none is lost between look and read).
 * Ring threads stay until transport_free, refusing what is new: replies to parked requests can only go out through them.
 *
 * Nothing of libfuse may print on these stacks (fprintf takes 10 KB): its log function is replaced, and the write hook keeps errors
 * of replies from its perror. */
#include "fs/transport_priv.h"
#include "base/log.h"
#include "base/os.h"
#include "base/stack.h"
#include "base/tick.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define OVERLAYFS_MAGIC 0x794c7630

_Thread_local struct transport_cur transport_cur;
unsigned transport_faults;
bool (*transport_far)(struct transport *t, const struct iovec *iov, int n);

void *transport_scratch(size_t *ret_cap)
{
	*ret_cap = transport_cur.scratch_cap;
	return transport_cur.scratch;
}
bool transport_tmpfile(void)
{
	return transport_cur.tmpfile;
}
bool transport_kill_priv(void)
{
	return transport_cur.kill_priv;
}

void transport_why_not(struct transport *t, const char *what, const char *why)
{
	struct sbuf b;
	char old[sizeof t->why];
	memcpy(old, t->why, sizeof old);
	sbuf_fixed(&b, t->why, sizeof t->why);
	sb_str(&b, old);
	if (*old)
		sb_str(&b, "; ");
	sb_str(&b, what);
	sb_str(&b, ": ");
	sb_str(&b, why);
	(void)sbuf_cstr(&b); /* cut short when it doesn't fit */
}

/* ---- INIT ------------------------------------------------------------------------------------------------------------------------------ */

/* what the kernel offers */
static void init_seen(struct transport *t, const uint8_t *msg, size_t n, uint64_t unique)
{
	struct fuse_init_in in = {0};
	size_t k = n - sizeof(struct fuse_in_header);
	memcpy(&in, msg + sizeof(struct fuse_in_header), k < sizeof in ? k : sizeof in);
	t->offered = in.flags;
	if (in.flags & FUSE_INIT_EXT)
		t->offered |= (uint64_t)in.flags2 << 32;
	atomic_store(&t->init_unique, unique);
}

/* rings are ready to take over, or not and the reason is noted */
static bool rings_prepare(struct transport *t, const struct uapi_init_out *o)
{
	uint32_t payload = o->max_pages * (uint32_t)sysconf(_SC_PAGESIZE);
	if (payload < o->max_write)
		payload = o->max_write;
	if (payload < UAPI_URING_PAYLOAD_MIN)
		payload = UAPI_URING_PAYLOAD_MIN;
	int rc = rings_new(t, payload, &t->rings);
	if (rc < 0)
		transport_why_not(
		        t, "uring", rc == -E2BIG ? "its memory bound is too small for the processors" : err_text(rc));
	return rc >= 0;
}

/* flags libfuse doesn't know, into the reply it built */
static void init_patch(struct transport *t, struct uapi_init_out *o)
{
	/* NO_EXPORT_SUPPORT: our node ids live as long as the kernel's nodes, a file handle made of one would go stale under its holder */
	uint64_t add = t->offered & (UAPI_HANDLE_KILLPRIV_V2 | UAPI_NO_EXPORT_SUPPORT);
	t->killpriv = (add & UAPI_HANDLE_KILLPRIV_V2) != 0;
	if (t->want & TR_pt) {
		if (!(t->offered & UAPI_PASSTHROUGH) || (o->flags & FUSE_WRITEBACK_CACHE))
			transport_why_not(t, "pt", "the kernel has no passthrough (Linux 6.9)");
		else {
			add |= UAPI_PASSTHROUGH;
			o->max_stack_depth = t->stack_depth;
		}
	}
	if (t->want & TR_uring) {
		if (!(t->offered & UAPI_OVER_IO_URING))
			transport_why_not(t, "uring", "the kernel doesn't offer it (Linux 6.14)");
		else if (rings_prepare(t, o))
			add |= UAPI_OVER_IO_URING;
	}
	if (add >> 32)
		add |= UAPI_INIT_EXT;
	o->flags |= (uint32_t)add;
	o->flags2 |= (uint32_t)(add >> 32);
}

/* ---- hooks below libfuse ------------------------------------------------------------------------------------------------------------- */

static ssize_t io_read(int fd, void *b, size_t n, void *u)
{
	(void)u;
	return read(fd, b, n);
}

static ssize_t init_reply(struct transport *t, int fd, const struct iovec *iov, int n)
{
	const struct fuse_out_header *o = iov[0].iov_base;
	struct uapi_init_out out = {0};
	struct iovec v[2] = {iov[0], {&out, sizeof out}};
	atomic_store(&t->init_unique, 0);
	if (o->error || n != 2 || iov[1].iov_len != sizeof out)
		return writev(fd, iov, n);
	memcpy(&out, iov[1].iov_base, sizeof out);
	init_patch(t, &out);
	ssize_t r = writev(fd, v, 2);
	if (r >= 0)
		atomic_store(&t->ready, true);
	return r;
}

static ssize_t io_writev(int fd, struct iovec *iov, int n, void *u)
{
	struct fs *f = u;
	struct transport *t = f->transport;
	const struct fuse_out_header *o = iov[0].iov_base;
	if (transport_far && transport_cur.ent && transport_far(t, iov, n))
		return (ssize_t)o->len;
	if (t->rings && o->unique && rings_reply(t->rings, iov, n))
		return (ssize_t)o->len;
	bool init = o->unique && o->unique == atomic_load_explicit(&t->init_unique, memory_order_relaxed);
	ssize_t r = init ? init_reply(t, fd, iov, n) : writev(fd, iov, n);
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

void transport_refuse(struct transport *t, const uint8_t *msg, int rc)
{
	struct fuse_in_header h;
	memcpy(&h, msg, sizeof h);
	struct fuse_out_header o = {.len = sizeof o, .error = rc, .unique = h.unique};
	struct iovec v = {&o, sizeof o};
	if (wire_has_reply(h.opcode))
		(void)io_writev(t->fd, &v, 1, t->f); /* a request taken back meanwhile needs no answer */
}

/* does the kernel leave it to us to clear suid and sgid, as FUSE_HANDLE_KILLPRIV_V2 has it? @p what follows the header, checked */
static bool wants_kill(uint32_t opcode, const uint8_t *p)
{
	switch (opcode) {
	case FUSE_WRITE: {
		struct fuse_write_in a;
		memcpy(&a, p, sizeof a);
		return a.write_flags & FUSE_WRITE_KILL_SUIDGID;
	}
	case FUSE_OPEN: {
		struct fuse_open_in a;
		memcpy(&a, p, sizeof a);
		return a.open_flags & FUSE_OPEN_KILL_SUIDGID;
	}
	case FUSE_CREATE: {
		struct fuse_create_in a;
		memcpy(&a, p, sizeof a);
		return a.open_flags & FUSE_OPEN_KILL_SUIDGID;
	}
	case FUSE_SETATTR: {
		struct fuse_setattr_in a;
		memcpy(&a, p, sizeof a);
		return a.valid & FATTR_KILL_SUIDGID;
	}
	default:
		return false;
	}
}

void transport_process(struct transport *t, uint8_t *msg, size_t n)
{
	struct fuse_in_header h;
	struct stack_mark m;
	int rc = wire_check(msg, n);
	if (rc == -EPROTO)
		return;
	if (rc < 0) {
		transport_refuse(t, msg, rc);
		return;
	}
	memcpy(&h, msg, sizeof h);
	enum perf_op op = wire_perf_op(h.opcode);
	transport_cur.kill_priv = t->killpriv && wants_kill(h.opcode, msg + sizeof h);
	transport_cur.tmpfile = h.opcode == FUSE_TMPFILE;
	if (h.opcode == FUSE_TMPFILE) { /* newer than this libfuse; request and answer are those of CREATE */
		h.opcode = FUSE_CREATE;
		memcpy(msg, &h, sizeof h);
	}
	if (h.opcode == FUSE_INIT)
		init_seen(t, msg, n, h.unique);
	struct fuse_buf fb = {.mem = msg, .size = n};
	struct tick t0 = tick_start();
	stack_op_begin_op(&m, op);
	fuse_session_process_buf(t->se, &fb);
	stack_op_end(&m, op);
	perf_op(op, tick_since(t0), 0);
}

/* ---- life --------------------------------------------------------------------------------------------------------------------------------- */

void transport_wake_main(struct transport *t)
{
	uint64_t one = 1;
	ssize_t r = write(t->ev, &one, sizeof one);
	(void)r; /* the counter can only be full if a wake-up is pending already */
}

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

/* what was asked for, and what of it can't be had whatever the kernel says in INIT */
static int choose(struct transport *t, const struct transport_cfg *cfg)
{
	static const char *const names[] = {"plain", "pt", "uring", "pt+uring"};
	char on[2] = "";
	struct statfs sf;
	t->want = TR_pt | TR_uring;
	if (cfg->want) {
		t->want = 0;
		while (t->want < 4 && strcmp(names[t->want], cfg->want))
			t->want++;
		if (t->want == 4)
			return -EINVAL;
	}
	if (t->custom)
		t->want = 0;
	else if (!t->want)
		transport_why_not(t, "faster ones", "transport=plain was asked for");
	if ((t->want & TR_pt) && geteuid()) {
		t->want &= ~(unsigned)TR_pt;
		transport_why_not(t, "pt", "only root may hand files to the kernel");
	}
	/* FUSE itself must stay stackable: one level unless DIR is on a stacked file system already */
	t->stack_depth = !fstatfs(t->f->root_fd, &sf) && sf.f_type == OVERLAYFS_MAGIC ? 2 : 1;
	if (t->want & TR_uring) {
		int fd = open("/sys/module/fuse/parameters/enable_uring", O_RDONLY | O_CLOEXEC);
		ssize_t n = fd >= 0 ? read(fd, on, 1) : -1;
		if (fd >= 0)
			close(fd);
		if (n != 1 || (*on != 'Y' && *on != '1')) {
			t->want &= ~(unsigned)TR_uring;
			transport_why_not(t, "uring",
			        fd < 0 ? "the kernel has no FUSE over io_uring (Linux 6.14)"
			               : "/sys/module/fuse/parameters/enable_uring is N");
		}
	}
	return 0;
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
	tick_probe(os_real());
	mount_words[0] = 0;
	pthread_mutex_init(&t->lock, NULL);
	for (unsigned i = 0; i < PT_LOCKS; i++)
		pthread_mutex_init(&t->pt_lock[i], NULL);
	f->transport = t;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	t->base = cfg->workers ? cfg->workers : cpus > 4 ? 4 : cpus < 2 ? 2 : (unsigned)cpus;
	if (t->base > WORKERS_MAX)
		t->base = WORKERS_MAX;
	if (sched_getaffinity(0, sizeof t->cpus, &t->cpus))
		CPU_ZERO(&t->cpus); /* more CPUs than fit: nobody is pinned */
	t->ev = eventfd(0, EFD_CLOEXEC);
	if (t->ev < 0)
		return fail(t, -errno, reterr);
	int rc = choose(t, cfg);
	if (rc < 0)
		return fail(t, rc, reterr);
	fuse_set_log_func(keep_log);
	rc = add_opts(t, cfg);
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
	t->one_buf = mem_alloc(MEM_fs, BUF_BYTES);
	if (!t->one_buf)
		return fail(t, -ENOMEM, reterr);
	fuse_set_log_func(quiet_log);
	struct sigaction sa = {.sa_handler = wake_handler, .sa_flags = SA_ONSTACK};
	sigaction(WAKE_SIGNAL, &sa, NULL);
	sa = (struct sigaction){.sa_handler = SIG_IGN};
	sigaction(SIGPIPE, &sa, NULL);
	*ret = t;
	return 0;
}

static void have_set(struct transport *t, unsigned bit)
{
	atomic_fetch_or(&t->have, bit);
}

/* INIT, here and now; then the steps that come after its reply */
static int handshake(struct transport *t)
{
	while (!atomic_load(&t->ready)) {
		if (atomic_load(&t->stop))
			return -EINTR;
		int rc = transport_serve_one(t);
		if (!rc)
			return -ENODEV; /* unmounted meanwhile */
	}
	if (t->rings) {
		int rc = rings_register(t->rings);
		if (rc >= 0)
			have_set(t, TR_uring);
		else {
			transport_why_not(t, "uring", err_text(rc));
			rings_free(t->rings);
			t->rings = NULL;
		}
	}
	if ((t->want & TR_pt) && (t->offered & UAPI_PASSTHROUGH)) {
		int rc = pt_probe(t);
		if (rc >= 0)
			have_set(t, TR_pt);
		else
			transport_why_not(t, "pt", err_text(rc));
	}
	return 0;
}

int transport_start(struct transport *t)
{
	if (!t->custom) {
		int rc = handshake(t);
		mem_free(MEM_fs, t->one_buf);
		t->one_buf = NULL;
		if (rc < 0)
			return rc;
	}
	unsigned n = atomic_load(&t->have) & TR_uring ? 1 : t->base;
	for (unsigned i = 0; i < n; i++)
		dev_spawn(t);
	return atomic_load(&t->running) ? 0 : -EAGAIN;
}

int transport_wait(struct transport *t)
{
	while (atomic_load(&t->running)) {
		struct pollfd p = {.fd = t->ev, .events = POLLIN};
		uint64_t v;
		bool stop = atomic_load(&t->stop);
		if (stop)
			dev_wake(t);
		if (poll(&p, 1, stop ? 20 : -1) > 0) {
			ssize_t r = read(t->ev, &v, sizeof v);
			(void)r; /* only clears the wake-up */
		}
	}
	if (t->rings)
		rings_stop(t->rings);
	return 0;
}

void transport_stop(struct transport *t)
{
	int e = errno;
	atomic_store(&t->stop, true);
	transport_wake_main(t);
	errno = e;
}

void transport_free(struct transport *t)
{
	if (!t)
		return;
	atomic_store(&t->stop, true);
	(void)transport_wait(t); /* always 0 */
	dev_join(t);
	rings_free(t->rings);
	t->rings = NULL;
	if (t->se) {
		if (t->mounted)
			fuse_session_unmount(t->se);
		fuse_session_destroy(t->se);
		t->f->se = NULL;
	}
	fuse_opt_free_args(&t->args);
	if (t->ev >= 0)
		close(t->ev);
	pt_done(t);
	mem_free(MEM_fs, t->one_buf);
	mem_free(MEM_fs, t->mnt);
	pthread_mutex_destroy(&t->lock);
	for (unsigned i = 0; i < PT_LOCKS; i++)
		pthread_mutex_destroy(&t->pt_lock[i]);
	t->f->transport = NULL;
	mem_free(MEM_fs, t);
}

const char *transport_name(const struct transport *t)
{
	static const char *const names[] = {"plain", "pt", "uring", "pt+uring"};
	return names[atomic_load(&t->have) & 3];
}
const char *transport_why(const struct transport *t)
{
	return t->why;
}
uint64_t transport_ring_bytes(const struct transport *t)
{
	return t->rings ? rings_bytes(t->rings) : 0;
}
bool transport_may_park(struct transport *t)
{
	return !t->rings || rings_may_park(t->rings);
}
bool transport_ready(struct transport *t)
{
	return atomic_load(&t->ready);
}

int transport_serve_one(struct transport *t)
{
	size_t n = 0;
	transport_cur = (struct transport_cur){.scratch = t->one_buf + REQ_BYTES, .scratch_cap = REPLY_BYTES};
	int rc = dev_receive(t, t->one_buf, &n);
	if (rc > 0)
		transport_process(t, t->one_buf, n);
	return rc;
}
