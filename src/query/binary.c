/* binary.c - messages of include/vexfs_ioctl.h: a struct with its data becomes a job, an answered job becomes the reply struct.
 *
 * Nothing in a message is believed: sizes, offsets and counts are checked against the message's own size in 64-bit arithmetic,
 * reserved fields and flags the operation doesn't know must be zero, names must be NUL-padded.  Data is read in place, 8-aligned;
 * a message that isn't is copied first. */
#include <math.h>
#include <string.h>

#include "query/query.h"
#include "query/uapi_check.h"

static_assert((int)VEXFS_MODE_VECTOR == ENG_MODE_vector && (int)VEXFS_MODE_TEXT == ENG_MODE_text &&
                      (int)VEXFS_MODE_HYBRID == ENG_MODE_hybrid,
        "one order");

struct msg {
	struct vq *q;
	const uint8_t *p;
	uint32_t n, head; /* bytes of the message; of its struct */
};

static int bad(struct msg *m, int code, size_t at, const char *what)
{
	vq_refuse(m->q, code, what);
	m->q->j.err.position = (int64_t)at;
	return code;
}

static bool zero(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t o = 0;
	for (size_t i = 0; i < n; i++)
		o |= b[i];
	return !o;
}

/* data of the message at [off, off + bytes): behind the struct, 8-aligned, inside */
static int span(struct msg *m, uint32_t off, uint32_t bytes, size_t at, const void **ret)
{
	*ret = NULL;
	if (!bytes)
		return 0;
	if (off < m->head || off % 8 || (uint64_t)off + bytes > m->n)
		return bad(m, -VX_ERR_uapi_size, at, "an offset or size leaves the message, or is not a multiple of 8");
	*ret = m->p + off;
	return 0;
}

/* text of the message, NUL-terminated in the arena */
static int text(struct msg *m, uint32_t off, uint32_t bytes, size_t at, const char **ret)
{
	const void *p;
	VX_TRY(span(m, off, bytes, at, &p));
	char *s = p ? arena_strndup(&m->q->arena, p, bytes) : NULL;
	if (p && !s)
		return bad(m, -VX_ERR_arena_full, at, NULL);
	*ret = s;
	return 0;
}

static int path(struct msg *m, uint32_t off, uint32_t bytes, size_t at, const char **ret)
{
	VX_TRY(text(m, off, bytes, at, ret));
	if (!*ret)
		return 0;
	char *p = (char *)(uintptr_t)*ret; /* our own copy */
	return vq_path(p, bytes) < 0 ? bad(m, -VX_ERR_path_outside, at, NULL) : 0;
}

static int coll(struct msg *m, const char *name, size_t at, const char **ret)
{
	size_t n = strnlen(name, VEXFS_NAME_MAX);
	if (!zero(name + n, VEXFS_NAME_MAX - n))
		return bad(m, -VX_ERR_uapi_reserved, at, "the collection's name is not padded with NULs");
	*ret = NULL;
	if (!n)
		return 0;
	if (!vq_coll_name_ok(name, n))
		return bad(m, -VX_ERR_collection_name, at, NULL);
	*ret = arena_strndup(&m->q->arena, name, n);
	return *ret ? 0 : bad(m, -VX_ERR_arena_full, at, NULL);
}

static int payload(struct msg *m, uint32_t off, uint32_t bytes, size_t at, const char **ret)
{
	const void *p;
	VX_TRY(span(m, off, bytes, at, &p));
	int rc = p ? vq_payload_check(p, bytes) : 0;
	*ret = p;
	return rc < 0 ? bad(m, rc, at, NULL) : 0;
}

#define AT(s, f) offsetof(struct s, f)
#define NO_RESERVED(r)                                                                                                 \
	(zero((r), sizeof(r)) ? 0 : bad(m, -VX_ERR_uapi_reserved, (size_t)((const uint8_t *)(r)-m->p), NULL))

/* by id, or by the file the ioctl is on */
static int target(struct msg *m, const struct vexfs_hdr *h, uint64_t id)
{
	struct eng_job *j = &m->q->j;
	if (h->flags & VEXFS_F_FREE_POINT) {
		j->is_free_point = true;
		j->free_id = id;
		j->key.len = 0;
		return 0;
	}
	if (!j->key.len)
		return bad(m, -VX_ERR_missing_key, AT(vexfs_hdr, flags),
		        "no file here: set VEXFS_F_FREE_POINT, or send BATCH_PUT with a path");
	return id ? bad(m, -VX_ERR_uapi_reserved, AT(vexfs_put, id), "an id without VEXFS_F_FREE_POINT") : 0;
}

