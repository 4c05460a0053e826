/* virt.c - the virtual tree below MNT/.vexfs/: what is found under which name, directories of results, links; see virt_priv.h.
 *
 * Nothing here is cached by the kernel (timeouts 0), so whoever looks a name up is answered for himself.  Looking up and stat never
 * run a query: any decodable name below search/ is a directory, and the query runs when it is opened. */
#include "fs/virt_priv.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* the fixed entries of MNT/.vexfs; below a subdirectory only those with `sub` */
static const struct fixed {
	const char *name;
	uint8_t kind;
	bool sub;
} fixed[] = {
        {"search", VK_search, true},
        {"like", VK_like, false},
        {"query", VK_query, false},
        {"status", VK_status, false},
        {"health", VK_health, false},
        {"saved", VK_saved, false},
        {"collections", VK_colls, false},
        {"ctl", VK_ctl, false},
        {"events", VK_events, false},
        {"stats", VK_stats, false},
        {"metrics", VK_metrics, false},
};
#define FIXED_N (sizeof fixed / sizeof *fixed)

static struct virt *virt_of(fuse_req_t req)
{
	return fs_of(req)->virt;
}

int virt_new(struct fs *f, struct virt **ret)
{
	struct virt *v = mem_zalloc(MEM_fs, sizeof *v);
	if (!v)
		return -ENOMEM;
	v->f = f;
	int rc = -pthread_mutex_init(&v->lock, NULL);
	if (rc >= 0)
		rc = -pthread_mutex_init(&v->ev_arm, NULL);
	if (rc >= 0)
		rc = -pthread_mutex_init(&v->tidy, NULL);
	if (rc < 0) {
		mem_free(MEM_fs, v);
		return rc;
	}
	rc = idtab_init(&v->nodes, MEM_fs, sizeof(struct vnode));
	if (rc >= 0)
		rc = idtab_init(&v->handles, MEM_fs, sizeof(struct vhandle));
	uint64_t now = os_real_ns(os_real());
	v->born = (struct timespec){.tv_sec = (time_t)(now / 1000000000), .tv_nsec = (long)(now % 1000000000)};
	if (rc < 0) {
		virt_free(v);
		return rc;
	}
	*ret = v;
	return 0;
}

void virt_free(struct virt *v)
{
	if (!v)
		return;
	fs_park_done();
	events_drop(v);
	if (v->nodes.page && v->handles.page)
		vnodes_free_all(v);
	idtab_done(&v->nodes);
	idtab_done(&v->handles);
	pthread_mutex_destroy(&v->ev_arm);
	pthread_mutex_destroy(&v->tidy);
	pthread_mutex_destroy(&v->lock);
	mem_free(MEM_fs, v);
}

void virt_reply_entry(fuse_req_t req, struct virt *v, struct vnode *n)
{
	struct fuse_entry_param e = {.ino = vnode_ino(n)};
	int rc = n->kind == VK_like ? like_stat(v, n, &e.attr) : (virt_stat(v, n, &e.attr), 0);
	if (rc < 0) {
		vnode_put(v, n);
		fs_reply_rc(req, rc);
		return;
	}
	pthread_mutex_lock(&v->lock);
	n->lookups++;
	pthread_mutex_unlock(&v->lock);
	if (fuse_reply_entry(req, &e) == -ENOENT)
		vnode_forget(v, vnode_ino(n), 1); /* the asker has gone */
	vnode_put(v, n);
}

