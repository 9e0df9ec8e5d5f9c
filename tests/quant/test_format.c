/* test_format.c - which format a quantization_config and a caller's settings mean, what each writes
 * it reads, and what is refused with the list of what is known. */
#include <string.h>

#include "model/held.h"
#include "quant/format.h"
#include "test.h"

static nib_status stored(nib_ctx *ctx, const char *json, nib_held *out, nib_error *err)
{
    json_t *config = NULL;
    char text[600];
    nib_status status;

    snprintf(text, sizeof text, "{\"quantization_config\": %s}", json);
    config = json_loads(text, 0, NULL);
    if (!config) return nib_fail(err, NIB_E_FORMAT, "the test's JSON");
    status = nib_held_read(ctx, config, "dir/config.json", out, err);
    json_decref(config);
    return status;
}

/* says: the form's text, NULL where dense, or a part of the message of a refusal. */
static void test_stored(void)
{
    static const struct { const char *json; nib_status status; const char *says; } cases[] = {
        { "null", NIB_OK, NULL },
        { "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true}", NIB_OK, "nf4 64" },
        { "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true, "
          "\"bnb_4bit_quant_type\": null}",
          NIB_OK, "nf4 64" },
        { "{\"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"fp4\","
          " \"bnb_4bit_use_double_quant\": true, \"llm_int8_skip_modules\": [\"lm_head\"]}",
          NIB_OK, "fp4 64 double" },
        { "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": false, \"load_in_8bit\": false}",
          NIB_OK, NULL },
        { "{\"quant_method\": \"bitsandbytes\"}", NIB_OK, NULL },
        { "{\"quant_method\": \"bitsandbytes\", \"load_in_8bit\": true, \"llm_int8_threshold\": 5}",
          NIB_OK, "int8" },
        { "{\"load_in_8bit\": true, \"llm_int8_threshold\": \"high\"}", NIB_E_FORMAT,
          "llm_int8_threshold: expected a number, got 'high'" },
        { "{\"load_in_8bit\": true, \"llm_int8_has_fp16_weight\": true}", NIB_E_UNSUPPORTED,
          "llm_int8_has_fp16_weight: true" },
        { "{\"bits\": 4, \"group_size\": 128, \"quant_method\": \"gptq\"}", NIB_OK,
          "gptq 4 128 sym" },
        { "{\"bits\": 4, \"quant_method\": \"gpt5\"}", NIB_E_UNSUPPORTED,
          "quantized with gpt5; known are: bitsandbytes with load_in_4bit" },
        { "{\"quant_method\": \"exl3\", \"bits\": 3.5}", NIB_E_UNSUPPORTED,
          "quantized with EXL3 (quant_method exl3), which is not read; known are: bitsandbytes" },
        { "{\"group_size\": 64, \"bits\": 4}", NIB_OK, "mlx 4 64 affine" },
        { "{\"group_size\": 64, \"beads\": 4}", NIB_E_UNSUPPORTED,
          "no quant_method (it has group_size 64, beads 4); known are: bitsandbytes with" },
        { "{}", NIB_E_UNSUPPORTED, "no quant_method (it has nothing)" },
        { "{\"quant_method\": null, \"load_in_4bit\": false}", NIB_E_UNSUPPORTED,
          "no quant_method" },
        { "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true, "
          "\"bnb_4bit_quant_type\": \"nf5\"}", NIB_E_FORMAT,
          "dir/config.json: quantization_config: bnb_4bit_quant_type: 'nf5'; "
          "known are nf4 and fp4" },
        { "{\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": 1}", NIB_E_FORMAT,
          "load_in_4bit: expected true or false, got '1'" },
        { "[4]", NIB_E_FORMAT, "not an object" },
        /* what a list, an object or a word of it is not */
        { "{\"quant_method\": \"awq\", \"modules_to_not_convert\": \"lm_head\"}", NIB_E_FORMAT,
          "modules_to_not_convert: expected a list of names or null, got lm_head" },
        { "{\"quant_method\": \"mxfp4\", \"modules_to_not_convert\": [\"a\", null]}",
          NIB_E_FORMAT, "modules_to_not_convert: entry 1 is null, expected a name" },
        { "{\"quant_method\": \"awq\", \"modules_to_not_convert\": []}", NIB_OK, "awq 4 128 asym" },
        { "{\"quant_method\": \"gptq\", \"dynamic\": [\"lm_head\"]}", NIB_E_FORMAT,
          "dynamic: expected an object of patterns or null, got" },
        { "{\"quant_method\": \"gptq\", \"dynamic\": {\"lm_head\": 8}}", NIB_E_FORMAT,
          "dynamic/lm_head: expected an object, got 8" },
        { "{\"quant_method\": \"gptq\", \"dynamic\": {\"-:lm_head\": null}}", NIB_OK,
          "gptq 4 128 sym" },
        { "{\"quant_method\": \"auto-round\", \"data_type\": \"mx_fp\"}", NIB_E_UNSUPPORTED,
          "data_type 'mx_fp'; known is int" },
        { "{\"quant_method\": \"auto-round\", \"packing_format\": \"auto_round:fp8\"}",
          NIB_E_UNSUPPORTED, "quantized with auto-round (packing_format auto_round:fp8)" },
        { "{\"quant_method\": \"fp8\", \"expert_dtype\": \"fp4\"}", NIB_E_FORMAT,
          "expert_dtype: 'fp4'; known are fp8" },
        { "{\"quant_method\": \"fp8\", \"scale_fmt\": \"fp32\"}", NIB_E_FORMAT,
          "scale_fmt: 'fp32'; known are float and ue8m0" },
        { "{\"quant_method\": \"fp8\", \"activation_scheme\": \"some\"}", NIB_E_FORMAT,
          "activation_scheme: 'some'; known are dynamic and static" },
        { "{\"quant_method\": \"compressed-tensors\", \"format\": \"mxfp8-quantized\"}",
          NIB_E_UNSUPPORTED, "format mxfp8-quantized; known are pack-" },
        { "{\"quant_method\": \"compressed-tensors\", \"moe_sparsity_config\": {\"a\": 1}}",
          NIB_E_UNSUPPORTED, "moe_sparsity_config" },
    };

    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_held held = { 0 };
        nib_error err = { 0 };
        char text[NIB_FORM_ROOM] = "dense";
        nib_status status = stored(ctx, cases[i].json, &held, &err);

        CHECK(status == cases[i].status, "%s: %d %s", cases[i].json, (int)status, err.message);
        if (status == cases[i].status && status)
            CHECK(strstr(err.message, cases[i].says), "%s: %s", cases[i].json, err.message);
        if (!status && held.format) nib_form_text(&held.form, text);
        if (!status && !cases[i].status)
            CHECK(strcmp(text, cases[i].says ? cases[i].says : "dense") == 0, "%s: %s",
                  cases[i].json, text);
        nib_held_free(ctx, &held); /* after a failure too */
    }
}

