/* test_mlx.c - weights as MLX packs them: decoded and encoded as mlx.core does it, bit for bit, in
 * every width, group and type (tests/golden/make/mlx_golden.py); tiles, products and dots of them;
 * and what the reader refuses, one thing wrong in each (formats-quant.md 8.1). */
#include <stdio.h>
#include <string.h>

#include "model/held.h"
#include "opened.h"

enum { OUT = 33, MOST_IN = 128, JSON = 200 };

static const unsigned widths[] = { 2, 3, 4, 5, 6, 8 }, groups[] = { 32, 64, 128 };

static nib_tensors *open_golden(nib_ctx *ctx)
{
    nib_tensors *file = NULL;
    nib_error err;

    CHECK(!nib_tensors_open(ctx, test_data("tests/golden/quant/mlx.safetensors"), &file, &err),
          "%s", err.message);
    return file;
}

/* Of one matrix "4.64.scales"; NULL: it has none. */
static const nib_tensor *tensor(const nib_tensors *file, unsigned bits, unsigned group,
                                const char *piece)
{
    char name[40];

    snprintf(name, sizeof name, "%u.%u.%s", bits, group, piece);
    return nib_tensors_find(file, name);
}

static void config(char json[JSON], unsigned bits, unsigned group)
{
    snprintf(json, JSON, "{\"group_size\": %u, \"bits\": %u, \"mode\": \"affine\"}", group, bits);
}

static void make_parts(const nib_tensors *file, unsigned bits, unsigned group, test_parts *p)
{
    static const char *const pieces[] = { "weight", "scales", "biases" };
    static const char *const names[] = { "m.weight", "m.scales", "m.biases" };

    p->count = NIB_COUNT(pieces);
    for (size_t i = 0; i < p->count; i++) {
        const nib_tensor *t = tensor(file, bits, group, pieces[i]);
        REQUIRE(t, "%u bits, groups of %u: no %s", bits, group, pieces[i]);
        p->items[i] = nib_tensor_part(t);
        p->items[i].name = names[i];
    }
}

static nib_weight *open_weight(nib_ctx *ctx, const nib_tensors *file, unsigned bits, unsigned group)
{
    nib_weight *w = NULL;
    char json[JSON];
    nib_error err;
    test_parts p;

    make_parts(file, bits, group, &p);
    config(json, bits, group);
    CHECK(!test_open_weight(ctx, json, &p, &w, &err), "%s", err.message);
    return w;
}

static void each(void (*run)(nib_ctx *ctx, const nib_tensors *file, unsigned bits, unsigned group))
{
    nib_ctx *ctx = test_ctx();
    nib_tensors *file = open_golden(ctx);

    REQUIRE(file);
    for (size_t i = 0; i < NIB_COUNT(widths); i++)
        for (size_t k = 0; k < NIB_COUNT(groups); k++) run(ctx, file, widths[i], groups[k]);
    nib_tensors_close(file);
}

/* Values of the golden file, as floats. */
static float *values_of(const nib_tensor *t)
{
    float *values = test_guarded((size_t)t->elements * sizeof *values);

    nib_convert(values, NIB_F32, t->data, t->dtype, (size_t)t->elements);
    return values;
}

static void check_decoded(nib_ctx *ctx, const nib_tensors *file, unsigned bits, unsigned group)
{
    const nib_tensor *t = tensor(file, bits, group, "decoded");
    nib_weight *w = open_weight(ctx, file, bits, group);
    char text[NIB_FORM_ROOM], expected[NIB_FORM_ROOM];
    float *want, *got;
    nib_form form;

    REQUIRE(w && t && w->out == OUT && w->in == t->shape[1]);
    want = values_of(t);
    got = test_guarded(w->out * w->in * sizeof *got);
    nib_weight_decode(w, 0, w->out, got);
    for (size_t i = 0; i < w->out * w->in; i++)
        CHECK(got[i] == want[i], "%u bits, groups of %u, %s: [%zu, %zu] is %.9g, expected %.9g",
              bits, group, nib_dtype_name(t->dtype), i / w->in, i % w->in, (double)got[i],
              (double)want[i]);
    form = nib_weight_form(w);
    nib_form_text(&form, text);
    snprintf(expected, sizeof expected, "mlx %u %u affine", bits, group);
    CHECK(strcmp(text, expected) == 0, "'%s', expected '%s'", text, expected);
    test_check_tiles(w, got);
    nib_weight_destroy(ctx, w);
}

