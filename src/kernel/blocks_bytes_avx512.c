/* blocks_bytes_avx512.c - blocks_bytes_simd.h built for its vectors. */
#include "kernel/blocks_bytes_simd.h"
