/* blocks_avx2.c - blocks_simd.h built for its vectors. */
#include "kernel/blocks_simd.h"
