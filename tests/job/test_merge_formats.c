/* test_merge_formats.c - merging into low-bit formats: the tensors are those that quantize makes of
 * the dense merge; several adapters are summed; what is refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "adapter/adapter.h"
#include "base/filemap.h"
#include "base/outfile.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "nibble/merge.h"
#include "test.h"

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;

    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static path golden(const char *variant)
{
    return joined(test_data("tests/golden/models"), variant);
}

static json_t *config_of(const char *dir)
{
    return json_load_file(joined(dir, "config.json").s, 0, NULL);
}

/* The same tensors with the same bytes, and the same quantization_config. */
static void check_same_model(const char *a, const char *b, const char *what)
{
    nib_tensors *x = NULL, *y = NULL;
    json_t *p = config_of(a), *q = config_of(b);
    nib_error err;
    bool good = !nib_tensors_open(test_ctx(), a, &x, &err) &&
                !nib_tensors_open(test_ctx(), b, &y, &err);

    CHECK(good, "%s: %s", what, err.message);
    CHECK(good && nib_tensors_count(x) == nib_tensors_count(y), "%s: number of tensors", what);
    for (size_t i = 0; good && i < nib_tensors_count(x); i++) {
        const nib_tensor *t = nib_tensors_at(x, i), *u = nib_tensors_find(y, t->name);
        CHECK(u && u->dtype == t->dtype && u->bytes == t->bytes &&
                  memcmp(u->data, t->data, t->bytes) == 0,
              "%s: %s", what, t->name);
    }
    CHECK(!json_object_get(p, "quantization_config") ==
                  !json_object_get(q, "quantization_config") &&
              (!json_object_get(p, "quantization_config") ||
               json_equal(json_object_get(p, "quantization_config"),
                          json_object_get(q, "quantization_config"))),
          "%s: quantization_config", what);
    json_decref(p);
    json_decref(q);
    nib_tensors_close(x);
    nib_tensors_close(y);
}

/* --- each format --- */

static const struct kind {
    const char *format;
    nib_setting settings[4]; /* of merge */
    nib_setting asked[6];    /* of quantize */
    const char *form;
} kinds[] = {
    { "nf4", { { NULL, NULL } }, { { "load_in_4bit", "true" }, { NULL, NULL } }, "nf4 64" },
    { "fp4", { { "bnb_4bit_use_double_quant", "true" }, { "bnb_4bit_blocksize", "32" } },
      { { "load_in_4bit", "true" }, { "bnb_4bit_quant_type", "fp4" },
        { "bnb_4bit_use_double_quant", "true" }, { "bnb_4bit_blocksize", "32" } },
      "fp4 32 double" },
    { "int8", { { NULL, NULL } }, { { "load_in_8bit", "true" } }, "int8" },
    { "gptq", { { "group_size", "32" }, { "bits", "3" } },
      { { "format", "gptq" }, { "group_size", "32" }, { "bits", "3" } }, "gptq 3 32 sym" },
    { "awq", { { "group_size", "32" } }, { { "format", "awq" }, { "group_size", "32" } },
      "awq 4 32 asym" },
    { "compressed-tensors", { { "group_size", "32" } },
      { { "format", "compressed-tensors" }, { "group_size", "32" } },
      "pack-quantized 4 32 sym" },
};

static void check_kind(const struct kind *k, const char *variant)
{
    path model = golden(variant), adapter = joined(model.s, "adapter"),
         dense = joined(test_tmpdir(), "dense"), want = joined(test_tmpdir(), "want"),
         got = joined(test_tmpdir(), "got");
    nib_merge_result r;
    nib_merge_options o = { .model = model.s, .adapter = adapter.s, .out = dense.s,
                            .overwrite = true, .result = &r, .dtype = "float32" };
    nib_quantize_options q = { .model = dense.s, .out = want.s, .overwrite = true,
                               .settings = k->asked };
    nib_error err;

    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(r.matrices == 0 && strcmp(r.form, "dense") == 0, "%s", r.form);
    REQUIRE_OK(nib_quantize(test_ctx(), &q, NULL, &err), err);
    o.format = k->format;
    o.quantize.settings = k->settings;
    o.out = got.s;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(r.matrices > 0 && strcmp(r.form, k->form) == 0, "%s: %s", k->format, r.form);
    check_same_model(want.s, got.s, k->format);
}

