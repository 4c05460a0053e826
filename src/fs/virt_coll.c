/* virt_coll.c - collections/NAME/: info, and the whole collection as two files, vectors.npy and ids.
 *
 * The two are gathered when opened: pages of an export job are written one after the other into a file without a name beside the
 * store (or in memory when that can't be), and read from there.  A node stands for one generation of the collection, so the kernel
 * may cache and map what it has read; the next generation is another inode.  Row i of vectors.npy is line i of ids, a JSON value:
 * the path of a file or the id of a free point.  Engine threads do the writing, a page at a time; no FUSE thread waits. */
#include "fs/virt_priv.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define VIEWS_MAX  8u
#define NPY_HEAD   128u
#define PAGE_BYTES (2u << 20)

static int write_all(int fd, const void *p, size_t n, off_t at)
{
	const char *s = p;
	while (n) {
		ssize_t k = pwrite(fd, s, n, at);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EIO;
		s += k;
		n -= (size_t)k;
		at += k;
	}
	return 0;
}

/* a file without a name: where the store is, else in memory */
static int nameless(struct virt *v)
{
	const char *s = eng_cfg(v->f->e)->store_dir;
	int fd = s ? open(s, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
	           : openat(v->f->root_fd, FS_VIRT_NAME, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		fd = memfd_create("vexfs-view", MFD_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- names ---- */

static void reply_node(struct fs_ask *a, const struct vnode_want *w, off_t size)
{
	struct virt *v = a->f->virt;
	struct vnode *n = vnode_get(v, w);
	if (n) {
		pthread_mutex_lock(&v->lock);
		if (n->view_fd < 0)
			n->view_size = size;
		pthread_mutex_unlock(&v->lock);
		virt_reply_entry(a->req, v, n);
	} else {
		fs_reply_rc(a->req, -ENOMEM);
	}
}

static void lookup_answer(struct fs_ask *a)
{
	struct virt *v = a->f->virt;
	struct vnode *dir = a->u;
	const struct eng_job *j = &a->q->j;
	const char *name = a->u2;
	if (j->rc < 0 || !j->coll_n) {
		fs_reply_rc(a->req, j->rc == -VX_ERR_no_collection || j->rc >= 0 ? -ENOENT : j->rc);
	} else if (a->kind == VK_coll) {
		reply_node(a, &(struct vnode_want){.parent = dir, .kind = VK_coll, .name = name}, 0);
	} else {
		struct obj_key k = {.len = 8};
		le64_put(k.b, j->generation);
		off_t size = a->kind == VK_npy ? (off_t)(NPY_HEAD + j->colls->points * j->colls->dim * 4) : 0;
		reply_node(a, &(struct vnode_want){.parent = dir, .kind = (enum vkind)a->kind, .name = name, .key = &k},
		        size);
	}
	fs_ask_free(a);
	vnode_put(v, dir);
}

/* ask for the collection `coll`, then answer the lookup of name below dir */
static void lookup_ask(fuse_req_t req, struct vnode *dir, const char *name, enum vkind kind, const char *coll)
{
	struct virt *v = fs_of(req)->virt;
	struct fs_ask *a = fs_ask_new(req, lookup_answer);
	if (!a)
		return;
	a->kind = kind;
	a->u2 = arena_strndup(&a->q->arena, name, strlen(name));
	a->q->j.coll = arena_strndup(&a->q->arena, coll, strlen(coll));
	if (!a->u2 || !a->q->j.coll) {
		fs_ask_fail(a, -VX_ERR_arena_full);
		return;
	}
	a->u = dir;
	pthread_mutex_lock(&v->lock);
	dir->refs++;
	pthread_mutex_unlock(&v->lock);
	vq_verb(a->q, "collection_info");
	fs_ask_submit(a, NULL);
}

void colls_lookup(fuse_req_t req, struct vnode *dir, const char *name)
{
	if (vq_coll_name_ok(name, strlen(name)))
		lookup_ask(req, dir, name, VK_coll, name);
	else
		fs_reply_rc(req, -ENOENT);
}

void coll_lookup(fuse_req_t req, struct vnode *dir, const char *name)
{
	enum vkind k = !strcmp(name, "info")          ? VK_info
	               : !strcmp(name, "vectors.npy") ? VK_npy
	               : !strcmp(name, "ids")         ? VK_ids
	                                              : VK_N;
	if (k == VK_N)
		fs_reply_rc(req, -ENOENT);
	else
		lookup_ask(req, dir, name, k, dir->name);
}

/* ---- the list of collections ---- */

static void list_answer(struct fs_ask *a)
{
	struct vnode *n = a->u;
	struct virt *v = a->f->virt;
	const struct eng_job *j = &a->q->j;
	struct vhandle *h = j->rc < 0 ? NULL : vhandle_new(v, n);
	if (!h) {
		vnode_put(v, n);
		return fs_ask_fail(a, j->rc < 0 ? j->rc : -ENFILE);
	}
	size_t cap = 1, at = 0;
	for (uint32_t i = 0; i < j->coll_n; i++)
		cap += strlen(j->colls[i].name) + 1;
	h->out = mem_alloc(MEM_query, cap); /* names, each with its NUL; an empty one ends them */
	for (uint32_t i = 0; i < j->coll_n && h->out; i++) {
		size_t len = strlen(j->colls[i].name) + 1;
		memcpy(h->out + at, j->colls[i].name, len);
		at += len;
	}
	if (h->out)
		h->out[at] = 0;
	h->out_n = at;
	virt_reply_opened(a->req, v, h, a->u2);
	fs_ask_free(a);
}

void colls_opendir(fuse_req_t req, struct vnode *n, const struct fuse_file_info *fi)
{
	struct virt *v = fs_of(req)->virt;
	struct fs_ask *a = fs_ask_new(req, list_answer);
	struct fuse_file_info *keep = a ? arena_alloc(&a->q->arena, sizeof *keep) : NULL;
	if (!keep) {
		vnode_put(v, n);
		if (a)
			fs_ask_fail(a, -VX_ERR_arena_full);
		return;
	}
	*keep = *fi;
	a->u = n;
	a->u2 = keep;
	vq_verb(a->q, "collections");
	fs_ask_submit(a, NULL);
}

/* ---- gathering ---- */

struct gather { /* one open that waits for its view */
	struct vnode *n; /* with a ref */
	struct fuse_file_info fi;
	int fd;
	off_t at; /* bytes written */
	uint64_t rows, cursor, row_bytes;
	uint8_t dtype;
};

static void gather_free(struct virt *v, struct gather *g)
{
	if (g->fd >= 0)
		close(g->fd); /* nameless: it goes with this */
	vnode_put(v, g->n);
	mem_free(MEM_fs, g);
}

static int npy_head(const struct gather *g)
{
	static const struct {
		char descr[4];
		uint8_t item;
	} types[] = {{"<f4", 4}, {"<f2", 2}, {"<u2", 2}, {"|i1", 1}, {"|u1", 1}};
	char h[NPY_HEAD];
	struct sbuf b;
	memset(h, ' ', sizeof h);
	memcpy(h, "\x93NUMPY\x01\x00", 8);
	le16_put(h + 8, NPY_HEAD - 10);
	sbuf_fixed(&b, h + 10, sizeof h - 10);
	sb_str(&b, "{'descr': '");
	sb_str(&b, types[g->dtype].descr);
	sb_str(&b, "', 'fortran_order': False, 'shape': (");
	sb_u64(&b, g->rows);
	sb_str(&b, ", ");
	sb_u64(&b, g->row_bytes / types[g->dtype].item);
	sb_str(&b, "), }");
	h[10 + b.n] = ' '; /* where sbuf may have put its NUL */
	h[NPY_HEAD - 1] = '\n';
	return write_all(g->fd, h, sizeof h, 0);
}

static int page_npy(struct gather *g, const struct eng_job *j)
{
	for (uint32_t i = 0; i < j->out_point_n; i++) {
		const struct eng_point *p = j->out_points + i;
		if (!g->row_bytes)
			g->row_bytes = p->vec_bytes;
		if (p->vec_bytes != g->row_bytes)
			return -ESTALE; /* another dimension by now */
		VX_TRY(write_all(g->fd, p->vec, p->vec_bytes, g->at));
		g->at += p->vec_bytes;
		g->rows++;
	}
	return 0;
}

static int page_ids(struct gather *g, const struct eng_job *j)
{
	struct sbuf b;
	VX_TRY(sbuf_arena(&b, j->arena, 4096, 64u << 20));
	for (uint32_t i = 0; i < j->out_point_n; i++) {
		const struct eng_point *p = j->out_points + i;
		if (p->path)
			sb_json(&b, p->path, strlen(p->path));
		else
			sb_u64(&b, p->id);
		sb_ch(&b, '\n');
	}
	if (b.over)
		return -VX_ERR_arena_full;
	VX_TRY(write_all(g->fd, b.p, b.n, g->at));
	g->at += (off_t)b.n;
	return 0;
}

static void view_opened(fuse_req_t req, struct virt *v, struct vnode *n, struct fuse_file_info *fi)
{
	struct vhandle *h = vhandle_new(v, n); /* takes n's ref */
	if (!h) {
		vnode_put(v, n);
		fs_reply_rc(req, -ENFILE);
		return;
	}
	fi->fh = idobj_id(&h->id);
	fi->keep_cache = 1; /* a node's content never changes */
	if (fuse_reply_open(req, fi) == -ENOENT)
		vhandle_put(v, h);
}

static struct fs_ask *gather_page(fuse_req_t req, struct virt *v, struct gather *g);

static void gather_answer(struct fs_ask *a)
{
	struct gather *g = a->u;
	struct virt *v = a->f->virt;
	struct eng_job *j = &a->q->j;
	fuse_req_t req = a->req;
	int rc = j->rc;
	bool more = rc >= 0 && j->out_point_n;
	if (more)
		rc = g->n->kind == VK_npy ? page_npy(g, j) : page_ids(g, j);
	g->cursor = j->cursor;
	if (rc >= 0 && !more && g->n->kind == VK_npy) {
		if (!g->row_bytes)
			g->row_bytes = (uint64_t)j->ret_dim * 4;
		rc = npy_head(g);
	}
	fs_ask_free(a);
	if (rc >= 0 && more) {
		struct fs_ask *next = gather_page(req, v, g);
		if (next)
			fs_ask_next(next);
		return;
	}
	if (rc < 0) {
		fs_reply_rc(req, rc);
		gather_free(v, g);
		return;
	}
	struct fuse_file_info fi = g->fi;
	struct vnode *n = g->n;
	pthread_mutex_lock(&v->lock);
	if (n->view_fd < 0) { /* else another open was first */
		n->view_fd = g->fd;
		n->view_size = g->at;
		v->views++;
		g->fd = -1;
	}
	n->refs++; /* the handle's */
	pthread_mutex_unlock(&v->lock);
	gather_free(v, g);
	view_opened(req, v, n, &fi);
}

/* the request for the next page; NULL: none left, req has been answered. Made on FUSE threads at first, then on the thread that answered
 * the page before. */
static struct fs_ask *gather_page(fuse_req_t req, struct virt *v, struct gather *g)
{
	struct fs_ask *a = fs_ask_new(req, gather_answer);
	if (!a) {
		gather_free(v, g);
		return NULL;
	}
	struct eng_job *j = &a->q->j;
	const char *coll = g->n->parent->name;
	a->u = g;
	vq_verb(a->q, "export");
	j->coll = coll; /* g holds the node, the node its parent */
	j->cursor = g->cursor;
	uint64_t fit = g->row_bytes ? PAGE_BYTES / g->row_bytes : 256;
	j->k = (uint32_t)(fit < 1 ? 1 : fit > 4096 ? 4096 : fit);
	return a;
}

void gathered_open(fuse_req_t req, struct vnode *n, struct fuse_file_info *fi)
{
	struct virt *v = fs_of(req)->virt;
	pthread_mutex_lock(&v->lock);
	bool there = n->view_fd >= 0, room = v->views < VIEWS_MAX;
	pthread_mutex_unlock(&v->lock);
	if (there) {
		view_opened(req, v, n, fi);
		return;
	}
	struct gather *g = room ? mem_zalloc(MEM_fs, sizeof *g) : NULL;
	if (!g) {
		vnode_put(v, n);
		fs_reply_rc(req, room ? -ENOMEM : -ENFILE);
		return;
	}
	g->n = n;
	g->fi = *fi;
	g->at = n->kind == VK_npy ? NPY_HEAD : 0;
	g->fd = nameless(v);
	if (g->fd < 0) {
		fs_reply_rc(req, g->fd);
		gather_free(v, g);
		return;
	}
	struct fs_ask *a = gather_page(req, v, g);
	if (a)
		fs_ask_submit(a, NULL);
}

void gathered_read(fuse_req_t req, struct vhandle *h, size_t size, off_t off)
{
	struct virt *v = fs_of(req)->virt;
	size_t cap;
	char *p = transport_scratch(&cap);
	pthread_mutex_lock(&v->lock);
	int fd = h->node->view_fd; /* stays as long as the node, which the handle holds */
	pthread_mutex_unlock(&v->lock);
	ssize_t n = pread(fd, p, size < cap ? size : cap, off);
	if (n < 0)
		fs_reply_rc(req, -errno);
	else
		fuse_reply_buf(req, p, (size_t)n);
}

off_t gathered_size(struct virt *v, const struct vnode *n)
{
	pthread_mutex_lock(&v->lock);
	off_t size = n->view_size;
	pthread_mutex_unlock(&v->lock);
	return size;
}

/* v->lock is held */
void gathered_close(struct virt *v, struct vnode *n)
{
	if (n->view_fd < 0)
		return;
	close(n->view_fd); /* nameless: nothing to lose */
	n->view_fd = -1;
	v->views--;
}
