/* calibrate_data.c - see calibrate_data.h. */
#include "job/calibrate_data.h"

#include <time.h>

#include "graph/run.h"
#include "text/tokenizer.h"

enum { BATCH_TOKENS = 2048, USUAL_RECORDS = 128, USUAL_LENGTH = 512,
       LEAST_SHARE = 8 /* tokens are at least the inputs of the widest matrix divided by it */ };

/* What chat templates write between turns.  One that is no token of the model at hand is a text of
 * another model's. */
static const char *const marks[] = {
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|begin_of_text|>",
    "<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>", "<end_of_turn>",
    "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|channel|>", "<|message|>",
    "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|start_of_role|>", "<|end_of_role|>",
};

static nib_status check_marks(const nib_calibration_data *d, const nib_quantize_options *o,
                              nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; d->tokenizer && i < d->used && !status; i++) {
        nib_record r = nib_dataset_record(d->records, i);
        char *text = NULL;
        size_t bytes = 0;
        status = nib_tokenizer_decode(d->tokenizer, r.ids, r.length, false, &text, &bytes, err);
        for (size_t k = 0; k < NIB_COUNT(marks) && !status; k++)
            if (strstr(text, marks[k]) && nib_tokenizer_find(d->tokenizer, marks[k]) < 0)
                status = nib_fail(err, NIB_E_INVALID,
                                  "%s: record %zu has %s, which is no token of %s: a text made for "
                                  "another model; give chats as messages, which this one's "
                                  "template renders, or take it out",
                                  o->calibration.data, i + 1, marks[k], o->model);
        nib_free(d->ctx, text);
    }
    return status;
}

static size_t widest_input(const nib_model *m)
{
    size_t widest = 0;

    for (size_t i = 0; i < m->linear_count; i++)
        if (m->linears[i] != m->head) widest = nib_max(widest, m->linears[i]->weight->in);
    return widest;
}

static nib_status check_amount(const nib_calibration_data *d, const nib_quantize_options *o,
                               const nib_model *m, nib_error *err)
{
    size_t inputs = widest_input(m);

    if (d->tokens * LEAST_SHARE < inputs)
        return nib_fail(err, NIB_E_INVALID,
                        "%s: %zu tokens of %zu records are too few to calibrate matrices of up to "
                        "%zu inputs: at least %zu are needed, as many as there are inputs are "
                        "good, and 128 records of 512 are usual",
                        o->calibration.data, d->tokens, d->used, inputs,
                        (size_t)nib_ceil_div(inputs, LEAST_SHARE));
    nib_note(d->ctx, "calibrated on %zu tokens of %zu records", d->tokens, d->used);
    if (d->tokens < inputs)
        nib_warn_code(d->ctx, "little-calibration",
                      "%s: %zu tokens for matrices of up to %zu inputs, which take at least as "
                      "many: what they do not show is guessed",
                      o->calibration.data, d->tokens, inputs);
    return nib_warnings_check(d->ctx, err);
}

static nib_status open_records(nib_calibration_data *d, const nib_quantize_options *o,
                               const nib_model *m, nib_error *err)
{
    nib_data_options data = o->calibration;
    nib_dataset_source source = { .options = &data, .model_dir = o->model, .keep_all = true,
                                  .unweighted = true,
                                  .vocabulary = (uint32_t)m->head->weight->out,
                                  .now = d->now };
    nib_status status = nib_tokenizer_open_any(d->ctx, o->model, &d->tokenizer, err);

    if (data.max_seq_length <= 0) data.max_seq_length = USUAL_LENGTH;
    source.tokenizer = d->tokenizer;
    return status ? status : nib_dataset_open(d->ctx, &source, &d->records, err);
}

/* Records go together until they have BATCH_TOKENS tokens. */
static nib_status make_batches(nib_calibration_data *d, const nib_quantize_options *o,
                               nib_error *err)
{
    size_t most = o->num_calibration_samples > 0 ? (size_t)o->num_calibration_samples
                                                 : USUAL_RECORDS;
    size_t now = 0;

    d->used = nib_min(nib_dataset_count(d->records), most);
    d->order = nib_new_array(d->ctx, nib_dataset_count(d->records), sizeof *d->order);
    d->first = nib_new_array(d->ctx, d->used + 1, sizeof *d->first);
    if (!d->order || !d->first)
        return nib_fail(err, NIB_E_NOMEM, "%zu records: out of memory", d->used);
    nib_dataset_order(d->records, false, 0, 0, d->order);
    for (size_t i = 0; i < d->used; i++) {
        size_t length = nib_dataset_record(d->records, i).length;
        if (now && now + length > BATCH_TOKENS) d->first[++d->batches] = (uint32_t)i, now = 0;
        now += length;
        d->tokens += length;
        d->widest = nib_max(d->widest, now);
    }
    d->first[++d->batches] = (uint32_t)d->used;
    return NIB_OK;
}

