/* conv.h - one row of a depthwise causal convolution: each channel by itself, over the rows before.
 *
 *     z[c] = b[c] + sum over j < k of w[j, c] * x_j[c]        y = z, or z * sigmoid(z)
 *
 * x_0 .. x_(k-1) are k rows one after another, of which the last is the row's own; one that lies
 * before the sequence's start is NULL, and counts as zeros.  Sums are in float, the result is
 * rounded once.  Backward without an activation is the same sum over rows behind: the same kernel.
 * Cannot fail, knows nothing of threads. */
#ifndef NIB_KERNEL_CONV_H
#define NIB_KERNEL_CONV_H

#include "base/base.h"
#include "base/dtype.h"

enum { NIB_MOST_TAPS = 16 };

typedef struct nib_conv_args {
    size_t width, taps;
    size_t stride;                     /* from tap to tap of w */
    const float *w, *bias;             /* [taps, width]; [width] or NULL */
    bool silu;
    nib_dtype in, out;
    const void *rows[NIB_MOST_TAPS];   /* [width] of `in` each, or NULL */
} nib_conv_args;

/* y [width] of `out`; accumulate: adds to it. */
typedef void nib_conv_fn(const nib_conv_args *a, void *y, bool accumulate);
/* dz = dy * silu'(z), in float; dy [width] of `in`. */
typedef void nib_conv_slope_fn(const nib_conv_args *a, const void *dy, float *dz);

#endif
