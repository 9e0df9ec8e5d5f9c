/* test_experts.c - layers of experts: gradients against finite differences (support/differences.h),
 * who is chosen, and what a packed batch, adapters in several slots and threads change: nothing.
 *
 * A choice jumps where two experts are equal, and differences mean nothing there; so every row of
 * the input is drawn anew until the experts are further apart than two steps reach. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "differences.h"
#include "graph/build_experts.h"
#include "graph/operations.h"
#include "graph/routes.h"
#include "test.h"

enum { WIDTH = 9, INNER = 6, EXPERTS = 4, GROUPED = 6 };

/* Six experts of which every two make a group, and how much each is favoured. */
static float favour[] = { 0.3f, -0.2f, 0.1f, 0, 0.2f, -0.1f };
static const nib_vector favours = { .width = GROUPED, .value = favour };

static float gain[] = { 0.7f, 1.3f, -0.4f, 2 };
static const nib_vector gains = { .width = EXPERTS, .value = gain };

static const nib_route_desc routes[] = {
    { .experts = EXPERTS, .top = 2, .normalize = true },
    { .experts = EXPERTS, .top = 2, .scale = 1.5f },
    { .experts = EXPERTS, .top = 3, .scores = NIB_ROUTE_CHOSEN },
    { .experts = EXPERTS, .top = 2, .scores = NIB_ROUTE_SIGMOID, .normalize = true, .eps = 1e-20f,
      .scale = 2.5f },
    { .experts = GROUPED, .top = 3, .groups = 3, .top_groups = 2, .scale = 1.5f },
    { .experts = GROUPED, .top = 3, .scores = NIB_ROUTE_SIGMOID, .groups = 3, .top_groups = 2,
      .group_pairs = true, .normalize = true, .bias = &favours },
    { .experts = EXPERTS, .top = 1, .scores = NIB_ROUTE_SIGMOID },
    { .experts = EXPERTS, .top = 3, .normalize = true, .gains = &gains },
};

/* The scores of a row by which experts are chosen. */
static void score(const nib_route_desc *d, const float *logits, float *s)
{
    for (size_t e = 0; e < d->experts; e++)
        s[e] = d->scores == NIB_ROUTE_SIGMOID ? 1 / (1 + expf(-logits[e])) : logits[e];
    for (size_t e = 0; d->bias && e < d->experts; e++) s[e] += d->bias->value[e];
}

/* What its group counts; without groups nothing. */
static float group(const nib_route_desc *d, const float *s, size_t e)
{
    size_t n = d->groups ? d->experts / d->groups : 1, first = e / n * n;
    float best = -INFINITY, second = -INFINITY;

    for (size_t i = first; d->groups && i < first + n; i++) {
        if (s[i] > best) second = best, best = s[i];
        else if (s[i] > second) second = s[i];
    }
    return !d->groups ? 0 : d->group_pairs ? best + second : best;
}

/* How many stand before e: of the groups, or of the experts whose group is taken. */
static bool is_chosen(const nib_route_desc *d, const float *s, size_t e)
{
    size_t n = d->groups ? d->experts / d->groups : 1, before = 0, better;
    bool taken[GROUPED];

    for (size_t i = 0; i < d->experts; i++) {
        better = 0;
        for (size_t j = 0; j < d->experts; j += n) better += group(d, s, j) > group(d, s, i);
        taken[i] = !d->groups || better < d->top_groups;
    }
    for (size_t i = 0; i < d->experts; i++) before += taken[i] && s[i] > s[e];
    return taken[e] && before < d->top;
}

/* Are all scores, and what groups count, further apart than `least`? */
static bool apart(const nib_route_desc *d, const float *s, float least)
{
    bool yes = true;

    if (d->scores == NIB_ROUTE_SIGMOID) least /= 4;
    for (size_t i = 0; i < d->experts; i++)
        for (size_t j = 0; j < i; j++) {
            bool same = d->groups && i / (d->experts / d->groups) == j / (d->experts / d->groups);
            yes &= fabsf(s[i] - s[j]) >= least;
            yes &= !d->groups || same || fabsf(group(d, s, i) - group(d, s, j)) >= least;
        }
    return yes;
}