static int ask_put(struct msg *m)
{
	const struct vexfs_put *r = (const void *)m->p;
	struct eng_job *j = &m->q->j;
	const void *v;
	VX_TRY(NO_RESERVED(r->reserved));
	VX_TRY(coll(m, r->collection, AT(vexfs_put, collection), &j->coll));
	VX_TRY(target(m, &r->hdr, r->id));
	VX_TRY(span(m, r->vector_off, r->vector_bytes, AT(vexfs_put, vector_off), &v));
	VX_TRY(payload(m, r->payload_off, r->payload_bytes, AT(vexfs_put, payload_off), &j->payload));
	if (!v && !j->payload)
		return bad(m, -VX_ERR_missing_key, AT(vexfs_put, vector_bytes), "neither vector nor payload");
	j->vec = v;
	j->vec_bytes = r->vector_bytes;
	j->payload_n = r->payload_bytes;
	j->want_durable = r->hdr.flags & VEXFS_F_DURABLE;
	if (!v)
		j->verb = EV_payload;
	return 0;
}

static int ask_get(struct msg *m)
{
	const struct vexfs_get *r = (const void *)m->p;
	struct eng_job *j = &m->q->j;
	VX_TRY(NO_RESERVED(r->reserved));
	VX_TRY(coll(m, r->collection, AT(vexfs_get, collection), &j->coll));
	VX_TRY(target(m, &r->hdr, r->id));
	j->with_vectors = j->with_payload = true;
	j->want_durable = r->hdr.flags & VEXFS_F_DURABLE;
	return 0;
}

static int filter(struct msg *m, uint32_t off, uint32_t bytes, size_t at)
{
	struct vq *q = m->q;
	const void *p;
	const char *why;
	size_t err_at;
	VX_TRY(span(m, off, bytes, at, &p));
	if (!p)
		return 0;
	int64_t now = q->e ? (int64_t)(os_real_ns(eng_cfg(q->e)->os) / 1000000000u) : 0;
	int rc = vq_filter_parse(&q->arena, p, bytes, now, &q->j.filter, &err_at, &why);
	return rc < 0 ? bad(m, rc, off + err_at, why) : 0;
}

static int ask_search(struct msg *m)
{
	const struct vexfs_search *r = (const void *)m->p;
	struct eng_job *j = &m->q->j;
	uint32_t f = r->hdr.flags;
	if (r->mode > VEXFS_MODE_HYBRID)
		return bad(m, -VX_ERR_bad_value, AT(vexfs_search, mode), "mode is 0 to 3");
	j->mode = (enum eng_mode)r->mode;
	VX_TRY(filter(m, r->filter_off, r->filter_bytes, AT(vexfs_search, filter_off)));
	VX_TRY(coll(m, r->collection, AT(vexfs_search, collection), &j->coll));
	if (r->k > CONF_K_MAX)
		return bad(m, -VX_ERR_k_range, AT(vexfs_search, k), NULL);
	if (r->ef > CONF_EF_MAX)
		return bad(m, -VX_ERR_ef_range, AT(vexfs_search, ef), NULL);
	if (!r->k)
		return bad(m, -VX_ERR_k_range, AT(vexfs_search, k), NULL);
	j->k = r->k;
	j->ef = r->ef;
	VX_TRY(path(m, r->scope_off, r->scope_bytes, AT(vexfs_search, scope_off), &j->scope));
	if (j->scope && !*j->scope)
		j->scope = NULL;
	if (isnan(r->min_score) || (isinf(r->min_score) && r->min_score > 0))
		return bad(m, -VX_ERR_bad_value, AT(vexfs_search, min_score), "min_score is a number, or -INFINITY");
	j->has_min_score = isfinite(r->min_score);
	j->min_score = j->has_min_score ? r->min_score : 0;
	if (f & VEXFS_F_TEXT && f & VEXFS_F_LIKE)
		return bad(m, -VX_ERR_uapi_reserved, AT(vexfs_hdr, flags), "TEXT and LIKE exclude each other");
	if (f & VEXFS_F_TEXT) {
		if (r->data_bytes > CONF_QUERY_TEXT_MAX)
			return bad(m, -VX_ERR_query_too_long, AT(vexfs_search, data_bytes), NULL);
		VX_TRY(text(m, r->data_off, r->data_bytes, AT(vexfs_search, data_off), &j->text));
		j->text_n = r->data_bytes;
		if (!j->text)
			return bad(m, -VX_ERR_query_syntax, AT(vexfs_search, data_bytes), NULL);
	} else if (f & VEXFS_F_LIKE) {
		VX_TRY(path(m, r->data_off, r->data_bytes, AT(vexfs_search, data_off), &j->like));
		j->by_like_key = !j->like;
		if (!j->like && !j->key.len)
			return bad(m, -VX_ERR_missing_key, AT(vexfs_search, data_off), "LIKE needs a path here");
	} else {
		VX_TRY(span(m, r->data_off, r->data_bytes, AT(vexfs_search, data_off), &j->vec));
		j->vec_bytes = r->data_bytes;
		if (!j->vec)
			return bad(m, -VX_ERR_dim_range, AT(vexfs_search, data_bytes), NULL);
	}
	if (r->text_bytes) {
		if (f & (VEXFS_F_TEXT | VEXFS_F_LIKE))
			return bad(m, -VX_ERR_bad_value, AT(vexfs_search, text_bytes), "words beside a vector only");
		if (r->text_bytes > CONF_QUERY_TEXT_MAX)
			return bad(m, -VX_ERR_query_too_long, AT(vexfs_search, text_bytes), NULL);
		VX_TRY(text(m, r->text_off, r->text_bytes, AT(vexfs_search, text_off), &j->text));
		j->text_n = r->text_bytes;
	}
	if (!(f & VEXFS_F_LIKE))
		j->key.len = 0; /* the file the ioctl is on says only which mount is meant */
	j->exact = f & VEXFS_F_EXACT;
	j->stale = f & VEXFS_F_STALE;
	j->wait = f & VEXFS_F_WAIT;
	j->sum = f & VEXFS_F_SUM;
	j->with_vectors = f & VEXFS_F_WITH_VECTORS;
	j->with_payload = f & VEXFS_F_WITH_PAYLOAD;
	return 0;
}

