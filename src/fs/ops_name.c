/* ops_name.c - operations on names: lookup, forget, make, remove, rename, link.
 *
 * Each: parent's fd, the system call, then what follows: node entered, engine told.  The kernel holds the directories' locks meanwhile,
 * so within the mount nobody else changes these names; a change behind the mount costs at most an error or a stale name, never
 * another object: nodes are told apart by key. */
#include "fs/inode.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* a directory operated in: its node, its fd */
struct at {
	struct inode *dir;
	struct ifd r;
};
static int at_begin(struct fs *f, fuse_ino_t parent, const char *name, struct at *a)
{
	*a = (struct at){.r = {.fd = -1, .slot = -1}};
	VX_TRY(fs_name_ok(name));
	a->dir = inode_get(f, parent);
	if (!a->dir)
		return -ESTALE;
	int rc = inode_fd(f, a->dir, &a->r);
	if (rc < 0) {
		inode_put(f, a->dir);
		a->dir = NULL;
	}
	return rc;
}
static void at_end(struct fs *f, struct at *a)
{
	if (!a->dir)
		return;
	inode_fd_put(f, &a->r);
	inode_put(f, a->dir);
}

void op_entered(struct fs *f, const struct inode *dir, struct inode *ip, struct fuse_entry_param *ret)
{
	ret->ino = inode_id(f, ip);
	ret->attr.st_ino = inode_show_ino(f, &ret->attr);
	ret->attr_timeout = pt_attr_timeout(f, ip, &ret->attr);
	ret->entry_timeout = watch_timeout(f, dir, ip);
	if (ret->attr_timeout > ret->entry_timeout)
		ret->attr_timeout = ret->entry_timeout;
}

/* enter_quick - two system calls where opening takes four. Key and attributes are asked for one after the other: that they are of one object
 * is known where the key holds the inode number; the key comes first, so that attributes can only be newer than the object they are
 * given to. Return: 1, 0: the long way, < 0. */
