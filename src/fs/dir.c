/* dir.c - directories: opened, read with the backing file system's own offsets, plain or with attributes.
 *
 * Names alone are cheap, attributes with them are not: each is a lookup.  The kernel asks for attributes with the first names of a directory,
 * not knowing what is wanted.  A directory of which it holds nearly all names already, for as long as we don't take them back, is
 * answered without, and its listing is left in the kernel's own cache: that drops it when the directory is changed through the mount
 * or when we say (watch.c) that it was changed behind it.
 *
 * The offset handed out is the d_off of the entry, which the backing file system keeps stable over changes; a read that doesn't go on
 * where the last ended seeks there.  Entries come through a buffer a handle, filled by getdents64 when it is first read. */
#include "fs/inode.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DIRBUF_BYTES 32768u

struct dent64 { /* linux_dirent64 */
	uint64_t d_ino;
	int64_t d_off;
	uint16_t d_reclen;
	uint8_t d_type;
	char d_name[];
};

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		virt_opendir(req, ino, fi);
		return;
	}
	struct inode *ip = inode_get(f, ino);
	int rc = ip ? 0 : -ESTALE;
	if (rc >= 0) {
		struct ifd r;
		rc = inode_fd(f, ip, &r);
		int fd = -1;
		if (rc >= 0) {
			int fl = (fi->flags & O_NOATIME) | (f->cfg.nodiratime ? O_NOATIME : 0);
			fd = openat(r.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | fl);
			if (fd < 0 && errno == EPERM && fl) /* another's: the time is no reason to refuse */
				fd = openat(r.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
				fdc_shrink(f->inodes, 8);
				fd = openat(r.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			}
			rc = fd < 0 ? -errno : 0;
			inode_fd_put(f, &r);
		}
		struct handle *h = fd >= 0 ? handle_new(f, ip, fd) : NULL;
		if (!h) {
			if (fd >= 0) {
				close(fd);
				rc = -ENFILE;
			}
			inode_put(f, ip);
		} else {
			h->is_dir = true;
			h->names_only = watch_lasting(f, ip) && inode_kids_known(ip);
			fi->cache_readdir = fi->keep_cache = h->names_only;
			fi->fh = idobj_id(&h->id);
		}
	}
	if (rc < 0)
		fs_reply_rc(req, rc);
	else if (fuse_reply_open(req, fi) == -ENOENT)
		handle_release(f, fi->fh);
}

/* the entry at the handle's position; 1, 0: end, < 0 */
static int dent_next(struct handle *h, struct dent64 **ret)
{
	if (h->dpos >= h->dend) {
		long n = syscall(SYS_getdents64, h->fd, h->dbuf, DIRBUF_BYTES);
		if (n < 0)
			return -errno;
		h->dpos = 0;
		h->dend = (uint32_t)n;
		if (!n)
			return 0;
	}
	*ret = (struct dent64 *)(h->dbuf + h->dpos);
	return 1;
}

static int dir_seek(struct handle *h, off_t off)
{
	if (!h->dbuf) {
		h->dbuf = mem_alloc(MEM_fs, DIRBUF_BYTES);
		if (!h->dbuf)
			return -ENOMEM;
		h->doff = 0;
		if (!off)
			return 0;
	} else if (off && off == h->doff)
		return 0; /* goes on; offset 0 always looks anew */
	h->dpos = h->dend = 0;
	h->dcount = off ? UINT32_MAX : 0;
	if (lseek(h->fd, off, SEEK_SET) < 0)
		return -errno;
	h->doff = off;
	return 0;
}

static bool is_dots(const char *n)
{
	return n[0] == '.' && (!n[1] || (n[1] == '.' && !n[2]));
}

