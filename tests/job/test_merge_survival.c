/* test_merge_survival.c - what a merge reports of the adapter's change, against sums written out,
 * and what it refuses: changes that rounding takes away. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "adapter/adapter.h"
#include "base/filemap.h"
#include "format/json.h"
#include "job/survival_sums.h"
#include "nibble/evaluate.h"
#include "nibble/merge.h"
#include "test.h"

enum { OUT = 150, IN = 70, ROWS = 300, RANK = 3 };

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

/* --- the sums --- */

typedef struct matrices {
    float w[OUT * IN], made[OUT * IN], a[RANK * IN], b[OUT * RANK], x[ROWS * IN];
    nib_param pa, pb;
    nib_branch branch;
    nib_weight *base, *stored;
} matrices;

static void fill(float *values, size_t n, float size)
{
    for (size_t i = 0; i < n; i++) values[i] = size * test_rand_float();
}

static bool make_matrices(matrices *m)
{
    nib_error err;

    fill(m->w, NIB_COUNT(m->w), 1);
    fill(m->a, NIB_COUNT(m->a), .3f);
    fill(m->b, NIB_COUNT(m->b), .3f);
    fill(m->x, NIB_COUNT(m->x), 1);
    for (size_t i = 0; i < NIB_COUNT(m->w); i++) m->made[i] = m->w[i] + .1f * test_rand_float();
    m->pa = (nib_param){ .rows = RANK, .cols = IN, .value = m->a };
    m->pb = (nib_param){ .rows = OUT, .cols = RANK, .value = m->b };
    m->branch = (nib_branch){ .a = &m->pa, .b = &m->pb, .scale = 2 };
    return !nib_weight_dense(test_ctx(), OUT, IN, NIB_F32, m->w, NULL, &m->base, &err) &&
           !nib_weight_dense(test_ctx(), OUT, IN, NIB_F32, m->made, NULL, &m->stored, &err);
}

/* The definition: of the rows x [n, IN] (NULL: the identity's). */
static nib_survival by_hand(const matrices *m, const float *x, size_t n)
{
    double a[ROWS] = { 0 }, b[ROWS] = { 0 }, c = 0, sa = 0, sb = 0, squares = 0;
    nib_survival s = { .rows = n };

    for (size_t t = 0; t < n; t++)
        for (size_t o = 0; o < OUT; o++) {
            double e = 0, d = 0;
            for (size_t i = 0; i < IN; i++) {
                double value = x ? (double)x[t * IN + i] : t == i, change = 0;
                for (size_t q = 0; q < RANK; q++)
                    change += 2 * (double)m->b[o * RANK + q] * (double)m->a[q * IN + i];
                e += value * ((double)m->made[o * IN + i] - (double)m->w[o * IN + i]);
                d += value * change;
            }
            a[t] += e * d;
            b[t] += d * d;
            c += (e - d) * (e - d);
        }
    for (size_t t = 0; t < n; t++) sa += a[t], sb += b[t];
    s.survived = sa / sb;
    s.noise = sqrt(c / sb);
    for (size_t t = 0; t < n; t++) squares += pow(a[t] - s.survived * b[t], 2);
    s.standard_error = sqrt(squares * (double)n / (double)(n - 1)) / sb;
    return s;
}

static void check_near(nib_survival got, nib_survival want, const char *what)
{
    CHECK(fabs(got.survived - want.survived) < 1e-5 && fabs(got.noise - want.noise) < 1e-5 &&
              fabs(got.standard_error - want.standard_error) < 1e-6 && got.rows == want.rows,
          "%s: %g +- %g, noise %g, %d rows; wanted %g +- %g, %g, %d", what, got.survived,
          got.standard_error, got.noise, (int)got.rows, want.survived, want.standard_error,
          want.noise, (int)want.rows);
}

