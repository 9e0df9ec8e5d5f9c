/* test_attention.c - attention of every variant against the reference, forward and backward: both
 * types, grouped heads, windows, chunks, both directions, ALiBi, soft caps, sinks, heads of 1 to
 * 128 channels, values of another width, sequences anywhere in their tensors, a few queries against
 * a cache, keys of another sequence; in buffers that end at an unreadable page.
 *
 * What is not this head's and not this sequence's must stay as it was; and a token has the same
 * bits alone, packed behind others, or cut into other tiles of queries (docs/design.md,
 * "Numbers"). */
#include <math.h>
#include <string.h>

#include "variants.h"

#if NIB_ARCH_X86 /* only tests know them */
nib_attention_forward_fn nib_attention_forward_amxemu;
nib_attention_backward_fn nib_attention_backward_amxemu;
#endif

enum { HEADS = 4, KV_HEADS = 2, EMULATED = 100 };

/* Each variant; after avx512 the one with emulated tiles. */
static const char *next_variant(size_t *level, nib_kernels *k)
{
    const char *name;

#if NIB_ARCH_X86
    if (*level >= EMULATED) {
        *level -= EMULATED;
        k->attention_forward = nib_attention_forward_amxemu;
        k->attention_backward = nib_attention_backward_amxemu;
        return "emulated tiles";
    }
#endif
    name = test_next_variant(level, k);
    if (NIB_ARCH_X86 && name && strcmp(name, "avx512") == 0) *level += EMULATED;
    return name;
}

typedef struct shape {
    nib_dtype type;
    size_t length, d, window, place; /* place: rows of other sequences before this one */
    bool alibi, fused; /* fused: q, k, v of a group side by side, as Falcon's projection */
    size_t queries;                  /* of the last positions; 0: all (and backward too) */
    size_t chunk, v_dim;             /* v_dim 0: d */
    float cap;
    bool full, sinks, distances, add;           /* add: dq is added to what is there */
    float drop;                      /* probability of dropout */
    size_t prefix;
    bool cross;                      /* `queries` of another sequence than the keys; backward too */
} shape;

/* One problem: tensors of `rows` rows of which a sequence has the last, and a variant's results. */
typedef struct problem {
    shape s;
    size_t rows, queries, v_dim;
    void *q, *k, *v, *d_o, *scratch;
    nib_attention_args a;
} problem;

typedef struct result { void *o, *dq; float *lse, *dk, *dv, *d_sink; } result;

static const float slopes[HEADS] = { 0.25f, 0.0625f, 0.015625f, 0.00390625f };
static const float sinks[HEADS] = { -0.7f, 1.3f, 4.5f, 0.2f };

static problem make(shape s, size_t head)
{
    size_t d = s.d, dv = s.v_dim ? s.v_dim : d, rows = s.place + nib_max(s.length, s.queries),
           group = HEADS / KV_HEADS, bytes = nib_dtype_bytes(s.type);
    size_t each = s.fused ? (group + 2) * d * KV_HEADS : 0;
    problem p = { .s = s, .rows = rows, .v_dim = dv, .queries = s.queries ? s.queries : s.length };
    nib_attention_args a = {
        .type = s.type, .heads = HEADS, .kv_heads = KV_HEADS, .head_dim = d, .v_dim = dv,
        .scale = 0.3f, .cap = s.cap, .full = s.full, .window = s.window, .chunk = s.chunk,
        .prefix = s.prefix, .alibi_slopes = s.alibi ? slopes : NULL,
        .sinks = s.sinks ? sinks : NULL,
        .lse_stride = rows + 3, .q0 = rows - p.queries, .q_len = p.queries,
        .pos0 = s.cross ? 0 : s.length - p.queries, .kv0 = s.place, .kv_len = s.length,
        .head = head, .add_dq = s.add, .drop_p = s.drop, .drop_key = { 11, 12 }, .record = 7,
        .epoch = 2
    };

    if (s.fused) {
        char *all = test_values(s.type, rows * each, 1);
        p.q = all;
        p.k = all + group * d * bytes;
        p.v = all + (group + 1) * d * bytes;
        a.q_heads = (nib_heads){ each, d, group, (group + 2) * d };
        a.kv_heads_k = a.kv_heads_v = (nib_heads){ each, 0, 1, (group + 2) * d };
    } else {
        p.q = test_values(s.type, rows * HEADS * d, 1);
        p.k = test_values(s.type, rows * KV_HEADS * d, 1);
        p.v = test_values(s.type, rows * KV_HEADS * dv, 1);
        a.q_heads = (nib_heads){ HEADS * d, d, HEADS, 0 };
        a.kv_heads_k = (nib_heads){ KV_HEADS * d, d, KV_HEADS, 0 };
        a.kv_heads_v = (nib_heads){ KV_HEADS * dv, dv, KV_HEADS, 0 };
    }
    p.d_o = test_values(s.type, rows * HEADS * dv, 1);
    if (s.distances) {
        a.reach = s.length - 1;
        a.distances_ld = 2 * s.length - 1 + 32;
        a.distances = test_floats(HEADS * a.distances_ld, 1);
    }
    p.scratch = test_guarded(
        nib_round_up(nib_attention_scratch_bytes(nib_max(d, dv), s.length), 64));
    a.q = p.q;
    a.k = p.k;
    a.v = p.v;
    a.d_o = p.d_o;
    p.a = a;
    return p;
}

