/* build_attention.c - adding attention, and what says where tokens stand. */
#include "graph/build_node.h"
#include "graph/operations.h"

static const nib_value nothing = { NIB_NONE };

nib_value nib_rotate(nib_build *b, nib_value x, size_t heads, size_t head_dim, const nib_rope *rope)
{
    nib_value y;

    if (!nib_build_has_heads(b, x, heads, head_dim, "rotation")) return nothing;
    if (nib_info_of(b, x)->axis != NIB_TOKENS) {
        nib_build_fail(b, NIB_E_UNSUPPORTED, "rotation of %s, expected tokens",
                       nib_build_axis(b, x));
        return nothing;
    }
    if (rope->rot > head_dim || rope->rot % 2) {
        nib_build_fail(b, NIB_E_FORMAT, "rotation of %zu channels in heads of %zu", rope->rot,
                       head_dim);
        return nothing;
    }
    nib_build_limit(b, rope->limit);
    if (rope->long_inv && !b->status) b->graph->length_switch = rope->long_from;
    if (rope->grows_from && !b->status) b->graph->length_grows = rope->grows_from;
    y = nib_build_node(b, (nib_node){ .op = &nib_op_rotate, .rope = rope, .inputs = { x.id },
                                      .input_count = 1 },
                       nib_info_of(b, x)->axis, heads * head_dim, 0);
    if (!b->status) {
        b->graph->values[y.id].layout = nib_plain_heads(heads, head_dim);
        b->graph->values[y.id].heads = heads;
        b->graph->values[y.id].head_dim = head_dim;
    }
    return y;
}

nib_value nib_join_heads(nib_build *b, nib_value x, nib_value y, size_t heads, bool shared)
{
    size_t first, second;
    nib_value out;

    if (b->status) return nothing;
    first = nib_info_of(b, x)->width / heads;
    second = nib_info_of(b, y)->width / (shared ? 1 : heads);
    if (!nib_build_has_heads(b, x, heads, first, "join of heads") ||
        !nib_build_has_heads(b, y, shared ? 1 : heads, second, "join of heads"))
        return nothing;
    if (nib_info_of(b, x)->axis != nib_info_of(b, y)->axis) {
        nib_build_fail(b, NIB_E_MISMATCH, "join of heads of %s and of %s", nib_build_axis(b, x),
                       nib_build_axis(b, y));
        return nothing;
    }
    out = nib_build_node(b, (nib_node){ .op = &nib_op_join, .inputs = { x.id, y.id },
                                        .input_count = 2 },
                         nib_info_of(b, x)->axis, heads * (first + second), 0);
    if (b->status) return nothing;
    b->graph->values[out.id].layout = nib_plain_heads(heads, first + second);
    b->graph->values[out.id].heads = heads;
    b->graph->values[out.id].head_dim = first + second;
    return out;
}

nib_value nib_add_sinusoid(nib_build *b, nib_value x, size_t offset, const float *frequencies)
{
    if (!nib_build_is_plain(b, x, "sinusoidal positions")) return nothing;
    if (nib_info_of(b, x)->axis != NIB_TOKENS) {
        nib_build_fail(b, NIB_E_UNSUPPORTED, "sinusoidal positions of %s, expected tokens",
                       nib_build_axis(b, x));
        return nothing;
    }
    return nib_build_node(b, (nib_node){ .op = &nib_op_sinusoid, .frequencies = frequencies,
                                         .row_offset = (uint32_t)offset, .inputs = { x.id },
                                         .input_count = 1 },
                          NIB_TOKENS, nib_info_of(b, x)->width, 0);
}

nib_value nib_mask_words(nib_build *b, nib_value x, uint32_t word, float kept)
{
    if (!nib_build_is_plain(b, x, "masked words")) return nothing;
    if (nib_info_of(b, x)->axis != NIB_TOKENS) {
        nib_build_fail(b, NIB_E_UNSUPPORTED, "masked words of %s, expected tokens",
                       nib_build_axis(b, x));
        return nothing;
    }
    return nib_build_node(b, (nib_node){ .op = &nib_op_mask_words, .row_offset = word,
                                         .scale = kept, .inputs = { x.id }, .input_count = 1 },
                          NIB_TOKENS, nib_info_of(b, x)->width, 0);
}

