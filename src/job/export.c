/* export.c - a model, with or without an adapter, as one GGUF file, a few rows at a time.
 *
 * The file is built beside its place, read back, and renamed when it answers as the model does. */
#include "nibble/export.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "adapter/adapter.h"
#include "base/outname.h"
#include "job/allot.h"
#include "job/export_adapter.h"
#include "job/export_allot.h"
#include "job/export_directory.h"
#include "job/export_place.h"
#include "job/export_plan.h"
#include "job/export_rows.h"
#include "job/export_verify.h"
#include "job/modelfile.h"
#include "job/other_form.h"
#include "job/sentence.h"
#include "job/survival.h"
#include "text/gguf_tokens.h"

typedef struct run {
    nib_ctx *ctx;
    const nib_export_options *options;
    const nib_export_type *type;
    nib_model *model;
    nib_adapter *adapter;
    nib_tokenizer *tokenizer; /* NULL: the model has none */
    nib_gguf_naming naming;
    nib_gguf_keys_out keys;
    nib_importances importances; /* count 0: none */
    nib_export_plan plan;
    nib_gguf_writer *writer;
    nib_modelfile modelfile;
    char *temporary;          /* the whole file, not yet checked */
    nib_model *written;       /* read back of it */
    bool targeted;            /* types are allotted to a size */
    nib_export_result result;
} run;

static nib_status read_options(run *r, nib_error *err)
{
    const nib_export_options *o = r->options;
    const char *name = o->quantize ? o->quantize : "F16";
    char known[300];

    r->type = r->targeted ? &nib_export_allotted_type : nib_export_type_named(name);
    if (r->type) return nib_export_check_place(r->ctx, o, err);
    nib_export_types_known(known, sizeof known);
    return nib_fail(err, NIB_E_INVALID, "quantize '%s', known are %s", name, known);
}

static nib_status open_all(run *r, nib_error *err)
{
    const nib_export_options *o = r->options;
    nib_model_options model = { .model = o->model, .compute_dtype = NIB_COMPUTE_FLOAT32 };
    nib_model_progress quiet = { 0 };
    nib_merge_result forms;
    bool encoder;
    nib_status status = nib_export_is_encoder(r->ctx, o->model, &encoder, err);

    if (!status)
        status = encoder ? nib_model_open_features(r->ctx, &model, NIB_F32, quiet, &r->model, err)
                         : nib_model_open(r->ctx, &model, NIB_F32, quiet, &r->model, err);
    if (!status && o->adapter)
        status = nib_adapter_open(r->model, o->adapter, 0, false, &r->adapter, err);
    if (!status && o->adapter)
        status = nib_compare_forms(r->adapter, "merged into", false, &forms, err);
    if (!status) status = nib_tokenizer_open_any(r->ctx, o->model, &r->tokenizer, err);
    if (!status && !r->tokenizer)
        nib_warn_code(r->ctx, "gguf-tokenizer", "%s: there is no tokenizer: programs will not read "
                      "text with %s", o->model, o->out);
    return status;
}

/* How much the inputs of matrices count, where the caller has a file or texts for it. */
static nib_status find_importances(run *r, nib_error *err)
{
    const nib_export_options *o = r->options;
    size_t records = o->num_calibration_samples > 0 ? (size_t)o->num_calibration_samples : 128;
    nib_status status;

    if (o->imatrix_out && !o->calibration.data)
        return nib_fail(err, NIB_E_INVALID, "imatrix_out: importances are made of texts "
                        "(calibration_data)");
    if (o->imatrix && o->calibration.data)
        return nib_fail(err, NIB_E_INVALID, "imatrix and calibration_data: one of them says what "
                        "counts");
    if (o->imatrix) return nib_importances_open(r->ctx, o->imatrix, &r->importances, err);
    if (!o->calibration.data) return NIB_OK;
    status = nib_importances_make(r->model, &r->naming, r->tokenizer, &o->calibration, records,
                                  &r->importances, err);
    return status;
}

