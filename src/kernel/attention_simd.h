/* attention_simd.h - attention for one head in tiles of 56 queries by 64 keys: the body of
 * attention_avx2.c and attention_avx512.c.
 *
 * Tiles of keys begin at multiples of 64, and a tile that a query does not see leaves its sums
 * as they are, so a query's result does not depend on how queries are divided into tiles.
 * Source: Dao et al. 2022, arXiv:2205.14135 (online softmax, recomputed scores). */
#include <math.h>

#include "kernel/attention_place.h"
#include "kernel/gemm_tile.h"
#include "kernel/kernels.h"

enum { QUERIES = NIB_ATTENTION_QUERIES, KEYS = NIB_ATTENTION_KEYS };

typedef struct tiles {
    const nib_attention_args *a;
    size_t d, wide;       /* head_dim, and rounded up to panels */
    float *k, *v;         /* [KEYS, wide] of this tile of keys, widened; zeros behind */
    float *kt, *vt;       /* the same as panels: [KEYS / 32][d][32] */
    float *s, *ds;        /* [QUERIES, KEYS] */
    float *q, *o;         /* [QUERIES, wide] */
    float *rest;
} tiles;

static float *take(float **at, size_t n)
{
    float *p = *at;
    *at += nib_round_up(n, 16);
    return p;
}

static tiles divide(const nib_attention_args *a, void *scratch)
{
    float *at = (float *)nib_round_up((uintptr_t)scratch, 64);
    tiles t = { .a = a, .d = a->head_dim, .wide = nib_round_up(a->head_dim, 32) };

    t.k = take(&at, KEYS * t.wide);
    t.v = take(&at, KEYS * t.wide);
    t.kt = take(&at, KEYS * t.wide);
    t.vt = take(&at, KEYS * t.wide);
    t.s = take(&at, QUERIES * KEYS);
    t.ds = take(&at, QUERIES * KEYS);
    t.q = take(&at, QUERIES * t.wide);
    t.o = take(&at, QUERIES * t.wide);
    t.rest = at;
    return t;
}

/* Rows of one head in float, each followed by zeros up to `wide`. */
static void widen(nib_dtype type, const void *x, nib_heads layout, size_t row, size_t rows, size_t head,
                  size_t d, size_t wide, float *to)
{
    for (size_t r = 0; r < rows; r++) {
        size_t at = nib_head_at(layout, row + r, head);
        for (size_t c = 0; c < wide; c += VN) {
            size_t n = c < d ? nib_min(VN, d - c) : 0;
            v_store(to + r * wide + c, n ? v_get(type, x, at + c, n) : v_zero());
        }
    }
}

/* [KEYS, wide] as panels of 32 keys. */
static void make_panels(const float *rows, size_t d, size_t wide, float *panels)
{
    for (size_t n = 0; n < KEYS; n += 32)
        NIB_VARIANT(pack_transposed)(d, (const uint32_t *)(const void *)(rows + n * wide), wide,
                                     (uint32_t *)(void *)(panels + n * d));
}

static void load_keys(const tiles *t, size_t j0, size_t count)
{
    const nib_attention_args *a = t->a;
    size_t head = nib_kv_head(a);

    widen(a->type, a->k, a->kv_heads_k, a->kv0 + j0, count, head, t->d, t->wide, t->k);
    widen(a->type, a->v, a->kv_heads_v, a->kv0 + j0, count, head, t->d, t->wide, t->v);
    if (count < KEYS) {
        memset(t->k + count * t->wide, 0, (KEYS - count) * t->wide * sizeof(float));
        memset(t->v + count * t->wide, 0, (KEYS - count) * t->wide * sizeof(float));
    }
    make_panels(t->k, t->d, t->wide, t->kt);
}

/* out[rows, KEYS] = x[rows, d] keys^T */
static void times_keys(size_t rows, size_t d, size_t wide, const float *x, const float *panels, float *out)
{
    for (size_t n = 0; n < KEYS; n += 32) tile_column(rows, d, x, wide, 1, panels + n * d, 32, out + n, KEYS, false);
}

/* Which of this tile's keys query i sees: [*lo, *hi) of 0 .. KEYS; empty when *lo >= *hi. */
static void seen_in_tile(const nib_attention_args *a, size_t i, size_t j0, size_t *lo, size_t *hi)
{
    size_t first, end;
    nib_seen_keys(a, i, &first, &end);
    *lo = first > j0 ? first - j0 : 0;
    *hi = end > j0 ? nib_min(end - j0, KEYS) : 0;
}

