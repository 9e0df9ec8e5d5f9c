/* grouped_panel_avx512.c - grouped_panel_simd.h built for its vectors. */
#include "kernel/grouped_panel_simd.h"
