/* attention_ref.c - attention for one head, plainly: a row of scores at a time, sums in double. */
#include <math.h>

#include "kernel/attention_place.h"
#include "kernel/kernels.h"

/* The vector forms: keys, values and their sums, queries and do twice, results, two tiles of
 * scores, five numbers a query.  One query, and the reference: a row of scores and a query. */
size_t nib_attention_scratch_bytes(size_t head_dim, size_t max_len)
{
    size_t wide = nib_round_up(head_dim, 16), keys = NIB_ATTENTION_KEYS,
           queries = NIB_ATTENTION_QUERIES;
    size_t tile = keys * wide * 4 + queries * wide * 5 + 2 * keys * queries + 5 * queries;

    return (nib_max(tile, nib_round_up(max_len, 16) + 2 * wide) + 64) * sizeof(float);
}

static float get(const nib_attention_args *a, const void *x, size_t i)
{
    return a->type == NIB_F32 ? ((const float *)x)[i] : nib_bf16_to_f32(((const uint16_t *)x)[i]);
}

static void put(const nib_attention_args *a, void *x, size_t i, float value)
{
    if (a->type == NIB_F32) ((float *)x)[i] = value;
    else ((uint16_t *)x)[i] = nib_f32_to_bf16(value);
}

static size_t q_at(const nib_attention_args *a, size_t i)
{
    return nib_head_at(a->q_heads, a->q0 + i, a->head);
}
static size_t k_at(const nib_attention_args *a, size_t j)
{
    return nib_head_at(a->kv_heads_k, a->kv0 + j, nib_kv_head(a));
}
static size_t v_at(const nib_attention_args *a, size_t j)
{
    return nib_head_at(a->kv_heads_v, a->kv0 + j, nib_kv_head(a));
}
static size_t o_at(const nib_attention_args *a, size_t i)
{
    return ((a->q0 + i) * a->heads + a->head) * a->head_dim;
}

static float score(const nib_attention_args *a, size_t i, size_t j)
{
    double sum = 0;
    for (size_t c = 0; c < a->head_dim; c++)
        sum += (double)get(a, a->q, q_at(a, i) + c) * (double)get(a, a->k, k_at(a, j) + c);
    return ((float)sum + nib_alibi(a, j)) * a->scale;
}

void nib_attention_forward_ref(const nib_attention_args *a, void *scratch)
{
    float *s = scratch;

    for (size_t i = 0; i < a->q_len; i++) {
        size_t first, end;
        float most = -INFINITY, lse;
        double total = 0;

        nib_seen_keys(a, i, &first, &end);
        for (size_t j = first; j < end; j++) {
            s[j - first] = score(a, i, j);
            most = fmaxf(most, s[j - first]);
        }
        for (size_t j = first; j < end; j++) total += exp((double)s[j - first] - (double)most);
        lse = most + (float)log(total);
        if (a->lse) a->lse[a->head * a->lse_stride + a->q0 + i] = lse;
        for (size_t c = 0; c < a->head_dim; c++) {
            double o = 0;
            for (size_t j = first; j < end; j++)
                o += exp((double)s[j - first] - (double)lse) * (double)get(a, a->v, v_at(a, j) + c);
            put(a, a->o, o_at(a, i) + c, (float)o);
        }
    }
}

/* ds_ij = p_ij (do_i . v_j - do_i . o_i) scale;  dq = ds k;  dk = ds^T q;  dv = p^T do. */
void nib_attention_backward_ref(const nib_attention_args *a, void *scratch)
{
    float *dq = scratch;

    memset(a->dk, 0, a->kv_len * a->head_dim * sizeof(float));
    memset(a->dv, 0, a->kv_len * a->head_dim * sizeof(float));
    for (size_t i = 0; i < a->q_len; i++) {
        size_t first, end;
        double own = 0;

        memset(dq, 0, a->head_dim * sizeof *dq);
        for (size_t c = 0; c < a->head_dim; c++)
            own += (double)get(a, a->o, o_at(a, i) + c) * (double)get(a, a->d_o, o_at(a, i) + c);
        nib_seen_keys(a, i, &first, &end);
        for (size_t j = first; j < end; j++) {
            float p = expf(score(a, i, j) - a->lse[a->head * a->lse_stride + a->q0 + i]), ds;
            double dp = 0;
            for (size_t c = 0; c < a->head_dim; c++) {
                float d = get(a, a->d_o, o_at(a, i) + c);
                dp += (double)d * (double)get(a, a->v, v_at(a, j) + c);
                a->dv[j * a->head_dim + c] += p * d;
            }
            ds = p * (float)(dp - own) * a->scale;
            for (size_t c = 0; c < a->head_dim; c++) {
                dq[c] += ds * get(a, a->k, k_at(a, j) + c);
                a->dk[j * a->head_dim + c] += ds * get(a, a->q, q_at(a, i) + c);
            }
        }
        for (size_t c = 0; c < a->head_dim; c++) put(a, a->dq, q_at(a, i) + c, dq[c]);
    }
}
