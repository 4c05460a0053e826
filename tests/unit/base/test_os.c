/* test_os.c - struct os on the real system, and the faults that os_fault puts before it. */
#include "base/err.h"
#include "base/os.h"
#include "base/os_fault.h"
#include "tap.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

static char dir[] = "/tmp/vx-test-os-XXXXXX";
static int dfd;

static void real(void)
{
	struct os *o = os_real();
	T_EQ(os_openat(o, dfd, "none", O_RDONLY, 0), -ENOENT, "a missing file");
	int fd = os_openat(o, dfd, "f", O_RDWR | O_CREAT | O_EXCL, 0600);
	T_OK(fd >= 0, "create");
	T_OK(fcntl(fd, F_GETFD) & FD_CLOEXEC, "close on exec");
	T_EQ(os_openat(o, dfd, "f", O_RDWR | O_CREAT | O_EXCL, 0600), -EEXIST, "create again");
	T_EQ(os_pwrite_all(o, fd, "0123456789", 10, 5), 0, "write at 5");
	char b[20] = "";
	T_EQ(os_pread_all(o, fd, b, 10, 5), 0, "read at 5");
	T_OK(!memcmp(b, "0123456789", 10), "the same bytes");
	T_EQ(os_pread_all(o, fd, b, 20, 0), -VX_ERR_truncated, "20 of 15 bytes");
	T_EQ(os_pread(o, fd, b, 20, 0), 15, "as far as there is");
	struct iovec v[2] = {{(void *)"ab", 2}, {(void *)"cd", 2}};
	T_EQ(os_pwritev(o, fd, v, 2, 0), 4, "pwritev");
	T_EQ(os_fsync(o, fd), 0, "fsync");
	T_EQ(os_fdatasync(o, fd), 0, "fdatasync");
	T_EQ(os_fsync(o, -1), -EBADF, "fsync of nothing");
	struct stat st;
	T_OK(os_fstat(o, fd, &st) == 0 && st.st_size == 15, "fstat: %lld bytes", (long long)st.st_size);
	T_EQ(os_ftruncate(o, fd, 8192), 0, "ftruncate");
	T_OK(os_fstatat(o, dfd, "f", &st, 0) == 0 && st.st_size == 8192, "fstatat: %lld bytes", (long long)st.st_size);
	const void *m = NULL;
	T_EQ(os_mmap_ro(o, fd, 0, 8192, &m), 0, "mmap");
	T_OK(m && !memcmp(m, "abcd\0", 5), "shows the bytes");
	T_EQ(os_munmap(o, m, 8192), 0, "munmap");
	T_EQ(os_mmap_ro(o, fd, 1, 8192, &m), -EINVAL, "mmap at no page");
	int fd2 = os_openat(o, dfd, "f", O_RDONLY, 0);
	T_EQ(os_flock(o, fd, LOCK_EX | LOCK_NB), 0, "flock");
	T_EQ(os_flock(o, fd2, LOCK_EX | LOCK_NB), -EAGAIN, "a second one");
	T_EQ(os_close(o, fd2), 0, "close");
	T_EQ(os_close(o, fd2), -EBADF, "close again");
	T_EQ(os_mkdirat(o, dfd, "d", 0700), 0, "mkdir");
	T_EQ(os_renameat(o, dfd, "f", dfd, "d/g"), 0, "rename");
	int d2 = os_openat(o, dfd, "d", O_RDONLY | O_DIRECTORY, 0), entries = 0;
	char db[4096];
	for (ssize_t n; (n = os_getdents(o, d2, db, sizeof db)) > 0;)
		for (ssize_t at = 0; at < n;) {
			struct dirent64 *e = (struct dirent64 *)(void *)(db + at);
			entries += !strcmp(e->d_name, "g") || !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");
			at += e->d_reclen;
		}
	T_EQ(entries, 3, "getdents: ., .. and g");
	T_EQ(symlinkat("to/where", dfd, "l"), 0, "a link");
	T_EQ(os_readlinkat(o, dfd, "l", b, sizeof b), 8, "readlink");
	T_EQ(os_unlinkat(o, dfd, "d", AT_REMOVEDIR), -ENOTEMPTY, "rmdir of a full directory");
	T_EQ(os_unlinkat(o, d2, "g", 0), 0, "unlink");
	T_EQ(os_unlinkat(o, dfd, "l", 0), 0, "unlink the link");
	os_close(o, d2);
	os_close(o, fd);
	T_EQ(os_unlinkat(o, dfd, "d", AT_REMOVEDIR), 0, "rmdir");
	uint64_t t0 = os_mono_ns(o);
	T_EQ(os_sleep_ns(o, 2000000), 0, "sleep 2 ms");
	T_OK(os_mono_ns(o) - t0 >= 2000000, "took %llu ns", (unsigned long long)(os_mono_ns(o) - t0));
	T_OK(os_real_ns(o) > 1500000000ull * 1000000000ull, "wall clock");
	uint64_t r[2] = {0, 0};
	T_OK(os_random(o, r, sizeof r) == 0 && r[0] != r[1], "random");
}

