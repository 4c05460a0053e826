/* store.h - VectorStorageManager: the truth about vectors, on disk.
 *
 * A store is a directory: catalog.db (SQLite, WAL, synchronous FULL), cN/vS.vec (slots of collection N, segment S), cN/gG.hnsw
 * (published graphs, written by index/, recorded here), LOCK.  One store thread owns every write.  A change is a struct store_op:
 *
 *     submit -> [store thread] applied: slots pwritten, SQL executed in the open transaction -> visible()
 *            -> fdatasync(slot files) -> COMMIT -> generation + 1 -> durable()
 *
 * Ops are applied in the order submitted.  A group commits when an op that wants durability has been applied and the queue is
 * empty, when the group is old (1 s) or large.  A failed write, sync or COMMIT poisons the store: every op of the group and all
 * later ones get durable(rc < 0), reads go on.  A full disk refuses ops one by one, by visible(-VX_ERR_store_full), before anything is
 * changed; only when the room reserved for the catalog's log proves too small is the group rolled back, without poisoning: its ops and
 * those queued get durable(-VX_ERR_store_full), and what they were told to be visible is not there any more.
 * Two reader threads run FTS and point look-ups on read-only connections with a deadline.  FUSE threads call only the functions
 * marked [any]; they do no I/O and no SQL. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/objkey.h"
#include "base/os.h"
#include "base/wq.h"
#include "simd/rows.h"

#define STORE_OID_ROOT    1u /* the mount's root directory */
#define STORE_CID_DEFAULT 1u
#define STORE_CID_TEXT    2u
/* vectors of chunks lie in a collection a model, named so, with the model's fingerprint in hex behind it; a name no user can give.
 * There an owner has many live vectors, told apart by the hash in their stamp. */
#define STORE_MODEL_COLL "text."

struct stamp { /* what a file was when its vector or text was made */
	uint64_t size;
	int64_t mtime_ns, ctime_ns;
	uint8_t hash[16];
	uint8_t hashed; /* hash is known */
};
enum store_obj_kind { STORE_OBJ_dir, STORE_OBJ_file };
enum store_text_state { STORE_TEXT_none, STORE_TEXT_done, STORE_TEXT_not_text, STORE_TEXT_error };

struct store_coll {
	uint32_t cid;
	char name[CONF_COLLECTION_NAME_MAX + 1];
	uint32_t dim; /* 0: bound by the first vector */
	uint8_t metric, dtype;
	uint32_t M, ef_construction, ef;
	uint32_t uid, gid, mode;
};

