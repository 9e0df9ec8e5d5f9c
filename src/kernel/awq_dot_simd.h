/* awq_dot_simd.h - products of few rows with AWQ's codes: the body of awq_dot_avx2.c and
 * awq_dot_avx512.c, with vectors of 32 bytes in both.
 *
 * The product is a sum over inputs of a code times x for 64 outputs side by side.  The bytes of two
 * inputs are interleaved, and a mask and a shift leave a pair of codes in each 16 bits.  A word of
 * x is two signed bytes, high and low, and a product of bytes adds both codes of a pair times
 * theirs: 15 * 128 * 2 a pair, so that sums of sixteen inputs fit 16 bits.  That takes 12
 * instructions for 64 codes; words of codes would take 17. */
#include "kernel/kernels.h"
#include "kernel/words.h"

enum {
    PASS = 16,         /* inputs whose sums are kept in registers */
    PAIRS = PASS / 2,
    SUMS = 4,          /* vectors of 16 outputs */
    PLACES = 2 * SUMS, /* of eight floats */
    LINE = 128         /* outputs of a line of the cache */
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

/* The words of 64 outputs, or of the 32 that are left. */
NIB_INLINE __m256i words_at(const uint8_t *p, bool whole)
{
    if (whole) return _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm256_zextsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* The sums of 16 inputs, in the order in which the codes come apart, times a step: added to
 * sums[PLACES * 8], or, the first ones, put there. */
NIB_INLINE void add_pass(bool whole, const uint8_t *rows, size_t next, const pass_x *x, float step,
                         bool first, float *sums)
{
    const __m256i mask = _mm256_set1_epi8(15), join = _mm256_set1_epi32(0x01000001);
    __m256i high[SUMS], low[SUMS];

    for (size_t s = 0; s < SUMS; s++) high[s] = low[s] = _mm256_setzero_si256();
    /* not unrolled: sums would be reassociated, and leave their registers */
#pragma GCC unroll 1
    for (size_t p = 0; p < PAIRS; p++, rows += 2 * next) {
        __m256i a = words_at(rows, whole), b = words_at(rows + next, whole), codes[SUMS];
        __m256i of_high = _mm256_set1_epi32((int)x->high[p]);
        __m256i of_low = _mm256_set1_epi32((int)x->low[p]);
        codes[0] = _mm256_unpacklo_epi8(a, b);
        codes[2] = _mm256_unpackhi_epi8(a, b);
#pragma GCC unroll 4
        for (size_t s = 0; s < SUMS; s++) {
            __m256i two = _mm256_and_si256(s % 2 ? _mm256_srli_epi16(codes[s - 1], 4) : codes[s],
                                           mask);
            high[s] = _mm256_add_epi16(high[s], _mm256_maddubs_epi16(two, of_high));
            low[s] = _mm256_add_epi16(low[s], _mm256_maddubs_epi16(two, of_low));
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < PLACES; i++) {
        __m256i both = i % 2 ? _mm256_unpackhi_epi16(low[i / 2], high[i / 2])
                             : _mm256_unpacklo_epi16(low[i / 2], high[i / 2]);
        __m256 sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(both, join)), by = _mm256_set1_ps(step);
        sum = first ? _mm256_mul_ps(sum, by)
                    : _mm256_fmadd_ps(sum, by, _mm256_loadu_ps(sums + 8 * i));
        _mm256_storeu_ps(sums + 8 * i, sum);
    }
}

/* A line of each row of a pass, six lines behind that of output n; behind the last outputs those of
 * the next pass.  A whole pass ahead is too far: rows that lie a power of two apart have few places
 * in the first cache, and would put each other out. */
NIB_INLINE void fetch(const nib_awq_group *g, size_t input, size_t n)
{
    const uint8_t *row;

    for (n += 6 * LINE; n >= g->outputs; n -= g->outputs) input += PASS;
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

/* Outputs [n, n + 64), or the 32 that are left: lane l of vector 2 s + h of the sums is byte
 * l % 4 of a word, low nibble where s is even.  y: of output n; that of n + 32 lies `second`
 * behind. */
static void end_strip(const nib_awq_group *g, size_t n, float ones, const float *sums, float *y,
                      size_t second)
{
    bool whole = n + NIB_AWQ_STRIP <= g->outputs;

    for (size_t q = 0; q < PLACES / 2; q++) {
        const float *at = sums + (q / 2 * 4 + q % 2) * 8;
        __m256 even = _mm256_loadu_ps(at), odd = _mm256_loadu_ps(at + 16);
        __m256 first = _mm256_shuffle_ps(even, odd, 0x88);  /* of each half outputs 0 to 3 */
        __m256 others = _mm256_shuffle_ps(even, odd, 0xdd); /* and 4 to 7, of a word */
        end_eight(g, n + 8 * q, ones, _mm256_permute2f128_ps(first, others, 0x20), y + 8 * q);
        if (whole)
            end_eight(g, n + 32 + 8 * q, ones, _mm256_permute2f128_ps(first, others, 0x31),
                      y + second + 8 * q);
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
        for (size_t n = 0; n < g->outputs; n += NIB_AWQ_STRIP, at += NIB_AWQ_STRIP / 2) {
            if (n % LINE == 0) fetch(g, i, n);
#pragma GCC unroll 4
            for (size_t m = 0; m < M; m++) {
                float *sums = room + (n * M + m * NIB_AWQ_STRIP), step = row[m].steps[i / 32];
                if (n + NIB_AWQ_STRIP <= g->outputs)
                    add_pass(true, at, g->next, &bytes[m], step, i == 0, sums);
                else add_pass(false, at, g->next, &bytes[m], step, i == 0, sums);
            }
        }
    }
    for (size_t m = 0; m < M; m++) {
        float ones = 0;
        for (size_t b = 0; b < g->inputs / NIB_FIXED_BLOCK; b++)
            ones += row[m].sums[2 * b] + row[m].sums[2 * b + 1];
        for (size_t n = 0; n < g->outputs; n += NIB_AWQ_STRIP)
            end_strip(g, n, ones, room + (n * M + m * NIB_AWQ_STRIP), y + n * M + m * NIB_PANEL,
                      M * NIB_PANEL);
    }
}

void NIB_VARIANT(awq_dot)(const nib_awq_group *g, size_t M, const nib_fixed_x *x, float *room,
                          float *y)
{
    NIB_WITH_ROWS(M, dot, g, x, room, y);
}
