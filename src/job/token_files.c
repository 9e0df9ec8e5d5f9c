/* token_files.c - see token_files.h; the forms are those that tokenizers 0.22 and transformers
 * 4.57.6 write. */
#include "job/token_files.h"

#include "base/filemap.h"
#include "base/outfile.h"
#include "format/json_append.h"
#include "text/tokenizer_parse.h"

enum { FILE_BYTES = 512 << 20 };

/* --- what is added --- */

typedef void write_fn(nib_text *t, const nib_added_token *token);

static const char *boolean(bool b) { return b ? "true" : "false"; }

/* of tokenizer.json's added_tokens */
static void write_added(nib_text *t, const nib_added_token *token)
{
    nib_text_printf(t, "\n    {\n      \"id\": %" PRIu32 ",\n      \"content\": ", token->id);
    nib_text_json_string(t, token->content, false);
    nib_text_printf(t, ",\n      \"single_word\": %s,\n      \"lstrip\": %s,\n      \"rstrip\": %s,"
                    "\n      \"normalized\": %s,\n      \"special\": %s\n    }",
                    boolean(token->single_word), boolean(token->lstrip), boolean(token->rstrip),
                    boolean(token->normalized), boolean(token->special));
}

static void write_properties(nib_text *t, const nib_added_token *token)
{
    nib_text_puts(t, "{\n      \"content\": ");
    nib_text_json_string(t, token->content, false);
    nib_text_printf(t, ",\n      \"lstrip\": %s,\n      \"normalized\": %s,\n      \"rstrip\": %s,"
                    "\n      \"single_word\": %s", boolean(token->lstrip),
                    boolean(token->normalized), boolean(token->rstrip),
                    boolean(token->single_word));
}

/* of added_tokens_decoder */
static void write_decoder(nib_text *t, const nib_added_token *token)
{
    nib_text_printf(t, "\n    \"%" PRIu32 "\": ", token->id);
    write_properties(t, token);
    nib_text_printf(t, ",\n      \"special\": %s\n    }", boolean(token->special));
}

/* of special_tokens_map.json */
static void write_special_object(nib_text *t, const nib_added_token *token)
{
    nib_text_puts(t, "\n    ");
    write_properties(t, token);
    nib_text_puts(t, "\n    }");
}

static void write_special_text(nib_text *t, const nib_added_token *token)
{
    nib_text_puts(t, "\n    ");
    nib_text_json_string(t, token->content, false);
}

/* of added_tokens.json */
static void write_id(nib_text *t, const nib_added_token *token)
{
    nib_text_puts(t, "\n  ");
    nib_text_json_string(t, token->content, false);
    nib_text_printf(t, ": %" PRIu32, token->id);
}

/* Those that are put, or of them the special ones alone; false: there are none. */
static bool list_items(const nib_new_tokens *list, bool special, write_fn *write, nib_text *t)
{
    for (size_t i = 0; i < list->count; i++) {
        const nib_added_token *token = &list->items[i].token;
        if (!nib_new_token_is_put(&list->items[i]) || (special && !token->special)) continue;
        if (t->bytes) nib_text_puts(t, ",");
        write(t, token);
    }
    return t->bytes != 0;
}

/* --- a file --- */

typedef struct file {
    nib_ctx *ctx;
    const nib_tokenizer *known;
    const nib_new_tokens *list;
    char *path;
    nib_text text;
    json_t *json; /* what it holds as it was */
} file;

