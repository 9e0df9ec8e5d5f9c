/* plan.c - writing down the steps of a pass and finding room for their values.
 *
 * While steps are written, their places are numbers of *lives*: one life of a value is
 * the time from the step that makes it to the last that reads it.  A value that is
 * computed again has a second life, maybe elsewhere.  When all steps stand, lives get
 * offsets: the largest first, each at the lowest place that is free for its whole time. */
#include "graph/plan.h"

#include <stdlib.h>

#include "graph/distances.h"
#include "graph/operations.h"

typedef struct life {
    size_t bytes, start, end;
    size_t offset;
    int sharers; /* gradients: values that share it and have not been read by their maker yet */
} life;

typedef struct planner {
    nib_graph *g;
    nib_plan *plan;
    life *lives;
    size_t life_count, life_capacity;
    int *value_life;  /* [values] the life that holds the value now, or NIB_NOWHERE */
    int *grad_life;   /* [values] likewise its gradient's */
    int *shared_by;   /* [values] the addition whose gradient it shares */
    bool *needed;     /* [values] backward reads it, or what backward reads is made from it */
    bool *kept;       /* [values] stays from forward until backward */
    int hidden;       /* the life of the graph's hidden states after forward */
    bool out_of_memory;
} planner;

static size_t value_bytes(const planner *p, int v)
{
    const nib_value_info *info = &p->g->values[v];
    return nib_round_up(p->plan->rows[info->axis] * info->width * nib_dtype_bytes(info->dtype), 64);
}

static int new_life(planner *p, int v)
{
    if (!nib_grow(p->g->ctx, &p->lives, &p->life_capacity, p->life_count + 1, sizeof *p->lives)) {
        p->out_of_memory = true;
        return NIB_NOWHERE;
    }
    p->lives[p->life_count] =
        (life){ .bytes = value_bytes(p, v), .start = p->plan->count, .end = p->plan->count };
    return (int)p->life_count++;
}

/* The step being written uses this life. */
static int64_t use_life(planner *p, int l)
{
    if (l >= 0) p->lives[l].end = p->plan->count;
    return l;
}

static void add_step(planner *p, nib_plan_step step)
{
    if (!nib_grow(p->g->ctx, &p->plan->steps, &p->plan->capacity, p->plan->count + 1,
                  sizeof *p->plan->steps)) {
        p->out_of_memory = true;
        return;
    }
    p->plan->steps[p->plan->count++] = step;
}

static nib_plan_step empty_step(int node, bool backward)
{
    nib_plan_step s = { .node = node, .backward = backward, .out = NIB_NOWHERE, .side = NIB_NOWHERE,
                        .d_out = NIB_NOWHERE };
    for (int i = 0; i < NIB_MAX_INPUTS; i++) s.in[i] = s.d_in[i] = NIB_NOWHERE;
    return s;
}

/* Writes the forward step of a node.  Inputs that are not there are made first: the depth
 * of that is bounded by the operations of a segment, whose inputs are always kept. */
static void emit_forward(planner *p, int node)
{
    const nib_node *n = &p->g->nodes[node];
    nib_plan_step s = empty_step(node, false);

    for (int i = 0; i < n->input_count; i++) {
        int v = nib_value_base(p->g, n->inputs[i]);
        if (p->value_life[v] == NIB_NOWHERE && !p->out_of_memory)
            emit_forward(p, p->g->values[v].node);
    }
    if (p->out_of_memory) return;
    for (int i = 0; i < n->input_count; i++)
        s.in[i] = use_life(p, p->value_life[nib_value_base(p->g, n->inputs[i])]);
    p->value_life[n->output] = new_life(p, n->output);
    s.out = p->value_life[n->output];
    if (n->side != NIB_NONE) {
        if (p->value_life[n->side] == NIB_NOWHERE) p->value_life[n->side] = new_life(p, n->side);
        s.side = use_life(p, p->value_life[n->side]);
    }
    add_step(p, s);
}

static int64_t read_value(planner *p, int v)
{
    v = nib_value_base(p->g, v);
    if (p->value_life[v] == NIB_NOWHERE && !p->out_of_memory) emit_forward(p, p->g->values[v].node);
    return p->value_life[v];
}

static bool runs_backward(const planner *p, const nib_node *n)
{
    return p->g->values[n->output].needs_grad;
}

static bool keeps_side(const nib_node *n)
{
    return n->side != NIB_NONE && n->op->keeps_side && (!(n->linear || n->experts) || n->trains);
}

