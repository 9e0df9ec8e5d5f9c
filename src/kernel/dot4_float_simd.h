/* dot4_float_simd.h - 4-bit rows times x in float: what dot4_avx2.c and dot4_avx512.c share, beside
 * the loop.  A file says before it how 64 codes are looked up and multiplied (dot4_simd.h). */
#include "kernel/simd.h"

typedef float x_type;

#include "kernel/dot4_unscaled.h"
#include "kernel/dot4_simd.h"
DOT4_VARIANT(NIB_VARIANT(dot4))
