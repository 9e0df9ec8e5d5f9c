/* test_block.c - ggml's block formats: every variant decodes to the bits of the gguf package
 * (tests/golden/make/blocks_golden.py), any rectangle of a matrix is a piece of the whole, rows may
 * lie in another order, and the dots are those of the decoded rows. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "quant/product.h"
#include "quant/stored.h"
#include "variants.h"

static const nib_block_kind kinds[] = {
    NIB_BLOCK_Q4_0, NIB_BLOCK_Q4_1, NIB_BLOCK_Q5_0, NIB_BLOCK_Q5_1, NIB_BLOCK_Q8_0,
    NIB_BLOCK_Q2_K, NIB_BLOCK_Q3_K, NIB_BLOCK_Q4_K, NIB_BLOCK_Q5_K, NIB_BLOCK_Q6_K,
    NIB_BLOCK_IQ4_NL, NIB_BLOCK_IQ4_XS, NIB_BLOCK_MXFP4,
};

static void check_golden(const nib_kernels *k, const char *variant)
{
    nib_tensors *t = NULL;
    nib_error err;

    REQUIRE_OK(nib_tensors_open(test_ctx(), test_data("tests/golden/quant/blocks.safetensors"), &t,
                                &err), err);
    for (size_t i = 0; i < NIB_COUNT(kinds); i++) {
        const nib_block_layout *l = &nib_block_layouts[kinds[i]];
        char name[40];
        const nib_tensor *blocks, *values;
        uint8_t *at;
        float *got;
        snprintf(name, sizeof name, "%s.blocks", l->name);
        blocks = nib_tensors_find(t, name);
        snprintf(name, sizeof name, "%s.values", l->name);
        values = nib_tensors_find(t, name);
        REQUIRE(blocks && values && blocks->bytes / l->bytes == values->elements / l->values, "%s",
                l->name);
        at = test_guarded((size_t)blocks->bytes);
        got = test_guarded((size_t)values->bytes);
        memcpy(at, blocks->data, (size_t)blocks->bytes);
        k->blocks_decode(kinds[i], (size_t)blocks->bytes / l->bytes, at, got);
        CHECK(memcmp(got, values->data, (size_t)values->bytes) == 0, "%s: %s differs", variant,
              l->name);
    }
    nib_tensors_close(t);
}

/* Blocks with scales of a size that sums can be compared with. */
static uint8_t *random_blocks(nib_block_kind kind, size_t count)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    uint8_t *data = test_guarded(count * l->bytes);
    static const uint16_t half_scales[] = { 0x2e66, 0xae66, 0x2a66, 0x0001 }; /* .1, -.1, .05 */

    for (size_t i = 0; i < count * l->bytes; i++) data[i] = (uint8_t)test_rand();
    for (size_t b = 0; b < count; b++) {
        uint8_t *block = data + b * l->bytes;
        size_t at = kind == NIB_BLOCK_Q2_K ? 80 : kind == NIB_BLOCK_Q3_K ? 108
                                              : kind == NIB_BLOCK_Q6_K ? 208 : 0;
        if (kind == NIB_BLOCK_MXFP4) {
            block[0] = (uint8_t)(120 + test_rand() % 8);
            continue;
        }
        memcpy(block + at, &half_scales[test_rand() % 4], 2);
        if (l->has_offset) memcpy(block + at + 2, &half_scales[test_rand() % 4], 2);
    }
    return data;
}

static void check_dot(const nib_kernels *k, const char *variant, nib_block_kind kind, size_t M,
                      size_t count)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    size_t in = count * l->values;
    uint8_t *row = random_blocks(kind, count);
    float *x = test_guarded(M * in * sizeof *x), *values = test_guarded(in * sizeof *values);
    float *y = test_guarded(((M - 1) * 3 + 1) * sizeof *y), one;

    for (size_t i = 0; i < M * in; i++) x[i] = test_rand_float();
    nib_blocks_decode_ref(kind, count, row, values);
    k->blocks_dot(kind, M, count, row, x, y, 3);
    for (size_t m = 0; m < M; m++) {
        double sum = 0, size = 0;
        for (size_t i = 0; i < in; i++) {
            sum += (double)values[i] * (double)x[m * in + i];
            size += fabs((double)values[i] * (double)x[m * in + i]);
        }
        CHECK(fabs((double)y[m * 3] - sum) <= 1e-6 * size + 1e-12, "%s: %s: %g, expected %g",
              variant, l->name, (double)y[m * 3], sum);
        k->blocks_dot(kind, 1, count, row, x + m * in, &one, 1);
        CHECK(memcmp(&one, &y[m * 3], sizeof one) == 0,
              "%s: %s: a row of %zu has other bits than alone", variant, l->name, M);
    }
}