/* Which values backward reads, directly or to make others again; and which are kept. */
static void find_needed(planner *p)
{
    nib_graph *g = p->g;
    int last_segment = g->segments - 1;

    for (size_t i = g->node_count; i-- > 0;) {
        const nib_node *n = &g->nodes[i];
        bool again;

        if (runs_backward(p, n)) {
            for (int j = 0; j < n->input_count; j++)
                if (nib_node_keeps_input(g, n, j))
                    p->needed[nib_value_base(g, n->inputs[j])] = true;
            if (n->op->keeps_output) p->needed[n->output] = true;
            if (keeps_side(n)) p->needed[n->side] = true;
        }
        if (p->plan->kind == NIB_PLAN_CHECKPOINT && n->segment != last_segment)
            again = !p->kept[n->output]; /* set below by a user in a later segment */
        else
            again = n->op->cheap && n->segment != last_segment;
        if (!again) p->kept[n->output] |= p->needed[n->output];
        if (n->side != NIB_NONE) /* row statistics are small */
            p->kept[n->side] = p->needed[n->side] &&
                               (p->plan->kind == NIB_PLAN_KEEP || n->segment == last_segment);
        for (int j = 0; j < n->input_count; j++) {
            int v = nib_value_base(g, n->inputs[j]);
            bool remade = (p->needed[n->output] && !p->kept[n->output]) ||
                          (n->side != NIB_NONE && p->needed[n->side] && !p->kept[n->side]);
            if (remade) p->needed[v] = true;
            /* A boundary between segments: kept, for what follows may be run again from it. */
            if (g->nodes[g->values[v].node].segment != n->segment) p->needed[v] = p->kept[v] = true;
        }
    }
}

/* The gradient of value v gets a contribution from the step being written. */
static int64_t contribute(planner *p, int v, bool *accumulate)
{
    int base = nib_value_base(p->g, v);

    *accumulate = false;
    if (!p->g->values[base].needs_grad) return NIB_NOWHERE;
    if (p->grad_life[base] == NIB_NOWHERE) {
        p->grad_life[base] = new_life(p, base);
        if (p->grad_life[base] >= 0) p->lives[p->grad_life[base]].sharers = 1;
    } else if (p->g->values[v].view_of == NIB_NONE) {
        *accumulate = true; /* views of one value do not overlap: each writes its own part */
        assert(p->lives[p->grad_life[base]].sharers <= 1);
    }
    return use_life(p, p->grad_life[base]);
}

/* y = a + b: both gradients are dy.  A first contribution shares dy's place, and no step is
 * needed for it; `contribute` must then not add to it before the sharers have been read. */
static bool share_gradient(planner *p, const nib_node *n, int i)
{
    int v = n->inputs[i], l = p->grad_life[n->output];

    if (!p->g->values[v].needs_grad) return true;
    if (p->g->values[v].view_of != NIB_NONE) return false;
    if (p->grad_life[v] != NIB_NOWHERE) return false;
    p->grad_life[v] = l;
    p->shared_by[v] = (int)(n - p->g->nodes);
    p->lives[l].sharers++;
    return true;
}

/* Before a step of `reader` adds to the gradient of value v: if that place still holds the gradient
 * of another value that has not been read, or the one that the step itself reads, v's gets a place
 * of its own, by a step of the addition that made them share. */
static void unshare(planner *p, const nib_node *reader, int v)
{
    const nib_node *n;
    nib_plan_step s;
    int l = p->grad_life[v];

    if (l == NIB_NOWHERE || reader->op->passes_gradient) return;
    if (p->lives[l].sharers <= 1 && l != p->grad_life[reader->output]) return;
    n = &p->g->nodes[p->shared_by[v]];
    s = empty_step(p->shared_by[v], true);
    s.d_out = use_life(p, l);
    p->grad_life[v] = new_life(p, v);
    if (p->out_of_memory) return;
    p->lives[p->grad_life[v]].sharers = 1;
    p->lives[l].sharers--;
    for (int i = 0; i < n->input_count && s.d_in[0] == NIB_NOWHERE && s.d_in[1] == NIB_NOWHERE; i++)
        if (n->inputs[i] == v) s.d_in[i] = p->grad_life[v];
    add_step(p, s);
}