static size_t dq_elements(const problem *p) { return p->rows * p->a.q_heads.row_stride; }

/* Zeros, and a dq that is added to: what a variant should leave alone is compared as well.  dq is a
 * view as q is. */
static result results(const problem *p)
{
    result r = { test_values(p->s.type, p->rows * HEADS * p->v_dim, 0),
                 test_values(p->s.type, dq_elements(p), 0), test_floats(HEADS * p->a.lse_stride, 0),
                 test_floats(p->s.length * p->s.d, 0), test_floats(p->s.length * p->v_dim, 0),
                 test_floats(1, 0) };

    for (size_t i = 0; p->s.add && i < dq_elements(p); i++)
        if (p->s.type == NIB_F32) ((float *)r.dq)[i] = (float)(i % 7);
        else ((uint16_t *)r.dq)[i] = nib_f32_to_bf16((float)(i % 7));
    return r;
}

static void forward(const nib_kernels *k, const problem *p, const result *r)
{
    nib_attention_args a = p->a;
    a.o = r->o;
    a.lse = r->lse;
    k->attention_forward(&a, p->scratch);
}

/* From the results `of` of a forward. */
static void backward(const nib_kernels *k, const problem *p, const result *of, const result *r)
{
    nib_attention_args a = p->a;
    a.o = of->o;
    a.lse = of->lse;
    a.dq = r->dq;
    a.dk = r->dk;
    a.dv = r->dv;
    a.d_sink = a.sinks ? r->d_sink : NULL;
    k->attention_backward(&a, p->scratch);
}

static void check(const nib_kernels *k, const char *name, shape s)
{
    nib_kernels ref = nib_kernels_for(0);
    size_t n = s.length * s.d, kept = test_guarded_count();
    /* one rounding; on tiles those of probabilities and slopes too */
    bool tiles = s.type == NIB_BF16 && (strcmp(name, "amx") == 0 || strstr(name, "tiles"));
    float near = s.type == NIB_F32 ? 1e-5f : tiles ? 0x1p-7f : 0x1p-8f,
          near_dq = s.type == NIB_F32 ? 1e-4f : tiles ? 0x1p-5f : 0x1p-7f,
          near_keys = tiles ? 0x1p-6f : 1e-4f;

    for (size_t head = 1; head < HEADS; head += 2) {
        problem p = make(s, head);
        result want = results(&p), got = results(&p);
        float off[5];

        forward(&ref, &p, &want);
        forward(k, &p, &got);
        off[0] = test_worst(s.type, got.o, want.o, p.rows * HEADS * p.v_dim);
        CHECK(off[0] <= near &&
                  test_worst(NIB_F32, got.lse, want.lse, HEADS * p.a.lse_stride) < 1e-5f,
              "%s %zu x %zu of type %d, %zu queries, window %zu, behind %zu, head %zu: off by %g",
              name, s.length, s.d, (int)s.type, p.queries, s.window, s.place, head, (double)off[0]);
        if (s.queries && !s.cross) continue;
        backward(&ref, &p, &want, &want);
        backward(k, &p, &want, &got);
        off[1] = test_worst(s.type, got.dq, want.dq, dq_elements(&p));
        off[2] = test_worst(NIB_F32, got.dk, want.dk, n);
        off[3] = test_worst(NIB_F32, got.dv, want.dv, s.length * p.v_dim);
        off[4] = test_worst(NIB_F32, got.d_sink, want.d_sink, 1);
        CHECK(off[1] <= near_dq && off[2] < near_keys && off[3] < near_keys && off[4] < 1e-4f,
              "%s back %zu x %zu of type %d, window %zu, behind %zu, head %zu: dq %g dk %g dv %g "
              "sink %g",
              name, s.length, s.d, (int)s.type, s.window, s.place, head, (double)off[1],
              (double)off[2], (double)off[3], (double)off[4]);
    }
    test_free_guarded(kept);
}

