/* bert_net.c - BERT's forward pass over packed rows, post-norm as in the original: x = LN(x + attention(x)); x = LN(x + ffn(x)).
 *
 * Query, key and value are one product.  Attention goes head by head in blocks of GEMM_MT queries, so its matrix of scores is bounded
 * by GEMM_MT * tokens_max; keys and values of a head are packed like weights and use the same kernel.  The feed-forward part runs block
 * by block as well: its wide middle (4 * hidden) stays in the second-level cache. */
#include "embed/bert_net.h"
#include <math.h>
#include <string.h>
#include "base/sbuf.h"

static const char *const prefixes[] = {"", "bert.", "0.auto_model.", "auto_model.", "model."};
#define NAME_MAX_T 160u

static void tensor_name(char ret[NAME_MAX_T], const char *prefix, int layer, const char *name)
{
	struct sbuf b;
	sbuf_fixed(&b, ret, NAME_MAX_T);
	sb_str(&b, prefix);
	if (layer >= 0) {
		sb_str(&b, "encoder.layer.");
		sb_u64(&b, (uint64_t)layer);
		sb_ch(&b, '.');
	}
	sb_str(&b, name);
	(void)sbuf_cstr(&b); /* longer than any name here */
}

static const char *find_prefix(const struct safetensors *f)
{
	char name[NAME_MAX_T];
	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		tensor_name(name, prefixes[i], -1, "embeddings.word_embeddings.weight");
		if (safetensors_find(f, name))
			return prefixes[i];
	}
	return NULL;
}

const struct st_tensor *bert_net_word(const struct safetensors *f)
{
	char name[NAME_MAX_T];
	tensor_name(name, find_prefix(f), -1, "embeddings.word_embeddings.weight");
	return safetensors_find(f, name);
}

/* older files call a layer norm's parameters gamma and beta */
static const struct st_tensor *find(const struct safetensors *f, const char *prefix, int layer, const char *name)
{
	char full[NAME_MAX_T];
	tensor_name(full, prefix, layer, name);
	const struct st_tensor *t = safetensors_find(f, full);
	char *dot = strrchr(full, '.');
	if (t || !strstr(full, "LayerNorm."))
		return t;
	memcpy(dot + 1, strcmp(dot, ".weight") ? "beta" : "gamma", strcmp(dot, ".weight") ? 5 : 6);
	return safetensors_find(f, full);
}

/* cols 0: a vector */
static int wants(const struct safetensors *f, const char *prefix, int layer, const char *name, uint64_t rows,
        uint64_t cols, struct vx_errinfo *reterr)
{
	const struct st_tensor *t = find(f, prefix, layer, name);
	if (!t)
		return emb_fail(reterr, -VX_ERR_bad_format, "model.safetensors lacks", name);
	if (t->dtype > ST_BF16 || t->rank != (cols ? 2 : 1) || t->shape[0] != rows || (cols && t->shape[1] != cols))
		return emb_fail(
		        reterr, -VX_ERR_bad_format, "a tensor has not the shape that config.json gives it", name);
	return 0;
}

int bert_net_check(const struct bert_shape *s, const struct safetensors *f, struct vx_errinfo *reterr)
{
	const char *p = find_prefix(f);
	uint32_t h = s->hidden;
	if (!p)
		return emb_fail(
		        reterr, -VX_ERR_bad_format, "model.safetensors lacks", "embeddings.word_embeddings.weight");
	VX_TRY(wants(f, p, -1, "embeddings.word_embeddings.weight", s->vocab, h, reterr));
	VX_TRY(wants(f, p, -1, "embeddings.position_embeddings.weight", s->positions, h, reterr));
	const struct st_tensor *types = find(f, p, -1, "embeddings.token_type_embeddings.weight");
	VX_TRY(wants(f, p, -1, "embeddings.token_type_embeddings.weight",
	        types && types->shape[0] ? types->shape[0] : 1, h, reterr));
	VX_TRY(wants(f, p, -1, "embeddings.LayerNorm.weight", h, 0, reterr));
	VX_TRY(wants(f, p, -1, "embeddings.LayerNorm.bias", h, 0, reterr));
	static const char *const square[] = {
	        "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"};
	char name[64];
	for (int l = 0; l < (int)s->layers; l++) {
		for (size_t i = 0; i < 4; i++) {
			struct sbuf b;
			sbuf_fixed(&b, name, sizeof name);
			sb_str(&b, square[i]);
			sb_str(&b, ".weight");
			VX_TRY(wants(f, p, l, sbuf_cstr(&b), h, h, reterr));
			sbuf_fixed(&b, name, sizeof name);
			sb_str(&b, square[i]);
			sb_str(&b, ".bias");
			VX_TRY(wants(f, p, l, sbuf_cstr(&b), h, 0, reterr));
		}
		VX_TRY(wants(f, p, l, "attention.output.LayerNorm.weight", h, 0, reterr));
		VX_TRY(wants(f, p, l, "attention.output.LayerNorm.bias", h, 0, reterr));
		VX_TRY(wants(f, p, l, "intermediate.dense.weight", s->inter, h, reterr));
		VX_TRY(wants(f, p, l, "intermediate.dense.bias", s->inter, 0, reterr));
		VX_TRY(wants(f, p, l, "output.dense.weight", h, s->inter, reterr));
		VX_TRY(wants(f, p, l, "output.dense.bias", h, 0, reterr));
		VX_TRY(wants(f, p, l, "output.LayerNorm.weight", h, 0, reterr));
		VX_TRY(wants(f, p, l, "output.LayerNorm.bias", h, 0, reterr));
	}
	return 0;
}

