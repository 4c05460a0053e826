/* virt_priv.h - private to the virtual tree (virt*.c).
 *
 * Nodes (struct vnode) are made by lookup and live while the kernel counts lookups of them, while children or open handles hold
 * them, and, for directories of results, for 60 s after their last result set was handed out.  They sit in an id table, so a node
 * id that was made up finds nothing.  A node is found again by (parent, name, object).
 *
 * The table is bounded.  The kernel keeps what it looked up until its memory is short, so above VNODES_TIDY it is asked to let go of
 * the names used longest ago (the front thread sends the notices): those that nobody holds are forgotten, those in use stay.  When the
 * table is full all the same, a new name takes the place of an old one: of a directory of results that the kernel has forgotten, then
 * of the name used longest ago that only the kernel counts, then of the oldest directory of results.  What the kernel still counts of
 * it answers ESTALE, on which a path is walked anew; only nodes with handles, children or requests can't be taken.
 *
 * A query runs at opendir and leaves a result set (struct vset) on its directory: the handle reads its entries, and lookups of the
 * names it handed out are answered from it, never by another query.  A set belongs to the uid it was made for.  Sets are kept by
 * age in one list, at most VSET_BYTES_MAX of them all together; the oldest go first.
 *
 * v->lock guards nodes, sets and their lists.  It is never held across I/O or a job.  Handles have their own lock. */
#pragma once
#include <pthread.h>
#include "fs/front.h"
#include "fs/inode.h"

#define VNODE_BUCKETS  4096u
#define VNODES_MAX     8192u
#define VNODES_TIDY    6144u /* above: the kernel is asked to let go … */
#define VNODES_KEEP    4096u /* … of all but these; once for each VNODES_STEP new ones */
#define VNODES_STEP    512u
#define VSET_NS        60000000000ull /* names handed out resolve this long */
#define VSET_BYTES_MAX (16u << 20)
#define VSET_RESULTS   50u /* entries of a directory of results */
#define VSET_PER_NODE  8u

enum vkind {
	VK_root, /* MNT/.vexfs, or SUBDIR/.vexfs: real is the directory */
	VK_search, /* search/ */
	VK_text, /* search/TEXT, search/TEXT/MORE: a directory of results */
	VK_like, /* like/PATH: mirrors the tree; of a file: a directory of results */
	VK_link, /* a result */
	VK_saved, /* saved/ */
	VK_savedlink,
	VK_query,
	VK_status,
	VK_health,
	VK_ctl,
	VK_events,
	VK_stats,
	VK_metrics,
	VK_colls, /* collections/ */
	VK_coll, /* collections/NAME */
	VK_info,
	VK_npy,
	VK_ids,
	VK_N
};

struct vent { /* one result: an entry of a directory */
	struct obj_key key;
	const char *name; /* 001_0.873_base */
	const char *path; /* where it was found */
};
struct vset {
	struct vset *node_next; /* newest first */
	struct vset *age_prev, *age_next;
	struct vnode *node; /* holds a ref while listed */
	uint32_t refs, n, uid;
	uint64_t expires_ns;
	size_t bytes;
	bool listed;
	struct vent ent[]; /* their strings lie behind */
};
struct vnode {
	struct idobj id; /* first */
	struct vnode *hnext;
	struct vnode *use_prev, *use_next; /* all nodes by last use */
	struct vnode *parent; /* holds a ref; NULL: a VK_root */
	fuse_ino_t real; /* VK_root: the real directory */
	struct obj_key key; /* VK_link: the object */
	char *name; /* decoded for VK_text; entry's name else */
	char *path; /* VK_like: path of the real object; VK_link: where it was found; VK_savedlink: target */
	uint64_t lookups;
	uint32_t refs, hash;
	struct vset *sets;
	uint16_t set_n;
	uint8_t kind;
	bool is_file; /* VK_like: the real object is no directory */
	bool asked; /* the kernel was asked to let go of it since its last use: it is held there */
	/* VK_npy, VK_ids: a gathered view of one generation; v->lock */
	int view_fd;
	off_t view_size;
};

