/* format_int8.c - bitsandbytes' checkpoints with load_in_8bit (formats.md 4.1, 4.6).
 *
 *     M.weight         I8   [out, in]   codes, row-major
 *     M.SCB            F32  [out]       greatest magnitude of each row
 *     M.weight_format  U8   []          0: row-major, the one order that is read; may be absent
 *
 * Names and values of settings are BitsAndBytesConfig's. */
#include <math.h>
#include <stdio.h>

#include "quant/bnb_config.h"
#include "quant/formats.h"
#include "quant/int8.h"

static const char *const keys[] = { "load_in_8bit", "llm_int8_threshold",
                                    "llm_int8_has_fp16_weight", NULL };
static const char *const pieces[] = { ".SCB", ".weight_format", NULL };

static nib_status read_settings(const nib_setting *s, const char *where, nib_form *form,
                                nib_error *err)
{
    float threshold = NIB_INT8_THRESHOLD;
    bool master = false;
    nib_status status = nib_setting_float(s, where, "llm_int8_threshold", &threshold, err);

    if (!status && threshold < 0)
        status = nib_fail(err, NIB_E_INVALID,
                          "%sllm_int8_threshold: expected 0 (no outliers) or more, got %g", where,
                          (double)threshold);
    if (!status) status = nib_setting_bool(s, where, "llm_int8_has_fp16_weight", &master, err);
    if (!status && master)
        status = nib_fail(err, NIB_E_UNSUPPORTED,
                          "%sllm_int8_has_fp16_weight: true keeps float16 weights and quantizes "
                          "them at each step; known is false (8-bit weights, frozen)", where);
    if (!status) *form = nib_int8_form(NIB_F16, threshold);
    return status;
}

static void settings_of(const nib_form *form, nib_settings *out)
{
    *out = (nib_settings){ 0 };
    nib_settings_put(out, "load_in_8bit", "true");
    if (nib_int8_form_threshold(form) >= 0)
        nib_settings_put_float(out, "llm_int8_threshold", nib_int8_form_threshold(form));
    nib_settings_put(out, "llm_int8_has_fp16_weight", "false");
}

/* --- reading --- */

static bool part(nib_part_finder find, const char *module, const char *piece, nib_part *out)
{
    char name[700];

    snprintf(name, sizeof name, "%s%s", module, piece);
    return find.find(find.self, name, out);
}

static nib_status check_scales(const nib_part *scb, size_t out, nib_error *err)
{
    if (scb->dtype != NIB_F32)
        return nib_fail(err, NIB_E_FORMAT, "%s: dtype %s, expected float32", scb->name,
                        nib_dtype_name(scb->dtype));
    if (scb->elements != out)
        return nib_fail(err, NIB_E_FORMAT, "%s: %" PRIu64 " values, expected %zu, the rows of the "
                        "weight", scb->name, scb->elements, out);
    for (size_t r = 0; r < out; r++) {
        float scale;
        memcpy(&scale, (const char *)scb->data + r * sizeof scale, sizeof scale);
        if (!isfinite(scale) || scale < 0)
            return nib_fail(err, NIB_E_FORMAT, "%s: value %zu is %g, expected a finite number, not "
                            "negative", scb->name, r, (double)scale);
    }
    return NIB_OK;
}

/* Orders of the library's older releases, for its kernels on GPUs of their time. */
static nib_status check_order(const nib_part *order, nib_error *err)
{
    static const char *const names[] = { "row", "col32", "col_turing", "col_ampere" };
    uint8_t code;

    if (order->dtype != NIB_U8 || order->elements != 1)
        return nib_fail(err, NIB_E_FORMAT, "%s: %" PRIu64 " values of %s, expected one uint8",
                        order->name, order->elements, nib_dtype_name(order->dtype));
    code = *(const uint8_t *)order->data;
    if (code == 0) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s is %u (%s); known is 0 (row): save the model again "
                    "with bitsandbytes 0.45 or later", order->name, code,
                    code < NIB_COUNT(names) ? names[code] : "unknown");
}

