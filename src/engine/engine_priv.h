/* engine_priv.h - the engine's insides, shared by the files of engine/ and nothing else.
 *
 * One process-wide picture of who is who: objects (files and directories) by key and by number, their links, and for each
 * collection which row belongs to whom.  All of it is memory, filled from the catalog at opening (lazy.c), changed by notes (note.c),
 * by updates when the store has applied them (update.c) and by the walk (walk.c).  Nobody keeps a pointer to an object outside
 * e->objects: what outlives the lock is its number. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <fcntl.h>
#include <stdint.h>
#include "base/log.h"
#include "base/perf_watch.h"
#include "base/thread.h"
#include "engine/engine.h"
#include "index/index.h"
#include "simd/simd.h"
#include "store/store.h"
#include "text/text.h"

#define ENG_ROW_NONE     UINT32_MAX
#define ENG_ROW_BUSY     (UINT32_MAX - 1) /* a change of a free point is on its way */
#define ENG_STALE_SIZE   UINT64_MAX /* stamp.size of a vector that no content can make fresh but by its hash */
#define ENG_PARKED_MAX   4096u
#define ENG_MISSED_MAX   1024u /* notes kept while the store isn't open */
#define ENG_NOTES_MAX    65536u /* and while somebody holds the table */
#define ENG_OPS_MAX      32768u
#define ENG_OPENW_MAX    65536u
#define ENG_FLAT_MAX     1000u /* collections below this have no graph */
#define ENG_DEPTH_MAX    2048u /* ancestors of a path: PATH_MAX / 2 */
#define ENG_LINKS_TRIED  64u /* hard links looked at for one result */
#define ENG_RACY_NS      2000000000ll
#define ENG_RETRY_MAX_S  60u
#define ENG_ERRORS_KEPT  16u
#define ENG_WORKER_STACK (128u << 10)
#define ENG_OPENER_STACK (128u << 10)
#define ENG_SEARCHERS    2u
#define PERM_KEPT        64u
#define ENG_EF_EXACT     UINT32_MAX /* no ef is good enough: searches scan */
#define ENG_SNAPS_OPEN   2u /* snapshots open for searching at once */

/* a door bell: rung from anywhere, waited for by one thread (or several that all look again) */
struct bell {
	pthread_mutex_t lock;
	pthread_cond_t cond; /* CLOCK_MONOTONIC */
	uint64_t rings;
};
int bell_init(struct bell *b);
void bell_done(struct bell *b);
void bell_ring(struct bell *b);
uint64_t bell_rings(struct bell *b);
/* bell_wait - until it has rung more often than @seen, or the time is over. Return the count. */
uint64_t bell_wait(struct bell *b, uint64_t seen, uint64_t timeout_ns);

/* ---- objects [e->objects] ---------------------------------------------------------------------------------------------------- */
struct eng_vec { /* a file's vector in one collection */
	struct eng_vec *next;
	uint32_t cid, row; /* ENG_ROW_NONE: its first put is on its way */
	struct stamp stamp;
	bool busy; /* a put or delete is between submit and visible */
	bool inherited; /* busy, and its put is still to be submitted (replace.c) */
	bool bind_wait; /* binds to the content at the last writable release */
	bool ctime_ours; /* ctime has moved by our own doing, data not: the next stat of before may differ from the stamp in it */
	bool changed; /* content written through the mount since: stale until the hash says else */
};
struct eng_link {
	struct eng_link *obj_next, *hash_next, *sib_next, *sib_prev;
	struct eng_obj *obj, *parent;
	uint32_t hash, seen; /* walk that saw it last */
	bool stored;
	uint8_t n;
	char name[];
};
/* QF_IGNORE: ask whether it is left out; QF_QUIET: in look_q, not counted as pending: a second look at what is known already */
enum { QF_TEXT = 1, QF_HASH = 2, QF_RECHECK = 4, QF_QUEUED = 8, QF_QUIET = 16, QF_IGNORE = 32 };
struct eng_obj {
	uint64_t oid;
	struct obj_key key;
	struct eng_obj *key_next, *oid_next;
	struct eng_link *links, *children;
	struct eng_vec *vecs;
	struct stamp text_stamp;
	uint32_t seen;
	uint8_t kind, text_state, tries;
	uint8_t qf; /* what ingest is to do */
	int32_t text_error; /* why text_state is error; -VX_ERR_ignored: left out, in state not_text */
	bool has_payload, stored;
	uint32_t change_n; /* contents written through the mount, counted */
	uint32_t attr_n; /* attributes changed through the mount, counted: stamps may have moved on since a stat */
	uint64_t
	        former_dir; /* it was renamed away from this name: who saves by backup makes a new file there and removes this one */
	char *former; /* NULL: not */
	uint64_t heir; /* the object that has its name now: inherits, should this one turn out to be gone */
	uint32_t missed; /* the walk that first found no name for it; 0: none */
	uint64_t text_commit; /* e->text_commits when it was committed last */
	uint32_t text_seen; /* change_n when the text that is searched was read */
	bool emb_due; /* chunks may lack vectors: counted in sem->due */
	uint8_t emb_tries;
	bool nlink_asked; /* a walk was asked for because it has more names than we know */
};
/* ingest will read it, and nobody has yet: what is known of its content may be out of date */
static inline bool obj_queued(const struct eng_obj *o)
{
	return (o->qf & (QF_QUEUED | QF_QUIET)) == QF_QUEUED;
}
struct eng_openw { /* writable handles of a key, known to the catalog or not */
	struct eng_openw *next;
	struct obj_key key;
	uint32_t n;
};
struct oid_ring { /* first in, first out, grows */
	uint64_t *v;
	uint32_t head, n, cap;
};
int oid_ring_push(struct oid_ring *r, uint64_t oid);
bool oid_ring_pop(struct oid_ring *r, uint64_t *ret);
void oid_ring_done(struct oid_ring *r);

