/* special.c - what transformers 4.57.6 makes of the files beside tokenizer.json (formats.md 11.9).
 *
 * In its order: the class is tokenizer_config.json's tokenizer_class, else config.json's, else that
 * of config.json's model_type.  Keys come from tokenizer_config.json; unless it has
 * added_tokens_decoder, special_tokens_map.json overrules them and added_tokens.json adds tokens.
 * A key that is null is set to nothing, one that is absent has the class's default.  Then the
 * tokens of added_tokens_decoder and the special tokens are added to the tokenizer, and some
 * classes make the post-processor anew. */
#include "text/special.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/filemap.h"
#include "format/json.h"
#include "text/parts.h"
#include "text/schema.h"
#include "text/tokenizer_class.h"

enum { CONFIG, MAP, ADDED, MODEL, GENERATION };
static const char *const file_names[NIB_SPECIAL_FILES] = {
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json",
    "generation_config.json"
};

/* A special token: `added` is transformers' AddedToken, which says more than its text. */
typedef struct named { nib_added token; bool added; const char *where; } named;
/* A token of added_tokens_decoder and its number there. */
typedef struct listed { nib_added token; int64_t index; size_t order; } listed;

typedef struct reading {
    nib_tokenizer *t;
    const json_t *files[NIB_SPECIAL_FILES]; /* NULL: absent */
    const nib_tokenizer_class *class;
    bool use_map;         /* special_tokens_map.json and added_tokens.json count */
    const char *alias;    /* the content under which transformers finds alias_token, see there */
    nib_added alias_token;
    listed *decoder;
    size_t decoder_count, decoder_capacity;
    named *specials;      /* in transformers' order, each content once */
    size_t special_count, special_capacity;
} reading;

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

bool nib_special_ends(const nib_special_tokens *s, int64_t id)
{
    for (size_t i = 0; i < s->end_count; i++)
        if (s->ends[i] == id) return true;
    return id >= 0 && s->eos.id == id;
}

/* --- files --- */

static nib_status read_files(reading *r, const char *dir, nib_error *err)
{
    nib_tokenizer *t = r->t;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_SPECIAL_FILES && !status; i++) {
        char *path = nib_sprintf(t->ctx, "%s/%s", dir, file_names[i]);
        if (!path) return no_memory(err);
        if (nib_file_exists(path))
            status = nib_json_read(t->ctx, path, i <= MAP ? NIB_JSON_BIG_NUMBERS : 0, &t->files[i],
                                   err); /* model_max_length may be 10^30 */
        if (!status && t->files[i] && !json_is_object(t->files[i]))
            status = nib_fail(err, NIB_E_FORMAT, "%s: not an object", path);
        r->files[i] = t->files[i];
        nib_free(t->ctx, path);
    }
    r->use_map = !json_object_get(r->files[CONFIG], "added_tokens_decoder");
    return status;
}

/* The value of a key, NULL when it is absent, and the file it is from. */
static const json_t *value_of(const reading *r, const char *key, const char **where)
{
    const json_t *v = r->use_map ? json_object_get(r->files[MAP], key) : NULL;

    *where = file_names[v ? MAP : CONFIG];
    return v ? v : json_object_get(r->files[CONFIG], key);
}

static nib_status get_flag(const reading *r, const char *key, bool *out, bool *given,
                           nib_error *err)
{
    const char *where;
    const json_t *v = value_of(r, key, &where);

    *given = v && !json_is_null(v);
    if (!v) return NIB_OK;
    if (!json_is_boolean(v) && !json_is_null(v))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is neither true, false nor null", where, key);
    *out = json_is_true(v);
    return NIB_OK;
}

/* --- the class --- */