static int enter_quick(
        struct fs *f, struct inode *dir, int dirfd, const char *name, struct stat *st, struct inode **ret)
{
	struct obj_key key;
	if (!f->inodes->by_handle)
		return 0;
	VX_TRY(objkey_at(dirfd, name, &key));
	if (key.type != 1 || key.len != 8) /* FILEID_INO32_GEN */
		return 0;
	if (fstatat(dirfd, name, st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (S_ISDIR(st->st_mode) || st->st_ino != le32_get(key.b) || !inode_mnt_known(f, st->st_dev))
		return 0;
	int rc = inode_enter_key(f, dir, name, -1, st, &key, true, ret);
	return rc < 0 ? rc : 1;
}

int op_enter(struct fs *f, struct inode *dir, int dirfd, const char *name, struct fuse_entry_param *ret,
        struct inode **ret_ip)
{
	struct inode *ip = NULL;
	memset(ret, 0, sizeof *ret);
	int rc = enter_quick(f, dir, dirfd, name, &ret->attr, &ip);
	if (rc < 0)
		return rc;
	if (!rc) {
		int fd = fd_opath(f, dirfd, name);
		if (fd < 0)
			return fd;
		if (fstatat(fd, "", &ret->attr, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) {
			rc = -errno;
			close(fd);
			return rc;
		}
		VX_TRY(inode_enter(f, dir, name, fd, &ret->attr, true, &ip));
	}
	watch_present(f, dir, name);
	op_entered(f, dir, ip, ret);
	if (ret_ip)
		*ret_ip = ip;
	else
		inode_put(f, ip);
	return 0;
}

int op_enter_fd(struct fs *f, int fd, struct fuse_entry_param *ret, struct inode **ret_ip)
{
	char p[PROC_PATH_MAX];
	proc_path(p, fd);
	int pin = open(p, O_PATH | O_CLOEXEC), path = fcntl(pin, F_DUPFD_CLOEXEC, 3);
	int rc = pin < 0 || path < 0 ? -errno : 0;
	memset(ret, 0, sizeof *ret);
	if (rc >= 0 && fstatat(pin, "", &ret->attr, AT_EMPTY_PATH))
		rc = -errno;
	if (rc < 0) {
		if (path >= 0)
			close(path);
	} else /* takes path */
		rc = inode_enter(f, NULL, NULL, path, &ret->attr, true, ret_ip);
	if (rc < 0) {
		if (pin >= 0)
			close(pin);
		return rc;
	}
	inode_unnamed(f, *ret_ip, NULL, NULL, pin, 0); /* takes pin: without a name nothing else would find it again */
	ret->ino = inode_id(f, *ret_ip);
	ret->attr.st_ino = inode_show_ino(f, &ret->attr);
	ret->attr_timeout = pt_attr_timeout(f, *ret_ip, &ret->attr);
	return 0;
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *f = fs_of(req);
	struct fuse_entry_param e;
	struct at a;
	if (fs_is_virt(parent)) {
		virt_lookup(req, parent, name);
		return;
	}
	int rc = at_begin(f, parent, name, &a);
	if (rc < 0) {
		fs_reply_rc(req, rc);
		return;
	}
	bool vname = fs_is_virt_name(name), hidden = fs_hidden(f, a.dir, name);
	rc = hidden ? -ENOENT : op_enter(f, a.dir, a.r.fd, name, &e, NULL);
	double neg = rc == -ENOENT ? watch_neg_timeout(f, a.dir, name) : 0;
	at_end(f, &a);
	if (vname && rc == -ENOENT && f->virt)
		virt_lookup(req, parent, name);
	else if (rc == -ENOENT && neg > 0) {
		memset(&e, 0, sizeof e);
		e.entry_timeout = neg;
		fuse_reply_entry(req, &e);
	} else if (rc < 0)
		fs_reply_rc(req, rc);
	else if (fuse_reply_entry(req, &e) == -ENOENT)
		inode_forget(f, e.ino, 1);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	if (fs_is_virt(ino))
		virt_forget(fs_of(req), ino, n);
	else
		inode_forget(fs_of(req), ino, n);
	fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *v)
{
	struct fs *f = fs_of(req);
	for (size_t i = 0; i < count; i++)
		if (fs_is_virt(v[i].ino))
			virt_forget(f, v[i].ino, v[i].nlookup);
		else
			inode_forget(f, v[i].ino, v[i].nlookup);
	fuse_reply_none(req);
}

void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		virt_readlink(req, ino);
		return;
	}
	struct inode *ip = inode_get(f, ino);
	struct ifd r;
	int rc = ip ? inode_fd(f, ip, &r) : -ESTALE;
	if (rc >= 0) {
		size_t cap;
		char *p = transport_scratch(&cap);
		ssize_t n = readlinkat(r.fd, "", p, CONF_PATH_MAX);
		rc = n < 0 ? -errno : 0;
		inode_fd_put(f, &r);
		if (n >= 0) {
			p[n < (ssize_t)CONF_PATH_MAX ? n : (ssize_t)CONF_PATH_MAX - 1] = 0;
			fuse_reply_readlink(req, p);
		}
	}
	inode_put(f, ip);
	if (rc < 0)
		fs_reply_rc(req, rc);
}

static void note_create(
        struct fs *f, const struct at *a, const char *name, const struct inode *ip, const struct stat *st)
{
	if (!f->e)
		return;
	struct eng_file ef = {.key = ip->key, .st = *st};
	eng_note_create(f->e, &ef, &a->dir->key, name);
}

/* what all four makers share: be the caller, make, enter, tell, answer */
enum make { MAKE_node, MAKE_dir, MAKE_link };
static void make(fuse_req_t req, fuse_ino_t parent, const char *name, enum make what, mode_t mode, dev_t rdev,
        const char *target)
{
	struct fs *f = fs_of(req);
	struct fuse_entry_param e;
	struct fs_creds c;
	struct inode *ip = NULL;
	struct at a;
	int rc = at_begin(f, parent, name, &a);
	if (rc >= 0 && fs_hidden(f, a.dir, name))
		rc = -EEXIST;
	if (rc >= 0 && (rc = fs_creds_begin(req, &c)) >= 0) {
		int bad = 0;
		switch (what) {
		case MAKE_node:
			bad = mknodat(a.r.fd, name, mode, rdev);
			break;
		case MAKE_dir:
			bad = mkdirat(a.r.fd, name, mode);
			break;
		case MAKE_link:
			bad = symlinkat(target, a.r.fd, name);
			break;
		}
		rc = bad ? -errno : 0;
		fs_creds_end(&c);
	}
	if (rc >= 0)
		rc = op_enter(f, a.dir, a.r.fd, name, &e, &ip);
	if (rc >= 0)
		note_create(f, &a, name, ip, &e.attr);
	inode_put(f, ip);
	at_end(f, &a);
	if (rc < 0)
		fs_reply_rc(req, rc);
	else if (fuse_reply_entry(req, &e) == -ENOENT)
		inode_forget(f, e.ino, 1);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	if (fs_is_virt(parent))
		fs_reply_rc(req, -EROFS);
	else
		make(req, parent, name, MAKE_node, mode, rdev, NULL);
}
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	if (fs_is_virt(parent))
		fs_reply_rc(req, -EROFS);
	else
		make(req, parent, name, MAKE_dir, mode, 0, NULL);
}
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	if (fs_is_virt(parent))
		virt_symlink(req, target, parent, name);
	else
		make(req, parent, name, MAKE_link, 0, 0, target);
}