/* x as the kernel of that kind reads it; ready [M, nib_fixed_bytes(in)]. */
static nib_fixed_x arranged(const nib_kernels *k, nib_block_kind kind, size_t M, size_t in,
                            const float *x, char *ready)
{
    nib_fixed_order order = nib_block_has_bytes(kind) ? NIB_FIXED_HALVES : NIB_FIXED_EVEN_ODD;
    size_t ld = nib_fixed_bytes(in), parts = in / NIB_FIXED_BLOCK;

    for (size_t m = 0; m < M; m++) {
        float *sums = (float *)(void *)(ready + m * ld + 2 * in) + parts;
        k->arrange_fixed(in, order, x + m * in, ready + m * ld);
        if (order == NIB_FIXED_EVEN_ODD) continue;
        for (size_t p = 0; p < parts; p++) sums[p] = sums[2 * p] + sums[2 * p + 1];
    }
    return nib_fixed_x_at(ready, in, 0, ld);
}

enum { FIXED_ROWS = 3, LDY = 4 };

static void dot_fixed(const nib_kernels *k, nib_block_kind kind, size_t M, size_t count,
                      const nib_block_rows *w, size_t rows, const nib_fixed_x *x, float *y)
{
    if (nib_block_has_bytes(kind)) k->blocks_dot_bytes(kind, M, count, w, rows, x, y, LDY);
    else k->blocks_dot_fixed(kind, M, count, w, rows, x, y, LDY);
}

/* Of three rows, in another order than they lie, and of fewer.  In fixed point a value of x loses
 * up to 2^-16 of the greatest of its block. */
static void check_fixed(const nib_kernels *k, const char *variant, nib_block_kind kind, size_t M,
                        size_t count)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    const uint32_t order[FIXED_ROWS] = { 2, 0, 1 };
    size_t in = count * l->values;
    uint8_t *blocks = random_blocks(kind, FIXED_ROWS * count);
    const nib_block_rows w = { blocks, count * l->bytes, order };
    float *x = test_floats(M * in, 2), *values = test_guarded(FIXED_ROWS * in * sizeof *values);
    float *y = test_guarded(((M - 1) * LDY + FIXED_ROWS) * sizeof *y), few[FIXED_ROWS];
    nib_fixed_x all = arranged(k, kind, M, in, x, test_guarded(M * nib_fixed_bytes(in))), alone;

    nib_blocks_decode_ref(kind, FIXED_ROWS * count, blocks, values);
    dot_fixed(k, kind, M, count, &w, FIXED_ROWS, &all, y);
    for (size_t i = 0; i < FIXED_ROWS * M; i++) {
        size_t m = i / FIXED_ROWS, r = i % FIXED_ROWS;
        const float *row = values + order[r] * in, *of = x + m * in;
        double sum = 0, size = 0;
        for (size_t t = 0; t < in; t++) {
            sum += (double)row[t] * (double)of[t];
            size += fabs((double)row[t]) * 2;
        }
        CHECK(fabs((double)y[m * LDY + r] - sum) <= 2e-5 * size + 1e-12,
              "%s: %s, %zu blocks: %g, expected %g", variant, l->name, count,
              (double)y[m * LDY + r], sum);
    }
    for (size_t m = 0; m < M; m++) {
        size_t rows = m % FIXED_ROWS + 1;
        alone = nib_fixed_row(&all, m);
        dot_fixed(k, kind, 1, count, &w, rows, &alone, few);
        CHECK(memcmp(few, &y[m * LDY], rows * sizeof *few) == 0,
              "%s: %s: %zu rows of %d, of x one of %zu, have other bits", variant, l->name, rows,
              FIXED_ROWS, M);
    }
}

static void check_dots(const nib_kernels *k, const char *variant)
{
    for (size_t i = 0; i < NIB_COUNT(kinds); i++)
        for (size_t M = 1; M <= 4; M++) {
            check_dot(k, variant, kinds[i], M, 3);
            check_fixed(k, variant, kinds[i], M, nib_block_has_bytes(kinds[i]) ? 2 : 3);
            check_fixed(k, variant, kinds[i], M, 14);
        }
}