static int ask_batch_search(struct msg *m)
{
	const struct vexfs_batch_search *r = (const void *)m->p;
	struct eng_job *j = &m->q->j;
	const void *v;
	VX_TRY(NO_RESERVED(r->reserved));
	if (r->reserved0)
		return bad(m, -VX_ERR_uapi_reserved, AT(vexfs_batch_search, reserved0), NULL);
	VX_TRY(coll(m, r->collection, AT(vexfs_batch_search, collection), &j->coll));
	if (!r->k || r->k > CONF_K_MAX)
		return bad(m, -VX_ERR_k_range, AT(vexfs_batch_search, k), NULL);
	if (r->ef > CONF_EF_MAX)
		return bad(m, -VX_ERR_ef_range, AT(vexfs_batch_search, ef), NULL);
	if (!r->query_n || r->query_n > CONF_BATCH_MAX)
		return bad(m, -VX_ERR_batch_range, AT(vexfs_batch_search, query_n), NULL);
	VX_TRY(span(m, r->vector_off, r->vector_bytes, AT(vexfs_batch_search, vector_off), &v));
	if (!v || r->vector_bytes % r->query_n)
		return bad(
		        m, -VX_ERR_dim_range, AT(vexfs_batch_search, vector_bytes), "query_n vectors of equal length");
	if (isnan(r->min_score) || (isinf(r->min_score) && r->min_score > 0))
		return bad(
		        m, -VX_ERR_bad_value, AT(vexfs_batch_search, min_score), "min_score is a number, or -INFINITY");
	j->k = r->k;
	j->ef = r->ef;
	j->has_min_score = isfinite(r->min_score);
	j->min_score = j->has_min_score ? r->min_score : 0;
	j->exact = r->hdr.flags & VEXFS_F_EXACT;
	j->stale = r->hdr.flags & VEXFS_F_STALE;
	j->wait = r->hdr.flags & VEXFS_F_WAIT;
	j->with_vectors = r->hdr.flags & VEXFS_F_WITH_VECTORS;
	j->with_payload = r->hdr.flags & VEXFS_F_WITH_PAYLOAD;
	j->key.len = 0;
	return vq_batch(m->q, v, r->vector_bytes / r->query_n, r->query_n) < 0 ? bad(m, -VX_ERR_arena_full, 0, NULL)
	                                                                       : 0;
}

