/* importance_make.c - see importance.h: the squares of what each matrix is multiplied by, observed
 * while the model reads texts, as llama-imatrix sums them. */
#include "job/importance.h"

#include <time.h>

#include "graph/routes.h"
#include "graph/run.h"
#include "train/batch.h"

enum { BATCH_TOKENS = 512 };

/* The sums of a node's input: linears that read one value have one each, as their matrices do. */
typedef struct observed {
    const nib_node *node;
    size_t item;      /* in the list */
    size_t in;
    double *sums;     /* [experts or 1, in] */
    uint64_t *rows;   /* [experts or 1] */
    size_t groups;
    nib_gguf_held held;
} observed;

typedef struct watch {
    nib_model *m;
    const nib_gguf_naming *n;
    nib_importances made;
    observed *seen;
    size_t seen_count, seen_capacity;
    nib_dataset *data;
    nib_plan *plan;
    nib_run *run;
    nib_batch_maker maker;
    uint32_t *order, *all_rows;
    size_t records, tokens; /* tokens: of the greatest batch */
} watch;

/* --- what is observed --- */

static nib_status add_matrix(watch *w, const nib_node *node, const char *name, nib_gguf_held held,
                             nib_error *err)
{
    const nib_linear *l = node->linear ? node->linear : node->experts[0];
    size_t groups = node->linear ? 1 : node->route.experts;
    observed *s;

    if (!nib_grow(w->m->ctx, &w->seen, &w->seen_capacity, w->seen_count + 1, sizeof *w->seen))
        return nib_fail(err, NIB_E_NOMEM, "importances: out of memory");
    s = &w->seen[w->seen_count++];
    *s = (observed){ .node = node, .item = w->made.count, .in = l->weight->in, .groups = groups,
                     .held = held,
                     .sums = nib_new_array(w->m->ctx, groups * l->weight->in, sizeof *s->sums),
                     .rows = nib_new_array(w->m->ctx, groups, sizeof *s->rows) };
    if (!s->sums || !s->rows ||
        !nib_importance_add(&w->made, name, strlen(name), groups * l->weight->in, groups))
        return nib_fail(err, NIB_E_NOMEM, "importances: out of memory");
    return NIB_OK;
}

static nib_status add_node(watch *w, const nib_node *node, nib_error *err)
{
    nib_gguf_tensor_name name;
    nib_status status;

    if (!nib_gguf_weight_of(w->n, node->linear ? node->linear : node->experts[0], &name))
        return NIB_OK;
    if (name.held == NIB_GGUF_LATENT) return NIB_OK; /* llama.cpp multiplies something else by it */
    status = add_matrix(w, node, name.name, name.held, err);
    return status || !*name.rest ? status : add_matrix(w, node, name.rest, name.held, err);
}

static nib_status find_nodes(watch *w, nib_error *err)
{
    const nib_graph *g = w->m->graph;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < g->node_count && !status; i++) {
        const nib_node *node = &g->nodes[i];
        if ((node->linear && node->linear != w->m->head) || node->experts)
            status = add_node(w, node, err);
    }
    return status;
}

static void add_rows(watch *w, observed *s, const nib_io *io)
{
    const nib_graph *g = w->run->graph;
    const nib_node *node = s->node;
    size_t rows;
    nib_routes routes = { 0 };

    if (node->experts) routes = nib_routes_of(w->run, node, 1, io->in[1]);
    rows = node->experts ? routes.rows * routes.times
                         : nib_run_rows(w->run, g->values[node->output].axis);
    for (size_t r = 0; r < rows; r++) {
        size_t group = node->experts ? routes.expert[r] : 0;
        double *sums = s->sums + group * s->in;
        for (size_t k = 0; k < s->in; k++) {
            double x = (double)nib_get(g->type, io->in[0], r * s->in + k);
            sums[k] += x * x;
        }
        s->rows[group]++;
    }
}

static void on_node(void *user, const nib_node *node, const nib_io *io, bool backward)
{
    watch *w = user;

    for (size_t i = 0; i < w->seen_count && !backward; i++)
        if (w->seen[i].node == node) add_rows(w, &w->seen[i], io);
}

/* --- the texts --- */