static void test_sums(void)
{
    static matrices m;
    static float transposed[IN * OUT];
    nib_survival_sums s = { 0 }, halves = { 0 };
    nib_change c = { 0 };
    nib_error err;

    REQUIRE(make_matrices(&m));
    c = (nib_change){ .base = m.base, .made = m.stored, .branch = &m.branch };
    REQUIRE_OK(nib_survival_of_weights(test_ctx(), &c, &s, &err), err);
    check_near(nib_survival_of(&s), by_hand(&m, NULL, IN), "weights");
    s = (nib_survival_sums){ 0 };
    REQUIRE_OK(nib_survival_of_rows(test_ctx(), &c, m.x, ROWS, &s, &err), err);
    check_near(nib_survival_of(&s), by_hand(&m, m.x, ROWS), "rows");
    REQUIRE_OK(nib_survival_of_rows(test_ctx(), &c, m.x, 100, &halves, &err), err);
    REQUIRE_OK(nib_survival_of_rows(test_ctx(), &c, m.x + 100 * IN, ROWS - 100, &halves, &err),
               err);
    check_near(nib_survival_of(&halves), nib_survival_of(&s), "rows in two pieces");
    /* a whole copy: what is stored is D itself */
    c = (nib_change){ .base = m.base, .made = m.stored, .whole = m.stored };
    s = (nib_survival_sums){ 0 };
    REQUIRE_OK(nib_survival_of_weights(test_ctx(), &c, &s, &err), err);
    check_near(nib_survival_of(&s), (nib_survival){ 1, 0, 0, IN }, "a whole copy");
    c.whole = m.base;
    s = (nib_survival_sums){ 0 };
    REQUIRE_OK(nib_survival_of_weights(test_ctx(), &c, &s, &err), err);
    CHECK(isnan(nib_survival_of(&s).survived), "no change");
    /* an embedding [OUT, IN]: its rows are its samples, and its branch lies the other way round */
    for (size_t i = 0; i < OUT; i++)
        for (size_t k = 0; k < RANK; k++) transposed[k * OUT + i] = m.b[i * RANK + k];
    memcpy(m.b, transposed, sizeof m.b);
    for (size_t i = 0; i < IN; i++)
        for (size_t k = 0; k < RANK; k++) transposed[i * RANK + k] = m.a[k * IN + i];
    memcpy(m.a, transposed, sizeof m.a);
    m.pa = (nib_param){ .rows = RANK, .cols = OUT, .value = m.b };
    m.pb = (nib_param){ .rows = IN, .cols = RANK, .value = m.a };
    c = (nib_change){ .base = m.base, .made = m.stored, .branch = &m.branch, .embedding = true };
    s = halves = (nib_survival_sums){ 0 };
    REQUIRE_OK(nib_survival_of_weights(test_ctx(), &c, &s, &err), err);
    REQUIRE_OK(nib_survival_of_ids(test_ctx(), &c, (const uint32_t[]){ 3, 3, 149 }, 3, &halves,
                                   &err), err);
    CHECK(s.rows == OUT && halves.rows == 3 && halves.b > 0 && halves.b < s.b);
    nib_weight_destroy(test_ctx(), m.base);
    nib_weight_destroy(test_ctx(), m.stored);
}

/* --- adapters that are made for it --- */

static nib_status open_model(const char *dir, nib_model **out, nib_error *err)
{
    nib_model_options o = { .model = dir };

    return nib_model_open(test_ctx(), &o, NIB_F32, (nib_model_progress){ 0 }, out, err);
}

/* Changes the first rows of each matrix, row q by the branch's q alone, each value by at most
 * `size` of its block's greatest, which stays: less than what NF4 rounds away, .0398. */
static void make_light(nib_adapter *a, const nib_linear *l, float size)
{
    static float row[4096];
    const nib_branch *b = nib_branch_at(&l->branches, a->slot);
    size_t in = l->weight->in, rank = b->a->rows;

    for (size_t q = 0; q < rank; q++) {
        nib_weight_decode(l->weight, q, q + 1, row);
        for (size_t r = 0; r < l->weight->out; r++) b->b->value[r * rank + q] = r == q;
        for (size_t i0 = 0; i0 < in; i0 += 64) {
            float most = 0;
            for (size_t i = i0; i < i0 + 64; i++) most = fmaxf(most, fabsf(row[i]));
            for (size_t i = i0; i < i0 + 64; i++)
                b->a->value[q * in + i] = fabsf(row[i]) < most * .999f
                                              ? size * most * test_rand_float() / b->scale
                                              : 0;
        }
    }
}

