/* float4_avx2.c - float4_simd.h built for its vectors. */
#include "kernel/float4_simd.h"
