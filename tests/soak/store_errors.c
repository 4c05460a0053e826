/* store_errors.c - LD_PRELOAD for a soak: writes and flushes of the store fail while a shared page says so.
 *
 * Only descriptors of files below the store's directory are touched (the name behind /proc/self/fd decides), so file data of clients
 * goes through as ever, as it would if the store lay on a disk of its own that fails.
 *
 *   VEXFS_SOAK_PAGE   a file of 4 KiB, mapped shared: u32 what (bits), u32 errno, u32 hits (ours, counts what failed)
 *   VEXFS_SOAK_STORE  path prefix of the store */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { E_write = 1, E_flush = 2, E_grow = 4 };
struct page {
	_Atomic uint32_t what, error, hits;
};
static struct page *page;
static const char *store;
static size_t store_n;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_fdatasync)(int), (*real_fsync)(int), (*real_ftruncate)(int, off_t);
static int (*real_fallocate)(int, int, off_t, off_t);

__attribute__((constructor)) static void begin(void)
{
	const char *p = getenv("VEXFS_SOAK_PAGE");
	store = getenv("VEXFS_SOAK_STORE");
	store_n = store ? strlen(store) : 0;
	real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
	real_pwritev = (ssize_t(*)(int, const struct iovec *, int, off_t))dlsym(RTLD_NEXT, "pwritev64");
	real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	real_ftruncate = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate64");
	real_fallocate = (int (*)(int, int, off_t, off_t))dlsym(RTLD_NEXT, "fallocate64");
	int fd = p ? open(p, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	void *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (m != MAP_FAILED)
		page = m;
}

static int fails(int fd, uint32_t kind)
{
	if (!page || !store_n || !(atomic_load(&page->what) & kind))
		return 0;
	char link[40] = "/proc/self/fd/", name[512];
	size_t n = strlen(link), first = n;
	for (int v = fd; v || n == first; v /= 10)
		link[n++] = (char)('0' + v % 10);
	for (size_t a = first, b = n - 1; a < b; a++, b--) {
		char c = link[a];
		link[a] = link[b];
		link[b] = c;
	}
	ssize_t got = readlink(link, name, sizeof name);
	if (got < (ssize_t)store_n || memcmp(name, store, store_n))
		return 0;
	atomic_fetch_add(&page->hits, 1);
	errno = (int)atomic_load(&page->error);
	return 1;
}

ssize_t pwrite64(int fd, const void *b, size_t n, off_t at)
{
	return fails(fd, E_write) ? -1 : real_pwrite(fd, b, n, at);
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t at)
{
	return pwrite64(fd, b, n, at);
}
ssize_t pwritev64(int fd, const struct iovec *v, int n, off_t at)
{
	return fails(fd, E_write) ? -1 : real_pwritev(fd, v, n, at);
}
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)
{
	return pwritev64(fd, v, n, at);
}
int fdatasync(int fd)
{
	return fails(fd, E_flush) ? -1 : real_fdatasync(fd);
}
int fsync(int fd)
{
	return fails(fd, E_flush) ? -1 : real_fsync(fd);
}
int ftruncate64(int fd, off_t n)
{
	return fails(fd, E_grow) ? -1 : real_ftruncate(fd, n);
}
int ftruncate(int fd, off_t n)
{
	return ftruncate64(fd, n);
}
int fallocate64(int fd, int mode, off_t at, off_t n)
{
	return fails(fd, E_grow) ? -1 : real_fallocate(fd, mode, at, n);
}
int fallocate(int fd, int mode, off_t at, off_t n)
{
	return fallocate64(fd, mode, at, n);
}
