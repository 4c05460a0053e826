/* os_linux.c - the direct implementation of struct os on Linux.
 *
 * Each call is the system call and the sign of its error.  Only close() looks at EINTR: Linux has closed the descriptor by then, and
 * a second close could hit a file opened meanwhile by another thread.  The rest leaves EINTR to the caller (os_*_all carry on). */
#include "base/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h> /* renameat lives there */
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

static int rc_of(int r)
{
	return r < 0 ? -errno : r;
}
static ssize_t rcz_of(ssize_t r)
{
	return r < 0 ? -errno : r;
}

static int lx_openat(struct os *o, int dirfd, const char *path, int flags, mode_t mode)
{
	return rc_of(openat(dirfd, path, flags | O_CLOEXEC, mode));
}
static int lx_close(struct os *o, int fd)
{
	int r = close(fd);
	return r < 0 && errno != EINTR ? -errno : 0;
}
static ssize_t lx_pread(struct os *o, int fd, void *buf, size_t n, off_t at)
{
	return rcz_of(pread(fd, buf, n, at));
}
static ssize_t lx_pwrite(struct os *o, int fd, const void *buf, size_t n, off_t at)
{
	return rcz_of(pwrite(fd, buf, n, at));
}
static ssize_t lx_pwritev(struct os *o, int fd, const struct iovec *iov, int iovcnt, off_t at)
{
	return rcz_of(pwritev(fd, iov, iovcnt, at));
}
static int lx_fdatasync(struct os *o, int fd)
{
	return rc_of(fdatasync(fd));
}
static int lx_fsync(struct os *o, int fd)
{
	return rc_of(fsync(fd));
}
static int lx_ftruncate(struct os *o, int fd, off_t size)
{
	return rc_of(ftruncate(fd, size));
}
static int lx_fallocate(struct os *o, int fd, int mode, off_t off, off_t len)
{
	return rc_of(fallocate(fd, mode, off, len));
}
static int lx_clone(struct os *o, int from, int to)
{
	return rc_of(ioctl(to, FICLONE, from));
}
static int lx_linkat(struct os *o, int olddir, const char *old, int newdir, const char *new_)
{
	return rc_of(linkat(olddir, old, newdir, new_, 0));
}
static int lx_renameat(struct os *o, int olddir, const char *old, int newdir, const char *new_)
{
	return rc_of(renameat(olddir, old, newdir, new_));
}
static int lx_unlinkat(struct os *o, int dirfd, const char *path, int flags)
{
	return rc_of(unlinkat(dirfd, path, flags));
}
static int lx_mkdirat(struct os *o, int dirfd, const char *path, mode_t mode)
{
	return rc_of(mkdirat(dirfd, path, mode));
}
static int lx_fstat(struct os *o, int fd, struct stat *ret)
{
	return rc_of(fstat(fd, ret));
}
static int lx_fsmagic(struct os *o, int fd, uint32_t *ret)
{
	struct statfs fs;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	*ret = (uint32_t)fs.f_type;
	return 0;
}
static int lx_fstatat(struct os *o, int dirfd, const char *path, struct stat *ret, int flags)
{
	return rc_of(fstatat(dirfd, path, ret, flags));
}
static int lx_flock(struct os *o, int fd, int op)
{
	return rc_of(flock(fd, op));
}
static ssize_t lx_getdents(struct os *o, int fd, void *buf, size_t n)
{
	return rcz_of(getdents64(fd, buf, n));
}
static ssize_t lx_readlinkat(struct os *o, int dirfd, const char *path, char *buf, size_t n)
{
	return rcz_of(readlinkat(dirfd, path, buf, n));
}
static int lx_mmap_ro(struct os *o, int fd, off_t at, size_t n, const void **ret)
{
	void *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, at);
	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}
static int lx_munmap(struct os *o, const void *p, size_t n)
{
	return rc_of(munmap((void *)(uintptr_t)p, n));
}
static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;
	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
static uint64_t lx_mono_ns(struct os *o)
{
	return clock_ns(CLOCK_MONOTONIC);
}
static uint64_t lx_real_ns(struct os *o)
{
	return clock_ns(CLOCK_REALTIME);
}
static int lx_random(struct os *o, void *buf, size_t n)
{
	uint8_t *p = buf;
	while (n) {
		ssize_t r = getrandom(p, n, 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		p += r;
		n -= (size_t)r;
	}
	return 0;
}
static int lx_sleep_ns(struct os *o, uint64_t ns)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
	int e;
	do
		e = clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts);
	while (e == EINTR);
	return -e;
}

static const struct os_ops linux_ops = {
        .openat = lx_openat,
        .close = lx_close,
        .pread = lx_pread,
        .pwrite = lx_pwrite,
        .pwritev = lx_pwritev,
        .fdatasync = lx_fdatasync,
        .fsync = lx_fsync,
        .ftruncate = lx_ftruncate,
        .fallocate = lx_fallocate,
        .clone = lx_clone,
        .linkat = lx_linkat,
        .renameat = lx_renameat,
        .unlinkat = lx_unlinkat,
        .mkdirat = lx_mkdirat,
        .fstat = lx_fstat,
        .fstatat = lx_fstatat,
        .fsmagic = lx_fsmagic,
        .flock = lx_flock,
        .getdents = lx_getdents,
        .readlinkat = lx_readlinkat,
        .mmap_ro = lx_mmap_ro,
        .munmap = lx_munmap,
        .mono_ns = lx_mono_ns,
        .real_ns = lx_real_ns,
        .random = lx_random,
        .sleep_ns = lx_sleep_ns,
};
static struct os linux_os = {.ops = &linux_ops};

struct os *os_real(void)
{
	return &linux_os;
}
