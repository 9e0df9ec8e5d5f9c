/* embed.c - texts through the model as ragged batches, and each one's rows pooled. */
#include "nibble/embed.h"

#include <math.h>
#include <time.h>

#include "base/filemap.h"
#include "graph/readout.h"
#include "job/embedding_file.h"
#include "job/labelled.h"
#include "job/open.h"
#include "job/other_form.h"
#include "job/quantize_config.h"
#include "job/sentence.h"

enum { TEXTS_A_BATCH = 32 };

typedef struct embedding {
    nib_ctx *ctx;
    const nib_embed_options *o;
    nib_sentence sentence;
    nib_pooler pooler;
    const char *prompt;      /* or NULL */
    size_t skip;             /* tokens of the prompt that are not pooled */
    nib_data_options data;
    nib_model *model;
    nib_adapter *adapter;    /* or NULL */
    nib_tokenizer *tokenizer;
    nib_dataset *texts;
    nib_plan *plan;
    nib_run *run;
    size_t batch, width, hidden; /* numbers of an embedding, and of a row */
    uint32_t *ids, *positions, *types, *offsets, *picks;
    float *rows;             /* [the longest text, hidden] */
    float *vector;           /* [modes, hidden], and the trace of the Dense modules behind it */
    nib_embedding_file *file;
    nib_text line;
} embedding;

/* --- what is asked for --- */

static nib_status choose_pooling(embedding *e, nib_error *err)
{
    e->pooler = e->sentence.pooler;
    return e->o->pooling ? nib_pooler_read(&e->pooler, e->o->pooling, "--pooling", err) : NIB_OK;
}

static nib_status choose_prompt(embedding *e, nib_error *err)
{
    const nib_embed_options *o = e->o;

    if (o->prompt && o->prompt_name)
        return nib_fail(err, NIB_E_INVALID, "prompt and prompt_name: give one of them");
    if (!o->prompt) return nib_sentence_prompt(&e->sentence, o->prompt_name, &e->prompt, err);
    e->prompt = o->prompt;
    return NIB_OK;
}

static nib_status choose(embedding *e, nib_error *err)
{
    const char *out = e->o->out;
    nib_status status = out ? nib_embedding_file_check(out, err) : NIB_OK;

    if (!status && out && !e->o->overwrite && nib_file_exists(out))
        status = nib_fail(err, NIB_E_INVALID, "%s is there already; --overwrite replaces it", out);
    if (!status && out) status = nib_quantize_check_places(e->o->model.model, out, err);
    if (!status && out && e->o->data.data)
        status = nib_check_data_place(e->o->data.data, out, err);
    if (!status && out && e->o->adapter)
        status = nib_quantize_check_places(e->o->adapter, out, err);
    if (!status)
        status = nib_sentence_open_with(e->ctx, e->o->model.model, e->o->adapter, &e->sentence,
                                        err);
    if (!status) status = choose_pooling(e, err);
    return status ? status : choose_prompt(e, err);
}

/* Its tokens with the special ones, but for one at the end. */
static nib_status measure_prompt(embedding *e, nib_error *err)
{
    nib_inputs in = { .text = e->prompt, .bytes = e->prompt ? strlen(e->prompt) : 0,
                      .special = true };
    nib_windows w = { 0 };
    nib_status status;

    if (!in.bytes || !e->sentence.without_prompt) return NIB_OK;
    status = nib_tokenizer_encode_inputs(e->tokenizer, &in, &w, err);
    e->skip = w.tokens.count;
    if (!status && e->skip &&
        nib_tokenizer_is_special(e->tokenizer, w.tokens.items[e->skip - 1].id))
        e->skip--;
    nib_windows_free(e->ctx, &w);
    return status;
}

/* An adapter of a model with a head has names with the model's own "model." inside, one of features
 * those without; task_type may be null, so the names tell. */
static nib_status find_task(const embedding *e, nib_task *task, nib_error *err)
{
    static const char inside[] = "base_model.model.model.";
    char *path = nib_adapter_file(e->ctx, e->o->adapter);
    nib_tensors *t = NULL;
    nib_status status = path ? nib_tensors_open(e->ctx, path, &t, err)
                             : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", e->o->adapter);

    for (size_t i = 0; !status && i < nib_tensors_count(t); i++)
        if (strncmp(nib_tensors_at(t, i)->name, inside, strlen(inside)) == 0)
            *task = NIB_TASK_CAUSAL_LM;
    nib_tensors_close(t);
    nib_free(e->ctx, path);
    return status;
}

