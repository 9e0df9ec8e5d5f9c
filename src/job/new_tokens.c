/* new_tokens.c - see new_tokens.h.  What is new and what is not: transformers' add_tokens(), but
 * that an added token stays as it is, where the reference would take its properties away. */
#include "job/new_tokens.h"

#include <stdio.h>

#include "base/filemap.h"

enum { FILE_BYTES = 64 << 20, MOST_ID = 1 << 24, NAMES = 300 };

/* --- the file --- */

static nib_status no_memory(const char *path, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
}

/* One line of a text, or of a .jsonl file; empty ones of a .jsonl file are no records. */
static nib_status read_line(const char *path, size_t number, const char *line, size_t bytes,
                            bool json, json_t *to, nib_error *err)
{
    char where[400];
    json_t *value = NULL;
    nib_status status = NIB_OK;

    snprintf(where, sizeof where, "%.300s: line %zu", path, number);
    if (!bytes && json) return NIB_OK;
    if (!bytes)
        return nib_fail(err, NIB_E_INVALID, "%s is empty: a token has at least a character; take "
                        "the line out", where);
    if (json) {
        status = nib_json_parse(line, bytes, where, NIB_JSON_ANY_VALUE | NIB_JSON_ONE_LINE, &value,
                                err);
    } else if (memchr(line, 0, bytes)) {
        status = nib_fail(err, NIB_E_FORMAT, "%s has a byte 0: a text file is expected", where);
    } else if (!(value = json_stringn(line, bytes))) {
        status = nib_fail(err, NIB_E_FORMAT, "%s is no UTF-8", where);
    }
    if (!status && json_array_append_new(to, value)) status = no_memory(path, err);
    return status;
}

static nib_status read_lines(const char *path, const char *text, size_t bytes, json_t *to,
                             nib_error *err)
{
    bool json = nib_ends_with(path, ".jsonl");
    size_t at = bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    nib_status status = NIB_OK;

    for (size_t number = 1; at < bytes && !status; number++) {
        const char *feed = memchr(text + at, '\n', bytes - at);
        size_t n = feed ? (size_t)(feed - text) - at : bytes - at, next = at + n + 1;
        if (n && text[at + n - 1] == '\r') n--;
        status = read_line(path, number, text + at, n, json, to, err);
        at = next;
    }
    return status;
}

static nib_status read_file(nib_new_tokens *list, const char *path, nib_error *err)
{
    char *text = NULL;
    size_t bytes;
    nib_status status;

    if (nib_ends_with(path, ".json")) {
        status = nib_json_read(list->ctx, path, 0, &list->json, err);
        if (!status && !json_is_array(list->json))
            status = nib_fail(err, NIB_E_FORMAT, "%s: an object, expected a list of tokens", path);
        return status;
    }
    list->json = json_array();
    if (!list->json) return no_memory(path, err);
    status = nib_file_read(list->ctx, path, FILE_BYTES, &text, &bytes, err);
    if (!status) status = read_lines(path, text, bytes, list->json, err);
    nib_free(list->ctx, text);
    return status;
}

/* --- one token --- */

static nib_status read_object(const json_t *o, const char *where, nib_added_token *t,
                              nib_error *err)
{
    static const char *const known[] = { "content", "special", "lstrip", "rstrip", "normalized",
                                         "single_word", "__type" };
    const char *key;
    json_t *value;
    nib_status status = NIB_OK;

    json_object_foreach((json_t *)(uintptr_t)o, key, value) {
        bool found = false;
        for (size_t i = 0; i < NIB_COUNT(known); i++) found |= strcmp(key, known[i]) == 0;
        if (!found)
            return nib_fail(err, NIB_E_FORMAT, "%s: %.60s; known are content, special, lstrip, "
                            "rstrip, normalized and single_word%s", where, key,
                            strcmp(key, "id") == 0 ? " (ids follow from the vocabulary)" : "");
    }
    status = nib_json_get_string(o, where, "content", &t->content, err);
    if (!status) status = nib_json_get_bool(o, where, "special", &t->special, err);
    t->normalized = !t->special;
    if (!status) status = nib_json_get_bool(o, where, "lstrip", &t->lstrip, err);
    if (!status) status = nib_json_get_bool(o, where, "rstrip", &t->rstrip, err);
    if (!status) status = nib_json_get_bool(o, where, "normalized", &t->normalized, err);
    if (!status) status = nib_json_get_bool(o, where, "single_word", &t->single_word, err);
    return status;
}

