/* ops_attr.c - attributes: getattr, setattr, statfs, access. */
#include "fs/inode.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* an fd for attributes: the handle's own when the kernel names one */
static int attr_fd(struct fs *f, fuse_ino_t ino, const struct fuse_file_info *fi, struct inode **ret_ip, struct ifd *r)
{
	*ret_ip = NULL;
	*r = (struct ifd){.fd = -1, .slot = -1};
	struct inode *ip = inode_get(f, ino);
	if (!ip)
		return -ESTALE;
	int rc = 0;
	struct handle *h = fi ? handle_get(f, fi->fh) : NULL;
	if (h && h->ip == ip)
		*r = (struct ifd){.fd = h->fd, .slot = -1, .h = h};
	else {
		if (h)
			handle_put(f, h);
		rc = inode_fd(f, ip, r);
	}
	if (rc < 0)
		inode_put(f, ip);
	else
		*ret_ip = ip;
	return rc;
}

static int stat_fd(int fd, struct stat *st)
{
	return fstatat(fd, "", st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	struct inode *ip;
	struct stat st;
	struct ifd r;
	double timeout = 0;
	if (fs_is_virt(ino)) {
		virt_getattr(req, ino);
		return;
	}
	int rc = attr_fd(f, ino, fi, &ip, &r);
	if (rc >= 0) {
		rc = stat_fd(r.fd, &st);
		if (rc >= 0)
			timeout = pt_attr_timeout(f, ip, &st);
		inode_fd_put(f, &r);
		inode_put(f, ip);
	}
	if (rc < 0) {
		fs_reply_rc(req, rc);
		return;
	}
	st.st_ino = inode_show_ino(f, &st);
	fuse_reply_attr(req, &st, timeout);
}

static int set_size(fuse_req_t req, struct inode *ip, const struct ifd *r, off_t size)
{
	struct fs *f = fs_of(req);
	if (r->h && r->h->write) {
		if (transport_kill_priv())
			fs_kill_priv(req, inode_id(f, ip), r->fd);
		if (!ftruncate(r->fd, size)) {
			handle_wrote(f, r->h);
			return 0;
		}
		return -errno;
	}
	int fd = inode_open(
	        f, ip, O_WRONLY | O_NONBLOCK | O_NOCTTY); /* truncate(2) by path takes neither fd nor handle */
	if (fd < 0)
		return fd;
	if (transport_kill_priv())
		fs_kill_priv(req, inode_id(f, ip), fd);
	int rc = ftruncate(fd, size) ? -errno : 0;
	close(fd);
	return rc;
}

static int set_attr(fuse_req_t req, struct inode *ip, const struct ifd *r, const struct stat *a, int to_set)
{
	char p[PROC_PATH_MAX];
	proc_path(p, r->fd);
	if (to_set & FUSE_SET_ATTR_SIZE)
		VX_TRY(set_size(req, ip, r, a->st_size));
	if (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) {
		uid_t uid = to_set & FUSE_SET_ATTR_UID ? a->st_uid : (uid_t)-1;
		gid_t gid = to_set & FUSE_SET_ATTR_GID ? a->st_gid : (gid_t)-1;
		if (fchownat(r->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
			return -errno;
	}
	if (to_set &
	        FUSE_SET_ATTR_MODE) /* after chown, which clears suid and sgid: the kernel has worked out what they shall be */
	{
		if (a->st_mode & (S_ISUID | S_ISGID))
			pt_privileged(fs_of(req), ip);
		if (chmod(p, a->st_mode & 07777))
			return -errno;
	}
	if (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW)) {
		struct timespec tv[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
		if (to_set & FUSE_SET_ATTR_ATIME_NOW)
			tv[0].tv_nsec = UTIME_NOW;
		else if (to_set & FUSE_SET_ATTR_ATIME)
			tv[0] = a->st_atim;
		if (to_set & FUSE_SET_ATTR_MTIME_NOW)
			tv[1].tv_nsec = UTIME_NOW;
		else if (to_set & FUSE_SET_ATTR_MTIME)
			tv[1] = a->st_mtim;
		if (utimensat(r->fd, "", tv, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) {
			if (errno != EINVAL && errno != ENOENT)
				return -errno;
			if (utimensat(AT_FDCWD, p, tv, 0)) /* before Linux 5.8 */
				return -errno;
		}
	}
	return 0;
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	struct stat before, st;
	struct inode *ip;
	struct ifd r;
	if (fs_is_virt(ino)) {
		virt_setattr(req, ino, attr, to_set);
		return;
	}
	double timeout = 0;
	int rc = attr_fd(f, ino, fi, &ip, &r);
	if (rc >= 0) {
		bool told = f->e && eng_known(f->e, &ip->key) && stat_fd(r.fd, &before) >= 0;
		rc = set_attr(req, ip, &r, attr, to_set);
		int rc2 = stat_fd(r.fd, &st);
		if (rc >= 0)
			rc = rc2;
		if (f->e && rc2 >= 0 && (to_set & FUSE_SET_ATTR_SIZE) && !(r.h && r.h->write)) {
			struct eng_file ef = {.key = ip->key, .st = st};
			eng_note_changed(f->e, &ef);
		} else if (told && rc2 >= 0)
			eng_note_attr(f->e, &ip->key, &before, &st);
		if (rc >= 0)
			timeout = pt_attr_timeout(f, ip, &st);
		inode_fd_put(f, &r);
		inode_put(f, ip);
	}
	if (rc < 0) {
		fs_reply_rc(req, rc);
		return;
	}
	st.st_ino = inode_show_ino(f, &st);
	fuse_reply_attr(req, &st, timeout);
}

void op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		virt_access(req, ino, mask);
		return;
	}
	struct inode *ip =
	        inode_get(f, ino); /* default_permissions: the kernel has decided; only existence is ours to say */
	fs_reply_rc(req, ip ? 0 : -ESTALE);
	inode_put(f, ip);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *f = fs_of(req);
	struct statvfs sv;
	struct inode *ip;
	struct ifd r;
	if (fs_is_virt(ino)) {
		virt_statfs(req, ino);
		return;
	}
	int rc = attr_fd(f, ino, NULL, &ip, &r);
	if (rc >= 0) {
		rc = fstatvfs(r.fd, &sv) ? -errno : 0;
		inode_fd_put(f, &r);
		inode_put(f, ip);
	}
	if (rc < 0)
		fs_reply_rc(req, rc);
	else
		fuse_reply_statfs(req, &sv);
}
