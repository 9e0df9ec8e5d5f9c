/* attention_place.h - where rows and heads lie, and who sees whom: shared by the variants. */
#ifndef NIB_KERNEL_ATTENTION_PLACE_H
#define NIB_KERNEL_ATTENTION_PLACE_H

#include "base/random.h"
#include "kernel/attention.h"

enum { NIB_ATTENTION_QUERIES = 64, NIB_ATTENTION_KEYS = 64 }; /* of a tile of scores */

static inline size_t nib_kv_head(const nib_attention_args *a)
{
    return a->head / (a->heads / a->kv_heads);
}

/* Keys that every query sees, beside its own. */
static inline size_t nib_seen_prefix(const nib_attention_args *a)
{
    return nib_min(a->prefix, a->kv_len);
}

/* Keys [*first, *end) that query i sees, but for the prefix.  Both ends only grow with i: kernels
 * rely on it. */
static inline void nib_seen_keys(const nib_attention_args *a, size_t i, size_t *first, size_t *end)
{
    size_t position = a->pos0 + i;

    *end = a->full ? a->kv_len : nib_min(position + 1, a->kv_len);
    *first = 0;
    if (a->window) {
        *first = position + 1 > a->window ? position + 1 - a->window : 0;
        *end = nib_min(*end, position + a->window);
    }
    if (a->chunk) {
        *first = nib_max(*first, position / a->chunk * a->chunk);
        *end = nib_min(*end, (position / a->chunk + 1) * a->chunk);
    }
    *first = nib_min(*first, *end);
}

/* The factors of dropout of queries i .. i + 3 (counted from q0, i a multiple of 4) and key j. */
static inline void nib_attention_kept(const nib_attention_args *a, size_t i, size_t j,
                                      float factors[4])
{
    const uint32_t key[2] = { a->drop_key[0] ^ (uint32_t)a->head * 0x85ebca6bu, a->drop_key[1] };
    const uint32_t counter[4] = { a->record, (uint32_t)((a->pos0 - a->drop_pos0 + i) / 4),
                                  (uint32_t)j, a->epoch };

    assert((a->pos0 - a->drop_pos0) % 4 == 0);
    nib_dropout_factors(a->drop_p, key, counter, factors);
}

/* Falcon's bias: slope, position and their product are each rounded to bfloat16. */
static inline float nib_alibi(const nib_attention_args *a, size_t key)
{
    if (!a->alibi_slopes) return 0;
    if (a->alibi_exact) return a->alibi_slopes[a->head] * (float)key;
    return nib_round_bf16(a->alibi_slopes[a->head] * nib_round_bf16((float)key));
}

/* The numbers of a head's distances from query i to key j, and to the keys before it behind. */
static inline const float *nib_distances(const nib_attention_args *a, size_t i, size_t j)
{
    return a->distances + a->head * a->distances_ld + a->reach + a->pos0 + i - j;
}

/* What is added to q_i . k_j. */
static inline float nib_score_bias(const nib_attention_args *a, size_t i, size_t j)
{
    return nib_alibi(a, j) + (a->distances ? *nib_distances(a, i, j) : 0);
}

#endif
