/* doctor_models.c - which of the known small models (known_models.h) fit this machine.
 *
 * Weights are in NF4 with quantized scales.  Training is LoRA of r 16 on all linears, with records
 * of TOKENS tokens one at a time; answering has texts as long.  The bytes are the plan's.  The
 * hours, for a million tokens, are those of a trial of the smallest model with random weights, in
 * proportion to the work of training (layers that are run again counted) and to the bytes that a
 * token of an answer reads. */
#include "nibble/inspect.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "adapter/adapter.h"
#include "base/outfile.h"
#include "generate/decoder.h"
#include "job/finetune_job.h"
#include "job/known_models.h"
#include "job/lora_options.h"
#include "job/memory.h"
#include "job/report.h"
#include "train/trainer.h"

enum { TOKENS = 1024, TRIAL_TOKENS = 128, TRIAL_WORDS = 16 };

typedef struct examining {
    nib_ctx *ctx;
    char dir[PATH_MAX];      /* of config.json and, for the trial, of a record */
    uint64_t baseline, available;
    double train_seconds;    /* the trial's, for a unit of training's work, */
    double answer_seconds;   /* and for a byte that a token reads */
} examining;

typedef struct sizes { /* of one model */
    uint64_t train_bytes, answer_bytes;
    double train_work;       /* of a token */
    double read_bytes;       /* for a token */
} sizes;

/* --- files --- */

static nib_status write_file(const examining *x, const char *name, const char *text, nib_error *err)
{
    char *path = nib_sprintf(x->ctx, "%s/%s", x->dir, name);
    nib_status status = path ? nib_outfile_replace(x->ctx, path, text, strlen(text), err)
                             : nib_fail(err, NIB_E_NOMEM, "doctor: out of memory");

    nib_free(x->ctx, path);
    return status;
}

static nib_status make_dir(examining *x, nib_error *err)
{
    const char *tmp = getenv("TMPDIR");
    int n = snprintf(x->dir, sizeof x->dir, "%s/nibble-doctor-XXXXXX", tmp && *tmp ? tmp : "/tmp");

    if (n < 0 || (size_t)n + 32 >= sizeof x->dir || !mkdtemp(x->dir)) {
        nib_status status = nib_fail(err, NIB_E_IO, "%s: %s", x->dir, strerror(errno));
        x->dir[0] = 0;
        return status;
    }
    return NIB_OK;
}

