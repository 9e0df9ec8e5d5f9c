/* scan_back_avx2.c - scan_back_simd.h built for its vectors. */
#include "kernel/scan_back_simd.h"
