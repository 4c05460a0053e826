/* ask_json.c - a JSON request becomes a job.
 *
 * One pass: every key has one type whatever the verb is, so values are parsed as they come, wherever "verb" stands; the verb's key
 * mask is checked at the end, and the first key it does not take is named with its position. */
#include <math.h>
#include <string.h>

#include "query/json.h"
#include "query/query.h"
#include "vexfs_ioctl.h"

struct ask {
	struct vq *q;
	struct js js;
	const struct verb *verb;
	uint64_t seen; /* keys */
	uint32_t at[VQK_N];
	bool wait;
	struct eng_point *points;
	uint32_t point_cap;
};

static int fail(struct ask *a, int code, size_t at, const char *what)
{
	return js_fail(&a->js, code, at, what, NULL, 0, NULL);
}

static bool has(const struct ask *a, enum vq_key k)
{
	return a->seen >> k & 1;
}

static const char *const key_names[] = {
#define X(n) #n,
        VQ_KEYS(X)
#undef X
};

static int key_by_name(const char *s, size_t n)
{
	for (int i = 0; i < VQK_N; i++)
		if (strlen(key_names[i]) == n && !memcmp(key_names[i], s, n))
			return i;
	return -1;
}

/* a string that goes on as a C string */
static int cstr(struct ask *a, const char **ret, size_t *ret_n)
{
	VX_TRY(js_peek(&a->js));
	size_t at = a->js.i;
	VX_TRY(js_str(&a->js, ret, ret_n));
	return strlen(*ret) == *ret_n ? 0 : fail(a, -VX_ERR_bad_value, at, "a NUL in this string");
}

static int path(struct ask *a, const char **ret)
{
	VX_TRY(js_peek(&a->js));
	size_t at = a->js.i, n;
	const char *s;
	VX_TRY(cstr(a, &s, &n));
	char *p = a->js.s + (s - a->js.s); /* the text is ours to change */
	return vq_path(p, n) < 0 ? fail(a, -VX_ERR_path_outside, at, NULL) : (*ret = p, 0);
}

static int coll_name(struct ask *a, const char **ret)
{
	VX_TRY(js_peek(&a->js));
	size_t at = a->js.i, n;
	VX_TRY(cstr(a, ret, &n));
	return vq_coll_name_ok(*ret, n) ? 0 : fail(a, -VX_ERR_collection_name, at, NULL);
}

static int range(struct ask *a, uint64_t lo, uint64_t hi, int code, uint32_t *ret)
{
	uint64_t v;
	VX_TRY(js_peek(&a->js));
	size_t at = a->js.i;
	VX_TRY(js_u64(&a->js, UINT64_MAX, &v));
	if (v < lo || v > hi)
		return fail(a, code, at, NULL);
	*ret = (uint32_t)v;
	return 0;
}

/* one of a few words; their number, or < 0 with the words told */
static int word(struct ask *a, int (*by_name)(const char *, size_t), const char *words)
{
	VX_TRY(js_peek(&a->js));
	size_t at = a->js.i, n;
	const char *s;
	VX_TRY(cstr(a, &s, &n));
	int v = by_name(s, n);
	return v >= 0 ? v : fail(a, -VX_ERR_bad_value, at, words);
}

static bool is(const char *s, size_t n, const char *w)
{
	return strlen(w) == n && !memcmp(s, w, n);
}
static int mode_by_name(const char *s, size_t n)
{
	return is(s, n, "auto")     ? ENG_MODE_auto
	       : is(s, n, "vector") ? ENG_MODE_vector
	       : is(s, n, "text")   ? ENG_MODE_text
	       : is(s, n, "hybrid") ? ENG_MODE_hybrid
	                            : -1;
}
static int combine_by_name(const char *s, size_t n)
{
	return is(s, n, "max") ? 0 : is(s, n, "sum") ? 1 : -1;
}
static int group_by_name(const char *s, size_t n)
{
	return is(s, n, "file") ? 0 : is(s, n, "chunk") ? 1 : -1;
}

