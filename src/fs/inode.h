/* inode.h - private to fs/: real nodes, open handles, and fds that are there when needed and not otherwise.
 *
 * A node is a slot in a table that never moves; its node id is slot index | generation << 32, so an id the kernel (or a fuzzer) makes
 * up finds nothing instead of memory.  Nodes are found by (st_dev, key): the key holds the inode's generation where the file system
 * gives handles, so a reused inode number is another node.
 *
 * Nodes own no fd.  inode_fd() takes, in this order: the root's; the pinned one of an unlinked node; that of an open handle; one of the
 * bounded cache of O_PATH fds; else it opens the node by its handle (root) or by its parent and name and puts that into the cache.
 *
 * Lifetime: refs = kernel lookups + operations in hand + known children.  The last put removes the node. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include "base/objkey.h"
#include "base/perf.h"
#include "base/sbuf.h"
#include "fs/fs.h"

#define INODE_SHARDS  64u
#define MNT_NONE      255u
#define MNT_MAX       64u
#define IDTAB_PAGE    1024u
#define IDTAB_PAGES   65536u
#define FDC_SLOTS_MAX 512u
#define PROC_PATH_MAX 40u

/* ids that can be given to a stranger: slot | generation << 32 */
struct idtab {
	pthread_mutex_t lock; /* guards page[] growth and the free list */
	size_t obj_bytes;
	uint32_t made, free_head;
	enum mem_tag tag;
	_Atomic(uint8_t *) *page;
};
struct idobj { /* first member of what is kept in an idtab */
	_Atomic uint32_t gen; /* 1..0x7fffffff; even: free */
	uint32_t index, next_free;
};
int idtab_init(struct idtab *t, enum mem_tag tag, size_t obj_bytes);
void idtab_done(struct idtab *t);
struct idobj *idtab_get(struct idtab *t); /* a free slot, gen odd now; rest as it was left; NULL: full, no memory */
void idtab_put(struct idtab *t, struct idobj *o);
struct idobj *idtab_find(struct idtab *t, uint64_t id); /* NULL: no such */
struct idobj *idtab_at(struct idtab *t, uint32_t index); /* any slot made so far, in use or not */
static inline uint64_t idobj_id(const struct idobj *o)
{
	return (uint64_t)atomic_load_explicit(&o->gen, memory_order_relaxed) << 32 | o->index;
}

struct handle;
struct inode {
	struct idobj id;
	_Atomic uint64_t refs;
	uint64_t lookups; /* shard lock, as all below but the constant ones */
	uint64_t dev; /* constant, as ino, key, mode_fmt, mnt */
	uint64_t ino;
	struct obj_key key;
	uint32_t mode_fmt; /* S_IFMT bits */
	uint8_t mnt; /* index of the mount its handle opens through; MNT_NONE: by name only */
	bool hashed;
	_Atomic bool vec_dirty; /* a vector operation came in by this node since its last fsync */
	int pin_fd; /* >= 0: O_PATH of a node without a name */
	uint32_t pin_users; /* operations that borrow it now */
	bool pin_drop; /* to be closed with the last of them */
	int slot; /* in the fd cache, or -1; guarded by the cache's lock */
	struct inode *parent; /* holds a ref; NULL: root, or no name */
	char *name;
	struct inode *hnext;
	struct handle *handles;
	_Atomic uint32_t
	        passed_s; /* passed-through writers: UINT32_MAX while there are, else when the last went (watch.c) */
	_Atomic bool muted; /* its writes make no events for now (watch.c) */
	_Atomic uint32_t foreign_s; /* when somebody else last changed it, or a name in it (watch.c) */
	struct timespec seen_mtime; /* keep_cache: as of the last open */
	off_t seen_size;
	int32_t backing_id; /* transport_pt.c's lock, as the two counts: > 0 while passed-through handles are open */
	uint32_t pt_n, io_n;
	_Atomic uint32_t pt_maps; /* of the passed-through handles those that a mapping may write through */
	_Atomic uint32_t kids; /* nodes whose parent this is: about as many names as the kernel knows in it */
	_Atomic uint32_t dents; /* names in it when it was last read from end to end; 0: it never was */
	_Atomic bool priv_live; /* became suid or the like while passed through: attributes aren't cached */
};

