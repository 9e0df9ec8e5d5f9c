/* finetune_compare.c - what training embeddings has besides: the sentence-transformers directory,
 * the texts, the loss; and what of it stands beside the trained model. */
#include <stdio.h>

#include "job/finetune_job.h"
#include "job/sentence_dense.h"

typedef nib_finetune_job job;

bool nib_finetune_compares(const job *j)
{
    return j->o->model.task == NIB_TASK_FEATURE_EXTRACTION;
}

nib_status nib_finetune_find_sentence(job *j, nib_error *err)
{
    const char *type = j->o->task_type;
    bool asked = j->o->model.task == NIB_TASK_FEATURE_EXTRACTION ||
                 (type && strcmp(type, "FEATURE_EXTRACTION") == 0);
    nib_status status;

    j->asked_model = j->o->model.model;
    if (!asked && (type || j->o->model.task != NIB_TASK_AUTO ||
                   !nib_sentence_is_one(j->ctx, j->o->model.model)))
        return NIB_OK;
    j->options.model.task = NIB_TASK_FEATURE_EXTRACTION;
    status = nib_sentence_open_with(j->ctx, j->o->model.model, j->o->adapter, &j->sentence, err);
    if (status) return status;
    j->options.model.model = j->sentence.model_dir;
    return j->o->train.pooling ? nib_pooler_read(&j->sentence.pooler, j->o->train.pooling,
                                                 "pooling", err)
                               : NIB_OK;
}

nib_status nib_finetune_check_compared(const job *j, nib_error *err)
{
    const nib_train_options *t = &j->o->train;
    bool scored = nib_dataset_shape(j->data) == NIB_SHAPE_SCORED;
    const char *metric = nib_finetune_metric(t) + strlen("eval_");
    bool of_scores = strcmp(metric, "pearson") == 0 || strcmp(metric, "spearmanr") == 0;
    bool of_places = strncmp(metric, "recall@", 7) == 0 || strcmp(metric, "mrr@10") == 0;

    if (t->tokens_per_batch || t->group_by_length)
        return nib_fail(err, NIB_E_INVALID, "%s: a batch of embeddings is of so many different "
                        "records (per_device_train_batch_size)",
                        t->tokens_per_batch ? "tokens_per_batch" : "group_by_length");
    if (t->label_smoothing_factor > 0)
        return nib_fail(err, NIB_E_INVALID, "label_smoothing_factor: embeddings have no labels");
    if (strcmp(metric, "loss") == 0 || (scored ? of_scores : of_places)) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "metric_for_best_model: %s is not measured of %s; take %s",
                    metric, nib_shape_name(nib_dataset_shape(j->data)),
                    scored ? "loss, pearson or spearmanr"
                           : "loss, mrr@10, recall@1, recall@3, recall@5 or recall@10");
}

/* As sentence-transformers has it: they stay trainable beside an adapter. */
nib_status nib_finetune_train_dense(job *j, nib_error *err)
{
    const nib_graph *g = j->model->graph;
    nib_status status = nib_sentence_check(&j->sentence, g->values[g->hidden].width, err);

    return status ? status
                  : nib_dense_train(j->ctx, &j->adapter->params, j->sentence.dense,
                                    j->sentence.dense_count, err);
}

nib_status nib_finetune_read_values(job *j, const char *dir, nib_error *err)
{
    nib_status status = nib_adapter_read_values(j->adapter, dir, err);

    return status ? status
                  : nib_sentence_dense_reload(j->ctx, dir, j->sentence.dense,
                                              j->sentence.dense_count, err);
}

nib_status nib_finetune_begin_compared(job *j, nib_error *err)
{
    nib_graph *g = j->model->graph;
    nib_embedder from = nib_compared_embedder(j->ctx, g, &j->sentence, NULL);
    size_t width = nib_embedder_width(&from);
    nib_status status;

    if (j->texts.ctx) return NIB_OK; /* of a plan ahead of the weights */
    status = nib_texts_init(j->ctx, j->data, &j->texts, err);
    if (!status)
        status = nib_compared_loss(j->data, &j->o->train, j->texts.columns, width, &j->loss, err);
    if (!status && nib_dataset_count(j->data) < 2)
        status = nib_fail(err, NIB_E_INVALID, "%s: one record has nothing to be compared with",
                          j->o->data.data);
    return status;
}

nib_status nib_finetune_plan_compared(job *j, const nib_train_options *t, int mini_batch,
                                      uint64_t memory, nib_error *err)
{
    nib_embedder_free(&j->embedder);
    j->embedder = nib_compared_embedder(j->ctx, j->model->graph, &j->sentence, &j->texts);
    j->embedder.loss = j->loss;
    j->embedder.chunk = (size_t)mini_batch;
    j->mini_batch = mini_batch;
    return nib_trainer_plan_compared(j->ctx, j->model->graph, &j->adapter->params, &j->embedder,
                                     j->loss.kind == NIB_SIMILARITY_RANKING, t, memory,
                                     &j->trainer, err);
}

void nib_finetune_report_compared(const job *j)
{
    char modes[120] = "";
    size_t used = 0;

    for (size_t i = 0; i < j->sentence.pooler.count; i++)
        used += (size_t)snprintf(modes + used, sizeof modes - used, "%s%s", i ? ", " : "",
                                 nib_pool_name(j->sentence.pooler.modes[i]));
    nib_note(j->ctx, "FEATURE_EXTRACTION, %s, %zu texts a record, pooled by %s%s%s%s",
             nib_similarity_name(j->loss.kind), j->texts.columns, modes,
             j->sentence.dense_count ? ", Dense" : "",
             j->sentence.normalize ? ", normalized" : "",
             j->loss.kind == NIB_SIMILARITY_RANKING ? "; no text twice in a batch" : "");
}
