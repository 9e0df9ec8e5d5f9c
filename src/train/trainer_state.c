/* trainer_state.c - see trainer_state.h. */
#include "train/trainer_state.h"

#include <math.h>
#include <stdio.h>

#include "format/json.h"

static const char *const train_names[] = { "grad_norm", "learning_rate", "loss", NULL };
static const char *const eval_names[] = {
    "eval_accuracy", "eval_chrf", "eval_contains", "eval_exact", "eval_exact_match", "eval_f1",
    "eval_json_fields", "eval_json_valid", "eval_loss", "eval_matthews_correlation",
    "eval_mrr@10", "eval_mse",
    "eval_overall_f1", "eval_overall_precision", "eval_overall_recall",
    "eval_pearson", "eval_perplexity", "eval_recall@1", "eval_recall@10", "eval_recall@3",
    "eval_recall@5", "eval_rougeL", "eval_runtime", "eval_samples_per_second", "eval_spearmanr",
    "eval_steps_per_second", NULL
};
static const char *const end_names[] = { "peak_memory_bytes",
                                         "total_flos",
                                         "train_loss",
                                         "train_runtime",
                                         "train_samples_per_second",
                                         "train_steps_per_second",
                                         NULL };

const char *const *nib_log_names(nib_log_kind kind)
{
    return kind == NIB_LOG_TRAIN ? train_names : kind == NIB_LOG_EVAL ? eval_names : end_names;
}

void nib_trainer_state_init(nib_ctx *ctx, nib_trainer_state *out)
{
    *out = (nib_trainer_state){ .ctx = ctx, .best_metric = (double)NAN };
}

nib_status nib_trainer_state_reserve(nib_trainer_state *s, size_t entries, nib_error *err)
{
    return nib_grow(s->ctx, &s->log, &s->log_capacity, s->log_count + entries, sizeof *s->log)
               ? NIB_OK
               : nib_fail(err, NIB_E_NOMEM, "out of memory for a history of %zu entries", entries);
}

void nib_trainer_state_free(nib_trainer_state *s)
{
    if (!s->ctx) return;
    nib_free(s->ctx, s->best_model_checkpoint);
    nib_free(s->ctx, s->log);
    *s = (nib_trainer_state){ 0 };
}

void nib_trainer_state_log(nib_trainer_state *s, const nib_log_entry *e)
{
    assert(s->log_count < s->log_capacity);
    s->log[s->log_count++] = *e;
}

/* --- writing --- */

/* Python's round(x, decimals) but for the last bit of a tie. */
static double rounded(double x, int decimals)
{
    char text[400];
    double value = x;

    snprintf(text, sizeof text, "%.*f", decimals, x);
    sscanf(text, "%lf", &value);
    return value;
}

static double as_the_trainer(const char *name, double x)
{
    if (strcmp(name, "loss") == 0 || strstr(name, "_runtime")) return rounded(x, 4);
    return strstr(name, "_per_second") ? rounded(x, 3) : x;
}

static void put_key(nib_text *t, const char *before, const char *key)
{
    nib_text_puts(t, before);
    nib_text_printf(t, "\"%s\": ", key);
}

/* The members of an entry in order. */
static void put_members(nib_text *t, const nib_log_entry *e, const char *before,
                        const char *between, bool round)
{
    const char *const *names = nib_log_names(e->kind);
    bool step = false;

    put_key(t, before, "epoch");
    nib_text_json_float(t, e->epoch);
    for (size_t i = 0;; i++) {
        if (!step && (!names[i] || strcmp(names[i], "step") > 0)) {
            put_key(t, between, "step");
            nib_text_printf(t, "%" PRIu64, e->step);
            step = true;
        }
        if (!names[i]) break;
        if (!isfinite(e->values[i])) continue;
        put_key(t, between, names[i]);
        nib_text_json_float(t, round ? as_the_trainer(names[i], e->values[i]) : e->values[i]);
    }
}

void nib_log_entry_put(nib_text *t, const nib_log_entry *e)
{
    nib_text_puts(t, "{");
    put_members(t, e, "", ", ", false);
    nib_text_puts(t, "}");
}

