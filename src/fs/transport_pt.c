/* transport_pt.c - passthrough: file data goes from the kernel's FUSE file straight to the backing file, no request to us.
 *
 * An inode is in one io mode at a time, the kernel insists (fs/fuse/iomode.c): while one open of it is passed through, all must be,
 * with the same backing id; while one is cached, none may be.  So the first open decides, the counts of both kinds live in the inode, and
 * the id is closed with the last passed-through handle.  Closings reach us late, openings in order, so our view may only be stickier
 * than the kernel's.
 *
 * Security.  A write through the mount must clear suid and sgid as on any file system.  Ours do (transport_kill_priv); a passed-through
 * one never reaches us, and runs with the credentials that opened the backing id.  So
 *   - an inode that is suid, sgid or has a file capability when its first handle opens is not passed through;
 *   - one that becomes so while passed-through handles are open can't be called back (the kernel has no such call).  Therefore backing ids are
 *     opened without CAP_FSETID: the backing file system then clears the bits itself at any write, root's included (there alone we
 *     are stricter than a native file system), and file capabilities it always clears.  Until those handles are gone nothing of the
 *     inode's attributes is cached by the kernel (priv_live), so exec sees the cleared mode; an exec whose permission check came before
 *     the write is sent back to look again (ESTALE in op_open).  While a writer is open exec fails with ETXTBSY anyway.
 *
 * Freshness.  Writes are not seen; the handle keeps the file's stamp as of its opening and the release compares.  Of write(2) the kernel
 * knows that it changes mtime and ctime, of a store into a mapping it doesn't (xfstests 080, 215): while a handle is open that a
 * shared mapping may write through, the kernel keeps no attributes of the inode (pt_maps).
 *
 * noatime.  The kernel reads by the rules of the mount that the backing file was opened on; O_NOATIME of our fd doesn't count.  So what is
 * handed over is then the same file on a private copy of that mount which keeps access times (xfstests 003, 120). */
#include "fs/transport_priv.h"
#include "base/log.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

static pthread_mutex_t *lock_of(struct transport *t, const struct inode *ip)
{
	return &t->pt_lock[ip->id.index % PT_LOCKS];
}

/* ---- backing ids -------------------------------------------------------------------------------------------------------------------------- */

/* this thread's effective CAP_FSETID off or on; false: it isn't there to begin with, or can't be changed. What a thread may do is asked once:
 * nothing but this changes it for good. */
static bool fsetid(bool on)
{
	static _Thread_local struct {
		bool known;
		struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3];
	} caps;
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3];
	uint32_t bit = CAP_TO_MASK(CAP_FSETID);
	if (!caps.known && syscall(SYS_capget, &h, caps.d))
		return false;
	caps.known = true;
	if (!(caps.d[CAP_TO_INDEX(CAP_FSETID)].effective & bit))
		return false;
	memcpy(d, caps.d, sizeof d);
	if (!on)
		d[CAP_TO_INDEX(CAP_FSETID)].effective &= ~bit;
	return !syscall(SYS_capset, &h, d);
}

static int backing_open(struct transport *t, int fd)
{
	struct uapi_backing_map m = {.fd = fd};
	if (transport_faults & TF_backing)
		return -EPERM;
	bool had = fsetid(false);
	int id = ioctl(t->fd, UAPI_DEV_IOC_BACKING_OPEN, &m);
	int rc = id > 0 ? id : id < 0 ? -errno : -EIO;
	if (had && !fsetid(true))
		log_msg(LOGL_error, "CAP_FSETID could not be taken back: sgid bits may be lost on chmod");
	if (rc > 0)
		atomic_fetch_add_explicit(&t->pt_ids, 1, memory_order_relaxed);
	return rc;
}