static void reply_wanted(fuse_req_t req, struct virt *v, const struct vnode_want *w)
{
	struct vnode *n = vnode_get(v, w);
	if (n)
		virt_reply_entry(req, v, n);
	else
		fs_reply_rc(req, -ENOMEM);
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* %XX before two hex digits becomes the byte; anything else stays. A decoded NUL is refused. In place. */
static int decode(char *s)
{
	char *o = s;
	while (*s) {
		int h = s[0] == '%' ? hex(s[1]) : -1, l = h >= 0 ? hex(s[2]) : -1;
		if (l >= 0) {
			if (!(h | l))
				return -EINVAL;
			*o++ = (char)(h << 4 | l);
			s += 3;
		} else {
			*o++ = *s++;
		}
	}
	*o = 0;
	return 0;
}

/* a name below search/ or search/TEXT/ */
static void text_lookup(fuse_req_t req, struct virt *v, struct vnode *dir, const char *name)
{
	if (vset_is_entry(name)) {
		uint32_t i;
		struct vset *s = dir->kind == VK_text ? vset_find(v, dir, fuse_req_ctx(req)->uid, name, &i) : NULL;
		if (!s) {
			fs_reply_rc(req, -ENOENT);
			return;
		}
		reply_wanted(req, v,
		        &(struct vnode_want){.parent = dir,
		                .kind = VK_link,
		                .name = name,
		                .key = &s->ent[i].key,
		                .path = s->ent[i].path});
		vset_put(v, s);
		return;
	}
	if (name[0] == '.') { /* tools probe for .git, .Trash …: a text may begin with %2E */
		fs_reply_rc(req, -ENOENT);
		return;
	}
	reply_wanted(req, v, &(struct vnode_want){.parent = dir, .kind = VK_text, .name = name});
}

static void link_lookup(fuse_req_t req, struct virt *v, struct vnode *dir, const char *name)
{
	uint32_t i;
	struct vset *s = vset_find(v, dir, fuse_req_ctx(req)->uid, name, &i);
	if (!s) {
		fs_reply_rc(req, -ENOENT);
		return;
	}
	reply_wanted(req, v,
	        &(struct vnode_want){
	                .parent = dir, .kind = VK_link, .name = name, .key = &s->ent[i].key, .path = s->ent[i].path});
	vset_put(v, s);
}

static void root_lookup(fuse_req_t req, struct virt *v, struct vnode *dir, const char *name)
{
	for (size_t i = 0; i < FIXED_N; i++)
		if (!strcmp(name, fixed[i].name) && (fixed[i].sub || dir->real == FUSE_ROOT_ID)) {
			reply_wanted(req, v,
			        &(struct vnode_want){.parent = dir,
			                .kind = (enum vkind)fixed[i].kind,
			                .name = name,
			                .path = fixed[i].kind == VK_like ? "" : NULL});
			return;
		}
	fs_reply_rc(req, -ENOENT);
}

void virt_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct virt *v = virt_of(req);
	if (!fs_is_virt(parent)) {
		reply_wanted(req, v, &(struct vnode_want){.real = parent, .kind = VK_root, .name = FS_VIRT_NAME});
		return;
	}
	struct vnode *dir = vnode_ref(v, parent);
	if (!dir) {
		fs_reply_rc(req, -ESTALE);
		return;
	}
	if (strlen(name) > CONF_NAME_MAX)
		fs_reply_rc(req, -ENAMETOOLONG);
	else if (dir->kind == VK_root)
		root_lookup(req, v, dir, name);
	else if (dir->kind == VK_search || dir->kind == VK_text)
		text_lookup(req, v, dir, name);
	else if (dir->kind == VK_like && dir->is_file)
		link_lookup(req, v, dir, name);
	else if (dir->kind == VK_like)
		like_lookup(req, dir, name);
	else if (dir->kind == VK_saved)
		saved_lookup(req, dir, name);
	else if (dir->kind == VK_colls)
		colls_lookup(req, dir, name);
	else if (dir->kind == VK_coll)
		coll_lookup(req, dir, name);
	else
		fs_reply_rc(req, virt_is_dir(dir) ? -ENOENT : -ENOTDIR);
	vnode_put(v, dir);
}

void virt_forget(struct fs *f, fuse_ino_t ino, uint64_t n)
{
	vnode_forget(f->virt, ino, n);
}

/* ---- attributes ---- */

bool virt_is_dir(const struct vnode *n)
{
	return n->kind == VK_root || n->kind == VK_search || n->kind == VK_text || n->kind == VK_like ||
	       n->kind == VK_saved || n->kind == VK_colls || n->kind == VK_coll;
}

