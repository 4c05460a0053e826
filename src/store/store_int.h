/* store_int.h - what the files of store/ share and nobody else sees.
 *
 * Who owns what: everything below is the store thread's, but for the atomics and the fields marked otherwise.  [any] functions
 * read st->coll[] (pointers published with release), each collection's `rows` and the counters; nothing of it is freed before
 * store_close or a grace period told by store_reclaim. */
#pragma once
#include <stdatomic.h>
#include <string.h>
#include "base/mem.h"
#include "base/thread.h"
#include "store/catalog.h"

#define STORE_THREAD_STACK (256u << 10)
#define STORE_READERS      2u
#define STORE_READ_QUEUE   1024u
#define STORE_SEG_FDS_MAX  64u /* write handles on slot files kept open between groups */
#define STORE_SHM_REGIONS  64u
#define STORE_SHM_BYTES                                                                                                \
	32768 /* WALINDEX_PGSZ: SQLite asks its VFS for regions of this size (sqlite.org/walformat.html) */
#define STORE_WAL_RESERVE  (1u << 20) /* bytes of log a group may take for granted */
#define STORE_WAL_PAGES    1000u /* checkpoint beyond this when idle */
#define STORE_WAL_PAGES_HI 8000u /* and beyond this in any case */

/* ---- slot files ----------------------------------------------------------------------------------------------------------- */
#define SLOTS_MAGIC   "VEXSLOT1"
#define SLOTS_VERSION 1u
#define SLOTS_HEADER  4096u
#define SLOTS_ALIGN   64u

struct seg {
	int fd; /* for writing; -1: not open */
	uint32_t rows; /* the file has room for so many */
	const void *map; /* NULL: not there */
	size_t map_bytes;
	bool dirty;
};
struct coll {
	struct store_coll c;
	_Atomic(struct vec_rows *) rows;
	_Atomic int dirfd;
	struct seg seg[ROWS_SEGS];
	bool dir_dirty; /* a file was made in cN/ since the last commit */
	bool was_bound; /* rows have been published under this struct vec_rows */
	bool born, dying, unbinding; /* in the open group: made, to be dropped, to be unbound */
	bool newly_bound;
	uint32_t next_row;
	uint64_t *free_w; /* bit: the row's slot may be written again */
	uint32_t free_words, free_n, free_hint;
	_Atomic uint32_t rows_seen, free_seen; /* next_row and free_n, for [any] */
	uint32_t punch_at; /* compaction: rows below are looked at */
	uint32_t scatter_n; /* free rows in pages that cannot become holes, so far in this pass */
	_Atomic uint32_t scatter_seen; /* and of the last whole pass, for [any] */
	uint64_t tab_generation; /* of the rows.tab that is there; UINT64_MAX: none that counts */
	bool punch_due, punch_never; /* rows were freed since it began; the file system has no holes */
	uint8_t *buf; /* one slot, being put together */
};

uint32_t slots_vec_room(uint32_t dim, uint8_t dtype); /* bytes of the vector, rounded so that the vid is aligned */
uint32_t slots_stride(uint32_t dim, uint8_t dtype);
/* slots_header - the 64 bytes that begin a slot file */
void slots_header(uint8_t *ret, const struct store_coll *c, uint32_t seg);
int slots_header_check(const uint8_t *h, const struct store_coll *c, uint32_t seg);
/* slot_check - the CRC of one slot as it is on disk; false also for a never-written one. @ret_vid may be NULL */
bool slot_check(const uint8_t *slot, uint32_t dim, uint8_t dtype, uint64_t *ret_vid);
/* slot_check_mapped - the same of a slot as the collection's rows show it, whose vector is in the machine's own order */
bool slot_check_mapped(const uint8_t *slot, uint32_t dim, uint8_t dtype);
void slots_unmap(struct store *st, const void *p, size_t n);
void slots_name(char *ret /* >= 16 */, uint32_t seg); /* "v0.vec" */
void coll_dir_name(char *ret /* >= 16 */, uint32_t cid); /* "c1" */

struct store;
/* slots_bind - a fresh struct vec_rows for the collection's dimension (0: unbound); the old one is retired */
int slots_bind(struct store *st, struct coll *c);
/* slots_open - map what is there of rows [0, n) and publish them; a missing or short file marks its segment bad */
int slots_open(struct store *st, struct coll *c, uint32_t n);
/* slots_put - write one slot and publish the row; the file grows, its map is replaced */
int slots_put(struct store *st, struct coll *c, uint32_t row, const void *vec, uint64_t vid);
int slots_sync(struct store *st, struct coll *c, uint64_t *flushes);
void slots_retire(struct store *st, struct coll *c); /* maps go once nobody can read them; write handles close now */
void slots_rows_free(struct store *st, struct vec_rows *r); /* takes NULL */
void slots_done(struct store *st, struct coll *c); /* everything, at once */
/* slots_punch_step - look at up to @rows rows; pages of free slots become holes. 1: more to look at; 0: done; < 0: given up.
 * Only rows whose freeing is committed may be in the bitmap then: it runs between groups. */
int slots_punch_step(struct store *st, struct coll *c, uint32_t rows);
uint64_t slots_bytes(const struct coll *c);
/* coll_dir_clear - unlink every file of cN/ but those of @keep_graphs; the directory itself too when @rm */
int coll_dir_clear(struct store *st, int dirfd, bool keep_graphs);

int row_alloc(struct coll *c, uint32_t *ret);
int row_free_add(struct coll *c, uint32_t row);
bool row_is_free(const struct coll *c, uint32_t row);

