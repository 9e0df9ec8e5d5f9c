/* bnb_config.c - see bnb_config.h.  Both formats write all keys, in this order. */
#include "quant/bnb_config.h"

#include "quant/names.h"

static const char *truth(bool yes) { return yes ? "true" : "false"; }

char *nib_bnb_config(nib_ctx *ctx, const nib_bnb_config_values *v, const char *const *skipped)
{
    char *names = nib_sprintf(ctx, "%s", ""), *more, *text;
    char threshold[NIB_SETTING_FLOAT_ROOM];

    for (size_t i = 0; names && skipped[i]; i++) {
        more = nib_sprintf(ctx, "%s%s\"%s\"", names, i ? ", " : "", skipped[i]);
        nib_free(ctx, names);
        names = more;
    }
    if (!names) return NULL;
    nib_setting_float_text(v->threshold, threshold);
    text = nib_sprintf(
        ctx,
        "{\"_load_in_4bit\": %s, \"_load_in_8bit\": %s, "
        "\"bnb_4bit_compute_dtype\": \"float32\", \"bnb_4bit_quant_storage\": \"uint8\", "
        "\"bnb_4bit_quant_type\": \"%s\", \"bnb_4bit_use_double_quant\": %s, "
        "\"llm_int8_enable_fp32_cpu_offload\": false, \"llm_int8_has_fp16_weight\": false, "
        "\"llm_int8_skip_modules\": [%s], \"llm_int8_threshold\": %s, "
        "\"load_in_4bit\": %s, \"load_in_8bit\": %s, \"quant_method\": \"bitsandbytes\"}",
        truth(!v->eight), truth(v->eight), v->quant_type, truth(v->double_quant), names, threshold,
        truth(!v->eight), truth(v->eight));
    nib_free(ctx, names);
    return text;
}

const char *const nib_bnb_config_keys[] = {
    "quant_method", "load_in_4bit", "load_in_8bit", "_load_in_4bit", "_load_in_8bit",
    "llm_int8_threshold", "llm_int8_skip_modules/*", "llm_int8_enable_fp32_cpu_offload",
    "llm_int8_has_fp16_weight", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant",
    "bnb_4bit_compute_dtype", "bnb_4bit_quant_storage", "bnb_4bit_blocksize", NULL };

bool nib_bnb_skips(const char *entry, const char *module)
{
    const char *last = strrchr(module, '.');
    size_t n = strlen(entry);

    if (strcmp(entry, module) == 0 || (last && strcmp(entry, last + 1) == 0)) return true;
    for (const char *p = n ? strstr(module, entry) : NULL; p; p = strstr(p + 1, entry))
        if (p[n] == '.') return true;
    return false;
}

nib_status nib_bnb_read_config(nib_ctx *ctx, const nib_setting *config, const char *where,
                               nib_held *out, nib_error *err)
{
    nib_status status = out->format->read(config, where, &out->form, err);

    if (status) return status;
    return nib_names_read(ctx, config, "llm_int8_skip_modules", where, (nib_names **)&out->rules,
                          err);
}

void nib_bnb_free_rules(nib_ctx *ctx, void *rules) { nib_names_free(ctx, rules); }

nib_status nib_bnb_packs(const nib_held *held, const nib_format_module *module, bool *packed,
                         nib_form *form, nib_error *err)
{
    const nib_names *skipped = held->rules;

    (void)err;
    *packed = !module->head && strcmp(module->class, "Embedding") != 0;
    for (size_t i = 0; skipped && i < skipped->count; i++)
        if (nib_bnb_skips(skipped->at[i], module->name)) *packed = false;
    *form = held->form;
    return NIB_OK;
}
