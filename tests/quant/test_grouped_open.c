/* test_grouped_open.c - what GPTQ's, AWQ's and compressed-tensors' readers refuse, one thing wrong
 * in each (formats.md 6.7, 7.5; formats-quant.md 2.7), and layouts of old files. */
#include <math.h>
#include <string.h>

#include "model/held.h"
#include "quant/format.h"
#include "test.h"

enum { OUT = 32, IN = 64, MOST = 8 };

/* Tensors that may be changed. */
typedef struct parts { nib_part items[MOST]; size_t count; } parts;

static bool find_part(void *self, const char *name, nib_part *out)
{
    const parts *p = self;

    for (size_t i = 0; i < p->count; i++)
        if (p->items[i].name && strcmp(p->items[i].name, name) == 0)
            return *out = p->items[i], true;
    return false;
}

static nib_status read_held(nib_ctx *ctx, const char *json, nib_held *held, nib_error *err)
{
    json_t *config = json_pack("{s:o}", "quantization_config", json_loads(json, 0, NULL));
    nib_status status = nib_held_read(ctx, config, "config.json", held, err);

    json_decref(config);
    return status;
}

/* A matrix in the form of settings, as tensors of their own: copies. */
static void make_parts(nib_ctx *ctx, const nib_setting *asked, parts *p)
{
    static float values[OUT * IN];
    nib_weight *dense = NULL, *w = NULL;
    const nib_setting *idle;
    nib_parts_out made;
    nib_held held;
    nib_error err;

    p->count = 0;
    for (size_t i = 0; i < OUT * IN; i++) values[i] = test_rand_float();
    REQUIRE_OK(nib_held_asked(asked, &held, &idle, &err), err);
    REQUIRE_OK(nib_weight_dense(ctx, OUT, IN, NIB_F32, values, NULL, &dense, &err), err);
    REQUIRE_OK(nib_form_encode(ctx, &held.form, dense, &w, &err), err);
    REQUIRE_OK(held.format->tensors(w, "m.weight", &made, &err), err);
    for (size_t i = 0; i < made.count; i++) {
        const nib_part_out *from = &made.parts[i];
        void *data = memcpy(test_guarded(from->bytes), from->data, from->bytes);
        char *name = strcpy(test_guarded(strlen(from->name) + 1), from->name);
        p->items[p->count++] = (nib_part){
            .name = name, .dtype = from->dtype, .rank = from->rank,
            .shape = { from->shape[0], from->shape[1] }, .bytes = from->bytes,
            .elements = from->bytes / nib_dtype_bytes(from->dtype), .data = data };
    }
    nib_weight_destroy(ctx, w);
    nib_weight_destroy(ctx, dense);
}

/* Opened under `config`; NULL: taken. */
static void check_open(nib_ctx *ctx, const char *config, parts *p, const char *says)
{
    const nib_format_module m = { .name = "m", .class = "Linear" };
    nib_part_finder find = { find_part, p };
    nib_weight *w = NULL;
    nib_held held = { 0 };
    nib_error err = { 0 };
    nib_status status = read_held(ctx, config, &held, &err);

    for (size_t i = 0; !status && held.format->check && i < p->count; i++)
        if (p->items[i].name) status = held.format->check(&p->items[i], find, &err);
    if (!status) status = held.format->open(ctx, find, &held, &m, &w, &err);
    if (says)
        CHECK(status && !w && strstr(err.message, says), "%s: '%s', expected '%s'", config,
              status ? err.message : "taken", says);
    else
        CHECK(!status && w, "%s: %s", config, err.message);
    nib_weight_destroy(ctx, w);
    nib_held_free(ctx, &held);
}

/* What is changed of part `part`. */
typedef enum change { NOTHING, GONE, TYPE, SHAPE0, SHAPE1, RANK, NAN_FIRST, BIG_GROUP, RENAMED,
                      NEGATIVE, SCALED_TWICE } change;
typedef struct refusal {
    const char *config;
    size_t part;
    change what;
    const char *says; /* NULL: it is taken */
} refusal;

