/* store.c - opening and closing a store, its table of collections, its lock.
 *
 * Order at opening: directory (0700), LOCK, .gitignore, catalog (format first), state, each collection's directory and maps, reader
 * connections, threads.  Every step is undone by store_close, which takes half-built stores.  LOCK is held by flock, so it goes with
 * its process however that ends; the pid written into it is for people alone. */
#include "store/store.h"
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "base/guard.h"
#include "base/log.h"
#include "base/sbuf.h"
#include "store/store_int.h"
#include "store/verify_int.h"

static int fail(struct vx_errinfo *e, int code, const char *text, const char *more)
{
	struct sbuf b;
	if (e) {
		e->code = code;
		e->position = -1;
		sbuf_fixed(&b, e->detail, sizeof e->detail);
		sb_str(&b, text);
		sb_str(&b, more);
		(void)sbuf_cstr(&b); /* a cut sentence is still a sentence */
	}
	return code;
}

/* ---- collections ------------------------------------------------------------------------------------------------------------ */

struct coll *coll_find(const struct store *st, uint32_t cid)
{
	/* cids grow by one, so the slot cid % MAX is nearly always the right one */
	for (uint32_t i = 0; cid && i < CONF_COLLECTIONS_MAX; i++) {
		struct coll *c =
		        atomic_load_explicit(&st->coll[(cid + i) % CONF_COLLECTIONS_MAX], memory_order_acquire);
		if (c && c->c.cid == cid)
			return c;
	}
	return NULL;
}

static void coll_free(struct store *st, struct coll *c)
{
	if (!c)
		return;
	slots_done(st, c);
	if (atomic_load(&c->dirfd) >= 0)
		(void)os_close(st->os, atomic_load(&c->dirfd)); /* a directory: nothing to lose */
	mem_free(MEM_store, c);
}

int coll_add(struct store *st, const struct store_coll *k, struct coll **ret)
{
	char dir[16];
	struct coll *c = mem_zalloc(MEM_store, sizeof *c);
	if (!c)
		return -ENOMEM;
	c->c = *k;
	c->tab_generation = UINT64_MAX;
	atomic_store(&c->dirfd, -1);
	for (uint32_t s = 0; s < ROWS_SEGS; s++)
		c->seg[s].fd = -1;
	coll_dir_name(dir, k->cid);
	int rc = slots_bind(st, c);
	if (!rc)
		rc = os_openat(st->os, st->dirfd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	if (rc == -ENOENT && !st->read_only) { /* first opening, or lost: its slot files are found missing later */
		rc = os_mkdirat(st->os, st->dirfd, dir, 0700);
		st->dir_dirty = true;
		if (!rc)
			rc = os_openat(st->os, st->dirfd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	}
	if (rc < 0) {
		coll_free(st, c);
		return rc;
	}
	atomic_store(&c->dirfd, rc);
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++) {
		uint32_t at = (k->cid + i) % CONF_COLLECTIONS_MAX;
		if (atomic_load_explicit(&st->coll[at], memory_order_relaxed))
			continue;
		atomic_store_explicit(&st->coll[at], c, memory_order_release);
		st->coll_n++;
		*ret = c;
		return 0;
	}
	coll_free(st, c);
	return -VX_ERR_collection_limit;
}

void coll_remove(struct store *st, struct coll *c)
{
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++)
		if (atomic_load_explicit(&st->coll[i], memory_order_relaxed) == c)
			atomic_store_explicit(&st->coll[i], NULL, memory_order_release);
	st->coll_n--;
	slots_retire(st, c);
	(void)retire(st, NULL, 0, NULL, c); /* no memory for the note: it stays, which is safe */
}

void colls_forget(struct store *st)
{
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++) {
		coll_free(st, atomic_load(&st->coll[i]));
		atomic_store(&st->coll[i], NULL);
	}
	st->coll_n = 0;
}

int retire(struct store *st, const void *map, size_t n, struct vec_rows *rows, struct coll *c)
{
	struct retired *x = mem_alloc(MEM_store, sizeof *x);
	if (!x)
		return -ENOMEM;
	*x = (struct retired){.next = st->retired,
	        .epoch = atomic_load(&st->epoch),
	        .map = map,
	        .map_bytes = n,
	        .rows = rows,
	        .coll = c};
	st->retired = x;
	atomic_fetch_add(&st->retired_n, 1);
	return 0;
}

