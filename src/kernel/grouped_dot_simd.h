/* grouped_dot_simd.h - products of few rows with grouped integer codes: the body of
 * grouped_dot_avx2.c and grouped_dot_avx512.c.
 *
 * A word of VN columns, shifted and masked, is VN pairs of codes in words of 16 bits; a pair of x,
 * the same for all columns, multiplies them and adds the two.  There are no shuffles, and four
 * weights an instruction with 4 bits. */
#include "kernel/kernels.h"
#include "kernel/words.h"

enum {
    VECTORS = NIB_PANEL / VN, /* of columns */
    ROWS_AHEAD = 4           /* of words that are fetched */
};

/* sums (+)= the codes of one word of each column times its pairs of x; bits is constant. */
NIB_INLINE void add_word(unsigned bits, const W word[VECTORS], const int16_t *pairs,
                         W sums[VECTORS])
{
    const W mask = w_set(((1u << bits) - 1) * 0x10001u);

#pragma GCC unroll 8
    for (unsigned p = 0; p < 16 / bits; p++) {
        uint32_t two;
        memcpy(&two, pairs + 2 * p, sizeof two);
#pragma GCC unroll 4
        for (size_t v = 0; v < VECTORS; v++)
            sums[v] = w_add(sums[v], w_products(w_and(w_right(word[v], p * bits), mask),
                                                w_set(two)));
    }
}

/* sums (+)= the codes of one block. */
NIB_INLINE void add_block(unsigned bits, const nib_grouped_codes *c, const uint8_t *at,
                          const int16_t *x, W sums[VECTORS])
{
    const W flip = w_set(c->flip);
    W word[VECTORS];

#pragma GCC unroll 8
    for (size_t i = 0; i < bits; i++, at += c->next) {
        /* words of a column lie rows apart, where the processor does not look ahead */
        _mm_prefetch((const char *)at + ROWS_AHEAD * c->next, _MM_HINT_T0);
        _mm_prefetch((const char *)at + ROWS_AHEAD * c->next + c->second, _MM_HINT_T0);
#pragma GCC unroll 4
        for (size_t v = 0; v < VECTORS; v++)
            word[v] = w_xor(w_load(at + v * VN / NIB_STRIP * c->second +
                                   v * VN % NIB_STRIP * c->other), flip);
        add_word(bits, word, x + i * 32 / bits, sums);
    }
}

/* Blocks [b0, b1), of one group, of all columns, times one row of x. */
NIB_INLINE void add_group(unsigned bits, const nib_grouped_codes *c, size_t b0, size_t b1,
                          const nib_fixed_x *x, float y[NIB_PANEL])
{
    const uint8_t *at = c->words + b0 * bits * c->next;
    size_t group = nib_grouped_group(c, b0 * NIB_FIXED_BLOCK) * NIB_PANEL;
    V all[VECTORS];
    float ones = 0;

#pragma GCC unroll 4
    for (size_t v = 0; v < VECTORS; v++) all[v] = v_zero();
    for (size_t b = b0; b < b1; b++, at += bits * c->next) {
        W sums[VECTORS];
#pragma GCC unroll 4
        for (size_t v = 0; v < VECTORS; v++) sums[v] = w_zero();
        add_block(bits, c, at, x->words + b * NIB_FIXED_BLOCK, sums);
#pragma GCC unroll 4
        for (size_t v = 0; v < VECTORS; v++)
            all[v] = v_fma(w_to_floats(sums[v]), v_set(x->steps[b]), all[v]);
        ones += x->sums[2 * b] + x->sums[2 * b + 1];
    }
#pragma GCC unroll 4
    for (size_t v = 0; v < VECTORS; v++) {
        V zeros = v_mul(v_load(c->zeros + group + v * VN), v_set(ones));
        v_store(y + v * VN, v_fma(v_load(c->scales + group + v * VN), v_sub(all[v], zeros),
                                  v_load(y + v * VN)));
    }
}

NIB_INLINE void dot(unsigned bits, const nib_grouped_codes *c, size_t terms, size_t M,
                    const nib_fixed_x *x, float *y)
{
    size_t blocks = terms / NIB_FIXED_BLOCK;

    for (size_t b = 0, end; b < blocks; b = end) {
        size_t group = nib_grouped_group(c, b * NIB_FIXED_BLOCK);
        end = nib_min(blocks, ((group + 1) * c->group - c->begun) / NIB_FIXED_BLOCK);
        /* the codes of a group stay in the caches for all rows */
        for (size_t m = 0; m < M; m++) {
            const nib_fixed_x row = nib_fixed_row(x, m);
            add_group(bits, c, b, end, &row, y + m * NIB_PANEL);
        }
    }
}

void NIB_VARIANT(grouped_dot)(const nib_grouped_codes *c, size_t terms, size_t M,
                              const nib_fixed_x *x, float *y)
{
    if (c->bits == 2) dot(2, c, terms, M, x, y);
    else if (c->bits == 4) dot(4, c, terms, M, x, y);
    else dot(8, c, terms, M, x, y);
}
