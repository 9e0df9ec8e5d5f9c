/* finetune.h - QLoRA: train LoRA adapters on a frozen model, write them in PEFT's form. */
#ifndef NIBBLE_FINETUNE_H
#define NIBBLE_FINETUNE_H

#include "nibble/context.h"
#include "nibble/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A number that was not given: it is the set's (nib_finetune_options.defaults).  A double's is
 * NAN. */
#define NIB_OPEN INT32_MIN

/* A name list as PEFT takes it: names (matched by suffix), or one regular expression. */
typedef struct nib_names {
    const char *const *items;
    size_t count;
    bool regex;      /* items[0] is a regular expression that must match whole names */
    bool all_linear; /* "all-linear" */
} nib_names;

typedef struct nib_pattern { const char *name; double value; } nib_pattern;
/* A named argument: a number, or text where that is not NULL. */
typedef struct nib_argument { const char *name; double value; const char *text; } nib_argument;

/* LoraConfig. */
typedef struct nib_lora_options {
    int r;                     /* or NIB_OPEN */
    double lora_alpha, lora_dropout; /* alpha NAN: open */
    bool use_rslora;
    bool use_dora;             /* magnitudes, learned apart from directions */
    nib_names target_modules;  /* count 0 and not all_linear: the set's; PEFT's are the family's */
    nib_names target_parameters; /* tensors of experts: "experts.gate_up_proj" */
    nib_names exclude_modules;
    nib_names modules_to_save;
    const char *bias;          /* "none", "all", "lora_only" */
    /* "true", "false", "gaussian", "orthogonal", "pissa", "pissa_niter_4", "olora", "loftq"
     * (conventions.md, "Starting from the weights") */
    const char *init_lora_weights;
    const nib_argument *loftq_config; /* of "loftq": loftq_bits, loftq_iter */
    size_t loftq_count;
    const nib_pattern *rank_pattern, *alpha_pattern;
    size_t rank_patterns, alpha_patterns;
    const int *layers_to_transform;
    size_t layers_to_transform_count;
    nib_names layers_pattern;
    const int *trainable_token_indices; /* words whose rows of the embedding are trained too */
    size_t trainable_token_count;
    /* The fields that somebody gave a value, by their names, NULL at the end; NULL: those that are
     * not the default.  With nib_finetune_options.adapter each must be the adapter's own value
     * (NIB_E_INVALID), for that is what is used. */
    const char *const *given;
} nib_lora_options;

/* A file or folder of records, and how many of them an epoch has: weight 1 each once, 0.2 a fifth
 * of them (others in every epoch), 2.5 each twice and half of them a third time.  Which ones is a
 * function of the seed and the epoch. */
typedef struct nib_data_source {
    const char *path;
    double weight;
} nib_data_source;

typedef struct nib_data_sources {
    const nib_data_source *items;
    size_t count;
} nib_data_sources;

/* Records and what is trained of them; zeros and NULLs are defaults, but for max_seq_length and
 * doc_stride. */
typedef struct nib_data_options {
    const char *data; /* a file, or a folder of them: .jsonl, .json, .csv, .tsv, .parquet, .txt */
    nib_data_sources sources; /* several, in which case `data` is the first's path; count 0: data
                                 alone.  Weights are of training: what else reads them takes each
                                 record once */
    const char *dataset_config; /* of a folder whose README.md describes several; NULL: the only
                                   one, or its default */
    const char *split;          /* of a folder: train, validation, test, ...; NULL: train, or all */
    const char *data_field;     /* of a .json file: the member that holds the records; NULL: its
                                 * only list */
    const char *template_text;  /* --template, or NULL */
    const char *prompt_template, *completion_template;
    int max_seq_length;         /* NIB_OPEN: the longest record, up to the model's positions, and in
                                 * training up to what fits in memory */
    const char *long_records;   /* of texts that are longer: "cut" (NULL too), or "drop": left out
                                 * and counted, an error where they are more than 5 % */
    const char *chat_template;  /* a file, or a directory that has one; NULL: the model's */
    const char *chat_template_kwargs; /* JSON object: more variables of the template; a record's own
                                         win; or NULL */
    const char *train_on_turns; /* of chats: "all" turns of the assistant, the "last", "everything";
                                 * NULL: all */
    bool train_on_prompt;       /* of prompt and completion: the prompt too */
    const char *alpaca_ending;  /* what follows "### Response:": "newline", "space", "none"; NULL:
                                 * newline */
    bool skip_bad;              /* leave bad records out and count them */
    int doc_stride;             /* 128; of questions about a context: tokens that a window of it
                                 * repeats of the one before */
    int max_answer_length;      /* of such questions, run_qa's names: the most tokens of an answer,
                                 * 0: 30; */
    bool version_2_with_negative; /* the context need not hold one (also where the records say so of
                                 * a question, or the next is not 0); */
    double null_score_diff_threshold; /* and does not where the logits speak for that by more */
    const char *class_weights;  /* "balanced": classes count alike in a classifier's loss; NULL: its
                                 * records do */
} nib_data_options;

