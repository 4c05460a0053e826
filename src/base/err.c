/* err.c - the error table's texts and the assertion that ends the process.
 *
 * The private codes are dense from VX_ERR_BASE + 1, so a lookup is one index.  Nothing here allocates or formats: an error is often
 * reported just when memory or stack has run out. */
#include "base/err.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct err_row {
	const char *name, *text;
	int posix;
};
static const struct err_row rows[] = {
#define X(n, p, s) {#n, s, p},
        VX_ERR_TABLE(X)
#undef X
};
static_assert(sizeof rows / sizeof rows[0] == VX_ERR_END - VX_ERR_BASE - 1, "one row for each code");

/* the system's own errors that users of a file system meet; strerror() is locale-bound and prints */
#define SYS_TABLE(X)                                                                                                   \
	X(EPERM, "operation not permitted")                                                                            \
	X(ENOENT, "no such file or directory")                                                                         \
	X(EINTR, "interrupted")                                                                                        \
	X(EIO, "input/output error")                                                                                   \
	X(ENXIO, "no such device or address")                                                                          \
	X(E2BIG, "argument too long")                                                                                  \
	X(EBADF, "bad file descriptor")                                                                                \
	X(EAGAIN, "temporarily unavailable; try again")                                                                \
	X(ENOMEM, "out of memory")                                                                                     \
	X(EACCES, "permission denied")                                                                                 \
	X(EFAULT, "bad address")                                                                                       \
	X(EBUSY, "device or resource busy")                                                                            \
	X(EEXIST, "file exists")                                                                                       \
	X(EXDEV, "not on the same file system")                                                                        \
	X(ENODEV, "no such device")                                                                                    \
	X(ENOTDIR, "not a directory")                                                                                  \
	X(EISDIR, "is a directory")                                                                                    \
	X(EINVAL, "invalid argument")                                                                                  \
	X(ENFILE, "too many open files in the system")                                                                 \
	X(EMFILE, "too many open files; raise the limit (ulimit -n)")                                                  \
	X(ENOTTY, "not a file this ioctl works on")                                                                    \
	X(ETXTBSY, "the program is being run")                                                                         \
	X(EFBIG, "file too large")                                                                                     \
	X(ENOSPC, "no space left on device")                                                                           \
	X(ESPIPE, "illegal seek")                                                                                      \
	X(EROFS, "read-only file system")                                                                              \
	X(EMLINK, "too many links")                                                                                    \
	X(EPIPE, "broken pipe")                                                                                        \
	X(ERANGE, "out of range, or the buffer is too small")                                                          \
	X(EDEADLK, "would deadlock")                                                                                   \
	X(ENAMETOOLONG, "file name too long")                                                                          \
	X(ENOSYS, "not implemented by this system")                                                                    \
	X(ENOTEMPTY, "directory not empty")                                                                            \
	X(ELOOP, "too many levels of symbolic links")                                                                  \
	X(ENODATA, "no such attribute")                                                                                \
	X(EPROTO, "protocol error")                                                                                    \
	X(EBADMSG, "bad message")                                                                                      \
	X(EOVERFLOW, "value too large")                                                                                \
	X(EILSEQ, "invalid byte sequence")                                                                             \
	X(EOPNOTSUPP, "not supported here")                                                                            \
	X(EADDRINUSE, "address already in use")                                                                        \
	X(EADDRNOTAVAIL, "no such local address")                                                                      \
	X(ECONNREFUSED, "connection refused")                                                                          \
	X(ECONNRESET, "connection reset")                                                                              \
	X(ENOTCONN, "not connected: the daemon behind this mount is gone")                                             \
	X(ESHUTDOWN, "shut down")                                                                                      \
	X(ETIMEDOUT, "timed out")                                                                                      \
	X(ESTALE, "stale file handle")                                                                                 \
	X(EDQUOT, "disk quota exceeded")                                                                               \
	X(ECANCELED, "cancelled")                                                                                      \
	X(EPROTONOSUPPORT, "protocol not supported")

static const struct err_row sys_rows[] = {
#define X(e, s) {#e, s, e},
        SYS_TABLE(X)
#undef X
};

static const struct err_row *row_of(int rc)
{
	/* INT_MIN has no positive: compare before negating */
	if (rc < -VX_ERR_BASE && rc > -VX_ERR_END)
		return &rows[-rc - VX_ERR_BASE - 1];
	for (size_t i = 0; i < sizeof sys_rows / sizeof sys_rows[0]; i++)
		if (rc == -sys_rows[i].posix)
			return &sys_rows[i];
	return NULL;
}

const char *err_name(int rc)
{
	const struct err_row *r = row_of(rc);
	if (r)
		return r->name;
	return rc >= 0 ? "ok" : "EIO";
}

const char *err_text(int rc)
{
	const struct err_row *r = row_of(rc);
	if (r)
		return r->text;
	return rc >= 0 ? "done" : "input/output error";
}

int err_posix(int rc)
{
	const struct err_row *r = row_of(rc);
	if (r)
		return r->posix;
	if (rc >= 0)
		return 0;
	return rc > -VX_ERR_BASE ? -rc : EIO; /* an errno that needs no words here passes as it is */
}

static void put_err(const char *s)
{
	ssize_t n = write(2, s, strlen(s));
	(void)n; /* the process ends anyway */
}

void vx_assert_fail(const char *expr, const char *file, int line)
{
	char num[12], *p = num + sizeof num;
	*--p = 0;
	do
		*--p = (char)('0' + line % 10);
	while (line /= 10);
	put_err("vexfs: assertion failed: ");
	put_err(expr);
	put_err(" (");
	put_err(file);
	put_err(":");
	put_err(p);
	put_err(")\n");
	abort();
}
