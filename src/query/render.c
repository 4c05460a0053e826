/* render.c - an answered job as JSON (docs: "Answers").  Runs on FUSE and engine threads; prints nothing by libc. */
#include <string.h>

#include "query/query.h"

#define OUT_FIRST 1024u
#define OUT_MAX   ((size_t)256 << 20)

static void key(struct sbuf *b, const char *name)
{
	sb_ch(b, '"');
	sb_str(b, name);
	sb_str(b, "\":");
}
static void str(struct sbuf *b, const char *name, const char *v, size_t n)
{
	key(b, name);
	sb_json(b, v, n);
}
static void num(struct sbuf *b, const char *name, uint64_t v)
{
	key(b, name);
	sb_u64(b, v);
}
static void boolean(struct sbuf *b, const char *name, bool v)
{
	key(b, name);
	sb_str(b, v ? "true" : "false");
}

void vq_error_json(struct sbuf *b, const struct vx_errinfo *err)
{
	const char *name = err_name(err->code), *text = err_text(err->code);
	sb_str(b, "{\"error\":{");
	str(b, "code", name, strlen(name));
	sb_ch(b, ',');
	key(b, "message");
	if (err->detail[0]) {
		/* "sentence: detail", escaped as one */
		char t[256];
		struct sbuf s;
		sbuf_fixed(&s, t, sizeof t);
		sb_str(&s, text);
		sb_str(&s, ": ");
		sb_str(&s, err->detail);
		sb_json(b, t, strlen(sbuf_cstr(&s)));
	} else {
		sb_json(b, text, strlen(text));
	}
	if (err->position >= 0) {
		sb_ch(b, ',');
		num(b, "position", (uint64_t)err->position);
	}
	sb_str(b, "}}\n");
}

static void vector(struct sbuf *b, const void *vec, uint32_t bytes)
{
	const uint8_t *p = vec;
	key(b, "vector");
	sb_ch(b, '[');
	for (uint32_t i = 0; i + 4 <= bytes; i += 4) {
		float f;
		memcpy(&f, p + i, 4);
		if (i)
			sb_ch(b, ',');
		sb_f32(b, f);
	}
	sb_ch(b, ']');
}

static void head(struct sbuf *b, const struct eng_job *j)
{
	sb_ch(b, '{');
	num(b, "generation", j->generation);
}

static void freshness_took(struct sbuf *b, const struct eng_job *j, uint64_t took_ns)
{
	head(b, j);
	sb_ch(b, ',');
	boolean(b, "complete", j->complete);
	sb_ch(b, ',');
	num(b, "pending", j->pending);
	sb_ch(b, ',');
	num(b, "took_us", took_ns / 1000);
}
static void freshness(struct sbuf *b, const struct eng_job *j)
{
	freshness_took(b, j, j->took_ns);
}

static void locator(struct sbuf *b, const struct eng_hit *h)
{
	sb_str(b, ",\"locator\":{\"bytes\":[");
	sb_u64(b, h->byte0);
	sb_ch(b, ',');
	sb_u64(b, h->byte1);
	sb_str(b, "],\"lines\":[");
	sb_u64(b, h->line0);
	sb_ch(b, ',');
	sb_u64(b, h->line1);
	sb_str(b, "]}");
}

static void hit(struct sbuf *b, const struct eng_hit *h, uint32_t rank)
{
	sb_ch(b, '{');
	num(b, "rank", rank);
	sb_ch(b, ',');
	if (h->path)
		str(b, "path", h->path, strlen(h->path));
	else
		num(b, "id", h->id);
	sb_str(b, ",\"score\":");
	sb_f32(b, h->score);
	sb_str(b, ",\"distance\":");
	sb_f32(b, h->distance);
	sb_ch(b, ',');
	const char *state = vq_state_name(h->state);
	str(b, "state", state, strlen(state));
	if (h->collection) {
		sb_ch(b, ',');
		str(b, "collection", h->collection, strlen(h->collection));
	}
	if (h->has_locator)
		locator(b, h);
	if (h->snippet) {
		sb_ch(b, ',');
		str(b, "snippet", h->snippet, strlen(h->snippet));
	}
	if (h->payload && h->payload_n) {
		sb_str(b, ",\"payload\":");
		sb_bytes(b, h->payload, h->payload_n);
	}
	if (h->vec) {
		sb_ch(b, ',');
		vector(b, h->vec, h->vec_bytes);
	}
	sb_ch(b, '}');
}

