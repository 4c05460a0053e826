/* transport_wire.c - is a FUSE message well-formed?
 *
 * The kernel's are.  But libfuse's dispatch reads arguments, names and arrays where a well-formed message has them, without a look at
 * the length; one broken message would read past the buffer.  Here every length, count and terminator is checked against the bytes that
 * came, by one table: the fixed part of each request, how many strings follow, and the requests with data of a length of their own. */
#include "fs/transport_wire.h"

#include <errno.h>
#include <string.h>

enum tail { T_none, T_str1, T_str2, T_data, T_xattr, T_forgets, T_ioctl, T_any };
struct shape {
	uint16_t fixed; /* bytes behind the header */
	uint8_t tail;
	uint8_t perf;
	bool known;
};
#define S(op, type, t, p) [FUSE_##op] = {sizeof(type), t, PERF_##p, true}
#define S0(op, t, p)      [FUSE_##op] = {0, t, PERF_##p, true}
static const struct shape shapes[] = {
        S0(LOOKUP, T_str1, lookup),
        S(FORGET, struct fuse_forget_in, T_none, forget),
        S(GETATTR, struct fuse_getattr_in, T_none, getattr),
        S(SETATTR, struct fuse_setattr_in, T_none, setattr),
        S0(READLINK, T_none, readlink),
        S0(SYMLINK, T_str2, symlink),
        S(MKNOD, struct fuse_mknod_in, T_str1, mknod),
        S(MKDIR, struct fuse_mkdir_in, T_str1, mkdir),
        S0(UNLINK, T_str1, unlink),
        S0(RMDIR, T_str1, rmdir),
        S(RENAME, struct fuse_rename_in, T_str2, rename),
        S(LINK, struct fuse_link_in, T_str1, link),
        S(OPEN, struct fuse_open_in, T_none, open),
        S(READ, struct fuse_read_in, T_none, read),
        S(WRITE, struct fuse_write_in, T_data, write),
        S0(STATFS, T_none, statfs),
        S(RELEASE, struct fuse_release_in, T_none, release),
        S(FSYNC, struct fuse_fsync_in, T_none, fsync),
        S(SETXATTR, struct fuse_setxattr_in, T_xattr, setxattr),
        S(GETXATTR, struct fuse_getxattr_in, T_str1, getxattr),
        S(LISTXATTR, struct fuse_getxattr_in, T_none, listxattr),
        S0(REMOVEXATTR, T_str1, removexattr),
        S(FLUSH, struct fuse_flush_in, T_none, flush),
        [FUSE_INIT] = {16, T_any, PERF_init, true}, /* grew with the protocol */
        S(OPENDIR, struct fuse_open_in, T_none, opendir),
        S(READDIR, struct fuse_read_in, T_none, readdir),
        S(RELEASEDIR, struct fuse_release_in, T_none, releasedir),
        S(FSYNCDIR, struct fuse_fsync_in, T_none, fsyncdir),
        S(GETLK, struct fuse_lk_in, T_none, getlk),
        S(SETLK, struct fuse_lk_in, T_none, setlk),
        S(SETLKW, struct fuse_lk_in, T_none, setlkw),
        S(ACCESS, struct fuse_access_in, T_none, access),
        S(CREATE, struct fuse_create_in, T_str1, create),
        S(INTERRUPT, struct fuse_interrupt_in, T_none, interrupt),
        S(BMAP, struct fuse_bmap_in, T_none, bmap),
        S0(DESTROY, T_none, destroy),
        S(IOCTL, struct fuse_ioctl_in, T_ioctl, ioctl),
        S(POLL, struct fuse_poll_in, T_none, poll),
        S(BATCH_FORGET, struct fuse_batch_forget_in, T_forgets, batch_forget),
        S(FALLOCATE, struct fuse_fallocate_in, T_none, fallocate),
        S(READDIRPLUS, struct fuse_read_in, T_none, readdirplus),
        S(RENAME2, struct fuse_rename2_in, T_str2, rename),
        S(LSEEK, struct fuse_lseek_in, T_none, lseek),
        S(COPY_FILE_RANGE, struct fuse_copy_file_range_in, T_none, copy_file_range),
        S(TMPFILE, struct fuse_create_in, T_str1, tmpfile),
};

enum perf_op wire_perf_op(uint32_t opcode)
{
	return opcode < sizeof shapes / sizeof *shapes && shapes[opcode].known ? shapes[opcode].perf : PERF_fuse_other;
}

bool wire_has_reply(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT &&
	       opcode != FUSE_NOTIFY_REPLY;
}

/* bytes of the string at p with its NUL, 0: unterminated */
static size_t str_at(const uint8_t *p, size_t n)
{
	const void *z = memchr(p, 0, n);
	return z ? (size_t)((const uint8_t *)z - p) + 1 : 0;
}

/* before FUSE_SETXATTR_EXT is agreed on, the request has the old, shorter head */
static int check_xattr(const uint8_t *p, size_t n)
{
	struct fuse_setxattr_in a;
	memcpy(&a, p, FUSE_COMPAT_SETXATTR_IN_SIZE);
	p += FUSE_COMPAT_SETXATTR_IN_SIZE;
	n -= FUSE_COMPAT_SETXATTR_IN_SIZE;
	size_t k = str_at(p, n);
	return k && a.size <= n - k ? 0 : -EINVAL;
}

int wire_check(const void *msg, size_t n)
{
	struct fuse_in_header h;
	if (n < sizeof h)
		return -EPROTO;
	memcpy(&h, msg, sizeof h);
	const uint8_t *p = (const uint8_t *)msg + sizeof h;
	if (h.len != n)
		return -EINVAL;
	n -= sizeof h;
	if (h.opcode == FUSE_NOTIFY_REPLY)
		return -EPROTO; /* we ask for no page contents, so nothing can answer */
	if (h.opcode >= sizeof shapes / sizeof *shapes || !shapes[h.opcode].known)
		return 0; /* libfuse answers ENOSYS */
	const struct shape *s = &shapes[h.opcode];
	size_t fixed = h.opcode == FUSE_SETXATTR ? FUSE_COMPAT_SETXATTR_IN_SIZE : s->fixed;
	if (n < fixed)
		return -EINVAL;
	const uint8_t *t = p + fixed;
	size_t left = n - fixed, k;
	switch ((enum tail)s->tail) {
	case T_str2:
		k = str_at(t, left);
		if (!k || !str_at(t + k, left - k))
			return -EINVAL;
		return 0;
	case T_str1:
		return str_at(t, left) ? 0 : -EINVAL;
	case T_data: {
		struct fuse_write_in a;
		memcpy(&a, p, sizeof a);
		return a.size <= left ? 0 : -EINVAL;
	}
	case T_xattr:
		return check_xattr(p, n);
	case T_ioctl: {
		struct fuse_ioctl_in a;
		memcpy(&a, p, sizeof a);
		return a.in_size <= left ? 0 : -EINVAL;
	}
	case T_forgets: {
		struct fuse_batch_forget_in a;
		memcpy(&a, p, sizeof a);
		return a.count <= left / sizeof(struct fuse_forget_one) ? 0 : -EINVAL;
	}
	case T_none:
	case T_any:
		break;
	}
	return 0;
}
