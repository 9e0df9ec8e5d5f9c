/* test_encoders.c - every encoder family and head against transformers and PEFT.
 *
 * tests/golden/encoders/<variant>/ holds a tiny random model, a PEFT adapter with the saved
 * classifier, and what the reference computed in float32: logits of each sequence alone, the loss
 * of the padded batch, and the gradient of each trained tensor (tests/golden/make/encoders.py,
 * tests/golden/README.md).  Here the sequences lie packed, and alone. */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "adapter/adapter.h"
#include "format/safetensors.h"
#include "graph/readout.h"
#include "test.h"

enum { SEQUENCES = 3, ROOM = 160 };

typedef struct fixture {
    nib_ctx *ctx;
    nib_model *model;
    nib_adapter *adapter;
    nib_tensors *expected;
    uint32_t ids[ROOM], types[ROOM], positions[ROOM], offsets[SEQUENCES + 1];
    uint32_t picks[ROOM], targets[ROOM], all[ROOM];
    uint32_t boxes[NIB_BOX_INPUTS][ROOM];
    float wanted[2 * ROOM];
    size_t longest;
    nib_batch batch; /* the rows that have an answer */
} fixture;

static const nib_tensor *need(const nib_tensors *t, const char *prefix, const char *name)
{
    char full[600];
    const nib_tensor *found;

    snprintf(full, sizeof full, "%s%s", prefix, name);
    found = nib_tensors_find(t, full);
    CHECK(found, "%s is missing", full);
    return found;
}

static const nib_tensor *need_of(const nib_tensors *t, const char *name, int sequence)
{
    char full[32];

    snprintf(full, sizeof full, "%s.%d", name, sequence);
    return need(t, "", full);
}

static bool has_a_row_each(const fixture *f)
{
    return f->model->purpose.task == NIB_TASK_SEQ_CLS;
}

/* The answers of one sequence, for its rows from `first` on. */
static void add_answers(fixture *f, const nib_tensor *labels, const nib_tensor *ids, size_t first)
{
    size_t length = ids->elements;
    nib_axis_rows *rows = &f->batch.axes[NIB_LOGIT_ROWS];
    const int32_t *words = labels->data;

    if (has_a_row_each(f)) {
        if (labels->dtype == NIB_F32)
            memcpy(f->wanted + rows->count * labels->elements, labels->data, labels->bytes);
        else f->targets[rows->count] = (uint32_t)words[0];
        f->picks[rows->count++] = (uint32_t)(
            first + nib_graph_row_read(f->model->graph, ids->data, length));
        return;
    }
    if (f->model->purpose.task == NIB_TASK_QUESTION_ANS) { /* all tokens; labels: begin, end */
        for (size_t i = 0; i < length; i++, rows->count++) {
            f->picks[rows->count] = (uint32_t)(first + i);
            f->wanted[2 * rows->count] = i == (size_t)words[0];
            f->wanted[2 * rows->count + 1] = i == (size_t)words[1];
        }
        return;
    }
    for (size_t i = 0; i < length; i++) {
        if (words[i] < 0) continue;
        f->targets[rows->count] = (uint32_t)words[i];
        f->picks[rows->count++] = (uint32_t)(first + i);
    }
}

static void make_batch(fixture *f)
{
    size_t t = 0;

    f->batch = (nib_batch){ .sequences = SEQUENCES, .targets = f->targets, .wanted = f->wanted };
    f->batch.axes[NIB_LOGIT_ROWS].picks = f->picks;
    for (int s = 0; s < SEQUENCES; s++) {
        const nib_tensor *ids = need_of(f->expected, "ids", s);
        const nib_tensor *types = need_of(f->expected, "types", s);
        const nib_tensor *labels = need_of(f->expected, "labels", s);

        REQUIRE(ids && types && labels, "no ids");
        add_answers(f, labels, ids, t);
        f->longest = nib_max(f->longest, ids->elements);
        f->offsets[s] = (uint32_t)t;
        nib_graph_place(f->model->graph, ids->data, ids->elements, f->positions + t);
        for (size_t i = 0; i < ids->elements; i++, t++) {
            f->ids[t] = ((const uint32_t *)ids->data)[i];
            f->types[t] = ((const uint32_t *)types->data)[i];
            f->all[t] = (uint32_t)t;
        }
    }
    f->offsets[SEQUENCES] = (uint32_t)t;
    f->batch.axes[NIB_TOKENS] = (nib_axis_rows){ .count = t, .offsets = f->offsets };
    f->batch.inputs[NIB_IDS] = f->ids;
    f->batch.inputs[NIB_POSITIONS] = f->positions;
    f->batch.inputs[NIB_TYPES] = f->types;
}