static char warned[1000];

static void keep_warning(void *user, nib_message_kind kind, const char *text)
{
    (void)user;
    if ((kind == NIB_MESSAGE_WARNING && strstr(text, "not used")) ||
        (kind == NIB_MESSAGE_NOTE && strstr(text, "without effect")))
        snprintf(warned, sizeof warned, "%s", text);
}

/* Keys that nobody reads are named, not what lies in them; those that only tell how the file was
 * made are not.  What is read and not done is. */
static void test_unused(void)
{
#define GROUP "\"config_groups\": {\"g\": {\"targets\": [\"Linear\"], \"weights\": {\"num_bits\": 4"
#define PACKED "\"quant_method\": \"compressed-tensors\", "
    static const struct { const char *json, *names; } cases[] = {
        { "{\"quant_method\": \"gptq\", \"damp_percent\": 0.1, \"meta\": {\"a\": {\"b\": 1}}}",
          NULL },
        { "{\"quant_method\": \"gptq\", \"adapter\": {\"name\": \"lora\", \"rank\": 4}}",
          "1 key not used: adapter" },
        { "{\"quant_method\": \"gptq\", \"dynamic\": {\"a.b\": {\"bits\": 8, \"rotate\": 1}}}",
          "1 key not used: dynamic/a.b/rotate" },
        { "{\"quant_method\": \"awq\", \"bits\": 4, \"clip\": true, \"bit\": 4}",
          "2 keys not used: clip, bit" },
        { "{\"load_in_4bit\": true, \"bnb_4bit_rotated\": true}",
          "1 key not used: bnb_4bit_rotated" },
        { "{\"quant_method\": \"fp8\", \"weight_block_size\": [128, 128], \"hadamard\": true}",
          "1 key not used: hadamard" },
        { "{\"quant_method\": \"fp8\", \"activation_scheme\": \"dynamic\"}",
          "activation_scheme is without effect: inputs of linears stay" },
        { "{\"quant_method\": \"fp8\", \"kv_cache_scheme\": {\"num_bits\": 8}}",
          "kv_cache_scheme is without effect: keys and values stay" },
        { "{\"quant_method\": \"fp8\", \"activation_scheme\": null}", NULL },
        { "{" PACKED GROUP "}, \"input_activations\": {\"num_bits\": 8}}}}",
          "input_activations is without effect: inputs of linears stay" },
        { "{" PACKED GROUP "}, \"input_activations\": null}}}", NULL },
        { "{" PACKED GROUP ", \"zp\": 1, \"observer_kwargs\": {\"a\": 1}}, \"extra\": [1]}}}",
          "2 keys not used: config_groups/g/weights/zp, config_groups/g/extra" },
        { "{" PACKED "\"config_groups\": {\"W4A16\": [\"Linear\"]}, \"ignore\": [\"lm_head\"]}",
          NULL },
    };
    nib_ctx_options o = { .threads = 1, .message = keep_warning };

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_ctx *ctx = NULL;
        nib_held held;
        nib_error err = { 0 };
        REQUIRE_OK(nib_ctx_create(&o, &ctx, &err), err);
        *warned = 0;
        if (stored(ctx, cases[i].json, &held, &err))
            CHECK(false, "%s: %s", cases[i].json, err.message);
        CHECK(cases[i].names ? strstr(warned, cases[i].names) &&
                                   strstr(warned, "dir/config.json: quantization_config: ")
                             : !*warned, "%s: '%s'", cases[i].json, warned);
        nib_held_free(ctx, &held);
        nib_ctx_destroy(ctx);
    }
}