/* In float32 the sums are not rounded on the way.  gpt2's weights lie transposed, gemma2's head is
 * the embedding. */
static void test_formats(void)
{
    static const char *const variants[] = { "llama", "gpt2", "gemma2", "falcon-7b", "gptj" };

    for (size_t i = 0; i < NIB_COUNT(kinds); i++)
        check_kind(&kinds[i], variants[i % NIB_COUNT(variants)]);
    for (size_t i = 0; i < 2; i++) check_kind(&kinds[i], variants[(i + 1) % NIB_COUNT(variants)]);
}

/* Without settings of its own a format is that of the base; what is dense there stays dense. */
static void test_base_form(void)
{
    static const nib_setting packed[] = { { "load_in_4bit", "true" },
                                          { "bnb_4bit_use_double_quant", "true" },
                                          { "bnb_4bit_blocksize", "32" }, { NULL, NULL } };
    static const char *const skipped[] = { "lm_head", "down_proj" };
    path model = golden("llama"), adapter = joined(model.s, "adapter"),
         base = joined(test_tmpdir(), "base"), out = joined(test_tmpdir(), "out"),
         other = joined(test_tmpdir(), "other");
    nib_merge_result r;
    nib_quantize_options q = { .model = model.s, .out = base.s, .settings = packed,
                               .skip_modules = skipped, .skip_count = 2 };
    nib_merge_options o = { .model = base.s, .adapter = adapter.s, .out = out.s, .format = "nf4",
                            .result = &r };
    json_t *p, *c;
    nib_tensors *t = NULL;
    nib_error err;

    REQUIRE_OK(nib_quantize(test_ctx(), &q, NULL, &err), err);
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(strcmp(r.form, "nf4 32 double") == 0, "%s", r.form);
    p = config_of(base.s);
    c = config_of(out.s);
    CHECK(json_array_size(json_object_get(json_object_get(c, "quantization_config"),
                                          "llm_int8_skip_modules")) == 3,
          "the head and two matrices stay dense");
    REQUIRE_OK(nib_tensors_open(test_ctx(), out.s, &t, &err), err);
    CHECK(nib_tensors_find(t, "model.layers.1.mlp.down_proj.weight")->dtype == NIB_F32);
    CHECK(nib_tensors_find(t, "model.layers.1.mlp.up_proj.weight")->dtype == NIB_U8);
    nib_tensors_close(t);
    json_decref(p);
    json_decref(c);
    o.format = "fp4";
    o.out = other.s;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(strcmp(r.form, "fp4 32 double") == 0, "%s", r.form);
}

/* quantize's own bytes, of the dense merge, and nothing of that is left. */
static void test_calibrated(void)
{
    static const nib_setting three[] = { { "bits", "3" }, { "group_size", "32" }, { NULL, NULL } };
    static const nib_setting asked[] = { { "format", "gptq" }, { "bits", "3" },
                                         { "group_size", "32" }, { NULL, NULL } };
    path model = golden("llama"), adapter = joined(model.s, "adapter"),
         dense = joined(test_tmpdir(), "dense"), data = joined(test_tmpdir(), "ids.jsonl"),
         want = joined(test_tmpdir(), "want"), got = joined(test_tmpdir(), "got");
    nib_merge_options o = { .model = model.s, .adapter = adapter.s, .out = dense.s };
    nib_quantize_options q = { .model = dense.s, .out = want.s, .settings = asked,
                               .num_calibration_samples = 3 };
    FILE *f = fopen(data.s, "w");
    json_t *config;
    nib_error err;

    for (int i = 0; f && i < 3; i++) {
        fprintf(f, "{\"input_ids\": [");
        for (int k = 0; k < 40; k++) fprintf(f, "%s%d", k ? ", " : "", (7 * i + 11 * k) % 128);
        fprintf(f, "]}\n");
    }
    REQUIRE(f && fclose(f) == 0);
    q.calibration.data = data.s;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    REQUIRE_OK(nib_quantize(test_ctx(), &q, NULL, &err), err);
    o.out = got.s;
    o.format = "gptq";
    o.quantize.settings = three;
    o.quantize.calibration.data = data.s;
    o.quantize.num_calibration_samples = 3;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    check_same_model(want.s, got.s, "gptq, calibrated");
    CHECK(!nib_file_exists(joined(got.s, ".dense").s) &&
              !nib_file_exists(joined(got.s, ".packed").s),
          "something is left");
    config = config_of(got.s);
    CHECK(strcmp(json_string_value(json_object_get(config, "_name_or_path")), got.s) == 0);
    json_decref(config);
}

