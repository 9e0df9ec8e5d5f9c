/* blank.c - planning over weights that are not there, and random ones in their place. */
#include "model/blank.h"

#include "base/thread.h"
#include "quant/bnb4.h"

/* splitmix64 (Steele, Lea, Flood 2014): the n-th number of a stream. */
static uint64_t number(uint64_t seed, uint64_t n)
{
    uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Four values a number, even over +-0.035: the deviation of 0.02 that models are initialised
 * with. */
static void decode_random(const nib_weight *w, size_t r0, size_t r1, size_t k0, size_t k1,
                          float *dst, size_t ld)
{
    for (size_t r = r0; r < r1; r++) {
        uint64_t seed = r * 0x2545f4914f6cdd1du + w->out, bits = 0;
        float *row = dst + (r - r0) * ld;
        for (size_t k = k0; k < k1; k++) {
            if (k == k0 || k % 4 == 0) bits = number(seed, k / 4) >> 16 * (k % 4);
            row[k - k0] = (float)(int16_t)(bits & 0xffff) * (0.035f / 32768);
            bits >>= 16;
        }
    }
}

static void destroy(nib_ctx *ctx, nib_weight *w) { nib_free(ctx, w); }

static const nib_scheme scheme = { .name = "blank", .decode_tile = decode_random, .destroy = destroy };

/* What it is to become is kept in as.bnb4: blocksize 0 is dense, nested_offset 1 double
 * quantization. */
nib_status nib_blank_create(nib_ctx *ctx, size_t out, size_t in, const nib_bnb4_options *four,
                            nib_dtype dtype, nib_weight **w, nib_error *err)
{
    uint64_t elements, bytes, blocks;
    nib_weight *made;

    if (four && !nib_bnb4_blocksize_known(four->blocksize))
        return nib_fail(err, NIB_E_INVALID,
                        "block size %u; 32, 64, 128, 256, 512, 1024, 2048 and 4096 are known",
                        four->blocksize);
    if (!nib_mul_u64(out, in, &elements) || !nib_mul_u64(elements, 4, &bytes) ||
        bytes > SIZE_MAX / 2)
        return nib_fail(err, NIB_E_FORMAT, "a weight of %zu x %zu values is too large", out, in);
    made = nib_new(ctx, sizeof *made);
    if (!made) return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", out, in);
    made->scheme = &scheme;
    made->out = out;
    made->in = in;
    made->source = "";
    bytes = elements * nib_dtype_bytes(dtype);
    made->as.bnb4.dtype = dtype;
    if (four) {
        blocks = (elements + four->blocksize - 1) / four->blocksize;
        bytes = (elements + 1) / 2 +
                (four->double_quant ? blocks + (blocks + 255) / 256 * 4 : 4 * blocks);
        made->as.bnb4.blocksize = four->blocksize;
        made->as.bnb4.is_fp4 = four->fp4;
        made->as.bnb4.nested_offset = four->double_quant ? 1 : 0;
    }
    made->resident_bytes = (size_t)bytes;
    *w = made;
    return NIB_OK;
}

/* --- filling --- */

static void random_rows(void *arg, size_t r0, size_t r1, float *dst)
{
    const nib_weight *w = arg;
    decode_random(w, r0, r1, 0, w->in, dst, w->in);
}

typedef struct dense_fill {
    const nib_weight *w;
    uint8_t *to;
    float *rows;
    nib_dtype dtype;
} dense_fill;

static void fill_row(void *arg, size_t row, unsigned worker)
{
    const dense_fill *f = arg;
    float *values = f->rows + worker * f->w->in;

    random_rows((void *)(uintptr_t)f->w, row, row + 1, values);
    nib_convert(f->to + row * f->w->in * nib_dtype_bytes(f->dtype), f->dtype, values, NIB_F32,
                f->w->in);
}

static nib_status fill_dense(nib_ctx *ctx, const nib_weight *blank, nib_weight **out,
                             nib_error *err)
{
    nib_dtype dtype = blank->as.bnb4.dtype;
    void *data = nib_alloc(ctx, blank->resident_bytes);
    float *rows = nib_new_array(ctx, nib_threads(ctx) * blank->in, sizeof *rows);
    nib_status status;

    if (!data || !rows) {
        status = nib_fail(err, NIB_E_NOMEM, "random weight of %zu x %zu: out of memory", blank->out,
                          blank->in);
    } else {
        nib_parallel_for(ctx, blank->out, fill_row, &(dense_fill){ blank, data, rows, dtype });
        status = nib_weight_dense(ctx, blank->out, blank->in, dtype, data, data, out, err);
        if (!status) data = NULL; /* handed over */
    }
    nib_free(ctx, rows);
    nib_free(ctx, data);
    return status;
}

static nib_status fill(nib_ctx *ctx, nib_weight **w, nib_error *err)
{
    nib_weight *blank = *w, *filled = NULL;
    const nib_bnb4 *b = &blank->as.bnb4;
    nib_bnb4_options four = { .fp4 = b->is_fp4, .double_quant = b->nested_offset != 0, .blocksize = b->blocksize, .dtype = b->dtype };
    nib_status status;

    if (blank->scheme != &scheme) return NIB_OK;
    if (!b->blocksize) status = fill_dense(ctx, blank, &filled, err);
    else
        status = nib_bnb4_encode(ctx, &four, blank->out, blank->in, random_rows, blank, &filled,
                                 err);
    if (status) return status;
    filled->source = "";
    nib_weight_destroy(ctx, blank);
    *w = filled;
    return NIB_OK;
}

nib_status nib_model_fill(nib_model *m, nib_model_progress progress, nib_error *err)
{
    nib_embedding *e = m->embedding;
    nib_weight **w = e->frozen ? &e->frozen : &e->weight, *old = *w;
    nib_status status = NIB_OK;

    /* A map gives only the rows in use; an embedding that is not the head too decodes its own. */
    if (m->tied) status = fill(m->ctx, w, err);
    for (size_t i = 0; i < m->linear_count && !status; i++) { /* tied weights are one */
        nib_linear *l = m->linears[i];
        if (l->frozen == old) l->frozen = *w;
        if (l->weight == old) l->weight = *w;
    }
    for (size_t i = 0; i < m->linear_count && !status; i++) {
        nib_linear *l = m->linears[i];
        status = fill(m->ctx, l->frozen ? &l->frozen : &l->weight, err);
        if (progress.report)
            progress.report(progress.user, "random weights",
                            (double)(i + 1) / (double)m->linear_count);
    }
    return status;
}