struct handle { /* an open file or directory */
	struct idobj id;
	_Atomic uint32_t refs;
	int fd;
	struct inode *ip; /* holds a ref */
	struct handle *next, **prevp;
	bool is_dir, write, maps,
	        made; /* maps: a shared mapping may write through it. made: by this open, nobody else can have given it a file capability yet */
	enum { IO_none, IO_cached, IO_pt } io; /* how its data goes; none: not counted */
	_Atomic bool wrote;
	_Atomic bool dirty; /* wrote since its last flush */
	_Atomic bool counted; /* the engine counts it as open for writing */
	struct {
		off_t size;
		struct timespec mtime, ctime;
	} at_open; /* IO_pt: writes aren't seen; flush and release compare. After opening guarded by dlock */
	/* directories; serialised by the kernel per handle, `dlock` for the rest of the world */
	pthread_mutex_t dlock;
	uint8_t *dbuf;
	uint32_t dpos, dend, dcount; /* dcount: names read since the start, UINT32_MAX: it has been sought in */
	bool names_only; /* the kernel knows about every name in it: attributes are not repeated */
	int64_t doff;
};

struct ifd {
	int fd;
	int slot;
	struct handle *h;
	struct inode *pin;
};

#define IFD_OWN (-2) /* slot: the fd is nobody's: closed by inode_fd_put */
struct mntfd {
	uint64_t dev;
	int fd;
};
struct fdslot {
	int fd;
	uint32_t refs;
	bool used;
	struct inode *ip;
};
struct itable {
	struct fs *f;
	struct idtab tab, htab;
	struct ishard {
		pthread_mutex_t lock;
		struct inode **bucket;
		uint32_t bucket_n, n;
	} shard[INODE_SHARDS];
	struct inode *root;
	bool by_handle; /* open_by_handle_at works: we are root and the file system has handles */
	_Atomic bool closing;
	pthread_mutex_t mnt_lock;
	struct mntfd mnt[MNT_MAX];
	_Atomic uint32_t mnt_n;
	pthread_mutex_t fdc_lock; /* guards slot[], hand and every inode's slot */
	struct fdslot *slot;
	uint32_t slot_n, hand;
	_Atomic uint64_t nodes, handles_open, pins;
};

int itable_new(struct fs *f, struct itable **ret);
void itable_free(struct itable *t);

/* inode_get - the node of an id, with a ref; NULL: none such (answer ESTALE) */
struct inode *inode_get(struct fs *f, fuse_ino_t id);
void inode_put(struct fs *f, struct inode *ip); /* takes NULL */
static inline fuse_ino_t inode_id(struct fs *f, const struct inode *ip)
{
	return ip == f->inodes->root ? FUSE_ROOT_ID : idobj_id(&ip->id);
}
void inode_forget(struct fs *f, fuse_ino_t id, uint64_t n);
/* inode_enter - the node of an object just found as @name below @dir; one kernel lookup is counted when @count.
 * @fd     O_PATH fd of the object; taken: kept in the cache or closed
 * Return: 0 and a ref in *ret. */
int inode_enter(struct fs *f, struct inode *dir, const char *name, int fd, const struct stat *st, bool count,
        struct inode **ret);
/* inode_enter_key - the same for an object whose key is known and of which no fd is needed. @fd borrowed; -1: none, and then inode_mnt_known
 * must have said yes */
int inode_enter_key(struct fs *f, struct inode *dir, const char *name, int fd, const struct stat *st,
        const struct obj_key *key, bool count, struct inode **ret);
bool inode_mnt_known(struct fs *f, uint64_t dev); /* handles of this file system can be opened already */
static inline bool inode_kids_known(const struct inode *dir) /* nearly all names of it, as far as can be told */
{
	uint32_t n = atomic_load_explicit(&dir->dents, memory_order_relaxed);
	return n && atomic_load_explicit(&dir->kids, memory_order_relaxed) >= n - n / 8;
}
/* inode_find - the node of a known object, with a ref, or NULL */
struct inode *inode_find(struct fs *f, uint64_t dev, const struct obj_key *key);
void inode_rename(
        struct fs *f, struct inode *ip, struct inode *dir, const char *name); /* its name now; NULL, NULL: none */