static void apply(parts *p, size_t part, change what)
{
    nib_part *t = &p->items[part];

    switch (what) {
    case NOTHING: break;
    case GONE: t->name = NULL; break;
    case TYPE: t->dtype = NIB_U8; break;
    case SHAPE0: t->shape[0]++, t->elements++; break;
    case SHAPE1: t->shape[1]++; break;
    case RANK: t->rank = 1; break;
    case NAN_FIRST: memset((void *)(uintptr_t)t->data, 0xff, 2); break;
    case BIG_GROUP: *(int32_t *)(uintptr_t)t->data = 2; break;
    case RENAMED: t->name = "m.mlp.act.scales"; break;
    case SCALED_TWICE:
        p->items[p->count] = *t;
        p->items[p->count++].name = "m.weight_global_scale";
        break;
    case NEGATIVE: ((uint8_t *)(uintptr_t)t->data)[3] |= 0x80; break;
    }
}

static void check_refusals(const nib_setting *asked, const refusal *cases, size_t count)
{
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < count; i++) {
        parts p;
        make_parts(ctx, asked, &p);
        REQUIRE(cases[i].part < p.count);
        apply(&p, cases[i].part, cases[i].what);
        check_open(ctx, cases[i].config, &p, cases[i].says);
    }
}

#define GPTQ "\"quant_method\": \"gptq\", \"bits\": 4"

static void test_gptq(void)
{
    static const nib_setting asked[] = { { "format", "gptq" }, { "group_size", "32" }, { 0 } };
    enum { QWEIGHT, QZEROS, SCALES, G_IDX };
    static const char good[] = "{" GPTQ ", \"group_size\": 32}";
    static const refusal cases[] = {
        { good, 0, NOTHING, NULL },
        { good, G_IDX, GONE, NULL },
        { good, QWEIGHT, TYPE, "m.qweight: uint8 of rank 2, expected a matrix of int32" },
        { good, QWEIGHT, GONE, "m.scales: scales of a module without codes" },
        { good, QWEIGHT, SHAPE0, "m.scales has 2 groups, config.json makes it 3" },
        { good, QWEIGHT, SHAPE1, "m.scales: [2, 32], expected [groups, 33]" },
        { good, QZEROS, GONE, "m.qzeros is missing" },
        { good, QZEROS, SHAPE0, "m.qzeros: [3, 4] of rank 2, expected [2, 4]" },
        { good, QZEROS, TYPE, "m.qzeros: dtype uint8, expected int32" },
        { good, SCALES, GONE, "m.scales is missing" },
        { good, SCALES, TYPE, "m.scales: dtype uint8, expected float16, bfloat16 or float32" },
        { good, SCALES, NAN_FIRST, "m.scales: value 0 is" },
        { good, SCALES, RENAMED, "m.mlp.act.scales: scales of a module without codes" },
        { good, G_IDX, TYPE, "m.g_idx: 64 values of uint8, expected 64 of int32" },
        { good, G_IDX, SHAPE0, "m.g_idx: 65 values of int32, expected 64" },
        { good, G_IDX, BIG_GROUP, "m.g_idx: value 0 is 2, expected a group from 0 to 1" },
        { "{" GPTQ ", \"group_size\": 32, \"desc_act\": true}", 0, NOTHING, NULL },
        { "{" GPTQ ", \"group_size\": 32, \"desc_act\": true}", G_IDX, GONE,
          "m.g_idx is missing, but desc_act in config.json makes it the group of each of the 64" },
        { "{" GPTQ ", \"group_size\": 32, \"desc_act\": true, \"dynamic\": {\"m\": "
          "{\"desc_act\": false}}}", G_IDX, GONE, NULL },
        { "{" GPTQ "}", 0, NOTHING, "m.scales has 2 groups, config.json makes it 1" },
        { "{\"quant_method\": \"gptq\", \"bits\": 8, \"group_size\": 32}", 0, NOTHING,
          "config.json makes it 1: 32 inputs (8 rows of words of 8-bit codes), group_size 32" },
        { "{\"quant_method\": \"gptq\", \"bits\": 5}", 0, NOTHING, "expected 2, 3, 4 or 8, got 5" },
        { "{" GPTQ ", \"group_size\": 0}", 0, NOTHING, "group_size: expected -1 (a row)" },
        { "{" GPTQ ", \"group_size\": -2}", 0, NOTHING,
          "group_size: expected an integer, got '-2'" },
        { "{" GPTQ ", \"pack_dtype\": \"int16\"}", 0, NOTHING,
          "pack_dtype 'int16'; known is int32" },
        { "{" GPTQ ", \"checkpoint_format\": \"marlin\"}", 0, NOTHING,
          "checkpoint_format 'marlin'; known are gptq and gptq_v2" },
        { "{" GPTQ ", \"is_marlin_format\": true}", 0, NOTHING, "checkpoint_format 'marlin'" },
        { "{" GPTQ ", \"checkpoint_format\": \"gptq_p\"}", 0, NOTHING, "as planes" },
        { "{" GPTQ ", \"checkpoint_format\": \"bitblas\"}", 0, NOTHING, "'bitblas'" },
        { "{" GPTQ ", \"dynamic\": {\"(\": {}}}", 0, NOTHING, "dynamic" },
        { "{" GPTQ ", \"group_size\": 32, \"dynamic\": {\"-:m\": {}}}", 0, NOTHING,
          "m.qweight is there, but quantization_config in config.json leaves the module dense" },
        { "{" GPTQ ", \"group_size\": 32, \"dynamic\": {\"m\": {\"bits\": 8}}}", 0, NOTHING,
          "config.json makes it 1" },
        { "{" GPTQ ", \"group_size\": 64, \"dynamic\": {\"-:other\": {}, \"+:m\": "
          "{\"group_size\": 32}, \"m.*\": {\"bits\": 8}}}",
          0, NOTHING, NULL },
        { "{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32}", 0, NOTHING,
          "m.g_idx: a GPTQ file has such a tensor, but config.json says awq" },
        { "{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32}", G_IDX, GONE,
          "m.qweight: [8, 32] has one word for each of 32 scales: GPTQ's layout" },
        { "{\"quant_method\": \"auto-round\", \"packing_format\": \"auto_round:fp8\"}", 0, NOTHING,
          "quantized with auto-round (packing_format" },
    };

    check_refusals(asked, cases, NIB_COUNT(cases));
}

