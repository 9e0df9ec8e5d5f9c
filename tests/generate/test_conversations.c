/* test_conversations.c - conversations decoded in one batch have the bits they have alone, whoever
 * comes and goes beside them. */
#include "test.h"

#include <string.h>

#include "adapter/adapter.h"
#include "generate/decoder.h"
#include "graph/readout.h"
#include "model/model.h"

enum { CAPACITY = 90, MOST = 7, STEPS = 12 };

static nib_model *open_model(nib_ctx *ctx, const char *dir, nib_dtype type, bool quantized)
{
    nib_model_options options = { .model = test_data(dir),
                                  .settings = quantized ? test_four_bit : NULL };
    nib_model *model = NULL;
    nib_error err;

    CHECK(nib_model_open(ctx, &options, type, (nib_model_progress){ 0 }, &model, &err) == NIB_OK,
          "%s: %s", dir, err.message);
    return model;
}

static nib_state *new_state(nib_model *m)
{
    nib_state *s = NULL;
    nib_error err;

    CHECK(nib_state_create(m->ctx, m->graph, CAPACITY, &s, &err) == NIB_OK, "%s", err.message);
    return s;
}

/* Conversation i: a prompt of its own length, then tokens of its own; it is there from step `from`
 * until step `until`.  There are up to six, five of them neighbours in one slot: more rows than one
 * dot takes. */
typedef struct talk { size_t prompt; int from, until; uint8_t slot; } talk;

static const talk talks[MOST] = { { 9, 0, STEPS, 0 },  { 1, 0, 7, NIB_NO_SLOT },
                                  { 40, 3, STEPS, 0 }, { 3, 4, 8, 0 },
                                  { 17, 5, STEPS, 0 }, { 2, 5, STEPS, 0 },
                                  { 30, 6, 9, 0 } };

static uint32_t token(size_t vocabulary, size_t conversation, size_t at)
{
    return (uint32_t)((7 + conversation * 131 + at * 31) % vocabulary);
}

static void make_prompt(size_t vocabulary, size_t i, uint32_t *ids)
{
    for (size_t t = 0; t < talks[i].prompt; t++) ids[t] = token(vocabulary, i, t);
}

/* logits [MOST, STEPS + 1, V] of all conversations, each decoded alone: after the prompt, and after
 * each token. */
static void decode_alone(nib_model *m, float *logits)
{
    size_t v = m->graph->head->weight->out;
    nib_decoder *d = NULL;
    nib_logits got;
    nib_error err;

    REQUIRE_OK(nib_decoder_create(m->ctx, m->graph, CAPACITY, 1, &d, &err), err);
    for (size_t i = 0; i < MOST; i++) {
        nib_conversation c = { new_state(m), talks[i].slot };
        uint32_t ids[CAPACITY];

        make_prompt(v, i, ids);
        REQUIRE_OK(nib_decoder_read(d, c, ids, talks[i].prompt, 0, &err), err);
        for (int t = 0; t <= STEPS; t++) {
            float *to = logits + (i * (STEPS + 1) + (size_t)t) * v;
            uint32_t id = token(v, i, talks[i].prompt + (size_t)t);

            REQUIRE_OK(nib_decoder_logits(d, 0, &got, &err), err);
            memcpy(to, got.values, v * sizeof *to);
            REQUIRE_OK(nib_decoder_next(d, &c, &id, 1, 0, &err), err);
        }
        nib_state_destroy(c.state);
    }
    nib_decoder_destroy(d);
}

static void check_row(const float *want, nib_logits got, size_t i, int step)
{
    for (size_t j = 0; j < got.count; j++) {
        size_t word = got.ids ? got.ids[j] : j;
        CHECK(memcmp(&got.values[j], &want[word], sizeof *want) == 0,
              "conversation %zu, step %d, word %zu: %a, alone %a", i, step, word,
              (double)got.values[j], (double)want[word]);
        if (memcmp(&got.values[j], &want[word], sizeof *want) != 0) return;
    }
}

