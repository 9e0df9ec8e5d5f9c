/* elementwise_avx512.c - elementwise_simd.h built for its vectors. */
#include "kernel/elementwise_simd.h"
