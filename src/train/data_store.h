/* data_store.h - what a dataset holds; only data*.c look inside. */
#ifndef NIB_TRAIN_DATA_STORE_H
#define NIB_TRAIN_DATA_STORE_H

#include "train/data.h"
#include "train/questions.h"

struct nib_dataset {
    nib_ctx *ctx;
    nib_source_report *parts; /* [part_count]: the sources in their order, paths are copies; 0: an
                                 epoch is all records once */
    size_t part_count, part_capacity;
    size_t epoch;             /* records of an epoch, where there are parts */
    uint32_t *list, *drawn;   /* [epoch], [count]: room for an epoch's records and for a draw */
    uint32_t *ids;
    uint8_t *trained;         /* of records with labels: the tokens' types */
    size_t used, id_capacity, trained_capacity;
    uint16_t *boxes;          /* [boxed, 4]: the tokens' up to the last that has one; or NULL */
    size_t boxed, box_capacity;
    size_t *ends;             /* of record i in ids */
    size_t count, end_capacity;
    nib_labels labels;        /* kind NIB_LABEL_NONE: the records have none */
    size_t *answer_ends;      /* of record i in labels.answers */
    size_t answer_end_capacity;
    nib_questions questions;  /* count 0: the records are none */
    nib_masking masking;      /* vocabulary 0: no words are hidden */
    nib_data_counts counts;
    nib_record_shape shape;
    const char *second;       /* the field with a record's second text; NULL: there is none */
    char *template_name, *template_hash, *template_text;
    nib_special_tokens special; /* the tokenizer's; its strings live as long as that */
};

nib_dataset *nib_dataset_create(nib_ctx *ctx); /* NULL: no memory */

/* A token of the record at hand, which begins behind the last one's end. */
nib_status nib_dataset_add(nib_dataset *d, const char *where, uint32_t id, uint8_t mark,
                           nib_error *err);
/* The box of the token added last; tokens without one have zeros. */
nib_status nib_dataset_place(nib_dataset *d, const char *where, const uint16_t box[4],
                             nib_error *err);
/* The record at hand is whole, or is dropped. */
nib_status nib_dataset_end(nib_dataset *d, const char *where, nib_error *err);
void nib_dataset_drop(nib_dataset *d);
size_t nib_dataset_begin(const nib_dataset *d); /* of the record at hand */
/* Records from the `count`th on are taken back, and the record at hand is dropped. */
void nib_dataset_cut(nib_dataset *d, size_t count);
/* Rows that have an answer in the record at hand, which has labels. */
size_t nib_dataset_targets(const nib_dataset *d);

/* data_sources.c: what was added since the last call is this source's.  Without the marked
 * records.  After that, and before an order is asked for, parts are settled: NIB_E_INVALID, a
 * weight takes no record, or more than can be counted. */
nib_status nib_dataset_end_part(nib_dataset *d, const nib_data_source *s, nib_error *err);
void nib_dataset_shrink_parts(nib_dataset *d, const uint8_t *gone);
nib_status nib_dataset_settle_parts(nib_dataset *d, nib_error *err);

/* Counts tokens, targets, ends, duplicates and the longest anew; not the longest that was read. */
nib_status nib_dataset_recount(nib_dataset *d, nib_error *err);

#endif
