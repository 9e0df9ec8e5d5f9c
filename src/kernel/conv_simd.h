/* conv_simd.h - the vector forms of conv.h; the body of conv_avx2.c and conv_avx512.c.  A lane is a
 * channel, so that no sum changes its order with the vectors' width.  Two vectors go side by side:
 * each step of a sigmoid waits for the one before. */
#include "kernel/kernels.h"
#include "kernel/simd.h"

/* `count` vectors from channel c on, of n channels each. */
NIB_INLINE void conv_sums(const nib_conv_args *a, nib_dtype in, size_t c, size_t n, int count,
                          V z[2])
{
    for (int i = 0; i < count; i++)
        z[i] = a->bias ? v_get(NIB_F32, a->bias, c + (size_t)i * VN, n) : v_zero();
    for (size_t j = 0; j < a->taps; j++) {
        const float *w = a->w + j * a->stride;
        if (!a->rows[j]) continue;
        for (int i = 0; i < count; i++) {
            size_t at = c + (size_t)i * VN;
            z[i] = v_fma(v_get(NIB_F32, w, at, n), v_get(in, a->rows[j], at, n), z[i]);
        }
    }
}

NIB_INLINE void conv_piece(const nib_conv_args *a, nib_dtype in, nib_dtype out, size_t c, size_t n,
                           int count, void *y, bool accumulate)
{
    V z[2], s[2];

    conv_sums(a, in, c, n, count, z);
    if (a->silu) v_sigmoid_each(z, s, count);
    for (int i = 0; i < count; i++) {
        if (a->silu) z[i] = v_mul(z[i], s[i]);
        if (accumulate) z[i] = v_add(z[i], v_get(out, y, c + (size_t)i * VN, n));
    }
    v_put_each(out, y, c, n, z, count);
}

NIB_INLINE void conv_of(const nib_conv_args *a, nib_dtype in, nib_dtype out, void *y,
                        bool accumulate)
{
    size_t c = 0;

    for (; c + 2 * VN <= a->width; c += 2 * VN) conv_piece(a, in, out, c, VN, 2, y, accumulate);
    for (; c < a->width; c += VN)
        conv_piece(a, in, out, c, nib_min(VN, a->width - c), 1, y, accumulate);
}

void NIB_VARIANT(conv)(const nib_conv_args *a, void *y, bool accumulate)
{
    if (a->in == NIB_F32 && a->out == NIB_F32) conv_of(a, NIB_F32, NIB_F32, y, accumulate);
    else if (a->in == NIB_BF16) conv_of(a, NIB_BF16, a->out, y, accumulate);
    else conv_of(a, NIB_F32, a->out, y, accumulate);
}

NIB_INLINE void slope_piece(const nib_conv_args *a, nib_dtype in, size_t c, size_t n, int count,
                            const void *dy, float *dz)
{
    V z[2], s[2];

    conv_sums(a, in, c, n, count, z);
    v_sigmoid_each(z, s, count);
    for (int i = 0; i < count; i++) {
        size_t at = c + (size_t)i * VN;
        V slope = v_mul(s[i], v_fma(z[i], v_sub(v_set(1), s[i]), v_set(1)));
        v_put(NIB_F32, dz, at, n, v_mul(v_get(in, dy, at, n), slope));
    }
}

NIB_INLINE void slope_of(const nib_conv_args *a, nib_dtype in, const void *dy, float *dz)
{
    size_t c = 0;

    for (; c + 2 * VN <= a->width; c += 2 * VN) slope_piece(a, in, c, VN, 2, dy, dz);
    for (; c < a->width; c += VN) slope_piece(a, in, c, nib_min(VN, a->width - c), 1, dy, dz);
}

void NIB_VARIANT(conv_slope)(const nib_conv_args *a, const void *dy, float *dz)
{
    if (a->in == NIB_F32) slope_of(a, NIB_F32, dy, dz);
    else slope_of(a, NIB_BF16, dy, dz);
}
