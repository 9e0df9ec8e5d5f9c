/* elementwise_simd.h - the vector forms of elementwise.h; the body of elementwise_avx2.c and
 * elementwise_avx512.c.  Each lane sums its own channels, lanes are added at the end: the
 * order depends on the width only. */
#include <math.h>

#include "kernel/kernels.h"
#include "kernel/simd.h"

#define EACH(i, n, count)                                                                          \
    for (size_t i = 0, count; i < (n) && (count = nib_min(VN, (n)-i), true); i += VN)

/* Channels c .. c + n of the factor; past the end, where x and dy are 0, it does not count. */
NIB_INLINE V factor_of(bool one_plus, const float *w, size_t c, size_t n)
{
    V x = v_get(NIB_F32, w, c, n);
    return one_plus ? v_add(v_set(1), x) : x;
}
NIB_INLINE V rms_factor(nib_rms_form form, const float *w, size_t c, size_t n)
{
    return factor_of(form == NIB_RMS_ONE_PLUS, w, c, n);
}

/* f(form, ...) with the form as a constant where it is usual. */
#define WITH_FORM(f, form, ...)                                                                    \
    do {                                                                                           \
        if ((form) == NIB_RMS_ROUND_FIRST) f(NIB_RMS_ROUND_FIRST, __VA_ARGS__);                    \
        else f(form, __VA_ARGS__);                                                                 \
    } while (0)

NIB_INLINE void rms_norm_of(nib_rms_form form, nib_dtype type, size_t rows, size_t width,
                            const void *x, const float *w, float eps, void *y, float *r)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * width;
        V sum = v_zero(), scale;
        float s;
        EACH(c, width, n) { V a = v_get(type, x, at + c, n); sum = v_fma(a, a, sum); }
        s = 1 / sqrtf(v_sum(sum) / (float)width + eps);
        if (r) r[row] = s;
        scale = v_set(s);
        EACH(c, width, n) {
            V by = rms_factor(form, w, c, n), xn = v_mul(v_get(type, x, at + c, n), scale);
            v_put(type, y, at + c, n,
                  v_mul(by, form == NIB_RMS_ROUND_FIRST ? v_rounded(type, xn) : xn));
        }
    }
}

void NIB_VARIANT(rms_norm)(nib_dtype type, nib_rms_form form, size_t rows, size_t width,
                           const void *x, const float *w, float eps, void *y, float *r)
{
    WITH_FORM(rms_norm_of, form, type, rows, width, x, w, eps, y, r);
}

NIB_INLINE void rms_norm_back_of(nib_rms_form form, nib_dtype type, size_t rows, size_t width,
                                 const void *x, const float *w, const float *r, const void *dy,
                                 void *dx, bool accumulate, float *dw)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * width;
        V sum = v_zero(), scale = v_set(r[row]), mean;
        EACH(c, width, n)
            sum = v_fma(v_mul(v_get(type, x, at + c, n), scale),
                        v_mul(v_get(type, dy, at + c, n), rms_factor(form, w, c, n)), sum);
        mean = v_set(v_sum(sum) / (float)width);
        EACH(c, width, n) {
            V xn = v_mul(v_get(type, x, at + c, n), scale), d = v_get(type, dy, at + c, n);
            V g = v_mul(scale, v_sub(v_mul(d, rms_factor(form, w, c, n)), v_mul(xn, mean)));
            if (dw) v_put(NIB_F32, dw, c, n, v_fma(d, xn, v_get(NIB_F32, dw, c, n)));
            if (accumulate) g = v_add(g, v_get(type, dx, at + c, n));
            v_put(type, dx, at + c, n, g);
        }
    }
}

void NIB_VARIANT(rms_norm_back)(nib_dtype type, nib_rms_form form, size_t rows, size_t width,
                                const void *x, const float *w, const float *r, const void *dy,
                                void *dx, bool accumulate, float *dw)
{
    WITH_FORM(rms_norm_back_of, form, type, rows, width, x, w, r, dy, dx, accumulate, dw);
}

