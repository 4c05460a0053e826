/* store_thread.c - the one thread that writes: takes ops in order, applies each, commits in groups.
 *
 * A group is a SQLite transaction and the slots written since the last commit.  It begins with the first op that changes something
 * and ends when an op that wants durability has been applied and no other op waits, when it is commit_ns old, or when it holds
 * commit_ops ops.  Ending it: fdatasync of each slot file written (a new file's directory too), then the meta row "state" with the
 * next generation, then COMMIT.  Ops without changes join the group of the moment, so callbacks keep the order of submission.
 *
 * Three ways for an op to fail:
 *  - it is wrong (unknown collection, other dimension): its own two callbacks say so, nothing was changed;
 *  - the group cannot go on for want of room or memory: ROLLBACK, all its ops get durable(-store_full), the next op begins anew.
 *    Rows given to ops of that group stay unused until SOP_row_free names them or the store is opened again: a reader may hold them;
 *  - a write, a sync or COMMIT failed otherwise: what is on the disk is unknown, and a second fsync would say "fine" about pages the
 *    kernel has dropped.  The store is poisoned: nothing is written until it is opened again.
 *
 * What an op changes in memory before COMMIT is undone by group_rollback: counters by a copy taken at BEGIN, collections by the flags
 * born / dying / unbinding / newly_bound, freed rows and files to unlink by lists that take effect only after COMMIT. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/probe.h"
#include "base/log.h"
#include "base/perf.h"
#include "base/sbuf.h"
#include "store/store_int.h"

void store_counters(struct store *st)
{
	uint64_t disk = 0;
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++) {
		const struct coll *c = atomic_load_explicit(&st->coll[i], memory_order_relaxed);
		disk += c ? slots_bytes(c) : 0;
	}
	atomic_store_explicit(&st->n_disk, disk, memory_order_relaxed);
	atomic_store_explicit(&st->n_objects, st->state.objects, memory_order_relaxed);
	atomic_store_explicit(&st->n_vectors, st->state.vectors, memory_order_relaxed);
	atomic_store_explicit(&st->n_dead, st->state.dead_rows, memory_order_relaxed);
	atomic_store_explicit(&st->n_chunks, st->state.chunks, memory_order_relaxed);
	atomic_store_explicit(&st->generation, st->state.generation, memory_order_release);
}

/* a failure that leaves the disk as it was known to be */
static bool harmless(int rc)
{
	return no_space_left(rc) || rc == -ENOMEM || rc == -EBUSY || rc == -EMFILE || rc == -ENFILE ||
	       rc == -VX_ERR_mem_limit;
}

static void flushed(struct store *st, uint64_t n)
{
	atomic_fetch_add_explicit(&st->n_flushes, n, memory_order_relaxed);
	perf_add(PERFC_flushes, n);
}

/* ---- the group -------------------------------------------------------------------------------------------------------------- */

/* every op of the group hears how it ended; its own failure, told by visible() already, comes first */
static void group_answer(struct store *st, int rc)
{
	struct wq_item *it = st->group;
	st->group = NULL;
	st->group_tail = &st->group;
	st->group_n = 0;
	st->group_durable = false;
	while (it) {
		struct store_op *op = WQ_OF(it, struct store_op, item);
		it = it->next; /* durable() gives the op away */
		int own = op->ret_rc;
		op->ret_generation = st->state.generation;
		atomic_fetch_sub_explicit(&st->queue_len, 1, memory_order_relaxed);
		if (op->durable)
			op->durable(op, own < 0 ? own : rc);
	}
}

static void group_begin_memory(struct store *st)
{
	st->state_begin = st->state;
	st->pend_free_n = st->pend_unlink_n = 0;
}

/* Room for what a group may add to the catalog's log is taken before the group begins: a full disk then refuses ops before anyone has
 * seen them, instead of taking back a group that everyone has.  File systems without fallocate go without. */