nib_status nib_calibration_data_open(nib_ctx *ctx, const nib_quantize_options *options,
                                     const nib_model *model, int64_t started,
                                     nib_calibration_data *d, nib_error *err)
{
    nib_status status;

    *d = (nib_calibration_data){ .ctx = ctx, .now = started ? started : (int64_t)time(NULL) };
    status = open_records(d, options, model, err);
    if (!status) status = make_batches(d, options, err);
    if (!status) status = check_marks(d, options, err);
    if (!status) status = check_amount(d, options, model, err);
    if (status) return status;
    d->rows = nib_new_array(ctx, d->widest, sizeof *d->rows);
    d->places = nib_new_array(ctx, d->batches + 1, sizeof *d->places);
    if (!d->rows || !d->places)
        return nib_fail(err, NIB_E_NOMEM, "%zu tokens: out of memory", d->widest);
    for (size_t i = 0; i < d->widest; i++) d->rows[i] = (uint32_t)i;
    return nib_batch_maker_init(ctx, model->graph, nib_dataset_count(d->records), d->widest,
                                d->widest, &d->maker, err);
}

void nib_calibration_data_close(nib_calibration_data *d)
{
    if (!d->ctx) return;
    if (d->file.base) nib_pagefile_close(&d->file);
    else nib_free(d->ctx, d->values);
    nib_batch_maker_free(&d->maker);
    nib_free(d->ctx, d->order);
    nib_free(d->ctx, d->first);
    nib_free(d->ctx, d->rows);
    nib_free(d->ctx, d->places);
    nib_dataset_close(d->records);
    nib_tokenizer_close(d->tokenizer);
    *d = (nib_calibration_data){ 0 };
}

nib_batch nib_calibration_batch(nib_calibration_data *d, size_t i)
{
    nib_batch b = *nib_batch_make(&d->maker, d->records, d->order + d->first[i],
                                  d->first[i + 1] - d->first[i], 0);

    b.axes[NIB_LOGIT_ROWS] = (nib_axis_rows){ .count = b.axes[NIB_TOKENS].count,
                                              .picks = d->rows };
    return b;
}

size_t nib_calibration_record(const nib_calibration_data *d, const nib_batch *b, size_t i,
                              size_t row)
{
    size_t s = 0;

    while (s + 1 < b->sequences && row >= b->axes[NIB_TOKENS].offsets[s + 1]) s++;
    return d->order[d->first[i] + s] + (size_t)1;
}

uint64_t nib_calibration_values_bytes(nib_calibration_data *d, const nib_graph *g)
{
    d->places[0] = 0;
    for (size_t i = 0; i < d->batches; i++) {
        nib_batch b = nib_calibration_batch(d, i);
        size_t most = 0;
        for (int s = 1; s < g->segments; s++) most = nib_max(most, nib_boundary_bytes(g, &b, s));
        d->places[i + 1] = d->places[i] + (size_t)nib_ceil_div(most, 64) * 64;
    }
    return d->places[d->batches];
}

nib_status nib_calibration_values_take(nib_calibration_data *d, const nib_graph *g,
                                       const char *dir, nib_error *err)
{
    size_t bytes = (size_t)nib_calibration_values_bytes(d, g);
    nib_status status = NIB_OK;

    if (dir) {
        status = nib_pagefile_create(d->ctx, dir, nib_max(bytes, 1), &d->file, err);
        d->values = d->file.base;
    } else {
        d->values = nib_alloc(d->ctx, nib_max(bytes, 1));
        if (!d->values)
            status = nib_fail(err, NIB_E_NOMEM, "the values at a layer's boundary, %zu bytes: out "
                              "of memory; give fewer samples (num_calibration_samples)", bytes);
    }
    return status;
}
