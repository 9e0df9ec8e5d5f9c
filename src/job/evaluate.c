/* evaluate.c - loss and perplexity over a data file; on request all logits; of a classifier what it
 * gets right. */
#include "nibble/evaluate.h"

#include <math.h>
#include <stdio.h>

#include "base/cpu.h"
#include "format/safetensors.h"
#include "graph/readout.h"
#include "job/classifier.h"
#include "job/evaluate_loop.h"
#include "job/other_form.h"
#include "job/quantize_config.h"
#include "train/batch.h"

typedef struct evaluation {
    nib_ctx *ctx;
    const nib_evaluate_options *o;
    nib_classifier c;        /* or any other model */
    nib_model *model;        /* its own */
    nib_dataset *data, *corpus;
    nib_sentence sentence;   /* of embeddings */
    nib_plan *plan;
    nib_run *run;
    nib_batch_maker maker;
    uint32_t *order;
    nib_tensor_writer *writer;
    float *logits;           /* [logit chunk, V] when logits are written */
    uint32_t *all_rows;      /* [longest] */
} evaluation;

/* Texts to compare, and those of a corpus. */
static nib_status open_compared(evaluation *e, nib_error *err)
{
    nib_data_options corpus = { .data = e->o->corpus, .max_seq_length = e->o->data.max_seq_length };
    nib_dataset_source source = nib_classifier_source(&e->c, &e->o->data);
    nib_status status = nib_sentence_open_with(e->ctx, e->o->model.model, e->o->adapter,
                                               &e->sentence, err);

    source.task = NIB_TASK_FEATURE_EXTRACTION;
    source.positions = e->model->graph->positions;
    if (e->sentence.longest)
        source.positions = nib_min((size_t)e->sentence.longest,
                                   source.positions ? source.positions : SIZE_MAX);
    if (!status) status = nib_dataset_open(e->ctx, &source, &e->data, err);
    if (status || !e->o->corpus) return status;
    if (nib_dataset_shape(e->data) == NIB_SHAPE_SCORED)
        return nib_fail(err, NIB_E_INVALID, "corpus: is for records of texts that belong together, "
                        "these have scores");
    source.options = &corpus;
    source.unlabelled = true;
    return nib_dataset_open(e->ctx, &source, &e->corpus, err);
}

static nib_status open_data(evaluation *e, nib_error *err)
{
    nib_dataset_source source = nib_classifier_source(&e->c, &e->o->data);
    nib_task task = e->model->purpose.task;

    if (task == NIB_TASK_FEATURE_EXTRACTION) return open_compared(e, err);
    if (e->o->corpus)
        return nib_fail(err, NIB_E_INVALID, "corpus: is for embeddings (FEATURE_EXTRACTION)");
    if (task == NIB_TASK_MASKED_LM && e->o->logits)
        return nib_fail(err, NIB_E_UNSUPPORTED, "logits are not written of masked words");
    if (task == NIB_TASK_CAUSAL_LM || task == NIB_TASK_MASKED_LM || nib_task_has_head(task))
        return nib_dataset_open(e->ctx, &source, &e->data, err);
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: a model for %s is not evaluated",
                    e->o->model.model, nib_task_name(task));
}

static nib_status open_inputs(evaluation *e, nib_error *err)
{
    const nib_evaluate_options *o = e->o;
    nib_model_options options = o->model;
    nib_model_progress progress = { o->on_progress, o->user };
    nib_status status;

    if (options.task == NIB_TASK_AUTO && !o->adapter && nib_sentence_is_one(e->ctx, options.model))
        options.task = NIB_TASK_FEATURE_EXTRACTION;
    status = nib_classifier_open(e->ctx, &options, o->adapter, progress, &e->c, err);

    if (!status && o->adapter)
        status = nib_compare_forms(e->c.adapter, "evaluated on", true, &(nib_merge_result){ 0 },
                                   err);
    e->model = e->c.model;
    if (!status) status = open_data(e, err);
    if (!status && e->model->head)
        status = nib_classifier_fits(&e->c, e->data, e->o->data.data, err);
    if (status) return status;
    nib_note(e->ctx, "computed in %s (%s)", nib_dtype_name(e->model->graph->type),
             nib_cpu_name(nib_ctx_cpu(e->ctx)));
    if (nib_shape_has_choices(nib_dataset_shape(e->data)))
        nib_note(e->ctx, "%s: the loss is of the right choices; --generate compares them with the "
                 "others", o->data.data);
    if (nib_dataset_counts(e->data).had_bos)
        nib_note(e->ctx, "%" PRIu64 " records began with BOS already and got no second one",
                 nib_dataset_counts(e->data).had_bos);
    return NIB_OK;
}

