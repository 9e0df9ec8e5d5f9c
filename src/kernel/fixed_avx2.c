/* fixed_avx2.c - fixed_simd.h built for its vectors. */
#include "kernel/fixed_simd.h"
