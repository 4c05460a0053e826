/* vioctl.c - the binary interface on open files and directories (include/vexfs_ioctl.h).
 *
 * FUSE's restricted ioctls carry a fixed buffer each way, its size in the command's number.  The message is copied out of the
 * request's buffer, because the job may outlive it. */
#include <string.h>

#include "fs/front.h"
#include "vexfs_ioctl.h"

static void answer(struct fs_ask *a)
{
	struct vq *q = a->q;
	if (q->j.rc < 0)
		return fs_ask_fail(a, q->j.rc);
	vq_render(q);
	if (q->j.rc < 0)
		return fs_ask_fail(a, q->j.rc);
	if (q->out.n > a->size)
		return fs_ask_fail(a, -ENOSPC);
	fuse_reply_ioctl(a->req, 0, q->out.p, q->out.n);
	fs_ask_free(a);
}

/* the message inside the buffer: its length, or < 0 */
static int message(unsigned cmd, const void *in, size_t in_n, uint32_t *ret)
{
	struct vexfs_hdr h;
	if (in_n < sizeof h || in_n > CONF_IOCTL_MAX)
		return -VX_ERR_uapi_size;
	memcpy(&h, in, sizeof h);
	if (h.magic == VEXFS_MAGIC && h.op != _IOC_NR(cmd))
		return -VX_ERR_uapi_version;
	if (h.size < sizeof h || h.size > in_n)
		return -VX_ERR_uapi_size;
	*ret = h.size;
	return 0;
}

/* An ioctl says nothing of how the file was opened, and the kernel has checked nothing: so the job gets the file by its path, and the
 * engine asks for read or write permission on it, as the caller, like for a request by path. */
static int by_path(struct fs_ask *a, fuse_ino_t ino)
{
	struct eng_job *j = &a->q->j;
	if (!j->key.len)
		return 0;
	char *p = arena_alloc(&a->q->arena, CONF_PATH_MAX + 1);
	if (!p)
		return -VX_ERR_arena_full;
	VX_TRY(fs_path(a->f, ino, p, CONF_PATH_MAX + 1));
	if (j->by_like_key) {
		j->by_like_key = false;
		j->like = p;
	} else {
		j->path = p;
	}
	j->key.len = 0;
	return 0;
}

bool vioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, const void *in, size_t in_n, size_t out_n)
{
	if (_IOC_TYPE(cmd) != VEXFS_IOC_MAGIC || _IOC_DIR(cmd) != (_IOC_READ | _IOC_WRITE))
		return false;
	uint32_t n;
	int rc = message(cmd, in, in_n, &n);
	if (rc < 0) {
		fs_reply_rc(req, rc);
		return true;
	}
	struct fs_ask *a = fs_ask_new(req, answer);
	if (!a)
		return true;
	a->size = out_n;
	struct fs_ref r;
	bool real = !fs_is_virt(ino);
	void *copy = arena_alloc(&a->q->arena, n);
	rc = copy ? 0 : -VX_ERR_arena_full;
	if (rc >= 0 && real)
		rc = fs_ask_on(a, ino, &r);
	if (rc < 0) {
		fs_ask_fail(a, rc);
		return true;
	}
	memcpy(copy, in, n);
	if (real && !S_ISREG(r.file.st.st_mode))
		a->q->j.key.len = 0; /* a directory says which mount is meant, no more */
	rc = vq_binary(a->q, copy, n);
	if (real)
		fs_ref_put(a->f, &r);
	if (rc >= 0)
		rc = by_path(a, ino);
	if (rc < 0) {
		fs_ask_fail(a, rc);
		return true;
	}
	a->q->j.fd = -1;
	fs_ask_submit(a, NULL);
	return true;
}
