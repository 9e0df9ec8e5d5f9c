/* sink.c - moves the picking of logit rows down through operations that work row by row. */
#include "graph/sink.h"

#include "graph/operations.h"

typedef struct sinker {
    nib_graph *g;
    bool *sinks;      /* [nodes] works on logit rows afterwards */
    bool *barred;     /* [nodes] must not, though its readers would allow it */
    bool *held;       /* [values] somebody needs all of its rows */
    int *picked;      /* [values] the value that holds its picked rows, or NIB_NONE */
    nib_node *nodes;  /* the new list */
    size_t count, capacity;
} sinker;

static bool picks_logit_rows(const nib_graph *g, const nib_node *n)
{
    return n->op == &nib_op_gather && g->values[n->output].axis == NIB_LOGIT_ROWS;
}

/* Rows of tokens, or rows that were made of such. */
static bool of_tokens(const nib_graph *g, nib_axis axis)
{
    const nib_axis_info *info = &g->axes[axis];
    return axis == NIB_TOKENS || (info->kind == NIB_AXIS_ROUTED && info->parent == NIB_TOKENS);
}

/* Can rows be picked of a value? Not of a view; not of routed rows, or of what says where they lie:
 * that changes with the rows that there are. */
static bool can_pick(const nib_graph *g, int v)
{
    const nib_value_info *info = &g->values[v];

    if (info->view_of != NIB_NONE) return false;
    return g->axes[info->axis].kind != NIB_AXIS_ROUTED && !g->nodes[info->node].op->constant;
}

/* Which nodes may work on logit rows, by what reads them; readers stand behind their inputs. */
static void find_sinking(sinker *s)
{
    nib_graph *g = s->g;

    memset(s->held, 0, g->value_count * sizeof *s->held);
    for (size_t i = g->node_count; i-- > 0;) {
        const nib_node *n = &g->nodes[i];

        s->sinks[i] = n->op->row_wise && of_tokens(g, g->values[n->output].axis) &&
                      !s->held[n->output] && !s->barred[i];
        if (s->sinks[i] || picks_logit_rows(g, n)) continue;
        for (int j = 0; j < n->input_count; j++) s->held[nib_value_base(g, n->inputs[j])] = true;
    }
}

/* Who reads what cannot be picked sinks only together with who makes it. */
static bool bar_readers(sinker *s)
{
    nib_graph *g = s->g;
    bool changed = false;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        for (int j = 0; s->sinks[i] && j < n->input_count; j++) {
            int v = n->inputs[j];
            if (!can_pick(g, v) && !s->sinks[g->values[nib_value_base(g, v)].node])
                changed = s->barred[i] = true;
        }
        s->sinks[i] &= !s->barred[i];
    }
    return changed;
}

static bool append(sinker *s, nib_node n)
{
    nib_graph *g = s->g;

    if (!nib_grow(g->ctx, &s->nodes, &s->capacity, s->count + 1, sizeof *s->nodes)) return false;
    g->values[n.output].node = (int)s->count;
    if (n.side != NIB_NONE) g->values[n.side].node = (int)s->count;
    s->nodes[s->count++] = n;
    return true;
}

/* Where the picked rows of a value are: in itself, or in a new value that is picked from it. */
static int picked_rows(sinker *s, int v, int segment)
{
    nib_graph *g = s->g;
    nib_value_info info = g->values[v];

    if (info.axis == NIB_LOGIT_ROWS || g->axes[info.axis].kind == NIB_AXIS_ROUTED) return v;
    if (s->picked[v] != NIB_NONE) return s->picked[v];
    info.axis = NIB_LOGIT_ROWS;
    info.layout = nib_plain_heads(1, info.width);
    if (!nib_grow(g->ctx, &g->values, &g->value_capacity, g->value_count + 1, sizeof *g->values))
        return NIB_NONE;
    s->picked[v] = (int)g->value_count++;
    g->values[s->picked[v]] = info;
    return append(s, (nib_node){ .op = &nib_op_gather, .inputs = { v }, .input_count = 1,
                                 .output = s->picked[v], .side = NIB_NONE, .segment = segment })
               ? s->picked[v] : NIB_NONE;
}

