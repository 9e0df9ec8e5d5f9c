/* grown.c - see grown.h.  The rule for each is that of transformers 4.57.6: a head that is the
 * embedding gets its rows and zeros in its bias, another one the means of its own. */
#include "job/grown.h"

#include <stdio.h>

/* --- which --- */

static const nib_tensor *part_of(const nib_grown *g, const char *module, const char *part)
{
    char name[NIB_MODULE_NAME_ROOM];

    if (snprintf(name, sizeof name, "%s%s", module, part) >= (int)sizeof name) return NULL;
    return nib_model_tensor(g->tensors, g->model->config, name);
}

/* A tensor of the module in another form than `.weight`; NULL: there is none. */
static const nib_tensor *packed_of(const nib_grown *g, const char *module)
{
    static const char *const parts[] = { ".qweight", ".weight_packed", ".weight_scale", ".codes",
                                         ".weight_blocks", ".weight_scale_inv", ".SCB" };
    const nib_tensor *t = NULL;

    for (size_t i = 0; i < NIB_COUNT(parts) && !t; i++) t = part_of(g, module, parts[i]);
    return t;
}

static nib_status refuse_packed(const nib_tensor *t, nib_error *err)
{
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: %s has dtype %s: rows are added to tables of F32, F16 and BF16; add the "
                    "tokens to the model before it is quantized, or quantize it with that table "
                    "left dense", t->file, t->name, t->dtype_name);
}

static nib_status add_table(nib_grown *g, const nib_tensor *t, size_t width,
                            nib_mean_rows *rows, nib_error *err)
{
    unsigned rank = width ? 2 : 1;

    for (size_t i = 0; i < g->count; i++)
        if (g->tables[i].tensor == t) return NIB_OK;
    if (!nib_dtype_is_float(t->dtype)) return refuse_packed(t, err);
    if (t->rank != rank || t->shape[0] != g->before || (width && t->shape[1] != width))
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s is [%" PRIu64 ", %" PRIu64 "], config.json says [%" PRIu64
                        ", %zu]", t->file, t->name, t->rank ? t->shape[0] : 0,
                        t->rank > 1 ? t->shape[1] : 0, g->before, width);
    assert(g->count < NIB_GROWN_MOST);
    g->tables[g->count++] = (nib_grown_table){ t, rows };
    return NIB_OK;
}

static nib_status find_embedding(nib_grown *g, nib_error *err)
{
    const nib_embedding *e = g->model->embedding;
    const nib_tensor *t = part_of(g, e->name, ".weight"), *packed = packed_of(g, e->name);

    if (packed) return refuse_packed(packed, err);
    if (!t)
        return nib_fail(err, NIB_E_MISMATCH, "%s: there is no %s.weight", g->model->dir, e->name);
    return add_table(g, t, e->weight->in, &g->embedding, err);
}

/* Its files may hold it also where it is the embedding. */
static nib_status find_head(nib_grown *g, nib_error *err)
{
    const nib_linear *h = g->model->head;
    const nib_task task = g->model->purpose.task;
    nib_mean_rows *bias = g->model->tied ? NULL : &g->bias;
    const nib_tensor *t, *packed;
    nib_status status = NIB_OK;

    if (!h || (task != NIB_TASK_CAUSAL_LM && task != NIB_TASK_MASKED_LM)) return NIB_OK;
    if ((packed = packed_of(g, h->name))) return refuse_packed(packed, err);
    t = part_of(g, h->name, ".weight");
    if (t && h->transposed)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s lies as [in, out], to which no rows are "
                        "added here", t->file, t->name);
    if (t)
        status = add_table(g, t, h->weight->in, g->model->tied ? &g->embedding : &g->head, err);
    if (!status && h->bias_name && (t = part_of(g, h->bias_name, "")))
        status = add_table(g, t, 0, bias, err);
    if (!status && (t = part_of(g, h->name, ".bias"))) status = add_table(g, t, 0, bias, err);
    return status;
}

/* --- what else may have a row for each word --- */

static bool is_module(const nib_grown *g, const nib_tensor *t, const char *module)
{
    return part_of(g, module, ".weight") == t || part_of(g, module, ".bias") == t ||
           part_of(g, module, "") == t;
}

