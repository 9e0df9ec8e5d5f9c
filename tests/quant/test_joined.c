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

/* Of parts of other heights and types, with rows and columns in another order. */
static void test_moved(void)
{
    static const char *const types[] = { "Q4_0", "Q8_0", "Q4_1" };
    static float all[30 * IN], part[20 * IN], want[30 * IN];
    nib_ctx *ctx = test_ctx();
    uint32_t rows[30], columns[IN];
    nib_weight *parts[2], *joined = NULL, *moved = NULL, *w = NULL;
    nib_error err;

    for (uint32_t r = 0; r < 30; r++) rows[r] = r < 8 ? r + 16 : r < 12 ? r - 8 : (r + 5) % 30;
    for (uint32_t r = 12; r < 30; r++) rows[r] = r < 24 ? r - 8 : r; /* runs across both parts */
    for (uint32_t c = 0; c < IN; c++) columns[c] = (c / 16 * 5) % 6 * 16 + c % 16;
    for (size_t i = 0; i < NIB_COUNT(types) - 1; i++) {
        size_t out = i ? 10 : 20, block = i ? 34 : 18, bytes = out * IN / 32 * block;
        uint8_t *data = test_guarded(bytes);
        for (size_t k = 0; k < bytes; k++)
            data[k] = (uint8_t)(k % block == 1 ? 0x2c : test_rand());
        REQUIRE_OK(nib_weight_blocks(ctx, types[i], out, IN, data, NULL, &parts[i], &err), err);
        nib_weight_decode(parts[i], 0, out, part);
        memcpy(all + i * 20 * IN, part, out * IN * sizeof *all);
    }
    REQUIRE_OK(nib_weight_joined(ctx, parts[0], parts[1], false, &joined, &err), err);
    REQUIRE_OK(nib_weight_reordered(ctx, joined, rows, &moved, &err), err);
    for (size_t i = 0; i < 30 * IN; i++) want[i] = all[rows[i / IN] * IN + i % IN];
    test_check_tiles(moved, want);
    test_check_products(ctx, moved, want, NIB_F32, 6);
    test_check_dots(ctx, moved, want);
    REQUIRE_OK(nib_weight_columns(ctx, moved, columns, &w, &err), err);
    for (size_t i = 0; i < 30 * IN; i++) want[i] = all[rows[i / IN] * IN + columns[i % IN]];
    test_check_tiles(w, want);
    test_check_products(ctx, w, want, NIB_F32, 6);
    test_check_products(ctx, w, want, NIB_BF16, 6);
    CHECK(nib_weight_before_columns(w, columns) == moved);
    columns[0]++;
    CHECK(!nib_weight_before_columns(moved, columns));
    columns[0]--;
    nib_weight_destroy(ctx, w);
}

/* Columns of blocks alone, whose dots move x. */
static void test_columns(void)
{
    static float all[HALF * IN], want[HALF * IN];
    nib_ctx *ctx = test_ctx();
    nib_weight *part = make_part(ctx, true), *w = NULL;
    uint32_t columns[IN], other[IN];
    nib_error err;

    for (uint32_t c = 0; c < IN; c++) columns[c] = (c / 32 + 1) % 3 * 32 + c % 32;
    for (uint32_t c = 0; c < IN; c++) other[c] = c;
    nib_weight_decode(part, 0, HALF, all);
    REQUIRE_OK(nib_weight_columns(ctx, part, columns, &w, &err), err);
    for (size_t i = 0; i < HALF * IN; i++) want[i] = all[i / IN * IN + columns[i % IN]];
    test_check_tiles(w, want);
    test_check_products(ctx, w, want, NIB_F32, 6);
    test_check_dots(ctx, w, want);
    CHECK(nib_weight_before_columns(w, columns) == part);
    CHECK(!nib_weight_before_columns(w, other), "another order");
    CHECK(!nib_weight_before_columns(part, columns), "a weight with its columns in their order");
    nib_weight_destroy(ctx, w);
}

int main(void)
{
    static const test_case cases[] = { { "both ways", test_both_ways },
                                       { "block rows", test_block_rows },
                                       { "rows and columns moved", test_moved },
                                       { "columns", test_columns } };
    return test_main("quant/test_joined", cases, NIB_COUNT(cases));
}