static nib_status make_adapter(const char *model, const char *dir, float size, nib_error *err)
{
    static const char *const targets[] = { "q_proj", "v_proj", "o_proj", "down_proj", "gate_proj" };
    nib_peft_config cfg = nib_peft_config_default();
    nib_model *m = NULL;
    nib_adapter *a = NULL;
    nib_status status = open_model(model, &m, err);

    mkdir(dir, 0777);
    if (!status)
        status = nib_peft_names_set(test_ctx(), &cfg.target_modules, NIB_PEFT_LIST, targets,
                                    NIB_COUNT(targets), err);
    if (!status) status = nib_adapter_create(m, &cfg, 0, 3, &a, err);
    for (size_t i = 0; !status && i < m->linear_count; i++)
        if (nib_branch_at(&m->linears[i]->branches, 0)) make_light(a, m->linears[i], size);
    if (!status) status = nib_adapter_save(a, dir, NULL, err);
    nib_adapter_close(a);
    nib_peft_config_free(test_ctx(), &cfg);
    nib_model_close(m);
    return status;
}

/* What on_report was given. */
typedef struct seen { int reports; nib_merge_report r; char records[200]; json_t *json; } seen;

static void on_report(void *user, const nib_merge_report *r)
{
    seen *s = user;

    s->reports++;
    s->r = *r;
    json_decref(s->json);
    s->json = json_loads(r->json, 0, NULL);
    CHECK(strstr(r->text, "survived: "), "%s", r->text);
}

typedef struct bench { path base, light, lighter, data, out; } bench;

/* The golden model in NF4, two adapters, and few records: what they show has fewer directions than
 * the matrices have inputs. */
static bool make_bench(bench *b)
{
    path model = golden("llama");
    nib_quantize_options q = { .model = model.s, .settings = test_four_bit };
    nib_error err = { 0 };
    FILE *f;
    bool good;

    b->base = joined(test_tmpdir(), "base");
    b->light = joined(test_tmpdir(), "light");
    b->lighter = joined(test_tmpdir(), "lighter");
    b->data = joined(test_tmpdir(), "ids.jsonl");
    b->out = joined(test_tmpdir(), "out");
    q.out = b->base.s;
    good = !nib_quantize(test_ctx(), &q, NULL, &err) &&
           !make_adapter(b->base.s, b->light.s, .038f, &err) &&
           !make_adapter(b->base.s, b->lighter.s, 1e-3f, &err);
    CHECK(good, "%s", err.message);
    f = fopen(b->data.s, "w");
    for (int i = 0; f && i < 4; i++)
        fprintf(f, "{\"input_ids\": [%d, %d, %d, %d, 5, 6]}\n", i + 10, i + 30, 2 * i, i + 70);
    return good && f && fclose(f) == 0;
}

static nib_status run(const bench *b, const char *adapter, const char *format, seen *s,
                      nib_merge_options o, nib_error *err)
{
    o.model = b->base.s;
    o.adapter = adapter;
    o.out = b->out.s;
    o.format = format;
    o.overwrite = true;
    o.on_report = on_report;
    o.user = s;
    return nib_merge(test_ctx(), &o, err);
}

static void test_nothing_survives(void)
{
    bench b;
    seen s = { 0 };
    nib_merge_options plain = { 0 };
    json_t *page;
    nib_error err;

    REQUIRE(make_bench(&b));
    REQUIRE_OK(run(&b, b.light.s, "nf4", &s, plain, &err), err);
    CHECK(s.r.survival.survived == 0 && s.r.survival.noise == 1, "%g, noise %g",
          s.r.survival.survived, s.r.survival.noise);
    CHECK(s.r.enough && !s.r.records && s.reports == 1);
    page = json_load_file(joined(b.out.s, "merge_report.json").s, 0, NULL);
    CHECK(json_equal(page, s.json), "the file is what was reported");
    CHECK(strcmp(json_string_value(json_object_get(page, "space")), "weights") == 0 &&
          json_array_size(json_object_get(page, "matrices")) == 10 &&
          json_is_null(json_object_get(page, "loss")));
    json_decref(page);
    CHECK(nib_file_exists(joined(b.out.s, "README.md").s));
    REQUIRE_OK(run(&b, b.light.s, "dense", &s, plain, &err), err);
    CHECK(s.r.survival.survived > .999 && s.r.survival.noise < .05, "%g, noise %g",
          s.r.survival.survived, s.r.survival.noise);
    json_decref(s.json);
}