static nib_status open_data(watch *w, nib_tokenizer *t, const nib_data_options *given,
                            size_t records, nib_error *err)
{
    nib_model *m = w->m;
    nib_data_options data = *given;
    nib_dataset_source source = { .options = &data, .model_dir = m->dir, .keep_all = true,
                                  .unweighted = true,
                                  .tokenizer = t,
                                  .vocabulary = (uint32_t)m->embedding->weight->out,
                                  .now = (int64_t)time(NULL) };
    size_t all = 0;
    nib_status status;

    if (data.max_seq_length <= 0) data.max_seq_length = BATCH_TOKENS;
    status = nib_dataset_open(m->ctx, &source, &w->data, err);
    if (status) return status;
    w->records = nib_min(nib_dataset_count(w->data), records);
    w->order = nib_new_array(m->ctx, nib_dataset_count(w->data), sizeof *w->order);
    if (!w->order) return nib_fail(err, NIB_E_NOMEM, "%zu records: out of memory", w->records);
    nib_dataset_order(w->data, false, 0, 0, w->order);
    for (size_t i = 0; i < w->records; i++) {
        size_t length = nib_dataset_record(w->data, i).length;
        w->tokens = nib_max(w->tokens, length);
        all += length;
    }
    nib_note(m->ctx, "importances of %zu tokens of %zu records", all, w->records);
    return NIB_OK;
}

static nib_status prepare(watch *w, nib_error *err)
{
    nib_ctx *ctx = w->m->ctx;
    nib_graph *g = w->m->graph;
    nib_status status;

    w->all_rows = nib_new_array(ctx, w->tokens, sizeof *w->all_rows);
    if (!w->all_rows) return nib_fail(err, NIB_E_NOMEM, "%zu tokens: out of memory", w->tokens);
    for (size_t i = 0; i < w->tokens; i++) w->all_rows[i] = (uint32_t)i;
    status = nib_batch_maker_init(ctx, g, nib_dataset_count(w->data), w->tokens, w->tokens,
                                  &w->maker, err);
    if (!status)
        status = nib_plan_create(g, NIB_PLAN_INFERENCE, w->tokens, w->tokens, &w->plan, err);
    if (!status)
        status = nib_run_create(ctx, g, w->plan, nib_dataset_counts(w->data).longest, &w->run, err);
    return status;
}

static nib_status run_texts(watch *w, nib_error *err)
{
    w->run->tap = on_node;
    w->run->tap_user = w;
    for (size_t i = 0; i < w->records; i++) {
        nib_batch b = *nib_batch_make(&w->maker, w->data, w->order + i, 1, 0);
        if (nib_should_stop(w->m->ctx))
            return nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
        b.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = b.axes[NIB_TOKENS].count,
                                                  .picks = w->all_rows };
        nib_run_forward(w->run, &b);
    }
    return NIB_OK;
}

/* Means, each where the file has its column; experts that no token chose count all inputs alike. */
static void finish(watch *w)
{
    const nib_gguf_heads *h = &w->n->heads;

    for (size_t i = 0; i < w->seen_count; i++) {
        const observed *s = &w->seen[i];
        float *to = w->made.items[s->item].values, *counts = w->made.items[s->item].rows;
        for (size_t k = 0; k < s->groups * s->in; k++) {
            uint64_t rows = s->rows[k / s->in];
            size_t at = nib_gguf_reorders_columns(h, s->held)
                            ? (size_t)nib_gguf_place(h, s->held, k) : k;
            to[at] = rows ? (float)s->sums[k] / (float)rows : 1;
            counts[k / s->in] = (float)rows;
        }
    }
}

static void release(watch *w)
{
    nib_ctx *ctx = w->m->ctx;

    for (size_t i = 0; i < w->seen_count; i++) {
        nib_free(ctx, w->seen[i].sums);
        nib_free(ctx, w->seen[i].rows);
    }
    nib_free(ctx, w->seen);
    nib_free(ctx, w->order);
    nib_free(ctx, w->all_rows);
    nib_batch_maker_free(&w->maker);
    nib_run_destroy(w->run);
    nib_plan_destroy(ctx, w->plan);
    nib_dataset_close(w->data);
}

nib_status nib_importances_make(nib_model *m, const nib_gguf_naming *n, nib_tokenizer *t,
                                const nib_data_options *data, size_t records, nib_importances *out,
                                nib_error *err)
{
    watch w = { .m = m, .n = n, .made = { .ctx = m->ctx } };
    nib_status status = find_nodes(&w, err);

    if (!status) status = open_data(&w, t, data, records, err);
    if (!status) status = prepare(&w, err);
    if (!status) status = run_texts(&w, err);
    if (!status) {
        finish(&w);
        w.made.dataset = nib_sprintf(m->ctx, "%s", data->data);
        w.made.chunks = (uint32_t)w.records;
        w.made.chunk_tokens = (uint32_t)w.tokens;
        *out = w.made;
        w.made = (nib_importances){ 0 };
    }
    nib_importances_free(&w.made);
    release(&w);
    return status;
}
