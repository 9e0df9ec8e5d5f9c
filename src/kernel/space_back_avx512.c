/* space_back_avx512.c - space_back_simd.h built for its vectors. */
#include "kernel/space_back_simd.h"
