/* watch.c - what the kernel keeps stays true: changes made behind the mount are seen and its copies dropped.
 *
 * One fanotify group marks the file system DIR lies in (and those mounted inside it) and hears of changed names, contents and
 * attributes, by directory handle, name and object handle.  Our own changes carry our pid and are passed over.  For others':
 *   - a name: the directory's entry is invalidated, and its attributes;
 *   - content or attributes: the node's cached pages and attributes are;
 *   - the engine is told, as if the change had come by the mount.
 * An event takes time to arrive.  So a directory in which somebody else has changed something in the last SHARED_S seconds is taken for
 * shared: nothing below it is cached at all until it has been quiet for as long.  Elsewhere the kernel keeps everything for LONG_S.
 *
 * Events of the whole file system come by; those outside DIR are told apart by the node table or, for directories the kernel never asked
 * about, by their path, with the last few hundred answers remembered.  When the queue runs over, all nodes are invalidated and the
 * engine walks.  Writes through a shared mapping make no event: nobody gets to hear of those before msync or close.
 *
 * The kernel folds events of one name into one, so what an event tells of names is where to look: what is there now is noted, by handle
 * and name.  `wait` reaches as far as the system calls that ended before it: the kernel has queued their events by then, and whoever
 * waits is told when the queue has been read to its end (watch_ask, watch_told).
 *
 * Waking this thread for each event that is our own or of somewhere else would cost more than the events: after a batch with nothing but
 * such it naps.  A file that is written through a passed-through handle for longer than a nap makes no more events of writes until its last
 * handle is closed (muted): random 4 KiB writes ran at .4 of the native directory's speed with them, at .9 without.  Meanwhile the kernel
 * keeps no attributes of it, and the release compares stamps, so that who writes to it behind the mount is not missed. */
#include "fs/watch.h"
#include "base/log.h"
#include "base/thread.h"

#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#define SHARED_S    60u
#define LONG_S      3600.0
#define NAP_MS      2
#define EVENT_BYTES 16384u
#define WATCH_STACK (128u << 10) /* it answers who waited for it */
#define DRAIN_MAX   256u /* batches: more than the kernel's queue holds */
#define SEEN_N      512u
#define ABSENT_N    4096u
#define FS_MAX      MNT_MAX
#define MASK                                                                                                           \
	(FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_MODIFY | FAN_ATTRIB | FAN_CLOSE_WRITE |         \
	        FAN_ONDIR)

struct watch {
	struct fs *f;
	struct thread th;
	int fan, stop;
	int32_t pid;
	struct {
		fsid_t fsid;
		uint64_t dev;
		int fd;
	} on[FS_MAX];
	_Atomic uint32_t on_n;
	struct { /* directories not in the node table: inside DIR? */
		uint64_t hash;
		bool inside;
	} seen[SEEN_N];
	_Atomic uint32_t absent[ABSENT_N]; /* names not found last time, by hash */
	_Atomic bool quit;
	_Atomic uint64_t asked, told; /* waits that want to hear of what has happened; those that have */
	struct { /* a name that something was moved away from: noted after the name it was moved to, which comes next */
		bool there, ondir, moved;
		struct obj_key dir, key;
		uint64_t dev;
		char name[CONF_NAME_MAX + 1];
	} left;
	uint8_t buf[EVENT_BYTES] __attribute__((aligned(8)));
};

