/* test_range.c - segment by segment, values waiting outside in between, a model computes what it
 * computes in one go; taps see what each linear reads. */
#include "lab.h"
#include "test.h"

#include <string.h>

#include "graph/readout.h"
#include "model/model.h"

enum { TOKENS = 40, MOST_TAPS = 200 };

/* Copies of what linears read. */
typedef struct taken { const nib_linear *linear; size_t bytes; void *x; } taken;
typedef struct taps {
    const nib_run *run;
    taken taken[MOST_TAPS];
    size_t count;
} taps;

static void take(void *user, const nib_node *node, const nib_io *io, bool backward)
{
    taps *t = user;
    const nib_graph *g = t->run->graph;
    const nib_value_info *x;
    taken *to;

    if (backward || !node->linear) return;
    x = &g->values[node->inputs[0]];
    to = &t->taken[t->count++];
    assert(t->count <= MOST_TAPS);
    *to = (taken){ .linear = node->linear,
                   .bytes = nib_run_rows(t->run, x->axis) * x->width * nib_dtype_bytes(x->dtype) };
    to->x = test_guarded(to->bytes);
    memcpy(to->x, io->in[0], to->bytes);
}

static void check_same(const taps *want, const taps *got, const char *what)
{
    CHECK(want->count == got->count && want->count > 0, "%s: %zu linears, expected %zu", what,
          got->count, want->count);
    for (size_t i = 0; i < want->count && i < got->count; i++) {
        const taken *a = &want->taken[i], *b = &got->taken[i];
        CHECK(a->linear == b->linear, "%s: %s read in place of %s", what, b->linear->name,
              a->linear->name);
        CHECK(a->bytes == b->bytes && memcmp(a->x, b->x, a->bytes) == 0,
              "%s: %s reads other values", what, a->linear->name);
    }
}

/* `step` segments at a time.  The arena is filled with noise in between: nothing lies there that a
 * range needs. */
static void run_ranges(nib_run *run, const nib_batch *batch, int step)
{
    const nib_graph *g = run->graph;
    void *before = NULL;

    for (int s = 0; s < g->segments; s += step) {
        int last = s + step < g->segments ? s + step : g->segments;
        size_t bytes = last < g->segments ? nib_boundary_bytes(g, batch, last) : 0;
        void *after = bytes ? test_guarded(bytes) : NULL;

        memset(run->arena.base, 0x7b, run->arena.bytes);
        nib_run_range(run, batch, s, last, before, after);
        before = after;
    }
}

/* Up to each linear of the segment after the first, which itself does not run. */
static void check_until(nib_run *run, const nib_batch *batch, const taps *whole, const char *what)
{
    static taps some;
    const nib_graph *g = run->graph;
    void *in = test_guarded(nib_boundary_bytes(g, batch, 1));
    size_t before = 0, linears = 0;

    some = (taps){ .run = run };
    run->tap_user = &some;
    nib_run_range(run, batch, 0, 1, NULL, in);
    before = some.count;
    for (const nib_node *n = g->nodes; n < g->nodes + g->node_count; n++) {
        taps part = { .run = run };
        if (n->segment != 1 || !n->linear) continue;
        part.count = ++linears;
        memcpy(part.taken, whole->taken + before, linears * sizeof *part.taken);
        some.count = 0;
        memset(run->arena.base, 0x7b, run->arena.bytes);
        nib_run_until(run, batch, 1, n, in);
        check_same(&part, &some, what);
    }
}

/* --- models --- */

static size_t bytes_of_segment(const nib_graph *g, int segment)
{
    size_t bytes = 0;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        const nib_value_info *v = &g->values[n->output];
        if (n->segment != segment || n->linear == g->head) continue;
        bytes += nib_round_up(TOKENS * v->width * nib_dtype_bytes(v->dtype), 64);
        if (n->side != NIB_NONE)
            bytes += nib_round_up(TOKENS * g->values[n->side].width * sizeof(float), 64);
    }
    return bytes;
}