static nib_status open_model(embedding *e, nib_error *err)
{
    nib_model_options options = e->o->model;
    nib_dtype compute = nib_open_compute(e->ctx, options.compute_dtype);
    nib_model_progress progress = { e->o->on_progress, e->o->user };
    nib_status status;

    options.model = e->sentence.model_dir;
    status = nib_tokenizer_open(e->ctx, options.model, &e->tokenizer, err);
    if (!status) status = measure_prompt(e, err);
    if (!status && e->o->adapter) status = find_task(e, &options.task, err);
    if (!status)
        status = nib_model_open_features(e->ctx, &options, compute, progress, &e->model, err);
    if (!status && e->o->adapter)
        status = nib_adapter_open(e->model, e->o->adapter, 0, false, &e->adapter, err);
    if (!status && e->o->adapter)
        status = nib_compare_forms(e->adapter, "used on", true, &(nib_merge_result){ 0 }, err);
    if (status) return status;
    e->hidden = e->model->graph->values[e->model->graph->hidden].width;
    e->sentence.pooler = e->pooler;
    status = nib_sentence_check(&e->sentence, e->hidden, err);
    if (status) return status;
    e->width = nib_dense_width(e->sentence.dense, e->sentence.dense_count,
                               e->hidden * e->pooler.count);
    if (e->o->truncate_dim < 0 || (size_t)e->o->truncate_dim > e->width)
        return nib_fail(err, NIB_E_INVALID, "truncate_dim: %d, an embedding has %zu numbers",
                        e->o->truncate_dim, e->width);
    if (e->o->truncate_dim) e->width = (size_t)e->o->truncate_dim;
    return NIB_OK;
}

static nib_status read_texts(embedding *e, nib_error *err)
{
    nib_dataset_source source = { .options = &e->data, .model_dir = e->sentence.model_dir,
                                  .tokenizer = e->tokenizer,
                                  .vocabulary = (uint32_t)e->model->embedding->weight->out,
                                  .task = NIB_TASK_FEATURE_EXTRACTION, .prompt = e->prompt,
                                  .refused = e->model->config->arch->refused_fields,
                                  .unlabelled = true, .positions = e->model->graph->positions,
                                  .keep_all = true, .unweighted = true,
                                  .now = (int64_t)time(NULL) };
    nib_status status;

    e->data = e->o->data;
    if (!e->data.max_seq_length) {
        e->data.max_seq_length = (int)e->sentence.longest;
        if (!e->data.max_seq_length) e->data.max_seq_length = source.positions ? 1 << 30 : 1024;
    }
    status = nib_dataset_open(e->ctx, &source, &e->texts, err);
    return status ? status : nib_check_types(e->model->graph, e->texts, e->data.data, err);
}

/* --- batches --- */

/* The rows of text i that are read. */
static void rows_of(const embedding *e, size_t i, size_t *first, size_t *last)
{
    size_t length = nib_dataset_record(e->texts, i).length;
    nib_pooler_rows(&e->pooler, length, e->skip, first, last);
}

static nib_status make_run(embedding *e, nib_error *err)
{
    size_t n = nib_dataset_count(e->texts), tokens = 0, longest = 1;
    nib_status status;

    e->batch = nib_min(e->batch, nib_max(n, 1));
    for (size_t i = 0; i < n; i += e->batch) {
        size_t t = 0;
        for (size_t k = i; k < nib_min(i + e->batch, n); k++) {
            uint32_t length = nib_dataset_record(e->texts, k).length;
            if (length <= e->skip)
                return nib_fail(err, NIB_E_INVALID, "%s: text %zu has %u tokens, and none behind "
                                "the prompt's %zu", e->data.data, k + 1, length, e->skip);
            t += length;
            longest = nib_max(longest, length);
        }
        tokens = nib_max(tokens, t);
    }
    status = nib_plan_create(e->model->graph, NIB_PLAN_INFERENCE, tokens, tokens, &e->plan, err);
    if (!status) status = nib_run_create(e->ctx, e->model->graph, e->plan, longest, &e->run, err);
    if (status) return status;
    e->ids = nib_new_array(e->ctx, tokens, sizeof *e->ids);
    e->positions = nib_new_array(e->ctx, tokens, sizeof *e->positions);
    e->types = nib_new_array(e->ctx, tokens, sizeof *e->types);
    e->picks = nib_new_array(e->ctx, tokens, sizeof *e->picks);
    e->offsets = nib_new_array(e->ctx, e->batch + 1, sizeof *e->offsets);
    e->rows = nib_new_array(e->ctx, longest * e->hidden, sizeof *e->rows);
    e->vector = nib_new_array(e->ctx, nib_dense_trace(e->sentence.dense, e->sentence.dense_count,
                                                      e->pooler.count * e->hidden),
                              sizeof *e->vector);
    return e->ids && e->positions && e->types && e->picks && e->offsets && e->rows && e->vector
               ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "embed: out of memory");
}

static nib_batch make_batch(embedding *e, size_t from, size_t to)
{
    nib_batch b = { .sequences = to - from };
    size_t t = 0, picked = 0;

    for (size_t i = from; i < to; i++) {
        nib_record r = nib_dataset_record(e->texts, i);
        size_t first, last;
        rows_of(e, i, &first, &last);
        for (size_t k = first; k < last; k++) e->picks[picked++] = (uint32_t)(t + k);
        nib_graph_place(e->model->graph, r.ids, r.length, e->positions + t);
        for (uint32_t k = 0; k < r.length; k++, t++) {
            e->ids[t] = r.ids[k];
            e->types[t] = r.types[k];
        }
        e->offsets[i - from + 1] = (uint32_t)t;
    }
    b.axes[NIB_TOKENS] = (nib_axis_rows){ .count = t, .offsets = e->offsets };
    b.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = picked, .picks = e->picks };
    b.inputs[NIB_IDS] = e->ids;
    b.inputs[NIB_POSITIONS] = e->positions;
    b.inputs[NIB_TYPES] = e->types;
    /* a text by itself stands nowhere: its boxes are zeros, as its types are */
    for (int i = 0; i < NIB_BOX_INPUTS && e->model->graph->boxes; i++)
        b.inputs[e->model->graph->boxes + i] = e->types;
    return b;
}

