/* query.h - one request of any front: bytes or fields in, one engine job, bytes out.
 *
 * The verb table (verb.c) is the only list of what can be asked: its name in JSON, its number in the ioctl, who may ask, which keys
 * it takes, how its answer is rendered.  fs/, server/ and cli/ frame bytes and hand them here.
 *
 *     vq_new -> fill j by hand, or vq_json()/vq_binary() parse -> vq_submit -> (done) -> vq_render_* -> vq_free
 *
 * Parsing and rendering are iterative, bounded and print nothing by libc: they run on FUSE threads and engine threads alike. */
#pragma once
#include <assert.h>
#include "base/sbuf.h"
#include "engine/engine.h"

struct vq {
	struct eng_job j; /* j.arena == &arena; j.done and j.u are query's; use on_done and u here */
	struct arena arena;
	struct engine *e;
	struct sbuf out; /* the rendered answer */
	uint32_t pretty;
	void (*on_done)(struct vq *q); /* called once if vq_submit returned ENG_PARKED, on an engine thread */
	void *u;
	const struct verb *verb; /* what was asked; NULL until parsed */
	uint32_t uapi_op; /* binary: the verb's number, 0 for JSON */
	uint64_t t0_ns; /* when it was submitted */
	uint64_t warn, critical, bytes, nth; /* of the verbs in debug.c; UINT64_MAX: not given */
	bool search_next; /* a search with "wait": it waits now */
	/* batch_search: queries run one after the other, each leaves its results here */
	uint32_t batch_n, batch_i;
	const uint8_t *batch_vec; /* batch_n vectors of j.vec_bytes */
	struct vq_batch {
		const struct eng_hit *res;
		uint32_t n;
	} * batch;
	uint64_t batch_distances, batch_ns;
	char small[1536]; /* an error answer when the arena has no room for one */
	struct wq_item item; /* for the front's own lists */
};
/* vq_new - from a pool; at most 256 at once: NULL beyond. vq_free takes NULL; resets everything. */
struct vq *vq_new(struct engine *e, const struct eng_caller *who);
void vq_free(struct vq *q);

/* vq_json - parse a JSON request (UTF-8, <= CONF_REQUEST_MAX; borrowed until vq_free, it may be modified in place). Unknown keys, wrong
 * types, k = 0 … are refused with the position in q->j.err.  0 or < 0. */
int vq_json(struct vq *q, char *req, size_t n);
/* vq_binary - the same from a struct of include/vexfs_ioctl.h followed by its data (begins with 'V'). */
int vq_binary(struct vq *q, const void *req, size_t n);
/* vq_submit - hand the job to the engine. ENG_DONE or ENG_PARKED. */
int vq_submit(struct vq *q);
/* vq_render - the answer (or the error) as JSON, or as the binary reply when the request was binary, into q->out. Never fails: what
 * can't be rendered becomes an error answer. */
void vq_render(struct vq *q);
/* vq_verb - for fronts that fill the job by hand: the verb it is counted as and checked by. */
void vq_verb(struct vq *q, const char *name);
/* vq_batch - the job is n searches, for n vectors side by side (borrowed until the answer). 0; -VX_ERR_arena_full */
int vq_batch(struct vq *q, const void *vecs, uint32_t vec_bytes, uint32_t n);
/* vq_refuse - make the answer an error without asking the engine; vq_render then renders it. Return rc. */
int vq_refuse(struct vq *q, int rc, const char *detail);
/* vq_path - bring a path of a request into the one form the engine knows: relative to the root, no ".", "..", "//" or trailing
 * "/", "" for the root. In place. 0; -VX_ERR_path_outside (absolute, "..", empty component names that leave the mount). */
int vq_path(char *p, size_t n);
/* vq_coll_name_ok - [A-Za-z0-9_-]{1,64} */
bool vq_coll_name_ok(const char *s, size_t n);
/* vq_filter_parse - an expression (syntax: filter.c) as a program in the arena. @now_s: seconds since 1970, for relative times.
 * 0; -VX_ERR_filter_syntax with byte and reason; -VX_ERR_query_too_long, -VX_ERR_arena_full. */
