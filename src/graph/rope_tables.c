/* rope_tables.c - finding the ropes of a graph, and computing their tables. */
#include "graph/rope_tables.h"

#include <math.h>

static bool same_angles(const nib_rope *a, const float *x, const float *y)
{
    return x == y || (x && y && memcmp(x, y, a->rot / 2 * sizeof *x) == 0);
}

static bool same_rope(const nib_rope *a, const nib_rope *b)
{
    return a == b || (a->rot == b->rot && a->attention_factor == b->attention_factor &&
                      a->growth == b->growth && a->growth_every == b->growth_every &&
                      a->base == b->base && a->growth_factor == b->growth_factor &&
                      a->grows_from == b->grows_from &&
                      same_angles(a, a->inv, b->inv) && same_angles(a, a->long_inv, b->long_inv));
}

/* Values of a rope's tables. */
static size_t values_of(const nib_rope *rope, size_t positions)
{
    return (rope->long_inv ? 4 : 2) * positions * (rope->rot / 2);
}

static size_t find(const nib_tables *t, const nib_rope *rope)
{
    size_t i = 0;

    while (i < t->count && !same_rope(t->ropes[i], rope)) i++;
    return i;
}

/* Lists the ropes; false when there are too many. */
static bool list_ropes(const nib_graph *g, nib_tables *t)
{
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_rope *rope = g->nodes[i].rope;
        if (!rope || find(t, rope) < t->count) continue;
        if (t->count == NIB_MAX_ROPES) return false;
        t->ropes[t->count++] = rope;
    }
    return true;
}

static size_t bytes_of(const nib_tables *t)
{
    size_t values = 0;

    for (size_t i = 0; i < t->count; i++) values += values_of(t->ropes[i], t->positions);
    return values * sizeof(float);
}

size_t nib_tables_bytes(const nib_graph *g, size_t positions)
{
    nib_tables t = { .positions = positions };

    list_ropes(g, &t);
    return bytes_of(&t);
}

/* Llama 4's growth of the queries, which ministral3 has. */
static float factor_at(const nib_rope *rope, size_t t)
{
    if (!rope->growth_every) return rope->attention_factor;
    return rope->attention_factor * (1 + rope->growth * logf(1 + (float)(t / rope->growth_every)));
}

/* Angles are rounded to float, as the reference does. */
static void fill(const nib_rope *rope, const float *inv, size_t positions, float *cosines)
{
    size_t half = rope->rot / 2;
    float *sines = cosines + positions * half;

    for (size_t t = 0; t < positions; t++) {
        float factor = factor_at(rope, t);
        for (size_t j = 0; j < half; j++) {
            float angle = (float)t * inv[j];
            cosines[t * half + j] = (float)cos((double)angle) * factor;
            sines[t * half + j] = (float)sin((double)angle) * factor;
        }
    }
}

nib_status nib_tables_create(nib_ctx *ctx, const nib_graph *g, size_t positions, nib_tables *out,
                             nib_error *err)
{
    nib_tables t = { .positions = positions };
    nib_status status;
    float *next;

    if (!list_ropes(g, &t))
        return nib_fail(err, NIB_E_UNSUPPORTED, "rotary embeddings of more than %d kinds",
                        NIB_MAX_ROPES);
    if (t.count > 0) {
        status = nib_arena_create(ctx, bytes_of(&t), &t.memory, err);
        if (status) return status;
    }
    next = (float *)(void *)t.memory.base;
    for (size_t i = 0; i < t.count; i++) {
        t.cosines[i] = next;
        fill(t.ropes[i], t.ropes[i]->inv, positions, next);
        if (t.ropes[i]->long_inv)
            fill(t.ropes[i], t.ropes[i]->long_inv, positions,
                 next + 2 * positions * (t.ropes[i]->rot / 2));
        next += values_of(t.ropes[i], positions);
    }
    *out = t;
    return NIB_OK;
}

void nib_tables_grown(const nib_rope *rope, size_t length, double *inv)
{
    double grown = rope->growth_factor * (double)length / (double)rope->grows_from -
                   (rope->growth_factor - 1);
    double base = rope->base * pow(grown, (double)rope->rot / (double)(rope->rot - 2));

    for (size_t j = 0; j < rope->rot / 2; j++)
        inv[j] = 1 / pow(base, (double)(2 * j) / (double)rope->rot);
}

void nib_tables_destroy(nib_ctx *ctx, nib_tables *t)
{
    nib_arena_destroy(ctx, &t->memory);
    *t = (nib_tables){ 0 };
}

nib_rope_table nib_tables_of(const nib_tables *t, const nib_rope *rope)
{
    size_t i = find(t, rope), half = rope->rot / 2;

    assert(i < t->count);
    return (nib_rope_table){ half, t->positions, t->cosines[i], t->cosines[i] + t->positions * half,
                             rope->long_inv ? 2 * t->positions * half : 0 };
}