/* Is it of a module of the model that is no table of words? */
static bool is_known(const nib_grown *g, const nib_tensor *t)
{
    const nib_model *m = g->model;
    bool known = nib_wrapper_is_beside(m->config->wrapper, t->name);

    for (size_t i = 0; i < m->linear_count && !known; i++)
        known = is_module(g, t, m->linears[i]->name) ||
                (m->linears[i]->bias_name && part_of(g, m->linears[i]->bias_name, "") == t);
    for (size_t i = 0; i < m->norm_count && !known; i++)
        known = is_module(g, t, m->norms[i]->name);
    for (size_t i = 0; i < m->vector_count && !known; i++)
        known = is_module(g, t, m->vectors[i]->name);
    for (size_t i = 1; i < m->embedding_count && !known; i++)
        known = is_module(g, t, m->embeddings[i]->name);
    return known;
}

/* A head for another task, or a table that no module reads, would keep the old number of rows. */
static nib_status check_others(const nib_grown *g, nib_error *err)
{
    for (size_t i = 0; i < nib_tensors_count(g->tensors); i++) {
        const nib_tensor *t = nib_tensors_at(g->tensors, i);
        bool alike = (t->rank == 1 && t->shape[0] == g->before) ||
                     (t->rank == 2 && t->shape[0] == g->before &&
                      t->shape[1] == g->model->embedding->weight->in);
        if (alike && !nib_grown_of(g, t) && !is_known(g, t))
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: %s has a row for each of %" PRIu64 " words, and no module of the "
                            "model reads it: it would not grow with the others", t->file, t->name,
                            g->before);
    }
    return NIB_OK;
}

nib_status nib_grown_find(const nib_model *model, const nib_tensors *tensors, nib_grown *out,
                          nib_error *err)
{
    nib_status status;

    *out = (nib_grown){ .ctx = model->ctx, .model = model, .tensors = tensors,
                        .before = model->embedding->weight->out };
    out->after = out->before;
    status = find_embedding(out, err);
    return status ? status : find_head(out, err);
}

const nib_grown_table *nib_grown_of(const nib_grown *g, const nib_tensor *t)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->tables[i].tensor == t) return &g->tables[i];
    return NULL;
}

/* --- the rows --- */

nib_status nib_grown_learn(nib_grown *g, uint64_t after, uint64_t seed, nib_error *err)
{
    size_t width = g->model->embedding->weight->in;
    nib_status status = check_others(g, err);

    for (size_t i = 0; i < g->count; i++)
        if (g->tables[i].tensor->rank == 2)
            width = nib_max(width, (size_t)g->tables[i].tensor->shape[1]);
    g->row = nib_new_array(g->ctx, width, sizeof *g->row);
    g->bytes = nib_new_array(g->ctx, width, sizeof(float));
    if (!status && (!g->row || !g->bytes))
        status = nib_fail(err, NIB_E_NOMEM, "a row of %zu: out of memory", width);
    for (size_t i = 0; !status && i < g->count; i++) {
        nib_grown_table *t = &g->tables[i];
        if (t->rows && !t->rows->mean)
            status = nib_mean_rows_make(g->ctx, t->tensor, seed, t->rows, err);
    }
    g->after = after;
    return status;
}

nib_status nib_grown_put(nib_grown *g, const nib_grown_table *table, nib_tensor_writer *to,
                         nib_error *err)
{
    const nib_tensor *t = table->tensor;
    size_t width = t->rank == 1 ? 1 : (size_t)t->shape[1];
    nib_status status = NIB_OK;

    for (uint64_t r = g->before; !status && r < g->after; r++) {
        if (table->rows) nib_mean_rows_get(table->rows, r, g->row);
        else memset(g->row, 0, width * sizeof *g->row);
        nib_convert(g->bytes, t->dtype, g->row, NIB_F32, width);
        status = nib_tensor_writer_put(to, g->bytes, width * nib_dtype_bytes(t->dtype), err);
    }
    return status;
}

void nib_grown_free(nib_grown *g)
{
    nib_mean_rows_free(&g->embedding);
    nib_mean_rows_free(&g->head);
    nib_mean_rows_free(&g->bias);
    nib_free(g->ctx, g->row);
    nib_free(g->ctx, g->bytes);
    *g = (nib_grown){ 0 };
}
