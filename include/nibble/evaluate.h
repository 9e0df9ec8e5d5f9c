/* evaluate.h - loss and perplexity of a model on a data file, and its logits. */
#ifndef NIBBLE_EVALUATE_H
#define NIBBLE_EVALUATE_H

#include "nibble/context.h"
#include "nibble/finetune.h"
#include "nibble/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of one class. */
typedef struct nib_class_scores {
    const char *name;
    double precision, recall, f1;
    uint64_t support;    /* rows whose right answer it is */
} nib_class_scores;

/* How well a classifier does, measured as scikit-learn and scipy do; what has no meaning for its
 * labels is NaN. */
typedef struct nib_scores {
    uint64_t rows;       /* records, words with a tag, or questions */
    double accuracy;     /* of several labels: records of which all are right */
    double f1;           /* macro */
    double matthews_correlation;
    /* Of answers in a context, SQuAD's, in percent; f1 is then too.  Where some questions have no
     * answer, also of those that have one and of those that have none. */
    double exact_match, has_answer_exact, has_answer_f1, no_answer_exact, no_answer_f1;
    double mse, pearson, spearmanr; /* of numbers, the mean over those of a record; of texts with
                                     * scores the last two, of cosine and score */
    double recall[4];    /* of texts that belong together: of the right documents among the nearest
                          * 1, 3, 5 and 10, */
    double mrr;          /* and the reciprocal rank of the first one, if it is 10 or less */
    uint64_t queries, documents;
    /* Of tags that mark spans (B-, I-, E-, S- and O): of all spans, and of each type; seqeval's. */
    double overall_precision, overall_recall, overall_f1;
    size_t span_types;
    const nib_class_scores *spans; /* [span_types] */
    size_t labels;
    const nib_class_scores *classes; /* [labels]; NULL of numbers */
    const uint64_t *confusion; /* [labels, labels], the right class, then the predicted one, of one
                                * class a row and at most 1000 labels; else NULL */
} nib_scores;

typedef struct nib_evaluate_options {
    nib_model_options model;     /* its task: the adapter's, where that is AUTO and it says one */
    nib_data_options data;
    const char *adapter; /* PEFT directory or NULL */
    const char *corpus;  /* of embeddings: more documents that are searched, {text} a record; NULL:
                            those of data alone */
    const char *logits;  /* .safetensors to write, float32 [T, V] for each record: "0", "1", ... */
    int batch_size;      /* records at a time; 0: 8, of embeddings 64 */
    void (*on_progress)(void *user, const char *what, double share);
    /* Of a classifier, answers or embeddings, at the end. */
    void (*on_scores)(void *user, const nib_scores *scores);
    void *user;
} nib_evaluate_options;

typedef struct nib_evaluate_result {
    double loss, perplexity;
    uint64_t tokens, supervised_tokens, records, truncated;
    double seconds;
} nib_evaluate_result;

nib_status nib_evaluate(nib_ctx *ctx, const nib_evaluate_options *options,
                        nib_evaluate_result *result, nib_error *err);

#ifdef __cplusplus
}
#endif
#endif
