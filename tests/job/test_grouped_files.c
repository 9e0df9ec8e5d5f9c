/* test_grouped_files.c - models of grouped integers (GPTQ, AWQ, compressed-tensors) and of E4M3
 * and E2M1 floats through the verbs: reported, merged into dense ones, written, opened again, and
 * what is refused. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/json.h"
#include "model/model.h"
#include "nibble/inspect.h"
#include "nibble/merge.h"
#include "nibble/quantize.h"
#include "logits.h"
#include "test.h"

enum { VOCABULARY = 128, MOST_TOKENS = 64 };

/* dir: of tests/golden.  form and matrices: what inspect shows of the first matrix in the file,
 * and how many there are. */
static const struct { const char *name, *method, *form; int matrices; const char *dir;
} variants[] = {
    { "gptq", "gptq", NULL, 15, "grouped" },
    { "gptq-order", "gptq", NULL, 7, "grouped" },
    { "auto-round", "gptq", "gptq 2 row asym", 14, "grouped" },
    { "gptq-3", "gptq", "gptq 3 32 sym", 14, "grouped" },
    { "gptqmodel-4", "gptq", "gptq 4 32 asym act-order", 14, "grouped" },
    { "gptqmodel-8", "gptq", "gptq 8 32 sym", 14, "grouped" },
    { "autoround", "gptq", "gptq 4 32 sym", 14, "grouped" },
    { "awq", "awq", "awq 4 32 asym", 14, "grouped" },
    { "ct-packed", "compressed-tensors", NULL, 11, "grouped" },
    { "ct-int", "compressed-tensors", "int-quantized 8 row sym", 14, "grouped" },
    { "mlx", "mlx", "mlx 8 64 affine", 15, "grouped" },
    { "mlx-tied", "mlx", "mlx 5 64 affine", 13, "grouped" },
    { "mlx-floats", "mlx", NULL, 16, "grouped" },
    { "mlx-moe", "mlx", "mlx 4 32 affine", 26, "grouped" },
    { "aqlm-1x9", "aqlm", "aqlm 1x9 of 1x4", 12, "grouped" },
    { "aqlm-2x7", "aqlm", "aqlm 2x7 of 2x4", 14, "grouped" },
    { "aqlm-8x4", "aqlm", "aqlm 8x4 of 1x8", 12, "grouped" },
    { "fp8-block", "fp8", "fp8 32x48", 11, "floats" },
    { "fp8-power", "fp8", "fp8 32x48", 14, "floats" },
    { "fp8-inverse", "fp8", "fp8 channel inverse", 14, "floats" },
    { "modelopt", "modelopt", "fp8 tensor", 11, "floats" },
    { "ct-float", "compressed-tensors", "fp8 channel", 14, "floats" },
    { "ct-nvfp4", "compressed-tensors", "nvfp4", 13, "floats" },
    { "ct-mxfp4", "compressed-tensors", "mxfp4", 13, "floats" },
    { "modelopt-nvfp4", "modelopt", "nvfp4", 11, "floats" },
};

static bool packs_embedding(size_t i) { return strcmp(variants[i].method, "mlx") == 0; }
static bool is_tied(size_t i) { return strcmp(variants[i].name, "mlx-tied") == 0; }

static int parameters_of(size_t i)
{
    return is_tied(i) ? 70208 : strcmp(variants[i].name, "mlx-moe") == 0 ? 78528 : 78144;
}

/* Matrices, packed or not: those of the layers, the embedding, and a head that is not it. */
static int matrices_of(size_t i)
{
    return is_tied(i) ? 15 : strcmp(variants[i].name, "mlx-moe") == 0 ? 26 : 16;
}

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static path golden(size_t i, const char *name)
{
    path dir = joined(test_data("tests/golden"), variants[i].dir);

    return joined(joined(dir.s, variants[i].name).s, name);
}

static json_t *report_of(nib_ctx *ctx, const char *dir)
{
    char *text = NULL;
    json_t *report = NULL;
    nib_error err;

    CHECK(nib_inspect(ctx, dir, NIB_REPORT_JSON, &text, &err) == NIB_OK &&
              nib_json_parse(text, strlen(text), "report", 0, &report, &err) == NIB_OK,
          "%s", err.message);
    nib_report_free(ctx, text);
    return report;
}

/* Bits a weight by the sizes of the tensors, and the modules that are not packed: of 15 matrices
 * and the embedding all others. */
