/* arch.h - what an architecture is: one small file that fills one of these.
 *
 * No code outside that file tests the model's name. */
#ifndef NIB_MODEL_ARCH_H
#define NIB_MODEL_ARCH_H

#include "format/json.h"
#include "graph/build.h"

/* What every language model has; the architecture's own keys follow in its own struct,
 * whose first member this is. */
typedef struct nib_config {
    size_t vocabulary, width, layers, heads, kv_heads, head_dim, max_positions;
    size_t inner;         /* width inside the feed-forward part */
    bool tied;            /* the head is the embedding */
    nib_rope rope;        /* rot 0: none */
    float *rope_inv;      /* owned by the model: room for head_dim / 2 angles */
} nib_config;

typedef struct nib_shape { size_t out, in; } nib_shape;

typedef struct nib_arch {
    const char *const *model_types;     /* config.json's names for it, NULL at the end */
    size_t config_bytes;                /* of the architecture's struct */
    /* Reads config.json's keys.  `where` names the file in errors.  Sizes are positive
     * afterwards. */
    nib_status (*read)(nib_ctx *ctx, const json_t *json, const char *where, void *config,
                       nib_error *err);
    const char *prefix;                 /* "model.": may be missing in a base-only export */
    const char *embedding, *head;       /* module paths */
    nib_value (*layer)(nib_build *b, const void *config, int layer, nib_value x);
    nib_value (*back)(nib_build *b, const void *config, nib_value x); /* the final norm */
    bool (*has_bias)(const void *config, const char *module);         /* of a linear */
    /* of a linear's weight; zeros: not one of its */
    nib_shape (*shape)(const void *config, const char *module);
    const char *const *default_targets; /* PEFT's for target_modules null, NULL at the end */
} nib_arch;

extern const nib_arch nib_arch_llama, nib_arch_mistral, nib_arch_qwen2, nib_arch_gptj,
    nib_arch_falcon;

/* --- for the architectures' readers --- */

/* A size: a positive integer that must be there (fallback 0) or may be absent. */
nib_status nib_config_size(const json_t *json, const char *where, const char *key, size_t fallback,
                           size_t *out, nib_error *err);
/* A norm's epsilon: 0 to 1. */
nib_status nib_config_eps(const json_t *json, const char *where, const char *key, float fallback,
                          float *out, nib_error *err);
nib_status nib_config_bool(const json_t *json, const char *where, const char *key, bool fallback,
                           bool *out, nib_error *err);
nib_status nib_config_activation(const json_t *json, const char *where, const char *key,
                                 const char *fallback, nib_activation *out, nib_error *err);
/* Heads: n > 0, width divisible by n unless head_dim is given, n divisible by kv_heads. */
nib_status nib_config_heads(nib_config *c, const char *where, nib_error *err);
/* rope_theta, rope_scaling or rope_parameters (formats.md 10.3), `rot` channels; fills c->rope. */
nib_status nib_config_rope(nib_ctx *ctx, const json_t *json, const char *where, size_t rot,
                           bool interleaved, nib_config *c, nib_error *err);
bool nib_name_ends(const char *name, const char *end); /* "a.b.q_proj" ends ".q_proj" */

#endif
