/* attention.h - softmax attention over ragged sequences, forward and backward.
 *
 * Rows are tokens of all sequences, one after another; sequence s has rows
 * seq[s] .. seq[s+1].  Memory is linear in the length: scores live in tiles.
 * Positions i attends j when j <= i and, with a window w > 0, i - w < j.
 *
 *     p_ij = softmax_j(scale * (q_i . k_j + bias_ij))    o_i = sum_j p_ij v_j
 *
 * bias: ALiBi as Falcon does it, slope[h] * j with slope and product rounded to
 * bfloat16 (formats.md 10.13); NULL: none.  Query head h uses key/value head
 * h / (heads / kv_heads).  Source: Dao et al. 2022 (arXiv:2205.14135), tiling and
 * the recomputation of p from the row's log-sum-exp in backward. */
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

typedef struct nib_attention_args {
    nib_dtype type;             /* compute type of q, k, v, o and their gradients */
    size_t heads, kv_heads, head_dim;
    float scale;
    size_t window;              /* 0: none */
    const float *alibi_slopes;  /* [heads] or NULL */
    nib_heads q_heads, kv_heads_k, kv_heads_v; /* views of q, k, v (and dq, dk, dv alike) */
    const void *q, *k, *v;
    void *o;                    /* [rows, heads * head_dim], plain */
    float *lse; /* [heads, total rows] log-sum-exp of the scaled scores; out, then in */
    size_t lse_stride;          /* rows of lse: lse[h * lse_stride + t] */
    /* One sequence and one head at a time: rows q0 .. q0 + q_len of q, o, lse are queries
     * whose positions are pos0 .. pos0 + q_len; k, v hold kv_len rows from row kv0 on, at
     * positions 0 .. kv_len (a cache when generating; the sequence itself in training). */
    size_t q0, q_len, pos0, kv0, kv_len, head;
    /* backward only */
    const void *d_o;            /* [rows, heads * head_dim], plain */
    void *dq;                   /* like q: written, not added to */
    float *dk, *dv;             /* float [kv_len, head_dim] for this query head: written */
} nib_attention_args;

/* Scratch for one call on one thread (either direction): nib_attention_scratch_bytes(). */
size_t nib_attention_scratch_bytes(size_t head_dim, size_t max_len);

typedef void nib_attention_forward_fn(const nib_attention_args *a, void *scratch);
typedef void nib_attention_backward_fn(const nib_attention_args *a, void *scratch);

#endif