static void check_shares(size_t i, const json_t *q)
{
    double bits = json_real_value(json_object_get(q, "bits_per_weight"));
    json_t *dense = json_object_get(q, "dense_modules"), *count;
    json_int_t modules = 0;
    const char *name;

    CHECK(bits > 2 && bits < 13, "%s: %g bits", variants[i].name, bits); /* AQLM's books count */
    json_object_foreach(dense, name, count) modules += json_integer_value(count);
    CHECK(modules == matrices_of(i) - variants[i].matrices &&
              !json_object_get(dense, "model.embed_tokens") == packs_embedding(i),
          "%s: %d dense modules", variants[i].name, (int)modules);
    if (strcmp(variants[i].name, "ct-mxfp4") == 0)
        CHECK(bits == 4.25 && json_object_get(dense, "model.layers.0.mlp.up_proj") &&
                  json_object_get(dense, "lm_head"),
              "%g bits, %s", bits, variants[i].name);
    if (strcmp(variants[i].name, "gptq-order") == 0)
        CHECK(json_object_get(dense, "model.layers.0.mlp.gate_proj"), "a layer that is dense");
    if (strcmp(variants[i].name, "aqlm-8x4") == 0)
        CHECK(json_integer_value(json_object_get(dense, "model.layers.*.mlp.up_proj")) == 2,
              "two modules under one name");
}

/* Packed or not, the model has the same parameters. */
static void test_reported(void)
{
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(variants); i++) {
        json_t *report = report_of(ctx, golden(i, ".").s), *q;
        const char *form, *method;

        REQUIRE(report, "%s", variants[i].name);
        q = json_object_get(report, "quantization");
        form = json_string_value(json_object_get(q, "form"));
        method = json_string_value(json_object_get(q, "method"));
        CHECK(json_integer_value(json_object_get(report, "parameters")) == parameters_of(i),
              "%s: %d parameters", variants[i].name,
              (int)json_integer_value(json_object_get(report, "parameters")));
        CHECK(json_integer_value(json_object_get(q, "matrices")) == variants[i].matrices,
              "%s: %d matrices", variants[i].name,
              (int)json_integer_value(json_object_get(q, "matrices")));
        CHECK(form && method && strcmp(method, variants[i].method) == 0 &&
                  (!variants[i].form || strcmp(form, variants[i].form) == 0),
              "%s: %s %s", variants[i].name, method ? method : "no method",
              form ? form : "no form");
        check_shares(i, q);
        json_decref(report);
    }
}

static nib_model *open_model(nib_ctx *ctx, const char *dir)
{
    nib_model_options o = { .model = dir };
    nib_model *m = NULL;
    nib_error err;

    CHECK(nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err) == NIB_OK, "%s",
          err.message);
    return m;
}

/* Sequence 1's greatest difference of logits from those that are expected by `name`. */
static float worst_logit(nib_model *m, size_t i, const char *name)
{
    static float logits[MOST_TOKENS * VOCABULARY];
    nib_tensors *expected = NULL;
    const nib_tensor *ids, *want;
    float worst = INFINITY;
    nib_error err;

    CHECK(!nib_tensors_open(m->ctx, golden(i, "expected.safetensors").s, &expected, &err), "%s",
          err.message);
    ids = expected ? nib_tensors_find(expected, "ids.1") : NULL;
    want = expected ? nib_tensors_find(expected, name) : NULL;
    if (ids && want && test_compute(m, ids->data, ids->elements, logits)) {
        worst = 0;
        for (size_t k = 0; k < want->elements; k++)
            worst = fmaxf(worst, fabsf(logits[k] - ((const float *)want->data)[k]));
    }
    nib_tensors_close(expected);
    return worst;
}

/* A merged model is dense, under the names of dense ones, and has the logits of base and adapter.
 * */
static void test_merged(void)
{
    for (size_t i = 0; i < NIB_COUNT(variants); i++) {
        nib_ctx *ctx = test_ctx();
        path out = joined(test_tmpdir(), variants[i].name), adapter = golden(i, "adapter");
        path base = golden(i, ".");
        nib_merge_options o = { .model = base.s, .adapter = adapter.s, .out = out.s,
                                .dtype = "float32" };
        nib_model *m;
        float worst;
        nib_error err;

        REQUIRE_OK(nib_merge(ctx, &o, &err), err);
        m = open_model(ctx, out.s);
        REQUIRE(m);
        CHECK(!m->stored.format &&
                  !nib_tensors_find(m->tensors, "lm_head.weight") == is_tied(i),
              "%s", variants[i].name);
        for (size_t k = 0; k < nib_tensors_count(m->tensors); k++)
            CHECK(nib_tensors_at(m->tensors, k)->dtype == NIB_F32, "%s is %s",
                  nib_tensors_at(m->tensors, k)->name, nib_tensors_at(m->tensors, k)->dtype_name);
        worst = worst_logit(m, i, "lora.logits.1");
        CHECK(worst <= 1e-4f, "%s merged: logits differ by %g", variants[i].name, (double)worst);
        nib_model_close(m);
        test_ctx_release(ctx);
    }
}