static void search(struct sbuf *b, const struct eng_job *j)
{
	freshness(b, j);
	sb_ch(b, ',');
	num(b, "distances", j->distances);
	sb_ch(b, ',');
	boolean(b, "exact", j->used_exact);
	sb_str(b, ",\"results\":[");
	for (uint32_t i = 0; i < j->res_n && !b->over; i++) {
		if (i)
			sb_str(b, ",\n ");
		hit(b, j->res + i, i + 1);
	}
	sb_str(b, "]}");
}

static void batch(struct sbuf *b, const struct vq *q)
{
	freshness_took(b, &q->j, q->batch_ns);
	sb_ch(b, ',');
	num(b, "distances", q->batch_distances);
	sb_str(b, ",\"batch\":[");
	for (uint32_t i = 0; i < q->batch_i && !b->over; i++) {
		sb_str(b, i ? ",\n {\"results\":[" : "{\"results\":[");
		for (uint32_t k = 0; k < q->batch[i].n && !b->over; k++) {
			if (k)
				sb_str(b, ",\n  ");
			hit(b, q->batch[i].res + k, k + 1);
		}
		sb_str(b, "]}");
	}
	sb_str(b, "]}");
}

static void get(struct sbuf *b, const struct eng_job *j)
{
	head(b, j);
	sb_ch(b, ',');
	if (j->is_free_point)
		num(b, "id", j->free_id);
	else if (j->path)
		str(b, "path", j->path, strlen(j->path));
	else
		str(b, "path", "", 0);
	sb_ch(b, ',');
	const char *c = j->coll ? j->coll : "default", *state = vq_state_name(j->ret_state);
	str(b, "collection", c, strlen(c));
	sb_ch(b, ',');
	str(b, "state", state, strlen(state));
	sb_ch(b, ',');
	num(b, "dim", j->ret_dim);
	if (j->ret_hashed) {
		sb_str(b, ",\"hash\":\"");
		for (unsigned i = 0; i < sizeof j->ret_hash; i++)
			sb_hex(b, j->ret_hash[i], 2);
		sb_ch(b, '"');
	}
	sb_ch(b, ',');
	num(b, "chunks", j->ret_chunks);
	if (j->ret_model) {
		sb_ch(b, ',');
		str(b, "model", j->ret_model, strlen(j->ret_model));
	}
	if (j->with_vectors && j->ret_vec) {
		sb_ch(b, ',');
		vector(b, j->ret_vec, j->ret_vec_bytes);
	}
	if (j->with_payload && j->ret_payload && j->ret_payload_n) {
		sb_str(b, ",\"payload\":");
		sb_bytes(b, j->ret_payload, j->ret_payload_n);
	}
	sb_ch(b, '}');
}

static void collection(struct sbuf *b, const struct eng_coll_info *c)
{
	sb_ch(b, '{');
	str(b, "name", c->name, strlen(c->name));
	sb_ch(b, ',');
	num(b, "dim", c->dim);
	sb_ch(b, ',');
	str(b, "metric", vq_metric_name(c->metric), strlen(vq_metric_name(c->metric)));
	sb_ch(b, ',');
	str(b, "dtype", vq_dtype_name(c->dtype), strlen(vq_dtype_name(c->dtype)));
	static const char *const names[] = {"M", "ef_construction", "ef", "uid", "gid"};
	const uint32_t v[] = {c->M, c->ef_construction, c->ef, c->uid, c->gid};
	for (unsigned i = 0; i < 5; i++) {
		sb_ch(b, ',');
		num(b, names[i], v[i]);
	}
	char mode[5];
	for (unsigned i = 0; i < 4; i++)
		mode[i] = (char)('0' + (c->mode >> (9 - 3 * i) & 7));
	sb_ch(b, ',');
	str(b, "mode", mode, 4);
	static const char *const counts[] = {"points", "linked", "tail", "dead", "index_bytes"};
	const uint64_t n[] = {c->points, c->linked, c->tail, c->dead, c->index_bytes};
	for (unsigned i = 0; i < 5; i++) {
		sb_ch(b, ',');
		num(b, counts[i], n[i]);
	}
	if (c->target_recall) {
		sb_str(b, ",\"target_recall\":");
		sb_fixed(b, c->target_recall / 10000.0, 4);
		sb_str(b, ",\"recall\":");
		sb_fixed(b, c->recall / 10000.0, 4);
		sb_ch(b, ',');
		num(b, "recall_ef", c->recall_ef);
		sb_ch(b, ',');
		str(b, "recall_state", c->recall_state, strlen(c->recall_state));
	}
	if (c->index) {
		sb_ch(b, ',');
		str(b, "index", c->index, strlen(c->index));
	}
	sb_ch(b, '}');
}

