/* wkv.h - RWKV's weighted averages of values, channel by channel (formats.md 10.54).
 *
 *     y_t = (sum over i < t of e^((t-1-i) w + k_i) v_i + e^(u + k_t) v_t) / (the same without v)
 *
 * with w < 0.  Sums are kept as num e^m and den e^m with a running maximum m, so that nothing
 * overflows:  q = max(m, k + u),  y = (e^(m-q) num + e^(k+u-q) v) / (e^(m-q) den + e^(k+u-q));
 * m' = max(m + w, k),  num' = e^(m+w-m') num + e^(k-m') v,  den' likewise with 1.
 *
 * Backward computes the sums again and keeps those at the start of each chunk; chunk by chunk, the
 * last first, it computes those of its tokens and goes back over them with the gradients
 * A e^n and B e^n of both sums, whose maximum n runs too.  With D the denominator above and
 * p = e^(k+u-q) Dy / D:
 *
 *     Dv = p + e^(k+n) A        Dk = p (v - y) + e^(k+n) (A v + B)
 *     n' = max(-q, w + n)       A' = e^(-q-n') Dy / D + e^(w+n-n') A,  B' likewise with -y Dy / D
 *
 * where k + n <= 0, for every later q is at least k and the w between. */
#ifndef NIB_KERNEL_WKV_H
#define NIB_KERNEL_WKV_H

#include "base/base.h"
#include "base/dtype.h"

enum { NIB_WKV_CHANNELS = 64, NIB_WKV_CHUNK = 64 }; /* the most channels of a call; tokens */
#define NIB_WKV_NONE (-1e38f)   /* m of no tokens */

typedef struct nib_wkv_args {
    nib_dtype type;
    size_t tokens, channels;
    const float *decay, *first;   /* [channels] w = -e^time_decay, u */
    const void *k, *v;            /* [tokens, channels] */
    size_t k_stride, v_stride;    /* from token to token */
    void *y;
    size_t y_stride;
    /* backward alone */
    const void *dy;               /* with y's stride */
    void *dk, *dv;                /* with the strides of k and v; NULL: not wanted */
    bool add_dk, add_dv;
} nib_wkv_args;

static inline size_t nib_wkv_scratch(size_t tokens) /* floats, for backward */
{
    return 3 * NIB_WKV_CHANNELS * (nib_ceil_div(tokens, NIB_WKV_CHUNK) + NIB_WKV_CHUNK);
}

/* state [3, NIB_WKV_CHANNELS]: num, den, m before the tokens, and after them. */
typedef void nib_wkv_fn(const nib_wkv_args *a, float *state);
/* Of a sequence from its start. */
typedef void nib_wkv_back_fn(const nib_wkv_args *a, float *scratch);

#endif
