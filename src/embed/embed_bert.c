/* embed_bert.c - a BERT-type sentence encoder: opening, weights, batches, pooling.  (Devlin et al., arXiv:1810.04805; Reimers & Gurevych,
 * arXiv:1908.10084; the network itself is in bert_net.c.)
 *
 * Texts are not padded to each other: the tokens of several texts stand one after the other in one matrix of at most `rows` rows, so
 * the dense products do no work for nothing; attention runs text by text.  Word embeddings are read row by row from the file (the page
 * cache holds what is hot), all other weights are packed once as bf16: 21 MB for MiniLM-L6. */
#include <math.h>
#include <string.h>
#include "base/sbuf.h"
#include "embed/bert_net.h"
#include "embed/safetensors.h"
#include "embed/wordpiece.h"

#define ROWS_MIN 480u /* rows of a batch: a multiple of GEMM_MT; more if one text may have more tokens */

enum pooling { POOL_mean, POOL_cls };
struct bert {
	struct bert_shape shape;
	enum pooling pooling;
	uint32_t tokens_max, rows;
	/* loaded */
	struct safetensors file;
	const struct st_tensor *word;
	struct wordpiece *wp;
	struct bert_net net;
	uint32_t *ids; /* tokens of one text: windows * tokens_max */
	uint32_t *start; /* first row of each piece in the batch */
	uint32_t *owner; /* whose piece it is: index of the text */
	uint64_t wp_bytes;
};

static const char *const files[] = {"config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json",
        "model.safetensors", "1_Pooling/config.json", "sentence_bert_config.json", NULL};

static bool str_is(const json_t *o, const char *key, const char *want)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s && !strcmp(s, want);
}

static int read_config(struct bert *b, const json_t *j, struct vx_errinfo *reterr)
{
	int64_t hidden, layers, heads, inter, vocab, positions, types;
	VX_TRY(emb_json_int(j, "hidden_size", 2, EMBED_DIM_MAX, INT64_MIN, &hidden, reterr));
	VX_TRY(emb_json_int(j, "num_hidden_layers", 1, BERT_LAYERS_MAX, INT64_MIN, &layers, reterr));
	VX_TRY(emb_json_int(j, "num_attention_heads", 1, 64, INT64_MIN, &heads, reterr));
	VX_TRY(emb_json_int(j, "intermediate_size", 1, 4 * EMBED_DIM_MAX, INT64_MIN, &inter, reterr));
	VX_TRY(emb_json_int(j, "vocab_size", 1, WORDPIECE_VOCAB_MAX, INT64_MIN, &vocab, reterr));
	VX_TRY(emb_json_int(j, "max_position_embeddings", 8, 8192, INT64_MIN, &positions, reterr));
	VX_TRY(emb_json_int(j, "type_vocab_size", 1, 1024, 2, &types, reterr));
	if (hidden % heads || hidden / heads % 2)
		return emb_fail(
		        reterr, -VX_ERR_bad_format, "hidden_size must be heads times an even number", "config.json");
	const json_t *eps = json_object_get(j, "layer_norm_eps");
	double e = eps ? json_number_value(eps) : 1e-12;
	if (!(e >= 0 && e < 1))
		return emb_fail(reterr, -VX_ERR_bad_value, "layer_norm_eps must be in [0, 1)", "config.json");
	if (json_object_get(j, "position_embedding_type") && !str_is(j, "position_embedding_type", "absolute"))
		return emb_fail(reterr, -VX_ERR_bad_format, "only absolute positions are known", "config.json");
	enum bert_act act = BERT_gelu;
	if (str_is(j, "hidden_act", "gelu_new") || str_is(j, "hidden_act", "gelu_pytorch_tanh") ||
	        str_is(j, "hidden_act", "gelu_fast"))
		act = BERT_gelu_tanh;
	else if (json_object_get(j, "hidden_act") && !str_is(j, "hidden_act", "gelu"))
		return emb_fail(reterr, -VX_ERR_bad_format, "hidden_act is none of gelu, gelu_new", "config.json");
	b->shape = (struct bert_shape){.hidden = (uint32_t)hidden,
	        .layers = (uint32_t)layers,
	        .heads = (uint32_t)heads,
	        .inter = (uint32_t)inter,
	        .vocab = (uint32_t)vocab,
	        .positions = (uint32_t)positions,
	        .act = act,
	        .eps = (float)e};
	return 0;
}