/* --- vectors --- */

static nib_status give(embedding *e, const float *vector, nib_error *err)
{
    if (e->file) return nib_embedding_file_put(e->file, vector, err);
    nib_embedding_line(&e->line, vector, e->width);
    if (e->line.failed) return nib_fail(err, NIB_E_NOMEM, "embed: out of memory");
    e->o->on_line(e->o->user, e->line.data, e->line.bytes);
    return NIB_OK;
}

/* The length is that of what is given: of the first truncate_dim numbers, as in
 * sentence-transformers' encode(truncate_dim, normalize_embeddings). */
static nib_status finish_text(embedding *e, size_t i, size_t row, size_t *count, nib_error *err)
{
    bool unit = e->sentence.normalize || e->o->normalize;
    size_t first, last, pooled = e->hidden * e->pooler.count;
    float *vector;

    rows_of(e, i, &first, &last);
    *count = last - first;
    nib_convert(e->rows, NIB_F32, nib_run_hidden(e->run, row), e->model->graph->type,
                *count * e->hidden);
    nib_pooler_pool(&e->pooler, e->rows, *count, e->hidden, first, e->vector);
    vector = e->vector + (nib_dense_forward(e->sentence.dense, e->sentence.dense_count, pooled,
                                            e->vector) - e->vector); /* of which it is a part */
    if (unit) nib_unit_length(vector, e->width);
    for (size_t c = 0; c < e->width; c++)
        if (!isfinite(vector[c]))
            return nib_fail(err, NIB_E_NUMERIC, "text %zu: its embedding is not finite", i + 1);
    return give(e, vector, err);
}

static nib_status embed_all(embedding *e, nib_error *err)
{
    size_t n = nib_dataset_count(e->texts);
    nib_status status = NIB_OK;

    for (size_t i = 0; i < n && !status; i += e->batch) {
        size_t to = nib_min(i + e->batch, n), row = 0;
        nib_batch b = make_batch(e, i, to);

        if (nib_should_stop(e->ctx)) return nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
        nib_run_forward(e->run, &b);
        for (size_t k = i, count = 0; k < to && !status; k++, row += count)
            status = finish_text(e, k, row, &count, err);
        if (e->o->on_progress)
            e->o->on_progress(e->o->user, "embedding", (double)to / (double)n);
    }
    return status;
}

static void free_all(embedding *e)
{
    nib_embedding_file_discard(e->file);
    nib_text_free(&e->line);
    nib_free(e->ctx, e->ids);
    nib_free(e->ctx, e->positions);
    nib_free(e->ctx, e->types);
    nib_free(e->ctx, e->picks);
    nib_free(e->ctx, e->offsets);
    nib_free(e->ctx, e->rows);
    nib_free(e->ctx, e->vector);
    nib_run_destroy(e->run);
    nib_plan_destroy(e->ctx, e->plan);
    nib_dataset_close(e->texts);
    nib_tokenizer_close(e->tokenizer);
    nib_adapter_close(e->adapter);
    nib_model_close(e->model);
    nib_sentence_close(&e->sentence);
}

nib_status nib_embed_texts(nib_ctx *ctx, const nib_embed_options *options,
                           nib_embed_result *result, nib_error *err)
{
    embedding e = { .ctx = ctx, .o = options, .line = { .ctx = ctx },
                    .batch = options->batch_size > 0 ? (size_t)options->batch_size
                                                     : TEXTS_A_BATCH };
    double start = nib_clock_seconds();
    nib_status status = choose(&e, err);

    *result = (nib_embed_result){ 0 };
    if (!status) status = open_model(&e, err);
    if (!status) status = read_texts(&e, err);
    if (!status) status = nib_warnings_check(ctx, err);
    nib_warnings_repeat(ctx);
    if (!status) status = make_run(&e, err);
    if (!status && options->out)
        status = nib_embedding_file_create(ctx, options->out, nib_dataset_count(e.texts), e.width,
                                           &e.file, err);
    if (!status) status = embed_all(&e, err);
    if (!status && e.file) {
        status = nib_embedding_file_commit(e.file, err);
        e.file = NULL;
    }
    if (!status) {
        nib_data_counts c = nib_dataset_counts(e.texts);
        *result = (nib_embed_result){ .texts = nib_dataset_count(e.texts), .tokens = c.tokens,
                                      .truncated = c.truncated, .width = e.width,
                                      .seconds = nib_clock_seconds() - start };
    }
    free_all(&e);
    return status;
}
