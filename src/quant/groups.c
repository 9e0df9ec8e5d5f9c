/* groups.c - see groups.h. */
#include "quant/groups.h"

static void decode_row(const nib_weight *w, size_t size, nib_decode_groups_fn *decode, size_t row,
                       size_t k0, size_t k1, float *dst)
{
    float values[NIB_GROUP_WIDEST];

    while (k0 < k1) {
        size_t skip = k0 % size, whole = (k1 - k0) / size, n = whole * size;

        if (!skip && whole) {
            decode(w, row, k0 / size, whole, dst);
        } else {
            n = nib_min(size - skip, k1 - k0);
            decode(w, row, k0 / size, 1, values);
            memcpy(dst, values + skip, n * sizeof *dst);
        }
        dst += n;
        k0 += n;
    }
}

void nib_decode_groups(const nib_weight *w, size_t size, nib_decode_groups_fn *decode, size_t r0,
                       size_t r1, size_t k0, size_t k1, float *dst, size_t ld)
{
    assert(r0 <= r1 && r1 <= w->out && k0 <= k1 && k1 <= w->in && size <= NIB_GROUP_WIDEST);
    for (size_t r = r0; r < r1; r++)
        decode_row(w, size, decode, r, k0, k1, dst + (r - r0) * ld);
}

/* For blocks_dot_bytes: the sums of halves become those of blocks. */
static void bytes_ready(size_t n, const nib_kernels *k, const float *x, void *ready)
{
    float *sums = (float *)(void *)((int16_t *)ready + n) + n / NIB_FIXED_BLOCK;

    k->arrange_fixed(n, NIB_FIXED_HALVES, x, ready);
    for (size_t b = 0; b < n / NIB_FIXED_BLOCK; b++) sums[b] = sums[2 * b] + sums[2 * b + 1];
}

void nib_dot_ready_plain(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind,
                         const void *x, void *ready)
{
    if (kind == NIB_DOT_FIXED) k->arrange_fixed(w->in, NIB_FIXED_EVEN_ODD, x, ready);
    else if (kind == NIB_DOT_BYTES) bytes_ready(w->in, k, x, ready);
    else memcpy(ready, x, w->in * sizeof(float));
}
