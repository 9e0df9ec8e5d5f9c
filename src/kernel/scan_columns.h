/* scan_columns.h - the columns of a token's v or o in vectors, for scan_simd.h and
 * scan_back_simd.h. */
#ifndef NIB_KERNEL_SCAN_COLUMNS_H
#define NIB_KERNEL_SCAN_COLUMNS_H

#include "kernel/scan.h"
#include "kernel/simd.h"

enum { WIDE = NIB_SCAN_COLUMNS, NV = WIDE / VN }; /* a row of a block is so many vectors */

NIB_INLINE void load_columns(nib_dtype type, const void *x, size_t at, size_t columns, V to[NV])
{
    for (size_t j = 0; j < NV; j++) {
        size_t n = columns > j * VN ? nib_min(VN, columns - j * VN) : 0;
        to[j] = n ? v_get(type, x, at + j * VN, n) : v_zero();
    }
}
NIB_INLINE void store_columns(nib_dtype type, void *x, size_t at, size_t columns, const V from[NV])
{
    for (size_t j = 0; j < NV; j++)
        if (columns > j * VN)
            v_put(type, x, at + j * VN, nib_min(VN, columns - j * VN), from[j]);
}

#endif