static void test_decoded(void) { each(check_decoded); }

static void check_multiplied(nib_ctx *ctx, const nib_tensors *file, unsigned bits, unsigned group)
{
    nib_weight *w = open_weight(ctx, file, bits, group);
    float all[OUT * MOST_IN];

    REQUIRE(w);
    nib_weight_decode(w, 0, w->out, all);
    for (size_t rows = 1; rows <= 5; rows += 4) {
        test_check_products(ctx, w, all, NIB_F32, rows);
        test_check_products(ctx, w, all, NIB_BF16, rows);
    }
    test_check_dots(ctx, w, all);
    nib_weight_destroy(ctx, w);
}

static void test_multiplied(void) { each(check_multiplied); }

/* What the library makes of the same values has the same codes, scales and biases. */
static void check_encoded(nib_ctx *ctx, const nib_tensors *file, unsigned bits, unsigned group)
{
    const nib_tensor *t = tensor(file, bits, group, "values");
    nib_weight *w, *dense = NULL, *made = NULL;
    nib_form form;
    bool same = false;
    nib_error err;

    if (!t) return;
    w = open_weight(ctx, file, bits, group);
    REQUIRE(w);
    form = nib_weight_form(w);
    form.dtype = t->dtype;
    REQUIRE_OK(nib_weight_dense(ctx, w->out, w->in, t->dtype, t->data, NULL, &dense, &err), err);
    REQUIRE_OK(nib_form_encode(ctx, &form, dense, &made, &err), err);
    REQUIRE_OK(nib_weight_same(ctx, made, w, &same, &err), err);
    CHECK(same, "%u bits, groups of %u: encoded otherwise than mlx does", bits, group);
    CHECK(made->bytes == w->bytes, "%zu bytes, expected %zu", made->bytes, w->bytes);
    nib_weight_destroy(ctx, made);
    nib_weight_destroy(ctx, dense);
    nib_weight_destroy(ctx, w);
}

static void test_encoded(void)
{
    nib_ctx *ctx = test_ctx();
    nib_tensors *file = open_golden(ctx);
    size_t found = 0;

    REQUIRE(file);
    for (size_t i = 0; i < NIB_COUNT(widths); i++)
        for (size_t k = 0; k < NIB_COUNT(groups); k++)
            found += tensor(file, widths[i], groups[k], "values") != NULL;
    CHECK(found == NIB_COUNT(groups), "originals of %zu matrices", found);
    nib_tensors_close(file);
    each(check_encoded);
}

/* --- floats --- */

static const struct { const char *mode, *form; unsigned group, bits; } modes[] = {
    { "mxfp4", "mxfp4", 32, 4 }, { "nvfp4", "nvfp4", 16, 4 }, { "mxfp8", "fp8 1x32", 32, 8 } };

static void float_parts(const nib_tensors *file, const char *mode, test_parts *p, char json[JSON],
                        unsigned group, unsigned bits)
{
    char name[40];

    for (size_t i = 0; i < 2; i++) {
        const nib_tensor *t;
        snprintf(name, sizeof name, "%s.%s", mode, i ? "scales" : "weight");
        t = nib_tensors_find(file, name);
        REQUIRE(t, "%s is missing", name);
        p->items[i] = nib_tensor_part(t);
    }
    p->items[0].name = "m.weight";
    p->items[1].name = "m.scales";
    p->count = 2;
    snprintf(json, JSON, "{\"group_size\": %u, \"bits\": %u, \"mode\": \"%s\"}", group, bits,
             mode);
}

