/* elementwise_ref.c - the arithmetic between the products, plainly; what the vector forms are
 * held to.  Sums in double. */
#include <math.h>

#include "kernel/kernels.h"

static float rounded(nib_dtype type, float value)
{
    return type == NIB_F32 ? value : nib_round_bf16(value);
}

static void put_or_add(nib_dtype type, void *x, size_t i, float value, bool add)
{
    nib_put(type, x, i, add ? nib_get(type, x, i) + value : value);
}

static float factor(bool one_plus, float w) { return one_plus ? 1 + w : w; }

static float rms_factor(nib_rms_form form, float w) { return factor(form == NIB_RMS_ONE_PLUS, w); }

void nib_rms_norm_ref(nib_dtype type, nib_rms_form form, size_t rows, size_t width, const void *x,
                      const float *w, float eps, void *y, float *r)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * width;
        double sum = 0;
        float scale;
        for (size_t c = 0; c < width; c++)
            sum += (double)nib_get(type, x, at + c) * (double)nib_get(type, x, at + c);
        scale = 1 / sqrtf((float)(sum / (double)width) + eps);
        if (r) r[row] = scale;
        for (size_t c = 0; c < width; c++) {
            float xn = nib_get(type, x, at + c) * scale;
            if (form == NIB_RMS_ROUND_FIRST) xn = rounded(type, xn);
            nib_put(type, y, at + c, rms_factor(form, w[c]) * xn);
        }
    }
}

/* With x^ = x r:  dx = r (w dy - x^ mean(x^ w dy)). */
void nib_rms_norm_back_ref(nib_dtype type, nib_rms_form form, size_t rows, size_t width,
                           const void *x, const float *w, const float *r, const void *dy, void *dx,
                           bool accumulate, float *dw)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * width;
        double sum = 0;
        for (size_t c = 0; c < width; c++)
            sum += (double)(nib_get(type, x, at + c) * r[row]) *
                   (double)(nib_get(type, dy, at + c) * rms_factor(form, w[c]));
        sum /= (double)width;
        for (size_t c = 0; c < width; c++) {
            float xn = nib_get(type, x, at + c) * r[row], d = nib_get(type, dy, at + c);
            if (dw) dw[c] += d * xn;
            put_or_add(type, dx, at + c, r[row] * (d * rms_factor(form, w[c]) - xn * (float)sum),
                       accumulate);
        }
    }
}

void nib_layer_norm_ref(nib_dtype type, bool one_plus, size_t rows, size_t width, const void *x,
                        const float *w, const float *b, float eps, void *y, float *mean, float *r)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * width;
        double sum = 0, square = 0;
        float m, scale;
        for (size_t c = 0; c < width; c++) sum += (double)nib_get(type, x, at + c);
        m = (float)(sum / (double)width);
        for (size_t c = 0; c < width; c++) {
            double d = (double)nib_get(type, x, at + c) - (double)m;
            square += d * d;
        }
        scale = 1 / sqrtf((float)(square / (double)width) + eps);
        if (mean) mean[row] = m;
        if (r) r[row] = scale;
        for (size_t c = 0; c < width; c++)
            nib_put(type, y, at + c,
                    (nib_get(type, x, at + c) - m) * scale * factor(one_plus, w[c]) +
                        (b ? b[c] : 0));
    }
}

/* With x^ = (x - mean) r and g = w dy:  dx = r (g - mean(g) - x^ mean(g x^)). */
void nib_layer_norm_back_ref(nib_dtype type, bool one_plus, size_t rows, size_t width,
                             const void *x, const float *w, const float *mean, const float *r,
                             const void *dy, void *dx, bool accumulate, float *dw, float *db)
{
    for (size_t row = 0; row < rows; row++) {
        size_t at = row * width;
        double plain = 0, against = 0;
        for (size_t c = 0; c < width; c++) {
            double g = (double)(nib_get(type, dy, at + c) * factor(one_plus, w[c]));
            plain += g;
            against += g * (double)((nib_get(type, x, at + c) - mean[row]) * r[row]);
        }
        plain /= (double)width;
        against /= (double)width;
        for (size_t c = 0; c < width; c++) {
            float xn = (nib_get(type, x, at + c) - mean[row]) * r[row],
                  d = nib_get(type, dy, at + c);
            if (dw) dw[c] += d * xn;
            if (db) db[c] += d;
            put_or_add(type, dx, at + c,
                       r[row] * (d * factor(one_plus, w[c]) - (float)plain - xn * (float)against),
                       accumulate);
        }
    }
}

