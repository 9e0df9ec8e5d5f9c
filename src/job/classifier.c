/* classifier.c - see classifier.h. */
#include "job/classifier.h"

#include "job/open.h"
#include "job/sentence.h"

#include <time.h>

/* What begins at random says nothing, unless the adapter brings it. */
static void warn_new(const nib_classifier *c)
{
    for (size_t i = 0; i < c->model->new_count; i++)
        if (!c->model->new_linears[i]->full)
            nib_warn_code(c->ctx, "new-head", "%s: %s is not in its files: it is random",
                          c->model->dir, c->model->new_linears[i]->name);
}

static nib_status open_parts(nib_classifier *c, const char *adapter, nib_model_progress progress,
                             nib_error *err)
{
    nib_dtype compute = nib_open_compute(c->ctx, c->options.compute_dtype);
    bool named;
    nib_status status = NIB_OK;

    if (!status && adapter)
        status = nib_labels_of_adapter(c->ctx, adapter, &c->options, &c->labels, &c->problem_type,
                                       err);
    if (!status && c->options.task == NIB_TASK_FEATURE_EXTRACTION)
        status = nib_sentence_model(c->ctx, c->options.model, &c->model_dir, err);
    if (c->model_dir) c->options.model = c->model_dir;
    if (!status) status = nib_tokenizer_open_any(c->ctx, c->options.model, &c->tokenizer, err);
    if (!status)
        status = nib_model_open(c->ctx, &c->options, compute, progress, &c->model, err);
    if (!status && adapter)
        status = nib_adapter_open(c->model, adapter, 0, false, &c->adapter, err);
    if (status || !nib_task_has_head(c->model->purpose.task)) return status;
    warn_new(c);
    if (c->labels.known || !nib_task_has_labels(c->model->purpose.task)) return NIB_OK;
    return nib_labels_of_config(c->model->json, c->options.model, c->model->purpose.labels,
                                &c->labels, &named, err);
}

nib_status nib_classifier_open(nib_ctx *ctx, const nib_model_options *model, const char *adapter,
                               nib_model_progress progress, nib_classifier *out, nib_error *err)
{
    nib_status status;

    *out = (nib_classifier){ .ctx = ctx, .options = *model, .labels = { .ctx = ctx } };
    status = open_parts(out, adapter, progress, err);
    if (status) nib_classifier_close(out);
    return status;
}

void nib_classifier_close(nib_classifier *c)
{
    if (!c->ctx) return;
    nib_adapter_close(c->adapter);
    nib_model_close(c->model);
    nib_tokenizer_close(c->tokenizer);
    nib_labels_free(&c->labels);
    nib_free(c->ctx, c->problem_type);
    nib_free(c->ctx, c->model_dir);
    *c = (nib_classifier){ 0 };
}

nib_dataset_source nib_classifier_source(const nib_classifier *c, const nib_data_options *data)
{
    nib_dataset_source s = { .options = data, .model_dir = c->options.model,
                             .tokenizer = c->tokenizer,
                             .vocabulary = (uint32_t)c->model->embedding->weight->out,
                             .keep_all = true, .unweighted = true,
                             .now = (int64_t)time(NULL) };

    s.refused = c->model->config->arch->refused_fields;
    if (c->model->purpose.task == NIB_TASK_QUESTION_ANS) {
        s.task = NIB_TASK_QUESTION_ANS;
        s.positions = c->model->graph->positions;
        return s;
    }
    if (!nib_task_has_labels(c->model->purpose.task)) {
        if (c->model->head) s.vocabulary = (uint32_t)c->model->head->weight->out;
        if (c->model->purpose.task != NIB_TASK_MASKED_LM) return s;
        s.task = NIB_TASK_MASKED_LM;
        s.positions = c->model->graph->positions;
        s.mask_seed = 42;
        s.keep_all = false;
        return s;
    }
    s.task = c->model->purpose.task;
    s.labels = &c->labels;
    s.regression = c->model->purpose.loss == NIB_LOSS_SQUARED ||
                   (c->model->purpose.loss == NIB_LOSS_BINARY && c->model->purpose.labels == 1);
    s.positions = c->model->graph->positions;
    s.box_limit = c->model->graph->box_limit;
    return s;
}

nib_status nib_classifier_fits(const nib_classifier *c, const nib_dataset *d, const char *name,
                               nib_error *err)
{
    static const char *const wanted[] = { [NIB_LOSS_CROSS_ENTROPY] = "one class",
                                          [NIB_LOSS_BINARY] = "a list of labels",
                                          [NIB_LOSS_SQUARED] = "numbers" };
    static const char *const found[] = { [NIB_LABEL_CLASS] = "one class",
                                         [NIB_LABEL_SET] = "a list of labels",
                                         [NIB_LABEL_NUMBERS] = "numbers" };
    nib_label_kind kind = nib_dataset_labels(d)->kind;
    nib_loss_kind loss = c->model->purpose.loss;
    nib_status status = nib_check_types(c->model->graph, d, name, err);

    if (status || kind == NIB_LABEL_NONE || kind == NIB_LABEL_TAGS || kind == NIB_LABEL_SPAN)
        return status;
    if (strcmp(wanted[loss], found[kind]) == 0) return NIB_OK;
    if (kind == NIB_LABEL_NUMBERS && loss == NIB_LOSS_BINARY && c->model->purpose.labels == 1)
        return NIB_OK; /* a cross-encoder's grades */
    return nib_fail(err, NIB_E_INVALID,
                    "the model is for %s a record, the records have %s: see problem_type",
                    wanted[loss], found[kind]);
}