static uint32_t now_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint32_t)ts.tv_sec + 1;
}
static bool shared(const struct inode *ip)
{
	uint32_t at = atomic_load_explicit(&ip->foreign_s, memory_order_relaxed);
	return at && now_s() - at < SHARED_S;
}
/* file systems that only this kernel changes; on all others (NFS, Ceph, FUSE, ...) events don't tell of what the other side does */
static bool only_ours(const struct statfs *sf)
{
	static const uint32_t local[] = {0xef53 /* ext */, 0x58465342 /* xfs */, 0x9123683e /* btrfs */,
	        0x01021994 /* tmpfs */, 0xf2f52010 /* f2fs */, 0x2fc12fc1 /* zfs */, 0xca451a4e /* bcachefs */,
	        0x3153464a /* jfs */};
	for (size_t i = 0; i < sizeof local / sizeof *local; i++)
		if ((uint32_t)sf->f_type == local[i])
			return true;
	return false;
}
bool watch_local(int fd)
{
	struct statfs sf;
	return !fstatfs(fd, &sf) && only_ours(&sf);
}
static bool watched(const struct fs *f, uint64_t dev)
{
	const struct watch *w = f->p->watch;
	if (!w || dev == f->inodes->root->dev)
		return w != NULL;
	uint32_t n = atomic_load_explicit(&w->on_n, memory_order_acquire);
	for (uint32_t i = 0; i < n; i++)
		if (w->on[i].dev == dev)
			return true;
	return false;
}
double watch_timeout(struct fs *f, const struct inode *dir, const struct inode *ip)
{
	if (!watched(f, ip->dev) || (dir && !watched(f, dir->dev)))
		return dir ? f->cfg.entry_timeout : f->cfg.attr_timeout;
	return (dir && shared(dir)) || shared(ip) || (!dir && atomic_load(&ip->muted)) ? 0 : LONG_S;
}
bool watch_lasting(struct fs *f, const struct inode *ip)
{
	return watched(f, ip->dev) && !shared(ip);
}
#define MUTE (FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY | FAN_MARK_EVICTABLE)
void watch_passing(struct fs *f, struct inode *ip, int fd, bool now)
{
	atomic_store(&ip->passed_s, now ? UINT32_MAX : now_s());
	if (!now && f->p->watch && atomic_exchange(&ip->muted, false))
		(void)fanotify_mark(f->p->watch->fan, FAN_MARK_REMOVE | FAN_MARK_IGNORED_MASK, FAN_MODIFY, fd, NULL);
}

/* An absent name is kept from the second time it is asked for: what compilers and shells ask for over and over is, while a name that
 * somebody looks for once, and then makes behind the mount at once, is not (libfuse's test_syscalls does just that). */
static _Atomic uint32_t *absent_tag(struct watch *w, const struct inode *dir, const char *name, uint32_t *ret_tag)
{
	uint64_t h = hash64(name, strlen(name), idobj_id(&dir->id));
	*ret_tag = (uint32_t)(h >> 32) | 1;
	return &w->absent[h % ABSENT_N];
}
void watch_present(struct fs *f, const struct inode *dir, const char *name)
{
	uint32_t tag;
	if (!f->p->watch)
		return;
	_Atomic uint32_t *t = absent_tag(f->p->watch, dir, name, &tag);
	if (atomic_load_explicit(t, memory_order_relaxed) == tag)
		atomic_store_explicit(t, 0, memory_order_relaxed);
}
double watch_neg_timeout(struct fs *f, const struct inode *dir, const char *name)
{
	uint32_t tag;
	if (!watched(f, dir->dev) || shared(dir))
		return 0;
	_Atomic uint32_t *t = absent_tag(f->p->watch, dir, name, &tag);
	if (atomic_load_explicit(t, memory_order_relaxed) == tag)
		return LONG_S;
	atomic_store_explicit(t, tag, memory_order_relaxed);
	return 0;
}

/* ---- events ---------------------------------------------------------------------------------------------------------------------- */

