/* test_inspect.c - what inspect and doctor say, as JSON and as text; and a tokenizer by itself. */
#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "nibble/inspect.h"
#include "nibble/quantize.h"
#include "nibble/tokenize.h"

/* The report on a path below the repository's top, or on a whole path; NULL with a failure
 * noted. */
static json_t *inspect(nib_ctx *ctx, const char *path)
{
    json_t *json = NULL;
    char *report = NULL;
    nib_error err;
    bool good = !nib_inspect(ctx, path, NIB_REPORT_JSON, &report, &err) &&
                !nib_json_parse(report, strlen(report), "report", 0, &json, &err);

    CHECK(good, "%s", err.message);
    nib_report_free(ctx, report);
    return json;
}

static void check_number(const json_t *report, const char *key, long long want)
{
    long long got = json_integer_value(json_object_get(report, key));
    CHECK(got == want, "%s is %lld, expected %lld", key, got, want);
}

static void check_word(const json_t *report, const char *key, const char *want)
{
    const char *got = json_string_value(json_object_get(report, key));
    CHECK(got && strcmp(got, want) == 0, "%s is %s, expected %s", key, got ? got : "nothing", want);
}

/* Counts of transformers' num_parameters() for models/pico: 2755008. */
static void test_model(void)
{
    nib_ctx *ctx = test_ctx();
    char packed[600];
    nib_quantize_options q = { .out = packed, .settings = test_four_bit_double };
    char model[600];
    json_t *report;
    nib_error err;

    snprintf(model, sizeof model, "%s", test_data("models/pico"));
    snprintf(packed, sizeof packed, "%s/packed", test_tmpdir());
    q.model = model;
    REQUIRE(report = inspect(ctx, model));
    check_word(report, "kind", "model");
    check_word(report, "architecture", "llama");
    check_number(report, "layers", 6);
    check_number(report, "parameters", 2755008);
    check_number(report, "bytes", 5510016);
    CHECK(json_is_null(json_object_get(report, "quantization")));
    json_decref(report);

    REQUIRE_OK(nib_quantize(ctx, &q, NULL, &err), err);
    REQUIRE(report = inspect(ctx, packed));
    check_number(report, "parameters", 2755008);
    check_word(json_object_get(report, "quantization"), "form", "nf4 64 double");
    check_word(json_object_get(report, "quantization"), "bnb_4bit_quant_type", "nf4");
    check_number(json_object_get(report, "quantization"), "matrices", 42);
    check_number(json_object_get(report, "quantization"), "bnb_4bit_blocksize", 64);
    json_decref(report);
}

/* A quantization_config over dense tensors; pieces that nothing here can read. */
static void test_claims(void)
{
    nib_ctx *ctx = test_ctx();
    char dir[600], path[700];
    json_t *config = NULL, *report, *q;
    nib_tensor_plan scales = { .name = "model.layers.0.mlp.up_proj.SCB", .dtype = NIB_F32,
                               .rank = 1, .shape = { 4 } };
    nib_tensor_writer *w = NULL;
    char *text;
    nib_error err;

    snprintf(dir, sizeof dir, "%s/claims", test_tmpdir());
    REQUIRE(mkdir(dir, 0777) == 0);
    snprintf(path, sizeof path, "%s", test_data("models/pico/config.json"));
    REQUIRE_OK(nib_json_read(ctx, path, 0, &config, &err), err);
    json_object_set_new(config, "quantization_config",
                        json_pack("{s:s, s:i}", "quant_method", "gptq", "bits", 4));
    for (int kind = 0; kind < 2; kind++) {
        if (kind) json_object_del(config, "quantization_config");
        text = json_dumps(config, 0);
        snprintf(path, sizeof path, "%s/config.json", dir);
        REQUIRE_OK(nib_outfile_replace(ctx, path, text, strlen(text), &err), err);
        free(text);
        scales.name = kind ? "model.layers.0.mlp.up_proj.SCB" : "model.norm.weight";
        REQUIRE_OK(nib_tensor_writer_create(ctx, dir, "model", &scales, 1, 0, &w, &err), err);
        REQUIRE_OK(nib_tensor_writer_put(w, (float[4]){ 1 }, 16, &err), err);
        REQUIRE_OK(nib_tensor_writer_commit(w, &err), err);
        REQUIRE(report = inspect(ctx, dir));
        q = json_object_get(report, "quantization");
        check_word(q, "method", kind ? "LLM.int8" : "gptq");
        check_number(q, "matrices", 0);
        CHECK(kind ? json_is_null(json_object_get(q, "quantization_config"))
                   : json_integer_value(json_object_get(json_object_get(q, "quantization_config"),
                                                        "bits")) == 4,
              "what config.json says");
        json_decref(report);
    }
    json_decref(config);
}

static void test_adapter_and_file(void)
{
    nib_ctx *ctx = test_ctx();
    char path[600], *text;
    json_t *report;
    nib_error err;

    snprintf(path, sizeof path, "%s", test_data("tests/golden/models/llama/adapter"));
    REQUIRE(report = inspect(ctx, path));
    check_word(report, "kind", "adapter");
    check_number(report, "rank", 4);
    check_number(report, "parameters", 7168);
    json_decref(report);

    snprintf(path, sizeof path, "%s",
             test_data("tests/golden/models/llama/adapter/adapter_model.safetensors"));
    REQUIRE(report = inspect(ctx, path));
    check_word(report, "kind", "tensors");
    CHECK(json_array_size(json_object_get(report, "table")) == 28);
    json_decref(report);
    REQUIRE_OK(nib_inspect(ctx, path, NIB_REPORT_TEXT, &text, &err), err);
    CHECK(strstr(text, "layers.0.mlp.down_proj.lora_A.weight") && strstr(text, "[4, 64]"), "%s",
          text);
    nib_report_free(ctx, text);
}