static nib_status find_class(reading *r, nib_error *err)
{
    const json_t *name = json_object_get(r->files[CONFIG], "tokenizer_class");
    const char *where = file_names[CONFIG], *type;

    if (!name || json_is_null(name)) {
        name = json_object_get(r->files[MODEL], "tokenizer_class");
        where = file_names[MODEL];
    }
    r->class = nib_tokenizer_class_named("PreTrainedTokenizerFast");
    if (name && !json_is_null(name)) {
        if (!json_is_string(name))
            return nib_fail(err, NIB_E_FORMAT, "%s: tokenizer_class is not a string", where);
        if (nib_tokenizer_class_named(json_string_value(name)))
            r->class = nib_tokenizer_class_named(json_string_value(name));
        else
            nib_warn(r->t->ctx,
                     "%s: tokenizer_class '%s' is unknown: it is read as PreTrainedTokenizerFast, "
                     "without the class's own defaults",
                     where, json_string_value(name));
    } else {
        type = json_string_value(json_object_get(r->files[MODEL], "model_type"));
        if (type && nib_tokenizer_class_of_model(type))
            r->class = nib_tokenizer_class_of_model(type);
    }
    r->t->special_tokens.class_name = r->class->name;
    return NIB_OK;
}

/* Keys that make transformers read other files or patterns than tokenizer.json's. */
static nib_status check_keys(const reading *r, nib_error *err)
{
    const json_t *config = r->files[CONFIG], *v = json_object_get(config, "fast_tokenizer_files");
    bool given, flag = false;
    nib_status status;

    if (json_array_size(v) > 0)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "tokenizer_config.json: fast_tokenizer_files names other files than "
                        "tokenizer.json; remove the key to use tokenizer.json");
    status = get_flag(r, "fix_mistral_regex", &flag, &given, err);
    if (!status && flag)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "tokenizer_config.json: fix_mistral_regex is not computed here; save the "
                        "tokenizer with transformers once, so that tokenizer.json has the pattern");
    if (json_is_string(json_object_get(config, "tokenizer_file")))
        nib_warn(r->t->ctx, "tokenizer_config.json: tokenizer_file is passed over: tokenizer.json "
                            "of the same directory is read");
    status = get_flag(r, "add_prefix_space", &flag, &given, err);
    if (!status && given && r->class->flags & NIB_CLASS_FROM_SLOW)
        nib_warn(r->t->ctx,
                 "tokenizer_config.json: with add_prefix_space, transformers makes a %s from "
                 "tokenizer.model; here tokenizer.json is read",
                 r->class->name);
    return status;
}

/* --- tokens as transformers writes them --- */

static bool same_token(const nib_added *a, const nib_added *b)
{
    return a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0 &&
           a->single_word == b->single_word && a->lstrip == b->lstrip && a->rstrip == b->rstrip &&
           a->normalized == b->normalized && a->special == b->special;
}