static mode_t mode_of(enum vkind k)
{
	switch (k) {
	case VK_link:
	case VK_savedlink:
		return S_IFLNK | 0777;
	case VK_query:
		return S_IFREG | 0666;
	case VK_status:
	case VK_health:
	case VK_info:
		return S_IFREG | 0444;
	case VK_stats:
	case VK_metrics:
	case VK_events:
	case VK_npy:
	case VK_ids:
		return S_IFREG | 0400;
	case VK_ctl:
	case VK_root:
	case VK_search:
	case VK_text:
	case VK_like:
	case VK_saved:
	case VK_colls:
	case VK_coll:
	case VK_N:
		break;
	}
	return S_IFREG | 0600;
}

void virt_stat(struct virt *v, const struct vnode *n, struct stat *st)
{
	mode_t m =
	        virt_is_dir(n) ? (n->kind == VK_saved ? S_IFDIR | 0755 : S_IFDIR | 0555) : mode_of((enum vkind)n->kind);
	*st = (struct stat){
	        .st_ino = vnode_ino(n),
	        .st_mode = m,
	        .st_nlink = virt_is_dir(n) ? 2 : 1,
	        .st_uid = v->f->cfg.owner_uid,
	        .st_gid = v->f->cfg.owner_gid,
	        .st_size = n->kind == VK_npy || n->kind == VK_ids ? gathered_size(v, n) : 0,
	        .st_blksize = 4096,
	        .st_atim = v->born,
	        .st_mtim = v->born,
	        .st_ctim = v->born,
	};
}

static void reply_attr(fuse_req_t req, fuse_ino_t ino)
{
	struct virt *v = virt_of(req);
	struct vnode *n = vnode_ref(v, ino);
	struct stat st;
	int rc = n ? 0 : -ESTALE;
	if (rc >= 0)
		rc = n->kind == VK_like ? like_stat(v, n, &st) : (virt_stat(v, n, &st), 0);
	if (rc >= 0)
		fuse_reply_attr(req, &st, 0);
	else
		fs_reply_rc(req, rc);
	if (n)
		vnode_put(v, n);
}

void virt_getattr(fuse_req_t req, fuse_ino_t ino)
{
	reply_attr(req, ino);
}

void virt_setattr(fuse_req_t req, fuse_ino_t ino, const struct stat *attr, int to_set)
{
	const int ignored = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
	                    FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_CTIME | FUSE_SET_ATTR_SIZE;
	if (to_set & ~ignored)
		fs_reply_rc(req, -EPERM);
	else if (to_set & FUSE_SET_ATTR_SIZE && attr->st_size)
		fs_reply_rc(req, -EINVAL);
	else
		reply_attr(req, ino);
}

void virt_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	(void)ino, (void)mask; /* default_permissions: the kernel judges by the attributes */
	fs_reply_rc(req, 0);
}

void virt_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs s;
	(void)ino; /* one file system */
	if (fstatvfs(fs_of(req)->root_fd, &s))
		fs_reply_rc(req, -errno);
	else
		fuse_reply_statfs(req, &s);
}

void virt_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	(void)ino, (void)name, (void)size; /* virtual nodes have none */
	fs_reply_rc(req, -ENODATA);
}

void virt_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	(void)ino; /* none to list */
	if (size)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_xattr(req, 0);
}

void virt_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct virt *v = virt_of(req);
	struct vnode *dir = vnode_ref(v, parent);
	if (dir && dir->kind == VK_saved)
		saved_symlink(req, target, dir, name);
	else
		fs_reply_rc(req, dir ? -EPERM : -ESTALE);
	if (dir)
		vnode_put(v, dir);
}

void virt_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct virt *v = virt_of(req);
	struct vnode *dir = vnode_ref(v, parent);
	if (dir && dir->kind == VK_saved)
		saved_unlink(req, name);
	else
		fs_reply_rc(req, dir ? -EPERM : -ESTALE);
	if (dir)
		vnode_put(v, dir);
}

/* ---- links ---- */

static const struct vnode *root_of(const struct vnode *n)
{
	while (n->parent)
		n = n->parent;
	return n;
}

int virt_scope(struct virt *v, const struct vnode *n, char *p, size_t cap)
{
	const struct vnode *r = root_of(n);
	if (r->real == FUSE_ROOT_ID) {
		p[0] = 0;
		return 0;
	}
	return fs_path(v->f, r->real, p, cap);
}

