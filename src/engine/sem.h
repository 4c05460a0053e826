/* sem.h - the semantic half of the engine: models, the rows that are vectors of chunks, who makes them, who asks.
 *
 *     chunk_rows.c    in memory, of one model's collection: row <-> hash of its chunk, file -> its rows, row -> which chunk it is
 *     sem.c           which model answers, which one is to; made, switched, dropped; what is due
 *     sem_model.c     one model: opened, loaded at need, dropped when idle, its failures and retries
 *     sem_embed.c     the thread that embeds: one file after the other, nothing twice
 *     sem_ask.c       the thread that embeds questions
 *
 * A model's vectors live in a collection of their own, named by its fingerprint (STORE_MODEL_COLL).  One of these answers under the name
 * `text`.  While another model is to take its place, both exist: documents are embedded for the new one, questions by the old one for
 * the old one's rows, until the new one has all there is; then the answer moves over in one commit and the old collection goes. */
#pragma once
#include "embed/embed.h"
#include "engine/engine_priv.h"

#define SEM_STACK     (256u << 10) /* libcurl and TLS take 160 KiB */
#define SEM_IDLE_MS   60000u
#define SEM_QUEUE_MAX 16384u
#define SEM_HOLE      UINT32_MAX /* no vector yet */
#define SEM_NOTHING   (UINT32_MAX - 1) /* the model knows nothing of that chunk, or will not have it: no vector */
#define SEM_REFUSED                                                                                                    \
	(UINT32_MAX -                                                                                                  \
	        2) /* it refuses that chunk, and no other, or answers with no numbers: no vector, and the file says so */

/* ---- chunk_rows.c. [c->lock] ------------------------------------------------------------------------------------------------- */
struct chunk_file {
	uint64_t oid; /* 0: empty slot */
	uint64_t ver; /* of the text that it is mapped for */
	uint32_t head; /* its rows, by chunk_row.next */
	bool current; /* mapped for the text that is searched */
	bool whole; /* and no chunk lacks a vector */
	bool refused; /* some chunk of it is SEM_REFUSED */
};
struct chunk_row {
	uint8_t hash[16];
	uint32_t ord; /* lowest chunk that it is the vector of; ENG_ROW_NONE: of none */
	uint32_t next, prev, same_next, same_prev; /* rows of the same file (next itself: of none); of the same hash */
};
struct chunk_rows {
	struct chunk_row *row;
	uint32_t cap;
	uint32_t *hash; /* hash -> first row of it */
	uint32_t hash_cap, hash_n;
	struct chunk_file *file;
	uint32_t file_cap, file_n, refused_n; /* files with .refused */
};
struct chunk_rows *chunk_rows_new(void);
void chunk_rows_free(struct chunk_rows *r); /* takes NULL */
/* chunk_rows_add - a row that lives, or is about to. @row below the collection's cap.  0 or -ENOMEM. */
int chunk_rows_add(struct eng_coll *c, uint32_t row, uint64_t oid, const uint8_t hash[16]);
void chunk_rows_del(struct eng_coll *c, uint32_t row, uint64_t oid);
/* chunk_rows_find - a live row with that hash: of that file, or with oid 0 of any. ENG_ROW_NONE: none */
uint32_t chunk_rows_find(const struct eng_coll *c, const uint8_t hash[16], uint64_t oid);
struct chunk_file *chunk_rows_file(const struct eng_coll *c, uint64_t oid); /* NULL: not known */
/* chunk_rows_map - row[n] are the vectors of the file's chunks by ord; its other rows are of none. 0 or -ENOMEM. */
int chunk_rows_map(struct eng_coll *c, uint64_t oid, uint64_t ver, const uint32_t *row, uint32_t n);
void chunk_rows_forget(struct eng_coll *c, uint64_t oid); /* its rows die, its entry goes */
uint32_t chunk_rows_reask(struct eng_coll *c); /* files with refused chunks are not whole any more. How many */

