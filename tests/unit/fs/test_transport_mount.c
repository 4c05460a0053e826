/* Every transport on a real mount: what it says it is, the data that comes back, suid cleared as natively, one backing id an inode, replies
 * from other threads, the fallbacks, the end.  The oracle is the same sequence on the native directory, and the backing file.
 *
 * Needs root and /dev/fuse; else all is skipped.  fuse's enable_uring is switched on for the run and put back. */
#include "fs/transport_priv.h"
#include "base/log.h"
#include "tap.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PARAM "/sys/module/fuse/parameters/enable_uring"
static char dir[] = "/var/tmp/vx-tr-d.XXXXXX", mnt[] = "/var/tmp/vx-tr-m.XXXXXX";
static char param_was;
static pid_t owner;

struct m {
	struct fs *f;
	struct transport *t;
	int root;
	pthread_t waiter;
	int rc;
};

static void *wait_for(void *u)
{
	struct m *m = u;
	m->rc = transport_wait(m->t);
	return NULL;
}
static int up(struct m *m, const char *want)
{
	struct vx_errinfo err = {0};
	m->root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct fs_cfg cfg = {.dir = dir, .mnt = mnt, .allow_other = true, .entry_timeout = 1, .attr_timeout = 1};
	const struct transport_cfg tc = {.mnt = mnt, .fsname = "t", .allow_other = true, .want = want, .custom_fd = -1};
	m->t = NULL;
	int rc = fs_new(&cfg, m->root, NULL, &m->f);
	if (rc >= 0)
		rc = transport_new(m->f, &tc, &m->t, &err);
	if (rc >= 0)
		rc = transport_start(m->t);
	if (rc >= 0)
		pthread_create(&m->waiter, NULL, wait_for, m);
	else {
		fs_free(m->f);
		close(m->root);
	}
	return rc;
}
static void down(struct m *m)
{
	umount2(mnt, MNT_DETACH);
	pthread_join(m->waiter, NULL);
	transport_free(m->t);
	fs_free(m->f);
	close(m->root);
}

static void param(char v)
{
	int fd = open(PARAM, O_WRONLY);
	if (fd >= 0) {
		(void)!write(fd, &v, 1);
		close(fd);
	}
}
static void clean(void)
{
	umount2(mnt, MNT_FORCE); /* also when the daemon is gone and clients still wait: the connection is aborted */
	umount2(mnt, MNT_DETACH);
	if (param_was)
		param(param_was);
	rmdir(mnt);
	char cmd[64];
	snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
	if (system(cmd))
		fprintf(stderr, "%s is left over\n", dir);
}

/* The daemon is this process.  A client must be another one, which holds none of our descriptors: a client here that faults on a page
 * of the mount, or waits in munmap for its writing back, holds the lock of the address space our workers may need; and one that
 * holds /dev/fuse keeps the connection alive it waits on. */
static pid_t client(int keep)
{
	pid_t pid = fork();
	if (!pid) {
		if (keep >= 0 && keep != 3)
			dup2(keep, 3);
		close_range(keep >= 0 ? 4 : 3, ~0u, 0);
	}
	return pid;
}

/* sees to it that nothing stays behind, however this ends; and that it ends */
static pid_t guard(int *ret_fd)
{
	int p[2];
	if (pipe(p))
		exit(1);
	pid_t pid = fork();
	if (!pid) {
		struct pollfd w = {.fd = p[0], .events = POLLIN};
		close(p[1]);
		setsid();
		if (!poll(&w, 1, 100000))
			kill(owner, SIGKILL);
		clean();
		_exit(0);
	}
	close(p[0]);
	*ret_fd = p[1];
	return pid;
}

static const char *at(const char *base, const char *name)
{
	static char b[4][256];
	static int k;
	k = (k + 1) & 3;
	snprintf(b[k], sizeof b[k], "%s/%s", base, name);
	return b[k];
}
static int mode_of(const char *p)
{
	struct stat st;
	return stat(p, &st) ? -errno : (int)(st.st_mode & 07777);
}
static void make(const char *p, mode_t mode)
{
	int fd = open(p, O_CREAT | O_RDWR | O_TRUNC, 0600);
	(void)!write(fd, "0123456789", 10);
	fchmod(fd, mode);
	close(fd);
}