static int wal_reserve(struct store *st)
{
	uint64_t want = 32 + (uint64_t)st->wal_frames * (4096 + 24) + STORE_WAL_RESERVE;
	if (want <= st->wal_reserved)
		return 0;
	if (st->walfd < 0)
		st->walfd = os_openat(st->os, st->dirfd, "catalog.db-wal", O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
	if (st->walfd < 0)
		return 0; /* made by the first commit */
	want = (want + (STORE_WAL_RESERVE / 4 - 1)) & ~(uint64_t)(STORE_WAL_RESERVE / 4 - 1);
	int rc = os_fallocate(st->os, st->walfd, FALLOC_FL_KEEP_SIZE, 0, (off_t)want);
	if (no_space_left(rc))
		return -VX_ERR_store_full;
	st->wal_reserved = want;
	return 0;
}

int store_tx(struct store *st)
{
	if (st->in_tx)
		return 0;
	group_begin_memory(st);
	VX_TRY(wal_reserve(st));
	VX_TRY(cat_begin(&st->cat));
	st->in_tx = true;
	return 0;
}

void coll_unbind(struct store *st, struct coll *c)
{
	slots_retire(st, c);
	c->c.dim = 0;
	if (slots_bind(st, c) < 0) /* no memory for an empty view: readers find no rows in the old one */
		atomic_store(&atomic_load(&c->rows)->n, 0);
}

static void group_rollback(struct store *st)
{
	if (st->in_tx)
		(void)cat_rollback(
		        &st->cat); /* a rollback that fails leaves an open transaction: COMMIT never comes, begin will fail */
	st->in_tx = false;
	st->state = st->state_begin;
	st->pend_free_n = st->pend_unlink_n = 0;
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++) {
		struct coll *c = atomic_load_explicit(&st->coll[i], memory_order_relaxed);
		if (!c)
			continue;
		c->dying = c->unbinding = false;
		if (c->born) {
			coll_remove(st, c);
			continue;
		}
		if (c->newly_bound) {
			c->newly_bound = false;
			coll_unbind(st, c);
		}
	}
}

static int poison(struct store *st, int rc)
{
	if (atomic_load(&st->health) != -VX_ERR_store_poisoned)
		log_rc(LOGL_error, "store: a write failed; vectors are read-only until the next mount", rc);
	atomic_store(&st->health, -VX_ERR_store_poisoned);
	return -VX_ERR_store_poisoned;
}

static void group_fail(struct store *st, int rc)
{
	bool ok = harmless(rc);
	group_rollback(st);
	if (!ok)
		rc = poison(st, rc);
	else if (no_space_left(rc))
		rc = -VX_ERR_store_full;
	if (ok) {
		if (atomic_load(&st->health) == 0)
			log_rc(LOGL_warn, "store: a group of changes was not written", rc);
		atomic_store(&st->health, rc);
	}
	st->group_fail = 0;
	group_answer(st, rc);
	/* what waits already was made by callers who believed in the group: it fails with it */
	struct wq_item *it;
	for (uint32_t n = wq_len(&st->queue); n && wq_pop(&st->queue, 0, &it) > 0; n--) {
		struct store_op *op = WQ_OF(it, struct store_op, item);
		op->ret_rc = rc;
		op->ret_row = UINT32_MAX;
		op->ret_cid = 0;
		op->ret_generation = st->state.generation;
		if (op->visible)
			op->visible(op, rc);
		atomic_fetch_sub_explicit(&st->queue_len, 1, memory_order_relaxed);
		if (op->durable)
			op->durable(op, rc);
	}
}

static void rows_held_forget(struct store *st, const struct coll *c)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < st->held_n; i++)
		if (st->held[i].c != c)
			st->held[n++] = st->held[i];
	st->held_n = n;
}

/* freed rows may be written again, unless a snapshot is being copied: then they wait for its end. No memory for the note: those rows
 * are found free at the next opening */
static void rows_release(struct store *st)
{
	if (atomic_load(&st->pins)) {
		if (st->held_n + st->pend_free_n > st->held_cap) {
			uint32_t cap = (st->held_n + st->pend_free_n) * 2;
			void *p = mem_realloc(MEM_store, st->held, cap * sizeof *st->held);
			if (!p)
				return;
			st->held = p;
			st->held_cap = cap;
		}
		if (st->pend_free_n)
			memcpy(st->held + st->held_n, st->pend_free, st->pend_free_n * sizeof *st->held);
		st->held_n += st->pend_free_n;
		return;
	}
	for (uint32_t i = 0; i < st->held_n; i++)
		if (st->held[i].c->punch_due = true, row_free_add(st->held[i].c, st->held[i].row) < 0)
			break;
	for (uint32_t i = 0; i < st->pend_free_n; i++)
		if (st->pend_free[i].c->punch_due = true, row_free_add(st->pend_free[i].c, st->pend_free[i].row) < 0)
			break;
	st->held_n = 0;
}

