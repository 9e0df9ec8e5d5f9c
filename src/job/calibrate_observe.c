/* calibrate_observe.c - see calibrate_observe.h. */
#include "job/calibrate_observe.h"

#include <math.h>

#include "graph/routes.h"

nib_observed *nib_observer_find(const nib_observer *o, const nib_node *n, size_t expert)
{
    for (size_t i = 0; i < o->count; i++)
        if (o->list[i].value == n->inputs[0] && o->list[i].expert == expert) return &o->list[i];
    return NULL;
}

nib_status nib_observer_add(nib_observer *o, const nib_node *n, size_t expert, nib_error *err)
{
    nib_observed *s;

    if (nib_observer_find(o, n, expert)) return NIB_OK;
    if (!nib_grow(o->ctx, &o->list, &o->capacity, o->count + 1, sizeof *o->list))
        return nib_fail(err, NIB_E_NOMEM, "inputs of linears: out of memory");
    s = &o->list[o->count];
    *s = (nib_observed){ .value = n->inputs[0], .expert = expert, .first = n };
    o->count++;
    return nib_hessian_create(o->ctx, nib_node_linear(n, expert)->weight->in, &s->hessian, err);
}

const nib_node *nib_observer_last(const nib_observer *o)
{
    const nib_node *last = o->list[0].first;

    for (size_t i = 1; i < o->count; i++)
        if (o->list[i].first > last) last = o->list[i].first;
    return last;
}

/* Rows x of a linear's input; row: the first of them, in the batch. */
typedef struct rows {
    const void *x;
    size_t count, in;
    const uint32_t *from; /* [count] the batch's rows; NULL: as they stand */
} rows;

static void look_for_bad(nib_observer *o, const rows *r, const nib_linear *l)
{
    nib_dtype type = o->run->graph->type;

    for (size_t i = 0; !o->bad && i < r->count * r->in; i++)
        if (!isfinite(nib_get(type, r->x, i))) {
            o->bad = l;
            o->bad_row = r->from ? r->from[i / r->in] : i / r->in;
        }
}

static void observe(nib_observer *o, const nib_node *n, size_t expert, const rows *r)
{
    nib_observed *s = nib_observer_find(o, n, expert);

    if (!s || s->first != n || !r->count) return;
    look_for_bad(o, r, nib_node_linear(n, expert));
    if (!o->bad) nib_hessian_observe(s->hessian, r->x, o->run->graph->type, r->count, r->in);
}

/* Rows of an expert lie together. */
static void observe_experts(nib_observer *o, const nib_node *n, const nib_io *io)
{
    nib_routes routes = nib_routes_of(o->run, n, 1, io->in[1]);
    size_t all = routes.rows * routes.times, end;

    for (size_t r = 0; r < all; r = end) {
        size_t expert = routes.expert[r], in = n->experts[expert]->weight->in;
        rows x = { nib_at(io->in[0], o->run->graph->type, r * in), 0, in, routes.from + r };
        for (end = r; end < all && routes.expert[end] == expert;) end++;
        x.count = end - r;
        observe(o, n, expert, &x);
    }
}

void nib_observer_tap(void *observer, const nib_node *n, const nib_io *io, bool backward)
{
    nib_observer *o = observer;

    if (backward || !nib_node_linears(n) || o->bad) return;
    if (n->experts) {
        observe_experts(o, n, io);
    } else {
        rows x = { io->in[0], nib_run_rows(o->run, o->run->graph->values[n->output].axis),
                   n->linear->weight->in, NULL };
        observe(o, n, 0, &x);
    }
}

void nib_observer_forget(nib_observer *o)
{
    for (size_t i = 0; i < o->count; i++) nib_hessian_destroy(o->list[i].hessian);
    o->count = 0;
}

void nib_observer_free(nib_observer *o)
{
    nib_observer_forget(o);
    nib_free(o->ctx, o->list);
}