/* The base's grid loses the change on these records, calibrated codes keep it. */
static void test_calibrated_keeps(void)
{
    static const nib_setting groups[] = { { "group_size", "32" }, { NULL, NULL } };
    bench b;
    seen s = { 0 };
    nib_merge_options o;
    nib_error err;

    REQUIRE(make_bench(&b));
    o = (nib_merge_options){ .verify = b.data.s };
    REQUIRE_OK(run(&b, b.light.s, "nf4", &s, o, &err), err);
    CHECK(s.r.survival.survived == 0 && s.r.records, "%g", s.r.survival.survived);
    CHECK(s.r.losses.merged == s.r.losses.base, "nothing is merged");
    o.quantize = (nib_quantize_options){ .settings = groups, .num_calibration_samples = 4 };
    o.quantize.calibration.data = b.data.s;
    REQUIRE_OK(run(&b, b.light.s, "gptq", &s, o, &err), err);
    CHECK(s.r.survival.survived >= .8 && s.r.survival.survived < 1.2, "%g +- %g, noise %g",
          s.r.survival.survived, s.r.survival.standard_error, s.r.survival.noise);
    json_decref(s.json);
}

/* Damaged matrices come in 8 bits, by rules of their own in config.json; others stay. */
static void test_mixed_bits(void)
{
    static const nib_setting groups[] = { { "group_size", "32" }, { NULL, NULL } };
    bench b;
    seen s = { 0 };
    nib_merge_result r;
    nib_merge_options o = { .result = &r, .quantize = { .settings = groups } };
    nib_survival plain;
    uint64_t bytes;
    json_t *config, *rules;
    nib_model *m = NULL;
    size_t wide = 0;
    nib_error err;

    REQUIRE(make_bench(&b));
    REQUIRE_OK(run(&b, b.light.s, "gptq", &s, o, &err), err);
    plain = s.r.survival;
    bytes = r.bytes;
    o.mixed_bits = "auto";
    REQUIRE_OK(run(&b, b.light.s, "gptq", &s, o, &err), err);
    CHECK(r.wide == 10 && r.matrices == 14 && r.bytes > bytes, "%d of %d matrices", (int)r.wide,
          (int)r.matrices);
    CHECK(s.r.survival.noise < .2 * plain.noise, "noise %g, %g before", s.r.survival.noise,
          plain.noise);
    config = json_load_file(joined(b.out.s, "config.json").s, 0, NULL);
    rules = json_object_get(json_object_get(config, "quantization_config"), "dynamic");
    CHECK(json_object_size(rules) == 10 &&
          json_object_get(rules, "+:^model\\.layers\\.0\\.mlp\\.down_proj$"));
    json_decref(config);
    REQUIRE_OK(open_model(b.out.s, &m, &err), err);
    for (size_t i = 0; i < m->linear_count; i++) {
        nib_form form = nib_weight_form(m->linears[i]->weight);
        char text[NIB_FORM_ROOM];
        nib_form_text(&form, text);
        wide += strcmp(text, "gptq 8 32 sym") == 0;
    }
    CHECK(wide == 10, "%zu matrices of 8 bits", wide);
    nib_model_close(m);
    o.quantize.settings = NULL;
    CHECK(run(&b, b.light.s, "nf4", &s, o, &err) == NIB_E_UNSUPPORTED, "%s", err.message);
    CHECK(run(&b, b.light.s, "dense", &s, o, &err) == NIB_E_INVALID, "%s", err.message);
    o.mixed_bits = "some";
    CHECK(run(&b, b.light.s, "gptq", &s, o, &err) == NIB_E_INVALID, "%s", err.message);
    json_decref(s.json);
}