/* sentence-transformers' own files: how to pool, how many tokens, and nothing behind it that we do not do */
static int read_pooling(struct embed *m, struct bert *b, struct vx_errinfo *reterr)
{
	json_t *j = NULL;
	int rc = emb_json_file(m->os, m->dirfd, "1_Pooling/config.json", &j, reterr);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (rc >= 0) {
		bool mean = json_is_true(json_object_get(j, "pooling_mode_mean_tokens"));
		bool cls = json_is_true(json_object_get(j, "pooling_mode_cls_token"));
		json_decref(j);
		if (mean == cls)
			return emb_fail(
			        reterr, -VX_ERR_bad_format, "pooling must be mean or cls", "1_Pooling/config.json");
		b->pooling = cls ? POOL_cls : POOL_mean;
	}
	int64_t tokens = b->shape.positions;
	rc = emb_json_file(m->os, m->dirfd, "sentence_bert_config.json", &j, reterr);
	if (rc >= 0) {
		rc = emb_json_int(j, "max_seq_length", 8, 8192, b->shape.positions, &tokens, reterr);
		json_decref(j);
	}
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (m->info.tokens_max)
		tokens = m->info.tokens_max;
	if (tokens < 8 || tokens > b->shape.positions)
		tokens = tokens < 8 ? 8 : b->shape.positions;
	b->tokens_max = m->info.tokens_max = (uint32_t)tokens;
	b->rows = b->tokens_max > ROWS_MIN ? b->tokens_max : ROWS_MIN;
	return 0;
}

static int bert_open(struct embed *m, struct vx_errinfo *reterr)
{
	struct bert *b = mem_zalloc(MEM_text, sizeof *b);
	json_t *j;
	if (!b)
		return -ENOMEM;
	m->state = b;
	b->file.fd = -1;
	int rc = emb_json_file(m->os, m->dirfd, "config.json", &j, reterr);
	if (rc >= 0) {
		rc = read_config(b, j, reterr);
		json_decref(j);
	}
	if (rc >= 0)
		rc = read_pooling(m, b, reterr);
	if (rc >= 0)
		rc = safetensors_open(m->os, m->dirfd, "model.safetensors", &b->file, reterr);
	if (rc >= 0)
		rc = bert_net_check(&b->shape, &b->file, reterr);
	safetensors_close(&b->file);
	m->info.dim = b->shape.hidden;
	return rc;
}

static void bert_close(struct embed *m)
{
	mem_free(MEM_text, m->state);
	m->state = NULL;
}

static void bert_unload(struct embed *m)
{
	struct bert *b = m->state;
	bert_net_unload(m, &b->net);
	wordpiece_free(b->wp);
	b->wp = NULL;
	m->bytes -= b->wp_bytes;
	b->wp_bytes = 0;
	emb_free(m, b->ids, (size_t)m->windows * b->tokens_max * sizeof *b->ids);
	emb_free(m, b->start, (b->rows + 1) * sizeof *b->start);
	emb_free(m, b->owner, b->rows * sizeof *b->owner);
	b->ids = b->start = b->owner = NULL;
	safetensors_close(&b->file);
}

static int bert_load(struct embed *m, struct vx_errinfo *reterr)
{
	struct bert *b = m->state;
	int rc = safetensors_open(m->os, m->dirfd, "model.safetensors", &b->file, reterr);
	if (rc >= 0)
		rc = bert_net_check(&b->shape, &b->file, reterr);
	if (rc >= 0)
		rc = wordpiece_load(m->os, m->dirfd, &b->wp, reterr);
	if (rc >= 0) {
		struct wordpiece_info i = wordpiece_info(b->wp);
		m->bytes += b->wp_bytes = wordpiece_bytes(b->wp);
		if (i.cls == WORDPIECE_NONE || i.sep == WORDPIECE_NONE || i.vocab_n > b->shape.vocab)
			rc = emb_fail(reterr, -VX_ERR_bad_format,
			        "the vocabulary lacks [CLS], [SEP] or is larger than vocab_size", m->info.name);
	}
	if (rc >= 0)
		rc = bert_net_load(m, &b->shape, &b->file, b->rows, b->tokens_max, &b->net, reterr);
	if (rc >= 0) {
		b->word = bert_net_word(&b->file);
		b->ids = emb_alloc(m, (size_t)m->windows * b->tokens_max * sizeof *b->ids);
		b->start = emb_alloc(m, (b->rows + 1) * sizeof *b->start);
		b->owner = emb_alloc(m, b->rows * sizeof *b->owner);
		rc = b->ids && b->start && b->owner ? 0 : -ENOMEM;
	}
	if (rc < 0)
		bert_unload(m);
	return rc;
}