static void test_asked(void)
{
    static const struct {
        nib_setting list[4];
        nib_status status;
        const char *says, *idle;
    } cases[] = {
        { { { NULL, NULL } }, NIB_OK, NULL, NULL },
        { { { "load_in_4bit", "true" } }, NIB_OK, "nf4 64", NULL },
        { { { "load-in-4bit", "True" }, { "bnb-4bit-blocksize", "4096" } },
          NIB_OK,
          "nf4 4096",
          NULL },
        { { { "load_in_4bit", "true" }, { "bnb_4bit_quant_type", NULL } }, NIB_OK, "nf4 64", NULL },
        { { { "load_in_4bit", "false" }, { "load_in_4bit", "true" } }, NIB_OK, "nf4 64", NULL },
        { { { "load_in_4bit", "false" } }, NIB_OK, NULL, NULL },
        { { { "bnb_4bit_quant_type", "fp4" } }, NIB_OK, NULL, "bnb_4bit_quant_type" },
        { { { "bnb_4bit_use_double_quant", "false" } }, NIB_OK, NULL, NULL },
        { { { "bnb_4bit_quant_type", "nf5" } }, NIB_E_INVALID, "'nf5'", NULL }, /* idle, but none */
        { { { "load_in_4bit", "true" }, { "bnb_4bit_blocksize", "63" } },
          NIB_E_INVALID,
          "bnb_4bit_blocksize: expected a power of two from 32 to 4096, got 63",
          NULL },
        { { { "load_in_4bit", "true" }, { "bnb_4bit_blocksize", "-64" } },
          NIB_E_INVALID,
          "expected an integer, got '-64'",
          NULL },
        { { { "load_in_4bit", "" } }, NIB_E_INVALID, "expected true or false, got ''", NULL },
        { { { "load_in_8bit", "true" }, { "llm-int8-threshold", "0" } }, NIB_OK, "int8", NULL },
        { { { "load_in_8bit", "true" }, { "load_in_4bit", "true" } },
          NIB_E_INVALID,
          "both set",
          NULL },
        { { { "load_in_4bit", "true" }, { "llm_int8_threshold", "6.0" } }, NIB_OK, "nf4 64", NULL },
        { { { "load_in_4bit", "true" }, { "llm_int8_threshold", "5" } },
          NIB_OK,
          "nf4 64",
          "llm_int8_threshold" },
        { { { "bits", "4" } }, NIB_OK, NULL, "bits" },
        { { { "tidbits", "4" } },
          NIB_E_INVALID,
          "unknown setting 'tidbits' of weights; known are load_in_4bit, bnb_4bit_quant_type",
          NULL },
        { { { "format", "gptq" }, { "bits", "3" } }, NIB_OK, "gptq 3 128 sym", NULL },
        { { { "format", "awq" }, { "bits", "3" } }, NIB_E_INVALID, "AWQ packs 4, got 3", NULL },
        { { { "format", "gptq" }, { "bits", "5" } },
          NIB_E_INVALID,
          "expected 2, 3, 4 or 8, got 5",
          NULL },
        { { { "format", "gptq" }, { "group_size", "0" } },
          NIB_E_INVALID,
          "expected -1 (a row)",
          NULL },
        { { { "format", "gguf" } },
          NIB_E_INVALID,
          "format: 'gguf'; known are gptq, awq and compressed-tensors",
          NULL },
        { { { "format", "gptq" }, { "load_in_4bit", "true" } },
          NIB_E_INVALID,
          "load_in_4bit and gptq are both set",
          NULL },
    };

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        nib_held held;
        const nib_setting *idle;
        nib_error err = { 0 };
        char text[NIB_FORM_ROOM] = "dense";
        nib_status status = nib_held_asked(cases[i].list, &held, &idle, &err);

        CHECK(status == cases[i].status, "case %zu: %d %s", i, (int)status, err.message);
        if (status) {
            CHECK(strstr(err.message, cases[i].says), "case %zu: %s", i, err.message);
            continue;
        }
        if (held.format) nib_form_text(&held.form, text);
        CHECK(strcmp(text, cases[i].says ? cases[i].says : "dense") == 0, "case %zu: %s", i, text);
        CHECK(cases[i].idle ? idle && strcmp(idle->key, cases[i].idle) == 0 : !idle,
              "case %zu: %s is idle", i, idle ? idle->key : "nothing");
    }
}

