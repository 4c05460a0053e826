/* os.h - the seam to the operating system: files, sync, clock, random, threads.
 *
 * Everything below fs/ reaches the system only through a `struct os`, so that a test can fail, count, cut or fake every call
 * (os_fault.h wraps one around another).  Calls return >= 0 or -errno and never set errno for the caller to read.
 * fs/ alone speaks to the backing directory by plain syscalls: there the kernel's request IS the syscall. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct os;
struct os_ops {
	int (*openat)(struct os *, int dirfd, const char *path, int flags, mode_t mode);
	int (*close)(struct os *, int fd);
	ssize_t (*pread)(struct os *, int fd, void *buf, size_t n, off_t at);
	ssize_t (*pwrite)(struct os *, int fd, const void *buf, size_t n, off_t at);
	ssize_t (*pwritev)(struct os *, int fd, const struct iovec *iov, int iovcnt, off_t at);
	int (*fdatasync)(struct os *, int fd);
	int (*fsync)(struct os *, int fd);
	int (*ftruncate)(struct os *, int fd, off_t size);
	int (*fallocate)(struct os *, int fd, int mode, off_t off, off_t len);
	int (*clone)(struct os *, int from,
	        int to); /* all of a file shares another's blocks; -EOPNOTSUPP and its like: not here */
	int (*linkat)(struct os *, int olddir, const char *old, int newdir, const char *new_);
	int (*renameat)(struct os *, int olddir, const char *old, int newdir, const char *new_);
	int (*unlinkat)(struct os *, int dirfd, const char *path, int flags);
	int (*mkdirat)(struct os *, int dirfd, const char *path, mode_t mode);
	int (*fstat)(struct os *, int fd, struct stat *ret);
	int (*fstatat)(struct os *, int dirfd, const char *path, struct stat *ret, int flags);
	int (*fsmagic)(struct os *, int fd, uint32_t *ret); /* statfs's f_type: which kind of file system */
	int (*flock)(struct os *, int fd, int op);
	ssize_t (*getdents)(struct os *, int fd, void *buf, size_t n); /* getdents64 records */
	ssize_t (*readlinkat)(struct os *, int dirfd, const char *path, char *buf, size_t n);
	int (*mmap_ro)(struct os *, int fd, off_t at, size_t n, const void **ret); /* PROT_READ, MAP_SHARED */
	int (*munmap)(struct os *, const void *p, size_t n);
	uint64_t (*mono_ns)(struct os *);
	uint64_t (*real_ns)(struct os *);
	int (*random)(struct os *, void *buf, size_t n);
	int (*sleep_ns)(struct os *, uint64_t ns);
};
struct os {
	const struct os_ops *ops;
};

/* os_real - the process's one direct implementation. */
struct os *os_real(void);

#define os_openat(o, d, p, f, m)     ((o)->ops->openat(o, d, p, f, m))
#define os_close(o, fd)              ((o)->ops->close(o, fd))
#define os_pread(o, fd, b, n, at)    ((o)->ops->pread(o, fd, b, n, at))
#define os_pwrite(o, fd, b, n, at)   ((o)->ops->pwrite(o, fd, b, n, at))
#define os_pwritev(o, fd, v, c, at)  ((o)->ops->pwritev(o, fd, v, c, at))
#define os_fdatasync(o, fd)          ((o)->ops->fdatasync(o, fd))
#define os_fsync(o, fd)              ((o)->ops->fsync(o, fd))
#define os_ftruncate(o, fd, n)       ((o)->ops->ftruncate(o, fd, n))
#define os_fallocate(o, fd, m, a, n) ((o)->ops->fallocate(o, fd, m, a, n))
#define os_clone(o, a, b)            ((o)->ops->clone(o, a, b))
#define os_linkat(o, a, b, c, d)     ((o)->ops->linkat(o, a, b, c, d))
#define os_renameat(o, a, b, c, d)   ((o)->ops->renameat(o, a, b, c, d))
#define os_unlinkat(o, d, p, f)      ((o)->ops->unlinkat(o, d, p, f))
#define os_mkdirat(o, d, p, m)       ((o)->ops->mkdirat(o, d, p, m))
#define os_fstat(o, fd, st)          ((o)->ops->fstat(o, fd, st))
#define os_fstatat(o, d, p, st, f)   ((o)->ops->fstatat(o, d, p, st, f))
#define os_fsmagic(o, fd, r)         ((o)->ops->fsmagic(o, fd, r))
#define os_flock(o, fd, op)          ((o)->ops->flock(o, fd, op))
#define os_getdents(o, fd, b, n)     ((o)->ops->getdents(o, fd, b, n))
#define os_readlinkat(o, d, p, b, n) ((o)->ops->readlinkat(o, d, p, b, n))
#define os_mmap_ro(o, fd, at, n, r)  ((o)->ops->mmap_ro(o, fd, at, n, r))
#define os_munmap(o, p, n)           ((o)->ops->munmap(o, p, n))
#define os_mono_ns(o)                ((o)->ops->mono_ns(o))
#define os_real_ns(o)                ((o)->ops->real_ns(o))
#define os_random(o, b, n)           ((o)->ops->random(o, b, n))
#define os_sleep_ns(o, n)            ((o)->ops->sleep_ns(o, n))

/* Whole reads and writes: EINTR and short counts are carried on; a short file is -VX_ERR_truncated. Return 0 or < 0. */
int os_pread_all(struct os *o, int fd, void *buf, size_t n, off_t at);
int os_pwrite_all(struct os *o, int fd, const void *buf, size_t n, off_t at);
