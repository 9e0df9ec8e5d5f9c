/* awq_dot_avx512.c - awq_dot_simd.h built for its vectors. */
#include "kernel/awq_dot_simd.h"