enum vhstate { VH_gather, VH_busy, VH_answered };
struct vhandle {
	struct idobj id; /* first */
	pthread_mutex_t lock; /* guards all below */
	uint32_t refs; /* v->lock */
	struct vnode *node; /* holds a ref */
	struct vset *set; /* VK_text, VK_like of a file */
	int dirfd; /* VK_like of a directory */
	/* query: what was written, and the answer; status…: the answer */
	enum vhstate state;
	char *in;
	size_t in_n, in_cap;
	off_t in_base, out_base;
	char *out; /* MEM_query */
	size_t out_n;
	struct vq *again; /* parsed and interrupted: the next read submits it once more */
	/* events */
	uint64_t event_seq; /* the next one wanted */
	struct fuse_pollhandle *ph;
};
#define EVENT_LINE_MAX 1024u

struct virt {
	struct fs *f;
	pthread_mutex_t lock; /* guards nodes, sets and their lists */
	struct idtab nodes, handles;
	struct vnode *bucket[VNODE_BUCKETS];
	uint32_t node_n, made_n; /* made since the kernel was last asked to let go */
	struct vnode *use_oldest, *use_newest;
	struct vnode *tidy_at; /* the next the kernel is asked to let go of */
	pthread_mutex_t tidy; /* taken before lock; held while a notice is sent, so that the session outlives it */
	bool tidying, closing;
	struct vset *oldest, *newest;
	size_t set_bytes;
	struct timespec born; /* what every time stamp shows */
	pthread_mutex_t ev_arm; /* taken before lock: a parked read of events is listed and armed in one step */
	struct evwait *ev_waits;
	bool polls_due;
	uint32_t views; /* gathered files open (virt_coll.c) */
};

static inline fuse_ino_t vnode_ino(const struct vnode *n)
{
	return FS_VIRT_BIT | idobj_id(&n->id);
}
static inline uint64_t virt_now(const struct virt *v)
{
	struct os *os = v->f->e ? eng_cfg(v->f->e)->os : os_real();
	return os_mono_ns(os);
}

/* ---- virt_node.c ---- */
/* vnode_ref - the node of an id, with a ref; NULL: none such. */
struct vnode *vnode_ref(struct virt *v, fuse_ino_t ino);
void vnode_put(struct virt *v, struct vnode *n);
/* vnode_get - find or make. @key and @path may be NULL. With a ref; NULL: no memory, or the table is full of nodes that are held. */
struct vnode_want {
	struct vnode *parent;
	fuse_ino_t real;
	enum vkind kind;
	const char *name;
	const struct obj_key *key;
	const char *path;
	bool is_file;
};
struct vnode *vnode_get(struct virt *v, const struct vnode_want *w);
void vnode_forget(struct virt *v, fuse_ino_t ino, uint64_t n);
/* vnode_put_locked - with v->lock held: drops a ref; frees the node and, going up, what it alone held. */
void vnode_put_locked(struct virt *v, struct vnode *n);
struct vhandle *vhandle_new(struct virt *v, struct vnode *n /* its ref is taken */);
struct vhandle *vhandle_ref(struct virt *v, uint64_t fh);
void vhandle_put(struct virt *v, struct vhandle *h);
void vnodes_free_all(struct virt *v);
/* vnodes_tidy - on the front thread: the kernel is asked to let go of the names used longest ago */
void vnodes_tidy(struct virt *v);

