/* test_float8.c - scaled E4M3 weights: tiles are pieces of the whole, products have the bits of
 * those with the decoded values, and what the readers of fp8, modelopt and compressed-tensors
 * refuse, one thing wrong in each (formats-quant.md 1.5, 2.7). */
#include <math.h>
#include <string.h>

#include "kernel/kernels.h"
#include "opened.h"

enum { OUT = 70, IN = 130, ROWS = 6, DOWN = 3, ACROSS = 5 }; /* blocks of 32 x 32 */

static uint8_t codes[OUT * IN];
static float scales[OUT * 2]; /* room for what a case calls more */

static void make_parts(test_parts *p, const char *scale, unsigned rank, uint64_t rows,
                       uint64_t columns)
{
    uint64_t count = (rank > 0 ? rows : 1) * (rank > 1 ? columns : 1);

    for (size_t i = 0; i < sizeof codes; i++)
        do codes[i] = (uint8_t)test_rand();
        while ((codes[i] & 0x7f) == 0x7f);
    for (size_t i = 0; i < NIB_COUNT(scales); i++) scales[i] = 1e-3f * (float)(i % 7 + 1);
    *p = (test_parts){ { { .name = "m.weight", .dtype = NIB_F8_E4M3, .rank = 2,
                           .shape = { OUT, IN }, .elements = OUT * IN, .bytes = OUT * IN,
                           .data = codes },
                         { .name = scale, .dtype = NIB_F32, .rank = rank,
                           .shape = { rows, columns }, .elements = count, .bytes = count * 4,
                           .data = scales } }, 2 };
}

#define BLOCKS "{\"quant_method\": \"fp8\", \"weight_block_size\": [32, 32]"
#define FP8 "{\"quant_method\": \"fp8\""
#define MODELOPT "{\"quant_method\": \"modelopt\", \"quant_algo\": "
#define CT(weights)                                                                                \
    "{\"quant_method\": \"compressed-tensors\", \"quantization_status\": \"compressed\", "         \
    "\"config_groups\": {\"g\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 8, "       \
    "\"type\": \"float\", " weights "}}}}"

/* What each element must be, by the definition. */
static float expected(size_t o, size_t i, const char *form, bool divide)
{
    size_t at = strcmp(form, "fp8 32x32") == 0         ? o / 32 * ACROSS + i / 32
                : strncmp(form, "fp8 channel", 11) == 0 ? o
                                                         : 0;
    float x;

    nib_float8_decode_ref(1, &codes[o * IN + i],
                          (nib_float8_scale){ scales[at], divide, NIB_F32 }, &x);
    return x;
}

static const struct { const char *config, *scale, *form; unsigned rank; uint64_t rows, columns;
} kinds[] = {
    { BLOCKS "}", "m.weight_scale_inv", "fp8 32x32", 2, DOWN, ACROSS },
    { FP8 "}", "m.weight_scale", "fp8 tensor", 0, 0, 0 },
    { FP8 "}", "m.weight_scale", "fp8 tensor", 1, 1, 0 },
    { FP8 "}", "m.weight_scale", "fp8 channel", 1, OUT, 0 },
    { FP8 "}", "m.weight_scale", "fp8 channel", 2, OUT, 1 },
    { MODELOPT "\"FP8\"}", "m.weight_scale", "fp8 tensor", 0, 0, 0 },
    { MODELOPT "\"FP8_PER_CHANNEL_PER_TOKEN\"}", "m.weight_scale", "fp8 channel", 1, OUT, 0 },
    { CT("\"strategy\": \"channel\""), "m.weight_scale", "fp8 channel", 2, OUT, 1 },
    { CT("\"strategy\": \"tensor\""), "m.weight_scale", "fp8 tensor", 1, 1, 0 },
    { CT("\"strategy\": \"block\", \"block_structure\": [32, 32]"), "m.weight_scale", "fp8 32x32",
      2, DOWN, ACROSS },
    { CT("\"strategy\": \"block\", \"block_structure\": \"32x32\""), "m.weight_scale", "fp8 32x32",
      2, DOWN, ACROSS },
    { FP8 ", \"weight_scale_semantics\": \"inverse\", \"weight_scale_method\": \"row\"}",
      "m.weight_scale_inv", "fp8 channel inverse", 1, OUT, 0 },
};

