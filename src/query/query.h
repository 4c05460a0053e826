/* query.h - one request of any front: bytes or fields in, one engine job, bytes out.
 *
 * The verb table (verb.c) is the only list of what can be asked: its name in JSON, its number in the ioctl, who may ask, which keys
 * it takes, how its answer is rendered.  fs/, server/ and cli/ frame bytes and hand them here.
 *
 *     vq_new -> fill j by hand, or vq_json()/vq_binary() parse -> vq_submit -> (done) -> vq_render_* -> vq_free
 *
 * Parsing and rendering are iterative, bounded and print nothing by libc: they run on FUSE threads and engine threads alike. */
#pragma once
#include "base/sbuf.h"
#include "engine/engine.h"

struct vq {
	struct eng_job j; /* j.arena == &arena; j.done and j.u are query's; use on_done and u here */
	struct arena arena;
	struct engine *e;
	struct sbuf out;     /* the rendered answer */
	uint32_t pretty;
	void (*on_done)(struct vq *q); /* called once if vq_submit returned ENG_PARKED, on an engine thread */
	void *u;
	uint32_t uapi_op;    /* binary: the verb's number, 0 for JSON */
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
/* vq_error_json - {"error":{"code":…,"message":…,"position":…}} of rc into b. */
void vq_error_json(struct sbuf *b, const struct vx_errinfo *err);

/* payload must be one JSON object of <= 64 KiB, depth <= 16. 0, -VX_ERR_payload_syntax, -VX_ERR_payload_too_big */
int vq_payload_check(const char *p, size_t n);

struct verb {
	const char *name;      /* JSON "verb" */
	uint32_t uapi;         /* VEXFS_OP_* or 0 */
	uint8_t ev;            /* enum eng_verb */
	bool owner_only, mutates;
};
const struct verb *verb_by_name(const char *name, size_t n);
const struct verb *verb_by_uapi(uint32_t op);
const struct verb *verb_next(const struct verb *prev); /* NULL: the first; NULL at the end */
