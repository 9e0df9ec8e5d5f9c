/* test_float4.c - weights of E2M1 floats: values by the definition, tiles, products and dots of
 * them; what the readers of compressed-tensors and ModelOpt refuse, one thing wrong in each
 * (formats-quant.md 3). */
#include <math.h>
#include <string.h>

#include "kernel/kernels.h"
#include "opened.h"
#include "quant/float4.h"
#include "quant/stored.h"

enum { OUT = 37, IN = 96 };

#define CT(more)                                                                                   \
    "{\"quant_method\": \"compressed-tensors\", \"quantization_status\": \"compressed\", "         \
    "\"config_groups\": {\"g\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 4, "       \
    "\"type\": \"float\"" more "}}}}"
#define NVFP4 CT(", \"strategy\": \"tensor_group\", \"group_size\": 16")
#define MXFP4 CT(", \"strategy\": \"group\", \"group_size\": 32")
#define PRESET(name)                                                                               \
    "{\"quant_method\": \"compressed-tensors\", \"quantization_status\": \"compressed\", "         \
    "\"config_groups\": {\"" name "\": [\"Linear\"]}}"
#define MODELOPT "{\"quant_method\": \"modelopt\", \"quant_algo\": \"NVFP4\"}"

static uint8_t codes[OUT * IN / 2], scales[OUT * IN / 16];
static float global;

typedef enum which { CT_NV, CT_MX, MO_NV } which;

static void make_parts(test_parts *p, which kind)
{
    unsigned group = kind == CT_MX ? 32 : 16;

    for (size_t i = 0; i < sizeof codes; i++) codes[i] = (uint8_t)test_rand();
    for (size_t i = 0; i < sizeof scales; i++)
        scales[i] = (uint8_t)(kind == CT_MX ? 118 + i % 9 : test_rand() % 0x7f);
    global = kind == CT_NV ? 2734.5f : 0.000371f;
    *p = (test_parts){ { { .name = kind == MO_NV ? "m.weight" : "m.weight_packed",
                           .dtype = NIB_U8, .rank = 2, .shape = { OUT, IN / 2 },
                           .elements = OUT * IN / 2, .bytes = OUT * IN / 2, .data = codes },
                         { .name = "m.weight_scale", .dtype = kind == CT_MX ? NIB_U8 : NIB_F8_E4M3,
                           .rank = 2, .shape = { OUT, IN / group }, .elements = OUT * IN / group,
                           .bytes = OUT * IN / group, .data = scales },
                         { .name = kind == MO_NV ? "m.weight_scale_2" : "m.weight_global_scale",
                           .dtype = NIB_F32, .rank = kind != MO_NV, .shape = { 1 },
                           .elements = 1, .bytes = 4, .data = &global } },
                       kind == CT_MX ? 2 : 3 };
}

/* By formats-quant.md 3: the scale one operation, the product a second, then bfloat16. */
static float expected(which kind, size_t o, size_t i)
{
    static const float values[8] = { 0, 0.5f, 1, 1.5f, 2, 3, 4, 6 };
    uint8_t code = codes[(o * IN + i) / 2] >> i % 2 * 4 & 15;
    float x = code & 8 ? -values[code & 7] : values[code & 7], s;

    if (kind == CT_MX) return x * ldexpf(1, scales[o * (IN / 32) + i / 32] - 127);
    nib_float8_decode_ref(1, &scales[o * (IN / 16) + i / 16],
                          (nib_float8_scale){ global, kind == CT_NV, NIB_F32 }, &s);
    return nib_round_bf16(x * s);
}

static const struct { const char *config; which kind; const char *form; size_t bytes; } kinds[] = {
    { NVFP4, CT_NV, "nvfp4", OUT * IN / 16 * 9 }, { PRESET("NVFP4A16"), CT_NV, "nvfp4",
                                                    OUT * IN / 16 * 9 },
    { MXFP4, CT_MX, "mxfp4", OUT * IN / 32 * 17 }, { PRESET("MXFP4"), CT_MX, "mxfp4",
                                                     OUT * IN / 32 * 17 },
    { MODELOPT, MO_NV, "nvfp4", OUT * IN / 16 * 9 },
};