/* in a child, as another user: 0, or the errno it ended with */
static int as_other(int (*fn)(const char *p, int fd), const char *p, int fd)
{
	pid_t pid = client(fd);
	if (!pid) {
		fd = fd >= 0 ? 3 : -1;
		if (setgid(65534) || setuid(65534))
			_exit(99);
		_exit(fn(p, fd) ? errno : 0);
	}
	int st = 0;
	waitpid(pid, &st, 0);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 98;
}
static int do_write(const char *p, int fd)
{
	fd = open(p, O_WRONLY);
	return fd < 0 || write(fd, "x", 1) != 1 || close(fd);
}
static int do_write_fd(const char *p, int fd)
{
	(void)p;
	return pwrite(fd, "y", 1, 3) != 1;
}
static int do_trunc(const char *p, int fd)
{
	(void)fd;
	return truncate(p, 3);
}
static int do_open_trunc(const char *p, int fd)
{
	fd = open(p, O_WRONLY | O_TRUNC);
	return fd < 0 || close(fd);
}
static int do_falloc(const char *p, int fd)
{
	fd = open(p, O_WRONLY);
	return fd < 0 || fallocate(fd, 0, 0, 65536) || close(fd);
}

/* one story on one directory; what is to be compared into v[] */
enum { SUID_N = 16 };
static void suid_story(const char *base, int *v)
{
	static const struct {
		int (*fn)(const char *, int);
		mode_t mode;
	} kinds[] = {{do_write, 04777}, {do_write, 06777}, {do_write, 02767}, {do_trunc, 04777}, {do_open_trunc, 06777},
	        {do_falloc, 04777}};
	const char *p = at(base, "suid");
	size_t n = 0;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		make(p, kinds[i].mode);
		v[n++] = as_other(kinds[i].fn, p, -1);
		v[n++] = mode_of(p);
	}
	/* root keeps it */
	make(p, 04777);
	v[n++] = do_write(p, -1);
	v[n++] = mode_of(p);
	unlink(p);
	/* a handle from before it became suid */
	make(p, 0777);
	int fd = open(p, O_RDWR);
	chmod(p, 04777);
	v[n++] = as_other(do_write_fd, p, fd);
	v[n++] = mode_of(p);
	close(fd);
	unlink(p);
}

static void suid(const char *name)
{
	int want[SUID_N] = {0}, got[SUID_N] = {0}, back;
	char native[] = "/var/tmp/vx-tr-n.XXXXXX", what[80];
	if (!mkdtemp(native))
		return;
	chmod(native, 0755);
	suid_story(native, want);
	rmdir(native);
	suid_story(mnt, got);
	for (int i = 0; i < SUID_N; i++) {
		snprintf(what, sizeof what, "%s: suid story, step %d: %s", name, i, i & 1 ? "mode" : "error");
		tap_line(want[i] == got[i], __FILE__, __LINE__, "%s: %o, natively %o", what, got[i], want[i]);
	}
	make(at(mnt, "s"), 04777);
	as_other(do_write, at(mnt, "s"), -1);
	back = mode_of(at(dir, "s"));
	tap_line(back == 0777, __FILE__, __LINE__, "%s: 4777 after another's write, backing file: %o", name, back);
	unlink(at(mnt, "s"));
}

static void filecap(const char *name)
{
	/* version 2, cap_net_raw permitted */
	static const uint8_t cap[20] = {0, 0, 0, 2, 0, 0x20};
	const char *p = at(mnt, "cap");
	make(p, 0777);
	int fd = open(p, O_RDWR);
	T_EQ(setxattr(p, "security.capability", cap, sizeof cap, 0), 0, name);
	T_EQ(as_other(do_write_fd, p, fd), 0, name);
	T_OK(getxattr(at(dir, "cap"), "security.capability", NULL, 0) < 0 && errno == ENODATA,
	        "%s: a file capability is gone after a write by an older handle", name);
	close(fd);
	make(p, 0777);
	setxattr(p, "security.capability", cap, sizeof cap, 0);
	T_EQ(as_other(do_write, p, -1), 0, name);
	T_OK(getxattr(at(dir, "cap"), "security.capability", NULL, 0) < 0 && errno == ENODATA,
	        "%s: and after one by a newer", name);
	unlink(p);
}

static uint64_t rnd_state;
static uint32_t rnd(uint32_t n)
{
	rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rnd_state >> 33) % n;
}

