/* grouped_dot.c - the product of few rows with grouped integers. */
#include "kernel/gemm.h"
#include "quant/grouped.h"

enum { DEPTH = 256 }; /* terms that are decoded at a time: a panel in the first cache */

nib_dot_kind nib_grouped_dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                                  nib_precision precision)
{
    bool high = type == NIB_BF16 || precision == NIB_PRECISION_HIGH; /* finer than bfloat16 */

    return high && nib_grouped_has_dot(nib_as_grouped(w), k) ? NIB_DOT_FIXED : NIB_DOT_FLOATS;
}

void nib_grouped_dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind,
                           const void *x, void *ready)
{
    const nib_grouped *q = nib_as_grouped(w);
    unsigned bits = q->options.maker == NIB_GROUPED_INT ? 8 : q->options.bits;

    if (kind == NIB_DOT_FIXED) k->arrange_fixed(w->in, (nib_fixed_order)bits, x, ready);
    else memcpy(ready, x, w->in * sizeof(float));
}

/* sums[m][n]: 32 outputs from r on, a panel of them at a time. */
static bool dot_panel(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                      const float *x, size_t r, float sums[NIB_DOT_ROWS * NIB_PANEL])
{
    float panel[DEPTH * NIB_PANEL];

    if (kind == NIB_DOT_FIXED) {
        nib_grouped_dot_panel(nib_as_grouped(w), k, M, x, w->in * sizeof *x, r, sums);
        return true;
    }
    for (size_t t = 0; t < w->in; t += DEPTH) {
        nib_pack p = { .kind = NIB_PACK_F32, .c0 = r, .t0 = t, .terms = nib_min(DEPTH, w->in - t) };
        if (!nib_grouped_pack(w, k, &p, panel)) return false;
        k->gemm_f32(M, NIB_PANEL, p.terms, x + t, w->in, panel, sums, NIB_PANEL, t > 0, NULL);
    }
    return true;
}

/* One output, decoded; sums[m * ld]. */
static void dot_row(const nib_weight *w, const nib_kernels *k, size_t M, const float *x, size_t r,
                    float *sums, size_t ld)
{
    float values[DEPTH];

    for (size_t m = 0; m < M; m++) sums[m * ld] = 0;
    for (size_t t = 0; t < w->in; t += DEPTH) {
        size_t n = nib_min(DEPTH, w->in - t);
        nib_grouped_decode_tile(w, r, r + 1, t, t + n, values, n);
        for (size_t m = 0; m < M; m++) sums[m * ld] += k->dot(n, x + m * w->in + t, values);
    }
}

/* An output is computed with the 32 it lies among, whichever are wanted: its bits are then the
 * same. */
void nib_grouped_dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                     const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    float sums[NIB_DOT_ROWS * NIB_PANEL];

    for (size_t r = r0, next; r < r1; r = next) {
        size_t first = r / NIB_PANEL * NIB_PANEL;
        next = nib_min(first + NIB_PANEL, r1);
        if (first + NIB_PANEL <= w->out && dot_panel(w, k, kind, M, ready, first, sums)) {
            for (size_t m = 0; m < M; m++)
                memcpy(y + m * ldy + r - r0, sums + m * NIB_PANEL + r - first,
                       (next - r) * sizeof *y);
            continue;
        }
        for (size_t n = r; n < next; n++) dot_row(w, k, M, ready, n, y + n - r0, ldy);
    }
}
