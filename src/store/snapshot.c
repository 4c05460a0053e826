/* snapshot.c - snapshots: whole stores of their own below snap/, each the state of one commit, made while the store goes on.
 *
 *     1. [caller]        a directory snap/.new-NAME; a read-only connection to the catalog
 *     2. [store thread]  between two groups: BEGIN on that connection (it shows this commit from now on), and each slot file and published
 *                        graph gets a second name, or a clone (FICLONE), in the new directory.  Nothing is copied yet: a moment
 *     3. [caller]        slot files that could not be cloned are copied, piece by piece; the catalog by SQLite's backup; all is synced
 *     4. [caller]        rename to snap/NAME, fsync of snap/: only now it exists
 *
 * While step 3 lasts the store is "pinned": a row freed meanwhile keeps its slot (store_thread.c: rows_release), and no page becomes a
 * hole, so every slot that the frozen catalog names still holds what it did; slots it does not name are free space, whatever was
 * copied of them.  Files dropped meanwhile live on by their second name.  Graphs are immutable: the second name is the copy.
 *
 * A drop is a rename to snap/.old-NAME and then removal.  Whatever stops either, names that begin with a dot are swept at the next
 * opening.  A snapshot is opened like any store, read-only; its catalog is no write-ahead log's, so nothing is written for it. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/sbuf.h"
#include "store/verify_int.h"

#define SNAP_DIR     "snap"
#define SNAP_META    "snapshot" /* meta row: u64 made (ns since 1970), u64 generation */
#define COPY_BYTES   (256u << 10)
#define COPY_HOLE    4096u
#define BACKUP_PAGES 256
#define NAMES_BYTES  4096u
#define SRC          ".src" /* second name of a slot file that is still to be copied */

static bool name_ok(const char *s)
{
	size_t n = strnlen(s, CONF_SNAPSHOT_NAME_MAX + 1);
	for (size_t i = 0; i < n; i++)
		if (!((s[i] | 32) >= 'a' && (s[i] | 32) <= 'z') && !(s[i] >= '0' && s[i] <= '9') && s[i] != '_' &&
		        s[i] != '-')
			return false;
	return n && n <= CONF_SNAPSHOT_NAME_MAX;
}

static const char *join(char *buf, size_t cap, const char *a, const char *b)
{
	struct sbuf s;
	sbuf_fixed(&s, buf, cap);
	sb_str(&s, a);
	sb_str(&s, b);
	return sbuf_cstr(&s); /* names are bounded: it fits */
}

