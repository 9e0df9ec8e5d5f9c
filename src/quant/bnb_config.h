/* bnb_config.h - the quantization_config that bitsandbytes' formats write (formats.md 4.1). */
#ifndef NIB_QUANT_BNB_CONFIG_H
#define NIB_QUANT_BNB_CONFIG_H

#include "quant/format.h"

#define NIB_INT8_THRESHOLD 6.0f /* transformers' default of llm_int8_threshold */

typedef struct nib_bnb_config_values {
    bool eight;             /* load_in_8bit, else load_in_4bit */
    const char *quant_type; /* bnb_4bit_quant_type */
    bool double_quant;      /* bnb_4bit_use_double_quant */
    float threshold;        /* llm_int8_threshold */
} nib_bnb_config_values;

/* As JSON, all keys; skipped: modules that stay dense, NULL at the end.  The caller's to free;
 * NULL: no memory. */
char *nib_bnb_config(nib_ctx *ctx, const nib_bnb_config_values *values, const char *const *skipped);

/* What their config.json says of modules: a format's read_config, free_rules and packs.  The rules
 * are the entries of llm_int8_skip_modules; the head is never packed. */
nib_status nib_bnb_read_config(nib_ctx *ctx, const nib_setting *config, const char *where,
                               nib_held *out, nib_error *err);
void nib_bnb_free_rules(nib_ctx *ctx, void *rules);
nib_status nib_bnb_packs(const nib_held *held, const nib_format_module *module, bool *packed,
                         nib_form *form, nib_error *err);

extern const char *const nib_bnb_config_keys[]; /* that change nothing, or are read */

/* llm_int8_skip_modules, as transformers reads it: the last name of the path, the whole path, or a
 * piece of it that ends at a dot. */
bool nib_bnb_skips(const char *entry, const char *module);

#endif
