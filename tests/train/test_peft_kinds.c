/* test_peft_kinds.c - DoRA and single trained rows of the embedding against PEFT 0.21.2
 * (tests/golden/make/dora_golden.py, tokens_golden.py): logits, gradients, what they begin with,
 * what is merged; runs with them, and what is refused. */
#include <math.h>

#include "adapter/adapter.h"
#include "graph/magnitude.h"
#include "graph/readout.h"
#include "graph/state.h"
#include "nibble/export.h"
#include "nibble/merge.h"
#include "run_support.h"

enum { TOKENS = 12, VOCABULARY = 32 };

static const nib_setting eight_bit[] = { { "load_in_8bit", "true" }, { NULL, NULL } };

typedef struct fixture {
    nib_ctx *ctx;
    nib_tensors *expected;
    nib_model *model;
    nib_adapter *adapter;
    uint32_t places[TOKENS];
    nib_batch batch;
} fixture;

static const char *golden(const char *name)
{
    static char path[32][600];
    static unsigned next;
    char *p = path[next++ % 32];
    snprintf(p, sizeof path[0], "%s/%s", test_data("tests/golden"), name);
    return p;
}

static const uint32_t offsets[] = { 0, TOKENS };

/* dir: a model; adapter: on it, or NULL; expected: the golden file. */
static bool begin_with(fixture *f, const char *dir, const nib_setting *settings,
                       const char *adapter, const char *expected)
{
    nib_model_options o = { .model = dir, .settings = settings };
    nib_error err = { 0 };

    *f = (fixture){ .ctx = test_ctx_threads(2, NULL) };
    CHECK(!nib_tensors_open(f->ctx, golden(expected), &f->expected, &err) &&
          !nib_model_open(f->ctx, &o, NIB_F32, (nib_model_progress){ 0 }, &f->model, &err) &&
          (!adapter || !nib_adapter_open(f->model, adapter, 0, true, &f->adapter, &err)),
          "%s: %s", dir, err.message);
    if (!f->model || (adapter && !f->adapter)) return false;
    for (uint32_t i = 0; i < TOKENS; i++) f->places[i] = i;
    f->batch = (nib_batch){ .sequences = 1 };
    f->batch.axes[NIB_TOKENS] = (nib_axis_rows){ .count = TOKENS, .offsets = offsets };
    f->batch.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = TOKENS, .picks = f->places };
    f->batch.inputs[NIB_IDS] = nib_tensors_find(f->expected, "ids")->data;
    f->batch.inputs[NIB_POSITIONS] = f->places;
    return true;
}

static bool begin(fixture *f, const char *dir, const nib_setting *settings, const char *adapter)
{
    return begin_with(f, dir, settings, adapter, "dora/expected.safetensors");
}

static void end(fixture *f)
{
    nib_adapter_close(f->adapter);
    nib_model_close(f->model);
    nib_tensors_close(f->expected);
    test_ctx_release(f->ctx);
}

static const nib_tensor *wanted(const fixture *f, const char *mark, const char *name)
{
    char full[600];
    const nib_tensor *t;

    snprintf(full, sizeof full, "%s%s", mark, name);
    t = nib_tensors_find(f->expected, full);
    CHECK(t, "%s is missing", full);
    if (!t) abort();
    return t;
}

static void compare(const float *got, const nib_tensor *want, float near, const char *what)
{
    float worst = 0, most = 0;

    for (size_t i = 0; i < want->elements; i++) {
        float w = ((const float *)want->data)[i], d = fabsf(got[i] - w);
        most = fmaxf(most, fabsf(w));
        if (!(d <= worst)) worst = d;
    }
    CHECK(most > 0 && worst <= near * most, "%s: %s: off by %g of %g", what, want->name,
          (double)worst, (double)most);
}

static void make_run(fixture *f, nib_plan_kind kind, size_t tokens, nib_plan **plan, nib_run **run)
{
    nib_error err;

    REQUIRE_OK(nib_plan_create(f->model->graph, kind, tokens, tokens, plan, &err), err);
    REQUIRE_OK(nib_run_create(f->ctx, f->model->graph, *plan, TOKENS, run, &err), err);
}

