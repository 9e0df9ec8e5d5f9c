/* run.c - walking through the steps of a plan. */
#include "graph/run.h"

#include <math.h>
#include <stdio.h>

#include "graph/linear.h"
#include "graph/operations.h"
#include "graph/rows.h"
#include "quant/product.h"

/* --- tables of cosines and sines --- */

static const nib_rope *rope_of(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].rope) return g->nodes[i].rope; /* one for the whole model */
    return NULL;
}

static nib_status make_tables(nib_run *run, nib_error *err)
{
    size_t half;
    nib_status status;

    run->rope = rope_of(run->graph);
    if (!run->rope) return NIB_OK;
    half = run->rope->rot / 2;
    status = nib_arena_create(run->ctx, 2 * run->positions * half * sizeof(float), &run->tables,
                              err);
    if (status) return status;
    for (size_t t = 0; t < run->positions; t++) {
        float *cosines = (float *)run->tables.base + t * half;
        float *sines = cosines + run->positions * half;
        /* the angle is rounded to float, as the reference does */
        for (size_t j = 0; j < half; j++) {
            float angle = (float)t * run->rope->inv[j];
            cosines[j] = (float)cos((double)angle) * run->rope->attention_factor;
            sines[j] = (float)sin((double)angle) * run->rope->attention_factor;
        }
    }
    return NIB_OK;
}

const float *nib_run_cos(const nib_run *run, uint32_t position)
{
    assert(position < run->positions);
    return (const float *)run->tables.base + position * (run->rope->rot / 2);
}

const float *nib_run_sin(const nib_run *run, uint32_t position)
{
    return nib_run_cos(run, position) + run->positions * (run->rope->rot / 2);
}

/* --- making and ending --- */

static size_t scratch_bytes(const nib_graph *g, const nib_plan *plan, size_t state_capacity)
{
    size_t bytes = plan->scratch_bytes;
    size_t rows[NIB_MAX_AXES];

    memcpy(rows, plan->rows, sizeof rows);
    rows[NIB_TOKENS] = nib_max(rows[NIB_TOKENS], state_capacity);
    for (size_t i = 0; state_capacity && i < g->node_count; i++)
        if (g->nodes[i].op->state)
            bytes = nib_max(bytes, g->nodes[i].op->scratch(g, &g->nodes[i], rows));
    return bytes;
}

size_t nib_run_bytes(const nib_graph *g, const nib_plan *plan, size_t positions,
                     size_t state_capacity)
{
    const nib_rope *rope = rope_of(g);
    return scratch_bytes(g, plan, state_capacity) +
           (rope ? 2 * positions * (rope->rot / 2) * sizeof(float) : 0);
}

nib_status nib_graph_check_length(const nib_graph *g, size_t positions, nib_error *err)
{
    if (!g->position_limit || positions <= g->position_limit) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "a sequence of %zu tokens, but the model has positions for %zu: set "
                    "max_seq_length to at most %zu",
                    positions, g->position_limit, g->position_limit);
}

nib_status nib_run_create(nib_ctx *ctx, const nib_graph *g, const nib_plan *plan, size_t positions,
                          size_t state_capacity, nib_run **out, nib_error *err)
{
    nib_run *run = nib_new(ctx, sizeof *run);
    size_t state = 0;
    nib_status status;

    if (!run) return nib_fail(err, NIB_E_NOMEM, "run: out of memory");
    *run = (nib_run){ .ctx = ctx, .graph = g, .k = &g->kernels, .plan = plan, .positions = positions,
                      .state_capacity = state_capacity, .bad_node = NIB_NONE };
    status = nib_graph_check_length(g, positions, err);
    if (status) goto done;
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].op->state) state += g->nodes[i].op->state(g, &g->nodes[i], state_capacity);
    status = state_capacity ? nib_graph_check_generates(g, err) : NIB_OK;
    if (!status) status = nib_arena_create(ctx, plan->arena_bytes, &run->arena, err);
    if (!status)
        status = nib_arena_create(ctx, scratch_bytes(g, plan, state_capacity), &run->scratch, err);
    if (!status && state_capacity) status = nib_arena_create(ctx, state, &run->state, err);
    if (!status) status = make_tables(run, err);
    if (status) goto done;
    *out = run;
    run = NULL; /* handed over */
done:
    nib_run_destroy(run);
    return status;
}

void nib_run_destroy(nib_run *run)
{
    if (!run) return;
    nib_arena_destroy(run->ctx, &run->arena);
    nib_arena_destroy(run->ctx, &run->scratch);
    nib_arena_destroy(run->ctx, &run->tables);
    nib_arena_destroy(run->ctx, &run->state);
    nib_free(run->ctx, run);
}

void nib_run_reset_state(nib_run *run) { run->state_tokens = 0; }

/* --- running --- */

static void *place(const nib_run *run, int64_t offset)
{
    return offset == NIB_NOWHERE ? NULL : run->arena.base + offset;
}

