/* ops_file.c - open files: open, create, read, write, flush, release, fsync, space, holes, copies, ioctl, poll.
 *
 * The backing fd is opened with the client's access mode but without O_APPEND and O_DIRECT: the kernel has worked out the offset of
 * each write, and a page written back for a mapping may come by a handle that appends.
 *
 * keep_cache: pages cached by the kernel stay over open when size and mtime are what they were when the last handle was opened or a
 * write of ours went through; AUTO_INVAL_DATA drops them when an attribute refresh shows another mtime. */
#include "fs/inode.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_MAX 0x7ffff000u /* a reply counts 32 bits */

static int backing_flags(int flags)
{
	return flags & (O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC | O_NOATIME);
}
/* open_backing - the node's file as the client asked; by an append-only file (chattr +a) O_APPEND must be said to be let in */
static int open_backing(struct fs *f, struct inode *ip, int flags)
{
	int fl = backing_flags(flags) | O_NOCTTY | O_NONBLOCK | (f->cfg.noatime ? O_NOATIME : 0);
	int fd = inode_open(f, ip, fl);
	if (fd == -EPERM && (flags & O_APPEND))
		fd = inode_open(f, ip, fl | O_APPEND);
	if (fd == -EPERM && (fl & O_NOATIME)) /* not root and not the owner: the time is no reason to refuse */
		fd = inode_open(f, ip, (fl & ~O_NOATIME) | (flags & O_APPEND));
	return fd;
}
static bool can_write(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

void fs_kill_priv(fuse_req_t req, fuse_ino_t ino, int fd)
{
	struct stat st;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || !(st.st_mode & (S_ISUID | S_ISGID)))
		return;
	mode_t m = st.st_mode & (mode_t)~S_ISUID;
	if ((m & S_ISGID) && ((m & S_IXGRP) || !fs_in_group(req, st.st_gid))) /* setattr_should_drop_sgid() */
		m &= ~(mode_t)S_ISGID;
	if (m == st.st_mode || fchmod(fd, m & 07777))
		return;
	/* what the kernel has cached still says suid, and exec looks there; attributes alone, no lock of this request is needed */
	(void)fuse_lowlevel_notify_inval_inode(fs_of(req)->se, ino, -1, 0); /* not cached any more: as well */
}

static bool same_content(struct inode *ip, const struct stat *st)
{
	bool same = ip->seen_size == st->st_size && ip->seen_mtime.tv_sec == st->st_mtim.tv_sec &&
	            ip->seen_mtime.tv_nsec == st->st_mtim.tv_nsec;
	ip->seen_size = st->st_size;
	ip->seen_mtime = st->st_mtim;
	return same;
}

/* the handle of a file just opened; fd and the ref on ip are taken, also on failure. @made: by this very call */
static int opened(struct fs *f, struct inode *ip, int fd, const struct stat *st, struct fuse_file_info *fi, bool made,
        int32_t *ret_id)
{
	struct handle *h = handle_new(f, ip, fd);
	if (!h) {
		close(fd);
		inode_put(f, ip);
		return -ENFILE;
	}
	h->write = can_write(fi->flags);
	h->maps = (fi->flags & O_ACCMODE) == O_RDWR;
	h->made = made;
	h->wrote = h->dirty = (fi->flags & O_TRUNC) != 0;
	fi->fh = idobj_id(&h->id);
	*ret_id = pt_attach(f, h, st);
	fi->keep_cache = same_content(ip, st) && !*ret_id;
	if (*ret_id)
		ip->seen_size = -1; /* what is written now isn't in the kernel's cache of this file */
	/* nothing would be done in FLUSH; a file of requests may have a mapping's pages to write, though */
	fi->noflush = !h->write || (*ret_id && !f->e && fs_local(f, ip));
	if (f->e && h->write) {
		atomic_store(&h->counted, true);
		eng_note_open_write(f->e, &ip->key);
	}
	return 0;
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	struct stat st;
	int32_t id = 0;
	if (fs_is_virt(ino)) {
		virt_open(req, ino, fi);
		return;
	}
	struct inode *ip = inode_get(f, ino);
	int rc = ip ? 0 : -ESTALE;
	if (rc >= 0) {
		int fd = rc = open_backing(f, ip, fi->flags);
		if (fd >= 0) {
			rc = fstat(fd, &st) ? -errno : 0;
			if (rc >= 0 && (fi->flags & O_TRUNC) && (fuse_req_ctx(req)->uid || transport_kill_priv())) {
				fs_kill_priv(req, ino, fd);
				rc = fstat(fd, &st) ? -errno : 0;
			}
			/* allowed by a mode that a write has since cleared: the kernel looks up anew and comes again */
			if (rc >= 0 && atomic_load_explicit(&ip->priv_live, memory_order_relaxed) &&
			        !(st.st_mode & (S_ISUID | S_ISGID)) && atomic_exchange(&ip->priv_live, false))
				rc = -ESTALE;
			if (rc >= 0)
				rc = opened(f, ip, fd, &st, fi, false, &id);
			else {
				close(fd);
				inode_put(f, ip);
			}
		} else
			inode_put(f, ip);
	}
	if (rc < 0)
		fs_reply_rc(req, rc);
	else if (pt_reply_open(req, fi, id) == -ENOENT)
		handle_release(f, fi->fh);
}

