/* special_listed.c - tokens that come with their flags: added_tokens_decoder, added_tokens.json. */
#include <stdio.h>
#include <stdlib.h>

#include "text/schema.h"
#include "text/special_parts.h"

typedef nib_special_reading reading;
typedef nib_special_list_entry listed;

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

/* {"content": ..., "lstrip": ..., ...}; `special` where it says nothing. */
nib_status nib_special_object(const json_t *j, const char *where, const char *key, bool special,
                              nib_added *a, nib_error *err)
{
    const json_t *normalized = json_object_get(j, "normalized");
    nib_status status = nib_schema_check(
        j, where, key,
        "content:s single_word:b? lstrip:b? rstrip:b? normalized:b? special:b? "
        "__type:s?",
        err);

    if (status) return status;
    *a = (nib_added){ .text = json_string_value(json_object_get(j, "content")),
                      .special = special };
    a->bytes = strlen(a->text);
    a->single_word = json_is_true(json_object_get(j, "single_word"));
    a->lstrip = json_is_true(json_object_get(j, "lstrip"));
    a->rstrip = json_is_true(json_object_get(j, "rstrip"));
    if (json_object_get(j, "special")) a->special |= json_is_true(json_object_get(j, "special"));
    a->follows = !normalized;
    a->normalized = normalized ? json_is_true(normalized) : !a->special;
    return NIB_OK;
}

static bool add_listed(reading *r, nib_added token, int64_t index)
{
    if (!nib_grow(r->t->ctx, &r->decoder, &r->decoder_capacity, r->decoder_count + 1,
                  sizeof *r->decoder))
        return false;
    r->decoder[r->decoder_count] = (listed){ token, index, r->decoder_count };
    r->decoder_count++;
    return true;
}

nib_status nib_special_decoder(reading *r, nib_error *err)
{
    const json_t *decoder = json_object_get(r->files[CONFIG], "added_tokens_decoder");
    const char *key;
    json_t *value;

    if (!json_is_object(decoder))
        return nib_fail(err, NIB_E_FORMAT,
                        "tokenizer_config.json: added_tokens_decoder is not an object");
    json_object_foreach((json_t *)(uintptr_t)decoder, key, value)
    {
        char *end, what[96];
        long long index = strtoll(key, &end, 10);
        nib_added a = { 0 };
        nib_status status;

        snprintf(what, sizeof what, "added_tokens_decoder: \"%.32s\"", key);
        if (!*key || *end || index < 0 || index >= NIB_MOST_IDS)
            return nib_fail(err, NIB_E_FORMAT, "tokenizer_config.json: %s is no token id", what);
        status = nib_special_object(value, nib_special_files[CONFIG], what, false, &a, err);
        if (status) return status;
        if (!add_listed(r, a, index)) return no_memory(err);
    }
    return NIB_OK;
}

/* Is it one of the values of special tokens' keys? */
static bool names_special(const reading *r, const char *content)
{
    static const char *const keys[] = { "bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token" };
    const char *where;
    const json_t *list = nib_special_value(r, "additional_special_tokens", &where);

    for (size_t i = 0; i < NIB_COUNT(keys) + json_array_size(list); i++) {
        const json_t *v = i < NIB_COUNT(keys) ? nib_special_value(r, keys[i], &where)
                                              : json_array_get(list, i - NIB_COUNT(keys));
        if (json_is_object(v)) v = json_object_get(v, "content");
        if (json_is_string(v) && strcmp(json_string_value(v), content) == 0) return true;
    }
    return false;
}

/* The form before added_tokens_decoder: {"token": id}. */
nib_status nib_special_added_file(reading *r, nib_error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)r->files[ADDED], key, value)
    {
        bool special = names_special(r, key);
        nib_added a = {
            .text = key, .bytes = strlen(key), .normalized = !special, .special = special
        };

        if (!json_is_integer(value))
            return nib_fail(err, NIB_E_FORMAT, "added_tokens.json: '%s' has no integer id", key);
        if (!add_listed(r, a, json_integer_value(value))) return no_memory(err);
        r->alias_token = a;
    }
    if (r->decoder_count) {
        const json_t *list = json_object_get(r->files[MAP], "additional_special_tokens");
        const json_t *last = json_array_get(list, json_array_size(list) - 1);
        r->alias = json_string_value(json_is_object(last) ? json_object_get(last, "content")
                                                          : last);
    }
    for (size_t i = 0; i < r->t->added_count; i++) { /* those of tokenizer.json come last */
        const nib_added *a = &r->t->added[i];
        for (size_t k = 0; k < r->decoder_count;) {
            if (r->decoder[k].index == a->id)
                r->decoder[k] = r->decoder[--r->decoder_count];
            else
                k++;
        }
    }
    for (size_t i = 0; i < r->t->added_count; i++)
        if (!add_listed(r, r->t->added[i], r->t->added[i].id)) return no_memory(err);
    return NIB_OK;
}

/* The token of this content with flags that some file gives.  Of added_tokens.json's, transformers
 * 4.57 finds only the last, by a slip under the name of the last additional special token. */
const nib_added *nib_special_listed(const reading *r, const char *content)
{
    int64_t at = nib_words_get(&r->t->added_words, content, strlen(content));
    const nib_added *last = NULL;

    if (r->use_map && at >= 0) return &r->t->added[at];
    if (r->use_map) return r->alias && strcmp(r->alias, content) == 0 ? &r->alias_token : NULL;
    for (size_t i = 0; i < r->decoder_count; i++)
        if (strcmp(r->decoder[i].token.text, content) == 0) last = &r->decoder[i].token;
    return last;
}