/* ---- objects that lose a name ---------------------------------------------------------------------------------------------------- */

struct victim {
	int fd; /* O_PATH, -1: there is none */
	struct stat st;
	struct obj_key key;
};
static void victim_look(struct fs *f, int dirfd, const char *name, struct victim *v)
{
	v->fd = fd_opath(f, dirfd, name);
	v->key.len = 0;
	if (v->fd < 0)
		return;
	if (fstatat(v->fd, "", &v->st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) || objkey_at(v->fd, "", &v->key) < 0) {
		close(v->fd);
		v->fd = -1;
		v->key.len = 0;
	}
}
/* after the name went: how many links are left; a known node without any keeps the fd. Takes v->fd. */
static uint64_t victim_gone(struct fs *f, struct inode *dir, const char *name, struct victim *v)
{
	struct stat st;
	uint64_t left = 0;
	if (v->fd < 0)
		return 0;
	if (!fstatat(v->fd, "", &st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		left = S_ISDIR(st.st_mode) ? 0 : st.st_nlink;
	struct inode *ip = inode_find(f, v->st.st_dev, &v->key);
	if (ip)
		inode_unnamed(f, ip, dir, name, v->fd, left);
	else
		close(v->fd);
	v->fd = -1;
	inode_put(f, ip);
	return left;
}
static void victim_drop(struct victim *v)
{
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
}

static void remove_name(fuse_req_t req, fuse_ino_t parent, const char *name, int flags)
{
	struct fs *f = fs_of(req);
	struct victim v = {.fd = -1};
	struct at a;
	int rc = at_begin(f, parent, name, &a);
	if (rc >= 0 && fs_hidden(f, a.dir, name))
		rc = fs_is_virt_name(name) ? -EBUSY : -ENOENT;
	if (rc >= 0) {
		victim_look(f, a.r.fd, name, &v);
		rc = unlinkat(a.r.fd, name, flags) ? -errno : 0;
	}
	if (rc >= 0) {
		uint64_t left = victim_gone(f, a.dir, name, &v);
		if (f->e && v.key.len)
			eng_note_unlink(f->e, &v.key, &a.dir->key, name, left, flags & AT_REMOVEDIR);
	}
	victim_drop(&v);
	at_end(f, &a);
	fs_reply_rc(req, rc);
}
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (fs_is_virt(parent))
		virt_unlink(req, parent, name);
	else
		remove_name(req, parent, name, 0);
}
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	if (fs_is_virt(parent))
		fs_reply_rc(req, -EROFS);
	else
		remove_name(req, parent, name, AT_REMOVEDIR);
}

/* ---- rename ------------------------------------------------------------------------------------------------------------------------- */

