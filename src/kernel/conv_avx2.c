/* conv_avx2.c - conv_simd.h built for its vectors. */
#include "kernel/conv_simd.h"