enum store_op_kind {
	SOP_barrier, /* nothing but its callbacks */
	SOP_coll_create, /* coll */
	SOP_coll_dim, /* cid, coll.dim: bind (or 0: unbind) */
	SOP_coll_drop, /* cid: rows, slot files, graphs go */
	SOP_obj_put, /* oid, key, obj_kind */
	SOP_obj_del, /* oid: links, text, payload go; its vectors become dead */
	SOP_link_put, /* oid, parent, name; -VX_ERR_no_object: no obj_put of oid is in the catalog (it may have been rolled back) */
	SOP_link_del, /* oid, parent, name */
	SOP_vec_put, /* cid, oid or free_id, vec, vec_bytes, stamp; old_row (or UINT32_MAX) becomes dead; ret_row.
			* -VX_ERR_no_object as above */
	SOP_vec_del, /* cid, old_row becomes dead */
	SOP_vec_move, /* cid, old_row: its vector is copied to a free row below it (ret_row), same owner and stamp, old_row becomes dead.
			  * -VX_ERR_bad_value: no free row below, or old_row is not live. For compaction: see store_compactable */
	SOP_vec_stamp, /* cid, old_row, stamp */
	SOP_row_free, /* cid, old_row: dead row is in no graph and no reader: may be reused */
	SOP_payload_put, /* oid, or cid + free_id; data, data_n = JSON; data_n 0 removes */
	SOP_text_chunks, /* oid, text_ver, chunk[chunk_n] */
	SOP_text_done, /* oid, text_ver, stamp, text_state, error: older versions' chunks go; this one is searched */
	SOP_text_stamp, /* oid, stamp */
	SOP_chunk_rows, /* cid, oid, text_ver, data = u32 LE each: the row of each chunk's vector by ord (UINT32_MAX: none yet); rows
			 * drop[drop_n] become dead. -VX_ERR_file_changed: the text is another by now; data NULL: forget */
	SOP_graph_put, /* cid, graph_gen, name: a published graph; older ones but one are dropped */
	SOP_meta_put, /* name, data; cid: 0, or the collection it belongs to and goes with, whose number the name ends in after a dot:
		       * -VX_ERR_no_collection when that is gone */
	SOP_snapshot, /* the store's own: data is snapshot.c's; the open group is committed first */
};
struct store_chunk {
	uint32_t ord;
	uint64_t byte0, byte1; /* in the file, [byte0, byte1) */
	uint32_t line0, line1; /* 1-based, inclusive */
	const char *text;
	uint32_t text_n;
};
struct store_op {
	struct wq_item item;
	enum store_op_kind kind;
	bool want_durable;
	uint32_t cid, old_row;
	uint64_t oid, parent, free_id;
	bool is_free_point;
	uint8_t obj_kind, text_state;
	int32_t error;
	struct obj_key key;
	char name[CONF_NAME_MAX + 1];
	struct stamp stamp;
	const void *vec; /* borrowed until visible() */
	uint32_t vec_bytes;
	const void *data; /* borrowed until visible() */
	uint32_t data_n;
	uint64_t text_ver, graph_gen;
	const struct store_chunk *chunk; /* borrowed until visible() */
	uint32_t chunk_n;
	const uint32_t *drop; /* borrowed until visible() */
	uint32_t drop_n;
	const struct store_coll *coll; /* borrowed until visible() */
	/* out */
	uint32_t ret_row;
	uint32_t ret_cid;
	uint64_t ret_generation; /* set before durable() */
	int ret_rc; /* what visible() was told */
	/* both on the store thread, in order, each exactly once; may be NULL. After durable() the store never touches the op. */
	void (*visible)(struct store_op *op, int rc);
	void (*durable)(struct store_op *op, int rc);
	void *u;
};

struct store_cfg {
	struct os *os;
	int root_fd; /* DIR; borrowed for the store's life */
	const char *store_dir; /* NULL: ".vexfs" inside DIR; else a path */
	bool read_only;
	uint32_t commit_ms; /* age at which a group commits by itself; 0: 1000 */
	uint32_t commit_ops; /* size at which it does; 0: 4096 */
};
struct store;

/* store_open - open or create; takes LOCK; upgrades older formats after keeping a copy of the catalog; starts the store thread
 * and two readers. Blocks: call it on an opening thread. -VX_ERR_store_locked (detail: pid), -VX_ERR_store_newer,
 * -VX_ERR_store_format, -VX_ERR_store_corrupt, -errno. */
int store_open(const struct store_cfg *cfg, struct store **ret, struct vx_errinfo *reterr);
/* store_close - stop taking ops, commit what is queued, checkpoint, unlock. Takes NULL. */
void store_close(struct store *st);

/* store_load - everything the engine keeps in memory, on the opening thread, before any op. A callback < 0 stops it. Rows whose
 * own CRC fails are skipped, counted and reported by damaged(). */
#define STORE_RUN_ROWS 512u
struct store_idrun { /* of rows [512 i, 512 i + 512): free points whose ids follow each other as the rows do, or lie in the room */
	uint64_t first; /* the id of row 512 i, were it one */
	bool follows;
};
struct store_load_cb {
	int (*coll)(void *u, const struct store_coll *c);
	int (*obj)(void *u, uint64_t oid, const struct obj_key *key, uint8_t kind, uint8_t text_state,
	        int32_t text_error, const struct stamp *text_stamp, bool has_payload);
	int (*link)(void *u, uint64_t oid, uint64_t parent, const char *name);
	int (*vec)(void *u, uint32_t cid, uint32_t row, uint64_t generation, bool dead, bool is_free_point,
	        uint64_t oid_or_id, const struct stamp *stamp);
	int (*graph)(void *u, uint32_t cid, uint64_t graph_gen, const char *name); /* newest first */
	void (*damaged)(void *u, const char *table, uint64_t rowid);
	/* after all of vec: row[n] of a file's chunks by ord, of the text that is searched; may be NULL */
	int (*chunk_rows)(void *u, uint32_t cid, uint64_t oid, uint64_t ver, const uint32_t *row, uint32_t n);
	/* The live free points of a large collection, all at once, none of which is told by vec(); both NULL: by vec() each.
	 * points_room - where ids are to be read to, a word for each of @rows rounded up to 512, @runs_n runs of them; NULL: no memory.  What
	 * comes to lie there counts for nothing before points() is called, which may not happen.
	 * points - bit r of @live: row r < @rows is such a point; @n: how many.  @run[rows / 512, rounded up]: where its id is */
	uint64_t *(*points_room)(void *u, uint32_t cid, uint32_t rows, uint32_t runs_n);
	int (*points)(
	        void *u, uint32_t cid, const uint64_t *live, uint32_t rows, uint32_t n, const struct store_idrun *run);
};
int store_load(struct store *st, const struct store_load_cb *cb, void *u);

