/* grouped_dot_simd.h - products of few rows with grouped integer codes: the body of
 * grouped_dot_avx2.c and grouped_dot_avx512.c.
 *
 * A word of VN columns, shifted and masked, is four codes of 2 or 4 bits in bytes.  A word of x is
 * two signed bytes, high and low, the same for all columns, and a product of bytes adds two codes
 * times theirs: 15 * 128 * 2 at most, so that those of a block fit 16 bits.  Codes of 8 bits are
 * taken as words, two at a time, and so are those of 3 bits, four of which lie in each of the
 * twelve bits that the three words of a block are cut to.  There are no shuffles. */
#include "kernel/kernels.h"
#include "kernel/words.h"

enum {
    VECTORS = 2,
    WIDTH = VECTORS * VN, /* columns that are summed at a time */
    AHEAD_COLUMNS = VN == 16 ? 256 : 0 /* fetched before they are read; with AVX2 the processors
                                          that were measured do better alone */
};

/* A vector of each VN columns. */
typedef struct columns { W v[VECTORS]; } columns;

NIB_INLINE columns zero_columns(void)
{
    columns c;

    for (size_t v = 0; v < VECTORS; v++) c.v[v] = w_zero();
    return c;
}

/* Row `at` of words. */
NIB_INLINE columns words_at(const nib_grouped_codes *c, const uint8_t *at)
{
    columns word;

#pragma GCC unroll 4
    for (size_t v = 0; v < VECTORS; v++)
        word.v[v] = w_load(at + v * VN / NIB_STRIP * c->second + v * VN % NIB_STRIP * c->other);
    return word;
}

NIB_INLINE W two_of(const void *at) /* four bytes everywhere */
{
    uint32_t two;

    memcpy(&two, at, sizeof two);
    return w_set(two);
}

/* The codes of a block of 2 or 4 bits, bits constant: sums of 16 bits, two an output, of high bytes
 * and of low ones. */
NIB_INLINE columns sums_of_bytes(unsigned bits, const nib_grouped_codes *c, const uint8_t *at,
                                 const int16_t *x)
{
    const W mask = w_set(((1u << bits) - 1) * 0x01010101u);
    const unsigned fields = 8 / bits;
    columns high = zero_columns(), low = high, sums;

#pragma GCC unroll 4
    for (size_t i = 0; i < bits; i++, at += c->next) {
        columns word = words_at(c, at);
#pragma GCC unroll 4
        for (unsigned p = 0; p < fields; p++, x += 4) {
            W of_high = two_of(x), of_low = two_of(x + 2);
#pragma GCC unroll 4
            for (size_t v = 0; v < VECTORS; v++) {
                W codes = w_and(p ? w_right(word.v[v], p * bits) : word.v[v], mask);
                high.v[v] = w_add16(high.v[v], w_pairs8(codes, of_high));
                low.v[v] = w_add16(low.v[v], w_pairs8(codes, of_low));
                W_KEEP(&high.v[v]);
                W_KEEP(&low.v[v]);
            }
        }
    }
#pragma GCC unroll 4
    for (size_t v = 0; v < VECTORS; v++)
        sums.v[v] = w_add(w_products(high.v[v], w_set(0x01000100)),
                          w_products(low.v[v], w_set(0x00010001)));
    return sums;
}

/* sums (+)= the codes in words of 16 bits at bit 0 and those behind it, times pairs of x. */
NIB_INLINE void add_fields(unsigned bits, unsigned count, const W word[VECTORS], const int16_t *x,
                           columns *sums)
{
    const W mask = w_set(((1u << bits) - 1) * 0x10001u);

#pragma GCC unroll 4
    for (unsigned p = 0; p < count; p++) {
        W two = two_of(x + 2 * p);
#pragma GCC unroll 4
        for (size_t v = 0; v < VECTORS; v++) {
            W codes = w_and(p ? w_right(word[v], p * bits) : word[v], mask);
            sums->v[v] = w_add(sums->v[v], w_products(codes, two));
        }
    }
}

NIB_INLINE columns sums_of_8(const nib_grouped_codes *c, const uint8_t *at, const int16_t *x)
{
    const W flip = w_set(c->flip);
    columns sums = zero_columns();

#pragma GCC unroll 1
    for (size_t i = 0; i < 8; i++, at += c->next, x += 4) {
        columns word = words_at(c, at);
#pragma GCC unroll 4
        for (size_t v = 0; v < VECTORS; v++) word.v[v] = w_xor(word.v[v], flip);
        add_fields(8, 2, word.v, x, &sums);
    }
    return sums;
}

/* In the order of nib_fixed_place(): twelve bits in each half, of three words. */
NIB_INLINE columns sums_of_3(const nib_grouped_codes *c, const uint8_t *at, const int16_t *x)
{
    columns words[3], sums = zero_columns();
    W cut[VECTORS];

    for (size_t i = 0; i < 3; i++) words[i] = words_at(c, at + i * c->next);
#pragma GCC unroll 4
    for (size_t v = 0; v < VECTORS; v++) cut[v] = w_halves(words[0].v[v], words[1].v[v]);
    add_fields(3, 4, cut, x, &sums);
#pragma GCC unroll 4
    for (size_t v = 0; v < VECTORS; v++)
        cut[v] = w_right(w_halves(words[1].v[v], words[2].v[v]), 4);
    add_fields(3, 4, cut, x + 8, &sums);
#pragma GCC unroll 4
    for (size_t v = 0; v < VECTORS; v++)
        cut[v] = w_halves(w_right(words[0].v[v], 12), w_left(words[2].v[v], 8));
    add_fields(3, 4, cut, x + 16, &sums);
#pragma GCC unroll 4
    for (size_t v = 0; v < VECTORS; v++)
        cut[v] = w_or(w_halves(w_right(words[0].v[v], 24), w_right(words[1].v[v], 12)),
                      w_halves(w_left(words[1].v[v], 8), w_left(words[2].v[v], 20)));
    add_fields(3, 4, cut, x + 24, &sums);
    return sums;
}