/* What a dry run counts is what the file has. */
static void check_planned(nib_ctx *ctx, const nib_weight *w, const nib_form *form,
                          const char *mode)
{
    nib_weight *blank = NULL, *filled = NULL;
    nib_error err;

    REQUIRE_OK(nib_weight_blank(ctx, form, w->out, w->in, &blank, &err), err);
    CHECK(blank->bytes == w->bytes, "%s: %zu bytes are planned, the file has %zu", mode,
          blank->bytes, w->bytes);
    REQUIRE_OK(nib_weight_fill(ctx, blank, &filled, &err), err);
    CHECK(filled->bytes == w->bytes && nib_weight_finite(filled), "%s: %zu bytes, expected %zu",
          mode, filled->bytes, w->bytes);
    nib_weight_destroy(ctx, filled);
    nib_weight_destroy(ctx, blank);
}

static void test_floats(void)
{
    nib_ctx *ctx = test_ctx();
    nib_tensors *file = open_golden(ctx);
    float all[OUT * MOST_IN];

    REQUIRE(file);
    for (size_t i = 0; i < NIB_COUNT(modes); i++) {
        char json[JSON], name[40], text[NIB_FORM_ROOM];
        nib_weight *w = NULL;
        const nib_tensor *t;
        nib_form form;
        nib_error err;
        test_parts p;
        float *want;

        float_parts(file, modes[i].mode, &p, json, modes[i].group, modes[i].bits);
        REQUIRE_OK(test_open_weight(ctx, json, &p, &w, &err), err);
        snprintf(name, sizeof name, "%s.decoded", modes[i].mode);
        t = nib_tensors_find(file, name);
        REQUIRE(t && w->out == OUT && w->in == t->shape[1]);
        want = values_of(t);
        nib_weight_decode(w, 0, OUT, all);
        for (size_t k = 0; k < w->out * w->in; k++)
            CHECK(all[k] == want[k], "%s: value %zu is %g, expected %g", modes[i].mode, k,
                  (double)all[k], (double)want[k]);
        form = nib_weight_form(w);
        nib_form_text(&form, text);
        CHECK(strcmp(text, modes[i].form) == 0, "'%s', expected '%s'", text, modes[i].form);
        check_planned(ctx, w, &form, modes[i].mode);
        test_check_tiles(w, all);
        test_check_products(ctx, w, all, NIB_F32, 5);
        test_check_dots(ctx, w, all);
        nib_weight_destroy(ctx, w);
    }
    nib_tensors_close(file);
}

static void test_float_refusals(void)
{
    static const uint8_t nans[OUT * MOST_IN / 16] = { [3] = 0xff };
    static const struct { unsigned mode, group, bits; int change; const char *says; } cases[] = {
        { 0, 64, 4, 0, "mode mxfp4 has group_size 32 and bits 4, got 64 and 4" },
        { 1, 16, 8, 0, "mode nvfp4 has group_size 16 and bits 4, got 16 and 8" },
        { 0, 32, 4, 1, "m.scales: value 3 is 0xff, which is no number" },
        { 1, 16, 4, 1, "m.scales: value 3 is 0xff, which is no number" },
        { 0, 32, 4, 2, "m.scales: dtype float16, expected uint8 (mode mxfp4)" },
        { 2, 32, 8, 3, "m.biases is there, but config.json says mode mxfp8, which has none" },
        { 1, 16, 4, 4, "m.global_scale: scales of whole matrices are not read" },
        { 2, 32, 8, 5, "m.weight has 8 words a row, config.json makes it 16" },
    };
    nib_ctx *ctx = test_ctx();
    nib_tensors *file = open_golden(ctx);

    REQUIRE(file);
    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_weight *w = NULL;
        char json[JSON];
        nib_error err = { 0 };
        test_parts p;

        float_parts(file, modes[cases[i].mode].mode, &p, json, cases[i].group, cases[i].bits);
        p.items[2] = p.items[1];
        if (cases[i].change == 1) p.items[1].data = nans;
        if (cases[i].change == 2) p.items[1].dtype = NIB_F16;
        if (cases[i].change == 3) p.items[2].name = "m.biases", p.count = 3;
        if (cases[i].change == 4) p.items[2].name = "m.global_scale", p.count = 3;
        if (cases[i].change == 5) p.items[0].shape[1] = 8;
        CHECK(test_open_weight(ctx, json, &p, &w, &err) && !w && strstr(err.message, cases[i].says),
              "%zu: '%s', expected '%s'", i, err.message, cases[i].says);
    }
    nib_tensors_close(file);
}

