/* float8_avx2.c - float8_simd.h built for its vectors. */
#include "kernel/float8_simd.h"
