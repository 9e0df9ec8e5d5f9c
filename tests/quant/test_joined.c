/* test_joined.c - a weight of the rows of two others, one behind the other and by turns: tiles,
 * products and dots are those of its decoded values, and its rows are the others' own. */
#include <string.h>

#include "opened.h"
#include "quant/stored.h"

enum { HALF = 21, IN = 96, OUT = 2 * HALF };

/* MXFP4 blocks, or floats. */
static nib_weight *make_part(nib_ctx *ctx, bool blocks)
{
    size_t bytes = blocks ? (size_t)HALF * (IN / 32) * 17 : HALF * IN * sizeof(float);
    uint8_t *data = test_guarded(bytes);
    nib_weight *w = NULL;
    nib_status status;
    nib_error err;

    for (size_t i = 0; blocks && i < bytes; i++)
        data[i] = (uint8_t)(i % 17 ? test_rand() : 120 + test_rand() % 8);
    for (size_t i = 0; !blocks && i < HALF * IN; i++) ((float *)data)[i] = test_rand_float();
    status = blocks ? nib_weight_blocks(ctx, "MXFP4", HALF, IN, data, NULL, &w, &err)
                    : nib_weight_dense(ctx, HALF, IN, NIB_F32, data, NULL, &w, &err);
    CHECK(status == NIB_OK, "%s", err.message);
    return w;
}

static void check_joined(bool first, bool second, bool turns)
{
    static float all[OUT * IN], part[HALF * IN];
    nib_ctx *ctx = test_ctx();
    nib_weight *parts[2] = { make_part(ctx, first), make_part(ctx, second) }, *w = NULL;
    nib_error err;

    REQUIRE_OK(nib_weight_joined(ctx, parts[0], parts[1], turns, &w, &err), err);
    CHECK(w->out == OUT && w->in == IN && w->bytes == parts[0]->bytes + parts[1]->bytes,
          "[%zu, %zu] in %zu bytes", w->out, w->in, w->bytes);
    nib_weight_decode(w, 0, OUT, all);
    for (size_t p = 0; p < 2; p++) {
        nib_weight_decode(parts[p], 0, HALF, part);
        for (size_t r = 0; r < HALF; r++)
            CHECK(memcmp(all + (turns ? 2 * r + p : p * HALF + r) * IN, part + r * IN,
                         IN * sizeof *all) == 0, "row %zu of part %zu", r, p);
    }
    test_check_tiles(w, all);
    test_check_products(ctx, w, all, NIB_F32, 6);
    test_check_products(ctx, w, all, NIB_BF16, 6);
    if (first == second) test_check_dots(ctx, w, all); /* of two forms there is none */
    nib_weight_destroy(ctx, w);
}

static void test_both_ways(void)
{
    for (int turns = 0; turns < 2; turns++) {
        check_joined(false, false, turns);
        check_joined(true, true, turns);
        check_joined(true, false, turns);
    }
}

/* A row's blocks are those of the part that it lies in; floats have none. */
static void test_block_rows(void)
{
    nib_ctx *ctx = test_ctx();
    nib_weight *parts[2] = { make_part(ctx, true), make_part(ctx, true) }, *w = NULL;
    nib_weight *dense = make_part(ctx, false);
    uint8_t got[IN / 32 * 17], want[IN / 32 * 17];
    nib_error err;

    REQUIRE_OK(nib_weight_joined(ctx, parts[0], parts[1], true, &w, &err), err);
    for (size_t r = 0; r < OUT; r++)
        CHECK(nib_weight_block_row(w, "MXFP4", r, got) &&
                  nib_weight_block_row(parts[r % 2], "MXFP4", r / 2, want) &&
                  memcmp(got, want, sizeof got) == 0, "row %zu", r);
    CHECK(!nib_weight_block_row(w, "Q4_0", 0, NULL), "blocks of another type");
    CHECK(!nib_weight_block_row(dense, "MXFP4", 0, NULL), "blocks of floats");
    nib_weight_destroy(ctx, dense);
    nib_weight_destroy(ctx, w);
}

int main(void)
{
    static const test_case cases[] = { { "both ways", test_both_ways },
                                       { "block rows", test_block_rows } };
    return test_main("quant/test_joined", cases, NIB_COUNT(cases));
}