static int create_tmp(struct fs *f, int dirfd, int flags, mode_t mode)
{
	int fd = openat(dirfd, ".", flags, mode);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		fdc_shrink(f->inodes, 8);
		fd = openat(dirfd, ".", flags, mode);
	}
	return fd < 0 ? -errno : fd;
}

/* create_in - with O_EXCL first: who made the file knows that it is new. *ret_made tells. */
static int create_in(struct fs *f, int dirfd, const char *name, int flags, mode_t mode, bool *ret_made)
{
	int fd = openat(dirfd, name, flags | O_EXCL, mode);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		fdc_shrink(f->inodes, 8);
		fd = openat(dirfd, name, flags | O_EXCL, mode);
	}
	*ret_made = fd >= 0;
	if (fd < 0 && errno == EEXIST && !(flags & O_EXCL))
		fd = openat(dirfd, name, flags, mode);
	return fd < 0 ? -errno : fd;
}

/* enter_open - the node of a file just created, by the fd it was created with: nothing can have come between */
static int enter_open(
        struct fs *f, struct inode *dir, const char *name, int fd, struct fuse_entry_param *e, struct inode **ret)
{
	struct obj_key key;
	memset(e, 0, sizeof *e);
	if (fstat(fd, &e->attr))
		return -errno;
	VX_TRY(objkey_at(fd, "", &key));
	VX_TRY(inode_enter_key(f, dir, name, fd, &e->attr, &key, true, ret));
	watch_present(f, dir, name);
	op_entered(f, dir, *ret, e);
	return 0;
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	struct fuse_entry_param e;
	struct fs_creds c;
	struct inode *ip = NULL, *dir = NULL;
	struct ifd r;
	int32_t id = 0;
	int fd = -1;
	if (fs_is_virt(parent)) {
		fs_reply_rc(req, -EROFS);
		return;
	}
	bool tmp = transport_tmpfile(), made = false;
	int rc = tmp ? 0 : fs_name_ok(name);
	if (rc >= 0) {
		dir = inode_get(f, parent);
		rc = dir ? inode_fd(f, dir, &r) : -ESTALE;
	}
	if (rc < 0) {
		inode_put(f, dir);
		fs_reply_rc(req, rc);
		return;
	}
	rc = !tmp && fs_hidden(f, dir, name) ? -EEXIST : fs_creds_begin(req, &c);
	if (rc >= 0) {
		int fl = tmp ? backing_flags(fi->flags) | (fi->flags & O_EXCL) | O_TMPFILE | O_CLOEXEC
		             : backing_flags(fi->flags) | (fi->flags & O_EXCL) | O_CREAT | O_NOFOLLOW | O_CLOEXEC |
		                         O_NOCTTY | O_NONBLOCK;
		fd = rc = tmp ? create_tmp(f, r.fd, fl, mode) : create_in(f, r.fd, name, fl, mode, &made);
		fs_creds_end(&c);
	}
	if (rc >= 0)
		rc = tmp ? op_enter_fd(f, fd, &e, &ip) : enter_open(f, dir, name, fd, &e, &ip);
	if (rc >= 0 && f->e && !tmp) {
		struct eng_file ef = {.key = ip->key, .st = e.attr};
		eng_note_create(f->e, &ef, &dir->key, name);
	}
	inode_fd_put(f, &r);
	inode_put(f, dir);
	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		fs_reply_rc(req, rc);
		return;
	}
	rc = opened(f, ip, fd, &e.attr, fi, made, &id);
	if (rc >= 0 && id && (fi->flags & O_ACCMODE) == O_RDWR)
		e.attr_timeout = 0; /* as pt_attr_timeout says from now on */
	if (rc < 0) {
		inode_forget(f, e.ino, 1);
		fs_reply_rc(req, rc);
	} else if (pt_reply_create(req, &e, fi, id) == -ENOENT) {
		handle_release(f, fi->fh);
		inode_forget(f, e.ino, 1);
	}
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		virt_read(req, ino, size, off, fi);
		return;
	}
	struct handle *h = handle_get(f, fi->fh);
	if (!h) {
		fs_reply_rc(req, -EBADF);
		return;
	}
	size_t cap, done = 0;
	uint8_t *p = transport_scratch(&cap);
	int rc = 0;
	if (size > cap)
		size = cap;
	while (done < size) {
		ssize_t n = pread(h->fd, p + done, size - done, off + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	handle_put(f, h);
	if (rc < 0 && !done)
		fs_reply_rc(req, rc);
	else {
		perf_add(PERFC_fs_read_bytes, done);
		fuse_reply_buf(req, (char *)p, done);
	}
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		virt_write(req, ino, buf, size, off, fi);
		return;
	}
	struct handle *h = handle_get(f, fi->fh);
	if (!h) {
		fs_reply_rc(req, -EBADF);
		return;
	}
	size_t done = 0;
	int rc = 0;
	handle_wrote(f, h);
	if (transport_kill_priv())
		fs_kill_priv(req, ino, h->fd);
	while (done < size) {
		ssize_t n = pwrite(h->fd, buf + done, size - done, off + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	handle_wrote(f, h);
	handle_put(f, h);
	if (rc < 0 && !done)
		fs_reply_rc(req, rc);
	else {
		perf_add(PERFC_fs_write_bytes, done);
		fuse_reply_write(req, done);
	}
}

void handle_wrote(struct fs *f, struct handle *h)
{
	atomic_store_explicit(&h->wrote, true, memory_order_relaxed);
	atomic_store(&h->dirty, true);
	if (f->e && h->write && !atomic_exchange(&h->counted, true))
		eng_note_open_write(f->e, &h->ip->key);
}

static void note_release(struct fs *f, struct handle *h, const struct stat *st /* NULL: to be asked for */, bool wrote)
{
	struct eng_file ef = {.key = h->ip->key};
	struct obj_key parent = {.len = 0};
	char name[CONF_NAME_MAX + 1] = "";
	if (st)
		ef.st = *st;
	else if (fstat(h->fd, &ef.st))
		return;
	bool named = inode_name(f, h->ip, &parent, name, sizeof name);
	eng_note_release_write(f->e, &ef, named ? &parent : NULL, named ? name : NULL, wrote || pt_wrote(h, &ef.st));
}

/* The file's times have moved since the handle's flush: it was written past us, or touched.  A vector may have been set meanwhile, and is bound
 * to what the file was then: its stamp decides, and what only was touched stays fresh. */
static void note_past(struct fs *f, struct handle *h, const struct stat *st)
{
	struct eng_file ef = {.key = h->ip->key, .st = *st};
	eng_note_seen(f->e, &ef);
}

/* close(2) waits for FLUSH, but RELEASE comes some time after it: whoever closes a file and then asks `wait` must not be told that
 * nothing is pending.  So a written handle is released to the engine here; a write after it (by a copy of the descriptor) counts it
 * again. */
static void flush_note(struct fs *f, struct handle *h)
{
	bool wrote = atomic_exchange(&h->dirty, false);
	struct stat st;
	bool known = h->io == IO_pt && !fstat(h->fd, &st);
	if (known) {
		pthread_mutex_lock(&h->dlock);
		wrote |= pt_wrote(h, &st);
		pt_seen(h, &st);
		pthread_mutex_unlock(&h->dlock);
	}
	if (!wrote)
		return;
	if (atomic_exchange(&h->counted, false))
		note_release(f, h, known ? &st : NULL, true);
	else if (known)
		note_past(f, h, &st);
}

void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		fs_reply_rc(req, 0);
		return;
	}
	struct handle *h = handle_get(f, fi->fh);
	int rc = h ? 0 : -EBADF;
	if (h) {
		if (h->write && !fs_local(f, h->ip)) { /* network file systems report late errors at close */
			int fd = dup(h->fd);
			if (fd >= 0 && close(fd) && errno != EINTR)
				rc = -errno;
		}
		if (h->write && f->e)
			flush_note(f, h);
		handle_put(f, h);
	}
	fs_reply_rc(req, rc);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		virt_release(req, ino, fi);
		return;
	}
	struct handle *h = handle_get(f, fi->fh);
	if (h) {
		struct stat st;
		if (h->io != IO_pt && atomic_load(&h->wrote) &&
		        !fstat(h->fd, &st)) /* the cache holds what was written through it */
			(void)same_content(h->ip, &st);
		if (f->e && h->write && atomic_exchange(&h->counted, false)) {
			note_release(f, h, NULL, atomic_load(&h->dirty));
		} else if (f->e && h->write && h->io == IO_pt && !fstat(h->fd, &st) && pt_wrote(h, &st)) {
			note_past(f, h, &st);
		}
		handle_put(f, h);
		handle_release(f, fi->fh);
	}
	fs_reply_rc(req, 0);
}