static void test_lengths(void)
{
    static const size_t lengths[] = { 1, 2, 15, 17, 55, 56, 57, 64, 65, 113, 130 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = next_variant(&level, &k));)
        for (size_t i = 0; i < NIB_COUNT(lengths); i++) {
            check(&k, name, (shape){ .type = NIB_F32, .length = lengths[i], .d = 32 });
            check(&k, name,
                  (shape){ .type = NIB_F32, .length = lengths[i], .d = 20, .window = 7,
                           .place = 3 });
            check(&k, name,
                  (shape){ .type = NIB_BF16, .length = lengths[i], .d = 64, .window = 70,
                           .place = 5, .alibi = true, .fused = true });
        }
}

static void test_heads(void)
{
    static const size_t dims[] = { 1, 7, 8, 9, 16, 17, 33, 64, 80, 96, 128 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = next_variant(&level, &k));)
        for (size_t i = 0; i < NIB_COUNT(dims); i++)
            for (int how = 0; how < 4; how++)
                check(&k, name,
                      (shape){ .type = how & 1 ? NIB_BF16 : NIB_F32, .length = 70, .d = dims[i],
                               .window = how & 2 ? 33 : 0, .place = 2, .alibi = how == 3,
                               .fused = how & 2 });
}

/* A few queries at the end of a cache, as when generating. */
static void test_few_queries(void)
{
    static const size_t lengths[] = { 4, 63, 64, 65, 129, 200 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = next_variant(&level, &k));)
        for (size_t i = 0; i < NIB_COUNT(lengths); i++)
            for (size_t queries = 1; queries <= 4; queries += queries == 1 ? 1 : 2)
                for (int how = 0; how < 4; how++)
                    check(&k, name,
                          (shape){ .type = how & 1 ? NIB_BF16 : NIB_F32, .length = lengths[i],
                                   .d = how & 2 ? 80 : 40, .window = how == 2 ? 50 : 0,
                                   .alibi = how == 3, .queries = queries });
}

/* Each thing that a descriptor may ask for, alone and together, at lengths around the tiles. */
static void test_descriptors(void)
{
    static const size_t lengths[] = { 5, 65, 130, 300 };
    static const shape shapes[] = {
        { .d = 32, .cap = 2 },
        { .d = 20, .cap = 0.5f, .window = 9, .place = 3, .fused = true },
        { .d = 16, .full = true },
        { .d = 24, .full = true, .window = 21, .place = 1 },
        { .d = 16, .full = true, .window = 90 },
        { .d = 16, .chunk = 40 },
        { .d = 16, .chunk = 64, .full = true, .window = 10 },
        { .d = 48, .v_dim = 32 },
        { .d = 24, .v_dim = 40, .place = 2 },
        { .d = 7, .v_dim = 16 },
        { .d = 32, .sinks = true },
        { .d = 20, .sinks = true, .window = 12, .place = 2, .add = true },
        { .d = 16, .add = true, .fused = true },
        { .d = 24, .full = true, .distances = true },
        { .d = 16, .full = true, .distances = true, .place = 3, .sinks = true, .window = 40 },
        { .d = 24, .v_dim = 17, .cap = 3, .sinks = true, .full = true, .window = 33, .add = true },
        { .d = 16, .full = true, .window = 9, .prefix = 1 },
        { .d = 20, .full = true, .window = 40, .prefix = 70, .place = 2, .cap = 3, .add = true },
        { .d = 32, .full = true, .window = 12, .prefix = 5, .sinks = true, .distances = true },
    };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = next_variant(&level, &k));)
        for (size_t i = 0; i < NIB_COUNT(lengths); i++)
            for (size_t j = 0; j < NIB_COUNT(shapes); j++)
                for (size_t how = (i + j) % 2; how < 4; how += 2) {
                    shape s = shapes[j];
                    s.type = how % 2 ? NIB_BF16 : NIB_F32;
                    s.length = lengths[i];
                    if (s.length > 200 && !s.prefix) continue; /* there is a gap of whole tiles */
                    if (how >= 2) s.queries = nib_min(s.length, 3); /* one by one */
                    check(&k, name, s);
                }
}

