/* attention_one.h - attention of one query, which is what generating a token is: a dot a key, then
 * a weighted sum of values.  Part of attention_simd.h.
 *
 * Keys and values are read where they lie, four keys at a time, so that their sums cross lanes
 * together.  A few queries are computed one by one, so that a token's result is the same alone and
 * among a few (generate/lookup.h). */
#ifndef NIB_KERNEL_ATTENTION_ONE_H
#define NIB_KERNEL_ATTENTION_ONE_H

#include <math.h>

#include "kernel/attention_place.h"
#include "kernel/dot4.h"
#include "kernel/gemm.h"
#include "kernel/simd.h"

enum { ONE_KEYS = 4, ONE_VECTORS = 8 /* of channels, whose sums stay in registers */ };
static const float LOG2_E = 1.44269504f, LN_2 = 0.693147181f;

/* --- shared with tiles of queries --- */

/* Rows of one head in float, each followed by zeros up to `wide`. */
NIB_INLINE void widen_of(nib_dtype type, const void *x, nib_heads layout, size_t row, size_t count,
                         size_t head, size_t d, size_t wide, float *to)
{
    enum { AHEAD = 6 }; /* rows: each on another page, where the processor does not look ahead */
    const size_t bytes = nib_dtype_bytes(type);

    for (size_t r = 0; r < count; r++, to += wide) {
        const char *from = (const char *)x + nib_head_at(layout, row + r, head) * bytes, *ahead;
        size_t c = 0;

        if (r + AHEAD < count) {
            ahead = (const char *)x + nib_head_at(layout, row + r + AHEAD, head) * bytes;
            for (size_t i = 0; i < d * bytes; i += 64) _mm_prefetch(ahead + i, _MM_HINT_T0);
        }
        for (; c + VN <= d; c += VN) v_store(to + c, v_get(type, from, c, VN));
        for (; c < wide; c += VN)
            v_store(to + c, c < d ? v_get(type, from, c, d - c) : v_zero());
    }
}

static void widen(nib_dtype type, const void *x, nib_heads layout, size_t row, size_t count,
                  size_t head, size_t d, size_t wide, float *to)
{
    if (type == NIB_F32) widen_of(NIB_F32, x, layout, row, count, head, d, wide, to);
    else widen_of(NIB_BF16, x, layout, row, count, head, d, wide, to);
}

/* p where the score x is seen, 0 where it is -inf; NaN stays. */
NIB_INLINE V if_seen(V x, V p)
{
    return v_if_less(v_set(-INFINITY), x, p, v_if_less(x, v_zero(), v_zero(), p));
}

/* A score q . k as it is capped, to base 2: cap * tanh(s * scale / cap). */
typedef struct score_cap { V in, out; } score_cap;

NIB_INLINE score_cap score_cap_of(const nib_attention_args *a)
{
    return (score_cap){ v_set(a->scale / a->cap), v_set(a->cap * LOG2_E) };
}

/* 1 / total; of nothing that was seen, 0. */
NIB_INLINE float inverse(float total) { return total == 0 ? 0 : 1 / total; }

/* --- one query --- */

/* Keys or values of the head, from the first that is seen on. */
typedef struct one_rows {
    nib_dtype type;
    const char *at;
    size_t bytes; /* from row to row */
} one_rows;

NIB_INLINE one_rows one_rows_of(const nib_attention_args *a, nib_dtype type, const void *x,
                                nib_heads layout, size_t first)
{
    size_t each = nib_dtype_bytes(type);
    return (one_rows){ type,
                       (const char *)x + nib_head_at(layout, a->kv0 + first, nib_kv_head(a)) * each,
                       layout.row_stride * each };
}

NIB_INLINE V one_get(one_rows x, size_t row, size_t c, size_t n)
{
    return v_get(x.type, x.at + row * x.bytes, c, n);
}

/* p[j] = q . key j for n keys, and of the last key up to a whole group. */
NIB_INLINE void one_dots(const float *q, one_rows keys, size_t n, size_t d, float *p)
{
    for (size_t j = 0; j < n; j += ONE_KEYS) {
        V sum[ONE_KEYS];
        size_t row[ONE_KEYS];
        for (size_t i = 0; i < ONE_KEYS; i++) sum[i] = v_zero(), row[i] = nib_min(j + i, n - 1);
        for (size_t c = 0; c + VN <= d; c += VN)
            for (size_t i = 0; i < ONE_KEYS; i++)
                sum[i] = v_fma(v_load(q + c), one_get(keys, row[i], c, VN), sum[i]);
        for (size_t c = d / VN * VN, i = 0; c < d && i < ONE_KEYS; i++)
            sum[i] = v_fma(v_load(q + c), one_get(keys, row[i], c, d - c), sum[i]);
        v_sum4(sum, p + j);
    }
}