/* What other verbs refuse is shown, with the reason; a config.json beside an adapter is its
 * base's. */
static void test_shown_adapters(void)
{
    static const struct { const char *name, *init, *why; } shown[] = {
        { "dora", "true", NULL },
        { "tokens", "true", NULL },
        { "pissa", "pissa", NULL },
        { "mica", "mica", NULL },
    };
    static const char other[] = "{\"peft_type\": \"IA3\", \"base_model_name_or_path\": \"b\"}";
    nib_ctx *ctx = test_ctx();
    char path[600], file[700], *bytes;
    size_t count;
    json_t *report;
    nib_error err;

    for (size_t i = 0; i < NIB_COUNT(shown); i++) {
        const char *why;
        snprintf(path, sizeof path, "%s/%s", test_data("tests/golden/adapter-files"),
                 shown[i].name);
        REQUIRE(report = inspect(ctx, path));
        check_word(report, "kind", "adapter");
        check_word(report, "peft_type", "LORA");
        check_word(report, "init_lora_weights", shown[i].init);
        check_number(report, "rank", 2);
        why = json_string_value(json_object_get(report, "not_computed"));
        CHECK(shown[i].why ? why && strstr(why, shown[i].why) : !why, "%s: %s", shown[i].name,
              why ? why : "computed");
        json_decref(report);
    }
    snprintf(path, sizeof path, "%s", test_tmpdir());
    snprintf(file, sizeof file, "%s/adapter_model.safetensors",
             test_data("tests/golden/adapter-files/mica"));
    REQUIRE_OK(nib_file_read(ctx, file, 1 << 20, &bytes, &count, &err), err);
    snprintf(file, sizeof file, "%s/adapter_model.safetensors", path);
    REQUIRE_OK(nib_outfile_replace(ctx, file, bytes, count, &err), err);
    nib_free(ctx, bytes);
    snprintf(file, sizeof file, "%s/adapter_config.json", path);
    REQUIRE_OK(nib_outfile_replace(ctx, file, other, strlen(other), &err), err);
    snprintf(file, sizeof file, "%s/config.json", path);
    REQUIRE_OK(nib_outfile_replace(ctx, file, "{}", 2, &err), err);
    REQUIRE(report = inspect(ctx, path));
    check_word(report, "kind", "adapter");
    check_word(report, "peft_type", "IA3");
    check_number(report, "parameters", 64);
    CHECK(!json_object_get(report, "rank") && json_object_get(report, "not_computed"), "IA3");
    json_decref(report);
}

static void test_refusals(void)
{
    nib_ctx *ctx = test_ctx();
    char *text = NULL;
    nib_error err;

    CHECK(nib_inspect(ctx, "/nowhere/at/all", NIB_REPORT_TEXT, &text, &err) == NIB_E_IO);
    CHECK(nib_inspect(ctx, test_tmpdir(), NIB_REPORT_TEXT, &text, &err) == NIB_E_FORMAT);
    CHECK(strstr(err.message, "neither"), "%s", err.message);
    CHECK(nib_inspect(ctx, test_data("models/pico/config.json"), NIB_REPORT_TEXT, &text, &err) ==
              NIB_E_FORMAT,
          "%s", err.message);
    CHECK(!text);
}

static void test_doctor(void)
{
    nib_ctx *ctx = test_ctx_threads(2, "ref");
    char *text;
    nib_error err;

    REQUIRE_OK(nib_doctor(ctx, NIB_REPORT_TEXT, &text, &err), err);
    CHECK(strstr(text, "kernels: ref\n") && strstr(text, "threads: 2\n") &&
              strstr(text, "compute dtype: float32\n"),
          "%s", text);
    nib_report_free(ctx, text);
}

static void test_codec(void)
{
    static const char said[] = "Once upon a time";
    nib_text_codec *c;
    const uint32_t *ids;
    const char *text;
    size_t count, bytes;
    nib_error err;

    REQUIRE_OK(nib_text_codec_open(test_ctx(), test_data("models/pico"), &c, &err), err);
    REQUIRE_OK(nib_text_codec_encode(c, said, strlen(said), true, &ids, &count, &err), err);
    CHECK(count == 4, "%zu tokens", count); /* transformers' count */
    REQUIRE_OK(nib_text_codec_decode(c, ids, count, true, &text, &bytes, &err), err);
    CHECK(bytes == strlen(said) && memcmp(text, said, bytes) == 0, "%.*s", (int)bytes, text);
    REQUIRE_OK(nib_text_codec_encode(c, "", 0, false, &ids, &count, &err), err);
    CHECK(count == 0, "%zu tokens of nothing", count);
    nib_text_codec_close(c);
}

static const test_case cases[] = {
    { "a model, dense and in 4 bit", test_model },
    { "claims without packed tensors, pieces without claims", test_claims },
    { "an adapter and a file", test_adapter_and_file },
    { "adapters that are only shown", test_shown_adapters },
    { "refusals", test_refusals },
    { "doctor", test_doctor },
    { "a tokenizer by itself", test_codec },
};

int main(void) { return test_main("test_inspect", cases, NIB_COUNT(cases)); }