static void test_awq(void)
{
    static const nib_setting asked[] = { { "format", "awq" }, { "group_size", "32" }, { 0 } };
    enum { QWEIGHT, QZEROS, SCALES };
    static const char good[] = "{\"quant_method\": \"awq\", \"bits\": 4, \"group_size\": 32}";
    static const refusal cases[] = {
        { good, 0, NOTHING, NULL },
        { "{\"quant_method\": \"awq\", \"w_bit\": 4, \"q_group_size\": 32, \"version\": \"GEMM\"}",
          0, NOTHING, NULL },
        { good, QWEIGHT, GONE, "m.scales: scales of a module without codes" },
        { good, QWEIGHT, RANK, "m.qweight: int32 of rank 1, expected a matrix" },
        { good, QWEIGHT, SHAPE1, "m.qzeros: [2, 4] of rank 2, expected [2, 5]" },
        { good, QZEROS, GONE, "m.qzeros is missing" },
        { good, SCALES, GONE, "m.scales is missing" },
        { good, SCALES, SHAPE0, "m.scales: [3, 32] of rank 2, expected [2, 32]" },
        { good, SCALES, NAN_FIRST, "m.scales: value 0 is" },
        { good, SCALES, RENAMED, "m.mlp.act.scales: scales of a module without codes" },
        { "{\"quant_method\": \"awq\", \"bits\": 8}", 0, NOTHING, "bits: AWQ packs 4, got 8" },
        { "{\"quant_method\": \"awq\", \"group_size\": 32, \"dynamic\": {\"m\": {\"bits\": 8}}}", 0,
          NOTHING, "dynamic: bits: AWQ packs 4, got 8" },
        { "{\"quant_method\": \"awq\", \"group_size\": 32, \"dynamic\": {\"m\": {\"bits\": 0}}}", 0,
          NOTHING, "dynamic: bits: AWQ packs 4, got 0" },
        { "{\"quant_method\": \"awq\", \"version\": \"gemv\"}", 0, NOTHING,
          "version 'gemv'; known is gemm" },
        { "{\"quant_method\": \"awq\", \"group_size\": 48}", 0, NOTHING,
          "m.qweight: 64 inputs are no whole groups of 48" },
        { "{\"quant_method\": \"awq\", \"group_size\": 32, \"modules_to_not_convert\": [\"m\"]}", 0,
          NOTHING, "leaves the module dense" },
        { "{\"quant_method\": \"awq\", \"group_size\": 32, \"modules_to_not_convert\": [\"n\"]}", 0,
          NOTHING, NULL },
        { "{" GPTQ ", \"group_size\": 32}", 0, NOTHING, "m.scales: [2, 32], expected [groups, 4]" },
    };

    check_refusals(asked, cases, NIB_COUNT(cases));
}

