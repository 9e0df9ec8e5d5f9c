/* grouped_dot_simd.h - products of few rows with grouped integer codes: the body of
 * grouped_dot_avx2.c and grouped_dot_avx512.c.
 *
 * A word of VN columns, shifted and masked, is VN pairs of codes in words of 16 bits; a pair of x,
 * the same for all columns, multiplies them and adds the two.  There are no shuffles, and four
 * weights an instruction with 4 bits. */
#include <math.h>

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

/* Blocks [b0, b1), of one group, of VN columns from `column` on, times row m of x. */
NIB_INLINE void add_group(unsigned bits, const nib_grouped_codes *c, size_t b0, size_t b1,
                          size_t column, const char *row, const nib_grouped_x *x, float *y)
{
    const int16_t *words = (const int16_t *)(const void *)row;
    const float *steps = (const float *)(const void *)(row + ((const char *)x->steps -
                                                              (const char *)x->words));
    const float *sums = (const float *)(const void *)(row + ((const char *)x->sums -
                                                             (const char *)x->words));
    const uint8_t *at = c->words + column / NIB_STRIP * c->second + column % NIB_STRIP * c->other +
                        b0 * bits * c->next;
    size_t group = nib_grouped_group(c, b0 * NIB_GROUPED_BLOCK) * NIB_PANEL + column;
    V all = v_zero();
    float ones = 0;

    for (size_t b = b0; b < b1; b++) {
        W sum = w_zero();
#pragma GCC unroll 8
        for (size_t i = 0; i < bits; i++, at += c->next)
            sum = add_word(bits, w_xor(w_load(at), w_set(c->flip)),
                           words + b * NIB_GROUPED_BLOCK + i * 32 / bits, sum);
        all = v_fma(w_to_floats(sum), v_set(steps[b]), all);
        ones += sums[b];
    }
    all = v_sub(all, v_mul(v_load(c->zeros + group), v_set(ones)));
    v_store(y, v_fma(v_load(c->scales + group), all, v_load(y)));
}

NIB_INLINE void dot(unsigned bits, const nib_grouped_codes *c, size_t terms, size_t M,
                    const nib_grouped_x *x, float *y)
{
    size_t blocks = terms / NIB_GROUPED_BLOCK;

    for (size_t b = 0, end; b < blocks; b = end) {
        size_t group = nib_grouped_group(c, b * NIB_GROUPED_BLOCK);
        end = nib_min(blocks, ((group + 1) * c->group - c->begun) / NIB_GROUPED_BLOCK);
        /* the codes of a group stay in the first cache for all rows */
        for (size_t m = 0; m < M; m++)
            for (size_t n = 0; n < NIB_PANEL; n += VN)
                add_group(bits, c, b, end, n, (const char *)x->words + m * x->ldx, x,
                          y + m * NIB_PANEL + n);
    }
}

void NIB_VARIANT(grouped_dot)(const nib_grouped_codes *c, size_t terms, size_t M,
                              const nib_grouped_x *x, float *y)
{
    if (c->bits == 2) dot(2, c, terms, M, x, y);
    else if (c->bits == 4) dot(4, c, terms, M, x, y);
    else dot(8, c, terms, M, x, y);
}

void NIB_VARIANT(grouped_arrange)(size_t n, unsigned bits, const float *x, void *to)
{
    int16_t *words = to;
    float *steps = (float *)(void *)(words + n), *sums = steps + n / NIB_GROUPED_BLOCK;
    uint8_t place[NIB_GROUPED_BLOCK];

    for (size_t i = 0; i < NIB_GROUPED_BLOCK; i++) place[i] = (uint8_t)nib_grouped_place(bits, i);
    for (size_t b = 0; b < n / NIB_GROUPED_BLOCK; b++, x += NIB_GROUPED_BLOCK) {
        int32_t whole[NIB_GROUPED_BLOCK], sum = 0;
        V most = v_zero(), by;
        bool nan = false;
        for (size_t i = 0; i < NIB_GROUPED_BLOCK; i += VN) {
            V value = v_load(x + i);
            nan |= v_any_nan(value, value);
            most = v_max(most, v_abs(value));
        }
        steps[b] = fmaxf(v_greatest(most) * (1.0f / NIB_GROUPED_MOST), 0x1p-100f);
        nan |= !isfinite(steps[b]);
        if (nan) steps[b] = NAN;
        by = v_set(nan ? 0 : 1 / steps[b]);
        for (size_t i = 0; i < NIB_GROUPED_BLOCK; i += VN)
            w_store(whole + i,
                    w_whole(v_min(v_max(v_mul(nan ? v_zero() : v_load(x + i), by),
                                        v_set(-NIB_GROUPED_MOST)), v_set(NIB_GROUPED_MOST))));
        for (size_t i = 0; i < NIB_GROUPED_BLOCK; i++) {
            *words++ = (int16_t)whole[place[i]];
            sum += whole[i];
        }
        sums[b] = (float)sum * steps[b];
    }
}
