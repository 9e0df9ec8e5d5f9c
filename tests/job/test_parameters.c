/* test_parameters.c - adapters on tensors of experts (target_parameters) against PEFT.
 *
 * tests/golden/parameters/<case>/ holds an adapter with random A and B as PEFT wrote it, and what
 * it computed on a model of tests/golden/models: logits, loss and the gradient of every A and B
 * (tests/golden/make/parameters_golden.py). */
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "adapter/adapter.h"
#include "graph/readout.h"
#include "nibble/merge.h"
#include "test.h"

enum { MOST = 64 };

typedef struct golden {
    const char *name, *model; /* a folder of tests/golden/parameters, of tests/golden */
    bool swapped; /* written under transformers 4 for tensors of [E, in, out] */
} golden;

static const golden all[] = {
    { "gpt-oss", "models/gpt-oss", false },
    { "gpt-oss-swapped", "models/gpt-oss", true },
    { "one", "models/gpt-oss", false },
    { "granitemoe", "models/granitemoe", false },
    { "qwen3-5-moe", "models/qwen3-5-moe", false },
    { "granitemoe-names-5", "models/granitemoe", false },
    { "qwen3-5-moe", "experts/dense", false }, /* the same model, its experts apart */
};
static const golden *const together = &all[4], *const apart = &all[6];

typedef struct fixture {
    nib_ctx *ctx;
    char model_dir[500], dir[500];
    nib_model *model;
    nib_adapter *adapter;
    nib_tensors *expected;
    uint32_t ids[MOST], positions[MOST], offsets[2], picks[MOST];
    nib_batch batch;
} fixture;

static void open_file(nib_ctx *ctx, const char *dir, const char *name, nib_tensors **out)
{
    char path[700];
    nib_error err;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    REQUIRE_OK(nib_tensors_open(ctx, path, out, &err), err);
}

static void open_model(fixture *f, const char *dir)
{
    nib_model_options o = { .model = dir };
    nib_error err;

    REQUIRE_OK(nib_model_open(f->ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &f->model, &err),
               err);
}

static void begin(fixture *f, const golden *g)
{
    nib_error err;
    const nib_tensor *ids;
    size_t n;

    *f = (fixture){ .ctx = test_ctx_threads(2, NULL) };
    snprintf(f->dir, sizeof f->dir, "%s/%s", test_data("tests/golden/parameters"), g->name);
    snprintf(f->model_dir, sizeof f->model_dir, "%s/%s", test_data("tests/golden"), g->model);
    open_file(f->ctx, f->dir, "expected.safetensors", &f->expected);
    open_model(f, f->model_dir);
    REQUIRE_OK(nib_adapter_open(f->model, f->dir, 0, true, &f->adapter, &err), err);
    ids = nib_tensors_find(f->expected, "ids");
    REQUIRE(ids && ids->elements < MOST);
    n = (size_t)ids->elements;
    memcpy(f->ids, ids->data, ids->bytes);
    for (size_t i = 0; i < n; i++) f->positions[i] = f->picks[i] = (uint32_t)i;
    f->offsets[1] = (uint32_t)n;
    f->batch = (nib_batch){ .sequences = 1 };
    f->batch.axes[NIB_TOKENS] = (nib_axis_rows){ .count = n, .offsets = f->offsets };
    f->batch.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = n, .picks = f->picks };
    f->batch.inputs[NIB_IDS] = f->ids;
    f->batch.inputs[NIB_POSITIONS] = f->positions;
}

static void end(fixture *f)
{
    nib_adapter_close(f->adapter);
    nib_model_close(f->model);
    nib_tensors_close(f->expected);
    test_ctx_release(f->ctx);
}

static void compute(fixture *f, float *logits)
{
    size_t rows = f->batch.axes[NIB_TOKENS].count;
    nib_plan *plan;
    nib_run *run;
    nib_error err;

    REQUIRE_OK(nib_plan_create(f->model->graph, NIB_PLAN_INFERENCE, rows, rows, &plan, &err), err);
    REQUIRE_OK(nib_run_create(f->ctx, f->model->graph, plan, 64, &run, &err), err);
    nib_run_forward(run, &f->batch);
    nib_run_logits(run, 0, rows, logits);
    nib_run_destroy(run);
    nib_plan_destroy(f->ctx, plan);
}

