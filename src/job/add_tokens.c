/* add_tokens.c - a model directory with new tokens: the tokenizer's files, config.json, and rows
 * for them where the tables have none left.
 *
 * Ids follow on the tokenizer's.  A table may have more rows than the tokenizer has tokens (many
 * models are padded to a multiple): those are used first, with the values that they have. */
#include "nibble/add_tokens.h"

#include "adapter/prompt_note.h"
#include "base/outfile.h"
#include "job/copy_directory.h"
#include "job/grown.h"
#include "job/python_json.h"
#include "job/quantize_config.h"
#include "job/token_files.h"
#include "text/model_file.h"

enum { PIECE_BYTES = 4 << 20, MOST_ROWS = 1 << 24 };
static const uint64_t shard_bytes = 5000000000u;

typedef struct run {
    nib_ctx *ctx;
    const nib_add_tokens_options *options;
    nib_model *model;     /* without weights: its graph */
    nib_tensors *tensors;
    nib_tokenizer *tokenizer;
    nib_new_tokens list;
    nib_grown grown;
    nib_outdir *out;
    nib_add_tokens_result result;
} run;

/* --- before anything is written --- */

static nib_status open_all(run *r, nib_error *err)
{
    const nib_add_tokens_options *o = r->options;
    const nib_model_options model = { .model = o->model };
    char *path;
    bool there;
    nib_status status;

    if (nib_model_is_gguf(o->model))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: a GGUF file, which is not written again here; "
                        "add the tokens to the directory that it was made of, and export that",
                        o->model);
    status = nib_quantize_check_places(o->model, o->out, err);
    if (!status) status = nib_new_tokens_read(r->ctx, o->tokens, o->special, &r->list, err);
    if (!status) status = nib_tokenizer_open(r->ctx, o->model, &r->tokenizer, err);
    if (status) return status;
    path = nib_sprintf(r->ctx, "%s/tokenizer.json", o->model);
    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", o->model);
    there = nib_file_exists(path);
    nib_free(r->ctx, path);
    if (!there)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: there is no tokenizer.json, which the tokens are put into; to make "
                        "one: python -c \"from transformers import AutoTokenizer as A; "
                        "A.from_pretrained('%s').save_pretrained('%s')\"", o->model, o->model,
                        o->model);
    status = nib_new_tokens_number(&r->list, r->tokenizer, o->tokens, err);
    if (!status) status = nib_model_open_blank(r->ctx, &model, NIB_F32, &r->model, err);
    if (!status) status = nib_tensors_open(r->ctx, o->model, &r->tensors, err);
    return status ? status : nib_grown_find(r->model, r->tensors, &r->grown, err);
}

/* Gemma's tables of other vectors by layer keep their number of words in the reference. */
static nib_status check_layers(const run *r, nib_error *err)
{
    static const char key[] = "vocab_size_per_layer_input";
    const json_t *text = json_object_get(r->model->json, "text_config");

    if (!json_object_get(r->model->json, key) && !json_object_get(text, key)) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s/config.json: %s: a second table by word, which "
                    "does not grow in the reference", r->options->model, key);
}

static nib_status plan_rows(run *r, nib_error *err)
{
    uint64_t multiple = r->options->pad_to_multiple_of, rows = r->list.end;

    if (multiple > MOST_ROWS)
        return nib_fail(err, NIB_E_INVALID, "pad_to_multiple_of %" PRIu64 ", at most %d", multiple,
                        MOST_ROWS);
    if (multiple) rows = (rows + multiple - 1) / multiple * multiple;
    if (rows > MOST_ROWS)
        return nib_fail(err, NIB_E_INVALID, "%" PRIu64 " rows, at most %d", rows, MOST_ROWS);
    r->result.rows_before = r->grown.before;
    r->result.rows_after = rows > r->grown.before ? rows : r->grown.before;
    if (r->list.end > r->list.next && r->list.next < r->grown.before)
        nib_note(r->ctx, "%s has %" PRIu64 " rows and the tokenizer %" PRIu32 " tokens: the first "
                 "%" PRIu64 " new tokens use rows that are there, with their values",
                 r->model->embedding->name, r->grown.before, r->list.next,
                 (r->list.end < r->grown.before ? r->list.end : r->grown.before) - r->list.next);
    if (r->result.rows_after == r->grown.before) return NIB_OK;
    return check_layers(r, err);
}

/* --- writing --- */

static uint64_t rows_of(const run *r, const nib_tensor *t)
{
    return nib_grown_of(&r->grown, t) ? r->result.rows_after : t->rank ? t->shape[0] : 0;
}