static nib_status make_buffers(evaluation *e, size_t batch, nib_error *err)
{
    size_t records = nib_dataset_count(e->data), tokens, targets,
           longest = nib_dataset_counts(e->data).longest;
    size_t v = e->model->head->weight->out;
    nib_status status;

    e->order = nib_new_array(e->ctx, records, sizeof *e->order);
    e->all_rows = nib_new_array(e->ctx, longest, sizeof *e->all_rows);
    if (!e->order || !e->all_rows) return nib_fail(err, NIB_E_NOMEM, "evaluate: out of memory");
    for (size_t i = 0; i < longest; i++) e->all_rows[i] = (uint32_t)i;
    nib_batch_extent(e->data, batch, false, 0, 1, e->order, &tokens, &targets);
    status = nib_batch_maker_init(e->ctx, e->model->graph, batch, tokens, targets, &e->maker, err);
    if (status) return status;
    if (e->o->logits) targets = nib_max(targets, longest);
    status = nib_plan_create(e->model->graph, NIB_PLAN_INFERENCE, tokens, targets, &e->plan, err);
    if (!status)
        status = nib_run_create(e->ctx, e->model->graph, e->plan, longest, &e->run, err);
    if (status || !e->o->logits) return status;
    e->logits = nib_new_array(e->ctx, e->plan->logit_chunk * v, sizeof *e->logits);
    return e->logits ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "evaluate: out of memory for logits");
}

/* Declares one [T, V] tensor a record in DIR/STEM.safetensors. */
static nib_status open_writer(evaluation *e, nib_error *err)
{
    static const char suffix[] = ".safetensors";
    const char *path = e->o->logits, *slash = strrchr(path, '/');
    size_t n = nib_dataset_count(e->data), length = strlen(path);
    nib_tensor_plan *plans = NULL;
    char *names = NULL, *dir = NULL, *stem = NULL;
    nib_status status;

    if (length <= sizeof suffix - 1 || strcmp(path + length - (sizeof suffix - 1), suffix) != 0)
        return nib_fail(err, NIB_E_INVALID, "logits: %s does not end in %s", path, suffix);
    plans = nib_new_array(e->ctx, n, sizeof *plans);
    names = nib_new_array(e->ctx, n, 24);
    dir = slash ? nib_strndup(e->ctx, path, (size_t)(slash - path)) : nib_strdup(e->ctx, ".");
    path = slash ? slash + 1 : path;
    stem = nib_strndup(e->ctx, path, strlen(path) - (sizeof suffix - 1));
    if (!plans || !names || !dir || !stem) {
        status = nib_fail(err, NIB_E_NOMEM, "evaluate: out of memory");
        goto done;
    }
    status = nib_quantize_check_places(e->o->model.model, e->o->logits, err);
    if (!status && e->o->adapter)
        status = nib_quantize_check_places(e->o->adapter, e->o->logits, err);
    if (status) goto done;
    for (size_t i = 0; i < n; i++) {
        snprintf(names + 24 * i, 24, "%zu", i);
        plans[i] = (nib_tensor_plan){ .name = names + 24 * i, .dtype = NIB_F32, .rank = 2,
                                      .shape = { nib_dataset_record(e->data, i).length,
                                                 e->model->head->weight->out } };
    }
    status = nib_tensor_writer_create(e->ctx, dir, stem, plans, n, 0, &e->writer, err);
done:
    nib_free(e->ctx, plans);
    nib_free(e->ctx, names);
    nib_free(e->ctx, dir);
    nib_free(e->ctx, stem);
    return status;
}

/* The logits of every token of one record, a chunk of rows at a time. */
static nib_status write_logits(evaluation *e, size_t record, nib_error *err)
{
    uint32_t order = (uint32_t)record;
    nib_batch batch = *nib_batch_make(&e->maker, e->data, &order, 1, 0);
    size_t v = e->model->head->weight->out;
    nib_status status = NIB_OK;

    batch.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = batch.axes[NIB_TOKENS].count,
                                                  .picks = e->all_rows };
    nib_run_forward(e->run, &batch);
    for (size_t r0 = 0; r0 < batch.axes[NIB_LOGIT_ROWS].count && !status;
         r0 += e->plan->logit_chunk) {
        size_t r1 = nib_min(r0 + e->plan->logit_chunk, batch.axes[NIB_LOGIT_ROWS].count);
        nib_run_logits(e->run, r0, r1, e->logits);
        status = nib_tensor_writer_put(e->writer, e->logits, (r1 - r0) * v * sizeof(float), err);
    }
    return status;
}

