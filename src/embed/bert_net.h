/* bert_net.h - the network of a BERT encoder: packed weights, one work area, the forward pass. */
#pragma once
#include "embed/embed_int.h"
#include "embed/safetensors.h"
#include "simd/gemm.h"

#define BERT_LAYERS_MAX 48u

enum bert_act { BERT_gelu, BERT_gelu_tanh };
struct bert_shape {
	uint32_t hidden, layers, heads, inter, vocab, positions;
	enum bert_act act;
	float eps;
};
struct bert_layer {
	uint16_t *qkv, *out, *up, *down; /* packed */
	float *qkv_b, *out_b, *up_b, *down_b; /* padded to GEMM_NR */
	float *ln1_g, *ln1_b, *ln2_g, *ln2_b;
};
struct bert_net {
	struct bert_shape shape;
	const struct gemm *gemm;
	uint32_t rows, tokens_max;
	size_t x_stride, qkv_stride, inter_stride, s_stride;
	struct bert_layer layer[BERT_LAYERS_MAX];
	float *pos; /* position + token type 0, [tokens_max][hidden] */
	float *emb_g, *emb_b;
	float *x, *qkv, *ctx, *inter, *s; /* work area */
	uint16_t *kp, *vp; /* one head's keys and values, packed */
	void *scratch;
	uint8_t *mem; /* all of the above lies in these blocks */
	size_t mem_n;
	uint8_t *work;
	size_t work_n;
};
/* bert_net_check - does the file hold the network of this shape?  -VX_ERR_bad_format with the tensor's name. */
int bert_net_check(const struct bert_shape *s, const struct safetensors *f, struct vx_errinfo *reterr);
const struct st_tensor *bert_net_word(const struct safetensors *f); /* the word embeddings, after a check */
/* bert_net_load - pack the weights of a checked file. -VX_ERR_not_finite: a weight is NaN or Inf.
 * @rows  rows of the work area; tokens_max <= rows, tokens_max <= positions */
int bert_net_load(struct embed *m, const struct bert_shape *s, const struct safetensors *f, uint32_t rows,
        uint32_t tokens_max, struct bert_net *ret, struct vx_errinfo *reterr);
void bert_net_unload(struct embed *m, struct bert_net *n); /* takes a zeroed or half-loaded one */
static inline float *bert_net_row(const struct bert_net *n, uint32_t row)
{
	return n->x + row * n->x_stride;
}
/* bert_net_embed - row holds a word's embedding: add position and type, normalise. */
void bert_net_embed(struct bert_net *n, uint32_t row, uint32_t pos);
/* bert_net_run - all layers over the rows [start[0], start[pieces]); start[i] is where piece i begins. In place.
 * Return: 0 or -VX_ERR_cancelled.  Frame < 512 B, no allocation. */
int bert_net_run(struct bert_net *n, const uint32_t *start, uint32_t pieces, _Atomic int *cancel);