/* --- routes --- */

/* Writes an adapter with random values, on a model as it is. */
static nib_status make_adapter(const char *model, const char *dir, nib_error *err)
{
    static const char *const targets[] = { "q_proj", "up_proj" };
    nib_peft_config cfg = nib_peft_config_default();
    nib_model_options o = { .model = model };
    nib_model *m = NULL;
    nib_adapter *a = NULL;
    nib_status status = nib_model_open(test_ctx(), &o, NIB_F32, (nib_model_progress){ 0 }, &m, err);

    mkdir(dir, 0777);
    if (!status)
        status = nib_peft_names_set(test_ctx(), &cfg.target_modules, NIB_PEFT_LIST, targets, 2,
                                    err);
    if (!status) status = nib_adapter_create(m, &cfg, 0, 3, &a, err);
    for (size_t i = 0; !status && i < a->params.count; i++)
        for (size_t k = 0; k < nib_param_count(a->params.items[i]); k++)
            a->params.items[i]->value[k] += 0.1f * test_rand_float();
    if (!status) status = nib_adapter_save(a, dir, NULL, err);
    nib_adapter_close(a);
    nib_peft_config_free(test_ctx(), &cfg);
    nib_model_close(m);
    return status;
}

/* An adapter that was trained on NF4, and the dense original at hand: merged dense, what it was
 * trained on has no noise.  Both ways are the merges that each has alone. */
static void test_routes(void)
{
    path dense = golden("llama"), packed = joined(test_tmpdir(), "packed"),
         adapter = joined(test_tmpdir(), "adapter"), want = joined(test_tmpdir(), "want"),
         got = joined(test_tmpdir(), "got"), other = joined(test_tmpdir(), "other");
    nib_quantize_options q = { .model = dense.s, .out = packed.s, .settings = test_four_bit };
    nib_merge_result r;
    nib_merge_options o = { .model = packed.s, .adapter = adapter.s, .out = want.s, .result = &r,
                            .dtype = "float32", .overwrite = true };
    nib_error err;

    REQUIRE_OK(nib_quantize(test_ctx(), &q, NULL, &err), err);
    REQUIRE_OK(make_adapter(packed.s, adapter.s, &err), err);
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(!*r.route, "one way: %s", r.route);
    o.model = dense.s;
    o.out = got.s;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(strcmp(r.route, "decoded") == 0, "%s", r.route);
    check_same_model(want.s, got.s, "the dense model, decoded");
    o.route = "original";
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(strcmp(r.route, "original") == 0 && r.other_form, "%s", r.route);
    o.model = packed.s;
    o.base_original = dense.s;
    o.out = other.s;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(strcmp(r.route, "original") == 0, "%s", r.route);
    check_same_model(got.s, other.s, "the original of a low-bit model");
    o.route = NULL;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(strcmp(r.route, "decoded") == 0, "%s", r.route);
    check_same_model(want.s, other.s, "the low-bit model");
}

/* --- before anything is there --- */

static void on_forecast(void *user, const nib_merge_forecast *f)
{
    *(nib_merge_forecast *)user = *f;
}