void retired_free(struct store *st, bool all)
{
	uint64_t now = atomic_load(&st->epoch);
	if (!all && now == atomic_load(&st->epoch_freed))
		return;
	struct retired **at = &st->retired;
	while (*at) {
		struct retired *x = *at;
		/* retired in epoch e: readers of it began before call e + 1; call e + 2 says they are through */
		if (!all && x->epoch + 2 > now) {
			at = &x->next;
			continue;
		}
		*at = x->next;
		atomic_fetch_sub(&st->retired_n, 1);
		if (x->map)
			slots_unmap(st, x->map, x->map_bytes);
		slots_rows_free(st, x->rows);
		coll_free(st, x->coll);
		mem_free(MEM_store, x);
	}
	atomic_store(&st->epoch_freed, now);
}

/* ---- SQLite's shared memory ------------------------------------------------------------------------------------------------- */

/* A snapshot's catalog has no log.  Asking for shared memory would make some, which SQLite then never takes down. */
static bool shm_used(const struct store *st)
{
	sqlite3_stmt *s;
	if (sqlite3_prepare_v2(st->cat.db, "PRAGMA journal_mode", -1, &s, NULL) != SQLITE_OK)
		return false;
	bool wal = sqlite3_step(s) == SQLITE_ROW && !strcmp((const char *)sqlite3_column_text(s, 0), "wal");
	sqlite3_finalize(s);
	return wal;
}

void store_shm_watch(struct store *st)
{
	sqlite3_file *f = NULL;
	if (sqlite3_file_control(st->cat.db, "main", SQLITE_FCNTL_FILE_POINTER, &f) != SQLITE_OK || !f ||
	        !f->pMethods || f->pMethods->iVersion < 2 || (!st->shm_n && !shm_used(st)))
		return;
	/* a region appears when the log outgrows the one before */
	while (st->shm_n < STORE_SHM_REGIONS) {
		void volatile *p = NULL;
		if (f->pMethods->xShmMap(f, (int)st->shm_n, STORE_SHM_BYTES, 0, &p) != SQLITE_OK || !p)
			return;
		st->shm[st->shm_n++] = (const void *)p;
		(void)guard_add(
		        (const void *)p, STORE_SHM_BYTES, &st->shm_bad, 1, true); /* table full: unwatched, as above */
	}
}

static void shm_forget(struct store *st)
{
	while (st->shm_n)
		guard_del(st->shm[--st->shm_n]);
}

/* ---- opening ---------------------------------------------------------------------------------------------------------------- */

int store_path(int dirfd, const char *name, char *ret, size_t cap)
{
	struct sbuf b;
	sbuf_fixed(&b, ret, cap);
	sb_str(&b, "/proc/self/fd/");
	sb_u64(&b, (uint64_t)dirfd);
	sb_ch(&b, '/');
	sb_str(&b, name);
	(void)sbuf_cstr(&b); /* terminates it in place */
	return b.over ? -ENAMETOOLONG : 0;
}

static int open_dir(struct store *st, const struct store_cfg *cfg, struct vx_errinfo *e)
{
	const char *dir = cfg->store_dir ? cfg->store_dir : ".vexfs";
	int at = cfg->store_dir ? AT_FDCWD : cfg->root_fd;
	/* a symlink in DIR may lead anywhere; one named on the command line is the user's wish */
	int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (cfg->store_dir ? 0 : O_NOFOLLOW);
	int fd = os_openat(st->os, at, dir, flags, 0);
	if (fd == -ENOENT && !st->read_only) {
		int rc = os_mkdirat(st->os, at, dir, 0700);
		if (rc < 0 && rc != -EEXIST)
			return fail(e, rc, "cannot make the store's directory ", dir);
		fd = os_openat(st->os, at, dir, flags, 0);
		if (fd >= 0 && !cfg->store_dir) { /* its entry must outlive a power cut as its contents do */
			rc = os_fsync(st->os, cfg->root_fd);
			if (rc < 0 && rc != -EBADF && rc != -EINVAL) { /* root_fd may be O_PATH */
				(void)os_close(st->os, fd);
				return fail(e, rc, "cannot sync DIR", "");
			}
		}
	}
	if (fd < 0)
		return fail(e, fd, "cannot open the store's directory ", dir);
	st->dirfd = fd;
	return 0;
}

