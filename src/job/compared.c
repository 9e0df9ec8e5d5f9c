/* compared.c - see compared.h. */
#include "job/compared.h"

#include <math.h>

/* --- what a run is made of --- */

nib_embedder nib_compared_embedder(nib_ctx *ctx, nib_graph *graph, const nib_sentence *s,
                                   const nib_texts *texts)
{
    return (nib_embedder){ .ctx = ctx, .graph = graph, .texts = texts, .pooler = s->pooler,
                           .dense = s->dense, .dense_count = s->dense_count,
                           .normalize = s->normalize };
}

static nib_status check_dims(const nib_train_options *o, size_t width, nib_error *err)
{
    for (size_t i = 0; i < o->matryoshka_dim_count; i++)
        if (o->matryoshka_dims[i] < 1 || (size_t)o->matryoshka_dims[i] > width)
            return nib_fail(err, NIB_E_INVALID, "matryoshka_dims: %d, an embedding has %zu numbers",
                            o->matryoshka_dims[i], width);
    return NIB_OK;
}

nib_status nib_compared_loss(const nib_dataset *d, const nib_train_options *o, size_t columns,
                             size_t width, nib_similarity *out, nib_error *err)
{
    bool scored = nib_dataset_labels(d)->kind == NIB_LABEL_NUMBERS;
    nib_similarity_kind kind = scored ? NIB_SIMILARITY_COSENT : NIB_SIMILARITY_RANKING;

    if (o->loss && !nib_similarity_parse(o->loss, &kind))
        return nib_fail(err, NIB_E_INVALID, "loss: '%s', known are MultipleNegativesRankingLoss, "
                        "CoSENTLoss, CosineSimilarityLoss, TripletLoss", o->loss);
    if (nib_similarity_is_scored(kind) != scored)
        return nib_fail(err, NIB_E_INVALID, "loss: %s is for records with%s a score, these have%s "
                        "one", nib_similarity_name(kind), scored ? "out" : "",
                        scored ? "" : " none, not");
    if (kind == NIB_SIMILARITY_TRIPLET && columns != 3)
        return nib_fail(err, NIB_E_INVALID, "loss: TripletLoss is for records with one negative, "
                        "these have %zu", columns - 2);
    *out = (nib_similarity){ .kind = kind, .scale = o->scale > 0 ? o->scale : 20,
                             .margin = o->triplet_margin > 0 ? o->triplet_margin : 5,
                             .dims = o->matryoshka_dims, .dim_count = o->matryoshka_dim_count };
    return check_dims(o, width, err);
}

/* --- one dataset --- */

static nib_status plan_embedded(nib_ctx *ctx, nib_graph *graph, const nib_embedder *from,
                                const nib_dataset *data, size_t batch, nib_embedded *e,
                                nib_error *err)
{
    size_t n = nib_dataset_count(data);
    nib_status status = nib_texts_init(ctx, data, &e->texts, err);

    if (status) return status;
    e->embedder = *from;
    e->embedder.texts = &e->texts;
    e->embedder.chunk = 0;
    e->batch = nib_min(batch, n);
    e->order = nib_new_array(ctx, n, sizeof *e->order);
    if (!e->order) return nib_fail(err, NIB_E_NOMEM, "evaluation: out of memory");
    nib_dataset_order(data, false, 0, 0, e->order);
    for (size_t i = 0; i < n; i += e->batch)
        nib_embedder_widen(&e->embedder, e->order + i, nib_min(e->batch, n - i),
                           &e->embedder.most);
    return nib_plan_create(graph, NIB_PLAN_INFERENCE, e->embedder.most.chunk_tokens,
                           e->embedder.most.chunk_rows, &e->plan, err);
}

static nib_status allocate_embedded(nib_ctx *ctx, nib_embedded *e, nib_error *err)
{
    nib_status status = nib_run_create(ctx, e->embedder.graph, e->plan, e->texts.longest, &e->run,
                                       err);

    if (!status) status = nib_embedder_allocate(&e->embedder, e->embedder.most, false, err);
    if (status) return status;
    e->vectors = nib_new_array(ctx, e->texts.records * e->texts.columns,
                               e->embedder.width * sizeof *e->vectors);
    return e->vectors ? NIB_OK
                      : nib_fail(err, NIB_E_NOMEM, "evaluation: out of memory for %zu texts",
                                 e->texts.records * e->texts.columns);
}

static uint64_t embedded_bytes(const nib_embedded *e)
{
    if (!e->plan) return 0;
    return e->plan->arena_bytes + nib_run_bytes(e->embedder.graph, e->plan, e->texts.longest) +
           nib_embedder_bytes(&e->embedder, e->embedder.most, false) +
           e->texts.records * e->texts.columns * nib_embedder_width(&e->embedder) * sizeof(float);
}

static void free_embedded(nib_ctx *ctx, nib_embedded *e)
{
    nib_embedder_free(&e->embedder);
    nib_run_destroy(e->run);
    nib_plan_destroy(ctx, e->plan);
    nib_free(ctx, e->order);
    nib_free(ctx, e->vectors);
    nib_texts_free(&e->texts);
}