/* Scale and bias; what is not seen becomes -inf. */
static void finish_scores(const nib_attention_args *a, float *s, size_t j0, size_t lo, size_t hi)
{
    V scale = v_set(a->scale);

    if (a->alibi_slopes)
        for (size_t j = lo; j < hi; j++) s[j] += nib_alibi(a, j0 + j);
    for (size_t j = 0; j < KEYS; j += VN) v_store(s + j, v_mul(scale, v_load(s + j)));
    for (size_t j = 0; j < lo; j++) s[j] = -INFINITY;
    for (size_t j = hi; j < KEYS; j++) s[j] = -INFINITY;
}

/* s = e^(s - by), 0 where s is -inf; their sum. */
static float exponentials(float *s, float by)
{
    V sum = v_zero(), shift = v_set(by), none = v_set(-INFINITY);

    for (size_t j = 0; j < KEYS; j += VN) {
        V x = v_load(s + j), e = v_exp(v_sub(x, shift));
#if defined(__AVX512F__)
        e = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, none, _CMP_NEQ_UQ), e);
#else
        e = _mm256_and_ps(e, _mm256_cmp_ps(x, none, _CMP_NEQ_UQ));
#endif
        v_store(s + j, e);
        sum = v_add(sum, e);
    }
    return v_sum(sum);
}

static float row_max(const float *s)
{
    V m = v_load(s);
    for (size_t j = VN; j < KEYS; j += VN) m = v_max(m, v_load(s + j));
    return v_greatest(m);
}

static void forward_tile(const tiles *t, size_t i0, size_t rows, size_t j0, float *most, float *total)
{
    times_keys(rows, t->d, t->wide, t->q, t->kt, t->s);
    for (size_t i = 0; i < rows; i++) {
        size_t lo, hi;
        float *s = t->s + i * KEYS, greatest, keep;

        seen_in_tile(t->a, i0 + i, j0, &lo, &hi);
        if (lo >= hi) {
            memset(s, 0, KEYS * sizeof *s);
            continue;
        }
        finish_scores(t->a, s, j0, lo, hi);
        greatest = row_max(s);
        if (!(greatest <= most[i])) { /* also when it is NaN */
            keep = expf(most[i] - greatest);
            most[i] = greatest;
            total[i] *= keep;
            for (size_t c = 0; c < t->wide; c += VN)
                v_store(t->o + i * t->wide + c, v_mul(v_set(keep), v_load(t->o + i * t->wide + c)));
        }
        total[i] += exponentials(s, most[i]);
    }
    for (size_t n = 0; n < t->wide; n += 32)
        tile_column(rows, KEYS, t->s, KEYS, 1, t->v + n, t->wide, t->o + n, t->wide, true);
}

void NIB_VARIANT(attention_forward)(const nib_attention_args *a, void *scratch)
{
    tiles t = divide(a, scratch);

    for (size_t i0 = 0; i0 < a->q_len; i0 += QUERIES) {
        size_t rows = nib_min(QUERIES, a->q_len - i0), first, end, unused;
        float most[QUERIES], total[QUERIES];

        widen(a->type, a->q, a->q_heads, a->q0 + i0, rows, a->head, t.d, t.wide, t.q);
        memset(t.o, 0, rows * t.wide * sizeof(float));
        for (size_t i = 0; i < rows; i++) most[i] = -INFINITY, total[i] = 0;
        nib_seen_keys(a, i0, &first, &unused);
        nib_seen_keys(a, i0 + rows - 1, &unused, &end);
        for (size_t j0 = first / KEYS * KEYS; j0 < end; j0 += KEYS) {
            load_keys(&t, j0, nib_min(KEYS, a->kv_len - j0));
            forward_tile(&t, i0, rows, j0, most, total);
        }
        for (size_t i = 0; i < rows; i++) {
            size_t at = ((a->q0 + i0 + i) * a->heads + a->head) * t.d;
            V by = v_set(1 / total[i]);
            for (size_t c = 0; c < t.d; c += VN)
                v_put(a->type, a->o, at + c, nib_min(VN, t.d - c), v_mul(by, v_load(t.o + i * t.wide + c)));
            if (a->lse) a->lse[a->head * a->lse_stride + a->q0 + i0 + i] = most[i] + logf(total[i]);
        }
    }
}

/* --- backward: ds = p (dp - own) scale, dp = do v^T, own = do . o --- */

typedef struct whole { float *q, *d_o, *dq, *own; } whole; /* all queries, [q_len, wide] and [q_len] */

