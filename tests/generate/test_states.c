/* test_states.c - models that carry more than keys and values from token to token: a text in
 * pieces, one token after another, with guesses that are taken back and from a copy of a state has
 * the logits of the whole text at once. */
#include "test.h"

#include <math.h>
#include <string.h>

#include "generate/ahead.h"
#include "graph/readout.h"
#include "model/model.h"

enum { LENGTH = 40, PROMPT = 12, MOST_WORDS = 256 };

static const char *const models[] = { "lfm2", "lfm2-bias", "qwen3-5", "qwen3-5-wrapped",
                                      "qwen3-next", "rwkv", "granite-hybrid",
                                      "granite-hybrid-experts", "falcon-h1" };

/* Five tokens again and again, but every ninth is another one: guesses are right and wrong. */
static const uint32_t *text_of(void)
{
    static uint32_t ids[LENGTH];

    for (uint32_t i = 0; i < LENGTH; i++) ids[i] = i % 9 == 8 ? 100 + i % 7 : 7 + i % 5 * 11;
    return ids;
}

typedef struct states_lab {
    const char *name;
    nib_ctx *ctx;
    nib_model *m;
    nib_decoder *d;
    nib_conversation c;
    float *whole, *single; /* [LENGTH, words] logits after each token: at once, one by one */
} states_lab;

static nib_status open_lab(states_lab *l, const char *name, nib_error *err)
{
    char dir[600];
    nib_model_options options = { .model = dir };
    nib_status status;

    snprintf(dir, sizeof dir, "%s/%s", test_data("tests/golden/models"), name);
    *l = (states_lab){ .name = name, .ctx = test_ctx(), .c = { .slot = NIB_NO_SLOT } };
    status = nib_model_open(l->ctx, &options, NIB_F32, (nib_model_progress){ 0 }, &l->m, err);
    if (status) return status;
    l->m->graph->precision = NIB_PRECISION_HIGHEST;
    l->whole = test_guarded(LENGTH * l->m->head->weight->out * sizeof(float));
    l->single = test_guarded(LENGTH * l->m->head->weight->out * sizeof(float));
    status = nib_decoder_create(l->ctx, l->m->graph, LENGTH, 1, &l->d, err);
    if (!status) status = nib_state_create(l->ctx, l->m->graph, LENGTH, &l->c.state, err);
    return status;
}

static void close_lab(states_lab *l)
{
    nib_state_destroy(l->c.state);
    nib_decoder_destroy(l->d);
    nib_model_close(l->m);
    test_ctx_release(l->ctx);
}

static nib_status run_whole(states_lab *l, nib_error *err)
{
    uint32_t offsets[2] = { 0, LENGTH }, positions[LENGTH];
    nib_batch batch = { .sequences = 1,
                        .axes = { [NIB_TOKENS] = { .count = LENGTH, .offsets = offsets },
                                  [NIB_LOGIT_ROWS] = { .count = LENGTH, .picks = positions } },
                        .inputs = { [NIB_IDS] = text_of(), [NIB_POSITIONS] = positions } };
    nib_plan *plan = NULL;
    nib_run *run = NULL;
    nib_status status = nib_plan_create(l->m->graph, NIB_PLAN_INFERENCE, LENGTH, LENGTH, &plan,
                                        err);

    for (uint32_t i = 0; i < LENGTH; i++) positions[i] = i;
    if (!status) status = nib_run_create(l->ctx, l->m->graph, plan, LENGTH, &run, err);
    if (!status) {
        nib_run_forward(run, &batch);
        nib_run_logits(run, 0, LENGTH, l->whole);
    }
    nib_run_destroy(run);
    nib_plan_destroy(l->ctx, plan);
    return status;
}

/* The decoder's logits, after token `at`, against those of `want`: near or, where `same`, to the
 * bit. */
static void check_logits(states_lab *l, size_t row, size_t at, const float *want, bool same,
                         const char *how)
{
    size_t v = l->m->head->weight->out;
    nib_logits got;
    nib_error err;
    float worst = 0;

    REQUIRE_OK(nib_decoder_logits(l->d, row, &got, &err), err);
    REQUIRE(got.count == v, "%zu logits", got.count);
    want += at * v;
    for (size_t i = 0; i < v; i++) {
        float off = fabsf(got.values[i] - want[i]);
        if (!(off <= worst)) worst = off;
    }
    CHECK(same ? memcmp(want, got.values, v * sizeof *want) == 0 : worst <= 5e-5f,
          "%s, %s: logits after token %zu are off by %g", l->name, how, at, (double)worst);
}

/* A prompt, then one by one; the logits of these are kept. */
static void run_singly(states_lab *l)
{
    size_t v = l->m->head->weight->out;
    nib_error err;

    nib_state_reset(l->c.state);
    REQUIRE_OK(nib_decoder_read(l->d, l->c, text_of(), PROMPT, 0, &err), err);
    check_logits(l, 0, PROMPT - 1, l->whole, false, "a prompt");
    for (size_t i = PROMPT; i < LENGTH; i++) {
        nib_logits got;
        REQUIRE_OK(nib_decoder_next(l->d, &l->c, text_of() + i, 1, 0, &err), err);
        check_logits(l, 0, i, l->whole, false, "one by one");
        REQUIRE_OK(nib_decoder_logits(l->d, 0, &got, &err), err);
        memcpy(l->single + i * v, got.values, v * sizeof *got.values);
    }
}

