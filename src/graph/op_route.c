/* op_route.c - from the logits of a router to experts and weights, row by row.
 *
 * Choosing: scores s are softmax(l) over all experts, sigmoid(l), or l itself.  The `top` greatest
 * of s + bias are taken, the first of equal ones; where there are groups, only from the best
 * groups, a group counting as its best expert or the sum of its best two.  A choice has no
 * gradient.
 *
 * Weighing: w_j = scale p_j / (sum_i p_i + eps), or scale p_j where they are not normalized, with p
 * the scores of those chosen without the bias, or their softmax among themselves; and times the
 * gain of each expert, where they have one, which dw is multiplied by first.  Backward:
 *
 *     normalized     dp_j = scale / S (dw_j - sum_i dw_i p_i / S), S = sum_i p_i + eps
 *     softmax of all dl_e = s_e ([e chosen] dp_e - sum_j dp_j p_j)   for every e
 *     of the chosen  the same, 0 for the others
 *     sigmoid        dl_j = dp_j p_j (1 - p_j)
 *
 * Sources: formats.md 10.60, RT-A, RT-B, RT-C; Fedus et al. 2022, arXiv:2101.03961 (softmax);
 * DeepSeek-AI 2024, arXiv:2405.04434 (groups) and arXiv:2412.19437 (bias). */
#include <math.h>

#include "graph/operations.h"
#include "graph/routes.h"

typedef struct route_work {
    nib_run *run;
    const nib_node *n;
    const nib_io *io;
    const nib_route_desc *d;
    nib_routes routes;
    char *scratch; /* [workers] rows of room */
} route_work;

static size_t room_bytes(const nib_route_desc *d)
{
    return nib_round_up((2 * d->experts + d->groups + 3 * d->top) * sizeof(float), 64);
}

static float *room_of(const route_work *w, unsigned worker)
{
    return (float *)(void *)(w->scratch + worker * room_bytes(w->d));
}

/* l becomes its softmax. */
static void softmax(size_t n, float *l)
{
    float max = l[0], sum = 0;

    for (size_t i = 1; i < n; i++) max = fmaxf(max, l[i]);
    for (size_t i = 0; i < n; i++) sum += l[i] = expf(l[i] - max);
    for (size_t i = 0; i < n; i++) l[i] /= sum;
}

/* l, the logits of a row, become the scores of its experts. */
static void score(const nib_route_desc *d, float *l)
{
    if (d->scores == NIB_ROUTE_SOFTMAX) softmax(d->experts, l);
    for (size_t e = 0; d->scores == NIB_ROUTE_SIGMOID && e < d->experts; e++)
        l[e] = 1 / (1 + expf(-l[e]));
}

static void load_logits(const route_work *w, size_t row, float *l)
{
    nib_dtype type = w->run->graph->values[w->n->inputs[0]].dtype; /* nib_wide_logits() */

    nib_convert(l, NIB_F32, nib_at(w->io->in[0], type, row * w->d->experts), type, w->d->experts);
}

/* The first of the greatest. */
static size_t greatest(size_t n, const float *s)
{
    size_t best = 0;

    for (size_t i = 1; i < n; i++)
        if (s[i] > s[best]) best = i;
    return best;
}

/* --- choosing --- */

static float group_score(const nib_route_desc *d, const float *s)
{
    size_t n = d->experts / d->groups, best = greatest(n, s);
    float second = -INFINITY;

    if (!d->group_pairs) return s[best];
    for (size_t i = 0; i < n; i++)
        if (i != best) second = fmaxf(second, s[i]);
    return s[best] + second;
}

/* The first of the greatest that is not NaN; n: all are. */
static size_t greatest_left(size_t n, const float *s)
{
    size_t best = n;

    for (size_t i = 0; i < n; i++)
        if (!isnan(s[i]) && (best == n || s[i] > s[best])) best = i;
    return best;
}

