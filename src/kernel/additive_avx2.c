/* additive_avx2.c - additive_simd.h built for its vectors. */
#include "kernel/additive_simd.h"
