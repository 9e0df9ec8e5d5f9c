/* quantize_gguf.c - see quantize_gguf.h: a merge of no adapter, in a low-bit format. */
#include "job/quantize_gguf.h"

#include "format/safetensors.h"
#include "model/held.h"
#include "nibble/merge.h"

/* merge's word for what the settings ask for. */
static nib_status find_word(const nib_quantize_options *o, const char **word, nib_error *err)
{
    nib_held held = { 0 };
    const nib_setting *idle;
    char formats[NIB_FORMATS_ROOM], form[NIB_FORM_ROOM];
    nib_status status = nib_held_asked(o->settings, &held, &idle, err);

    if (status) return status;
    nib_formats_known(formats, sizeof formats);
    if (!held.format)
        return nib_fail(err, NIB_E_INVALID, "no setting says what to quantize to; known are: %s",
                        formats);
    nib_form_text(&held.form, form);
    *word = held.format->name                   ? held.format->name
            : strncmp(form, "fp4", 3) == 0      ? "fp4"
            : strncmp(form, "nf4", 3) == 0      ? "nf4"
                                                : "int8";
    return NIB_OK;
}

static nib_status count(nib_ctx *ctx, const char *model, nib_quantize_result *r, nib_error *err)
{
    nib_tensors *t = NULL;
    nib_status status = nib_tensors_open(ctx, model, &t, err);

    for (size_t i = 0; !status && i < nib_tensors_count(t); i++) {
        r->bytes_before += nib_tensors_at(t, i)->bytes;
        r->parameters += nib_tensors_at(t, i)->elements;
    }
    if (!status) nib_tensors_close(t);
    return status;
}

nib_status nib_quantize_gguf(nib_ctx *ctx, const nib_quantize_options *options,
                             nib_quantize_result *result, nib_error *err)
{
    double start = nib_clock_seconds();
    nib_merge_result made = { 0 };
    nib_quantize_result r = { 0 };
    nib_merge_options merge = { .model = options->model, .out = options->out,
                                .quantize = *options, .dtype = options->dtype,
                                .overwrite = options->overwrite, .unmeasured = true,
                                .result = &made, .on_progress = options->on_progress,
                                .user = options->user };
    nib_status status = find_word(options, &merge.format, err);

    if (!status) status = count(ctx, options->model, &r, err);
    if (!status) status = nib_merge(ctx, &merge, err);
    if (status || !result) return status;
    r.matrices = made.matrices;
    r.bytes_after = made.bytes;
    r.seconds = nib_clock_seconds() - start;
    *result = r;
    return NIB_OK;
}