/* cut pieces off a block; with no block yet it only counts */
struct carve {
	uint8_t *p;
	size_t n;
};
static void *carve(struct carve *c, size_t bytes)
{
	void *p = c->p ? c->p + c->n : NULL;
	c->n += gemm_round(bytes, 64);
	return p;
}
static float *carve_f(struct carve *c, size_t n)
{
	return carve(c, gemm_round(n, GEMM_NR) * sizeof(float));
}

static void lay_weights(struct bert_net *n, struct carve *c)
{
	uint32_t h = n->shape.hidden, inter = n->shape.inter;
	n->pos = carve(c, (size_t)n->tokens_max * h * sizeof *n->pos);
	n->emb_g = carve_f(c, h);
	n->emb_b = carve_f(c, h);
	for (uint32_t l = 0; l < n->shape.layers; l++) {
		struct bert_layer *y = &n->layer[l];
		y->qkv = carve(c, gemm_packed_bytes(3 * h, h));
		y->out = carve(c, gemm_packed_bytes(h, h));
		y->up = carve(c, gemm_packed_bytes(inter, h));
		y->down = carve(c, gemm_packed_bytes(h, inter));
		y->qkv_b = carve_f(c, 3 * h);
		y->out_b = carve_f(c, h);
		y->up_b = carve_f(c, inter);
		y->down_b = carve_f(c, h);
		y->ln1_g = carve_f(c, h);
		y->ln1_b = carve_f(c, h);
		y->ln2_g = carve_f(c, h);
		y->ln2_b = carve_f(c, h);
	}
}

static void lay_work(struct bert_net *n, struct carve *c)
{
	uint32_t h = n->shape.hidden, d = h / n->shape.heads, k = h > n->shape.inter ? h : n->shape.inter;
	k = k > n->tokens_max ? k : n->tokens_max;
	n->x_stride = gemm_round(h, GEMM_NR) + GEMM_NR; /* the last head's output is written in whole panels */
	n->qkv_stride = gemm_round(3 * h, GEMM_NR);
	n->inter_stride = gemm_round(n->shape.inter, GEMM_NR);
	n->s_stride = gemm_round(n->tokens_max, GEMM_NR);
	n->x = carve(c, n->rows * n->x_stride * sizeof(float));
	n->qkv = carve(c, n->rows * n->qkv_stride * sizeof(float));
	n->ctx = carve(c, n->rows * n->x_stride * sizeof(float));
	n->inter = carve(c, GEMM_MT * n->inter_stride * sizeof(float));
	n->s = carve(c, GEMM_MT * n->s_stride * sizeof(float));
	n->kp = carve(c, gemm_packed_bytes(n->tokens_max, d));
	n->vp = carve(c, gemm_packed_bytes(d, n->tokens_max));
	n->scratch = carve(c, gemm_scratch_bytes(k));
}

static bool all_finite(const float *v, size_t n)
{
	float s = 0;
	for (size_t i = 0; i < n; i++)
		s += v[i] * 0;
	return s == 0; /* NaN or Inf times 0 is NaN */
}

struct reader {
	const struct safetensors *f;
	const char *prefix;
	int layer;
	float *row; /* one row of weights */
	struct vx_errinfo *reterr;
};

static int read_vector(struct reader *r, const char *name, float *ret, uint32_t n)
{
	int rc = safetensors_read(r->f, find(r->f, r->prefix, r->layer, name), 0, n, ret);
	if (rc >= 0 && !all_finite(ret, n))
		rc = -VX_ERR_not_finite;
	return rc < 0 ? emb_fail(r->reterr, rc, err_text(rc), name) : 0;
}

