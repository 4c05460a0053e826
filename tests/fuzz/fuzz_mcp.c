/* fuzz_mcp.c - libFuzzer target: any bytes as messages of an agent and as the mount's answers.  Behind the first 0xff is what the mount
 * answers to every question; before it, one message a line.  Each answer is one line of JSON-RPC.
 *     tests/fuzz/run.py --only mcp [--seconds N] */
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "server/mcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define QUERY_FD 1000001
static struct os_ops ops;
static struct os os;
static const uint8_t *told;
static size_t told_n;

static int f_openat(struct os *o, int d, const char *path, int flags, mode_t mode)
{
	(void)o;
	if (flags & (O_CREAT | O_TRUNC | O_WRONLY) || path[0] == '/' || !strcmp(path, ".."))
		abort(); /* out of the mount, or writing */
	return strcmp(path, ".vexfs/query") ? os_real()->ops->openat(os_real(), d, path, flags, mode) : QUERY_FD;
}
static int f_close(struct os *o, int fd)
{
	(void)o;
	return fd == QUERY_FD ? 0 : os_real()->ops->close(os_real(), fd);
}
static ssize_t f_pwrite(struct os *o, int fd, const void *p, size_t n, off_t at)
{
	(void)o, (void)p, (void)at;
	if (fd != QUERY_FD)
		abort();
	return (ssize_t)n;
}
static ssize_t f_pread(struct os *o, int fd, void *p, size_t n, off_t at)
{
	(void)o;
	if (fd != QUERY_FD)
		return os_real()->ops->pread(os_real(), fd, p, n, at);
	size_t left = (size_t)at < told_n ? told_n - (size_t)at : 0;
	n = n < left ? n : left;
	memcpy(p, told + at, n);
	return (ssize_t)n;
}
static int f_fstatat(struct os *o, int d, const char *path, struct stat *st, int flags)
{
	(void)o, (void)d, (void)path, (void)flags;
	memset(st, 0, sizeof *st);
	return 0;
}

static void one(struct mcp *m, const char *p, size_t n)
{
	struct arena a;
	struct sbuf b;
	arena_init(&a, MEM_server, 64u << 20);
	sbuf_arena(&b, &a, 16384, 32u << 20);
	int rc = mcp_handle(m, p, n, &b);
	if (rc >= 0 && b.n) {
		json_t *j = json_loadb(b.p, b.n, JSON_REJECT_DUPLICATES, NULL);
		bool result = json_object_get(j, "result") != NULL, error = json_object_get(j, "error") != NULL;
		if (!j || result == error || !json_object_get(j, "id") || memchr(b.p, '\n', b.n))
			abort();
		json_decref(j);
	}
	arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static char dir[] = "/tmp/vexfs-fuzz-mcp-XXXXXX";
	static bool ready;
	struct mcp *m;
	if (!ready) {
		ops = *os_real()->ops;
		ops.openat = f_openat;
		ops.close = f_close;
		ops.pwrite = f_pwrite;
		ops.pread = f_pread;
		ops.fstatat = f_fstatat;
		os = *os_real();
		os.ops = &ops;
		if (!mkdtemp(dir))
			abort();
		int d = open(dir, O_RDONLY | O_DIRECTORY), fd = openat(d, "a.txt", O_CREAT | O_WRONLY, 0600);
		if (write(fd, "one\ntwo\nthree\n", 14) != 14)
			abort();
		close(fd);
		close(d);
		ready = true;
	}
	const uint8_t *e = memchr(p, 0xff, n);
	size_t k = e ? (size_t)(e - p) : n;
	told = e ? e + 1 : p;
	told_n = e ? n - k - 1 : 0;
	/* the root is the one path that is absolute */
	ops.openat = os_real()->ops->openat;
	int rc = mcp_new(&os, dir, "0", &m);
	ops.openat = f_openat;
	if (rc < 0)
		abort();
	one(m, "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"x\"}}", 79);
	for (size_t at = 0; at < k;) {
		const uint8_t *l = memchr(p + at, '\n', k - at);
		size_t len = l ? (size_t)(l - p) - at : k - at;
		char *copy = malloc(len ? len : 1);
		memcpy(copy, p + at, len);
		one(m, copy, len);
		free(copy);
		at += len + 1;
	}
	mcp_free(m);
	return 0;
}
