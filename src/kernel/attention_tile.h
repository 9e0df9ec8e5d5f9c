/* attention_tile.h - a tile of 64 queries by 64 keys: who sees whom in it, its scores, their
 * softmax and its slope.  Part of attention_simd.h and attention_amx.c, which make the products. */
#ifndef NIB_KERNEL_ATTENTION_TILE_H
#define NIB_KERNEL_ATTENTION_TILE_H

#include <math.h>

#include "kernel/attention_one.h"
#include "kernel/attention_place.h"
#include "kernel/gemm_tile.h"
#include "kernel/kernels.h"

enum { QUERIES = NIB_ATTENTION_QUERIES, KEYS = NIB_ATTENTION_KEYS };

typedef struct rows { const float *at; size_t ld; } rows; /* float rows of one head */
typedef struct span { size_t lo, hi; } span;              /* [lo, hi) of a tile's keys or queries */

typedef struct tile {
    const nib_attention_args *a;
    size_t d, wide;         /* channels of q and k, and rounded up to strips */
    size_t v_d, v_wide;     /* of v and o */
    size_t i0, count;       /* the tile's queries */
    size_t j0;              /* its first key */
    size_t prefix;          /* of its keys, those that all queries see */
    bool careful;           /* something is not finite, and not all see all */
    rows k, v;              /* [KEYS, wide and v_wide]: where they lie, or widened */
    float *k_space, *v_space;
    float *q, *d_o;         /* [QUERIES, wide and v_wide], zeros behind d and behind count */
    float *qt, *dot;        /* the same as strips: [QUERIES / 16][d][16] */
    float *s, *ds;          /* [KEYS, QUERIES] */
    float *kept;            /* [KEYS, QUERIES] dropout's factors */
    float *o;               /* [QUERIES, v_wide]; backward: dq [QUERIES, wide] */
    float *dk, *dv;         /* [KEYS, ...] when their channels are not a whole number of strips */
    float *most, *total, *keep; /* [QUERIES]; backward: log-sum-exp to base 2, and own */
    float *first, *end;     /* [QUERIES] the keys that each query sees, counted from j0 */
    float *rest;            /* of the scratch: 4 QUERIES KEYS bfloat16 values */
} tile;

static float *take(float **at, size_t n)
{
    float *p = *at;
    *at += nib_round_up(n, 16);
    return p;
}

/* Channels are rounded up to whole `units`, strips or panels. */
static tile divide(const nib_attention_args *a, size_t unit, void *scratch)
{
    float *at = (float *)nib_round_up((uintptr_t)scratch, 64);
    tile t = { .a = a, .d = a->head_dim, .wide = nib_round_up(a->head_dim, unit),
               .v_d = a->v_dim, .v_wide = nib_round_up(a->v_dim, unit) };

    t.k_space = take(&at, KEYS * t.wide);
    t.v_space = take(&at, KEYS * t.v_wide);
    t.q = take(&at, QUERIES * t.wide);
    t.d_o = take(&at, QUERIES * t.v_wide);
    t.qt = take(&at, QUERIES * t.wide);
    t.dot = take(&at, QUERIES * t.v_wide);
    t.s = take(&at, KEYS * QUERIES);
    t.ds = take(&at, KEYS * QUERIES);
    t.kept = take(&at, KEYS * QUERIES);
    t.o = take(&at, QUERIES * nib_max(t.wide, t.v_wide));
    t.dk = take(&at, KEYS * t.wide);
    t.dv = take(&at, KEYS * t.v_wide);
    t.most = take(&at, QUERIES);
    t.total = take(&at, QUERIES);
    t.keep = take(&at, QUERIES);
    t.first = take(&at, QUERIES);
    t.end = take(&at, QUERIES);
    t.rest = at;
    return t;
}

/* --- who sees whom --- */

static void see(tile *t)
{
    size_t prefix = nib_seen_prefix(t->a);

    t->prefix = prefix > t->j0 ? nib_min(prefix - t->j0, KEYS) : 0;
    for (size_t i = 0; i < QUERIES; i++) {
        size_t first = 0, end = 0;
        if (i < t->count) nib_seen_keys(t->a, t->i0 + i, &first, &end);
        t->first[i] = first > t->j0 ? (float)nib_min(first - t->j0, KEYS) : 0;
        t->end[i] = end > t->j0 ? (float)nib_min(end - t->j0, KEYS) : 0;
    }
}

