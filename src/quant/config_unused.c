/* config_unused.c - see config_unused.h. */
#include "quant/config_unused.h"

#include <stdio.h>

/* Is `key` what the entry says, inside it ("/" and "**"), or what it lies in? */
static bool matches(const char *entry, const char *key)
{
    while (*entry && *key) {
        if (strcmp(entry, "**") == 0) return true;
        if (*entry == '*' || *entry == '#') { /* a whole member's name */
            size_t n = strcspn(key, "/");
            if (*entry++ == '#' && strspn(key, "0123456789") != n) return false;
            key += n;
        } else if (*entry++ != *key++) {
            return false;
        }
    }
    return !*key && (!*entry || *entry == '/');
}

static bool is_known(const char *const *known, const char *key)
{
    for (; *known; known++)
        if (matches(*known, key)) return true;
    return false;
}

void nib_warn_unused_settings(nib_ctx *ctx, const nib_setting *config, const char *where,
                              const char *const *known)
{
    nib_unused_keys unused = { 0 };
    const char *named = "";
    char inside[600];
    size_t n = 0;

    for (const nib_setting *s = config; s && s->key; s++) {
        if (n && strncmp(s->key, named, n) == 0 && s->key[n] == '/') continue;
        if (is_known(known, s->key)) continue;
        named = s->key;
        n = strlen(named);
        nib_unused_key(&unused, s->key, 80);
    }
    snprintf(inside, sizeof inside, "%.500s: quantization_config", where);
    nib_warn_unused_keys(ctx, inside, &unused);
}

void nib_note_unrounded(nib_ctx *ctx, const nib_setting *config, const char *where)
{
    const char *inputs = NULL, *cache = NULL;

    for (const nib_setting *s = config; s && s->key; s++) {
        if (!s->value) continue;
        if (strstr(s->key, "/input_activations/")) inputs = "input_activations";
        if (strcmp(s->key, "activation_scheme") == 0) inputs = "activation_scheme";
        if (strncmp(s->key, "kv_cache_scheme/", 16) == 0) cache = "kv_cache_scheme";
        if (strcmp(s->key, "kv_cache_quant_algo") == 0) cache = "kv_cache_quant_algo";
    }
    if (inputs)
        nib_note(ctx, "%s: quantization_config: %s is without effect: inputs of linears stay in "
                 "the compute type", where, inputs);
    if (cache)
        nib_note(ctx, "%s: quantization_config: %s is without effect: keys and values stay in "
                 "the compute type", where, cache);
}