void store_submit(
        struct store *st, struct store_op *op); /* [any] never blocks, never fails: failure comes by callback */
uint64_t store_generation(const struct store *st); /* [any] newest commit */
/* store_slots_anywhere - 1: some collection of the store in @dirfd has a slot file, which an empty catalog would declare free space; 0: none;
 * < 0. */
int store_slots_anywhere(struct os *os, int dirfd);
int store_health(const struct store *st); /* [any] 0, -VX_ERR_store_poisoned, -VX_ERR_store_full, … */
const struct vec_rows *store_rows(const struct store *st, uint32_t cid); /* [any] NULL: none */
/* ^ stable until the collection is dropped, or unbound or bound by SOP_coll_dim: fetch it again after that op's visible() (bind)
 * or durable() (unbind).  The old view stays readable (as empty or as it was) until the second store_reclaim after that. */
int store_coll_dirfd(const struct store *st, uint32_t cid); /* cN/, for index_publish/index_open; borrowed */
uint64_t store_queue_len(const struct store *st); /* [any] ops submitted and not yet durable */
/* store_reclaim - tell that whatever was fetched from store_rows, rows_slot or store_coll_dirfd before the PREVIOUS call of this
 * function is in nobody's hands any more: what was retired before that call (outgrown maps, dropped collections) is freed by the
 * store thread.  Never calling it is safe: all goes at store_close. [any] */
void store_reclaim(struct store *st);
bool store_retired(const struct store *st); /* [any] something waits for that */
/* store_compactable - live rows at the end of the collection that would fit into free rows before them, when more than a third of what its
 * slots take on disk are free ones in pages that cannot become holes, or less than a quarter of its rows live; 0: nothing to do.  The engine moves that many of its highest live rows by SOP_vec_move, links the new rows,
 * unlinks and frees the old; the emptied end then goes back to the file system (holes), as does any page of free slots. [any] */
uint32_t store_compactable(const struct store *st, uint32_t cid);
/* store_meta_get - what SOP_meta_put stored, as of the last commit before store_load; on the opening thread, before any op.
 * Return 0; -ENOENT; -ERANGE (ret_n: bytes needed). */
int store_meta_get(struct store *st, const char *name, void *buf, uint32_t cap, uint32_t *ret_n);
/* store_row_ok - check the slot's CRC (vector bytes and vid); false: damaged, do not serve it. [any] page faults only */
bool store_row_ok(const struct store *st, uint32_t cid, uint32_t row);