static void check_distances(nib_build *b, const nib_attention_desc *d, bool own_axis)
{
    bool one_head = d->by_distance || d->turned;

    if (d->buckets && (!own_axis || !d->full || d->cap > 0 || d->alibi_slopes ||
                       d->bucket_count < 4 || d->bucket_count % 4 ||
                       d->bucket_reach <= d->bucket_count / 4 ||
                       d->buckets->width < d->bucket_count * d->heads))
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "attention: %zu buckets up to a distance of %zu, expected one that sees all "
                       "of its own axis, without a cap", d->bucket_count, d->bucket_reach);
    if (one_head && (!own_axis || !d->full || d->cap > 0 || d->alibi_slopes || d->heads != 1 ||
                     (d->turned && d->turned->width % 2)))
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "attention: numbers by distance for %zu heads, expected one that sees all "
                       "of its own axis, without a cap", d->heads);
    if (d->by_distance && d->by_distance->width <= d->distance_zero)
        nib_build_fail(b, NIB_E_MISMATCH, "%s: [%zu], the number of distance 0 would be %zu",
                       d->by_distance->name, d->by_distance->width, d->distance_zero);
    else if (d->by_distance)
        nib_build_limit(b, nib_min(d->distance_zero + 1,
                                   d->by_distance->width - d->distance_zero));
}

nib_value nib_weigh_keys(nib_build *b, nib_value q, nib_value k, nib_value v,
                         const nib_attention_desc *d)
{
    nib_attention_desc own = *d;

    if (!nib_build_is_plain(b, q, "attention: q") || !nib_build_is_plain(b, k, "attention: k") ||
        !nib_build_is_plain(b, v, "attention: v"))
        return nothing;
    if (d->heads != 1 || nib_info_of(b, q)->axis != NIB_TOKENS ||
        nib_info_of(b, k)->axis != NIB_TOKENS || nib_info_of(b, v)->axis != NIB_TOKENS ||
        nib_info_of(b, q)->width != d->head_dim || nib_info_of(b, k)->width != d->head_dim ||
        nib_info_of(b, v)->width != d->v_dim || !d->full)
        nib_build_fail(b, NIB_E_MISMATCH, "attention without softmax of %zu heads, expected one of "
                       "tokens that sees all", d->heads);
    check_distances(b, d, true);
    own.drop = nib_build_drop(b, d->drop.p);
    if (b->status) return nothing;
    return nib_build_node(b, (nib_node){ .op = &nib_op_weigh_keys, .attention = own,
                                         .inputs = { q.id, k.id, v.id }, .input_count = 3 },
                          NIB_TOKENS, d->v_dim, 0);
}

nib_value nib_attend_apart(nib_build *b, nib_value q, nib_value k, nib_value v, nib_value keys,
                           nib_value queries, const nib_attention_desc *d)
{
    nib_node n = { .op = &nib_op_disentangled, .attention = *d, .inputs = { q.id, k.id, v.id },
                   .input_count = 3 };
    nib_value all[5] = { q, k, v, keys, queries };
    size_t width = d->heads * d->head_dim;

    if (b->status) return nothing;
    if (keys.id != NIB_NONE) n.inputs[n.attention.key_rows = n.input_count++] = keys.id;
    if (queries.id != NIB_NONE) n.inputs[n.attention.query_rows = n.input_count++] = queries.id;
    assert(n.input_count > 3); /* else it is nib_attend() */
    for (int i = 0; i < 5; i++) {
        nib_axis_kind kind = i < 3 ? NIB_AXIS_GIVEN : NIB_AXIS_SPAN;
        if (all[i].id == NIB_NONE || !nib_build_is_plain(b, all[i], "attention")) continue;
        if (nib_info_of(b, all[i])->width != width ||
            b->graph->axes[nib_info_of(b, all[i])->axis].kind != kind)
            nib_build_fail(b, NIB_E_MISMATCH,
                           "attention: %zu channels of %s, expected %zu heads of %zu",
                           nib_info_of(b, all[i])->width, nib_build_axis(b, all[i]), d->heads,
                           d->head_dim);
    }
    n.attention.drop = nib_build_drop(b, d->drop.p);
    return b->status ? nothing : nib_build_node(b, n, NIB_TOKENS, width, 0);
}