struct objects {
	struct eng_obj **by_key, **by_oid;
	struct eng_link **by_name;
	uint32_t key_cap, oid_cap, name_cap; /* powers of two */
	uint64_t obj_n, link_n, file_n, next_oid;
	struct pool obj_pool, vec_pool, openw_pool;
	struct eng_openw *openw[1024];
};
int objects_init(struct objects *t);
void objects_done(struct objects *t);
void objects_clear(struct objects *t); /* all but the open handles */
struct eng_obj *obj_by_key(struct objects *t, const struct obj_key *k);
struct eng_obj *obj_by_oid(struct objects *t, uint64_t oid);
/* obj_add - @oid 0: the next free one. NULL: no memory. */
struct eng_obj *obj_add(struct objects *t, uint64_t oid, const struct obj_key *k, uint8_t kind);
void obj_rekey(struct objects *t, struct eng_obj *o, const struct obj_key *k);
void obj_free(struct objects *t, struct eng_obj *o); /* links, children's links, vecs entries; memory only */
struct eng_link *link_find(struct objects *t, const struct eng_obj *parent, const char *name);
struct eng_link *link_add(
        struct objects *t, struct eng_obj *o, struct eng_obj *parent, const char *name); /* name is free */
void link_free(struct objects *t, struct eng_link *l);
struct eng_vec *obj_vec(struct eng_obj *o, uint32_t cid);
struct eng_vec *obj_vec_add(struct objects *t, struct eng_obj *o, uint32_t cid);
void obj_vec_del(struct objects *t, struct eng_obj *o, struct eng_vec *v);
uint32_t openw_count(struct objects *t, const struct obj_key *k);
int openw_add(struct objects *t, const struct obj_key *k);
uint32_t openw_sub(struct objects *t, const struct obj_key *k); /* what is left */
/* link_path - the path of a link relative to the root into p[cap], NUL-terminated. Its length; -ENOENT when an ancestor hangs in
 * the air; -ENAMETOOLONG. */
int link_path(const struct eng_link *l, char *p, size_t cap);
int obj_path(const struct eng_obj *o, char *p, size_t cap); /* any link; "" for the root */