static int ask_batch_put(struct msg *m)
{
	const struct vexfs_batch_put *r = (const void *)m->p;
	struct eng_job *j = &m->q->j;
	VX_TRY(NO_RESERVED(r->reserved));
	if (r->reserved0)
		return bad(m, -VX_ERR_uapi_reserved, AT(vexfs_batch_put, reserved0), NULL);
	VX_TRY(coll(m, r->collection, AT(vexfs_batch_put, collection), &j->coll));
	if (!r->point_n || r->point_n > CONF_BATCH_MAX)
		return bad(m, -VX_ERR_batch_range, AT(vexfs_batch_put, point_n), NULL);
	const void *arr;
	VX_TRY(span(m, r->point_off, r->point_n * (uint32_t)sizeof(struct vexfs_batch_point),
	        AT(vexfs_batch_put, point_off), &arr));
	const struct vexfs_batch_point *bp = arr;
	struct eng_point *pt = arena_zalloc(&m->q->arena, r->point_n * sizeof *pt);
	if (!pt)
		return bad(m, -VX_ERR_arena_full, 0, NULL);
	for (uint32_t i = 0; i < r->point_n; i++) {
		size_t at = r->point_off + i * sizeof *bp;
		const void *v;
		VX_TRY(span(m, bp[i].vector_off, bp[i].vector_bytes, at + AT(vexfs_batch_point, vector_off), &v));
		VX_TRY(payload(m, bp[i].payload_off, bp[i].payload_bytes, at + AT(vexfs_batch_point, payload_off),
		        &pt[i].payload));
		VX_TRY(path(m, bp[i].path_off, bp[i].path_bytes, at + AT(vexfs_batch_point, path_off), &pt[i].path));
		if (!v && !pt[i].payload)
			return bad(m, -VX_ERR_missing_key, at, "a point without vector and payload");
		if (pt[i].path && bp[i].id)
			return bad(m, -VX_ERR_uapi_reserved, at, "a point with both path and id");
		pt[i].id = bp[i].id;
		pt[i].vec = v;
		pt[i].vec_bytes = bp[i].vector_bytes;
		pt[i].payload_n = bp[i].payload_bytes;
	}
	j->points = pt;
	j->point_n = r->point_n;
	j->want_durable = r->hdr.flags & VEXFS_F_DURABLE;
	j->key.len = 0;
	return 0;
}

static int ask_collection(struct msg *m)
{
	const struct vexfs_collection *r = (const void *)m->p;
	struct eng_job *j = &m->q->j;
	VX_TRY(NO_RESERVED(r->reserved));
	VX_TRY(coll(m, r->collection, AT(vexfs_collection, collection), &j->coll));
	if (!j->coll && j->verb != EV_coll_info && j->verb != EV_index)
		return bad(m, -VX_ERR_collection_name, AT(vexfs_collection, collection), NULL);
	j->key.len = 0;
	if (j->verb != EV_coll_create)
		return 0;
	memcpy(j->coll_new.name, j->coll, strlen(j->coll) + 1);
	if (r->dim > CONF_DIM_MAX)
		return bad(m, -VX_ERR_dim_range, AT(vexfs_collection, dim), NULL);
	if (r->metric > 4 || r->dtype > 4)
		return bad(m, -VX_ERR_bad_value, AT(vexfs_collection, metric), "metric and dtype are 0 to 4");
	if (r->M && (r->M < 2 || r->M > 64))
		return bad(m, -VX_ERR_m_range, AT(vexfs_collection, M), NULL);
	if (r->ef_construction > CONF_EF_MAX || r->ef > CONF_EF_MAX)
		return bad(m, -VX_ERR_ef_range, AT(vexfs_collection, ef_construction), NULL);
	j->coll_new.dim = r->dim;
	j->coll_new.metric = (uint8_t)r->metric;
	j->coll_new.dtype = (uint8_t)r->dtype;
	j->coll_new.M = r->M;
	j->coll_new.ef_construction = r->ef_construction;
	j->coll_new.ef = r->ef;
	if (r->target_recall > 10000)
		return bad(m, -VX_ERR_bad_value, AT(vexfs_collection, target_recall), "a recall is 0 to 10000");
	j->coll_new.target_recall = r->target_recall;
	return 0;
}

static int ask_export(struct msg *m)
{
	const struct vexfs_export *r = (const void *)m->p;
	struct eng_job *j = &m->q->j;
	VX_TRY(NO_RESERVED(r->reserved));
	VX_TRY(coll(m, r->collection, AT(vexfs_export, collection), &j->coll));
	if (!r->point_max || r->point_max > CONF_BATCH_MAX)
		return bad(m, -VX_ERR_batch_range, AT(vexfs_export, point_max), NULL);
	j->cursor = r->cursor;
	j->k = r->point_max;
	j->with_payload = r->hdr.flags & VEXFS_F_WITH_PAYLOAD;
	j->key.len = 0;
	return 0;
}

static int ask_caps(struct msg *m)
{
	const struct vexfs_caps *r = (const void *)m->p;
	return NO_RESERVED(r->reserved);
}
static int ask_flush(struct msg *m)
{
	const struct vexfs_flush *r = (const void *)m->p;
	m->q->j.wait = m->q->j.want_durable = true;
	return NO_RESERVED(r->reserved);
}
static int ask_text(struct msg *m)
{
	const struct vexfs_text *r = (const void *)m->p;
	return NO_RESERVED(r->reserved);
}