static unsigned depth_of(const char *path)
{
	unsigned d = *path != 0;
	for (; *path; path++)
		d += *path == '/';
	return d;
}

/* "../../../a/b.md": from the directory that holds n up to the mount's root, then down */
static int link_target(struct virt *v, struct fs_ask *a, const struct vnode *n, const char *path, struct sbuf *b)
{
	char *scope = arena_alloc(&a->q->arena, CONF_PATH_MAX + 1);
	if (!scope)
		return -VX_ERR_arena_full;
	VX_TRY(virt_scope(v, n, scope, CONF_PATH_MAX + 1));
	VX_TRY(sbuf_arena(b, &a->q->arena, 256, 3 * CONF_PATH_MAX));
	unsigned up = depth_of(scope);
	for (const struct vnode *d = n->parent; d; d = d->parent)
		up++;
	for (; up; up--)
		sb_str(b, "../");
	sb_str(b, path);
	return b->over || b->n >= CONF_PATH_MAX ? -ENAMETOOLONG : 0;
}

static void readlink_answer(struct fs_ask *a)
{
	struct vnode *n = a->u;
	struct virt *v = a->f->virt;
	struct eng_job *j = &a->q->j;
	struct sbuf b;
	int rc = j->rc;
	if (rc >= 0 && !j->out_text)
		rc = -ENOENT;
	if (rc == -VX_ERR_no_object)
		rc = -ENOENT;
	if (rc >= 0)
		rc = link_target(v, a, n, j->out_text, &b);
	vnode_put(v, n);
	if (rc < 0)
		return fs_ask_fail(a, rc);
	fuse_reply_readlink(a->req, sbuf_cstr(&b));
	fs_ask_free(a);
}

void virt_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct virt *v = virt_of(req);
	struct vnode *n = vnode_ref(v, ino);
	if (n && n->kind == VK_savedlink) {
		saved_readlink(req, n);
		vnode_put(v, n);
		return;
	}
	if (!n || n->kind != VK_link) {
		fs_reply_rc(req, n ? -EINVAL : -ESTALE);
		if (n)
			vnode_put(v, n);
		return;
	}
	struct fs_ask *a = fs_ask_new(req, readlink_answer);
	if (!a) {
		vnode_put(v, n);
		return;
	}
	a->u = n; /* with its ref */
	a->q->j.verb = EV_locate;
	a->q->j.key = n->key;
	fs_ask_submit(a, NULL);
}

/* ---- directories ---- */

/* the words of a VK_text node: its own and those of the ones it narrows, oldest first */
static int text_of(struct fs_ask *a, const struct vnode *n, struct sbuf *b)
{
	VX_TRY(sbuf_arena(b, &a->q->arena, 256, CONF_QUERY_TEXT_MAX + 512));
	const struct vnode *top = n;
	unsigned levels = 1;
	for (; top->parent->kind == VK_text; top = top->parent)
		levels++;
	if (levels > CONF_QUERY_TEXT_MAX / 2)
		return -VX_ERR_query_too_long;
	/* from the top down: level i is levels - 1 - i parents above n */
	for (unsigned i = 0; i < levels; i++) {
		const struct vnode *x = n;
		for (unsigned up = levels - 1 - i; up; up--)
			x = x->parent;
		char *word = arena_strndup(&a->q->arena, x->name, strlen(x->name));
		if (!word)
			return -VX_ERR_arena_full;
		VX_TRY(decode(word));
		if (i)
			sb_ch(b, 0x1f); /* store/fts.c: each level must have a word in it */
		sb_str(b, word);
	}
	return b->over || b->n > CONF_QUERY_TEXT_MAX ? -VX_ERR_query_too_long : 0;
}

void virt_reply_opened(fuse_req_t req, struct virt *v, struct vhandle *h, struct fuse_file_info *fi)
{
	fi->fh = idobj_id(&h->id);
	fi->cache_readdir = 0;
	fi->keep_cache = 0;
	if (fuse_reply_open(req, fi) == -ENOENT)
		vhandle_put(v, h); /* the asker has gone: no release will come */
}

