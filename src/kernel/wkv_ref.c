/* wkv_ref.c - RWKV's averages plainly; what the vector forms are held to. */
#include <math.h>

#include "kernel/kernels.h"

enum { WIDE = NIB_WKV_CHANNELS };

static void give(nib_dtype type, void *x, size_t i, float value, bool add)
{
    if (add) value += nib_get(type, x, i);
    nib_put(type, x, i, value);
}

/* The average of a token, its q, its own share and the denominator. */
typedef struct average { float y, q, own, den; } average;

static average average_of(const float *s, float u, float k, float v)
{
    float q = fmaxf(s[2 * WIDE], k + u), before = expf(s[2 * WIDE] - q), own = expf(k + u - q);
    float den = before * s[WIDE] + own;

    return (average){ (before * s[0] + own * v) / den, q, own, den };
}

static void step(const float *s, float w, float k, float v, float *to)
{
    float m = fmaxf(s[2 * WIDE] + w, k), before = expf(s[2 * WIDE] + w - m), own = expf(k - m);

    to[0] = before * s[0] + own * v;
    to[WIDE] = before * s[WIDE] + own;
    to[2 * WIDE] = m;
}

void nib_wkv_ref(const nib_wkv_args *a, float *state)
{
    for (size_t t = 0; t < a->tokens; t++)
        for (size_t c = 0; c < a->channels; c++) {
            float k = nib_get(a->type, a->k, t * a->k_stride + c),
                  v = nib_get(a->type, a->v, t * a->v_stride + c);
            give(a->type, a->y, t * a->y_stride + c,
                 average_of(state + c, a->first[c], k, v).y, false);
            step(state + c, a->decay[c], k, v, state + c);
        }
}

/* Channel c; s: its sums before each token. */
static void channel_back(const nib_wkv_args *a, size_t c, const float *s)
{
    float ga = 0, gb = 0, n = NIB_WKV_NONE, w = a->decay[c];

    for (size_t t = a->tokens; t-- > 0;) {
        float k = nib_get(a->type, a->k, t * a->k_stride + c),
              v = nib_get(a->type, a->v, t * a->v_stride + c);
        average m = average_of(s + t * 3 * WIDE, a->first[c], k, v);
        float d = nib_get(a->type, a->dy, t * a->y_stride + c) / m.den, p = m.own * d;
        float later = expf(k + n), to = fmaxf(-m.q, w + n);
        if (a->dv) give(a->type, a->dv, t * a->v_stride + c, p + later * ga, a->add_dv);
        if (a->dk)
            give(a->type, a->dk, t * a->k_stride + c, p * (v - m.y) + later * (ga * v + gb),
                 a->add_dk);
        d *= expf(-m.q - to);
        ga = d + expf(w + n - to) * ga;
        gb = expf(w + n - to) * gb - d * m.y;
        n = to;
    }
}

void nib_wkv_back_ref(const nib_wkv_args *a, float *scratch)
{
    for (size_t c = 0; c < a->channels; c++) {
        float *s = scratch + c;
        s[0] = s[WIDE] = 0;
        s[2 * WIDE] = NIB_WKV_NONE;
        for (size_t t = 0; t + 1 < a->tokens; t++)
            step(s + t * 3 * WIDE, a->decay[c], nib_get(a->type, a->k, t * a->k_stride + c),
                 nib_get(a->type, a->v, t * a->v_stride + c), s + (t + 1) * 3 * WIDE);
        channel_back(a, c, s);
    }
}
