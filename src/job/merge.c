/* merge.c - an adapter's changes put into the weights: W0 + s B A, dense.
 *
 * Every tensor of the source is written in its order under its own name.  A weight's rows are
 * decoded to float, the product is added in float, and the sum is rounded once; a few rows are
 * in memory at a time.  The packed tensors of a 4-bit weight become one dense tensor.
 * Experts of MXFP4 that the adapter does not change are copied as they are, unless --dtype is
 * given.
 * A head tied to the embedding becomes a tensor of its own when the two differ afterwards.
 * A classifier that the adapter brings stands behind the others, and its labels in config.json. */
#include "job/merge_check.h"

#include <stdio.h>

#include "adapter/merged.h"
#include "base/outfile.h"
#include "job/labelled.h"
#include "job/merge_plan.h"
#include "job/merge_rows.h"
#include "job/other_form.h"
#include "job/python_json.h"
#include "job/quantize_config.h"
#include "job/sentence.h"

enum { SHARD_BYTES_MILLIONS = 5000 };

typedef struct run {
    nib_ctx *ctx;
    const nib_merge_options *options;
    nib_merge_check check;
    char *model_dir;   /* of embeddings the Transformer's, else the model's as given */
    nib_model *model;
    nib_adapter *adapter;
    nib_labels labels; /* of a classifier */
    char *problem_type;
    nib_merge_plan plan;
    nib_outdir *out;
    nib_tensor_writer *writer;
    nib_merge_rows rows;
    nib_merge_result result;
} run;

static nib_status read_dtype(const nib_merge_options *o, bool *convert, nib_dtype *dtype,
                             nib_error *err)
{
    static const nib_dtype known[] = { NIB_F32, NIB_F16, NIB_BF16 };

    *convert = o->dtype != NULL;
    *dtype = NIB_F32;
    if (!o->dtype) return NIB_OK;
    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (strcmp(o->dtype, nib_dtype_name(known[i])) == 0) {
            *dtype = known[i];
            return NIB_OK;
        }
    return nib_fail(err, NIB_E_INVALID, "dtype '%s'; float32, float16 and bfloat16 are known",
                    o->dtype);
}

static nib_status open_all(run *r, nib_error *err)
{
    const nib_merge_options *o = r->options;
    nib_model_options model = { .model = o->model, .compute_dtype = NIB_COMPUTE_FLOAT32 };
    bool named;
    nib_status status;

    status = nib_quantize_check_places(o->model, o->out, err);
    if (!status && o->adapter) status = nib_quantize_check_places(o->adapter, o->out, err);
    if (!status && o->adapter)
        status = nib_labels_of_adapter(r->ctx, o->adapter, &model, &r->labels, &r->problem_type,
                                       err);
    if (!status && model.task == NIB_TASK_FEATURE_EXTRACTION)
        status = nib_sentence_model(r->ctx, o->model, &r->model_dir, err);
    if (!status && r->model_dir) model.model = r->model_dir;
    if (!status)
        status = nib_model_open(r->ctx, &model, NIB_F32, (nib_model_progress){ 0 }, &r->model, err);
    if (!status && o->adapter)
        status = nib_adapter_open(r->model, o->adapter, 0, false, &r->adapter, err);
    if (!status && o->adapter)
        status = nib_compare_forms(r->adapter, "merged into", true, &r->result, err);
    if (status || !nib_task_has_labels(r->model->purpose.task) || r->labels.known) return status;
    return nib_labels_of_config(r->model->json, o->model, r->model->purpose.labels, &r->labels,
                                &named, err);
}

/* Of some formats nobody expects a merged model, many times as large: it must be asked for. */
static nib_status check_merge(run *r, nib_error *err)
{
    const nib_format *format = r->model->stored.format;
    double gib = (double)r->model->parameters * 2 / (1 << 30);

    if (!format || !format->no_merge || r->options->dtype) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: %s: use model and adapter as they are, or give --dtype bfloat16 (or "
                    "float16, float32): nibble merge %s %s %s --dtype bfloat16 decodes all to "
                    "dense tensors of %.2g GiB and merges into them", r->options->model,
                    format->no_merge, r->options->model, r->options->adapter, r->options->out, gib);
}

static nib_status progress(run *r, size_t done, const char *name, nib_error *err)
{
    if (r->options->on_progress)
        r->options->on_progress(r->options->user, name, (double)done / (double)r->plan.count);
    if (nib_should_stop(r->ctx))
        return nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
    return NIB_OK;
}

static nib_status write_item(run *r, const nib_merge_item *item, nib_error *err)
{
    nib_status status;

    switch (item->kind) {
    case NIB_MERGE_WEIGHT:
        status = nib_merge_write_weight(&r->rows, r->writer, item, err);
        break;
    case NIB_MERGE_STACK:
        status = nib_merge_write_stack(&r->rows, r->writer, item, err);
        break;
    case NIB_MERGE_VECTOR:
        status = nib_merge_write_values(&r->rows, r->writer, item, err);
        break;
    default:
        status = nib_merge_write_copy(&r->rows, r->writer, item, err);
        break;
    }
    if (item->source)
        nib_filemap_release(item->source->map, item->source->data, (size_t)item->source->bytes);
    return status;
}