/* o[c] = sum of p[j] times channel c of value j, for some vectors of channels. */
NIB_INLINE void one_weigh(const float *p, one_rows values, size_t n, size_t c, size_t vectors,
                          float *o)
{
    V sum[ONE_VECTORS];

    for (size_t v = 0; v < vectors; v++) sum[v] = v_zero();
    for (size_t j = 0; j < n; j++)
#pragma GCC unroll 8
        for (size_t v = 0; v < vectors; v++)
            sum[v] = v_fma(v_set(p[j]), one_get(values, j, c + v * VN, VN), sum[v]);
    for (size_t v = 0; v < vectors; v++) v_store(o + c + v * VN, sum[v]);
}

NIB_INLINE void one_weigh_all(const float *p, one_rows values, size_t n, size_t d, float *o)
{
    size_t c = 0;
    V rest = v_zero();

    for (; c + 8 * VN <= d; c += 8 * VN) one_weigh(p, values, n, c, 8, o);
    for (; c + 4 * VN <= d; c += 4 * VN) one_weigh(p, values, n, c, 4, o);
    for (; c + VN <= d; c += VN) one_weigh(p, values, n, c, 1, o);
    for (size_t j = 0; c < d && j < n; j++)
        rest = v_fma(v_set(p[j]), one_get(values, j, c, d - c), rest);
    if (c < d) v_store(o + c, rest);
}

static void one_cap(const nib_attention_args *a, float *p, size_t n)
{
    score_cap cap = score_cap_of(a);

    for (size_t j = 0; j < n; j += VN)
        v_store(p + j, v_mul(v_tanh(v_mul(v_load(p + j), cap.in)), cap.out));
}

/* p[j] = 2^(p[j] * scale - max); their sum, and the maximum, which is at least `least`. */
NIB_INLINE float one_softmax(float *p, size_t n, float scale, float least, float *greatest)
{
    V most = v_set(least), sum = v_zero(), by = v_set(scale);

    for (size_t j = n; j < nib_round_up(n, VN); j++) p[j] = -INFINITY;
    for (size_t j = 0; j < n; j += VN) {
        V x = v_mul(v_load(p + j), by);
        most = v_max(most, x);
        v_store(p + j, x);
    }
    *greatest = v_greatest(most);
    for (size_t j = 0; j < n; j += VN) {
        V x = v_load(p + j), e = if_seen(x, v_exp2(v_sub(x, v_set(*greatest))));
        v_store(p + j, e);
        sum = v_add(sum, e);
    }
    return v_sum(sum);
}

/* Query i.  scratch: q and o in float, then a score a key. */
NIB_INLINE void forward_one(const nib_attention_args *a, nib_dtype type, size_t i, void *scratch)
{
    size_t d = a->head_dim, dv = a->v_dim, wide = nib_round_up(d, NIB_STRIP), row = a->q0 + i,
           first, end, at;
    float *q = (float *)nib_round_up((uintptr_t)scratch, 64), *o = q + wide,
          *p = o + nib_round_up(dv, NIB_STRIP), sink = -INFINITY, most, total;
    one_rows keys, values;

    nib_seen_keys(a, i, &first, &end);
    keys = one_rows_of(a, type, a->k, a->kv_heads_k, first);
    values = one_rows_of(a, type, a->v, a->kv_heads_v, first);
    widen(type, a->q, a->q_heads, row, 1, a->head, d, wide, q);
    one_dots(q, keys, end - first, d, p);
    for (size_t j = 0; a->alibi_slopes && j < end - first; j++) p[j] += nib_alibi(a, first + j);
    for (size_t j = 0; a->distances && j < end - first; j++)
        p[j] += *nib_distances(a, i, first + j);
    if (a->cap > 0) one_cap(a, p, end - first);
    if (a->sinks) sink = a->sinks[a->head] * LOG2_E;
    total = one_softmax(p, end - first, a->cap > 0 ? 1 : a->scale * LOG2_E, sink, &most);
    if (a->sinks) total += exp2f(sink - most);
    one_weigh_all(p, values, end - first, dv, o);
    at = (row * a->heads + a->head) * dv;
    for (size_t c = 0; c < dv; c += VN)
        v_put(type, a->o, at + c, nib_min(VN, dv - c), v_mul(v_set(inverse(total)), v_load(o + c)));
    if (a->lse) a->lse[a->head * a->lse_stride + row] = most * LN_2 + logf(total);
}

#endif
