/* session.h - what every verb shares: signals, streams, the context, the terminal. */
#ifndef NIB_CLI_SESSION_H
#define NIB_CLI_SESSION_H

#include <stdio.h>

#include "nibble/nibble.h"
#include "options.h"

typedef struct session {
    nib_ctx *ctx;
    nib_error err;
    int threads;
    bool json, strict;
    bool json_lines;   /* standard output is an object a line: warnings are one of them */
    bool live;         /* stderr is a terminal: a progress line may be rewritten */
    bool line_open;    /* a progress line stands there */
    double progress_shown;
} session;

#define SESSION_OPTIONS(s) \
    { "threads", OPTION_NATURAL, &(s)->threads, "2", \
      "threads; default: what affinity and cgroup allow" }, \
    { "json", OPTION_FLAG, &(s)->json, NULL, "results for programs, as JSON" }

#define STRICT_OPTION(s) \
    { "strict", OPTION_FLAG, &(s)->strict, NULL, "a warning before the work begins is an error" }

/* Which records of a folder or a file are read; data: nib_data_options *. */
#define PLACE_OPTIONS(data) \
    { "dataset-config", OPTION_STRING, &(data)->dataset_config, "main", \
      "of a folder whose README.md describes several data sets" }, \
    { "split", OPTION_STRING, &(data)->split, "test", \
      "of a folder's files; default: train, or all" }, \
    { "data-field", OPTION_STRING, &(data)->data_field, "data", \
      "the member of a .json file that holds the records" }

/* How weights are held; settings: option_pairs *. */
#define WEIGHT_OPTIONS(settings, load) \
    { "load-in-4bit", OPTION_PAIR_FLAG, settings, NULL, load }, \
    { "bnb-4bit-quant-type", OPTION_PAIR, settings, "nf4", "nf4 (default) or fp4" }, \
    { "bnb-4bit-use-double-quant", OPTION_PAIR_FLAG, settings, NULL, "quantize the scales too" }, \
    { "bnb-4bit-blocksize", OPTION_PAIR, settings, "64", \
      "weights that share a scale, 32 to 4096" }, \
    { "load-in-8bit", OPTION_PAIR_FLAG, settings, NULL, "to 8 bits (LLM.int8)" }, \
    { "llm-int8-threshold", OPTION_PAIR, settings, "6.0", \
      "inputs of this size or more are multiplied as floats; 0: none" }

/* Of questions about a context; data: nib_data_options *. */
#define ANSWER_OPTIONS(data) \
    { "doc-stride", OPTION_NATURAL, &(data)->doc_stride, "128", \
      "of a context that is cut into windows: tokens that each repeats of the one before" }, \
    { "max-answer-length", OPTION_COUNT, &(data)->max_answer_length, "30", \
      "tokens of an answer" }, \
    { "version-2-with-negative", OPTION_FLAG, &(data)->version_2_with_negative, NULL, \
      "a context need not hold an answer" }, \
    { "null-score-diff-threshold", OPTION_FLOAT, &(data)->null_score_diff_threshold, "0", \
      "and has none where the logits speak for that by more; other than 0 implies the former" }

/* How integers in groups are laid out; settings: option_pairs *. */
#define GROUPED_OPTIONS(settings) \
    { "bits", OPTION_PAIR, settings, "4", "gptq: 2, 3, 4, 8; compressed-tensors: 2 to 8" }, \
    { "group-size", OPTION_PAIR, settings, "128", \
      "inputs that share a scale; -1: all of a row" }, \
    { "sym", OPTION_PAIR, settings, "true", "true: no zero points; default but for awq" }

