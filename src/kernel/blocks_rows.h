/* blocks_rows.h - the loop over rows of ggml's blocks that both dots with x in fixed point share.
 * A file says before it
 *
 *     add_group   adds the products of eight parts that follow one another to a row's sums
 *     add_rest    those of fewer, the last ones
 *
 * Two rows are read side by side, half of all rows apart: what a thread gets of memory is bound by
 * how many lines are on their way to it, and they are more in two places than in one. */

/* Rows side by side: one where x has many rows, for the loop is unrolled over all. */
NIB_INLINE size_t rows_at_once(size_t M) { return M > 2 ? 1 : 2; }

NIB_INLINE void rows_dot(size_t M, nib_block_kind kind, size_t count,
                         const uint8_t *const blocks[2], const nib_fixed_x *x, float *const y[2],
                         size_t ldy)
{
    const nib_block_layout l = nib_block_layout_of(kind);
    size_t parts = count * (l.values / NIB_BLOCK_PART);
    size_t bytes = l.bytes * NIB_FIXED_PARTS * NIB_BLOCK_PART / l.values; /* of eight parts */
    nib_fixed_x row[4];
    fixed_sums sums[2][4];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) {
        row[m] = nib_fixed_row(x, m);
        sums[0][m] = sums[1][m] = no_sums();
    }
    for (size_t p = 0, at = 0; p < parts; p += NIB_FIXED_PARTS, at += bytes) {
#pragma GCC unroll 2
        for (size_t r = 0; r < rows_at_once(M); r++) {
            for (size_t i = 0; i < bytes; i += 64)
                _mm_prefetch((const char *)blocks[r] + at + i + EACH_AHEAD, _MM_HINT_T0);
            /* eight as a constant: the loop over them is unrolled, and their bits are known */
            if (l.values == 256 || parts - p >= NIB_FIXED_PARTS)
                add_group(M, kind, blocks[r] + at, p, NIB_FIXED_PARTS, row, sums[r]);
            else add_rest(M, kind, blocks[r] + at, p, parts - p, row, sums[r]);
        }
    }
#pragma GCC unroll 2
    for (size_t r = 0; r < rows_at_once(M); r++)
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) y[r][m * ldy] = total_of(&sums[r][m]);
}

/* Of an odd number one row is taken twice, which costs less than a loop for it. */
NIB_INLINE void dot(size_t M, nib_block_kind kind, size_t count, const nib_block_rows *w,
                    size_t rows, const nib_fixed_x *x, float *y, size_t ldy)
{
    size_t half = nib_ceil_div(rows, rows_at_once(M));

    for (size_t i = 0; i < half; i++) {
        size_t other = nib_min(half + i, rows - 1);
        rows_dot(M, kind, count,
                 (const uint8_t *[]){ nib_block_row(w, i), nib_block_row(w, other) }, x,
                 (float *[]){ y + i, y + other }, ldy);
    }
}