static void test_kinds(void)
{
    static float all[OUT * IN];
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(kinds); i++) {
        bool divide = strstr(kinds[i].form, "inverse") != NULL;
        char text[NIB_FORM_ROOM];
        nib_weight *w = NULL;
        nib_form form, again = { .dtype = NIB_BF16 };
        test_parts p;
        nib_error err;

        make_parts(&p, kinds[i].scale, kinds[i].rank, kinds[i].rows, kinds[i].columns);
        for (size_t k = 0; divide && k < NIB_COUNT(scales); k++) scales[k] *= 1e6f;
        REQUIRE_OK(test_open_weight(ctx, kinds[i].config, &p, &w, &err), err);
        form = nib_weight_form(w);
        nib_form_text(&form, text);
        CHECK(strcmp(text, kinds[i].form) == 0, "%s, expected %s", text, kinds[i].form);
        CHECK(nib_form_parse(text, &again) &&
                  memcmp(form.settings, again.settings, sizeof form.settings) == 0, "%s", text);
        nib_weight_decode(w, 0, OUT, all);
        for (size_t k = 0; k < OUT * IN; k++) {
            float want = expected(k / IN, k % IN, text, divide);
            CHECK(all[k] == want, "%s [%zu, %zu]: %g, expected %g", text, k / IN, k % IN,
                  (double)all[k], (double)want);
        }
        CHECK(w->bytes == OUT * IN + 4 * p.items[1].elements && !w->owned_bytes, "%zu bytes",
              w->bytes);
        test_check_tiles(w, all);
        test_check_products(ctx, w, all, NIB_F32, ROWS);
        test_check_products(ctx, w, all, NIB_BF16, ROWS);
        nib_weight_destroy(ctx, w);
    }
}

static void test_bytes(void)
{
    static const struct { const char *text; uint64_t bytes; } forms[] = {
        { "fp8 tensor", 70 * 130 + 4 }, { "fp8 channel", 70 * 130 + 280 },
        { "fp8 128x128", 70 * 130 + 8 },
    };
    uint64_t bytes;
    nib_form f = { .dtype = NIB_BF16 };

    for (size_t i = 0; i < NIB_COUNT(forms); i++) {
        REQUIRE(nib_form_parse(forms[i].text, &f), "%s", forms[i].text);
        CHECK(f.scheme->bytes(&f, 70, 130, &bytes) && bytes == forms[i].bytes, "%s",
              forms[i].text);
        CHECK(!f.scheme->bytes(&f, SIZE_MAX / 2, 512, &bytes), "%s", forms[i].text);
    }
    CHECK(!nib_form_parse("fp8 128", &f) && !nib_form_parse("fp8 tensor 3", &f));
}

/* What is changed of the tensors before they are opened. */
typedef enum change { NOTHING, NO_SCALE, NO_WEIGHT, BOTH_SCALES, INT8, SCALE_TYPE, FEWER, ZERO,
                      NEGATIVE, INFINITE, LARGE, RANK, AWQ_SCALE } change;

static void apply(test_parts *p, change what)
{
    static float one[1] = { 1 };
    nib_part *scale = &p->items[1];

    switch (what) {
    case NOTHING: break;
    case NO_SCALE: p->count = 1; break;
    case NO_WEIGHT: p->items[0].name = "n.weight"; break;
    case BOTH_SCALES:
        p->items[p->count] = *scale;
        p->items[p->count++].name = "m.weight_scale";
        break;
    case INT8: p->items[0].dtype = NIB_I8; break;
    case SCALE_TYPE: scale->dtype = NIB_F64; break;
    case FEWER: scale->shape[0]--, scale->elements -= scale->shape[1]; break;
    case ZERO: scales[3] = 0; break;
    case NEGATIVE: scales[3] = -1; break;
    case INFINITE: scales[3] = INFINITY; break;
    case LARGE: for (size_t i = 0; i < NIB_COUNT(scales); i++) scales[i] *= 1e5f; break;
    case RANK: p->items[0].rank = 1; break;
    case AWQ_SCALE:
        p->items[p->count++] = (nib_part){ .name = "m.pre_quant_scale", .dtype = NIB_F32,
                                           .elements = 1, .bytes = 4, .data = one };
        break;
    }
}

