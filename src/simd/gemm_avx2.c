/* gemm_avx2.c - matrix kernels for AVX2 and FMA. */
#include <immintrin.h>
#define VB            32u
#define MR            3
#define VSET1(f)      ((vf)_mm256_set1_ps(f))
#define VFMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#include "simd/gemm_kernel.h"

const struct gemm gemm_table_avx2 = {"avx2", mul_f32, gelu_map, gelu_tanh_map, softmax_row, layer_norm_row};