/* --- refused --- */

typedef enum change { NOTHING, NO_CODES, NO_SCALES, NO_BIASES, DENSE, NAN_SCALE, NAN_BIAS, TYPE,
                      OTHER_TYPE, SCALE_TYPE, ROWS, GROUPS, BIAS_GROUPS, RANK, EMPTY } change;

static void apply(test_parts *p, change what)
{
    static uint16_t nans[OUT * MOST_IN];
    nib_part *codes = &p->items[0], *scales = &p->items[1], *biases = &p->items[2];

    memset(nans, 0xff, sizeof nans);
    switch (what) {
    case NOTHING: break;
    case NO_CODES: codes->name = "n.weight"; break;
    case NO_SCALES: scales->name = "n"; break;
    case NO_BIASES: biases->name = "n"; break;
    case DENSE:
        *codes = *scales;
        codes->name = "m.weight";
        p->count = 1;
        break;
    case NAN_SCALE: scales->data = nans; break;
    case NAN_BIAS: biases->data = nans; break;
    case TYPE: codes->dtype = NIB_I32; break;
    case OTHER_TYPE: biases->dtype = NIB_BF16; break;
    case SCALE_TYPE: scales->dtype = biases->dtype = NIB_U8; break;
    case ROWS: codes->shape[0]++; break;
    case GROUPS: scales->shape[1]++; break;
    case BIAS_GROUPS: biases->shape[1]--; break;
    case RANK: codes->rank = 1; break;
    case EMPTY: codes->shape[1] = codes->elements = 0; break;
    }
}

#define WITH(more) "{\"group_size\": 64, \"bits\": 4" more "}"