static void put_history(nib_text *t, const nib_trainer_state *s)
{
    nib_text_puts(t, "  \"log_history\": [");
    for (size_t i = 0; i < s->log_count; i++) {
        nib_text_puts(t, i ? ",\n    {" : "\n    {");
        put_members(t, &s->log[i], "\n      ", ",\n      ", true);
        nib_text_puts(t, "\n    }");
    }
    nib_text_puts(t, s->log_count ? "\n  ],\n" : "],\n");
}

static const char *truth(bool b) { return b ? "true" : "false"; }

static void put_callbacks(nib_text *t, const nib_trainer_state *s)
{
    nib_text_puts(t, "  \"stateful_callbacks\": {\n");
    if (s->early_stopping_patience) {
        nib_text_printf(
            t,
            "    \"EarlyStoppingCallback\": {\n      \"args\": {\n"
            "        \"early_stopping_patience\": %d,\n        \"early_stopping_threshold\": ",
            s->early_stopping_patience);
        nib_text_json_float(t, s->early_stopping_threshold);
        nib_text_printf(
            t,
            "\n      },\n      \"attributes\": {\n        \"early_stopping_patience_counter\": %d\n"
            "      }\n    },\n",
            s->early_stopping_patience_counter);
    }
    nib_text_printf(
        t,
        "    \"TrainerControl\": {\n      \"args\": {\n        \"should_epoch_stop\": false,\n"
        "        \"should_evaluate\": %s,\n        \"should_log\": %s,\n"
        "        \"should_save\": %s,\n"
        "        \"should_training_stop\": %s\n      },\n      \"attributes\": {}\n    }\n  },\n",
        truth(s->should_evaluate), truth(s->should_log), truth(s->should_save),
        truth(s->should_training_stop));
}

void nib_trainer_state_put(nib_text *t, const nib_trainer_state *s)
{
    nib_text_puts(t, "{\n  \"best_global_step\": ");
    if (s->best_global_step) nib_text_printf(t, "%" PRIu64, s->best_global_step);
    else nib_text_puts(t, "null");
    nib_text_puts(t, ",\n  \"best_metric\": ");
    if (isfinite(s->best_metric)) nib_text_json_float(t, s->best_metric);
    else nib_text_puts(t, "null");
    nib_text_puts(t, ",\n  \"best_model_checkpoint\": ");
    if (s->best_model_checkpoint) nib_text_json_string(t, s->best_model_checkpoint, true);
    else nib_text_puts(t, "null");
    nib_text_puts(t, ",\n  \"epoch\": ");
    nib_text_json_float(t, s->epoch);
    nib_text_printf(t,
                    ",\n  \"eval_steps\": %d,\n  \"global_step\": %" PRIu64
                    ",\n  \"is_hyper_param_search\": false,\n"
                    "  \"is_local_process_zero\": true,\n  \"is_world_process_zero\": true,\n",
                    s->eval_steps, s->global_step);
    put_history(t, s);
    nib_text_printf(t,
                    "  \"logging_steps\": %d,\n  \"max_steps\": %" PRIu64
                    ",\n  \"num_input_tokens_seen\": %" PRIu64 ",\n  \"num_train_epochs\": %" PRIu64
                    ",\n  \"save_steps\": %d,\n",
                    s->logging_steps, s->max_steps, s->num_input_tokens_seen, s->num_train_epochs,
                    s->save_steps);
    put_callbacks(t, s);
    nib_text_puts(t, "  \"total_flos\": ");
    nib_text_json_float(t, s->total_flos);
    nib_text_printf(
        t, ",\n  \"train_batch_size\": %d,\n  \"trial_name\": null,\n  \"trial_params\": null\n}\n",
        s->train_batch_size);
}

/* --- reading --- */