/* Scores again, then s = p and ds of one tile. */
static void backward_scores(const tiles *t, const whole *w, size_t i0, size_t rows, size_t j0)
{
    const nib_attention_args *a = t->a;

    times_keys(rows, t->d, t->wide, w->q + i0 * t->wide, t->kt, t->s);
    times_keys(rows, t->d, t->wide, w->d_o + i0 * t->wide, t->vt, t->ds);
    for (size_t i = 0; i < rows; i++) {
        size_t lo, hi;
        float *s = t->s + i * KEYS, *ds = t->ds + i * KEYS;
        V own = v_set(w->own[i0 + i]), scale = v_set(a->scale);

        seen_in_tile(a, i0 + i, j0, &lo, &hi);
        if (lo >= hi) {
            memset(s, 0, KEYS * sizeof *s);
            memset(ds, 0, KEYS * sizeof *ds);
            continue;
        }
        finish_scores(a, s, j0, lo, hi);
        exponentials(s, a->lse[a->head * a->lse_stride + a->q0 + i0 + i]);
        for (size_t j = 0; j < KEYS; j += VN)
            v_store(ds + j, v_mul(v_mul(v_load(s + j), v_sub(v_load(ds + j), own)), scale));
    }
}

static void store_keys(const tiles *t, const float *rows, size_t j0, size_t count, float *to)
{
    for (size_t j = 0; j < count; j++) memcpy(to + (j0 + j) * t->d, rows + j * t->wide, t->d * sizeof *to);
}

static void backward_keys(const tiles *t, const whole *w, size_t j0)
{
    const nib_attention_args *a = t->a;
    size_t count = nib_min(KEYS, a->kv_len - j0);
    /* Sums of dk and dv of this tile of keys lie where forward has its queries' results. */
    float *dk = t->rest + 3 * nib_round_up(a->q_len * t->wide, 16) + nib_round_up(a->q_len, 16);
    float *dv = dk + KEYS * t->wide;

    load_keys(t, j0, count);
    make_panels(t->v, t->d, t->wide, t->vt);
    memset(dk, 0, 2 * KEYS * t->wide * sizeof *dk);
    for (size_t i0 = 0; i0 < a->q_len; i0 += QUERIES) {
        size_t rows = nib_min(QUERIES, a->q_len - i0), first, end, unused;

        nib_seen_keys(a, i0, &first, &unused);
        nib_seen_keys(a, i0 + rows - 1, &unused, &end);
        if (end <= j0 || first >= j0 + KEYS) continue; /* nobody here sees anybody there */
        backward_scores(t, w, i0, rows, j0);
        for (size_t n = 0; n < t->wide; n += 32) {
            tile_column(KEYS, rows, t->s, 1, KEYS, w->d_o + i0 * t->wide + n, t->wide, dv + n, t->wide, true);
            tile_column(KEYS, rows, t->ds, 1, KEYS, w->q + i0 * t->wide + n, t->wide, dk + n, t->wide, true);
            tile_column(rows, KEYS, t->ds, KEYS, 1, t->k + n, t->wide, w->dq + i0 * t->wide + n, t->wide, true);
        }
    }
    store_keys(t, dk, j0, count, a->dk);
    store_keys(t, dv, j0, count, a->dv);
}

void NIB_VARIANT(attention_backward)(const nib_attention_args *a, void *scratch)
{
    tiles t = divide(a, scratch);
    nib_heads plain = { .row_stride = a->heads * t.d, .head_stride = t.d, .per_group = a->heads };
    float *at = t.rest;
    whole w;

    w.q = take(&at, a->q_len * t.wide);
    w.d_o = take(&at, a->q_len * t.wide);
    w.dq = take(&at, a->q_len * t.wide);
    w.own = take(&at, a->q_len);
    widen(a->type, a->o, plain, a->q0, a->q_len, a->head, t.d, t.wide, w.q); /* o first, for own */
    widen(a->type, a->d_o, plain, a->q0, a->q_len, a->head, t.d, t.wide, w.d_o);
    for (size_t i = 0; i < a->q_len; i++) w.own[i] = NIB_VARIANT(dot)(t.wide, w.q + i * t.wide, w.d_o + i * t.wide);
    widen(a->type, a->q, a->q_heads, a->q0, a->q_len, a->head, t.d, t.wide, w.q);
    memset(w.dq, 0, a->q_len * t.wide * sizeof(float));
    for (size_t j0 = 0; j0 < a->kv_len; j0 += KEYS) backward_keys(&t, &w, j0);
    for (size_t i = 0; i < a->q_len; i++) {
        size_t to = nib_head_at(a->q_heads, a->q0 + i, a->head);
        for (size_t c = 0; c < t.d; c += VN)
            v_put(a->type, a->dq, to + c, nib_min(VN, t.d - c), v_load(w.dq + i * t.wide + c));
    }
}
