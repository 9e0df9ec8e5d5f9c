/* data.h - a data file or folder as token lists with a mark for each supervised token.
 *
 * Containers are format/records.h's affair, the shapes of records shape.h's.  Text made without a
 * chat template: what is supervised begins where the tokens of the prompt and of the whole text
 * part, so that a token lying in both is (data_text.c); the end-of-sequence token is appended where
 * it is missing, and supervised; a truncated record gets none.  Text made by one: the template
 * writes all special tokens, and a token is supervised if any byte of it is, as transformers does
 * with {% generation %}.  A .txt file is one stream cut into windows.
 * (conventions.md, "Tokens".) */
#ifndef NIB_TRAIN_DATA_H
#define NIB_TRAIN_DATA_H

#include "base/base.h"
#include "nibble/finetune.h"
#include "text/tokenizer.h"
#include "train/labels.h"
#include "train/masking.h"
#include "train/questions.h"
#include "train/shape.h"

/* Of the rules by which tokens of a record are chosen to be trained: 1 trained a token when its
 * first byte was, and no chat whose renderings do not nest.  A run does not resume under others. */
enum { NIB_DATA_RULES = 2 };

typedef struct nib_dataset nib_dataset;

typedef struct nib_record {
    const uint32_t *ids;   /* [length], borrowed */
    const uint8_t *trained;/* [length]: token i is a target (it is predicted from i - 1); of records
                              with labels none is */
    const uint8_t *types;  /* [length] of records with labels: 0 the first text, 1 the second; else
                              NULL */
    const uint16_t *boxes; /* [length, 4] of records with boxes: left, upper, right, lower; else
                              NULL */
    const nib_token_range *ranges; /* [length] of windows of questions: where tokens lie in the
                              context; else NULL */
    const float *answers;  /* [answer_count] of records with labels (labels.h); else NULL */
    uint32_t length, answer_count;
    uint32_t targets;      /* trained tokens at positions >= 1, or rows that have an answer: what
                              the loss is divided by */
} nib_record;

typedef struct nib_data_counts {
    uint64_t records;              /* read, whatever became of them */
    uint64_t truncated, had_bos;
    uint64_t too_long;             /* left out: longer than max_seq_length (long_records drop), */
    uint64_t longest_left_out;     /* the longest of them, in tokens */
    uint64_t empty,
        masked_out; /* left out: no text or completion; all that is trained was cut off */
    uint64_t cut_off;              /* all that is trained lies behind max_seq_length */
    uint64_t split;                /* the prompt ends inside a token */
    uint64_t bad;                  /* skipped: skip_bad */
    uint64_t duplicates;           /* records with the tokens and marks of another one; kept */
    uint64_t ends;                 /* records in which the end token is trained */
    uint64_t tokens, targets;
    uint32_t longest;
    uint32_t longest_read;         /* also of those that were held out, or of which no token is
                                      trained: with this max_seq_length all are read alike */
} nib_data_counts;

typedef struct nib_dataset_source {
    const nib_data_options *options; /* borrowed while opening */
    const char *model_dir;      /* for its chat template; may be NULL when there are no chats */
    nib_tokenizer *tokenizer;   /* may be NULL when records are tokens */
    uint32_t vocabulary;        /* a greater id is refused by its token */
    nib_task task;              /* SEQ_CLS and TOKEN_CLS read records with labels,
                                   QUESTION_ANS questions with a context,
                                   FEATURE_EXTRACTION one text a record, and of a .txt a line
                                   (so MASKED_LM, and SEQ_CLS unlabelled) */
                                /* (with labels: texts that are compared) */
    const char *prompt;         /* FEATURE_EXTRACTION: in front of each text; NULL: nothing */
    bool regression;            /* labels are numbers, whatever they look like */
    bool guessed_task;          /* nobody asked for it: records that look otherwise are refused */
    uint64_t mask_seed;         /* MASKED_LM: of the words that are hidden */
    bool labels_matter;         /* CAUSAL_LM: a label beside a text is refused, not passed over */
    bool unlabelled;            /* labels are not read; the answers of words are their numbers */
    const nib_labels *labels;   /* whose classes are the known ones; NULL: made of the records */
    size_t positions;           /* the most tokens that the model takes, 0: any number; of records
                                   with labels, and where max_seq_length is open */
    size_t box_limit;           /* words have boxes of numbers below this; 0: the model reads
                                   none */
    const char *const *refused; /* fields of records with labels that are inputs which the model
                                   does not take, NULL at the end; NULL: none are known */
    bool unweighted;            /* not training: each record of all sources once */
    bool keep_all;              /* evaluation keeps fully masked records: their logits are wanted */
    int64_t now;                /* what strftime_now prints: seconds since 1970 */
} nib_dataset_source;

