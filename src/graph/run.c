/* run.c - walking through the steps of a plan. */
#include "graph/run.h"

#include <math.h>
#include <stdio.h>

#include "graph/backend.h"
#include "graph/state.h"

/* --- making and ending --- */

/* Attention over a state sees more tokens than a batch has; what a thread needs for a sequence is
 * for fewer. */
static size_t scratch_bytes(const nib_graph *g, const nib_plan *plan, size_t positions)
{
    size_t bytes = plan->scratch_bytes, more[NIB_MAX_AXES], one[NIB_MAX_AXES];

    memcpy(one, plan->rows, sizeof one);
    one[NIB_TOKENS] = nib_min(one[NIB_TOKENS], positions);
    nib_plan_count_others(g, one);
    for (size_t a = 0; a < NIB_MAX_AXES; a++) more[a] = nib_max(plan->rows[a], positions);
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        bool sees_state = n->op->state && !n->op->folds;
        size_t own;
        if (!sees_state && !n->op->longest_scratch) continue; /* the plan counts it */
        own = n->op->scratch ? n->op->scratch(g, n, sees_state ? more : plan->rows) : 0;
        if (n->op->longest_scratch) own += n->op->longest_scratch(g, n, one);
        bytes = nib_max(bytes, own);
    }
    return bytes;
}

size_t nib_run_bytes(const nib_graph *g, const nib_plan *plan, size_t positions)
{
    return scratch_bytes(g, plan, positions) + nib_tables_bytes(g, positions);
}

static nib_status check_length(const nib_graph *g, size_t positions, nib_error *err)
{
    if (!g->position_limit || positions <= g->position_limit) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "a sequence of %zu tokens, but the model has positions for %zu: set "
                    "max_seq_length to at most %zu",
                    positions, g->position_limit, g->position_limit);
}

nib_status nib_run_create(nib_ctx *ctx, const nib_graph *g, const nib_plan *plan, size_t positions,
                          nib_run **out, nib_error *err)
{
    nib_run *run = nib_new(ctx, sizeof *run);
    nib_status status;

    if (!run) return nib_fail(err, NIB_E_NOMEM, "run: out of memory");
    *run = (nib_run){ .ctx = ctx, .graph = g, .k = &g->kernels, .plan = plan,
                      .backend = &nib_backend_cpu, .positions = positions, .bad_node = NIB_NONE };
    status = check_length(g, positions, err);
    if (status) goto done;
    status = nib_arena_create(ctx, plan->arena_bytes, &run->arena, err);
    if (!status)
        status = nib_arena_create(ctx, scratch_bytes(g, plan, positions), &run->scratch, err);
    if (!status) status = nib_tables_create(ctx, g, positions, &run->tables, err);
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
    nib_tables_destroy(run->ctx, &run->tables);
    nib_free(run->ctx, run);
}

/* --- running --- */

static void *place(const nib_run *run, int64_t offset)
{
    return offset == NIB_NOWHERE ? NULL : run->arena.base + offset;
}

static nib_io io_of(const nib_run *run, const nib_plan_step *s)
{
    nib_io io = { .out = place(run, s->out), .side = place(run, s->side),
                  .d_out = place(run, s->d_out) };

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
    run->loss_sum = run->loss_weight = 0;
    for (nib_axis a = 0; a < (nib_axis)run->graph->axis_count; a++)
        assert(nib_run_rows(run, a) <= run->plan->rows[a]);
    for (size_t s = 0; s < batch->sequences; s++)
        assert(batch->axes[NIB_TOKENS].offsets[s + 1] - batch->axes[NIB_TOKENS].offsets[s] <=
               nib_run_longest(run));
    run->training = run->plan->kind != NIB_PLAN_INFERENCE;
}

/* Was the step before i, after `first`, one of the same operation on the same input? */
static bool same_input(const nib_run *run, size_t first, size_t i)
{
    const nib_plan_step *s = run->plan->steps + i;
    const nib_node *n = &run->graph->nodes[s->node], *before;

    if (i == first || s->backward || s[-1].backward) return false;
    before = &run->graph->nodes[s[-1].node];
    return before->op == n->op && before->inputs[0] == n->inputs[0];
}

/* Step i of those that are run one after the other from `first` on. */
static void run_step(nib_run *run, size_t first, size_t i)
{
    const nib_plan_step *s = &run->plan->steps[i];
    const nib_node *n = &run->graph->nodes[s->node];
    const nib_op_functions *f = run->backend->operations[n->op->id];
    nib_io io = io_of(run, s);

    io.same_input = same_input(run, first, i);
    (s->backward ? f->backward : f->forward)(run, n, &io);
    if (run->tap) run->tap(run->tap_user, n, &io, s->backward);
}

void nib_run_step(nib_run *run, const nib_batch *batch)
{
    begin(run, batch);
    run->abandoned = false;
    for (size_t i = 0; i < run->plan->count && !run->abandoned; i++) {
        run_step(run, 0, i);
        run->abandoned = run->abandon && run->abandon(run->abandon_user);
    }
}