/* As they lie, the tables with more rows.  *bytes: of all. */
static nib_status plan_tensors(const run *r, nib_tensor_plan *plans, uint64_t *bytes,
                               nib_error *err)
{
    *bytes = 0;
    for (size_t i = 0; i < nib_tensors_count(r->tensors); i++) {
        const nib_tensor *t = nib_tensors_at(r->tensors, i);
        uint64_t each = nib_dtype_bytes(t->dtype);
        plans[i] = (nib_tensor_plan){ .name = t->name, .dtype = t->dtype, .rank = t->rank };
        memcpy(plans[i].shape, t->shape, sizeof plans[i].shape);
        if (!each)
            return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s has dtype %s, which cannot be written",
                            t->file, t->name, t->dtype_name);
        if (t->rank) plans[i].shape[0] = rows_of(r, t);
        *bytes += t->bytes;
        if (nib_grown_of(&r->grown, t))
            *bytes += (r->result.rows_after - r->result.rows_before) *
                      (t->rank == 2 ? t->shape[1] : 1) * each;
    }
    return NIB_OK;
}

static nib_status write_tensor(run *r, const nib_tensor *t, nib_tensor_writer *to, nib_error *err)
{
    const nib_grown_table *table = nib_grown_of(&r->grown, t);
    nib_status status = NIB_OK;

    for (uint64_t at = 0; !status && at < t->bytes; at += PIECE_BYTES) {
        size_t n = (size_t)(t->bytes - at < PIECE_BYTES ? t->bytes - at : PIECE_BYTES);
        status = nib_tensor_writer_put(to, (const uint8_t *)t->data + at, n, err);
        nib_filemap_release(t->map, (const uint8_t *)t->data + at, n);
    }
    return status || !table ? status : nib_grown_put(&r->grown, table, to, err);
}

static nib_status write_tensors(run *r, nib_tensor_writer *to, nib_error *err)
{
    size_t count = nib_tensors_count(r->tensors);
    nib_status status = NIB_OK;

    for (size_t i = 0; !status && i < count; i++) {
        const nib_tensor *t = nib_tensors_at(r->tensors, i);
        status = write_tensor(r, t, to, err);
        if (r->options->on_progress)
            r->options->on_progress(r->options->user, t->name, (double)(i + 1) / (double)count);
        if (!status && nib_should_stop(r->ctx))
            status = nib_fail(err, NIB_E_INTERRUPTED, "stopped; nothing is written");
    }
    return status ? status : nib_tensors_unchanged(r->tensors, err);
}

static nib_status write_weights(run *r, nib_error *err)
{
    size_t count = nib_tensors_count(r->tensors);
    nib_tensor_plan *plans = nib_new_array(r->ctx, count, sizeof *plans);
    char *merged = nib_merged_list(r->ctx, r->tensors, NULL, 0);
    const char *notes[5];
    nib_tensor_writer *writer = NULL;
    uint64_t bytes;
    nib_status status = plans && merged ? NIB_OK
                                        : nib_fail(err, NIB_E_NOMEM, "%zu tensors: out of memory",
                                                   count);

    nib_model_notes(merged, nib_prompt_note(r->tensors), notes);
    if (!status) status = plan_tensors(r, plans, &bytes, err);
    if (!status) status = nib_disk_check(r->ctx, nib_outdir_path(r->out), bytes, err);
    if (!status)
        status = nib_tensor_writer_create_noted(r->ctx, nib_outdir_path(r->out), "model", plans,
                                                count, shard_bytes, notes, &writer, err);
    nib_free(r->ctx, plans);
    nib_free(r->ctx, merged);
    if (!status) status = write_tensors(r, writer, err);
    if (!status) status = nib_tensor_writer_commit(writer, err);
    else if (writer) nib_tensor_writer_discard(writer);
    return status;
}

/* vocab_size as the reference sets it: the text's; of a wrapper that repeats it, both. */
static nib_status write_config(const run *r, nib_error *err)
{
    json_t *config = json_deep_copy(r->model->json), *text = json_object_get(config, "text_config");
    const json_int_t rows = (json_int_t)r->result.rows_after;
    const bool inner = r->model->config->wrapper && json_is_object(text);
    char *path = nib_sprintf(r->ctx, "%s/config.json", nib_outdir_path(r->out));
    bool good = config && path;
    nib_status status;

    if (good && inner) good = !json_object_set_new(text, "vocab_size", json_integer(rows));
    if (good && (!inner || json_object_get(config, "vocab_size")))
        good = !json_object_set_new(config, "vocab_size", json_integer(rows));
    status = good ? nib_python_json_write(r->ctx, path, config, err)
                  : nib_fail(err, NIB_E_NOMEM, "config.json: out of memory");
    json_decref(config);
    nib_free(r->ctx, path);
    return status;
}

