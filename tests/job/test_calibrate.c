/* test_calibrate.c - a model quantized with GPTQ on calibration texts: nearer to the original than
 * round to nearest, the same bytes for any number of threads, and what is refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "job/memory.h"
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

    for (int i = 0; i < 16 && from && to && fgets(line, sizeof line, from); i++) {
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

/* --- resuming --- */

typedef struct stopper { size_t matrices, most; char notes[2000]; } stopper;

static void count_matrix(void *user, const nib_matrix_report *r)
{
    ((stopper *)user)->matrices += r->rows > 0;
}

static int should_stop(void *user)
{
    const stopper *s = user;
    return s->most && s->matrices >= s->most;
}

static void keep_note(void *user, nib_message_kind kind, const char *text)
{
    stopper *s = user;
    size_t used = strlen(s->notes);

    (void)kind;
    snprintf(s->notes + used, sizeof s->notes - used, "%s\n", text);
}

static nib_status run_until(const char *out, stopper *s, nib_quantize_options o, nib_error *err)
{
    nib_ctx_options c = { .threads = 2, .should_stop = should_stop, .should_stop_user = s,
                          .message = keep_note, .message_user = s };
    nib_ctx *ctx;
    nib_status status = nib_ctx_create(&c, &ctx, err);

    if (status) return status;
    o.out = out;
    o.num_calibration_samples = 12;
    o.on_matrix = count_matrix;
    o.user = s;
    status = nib_quantize(ctx, &o, NULL, err);
    nib_ctx_destroy(ctx);
    return status;
}

/* Stopped within layer 3, another time with other settings, and then the same again: only what was
 * not finished is done, to the bytes of a run at one go. */
static void check_resumes(const char *algorithm)
{
    path dir = joined(test_tmpdir(), algorithm);
    path whole = joined(dir.s, "whole"), parts = joined(dir.s, "parts");
    stopper none = { 0 }, first = { .most = 24 }, second = { 0 };
    nib_quantize_options o = options(NULL, true), other;
    struct stat info;
    nib_error err;

    o.algorithm = algorithm;
    REQUIRE(mkdir(dir.s, 0777) == 0);
    REQUIRE_OK(run_until(whole.s, &none, o, &err), err);
    CHECK(run_until(parts.s, &first, o, &err) == NIB_E_INTERRUPTED &&
              strstr(err.message, "resumes"), "%s", err.message);
    CHECK(stat(parts.s, &info) != 0, "an unfinished output is there");
    other = o;
    other.algorithm = strcmp(algorithm, "awq") == 0 ? "gptq" : "awq";
    CHECK(run_until(parts.s, &second, other, &err) == NIB_E_MISMATCH &&
              strstr(err.message, "algorithm ("), "%s", err.message);
    second = (stopper){ 0 };
    REQUIRE_OK(run_until(parts.s, &second, o, &err), err);
    CHECK(second.matrices == 42 - 21, "%zu matrices were done again", second.matrices);
    CHECK(strstr(second.notes, "3 of 8 layers are finished"), "%s", second.notes);
    CHECK(same_file(joined(whole.s, "model.safetensors").s,
                    joined(parts.s, "model.safetensors").s));
    CHECK(stat(joined(dir.s, "parts.unfinished").s, &info) != 0, "layers are left");
}

static void test_resumes(void) { check_resumes("gptq"); }
static void test_resumes_awq(void) { check_resumes("awq"); }

/* With little memory values lie in a file and Hessians come a few at a time: the same bytes. */
static void test_little_memory(void)
{
    path much = joined(test_tmpdir(), "much"), little = joined(test_tmpdir(), "little");
    stopper none = { 0 }, notes = { 0 };
    nib_quantize_options o = options(NULL, true);
    nib_error err;

    REQUIRE_OK(run_until(much.s, &none, o, &err), err);
    o.max_memory = 400000;
    REQUIRE_OK(run_until(little.s, &notes, o, &err), err);
    CHECK(strstr(none.notes, "memory: ") && !strstr(none.notes, "in a file") &&
              !strstr(none.notes, "cannot"), "%s", none.notes);
    CHECK(strstr(notes.notes, "in a file") || strstr(notes.notes, "cannot be paged out"), "%s",
          notes.notes);
    CHECK(same_file(joined(much.s, "model.safetensors").s,
                    joined(little.s, "model.safetensors").s));
}