/* ---- virt_set.c ---- */
/* vset_make - result set of an answered search, not listed; NULL: no memory */
struct vset *vset_make(const struct eng_job *j, uint32_t uid);
void vset_put(struct virt *v, struct vset *s); /* takes NULL */
/* vset_list - names of s resolve below n from now on */
void vset_list(struct virt *v, struct vnode *n, struct vset *s);
/* vset_find - the set, with a ref, and the place in it of the entry handed out to uid as name below n; NULL: none */
struct vset *vset_find(struct virt *v, struct vnode *n, uint32_t uid, const char *name, uint32_t *ret_i);
void vset_reap(struct virt *v);
/* vset_evict - with v->lock held: unlists the oldest set, @forgotten: of those on nodes the kernel does not know. false: none */
bool vset_evict(struct virt *v, bool forgotten);
/* vset_drop_all - at the end */
void vset_drop_all(struct virt *v);
/* vset_is_entry - ^[0-9]{3,}_ */
bool vset_is_entry(const char *name);

/* ---- virt.c ---- */
void virt_stat(struct virt *v, const struct vnode *n, struct stat *st);
bool virt_is_dir(const struct vnode *n);

/* ---- virt_like.c ---- */
void like_lookup(fuse_req_t req, struct vnode *dir, const char *name);
int like_stat(struct virt *v, const struct vnode *n, struct stat *st);
int like_opendir(fuse_req_t req, struct virt *v, struct vnode *n);
void like_readdir(fuse_req_t req, struct vhandle *h, size_t size, off_t off, bool plus);

/* ---- virt_file.c: query, status and other files that are answers ---- */
void vfile_open(fuse_req_t req, struct vnode *n, struct fuse_file_info *fi);
void vfile_read(fuse_req_t req, struct vhandle *h, size_t size, off_t off, int flags);
void vfile_write(fuse_req_t req, struct vhandle *h, const char *buf, size_t size, off_t off);
void vfile_done(struct vhandle *h); /* frees what a handle gathered */

/* ---- virt_saved.c ---- */
void saved_lookup(fuse_req_t req, struct vnode *dir, const char *name);
void saved_readlink(fuse_req_t req, struct vnode *n);
void saved_symlink(fuse_req_t req, const char *target, struct vnode *dir, const char *name);
void saved_unlink(fuse_req_t req, const char *name);
int saved_opendir(struct virt *v); /* fd, -1: there are none yet, or < -1 */

/* ---- virt_ctl.c ---- */
void ctl_open(struct vhandle *h);
void ctl_write(fuse_req_t req, struct vhandle *h, const char *buf, size_t size);
void ctl_read(fuse_req_t req, struct vhandle *h, size_t size);
void events_open(struct virt *v, struct vhandle *h);
void events_read(fuse_req_t req, struct vhandle *h, size_t size, int flags);
bool events_poll(struct virt *v, struct vhandle *h, struct fuse_pollhandle *ph); /* takes ph; true: there is one now */
void events_deliver(struct virt *v, char *mem, size_t cap);
void events_drop(struct virt *v);

/* ---- virt_coll.c: collections/ ---- */
void colls_lookup(fuse_req_t req, struct vnode *dir, const char *name);
void coll_lookup(fuse_req_t req, struct vnode *dir, const char *name);
void colls_opendir(fuse_req_t req, struct vnode *n, const struct fuse_file_info *fi); /* n's ref is taken */
void gathered_open(fuse_req_t req, struct vnode *n, struct fuse_file_info *fi); /* n's ref is taken */
void gathered_read(fuse_req_t req, struct vhandle *h, size_t size, off_t off);
off_t gathered_size(struct virt *v, const struct vnode *n);
void gathered_close(struct virt *v, struct vnode *n); /* the node goes */

/* ---- virt.c ---- */
/* virt_reply_opened - fi of an open or opendir with h */
void virt_reply_opened(fuse_req_t req, struct virt *v, struct vhandle *h, struct fuse_file_info *fi);
/* virt_scope - path of the real directory this node is below ("" for the root) into p; its length or < 0 */
int virt_scope(struct virt *v, const struct vnode *n, char *p, size_t cap);
/* virt_reply_entry - answer a lookup with n (its ref is dropped, the kernel's lookup counted). */
void virt_reply_entry(fuse_req_t req, struct virt *v, struct vnode *n);
