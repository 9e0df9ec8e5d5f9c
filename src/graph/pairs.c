/* pairs.c - see pairs.h. */
#include "graph/pairs.h"

#include "graph/operations.h"

static bool is_linear(const nib_node *n)
{
    return n->op->id == NIB_OP_LINEAR || n->op->id == NIB_OP_EXPERTS;
}

static const nib_node *maker_of(const nib_graph *g, int value)
{
    int node = g->values[nib_value_base(g, value)].node;

    return node == NIB_NONE ? NULL : &g->nodes[node];
}

/* Rows go through it as they are. */
static bool moves_rows(const nib_node *n)
{
    return n->op->id == NIB_OP_DISPATCH || n->op->id == NIB_OP_GATHER;
}

int nib_scale_value(const nib_graph *g, const nib_node *n)
{
    int value = n->inputs[0];

    for (const nib_node *from = maker_of(g, value); from && moves_rows(from);
         from = maker_of(g, value))
        value = from->inputs[0];
    return value;
}

/* --- who reads --- */

static bool reads_only_at_0(const nib_node *n, int value)
{
    for (int i = 1; i < n->input_count; i++)
        if (n->inputs[i] == value) return false;
    return n->inputs[0] == value;
}

/* Are all readers of the value in segment `segment` and linears, experts' too? */
static bool linears_read(const nib_graph *g, int value, int segment)
{
    if (value == g->hidden || g->values[value].viewed) return false;
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        bool reads = false;
        for (int k = 0; k < n->input_count; k++) reads |= n->inputs[k] == value;
        if (!reads) continue;
        if (n->segment != segment || !reads_only_at_0(n, value)) return false;
        if (is_linear(n)) continue;
        if (!moves_rows(n) || !linears_read(g, n->output, segment)) return false;
    }
    return true;
}

/* --- who makes --- */

static bool norm_has_place(const nib_graph *g, const nib_node *n, size_t width)
{
    bool shared = false;

    for (size_t i = 0; i < g->node_count; i++)
        shared |= &g->nodes[i] != n && g->nodes[i].norm == n->norm;
    return !shared && !n->norm->rows && n->norm->width == width && n->norm->weight &&
           n->norm->weights != NIB_NORM_BARE;
}

/* The linear that makes `value`, of which nothing else is made. */
static bool rows_have_place(const nib_graph *g, int value, size_t heads, size_t head_dim,
                            nib_scale_pair *p)
{
    const nib_value_info *v = &g->values[value];
    const nib_node *n = maker_of(g, value);

    if (!n || !is_linear(n) || v->readers != 1 || value == g->hidden ||
        (v->view_of == NIB_NONE && v->viewed))
        return false;
    p->before = n;
    p->heads = heads;
    p->head_dim = head_dim;
    p->layout = nib_plain_heads(heads, head_dim);
    if (v->view_of == NIB_NONE) return true;
    p->offset = v->offset;
    if (v->heads == heads) p->layout = v->layout;
    else if (v->heads != 1) return false;
    return true;
}

static bool attention_has_place(const nib_graph *g, const nib_node *n, nib_scale_pair *p)
{
    const nib_attention_desc *d = &n->attention;
    size_t v_dim = d->v_dim ? d->v_dim : d->head_dim;

    return d->heads == d->kv_heads && d->heads * v_dim == p->width &&
           rows_have_place(g, n->inputs[2], d->heads, v_dim, p);
}

static bool gate_has_place(const nib_graph *g, const nib_node *n, nib_scale_pair *p)
{
    const nib_value_info *up = &g->values[n->inputs[1]];
    bool views = up->view_of != NIB_NONE;

    return n->inputs[0] != n->inputs[1] &&
           rows_have_place(g, n->inputs[1], views ? up->heads : 1,
                           views ? up->head_dim : p->width, p);
}

static bool activation_has_place(const nib_graph *g, const nib_node *n, nib_scale_pair *p)
{
    return (n->activation == NIB_ACT_RELU || n->activation == NIB_ACT_NONE) &&
           rows_have_place(g, n->inputs[0], 1, p->width, p);
}

/* Experts are scaled one by one: both sides must be theirs, and one router's. */
static bool experts_agree(const nib_graph *g, const nib_scale_pair *p)
{
    bool experts = p->before->op->id == NIB_OP_EXPERTS;

    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (!is_linear(n) || nib_scale_value(g, n) != p->value) continue;
        if ((n->op->id == NIB_OP_EXPERTS) != experts ||
            (experts && (n->inputs[0] != p->value || n->inputs[1] != p->before->inputs[1])))
            return false;
    }
    return true;
}

bool nib_scale_pair_find(const nib_graph *g, int value, nib_scale_pair *out)
{
    const nib_node *n = maker_of(g, value);
    bool found = false;

    *out = (nib_scale_pair){ .value = value, .width = g->values[value].width };
    if (!n || g->values[value].view_of != NIB_NONE || !linears_read(g, value, n->segment))
        return false;
    switch (n->op->id) {
    case NIB_OP_RMS_NORM: case NIB_OP_LAYER_NORM:
        out->norm = n;
        return norm_has_place(g, n, out->width);
    case NIB_OP_ATTENTION: found = attention_has_place(g, n, out); break;
    case NIB_OP_GATE: found = gate_has_place(g, n, out); break;
    case NIB_OP_ACTIVATE: found = activation_has_place(g, n, out); break;
    default: break;
    }
    return found && out->before->segment == n->segment && experts_agree(g, out);
}

/* --- queries and keys --- */

static bool becomes_scores(const nib_graph *g, int value, int depth)
{
    bool scores = false;

    for (size_t i = 0; i < g->node_count && !scores && depth; i++) {
        const nib_node *n = &g->nodes[i];
        for (int k = 0; k < n->input_count && !scores; k++) {
            if (nib_value_base(g, n->inputs[k]) != value) continue;
            if (n->op->id == NIB_OP_ATTENTION) scores = k < 2;
            else if (n->op->id == NIB_OP_ROTATE || n->op->id == NIB_OP_RMS_NORM ||
                     n->op->id == NIB_OP_LAYER_NORM || n->op->id == NIB_OP_SCALE)
                scores = k == 0 && becomes_scores(g, n->output, depth - 1);
        }
    }
    return scores;
}

bool nib_makes_scores(const nib_graph *g, const nib_node *n)
{
    return becomes_scores(g, n->output, 4); /* a norm, a scale and a rotation between */
}
