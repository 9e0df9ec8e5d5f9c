/* float4_avx512.c - float4_simd.h built for its vectors. */
#include "kernel/float4_simd.h"
