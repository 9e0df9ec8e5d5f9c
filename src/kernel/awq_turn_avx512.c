/* awq_turn_avx512.c - awq_turn_simd.h built for its vectors. */
#include "kernel/awq_turn_simd.h"