static nib_status run_all(evaluation *e, size_t batch, nib_evaluate_result *result, nib_error *err)
{
    size_t n = nib_dataset_count(e->data);
    double sum = 0, start = nib_clock_seconds();
    nib_status status = NIB_OK;

    nib_dataset_order(e->data, false, 0, 0, e->order);
    for (size_t first = 0; first < n && !status; first += batch) {
        const nib_batch *b = nib_batch_make(&e->maker, e->data, e->order + first,
                                            nib_min(batch, n - first), 0);

        if (nib_should_stop(e->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
        nib_run_forward(e->run, b);
        nib_run_loss(e->run);
        if (!isfinite(e->run->loss_sum))
            return nib_fail(err, NIB_E_NUMERIC,
                            "records %zu to %zu: the loss is not finite; the first value "
                            "that is not comes out of %s",
                            first, nib_min(first + batch, n) - 1, nib_run_find_bad(e->run, b));
        sum += e->run->loss_sum;
        result->supervised_tokens += b->axes[NIB_LOGIT_ROWS].count;
        for (size_t i = first; e->writer && i < nib_min(first + batch, n) && !status; i++)
            status = write_logits(e, i, err);
        if (e->o->on_progress)
            e->o->on_progress(e->o->user, "evaluating",
                              (double)nib_min(first + batch, n) / (double)n);
    }
    if (status) return status;
    result->tokens = nib_dataset_counts(e->data).tokens;
    result->truncated = nib_dataset_counts(e->data).truncated;
    result->records = n;
    result->loss = result->supervised_tokens ? sum / (double)result->supervised_tokens
                                             : (double)NAN;
    result->perplexity = exp(result->loss);
    result->seconds = nib_clock_seconds() - start;
    if (e->writer) {
        status = nib_tensor_writer_commit(e->writer, err);
        e->writer = NULL;
    }
    return status;
}

static nib_status open_loop(evaluation *e, nib_dataset *data, size_t batch, nib_eval_loop *loop,
                            nib_error *err)
{
    nib_graph *g = e->model->graph;
    nib_dataset *corpus = e->corpus;
    nib_train_options defaults = { 0 };
    nib_embedder from;
    nib_record first;
    nib_status status;

    if (g->head)
        return nib_eval_loop_open(e->ctx, g, e->o->data.data, data, batch, loop, err);
    status = nib_sentence_check(&e->sentence, g->values[g->hidden].width, err);
    if (status) {
        nib_dataset_close(data);
        return status;
    }
    from = nib_compared_embedder(e->ctx, g, &e->sentence, NULL);
    first = nib_dataset_record(data, 0);
    status = nib_compared_loss(data, &defaults, (size_t)first.types[first.length - 1] + 1,
                               nib_embedder_width(&from), &from.loss, err);
    assert(!status); /* the loss is the records' own */
    e->corpus = NULL; /* handed over */
    return nib_eval_loop_open_compared(e->ctx, g, &from, e->o->data.data, data, corpus, batch, loop,
                                       err);
}

/* A classifier or embeddings: the loop of training runs, which measures more than the loss. */
static nib_status run_labelled(evaluation *e, size_t batch, nib_evaluate_result *result,
                               nib_error *err)
{
    nib_eval_loop loop = { 0 };
    nib_data_counts counts = nib_dataset_counts(e->data);
    nib_dataset *data = e->data;
    double start = nib_clock_seconds();
    nib_scores scores;
    nib_status status;

    if (e->o->logits)
        return nib_fail(err, NIB_E_UNSUPPORTED, "logits are written of language models; nibble "
                        "predict gives a classifier's scores, nibble embed embeddings");
    e->data = NULL; /* handed over */
    result->records = nib_dataset_count(data);
    status = open_loop(e, data, batch, &loop, err);
    if (!status) status = nib_eval_loop_allocate(&loop, err);
    if (!status) status = nib_eval_loop_run(&loop, &result->loss, err);
    if (!status) {
        (void)nib_eval_loop_scores(&loop, &scores);
        if (e->o->on_scores) e->o->on_scores(e->o->user, &scores);
    }
    result->perplexity = (double)NAN;
    result->tokens = counts.tokens;
    result->supervised_tokens = counts.targets;
    result->truncated = counts.truncated;
    result->seconds = nib_clock_seconds() - start;
    nib_eval_loop_close(&loop);
    return status;
}

nib_status nib_evaluate(nib_ctx *ctx, const nib_evaluate_options *options,
                        nib_evaluate_result *result, nib_error *err)
{
    evaluation e = { .ctx = ctx, .o = options };
    size_t batch = options->batch_size > 0 ? (size_t)options->batch_size : 8;
    bool labelled;
    nib_status status;

    *result = (nib_evaluate_result){ 0 };
    status = open_inputs(&e, err);
    if (!status && !options->batch_size && !e.model->head) batch = 64;
    labelled = !status && (nib_task_has_head(e.model->purpose.task) || !e.model->head);
    if (!status && !labelled) status = make_buffers(&e, batch, err);
    if (!status) status = nib_warnings_check(ctx, err);
    nib_warnings_repeat(ctx);
    if (!status && !labelled && options->logits) status = open_writer(&e, err);
    if (!status)
        status = labelled ? run_labelled(&e, batch, result, err) : run_all(&e, batch, result, err);
    nib_tensor_writer_discard(e.writer);
    nib_free(ctx, e.logits);
    nib_free(ctx, e.all_rows);
    nib_free(ctx, e.order);
    nib_run_destroy(e.run);
    nib_plan_destroy(ctx, e.plan);
    nib_batch_maker_free(&e.maker);
    nib_dataset_close(e.data);
    nib_dataset_close(e.corpus);
    nib_sentence_close(&e.sentence);
    nib_classifier_close(&e.c);
    return status;
}