static void after_commit_coll(struct store *st, struct coll *c)
{
	c->born = c->newly_bound = false;
	if (c->unbinding || c->dying)
		rows_held_forget(st, c);
	if (c->unbinding) {
		c->unbinding = false;
		coll_unbind(st, c);
		(void)coll_dir_clear(
		        st, atomic_load(&c->dirfd), false); /* left-over files are free space; verify lists them */
	}
	if (c->dying) {
		char name[16];
		coll_dir_name(name, c->c.cid);
		(void)coll_dir_clear(st, atomic_load(&c->dirfd), false); /* as above */
		(void)os_unlinkat(st->os, st->dirfd, name, AT_REMOVEDIR); /* as above */
		coll_remove(st, c);
	}
}

/* what had to wait for COMMIT: only now may a freed slot be written again, and files nobody needs after the commit go */
static void after_commit(struct store *st)
{
	rows_release(st);
	for (uint32_t i = 0; i < st->pend_unlink_n; i++)
		(void)os_unlinkat(
		        st->os, atomic_load(&st->pend_unlink[i].c->dirfd), st->pend_unlink[i].name, 0); /* free space */
	st->pend_free_n = st->pend_unlink_n = 0;
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++) {
		struct coll *c = atomic_load_explicit(&st->coll[i], memory_order_relaxed);
		if (c && (c->born || c->newly_bound || c->unbinding || c->dying))
			after_commit_coll(st, c);
	}
}

static int sync_slots(struct store *st)
{
	uint64_t n = 0;
	int rc = 0;
	for (uint32_t i = 0; !rc && i < CONF_COLLECTIONS_MAX; i++) {
		struct coll *c = atomic_load_explicit(&st->coll[i], memory_order_relaxed);
		if (c)
			rc = slots_sync(st, c, &n);
	}
	if (!rc && st->dir_dirty) {
		rc = os_fsync(st->os, st->dirfd);
		st->dir_dirty = rc < 0;
		n++;
	}
	flushed(st, n);
	/* no space at a sync (delayed allocation) is not harmless: which pages were dropped is unknown */
	return rc < 0 ? -EIO : 0;
}

void store_group_commit(struct store *st)
{
	uint32_t n = st->group_n;
	if (st->in_tx) {
		uint64_t t0 = os_mono_ns(st->os);
		int rc = atomic_load(&st->shm_bad) ? -EIO : sync_slots(st);
		if (!rc) {
			st->state.generation++;
			rc = cat_state_put(&st->cat, &st->state);
		}
		if (!rc)
			rc = cat_commit(&st->cat);
		if (rc < 0) {
			group_fail(st, rc);
			return;
		}
		flushed(st, 1);
		st->in_tx = false;
		after_commit(st);
		st->vacuum_due = true;
		store_shm_watch(st);
		store_counters(st);
		atomic_store(&st->health, 0);
		atomic_fetch_add_explicit(&st->n_commits, 1, memory_order_relaxed);
		perf_add(PERFC_commits, 1);
		perf_add(PERFC_commit_ops, n);
		uint64_t ns = os_mono_ns(st->os) - t0;
		perf_op(PERF_store_commit, ns, 0);
		PROBE2(commit, n, ns);
	}
	group_answer(st, 0);
}

/* ---- the loop --------------------------------------------------------------------------------------------------------------- */

int store_checkpoint(struct store *st, bool all)
{
	int log = 0, done = 0;
	int rc = sqlite3_wal_checkpoint_v2(
	        st->cat.db, NULL, all ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, &log, &done);
	if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY) {
		st->wal_pages = log > done ? (uint32_t)(log - done) : 0;
		return 0;
	}
	return cat_rc(&st->cat, sqlite3_extended_errcode(st->cat.db));
}

/* pages that the catalog no longer needs go back to the file system, 256 at a time, when they are a quarter of it */
static bool vacuum_step(struct store *st)
{
	int64_t unused = 0, all = 0;
	if (!st->vacuum_due)
		return false;
	st->vacuum_due = false;
	if (cat_pragma(&st->cat, "PRAGMA freelist_count", &unused) < 0 ||
	        cat_pragma(&st->cat, "PRAGMA page_count", &all) < 0 || unused < 512 || unused < all / 4)
		return false;
	int rc = cat_exec(&st->cat, "PRAGMA incremental_vacuum(256)");
	if (rc < 0) {
		if (!harmless(rc))
			(void)poison(st, rc);
		return false;
	}
	st->vacuum_due = true;
	return true;
}