/* --- what is written is read --- */

static bool find_part(void *self, const char *name, nib_part *out)
{
    const nib_parts_out *parts = self;

    for (size_t i = 0; i < parts->count; i++) {
        const nib_part_out *p = &parts->parts[i];
        if (strcmp(p->name, name) != 0) continue;
        *out = (nib_part){ .name = p->name, .dtype = p->dtype, .bytes = p->bytes, .data = p->data,
                           .rank = p->rank, .shape = { p->shape[0], p->shape[1] },
                           .elements = p->bytes / nib_dtype_bytes(p->dtype) };
        return true;
    }
    return false;
}

static void check_config(nib_ctx *ctx, const nib_held *held, const char *text)
{
    static const char *const skipped[] = { "lm_head", NULL };
    static const nib_format_module modules[] = {
        { "lm_head", "Linear", true, 0 }, { "model.embed_tokens", "Embedding", false, 0 },
        { "model.layers.0.self_attn.q_proj", "Linear", false, 0 } };
    char *config = held->format->config(ctx, &held->form, skipped);
    json_t *json = config ? json_loads(config, 0, NULL) : NULL;
    char again[NIB_FORM_ROOM] = "dense";
    nib_held read;
    nib_error err;

    REQUIRE(json, "%s: %s", text, config ? config : "nothing");
    CHECK(strcmp(json_string_value(json_object_get(json, "quant_method")), held->format->method) ==
              0, "%s", config);
    REQUIRE_OK(stored(ctx, config, &read, &err), err);
    if (read.format) nib_form_text(&read.form, again);
    /* the block size is no key of a config: its readers take it from the tensors */
    CHECK(strncmp(again, text, 3) == 0 && !strstr(again, "double") == !strstr(text, "double"),
          "%s became %s", text, again);
    for (size_t i = 0; i < NIB_COUNT(modules); i++) {
        bool packed;
        nib_form form;
        REQUIRE_OK(read.format->packs(&read, &modules[i], &packed, &form, &err), err);
        CHECK(packed == (i > 1), "%s: %s packed %d", text, modules[i].name, packed);
    }
    nib_held_free(ctx, &read);
    json_decref(json);
    nib_free(ctx, config);
}