/* rows [0, n) of a matrix become rows @to.. of the packed one */
static int read_matrix(struct reader *r, const char *name, uint16_t *ret, uint32_t to, uint32_t n, uint32_t k)
{
	const struct st_tensor *t = find(r->f, r->prefix, r->layer, name);
	for (uint32_t i = 0; i < n; i++) {
		int rc = safetensors_read(r->f, t, (uint64_t)i * k, k, r->row);
		if (rc >= 0 && !all_finite(r->row, k))
			rc = -VX_ERR_not_finite;
		if (rc < 0)
			return emb_fail(r->reterr, rc, err_text(rc), name);
		gemm_pack_row(ret, to + i, r->row, 1, k);
	}
	return 0;
}

static int read_layer(struct reader *r, const struct bert_shape *s, struct bert_layer *y)
{
	uint32_t h = s->hidden;
	VX_TRY(read_matrix(r, "attention.self.query.weight", y->qkv, 0, h, h));
	VX_TRY(read_matrix(r, "attention.self.key.weight", y->qkv, h, h, h));
	VX_TRY(read_matrix(r, "attention.self.value.weight", y->qkv, 2 * h, h, h));
	VX_TRY(read_vector(r, "attention.self.query.bias", y->qkv_b, h));
	VX_TRY(read_vector(r, "attention.self.key.bias", y->qkv_b + h, h));
	VX_TRY(read_vector(r, "attention.self.value.bias", y->qkv_b + 2 * (size_t)h, h));
	VX_TRY(read_matrix(r, "attention.output.dense.weight", y->out, 0, h, h));
	VX_TRY(read_vector(r, "attention.output.dense.bias", y->out_b, h));
	VX_TRY(read_vector(r, "attention.output.LayerNorm.weight", y->ln1_g, h));
	VX_TRY(read_vector(r, "attention.output.LayerNorm.bias", y->ln1_b, h));
	VX_TRY(read_matrix(r, "intermediate.dense.weight", y->up, 0, s->inter, h));
	VX_TRY(read_vector(r, "intermediate.dense.bias", y->up_b, s->inter));
	VX_TRY(read_matrix(r, "output.dense.weight", y->down, 0, h, s->inter));
	VX_TRY(read_vector(r, "output.dense.bias", y->down_b, h));
	VX_TRY(read_vector(r, "output.LayerNorm.weight", y->ln2_g, h));
	return read_vector(r, "output.LayerNorm.bias", y->ln2_b, h);
}

int bert_net_load(struct embed *m, const struct bert_shape *s, const struct safetensors *f, uint32_t rows,
        uint32_t tokens_max, struct bert_net *n, struct vx_errinfo *reterr)
{
	struct carve c = {0};
	memset(n, 0, sizeof *n);
	n->shape = *s;
	n->gemm = gemm_get();
	n->rows = rows;
	n->tokens_max = tokens_max;
	lay_weights(n, &c);
	n->mem_n = c.n;
	c.n = 0;
	lay_work(n, &c);
	n->work_n = c.n;
	size_t row_n = (s->hidden > s->inter ? s->hidden : s->inter) * sizeof(float);
	struct reader r = {.f = f, .prefix = find_prefix(f), .layer = -1, .row = emb_alloc(m, row_n), .reterr = reterr};
	n->mem = emb_alloc(m, n->mem_n);
	n->work = emb_alloc(m, n->work_n);
	int rc = r.row && n->mem && n->work
	                 ? 0
	                 : emb_fail(reterr, -ENOMEM, "no memory for the model's weights", m->info.name);
	if (rc >= 0) {
		c = (struct carve){n->mem, 0};
		lay_weights(n, &c);
		c = (struct carve){n->work, 0};
		lay_work(n, &c);
		uint32_t h = s->hidden;
		rc = read_vector(&r, "embeddings.position_embeddings.weight", n->pos, tokens_max * h);
		if (rc >= 0)
			rc = read_vector(&r, "embeddings.token_type_embeddings.weight", r.row, h);
		for (uint32_t i = 0; rc >= 0 && i < tokens_max; i++)
			for (uint32_t d = 0; d < h; d++)
				n->pos[(size_t)i * h + d] += r.row[d];
		if (rc >= 0)
			rc = read_vector(&r, "embeddings.LayerNorm.weight", n->emb_g, h);
		if (rc >= 0)
			rc = read_vector(&r, "embeddings.LayerNorm.bias", n->emb_b, h);
	}
	for (r.layer = 0; rc >= 0 && r.layer < (int)s->layers; r.layer++)
		rc = read_layer(&r, s, &n->layer[r.layer]);
	emb_free(m, r.row, row_n);
	if (rc < 0)
		bert_net_unload(m, n);
	return rc;
}

