/* special_named.c - bos_token, eos_token and their like: from the files, else the class's default.
 */
#include <stdio.h>

#include "text/special_parts.h"

typedef nib_special_reading reading;
typedef nib_special_entry named;

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

/* A content counts once, but in one list (from `list` on) with flags beside without them. */
static bool add_special(reading *r, nib_added token, bool added, const char *where, size_t list)
{
    for (size_t i = 0; i < r->special_count; i++)
        if (r->specials[i].token.bytes == token.bytes && (i < list || !added) &&
            memcmp(r->specials[i].token.text, token.text, token.bytes) == 0)
            return true;
    if (!nib_grow(r->t->ctx, &r->specials, &r->special_capacity, r->special_count + 1,
                  sizeof *r->specials))
        return false;
    r->specials[r->special_count++] = (named){ token, added, where };
    return true;
}

/* A token under the key by which chat templates know it. */
static bool name_token(reading *r, const char *key, const nib_added *a)
{
    return json_object_set_new(r->t->named, key, json_stringn(a->text, a->bytes)) == 0;
}

static const char *text_of(const json_t *v)
{
    const char *text = json_string_value(json_is_object(v) ? json_object_get(v, "content") : v);
    return text ? text : "";
}

/* Does the list hold this token before `count`?  Text and a token with flags differ. */
static bool has_token(const json_t *list, size_t count, const json_t *v)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(list, i);
        if (json_typeof(one) == json_typeof(v) && strcmp(text_of(one), text_of(v)) == 0)
            return true;
    }
    return false;
}

/* One of additional_special_tokens. */
static bool name_additional(reading *r, const nib_added *a)
{
    json_t *list = json_object_get(r->t->named, "additional_special_tokens");

    if (!list) {
        list = json_array();
        if (json_object_set_new(r->t->named, "additional_special_tokens", list)) return false;
    }
    return json_array_append_new(list, json_stringn(a->text, a->bytes)) == 0;
}

/* A value of a special token's key, not null: text or a token with its flags. */
static nib_status read_special(reading *r, const json_t *v, const char *where, const char *key,
                               bool look_up, nib_added *a, bool *added, nib_error *err)
{
    const nib_added *found;
    nib_status status = NIB_OK;

    *added = json_is_object(v);
    if (json_is_object(v)) {
        if (where == nib_special_files[CONFIG] && !json_object_get(v, "__type"))
            nib_warn_code(r->t->ctx, "tokenizer",
                          "%s: %s is an object without \"__type\": \"AddedToken\", which "
                          "transformers 4.57 refuses; its content is taken",
                          where, key);
        status = nib_special_object(v, where, key, where == nib_special_files[MAP], a, err);
    } else if (json_is_string(v)) {
        *a = (nib_added){ .text = json_string_value(v),
                          .bytes = json_string_length(v),
                          .special = true };
    } else {
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s: %s is neither a string, an object with content, nor null", where,
                          key);
    }
    if (status) return status;
    found = look_up ? nib_special_listed(r, a->text) : NULL;
    if (found) *a = *found;
    *added |= found != NULL;
    return NIB_OK;
}

/* One of the seven: from the files, else the class's default.  content NULL: there is none. */
static nib_status read_one(reading *r, const char *key, const char *class_default,
                           nib_special_token *out, nib_error *err)
{
    const char *where, *pad = json_string_value(
                           json_object_get(json_object_get(r->t->json, "padding"), "pad_token"));
    const json_t *v = nib_special_value(r, key, &where);
    bool added = false, is_mask = strcmp(key, "mask_token") == 0;
    nib_added a = { 0 };
    nib_status status = NIB_OK;

    *out = (nib_special_token){ .id = -1 };
    if (v && json_is_null(v)) return NIB_OK;
    if (v) {
        status = read_special(r, v, where, key, true, &a, &added, err);
    } else if (class_default) {
        where = r->class->where;
        a = (nib_added){ .text = class_default, .bytes = strlen(class_default), .special = true };
    } else if (strcmp(key, "pad_token") == 0 && pad) {
        where = "tokenizer.json's padding";
        a = (nib_added){ .text = pad, .bytes = strlen(pad), .special = true };
    }
    if (status || !a.bytes) return status;
    if (!added && is_mask && r->class->flags & NIB_CLASS_MASK_LSTRIP) a.lstrip = added = true;
    if (!added && r->class->flags & NIB_CLASS_WRAPS && strchr("beup", key[0])) added = true;
    out->content = a.text;
    out->where = where;
    return add_special(r, a, added, where, SIZE_MAX) && name_token(r, key, &a) ? NIB_OK
                                                                               : no_memory(err);
}

static nib_status read_list(reading *r, const json_t *list, const char *where, const char *key,
                            size_t first, nib_error *err)
{
    nib_status status = NIB_OK;

    if (!list || json_is_null(list)) return NIB_OK;
    if (!json_is_array(list))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is not a list", where, key);
    for (size_t i = 0; i < json_array_size(list) && !status; i++) {
        const json_t *v = json_array_get(list, i),
                     *config = json_object_get(r->files[CONFIG], key);
        bool mapped = where == nib_special_files[MAP], added, repeated;
        nib_added a = { 0 };

        status = read_special(r, v, where, key, false, &a, &added, err);
        if (status) break;
        repeated = mapped && (has_token(config, json_array_size(config), v) ||
                              has_token(list, i, v));
        if (!add_special(r, a, added, where, first) || (!repeated && !name_additional(r, &a)))
            status = no_memory(err);
    }
    return status;
}