static void put_importances(run *r)
{
    static const char *const keys[] = { "quantize.imatrix.file", "quantize.imatrix.dataset" };
    const nib_importances *m = &r->importances;
    const char *texts[] = { m->file, m->dataset };

    if (!m->count) return;
    for (size_t i = 0; i < NIB_COUNT(keys); i++)
        if (texts[i]) nib_gguf_put_text(r->writer, keys[i], texts[i], strlen(texts[i]));
    nib_gguf_put_number(r->writer, "quantize.imatrix.entries_count", NIB_GGUF_U32,
                        (double)m->count);
    nib_gguf_put_number(r->writer, "quantize.imatrix.chunks_count", NIB_GGUF_U32,
                        (double)m->chunks);
}

/* How an encoder's rows become one vector. */
static nib_status put_pooling(run *r, nib_error *err)
{
    nib_sentence s = { 0 };
    char key[100];
    unsigned number;
    nib_status status;

    if (r->model->head) return NIB_OK;
    status = nib_sentence_open(r->ctx, r->options->model, &s, err);
    if (status) return status;
    if (s.dense_count) {
        status = nib_fail(err, NIB_E_UNSUPPORTED,
                          "%s: the Dense modules of its modules.json have no place in the file; "
                          "without modules.json the model's rows alone are exported",
                          r->options->model);
        nib_sentence_close(&s);
        return status;
    }
    number = nib_sentence_gguf_pooling(&s);
    snprintf(key, sizeof key, "%s.pooling_type", r->naming.family->architecture);
    if (number) nib_gguf_put_number(r->writer, key, NIB_GGUF_U32, number);
    else
        nib_warn_code(r->ctx, "gguf-pooling", "%s: its pooling has no number in GGUF, those that "
                      "have are mean, cls and lasttoken", r->options->model);
    nib_sentence_close(&s);
    return NIB_OK;
}

/* The types of the matrices, and what follows from them. */
static nib_status allot(run *r, nib_error *err)
{
    nib_export_allotted made;
    nib_status status = nib_export_allot(r->ctx, r->options, &r->plan, r->writer, &made, err);

    if (status) return status;
    nib_gguf_put_number(r->writer, NIB_GGUF_FILE_TYPE, NIB_GGUF_U32, made.file_type);
    r->result.file_bytes = made.file_bytes;
    r->result.bits_per_weight = made.bits_per_weight;
    return NIB_OK;
}

static nib_status declare(run *r, nib_error *err)
{
    nib_status status = nib_gguf_naming_of(r->model, &r->naming, err);

    if (!status) status = find_importances(r, err);
    if (!status) status = nib_gguf_writer_create(r->ctx, &r->writer, err);
    if (!status)
        status = nib_gguf_put_model(r->model, &r->naming, r->type->file_type, r->writer, &r->keys,
                                    err);
    if (!status) status = put_pooling(r, err);
    if (!status && r->tokenizer)
        status = nib_gguf_put_tokenizer(r->tokenizer, r->options->model,
                                        r->model->embedding->weight->out,
                                        r->naming.family->merged, r->writer, err);
    if (!status && !r->tokenizer) nib_gguf_put_no_tokenizer(r->model, &r->naming, r->writer);
    if (!status) put_importances(r);
    if (!status)
        status = nib_export_plan_make(r->model, &r->naming, r->type, &r->keys,
                                      r->importances.count ? &r->importances : NULL, &r->plan, err);
    if (!status && r->targeted) status = allot(r, err);
    for (size_t i = 0; i < r->plan.count && !status; i++) {
        const nib_export_item *item = &r->plan.items[i];
        nib_gguf_add_tensor(r->writer, item->name, item->type, item->rank, item->shape);
    }
    if (!status && r->plan.unimportant)
        nib_warn_code(r->ctx, "gguf-importance", "%zu matrices have no importances in %s",
                      r->plan.unimportant, r->options->imatrix ? r->options->imatrix
                                                               : r->options->calibration.data);
    if (!status && r->plan.fallbacks)
        nib_warn_code(r->ctx, "gguf-fallback", "%zu matrices have rows that are no whole blocks of "
                      "%s and get another type", r->plan.fallbacks, r->type->name);
    return status;
}