/* Logit rows, or rows that are made of these as those of `axis` are of tokens. */
static nib_axis picked_axis(const nib_graph *g, nib_axis axis)
{
    for (size_t a = 0; axis != NIB_TOKENS && a < g->axis_count; a++)
        if (g->axes[a].kind == NIB_AXIS_ROUTED && g->axes[a].parent == NIB_LOGIT_ROWS &&
            g->axes[a].times == g->axes[axis].times)
            return (nib_axis)a;
    return NIB_LOGIT_ROWS;
}

static void move_to_logit_rows(nib_graph *g, const nib_node *n)
{
    nib_axis axis = picked_axis(g, g->values[n->output].axis);

    g->values[n->output].axis = axis;
    if (n->side != NIB_NONE) g->values[n->side].axis = axis;
    for (size_t v = 0; v < g->value_count; v++)
        if (g->values[v].view_of == n->output) g->values[v].axis = axis;
}

/* A picking that the sinking has made needless: its readers read its input. */
static bool drop_gather(sinker *s, size_t first, int from, int to)
{
    nib_graph *g = s->g;

    if (to == NIB_NONE) return false;
    g->values[from].node = NIB_NONE;
    if (g->hidden == from) g->hidden = to;
    for (size_t i = first; i < g->node_count; i++)
        for (int j = 0; j < g->nodes[i].input_count; j++)
            if (g->nodes[i].inputs[j] == from) g->nodes[i].inputs[j] = to;
    return true;
}

static bool rewrite(sinker *s)
{
    nib_graph *g = s->g;
    size_t values = g->value_count;

    for (size_t v = 0; v < values; v++) s->picked[v] = NIB_NONE;
    for (size_t i = 0; i < g->node_count; i++) {
        nib_node n = g->nodes[i];

        if (picks_logit_rows(g, &n)) {
            if (!drop_gather(s, i + 1, n.output, picked_rows(s, n.inputs[0], n.segment)))
                return false;
            continue;
        }
        for (int j = 0; s->sinks[i] && j < n.input_count; j++) {
            n.inputs[j] = picked_rows(s, n.inputs[j], n.segment);
            if (n.inputs[j] == NIB_NONE) return false;
        }
        if (s->sinks[i]) move_to_logit_rows(g, &n);
        if (!append(s, n)) return false;
    }
    return true;
}

nib_status nib_sink_logit_rows(nib_graph *g, nib_error *err)
{
    nib_ctx *ctx = g->ctx;
    sinker s = { .g = g, .sinks = nib_new_array(ctx, g->node_count, sizeof *s.sinks),
                 .barred = nib_new_array(ctx, g->node_count, sizeof *s.barred),
                 .held = nib_new_array(ctx, g->value_count, sizeof *s.held),
                 .picked = nib_new_array(ctx, g->value_count, sizeof *s.picked) };
    nib_status status = NIB_OK;

    if (!s.sinks || !s.barred || !s.held || !s.picked) goto no_memory;
    do find_sinking(&s);
    while (bar_readers(&s));
    if (!rewrite(&s)) goto no_memory;
    nib_free(ctx, g->nodes);
    g->nodes = s.nodes;
    g->node_count = s.count;
    g->node_capacity = s.capacity;
    s.nodes = NULL; /* handed over */
    goto done;
no_memory:
    status = nib_fail(err, NIB_E_NOMEM, "graph: out of memory");
done:
    nib_free(ctx, s.nodes);
    nib_free(ctx, s.sinks);
    nib_free(ctx, s.barred);
    nib_free(ctx, s.held);
    nib_free(ctx, s.picked);
    return status;
}