#define CT(more, weights, targets, ignore)                                                         \
    "{\"quant_method\": \"compressed-tensors\", \"quantization_status\": \"compressed\", " more    \
    "\"ignore\": [" ignore "], \"config_groups\": {\"group_0\": {\"targets\": [" targets "], "     \
    "\"weights\": {\"num_bits\": 4, \"group_size\": 32" weights "}}}}"

static void test_packed(void)
{
    static const nib_setting asked[] = { { "format", "compressed-tensors" }, { "group_size", "32" },
                                         { 0 } };
    enum { PACKED, SCALE, WHOLE };
    static const char good[] = CT("", "", "\"Linear\"", "");
    static const refusal cases[] = {
        { good, 0, NOTHING, NULL },
        { CT("", "", "\"re:m\"", "\"lm_head\""), 0, NOTHING, NULL },
        { CT("", "", "\"m\"", "\"re:.*n\""), 0, NOTHING, NULL },
        { good, PACKED, GONE, "m.weight_packed is missing" },
        { good, PACKED, TYPE, "floats of 4 bits, but config.json says weights of type int" },
        { good, PACKED, SHAPE0, "a weight of [32, 64], but its codes have 33 rows" },
        { good, PACKED, SHAPE1, "m.weight_packed: 9 words a row, expected 8 (or, of old files, 8): "
                                "64 inputs of 4 bits" },
        { good, SCALE, GONE, "m.weight_scale is missing" },
        { good, SCALE, SHAPE1, "m.weight_scale: [32, 3], config.json makes it [32, 2]" },
        { good, SCALE, NEGATIVE, "m.weight_scale: value 0 is -" },
        { good, SCALE, SCALED_TWICE, "m.weight_global_scale: known are integers without it" },
        { good, WHOLE, GONE, "m.weight_shape is missing" },
        { good, WHOLE, TYPE, "m.weight_shape: 2 values of uint8, expected two of int64" },
        { CT("", "", "\"Embedding\"", ""), 0, NOTHING, "no group's targets name the module" },
        { CT("", "", "\"Linear\"", "\"re:m\""), 0, NOTHING, "or ignore does" },
        { CT("", ", \"symmetric\": false", "\"Linear\"", ""), 0, NOTHING,
          "config.json says symmetric false, and weight_zero_point is missing" },
        { CT("", ", \"type\": \"float\"", "\"Linear\"", ""), 0, NOTHING,
          "m.weight_packed: integers, but config.json says weights of type float and 4 bits" },
        { CT("", ", \"type\": \"float\", \"num_bits\": 6", "\"Linear\"", ""), 0, NOTHING,
          "compressed-tensors with weights of type float" },
        { CT("", ", \"type\": \"float\", \"symmetric\": false", "\"Linear\"", ""), 0, NOTHING,
          "compressed-tensors with floats that are not symmetric" },
        { CT("", ", \"strategy\": \"block\"", "\"Linear\"", ""), 0, NOTHING, "strategy block" },
        { CT("", ", \"dynamic\": true", "\"Linear\"", ""), 0, NOTHING, "dynamic true" },
        { CT("\"format\": \"sparse-24-bitmask\", ", "", "\"Linear\"", ""), 0, NOTHING,
          "format sparse-24-bitmask; known are pack-, int-" },
        { CT("\"format\": \"marlin-24\", ", "", "\"Linear\"", ""), 0, NOTHING, "format marlin-24" },
        { CT("\"sparsity_config\": {\"format\": \"sparse-bitmask\"}, ", "", "\"Linear\"", ""), 0,
          NOTHING, "sparsity_config with format sparse-bitmask" },
        { CT("\"transform_config\": {\"config_groups\": {}}, ", "", "\"Linear\"", ""), 0, NOTHING,
          "transform_config: the weights are rotated" },
        { "{\"quant_method\": \"compressed-tensors\"}", 0, NOTHING, "config_groups is missing" },
        { "{\"quant_method\": \"compressed-tensors\", \"quantization_status\": \"compressed\", "
          "\"config_groups\": {\"MXFP6A16\": [\"Linear\"]}}", 0, NOTHING,
          "the preset MXFP6A16" },
        { "{\"quant_method\": \"compressed-tensors\", \"quantization_status\": \"compressed\", "
          "\"config_groups\": {\"FP8_DYNAMIC\": [\"Linear\"]}}", 0, NOTHING,
          "m.weight_packed: integers, but config.json says weights of type float" },
    };

    check_refusals(asked, cases, NIB_COUNT(cases));
}