static void emit_backward(planner *p, int node)
{
    const nib_node *n = &p->g->nodes[node];
    int64_t in[NIB_MAX_INPUTS], out = NIB_NOWHERE, side = NIB_NOWHERE;
    nib_plan_step s = empty_step(node, true);
    bool shared[NIB_MAX_INPUTS] = { false };
    int to_write = 0;

    if (!runs_backward(p, n)) return;
    if (!n->op->objective && p->grad_life[n->output] == NIB_NOWHERE) return;
    if (!n->op->objective) p->lives[p->grad_life[n->output]].sharers--;
    if (n->op->passes_gradient) {
        for (int i = 0; i < n->input_count; i++) {
            shared[i] = share_gradient(p, n, i);
            to_write += !shared[i];
        }
        if (!to_write) return;
    }
    /* Values that must be made again come first: their steps stand before this one. */
    for (int i = 0; i < n->input_count; i++)
        in[i] = nib_node_keeps_input(p->g, n, i) ? read_value(p, n->inputs[i]) : NIB_NOWHERE;
    if (n->op->keeps_output) out = read_value(p, n->output);
    if (keeps_side(n)) {
        if (p->value_life[n->side] == NIB_NOWHERE) emit_forward(p, node);
        side = p->value_life[n->side];
    }
    for (int i = 0; i < n->input_count && !p->out_of_memory; i++)
        if (!shared[i]) unshare(p, n, n->inputs[i]);
    if (p->out_of_memory) return;
    for (int i = 0; i < n->input_count; i++) s.in[i] = use_life(p, (int)in[i]);
    s.out = use_life(p, (int)out);
    s.side = use_life(p, (int)side);
    if (!n->op->objective) s.d_out = use_life(p, p->grad_life[n->output]);
    for (int i = 0; i < n->input_count; i++)
        if (!shared[i]) s.d_in[i] = contribute(p, n->inputs[i], &s.accumulate[i]);
    add_step(p, s);
}

typedef struct by_size { size_t bytes; int index; } by_size;

