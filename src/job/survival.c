/* survival.c - see survival.h. */
#include "job/survival.h"

#include <math.h>

#include "graph/magnitude.h"
#include "graph/readout.h"
#include "graph/routes.h"

/* --- which --- */

static const nib_weight *base_of(const nib_weight *weight, const nib_weight *frozen)
{
    return frozen ? frozen : weight;
}

static bool is_new(const nib_model *m, const nib_linear *l)
{
    for (size_t i = 0; i < m->new_count; i++)
        if (m->new_linears[i] == l) return true;
    return false;
}

static const nib_weight *linear_of(const nib_model *m, const char *name)
{
    for (size_t i = 0; i < m->linear_count; i++)
        if (strcmp(m->linears[i]->name, name) == 0) return m->linears[i]->weight;
    return NULL;
}

static const nib_weight *embedding_of(const nib_model *m, const char *name)
{
    for (size_t i = 0; i < m->embedding_count; i++)
        if (strcmp(m->embeddings[i]->name, name) == 0) return m->embeddings[i]->weight;
    return NULL;
}

static nib_status add(nib_survivors *s, const char *name, nib_survivor one, const nib_weight *made,
                      nib_error *err)
{
    const nib_weight *w = one.change.base;

    if (!made || made->out != w->out || made->in != w->in)
        return nib_fail(err, NIB_E_MISMATCH, "%s: [%zu, %zu] before the merge, [%zu, %zu] after it",
                        name, w->out, w->in, made ? made->out : 0, made ? made->in : 0);
    one.name = name;
    one.change.made = made;
    s->items[s->count++] = one;
    return NIB_OK;
}

static nib_status list_all(nib_survivors *s, const nib_model *merged, nib_error *err)
{
    const nib_model *m = s->base;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < m->embedding_count && !status; i++) {
        const nib_embedding *e = m->embeddings[i];
        nib_survivor one = { .embedding = e };
        one.change = (nib_change){ .base = base_of(e->weight, e->frozen), .embedding = true,
                                   .whole = e->full || e->rows ? e->weight : NULL,
                                   .branch = nib_branch_at(&e->branches, 0) };
        if (e->full || e->rows || one.change.branch)
            status = add(s, e->name, one, embedding_of(merged, e->name), err);
    }
    for (size_t i = 0; i < m->linear_count && !status; i++) {
        const nib_linear *l = m->linears[i];
        nib_survivor one = { .linear = l };
        one.change = (nib_change){ .base = base_of(l->weight, l->frozen),
                                   .whole = l->full ? l->weight : NULL,
                                   .branch = nib_branch_at(&l->branches, 0) };
        if ((l->full || one.change.branch) && !is_new(m, l))
            status = add(s, l->name, one, linear_of(merged, l->name), err);
    }
    return status;
}

nib_status nib_survivors_list(const nib_model *base, const nib_model *merged,
                              const nib_form *trained, nib_survivors *out, nib_error *err)
{
    nib_survivors s = { .ctx = base->ctx, .base = base, .trained = trained };
    nib_status status;

    s.items = nib_new_array(s.ctx, base->linear_count + base->embedding_count, sizeof *s.items);
    if (!s.items)
        return nib_fail(err, NIB_E_NOMEM, "%zu matrices: out of memory", base->linear_count);
    status = list_all(&s, merged, err);
    if (status) nib_survivors_free(&s);
    else *out = s;
    return status;
}

void nib_survivors_free(nib_survivors *s)
{
    if (!s->ctx) return;
    nib_free(s->ctx, s->items);
    nib_free(s->ctx, s->x);
    *s = (nib_survivors){ 0 };
}

/* --- without samples --- */

/* What the adapter was trained on: quantizing while loading leaves the head and bare parameters
 * dense. */
static nib_status encode_base(const nib_survivors *s, const nib_survivor *one, nib_weight **out,
                              nib_error *err)
{
    const nib_weight *w = one->change.base;
    nib_form form;

    *out = NULL;
    if (!s->trained || !one->linear || one->linear->of_head || one->linear == s->base->head ||
        one->linear->parameter || !nib_weight_is_dense(w))
        return NIB_OK;
    form = *s->trained;
    form.dtype = w->dtype;
    return nib_form_encode(s->ctx, &form, w, out, err);
}