static void faults(void)
{
	struct os_fault f;
	os_fault_init(&f, os_real());
	struct os *o = &f.os;
	char b[64];
	int fd = os_openat(o, dfd, "x", O_RDWR | O_CREAT, 0600);
	T_OK(fd >= 0 && f.calls[OSC_openat] == 1, "passes and counts");
	f.at[OSC_pwrite] = 2;
	f.kind[OSC_pwrite] = OSF_ERROR;
	f.error[OSC_pwrite] = ENOSPC;
	T_EQ(os_pwrite(o, fd, "aaaa", 4, 0), 4, "first write passes");
	T_EQ(os_pwrite(o, fd, "bbbb", 4, 4), -ENOSPC, "second fails");
	T_EQ(os_pwrite(o, fd, "cccc", 4, 4), 4, "third passes");
	T_EQ(f.calls[OSC_pwrite], 3, "three were counted");
	f.at[OSC_pwrite] = f.calls[OSC_pwrite] + 1;
	f.until[OSC_pwrite] = f.at[OSC_pwrite] + 1;
	f.kind[OSC_pwrite] = OSF_SHORT;
	T_EQ(os_pwrite(o, fd, "12345678", 8, 0), 4, "a short write");
	T_EQ(os_pwrite_all(o, fd, "ABCDEFGH", 8, 0), 0, "pwrite_all carries on after one");
	T_OK(os_pread_all(o, fd, b, 8, 0) == 0 && !memcmp(b, "ABCDEFGH", 8), "all bytes are there");
	T_EQ(f.calls[OSC_pwrite], 6, "in two calls");
	f.at[OSC_pread] = f.calls[OSC_pread] + 1;
	f.kind[OSC_pread] = OSF_SHORT;
	T_EQ(os_pread_all(o, fd, b, 8, 0), 0, "pread_all over a short read");
	f.at[OSC_pread] = f.calls[OSC_pread] + 1;
	f.kind[OSC_pread] = OSF_ERROR;
	f.error[OSC_pread] = EINTR;
	T_EQ(os_pread_all(o, fd, b, 8, 0), 0, "and over EINTR");
	f.at[OSC_pread] = f.calls[OSC_pread] + 1;
	f.error[OSC_pread] = 0;
	T_EQ(os_pread_all(o, fd, b, 8, 0), -EIO, "an error without a number is EIO");
	f.at[OSC_fdatasync] = 1;
	f.until[OSC_fdatasync] = UINT64_MAX;
	f.kind[OSC_fdatasync] = OSF_ERROR;
	int fails = 0;
	for (int i = 0; i < 5; i++)
		fails += os_fdatasync(o, fd) == -EIO;
	T_EQ(fails, 5, "fails from the first to the last");
	struct iovec v[2] = {{(void *)"wxyz", 4}, {(void *)"!!", 2}};
	f.at[OSC_pwritev] = 1;
	f.kind[OSC_pwritev] = OSF_SHORT;
	T_EQ(os_pwritev(o, fd, v, 2, 0), 2, "a short pwritev");
	f.at[OSC_close] = 1;
	f.kind[OSC_close] = OSF_ERROR;
	T_EQ(os_close(o, fd), -EIO, "close fails");
	T_EQ(fcntl(fd, F_GETFD), -1, "and has closed");

	/* every other call fails on demand with its errno */
	const void *m;
	struct stat st;
	uint32_t magic;
	for (int c = 0; c < OSC_N; c++) {
		os_fault_init(&f, os_real());
		f.at[c] = 1;
		f.kind[c] = OSF_ERROR;
		f.error[c] = EDQUOT;
		long long rc = 0;
		switch ((enum os_call)c) {
		case OSC_clone:
			rc = os_clone(o, -1, -1);
			break;
		case OSC_linkat:
			rc = os_linkat(o, dfd, "x", dfd, "y");
			break;
		case OSC_openat:
			rc = os_openat(o, dfd, "x", O_RDONLY, 0);
			break;
		case OSC_close:
			rc = os_close(o, -1);
			break;
		case OSC_pread:
			rc = os_pread(o, 0, b, 1, 0);
			break;
		case OSC_pwrite:
			rc = os_pwrite(o, -1, b, 1, 0);
			break;
		case OSC_pwritev:
			rc = os_pwritev(o, -1, v, 1, 0);
			break;
		case OSC_fdatasync:
			rc = os_fdatasync(o, -1);
			break;
		case OSC_fsync:
			rc = os_fsync(o, -1);
			break;
		case OSC_ftruncate:
			rc = os_ftruncate(o, -1, 0);
			break;
		case OSC_fallocate:
			rc = os_fallocate(o, -1, 0, 0, 1);
			break;
		case OSC_renameat:
			rc = os_renameat(o, dfd, "x", dfd, "y");
			break;
		case OSC_unlinkat:
			rc = os_unlinkat(o, dfd, "x", 0);
			break;
		case OSC_mkdirat:
			rc = os_mkdirat(o, dfd, "x", 0700);
			break;
		case OSC_fstat:
			rc = os_fstat(o, dfd, &st);
			break;
		case OSC_fstatat:
			rc = os_fstatat(o, dfd, "x", &st, 0);
			break;
		case OSC_fsmagic:
			rc = os_fsmagic(o, dfd, &magic);
			break;
		case OSC_flock:
			rc = os_flock(o, dfd, LOCK_SH);
			break;
		case OSC_getdents:
			rc = os_getdents(o, dfd, b, sizeof b);
			break;
		case OSC_readlinkat:
			rc = os_readlinkat(o, dfd, "x", b, sizeof b);
			break;
		case OSC_mmap_ro:
			rc = os_mmap_ro(o, dfd, 0, 1, &m);
			break;
		case OSC_munmap:
			rc = os_munmap(o, b, 1);
			break;
		case OSC_random:
			rc = os_random(o, b, 1);
			break;
		case OSC_N:
			break;
		}
		if (rc != -EDQUOT || f.calls[c] != 1)
			T_OK(0, "call %d: %lld, counted %llu", c, rc, (unsigned long long)f.calls[c]);
	}
	T_EQ(faccessat(dfd, "x", F_OK, 0), 0, "a failed unlink left the file");
}

