/* gemm_tables.h - the tables of matrix kernels, one an instruction set. */
#pragma once
#include "simd/gemm.h"

extern const struct gemm gemm_table_scalar, gemm_table_vec128;
#if defined(__x86_64__)
extern const struct gemm gemm_table_avx2, gemm_table_avx512, gemm_table_avx512bf16;
#endif