/* Of all rows at once, and token by token, as generating computes them. */
static void check_logits(fixture *f, const char *mark, const char *what)
{
    static const uint32_t one_offsets[] = { 0, 1 }, pick = 0;
    float got[TOKENS * VOCABULARY];
    bool generated = true;
    nib_batch one = { .sequences = 1, .generated = &generated };
    nib_state *state;
    nib_plan *plan;
    nib_run *run;
    nib_error err;

    make_run(f, NIB_PLAN_INFERENCE, TOKENS, &plan, &run);
    nib_run_forward(run, &f->batch);
    nib_run_logits(run, 0, TOKENS, got);
    compare(got, wanted(f, mark, "logits"), 1e-4f, what);
    REQUIRE_OK(nib_state_create(f->ctx, f->model->graph, TOKENS, &state, &err), err);
    one.states = &state;
    one.axes[NIB_TOKENS] = (nib_axis_rows){ .count = 1, .offsets = one_offsets };
    one.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = 1, .picks = &pick };
    for (size_t t = 0; t < TOKENS; t++) {
        one.inputs[NIB_IDS] = f->batch.inputs[NIB_IDS] + t;
        one.inputs[NIB_POSITIONS] = f->places + t;
        nib_run_forward(run, &one);
        nib_run_logits(run, 0, 1, got + t * VOCABULARY);
    }
    compare(got, wanted(f, mark, "logits"), 1e-4f, "token by token");
    nib_state_destroy(state);
    nib_run_destroy(run);
    nib_plan_destroy(f->ctx, plan);
}

static void check_gradients(fixture *f, const char *mark, nib_plan_kind kind)
{
    nib_batch batch = f->batch;
    nib_plan *plan;
    nib_run *run;
    double loss;

    batch.axes[NIB_LOGIT_ROWS].count = TOKENS - 1;
    batch.targets = batch.inputs[NIB_IDS] + 1;
    nib_params_clear_grads(&f->adapter->params);
    make_run(f, kind, TOKENS, &plan, &run);
    nib_run_step(run, &batch);
    loss = run->loss_sum / (TOKENS - 1) - (double)*(const float *)wanted(f, mark, "loss")->data;
    CHECK(fabs(loss) <= 1e-5, "%sloss: off by %g", mark, loss);
    for (size_t i = 0; i < f->adapter->params.count; i++) {
        nib_param *p = f->adapter->params.items[i];
        char name[600];
        snprintf(name, sizeof name, "grad.%s", p->name);
        for (size_t j = 0; j < nib_param_count(p); j++) p->grad[j] /= TOKENS - 1;
        compare(p->grad, wanted(f, mark, name), 1e-3f, mark);
    }
    nib_run_destroy(run);
    nib_plan_destroy(f->ctx, plan);
}

static void test_reference(void)
{
    static const struct { const char *mark; const nib_setting *settings; bool logits; } held[] = {
        { "", NULL, true }, { "nf4.", test_four_bit, true }, { "int8.", eight_bit, false }
    };

    for (size_t i = 0; i < NIB_COUNT(held); i++) {
        fixture f;
        if (begin(&f, golden("dora/base"), held[i].settings, golden("dora/adapter"))) {
            if (held[i].logits) check_logits(&f, held[i].mark, "with the adapter");
            check_gradients(&f, held[i].mark, NIB_PLAN_KEEP);
            check_gradients(&f, held[i].mark, NIB_PLAN_CHECKPOINT);
        }
        end(&f);
    }
}

/* A fresh adapter leaves the model as it is, and has PEFT's magnitudes. */
static void test_begin(void)
{
    char *targets[] = { (char[]){ "embed_tokens" }, (char[]){ "down_proj" } };
    nib_peft_config c = nib_peft_config_default();
    size_t compared = 0;
    nib_error err;
    fixture f;

    if (!begin(&f, golden("dora/base"), NULL, NULL)) return;
    c.use_dora = true;
    REQUIRE_OK(nib_peft_names_set(f.ctx, &c.target_modules, NIB_PEFT_LIST,
                                  (const char *const *)targets, 2, &err), err);
    REQUIRE_OK(nib_adapter_create(f.model, &c, 0, 1, &f.adapter, &err), err);
    for (size_t i = 0; i < f.adapter->params.count; i++) {
        const nib_param *p = f.adapter->params.items[i];
        if (p->kind != NIB_PARAM_MAGNITUDE) continue;
        compare(p->value, wanted(&f, "begin.", p->name), 1e-6f, "begin");
        compared++;
    }
    CHECK(compared == 2, "%zu magnitudes", compared);
    for (size_t i = 0; i < 64; i++)
        CHECK(nib_branch_gains(f.model->embedding->branches.slots[0])[i] == 1, "gain %zu", i);
    end(&f);
}