/* inode_unnamed - (dir, name) of ip is gone. With no links left, or no other way to find it, fd is pinned. @fd O_PATH, taken. */
void inode_unnamed(struct fs *f, struct inode *ip, struct inode *dir, const char *name, int fd, uint64_t nlink);
/* inode_unpin - it has a name again (linkat of an O_TMPFILE) */
void inode_unpin(struct fs *f, struct inode *ip);
/* inode_name - copy the node's parent key and name; false: it has none */
bool inode_name(struct fs *f, struct inode *ip, struct obj_key *ret_parent, char *ret_name, size_t cap);

int inode_fd(struct fs *f, struct inode *ip, struct ifd *ret); /* an fd for *at calls and fstat: 0 or -errno */
void inode_fd_put(struct fs *f, struct ifd *r);
int inode_open(struct fs *f, struct inode *ip, int flags); /* a fresh fd, >= 0 or -errno */
/* inode_by_handle - the same through the open mount @mnt, for a node whose mnt isn't MNT_NONE */
int inode_by_handle(struct itable *t, const struct inode *ip, int mnt, int flags);
int inode_stat(struct fs *f, struct inode *ip, struct stat *ret);
uint64_t inode_show_ino(struct fs *f, const struct stat *st); /* the number shown: st_ino, mixed below submounts */
void proc_path(char p[PROC_PATH_MAX], int fd); /* "/proc/self/fd/N" */
#define PROC_PATH_NAME 14 /* where N begins */
int fd_opath(struct fs *f, int dirfd,
        const char *name); /* openat O_PATH|O_NOFOLLOW; drops cached fds and retries when out of fds */

/* fdcache.c */
int fdc_init(struct itable *t);
void fdc_done(struct itable *t);
bool fdc_get(struct itable *t, struct inode *ip, struct ifd *ret);
void fdc_put(struct itable *t, int slot);
void fdc_take(
        struct itable *t, struct inode *ip, int fd /* taken */, struct ifd *ret); /* into the cache, and an ifd of it */
void fdc_keep(struct itable *t, struct inode *ip, int fd /* taken */);
void fdc_drop(struct itable *t, struct inode *ip);
void fdc_shrink(struct itable *t, uint32_t keep); /* close what nobody uses: the process is out of fds */

struct handle *handle_new(struct fs *f, struct inode *ip /* ref taken on success */, int fd /* taken on success */);
struct handle *handle_get(struct fs *f, uint64_t fh); /* with a ref; NULL: none such (answer EBADF) */
void handle_put(struct fs *f, struct handle *h);
void handle_release(struct fs *f, uint64_t fh); /* drops the opener's ref */

/* fs.c */
struct fs_priv {
	bool root; /* we run as root: may become the caller */
	uint64_t hide_dev; /* the store's directory when it is elsewhere inside DIR: its parent and name */
	uint64_t hide_ino;
	const char *hide_name;
	int proc_fd; /* /proc/self/fd; -1: none */
	bool local; /* DIR's file system is one only this kernel changes: watch_local */
	struct watch *watch; /* NULL: changes behind the mount are not seen */
};
struct fs_creds {
	bool changed;
};
int fs_creds_begin(fuse_req_t req, struct fs_creds *c); /* be the caller for making an object; -EPERM: may not */
void fs_creds_end(struct fs_creds *c);
bool fs_hidden(struct fs *f, const struct inode *dir, const char *name); /* the store's directory */
int fs_name_ok(const char *name); /* 0 or -errno */
/* fs_local - closing the file's backing fd can't fail, and nobody changes it that this kernel doesn't know of */
static inline bool fs_local(const struct fs *f, const struct inode *ip)
{
	return f->p->local && ip->dev == f->inodes->root->dev;
}
static inline bool fs_is_virt_name(const char *n)
{
	return n[0] == '.' && !strcmp(n, FS_VIRT_NAME);
}

/* ops_*.c: the table's entries */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *v);
void op_readlink(fuse_req_t req, fuse_ino_t ino);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(
        fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent, const char *newname, unsigned flags);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);
void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void op_access(fuse_req_t req, fuse_ino_t ino, int mask);
void op_statfs(fuse_req_t req, fuse_ino_t ino);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in, struct fuse_file_info *fi_in,
        fuse_ino_t ino_out, off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags);