static nib_status open_module(nib_ctx *ctx, nib_part_finder find, const nib_held *held,
                              const nib_format_module *module, nib_weight **w, nib_error *err)
{
    nib_part weight, scb, order;
    float *copy = NULL;
    const float *scales;
    nib_status status;

    *w = NULL;
    if (!part(find, module->name, ".weight", &weight)) return NIB_OK;
    if (!part(find, module->name, ".SCB", &scb)) {
        if (weight.dtype != NIB_I8) return NIB_OK;
        return nib_fail(err, NIB_E_FORMAT, "%s is int8, but %s.SCB is missing", weight.name,
                        module->name);
    }
    if (weight.dtype != NIB_I8)
        return nib_fail(err, NIB_E_FORMAT, "%s is there, but %s is %s, expected int8", scb.name,
                        weight.name, nib_dtype_name(weight.dtype));
    if (weight.rank != 2)
        return nib_fail(err, NIB_E_FORMAT, "%s has rank %u, expected a matrix", weight.name,
                        weight.rank);
    status = check_scales(&scb, (size_t)weight.shape[0], err);
    if (!status && part(find, module->name, ".weight_format", &order))
        status = check_order(&order, err);
    if (status) return status;
    scales = scb.data;
    if ((uintptr_t)scb.data % _Alignof(float)) {
        scales = copy = nib_alloc(ctx, (size_t)scb.bytes);
        if (!copy) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", scb.name);
        memcpy(copy, scb.data, (size_t)scb.bytes);
    }
    status = nib_int8_create(ctx, &held->form, (size_t)weight.shape[0], (size_t)weight.shape[1],
                             weight.data, scales, copy, w, err);
    if (status) {
        nib_free(ctx, copy);
        return nib_fail_in(err, status, "%s", weight.name);
    }
    (*w)->source = weight.name;
    return NIB_OK;
}

static nib_status describe(const nib_part *t, nib_part_finder find, const nib_held *held, bool *its,
                           uint64_t shape[2], nib_form *form, nib_error *err)
{
    nib_part weight;
    size_t n = strlen(t->name), end = strlen(".SCB");
    char module[600];

    (void)err, (void)held;
    *its = n > end && n < sizeof module && strcmp(t->name + n - end, ".SCB") == 0;
    if (!*its) return NIB_OK;
    snprintf(module, sizeof module, "%.*s", (int)(n - end), t->name);
    *its = part(find, module, ".weight", &weight) && weight.dtype == NIB_I8 && weight.rank == 2;
    if (!*its) return NIB_OK;
    shape[0] = weight.shape[0];
    shape[1] = weight.shape[1];
    *form = nib_int8_form(NIB_F16, -1); /* config.json's to tell */
    return NIB_OK;
}

/* --- writing --- */

static nib_status list(const nib_int8 *q, size_t out, size_t in, const char *name,
                       nib_parts_out *parts, nib_error *err)
{
    static const uint8_t row_major = 0;
    char module[sizeof parts->parts[0].name];
    nib_status status;

    nib_module_of_weight(name, module);
    parts->count = 0;
    status = nib_parts_put(parts, module, ".weight", NIB_I8, 2, out, in, q ? q->codes : NULL, err);
    if (!status)
        status = nib_parts_put(parts, module, ".SCB", NIB_F32, 1, out, 0, q ? q->scb : NULL, err);
    if (!status)
        status = nib_parts_put(parts, module, ".weight_format", NIB_U8, 0, 0, 0,
                               q ? &row_major : NULL, err);
    return status;
}

static nib_status plan(const nib_form *form, size_t out, size_t in, nib_learned learned,
                       const char *name, nib_parts_out *parts, nib_error *err)
{
    (void)form;
    (void)learned;
    return list(NULL, out, in, name, parts, err);
}

static nib_status tensors(const nib_weight *w, const char *name, nib_parts_out *parts,
                          nib_error *err)
{
    return list((const nib_int8 *)w, w->out, w->in, name, parts, err);
}

static char *config(nib_ctx *ctx, const nib_form *form, const char *const *skipped)
{
    return nib_bnb_config(ctx, &(nib_bnb_config_values){
                                   .eight = true, .quant_type = "fp4",
                                   .threshold = nib_int8_form_threshold(form) },
                          skipped);
}

const nib_format nib_format_int8 = {
    .method = "bitsandbytes",
    .known = "bitsandbytes with load_in_8bit",
    .flag = "load_in_8bit",
    .keys = keys,
    .read = read_settings,
    .settings = settings_of,
    .read_config = nib_bnb_read_config,
    .free_rules = nib_bnb_free_rules,
    .config_keys = nib_bnb_config_keys,
    .packs = nib_bnb_packs,
    .skips = nib_bnb_skips,
    .pieces = pieces,
    .open = open_module,
    .describe = describe,
    .plan = plan,
    .tensors = tensors,
    .config = config,
};