static nib_status progress(run *r, size_t done, const char *name, nib_error *err)
{
    const nib_export_options *o = r->options;

    if (o->on_progress) o->on_progress(o->user, name, (double)done / (double)r->plan.count);
    if (nib_should_stop(r->ctx))
        return nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
    return NIB_OK;
}

static nib_status write_file(run *r, nib_error *err)
{
    nib_gguf_writer *writer;
    nib_status status;

    r->result.bytes = nib_gguf_writer_bytes(r->writer);
    r->result.tensors = r->plan.count;
    r->temporary = nib_temp_beside(r->ctx, r->options->out, err);
    if (!r->temporary) return NIB_E_NOMEM;
    status = nib_gguf_writer_open(r->writer, r->temporary, err);
    for (size_t i = 0; i < r->plan.count && !status; i++) {
        const nib_export_item *item = &r->plan.items[i];
        status = nib_export_write(r->ctx, item, &r->naming.heads, r->writer, err);
        if (!status) status = progress(r, i + 1, item->name, err);
    }
    if (!status) status = nib_tensors_unchanged(r->model->tensors, err);
    if (status) return status;
    writer = r->writer;
    r->writer = NULL;
    return nib_gguf_writer_commit(writer, err);
}

/* The greatest difference of logits that rounding the weights so explains. */
static double most_difference(const nib_export_type *type)
{
    static const struct { const char *base; double most; } bounds[] = {
        { "F32", 1e-4 }, { "F16", 0.02 }, { "BF16", 0.1 }, { "Q8_0", 0.15 },
        { "Q6_K", 0.25 }, { "Q5_K", 0.5 }, { "Q5_0", 0.5 }, { "Q5_1", 0.5 },
    };

    for (size_t i = 0; i < NIB_COUNT(bounds) && type->mix != NIB_EXPORT_ALLOTTED; i++)
        if (strcmp(bounds[i].base, type->base) == 0) return bounds[i].most;
    return 0.75;
}

static nib_status verify(run *r, nib_error *err)
{
    nib_export_check check = { 0 };
    nib_status status = nib_export_open_written(r->model, r->temporary, &r->written, err);

    if (status || r->options->no_verify) return status;
    status = nib_export_verify(r->model, r->written, r->tokenizer, most_difference(r->type),
                               &check, err);
    r->result.prompts = check.prompts;
    r->result.greatest_difference = check.greatest;
    return status;
}

static bool has_linear(const nib_model *m, const char *name)
{
    for (size_t i = 0; i < m->linear_count; i++)
        if (strcmp(m->linears[i]->name, name) == 0) return true;
    return false;
}

/* What of the adapter's change is in the file's matrices. */
static nib_status measure(run *r, nib_error *err)
{
    nib_survivors found = { 0 };
    nib_status status;

    if (!has_linear(r->written, r->model->linears[0]->name)) {
        nib_note(r->ctx, "%s: its modules have other names than those of %s: what of the adapter "
                 "survived is not measured", r->options->out, r->options->model);
        return NIB_OK;
    }
    status = nib_survivors_list(r->model, r->written, NULL, &found, err);
    if (!status) status = nib_survivors_of_weights(&found, err);
    if (!status) r->result.survival = nib_survivors_all(&found);
    nib_survivors_free(&found);
    return status;
}

static nib_status judge(run *r, nib_error *err)
{
    const nib_survival *s = &r->result.survival;
    double least = r->options->min_retained, kept;
    nib_status status = r->adapter ? measure(r, err) : NIB_OK;

    if (status || !(least > 0)) return status;
    if (!s->rows)
        return nib_fail(err, NIB_E_UNSUPPORTED, "min_retained: %s", r->adapter
                        ? "what survived is not measured" : "there is no adapter");
    kept = 1 - fabs(1 - s->survived);
    if (isnan(s->survived) || kept - 2 * s->standard_error >= least) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH, "refused, nothing is written (min_retained %g): %.3f +- "
                    "%.3f of the adapter's change survived in %s; a type of more bits keeps more",
                    least, s->survived, s->standard_error, r->type->name);
}

