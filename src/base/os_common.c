/* os_common.c - what is the same on every system: whole reads and writes over a struct os. */
#include "base/err.h"
#include "base/os.h"

int os_pread_all(struct os *o, int fd, void *buf, size_t n, off_t at)
{
	uint8_t *p = buf;
	while (n) {
		ssize_t r = os_pread(o, fd, p, n, at);
		if (r == -EINTR)
			continue;
		if (r < 0)
			return (int)r;
		if (r == 0)
			return -VX_ERR_truncated;
		p += r;
		n -= (size_t)r;
		at += r;
	}
	return 0;
}

int os_pwrite_all(struct os *o, int fd, const void *buf, size_t n, off_t at)
{
	const uint8_t *p = buf;
	while (n) {
		ssize_t r = os_pwrite(o, fd, p, n, at);
		if (r == -EINTR)
			continue;
		if (r < 0)
			return (int)r;
		if (r == 0)
			return -EIO; /* a file that takes nothing and gives no error: going on would never end */
		p += r;
		n -= (size_t)r;
		at += r;
	}
	return 0;
}