static int payload(struct ask *a, const char **ret, uint32_t *ret_n)
{
	int k = js_peek(&a->js);
	if (k < 0)
		return k;
	size_t at = a->js.i, n;
	if (k == JS_null) {
		VX_TRY(js_raw(&a->js, true, ret, &n));
		*ret = NULL;
		*ret_n = 0;
		return 0;
	}
	if (k != JS_object)
		return fail(a, -VX_ERR_payload_syntax, at, NULL);
	VX_TRY(js_raw(&a->js, true, ret, &n));
	if (n > CONF_PAYLOAD_MAX)
		return fail(a, -VX_ERR_payload_too_big, at, NULL);
	*ret_n = (uint32_t)n;
	return 0;
}

static int vector(struct ask *a, const void **ret, uint32_t *ret_bytes)
{
	const float *v;
	uint32_t n;
	VX_TRY(js_f32s(&a->js, &a->q->arena, CONF_DIM_MAX, &v, &n));
	*ret = v;
	*ret_bytes = n * 4;
	return 0;
}

static int point(struct ask *a, struct eng_point *p)
{
	size_t at0;
	int k = js_peek(&a->js);
	if (k < 0)
		return k;
	at0 = a->js.i;
	if (k != JS_object)
		return fail(a, -VX_ERR_bad_value, at0, "a point is an object");
	VX_TRY(js_open(&a->js));
	*p = (struct eng_point){0};
	bool first = true, id = false, pl = false;
	const char *key;
	size_t n, at;
	for (int r; (r = js_key(&a->js, &first, &key, &n, &at)) != 0;) {
		if (r < 0)
			return r;
		switch (key_by_name(key, n)) {
		case VQK_id:
			VX_TRY(js_u64(&a->js, UINT64_MAX, &p->id));
			id = true;
			break;
		case VQK_path:
			VX_TRY(path(a, &p->path));
			break;
		case VQK_vector:
			VX_TRY(vector(a, &p->vec, &p->vec_bytes));
			break;
		case VQK_payload:
			VX_TRY(payload(a, &p->payload, &p->payload_n));
			pl = true;
			break;
		default:
			return js_fail(&a->js, -VX_ERR_unknown_key, at, "unknown key \"", key, n, "\" in a point");
		}
	}
	if (id == (p->path != NULL))
		return fail(a, -VX_ERR_missing_key, at0, "a point has either \"id\" or \"path\"");
	if (!p->vec && !pl)
		return fail(a, -VX_ERR_missing_key, at0, "a point needs \"vector\" or \"payload\"");
	return 0;
}

static int points(struct ask *a)
{
	int k = js_peek(&a->js);
	if (k < 0)
		return k;
	size_t at = a->js.i;
	if (k != JS_array)
		return fail(a, -VX_ERR_bad_value, at, "expected an array of points");
	VX_TRY(js_open(&a->js));
	uint32_t n = 0;
	bool first = true;
	for (int r; (r = js_elem(&a->js, &first)) != 0;) {
		if (r < 0)
			return r;
		if (n == CONF_BATCH_MAX)
			return fail(a, -VX_ERR_batch_range, at, NULL);
		if (n == a->point_cap) {
			uint32_t cap = n ? n * 2 : 16;
			struct eng_point *p = arena_alloc(&a->q->arena, cap * sizeof *p);
			if (!p)
				return fail(a, -VX_ERR_arena_full, at, NULL);
			if (n)
				memcpy(p, a->points, n * sizeof *p);
			a->points = p;
			a->point_cap = cap;
		}
		VX_TRY(point(a, &a->points[n]));
		n++;
	}
	if (!n)
		return fail(a, -VX_ERR_batch_range, at, NULL);
	a->q->j.points = a->points;
	a->q->j.point_n = n;
	return 0;
}