static nib_status read_token(const char *path, size_t number, const json_t *value, bool special,
                             nib_added_token *t, nib_error *err)
{
    char where[400];
    bool chosen = json_is_object(value) && json_is_boolean(json_object_get(value, "normalized"));
    nib_status status = NIB_OK;

    snprintf(where, sizeof where, "%.300s: token %zu", path, number);
    *t = (nib_added_token){ .content = json_string_value(value), .special = special,
                            .normalized = !special };
    if (json_is_object(value)) status = read_object(value, where, t, err);
    else if (!t->content)
        status = nib_fail(err, NIB_E_FORMAT, "%s: neither a text nor an object", where);
    if (status) return status;
    t->special |= special;
    if (!chosen) t->normalized = !t->special;
    if (!t->content || !*t->content)
        return nib_fail(err, NIB_E_INVALID, "%s: %s", where,
                        t->content ? "is empty: a token has at least a character"
                                   : "content is missing");
    return NIB_OK;
}

nib_status nib_new_tokens_read(nib_ctx *ctx, const char *path, bool special, nib_new_tokens *out,
                               nib_error *err)
{
    nib_new_tokens list = { .ctx = ctx };
    nib_status status = read_file(&list, path, err);

    if (!status && !json_array_size(list.json))
        status = nib_fail(err, NIB_E_INVALID, "%s: has no token; a token a line is expected, or in "
                          ".json a list", path);
    if (!status && json_array_size(list.json) > MOST_ID)
        status = nib_fail(err, NIB_E_INVALID, "%s: %zu tokens, at most %d", path,
                          json_array_size(list.json), MOST_ID);
    if (!status) {
        list.count = json_array_size(list.json);
        list.items = nib_new_array(ctx, list.count, sizeof *list.items);
        if (!list.items) status = no_memory(path, err);
    }
    for (size_t i = 0; !status && i < list.count; i++)
        status = read_token(path, i + 1, json_array_get(list.json, i), special,
                            &list.items[i].token, err);
    if (status) nib_new_tokens_free(&list);
    else *out = list;
    return status;
}

void nib_new_tokens_free(nib_new_tokens *list)
{
    nib_free(list->ctx, list->items);
    json_decref(list->json);
    *list = (nib_new_tokens){ 0 };
}

/* --- numbers --- */

static nib_status number_token(nib_new_tokens *list, nib_new_token *t, const nib_tokenizer *known,
                               json_t *seen, const char *path, nib_error *err)
{
    const char *content = t->token.content;
    int64_t id = nib_tokenizer_find(known, content);

    if (json_object_get(seen, content)) t->kind = NIB_TOKEN_REPEATED;
    else if (id < 0) t->kind = NIB_TOKEN_NEW;
    else if (nib_tokenizer_is_added(known, (uint32_t)id)) t->kind = NIB_TOKEN_PRESENT;
    else t->kind = NIB_TOKEN_MARKED;
    list->of_kind[t->kind]++;
    t->token.id = id >= 0 ? (uint32_t)id : list->end;
    if (t->kind == NIB_TOKEN_NEW && list->end++ >= MOST_ID)
        return nib_fail(err, NIB_E_INVALID, "%s: more than %d tokens in all", path, MOST_ID);
    return json_object_set_new(seen, content, json_true()) ? no_memory(path, err) : NIB_OK;
}

/* "3 tokens that are there already stay as they are: 'a', 'b', ..." */
static void note_kind(const nib_new_tokens *list, const char *path, nib_new_token_kind kind,
                      const char *what)
{
    char names[NAMES] = "";
    size_t used = 0, n = 0;

    for (size_t i = 0; i < list->count; i++) {
        const char *content = list->items[i].token.content;
        if (list->items[i].kind != kind) continue;
        n++;
        if (used + strlen(content) + 8 < sizeof names)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s'%s'", used ? ", " : "",
                                     content);
        else if (used && names[used - 1] != '.')
            used += (size_t)snprintf(names + used, sizeof names - used, ", ...");
    }
    if (n) nib_note(list->ctx, "%s: %zu of %zu tokens %s: %s", path, n, list->count, what, names);
}

nib_status nib_new_tokens_number(nib_new_tokens *list, const nib_tokenizer *t, const char *path,
                                 nib_error *err)
{
    json_t *seen = json_object();
    int64_t next = nib_tokenizer_next_id(t);
    nib_status status = seen ? NIB_OK : no_memory(path, err);

    if (!status && (size_t)next < nib_tokenizer_size(t))
        status = nib_fail(err, NIB_E_UNSUPPORTED, "the vocabulary has gaps: a new token would get "
                          "id %" PRId64 ", and the greatest is %zu", next,
                          nib_tokenizer_size(t) - 1);
    list->next = list->end = (uint32_t)next;
    for (size_t i = 0; !status && i < list->count; i++)
        status = number_token(list, &list->items[i], t, seen, path, err);
    json_decref(seen);
    if (status) return status;
    note_kind(list, path, NIB_TOKEN_PRESENT, "had been added before and stay as they are");
    note_kind(list, path, NIB_TOKEN_MARKED,
              "are words of the vocabulary: they keep their ids and are found whole now");
    note_kind(list, path, NIB_TOKEN_REPEATED, "come again");
    return NIB_OK;
}