static void logits_of(const nib_linear *router, const float *x, float *l)
{
    for (size_t e = 0; e < router->weight->out; e++) {
        l[e] = 0;
        for (size_t c = 0; c < WIDTH; c++) l[e] += router->full->value[e * WIDTH + c] * x[c];
    }
}

/* Rows far from a tie, of which the first take every expert there is. */
static void spread(lab *l, nib_param *table, const nib_linear *router, const nib_route_desc *d)
{
    for (size_t id = 0; id < table->rows; id++) {
        float *x = table->value + id * WIDTH, logits[GROUPED], s[GROUPED];
        do {
            for (size_t c = 0; c < WIDTH; c++) x[c] = lab_random(l);
            logits_of(router, x, logits);
            score(d, logits, s);
        } while (!apart(d, s, 0.2f) || !is_chosen(d, s, id % d->experts));
    }
}

/* The layer on x, whose table is `embed`; how: of the experts. */
static nib_value layer(lab *l, const nib_route_desc *d, nib_embedding *embed, nib_value x, int how)
{
    static const char *const parts[] = { "gate", "up", "down" };
    nib_linear *router = lab_linear(l, "router", d->experts, WIDTH, LAB_FULL);
    nib_experts e;
    nib_value gate, up, y;

    spread(l, embed->full, router, d);
    for (int p = 0; p < 3; p++)
        for (size_t i = 0; i < d->experts; i++) {
            char name[32];
            snprintf(name, sizeof name, "moe.%zu.%s", i, parts[p]);
            lab_linear(l, name, p == 2 ? WIDTH : INNER, p == 2 ? INNER : WIDTH, how);
        }
    e = nib_route(&l->b, lab_apply(l, x, "router"), d);
    y = nib_dispatch(&l->b, x, e);
    gate = nib_apply_experts(&l->b, y, e, (nib_expert_spec){ .part = "gate", .out = INNER }, "moe");
    up = nib_apply_experts(&l->b, y, e, (nib_expert_spec){ .part = "up", .out = INNER }, "moe");
    y = nib_gate(&l->b, gate, up, NIB_ACT_SILU);
    y = nib_apply_experts(&l->b, y, e, (nib_expert_spec){ .part = "down", .out = WIDTH }, "moe");
    return nib_combine(&l->b, y, e);
}

static void build_routes(lab *l)
{
    const nib_route_desc *d = &routes[l->variant];
    nib_embedding *embed = lab_embedding(l, "embed", WIDTH, LAB_FULL);
    nib_value x = lab_embed(l, "embed");

    l->elements = 12;
    l->b.segment++;
    x = nib_add(&l->b, x, layer(l, d, embed, x, l->variant & 1 ? LAB_LORA : LAB_NF4 | LAB_LORA));
    lab_finish(l, x, WIDTH, 0);
}
static void test_routes(void) { check_gradients(build_routes, NIB_COUNT(routes), "experts"); }

typedef struct choices { const nib_run *run; size_t rows, wrong; } choices;

static void compare_choices(void *user, const nib_node *n, const nib_io *io, bool backward)
{
    choices *c = user;
    const nib_route_desc *d = &n->route;
    nib_routes r;

    if (backward || n->op != &nib_op_choose) return;
    r = nib_routes_of(c->run, n, NIB_NONE, io->out);
    for (size_t row = 0; row < r.rows; row++) {
        float s[GROUPED];
        score(d, (const float *)io->in[0] + row * d->experts, s);
        for (size_t j = 0; j < d->top; j++)
            c->wrong += !is_chosen(d, s, r.expert[r.place[row * d->top + j]]);
    }
    c->rows += r.rows;
}

/* Who is chosen, which gradients do not tell. */
static void test_choices(void)
{
    for (int i = 0; i < (int)NIB_COUNT(routes); i++) {
        choices c = { 0 };
        lab l;

        if (lab_open(&l, test_ctx(), NIB_F32, build_routes, i)) {
            c.run = l.run;
            l.run->tap = compare_choices;
            l.run->tap_user = &c;
            lab_step(&l);
            CHECK(c.rows && !c.wrong, "route %d: %zu wrong choices of %zu rows", i, c.wrong,
                  c.rows);
        }
        lab_close(&l);
    }
}