static void test_report(void)
{
    path out = joined(test_tmpdir(), "reported");
    stopper notes = { 0 };
    nib_error err;
    json_t *json, *matrices;

    REQUIRE_OK(run_until(out.s, &notes, options(NULL, true), &err), err);
    REQUIRE_OK(nib_json_read(test_ctx(), joined(out.s, "quantization_report.json").s, 0, &json,
                             &err), err);
    matrices = json_object_get(json, "matrices");
    CHECK(json_array_size(matrices) == 42, "%zu matrices", json_array_size(matrices));
    for (size_t i = 0; i < json_array_size(matrices); i++) {
        const json_t *m = json_array_get(matrices, i);
        CHECK(json_real_value(json_object_get(m, "error")) <
                  json_real_value(json_object_get(m, "error_rounded")) &&
              json_real_value(json_object_get(m, "damp")) == .05, "%s",
              json_string_value(json_object_get(m, "module")));
    }
    json_decref(json);
}

/* What the process takes beyond what it had is what was planned.  It runs first: a peak stays. */
static void test_plan_is_kept(void)
{
    path out = joined(test_tmpdir(), "planned");
    stopper notes = { 0 };
    uint64_t before = nib_memory_resident(), after;
    const char *plan;
    nib_error err;

    REQUIRE_OK(run_until(out.s, &notes, options(NULL, true), &err), err);
    after = nib_memory_peak();
    plan = strstr(notes.notes, "memory: ");
    REQUIRE(plan, "%s", notes.notes);
#ifdef TEST_ADDRESS_SANITIZER
    return;
#endif
    CHECK((double)(after - before) < 1.05e6 * strtod(plan + 8, NULL) + 16e6,
          "planned %.20s, took %.1f MB", plan, (double)(after - before) / 1e6);
}

/* --- inputs that are not finite --- */

/* The token 7 has an embedding that is no number: the third record has one. */
static void test_not_finite(void)
{
    static const nib_setting four[] = { { "format", "gptq" }, { "group_size", "32" },
                                        { NULL, NULL } };
    path from = joined(test_data("tests/golden/models"), "llama");
    path model = joined(test_tmpdir(), "broken"), out = joined(test_tmpdir(), "unmade");
    path data = joined(test_tmpdir(), "ids.jsonl");
    nib_quantize_options o = { .model = model.s, .out = out.s, .settings = four };
    const float nan = NAN;
    char command[1400];
    nib_tensors *file = NULL;
    const nib_tensor *t;
    nib_error err;
    FILE *f;

    snprintf(command, sizeof command, "cp -r '%.600s' '%.600s'", from.s, model.s);
    REQUIRE(system(command) == 0, "%s", command);
    REQUIRE_OK(nib_tensors_open(test_ctx(), model.s, &file, &err), err);
    t = nib_tensors_find(file, "model.embed_tokens.weight");
    f = fopen(joined(model.s, "model.safetensors").s, "r+");
    CHECK(t && f && fseek(f, (long)((const uint8_t *)t->data - t->map->base + 7 * t->shape[1] * 4),
                          SEEK_SET) == 0 && fwrite(&nan, sizeof nan, 1, f) == 1);
    CHECK(f && fclose(f) == 0);
    nib_tensors_close(file);
    f = fopen(data.s, "w");
    for (int i = 0; f && i < 9; i++)
        fprintf(f, "{\"input_ids\": [%d, 9, 10, %d, 11]}\n", 20 + i, i == 2 ? 7 : 8);
    CHECK(f && fclose(f) == 0);
    o.calibration.data = data.s;
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_NUMERIC &&
              strstr(err.message, "model.layers.0.self_attn.") &&
              strstr(err.message, "record 3 of"), "%s", err.message);
}

/* --- formats --- */

/* The same codes in three containers decode to nearly the same model. */
static void test_formats(void)
{
    static const char *const names[] = { "gptq", "awq", "compressed-tensors" };
    double d[3];
    nib_error err;

    for (int i = 0; i < 3; i++) {
        const nib_setting settings[] = { { "format", names[i] }, { "bits", "4" },
                                         { "group_size", "64" }, { "sym", "false" },
                                         { NULL, NULL } };
        path out = joined(test_tmpdir(), names[i]);
        nib_quantize_options o = options(out.s, true);
        o.settings = settings;
        o.algorithm = "gptq";
        o.num_calibration_samples = 12;
        REQUIRE_OK(nib_quantize(test_ctx(), &o, NULL, &err), err);
        d[i] = divergence(out.s);
    }
    CHECK(d[0] < .02 && fabs(d[1] - d[0]) < .1 * d[0] && fabs(d[2] - d[0]) < .3 * d[0],
          "divergence %g, %g, %g", d[0], d[1], d[2]);
}

/* --- experts --- */

typedef struct experts { size_t calibrated, rounded, better; } experts;

static void on_expert(void *user, const nib_matrix_report *r)
{
    experts *e = user;

    if (!strstr(r->module, ".experts.")) return;
    if (strcmp(r->algorithm, "rtn") == 0) e->rounded++;
    else e->calibrated++, e->better += r->error < r->error_rounded;
}

