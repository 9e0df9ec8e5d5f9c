/* peft_tokens.c - see peft_tokens.h. */
#include "adapter/peft_tokens.h"

static nib_status no_memory(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
}

/* One more list; its words are for the caller to fill. */
static nib_status add(nib_ctx *ctx, nib_peft_config *cfg, const char *module, size_t count,
                      const char *where, nib_error *err)
{
    nib_peft_tokens *t = &cfg->tokens[cfg->token_lists];

    *t = (nib_peft_tokens){ .module = module ? nib_strdup(ctx, module) : NULL,
                            .ids = nib_new_array(ctx, count, sizeof *t->ids) };
    cfg->token_lists++; /* freed with the config, as far as it came */
    return (module && !t->module) || !t->ids ? no_memory(where, err) : NIB_OK;
}

static nib_status read_list(nib_ctx *ctx, const json_t *value, const char *module,
                            const char *where, nib_peft_config *cfg, nib_error *err)
{
    nib_peft_tokens *t = &cfg->tokens[cfg->token_lists];
    nib_status status;

    if (!json_is_array(value) || !json_array_size(value))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: trainable_token_indices: %s%snot a list of numbers", where,
                        module ? module : "", module ? " has " : "");
    status = add(ctx, cfg, module, json_array_size(value), where, err);
    for (; !status && t->count < json_array_size(value); t->count++) {
        const json_t *item = json_array_get(value, t->count);
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id > INT32_MAX)
            return nib_fail(err, NIB_E_FORMAT, "%s: trainable_token_indices: number %zu is none of "
                            "a word's", where, t->count + 1);
        t->ids[t->count] = (uint32_t)id;
    }
    return status;
}

nib_status nib_peft_tokens_read(nib_ctx *ctx, const json_t *value, const char *where,
                                nib_peft_config *cfg, nib_error *err)
{
    bool named = json_is_object(value);
    size_t lists = named ? json_object_size(value) : 1;
    nib_status status = NIB_OK;
    const char *module;
    json_t *ids;

    if (!value || json_is_null(value) || (named && !lists) ||
        (json_is_array(value) && !json_array_size(value)))
        return NIB_OK;
    cfg->tokens = nib_new_array(ctx, lists, sizeof *cfg->tokens);
    if (!cfg->tokens) return no_memory(where, err);
    if (!named) return read_list(ctx, value, NULL, where, cfg, err);
    json_object_foreach((json_t *)value, module, ids)
        if (!status) status = read_list(ctx, ids, module, where, cfg, err);
    return status;
}

nib_status nib_peft_tokens_set(nib_ctx *ctx, nib_peft_config *cfg, const int *ids, size_t count,
                               nib_error *err)
{
    static const char where[] = "trainable_token_indices";
    nib_status status;

    if (!count) return NIB_OK;
    cfg->tokens = nib_new_array(ctx, 1, sizeof *cfg->tokens);
    if (!cfg->tokens) return no_memory(where, err);
    status = add(ctx, cfg, NULL, count, where, err);
    for (size_t i = 0; !status && i < count; i++) {
        if (ids[i] < 0) return nib_fail(err, NIB_E_INVALID, "%s: %d is no word", where, ids[i]);
        cfg->tokens->ids[i] = (uint32_t)ids[i];
        cfg->tokens->count++;
    }
    return status;
}

void nib_peft_tokens_free(nib_ctx *ctx, nib_peft_config *cfg)
{
    for (size_t i = 0; i < cfg->token_lists; i++) {
        nib_free(ctx, cfg->tokens[i].module);
        nib_free(ctx, cfg->tokens[i].ids);
    }
    nib_free(ctx, cfg->tokens);
    cfg->tokens = NULL;
    cfg->token_lists = 0;
}

static void put_list(nib_text *t, const nib_peft_tokens *list, const char *indent)
{
    nib_text_puts(t, "[");
    for (size_t i = 0; i < list->count; i++)
        nib_text_printf(t, "%s\n%s  %" PRIu32, i ? "," : "", indent, list->ids[i]);
    nib_text_printf(t, "\n%s]", indent);
}

void nib_peft_tokens_put(nib_text *t, const nib_peft_config *cfg)
{
    if (!cfg->token_lists) {
        nib_text_puts(t, "null");
    } else if (!cfg->tokens[0].module) {
        put_list(t, &cfg->tokens[0], "  ");
    } else {
        nib_text_puts(t, "{");
        for (size_t i = 0; i < cfg->token_lists; i++) {
            nib_text_puts(t, i ? ",\n    " : "\n    ");
            nib_text_json_string(t, cfg->tokens[i].module, true);
            nib_text_puts(t, ": ");
            put_list(t, &cfg->tokens[i], "    ");
        }
        nib_text_puts(t, "\n  }");
    }
}

static bool same_list(const nib_peft_tokens *x, const nib_peft_tokens *y)
{
    bool same = x->count == y->count;

    for (size_t i = 0; same && i < x->count; i++) {
        bool found = false;
        for (size_t k = 0; k < y->count && !found; k++) found = x->ids[i] == y->ids[k];
        same = found;
    }
    return same;
}

bool nib_peft_tokens_same(const nib_peft_config *x, const nib_peft_config *y)
{
    bool same = !x->token_lists == !y->token_lists;

    for (size_t i = 0; same && i < x->token_lists; i++)
        for (size_t k = 0; same && k < y->token_lists; k++)
            same = same_list(&x->tokens[i], &y->tokens[k]);
    return same;
}