/* Where the tokens stand on the page, of what was made with boxes. */
static void make_boxes(fixture *f)
{
    size_t t = 0;

    if (!nib_tensors_find(f->expected, "boxes.0")) return;
    REQUIRE(f->model->graph->boxes, "a model that reads no boxes");
    for (int s = 0; s < SEQUENCES; s++) {
        const nib_tensor *boxes = need_of(f->expected, "boxes", s);
        const uint32_t *box;

        REQUIRE(boxes, "no boxes");
        box = boxes->data;
        for (size_t i = 0; i < boxes->shape[0]; i++, t++, box += 4) {
            for (int e = 0; e < 4; e++) f->boxes[e][t] = box[e];
            f->boxes[4][t] = box[3] - box[1];
            f->boxes[5][t] = box[2] - box[0];
        }
    }
    for (int e = 0; e < NIB_BOX_INPUTS; e++)
        f->batch.inputs[f->model->graph->boxes + e] = f->boxes[e];
}

static double worst_difference(const float *a, const float *b, size_t n)
{
    double worst = 0;

    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

/* The logits of sequence s, whose rows begin at `first` of those picked. */
static void compare_logits(fixture *f, nib_run *run, const char *prefix, int s, size_t first,
                           const char *variant)
{
    char name[64];
    const nib_tensor *want;
    float *got;
    size_t v = f->model->head->weight->out;
    double worst;

    snprintf(name, sizeof name, "logits.%d", s);
    want = need(f->expected, prefix, name);
    REQUIRE(want, "no logits");
    got = test_guarded(want->elements * sizeof *got);
    nib_run_logits(run, first, first + want->elements / v, got);
    worst = worst_difference(got, want->data, want->elements);
    CHECK(worst <= 1e-4, "%s %s%s: logits differ by %g", variant, prefix, name, worst);
}

static nib_run *open_run(fixture *f, nib_plan_kind kind, size_t logit_rows, nib_plan **plan)
{
    nib_error err;
    nib_run *run = NULL;

    if (nib_plan_create(f->model->graph, kind, f->batch.axes[NIB_TOKENS].count, logit_rows, plan,
                        &err) ||
        nib_run_create(f->ctx, f->model->graph, *plan, f->longest, &run, &err))
        CHECK(false, "%s", err.message);
    return run;
}

static void check_logits(fixture *f, const char *prefix, const char *variant)
{
    size_t tokens = f->batch.axes[NIB_TOKENS].count;
    nib_plan *plan = NULL;
    nib_run *run = open_run(f, NIB_PLAN_INFERENCE, tokens, &plan);
    nib_batch whole = f->batch;

    REQUIRE(run, "%s", variant);
    if (!has_a_row_each(f))
        whole.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = tokens, .picks = f->all };
    nib_run_forward(run, &whole);
    for (int s = 0; s < SEQUENCES; s++)
        compare_logits(f, run, prefix, s, has_a_row_each(f) ? (size_t)s : f->offsets[s], variant);
    for (int s = 0; s < SEQUENCES; s++) { /* alone */
        nib_batch one = f->batch;
        size_t first = f->offsets[s], length = f->offsets[s + 1] - first;
        uint32_t offsets[2] = { 0, (uint32_t)length }, pick = f->picks[s] - (uint32_t)first;

        one.sequences = 1;
        one.axes[NIB_TOKENS] = (nib_axis_rows){ .count = length, .offsets = offsets };
        one.axes[NIB_LOGIT_ROWS] = has_a_row_each(f)
                                       ? (nib_axis_rows){ .count = 1, .picks = &pick }
                                       : (nib_axis_rows){ .count = length, .picks = f->all };
        one.inputs[NIB_IDS] += first;
        one.inputs[NIB_POSITIONS] += first;
        one.inputs[NIB_TYPES] += first;
        for (int e = 0; e < NIB_BOX_INPUTS && f->model->graph->boxes; e++)
            if (one.inputs[f->model->graph->boxes + e])
                one.inputs[f->model->graph->boxes + e] += first;
        nib_run_forward(run, &one);
        compare_logits(f, run, prefix, s, 0, variant);
    }
    nib_run_destroy(run);
    nib_plan_destroy(f->ctx, plan);
}

static void compare_gradient(const fixture *f, const nib_param *p, double divisor,
                             const char *variant)
{
    const nib_tensor *want = need(f->expected, "grad.", p->name);
    double worst = 0, most = 0;

    REQUIRE(want, "no gradient");
    for (size_t i = 0; i < want->elements; i++) {
        double w = (double)((const float *)want->data)[i];
        double d = fabs((double)p->grad[i] / divisor - w);
        most = fmax(most, fabs(w));
        if (!(d <= worst)) worst = d;
    }
    /* a bias of answers' edges has none: what is there is rounding */
    CHECK(worst <= fmax(1e-3 * most, 1e-7), "%s %s: gradient off by %g of %g", variant,
          p->name, worst, most);
}

