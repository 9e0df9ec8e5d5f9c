/* dot8_avx2.c - dot8_simd.h built for its vectors. */
#include "kernel/dot8_simd.h"
