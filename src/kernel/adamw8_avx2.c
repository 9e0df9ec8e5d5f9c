/* adamw8_avx2.c - see adamw8_simd.h. */
#include "kernel/adamw8_simd.h"
