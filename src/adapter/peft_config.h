/* peft_config.h - adapter_config.json of a LoRA adapter, as PEFT writes it.
 *
 * Fields, defaults and refusals: formats.md 3.2, 3.3, 3.11.  What would change the numbers
 * and nibble does not compute is refused, never passed over. */
#ifndef NIB_ADAPTER_PEFT_CONFIG_H
#define NIB_ADAPTER_PEFT_CONFIG_H

#include "base/base.h"

/* target_modules, exclude_modules, layers_pattern: null, a list of names, or one string. */
typedef enum nib_peft_names_kind {
    NIB_PEFT_NONE,      /* null: the family's default targets, nothing excluded */
    NIB_PEFT_LIST,      /* names[0..count) */
    NIB_PEFT_REGEX,     /* names[0] is a Python regular expression for the whole name */
    NIB_PEFT_ALL_LINEAR /* target_modules only: every linear but the output head */
} nib_peft_names_kind;

typedef struct nib_peft_names {
    nib_peft_names_kind kind;
    char **names;
    size_t count;
} nib_peft_names;

/* An entry of rank_pattern or alpha_pattern; the first key that matches wins. */
typedef struct nib_peft_pattern { char *key; double value; } nib_peft_pattern;

/* Words whose rows are trained, of the module that `module` ends the name of; NULL: of the words'
 * embedding. */
typedef struct nib_peft_tokens {
    char *module;
    uint32_t *ids;
    size_t count;
} nib_peft_tokens;

typedef enum nib_peft_bias {
    NIB_PEFT_BIAS_NONE,
    NIB_PEFT_BIAS_ALL,
    NIB_PEFT_BIAS_LORA_ONLY
} nib_peft_bias;

typedef struct nib_peft_config {
    int64_t r;              /* rank, >= 1 */
    double lora_alpha;      /* scale = alpha / r, or alpha / sqrt(r) with use_rslora */
    double lora_dropout;    /* [0, 1) */
    bool use_rslora, use_dora, fan_in_fan_out, inference_mode;
    bool ensure_weight_tying; /* embedding and head of a tied model have one adapter */
    bool whole;             /* in no file: what is saved is a model's own (job/whole.h), so biases
                             * that are parameters of their own are saved too */
    nib_peft_bias bias;
    nib_peft_names target_modules, exclude_modules, modules_to_save, layers_pattern;
    nib_peft_names target_parameters; /* a list or null */
    int64_t *layers;        /* layers_to_transform */
    size_t layers_count;    /* 0: all */
    bool layers_is_list;    /* false: written as one number */
    nib_peft_pattern *rank_pattern, *alpha_pattern;
    size_t rank_count, alpha_count;
    nib_peft_tokens *tokens; /* trainable_token_indices (peft_tokens.h) */
    size_t token_lists;      /* 0: null */
    char init_lora_weights[32]; /* "true", "false", "gaussian", "pissa", ... */
    int64_t loftq_bits, loftq_iter; /* loftq_config; 0 bits: the base's */
    char peft_type[32];         /* "LORA"; another only in a description */
    /* Of a description: what nibble does not compute, "DoRA (use_dora), ..."; NULL: nothing. */
    char *not_computed;
    char *task_type, *base_model_name_or_path, *revision, *peft_version; /* NULL: null */
} nib_peft_config;

/* PEFT's defaults: r 8, alpha 8, no dropout, targets null.  Allocates nothing. */
nib_peft_config nib_peft_config_default(void);
void nib_peft_config_free(nib_ctx *ctx, nib_peft_config *cfg); /* zeroed is fine */

/* Reads DIR/adapter_config.json.  NIB_E_FORMAT (not what PEFT writes), NIB_E_UNSUPPORTED (a variant
 * named in the message), NIB_E_IO, NIB_E_NOMEM.  Unknown keys give a warning.  *out is the
 * caller's. */
nib_status nib_peft_config_read(nib_ctx *ctx, const char *dir, nib_peft_config *out,
                                nib_error *err);
nib_status nib_peft_config_parse(nib_ctx *ctx, const char *text, size_t bytes, const char *where,
                                 nib_peft_config *out, nib_error *err);

/* The same for showing it: a variant, or another method than LoRA, is no error but stands in
 * out->not_computed.  Of another method only base_model_name_or_path and task_type are read. */
nib_status nib_peft_config_describe(nib_ctx *ctx, const char *dir, nib_peft_config *out,
                                    nib_error *err);

/* Writes DIR/adapter_config.json with the keys and the form of PEFT 0.21.2: keys sorted (those of
 * the patterns too), indent 2, ASCII, no newline at the end, inference_mode true. */
nib_status nib_peft_config_write(nib_ctx *ctx, const char *dir, const nib_peft_config *cfg,
                                 nib_error *err);

/* Helpers for those who fill a config: copies. */
nib_status nib_peft_names_set(nib_ctx *ctx, nib_peft_names *to, nib_peft_names_kind kind,
                              const char *const *names, size_t count, nib_error *err);
void nib_peft_names_free(nib_ctx *ctx, nib_peft_names *names);

#endif
