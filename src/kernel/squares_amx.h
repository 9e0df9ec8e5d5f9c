/* squares_amx.h - sums of up to 32 rows times 32 columns on AMX's tiles, 32 terms of bfloat16 a
 * step: four tiles of sums; a step loads two of rows and two of columns for four products.  For
 * the files of AMX. */
#ifndef NIB_KERNEL_SQUARES_AMX_H
#define NIB_KERNEL_SQUARES_AMX_H

#include "kernel/gemm.h"
#include "kernel/tiles_amx.h"

enum { SIDE = NIB_TILE_ROWS, SQUARE = 2 * SIDE, STEP = NIB_TILE_BYTES / 2 };

/* Rows of a and 32 columns of a panel, which lie as gemm.h has them. */
typedef struct operands {
    const uint16_t *a;
    size_t lda, next;          /* from row to row, from step to step */
    const uint16_t *b, *other; /* the panel's strips */
} operands;

/* Tiles 0 to 3 are sums, 4 and 5 rows of a, 6 and 7 strips of the panel; of at most 16 rows there
 * are no 2, 3 and 5. */
static void set_rows(tile_state *t, size_t rows)
{
    tile_shapes s = { .palette = 1 };

    for (size_t i = 0; i < NIB_TILES; i++) {
        bool below = i == 2 || i == 3 || i == 5;
        size_t of_rows = below ? rows - nib_min(rows, SIDE) : nib_min(rows, SIDE);
        s.rows[i] = (uint8_t)(i < 6 ? of_rows : SIDE);
        s.bytes[i] = s.rows[i] ? NIB_TILE_BYTES : 0;
    }
    TILE_SHAPES(t, &s);
}

/* below: there are more than 16 rows.  Sums begin with what lies in `from`, or NULL: 0. */
NIB_INLINE void begin_sums(tile_state *t, bool below, const float *from, size_t ld)
{
    const size_t apart = ld * sizeof *from;

    if (!from) {
        TILE_ZERO(t, 0);
        TILE_ZERO(t, 1);
        if (below) TILE_ZERO(t, 2);
        if (below) TILE_ZERO(t, 3);
        return;
    }
    TILE_LOAD(t, 0, from, apart);
    TILE_LOAD(t, 1, from + SIDE, apart);
    if (!below) return;
    TILE_LOAD(t, 2, from + SIDE * ld, apart);
    TILE_LOAD(t, 3, from + SIDE * ld + SIDE, apart);
}

NIB_INLINE void end_sums(tile_state *t, bool below, float *to, size_t ld)
{
    const size_t apart = ld * sizeof *to;

    TILE_STORE(t, 0, to, apart);
    TILE_STORE(t, 1, to + SIDE, apart);
    if (!below) return;
    TILE_STORE(t, 2, to + SIDE * ld, apart);
    TILE_STORE(t, 3, to + SIDE * ld + SIDE, apart);
}

NIB_INLINE void add_step(tile_state *t, bool below, operands f)
{
    const size_t apart = f.lda * sizeof *f.a;

    TILE_LOAD(t, 6, f.b, NIB_TILE_BYTES);
    TILE_LOAD(t, 7, f.other, NIB_TILE_BYTES);
    TILE_LOAD_ONCE(t, 4, f.a, apart);
    TILE_PRODUCT(t, 0, 4, 6);
    TILE_PRODUCT(t, 1, 4, 7);
    if (!below) return;
    TILE_LOAD_ONCE(t, 5, f.a + SIDE * f.lda, apart);
    TILE_PRODUCT(t, 2, 5, 6);
    TILE_PRODUCT(t, 3, 5, 7);
}

/* The whole steps of K terms; returns what lies behind them. */
NIB_INLINE operands add_steps(tile_state *t, bool below, size_t K, operands f)
{
    for (size_t k = 0; k + STEP <= K; k += STEP) {
        add_step(t, below, f);
        f = (operands){ f.a + f.next, f.lda, f.next, f.b + STEP * NIB_STRIP,
                       f.other + STEP * NIB_STRIP };
    }
    return f;
}

#endif
