/* attention_simd.h - attention for one head in tiles of 64 queries by 64 keys: the body of
 * attention_avx2.c and attention_avx512.c.
 *
 * Scores lie turned, s[key][query]: then keys and values are read as they are, only queries are
 * packed (once, for all their keys), and a lane of a vector is a query, so that maxima and sums
 * need nothing across lanes.
 *
 *     forward     s = k q^T     p = e^(s - max)     o += p^T v
 *     backward    s and p again, dp = v do^T        ds = p (dp - own) slope     own = do . o
 *                 dv += p do    dk += ds q          dq += ds^T k
 *
 * Under dropout p in o and dv, and dp, are multiplied by the same factors.
 *
 * Tiles of keys begin at multiples of 64, and keys that a query does not see leave its sums as they
 * are, so a query's result does not depend on how queries are divided into tiles.  What strips of
 * queries do not see is not computed, but for the rest of a strip.
 * Source: Dao et al. 2022, arXiv:2205.14135 (online softmax, recomputed scores). */
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
} tile;

static float *take(float **at, size_t n)
{
    float *p = *at;
    *at += nib_round_up(n, 16);
    return p;
}

static tile divide(const nib_attention_args *a, void *scratch)
{
    float *at = (float *)nib_round_up((uintptr_t)scratch, 64);
    tile t = { .a = a, .d = a->head_dim, .wide = nib_round_up(a->head_dim, NIB_STRIP),
               .v_d = a->v_dim, .v_wide = nib_round_up(a->v_dim, NIB_STRIP) };

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
    return t;
}

/* --- rows and strips --- */

/* Keys or values of the tile: floats of whole strips are read where they lie, unless rows a
 * multiple of 4096 bytes apart would all fall into the same few sets of the first cache. */
static rows key_rows(const tile *t, const void *x, nib_heads layout, size_t count, size_t d,
                     size_t wide, float *space)
{
    const nib_attention_args *a = t->a;
    size_t head = nib_kv_head(a);

    if (a->type == NIB_F32 && d == wide && layout.row_stride * sizeof(float) % 4096)
        return (rows){ (const float *)x + nib_head_at(layout, a->kv0 + t->j0, head),
                       layout.row_stride };
    widen(a->type, x, layout, a->kv0 + t->j0, count, head, d, wide, space);
    return (rows){ space, wide };
}