static void check_logits(fixture *f, const char *what)
{
    const nib_tensor *want = nib_tensors_find(f->expected, "logits");
    float *got = test_guarded(want->bytes), worst = 0, most = 0;

    compute(f, got);
    for (size_t i = 0; i < want->elements; i++) {
        float w = ((const float *)want->data)[i], d = fabsf(got[i] - w);
        most = fmaxf(most, fabsf(w));
        if (!(d <= worst)) worst = d;
    }
    CHECK(worst <= 1e-4f * most, "%s: logits differ by %g of %g", what, (double)worst,
          (double)most);
}

/* The gradients in the place of the values, mean of the rows, so that saving lays them out. */
static void step(fixture *f, const char *what)
{
    size_t rows = f->batch.axes[NIB_TOKENS].count - 1;
    const nib_tensor *want = nib_tensors_find(f->expected, "loss");
    nib_batch batch = f->batch;
    nib_plan *plan;
    nib_run *run;
    nib_error err;
    double loss;

    batch.axes[NIB_LOGIT_ROWS].count = rows;
    batch.targets = f->ids + 1;
    nib_params_clear_grads(&f->adapter->params);
    REQUIRE_OK(nib_plan_create(f->model->graph, NIB_PLAN_KEEP, rows + 1, rows, &plan, &err), err);
    REQUIRE_OK(nib_run_create(f->ctx, f->model->graph, plan, 64, &run, &err), err);
    nib_run_step(run, &batch);
    loss = run->loss_sum / (double)rows;
    CHECK(fabs(loss - (double)*(const float *)want->data) <= 1e-5, "%s: loss %g", what, loss);
    for (size_t i = 0; i < f->adapter->params.count; i++) {
        nib_param *p = f->adapter->params.items[i];
        for (size_t j = 0; j < nib_param_count(p); j++) p->value[j] = p->grad[j] / (float)rows;
    }
    nib_run_destroy(run);
    nib_plan_destroy(f->ctx, plan);
}

/* `want` as nibble writes it, from what transformers 4 has: A and B of the other, transposed rank
 * by rank and expert by expert. */
static float expected_at(const nib_tensor *got, const nib_tensor *want, const nib_tensor *other,
                         bool swapped, bool is_a, size_t experts, size_t i)
{
    size_t columns = (size_t)got->shape[1], row = i / columns, column = i % columns;
    size_t rank = (size_t)(is_a ? got->shape[0] : columns) / experts, wide = rank * experts;

    if (!swapped) return ((const float *)want->data)[i];
    if (is_a) /* [e r + k, in] is B [in, k E + e] */
        return ((const float *)other->data)[column * wide + row % rank * experts + row / rank];
    return ((const float *)other->data)[(column % experts * rank + column / experts) *
                                            (size_t)got->shape[0] + row];
}

/* Every tensor of the file in `dir` against the one of this name, its name behind `prefix`. */
static void compare(fixture *f, const golden *g, const char *dir, const nib_tensors *want,
                    const char *prefix, float tolerance)
{
    nib_tensors *got;

    open_file(f->ctx, dir, "adapter_model.safetensors", &got);
    for (size_t i = 0; i < nib_tensors_count(got); i++) {
        const nib_tensor *t = nib_tensors_at(got, i), *w, *o;
        bool is_a = strstr(t->name, "lora_A") != NULL;
        bool swapped = g->swapped && strstr(t->name, ".experts.");
        char name[600], other[600], *at;
        float worst = 0, most = 0;

        snprintf(name, sizeof name, "%s%s", prefix, t->name);
        snprintf(other, sizeof other, "%s", name);
        at = strstr(other, is_a ? "lora_A" : "lora_B");
        REQUIRE(at, "%s", name);
        at[5] = is_a ? 'B' : 'A';
        w = nib_tensors_find(want, name);
        o = nib_tensors_find(want, other);
        REQUIRE(w && o && (swapped || (w->shape[0] == t->shape[0] && w->shape[1] == t->shape[1])),
                "%s: %s", g->name, name);
        for (size_t k = 0; k < t->elements; k++) {
            float x = expected_at(t, w, o, swapped, is_a, 4, k);
            float d = fabsf(((const float *)t->data)[k] - x);
            most = fmaxf(most, fabsf(x));
            if (!(d <= worst)) worst = d;
        }
        CHECK(most > 0 && worst <= tolerance * most, "%s: %s differs by %g of %g", g->name, name,
              (double)worst, (double)most);
    }
    nib_tensors_close(got);
}