static int dir_open(struct store *st, int at, const char *name)
{
	return os_openat(st->os, at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
}

/* ---- directories ------------------------------------------------------------------------------------------------------------ */

/* the names in a directory but "." and "..", one after the other */
struct names {
	struct os *os;
	int fd, rc;
	ssize_t n, at;
	uint8_t *buf; /* NAMES_BYTES */
};

static int names_open(struct names *w, struct store *st, int dir)
{
	*w = (struct names){.os = st->os, .fd = dir_open(st, dir, "."), .buf = mem_alloc(MEM_store, NAMES_BYTES)};
	if (w->fd >= 0 && w->buf)
		return 0;
	int rc = w->fd < 0 ? w->fd : -ENOMEM;
	if (w->fd >= 0)
		(void)os_close(st->os, w->fd); /* read only */
	mem_free(MEM_store, w->buf);
	return rc;
}

/* NULL: the end, or w->rc < 0. It lives until the next call */
static const char *names_next(struct names *w)
{
	for (;;) {
		if (w->at >= w->n) {
			w->n = os_getdents(w->os, w->fd, w->buf, NAMES_BYTES);
			w->at = 0;
			if (w->n <= 0) {
				w->rc = (int)w->n;
				return NULL;
			}
		}
		uint16_t reclen; /* linux_dirent64: u64 ino, i64 off, u16 reclen, u8 type, name */
		const char *name = (const char *)w->buf + w->at + 19;
		memcpy(&reclen, w->buf + w->at + 16, sizeof reclen);
		w->at += reclen;
		if (strcmp(name, ".") && strcmp(name, ".."))
			return name;
	}
}

/* @rc: of the work done meanwhile, which comes first */
static int names_close(struct names *w, int rc)
{
	(void)os_close(w->os, w->fd); /* read only */
	mem_free(MEM_store, w->buf);
	return rc < 0 || w->rc == 0 ? rc : w->rc;
}

static int remove_entry(struct store *st, int dir, const char *name)
{
	int rc = os_unlinkat(st->os, dir, name, 0);
	if (rc != -EISDIR && rc != -EPERM)
		return rc == -ENOENT ? 0 : rc;
	int sub = dir_open(st, dir, name);
	VX_TRY(sub);
	rc = coll_dir_clear(st, sub, false);
	(void)os_close(st->os, sub); /* read only */
	return rc < 0 ? rc : os_unlinkat(st->os, dir, name, AT_REMOVEDIR);
}

/* a store's directory: files, and directories of files */
static int remove_store(struct store *st, int snap, const char *name)
{
	struct names w;
	const char *sub;
	int dir = dir_open(st, snap, name);
	if (dir == -ENOENT)
		return 0;
	VX_TRY(dir);
	int rc = names_open(&w, st, dir);
	if (!rc) {
		while (!rc && (sub = names_next(&w)))
			rc = remove_entry(st, dir, sub);
		rc = names_close(&w, rc);
	}
	(void)os_close(st->os, dir); /* read only */
	return rc < 0 ? rc : os_unlinkat(st->os, snap, name, AT_REMOVEDIR);
}

void snapshots_sweep(struct store *st)
{
	struct names w;
	const char *name;
	int snap = dir_open(st, st->dirfd, SNAP_DIR);
	if (snap < 0)
		return;
	if (names_open(&w, st, snap) == 0) {
		while ((name = names_next(&w))) {
			int rc = name[0] == '.' ? remove_store(st, snap, name) : 0;
			if (rc < 0) /* free space: tried again at the next opening */
				log_rc(LOGL_warn, "store: what is left of a snapshot cannot be removed", rc);
		}
		(void)names_close(&w, 0); /* as above */
	}
	(void)os_close(st->os, snap); /* read only */
}

/* ---- step 2: on the store thread --------------------------------------------------------------------------------------------- */

struct freeze {
	int dir; /* snap/.new-NAME */
	struct catalog cat;
	struct cat_state state;
	bool pinned;
	pthread_mutex_t lock; /* guards done, rc */
	pthread_cond_t cond;
	bool done;
	int rc;
};

static bool cannot_clone(int rc)
{
	return rc == -EOPNOTSUPP || rc == -ENOTTY || rc == -EXDEV || rc == -EINVAL || rc == -ENOSYS || rc == -EPERM ||
	       rc == -EBADF;
}

static int freeze_slots(struct store *st, const struct coll *c, int to)
{
	char name[16], src[24];
	int from = atomic_load(&c->dirfd);
	for (uint32_t s = 0; s < ROWS_SEGS && rows_seg_first(s) < c->next_row; s++) {
		slots_name(name, s);
		int in = os_openat(st->os, from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
		if (in == -ENOENT)
			continue; /* lost: the snapshot misses it as the store does */
		VX_TRY(in);
		int out = os_openat(st->os, to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		int rc = out < 0 ? out : os_clone(st->os, in, out);
		(void)os_close(st->os, in); /* read only */
		if (out >= 0)
			(void)os_close(st->os, out); /* synced in step 3 */
		if (cannot_clone(rc))
			rc = os_linkat(st->os, from, name, to, join(src, sizeof src, name, SRC));
		VX_TRY(rc);
	}
	return 0;
}

static int freeze_graphs(struct store *st, struct freeze *f)
{
	sqlite3_stmt *s;
	int rc = 0, q = SQLITE_DONE;
	if (sqlite3_prepare_v2(f->cat.db, CAT_SEL_GRAPH, -1, &s, NULL) != SQLITE_OK)
		return cat_rc(&f->cat, sqlite3_extended_errcode(f->cat.db));
	while (!rc && (q = sqlite3_step(s)) == SQLITE_ROW) {
		char name[CONF_NAME_MAX + 1], dir[16];
		uint32_t cid;
		uint64_t gen;
		if (cat_row_graph(s, &cid, &gen, name) < 0)
			continue;
		const struct coll *c = coll_find(st, cid);
		coll_dir_name(dir, cid);
		int to = c ? dir_open(st, f->dir, dir) : -ENOENT;
		if (to < 0)
			continue;
		rc = os_linkat(st->os, atomic_load(&c->dirfd), name, to, name);
		(void)os_close(st->os, to); /* synced in step 3 */
		if (rc == -ENOENT ||
		        rc == -EEXIST) /* a graph is derived: without its file the snapshot is searched exactly */
			rc = 0;
	}
	if (!rc && q != SQLITE_DONE)
		rc = cat_rc(&f->cat, sqlite3_extended_errcode(f->cat.db));
	sqlite3_finalize(s);
	return rc;
}

int snapshot_freeze(struct store *st, struct store_op *op)
{
	struct freeze *f = (struct freeze *)op->u;
	VX_TRY(cat_exec(&f->cat, "BEGIN"));
	VX_TRY(cat_state_get(&f->cat, &f->state));
	if (f->state.generation != st->state.generation)
		return -VX_ERR_store_corrupt;
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++) {
		const struct coll *c = atomic_load_explicit(&st->coll[i], memory_order_relaxed);
		char name[16];
		if (!c)
			continue;
		coll_dir_name(name, c->c.cid);
		VX_TRY(os_mkdirat(st->os, f->dir, name, 0700));
		int to = dir_open(st, f->dir, name);
		VX_TRY(to);
		int rc = freeze_slots(st, c, to);
		(void)os_close(st->os, to); /* synced in step 3 */
		VX_TRY(rc);
	}
	VX_TRY(freeze_graphs(st, f));
	atomic_fetch_add(&st->pins, 1);
	f->pinned = true;
	return 0;
}

static void frozen(struct store_op *op, int rc)
{
	struct freeze *f = (struct freeze *)op->u;
	pthread_mutex_lock(&f->lock);
	f->done = true;
	f->rc = rc;
	pthread_cond_signal(&f->cond);
	pthread_mutex_unlock(&f->lock);
}

static int freeze(struct store *st, struct freeze *f)
{
	struct store_op op = {.kind = SOP_snapshot, .want_durable = true, .durable = frozen, .u = f};
	int rc = -pthread_mutex_init(&f->lock, NULL);
	if (rc)
		return rc;
	rc = -pthread_cond_init(&f->cond, NULL);
	if (!rc) {
		store_submit(st, &op);
		pthread_mutex_lock(&f->lock);
		while (!f->done)
			pthread_cond_wait(&f->cond, &f->lock);
		rc = f->rc;
		pthread_mutex_unlock(&f->lock);
		pthread_cond_destroy(&f->cond);
	}
	pthread_mutex_destroy(&f->lock);
	return rc;
}

/* ---- step 3: copying ----------------------------------------------------------------------------------------------------------- */

struct copying {
	struct store *st;
	const _Atomic int *stop;
	uint8_t *buf;
};

static bool stopped(const struct copying *k)
{
	return k->stop && atomic_load(k->stop);
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

/* holes stay holes, and free space that was zero becomes one */
static int copy_pieces(struct copying *k, int in, int out, uint64_t size)
{
	struct os *os = k->st->os;
	for (uint64_t at = 0; at < size;) {
		size_t n = size - at < COPY_BYTES ? (size_t)(size - at) : COPY_BYTES;
		if (stopped(k))
			return -VX_ERR_cancelled;
		VX_TRY(os_pread_all(os, in, k->buf, n, (off_t)at));
		for (size_t i = 0; i < n;) {
			size_t run = 0;
			while (i + run < n &&
			        !all_zero(k->buf + i + run, n - i - run < COPY_HOLE ? n - i - run : COPY_HOLE))
				run += COPY_HOLE;
			run = run < n - i ? run : n - i;
			if (run)
				VX_TRY(os_pwrite_all(os, out, k->buf + i, run, (off_t)(at + i)));
			i += run ? run : COPY_HOLE;
		}
		at += n;
	}
	return 0;
}

/* finish one file of a collection: copy what was only linked, sync what was cloned or copied */
static int finish_file(struct copying *k, int dir, const char *name)
{
	struct store *st = k->st;
	char src[32];
	struct stat sb;
	size_t n = strlen(name);
	if (n < 5 || n > 10 || strcmp(name + n - 4, ".vec"))
		return 0;
	int out = os_openat(st->os, dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0);
	VX_TRY(out);
	int in = os_openat(st->os, dir, join(src, sizeof src, name, SRC), O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0);
	int rc = in == -ENOENT ? 0 : in;
	if (in >= 0) {
		rc = os_fstat(st->os, in, &sb);
		if (!rc)
			rc = os_ftruncate(st->os, out, sb.st_size);
		if (!rc)
			rc = copy_pieces(k, in, out, (uint64_t)sb.st_size);
		(void)os_close(st->os, in); /* read only */
		if (!rc)
			rc = os_unlinkat(st->os, dir, src, 0);
	}
	if (!rc)
		rc = os_fdatasync(st->os, out);
	(void)os_close(st->os, out); /* synced, or thrown away */
	return rc;
}

static int finish_coll(struct copying *k, int dir, const char *name)
{
	struct names w;
	const char *file;
	struct store *st = k->st;
	if (name[0] != 'c' || name[1] < '0' || name[1] > '9')
		return 0;
	int sub = dir_open(st, dir, name);
	VX_TRY(sub);
	int rc = names_open(&w, st, sub);
	if (!rc) {
		while (!rc && (file = names_next(&w)))
			rc = finish_file(k, sub, file);
		rc = names_close(&w, rc);
	}
	if (!rc)
		rc = os_fsync(st->os, sub);
	(void)os_close(st->os, sub); /* read only */
	return rc;
}

static int finish(struct copying *k, int dir)
{
	struct names w;
	const char *name;
	int rc = names_open(&w, k->st, dir);
	VX_TRY(rc);
	while (!rc && (name = names_next(&w)))
		rc = finish_coll(k, dir, name);
	return names_close(&w, rc);
}

static int backup_run(struct copying *k, struct catalog *from, struct catalog *to)
{
	sqlite3_backup *b = sqlite3_backup_init(to->db, "main", from->db, "main");
	if (!b)
		return cat_rc(to, sqlite3_extended_errcode(to->db));
	int q = SQLITE_OK;
	while (q == SQLITE_OK && !stopped(k))
		q = sqlite3_backup_step(b, BACKUP_PAGES);
	int end = sqlite3_backup_finish(b);
	if (q == SQLITE_OK)
		return -VX_ERR_cancelled;
	return q == SQLITE_DONE && end == SQLITE_OK ? 0 : cat_rc(to, q == SQLITE_DONE ? end : q);
}

/* the catalog as the frozen connection sees it, as one plain file */
static int copy_catalog(struct copying *k, struct freeze *f, uint64_t made_ns)
{
	char path[64];
	uint8_t meta[16];
	struct catalog to = {0};
	VX_TRY(store_path(f->dir, "catalog.db", path, sizeof path));
	if (sqlite3_open_v2(path, &to.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK) {
		int rc = to.db ? cat_rc(&to, sqlite3_extended_errcode(to.db)) : -ENOMEM;
		cat_close(&to);
		return rc;
	}
	int rc = cat_exec(&to, "PRAGMA cache_size=-2000;PRAGMA synchronous=FULL;PRAGMA mmap_size=0");
	if (!rc)
		rc = backup_run(k, &f->cat, &to);
	if (!rc)
		rc = cat_exec(&to, "PRAGMA journal_mode=DELETE");
	le64_put(meta, made_ns);
	le64_put(meta + 8, f->state.generation);
	if (!rc)
		rc = cat_meta_put(&to, SNAP_META, meta, sizeof meta);
	cat_close(&to);
	return rc;
}

/* LOCK is there for the shared lock of those who read it */
static int make_lock(struct store *st, int dir)
{
	int fd = os_openat(st->os, dir, "LOCK", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	VX_TRY(fd);
	return os_close(st->os, fd);
}

static int make(struct store *st, struct freeze *f, const _Atomic int *stop, uint64_t made_ns)
{
	char path[64];
	struct vx_errinfo e = {0};
	struct copying k = {.st = st, .stop = stop, .buf = mem_alloc(MEM_store, COPY_BYTES)};
	int rc = k.buf ? store_path(st->dirfd, "catalog.db", path, sizeof path) : -ENOMEM;
	if (!rc)
		rc = cat_open(&f->cat, path, SQLITE_OPEN_READONLY, 1000, &e);
	if (!rc)
		rc = freeze(st, f);
	if (!rc)
		rc = finish(&k, f->dir);
	if (!rc)
		rc = copy_catalog(&k, f, made_ns);
	cat_close(&f->cat);
	if (f->pinned)
		atomic_fetch_sub(&st->pins, 1); /* rows that waited go with the next commit */
	if (!rc)
		rc = make_lock(st, f->dir);
	if (!rc)
		rc = os_fsync(st->os, f->dir);
	mem_free(MEM_store, k.buf);
	return rc;
}

/* snap/, made at the first snapshot */
static int snap_open(struct store *st, bool create)
{
	int fd = dir_open(st, st->dirfd, SNAP_DIR);
	if (fd != -ENOENT || !create)
		return fd;
	int rc = os_mkdirat(st->os, st->dirfd, SNAP_DIR, 0700);
	if (rc < 0 && rc != -EEXIST)
		return rc;
	VX_TRY(os_fsync(st->os, st->dirfd));
	return dir_open(st, st->dirfd, SNAP_DIR);
}

static int count(struct store *st, int snap)
{
	struct names w;
	const char *name;
	int n = 0;
	VX_TRY(names_open(&w, st, snap));
	while ((name = names_next(&w)))
		n += name[0] != '.';
	return names_close(&w, n);
}

static int create_in(struct store *st, int snap, const char *name, const _Atomic int *stop, struct store_snap *ret)
{
	char tmp[CONF_SNAPSHOT_NAME_MAX + 8];
	struct freeze f = {0};
	struct stat sb;
	if (os_fstatat(st->os, snap, name, &sb, AT_SYMLINK_NOFOLLOW) == 0)
		return -VX_ERR_snapshot_exists;
	int n = count(st, snap);
	VX_TRY(n);
	if (n >= (int)CONF_SNAPSHOTS_MAX)
		return -VX_ERR_snapshot_limit;
	join(tmp, sizeof tmp, ".new-", name);
	VX_TRY(remove_store(st, snap, tmp));
	VX_TRY(os_mkdirat(st->os, snap, tmp, 0700));
	f.dir = dir_open(st, snap, tmp);
	VX_TRY(f.dir);
	uint64_t made = os_real_ns(st->os);
	int rc = make(st, &f, stop, made);
	(void)os_close(st->os, f.dir); /* read only */
	if (!rc)
		rc = os_renameat(st->os, snap, tmp, snap, name);
	if (!rc)
		rc = os_fsync(st->os, snap);
	if (rc < 0) {
		(void)remove_store(st, snap, tmp); /* else swept at the next opening */
		return no_space_left(rc) ? -VX_ERR_store_full : rc;
	}
	*ret = (struct store_snap){.generation = f.state.generation,
	        .made_ns = made,
	        .objects = f.state.objects,
	        .vectors = f.state.vectors,
	        .chunks = f.state.chunks};
	memcpy(ret->name, name, strlen(name) + 1);
	return 0;
}

int store_snapshot_create(struct store *st, const char *name, const _Atomic int *stop, struct store_snap *ret)
{
	if (!name_ok(name))
		return -VX_ERR_snapshot_name;
	if (st->read_only)
		return -VX_ERR_read_only;
	int snap = snap_open(st, true);
	if (snap < 0)
		return no_space_left(snap) ? -VX_ERR_store_full : snap;
	int rc = create_in(st, snap, name, stop, ret);
	(void)os_close(st->os, snap); /* read only */
	return rc;
}

/* ---- the others ---------------------------------------------------------------------------------------------------------------- */

static void read_snap(struct store *st, int snap, struct store_snap *s)
{
	char path[64];
	uint8_t meta[16];
	uint32_t n = 0;
	struct catalog cat = {0};
	struct cat_state state;
	struct vx_errinfo e = {0};
	int dir = dir_open(st, snap, s->name);
	s->damaged = true;
	if (dir < 0)
		return;
	int rc = store_path(dir, "catalog.db", path, sizeof path);
	if (!rc)
		rc = cat_open(&cat, path, SQLITE_OPEN_READONLY, 200, &e);
	if (!rc)
		rc = cat_state_get(&cat, &state);
	if (!rc)
		rc = cat_meta_get(&cat, SNAP_META, meta, sizeof meta, &n);
	cat_close(&cat);
	(void)os_close(st->os, dir); /* read only */
	if (rc < 0 || n != sizeof meta)
		return;
	s->damaged = false;
	s->made_ns = le64_get(meta);
	s->generation = state.generation;
	s->objects = state.objects;
	s->vectors = state.vectors;
	s->chunks = state.chunks;
}

int store_snapshot_list(struct store *st, struct store_snap *ret)
{
	struct names w;
	const char *name;
	uint32_t n = 0;
	int snap = snap_open(st, false);
	if (snap == -ENOENT)
		return 0;
	VX_TRY(snap);
	int rc = names_open(&w, st, snap);
	while (!rc && n < CONF_SNAPSHOTS_MAX && (name = names_next(&w))) {
		uint32_t at = n;
		if (!name_ok(name))
			continue; /* a foreign file */
		for (n++; at && strcmp(ret[at - 1].name, name) > 0; at--)
			ret[at] = ret[at - 1];
		ret[at] = (struct store_snap){0};
		memcpy(ret[at].name, name, strlen(name) + 1);
	}
	if (!rc)
		rc = names_close(&w, 0);
	for (uint32_t i = 0; !rc && i < n; i++)
		read_snap(st, snap, &ret[i]);
	(void)os_close(st->os, snap); /* read only */
	return rc < 0 ? rc : (int)n;
}

int store_snapshot_drop(struct store *st, const char *name)
{
	char old[CONF_SNAPSHOT_NAME_MAX + 8];
	if (!name_ok(name))
		return -VX_ERR_snapshot_name;
	if (st->read_only)
		return -VX_ERR_read_only;
	int snap = snap_open(st, false);
	if (snap < 0)
		return snap == -ENOENT ? -VX_ERR_no_snapshot : snap;
	join(old, sizeof old, ".old-", name);
	int rc = remove_store(st, snap, old);
	if (!rc)
		rc = os_renameat(st->os, snap, name, snap, old);
	if (rc == -ENOENT)
		rc = -VX_ERR_no_snapshot;
	if (!rc)
		rc = os_fsync(st->os, snap);
	if (!rc)
		(void)remove_store(st, snap, old); /* it is gone; what stays is swept at the next opening */
	(void)os_close(st->os, snap); /* read only */
	return rc;
}

int store_snapshot_path(struct store *st, const char *name, char *ret, size_t cap)
{
	char rel[CONF_SNAPSHOT_NAME_MAX + 8];
	struct stat sb;
	if (!name_ok(name))
		return -VX_ERR_snapshot_name;
	join(rel, sizeof rel, SNAP_DIR "/", name);
	int rc = os_fstatat(st->os, st->dirfd, rel, &sb, AT_SYMLINK_NOFOLLOW);
	if (rc == -ENOENT || (!rc && !S_ISDIR(sb.st_mode)))
		return -VX_ERR_no_snapshot;
	return rc < 0 ? rc : store_path(st->dirfd, rel, ret, cap);
}

/* ---- verify: a store and each of its snapshots, by the same rules ----------------------------------------------------------------- */

struct verify_all {
	const struct store_cfg *cfg;
	bool repair;
	void (*say)(void *u, const char *line);
	void *u;
	struct store_verify_report *r;
	const char *name;
	int findings;
};

static void say_of(void *u, const char *line)
{
	const struct verify_all *a = u;
	char text[640];
	struct sbuf b;
	if (!a->say)
		return;
	sbuf_fixed(&b, text, sizeof text);
	sb_str(&b, "snapshot ");
	sb_str(&b, a->name);
	sb_str(&b, ": ");
	sb_str(&b, line);
	a->say(a->u, sbuf_cstr(&b)); /* a cut line is still told */
}

static int verify_snap(struct verify_all *a, struct store *st, int snap, const char *name)
{
	char path[CONF_SNAPSHOT_NAME_MAX + 40];
	struct store_verify_report r;
	if (!name_ok(name))
		return 0; /* what is half made is free space */
	VX_TRY(store_path(snap, name, path, sizeof path));
	struct store_cfg cfg = {.os = st->os, .root_fd = a->cfg->root_fd, .store_dir = path, .read_only = !a->repair};
	a->name = name;
	int rc = verify_one(&cfg, a->repair, say_of, a, &r);
	if (rc < 0) { /* told by say; the snapshot is lost, the store is not */
		r.findings++;
		rc = 1;
	}
	a->r->findings += r.findings;
	a->r->repaired += r.repaired;
	a->r->lost += r.lost;
	a->findings += rc;
	return 0;
}

int store_verify(const struct store_cfg *cfg, bool repair, void (*say)(void *u, const char *line), void *u,
        struct store_verify_report *ret)
{
	struct verify_all a = {.cfg = cfg, .repair = repair, .say = say, .u = u, .r = ret};
	int rc = verify_one(cfg, repair, say, u, ret);
	if (rc < 0)
		return rc;
	int dir = os_openat(cfg->os, cfg->store_dir ? AT_FDCWD : cfg->root_fd,
	        cfg->store_dir ? cfg->store_dir : ".vexfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	VX_TRY(dir);
	struct store *here = mem_zalloc(MEM_store, sizeof *here); /* for its os alone; too large for a stack */
	if (here)
		here->os = cfg->os;
	int snap = here ? dir_open(here, dir, SNAP_DIR) : -ENOMEM, s = 0;
	(void)os_close(cfg->os, dir); /* read only */
	if (snap >= 0) {
		struct names w;
		const char *name;
		s = names_open(&w, here, snap);
		if (!s) {
			while (!s && (name = names_next(&w)))
				s = verify_snap(&a, here, snap, name);
			s = names_close(&w, s);
		}
		(void)os_close(cfg->os, snap); /* read only */
	}
	mem_free(MEM_store, here);
	if (snap < 0 && snap != -ENOENT)
		return snap;
	return s < 0 ? s : rc + a.findings;
}