/* Steps with whoever is there; prompts are read between them. */
static void decode_together(nib_model *m, const float *logits)
{
    size_t v = m->graph->head->weight->out;
    nib_state *states[MOST] = { 0 };
    nib_decoder *d = NULL;
    nib_logits got;
    nib_error err;

    REQUIRE_OK(nib_decoder_create(m->ctx, m->graph, CAPACITY, MOST, &d, &err), err);
    for (int step = 0; step < STEPS; step++) {
        nib_conversation c[MOST];
        uint32_t ids[CAPACITY];
        size_t who[MOST], count = 0;

        for (size_t i = 0; i < MOST; i++) {
            if (step == talks[i].until) {
                nib_state_destroy(states[i]);
                states[i] = NULL;
            }
            if (step != talks[i].from) continue;
            states[i] = new_state(m);
            make_prompt(v, i, ids);
            REQUIRE_OK(nib_decoder_read(d, (nib_conversation){ states[i], talks[i].slot }, ids,
                                        talks[i].prompt, 0, &err), err);
            REQUIRE_OK(nib_decoder_logits(d, 0, &got, &err), err);
            check_row(logits + i * (STEPS + 1) * v, got, i, step);
        }
        for (size_t i = 0; i < MOST; i++) {
            if (!states[i]) continue;
            c[count] = (nib_conversation){ states[i], talks[i].slot };
            ids[count] = token(v, i, states[i]->tokens);
            who[count++] = i;
        }
        REQUIRE_OK(nib_decoder_next(d, c, ids, count, step % 2 ? 3 : 0, &err), err);
        for (size_t k = 0; k < count; k++) {
            size_t i = who[k], at = i * (STEPS + 1) + states[i]->tokens - talks[i].prompt;
            REQUIRE_OK(nib_decoder_logits(d, k, &got, &err), err);
            check_row(logits + at * v, got, i, step);
        }
    }
    for (size_t i = 0; i < MOST; i++) nib_state_destroy(states[i]);
    nib_decoder_destroy(d);
}

static void check_model(const char *dir, nib_dtype type, bool quantized, const char *adapter)
{
    nib_model *m = open_model(test_ctx(), dir, type, quantized);
    nib_adapter *a = NULL;
    nib_error err;
    float *logits;

    REQUIRE(m);
    if (adapter) REQUIRE_OK(nib_adapter_open(m, test_data(adapter), 0, false, &a, &err), err);
    logits = test_guarded(MOST * (STEPS + 1) * m->graph->head->weight->out * sizeof *logits);
    decode_alone(m, logits);
    decode_together(m, logits);
    nib_adapter_close(a);
    nib_model_close(m);
}

static const char pico[] = "models/pico", adapter_dir[] = "tests/golden/train/adapter";

static void test_float32(void)
{
    check_model(pico, NIB_F32, false, adapter_dir);
    check_model(pico, NIB_F32, true, adapter_dir);
}

static void test_bfloat16(void)
{
    check_model(pico, NIB_BF16, false, NULL);
    check_model(pico, NIB_BF16, true, adapter_dir);
}

/* A sliding window, and positions by ALiBi. */
static void test_windows(void)
{
    check_model("tests/golden/models/mistral-window", NIB_F32, false, NULL);
    check_model("tests/golden/models/falcon-rw", NIB_F32, false, NULL);
}

/* Experts, whose rows are those of several conversations. */
static void test_experts(void)
{
    static const char moe[] = "tests/golden/models/qwen3-moe";

    check_model(moe, NIB_F32, false, "tests/golden/models/qwen3-moe/adapter");
    check_model(moe, NIB_F32, true, NULL);
    check_model(moe, NIB_BF16, false, "tests/golden/models/qwen3-moe/adapter");
}

/* Two short prompts beside a generated token in one batch, more rows than dots take: all have the
 * bits they have alone. */