struct flt;
int vq_filter_parse(struct arena *a, const char *s, size_t n, int64_t now_s, const struct flt **ret, size_t *reterr_at,
        const char **reterr_why);
struct js;
/* vq_filter_value - the value of the key "filter" in a request. 0 or < 0 with the position in the js's errinfo. */
int vq_filter_value(struct vq *q, struct js *js);
const char *vq_state_name(uint8_t state); /* enum eng_state */
const char *vq_metric_name(uint8_t metric); /* enum vx_metric: "cosine" */
const char *vq_dtype_name(uint8_t dtype);
int vq_metric_by_name(const char *s, size_t n); /* < 0: none */
int vq_dtype_by_name(const char *s, size_t n);
void vq_render_binary(struct vq *q); /* vq_render's half for binary requests (binary.c) */
/* vq_error_json - {"error":{"code":…,"message":…,"position":…}} of rc into b. */
void vq_error_json(struct sbuf *b, const struct vx_errinfo *err);

/* payload must be one JSON object of <= 64 KiB, depth <= 16. 0, -VX_ERR_payload_syntax, -VX_ERR_payload_too_big */
int vq_payload_check(const char *p, size_t n);

/* every key any verb takes; a verb's set is a mask of them. @N is the name in JSON */
/* clang-format off */
#define VQ_KEYS(X)                                                                                                     \
	X(verb) X(collection) X(vector) X(text) X(like) X(k) X(ef) X(exact) X(filter) X(scope) X(mode) X(wait)         \
	X(stale) X(with_vectors) X(with_payload) X(snippet) X(group) X(min_score) X(id) X(path) X(payload) X(points)   \
	X(name) X(dim) X(metric) X(dtype) X(M) X(ef_construction) X(cursor) X(limit) X(rescan) X(durable) X(vectors)  \
	X(target_recall) X(recall) X(combine) X(warn) X(critical) X(bytes) X(nth) X(folder) X(at)
/* clang-format on */
enum vq_key {
#define X(n) VQK_##n,
	VQ_KEYS(X)
#undef X
	        VQK_N
};
static_assert(VQK_N <= 64, "a verb's keys are one u64");
struct verb {
	const char *name; /* JSON "verb" */
	uint32_t uapi; /* VEXFS_OP_* or 0 */
	uint8_t ev; /* enum eng_verb */
	bool owner_only, mutates;
	uint8_t perf; /* enum perf_op it is counted under */
	uint64_t keys; /* bit 1 << enum vq_key */
	int (*local)(
	        struct vq *q); /* answered without the engine; `ev` then only says how it is rendered. NULL for most */
};
int vq_local_stats(struct vq *q); /* perf_text.c: out_text = operations and counters as JSON */
int vq_local_stats_reset(struct vq *q);
int vq_local_caps(struct vq *q);
int vq_local_baseline(struct vq *q); /* perf_text.c: the baseline, or how far its recording is */
int vq_local_baseline_record(struct vq *q);
int vq_local_baseline_drop(struct vq *q);
/* debug.c */
int vq_local_stack_limits(struct vq *q); /* set and tell the stack monitor's marks */
int vq_local_stack_eat(struct vq *q); /* under -o debug: uses up stack, then asks the monitor as a vector verb does */
int vq_local_alloc_fail(
        struct vq *q); /* under -o debug: the n-th allocation from now fails; tells how many there were */
void vq_debug_set(bool on);
int vq_text(
        struct vq *q, void (*make)(struct sbuf *b, const struct vq *q)); /* perf_text.c: the answer of a local verb */
/* e may be NULL: then without its queues */
void vq_stats_json(struct sbuf *b, struct engine *e);
void vq_metrics_text(struct sbuf *b, struct engine *e); /* Prometheus text format 0.0.4 */
const struct verb *verb_by_name(const char *name, size_t n);
const struct verb *verb_by_uapi(uint32_t op);
const struct verb *verb_next(const struct verb *prev); /* NULL: the first; NULL at the end */