static void test_numbers(void)
{
    const char *dir = test_tmpdir();

    for (size_t i = 0; i < NIB_COUNT(all); i++) {
        fixture f;
        nib_tensors *file;
        nib_error err;

        begin(&f, &all[i]);
        open_file(f.ctx, f.dir, "adapter_model.safetensors", &file);
        check_logits(&f, all[i].name);
        REQUIRE_OK(nib_adapter_save(f.adapter, dir, NULL, &err), err);
        compare(&f, &all[i], dir, file, "", 0);
        step(&f, all[i].name);
        REQUIRE_OK(nib_adapter_save(f.adapter, dir, NULL, &err), err);
        compare(&f, &all[i], dir, f.expected, "grad.", 1e-3f);
        nib_tensors_close(file);
        end(&f);
    }
}

static void test_merged(void)
{
    const char *dir = test_tmpdir();

    for (size_t i = 0; i < NIB_COUNT(all); i++) {
        char out[600];
        fixture f;
        nib_error err;
        nib_merge_options o = { .out = out, .dtype = "float32" };

        begin(&f, &all[i]);
        snprintf(out, sizeof out, "%s/%zu", dir, i);
        o.model = f.model_dir;
        o.adapter = f.dir;
        REQUIRE_OK(nib_merge(f.ctx, &o, &err), err);
        nib_adapter_close(f.adapter);
        f.adapter = NULL;
        nib_model_close(f.model);
        open_model(&f, out);
        check_logits(&f, all[i].name);
        end(&f);
    }
}

/* --- experts apart --- */

/* Whether each expert lies apart or all lie in one tensor: the same bits forward and backward. */
static void test_same_bits(void)
{
    const golden *const two[] = { together, apart };
    fixture f[2];
    float *logits[2];
    uint64_t bytes = 0;

    for (size_t i = 0; i < NIB_COUNT(f); i++) {
        begin(&f[i], two[i]);
        bytes = nib_tensors_find(f[i].expected, "logits")->bytes;
        logits[i] = test_guarded(bytes);
        compute(&f[i], logits[i]);
        step(&f[i], two[i]->model);
    }
    CHECK(memcmp(logits[0], logits[1], bytes) == 0, "other logits");
    REQUIRE(f[0].adapter->params.count == f[1].adapter->params.count);
    for (size_t i = 0; i < f[0].adapter->params.count; i++) {
        const nib_param *a = f[0].adapter->params.items[i], *b = f[1].adapter->params.items[i];
        CHECK(memcmp(a->value, b->value, nib_param_count(a) * sizeof(float)) == 0,
              "the gradient of %s is another", a->name);
    }
    end(&f[0]);
    end(&f[1]);
}

/* The values of tensor `t` are those of `whole` from value `at` on. */
static void check_piece(const nib_tensor *t, const nib_tensor *whole, size_t at)
{
    size_t each = nib_dtype_bytes(t->dtype);

    CHECK(t->dtype == whole->dtype && (at + t->elements) * each <= whole->bytes &&
              memcmp(t->data, (const char *)whole->data + at * each, t->bytes) == 0,
          "%s is no part of %s", t->name, whole->name);
}

