/* retrieval.h - how well embeddings find what belongs together: recall and reciprocal rank of the
 * right documents among all, by cosine. */
#ifndef NIB_JOB_RETRIEVAL_H
#define NIB_JOB_RETRIEVAL_H

#include "nibble/evaluate.h"
#include "train/texts.h"

/* Queries are the first texts of the records, right answers their second ones; the documents are
 * all texts but the first, and those of a corpus.  The same tokens are one query, one document. */
typedef struct nib_retrieval {
    nib_ctx *ctx;
    const nib_texts *texts, *corpus;    /* corpus NULL: none */
    const float *vectors, *more;        /* [texts, width] of each, of length 1 */
    size_t width;
    uint32_t *documents;     /* [document_count] numbers of texts; the corpus follows */
    size_t document_count;
    uint32_t *table;         /* [table_size] of documents, by their tokens; number + 1, 0: free */
    size_t table_size;       /* a power of two */
    uint32_t *head, *next;   /* lists of records with the same query */
    uint32_t *answers;       /* [records] the document of the second text */
    uint32_t *ranks;         /* [records] of it, from 1; 0: it counts already */
} nib_retrieval;

nib_status nib_retrieval_init(nib_ctx *ctx, const nib_texts *texts, const nib_texts *corpus,
                              nib_retrieval *out, nib_error *err);
void nib_retrieval_free(nib_retrieval *r); /* zeroed is fine */
/* Sets recall and mrr of *scores.  vectors [records * columns, width] and more (of the corpus)
 * have length 1 and lie as their texts are numbered. */
void nib_retrieval_measure(nib_retrieval *r, const float *vectors, const float *more, size_t width,
                           nib_scores *scores);

#endif
