/* additive_simd.h - additively quantized rows: the body of additive_avx2.c and additive_avx512.c.
 *
 * Eight values at a time in both: an entry of the usual group of 8 in float16 is one load.  Groups
 * that are no multiple of 8 are the reference's. */
#include "kernel/kernels.h"
#include "kernel/panel_simd.h"
#include "kernel/words.h"

NIB_INLINE __m256 eight_at(nib_dtype type, const void *entries, size_t i)
{
    const char *p = (const char *)entries + i * (type == NIB_F32 ? 4 : 2);
    __m128i halves;

    if (type == NIB_F32) return _mm256_loadu_ps((const float *)(const void *)p);
    halves = _mm_loadu_si128((const __m128i *)(const void *)p);
    if (type == NIB_F16) return _mm256_cvtph_ps(halves);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

/* Values v .. v + 8 of the group, unscaled. */
NIB_INLINE __m256 group_of(nib_dtype type, const nib_additive_row *r, const uint8_t *codes,
                           size_t v)
{
    __m256 sum = eight_at(type, r->entries, nib_additive_place(r, codes, 0) + v);

    for (unsigned k = 1; k < r->books; k++)
        sum = _mm256_add_ps(sum, eight_at(type, r->entries, nib_additive_place(r, codes, k) + v));
    return sum;
}

/* Values of the group of code k, unscaled; width is constant. */
NIB_INLINE __m256 entry_of(nib_dtype type, unsigned width, const nib_additive_row *r,
                           const uint8_t *codes, unsigned k)
{
    size_t code = width == 2 ? nib_load_le16(codes + 2 * k) : codes[k];

    return eight_at(type, r->entries, (((size_t)k << 8 * width) + code) * 8);
}

/* Whether it is one of the usual forms: one book of 16 bits, two or eight of 8 bits, of a row of
 * eight.  So many books and bytes a code are constants where they are used. */
NIB_INLINE bool is_usual(const nib_additive_row *r, unsigned books, unsigned width)
{
    return r->books == books && r->width == width && r->bits == 8 * width && r->group == 8 &&
           r->entry == 8 && r->type != NIB_F32;
}

/* group_of() of a usual form; books 0: of any. */
NIB_INLINE __m256 eight_of(nib_dtype type, unsigned books, unsigned width,
                           const nib_additive_row *r, const uint8_t *codes, size_t v)
{
    __m256 sum;

    if (!books) return group_of(type, r, codes, v);
    sum = entry_of(type, width, r, codes, 0);
#pragma GCC unroll 8
    for (unsigned k = 1; k < books; k++)
        sum = _mm256_add_ps(sum, entry_of(type, width, r, codes, k));
    return sum;
}

/* Calls inline f(type, books, width, r, ...), where r->group is a multiple of 8. */
#define WITH_FORM(f, r, ...)                                                                       \
    do {                                                                                           \
        if (is_usual(r, 1, 2)) WITH_TYPE(f, 1, 2, r, __VA_ARGS__);                                 \
        else if (is_usual(r, 2, 1)) WITH_TYPE(f, 2, 1, r, __VA_ARGS__);                            \
        else if (is_usual(r, 8, 1)) WITH_TYPE(f, 8, 1, r, __VA_ARGS__);                            \
        else if ((r)->type == NIB_F32) f(NIB_F32, 0, 0, r, __VA_ARGS__);                           \
        else WITH_TYPE(f, 0, 0, r, __VA_ARGS__);                                                   \
    } while (0)
#define WITH_TYPE(f, books, width, r, ...)                                                         \
    do {                                                                                           \
        if ((r)->type == NIB_F16) f(NIB_F16, books, width, r, __VA_ARGS__);                        \
        else f(NIB_BF16, books, width, r, __VA_ARGS__);                                            \
    } while (0)

NIB_INLINE void decode(nib_dtype type, unsigned books, unsigned width, const nib_additive_row *r,
                       size_t groups, float *dst)
{
    const __m256 scale = _mm256_set1_ps(r->scale);
    const uint8_t *codes = r->codes;

    for (size_t g = 0; g < groups; g++, codes += r->step, dst += r->group)
        for (size_t v = 0; v < (books ? 8 : r->group); v += 8)
            _mm256_storeu_ps(dst + v, _mm256_mul_ps(eight_of(type, books, width, r, codes, v),
                                                    scale));
}

void NIB_VARIANT(additive_decode)(const nib_additive_row *r, size_t groups, float *dst)
{
    if (r->group % 8) nib_additive_decode_ref(r, groups, dst);
    else WITH_FORM(decode, r, groups, dst);
}

/* --- panels --- */

NIB_INLINE void vectors_of(const __m256 eights[NIB_PANEL / 8], V to[PANEL_VECTORS])
{
#if defined(__AVX512F__)
    for (size_t i = 0; i < PANEL_VECTORS; i++)
        to[i] = _mm512_insertf32x8(_mm512_castps256_ps512(eights[2 * i]), eights[2 * i + 1], 1);
#else
    memcpy(to, eights, sizeof *to * PANEL_VECTORS);
#endif
}

NIB_INLINE void back(nib_dtype type, unsigned books, unsigned width, const nib_additive_row *r,
                     const nib_additive_column *c, size_t terms, nib_pack_kind pack, char *panel,
                     size_t strip)
{
    const size_t group = books ? 8 : r->group;

    for (size_t t = 0, count; t < terms; t += count) {
        V x[2][PANEL_VECTORS];
        count = nib_min(2, terms - t);
#pragma GCC unroll 2
        for (size_t i = 0; i < 2; i++) {
            size_t term = nib_min(t + i, terms - 1);
            const uint8_t *codes = r->codes + term * c->stride;
            const __m256 scale = _mm256_set1_ps(c->scales[term]);
            __m256 eights[NIB_PANEL / 8];
            _mm_prefetch((const char *)codes + ROWS_AHEAD * c->stride, _MM_HINT_T0);
#pragma GCC unroll 4
            for (size_t v = 0; v < NIB_PANEL; v += 8)
                eights[v / 8] = _mm256_mul_ps(
                    eight_of(type, books, width, r, codes + v / group * r->step, v % group), scale);
            vectors_of(eights, x[i]);
        }
        put_terms(pack, x, count, panel, strip, t);
    }
}

void NIB_VARIANT(additive_back)(const nib_additive_column *c, size_t terms, nib_pack_kind pack,
                                void *panel, size_t strip)
{
    const nib_additive_row *r = &c->first;
    size_t bytes = strip * nib_pack_value_bytes(pack);

    if (r->group % 8) nib_additive_back_ref(c, terms, pack, panel, strip);
    else WITH_FORM(back, r, c, terms, pack, panel, bytes);
}

/* --- dots --- */

/* The scale once a row, not once a value. */
NIB_INLINE void dot(size_t M, nib_dtype type, const nib_additive_row *r, size_t groups,
                    const float *x, float *y, size_t ldy)
{
    size_t in = groups * r->group;
    __m256 sums[4];

    for (size_t m = 0; m < M; m++) sums[m] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; g++)
        for (size_t v = 0; v < r->group; v += 8) {
            __m256 w = group_of(type, r, r->codes + g * r->step, v);
#pragma GCC unroll 4
            for (size_t m = 0; m < M; m++)
                sums[m] = _mm256_fmadd_ps(w, _mm256_loadu_ps(x + m * in + g * r->group + v),
                                          sums[m]);
        }
    for (size_t m = 0; m < M; m++) y[m * ldy] = sum_of(sums[m]) * r->scale;
}

