/* ops_xattr.c - extended attributes: ours to the vector side, all others to the backing file.
 *
 * An O_PATH fd takes no f*xattr call, nor does getxattrat (Linux 6.13) with AT_EMPTY_PATH; /proc/self/fd/N leads to the object itself,
 * symlinks included.  The walk there costs more than the call, so the one asked most, getxattr, starts from an open /proc/self/fd. */
#include "fs/inode.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define VX_PREFIX "user.vexfs."

static bool is_vector_name(const char *name)
{
	return !strncmp(name, VX_PREFIX, sizeof VX_PREFIX - 1);
}

struct xa {
	struct inode *ip;
	struct ifd r;
	char path[PROC_PATH_MAX];
};
static int xa_begin(struct fs *f, fuse_ino_t ino, struct xa *x)
{
	*x = (struct xa){.r = {.fd = -1, .slot = -1}};
	x->ip = inode_get(f, ino);
	if (!x->ip)
		return -ESTALE;
	int rc = inode_fd(f, x->ip, &x->r);
	if (rc < 0) {
		inode_put(f, x->ip);
		x->ip = NULL;
		return rc;
	}
	proc_path(x->path, x->r.fd);
	return 0;
}
static void xa_end(struct fs *f, struct xa *x)
{
	if (!x->ip)
		return;
	inode_fd_put(f, &x->r);
	inode_put(f, x->ip);
}

#define NR_GETXATTRAT 464 /* on every architecture */

static ssize_t xa_get(struct fs *f, const struct xa *x, const char *name, void *p, size_t n)
{
	struct { /* struct xattr_args of <linux/xattr.h> */
		uint64_t value;
		uint32_t size, flags;
	} a = {.value = (uintptr_t)p, .size = (uint32_t)n};
	static_assert(sizeof a == 16, "struct xattr_args");
	static _Atomic bool missing;
	long r;
	if (x->r.h)
		r = fgetxattr(x->r.fd, name, p, n);
	else if (f->p->proc_fd >= 0 && !atomic_load_explicit(&missing, memory_order_relaxed)) {
		r = syscall(NR_GETXATTRAT, f->p->proc_fd, x->path + PROC_PATH_NAME, 0, name, &a, sizeof a);
		if (r < 0 && errno == ENOSYS) {
			atomic_store_explicit(&missing, true, memory_order_relaxed);
			r = getxattr(x->path, name, p, n);
		}
	} else
		r = getxattr(x->path, name, p, n);
	return r < 0 ? -errno : r;
}

static void reply_value(fuse_req_t req, ssize_t n, size_t size, const void *p)
{
	if (n < 0)
		fs_reply_rc(req, (int)n);
	else if (!size)
		fuse_reply_xattr(req, (size_t)n);
	else if ((size_t)n > size)
		fs_reply_rc(req, -ERANGE);
	else
		fuse_reply_buf(req, p, (size_t)n);
}

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs *f = fs_of(req);
#ifdef VEXFS_TEST_STACK_HOG
	/* tests/mount/test_stack.py: the marks must notice what a careless handler would do */
	char hog[4096];
	memset(hog, name[0], sizeof hog);
	__asm__ volatile("" : : "r"(hog) : "memory"); /* it stays whole */
#endif
	if (fs_is_virt(ino)) {
		virt_getxattr(req, ino, name, size);
		return;
	}
	if (is_vector_name(name) && vxattr_get(req, ino, name, size))
		return;
	struct xa x;
	size_t cap;
	void *p = transport_scratch(&cap);
	ssize_t n = xa_begin(f, ino, &x);
	if (n >= 0)
		n = xa_get(f, &x, name, size ? p : NULL, size < cap ? size : cap);
	xa_end(f, &x);
	reply_value(req, n, size, p);
}

bool fs_in_group(fuse_req_t req, gid_t gid)
{
	if (fuse_req_ctx(req)->gid == gid)
		return true;
	gid_t few[16], *g = few;
	int n = fuse_req_getgroups(req, 16, few);
	if (n > 16) {
		g = mem_alloc(MEM_fs, (size_t)n * sizeof *g);
		int m = g ? fuse_req_getgroups(req, n, g) : 0;
		n = m < n ? m : n;
	}
	bool in = false;
	for (int i = 0; i < n && !in; i++)
		in = g[i] == gid;
	if (g != few)
		mem_free(MEM_fs, g);
	return in; /* unknown groups count as none: the bit goes, which is the safe side */
}
/* An ACL set by somebody who is neither root nor of the file's group takes the setgid bit, as posix_acl_update_mode() does; below us it
 * is root who sets it, so it stayed. */