static void test_kinds(void)
{
    static float all[OUT * IN];
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(kinds); i++) {
        char text[NIB_FORM_ROOM];
        nib_weight *w = NULL;
        nib_form form, again = { .dtype = NIB_BF16 };
        test_parts p;
        uint64_t bytes;
        nib_error err;

        make_parts(&p, kinds[i].kind);
        REQUIRE_OK(test_open_weight(ctx, kinds[i].config, &p, &w, &err), err);
        form = nib_weight_form(w);
        nib_form_text(&form, text);
        CHECK(strcmp(text, kinds[i].form) == 0, "%s, expected %s", text, kinds[i].form);
        CHECK(nib_form_parse(text, &again) &&
                  memcmp(form.settings, again.settings, sizeof form.settings) == 0, "%s", text);
        CHECK(form.scheme->bytes(&form, OUT, IN, &bytes) && bytes == kinds[i].bytes &&
                  w->bytes == bytes && !w->owned_bytes, "%zu bytes", w->bytes);
        nib_weight_decode(w, 0, OUT, all);
        for (size_t k = 0; k < OUT * IN; k++)
            CHECK(all[k] == expected(kinds[i].kind, k / IN, k % IN), "%s [%zu, %zu]: %g, expected "
                  "%g", text, k / IN, k % IN, (double)all[k],
                  (double)expected(kinds[i].kind, k / IN, k % IN));
        test_check_tiles(w, all);
        test_check_products(ctx, w, all, NIB_F32, 6);
        test_check_products(ctx, w, all, NIB_BF16, 6);
        test_check_dots(ctx, w, all);
        nib_weight_destroy(ctx, w);
    }
}

/* GGUF's blocks of a row have its scales and decode to its values, sign of zero and all. */
static void test_blocks(void)
{
    static float want[IN], got[IN];
    enum { BYTES = IN / 32 * 17 };
    nib_ctx *ctx = test_ctx();
    nib_weight *w = NULL, *again = NULL;
    uint8_t *row = test_guarded(BYTES);
    test_parts p;
    nib_error err;

    make_parts(&p, CT_MX);
    REQUIRE_OK(test_open_weight(ctx, MXFP4, &p, &w, &err), err);
    for (size_t r = 0; r < OUT; r++) {
        CHECK(nib_weight_block_row(w, "MXFP4", r, row), "row %zu", r);
        for (size_t g = 0; g < IN / 32; g++)
            CHECK(row[17 * g] == scales[r * (IN / 32) + g], "row %zu, scale %zu", r, g);
        REQUIRE_OK(nib_weight_blocks(ctx, "MXFP4", 1, IN, row, NULL, &again, &err), err);
        nib_weight_decode(w, r, r + 1, want);
        nib_weight_decode(again, 0, 1, got);
        CHECK(memcmp(want, got, sizeof want) == 0, "row %zu has other values", r);
        nib_weight_destroy(ctx, again);
    }
    nib_weight_destroy(ctx, w);
    make_parts(&p, CT_NV);
    REQUIRE_OK(test_open_weight(ctx, NVFP4, &p, &w, &err), err);
    CHECK(!nib_weight_block_row(w, "MXFP4", 0, NULL), "NVFP4 as MXFP4");
    nib_weight_destroy(ctx, w);
}

/* What is changed of the tensors before they are opened. */
typedef enum change { NOTHING, NO_SCALE, NO_GLOBAL, BOTH, SCALE_TYPE, FEWER, ODD, ZERO,
                      NOT_A_NUMBER, OTHER_WAY, TWO, RANK } change;

static void apply(test_parts *p, change what)
{
    nib_part *scale = &p->items[1], *whole = &p->items[2];

    switch (what) {
    case NOTHING: break;
    case NO_SCALE: scale->name = "n.weight_scale"; break;
    case NO_GLOBAL: whole->name = "n.x"; break;
    case BOTH:
        p->items[p->count] = p->items[0];
        p->items[p->count++].name = "m.weight";
        break;
    case SCALE_TYPE: scale->dtype = NIB_F16; break;
    case FEWER: scale->shape[1]--; break;
    case ODD: p->items[0].shape[1] -= 4; break;
    case ZERO: global = 0; break;
    case NOT_A_NUMBER: global = NAN; break;
    case OTHER_WAY: global = 1 / global; break;
    case TWO: whole->elements = 2; break;
    case RANK: p->items[0].rank = 1; break;
    }
}

