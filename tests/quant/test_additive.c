/* test_additive.c - additively quantized weights: values by the definition, tiles, products and
 * dots of them, codes with their sides exchanged; what the reader of AQLM refuses, one thing wrong
 * in each (formats.md 8.3). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "opened.h"
#include "quant/additive.h"

enum { MOST_OUT = 48, MOST_IN = 96 };

typedef struct form { unsigned books, bits, outputs, inputs; } form;

static uint8_t codes[MOST_OUT * MOST_IN * 2];
static uint16_t *entries, scales[MOST_OUT];

static const char *config(form f)
{
    static char text[300];

    snprintf(text, sizeof text, "{\"quant_method\": \"aqlm\", \"num_codebooks\": %u, "
             "\"nbits_per_codebook\": %u, \"out_group_size\": %u, \"in_group_size\": %u, "
             "\"linear_weights_not_to_quantize\": [\"lm_head.weight\"]}", f.books, f.bits,
             f.outputs, f.inputs);
    return text;
}

static size_t code_of(form f, size_t a, size_t b, unsigned k, size_t groups)
{
    size_t at = (a * groups + b) * f.books + k, code = codes[at];

    if (f.bits > 8) code = codes[2 * at] | (size_t)codes[2 * at + 1] << 8;
    return code & (((size_t)1 << f.bits) - 1);
}

static void make_parts(test_parts *p, form f, size_t out, size_t in)
{
    size_t rows = out / f.outputs, groups = in / f.inputs, wide = f.bits > 8 ? 2 : 1;
    size_t count = ((size_t)f.books << f.bits) * f.outputs * f.inputs;

    entries = test_guarded(count * 2);
    for (size_t i = 0; i < count; i++)
        entries[i] = nib_f32_to_f16((float)(int)(test_rand() % 999) / 500 - 1);
    for (size_t i = 0; i < rows; i++) scales[i] = nib_f32_to_f16(0.01f * (float)(i % 7 + 1));
    for (size_t i = 0; i < rows * groups * f.books * wide; i++) codes[i] = (uint8_t)test_rand();
    *p = (test_parts){
        { { .name = "m.codes", .dtype = f.bits > 8 ? NIB_I16 : NIB_I8, .rank = 3,
            .shape = { rows, groups, f.books }, .elements = rows * groups * f.books,
            .bytes = rows * groups * f.books * wide, .data = codes },
          { .name = "m.codebooks", .dtype = NIB_F16, .rank = 4,
            .shape = { f.books, (uint64_t)1 << f.bits, f.outputs, f.inputs }, .elements = count,
            .bytes = count * 2, .data = entries },
          { .name = "m.scales", .dtype = NIB_F16, .rank = 4, .shape = { rows, 1, 1, 1 },
            .elements = rows, .bytes = rows * 2, .data = scales } }, 3 };
}

static float expected(form f, size_t o, size_t i, size_t in)
{
    size_t a = o / f.outputs, b = i / f.inputs, size = (size_t)f.outputs * f.inputs;
    size_t inner = o % f.outputs * f.inputs + i % f.inputs;
    float sum = 0;

    for (unsigned k = 0; k < f.books; k++)
        sum += nib_f16_to_f32(entries[(((size_t)k << f.bits) +
                                       code_of(f, a, b, k, in / f.inputs)) * size + inner]);
    return sum * nib_f16_to_f32(scales[a]);
}

static const struct { form form; const char *text; size_t out, in; } kinds[] = {
    { { 1, 16, 1, 8 }, "aqlm 1x16 of 1x8", 37, 96 }, { { 2, 8, 1, 8 }, "aqlm 2x8 of 1x8", 37, 96 },
    { { 8, 8, 1, 8 }, "aqlm 8x8 of 1x8", 37, 96 },
    { { 1, 12, 1, 32 }, "aqlm 1x12 of 1x32", 37, 96 },
    { { 2, 8, 2, 4 }, "aqlm 2x8 of 2x4", 38, 96 }, { { 1, 5, 4, 6 }, "aqlm 1x5 of 4x6", 36, 96 },
};

static void check_weight(nib_ctx *ctx, size_t i, const nib_weight *w)
{
    static float all[MOST_OUT * MOST_IN];
    size_t in = kinds[i].in;

    CHECK(w->out == kinds[i].out && w->in == in, "%zu x %zu", w->out, w->in);
    nib_weight_decode(w, 0, w->out, all);
    for (size_t k = 0; k < w->out * in; k++)
        CHECK(all[k] == expected(kinds[i].form, k / in, k % in, in), "%s [%zu, %zu]: %g, expected "
              "%g", kinds[i].text, k / in, k % in, (double)all[k],
              (double)expected(kinds[i].form, k / in, k % in, in));
    test_check_tiles(w, all);
    test_check_products(ctx, w, all, NIB_F32, 6);
    test_check_products(ctx, w, all, NIB_BF16, 6);
    test_check_dots(ctx, w, all);
}

static void test_kinds(void)
{
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(kinds); i++) {
        nib_form f, again = { .dtype = NIB_F16 };
        char text[NIB_FORM_ROOM];
        nib_weight *w = NULL, *blank = NULL, *filled = NULL;
        test_parts p;
        uint64_t bytes;
        nib_error err;

        make_parts(&p, kinds[i].form, kinds[i].out, kinds[i].in);
        REQUIRE_OK(test_open_weight(ctx, config(kinds[i].form), &p, &w, &err), err);
        f = nib_weight_form(w);
        nib_form_text(&f, text);
        CHECK(strcmp(text, kinds[i].text) == 0 && nib_form_parse(text, &again) &&
                  memcmp(f.settings, again.settings, sizeof f.settings) == 0,
              "%s, expected %s", text, kinds[i].text);
        CHECK(f.scheme->bytes(&f, w->out, w->in, &bytes) && bytes == w->bytes && !w->owned_bytes,
              "%s: %zu bytes, expected %" PRIu64, text, w->bytes, bytes);
        check_weight(ctx, i, w);
        REQUIRE_OK(nib_weight_blank(ctx, &f, w->out, w->in, &blank, &err), err);
        REQUIRE_OK(nib_weight_fill(ctx, blank, &filled, &err), err);
        CHECK(filled->bytes == w->bytes && filled->owned_bytes == w->bytes, "%s", text);
        nib_weight_destroy(ctx, filled);
        nib_weight_destroy(ctx, blank);
        nib_weight_destroy(ctx, w);
    }
}

/* As a model is saved after the library computed with it on a CPU. */
static void test_exchanged(void)
{
    static uint8_t other[MOST_OUT * MOST_IN];
    const form f = kinds[1].form;
    size_t rows = kinds[1].out, groups = kinds[1].in / f.inputs;
    nib_ctx *ctx = test_ctx();
    nib_weight *w = NULL;
    test_parts p;
    nib_error err;

    make_parts(&p, f, rows, kinds[1].in);
    for (size_t a = 0; a < rows; a++)
        for (size_t b = 0; b < groups; b++)
            memcpy(other + (b * rows + a) * f.books, codes + (a * groups + b) * f.books, f.books);
    p.items[0].data = other;
    p.items[0].shape[0] = groups;
    p.items[0].shape[1] = rows;
    REQUIRE_OK(test_open_weight(ctx, config(f), &p, &w, &err), err);
    check_weight(ctx, 1, w);
    CHECK(nib_ctx_warning_count(ctx) == 1 &&
              strstr(nib_ctx_warning(ctx, 0).text, "forward pass on a CPU"), "no warning");
    nib_weight_destroy(ctx, w);
}