/* a copy of the open mount @mnt that isn't mounted anywhere and leaves access times alone: an fd to open handles through, or -errno */
static int copy_quiet(int mnt)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_NOATIME, .attr_clr = MOUNT_ATTR__ATIME};
	char p[PROC_PATH_MAX];
	int tree = open_tree(mnt, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return -errno;
	int rc = mount_setattr(tree, "", AT_EMPTY_PATH, &a, sizeof a) ? -errno : 0;
	if (rc >= 0) {
		proc_path(p, tree); /* what open_tree gives is O_PATH, and open_by_handle_at doesn't take that */
		rc = open(p, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		rc = rc >= 0 ? rc : -errno;
	}
	close(tree);
	return rc;
}
/* the backing id of a file that is read without a trace. No such copy, no handle: not passed through, then O_NOATIME holds */
static int backing_open_quiet(struct transport *t, const struct inode *ip)
{
	struct itable *it = t->f->inodes;
	if (ip->mnt == MNT_NONE)
		return -EXDEV;
	_Atomic int *q = &t->pt_quiet[ip->mnt];
	int m = atomic_load_explicit(q, memory_order_acquire), none = 0;
	if (!m) {
		m = copy_quiet(it->mnt[ip->mnt].fd);
		if (!atomic_compare_exchange_strong(q, &none, m)) {
			if (m > 0)
				close(m);
			m = none;
		}
	}
	int fd = m < 0 ? m : inode_by_handle(it, ip, m, O_PATH);
	if (fd < 0)
		return fd;
	int id = backing_open(t, fd);
	close(fd);
	return id;
}
void pt_done(struct transport *t)
{
	for (size_t i = 0; i < sizeof t->pt_quiet / sizeof *t->pt_quiet; i++)
		if (t->pt_quiet[i] > 0)
			close(t->pt_quiet[i]);
}

static void backing_close(struct transport *t, int32_t id)
{
	uint32_t u = (uint32_t)id;
	if (ioctl(t->fd, UAPI_DEV_IOC_BACKING_CLOSE, &u) && errno != ENODEV && errno != EPERM)
		log_rc(LOGL_warn, "a backing id could not be closed", -errno);
	atomic_fetch_sub_explicit(&t->pt_ids, 1, memory_order_relaxed);
}

/* On DIR's own file system, for its depth in a stack decides as well; where DIR can't be written, on any. */
int pt_probe(struct transport *t)
{
	int fd = openat(t->f->root_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		fd = memfd_create("vexfs-probe", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	int id = backing_open(t, fd);
	if (id > 0)
		backing_close(t, id);
	close(fd);
	return id > 0 ? 0 : id;
}

/* ---- handles ------------------------------------------------------------------------------------------------------------------------------- */

static bool is_privileged(const struct stat *st, const struct handle *h)
{
	if (st->st_mode & (S_ISUID | S_ISGID))
		return true;
	return !h->made && fgetxattr(h->fd, "security.capability", NULL, 0) > 0;
}

void pt_seen(struct handle *h, const struct stat *st)
{
	h->at_open.size = st->st_size;
	h->at_open.mtime = st->st_mtim;
	h->at_open.ctime = st->st_ctim;
}

int32_t pt_attach(struct fs *f, struct handle *h, const struct stat *st)
{
	struct transport *t = f->transport;
	struct inode *ip = h->ip;
	if (!t || !S_ISREG(st->st_mode) || !(atomic_load_explicit(&t->have, memory_order_relaxed) & TR_pt))
		return 0;
	pthread_mutex_t *l = lock_of(t, ip);
	pthread_mutex_lock(l);
	if (!ip->pt_n && !ip->io_n && !is_privileged(st, h)) {
		int id = f->cfg.noatime ? backing_open_quiet(t, ip) : backing_open(t, h->fd);
		if (id > 0)
			ip->backing_id = id;
	}
	if (ip->backing_id > 0) {
		ip->pt_n++;
		watch_passing(f, ip, h->fd, true);
		h->io = IO_pt;
		if (h->maps)
			atomic_fetch_add_explicit(&ip->pt_maps, 1, memory_order_relaxed);
	} else {
		ip->io_n++;
		h->io = IO_cached;
	}
	int32_t id = ip->backing_id;
	pthread_mutex_unlock(l);
	if (id && h->maps && !h->made) /* what is kept from before; later answers aren't */
		(void)fuse_lowlevel_notify_inval_inode(f->se, inode_id(f, ip), -1, 0);
	pt_seen(h, st);
	return id;
}

void pt_detach(struct fs *f, struct handle *h)
{
	struct transport *t = f->transport;
	struct inode *ip = h->ip;
	int32_t gone = 0;
	if (h->io == IO_none || !t)
		return;
	pthread_mutex_t *l = lock_of(t, ip);
	pthread_mutex_lock(l);
	if (h->io == IO_pt && h->maps)
		atomic_fetch_sub_explicit(&ip->pt_maps, 1, memory_order_relaxed);
	if (h->io == IO_cached)
		ip->io_n--;
	else if (!--ip->pt_n) {
		watch_passing(f, ip, h->fd, false);
		gone = ip->backing_id;
		ip->backing_id = 0;
	}
	pthread_mutex_unlock(l);
	if (gone)
		backing_close(t, gone);
	h->io = IO_none;
}

bool pt_wrote(const struct handle *h, const struct stat *st)
{
	return h->io == IO_pt && (h->at_open.size != st->st_size || h->at_open.mtime.tv_sec != st->st_mtim.tv_sec ||
	                                 h->at_open.mtime.tv_nsec != st->st_mtim.tv_nsec ||
	                                 h->at_open.ctime.tv_sec != st->st_ctim.tv_sec ||
	                                 h->at_open.ctime.tv_nsec != st->st_ctim.tv_nsec);
}

void pt_privileged(struct fs *f, struct inode *ip)
{
	struct transport *t = f->transport;
	if (!t)
		return;
	pthread_mutex_t *l = lock_of(t, ip);
	pthread_mutex_lock(l);
	if (ip->pt_n)
		atomic_store_explicit(&ip->priv_live, true, memory_order_relaxed);
	pthread_mutex_unlock(l);
}

/* ---- replies that carry a backing id, which libfuse 3.14's don't ---------------------------------------------------------------------- */

static struct uapi_open_out open_out(const struct fuse_file_info *fi, int32_t id)
{
	return (struct uapi_open_out){.fh = fi->fh,
	        .open_flags = UAPI_FOPEN_PASSTHROUGH | (fi->noflush ? FOPEN_NOFLUSH : 0),
	        .backing_id = id};
}

int pt_reply_open(fuse_req_t req, const struct fuse_file_info *fi, int32_t backing_id)
{
	if (backing_id <= 0)
		return fuse_reply_open(req, fi);
	struct uapi_open_out o = open_out(fi, backing_id);
	return fuse_reply_buf(req, (char *)&o, sizeof o);
}

static void split_time(double s, uint64_t *ret_sec, uint32_t *ret_nsec)
{
	*ret_sec = s >= 1e9 ? 1000000000u : s > 0 ? (uint64_t)s : 0;
	*ret_nsec = s > 0 && s < 1e9 ? (uint32_t)((s - (double)*ret_sec) * 1e9) : 0;
}

int pt_reply_create(
        fuse_req_t req, const struct fuse_entry_param *e, const struct fuse_file_info *fi, int32_t backing_id)
{
	if (backing_id <= 0)
		return fuse_reply_create(req, e, fi);
	struct {
		struct fuse_entry_out e;
		struct uapi_open_out o;
	} x = {.o = open_out(fi, backing_id)};
	const struct stat *s = &e->attr;
	x.e.nodeid = e->ino;
	x.e.generation = e->generation;
	split_time(e->entry_timeout, &x.e.entry_valid, &x.e.entry_valid_nsec);
	split_time(e->attr_timeout, &x.e.attr_valid, &x.e.attr_valid_nsec);
	x.e.attr = (struct fuse_attr){.ino = s->st_ino,
	        .size = (uint64_t)s->st_size,
	        .blocks = (uint64_t)s->st_blocks,
	        .atime = (uint64_t)s->st_atim.tv_sec,
	        .mtime = (uint64_t)s->st_mtim.tv_sec,
	        .ctime = (uint64_t)s->st_ctim.tv_sec,
	        .atimensec = (uint32_t)s->st_atim.tv_nsec,
	        .mtimensec = (uint32_t)s->st_mtim.tv_nsec,
	        .ctimensec = (uint32_t)s->st_ctim.tv_nsec,
	        .mode = s->st_mode,
	        .nlink = (uint32_t)s->st_nlink,
	        .uid = s->st_uid,
	        .gid = s->st_gid,
	        .rdev = (uint32_t)s->st_rdev,
	        .blksize = (uint32_t)s->st_blksize};
	return fuse_reply_buf(req, (char *)&x, sizeof x);
}