static void test_refusals(void)
{
    static const struct { const char *config; which kind; change what; const char *says;
    } cases[] = {
        { NVFP4, CT_NV, NOTHING, NULL },
        { NVFP4, CT_NV, NO_SCALE, "m.weight_packed or .weight_scale is missing" },
        { NVFP4, CT_NV, NO_GLOBAL, "m.weight_global_scale is missing" },
        { NVFP4, CT_NV, BOTH, "are both there" },
        { NVFP4, CT_NV, SCALE_TYPE, "m.weight_scale: dtype float16, expected float8_e4m3fn" },
        { NVFP4, CT_NV, FEWER, "m.weight_scale: [37, 5] of rank 2, expected [37, 6]" },
        { NVFP4, CT_NV, ODD, "m.weight_packed: 88 inputs are no whole groups of 16" },
        { NVFP4, CT_NV, ZERO, "m.weight_global_scale is 0" },
        { NVFP4, CT_NV, NOT_A_NUMBER, "m.weight_global_scale is nan" },
        { NVFP4, CT_NV, OTHER_WAY, "it divides here, and is far above 1" },
        { NVFP4, CT_NV, TWO, "m.weight_global_scale: 2 values of float32, expected one" },
        { NVFP4, CT_NV, RANK, "m.weight_packed: uint8 of rank 1, expected a matrix" },
        { NVFP4, CT_MX, NOTHING, "m.weight_scale: dtype uint8, expected float8_e4m3fn (NVFP4)" },
        { MXFP4, CT_MX, NOTHING, NULL },
        { MXFP4, CT_MX, SCALE_TYPE, "m.weight_scale: dtype float16, expected uint8 (MXFP4)" },
        { MXFP4, CT_MX, FEWER, "m.weight_scale: [37, 2] of rank 2, expected [37, 3]" },
        { MXFP4, CT_NV, NOTHING, "m.weight_scale: dtype float8_e4m3fn, expected uint8 (MXFP4)" },
        { CT(", \"strategy\": \"group\", \"group_size\": 16"), CT_NV, NOTHING,
          "floats of 4 bits with strategy group and group_size 16" },
        { CT(", \"strategy\": \"channel\""), CT_NV, NOTHING, "strategy channel and group_size" },
        { MODELOPT, MO_NV, NOTHING, NULL },
        { MODELOPT, MO_NV, NO_GLOBAL, "m.weight_scale_2 is missing" },
        { MODELOPT, MO_NV, OTHER_WAY, "it multiplies here, and is far below 1" },
        { MODELOPT, CT_NV, NOTHING, "m.weight is missing" },
        { "{\"quant_method\": \"fp8\"}", MO_NV, NOTHING, "m.weight: uint8 beside m.weight_scale" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_weight *w = NULL;
        nib_error err = { 0 };
        test_parts p;
        nib_status status;

        make_parts(&p, cases[i].kind);
        apply(&p, cases[i].what);
        status = test_open_weight(ctx, cases[i].config, &p, &w, &err);
        if (cases[i].says)
            CHECK(status && !w && strstr(err.message, cases[i].says), "%zu: '%s', expected '%s'",
                  i, status ? err.message : "taken", cases[i].says);
        else
            CHECK(!status && w, "%zu: %s", i, err.message);
        nib_weight_destroy(ctx, w);
    }
}

/* Random weights that plans are timed with are finite numbers, of about those of models. */
static void test_random(void)
{
    static const char *const forms[] = { "mxfp4", "nvfp4", "fp8 32x48", "fp8 channel inverse" };
    static float all[OUT * IN];
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(forms); i++) {
        nib_form f = { .dtype = NIB_BF16 };
        nib_weight *blank = NULL, *w = NULL;
        double sum = 0;
        nib_error err;

        REQUIRE(nib_form_parse(forms[i], &f));
        REQUIRE_OK(nib_weight_blank(ctx, &f, OUT, IN, &blank, &err), err);
        REQUIRE_OK(nib_weight_fill(ctx, blank, &w, &err), err);
        CHECK(w->bytes == blank->bytes && w->owned_bytes == w->bytes, "%s: %zu bytes", forms[i],
              w->bytes);
        nib_weight_decode(w, 0, OUT, all);
        for (size_t k = 0; k < OUT * IN; k++) sum += (double)all[k] * (double)all[k];
        sum = sqrt(sum / (OUT * IN));
        CHECK(sum > 1e-3 && sum < 0.3, "%s: a deviation of %g", forms[i], sum);
        nib_weight_destroy(ctx, blank);
        nib_weight_destroy(ctx, w);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "kinds", test_kinds }, { "refusals", test_refusals }, { "random", test_random },
        { "blocks", test_blocks },
    };
    return test_main("quant/test_float4", cases, NIB_COUNT(cases));
}
