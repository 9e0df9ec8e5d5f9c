/* packed_rules.h - compressed-tensors' quantization_config: which scheme a module has
 * (formats-quant.md 2.1). */
#ifndef NIB_QUANT_PACKED_RULES_H
#define NIB_QUANT_PACKED_RULES_H

#include "base/python_regex.h"
#include "quant/float4.h"
#include "quant/float8_open.h"
#include "quant/grouped_open.h"

/* A name, a class, or after "re:" an expression that is matched from the start of the name. */
typedef struct nib_packed_target { const char *text; nib_python_regex *regex; } nib_packed_target;

typedef struct nib_packed_targets {
    nib_packed_target *at;
    size_t count;
    void *names; /* whose texts they are */
} nib_packed_targets;

/* What codes are. */
typedef enum nib_packed_type {
    NIB_PACKED_INTEGERS,
    NIB_PACKED_FLOAT8, /* E4M3 */
    NIB_PACKED_FLOAT4  /* E2M1 */
} nib_packed_type;

/* A member of config_groups. */
typedef struct nib_packed_group {
    nib_packed_targets targets;
    const char *unread; /* why its weights are not read ("weights of type float"), or NULL */
    char why[160];
    nib_packed_type type;
    nib_grouped_options options; /* maker: NIB_GROUPED_PACK */
    nib_float8_said float8;
    nib_float4_kind float4;
    bool preset;    /* by its name: whether scales are of rows or groups is the tensors' to say */
    bool by_order;  /* actorder group: weight_g_idx must be there */
} nib_packed_group;

typedef struct nib_packed_rules {
    nib_packed_targets ignore;
    nib_packed_group *groups;
    size_t count;
} nib_packed_rules;

nib_status nib_packed_rules_read(nib_ctx *ctx, const nib_setting *config, const char *where,
                                 nib_packed_rules **out, nib_error *err);
void nib_packed_rules_free(nib_ctx *ctx, nib_packed_rules *rules); /* NULL is fine */

/* The group of a module: an exact name before an expression before a class.  NULL: none, or it is
 * ignored. */
nib_status nib_packed_rules_find(const nib_packed_rules *rules, const nib_format_module *module,
                                 const nib_packed_group **group, nib_error *err);

#endif