void NIB_VARIANT(layer_norm)(nib_dtype type, bool one_plus, size_t rows, size_t width,
                             const void *x, const float *w, const float *b, float eps, void *y,
                             float *mean, float *r)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * width;
        V sum = v_zero(), square = v_zero(), m, scale;
        float average, s;
        EACH(c, width, n) sum = v_add(sum, v_get(type, x, at + c, n));
        average = v_sum(sum) / (float)width;
        m = v_set(average);
        EACH(c, width, n) {
            V d = v_sub(v_get(type, x, at + c, n), m);
            if (n < VN) { /* lanes past the end hold -mean */
                float t[VN] = { 0 };
                v_store_n(t, d, n);
                d = v_load(t);
            }
            square = v_fma(d, d, square);
        }
        s = 1 / sqrtf(v_sum(square) / (float)width + eps);
        if (mean) mean[row] = average;
        if (r) r[row] = s;
        scale = v_set(s);
        EACH(c, width, n) {
            V xn = v_mul(v_sub(v_get(type, x, at + c, n), m), scale);
            v_put(type, y, at + c, n,
                  v_fma(xn, factor_of(one_plus, w, c, n),
                        b ? v_get(NIB_F32, b, c, n) : v_zero()));
        }
    }
}

void NIB_VARIANT(layer_norm_back)(nib_dtype type, bool one_plus, size_t rows, size_t width,
                                  const void *x, const float *w, const float *mean, const float *r,
                                  const void *dy, void *dx, bool accumulate, float *dw, float *db)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * width;
        V plain = v_zero(), against = v_zero(), m = v_set(mean[row]), scale = v_set(r[row]), p, q;
        EACH(c, width, n) {
            V g = v_mul(v_get(type, dy, at + c, n), factor_of(one_plus, w, c, n));
            plain = v_add(plain, g); /* 0 past the end */
            against = v_fma(g, v_mul(v_sub(v_get(type, x, at + c, n), m), scale), against);
        }
        p = v_set(v_sum(plain) / (float)width);
        q = v_set(v_sum(against) / (float)width);
        EACH(c, width, n) {
            V xn = v_mul(v_sub(v_get(type, x, at + c, n), m), scale),
              d = v_get(type, dy, at + c, n);
            V g = v_sub(v_sub(v_mul(d, factor_of(one_plus, w, c, n)), p), v_mul(xn, q));
            g = v_mul(scale, g);
            if (dw) v_put(NIB_F32, dw, c, n, v_fma(d, xn, v_get(NIB_F32, dw, c, n)));
            if (db) v_put(NIB_F32, db, c, n, v_add(d, v_get(NIB_F32, db, c, n)));
            if (accumulate) g = v_add(g, v_get(type, dx, at + c, n));
            v_put(type, dx, at + c, n, g);
        }
    }
}

/* --- activations --- */

/* Abramowitz and Stegun 7.1.26: error below 1.5e-7. */
NIB_INLINE V v_erf(V x)
{
    V a = v_abs(x), t = v_div(v_set(1), v_fma(v_set(0.3275911f), a, v_set(1))), p;
    p = v_fma(v_set(1.061405429f), t, v_set(-1.453152027f));
    p = v_fma(p, t, v_set(1.421413741f));
    p = v_fma(p, t, v_set(-0.284496736f));
    p = v_fma(p, t, v_set(0.254829592f));
    p = v_mul(v_mul(p, t), v_exp(v_sub(v_zero(), v_mul(a, a))));
    return v_copysign(v_sub(v_set(1), p), x);
}
NIB_INLINE V v_cubic(V x)
{
    return v_mul(v_set(0.79788456f), v_fma(v_mul(v_set(0.044715f), v_mul(x, x)), x, x));
}

NIB_INLINE V v_act(nib_activation a, V x)
{
    switch (a) {
    case NIB_ACT_SILU: return v_mul(x, v_sigmoid(x));
    case NIB_ACT_GELU:
        return v_mul(v_mul(v_set(0.5f), x), v_add(v_set(1), v_erf(v_mul(x, v_set(0.70710678f)))));
    case NIB_ACT_GELU_TANH:
        return v_mul(v_mul(v_set(0.5f), x), v_add(v_set(1), v_tanh(v_cubic(x))));
    case NIB_ACT_RELU: return v_max(v_zero(), x);
    case NIB_ACT_TANH: return v_tanh(x);
    case NIB_ACT_SIGMOID: return v_sigmoid(x);
    case NIB_ACT_NONE: return x;
    case NIB_ACT_RELU2: return v_mul(x, v_max(v_zero(), x));
    case NIB_ACT_QUICK_GELU: case NIB_ACT_COUNT: break;
    }
    return v_mul(x, v_sigmoid(v_mul(v_set(1.702f), x)));
}