/* ---- collections ------------------------------------------------------------------------------------------------------------- */
struct eng_grave { /* memory that a reader of an older epoch may still look at */
	struct eng_grave *next;
	uint64_t epoch;
	void *p;
	struct index *ix;
};
struct eng_dead {
	uint32_t row;
	uint64_t epoch;
	bool unlinked; /* taken out of the graph */
};
struct eng_recall { /* recall.c */
	uint32_t target; /* recall@10 asked for, in 1/10000; 0: none */
	uint32_t ef; /* that reaches it; 0: the collection's own, ENG_EF_EXACT */
	uint32_t measured, of; /* in 1/10000, when the collection had so many rows */
	bool known;
	uint64_t at; /* changes counted then */
};
struct eng_coll {
	struct eng_coll *next; /* [e->coll_lock] */
	_Atomic uint32_t refs;
	struct engine *e;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t idle; /* readers have left, or a put came to rest */
	struct store_coll info;
	bool dropped, rebinding;
	const struct vec_rows *rows;
	struct index *ix;
	bool graph_kept; /* a published graph could not be opened: until there is a new one no row may change hands */
	bool ix_broken; /* exact until it is rebuilt */
	bool ix_swept; /* rows dead at opening have been taken out of the graph */
	struct row_bits live;
	uint64_t *own; /* oid or free id of a row */
	uint8_t *flags; /* ROWF_* */
	uint32_t cap; /* of own, flags, live */
	uint32_t *tail; /* rows not linked: tail[tail_head, tail_n) */
	uint32_t tail_head, tail_n, tail_cap;
	_Atomic uint64_t moved; /* rows that compaction moved: who scanned meanwhile may have met neither place */
	uint64_t rows_freed, compact_mark; /* rows given back ever; then, when there was no room to move rows down */
	uint64_t reclaim_epoch; /* when the store was told last to let go of what it had retired */
	bool compact_off;
	uint64_t tail_in; /* rows that ever came to the tail */
	struct eng_dead *dead;
	uint32_t dead_n, dead_cap, dead_all; /* dead_all: dead rows not yet given back */
	uint32_t live_n, inflight, linked_pub;
	bool flat_tail; /* without a graph the tail is not kept: every live row counts as tail */
	uint64_t graph_gen; /* newest published */
	char *graph_name; /* while opening */
	uint64_t tail_retry_ns;
	struct eng_recall recall;
	_Atomic uint32_t search_ef; /* recall.ef, for who holds no lock */
	uint64_t ix_bytes; /* as the index thread last saw it: only the graph's writer may ask */
	bool indexing; /* the index thread is inside the graph */
	/* epochs: readers of epoch E are counted in active[E & 1] */
	uint64_t epoch;
	uint32_t active[2];
	struct eng_grave *graves;
	/* free points: id -> row, open addressing; row ENG_ROW_NONE: empty, key deleted: ENG_ROW_NONE - 2 */
	struct free_slot {
		uint64_t id;
		uint32_t row;
		uint32_t used; /* 0 never, 1 used, else collection.c's */
	} * ids;
	uint32_t ids_cap, ids_used, ids_live;
	_Atomic bool ids_cold; /* opening left the table to whoever asks for an id first: coll_ids_warm */
	bool ids_warming; /* somebody is at it */
	struct store_idrun *idrun; /* while it is cold: where the id of a free point is */
	uint32_t idrun_n;
	struct chunk_rows *chunks; /* of a model's collection: sem.h */
};
enum { ROWF_FREE = 1, ROWF_LIVE = 2, ROWF_PUB = 4, ROWF_TAIL = 8 };
struct eng_op;
struct eng_coll *coll_new(struct engine *e, const struct store_coll *info); /* refs 1 */
struct eng_coll *coll_get(struct engine *e, const char *name); /* +1 ref, NULL: none */
struct eng_coll *coll_by_cid(struct engine *e, uint32_t cid); /* +1 ref */
void coll_put(struct eng_coll *c); /* takes NULL */
bool coll_name_ok(const char *name);
/* an update that creates @k: run it, and the collection has its number and is found from then on.  NULL: no memory; no lock held */
struct eng_op *coll_create_op(struct engine *e, const struct store_coll *k);
bool coll_unlist(
        struct engine *e, struct eng_coll *c); /* not found any more; true: the list's reference is the caller's */
bool coll_shown(const struct eng_coll *c); /* is it one that people see? of the models' only the one that answers */
/* all with c->lock held */
int coll_row_live(struct eng_coll *c, uint32_t row, bool is_free, uint64_t owner, bool to_tail);
void coll_row_dead(struct eng_coll *c, uint32_t row);
int coll_reserve(struct eng_coll *c, uint32_t row);
int coll_dead_push(struct eng_coll *c, uint32_t row, bool unlinked);
/* coll_id_row - a free point's row; ENG_ROW_BUSY while a change of it is on its way, ENG_ROW_NONE without one.
 * coll_id_shown - the row that a reader gets: meanwhile the one before, which stays live until the new one is.
 * coll_id_set - ENG_ROW_BUSY keeps the row shown. Only an id that is new can fail (-ENOMEM).
 * None of them while the table is cold. */