static void check_model(const char *dir, nib_dtype type)
{
    static taps whole, pieces;
    nib_ctx *ctx = test_ctx();
    nib_model_options options = { .model = test_data(dir) };
    uint32_t ids[TOKENS], positions[TOKENS], offsets[] = { 0, 25, TOKENS }, picks[] = { 3, 24, 39 };
    nib_batch batch = { .sequences = 2,
                        .axes = { [NIB_TOKENS] = { TOKENS, offsets, NULL },
                                  [NIB_LOGIT_ROWS] = { NIB_COUNT(picks), NULL, picks } },
                        .inputs = { [NIB_IDS] = ids, [NIB_POSITIONS] = positions } };
    nib_model *m = NULL;
    nib_plan *plan = NULL;
    nib_run *run = NULL;
    float *want, *got;
    size_t bytes;
    nib_error err;

    for (uint32_t t = 0; t < TOKENS; t++) {
        ids[t] = 1 + t * 7 % 90;
        positions[t] = t < offsets[1] ? t : t - offsets[1];
    }
    REQUIRE_OK(nib_model_open(ctx, &options, type, (nib_model_progress){ 0 }, &m, &err), err);
    REQUIRE_OK(nib_plan_create(m->graph, NIB_PLAN_INFERENCE, TOKENS, NIB_COUNT(picks), &plan, &err),
               err);
    CHECK(plan->arena_bytes <= bytes_of_segment(m->graph, 1) +
                                   nib_round_up(nib_boundary_bytes(m->graph, &batch, 1), 64),
          "%s: %zu bytes, a layer has %zu", dir, plan->arena_bytes, bytes_of_segment(m->graph, 1));
    REQUIRE_OK(nib_run_create(ctx, m->graph, plan, TOKENS, &run, &err), err);
    bytes = NIB_COUNT(picks) * m->head->weight->out * sizeof *want;
    want = test_guarded(bytes);
    got = test_guarded(bytes);
    run->tap = take;
    whole = pieces = (taps){ .run = run };
    run->tap_user = &whole;
    nib_run_forward(run, &batch);
    nib_run_logits(run, 0, NIB_COUNT(picks), want);
    CHECK(whole.count + 1 == m->linear_count || m->tied, "%s: %zu of %zu linears tapped", dir,
          whole.count, m->linear_count);
    for (int step = 1; step <= 2; step++) {
        pieces.count = 0;
        run->tap_user = &pieces;
        run_ranges(run, &batch, step);
        check_same(&whole, &pieces, dir);
        memset(got, 0, bytes);
        nib_run_logits(run, 0, NIB_COUNT(picks), got);
        CHECK(memcmp(want, got, bytes) == 0, "%s: other logits", dir);
    }
    check_until(run, &batch, &whole, dir);
    nib_run_destroy(run);
    nib_plan_destroy(ctx, plan);
    nib_model_close(m);
}

static void test_models(void)
{
    check_model("tests/golden/models/llama", NIB_F32);
    check_model("tests/golden/models/qwen2-window", NIB_F32);
    check_model("tests/golden/models/falcon-7b", NIB_BF16);
    check_model("models/pico", NIB_BF16);
}

/* --- several values cross, one of them over more than one boundary --- */

static void build_carries(lab *l)
{
    nib_value x, carry, y;

    lab_embedding(l, "embed", 10, 0);
    lab_linear(l, "wide", 22, 10, LAB_BIAS);
    lab_linear(l, "narrow", 10, 22, 0);
    lab_linear(l, "last", 10, 10, 0);
    x = lab_embed(l, "embed");
    carry = lab_apply(l, x, "wide");
    l->b.segment++;
    y = nib_activate(&l->b, carry, NIB_ACT_SILU);
    l->b.segment++;
    y = lab_apply(l, nib_add(&l->b, y, carry), "narrow");
    x = nib_add(&l->b, x, y);
    l->b.segment++;
    lab_finish(l, lab_apply(l, x, "last"), 10, 0);
}

static void test_carries(void)
{
    static taps whole, pieces;
    static const size_t widths[] = { 0, 32, 54, 10 }; /* embed and carry; y too; x alone */
    lab l;

    if (lab_open(&l, test_ctx(), NIB_F32, build_carries, 0) && lab_plan(&l, NIB_PLAN_INFERENCE)) {
        size_t tokens = l.batch.axes[NIB_TOKENS].count;
        for (int s = 0; s < 4; s++)
            CHECK(nib_boundary_bytes(l.b.graph, &l.batch, s) == tokens * widths[s] * sizeof(float),
                  "boundary %d: %zu bytes", s, nib_boundary_bytes(l.b.graph, &l.batch, s));
        l.run->tap = take;
        whole = pieces = (taps){ .run = l.run };
        l.run->tap_user = &whole;
        nib_run_forward(l.run, &l.batch);
        l.run->tap_user = &pieces;
        run_ranges(l.run, &l.batch, 1);
        check_same(&whole, &pieces, "carries");
    }
    lab_close(&l);
}

static const test_case cases[] = {
    { "every linear's input, layer by layer", test_models },
    { "several values cross a boundary", test_carries },
};

int main(void) { return test_main("test_range", cases, NIB_COUNT(cases)); }