/* an array of vectors of equal length, side by side in the arena */
static int vectors(struct ask *a)
{
	struct vq *q = a->q;
	int k = js_peek(&a->js);
	if (k < 0)
		return k;
	size_t at = a->js.i;
	if (k != JS_array)
		return fail(a, -VX_ERR_bad_value, at, "expected an array of vectors");
	VX_TRY(js_open(&a->js));
	float *all = NULL;
	uint32_t n = 0, cap = 0, dim = 0;
	bool first = true;
	for (int r; (r = js_elem(&a->js, &first)) != 0;) {
		const float *v;
		uint32_t d;
		if (r < 0)
			return r;
		VX_TRY(js_peek(&a->js));
		size_t here = a->js.i;
		VX_TRY(js_f32s(&a->js, &q->arena, CONF_DIM_MAX, &v, &d));
		dim = dim ? dim : d;
		if (d != dim)
			return fail(a, -VX_ERR_dim_mismatch, here, "the vectors of a batch have one length");
		if (n == CONF_BATCH_MAX)
			return fail(a, -VX_ERR_batch_range, at, NULL);
		if (n == cap) {
			cap = cap ? cap * 2 : 16;
			float *p = arena_alloc(&q->arena, (size_t)cap * dim * sizeof *p);
			if (!p)
				return fail(a, -VX_ERR_arena_full, here, NULL);
			if (n)
				memcpy(p, all, (size_t)n * dim * sizeof *p);
			all = p;
		}
		memcpy(all + (size_t)n * dim, v, dim * sizeof *v);
		n++;
	}
	if (!n)
		return fail(a, -VX_ERR_batch_range, at, NULL);
	return vq_batch(q, all, dim * 4, n) < 0 ? fail(a, -VX_ERR_arena_full, at, NULL) : 0;
}

/* "wait": true, false or "durable": acknowledged means durable wherever waiting was asked for, so true and "durable" are one */
static int wait_value(struct ask *a)
{
	int k = js_peek(&a->js);
	if (k < 0)
		return k;
	size_t at = a->js.i, n;
	const char *s;
	if (k != JS_string)
		return js_bool(&a->js, &a->wait);
	VX_TRY(cstr(a, &s, &n));
	if (!is(s, n, "durable"))
		return fail(a, -VX_ERR_bad_value, at, "\"wait\" is true, false or \"durable\"");
	a->wait = true;
	return 0;
}