static void checkpoint_maybe(struct store *st, bool idle)
{
	if (st->in_tx || atomic_load(&st->shm_bad) || st->wal_pages < (idle ? STORE_WAL_PAGES : STORE_WAL_PAGES_HI) ||
	        atomic_load(&st->health) == -VX_ERR_store_poisoned)
		return;
	int rc = store_checkpoint(st, false);
	/* no room for the catalog to grow: all is safe in the log, tried again after the next commit */
	if (rc < 0 && !harmless(rc))
		(void)poison(st, rc);
}

/* one bounded piece of background work, between groups. True: there is more */
static bool idle_step(struct store *st)
{
	if (st->in_tx || atomic_load(&st->health) != 0 || atomic_load(&st->pins))
		return false;
	if (st->held_n) {
		st->pend_free_n = 0;
		rows_release(st);
	}
	for (uint32_t i = 0; i < CONF_COLLECTIONS_MAX; i++) {
		struct coll *c = atomic_load_explicit(&st->coll[i], memory_order_relaxed);
		/* few free slots will be written again soon: holes in a busy file only scatter it */
		if (!c || !c->punch_due || c->free_n < c->next_row / 5)
			continue;
		int rc = slots_punch_step(st, c, 16384);
		if (rc > 0)
			return true;
		c->punch_due = false; /* done, or the file system cannot: neither is an error */
		c->punch_at = 0;
	}
	return vacuum_step(st);
}

static void take(struct store *st, struct store_op *op)
{
	op->item.next = NULL;
	op->ret_rc = 0;
	op->ret_row = UINT32_MAX;
	op->ret_cid = 0;
	op->ret_generation = 0;
	atomic_fetch_add_explicit(&st->n_ops, 1, memory_order_relaxed);
	if (!st->group_n)
		st->group_began_ns = os_mono_ns(st->os);
	if (atomic_load(&st->shm_bad) && atomic_load(&st->health) != -VX_ERR_store_poisoned && !st->in_tx)
		(void)poison(st, -EIO);
	int rc = atomic_load(&st->health) == -VX_ERR_store_poisoned ? -VX_ERR_store_poisoned : store_apply(st, op);
	op->ret_rc = rc;
	*st->group_tail = &op->item;
	st->group_tail = &op->item.next;
	st->group_n++;
	st->group_durable |= op->want_durable;
	if (st->group_fail < 0) {
		rc = st->group_fail;
		rc = no_space_left(rc) ? -VX_ERR_store_full : harmless(rc) ? rc : -VX_ERR_store_poisoned;
		op->ret_rc = rc;
		if (op->visible)
			op->visible(op, rc);
		group_fail(st, st->group_fail);
		return;
	}
	if (op->visible)
		op->visible(op, rc);
	if (!st->in_tx && st->group_n == 1)
		group_answer(st, 0); /* alone and without effect: nothing to wait for */
}

void store_thread_main(void *arg)
{
	struct store *st = arg;
	bool more = false;
	thread_prompt();
	for (;;) {
		struct wq_item *it;
		uint64_t wait = WQ_FOREVER;
		if (st->group_n) {
			uint64_t age = os_mono_ns(st->os) - st->group_began_ns;
			wait = st->group_durable || age >= st->commit_ns ? 0 : st->commit_ns - age;
		}
		if (!st->group_n && more)
			wait = 0;
		int rc = wq_pop(&st->queue, wait, &it);
		if (rc > 0)
			take(st, WQ_OF(it, struct store_op, item));
		bool idle = rc == 0;
		if (st->group_n && (rc <= 0 || st->group_n >= st->commit_ops ||
		                           os_mono_ns(st->os) - st->group_began_ns >= st->commit_ns))
			store_group_commit(st);
		if (!st->group_n) {
			bool quiet = idle || !wq_len(&st->queue);
			retired_free(st, false);
			checkpoint_maybe(st, quiet);
			more = rc >= 0 && quiet && idle_step(st);
		}
		if (rc < 0)
			break;
	}
}
