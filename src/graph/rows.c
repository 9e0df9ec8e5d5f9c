/* rows.c - runs of rows that are alike, and sums over rows divided by column. */
#include "graph/rows.h"

#include "graph/state.h"

/* The last sequence that begins at or before the row. */
size_t nib_run_sequence(const nib_run *run, nib_axis axis, size_t row, size_t *position)
{
    const nib_axis_info *info = &run->graph->axes[axis];
    const uint32_t *offsets = run->batch->axes[info->parent].offsets;
    size_t lo = 0, hi = run->batch->sequences;

    *position = 0;
    if (info->kind == NIB_AXIS_SEQUENCES) return row;
    if (info->kind == NIB_AXIS_SPAN) return *position = row, 0; /* all are of one slot */
    if (info->kind == NIB_AXIS_PICKED) row = run->batch->axes[axis].picks[row];
    while (hi - lo > 1) {
        size_t middle = (lo + hi) / 2;
        if (offsets[middle] <= row) lo = middle;
        else hi = middle;
    }
    *position = row - offsets[lo];
    return lo;
}

/* The first row of the axis that belongs to a sequence after `s`; no row before `row` does. */
static size_t sequence_end(const nib_run *run, nib_axis axis, size_t row, size_t s)
{
    const nib_axis_info *info = &run->graph->axes[axis];
    const nib_axis_rows *rows = &run->batch->axes[axis];

    if (info->kind == NIB_AXIS_SEQUENCES) return s + 1;
    if (info->kind == NIB_AXIS_SPAN) return nib_run_rows(run, axis);
    if (info->kind == NIB_AXIS_GIVEN) return rows->offsets[s + 1];
    while (row < rows->count && rows->picks[row] < run->batch->axes[info->parent].offsets[s + 1])
        row++;
    return row;
}

size_t nib_run_length(const nib_run *run, nib_axis axis, size_t sequence)
{
    const uint32_t *offsets = run->batch->axes[axis].offsets;
    const nib_state *state = nib_batch_state(run->batch, sequence);
    size_t length = offsets[sequence + 1] - offsets[sequence];

    return state ? nib_max(state->tokens + length, state->reach) : length;
}

static unsigned slot_of(const nib_batch *b, size_t s) { return b->slots ? b->slots[s] : 0; }
static bool is_generated(const nib_batch *b, size_t s) { return b->generated && b->generated[s]; }

nib_row_run nib_run_alike(const nib_run *run, nib_axis axis, size_t row)
{
    const nib_batch *b = run->batch;
    nib_row_run r = { .end = nib_run_rows(run, axis) };
    size_t s, position;

    if (!b->slots && !b->generated) return r;
    s = nib_run_sequence(run, axis, row, &position);
    r.slot = slot_of(b, s);
    r.generated = is_generated(b, s);
    while (s + 1 < b->sequences && slot_of(b, s + 1) == r.slot &&
           is_generated(b, s + 1) == r.generated)
        s++;
    r.end = sequence_end(run, axis, row, s);
    return r;
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
