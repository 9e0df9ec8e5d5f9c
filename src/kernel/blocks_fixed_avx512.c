/* blocks_fixed_avx512.c - blocks_fixed_simd.h built for its vectors. */
#include "kernel/blocks_fixed_simd.h"
