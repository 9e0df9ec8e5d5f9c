/* trainer_state.h - what a run has logged and found best, and trainer_state.json, which says it in
 * the form of transformers' Trainer (formats.md 14.2).
 *
 * The history is allocated once, for all the steps to come, so that logging allocates nothing. */
#ifndef NIB_TRAIN_TRAINER_STATE_H
#define NIB_TRAIN_TRAINER_STATE_H

#include "base/base.h"
#include "format/jsontext.h"

typedef enum nib_log_kind { NIB_LOG_TRAIN, NIB_LOG_EVAL, NIB_LOG_END } nib_log_kind;
enum { NIB_LOG_VALUES = 26 };
/* Places of an evaluation's values. */
enum {
    NIB_EVAL_ACCURACY, NIB_EVAL_CHRF, NIB_EVAL_CONTAINS, NIB_EVAL_EXACT, NIB_EVAL_EXACT_MATCH,
    NIB_EVAL_F1, NIB_EVAL_JSON_FIELDS, NIB_EVAL_JSON_VALID, NIB_EVAL_LOSS, NIB_EVAL_MATTHEWS,
    NIB_EVAL_MRR, NIB_EVAL_MSE,
    NIB_EVAL_OVERALL_F1, NIB_EVAL_OVERALL_PRECISION, NIB_EVAL_OVERALL_RECALL,
    NIB_EVAL_PEARSON, NIB_EVAL_PERPLEXITY, NIB_EVAL_RECALL_1, NIB_EVAL_RECALL_10, NIB_EVAL_RECALL_3,
    NIB_EVAL_RECALL_5, NIB_EVAL_ROUGE_L, NIB_EVAL_RUNTIME, NIB_EVAL_SAMPLES, NIB_EVAL_SPEARMANR,
    NIB_EVAL_STEPS
};

/* One entry of log_history.  The values are those of nib_log_names(kind), in its order. */
typedef struct nib_log_entry {
    nib_log_kind kind;
    uint64_t step;
    double epoch;
    double values[NIB_LOG_VALUES];
} nib_log_entry;

/* The keys of a kind, sorted, besides "epoch" and "step"; NULL ends them.
 *   train: grad_norm learning_rate loss
 *   eval:  eval_accuracy eval_chrf eval_contains eval_exact eval_exact_match eval_f1
 *          eval_json_fields eval_json_valid eval_loss eval_matthews_correlation eval_mrr@10
 *          eval_mse eval_overall_f1 eval_overall_precision eval_overall_recall eval_pearson
 *          eval_perplexity eval_recall@1 eval_recall@10 eval_recall@3 eval_recall@5 eval_rougeL
 *          eval_runtime eval_samples_per_second eval_spearmanr eval_steps_per_second; those without
 *          meaning for the run are NaN
 *   end:   peak_memory_bytes total_flos train_loss train_runtime train_samples_per_second
 *          train_steps_per_second */
const char *const *nib_log_names(nib_log_kind kind);

typedef struct nib_trainer_state {
    nib_ctx *ctx;
    uint64_t global_step, max_steps, num_train_epochs;
    double epoch;
    uint64_t num_input_tokens_seen;
    double total_flos;
    int train_batch_size, logging_steps, eval_steps, save_steps;
    double best_metric;           /* NaN: none yet */
    uint64_t best_global_step;    /* 0: none yet */
    char *best_model_checkpoint;  /* or NULL */
    bool should_log, should_evaluate, should_save, should_training_stop;
    int early_stopping_patience, early_stopping_patience_counter; /* patience 0: no such callback */
    double early_stopping_threshold;
    nib_log_entry *log;
    size_t log_count, log_capacity;
} nib_trainer_state;

void nib_trainer_state_init(nib_ctx *ctx, nib_trainer_state *out); /* zeroed but for best_metric */
/* Makes room for `entries` more in the history. */
nib_status nib_trainer_state_reserve(nib_trainer_state *s, size_t entries, nib_error *err);
void nib_trainer_state_free(nib_trainer_state *s); /* zeroed is fine */

/* Adds an entry; the history must have room. */
void nib_trainer_state_log(nib_trainer_state *s, const nib_log_entry *e);

/* An entry on one line as a JSON object with sorted keys; values that are not finite are left
 * out. */
void nib_log_entry_put(nib_text *t, const nib_log_entry *e);

/* The whole file: json.dumps(indent=2, sort_keys=True) and a newline.  Losses of training rounded
 * to 4 decimals, runtimes to 4, values per second to 3, as the Trainer does. */
void nib_trainer_state_put(nib_text *t, const nib_trainer_state *s);

/* Reads what nib_trainer_state_put() wrote into an initialised state: the history, the best and the
 * callbacks' counters; what the options say (steps, batch) is left as it is.  `where` names it in
 * errors.  NIB_E_FORMAT: not such a file; NIB_E_NOMEM. */
nib_status nib_trainer_state_parse(nib_trainer_state *s, const char *text, size_t bytes,
                                   const char *where, nib_error *err);

#endif
