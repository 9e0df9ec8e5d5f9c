/* preview.c - the data of a training run before any weight is loaded. */
#include "nibble/preview.h"

#include <stdlib.h>
#include <time.h>

#include "job/finetune_job.h"
#include "model/model.h"
#include "train/data.h"

typedef struct preview {
    nib_ctx *ctx;
    const nib_preview_options *o;
    nib_tokenizer *tokenizer;
    nib_dataset *data;
    int max_seq_length;        /* NIB_OPEN: the longest record */
    nib_preview_token *tokens; /* [longest] */
    nib_text text;             /* of the record at hand */
} preview;

/* What is open is as finetune has it then. */
static nib_data_options settle(const nib_preview_options *o)
{
    nib_finetune_options f;

    nib_finetune_defaults(&f);
    f.data = o->data;
    f.full = o->full;
    f.train_head_only = o->train_head_only;
    nib_finetune_settle_defaults(&f, NIB_TASK_CAUSAL_LM);
    return f.data;
}

/* What is trained of other records no text with marks shows. */
static nib_status check_task(const preview *p, nib_error *err)
{
    nib_purpose purpose;
    json_t *json = NULL;
    nib_config *config = NULL;
    nib_status status = nib_config_open(p->ctx, p->o->model, false, &json, &config, err);

    if (!status)
        status = nib_purpose_read(json, config->arch, NULL, p->o->model, &purpose, err);
    if (!status && purpose.task != NIB_TASK_CAUSAL_LM)
        status = nib_fail(err, NIB_E_UNSUPPORTED,
                          "%s: a model for %s; preview shows the records of models that write "
                          "text: `nibble finetune --dry-run` reads and counts those of others",
                          p->o->model, nib_task_name(purpose.task));
    json_decref(json);
    nib_config_free(p->ctx, config);
    return status;
}

static nib_status open_data(preview *p, nib_error *err)
{
    const nib_preview_options *o = p->o;
    nib_data_options data = settle(o);
    nib_dataset_source source = { .options = &data, .model_dir = o->model, .labels_matter = true,
                                  .now = (int64_t)time(NULL) };
    json_t *json = NULL;
    nib_outline outline;
    nib_status status = check_task(p, err);

    if (!status) status = nib_tokenizer_open_any(p->ctx, o->model, &p->tokenizer, err);
    if (!status) status = nib_config_outline(p->ctx, o->model, &json, &outline, err);
    if (status) goto done;
    p->max_seq_length = data.max_seq_length;
    source.tokenizer = p->tokenizer;
    source.vocabulary = (uint32_t)outline.vocabulary;
    source.positions = outline.positions;
    status = nib_dataset_open(p->ctx, &source, &p->data, err);
    if (status) goto done;
    nib_dataset_warn_ends(p->data);
    p->text.ctx = p->ctx;
    p->tokens = nib_new_array(p->ctx, nib_max(nib_dataset_counts(p->data).longest, 1),
                              sizeof *p->tokens);
    if (!p->tokens) status = nib_fail(err, NIB_E_NOMEM, "preview: out of memory");
done:
    json_decref(json);
    return status;
}

/* --- records --- */

/* The text each token adds.  bytes are set as the text grows, which may move; then the pointers. */
static nib_status fill_texts(preview *p, nib_record r, nib_error *err)
{
    nib_text_stream *stream = NULL;
    const char *piece;
    size_t bytes, at = 0;
    nib_status status = NIB_OK;

    p->text.bytes = 0;
    if (!p->tokenizer) return NIB_OK;
    status = nib_text_stream_create(p->tokenizer, false, &stream, err);
    for (uint32_t i = 0; i < r.length && !status; i++) {
        status = nib_text_stream_push(stream, r.ids[i], &piece, &bytes, err);
        if (status) break;
        nib_text_put(&p->text, piece, bytes);
        p->tokens[i].bytes = bytes;
    }
    if (!status) status = nib_text_stream_finish(stream, &piece, &bytes, err);
    if (!status && r.length) {
        nib_text_put(&p->text, piece, bytes);
        p->tokens[r.length - 1].bytes += bytes;
    }
    nib_text_stream_destroy(stream);
    if (!status && p->text.failed) status = nib_fail(err, NIB_E_NOMEM, "preview: out of memory");
    for (uint32_t i = 0; i < r.length && !status; at += p->tokens[i++].bytes)
        p->tokens[i].text = p->text.data + at;
    return status;
}