/* The branch as it was on `base`: gains follow from norms.  copy->norms: the caller's to free. */
static nib_status branch_on(const nib_survivors *s, const nib_weight *base, nib_change *c,
                            nib_branch *copy, nib_error *err)
{
    c->base = base;
    if (!c->branch || !c->branch->magnitude) return NIB_OK;
    *copy = *c->branch;
    copy->norms = NULL;
    if (!nib_magnitude_attach(s->ctx, copy, copy->magnitude))
        return nib_fail(err, NIB_E_NOMEM, "%zu norms: out of memory", base->out);
    nib_magnitude_measure(s->ctx, &s->base->graph->kernels, base, false, copy, false);
    c->branch = copy;
    return NIB_OK;
}

nib_status nib_survivors_of_weights(nib_survivors *s, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < s->count && !status; i++) {
        nib_survivor *one = &s->items[i];
        nib_change c = one->change;
        nib_branch copy = { 0 };
        nib_weight *encoded = NULL;

        if (nib_should_stop(s->ctx))
            return nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
        status = encode_base(s, one, &encoded, err);
        if (!status && encoded) status = branch_on(s, encoded, &c, &copy, err);
        if (!status) status = nib_survival_of_weights(s->ctx, &c, &one->sums, err);
        nib_free(s->ctx, copy.norms);
        nib_weight_destroy(s->ctx, encoded);
        if (status) status = nib_fail_in(err, status, "%s", one->name);
    }
    return status;
}

/* --- with samples --- */

static nib_survivor *survivor_of(nib_survivors *s, const nib_linear *l)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].linear == l) return &s->items[i];
    return NULL;
}

static void add_rows(nib_survivors *s, nib_survivor *one, const void *x, nib_dtype type,
                     size_t rows)
{
    size_t values = rows * one->change.base->in;

    if (s->status || !rows) return;
    if (type != NIB_F32) {
        if (values > s->x_room) {
            nib_free(s->ctx, s->x);
            s->x = nib_new_array(s->ctx, values, sizeof *s->x);
            s->x_room = s->x ? values : 0;
        }
        if (!s->x) {
            s->status = nib_fail(&s->err, NIB_E_NOMEM, "%s: out of memory", one->name);
            return;
        }
        nib_convert(s->x, NIB_F32, x, type, values);
        x = s->x;
    }
    s->status = nib_survival_of_rows(s->ctx, &one->change, x, rows, &one->sums, &s->err);
}

/* Routed rows lie by expert. */
static void add_experts(nib_survivors *s, const nib_run *run, const nib_node *n, const nib_io *io)
{
    nib_routes routes = nib_routes_of(run, n, 1, io->in[1]);
    size_t all = routes.rows * routes.times, bytes = nib_dtype_bytes(run->graph->type);

    for (size_t first = 0, end; first < all; first = end) {
        const nib_linear *l = n->experts[routes.expert[first]];
        nib_survivor *one = survivor_of(s, l);

        for (end = first; end < all && routes.expert[end] == routes.expert[first];) end++;
        if (one)
            add_rows(s, one, (const uint8_t *)io->in[0] + first * l->weight->in * bytes,
                     run->graph->type, end - first);
    }
}

static void on_node(void *user, const nib_node *n, const nib_io *io, bool backward)
{
    nib_survivors *s = user;
    const nib_run *run = s->run;
    nib_survivor *one = n->linear && !n->op->objective ? survivor_of(s, n->linear) : NULL;

    if (backward || s->status) return;
    if (n->experts) add_experts(s, run, n, io);
    else if (one)
        add_rows(s, one, io->in[0], run->graph->type,
                 nib_run_rows(run, run->graph->values[n->output].axis));
}

void nib_survivors_tap(nib_survivors *s, nib_run *run)
{
    s->run = run;
    run->tap = on_node;
    run->tap_user = s;
}

/* The head is no operation of its own, and an embedding reads words. */
nib_status nib_survivors_end_batch(nib_survivors *s, const nib_run *run, nib_error *err)
{
    const nib_graph *g = run->graph;
    size_t tokens = nib_run_rows(run, NIB_TOKENS), rows = nib_run_rows(run, NIB_LOGIT_ROWS);

    for (size_t i = 0; i < s->count && !s->status; i++) {
        nib_survivor *one = &s->items[i];
        if (one->embedding == s->base->embedding && one->embedding)
            s->status = nib_survival_of_ids(s->ctx, &one->change, run->batch->inputs[NIB_IDS],
                                            tokens, &one->sums, &s->err);
        if (one->linear && one->linear == g->head)
            add_rows(s, one, nib_run_hidden(run, 0), g->type, rows);
    }
    if (s->status && err) *err = s->err;
    return s->status;
}

nib_survival nib_survivors_all(const nib_survivors *s)
{
    nib_survival_sums all = { 0 };

    for (size_t i = 0; i < s->count; i++) nib_survival_add(&all, &s->items[i].sums);
    return nib_survival_of(&all);
}