/* Old files: as many whole codes as fit a word, and zero points of a byte each. */
static void test_old_words(void)
{
    enum { BITS = 3, EACH = 32 / BITS, WORDS = (IN + EACH - 1) / EACH };
    static uint32_t words[OUT * WORDS];
    static float scales[OUT * 2];
    static int8_t zeros[OUT * 2];
    static const int64_t shape[2] = { OUT, IN };
    const nib_format_module m = { .name = "m", .class = "Linear" };
    static float got[OUT * IN];
    parts p = { { { .name = "m.weight_packed", .dtype = NIB_I32, .rank = 2, .shape = { OUT, WORDS },
                    .elements = OUT * WORDS, .bytes = sizeof words, .data = words },
                  { .name = "m.weight_scale", .dtype = NIB_F32, .rank = 2, .shape = { OUT, 2 },
                    .elements = OUT * 2, .bytes = sizeof scales, .data = scales },
                  { .name = "m.weight_shape", .dtype = NIB_I64, .rank = 1, .shape = { 2 },
                    .elements = 2, .bytes = sizeof shape, .data = shape },
                  { .name = "m.weight_zero_point", .dtype = NIB_I8, .rank = 2, .shape = { OUT, 2 },
                    .elements = OUT * 2, .bytes = sizeof zeros, .data = zeros } }, 4 };
    nib_ctx *ctx = test_ctx();
    nib_weight *w = NULL;
    nib_held held;
    nib_error err;

    memset(words, 0, sizeof words);
    for (size_t o = 0; o < OUT; o++)
        for (size_t i = 0; i < IN; i++)
            words[o * WORDS + i / EACH] |= (uint32_t)((o + 3 * i) % 8) << i % EACH * BITS;
    for (size_t i = 0; i < OUT * 2; i++) {
        scales[i] = 0.5f + (float)i;
        zeros[i] = (int8_t)(i % 8) - 4;
    }
    REQUIRE_OK(
        read_held(ctx,
                  "{\"quant_method\": \"compressed-tensors\", \"quantization_status\": "
                  "\"compressed\", \"config_groups\": {\"g\": {\"targets\": [\"Linear\"], "
                  "\"weights\": {\"num_bits\": 3, \"group_size\": 32, \"symmetric\": false}}}}",
                  &held, &err),
        err);
    REQUIRE_OK(held.format->open(ctx, (nib_part_finder){ find_part, &p }, &held, &m, &w, &err),
               err);
    nib_weight_decode(w, 0, OUT, got);
    for (size_t i = 0; i < OUT * IN; i++) {
        size_t o = i / IN, k = i % IN, g = o * 2 + k / 32;
        float want = ((float)((o + 3 * k) % 8) - 4 - zeros[g]) * scales[g];
        CHECK(got[i] == want, "[%zu, %zu] is %g, expected %g", o, k, (double)got[i], (double)want);
    }
    nib_weight_destroy(ctx, w);
    nib_held_free(ctx, &held);
}