/* What is changed of the tensors before they are opened. */
typedef enum change { NOTHING, NO_CODES, NO_BOOKS, NO_SCALES, BOTH, TYPE, RANK, COUNT, BOOKS_TYPE,
                      SIDE, FEWER_SCALES, INFINITE, NOT_A_NUMBER } change;

static void apply(test_parts *p, change what)
{
    switch (what) {
    case NOTHING: break;
    case NO_CODES: p->items[0].name = "n.codes"; break;
    case NO_BOOKS: p->items[1].name = "n.codebooks"; break;
    case NO_SCALES: p->items[2].name = "n.scales"; break;
    case BOTH:
        p->items[p->count] = p->items[1];
        p->items[p->count++].name = "m.weight";
        break;
    case TYPE: p->items[0].dtype = NIB_I16; break;
    case RANK: p->items[0].rank = 2; break;
    case COUNT: p->items[0].shape[2] = 3; break;
    case BOOKS_TYPE: p->items[1].dtype = NIB_I16; break;
    case SIDE: p->items[1].shape[3] = 4; break;
    case FEWER_SCALES: p->items[2].shape[0] = p->items[2].elements = 36; break;
    case INFINITE: entries[5] = 0xfc00; break;
    case NOT_A_NUMBER: scales[2] = 0x7e01; break;
    }
}