static void results_answer(struct fs_ask *a)
{
	struct vnode *n = a->u;
	struct virt *v = a->f->virt;
	struct eng_job *j = &a->q->j;
	struct vset *s = j->rc >= 0 ? vset_make(j, j->who.uid) : NULL;
	struct vhandle *h = s ? vhandle_new(v, n) : NULL;
	if (!h) {
		vset_put(v, s);
		vnode_put(v, n);
		return fs_ask_fail(a, j->rc < 0 ? j->rc : -ENOMEM);
	}
	vset_list(v, n, s);
	h->set = s;
	virt_reply_opened(a->req, v, h, a->u2);
	fs_ask_free(a);
}

/* run the search of a directory of results; n's ref is taken */
static void results_open(fuse_req_t req, struct virt *v, struct vnode *n, const struct fuse_file_info *fi)
{
	struct fs_ask *a = fs_ask_new(req, results_answer);
	if (!a) {
		vnode_put(v, n);
		return;
	}
	vq_verb(a->q, "search");
	struct eng_job *j = &a->q->j;
	struct fuse_file_info *keep = arena_alloc(&a->q->arena, sizeof *keep);
	char *scope = arena_alloc(&a->q->arena, CONF_PATH_MAX + 1);
	int rc = keep && scope ? 0 : -VX_ERR_arena_full;
	a->u = n;
	a->u2 = keep;
	j->k = VSET_RESULTS;
	if (rc >= 0 && n->kind == VK_text) {
		struct sbuf b;
		rc = text_of(a, n, &b);
		j->text = b.p;
		j->text_n = (uint32_t)b.n;
	} else if (rc >= 0) {
		j->like = n->path; /* n lives until the answer */
	}
	if (rc >= 0)
		rc = virt_scope(v, n, scope, CONF_PATH_MAX + 1);
	if (rc < 0) {
		vnode_put(v, n);
		fs_ask_fail(a, rc);
		return;
	}
	*keep = *fi;
	j->scope = *scope ? scope : NULL;
	fs_ask_submit(a, NULL);
}

void virt_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct virt *v = virt_of(req);
	struct vnode *n = vnode_ref(v, ino);
	if (!n || !virt_is_dir(n)) {
		if (n)
			vnode_put(v, n);
		fs_reply_rc(req, n ? -ENOTDIR : -ESTALE);
		return;
	}
	if (n->kind == VK_text || (n->kind == VK_like && n->is_file)) {
		results_open(req, v, n, fi);
		return;
	}
	if (n->kind == VK_colls) {
		colls_opendir(req, n, fi);
		return;
	}
	int dirfd = n->kind == VK_like ? like_opendir(req, v, n) : n->kind == VK_saved ? saved_opendir(v) : -1;
	bool bad = dirfd < -1 || (dirfd < 0 && n->kind == VK_like);
	struct vhandle *h = bad ? NULL : vhandle_new(v, n);
	if (!h) {
		if (dirfd >= 0)
			close(dirfd);
		fs_reply_rc(req, bad ? dirfd : -ENFILE);
		vnode_put(v, n);
		return;
	}
	h->dirfd = dirfd;
	virt_reply_opened(req, v, h, fi);
}

/* one listing in the making */
struct listing {
	fuse_req_t req;
	char *buf;
	size_t cap, n;
	bool plus;
};

static bool list_add(struct listing *l, const char *name, uint64_t ino, mode_t type, off_t next)
{
	size_t room = l->cap - l->n, need;
	if (l->plus) {
		struct fuse_entry_param e = {
		        .attr = {.st_ino = ino, .st_mode = type}}; /* ino 0: a name without a node */
		need = fuse_add_direntry_plus(l->req, l->buf + l->n, room, name, &e, next);
	} else {
		struct stat st = {.st_ino = ino, .st_mode = type};
		need = fuse_add_direntry(l->req, l->buf + l->n, room, name, &st, next);
	}
	if (need > room)
		return false;
	l->n += need;
	return true;
}