static int larger_first(const void *a, const void *b)
{
    const by_size *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int lower_first(const void *a, const void *b)
{
    const life *x = *(life *const *)a, *y = *(life *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static bool place_lives(planner *p)
{
    nib_ctx *ctx = p->g->ctx;
    by_size *order = nib_new_array(ctx, p->life_count, sizeof *order);
    /* placed, alive at the same time */
    life **near = nib_new_array(ctx, p->life_count, sizeof(life *));
    bool good = order && near;

    for (size_t i = 0; good && i < p->life_count; i++)
        order[i] = (by_size){ p->lives[i].bytes, (int)i };
    if (good) qsort(order, p->life_count, sizeof *order, larger_first);
    for (size_t i = 0; good && i < p->life_count; i++) {
        life *l = &p->lives[order[i].index];
        size_t count = 0, offset = 0;

        for (size_t j = 0; j < i; j++) {
            life *other = &p->lives[order[j].index];
            if (other->start <= l->end && l->start <= other->end) near[count++] = other;
        }
        qsort(near, count, sizeof *near, lower_first);
        for (size_t j = 0; j < count; j++) {
            if (offset + l->bytes <= near[j]->offset) break;
            offset = nib_max(offset, near[j]->offset + near[j]->bytes);
        }
        l->offset = offset;
        p->plan->arena_bytes = nib_max(p->plan->arena_bytes, offset + l->bytes);
    }
    nib_free(ctx, order);
    nib_free(ctx, near);
    return good;
}

/* From a life to bytes into the arena, at the piece that a view names. */
static int64_t place_of(const planner *p, int64_t l, int value)
{
    const nib_value_info *info = &p->g->values[value];

    if (l < 0) return NIB_NOWHERE;
    return (int64_t)(p->lives[l].offset +
                     (info->view_of >= 0 ? info->offset * nib_dtype_bytes(info->dtype) : 0));
}

static void resolve(planner *p)
{
    for (size_t i = 0; i < p->plan->count; i++) {
        nib_plan_step *s = &p->plan->steps[i];
        const nib_node *n = &p->g->nodes[s->node];
        for (int j = 0; j < n->input_count; j++) {
            s->in[j] = place_of(p, s->in[j], n->inputs[j]);
            s->d_in[j] = place_of(p, s->d_in[j], n->inputs[j]);
        }
        s->out = place_of(p, s->out, n->output);
        s->d_out = place_of(p, s->d_out, n->output);
        if (n->side != NIB_NONE) s->side = place_of(p, s->side, n->side);
    }
}

static void write_steps(planner *p)
{
    nib_graph *g = p->g;
    bool training = p->plan->kind != NIB_PLAN_INFERENCE;

    if (training) find_needed(p);
    for (size_t i = 0; i < g->node_count; i++)
        if (!g->nodes[i].op->objective) emit_forward(p, (int)i);
    p->plan->first_backward = p->plan->count;
    p->hidden = p->value_life[g->hidden];
    if (!training) {
        if (p->hidden >= 0) p->lives[p->hidden].end = p->plan->count + 1;
        return;
    }
    for (size_t v = 0; v < g->value_count; v++)
        if (!p->kept[v]) p->value_life[v] = NIB_NOWHERE;
    for (size_t i = g->node_count; i-- > 0 && !p->out_of_memory;) emit_backward(p, (int)i);
}

nib_status nib_plan_create(nib_graph *g, nib_plan_kind kind, size_t tokens, size_t logit_rows,
                           nib_plan **out, nib_error *err)
{
    size_t rows[NIB_MAX_AXES];

    for (size_t a = 0; a < NIB_MAX_AXES; a++) rows[a] = tokens;
    rows[NIB_LOGIT_ROWS] = logit_rows;
    return nib_plan_create_rows(g, kind, rows, out, err);
}

void nib_plan_count_others(const nib_graph *g, size_t rows[NIB_MAX_AXES])
{
    for (size_t a = 0; a < g->axis_count; a++)
        if (g->axes[a].kind == NIB_AXIS_SPAN)
            rows[a] = 2 * nib_span_reach(&g->axes[a].span, rows[NIB_TOKENS]);
        else if (g->axes[a].kind == NIB_AXIS_ROUTED)
            rows[a] = g->axes[a].times * rows[g->axes[a].parent];
}

nib_status nib_plan_create_rows(nib_graph *g, nib_plan_kind kind, const size_t rows[NIB_MAX_AXES],
                                nib_plan **out, nib_error *err)
{
    nib_ctx *ctx = g->ctx;
    planner p = { .g = g };
    nib_status status = NIB_OK;

    nib_graph_mark(g);
    p.plan = nib_new(ctx, sizeof *p.plan);
    p.value_life = nib_new_array(ctx, g->value_count, sizeof *p.value_life);
    p.grad_life = nib_new_array(ctx, g->value_count, sizeof *p.grad_life);
    p.shared_by = nib_new_array(ctx, g->value_count, sizeof *p.shared_by);
    p.needed = nib_new_array(ctx, g->value_count, sizeof *p.needed);
    p.kept = nib_new_array(ctx, g->value_count, sizeof *p.kept);
    if (!p.plan || !p.value_life || !p.grad_life || !p.shared_by || !p.needed || !p.kept)
        goto no_memory;
    *p.plan = (nib_plan){ .kind = kind };
    memcpy(p.plan->rows, rows, sizeof p.plan->rows);
    nib_plan_count_others(g, p.plan->rows);
    for (size_t v = 0; v < g->value_count; v++) p.value_life[v] = p.grad_life[v] = NIB_NOWHERE;
    if (g->head)
        p.plan->logit_chunk = nib_logit_chunk(g->head->weight->out,
                                              rows[g->values[g->hidden].axis]);
    write_steps(&p);
    if (p.out_of_memory || !place_lives(&p)) goto no_memory;
    p.plan->hidden = kind == NIB_PLAN_INFERENCE || !g->head
                         ? place_of(&p, p.hidden, g->hidden) : NIB_NOWHERE;
    resolve(&p);
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].op->scratch)
            p.plan->scratch_bytes = nib_max(p.plan->scratch_bytes,
                                            g->nodes[i].op->scratch(g, &g->nodes[i], p.plan->rows));
    *out = p.plan;
    p.plan = NULL; /* handed over */
    goto done;
no_memory:
    status = nib_fail(err, NIB_E_NOMEM, "plan: out of memory");
done:
    nib_plan_destroy(ctx, p.plan);
    nib_free(ctx, p.lives);
    nib_free(ctx, p.value_life);
    nib_free(ctx, p.grad_life);
    nib_free(ctx, p.shared_by);
    nib_free(ctx, p.needed);
    nib_free(ctx, p.kept);
    return status;
}

void nib_plan_destroy(nib_ctx *ctx, nib_plan *plan)
{
    if (!plan) return;
    nib_free(ctx, plan->steps);
    nib_free(ctx, plan);
}