/* Of the published config of Llama-2-7B; and what is foretold of a small model is what is written.
 */
static void test_forecast(void)
{
    path model = golden("llama"), adapter = joined(model.s, "adapter"),
         out = joined(test_tmpdir(), "out");
    static const nib_setting groups[] = { { "group_size", "32" }, { NULL, NULL } };
    nib_merge_forecast f = { .bytes = 0 };
    nib_merge_result r;
    nib_merge_options o = { .model = test_data("tests/golden/recipes/llama-2-7b"),
                            .adapter = "not-there", .out = out.s, .format = "gptq",
                            .dry_run = true, .on_forecast = on_forecast, .user = &f };
    nib_error err;

    o.quantize.calibration.data = "not-there-either";
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(f.dense_bytes > 13.45e9 && f.dense_bytes < 13.55e9 && f.bytes > 3.85e9 &&
              f.bytes < 3.95e9 && f.disk_bytes == f.dense_bytes + f.bytes && f.matrices == 224,
          "%g -> %g, %d matrices", (double)f.dense_bytes, (double)f.bytes, (int)f.matrices);
    CHECK(f.merge_seconds > 0 && f.calibrate_seconds > f.merge_seconds && f.tokens == 128 * 512);
    CHECK(!nib_file_exists(out.s), "something was written");
    o = (nib_merge_options){ .model = model.s, .adapter = adapter.s, .out = out.s,
                             .format = "gptq", .dry_run = true, .on_forecast = on_forecast,
                             .user = &f, .result = &r, .quantize = { .settings = groups } };
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    o.dry_run = false;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(f.bytes == r.bytes && f.matrices == r.matrices && !strcmp(f.form, r.form),
          "%d bytes foretold, %d written", (int)f.bytes, (int)r.bytes);
}

/* --- sums --- */

/* A + .5 B at once, and one after the other, which rounds once more. */
static void test_sums(void)
{
    path model = golden("llama"), adapter = joined(model.s, "adapter"),
         sum = joined(test_tmpdir(), "sum"), first = joined(test_tmpdir(), "first"),
         both = joined(test_tmpdir(), "both");
    const nib_merge_adapter two[] = { { adapter.s, 1 }, { adapter.s, .5 } },
                            half[] = { { adapter.s, .5 } };
    nib_merge_options o = { .model = model.s, .adapters = two, .adapter_count = 2, .out = sum.s };
    nib_tensors *x = NULL, *y = NULL;
    double worst = 0;
    nib_error err;

    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    o.adapter_count = 1;
    o.out = first.s;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    o.model = first.s;
    o.adapters = half;
    o.out = both.s;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    REQUIRE_OK(nib_tensors_open(test_ctx(), sum.s, &x, &err), err);
    REQUIRE_OK(nib_tensors_open(test_ctx(), both.s, &y, &err), err);
    for (size_t i = 0; i < nib_tensors_count(x); i++) {
        const nib_tensor *t = nib_tensors_at(x, i), *u = nib_tensors_find(y, t->name);
        for (uint64_t k = 0; u && k < t->elements; k++)
            worst = fmax(worst, fabs((double)((const float *)t->data)[k] -
                                     (double)((const float *)u->data)[k]));
    }
    CHECK(worst > 0 && worst < 2e-6, "a value differs by %g", worst);
    CHECK(strlen(nib_tensors_metadata(x, "nibble.merged")) == 33, "both are written down");
    nib_tensors_close(x);
    nib_tensors_close(y);
}

/* --- taking out --- */