/* ---- fsync: the file's vectors become durable with it ----------------------------------------------------------------------------- */

struct sync_wait {
	fuse_req_t req;
};
static int sync_rc(int rc)
{
	/* only "it could not be written" is an error of fsync; a component switched off or not opening leaves nothing to wait for */
	return rc == -VX_ERR_store_poisoned || rc == -VX_ERR_store_full ? rc : 0;
}
static void sync_done(struct vq *q)
{
	fuse_req_t req = q->u;
	int rc = sync_rc(q->j.rc);
	fs_unpark(req);
	vq_free(q);
	fs_reply_rc(req, rc);
}
/* true: parked, answered later */
static bool sync_vectors(fuse_req_t req, struct fs *f, struct inode *ip, int *rc)
{
	struct eng_caller who;
	if (!f->e || !atomic_exchange(&ip->vec_dirty, false))
		return false;
	fs_caller(req, &who);
	struct vq *q = vq_new(f->e, &who);
	if (!q) {
		atomic_store(&ip->vec_dirty, true);
		*rc = -VX_ERR_queue_full;
		return false;
	}
	q->j.verb = EV_wait;
	q->j.want_durable = true;
	q->j.key = ip->key;
	q->j.fd = -1;
	q->on_done = sync_done;
	q->u = req;
	fs_park(req, q);
	if (vq_submit(q) == ENG_PARKED)
		return true;
	*rc = sync_rc(q->j.rc);
	fs_unpark(req);
	vq_free(q);
	return false;
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		fs_reply_rc(req, 0);
		return;
	}
	struct handle *h = handle_get(f, fi->fh);
	if (!h) {
		fs_reply_rc(req, -EBADF);
		return;
	}
	int rc = (datasync ? fdatasync(h->fd) : fsync(h->fd)) ? -errno : 0;
	bool parked = rc >= 0 && sync_vectors(req, f, h->ip, &rc);
	handle_put(f, h);
	if (!parked)
		fs_reply_rc(req, rc);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	struct handle *h = fs_is_virt(ino) ? NULL : handle_get(f, fi->fh);
	int rc = fs_is_virt(ino) ? -EOPNOTSUPP : -EBADF;
	if (h) {
		if (fuse_req_ctx(req)->uid)
			fs_kill_priv(req, ino, h->fd);
		rc = fallocate(h->fd, mode, off, len) ? -errno : 0;
		if (rc >= 0)
			handle_wrote(f, h);
		handle_put(f, h);
	}
	fs_reply_rc(req, rc);
}

