/* test_reference.c - every architecture variant against transformers and PEFT.
 *
 * tests/golden/models/<variant>/ holds a tiny random model, a PEFT adapter with random A
 * and B, and what the reference computed in float32: logits, loss and the gradient of
 * each LoRA matrix, plain and with every linear of the layers on the NF4 grid
 * (tests/golden/make/models.py, tests/golden/README.md), and for some in 8 bits. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/safetensors.h"
#include "graph/operations.h"
#include "graph/readout.h"
#include "graph/state.h"
#include "model/model.h"
#include "test.h"

enum { SEQUENCES = 2 };

typedef struct fixture {
    nib_ctx *ctx;
    nib_model *model;
    nib_tensors *expected;
    nib_params params;
    uint32_t ids[256], positions[256], offsets[SEQUENCES + 1];
    uint32_t logit_index[256], targets[256], all_rows[256];
    nib_batch supervised, whole;
} fixture;

static const nib_tensor *need(const nib_tensors *t, const char *format, const char *prefix,
                              const char *name)
{
    char full[600];
    const nib_tensor *found;
    snprintf(full, sizeof full, format, prefix, name);
    found = nib_tensors_find(t, full);
    CHECK(found, "%s is missing", full);
    return found;
}

/* Fills slot 0 of each linear from the adapter's file. */
static void load_adapter(fixture *f, const char *dir)
{
    char path[600];
    nib_error err;
    nib_tensors *file;

    snprintf(path, sizeof path, "%s/adapter/adapter_model.safetensors", dir);
    REQUIRE_OK(nib_tensors_open(f->ctx, path, &file, &err), err);
    for (size_t i = 0; i < f->model->linear_count; i++) {
        nib_linear *l = f->model->linears[i];
        const nib_tensor *t[2];
        nib_param *p[2];
        nib_branch *branch;

        if (l == f->model->head || l->parameter || l->bypassed) continue;
        t[0] = need(file, "base_model.model.%s.lora_%s.weight", l->name, "A");
        t[1] = need(file, "base_model.model.%s.lora_%s.weight", l->name, "B");
        for (int j = 0; j < 2; j++) {
            REQUIRE(t[j], "%s", l->name);
            p[j] = nib_params_add(f->ctx, &f->params, t[j]->name, t[j]->shape[0], t[j]->shape[1]);
            p[j]->wants_grad = true;
            memcpy(p[j]->value, t[j]->data, t[j]->bytes);
        }
        branch = nib_branch_add(f->ctx, &l->branches, 0);
        REQUIRE(branch);
        *branch = (nib_branch){ .a = p[0], .b = p[1], .scale = 2 }; /* alpha 8, r 4 */
    }
    nib_tensors_close(file);
}

static void make_batches(fixture *f)
{
    size_t t = 0, rows = 0;

    for (int s = 0; s < SEQUENCES; s++) {
        char number[16];
        const nib_tensor *ids, *labels;
        snprintf(number, sizeof number, "%d", s);
        ids = need(f->expected, "%s%s", "ids.", number);
        labels = need(f->expected, "%s%s", "labels.", number);
        REQUIRE(ids && labels, "no ids");
        f->offsets[s] = (uint32_t)t;
        for (size_t i = 0; i < ids->elements; i++, t++) {
            int32_t label = ((const int32_t *)labels->data)[i];
            f->ids[t] = ((const uint32_t *)ids->data)[i];
            f->positions[t] = (uint32_t)i;
            f->all_rows[t] = (uint32_t)t;
            if (i > 0 && label >= 0) {
                f->logit_index[rows] = (uint32_t)t - 1;
                f->targets[rows++] = (uint32_t)label;
            }
        }
    }
    f->offsets[SEQUENCES] = (uint32_t)t;
    f->supervised = (nib_batch){ .sequences = SEQUENCES, .targets = f->targets };
    f->supervised.axes[NIB_TOKENS] = (nib_axis_rows){ .count = t, .offsets = f->offsets };
    f->supervised.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = rows, .picks = f->logit_index };
    f->supervised.inputs[NIB_IDS] = f->ids;
    f->supervised.inputs[NIB_POSITIONS] = f->positions;
    f->whole = f->supervised;
    f->whole.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = t, .picks = f->all_rows };
    f->whole.targets = NULL;
}