static void check_attention(nib_build *b, nib_value q, nib_value k, nib_value v,
                            const nib_attention_desc *d)
{
    nib_axis rows = nib_info_of(b, q)->axis, seen = nib_info_of(b, k)->axis;

    if (b->graph->axes[rows].kind != NIB_AXIS_GIVEN || b->graph->axes[seen].kind != NIB_AXIS_GIVEN)
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "attention from %s to %s, expected rows with offsets", nib_build_axis(b, q),
                       nib_build_axis(b, k));
    if (nib_info_of(b, v)->axis != seen)
        nib_build_fail(b, NIB_E_MISMATCH, "attention: keys of %s, but values of %s",
                       nib_build_axis(b, k), nib_build_axis(b, v));
    if (rows != seen && (!d->full || d->window || d->chunk || d->alibi_slopes))
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "attention from %s to %s: expected one that sees all, without a window, "
                       "chunks or positions",
                       nib_build_axis(b, q), nib_build_axis(b, k));
    check_distances(b, d, rows == seen);
    if (d->globals && (rows != seen || !d->full || d->chunk || d->sinks))
        nib_build_fail(b, NIB_E_UNSUPPORTED,
                       "attention with %zu global tokens, expected one that sees all of its own "
                       "axis, without chunks or sinks", d->globals);
    if (d->kv_heads == 0 || d->heads % d->kv_heads)
        nib_build_fail(b, NIB_E_MISMATCH, "attention: %zu heads of q for %zu of k and v", d->heads,
                       d->kv_heads);
    if (d->sinks && d->sinks->width != d->heads)
        nib_build_fail(b, NIB_E_MISMATCH, "%s: [%zu], expected a sink for each of %zu heads",
                       d->sinks->name, d->sinks->width, d->heads);
}

/* An attention over the same keys and values, whose state has them: gemma4's last layers read what
 * an earlier one made. */
static const nib_node *find_reader(const nib_graph *g, nib_value k, nib_value v, size_t window)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_node *n = &g->nodes[i];
        if (n->op == &nib_op_attention && n->inputs[1] == k.id && n->inputs[2] == v.id &&
            n->attention.window == window)
            return n;
    }
    return NULL;
}

nib_value nib_attend(nib_build *b, nib_value q, nib_value k, nib_value v,
                     const nib_attention_desc *d)
{
    size_t v_dim = d->v_dim ? d->v_dim : d->head_dim;
    nib_attention_desc own = *d;
    const nib_node *same;
    nib_value y;

    if (!nib_build_has_heads(b, q, d->heads, d->head_dim, "attention: q") ||
        !nib_build_has_heads(b, k, d->kv_heads, d->head_dim, "attention: k") ||
        !nib_build_has_heads(b, v, d->kv_heads, v_dim, "attention: v"))
        return nothing;
    check_attention(b, q, k, v, d);
    own.drop = nib_build_drop(b, d->drop.p);
    same = find_reader(b->graph, k, v, d->window);
    y = nib_build_node(b, (nib_node){ .op = &nib_op_attention, .attention = own,
                                      .inputs = { q.id, k.id, v.id }, .input_count = 3,
                                      .state_index = same ? same->state_index
                                                          : b->graph->state_count,
                                      .shares_state = same != NULL },
                       nib_info_of(b, q)->axis, d->heads * v_dim, d->heads);
    if (!same) b->graph->state_count++;
    return y;
}