/* SiLU of one or two vectors in place, and its slope. */
NIB_INLINE void v_silu_each(V *x, V *slope, int count)
{
    V s[2];

    v_sigmoid_each(x, s, count);
    for (int j = 0; j < count; j++)
        slope[j] = v_mul(s[j], v_fma(x[j], v_sub(v_set(1), s[j]), v_set(1)));
    for (int j = 0; j < count; j++) x[j] = v_mul(x[j], s[j]);
}

/* The bits of v_act(), and its slope. */
NIB_INLINE V v_act_and_slope(nib_activation a, V x, V *slope)
{
    const V one = v_set(1), half = v_set(0.5f);
    V s, t;

    switch (a) {
    case NIB_ACT_SILU: v_silu_each(&x, slope, 1); return x;
    case NIB_ACT_GELU:
        s = v_add(one, v_erf(v_mul(x, v_set(0.70710678f))));
        t = v_exp(v_mul(v_mul(v_set(-0.5f), x), x));
        *slope = v_fma(v_mul(x, v_set(0.39894228f)), t, v_mul(half, s));
        return v_mul(v_mul(half, x), s);
    case NIB_ACT_GELU_TANH:
        t = v_tanh(v_cubic(x));
        s = v_mul(v_set(0.79788456f), v_fma(v_mul(v_set(0.134145f), x), x, one));
        *slope = v_fma(v_mul(v_mul(half, x), v_sub(one, v_mul(t, t))), s,
                       v_mul(half, v_add(one, t)));
        return v_mul(v_mul(half, x), v_add(one, t));
    case NIB_ACT_RELU:
        *slope = v_min(one, v_max(v_zero(), v_mul(x, v_set(0x1p126f)))); /* 1 above 2^-126 */
        return v_max(v_zero(), x);
    case NIB_ACT_TANH:
        t = v_tanh(x);
        *slope = v_sub(one, v_mul(t, t));
        return t;
    case NIB_ACT_SIGMOID:
        s = v_sigmoid(x);
        *slope = v_mul(s, v_sub(one, s));
        return s;
    case NIB_ACT_NONE: *slope = one; return x;
    case NIB_ACT_RELU2:
        t = v_max(v_zero(), x);
        *slope = v_add(t, t);
        return v_mul(x, t);
    case NIB_ACT_QUICK_GELU: case NIB_ACT_COUNT: break;
    }
    s = v_sigmoid(v_mul(v_set(1.702f), x));
    *slope = v_mul(s, v_fma(v_mul(v_set(1.702f), x), v_sub(one, s), one));
    return v_mul(x, s);
}

/* Both of one or two vectors: x becomes the activation. */
NIB_INLINE void v_act_each(nib_activation a, V *x, V *slope, int count)
{
    if (a == NIB_ACT_SILU) v_silu_each(x, slope, count);
    else for (int j = 0; j < count; j++) x[j] = v_act_and_slope(a, x[j], &slope[j]);
}

/* Calls inline f(type, a, ...), with constants where it is usual. */
#define USUAL(f, type, a, ...)                                                                     \
    do {                                                                                           \
        if ((a) != NIB_ACT_SILU) f(type, a, __VA_ARGS__);                                          \
        else if ((type) == NIB_F32) f(NIB_F32, NIB_ACT_SILU, __VA_ARGS__);                         \
        else f(NIB_BF16, NIB_ACT_SILU, __VA_ARGS__);                                               \
    } while (0)

void NIB_VARIANT(activate)(nib_dtype type, nib_activation a, size_t count, const void *x, void *y)
{
    EACH(i, count, n) v_put(type, y, i, n, v_act(a, v_get(type, x, i, n)));
}

void NIB_VARIANT(activate_back)(nib_dtype type, nib_activation a, size_t count, const void *x,
                                const void *dy, void *dx, bool accumulate)
{
    EACH(i, count, n) {
        V slope, g;
        v_act_and_slope(a, v_get(type, x, i, n), &slope);
        g = v_mul(v_get(type, dy, i, n), slope);
        v_put(type, dx, i, n, accumulate ? v_add(g, v_get(type, dx, i, n)) : g);
    }
}