/* Texts of `kinds` different tokens. */
static path tokens(const char *name, int records, int kinds)
{
    path p = joined(test_tmpdir(), name);
    FILE *f = fopen(p.s, "w");

    for (int i = 0; f && i < records; i++) {
        fprintf(f, "{\"input_ids\": [%d", 3 + i % kinds);
        for (int k = 1; k < 12; k++) fprintf(f, ", %d", 3 + (i * 7 + k * k * 3) % kinds);
        fprintf(f, "]}\n");
    }
    CHECK(f && fclose(f) == 0, "%s", p.s);
    return p;
}

/* Of many tokens all experts are calibrated on their own rows; of one token's repetitions those
 * that it does not choose are rounded to nearest, and named.  The router stays dense. */
static void test_experts(void)
{
    static const nib_setting eight[] = { { "format", "gptq" }, { "bits", "8" },
                                         { "group_size", "32" }, { NULL, NULL } };
    path out[2] = { joined(test_tmpdir(), "mixed"), joined(test_tmpdir(), "one") };
    path data[2] = { tokens("many.jsonl", 40, 55), tokens("one.jsonl", 4, 1) };
    experts e[2] = { { 0 }, { 0 } };
    stopper notes = { 0 };
    nib_ctx_options c = { .message = keep_note, .message_user = &notes };
    nib_ctx *ctx;
    nib_error err;

    REQUIRE_OK(nib_ctx_create(&c, &ctx, &err), err);
    for (int i = 0; i < 2; i++) {
        nib_quantize_options o = { .model = test_data("tests/golden/models/mixtral"),
                                   .out = out[i].s, .settings = eight, .on_matrix = on_expert,
                                   .user = &e[i] };
        o.calibration.data = data[i].s;
        REQUIRE_OK(nib_quantize(ctx, &o, NULL, &err), err);
    }
    CHECK(e[0].rounded == 0 && e[0].better * 5 > e[0].calibrated * 4,
          "%zu calibrated, %zu of them better, %zu rounded", e[0].calibrated, e[0].better,
          e[0].rounded);
    CHECK(e[1].rounded > 0 && e[1].rounded < e[0].calibrated &&
              e[1].rounded + e[1].calibrated == e[0].calibrated,
          "%zu calibrated, %zu rounded", e[1].calibrated, e[1].rounded);
    CHECK(strstr(notes.notes, "too few to calibrate it"), "%s", notes.notes);
    nib_ctx_destroy(ctx);
}

/* --- what is refused --- */

/* Texts with a mark of another model's in the fifth record. */
static path foreign(void)
{
    path p = joined(test_tmpdir(), "foreign.jsonl");
    FILE *f = fopen(p.s, "w");

    for (int i = 0; f && i < 9; i++)
        fprintf(f, "{\"text\": \"%sWe sell bicycles, and we repair them too, while you wait.\"}\n",
                i == 4 ? "<|eot_id|>" : "");
    CHECK(f && fclose(f) == 0, "%s", p.s);
    return p;
}

static void test_refused(void)
{
    static const nib_setting four[] = { { "load_in_4bit", "true" }, { NULL, NULL } };
    static const nib_setting odd[] = { { "format", "awq" }, { "group_size", "80" },
                                       { NULL, NULL } };
    path out = joined(test_tmpdir(), "out");
    nib_quantize_options o = options(out.s, true);
    struct stat info;
    nib_error err;

    o.settings = four;
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "bitsandbytes"), "%s", err.message);
    o.settings = odd;
    o.on_matrix = NULL;
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "_proj") && strstr(err.message, "groups of 80"), "%s",
          err.message);
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
    o.num_calibration_samples = 1;
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_INVALID &&
              strstr(err.message, "too few"), "%s", err.message);
    o = options(out.s, true);
    o.calibration.data = foreign().s;
    CHECK(nib_quantize(test_ctx(), &o, NULL, &err) == NIB_E_INVALID &&
              strstr(err.message, "record 5 has <|eot_id|>"), "%s", err.message);
    CHECK(stat(out.s, &info) != 0, "something was written");
    CHECK(stat(joined(test_tmpdir(), "out.unfinished").s, &info) != 0, "a store is left");
}

int main(void)
{
    static const test_case cases[] = {
        { "the plan of memory is kept", test_plan_is_kept },
        { "nearer than round to nearest", test_better },
        { "any number of threads", test_threads },
        { "resuming behind the last finished layer", test_resumes },
        { "the same with AWQ", test_resumes_awq },
        { "little memory", test_little_memory },
        { "the report", test_report },
        { "inputs that are not finite", test_not_finite },
        { "formats", test_formats },
        { "experts", test_experts },
        { "what is refused", test_refused },
    };
    return test_main("calibrate", cases, NIB_COUNT(cases));
}