uint32_t coll_id_row(const struct eng_coll *c, uint64_t id);
uint32_t coll_id_shown(const struct eng_coll *c, uint64_t id);
int coll_id_set(struct eng_coll *c, uint64_t id, uint32_t row);
void coll_id_del(struct eng_coll *c, uint64_t id);
/* coll_ids_warm - the ids of free points can be asked for when it has returned 0; -ENOMEM.  No lock held, and never on a FUSE thread: of a
 * million points it takes a tenth or two of a second, once.  No point comes or goes before. */
int coll_ids_warm(struct eng_coll *c);
/* coll_points_room, coll_points - as store_load_cb's of the same names */
uint64_t *coll_points_room(struct eng_coll *c, uint32_t rows, uint32_t runs_n);
int coll_points(struct eng_coll *c, const uint64_t *live, uint32_t rows, uint32_t n, const struct store_idrun *run);
/* coll_owner - whose a live row is; of a free point the one way to ask while the table of ids is cold */
static inline uint64_t coll_owner(const struct eng_coll *c, uint32_t row)
{
	uint32_t i = row / STORE_RUN_ROWS;
	bool follows = i < c->idrun_n && c->idrun[i].follows && (c->flags[row] & ROWF_FREE);
	return follows ? c->idrun[i].first + row % STORE_RUN_ROWS : c->own[row];
}
/* coll_rows_opened - after opening: which rows its graph has, which are the tail */
int coll_rows_opened(struct eng_coll *c);
int coll_tail_push(struct eng_coll *c, uint32_t row);
void coll_bury(struct eng_coll *c, void *p, struct index *ix);
void rows_refresh(struct engine *e, struct eng_coll *c);
struct index_cfg coll_index_cfg(struct engine *e, const struct eng_coll *c);
/* what one search sees */
struct coll_view {
	struct eng_coll *c;
	const struct vec_rows *rows;
	struct index *ix;
	struct row_bits live;
	const uint32_t *tail;
	uint32_t tail_n, live_n, parity, rows_n;
};
void coll_enter(struct eng_coll *c, struct coll_view *v);
void coll_leave(struct coll_view *v);
uint64_t coll_epoch_step(struct eng_coll *c); /* c->lock held: move on when the older readers are gone; frees graves */
void coll_drain(struct eng_coll *c); /* c->lock held: waits until no reader is left (threads that may wait) */
void coll_fill_info(struct eng_coll *c, struct eng_coll_info *ret);
bool coll_may(const struct eng_coll *c, const struct eng_caller *who, uint32_t want /* 4 read, 2 write */);

/* ---- operations on their way to the store ------------------------------------------------------------------------------------ */
struct op_sync {
	struct bell bell;
	int rc;
	_Atomic int done;
};
struct eng_op {
	struct store_op op; /* first: cast */
	struct engine *e;
	struct eng_job *j;
	struct op_sync *sync;
	bool sync_durable;
	bool was_visible; /* the store had applied it: if its commit fails, memory is ahead of the catalog */
	struct eng_coll *c; /* a reference, dropped with the op */
	int (*applied)(struct eng_op *o, int rc); /* on the store thread; what it returns is what the job hears */
	struct store_coll coll_mem;
	void (*settled)(struct eng_op *o, int rc); /* on the store thread, when it is on disk or lost; may be NULL */
	uint32_t tag, attr_n;
	bool counted; /* its end makes one less pending */
};
struct eng_op *op_get(struct engine *e, enum store_op_kind kind); /* NULL: all are out */
struct eng_op *op_get_wait(struct engine *e, enum store_op_kind kind); /* threads that may wait; NULL: no memory */
void op_put(struct eng_op *o); /* one that was not submitted */
void op_submit(struct eng_op *o);
int op_run(struct eng_op *o, bool durable); /* submit and wait; not on the store thread, no lock held */
void op_undone(struct eng_op *o); /* undo.c */
void ops_wait_room(struct engine *e, uint32_t want_free);

