/* merge_measure.c - see merge_measure.h. */
#include "job/merge_measure.h"

/* --- the models --- */

static bool is_dense(const nib_model *m)
{
    char form[NIB_BASE_FORM_ROOM];

    nib_base_form(m, form);
    return strcmp(form, "dense") == 0;
}

static nib_status open_model(nib_ctx *ctx, const nib_merge_measuring *m, const char *dir,
                             const nib_setting *settings, nib_model **out, nib_error *err)
{
    nib_model_options o = *m->opened;
    bool before = nib_quiet(ctx, true); /* what is to be noted of it was, when it was merged */
    nib_status status;

    o.model = dir;
    o.settings = settings;
    status = nib_model_open(ctx, &o, NIB_F32, (nib_model_progress){ 0 }, out, err);
    nib_quiet(ctx, before);
    return status;
}

/* The settings that quantize a dense model as it was in training, while it is loaded. */
static const nib_setting *settings_of(const nib_merge_measuring *m, nib_settings *out)
{
    m->trained.format->settings(&m->trained.form, out);
    return out->items;
}

static nib_status open_adapters(nib_merge_measured *r, const nib_merge_measuring *m, nib_error *err)
{
    bool before = nib_quiet(r->ctx, true);
    nib_status status = nib_merge_adapters_open(r->own, m->list, m->adapters->count, false,
                                                &r->own_adapters, err);

    nib_quiet(r->ctx, before);
    return status;
}

/* What the adapter was trained on. */
static nib_status open_base(const nib_merge_measuring *m, nib_merge_measured *r, nib_error *err)
{
    nib_settings settings;
    nib_status status;

    r->base = m->model;
    r->encodes = m->trained.format && is_dense(m->model);
    if (!m->trained_on && !(r->encodes && r->records.name)) return NIB_OK;
    if (m->trained_on) status = open_model(r->ctx, m, m->trained_on, NULL, &r->own, err);
    else
        status = open_model(r->ctx, m, m->opened->model, settings_of(m, &settings), &r->own, err);
    if (!status)
        status = open_adapters(r, m, err);
    if (status) return status;
    r->base = r->own;
    r->encodes = false;
    return NIB_OK;
}

/* The same without adapters, where no slot leaves them out. */
static nib_status open_bare(const nib_merge_measuring *m, nib_merge_measured *r, nib_error *err)
{
    nib_settings settings;
    const nib_setting *low = m->opened->settings;

    if (!nib_model_is_changed(r->base)) return NIB_OK;
    if (m->trained_on) return open_model(r->ctx, m, m->trained_on, NULL, &r->bare, err);
    if (r->own) low = settings_of(m, &settings);
    return open_model(r->ctx, m, m->opened->model, low, &r->bare, err);
}

/* --- on records --- */

static nib_status measure_records(const nib_merge_measuring *m, nib_merge_measured *r,
                                  nib_error *err)
{
    nib_classifier c = { .ctx = r->ctx, .options = *m->opened, .labels = *m->labels,
                         .model = r->base };
    const nib_merge_sides sides = { .adapter = r->base, .base = r->bare, .merged = r->merged,
                                    .on_progress = m->on_progress, .user = m->user };
    nib_status status;

    if (m->trained_on) c.options.model = m->trained_on; /* whose tokenizer is read */
    status = nib_merge_records_open(&r->records, &c, err);
    if (!status)
        status = nib_merge_verify(r->ctx, &sides, &r->records, &r->survivors, &r->losses, err);
    if (!status)
        status = nib_merge_answers(r->ctx, r->base, r->merged, &r->records, r->answers,
                                   &r->answer_count, err);
    r->verified = !status;
    return status;
}

nib_status nib_merge_measure(const nib_merge_measuring *m, nib_merge_measured *out, nib_error *err)
{
    nib_ctx *ctx = m->model->ctx;
    nib_status status;

    *out = (nib_merge_measured){ .ctx = ctx };
    status = nib_merge_records_find(ctx, m->verify, m->list[0].dir, &out->records, err);
    if (m->model->purpose.task != NIB_TASK_CAUSAL_LM &&
        !nib_task_has_labels(m->model->purpose.task))
        out->records.name = NULL; /* no loss is known of it, but the weights */
    if (!status) status = open_base(m, out, err);
    if (!status && out->records.name) status = open_bare(m, out, err);
    if (!status) status = open_model(ctx, m, m->merged, NULL, &out->merged, err);
    if (!status)
        status = nib_survivors_list(out->base, out->merged, out->encodes ? &m->trained.form : NULL,
                                    &out->survivors, err);
    if (!status)
        status = out->records.name ? measure_records(m, out, err)
                                   : nib_survivors_of_weights(&out->survivors, err);
    if (!status) out->all = nib_survivors_all(&out->survivors);
    return status;
}

void nib_merge_measured_free(nib_merge_measured *r)
{
    if (!r->ctx) return;
    nib_merge_answers_free(r->ctx, r->answers, r->answer_count);
    nib_merge_records_close(&r->records);
    nib_survivors_free(&r->survivors);
    nib_model_close(r->merged);
    nib_model_close(r->bare);
    nib_merge_adapters_close(&r->own_adapters);
    nib_model_close(r->own);
    *r = (nib_merge_measured){ 0 };
}
