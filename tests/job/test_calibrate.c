/* test_calibrate.c - a model quantized with GPTQ on calibration texts: nearer to the original than
 * round to nearest, the same bytes for any number of threads, and what is refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "format/json.h"
#include "nibble/perplexity.h"
#include "nibble/quantize.h"
#include "test.h"

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;

    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

static const nib_setting three_bits[] = { { "format", "gptq" }, { "bits", "3" },
                                          { "group_size", "32" }, { NULL, NULL } };

/* What the matrices' reports add up to. */
typedef struct totals { size_t matrices, better; double error, rounded; } totals;

static void on_matrix(void *user, const nib_matrix_report *r)
{
    totals *t = user;

    t->matrices++;
    t->better += r->error < r->error_rounded;
    t->error += r->error;
    t->rounded += r->error_rounded;
    CHECK(r->rows > 100 && r->damp == .05, "%s: %d rows, damping %g", r->module, (int)r->rows,
          r->damp);
}

static nib_quantize_options options(const char *out, bool gptq)
{
    nib_quantize_options o = { .model = test_data("models/pico"), .out = out,
                               .settings = three_bits };

    if (!gptq) return o;
    o.calibration.data = test_data("models/shop.jsonl");
    o.num_calibration_samples = 40;
    return o;
}

/* From the original, on the questions that were held out. */
static double divergence(const char *model)
{
    nib_perplexity_options o = { .model = { .model = model },
                                 .reference = test_data("models/pico"),
                                 .context_length = 64 };
    path text = joined(test_tmpdir(), "text.jsonl");
    char line[2000];
    nib_perplexity_result r = { 0 };
    nib_error err;
    FILE *from = fopen(test_data("models/shop-test.jsonl"), "r"), *to = fopen(text.s, "w");

    while (from && to && fgets(line, sizeof line, from)) {
        json_t *j = json_loads(line, 0, NULL), *both;
        both = json_pack("{s:s+}", "text", json_string_value(json_object_get(j, "prompt")),
                         json_string_value(json_object_get(j, "completion")));
        json_dumpf(both, to, 0);
        fputc('\n', to);
        json_decref(both);
        json_decref(j);
    }
    CHECK(from && to && fclose(from) == 0 && fclose(to) == 0, "%s", text.s);
    o.data = text.s;
    CHECK(nib_perplexity(test_ctx(), &o, &r, &err) == NIB_OK, "%s", err.message);
    return r.divergence;
}

static void test_better(void)
{
    path rtn = joined(test_tmpdir(), "rtn"), gptq = joined(test_tmpdir(), "gptq");
    nib_quantize_options o = options(rtn.s, false);
    totals t = { 0 };
    double plain, calibrated;
    nib_error err;

    REQUIRE_OK(nib_quantize(test_ctx(), &o, NULL, &err), err);
    o = options(gptq.s, true);
    o.on_matrix = on_matrix;
    o.user = &t;
    REQUIRE_OK(nib_quantize(test_ctx(), &o, NULL, &err), err);
    CHECK(t.matrices == 42 && t.better == 42 && t.error < .6 * t.rounded,
          "%zu of %zu matrices are better, errors %g of %g", t.better, t.matrices, t.error,
          t.rounded);
    plain = divergence(rtn.s);
    calibrated = divergence(gptq.s);
    CHECK(calibrated < .8 * plain, "divergence %g, of round to nearest %g", calibrated, plain);
}

static bool same_file(const char *a, const char *b)
{
    nib_filemap x = { 0 }, y = { 0 };
    nib_error err;
    bool same = !nib_filemap_open(a, &x, &err) && !nib_filemap_open(b, &y, &err) &&
                x.bytes == y.bytes && memcmp(x.base, y.base, x.bytes) == 0;

    nib_filemap_close(&x);
    nib_filemap_close(&y);
    return same;
}

/* Act-order and the order within a layer: config.json says so, the file opens again. */
static void test_threads(void)
{
    path out[2] = { joined(test_tmpdir(), "one"), joined(test_tmpdir(), "three") };
    nib_error err;
    json_t *json, *q;

    for (int i = 0; i < 2; i++) {
        nib_ctx *ctx = test_ctx_threads(i ? 3 : 1, NULL);
        nib_quantize_options o = options(out[i].s, true);
        o.num_calibration_samples = 5;
        o.desc_act = o.true_sequential = true;
        REQUIRE_OK(nib_quantize(ctx, &o, NULL, &err), err);
        test_ctx_release(ctx);
    }
    CHECK(same_file(joined(out[0].s, "model.safetensors").s,
                    joined(out[1].s, "model.safetensors").s));
    REQUIRE_OK(nib_json_read(test_ctx(), joined(out[0].s, "config.json").s, 0, &json, &err),
               err);
    q = json_object_get(json, "quantization_config");
    CHECK(json_is_true(json_object_get(q, "desc_act")));
    json_decref(json);
    CHECK(divergence(out[0].s) < .5);
}

static void test_refused(void)
{
    static const nib_setting awq[] = { { "format", "awq" }, { NULL, NULL } };
    path out = joined(test_tmpdir(), "out");
    nib_quantize_options o = options(out.s, true);
    struct stat info;
    nib_error err;

    o.settings = awq;
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "awq"), "%s", err.message);
    o = options(out.s, false);
    o.algorithm = "gptq";
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_INVALID &&
              strstr(err.message, "--calibration-data"), "%s", err.message);
    o.algorithm = "gtpq";
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_INVALID &&
              strstr(err.message, "known are rtn"), "%s", err.message);
    o = options(out.s, false);
    o.desc_act = true;
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_INVALID &&
              strstr(err.message, "desc_act"), "%s", err.message);
    o = options(out.s, false);
    o.num_calibration_samples = 3;
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_INVALID &&
              strstr(err.message, "--calibration-data"), "%s", err.message);
    o = options(out.s, true);
    o.damp_percent = -.5;
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_INVALID &&
              strstr(err.message, "damp_percent"), "%s", err.message);
    o = options(out.s, true);
    o.damp_percent = 1.5;
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_INVALID &&
              strstr(err.message, "damp_percent"), "%s", err.message);
    o = options(out.s, true);
    o.calibration.data = test_data("models/none.jsonl");
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_IO, "%s", err.message);
    o = options(out.s, true);
    o.model = test_data("tests/golden/models/mixtral");
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) != NIB_OK && strstr(err.message, "experts"),
          "%s", err.message);
    CHECK(stat(out.s, &info) != 0, "something was written");
}

int main(void)
{
    static const test_case cases[] = {
        { "nearer than round to nearest", test_better },
        { "any number of threads", test_threads },
        { "what is refused", test_refused },
    };
    return test_main("calibrate", cases, NIB_COUNT(cases));
}