/* Queries (or do) of the tile, as rows and as strips. */
static void load_queries(const tile *t, const void *x, nib_heads layout, size_t d, size_t wide,
                         float *to, float *strips)
{
    const nib_attention_args *a = t->a;

    widen(a->type, x, layout, a->q0 + t->i0, t->count, a->head, d, wide, to);
    memset(to + t->count * wide, 0, (QUERIES - t->count) * wide * sizeof *to);
    for (size_t n = 0; n < QUERIES; n += NIB_PANEL)
        NIB_VARIANT(pack_transposed)(d, (const uint32_t *)(const void *)(to + n * wide), wide,
                                     (uint32_t *)(void *)(strips + n * d), d * NIB_STRIP);
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

/* Queries that see any of the keys [k, k + n). */
static span seeing(const tile *t, size_t k, size_t n)
{
    span s = { 0, t->count };
    if (k < t->prefix) return s;
    while (s.lo < s.hi && t->end[s.lo] <= (float)k) s.lo++;
    while (s.hi > s.lo && t->first[s.hi - 1] >= (float)(k + n)) s.hi--;
    return s;
}

/* --- products --- */

/* c[m rows, wide] += or = sum over k of a (lda from row to row, ka from k to k) times rows b. */
NIB_INLINE void times_rows(size_t m, size_t K, const float *a, size_t lda, size_t ka, rows b,
                           size_t wide, float *c, size_t ldc)
{
    terms t = { .K = K, .a = a, .lda = lda, .ka = ka, .b = b.at, .ldb = b.ld, .bv = VN };
    size_t n = 0;

    for (; n + TILE_COLUMNS <= wide; n += TILE_COLUMNS, t.b += TILE_COLUMNS)
        tile_rows(m, t, no_terms(t), results_in(c + n, ldc, true));
    if (n < wide) tile_rows_strip(m, t, no_terms(t), results_in(c + n, ldc, true));
}

/* s[key][query] = keys (or values) . queries (or do) of d channels, where a strip sees them. */
static void dots(const tile *t, rows keys, size_t d, const float *strips, float *s)
{
    for (size_t n = 0; n < QUERIES; n += TILE_COLUMNS) {
        span seen = seen_by(t, n, TILE_COLUMNS);
        for (size_t k = seen.lo, m; k < seen.hi; k += m) {
            terms key = terms_at(d, keys.at + k * keys.ld, keys.ld, strips, n);
            m = tile_height(seen.hi - k);
            tile_rows(m, key, no_terms(key), results_in(s + k * QUERIES + n, QUERIES, false));
        }
    }
}

/* Rows of the next product: one where an infinity or NaN must not reach who does not see it (0
 * times it is NaN), for several rows take part in all that any of them sees. */
static size_t height(const tile *t, size_t left) { return t->careful ? 1 : tile_height(left); }

/* out[query] += sum of s[key][query] times a key's row. */
static void gather_keys(const tile *t, const float *s, rows keys, size_t wide, float *out)
{
    for (size_t i = 0, m; i < t->count; i += m) {
        span seen;
        m = height(t, t->count - i);
        seen = seen_by(t, i, m);
        keys.at += seen.lo * keys.ld;
        times_rows(m, seen.hi - seen.lo, s + seen.lo * QUERIES + i, 1, QUERIES, keys, wide,
                   out + i * wide, wide);
        keys.at -= seen.lo * keys.ld;
    }
}

/* out[key] += sum of s[key][query] times a query's row. */
static void gather_queries(const tile *t, const float *s, const float *queries, size_t wide,
                           float *out)
{
    span all = seen_by(t, 0, t->count);

    for (size_t k = all.lo, m; k < all.hi; k += m) {
        span who;
        m = height(t, all.hi - k);
        who = seeing(t, k, m);
        times_rows(m, who.hi - who.lo, s + k * QUERIES + who.lo, QUERIES, 1,
                   (rows){ queries + who.lo * wide, wide }, wide, out + k * wide, wide);
    }
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

static bool all_finite(rows x, size_t r0, size_t r1, size_t wide)
{
    V sum = v_zero();

    for (size_t r = r0; r < r1; r++)
        for (size_t c = 0; c < wide; c += VN)
            sum = v_fma(v_load(x.at + r * x.ld + c), v_zero(), sum);
    return v_sum(sum) == 0;
}

/* Loads keys and values; says whether every query of the tile sees every key. */
static bool load_tile(tile *t)
{
    const nib_attention_args *a = t->a;
    size_t count = nib_min(KEYS, a->kv_len - t->j0);
    span all;

    see(t);
    all = seen_by(t, 0, t->count);
    t->k = key_rows(t, a->k, a->kv_heads_k, count, t->d, t->wide, t->k_space);
    t->v = key_rows(t, a->v, a->kv_heads_v, count, t->v_d, t->v_wide, t->v_space);
    t->careful = false;
    if (t->first[t->count - 1] <= (float)all.lo && t->end[0] >= (float)all.hi) return true;
    t->careful = !all_finite(t->k, all.lo, all.hi, t->wide) ||
                 !all_finite(t->v, all.lo, all.hi, t->v_wide);
    return false;
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

static void forward_tile(tile *t)
{
    load_tile(t);
    dots(t, t->k, t->d, t->qt, t->s);
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
    gather_keys(t, t->s, t->v, t->v_wide, t->o);
}

/* A sink counts as a key seen before all others: the maximum and the sum begin with it. */
static void begin_softmax(tile *t)
{
    const nib_attention_args *a = t->a;
    float most = a->sinks ? a->sinks[a->head] * LOG2_E : -INFINITY, total = a->sinks ? 1 : 0;

    for (size_t i = 0; i < QUERIES; i++) t->most[i] = most, t->total[i] = total;
}

static void forward_queries(tile *t)
{
    const nib_attention_args *a = t->a;
    size_t first, end;

    load_queries(t, a->q, a->q_heads, t->d, t->wide, t->q, t->qt);
    memset(t->o, 0, t->count * t->v_wide * sizeof(float));
    begin_softmax(t);
    for (t->j0 = first_tile(t, &first, &end); t->j0 < end; t->j0 = next_tile(t, first))
        forward_tile(t);
    for (size_t i = 0; i < t->count; i++) {
        size_t row = a->q0 + t->i0 + i, at = (row * a->heads + a->head) * t->v_d;
        V by = v_set(inverse(t->total[i]));
        for (size_t c = 0; c < t->v_d; c += VN)
            v_put(a->type, a->o, at + c, nib_min(VN, t->v_d - c),
                  v_mul(by, v_load(t->o + i * t->v_wide + c)));
        if (a->lse) a->lse[a->head * a->lse_stride + row] = t->most[i] * LN_2 + logf(t->total[i]);
    }
}

void NIB_VARIANT(attention_forward)(const nib_attention_args *a, void *scratch)
{
    tile t;

    if (a->q_len <= NIB_DOT_ROWS && a->drop_p == 0 && !a->prefix) {
        for (size_t i = 0; i < a->q_len; i++)
            if (a->type == NIB_F32) forward_one(a, NIB_F32, i, scratch);
            else forward_one(a, NIB_BF16, i, scratch);
        return;
    }
    t = divide(a, scratch);
    for (t.i0 = 0; t.i0 < a->q_len; t.i0 += QUERIES) {
        t.count = nib_min(QUERIES, a->q_len - t.i0);
        forward_queries(&t);
    }
}

/* --- backward --- */

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

/* Where sums over queries are made, [KEYS, wide]: where they belong, or `space`, cleared. */
static float *sums_of(const tile *t, float *to, size_t d, size_t wide, float *space)
{
    if (d == wide) return to + t->j0 * d;
    return memset(space, 0, KEYS * wide * sizeof *space);
}

static void add_sums(const tile *t, const float *sums, size_t count, size_t d, size_t wide,
                     float *to)
{
    if (d == wide) return;
    to += t->j0 * d;
    for (size_t k = 0; k < count; k++)
        for (size_t c = 0; c < d; c++) to[k * d + c] += sums[k * wide + c];
}

static void backward_tile(tile *t)
{
    const nib_attention_args *a = t->a;
    size_t count = nib_min(KEYS, a->kv_len - t->j0);
    float *dk = sums_of(t, a->dk, t->d, t->wide, t->dk),
          *dv = sums_of(t, a->dv, t->v_d, t->v_wide, t->dv);

    if (!load_tile(t) && !t->careful) {
        rows q = { t->q, t->wide }, d_o = { t->d_o, t->v_wide };
        t->careful = !all_finite(q, 0, t->count, t->wide) ||
                     !all_finite(d_o, 0, t->count, t->v_wide);
    }
    dots(t, t->k, t->d, t->qt, t->s);
    dots(t, t->v, t->v_d, t->dot, t->ds);
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
    gather_queries(t, t->s, t->d_o, t->v_wide, dv);
    gather_queries(t, t->ds, t->q, t->wide, dk);
    gather_keys(t, t->ds, t->k, t->wide, t->o);
    add_sums(t, dk, count, t->d, t->wide, a->dk);
    add_sums(t, dv, count, t->v_d, t->v_wide, a->dv);
}

/* The logarithm of each query's denominator to base 2, and own; what the sink gets of them. */
static void load_sums(tile *t, nib_heads plain)
{
    const nib_attention_args *a = t->a;

    widen(a->type, a->o, plain, a->q0 + t->i0, t->count, a->head, t->v_d, t->v_wide, t->o);
    for (size_t i = 0; i < QUERIES; i++) {
        const float *o = t->o + i * t->v_wide, *d_o = t->d_o + i * t->v_wide;
        bool real = i < t->count;
        t->most[i] = real ? a->lse[a->head * a->lse_stride + a->q0 + t->i0 + i] * LOG2_E : 0;
        t->total[i] = real ? NIB_VARIANT(dot)(t->v_wide, o, d_o) : 0;
        if (real && a->d_sink)
            *a->d_sink -= exp2f(a->sinks[a->head] * LOG2_E - t->most[i]) * t->total[i];
    }
}

static void backward_queries(tile *t)
{
    const nib_attention_args *a = t->a;
    nib_heads plain = { .row_stride = a->heads * t->v_d, .head_stride = t->v_d,
                        .per_group = a->heads };
    size_t first, end;

    load_queries(t, a->q, a->q_heads, t->d, t->wide, t->q, t->qt);
    load_queries(t, a->d_o, plain, t->v_d, t->v_wide, t->d_o, t->dot);
    load_sums(t, plain);
    memset(t->o, 0, QUERIES * t->wide * sizeof(float));
    for (t->j0 = first_tile(t, &first, &end); t->j0 < end; t->j0 = next_tile(t, first))
        backward_tile(t);
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

void NIB_VARIANT(attention_backward)(const nib_attention_args *a, void *scratch)
{
    tile t = divide(a, scratch);

    memset(a->dk, 0, a->kv_len * t.d * sizeof(float));
    memset(a->dv, 0, a->kv_len * t.v_d * sizeof(float));
    if (a->d_sink) *a->d_sink = 0;
    for (t.i0 = 0; t.i0 < a->q_len; t.i0 += QUERIES) {
        t.count = nib_min(QUERIES, a->q_len - t.i0);
        backward_queries(&t);
    }
}
