/* awq_dot_simd.h - products of few rows with AWQ's codes: the body of awq_dot_avx2.c and
 * awq_dot_avx512.c.
 *
 * The product is a sum over inputs of a code times x for outputs side by side, 64 or, with vectors
 * of 64 bytes, 128.  The bytes of two inputs are interleaved, and a mask and a shift leave a pair
 * of codes in each 16 bits.  A word of x is two signed bytes, high and low, and a product of bytes
 * adds both codes of a pair times theirs: 15 * 128 * 2 a pair, so that sums of sixteen inputs fit
 * 16 bits.  That takes 12 instructions for two vectors of codes; words of codes would take 17. */
#include "kernel/kernels.h"
#include "kernel/words.h"

enum {
    PASS = 16,           /* inputs whose sums are kept in registers */
    PAIRS = PASS / 2,
    SUMS = 4,            /* vectors of words */
    PLACES = 2 * SUMS,   /* of floats */
    STRIP = PLACES * VN, /* outputs that are computed together: 64 or 128 */
    LINE = 128,          /* of a line of the cache */
    AHEAD_LINES = VN == 16 ? 8 : 6
};

/* High and low bytes of each pair of inputs, repeated over 32 bits. */
typedef struct pass_x { uint32_t high[PAIRS], low[PAIRS]; } pass_x;

NIB_INLINE pass_x bytes_of(const int16_t words[PASS])
{
    const __m256i twice = _mm256_setr_epi8(0, 2, 0, 2, 4, 6, 4, 6, 8, 10, 8, 10, 12, 14, 12, 14, 0,
                                           2, 0, 2, 4, 6, 4, 6, 8, 10, 8, 10, 12, 14, 12, 14);
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)words);
    __m256i low = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
    __m256i high = _mm256_srai_epi16(_mm256_sub_epi16(x, low), 8);
    pass_x p;

    _mm256_storeu_si256((__m256i *)(void *)p.high, _mm256_shuffle_epi8(high, twice));
    _mm256_storeu_si256((__m256i *)(void *)p.low, _mm256_shuffle_epi8(low, twice));
    return p;
}

/* The words of a strip, or of the outputs that are left. */
NIB_INLINE W words_at(const uint8_t *p, bool whole, size_t outputs)
{
    return whole ? w_load(p) : w_load_first(p, outputs / NIB_PANEL);
}

/* The sums of 16 inputs, in the order in which the codes come apart, times a step: added to
 * sums[STRIP], or, the first ones, put there. */