#define NIB_LORAPLUS_LR_EMBEDDING 1e-6

/* TrainingArguments' names, and those of PEFT's create_loraplus_optimizer. */
typedef struct nib_train_options {
    /* Batch size 0 (auto): the greatest micro-batch up to 8 that fits, the accumulation raised so
     * that a step has 8 x gradient_accumulation_steps records whatever the machine.  Below 0: the
     * set's and the task's, 8, of embeddings 64; or 4, of which the micro-batch is what fits. */
    int per_device_train_batch_size, gradient_accumulation_steps;
    int tokens_per_batch;       /* > 0: a micro-batch is filled with records up to so many tokens,
                                 * whatever the batch size */
    bool group_by_length;       /* records of like length together, as transformers'
                                 * LengthGroupedSampler */
    double num_train_epochs;
    int max_steps;              /* > 0 wins over num_train_epochs */
    const char *optim;          /* "adamw_torch", "adamw_bnb_8bit", "paged_adamw_32bit",
                                 * "paged_adamw_8bit" */
    double learning_rate;       /* NAN: of adapters of models that write text by the model's
                                 * parameters, 5e-3 below 10 million, 2e-3 below 300 million, 1e-3
                                 * below a billion, else 2e-4; with the set peft, and of all else,
                                 * nib_default_learning_rate() */
    double weight_decay, adam_beta1, adam_beta2, adam_epsilon, max_grad_norm;
    double loraplus_lr_ratio;   /* of B's learning rate to A's; 0: no LoRA+, and the next two are
                                 * without effect */
    double loraplus_lr_embedding; /* 1e-6 */
    double loraplus_weight_decay; /* 0, which takes the place of weight_decay */
    const char *lr_scheduler_type; /* NULL: open; "linear", "cosine", "cosine_with_restarts",
                                    * "cosine_with_min_lr", "cosine_warmup_with_min_lr",
                                    * "polynomial", "inverse_sqrt", "warmup_stable_decay",
                                    * "constant", "constant_with_warmup",
                                    * "reduce_lr_on_plateau" */
    const nib_argument *lr_scheduler_kwargs; /* of transformers' functions (conventions.md,
                                              * "Optimizers") */
    size_t lr_scheduler_kwarg_count;
    int warmup_steps;           /* or NIB_OPEN */
    double warmup_ratio;        /* or NAN */
    /* Of embeddings (task_type FEATURE_EXTRACTION), sentence-transformers' names: the loss,
     * "MultipleNegativesRankingLoss", "CoSENTLoss", "CosineSimilarityLoss" or "TripletLoss" (NULL:
     * by the records), how rows are pooled (names with commas, joined in this order: cls, max,
     * mean, mean_sqrt_len_tokens, weightedmean, lasttoken; NULL: as the directory has it, else
     * mean), what it multiplies cosines by (0: 20), a triplet's margin (0: 5), and the
     * first so many numbers that are to be embeddings too (none: the whole alone). */
    const char *loss, *pooling;
    double scale, triplet_margin;
    const int *matryoshka_dims;
    size_t matryoshka_dim_count;
    int mini_batch_size;        /* texts run at a time, to the same result; 0: as many as fit */
    double label_smoothing_factor; /* [0, 1): the part of each target that goes to all tokens */
    double neftune_noise_alpha; /* 0: no noise on the embedding's output */
    uint64_t seed;
    int64_t data_seed;          /* -1: seed */
    const char *logging_strategy, *save_strategy, *eval_strategy; /* "no", "steps", "epoch";
                                 * save_strategy also "best": where an evaluation is */
    int logging_steps, save_steps; /* save_steps 0: no checkpoints on the way */
    int eval_steps;             /* 0: logging_steps */
    /* The same three as fractions of the run's steps, rounded up (the Trainer's values below 1);
     * 0: the numbers above count. */
    double logging_steps_ratio, save_steps_ratio, eval_steps_ratio;
    bool logging_first_step;
    int save_total_limit;       /* checkpoints kept, besides the best; 0: all; or NIB_OPEN */
    int per_device_eval_batch_size;
    bool load_best_model_at_end;
    /* "loss", "perplexity", of models that write text, whose answers to the evaluation records are
     * then generated at each evaluation, "exact_match", "exact", "contains", "rougeL", "chrf",
     * "json_valid", "json_fields"; of classifiers "accuracy", "f1", "matthews_correlation", "mse",
     * of answers "exact_match", "f1",
     * "pearson", "spearmanr", of embeddings "pearson", "spearmanr", "recall@1", "recall@3",
     * "recall@5", "recall@10", "mrr@10", or with "eval_"; NULL: loss */
    const char *metric_for_best_model;
    int greater_is_better;      /* -1: as the metric wants it */
    int early_stopping_patience; /* evaluations without a better one before the end; 0: never */
    double early_stopping_threshold;
    const char *report_to;      /* "none", "jsonl", "tensorboard", "all", or a comma list */
    const char *logging_dir;    /* of event files; NULL: output_dir/runs/<date>_<host> */
    bool shuffle;
    int gradient_checkpointing; /* -1: the plan chooses, 0 keep, 1 recompute */
    uint64_t max_memory;        /* bytes; 0: what the machine has free */
} nib_train_options;