static int value(struct ask *a, enum vq_key key)
{
	struct eng_job *j = &a->q->j;
	size_t n;
	const char *s;
	double d;
	int v;
	switch (key) {
	case VQK_verb: {
		VX_TRY(js_peek(&a->js));
		size_t at = a->js.i;
		VX_TRY(cstr(a, &s, &n));
		a->verb = verb_by_name(s, n);
		return a->verb ? 0 : js_fail(&a->js, -VX_ERR_unknown_verb, at, "unknown verb \"", s, n, "\"");
	}
	case VQK_collection:
	case VQK_name:
		return coll_name(a, &j->coll);
	case VQK_at:
		return coll_name(a, &j->at); /* the same letters, as many */
	case VQK_vector:
		return vector(a, &j->vec, &j->vec_bytes);
	case VQK_text: {
		VX_TRY(js_peek(&a->js));
		size_t at = a->js.i;
		VX_TRY(cstr(a, &j->text, &n));
		if (n > CONF_QUERY_TEXT_MAX)
			return fail(a, -VX_ERR_query_too_long, at, NULL);
		j->text_n = (uint32_t)n;
		return 0;
	}
	case VQK_folder:
		return cstr(a, &j->path, &n);
	case VQK_like:
		return path(a, &j->like);
	case VQK_scope:
		VX_TRY(path(a, &j->scope));
		if (!*j->scope)
			j->scope = NULL;
		return 0;
	case VQK_path:
		return path(a, &j->path);
	case VQK_id:
		j->is_free_point = true;
		return js_u64(&a->js, UINT64_MAX, &j->free_id);
	case VQK_k:
		return range(a, 1, CONF_K_MAX, -VX_ERR_k_range, &j->k);
	case VQK_ef:
		return range(a, 1, CONF_EF_MAX, -VX_ERR_ef_range, &j->ef);
	case VQK_exact:
		return js_bool(&a->js, &j->exact);
	case VQK_stale:
		return js_bool(&a->js, &j->stale);
	case VQK_with_vectors:
		return js_bool(&a->js, &j->with_vectors);
	case VQK_with_payload:
		return js_bool(&a->js, &j->with_payload);
	case VQK_snippet:
		return js_bool(&a->js, &j->with_snippet);
	case VQK_durable:
		return js_bool(&a->js, &j->want_durable);
	case VQK_rescan:
		return js_bool(&a->js, &j->rescan);
	case VQK_wait:
		return wait_value(a);
	case VQK_mode:
		VX_TRY(v = word(a, mode_by_name, "\"mode\" is auto, vector, text or hybrid"));
		j->mode = (enum eng_mode)v;
		return 0;
	case VQK_group:
		VX_TRY(v = word(a, group_by_name, "\"group\" is file or chunk"));
		j->group_chunk = v;
		return 0;
	case VQK_combine:
		VX_TRY(v = word(a, combine_by_name, "\"combine\" is max or sum"));
		j->sum = v;
		return 0;
	case VQK_min_score:
		VX_TRY(js_num(&a->js, &d));
		j->min_score = (float)d;
		j->has_min_score = true;
		return 0;
	case VQK_payload:
		return payload(a, &j->payload, &j->payload_n);
	case VQK_points:
		return points(a);
	case VQK_dim:
		return range(a, 1, CONF_DIM_MAX, -VX_ERR_dim_range, &j->coll_new.dim);
	case VQK_metric:
		VX_TRY(v = word(a, vq_metric_by_name, "\"metric\" is l2, cosine, dot, l1 or hamming"));
		j->coll_new.metric = (uint8_t)v;
		return 0;
	case VQK_dtype:
		VX_TRY(v = word(a, vq_dtype_by_name, "\"dtype\" is f32, f16, bf16, i8 or binary"));
		j->coll_new.dtype = (uint8_t)v;
		return 0;
	case VQK_M:
		return range(a, 2, 64, -VX_ERR_m_range, &j->coll_new.M);
	case VQK_ef_construction:
		return range(a, 1, CONF_EF_MAX, -VX_ERR_ef_range, &j->coll_new.ef_construction);
	case VQK_target_recall:
		VX_TRY(js_num(&a->js, &d));
		if (!(d >= 0 && d <= 1))
			return fail(a, -VX_ERR_bad_value, a->at[key], "\"target_recall\" is 0 to 1");
		j->coll_new.target_recall = (uint32_t)(d * 10000 + 0.5);
		return 0;
	case VQK_recall:
		return js_bool(&a->js, &j->recall);
	case VQK_cursor:
		return js_u64(&a->js, UINT64_MAX, &j->cursor);
	case VQK_limit:
		return range(a, 1, CONF_BATCH_MAX, -VX_ERR_batch_range, &j->k);
	case VQK_vectors:
		return vectors(a);
	case VQK_filter:
		return vq_filter_value(a->q, &a->js);
	case VQK_warn:
		return js_u64(&a->js, UINT32_MAX, &a->q->warn);
	case VQK_critical:
		return js_u64(&a->js, UINT32_MAX, &a->q->critical);
	case VQK_bytes:
		return js_u64(&a->js, UINT32_MAX, &a->q->bytes);
	case VQK_nth:
		return js_u64(&a->js, INT32_MAX, &a->q->nth);
	case VQK_N:
		break;
	}
	vx_assert(key < VQK_N);
	return -VX_ERR_bad_value;
}

static int need(struct ask *a, bool ok, const char *what)
{
	return ok ? 0 : fail(a, -VX_ERR_missing_key, a->at[VQK_verb], what);
}

