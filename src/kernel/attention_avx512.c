/* attention_avx512.c - attention_simd.h built for its vectors. */
#include "kernel/attention_simd.h"