/* Pieces of 1, 2, 3, ... tokens. */
static void run_in_pieces(states_lab *l)
{
    nib_error err;

    nib_state_reset(l->c.state);
    for (size_t i = 0, piece = 1; i < LENGTH; i += piece, piece++) {
        piece = nib_min(piece, LENGTH - i);
        REQUIRE_OK(nib_decoder_read(l->d, l->c, text_of() + i, piece, 0, &err), err);
        check_logits(l, 0, i + piece - 1, l->whole, false, "in pieces");
    }
}

static void run_ahead(states_lab *l)
{
    size_t right = 0, wrong = 0;
    nib_ahead ahead;
    nib_error err;

    nib_state_reset(l->c.state);
    REQUIRE_OK(nib_decoder_read(l->d, l->c, text_of(), PROMPT, 0, &err), err);
    ahead = nib_ahead_begin(l->d, l->c, NIB_MOST_GUESSES);
    for (size_t n = PROMPT + 1; n <= LENGTH; n++) {
        bool guessed = nib_ahead_guessed(&ahead, text_of()[n - 1]);
        right += guessed;
        wrong += !guessed && ahead.at + 1 < ahead.count;
        REQUIRE_OK(nib_ahead_push(&ahead, text_of(), n, LENGTH - n, 0, &err), err);
        check_logits(l, ahead.at, n - 1, l->single, true, "with guesses");
    }
    CHECK(right >= 5 && wrong >= 2, "%s: %zu guesses were right, %zu wrong", l->name, right, wrong);
}

/* On from a copy as from the state itself. */
static void run_copy(states_lab *l)
{
    nib_conversation c = { .slot = NIB_NO_SLOT };
    nib_error err;

    nib_state_reset(l->c.state);
    REQUIRE_OK(nib_decoder_read(l->d, l->c, text_of(), PROMPT, 0, &err), err);
    REQUIRE_OK(nib_state_create(l->ctx, l->m->graph, LENGTH, &c.state, &err), err);
    nib_state_copy(c.state, l->c.state);
    REQUIRE_OK(nib_decoder_next(l->d, &c, text_of() + PROMPT, 1, 0, &err), err);
    check_logits(l, 0, PROMPT, l->single, true, "a copy");
    nib_state_destroy(c.state);
}

/* Goes back without a mark, behind one, and on from a copy. */
static void run_back(states_lab *l)
{
    nib_state *copy = NULL;
    nib_conversation c = l->c;
    nib_error err;

    nib_state_reset(l->c.state);
    REQUIRE_OK(nib_decoder_read(l->d, l->c, text_of(), PROMPT, 0, &err), err);
    CHECK(nib_state_truncate(l->c.state, PROMPT) == PROMPT, "nothing is to be forgotten");
    CHECK(nib_state_truncate(l->c.state, PROMPT - 1) == 0, "%s: cut without a mark", l->name);
    REQUIRE_OK(nib_decoder_read(l->d, l->c, text_of(), PROMPT, 0, &err), err);
    nib_state_mark(l->c.state);
    REQUIRE_OK(nib_decoder_next(l->d, &l->c, text_of(), 1, 0, &err), err);
    REQUIRE_OK(nib_decoder_next(l->d, &l->c, text_of(), 1, 0, &err), err);
    CHECK(nib_state_truncate(l->c.state, PROMPT + 1) == PROMPT, "%s: not at the mark", l->name);
    REQUIRE_OK(nib_state_create(l->ctx, l->m->graph, LENGTH, &copy, &err), err);
    nib_state_copy(copy, l->c.state);
    for (int i = 0; i < 2; i++) {
        REQUIRE_OK(nib_decoder_next(l->d, &c, text_of() + PROMPT, 1, 0, &err), err);
        check_logits(l, 0, PROMPT, l->single, true, i ? "a copy" : "after going back");
        c.state = copy;
    }
    nib_state_destroy(copy);
}

static void test_states(void)
{
    for (size_t i = 0; i < NIB_COUNT(models); i++) {
        states_lab l;
        nib_error err;
        nib_status status = open_lab(&l, models[i], &err);

        if (!status) status = run_whole(&l, &err);
        CHECK(status == NIB_OK, "%s", err.message);
        if (!status) {
            run_singly(&l);
            run_in_pieces(&l);
            run_ahead(&l);
            run_back(&l);
        }
        close_lab(&l);
    }
}

/* gemma4's last layer reads the keys and values of the one before it: they are held once. */
static void test_shared(void)
{
    states_lab l;
    nib_error err;

    REQUIRE_OK(open_lab(&l, "gemma4", &err), err);
    REQUIRE_OK(run_whole(&l, &err), err);
    CHECK(l.m->graph->state_count == 2, "%zu pieces for three layers", l.m->graph->state_count);
    CHECK(nib_state_bytes(l.m->graph, 64) == 64 * 2 * (16 + 32) * sizeof(float) + 64,
          "%zu bytes for 64 tokens", nib_state_bytes(l.m->graph, 64));
    run_singly(&l);
    run_in_pieces(&l);
    run_ahead(&l);
    run_copy(&l);
    close_lab(&l);
}