/* Zero points of 3 bits: GPTQModel before 7 swaps the constants of two words of three; both read as
 * 4. */
static void test_three_bits(void)
{
    static const uint32_t swapped[3] = { 0x00000000u, 0xb6db6db7u, 0x49249249u };
    static const uint32_t fields[3] = { 0xdb6db6dbu, 0xb6db6db6u, 0x6db6db6du };
    static const nib_setting asked[] = { { "format", "gptq" }, { "bits", "3" },
                                         { "group_size", "-1" }, { 0 } };
    static const char *const configs[] = {
        "{\"quant_method\": \"gptq\", \"bits\": 3, \"group_size\": -1, "
        "\"meta\": {\"quantizer\": [\"gptqmodel:5.8.0\"]}}",
        "{\"quant_method\": \"gptq\", \"bits\": 3, \"group_size\": -1, "
        "\"meta\": {\"quantizer\": [\"gptqmodel:7.7.0\"]}}",
        "{\"quant_method\": \"gptq\", \"bits\": 3, \"group_size\": -1}",
    };
    static float got[3][OUT * IN];
    nib_ctx *ctx = test_ctx();
    parts p;
    nib_error err;

    make_parts(ctx, asked, &p);
    for (size_t i = 0; i < 3; i++) {
        const nib_format_module m = { .name = "m", .class = "Linear" };
        nib_weight *w = NULL;
        nib_held held;

        memcpy((void *)(uintptr_t)p.items[1].data, i ? fields : swapped, sizeof fields);
        REQUIRE_OK(read_held(ctx, configs[i], &held, &err), err);
        REQUIRE_OK(held.format->open(ctx, (nib_part_finder){ find_part, &p }, &held, &m, &w, &err),
                   err);
        nib_weight_decode(w, 0, OUT, got[i]);
        CHECK(memcmp(got[i], got[0], sizeof got[i]) == 0, "%s decodes otherwise", configs[i]);
        nib_weight_destroy(ctx, w);
        nib_held_free(ctx, &held);
    }
}

/* Each allocation fails once: an error, and nothing is left. */
static void test_allocation_failures(void)
{
    static const nib_setting asked[] = { { "format", "gptq" }, { "group_size", "32" },
                                         { "sym", "false" }, { 0 } };
    static const char config[] = "{" GPTQ ", \"group_size\": 32, \"sym\": false, "
                                 "\"checkpoint_format\": \"gptq_v2\", "
                                 "\"dynamic\": {\"-:other\": {}, \"m\": {\"bits\": 4}}}";
    parts p;
    size_t fails = 0;

    make_parts(test_ctx(), asked, &p);
    for (size_t at = 1;; at++) {
        const nib_format_module m = { .name = "m", .class = "Linear" };
        test_heap heap = { 0 };
        nib_ctx *ctx = test_ctx_heap(&heap);
        nib_weight *w = NULL;
        nib_held held;
        size_t live = heap.live;
        nib_error err;
        nib_status status;

        heap.fail_at = heap.calls + at;
        status = read_held(ctx, config, &held, &err);
        if (!status)
            status = held.format->open(ctx, (nib_part_finder){ find_part, &p }, &held, &m, &w,
                                       &err);
        nib_weight_destroy(ctx, w);
        nib_held_free(ctx, &held);
        CHECK(heap.live == live, "allocation %zu: %zu left", at, heap.live - live);
        test_ctx_release(ctx);
        if (!status) break;
        CHECK(status == NIB_E_NOMEM, "allocation %zu: %s", at, err.message);
        fails++;
    }
    CHECK(fails >= 10, "%zu allocations", fails);
}

int main(void)
{
    static const test_case cases[] = {
        { "gptq", test_gptq },           { "awq", test_awq },
        { "packed", test_packed },       { "old_words", test_old_words },
        { "three_bits", test_three_bits }, { "allocation_failures", test_allocation_failures },
    };
    return test_main("grouped_open", cases, NIB_COUNT(cases));
}
