/* engine.h - what ties file changes, vectors, text, index and store together; the one interface of all fronts.
 *
 * Lock order (each lock names what it guards; take them downwards only, never hold one across I/O):
 *   1. e->life     state of components, opening, retry
 *   2. e->objects  rwlock: the object table (keys, links, rows, stamps)   [writers: FUSE threads' notes, the store thread's visible()]
 *   3. coll->lock  one collection's maps: owner -> row, free id -> row, live bits, tail
 *   4. queues (wq)
 *
 * Two kinds of call come in.
 *  - Notes (eng_note_*): a front tells what has just happened to a file.  [FUSE thread]  They change the object table in memory at
 *    once, so the next search sees it, and queue what must be written; they never wait, never fail, never do SQL.  If the queue's
 *    pool is empty the note is dropped, counted (events_lost) and a walk is due, and `complete` turns false until it ends.
 *  - Jobs (eng_submit): a vector verb with an answer.  A job either is answered inline (components ready and the plan is cheap), or
 *    is parked: it runs on one of the two search threads, the store thread or a reader, and done() is called once, there.  A FUSE
 *    worker blocks on nothing of the vector side.
 *
 * Lazy: nothing is opened by eng_new; the first job or eng_start's walk asks the opener thread to open store and index.  Jobs that
 * come meanwhile are parked and answered when it is open, or refused with the reason when it failed; a failed opening is tried
 * again after 1, 2, 4 ... 60 s, and at once by `status`'s owner verb "retry". */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/mem.h"
#include "base/objkey.h"
#include "base/os.h"
#include "base/perf.h"
#include "base/sbuf.h"
#include "base/wq.h"

enum eng_components {
	ENG_none = 0,
	ENG_store = 1,
	ENG_search = 3,
	ENG_all = 7
}; /* store; + index, search; + text ingest, walk */
enum eng_comp_state { ENGS_off, ENGS_cold, ENGS_opening, ENGS_ready, ENGS_failed };

struct eng_cfg {
	struct os *os;
	int root_fd; /* DIR, O_RDONLY|O_DIRECTORY; borrowed */
	const char *dir; /* absolute path of DIR, for people */
	const char *mnt; /* absolute mount point or NULL */
	const char *store_dir; /* NULL: DIR/.vexfs */
	enum eng_components components;
	uint64_t mem_limit;
	bool read_only;
	uint32_t owner_uid; /* the mount's owner */
	/* for status: what serves the mount, why not a faster one ("": nothing to say), bytes reserved for its rings.  The caller's own,
	 * filled by it when known, which is after eng_new; alive as long as the engine */
	const char *transport, *transport_why;
	const uint64_t *transport_ring_bytes;
	const char *watch,
	        *watch_why; /* likewise: how changes behind the mount are seen (NULL: "none"), why no better way */
	const char *version;
	const char *listen; /* likewise: where HTTP is served, "" or NULL: nowhere */
	const char *filters; /* file with the table of external text commands (text/text_filters.h), or NULL */
	/* folder of the model that makes vectors of text; NULL: none, search is by words. Borrowed until eng_start returns */
	const char *model;
	uint64_t model_idle_ms; /* 0: 60 s without use, then its memory is given back */
};
struct engine;
int eng_new(const struct eng_cfg *cfg, struct engine **ret); /* no I/O, no thread */
int eng_start(struct engine *e); /* threads; outside FUSE callbacks */
void eng_stop(struct engine *e); /* answers parked jobs, publishes (<= 5 s), closes */
void eng_free(struct engine *e);
const struct eng_cfg *eng_cfg(const struct engine *e);

/* who asks: every answer holds only what this caller may read. Groups are read from /proc/PID when needed. */
struct eng_caller {
	uint32_t uid, gid;
	int32_t pid; /* 0: no process: uid and gid alone decide */
};

/* ---- notes: after the backing operation succeeded. Keys and stats are borrowed. [FUSE thread] -------------------------------- */
struct eng_file {
	struct obj_key key;
	struct stat st; /* as it is now */
};
/* a writable handle was opened / the last or a not-last one was released, or the file was truncated by path. @wrote: data may differ */
void eng_note_open_write(struct engine *e, const struct obj_key *key);
void eng_note_release_write(
        struct engine *e, const struct eng_file *f, const struct obj_key *parent, const char *name, bool wrote);