/* In float32 rounding leaves little; in bfloat16 it leaves what the notes say. */
static void test_unmerge(void)
{
    path model = golden("llama"), adapter = joined(model.s, "adapter"),
         merged = joined(test_tmpdir(), "merged"), out = joined(test_tmpdir(), "out");
    nib_merge_result r;
    nib_merge_options o = { .model = model.s, .adapter = adapter.s, .out = merged.s, .result = &r,
                            .dtype = "float32" };
    nib_tensors *t = NULL;
    nib_error err;

    o.unmerge = true;
    CHECK(nib_merge(test_ctx(), &o, &err) == NIB_OK, "a model that says nothing: %s", err.message);
    o.unmerge = false;
    o.overwrite = true;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    o.unmerge = true;
    o.model = merged.s;
    o.base_original = model.s;
    o.out = out.s;
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(r.equal_again > .5 && r.equal_again < 1 && r.change_left > 0 && r.change_left < 1e-6,
          "%g equal, %g left", r.equal_again, r.change_left);
    REQUIRE_OK(nib_tensors_open(test_ctx(), out.s, &t, &err), err);
    CHECK(!nib_tensors_metadata(t, "nibble.merged"), "it is still written down");
    nib_tensors_close(t);
    o.dtype = "bfloat16";
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(r.change_left > 1e-4 && r.change_left < 1e-2, "%g left", r.change_left);
    o.model = out.s;
    o.out = merged.s;
    CHECK(nib_merge(test_ctx(), &o, &err) == NIB_OK, "one that holds none any more: %s",
          err.message);
    o.format = "nf4";
    CHECK(nib_merge(test_ctx(), &o, &err) == NIB_E_INVALID && strstr(err.message, "unmerge"), "%s",
          err.message);
}

/* --- refusals --- */

static void check_refused(nib_merge_options o, const char *word)
{
    nib_error err = { 0 };
    nib_status status = nib_merge(test_ctx(), &o, &err);

    CHECK(status == NIB_E_INVALID && strstr(err.message, word), "%s: %d, %s", word, status,
          err.message);
    CHECK(!nib_file_exists(o.out), "%s: something was written", word);
}

static void test_refusals(void)
{
    static const nib_setting bits[] = { { "bits", "3" }, { NULL, NULL } };
    static const char *const skipped[] = { "lm_head" };
    path model = golden("llama"), adapter = joined(model.s, "adapter"),
         out = joined(test_tmpdir(), "out");
    const nib_merge_adapter none[] = { { adapter.s, 0 } };
    const nib_merge_options plain = { .model = model.s, .adapter = adapter.s, .out = out.s };
    nib_merge_options o = plain;
    nib_error err;

    o.route = "both";
    check_refused(o, "auto, original and decoded are known");
    o.route = "decoded";
    check_refused(o, "there is only the way");
    o.route = NULL;
    o.base_original = model.s;
    check_refused(o, "is dense");
    o.base_original = NULL;
    o.format = "q4";
    check_refused(o, "known are dense, nf4, fp4, int8, gptq, awq and compressed-tensors");
    o.format = "gguf";
    check_refused(o, "nibble export");
    o.format = "dense";
    o.quantize.settings = bits;
    check_refused(o, "bits");
    o.format = "nf4";
    check_refused(o, "bits");
    o = plain;
    o.format = "gptq";
    o.quantize.skip_modules = skipped;
    o.quantize.skip_count = 1;
    check_refused(o, "no such list");
    o = plain;
    o.adapter = NULL;
    o.adapters = none;
    o.adapter_count = 1;
    check_refused(o, "weight 0");
    CHECK(nib_disk_check(test_ctx(), out.s, UINT64_MAX, &err) == NIB_E_IO &&
              strstr(err.message, "are wanted"),
          "%s", err.message);
    CHECK(nib_disk_check(test_ctx(), out.s, 1, &err) == NIB_OK);
}

static const test_case cases[] = {
    { "each format, as quantize writes the dense merge", test_formats },
    { "back into the form of the base", test_base_form },
    { "calibrated, as quantize does the dense merge", test_calibrated },
    { "a dry run", test_forecast },
    { "both ways of a QLoRA merge", test_routes },
    { "adapters are summed", test_sums },
    { "taken out again", test_unmerge },
    { "refusals", test_refusals },
};

int main(void) { return test_main("test_merge_formats", cases, NIB_COUNT(cases)); }