/* Experts outside the best groups are out of reach.  of: [groups], NaN: taken. */
static void limit_groups(const nib_route_desc *d, float *s, float *of)
{
    size_t n = d->experts / d->groups, best;

    for (size_t g = 0; g < d->groups; g++) of[g] = group_score(d, s + g * n);
    for (size_t i = 0; i < d->top_groups; i++)
        if ((best = greatest_left(d->groups, of)) < d->groups) of[best] = NAN;
    for (size_t g = 0; g < d->groups; g++)
        for (size_t e = 0; !isnan(of[g]) && e < n; e++) s[g * n + e] = -INFINITY;
}

/* The experts of a row, ascending, where their places will be. */
static void choose_row(const route_work *w, size_t row, float *s)
{
    const nib_route_desc *d = w->d;
    uint32_t *chosen = w->routes.place + row * d->top;
    uint8_t *taken = (uint8_t *)(s + d->experts + d->groups);
    size_t count = 0;

    load_logits(w, row, s);
    score(d, s);
    for (size_t e = 0; d->bias && e < d->experts; e++) s[e] += d->bias->value[e];
    if (d->groups > 1) limit_groups(d, s, s + d->experts);
    memset(taken, 0, d->experts);
    for (size_t j = 0; j < d->top; j++) {
        size_t best = d->experts;
        for (size_t e = 0; e < d->experts; e++)
            if (!taken[e] && (best == d->experts || s[e] > s[best])) best = e;
        taken[best] = 1;
    }
    for (size_t e = 0; e < d->experts; e++)
        if (taken[e]) chosen[count++] = (uint32_t)e;
}

static void choose_tile(void *arg, size_t tile, unsigned worker)
{
    const route_work *w = arg;
    size_t r0, r1;

    nib_tile_rows(tile, w->routes.rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++) choose_row(w, r, room_of(w, worker));
}

/* Places of the routed rows, by expert and then by the row that chose it.  next: [experts]. */
static void sort_routes(const nib_routes *r, size_t experts, uint32_t *next)
{
    size_t all = r->rows * r->times;
    uint32_t begin = 0;

    memset(next, 0, experts * sizeof *next);
    for (size_t i = 0; i < all; i++) next[r->place[i]]++;
    for (size_t e = 0; e < experts; e++) {
        uint32_t count = next[e];
        next[e] = begin;
        begin += count;
    }
    for (size_t i = 0; i < all; i++) {
        uint32_t expert = r->place[i], at = next[expert]++;

        r->from[at] = (uint32_t)(i / r->times);
        r->expert[at] = expert;
        r->place[i] = at;
    }
}

static void choose_forward(nib_run *run, const nib_node *n, const nib_io *io)
{
    route_work w = { run, n, io, &n->route, nib_routes_of(run, n, NIB_NONE, io->out),
                     (char *)run->scratch.base };

    nib_parallel_for(run->ctx, nib_row_tiles(w.routes.rows), choose_tile, &w);
    sort_routes(&w.routes, w.d->experts, (uint32_t *)(void *)w.scratch);
}

/* --- weighing --- */

/* A row's experts and p, which lie behind the row's scores s. */
typedef struct chosen { const float *s; float *p, *dp; uint32_t *experts; float sum; } chosen;

static chosen chosen_of(const route_work *w, size_t row, float *room)
{
    const nib_route_desc *d = w->d;
    chosen c = { .s = room, .p = room + d->experts, .dp = room + d->experts + d->top,
                 .experts = (uint32_t *)(void *)(room + d->experts + 2 * d->top) };

    load_logits(w, row, room);
    score(d, room);
    for (size_t j = 0; j < d->top; j++) {
        c.experts[j] = w->routes.expert[w->routes.place[row * d->top + j]];
        c.p[j] = room[c.experts[j]];
    }
    if (d->scores == NIB_ROUTE_CHOSEN) softmax(d->top, c.p);
    for (size_t j = 0; j < d->top; j++) c.sum += c.p[j];
    c.sum += d->eps;
    return c;
}

