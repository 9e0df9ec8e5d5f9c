/* quantize_algorithm.c - see quantize_algorithm.h. */
#include "job/quantize_algorithm.h"

#include <stdlib.h>

#include "format/json.h"
#include "job/python_json.h"
#include "quant/gptq.h"

static const char *const known[] = { "rtn", "gptq", "awq" };

static nib_status choose(const nib_quantize_options *o, const nib_held *held,
                         const char **algorithm, nib_error *err)
{
    bool awq = held->format->name && strcmp(held->format->name, "awq") == 0;

    *algorithm = o->algorithm ? o->algorithm
                 : !o->calibration.data ? "rtn" : awq ? "awq" : "gptq";
    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (strcmp(*algorithm, known[i]) == 0) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "algorithm '%s'; known are rtn (round to nearest), "
                    "gptq and awq", *algorithm);
}

/* What is given beside an algorithm that has no use for it. */
static nib_status check_options(const nib_quantize_options *o, const char *algorithm,
                                nib_error *err)
{
    bool rtn = strcmp(algorithm, "rtn") == 0;

    if (strcmp(algorithm, "gptq") != 0 &&
        (o->desc_act || o->static_groups || o->act_group_aware || o->true_sequential ||
         o->mse != 0 || o->damp_percent != 0))
        return nib_fail(err, NIB_E_INVALID, "desc_act, static_groups, act_group_aware, "
                        "true_sequential, damp_percent and mse are GPTQ's: with --algorithm gptq "
                        "and --calibration-data FILE");
    if (o->desc_act && o->act_group_aware)
        return nib_fail(err, NIB_E_INVALID, "desc_act and act_group_aware are two orders of the "
                        "columns: give one of them");
    if (rtn && (o->calibration.data || o->calibration.max_seq_length || o->num_calibration_samples))
        return nib_fail(err, NIB_E_INVALID, "calibration data, their number and length are without "
                        "use for rtn: with --calibration-data FILE, and --algorithm gptq or awq");
    if (!rtn && !o->calibration.data)
        return nib_fail(err, NIB_E_INVALID, "algorithm %s needs texts that the model is made "
                        "for: --calibration-data FILE", algorithm);
    return NIB_OK;
}

static nib_status check_format(const nib_held *held, const char *algorithm, nib_error *err)
{
    static const char *const formats[] = { "gptq", "awq", "compressed-tensors" };
    const char *name = held->format->name ? held->format->name : held->format->known;

    for (size_t i = 0; i < NIB_COUNT(formats); i++)
        if (strcmp(name, formats[i]) == 0) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "algorithm %s writes --format gptq, awq and "
                    "compressed-tensors, not %s", algorithm, name);
}

nib_status nib_quantize_algorithm(nib_ctx *ctx, const nib_quantize_options *options,
                                  nib_held *held, const char **algorithm, nib_error *err)
{
    const nib_gptq_options order = { .desc_act = options->desc_act,
                                     .static_groups = options->static_groups };
    const char *chosen;
    nib_status status = choose(options, held, &chosen, err);

    *algorithm = NULL;
    if (!status) status = check_options(options, chosen, err);
    if (status || strcmp(chosen, "rtn") == 0) return status;
    status = check_format(held, chosen, err);
    if (status) return status;
    *algorithm = chosen;
    if (strcmp(chosen, "awq") == 0) return NIB_OK;
    held->form = nib_gptq_form(&held->form, &order);
    if (options->desc_act && !options->static_groups)
        nib_warn_code(ctx, "desc-act", "desc_act with groups writes a g_idx that vLLM refuses; "
                      "--static-groups true keeps the groups in order");
    return NIB_OK;
}

/* --- the report --- */

unsigned nib_quantize_form_bits(const nib_held *held, const nib_form *form)
{
    nib_settings settings;
    const char *bits;

    held->format->settings(form, &settings);
    bits = nib_setting_value(settings.items, "bits");
    return bits ? (unsigned)strtoul(bits, NULL, 10) : 0;
}

json_t *nib_quantize_matrix_json(const nib_matrix_report *r)
{
    return json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:I, s:f}", "module", r->module, "algorithm",
                     r->algorithm, "bits", (int)r->bits, "error", r->error, "error_rounded",
                     r->error_rounded, "damp", r->damp, "rows", (json_int_t)r->rows, "seconds",
                     r->seconds);
}

static nib_status add_layer(nib_calibration *c, const nib_tensors *layer, nib_error *err)
{
    const char *text = nib_tensors_metadata(layer, NIB_LAYER_REPORT);
    json_t *matrices = NULL;
    nib_status status;

    if (!text) return NIB_OK;
    status = nib_json_parse(text, strlen(text), NIB_LAYER_REPORT, NIB_JSON_ANY_VALUE, &matrices,
                            err);
    if (!status && json_array_extend(c->report, matrices))
        status = nib_fail(err, NIB_E_FORMAT, "%s: %s is no list", c->store.dir.path,
                          NIB_LAYER_REPORT);
    json_decref(matrices);
    return status;
}

nib_status nib_quantize_write_report(nib_ctx *ctx, nib_calibration *c, const char *dir,
                                     nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/quantization_report.json", dir);
    json_t *all = NULL;
    nib_status status = NIB_OK;

    if (!c->report) c->report = json_array();
    for (size_t i = 0; i < c->store.count && !status; i++)
        if (c->store.layers[i]) status = add_layer(c, c->store.layers[i], err);
    if (!status) all = json_pack("{s:s, s:O}", "algorithm", c->algorithm, "matrices", c->report);
    if (all && c->bits)
        json_object_set_new(all, "bits_per_weight",
                            json_real(nib_bit_plan_bits(c->bits, NIB_ALLOT_CHOSEN)));
    if (!status && (!all || !path))
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (!status) status = nib_python_json_write(ctx, path, all, err);
    json_decref(all);
    nib_free(ctx, path);
    return status;
}