static nib_status read_file(file *f, const char *dir, const char *name, const char *instead,
                            nib_error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    nib_status status = NIB_OK;

    f->path = nib_sprintf(f->ctx, "%s/%s", dir, name);
    f->text.ctx = f->ctx;
    if (!f->path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    if (nib_file_exists(f->path)) {
        status = nib_file_read(f->ctx, f->path, FILE_BYTES, &text, &bytes, err);
        if (!status) nib_text_put(&f->text, text, bytes);
    } else if (instead) {
        nib_text_puts(&f->text, instead);
    } else return NIB_OK;
    nib_free(f->ctx, text);
    if (!status && f->text.failed)
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", f->path);
    if (!status)
        status = nib_json_parse(f->text.data, f->text.bytes, f->path, NIB_JSON_BIG_NUMBERS,
                                &f->json, err);
    if (!status && !json_is_object(f->json))
        status = nib_fail(err, NIB_E_FORMAT, "%s: not an object", f->path);
    return status;
}

static void free_file(file *f)
{
    nib_text_free(&f->text);
    nib_free(f->ctx, f->path);
    json_decref(f->json);
}

static nib_status append_items(file *f, const char *key, char kind, const nib_text *items,
                               nib_error *err)
{
    nib_text changed = { .ctx = f->ctx };
    nib_status status = NIB_OK;

    if (items->failed) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", f->path);
    if (!items->bytes) return NIB_OK;
    status = nib_json_append(f->text.data, f->path, key, kind, items->data, &changed, err);
    if (status) {
        nib_text_free(&changed);
        return status;
    }
    nib_text_free(&f->text);
    f->text = changed;
    return NIB_OK;
}

/* special: the special ones alone. */
static nib_status append(file *f, const char *key, char kind, bool special, write_fn *write,
                         nib_error *err)
{
    nib_text items = { .ctx = f->ctx };
    nib_status status;

    list_items(f->list, special, write, &items);
    status = append_items(f, key, kind, &items, err);
    nib_text_free(&items);
    return status;
}

/* What is added to tokenizer.json when a tokenizer is opened: ids that are not in it. */
static nib_status append_carried(file *f, nib_error *err)
{
    nib_text items = { .ctx = f->ctx };
    nib_tokenizer *alone = NULL;
    nib_added_token token;
    nib_status status = nib_tokenizer_parse(f->ctx, f->text.data, f->text.bytes, f->path, &alone,
                                            err);

    if (status) return status;
    for (int64_t id = nib_tokenizer_next_id(alone); id < (int64_t)f->list->next; id++) {
        if (!nib_tokenizer_added(f->known, (uint32_t)id, &token)) continue;
        if (items.bytes) nib_text_puts(&items, ",");
        write_added(&items, &token);
    }
    status = append_items(f, "added_tokens", '[', &items, err);
    nib_text_free(&items);
    nib_tokenizer_close(alone);
    return status;
}

/* The result is read again, so that nothing that is no JSON is ever put. */
static nib_status put_file(file *f, nib_error *err)
{
    json_t *again = NULL;
    nib_status status = nib_json_parse(f->text.data, f->text.bytes, f->path, NIB_JSON_BIG_NUMBERS,
                                       &again, err);

    json_decref(again);
    return status ? status
                  : nib_outfile_replace(f->ctx, f->path, f->text.data, f->text.bytes, err);
}

static nib_status write_tokenizer(file *f, const char *dir, nib_error *err)
{
    nib_status status = read_file(f, dir, "tokenizer.json", NULL, err);

    if (!status) status = append_carried(f, err);
    if (!status) status = append(f, "added_tokens", '[', false, write_added, err);
    return status ? status : put_file(f, err);
}

static nib_status write_config(file *f, const char *dir, nib_error *err)
{
    nib_status status = read_file(f, dir, "tokenizer_config.json", NULL, err);
    bool fifth = json_is_array(json_object_get(f->json, "extra_special_tokens"));

    if (status || !f->json) return status;
    /* files without the member leave that to tokenizer.json */
    if (json_object_get(f->json, "added_tokens_decoder"))
        status = append(f, "added_tokens_decoder", '{', false, write_decoder, err);
    if (!status)
        status = append(f, fifth ? "extra_special_tokens" : "additional_special_tokens", '[', true,
                        write_special_text, err);
    return status ? status : put_file(f, err);
}

static nib_status write_map(file *f, const char *dir, nib_error *err)
{
    char *config = nib_sprintf(f->ctx, "%s/tokenizer_config.json", dir);
    bool needed = config && !nib_file_exists(config);
    nib_status status = config ? read_file(f, dir, "special_tokens_map.json",
                                           needed ? "{\n}\n" : NULL, err)
                               : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);

    nib_free(f->ctx, config);
    if (status || !f->json) return status;
    status = append(f, "additional_special_tokens", '[', true, write_special_object, err);
    return status ? status : put_file(f, err);
}

/* The form before added_tokens_decoder: {"token": id}, the whole file. */
static nib_status write_ids(file *f, const char *dir, nib_error *err)
{
    nib_text items = { .ctx = f->ctx }, changed = { .ctx = f->ctx };
    nib_status status = read_file(f, dir, "added_tokens.json", NULL, err);

    if (!status && f->json && list_items(f->list, false, write_id, &items)) {
        const char *close = strrchr(f->text.data, '}');
        nib_text_put(&changed, f->text.data, (size_t)(close - f->text.data));
        while (changed.bytes && strchr(" \t\r\n", changed.data[changed.bytes - 1])) changed.bytes--;
        nib_text_puts(&changed, json_object_size(f->json) ? "," : "");
        nib_text_puts(&changed, items.data ? items.data : "");
        nib_text_puts(&changed, "\n");
        nib_text_puts(&changed, close);
        if (items.failed || changed.failed)
            status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", f->path);
        nib_text_free(&f->text);
        f->text = changed;
        if (!status) status = put_file(f, err);
    }
    nib_text_free(&items);
    return status;
}

nib_status nib_token_files_write(nib_ctx *ctx, const char *dir, const nib_tokenizer *known,
                                 const nib_new_tokens *list, nib_error *err)
{
    typedef nib_status step(file *, const char *, nib_error *);
    static step *const steps[] = { write_tokenizer, write_config, write_map, write_ids };
    nib_status status = NIB_OK;

    for (size_t i = 0; !status && i < NIB_COUNT(steps); i++) {
        file f = { .ctx = ctx, .known = known, .list = list };
        status = steps[i](&f, dir, err);
        free_file(&f);
    }
    return status;
}
