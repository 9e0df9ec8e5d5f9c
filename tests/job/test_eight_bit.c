/* test_eight_bit.c - a golden model in 8 bits: written, opened, reported, merged. */
#include "logits.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "model/model.h"
#include "nibble/inspect.h"
#include "nibble/merge.h"
#include "nibble/quantize.h"

enum { VOCABULARY = 128, MOST_TOKENS = 64 };
static const char variant[] = "tests/golden/models/llama-bias";
static const nib_setting settings[] = { { "load_in_8bit", "true" },
                                        { "llm-int8-threshold", "2.5" },
                                        { NULL, NULL } };

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static path golden(const char *name) { return joined(test_data(variant), name); }

/* The model in 8 bits in a fresh directory. */
static path packed_model(nib_ctx *ctx)
{
    path out = joined(test_tmpdir(), "packed"), model = joined(test_data(variant), ".");
    nib_quantize_options q = { .model = model.s, .out = out.s, .settings = settings };
    nib_error err;

    CHECK(nib_quantize(ctx, &q, NULL, &err) == NIB_OK, "%s", err.message);
    return out;
}

static nib_model *open_model(nib_ctx *ctx, const char *dir, const nib_setting *asked)
{
    nib_model_options o = { .model = dir, .settings = asked };
    nib_model *m = NULL;
    nib_error err;

    CHECK(nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err) == NIB_OK, "%s",
          err.message);
    return m;
}

/* What is opened from the directory has the library's logits, and the bits of what is quantized
 * while loading. */
static void test_opened(void)
{
    static float a[MOST_TOKENS * VOCABULARY], b[MOST_TOKENS * VOCABULARY];
    nib_ctx *ctx = test_ctx();
    path packed = packed_model(ctx);
    nib_model *stored = open_model(ctx, packed.s, NULL);
    nib_model *loaded = open_model(ctx, test_data(variant), settings);
    nib_tensors *ids = NULL, *expected = NULL;
    const nib_tensor *t, *want;
    nib_error err;

    REQUIRE(stored && loaded);
    REQUIRE_OK(nib_tensors_open(ctx, golden("expected.safetensors").s, &ids, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, golden("int8.safetensors").s, &expected, &err), err);
    t = nib_tensors_find(ids, "ids.0");
    want = nib_tensors_find(expected, "logits.0");
    REQUIRE(t && want);
    REQUIRE(test_compute(stored, t->data, t->elements, a) &&
            test_compute(loaded, t->data, t->elements, b));
    CHECK(memcmp(a, b, t->elements * VOCABULARY * sizeof *a) == 0, "stored and loaded differ");
    for (size_t i = 0; i < want->elements; i++)
        CHECK(fabsf(a[i] - ((const float *)want->data)[i]) <= 1e-4f, "logit %zu is %g, expected %g",
              i, (double)a[i], (double)((const float *)want->data)[i]);
    nib_tensors_close(ids);
    nib_tensors_close(expected);
    nib_model_close(stored);
    nib_model_close(loaded);
}

static void test_reported(void)
{
    nib_ctx *ctx = test_ctx();
    char *text = NULL;
    json_t *report = NULL, *q;
    nib_error err;

    REQUIRE_OK(nib_inspect(ctx, packed_model(ctx).s, NIB_REPORT_JSON, &text, &err), err);
    REQUIRE_OK(nib_json_parse(text, strlen(text), "report", 0, &report, &err), err);
    q = json_object_get(report, "quantization");
    CHECK(strcmp(json_string_value(json_object_get(q, "form")), "int8") == 0);
    CHECK(json_integer_value(json_object_get(q, "matrices")) == 14);
    q = json_object_get(q, "quantization_config");
    CHECK(json_real_value(json_object_get(q, "llm_int8_threshold")) == 2.5);
    CHECK(json_is_true(json_object_get(q, "load_in_8bit")) &&
          json_is_false(json_object_get(q, "load_in_4bit")));
    json_decref(report);
    nib_report_free(ctx, text);
    REQUIRE_OK(nib_inspect(ctx, test_data(variant), NIB_REPORT_JSON, &text, &err), err);
    REQUIRE_OK(nib_json_parse(text, strlen(text), "report", 0, &report, &err), err);
    q = report;
    nib_report_free(ctx, text);
    REQUIRE_OK(nib_inspect(ctx, joined(test_tmpdir(), "packed").s, NIB_REPORT_JSON, &text, &err),
               err);
    REQUIRE_OK(nib_json_parse(text, strlen(text), "report", 0, &report, &err), err);
    CHECK(json_integer_value(json_object_get(report, "parameters")) ==
          json_integer_value(json_object_get(q, "parameters")), "parameters");
    json_decref(q);
    json_decref(report);
    nib_report_free(ctx, text);
}

