/* vecfile.h - vectors in files: .npy, .fvecs .bvecs .ivecs, .jsonl and raw f32, read and written row by row in bounded memory. */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

enum vecfile_kind { VECFILE_npy, VECFILE_fvecs, VECFILE_bvecs, VECFILE_ivecs, VECFILE_jsonl, VECFILE_f32 };

struct vecfile_row {
	uint64_t n; /* number of the row in the file, from 0 */
	const float *v; /* f32[dim]; valid until the next call */
	uint32_t dim;
	bool has_id;
	uint64_t id;
	const char *path; /* jsonl: or NULL */
	const char *payload; /* jsonl: JSON text or NULL */
};
struct vecfile; /* reading */
/* vecfile_open - by the name's ending. A file that is truncated or whose rows differ in length is refused here where the format allows it
 * to be seen without reading all (.npy, .fvecs and kin); a line of .jsonl when it is reached.
 * @reterr: a sentence in the command's arena, set on failure.  Return 0 or < 0. */
int vecfile_open(const char *path, struct vecfile **ret, const char **reterr);
/* vecfile_next - 1 a row, 0 the end, < 0 with a sentence. Bounds: one row and a buffer of 256 KiB. */
int vecfile_next(struct vecfile *f, struct vecfile_row *ret, const char **reterr);
/* rows where known, else 0; and how far the reading is, for a bar: in rows or, for .jsonl, in bytes */
uint64_t vecfile_total(const struct vecfile *f);
uint64_t vecfile_done(const struct vecfile *f);
void vecfile_close(struct vecfile *f); /* takes NULL */

struct vecfile_out;
int vecfile_create(const char *path, uint32_t dim, struct vecfile_out **ret, const char **reterr);
int vecfile_put(struct vecfile_out *o, const struct vecfile_row *r);
/* vecfile_finish - patch the header, fsync, rename into place; with @commit false the half-written file is removed. */
int vecfile_finish(struct vecfile_out *o, bool commit);
/* vecfile_npy_header - the header of a .npy v1 of `rows` rows (exactly 128 bytes). @dim 0: one-dimensional. */
void vecfile_npy_header(char ret[128], const char *descr, uint64_t rows, uint32_t dim);
/* vecfile_one - one vector from .npy (1-d, or 2-d of one row), .json (array), or raw f32 ("-": stdin). Heap (MEM_cli). */
int vecfile_one(const char *path, float **ret, uint32_t *ret_dim, const char **reterr);