NIB_INLINE void add_pass(bool whole, const uint8_t *rows, size_t next, size_t outputs,
                         const pass_x *x, float step, bool first, float *sums)
{
    const W mask = w_set(0x0f0f0f0f), join = w_set(0x01000001);
    W high[SUMS], low[SUMS];

    for (size_t s = 0; s < SUMS; s++) high[s] = low[s] = w_zero();
    /* not unrolled: sums would be reassociated, and leave their registers */
#pragma GCC unroll 1
    for (size_t p = 0; p < PAIRS; p++, rows += 2 * next) {
        W a = words_at(rows, whole, outputs), b = words_at(rows + next, whole, outputs);
        W of_high = w_set(x->high[p]), of_low = w_set(x->low[p]), codes[SUMS];
        codes[0] = w_join_first(a, b);
        codes[2] = w_join_second(a, b);
#pragma GCC unroll 4
        for (size_t s = 0; s < SUMS; s++) {
            W two = w_and(s % 2 ? w_right(codes[s - 1], 4) : codes[s], mask);
            high[s] = w_add16(high[s], w_pairs8(two, of_high));
            low[s] = w_add16(low[s], w_pairs8(two, of_low));
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < PLACES; i++) {
        W both = i % 2 ? w_join16_second(low[i / 2], high[i / 2])
                       : w_join16_first(low[i / 2], high[i / 2]);
        V sum = w_to_floats(w_products(both, join)), by = v_set(step);
        sum = first ? v_mul(sum, by) : v_fma(sum, by, v_load(sums + VN * i));
        v_store(sums + VN * i, sum);
    }
}

/* A line of each row of a pass, some lines behind that of output n; behind the last outputs those
 * of the next pass.  A whole pass ahead is too far: rows that lie a power of two apart have few
 * places in the first cache, and would put each other out. */
NIB_INLINE void fetch(const nib_awq_group *g, size_t input, size_t n)
{
    const uint8_t *row;

    for (n += AHEAD_LINES * LINE; n >= g->outputs; n -= g->outputs) input += PASS;
    row = g->rows + input * g->next + n / 2;
#pragma GCC unroll 16
    for (size_t i = 0; i < PASS; i++, row += g->next) _mm_prefetch((const char *)row, _MM_HINT_T0);
}

/* y (+)= what the sums of eight outputs make. */
NIB_INLINE void end_eight(const nib_awq_group *g, size_t n, float ones, __m256 sums, float *y)
{
    __m256 zeros = _mm256_mul_ps(_mm256_loadu_ps(g->zeros + n), _mm256_set1_ps(ones));

    _mm256_storeu_ps(y, _mm256_fmadd_ps(_mm256_loadu_ps(g->scales + n),
                                        _mm256_sub_ps(sums, zeros), _mm256_loadu_ps(y)));
}

/* The outputs of a strip from n on, or those that are left: four lanes from 4 l on of vector
 * 2 s + h of the sums are the bytes of word 4 l + s / 2 * 2 + h, low nibbles where s is even.  y:
 * of output n; each 32 outputs lie `panel` behind the 32 before. */
static void end_strip(const nib_awq_group *g, size_t n, float ones, const float *sums, float *y,
                      size_t panel)
{
    size_t panels = nib_min(STRIP, g->outputs - n) / NIB_PANEL;

    for (size_t q = 0; q < PLACES / 2; q++) {
        const float *at = sums + (q / 2 * 4 + q % 2) * VN;
        V even = v_load(at), odd = v_load(at + 2 * VN);
        float first[VN], others[VN]; /* of each word outputs 0 to 3, and 4 to 7 */
        v_store(first, v_evens(even, odd));
        v_store(others, v_odds(even, odd));
        for (size_t l = 0; l < panels; l++)
            end_eight(g, n + NIB_PANEL * l + 8 * q, ones,
                      _mm256_set_m128(_mm_loadu_ps(others + 4 * l), _mm_loadu_ps(first + 4 * l)),
                      y + l * panel + 8 * q);
    }
}

NIB_INLINE void dot(size_t M, const nib_awq_group *g, const nib_fixed_x *x, float *room, float *y)
{
    nib_fixed_x row[4];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) row[m] = nib_fixed_row(x, m);
    for (size_t i = 0; i < g->inputs; i += PASS) {
        const uint8_t *at = g->rows + i * g->next;
        pass_x bytes[4];
#pragma GCC unroll 4
        for (size_t m = 0; m < M; m++) bytes[m] = bytes_of(row[m].words + i);
        for (size_t n = 0; n < g->outputs; n += STRIP, at += STRIP / 2) {
            size_t left = g->outputs - n;
            if (n % LINE == 0) fetch(g, i, n);
#pragma GCC unroll 4
            for (size_t m = 0; m < M; m++) {
                float *sums = room + n * M + m * STRIP, step = row[m].steps[i / 32];
                if (left >= STRIP) add_pass(true, at, g->next, left, &bytes[m], step, i == 0, sums);
                else add_pass(false, at, g->next, left, &bytes[m], step, i == 0, sums);
            }
        }
    }
    for (size_t m = 0; m < M; m++) {
        float ones = 0;
        for (size_t b = 0; b < g->inputs / NIB_FIXED_BLOCK; b++)
            ones += row[m].sums[2 * b] + row[m].sums[2 * b + 1];
        for (size_t n = 0; n < g->outputs; n += STRIP)
            end_strip(g, n, ones, room + n * M + m * STRIP, y + n * M + m * NIB_PANEL,
                      M * NIB_PANEL);
    }
}

void NIB_VARIANT(awq_dot)(const nib_awq_group *g, size_t M, const nib_fixed_x *x, float *room,
                          float *y)
{
    NIB_WITH_ROWS(M, dot, g, x, room, y);
}
