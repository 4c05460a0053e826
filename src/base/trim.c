/* trim.c - see trim.h */
#include "base/trim.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/guard.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/sbuf.h"

void trim_poll(void)
{
	uint64_t limit = mem_limit(), pages = 0;
	char t[128];
	if (!limit)
		return;
	struct os *os = os_real();
	int fd = os_openat(os, AT_FDCWD, "/proc/self/statm", O_RDONLY | O_CLOEXEC, 0);
	ssize_t n = fd < 0 ? 0 : os_pread(os, fd, t, sizeof(t) - 1, 0);
	if (fd >= 0)
		(void)os_close(os, fd); /* read only */
	t[n > 0 ? n : 0] = 0;
	const char *p = strchr(t, ' '); /* the second number: resident pages */
	if (p && num_u64(p + 1, strlen(p + 1), &pages) > 0 &&
	        pages * (uint64_t)sysconf(_SC_PAGESIZE) > limit - limit / 4)
		guard_trim();
}
