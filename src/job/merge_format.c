/* merge_format.c - see merge_format.h. */
#include "job/merge_format.h"

#include "job/quantize_algorithm.h"

/* A name, and the settings that mean it. */
typedef struct word {
    const char *name;
    nib_setting means[2];
} word;

static const word words[] = {
    { "dense", { { NULL, NULL }, { NULL, NULL } } },
    { "nf4", { { "load_in_4bit", "true" }, { "bnb_4bit_quant_type", "nf4" } } },
    { "fp4", { { "load_in_4bit", "true" }, { "bnb_4bit_quant_type", "fp4" } } },
    { "int8", { { "load_in_8bit", "true" }, { NULL, NULL } } },
    { "gptq", { { "format", "gptq" }, { NULL, NULL } } },
    { "awq", { { "format", "awq" }, { NULL, NULL } } },
    { "compressed-tensors", { { "format", "compressed-tensors" }, { NULL, NULL } } },
};

static nib_status find_word(const char *name, const word **out, nib_error *err)
{
    for (size_t i = 0; i < NIB_COUNT(words); i++)
        if (strcmp(words[i].name, name) == 0) {
            *out = &words[i];
            return NIB_OK;
        }
    if (strcmp(name, "gguf") == 0)
        return nib_fail(err, NIB_E_INVALID, "format gguf: a file and no directory, written by "
                        "nibble export MODEL --adapter DIR");
    return nib_fail(err, NIB_E_INVALID, "format '%s'; known are dense, nf4, fp4, int8, gptq, awq "
                    "and compressed-tensors", name);
}

static nib_status append(nib_merge_format *f, size_t *count, const nib_setting *list, size_t n,
                         nib_error *err)
{
    for (size_t i = 0; i < n && list[i].key; i++) {
        if (*count == NIB_MERGE_SETTINGS)
            return nib_fail(err, NIB_E_INVALID, "more than %d settings", NIB_MERGE_SETTINGS);
        f->settings[(*count)++] = list[i];
    }
    return NIB_OK;
}

/* What means nothing where no matrix is encoded. */
static nib_status check_dense(const nib_merge_options *o, nib_error *err)
{
    const nib_quantize_options *q = &o->quantize;
    const char *idle = NULL;

    if (q->settings && q->settings->key) idle = q->settings->key;
    else if (q->skip_count) idle = "llm_int8_skip_modules";
    else if (q->algorithm) idle = "algorithm";
    else if (q->calibration.data) idle = "calibration-data";
    else if (q->num_calibration_samples) idle = "num-calibration-samples";
    else if (q->calibration.max_seq_length) idle = "calibration-length";
    else if (q->desc_act) idle = "desc-act";
    else if (q->static_groups) idle = "static-groups";
    else if (q->act_group_aware) idle = "act-group-aware";
    else if (q->true_sequential) idle = "true-sequential";
    else if (q->damp_percent != 0) idle = "damp-percent";
    else if (q->mse != 0) idle = "mse";
    else if (o->mixed_bits) idle = "mixed-bits";
    if (!idle) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "%s: belongs to a low-bit format; name one with --format",
                    idle);
}

/* Rules for single modules are GPTQ's. */
static nib_status check_mixed(const nib_merge_options *o, const word *w, nib_error *err)
{
    if (strcmp(o->mixed_bits, "auto") != 0)
        return nib_fail(err, NIB_E_INVALID, "mixed_bits '%s'; auto is known", o->mixed_bits);
    if (strcmp(w->name, "gptq") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "mixed_bits: written of format gptq alone, whose "
                        "files have rules for single modules, not of %s", w->name);
    if (o->quantize.calibration.data)
        return nib_fail(err, NIB_E_UNSUPPORTED, "mixed_bits: of matrices that are rounded to "
                        "nearest; leave out the calibration data");
    return NIB_OK;
}

nib_status nib_merge_format_read(nib_ctx *ctx, const nib_merge_options *o, const nib_held *stored,
                                 nib_merge_format *out, nib_error *err)
{
    nib_merge_format f = { .held = { 0 } };
    const nib_setting *idle;
    const word *w = &words[0];
    size_t count = 0;
    nib_status status = o->format ? find_word(o->format, &w, err) : NIB_OK;

    if (status) return status;
    if (o->quantize.target_size || o->quantize.target_bpw != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: bits are allotted by nibble quantize of a "
                        "directory (with --adapter too), not by a merge and not from a GGUF file",
                        o->quantize.target_size ? "target_size" : "target_bpw");
    *out = f;
    if (!w->means[0].key) return check_dense(o, err);
    status = append(out, &count, w->means, NIB_COUNT(w->means), err);
    if (!status) status = nib_held_asked(out->settings, &out->held, &idle, err);
    if (status) return status;
    if (stored && stored->format == out->held.format) {
        count = 0;
        stored->format->settings(&stored->form, &out->base);
        status = append(out, &count, out->base.items, out->base.count, err);
        if (!status) status = append(out, &count, w->means, NIB_COUNT(w->means), err);
    }
    if (!status && o->quantize.settings)
        status = append(out, &count, o->quantize.settings, SIZE_MAX, err);
    if (!status) status = nib_held_asked(out->settings, &out->held, &idle, err);
    if (!status && idle)
        status = nib_fail(err, NIB_E_INVALID, "%s is no setting of format %s", idle->key, w->name);
    if (!status && o->mixed_bits) status = check_mixed(o, w, err);
    if (!status) { /* refuses what the algorithm has no use for; its form comes later */
        nib_held held = out->held;
        const char *algorithm;
        status = nib_quantize_algorithm(ctx, &o->quantize, &held, &algorithm, err);
        out->calibrated = algorithm != NULL;
    }
    return status;
}
