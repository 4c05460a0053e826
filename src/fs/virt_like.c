/* virt_like.c - like/PATH: the tree once more, where every file is a directory of the files nearest to it.
 *
 * A mirrored node shows the owner of the real one and may be entered by anybody: its mode could not say what an ACL says.  Nothing is
 * cached, and at each step the real path is asked for as the caller: x to look a name up, r to list.  The search itself asks by path and
 * is judged again by the engine.  Paths are resolved beneath the root and through no symbolic link. */
#include "fs/virt_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

struct dirent64_rec { /* getdents64(2) */
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

static int beneath(struct virt *v, const char *path, int flags)
{
	struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
	        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	long fd = syscall(SYS_openat2, v->f->root_fd, *path ? path : ".", &how, sizeof how);
	return fd < 0 ? -errno : (int)fd;
}

/* the store's own directory is no part of the tree */
static bool hidden(struct virt *v, const char *path)
{
	if (!strcmp(path, FS_VIRT_NAME))
		return true;
	const char *store = v->f->cfg.store_dir, *dir = v->f->cfg.dir;
	if (!store || !dir)
		return false;
	size_t n = strlen(dir);
	while (n && dir[n - 1] == '/')
		n--;
	return !strncmp(store, dir, n) && store[n] == '/' && !strcmp(store + n + 1, path);
}

static int real_stat(struct virt *v, const char *path, struct stat *st)
{
	int fd = beneath(v, path, O_PATH | O_NOFOLLOW);
	if (fd < 0)
		return fd == -ELOOP || fd == -EXDEV ? -ENOENT : fd;
	int rc = fstat(fd, st) ? -errno : 0;
	close(fd); /* an O_PATH fd: nothing to lose */
	return rc;
}

int like_stat(struct virt *v, const struct vnode *n, struct stat *st)
{
	struct stat r;
	VX_TRY(real_stat(v, n->path, &r));
	if (S_ISDIR(r.st_mode) == n->is_file)
		return -ESTALE;
	virt_stat(v, n, st);
	st->st_mode = S_IFDIR | 0555;
	st->st_uid = r.st_uid;
	st->st_gid = r.st_gid;
	st->st_mtim = r.st_mtim;
	st->st_ctim = r.st_ctim;
	return 0;
}

static int may(fuse_req_t req, const char *path, int mode)
{
	struct eng_caller who;
	struct fs *f = fs_of(req);
	if (!f->e)
		return -VX_ERR_component_off;
	fs_caller(req, &who);
	return eng_access(f->e, &who, path, mode);
}

void like_lookup(fuse_req_t req, struct vnode *dir, const char *name)
{
	struct virt *v = fs_of(req)->virt;
	size_t cap;
	char *path = transport_scratch(&cap);
	struct sbuf b;
	sbuf_fixed(&b, path, cap < CONF_PATH_MAX ? cap : CONF_PATH_MAX);
	sb_str(&b, dir->path);
	if (b.n)
		sb_ch(&b, '/');
	sb_str(&b, name);
	(void)sbuf_cstr(&b); /* NUL behind it */
	struct stat st;
	int rc = b.over ? -ENAMETOOLONG : hidden(v, path) ? -ENOENT : may(req, dir->path, X_OK);
	if (rc >= 0)
		rc = real_stat(v, path, &st);
	if (rc >= 0 && !S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		rc = -ENOENT;
	struct vnode *n = NULL;
	if (rc >= 0) {
		n = vnode_get(v, &(struct vnode_want){.parent = dir,
		                         .kind = VK_like,
		                         .name = name,
		                         .path = path,
		                         .is_file = S_ISREG(st.st_mode)});
		rc = n ? 0 : -ENOMEM;
	}
	if (rc < 0)
		fs_reply_rc(req, rc);
	else
		virt_reply_entry(req, v, n);
}

int like_opendir(fuse_req_t req, struct virt *v, struct vnode *n)
{
	VX_TRY(may(req, n->path, R_OK));
	return beneath(v, n->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

static bool shown(struct virt *v, const struct vhandle *h, const struct dirent64_rec *d)
{
	if (d->type != DT_DIR && d->type != DT_REG && d->type != DT_UNKNOWN)
		return false;
	return h->node->path[0] || !hidden(v, d->name);
}

static bool shown_saved(const struct dirent64_rec *d)
{
	return d->type == DT_LNK || d->type == DT_UNKNOWN;
}

/* half of the scratch takes what the directory gives, half the reply */
void like_readdir(fuse_req_t req, struct vhandle *h, size_t size, off_t off, bool plus)
{
	struct virt *v = fs_of(req)->virt;
	size_t cap;
	char *out = transport_scratch(&cap), *in = out + cap / 2;
	size_t n = 0;
	size = size < cap / 2 ? size : cap / 2;
	int rc = 0;
	bool full = false;
	pthread_mutex_lock(&h->lock);
	if (lseek(h->dirfd, off, SEEK_SET) < 0)
		rc = -errno;
	while (rc >= 0 && !full) {
		/* a record grows by less than twice (24 → 24 + 8, or + 128 with attributes): ask for what surely fits at first */
		size_t ask = cap / 2 < 4096 ? cap / 2 : 4096;
		long got = syscall(SYS_getdents64, h->dirfd, in, ask);
		if (got <= 0) {
			rc = got < 0 ? -errno : 0;
			break;
		}
		for (long at = 0; at < got && !full;) {
			const struct dirent64_rec *d = (const void *)(in + at);
			at += d->len;
			bool saved = h->node->kind == VK_saved;
			if (saved ? !shown_saved(d) : !shown(v, h, d))
				continue;
			mode_t type = saved ? S_IFLNK : S_IFDIR;
			size_t need;
			if (plus) {
				struct fuse_entry_param e = {.attr = {.st_ino = d->ino, .st_mode = type}};
				need = fuse_add_direntry_plus(req, out + n, size - n, d->name, &e, d->off);
			} else {
				struct stat st = {.st_ino = d->ino, .st_mode = type};
				need = fuse_add_direntry(req, out + n, size - n, d->name, &st, d->off);
			}
			full = need > size - n;
			n += full ? 0 : need;
		}
	}
	pthread_mutex_unlock(&h->lock);
	if (rc < 0 && !n)
		fs_reply_rc(req, rc);
	else
		fuse_reply_buf(req, out, n);
}
