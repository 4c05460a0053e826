/* rows.h - a read-only view of stored vectors, row by row, shared by the store (which fills it) and the index (which reads it).
 *
 * Rows live in segments that never move once published: segment 0 holds ROWS_SEG0 rows, each next one as many as all before it, so
 * a growing set is at most 22 mappings and a row's address is two shifts away.  Writers publish base[s] with release before any
 * row of s becomes visible; readers may keep the pointer for as long as the view lives. */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include "base/conf.h"

#define ROWS_SEG0 1024u
#define ROWS_SEGS 22u

enum vx_metric { VXM_l2, VXM_cosine, VXM_dot, VXM_l1, VXM_hamming, VXM_N };
enum vx_dtype { VXD_f32, VXD_f16, VXD_bf16, VXD_i8, VXD_binary, VXD_N };

struct vec_rows {
	uint32_t dim;
	uint32_t stride; /* bytes from row to row (64-aligned slots) */
	uint32_t vec_off; /* bytes from the slot's start to the vector */
	uint8_t dtype, metric;
	_Atomic uint32_t n; /* rows that exist, live or not */
	_Atomic(const uint8_t *) base[ROWS_SEGS]; /* first slot of the segment; NULL: not there */
	/* the segment's file, plus one, where its slots are better read than mapped (a memory limit); 0: none.  A row lies there at
	 * file_off + its place in the segment x stride */
	_Atomic int fd1[ROWS_SEGS];
	uint32_t file_off;
	_Atomic uint32_t bad_segs; /* bit s: segment s gave SIGBUS or a bad checksum; answers must go another way */
};
static inline uint32_t rows_seg(uint32_t row)
{
	return row < ROWS_SEG0 ? 0u : 22u - (uint32_t)__builtin_clz(row);
}
static inline uint32_t rows_seg_first(uint32_t seg)
{
	return seg ? ROWS_SEG0 << (seg - 1) : 0;
}
static inline uint32_t rows_seg_count(uint32_t seg)
{
	return seg ? ROWS_SEG0 << (seg - 1) : ROWS_SEG0;
}
/* rows_slot - the slot of a row, NULL if its segment is not mapped. */
static inline const uint8_t *rows_slot(const struct vec_rows *r, uint32_t row)
{
	uint32_t s = rows_seg(row);
	const uint8_t *b = s < ROWS_SEGS ? atomic_load_explicit(&r->base[s], memory_order_acquire) : (const uint8_t *)0;
	return b ? b + (size_t)(row - rows_seg_first(s)) * r->stride : b;
}
static inline const void *rows_vec(const struct vec_rows *r, uint32_t row)
{
	const uint8_t *s = rows_slot(r, row);
	return s ? s + r->vec_off : s;
}
/* bytes of one vector */
static inline uint32_t rows_vec_bytes(uint32_t dim, uint8_t dtype)
{
	switch (dtype) {
	case VXD_f32:
		return dim * 4u;
	case VXD_f16:
	case VXD_bf16:
		return dim * 2u;
	case VXD_i8:
		return dim;
	default:
		return (dim + 7u) / 8u;
	}
}

/* a set of rows, one bit each; words are atomics because writers set bits while searches read */
struct row_bits {
	_Atomic uint64_t *w;
	uint32_t n; /* rows it covers; a row >= n is not in the set */
};
static inline int row_bit(const struct row_bits *b, uint32_t row)
{
	return row < b->n && (atomic_load_explicit(&b->w[row >> 6], memory_order_relaxed) >> (row & 63) & 1);
}