/* ---- sem_model.c ------------------------------------------------------------------------------------------------------------- */
enum sem_state { SEM_cold, SEM_ready, SEM_failed };
struct sem_model {
	_Atomic uint32_t refs;
	struct engine *e;
	char *folder;
	char name[EMBED_NAME_MAX];
	pthread_mutex_t opening; /* one opens it */
	/* [lock] but for what never changes once `opened` */
	pthread_mutex_t lock;
	struct embed *m, *ask; /* an endpoint is asked through a handle of its own; else the same */
	struct embed_info info;
	_Atomic bool opened;
	enum sem_state state;
	struct vx_errinfo err;
	uint64_t retry_at_ns;
	uint32_t retry_s, fails;
	_Atomic uint64_t used_ns; /* last encode; 0: nothing is loaded */
	struct eng_coll *c; /* a reference; set once, by the embed thread before others see the model */
};
struct sem_model *sem_model_new(struct engine *e, const char *folder);
struct sem_model *sem_model_ref(struct sem_model *s);
void sem_model_put(struct sem_model *s); /* takes NULL */
/* sem_model_open - headers, dim, fingerprint; an endpoint is asked for its dim. Waits. 0, or why not; then not before retry_at_ns. */
int sem_model_open(struct sem_model *s);
void sem_model_fail(struct sem_model *s, int rc, const struct vx_errinfo *err);
bool sem_model_due(struct sem_model *s, uint64_t *ret_wait_ns); /* may it be tried (again) now? */
/* sem_model_encode - waits; what goes wrong becomes the model's state, but for what is a text's own fault: -VX_ERR_not_finite,
 * -VX_ERR_text_refused (of a model that has just embedded another text) */
int sem_model_encode(struct sem_model *s, enum embed_use use, const struct embed_text *t, uint32_t n, float *ret);
uint64_t sem_model_idle(
        struct sem_model *s, uint64_t after_ns); /* drop what nobody uses; ns to look again, or WQ_FOREVER */

/* ---- sem.c ------------------------------------------------------------------------------------------------------------------- */
struct sem {
	struct engine *e;
	pthread_mutex_t lock; /* leaf: answer, want, q, scan */
	struct sem_model *answer, *target; /* NULL: none; the same when there is nothing to change */
	char *want; /* folder asked for and not yet looked at */
	bool want_set;
	uint32_t want_no; /* how often another was asked for */
	struct oid_ring q;
	bool scan, scan_again; /* objects are to be looked through from scan_at on; and once more from the start */
	uint64_t scan_at;
	_Atomic uint64_t due; /* objects with emb_due */
	_Atomic int on; /* a model is set */
	_Atomic int ready; /* it has its collection */
	_Atomic int down; /* the model that is to embed can't at present: nobody waits for it */
	_Atomic uint32_t asking; /* questions waiting: they go first */
	uint64_t idle_ns;
	struct wq ask_q;
	struct bell bell;
	struct thread embedder, asker;
	_Atomic int reask; /* refused texts are to be tried once more */
	_Atomic uint64_t stuck_until_ns; /* rows could not be stored: nothing is embedded before; 0: go on */
	uint64_t refused_oid[ENG_ERRORS_KEPT]; /* [objects] files with refused texts, the last ones, a ring */
	uint32_t refused_at;
	uint32_t stored_cid; /* what the catalog says answers */
	char *stored_folder;
};
int sem_new(struct engine *e);
void sem_free(struct engine *e);
void sem_load(struct engine *e); /* on the opening thread, after the store is loaded */
int sem_start(struct engine *e); /* threads */
void sem_stop(struct engine *e);
void sem_due(struct engine *e, struct eng_obj *o); /* [objects, write] its chunks may lack vectors */
void sem_undue(struct engine *e, struct eng_obj *o); /* [objects, write] */
void sem_refused(struct engine *e, uint64_t oid); /* [objects, write] the file has a text that the model refuses */
void sem_obj_gone(struct engine *e, struct eng_obj *o); /* [objects, write] */
uint64_t sem_pending(struct engine *e); /* files without all their vectors, as far as is known; 0 without a model */
void sem_text_new(
        struct engine *e, struct eng_obj *o); /* [objects, write] another text of it is searched now, or none */
void sem_forget(struct engine *e); /* the objects are cleared */
int sem_want(struct engine *e, const char *folder); /* this model from now on; NULL: none */
void sem_retry(struct engine *e); /* a model that failed is tried now, and so is what it refused */
bool sem_quiet(struct engine *e); /* nothing to wait for: all is embedded, or can't be for now */
struct sem_model *sem_answer(struct engine *e); /* +1 ref; NULL: no model answers */
struct sem_model *sem_target(struct engine *e); /* +1 ref */
bool sem_due_next(struct sem *s, uint64_t *ret_oid);
void sem_rescan(struct sem *s);
bool sem_scanning(struct sem *s);
bool sem_scan_step(struct sem *s, struct eng_coll *c); /* a bounded piece; false: nothing to scan */
int sem_answer_set(struct sem *s, struct sem_model *m); /* durable; the old one's collection goes */
int sem_coll_make(struct sem *s, struct sem_model *m); /* find or create its collection */
bool sem_coll_is(const struct sem_model *m); /* opened: is its collection that of its fingerprint? */
void sem_coll_drop(struct engine *e, struct eng_coll *c);
void sem_others_drop(struct sem *s); /* collections of models that neither answer nor are to */
/* sem_embed.c, sem_ask.c */
void sem_embed_thread(void *arg);
void sem_ask_thread(void *arg);