struct fobj { /* an object an event names */
	bool there;
	uint64_t dev;
	struct obj_key key;
	const char *name; /* in the event; NULL: none */
};
static bool take_fid(struct watch *w, const struct fanotify_event_info_fid *r, bool named, struct fobj *ret)
{
	union {
		struct file_handle h;
		uint8_t head[sizeof(struct file_handle)];
	} u;
	const uint8_t *p = (const uint8_t *)r + offsetof(struct fanotify_event_info_fid, handle);
	size_t room = r->hdr.len - offsetof(struct fanotify_event_info_fid, handle);
	if (r->hdr.len < offsetof(struct fanotify_event_info_fid, handle) + sizeof u.head)
		return false;
	memcpy(u.head, p, sizeof u.head);
	if (!u.h.handle_bytes || u.h.handle_bytes > CONF_KEY_MAX || u.h.handle_type < 0 || u.h.handle_type >= 0xff ||
	        sizeof u.head + u.h.handle_bytes > room)
		return false;
	uint32_t n = atomic_load_explicit(&w->on_n, memory_order_acquire), i = 0;
	while (i < n && memcmp(&w->on[i].fsid, &r->fsid, sizeof r->fsid))
		i++;
	if (i == n)
		return false;
	*ret = (struct fobj){.there = true, .dev = w->on[i].dev};
	ret->key.len = (uint8_t)u.h.handle_bytes;
	ret->key.type = (uint8_t)u.h.handle_type;
	memcpy(ret->key.b, p + sizeof u.head, u.h.handle_bytes);
	if (named) {
		const char *s = (const char *)p + sizeof u.head + u.h.handle_bytes;
		if (memchr(s, 0, room - sizeof u.head - u.h.handle_bytes))
			ret->name = s;
	}
	return true;
}

static int open_obj(struct watch *w, const struct fobj *o, int flags)
{
	uint32_t n = atomic_load_explicit(&w->on_n, memory_order_acquire);
	for (uint32_t i = 0; i < n; i++)
		if (w->on[i].dev == o->dev)
			return objkey_open(w->on[i].fd, &o->key, flags);
	return -1;
}

/* inside - does this directory, which the node table doesn't hold, lie in DIR and not in the store? */
static bool inside(struct watch *w, const struct fobj *d)
{
	uint64_t h = hash64(d->key.b, d->key.len, d->dev) | 1;
	uint32_t at = (uint32_t)(h >> 8) % SEEN_N, other = (uint32_t)(h >> 40) % SEEN_N;
	if (w->seen[other].hash == h)
		at = other;
	if (w->seen[at].hash == h)
		return w->seen[at].inside;
	if (w->seen[at].hash) /* of the two places one that is free, else the second: two busy ones don't oust each other for ever */
		at = other;
	char p[PROC_PATH_MAX], *path = mem_alloc(MEM_fs, CONF_PATH_MAX);
	int fd = path ? open_obj(w, d, O_PATH | O_DIRECTORY) : -1;
	bool in = false;
	if (fd >= 0) {
		const char *root = w->f->cfg.dir;
		size_t rn = strlen(root);
		proc_path(p, fd);
		ssize_t n = readlink(p, path, CONF_PATH_MAX - 1);
		path[n > 0 ? n : 0] = 0;
		in = n > 0 && (!strcmp(root, "/") || (!strncmp(path, root, rn) && (path[rn] == '/' || !path[rn])));
		const char *below = path + (strcmp(root, "/") ? rn : 0);
		size_t vn = sizeof FS_VIRT_NAME - 1;
		if (in && below[0] == '/' && !strncmp(below + 1, FS_VIRT_NAME, vn) &&
		        (below[1 + vn] == '/' || !below[1 + vn]))
			in = false;
		close(fd);
	}
	mem_free(MEM_fs, path);
	if (fd >=
	        0) { /* a moved directory may change sides; the next event of it is answered from here, the walk finds the rest */
		w->seen[at].hash = h;
		w->seen[at].inside = in;
	}
	return in;
}

static void mark_shared(struct inode *ip)
{
	atomic_store_explicit(&ip->foreign_s, now_s(), memory_order_relaxed);
}

/* the kernel's copies; errors mean there were none */
static void drop_entry(struct fs *f, struct inode *dir, const char *name)
{
	mark_shared(dir);
	(void)fuse_lowlevel_notify_inval_entry(f->se, inode_id(f, dir), name, strlen(name));
	(void)fuse_lowlevel_notify_inval_inode(f->se, inode_id(f, dir), 0, 0);
}
static bool passed(const struct fs *f, struct inode *ip)
{
	uint32_t at = atomic_load_explicit(&ip->passed_s, memory_order_relaxed);
	(void)f;
	return at == UINT32_MAX || (at && now_s() - at <= 2); /* events may come a little after the release */
}
/* No more events of writes to a file that is passed through.  The order of stores is what watch_passing's counts on: whichever of the two
 * comes second sees the other's and takes the mark away. */
