/* merge_route.c - see merge_route.h. */
#include "job/merge_route.h"

#include <stdio.h>

#include "adapter/prompt_note.h"
#include "base/outfile.h"
#include "base/outname.h"
#include "job/layer_store.h"
#include "job/merge_calibrated.h"
#include "job/merge_config.h"
#include "job/prompts.h"
#include "job/quantize_config.h"
#include "job/sentence.h"

/* How MODEL is held, its form that of a matrix, for config.json does not tell all of it; of a dense
 * one what the adapter was trained on. */
static nib_held held_of(const nib_merge_route *r)
{
    const nib_model *m = r->model;
    nib_held held = m->stored.format ? m->stored : r->job->trained;

    for (size_t i = 0; m->stored.format && i < m->linear_count; i++) {
        const nib_linear *l = m->linears[i];
        const nib_weight *w = l->frozen ? l->frozen : l->weight;
        const nib_form form = nib_weight_form(w);
        if (nib_form_is_dense(&form)) continue;
        held.form = form;
        break;
    }
    return held;
}

nib_status nib_merge_route_open(nib_merge_route *r, nib_error *err)
{
    const nib_merge_job *j = r->job;
    bool named;
    nib_status status = NIB_OK;

    r->labels = (nib_labels){ .ctx = j->ctx };
    r->opened = (nib_model_options){ .model = r->dir, .compute_dtype = NIB_COMPUTE_FLOAT32 };
    if (j->count)
        status = nib_labels_of_adapter(j->ctx, j->list[0].dir, &r->opened, &r->labels,
                                       &r->problem_type, err);
    r->opened.settings = r->settings;
    if (!status && r->opened.task == NIB_TASK_FEATURE_EXTRACTION)
        status = nib_sentence_model(j->ctx, r->dir, &r->model_dir, err);
    if (!status && r->model_dir) r->opened.model = r->model_dir;
    if (j->check.features) r->opened.task = NIB_TASK_FEATURE_EXTRACTION;
    if (!status)
        status = nib_model_open(j->ctx, &r->opened, NIB_F32, (nib_model_progress){ 0 }, &r->model,
                                err);
    if (!status && j->count)
        status = nib_merge_adapters_open(r->model, j->list, j->count, j->options->unmerge,
                                         &r->adapters, err);
    if (status || !nib_task_has_labels(r->model->purpose.task) || r->labels.known) return status;
    return nib_labels_of_config(r->model->json, r->dir, r->model->purpose.labels, &r->labels,
                                &named, err);
}

/* Of some formats nobody expects a merged model, many times as large: it must be asked for. */
static nib_status check_merge(const nib_merge_route *r, nib_error *err)
{
    const nib_format *format = r->model->stored.format;
    const nib_merge_options *o = r->job->options;
    double gib = (double)r->model->parameters * 2 / (1 << 30);

    if (!format || !format->no_merge || o->dtype || o->format) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: %s: use model and adapter as they are, or give --dtype bfloat16 (or "
                    "float16, float32): nibble merge %s --adapter %s %s --dtype bfloat16 decodes "
                    "all to dense tensors of %.2g GiB and merges into them", o->model,
                    format->no_merge, o->model, r->job->count ? r->job->list[0].dir : "", o->out,
                    gib);
}

static nib_status make_plan(nib_merge_route *r, nib_error *err)
{
    const nib_merge_job *j = r->job;
    const nib_held held = held_of(r);
    uint64_t bytes;
    nib_status status = nib_merge_format_read(j->ctx, j->options, &held, &r->format, err);

    if (!status) status = check_merge(r, err);
    if (!status) status = nib_merge_plan_make(r->model, j->convert, j->dtype, &r->plan, err);
    if (!status) r->dense_bytes = nib_merge_bytes(&r->plan, &r->packed);
    if (!status && r->format.held.format && r->plan.keeps_experts)
        status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: its experts are packed, and a model has one "
                          "low-bit format: --dtype bfloat16 decodes them", r->dir);
    if (!status && r->format.held.format && !r->format.calibrated)
        status = nib_merge_pack(r->model, &j->options->quantize, &r->format.held, &r->wide,
                                &r->plan, &r->packed, err);
    if (status) return status;
    bytes = nib_merge_bytes(&r->plan, &r->packed);
    r->result.bytes = bytes;
    r->result.matrices = r->packed.count;
    r->result.wide = r->wide.count;
    snprintf(r->result.form, sizeof r->result.form, "dense");
    if (r->format.held.format) nib_form_text(&r->format.held.form, r->result.form);
    /* what is calibrated comes beside its dense source and is smaller */
    bytes *= r->format.calibrated ? 2 : 1;
    /* the second way finds the first written */
    return nib_disk_check(j->ctx, j->options->out, r == j->first ? j->ways * bytes : bytes, err);
}

static nib_status open_out(nib_merge_route *r, nib_error *err)
{
    const nib_merge_options *o = r->job->options;
    nib_status status = nib_outdir_create(r->job->ctx, o->out, o->overwrite, &r->out, err);

    return status ? status : nib_quantize_drop_old(r->out, err);
}

