/* grouped_dot.c - the product of few rows with grouped integers. */
#include "kernel/gemm.h"
#include "quant/grouped.h"

enum {
    DEPTH = 256, /* terms that are decoded at a time: a panel in the first cache */
    ROWS = 8     /* of words that are read at a time, which the processor fetches ahead alone */
};

nib_dot_kind nib_grouped_dot_kind(const nib_weight *w, const nib_kernels *k, nib_dtype type,
                                  nib_precision precision)
{
    bool high = type == NIB_BF16 || precision == NIB_PRECISION_HIGH; /* finer than bfloat16 */

    bool has = nib_grouped_has_dot(nib_as_grouped(w), k) ||
               nib_grouped_by_rows(nib_as_grouped(w), k);

    return high && has ? NIB_DOT_FIXED : NIB_DOT_FLOATS;
}

void nib_grouped_dot_ready(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind,
                           const void *x, void *ready)
{
    const nib_grouped *q = nib_as_grouped(w);
    nib_fixed_order order = q->order == NIB_WORDS_OUT ? NIB_FIXED_IN_ORDER
                                                      : (nib_fixed_order)nib_grouped_code_bits(q);

    if (kind == NIB_DOT_FIXED && nib_grouped_by_rows(q, k)) nib_grouped_rows_ready(q, k, x, ready);
    else if (kind == NIB_DOT_FIXED) k->arrange_fixed(w->in, order, x, ready);
    else memcpy(ready, x, w->in * sizeof(float));
}

bool nib_grouped_dot_wide(const nib_weight *w) { return nib_as_grouped(w)->order == NIB_WORDS_OUT; }

/* --- in fixed point --- */

/* Words down the inputs: a row of them is read as far as a tile goes, a few rows at a time, for the
 * next row may lie pages behind. */
static void dot_down(const nib_grouped *q, const nib_kernels *k, size_t M, const void *x,
                     size_t ldx, size_t o0, size_t count, float *sums)
{
    unsigned bits = nib_grouped_code_bits(q);
    size_t in = q->base.in, piece = ROWS * 32 / bits / 32 * 32, some;
    float scales[NIB_DOT_OUTPUTS], zeros[NIB_DOT_OUTPUTS];

    for (size_t t = 0; t < in; t += some) {
        const nib_fixed_x at = nib_fixed_x_at(x, in, t, ldx);
        size_t group = q->groups > 1 ? t / q->group : 0;
        size_t left = q->groups > 1 ? (group + 1) * q->group - t : in - t;
        some = nib_min(nib_min(piece, left), in - t);
        if (t == 0 || (q->groups > 1 && t % q->group == 0)) {
            nib_grouped_scales(q, k, group, o0, count, scales);
            nib_grouped_zeros(q, k, group, o0, count, zeros);
        }
        const nib_grouped_codes c = {
            .words = q->codes + t * bits / 32 * q->row_bytes + o0 * 4, .next = q->row_bytes,
            .other = 4, .second = NIB_STRIP * 4, .bits = bits, .flip = q->flip, .scales = scales,
            .zeros = zeros, .biased = q->biases, .group = nib_round_up(some, NIB_FIXED_BLOCK),
        };
        k->grouped_dot(&c, some, M, &at, count, sums);
    }
}

/* Words along the outputs, a group at a time. */
static void dot_across(const nib_grouped *q, const nib_kernels *k, size_t M, const void *x,
                       size_t ldx, size_t o0, size_t count, float *sums)
{
    float scales[NIB_DOT_SUMS], zeros[NIB_DOT_SUMS];
    float room[NIB_DOT_SUMS + NIB_DOT_ROWS * NIB_AWQ_STRIP];
    size_t in = q->base.in, step = q->groups > 1 ? q->group : in;

    for (size_t t = 0; t < in; t += step) {
        const nib_fixed_x at = nib_fixed_x_at(x, in, t, ldx);
        const nib_awq_group g = { .rows = q->codes + t * q->row_bytes + o0 / 2,
                                  .next = q->row_bytes, .inputs = nib_min(step, in - t),
                                  .outputs = count, .scales = scales, .zeros = zeros };
        nib_grouped_scales(q, k, t / step, o0, count, scales);
        nib_grouped_zeros(q, k, t / step, o0, count, zeros);
        k->awq_dot(&g, M, &at, room, sums);
    }
}