/* Keys among which are those that any of the queries [i, i + n) sees; both ends only grow with the
 * query. */
static span seen_by(const tile *t, size_t i, size_t n)
{
    span s = { 0, 0 };
    if (i >= t->count) return s;
    s = (span){ (size_t)t->first[i], (size_t)t->end[nib_min(i + n, t->count) - 1] };
    if (s.lo >= s.hi) s = (span){ 0, 0 };
    return t->prefix ? (span){ 0, nib_max(s.hi, t->prefix) } : s;
}

/* The first key of the tile behind the one at j0, where queries see the prefix and what begins at
 * `first`. */
static size_t next_tile(const tile *t, size_t first)
{
    size_t next = t->j0 + KEYS;
    return next < nib_seen_prefix(t->a) ? next : nib_max(next, first / KEYS * KEYS);
}

/* That of the first tile; *first and *end as next_tile() wants them. */
static size_t first_tile(const tile *t, size_t *first, size_t *end)
{
    size_t unused;

    nib_seen_keys(t->a, t->i0, first, &unused);
    nib_seen_keys(t->a, t->i0 + t->count - 1, &unused, end);
    *end = nib_max(*end, nib_seen_prefix(t->a));
    return t->a->prefix ? 0 : *first / KEYS * KEYS;
}

/* --- scores --- */

/* Whether each of the queries [i, i + VN) sees all of `seen`. */
static bool sees_all(const tile *t, size_t i, span seen)
{
    return i + VN <= t->count && t->first[i + VN - 1] <= (float)seen.lo &&
           t->end[i] >= (float)seen.hi;
}

/* How scores of VN queries are finished: by a scale, or through the cap, whose tanh is left. */
typedef struct finish {
    V scale, first, end;
    score_cap cap;
    const float *distances; /* of the queries to the tile's first key; or NULL */
} finish;

NIB_INLINE finish finish_of(const tile *t, size_t i, bool capped)
{
    const float *distances = t->a->distances ? nib_distances(t->a, t->i0 + i, t->j0) : NULL;

    return (finish){ .scale = v_set(t->a->scale * LOG2_E), .distances = distances,
                     .first = v_load(t->first + i), .end = v_load(t->end + i),
                     .cap = capped ? score_cap_of(t->a) : (score_cap){ v_zero(), v_zero() } };
}

/* A score to base 2; -inf where it is not seen. */
NIB_INLINE V finished(const tile *t, const finish *f, V s, size_t k, bool all, bool capped, V *tanh)
{
    V key = v_set((float)k);

    if (t->a->alibi_slopes) s = v_add(s, v_set(nib_alibi(t->a, t->j0 + k)));
    if (f->distances) s = v_add(s, v_load(f->distances - k));
    if (capped) *tanh = v_tanh(v_mul(s, f->cap.in));
    s = capped ? v_mul(*tanh, f->cap.out) : v_mul(s, f->scale);
    if (all || k < t->prefix) return s;
    s = v_if_less(key, f->first, v_set(-INFINITY), s);
    return v_if_less(key, f->end, s, v_set(-INFINITY));
}

/* f(..., all, capped) with both as constants. */
#define WITH_CASES(f, all, capped, ...)                                                            \
    do {                                                                                           \
        bool sees_all_ = (all);                                                                    \
        if (capped) {                                                                              \
            if (sees_all_) f(__VA_ARGS__, true, true);                                             \
            else f(__VA_ARGS__, false, true);                                                      \
        } else if (sees_all_) {                                                                    \
            f(__VA_ARGS__, true, false);                                                           \
        } else {                                                                                   \
            f(__VA_ARGS__, false, false);                                                          \
        }                                                                                          \
    } while (0)

static void clear_unseen(float *s, span seen)
{
    for (size_t k = 0; k < KEYS; k++)
        if (k < seen.lo || k >= seen.hi) v_store(s + k * QUERIES, v_zero());
}

