/* scan_avx512.c - scan_simd.h built for its vectors. */
#include "kernel/scan_simd.h"