static float sigmoid(float x) { return 1 / (1 + expf(-x)); }

static float act(nib_activation a, float x)
{
    switch (a) {
    case NIB_ACT_SILU: return x * sigmoid(x);
    case NIB_ACT_GELU: return 0.5f * x * (1 + erff(x * 0.70710678f));
    case NIB_ACT_GELU_TANH:
        return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case NIB_ACT_RELU: return x > 0 || x != x ? x : 0;
    case NIB_ACT_TANH: return tanhf(x);
    case NIB_ACT_SIGMOID: return sigmoid(x);
    case NIB_ACT_NONE: return x;
    case NIB_ACT_RELU2: return x > 0 || x != x ? x * x : 0;
    case NIB_ACT_QUICK_GELU: case NIB_ACT_COUNT: break;
    }
    return x * sigmoid(1.702f * x);
}

static float act_slope(nib_activation a, float x)
{
    float s, t;

    switch (a) {
    case NIB_ACT_SILU:
        s = sigmoid(x);
        return s * (1 + x * (1 - s));
    case NIB_ACT_GELU:
        return 0.5f * (1 + erff(x * 0.70710678f)) + x * 0.39894228f * expf(-0.5f * x * x);
    case NIB_ACT_GELU_TANH:
        t = tanhf(0.79788456f * (x + 0.044715f * x * x * x));
        return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * 0.79788456f * (1 + 0.134145f * x * x);
    case NIB_ACT_RELU: return x > 0;
    case NIB_ACT_TANH:
        t = tanhf(x);
        return 1 - t * t;
    case NIB_ACT_SIGMOID:
        s = sigmoid(x);
        return s * (1 - s);
    case NIB_ACT_NONE: return 1;
    case NIB_ACT_RELU2: return x > 0 ? 2 * x : 0;
    case NIB_ACT_QUICK_GELU: case NIB_ACT_COUNT: break;
    }
    s = sigmoid(1.702f * x);
    return s * (1 + 1.702f * x * (1 - s));
}

void nib_activate_ref(nib_dtype type, nib_activation a, size_t n, const void *x, void *y)
{
    for (size_t i = 0; i < n; i++) nib_put(type, y, i, act(a, nib_get(type, x, i)));
}

void nib_activate_back_ref(nib_dtype type, nib_activation a, size_t n, const void *x,
                           const void *dy, void *dx, bool accumulate)
{
    for (size_t i = 0; i < n; i++)
        put_or_add(type, dx, i, nib_get(type, dy, i) * act_slope(a, nib_get(type, x, i)),
                   accumulate);
}

void nib_xielu_ref(nib_dtype type, const nib_xielu *p, size_t n, const void *x, void *y)
{
    for (size_t i = 0; i < n; i++) {
        float a = nib_get(type, x, i);
        nib_put(type, y, i,
                p->beta * a + (a > 0 ? p->positive * a * a
                                     : p->negative * (expm1f(a < p->eps ? a : p->eps) - a)));
    }
}

/* Between eps and 0 the exponential stands still; it is e^x - 1 below. */
void nib_xielu_back_ref(nib_dtype type, const nib_xielu *p, size_t n, const void *x,
                        const void *dy, void *dx, bool accumulate)
{
    for (size_t i = 0; i < n; i++) {
        float a = nib_get(type, x, i);
        float slope = a > 0 ? 2 * p->positive * a : a < p->eps ? p->negative * expm1f(a)
                                                               : -p->negative;
        put_or_add(type, dx, i, nib_get(type, dy, i) * (p->beta + slope), accumulate);
    }
}

void nib_gated_ref(nib_dtype type, nib_activation a, size_t n, const void *gate, const void *up,
                   void *y)
{
    for (size_t i = 0; i < n; i++)
        nib_put(type, y, i, rounded(type, act(a, nib_get(type, gate, i))) * nib_get(type, up, i));
}

