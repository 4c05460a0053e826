/* fs.c - the file system as a whole: its state, the operation table, what is agreed with the kernel, and acting as the caller.
 *
 * Permission is the kernel's: default_permissions is always on and FUSE_CAP_POSIX_ACL makes it look at ACLs, so a request that arrives has
 * been allowed.  The daemon itself (root) then works with all its capabilities.
 *
 * A new object must belong to the caller, and quotas, project ids and default ACLs of the backing file system must see it made by him.
 * So for the time of one call the thread takes the caller's fsuid and fsgid, by the raw system calls (per thread) and with the secure
 * bit that leaves the capabilities alone: otherwise a caller who may write by a supplementary group would be refused below.  The
 * umask is per thread, too (unshare CLONE_FS), and is applied by the backing file system, which knows whether a default ACL takes its
 * place. */
#include "fs/inode.h"
#include "fs/watch.h"
#include "base/log.h"

#include <fcntl.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Thread_local struct {
	bool ready;
	mode_t umask;
} self;

static void self_init(void)
{
	if (unshare(CLONE_FS))
		log_rc(LOGL_warn, "umask of new files cannot be kept per thread", -errno);
	int bits = prctl(PR_GET_SECUREBITS);
	if (bits >=
	        0) /* without CAP_SETPCAP it fails: new objects may then be refused to callers who write by a group */
		(void)prctl(PR_SET_SECUREBITS, (unsigned long)bits | SECBIT_NO_SETUID_FIXUP);
	self.umask = umask(0);
	umask(self.umask);
	self.ready = true;
}

int fs_creds_begin(fuse_req_t req, struct fs_creds *c)
{
	struct fs *f = fs_of(req);
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	c->changed = false;
	if (!self.ready)
		self_init();
	mode_t um = ctx->umask & 0777;
	if (um != self.umask) {
		umask(um);
		self.umask = um;
	}
	if (!f->p->root)
		return ctx->uid == f->cfg.owner_uid ? 0 : -EPERM; /* we can't make files of others */
	if (ctx->uid || ctx->gid) {
		syscall(SYS_setfsgid, ctx->gid);
		syscall(SYS_setfsuid, ctx->uid);
		c->changed = true;
	}
	return 0;
}

void fs_creds_end(struct fs_creds *c)
{
	int e = errno;
	if (c->changed) {
		syscall(SYS_setfsuid, 0);
		syscall(SYS_setfsgid, 0);
	}
	errno = e;
}

void fs_caller(fuse_req_t req, struct eng_caller *ret)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	*ret = (struct eng_caller){.uid = ctx->uid, .gid = ctx->gid, .pid = ctx->pid};
}

