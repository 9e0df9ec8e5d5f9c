/* block_fit_avx2.c - the fits of values to the blocks of ggml: a lane for each of eight parts, so
 * that sums run in the order of the index. */
#include "kernel/kernels.h"
#include "kernel/simd.h"

enum { PARTS = NIB_FIT_PARTS, OFFSET = NIB_FIT_OFFSET, SIGNED = NIB_FIT_SIGNED };

/* --- lanes --- */

NIB_INLINE void turn(size_t n, const float *x, V to[])
{
    for (size_t i = 0; i < n; i++)
        to[i] = _mm256_setr_ps(x[i], x[n + i], x[2 * n + i], x[3 * n + i], x[4 * n + i],
                               x[5 * n + i], x[6 * n + i], x[7 * n + i]);
}

/* Codes of lanes where `where` is not 0. */
NIB_INLINE void put_codes(size_t n, const __m256i codes[], const float where[PARTS], uint8_t *to)
{
    for (size_t i = 0; i < n; i++) {
        int32_t lanes[PARTS];
        _mm256_storeu_si256((__m256i *)(void *)lanes, codes[i]);
        for (size_t j = 0; j < PARTS; j++)
            if (!where || where[j] != 0) to[j * n + i] = (uint8_t)lanes[j];
    }
}

/* nib_clamp(nib_nearest(x)): what has no integer is the least one in both. */
NIB_INLINE __m256i nearest(V x, int least, int most)
{
    return _mm256_min_epi32(_mm256_max_epi32(_mm256_cvtps_epi32(x), _mm256_set1_epi32(least)),
                            _mm256_set1_epi32(most));
}