static bool is_finite(const float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i])) return false;
    return true;
}

/* The vectors of records [first, first + count), column after column, to their texts' places. */
static nib_status keep(nib_embedded *e, size_t first, size_t count, nib_error *err)
{
    size_t width = e->embedder.width, columns = e->texts.columns;

    for (size_t j = 0; j < count * columns; j++) {
        float *to = e->vectors + ((first + j % count) * columns + j / count) * width;
        memcpy(to, e->embedder.vectors + j * width, width * sizeof *to);
        nib_unit_length(to, width);
        if (!is_finite(to, width))
            return nib_fail(err, NIB_E_NUMERIC, "record %zu: an embedding is not finite",
                            first + j % count);
    }
    return NIB_OK;
}

/* *loss: the mean over batches, unless NULL. */
static nib_status embed_all(nib_ctx *ctx, nib_embedded *e, double *loss, nib_error *err)
{
    size_t n = e->texts.records, batches = 0;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < n && !status; i += e->batch, batches++) {
        size_t count = nib_min(e->batch, n - i);
        if (nib_should_stop(ctx))
            return nib_fail(err, NIB_E_INTERRUPTED, "interrupted while evaluating");
        nib_embedder_forward(&e->embedder, e->run, e->order + i, count);
        if (loss) *loss += nib_embedder_loss(&e->embedder, count);
        status = keep(e, i, count, err);
    }
    if (loss) *loss /= (double)batches;
    return status;
}

static double embed_trial(nib_embedded *e)
{
    double start = nib_clock_seconds();
    size_t count = nib_min(e->batch, e->texts.records);

    nib_embedder_forward(&e->embedder, e->run, e->order, count);
    return (nib_clock_seconds() - start) * (double)e->texts.records / (double)count;
}

double nib_compared_trial(nib_compared *c)
{
    return embed_trial(&c->own) + (c->corpus ? embed_trial(&c->more) : 0);
}

/* --- the whole --- */

nib_status nib_compared_open(nib_ctx *ctx, nib_graph *graph, const nib_embedder *from,
                             nib_dataset *data, nib_dataset *corpus, size_t batch,
                             nib_compared *out, nib_error *err)
{
    nib_status status;

    *out = (nib_compared){ .ctx = ctx, .data = data, .corpus = corpus,
                           .scored = nib_dataset_labels(data)->kind == NIB_LABEL_NUMBERS };
    status = plan_embedded(ctx, graph, from, data, batch, &out->own, err);
    if (!status && corpus) status = plan_embedded(ctx, graph, from, corpus, batch, &out->more, err);
    if (status) nib_compared_close(out);
    return status;
}

nib_status nib_compared_allocate(nib_compared *c, nib_error *err)
{
    nib_status status = allocate_embedded(c->ctx, &c->own, err);

    if (!status && c->corpus) status = allocate_embedded(c->ctx, &c->more, err);
    if (status) return status;
    if (c->scored)
        return nib_scorer_create(c->ctx, nib_dataset_labels(c->data), 1, c->own.texts.records,
                                 &c->scorer, err);
    return nib_retrieval_init(c->ctx, &c->own.texts, c->corpus ? &c->more.texts : NULL,
                              &c->retrieval, err);
}

uint64_t nib_compared_bytes(const nib_compared *c)
{
    return embedded_bytes(&c->own) + embedded_bytes(&c->more);
}

void nib_compared_close(nib_compared *c)
{
    if (!c->ctx) return;
    nib_scorer_free(&c->scorer);
    nib_retrieval_free(&c->retrieval);
    free_embedded(c->ctx, &c->own);
    free_embedded(c->ctx, &c->more);
    nib_dataset_close(c->data);
    nib_dataset_close(c->corpus);
    *c = (nib_compared){ 0 };
}

static void correlate(nib_compared *c)
{
    size_t width = c->own.embedder.width, columns = c->own.texts.columns;

    nib_scorer_clear(&c->scorer);
    for (size_t i = 0; i < c->own.texts.records; i++) {
        const float *a = c->own.vectors + i * columns * width, *b = a + width;
        float right = nib_dataset_record(c->data, i).answers[0], cosine = 0;
        for (size_t k = 0; k < width; k++) cosine += a[k] * b[k];
        nib_scorer_add_each(&c->scorer, &cosine, &right);
    }
    c->scores = nib_scorer_scores(&c->scorer);
    c->scores.mse = (double)NAN; /* scores are in units of their own */
}

nib_status nib_compared_run(nib_compared *c, nib_error *err)
{
    nib_status status;

    c->loss = 0;
    status = embed_all(c->ctx, &c->own, &c->loss, err);
    if (!status && c->corpus) status = embed_all(c->ctx, &c->more, NULL, err);
    if (status) return status;
    if (c->scored) {
        correlate(c);
        return NIB_OK;
    }
    c->scores = nib_scores_none();
    c->scores.rows = c->own.texts.records;
    nib_retrieval_measure(&c->retrieval, c->own.vectors, c->more.vectors, c->own.embedder.width,
                          &c->scores);
    return NIB_OK;
}