typedef struct nib_memory_plan { /* bytes */
    uint64_t weights, adapters, optimizer, activations, scratch, baseline, total, available;
    uint64_t paged;     /* optimizer states in a file of output_dir: the system may write them out,
                         * so not in total */
    bool checkpointing; /* what was chosen */
} nib_memory_plan;

typedef struct nib_source_report { /* of one source of the data */
    const char *path;
    double weight;
    uint64_t records, per_epoch; /* kept of it; of these in an epoch */
} nib_source_report;

typedef struct nib_run_report { /* before step 1 */
    uint64_t trainable_parameters, all_parameters;
    const char *weights;        /* the form they are held in: "nf4 64 double", "dense" */
    const char *trained;        /* "LoRA of r 16 on all-linear", "all of the model" */
    const char *defaults;       /* whose values stand for what was not given: "nibble's", ... */
    double learning_rate;
    const char *shape, *chat_template; /* of the records; where the template was found, or NULL */
    /* Of the data. */
    uint64_t too_long;          /* left out (long_records drop) */
    int max_seq_length;         /* as given, or chosen: */
    bool length_by_memory;      /* longer records would not fit in it */
    uint64_t records, truncated, empty, masked_out, duplicate_bos, bad, duplicates;
    uint64_t ends;              /* records in which the end token is trained */
    uint64_t eval_records;
    const nib_source_report *sources; /* several, or one with a weight; else NULL */
    size_t source_count;
    uint64_t tokens_per_epoch, supervised_per_epoch;
    uint64_t steps;             /* optimizer steps of the whole run */
    nib_memory_plan plan;
    bool fits;                  /* the plan's total is no more than what is available */
    bool weights_missing;       /* a dry run without weights: random ones were timed */
    const char *advice;         /* a micro-batch that would fit, or "" */
    int per_device_train_batch_size, gradient_accumulation_steps; /* as chosen */
    int tokens_per_batch;       /* in place of the batch size; or 0 */
    uint64_t evaluations;       /* of these, from here to the last step */
    /* From a short trial; 0: not measured.  An evaluation is the loss, and answers where
     * metric_for_best_model is of those, each as long as the one that is wanted; the total has
     * steps and evaluations, an epoch steps alone. */
    double seconds_per_step, seconds_per_evaluation, seconds_per_epoch, seconds_total;
    const char *compute_dtype, *isa;
    const char *settings;       /* every value that changes the result, lines */
} nib_run_report;

