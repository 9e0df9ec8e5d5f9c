/* scan_simd.h - the vector forms of scan.h's recurrence; the body of scan_avx2.c and scan_avx512.c.
 * A lane is a column of S.  Backward is scan_back_simd.h. */
#include <math.h>
#include <string.h>

#include "kernel/kernels.h"
#include "kernel/scan_columns.h"

/* S^T k: two rows side by side, for each sum waits for the one before. */
NIB_INLINE void read_rows(size_t rows, const float *s, const float *k, V r[NV])
{
    V odd[NV];
    size_t i = 0;

    for (size_t j = 0; j < NV; j++) r[j] = odd[j] = v_zero();
    for (; i + 2 <= rows; i += 2) {
        V first = v_set(k[i]), second = v_set(k[i + 1]);
        for (size_t j = 0; j < NV; j++) r[j] = v_fma(v_load(s + i * WIDE + j * VN), first, r[j]);
        for (size_t j = 0; j < NV; j++)
            odd[j] = v_fma(v_load(s + (i + 1) * WIDE + j * VN), second, odd[j]);
    }
    for (; i < rows; i++)
        for (size_t j = 0; j < NV; j++)
            r[j] = v_fma(v_load(s + i * WIDE + j * VN), v_set(k[i]), r[j]);
    for (size_t j = 0; j < NV; j++) r[j] = v_add(r[j], odd[j]);
}

/* r and d of a token. */
NIB_INLINE void make_difference(const nib_scan_args *a, size_t t, const float *s, const V v[NV],
                                V r[NV], V d[NV])
{
    V fade = v_set(a->fade[t * a->gate_stride]), beta = v_set(a->beta[t * a->gate_stride]);

    if (a->delta) read_rows(a->rows, s, a->k + t * a->qk_stride, r);
    for (size_t j = 0; j < NV; j++) {
        r[j] = a->delta ? v_mul(fade, r[j]) : v_zero();
        d[j] = v_mul(beta, v_sub(v[j], r[j]));
    }
}

NIB_INLINE void step_out(const nib_scan_args *a, size_t t, float *s)
{
    const float *q = a->q + t * a->qk_stride, *k = a->k + t * a->qk_stride;
    V v[NV], r[NV], d[NV], o[NV], fade = v_set(a->fade[t * a->gate_stride]);

    load_columns(a->type, a->v, t * a->v_stride, a->columns, v);
    make_difference(a, t, s, v, r, d);
    for (size_t j = 0; j < NV; j++) o[j] = v_mul(v_set(a->skip), v[j]);
    for (size_t i = 0; i < a->rows; i++) {
        V by = v_set(k[i]), read = v_set(q[i]);
        for (size_t j = 0; j < NV; j++) {
            size_t at = i * WIDE + j * VN;
            V x = v_fma(by, d[j], v_mul(fade, v_load(s + at)));
            v_store(s + at, x);
            o[j] = v_fma(read, x, o[j]);
        }
    }
    store_columns(a->type, a->o, t * a->o_stride, a->columns, o);
}

void NIB_VARIANT(scan)(const nib_scan_args *a, float *state)
{
    for (size_t t = 0; t < a->tokens; t++) step_out(a, t, state);
}

/* --- vectors of length 1 --- */

NIB_INLINE float inverse_length(nib_dtype type, size_t count, const void *x)
{
    V sum = v_zero();

    for (size_t i = 0; i < count; i += VN) {
        V a = v_get(type, x, i, nib_min(VN, count - i));
        sum = v_fma(a, a, sum);
    }
    return 1 / sqrtf(v_sum(sum) + 1e-6f);
}

void NIB_VARIANT(unit)(nib_dtype type, size_t count, const void *x, float scale, float *y)
{
    V by = v_set(scale * inverse_length(type, count, x));

    for (size_t i = 0; i < count; i += VN) {
        size_t n = nib_min(VN, count - i);
        v_put(NIB_F32, y, i, n, v_mul(by, v_get(type, x, i, n)));
    }
}

void NIB_VARIANT(unit_back)(nib_dtype type, size_t count, const void *x, float scale,
                            const float *dy, void *dx, bool accumulate)
{
    float length = inverse_length(type, count, x);
    V by = v_set(length), sum = v_zero(), along, factor = v_set(scale * length);

    for (size_t i = 0; i < count; i += VN) {
        size_t n = nib_min(VN, count - i);
        sum = v_fma(v_mul(by, v_get(type, x, i, n)), v_get(NIB_F32, dy, i, n), sum);
    }
    along = v_set(v_sum(sum));
    for (size_t i = 0; i < count; i += VN) {
        size_t n = nib_min(VN, count - i);
        V u = v_mul(by, v_get(type, x, i, n));
        V d = v_mul(factor, v_sub(v_get(NIB_F32, dy, i, n), v_mul(u, along)));
        v_put(type, dx, i, n, accumulate ? v_add(v_get(type, dx, i, n), d) : d);
    }
}
