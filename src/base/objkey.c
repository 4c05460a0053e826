/* objkey.c - a file's identity from its handle, or from inode number and birth time where there are no handles.
 *
 * name_to_handle_at() needs no privilege (opening by handle does).  Overlay, FUSE and some network file systems have none, and some give
 * handles longer than we keep: there the inode number alone could be reused for another file, and the birth time tells them apart. */
#include "base/objkey.h"
#include "base/sbuf.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#define CREATED_TURNS 1000u /* looks at an inode that is being made; one making takes some microseconds */
#define KEY_TYPE_STAT 0xff /* FILEID_INVALID: no file system uses it */

static int by_stat(int dirfd, const char *path, struct obj_key *ret)
{
	struct statx sx;
	if (statx(dirfd, path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO | STATX_BTIME, &sx))
		return -errno;
	bool born = sx.stx_mask & STATX_BTIME;
	*ret = (struct obj_key){.len = 20, .type = KEY_TYPE_STAT};
	le64_put(ret->b, sx.stx_ino);
	le64_put(ret->b + 8, born ? (uint64_t)sx.stx_btime.tv_sec : 0);
	le32_put(ret->b + 16, born ? sx.stx_btime.tv_nsec : 0);
	return 0;
}

int objkey_at(int dirfd, const char *path, struct obj_key *ret)
{
	union {
		struct file_handle h;
		uint8_t room[sizeof(struct file_handle) + CONF_KEY_MAX];
	} u;
	int mount_id;
	u.h.handle_bytes = CONF_KEY_MAX;
	if (!name_to_handle_at(dirfd, path, &u.h, &mount_id, *path ? 0 : AT_EMPTY_PATH)) {
		if (u.h.handle_bytes && u.h.handle_bytes <= CONF_KEY_MAX && u.h.handle_type >= 0 &&
		        u.h.handle_type < KEY_TYPE_STAT) {
			*ret = (struct obj_key){.len = (uint8_t)u.h.handle_bytes, .type = (uint8_t)u.h.handle_type};
			memcpy(ret->b, u.room + offsetof(struct file_handle, f_handle), u.h.handle_bytes);
			return 0;
		}
		return by_stat(dirfd, path, ret);
	}
	switch (errno) {
	case EOPNOTSUPP: /* the file system has no handles */
	case EOVERFLOW: /* longer than we keep */
	case ENOSYS:
	case EPERM: /* a container's seccomp filter */
		return by_stat(dirfd, path, ret);
	default:
		return -errno;
	}
}

/* ext4 answers ENOMEM while the inode of a handle, gone for good, is being made a new file's (iget of an inode in creation fails, and it
 * takes that for want of memory); a moment later it says ESTALE.  Real want of memory is told after the turns. */
int objkey_open(int mnt, const struct obj_key *key, int flags)
{
	union {
		struct file_handle h;
		uint8_t room[sizeof(struct file_handle) + CONF_KEY_MAX];
	} u;
	int fd;
	u.h.handle_bytes = key->len;
	u.h.handle_type = key->type;
	memcpy(u.room + offsetof(struct file_handle, f_handle), key->b, key->len);
	for (uint32_t turn = 0; (fd = open_by_handle_at(mnt, &u.h, flags | O_CLOEXEC)) < 0; turn++) {
		if (errno != ENOMEM || turn == CREATED_TURNS)
			return -errno;
		sched_yield();
	}
	return fd;
}