typedef struct nib_step_report {
    uint64_t step, steps;
    double epoch, loss, grad_norm, learning_rate, tokens_per_second, seconds_left;
} nib_step_report;

struct nib_scores; /* evaluate.h */

/* Of the answers to the evaluation records, 0 to 1, as nib_judge() scores them; NaN: applies to
 * none. */
typedef struct nib_answer_means {
    double exact, exact_match, contains, rouge_l, chrf, json_valid, json_fields;
} nib_answer_means;

typedef struct nib_eval_report {
    uint64_t step;
    double epoch, eval_loss, perplexity, eval_runtime;
    const struct nib_scores *scores; /* of a classifier, else NULL; perplexity is then NaN */
    const nib_answer_means *answers; /* where metric_for_best_model is of answers, else NULL */
    bool best;                   /* better than any before it */
} nib_eval_report;

typedef struct nib_end_report {
    uint64_t steps;
    double train_runtime, train_loss;
    uint64_t peak_memory_bytes, planned_memory_bytes;
    uint64_t arenas, weights_resident, baseline; /* where the peak comes from */
    bool interrupted;
} nib_end_report;

typedef struct nib_finetune_options {
    nib_model_options model;
    nib_lora_options lora;
    nib_data_options data;
    nib_train_options train;
    const char *adapter;         /* start from this PEFT adapter, or NULL */
    /* Which set gives the values that are open: "nibble" (NULL too), chosen by experiments
     * (docs/defaults.md) for adapters of models that write text and the libraries' else, or "peft",
     * those of the libraries that own the names (conventions.md). */
    const char *defaults;
    /* Train the model itself, in float32, and write a model: all its parameters, or those of its
     * head alone.  The LoRA options are then without effect. */
    bool full, train_head_only;
    const char *task_type;       /* PEFT's: "CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS",
                                  * "FEATURE_EXTRACTION"; NULL: model.task */
    const char *output_dir;
    /* What is evaluated on, in the shape of data: a file or folder; another split of data (or of
     * eval_data); or val_size records held out of data (a number, or below 1 a fraction), chosen by
     * the seed. */
    const char *eval_data, *eval_split, *eval_dataset_config;
    double val_size;
    /* "last" (or "true"): the newest complete checkpoint of output_dir, or the beginning when there
     * is none; or a checkpoint's directory.  NULL: output_dir's unfinished run of the same recipe
     * resumes by itself. */
    const char *resume_from_checkpoint;
    const char *base_original;   /* of init_lora_weights loftq on a low-bit model: the dense one
                                  * that it was quantized from; or NULL */
    const char *base_model_name; /* for adapter_config.json; NULL: found (conventions.md) */
    bool overwrite, dry_run;
    /* All may be NULL. */
    void (*on_start)(void *user, const nib_run_report *report);
    void (*on_step)(void *user, const nib_step_report *report);
    void (*on_evaluate)(void *user, const nib_eval_report *report);
    void (*on_end)(void *user, const nib_end_report *report);
    /* loading, quantizing: 0 .. 1 */
    void (*on_progress)(void *user, const char *what, double share);
    void *user;
} nib_finetune_options;

/* Of the set "peft": where text is written 2e-4 for adapters and 2e-5 for a whole model; of other
 * tasks 1e-3 and 1e-4, and for a head alone 1e-3 (conventions.md). */
double nib_default_learning_rate(nib_task task, bool full, bool train_head_only);

/* What `nibble finetune` begins with: what depends on the set, the model or the data is left open,
 * and nib_finetune() fills it in. */
void nib_finetune_defaults(nib_finetune_options *options);
/* Fills in what is open with the libraries' values (but for the learning rate and the batch, which
 * depend on the task), and notes it: defaults "peft". */
void nib_finetune_peft_defaults(nib_finetune_options *options);

/* Trains and writes output_dir (a PEFT adapter).  NIB_E_INTERRUPTED: the context's should_stop
 * asked for the end; the last finished state is saved.  NIB_E_NUMERIC: a loss that is not finite,
 * with step and layer; the last good adapter is kept. */
/* dry_run: on_start gets the plan and the time, then it ends, nothing written; the weights need not
 * be there (config.json and the tokenizer must), and a plan that does not fit is no error. */
nib_status nib_finetune(nib_ctx *ctx, const nib_finetune_options *options, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