/* add a piece's vector to its text's row: mean of the tokens, weighted by how many they are */
static void pool(const struct bert *b, uint32_t piece, float *ret)
{
	uint32_t h = b->shape.hidden, n = b->start[piece + 1] - b->start[piece];
	const float *x = bert_net_row(&b->net, b->start[piece]);
	if (b->pooling == POOL_cls) {
		for (uint32_t d = 0; d < h; d++)
			ret[d] += x[d] * (float)n;
		return;
	}
	for (uint32_t t = 0; t < n; t++, x += b->net.x_stride)
		for (uint32_t d = 0; d < h; d++)
			ret[d] += x[d];
}

struct batch {
	uint32_t rows, pieces;
};

static int run_batch(struct embed *m, struct batch *a, float *ret)
{
	struct bert *b = m->state;
	if (!a->pieces)
		return 0;
	b->start[a->pieces] = a->rows;
	int rc = bert_net_run(&b->net, b->start, a->pieces, m->cancel);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < a->pieces; i++)
		pool(b, i, ret + (size_t)b->owner[i] * b->shape.hidden);
	*a = (struct batch){0};
	return 0;
}

static int put_token(struct bert *b, struct batch *a, uint32_t id, uint32_t pos)
{
	uint32_t h = b->shape.hidden;
	/* ids are below vocab_n <= shape.vocab, which bert_net_check held against the tensor */
	int rc = safetensors_read(&b->file, b->word, (uint64_t)id * h, h, bert_net_row(&b->net, a->rows));
	if (rc >= 0)
		bert_net_embed(&b->net, a->rows++, pos);
	return rc;
}

/* one text: its pieces go into the batch, which runs when it is full */
static int put_text(struct embed *m, struct batch *a, const struct embed_text *t, uint32_t index, float *ret)
{
	struct bert *b = m->state;
	struct wordpiece_info w = wordpiece_info(b->wp);
	uint32_t most = b->tokens_max - 2, n = wordpiece_encode(b->wp, t->p, t->n, b->ids, m->windows * most), at = 0;
	/* pieces of equal length: a last one of three words would weigh little and cost a run */
	uint32_t pieces = n ? (n + most - 1) / most : 1;
	for (uint32_t i = 0; i < pieces; i++) {
		uint32_t k = (n - at) / (pieces - i);
		if (a->rows + k + 2 > b->rows)
			VX_TRY(run_batch(m, a, ret));
		b->start[a->pieces] = a->rows;
		b->owner[a->pieces++] = index;
		VX_TRY(put_token(b, a, w.cls, 0));
		for (uint32_t j = 0; j < k; j++)
			VX_TRY(put_token(b, a, b->ids[at + j], j + 1));
		VX_TRY(put_token(b, a, w.sep, k + 1));
		at += k;
	}
	return 0;
}

static int bert_encode(struct embed *m, const struct embed_text *t, uint32_t n, float *ret, struct vx_errinfo *reterr)
{
	struct bert *b = m->state;
	struct batch a = {0};
	memset(ret, 0, (size_t)n * b->shape.hidden * sizeof *ret);
	for (uint32_t i = 0; i < n; i++) {
		int rc = emb_cancelled(m) ? -VX_ERR_cancelled : put_text(m, &a, &t[i], i, ret);
		if (rc < 0)
			return emb_fail(reterr, rc, err_text(rc), "model.safetensors");
	}
	return run_batch(m, &a, ret);
}

const struct embed_ops embed_bert_ops = {bert_open, bert_close, bert_load, bert_unload, bert_encode, files};