/* ---- the store ------------------------------------------------------------------------------------------------------------ */
struct retired {
	struct retired *next;
	uint64_t epoch;
	const void *map;
	size_t map_bytes;
	struct vec_rows *rows;
	struct coll *coll; /* a dropped collection: its dirfd and memory */
};
struct pend_free {
	struct coll *c;
	uint32_t row;
};
struct pend_unlink { /* files that go after COMMIT */
	struct coll *c;
	char name[CONF_NAME_MAX + 1];
};
struct reader {
	struct thread t;
	struct store *st;
	struct catalog cat;
	struct store_read *cur; /* the reader's own */
	uint64_t deadline_ns;
};
struct store {
	struct os *os;
	int dirfd, lockfd;
	bool read_only, loaded;
	uint64_t commit_ns;
	uint32_t commit_ops;
	struct catalog cat;
	struct cat_state state, state_begin; /* as it will be after COMMIT; as it was before BEGIN */
	uint64_t vid_nonce, vid_seq;
	bool dir_dirty;

	_Atomic(struct coll *) coll[CONF_COLLECTIONS_MAX];
	uint32_t coll_n;

	/* the open group */
	struct wq_item *group, **group_tail;
	uint32_t group_n;
	bool in_tx, group_durable;
	uint64_t group_began_ns;
	int group_fail; /* the group cannot commit: why */
	struct pend_free *pend_free;
	uint32_t pend_free_n, pend_free_cap;
	struct pend_unlink *pend_unlink;
	uint32_t pend_unlink_n, pend_unlink_cap;

	struct retired *retired;
	_Atomic uint64_t epoch, epoch_freed;
	_Atomic uint32_t retired_n;
	uint32_t wal_pages;
	bool vacuum_due;
	_Atomic uint32_t pins; /* snapshots being copied: rows freed since keep their slots */
	struct pend_free *held; /* rows freed by commits while there were pins */
	uint32_t held_n, held_cap;
	int walfd; /* for fallocate alone; -1 */
	uint32_t wal_frames;
	uint64_t wal_reserved;
	const void *shm[STORE_SHM_REGIONS];
	uint32_t shm_n;
	_Atomic uint32_t shm_bad; /* a page of catalog.db-shm was lost: SQLite's view of its log can't be trusted */

	struct wq queue;
	struct thread thread;
	bool thread_on;
	struct wq reads;
	struct reader reader[STORE_READERS];
	uint32_t readers_on;

	_Atomic int health;
	_Atomic uint64_t queue_len, generation;
	_Atomic uint64_t n_commits, n_flushes, n_ops, n_bytes_slots, n_punched, n_disk, n_objects, n_vectors, n_dead,
	        n_chunks, n_tabs_damaged;
};

/* no_space_left - the disk, the quota or the file size limit: a state that passes */
static inline bool no_space_left(int rc)
{
	return rc == -VX_ERR_store_full || rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG;
}

struct coll *coll_find(const struct store *st, uint32_t cid); /* [any] */
int coll_add(struct store *st, const struct store_coll *k, struct coll **ret);
void coll_remove(struct store *st, struct coll *c); /* out of the table; memory is retired */
void colls_forget(struct store *st); /* all at once: no thread runs */
int retire(struct store *st, const void *map, size_t n, struct vec_rows *rows, struct coll *c);
void retired_free(struct store *st, bool all);

void store_thread_main(void *arg);
void store_group_commit(struct store *st); /* the group ends here, well or badly; its ops are answered */
int store_apply(struct store *st, struct store_op *op); /* store_ops.c */
void coll_unbind(struct store *st, struct coll *c); /* in memory: no dimension, no rows */
void reader_main(void *arg);
int store_checkpoint(struct store *st, bool all);
void store_shm_watch(struct store *st);
void store_counters(struct store *st);
int store_path(int dirfd, const char *name, char *ret, size_t cap); /* a path SQLite can open */

/* rowtab.c */
#define ROWTAB_ROWS_MIN 4096u /* smaller collections are read from the catalog in a few milliseconds */
void rowtab_write(struct store *st, struct coll *c); /* at close; failing costs the next opening time, nothing else */
/* rowtab_load - tell cb->points and cb->vec of the rows, and mark those free that are. -ENOENT: no table that counts, nothing was told */
int rowtab_load(struct store *st, struct coll *c, const struct store_load_cb *cb, void *u);

/* store_thread.c */
int store_grp(struct store *st, int rc); /* what the group must hear of */
int store_vec_dead(struct store *st, uint32_t cid, uint32_t row);
int store_tx(struct store *st);

/* chunk_vec.c */
static inline bool store_coll_many(const struct store_coll *k)
{
	return !strncmp(k->name, STORE_MODEL_COLL, sizeof STORE_MODEL_COLL - 1);
}
int chunk_vec_op(struct store *st, struct store_op *op); /* SOP_chunk_rows */
int chunk_vec_read(struct catalog *c, struct store_read *rd); /* SRD_chunks, SRD_chunk_list */
int chunk_vec_count(struct catalog *c, struct store_read *rd);
int chunk_vec_load(struct store *st, const struct store_load_cb *cb, void *u);
/* snapshot.c */
int snapshot_freeze(struct store *st, struct store_op *op); /* SOP_snapshot; on the store thread, between groups */
void snapshots_sweep(struct store *st); /* at opening: what was half made or half dropped goes */

/* fts.c */
int fts_files(struct catalog *c, struct store_read *rd);
/* fts_match - a user's words as an FTS5 expression: each quoted, joined by OR. -VX_ERR_query_syntax: no word */
int fts_match(struct arena *a, const char *text, uint32_t n, const char **ret);
bool fts_no_spaces(uint32_t c); /* fts_token.c: a character of a script that puts no spaces between words */
int fts_search(struct catalog *c, struct store_read *rd);
int filter_search(struct catalog *c, struct store_read *rd); /* filter_sql.c */