static void remove_dir(examining *x)
{
    static const char *const files[] = { "config.json", "record.jsonl" };
    char path[PATH_MAX + 32];

    for (size_t i = 0; i < NIB_COUNT(files) && x->dir[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", x->dir, files[i]);
        unlink(path);
    }
    if (x->dir[0]) rmdir(x->dir);
}

/* --- a model, planned --- */

/* With an adapter as finetune makes it. */
static nib_status open_blank(examining *x, const nib_known_model *known, nib_model **m,
                             nib_adapter **a, nib_error *err)
{
    static const nib_setting four_bit[] = { { "load_in_4bit", "true" },
                                            { "bnb_4bit_use_double_quant", "true" },
                                            { NULL, NULL } };
    const nib_model_options o = { .model = x->dir, .settings = four_bit };
    nib_peft_config config = nib_peft_config_default();
    nib_finetune_options defaults;
    nib_status status = write_file(x, "config.json", known->config, err);

    nib_finetune_defaults(&defaults);
    nib_finetune_settle_defaults(&defaults, NIB_TASK_CAUSAL_LM);
    if (!status)
        status = nib_model_open_blank(x->ctx, &o, nib_compute_type(x->ctx, NIB_COMPUTE_AUTO), m,
                                      err);
    if (!status) status = nib_lora_config(x->ctx, &defaults.lora, &config, err);
    if (!status) status = nib_adapter_create(*m, &config, 0, 42, a, err);
    nib_peft_config_free(x->ctx, &config);
    return status ? nib_fail_in(err, status, "%s", known->name) : NIB_OK;
}

static double products(const nib_model *m)
{
    double sum = 0;

    for (size_t i = 0; i < m->linear_count; i++)
        sum += (double)m->linears[i]->weight->in * (double)m->linears[i]->weight->out;
    return sum;
}

static nib_status plan_training(examining *x, nib_model *m, const nib_adapter *a, sizes *to,
                                nib_error *err)
{
    const double kept = 4, again = 6; /* of forward, backward, and forward once more */
    nib_finetune_options o;
    uint64_t fixed, paged = 0;
    nib_status status = NIB_OK;

    nib_finetune_defaults(&o);
    fixed = x->baseline + m->weight_bytes + nib_finetune_params_bytes(&a->params) +
            nib_optimizer_bytes(&a->params, &o.train, &paged);
    for (int kind = 0; kind < 2 && !status; kind++) {
        nib_plan *plan = NULL;
        status = nib_plan_create(m->graph, kind ? NIB_PLAN_CHECKPOINT : NIB_PLAN_KEEP,
                                 TOKENS, TOKENS, &plan, err);
        if (status) break;
        to->train_bytes = fixed + plan->arena_bytes +
                          nib_run_bytes(m->graph, plan, TOKENS);
        to->train_work = (kind ? again : kept) * products(m);
        nib_plan_destroy(x->ctx, plan);
        if (to->train_bytes <= x->available) break;
    }
    return status;
}

static nib_status plan_answering(examining *x, nib_model *m, sizes *to, nib_error *err)
{
    uint64_t decoder;
    nib_status status = nib_decoder_bytes(x->ctx, m->graph, TOKENS, 1, &decoder, err);

    if (status) return status;
    to->answer_bytes = x->baseline + m->weight_bytes + decoder +
                       nib_state_bytes(m->graph, TOKENS);
    to->read_bytes = (double)m->weight_bytes;
    if (!m->tied) to->read_bytes -= (double)m->embedding->weight->bytes; /* a row of it */
    return NIB_OK;
}

static nib_status measure(examining *x, nib_model *m, const nib_adapter *a, sizes *to,
                          nib_error *err)
{
    nib_status status = plan_training(x, m, a, to, err);

    return status ? status : plan_answering(x, m, to, err);
}

/* --- the trial --- */

static nib_status open_record(examining *x, nib_model *m, nib_dataset **data, nib_error *err)
{
    char path[PATH_MAX + 32], text[16 + 8 * TRIAL_TOKENS];
    nib_finetune_options o;
    nib_dataset_source source = { .options = &o.data, .task = NIB_TASK_CAUSAL_LM,
                                  .vocabulary = (uint32_t)m->head->weight->out };
    size_t used = (size_t)snprintf(text, sizeof text, "{\"input_ids\": [1");
    nib_status status;

    for (int i = 1; i < TRIAL_TOKENS; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, ",%d", 3 + i * 37 % 1000);
    snprintf(text + used, sizeof text - used, "]}\n");
    status = write_file(x, "record.jsonl", text, err);
    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    snprintf(path, sizeof path, "%s/record.jsonl", x->dir);
    o.data.data = path;
    return status ? status : nib_dataset_open(x->ctx, &source, data, err);
}

static nib_status try_training(examining *x, nib_model *m, nib_adapter *a, nib_error *err)
{
    nib_finetune_options o;
    nib_dataset *data = NULL;
    nib_trainer *t = NULL;
    double once, again;
    nib_status status = open_record(x, m, &data, err);

    nib_finetune_defaults(&o);
    nib_finetune_peft_defaults(&o);
    o.train.per_device_train_batch_size = 1;
    o.train.max_steps = 1;
    o.train.learning_rate = 1e-4;
    if (!status)
        status = nib_trainer_create(x->ctx, m->graph, &a->params, data, &o.train, UINT64_MAX, NULL,
                                    &t, err);
    if (!status) {
        once = nib_trainer_trial(t); /* with pages that come for the first time */
        again = nib_trainer_trial(t);
        x->train_seconds = fmin(once, again) / TRIAL_TOKENS / (4 * products(m));
    }
    nib_trainer_destroy(t);
    nib_dataset_close(data);
    return status;
}

static nib_status try_answering(examining *x, nib_model *m, const sizes *s, nib_error *err)
{
    nib_decoder *d = NULL;
    nib_state *state = NULL;
    double best = INFINITY;
    nib_status status = nib_decoder_create(x->ctx, m->graph, 2 * TRIAL_WORDS, 1, &d, err);

    if (!status) status = nib_state_create(x->ctx, m->graph, 2 * TRIAL_WORDS, &state, err);
    if (!status) {
        nib_conversation c = { state, NIB_NO_SLOT };
        uint32_t id = 5;
        status = nib_decoder_read(d, c, &id, 1, 1, err);
        for (uint32_t i = 0; i < TRIAL_WORDS && !status; i++) {
            double began = nib_clock_seconds();
            id = 7 + i;
            status = nib_decoder_next(d, &c, &id, 1, 1, err);
            best = fmin(best, nib_clock_seconds() - began);
        }
        x->answer_seconds = best / s->read_bytes;
    }
    nib_state_destroy(state);
    nib_decoder_destroy(d);
    return status;
}

/* --- all --- */

static json_t *row_of(const examining *x, const nib_known_model *known, const nib_model *m,
                      const sizes *s)
{
    const double million = 1e6 / 3600;

    return json_pack("{s:s, s:I, s:I, s:b, s:f, s:I, s:b, s:f}", "name", known->name, "parameters",
                     (json_int_t)m->parameters, "train_bytes", (json_int_t)s->train_bytes,
                     "train_fits", s->train_bytes <= x->available, "train_hours",
                     million * x->train_seconds * s->train_work, "answer_bytes",
                     (json_int_t)s->answer_bytes, "answer_fits", s->answer_bytes <= x->available,
                     "answer_hours", million * x->answer_seconds * s->read_bytes);
}

static nib_status examine(examining *x, size_t i, json_t *rows, nib_error *err)
{
    const nib_known_model *known = nib_known_model_at(i);
    nib_model *m = NULL;
    nib_adapter *a = NULL;
    sizes s = { 0 };
    nib_status status = open_blank(x, known, &m, &a, err);

    if (!status) status = measure(x, m, a, &s, err);
    if (!status && i == 0) { /* the smallest */
        status = nib_model_fill(m, (nib_model_progress){ 0 }, err);
        if (!status) status = try_training(x, m, a, err);
        if (!status) status = try_answering(x, m, &s, err);
    }
    if (!status && json_array_append_new(rows, row_of(x, known, m, &s)))
        status = nib_fail(err, NIB_E_NOMEM, "doctor: out of memory");
    nib_adapter_close(a);
    nib_model_close(m);
    return status;
}

/* [{ "name", "parameters", "train_bytes", "train_fits", "train_hours", "answer_bytes",
 * "answer_fits", "answer_hours" }, ...], the caller's. */
static nib_status examine_all(nib_ctx *ctx, json_t **out, nib_error *err)
{
    examining x = { .ctx = ctx, .baseline = nib_memory_resident() };
    json_t *rows = json_array();
    nib_status status = rows ? make_dir(&x, err)
                             : nib_fail(err, NIB_E_NOMEM, "doctor: out of memory");

    x.available = nib_memory_free() + x.baseline;
    for (size_t i = 0; nib_known_model_at(i) && !status; i++)
        status = nib_should_stop(ctx) ? nib_fail(err, NIB_E_INTERRUPTED, "interrupted")
                                      : examine(&x, i, rows, err);
    remove_dir(&x);
    if (status) json_decref(rows);
    else *out = rows;
    return status;
}

/* --- the report --- */

static void print_hours(FILE *to, bool fits, uint64_t bytes, double hours)
{
    fprintf(to, "  %7.2f GiB  ", (double)bytes / 1073741824);
    if (!fits) fprintf(to, "%8s", "too much");
    else fprintf(to, "%*.*f h", 6, hours < 1 ? 2 : 1, hours);
}

static nib_status print_table(nib_ctx *ctx, const json_t *rows, uint64_t available, char **out,
                              nib_error *err)
{
    char *text = NULL;
    size_t bytes, i;
    FILE *to = open_memstream(&text, &bytes);
    const json_t *row;
    bool bad;

    if (!to) return nib_fail(err, NIB_E_NOMEM, "doctor: out of memory");
    fprintf(to, "memory: %.2f GiB; weights in NF4, texts of %d tokens; hours are for a million "
            "tokens\n%-18s  %10s  %22s  %22s\n", (double)available / 1073741824,
            (int)TOKENS, "model", "parameters", "training (LoRA r 16)", "answering");
    json_array_foreach(rows, i, row) {
        fprintf(to, "%-18s  %8.2f B", json_string_value(json_object_get(row, "name")),
                json_number_value(json_object_get(row, "parameters")) / 1e9);
        print_hours(to, json_is_true(json_object_get(row, "train_fits")),
                    (uint64_t)json_integer_value(json_object_get(row, "train_bytes")),
                    json_number_value(json_object_get(row, "train_hours")));
        print_hours(to, json_is_true(json_object_get(row, "answer_fits")),
                    (uint64_t)json_integer_value(json_object_get(row, "answer_bytes")),
                    json_number_value(json_object_get(row, "answer_hours")));
        fputc('\n', to);
    }
    bad = ferror(to);
    bad |= fclose(to) != 0;
    *out = bad ? NULL : nib_strdup(ctx, text);
    free(text);
    return *out ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "doctor: out of memory");
}

nib_status nib_doctor_of_models(nib_ctx *ctx, nib_report_form form, char **out, nib_error *err)
{
    uint64_t available = nib_memory_free() + nib_memory_resident();
    json_t *rows = NULL, *report;
    nib_status status = examine_all(ctx, &rows, err);

    if (status) return status;
    if (form == NIB_REPORT_JSON) {
        report = json_pack("{s:I, s:i, s:O}", "available_bytes", (json_int_t)available, "tokens",
                           (int)TOKENS, "models", rows);
        status = report ? nib_report_make(ctx, report, form, out, err)
                        : nib_fail(err, NIB_E_NOMEM, "doctor: out of memory");
        json_decref(report);
    } else {
        status = print_table(ctx, rows, available, out, err);
    }
    json_decref(rows);
    return status;
}