/* Special tokens that only this class knows. */
static nib_status read_class_extra(reading *r, nib_error *err)
{
    const char *const *extra = r->class->extra, *where;

    for (; extra && *extra; extra += 2) {
        const json_t *v = nib_special_value(r, extra[0], &where);
        const char *text = json_is_string(v) ? json_string_value(v) : extra[1];
        nib_added a = { .text = text, .bytes = strlen(text), .special = true };

        if (v && json_is_null(v)) continue;
        if (v && !json_is_string(v))
            return nib_fail(err, NIB_E_FORMAT, "%s: %s is neither a string nor null", where,
                            extra[0]);
        if (!add_special(r, a, false, v ? where : r->class->where, SIZE_MAX) ||
            !name_additional(r, &a))
            return no_memory(err);
    }
    return NIB_OK;
}

static nib_status read_further(reading *r, nib_error *err)
{
    static const char list[] = "additional_special_tokens", extra[] = "extra_special_tokens";
    const char *where, *key;
    const json_t *v = json_object_get(r->files[CONFIG], list),
                 *mapped = r->use_map ? json_object_get(r->files[MAP], list) : NULL;
    size_t first = r->special_count;
    json_t *one;
    nib_status status = NIB_OK;

    if (!mapped || !json_is_null(mapped))
        status = read_list(r, v, nib_special_files[CONFIG], list, first, err);
    if (!status) status = read_list(r, mapped, nib_special_files[MAP], list, first, err);
    if (!status) status = read_class_extra(r, err);
    if (status) return status;
    v = nib_special_value(r, extra, &where);
    if (json_is_array(v)) {
        nib_warn_code(r->t->ctx, "tokenizer",
                      "%s: %s is a list, as transformers 5 writes it: taken as "
                      "additional_special_tokens",
                      where, extra);
        return read_list(r, v, where, extra, r->special_count, err);
    }
    if (v && !json_is_null(v) && !json_is_object(v))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is neither an object nor a list", where, extra);
    json_object_foreach((json_t *)(uintptr_t)v, key, one)
    {
        nib_added a = { 0 };
        bool added;
        status = read_special(r, one, where, key, false, &a, &added, err);
        if (!status && a.bytes &&
            !(add_special(r, a, added, where, SIZE_MAX) && name_token(r, key, &a)))
            status = no_memory(err);
        if (status) break;
    }
    return status;
}

enum { MOST_EXTRA_IDS = 10000 };

nib_status nib_special_extra_ids(reading *r, nib_error *err)
{
    static const char list_key[] = "additional_special_tokens";
    const char *where, *text;
    const json_t *v = nib_special_value(r, "extra_ids", &where),
                 *had = nib_special_value(r, list_key, &where);
    double number = v ? json_number_value(v) : 100; /* not an integer where numbers may be big */
    int64_t count = (v && !json_is_number(v)) || !(number >= 0 && number <= MOST_EXTRA_IDS)
                        ? -1 : (int64_t)number;
    size_t found = 0;
    json_t *list;
    bool good;

    if (!(r->class->flags & NIB_CLASS_EXTRA_IDS)) return NIB_OK;
    if (count < 0)
        return nib_fail(err, NIB_E_FORMAT, "%s: extra_ids is not a number from 0 to %d",
                        nib_special_files[CONFIG], MOST_EXTRA_IDS);
    for (size_t i = 0; i < json_array_size(had); i++) {
        text = json_string_value(json_array_get(had, i));
        if (!text) text = json_string_value(json_object_get(json_array_get(had, i), "content"));
        found += text && strstr(text, "<extra_id_");
    }
    if (found && count && found != (size_t)count)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: extra_ids is %" PRId64 ", but %zu of additional_special_tokens are "
                        "<extra_id_...>",
                        nib_special_files[CONFIG], count, found);
    if (found) return NIB_OK;
    list = json_is_array(had) ? json_copy((json_t *)(uintptr_t)had) : json_array();
    good = list != NULL;
    for (int64_t i = 0; i < count && good; i++)
        good = json_array_append_new(list, json_sprintf("<extra_id_%d>", (int)i)) == 0;
    if (!r->t->files[CONFIG]) r->files[CONFIG] = r->t->files[CONFIG] = json_object();
    if (!r->t->files[CONFIG] || !good) {
        json_decref(list);
        return no_memory(err);
    }
    return json_object_set_new(r->t->files[CONFIG], list_key, list) ? no_memory(err) : NIB_OK;
}

nib_status nib_special_named(reading *r, nib_error *err)
{
    nib_special_tokens *s = &r->t->special_tokens;
    const nib_tokenizer_class *c = r->class;
    nib_special_token unused;
    nib_status status;

    r->t->named = json_object();
    if (!r->t->named) return no_memory(err);
    if ((status = read_one(r, "bos_token", c->bos, &s->bos, err)) ||
        (status = read_one(r, "eos_token", c->eos, &s->eos, err)) ||
        (status = read_one(r, "unk_token", c->unk, &s->unk, err)) ||
        (status = read_one(r, "sep_token", c->sep, &unused, err)) ||
        (status = read_one(r, "pad_token", c->pad, &s->pad, err)) ||
        (status = read_one(r, "cls_token", c->cls, &unused, err)) ||
        (status = read_one(r, "mask_token", c->mask, &unused, err)))
        return status;
    return read_further(r, err);
}