/* per operation: the struct's size, the flags it takes, the reader */
static const struct op {
	uint16_t op, head;
	uint32_t flags;
	int (*ask)(struct msg *m);
} ops[] = {
        {VEXFS_OP_CAPS, sizeof(struct vexfs_caps), 0, ask_caps},
        {VEXFS_OP_PUT, sizeof(struct vexfs_put), VEXFS_F_DURABLE | VEXFS_F_FREE_POINT, ask_put},
        {VEXFS_OP_GET, sizeof(struct vexfs_get), VEXFS_F_FREE_POINT, ask_get},
        {VEXFS_OP_DEL, sizeof(struct vexfs_get), VEXFS_F_DURABLE | VEXFS_F_FREE_POINT, ask_get},
        {VEXFS_OP_SEARCH, sizeof(struct vexfs_search),
                VEXFS_F_EXACT | VEXFS_F_STALE | VEXFS_F_WAIT | VEXFS_F_WITH_VECTORS | VEXFS_F_WITH_PAYLOAD |
                        VEXFS_F_TEXT | VEXFS_F_LIKE | VEXFS_F_SUM,
                ask_search},
        {VEXFS_OP_BATCH_PUT, sizeof(struct vexfs_batch_put), VEXFS_F_DURABLE, ask_batch_put},
        {VEXFS_OP_BATCH_SEARCH, sizeof(struct vexfs_batch_search),
                VEXFS_F_EXACT | VEXFS_F_STALE | VEXFS_F_WAIT | VEXFS_F_WITH_VECTORS | VEXFS_F_WITH_PAYLOAD,
                ask_batch_search},
        {VEXFS_OP_INDEX_BUILD, sizeof(struct vexfs_collection), 0, ask_collection},
        {VEXFS_OP_INDEX_REBUILD, sizeof(struct vexfs_collection), 0, ask_collection},
        {VEXFS_OP_INDEX_OPTIMIZE, sizeof(struct vexfs_collection), 0, ask_collection},
        {VEXFS_OP_INDEX_INFO, sizeof(struct vexfs_collection), 0, ask_collection},
        {VEXFS_OP_COLLECTION_CREATE, sizeof(struct vexfs_collection), 0, ask_collection},
        {VEXFS_OP_COLLECTION_DROP, sizeof(struct vexfs_collection), 0, ask_collection},
        {VEXFS_OP_COLLECTION_INFO, sizeof(struct vexfs_collection), 0, ask_collection},
        {VEXFS_OP_EXPORT, sizeof(struct vexfs_export), VEXFS_F_WITH_PAYLOAD, ask_export},
        {VEXFS_OP_STATS, sizeof(struct vexfs_text), 0, ask_text},
        {VEXFS_OP_STATS_RESET, sizeof(struct vexfs_text), 0, ask_text},
        {VEXFS_OP_FLUSH, sizeof(struct vexfs_flush), 0, ask_flush},
};

static const struct op *op_find(uint32_t op)
{
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
		if (ops[i].op == op)
			return ops + i;
	return NULL;
}

int vq_binary(struct vq *q, const void *req, size_t n)
{
	struct msg m = {.q = q, .p = req};
	q->uapi_op = VEXFS_OP_CAPS; /* whatever comes: the answer is binary */
	if (n > CONF_REQUEST_MAX)
		return bad(&m, -VX_ERR_request_too_big, 0, NULL);
	if (n < sizeof(struct vexfs_hdr))
		return bad(&m, -VX_ERR_uapi_size, 0, "shorter than its header");
	if ((uintptr_t)req % 8) {
		void *copy = arena_alloc(&q->arena, n);
		if (!copy)
			return bad(&m, -VX_ERR_arena_full, 0, NULL);
		memcpy(copy, req, n);
		m.p = copy;
	}
	const struct vexfs_hdr *h = (const void *)m.p;
	if (h->magic != VEXFS_MAGIC)
		return bad(&m, -VX_ERR_uapi_version, AT(vexfs_hdr, magic), "wrong magic");
	if (h->version != VEXFS_VERSION)
		return bad(&m, -VX_ERR_uapi_version, AT(vexfs_hdr, version), NULL);
	const struct op *o = op_find(h->op);
	if (!o)
		return bad(&m, -VX_ERR_unknown_verb, AT(vexfs_hdr, op), NULL);
	q->uapi_op = h->op;
	if (h->size != n || h->size < o->head)
		return bad(&m, -VX_ERR_uapi_size, AT(vexfs_hdr, size), "hdr.size is not the message's size");
	if (h->status || h->reserved)
		return bad(&m, -VX_ERR_uapi_reserved, AT(vexfs_hdr, status), NULL);
	if (h->flags & ~o->flags)
		return bad(&m, -VX_ERR_uapi_reserved, AT(vexfs_hdr, flags), "a flag this operation doesn't take");
	m.n = (uint32_t)n;
	m.head = o->head;
	q->verb = verb_by_uapi(h->op);
	vx_assert(q->verb);
	q->j.verb = (enum eng_verb)q->verb->ev;
	return o->ask(&m);
}