/* --- windows --- */

enum { LONG = 720 };

static const uint32_t *long_text(void)
{
    static uint32_t ids[LONG];

    for (uint32_t i = 0; i < LONG; i++) ids[i] = (i * 37 + i / 7 * 11) % 128;
    return ids;
}

/* The logits after the last of n tokens at once. */
static void last_of(states_lab *l, size_t n, float *to)
{
    uint32_t offsets[2] = { 0, (uint32_t)n }, positions[LONG], pick = (uint32_t)n - 1;
    nib_batch batch = { .sequences = 1,
                        .axes = { [NIB_TOKENS] = { .count = n, .offsets = offsets },
                                  [NIB_LOGIT_ROWS] = { .count = 1, .picks = &pick } },
                        .inputs = { [NIB_IDS] = long_text(), [NIB_POSITIONS] = positions } };
    nib_plan *plan = NULL;
    nib_run *run = NULL;
    nib_error err;

    for (uint32_t i = 0; i < n; i++) positions[i] = i;
    REQUIRE_OK(nib_plan_create(l->m->graph, NIB_PLAN_INFERENCE, n, 1, &plan, &err), err);
    REQUIRE_OK(nib_run_create(l->ctx, l->m->graph, plan, n, &run, &err), err);
    nib_run_forward(run, &batch);
    nib_run_logits(run, 0, 1, to);
    nib_run_destroy(run);
    nib_plan_destroy(l->ctx, plan);
}

static void check_last(states_lab *l, nib_decoder *d, size_t n, const char *how)
{
    size_t v = l->m->head->weight->out;
    float *want = test_guarded(v * sizeof *want), worst = 0;
    nib_logits got;
    nib_error err;

    last_of(l, n, want);
    REQUIRE_OK(nib_decoder_logits(d, 0, &got, &err), err);
    for (size_t i = 0; i < v; i++) worst = fmaxf(worst, fabsf(got.values[i] - want[i]));
    CHECK(worst <= 5e-5f, "%s, %s: logits after %zu tokens are off by %g", l->name, how, n,
          (double)worst);
}

/* A text far longer than the window: of what lies before it some keys are dropped, and then it can
 * be cut only near its end. */
static void run_window(states_lab *l, size_t least)
{
    static const size_t pieces[] = { 512, 188, 5 }; /* the last needs room */
    nib_decoder *d = NULL;
    nib_conversation c = { .slot = NIB_NO_SLOT };
    nib_state *copy = NULL;
    nib_error err;
    size_t n = 0;

    CHECK(nib_state_bytes(l->m->graph, 8 * LONG) < 8 * nib_state_bytes(l->m->graph, LONG) - least,
          "%s: %zu bytes for %d tokens", l->name, nib_state_bytes(l->m->graph, 8 * LONG), 8 * LONG);
    REQUIRE_OK(nib_decoder_create(l->ctx, l->m->graph, LONG, 1, &d, &err), err);
    REQUIRE_OK(nib_state_create(l->ctx, l->m->graph, LONG, &c.state, &err), err);
    for (size_t i = 0; i < NIB_COUNT(pieces); n += pieces[i++])
        REQUIRE_OK(nib_decoder_read(d, c, long_text() + n, pieces[i], 0, &err), err);
    check_last(l, d, n, "in pieces");
    CHECK(nib_state_truncate(c.state, n - NIB_TAKEN_BACK) == n - NIB_TAKEN_BACK,
          "%s: not cut near the end", l->name);
    for (size_t i = n - NIB_TAKEN_BACK; i < n; i++)
        REQUIRE_OK(nib_decoder_next(d, &c, long_text() + i, 1, 0, &err), err);
    check_last(l, d, n, "after going back");
    REQUIRE_OK(nib_state_create(l->ctx, l->m->graph, LONG, &copy, &err), err);
    nib_state_copy(copy, c.state);
    CHECK(nib_state_truncate(c.state, 30) == 0, "%s: keys that were dropped are read", l->name);
    nib_state_destroy(c.state);
    c.state = copy;
    REQUIRE_OK(nib_decoder_next(d, &c, long_text() + n, 1, 0, &err), err);
    check_last(l, d, n + 1, "a copy");
    nib_state_destroy(copy);
    nib_decoder_destroy(d);
}

static void test_windows(void)
{
    static const char *const names[] = { "mistral-window", "gemma3", "gemma4", "gpt-oss" };

    for (size_t i = 0; i < NIB_COUNT(names); i++) {
        states_lab l;
        nib_error err;

        REQUIRE_OK(open_lab(&l, names[i], &err), err);
        run_window(&l, 1 << 18);
        close_lab(&l);
    }
}

int main(void)
{
    static const test_case cases[] = { { "states", test_states },
                                       { "shared keys", test_shared },
                                       { "windows", test_windows } };
    return test_main("states", cases, NIB_COUNT(cases));
}
