/* bnb4_encode.c - a matrix to NF4 or FP4, with bitsandbytes' arithmetic (formats.md 4.4).
 *
 * The flattened matrix is cut into tiles of whole blocks.  A dense weight is read where
 * it lies; otherwise a worker asks for the rows that a tile touches, in its own buffer.
 * Either way source values pass through the cache once.  A short last block has rules
 * of its own. */
#include "quant/bnb4_encode.h"

#include <math.h>

#include "base/thread.h"
#include "kernel/kernels.h"
#include "quant/dynamic_map.h"

enum { TILE_VALUES = 32768 }; /* 128 KiB of float: half of a small second-level cache */

typedef struct encoding {
    const nib_bnb4_options *options;
    nib_encode4_fn *encode4;
    const nib_bnb4_matrix *from;
    size_t in, elements, tile_values, buffer_values;
    float *buffers; /* one of buffer_values for each worker */
    uint8_t *codes;
    float *absmax;
} encoding;

/* The last block when it is short: absmax has a floor, and values are divided by it. */
static void encode_short(const encoding *e, const float *x, size_t count, uint8_t *codes,
                         float *absmax)
{
    bool fp4 = e->options->fp4;
    float most = 0;

    for (size_t i = 0; i < count; i++) {
        float a = fabsf(x[i]);
        if (!(a <= most)) most = a;
        if (isnan(most)) break;
    }
    if (most < 1e-38f) most = 1e-38f;
    *absmax = most;
    for (size_t i = 0; i < count; i += 2) {
        unsigned high = nib_encode4_one(x[i] / most, fp4);
        unsigned low = nib_encode4_one(i + 1 < count ? x[i + 1] / most : 0, fp4);
        codes[i / 2] = (uint8_t)(high << 4 | low);
    }
}

static void encode_tile(void *arg, size_t tile, unsigned worker)
{
    const encoding *e = arg;
    size_t first = tile * e->tile_values, last = nib_min(e->elements, first + e->tile_values);
    size_t r0 = first / e->in, r1 = nib_ceil_div(last, e->in), blocksize = e->options->blocksize;
    size_t whole = (last - first) / blocksize, rest = (last - first) % blocksize;
    size_t done = whole * blocksize;
    const nib_dense *dense = e->from->dense;
    nib_dtype type = dense ? dense->base.dtype : NIB_F32;
    const char *x;

    if (dense) {
        x = (const char *)dense->data + first * nib_dtype_bytes(type);
    } else {
        float *buffer = e->buffers + worker * e->buffer_values;
        assert((r1 - r0) * e->in <= e->buffer_values);
        e->from->rows(e->from->arg, r0, r1, buffer);
        x = (const char *)(buffer + (first - r0 * e->in));
    }
    e->encode4(e->codes + first / 2, e->absmax + first / blocksize, x, type, whole,
               (unsigned)blocksize, e->options->fp4);
    if (rest) {
        float values[NIB_ENCODE4_MOST];
        nib_convert(values, NIB_F32, x + done * nib_dtype_bytes(type), type, rest);
        encode_short(e, values, rest, e->codes + (first + done) / 2,
                     e->absmax + (first + done) / blocksize);
    }
}

/* Tiles of whole blocks, of whole rows too where that is near: then no row is read twice. */
static void choose_tiles(encoding *e)
{
    size_t blocksize = e->options->blocksize, common = blocksize, both;

    while (e->in % common) common /= 2; /* greatest common divisor: blocksize is a power of two */
    both = e->in * (blocksize / common);
    if (both <= 4 * TILE_VALUES) e->tile_values = nib_round_up(TILE_VALUES, both);
    else e->tile_values = nib_round_up(nib_max(TILE_VALUES, 4 * e->in), blocksize);
    e->tile_values = nib_min(e->tile_values, nib_round_up(e->elements, blocksize));
    e->buffer_values =
        nib_min(e->elements, e->tile_values + (e->tile_values % e->in ? 2 * e->in : 0));
}

typedef struct nesting {
    const uint8_t *lookup;
    const float *absmax;
    size_t blocks;
    uint8_t *q;
    float *nested;
} nesting;

enum { NEST_TILE = 64 * NIB_NESTED_BLOCK };

static void nest_tile(void *arg, size_t tile, unsigned worker)
{
    const nesting *n = arg;
    size_t first = tile * NEST_TILE;

    (void)worker;
    nib_dynamic_encode(n->lookup, n->absmax + first, nib_min(NEST_TILE, n->blocks - first),
                       NIB_NESTED_BLOCK, n->q + first,
                       n->nested + first / NIB_NESTED_BLOCK);
}