/* The matrix has 4 bits and groups of 64: [33, 16] words, [33, 2] scales of float32. */
static void test_refusals(void)
{
    static const struct { const char *config; change what; const char *says; } cases[] = {
        { WITH(""), NOTHING, NULL },
        { WITH(", \"mode\": \"affine\", \"n\": false, \"m\": true"), NOTHING, NULL },
        { WITH(", \"n.m\": {\"bits\": 8}, \"m\": {}"), NOTHING, NULL },
        { "{\"group_size\": 32, \"bits\": 8, \"x.m\": {\"bits\": 4}}", NOTHING, NULL },
        { WITH(", \"quant_method\": null"), NOTHING, NULL },
        { WITH(""), NO_CODES, "m.scales is there, but m.weight is missing" },
        { WITH(""), NO_SCALES, "m.biases is there, but m.scales is missing" },
        { WITH(""), NO_BIASES, "m.scales is there, but m.biases is missing" },
        { WITH(", \"m\": {\"bits\": 6}"), DENSE,
          "m.weight: config.json has it quantized with bits 6, but m.scales is missing" },
        { WITH(""), NAN_SCALE, "m.scales: value 0 is" },
        { WITH(""), NAN_BIAS, "m.biases: value 0 is" },
        { WITH(""), TYPE, "m.weight: dtype int32, expected uint32 beside m.scales" },
        { WITH(""), OTHER_TYPE, "m.biases: bfloat16 of rank 2 with 66 elements, expected float32" },
        { WITH(""), SCALE_TYPE, "m.scales: dtype uint8, expected float16, bfloat16 or float32" },
        { WITH(""), ROWS, "m.scales: rank 2 with 66 elements, expected groups for each of the " },
        { WITH(""), GROUPS, "m.weight has 16 words a row, config.json makes it 24: 3 groups "
                            "(m.scales) of group_size 64, bits 4" },
        { WITH(""), BIAS_GROUPS, "m.biases: " },
        { WITH(""), RANK, "m.weight: rank 1 with 528 elements, expected a matrix" },
        { WITH(""), EMPTY, "m.weight: rank 2 with 0 elements" },
        { "{\"group_size\": 128, \"bits\": 4}", NOTHING,
          "m.weight has 16 words a row, config.json makes it 32: 2 groups (m.scales) of "
          "group_size 128, bits 4" },
        { "{\"group_size\": 64, \"bits\": 3}", NOTHING, "config.json makes it 12" },
        { WITH(", \"m\": {\"bits\": 3}"), NOTHING, "config.json makes it 12" },
        { WITH(", \"x.m\": {\"bits\": 3}"), NOTHING, "config.json makes it 12" },
        { WITH(", \"m\": false"), NOTHING,
          "m.scales is there, but config.json leaves the module dense" },
        { WITH(", \"m\": null"), NOTHING, "leaves the module dense" },
        { "{\"group_size\": 64, \"bits\": 7}", NOTHING,
          "bits: MLX packs 2, 3, 4, 5, 6 or 8, got 7" },
        { "{\"group_size\": 16, \"bits\": 4}", NOTHING, "MLX has 32, 64 or 128, got 16" },
        { "{\"group_size\": 0, \"bits\": 4}", NOTHING, "MLX has 32, 64 or 128, got 0" },
        { "{\"group_size\": -1, \"bits\": 4}", NOTHING, "expected an integer, got '-1'" },
        { WITH(", \"m\": {\"bits\": 1}"), NOTHING, "m: bits: MLX packs 2, 3, 4, 5, 6 or 8, got 1" },
        { WITH(", \"m\": {\"width\": 1}"), NOTHING, "m: the key width is not known" },
        { WITH(", \"m\": 4"), NOTHING, "m: 4; known are group_size, bits, mode, and modules" },
        { WITH(", \"m\": {\"mode\": \"mxfp4\"}"), NOTHING,
          "m.weight has 16 words a row, config.json makes it 8" },
        { WITH(", \"mode\": \"mxfp9\""), NOTHING,
          "mode 'mxfp9' of MLX is not read; known are affine, mxfp4, nvfp4 and mxfp8" },
        { WITH(", \"m\": {\"mode\": \"mxfp9\"}"), NOTHING, "m: mode 'mxfp9' of MLX is not read" },
    };
    nib_ctx *ctx = test_ctx();
    nib_tensors *file = open_golden(ctx);

    REQUIRE(file);
    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_weight *w = NULL;
        nib_error err = { 0 };
        nib_status status;
        test_parts p;

        make_parts(file, 4, 64, &p);
        apply(&p, cases[i].what);
        status = test_open_weight(ctx, cases[i].config, &p, &w, &err);
        if (cases[i].says)
            CHECK(status && !w && strstr(err.message, cases[i].says), "%zu: '%s', expected '%s'", i,
                  status ? err.message : "taken", cases[i].says);
        else CHECK(!status && w, "%zu: %s", i, err.message);
        nib_weight_destroy(ctx, w);
    }
    nib_tensors_close(file);
}

/* What lies otherwise in MLX's files and would be read as other numbers: a convolution, and a
 * Conv1D's matrix that is dense. */