void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	struct handle *h = fs_is_virt(ino) ? NULL : handle_get(f, fi->fh);
	off_t at = -1;
	int rc = fs_is_virt(ino) ? -EINVAL : -EBADF;
	if (h) {
		at = lseek(
		        h->fd, off, whence); /* the fd's own offset is used by nothing else: files are read by pread */
		rc = at < 0 ? -errno : 0;
		handle_put(f, h);
	}
	if (rc < 0)
		fs_reply_rc(req, rc);
	else
		fuse_reply_lseek(req, at);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
        fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino_in) || fs_is_virt(ino_out)) {
		fs_reply_rc(req, -EXDEV); /* the kernel then copies by read and write */
		return;
	}
	struct handle *in = handle_get(f, fi_in->fh), *out = handle_get(f, fi_out->fh);
	ssize_t n = -1;
	int rc = -EBADF;
	if (in && out) {
		if (fuse_req_ctx(req)->uid)
			fs_kill_priv(req, ino_out, out->fd);
		n = copy_file_range(
		        in->fd, &off_in, out->fd, &off_out, len < COPY_MAX ? len : COPY_MAX, (unsigned)flags);
		rc = n < 0 ? -errno : 0;
		if (n > 0)
			handle_wrote(f, out);
	}
	if (in)
		handle_put(f, in);
	if (out)
		handle_put(f, out);
	if (rc < 0)
		fs_reply_rc(req, rc);
	else
		fuse_reply_write(req, (size_t)n);
}