enum store_read_kind {
	SRD_fts, /* text, limit -> hits by rank */
	SRD_payload, /* oid, or cid + free_id -> data (JSON), data_n */
	SRD_chunk, /* oid, ord -> hits[0] with its text as snippet */
	SRD_chunks, /* oid: chunks from ord on, at most limit -> hits[hit_n] by ord, text as snippet (NULL: its row is damaged); ret_ver */
	SRD_chunk_list, /* pick[limit] -> hits[limit], text as snippet; ver 0: there is no such chunk */
	SRD_chunk_count, /* oid -> id_n */
	SRD_files, /* text -> ids[id_n] of the files whose text has one of the words or phrases, ascending */
	SRD_free_ids, /* cid: is there a row of free_id -> ret_row (UINT32_MAX: none) */
	SRD_filter /* filter; cid and limit (rows looked at) -> bits, id_n set; cid 0: of files with text -> ids[id_n], ascending */
};
struct store_fts_hit {
	uint64_t oid;
	uint32_t ord;
	float score; /* in (0, 1), higher is better */
	uint64_t byte0, byte1;
	uint32_t line0, line1;
	const char *snippet; /* in the arena; may be NULL */
	uint32_t snippet_n;
	uint64_t ver; /* of the text it is a chunk of; SRD_fts leaves it 0 */
};
struct store_pick {
	uint64_t oid;
	uint32_t ord;
};
struct store_read {
	struct wq_item item;
	enum store_read_kind kind;
	struct arena *arena; /* results live here */
	const char *
	        text; /* user's words, any bytes; 0x1f narrows, 0x1e stands at both ends of a phrase; borrowed until done */
	const struct store_pick *pick; /* borrowed until done */
	uint32_t text_n, limit, offset;
	bool want_snippet;
	uint64_t oid, free_id;
	uint32_t cid, ord;
	bool is_free_point;
	const struct flt *filter; /* base/filter.h */
	const _Atomic int *cancel;
	/* out */
	uint64_t *bits, *ids;
	uint32_t id_n;
	struct store_fts_hit *hits;
	uint32_t hit_n;
	const char *data;
	uint32_t data_n, ret_row;
	uint64_t ret_ver;
	int rc; /* hits may be 0 with rc 0; -ENOENT: no such payload, chunk; -VX_ERR_deadline, _cancelled, _query_syntax, _arena_full */
	void (*done)(struct store_read *rd); /* on a reader thread */
	void *u;
};
/* store_read - reads see committed state only: what must be read back at once is answered at durable(), not at visible(). */
int store_read(struct store *st, struct store_read *rd); /* [any] 0 queued; -VX_ERR_queue_full, -VX_ERR_shutting_down */

struct store_stats {
	/* disk_bytes: slot files as mapped, holes included; punched_bytes: given back to the file system so far;
	 * tabs_damaged: collections whose rows.tab was found damaged at opening, and not used */
	uint64_t generation, commits, flushes, ops, bytes_slots, disk_bytes, punched_bytes, objects, vectors, dead_rows,
	        chunks, tabs_damaged;
};
void store_stats(struct store *st, struct store_stats *ret); /* [any] counters only */

/* ---- snapshots: whole stores of their own in snap/NAME, as of one commit (snapshot.c) ---------------------------------------------- */
struct store_snap {
	char name[CONF_SNAPSHOT_NAME_MAX + 1];
	bool damaged; /* its catalog cannot be read: the rest is 0 */
	uint64_t generation, made_ns /* since 1970 */, objects, vectors, chunks;
};
/* store_snapshot_create - blocks, while commits and searches go on; the store thread is held for some links or clones alone.  @stop
 * nonzero ends it (-VX_ERR_cancelled).  -VX_ERR_snapshot_name, _exists, _limit, _store_full, …: nothing is left then, or what the
 * next opening sweeps.  One at a time; not on the store thread. */
int store_snapshot_create(struct store *st, const char *name, const _Atomic int *stop, struct store_snap *ret);
/* store_snapshot_list - by name; @ret room for CONF_SNAPSHOTS_MAX. Their number or < 0 */
int store_snapshot_list(struct store *st, struct store_snap *ret);
int store_snapshot_drop(struct store *st, const char *name); /* -VX_ERR_no_snapshot */
/* store_snapshot_path - what store_cfg.store_dir is to be, to open it read-only while @st is open. @ret >= 128. -VX_ERR_no_snapshot */
int store_snapshot_path(struct store *st, const char *name, char *ret, size_t cap);

/* store_verify - check a store that nobody has open: catalog integrity, row CRCs, slot CRCs, catalog against slots and full text.
 * Each finding is told by say(); @repair rebuilds what is derived and drops what is lost, naming it. Return: findings left, < 0. */
struct store_verify_report {
	uint64_t objects, links, vectors, slots_checked, chunks, findings, repaired, lost;
};
int store_verify(const struct store_cfg *cfg, bool repair, void (*say)(void *u, const char *line), void *u,
        struct store_verify_report *ret);