static void mute(struct watch *w, struct inode *ip, const struct fobj *o)
{
	char p[PROC_PATH_MAX];
	int fd = atomic_load(&ip->muted) ? -1 : open_obj(w, o, O_PATH);
	if (fd < 0)
		return;
	proc_path(p, fd);
	atomic_store(&ip->muted, true);
	bool marked = !fanotify_mark(w->fan, FAN_MARK_ADD | MUTE, FAN_MODIFY, AT_FDCWD, p);
	bool open = atomic_load(&ip->passed_s) == UINT32_MAX;
	if (!marked || !open || !atomic_load(&ip->muted)) {
		atomic_store(&ip->muted, false);
		if (marked)
			(void)fanotify_mark(w->fan, FAN_MARK_REMOVE | FAN_MARK_IGNORED_MASK, FAN_MODIFY, AT_FDCWD, p);
	}
	close(fd);
}
static void drop_inode(struct fs *f, struct inode *ip, bool foreign)
{
	if (foreign)
		mark_shared(ip);
	(void)fuse_lowlevel_notify_inval_inode(f->se, inode_id(f, ip), 0, 0);
}

/* links an object still has; 0: it is gone */
static uint64_t links_left(struct watch *w, uint64_t dev, const struct obj_key *key, struct stat *st)
{
	struct fobj o = {.dev = dev, .key = *key};
	int fd = open_obj(w, &o, O_PATH);
	uint64_t n = 0;
	if (fd < 0)
		return 0;
	if (!fstatat(fd, "", st, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		n = st->st_nlink;
	close(fd);
	return n;
}
/* what was moved away and not been heard of since */
static void left_note(struct watch *w)
{
	struct stat st;
	if (!w->left.there)
		return;
	w->left.there = false;
	uint64_t n = links_left(w, w->left.dev, &w->left.key, &st);
	if (!n && w->left.moved)
		n = 1; /* gone since, from where it was moved to: an event of its own */
	/* a directory that lives on lost a name; where it is now the walk finds, if it is here at all */
	eng_note_gone(w->f->e, &w->left.key, &w->left.dir, w->left.name, n, w->left.ondir && !n);
}
static void gone(struct watch *w, uint64_t mask, const struct fobj *d, const struct fobj *o, bool ondir)
{
	size_t n = strlen(d->name);
	if (n > CONF_NAME_MAX)
		return;
	left_note(w);
	w->left.there = true;
	w->left.ondir = ondir;
	w->left.moved = !(mask & FAN_DELETE);
	w->left.dir = d->key;
	w->left.key = o->key;
	w->left.dev = o->dev;
	memcpy(w->left.name, d->name, n + 1);
	if (!w->left.moved)
		left_note(w);
}
static void came(struct watch *w, uint64_t mask, const struct fobj *d, struct eng_file *ef, uint64_t dev)
{
	struct engine *e = w->f->e;
	struct stat st;
	bool file = S_ISREG(ef->st.st_mode);
	if (mask & FAN_MOVED_TO) {
		struct eng_rename r = {.moved = ef->key,
		        .new_parent = d->key,
		        .old_name = "",
		        .new_name = d->name,
		        .is_dir = S_ISDIR(ef->st.st_mode),
		        .moved_st = ef->st};
		if (eng_name_key(e, &d->key, d->name, &r.over) && objkey_eq(&r.over, &ef->key))
			r.over.len = 0;
		if (r.over.len)
			r.over_left = links_left(w, dev, &r.over, &st);
		eng_note_rename(e, &r);
	} else if (ef->st.st_nlink > 1 && file && eng_known(e, &ef->key)) {
		eng_note_link(e, ef, &d->key, d->name);
	} else {
		eng_note_create(e, ef, &d->key, d->name);
	}
	if (file && (mask & FAN_MOVED_TO || ef->st.st_nlink > 1) && eng_known(e, &ef->key))
		eng_note_seen(e, ef); /* ctime has moved, and nobody saw what it was: the hash decides */
}
/* What the event says was true once.  What is there now comes first; but who was moved here and on has taken the place of what the engine
 * knows by this name, unless that is there now: then it was told of by the mount, later. */
static void tell_name(struct watch *w, uint64_t mask, const struct fobj *d, const struct fobj *o, bool ondir)
{
	struct engine *e = w->f->e;
	struct eng_file ef = {.key = o->key};
	struct obj_key now, known;
	struct stat st;
	int fd = open_obj(w, d, O_PATH | O_DIRECTORY);
	bool any = fd >= 0 && objkey_at(fd, d->name, &now) >= 0, here = any && objkey_eq(&now, &o->key);
	if (fd >= 0)
		close(fd);
	uint64_t links = links_left(w, o->dev, &o->key, &ef.st);
	bool is_known = eng_name_key(e, &d->key, d->name, &known);
	bool passed_by = mask & FAN_MOVED_TO && !here && !(is_known && any && objkey_eq(&known, &now));
	if (links && ((here && mask & (FAN_CREATE | FAN_MOVED_TO)) || passed_by)) {
		came(w, mask, d, &ef, o->dev);
		left_note(w); /* where it came from, and in the order it happened */
	} else if (passed_by && is_known && !objkey_eq(&known, &o->key)) {
		/* and is gone itself: who came after it may inherit, when all has been told */
		uint64_t n = links_left(w, o->dev, &known, &st);
		eng_note_gone(e, &known, &d->key, d->name, n ? n : 1, false);
	}
	if (!here && mask & (FAN_DELETE | FAN_MOVED_FROM))
		gone(w, mask, d, o, ondir);
}
static void tell_engine(struct watch *w, uint64_t mask, const struct fobj *d, const struct fobj *o, bool ondir)
{
	struct engine *e = w->f->e;
	struct eng_file ef;
	if (!e || !o->there || !d->name)
		return;
	ef.key = o->key;
	if (mask & (FAN_CREATE | FAN_MOVED_TO | FAN_DELETE | FAN_MOVED_FROM))
		tell_name(w, mask, d, o, ondir);
	if (!(mask & (FAN_CLOSE_WRITE | FAN_ATTRIB)) || !links_left(w, o->dev, &o->key, &ef.st))
		return;
	/* Not taken for a change: the close may be that of a file passed through, which the mount has told of, and its event one with another's.
	 * What was written has another stamp. */
	if (mask & FAN_CLOSE_WRITE && !eng_known(e, &o->key))
		eng_note_create(e, &ef, &d->key, d->name);
	eng_note_seen(e, &ef);
}

/* the kernel packs events to 4 bytes, though the struct would be aligned to 8 */
typedef struct fanotify_event_metadata watch_event __attribute__((aligned(4)));

/* the root is in no table */
static struct inode *node_of(struct fs *f, const struct fobj *o)
{
	struct inode *root = f->inodes->root;
	if (!o->there)
		return NULL;
	return o->dev == root->dev && objkey_eq(&o->key, &root->key) ? inode_get(f, FUSE_ROOT_ID)
	                                                             : inode_find(f, o->dev, &o->key);
}
/* whether it concerned us: an object the kernel may know, or one in DIR */
static bool one_event(struct watch *w, const watch_event *m)
{
	struct fs *f = w->f;
	struct fobj d = {.there = false}, o = {.there = false};
	const uint8_t *p = (const uint8_t *)m + m->metadata_len, *end = (const uint8_t *)m + m->event_len;
	while (p + sizeof(struct fanotify_event_info_header) <= end) {
		const struct fanotify_event_info_fid *r = (const void *)p;
		if (!r->hdr.len || p + r->hdr.len > end)
			break;
		if (r->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID_NAME)
			take_fid(w, r, true, &d);
		else if (r->hdr.info_type == FAN_EVENT_INFO_TYPE_DFID)
			take_fid(w, r, false, &d);
		else if (r->hdr.info_type == FAN_EVENT_INFO_TYPE_FID)
			take_fid(w, r, false, &o);
		p += r->hdr.len;
	}
	bool names = m->mask & (FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO);
	struct inode *dir = node_of(f, &d);
	struct inode *ip = node_of(f, &o);
	if (names && dir && d.name && strcmp(d.name, "."))
		drop_entry(f, dir, d.name);
	if (ip) {
		/* A write passed through carries the client's pid: ours or another's, can't be told.  The copies go, but that alone
		 * doesn't make the file a shared one, and the engine hears of it at release. */
		bool ours = passed(f, ip) && !names && !(m->mask & FAN_ATTRIB);
		if (ours && m->mask & FAN_MODIFY && atomic_load(&ip->passed_s) == UINT32_MAX)
			mute(w, ip, &o);
		if (!ours || m->mask & ~(FAN_CLOSE_WRITE | FAN_ONDIR)) /* a close alone changes nothing that is kept */
			drop_inode(f, ip, !ours);
		if (ours) {
			struct eng_file ef = {.key = o.key};
			if (f->e && m->mask & FAN_CLOSE_WRITE && links_left(w, o.dev, &o.key, &ef.st))
				eng_note_seen(f->e, &ef); /* whoever it was */
			inode_put(f, dir);
			inode_put(f, ip);
			return false; /* nor is each a reason to run: what is written next is folded into an event that waits */
		}
	}
	bool told = f->e && d.there && d.name && strcmp(d.name, ".") &&
	            !(dir == f->inodes->root && fs_is_virt_name(d.name)) && (dir || inside(w, &d));
	if (told)
		tell_engine(w, m->mask, &d, &o, m->mask & FAN_ONDIR);
	inode_put(f, dir);
	inode_put(f, ip);
	return told || dir || ip;
}

static void walk_done(struct vq *q)
{
	vq_free(q);
}
static void overflow(struct watch *w)
{
	struct fs *f = w->f;
	struct itable *t = f->inodes;
	log_msg(LOGL_warn, "too many changes behind the mount at once: all is looked at anew");
	for (uint32_t i = 0; i < t->tab.made; i++) {
		struct idobj *o = idtab_at(&t->tab, i);
		struct inode *ip = o ? inode_get(f, idobj_id(o)) : NULL;
		if (ip)
			drop_inode(f, ip, true);
		inode_put(f, ip);
	}
	drop_inode(f, t->root, true);
	struct eng_caller who = {.uid = f->cfg.owner_uid, .gid = f->cfg.owner_gid};
	struct vq *q = f->e ? vq_new(f->e, &who) : NULL;
	if (!q)
		return;
	q->j.verb = EV_wait;
	q->j.rescan = true;
	q->j.fd = -1;
	q->on_done = walk_done;
	if (vq_submit(q) == ENG_DONE)
		vq_free(q);
}

/* one read. > 0: there may be more; 0: the queue is empty; < 0: no more will come */
static int batch(struct watch *w, bool *foreign)
{
	ssize_t n = read(w->fan, w->buf, sizeof w->buf);
	if (n < 0)
		return errno == EINTR ? 1 : errno == EAGAIN ? 0 : -errno;
	const watch_event *m = (const void *)w->buf;
	for (; n > 0 && FAN_EVENT_OK(m, n); m = FAN_EVENT_NEXT(m, n)) {
		if (m->vers != FANOTIFY_METADATA_VERSION)
			break;
		if (m->mask & FAN_Q_OVERFLOW)
			overflow(w);
		else if (m->pid != w->pid)
			*foreign |= one_event(w, m);
		if (m->fd >= 0)
			close(m->fd);
	}
	return 1;
}
static void watch_main(void *arg)
{
	struct watch *w = arg;
	struct pollfd p[2] = {{.fd = w->fan, .events = POLLIN}, {.fd = w->stop, .events = POLLIN}};
	uint64_t rings;
	for (;;) {
		bool foreign = false;
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents && read(w->stop, &rings, sizeof rings) < 0 && errno != EAGAIN && errno != EINTR)
			break;
		if (atomic_load(&w->quit))
			break;
		uint64_t asked = atomic_load(&w->asked);
		bool drain = asked != atomic_load(&w->told);
		int more = 1;
		for (unsigned i = 0; more > 0 && i < (drain ? DRAIN_MAX : 1); i++)
			more = batch(w, &foreign);
		if (more < 0) {
			log_rc(LOGL_error, "watching for changes behind the mount ended", more);
			break;
		}
		if (!more || drain || !foreign) {
			left_note(w);
			if (w->f->e)
				eng_note_settled(w->f->e);
		}
		if (drain) {
			atomic_store(&w->told, asked);
			eng_poke(w->f->e);
			continue;
		}
		if (!foreign)
			(void)poll(&p[1], 1, NAP_MS); /* rung or not: looked at above */
	}
	atomic_store(&w->told, UINT64_MAX); /* nobody waits for what will not come */
	if (w->f->e)
		eng_poke(w->f->e);
}
static void ring(struct watch *w)
{
	uint64_t one = 1;
	if (write(w->stop, &one, sizeof one) < 0 && errno != EAGAIN)
		log_rc(LOGL_error, "the watch thread cannot be rung", -errno); /* an eventfd's write does not fail */
}
static uint64_t watch_ask(void *u)
{
	struct watch *w = u;
	uint64_t ticket = atomic_fetch_add(&w->asked, 1) + 1;
	ring(w);
	return ticket;
}
static bool watch_told(void *u, uint64_t ticket)
{
	struct watch *w = u;
	return atomic_load(&w->told) >= ticket;
}

void watch_mount(struct watch *w, int fd, uint64_t dev)
{
	struct statfs sf;
	uint32_t n = w ? atomic_load_explicit(&w->on_n, memory_order_relaxed) : 0;
	if (!w || n == FS_MAX || fstatfs(fd, &sf) || !only_ours(&sf))
		return;
	if (fanotify_mark(w->fan, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, MASK, fd, NULL)) {
		log_rc(LOGL_warn, "changes behind a mount inside the directory are not seen", -errno);
		return;
	}
	w->on[n].fsid = sf.f_fsid;
	w->on[n].dev = dev;
	w->on[n].fd = fd;
	atomic_store_explicit(&w->on_n, n + 1, memory_order_release);
}

int watch_start(struct fs *f, struct watch **ret)
{
	struct itable *t = f->inodes;
	struct statfs sf;
	*ret = NULL;
	if (!t->by_handle || !f->se || !f->p->local || fstatfs(f->root_fd, &sf))
		return 0;
	int fan = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_DFID_NAME_TARGET, O_RDONLY);
	if (fan < 0)
		return 0; /* an older kernel, or a container's rules */
	if (fanotify_mark(fan, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, MASK, f->root_fd, NULL)) {
		close(fan);
		return 0;
	}
	struct watch *w = mem_zalloc(MEM_fs, sizeof *w);
	if (!w) {
		close(fan);
		return -ENOMEM;
	}
	w->f = f;
	w->fan = fan;
	w->pid = getpid();
	w->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->on[0].fsid = sf.f_fsid;
	w->on[0].dev = t->root->dev;
	w->on[0].fd = f->root_fd;
	atomic_store(&w->on_n, 1);
	int rc = w->stop < 0 ? -errno : thread_start(&w->th, "vexfs-watch", WATCH_STACK, watch_main, w);
	if (rc < 0) {
		if (w->stop >= 0)
			close(w->stop);
		close(fan);
		mem_free(MEM_fs, w);
		return rc;
	}
	if (f->e)
		eng_set_watch(f->e, &(struct eng_watch){.u = w, .ask = watch_ask, .told = watch_told});
	*ret = w;
	return 0;
}

void watch_stop(struct watch *w)
{
	if (!w)
		return;
	if (w->f->e)
		eng_set_watch(w->f->e, NULL);
	atomic_store(&w->quit, true);
	ring(w);
	thread_join(&w->th);
	close(w->stop);
	close(w->fan);
	mem_free(MEM_fs, w);
}