/* e^x - 1 for x <= 0, to an ulp or two: near 0 its series, where e^x would cancel. */
NIB_INLINE V v_expm1(V x)
{
    static const float terms[] = { 1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f };
    V p = v_set(1.0f / 40320);

    for (size_t i = 0; i < NIB_COUNT(terms); i++) p = v_fma(p, x, v_set(terms[i]));
    return v_if_less(x, v_set(-0.5f), v_sub(v_exp(x), v_set(1)), v_fma(v_mul(x, x), p, x));
}

void NIB_VARIANT(xielu)(nib_dtype type, const nib_xielu *p, size_t count, const void *x, void *y)
{
    const V positive = v_set(p->positive), negative = v_set(p->negative), beta = v_set(p->beta);

    EACH(i, count, n) {
        V a = v_get(type, x, i, n), below = v_sub(v_expm1(v_min(a, v_set(p->eps))), a);
        V bent = v_if_less(v_zero(), a, v_mul(v_mul(positive, a), a), v_mul(negative, below));
        v_put(type, y, i, n, v_fma(beta, a, bent));
    }
}

void NIB_VARIANT(xielu_back)(nib_dtype type, const nib_xielu *p, size_t count, const void *x,
                             const void *dy, void *dx, bool accumulate)
{
    const V twice = v_set(2 * p->positive), negative = v_set(p->negative), beta = v_set(p->beta);

    EACH(i, count, n) {
        V a = v_get(type, x, i, n), eps = v_set(p->eps), slope, g;
        slope = v_mul(negative, v_if_less(a, eps, v_expm1(v_min(a, eps)), v_set(-1)));
        slope = v_add(beta, v_if_less(v_zero(), a, v_mul(twice, a), slope));
        g = v_mul(v_get(type, dy, i, n), slope);
        v_put(type, dx, i, n, accumulate ? v_add(g, v_get(type, dx, i, n)) : g);
    }
}

/* One vector of n values, or `count` 2 whole ones, from i on. */
NIB_INLINE void gate_some(nib_dtype type, nib_activation a, int count, size_t i, size_t n,
                          const void *gate, const void *up, void *y)
{
    V x[2], unused[2];

    for (int j = 0; j < count; j++) x[j] = v_get(type, gate, i + (size_t)j * VN, n);
    v_act_each(a, x, unused, count);
    v_round_each(type, x, count);
    for (int j = 0; j < count; j++) x[j] = v_mul(x[j], v_get(type, up, i + (size_t)j * VN, n));
    v_put_each(type, y, i, n, x, count);
}

NIB_INLINE void gated_of(nib_dtype type, nib_activation a, size_t count, const void *gate,
                         const void *up, void *y)
{
    size_t i = 0;

    for (; i + 2 * VN <= count; i += 2 * VN) gate_some(type, a, 2, i, VN, gate, up, y);
    EACH(rest, count - i, n) gate_some(type, a, 1, i + rest, n, gate, up, y);
}

void NIB_VARIANT(gated)(nib_dtype type, nib_activation a, size_t count, const void *gate,
                        const void *up, void *y)
{
    USUAL(gated_of, type, a, count, gate, up, y);
}

/* Stores one or two vectors, or adds them. */
NIB_INLINE void v_give_each(nib_dtype type, void *x, size_t i, size_t n, V *a, int count, bool add)
{
    for (int j = 0; add && j < count; j++)
        a[j] = v_add(v_get(type, x, i + (size_t)j * VN, n), a[j]);
    v_put_each(type, x, i, n, a, count);
}

NIB_INLINE void gate_some_back(nib_dtype type, nib_activation a, int count, size_t i, size_t n,
                               const void *gate, const void *up, const void *dy, void *dgate,
                               bool add_gate, void *dup, bool add_up)
{
    V x[2], slope[2], d[2];

    for (int j = 0; j < count; j++) x[j] = v_get(type, gate, i + (size_t)j * VN, n);
    for (int j = 0; j < count; j++) d[j] = v_get(type, dy, i + (size_t)j * VN, n);
    v_act_each(a, x, slope, count);
    if (dup) {
        v_round_each(type, x, count);
        for (int j = 0; j < count; j++) x[j] = v_mul(d[j], x[j]);
    }
    if (dgate) {
        for (int j = 0; j < count; j++)
            slope[j] = v_mul(v_mul(d[j], v_get(type, up, i + (size_t)j * VN, n)), slope[j]);
        v_give_each(type, dgate, i, n, slope, count, add_gate);
    }
    if (dup) v_give_each(type, dup, i, n, x, count, add_up);
}

