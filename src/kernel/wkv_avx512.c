/* wkv_avx512.c - wkv_simd.h built for its vectors. */
#include "kernel/wkv_simd.h"