/* what belongs together: checked once everything is known */
static int whole(struct ask *a)
{
	struct eng_job *j = &a->q->j;
	for (int k = 0; k < VQK_N; k++)
		if (has(a, (enum vq_key)k) && !(a->verb->keys >> k & 1))
			return js_fail(&a->js, -VX_ERR_unknown_key, a->at[k], "this verb takes no key \"", key_names[k],
			        strlen(key_names[k]), "\"");
	enum eng_verb v = (enum eng_verb)a->verb->ev;
	if (v == EV_put || v == EV_batch_put) {
		if (has(a, VQK_points)) {
			if (has(a, VQK_vector) || has(a, VQK_payload) || has(a, VQK_id) || has(a, VQK_path))
				return fail(a, -VX_ERR_bad_value, a->at[VQK_points],
				        "\"points\" excludes vector, payload, id and path beside it");
			v = EV_batch_put;
		} else {
			VX_TRY(need(a, v == EV_put, "\"points\" is missing"));
			VX_TRY(need(a, has(a, VQK_vector), "\"vector\" is missing"));
		}
	}
	j->verb = v;
	bool one_target = v == EV_put || v == EV_get || v == EV_del || v == EV_payload;
	if (one_target)
		VX_TRY(need(a, has(a, VQK_id) != has(a, VQK_path), "one of \"path\" and \"id\" is needed"));
	if (v == EV_payload)
		VX_TRY(need(a, has(a, VQK_payload), "\"payload\" is missing"));
	if (v == EV_search) {
		if (a->verb->uapi == VEXFS_OP_BATCH_SEARCH) {
			VX_TRY(need(a, has(a, VQK_vectors), "\"vectors\" is missing"));
			j->wait = a->wait;
			return 0;
		}
		int of = has(a, VQK_vector) + has(a, VQK_text) + has(a, VQK_like);
		VX_TRY(need(a, of > 0, "one of \"vector\", \"text\" and \"like\" is needed"));
		if (has(a, VQK_like) && of > 1)
			return fail(a, -VX_ERR_bad_value, a->at[VQK_like], "\"like\" excludes vector and text");
		j->wait = a->wait;
		if (has(a, VQK_text) && !has(a, VQK_snippet))
			j->with_snippet = true;
	} else if (v == EV_coll_create || v == EV_coll_drop || v == EV_coll_info || v == EV_index) {
		VX_TRY(need(a, has(a, VQK_name) != has(a, VQK_collection), "\"name\" is missing"));
		if (v == EV_coll_create) {
			memcpy(j->coll_new.name, j->coll, strlen(j->coll) + 1);
			j->coll_new.ef = j->ef;
			if (!has(a, VQK_metric))
				j->coll_new.metric = (uint8_t)vq_metric_by_name("cosine", 6);
		}
	} else if (v == EV_snap_create || v == EV_snap_drop) {
		VX_TRY(need(a, has(a, VQK_name), "\"name\" is missing"));
		j->at = j->coll;
		j->coll = NULL;
	} else if (v == EV_wait) {
		j->wait = true;
	} else {
		j->want_durable |= a->wait;
		if (v == EV_get) {
			j->with_vectors = has(a, VQK_with_vectors) ? j->with_vectors : true;
			j->with_payload = has(a, VQK_with_payload) ? j->with_payload : true;
		}
	}
	return 0;
}

static int parse(struct ask *a)
{
	int k = js_peek(&a->js);
	if (k < 0)
		return k;
	if (k != JS_object)
		return fail(a, -VX_ERR_json_syntax, a->js.i, "a request is one object");
	VX_TRY(js_open(&a->js));
	bool first = true;
	const char *key;
	size_t n, at;
	for (int r; (r = js_key(&a->js, &first, &key, &n, &at)) != 0;) {
		if (r < 0)
			return r;
		int id = key_by_name(key, n);
		if (id < 0)
			return js_fail(&a->js, -VX_ERR_unknown_key, at, "unknown key \"", key, n, "\"");
		if (a->seen >> id & 1)
			return js_fail(&a->js, -VX_ERR_bad_value, at, "the key \"", key, n, "\" comes twice");
		a->seen |= 1ull << id;
		a->at[id] = (uint32_t)at;
		VX_TRY(value(a, (enum vq_key)id));
	}
	VX_TRY(js_end(&a->js));
	if (!a->verb)
		return fail(a, -VX_ERR_missing_key, 0, "\"verb\" is missing");
	return whole(a);
}

int vq_json(struct vq *q, char *req, size_t n)
{
	struct ask a = {.q = q};
	js_init(&a.js, req, n, &q->j.err);
	int rc = n > CONF_REQUEST_MAX ? fail(&a, -VX_ERR_request_too_big, 0, NULL) : parse(&a);
	q->verb = a.verb;
	q->uapi_op = 0;
	if (rc < 0)
		return vq_refuse(q, rc, NULL);
	return 0;
}

int vq_payload_check(const char *p, size_t n)
{
	if (n > CONF_PAYLOAD_MAX)
		return -VX_ERR_payload_too_big;
	struct js j;
	/* js_raw and js_end only look: the cast writes nothing */
	js_init(&j, (char *)(uintptr_t)p, n, NULL);
	if (js_peek(&j) != JS_object || js_raw(&j, true, NULL, NULL) < 0 || js_end(&j) < 0)
		return -VX_ERR_payload_syntax;
	return 0;
}
