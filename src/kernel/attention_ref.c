/* attention_ref.c - attention for one head, plainly: a row of scores at a time, sums in double. */
#include <math.h>

#include "kernel/attention_place.h"
#include "kernel/kernels.h"

/* The vector forms: keys, values and their sums, queries and do twice, results, two tiles of
 * scores and one of dropout's factors, five numbers a query.  One query, and the reference: a row
 * of scores and a query. */
size_t nib_attention_scratch_bytes(size_t head_dim, size_t max_len)
{
    size_t wide = nib_round_up(head_dim, 32), keys = NIB_ATTENTION_KEYS,
           queries = NIB_ATTENTION_QUERIES;
    size_t tile = keys * wide * 4 + queries * wide * 5 + 5 * keys * queries + 5 * queries;

    return (nib_max(tile, nib_round_up(max_len, 16) + 2 * wide) + 64) * sizeof(float);
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
    return ((a->q0 + i) * a->heads + a->head) * a->v_dim;
}

static float kept(const nib_attention_args *a, size_t i, size_t j)
{
    float factors[4];

    if (a->drop_p == 0) return 1;
    nib_attention_kept(a, i / 4 * 4, j, factors);
    return factors[i % 4];
}

/* The score, and its derivative by q . k. */
static float score(const nib_attention_args *a, size_t i, size_t j, float *slope)
{
    double sum = 0;
    float s, t;

    for (size_t c = 0; c < a->head_dim; c++)
        sum += (double)nib_get(a->type, a->q, q_at(a, i) + c) *
               (double)nib_get(a->type, a->k, k_at(a, j) + c);
    s = ((float)sum + nib_score_bias(a, i, j)) * a->scale;
    *slope = a->scale;
    if (a->cap <= 0) return s;
    t = tanhf(s / a->cap);
    *slope = a->scale * (1 - t * t);
    return a->cap * t;
}

/* Keys [*first, *end) among which are those that query i sees: all but [gap, *gap_end). */
typedef struct keys { size_t first, end, gap, gap_end; } keys;

static keys keys_of(const nib_attention_args *a, size_t i)
{
    size_t first, end, prefix = nib_seen_prefix(a);

    nib_seen_keys(a, i, &first, &end);
    if (!prefix) return (keys){ first, end, end, end };
    return (keys){ 0, nib_max(end, prefix), prefix, nib_max(first, prefix) };
}

/* The key behind j. */
static size_t next_key(const keys *k, size_t j)
{
    return j + 1 >= k->gap && j + 1 < k->gap_end ? k->gap_end : j + 1;
}

void nib_attention_forward_ref(const nib_attention_args *a, void *scratch)
{
    float *s = scratch, slope;

    for (size_t i = 0; i < a->q_len; i++) {
        keys seen = keys_of(a, i);
        size_t first = seen.first, end = seen.end;
        float most = a->sinks ? a->sinks[a->head] : -INFINITY, lse;
        double total;

        for (size_t j = first; j < end; j = next_key(&seen, j)) {
            s[j - first] = score(a, i, j, &slope);
            most = fmaxf(most, s[j - first]);
        }
        total = a->sinks ? exp((double)a->sinks[a->head] - (double)most) : 0;
        for (size_t j = first; j < end; j = next_key(&seen, j))
            total += exp((double)s[j - first] - (double)most);
        lse = total == 0 ? -INFINITY : most + (float)log(total);
        if (a->lse) a->lse[a->head * a->lse_stride + a->q0 + i] = lse;
        for (size_t c = 0; c < a->v_dim; c++) {
            double o = 0;
            for (size_t j = first; j < end; j = next_key(&seen, j))
                o += exp((double)s[j - first] - (double)lse) * (double)kept(a, i, j) *
                     (double)nib_get(a->type, a->v, v_at(a, j) + c);
            nib_put(a->type, a->o, o_at(a, i) + c, (float)o);
        }
    }
}

/* ds_ij = p_ij (m_ij do_i . v_j - do_i . o_i) slope_ij;  dq = ds k;  dk = ds^T q;
 * dv = (m p)^T do, m dropout's factors (1 without): sum_j p_ij m_ij do_i . v_j is do_i . o_i still;
 * dsink = -sum_i p_sink,i do_i . o_i. */
void nib_attention_backward_ref(const nib_attention_args *a, void *scratch)
{
    float *dq = scratch;
    double d_sink = 0;

    memset(a->dk, 0, a->kv_len * a->head_dim * sizeof(float));
    memset(a->dv, 0, a->kv_len * a->v_dim * sizeof(float));
    for (size_t i = 0; i < a->q_len; i++) {
        keys seen = keys_of(a, i);
        float lse = a->lse[a->head * a->lse_stride + a->q0 + i];
        double own = 0;

        memset(dq, 0, a->head_dim * sizeof *dq);
        for (size_t c = 0; c < a->v_dim; c++)
            own += (double)nib_get(a->type, a->o, o_at(a, i) + c) *
                   (double)nib_get(a->type, a->d_o, o_at(a, i) + c);
        if (a->d_sink) d_sink -= exp((double)a->sinks[a->head] - (double)lse) * own;
        for (size_t j = seen.first; j < seen.end; j = next_key(&seen, j)) {
            float slope, p = expf(score(a, i, j, &slope) - lse), ds, m = kept(a, i, j);
            double dp = 0;
            for (size_t c = 0; c < a->v_dim; c++) {
                float d = nib_get(a->type, a->d_o, o_at(a, i) + c);
                dp += (double)d * (double)nib_get(a->type, a->v, v_at(a, j) + c);
                a->dv[j * a->v_dim + c] += m * p * d;
            }
            ds = p * (float)((double)m * dp - own) * slope;
            for (size_t c = 0; c < a->head_dim; c++) {
                dq[c] += ds * nib_get(a->type, a->k, k_at(a, j) + c);
                a->dk[j * a->head_dim + c] += ds * nib_get(a->type, a->q, q_at(a, i) + c);
            }
        }
        for (size_t c = 0; c < a->head_dim; c++) {
            size_t at = q_at(a, i) + c;
            nib_put(a->type, a->dq, at, a->add_dq ? nib_get(a->type, a->dq, at) + dq[c] : dq[c]);
        }
    }
    if (a->d_sink) *a->d_sink = (float)d_sink;
}
