/* test_long.c - models whose rotation changes with the length of the text.  longrope: a prompt in
 * pieces, and a text that grows beyond the edge, have the logits of the whole text at once.
 * dynamic: keys keep the angles of the length at which they came, as in the reference. */
#include "test.h"

#include <math.h>

#include "generate/ahead.h"
#include "graph/readout.h"
#include "model/model.h"

enum { EDGE = 20, LENGTH = 32 }; /* original_max_position_embeddings of the golden model */

static const uint32_t *text_of(void)
{
    static uint32_t ids[LENGTH];

    for (uint32_t i = 0; i < LENGTH; i++) ids[i] = (7 + i * 37) % 128;
    return ids;
}

/* Logits after the last of `count` tokens that are read at once, without a state. */
static bool whole(nib_model *m, nib_run *run, size_t count, float *logits)
{
    uint32_t offsets[2] = { 0, (uint32_t)count }, positions[LENGTH], last = (uint32_t)count - 1;
    nib_batch batch = { .sequences = 1,
                        .axes = { [NIB_TOKENS] = { .count = count, .offsets = offsets },
                                  [NIB_LOGIT_ROWS] = { .count = 1, .picks = &last } },
                        .inputs = { [NIB_IDS] = text_of(), [NIB_POSITIONS] = positions } };

    for (uint32_t i = 0; i < count; i++) positions[i] = i;
    CHECK(m->graph->length_switch == EDGE, "the edge is at %zu", m->graph->length_switch);
    nib_run_forward(run, &batch);
    nib_run_logits(run, 0, 1, logits);
    return true;
}

static void check_same(nib_model *m, nib_run *run, nib_logits got, size_t count, const char *how)
{
    size_t v = m->head->weight->out;
    float *want = test_guarded(v * sizeof *want), worst = 0;

    whole(m, run, count, want);
    REQUIRE(got.count == v, "%zu logits", got.count);
    for (size_t i = 0; i < v; i++) worst = fmaxf(worst, fabsf(got.values[i] - want[i]));
    CHECK(worst <= 1e-4f, "%s: logits after %zu tokens differ by %g", how, count, (double)worst);
}

static void test_edge(void)
{
    nib_ctx *ctx = test_ctx();
    nib_model_options options = { .model = test_data("tests/golden/models/phi3-longrope") };
    nib_model *m = NULL;
    nib_plan *plan = NULL;
    nib_run *run = NULL;
    nib_decoder *d = NULL;
    nib_conversation c = { .slot = NIB_NO_SLOT };
    nib_logits logits;
    nib_ahead ahead;
    nib_error err;

    REQUIRE_OK(nib_model_open(ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &m, &err), err);
    m->graph->precision = NIB_PRECISION_HIGHEST;
    REQUIRE_OK(nib_plan_create(m->graph, NIB_PLAN_INFERENCE, LENGTH, 1, &plan, &err), err);
    REQUIRE_OK(nib_run_create(ctx, m->graph, plan, LENGTH, &run, &err), err);
    REQUIRE_OK(nib_decoder_create(ctx, m->graph, LENGTH, 1, &d, &err), err);
    REQUIRE_OK(nib_state_create(ctx, m->graph, LENGTH, &c.state, &err), err);

    REQUIRE_OK(nib_decoder_read(d, c, text_of(), LENGTH - 4, 0, &err), err);
    REQUIRE_OK(nib_decoder_logits(d, 0, &logits, &err), err);
    check_same(m, run, logits, LENGTH - 4, "a long prompt");

    nib_state_reset(c.state);
    REQUIRE_OK(nib_decoder_read(d, c, text_of(), EDGE - 4, 0, &err), err);
    ahead = nib_ahead_begin(d, c, NIB_MOST_GUESSES);
    for (size_t n = EDGE - 3; n <= LENGTH; n++) {
        REQUIRE_OK(nib_ahead_push(&ahead, text_of(), n, LENGTH - n, 0, &err), err);
        REQUIRE_OK(nib_ahead_logits(&ahead, &logits, &err), err);
        check_same(m, run, logits, n, "a text that grows");
    }
    nib_state_destroy(c.state);
    nib_decoder_destroy(d);
    nib_run_destroy(run);
    nib_plan_destroy(ctx, plan);
    nib_model_close(m);
}

static uint32_t best(nib_logits l)
{
    size_t at = 0;

    for (size_t i = 1; i < l.count; i++)
        if (l.values[i] > l.values[at]) at = i;
    return l.ids ? l.ids[at] : (uint32_t)at;
}

