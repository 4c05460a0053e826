/* index_fixture.h - rows in memory for the index tests: seeded data, live bits, an oracle of doubles, recall. */
#pragma once
#include <stdlib.h>
#include <string.h>
#include "tap.h"
#include "base/mem.h"
#include "index/index.h"
#include "simd/simd.h"

struct fix {
	struct vec_rows rows;
	struct row_bits live;
	uint32_t cap;
	uint8_t *seg[ROWS_SEGS];
	uint64_t rng;
};
static inline uint64_t fix_rand(struct fix *f)
{
	f->rng ^= f->rng << 13;
	f->rng ^= f->rng >> 7;
	f->rng ^= f->rng << 17;
	return f->rng * 0x2545f4914f6cdd1dull;
}
static inline double fix_unit(struct fix *f)
{
	return (double)(fix_rand(f) >> 11) * 0x1p-53;
}
static inline float fix_gauss(struct fix *f)
{
	double s = 0;
	for (int i = 0; i < 6; i++)
		s += fix_unit(f);
	return (float)((s - 3) * 1.41421356);
}
static inline void fix_init(struct fix *f, uint32_t dim, uint8_t dtype, uint8_t metric, uint32_t cap, uint64_t seed)
{
	memset(f, 0, sizeof(*f));
	f->rng = seed * 2 + 1;
	f->cap = cap;
	f->rows.dim = dim;
	f->rows.dtype = dtype;
	f->rows.metric = metric;
	f->rows.vec_off = 0;
	f->rows.stride = (rows_vec_bytes(dim, dtype) + 8 + 63) & ~63u;
	for (uint32_t s = 0; s < ROWS_SEGS && rows_seg_first(s) < cap; s++) {
		/* exactly as many rows as asked: an overrun of the last one is seen by the sanitizer */
		uint32_t n = cap - rows_seg_first(s) < rows_seg_count(s) ? cap - rows_seg_first(s) : rows_seg_count(s);
		f->seg[s] = calloc(n, f->rows.stride);
		atomic_store(&f->rows.base[s], f->seg[s]);
	}
	f->live.w = calloc(cap / 64 + 1, 8);
	f->live.n = cap;
	atomic_store(&f->rows.n, cap);
}
static inline void fix_done(struct fix *f)
{
	for (uint32_t s = 0; s < ROWS_SEGS; s++)
		free(f->seg[s]);
	free((void *)f->live.w);
}
static inline void fix_live(struct fix *f, uint32_t row, int on)
{
	uint64_t b = 1ull << (row & 63);
	if (on)
		atomic_fetch_or(&f->live.w[row >> 6], b);
	else
		atomic_fetch_and(&f->live.w[row >> 6], ~b);
}
/* one vector of f32 values stored as the collection's dtype */
static inline void fix_encode(const struct vec_rows *r, const float *x, void *to)
{
	uint8_t *b = to;
	if (r->dtype == VXD_binary)
		memset(b, 0, (r->dim + 7) / 8);
	for (uint32_t i = 0; i < r->dim; i++) {
		switch (r->dtype) {
		case VXD_f32:
			((float *)to)[i] = x[i];
			break;
		case VXD_f16:
			((uint16_t *)to)[i] = simd_f32_f16(x[i]);
			break;
		case VXD_bf16:
			((uint16_t *)to)[i] = simd_f32_bf16(x[i]);
			break;
		case VXD_i8:
			((int8_t *)to)[i] = (int8_t)fmaxf(-127, fminf(127, x[i] * 30));
			break;
		default:
			b[i >> 3] = (uint8_t)(b[i >> 3] | (x[i] > 0) << (i & 7));
		}
	}
}
/* clustered data of low inner dimension, as embeddings are: centre + mixed latent noise */
struct gen {
	uint32_t dim, latent, centres;
	float *centre, *mix;
};
static inline void gen_init(struct gen *g, struct fix *f, uint32_t dim)
{
	g->dim = dim;
	g->latent = dim < 12 ? dim : 12;
	g->centres = 50;
	g->centre = malloc((size_t)g->centres * dim * 4);
	g->mix = malloc((size_t)g->latent * dim * 4);
	for (uint32_t i = 0; i < g->centres * dim; i++)
		g->centre[i] = fix_gauss(f);
	for (uint32_t i = 0; i < g->latent * dim; i++)
		g->mix[i] = fix_gauss(f) * 0.5f;
}
static inline void gen_done(struct gen *g)
{
	free(g->centre);
	free(g->mix);
}
static inline void gen_vec(const struct gen *g, struct fix *f, float *x)
{
	const float *c = g->centre + (fix_rand(f) % g->centres) * g->dim;
	for (uint32_t i = 0; i < g->dim; i++)
		x[i] = c[i] + 0.1f * fix_gauss(f);
	for (uint32_t l = 0; l < g->latent; l++) {
		float w = fix_gauss(f);
		for (uint32_t i = 0; i < g->dim; i++)
			x[i] += w * g->mix[l * g->dim + i];
	}
}
static inline void fix_fill(struct fix *f, const struct gen *g, uint32_t from, uint32_t to)
{
	float *x = malloc(g->dim * 4);
	for (uint32_t r = from; r < to; r++) {
		gen_vec(g, f, x);
		fix_encode(&f->rows, x, (void *)(uintptr_t)rows_vec(&f->rows, r));
		fix_live(f, r, 1);
	}
	free(x);
}
/* share of the exact k that were found, over `queries` new queries; counts short answers and wrong distances */
struct recall {
	double recall;
	uint64_t distances, hops;
	uint32_t short_, wrong, failed, exact;
};
static inline struct recall fix_recall(struct fix *f, const struct gen *g, struct index *ix, uint32_t k, uint32_t ef,
        uint32_t queries, const struct row_bits *filter)
{
	struct recall r = {0};
	float *x = malloc(g->dim * 4);
	void *q = malloc(g->dim * 4);
	struct index_hit *a = malloc(k * sizeof(*a)), *b = malloc(k * sizeof(*b));
	uint64_t found = 0, want = 0;
	for (uint32_t i = 0; i < queries; i++) {
		gen_vec(g, f, x);
		fix_encode(&f->rows, x, q);
		struct index_query e = {.q = q, .k = k, .ef = ef, .live = &f->live, .filter = filter};
		int n = flat_search(&f->rows, &e, a);
		int m = index_search(ix, &e, b);
		if (m < 0) {
			r.failed++;
			continue;
		}
		r.short_ += m < n;
		r.distances += e.distances;
		r.hops += e.hops;
		r.exact += e.exact;
		want += (uint64_t)n;
		for (int j = 0; j < m; j++) {
			float d = flat_distance(&f->rows, q, rows_vec(&f->rows, b[j].row));
			r.wrong += fabsf(d - b[j].distance) > 1e-4f * (1 + fabsf(d));
			/* a row as near as the k-th counts as found: ties are broken by number */
			found += n > 0 && b[j].distance <= a[n - 1].distance * (1 + 1e-6f) + 1e-7f;
		}
	}
	r.recall = want ? (double)found / (double)want : 1;
	free(x);
	free(q);
	free(a);
	free(b);
	return r;
}
/* rows of [0, 64 words) of which index_linked_bits tells otherwise than index_linked */
static inline uint32_t fix_bits_wrong(struct index *ix, size_t words)
{
	uint64_t *w = malloc(words * sizeof(*w));
	uint32_t bad = index_linked_bits(ix, w, words) != 0;
	for (uint32_t r = 0; r < words * 64; r++)
		bad += (w[r / 64] >> (r % 64) & 1) != index_linked(ix, r);
	free(w);
	return bad;
}