static void renamed(struct fs *f, const struct at *from, const char *name, const struct at *to, const char *newname,
        struct victim *moved, struct victim *over, unsigned flags)
{
	struct inode *ip = moved->fd >= 0 ? inode_find(f, moved->st.st_dev, &moved->key) : NULL;
	struct stat now;
	uint64_t left = 0;
	if (ip)
		inode_rename(f, ip, to->dir, newname);
	inode_put(f, ip);
	if (flags & RENAME_EXCHANGE) {
		ip = over->fd >= 0 ? inode_find(f, over->st.st_dev, &over->key) : NULL;
		if (ip)
			inode_rename(f, ip, from->dir, name);
		inode_put(f, ip);
	} else
		left = victim_gone(f, to->dir, newname, over);
	if (!f->e || moved->fd < 0 || !moved->key.len)
		return;
	if (fstatat(moved->fd, "", &now, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		now = moved->st;
	struct eng_rename r = {.moved = moved->key,
	        .over = over->key,
	        .old_parent = from->dir->key,
	        .new_parent = to->dir->key,
	        .old_name = name,
	        .new_name = newname,
	        .over_left = left,
	        .exchange = flags & RENAME_EXCHANGE,
	        .is_dir = S_ISDIR(now.st_mode),
	        .moved_st = now};
	eng_note_rename(f->e, &r);
	eng_note_attr(f->e, &moved->key, &moved->st, &now);
	if ((flags & RENAME_EXCHANGE) && over->fd >= 0 &&
	        !fstatat(over->fd, "", &now, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		eng_note_attr(f->e, &over->key, &over->st, &now);
}

void op_rename(
        fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname, unsigned flags)
{
	struct fs *f = fs_of(req);
	struct victim moved = {.fd = -1}, over = {.fd = -1};
	struct at from, to = {.r = {.fd = -1, .slot = -1}};
	if (fs_is_virt(parent) || fs_is_virt(newparent)) {
		fs_reply_rc(req, -EXDEV);
		return;
	}
	int rc = at_begin(f, parent, name, &from);
	if (rc >= 0)
		rc = at_begin(f, newparent, newname, &to);
	if (rc >= 0 && (fs_hidden(f, from.dir, name) || fs_hidden(f, to.dir, newname)))
		rc = -EBUSY;
	if (rc >= 0) {
		victim_look(f, from.r.fd, name, &moved);
		victim_look(f, to.r.fd, newname, &over);
		bool same = moved.fd >= 0 && over.fd >= 0 && moved.st.st_dev == over.st.st_dev &&
		            objkey_eq(&moved.key, &over.key);
		rc = renameat2(from.r.fd, name, to.r.fd, newname, flags) ? -errno : 0;
		if (rc >= 0 && !same) /* two links of one object: rename(2) does nothing */
			renamed(f, &from, name, &to, newname, &moved, &over, flags);
	}
	victim_drop(&moved);
	victim_drop(&over);
	at_end(f, &to);
	at_end(f, &from);
	fs_reply_rc(req, rc);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	struct fs *f = fs_of(req);
	struct fuse_entry_param e;
	struct inode *ip = NULL, *got = NULL;
	struct stat before;
	struct ifd r = {.fd = -1, .slot = -1};
	struct at to;
	if (fs_is_virt(newparent) || fs_is_virt(ino)) {
		fs_reply_rc(req, -EXDEV);
		return;
	}
	int rc = at_begin(f, newparent, newname, &to);
	if (rc >= 0 && fs_hidden(f, to.dir, newname))
		rc = -EEXIST;
	if (rc >= 0) {
		ip = inode_get(f, ino);
		rc = ip ? inode_fd(f, ip, &r) : -ESTALE;
	}
	if (rc >= 0) {
		bool told = f->e && !fstatat(r.fd, "", &before, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
		char p[PROC_PATH_MAX];
		proc_path(p, r.fd);
		if (linkat(AT_FDCWD, p, to.r.fd, newname, AT_SYMLINK_FOLLOW))
			rc = -errno;
		if (rc >= 0)
			rc = op_enter(f, to.dir, to.r.fd, newname, &e, &got);
		if (rc >= 0 && got == ip && e.attr.st_nlink == 1)
			inode_unpin(f, ip);
		if (rc >= 0 && told) {
			struct eng_file ef = {.key = got->key, .st = e.attr};
			eng_note_link(f->e, &ef, &to.dir->key, newname);
			if (got == ip)
				eng_note_attr(f->e, &got->key, &before, &e.attr);
		}
		inode_fd_put(f, &r);
	}
	inode_put(f, got);
	inode_put(f, ip);
	at_end(f, &to);
	if (rc < 0)
		fs_reply_rc(req, rc);
	else if (fuse_reply_entry(req, &e) == -ENOENT)
		inode_forget(f, e.ino, 1);
}
