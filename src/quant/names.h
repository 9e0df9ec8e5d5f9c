/* names.h - lists of names in a quantization_config, kept. */
#ifndef NIB_QUANT_NAMES_H
#define NIB_QUANT_NAMES_H

#include "quant/weight_settings.h"

typedef struct nib_names {
    size_t count;
    const char *at[]; /* their text lies behind */
} nib_names;

/* Members of a setting "path/..." that are no deeper: the next one after *at, or NULL.  What
 * follows the slash comes back in *name.  Begin with *at at the list. */
const nib_setting *nib_setting_member(const nib_setting **at, const char *path, const char **name);

/* The texts of the list `key` ("ignore"), in order; absent, null or empty: *out is NULL.
 * NIB_E_FORMAT: it is no list, or has a null; NIB_E_NOMEM. */
nib_status nib_names_read(nib_ctx *ctx, const nib_setting *config, const char *key,
                          const char *where, nib_names **out, nib_error *err);
void nib_names_free(nib_ctx *ctx, nib_names *names); /* NULL is fine */

#endif