/* A change that is lighter than what any four bits tell apart. */
static void test_refused(void)
{
    static const char *const formats[] = { "nf4", "fp4", "gptq", "awq", "compressed-tensors" };
    static const nib_setting groups[] = { { "group_size", "32" }, { NULL, NULL } };
    bench b;
    seen s = { 0 };
    nib_merge_options o = { .min_retained = .8 };
    nib_error err;

    REQUIRE(make_bench(&b));
    for (size_t i = 0; i < NIB_COUNT(formats); i++) {
        nib_status status;
        o.quantize.settings = i < 2 ? NULL : groups;
        status = run(&b, b.lighter.s, formats[i], &s, o, &err);
        CHECK(status == NIB_E_MISMATCH && strstr(err.message, "(1)") &&
                  strstr(err.message, "(2)") && strstr(err.message, "(3)"),
              "%s: %d, %s", formats[i], status, err.message);
        CHECK(!s.r.enough, "%s: %g +- %g", formats[i], s.r.survival.survived,
              s.r.survival.standard_error);
        CHECK(!nib_file_exists(b.out.s), "%s: something was written", formats[i]);
    }
    o = (nib_merge_options){ .min_retained = .8 };
    REQUIRE_OK(run(&b, b.light.s, "dense", &s, o, &err), err);
    CHECK(s.r.enough && nib_file_exists(b.out.s));
    json_decref(s.json);
}

/* --- losses --- */

static double loss_of(const char *model, const char *adapter, const char *data)
{
    nib_evaluate_options o = { .model = { .model = model, .compute_dtype = NIB_COMPUTE_FLOAT32 },
                               .adapter = adapter };
    nib_evaluate_result r = { 0 };
    nib_error err;

    o.data.data = data;
    o.data.max_seq_length = 1024;
    CHECK(nib_evaluate(test_ctx(), &o, &r, &err) == NIB_OK, "%s", err.message);
    return r.loss;
}

/* Those of evaluate; a README.md of somebody's own stays. */
static void test_losses(void)
{
    path model = golden("llama-bias"), adapter = joined(model.s, "adapter");
    const char own[] = "mine\n";
    bench b;
    seen s = { 0 };
    nib_merge_options o = { .model = model.s, .adapter = adapter.s, .overwrite = true,
                            .on_report = on_report, .user = &s, .dtype = "float32" };
    const nib_merge_losses *l = &s.r.losses;
    nib_filemap map = { 0 };
    nib_error err;
    FILE *f;

    REQUIRE(make_bench(&b));
    o.out = b.out.s;
    o.verify = b.data.s;
    mkdir(b.out.s, 0777);
    f = fopen(joined(b.out.s, "README.md").s, "w");
    REQUIRE(f && fputs(own, f) >= 0 && fclose(f) == 0);
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    CHECK(fabs(l->base - loss_of(model.s, NULL, b.data.s)) < 1e-5 &&
              fabs(l->adapter - loss_of(model.s, adapter.s, b.data.s)) < 1e-5 &&
              fabs(l->merged - loss_of(b.out.s, NULL, b.data.s)) < 1e-5,
          "%g %g %g", l->base, l->adapter, l->merged);
    CHECK(fabs(l->merged - l->adapter) < 1e-4 && l->base != l->adapter && l->divergence < 1e-6 &&
              l->agreement == 1 && l->records == 4 && l->tokens == 20,
          "%g, KL %g", l->merged - l->adapter, l->divergence);
    REQUIRE_OK(nib_filemap_open(joined(b.out.s, "README.md").s, &map, &err), err);
    CHECK(map.bytes == sizeof own - 1 && memcmp(map.base, own, map.bytes) == 0, "README.md");
    nib_filemap_close(&map);
    json_decref(s.json);
}

static const test_case cases[] = {
    { "sums against the definition", test_sums },
    { "rounding into the base's grid keeps nothing", test_nothing_survives },
    { "calibrated codes keep it", test_calibrated_keeps },
    { "damaged matrices in 8 bits", test_mixed_bits },
    { "min_retained refuses", test_refused },
    { "losses are evaluate's", test_losses },
};

int main(void) { return test_main("test_merge_survival", cases, NIB_COUNT(cases)); }
