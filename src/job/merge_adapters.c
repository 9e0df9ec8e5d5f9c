/* merge_adapters.c - see merge_adapters.h.  Like PEFT's add_weighted_adapter with
 * combination_type "cat", which is the exact sum; its "linear" has cross terms. */
#include "job/merge_adapters.h"

#include <math.h>

#include "adapter/merged.h"

/* A branch of slot 0 that was made or changed. */
typedef struct nib_joined {
    nib_branches *table;
    nib_branch before; /* the first adapter's; a NULL: it had none here */
} nib_joined;

nib_status nib_merge_adapters_listed(const nib_merge_options *o, nib_merge_adapter *only,
                                     const nib_merge_adapter **list, size_t *count, nib_error *err)
{
    *only = (nib_merge_adapter){ o->adapter, 1 };
    *list = o->adapter ? only : o->adapters;
    *count = o->adapter ? 1 : o->adapter_count;
    if (o->adapter && o->adapter_count)
        return nib_fail(err, NIB_E_INVALID, "adapter: one, or a list of them");
    if (*count > NIB_MAX_SLOTS)
        return nib_fail(err, NIB_E_INVALID, "%zu adapters; at most %d are summed", *count,
                        NIB_MAX_SLOTS);
    for (size_t i = 0; i < *count; i++)
        if (!isfinite((*list)[i].weight) || (*list)[i].weight == 0)
            return nib_fail(err, NIB_E_INVALID, "%s: weight %g; a number that is not 0",
                            (*list)[i].dir, (*list)[i].weight);
    return NIB_OK;
}

/* Rows of A and columns of B behind those that are there. */
static void append(nib_branch *to, size_t at, const nib_branch *from, float weight)
{
    size_t rank = from->a->rows;

    for (size_t i = 0; i < nib_param_count(from->a); i++)
        to->a->value[at * to->a->cols + i] = weight * from->scale * from->a->value[i];
    for (size_t r = 0; r < to->b->rows; r++)
        memcpy(to->b->value + r * to->b->cols + at, from->b->value + r * rank,
               rank * sizeof(float));
}

static nib_status join(nib_merge_adapters *s, const nib_merge_adapter *list, const char *name,
                       nib_branches *table, nib_error *err)
{
    nib_ctx *ctx = s->model->ctx;
    nib_branch made = { .scale = 1 }, *to;
    const nib_branch *any = NULL;
    size_t rank = 0, at = 0;

    for (unsigned i = 0; i < s->count; i++) {
        const nib_branch *b = nib_branch_at(table, i);
        if (b) any = b, rank += b->a->rows;
    }
    if (!any) return NIB_OK;
    made.a = nib_params_add(ctx, &s->params, name, rank, any->a->cols);
    made.b = nib_params_add(ctx, &s->params, name, any->b->rows, rank);
    if (!made.a || !made.b || !nib_grow(ctx, &s->joined, &s->joined_capacity, s->joined_count + 1,
                                        sizeof *s->joined))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    for (unsigned i = 0; i < s->count; i++) {
        const nib_branch *b = nib_branch_at(table, i);
        if (!b) continue;
        append(&made, at, b, (float)list[i].weight);
        at += b->a->rows;
    }
    to = nib_branch_at(table, 0);
    s->joined[s->joined_count] = (nib_joined){ .table = table };
    if (to) s->joined[s->joined_count].before = *to;
    else to = nib_branch_add(ctx, table, 0);
    if (!to) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    s->joined_count++;
    *to = made;
    return NIB_OK;
}

static nib_status join_all(nib_merge_adapters *s, const nib_merge_adapter *list, nib_error *err)
{
    const nib_model *m = s->model;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < m->linear_count && !status; i++)
        status = join(s, list, m->linears[i]->name, &m->linears[i]->branches, err);
    for (size_t i = 0; i < m->embedding_count && !status; i++)
        status = join(s, list, m->embeddings[i]->name, &m->embeddings[i]->branches, err);
    return status;
}

/* Does it bring something that no weight can multiply? */
static bool brings_whole(const nib_adapter *a)
{
    for (size_t i = 0; i < a->params.count; i++) {
        nib_param_kind kind = a->params.items[i]->kind;
        if (kind != NIB_PARAM_LORA_A && kind != NIB_PARAM_LORA_B &&
            kind != NIB_PARAM_LORA_EMBEDDING && kind != NIB_PARAM_STORED)
            return true;
    }
    return false;
}

/* Magnitudes multiply all of a matrix by norms of the one that the adapter was put on. */
static nib_status check_magnitudes(const nib_adapter *a, const nib_merge_adapter *one, bool plain,
                                   bool merged, nib_error *err)
{
    if (!a->config.use_dora) return NIB_OK;
    if (merged)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: use_dora: its gains follow from norms that "
                        "the merged matrices no longer have, so that it is not taken out again",
                        one->dir);
    if (plain) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: use_dora: it multiplies whole matrices, so that "
                    "it is merged alone and with weight 1", one->dir);
}

nib_status nib_merge_adapters_open(nib_model *m, const nib_merge_adapter *list, size_t count,
                                   bool merged, nib_merge_adapters *out, nib_error *err)
{
    nib_merge_adapters s = { .model = m };
    bool plain = count == 1 && list[0].weight == 1;
    nib_status status = NIB_OK;

    s.items = nib_new_array(m->ctx, count, sizeof *s.items);
    if (!s.items) return nib_fail(err, NIB_E_NOMEM, "%zu adapters: out of memory", count);
    while (s.count < count && !status) {
        nib_adapter **a = &s.items[s.count];
        status = merged ? nib_adapter_open_merged(m, list[s.count].dir, (unsigned)s.count, a, err)
                        : nib_adapter_open(m, list[s.count].dir, (unsigned)s.count, false, a, err);
        if (status) break;
        status = check_magnitudes(s.items[s.count], &list[s.count], plain, merged, err);
        if (!status && list[s.count].weight != 1 && brings_whole(s.items[s.count]))
            status = merged ? nib_fail(err, NIB_E_UNSUPPORTED, "%s: brought biases or whole "
                                       "modules, which cannot be taken out again",
                                       list[s.count].dir)
                            : nib_fail(err, NIB_E_UNSUPPORTED, "%s: brings biases or whole "
                                       "modules, which a weight (%g) cannot scale; give it the "
                                       "weight 1", list[s.count].dir, list[s.count].weight);
        s.count++;
    }
    if (!status && !plain) status = join_all(&s, list, err);
    if (status) nib_merge_adapters_close(&s);
    else *out = s;
    return status;
}

void nib_merge_adapters_close(nib_merge_adapters *s)
{
    nib_ctx *ctx;

    if (!s->model) return;
    ctx = s->model->ctx;
    for (size_t i = 0; i < s->joined_count; i++) {
        nib_joined *j = &s->joined[i];
        if (j->before.a) *nib_branch_at(j->table, 0) = j->before;
        else nib_branch_remove(ctx, j->table, 0);
    }
    for (size_t i = 0; i < s->count; i++) nib_adapter_close(s->items[i]);
    nib_params_free(ctx, &s->params);
    nib_free(ctx, s->joined);
    nib_free(ctx, s->items);
    *s = (nib_merge_adapters){ 0 };
}
