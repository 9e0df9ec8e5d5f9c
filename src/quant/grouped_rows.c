/* grouped_rows.c - the product of few rows with grouped integers whose codes lie along a row. */
#include "kernel/grouped_row.h"

#include "quant/grouped.h"

enum {
    MOST_GROUPS = 512, /* of a row */
    ROWS_AHEAD = 4,    /* whose scales are fetched: a line or two a row, far from the codes, which
                          the processor does not see coming */
    LINE = 64
};

bool nib_grouped_by_rows(const nib_grouped *q, const nib_kernels *k)
{
    unsigned bits = nib_grouped_code_bits(q);
    size_t in = q->base.in, group = q->groups > 1 ? q->group : in;

    return k->grouped_row_dot && q->order == NIB_WORDS_ROWS && nib_grouped_row_takes(bits) &&
           (bits == 8 || !q->flip) && !q->per_word && !q->g_idx &&
           in % NIB_GROUPED_ROW_STEP == 0 && group % NIB_GROUPED_ROW_STEP == 0 &&
           in % group == 0 && q->groups <= MOST_GROUPS;
}

void nib_grouped_rows_ready(const nib_grouped *q, const nib_kernels *k, const void *x, void *ready)
{
    unsigned bits = nib_grouped_code_bits(q);

    k->arrange_fixed(q->base.in, nib_grouped_row_order(bits), x, ready);
    nib_grouped_row_repeat(bits, q->base.in, ready);
}

/* The values of an output's groups, which lie as scales do. */
static void values_of(const nib_grouped *q, const nib_kernels *k, const void *values, size_t o,
                      float to[MOST_GROUPS])
{
    size_t bytes = nib_dtype_bytes(q->scale_type);
    const char *ahead = (const char *)values + (o + ROWS_AHEAD) * q->scale_out * bytes;

    for (size_t at = 0; at < q->groups * bytes; at += LINE) __builtin_prefetch(ahead + at);
    nib_grouped_values(q, k, values, o * q->scale_out, q->scale_group, q->groups, to);
}

static void offsets_of(const nib_grouped *q, const nib_kernels *k, size_t o, const float *scales,
                       float to[MOST_GROUPS])
{
    if (q->biases) {
        values_of(q, k, q->biases, o, to);
        for (size_t g = 0; g < q->groups; g++) to[g] = -to[g];
        return;
    }
    for (size_t g = 0; g < q->groups; g++)
        to[g] = scales[g] * (float)(q->zeros ? q->zeros[g * q->base.out + o] : q->zero);
}

void nib_grouped_rows_dot(const nib_grouped *q, const nib_kernels *k, size_t M, const void *ready,
                          size_t r0, size_t r1, float *y, size_t ldy)
{
    float ones[NIB_DOT_ROWS * MOST_GROUPS], scales[MOST_GROUPS], offsets[MOST_GROUPS];
    size_t in = q->base.in, halves = in / q->groups / NIB_FIXED_HALF;
    const nib_fixed_x x = nib_fixed_x_at(ready, in, 0, in * sizeof(float));
    nib_grouped_row row = { .bits = nib_grouped_code_bits(q), .flip = (uint8_t)(q->flip & 255),
                            .terms = in, .group = in / q->groups, .scales = scales,
                            .offsets = offsets };

    for (size_t m = 0; m < M; m++) {
        const float *sums = nib_fixed_row(&x, m).sums;
        for (size_t g = 0; g < q->groups; g++, sums += halves) {
            float *sum = &ones[m * MOST_GROUPS + g];
            *sum = 0;
            for (size_t h = 0; h < halves; h++) *sum += sums[h];
        }
    }
    for (size_t o = r0; o < r1; o++) {
        row.codes = q->codes + o * q->row_bytes;
        values_of(q, k, q->scales, o, scales);
        offsets_of(q, k, o, scales, offsets);
        k->grouped_row_dot(&row, M, &x, ones, MOST_GROUPS, y + o - r0, ldy);
    }
}
