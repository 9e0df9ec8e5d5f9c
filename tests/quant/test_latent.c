/* test_latent.c - a weight of heads' keys, which are stored turned, and values: tiles and products
 * are those of its decoded values, and rows of values have their own blocks. */
#include <math.h>
#include <string.h>

#include "opened.h"
#include "quant/product.h"
#include "quant/stored.h"

enum { HEADS = 2, KEYS = 160, VALUES = 21, IN = 544, PER = KEYS + VALUES, OUT = HEADS * PER };

/* MXFP4 blocks, or floats. */
static nib_weight *make_part(nib_ctx *ctx, size_t out, size_t in, bool blocks)
{
    size_t bytes = blocks ? out * (in / 32) * 17 : out * in * sizeof(float);
    uint8_t *data = test_guarded(bytes);
    nib_weight *w = NULL;
    nib_status status;
    nib_error err;

    for (size_t i = 0; blocks && i < bytes; i++)
        data[i] = (uint8_t)(i % 17 ? test_rand() : 120 + test_rand() % 8);
    for (size_t i = 0; !blocks && i < out * in; i++) ((float *)data)[i] = test_rand_float();
    status = blocks ? nib_weight_blocks(ctx, "MXFP4", out, in, data, NULL, &w, &err)
                    : nib_weight_dense(ctx, out, in, NIB_F32, data, NULL, &w, &err);
    CHECK(status == NIB_OK, "%s", err.message);
    return w;
}

/* Products of few rows of bfloat16, with the decoded values rounded to it. */
static void check_bf16_dots(nib_ctx *ctx, const nib_weight *w, const float *all)
{
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(ctx));
    uint16_t *x = test_guarded(4 * IN * sizeof *x);
    float *y = test_guarded(4 * OUT * sizeof *y);
    void *scratch = test_guarded(nib_round_up(nib_product_scratch_bytes(ctx, IN, 1, 4), 64));

    for (size_t i = 0; i < 4 * IN; i++) x[i] = nib_f32_to_bf16(test_rand_float());
    for (size_t rows = 1; rows <= 4; rows += 3) {
        nib_product_args args = { .type = NIB_BF16, .y_type = NIB_F32, .ldy = OUT, .rows = rows,
                                  .x = { x, IN, NIB_BF16 }, .y = y };
        nib_product_dot(ctx, &k, w, &args, scratch);
        for (size_t m = 0; m < rows; m++)
            for (size_t o = 0; o < OUT; o++) {
                double want = 0, size = 0;
                for (size_t i = 0; i < IN; i++) {
                    double term = (double)nib_bf16_to_f32(x[m * IN + i]) *
                                  (double)nib_round_bf16(all[o * IN + i]);
                    want += term;
                    size += fabs(term);
                }
                CHECK(fabs((double)y[m * OUT + o] - want) <= 1e-5 * size,
                      "row %zu of %zu, output %zu: %g, expected %g", m, rows, o,
                      (double)y[m * OUT + o], want);
            }
    }
}

static void check_latent(bool key_blocks, bool value_blocks)
{
    static float all[OUT * IN], keys[HEADS * IN * KEYS], values[HEADS * VALUES * IN];
    nib_ctx *ctx = test_ctx();
    nib_weight *k = make_part(ctx, HEADS * IN, KEYS, key_blocks), *w = NULL;
    nib_weight *v = make_part(ctx, HEADS * VALUES, IN, value_blocks);
    nib_error err;

    REQUIRE_OK(nib_weight_latent(ctx, k, v, HEADS, &w, &err), err);
    CHECK(w->out == OUT && w->in == IN && w->bytes == k->bytes + v->bytes,
          "[%zu, %zu] in %zu bytes", w->out, w->in, w->bytes);
    nib_weight_decode(w, 0, OUT, all);
    nib_weight_decode(k, 0, k->out, keys);
    nib_weight_decode(v, 0, v->out, values);
    for (size_t i = 0; i < OUT * IN; i++) {
        size_t head = i / IN / PER, at = i / IN % PER, column = i % IN;
        float want = at < KEYS ? keys[(head * IN + column) * KEYS + at]
                               : values[(head * VALUES + at - KEYS) * IN + column];
        CHECK(all[i] == want, "row %zu, column %zu: %g, expected %g", i / IN, column,
              (double)all[i], (double)want);
    }
    test_check_tiles(w, all);
    test_check_products(ctx, w, all, NIB_F32, 6);
    test_check_products(ctx, w, all, NIB_BF16, 6);
    CHECK(w->scheme->dot_kind, "few rows have no product of their own");
    test_check_dots(ctx, w, all);
    check_bf16_dots(ctx, w, all);
    nib_weight_destroy(ctx, w);
}

static void test_kinds(void)
{
    for (int i = 0; i < 4; i++) check_latent(i & 1, i & 2);
}

static void test_block_rows(void)
{
    nib_ctx *ctx = test_ctx();
    nib_weight *k = make_part(ctx, HEADS * IN, KEYS, true), *w = NULL;
    nib_weight *v = make_part(ctx, HEADS * VALUES, IN, true);
    uint8_t got[IN / 32 * 17], want[IN / 32 * 17];
    nib_error err;

    REQUIRE_OK(nib_weight_latent(ctx, k, v, HEADS, &w, &err), err);
    for (size_t r = 0; r < OUT; r++) {
        size_t at = r % PER, from = r / PER * VALUES + at - KEYS;
        bool found = nib_weight_block_row(w, "MXFP4", r, got);
        CHECK(found == (at >= KEYS), "row %zu", r);
        CHECK(!found || (nib_weight_block_row(v, "MXFP4", from, want) &&
                         memcmp(got, want, sizeof got) == 0), "row %zu", r);
    }
    nib_weight_destroy(ctx, w);
}

int main(void)
{
    static const test_case cases[] = { { "kinds of parts", test_kinds },
                                       { "block rows", test_block_rows } };
    return test_main("quant/test_latent", cases, NIB_COUNT(cases));
}