/* Block scales to 8 bits, into q, nested_absmax and the fields of the weight. */
static nib_status nest(nib_ctx *ctx, nib_bnb4 *b, float *absmax, size_t blocks, uint8_t *q,
                       float *nested_absmax, nib_error *err)
{
    uint8_t *lookup = nib_alloc(ctx, NIB_DYNAMIC_LOOKUP);
    nib_status status = NIB_OK;
    double sum = 0;

    if (!lookup) return nib_fail(err, NIB_E_NOMEM, "block scales: out of memory");
    for (size_t i = 0; i < blocks; i++) sum += absmax[i];
    b->nested_offset = blocks ? (float)(sum / (double)blocks) : 0;
    if (!isfinite(b->nested_offset)) {
        status = nib_fail(err, NIB_E_NUMERIC, "the matrix holds a value that is not finite");
        goto done;
    }
    nib_dynamic_map(true, b->nested_table);
    nib_dynamic_lookup(b->nested_table, lookup);
    for (size_t i = 0; i < blocks; i++) absmax[i] -= b->nested_offset;
    nib_parallel_for(ctx, nib_ceil_div(blocks, NEST_TILE), nest_tile,
                     &(nesting){ lookup, absmax, blocks, q, nested_absmax });
    b->absmax_q = q;
    b->nested_absmax = nested_absmax;
done:
    nib_free(ctx, lookup);
    return status;
}

nib_status nib_bnb4_encode_matrix(nib_ctx *ctx, const nib_bnb4_options *options,
                                  const nib_bnb4_matrix *from, nib_bnb4 **w, nib_error *err)
{
    const size_t out = from->out, in = from->in;
    encoding e = { .options = options, .from = from, .in = in };
    uint64_t elements, bytes;
    size_t blocks, nested, kept_bytes;
    float *absmax = NULL; /* as float: part of `kept`, or for a while when nested */
    uint8_t *kept = NULL;
    nib_bnb4 *made = NULL;
    nib_status status = NIB_OK;

    if (!nib_bnb4_blocksize_known(options->blocksize))
        return nib_fail(err, NIB_E_INVALID,
                        "block size %u; 32, 64, 128, 256, 512, 1024, 2048 and 4096 are known",
                        options->blocksize);
    if (!out || !in || !nib_mul_u64(out, in, &elements) || !nib_mul_u64(elements, 4, &bytes) ||
        bytes > SIZE_MAX / 2)
        return nib_fail(err, NIB_E_INVALID, "a matrix of %zu x %zu values cannot be quantized", out,
                        in);
    e.encode4 = nib_kernels_for(nib_ctx_cpu(ctx)).encode4;
    e.elements = (size_t)elements;
    blocks = nib_ceil_div(e.elements, options->blocksize);
    nested = options->double_quant ? nib_ceil_div(blocks, NIB_NESTED_BLOCK) : 0;
    choose_tiles(&e);

    /* Floats first, so that they are aligned. */
    kept_bytes = nib_ceil_div(e.elements, 2) +
                 (nested ? nested * sizeof(float) + blocks : blocks * sizeof(float));
    made = nib_new(ctx, sizeof *made);
    kept = nib_alloc(ctx, kept_bytes);
    e.buffers = nib_new_array(ctx, from->dense ? 1 : nib_threads(ctx),
                              from->dense ? 1 : e.buffer_values * sizeof(float));
    absmax = nested ? nib_new_array(ctx, blocks, sizeof(float)) : (float *)kept;
    if (!made || !kept || !e.buffers || !absmax) {
        status = nib_fail(err, NIB_E_NOMEM, "quantizing %zu x %zu values: out of memory", out, in);
        goto done;
    }
    e.absmax = absmax;
    e.codes = kept + (nested ? nested * sizeof(float) + blocks : blocks * sizeof(float));
    nib_parallel_for(ctx, nib_ceil_div(e.elements, e.tile_values), encode_tile, &e);

    made->base = (nib_weight){ .out = out, .in = in, .bytes = kept_bytes,
                               .owned_bytes = kept_bytes, .dtype = options->dtype };
    made->decode = nib_kernels_for(nib_ctx_cpu(ctx)).decode4;
    made->codes = e.codes;
    made->blocksize = options->blocksize;
    made->is_fp4 = options->fp4;
    memcpy(made->table, options->fp4 ? nib_fp4_table : nib_nf4_table, sizeof nib_nf4_table);
    if (nested) {
        status = nest(ctx, made, absmax, blocks, kept + nested * sizeof(float),
                      (float *)kept, err);
        if (status) goto done;
    } else {
        made->absmax = absmax;
    }
    made->owned = kept;
    *w = made;
    made = NULL; /* handed over */
    kept = NULL;
done:
    if (nested) nib_free(ctx, absmax);
    nib_free(ctx, e.buffers);
    nib_free(ctx, kept);
    nib_free(ctx, made);
    return status;
}