static void check_loss(fixture *f, nib_plan_kind kind, const char *variant)
{
    nib_plan *plan = NULL;
    nib_run *run = open_run(f, kind, f->batch.axes[NIB_LOGIT_ROWS].count, &plan);
    const nib_tensor *want = need(f->expected, "lora.", "loss");
    size_t gradients = 0;
    double got;

    REQUIRE(run && want, "%s", variant);
    nib_params_clear_grads(&f->adapter->params);
    nib_run_step(run, &f->batch);
    got = run->loss_sum / run->loss_weight;
    CHECK(fabs(got - (double)*(const float *)want->data) <= 1e-5, "%s: loss %.7g, expected %.7g",
          variant, got, (double)*(const float *)want->data);
    for (size_t i = 0; i < f->adapter->params.count; i++)
        compare_gradient(f, f->adapter->params.items[i], run->loss_weight, variant);
    for (size_t i = 0; i < nib_tensors_count(f->expected); i++)
        gradients += strncmp(nib_tensors_at(f->expected, i)->name, "grad.", 5) == 0;
    CHECK(gradients == f->adapter->params.count, "%s: %zu trained tensors, PEFT has %zu", variant,
          f->adapter->params.count, gradients);
    nib_run_destroy(run);
    nib_plan_destroy(f->ctx, plan);
}

static bool open_fixture(fixture *f, const char *dir, int threads)
{
    char path[700];
    nib_error err;
    nib_model_options options = { .model = dir };

    *f = (fixture){ .ctx = test_ctx_threads(threads, NULL) };
    snprintf(path, sizeof path, "%s/expected.safetensors", dir);
    if (nib_tensors_open(f->ctx, path, &f->expected, &err) ||
        nib_model_open(f->ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &f->model, &err)) {
        CHECK(false, "%s", err.message);
        return false;
    }
    CHECK(f->model->new_count == 0, "%s: %s is new", dir, f->model->new_linears[0]->name);
    return true;
}

static void check_variant(const char *dir, const char *variant, int threads)
{
    char path[600];
    fixture f;
    nib_error err;

    if (open_fixture(&f, dir, threads)) {
        make_batch(&f);
        make_boxes(&f);
        check_logits(&f, "", variant);
        snprintf(path, sizeof path, "%s/adapter", dir);
        if (nib_adapter_open(f.model, path, 0, true, &f.adapter, &err))
            CHECK(false, "%s", err.message);
        else {
            check_logits(&f, "lora.", variant);
            check_loss(&f, NIB_PLAN_KEEP, variant);
            check_loss(&f, NIB_PLAN_CHECKPOINT, variant);
        }
    }
    nib_adapter_close(f.adapter);
    nib_model_close(f.model);
    nib_tensors_close(f.expected);
    test_ctx_release(f.ctx);
}

static void test_families(void)
{
    const char *top = test_data("tests/golden/encoders");
    DIR *d = opendir(top);
    struct dirent *entry;
    int count = 0;

    REQUIRE(d, "%s cannot be read", top);
    while ((entry = readdir(d))) {
        char dir[512];
        if (entry->d_name[0] == '.') continue;
        snprintf(dir, sizeof dir, "%s/%s", top, entry->d_name);
        for (int threads = 1; threads <= 2; threads++) check_variant(dir, entry->d_name, threads);
        count++;
    }
    closedir(d);
    CHECK(count >= 25, "%d variants", count);
}

static nib_status open_as(nib_ctx *ctx, const char *variant, nib_model_options o, nib_model **m,
                          nib_error *err)
{
    char dir[512];

    *m = NULL;
    snprintf(dir, sizeof dir, "%s/%s", test_data("tests/golden/encoders"), variant);
    o.model = dir;
    return nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, m, err);
}