static void test_refusals(void)
{
    static const struct { change what; const char *says; } cases[] = {
        { NOTHING, NULL },
        { NO_CODES, "m.codebooks is there, but m.codes is missing" },
        { NO_BOOKS, "m.codes is there, but m.codebooks is missing" },
        { NO_SCALES, "m.codes is there, but m.scales is missing" },
        { BOTH, "m.codes and m.weight are both there" },
        { TYPE, "m.codes: int16 of rank 3 with 888 elements, expected int8 [out / 1, in / 8, 2]" },
        { RANK, "m.codes: int8 of rank 2" },
        { COUNT, "m.codes: int8 of rank 3" },
        { BOOKS_TYPE, "m.codebooks: int16 of rank 4" },
        { SIDE, "config.json makes it floats [2, 256, 1, 8]" },
        { FEWER_SCALES, "m.scales: float16 with 36 elements, expected floats [37, 1, 1, 1]" },
        { INFINITE, "m.codebooks: value 5 is not finite" },
        { NOT_A_NUMBER, "m.scales: value 2 is not finite" },
    };
    static const struct { form form; const char *says; } sizes[] = {
        { { 1, 17, 1, 8 }, "nbits_per_codebook 17; known are 1 to 16" },
        { { 0, 8, 1, 8 }, "num_codebooks 0; known are 1 to 256" },
        { { 2, 8, 1, 0 }, "in_group_size 0; known are 1 to 256" },
        { { 2, 8, 300, 8 }, "out_group_size 300; known are 1 to 256" },
    };
    nib_ctx *ctx = test_ctx();
    nib_weight *w = NULL;
    test_parts p;

    for (size_t i = 0; i < NIB_COUNT(cases) + NIB_COUNT(sizes); i++) {
        bool bad = i >= NIB_COUNT(cases);
        const char *says = bad ? sizes[i - NIB_COUNT(cases)].says : cases[i].says;
        nib_error err = { 0 };
        nib_status status;

        make_parts(&p, kinds[1].form, kinds[1].out, kinds[1].in);
        if (!bad) apply(&p, cases[i].what);
        status = test_open_weight(ctx, config(bad ? sizes[i - NIB_COUNT(cases)].form
                                                  : kinds[1].form), &p, &w, &err);
        CHECK(says ? status && !w && strstr(err.message, says) : !status && w,
              "%zu: '%s', expected '%s'", i, status ? err.message : "taken", says ? says : "");
        nib_weight_destroy(ctx, w);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "kinds", test_kinds }, { "exchanged", test_exchanged }, { "refusals", test_refusals },
    };
    return test_main("quant/test_additive", cases, NIB_COUNT(cases));
}