/* How their codes are chosen; q: nib_quantize_options *, data: what the texts should be. */
#define CALIBRATION_OPTIONS(q, data_help) \
    { "algorithm", OPTION_STRING, &(q)->algorithm, "gptq", \
      "rtn (round to nearest), gptq or awq; default with --calibration-data: awq of format " \
      "awq, else gptq" }, \
    { "calibration-data", OPTION_STRING, &(q)->calibration.data, "FILE", data_help }, \
    { "num-calibration-samples", OPTION_COUNT, &(q)->num_calibration_samples, "128", \
      "the first records of it" }, \
    { "calibration-length", OPTION_COUNT, &(q)->calibration.max_seq_length, "512", \
      "longer ones are cut" }, \
    { "damp-percent", OPTION_FLOAT, &(q)->damp_percent, "0.05", \
      "gptq: of the inputs' mean square, added to each" }, \
    { "desc-act", OPTION_FLAG, &(q)->desc_act, NULL, \
      "gptq: great inputs first; other formats need --static-groups" }, \
    { "static-groups", OPTION_FLAG, &(q)->static_groups, NULL, \
      "gptq: scales from the matrix as it was; keeps groups in order" }, \
    { "true-sequential", OPTION_FLAG, &(q)->true_sequential, NULL, \
      "gptq: within a layer too, each sees what those before it became" }, \
    { "mse", OPTION_FLOAT, &(q)->mse, "2.4", "gptq: search smaller ranges by this exponent" }

/* How a verb that computes with a model holds it; experts: bool *, compute: const char **. */
#define MODEL_OPTIONS(settings, experts, compute) \
    WEIGHT_OPTIONS(settings, "quantize a dense model while loading"), \
    { "quantize-experts", OPTION_FLAG, experts, NULL, \
      "those of one tensor too, each expert a matrix" }, \
    { "compute-dtype", OPTION_STRING, compute, "auto", "auto, float32, bfloat16, float16" }

/* Opens the context; 0 or an exit status. */
int session_begin(session *s);
/* Ends it; the exit status for `status`, its message printed.  main() flushes standard output. */
int session_end(session *s, nib_status status);
int session_stopped(void); /* the signal that asked for an end; 0: none did */
bool session_pipe_closed(void); /* whether the reader of a pipe went away while it was written to */
void session_progress(void *user, const char *what, double share); /* user: the session */
void session_line(session *s, const char *format, ...)
    __attribute__((format(printf, 2, 3))); /* to stderr */

/* A line for each source of the data: how many of its records an epoch has. */
void session_sources(session *s, const nib_source_report *sources, size_t count);
/* The same as a member of an object, behind others: "sources": [{"path": ..., ...}]; none:
 * nothing. */
void print_json_member_sources(FILE *to, const nib_source_report *sources, size_t count);

/* Text from a model or a file: control characters, escapes and bidirectional marks made visible
 * when `to` is a terminal, exact otherwise. */
void print_text(FILE *to, const char *text, size_t bytes);
/* A JSON string or number (shortest that reads back; null when not finite). */
void print_json_string(FILE *to, const char *text, size_t bytes);
void print_json_number(FILE *to, double x);
/* "warnings": [{"code": ..., "text": ...}, ...], all so far. */
void print_json_warnings(FILE *to, const session *s);
/* The same behind the members of an object, where there are any. */
void print_json_member_warnings(FILE *to, const session *s);
nib_compute compute_of(const verb *v, const char *name, int *code);
/* NULL: auto.  all: those too that have no prediction of a label. */
nib_task task_of(const verb *v, const char *name, bool all, int *code);

int verb_pull(int argc, char **argv);
int verb_quantize(int argc, char **argv);
int verb_add_tokens(int argc, char **argv);
int verb_finetune(int argc, char **argv);
int verb_convert_recipe(int argc, char **argv);
int verb_runs(int argc, char **argv);
int verb_preview(int argc, char **argv);
int verb_generate(int argc, char **argv);
int verb_evaluate(int argc, char **argv);
int verb_judge(int argc, char **argv); /* of evaluate */
int verb_perplexity(int argc, char **argv);
int verb_predict(int argc, char **argv);
int verb_embed(int argc, char **argv);
int verb_merge(int argc, char **argv);
int verb_export(int argc, char **argv);
int verb_inspect(int argc, char **argv);
int verb_tokenize(int argc, char **argv);
int verb_doctor(int argc, char **argv);

#endif