static void weigh_row(const route_work *w, size_t row, float *room)
{
    const nib_route_desc *d = w->d;
    nib_dtype type = w->run->graph->type;
    chosen c = chosen_of(w, row, room);

    for (size_t j = 0; j < d->top; j++) {
        if (d->normalize) c.p[j] /= c.sum;
        if (d->scale != 0) c.p[j] *= d->scale;
        if (d->gains) c.p[j] *= d->gains->value[c.experts[j]];
    }
    nib_convert(nib_at_mut(w->io->out, type, row * d->top), type, c.p, NIB_F32, d->top);
}

/* dp from the gradients of the weights. */
static void unweigh(const nib_route_desc *d, const chosen *c)
{
    float scale = d->scale != 0 ? d->scale : 1, mean = 0;

    if (d->normalize) {
        for (size_t j = 0; j < d->top; j++) mean += c->dp[j] * c->p[j];
        mean /= c->sum;
        scale /= c->sum;
    }
    for (size_t j = 0; j < d->top; j++) c->dp[j] = scale * (c->dp[j] - mean);
}

static void weigh_back_row(const route_work *w, size_t row, float *room)
{
    const nib_route_desc *d = w->d;
    nib_dtype type = w->run->graph->type;
    chosen c = chosen_of(w, row, room);
    void *to = nib_at_mut(w->io->d_in[0], type, row * d->experts);
    float dot = 0, *dl = room;

    nib_convert(c.dp, NIB_F32, nib_at(w->io->d_out, type, row * d->top), type, d->top);
    for (size_t j = 0; d->gains && j < d->top; j++) c.dp[j] *= d->gains->value[c.experts[j]];
    unweigh(d, &c);
    for (size_t j = 0; d->scores != NIB_ROUTE_SIGMOID && j < d->top; j++) dot += c.dp[j] * c.p[j];
    for (size_t e = 0; e < d->experts; e++)
        dl[e] = d->scores == NIB_ROUTE_SOFTMAX ? -dot * c.s[e] : 0;
    for (size_t j = 0; j < d->top; j++)
        if (d->scores == NIB_ROUTE_SIGMOID)
            dl[c.experts[j]] = c.dp[j] * c.p[j] * (1 - c.p[j]);
        else dl[c.experts[j]] = c.p[j] * (c.dp[j] - dot);
    if (w->io->accumulate[0]) {
        float *before = c.p; /* what follows the scores holds as many more */
        nib_convert(before, NIB_F32, to, type, d->experts);
        for (size_t e = 0; e < d->experts; e++) dl[e] += before[e];
    }
    nib_convert(to, type, dl, NIB_F32, d->experts);
}

static void weigh_tile(void *arg, size_t tile, unsigned worker)
{
    const route_work *w = arg;
    size_t r0, r1;

    nib_tile_rows(tile, w->routes.rows, &r0, &r1);
    for (size_t r = r0; r < r1; r++)
        (w->io->d_out ? weigh_back_row : weigh_row)(w, r, room_of(w, worker));
}

static void weigh(nib_run *run, const nib_node *n, const nib_io *io)
{
    route_work w = { run, n, io, &n->route, nib_routes_of(run, n, 1, io->in[1]),
                     (char *)run->scratch.base };

    if (io->d_out && !io->d_in[0]) return;
    nib_parallel_for(run->ctx, nib_row_tiles(w.routes.rows), weigh_tile, &w);
}

static size_t scratch(const nib_graph *g, const nib_node *n, const size_t rows[NIB_MAX_AXES])
{
    (void)rows;
    return room_bytes(&n->route) * nib_threads(g->ctx);
}

const nib_op nib_op_choose = { .id = NIB_OP_CHOOSE, .name = "choice of experts", .constant = true,
                               .row_wise = true, .scratch = scratch };
const nib_op_functions nib_cpu_choose = { choose_forward, NULL };
const nib_op nib_op_weigh = { .id = NIB_OP_WEIGH, .name = "weights of experts", .keeps_inputs = 3,
                              .row_wise = true, .scratch = scratch };
const nib_op_functions nib_cpu_weigh = { weigh, weigh };
