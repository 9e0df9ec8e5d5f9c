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

/* The gradients of both sums: A, B and n. */
typedef struct later { float a, b, n; } later;

/* Channel c of tokens t0 .. t1; s: its sums before each of them. */
static void chunk_back(const nib_wkv_args *a, size_t c, size_t t0, size_t t1, const float *s,
                       later *g)
{
    float w = a->decay[c];

    for (size_t t = t1; t-- > t0;) {
        float k = nib_get(a->type, a->k, t * a->k_stride + c),
              v = nib_get(a->type, a->v, t * a->v_stride + c);
        average m = average_of(s + (t - t0) * 3 * WIDE, a->first[c], k, v);
        float d = nib_get(a->type, a->dy, t * a->y_stride + c) / m.den, p = m.own * d;
        float of = expf(k + g->n), to = fmaxf(-m.q, w + g->n);
        if (a->dv) give(a->type, a->dv, t * a->v_stride + c, p + of * g->a, a->add_dv);
        if (a->dk)
            give(a->type, a->dk, t * a->k_stride + c, p * (v - m.y) + of * (g->a * v + g->b),
                 a->add_dk);
        d *= expf(-m.q - to);
        g->a = d + expf(w + g->n - to) * g->a;
        g->b = expf(w + g->n - to) * g->b - d * m.y;
        g->n = to;
    }
}

/* Channel c: from its sums at s before token t those before each of the next, up to `count` of
 * them, `every` apart, at s + 3 * WIDE and so on. */
static void sums_ahead(const nib_wkv_args *a, size_t c, size_t t, size_t count, size_t every,
                       float *s)
{
    for (size_t i = 1; i < count; i++, s += 3 * WIDE) {
        const float *from = s;
        for (size_t j = 0; j < every; j++, t++, from = s + 3 * WIDE)
            step(from, a->decay[c], nib_get(a->type, a->k, t * a->k_stride + c),
                 nib_get(a->type, a->v, t * a->v_stride + c), s + 3 * WIDE);
    }
}

void nib_wkv_back_ref(const nib_wkv_args *a, float *scratch)
{
    size_t chunks = nib_ceil_div(a->tokens, NIB_WKV_CHUNK);
    float *inside = scratch + chunks * 3 * WIDE;

    for (size_t c = 0; c < a->channels; c++) {
        float *s = scratch + c;
        later g = { 0, 0, NIB_WKV_NONE };
        s[0] = s[WIDE] = 0;
        s[2 * WIDE] = NIB_WKV_NONE;
        sums_ahead(a, c, 0, chunks, NIB_WKV_CHUNK, s);
        for (size_t i = chunks; i-- > 0;) {
            size_t t0 = i * NIB_WKV_CHUNK, t1 = nib_min(t0 + NIB_WKV_CHUNK, a->tokens);
            for (size_t k = 0; k < 3; k++) inside[k * WIDE + c] = s[(3 * i + k) * WIDE];
            sums_ahead(a, c, t0, t1 - t0, 1, inside + c);
            chunk_back(a, c, t0, t1, inside + c, &g);
        }
    }
}
