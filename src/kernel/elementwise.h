/* elementwise.h - the arithmetic between the products, row by row.
 *
 * T is the compute type of the values: float32 or bfloat16 (nib_dtype argument
 * `type`); sums and transcendental functions are in float, results rounded once.
 * All calls work on one contiguous run of rows, know nothing of threads, cannot
 * fail, and allow in-place use where an argument says so. */
#ifndef NIB_KERNEL_ELEMENTWISE_H
#define NIB_KERNEL_ELEMENTWISE_H

#include "base/base.h"
#include "base/dtype.h"

/* The factor of x^ = x * r in an RMS norm, and where y is rounded to the type: the reference's
 * families differ in it (formats.md 10.3). */
typedef enum nib_rms_form {
    NIB_RMS_ROUND_FIRST, /* y = w * round(x^): llama and most */
    NIB_RMS_ROUND_LAST,  /* y = round(w * x^): olmo2 */
    NIB_RMS_ONE_PLUS     /* y = round((1 + w) * x^): gemma */
} nib_rms_form;
/* r = 1/sqrt(mean(x^2) + eps) [rows] is saved for backward (may be NULL).
 * x, y [rows, width] of `type`; w [width] float. */
typedef void nib_rms_norm_fn(nib_dtype type, nib_rms_form form, size_t rows, size_t width,
                             const void *x, const float *w, float eps, void *y, float *r);
/* dx (+)= gradient; dw [width] += when not NULL.  r from forward. */
typedef void nib_rms_norm_back_fn(nib_dtype type, nib_rms_form form, size_t rows, size_t width,
                                  const void *x, const float *w, const float *r, const void *dy,
                                  void *dx, bool accumulate, float *dw);
/* y = (x - mean) * r * w + b, biased variance; saves mean and r [rows] (may be NULL). b may be
 * NULL.  one_plus: 1 + w in place of w, which is nemotron's. */
typedef void nib_layer_norm_fn(nib_dtype type, bool one_plus, size_t rows, size_t width,
                               const void *x, const float *w, const float *b, float eps, void *y,
                               float *mean, float *r);
typedef void nib_layer_norm_back_fn(nib_dtype type, bool one_plus, size_t rows, size_t width,
                                    const void *x, const float *w, const float *mean,
                                    const float *r, const void *dy, void *dx, bool accumulate,
                                    float *dw, float *db);

typedef enum nib_activation {
    NIB_ACT_SILU, NIB_ACT_GELU /* exact, erf */, NIB_ACT_GELU_TANH, NIB_ACT_RELU,
    NIB_ACT_QUICK_GELU, NIB_ACT_TANH, NIB_ACT_SIGMOID, NIB_ACT_RELU2 /* max(x, 0)^2 */,
    NIB_ACT_NONE /* x itself */, NIB_ACT_COUNT
} nib_activation;
/* y = act(x); n values.  May be in place. */
typedef void nib_activate_fn(nib_dtype type, nib_activation act, size_t n, const void *x, void *y);
typedef void nib_activate_back_fn(nib_dtype type, nib_activation act, size_t n, const void *x,
                                  const void *dy, void *dx, bool accumulate);
/* xIELU (arXiv:2411.13010), with softplus taken of its learned numbers already:
 *     y = beta x + positive x^2                             x > 0
 *     y = beta x + negative (expm1(min(x, eps)) - x)        else; eps is just below 0
 * n values; y may be x. */
typedef struct nib_xielu { float positive, negative, beta, eps; } nib_xielu;
typedef void nib_xielu_fn(nib_dtype type, const nib_xielu *p, size_t n, const void *x, void *y);
typedef void nib_xielu_back_fn(nib_dtype type, const nib_xielu *p, size_t n, const void *x,
                               const void *dy, void *dx, bool accumulate);
/* y = round(act(gate)) * up, as the reference rounds. */
typedef void nib_gated_fn(nib_dtype type, nib_activation act, size_t n, const void *gate,
                          const void *up, void *y);
/* dgate and dup (+)= their gradients; either may be NULL, and both may be one when gate is up and
 * add_up is set. */
typedef void nib_gated_back_fn(nib_dtype type, nib_activation act, size_t n, const void *gate,
                               const void *up, const void *dy, void *dgate, bool add_gate,
                               void *dup, bool add_up);

/* Rotates one row of `heads` heads, in place or not: cos, sin [rot / 2] of that row's position.
 * half style: pairs (j, j + rot/2); interleaved: (2j, 2j + 1).  Channels >= rot pass through.
 * inverse: by the negative angle (backward).  accumulate: y += the result, and not in place. */
typedef void nib_rotate_fn(nib_dtype type, size_t heads, size_t head_dim, size_t rot,
                           bool interleaved, bool inverse, const float *cos, const float *sin,
                           const void *x, size_t x_head_stride, void *y, size_t y_head_stride,
                           bool accumulate);

/* y = a + b, rounded; n values.  y may be a. */
typedef void nib_add_fn(nib_dtype type, size_t n, const void *a, const void *b, void *y);
/* y (+)= c * x, rounded once; n values.  y may be x. */
typedef void nib_scale_fn(nib_dtype type, size_t n, float c, const void *x, void *y,
                          bool accumulate);
/* y += s * x in float; n values. */
typedef void nib_axpy_fn(size_t n, float s, const float *x, float *y);
/* Sum of squares in double order-fixed blocks of 256. */
typedef double nib_sum_squares_fn(size_t n, const float *x);

/* One row of logits [n] float: maximum, and sum of exp(x - max). */
typedef void nib_logsumexp_fn(size_t n, const float *x, float *max, float *sum);
/* In place: x = scale * x, or cap * tanh(scale * x / cap) when cap > 0. */
typedef void nib_cap_logits_fn(size_t n, float *x, float scale, float cap);
/* In place: x = slope * exp(x - lse) for n values, slope = scale, or scale * (1 - (x / cap)^2) when
 * cap > 0: the loss's gradient by logits as they were before nib_cap_logits_fn. */
typedef void nib_softmax_scaled_fn(size_t n, float *x, float lse, float scale, float cap);

/* AdamW as torch does it: decay first, then p -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps).
 * g is multiplied by grad_scale first (1 / supervised tokens, clipping). */
typedef struct nib_adamw {
    float beta1, beta2, eps, grad_scale;
    double lr, weight_decay; /* 1 - lr wd and lr / bias1 are rounded once, as torch's scalars are */
    double bias1, bias2;     /* 1 - beta^t, computed in double */
    float rest1, rest2;      /* 1 - beta, subtracted in double and rounded once, as torch does */
} nib_adamw;
typedef void nib_adamw_fn(const nib_adamw *o, size_t n, float *p, const float *g, float *m,
                          float *v);

/* n values between F32 and BF16, rounding to nearest even. */
typedef void nib_to_bf16_fn(size_t n, const float *x, uint16_t *y);
typedef void nib_from_bf16_fn(size_t n, const uint16_t *x, float *y);
typedef void nib_from_f16_fn(size_t n, const uint16_t *x, float *y);

#endif
