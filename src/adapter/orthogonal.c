/* orthogonal.c - see orthogonal.h. */
#include "adapter/orthogonal.h"

#include "base/random.h"
#include "quant/singular.h"

static void draw(float *to, size_t n, uint64_t seed, uint32_t key, uint32_t what)
{
    const uint32_t keys[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) ^ 0x6f727468 };

    nib_normal_fill(to, n, keys, key, what, 1);
}

/* Q of a random matrix [R, R]; A = (X Q of rows 0, 2, ...)^T / 10, X [in, R / 2] random, and B so
 * of the other rows: B A = 0. */
nib_status nib_orthogonal(nib_ctx *ctx, const nib_branch *b, uint64_t seed, nib_error *err)
{
    size_t r = b->a->rows, in = b->a->cols, out = b->b->rows, h = r / 2;
    float *room = nib_new_array(ctx, 3 * r + h, nib_max(nib_max(in, out), r) * sizeof *room);
    float *q = room, *triangle, *x;
    nib_status status = room ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory",
                                                     b->a->name);

    if (status) return status;
    triangle = q + r * r;
    x = triangle + r * r;
    draw(x, r * r, seed, b->key, 0);
    status = nib_qr(ctx, x, r, r, r, q, triangle, err);
    if (!status) draw(x, in * h, seed, b->key, 1);
    for (size_t j = 0; j < r && !status; j++)
        for (size_t k = 0; k < in; k++) {
            float sum = 0;
            for (size_t i = 0; i < h; i++) sum += x[k * h + i] * q[2 * i * r + j];
            b->a->value[j * in + k] = sum / 10;
        }
    if (!status) draw(x, h * out, seed, b->key, 2);
    for (size_t k = 0; k < out && !status; k++)
        for (size_t j = 0; j < r; j++) {
            float sum = 0;
            for (size_t i = 0; i < h; i++) sum += x[i * out + k] * q[(2 * i + 1) * r + j];
            b->b->value[k * r + j] = sum / 10;
        }
    nib_free(ctx, room);
    return status;
}