NIB_INLINE V greater(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
NIB_INLINE V either(V mask, V yes, V no) { return _mm256_blendv_ps(no, yes, mask); }
NIB_INLINE V divided(V a, V b) { return _mm256_div_ps(a, b); }

/* --- a scale and a least value --- */

typedef struct values { V x[OFFSET], w[OFFSET]; } values;

NIB_INLINE void weigh(values *v)
{
    V sum = v_zero(), mean;

    for (size_t i = 0; i < OFFSET; i++) sum = v_add(sum, v_mul(v->x[i], v->x[i]));
    mean = _mm256_sqrt_ps(divided(sum, v_set(OFFSET)));
    for (size_t i = 0; i < OFFSET; i++) v->w[i] = v_add(mean, v_abs(v->x[i]));
}

/* How x becomes a code, and a code a value. */
typedef struct scaling { V iscale, least, scale1, least1; } scaling;

NIB_INLINE __m256i code_of(const scaling *s, V x, int most)
{
    return nearest(v_mul(s->iscale, v_sub(x, s->least)), 0, most);
}

NIB_INLINE V squared_error(const values *v, const V codes[OFFSET], const scaling *s)
{
    V error = v_zero();

    for (size_t i = 0; i < OFFSET; i++) {
        V d = v_sub(v_add(v_mul(s->scale1, codes[i]), s->least1), v->x[i]);
        error = v_add(error, v_mul(v->w[i], v_mul(d, d)));
    }
    return error;
}

/* The best scale and least value for the codes; lanes where there are such. */
NIB_INLINE V solve(const values *v, V all_w, V all_x, int most, scaling *s, V codes[OFFSET])
{
    V l = v_zero(), l2 = v_zero(), xl = v_zero(), d, above;

    for (size_t i = 0; i < OFFSET; i++) {
        V wl;
        codes[i] = _mm256_cvtepi32_ps(code_of(s, v->x[i], most));
        wl = v_mul(v->w[i], codes[i]);
        l = v_add(l, wl);
        l2 = v_add(l2, v_mul(wl, codes[i]));
        xl = v_add(xl, v_mul(wl, v->x[i]));
    }
    d = v_sub(v_mul(all_w, l2), v_mul(l, l));
    s->scale1 = divided(v_sub(v_mul(all_w, xl), v_mul(all_x, l)), d);
    s->least1 = divided(v_sub(v_mul(l2, all_x), v_mul(l, xl)), d);
    above = greater(s->least1, v_zero());
    s->scale1 = either(above, divided(xl, l2), s->scale1);
    s->least1 = either(above, v_zero(), s->least1);
    return greater(d, v_zero());
}

/* The best of all candidates: what its codes are made with, and what they decode with. */
NIB_INLINE scaling search(const nib_fit *f, const values *v, V all_w, V all_x, V least, V most)
{
    V range = v_sub(most, least), best, codes[OFFSET], now = least;
    scaling found = { .iscale = divided(v_set((float)f->most), range), .least = least,
                      .least1 = least };

    found.scale1 = divided(v_set(1), found.iscale);
    for (size_t i = 0; i < OFFSET; i++)
        codes[i] = _mm256_cvtepi32_ps(code_of(&found, v->x[i], f->most));
    best = squared_error(v, codes, &found);
    for (int step = 0; step <= f->steps; step++) {
        V levels = v_set(f->first + f->step * (float)step + (float)f->most), error, better;
        scaling s = { .iscale = divided(levels, v_sub(most, now)), .least = now };
        better = solve(v, all_w, all_x, f->most, &s, codes);
        error = squared_error(v, codes, &s);
        better = _mm256_and_ps(better, greater(best, error));
        best = either(better, error, best);
        found.iscale = either(better, s.iscale, found.iscale);
        found.least = either(better, s.least, found.least);
        found.scale1 = either(better, s.scale1, found.scale1);
        found.least1 = now = either(better, s.least1, now);
    }
    return found;
}

void nib_fit_offsets_avx2(const nib_fit *f, const float *x, const float *w, float scales[PARTS],
                          float below[PARTS], float sums[PARTS], uint8_t *codes)
{
    V least, most, all_w, all_x, same, minus = v_set(-0.0f);
    __m256i made[OFFSET];
    values v;
    scaling s;

    turn(OFFSET, x, v.x);
    if (w) turn(OFFSET, w, v.w);
    else weigh(&v);
    least = most = v.x[0];
    all_w = v.w[0];
    all_x = v_mul(v.w[0], v.x[0]);
    for (size_t i = 1; i < OFFSET; i++) {
        least = _mm256_min_ps(v.x[i], least);
        most = _mm256_max_ps(v.x[i], most);
        all_w = v_add(all_w, v.w[i]);
        all_x = v_add(all_x, v_mul(v.w[i], v.x[i]));
    }
    least = either(greater(least, v_zero()), v_zero(), least);
    same = _mm256_cmp_ps(most, least, _CMP_LE_OQ);
    s = search(f, &v, all_w, all_x, least, most);
    for (size_t i = 0; i < OFFSET; i++)
        made[i] = _mm256_andnot_si256(_mm256_castps_si256(same), code_of(&s, v.x[i], f->most));
    put_codes(OFFSET, made, NULL, codes);
    v_store(sums, all_w);
    v_store(scales, _mm256_andnot_ps(same, s.scale1));
    v_store(below, _mm256_xor_ps(either(same, least, s.least1), minus));
}

void nib_code_offsets_avx2(int most, const float *x, const float d[PARTS], const float dmin[PARTS],
                           uint8_t *codes)
{
    __m256i made[OFFSET];
    V turned[OFFSET];

    turn(OFFSET, x, turned);
    for (size_t i = 0; i < OFFSET; i++)
        made[i] = nearest(divided(v_add(turned[i], v_load(dmin)), v_load(d)), 0, most);
    put_codes(OFFSET, made, d, codes);
}

/* --- a scale around zero --- */

NIB_INLINE void signed_sums(const V x[SIGNED], const V w[SIGNED], V iscale, int levels, V *xl,
                            V *l2)
{
    *xl = *l2 = v_zero();
    for (size_t i = 0; i < SIGNED; i++) {
        V l = _mm256_cvtepi32_ps(nearest(v_mul(iscale, x[i]), -levels, levels - 1));
        *xl = v_add(*xl, v_mul(v_mul(w[i], x[i]), l));
        *l2 = v_add(*l2, v_mul(v_mul(w[i], l), l));
    }
}

/* The inverse scale of the smallest error; *scale: it. */
NIB_INLINE V signed_search(const V x[SIGNED], const V w[SIGNED], V largest, int levels, V *scale)
{
    V iscale = divided(v_set(-(float)levels), largest), xl, l2, best;

    signed_sums(x, w, iscale, levels, &xl, &l2);
    *scale = _mm256_and_ps(_mm256_cmp_ps(l2, v_zero(), _CMP_NEQ_UQ), divided(xl, l2));
    best = v_mul(*scale, xl);
    for (int i = -9; i <= 9; i++) {
        V tried = divided(v_set(-((float)levels + 0.1f * (float)i)), largest), better;
        if (!i) continue;
        signed_sums(x, w, tried, levels, &xl, &l2);
        better = _mm256_and_ps(greater(l2, v_zero()), greater(v_mul(xl, xl), v_mul(best, l2)));
        iscale = either(better, tried, iscale);
        *scale = either(better, divided(xl, l2), *scale);
        best = either(better, v_mul(*scale, xl), best);
    }
    return iscale;
}

void nib_fit_signs_avx2(int levels, const float *x, const float *w, float scales[PARTS],
                        uint8_t *codes)
{
    V turned[SIGNED], counts[SIGNED], most = v_zero(), largest = v_zero(), none, iscale, scale;
    __m256i made[SIGNED];

    turn(SIGNED, x, turned);
    if (w) turn(SIGNED, w, counts);
    for (size_t i = 0; i < SIGNED; i++) {
        V more = greater(v_abs(turned[i]), most);
        if (!w) counts[i] = v_mul(turned[i], turned[i]);
        most = either(more, v_abs(turned[i]), most);
        largest = either(more, turned[i], largest);
    }
    none = greater(v_set(1e-15f), most);
    iscale = signed_search(turned, counts, largest, levels, &scale);
    for (size_t i = 0; i < SIGNED; i++) {
        made[i] = nearest(v_mul(iscale, turned[i]), -levels, levels - 1);
        made[i] = _mm256_andnot_si256(_mm256_castps_si256(none),
                                      _mm256_add_epi32(made[i], _mm256_set1_epi32(levels)));
    }
    put_codes(SIGNED, made, NULL, codes);
    v_store(scales, _mm256_andnot_ps(none, scale));
}

void nib_code_signs_avx2(int levels, const float *x, const float d[PARTS], uint8_t *codes)
{
    __m256i made[SIGNED];
    V turned[SIGNED];

    turn(SIGNED, x, turned);
    for (size_t i = 0; i < SIGNED; i++)
        made[i] = _mm256_add_epi32(nearest(divided(turned[i], v_load(d)), -levels, levels - 1),
                                   _mm256_set1_epi32(levels));
    put_codes(SIGNED, made, d, codes);
}

/* --- Q8_0 and Q4_0 --- */

/* Integers from 0 to 255, of 32 values, as bytes in order. */
NIB_INLINE __m256i bytes_of(const __m256i of[4])
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i bytes = _mm256_packus_epi16(_mm256_packus_epi32(of[0], of[1]),
                                        _mm256_packus_epi32(of[2], of[3]));

    return _mm256_permutevar8x32_epi32(bytes, order);
}