/* Merged, the same logits; in NF4, the codes of the float32 merge. */
static void test_merge(void)
{
    const char *dense = run_path("dense"), *nf4 = run_path("nf4"), *codes = run_path("codes");
    nib_merge_options o = { .model = golden("dora/base"), .adapter = golden("dora/adapter"),
                            .out = dense, .dtype = "float32" };
    nib_quantize_options q = { .model = dense, .out = codes, .settings = test_four_bit };
    nib_error err;
    fixture f;

    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    if (begin(&f, dense, NULL, NULL)) check_logits(&f, "", "merged");
    end(&f);
    o.out = nf4;
    o.format = "nf4";
    REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
    REQUIRE_OK(nib_quantize(test_ctx(), &q, NULL, &err), err);
    {
        nib_tensors *a, *b;
        char path[700];
        size_t same = 0;
        snprintf(path, sizeof path, "%s/model.safetensors", nf4);
        REQUIRE_OK(nib_tensors_open(test_ctx(), path, &a, &err), err);
        snprintf(path, sizeof path, "%s/model.safetensors", codes);
        REQUIRE_OK(nib_tensors_open(test_ctx(), path, &b, &err), err);
        for (size_t i = 0; i < nib_tensors_count(a); i++) {
            const nib_tensor *x = nib_tensors_at(a, i), *y = nib_tensors_find(b, x->name);
            bool equal = y && x->bytes == y->bytes && memcmp(x->data, y->data, x->bytes) == 0;
            CHECK(equal, "%s differs", x->name);
            same += equal;
        }
        CHECK(same > 20, "%zu tensors", same);
        nib_tensors_close(a);
        nib_tensors_close(b);
    }
}

static nib_finetune_options dora_options(const char *out)
{
    nib_finetune_options o = run_options(out);

    o.lora.use_dora = true;
    return o;
}

/* With dropout, on 4 bits: a run that is resumed from its fourth step ends with the same
 * bytes, and so does one of four threads; what was trained is what evaluation computes with. */
static void test_runs(void)
{
    static const char file[] = "adapter_model.safetensors";
    nib_finetune_options o = dora_options("whole"), again = dora_options("again"),
                         threads = dora_options("threads");
    nib_tensors *t;
    char path[700];
    nib_error err;
    size_t moved = 0;

    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    snprintf(path, sizeof path, "%s/checkpoint-4", o.output_dir);
    again.resume_from_checkpoint = path;
    REQUIRE_OK(nib_finetune(test_ctx(), &again, &err), err);
    CHECK(run_same(o.output_dir, again.output_dir, file), "a resumed run writes other bytes");
    REQUIRE_OK(nib_finetune(test_ctx_threads(4, NULL), &threads, &err), err);
    CHECK(run_same(o.output_dir, threads.output_dir, file), "four threads write other bytes");
    snprintf(path, sizeof path, "%s/%s", o.output_dir, file);
    REQUIRE_OK(nib_tensors_open(test_ctx(), path, &t, &err), err);
    for (size_t i = 0; i < nib_tensors_count(t); i++)
        moved += nib_tensors_at(t, i)->rank == 1 &&
                 strstr(nib_tensors_at(t, i)->name, ".lora_magnitude_vector") != NULL;
    CHECK(moved == 21, "%zu magnitude vectors", moved);
    nib_tensors_close(t);
}

static void check_refused(nib_status got, const nib_error *err, const char *says)
{
    CHECK(got == NIB_E_UNSUPPORTED && strstr(err->message, says), "%s", err->message);
}

/* --- single rows of the embedding --- */

static const struct { const char *name, *mark, *model; } rows[] = {
    { "tokens/untied", "untied.", "adapter-files/base" },
    { "tokens/tied", "tied.", "adapter-files/tied" },
};

/* Logits and gradients, with the adapter and merged; saved again, PEFT's own bytes of the config's
 * value. */
