/* os_fault.c - a struct os that counts every call and makes a chosen one fail, fall short, or kill the process.
 *
 * A fault happens before the call below is made, but for OSF_SHORT on reads and writes, which do half of the work: that is the torn
 * write that a store must survive.  Where half makes no sense (fsync, rename) OSF_SHORT is an error.  OSF_KILL is SIGKILL: no
 * handler, no flush, as a crash is. */
#include "base/os_fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define FAKE_MONO_NS (1000ull * 1000000000ull)
#define FAKE_REAL_NS (1700000000ull * 1000000000ull)

static struct os_fault *self_of(struct os *o)
{
	return (struct os_fault *)o;
}

/* counts the call; OSF_NONE: go on */
static enum os_fault_kind step(struct os_fault *f, enum os_call c)
{
	uint64_t k = atomic_fetch_add(&f->calls[c], 1) + 1;
	uint64_t last = f->until[c] ? f->until[c] : f->at[c];
	if (!f->at[c] || k < f->at[c] || k > last)
		return OSF_NONE;
	if (f->kind[c] == OSF_KILL) {
		kill(getpid(), SIGKILL);
		for (;;)
			pause();
	}
	return f->kind[c];
}
static int err_of(const struct os_fault *f, enum os_call c)
{
	return f->error[c] ? -f->error[c] : -EIO;
}
/* half, but not nothing: a write of no bytes is no progress, which is another fault than a short one */
static size_t half(size_t n)
{
	return n > 1 ? n / 2 : n;
}

#define FAULT_OR(c, call)                                                                                              \
	do {                                                                                                           \
		struct os_fault *f = self_of(o);                                                                       \
		if (step(f, c) != OSF_NONE)                                                                            \
			return err_of(f, c);                                                                           \
		return call;                                                                                           \
	} while (0)
#define FAULT_OR_SHORT(c, n, call)                                                                                     \
	do {                                                                                                           \
		struct os_fault *f = self_of(o);                                                                       \
		enum os_fault_kind k = step(f, c);                                                                     \
		if (k == OSF_ERROR)                                                                                    \
			return err_of(f, c);                                                                           \
		if (k == OSF_SHORT)                                                                                    \
			n = half(n);                                                                                   \
		return call;                                                                                           \
	} while (0)