/* A checkpoint of words lacks the classifier: it begins at random, by the seed alone. */
static void test_new_heads(void)
{
    static const struct { const char *variant; size_t count; const char *first; } cases[] = {
        { "bert-mlm", 2, "bert.pooler.dense" },
        { "roberta-mlm", 2, "classifier.dense" },
        { "distilbert-mlm", 2, "pre_classifier" },
    };
    nib_ctx *ctx = test_ctx();
    nib_error err;

    for (size_t c = 0; c < NIB_COUNT(cases); c++) {
        float rows[3][32];
        for (int i = 0; i < 3; i++) {
            nib_model_options o = { .task = NIB_TASK_SEQ_CLS, .num_labels = 3,
                                    .head_seed = i == 2 ? 8 : 7 };
            nib_model *m;
            double squares = 0;

            REQUIRE_OK(open_as(ctx, cases[c].variant, o, &m, &err), err);
            CHECK(m->new_count == cases[c].count &&
                      strcmp(m->new_linears[0]->name, cases[c].first) == 0,
                  "%s: %zu new, the first %s", cases[c].variant, m->new_count,
                  m->new_linears[0]->name);
            nib_weight_decode(m->head->weight, 1, 2, rows[i]);
            CHECK(m->head->weight->out == 3 && m->head->bias[1] == 0, "%s", cases[c].variant);
            for (int k = 0; k < 32; k++) squares += (double)rows[i][k] * (double)rows[i][k];
            CHECK(fabs(sqrt(squares / 32) - 0.02) < 0.01, "%s: deviation %g", cases[c].variant,
                  sqrt(squares / 32));
            nib_model_close(m);
        }
        CHECK(memcmp(rows[0], rows[1], sizeof rows[0]) == 0, "%s: the same seed",
              cases[c].variant);
        CHECK(memcmp(rows[0], rows[2], sizeof rows[0]) != 0, "%s: another seed",
              cases[c].variant);
    }
}

/* A stored classifier of three gives way to a new one of five, the rest stays. */
static void test_other_labels(void)
{
    nib_model_options o = { .num_labels = 5 };
    nib_ctx *ctx = test_ctx();
    nib_model *m;
    nib_error err;

    REQUIRE_OK(open_as(ctx, "bert-seq", o, &m, &err), err);
    CHECK(m->new_count == 1 && m->new_linears[0] == m->head && m->head->weight->out == 5,
          "%zu new", m->new_count);
    nib_model_close(m);
}

static void refused(const char *variant, nib_model_options o, nib_status status, const char *what)
{
    nib_model *m;
    nib_error err = { 0 };
    nib_status got = open_as(test_ctx(), variant, o, &m, &err);

    CHECK(got == status && strstr(err.message, what), "%s: status %d, '%s', expected '%s'", variant,
          (int)got, err.message, what);
    nib_model_close(m);
}

static void test_refusals(void)
{
    refused("bert-seq", (nib_model_options){ .task = NIB_TASK_CAUSAL_LM }, NIB_E_UNSUPPORTED,
            "model_type 'bert' has no CAUSAL_LM here, known are SEQ_CLS, TOKEN_CLS, "
            "FEATURE_EXTRACTION, MASKED_LM, QUESTION_ANS");
    refused("bert-answer", (nib_model_options){ .num_labels = 3 }, NIB_E_INVALID,
            "num_labels: 3, but an answer has a beginning and an end");
    refused("esm-seq", (nib_model_options){ .task = NIB_TASK_QUESTION_ANS }, NIB_E_UNSUPPORTED,
            "model_type 'esm' has no QUESTION_ANS here");
    refused("bert-seq", (nib_model_options){ .num_labels = -1 }, NIB_E_INVALID, "num_labels: -1");
    refused("bert-seq", (nib_model_options){ .problem_type = "ranking" }, NIB_E_INVALID,
            "problem_type is ranking, known are regression");
}

/* DeBERTa's attention takes a sequence at a time: its scratch memory is that of the longest,
 * however many there are in a batch. */
static void test_scratch(void)
{
    nib_ctx *ctx = test_ctx();
    nib_model *m;
    nib_plan *few = NULL, *many = NULL;
    nib_error err;
    size_t one, all;

    REQUIRE_OK(open_as(ctx, "deberta-long", (nib_model_options){ 0 }, &m, &err), err);
    REQUIRE_OK(nib_plan_create(m->graph, NIB_PLAN_INFERENCE, 128, 1, &few, &err), err);
    REQUIRE_OK(nib_plan_create(m->graph, NIB_PLAN_INFERENCE, 128 * 64, 64, &many, &err), err);
    one = nib_run_bytes(m->graph, few, 128) - few->scratch_bytes;
    all = nib_run_bytes(m->graph, many, 128 * 64);
    CHECK(nib_run_bytes(m->graph, many, 128) <= many->scratch_bytes + one,
          "%zu bytes for 64 sequences, %zu for one", nib_run_bytes(m->graph, many, 128), one);
    CHECK(all > 2 * nib_run_bytes(m->graph, many, 128), "%zu bytes for one of all tokens, %zu",
          all, nib_run_bytes(m->graph, many, 128));
    nib_plan_destroy(ctx, few);
    nib_plan_destroy(ctx, many);
    nib_model_close(m);
}

int main(void)
{
    static const test_case cases[] = { { "scratch", test_scratch }, { "families", test_families },
                                       { "new_heads", test_new_heads },
                                       { "other_labels", test_other_labels },
                                       { "refusals", test_refusals } };
    return test_main("encoders", cases, NIB_COUNT(cases));
}
