/* grouped_dot_avx2.c - grouped_dot_simd.h built for its vectors. */
#include "kernel/grouped_dot_simd.h"
