/* operand.c - rows widened and moved apart before they are multiplied. */
#include "quant/operand.h"

#include "base/thread.h"

enum { PAGE = 4096, LINE = 64 };

typedef struct copying {
    const nib_kernels *k;
    nib_operand from, to;
    size_t width;
    const float *gain; /* [width] or NULL */
    char *copy;        /* to.x */
} copying;

nib_dtype nib_operand_type(const nib_kernels *k, nib_dtype type, size_t width)
{
    return type == NIB_BF16 && k->gemm_bf16 && width % 2 == 0 ? NIB_BF16 : NIB_F32;
}

static bool on_pages(nib_dtype type, size_t width)
{
    return width * nib_dtype_bytes(type) % PAGE == 0;
}

/* Values from row to row of a copy. */
static size_t copy_ld(nib_dtype type, size_t width)
{
    return on_pages(type, width) ? width + LINE / nib_dtype_bytes(type) : width;
}

size_t nib_operand_bytes(const nib_kernels *k, nib_dtype type, size_t width, size_t max_rows)
{
    nib_dtype to = nib_operand_type(k, type, width);

    if (to == type && !on_pages(type, width)) return 0;
    return nib_round_up(max_rows * copy_ld(to, width) * nib_dtype_bytes(to), LINE);
}

static void copy_row(void *arg, size_t row, unsigned worker)
{
    const copying *c = arg;
    const void *from = nib_operand_row(&c->from, row);
    char *to = c->copy + row * c->to.ld * nib_dtype_bytes(c->to.type);

    (void)worker;
    if (c->to.type != c->from.type) c->k->from_bf16(c->width, from, (float *)(void *)to);
    else memcpy(to, from, c->width * nib_dtype_bytes(c->from.type));
}

bool nib_operand_is_ready(const nib_kernels *k, size_t width, nib_operand x)
{
    if (nib_operand_type(k, x.type, width) != x.type) return false;
    /* rows that do not follow each other lie as their owner wants them */
    return x.ld != width || !on_pages(x.type, width);
}

nib_operand nib_operand_place(const nib_kernels *k, size_t width, nib_operand x, void *space)
{
    nib_dtype type = nib_operand_type(k, x.type, width);

    return nib_operand_is_ready(k, width, x) ? x
                                             : (nib_operand){ space, copy_ld(type, width), type };
}

nib_operand nib_operand_ready(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t width,
                              nib_operand x, void *space)
{
    nib_operand to = nib_operand_place(k, width, x, space);
    copying c = { .k = k, .from = x, .to = to, .width = width, .copy = space };

    if (to.x != x.x) nib_parallel_for(ctx, rows, copy_row, &c);
    return to;
}

static void scale_row(void *arg, size_t row, unsigned worker)
{
    const copying *c = arg;
    const void *from = nib_operand_row(&c->from, row);
    char *to = c->copy + row * c->to.ld * nib_dtype_bytes(c->to.type);

    (void)worker;
    for (size_t i = 0; i < c->width; i++)
        nib_put(c->to.type, to, i, c->gain[i] * nib_get(c->from.type, from, i));
}

nib_operand nib_operand_scaled(nib_ctx *ctx, const nib_kernels *k, size_t rows, size_t width,
                               nib_operand x, const float *gain, void *space)
{
    nib_dtype type = nib_operand_type(k, x.type, width);
    nib_operand to = { space, copy_ld(type, width), type };
    copying c = { .k = k, .from = x, .to = to, .width = width, .gain = gain, .copy = space };

    nib_parallel_for(ctx, rows, scale_row, &c);
    return to;
}

size_t nib_operand_scaled_bytes(size_t width, size_t max_rows)
{
    size_t ld = nib_max(copy_ld(NIB_F32, width), copy_ld(NIB_BF16, width));

    return nib_round_up(max_rows * ld * sizeof(float), LINE);
}