/* {"content": ..., "lstrip": ..., ...}; `special` where it says nothing. */
static nib_status read_object(const json_t *j, const char *where, const char *key, bool special,
                              nib_added *a, nib_error *err)
{
    const json_t *normalized = json_object_get(j, "normalized");
    nib_status status = nib_schema_check(
        j, where, key, "content:s single_word:b? lstrip:b? rstrip:b? normalized:b? special:b? "
                       "__type:s?", err);

    if (status) return status;
    *a = (nib_added){ .text = json_string_value(json_object_get(j, "content")), .special = special };
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

static nib_status read_decoder(reading *r, nib_error *err)
{
    const json_t *decoder = json_object_get(r->files[CONFIG], "added_tokens_decoder");
    const char *key;
    json_t *value;

    if (!json_is_object(decoder))
        return nib_fail(err, NIB_E_FORMAT,
                        "tokenizer_config.json: added_tokens_decoder is not an object");
    json_object_foreach((json_t *)(uintptr_t)decoder, key, value) {
        char *end, what[96];
        long long index = strtoll(key, &end, 10);
        nib_added a = { 0 };
        nib_status status;

        snprintf(what, sizeof what, "added_tokens_decoder: \"%.32s\"", key);
        if (!*key || *end || index < 0 || index >= NIB_MOST_IDS)
            return nib_fail(err, NIB_E_FORMAT, "tokenizer_config.json: %s is no token id", what);
        status = read_object(value, file_names[CONFIG], what, false, &a, err);
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
    const json_t *list = value_of(r, "additional_special_tokens", &where);

    for (size_t i = 0; i < NIB_COUNT(keys) + json_array_size(list); i++) {
        const json_t *v = i < NIB_COUNT(keys) ? value_of(r, keys[i], &where)
                                              : json_array_get(list, i - NIB_COUNT(keys));
        if (json_is_object(v)) v = json_object_get(v, "content");
        if (json_is_string(v) && strcmp(json_string_value(v), content) == 0) return true;
    }
    return false;
}

/* The form before added_tokens_decoder: {"token": id}. */
static nib_status read_added_file(reading *r, nib_error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)r->files[ADDED], key, value) {
        bool special = names_special(r, key);
        nib_added a = { .text = key, .bytes = strlen(key), .normalized = !special, .special = special };

        if (!json_is_integer(value))
            return nib_fail(err, NIB_E_FORMAT, "added_tokens.json: '%s' has no integer id", key);
        if (!add_listed(r, a, json_integer_value(value))) return no_memory(err);
        r->alias_token = a;
    }
    if (r->decoder_count) {
        const json_t *list = json_object_get(r->files[MAP], "additional_special_tokens");
        const json_t *last = json_array_get(list, json_array_size(list) - 1);
        r->alias = json_string_value(json_is_object(last) ? json_object_get(last, "content") : last);
    }
    for (size_t i = 0; i < r->t->added_count; i++) { /* those of tokenizer.json come last */
        const nib_added *a = &r->t->added[i];
        for (size_t k = 0; k < r->decoder_count;) {
            if (r->decoder[k].index == a->id) r->decoder[k] = r->decoder[--r->decoder_count];
            else k++;
        }
    }
    for (size_t i = 0; i < r->t->added_count; i++)
        if (!add_listed(r, r->t->added[i], r->t->added[i].id)) return no_memory(err);
    return NIB_OK;
}

/* The token of this content with flags that some file gives.  Of added_tokens.json's, transformers
 * 4.57 finds only the last, by a slip under the name of the last additional special token. */
static const nib_added *find_listed(const reading *r, const char *content)
{
    int64_t at = nib_words_get(&r->t->added_words, content, strlen(content));
    const nib_added *last = NULL;

    if (r->use_map && at >= 0) return &r->t->added[at];
    if (r->use_map) return r->alias && strcmp(r->alias, content) == 0 ? &r->alias_token : NULL;
    for (size_t i = 0; i < r->decoder_count; i++)
        if (strcmp(r->decoder[i].token.text, content) == 0) last = &r->decoder[i].token;
    return last;
}

/* --- special tokens --- */

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

/* A value of a special token's key, not null: text or a token with its flags. */
static nib_status read_special(reading *r, const json_t *v, const char *where, const char *key,
                               bool look_up, nib_added *a, bool *added, nib_error *err)
{
    const nib_added *found;
    nib_status status = NIB_OK;

    *added = json_is_object(v);
    if (json_is_object(v)) {
        if (where == file_names[CONFIG] && !json_object_get(v, "__type"))
            nib_warn(r->t->ctx,
                     "%s: %s is an object without \"__type\": \"AddedToken\", which transformers "
                     "4.57 refuses; its content is taken",
                     where, key);
        status = read_object(v, where, key, where == file_names[MAP], a, err);
    } else if (json_is_string(v)) {
        *a = (nib_added){ .text = json_string_value(v), .bytes = json_string_length(v), .special = true };
    } else {
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s: %s is neither a string, an object with content, nor null", where,
                          key);
    }
    if (status) return status;
    found = look_up ? find_listed(r, a->text) : NULL;
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
    const json_t *v = value_of(r, key, &where);
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
    return add_special(r, a, added, where, SIZE_MAX) ? NIB_OK : no_memory(err);
}

static nib_status read_list(reading *r, const json_t *list, const char *where, const char *key,
                            size_t first, nib_error *err)
{
    nib_status status = NIB_OK;

    if (!list || json_is_null(list)) return NIB_OK;
    if (!json_is_array(list))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is not a list", where, key);
    for (size_t i = 0; i < json_array_size(list) && !status; i++) {
        nib_added a = { 0 };
        bool added;
        status = read_special(r, json_array_get(list, i), where, key, false, &a, &added, err);
        if (!status && !add_special(r, a, added, where, first)) status = no_memory(err);
    }
    return status;
}