/* Of AQLM a merged model is not expected: the error says what makes one. */
static void test_merge_refused(void)
{
    nib_ctx *ctx = test_ctx();
    path out = joined(test_tmpdir(), "no"), base, adapter;
    nib_merge_options o = { .out = out.s };
    nib_error err = { 0 };
    size_t aqlm = 0;

    while (strcmp(variants[aqlm].method, "aqlm") != 0) aqlm++;
    base = golden(aqlm, ".");
    adapter = golden(aqlm, "adapter");
    o.model = base.s;
    o.adapter = adapter.s;
    CHECK(nib_merge(ctx, &o, &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "no codes in AQLM's codebooks") &&
              strstr(err.message, "--dtype bfloat16 decodes all to dense tensors"),
          "%s", err.message);
    CHECK(access(out.s, F_OK) != 0, "%s was made", out.s);
}

/* What is stored is not packed again, and not quantized while loading. */
static void test_packed_twice(void)
{
    static const nib_setting four[] = { { "load_in_4bit", "true" }, { NULL, NULL } };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(variants); i++) {
        path base = golden(i, "."), out = joined(test_tmpdir(), "twice");
        nib_model_options o = { .model = base.s, .settings = four };
        nib_quantize_options q = { .model = base.s, .out = out.s, .settings = four };
        nib_model *m = NULL;
        nib_error err = { 0 };

        CHECK(nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err) ==
                      NIB_E_INVALID && strstr(err.message, "is quantized already") &&
                  strstr(err.message, "load_in_4bit true (stored: false)"),
              "%s: %s", variants[i].name, err.message);
        nib_model_close(m);
        CHECK(nib_quantize(ctx, &q, NULL, &err) == NIB_E_MISMATCH &&
                  strstr(err.message, "quantized already"),
              "%s: %s", variants[i].name, err.message);
    }
}

/* Older writers have the settings in a file of their own: variant i's, called `name`, inside
 * `member`, or NULL. */
static void check_beside(size_t i, const char *name, const char *member)
{
    nib_ctx *ctx = test_ctx();
    path dir = joined(test_tmpdir(), name);
    char from[4096];
    json_t *config = NULL, *said;
    nib_model *m;
    float worst;
    nib_error err;

    REQUIRE_OK(nib_json_read(ctx, golden(i, "config.json").s, 0, &config, &err), err);
    said = json_incref(json_object_get(config, "quantization_config"));
    json_object_del(config, "quantization_config");
    json_object_del(said, "quant_method");
    if (member) said = json_pack("{s:o}", member, said);
    REQUIRE(mkdir(dir.s, 0777) == 0 && realpath(golden(i, "model.safetensors").s, from) &&
            symlink(from, joined(dir.s, "model.safetensors").s) == 0 &&
            json_dump_file(config, joined(dir.s, "config.json").s, 0) == 0 &&
            json_dump_file(said, joined(dir.s, name).s, 0) == 0);
    json_decref(config);
    json_decref(said);
    m = open_model(ctx, dir.s);
    REQUIRE(m && m->stored.format);
    worst = worst_logit(m, i, "logits.1");
    CHECK(worst <= 1e-4f, "logits differ by %g", (double)worst);
    nib_model_close(m);
}

static void test_settings_beside(void)
{
    size_t modelopt = 0;

    check_beside(3, "quantize_config.json", NULL);
    while (strcmp(variants[modelopt].name, "modelopt") != 0) modelopt++;
    check_beside(modelopt, "hf_quant_config.json", "quantization");
}