static nib_status read_entry(nib_trainer_state *s, const json_t *o, const char *where,
                             nib_error *err)
{
    bool eval = json_object_get(o, "eval_loss") || json_object_get(o, "eval_runtime");
    nib_log_entry e = { .kind = eval                                  ? NIB_LOG_EVAL
                                : json_object_get(o, "train_runtime") ? NIB_LOG_END
                                                                      : NIB_LOG_TRAIN };
    const char *const *names = nib_log_names(e.kind);
    int64_t step = -1;
    nib_status status;

    if (!json_is_object(o))
        return nib_fail(err, NIB_E_FORMAT, "%s: an entry of log_history is not an object", where);
    status = nib_json_get_int(o, where, "step", 0, INT64_MAX, &step, err);
    if (!status && step < 0)
        status = nib_fail(err, NIB_E_FORMAT, "%s: an entry of log_history has no step", where);
    if (!status) status = nib_json_get_float(o, where, "epoch", &e.epoch, err);
    for (size_t i = 0; names[i] && !status; i++) {
        e.values[i] = (double)NAN;
        status = nib_json_get_float(o, where, names[i], &e.values[i], err);
    }
    if (status) return status;
    e.step = (uint64_t)step;
    if (!nib_grow(s->ctx, &s->log, &s->log_capacity, s->log_count + 1, sizeof *s->log))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    nib_trainer_state_log(s, &e);
    return NIB_OK;
}

static nib_status read_root(nib_trainer_state *s, const json_t *root, const char *where,
                            nib_error *err)
{
    const json_t *history = json_object_get(root, "log_history");
    const json_t *early = json_object_get(json_object_get(root, "stateful_callbacks"),
                                          "EarlyStoppingCallback");
    int64_t step = -1, max_steps = -1, best = 0, counter = 0, tokens = 0;
    const char *path = NULL;
    nib_status status;

    if (!json_is_object(root)) return nib_fail(err, NIB_E_FORMAT, "%s: not an object", where);
    status = nib_json_get_int(root, where, "global_step", 0, INT64_MAX, &step, err);
    if (!status) status = nib_json_get_int(root, where, "max_steps", 0, INT64_MAX, &max_steps, err);
    if (!status && (step < 0 || max_steps < 0))
        status = nib_fail(err, NIB_E_FORMAT, "%s: %s is missing", where,
                          step < 0 ? "global_step" : "max_steps");
    if (!status)
        status = nib_json_get_int(root, where, "best_global_step", 0, INT64_MAX, &best, err);
    if (!status)
        status = nib_json_get_int(root, where, "num_input_tokens_seen", 0, INT64_MAX, &tokens, err);
    if (!status) status = nib_json_get_float(root, where, "epoch", &s->epoch, err);
    if (!status) status = nib_json_get_float(root, where, "total_flos", &s->total_flos, err);
    if (!status) status = nib_json_get_float(root, where, "best_metric", &s->best_metric, err);
    if (!status) status = nib_json_get_string(root, where, "best_model_checkpoint", &path, err);
    if (!status && early)
        status = nib_json_get_int(json_object_get(early, "attributes"), where,
                                  "early_stopping_patience_counter", 0, INT32_MAX, &counter, err);
    if (!status && !json_is_array(history))
        status = nib_fail(err, NIB_E_FORMAT, "%s: log_history is %s", where,
                          history ? "not a list" : "missing");
    if (status) return status;
    s->global_step = (uint64_t)step;
    s->best_global_step = (uint64_t)best;
    s->num_input_tokens_seen = (uint64_t)tokens;
    s->early_stopping_patience_counter = (int)counter;
    if (path && !(s->best_model_checkpoint = nib_strdup(s->ctx, path)))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    for (size_t i = 0; i < json_array_size(history) && !status; i++)
        status = read_entry(s, json_array_get(history, i), where, err);
    return status;
}

nib_status nib_trainer_state_parse(nib_trainer_state *s, const char *text, size_t bytes,
                                   const char *where, nib_error *err)
{
    json_t *root = NULL;
    nib_status status = nib_json_parse(text, bytes, where, 0, &root, err);

    if (status) return status;
    status = read_root(s, root, where, err);
    json_decref(root);
    return status;
}