void eng_note_changed(struct engine *e, const struct eng_file *f); /* truncate, fallocate without a handle */
/* somebody has written it, perhaps long told: compared with what is known of it */
void eng_note_seen(struct engine *e, const struct eng_file *f);
void eng_note_create(struct engine *e, const struct eng_file *f, const struct obj_key *parent,
        const char *name); /* file, dir, link */
void eng_note_link(struct engine *e, const struct eng_file *f, const struct obj_key *parent, const char *name);
/* @nlink_left: links that remain */
void eng_note_unlink(struct engine *e, const struct obj_key *key, const struct obj_key *parent, const char *name,
        uint64_t nlink_left, bool dir);
/* eng_note_gone - the same, told late by a watcher: by now the name may be another object's, which is left alone */
void eng_note_gone(struct engine *e, const struct obj_key *key, const struct obj_key *parent, const char *name,
        uint64_t nlink_left, bool dir);
/* eng_note_settled - a watcher has told all it has heard: what has no name now is looked for */
void eng_note_settled(struct engine *e);
/* rename; @moved is the object now at the new name; old_parent len 0: from somewhere; @over the one that was replaced there (len 0: none, over_left: its links left);
 * exchange: both moved */
struct eng_rename {
	struct obj_key moved, over, old_parent, new_parent;
	const char *old_name, *new_name;
	uint64_t over_left;
	bool exchange, is_dir;
	struct stat moved_st;
};
void eng_note_rename(struct engine *e, const struct eng_rename *r);
/* our own chmod, chown, utimens, setxattr, link, rename changed ctime: refresh stamps if `before` equalled them */
void eng_note_attr(struct engine *e, const struct obj_key *key, const struct stat *before, const struct stat *after);
/* user.vexfs.ignore was set or removed on a directory or file */
void eng_note_ignore(struct engine *e, const struct obj_key *key);

/* who hears of changes behind the mount, so that `wait` covers them: ask() gives a ticket at once; told(ticket) turns true when all that
 * happened before ask() has been noted, and eng_poke() follows.  Set before the session serves, NULL when the watcher goes. */
struct eng_watch {
	void *u;
	uint64_t (*ask)(void *u);
	bool (*told)(void *u, uint64_t ticket);
};
void eng_set_watch(struct engine *e, const struct eng_watch *w);
/* eng_name_key - the object that is known by this name. false: none, or nobody knows yet. */
bool eng_name_key(struct engine *e, const struct obj_key *parent, const char *name, struct obj_key *ret);

/* ---- cheap reads from memory [FUSE thread, never parks] ---------------------------------------------------------------------- */
/* eng_known - may this file have a vector, payload or text at all? false answers most xattr probes at once. Store not open: true. */
bool eng_known(struct engine *e, const struct obj_key *key);

/* eng_access - access(2) below the root as this caller, ACLs, groups and every ancestor included. 0, -EACCES, -ENOENT ... */
int eng_access(struct engine *e, const struct eng_caller *who, const char *path, int mode);

/* eng_points - has this file user vectors or a payload that could travel with it? 1 and at least so many bytes of vectors; 0 no;
 * -1 the store is not open, nobody knows. */
int eng_points(struct engine *e, const struct obj_key *key, uint64_t *ret_bytes);