NIB_INLINE void gated_back_of(nib_dtype type, nib_activation a, size_t count, const void *gate,
                              const void *up, const void *dy, void *dgate, bool add_gate,
                              void *dup, bool add_up)
{
    size_t i = 0;

    for (; i + 2 * VN <= count; i += 2 * VN)
        gate_some_back(type, a, 2, i, VN, gate, up, dy, dgate, add_gate, dup, add_up);
    EACH(rest, count - i, n)
        gate_some_back(type, a, 1, i + rest, n, gate, up, dy, dgate, add_gate, dup, add_up);
}

void NIB_VARIANT(gated_back)(nib_dtype type, nib_activation a, size_t count, const void *gate,
                             const void *up, const void *dy, void *dgate, bool add_gate, void *dup,
                             bool add_up)
{
    if (add_gate || add_up)
        gated_back_of(type, a, count, gate, up, dy, dgate, add_gate, dup, add_up);
    else
        USUAL(gated_back_of, type, a, count, gate, up, dy, dgate, false, dup, false);
}

NIB_INLINE void rotate_of(nib_dtype type, size_t heads, size_t head_dim, size_t rot, bool inverse,
                          const float *cosine, const float *sine, const void *x, size_t x_stride,
                          void *y, size_t y_stride, bool add)
{
    const V sign = v_set(inverse ? -1.0f : 1.0f);

    for (size_t h = 0; h < heads; h++) {
        size_t from = h * x_stride, to = h * y_stride, half = rot / 2;
        EACH(j, half, n) {
            V p = v_get(type, x, from + j, n), q = v_get(type, x, from + half + j, n);
            V c = v_get(NIB_F32, cosine, j, n), s = v_mul(sign, v_get(NIB_F32, sine, j, n));
            V first = v_sub(v_mul(p, c), v_mul(q, s)), second = v_add(v_mul(q, c), v_mul(p, s));
            v_give_each(type, y, to + j, n, &first, 1, add);
            v_give_each(type, y, to + half + j, n, &second, 1, add);
        }
        if (head_dim > rot)
            EACH(c, head_dim - rot, n) {
                V rest = v_get(type, x, from + rot + c, n);
                v_give_each(type, y, to + rot + c, n, &rest, 1, add);
            }
    }
}

void NIB_VARIANT(rotate)(nib_dtype type, size_t heads, size_t head_dim, size_t rot,
                         bool interleaved, bool inverse, const float *cosine, const float *sine,
                         const void *x, size_t x_stride, void *y, size_t y_stride,
                         bool accumulate)
{
    if (interleaved) /* GPT-J: pairs side by side; a small part of its time */
        nib_rotate_ref(type, heads, head_dim, rot, true, inverse, cosine, sine, x, x_stride, y,
                       y_stride, accumulate);
    else if (accumulate)
        rotate_of(type, heads, head_dim, rot, inverse, cosine, sine, x, x_stride,
                  y, y_stride, true);
    else
        rotate_of(type, heads, head_dim, rot, inverse, cosine, sine, x, x_stride,
                  y, y_stride, false);
}

void NIB_VARIANT(add)(nib_dtype type, size_t count, const void *a, const void *b, void *y)
{
    EACH(i, count, n) v_put(type, y, i, n, v_add(v_get(type, a, i, n), v_get(type, b, i, n)));
}

void NIB_VARIANT(scale)(nib_dtype type, size_t count, float c, const void *x, void *y,
                        bool accumulate)
{
    EACH(i, count, n) {
        V a = v_mul(v_set(c), v_get(type, x, i, n));
        v_give_each(type, y, i, n, &a, 1, accumulate);
    }
}

void NIB_VARIANT(axpy)(size_t count, float s, const float *x, float *y)
{
    EACH(i, count, n)
    v_put(NIB_F32, y, i, n, v_fma(v_set(s), v_get(NIB_F32, x, i, n), v_get(NIB_F32, y, i, n)));
}

double NIB_VARIANT(sum_squares)(size_t count, const float *x)
{
    double sum = 0;
    for (size_t first = 0; first < count; first += 256) {
        V s = v_zero();
        EACH(i, nib_min(256, count - first), n)
        {
            V a = v_get(NIB_F32, x, first + i, n);
            s = v_fma(a, a, s);
        }
        sum += (double)v_sum(s);
    }
    return sum;
}

