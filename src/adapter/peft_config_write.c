/* peft_config_write.c - adapter_config.json as PEFT 0.21.2 writes it. */
#include <math.h>
#include <stdlib.h>

#include "adapter/peft_config.h"
#include "adapter/peft_tokens.h"
#include "base/outfile.h"
#include "format/jsontext.h"

static void key(nib_text *t, const char *name)
{
    nib_text_puts(t, t->bytes > 1 ? ",\n  " : "\n  ");
    nib_text_json_string(t, name, true);
    nib_text_puts(t, ": ");
}

static void raw(nib_text *t, const char *name, const char *value)
{
    key(t, name);
    nib_text_puts(t, value);
}

static void boolean(nib_text *t, const char *name, bool value)
{
    raw(t, name, value ? "true" : "false");
}

static void text_or_null(nib_text *t, const char *name, const char *value)
{
    key(t, name);
    if (value) nib_text_json_string(t, value, true);
    else nib_text_puts(t, "null");
}

/* Python keeps an integer an integer: 16 and not 16.0. */
static void number(nib_text *t, double value)
{
    if (value == floor(value) && fabs(value) < 0x1p53) nib_text_printf(t, "%.0f", value);
    else nib_text_json_float(t, value);
}

static void names(nib_text *t, const char *name, const nib_peft_names *value)
{
    key(t, name);
    if (value->kind == NIB_PEFT_NONE) {
        nib_text_puts(t, "null");
    } else if (value->kind != NIB_PEFT_LIST) {
        nib_text_json_string(t, value->names[0], true);
    } else {
        nib_text_puts(t, "[");
        for (size_t i = 0; i < value->count; i++) {
            nib_text_puts(t, i ? ",\n    " : "\n    ");
            nib_text_json_string(t, value->names[i], true);
        }
        nib_text_puts(t, value->count ? "\n  ]" : "]");
    }
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const nib_peft_pattern *const *)a)->key,
                  (*(const nib_peft_pattern *const *)b)->key);
}

static void pattern(nib_text *t, const char *name, const nib_peft_pattern *value, size_t count)
{
    const nib_peft_pattern **sorted = nib_new_array(t->ctx, count, sizeof *sorted);

    if (!sorted) {
        t->failed = true;
        return;
    }
    for (size_t i = 0; i < count; i++) sorted[i] = &value[i];
    qsort(sorted, count, sizeof *sorted, by_key);
    key(t, name);
    nib_text_puts(t, "{");
    for (size_t i = 0; i < count; i++) {
        nib_text_puts(t, i ? ",\n    " : "\n    ");
        nib_text_json_string(t, sorted[i]->key, true);
        nib_text_puts(t, ": ");
        number(t, sorted[i]->value);
    }
    nib_text_puts(t, count ? "\n  }" : "}");
    nib_free(t->ctx, sorted);
}

static void layers(nib_text *t, const nib_peft_config *cfg)
{
    key(t, "layers_to_transform");
    if (!cfg->layers) {
        nib_text_puts(t, "null");
    } else if (!cfg->layers_is_list) {
        nib_text_printf(t, "%" PRId64, cfg->layers[0]);
    } else {
        nib_text_puts(t, "[");
        for (size_t i = 0; i < cfg->layers_count; i++)
            nib_text_printf(t, "%s    %" PRId64, i ? ",\n" : "\n", cfg->layers[i]);
        nib_text_puts(t, cfg->layers_count ? "\n  ]" : "]");
    }
}

static void init(nib_text *t, const char *value)
{
    key(t, "init_lora_weights");
    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0) nib_text_puts(t, value);
    else nib_text_json_string(t, value, true);
}

static void put_config(nib_text *t, const nib_peft_config *cfg)
{
    static const char *const bias[] = { "none", "all", "lora_only" };

    nib_text_puts(t, "{");
    raw(t, "alora_invocation_tokens", "null");
    pattern(t, "alpha_pattern", cfg->alpha_pattern, cfg->alpha_count);
    raw(t, "arrow_config", "null");
    raw(t, "auto_mapping", "null");
    text_or_null(t, "base_model_name_or_path", cfg->base_model_name_or_path);
    text_or_null(t, "bias", bias[cfg->bias]);
    raw(t, "corda_config", "null");
    raw(t, "ensure_weight_tying", cfg->ensure_weight_tying ? "true" : "false");
    raw(t, "eva_config", "null");
    names(t, "exclude_modules", &cfg->exclude_modules);
    boolean(t, "fan_in_fan_out", cfg->fan_in_fan_out);
    raw(t, "inference_mode", "true");
    init(t, cfg->init_lora_weights);
    raw(t, "kasa_config", "null");
    raw(t, "layer_replication", "null");
    names(t, "layers_pattern", &cfg->layers_pattern);
    layers(t, cfg);
    raw(t, "loftq_config", "{}");
    key(t, "lora_alpha");
    number(t, cfg->lora_alpha);
    raw(t, "lora_bias", "false");
    key(t, "lora_dropout");
    nib_text_json_float(t, cfg->lora_dropout);
    raw(t, "lora_ga_config", "null");
    raw(t, "megatron_config", "null");
    raw(t, "megatron_core", "\"megatron.core\"");
    names(t, "modules_to_save", &cfg->modules_to_save);
    raw(t, "monteclora_config", "null");
    raw(t, "peft_type", "\"LORA\"");
    text_or_null(t, "peft_version", cfg->peft_version ? cfg->peft_version : "0.21.2");
    raw(t, "qalora_group_size", "16");
    key(t, "r");
    nib_text_printf(t, "%" PRId64, cfg->r);
    pattern(t, "rank_pattern", cfg->rank_pattern, cfg->rank_count);
    text_or_null(t, "revision", cfg->revision);
    names(t, "target_modules", &cfg->target_modules);
    names(t, "target_parameters", &cfg->target_parameters);
    text_or_null(t, "task_type", cfg->task_type);
    key(t, "trainable_token_indices");
    nib_peft_tokens_put(t, cfg);
    raw(t, "use_bdlora", "null");
    boolean(t, "use_dora", cfg->use_dora);
    raw(t, "use_qalora", "false");
    boolean(t, "use_rslora", cfg->use_rslora);
    raw(t, "velora_config", "null");
    nib_text_puts(t, "\n}");
}

nib_status nib_peft_config_write(nib_ctx *ctx, const char *dir, const nib_peft_config *cfg,
                                 nib_error *err)
{
    nib_text text = { .ctx = ctx };
    char *path = nib_sprintf(ctx, "%s/adapter_config.json", dir);
    nib_status status;

    put_config(&text, cfg);
    if (!path || text.failed) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    else status = nib_outfile_replace(ctx, path, text.data, text.bytes, err);
    nib_free(ctx, path);
    nib_text_free(&text);
    return status;
}