/* ---- jobs ----------------------------------------------------------------------------------------------------------------- */
enum eng_verb {
	EV_put, /* file or free point: vector (+ payload) */
	EV_get, /* -> vec, dim, state, payload; coll "*": all user vectors of a file -> out_packed[], and payload */
	EV_del, /* vector of collection, or all when coll is "*" */
	EV_payload, /* set (data_n 0: remove) */
	EV_batch_put, /* points[point_n] */
	EV_search, /* vector | text | like -> res[] */
	EV_status, /* -> text (JSON) */
	EV_wait, /* until pending 0 (and durable); want_durable, rescan */
	EV_coll_create, /* coll */
	EV_coll_drop,
	EV_coll_info, /* -> colls[0] */
	EV_coll_list, /* -> colls[] the caller may see */
	EV_export, /* rows [cursor, ...) of a collection -> points[]; cursor moves on; 0 points: the end */
	EV_verify, /* index_check + counts of the live store -> text (JSON) */
	EV_model, /* owner: from now on text is embedded by the model in this folder (path; NULL or "": by none) */
	EV_retry, /* owner: try a failed opening now */
	EV_index, /* coll, index_op: link all rows and publish; the collection's own or the mount's owner -> colls[0] */
	EV_snap_create, /* at: its name -> out_text (JSON). The mount's owner's, as EV_snap_drop */
	EV_snap_drop, /* at */
	EV_snap_list, /* -> out_text (JSON) */
	EV_locate /* key -> out_text: where that file is now, relative to the root, by a path the caller may read; -ENOENT.
	                   May be answered inline whenever the store is ready */
};
enum eng_index_op {
	ENG_INDEX_build,
	ENG_INDEX_rebuild,
	ENG_INDEX_optimize
}; /* rebuild: from nothing; optimize: no dead rows left */
enum eng_state {
	ENG_STATE_none,
	ENG_STATE_fresh,
	ENG_STATE_stale,
	ENG_STATE_pending,
	ENG_STATE_error,
	ENG_STATE_gone /* of a search at a snapshot alone: the file is not there any more */
};
enum eng_mode { ENG_MODE_auto, ENG_MODE_vector, ENG_MODE_text, ENG_MODE_hybrid };