/* ---- replies ---- */

struct reply {
	struct vq *q;
	uint8_t *p;
	uint64_t n, cap;
};

static uint64_t up8(uint64_t n)
{
	return (n + 7) & ~7ull;
}

static void *reply_new(struct reply *r, struct vq *q, size_t head, uint64_t data)
{
	uint64_t cap = up8(head) + data;
	*r = (struct reply){.q = q, .n = up8(head), .cap = cap};
	r->p = cap <= UINT32_MAX ? arena_alloc(&q->arena, (size_t)cap) : NULL;
	if (!r->p)
		return NULL;
	memset(r->p, 0, up8(head));
	return r->p;
}

/* append data 8-aligned; its offset */
static uint32_t append(struct reply *r, const void *p, size_t n)
{
	if (!n)
		return 0;
	uint64_t at = r->n;
	vx_assert(at + up8(n) <= r->cap);
	memcpy(r->p + at, p, n);
	memset(r->p + at + n, 0, up8(n) - n);
	r->n += up8(n);
	return (uint32_t)at;
}

static void reply_end(struct reply *r)
{
	struct vexfs_hdr *h = (void *)r->p;
	h->magic = VEXFS_MAGIC;
	h->version = VEXFS_VERSION;
	h->op = (uint16_t)r->q->uapi_op;
	h->size = (uint32_t)r->n;
	r->q->out = (struct sbuf){.p = (char *)r->p, .n = (size_t)r->n, .cap = (size_t)r->cap};
}

static void name_put(char *dst, const char *src)
{
	if (src)
		memcpy(dst, src, strnlen(src, VEXFS_NAME_MAX));
}

static void reply_error(struct vq *q)
{
	struct vexfs_hdr *h = (void *)q->small;
	struct sbuf b;
	static_assert(sizeof q->small >= sizeof *h + 256, "a sentence fits");
	sbuf_fixed(&b, q->small + sizeof *h, sizeof q->small - sizeof *h);
	sb_str(&b, err_text(q->j.rc));
	if (q->j.err.detail[0] && q->j.err.code == q->j.rc) {
		sb_str(&b, ": ");
		sb_str(&b, q->j.err.detail);
	}
	size_t n = strlen(sbuf_cstr(&b));
	*h = (struct vexfs_hdr){
	        VEXFS_MAGIC, VEXFS_VERSION, (uint16_t)q->uapi_op, (uint32_t)(sizeof *h + n), -err_posix(q->j.rc), 0, 0};
	q->out = (struct sbuf){.p = q->small, .n = sizeof *h + n, .cap = sizeof q->small};
}

/* bytes that the strings and vectors of hits take */
static uint64_t hits_bytes(const struct eng_hit *h, uint32_t n)
{
	uint64_t data = 0;
	for (uint32_t i = 0; i < n; i++)
		data += up8(h[i].path ? strlen(h[i].path) : 0) + up8(h[i].vec_bytes) + up8(h[i].payload_n);
	return data;
}

static void hits_put(struct reply *r, struct vexfs_result *out, const struct eng_hit *h, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++, h++) {
		out[i] = (struct vexfs_result){.id = h->path ? h->ino : h->id,
		        .score = h->score,
		        .distance = h->distance,
		        .state = h->state,
		        .path_bytes = h->path ? (uint32_t)strlen(h->path) : 0,
		        .vector_bytes = h->vec ? h->vec_bytes : 0,
		        .payload_bytes = h->payload ? h->payload_n : 0};
		out[i].path_off = append(r, h->path, out[i].path_bytes);
		out[i].vector_off = append(r, h->vec, out[i].vector_bytes);
		out[i].payload_off = append(r, h->payload, out[i].payload_bytes);
	}
}

