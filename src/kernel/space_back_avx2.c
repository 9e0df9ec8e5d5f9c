/* space_back_avx2.c - space_back_simd.h built for its vectors. */
#include "kernel/space_back_simd.h"