void NIB_VARIANT(logsumexp)(size_t count, const float *x, float *max, float *sum)
{
    V m = v_set(x[0]), s = v_zero();
    /* the tail is done singly */
    EACH(i, count, n) m = v_max(n == VN ? v_load(x + i) : v_set(x[i]), m);
    for (size_t i = count / VN * VN; i < count; i++) m = v_max(v_set(x[i]), m);
    *max = v_greatest(m);
    m = v_set(*max);
    for (size_t i = 0; i + VN <= count; i += VN) s = v_add(s, v_exp(v_sub(v_load(x + i), m)));
    *sum = v_sum(s);
    if (count % VN) {
        size_t n = count % VN;
        float t[VN];
        v_store(t, v_exp(v_sub(v_load_n(x + count - n, n), m)));
        for (size_t i = 0; i < n; i++) *sum += t[i];
    }
}

void NIB_VARIANT(cap_logits)(size_t count, float *x, float scale, float cap)
{
    V in = v_set(cap > 0 ? scale / cap : scale);

    EACH(i, count, n) {
        V a = v_mul(in, v_get(NIB_F32, x, i, n));
        v_put(NIB_F32, x, i, n, cap > 0 ? v_mul(v_set(cap), v_tanh(a)) : a);
    }
}

void NIB_VARIANT(softmax_scaled)(size_t count, float *x, float lse, float scale, float cap)
{
    V by = v_set(cap > 0 ? 1 / cap : 0);

    if (cap > 0) {
        EACH(i, count, n) {
            V a = v_get(NIB_F32, x, i, n), t = v_mul(a, by), p = v_exp(v_sub(a, v_set(lse)));
            p = v_mul(v_mul(v_set(scale), p), v_sub(v_set(1), v_mul(t, t)));
            v_put(NIB_F32, x, i, n, p);
        }
        return;
    }
    EACH(i, count, n)
    v_put(NIB_F32, x, i, n, v_mul(v_set(scale), v_exp(v_sub(v_get(NIB_F32, x, i, n), v_set(lse)))));
}

void NIB_VARIANT(adamw)(const nib_adamw *o, size_t count, float *p, const float *g, float *m,
                        float *v)
{
    V decay = v_set((float)(1 - o->lr * o->weight_decay)), step = v_set((float)(o->lr / o->bias1));
    V root = v_set((float)sqrt(o->bias2)), eps = v_set(o->eps), scale = v_set(o->grad_scale);
    V keep1 = v_set(o->rest1), beta2 = v_set(o->beta2), keep2 = v_set(o->rest2);

    EACH(i, count, n) {
        V gi = v_mul(v_get(NIB_F32, g, i, n), scale), mi = v_get(NIB_F32, m, i, n),
          vi = v_get(NIB_F32, v, i, n);
        mi = v_add(mi, v_mul(v_sub(gi, mi), keep1));
        vi = v_add(v_mul(vi, beta2), v_mul(v_mul(keep2, gi), gi));
        v_put(NIB_F32, m, i, n, mi);
        v_put(NIB_F32, v, i, n, vi);
        v_put(NIB_F32, p, i, n, v_sub(v_mul(v_get(NIB_F32, p, i, n), decay),
                                      v_mul(step, v_div(mi, v_add(v_div(v_sqrt(vi), root), eps)))));
    }
}

void NIB_VARIANT(to_bf16)(size_t count, const float *x, uint16_t *y)
{
    size_t i = 0;

    for (; i + 2 * VN <= count; i += 2 * VN)
        v_store2_bf16(y + i, v_load(x + i), v_load(x + i + VN));
    EACH(rest, count - i, n) v_put(NIB_BF16, y, i + rest, n, v_get(NIB_F32, x, i + rest, n));
}

void NIB_VARIANT(from_bf16)(size_t count, const uint16_t *x, float *y)
{
    EACH(i, count, n) v_put(NIB_F32, y, i, n, v_get(NIB_BF16, x, i, n));
}

void NIB_VARIANT(from_f16)(size_t count, const uint16_t *x, float *y)
{
    size_t i = 0;

    for (; i + VN <= count; i += VN) v_store(y + i, v_load_f16(x + i));
    nib_from_f16_ref(count - i, x + i, y + i);
}