/* fill - entries from the handle's position into p; how many bytes, < 0 when not even the first could be had */
static ssize_t fill(fuse_req_t req, struct fs *f, struct handle *h, uint8_t *p, size_t size, bool plus)
{
	size_t used = 0;
	struct dent64 *d = NULL;
	int rc;
	while ((rc = dent_next(h, &d)) > 0) {
		struct fuse_entry_param e;
		size_t n;
		if (fs_hidden(f, h->ip, d->d_name)) {
			h->dpos += d->d_reclen;
			h->doff = d->d_off;
			continue;
		}
		memset(&e, 0, sizeof e);
		if (plus && !h->names_only && !is_dots(d->d_name)) {
			/* room first: an entry given out is a lookup counted */
			if (fuse_add_direntry_plus(req, NULL, 0, d->d_name, NULL, 0) > size - used)
				break;
			rc = op_enter(f, h->ip, h->fd, d->d_name, &e, NULL);
			if (rc < 0) {
				if (rc != -ENOENT && rc != -ESTALE && !used && rc != -ELOOP)
					return rc;
				if (rc != -ENOENT && rc != -ESTALE && rc != -ELOOP)
					break; /* out of memory or fds: what we have; the next call tells */
				h->dpos += d->d_reclen; /* removed meanwhile */
				h->doff = d->d_off;
				continue;
			}
		} else {
			e.attr.st_dev = h->ip->dev;
			e.attr.st_ino = d->d_ino;
			e.attr.st_ino = inode_show_ino(f, &e.attr);
			e.attr.st_mode = (mode_t)d->d_type << 12;
		}
		if (plus)
			n = fuse_add_direntry_plus(req, (char *)p + used, size - used, d->d_name, &e, d->d_off);
		else
			n = fuse_add_direntry(req, (char *)p + used, size - used, d->d_name, &e.attr, d->d_off);
		if (n > size - used) {
			if (e.ino)
				inode_forget(f, e.ino, 1);
			break;
		}
		used += n;
		h->dpos += d->d_reclen;
		h->doff = d->d_off;
		h->dcount += h->dcount < UINT32_MAX - 1 && !is_dots(d->d_name);
	}
	if (!rc && h->dcount != UINT32_MAX)
		atomic_store_explicit(&h->ip->dents, h->dcount, memory_order_relaxed);
	if (rc < 0 && !used)
		return rc == -ENOENT ? 0 : rc; /* a removed directory reads as empty */
	return (ssize_t)used;
}

static void read_dir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi, bool plus)
{
	struct fs *f = fs_of(req);
	if (fs_is_virt(ino)) {
		virt_readdir(req, ino, size, off, fi, plus);
		return;
	}
	struct handle *h = handle_get(f, fi->fh);
	if (!h || !h->is_dir) {
		if (h)
			handle_put(f, h);
		fs_reply_rc(req, -EBADF);
		return;
	}
	size_t cap;
	uint8_t *p = transport_scratch(&cap);
	pthread_mutex_lock(&h->dlock);
	ssize_t n = dir_seek(h, off);
	if (n >= 0)
		n = fill(req, f, h, p, size < cap ? size : cap, plus);
	pthread_mutex_unlock(&h->dlock);
	handle_put(f, h);
	if (n < 0)
		fs_reply_rc(req, (int)n);
	else
		fuse_reply_buf(req, (char *)p, (size_t)n);
}
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_dir(req, ino, size, off, fi, false);
}
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_dir(req, ino, size, off, fi, true);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (fs_is_virt(ino)) {
		virt_releasedir(req, ino, fi);
		return;
	}
	handle_release(fs_of(req), fi->fh);
	fs_reply_rc(req, 0);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fs *f = fs_of(req);
	struct handle *h = fs_is_virt(ino) ? NULL : handle_get(f, fi->fh);
	int rc = fs_is_virt(ino) ? 0 : -EBADF;
	if (h) {
		rc = (datasync ? fdatasync(h->fd) : fsync(h->fd)) ? -errno : 0;
		handle_put(f, h);
	}
	fs_reply_rc(req, rc);
}
