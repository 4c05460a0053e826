/* fs.h - the file system's own state, shared by the files of fs/.
 *
 * Real nodes are inodes of the backing directory (inode.c); the virtual tree below MNT/.vexfs has node ids with the top bit set
 * (virt.c).  The operation tables in ops_*.c look at that bit first and hand virtual nodes to virt_*().  The vector side is reached
 * only through query/ and engine/ (notes). */
#pragma once
#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include "engine/engine.h"
#include "query/query.h"

#define FS_VIRT_BIT  (1ull << 63)
#define FS_VIRT_NAME ".vexfs"
static inline bool fs_is_virt(fuse_ino_t ino)
{
	return (ino & FS_VIRT_BIT) != 0;
}

struct fs_cfg {
	const char *dir, *mnt;
	uint32_t owner_uid, owner_gid;
	bool read_only, allow_other;
	bool noatime; /* the mount's option: reading leaves the backing files' atime alone */
	bool nodiratime; /* the same for directories */
	double entry_timeout, attr_timeout;
	const char *store_dir; /* absolute; hidden when it lies in DIR */
};
struct fs {
	struct fs_cfg cfg;
	struct engine *e; /* NULL with -o components=none */
	int root_fd;
	struct fuse_session *se;
	struct itable *inodes;
	struct virt *virt;
	struct fs_priv *p; /* fs.c's own */
	struct transport *transport;
};
/* the session's user data is a struct fs * */
static inline struct fs *fs_of(fuse_req_t req)
{
	return (struct fs *)fuse_req_userdata(req);
}
int fs_new(const struct fs_cfg *cfg, int root_fd, struct engine *e, struct fs **ret);
void fs_free(struct fs *f);
const struct fuse_lowlevel_ops *fs_ops(void); /* the whole table */
const char *fs_watch_name(const struct fs *f); /* "fanotify" or "none"; known once INIT is answered */
const char *fs_watch_why(const struct fs *f); /* why none; "" when there is one */

/* ---- real nodes, for the vector fronts (inode.c) ----------------------------------------------------------------------------- */
/* fs_ref - identify a real node: its key, its state now, and an O_PATH fd. Put it back with fs_ref_put. 0 or -errno. */
struct fs_ref {
	struct eng_file file;
	int fd, slot;
	void *handle, *pin, *hold; /* inode.c's */
};
int fs_ref(struct fs *f, fuse_ino_t ino, struct fs_ref *ret);
void fs_ref_put(struct fs *f, struct fs_ref *r);
/* fs_path - path of a real node relative to the root ("" for the root) into p (from an arena, never the stack). Return its length. */
int fs_path(struct fs *f, fuse_ino_t ino, char *p, size_t cap);
void fs_caller(fuse_req_t req, struct eng_caller *ret);

/* ---- replies (reply.c): the edge where codes become errnos -------------------------------------------------------------------- */
void fs_reply_rc(fuse_req_t req, int rc); /* 0 or negative */

/* ---- the virtual tree (virt*.c). Each replies to req, now or later. ------------------------------------------------------------ */
int virt_new(struct fs *f, struct virt **ret);
void virt_free(struct virt *v);
/* virt_quiet - sends no notices from now on: the session goes */
void virt_quiet(struct virt *v);
/* virt_lookup - @parent is the root or a real directory with name FS_VIRT_NAME, or a virtual directory. */
void virt_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void virt_forget(struct fs *f, fuse_ino_t ino, uint64_t n);
void virt_getattr(fuse_req_t req, fuse_ino_t ino);
void virt_setattr(
        fuse_req_t req, fuse_ino_t ino, const struct stat *attr, int to_set); /* size 0 on query, ctl; times ignored */
void virt_readlink(fuse_req_t req, fuse_ino_t ino);
void virt_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name); /* saved/ */
void virt_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void virt_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void virt_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi, bool plus);
void virt_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void virt_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void virt_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void virt_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi);
void virt_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void virt_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph);
void virt_access(fuse_req_t req, fuse_ino_t ino, int mask);
void virt_statfs(fuse_req_t req, fuse_ino_t ino);
void virt_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void virt_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);

/* ---- vector xattrs and ioctl on real nodes (vxattr.c, vioctl.c). Return true when they took the request (and replied or parked it). */
#define VXATTR_IGNORE "user.vexfs.ignore" /* the user's mark: kept by the backing file system, heard by the engine */
bool vxattr_get(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
bool vxattr_set(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
bool vxattr_remove(fuse_req_t req, fuse_ino_t ino, const char *name);
/* vxattr_list - answer a listxattr: names[n] in a buffer of cap, ours added. false: not taken, reply them as they are */
bool vxattr_list(fuse_req_t req, fuse_ino_t ino, size_t size, char *names, size_t n, size_t cap);
bool vxattr_hidden(const char *name); /* names never shown from the backing file's own list */
bool vioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, const void *in, size_t in_n, size_t out_n);
/* interrupts: park registers the job so FUSE_INTERRUPT sets its cancel; unpark when it is answered (park.c) */
void fs_park(fuse_req_t req, struct vq *q);
void fs_unpark(fuse_req_t req);