/* network file systems: another host's cache knows nothing of our shared memory, and fdatasync promises less than it says */
static int refuse_network(struct store *st, struct vx_errinfo *e)
{
	static const uint32_t kinds[] = {
	        0x6969 /* nfs */, 0x517b /* smb */, 0xff534d42 /* cifs */, 0xfe534d42 /* smb2 */};
	uint32_t magic;
	int rc = os_fsmagic(st->os, st->dirfd, &magic);
	if (rc < 0)
		return fail(e, rc, "cannot tell the file system of the store's directory", "");
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (magic == kinds[i])
			return fail(e, -EOPNOTSUPP,
			        "the store's directory is on a network file system; name a local one with --store", "");
	return 0;
}

static int lock(struct store *st, struct vx_errinfo *e)
{
	char pid[24] = {0};
	struct sbuf b;
	int fd = os_openat(st->os, st->dirfd, "LOCK",
	        (st->read_only ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail(e, fd, "cannot open LOCK", "");
	int rc = os_flock(st->os, fd, (st->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB);
	if (rc == -EWOULDBLOCK) {
		ssize_t n = os_pread(st->os, fd, pid, sizeof pid - 1, 0);
		(void)os_close(st->os, fd); /* not ours */
		for (ssize_t i = 0; i < n; i++)
			if (pid[i] < '0' || pid[i] > '9')
				pid[i] = 0;
		return fail(e, -VX_ERR_store_locked, "it is served by pid ", n > 0 && pid[0] ? pid : "(unknown)");
	}
	if (rc < 0) {
		(void)os_close(st->os, fd); /* nothing was written */
		return fail(e, rc, "cannot lock the store (LOCK)", "");
	}
	st->lockfd = fd;
	if (st->read_only)
		return 0;
	sbuf_fixed(&b, pid, sizeof pid);
	sb_u64(&b, (uint64_t)getpid());
	sb_ch(&b, '\n');
	rc = os_ftruncate(st->os, fd, 0);
	if (!rc)
		rc = os_pwrite_all(st->os, fd, sbuf_cstr(&b), b.n, 0);
	if (no_space_left(rc)) /* the pid is for people; the lock itself holds */
		rc = 0;
	return rc < 0 ? fail(e, rc, "cannot write LOCK", "") : 0;
}

static int gitignore(struct store *st)
{
	struct stat sb;
	if (st->read_only || os_fstatat(st->os, st->dirfd, ".gitignore", &sb, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	int fd = os_openat(st->os, st->dirfd, ".gitignore", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return no_space_left(fd) ? 0 : fd;
	int rc = os_pwrite_all(st->os, fd, "*\n", 2, 0);
	(void)os_close(st->os, fd); /* a courtesy to git, not data */
	return no_space_left(rc) ? 0 : rc;
}

static int open_catalog(struct store *st, struct vx_errinfo *e)
{
	char path[64];
	struct stat sb;
	VX_TRY(store_path(st->dirfd, "catalog.db", path, sizeof path));
	int have = os_fstatat(st->os, st->dirfd, "catalog.db", &sb, AT_SYMLINK_NOFOLLOW);
	if (have == 0 && !S_ISREG(sb.st_mode))
		return fail(e, -VX_ERR_store_format, "catalog.db is not a regular file", "");
	/* an empty catalog over slot files would declare every vector free space */
	int lost = 0;
	if ((have == -ENOENT || (have == 0 && sb.st_size == 0)) &&
	        os_fstatat(st->os, st->dirfd, "catalog.db-wal", &sb, AT_SYMLINK_NOFOLLOW) == -ENOENT)
		VX_TRY(lost = store_slots_anywhere(st->os, st->dirfd));
	if (lost)
		return fail(e, -VX_ERR_store_corrupt,
		        "catalog.db is gone, slot files are there; put the catalog back, or run ",
		        "`vexfs verify --repair`");
	if (have == -ENOENT && st->read_only)
		return fail(e, -ENOENT, "there is no store here", "");
	int flags = st->read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
	VX_TRY(cat_open(&st->cat, path, flags, 2000, e));
	int rc = st->read_only ? cat_format(&st->cat) : cat_create(&st->cat);
	if (rc == -VX_ERR_store_newer)
		return fail(e, rc, "catalog.db has a newer format than this vexfs knows", "");
	if (rc == -VX_ERR_store_format && sqlite3_errcode(st->cat.db) == SQLITE_OK)
		return fail(e, rc, "catalog.db is another program's database", "");
	if (rc < 0)
		return fail(e, rc == -ENOENT ? -VX_ERR_store_format : rc, "catalog.db: ", sqlite3_errmsg(st->cat.db));
	if (have < 0) {
		rc = os_fsync(st->os, st->dirfd);
		if (rc < 0)
			return fail(e, rc, "cannot sync the store's directory", "");
	}
	rc = cat_state_get(&st->cat, &st->state);
	return rc < 0 ? fail(e, rc, "catalog.db: its state row is missing or damaged", "") : 0;
}

static int open_colls(struct store *st, struct vx_errinfo *e)
{
	sqlite3_stmt *s;
	int rc = 0, q;
	if (sqlite3_prepare_v2(st->cat.db, CAT_SEL_COLL, -1, &s, NULL) != SQLITE_OK)
		return fail(e, cat_rc(&st->cat, sqlite3_extended_errcode(st->cat.db)),
		        "catalog.db: ", sqlite3_errmsg(st->cat.db));
	while (!rc && (q = sqlite3_step(s)) == SQLITE_ROW) {
		struct store_coll k;
		struct coll *c;
		uint32_t n = 0;
		if (cat_row_coll(s, &k) < 0 || coll_find(st, k.cid)) {
			log_kv(LOGL_error,
			        "store: a collection's catalog row is damaged; it is not served; run `vexfs verify`;",
			        "cid", (uint64_t)sqlite3_column_int64(s, 0));
			continue;
		}
		if (k.cid >= st->state.next_cid)
			st->state.next_cid = k.cid + 1;
		rc = coll_add(st, &k, &c);
		if (!rc)
			rc = cat_vec_next_row(&st->cat, k.cid, &n);
		if (!rc)
			rc = slots_open(st, c, n);
		if (rc < 0)
			(void)fail(e, rc, "cannot open the files of collection ", k.name);
	}
	if (!rc && q != SQLITE_DONE)
		rc = fail(e, cat_rc(&st->cat, sqlite3_extended_errcode(st->cat.db)),
		        "catalog.db: ", sqlite3_errmsg(st->cat.db));
	sqlite3_finalize(s);
	if (!rc && (!coll_find(st, STORE_CID_DEFAULT) || !coll_find(st, STORE_CID_TEXT)))
		rc = fail(e, -VX_ERR_store_corrupt,
		        "the catalog row of `default` or `text` is damaged; run `vexfs verify --repair`", "");
	return rc;
}

/* the writer's log has grown by that many pages: the store thread checkpoints when it has time */
static int wal_hook(void *u, sqlite3 *db, const char *name, int pages)
{
	struct store *st = u;
	st->wal_pages = (uint32_t)pages;
	if ((uint32_t)pages < st->wal_frames) /* begun anew, perhaps cut to its limit */
		st->wal_reserved = 0;
	st->wal_frames = (uint32_t)pages;
	return SQLITE_OK;
}

static int start(struct store *st, struct vx_errinfo *e)
{
	char path[64];
	VX_TRY(store_path(st->dirfd, "catalog.db", path, sizeof path));
	for (uint32_t i = 0; i < STORE_READERS; i++) {
		struct reader *r = &st->reader[i];
		r->st = st;
		VX_TRY(cat_open(&r->cat, path, SQLITE_OPEN_READONLY, 1000, e));
	}
	int rc = 0;
	if (!st->read_only)
		rc = thread_start(&st->thread, "vx-store", STORE_THREAD_STACK, store_thread_main, st);
	st->thread_on = !st->read_only && !rc;
	for (uint32_t i = 0; !rc && i < STORE_READERS; i++) {
		rc = thread_start(
		        &st->reader[i].t, i ? "vx-read1" : "vx-read0", STORE_THREAD_STACK, reader_main, &st->reader[i]);
		st->readers_on += !rc;
	}
	return rc < 0 ? fail(e, rc, "cannot start the store's threads", "") : 0;
}

static int open_all(struct store *st, const struct store_cfg *cfg, struct vx_errinfo *e)
{
	VX_TRY(open_dir(st, cfg, e));
	VX_TRY(refuse_network(st, e));
	VX_TRY(lock(st, e));
	int rc = gitignore(st);
	if (rc < 0)
		return fail(e, rc, "cannot write into the store's directory", "");
	VX_TRY(open_catalog(st, e));
	VX_TRY(open_colls(st, e));
	if (!st->read_only)
		snapshots_sweep(st);
	rc = os_random(st->os, &st->vid_nonce, sizeof st->vid_nonce);
	if (rc < 0)
		return fail(e, rc, "no random numbers", "");
	st->vid_nonce = (st->vid_nonce & 0x7fffffff) | 1; /* a vid is positive in SQLite, and never 0 */
	sqlite3_wal_hook(st->cat.db, wal_hook, st);
	store_counters(st);
	store_shm_watch(st);
	return start(st, e);
}

static int make(const struct store_cfg *cfg, struct store **ret)
{
	struct store *st = mem_zalloc(MEM_store, sizeof *st);
	if (!st)
		return -ENOMEM;
	st->os = cfg->os;
	st->read_only = cfg->read_only;
	st->commit_ns = (cfg->commit_ms ? cfg->commit_ms : 1000) * 1000000ull;
	st->commit_ops = cfg->commit_ops ? cfg->commit_ops : 4096;
	st->dirfd = st->lockfd = st->walfd = -1;
	st->group_tail = &st->group;
	atomic_store(&st->health, st->read_only ? -VX_ERR_read_only : 0);
	int rc = wq_init(&st->queue, UINT32_MAX);
	if (!rc) {
		rc = wq_init(&st->reads, STORE_READ_QUEUE);
		if (!rc) {
			*ret = st;
			return 0;
		}
		wq_done(&st->queue);
	}
	mem_free(MEM_store, st);
	return rc;
}

int store_open(const struct store_cfg *cfg, struct store **ret, struct vx_errinfo *reterr)
{
	struct store *st;
	int rc = make(cfg, &st);
	if (rc < 0)
		return fail(reterr, rc, "out of memory", "");
	rc = open_all(st, cfg, reterr);
	if (rc < 0) {
		if (reterr && reterr->code != rc)
			(void)fail(reterr, rc, err_text(rc), "");
		store_close(st);
		return rc;
	}
	*ret = st;
	return 0;
}

int store_files_open(const struct store_cfg *cfg, struct store **ret, struct vx_errinfo *reterr)
{
	struct store *st;
	struct stat sb;
	const char *dir = cfg->store_dir ? cfg->store_dir : ".vexfs";
	int rc = os_fstatat(cfg->os, cfg->store_dir ? AT_FDCWD : cfg->root_fd, dir, &sb, 0);
	if (rc < 0)
		return fail(reterr, rc, "there is no store at ", dir);
	rc = make(cfg, &st);
	if (rc < 0)
		return fail(reterr, rc, "out of memory", "");
	rc = open_dir(st, cfg, reterr);
	if (!rc)
		rc = lock(st, reterr);
	if (rc < 0) {
		store_close(st);
		return rc;
	}
	*ret = st;
	return 0;
}

void store_close(struct store *st)
{
	if (!st)
		return;
	wq_close(&st->reads);
	for (uint32_t i = 0; i < st->readers_on; i++)
		thread_join(&st->reader[i].t);
	wq_close(&st->queue);
	if (st->thread_on)
		thread_join(&st->thread);
	for (uint32_t i = 0; i < STORE_READERS; i++)
		cat_close(&st->reader[i].cat);
	bool good = st->cat.db && st->thread_on && atomic_load(&st->health) == 0;
	for (uint32_t i = 0; good && i < CONF_COLLECTIONS_MAX; i++) {
		struct coll *c = atomic_load(&st->coll[i]);
		if (c)
			rowtab_write(st, c);
	}
	if (good)
		(void)store_checkpoint(st, true); /* all is in the log already; the next opening reads it from there */
	shm_forget(st);
	cat_close(&st->cat);
	retired_free(st, true);
	colls_forget(st);
	if (st->walfd >= 0)
		(void)os_close(st->os, st->walfd); /* nothing was written through it */
	if (st->lockfd >= 0)
		(void)os_close(st->os, st->lockfd); /* releases the lock */
	if (st->dirfd >= 0)
		(void)os_close(st->os, st->dirfd);
	mem_free(MEM_store, st->pend_free);
	mem_free(MEM_store, st->held);
	mem_free(MEM_store, st->pend_unlink);
	wq_done(&st->queue);
	wq_done(&st->reads);
	mem_free(MEM_store, st);
}

/* ---- [any] ------------------------------------------------------------------------------------------------------------------ */

void store_submit(struct store *st, struct store_op *op)
{
	atomic_fetch_add_explicit(&st->queue_len, 1, memory_order_relaxed);
	int rc = st->read_only ? -VX_ERR_read_only : wq_push(&st->queue, &op->item);
	if (!rc)
		return;
	/* read-only or closing: no thread will come by, so the caller's own tells it */
	atomic_fetch_sub_explicit(&st->queue_len, 1, memory_order_relaxed);
	op->ret_rc = rc;
	if (op->visible)
		op->visible(op, rc);
	if (op->durable)
		op->durable(op, rc);
}

uint64_t store_generation(const struct store *st)
{
	return atomic_load_explicit(&st->generation, memory_order_acquire);
}

int store_health(const struct store *st)
{
	return atomic_load(&st->health);
}

const struct vec_rows *store_rows(const struct store *st, uint32_t cid)
{
	const struct coll *c = coll_find(st, cid);
	return c ? atomic_load_explicit(&c->rows, memory_order_acquire) : NULL;
}

int store_coll_dirfd(const struct store *st, uint32_t cid)
{
	const struct coll *c = coll_find(st, cid);
	return c ? atomic_load(&c->dirfd) : -VX_ERR_no_collection;
}

uint64_t store_queue_len(const struct store *st)
{
	return atomic_load_explicit(&st->queue_len, memory_order_relaxed);
}

uint32_t store_compactable(const struct store *st, uint32_t cid)
{
	const struct coll *c = coll_find(st, cid);
	if (!c)
		return 0;
	uint32_t n = atomic_load_explicit(&c->rows_seen, memory_order_relaxed);
	uint32_t unused = atomic_load_explicit(&c->free_seen, memory_order_relaxed);
	uint32_t scattered = atomic_load_explicit(&c->scatter_seen, memory_order_relaxed);
	if (n < ROWS_SEG0 || unused < n / 3)
		return 0;
	/* A hole costs nothing.  What does are free slots that share pages with live ones, and a table much longer than what lives in it. */
	if (scattered <= (n - unused) / 2 && unused < n - n / 4)
		return 0;
	/* rows at the end, as many as there is room below them: an upper bound, since some of the end is free itself */
	return unused < n - unused ? unused : n - unused;
}

bool store_retired(const struct store *st)
{
	return atomic_load(&st->retired_n) != 0;
}

void store_reclaim(struct store *st)
{
	atomic_fetch_add(&st->epoch, 1);
}

bool store_row_ok(const struct store *st, uint32_t cid, uint32_t row)
{
	const struct vec_rows *r = store_rows(st, cid);
	if (!r || row >= atomic_load_explicit(&r->n, memory_order_acquire))
		return false;
	const uint8_t *slot = rows_slot(r, row);
	return slot && slot_check_mapped(slot, r->dim, r->dtype);
}

int store_read(struct store *st, struct store_read *rd)
{
	rd->hits = NULL;
	rd->hit_n = rd->data_n = rd->id_n = 0;
	rd->ret_ver = 0;
	rd->data = NULL;
	rd->ret_row = UINT32_MAX;
	rd->rc = 0;
	return wq_push(&st->reads, &rd->item);
}

void store_stats(struct store *st, struct store_stats *ret)
{
#define GET(f) atomic_load_explicit(&st->f, memory_order_relaxed)
	*ret = (struct store_stats){.generation = GET(generation),
	        .commits = GET(n_commits),
	        .flushes = GET(n_flushes),
	        .ops = GET(n_ops),
	        .bytes_slots = GET(n_bytes_slots),
	        .disk_bytes = GET(n_disk),
	        .punched_bytes = GET(n_punched),
	        .objects = GET(n_objects),
	        .vectors = GET(n_vectors),
	        .dead_rows = GET(n_dead),
	        .tabs_damaged = GET(n_tabs_damaged),
	        .chunks = GET(n_chunks)};
#undef GET
}