static void test_rows(void)
{
    for (size_t i = 0; i < NIB_COUNT(rows); i++) {
        const char *out = run_path(rows[i].mark), *saved = run_path("saved");
        nib_merge_options o = { .model = golden(rows[i].model), .adapter = golden(rows[i].name),
                                .out = out, .dtype = "float32" };
        nib_error err;
        fixture f;

        if (begin_with(&f, o.model, NULL, o.adapter, "tokens/expected.safetensors")) {
            char *a, *b;
            size_t n, m;
            check_logits(&f, rows[i].mark, "with trained rows");
            check_gradients(&f, rows[i].mark, NIB_PLAN_KEEP);
            check_gradients(&f, rows[i].mark, NIB_PLAN_CHECKPOINT);
            CHECK(mkdir(saved, 0777) == 0 || i, "%s", saved);
            REQUIRE_OK(nib_adapter_save(f.adapter, saved, NULL, &err), err);
            a = run_bytes(o.adapter, "adapter_config.json", &n);
            b = run_bytes(saved, "adapter_config.json", &m);
            CHECK(a && b && strcmp(strstr(a, "trainable_token_indices"),
                                   strstr(b, "trainable_token_indices")) == 0, "%s: %s",
                  rows[i].name, b);
            free(a);
            free(b);
        }
        end(&f);
        REQUIRE_OK(nib_merge(test_ctx(), &o, &err), err);
        if (begin_with(&f, out, NULL, NULL, "tokens/expected.safetensors")) {
            check_logits(&f, rows[i].mark, "merged");
            CHECK(f.model->tied == (i == 1), "%s: tied %d", rows[i].name, f.model->tied);
        }
        end(&f);
    }
}

/* A run resumed in its midst ends with the same bytes; rows that are not named stay. */
static void test_rows_run(void)
{
    static const int words[] = { 100, 3 };
    nib_finetune_options o = run_options("rows"), again = run_options("rows-again");
    char path[700];
    nib_error err;

    o.lora.trainable_token_indices = again.lora.trainable_token_indices = words;
    o.lora.trainable_token_count = again.lora.trainable_token_count = 2;
    REQUIRE_OK(nib_finetune(test_ctx(), &o, &err), err);
    snprintf(path, sizeof path, "%s/checkpoint-4", o.output_dir);
    again.resume_from_checkpoint = path;
    REQUIRE_OK(nib_finetune(test_ctx(), &again, &err), err);
    CHECK(run_same(o.output_dir, again.output_dir, "adapter_model.safetensors"),
          "a resumed run writes other bytes");
}

static void check_tokens(const int *words, size_t count, const char *saved, nib_status want,
                         const char *says)
{
    nib_finetune_options o = run_options("refused");
    nib_error err = { 0 };

    o.lora.trainable_token_indices = words;
    o.lora.trainable_token_count = count;
    if (saved) o.lora.modules_to_save = (nib_names){ .items = &saved, .count = 1 };
    CHECK(nib_finetune(test_ctx(), &o, &err) == want && strstr(err.message, says), "%s: %s", says,
          err.message);
}

static void test_rows_refused(void)
{
    static const int words[] = { 5, 128, 5 };

    check_tokens(words + 1, 1, NULL, NIB_E_MISMATCH, "128, but model.embed_tokens has 128 rows");
    check_tokens((const int[]){ 5, 3, 5 }, 3, NULL, NIB_E_INVALID, "row 5 is given twice");
    check_tokens((const int[]){ -1 }, 1, NULL, NIB_E_INVALID, "-1 is no word");
    check_tokens(words, 1, "embed_tokens", NIB_E_UNSUPPORTED, "saved whole too");
}

static void test_refusals(void)
{
    nib_merge_adapter half[] = { { golden("dora/adapter"), 0.5 } };
    nib_merge_options o = { .model = golden("dora/base"), .adapters = half, .adapter_count = 1,
                            .out = run_path("out"), .dtype = "float32" };
    nib_export_options e = { .model = golden("dora/adapter"), .base = golden("dora/base"),
                             .out = run_path("lora.gguf") };
    nib_error err = { 0 };

    check_refused(nib_merge(test_ctx(), &o, &err), &err, "merged alone and with weight 1");
    o.adapters = NULL;
    o.adapter_count = 0;
    o.adapter = golden("dora/adapter");
    o.unmerge = true;
    check_refused(nib_merge(test_ctx(), &o, &err), &err, "no longer have");
    check_refused(nib_export(test_ctx(), &e, NULL, &err), &err, "magnitudes (use_dora)");
    CHECK(!run_exists(test_tmpdir(), "out") && !run_exists(test_tmpdir(), "lora.gguf"), "written");
}

static const test_case cases[] = {
    { "PEFT's logits and gradients", test_reference },
    { "PEFT's first magnitudes", test_begin },
    { "merging", test_merge },
    { "runs", test_runs },
    { "trained rows", test_rows },
    { "runs with trained rows", test_rows_run },
    { "rows that are refused", test_rows_refused },
    { "what is refused", test_refusals },
};

int main(void) { return test_main("test_peft_kinds", cases, NIB_COUNT(cases)); }
