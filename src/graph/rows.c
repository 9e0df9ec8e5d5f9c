/* rows.c - runs of equal slots, and sums over rows divided by column. */
#include "graph/rows.h"

static size_t token_row(const nib_run *run, nib_axis axis, size_t row)
{
    return axis == NIB_AXIS_TOKENS ? row : run->batch->logit_index[row];
}

/* The last sequence that begins at or before a token row. */
size_t nib_run_sequence(const nib_run *run, nib_axis axis, size_t row, size_t *position)
{
    const uint32_t *offsets = run->batch->offsets;
    size_t t = token_row(run, axis, row), lo = 0, hi = run->batch->sequences;

    while (hi - lo > 1) {
        size_t middle = (lo + hi) / 2;
        if (offsets[middle] <= t) lo = middle;
        else hi = middle;
    }
    *position = t - offsets[lo];
    return lo;
}

unsigned nib_run_slot(const nib_run *run, nib_axis axis, size_t row, size_t *end)
{
    const nib_batch *b = run->batch;
    size_t rows = nib_run_rows(run, axis), s, position;
    unsigned slot;

    *end = rows;
    if (!b->slots) return 0;
    s = nib_run_sequence(run, axis, row, &position);
    slot = b->slots[s];
    while (s + 1 < b->sequences && b->slots[s + 1] == slot) s++;
    if (axis == NIB_AXIS_TOKENS) {
        *end = b->offsets[s + 1];
    } else {
        for (*end = row; *end < rows && b->logit_index[*end] < b->offsets[s + 1]; ++*end) continue;
    }
    return slot;
}

typedef struct sum_rows {
    size_t rows, width;
    nib_operand x;
    float *dst;
} sum_rows;

static void sum_rows_tile(void *arg, size_t tile, unsigned worker)
{
    const sum_rows *s = arg;
    size_t c0 = tile * 64, c1 = nib_min(c0 + 64, s->width);

    (void)worker;
    for (size_t r = 0; r < s->rows; r++) {
        const void *row = nib_operand_row(&s->x, r);
        for (size_t c = c0; c < c1; c++)
            s->dst[c] += s->x.type == NIB_F32 ? ((const float *)row)[c]
                                              : nib_bf16_to_f32(((const uint16_t *)row)[c]);
    }
}

void nib_sum_rows(nib_run *run, size_t rows, size_t width, nib_operand x, float *dst)
{
    sum_rows s = { rows, width, x, dst };
    nib_parallel_for(run->ctx, nib_ceil_div(width, 64), sum_rows_tile, &s);
}
