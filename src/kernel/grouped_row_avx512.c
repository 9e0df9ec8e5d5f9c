/* grouped_row_avx512.c - grouped_row_simd.h built for its vectors. */
#include "kernel/grouped_row_simd.h"