/* ---- notes, and the lock of the object table (note_queue.c) --------------------------------------------------------------------- */
enum note_kind {
	NOTE_release,
	NOTE_changed,
	NOTE_seen,
	NOTE_create,
	NOTE_link,
	NOTE_unlink,
	NOTE_rename,
	NOTE_attr,
	NOTE_ignore,
};
struct note_stat {
	uint64_t size, nlink;
	int64_t mtime_ns, ctime_ns;
	uint32_t mode;
};
struct note {
	struct note *next;
	enum note_kind kind;
	struct obj_key key, over, parent, new_parent;
	struct note_stat st, before;
	uint64_t left;
	bool wrote, last, is_dir, exchange, late;
	const char *name, *new_name; /* borrowed, or behind the struct when kept */
};
void note_apply(struct engine *e, const struct note *n); /* [objects, write] */
bool note_push(struct engine *e, const struct note *n); /* copied; false: lost, and counted */
void note_drain(struct engine *e); /* [objects, write] all that was pushed before */
void note_replay(struct engine *e); /* the same, by the opener before the state turns ready */
void note_kick(
        struct engine *e); /* no lock held: what lies in the queue is applied, unless a holder of the table does it */
void note_settle(struct engine *e); /* no lock held, may wait: all that was pushed before is applied */
void note_forget(struct engine *e); /* at the end */
bool note_trylock(struct engine *e); /* [FUSE thread] false: leave it in the queue */
void note_openw_lock(struct engine *e);
/* note_open_write - is the file open for writing? If not, the note of the last release has been applied. [objects, write] */
bool note_open_write(struct engine *e, const struct obj_key *key);
/* e->objects, with every note applied that was given before */
void eng_wrlock(struct engine *e);
void eng_rdlock(struct engine *e);
void eng_unlock(struct engine *e);

/* ---- snapshots open for searching (snaps.c) ----------------------------------------------------------------------------------- */
struct eng_snap { /* [e->snap_lock] */
	struct engine *child; /* NULL: an empty place */
	char name[CONF_SNAPSHOT_NAME_MAX + 1];
	char dir[128]; /* the child's store_dir */
	uint32_t users;
	uint64_t used_ns;
};

/* ---- the engine -------------------------------------------------------------------------------------------------------------- */
struct engine {
	struct eng_cfg cfg;
	struct os *os;
	bool root_daemon;
	uint32_t euid;
	uint32_t *own_groups;
	uint32_t own_group_n;
	_Atomic uint64_t proc_kept[PERM_KEPT]; /* perm.c: pid << 32 | descriptor of its /proc status; 0: none */
	uint64_t start_ns;

	/* 1. life */
	pthread_mutex_t life;
	_Atomic int state; /* enum eng_comp_state of store and index; written under life */
	_Atomic int stopping;
	bool started, opener_busy, open_wanted, retry_now;
	uint64_t retry_at_ns;
	uint32_t retry_s, open_tries;
	struct vx_errinfo fail;
	struct eng_job *parked, **parked_tail; /* by priv.p[0] */
	uint32_t parked_n;
	struct eng_job *waiters; /* EV_wait, by priv.p[0] */
	struct eng_watch watch; /* told NULL: nobody hears of changes behind the mount */
	_Atomic int walk_due, walk_running;
	_Atomic uint32_t walk_no; /* number of the running or last walk */
	_Atomic uint64_t walks_begun,
	        walks_done; /* numbers of the last that began, and of the last that came to its end */
	_Atomic uint64_t events_lost;
	_Atomic uint64_t resync_at_ns; /* no walk before: a commit was rolled back, the disk is full */
	_Atomic uint32_t resync_s;
	struct perf_watch pace; /* its own lock */
	_Atomic int baseline_dropped; /* the kept one is to go as well */
	_Atomic uint64_t damaged; /* catalog rows that could not be read */
	bool rebind; /* the root's key differs from the catalog's: objects are found again by path */

	/* 2. objects */
	pthread_rwlock_t objects;
	struct note *_Atomic notes; /* the newest first: note_queue.c */
	_Atomic uint32_t notes_n;
	pthread_mutex_t openw_lock; /* t.openw; a leaf */
	_Atomic int behind; /* how many of those who work behind the scenes (ingest, embedding) hold it */
	struct objects t;
	_Atomic uint64_t change_seq; /* renames and unlinks noted: who looked at paths without the lock looks again */
	struct oid_ring ingest_q; /* [objects] */
	struct oid_ring look_q; /* [objects] second looks, which nobody waits for */
	struct oid_ring walk_q; /* [objects] directories to list */
	struct oid_ring
	        ignore_q; /* [objects] directories whose rules of what is left out have changed; each counts as pending */
	uint64_t err_oid[ENG_ERRORS_KEPT]; /* [objects] files that came to state error last, a ring */
	uint32_t err_n;
	_Atomic bool loose; /* there is something in it */
	struct oid_ring
	        loose_q; /* [objects] lost their last known name behind the mount: what follows may tell the new one */
	_Atomic uint64_t pending; /* objects queued or in work */
	_Atomic uint64_t ingest_queued, ingest_done, ingest_failed;
	_Atomic bool ingest_held; /* it keeps still and looks by itself */