/* An adapter of embeddings knows how rows are pooled. */
static nib_status write_sentence(const nib_merge_route *r, const char *dir, nib_error *err)
{
    const nib_graph *g = r->model->graph;
    const nib_merge_job *j = r->job;
    nib_sentence s;
    nib_status status;

    if (r->model->purpose.task != NIB_TASK_FEATURE_EXTRACTION || !j->count ||
        !nib_sentence_is_one(j->ctx, j->list[0].dir))
        return NIB_OK;
    status = nib_sentence_open(j->ctx, j->list[0].dir, &s, err);
    if (status) return status;
    status = nib_sentence_save(&s, g->values[g->hidden].width, dir, err);
    nib_sentence_close(&s);
    return status;
}

/* The chat template that the adapter was trained with in place of the model's is the merged model's
 * own. */
static nib_status write_template(const nib_merge_route *r, size_t from, const char *dir,
                                 nib_error *err)
{
    nib_ctx *ctx = r->job->ctx;
    size_t i = from < r->job->count ? from : 0;
    char *path = NULL, *to = NULL;
    nib_status status;

    if (!r->job->count || r->job->options->unmerge) return NIB_OK;
    status = nib_prompts_own_template(ctx, r->job->list[i].dir, &path, err);
    if (status || !path) return status;
    to = nib_sprintf(ctx, "%s/chat_template.jinja", dir);
    status = to ? nib_outfile_copy(ctx, path, to, err)
                : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    nib_free(ctx, path);
    nib_free(ctx, to);
    return status;
}

/* All files, in `dir`. */
static nib_status write_files(nib_merge_route *r, const char *dir, nib_error *err)
{
    const nib_merge_options *o = r->job->options;
    size_t from = r->job->count;
    const char *prompt = o->unmerge
        ? nib_prompt_note_unmerged(r->model, r->adapters.items, r->job->count)
        : nib_prompt_note_merged(r->model, r->adapters.items, r->job->count, &from);
    const nib_merge_writing w = { .prompt = prompt,
                                  .model = r->model, .plan = &r->plan, .packed = &r->packed,
                                  .adapters = r->adapters.items, .adapter_count = r->job->count,
                                  .unmerge = o->unmerge, .on_progress = o->on_progress,
                                  .user = o->user };
    nib_status status = nib_merge_write_weights(&w, dir, err);

    if (!status)
        status = nib_quantize_copy_files(r->job->ctx, r->trained_on ? r->trained_on
                                                                    : r->model->dir, dir, err);
    if (!status)
        status = nib_merge_write_config(r->model, &r->plan, &r->packed, &r->labels,
                                        o->dtype != NULL, dir, err);
    if (!status) status = write_template(r, from, dir, err);
    return status ? status : write_sentence(r, dir, err);
}

/* OUT, of two ways OUT.original and OUT.decoded. */
static nib_status name_kept(nib_merge_route *r, nib_error *err)
{
    nib_ctx *ctx = r->job->ctx;
    const char *out = r->job->options->out;
    char *end = nib_sprintf(ctx, "%s%s", r->name ? "." : "", r->name ? r->name : "");

    r->kept = end ? nib_beside(ctx, out, end) : NULL;
    nib_free(ctx, end);
    return r->kept ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", out);
}

static nib_status write_all(nib_merge_route *r, nib_error *err)
{
    const char *dir = nib_outdir_path(r->out);
    nib_merge_calibrated c = { .options = r->job->options, .settings = r->format.settings };
    nib_status status;

    if (!r->format.calibrated) return write_files(r, dir, err);
    status = name_kept(r, err);
    c.kept = r->kept;
    if (!status) status = nib_merge_calibrated_begin(r->job->ctx, dir, &c, err);
    if (!status) status = write_files(r, c.dense, err);
    if (!status) status = nib_merge_calibrated_end(&c, &r->result, err);
    nib_merge_calibrated_free(&c);
    r->calibrated = status == NIB_OK;
    return status;
}

/* What it would take in 8 bits, and to keep the adapters beside the base. */
static void put_costs(const nib_merge_route *r, nib_merge_facts *f)
{
    uint64_t trained = 0;

    f->dense_bytes = f->int8_bytes = r->dense_bytes;
    for (size_t i = 0; i < r->plan.count; i++) {
        const nib_merge_item *item = &r->plan.items[i];
        const nib_linear *l = item->linear;
        if (!l || l == r->model->head || l->of_head || l->parameter) continue;
        f->int8_bytes -= l->weight->out * l->weight->in * (nib_dtype_bytes(item->plan.dtype) - 1);
        f->int8_bytes += l->weight->out * sizeof(float);
    }
    for (size_t i = 0; i < r->job->count; i++)
        trained += nib_adapter_trainable(r->adapters.items[i]);
    f->adapter_bytes = trained * sizeof(float);
    f->share = (double)trained / (double)nib_max(r->model->parameters, 1);
}