/* lsattr's reads go through.  Setting is refused: FUSE carries neither statx's attribute bits nor S_APPEND and S_IMMUTABLE to the kernel's
 * inode, so a flag set here would hold for some calls and not be seen by others.  Flags set on the backing file do hold. */
static int file_flags(struct fs *f, unsigned cmd, size_t out_n, uint64_t fh, void *out, size_t *ret_n)
{
	size_t n = cmd == FS_IOC_FSGETXATTR ? sizeof(struct fsxattr) : sizeof(int);
	struct handle *h = handle_get(f, fh);
	if (!h)
		return -ENOTTY;
	int rc = -EINVAL;
	if (out_n >= n) {
		rc = ioctl(h->fd, cmd, out) ? -errno : 0;
		*ret_n = n;
	}
	handle_put(f, h);
	return rc;
}

void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi, unsigned flags,
        const void *in, size_t in_n, size_t out_n)
{
	struct fs *f = fs_of(req);
	struct fsxattr buf;
	size_t n = 0;
	if (flags & FUSE_IOCTL_COMPAT) {
		fs_reply_rc(req, -ENOSYS);
		return;
	}
	if (fs_is_virt(ino)) {
		fs_reply_rc(req, -ENOTTY);
		return;
	}
	if (_IOC_TYPE(cmd) == 'V') {
		struct inode *ip = inode_get(f, ino);
		if (ip)
			atomic_store_explicit(&ip->vec_dirty, true, memory_order_relaxed);
		inode_put(f, ip);
		if (vioctl(req, ino, cmd, in, in_n, out_n))
			return;
	}
	int rc = -ENOTTY;
	memset(&buf, 0, sizeof buf);
	if (cmd == FS_IOC_GETFLAGS || cmd == FS_IOC_FSGETXATTR)
		rc = file_flags(f, cmd, out_n, fi->fh, &buf, &n);
	if (rc < 0)
		fs_reply_rc(req, rc);
	else
		fuse_reply_ioctl(req, 0, &buf, n);
}

void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
	if (fs_is_virt(ino)) {
		virt_poll(req, ino, fi, ph);
		return;
	}
	if (ph)
		fuse_pollhandle_destroy(ph);
	fuse_reply_poll(req, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM); /* a regular file is always ready */
}
