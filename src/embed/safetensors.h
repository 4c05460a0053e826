/* safetensors.h - named tensors in one file: u64 length, JSON header {name: {dtype, shape, data_offsets}}, data.
 * Format: github.com/huggingface/safetensors.  Read by pread through struct os; nothing stays mapped. */
#pragma once
#include <stdint.h>
#include "base/err.h"
#include "base/os.h"

#define SAFETENSORS_HEADER_MAX (16u << 20)
#define SAFETENSORS_N_MAX      65536u
#define SAFETENSORS_RANK_MAX   4u

enum st_dtype { ST_F32, ST_F16, ST_BF16, ST_I8, ST_I32, ST_I64, ST_other };
struct st_tensor {
	char *name;
	enum st_dtype dtype;
	uint32_t rank;
	uint64_t shape[SAFETENSORS_RANK_MAX];
	uint64_t elems, at, bytes; /* at: in the file */
};
struct safetensors {
	struct os *os;
	int fd;
	uint64_t size;
	struct st_tensor *t; /* sorted by name */
	uint32_t n;
};
/* safetensors_open - check the header; every tensor that can be read lies inside the file and is as long as its shape says.
 * Return: 0; -VX_ERR_truncated, -VX_ERR_bad_format, -VX_ERR_json_*; -ENOMEM; the system's own. */
int safetensors_open(struct os *os, int dirfd, const char *name, struct safetensors *ret, struct vx_errinfo *reterr);
void safetensors_close(struct safetensors *s); /* takes a zeroed or closed one */
const struct st_tensor *safetensors_find(const struct safetensors *s, const char *name);
/* safetensors_read - elements [first, first + n) as floats, row-major. -VX_ERR_bad_value: outside, or a dtype that is none of numbers;
 * -VX_ERR_truncated: the file ended. */
int safetensors_read(const struct safetensors *s, const struct st_tensor *t, uint64_t first, uint64_t n, float *ret);
