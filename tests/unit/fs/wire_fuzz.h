/* wire_fuzz.h - turn bytes into a run of FUSE messages that are nearly right, so that a fuzzer gets past the first check.
 *
 * Each step takes a few bytes: opcode, node, handle, names from a small set (so they meet), sizes, then how the message is to be
 * broken.  The same code serves libFuzzer (tests/fuzz/fuzz_wire.c) and the seeded run of every build (test_fs_wire.c). */
#pragma once
#include <signal.h>
#include <sys/resource.h>
#include "wire.h"

struct fuzz_in {
	const uint8_t *p;
	size_t n;
};
static inline uint32_t fz(struct fuzz_in *in, unsigned bytes)
{
	uint32_t v = 0;
	for (unsigned i = 0; i < bytes && in->n; i++, in->p++, in->n--)
		v |= (uint32_t)*in->p << (8 * i);
	return v;
}

#define FUZZ_KEEP 8
struct fuzz_state {
	uint64_t node[FUZZ_KEEP], fh[FUZZ_KEEP];
	uint64_t replies, errors;
};

static inline size_t fz_name(struct fuzz_in *in, uint8_t *at)
{
	static const char *const names[] = {"a", "b", "c", "d", ".vexfs", "a/b", "..", ".", "", "user.vexfs.vector",
	        "user.x", "security.capability", "system.posix_acl_access", "trusted.t", "user.vexfs.similar",
	        "user.vexfs.payload"};
	uint32_t k = fz(in, 1);
	size_t n;
	if (k < 200) {
		n = strlen(names[k % 16]);
		memcpy(at, names[k % 16], n);
	} else {
		n = fz(in, 1) * 2;
		for (size_t i = 0; i < n; i++)
			at[i] = (uint8_t)fz(in, 1);
	}
	at[n] = 0;
	return n + 1;
}
static inline uint64_t fz_node(struct fuzz_in *in, struct fuzz_state *s)
{
	uint32_t k = fz(in, 1);
	if (k < 60)
		return 1;
	if (k < 200)
		return s->node[k % FUZZ_KEEP];
	if (k < 210)
		return (uint64_t)fz(in, 4) << 32 | fz(in, 4);
	if (k < 220)
		return fz(in, 1);
	return k < 240 ? FS_VIRT_BIT | fz(in, 2) : (uint64_t)fz(in, 1) << 32 | fz(in, 1);
}

