/* peft_config.h - adapter_config.json as PEFT 0.21 writes it (formats.md 3.2, 3.3).
 *
 * Only LoRA, and of its variants only those that are computed here; everything else is
 * refused, never ignored (formats.md 3.11). */
#ifndef NIB_ADAPTER_PEFT_CONFIG_H
#define NIB_ADAPTER_PEFT_CONFIG_H

#include "base/base.h"

/* target_modules and its like: null, names matched by suffix, a regular expression that must
 * match whole names, or "all-linear". */
typedef struct nib_peft_names {
    char **items;       /* [count]; one item when regex */
    size_t count;
    bool given;         /* false: null */
    bool regex, all_linear;
} nib_peft_names;

typedef struct nib_peft_pattern { char *name; double value; } nib_peft_pattern;

typedef enum nib_peft_init { NIB_PEFT_INIT_TRUE, NIB_PEFT_INIT_FALSE, NIB_PEFT_INIT_GAUSSIAN,
                             NIB_PEFT_INIT_OTHER /* of a trained adapter: base may be another */ } nib_peft_init;
typedef enum nib_peft_bias { NIB_PEFT_BIAS_NONE, NIB_PEFT_BIAS_ALL, NIB_PEFT_BIAS_LORA_ONLY } nib_peft_bias;

typedef struct nib_peft_config {
    nib_ctx *ctx;
    int r;
    double lora_alpha, lora_dropout;
    bool use_rslora, fan_in_fan_out;
    nib_peft_names target_modules, exclude_modules, modules_to_save, layers_pattern;
    nib_peft_bias bias;
    nib_peft_init init;
    char *init_name;              /* as in the file when NIB_PEFT_INIT_OTHER */
    nib_peft_pattern *rank_pattern, *alpha_pattern; /* in file order */
    size_t rank_patterns, alpha_patterns;
    int *layers_to_transform;
    size_t layers_count;
    bool layers_given;
    char *base_model_name_or_path, *revision, *task_type; /* NULL: null */
} nib_peft_config;

/* Reads DIR/adapter_config.json.  Unknown keys are warned of; NIB_E_FORMAT, NIB_E_UNSUPPORTED
 * (a variant, by name), NIB_E_IO.  nib_peft_config_free() ends it, also a zeroed one. */
nib_status nib_peft_config_read(nib_ctx *ctx, const char *dir, nib_peft_config *out, nib_error *err);
void nib_peft_config_free(nib_peft_config *c);
/* Writes DIR/adapter_config.json, atomically, with every key PEFT writes. */
nib_status nib_peft_config_write(const nib_peft_config *c, const char *dir, nib_error *err);

#endif