static void acl_kill_sgid(fuse_req_t req, const struct xa *x)
{
	struct stat st;
	if (!fuse_req_ctx(req)->uid || fstatat(x->r.fd, "", &st, AT_EMPTY_PATH) || !(st.st_mode & S_ISGID) ||
	        fs_in_group(req, st.st_gid))
		return;
	(void)chmod(x->path, st.st_mode & 07777 & ~(mode_t)S_ISGID); /* best effort, as the ACL itself is set */
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		fs_reply_rc(req, -EROFS);
		return;
	}
	if (is_vector_name(name)) {
		struct inode *ip = inode_get(f, ino);
		if (ip)
			atomic_store_explicit(&ip->vec_dirty, true, memory_order_relaxed);
		inode_put(f, ip);
		if (vxattr_set(req, ino, name, value, size, flags))
			return;
	}
	struct xa x;
	struct stat before, after;
	int rc = xa_begin(f, ino, &x);
	if (rc >= 0) {
		bool told = f->e && eng_known(f->e, &x.ip->key) && !fstatat(x.r.fd, "", &before, AT_EMPTY_PATH);
		if (!strcmp(name, "security.capability"))
			pt_privileged(f, x.ip);
		rc = setxattr(x.path, name, value, size, flags) ? -errno : 0;
		if (rc >= 0 && !strcmp(name, "system.posix_acl_access"))
			acl_kill_sgid(req, &x);
		if (rc >= 0 && told && !fstatat(x.r.fd, "", &after, AT_EMPTY_PATH))
			eng_note_attr(f->e, &x.ip->key, &before, &after);
		if (rc >= 0 && f->e && !strcmp(name, VXATTR_IGNORE))
			eng_note_ignore(f->e, &x.ip->key);
	}
	xa_end(f, &x);
	fs_reply_rc(req, rc);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		fs_reply_rc(req, -EROFS);
		return;
	}
	if (is_vector_name(name)) {
		struct inode *ip = inode_get(f, ino);
		if (ip)
			atomic_store_explicit(&ip->vec_dirty, true, memory_order_relaxed);
		inode_put(f, ip);
		if (vxattr_remove(req, ino, name))
			return;
	}
	struct xa x;
	struct stat before, after;
	int rc = xa_begin(f, ino, &x);
	if (rc >= 0) {
		bool told = f->e && eng_known(f->e, &x.ip->key) && !fstatat(x.r.fd, "", &before, AT_EMPTY_PATH);
		rc = removexattr(x.path, name) ? -errno : 0;
		if (rc >= 0 && told && !fstatat(x.r.fd, "", &after, AT_EMPTY_PATH))
			eng_note_attr(f->e, &x.ip->key, &before, &after);
		if (rc >= 0 && f->e && !strcmp(name, VXATTR_IGNORE))
			eng_note_ignore(f->e, &x.ip->key);
	}
	xa_end(f, &x);
	fs_reply_rc(req, rc);
}

/* the backing file's list without what is ours and without trusted.* for callers who wouldn't see it natively */
static size_t filter(const char *in, size_t n, char *out, bool trusted)
{
	size_t o = 0;
	for (size_t i = 0; i < n;) {
		size_t len = strnlen(in + i, n - i) + 1;
		if (i + len > n)
			break;
		if (!vxattr_hidden(in + i) && (trusted || strncmp(in + i, "trusted.", 8))) {
			memmove(out + o, in + i, len);
			o += len;
		}
		i += len;
	}
	return o;
}

/* the names of the backing file, filtered: bytes in p, or < 0. @cap at least 64 KiB, what a list may be at most */
ssize_t xattr_list(fuse_req_t req, struct fs *f, fuse_ino_t ino, char *p, size_t cap)
{
	struct xa x;
	ssize_t n = xa_begin(f, ino, &x);
	if (n >= 0) {
		n = listxattr(x.path, p, cap);
		n = n < 0 ? -errno : (ssize_t)filter(p, (size_t)n, p, !fuse_req_ctx(req)->uid);
	}
	xa_end(f, &x);
	return n;
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		virt_listxattr(req, ino, size);
		return;
	}
	size_t cap;
	char *p = transport_scratch(&cap);
	ssize_t n = xattr_list(req, f, ino, p, cap);
	if (n < 0 || !vxattr_list(req, ino, size, p, (size_t)n, cap))
		reply_value(req, n, size, p);
}