static float greatest_difference(const float *a, const float *b, size_t n)
{
    float worst = 0;
    for (size_t i = 0; i < n; i++) {
        float d = fabsf(a[i] - b[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

/* Only the last token's logits are wanted: the rows behind the last layer's attention are few, and
 * their bits those among all rows. */
static void check_one_row(fixture *f, nib_run *run, const float *want, const char *variant)
{
    const nib_graph *g = f->model->graph;
    size_t v = f->model->head->weight->out, last = g->node_count;
    float *got = test_guarded(v * sizeof *got);
    nib_batch one = f->whole;

    one.axes[NIB_LOGIT_ROWS].count = 1;
    one.axes[NIB_LOGIT_ROWS].picks += f->whole.axes[NIB_TOKENS].count - 1;
    nib_run_forward(run, &one);
    nib_run_logits(run, 0, 1, got);
    CHECK(memcmp(got, want, v * sizeof *got) == 0,
          "%s: the last row's logits alone differ", variant);
    while (last > 0 && g->nodes[last - 1].op != &nib_op_linear) last--;
    CHECK(last > 0 && g->values[g->nodes[last - 1].output].axis == NIB_LOGIT_ROWS,
          "%s: the last layer computes rows that nobody reads", variant);
}

static void check_logits(fixture *f, const char *prefix, const char *variant)
{
    size_t v = f->model->head->weight->out;
    float *logits = test_guarded(64 * v * sizeof *logits);
    nib_plan *plan;
    nib_run *run;
    nib_error err;

    REQUIRE_OK(nib_plan_create(f->model->graph, NIB_PLAN_INFERENCE, f->whole.axes[NIB_TOKENS].count,
                               f->whole.axes[NIB_TOKENS].count, &plan, &err),
               err);
    REQUIRE_OK(nib_run_create(f->ctx, f->model->graph, plan, 64, &run, &err), err);
    nib_run_forward(run, &f->whole);
    for (int s = 0; s < SEQUENCES; s++) {
        char name[64];
        size_t first = f->offsets[s], length = f->offsets[s + 1] - first;
        const nib_tensor *want;
        float worst;

        snprintf(name, sizeof name, "logits.%d", s);
        want = need(f->expected, "%s%s", prefix, name);
        REQUIRE(want, "no logits");
        nib_run_logits(run, first, first + length, logits);
        worst = greatest_difference(logits, want->data, length * v);
        CHECK(worst <= 1e-4f, "%s %s%s: logits differ by %g", variant, prefix, name, (double)worst);
        if (s + 1 == SEQUENCES) check_one_row(f, run, logits + (length - 1) * v, variant);
    }
    nib_run_destroy(run);
    nib_plan_destroy(f->ctx, plan);
}

/* Token by token, as generating does it, a sequence has the same logits. */
static void check_steps(fixture *f, const char *prefix, const char *variant)
{
    enum { ALONE = SEQUENCES - 1 };
    size_t v = f->model->head->weight->out, first = f->offsets[ALONE],
           length = f->offsets[SEQUENCES] - first;
    const nib_tensor *want = need(f->expected, "%s%s", prefix, "logits.1");
    float *got = test_guarded(v * sizeof *got), worst = 0;
    bool generated = true;
    nib_state *state;
    nib_plan *plan;
    nib_run *run;
    nib_error err;

    REQUIRE(want, "no logits");
    REQUIRE_OK(nib_plan_create(f->model->graph, NIB_PLAN_INFERENCE, 1, 1, &plan, &err), err);
    REQUIRE_OK(nib_run_create(f->ctx, f->model->graph, plan, 64, &run, &err), err);
    REQUIRE_OK(nib_state_create(f->ctx, f->model->graph, length, &state, &err), err);
    for (size_t t = 0; t < length; t++) {
        static const uint32_t offsets[] = { 0, 1 }, pick = 0;
        nib_batch one = { .sequences = 1, .states = &state, .generated = &generated };

        one.axes[NIB_TOKENS] = (nib_axis_rows){ .count = 1, .offsets = offsets };
        one.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = 1, .picks = &pick };
        one.inputs[NIB_IDS] = f->ids + first + t;
        one.inputs[NIB_POSITIONS] = f->positions + first + t;
        nib_run_forward(run, &one);
        nib_run_logits(run, 0, 1, got);
        float d = greatest_difference(got, (const float *)want->data + t * v, v);
        if (!(d <= worst)) worst = d;
    }
    CHECK(worst <= 1e-4f, "%s %s: token by token logits differ by %g", variant, prefix,
          (double)worst);
    nib_state_destroy(state);
    nib_run_destroy(run);
    nib_plan_destroy(f->ctx, plan);
}

static void check_gradients(fixture *f, nib_plan_kind kind, const char *grads, const char *loss,
                            const char *variant)
{
    nib_plan *plan;
    nib_run *run;
    nib_error err;
    const nib_tensor *want = need(f->expected, "%s%s", loss, "");
    double got;

    REQUIRE(want, "no loss");
    nib_params_clear_grads(&f->params);
    REQUIRE_OK(nib_plan_create(f->model->graph, kind, f->supervised.axes[NIB_TOKENS].count,
                               f->supervised.axes[NIB_LOGIT_ROWS].count, &plan, &err),
               err);
    REQUIRE_OK(nib_run_create(f->ctx, f->model->graph, plan, 64, &run, &err), err);
    nib_run_step(run, &f->supervised);
    got = run->loss_sum / (double)f->supervised.axes[NIB_LOGIT_ROWS].count;
    CHECK(fabs(got - (double)*(const float *)want->data) <= 1e-5, "%s: %s %.7g, expected %.7g",
          variant, loss, got, (double)*(const float *)want->data);
    for (size_t i = 0; i < f->params.count; i++) {
        nib_param *p = f->params.items[i];
        const nib_tensor *g = need(f->expected, "%s%s", grads, p->name);
        float worst = 0, most = 0;

        REQUIRE(g, "no gradient");
        for (size_t j = 0; j < g->elements; j++) {
            float w = ((const float *)g->data)[j],
                  d = fabsf(p->grad[j] / (float)f->supervised.axes[NIB_LOGIT_ROWS].count - w);
            most = fmaxf(most, fabsf(w));
            if (!(d <= worst)) worst = d;
        }
        CHECK(worst <= 1e-3f * most, "%s %s: gradient off by %g of %g", variant, p->name,
              (double)worst, (double)most);
    }
    nib_run_destroy(run);
    nib_plan_destroy(f->ctx, plan);
}

/* The bits of a sequence are the same by itself as beside the other. */
static void check_alone(fixture *f, const char *prefix, const char *variant)
{
    size_t v = f->model->head->weight->out;
    float *packed = test_guarded(64 * v * sizeof *packed);
    float *alone = test_guarded(64 * v * sizeof *alone);
    size_t tokens = f->whole.axes[NIB_TOKENS].count;
    nib_plan *plan;
    nib_run *run;
    nib_error err;

    REQUIRE_OK(nib_plan_create(f->model->graph, NIB_PLAN_INFERENCE, tokens, tokens, &plan, &err),
               err);
    REQUIRE_OK(nib_run_create(f->ctx, f->model->graph, plan, 64, &run, &err), err);
    for (int s = 0; s < SEQUENCES; s++) {
        size_t first = f->offsets[s], length = f->offsets[s + 1] - first;
        uint32_t offsets[2] = { 0, (uint32_t)length };
        nib_batch one = f->whole;

        nib_run_forward(run, &f->whole);
        nib_run_logits(run, first, first + length, packed);
        one.sequences = 1;
        one.axes[NIB_TOKENS] = (nib_axis_rows){ .count = length, .offsets = offsets };
        one.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = length, .picks = f->all_rows };
        one.inputs[NIB_IDS] += first;
        one.inputs[NIB_POSITIONS] += first;
        nib_run_forward(run, &one);
        nib_run_logits(run, 0, length, alone);
        CHECK(memcmp(packed, alone, length * v * sizeof *alone) == 0,
              "%s %s: sequence %d has other bits alone", variant, prefix, s);
    }
    nib_run_destroy(run);
    nib_plan_destroy(f->ctx, plan);
}

/* How the weights are held, and where the numbers lie that are expected then. */
typedef struct held {
    const char *mark;     /* in front of their names */
    const char *numbers;  /* their file, or NULL: expected.safetensors, which has the ids */
    const nib_setting *settings;
    int least;            /* models that have such numbers */
} held;

static bool open_fixture(fixture *f, const char *dir, const held *h, int threads)
{
    char path[600];
    nib_error err;
    nib_model_options options = { .model = dir, .settings = h->settings };

    *f = (fixture){ .ctx = test_ctx_threads(threads, NULL) };
    snprintf(path, sizeof path, "%s/expected.safetensors", dir);
    if (nib_tensors_open(f->ctx, path, &f->expected, &err) ||
        nib_model_open(f->ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &f->model, &err)) {
        CHECK(false, "%s", err.message);
        return false;
    }
    make_batches(f);
    if (!h->numbers) return true;
    nib_tensors_close(f->expected);
    f->expected = NULL;
    snprintf(path, sizeof path, "%s/%s", dir, h->numbers);
    if (!nib_tensors_open(f->ctx, path, &f->expected, &err)) return true;
    CHECK(false, "%s", err.message);
    return false;
}

static void close_fixture(fixture *f)
{
    for (size_t i = 0; f->model && i < f->model->linear_count; i++)
        nib_branch_remove(f->ctx, &f->model->linears[i]->branches, 0);
    nib_model_close(f->model);
    nib_params_free(f->ctx, &f->params);
    nib_tensors_close(f->expected);
    test_ctx_release(f->ctx);
}

/* Modules of which the decoded weight is there, bit for bit. */
static void check_decoded(fixture *f, const char *variant)
{
    for (size_t i = 0; i < f->model->linear_count; i++) {
        const nib_linear *l = f->model->linears[i];
        char name[600];
        const nib_tensor *want;
        float *got;

        snprintf(name, sizeof name, "decoded.%s", l->name);
        want = nib_tensors_find(f->expected, name);
        if (!want) continue;
        got = test_guarded(want->bytes);
        nib_weight_decode(l->weight, 0, l->weight->out, got);
        CHECK(memcmp(got, want->data, want->bytes) == 0, "%s: %s decodes otherwise", variant,
              l->name);
    }
}

static void check_variant(const char *dir, const char *variant, const held *h, int threads)
{
    char prefix[32], grads[32], loss[32];
    fixture f;

    if (!open_fixture(&f, dir, h, threads)) return;
    snprintf(prefix, sizeof prefix, "%slora.", h->mark);
    snprintf(grads, sizeof grads, "%sgrad.", h->mark);
    snprintf(loss, sizeof loss, "%slora.loss", h->mark);
    check_decoded(&f, variant);
    check_logits(&f, h->mark, variant);
    load_adapter(&f, dir);
    check_logits(&f, prefix, variant);
    check_alone(&f, prefix, variant);
    check_steps(&f, prefix, variant);
    check_gradients(&f, NIB_PLAN_KEEP, grads, loss, variant);
    check_gradients(&f, NIB_PLAN_CHECKPOINT, grads, loss, variant);
    close_fixture(&f);
}

/* Calls check for each directory of golden models. */
static void each_variant(const char *top, const held *h)
{
    DIR *d = opendir(top);
    struct dirent *entry;
    int count = 0;

    REQUIRE(d, "%s cannot be read", top);
    while ((entry = readdir(d))) {
        char dir[512], numbers[600];
        if (entry->d_name[0] == '.') continue;
        snprintf(dir, sizeof dir, "%s/%s", top, entry->d_name);
        snprintf(numbers, sizeof numbers, "%s/%s", dir, h->numbers ? h->numbers : "");
        if (h->numbers && access(numbers, R_OK)) continue;
        for (int threads = 1; threads <= 2; threads++)
            check_variant(dir, entry->d_name, h, threads);
        count++;
    }
    closedir(d);
    CHECK(count >= h->least, "%d variants", count);
}

static const char *models(void)
{
    const char *top = getenv("NIBBLE_GOLDEN_MODELS");
    return top ? top : test_data("tests/golden/models");
}

static void test_dense(void) { each_variant(models(), &(held){ .mark = "", .least = 12 }); }

static void test_nf4(void)
{
    each_variant(models(), &(held){ .mark = "nf4.", .settings = test_four_bit, .least = 12 });
}

/* Logits of eval mode, where x is quantized too; loss and gradients of training mode, where it is
 * not (tests/golden/make/int8_models.py). */
static void test_int8(void)
{
    static const nib_setting settings[] = { { "load_in_8bit", "true" },
                                            { "llm_int8_threshold", "2.5" },
                                            { NULL, NULL } };

    each_variant(models(), &(held){ .mark = "", .numbers = "int8.safetensors", .settings = settings,
                          .least = 2 });
}

/* GPTQ, AWQ and compressed-tensors files; what is expected is computed with the decoded weights. */
static void test_grouped(void)
{
    each_variant(test_data("tests/golden/grouped"), &(held){ .mark = "", .least = 7 });
}

/* E4M3 weights: fp8, modelopt and compressed-tensors files. */
static void test_floats(void)
{
    each_variant(test_data("tests/golden/floats"), &(held){ .mark = "", .least = 5 });
}

int main(void)
{
    static const test_case cases[] = { { "dense", test_dense }, { "nf4", test_nf4 },
                                       { "int8", test_int8 }, { "grouped", test_grouped },
                                       { "floats", test_floats } };
    return test_main("reference", cases, NIB_COUNT(cases));
}
