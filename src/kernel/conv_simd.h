/* conv_simd.h - the vector forms of conv.h; the body of conv_avx2.c and conv_avx512.c.  A lane is a
 * channel, so that no sum changes its order with the vectors' width. */
#include "kernel/kernels.h"
#include "kernel/simd.h"

/* Channels c .. c + n. */
NIB_INLINE V conv_sum(const nib_conv_args *a, nib_dtype in, size_t c, size_t n)
{
    V z = a->bias ? v_get(NIB_F32, a->bias, c, n) : v_zero();

    for (size_t j = 0; j < a->taps; j++)
        if (a->rows[j])
            z = v_fma(v_get(NIB_F32, a->w + j * a->stride, c, n), v_get(in, a->rows[j], c, n), z);
    return z;
}

NIB_INLINE void conv_of(const nib_conv_args *a, nib_dtype in, nib_dtype out, void *y,
                        bool accumulate)
{
    for (size_t c = 0; c < a->width; c += VN) {
        size_t n = nib_min(VN, a->width - c);
        V z = conv_sum(a, in, c, n);
        if (a->silu) z = v_mul(z, v_sigmoid(z));
        if (accumulate) z = v_add(z, v_get(out, y, c, n));
        v_put(out, y, c, n, z);
    }
}

void NIB_VARIANT(conv)(const nib_conv_args *a, void *y, bool accumulate)
{
    if (a->in == NIB_F32 && a->out == NIB_F32) conv_of(a, NIB_F32, NIB_F32, y, accumulate);
    else if (a->in == NIB_BF16) conv_of(a, NIB_BF16, a->out, y, accumulate);
    else conv_of(a, NIB_F32, a->out, y, accumulate);
}

void NIB_VARIANT(conv_slope)(const nib_conv_args *a, const void *dy, float *dz)
{
    for (size_t c = 0; c < a->width; c += VN) {
        size_t n = nib_min(VN, a->width - c);
        V z = conv_sum(a, a->in, c, n), s = v_sigmoid(z);
        V slope = v_mul(s, v_fma(z, v_sub(v_set(1), s), v_set(1)));
        v_put(NIB_F32, dz, c, n, v_mul(v_get(a->in, dy, c, n), slope));
    }
}
