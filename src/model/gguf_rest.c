/* gguf_rest.c - see gguf_rest.h. */
#include "model/gguf_rest.h"

#include <stdio.h>

/* Without effect here: what tensors tell (sizes), names and notes, what concerns other tasks, and
 * what only counts beside another key. */
static const char *const without_effect[] = {
    "attention.head_count_kv", "attention.key_length", "attention.layer_norm_rms_epsilon",
    "attention.value_length", "classifier.output_labels", "classifier.pooling_type",
    "expert_group_used_count", "feed_forward_length", "nextn_predict_layers", "pooling_type",
    "rope.scaling.finetuned", "rope.scaling.original_context_length", "tensor_data_layout",
    "vocab_size",
};

/* The key's name behind the architecture; NULL: another kind of key. */
static const char *own_name(const nib_gguf_config *c, const char *key)
{
    size_t n = strlen(c->architecture);

    return strncmp(key, c->architecture, n) == 0 && key[n] == '.' ? key + n + 1 : NULL;
}

static bool is_asked(const nib_gguf_config *c, const char *key)
{
    char name[200];
    const nib_gguf_value *v;

    snprintf(name, sizeof name, "%s.%s", c->architecture, key);
    v = nib_gguf_find(c->keys, name);
    return !v || c->asked[v - c->keys->values];
}

/* A number that has one value in this family. */
static void check_number(nib_gguf_config *c, const char *key, double known, const char *why)
{
    double value;

    if (c->status || is_asked(c, key)) return;
    value = nib_gguf_get(c, key, known);
    if (value != known)
        nib_gguf_fail(c, NIB_E_UNSUPPORTED, "%s.%s is %g, known is %g: %s", c->architecture, key,
                      value, known, why);
}

/* Channels of a head: of those of values as many as of keys, and all are rotated, where the family
 * asks for no other number. */
static void check_heads(nib_gguf_config *c)
{
    double heads = nib_gguf_get(c, "attention.head_count", 0);
    double width = nib_gguf_get(c, "embedding_length", 0);
    double head = nib_gguf_get(c, "attention.key_length", heads > 0 ? width / heads : 0);
    double slides = nib_gguf_get(c, "attention.key_length_swa", head);

    if (!nib_gguf_key_value(c, "attention.kv_lora_rank")) /* its keys are of what is in between */
        check_number(c, "attention.value_length", head, "values have as many channels as keys");
    check_number(c, "attention.value_length_swa", slides, "values have as many channels as keys");
    check_number(c, "rope.dimension_count", head, "all channels of a head are rotated");
    check_number(c, "rope.dimension_count_swa", slides, "all channels of a head are rotated");
}

static bool is_without_effect(const char *name)
{
    for (size_t i = 0; i < NIB_COUNT(without_effect); i++)
        if (strcmp(name, without_effect[i]) == 0) return true;
    return false;
}

void nib_gguf_check_rest(nib_gguf_config *c, const nib_gguf_family *f)
{
    nib_unused_keys unused = { 0 };

    check_number(c, "attention.causal", !f->full,
                 f->full ? "each token sees all" : "each token sees those before it");
    check_heads(c);
    for (size_t i = 0; i < c->keys->value_count && !c->status; i++) {
        const char *name = own_name(c, c->keys->values[i].key);
        if (!name || c->asked[i] || is_without_effect(name)) continue;
        nib_unused_key(&unused, c->keys->values[i].key, 60);
    }
    nib_warn_unused_keys(c->ctx, c->where, &unused);
}