static uint32_t clip(uint64_t v)
{
	return v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

static bool answer_search(struct vq *q, struct reply *r)
{
	const struct eng_job *j = &q->j;
	uint64_t rows = up8((uint64_t)j->res_n * sizeof(struct vexfs_result));
	struct vexfs_search *s = reply_new(r, q, sizeof *s, rows + hits_bytes(j->res, j->res_n));
	if (!s)
		return false;
	name_put(s->collection, j->coll);
	s->k = j->k;
	s->ef = j->ef;
	s->min_score = j->has_min_score ? j->min_score : -INFINITY;
	s->result_n = j->res_n;
	s->generation = j->generation;
	s->distances = j->distances;
	s->took_ns = j->took_ns;
	s->pending = clip(j->pending);
	s->complete = j->complete;
	if (!j->res_n)
		return true;
	struct vexfs_result *out = (void *)(r->p + r->n);
	s->result_off = (uint32_t)r->n;
	r->n += rows;
	hits_put(r, out, j->res, j->res_n);
	return true;
}

static bool answer_batch_search(struct vq *q, struct reply *r)
{
	const struct eng_job *j = &q->j;
	uint64_t total = 0, data = 0, counts = up8((uint64_t)q->batch_n * 4);
	for (uint32_t i = 0; i < q->batch_i; i++) {
		total += q->batch[i].n;
		data += hits_bytes(q->batch[i].res, q->batch[i].n);
	}
	uint64_t rows = up8(total * sizeof(struct vexfs_result));
	struct vexfs_batch_search *s = reply_new(r, q, sizeof *s, counts + rows + data);
	if (!s)
		return false;
	name_put(s->collection, j->coll);
	s->k = j->k;
	s->ef = j->ef;
	s->min_score = j->has_min_score ? j->min_score : -INFINITY;
	s->query_n = q->batch_n;
	s->result_n = (uint32_t)total;
	s->generation = j->generation;
	s->distances = q->batch_distances;
	s->took_ns = q->batch_ns;
	s->pending = clip(j->pending);
	s->complete = j->complete;
	uint32_t *count = (void *)(r->p + r->n);
	s->count_off = (uint32_t)r->n;
	memset(count, 0, counts);
	r->n += counts;
	struct vexfs_result *out = (void *)(r->p + r->n);
	s->result_off = total ? (uint32_t)r->n : 0;
	r->n += rows;
	for (uint32_t i = 0; i < q->batch_i; i++) {
		count[i] = q->batch[i].n;
		hits_put(r, out, q->batch[i].res, q->batch[i].n);
		out += q->batch[i].n;
	}
	return true;
}

static bool answer_get(struct vq *q, struct reply *r)
{
	const struct eng_job *j = &q->j;
	uint32_t model_n = j->ret_model ? (uint32_t)strlen(j->ret_model) : 0;
	struct vexfs_get *g = reply_new(r, q, sizeof *g, up8(j->ret_vec_bytes) + up8(j->ret_payload_n) + up8(model_n));
	if (!g)
		return false;
	name_put(g->collection, j->coll);
	g->id = j->is_free_point ? j->free_id : 0;
	g->generation = j->generation;
	if (j->verb == EV_del)
		return true;
	g->dim = j->ret_dim;
	g->state = j->ret_state;
	g->vector_bytes = j->ret_vec ? j->ret_vec_bytes : 0;
	g->payload_bytes = j->ret_payload ? j->ret_payload_n : 0;
	g->vector_off = append(r, j->ret_vec, g->vector_bytes);
	g->payload_off = append(r, j->ret_payload, g->payload_bytes);
	g->model_bytes = model_n;
	g->model_off = append(r, j->ret_model, model_n);
	return true;
}

static bool answer_put(struct vq *q, struct reply *r)
{
	struct vexfs_put *p = reply_new(r, q, sizeof *p, 0);
	if (!p)
		return false;
	name_put(p->collection, q->j.coll);
	p->id = q->j.is_free_point ? q->j.free_id : 0;
	p->generation = q->j.generation;
	return true;
}

static bool answer_batch_put(struct vq *q, struct reply *r)
{
	struct vexfs_batch_put *p = reply_new(r, q, sizeof *p, 0);
	if (!p)
		return false;
	name_put(p->collection, q->j.coll);
	p->generation = q->j.generation;
	p->done_n = q->j.point_n;
	return true;
}

static bool answer_collection(struct vq *q, struct reply *r)
{
	const struct eng_job *j = &q->j;
	struct vexfs_collection *c = reply_new(r, q, sizeof *c, 0);
	if (!c)
		return false;
	name_put(c->collection, j->coll);
	c->generation = j->generation;
	if (!j->coll_n)
		return true;
	const struct eng_coll_info *i = j->colls;
	memset(c->collection, 0, sizeof c->collection);
	name_put(c->collection, i->name);
	c->dim = i->dim;
	c->metric = i->metric;
	c->dtype = i->dtype;
	c->M = i->M;
	c->ef_construction = i->ef_construction;
	c->ef = i->ef;
	c->uid = i->uid;
	c->gid = i->gid;
	c->mode = i->mode;
	c->points = i->points;
	c->linked = i->linked;
	c->tail = i->tail;
	c->dead = i->dead;
	c->index_bytes = i->index_bytes;
	c->target_recall = i->target_recall;
	c->recall = i->recall;
	c->recall_ef = i->recall_ef;
	return true;
}

static bool answer_export(struct vq *q, struct reply *r)
{
	const struct eng_job *j = &q->j;
	const struct eng_point *pt = j->out_points;
	uint64_t data = (uint64_t)j->out_point_n * sizeof(struct vexfs_batch_point);
	for (uint32_t i = 0; i < j->out_point_n; i++)
		data += up8(pt[i].vec_bytes) + up8(pt[i].payload_n) + up8(pt[i].path ? strlen(pt[i].path) : 0);
	struct vexfs_export *e = reply_new(r, q, sizeof *e, data);
	if (!e)
		return false;
	name_put(e->collection, j->coll);
	e->cursor = j->cursor;
	e->point_max = j->k;
	e->point_n = j->out_point_n;
	e->dim = j->ret_dim;
	e->generation = j->generation;
	if (!j->out_point_n)
		return true;
	struct vexfs_batch_point *bp = (void *)(r->p + r->n);
	e->point_off = (uint32_t)r->n;
	r->n += (uint64_t)j->out_point_n * sizeof *bp;
	for (uint32_t i = 0; i < j->out_point_n; i++) {
		bp[i] = (struct vexfs_batch_point){.id = pt[i].path ? 0 : pt[i].id,
		        .vector_bytes = pt[i].vec ? pt[i].vec_bytes : 0,
		        .payload_bytes = pt[i].payload ? pt[i].payload_n : 0,
		        .path_bytes = pt[i].path ? (uint32_t)strlen(pt[i].path) : 0};
		bp[i].vector_off = append(r, pt[i].vec, bp[i].vector_bytes);
		bp[i].payload_off = append(r, pt[i].payload, bp[i].payload_bytes);
		bp[i].path_off = append(r, pt[i].path, bp[i].path_bytes);
	}
	return true;
}

static bool answer_caps(struct vq *q, struct reply *r)
{
	struct vexfs_caps *c = reply_new(r, q, sizeof *c, 0);
	if (!c)
		return false;
	c->dim_max = CONF_DIM_MAX;
	c->k_max = CONF_K_MAX;
	c->ef_max = CONF_EF_MAX;
	c->batch_max = CONF_BATCH_MAX;
	c->payload_max = CONF_PAYLOAD_MAX;
	c->ioctl_bytes_max = CONF_IOCTL_MAX;
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
		c->ops |= 1ull << ops[i].op;
	c->generation = q->j.generation;
	c->components = q->e ? (uint32_t)eng_cfg(q->e)->components : 0;
	return true;
}

static bool answer_flush(struct vq *q, struct reply *r)
{
	struct vexfs_flush *f = reply_new(r, q, sizeof *f, 0);
	if (!f)
		return false;
	f->generation = q->j.generation;
	f->pending = q->j.pending > UINT32_MAX ? UINT32_MAX : (uint32_t)q->j.pending;
	f->complete = q->j.complete;
	return true;
}

static bool answer_text(struct vq *q, struct reply *r)
{
	struct vexfs_text *t = reply_new(r, q, sizeof *t, up8(q->j.out_text_n));
	if (!t)
		return false;
	t->text_bytes = q->j.out_text_n;
	t->text_off = append(r, q->j.out_text, q->j.out_text_n);
	t->generation = q->j.generation;
	return true;
}

void vq_render_binary(struct vq *q)
{
	static bool (*const answers[])(struct vq *, struct reply *) = {
	        [VEXFS_OP_CAPS] = answer_caps,
	        [VEXFS_OP_PUT] = answer_put,
	        [VEXFS_OP_GET] = answer_get,
	        [VEXFS_OP_DEL] = answer_get,
	        [VEXFS_OP_SEARCH] = answer_search,
	        [VEXFS_OP_BATCH_PUT] = answer_batch_put,
	        [VEXFS_OP_BATCH_SEARCH] = answer_batch_search,
	        [VEXFS_OP_INDEX_BUILD] = answer_collection,
	        [VEXFS_OP_INDEX_REBUILD] = answer_collection,
	        [VEXFS_OP_INDEX_OPTIMIZE] = answer_collection,
	        [VEXFS_OP_INDEX_INFO] = answer_collection,
	        [VEXFS_OP_COLLECTION_CREATE] = answer_collection,
	        [VEXFS_OP_COLLECTION_DROP] = answer_collection,
	        [VEXFS_OP_COLLECTION_INFO] = answer_collection,
	        [VEXFS_OP_EXPORT] = answer_export,
	        [VEXFS_OP_STATS] = answer_text,
	        [VEXFS_OP_STATS_RESET] = answer_text,
	        [VEXFS_OP_FLUSH] = answer_flush,
	};
	struct reply r;
	if (q->j.rc >= 0) {
		uint32_t op = q->uapi_op;
		vx_assert(op < sizeof answers / sizeof *answers && answers[op]);
		if (answers[op](q, &r)) {
			reply_end(&r);
			return;
		}
		q->j.err.code = 0;
		vq_refuse(q, -VX_ERR_arena_full, NULL);
	}
	reply_error(q);
}
