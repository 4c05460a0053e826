/* virt_saved.c - saved/NAME: searches kept under a name, as symbolic links in the store's directory (saved/ beside the catalog).
 *
 * A saved search is nothing but its link, so it is as durable as any name of the backing file system and needs no format of its own. */
#include "fs/virt_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SAVED "saved"

/* the directory that holds them; @make: it is made when missing. fd or -errno */
static int saved_dir(struct virt *v, bool make)
{
	const char *s = v->f->e ? eng_cfg(v->f->e)->store_dir : NULL;
	int store = s ? open(s, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
	              : openat(v->f->root_fd, FS_VIRT_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (store < 0)
		return -errno;
	if (make && mkdirat(store, SAVED, 0700) && errno != EEXIST) {
		int rc = -errno;
		close(store);
		return rc;
	}
	int fd = openat(store, SAVED, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int rc = fd < 0 ? -errno : fd;
	close(store); /* opened for looking only */
	return rc;
}

static int target_of(struct virt *v, const char *name, char *p, size_t cap)
{
	int dir = saved_dir(v, false);
	if (dir < 0)
		return dir;
	ssize_t n = readlinkat(dir, name, p, cap - 1);
	int rc = n < 0 ? -errno : (int)n;
	close(dir); /* as above */
	if (rc >= 0)
		p[rc] = 0;
	return rc;
}

void saved_lookup(fuse_req_t req, struct vnode *dir, const char *name)
{
	struct virt *v = fs_of(req)->virt;
	size_t cap;
	char *p = transport_scratch(&cap);
	int rc = target_of(v, name, p, cap < CONF_PATH_MAX ? cap : CONF_PATH_MAX);
	struct vnode *n =
	        rc < 0 ? NULL : vnode_get(v, &(struct vnode_want){.parent = dir, .kind = VK_savedlink, .name = name});
	if (n)
		virt_reply_entry(req, v, n);
	else
		fs_reply_rc(req, rc == -EINVAL ? -ENOENT : rc < 0 ? rc : -ENOMEM);
}

void saved_readlink(fuse_req_t req, struct vnode *n)
{
	size_t cap;
	char *p = transport_scratch(&cap);
	int rc = target_of(fs_of(req)->virt, n->name, p, cap < CONF_PATH_MAX ? cap : CONF_PATH_MAX);
	if (rc < 0)
		fs_reply_rc(req, rc);
	else
		fuse_reply_readlink(req, p);
}

void saved_symlink(fuse_req_t req, const char *target, struct vnode *dir, const char *name)
{
	struct virt *v = fs_of(req)->virt;
	int rc = v->f->cfg.read_only ? -EROFS : strlen(name) > CONF_NAME_MAX ? -ENAMETOOLONG : saved_dir(v, true);
	if (rc >= 0) {
		int fd = rc;
		rc = symlinkat(target, fd, name) ? -errno : fsync(fd) ? -errno : 0;
		close(fd); /* synced above */
	}
	if (rc < 0)
		fs_reply_rc(req, rc);
	else
		saved_lookup(req, dir, name);
}

void saved_unlink(fuse_req_t req, const char *name)
{
	struct virt *v = fs_of(req)->virt;
	int rc = v->f->cfg.read_only ? -EROFS : saved_dir(v, false);
	if (rc >= 0) {
		int fd = rc;
		rc = unlinkat(fd, name, 0) ? -errno : fsync(fd) ? -errno : 0;
		close(fd); /* synced above */
	}
	fs_reply_rc(req, rc);
}

int saved_opendir(struct virt *v)
{
	int fd = saved_dir(v, false);
	return fd == -ENOENT ? -1 : fd; /* none saved yet: an empty table */
}