void bert_net_unload(struct embed *m, struct bert_net *n)
{
	emb_free(m, n->mem, n->mem_n);
	emb_free(m, n->work, n->work_n);
	memset(n, 0, sizeof *n);
}

void bert_net_embed(struct bert_net *n, uint32_t row, uint32_t pos)
{
	n->gemm->layer_norm(bert_net_row(n, row), n->pos + (size_t)pos * n->shape.hidden, n->emb_g, n->emb_b,
	        n->shape.hidden, n->shape.eps);
}

/* one head of one piece: ctx = softmax(q k^T / sqrt(d)) v */
static void attend(struct bert_net *n, uint32_t row0, uint32_t len, uint32_t head)
{
	uint32_t h = n->shape.hidden, d = h / n->shape.heads;
	const float *q = n->qkv + row0 * n->qkv_stride + head * d;
	float scale = 1 / sqrtf((float)d);
	gemm_pack(n->kp, q + h, n->qkv_stride, 1, len, d);
	gemm_pack(n->vp, q + 2 * (size_t)h, 1, n->qkv_stride, d, len);
	for (uint32_t at = 0; at < len; at += GEMM_MT) {
		uint32_t k = len - at < GEMM_MT ? len - at : GEMM_MT;
		n->gemm->mul(
		        q + at * n->qkv_stride, n->qkv_stride, k, n->kp, len, d, NULL, n->s, n->s_stride, n->scratch);
		for (uint32_t i = 0; i < k; i++)
			n->gemm->softmax(n->s + i * n->s_stride, len, scale);
		/* heads come in order: what a panel writes behind this head's columns the next head overwrites */
		n->gemm->mul(n->s, n->s_stride, k, n->vp, d, len, NULL, n->ctx + (row0 + at) * n->x_stride + head * d,
		        n->x_stride, n->scratch);
	}
}

static void feed_forward(struct bert_net *n, const struct bert_layer *y, uint32_t row0, uint32_t rows)
{
	uint32_t h = n->shape.hidden, inter = n->shape.inter;
	float *x = bert_net_row(n, row0), *out = n->ctx + row0 * n->x_stride;
	n->gemm->mul(x, n->x_stride, rows, y->up, inter, h, y->up_b, n->inter, n->inter_stride, n->scratch);
	if (n->shape.act == BERT_gelu)
		n->gemm->gelu(n->inter, rows * n->inter_stride);
	else
		n->gemm->gelu_tanh(n->inter, rows * n->inter_stride);
	n->gemm->mul(n->inter, n->inter_stride, rows, y->down, h, inter, y->down_b, out, n->x_stride, n->scratch);
	for (uint32_t i = 0; i < rows; i++)
		n->gemm->layer_norm(x + i * n->x_stride, out + i * n->x_stride, y->ln2_g, y->ln2_b, h, n->shape.eps);
}

int bert_net_run(struct bert_net *n, const uint32_t *start, uint32_t pieces, _Atomic int *cancel)
{
	uint32_t h = n->shape.hidden, rows = start[pieces];
	for (uint32_t l = 0; l < n->shape.layers; l++) {
		const struct bert_layer *y = &n->layer[l];
		if (cancel && atomic_load_explicit(cancel, memory_order_relaxed))
			return -VX_ERR_cancelled;
		n->gemm->mul(n->x, n->x_stride, rows, y->qkv, 3 * h, h, y->qkv_b, n->qkv, n->qkv_stride, n->scratch);
		for (uint32_t i = 0; i < pieces; i++)
			for (uint32_t a = 0; a < n->shape.heads; a++)
				attend(n, start[i], start[i + 1] - start[i], a);
		/* the queries are used up: their room takes the product */
		n->gemm->mul(n->ctx, n->x_stride, rows, y->out, h, h, y->out_b, n->qkv, n->qkv_stride, n->scratch);
		for (uint32_t i = 0; i < rows; i++)
			n->gemm->layer_norm(
			        bert_net_row(n, i), n->qkv + i * n->qkv_stride, y->ln1_g, y->ln1_b, h, n->shape.eps);
		for (uint32_t at = 0; at < rows; at += GEMM_MT)
			feed_forward(n, y, at, rows - at < GEMM_MT ? rows - at : GEMM_MT);
	}
	return 0;
}