void nib_gated_back_ref(nib_dtype type, nib_activation a, size_t n, const void *gate,
                        const void *up, const void *dy, void *dgate, bool add_gate, void *dup,
                        bool add_up)
{
    for (size_t i = 0; i < n; i++) {
        float d = nib_get(type, dy, i), g = nib_get(type, gate, i), u = nib_get(type, up, i);
        if (dgate) put_or_add(type, dgate, i, d * u * act_slope(a, g), add_gate);
        if (dup) put_or_add(type, dup, i, d * rounded(type, act(a, g)), add_up);
    }
}

void nib_rotate_ref(nib_dtype type, size_t heads, size_t head_dim, size_t rot, bool interleaved,
                    bool inverse, const float *cosine, const float *sine, const void *x,
                    size_t x_stride, void *y, size_t y_stride, bool accumulate)
{
    for (size_t h = 0; h < heads; h++) {
        for (size_t j = 0; j < rot / 2; j++) {
            size_t a = interleaved ? 2 * j : j, b = interleaved ? 2 * j + 1 : j + rot / 2;
            float s = inverse ? -sine[j] : sine[j];
            float p = nib_get(type, x, h * x_stride + a), q = nib_get(type, x, h * x_stride + b);
            put_or_add(type, y, h * y_stride + a, p * cosine[j] - q * s, accumulate);
            put_or_add(type, y, h * y_stride + b, q * cosine[j] + p * s, accumulate);
        }
        for (size_t c = rot; c < head_dim; c++)
            put_or_add(type, y, h * y_stride + c, nib_get(type, x, h * x_stride + c), accumulate);
    }
}

void nib_add_ref(nib_dtype type, size_t n, const void *a, const void *b, void *y)
{
    for (size_t i = 0; i < n; i++) nib_put(type, y, i, nib_get(type, a, i) + nib_get(type, b, i));
}

void nib_scale_ref(nib_dtype type, size_t n, float c, const void *x, void *y, bool accumulate)
{
    for (size_t i = 0; i < n; i++) put_or_add(type, y, i, c * nib_get(type, x, i), accumulate);
}

void nib_axpy_ref(size_t n, float s, const float *x, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] += s * x[i];
}

double nib_sum_squares_ref(size_t n, const float *x)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

void nib_logsumexp_ref(size_t n, const float *x, float *max, float *sum)
{
    float m = x[0];
    double s = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > m) m = x[i];
    for (size_t i = 0; i < n; i++) s += exp((double)x[i] - (double)m);
    *max = m;
    *sum = (float)s;
}

void nib_cap_logits_ref(size_t n, float *x, float scale, float cap)
{
    for (size_t i = 0; i < n; i++)
        x[i] = cap > 0 ? cap * tanhf(scale * x[i] / cap) : scale * x[i];
}

void nib_softmax_scaled_ref(size_t n, float *x, float lse, float scale, float cap)
{
    for (size_t i = 0; i < n; i++) {
        float t = cap > 0 ? x[i] / cap : 0;
        x[i] = scale * (1 - t * t) * expf(x[i] - lse);
    }
}

void nib_adamw_ref(const nib_adamw *o, size_t n, float *p, const float *g, float *m, float *v)
{
    float decay = (float)(1 - o->lr * o->weight_decay), step = (float)(o->lr / o->bias1);
    float root = (float)sqrt(o->bias2);

    for (size_t i = 0; i < n; i++) {
        float gi = g[i] * o->grad_scale;
        m[i] += (gi - m[i]) * o->rest1; /* torch's lerp */
        v[i] = v[i] * o->beta2 + o->rest2 * gi * gi;
        p[i] = p[i] * decay - step * (m[i] / (sqrtf(v[i]) / root + o->eps));
    }
}

void nib_to_bf16_ref(size_t n, const float *x, uint16_t *y)
{
    for (size_t i = 0; i < n; i++) y[i] = nib_f32_to_bf16(x[i]);
}

void nib_from_bf16_ref(size_t n, const uint16_t *x, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = nib_bf16_to_f32(x[i]);
}

void nib_from_f16_ref(size_t n, const uint16_t *x, float *y)
{
    for (size_t i = 0; i < n; i++) y[i] = nib_f16_to_f32(x[i]);
}
