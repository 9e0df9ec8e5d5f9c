/* weight.c - what all schemes share. */
#include "quant/weight.h"

#include "base/thread.h"

void nib_weight_destroy(nib_ctx *ctx, nib_weight *w)
{
    if (w) w->scheme->destroy(ctx, w);
}

/* A piece at a time: schemes decode groups of columns. */
void nib_weight_decode_columns(const nib_weight *w, size_t k0, size_t k1, float *to)
{
    float piece[64 * 8];

    for (size_t k = k0; k < k1; k += 8)
        for (size_t r = 0; r < w->out; r += 64) {
            size_t rows = nib_min(64, w->out - r), columns = nib_min(8, k1 - k);
            w->scheme->decode_tile(w, r, r + rows, k, k + columns, piece, columns);
            for (size_t j = 0; j < columns; j++)
                for (size_t i = 0; i < rows; i++)
                    to[(k - k0 + j) * w->out + r + i] = piece[i * columns + j];
        }
}

bool nib_weight_finite(const nib_weight *w) { return !w->scheme->finite || w->scheme->finite(w); }

bool nib_weight_block_row(const nib_weight *w, const char *type, size_t row, uint8_t *to)
{
    return w->scheme->block_row && w->scheme->block_row(w, type, row, to);
}

nib_status nib_weight_same(nib_ctx *ctx, const nib_weight *a, const nib_weight *b, bool *same,
                           nib_error *err)
{
    float *rows = nib_new_array(ctx, 2 * a->in, sizeof *rows);

    if (!rows) return nib_fail(err, NIB_E_NOMEM, "comparing weights: out of memory");
    *same = a->out == b->out && a->in == b->in;
    for (size_t r = 0; *same && r < a->out; r++) {
        nib_weight_decode(a, r, r + 1, rows);
        nib_weight_decode(b, r, r + 1, rows + a->in);
        *same = memcmp(rows, rows + a->in, a->in * sizeof *rows) == 0;
    }
    nib_free(ctx, rows);
    return NIB_OK;
}

/* --- distances --- */

typedef struct distance {
    const nib_weight *a, *b;
    float *rows;   /* [workers][2][in] */
    double *parts; /* [out] */
} distance;

static void row_distance(void *arg, size_t row, unsigned worker)
{
    const distance *d = arg;
    size_t in = d->a->in;
    float *a = d->rows + worker * 2 * in, *b = a + in;
    double sum = 0;

    nib_weight_decode(d->a, row, row + 1, a);
    if (d->b) nib_weight_decode(d->b, row, row + 1, b);
    else memset(b, 0, in * sizeof *b);
    for (size_t i = 0; i < in; i++) {
        double difference = (double)a[i] - (double)b[i];
        sum += difference * difference;
    }
    d->parts[row] = sum;
}

nib_status nib_weight_distance(nib_ctx *ctx, const nib_weight *a, const nib_weight *b, double *sum,
                               nib_error *err)
{
    distance d = { a, b, nib_new_array(ctx, nib_threads(ctx) * 2 * a->in, sizeof(float)),
                   nib_new_array(ctx, a->out, sizeof(double)) };
    nib_status status = NIB_OK;

    assert(!b || (b->in == a->in && b->out == a->out));
    *sum = 0;
    if (!d.rows || !d.parts)
        status = nib_fail(err, NIB_E_NOMEM, "comparing weights: out of memory");
    else nib_parallel_for(ctx, a->out, row_distance, &d);
    for (size_t r = 0; !status && r < a->out; r++) *sum += d.parts[r];
    nib_free(ctx, d.rows);
    nib_free(ctx, d.parts);
    return status;
}

nib_status nib_form_encode(nib_ctx *ctx, const nib_form *f, const nib_weight *from, nib_weight **w,
                           nib_error *err)
{
    char text[NIB_FORM_ROOM];

    if (f->scheme->encode) return f->scheme->encode(ctx, f, from, w, err);
    nib_form_text(f, text);
    return nib_fail(err, NIB_E_UNSUPPORTED, "nothing can be encoded as %s", text);
}