/* A panel of parts of rows in another order, and in their own. */
static void check_panel(const nib_kernels *k, const char *variant, nib_block_kind kind,
                        size_t terms)
{
    const nib_block_layout *l = &nib_block_layouts[kind];
    size_t parts = l->values / NIB_BLOCK_PART, stride = l->bytes;
    size_t strip = terms * NIB_STRIP + 8, n = strip + terms * NIB_STRIP;
    uint8_t *data = random_blocks(kind, terms);
    uint32_t *order = test_guarded(terms * sizeof *order);
    float *want = test_floats(n, 0), *got = test_floats(n, 0);

    for (size_t t = 0; t < terms; t++) order[t] = (uint32_t)((t * 7 + 3) % terms);
    for (size_t i = 0; i < 2 * parts * 3; i++) {
        nib_block_column c = { { data, stride, i % 2 ? order : NULL }, i / 2 % parts };
        nib_pack_kind pack = (nib_pack_kind)(i / 2 / parts);
        if (pack == NIB_PACK_PAIRS && terms % 2) continue;
        memset(want, 0, n * sizeof *want);
        memset(got, 0, n * sizeof *got);
        nib_blocks_back_ref(kind, &c, terms, pack, want, strip);
        k->blocks_back(kind, &c, terms, pack, got, strip);
        CHECK(memcmp(got, want, n * sizeof *got) == 0, "%s: %s, part %zu of %zu rows, panel %d",
              variant, l->name, c.part, terms, (int)pack);
    }
}

static void check_panels(const nib_kernels *k, const char *variant)
{
    for (size_t i = 0; i < NIB_COUNT(kinds); i++)
        for (size_t terms = 1; terms < 40; terms += terms < 4 ? 1 : 17)
            check_panel(k, variant, kinds[i], terms);
}

static void each_variant(void (*check)(const nib_kernels *, const char *))
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;

    check(&k, "ref");
    for (size_t level = 0; (name = test_next_variant(&level, &k));) check(&k, name);
}

static void test_golden(void) { each_variant(check_golden); }
static void test_panels(void) { each_variant(check_panels); }
static void test_dots(void) { each_variant(check_dots); }

/* Rows in another order: what a tile decodes to is a piece of the whole, whose rows are moved. */
static void check_weight(nib_block_kind kind)
{
    enum { ROWS = 5 };
    static const uint32_t order[ROWS] = { 4, 0, 3, 1, 2 };
    const nib_block_layout *l = &nib_block_layouts[kind];
    size_t in = 3 * (size_t)l->values;
    uint8_t *data = random_blocks(kind, ROWS * 3);
    float *all = test_guarded(ROWS * in * sizeof *all), *tile;
    nib_weight *w = NULL;
    nib_error err;

    nib_blocks_decode_ref(kind, ROWS * 3, data, all);
    REQUIRE_OK(nib_weight_blocks(test_ctx(), l->name, ROWS, in, data, order, &w, &err), err);
    CHECK(w->bytes == ROWS * 3 * (size_t)l->bytes && !w->owned_bytes);
    for (int n = 0; n < 30; n++) {
        size_t r0 = test_rand() % ROWS, r1 = r0 + test_rand() % (ROWS - r0) + 1;
        size_t k0 = test_rand() % in, k1 = k0 + test_rand() % (in - k0) + 1;
        tile = test_guarded((r1 - r0) * (k1 - k0) * sizeof *tile);
        w->scheme->decode_tile(w, r0, r1, k0, k1, tile, k1 - k0);
        for (size_t r = r0; r < r1; r++)
            CHECK(memcmp(tile + (r - r0) * (k1 - k0), all + order[r] * in + k0,
                         (k1 - k0) * sizeof *tile) == 0,
                  "%s: rows %zu to %zu, columns %zu to %zu", l->name, r0, r1, k0, k1);
    }
    nib_weight_destroy(test_ctx(), w);
}

static void test_weights(void)
{
    for (size_t i = 0; i < NIB_COUNT(kinds); i++) check_weight(kinds[i]);
}

/* Products with blocks, forward and backward, have the bits of those with the values they decode
 * to, and so have gradients of adapters. */