static void check_parts(nib_ctx *ctx, const nib_held *held, const char *text)
{
    const nib_format *f = held->format;
    const nib_format_module m = { .name = "m", .class = "Linear" };
    /* grouped integers pack whole words */
    const size_t out = f->flag ? 24 : 64, in = f->flag ? 70 : 256;
    static float values[64 * 256];
    static const char *const skipped[] = { "lm_head", NULL };
    char *config = f->config(ctx, &held->form, skipped);
    nib_held said = { 0 };
    nib_weight *dense = NULL, *w = NULL, *read = NULL;
    nib_parts_out planned, parts;
    nib_part_finder find = { find_part, &parts };
    nib_learned learned = { 0 };
    size_t described = 0;
    bool same = false;
    nib_error err;

    for (size_t i = 0; i < out * in; i++) values[i] = test_rand_float();
    REQUIRE_OK(stored(ctx, config, &said, &err), err);
    nib_free(ctx, config);
    REQUIRE_OK(nib_weight_dense(ctx, out, in, NIB_F32, values, NULL, &dense, &err), err);
    REQUIRE_OK(nib_form_encode(ctx, &held->form, dense, &w, &err), err);
    if (f->must_learn && f->must_learn(&held->form)) learned = f->learn(w);
    REQUIRE_OK(f->plan(&held->form, out, in, learned, "m.weight", &planned, &err), err);
    REQUIRE_OK(f->tensors(w, "m.weight", &parts, &err), err);
    REQUIRE(planned.count == parts.count, "%s: %zu planned", text, planned.count);
    for (size_t i = 0; i < parts.count; i++) {
        const nib_part_out *p = &parts.parts[i];
        const nib_format *whose;
        uint64_t shape[2] = { 0 };
        nib_form form;
        nib_part part;
        char described_text[NIB_FORM_ROOM];

        CHECK(strcmp(planned.parts[i].name, p->name) == 0 && planned.parts[i].bytes == p->bytes &&
                  !planned.parts[i].data && p->data,
              "%s: %s", text, p->name);
        CHECK(!i || nib_format_is_piece_of(f, parts.parts[0].name, p->name), "%s: no piece",
              p->name);
        REQUIRE(find_part(&parts, p->name, &part), "%s", p->name);
        CHECK(nib_format_is_piece(&part, find), "%s: counted as values", p->name);
        REQUIRE_OK(nib_format_describe(&part, find, &said, &whose, shape, &form, &err), err);
        if (!whose) continue;
        nib_form_text(&form, described_text);
        described++;
        CHECK(whose == f && shape[0] == out && shape[1] == in && strcmp(described_text, text) == 0,
              "%s: described as %s", text, described_text);
    }
    CHECK(described == 1, "%s: described by %zu tensors", text, described);
    REQUIRE_OK(f->open(ctx, find, &said, &m, &read, &err), err);
    REQUIRE(read, "%s: not read", text);
    REQUIRE_OK(nib_weight_same(ctx, w, read, &same, &err), err);
    CHECK(same, "%s: read as written", text);
    nib_weight_destroy(ctx, read);
    read = w;
    REQUIRE_OK(f->open(ctx, find, &said, &(nib_format_module){ .name = "n", .class = "Linear" },
                       &read, &err), err);
    CHECK(!read, "a module that is not there");
    nib_weight_destroy(ctx, w);
    nib_weight_destroy(ctx, dense);
    nib_held_free(ctx, &said);
}

