/* scan_back_avx512.c - scan_back_simd.h built for its vectors. */
#include "kernel/scan_back_simd.h"