/* Dropout of probabilities; of a few queries too. */
static void test_dropout(void)
{
    static const size_t lengths[] = { 1, 3, 5, 64, 65, 130 };
    static const shape shapes[] = {
        { .d = 16, .full = true, .drop = 0.1f },
        { .d = 20, .drop = 0.5f, .window = 9, .place = 3, .fused = true },
        { .d = 32, .full = true, .window = 70, .drop = 0.3f, .add = true, .cap = 2 },
        { .d = 16, .full = true, .window = 8, .prefix = 3, .drop = 0.3f },
    };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = next_variant(&level, &k));)
        for (size_t i = 0; i < NIB_COUNT(lengths); i++)
            for (size_t j = 0; j < NIB_COUNT(shapes); j++) {
                shape s = shapes[j];
                s.type = (i + j) % 2 ? NIB_BF16 : NIB_F32;
                s.length = lengths[i];
                check(&k, name, s);
            }
}

/* Of equal scores and values 1 an output is the part that is kept, times 1 / (1 - p): 1 in the
 * mean, and another for each query, head, record and epoch. */
static void test_dropout_law(void)
{
    enum { N = 128 };
    shape s = { .type = NIB_F32, .length = N, .d = 1, .full = true, .drop = 0.25f };
    nib_kernels k = nib_kernels_for(0);
    float first[4] = { 0 };

    for (size_t how = 0; how < 4; how++) {
        problem p = make(s, how == 1);
        result r = results(&p);
        double sum = 0, squares = 0;

        p.a.record += how == 2;
        p.a.epoch += how == 3;
        memset(p.q, 0, N * HEADS * sizeof(float));
        for (size_t i = 0; i < N * KV_HEADS; i++) ((float *)p.v)[i] = 1;
        forward(&k, &p, &r);
        for (size_t i = 0; i < N; i++) {
            double o = (double)((float *)r.o)[i * HEADS + p.a.head];
            sum += o;
            squares += (o - 1) * (o - 1);
        }
        first[how] = ((float *)r.o)[p.a.head] + 3 * ((float *)r.o)[HEADS + p.a.head];
        /* of a query: 1 +- sqrt(1/3 / 128); of all: 1 +- .0045 */
        CHECK(fabs(sum / N - 1) < 0.02 && fabs(squares / N * N - 1. / 3) < 0.2, "%g, %g", sum / N,
              squares);
    }
    CHECK(first[0] != first[1] && first[0] != first[2] && first[0] != first[3], "%g %g %g %g",
          (double)first[0], (double)first[1], (double)first[2], (double)first[3]);
}

/* Queries of one sequence, keys of another, which may be empty: what nobody sees gives zeros. */
static void test_cross(void)
{
    static const size_t lengths[] = { 0, 1, 17, 64, 130 }, queries[] = { 1, 4, 5, 70 };
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = next_variant(&level, &k));)
        for (size_t i = 0; i < NIB_COUNT(lengths); i++)
            for (size_t j = 0; j < NIB_COUNT(queries); j++)
                for (int how = 0; how < 4; how++)
                    check(&k, name,
                          (shape){ .type = how & 1 ? NIB_BF16 : NIB_F32, .length = lengths[i],
                                   .d = how & 2 ? 40 : 16, .queries = queries[j], .full = true,
                                   .sinks = how == 3, .cross = true });
}

/* `n` queries at a time. */
static void forward_pieces(const nib_kernels *k, const problem *p, size_t n, result *r)
{
    for (size_t i = 0; i < p->s.length; i += n) {
        problem some = *p;
        some.a.q0 += i;
        some.a.pos0 = i;
        some.a.q_len = n < p->s.length - i ? n : p->s.length - i;
        forward(k, &some, r);
    }
}

/* The same bits whole and in pieces, each longer than a few; and one by one and in pieces of a few,
 * which are summed in another order (generation). */
