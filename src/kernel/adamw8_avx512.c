/* adamw8_avx512.c - see adamw8_simd.h. */
#include "kernel/adamw8_simd.h"
