/* test_whole.c - training all parameters of a model whose head is the embedding, against torch.
 *
 * tests/golden/whole.json has, for models of tests/golden/encoders/ and models/, transformers' loss
 * of one text, of the gradient of each parameter the norm and two sums, and the names of the
 * tensors that save_pretrained writes (tests/golden/make/whole_golden.py). */
#include <math.h>
#include <string.h>

#include "adapter/adapter.h"
#include "format/safetensors.h"
#include "graph/readout.h"
#include "job/whole.h"
#include "nibble/finetune.h"
#include "test.h"

enum { LENGTH = 13 };

typedef struct fixture {
    nib_ctx *ctx;
    nib_model *model;
    nib_adapter *adapter;
    uint32_t ids[LENGTH], types[LENGTH], positions[LENGTH], picks[LENGTH], targets[LENGTH];
    uint32_t offsets[2];
    nib_batch batch;
} fixture;

/* The script's text: every third token is to be found, or each after the first. */
static void make_batch(fixture *f, bool masked)
{
    nib_axis_rows *rows = &f->batch.axes[NIB_LOGIT_ROWS];
    size_t v = f->model->head->weight->out;

    f->batch = (nib_batch){ .sequences = 1, .targets = f->targets };
    for (size_t i = 0; i < LENGTH; i++)
        f->ids[i] = (uint32_t)(5 + (i * i * 7 + i * 3) % (v - 5));
    for (size_t i = 0; i < LENGTH; i++) {
        if (masked ? i % 3 != 1 : i + 1 == LENGTH) continue;
        f->targets[rows->count] = masked ? (uint32_t)((5 * f->ids[i] + i) % v) : f->ids[i + 1];
        f->picks[rows->count++] = (uint32_t)i;
    }
    nib_graph_place(f->model->graph, f->ids, LENGTH, f->positions);
    f->offsets[1] = LENGTH;
    rows->picks = f->picks;
    f->batch.axes[NIB_TOKENS] = (nib_axis_rows){ .count = LENGTH, .offsets = f->offsets };
    f->batch.inputs[NIB_IDS] = f->ids;
    f->batch.inputs[NIB_POSITIONS] = f->positions;
    f->batch.inputs[NIB_TYPES] = f->types;
}

/* kind NIB_PLAN_INFERENCE: the loss alone, else its gradients too; NAN: it failed. */
static double loss_of(fixture *f, nib_plan_kind kind)
{
    size_t rows = f->batch.axes[NIB_LOGIT_ROWS].count;
    nib_plan *plan = NULL;
    nib_run *run = NULL;
    double loss = NAN;
    nib_error err;

    if (nib_plan_create(f->model->graph, kind, LENGTH, rows, &plan, &err) ||
        nib_run_create(f->ctx, f->model->graph, plan, LENGTH, &run, &err))
        CHECK(false, "%s", err.message);
    else {
        if (kind == NIB_PLAN_INFERENCE) {
            nib_run_forward(run, &f->batch);
            nib_run_loss(run);
        } else nib_run_step(run, &f->batch);
        loss = run->loss_sum / run->loss_weight;
    }
    nib_run_destroy(run);
    nib_plan_destroy(f->ctx, plan);
    return loss;
}

static nib_status open_model(fixture *f, const char *dir, nib_error *err)
{
    nib_model_options options = { .model = dir };

    *f = (fixture){ .ctx = test_ctx_threads(2, NULL) };
    return nib_model_open(f->ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &f->model, err);
}

static void close_model(fixture *f)
{
    nib_adapter_close(f->adapter);
    nib_model_close(f->model);
    test_ctx_release(f->ctx);
}

/* The script's numbers of a gradient, which is that of a sum over `rows`. */
static void compare_gradient(const nib_param *p, const json_t *want, double rows, const char *name)
{
    double got[3] = { 0 }, norm = json_number_value(json_array_get(want, 0));

    for (size_t k = 0; k < nib_param_count(p); k++) {
        /* the script counts as the file's tensor lies */
        size_t at = p->across ? k % p->cols * p->rows + k / p->cols : k;
        double g = (double)p->grad[k] / rows, i = (double)at;
        got[0] += g * g;
        got[1] += g * cos(0.37 * i);
        got[2] += g * sin(1 + 0.011 * i * i);
    }
    got[0] = sqrt(got[0]);
    for (size_t i = 0; i < 3; i++) /* what no gradient reaches is rounding */
        CHECK(fabs(got[i] - json_number_value(json_array_get(want, i))) <= fmax(2e-4 * norm, 1e-6),
              "%s: %s: number %zu of the gradient is %.7g, torch's is %.7g of %.7g", name, p->name,
              i, got[i], json_number_value(json_array_get(want, i)), norm);
}

static void check_gradients(const fixture *f, const json_t *want, const char *name)
{
    const json_t *gradients = json_object_get(want, "gradients");
    size_t prefix = strlen("base_model.model."), found = 0;

    for (size_t i = 0; i < f->adapter->params.count; i++) {
        const nib_param *p = f->adapter->params.items[i];
        const json_t *g = json_object_get(gradients, p->name + prefix);
        double rows = (double)f->batch.axes[NIB_LOGIT_ROWS].count;
        if (g) compare_gradient(p, g, rows, name);
        else
            for (size_t k = 0; k < nib_param_count(p); k++)
                CHECK(p->grad[k] == 0, "%s: %s has a gradient, torch has none", name, p->name);
        found += g != NULL;
    }
    CHECK(found == json_object_size(gradients), "%s: %zu of torch's %zu gradients", name, found,
          json_object_size(gradients));
}

/* The tensors in DIR are those of save_pretrained (but for buffers, which are made anew), and the
 * model of them has the same loss. */