	/* collections */
	pthread_mutex_t coll_lock; /* guards the list; taken after objects, before a collection's own */
	struct eng_coll *colls;

	struct store *st; /* set before state becomes ready, cleared after all threads have ended */
	struct pool ops;
	pthread_mutex_t ops_lock;
	pthread_cond_t ops_cond;
	uint32_t ops_out, ops_waiting; /* [ops_lock] */

	struct wq search_q, update_q, index_q; /* jobs by priv.item */
	struct bell life_bell, ingest_bell, index_bell, update_bell;
	struct thread opener, searcher[ENG_SEARCHERS], updater, ingester, indexer;
	_Atomic int index_stop_now;
	_Atomic uint64_t text_ver;
	_Atomic uint64_t text_commits; /* texts replaced: who read the full text before looks again */
	struct sem *sem; /* sem.h; NULL where no text is ingested */
	_Atomic uint32_t text_cid; /* the collection that answers as `text`; 0: the empty one */
	/* snapshots */
	struct engine *live; /* a snapshot's engine: the one that knows files as they are; NULL: this is it */
	pthread_mutex_t snap_lock;
	pthread_cond_t snap_cond; /* a user has left */
	struct eng_snap snap[ENG_SNAPS_OPEN];
	char snap_dropped[CONF_SNAPSHOT_NAME_MAX + 1]; /* [snap_lock] the one that is being dropped; "": none */
	struct wq snap_q;
	struct thread snapper;
	/* ingest's own */
	struct ingest *ing;
};
static inline bool eng_ready(const struct engine *e)
{
	return atomic_load_explicit(&e->state, memory_order_acquire) == ENGS_ready;
}
static inline bool eng_stopping(const struct engine *e)
{
	return atomic_load_explicit(&e->stopping, memory_order_acquire) != 0;
}
/* what is not known yet, notes in the queue with it */
static inline uint64_t eng_pending(const struct engine *e)
{
	return atomic_load(&e->pending) + (eng_ready(e) ? atomic_load(&e->notes_n) : 0);
}
/* e->objects for ingest and embedding: told apart, so that it can be counted whether file I/O ever waits for them */
static inline void behind_wrlock(struct engine *e)
{
	eng_wrlock(e);
	atomic_fetch_add_explicit(&e->behind, 1, memory_order_relaxed);
}
static inline void behind_unlock(struct engine *e)
{
	atomic_fetch_sub_explicit(&e->behind, 1, memory_order_relaxed);
	eng_unlock(e);
}
/* lazy.c */
void lazy_thread(void *arg);
/* baseline.c */
uint64_t baseline_step(struct engine *e); /* [opener] ns until it wants to be called again */
void baseline_load(struct engine *e); /* [opener] before any operation of the store */
void lazy_want(struct engine *e); /* ask for opening */
/* refuse or park; the caller has seen that the store is not ready. ENG_DONE or ENG_PARKED, or -1: it is ready by now */
int lazy_park(struct engine *e, struct eng_job *j);
void lazy_answer_all(struct engine *e, int rc);
void lazy_close(struct engine *e);
/* job.c */
int job_dispatch(struct engine *e, struct eng_job *j, bool may_inline); /* store is ready */
int job_refuse(struct eng_job *j, int rc, const char *detail); /* fills rc and err; returns rc */
int job_finish(struct engine *e, struct eng_job *j, int rc, bool parked); /* ENG_DONE, or done() is called */
int job_push(struct engine *e, struct wq *q, struct eng_job *j); /* parks */
void job_wait_check(struct engine *e);
bool job_waiting(struct engine *e); /* does anybody wait for quiet? */
void job_poke(struct engine *e); /* eng_poke without the snapshots' engines */
void search_thread(void *arg);
void update_thread(void *arg);
void job_op_done(struct engine *e, struct eng_job *j, int rc); /* one of the operations the job waits for */
void job_ops_begin(struct engine *e, struct eng_job *j);
void job_op_add(struct eng_job *j, struct eng_op *o);
void job_ops_end(struct engine *e, struct eng_job *j, int rc); /* all are submitted */
int job_keep_fd(struct engine *e, struct eng_job *j); /* dups what is borrowed until eng_submit returns */
void job_close_fd(struct engine *e, struct eng_job *j);
bool job_owner(const struct engine *e, const struct eng_job *j);
/* note.c */
void eng_lost(struct engine *e);
bool obj_persist(struct engine *e, struct eng_obj *o); /* [objects, write] false: op pool empty */
void obj_drop(struct engine *e, struct eng_obj *o); /* [objects, write] gone from search and catalog */
void link_put_noted(
        struct engine *e, struct eng_obj *o, struct eng_obj *parent, const char *name); /* [objects, write] */
