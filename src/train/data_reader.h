/* data_reader.h - what the files that read records share: data_read.c (from record to record),
 * data_add.c (a record's tokens), data_queue.c (texts that wait to be encoded), data_text.c
 * (encoded texts), data_labelled.c (records with labels), data_compared.c (texts to compare),
 * data_boxes.c (where words stand), data_questions.c (answers in a context), data_ids.c (records
 * that are tokens), data_fields.c (what nobody used), data_warn.c (what a person should look
 * at). */
#ifndef NIB_TRAIN_DATA_READER_H
#define NIB_TRAIN_DATA_READER_H

#include "format/table.h"
#include "train/data_store.h"

enum { NIB_MOST_UNUSED = 64, NIB_MOST_NEGATIVES = 100 };

/* Fields that no part of a record's shape reads, by the order in which they were met. */
typedef struct nib_unused_fields {
    char *names[NIB_MOST_UNUSED];
    uint64_t records[NIB_MOST_UNUSED]; /* in which the field is there and not null */
    size_t count;
    bool more; /* than the table has room for */
} nib_unused_fields;

typedef struct nib_skipped_columns { /* of the open Parquet file: not decoded */
    char **names;
    size_t count, capacity;
} nib_skipped_columns;

/* An example that waits for its turn, and its tokens once it was encoded. */
typedef struct nib_waiting {
    nib_example example;
    char *where;
    nib_encoding *text;
    nib_encoding *prompt; /* its nib_data_prompt_bytes() by themselves */
} nib_waiting;

enum { NIB_MOST_WAITING = 256 };
typedef struct nib_data_queue {
    nib_waiting *items;  /* [NIB_MOST_WAITING] in the order in which they came; buffers are kept */
    nib_encoding *jobs;  /* [2 * NIB_MOST_WAITING] */
    size_t count, bytes; /* of their texts */
} nib_data_queue;

/* Of records with labels: the fields that the first one settled, and room for tokens. */
typedef struct nib_labelled {
    const char *first, *second, *label; /* second NULL: one text; label NULL: none is given */
    const char *boxes;      /* NULL: there are none */
    bool of_words;          /* `first` is a list of words */
    nib_windows windows;
    nib_windows frame;      /* what the post-processor puts around a word, and the word: */
    size_t before, behind;  /* where it begins, where what stands behind it does */
    bool has_frame, cut;    /* the record at hand was cut */
    size_t negatives;       /* of records whose texts are compared */
    char *prompted;         /* a text behind the prompt */
    size_t prompted_room;
} nib_labelled;

typedef struct nib_data_reader {
    nib_ctx *ctx;
    const nib_data_options *o;
    const nib_dataset_source *in;
    nib_dataset *d;
    nib_shaper shaper;
    nib_data_queue queue;
    nib_labelled labelled;
    nib_unused_fields unused;
    nib_skipped_columns skipped;
    const char *path;    /* of the source at hand */
    char shaped_by[256]; /* the record that settled the shape */
    bool fatal;          /* what went wrong is no single record's fault */
    char first_bad[256]; /* what the first skipped record suffered from */
} nib_data_reader;

/* The most tokens of a text that is no record with labels, and of a window of a stream. */
size_t nib_data_limit(const nib_data_reader *r);
size_t nib_data_window(const nib_data_reader *r);
/* The record at hand has `tokens`, more than the limit: true when it is to be left out, not cut. */
bool nib_data_is_too_long(nib_data_reader *r, size_t tokens);

/* A token of the record at hand.  NIB_E_MISMATCH: beyond the vocabulary. */
nib_status nib_data_add_token(nib_data_reader *r, const char *where, int64_t id, uint8_t mark,
                              nib_error *err);
/* The record is what was added since the last one: kept, or counted and left out. */
nib_status nib_data_end_record(nib_data_reader *r, const char *where, bool cut, nib_error *err);

/* data_queue.c: takes r->shaper.example into the queue, which is not full; encodes all that waits,
 * on all threads: each has its own status then. */
nib_status nib_data_queue_add(nib_data_reader *r, const char *where, nib_error *err);
bool nib_data_queue_full(const nib_data_reader *r);
nib_status nib_data_queue_encode(nib_data_reader *r, nib_error *err);
void nib_data_queue_free(nib_data_reader *r);

