/* special.c - what transformers 4.57.6 makes of the files beside tokenizer.json (formats.md 11.9).
 *
 * In its order: the class is tokenizer_config.json's tokenizer_class, else config.json's, else that
 * of config.json's model_type.  Keys come from tokenizer_config.json; unless it has
 * added_tokens_decoder, special_tokens_map.json overrules them and added_tokens.json adds tokens.
 * A key that is null is set to nothing, one that is absent has the class's default.  Then the
 * tokens of added_tokens_decoder and the special tokens are added to the tokenizer, and some
 * classes make the post-processor anew. */
#include <stdlib.h>

#include "format/json.h"
#include "text/model_file.h"
#include "text/special_parts.h"

typedef nib_special_reading reading;
typedef nib_special_entry named;
typedef nib_special_list_entry listed;

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "tokenizer: out of memory");
}

/* --- files --- */

static nib_status read_files(reading *r, const char *dir, nib_error *err)
{
    nib_tokenizer *t = r->t;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_SPECIAL_FILES && !status; i++) {
        status = nib_model_file_read(t->ctx, dir, nib_special_files[i],
                                     i <= MAP ? NIB_JSON_BIG_NUMBERS : 0, &t->files[i],
                                     err); /* model_max_length may be 10^30 */
        if (!status && t->files[i] && !json_is_object(t->files[i]))
            status = nib_fail(err, NIB_E_FORMAT, "%s/%s: not an object", dir,
                              nib_special_files[i]);
        r->files[i] = t->files[i];
    }
    r->use_map = !json_object_get(r->files[CONFIG], "added_tokens_decoder");
    return status;
}

