/* rows8_avx2.c - rows8_simd.h built for its vectors. */
#include "kernel/rows8_simd.h"