static nib_status prepare_modelfile(run *r, nib_error *err)
{
    if (!r->options->modelfile) return NIB_OK;
    r->modelfile = (nib_modelfile){ .model = r->options->model, .tokenizer = r->tokenizer,
                                    .out = r->options->out };
    return nib_modelfile_prepare(r->ctx, &r->modelfile, err);
}

static nib_status check_target(run *r, nib_error *err)
{
    const nib_export_options *o = r->options;
    const char *name;
    nib_status status = nib_allot_asked(o->target_size, o->target_bpw, &r->targeted, &name, err);

    if (!status && r->targeted && o->quantize)
        return nib_fail(err, NIB_E_INVALID, "quantize and %s: with a target each matrix gets a "
                        "type of its own; leave one of them out", name);
    return status;
}

static nib_status export(run *r, nib_error *err)
{
    nib_status status = read_options(r, err);

    if (!status) status = open_all(r, err);
    if (!status) status = declare(r, err);
    if (!status) status = prepare_modelfile(r, err);
    if (!status) status = nib_warnings_check(r->ctx, err); /* before anything is written */
    nib_warnings_repeat(r->ctx);
    if (!status && r->options->imatrix_out)
        status = nib_importances_write(&r->importances, r->options->imatrix_out, err);
    if (!status) status = write_file(r, err);
    if (!status) status = verify(r, err);
    if (!status) status = judge(r, err);
    if (!status)
        status = nib_export_put_in_place(r->ctx, r->temporary, r->options->out, err);
    if (status || !r->options->modelfile) return status;
    return nib_modelfile_write(r->ctx, &r->modelfile, err);
}

nib_status nib_export(nib_ctx *ctx, const nib_export_options *options, nib_export_result *result,
                      nib_error *err)
{
    run r = { .ctx = ctx, .options = options };
    nib_status status = NIB_OK;

    if ((nib_export_is_adapter(options->model) || nib_export_is_directory(options)) &&
        (options->imatrix || options->imatrix_out || options->calibration.data))
        return nib_fail(err, NIB_E_INVALID, "imatrix, imatrix_out and calibration_data are of a "
                        "model's GGUF file, which %s is not to be", options->out);
    if (!(options->min_retained >= 0 && options->min_retained <= 1))
        return nib_fail(err, NIB_E_INVALID, "min_retained %g; a share above 0, at most 1",
                        options->min_retained);
    if (options->min_retained > 0 &&
        (nib_export_is_adapter(options->model) || nib_export_is_directory(options)))
        return nib_fail(err, NIB_E_INVALID, "min_retained is of a model's GGUF file, which %s is "
                        "not to be; nibble merge measures directories", options->out);
    if ((options->target_size || options->target_bpw != 0) &&
        (nib_export_is_adapter(options->model) || nib_export_is_directory(options)))
        return nib_fail(err, NIB_E_INVALID, "%s is of a model's GGUF file, which %s is not to be",
                        options->target_size ? "target_size" : "target_bpw", options->out);
    if (nib_export_is_adapter(options->model))
        return nib_export_adapter(ctx, options, result, err);
    if (options->base)
        return nib_fail(err, NIB_E_INVALID, "base: %s is no adapter", options->model);
    if (nib_export_is_directory(options))
        return nib_export_directory(ctx, options, result, err);
    if (options->dtype)
        return nib_fail(err, NIB_E_INVALID, "dtype is of a directory, which a GGUF file is "
                        "exported to: of %s quantize names the type", options->out);
    status = check_target(&r, err);
    if (!status) status = export(&r, err);
    if (!status && result) *result = r.result;
    nib_gguf_writer_discard(r.writer);
    nib_model_close(r.written);
    if (r.temporary) unlink(r.temporary); /* nothing is there after the rename */
    nib_free(ctx, r.temporary);
    nib_export_plan_free(ctx, &r.plan);
    nib_importances_free(&r.importances);
    nib_gguf_keys_out_free(ctx, &r.keys);
    nib_modelfile_free(ctx, &r.modelfile);
    nib_tokenizer_close(r.tokenizer);
    nib_adapter_close(r.adapter);
    nib_model_close(r.model);
    return status;
}