/* Cross-entropy of the supervised tokens, summed; their number is added to *count. */
static double loss_of(const float *logits, const int32_t *labels, size_t tokens, size_t *count)
{
    double loss = 0;

    for (size_t t = 0; t + 1 < tokens; t++) {
        const float *z = logits + t * VOCABULARY;
        double sum = 0;
        if (labels[t + 1] < 0) continue;
        for (size_t v = 0; v < VOCABULARY; v++) sum += exp((double)z[v]);
        loss += log(sum) - (double)z[labels[t + 1]];
        ++*count;
    }
    return loss;
}

/* Merged, each matrix is its decoded values and the adapter's: the loss is that of PEFT in training
 * mode, which multiplies by these. */
static void test_merged(void)
{
    static float logits[MOST_TOKENS * VOCABULARY];
    nib_ctx *ctx = test_ctx();
    path packed = packed_model(ctx), out = joined(test_tmpdir(), "merged");
    path adapter = golden("adapter");
    nib_merge_options o = { .model = packed.s, .adapter = adapter.s, .out = out.s,
                            .dtype = "float32" };
    nib_tensors *ids = NULL, *expected = NULL;
    nib_model *m;
    double loss = 0, want;
    size_t count = 0;
    nib_error err;

    REQUIRE_OK(nib_merge(ctx, &o, &err), err);
    m = open_model(ctx, out.s, NULL);
    REQUIRE(m);
    for (size_t k = 0; k < nib_tensors_count(m->tensors); k++)
        CHECK(nib_tensors_at(m->tensors, k)->dtype == NIB_F32, "%s is %s",
              nib_tensors_at(m->tensors, k)->name, nib_tensors_at(m->tensors, k)->dtype_name);
    REQUIRE_OK(nib_tensors_open(ctx, golden("expected.safetensors").s, &ids, &err), err);
    REQUIRE_OK(nib_tensors_open(ctx, golden("int8.safetensors").s, &expected, &err), err);
    for (int i = 0; i < 2; i++) {
        const nib_tensor *x = nib_tensors_find(ids, i ? "ids.1" : "ids.0");
        const nib_tensor *y = nib_tensors_find(ids, i ? "labels.1" : "labels.0");
        REQUIRE(x && y && test_compute(m, x->data, x->elements, logits));
        loss += loss_of(logits, y->data, x->elements, &count);
    }
    want = (double)*(const float *)nib_tensors_find(expected, "lora.loss")->data;
    CHECK(fabs(loss / (double)count - want) <= 1e-5, "loss %.7g, expected %.7g",
          loss / (double)count, want);
    nib_tensors_close(ids);
    nib_tensors_close(expected);
    nib_model_close(m);
}

static void check_refused(nib_ctx *ctx, const nib_setting *asked, nib_status want, const char *says)
{
    path model = joined(test_data(variant), "."), out = joined(test_tmpdir(), "refused");
    nib_quantize_options q = { .model = model.s, .out = out.s, .settings = asked };
    nib_error err = { 0 };
    nib_status status = nib_quantize(ctx, &q, NULL, &err);

    CHECK(status == want && strstr(err.message, says), "%d '%s', expected '%s'", status,
          err.message, says);
}

static void test_refused(void)
{
    nib_ctx *ctx = test_ctx();
    path packed = packed_model(ctx), out = joined(test_tmpdir(), "twice");
    nib_quantize_options q = { .model = packed.s, .out = out.s, .settings = settings };
    nib_error err;

    check_refused(ctx, (nib_setting[]){ { "load_in_8bit", "true" }, { "load_in_4bit", "true" },
                                        { NULL, NULL } }, NIB_E_INVALID, "both set");
    check_refused(ctx, (nib_setting[]){ { "load_in_8bit", "true" },
                                        { "llm_int8_threshold", "-1" }, { NULL, NULL } },
                  NIB_E_INVALID, "expected 0 (no outliers) or more, got -1");
    check_refused(ctx, (nib_setting[]){ { "load_in_8bit", "true" },
                                        { "llm_int8_threshold", "inf" }, { NULL, NULL } },
                  NIB_E_INVALID, "llm_int8_threshold: expected a number, got 'inf'");
    check_refused(ctx, (nib_setting[]){ { "load_in_8bit", "true" },
                                        { "llm_int8_has_fp16_weight", "true" }, { NULL, NULL } },
                  NIB_E_UNSUPPORTED, "llm_int8_has_fp16_weight");
    CHECK(nib_quantize(ctx, &q, NULL, &err) == NIB_E_MISMATCH &&
          strstr(err.message, "load_in_8bit): the model is quantized already"), "%s", err.message);
}

static const test_case cases[] = {
    { "opened from its directory", test_opened },
    { "reported", test_reported },
    { "merged", test_merged },
    { "refused", test_refused },
};

int main(void) { return test_main("test_eight_bit", cases, NIB_COUNT(cases)); }
