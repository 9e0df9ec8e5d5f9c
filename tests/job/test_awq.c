/* test_awq.c - models quantized with AWQ: factors move without changing what a model of each wiring
 * computes, and what is lost is less than rounding to nearest loses. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/pairs.h"
#include "graph/readout.h"
#include "model/model.h"
#include "nibble/quantize.h"
#include "test.h"

enum { VOCABULARY = 400, TOKENS = 24 };

/* Places for factors in all (of experts' one for all of them); GPT-NeoX's and GPT-2's GELU has
 * none, nor have grouped queries for what their values are made of. */
static const struct { const char *name; int pairs; } wirings[] = {
    { "llama", 8 }, { "llama-gqa-tied", 9 }, { "gpt-neox", 6 }, { "gemma", 6 }, { "mixtral", 3 },
    { "qwen2-moe", 4 }, { "opt", 8 }, { "phi3", 6 }, { "gpt2", 6 }, { "falcon-7b", 2 },
};

typedef struct path { char s[600]; } path;

static path joined(const char *dir, const char *name)
{
    path p;
    if ((size_t)snprintf(p.s, sizeof p.s, "%s/%s", dir, name) >= sizeof p.s) abort();
    return p;
}

/* Logits of some tokens. */
static size_t compute(const char *dir, float *logits, nib_model **out)
{
    uint32_t offsets[2] = { 0, TOKENS }, rows[TOKENS], ids[TOKENS];
    nib_batch batch = { .sequences = 1,
                        .axes = { [NIB_TOKENS] = { .count = TOKENS, .offsets = offsets },
                                  [NIB_LOGIT_ROWS] = { .count = TOKENS, .picks = rows } },
                        .inputs = { [NIB_IDS] = ids, [NIB_POSITIONS] = rows } };
    nib_model_options o = { .model = dir };
    nib_model *m = NULL;
    nib_plan *plan = NULL;
    nib_run *run = NULL;
    size_t width = 0;
    nib_error err;

    for (uint32_t i = 0; i < TOKENS; i++) rows[i] = i, ids[i] = 3 + i * i * 5 % 50;
    if (nib_model_open(test_ctx(), &o, NIB_F32, (nib_model_progress){ 0 }, &m, &err) ||
        nib_plan_create(m->graph, NIB_PLAN_INFERENCE, TOKENS, TOKENS, &plan, &err) ||
        nib_run_create(m->ctx, m->graph, plan, TOKENS, &run, &err)) {
        test_fail(__FILE__, __LINE__, "%s", err.message);
    } else {
        width = m->head->weight->out;
        CHECK(width <= VOCABULARY, "%zu words", width);
        nib_run_forward(run, &batch);
        if (width <= VOCABULARY) nib_run_logits(run, 0, TOKENS, logits);
    }
    nib_run_destroy(run);
    if (m) nib_plan_destroy(m->ctx, plan);
    *out = m;
    return width;
}

static path texts(void)
{
    path p = joined(test_tmpdir(), "texts.jsonl");
    FILE *f = fopen(p.s, "w");

    for (int i = 0; f && i < 40; i++) {
        fprintf(f, "{\"input_ids\": [%d", 3 + i);
        for (int k = 1; k < 12; k++) fprintf(f, ", %d", 3 + (i * 7 + k * k * 3) % 52);
        fprintf(f, "]}\n");
    }
    CHECK(f && fclose(f) == 0, "%s", p.s);
    return p;
}

typedef struct sums { double error, rounded; size_t count; } sums;

static void add(void *user, const nib_matrix_report *r)
{
    sums *s = user;

    s->error += r->error;
    s->rounded += r->error_rounded;
    s->count++;
}

/* How many dense tensors have other values. */
static int changed_tensors(const nib_model *a, const nib_model *b)
{
    int changed = 0;

    for (size_t i = 0; i < nib_tensors_count(a->tensors); i++) {
        const nib_tensor *t = nib_tensors_at(a->tensors, i);
        const nib_tensor *u = nib_tensors_find(b->tensors, t->name);
        changed += u && (u->bytes != t->bytes || memcmp(u->data, t->data, t->bytes) != 0);
    }
    return changed;
}

static int pairs_of(const nib_model *m)
{
    const nib_graph *g = m->graph;
    int found = 0;

    for (size_t v = 0; v < g->value_count; v++) {
        nib_scale_pair p;
        bool read = false;
        for (size_t n = 0; n < g->node_count; n++)
            read |= (g->nodes[n].linear || g->nodes[n].experts) && !g->nodes[n].op->objective &&
                    nib_scale_value(g, &g->nodes[n]) == (int)v;
        found += read && nib_scale_pair_find(g, (int)v, &p);
    }
    return found;
}

static bool is_vector_of_norm(const nib_tensor *t)
{
    return t->rank == 1 && strstr(t->name, ".weight") && t->dtype == NIB_F32;
}

