/* simd_tables.h - what the files of this folder share: one table an instruction set. */
#pragma once
#include "simd/simd.h"

extern const struct simd simd_table_scalar;
#if defined(__x86_64__)
extern const struct simd simd_table_avx2;
extern const struct simd simd_table_avx512;
#elif defined(__aarch64__)
extern const struct simd simd_table_neon;
extern const struct simd simd_table_neon_dot;
#endif