static void test_other_layouts(void)
{
    static const float values[64];
    nib_ctx *ctx = test_ctx();
    nib_tensors *file = open_golden(ctx);
    json_t *json = json_pack("{s:{s:i, s:i}}", "quantization_config", "group_size", 64, "bits", 4);
    test_parts p = { { { .name = "m.weight", .dtype = NIB_F32, .rank = 2, .shape = { 8, 8 },
                         .elements = 64, .bytes = 256, .data = values } }, 1 };
    const nib_format_module linear = { .name = "m", .class = "Linear", .in = 8 },
                            turned = { .name = "m", .class = "Conv1D", .in = 8 };
    nib_weight *w = NULL;
    nib_held held;
    nib_error err = { 0 };

    REQUIRE(file && json);
    REQUIRE_OK(nib_held_read(ctx, json, "config.json", &held, &err), err);
    CHECK(!held.format->open(ctx, test_parts_finder(&p), &held, &linear, &w, &err) && !w,
          "a dense linear: %s", err.message);
    CHECK(held.format->open(ctx, test_parts_finder(&p), &held, &turned, &w, &err) ==
                  NIB_E_UNSUPPORTED && strstr(err.message, "m.weight: MLX turns the matrices"),
          "a dense Conv1D: %s", err.message);
    make_parts(file, 4, 64, &p);
    p.items[p.count] = (nib_part){ .name = "m.conv1d.weight", .dtype = NIB_F32, .rank = 3,
                                   .shape = { 16, 4, 1 }, .elements = 64, .bytes = 256,
                                   .data = values };
    CHECK(held.format->check(&p.items[p.count], test_parts_finder(&p), &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "m.conv1d.weight: [16, 4, 1], a convolution as MLX lays it out"),
          "%s", err.message);
    p.items[p.count].name = "m.self_attn.embed_q.weight";
    CHECK(held.format->check(&p.items[p.count], test_parts_finder(&p), &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "m.self_attn.embed_q.weight: kv_b_proj in two"), "%s",
          err.message);
    p.items[p.count].name = "m.conv1d.weight";
    p.items[p.count].shape[1] = 1; /* the family's own */
    p.items[p.count].shape[2] = 4;
    CHECK(!held.format->check(&p.items[p.count], test_parts_finder(&p), &err), "%s", err.message);
    nib_held_free(ctx, &held);
    json_decref(json);
    nib_tensors_close(file);
}

/* Each allocation fails once: an error, and nothing is left. */
static void test_allocation_failures(void)
{
    nib_tensors *file = open_golden(test_ctx());
    size_t fails = 0;
    test_parts p;

    REQUIRE(file);
    make_parts(file, 4, 64, &p);
    for (size_t at = 1;; at++) {
        test_heap heap = { 0 };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_weight *w = NULL;
        size_t live = heap.live;
        nib_error err;
        nib_status status;

        heap.fail_at = heap.calls + at;
        status = test_open_weight(ctx, WITH(", \"n\": {\"bits\": 8}"), &p, &w, &err);
        nib_weight_destroy(ctx, w);
        CHECK(heap.live == live, "allocation %zu: %zu left", at, heap.live - live);
        test_ctx_release(ctx);
        if (!status) break;
        CHECK(status == NIB_E_NOMEM, "allocation %zu: %s", at, err.message);
        fails++;
    }
    CHECK(fails >= 3, "%zu allocations", fails);
    nib_tensors_close(file);
}

int main(void)
{
    static const test_case cases[] = { { "decoded", test_decoded },
                                       { "multiplied", test_multiplied },
                                       { "encoded", test_encoded },
                                       { "floats", test_floats },
                                       { "float refusals", test_float_refusals },
                                       { "refusals", test_refusals },
                                       { "other layouts", test_other_layouts },
                                       { "allocation failures", test_allocation_failures } };
    return test_main("mlx", cases, NIB_COUNT(cases));
}
