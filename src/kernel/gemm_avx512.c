/* gemm_avx512.c - gemm_simd.h built for its vectors. */
#include "kernel/gemm_simd.h"
