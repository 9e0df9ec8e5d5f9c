/* finetune_job.h - what the parts of the main job share: opening (finetune.c), planning
 * (finetune_plan.c), resuming (finetune_resume.c), the loop (finetune_loop.c), saving
 * (finetune_save.c). */
#ifndef NIB_JOB_FINETUNE_JOB_H
#define NIB_JOB_FINETUNE_JOB_H

#include "adapter/adapter.h"
#include "format/jsontext.h"
#include "job/answer_loop.h"
#include "job/evaluate_loop.h"
#include "job/run_logs.h"
#include "job/rundir.h"
#include "model/outline.h"
#include "nibble/finetune.h"
#include "train/checkpoint.h"

enum { NIB_SETTINGS_ROOM = 4096 };

typedef struct nib_finetune_job {
    nib_ctx *ctx;
    nib_finetune_options options; /* the caller's, with fractions of steps made numbers */
    const nib_finetune_options *o; /* those */
    nib_rundir dir;
    nib_tokenizer *tokenizer;
    nib_model *model;
    nib_adapter *adapter;
    nib_dataset *data;
    nib_dataset *eval_records;  /* until the evaluation loop takes them over */
    nib_trainer *trainer;
    bool guessed_task;          /* config.json's, not the user's */
    const char *asked_model;    /* MODEL as it was given: options has the Transformer's folder */
    nib_sentence sentence;      /* of embeddings; these too: */
    nib_texts texts;
    nib_similarity loss;        /* its settings */
    nib_embedder embedder;
    int mini_batch;             /* texts at a time; 0: all */
    bool batch_is_free;         /* nobody gave a batch: its records stay, the micro-batch is what
                                 * fits */
    nib_outline outline;        /* of the model, before its weights */
    bool length_is_free;        /* nobody gave max_seq_length: it is what the memory allows */
    bool length_by_memory;      /* and that was less than the longest record */
    nib_memory_plan plan;
    double trial_seconds;       /* of a step */
    double evaluation_seconds;  /* of an evaluation: of the trial, then of the last one */
    double evaluated_seconds;   /* of all evaluations of this process */
    nib_eval_loop eval;         /* zeroed without eval_strategy */
    nib_answer_loop answers;    /* zeroed where metric_for_best_model is of no answers */
    nib_trainer_state state;
    nib_log_window window;      /* since the last log line */
    nib_run_logs logs;
    json_t *identity;           /* what changes numbers: key -> value */
    int64_t started; /* of the run's first start, seconds since 1970: strftime_now of templates */
    char *logging_dir;          /* of event files, or NULL */
    nib_checkpoint resume;      /* and its directory, when there is one to resume from */
    char *resume_dir;
    const json_t *recorded;     /* identity of the resumed run, or NULL */
    uint64_t session_step, session_tokens,
        saved_step; /* first step of this process; tokens since the last line */
    double session_began, window_began;
    bool evaluate_pending; /* the checkpoint was written before its step's evaluation was done */
    bool best_now;        /* the last step's evaluation was the best so far */
    bool weights_missing; /* random ones stand in, in a dry run */
    char advice[256];     /* a micro-batch that would fit */
    char settings[NIB_SETTINGS_ROOM];
    char form[NIB_BASE_FORM_ROOM]; /* of the weights */
    char trained[200];    /* what is trained, for a person */
    char *recipe; /* that gives this run again */
} nib_finetune_job;

/* Does the run train the model's own parameters? */
static inline bool nib_finetune_is_whole(const nib_finetune_options *o)
{
    return o->full || o->train_head_only;
}

/* Is the libraries' own set asked for? */
bool nib_finetune_asks_peft(const nib_finetune_options *o);
/* Does the set "nibble" give what is open: of an adapter of a model that writes text? */
bool nib_finetune_teaches(const nib_finetune_options *o, nib_task task);
/* Fills in what is open, once the task is known; but for what the data tell, the longest record,
 * and what the model does, the learning rate by the number of its parameters. */
void nib_finetune_settle_defaults(nib_finetune_options *o, nib_task task);
double nib_teaching_rate(uint64_t parameters);

/* Settles save_strategy, eval_strategy, report_to, ... : NIB_E_INVALID on an unknown word, or on
 * some that do not go together. */
nib_status nib_finetune_check_strategies(const nib_finetune_options *o, nib_error *err);

/* Fractions of the run's steps become numbers of steps. */
void nib_finetune_settle_steps(nib_train_options *t, uint64_t steps);
int nib_finetune_eval_steps(const nib_train_options *t); /* logging_steps unless set */
bool nib_finetune_wants_best(const nib_train_options *t);
bool nib_finetune_metric_is_perplexity(const nib_train_options *t);
/* Of answers to the evaluation records, for models that write text. */
bool nib_finetune_metric_is_judged(const nib_train_options *t, nib_answer_score *score);
/* Evaluations between here and the last step, were there no early stop. */
uint64_t nib_finetune_evaluations_left(const nib_finetune_job *j);
/* Shows an evaluation to a schedule that goes by them (nib_trainer_judge()). */
void nib_finetune_judge_rates(nib_finetune_job *j, const nib_log_entry *e);
const char *nib_finetune_metric(const nib_train_options *t); /* "eval_loss", ... */
bool nib_finetune_greater_is_better(const nib_train_options *t);

/* Everything that changes numbers, as key -> value; hashes begin with "sha256:".  After opening,
 * before any step.  NULL: no memory, or a model file that cannot be read (err is filled). */
