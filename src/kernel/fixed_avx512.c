/* fixed_avx512.c - fixed_simd.h built for its vectors. */
#include "kernel/fixed_simd.h"