void link_del_noted(struct engine *e, struct eng_link *l); /* [objects, write] */
void ingest_push(struct engine *e, struct eng_obj *o, uint8_t what); /* [objects, write] */
bool vec_stamp_put(struct engine *e, struct eng_obj *o, struct eng_vec *v); /* [objects, write] */
bool text_stamp_put(struct engine *e, struct eng_obj *o);
static inline int64_t ts_ns(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
void note_stat_of(struct note_stat *s, const struct stat *st);
void stamp_of(struct stamp *s, const struct note_stat *st); /* unhashed */
static inline bool stamp_same(const struct stamp *s, const struct note_stat *st)
{
	return s->size == st->size && s->mtime_ns == st->mtime_ns && s->ctime_ns == st->ctime_ns;
}
static inline bool stamp_same_data(const struct stamp *s, const struct note_stat *st)
{
	return s->size == st->size && s->mtime_ns == st->mtime_ns;
}
static inline bool text_changed(const struct eng_obj *o)
{
	return o->change_n != o->text_seen;
}
enum eng_state vec_state(const struct eng_vec *v, const struct note_stat *st);
enum eng_state text_state(const struct eng_obj *o, const struct note_stat *st);
int eng_path_clean(const char *s, char *p, size_t cap); /* its length, or < 0 */
void link_count_check(struct engine *e, uint64_t oid, uint64_t nlink);
/* update.c */
void update_run(struct engine *e, struct eng_job *j); /* on the update thread */
int eng_resolve(struct engine *e, const struct obj_key *key, int fd, const char *path, char *buf, size_t cap,
        uint64_t *ret_oid, struct note_stat *ret_st);
enum { STAGE_REPLACE = 1 }; /* priv.stage of the engine's own work for the update thread */
void replace_submit(struct engine *e, uint64_t oid); /* what the object has inherited goes to the store now */
void replace_run(struct engine *e, struct eng_job *t);
int put_visible(struct eng_op *o, int rc);
int eng_read_payload(struct engine *e, struct eng_job *j, uint32_t cid, bool is_free, uint64_t owner, const char **ret,
        uint32_t *ret_n);
int get_slow(struct engine *e, struct eng_job *j);
void reads_fresh(struct engine *e, struct eng_job *j);
int rd_sync(struct engine *e, struct store_read *rd); /* threads that may wait: a read on a reader thread, answered */
void update_replace_queue(struct engine *e, struct eng_obj *over, struct eng_obj *moved); /* [objects, write] */
int inline_get(struct engine *e, struct eng_job *j); /* 1: needs a thread */
/* search.c */
int export_run(struct engine *e, struct eng_job *j);
int search_run(struct engine *e, struct eng_job *j);
bool search_cheap(struct engine *e, struct eng_job *j);
/* filter_cache.c: bits of rows (cid), or ids of objects (cid 0), copied in and out */
bool filter_cached(struct engine *e, const struct flt *f, uint32_t cid, uint32_t rows_n, uint64_t generation,
        struct arena *a, uint64_t **ret, uint32_t *ret_n);
void filter_cache_put(struct engine *e, const struct flt *f, uint32_t cid, uint32_t rows_n, uint64_t generation,
        const uint64_t *data, size_t bytes, uint32_t n);
void filter_cache_drop(const struct engine *e);
/* judge.c: is a candidate a result? */
struct perm_as {
	struct engine *e;
	bool on, manual;
	uint32_t uid, gid, group_n;
	const uint32_t *groups;
	int secbits; /* the thread's own, put back at the end */
};
struct judge {
	struct engine *e;
	struct eng_job *j;
	struct perm_as as;
	char *path, *path2; /* CONF_PATH_MAX + 1 each, in the job's arena */
	const char *scope;
	size_t scope_n;
	const char *coll_name;
	struct obj_key key; /* of the file that passed last */
	bool gone; /* the last file that did not pass is not there any more (at a snapshot) */
	bool ghost; /* a file was not where it was said to be */
	uint64_t ghost_oid;
};
int judge_begin(struct judge *g, struct engine *e, struct eng_job *j);
void judge_end(struct judge *g);
/* judge_file - 1: readable by the caller, in scope; path in g->path, *st as it is. 0: not a result. @mode R_OK or W_OK */
int judge_file(struct judge *g, uint64_t oid, struct note_stat *ret_st, uint64_t *ret_ino);
/* snaps.c */
void snaps_thread(void *arg);
void snaps_search(struct engine *e, struct eng_job *j); /* answers the job; on a search thread */
void snaps_poke(struct engine *e);
void snaps_close(struct engine *e); /* no thread of @e is left that could search at one */
void engine_child_free(struct engine *e); /* eng_free of an engine that has no snapshots itself (engine.c) */
/* snaps_state - what @s, told by an old stamp against the file's stat, is by the file's hash where the live engine knows it */
enum eng_state snaps_state(struct engine *e, const struct stamp *t, uint64_t oid, enum eng_state s);
/* perm.c */
int perm_begin(struct perm_as *as, struct engine *e, const struct eng_caller *who, struct arena *a);
void perm_end(struct perm_as *as);
void perm_done(struct engine *e); /* nobody asks any more */
int perm_path(struct perm_as *as, const char *path, int mode); /* 0 or -errno */
int perm_check(struct engine *e, const struct eng_caller *who, struct arena *a, const char *path, int mode);
/* ingest.c, walk.c, index_thread.c, status.c */
void ingest_thread(void *arg);
void ingest_pending_less(struct engine *e); /* one object, or directory of ignore_q, less is pending */
bool ignore_marked(int fd); /* does this directory or file carry user.vexfs.ignore? */
bool ignore_list_name(const char *name); /* .gitignore, .vexfsignore */
void ignore_changed(struct engine *e,
        struct eng_obj *o); /* [objects, write] below this directory the rules have changed; NULL: nothing */
void walk_run(struct engine *e);
/* note_former_heir - who has the name that o was renamed away from, and may inherit. NULL: nobody. [objects] */
struct eng_obj *note_former_heir(struct engine *e, const struct eng_obj *o);
/* note_name_kept - the object has a name: nobody inherits, and the catalog forgets the name that another has now. [objects, write] */
void note_name_kept(struct engine *e, struct eng_obj *o);
/* walk_compare - does what the table has of this object's content still hold? Else ingest looks. [objects, write] */
void walk_compare(struct engine *e, struct eng_obj *o, const struct note_stat *st);
void walk_want(struct engine *e);
void walk_later(struct engine *e); /* at growing intervals, while something stands in the way */
void index_thread(void *arg);
void compact_step(struct engine *e, struct eng_coll *c);
void reclaim_step(struct engine *e);
/* recall.c: recall measured on the live graph, and what follows from it */
void recall_load(struct engine *e, struct eng_coll *c);
int recall_save(struct engine *e, struct eng_coll *c);
bool recall_step(struct engine *e, struct eng_coll *c); /* true: it has measured */
uint32_t recall_ef(struct eng_coll *c, uint32_t k); /* for a search that names no ef; ENG_EF_EXACT: scan */
const char *recall_state(const struct eng_coll *c); /* [c->lock] */
int recall_report(struct engine *e, struct coll_view *v, struct sbuf *b);
int status_run(struct engine *e, struct eng_job *j);
void index_job(struct engine *e, struct eng_job *j);

/* eng_open_unseen - open a user's file or directory for our own reading without leaving a trace in its atime, where we may (root, the
 * owner).  fd >= 0 or -errno. */
static inline int eng_open_unseen(struct os *os, int dirfd, const char *path, int flags)
{
	int fd = os_openat(os, dirfd, path, flags | O_NOATIME | O_CLOEXEC, 0);
	return fd == -EPERM ? os_openat(os, dirfd, path, flags | O_CLOEXEC, 0) : fd;
}