static void check_pieces(const nib_kernels *k, const char *name, size_t first, size_t second)
{
    for (int how = 0; how < 4; how++) {
        problem p = make((shape){ .type = how & 1 ? NIB_BF16 : NIB_F32, .length = 130, .d = 40,
                                  .window = how & 2 ? 37 : 0, .place = 4, .alibi = how == 3 },
                         2);
        result whole = results(&p), alone = results(&p);

        forward_pieces(k, &p, first, &whole);
        forward_pieces(k, &p, second, &alone);
        CHECK(memcmp(whole.o, alone.o, p.rows * HEADS * p.s.d * nib_dtype_bytes(p.s.type)) == 0 &&
                  memcmp(whole.lse, alone.lse, HEADS * p.a.lse_stride * sizeof(float)) == 0,
              "%s, way %d, %zu and %zu at a time", name, how, first, second);
    }
}

static void test_queries_alone(void)
{
    nib_kernels k;
    const char *name;

    for (size_t level = 0; (name = next_variant(&level, &k));) {
        check_pieces(&k, name, 130, 5);
        check_pieces(&k, name, 130, 13);
        for (size_t few = 2; few <= 4; few++) check_pieces(&k, name, 1, few);
    }
}

static void spoil(nib_dtype type, void *x, size_t at, size_t n, float with)
{
    for (size_t i = at; i < at + n; i++)
        if (type == NIB_F32) ((float *)x)[i] = with;
        else ((uint16_t *)x)[i] = nib_f32_to_bf16(with);
}

/* A token's values do not depend on tokens that it does not see: later ones, and those that have
 * left its window.  With keys and values of one token infinite or NaN, those of other tokens have
 * the bits that they had before (0 * infinity is NaN, so a weight of 0 does not hide a value). */
static void check_unseen(const nib_kernels *k, const char *name, shape s, size_t bad, float with)
{
    problem p = make(s, 1);
    result before = results(&p), after = results(&p), back[2] = { results(&p), results(&p) };
    size_t each = p.a.kv_heads_k.row_stride, row = HEADS * s.d, bytes = nib_dtype_bytes(s.type),
           wrong = 0, wrong_back = 0;

    forward(k, &p, &before);
    backward(k, &p, &before, &back[0]);
    spoil(s.type, p.k, bad * each, each, with);
    spoil(s.type, p.v, bad * each, each, with);
    forward(k, &p, &after);
    backward(k, &p, &before, &back[1]);
    for (size_t i = 0; i < s.length; i++) {
        bool sees = bad <= i && (!s.window || i < bad + s.window);
        size_t at = i * row * bytes;
        if (sees) continue;
        if (memcmp((char *)before.o + at, (char *)after.o + at, row * bytes)) wrong++;
        if (memcmp((char *)back[0].dq + at, (char *)back[1].dq + at, row * bytes)) wrong_back++;
    }
    CHECK(
        !wrong && !wrong_back,
        "%s of type %d, window %zu: %g at token %zu changes %zu tokens that do not see it, "
        "%zu backward",
        name, (int)s.type, s.window, (double)with, bad, wrong, wrong_back);
}

static void check_all_unseen(const nib_kernels *k, const char *name, size_t window)
{
    static const size_t bad[] = { 0, 1, 30, 56, 63, 64, 99 };
    static const float with[] = { INFINITY, -INFINITY, NAN };

    for (size_t i = 0; i < NIB_COUNT(bad); i++)
        for (size_t j = 0; j < NIB_COUNT(with); j++) {
            shape s = { .type = NIB_F32, .length = 100, .d = 24, .window = window };
            check_unseen(k, name, s, bad[i], with[j]);
            s.type = NIB_BF16;
            check_unseen(k, name, s, bad[i], with[j]);
        }
}

static void unseen(size_t window)
{
    nib_kernels k = nib_kernels_for(0);
    const char *name;

    check_all_unseen(&k, "ref", window);
    for (size_t level = 0; (name = next_variant(&level, &k));)
        check_all_unseen(&k, name, window);
}
static void test_later_tokens(void) { unseen(0); }
static void test_left_the_window(void) { unseen(11); }

int main(void)
{
    static const test_case cases[] = {
        { "lengths", test_lengths },           { "heads", test_heads },
        { "few_queries", test_few_queries },   { "descriptors", test_descriptors },
        { "dropout", test_dropout },           { "dropout_law", test_dropout_law },
        { "cross", test_cross },               { "queries_alone", test_queries_alone },
        { "later_tokens", test_later_tokens }, { "left_the_window", test_left_the_window }
    };
    return test_main("attention", cases, NIB_COUNT(cases));
}