static int ft_openat(struct os *o, int d, const char *p, int fl, mode_t m)
{
	FAULT_OR(OSC_openat, os_openat(f->under, d, p, fl, m));
}
static int ft_close(struct os *o, int fd)
{
	struct os_fault *f = self_of(o);
	enum os_fault_kind k = step(f, OSC_close);
	int rc = os_close(f->under, fd); /* as on Linux: an error of close() leaves the descriptor closed */
	return k == OSF_NONE ? rc : err_of(f, OSC_close);
}
static ssize_t ft_pread(struct os *o, int fd, void *b, size_t n, off_t at)
{
	FAULT_OR_SHORT(OSC_pread, n, os_pread(f->under, fd, b, n, at));
}
static ssize_t ft_pwrite(struct os *o, int fd, const void *b, size_t n, off_t at)
{
	FAULT_OR_SHORT(OSC_pwrite, n, os_pwrite(f->under, fd, b, n, at));
}
static ssize_t ft_pwritev(struct os *o, int fd, const struct iovec *v, int c, off_t at)
{
	struct os_fault *f = self_of(o);
	enum os_fault_kind k = step(f, OSC_pwritev);
	if (k == OSF_ERROR)
		return err_of(f, OSC_pwritev);
	if (k == OSF_SHORT && c > 0) /* half of the first piece alone */
		return os_pwrite(f->under, fd, v[0].iov_base, half(v[0].iov_len), at);
	return os_pwritev(f->under, fd, v, c, at);
}
static int ft_fdatasync(struct os *o, int fd)
{
	FAULT_OR(OSC_fdatasync, os_fdatasync(f->under, fd));
}
static int ft_fsync(struct os *o, int fd)
{
	FAULT_OR(OSC_fsync, os_fsync(f->under, fd));
}
static int ft_ftruncate(struct os *o, int fd, off_t n)
{
	FAULT_OR(OSC_ftruncate, os_ftruncate(f->under, fd, n));
}
static int ft_fallocate(struct os *o, int fd, int m, off_t a, off_t n)
{
	FAULT_OR(OSC_fallocate, os_fallocate(f->under, fd, m, a, n));
}
static int ft_clone(struct os *o, int from, int to)
{
	FAULT_OR(OSC_clone, os_clone(f->under, from, to));
}
static int ft_linkat(struct os *o, int a, const char *b, int c, const char *d)
{
	FAULT_OR(OSC_linkat, os_linkat(f->under, a, b, c, d));
}
static int ft_renameat(struct os *o, int a, const char *b, int c, const char *d)
{
	FAULT_OR(OSC_renameat, os_renameat(f->under, a, b, c, d));
}
static int ft_unlinkat(struct os *o, int d, const char *p, int fl)
{
	FAULT_OR(OSC_unlinkat, os_unlinkat(f->under, d, p, fl));
}
static int ft_mkdirat(struct os *o, int d, const char *p, mode_t m)
{
	FAULT_OR(OSC_mkdirat, os_mkdirat(f->under, d, p, m));
}
static int ft_fstat(struct os *o, int fd, struct stat *st)
{
	FAULT_OR(OSC_fstat, os_fstat(f->under, fd, st));
}
static int ft_fsmagic(struct os *o, int fd, uint32_t *ret)
{
	FAULT_OR(OSC_fsmagic, os_fsmagic(f->under, fd, ret));
}
static int ft_fstatat(struct os *o, int d, const char *p, struct stat *st, int fl)
{
	FAULT_OR(OSC_fstatat, os_fstatat(f->under, d, p, st, fl));
}
static int ft_flock(struct os *o, int fd, int op)
{
	FAULT_OR(OSC_flock, os_flock(f->under, fd, op));
}
static ssize_t ft_getdents(struct os *o, int fd, void *b, size_t n)
{
	FAULT_OR(OSC_getdents, os_getdents(f->under, fd, b, n));
}
static ssize_t ft_readlinkat(struct os *o, int d, const char *p, char *b, size_t n)
{
	FAULT_OR_SHORT(OSC_readlinkat, n, os_readlinkat(f->under, d, p, b, n));
}
static int ft_mmap_ro(struct os *o, int fd, off_t at, size_t n, const void **r)
{
	FAULT_OR(OSC_mmap_ro, os_mmap_ro(f->under, fd, at, n, r));
}
static int ft_munmap(struct os *o, const void *p, size_t n)
{
	FAULT_OR(OSC_munmap, os_munmap(f->under, p, n));
}
static uint64_t ft_mono_ns(struct os *o)
{
	struct os_fault *f = self_of(o);
	return (f->fake_clock ? FAKE_MONO_NS : os_mono_ns(f->under)) + (uint64_t)atomic_load(&f->clock_skew_ns);
}
static uint64_t ft_real_ns(struct os *o)
{
	struct os_fault *f = self_of(o);
	return (f->fake_clock ? FAKE_REAL_NS : os_real_ns(f->under)) + (uint64_t)atomic_load(&f->clock_skew_ns);
}
static int ft_random(struct os *o, void *buf, size_t n)
{
	struct os_fault *f = self_of(o);
	if (step(f, OSC_random) != OSF_NONE)
		return err_of(f, OSC_random);
	if (!f->random_state)
		return os_random(f->under, buf, n);
	/* splitmix64 (Steele, Lea, Flood 2014); the state is advanced atomically, so threads get distinct numbers */
	for (uint8_t *p = buf; n;) {
		uint64_t z = __atomic_add_fetch(&f->random_state, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED);
		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
		z = (z ^ z >> 27) * 0x94d049bb133111ebu;
		z ^= z >> 31;
		size_t k = n < 8 ? n : 8;
		memcpy(p, &z, k);
		p += k;
		n -= k;
	}
	return 0;
}
static int ft_sleep_ns(struct os *o, uint64_t ns)
{
	struct os_fault *f = self_of(o);
	if (!f->fake_clock)
		return os_sleep_ns(f->under, ns);
	atomic_fetch_add(&f->clock_skew_ns, (int64_t)ns);
	return 0;
}

static const struct os_ops fault_ops = {
        .openat = ft_openat,
        .close = ft_close,
        .pread = ft_pread,
        .pwrite = ft_pwrite,
        .pwritev = ft_pwritev,
        .fdatasync = ft_fdatasync,
        .fsync = ft_fsync,
        .ftruncate = ft_ftruncate,
        .fallocate = ft_fallocate,
        .clone = ft_clone,
        .linkat = ft_linkat,
        .renameat = ft_renameat,
        .unlinkat = ft_unlinkat,
        .mkdirat = ft_mkdirat,
        .fstat = ft_fstat,
        .fstatat = ft_fstatat,
        .fsmagic = ft_fsmagic,
        .flock = ft_flock,
        .getdents = ft_getdents,
        .readlinkat = ft_readlinkat,
        .mmap_ro = ft_mmap_ro,
        .munmap = ft_munmap,
        .mono_ns = ft_mono_ns,
        .real_ns = ft_real_ns,
        .random = ft_random,
        .sleep_ns = ft_sleep_ns,
};

void os_fault_init(struct os_fault *f, struct os *under)
{
	memset(f, 0, sizeof *f);
	f->os.ops = &fault_ops;
	f->under = under;
}
