/* rows8_avx512.c - rows8_simd.h built for its vectors. */
#include "kernel/rows8_simd.h"