/* Two sums a row of x: a product need not wait for the one before. */
NIB_INLINE void dot_usual(size_t M, nib_dtype type, unsigned books, unsigned width,
                          const nib_additive_row *r, size_t groups, const float *x, float *y,
                          size_t ldy)
{
    const uint8_t *codes = r->codes;
    __m256 sums[4][2];

#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++) sums[m][0] = sums[m][1] = _mm256_setzero_ps();
    for (size_t g = 0; g < groups; g += 2) {
        size_t two = nib_min(2, groups - g);
        if (g % 16 == 0) _mm_prefetch((const char *)codes + AHEAD, _MM_HINT_T0);
#pragma GCC unroll 2
        for (size_t i = 0; i < two; i++, codes += r->step) {
            __m256 w = eight_of(type, books, width, r, codes, 0);
#pragma GCC unroll 4
            for (size_t m = 0; m < M; m++)
                sums[m][i] = _mm256_fmadd_ps(
                    w, _mm256_loadu_ps(x + (m * groups + g + i) * 8), sums[m][i]);
        }
    }
#pragma GCC unroll 4
    for (size_t m = 0; m < M; m++)
        y[m * ldy] = sum_of(_mm256_add_ps(sums[m][0], sums[m][1])) * r->scale;
}

NIB_INLINE void dot_typed(size_t M, unsigned books, unsigned width, const nib_additive_row *r,
                          size_t groups, const float *x, float *y, size_t ldy)
{
    if (r->type == NIB_F16) dot_usual(M, NIB_F16, books, width, r, groups, x, y, ldy);
    else dot_usual(M, NIB_BF16, books, width, r, groups, x, y, ldy);
}

void NIB_VARIANT(additive_dot)(const nib_additive_row *r, size_t M, size_t groups, const float *x,
                               float *y, size_t ldy)
{
    if (is_usual(r, 1, 2)) NIB_WITH_ROWS(M, dot_typed, 1, 2, r, groups, x, y, ldy);
    else if (is_usual(r, 2, 1)) NIB_WITH_ROWS(M, dot_typed, 2, 1, r, groups, x, y, ldy);
    else if (is_usual(r, 8, 1)) NIB_WITH_ROWS(M, dot_typed, 8, 1, r, groups, x, y, ldy);
    else if (r->group % 8) nib_additive_dot_ref(r, M, groups, x, y, ldy);
    else if (r->type == NIB_F16) NIB_WITH_ROWS(M, dot, NIB_F16, r, groups, x, y, ldy);
    else if (r->type == NIB_BF16) NIB_WITH_ROWS(M, dot, NIB_BF16, r, groups, x, y, ldy);
    else NIB_WITH_ROWS(M, dot, NIB_F32, r, groups, x, y, ldy);
}
