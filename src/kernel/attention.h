/* attention.h - softmax attention over ragged sequences, forward and backward.
 *
 * Rows are tokens of all sequences, one after another; sequence s has rows
 * seq[s] .. seq[s+1].  Memory is linear in the length: scores live in tiles.
 *
 *     s_ij = cap(scale * (q_i . k_j + bias_ij))             cap(s) = c tanh(s / c), or s
 *     p_ij = e^s_ij / (e^sink_h + sum_j e^s_ij)             o_i = sum_j p_ij v_j
 *
 * Position i sees j when j <= i, or at all when `full`; with a window w > 0 only if |i - j| < w;
 * with chunks of n > 0 positions only if i / n = j / n.  Keys below `prefix` are seen by all.  A
 * query that sees no key gives zeros.
 *
 * bias: a number for each distance i - j of a head (distances); or ALiBi as Falcon does it,
 * slope[h] * j with slope and product rounded to bfloat16 (formats.md 10.13); NULL: none.  sink: a
 * learned logit of a head that joins the denominator and has no value; NULL: none, e^sink is 0.
 * Query head h uses key/value head h / (heads / kv_heads).
 * Source: Dao et al. 2022 (arXiv:2205.14135), tiling and the recomputation of p from the row's
 * log-sum-exp in backward; soft cap: Gemma Team 2024 (arXiv:2408.00118), section 2; sinks: Xiao et
 * al. 2023 (arXiv:2309.17453), section 3.3, with one learned number a head. */
#ifndef NIB_KERNEL_ATTENTION_H
#define NIB_KERNEL_ATTENTION_H

#include "base/base.h"
#include "base/dtype.h"

/* Where a tensor's heads lie: element (row t, head h, channel c) of head group is at
 * base + t * row_stride + h_offset(h) + c, h_offset(h) = (h / per_group) * group_stride
 * + (h % per_group) * head_stride: fused q/k/v projections are views.  Strides in elements. */
typedef struct nib_heads {
    size_t row_stride, head_stride;
    size_t per_group, group_stride; /* per_group = heads and group_stride = 0 when plain */
} nib_heads;

/* The first channel of a head of a row. */
static inline size_t nib_head_at(nib_heads l, size_t row, size_t head)
{
    return row * l.row_stride + head / l.per_group * l.group_stride +
           head % l.per_group * l.head_stride;
}

typedef struct nib_attention_args {
    nib_dtype type;             /* compute type of q, k, v, o and their gradients */
    size_t heads, kv_heads;
    size_t head_dim, v_dim;     /* channels of a head of q and k, of v and o */
    float scale;
    float cap;                  /* 0: none */
    bool full;                  /* later positions are seen too */
    size_t window, chunk;       /* 0: none */
    size_t prefix;              /* 0: none; else `full` */
    const float *alibi_slopes;  /* [heads] or NULL */
    bool alibi_exact;           /* slope * j in float; else as Falcon rounds it */
    /* Of head h at distance i - j: distances[h * distances_ld + i - j + reach], whose distances are
     * at most `reach`; behind each head's 2 reach + 1 numbers at least 32 are readable.  NULL. */
    const float *distances;
    size_t distances_ld, reach;
    const float *sinks;         /* [heads] or NULL */
    nib_heads q_heads, kv_heads_k, kv_heads_v; /* views of q, k, v (and dq, dk, dv alike) */
    const void *q, *k, *v;
    void *o;                    /* [rows, heads * v_dim], plain */
    float *lse; /* [heads, total rows] logarithm of the denominator; out, then in */
    size_t lse_stride;          /* rows of lse: lse[h * lse_stride + t] */
    /* One sequence and one head at a time: rows q0 .. q0 + q_len of q, o, lse are queries
     * whose positions are pos0 .. pos0 + q_len; k, v hold kv_len rows from row kv0 on, at
     * positions 0 .. kv_len (a cache when generating; the sequence itself in training; another
     * sequence in cross attention, where `full` is set).  kv_len may be 0. */
    size_t q0, q_len, pos0, kv0, kv_len, head;
    /* Dropout of the probabilities: p_ij in o and dp_ij are multiplied by 0 or 1 / (1 - drop_p), a
     * function of the key, the record, head, i - drop_pos0, j and the epoch.  pos0 - drop_pos0 is a
     * multiple of 4 then. */
    float drop_p;               /* 0: none */
    size_t drop_pos0;
    uint32_t drop_key[2], record, epoch;
    /* backward only */
    const void *d_o;            /* [rows, heads * v_dim], plain */
    void *dq;                   /* like q */
    bool add_dq;                /* add to dq rather than write it */
    float *dk, *dv; /* float [kv_len, head_dim] and [kv_len, v_dim] of this query head: written */
    float *d_sink;              /* one number, of this head and these queries: written; or NULL */
} nib_attention_args;

/* Scratch for one call on one thread (either direction), with heads of at most `head_dim` channels
 * and at most `max_len` keys. */
size_t nib_attention_scratch_bytes(size_t head_dim, size_t max_len);

typedef void nib_attention_forward_fn(const nib_attention_args *a, void *scratch);
typedef void nib_attention_backward_fn(const nib_attention_args *a, void *scratch);

#endif