/* MLX's own key alone, and beside another library's: its own library goes by that one. */
static void test_mlx_key(void)
{
    nib_ctx *ctx = test_ctx();
    size_t mlx = 0;

    while (strcmp(variants[mlx].name, "mlx") != 0) mlx++;
    for (int other = 0; other < 2; other++) {
        path dir = joined(test_tmpdir(), other ? "mlx-other" : "mlx-alone"), out;
        char from[4096];
        json_t *config = NULL, *written = NULL;
        nib_model *m;
        nib_error err;
        nib_merge_options o = { .model = dir.s };

        REQUIRE_OK(nib_json_read(ctx, golden(mlx, "config.json").s, 0, &config, &err), err);
        json_object_del(config, "quantization_config");
        if (other)
            json_object_set_new(config, "quantization_config",
                                json_pack("{s:s, s:i}", "quant_method", "gptq", "bits", 3));
        REQUIRE(mkdir(dir.s, 0777) == 0 && realpath(golden(mlx, "model.safetensors").s, from) &&
                symlink(from, joined(dir.s, "model.safetensors").s) == 0 &&
                json_dump_file(config, joined(dir.s, "config.json").s, 0) == 0);
        json_decref(config);
        m = open_model(ctx, dir.s);
        REQUIRE(m && m->stored.format && strcmp(m->stored.format->method, "mlx") == 0);
        CHECK(worst_logit(m, mlx, "logits.1") <= 1e-4f, "logits differ");
        nib_model_close(m);
        out = joined(test_tmpdir(), other ? "dense-other" : "dense-alone");
        o.out = out.s;
        o.dtype = "bfloat16";
        REQUIRE_OK(nib_merge(ctx, &o, &err), err);
        REQUIRE_OK(nib_json_read(ctx, joined(out.s, "config.json").s, 0, &written, &err), err);
        CHECK(!json_object_get(written, "quantization") &&
                  !json_object_get(written, "quantization_config"), "%s still names it", out.s);
        json_decref(written);
    }
}

/* --- written --- */

/* Every linear of the layers in the form asked for, with the bits of encoding it. */
static void check_written(nib_ctx *ctx, const nib_setting *asked, const char *text)
{
    path dense = joined(test_data("tests/golden/models/llama"), "."), out;
    nib_quantize_options q = { .model = dense.s, .settings = asked };
    nib_model *from = open_model(ctx, dense.s), *m;
    size_t packed = 0;
    nib_error err;

    out = joined(test_tmpdir(), text);
    q.out = out.s;
    REQUIRE_OK(nib_quantize(ctx, &q, NULL, &err), err);
    m = open_model(ctx, out.s);
    REQUIRE(m && from);
    for (size_t i = 0; i < m->linear_count; i++) {
        nib_form form = nib_weight_form(m->linears[i]->weight);
        char is[NIB_FORM_ROOM];
        nib_weight *again = NULL;
        bool same = false;

        nib_form_text(&form, is);
        if (m->linears[i] == m->head) {
            CHECK(strcmp(is, "dense") == 0, "the head is %s", is);
            continue;
        }
        packed++;
        CHECK(strcmp(is, text) == 0, "%s is %s, expected %s", m->linears[i]->name, is, text);
        REQUIRE_OK(nib_form_encode(ctx, &form, from->linears[i]->weight, &again, &err), err);
        REQUIRE_OK(nib_weight_same(ctx, again, m->linears[i]->weight, &same, &err), err);
        CHECK(same, "%s: %s is not what encoding gives", text, m->linears[i]->name);
        nib_weight_destroy(ctx, again);
    }
    CHECK(packed == 14, "%zu linears", packed);
    nib_model_close(m);
    nib_model_close(from);
}

static void test_written(void)
{
    static const struct { nib_setting asked[5]; const char *text;
    } cases[] = {
        { { { "format", "gptq" }, { "group_size", "32" } }, "gptq 4 32 sym" },
        { { { "format", "gptq" }, { "bits", "3" }, { "group-size", "-1" }, { "sym", "false" } },
          "gptq 3 row asym" },
        { { { "format", "awq" }, { "group_size", "64" } }, "awq 4 64 asym" },
        { { { "format", "compressed-tensors" }, { "group_size", "32" } },
          "pack-quantized 4 32 sym" },
        { { { "format", "compressed-tensors" }, { "bits", "8" }, { "group_size", "-1" } },
          "pack-quantized 8 row sym" },
    };
    nib_ctx *ctx = test_ctx();

    for (size_t i = 0; i < NIB_COUNT(cases); i++) check_written(ctx, cases[i].asked, cases[i].text);
}

static const test_case cases[] = {
    { "reported", test_reported },
    { "merged", test_merged },
    { "merge refused", test_merge_refused },
    { "packed twice", test_packed_twice },
    { "settings beside", test_settings_beside },
    { "mlx key", test_mlx_key },
    { "written", test_written },
};

int main(void) { return test_main("grouped_files", cases, NIB_COUNT(cases)); }