/* p of VN queries, in place; their maxima, sums, and what sums so far are multiplied by. */
NIB_INLINE void softmax(const tile *t, size_t i, span seen, bool all, bool capped)
{
    V before = v_load(t->most + i), most = before, sum = v_zero(), shift, keep, unused;
    finish f = finish_of(t, i, capped);
    float *s = t->s + i;

    for (size_t k = seen.lo; k < seen.hi; k++) {
        V x = finished(t, &f, v_load(s + k * QUERIES), k, all, capped, &unused);
        v_store(s + k * QUERIES, x);
        most = v_max(x, most);
    }
    shift = v_max(v_set(-1e30f), most); /* finite where nothing was seen yet */
    keep = v_exp2(v_sub(before, shift));
    for (size_t k = seen.lo; k < seen.hi; k++) {
        V x = v_load(s + k * QUERIES), p = v_exp2(v_sub(x, shift));
        if (!all) p = if_seen(x, p);
        v_store(s + k * QUERIES, p);
        sum = v_add(sum, p);
    }
    v_store(t->most + i, most);
    v_store(t->total + i, v_fma(v_load(t->total + i), keep, sum));
    v_store(t->keep + i, keep);
}

/* --- softmax backward --- */

/* Scores become p, and dp becomes ds, of VN queries. */
NIB_INLINE void soften(const tile *t, size_t i, span seen, bool all, bool capped)
{
    V scale = v_set(t->a->scale), none = v_set(-INFINITY), lse = v_load(t->most + i),
      own = v_load(t->total + i), tanh = v_zero();
    finish f = finish_of(t, i, capped);

    for (size_t k = seen.lo; k < seen.hi; k++) {
        float *s = t->s + k * QUERIES + i, *ds = t->ds + k * QUERIES + i;
        V x = finished(t, &f, v_load(s), k, all, capped, &tanh), p = v_exp2(v_sub(x, lse)), g;
        if (!all) p = if_seen(x, p);
        g = v_mul(v_mul(p, v_sub(v_load(ds), own)), scale);
        if (capped) g = v_mul(g, v_sub(v_set(1), v_mul(tanh, tanh)));
        if (!all) g = v_if_less(none, x, g, v_zero());
        v_store(s, p);
        v_store(ds, g);
    }
}

/* A sink counts as a key seen before all others: the maximum and the sum begin with it. */
static void begin_softmax(tile *t)
{
    const nib_attention_args *a = t->a;
    float most = a->sinks ? a->sinks[a->head] * LOG2_E : -INFINITY, total = a->sinks ? 1 : 0;

    for (size_t i = 0; i < QUERIES; i++) t->most[i] = most, t->total[i] = total;
}

/* --- dropout --- */

/* The factors of what the tile's queries see. */
static void draw_kept(const tile *t)
{
    span all = seen_by(t, 0, t->count);

    if (t->a->drop_p == 0) return;
    for (size_t k = all.lo; k < all.hi; k++)
        for (size_t i = 0; i < QUERIES; i += 4)
            nib_attention_kept(t->a, t->i0 + i, t->j0 + k, t->kept + k * QUERIES + i);
}

static void drop(const tile *t, float *s)
{
    span all = seen_by(t, 0, t->count);

    if (t->a->drop_p == 0) return;
    for (size_t at = all.lo * QUERIES; at < all.hi * QUERIES; at += VN)
        v_store(s + at, v_mul(v_load(t->kept + at), v_load(s + at)));
}

/* --- what follows the products --- */

/* Scores become what values are multiplied by, and sums so far are brought to the new maxima. */
static void soften_forward(tile *t)
{
    for (size_t n = 0; n < t->count; n += TILE_COLUMNS) {
        span seen = seen_by(t, n, TILE_COLUMNS);
        for (size_t i = n; i < n + TILE_COLUMNS; i += VN) {
            WITH_CASES(softmax, sees_all(t, i, seen), t->a->cap > 0, t, i, seen);
            if (seen.hi - seen.lo < KEYS) clear_unseen(t->s + i, seen);
        }
    }
    for (size_t i = 0; i < t->count; i++)
        if (t->keep[i] != 1)
            for (size_t c = 0; c < t->v_wide; c += VN)
                v_store(t->o + i * t->v_wide + c,
                        v_mul(v_set(t->keep[i]), v_load(t->o + i * t->v_wide + c)));
    draw_kept(t);
    drop(t, t->s);
}