static void test_refusals(void)
{
    static const struct { const char *config; change what; const char *says; } cases[] = {
        { BLOCKS "}", NOTHING, NULL },
        { BLOCKS "}", NO_SCALE, "m.weight is float8_e4m3fn, but m.weight_scale_inv and" },
        { BLOCKS "}", NO_WEIGHT, "m.weight_scale_inv is there, but m.weight is missing" },
        { BLOCKS "}", BOTH_SCALES, "are both there" },
        { BLOCKS "}", INT8, "m.weight: int8 beside m.weight_scale_inv" },
        { BLOCKS "}", SCALE_TYPE, "m.weight_scale_inv: dtype float64" },
        { BLOCKS "}", FEWER, "10 scales of rank 2, expected [3, 5]: [70, 130] in blocks of 32" },
        { BLOCKS "}", ZERO, "value 3 is 0, expected a number above 0" },
        { BLOCKS "}", NEGATIVE, "value 3 is -1" },
        { BLOCKS "}", INFINITE, "value 3 is inf" },
        { BLOCKS "}", LARGE, "the smallest scale is 100, but config.json makes scales" },
        { BLOCKS "}", RANK, "m.weight: rank 1, expected a matrix" },
        { BLOCKS "}", AWQ_SCALE, "m.pre_quant_scale: a piece of NVFP4, of AWQ or of SVDQuant" },
        { BLOCKS ", \"weight_scale_semantics\": \"inverse\"}", NOTHING,
          "the largest scale is 0.007, but weight_scale_semantics" },
        { BLOCKS ", \"weight_scale_semantics\": \"inverse\"}", LARGE, NULL },
        { BLOCKS ", \"weight_scale_semantics\": \"other\"}", NOTHING, "'other'; known is inverse" },
        { BLOCKS ", \"fmt\": \"e5m2\"}", NOTHING, "fmt 'e5m2'; known are e4m3" },
        { FP8 ", \"weight_block_size\": [0, 32]}", NOTHING, "expected two numbers above 0" },
        { FP8 ", \"weight_block_size\": [16, 32]}", NOTHING, "expected [5, 5]" },
        { FP8 "}", NOTHING, "15 scales of rank 2, expected one, or 70, one a row" },
        { MODELOPT "\"FP8\"}", NOTHING, "15 scales of rank 2, expected one" },
        { MODELOPT "\"NVFP4\"}", NOTHING, "m.weight is float8_e4m3fn, but quant_algo NVFP4" },
        { MODELOPT "\"W4A8_AWQ\"}", NOTHING, "quant_algo W4A8_AWQ; known are FP8," },
        { MODELOPT "null}", NOTHING, "quant_algo is missing" },
        { CT("\"strategy\": \"block\", \"block_structure\": [32, 32]"), NOTHING, NULL },
        { CT("\"strategy\": \"block\""), NOTHING, "block_structure: expected two numbers above 0" },
        { CT("\"strategy\": \"group\", \"group_size\": 32"), NOTHING,
          "floats with strategy group (known are tensor, channel and block)" },
        { "{\"quant_method\": \"compressed-tensors\", \"quantization_status\": \"compressed\", "
          "\"config_groups\": {\"g\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 8, "
          "\"type\": \"int\", \"strategy\": \"channel\"}}}}", NOTHING,
          "m.weight: float8_e4m3fn, but config.json says weights of type int" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_weight *w = NULL;
        nib_error err = { 0 };
        test_parts p;
        nib_status status;

        make_parts(&p, "m.weight_scale_inv", 2, DOWN, ACROSS);
        apply(&p, cases[i].what);
        status = test_open_weight(ctx, cases[i].config, &p, &w, &err);
        if (cases[i].says)
            CHECK(status && !w && strstr(err.message, cases[i].says), "%s: '%s', expected '%s'",
                  cases[i].config, status ? err.message : "taken", cases[i].says);
        else
            CHECK(!status && w, "%s: %s", cases[i].config, err.message);
        nib_weight_destroy(ctx, w);
    }
}

/* One scale of the whole where rows are expected, and the other way round. */
static void test_contradictions(void)
{
    static const struct { const char *config; uint64_t scales; const char *says; } cases[] = {
        { MODELOPT "\"FP8\"}", OUT, "70 scales, config.json says one, of the whole matrix" },
        { CT("\"strategy\": \"channel\""), 1, "1 scales, config.json says one a row" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_weight *w = NULL;
        nib_error err = { 0 };
        test_parts p;

        make_parts(&p, "m.weight_scale", 1, cases[i].scales, 0);
        CHECK(test_open_weight(ctx, cases[i].config, &p, &w, &err) == NIB_E_MISMATCH &&
                  strstr(err.message, cases[i].says), "%s", err.message);
        nib_weight_destroy(ctx, w);
    }
}

/* Each allocation fails once: an error, and nothing is left. */
static void test_allocation_failures(void)
{
    static const char config[] = BLOCKS ", \"modules_to_not_convert\": [\"other\"]}";
    size_t fails = 0;

    for (size_t at = 1;; at++) {
        test_heap heap = { 0 };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_weight *w = NULL;
        size_t live = heap.live;
        nib_error err;
        nib_status status;
        test_parts p;

        make_parts(&p, "m.weight_scale_inv", 2, DOWN, ACROSS);
        heap.fail_at = heap.calls + at;
        status = test_open_weight(ctx, config, &p, &w, &err);
        nib_weight_destroy(ctx, w);
        CHECK(heap.live == live, "allocation %zu: %zu left", at, heap.live - live);
        test_ctx_release(ctx);
        if (!status) break;
        CHECK(status == NIB_E_NOMEM, "allocation %zu: %s", at, err.message);
        fails++;
    }
    CHECK(fails >= 5, "%zu allocations", fails);
}

int main(void)
{
    static const test_case cases[] = {
        { "kinds", test_kinds }, { "bytes", test_bytes }, { "refusals", test_refusals },
        { "contradictions", test_contradictions },
        { "allocation_failures", test_allocation_failures },
    };
    return test_main("quant/test_float8", cases, NIB_COUNT(cases));
}
