/* gemm_fetch.h - lines of the result are fetched while a tile of a product runs. */
#ifndef NIB_KERNEL_GEMM_FETCH_H
#define NIB_KERNEL_GEMM_FETCH_H

#include "kernel/gemm_tile.h"

/* While a register tile of a product runs (two vectors wide), fetches the results that it will
 * store or, where it adds to floats and so loads them first, those of the next tile; `left` rows
 * from this one on. */
NIB_INLINE void fetch_results(const results *to, size_t height, size_t left)
{
    bool next = to->add && !to->y;

    for (size_t r = next ? height : 0; r < nib_min(next ? 2 * height : height, left); r++) {
        if (to->y) _mm_prefetch((const char *)(to->y + r * to->ldy), _MM_HINT_T0);
        for (size_t n = 0; n < 2 * VN && !to->y; n += 16)
            _mm_prefetch((const char *)(to->c + r * to->ldc + n), _MM_HINT_T0);
    }
}

#endif