static void check_products(nib_ctx *ctx, nib_block_kind kind, nib_dtype type)
{
    enum { OUT = 70, ROWS = 6 };
    const nib_block_layout *l = &nib_block_layouts[kind];
    nib_kernels k = nib_kernels_for(nib_ctx_cpu(ctx));
    size_t in = 2 * (size_t)l->values, wide = nib_max(in, OUT);
    uint8_t *data = random_blocks(kind, OUT * 2);
    float *values = test_guarded(OUT * in * sizeof *values);
    void *x = test_values(type, ROWS * wide, 1), *ready = test_guarded(ROWS * (wide + 64) * 4);
    void *scratch = test_guarded(nib_round_up(nib_product_scratch_bytes(ctx, in, 1, ROWS), 64));
    float *y[2] = { test_guarded(ROWS * wide * 4), test_guarded(ROWS * wide * 4) };
    nib_weight *w[2] = { NULL, NULL };
    nib_error err;

    nib_blocks_decode_ref(kind, OUT * 2, data, values);
    REQUIRE_OK(nib_weight_blocks(ctx, l->name, OUT, in, data, NULL, &w[0], &err), err);
    REQUIRE_OK(nib_weight_dense(ctx, OUT, in, NIB_F32, values, NULL, &w[1], &err), err);
    for (int back = 0; back < 2; back++) {
        size_t from = back ? OUT : in, to = back ? in : OUT;
        for (int i = 0; i < 2; i++) {
            nib_operand rows = { x, from, type };
            nib_product_args args = { .type = type, .rows = ROWS, .y = y[i], .ldy = to,
                                      .y_type = NIB_F32,
                                      .x = nib_operand_ready(ctx, &k, ROWS, from, rows, ready) };
            (back ? nib_product_backward : nib_product_forward)(ctx, &k, w[i], &args, scratch);
        }
        CHECK(memcmp(y[0], y[1], ROWS * to * sizeof(float)) == 0, "%s, %s, %s: other bits",
              l->name, nib_dtype_name(type), back ? "backward" : "forward");
    }
    for (int i = 0; i < 2; i++) nib_weight_destroy(ctx, w[i]);
}

static void test_products(void)
{
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(kinds); i++) {
        check_products(ctx, kinds[i], NIB_F32);
        check_products(ctx, kinds[i], NIB_BF16);
    }
}

static void test_forms(void)
{
    for (size_t i = 0; i < NIB_COUNT(kinds); i++) {
        const nib_block_layout *l = &nib_block_layouts[kinds[i]];
        char text[NIB_FORM_ROOM];
        nib_form f = { .dtype = NIB_F32 };
        uint64_t bytes = 0;
        REQUIRE(nib_form_parse(l->name, &f), "%s", l->name);
        nib_form_text(&f, text);
        CHECK(strcmp(text, l->name) == 0, "%s became %s", l->name, text);
        CHECK(f.scheme->bytes(&f, 7, 512, &bytes) && bytes == 7u * 512 / l->values * l->bytes);
        CHECK(!f.scheme->bytes(&f, SIZE_MAX / 2, 512, &bytes));
    }
}

static void test_refusals(void)
{
    nib_weight *w = NULL;
    nib_error err;

    CHECK(nib_weight_blocks(test_ctx(), "IQ2_XS", 4, 256, "", NULL, &w, &err) ==
              NIB_E_UNSUPPORTED && strstr(err.message, "IQ2_XS") && strstr(err.message, "IQ4_XS"),
          "%s", err.message);
    CHECK(nib_weight_blocks(test_ctx(), "Q4_K", 4, 128, "", NULL, &w, &err) == NIB_E_FORMAT);
}

/* Dense rows in another order, dots included. */
static void test_reordered(void)
{
    static const uint32_t order[3] = { 2, 0, 1 };
    float values[3][4], x[4], got[12], y[3];
    nib_kernels k = nib_kernels_for(0);
    nib_weight *dense = NULL, *w = NULL;
    nib_error err;

    for (size_t i = 0; i < 12; i++) values[i / 4][i % 4] = (float)i;
    for (size_t i = 0; i < 4; i++) x[i] = (float)(i + 1);
    REQUIRE_OK(nib_weight_dense(test_ctx(), 3, 4, NIB_F32, values, NULL, &dense, &err), err);
    REQUIRE_OK(nib_weight_reordered(test_ctx(), dense, order, &w, &err), err);
    nib_weight_decode(w, 0, 3, got);
    w->scheme->dot(w, &k, w->scheme->dot_kind(w, &k, NIB_F32, NIB_PRECISION_HIGHEST), 1, x, 0, 3, y,
                   3);
    for (size_t r = 0; r < 3; r++) {
        float sum = 0;
        for (size_t i = 0; i < 4; i++) {
            CHECK(got[4 * r + i] == values[order[r]][i]);
            sum += values[order[r]][i] * x[i];
        }
        CHECK(y[r] == sum);
    }
    nib_weight_destroy(test_ctx(), w);
}

int main(void)
{
    static const test_case cases[] = {
        { "golden", test_golden },     { "panels", test_panels },     { "dots", test_dots },
        { "weights", test_weights },   { "products", test_products }, { "forms", test_forms },
        { "refusals", test_refusals }, { "reordered", test_reordered },
    };
    return test_main("quant/test_block", cases, NIB_COUNT(cases));
}