static nib_status get_flag(const reading *r, const char *key, bool *out, bool *given,
                           nib_error *err)
{
    const char *where;
    const json_t *v = nib_special_value(r, key, &where);

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
    const char *where = nib_special_files[CONFIG], *type;

    if (!name || json_is_null(name)) {
        name = json_object_get(r->files[MODEL], "tokenizer_class");
        where = nib_special_files[MODEL];
    }
    r->class = nib_tokenizer_class_named("PreTrainedTokenizerFast");
    if (name && !json_is_null(name)) {
        if (!json_is_string(name))
            return nib_fail(err, NIB_E_FORMAT, "%s: tokenizer_class is not a string", where);
        if (nib_tokenizer_class_named(json_string_value(name)))
            r->class = nib_tokenizer_class_named(json_string_value(name));
        else
            nib_warn_code(r->t->ctx, "tokenizer",
                          "%s: tokenizer_class '%s' is unknown: it is read as "
                          "PreTrainedTokenizerFast, without the class's own defaults",
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
        nib_warn_code(r->t->ctx, "tokenizer",
                      "tokenizer_config.json: tokenizer_file is passed over: tokenizer.json "
                      "of the same directory is read");
    status = get_flag(r, "add_prefix_space", &flag, &given, err);
    if (!status && given && r->class->flags & NIB_CLASS_FROM_SLOW)
        nib_warn_code(r->t->ctx, "tokenizer",
                      "tokenizer_config.json: with add_prefix_space, transformers makes a %s from "
                      "tokenizer.model; here tokenizer.json is read",
                      r->class->name);
    return status;
}

/* --- adding --- */

static bool same_token(const nib_added *a, const nib_added *b)
{
    return a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0 &&
           a->single_word == b->single_word && a->lstrip == b->lstrip && a->rstrip == b->rstrip &&
           a->normalized == b->normalized && a->special == b->special;
}

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
        nib_warn_code(r->t->ctx, "tokenizer",
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
    if (r->decoder_count) qsort(r->decoder, r->decoder_count, sizeof *r->decoder, by_index);
    for (size_t i = 0; i < r->decoder_count && !status; i++) {
        nib_added a = r->decoder[i].token;
        int64_t at = nib_words_get(&t->added_words, a.text, a.bytes);

        if (at >= 0 && (size_t)at < had_count && same_token(&had[at], &a)) continue;
        a.special |= is_special(r, &a);
        status = add_one(r, a, had, had_count, nib_special_files[r->use_map ? ADDED : CONFIG],
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
    return nib_post_set(r->t, bos ? s->bos.id : -1, eos ? s->eos.id : -1, nib_special_files[CONFIG],
                        err);
}

static nib_status set_prefix_space(reading *r, nib_error *err)
{
    const json_t *pre = json_object_get(r->t->json, "pre_tokenizer");
    const char *where;
    const json_t *v = nib_special_value(r, "add_prefix_space", &where);
    nib_stages *stages = &r->t->pretokenizers;
    bool prefix = r->class->flags & NIB_CLASS_PREFIX, given;
    nib_status status = get_flag(r, "add_prefix_space", &prefix, &given, err);

    if (status) return status;
    if (strcmp(nib_stage_type(pre), "ByteLevel") == 0 &&
        (given || (!v && !(r->class->flags & NIB_CLASS_FROM_SLOW))))
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
    const json_t *v = nib_special_value(r, key, &where);
    bool given;

    if (v && json_is_null(v) && byte_level)
        *out = true;
    else if (v && json_is_null(v))
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is null, expected true or false", where, key);
    else
        return get_flag(r, key, out, &given, err);
    return NIB_OK;
}

static nib_status set_trimming(reading *r, nib_error *err)
{
    const json_t *post = json_object_get(r->t->json, "post_processor");
    const char *type = nib_stage_type(post);
    bool byte_level = strcmp(type, "ByteLevel") == 0, trim = true,
         prefix = r->class->flags & NIB_CLASS_PREFIX;
    nib_status status;

    if (!byte_level && strcmp(type, "RobertaProcessing") != 0) return NIB_OK;
    status = get_trimming(r, "trim_offsets", byte_level, &trim, err);
    if (!status) status = get_trimming(r, "add_prefix_space", byte_level, &prefix, err);
    r->t->trim_offsets = trim;
    r->t->trim_prefix_space = prefix;
    return status;
}

/* The classes of BERT's kind go by their own arguments, whatever tokenizer.json's BertNormalizer
 * says: an absent do_lower_case is true there. */
static nib_status set_bert(reading *r, nib_error *err)
{
    static const char *const keys[] = { "do_lower_case", "tokenize_chinese_chars",
                                        "strip_accents" };
    const json_t *j = json_object_get(r->t->json, "normalizer");
    const char *where;
    bool values[] = { true, true, false }, given = false;
    nib_bert_rules rules = nib_bert_rules_of(j);
    nib_status status = NIB_OK;

    if (strcmp(nib_stage_type(j), "BertNormalizer") != 0) return NIB_OK;
    for (size_t i = 0; i < NIB_COUNT(keys) && !status; i++) {
        const json_t *v = nib_special_value(r, keys[i], &where);

        if (i < 2 && json_is_null(v))
            return nib_fail(err, NIB_E_FORMAT, "%s: %s is null, expected true or false", where,
                            keys[i]);
        status = get_flag(r, keys[i], &values[i], &given, err);
    }
    if (status) return status;
    rules.lowercase = values[0];
    if (r->class->flags & NIB_CLASS_CHINESE) rules.chinese = values[1];
    rules.strips = given ? values[2] : values[0];
    nib_stages_free(r->t, &r->t->normalizers);
    return nib_stages_add_bert(r->t, rules, nib_special_files[CONFIG], &r->t->normalizers, err);
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
    const json_t *split = nib_special_value(r, "split_special_tokens", &where);
    bool given;
    nib_status status = get_flag(r, "clean_up_tokenization_spaces", &r->t->cleans_up, &given, err);

    if (!status) status = set_prefix_space(r, err);
    if (status) return status;
    if (split && json_is_null(split))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: split_special_tokens is null, expected true or false", where);
    status = get_flag(r, "split_special_tokens", &r->t->split_special, &given, err);
    if (!status && r->class->flags & NIB_CLASS_TRIMS) status = set_trimming(r, err);
    if (!status && r->class->flags & NIB_CLASS_BERT) status = set_bert(r, err);
    if (!status && r->class->flags & NIB_CLASS_NO_BOS) status = refuse_bos(r, err);
    if (!status && r->class->flags & NIB_CLASS_REBUILDS) status = rebuild_post(r, err);
    return status;
}

/* --- the ends of a text --- */

static nib_status read_ends(reading *r, int file, nib_error *err)
{
    nib_special_tokens *s = &r->t->special_tokens;
    const json_t *eos = json_object_get(r->files[file], "eos_token_id");
    size_t n;

    if (!eos) /* of the text inside a model of several media */
        eos = json_object_get(json_object_get(r->files[file], "text_config"), "eos_token_id");
    n = json_is_array(eos) ? json_array_size(eos) : eos && !json_is_null(eos);
    if (s->end_count || n == 0) return NIB_OK;
    if (n > NIB_MOST_ENDS)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %zu end tokens, at most %d",
                        nib_special_files[file], n, NIB_MOST_ENDS);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_is_array(eos) ? json_array_get(eos, i) : eos;
        if (!json_is_integer(id) || json_integer_value(id) < 0)
            return nib_fail(err, NIB_E_FORMAT, "%s: eos_token_id is not a token id",
                            nib_special_files[file]);
        s->ends[s->end_count++] = json_integer_value(id);
    }
    s->ends_where = nib_special_files[file];
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

nib_status nib_special_read(reading *r, const char *dir, nib_error *err)
{
    nib_status status = read_files(r, dir, err);

    r->found = r->files[CONFIG] || r->files[MAP] || r->files[MODEL];
    if (status || !r->found) return status;
    status = find_class(r, err);
    return status ? status : nib_special_extra_ids(r, err);
}

nib_status nib_special_apply(reading *r, nib_error *err)
{
    nib_status status;

    if (!r->found) return NIB_OK;
    if ((status = check_keys(r, err)) ||
        (status = r->use_map ? nib_special_added_file(r, err) : nib_special_decoder(r, err)) ||
        (status = nib_special_named(r, err)) || (status = add_all(r, err)))
        return status;
    set_ids(r->t);
    status = apply_class(r, err);
    return status ? status : find_ends(r, err);
}

void nib_special_free(reading *r)
{
    nib_free(r->t->ctx, r->decoder);
    nib_free(r->t->ctx, r->specials);
}
