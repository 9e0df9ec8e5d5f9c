/* panel_simd.h - where packers of low-bit codes put values of a panel (gemm.h), VN columns of a
 * strip at a time: for the files of AVX2 and AVX-512 alone. */
#ifndef NIB_KERNEL_PANEL_SIMD_H
#define NIB_KERNEL_PANEL_SIMD_H

#include "kernel/gemm.h"
#include "kernel/words.h"

/* Two neighbouring terms. */
NIB_INLINE void put_two(nib_pack_kind kind, V x[2], void *strip, size_t term, size_t column)
{
    float *to = (float *)strip + term * NIB_STRIP + column;

    if (kind == NIB_PACK_PAIRS) {
        W low = w_right(v_bf16_bits(x[0]), 16), high = v_bf16_bits(x[1]);
        w_store((uint32_t *)strip + term / 2 * NIB_STRIP + column,
                w_or(low, w_and(high, w_set(0xffff0000u))));
        return;
    }
    if (kind == NIB_PACK_ROUNDED) v_round2_bf16(x);
    v_store(to, x[0]);
    v_store(to + NIB_STRIP, x[1]);
}

/* The last of an odd number of terms: not of pairs. */
NIB_INLINE void put_one(nib_pack_kind kind, V x, void *strip, size_t term, size_t column)
{
    if (kind == NIB_PACK_ROUNDED) x = v_round_bf16(x);
    v_store((float *)strip + term * NIB_STRIP + column, x);
}

enum { PANEL_VECTORS = NIB_PANEL / VN, ROWS_AHEAD = 16 }; /* of codes: far from one to the next */

/* All 32 columns of term t and, where count is 2, of the next; strip: bytes from the first strip to
 * the second. */
NIB_INLINE void put_terms(nib_pack_kind kind, V x[2][PANEL_VECTORS], size_t count, char *panel,
                          size_t strip, size_t t)
{
#pragma GCC unroll 4
    for (size_t i = 0; i < PANEL_VECTORS; i++) {
        size_t n = i * VN;
        V two[2] = { x[0][i], x[1][i] };
        if (count == 2) put_two(kind, two, panel + n / NIB_STRIP * strip, t, n % NIB_STRIP);
        else put_one(kind, two[0], panel + n / NIB_STRIP * strip, t, n % NIB_STRIP);
    }
}

#endif
