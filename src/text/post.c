/* post.c - post-processors: the order of special tokens and of one text or two, the type ids, and
 * whether offsets leave out blanks (formats.md 11.8, formats-encoder.md 6.3). */
#include "format/json.h"
#include "text/parts.h"
#include "text/schema.h"

static nib_status add_item(nib_tokenizer *t, nib_template *to, nib_template_item item,
                           const char *where, nib_error *err)
{
    if (item.text == NIB_TEMPLATE_TOKEN && item.id >= t->size)
        return nib_fail(err, NIB_E_FORMAT, "%s: post_processor: id %" PRIu32 " is no token", where,
                        item.id);
    if (to->count == NIB_TEMPLATE_ITEMS)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: post_processor: more than %d tokens", where,
                        NIB_TEMPLATE_ITEMS);
    to->items[to->count++] = item;
    return NIB_OK;
}

static nib_status add_token(nib_tokenizer *t, nib_template *to, int64_t id, uint8_t type,
                            const char *where, nib_error *err)
{
    if (id < 0 || id > UINT32_MAX)
        return nib_fail(err, NIB_E_FORMAT, "%s: post_processor: id %" PRId64 " is no token", where,
                        id);
    return add_item(t, to, (nib_template_item){ NIB_TEMPLATE_TOKEN, (uint32_t)id, type }, where,
                    err);
}

static nib_status add_text(nib_tokenizer *t, nib_template *to, int text, uint8_t type,
                           const char *where, nib_error *err)
{
    return add_item(t, to, (nib_template_item){ .text = text, .type = type }, where, err);
}

/* --- TemplateProcessing --- */

static nib_status load_item(nib_tokenizer *t, const json_t *j, const json_t *special,
                            const char *name, size_t number, const char *where, nib_template *to,
                            nib_error *err)
{
    const json_t *text = json_object_get(j, "Sequence"),
                 *token = json_object_get(j, "SpecialToken"),
                 *type = json_object_get(text ? text : token, "type_id"), *ids;
    const char *id = json_string_value(json_object_get(text ? text : token, "id"));
    nib_status status = NIB_OK;

    if (!id || !json_is_integer(type) || json_integer_value(type) < 0 ||
        json_integer_value(type) > UINT8_MAX)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: post_processor: item %zu of %s has no id, or no type_id from 0 to 255",
                        where, number, name);
    if (text) {
        if (strcmp(id, "A") != 0 && strcmp(id, "B") != 0)
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: post_processor: item %zu of %s is the text '%s', known: A, B",
                            where, number, name, id);
        return add_text(t, to, id[0] - 'A', (uint8_t)json_integer_value(type), where, err);
    }
    ids = json_object_get(json_object_get(special, id), "ids");
    if (!json_is_array(ids))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: post_processor: item %zu of %s is neither the text nor one of "
                        "special_tokens",
                        where, number, name);
    for (size_t k = 0; k < json_array_size(ids) && !status; k++)
        status = add_token(t, to, json_is_integer(json_array_get(ids, k))
                                      ? json_integer_value(json_array_get(ids, k))
                                      : -1,
                           (uint8_t)json_integer_value(type), where, err);
    return status;
}

/* Fills one of the two; each text that it is for stands there once. */
static nib_status load_list(nib_tokenizer *t, const json_t *j, const char *name, int texts,
                            const char *where, nib_template *to, nib_error *err)
{
    const json_t *list = json_object_get(j, name), *special = json_object_get(j, "special_tokens");
    size_t times[2] = { 0 };
    nib_status status = NIB_OK;

    to->count = 0;
    for (size_t i = 0; i < json_array_size(list) && !status; i++)
        status = load_item(t, json_array_get(list, i), special, name, i, where, to, err);
    for (size_t i = 0; i < to->count && !status; i++)
        if (to->items[i].text >= 0) times[to->items[i].text]++;
    for (int k = 0; k < 2 && !status; k++)
        if (times[k] != (k < texts))
            status = nib_fail(err, NIB_E_UNSUPPORTED,
                              "%s: post_processor: %s holds the text %c %zu times, expected %d",
                              where, name, 'A' + k, times[k], k < texts);
    return status;
}

static nib_status load_template(nib_tokenizer *t, const json_t *j, const char *where,
                                nib_error *err)
{
    nib_status status = nib_schema_check(j, where, "post_processor",
                                         "type:s single:a pair:a special_tokens:o", err);

    if (!status) status = load_list(t, j, "single", 1, where, &t->single, err);
    return status ? status : load_list(t, j, "pair", 2, where, &t->pair, err);
}

/* --- BertProcessing and RobertaProcessing --- */