static void test_round_trip(void)
{
    static const nib_setting lists[][5] = {
        { { "load_in_4bit", "true" } },
        { { "load_in_4bit", "true" }, { "bnb_4bit_use_double_quant", "true" } },
        { { "load_in_4bit", "true" }, { "bnb_4bit_quant_type", "fp4" },
          { "bnb_4bit_blocksize", "128" } },
        { { "load_in_8bit", "true" }, { "llm_int8_threshold", "3.5" } },
        { { "format", "gptq" } },
        { { "format", "gptq" }, { "bits", "3" }, { "group-size", "-1" } },
        { { "format", "gptq" }, { "bits", "8" }, { "group_size", "32" }, { "sym", "false" } },
        { { "format", "gptq" }, { "bits", "2" }, { "group_size", "64" }, { "sym", "false" } },
        { { "format", "awq" }, { "group_size", "64" } },
        { { "format", "awq" }, { "sym", "true" } },
        { { "format", "compressed-tensors" } },
        { { "format", "compressed-tensors" }, { "bits", "3" }, { "sym", "false" } },
        { { "format", "compressed-tensors" }, { "bits", "8" }, { "group_size", "-1" } },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(lists); i++) {
        char text[NIB_FORM_ROOM], again[NIB_FORM_ROOM];
        const nib_setting *idle;
        nib_settings settings;
        nib_held held, twice;
        nib_error err;

        REQUIRE_OK(nib_held_asked(lists[i], &held, &idle, &err), err);
        nib_form_text(&held.form, text);
        held.format->settings(&held.form, &settings);
        for (size_t k = 0; held.format->keys[k]; k++)
            CHECK(nib_setting_value(settings.items, held.format->keys[k]), "%s is not given",
                  held.format->keys[k]);
        REQUIRE_OK(nib_held_asked(settings.items, &twice, &idle, &err), err);
        nib_form_text(&twice.form, again);
        CHECK(twice.format == held.format && strcmp(text, again) == 0, "%s became %s", text, again);
        check_config(ctx, &held, text);
        check_parts(ctx, &held, text);
    }
}

/* As transformers' integrations/bitsandbytes.py reads the list. */
static void test_skips(void)
{
    static const struct { const char *entry, *module; bool skipped; } cases[] = {
        { "lm_head", "lm_head", true },
        { "q_proj", "model.layers.0.self_attn.q_proj", true },
        { "model.layers.1.mlp.up_proj", "model.layers.1.mlp.up_proj", true },
        { "layers.1", "model.layers.1.mlp.up_proj", true },
        { "layers.1", "model.layers.11.mlp.up_proj", false },
        { "mlp", "model.layers.1.mlp.up_proj", true },
        { "proj", "model.layers.1.mlp.up_proj", false },
        { "up", "model.layers.1.mlp.up_proj", false },
        { "", "model.layers.1.mlp.up_proj", false },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) {
        const nib_format_module m = { .name = cases[i].module, .class = "Linear" };
        char config[200];
        bool packed = false;
        nib_form form;
        nib_held held;
        nib_error err;

        snprintf(config, sizeof config,
                 "{\"load_in_4bit\": true, \"llm_int8_skip_modules\": [\"%s\"]}", cases[i].entry);
        REQUIRE_OK(stored(ctx, config, &held, &err), err);
        REQUIRE_OK(held.format->packs(&held, &m, &packed, &form, &err), err);
        CHECK(packed != cases[i].skipped, "%s in %s", cases[i].entry, cases[i].module);
        nib_held_free(ctx, &held);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "stored", test_stored },
        { "unused", test_unused }, { "asked", test_asked },
        { "round_trip", test_round_trip },
        { "skips", test_skips },
    };
    return test_main("format", cases, NIB_COUNT(cases));
}