/* What transformers 4.57.6 generates (greedy, float32) after the first `prompt` tokens. */
typedef struct grown_case {
    const char *record;
    size_t prompt;
    uint32_t text[LENGTH];
} grown_case;

static const grown_case grown_cases[] = {
    { "ids.1", 12, { 64, 89, 0, 26, 81, 84, 52, 64, 71, 118, 84, 52, 64, 71, 118, 8,
                     39, 123, 69, 38, 12, 17, 13, 38, 12, 17, 13, 38, 12, 17, 13, 38 } },
    { "ids.0", 30, { 22, 3, 78, 64, 71, 84, 114, 101, 83, 88, 5, 71, 84, 114, 101, 83,
                     88, 5, 71, 84, 114, 101, 83, 88, 5, 71, 75, 1, 3, 78, 64, 71 } },
};

/* The model's length is 20: one prompt begins below it, one beyond.  guesses: the texts repeat
 * themselves, so that guesses would be right, and longer than what the reference sees; `seen`
 * [LENGTH] are the greatest logits, made without guesses and compared with them. */
static void check_grown(nib_model *m, const nib_tensors *records, const grown_case *k,
                        size_t guesses, float *seen)
{
    const nib_tensor *prompt = nib_tensors_find(records, k->record);
    uint32_t ids[2 * LENGTH + 8];
    size_t n = k->prompt, most = k->prompt + LENGTH, wrong = 0;
    nib_conversation c = { .slot = NIB_NO_SLOT };
    nib_decoder *d = NULL;
    nib_logits logits;
    nib_ahead ahead;
    float worst = 0;
    nib_error err;

    REQUIRE(prompt && prompt->elements >= n);
    REQUIRE_OK(nib_decoder_create(m->ctx, m->graph, most, 1, &d, &err), err);
    REQUIRE_OK(nib_state_create(m->ctx, m->graph, most, &c.state, &err), err);
    memcpy(ids, prompt->data, n * sizeof *ids);
    REQUIRE_OK(nib_decoder_read(d, c, ids, n, 0, &err), err);
    REQUIRE_OK(nib_decoder_logits(d, 0, &logits, &err), err);
    ahead = nib_ahead_begin(d, c, guesses);
    for (;;) {
        float *greatest = &seen[n - k->prompt], before = *greatest;

        ids[n] = best(logits);
        wrong += ids[n] != k->text[n - k->prompt];
        *greatest = logits.values[0];
        for (size_t i = 1; i < logits.count; i++) *greatest = fmaxf(*greatest, logits.values[i]);
        if (guesses) worst = fmaxf(worst, fabsf(*greatest - before));
        if (++n == most) break;
        REQUIRE_OK(nib_ahead_push(&ahead, ids, n, most - n, 0, &err), err);
        REQUIRE_OK(nib_ahead_logits(&ahead, &logits, &err), err);
    }
    CHECK(worst <= 1e-5f, "%s: guesses change logits by %g", k->record, (double)worst);
    CHECK(wrong == 0, "%s, %zu guesses: %zu of %d tokens differ", k->record, guesses, wrong,
          LENGTH);
    nib_state_destroy(c.state);
    nib_decoder_destroy(d);
}

static void test_dynamic(void)
{
    nib_model_options options = { .model = test_data("tests/golden/models/llama-dynamic") };
    nib_ctx *ctx = test_ctx();
    nib_model *m = NULL;
    nib_tensors *records = NULL;
    nib_error err;

    REQUIRE_OK(nib_model_open(ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &m, &err), err);
    m->graph->precision = NIB_PRECISION_HIGHEST;
    REQUIRE_OK(nib_tensors_open(ctx, test_data("tests/golden/models/llama-dynamic/"
                                               "expected.safetensors"), &records, &err), err);
    for (size_t i = 0; i < NIB_COUNT(grown_cases); i++) {
        float seen[LENGTH] = { 0 };
        check_grown(m, records, &grown_cases[i], 0, seen);
        check_grown(m, records, &grown_cases[i], NIB_MOST_GUESSES, seen);
    }
    nib_tensors_close(records);
    nib_model_close(m);
}

int main(void)
{
    static const test_case cases[] = { { "edge", test_edge }, { "dynamic", test_dynamic } };
    return test_main("long", cases, NIB_COUNT(cases));
}