int fs_name_ok(const char *name)
{
	if (!name[0] || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	return strlen(name) > CONF_NAME_MAX ? -ENAMETOOLONG : 0;
}

bool fs_hidden(struct fs *f, const struct inode *dir, const char *name)
{
	if (dir == f->inodes->root && fs_is_virt_name(name))
		return true;
	return f->p->hide_name && dir->dev == f->p->hide_dev && dir->ino == f->p->hide_ino &&
	       !strcmp(name, f->p->hide_name);
}

static int hide_store(struct fs *f)
{
	const char *s = f->cfg.store_dir, *base;
	struct stat st;
	if (!s || *s != '/' || !(base = strrchr(s, '/')) || !base[1])
		return 0;
	char *up = mem_strdup(MEM_fs, s);
	if (!up)
		return -ENOMEM;
	up[base == s ? 1 : base - s] = 0;
	if (!stat(up, &st)) {
		f->p->hide_dev = st.st_dev;
		f->p->hide_ino = st.st_ino;
		f->p->hide_name = base + 1;
	}
	mem_free(MEM_fs, up);
	return 0;
}

int fs_new(const struct fs_cfg *cfg, int root_fd, struct engine *e, struct fs **ret)
{
	struct fs *f = mem_zalloc(MEM_fs, sizeof *f);
	int rc = -ENOMEM;
	if (!f)
		return rc;
	f->cfg = *cfg;
	f->e = e;
	f->root_fd = root_fd;
	f->p = mem_zalloc(MEM_fs, sizeof *f->p);
	if (!f->p)
		goto out;
	f->p->root = geteuid() == 0;
	f->p->local = watch_local(f->root_fd);
	f->p->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if ((rc = itable_new(f, &f->inodes)) < 0 || (rc = hide_store(f)) < 0 || (rc = virt_new(f, &f->virt)) < 0)
		goto out;
	*ret = f;
	return 0;
out:
	fs_free(f);
	return rc;
}

void fs_free(struct fs *f)
{
	if (!f)
		return;
	virt_free(f->virt);
	itable_free(f->inodes);
	if (f->p && f->p->proc_fd >= 0)
		close(f->p->proc_fd);
	mem_free(MEM_fs, f->p);
	mem_free(MEM_fs, f);
}

static void want(struct fuse_conn_info *c, unsigned cap)
{
	c->want |= c->capable & cap;
}

static void op_destroy(void *u)
{
	struct fs *f = u;
	watch_stop(f->p->watch); /* it sends notices: to be gone before the session is */
	f->p->watch = NULL;
	virt_quiet(f->virt);
}

const char *fs_watch_name(const struct fs *f)
{
	return f->p->watch ? "fanotify" : "none";
}

const char *fs_watch_why(const struct fs *f)
{
	if (f->p->watch)
		return "";
	if (!f->p->root)
		return "fanotify on a whole file system needs root; the kernel's copies are kept for a second only";
	if (!f->inodes->by_handle)
		return "the file system has no file handles, or this container may not open them";
	return "others may change this file system unseen (a network's), or the kernel's fanotify can't be had (Linux "
	       "5.17)";
}

static void op_init(void *u, struct fuse_conn_info *c)
{
	struct fs *f = u;
	if (f->cfg.mnt && !f->p->watch) {
		int rc = watch_start(f, &f->p->watch);
		if (rc < 0)
			log_rc(LOGL_warn, "changes behind the mount are not watched", rc);
	}
	/* DONT_MASK, POSIX_ACL: see above.  Splicing is off: below 128 KiB a copy is cheaper than two pipes.  HANDLE_KILLPRIV is off: the
	 * kernel then clears suid and sgid by SETATTR itself, by its own rules.  No WRITEBACK_CACHE: it would make size and mtime
	 * the kernel's and the copy below stale. */
	want(c, FUSE_CAP_DONT_MASK | FUSE_CAP_POSIX_ACL | FUSE_CAP_IOCTL_DIR | FUSE_CAP_PARALLEL_DIROPS |
	                FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_ATOMIC_O_TRUNC |
	                FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_AUTO_INVAL_DATA);
	/* ASYNC_DIO is off: after an asynchronous direct write nobody drops the cached pages it went past, and buffered readers see old
	 * data (xfstests generic/451). */
	c->want &= ~(unsigned)(FUSE_CAP_ASYNC_DIO | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
	                       FUSE_CAP_SPLICE_MOVE | FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_WRITEBACK_CACHE);
	if (c->max_write > TRANSPORT_MAX_WRITE)
		c->max_write = TRANSPORT_MAX_WRITE;
	c->max_background = 64;
	c->time_gran = 1;
}

const struct fuse_lowlevel_ops *fs_ops(void)
{
	/* getlk, setlk, flock are left out on purpose: the kernel then keeps all three kinds of lock itself, with its own deadlock
	 * detection, owner rules and release on exit, which no user-space copy reaches (docs/CONFORMANCE.md). */
	static const struct fuse_lowlevel_ops ops = {
	        .init = op_init,
	        .destroy = op_destroy,
	        .lookup = op_lookup,
	        .forget = op_forget,
	        .forget_multi = op_forget_multi,
	        .getattr = op_getattr,
	        .setattr = op_setattr,
	        .readlink = op_readlink,
	        .mknod = op_mknod,
	        .mkdir = op_mkdir,
	        .unlink = op_unlink,
	        .rmdir = op_rmdir,
	        .symlink = op_symlink,
	        .rename = op_rename,
	        .link = op_link,
	        .open = op_open,
	        .create = op_create,
	        .read = op_read,
	        .write = op_write,
	        .flush = op_flush,
	        .release = op_release,
	        .fsync = op_fsync,
	        .opendir = op_opendir,
	        .readdir = op_readdir,
	        .readdirplus = op_readdirplus,
	        .releasedir = op_releasedir,
	        .fsyncdir = op_fsyncdir,
	        .statfs = op_statfs,
	        .getxattr = op_getxattr,
	        .setxattr = op_setxattr,
	        .listxattr = op_listxattr,
	        .removexattr = op_removexattr,
	        .access = op_access,
	        .ioctl = op_ioctl,
	        .poll = op_poll,
	        .fallocate = op_fallocate,
	        .lseek = op_lseek,
	        .copy_file_range = op_copy_file_range,
	};
	return &ops;
}
