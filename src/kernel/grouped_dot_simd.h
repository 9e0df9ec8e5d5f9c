/* grouped_dot_simd.h - products of few rows with grouped integer codes: the body of
 * grouped_dot_avx2.c and grouped_dot_avx512.c.
 *
 * A word of VN columns, shifted and masked, is VN pairs of codes in words of 16 bits; a pair of x,
 * the same for all columns, multiplies them and adds the two.  There are no shuffles, and four
 * weights an instruction with 4 bits. */
#include "kernel/kernels.h"
#include "kernel/words.h"

/* sums (+)= the codes of one word of VN columns times its pairs of x; bits is constant. */
NIB_INLINE W add_word(unsigned bits, W word, const int16_t *pairs, W sum)
{
    const W mask = w_set(((1u << bits) - 1) * 0x10001u);

#pragma GCC unroll 8
    for (unsigned p = 0; p < 16 / bits; p++) {
        uint32_t two;
        memcpy(&two, pairs + 2 * p, sizeof two);
        sum = w_add(sum, w_products(w_and(w_right(word, p * bits), mask), w_set(two)));
    }
    return sum;
}

/* Blocks [b0, b1), of one group, of VN columns from `column` on, times one row of x. */
NIB_INLINE void add_group(unsigned bits, const nib_grouped_codes *c, size_t b0, size_t b1,
                          size_t column, const nib_fixed_x *x, float *y)
{
    const uint8_t *at = c->words + column / NIB_STRIP * c->second + column % NIB_STRIP * c->other +
                        b0 * bits * c->next;
    size_t group = nib_grouped_group(c, b0 * NIB_FIXED_BLOCK) * NIB_PANEL + column;
    V all = v_zero();
    float ones = 0;

    for (size_t b = b0; b < b1; b++) {
        W sum = w_zero();
#pragma GCC unroll 8
        for (size_t i = 0; i < bits; i++, at += c->next)
            sum = add_word(bits, w_xor(w_load(at), w_set(c->flip)),
                           x->words + b * NIB_FIXED_BLOCK + i * 32 / bits, sum);
        all = v_fma(w_to_floats(sum), v_set(x->steps[b]), all);
        ones += x->sums[2 * b] + x->sums[2 * b + 1];
    }
    all = v_sub(all, v_mul(v_load(c->zeros + group), v_set(ones)));
    v_store(y, v_fma(v_load(c->scales + group), all, v_load(y)));
}

NIB_INLINE void dot(unsigned bits, const nib_grouped_codes *c, size_t terms, size_t M,
                    const nib_fixed_x *x, float *y)
{
    size_t blocks = terms / NIB_FIXED_BLOCK;

    for (size_t b = 0, end; b < blocks; b = end) {
        size_t group = nib_grouped_group(c, b * NIB_FIXED_BLOCK);
        end = nib_min(blocks, ((group + 1) * c->group - c->begun) / NIB_FIXED_BLOCK);
        /* the codes of a group stay in the first cache for all rows */
        for (size_t m = 0; m < M; m++) {
            const nib_fixed_x row = nib_fixed_row(x, m);
            for (size_t n = 0; n < NIB_PANEL; n += VN)
                add_group(bits, c, b, end, n, &row, y + m * NIB_PANEL + n);
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