static nib_status write_weights(run *r, nib_error *err)
{
    nib_tensor_plan *plans = nib_new_array(r->ctx, r->plan.count, sizeof *plans);
    char *merged = nib_merged_list(r->ctx, r->model->tensors, r->adapter);
    const char *const notes[] = { NIB_MERGED_KEY, merged, NULL };
    nib_tensor_writer *writer;
    nib_status status = NIB_OK;

    for (size_t i = 0; plans && i < r->plan.count; i++) plans[i] = r->plan.items[i].plan;
    if (!plans || !merged)
        status = nib_fail(err, NIB_E_NOMEM, "%zu tensors: out of memory", r->plan.count);
    else
        status = nib_tensor_writer_create_noted(r->ctx, nib_outdir_path(r->out), "model", plans,
                                                r->plan.count,
                                                (uint64_t)SHARD_BYTES_MILLIONS * 1000000, notes,
                                                &r->writer, err);
    nib_free(r->ctx, plans);
    nib_free(r->ctx, merged);
    for (size_t i = 0; i < r->plan.count && !status; i++) {
        status = write_item(r, &r->plan.items[i], err);
        if (!status) status = progress(r, i + 1, r->plan.items[i].plan.name, err);
    }
    if (!status) status = nib_tensors_unchanged(r->model->tensors, err);
    if (status) return status;
    writer = r->writer;
    r->writer = NULL;
    return nib_tensor_writer_commit(writer, err);
}

/* Inside a wrapper transformers 4 reads the text's key and 5 the outer one. */
static bool untie(json_t *config)
{
    static const char key[] = "tie_word_embeddings";
    json_t *text = json_object_get(config, "text_config");

    return !json_object_set_new(config, key, json_false()) &&
           (!json_is_object(text) || !json_object_set_new(text, key, json_false()));
}

/* config.json of a dense model, but for experts that stay packed: no quantization, the type of the
 * weights, tied only if they are. */
static nib_status write_config(run *r, nib_error *err)
{
    json_t *config = json_deep_copy(r->model->json);
    char *path = nib_sprintf(r->ctx, "%s/config.json", nib_outdir_path(r->out));
    const char *key = json_object_get(config, "dtype") ? "dtype" : "torch_dtype";
    bool set = r->options->dtype || r->model->stored.format || !json_object_get(config, key);
    nib_status status;

    if (config && !r->plan.keeps_experts) json_object_del(config, "quantization_config");
    if (!config || !path ||
        (set && json_object_set_new(config, key, json_string(nib_dtype_name(r->plan.dtype)))) ||
        (r->plan.untied && !untie(config)) ||
        (r->model->purpose.task != NIB_TASK_FEATURE_EXTRACTION &&
         !nib_set_label_config(config, r->model, &r->labels)))
        status = nib_fail(err, NIB_E_NOMEM, "config.json: out of memory");
    else
        status = nib_python_json_write(r->ctx, path, config, err);
    json_decref(config);
    nib_free(r->ctx, path);
    return status;
}

/* An adapter of embeddings knows how rows are pooled. */
static nib_status write_sentence(run *r, nib_error *err)
{
    const nib_graph *g = r->model->graph;
    nib_sentence s;
    nib_status status;

    if (r->model->purpose.task != NIB_TASK_FEATURE_EXTRACTION ||
        !nib_sentence_is_one(r->ctx, r->options->adapter))
        return NIB_OK;
    status = nib_sentence_open(r->ctx, r->options->adapter, &s, err);
    if (status) return status;
    status = nib_sentence_save(&s, g->values[g->hidden].width, nib_outdir_path(r->out), err);
    nib_sentence_close(&s);
    return status;
}

/* Weights of an earlier run under other names would contradict these. */
static nib_status open_out(run *r, nib_error *err)
{
    static const char *const old[] = { "model.safetensors", "model-*-of-*.safetensors",
                                       "model.safetensors.index.json" };
    nib_status status = nib_outdir_create(r->ctx, r->options->out, r->options->overwrite, &r->out,
                                          err);

    for (size_t i = 0; !status && i < NIB_COUNT(old); i++)
        status = nib_outdir_drop(r->out, old[i], err);
    return status;
}

static nib_status merge(run *r, nib_error *err)
{
    nib_outdir *out;
    bool convert;
    nib_dtype dtype;
    nib_status status = read_dtype(r->options, &convert, &dtype, err);

    if (!status) status = open_all(r, err);
    if (!status) status = check_merge(r, err);
    if (!status) status = nib_merge_plan_make(r->model, convert, dtype, &r->plan, err);
    if (!status) status = nib_merge_rows_init(r->ctx, r->plan.widest, &r->rows, err);
    if (!status) status = nib_warnings_check(r->ctx, err); /* before anything is written */
    nib_warnings_repeat(r->ctx);
    if (!status) status = open_out(r, err);
    if (!status) status = write_weights(r, err);
    if (!status)
        status = nib_quantize_copy_files(r->ctx, r->model->dir, nib_outdir_path(r->out), err);
    if (!status) status = write_config(r, err);
    if (!status) status = write_sentence(r, err);
    if (!status && r->check.made)
        status = r->check.made(r->check.self, r->model, nib_outdir_path(r->out), err);
    if (status) return status;
    out = r->out;
    r->out = NULL;
    return nib_outdir_commit(out, err);
}

nib_status nib_merge_checked(nib_ctx *ctx, const nib_merge_options *options, nib_merge_check check,
                             nib_error *err)
{
    run r = { .ctx = ctx, .options = options, .check = check, .labels = { .ctx = ctx } };
    nib_status status = merge(&r, err);

    if (!status && options->result) *options->result = r.result;
    nib_tensor_writer_discard(r.writer);
    nib_outdir_discard(r.out);
    nib_merge_rows_free(&r.rows);
    nib_merge_plan_free(ctx, &r.plan);
    nib_adapter_close(r.adapter);
    nib_model_close(r.model);
    nib_labels_free(&r.labels);
    nib_free(ctx, r.problem_type);
    nib_free(ctx, r.model_dir);
    return status;
}

nib_status nib_merge(nib_ctx *ctx, const nib_merge_options *options, nib_error *err)
{
    return nib_merge_checked(ctx, options, (nib_merge_check){ 0 }, err);
}
