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
#include "kernel/attention_tile.h"

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

static void forward_tile(tile *t)
{
    load_tile(t);
    dots(t, t->k, t->d, t->qt, t->s);
    soften_forward(t);
    gather_keys(t, t->s, t->v, t->v_wide, t->o);
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
    end_forward(t);
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
    t = divide(a, NIB_STRIP, scratch);
    for (t.i0 = 0; t.i0 < a->q_len; t.i0 += QUERIES) {
        t.count = nib_min(QUERIES, a->q_len - t.i0);
        forward_queries(&t);
    }
}

/* --- backward --- */

static void backward_tile(tile *t)
{
    const nib_attention_args *a = t->a;
    size_t count = nib_min(KEYS, a->kv_len - t->j0);
    bool dk_there = t->d == t->wide, dv_there = t->v_d == t->v_wide;
    float *dk = sums_of(t, dk_there, a->dk, t->d, t->wide, t->dk),
          *dv = sums_of(t, dv_there, a->dv, t->v_d, t->v_wide, t->dv);

    if (!load_tile(t) && !t->careful) {
        rows q = { t->q, t->wide }, d_o = { t->d_o, t->v_wide };
        t->careful = !all_finite(q, 0, t->count, t->wide) ||
                     !all_finite(d_o, 0, t->count, t->v_wide);
    }
    dots(t, t->k, t->d, t->qt, t->s);
    dots(t, t->v, t->v_d, t->dot, t->ds);
    soften_backward(t);
    gather_queries(t, t->s, t->d_o, t->v_wide, dv);
    gather_queries(t, t->ds, t->q, t->wide, dk);
    gather_keys(t, t->ds, t->k, t->wide, t->o);
    if (!dk_there) add_sums(t, dk, count, t->d, t->wide, a->dk);
    if (!dv_there) add_sums(t, dv, count, t->v_d, t->v_wide, a->dv);
}

static void backward_queries(tile *t)
{
    const nib_attention_args *a = t->a;
    size_t first, end;

    load_queries(t, a->q, a->q_heads, t->d, t->wide, t->q, t->qt);
    load_queries(t, a->d_o, plain_heads(a), t->v_d, t->v_wide, t->d_o, t->dot);
    load_sums(t);
    memset(t->o, 0, QUERIES * t->wide * sizeof(float));
    for (t->j0 = first_tile(t, &first, &end); t->j0 < end; t->j0 = next_tile(t, first))
        backward_tile(t);
    end_backward(t);
}

void NIB_VARIANT(attention_backward)(const nib_attention_args *a, void *scratch)
{
    tile t = divide(a, NIB_STRIP, scratch);

    begin_backward(a);
    for (t.i0 = 0; t.i0 < a->q_len; t.i0 += QUERIES) {
        t.count = nib_min(QUERIES, a->q_len - t.i0);
        backward_queries(&t);
    }
}