/* random writes, truncations, mapped writes against a copy in memory */
static int data_run(void)
{
	enum { MAX = 1 << 20 };
	uint8_t *want = calloc(1, MAX), *got = malloc(MAX);
	size_t size = 0;
	bool same = true;
	int fd = open(at(mnt, "data"), O_RDWR | O_CREAT, 0600);
	for (int i = 0; i < 400 && same && fd >= 0; i++) {
		size_t off = rnd(MAX - 300000), n = 1 + rnd(rnd(4) ? 5000 : 300000);
		switch (rnd(6)) {
		case 0:
			size = off;
			same = !ftruncate(fd, (off_t)size);
			memset(want + size, 0, MAX - size);
			break;
		case 1:
			if (size > 4096) {
				uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
				if ((same = p != MAP_FAILED)) {
					off = rnd((uint32_t)size - 100);
					memset(p + off, i, 100);
					memset(want + off, i, 100);
					munmap(p, size);
				}
			}
			break;
		case 2: /* by another handle, which another mode could not hold */
			close(fd);
			fd = open(at(mnt, "data"), O_RDWR);
			break;
		case 3:
			same = pread(fd, got, MAX, 0) == (ssize_t)size && !memcmp(got, want, size);
			break;
		default:
			for (size_t k = 0; k < n; k++)
				got[k] = (uint8_t)rnd(256);
			memcpy(want + off, got, n);
			same = pwrite(fd, got, n, (off_t)off) == (ssize_t)n;
			size = off + n > size ? off + n : size;
		}
	}
	close(fd);
	if (!same)
		return 1;
	fd = open(at(dir, "data"), O_RDONLY);
	same = pread(fd, got, MAX, 0) == (ssize_t)size && !memcmp(got, want, size);
	close(fd);
	unlink(at(mnt, "data"));
	return same ? 0 : 2;
}

static void data(const char *name)
{
	rnd(1); /* another story each time */
	pid_t pid = client(-1);
	if (!pid)
		_exit(data_run());
	int st = -1;
	waitpid(pid, &st, 0);
	tap_line(!st, __FILE__, __LINE__,
	        "%s: 400 writes, truncations and mappings read back, the backing file has the same bytes: %s", name,
	        !st                    ? "yes"
	        : WEXITSTATUS(st) == 1 ? "read back other"
	                               : "backing file other");
}

static uint64_t ids_settled(struct m *m, uint64_t want)
{
	for (int i = 0; i < 400 && atomic_load(&m->t->pt_ids) != want; i++)
		poll(NULL, 0, 5); /* releases come after close(2) returned: nothing tells when */
	return atomic_load(&m->t->pt_ids);
}

static void backing_ids(struct m *m, const char *name, bool pt)
{
	const char *p = at(mnt, "ids");
	make(p, 0644);
	T_EQ(ids_settled(m, 0), 0, "no backing id before");
	int a = open(p, O_RDONLY), b = open(p, O_RDWR), c = open(p, O_WRONLY | O_APPEND);
	T_OK(a >= 0 && b >= 0 && c >= 0, "%s: three handles of one file", name);
	T_EQ(atomic_load(&m->t->pt_ids), pt, "one backing id where files are passed through");
	T_EQ(write(c, "abc", 3), 3, "append");
	char buf[16] = "";
	T_EQ(pread(a, buf, 16, 0), 13, "another handle sees it");
	T_STR(buf, "0123456789abc", "and what");
	close(a);
	close(b);
	T_EQ(atomic_load(&m->t->pt_ids), pt, "it stays for the last handle");
	close(c);
	T_EQ(ids_settled(m, 0), 0, "and goes with it");
	/* suid: cached; while that handle is open all others must be, too, or the kernel refuses them */
	chmod(p, 04755);
	a = open(p, O_RDONLY);
	T_EQ(atomic_load(&m->t->pt_ids), 0, "a suid file has none");
	chmod(p, 0644);
	b = open(p, O_RDWR);
	T_OK(b >= 0, "%s: a second handle in the mode of the first: %s", name, b < 0 ? strerror(errno) : "open");
	T_EQ(pread(b, buf, 16, 0), 13, "and reads");
	close(a);
	close(b);
	/* the other way round: passed through first, then suid */
	for (int i = 0; i < 100 && (!i || pt); i++) { /* until the releases above are through */
		a = open(p, O_RDONLY);
		if (atomic_load(&m->t->pt_ids) == pt)
			break;
		close(a);
		poll(NULL, 0, 5);
	}
	chmod(p, 04755);
	b = open(p, O_RDWR);
	T_OK(b >= 0 && pread(b, buf, 16, 0) == 13, "%s: suid meanwhile, opened again", name);
	close(a);
	close(b);
	/* what was written past the kernel's cache must not be hidden by it */
	chmod(p, 0644);
	T_EQ(ids_settled(m, 0), 0, "none at the end");
	unlink(p);
}