/* Special tokens that only this class knows. */
static nib_status read_class_extra(reading *r, nib_error *err)
{
    const char *const *extra = r->class->extra, *where;

    for (; extra && *extra; extra += 2) {
        const json_t *v = value_of(r, extra[0], &where);
        const char *text = json_is_string(v) ? json_string_value(v) : extra[1];
        nib_added a = { .text = text, .bytes = strlen(text), .special = true };

        if (v && json_is_null(v)) continue;
        if (v && !json_is_string(v))
            return nib_fail(err, NIB_E_FORMAT, "%s: %s is neither a string nor null", where,
                            extra[0]);
        if (!add_special(r, a, false, v ? where : r->class->where, SIZE_MAX)) return no_memory(err);
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
        status = read_list(r, v, file_names[CONFIG], list, first, err);
    if (!status) status = read_list(r, mapped, file_names[MAP], list, first, err);
    if (!status) status = read_class_extra(r, err);
    if (status) return status;
    v = value_of(r, extra, &where);
    if (json_is_array(v)) {
        nib_warn(r->t->ctx, "%s: %s is a list, as transformers 5 writes it: taken as "
                            "additional_special_tokens", where, extra);
        return read_list(r, v, where, extra, r->special_count, err);
    }
    if (v && !json_is_null(v) && !json_is_object(v))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is neither an object nor a list", where, extra);
    json_object_foreach((json_t *)(uintptr_t)v, key, one) {
        nib_added a = { 0 };
        bool added;
        status = read_special(r, one, where, key, false, &a, &added, err);
        if (!status && !add_special(r, a, added, where, SIZE_MAX)) status = no_memory(err);
        if (status) break;
    }
    return status;
}

static nib_status read_specials(reading *r, nib_error *err)
{
    nib_special_tokens *s = &r->t->special_tokens;
    const nib_tokenizer_class *c = r->class;
    nib_special_token unused;
    nib_status status;

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

/* --- adding --- */

static int by_index(const void *a, const void *b)
{
    const listed *x = a, *y = b;
    if (x->index != y->index) return x->index < y->index ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

static bool is_special(const reading *r, const nib_added *a)
{
    for (size_t i = 0; i < r->special_count; i++)
        if (strcmp(r->specials[i].token.text, a->text) == 0) return true;
    return false;
}

/* Adds one, unless the tokenizer had just this one before this batch. */
static nib_status add_one(reading *r, nib_added a, const nib_added *had, size_t had_count,
                          const char *where, int64_t index, nib_error *err)
{
    int64_t at = nib_words_get(&r->t->added_words, a.text, a.bytes), id;
    nib_status status;

    a.normal = NULL;
    if (a.follows) a.normalized = !a.special;
    if (at >= 0 && (size_t)at < had_count && same_token(&had[at], &a)) return NIB_OK;
    status = nib_added_put(r->t, a, where, &id, err);
    if (!status && id >= 0 && index >= 0 && id != index)
        nib_warn(r->t->ctx,
                 "%s: token '%s' has number %" PRId64 " there, but becomes %" PRId64
                 ", as in transformers",
                 where, a.text, index, id);
    return status;
}

static nib_status add_all(reading *r, nib_error *err)
{
    nib_tokenizer *t = r->t;
    size_t had_count = t->added_count;
    nib_added *had = nib_new_array(t->ctx, nib_max(had_count, 1), sizeof *had);
    nib_status status = NIB_OK;

    if (!had) return no_memory(err);
    if (had_count) memcpy(had, t->added, had_count * sizeof *had);
    qsort(r->decoder, r->decoder_count, sizeof *r->decoder, by_index);
    for (size_t i = 0; i < r->decoder_count && !status; i++) {
        nib_added a = r->decoder[i].token;
        int64_t at = nib_words_get(&t->added_words, a.text, a.bytes);

        if (at >= 0 && (size_t)at < had_count && same_token(&had[at], &a)) continue;
        a.special |= is_special(r, &a);
        status = add_one(r, a, had, had_count, file_names[r->use_map ? ADDED : CONFIG],
                         r->decoder[i].index, err);
    }
    for (size_t i = 0; i < r->special_count && !status; i++) {
        named *s = &r->specials[i];
        nib_added a = s->token;

        if (!s->added && nib_words_get(&t->added_words, a.text, a.bytes) >= 0) continue;
        a.special = true;
        status = add_one(r, a, had, had_count, s->where, -1, err);
    }
    nib_free(t->ctx, had);
    return status;
}

static void set_ids(nib_tokenizer *t)
{
    nib_special_tokens *s = &t->special_tokens;
    nib_special_token *all[] = { &s->bos, &s->eos, &s->unk, &s->pad };

    for (size_t i = 0; i < NIB_COUNT(all); i++)
        if (all[i]->content) all[i]->id = nib_tokenizer_find(t, all[i]->content);
}

/* --- what the class changes --- */

static nib_status rebuild_post(reading *r, nib_error *err)
{
    const nib_special_tokens *s = &r->t->special_tokens;
    bool bos = r->class->flags & NIB_CLASS_ADDS_BOS, eos = false, given;
    nib_status status = get_flag(r, "add_bos_token", &bos, &given, err);

    if (!status) status = get_flag(r, "add_eos_token", &eos, &given, err);
    if (status) return status;
    if ((bos && s->bos.id < 0) || (eos && s->eos.id < 0))
        return nib_fail(err, NIB_E_FORMAT,
                        "tokenizer_config.json: add_%s_token is true (%s), but there is no "
                        "%s_token; set add_%s_token to false or name the token",
                        bos && s->bos.id < 0 ? "bos" : "eos", r->class->name,
                        bos && s->bos.id < 0 ? "bos" : "eos", bos && s->bos.id < 0 ? "bos" : "eos");
    return nib_post_set(r->t, bos ? s->bos.id : -1, eos ? s->eos.id : -1, file_names[CONFIG], err);
}

static nib_status set_prefix_space(reading *r, nib_error *err)
{
    const json_t *pre = json_object_get(r->t->json, "pre_tokenizer");
    const char *type = json_string_value(json_object_get(pre, "type")), *where;
    const json_t *v = value_of(r, "add_prefix_space", &where);
    nib_stages *stages = &r->t->pretokenizers;
    bool prefix = false, given;
    nib_status status = get_flag(r, "add_prefix_space", &prefix, &given, err);

    if (status) return status;
    if (type && strcmp(type, "ByteLevel") == 0 && (given || (!v && !(r->class->flags & NIB_CLASS_FROM_SLOW))))
        stages->items[0].prefix_space = prefix;
    for (size_t i = 0; i < stages->count; i++)
        if (r->class->flags & NIB_CLASS_PREFIX_INSIDE && prefix &&
            stages->items[i].kind == NIB_STAGE_BYTE_LEVEL)
            stages->items[i].prefix_space = true;
    return NIB_OK;
}

/* One of the post-processor's two flags: null is ByteLevel's default, true, and no value for
 * RobertaProcessing. */
static nib_status get_trimming(reading *r, const char *key, bool byte_level, bool *out,
                               nib_error *err)
{
    const char *where;
    const json_t *v = value_of(r, key, &where);
    bool given;

    if (v && json_is_null(v) && byte_level) *out = true;
    else if (v && json_is_null(v))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is null, expected true or false", where, key);
    else return get_flag(r, key, out, &given, err);
    return NIB_OK;
}

static nib_status set_trimming(reading *r, nib_error *err)
{
    const json_t *post = json_object_get(r->t->json, "post_processor");
    const char *type = json_string_value(json_object_get(post, "type"));
    bool byte_level = type && strcmp(type, "ByteLevel") == 0, trim = true, prefix = false;
    nib_status status;

    if (!byte_level && (!type || strcmp(type, "RobertaProcessing") != 0)) return NIB_OK;
    status = get_trimming(r, "trim_offsets", byte_level, &trim, err);
    if (!status) status = get_trimming(r, "add_prefix_space", byte_level, &prefix, err);
    r->t->trim_offsets = trim;
    r->t->trim_prefix_space = prefix;
    return status;
}

/* CodeGenTokenizerFast cannot add BOS, and transformers refuses to try. */
static nib_status refuse_bos(reading *r, nib_error *err)
{
    bool bos = false, given;
    nib_status status = get_flag(r, "add_bos_token", &bos, &given, err);

    return status || !bos
               ? status
               : nib_fail(err, NIB_E_UNSUPPORTED,
                          "tokenizer_config.json: add_bos_token is true, which a %s cannot do; set "
                          "it to false",
                          r->class->name);
}

static nib_status apply_class(reading *r, nib_error *err)
{
    const char *where;
    const json_t *split = value_of(r, "split_special_tokens", &where);
    bool given;
    nib_status status = set_prefix_space(r, err);

    if (split && json_is_null(split))
        return nib_fail(err, NIB_E_FORMAT, "%s: split_special_tokens is null, expected true or false",
                        where);
    if (!status) status = get_flag(r, "split_special_tokens", &r->t->split_special, &given, err);
    if (!status && r->class->flags & NIB_CLASS_TRIMS) status = set_trimming(r, err);
    if (!status && r->class->flags & NIB_CLASS_NO_BOS) status = refuse_bos(r, err);
    if (!status && r->class->flags & NIB_CLASS_REBUILDS) status = rebuild_post(r, err);
    return status;
}

/* --- the ends of a text --- */

static nib_status read_ends(reading *r, int file, nib_error *err)
{
    nib_special_tokens *s = &r->t->special_tokens;
    const json_t *eos = json_object_get(r->files[file], "eos_token_id");
    size_t n = json_is_array(eos) ? json_array_size(eos) : eos && !json_is_null(eos);

    if (s->end_count || n == 0) return NIB_OK;
    if (n > NIB_MOST_ENDS)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %zu end tokens, at most %d", file_names[file],
                        n, NIB_MOST_ENDS);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(eos) ? json_array_get(eos, i) : eos;
        if (!json_is_integer(id) || json_integer_value(id) < 0)
            return nib_fail(err, NIB_E_FORMAT, "%s: eos_token_id is not a token id",
                            file_names[file]);
        s->ends[s->end_count++] = json_integer_value(id);
    }
    s->ends_where = file_names[file];
    return NIB_OK;
}

static nib_status find_ends(reading *r, nib_error *err)
{
    nib_special_tokens *s = &r->t->special_tokens;
    nib_status status = read_ends(r, GENERATION, err);

    if (!status) status = read_ends(r, MODEL, err);
    if (status) return status;
    if (s->end_count == 0 && s->eos.id >= 0) {
        s->ends[s->end_count++] = s->eos.id;
        s->ends_where = s->eos.where;
    }
    if (s->eos.id < 0 && s->end_count && s->ends[0] < (int64_t)r->t->size)
        s->eos = (nib_special_token){ s->ends[0], nib_tokenizer_token(r->t, (uint32_t)s->ends[0]),
                                      s->ends_where };
    return NIB_OK;
}

nib_status nib_special_open(nib_tokenizer *t, const char *dir, nib_error *err)
{
    reading r = { .t = t };
    nib_status status = read_files(&r, dir, err);

    if (status || (!r.files[CONFIG] && !r.files[MAP] && !r.files[MODEL])) return status;
    if ((status = find_class(&r, err)) || (status = check_keys(&r, err)) ||
        (status = r.use_map ? read_added_file(&r, err) : read_decoder(&r, err)) ||
        (status = read_specials(&r, err)) || (status = add_all(&r, err)))
        goto done;
    set_ids(t);
    status = apply_class(&r, err);
    if (!status) status = find_ends(&r, err);
done:
    nib_free(t->ctx, r.decoder);
    nib_free(t->ctx, r.specials);
    return status;
}