static nib_status load_trimming(nib_tokenizer *t, const json_t *j, const char *where,
                                nib_error *err)
{
    bool trims = false, prefix = false;
    nib_status status = nib_json_get_bool(j, where, "trim_offsets", &trims, err);

    if (!status) status = nib_json_get_bool(j, where, "add_prefix_space", &prefix, err);
    if (status || !trims) return status;
    if (t->trim_offsets) /* the library takes the blanks off twice */
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: post_processor: two of a Sequence have trim_offsets; one is known",
                        where);
    t->trim_offsets = true;
    t->trim_prefix_space = prefix;
    return NIB_OK;
}

/* [cls] A [sep] and [cls] A [sep] ([sep] if twice) B [sep]; a text of `type` when it is the
 * second. */
static nib_status set_bert(nib_tokenizer *t, int64_t cls, int64_t sep, bool twice, uint8_t type,
                           const char *where, nib_error *err)
{
    nib_template *both[] = { &t->single, &t->pair };
    nib_status status = NIB_OK;

    for (int i = 0; i < 2 && !status; i++) {
        nib_template *to = both[i];
        to->count = 0;
        if ((status = add_token(t, to, cls, 0, where, err)) ||
            (status = add_text(t, to, 0, 0, where, err)) ||
            (status = add_token(t, to, sep, 0, where, err)) || i == 0)
            continue;
        if (twice) status = add_token(t, to, sep, type, where, err);
        if (!status) status = add_text(t, to, 1, type, where, err);
        if (!status) status = add_token(t, to, sep, type, where, err);
    }
    return status;
}

/* {"cls": ["<s>", 0], "sep": ["</s>", 2]} */
static nib_status load_bert(nib_tokenizer *t, const json_t *j, bool roberta, const char *where,
                            nib_error *err)
{
    const json_t *cls = json_array_get(json_object_get(j, "cls"), 1),
                 *sep = json_array_get(json_object_get(j, "sep"), 1);

    if (!json_is_integer(cls) || !json_is_integer(sep))
        return nib_fail(err, NIB_E_FORMAT, "%s: post_processor: cls or sep is not [\"token\", id]",
                        where);
    t->pair.types_later = roberta;
    return set_bert(t, json_integer_value(cls), json_integer_value(sep), roberta, !roberta, where,
                    err);
}

/* --- all of them --- */

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
    if (strcmp(type, "ByteLevel") == 0) {
        status = nib_schema_check(j, where, "post_processor",
                                  "type:s add_prefix_space:b trim_offsets:b use_regex:b?", err);
        return status ? status : load_trimming(t, j, where, err);
    }
    if (t->has_template)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: post_processor: '%s' is the second of a Sequence that adds tokens; "
                        "one is known", where, type);
    t->has_template = true;
    if (strcmp(type, "TemplateProcessing") == 0) return load_template(t, j, where, err);
    if (strcmp(type, "RobertaProcessing") == 0) {
        status = nib_schema_check(j, where, "post_processor",
                                  "type:s sep:a cls:a trim_offsets:b add_prefix_space:b", err);
        if (!status) status = load_trimming(t, j, where, err);
        return status ? status : load_bert(t, j, true, where, err);
    }
    if (strcmp(type, "BertProcessing") == 0) {
        status = nib_schema_check(j, where, "post_processor", "type:s sep:a cls:a", err);
        return status ? status : load_bert(t, j, false, where, err);
    }
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: post_processor '%s' is unknown; known: Sequence, TemplateProcessing, "
                    "ByteLevel, RobertaProcessing, BertProcessing",
                    where, type);
}

nib_status nib_post_load(nib_tokenizer *t, const json_t *j, const char *where, nib_error *err)
{
    nib_status status = nib_post_set(t, -1, -1, where, err);

    if (!status && j && !json_is_null(j)) status = load_one(t, j, where, 0, err);
    return status;
}

nib_status nib_post_set(nib_tokenizer *t, int64_t before, int64_t after, const char *where,
                        nib_error *err)
{
    nib_template *both[] = { &t->single, &t->pair };
    nib_status status = NIB_OK;

    t->trim_offsets = t->trim_prefix_space = t->has_template = false;
    for (int i = 0; i < 2; i++) {
        *both[i] = (nib_template){ 0 };
        for (int text = 0; text <= i && !status; text++) {
            uint8_t type = (uint8_t)text;
            if (before >= 0) status = add_token(t, both[i], before, type, where, err);
            if (!status) status = add_text(t, both[i], text, type, where, err);
            if (!status && after >= 0) status = add_token(t, both[i], after, type, where, err);
        }
    }
    return status;
}