/* ---- replies by another thread ------------------------------------------------------------------------------------------------------ */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct far {
		struct far *next;
		struct transport *t;
		size_t n;
		uint8_t b[];
	} * head;
	bool stop;
	unsigned taken, late;
} far = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static bool far_take(struct transport *t, const struct iovec *iov, int n)
{
	size_t len = 0;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	struct far *x = malloc(sizeof *x + len);
	x->t = t;
	x->n = 0;
	for (int i = 0; i < n; i++) {
		memcpy(x->b + x->n, iov[i].iov_base, iov[i].iov_len);
		x->n += iov[i].iov_len;
	}
	pthread_mutex_lock(&far.lock);
	x->next = far.head;
	far.head = x;
	far.taken++;
	pthread_cond_signal(&far.more);
	pthread_mutex_unlock(&far.lock);
	return true;
}
static void *far_main(void *u)
{
	(void)u;
	unsigned k = 0;
	pthread_mutex_lock(&far.lock);
	for (;;) {
		while (!far.head && !far.stop)
			pthread_cond_wait(&far.more, &far.lock);
		struct far *x = far.head;
		if (!x)
			break;
		far.head = x->next;
		pthread_mutex_unlock(&far.lock);
		if (k++ % 3) { /* let the operation be left first: parked; else it may still run */
			struct timespec ts = {.tv_nsec = 200000};
			nanosleep(&ts, NULL);
		}
		struct iovec v[2] = {{x->b, sizeof(struct fuse_out_header)},
		        {x->b + sizeof(struct fuse_out_header), x->n - sizeof(struct fuse_out_header)}};
		if (!rings_reply(x->t->rings, v, x->n > sizeof(struct fuse_out_header) ? 2 : 1))
			far.late++;
		free(x);
		pthread_mutex_lock(&far.lock);
	}
	pthread_mutex_unlock(&far.lock);
	return NULL;
}

static void parked(const char *name)
{
	pthread_t th;
	far.stop = false;
	far.taken = far.late = 0;
	pthread_create(&th, NULL, far_main, NULL);
	transport_far = far_take;
	data(name);
	mkdir(at(mnt, "pd"), 0755);
	int made = 0;
	for (int i = 0; i < 40; i++) {
		char b[16];
		snprintf(b, sizeof b, "pd/f%d", i);
		int fd = open(at(mnt, b), O_CREAT | O_WRONLY, 0600);
		made += fd >= 0 && !fsync(fd) && !close(fd);
	}
	T_EQ(made, 40, "files made while replies come from another thread");
	int fd = open(at(mnt, "pd"), O_RDONLY | O_DIRECTORY);
	close(fd);
	for (int i = 0; i < 40; i++) {
		char b[16];
		snprintf(b, sizeof b, "pd/f%d", i);
		made -= !unlink(at(mnt, b));
	}
	T_EQ(made, 0, "and removed");
	T_EQ(rmdir(at(mnt, "pd")), 0, "and the directory");
	transport_far = NULL;
	pthread_mutex_lock(&far.lock);
	far.stop = true;
	pthread_cond_signal(&far.more);
	pthread_mutex_unlock(&far.lock);
	pthread_join(th, NULL);
	T_OK(far.taken > 100, "%s: %u replies came from another thread", name, far.taken);
	T_EQ(far.late, 0, "each found its request");
}

/* four processes at once: more requests than CPUs */
static void crowd(const char *name)
{
	pid_t pid[4];
	int bad = 0;
	for (int k = 0; k < 4; k++)
		if (!(pid[k] = client(-1))) {
			for (int i = 0; i < 100; i++) {
				char b[128] = {0}, c[32];
				struct stat st;
				snprintf(b, sizeof b, "c%d_%d", k, i);
				snprintf(c, sizeof c, "r%d_%d", k, i);
				int fd = open(at(mnt, b), O_CREAT | O_EXCL | O_RDWR, 0600);
				if (fd < 0 || write(fd, b, (size_t)i) != i || (i % 25 == 0 && fsync(fd)) || close(fd) ||
				        rename(at(mnt, b), at(mnt, c)) || stat(at(mnt, c), &st) || st.st_size != i ||
				        setxattr(at(mnt, c), "user.k", b, 3, 0) || unlink(at(mnt, c)) ||
				        !stat(at(mnt, c), &st))
					_exit(1);
			}
			_exit(0);
		}
	for (int k = 0; k < 4; k++) {
		int st = 1;
		waitpid(pid[k], &st, 0);
		bad += st != 0;
	}
	T_EQ(bad, 0, name);
}

