/* attention_avx2.c - attention_simd.h built for its vectors. */
#include "kernel/attention_simd.h"