/* Reads and tokenizes everything.  Fails with file, line or record, and field; NIB_E_FORMAT when
 * nothing is left.  With skip_bad a bad record is counted and left out. */
nib_status nib_dataset_open(nib_ctx *ctx, const nib_dataset_source *source, nib_dataset **out,
                            nib_error *err);
/* The same of one record with labels, which `where` names in errors. */
nib_status nib_dataset_of_record(nib_ctx *ctx, const nib_dataset_source *source,
                                 const json_t *record, const char *where, nib_dataset **out,
                                 nib_error *err);
void nib_dataset_close(nib_dataset *d);
size_t nib_dataset_count(const nib_dataset *d);
nib_record nib_dataset_record(const nib_dataset *d, size_t i);
nib_data_counts nib_dataset_counts(const nib_dataset *d);
nib_record_shape nib_dataset_shape(const nib_dataset *d);
/* Of records with labels the field with the second text ("sentence2"), or NULL. */
const char *nib_dataset_second(const nib_dataset *d);
const nib_labels *nib_dataset_labels(const nib_dataset *d);
/* Of a dataset for QUESTION_ANS; else count 0. */
const nib_questions *nib_dataset_questions(const nib_dataset *d);
/* Of a dataset for MASKED_LM, whose marks say which tokens may be hidden; else vocabulary 0. */
const nib_masking *nib_dataset_masking(const nib_dataset *d);
nib_labels *nib_dataset_labels_mut(nib_dataset *d);
/* Warns where no record trains a token that ends a text, or the tokenizer names none. */
void nib_dataset_warn_ends(const nib_dataset *d);
/* The chat template: where it was found, its text's SHA-256 in hex, and the text; NULL: none was
 * used. */
const char *nib_dataset_template(const nib_dataset *d);
const char *nib_dataset_template_hash(const nib_dataset *d);
const char *nib_dataset_template_text(const nib_dataset *d);

/* Moves records of d into a new set: `size` of them, or if below 1 that fraction, rounded up; which
 * ones is a function of the seed; of questions, with all their windows.  Both keep the file's
 * order.  NIB_E_INVALID: one of the two would be empty. */
nib_status nib_dataset_hold_out(nib_dataset *d, double size, uint64_t seed, nib_dataset **held,
                                nib_error *err);

/* What several sources, or one with a weight, are to an epoch; count 0: one without. */
const nib_source_report *nib_dataset_sources(const nib_dataset *d, size_t *count);
/* Records of an epoch: all, or what the sources' weights take of them; tokens and trained ones,
 * where a part is drawn those of a mean one. */
size_t nib_dataset_epoch(const nib_dataset *d);
void nib_dataset_epoch_tokens(const nib_dataset *d, uint64_t *tokens, uint64_t *targets);
/* Whether epochs differ in their records, and not in the order alone. */
bool nib_dataset_draws(const nib_dataset *d);

/* The records of epoch e in the Trainer's order: torch.randperm with seed + e, or 0, 1, 2, ...
 * (formats.md 14.4); of weighted sources the same order of what was drawn.  order:
 * [nib_dataset_epoch()]. */
void nib_dataset_order(const nib_dataset *d, bool shuffle, uint64_t seed, uint64_t epoch,
                       uint32_t *order);

#endif