static void test_roles(void)
{
    enum { PROMPT = 3 };
    nib_model *m = open_model(test_ctx(), pico, NIB_F32, true);
    uint32_t ids[] = { 11, 12, 13, 14, 21, 22, 23, 31 };
    uint32_t offsets[] = { 0, 4, 7, 8 }, picks[] = { 3, 6, 7 };
    uint32_t positions[] = { 0, 1, 2, 3, 0, 1, 2, 0 };
    static const bool generated[] = { false, false, true };
    uint8_t slots[] = { NIB_NO_SLOT, NIB_NO_SLOT, NIB_NO_SLOT };
    nib_state *states[PROMPT];
    nib_plan *plan = NULL;
    nib_run *run = NULL;
    size_t v;
    float *together, *alone;
    nib_error err;

    REQUIRE(m);
    v = m->graph->head->weight->out;
    together = test_guarded(PROMPT * v * sizeof *together);
    alone = test_guarded(v * sizeof *alone);
    for (int i = 0; i < PROMPT; i++) states[i] = new_state(m);
    REQUIRE_OK(nib_plan_create(m->graph, NIB_PLAN_INFERENCE, 8, PROMPT, &plan, &err), err);
    REQUIRE_OK(nib_run_create(m->ctx, m->graph, plan, CAPACITY, &run, &err), err);
    for (int i = -1; i < PROMPT; i++) {
        size_t from = i < 0 ? 0 : offsets[i], count = i < 0 ? 8 : offsets[i + 1] - offsets[i];
        uint32_t own[] = { 0, (uint32_t)count }, last = (uint32_t)count - 1;
        nib_batch b = { .sequences = i < 0 ? PROMPT : 1,
                        .axes = { [NIB_TOKENS] = { count, i < 0 ? offsets : own, NULL },
                                  [NIB_LOGIT_ROWS] = { i < 0 ? PROMPT : 1, NULL,
                                                       i < 0 ? picks : &last } },
                        .inputs = { [NIB_IDS] = ids + from, [NIB_POSITIONS] = positions + from },
                        .slots = slots, .generated = generated + (i < 0 ? 0 : i),
                        .states = states + (i < 0 ? 0 : i) };

        nib_run_forward(run, &b);
        nib_run_logits(run, 0, b.sequences, i < 0 ? together : alone);
        if (i >= 0)
            CHECK(memcmp(together + (size_t)i * v, alone, v * sizeof *alone) == 0,
                  "sequence %d has other bits among others", i);
        if (i < 0)
            for (int s = 0; s < PROMPT; s++) {
                CHECK(states[s]->tokens == offsets[s + 1] - offsets[s],
                      "%zu tokens", states[s]->tokens);
                nib_state_reset(states[s]);
            }
    }
    for (int i = 0; i < PROMPT; i++) nib_state_destroy(states[i]);
    nib_run_destroy(run);
    nib_plan_destroy(m->ctx, plan);
    nib_model_close(m);
}

/* A copy continues as its original does; what is cut off is as if it had never been. */
static void test_copy(void)
{
    nib_model *m = open_model(test_ctx(), pico, NIB_F32, true);
    nib_decoder *d = NULL;
    nib_conversation c[2];
    uint32_t prompt[9], id = 5, other = 6;
    size_t bytes;
    nib_logits got;
    float *want;
    nib_error err;

    REQUIRE(m);
    bytes = m->graph->head->weight->out * sizeof *want;
    want = test_guarded(bytes);
    c[0] = (nib_conversation){ new_state(m), NIB_NO_SLOT };
    c[1] = (nib_conversation){ NULL, NIB_NO_SLOT };
    REQUIRE_OK(nib_state_create(m->ctx, m->graph, 12, &c[1].state, &err), err); /* smaller */
    CHECK(c[1].state->memory.bytes >= nib_state_bytes(m->graph, 12) &&
              nib_state_bytes(m->graph, 12) < nib_state_bytes(m->graph, CAPACITY),
          "%zu bytes", nib_state_bytes(m->graph, 12));
    REQUIRE_OK(nib_decoder_create(m->ctx, m->graph, CAPACITY, 2, &d, &err), err);
    make_prompt(m->graph->head->weight->out, 0, prompt);
    REQUIRE_OK(nib_decoder_read(d, c[0], prompt, 9, 0, &err), err);
    REQUIRE_OK(nib_decoder_next(d, &c[0], &other, 1, 0, &err), err);
    nib_state_truncate(c[0].state, 9);
    nib_state_copy(c[1].state, c[0].state);
    REQUIRE_OK(nib_decoder_next(d, &c[1], &id, 1, 0, &err), err);
    REQUIRE_OK(nib_decoder_logits(d, 0, &got, &err), err);
    memcpy(want, got.values, bytes);
    REQUIRE_OK(nib_decoder_next(d, &c[0], &id, 1, 0, &err), err);
    REQUIRE_OK(nib_decoder_logits(d, 0, &got, &err), err);
    CHECK(memcmp(want, got.values, bytes) == 0, "the copy continues differently");
    nib_state_reset(c[0].state);
    REQUIRE_OK(nib_decoder_read(d, c[0], prompt, 9, 0, &err), err);
    REQUIRE_OK(nib_decoder_next(d, &c[0], &id, 1, 0, &err), err);
    REQUIRE_OK(nib_decoder_logits(d, 0, &got, &err), err);
    CHECK(memcmp(want, got.values, bytes) == 0, "tokens that were cut off left something");
    for (int i = 0; i < 2; i++) nib_state_destroy(c[i].state);
    nib_decoder_destroy(d);
    nib_model_close(m);
}

static const test_case cases[] = {
    { "alone and together, float32", test_float32 },
    { "alone and together, bfloat16", test_bfloat16 },
    { "windows and ALiBi", test_windows },
        { "experts", test_experts },
    { "prompts beside generated tokens", test_roles },
    { "copies, and tokens cut off", test_copy },
};

int main(void) { return test_main("test_conversations", cases, NIB_COUNT(cases)); }