/* Scores and dp become p and ds. */
static void soften_backward(tile *t)
{
    draw_kept(t);
    drop(t, t->ds);
    for (size_t n = 0; n < t->count; n += TILE_COLUMNS) {
        span seen = seen_by(t, n, TILE_COLUMNS);
        for (size_t i = n; i < n + TILE_COLUMNS; i += VN) {
            WITH_CASES(soften, sees_all(t, i, seen), t->a->cap > 0, t, i, seen);
            if (seen.hi - seen.lo == KEYS) continue;
            clear_unseen(t->s + i, seen);
            clear_unseen(t->ds + i, seen);
        }
    }
    drop(t, t->s);
}

/* Of o and do. */
static nib_heads plain_heads(const nib_attention_args *a)
{
    return (nib_heads){ .row_stride = a->heads * a->v_dim, .head_stride = a->v_dim,
                        .per_group = a->heads };
}

/* The logarithm of each query's denominator to base 2, and own; what the sink gets of them. */
static void load_sums(tile *t)
{
    const nib_attention_args *a = t->a;

    widen(a->type, a->o, plain_heads(a), a->q0 + t->i0, t->count, a->head, t->v_d, t->v_wide, t->o);
    for (size_t i = 0; i < QUERIES; i++) {
        const float *o = t->o + i * t->v_wide, *d_o = t->d_o + i * t->v_wide;
        bool real = i < t->count;
        t->most[i] = real ? a->lse[a->head * a->lse_stride + a->q0 + t->i0 + i] * LOG2_E : 0;
        t->total[i] = real ? NIB_VARIANT(dot)(t->v_wide, o, d_o) : 0;
        if (real && a->d_sink)
            *a->d_sink -= exp2f(a->sinks[a->head] * LOG2_E - t->most[i]) * t->total[i];
    }
}

/* Where sums over queries are made, [KEYS, wide]: where they belong, or `space`, cleared. */
static float *sums_of(const tile *t, bool there, float *to, size_t d, size_t wide, float *space)
{
    if (there) return to + t->j0 * d;
    return memset(space, 0, KEYS * wide * sizeof *space);
}

/* From there to where they belong. */
static void add_sums(const tile *t, const float *sums, size_t count, size_t d, size_t wide,
                     float *to)
{
    to += t->j0 * d;
    for (size_t k = 0; k < count; k++)
        for (size_t c = 0; c < d; c++) to[k * d + c] += sums[k * wide + c];
}

/* The tile's queries when all their keys were met. */
static void end_forward(const tile *t)
{
    const nib_attention_args *a = t->a;

    for (size_t i = 0; i < t->count; i++) {
        size_t row = a->q0 + t->i0 + i, at = (row * a->heads + a->head) * t->v_d;
        V by = v_set(inverse(t->total[i]));
        for (size_t c = 0; c < t->v_d; c += VN)
            v_put(a->type, a->o, at + c, nib_min(VN, t->v_d - c),
                  v_mul(by, v_load(t->o + i * t->v_wide + c)));
        if (a->lse) a->lse[a->head * a->lse_stride + row] = t->most[i] * LN_2 + logf(t->total[i]);
    }
}

static void end_backward(const tile *t)
{
    const nib_attention_args *a = t->a;

    for (size_t i = 0; i < t->count; i++) {
        size_t to = nib_head_at(a->q_heads, a->q0 + t->i0 + i, a->head);
        for (size_t c = 0; c < t->d; c += VN) {
            size_t n = nib_min(VN, t->d - c);
            V g = v_load(t->o + i * t->wide + c);
            if (a->add_dq) g = v_add(v_get(a->type, a->dq, to + c, n), g);
            v_put(a->type, a->dq, to + c, n, g);
        }
    }
}

/* Gradients begin with zeros. */
static void begin_backward(const nib_attention_args *a)
{
    memset(a->dk, 0, a->kv_len * a->head_dim * sizeof(float));
    memset(a->dv, 0, a->kv_len * a->v_dim * sizeof(float));
    if (a->d_sink) *a->d_sink = 0;
}

#endif