static void stacks(const char *name)
{
	unsigned worst = 0, op_worst = 0;
	for (unsigned op = 0; op < PERF_OP_N; op++)
		if (stack_op_high_all(op) > worst) {
			worst = stack_op_high_all(op);
			op_worst = op;
		}
	T_OK(worst < 4096, "%s: deepest operation so far: %s, %u bytes", name, perf_op_name(op_worst), worst);
}

static void one(const char *want, unsigned bits)
{
	struct m m;
	int rc = up(&m, want);
	if (!T_OK(rc >= 0, "%s: mounted: %s", want, rc < 0 ? err_text(rc) : "yes"))
		return;
	if (strcmp(transport_name(m.t), want)) {
		T_SKIP(transport_why(m.t)); /* this kernel hasn't it */
		down(&m);
		return;
	}
	T_STR(transport_name(m.t), want, "is what was asked for");
	T_OK(!(bits & TR_uring) == !transport_ring_bytes(m.t) && transport_ring_bytes(m.t) <= 64 << 20,
	        "%s: %llu bytes reserved for rings", want, (unsigned long long)transport_ring_bytes(m.t));
	data(want);
	suid(want);
	filecap(want);
	backing_ids(&m, want, bits & TR_pt);
	crowd(want);
	if (bits & TR_uring)
		parked(want);
	stacks(want);
	down(&m);
	T_EQ(m.rc, 0, "served until unmounted");
}

static void fallback(unsigned faults, const char *want, const char *got, const char *word)
{
	struct m m;
	transport_faults = faults;
	int rc = up(&m, want);
	transport_faults = 0;
	if (!T_OK(rc >= 0, "mounted in spite of fault %u", faults))
		return;
	T_STR(transport_name(m.t), got, "the next lower transport");
	T_OK(strstr(transport_why(m.t), word), "why: %s", transport_why(m.t));
	data(got);
	down(&m);
}

/* ended from within, with a file open and a request coming */
static void stopped(const char *want)
{
	struct m m;
	if (up(&m, want) < 0)
		return;
	int fd = open(at(mnt, "open"), O_CREAT | O_RDWR, 0600);
	transport_stop(m.t);
	pthread_join(m.waiter, NULL);
	T_EQ(m.rc, 0, "transport_stop ends it");
	transport_free(m.t);
	fs_free(m.f);
	close(m.root);
	struct stat st;
	T_OK(fsync(fd) < 0 && (errno == ENOTCONN || errno == ECONNABORTED), "%s: an open file afterwards: %s", want,
	        strerror(errno));
	close(fd);
	T_OK(stat(mnt, &st) == 0 && umount2(mnt, 0) < 0, "%s: nothing is mounted any more", want);
	unlink(at(dir, "open"));
}

int main(void)
{
	static const char *const names[] = {"plain", "pt", "uring", "pt+uring"};
	rnd_state = tap_seed(20261123);
	owner = getpid();
	if (geteuid() || access("/dev/fuse", R_OK | W_OK)) {
		T_SKIP("needs root and /dev/fuse");
		return tap_done();
	}
	log_to_stderr();
	umask(0);
	int fd = open(PARAM, O_RDONLY);
	if (fd >= 0) {
		(void)!read(fd, &param_was, 1);
		close(fd);
		param('Y');
	}
	if (!mkdtemp(dir) || !mkdtemp(mnt))
		return 1;
	chmod(dir, 0755);
	chmod(mnt, 0755);
	int hold;
	pid_t g = guard(&hold);
	struct m m;
	T_EQ(up(&m, "faster"), -EINVAL, "a transport nobody knows");
	for (unsigned i = 0; i < 4; i++)
		one(names[i], i);
	fallback(TF_ring_setup, "pt+uring", "pt", "uring: ");
	fallback(TF_ring_register, "pt+uring", "pt", "uring: ");
	fallback(TF_backing, "pt+uring", "uring", "pt: ");
	fallback(TF_backing | TF_ring_setup, "pt+uring", "plain", "uring: ");
	fallback(TF_ring_register, "uring", "plain", "uring: ");
	param('N');
	fallback(0, "pt+uring", "pt", "enable_uring");
	fallback(0, "uring", "plain", "enable_uring");
	param('Y');
	for (unsigned i = 0; i < 4; i++)
		stopped(names[i]);
	close(hold);
	waitpid(g, NULL, 0);
	return tap_done();
}