/* one message from the input, sent and answered. false: the session is over */
static inline bool fuzz_step(struct wire *w, struct fuzz_state *s, struct fuzz_in *in)
{
	static uint8_t m[70000];
	uint8_t *p = m + sizeof(struct fuse_in_header);
	uint32_t op = fz(in, 1) % 56;
	if (op == FUSE_INIT || op == FUSE_DESTROY)
		op = FUSE_LOOKUP;
	uint64_t fh = s->fh[fz(in, 1) % FUZZ_KEEP];
	struct fuse_in_header h = {.opcode = op, .unique = w->unique += 2, .nodeid = fz_node(in, s), .pid = 1};
	size_t fixed = 0;
	memset(p, 0, 256);
	/* the fixed part: the handle where it belongs, other fields from the input */
	switch (op) {
	case FUSE_SETATTR:
		fixed = sizeof(struct fuse_setattr_in);
		*(struct fuse_setattr_in *)(void *)p = (struct fuse_setattr_in){.valid = fz(in, 2),
		        .fh = fh,
		        .size = fz(in, 3),
		        .mode = fz(in, 2),
		        .uid = fz(in, 1),
		        .gid = fz(in, 1),
		        .atimensec = fz(in, 4)};
		break;
	case FUSE_GETATTR:
		fixed = sizeof(struct fuse_getattr_in);
		*(struct fuse_getattr_in *)(void *)p = (struct fuse_getattr_in){.getattr_flags = fz(in, 1), .fh = fh};
		break;
	case FUSE_MKNOD:
		fixed = sizeof(struct fuse_mknod_in);
		*(struct fuse_mknod_in *)(void *)p =
		        (struct fuse_mknod_in){.mode = (fz(in, 1) & 1 ? S_IFIFO : S_IFREG) | 0600};
		break;
	case FUSE_MKDIR:
		fixed = sizeof(struct fuse_mkdir_in);
		*(struct fuse_mkdir_in *)(void *)p = (struct fuse_mkdir_in){.mode = 0700, .umask = fz(in, 2)};
		break;
	case FUSE_RENAME:
	case FUSE_LINK:
		fixed = 8;
		memcpy(p, &(uint64_t){fz_node(in, s)}, 8);
		break;
	case FUSE_RENAME2:
		fixed = sizeof(struct fuse_rename2_in);
		*(struct fuse_rename2_in *)(void *)p =
		        (struct fuse_rename2_in){.newdir = fz_node(in, s), .flags = fz(in, 1) % 9};
		break;
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		fixed = sizeof(struct fuse_create_in);
		*(struct fuse_create_in *)(void *)p =
		        (struct fuse_create_in){.flags = fz(in, 1) % 4 | O_CREAT, .mode = 0600};
		break;
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		fixed = sizeof(struct fuse_read_in);
		*(struct fuse_read_in *)(void *)p =
		        (struct fuse_read_in){.fh = fh, .offset = fz(in, 3), .size = fz(in, 4)};
		break;
	case FUSE_WRITE:
		fixed = sizeof(struct fuse_write_in);
		*(struct fuse_write_in *)(void *)p =
		        (struct fuse_write_in){.fh = fh, .offset = fz(in, 3), .size = fz(in, 1)};
		break;
	case FUSE_IOCTL:
		fixed = sizeof(struct fuse_ioctl_in);
		*(struct fuse_ioctl_in *)(void *)p = (struct fuse_ioctl_in){.fh = fh,
		        .cmd = fz(in, 1) & 1 ? 0xd0005600u | fz(in, 1) | fz(in, 1) << 16 : fz(in, 4),
		        .in_size = fz(in, 1),
		        .out_size = fz(in, 2),
		        .flags = fz(in, 1)};
		break;
	case FUSE_SETXATTR: {
		fixed = 8;
		uint32_t head[2] = {fz(in, 1), fz(in, 1) % 3};
		memcpy(p, head, 8);
		break;
	}
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		fixed = sizeof(struct fuse_getxattr_in);
		memcpy(p, &(uint32_t){fz(in, 3)}, 4);
		break;
	case FUSE_BATCH_FORGET:
		fixed = 8;
		memcpy(p, &(uint32_t){fz(in, 1) % 5}, 4);
		break;
	case FUSE_COPY_FILE_RANGE:
		fixed = sizeof(struct fuse_copy_file_range_in);
		*(struct fuse_copy_file_range_in *)(void *)p = (struct fuse_copy_file_range_in){.fh_in = fh,
		        .fh_out = s->fh[fz(in, 1) % FUZZ_KEEP],
		        .nodeid_out = fz_node(in, s),
		        .len = fz(in, 3),
		        .off_in = fz(in, 2)};
		break;
	case FUSE_FORGET:
		fixed = 8;
		memcpy(p, &(uint64_t){fz(in, 1) > 250 ? UINT64_MAX : 1}, 8);
		break;
	case FUSE_LOOKUP:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_SYMLINK:
	case FUSE_REMOVEXATTR:
	case FUSE_READLINK:
	case FUSE_STATFS:
		break;
	default: /* handle first in all the others */
		fixed = 24 + fz(in, 1) % 40;
		memcpy(p, &fh, 8);
		for (size_t i = 8; i < fixed; i++)
			p[i] = (uint8_t)fz(in, 1) & 7;
		break;
	}
	size_t n = fixed + fz_name(in, p + fixed);
	n += fz_name(in, p + n);
	uint32_t how = fz(in, 1);
	if (how < 24) /* cut short */
		n = fz(in, 1) % (n + 1);
	else if (how < 32) /* last byte not a NUL */
		p[n - 1] = 'x';
	else if (how < 40) /* a byte of the fixed part changed */
		p[fz(in, 1) % (fixed + 1)] ^= (uint8_t)fz(in, 1);
	else if (how < 60)
		n += fz(in, 2);
	h.len = (uint32_t)(sizeof h + n);
	if (how > 252)
		h.len ^= 1u << fz(in, 1) % 32;
	memcpy(m, &h, sizeof h);
	int rc = wire_raw(w, m, how == 252 ? 1 + fz(in, 1) % 40 : sizeof h + n);
	if (rc == -9999)
		return false;
	s->replies += rc <= 0;
	s->errors += rc < 0;
	if (rc == 0 && w->out_n >= sizeof(struct fuse_entry_out) &&
	        (op == FUSE_LOOKUP || op == FUSE_CREATE || op == FUSE_MKDIR || op == FUSE_MKNOD || op == FUSE_SYMLINK ||
	                op == FUSE_LINK)) {
		uint64_t id;
		memcpy(&id, w->out, 8);
		s->node[id % FUZZ_KEEP] = id;
		if (op == FUSE_CREATE)
			memcpy(&s->fh[id % FUZZ_KEEP], w->out + sizeof(struct fuse_entry_out), 8);
	}
	if (rc == 0 && (op == FUSE_OPEN || op == FUSE_OPENDIR) && w->out_n >= 8) {
		uint64_t id;
		memcpy(&id, w->out, 8);
		s->fh[id % FUZZ_KEEP] = id;
	}
	return true;
}

/* a broken request may ask for terabytes */
static inline void fuzz_limits(void)
{
	struct rlimit rl = {64 << 20, 64 << 20};
	setrlimit(RLIMIT_FSIZE, &rl);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}