static void dot_fixed(const nib_weight *w, const nib_kernels *k, size_t M, const void *x, size_t o0,
                      size_t count, float *sums)
{
    const nib_grouped *q = nib_as_grouped(w);
    size_t ldx = w->in * sizeof(float);

    memset(sums, 0, M * count * sizeof *sums);
    if (q->order == NIB_WORDS_DOWN) dot_down(q, k, M, x, ldx, o0, count, sums);
    if (q->order == NIB_WORDS_OUT) dot_across(q, k, M, x, ldx, o0, count, sums);
    for (size_t n = 0; n < count && q->order == NIB_WORDS_ROWS; n += NIB_PANEL)
        nib_grouped_dot_rows(q, k, M, x, ldx, o0 + n, sums + n * M);
}

/* An output is computed with the 32 it lies among, whichever are wanted: its bits are then the
 * same. */
static void dot_panels(const nib_weight *w, const nib_kernels *k, size_t M, const void *ready,
                       size_t r0, size_t r1, float *y, size_t ldy)
{
    float sums[NIB_DOT_SUMS]; /* [panel][M][32] */
    size_t most = nib_grouped_dot_wide(w) ? NIB_DOT_SUMS / M / NIB_PANEL * NIB_PANEL
                                          : NIB_DOT_OUTPUTS;
    size_t first, count;

    for (size_t r = r0; r < r1; r = first + count) {
        first = r / NIB_PANEL * NIB_PANEL;
        count = nib_min(nib_round_up(r1, NIB_PANEL) - first, most);
        dot_fixed(w, k, M, ready, first, count, sums);
        for (size_t n = r; n < nib_min(r1, first + count); n++)
            for (size_t m = 0; m < M; m++)
                y[m * ldy + n - r0] = sums[((n - first) / NIB_PANEL * M + m) * NIB_PANEL +
                                           (n - first) % NIB_PANEL];
    }
}

/* --- in floats --- */

/* sums[m][n]: 32 outputs from r on, a panel of them at a time. */
static bool dot_panel(const nib_weight *w, const nib_kernels *k, size_t M, const float *x, size_t r,
                      float sums[NIB_DOT_ROWS * NIB_PANEL])
{
    float panel[DEPTH * NIB_PANEL];

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

void nib_grouped_dot(const nib_weight *w, const nib_kernels *k, nib_dot_kind kind, size_t M,
                     const void *ready, size_t r0, size_t r1, float *y, size_t ldy)
{
    float sums[NIB_DOT_ROWS * NIB_PANEL];

    if (kind == NIB_DOT_FIXED && nib_grouped_by_rows(nib_as_grouped(w), k)) {
        nib_grouped_rows_dot(nib_as_grouped(w), k, M, ready, r0, r1, y, ldy);
        return;
    }
    if (kind == NIB_DOT_FIXED) {
        dot_panels(w, k, M, ready, r0, r1, y, ldy);
        return;
    }
    for (size_t r = r0, next; r < r1; r = next) {
        size_t first = r / NIB_PANEL * NIB_PANEL;
        next = nib_min(first + NIB_PANEL, r1);
        if (first + NIB_PANEL <= w->out && dot_panel(w, k, M, ready, first, sums)) {
            for (size_t m = 0; m < M; m++)
                memcpy(y + m * ldy + r - r0, sums + m * NIB_PANEL + r - first,
                       (next - r) * sizeof *y);
            continue;
        }
        for (size_t n = r; n < next; n++) dot_row(w, k, M, ready, n, y + n - r0, ldy);
    }
}
