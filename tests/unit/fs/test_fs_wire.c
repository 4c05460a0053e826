/* test_fs_wire.c - broken FUSE messages: every request cut at every byte, strings without end, counts that lie, then a seeded storm of
 * nearly right ones.  Each must be answered once (or, where the protocol has no reply, not at all), and leave nothing behind. */
#include <dirent.h>
#include <errno.h>
#include "tap.h"
#include "wire_fuzz.h"
#include "fs/transport_wire.h"

static char dir[] = "/tmp/vexfs-wire-XXXXXX";
static struct wire w;

static int send_cut(uint32_t op, uint64_t node, const void *body, size_t n, size_t claim)
{
	static uint8_t m[4096];
	struct fuse_in_header h = {
	        .len = (uint32_t)(sizeof h + claim), .opcode = op, .unique = w.unique += 2, .nodeid = node};
	memcpy(m, &h, sizeof h);
	memcpy(m + sizeof h, body, n);
	return wire_raw(&w, m, sizeof h + n);
}

static void t_cut(void)
{
	uint8_t body[200];
	unsigned bad = 0, none = 0, sent = 0;
	memset(body, 'A', sizeof body); /* no NUL anywhere: no string ends */
	for (uint32_t op = 1; op < 60; op++) {
		if (op == FUSE_INIT || op == FUSE_DESTROY)
			continue;
		for (size_t n = 0; n <= sizeof body; n++) {
			int rc = send_cut(op, 1, body, n, n);
			sent++;
			none += rc == 1;
			if (rc == 1 && wire_has_reply(op)) {
				if (!bad)
					printf("# op %u, %zu bytes: no answer\n", op, n);
				bad++;
			}
			rc = send_cut(op, 1, body, n, n + 1); /* the header lies about the length */
			bad += wire_has_reply(op) ? rc != -EINVAL : rc != 1;
		}
	}
	T_OK(!bad, "%u cut messages: each answered as it should, %u without a reply", sent, none);
	uint32_t lie[2] = {0xffffffffu, 0};
	T_EQ(send_cut(FUSE_BATCH_FORGET, 1, lie, 8, 8), 1, "a batch of 4 G forgets in 8 bytes is dropped");
	T_EQ(send_cut(FUSE_SETXATTR, 1, "\xff\xff\0\0\0\0\0\0user.x\0v", 16, 16), -EINVAL,
	        "a value longer than its message");
	struct fuse_write_in wr = {.size = 1 << 30};
	T_EQ(send_cut(FUSE_WRITE, 1, &wr, sizeof wr, sizeof wr), -EINVAL, "a write of 1 GiB without data");
	struct fuse_ioctl_in io = {.in_size = 1 << 20};
	T_EQ(send_cut(FUSE_IOCTL, 1, &io, sizeof io, sizeof io), -EINVAL, "an ioctl with data that did not come");
	T_EQ(wire_raw(&w, "short", 5), 1, "less than a header is dropped");
	T_EQ(send_cut(4711, 1, body, 10, 10), -ENOSYS, "an unknown opcode");
}

static void t_ids(void)
{
	struct fuse_attr a;
	static const uint64_t ids[] = {0, 2, 3, 1ull << 32, 1ull << 32 | 1, 3ull << 32, 0x7fffffff00000000ull,
	        0x00000001ffffffffull, 0x7fffffffffffffffull, 0xdeadbeefull};
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		T_OK(wire_getattr(&w, ids[i], &a) < 0, "node %#" PRIx64 " is none", ids[i]);
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		T_OK(wire_read(&w, 1, ids[i], 100, 0) < 0, "nor a file's handle");
	wire_forget(&w, 1, UINT64_MAX);
	T_EQ(wire_getattr(&w, 1, &a), 0, "the root can't be forgotten");
}

static void t_storm(void)
{
	uint64_t seed = tap_seed(20261123), x = seed;
	static uint8_t bytes[4096];
	struct fuzz_state s = {0};
	unsigned steps = 0;
	for (int round = 0; round < 600; round++) {
		for (size_t i = 0; i < sizeof bytes; i++) {
			x = x * 6364136223846793005ull + 1442695040888963407ull;
			bytes[i] = (uint8_t)(x >> 56);
		}
		struct fuzz_in in = {bytes, sizeof bytes};
		while (in.n > 64) {
			if (!fuzz_step(&w, &s, &in)) {
				T_OK(false, "the session ended at round %d", round);
				return;
			}
			steps++;
		}
	}
	struct fuse_attr a;
	T_OK(steps > 10000, "%u messages, %" PRIu64 " answers, %" PRIu64 " of them errors", steps, s.replies, s.errors);
	T_EQ(wire_getattr(&w, 1, &a), 0, "and the session answers");
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	fuzz_limits();
	int rc = wire_open(&w, dir, NULL);
	T_EQ(rc, 0, "session up");
	if (rc)
		return tap_done();
	t_cut();
	t_ids();
	t_storm();
	wire_close(&w);
	T_EQ(mem_used(MEM_inode), 0, "no node memory is left");
	T_EQ(mem_used(MEM_fs), 0, "nor any other");
	char cmd[128];
	snprintf(cmd, sizeof cmd, "chmod -R u+rwx %s; rm -rf %s", dir, dir);
	if (system(cmd))
		return 1;
	return tap_done();
}