struct eng_point {
	const char *path; /* relative to the mount's root; NULL: free point */
	uint64_t id;
	const void *vec; /* collection dtype, f32 for f32 */
	uint32_t vec_bytes;
	const char *payload;
	uint32_t payload_n;
};
struct eng_hit {
	const char *path; /* relative to the root, in the arena; NULL: free point */
	struct obj_key key; /* of a file: what EV_locate finds it by later */
	uint64_t id, ino;
	float score, distance;
	uint8_t state; /* enum eng_state */
	const char *collection;
	bool has_locator;
	uint64_t byte0, byte1;
	uint32_t line0, line1;
	const char *snippet;
	const char *payload;
	uint32_t payload_n;
	const void *vec; /* when asked with_vectors */
	uint32_t vec_bytes;
};
struct eng_packed { /* one user vector of a file, as it travels with it */
	const char *coll;
	const void *vec;
	uint32_t vec_bytes, dim;
	uint8_t metric, dtype;
	bool hashed, stale; /* hash is that of the content the vector describes; stale: not the file's content now */
	uint8_t hash[16];
};
struct eng_coll_info {
	char name[CONF_COLLECTION_NAME_MAX + 1];
	uint32_t dim, uid, gid, mode, M, ef_construction, ef;
	uint8_t metric, dtype;
	uint64_t points, linked, tail, dead;
	const char *index; /* "flat", "hnsw" */
	uint64_t index_bytes;
	uint32_t target_recall; /* recall@10 asked for, in 1/10000; 0: none */
	uint32_t recall,
	        recall_ef; /* measured, in 1/10000 (0: not yet), and the ef that searches use (0: they are exact) */
	const char *recall_state;
};
struct eng_job {
	/* in: zero the struct, then set what the verb needs; all pointers borrowed until done */
	enum eng_verb verb;
	struct eng_caller who;
	struct arena *arena; /* results live here; the job's owner keeps it until it has read them */
	const char *coll; /* NULL: default (search by text: "text") */
	struct obj_key key; /* the file by key: from fs/, or len 0 and path */
	int fd; /* open (O_PATH will do) fd of that file so its path can be found, or -1; borrowed until eng_submit RETURNS
	                        (the engine dups it when it parks) */
	const char *path; /* or the file by path relative to the root */
	bool is_free_point;
	uint64_t free_id;
	const void *vec;
	uint32_t vec_bytes;
	const char *payload;
	uint32_t payload_n;
	bool want_durable, rescan, recall, exact, wait, stale, with_vectors, with_payload, with_snippet, group_chunk,
	        sum, with_chunks, inline_ok;
	const char *text; /* search by words */
	uint32_t text_n;
	enum eng_mode mode;
	const char *like; /* path: search near that file's vector, which is left out itself */
	bool by_like_key; /* like by job->key/fd instead */
	const char *at; /* EV_search: as of this snapshot; NULL: now */
	const char *scope; /* subtree relative to the root, NULL: all */
	uint32_t k, ef; /* 0: defaults */
	const struct flt *filter; /* base/filter.h, or NULL; borrowed until done */
	float min_score;
	bool has_min_score;
	struct eng_coll_info coll_new; /* EV_coll_create: name dim metric dtype M … (0: defaults) */
	const struct eng_point *points;
	uint32_t point_n;
	bool expect_hash; /* EV_put on a file: the vector describes the content of this hash, and is fresh only on that */
	uint8_t hash[16];
	uint8_t index_op; /* enum eng_index_op */
	uint64_t cursor;
	_Atomic int cancel; /* set by anyone: FUSE_INTERRUPT */
	void (*done)(struct eng_job
	                *j); /* called once if eng_submit returned ENG_PARKED; on an engine thread (128 KiB of stack) */
	void *u;
	/* out */
	int rc; /* 0 or < 0 */
	struct vx_errinfo err; /* detail when rc < 0 */
	uint64_t generation, pending, took_ns, distances;
	bool complete, used_exact;
	struct eng_hit *res;
	uint32_t res_n;
	const void *ret_vec;
	uint32_t ret_vec_bytes, ret_dim;
	uint8_t ret_state;
	int ret_error; /* EV_get of a file whose text is in state error, waits for room, or is refused by the model: why, < 0 */
	uint8_t ret_hash[16];
	bool ret_hashed;
	uint32_t ret_chunks; /* with_chunks */
	const char *ret_model; /* the model that its chunks' vectors are by; NULL: none */
	const char *ret_payload;
	uint32_t ret_payload_n;
	struct eng_coll_info *colls;
	uint32_t coll_n;
	struct eng_point *out_points;
	uint32_t out_point_n;
	struct eng_packed *out_packed;
	uint32_t out_packed_n;
	const char *out_text;
	uint32_t out_text_n;
	/* the engine's own while it has the job */
	struct {
		struct wq_item item;
		int stage;
		void *p[12];
		uint64_t n[8];
	} priv;
};
enum { ENG_DONE = 1, ENG_PARKED = 0 };
/* eng_submit - ENG_DONE: j->rc and the results are there, done() is not called; ENG_PARKED: done() will be. Only inline_ok jobs may
 * be answered on the calling thread by work beyond a table look-up (a search of <= CONF_INLINE_DISTANCES on resident pages). */
int eng_submit(struct engine *e, struct eng_job *j);
/* eng_cancel - set j->cancel and, when the job only waits (store opening, EV_wait), answer it now with -VX_ERR_cancelled. The caller
 * guarantees that done() has not begun to free j: it holds what its own done() takes first. */
void eng_cancel(struct engine *e, struct eng_job *j);
/* eng_poke - some job's cancel has been set: those that only wait (for the opening, for quiet) are answered now. Runs done() callbacks,
 * so not to be called from where those would deadlock, such as libfuse's interrupt callback. */
void eng_poke(struct engine *e);
/* how much waits where, for statistics */
struct eng_queues {
	uint64_t parked, search, update, store, store_ops, pending,
	        tail; /* store_ops: not yet durable; tail: rows not yet linked */
};
void eng_queues(struct engine *e, struct eng_queues *ret);
/* the mount's speed against a baseline (base/perf_watch.h), kept in the store. 0; -VX_ERR_component_off without one */
enum eng_baseline { ENG_BASELINE_record, ENG_BASELINE_drop, ENG_BASELINE_tell };
int eng_baseline(struct engine *e, enum eng_baseline what);
void eng_baseline_json(struct engine *e, struct sbuf *b);

/* eng_run - for threads that may wait (cli, tests): submit and wait. Return j->rc. */
int eng_run(struct engine *e, struct eng_job *j);