/* Of 32 values; v: they. */
NIB_INLINE float greatest_of(const float *x, V v[4])
{
    for (size_t i = 0; i < 4; i++) v[i] = v_load(x + 8 * i);
    return v_greatest(v_max(v_max(v_abs(v[0]), v_abs(v[1])), v_max(v_abs(v[2]), v_abs(v[3]))));
}

/* roundf() as a byte: halves away from zero; 0 for what has no integer. */
NIB_INLINE __m256i rounded(V x)
{
    V whole = _mm256_round_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC), sign = v_set(-0.0f);
    V more = _mm256_cmp_ps(v_abs(v_sub(x, whole)), v_set(0.5f), _CMP_GE_OQ);
    V one = _mm256_or_ps(_mm256_and_ps(x, sign), v_set(1));

    return _mm256_and_si256(_mm256_cvtps_epi32(v_add(whole, _mm256_and_ps(more, one))),
                            _mm256_set1_epi32(255));
}

void nib_encode_q8_0_avx2(const float *x, uint8_t *block)
{
    __m256i codes[4];
    V v[4], by;
    float d = greatest_of(x, v) / 127;

    by = v_set(d != 0 ? 1 / d : 0);
    for (size_t i = 0; i < 4; i++) codes[i] = rounded(v_mul(v[i], by));
    _mm256_storeu_si256((__m256i *)(void *)nib_put_f16(block, d), bytes_of(codes));
}

/* The first of 32 values whose size is `most`. */
NIB_INLINE float first_of_size(const float *x, const V v[4], float most)
{
    uint32_t found = 0;

    for (size_t i = 0; i < 4; i++) {
        V same = _mm256_cmp_ps(v_abs(v[i]), v_set(most), _CMP_EQ_OQ);
        found |= (uint32_t)_mm256_movemask_ps(same) << 8 * i;
    }
    return found ? x[__builtin_ctz(found)] : 0;
}

void nib_encode_q4_0_avx2(const float *x, uint8_t *block)
{
    const __m256i low = _mm256_set1_epi32(15);
    __m256i codes[4], bytes;
    V v[4], by;
    float most = greatest_of(x, v), d = first_of_size(x, v, most) / -8;

    by = v_set(d != 0 ? 1 / d : 0);
    for (size_t i = 0; i < 4; i++) {
        codes[i] = _mm256_cvttps_epi32(v_add(v_mul(v[i], by), v_set(8.5f)));
        codes[i] = _mm256_and_si256(_mm256_min_epi32(codes[i], low), low);
    }
    bytes = bytes_of(codes);
    _mm_storeu_si128((__m128i *)(void *)nib_put_f16(block, d),
                     _mm_or_si128(_mm256_castsi256_si128(bytes),
                                  _mm_slli_epi16(_mm256_extracti128_si256(bytes, 1), 4)));
}