static void collections(struct sbuf *b, const struct eng_job *j)
{
	head(b, j);
	sb_str(b, ",\"collections\":[");
	for (uint32_t i = 0; i < j->coll_n && !b->over; i++) {
		if (i)
			sb_str(b, ",\n ");
		collection(b, j->colls + i);
	}
	sb_str(b, "]}");
}

static void export(struct sbuf *b, const struct eng_job *j)
{
	head(b, j);
	sb_ch(b, ',');
	num(b, "cursor", j->cursor);
	sb_ch(b, ',');
	num(b, "dim", j->ret_dim);
	sb_str(b, ",\"points\":[");
	for (uint32_t i = 0; i < j->out_point_n && !b->over; i++) {
		const struct eng_point *p = j->out_points + i;
		sb_str(b, i ? ",\n {" : "{");
		if (p->path)
			str(b, "path", p->path, strlen(p->path));
		else
			num(b, "id", p->id);
		sb_ch(b, ',');
		vector(b, p->vec, p->vec_bytes);
		if (p->payload && p->payload_n) {
			sb_str(b, ",\"payload\":");
			sb_bytes(b, p->payload, p->payload_n);
		}
		sb_ch(b, '}');
	}
	sb_str(b, "]}");
}

static void answer(struct sbuf *b, const struct eng_job *j)
{
	switch (j->verb) {
	case EV_search:
		search(b, j);
		break;
	case EV_get:
		get(b, j);
		break;
	case EV_status:
	case EV_locate:
	case EV_verify:
	case EV_snap_create:
	case EV_snap_list:
		sb_bytes(b, j->out_text, j->out_text_n);
		break;
	case EV_wait:
		freshness(b, j);
		sb_ch(b, '}');
		break;
	case EV_coll_list:
		collections(b, j);
		break;
	case EV_coll_info:
	case EV_coll_create:
	case EV_index:
		if (j->coll_n)
			collection(b, j->colls);
		else
			sb_str(b, "{\"ok\":true}");
		break;
	case EV_export:
		export(b, j);
		break;
	case EV_batch_put:
		head(b, j);
		sb_ch(b, ',');
		num(b, "points", j->point_n);
		sb_ch(b, '}');
		break;
	case EV_put:
	case EV_del:
	case EV_payload:
	case EV_coll_drop:
	case EV_snap_drop:
	case EV_retry:
	case EV_model:
		head(b, j);
		sb_str(b, ",\"ok\":true}");
		break;
	}
	if (!b->n || b->p[b->n - 1] != '\n')
		sb_ch(b, '\n');
}

void vq_render(struct vq *q)
{
	if (q->uapi_op) {
		vq_render_binary(q);
		return;
	}
	if (q->j.rc >= 0) {
		if (sbuf_arena(&q->out, &q->arena, OUT_FIRST, OUT_MAX) >= 0) {
			if (q->batch_n) {
				batch(&q->out, q);
				sb_ch(&q->out, '\n');
			} else {
				answer(&q->out, &q->j);
			}
			if (!q->out.over)
				return;
		}
		q->j.err.code = 0;
		vq_refuse(q, -VX_ERR_arena_full, NULL);
	}
	if (!q->j.err.code)
		q->j.err = (struct vx_errinfo){.code = q->j.rc, .position = -1};
	sbuf_fixed(&q->out, q->small, sizeof q->small);
	vq_error_json(&q->out, &q->j.err);
	vx_assert(!q->out.over);
}