/* --- what was written, read again --- */

/* Each has the id it was given; where a text of it alone does not become that, a warning. */
static nib_status check_tokens(run *r, const nib_tokenizer *t, nib_tokens *ids, nib_error *err)
{
    const nib_added_token *odd = NULL;
    size_t count = 0;
    nib_status status = NIB_OK;

    for (size_t i = 0; !status && i < r->list.count; i++) {
        const nib_added_token *token = &r->list.items[i].token;
        if (!nib_new_token_is_put(&r->list.items[i])) continue;
        if (nib_tokenizer_find(t, token->content) != (int64_t)token->id)
            return nib_fail(err, NIB_E_FORMAT, "'%s' has id %" PRId64 " in what was written, "
                            "expected %" PRIu32, token->content,
                            nib_tokenizer_find(t, token->content), token->id);
        ids->count = 0;
        status = nib_tokenizer_encode((nib_tokenizer *)(uintptr_t)t, token->content,
                                      strlen(token->content), false, ids, NULL, err);
        if (!status && (ids->count != 1 || ids->items[0].id != token->id) && !count++) odd = token;
    }
    if (odd)
        nib_warn_code(r->ctx, "token-in-parts", "%zu of the tokens are not found in a text of them "
                      "alone, the first '%s': the tokenizer changes the text before it looks for "
                      "them, or another token is found in it", count, odd->content);
    return status;
}

static nib_status read_again(run *r, nib_error *err)
{
    bool was = nib_quiet(r->ctx, true);
    nib_tokenizer *t = NULL;
    nib_tokens ids = { 0 };
    nib_status status = nib_tokenizer_open(r->ctx, nib_outdir_path(r->out), &t, err);

    nib_quiet(r->ctx, was);
    if (!status) status = check_tokens(r, t, &ids, err);
    nib_tokens_free(r->ctx, &ids);
    nib_tokenizer_close(t);
    return status;
}

/* --- the job --- */

static nib_status add_tokens(run *r, nib_error *err)
{
    const nib_add_tokens_options *o = r->options;
    nib_outdir *out;
    nib_status status = open_all(r, err);

    if (!status) status = plan_rows(r, err);
    if (!status) status = nib_outdir_create(r->ctx, o->out, o->overwrite, &r->out, err);
    if (!status) status = nib_quantize_drop_old(r->out, err);
    if (!status) status = nib_warnings_check(r->ctx, err); /* before anything is written */
    nib_warnings_repeat(r->ctx);
    if (!status && r->result.rows_after > r->result.rows_before)
        status = nib_grown_learn(&r->grown, r->result.rows_after, o->seed, err);
    if (!status) status = write_weights(r, err);
    if (!status) status = nib_copy_directory(r->ctx, o->model, nib_outdir_path(r->out), err);
    if (!status)
        status = nib_token_files_write(r->ctx, nib_outdir_path(r->out), r->tokenizer, &r->list,
                                       err);
    if (!status) status = write_config(r, err);
    if (!status) status = read_again(r, err);
    if (status) return status;
    out = r->out;
    r->out = NULL;
    return nib_outdir_commit(out, err);
}

nib_status nib_add_tokens(nib_ctx *ctx, const nib_add_tokens_options *options,
                          nib_add_tokens_result *result, nib_error *err)
{
    run r = { .ctx = ctx, .options = options };
    double start = nib_clock_seconds();
    nib_status status = add_tokens(&r, err);

    if (!status) {
        r.result.added = r.list.of_kind[NIB_TOKEN_NEW];
        r.result.first_id = r.list.next;
        r.result.marked = r.list.of_kind[NIB_TOKEN_MARKED];
        r.result.present = r.list.of_kind[NIB_TOKEN_PRESENT];
        r.result.repeated = r.list.of_kind[NIB_TOKEN_REPEATED];
        r.result.seconds = nib_clock_seconds() - start;
        if (result) *result = r.result;
    }
    nib_outdir_discard(r.out);
    nib_grown_free(&r.grown);
    nib_new_tokens_free(&r.list);
    nib_tokenizer_close(r.tokenizer);
    nib_tensors_close(r.tensors);
    nib_model_close(r.model);
    return status;
}
