/* test_latent.c - a weight of heads' keys, which are stored turned, and values: tiles and products
 * are those of its decoded values, and rows of values have their own blocks. */
#include <string.h>

#include "opened.h"
#include "quant/stored.h"

enum { HEADS = 3, KEYS = 32, VALUES = 21, IN = 96, PER = KEYS + VALUES, OUT = HEADS * PER };

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