NIB_INLINE columns sums_of_block(unsigned bits, const nib_grouped_codes *c, const uint8_t *at,
                                 const int16_t *x)
{
    if (bits == 8) return sums_of_8(c, at, x);
    return bits == 3 ? sums_of_3(c, at, x) : sums_of_bytes(bits, c, at, x);
}

/* The words of a block of columns further on, which are read after the next ones: `ahead` bytes
 * behind. */
NIB_INLINE void fetch(unsigned bits, const nib_grouped_codes *c, const uint8_t *at, ptrdiff_t ahead)
{
#pragma GCC unroll 8
    for (size_t i = 0; i < bits; i++, at += c->next)
#pragma GCC unroll 2
        for (size_t line = 0; line < WIDTH * 4; line += 64)
            _mm_prefetch((const char *)at + ahead + line, _MM_HINT_T0);
}

/* Blocks [b0, b1), of one group, of the columns from n on, times the rows of x. */
NIB_INLINE void add_group(size_t M, unsigned bits, const nib_grouped_codes *c, size_t group,
                          size_t n, size_t b0, size_t b1, ptrdiff_t ahead, const nib_fixed_x x[4],
                          float *y)
{
    const uint8_t *at = c->words + b0 * bits * c->next + n / NIB_STRIP * c->second;
    const float *zeros = c->zeros + group * NIB_PANEL + n;
    const float *scales = c->scales + group * NIB_PANEL + n;
    V all[4][VECTORS];
    float ones[4] = { 0 };

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++)
        for (size_t v = 0; v < VECTORS; v++) all[m][v] = v_zero();
    for (size_t b = b0; b < b1; b++, at += bits * c->next) {
        if (AHEAD_COLUMNS) fetch(bits, c, at, ahead);
        /* the words of a block stay in the first cache for all rows */
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) {
            columns sums = sums_of_block(bits, c, at, x[m].words + b * NIB_FIXED_BLOCK);
#pragma GCC unroll 4
            for (size_t v = 0; v < VECTORS; v++)
                all[m][v] = v_fma(w_to_floats(sums.v[v]), v_set(x[m].steps[b]), all[m][v]);
            ones[m] += x[m].sums[2 * b] + x[m].sums[2 * b + 1];
        }
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++, y += NIB_PANEL)
#pragma GCC unroll 4
        for (size_t v = 0; v < VECTORS; v++) {
            V scale = v_load(scales + v * VN), sums = v_load(y + v * VN);
            V all_zeros = v_mul(v_load(zeros + v * VN), v_set(ones[m]));
            sums = c->biased ? v_fma(scale, all[m][v], v_add(all_zeros, sums))
                             : v_fma(scale, v_sub(all[m][v], all_zeros), sums);
            v_store(y + v * VN, sums);
        }
}

/* Of one panel of columns; group: of the first term. */
NIB_INLINE void dot_panel(size_t M, unsigned bits, const nib_grouped_codes *c, size_t group,
                          size_t terms, ptrdiff_t ahead, const nib_fixed_x x[4], float *y)
{
    size_t blocks = terms / NIB_FIXED_BLOCK;

    for (size_t b = 0, end; b < blocks; b = end, group++) {
        end = nib_min(blocks, ((group + 1) * c->group - c->begun) / NIB_FIXED_BLOCK);
        for (size_t n = 0; n < NIB_PANEL; n += WIDTH)
            add_group(M, bits, c, group, n, b, end, ahead, x, y + n);
    }
}

NIB_INLINE void dot(size_t M, unsigned bits, const nib_grouped_codes *c, size_t terms,
                    const nib_fixed_x *x, size_t count, float *y)
{
    nib_grouped_codes panel = *c;
    size_t group = nib_grouped_group(c, 0);
    ptrdiff_t rows = (ptrdiff_t)(terms / 32 * bits * c->next) - (ptrdiff_t)(count * 4);
    nib_fixed_x row[4];

    assert(!c->groups);
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) row[m] = nib_fixed_row(x, m);
    for (size_t n = 0; n < count; n += NIB_PANEL) {
        /* behind the last columns those of the next rows of words */
        ptrdiff_t ahead = AHEAD_COLUMNS * 4 + (ptrdiff_t)((n + AHEAD_COLUMNS) / count) * rows;
        dot_panel(M, bits, &panel, group, terms, count > NIB_PANEL ? ahead : 0, row, y + n * M);
        panel.words += NIB_PANEL * c->other;
        panel.scales += NIB_PANEL;
        panel.zeros += NIB_PANEL;
    }
}

void NIB_VARIANT(grouped_dot)(const nib_grouped_codes *c, size_t terms, size_t M,
                              const nib_fixed_x *x, size_t count, float *y)
{
    if (c->bits == 2) NIB_WITH_ROWS(M, dot, 2, c, terms, x, count, y);
    else if (c->bits == 3) NIB_WITH_ROWS(M, dot, 3, c, terms, x, count, y);
    else if (c->bits == 4) NIB_WITH_ROWS(M, dot, 4, c, terms, x, count, y);
    else NIB_WITH_ROWS(M, dot, 8, c, terms, x, count, y);
}