/* entry i of a directory that is a table: its name and type; NULL: the end */
static const char *table_entry(const struct vhandle *h, off_t i, mode_t *ret_type)
{
	const struct vnode *n = h->node;
	if (i < 2) {
		*ret_type = S_IFDIR;
		return i ? ".." : ".";
	}
	size_t k = (size_t)i - 2;
	if (h->set) {
		*ret_type = S_IFLNK;
		return k < h->set->n ? h->set->ent[k].name : NULL;
	}
	if (n->kind == VK_colls) {
		const char *p = h->out, *end = p ? p + h->out_n : p;
		*ret_type = S_IFDIR;
		for (; p < end && k; k--)
			p += strlen(p) + 1;
		return p < end ? p : NULL;
	}
	if (n->kind == VK_coll) {
		static const char *const names[] = {"info", "vectors.npy", "ids"};
		*ret_type = S_IFREG;
		return k < 3 ? names[k] : NULL;
	}
	if (n->kind != VK_root)
		return NULL;
	size_t seen = 0;
	for (size_t f = 0; f < FIXED_N; f++)
		if (fixed[f].sub || n->real == FUSE_ROOT_ID) {
			if (seen++ == k) {
				uint8_t kind = fixed[f].kind;
				bool dir = kind == VK_search || kind == VK_like || kind == VK_saved || kind == VK_colls;
				*ret_type = dir ? S_IFDIR : S_IFREG;
				return fixed[f].name;
			}
		}
	return NULL;
}

void virt_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi, bool plus)
{
	struct virt *v = virt_of(req);
	(void)ino; /* the handle knows its node */
	struct vhandle *h = vhandle_ref(v, fi->fh);
	if (!h || off < 0) {
		vhandle_put(v, h);
		fs_reply_rc(req, h ? -EINVAL : -EBADF);
		return;
	}
	size_t cap;
	struct listing l = {.req = req, .buf = transport_scratch(&cap), .plus = plus};
	l.cap = size < cap ? size : cap;
	if (h->dirfd >= 0) {
		like_readdir(req, h, l.cap, off, plus);
	} else {
		mode_t type = 0;
		for (const char *name; (name = table_entry(h, off, &type)); off++)
			if (!list_add(&l, name, FS_VIRT_BIT | (uint64_t)(off + 1), type, off + 1))
				break;
		fuse_reply_buf(req, l.buf, l.n);
	}
	vhandle_put(v, h);
}

void virt_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	virt_release(req, ino, fi);
}

/* ---- files ---- */

void virt_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct virt *v = virt_of(req);
	struct vnode *n = vnode_ref(v, ino);
	if (!n) {
		fs_reply_rc(req, -ESTALE);
		return;
	}
	vset_reap(v);
	vfile_open(req, n, fi);
}

void virt_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct virt *v = virt_of(req);
	(void)ino; /* the handle knows its node */
	struct vhandle *h = vhandle_ref(v, fi->fh);
	if (!h)
		fs_reply_rc(req, -EBADF);
	else
		vfile_read(req, h, size, off, fi->flags);
	vhandle_put(v, h);
}

void virt_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct virt *v = virt_of(req);
	(void)ino; /* the handle knows its node */
	struct vhandle *h = vhandle_ref(v, fi->fh);
	if (!h)
		fs_reply_rc(req, -EBADF);
	else
		vfile_write(req, h, buf, size, off);
	vhandle_put(v, h);
}

void virt_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct virt *v = virt_of(req);
	(void)ino; /* the handle knows its node */
	struct vhandle *h = vhandle_ref(v, fi->fh);
	fs_reply_rc(req, h ? 0 : -EBADF);
	vhandle_put(v, h);
	vhandle_put(v, h); /* the opener's */
}

void virt_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph)
{
	struct virt *v = virt_of(req);
	(void)ino; /* the handle knows its node */
	struct vhandle *h = vhandle_ref(v, fi->fh);
	unsigned now = POLLIN | POLLOUT; /* all but events answer at once, or by parking the read */
	if (h && h->node->kind == VK_events)
		now = events_poll(v, h, ph) ? POLLIN : 0;
	else if (ph)
		fuse_pollhandle_destroy(ph);
	if (h)
		fuse_reply_poll(req, now);
	else
		fs_reply_rc(req, -EBADF);
	vhandle_put(v, h);
}