/* Merged, each form stays as it is, with the same values. */
static void test_forms_stay(void)
{
    const golden *const two[] = { together, apart };
    nib_ctx *ctx = test_ctx();
    nib_tensors *t[2], *source;
    size_t pieces = 0;
    nib_error err;

    for (size_t i = 0; i < 2; i++) {
        char dir[600], model[600], adapter[600];
        nib_merge_options o = { .model = model, .adapter = adapter, .out = dir };

        snprintf(dir, sizeof dir, "%s/form-%zu", test_tmpdir(), i);
        snprintf(model, sizeof model, "%s/%s", test_data("tests/golden"), two[i]->model);
        snprintf(adapter, sizeof adapter, "%s/%s", test_data("tests/golden/parameters"),
                 two[i]->name);
        REQUIRE_OK(nib_merge(ctx, &o, &err), err);
        open_file(ctx, dir, "model.safetensors", &t[i]);
        if (i == 1) open_file(ctx, model, "model.safetensors", &source);
    }
    REQUIRE(nib_tensors_count(t[1]) == nib_tensors_count(source));
    for (size_t i = 0; i < nib_tensors_count(t[1]); i++) {
        const nib_tensor *one = nib_tensors_at(t[1], i), *whole;
        size_t layer, expert;
        char part[16], name[100];

        CHECK(nib_tensors_find(source, one->name), "%s is new", one->name);
        if (sscanf(one->name, "model.layers.%zu.mlp.experts.%zu.%15[a-z]_proj.weight", &layer,
                   &expert, part) != 3)
            continue;
        pieces++;
        snprintf(name, sizeof name, "model.layers.%zu.mlp.experts.%s", layer,
                 *part == 'd' ? "down_proj" : "gate_up_proj");
        whole = nib_tensors_find(t[0], name);
        REQUIRE(whole, "%s", name);
        check_piece(one, whole, (expert * (*part == 'd' ? 1 : 2) + (*part == 'u')) * one->elements);
        CHECK(memcmp(one->data, nib_tensors_find(source, one->name)->data, one->bytes) != 0,
              "%s is not merged", one->name);
    }
    CHECK(pieces == 9, "%zu tensors of experts", pieces);
    nib_tensors_close(source);
    nib_tensors_close(t[0]);
    nib_tensors_close(t[1]);
}

/* A new one: the names that mean nothing, and what PEFT refuses too. */
static void test_created(void)
{
    static const char *const good[] = { "experts.gate_up_proj" };
    static const char *const bad[] = { "experts.gate_up_proj", "router.weight" };
    nib_peft_config config = nib_peft_config_default();
    nib_adapter *a = NULL;
    fixture f;
    nib_error err;

    begin(&f, &all[0]);
    nib_adapter_close(f.adapter);
    f.adapter = NULL;
    REQUIRE_OK(nib_peft_names_set(f.ctx, &config.target_parameters, NIB_PEFT_LIST, bad, 2, &err),
               err);
    CHECK(nib_adapter_create(f.model, &config, 0, 1, &a, &err) == NIB_E_MISMATCH &&
              strstr(err.message, "router.weight") && strstr(err.message, "experts.down_proj"),
          "%s", err.message);
    config = nib_peft_config_default();
    config.lora_dropout = 0.5;
    REQUIRE_OK(nib_peft_names_set(f.ctx, &config.target_parameters, NIB_PEFT_LIST, good, 1, &err),
               err);
    CHECK(nib_adapter_create(f.model, &config, 0, 1, &a, &err) == NIB_E_UNSUPPORTED &&
              strstr(err.message, "lora_dropout"),
          "%s", err.message);
    config = nib_peft_config_default();
    REQUIRE_OK(nib_peft_names_set(f.ctx, &config.target_parameters, NIB_PEFT_LIST, good, 1, &err),
               err);
    REQUIRE_OK(nib_adapter_create(f.model, &config, 0, 1, &f.adapter, &err), err);
    CHECK(f.adapter->params.count == 2 * 2 * 4, "%zu parameters", f.adapter->params.count);
    CHECK(nib_adapter_trainable(f.adapter) == 2 * 4 * 8 * (64 + 128), "%" PRIu64 " elements",
          nib_adapter_trainable(f.adapter));
    end(&f);
}

/* Names of transformers 4 and of 5 make two files that neither reads. */
static void test_two_versions(void)
{
    static const char *const mixed[] = { "input_linear.weight", "experts.down_proj" };
    nib_peft_config config = nib_peft_config_default();
    nib_adapter *a = NULL;
    fixture f;
    nib_error err;

    begin(&f, &all[3]);
    REQUIRE_OK(nib_peft_names_set(f.ctx, &config.target_parameters, NIB_PEFT_LIST, mixed, 2, &err),
               err);
    CHECK(nib_adapter_create(f.model, &config, 1, 1, &a, &err) == NIB_E_MISMATCH &&
              strstr(err.message, "input_linear.weight and experts.down_proj"),
          "%s", err.message);
    end(&f);
}

int main(void)
{
    static const test_case cases[] = {
        { "logits, gradients and files are PEFT's", test_numbers },
        { "merged, the model gives the same logits", test_merged },
        { "experts apart give the same bits as in one tensor", test_same_bits },
        { "merged, experts stay apart or together", test_forms_stay },
        { "a new adapter, and names that mean nothing", test_created },
        { "names of two versions", test_two_versions },
    };
    return test_main("parameters", cases, NIB_COUNT(cases));
}
