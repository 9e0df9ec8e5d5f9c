/* test_long.c - a model whose rotation changes with the length of the text (longrope): a prompt in
 * pieces, and a text that grows beyond the edge, have the logits of the whole text at once. */
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

int main(void)
{
    static const test_case cases[] = { { "edge", test_edge } };
    return test_main("long", cases, NIB_COUNT(cases));
}