static nib_status show(preview *p, size_t i, bool *more, nib_error *err)
{
    nib_record r = nib_dataset_record(p->data, i);
    nib_preview_record out = { .number = i + 1, .length = r.length, .supervised = r.targets,
                               .tokens = p->tokens };
    nib_status status;

    for (uint32_t k = 0; k < r.length; k++)
        p->tokens[k] = (nib_preview_token){ .id = r.ids[k], .text = "", .trained = r.trained[k],
                                            .special = p->tokenizer &&
                                                nib_tokenizer_is_special(p->tokenizer, r.ids[k]) };
    status = fill_texts(p, r, err);
    if (!status) *more = p->o->on_record(p->o->user, &out);
    return status;
}

/* --- statistics --- */

static int by_size(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* A width of 1, 2 or 5 times a power of ten that needs few buckets. */
static uint32_t bucket_width(uint32_t longest)
{
    uint32_t width = 1;

    for (unsigned step = 0; (longest + width - 1) / width > NIB_PREVIEW_BUCKETS; step++)
        width = step % 3 == 1 ? width / 2 * 5 : width * 2;
    return width;
}

static nib_status measure(preview *p, nib_preview_report *r, nib_error *err)
{
    size_t n = nib_dataset_count(p->data);
    uint32_t *lengths = nib_new_array(p->ctx, n, sizeof *lengths), width;

    if (!lengths) return nib_fail(err, NIB_E_NOMEM, "preview: out of memory");
    for (size_t i = 0; i < n; i++) lengths[i] = nib_dataset_record(p->data, i).length;
    qsort(lengths, n, sizeof *lengths, by_size);
    r->shortest = lengths[0];
    r->median = lengths[n / 2];
    r->longest = lengths[n - 1];
    width = bucket_width(r->longest);
    r->bucket_count = (r->longest + width - 1) / width;
    for (size_t b = 0; b < r->bucket_count; b++) {
        r->buckets[b].first = (uint32_t)b * width + 1;
        r->buckets[b].last = (uint32_t)(b + 1) * width;
    }
    for (size_t i = 0; i < n; i++) r->buckets[(lengths[i] - 1) / width].records++;
    nib_free(p->ctx, lengths);
    return NIB_OK;
}

static nib_status report(preview *p, nib_error *err)
{
    nib_data_counts c = nib_dataset_counts(p->data);
    const nib_special_token *eos = p->tokenizer ? &nib_tokenizer_special(p->tokenizer)->eos : NULL;
    nib_preview_report r = {
        .shape = nib_shape_name(nib_dataset_shape(p->data)),
        .chat_template = nib_dataset_template(p->data), .end_token = eos ? eos->content : NULL,
        .end_token_where = eos ? eos->where : NULL, .read = c.records,
        .records = nib_dataset_count(p->data), .truncated = c.truncated, .empty = c.empty,
        .masked_out = c.masked_out, .bad = c.bad, .duplicates = c.duplicates,
        .duplicate_bos = c.had_bos, .ends = c.ends, .too_long = c.too_long,
        .max_seq_length = p->max_seq_length == NIB_OPEN ? (int)c.longest_read : p->max_seq_length
    };
    nib_status status = measure(p, &r, err);

    nib_dataset_epoch_tokens(p->data, &r.tokens, &r.supervised);
    r.sources = nib_dataset_sources(p->data, &r.source_count);
    if (!status && p->o->on_report) p->o->on_report(p->o->user, &r);
    return status;
}

nib_status nib_preview(nib_ctx *ctx, const nib_preview_options *options, nib_error *err)
{
    preview p = { .ctx = ctx, .o = options };
    bool more = options->on_record != NULL;
    nib_status status = open_data(&p, err);

    for (size_t i = 0; !status && more && i < options->records && i < nib_dataset_count(p.data);
         i++) {
        if (nib_should_stop(ctx)) status = nib_fail(err, NIB_E_INTERRUPTED, "interrupted");
        else status = show(&p, i, &more, err);
    }
    if (!status) status = report(&p, err);
    if (!status) status = nib_warnings_check(ctx, err);
    nib_warnings_repeat(ctx);
    nib_text_free(&p.text);
    nib_free(ctx, p.tokens);
    nib_dataset_close(p.data);
    nib_tokenizer_close(p.tokenizer);
    return status;
}
