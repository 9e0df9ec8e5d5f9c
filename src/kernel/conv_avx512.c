/* conv_avx512.c - conv_simd.h built for its vectors. */
#include "kernel/conv_simd.h"