/* The states hold the batch's tokens too. */
static void keep_tokens(const nib_batch *batch)
{
    const uint32_t *offsets = batch->axes[NIB_TOKENS].offsets;

    for (size_t s = 0; s < batch->sequences; s++)
        if (nib_batch_state(batch, s))
            nib_batch_state(batch, s)->tokens += offsets[s + 1] - offsets[s];
}

void nib_run_forward(nib_run *run, const nib_batch *batch)
{
    begin(run, batch);
    for (size_t i = 0; i < run->plan->first_backward; i++) run_step(run, 0, i);
    keep_tokens(batch);
}

void nib_run_backward(nib_run *run)
{
    assert(run->training);
    run->abandoned = false;
    for (size_t i = run->plan->first_backward; i < run->plan->count && !run->abandoned; i++) {
        run_step(run, run->plan->first_backward, i);
        run->abandoned = run->abandon && run->abandon(run->abandon_user);
    }
}

/* --- some of the segments --- */

/* The bytes of value `v` in a batch, or 0 when it does not cross the boundary before `segment`. */
static size_t crossing_bytes(const nib_graph *g, const nib_batch *batch, int v, int segment)
{
    const nib_value_info *info = &g->values[v];

    if (info->node == NIB_NONE || g->nodes[info->node].segment >= segment ||
        info->last_read < segment)
        return 0;
    return nib_batch_rows(g, batch, info->axis) * info->width * nib_dtype_bytes(info->dtype);
}

size_t nib_boundary_bytes(const nib_graph *g, const nib_batch *batch, int segment)
{
    size_t bytes = 0;

    for (size_t i = 0; i < g->node_count; i++)
        bytes += crossing_bytes(g, batch, g->nodes[i].output, segment);
    return bytes;
}

/* Copies what crosses a boundary from `in` to its places in the arena, or from there to `out`. */
static void cross(nib_run *run, int segment, const char *in, char *out)
{
    for (size_t i = 0; i < run->plan->first_backward; i++) {
        const nib_plan_step *s = &run->plan->steps[i];
        int v = run->graph->nodes[s->node].output;
        size_t bytes = crossing_bytes(run->graph, run->batch, v, segment);

        if (bytes == 0) continue;
        assert(in || out);
        if (in) memcpy(place(run, s->out), in, bytes), in += bytes;
        else memcpy(out, place(run, s->out), bytes), out += bytes;
    }
}

/* The first step of the segments from `first` on, before which its values have come in. */
static size_t begin_range(nib_run *run, const nib_batch *batch, int first, const void *in)
{
    const nib_graph *g = run->graph;
    size_t from = 0;

    assert(run->plan->kind == NIB_PLAN_INFERENCE);
    assert(0 <= first && first < g->segments);
    begin(run, batch);
    while (from < run->plan->count && g->nodes[run->plan->steps[from].node].segment < first) from++;
    cross(run, first, in, NULL);
    return from;
}

void nib_run_range(nib_run *run, const nib_batch *batch, int first, int last, const void *in,
                   void *out)
{
    const nib_graph *g = run->graph;
    size_t from = begin_range(run, batch, first, in);

    assert(first < last && last <= g->segments);
    for (size_t end = from; end < run->plan->count; end++) {
        if (g->nodes[run->plan->steps[end].node].segment >= last) break;
        run_step(run, from, end);
    }
    if (last == g->segments) keep_tokens(batch);
    else if (out) cross(run, last, NULL, out);
}

void nib_run_until(nib_run *run, const nib_batch *batch, int first, const nib_node *node,
                   const void *in)
{
    const nib_graph *g = run->graph;
    size_t from = begin_range(run, batch, first, in), end = from;
    nib_io io;

    for (; &g->nodes[run->plan->steps[end].node] != node; end++) run_step(run, from, end);
    io = io_of(run, &run->plan->steps[end]);
    if (run->tap) run->tap(run->tap_user, node, &io, false);
}

/* --- looking for the first value that is not finite --- */

static bool all_finite(nib_dtype type, const void *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(nib_get(type, x, i))) return false;
    return true;
}

const char *nib_run_find_bad(nib_run *run, const nib_batch *batch)
{
    begin(run, batch);
    for (size_t i = 0; i < run->plan->first_backward; i++) {
        const nib_plan_step *s = &run->plan->steps[i];
        const nib_node *n = &run->graph->nodes[s->node];
        const nib_value_info *out = &run->graph->values[n->output];

        run_step(run, 0, i);
        if (out->dtype != NIB_U32 && !all_finite(out->dtype, run->arena.base + s->out,
                        nib_run_rows(run, out->axis) * out->width)) {
            run->bad_node = s->node;
            if (n->experts) return n->experts[0]->name;
            if (n->linear || n->norm || n->embedding)
                return n->linear ? n->linear->name : n->norm ? n->norm->name : n->embedding->name;
            /* counted from 0 */
            snprintf(run->bad_name, sizeof run->bad_name, "%s of layer %d", n->op->name,
                     n->segment - 1);
            return run->bad_name;
        }
    }
    return run->graph->head ? run->graph->head->name : "the last layer";
}