static void check_saved(fixture *f, const json_t *want, bool masked, const char *name)
{
    const json_t *tensors = json_object_get(want, "tensors");
    const char *dir = test_tmpdir();
    nib_labels labels = { 0 };
    nib_tensors *file;
    nib_error err;
    fixture again;
    double loss = loss_of(f, NIB_PLAN_INFERENCE), other;

    REQUIRE_OK(nib_whole_save(f->model, &labels, NULL, dir, &err), err);
    REQUIRE_OK(nib_tensors_open(test_ctx(), dir, &file, &err), err);
    CHECK(nib_tensors_count(file) == json_array_size(tensors), "%s: %zu tensors, expected %zu",
          name, nib_tensors_count(file), json_array_size(tensors));
    for (size_t i = 0; i < json_array_size(tensors); i++)
        CHECK(nib_tensors_find(file, json_string_value(json_array_get(tensors, i))),
              "%s: %s is missing", name, json_string_value(json_array_get(tensors, i)));
    nib_tensors_close(file);
    REQUIRE_OK(open_model(&again, dir, &err), err);
    make_batch(&again, masked);
    other = loss_of(&again, NIB_PLAN_INFERENCE);
    CHECK(loss == other, "%s: loss %.9g, once saved %.9g", name, loss, other);
    close_model(&again);
}

static void check_model(const char *name, const json_t *want)
{
    nib_peft_config config = nib_peft_config_default();
    bool masked = json_is_true(json_object_get(want, "masked"));
    double loss = json_number_value(json_object_get(want, "loss")), got;
    char dir[600];
    fixture f;
    nib_error err;

    snprintf(dir, sizeof dir, "%s/%s", test_data("tests/golden"),
             json_string_value(json_object_get(want, "directory")));
    REQUIRE_OK(open_model(&f, dir, &err), err);
    CHECK(f.model->tied, "%s is not tied", name);
    make_batch(&f, masked);
    REQUIRE_OK(nib_whole_config(f.ctx, f.model, true, &config, &err), err);
    REQUIRE_OK(nib_adapter_create(f.model, &config, 0, 1, &f.adapter, &err), err);
    for (int kind = 0; kind < 2; kind++) {
        nib_params_clear_grads(&f.adapter->params);
        got = loss_of(&f, kind ? NIB_PLAN_CHECKPOINT : NIB_PLAN_KEEP);
        CHECK(fabs(got - loss) <= 1e-5 * loss, "%s: loss %.8g, torch's is %.8g", name, got, loss);
        check_gradients(&f, want, name);
    }
    for (size_t i = 0; i < f.adapter->params.count; i++) { /* a step */
        nib_param *p = f.adapter->params.items[i];
        for (size_t k = 0; k < nib_param_count(p); k++) p->value[k] -= 1e-3f * p->grad[k];
    }
    check_saved(&f, want, masked, name);
    close_model(&f);
}

static void test_gradients(void)
{
    json_t *all = json_load_file(test_data("tests/golden/whole.json"), 0, NULL), *want;
    const char *name;

    REQUIRE(all, "whole.json");
    json_object_foreach(all, name, want) check_model(name, want);
    CHECK(json_object_size(all) >= 10, "%zu models", json_object_size(all));
    json_decref(all);
}

/* A run's checkpoint is an adapter, by itself too: opened beside the base it is the model that the
 * run writes. */
static void test_checkpoint(void)
{
    static const char *const names[] = { "encoders/bert-mlm", "models/llama-gqa-tied",
                                         "models/gpt2" };

    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        nib_peft_config config = nib_peft_config_default();
        char dir[600];
        fixture f, again;
        nib_error err;
        double loss, base;

        snprintf(dir, sizeof dir, "%s/%s", test_data("tests/golden"), names[i]);
        REQUIRE_OK(open_model(&f, dir, &err), err);
        make_batch(&f, i == 0);
        REQUIRE_OK(nib_whole_config(f.ctx, f.model, true, &config, &err), err);
        REQUIRE_OK(nib_adapter_create(f.model, &config, 0, 1, &f.adapter, &err), err);
        base = loss_of(&f, NIB_PLAN_INFERENCE);
        (void)loss_of(&f, NIB_PLAN_KEEP);
        for (size_t k = 0; k < f.adapter->params.count; k++) {
            nib_param *p = f.adapter->params.items[k];
            for (size_t j = 0; j < nib_param_count(p); j++) p->value[j] -= 1e-3f * p->grad[j];
        }
        loss = loss_of(&f, NIB_PLAN_INFERENCE);
        REQUIRE_OK(nib_adapter_save(f.adapter, test_tmpdir(), NULL, &err), err);
        close_model(&f);
        REQUIRE_OK(open_model(&again, dir, &err), err);
        make_batch(&again, i == 0);
        REQUIRE_OK(nib_adapter_open(again.model, test_tmpdir(), 0, false, &again.adapter, &err),
                   err);
        CHECK(loss != base && loss_of(&again, NIB_PLAN_INFERENCE) == loss, "%s: loss %.9g, %.9g",
              names[i], loss, loss_of(&again, NIB_PLAN_INFERENCE));
        nib_adapter_close(again.adapter);
        again.adapter = NULL;
        CHECK(loss_of(&again, NIB_PLAN_INFERENCE) == base, "%s: not the base's again", names[i]);
        CHECK(nib_adapter_open(again.model, test_tmpdir(), 0, true, &again.adapter, &err) ==
                      NIB_E_UNSUPPORTED && strstr(err.message, "ensure_weight_tying"),
              "%s", err.message);
        close_model(&again);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "losses, gradients and tensors of models with a tied head are torch's", test_gradients },
        { "a checkpoint is the model", test_checkpoint },
    };
    return test_main("whole", cases, NIB_COUNT(cases));
}