static nib_status judge(nib_merge_route *r, nib_error *err)
{
    const nib_merge_job *j = r->job;
    const nib_merge_options *o = j->options;
    const nib_merge_measuring m = { .model = r->model, .opened = &r->opened, .list = j->list,
                                    .adapters = &r->adapters, .labels = &r->labels,
                                    .merged = nib_outdir_path(r->out), .verify = o->verify,
                                    .trained = j->trained, .trained_on = r->trained_on,
                                    .on_progress = o->on_progress, .user = o->user };
    nib_merge_facts f = { .model = o->model, .route = r->name, .list = j->list, .count = j->count,
                          .result = &r->result, .options = o, .dtype = r->plan.dtype };

    put_costs(r, &f);
    return nib_merge_judge(&m, &f, &r->judged, err);
}

static void close_models(nib_merge_route *r)
{
    nib_ctx *ctx = r->job ? r->job->ctx : NULL;

    if (!ctx) return;
    nib_merge_packed_free(&r->packed);
    nib_merge_plan_free(ctx, &r->plan);
    nib_merge_adapters_close(&r->adapters);
    nib_model_close(r->model);
    r->model = NULL;
    nib_labels_free(&r->labels);
    r->labels = (nib_labels){ .ctx = ctx };
    nib_free(ctx, r->problem_type);
    nib_free(ctx, r->model_dir);
    r->problem_type = r->model_dir = NULL;
}

/* Linears that stayed dense, as a head that was trained whole, are not encoded in any form. */
static void forget_dense(nib_merge_route *r)
{
    nib_merge_judged *j = &r->judged;
    size_t kept = 0;

    for (size_t i = 0; i < j->damaged_count; i++) {
        bool encoded = false;
        for (size_t k = 0; k < r->packed.count && !encoded; k++)
            encoded = strcmp(r->packed.matrices[k].item->linear->name, j->damaged[i]) == 0;
        if (encoded) j->damaged[kept++] = j->damaged[i];
        else nib_free(r->job->ctx, j->damaged[i]);
    }
    j->damaged_count = kept;
}

/* The form in 8 bits, by the format's own settings. */
static nib_status widen(nib_merge_route *r, nib_error *err)
{
    nib_setting settings[NIB_MERGE_SETTINGS + 2];
    const nib_setting *idle;
    size_t n = 0;
    nib_held held;
    nib_status status;

    while (r->format.settings[n].key) settings[n] = r->format.settings[n], n++;
    settings[n++] = (nib_setting){ "bits", "8" };
    settings[n] = (nib_setting){ 0 };
    status = nib_held_asked(settings, &held, &idle, err);
    r->wide.form = held.form;
    r->wide.modules = r->judged.damaged;
    r->wide.count = r->judged.damaged_count;
    r->judged.damaged = NULL; /* handed over */
    r->judged.damaged_count = 0;
    return status;
}

static nib_status write_and_judge(nib_merge_route *r, nib_error *err)
{
    nib_status status = open_out(r, err);

    if (!status) status = write_all(r, err);
    if (!status && r->job->check.made)
        status = r->job->check.made(r->job->check.self, r->model, nib_outdir_path(r->out), err);
    return !status && r->job->count && !r->job->options->unmeasured ? judge(r, err) : status;
}

/* What was written goes, and the damaged matrices come in 8 bits. */
static nib_status run_again(nib_merge_route *r, nib_error *err)
{
    nib_status status = widen(r, err);

    nib_merge_judged_free(&r->judged);
    nib_outdir_discard(r->out);
    r->out = NULL;
    nib_merge_packed_free(&r->packed);
    nib_merge_plan_free(r->job->ctx, &r->plan);
    if (!status) status = make_plan(r, err);
    return status ? status : write_and_judge(r, err);
}

nib_status nib_merge_route_run(nib_merge_route *r, nib_error *err)
{
    nib_status status = make_plan(r, err);

    if (!status) status = nib_warnings_check(r->job->ctx, err); /* before anything is written */
    nib_warnings_repeat(r->job->ctx);
    if (!status) status = write_and_judge(r, err);
    if (!status && r->job->options->mixed_bits) forget_dense(r);
    if (!status && r->job->options->mixed_bits && r->judged.damaged_count)
        status = run_again(r, err);
    close_models(r);
    return status;
}

nib_status nib_merge_route_forget(nib_merge_route *r, nib_error *err)
{
    return r->calibrated ? nib_layer_store_forget(r->job->ctx, r->kept, err) : NIB_OK;
}

void nib_merge_route_close(nib_merge_route *r)
{
    if (!r->job) return;
    nib_outdir_discard(r->out);
    nib_merge_judged_free(&r->judged);
    close_models(r);
    nib_free(r->job->ctx, r->kept);
    r->kept = NULL;
    r->calibrated = false;
    for (size_t i = 0; i < r->wide.count; i++) nib_free(r->job->ctx, r->wide.modules[i]);
    nib_free(r->job->ctx, r->wide.modules);
    r->wide = (nib_merge_wide){ 0 };
    r->out = NULL;
}
