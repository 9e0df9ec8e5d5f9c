/* dot8_avx512.c - dot8_simd.h built for its vectors. */
#include "kernel/dot8_simd.h"