static void clocks(void)
{
	struct os_fault f;
	os_fault_init(&f, os_real());
	struct os *o = &f.os;
	f.fake_clock = 1;
	uint64_t m = os_mono_ns(o), r = os_real_ns(o);
	T_OK(os_mono_ns(o) == m && os_real_ns(o) == r, "a fake clock stands still");
	T_EQ(os_sleep_ns(o, 3600ull * 1000000000ull), 0, "an hour's sleep returns at once");
	T_EQ(os_mono_ns(o) - m, 3600ll * 1000000000ll, "and moved both clocks");
	T_EQ(os_real_ns(o) - r, 3600ll * 1000000000ll, "by an hour");
	f.random_state = 42;
	uint64_t a[3], c[3];
	os_random(o, a, sizeof a);
	f.random_state = 42;
	os_random(o, c, sizeof c);
	T_OK(!memcmp(a, c, sizeof a) && a[0] != a[1], "the same state gives the same numbers");
}

static void killed(void)
{
	pid_t pid = fork();
	if (!pid) {
		struct os_fault f;
		os_fault_init(&f, os_real());
		f.at[OSC_fsync] = 2;
		f.kind[OSC_fsync] = OSF_KILL;
		os_fsync(&f.os, dfd);
		os_fsync(&f.os, dfd);
		_exit(0);
	}
	int st = 0;
	waitpid(pid, &st, 0);
	T_OK(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL, "killed at the second fsync: status %d", st);
}

int main(void)
{
	if (!mkdtemp(dir) || (dfd = open(dir, O_RDONLY | O_DIRECTORY)) < 0)
		return 99;
	real();
	faults();
	clocks();
	killed();
	unlinkat(dfd, "x", 0);
	T_EQ(rmdir(dir), 0, "nothing is left behind");
	return tap_done();
}