json_t *nib_finetune_identity(nib_finetune_job *j, nib_error *err);
/* The keys in which two identities differ, with both values; NIB_E_MISMATCH when there are any. */
nib_status nib_finetune_same(nib_ctx *ctx, const char *where, const json_t *there,
                             const json_t *here, nib_error *err);

/* The same of the run that is here and one of no more steps, of which `done` are done: with fewer
 * steps there it is NIB_E_MISMATCH only when the schedule had other learning rates in those. */
nib_status nib_finetune_same_or_longer(nib_finetune_job *j, const char *where, const json_t *there,
                                       uint64_t done, nib_error *err);

/* resume_from_checkpoint: NULL, "last" (Trainer.train() takes True for it) or a directory. */
const char *nib_finetune_resume_from(const nib_finetune_options *o);
/* Finds the checkpoint to resume from, after the directory is opened, before the model is: fills
 * resume, recorded and started. */
nib_status nib_finetune_look_for_resume(nib_finetune_job *j, nib_error *err);
/* The compute type wanted; auto is what the resumed run had. */
nib_compute nib_finetune_compute(const nib_finetune_job *j);

/* Takes up an unfinished run of the same recipe or begins a new one: adapter, optimizer, step,
 * history, logs; marks output_dir. */
nib_status nib_finetune_begin(nib_finetune_job *j, nib_error *err);
void nib_finetune_end(nib_finetune_job *j); /* frees what the two above made */

/* Writes output_dir/checkpoint-STEP, then deletes old ones. */
nib_status nib_finetune_save_checkpoint(nib_finetune_job *j, nib_error *err);
nib_status nib_finetune_prune(nib_finetune_job *j, nib_error *err); /* old ones alone */
/* How the adapter was trained so far, as Markdown. */
void nib_finetune_card(const nib_finetune_job *j, nib_text *t);
/* Writes the adapter into output_dir. */
nib_status nib_finetune_save_adapter(nib_finetune_job *j, nib_error *err);

/* Trains from the trainer's step to the last one, saving on the way, and writes the adapter. */
nib_status nib_finetune_train(nib_finetune_job *j, nib_error *err);

/* Warns of a run that diverged or stands still, by its history (finetune_outcome.c). */
void nib_finetune_judge_end(nib_finetune_job *j);
/* Does a history end far above the loss that it began with? */
bool nib_history_diverged(const nib_trainer_state *s);

/* The tokenizer, the task and the records; *quantizes: the weights will be while they are
 * loaded. */
nib_status nib_finetune_open_inputs(nib_finetune_job *j, bool *quantizes, nib_error *err);
/* Reads the records again with a max_seq_length, after what was made of those
 * before is closed (nib_finetune_forget_records()). */
nib_status nib_finetune_read_again(nib_finetune_job *j, int length, nib_error *err);
void nib_finetune_forget_records(nib_finetune_job *j);
/* finetune_length.c: a max_seq_length below the present one with which the plan may fit, by an
 * estimate that the plan has to confirm; 0: none.  NIB_E_INVALID: more than 5 % of the records
 * would be left out. */
nib_status nib_finetune_shorter(nib_finetune_job *j, int *length, nib_error *err);
/* Notes a classifier's labels, and the parts of its head that begin at random. */
void nib_finetune_report_labels(nib_finetune_job *j);

/* finetune_compare.c: are embeddings trained?  Opens the directory where they are, before anything
 * else; checks the options once the records are there; makes the texts and the loss once the model
 * is; makes the trainer. */
bool nib_finetune_compares(const nib_finetune_job *j);
nib_status nib_finetune_find_sentence(nib_finetune_job *j, nib_error *err);
nib_status nib_finetune_check_compared(const nib_finetune_job *j, nib_error *err);
nib_status nib_finetune_begin_compared(nib_finetune_job *j, nib_error *err);
/* The Dense modules of its directory are trained too, whatever else is. */
nib_status nib_finetune_train_dense(nib_finetune_job *j, nib_error *err);
/* What was trained, from a checkpoint: the adapter's values and those of Dense modules. */
nib_status nib_finetune_read_values(nib_finetune_job *j, const char *dir, nib_error *err);
nib_status nib_finetune_plan_compared(nib_finetune_job *j, const nib_train_options *t,
                                      int mini_batch, uint64_t memory, nib_error *err);
void nib_finetune_report_compared(const nib_finetune_job *j);

/* Fills j->plan (whose baseline and available are set) and makes the trainer, without its memory,
 * with the micro-batch asked for or, for auto, the greatest that fits; else advice says which
 * would.  Model, adapter and data are open. */
nib_status nib_finetune_plan(nib_finetune_job *j, nib_error *err);
bool nib_finetune_fits(const nib_finetune_job *j);
/* Of what is trained: its values, gradients and what a step computes beside them. */
uint64_t nib_finetune_params_bytes(const nib_params *params);
/* Of a plan that does not fit: would a lower max_seq_length be taken?  Nobody gave one, the
 * micro-batch is one record, and it is training that has no room; else the advice says what is to
 * be lowered in its place. */
bool nib_finetune_length_counts(nib_finetune_job *j);
/* Warns of what vLLM and llama.cpp's converter refuse or ignore (conventions.md). */
void nib_finetune_warn_elsewhere(const nib_finetune_job *j);

/* Makes j->recipe once model, adapter and trainer are there; writes it to DIR/recipe.yaml. */
nib_status nib_finetune_resolve(nib_finetune_job *j, nib_error *err);
nib_status nib_finetune_save_recipe(nib_finetune_job *j, const char *dir, nib_error *err);

#endif