void op_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi, unsigned flags,
        const void *in, size_t in_n, size_t out_n);
void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct fuse_pollhandle *ph);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

/* op_enter_fd - the same for an object that is open and has no name */
int op_enter_fd(struct fs *f, int fd, struct fuse_entry_param *ret, struct inode **ret_ip);
/* xattr_list - the names of the backing file without what is not shown: bytes in p, or < 0; cap >= 64 KiB */
ssize_t xattr_list(fuse_req_t req, struct fs *f, fuse_ino_t ino, char *p, size_t cap);

/* op_entered - what the reply to a lookup of ip holds beside st, which is in *ret */
void op_entered(struct fs *f, const struct inode *dir, struct inode *ip, struct fuse_entry_param *ret);
/* op_enter - @name below @dir as it is on disk now: node, attributes, one kernel lookup. 0 or -errno. */
int op_enter(struct fs *f, struct inode *dir, int dirfd, const char *name, struct fuse_entry_param *ret,
        struct inode **ret_ip);

/* transport.c: the working memory of the thread that serves this request; big enough for any reply of data */
void *transport_scratch(size_t *ret_cap);
#define TRANSPORT_MAX_WRITE (128u << 10)
/* transport_kill_priv - the running request asks us to clear suid and sgid (a write, truncation or O_TRUNC by one without CAP_FSETID) */
bool transport_kill_priv(void);
bool transport_tmpfile(void); /* the running CREATE is for a file without a name (O_TMPFILE) */
/* fs_kill_priv - clear suid, and sgid of what its group may execute or the caller is not of; the kernel is told. @fd open, not O_PATH */
void fs_kill_priv(fuse_req_t req, fuse_ino_t ino, int fd);
bool fs_in_group(fuse_req_t req, gid_t gid); /* the caller, by his process's groups */
/* watch_timeout (watch.c) - how long the kernel may keep what it is told of an object now; dir NULL: its attributes alone */
double watch_timeout(struct fs *f, const struct inode *dir, const struct inode *ip);
/* watch_lasting - what the kernel keeps of this object it keeps until we take it back */
bool watch_lasting(struct fs *f, const struct inode *ip);
/* watch_passing - handles that pass data through are open now, or the last goes (@fd: its, still open) */
void watch_passing(struct fs *f, struct inode *ip, int fd, bool now);
double watch_neg_timeout(struct fs *f, const struct inode *dir, const char *name);
void watch_present(struct fs *f, const struct inode *dir, const char *name); /* it was found */

/* transport_pt.c */
/* pt_attach - count an open of a regular file; the backing id to reply with, 0: its data comes by requests. @st its state now */
int32_t pt_attach(struct fs *f, struct handle *h, const struct stat *st);
void pt_detach(struct fs *f, struct handle *h);
/* handle_wrote - the handle's data has changed or is about to: before and after the change, so that a flush in between misses nothing */
void handle_wrote(struct fs *f, struct handle *h);
void pt_seen(struct handle *h, const struct stat *st); /* what pt_wrote compares with from here on */
bool pt_wrote(const struct handle *h, const struct stat *st); /* passed through, and changed since its opening */
void pt_privileged(struct fs *f, struct inode *ip); /* about to become suid, sgid or capable */
int pt_reply_open(fuse_req_t req, const struct fuse_file_info *fi, int32_t backing_id);
int pt_reply_create(
        fuse_req_t req, const struct fuse_entry_param *e, const struct fuse_file_info *fi, int32_t backing_id);
/* pt_attr_timeout - how long the kernel may keep these attributes */
static inline double pt_attr_timeout(struct fs *f, struct inode *ip, const struct stat *st)
{
	if (atomic_load_explicit(&ip->pt_maps, memory_order_relaxed))
		return 0; /* a mapping changes mtime and ctime, and nobody is told */
	if (!atomic_load_explicit(&ip->priv_live, memory_order_relaxed))
		return watch_timeout(f, NULL, ip);
	if (st->st_mode & (S_ISUID | S_ISGID))
		return 0;
	atomic_store_explicit(
	        &ip->priv_live, false, memory_order_relaxed); /* cleared by a write; the kernel learns it now */
	return watch_timeout(f, NULL, ip);
}