static nib_io io_of(const nib_run *run, const nib_plan_step *s)
{
    nib_io io = { .out = place(run, s->out), .side = place(run, s->side), .d_out = place(run, s->d_out) };

    for (int i = 0; i < NIB_MAX_INPUTS; i++) {
        io.in[i] = place(run, s->in[i]);
        io.d_in[i] = place(run, s->d_in[i]);
        io.accumulate[i] = s->accumulate[i];
    }
    return io;
}

static void begin(nib_run *run, const nib_batch *batch)
{
    run->batch = batch;
    for (nib_axis a = 0; a < (nib_axis)run->graph->axis_count; a++)
        assert(nib_run_rows(run, a) <= run->plan->rows[a]);
    run->training = run->plan->kind != NIB_PLAN_INFERENCE;
}

static bool same_input(const nib_run *run, size_t i)
{
    const nib_plan_step *s = run->plan->steps + i;
    const nib_node *n = &run->graph->nodes[s->node], *before;

    if (i == 0 || s->backward || s[-1].backward) return false;
    before = &run->graph->nodes[s[-1].node];
    return before->op == n->op && before->inputs[0] == n->inputs[0];
}

static void run_step(nib_run *run, size_t i)
{
    const nib_plan_step *s = &run->plan->steps[i];
    const nib_node *n = &run->graph->nodes[s->node];
    nib_io io = io_of(run, s);

    io.same_input = same_input(run, i);
    (s->backward ? n->op->backward : n->op->forward)(run, n, &io);
    if (run->watch) run->watch(run->watch_user, n, s->backward);
}

void nib_run_step(nib_run *run, const nib_batch *batch)
{
    begin(run, batch);
    run->abandoned = false;
    for (size_t i = 0; i < run->plan->count && !run->abandoned; i++) {
        run_step(run, i);
        run->abandoned = run->abandon && run->abandon(run->abandon_user);
    }
}

void nib_run_forward(nib_run *run, const nib_batch *batch)
{
    begin(run, batch);
    for (size_t i = 0; i < run->plan->first_backward; i++) run_step(run, i);
    if (run->state_capacity) run->state_tokens += batch->axes[NIB_TOKENS].count;
}

void nib_run_logits(nib_run *run, size_t r0, size_t r1, float *logits)
{
    const nib_linear *head = run->graph->head;

    assert(r1 - r0 <= run->plan->logit_chunk);
    nib_linear_forward(run, head, run->graph->values[run->graph->hidden].axis, r0, r1, nib_run_hidden(run, r0), false, logits,
                       head->weight->out, NIB_F32, NULL, run->scratch.base);
    nib_finish_logits(run, (r1 - r0) * head->weight->out, logits);
}

const void *nib_run_hidden(const nib_run *run, size_t row)
{
    return nib_at(run->arena.base + run->plan->hidden, run->graph->type,
                  row * run->graph->head->weight->in);
}

void nib_run_some_logits(nib_run *run, size_t row, const uint32_t *ids, size_t count, float *logits)
{
    const nib_linear *head = run->graph->head;
    nib_product_args args = { .type = run->graph->type, .precision = run->graph->precision,
                              .rows = 1,
                              .x = { nib_run_hidden(run, row), head->weight->in, run->graph->type },
                              .y = logits, .ldy = count, .y_type = NIB_F32, .bias = head->bias };

    nib_product_dot_some(run->ctx, run->k, head->weight, &args, ids, count, run->scratch.base);
    nib_finish_logits(run, count, logits);
}

void nib_run_loss(nib_run *run)
{
    nib_io io = { .in = { run->arena.base + run->plan->hidden } };
    nib_op_loss.forward(run, NULL, &io);
}

/* --- looking for the first value that is not finite --- */

static bool all_finite(nib_dtype type, const void *x, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        float f = type == NIB_F32 ? ((const float *)x)[i]
                                  : nib_bf16_to_f32(((const uint16_t *)x)[i]);
        if (!isfinite(f)) return false;
    }
    return true;
}

const char *nib_run_find_bad(nib_run *run, const nib_batch *batch)
{
    begin(run, batch);
    for (size_t i = 0; i < run->plan->first_backward; i++) {
        const nib_plan_step *s = &run->plan->steps[i];
        const nib_node *n = &run->graph->nodes[s->node];
        const nib_value_info *out = &run->graph->values[n->output];

        run_step(run, i);
        if (!all_finite(out->dtype, run->arena.base + s->out, nib_node_rows(run, n) * out->width)) {
            run->bad_node = s->node;
            if (n->linear || n->norm || n->embedding)
                return n->linear ? n->linear->name : n->norm ? n->norm->name : n->embedding->name;
            /* counted from 0 */
            snprintf(run->bad_name, sizeof run->bad_name, "%s of layer %d", n->op->name,
                     n->segment - 1);
            return run->bad_name;
        }
    }
    return run->graph->head->name;
}