/* The model with norms whose channels differ by up to 16 times, so that factors are wanted. */
static bool copy_uneven(const char *from, const char *to)
{
    char command[2600];
    nib_tensors *file = NULL;
    FILE *f;
    nib_error err;
    bool good;

    snprintf(command, sizeof command, "mkdir '%s' && cp '%s'/*.json '%s'/model.safetensors '%s'",
             to, from, from, to);
    if (system(command) || nib_tensors_open(test_ctx(), from, &file, &err)) return false;
    f = fopen(joined(to, "model.safetensors").s, "r+");
    good = f != NULL;
    for (size_t i = 0; good && i < nib_tensors_count(file); i++) {
        const nib_tensor *t = nib_tensors_at(file, i);
        if (!is_vector_of_norm(t)) continue;
        good = fseek(f, (long)((const uint8_t *)t->data - t->map->base), SEEK_SET) == 0;
        for (size_t k = 0; good && k < t->elements; k++) {
            float x;
            memcpy(&x, (const uint8_t *)t->data + k * sizeof x, sizeof x);
            x = (x + (strstr(from, "gemma") ? 1.f : 0)) * exp2f((float)(k * 3 % 5) - 2) -
                (strstr(from, "gemma") ? 1.f : 0);
            good = fwrite(&x, sizeof x, 1, f) == 1;
        }
    }
    nib_tensors_close(file);
    return (!f || fclose(f) == 0) && good;
}

static double difference(const char *model, const char *out, nib_model **a, nib_model **b)
{
    static float before[TOKENS * VOCABULARY], after[TOKENS * VOCABULARY];
    double error = 0, size = 0;
    size_t width = compute(model, before, a);

    if (compute(out, after, b) != width || !width) return INFINITY;
    for (size_t k = 0; k < TOKENS * width; k++) {
        error += (double)((after[k] - before[k]) * (after[k] - before[k]));
        size += (double)(before[k] * before[k]);
    }
    return sqrt(error / size);
}

static nib_status quantize(const char *model, const char *out, const nib_setting *settings,
                           bool awq, sums *s, nib_error *err)
{
    static path data;
    nib_quantize_options o = { .model = model, .out = out, .settings = settings,
                               .algorithm = awq ? "awq" : NULL, .on_matrix = add, .user = s };

    data = texts();
    if (awq) o.calibration.data = data.s;
    return nib_quantize(test_ctx(), &o, NULL, err);
}

/* In 8 bits nearly nothing is lost, so that a factor that does not cancel shows. */
static void check_wiring(const char *name, int pairs)
{
    static const nib_setting eight[] = { { "format", "gptq" }, { "bits", "8" },
                                         { "group_size", "16" }, { NULL, NULL } };
    path model = joined(test_tmpdir(), name), out[2];
    nib_model *a = NULL, *b = NULL, *c = NULL, *d = NULL;
    double rounded, error;
    sums s = { 0 };
    int changed, found;
    nib_error err;

    snprintf(out[0].s, sizeof out[0].s, "%.500s-rtn", model.s);
    snprintf(out[1].s, sizeof out[1].s, "%.500s-awq", model.s);
    REQUIRE(copy_uneven(joined(test_data("tests/golden/models"), name).s, model.s), "%s", name);
    REQUIRE_OK(quantize(model.s, out[0].s, eight, false, &s, &err), err);
    REQUIRE_OK(quantize(model.s, out[1].s, eight, true, &s, &err), err);
    rounded = difference(model.s, out[0].s, &a, &b);
    error = difference(model.s, out[1].s, &c, &d);
    CHECK(error < 1.5 * rounded && rounded < .1, "%s: logits changed by %g, rounded by %g", name,
          error, rounded);
    changed = c && d ? changed_tensors(c, d) : 0;
    found = c ? pairs_of(c) : 0;
    CHECK(found == pairs && changed >= 3, "%s: %d places for factors, %d tensors changed", name,
          found, changed);
    CHECK(s.error < s.rounded, "%s: error %g, rounded %g", name, s.error, s.rounded);
    nib_model_close(a);
    nib_model_close(b);
    nib_model_close(c);
    nib_model_close(d);
}

static void test_wirings(void)
{
    for (size_t i = 0; i < NIB_COUNT(wirings); i++) check_wiring(wirings[i].name, wirings[i].pairs);
}

/* Its own library, and this program, would not find what was packed. */
static void test_refused(void)
{
    static const nib_setting packed[] = { { "format", "compressed-tensors" }, { NULL, NULL } };
    path model = joined(test_data("tests/golden/models"), "gpt2");
    sums s = { 0 };
    nib_error err;

    CHECK(quantize(model.s, joined(test_tmpdir(), "refused").s, packed, false, &s, &err) ==
                  NIB_E_UNSUPPORTED && strstr(err.message, "Conv1D"), "%s", err.message);
}

int main(void)
{
    static const test_case cases[] = {
        { "factors change nothing", test_wirings },
        { "what is refused", test_refused },
    };
    return test_main("awq_models", cases, NIB_COUNT(cases));
}