/* Nothing below the layer is trained, nor its router; or nothing in it but the router. */
static void build_part(lab *l)
{
    const nib_route_desc *d = &routes[0];
    nib_embedding *embed = lab_embedding(l, "embed", WIDTH, LAB_FULL);
    nib_value x = lab_embed(l, "embed");

    l->elements = 12;
    l->b.segment++;
    x = nib_add(&l->b, x,
                layer(l, d, embed, x, l->variant ? 0 : LAB_LORA | LAB_DROPOUT | LAB_BIAS));
    embed->full->wants_grad = false;
    if (!l->variant) l->linears[0].full->wants_grad = false; /* the router's */
    lab_finish(l, x, WIDTH, LAB_LORA);
}
static void test_part(void) { check_gradients(build_part, 2, "experts, part trained"); }

/* sigmoid(z) x, both of values that others read too. */
static void build_gate_rows(lab *l)
{
    nib_value x = input(l, "embed", WIDTH), z, y;

    l->b.segment++;
    lab_linear(l, "w", 1, WIDTH, LAB_LORA);
    lab_linear(l, "v", WIDTH, 1, LAB_LORA);
    z = lab_apply(l, x, "w");
    y = nib_add(&l->b, nib_gate_rows(&l->b, x, z), lab_apply(l, z, "v"));
    lab_finish(l, l->variant ? nib_add(&l->b, y, x) : y, WIDTH, 0);
}
static void test_gate_rows(void) { check_gradients(build_gate_rows, 2, "gate of rows"); }

/* gate and up side by side, some beyond the limit, none within two steps of it; read again. */
static void build_gate_pairs(lab *l)
{
    const float limit = 0.6f, near = 0.1f;
    nib_embedding *e = lab_embedding(l, "embed", 2 * WIDTH, LAB_FULL);
    nib_value x, y;

    for (size_t i = 0; i < nib_param_count(e->full); i++) {
        float *v = &e->full->value[i];
        if (fabsf(fabsf(*v) - limit) < near) *v += *v < 0 ? -2 * near : 2 * near;
    }
    x = lab_embed(l, "embed");
    l->b.segment++;
    y = nib_gate_pairs(&l->b, x, limit);
    if (l->variant) lab_linear(l, "w", WIDTH, 2 * WIDTH, LAB_LORA);
    if (l->variant) y = nib_add(&l->b, y, lab_apply(l, x, "w"));
    lab_finish(l, y, WIDTH, 0);
}
static void test_gate_pairs(void) { check_gradients(build_gate_pairs, 2, "gate of neighbours"); }

/* --- what is read --- */

static void build_small(lab *l)
{
    memcpy(l->lengths, (uint32_t[4]){ 2, 0, 0, 0 }, sizeof l->lengths);
    l->variant = 6; /* one expert for each of two rows */
    build_routes(l);
}

static void keep_choices(void *user, const nib_node *n, const nib_io *io, bool backward)
{
    if (!backward && n->op == &nib_op_choose) memcpy(user, io->out, 2 * NIB_ROUTE_WORDS * 4);
}

/* Of experts that no row chose there may be no weights at all. */
static void test_unread(void)
{
    uint32_t taken[2 * NIB_ROUTE_WORDS], *used = taken + 2;
    size_t dropped = 0;
    double loss;
    lab l;

    if (lab_open(&l, test_ctx(), NIB_F32, build_small, 0)) {
        l.run->tap = keep_choices;
        l.run->tap_user = taken;
        loss = lab_step(&l);
        CHECK(used[0] < EXPERTS && used[0] <= used[1] && used[1] < EXPERTS, "%u, %u", used[0],
              used[1]);
        for (size_t i = 0; i < l.linear_count; i++) {
            nib_linear *linear = &l.linears[i];
            unsigned expert;
            if (sscanf(linear->name, "moe.%u.", &expert) != 1 || expert == used[0] ||
                expert == used[1])
                continue;
            nib_weight_destroy(l.ctx, linear->weight);
            linear->weight = NULL;
            dropped++;
        }
        CHECK(dropped >= 6, "%zu", dropped);
        CHECK(lab_step(&l) == loss, "another loss");
    }
    lab_close(&l);
}

int main(void)
{
    static const test_case cases[] = { { "routes", test_routes }, { "choices", test_choices },
                                       { "part", test_part },
                                       { "gate_rows", test_gate_rows },
                                       { "gate_pairs", test_gate_pairs },
                                       { "unread", test_unread } };
    return test_main("experts", cases, NIB_COUNT(cases));
}
