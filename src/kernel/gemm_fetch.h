/* gemm_fetch.h - lines of the result are fetched while a tile of a product runs. */
#ifndef NIB_KERNEL_GEMM_FETCH_H
#define NIB_KERNEL_GEMM_FETCH_H

#include "kernel/simd.h"

/* While a register tile of a product runs (two vectors wide), fetches the results that it will
 * store or, where it adds to them and so loads them first, those of the next tile; `left` rows from
 * c on. */
NIB_INLINE void fetch_results(const float *c, size_t ldc, size_t height, size_t left, bool add)
{
    for (size_t r = add ? height : 0; r < nib_min(add ? 2 * height : height, left); r++)
        for (size_t n = 0; n < 2 * VN; n += 16)
            _mm_prefetch((const char *)(c + r * ldc + n), _MM_HINT_T0);
}

#endif
