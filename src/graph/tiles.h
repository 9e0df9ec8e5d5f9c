/* tiles.h - products of small float matrices on one thread, for operations that multiply inside a
 * tile.  Rows of what becomes a panel are padded: to whole NIB_PANELs of rows, or of columns. */
#ifndef NIB_GRAPH_TILES_H
#define NIB_GRAPH_TILES_H

#include "kernel/kernels.h"

static inline size_t nib_padded(size_t n) { return nib_round_up(n, NIB_PANEL); }

/* A panel of x^T, x [rows, width] with rows padded: for products a x^T. */
static inline void nib_panel_of_rows(const nib_kernels *k, const float *x, size_t rows,
                                     size_t width, size_t ld, float *panel)
{
    for (size_t r = 0; r < rows; r += NIB_PANEL)
        k->pack_transposed(width, (const uint32_t *)(const void *)(x + r * ld), ld,
                           (uint32_t *)(void *)(panel + r * width), width * NIB_STRIP);
}

/* A panel of x [rows, width] with columns padded: for products a x. */
static inline void nib_panel_of(const nib_kernels *k, const float *x, size_t rows, size_t width,
                                size_t ld, float *panel)
{
    for (size_t c = 0; c < width; c += NIB_PANEL)
        k->pack_rows(NIB_F32, rows, x + c, ld, panel + c * rows);
}

/* c [M, N padded] (+)= a [M, K] panel. */
static inline void nib_times_panel(const nib_kernels *k, size_t M, size_t N, size_t K,
                                   const float *a, size_t lda, const float *panel, float *c,
                                   size_t ldc, bool add)
{
    k->gemm_f32(M, nib_padded(N), K, a, lda, panel, c, ldc, add, NULL);
}

/* to [columns, rows] = from [rows, columns]^T. */
static inline void nib_turn(const float *from, size_t rows, size_t columns, size_t ld, float *to,
                            size_t to_ld)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) to[c * to_ld + r] = from[r * ld + c];
}

#endif