/* data_text.c: an example that was encoded; a stream in windows */
nib_status nib_data_add_text(nib_data_reader *r, const nib_waiting *w, nib_error *err);
/* How many of an example's bytes are a prompt that is to be encoded by itself as well; 0: none. */
size_t nib_data_prompt_bytes(const nib_example *x);
nib_status nib_data_add_stream(nib_data_reader *r, const json_t *record, const char *where,
                               nib_error *err);
/* data_ids.c */
nib_status nib_data_add_ids(nib_data_reader *r, const json_t *record, const char *where,
                            nib_error *err);

/* data_labelled.c: records of classifiers.  Settles the fields by a record's names (once); the same
 * with an error that lists them; adds a record. */
static inline bool nib_data_is_labelled(const nib_data_reader *r)
{
    return r->in->task == NIB_TASK_SEQ_CLS || r->in->task == NIB_TASK_TOKEN_CLS ||
           r->in->task == NIB_TASK_FEATURE_EXTRACTION || r->in->task == NIB_TASK_MASKED_LM ||
           r->in->task == NIB_TASK_QUESTION_ANS;
}
/* data_compared.c: of these, the ones whose texts are compared with each other. */
static inline bool nib_data_is_compared(const nib_data_reader *r)
{
    return r->in->task == NIB_TASK_FEATURE_EXTRACTION && !r->in->unlabelled;
}
void nib_compared_settle(nib_data_reader *r, const json_t *record);
nib_status nib_compared_detect(nib_data_reader *r, const json_t *record, const char *where,
                               nib_error *err);
nib_status nib_data_add_compared(nib_data_reader *r, const json_t *record, const char *where,
                                 nib_error *err);
bool nib_compared_is_negative(const char *key); /* "negative", "negative_1" */
/* The most tokens of a record with labels, or of a text that is compared. */
static inline size_t nib_labelled_limit(const nib_data_reader *r)
{
    size_t limit = (size_t)r->o->max_seq_length;

    return r->in->positions && r->in->positions < limit ? r->in->positions : limit;
}
/* The field that has a record's label, and is not null; or NULL.  Is it the name of one? */
const char *nib_labelled_label(const json_t *record);
bool nib_labelled_is_label(const char *name);
void nib_labelled_settle(nib_data_reader *r, const json_t *record);
nib_status nib_labelled_detect(nib_data_reader *r, const json_t *record, const char *where,
                               nib_error *err);
nib_status nib_data_add_labelled(nib_data_reader *r, const json_t *record, const char *where,
                                 nib_error *err);
/* The error of a .txt for a task whose answers no line of text can hold. */
nib_status nib_data_refuse_lines(const nib_data_reader *r, const char *where, nib_error *err);
/* The lines of a .txt, those that are not empty. */
nib_status nib_data_add_lines(nib_data_reader *r, const json_t *record, const char *where,
                              nib_error *err);
void nib_labelled_free(nib_data_reader *r);

/* data_questions.c: the fields by a record's names; a record, all of it or nothing; does it read
 * this field beside those? */
void nib_question_settle(nib_data_reader *r, const json_t *record);
nib_status nib_data_add_question(nib_data_reader *r, const json_t *record, const char *where,
                                 nib_error *err);
bool nib_question_reads(const char *key);

/* data_boxes.c: the list of a record's boxes for its words, NULL where it has none; that of a word,
 * zeros where there is no list. */
nib_status nib_boxes_list(const nib_data_reader *r, const json_t *record, size_t words,
                          const char *where, const json_t **list, nib_error *err);
nib_status nib_boxes_read(const nib_data_reader *r, const json_t *list, size_t word,
                          const char *where, uint16_t box[4], nib_error *err);

/* data_fields.c: counts what nobody reads of a record. */
nib_status nib_data_note_fields(nib_data_reader *r, const json_t *record, const char *where,
                                nib_error *err);
nib_status nib_data_note_skipped(nib_data_reader *r, const char *where, nib_error *err);
/* For nib_records_options: leaves out the columns that nobody reads; `reader` is the reader. */
nib_status nib_data_choose_columns(void *reader, nib_table *table, nib_error *err);
/* "'context' (3 records), 'id' (12 records)" */
void nib_data_list_unused(const nib_data_reader *r, char *out, size_t room);
void nib_data_free_fields(nib_data_reader *r);

/* data_warn.c: after the last record.  NIB_E_INVALID: more was cut off than can be meant. */
nib_status nib_data_warn(nib_data_reader *r, nib_error *err);

#endif
