/* post.c - the post-processor: the tokens around a text, and how offsets are trimmed. */
#include "format/json.h"
#include "text/parts.h"
#include "text/schema.h"

/* Puts a token before the text, as number `at` of those of this component, or behind the text.
 * Of several components a later one stands further out. */
static nib_status add_around(nib_tokenizer *t, int64_t id, bool before, size_t at,
                             const char *where, nib_error *err)
{
    size_t *count = before ? &t->before_count : &t->after_count;
    uint32_t *ids = before ? t->before : t->after;

    if (id < 0 || (size_t)id >= t->size)
        return nib_fail(err, NIB_E_FORMAT, "%s: post_processor: id %" PRId64 " is no token", where,
                        id);
    if (*count == NIB_COUNT(t->before))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: post_processor: more than %zu tokens", where,
                        NIB_COUNT(t->before));
    if (!before) at = *count;
    memmove(ids + at + 1, ids + at, (*count - at) * sizeof *ids);
    ids[at] = (uint32_t)id;
    ++*count;
    return NIB_OK;
}

static nib_status load_template(nib_tokenizer *t, const json_t *j, const char *where,
                                nib_error *err)
{
    const json_t *single = json_object_get(j, "single"),
                 *special = json_object_get(j, "special_tokens");
    size_t texts = 0, at = 0;
    nib_status status = nib_schema_check(j, where, "post_processor",
                                         "type:s single:a pair:a special_tokens:o", err);

    for (size_t i = 0; i < json_array_size(single) && !status; i++) {
        const json_t *item = json_array_get(single, i),
                     *token = json_object_get(item, "SpecialToken");
        const char *name = json_string_value(json_object_get(token, "id"));
        const json_t *ids = name ? json_object_get(json_object_get(special, name), "ids") : NULL;

        if (json_object_get(item, "Sequence"))
            texts++;
        else if (!json_is_array(ids))
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: post_processor: item %zu of single is neither the text nor one of "
                            "special_tokens",
                            where, i);
        for (size_t k = 0; k < json_array_size(ids) && !status; k++)
            status = add_around(t, json_integer_value(json_array_get(ids, k)), texts == 0, at++,
                                where, err);
    }
    if (!status && texts != 1)
        status = nib_fail(err, NIB_E_UNSUPPORTED,
                          "%s: post_processor: single holds the text %zu times, expected once",
                          where, texts);
    return status;
}

static nib_status load_trimming(nib_tokenizer *t, const json_t *j, const char *where,
                                nib_error *err)
{
    nib_status status = nib_json_get_bool(j, where, "trim_offsets", &t->trim_offsets, err);

    return status ? status
                  : nib_json_get_bool(j, where, "add_prefix_space", &t->trim_prefix_space, err);
}

/* {"cls": ["<s>", 0], "sep": ["</s>", 2]} */
static nib_status load_bert(nib_tokenizer *t, const json_t *j, const char *where, nib_error *err)
{
    const json_t *cls = json_object_get(j, "cls"), *sep = json_object_get(j, "sep");
    nib_status status;

    if (!json_is_integer(json_array_get(cls, 1)) || !json_is_integer(json_array_get(sep, 1)))
        return nib_fail(err, NIB_E_FORMAT, "%s: post_processor: cls or sep is not [\"token\", id]",
                        where);
    status = add_around(t, json_integer_value(json_array_get(cls, 1)), true, 0, where, err);
    return status ? status
                  : add_around(t, json_integer_value(json_array_get(sep, 1)), false, 0, where, err);
}

static nib_status load_one(nib_tokenizer *t, const json_t *j, const char *where, int depth,
                           nib_error *err)
{
    const char *type = json_string_value(json_object_get(j, "type"));
    const json_t *list;
    nib_status status;

    if (!type || depth > 4)
        return nib_fail(err, NIB_E_FORMAT, "%s: post_processor without a type", where);
    if (strcmp(type, "Sequence") == 0) {
        status = nib_schema_check(j, where, "post_processor", "type:s processors:a", err);
        list = json_object_get(j, "processors");
        for (size_t i = 0; i < json_array_size(list) && !status; i++)
            status = load_one(t, json_array_get(list, i), where, depth + 1, err);
        return status;
    }
    if (strcmp(type, "TemplateProcessing") == 0) return load_template(t, j, where, err);
    if (strcmp(type, "ByteLevel") == 0) {
        status = nib_schema_check(j, where, "post_processor",
                                  "type:s add_prefix_space:b trim_offsets:b use_regex:b?", err);
        return status ? status : load_trimming(t, j, where, err);
    }
    if (strcmp(type, "RobertaProcessing") == 0) {
        status = nib_schema_check(j, where, "post_processor",
                                  "type:s sep:a cls:a trim_offsets:b add_prefix_space:b", err);
        if (!status) status = load_trimming(t, j, where, err);
        return status ? status : load_bert(t, j, where, err);
    }
    if (strcmp(type, "BertProcessing") == 0) {
        status = nib_schema_check(j, where, "post_processor", "type:s sep:a cls:a", err);
        return status ? status : load_bert(t, j, where, err);
    }
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: post_processor '%s' is unknown; known: Sequence, TemplateProcessing, "
                    "ByteLevel, RobertaProcessing, BertProcessing",
                    where, type);
}

nib_status nib_post_load(nib_tokenizer *t, const json_t *j, const char *where, nib_error *err)
{
    return !j || json_is_null(j) ? NIB_OK : load_one(t, j, where, 0, err);
}

nib_status nib_post_set(nib_tokenizer *t, int64_t before, int64_t after, const char *where,
                        nib_error *err)
{
    nib_status status = NIB_OK;

    t->before_count = t->after_count = 0;
    t->trim_offsets = t->trim_prefix_space = false;
    if (before >= 0) status = add_around(t, before, true, 0, where, err);
    if (!status && after >= 0) status = add_around(t, after, false, 0, where, err);
    return status;
}
