/* gemm_vec128.c - matrix kernels in 128-bit vectors: what every x86-64 (SSE2) and every arm64 (NEON) has. */
#if defined(__aarch64__)
#include <arm_neon.h>
#define VFMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#else
#define VFMA(a, b, c) ((a) * (b) + (c))
#endif
#define VB       16u
#define MR       2
#define VSET1(f) ((vf){(f), (f), (f), (f)})
#include "simd/gemm_kernel.h"

const struct gemm gemm_table_vec128 = {"vec128", mul_f32, gelu_map, gelu_tanh_map, softmax_row, layer_norm_row};
