/* embed_static.c - a static table of token vectors (model2vec, github.com/MinishLab/model2vec): a text's vector is the mean of its tokens'.
 *
 * model.safetensors holds "embeddings" [vocab, dim]; newer files add "weights" [vocab] (a factor per token) and "mapping" [vocab] (row of each
 * token in a smaller table).  Tokens unknown to the vocabulary are left out, as the reference does.  Rows are read from the file as they are
 * needed: a page cache is all the memory a table wants. */
#include <string.h>
#include "embed/embed_int.h"
#include "embed/safetensors.h"
#include "embed/wordpiece.h"

#define TOKENS_MAX 512u

struct stat_model {
	uint32_t dim, vocab, table_n;
	/* loaded */
	struct safetensors file;
	const struct st_tensor *table;
	struct wordpiece *wp;
	uint64_t wp_bytes;
	uint32_t *ids, *map;
	float *weight, *row;
};

static const char *const files[] = {"config.json", "tokenizer.json", "model.safetensors", NULL};

static int check(struct stat_model *s, struct vx_errinfo *reterr)
{
	const struct st_tensor *t = safetensors_find(&s->file, "embeddings"),
	                       *w = safetensors_find(&s->file, "weights"), *map = safetensors_find(&s->file, "mapping");
	if (!t)
		t = safetensors_find(&s->file, "embedding.weight"); /* sentence-transformers' name for the same */
	if (!t || t->rank != 2 || t->dtype > ST_I8 || !t->shape[0] || t->shape[0] > WORDPIECE_VOCAB_MAX ||
	        !t->shape[1] || t->shape[1] > EMBED_DIM_MAX)
		return emb_fail(
		        reterr, -VX_ERR_bad_format, "model.safetensors has no table [tokens, dim]", "embeddings");
	s->table = t;
	s->table_n = s->vocab = (uint32_t)t->shape[0];
	s->dim = (uint32_t)t->shape[1];
	if (map) {
		if (map->rank != 1 || !map->elems || map->elems > WORDPIECE_VOCAB_MAX ||
		        (map->dtype != ST_I64 && map->dtype != ST_I32))
			return emb_fail(reterr, -VX_ERR_bad_format, "not a list of rows", "mapping");
		s->vocab = (uint32_t)map->elems;
	}
	if (w && (w->rank != 1 || w->elems != s->vocab || w->dtype > ST_BF16))
		return emb_fail(reterr, -VX_ERR_bad_format, "not one factor a token", "weights");
	return 0;
}

static int static_open(struct embed *m, struct vx_errinfo *reterr)
{
	struct stat_model *s = mem_zalloc(MEM_text, sizeof *s);
	if (!s)
		return -ENOMEM;
	m->state = s;
	s->file.fd = -1;
	int rc = safetensors_open(m->os, m->dirfd, "model.safetensors", &s->file, reterr);
	if (rc >= 0)
		rc = check(s, reterr);
	safetensors_close(&s->file);
	m->info.dim = s->dim;
	if (!m->info.tokens_max || m->info.tokens_max > 8192)
		m->info.tokens_max = TOKENS_MAX;
	return rc;
}

static void static_close(struct embed *m)
{
	mem_free(MEM_text, m->state);
	m->state = NULL;
}

static void static_unload(struct embed *m)
{
	struct stat_model *s = m->state;
	wordpiece_free(s->wp);
	s->wp = NULL;
	m->bytes -= s->wp_bytes;
	s->wp_bytes = 0;
	emb_free(m, s->ids, (size_t)m->windows * m->info.tokens_max * sizeof *s->ids);
	emb_free(m, s->map, s->vocab * sizeof *s->map);
	emb_free(m, s->weight, s->vocab * sizeof *s->weight);
	emb_free(m, s->row, s->dim * sizeof *s->row);
	s->ids = s->map = NULL;
	s->weight = s->row = NULL;
	safetensors_close(&s->file);
}

/* the mapping: numbers of rows, 8 or 4 bytes each, checked against the table */
static int read_map(struct stat_model *s, struct vx_errinfo *reterr)
{
	const struct st_tensor *t = safetensors_find(&s->file, "mapping");
	uint64_t width = t->dtype == ST_I64 ? 8 : 4;
	for (uint32_t i = 0; i < s->vocab; i++) {
		int64_t v = 0;
		ssize_t k = os_pread(s->file.os, s->file.fd, &v, width, (off_t)(t->at + i * width));
		if (k != (ssize_t)width)
			return emb_fail(reterr, k < 0 ? (int)k : -VX_ERR_truncated, "cannot read", "mapping");
		if (v < 0 || v >= s->table_n)
			return emb_fail(reterr, -VX_ERR_bad_format, "points outside the table", "mapping");
		s->map[i] = (uint32_t)v;
	}
	return 0;
}

static int static_load(struct embed *m, struct vx_errinfo *reterr)
{
	struct stat_model *s = m->state;
	int rc = safetensors_open(m->os, m->dirfd, "model.safetensors", &s->file, reterr);
	if (rc >= 0)
		rc = check(s, reterr);
	if (rc >= 0 && s->dim != m->info.dim)
		rc = -VX_ERR_file_changed;
	if (rc >= 0)
		rc = wordpiece_load(m->os, m->dirfd, &s->wp, reterr);
	if (rc >= 0) {
		m->bytes += s->wp_bytes = wordpiece_bytes(s->wp);
		if (wordpiece_info(s->wp).vocab_n > s->vocab)
			rc = emb_fail(
			        reterr, -VX_ERR_bad_format, "the vocabulary is larger than the table", m->info.name);
	}
	if (rc >= 0) {
		s->ids = emb_alloc(m, (size_t)m->windows * m->info.tokens_max * sizeof *s->ids);
		s->row = emb_alloc(m, s->dim * sizeof *s->row);
		rc = s->ids && s->row ? 0 : -ENOMEM;
	}
	if (rc >= 0 && safetensors_find(&s->file, "mapping")) {
		s->map = emb_alloc(m, s->vocab * sizeof *s->map);
		rc = s->map ? read_map(s, reterr) : -ENOMEM;
	}
	const struct st_tensor *w = rc >= 0 ? safetensors_find(&s->file, "weights") : NULL;
	if (w) {
		s->weight = emb_alloc(m, s->vocab * sizeof *s->weight);
		rc = s->weight ? safetensors_read(&s->file, w, 0, s->vocab, s->weight) : -ENOMEM;
	}
	if (rc < 0)
		static_unload(m);
	return rc;
}

static int static_encode(struct embed *m, const struct embed_text *t, uint32_t n, float *ret, struct vx_errinfo *reterr)
{
	struct stat_model *s = m->state;
	uint32_t unk = wordpiece_info(s->wp).unk;
	memset(ret, 0, (size_t)n * s->dim * sizeof *ret);
	for (uint32_t i = 0; i < n; i++, ret += s->dim) {
		if (emb_cancelled(m))
			return -VX_ERR_cancelled;
		uint32_t k = wordpiece_encode(s->wp, t[i].p, t[i].n, s->ids, m->windows * m->info.tokens_max);
		for (uint32_t j = 0; j < k; j++) {
			uint32_t id = s->ids[j];
			if (id == unk)
				continue;
			float f = s->weight ? s->weight[id] : 1;
			int rc = safetensors_read(
			        &s->file, s->table, (uint64_t)(s->map ? s->map[id] : id) * s->dim, s->dim, s->row);
			if (rc < 0)
				return emb_fail(reterr, rc, err_text(rc), "model.safetensors");
			for (uint32_t d = 0; d < s->dim; d++)
				ret[d] += f * s->row[d];
		}
	}
	return 0;
}

const struct embed_ops embed_static_ops = {static_open, static_close, static_load, static_unload, static_encode, files};
