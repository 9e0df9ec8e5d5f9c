/* lab.h - a graph of a few operations with random weights, to try them in.
 *
 * A build function registers modules by name and then calls the builder (graph/build.h) on them.
 * Numbers come from the lab's own generator: two labs of one build function hold the same. */
#ifndef NIB_TESTS_LAB_H
#define NIB_TESTS_LAB_H

#include "graph/build.h"
#include "graph/run.h"

enum {
    LAB_BIAS = 1,   /* a linear's bias, frozen */
    LAB_TRAIN = 2,  /* bias and norm vectors are trained */
    LAB_LORA = 4,   /* a branch in slot 0, A and B random, rank 3, scale 1.5 */
    LAB_FULL = 8,   /* the weight is a trained copy */
    LAB_NF4 = 16,   /* the weight is encoded, block size 32 */
    LAB_DROPOUT = 32,
    LAB_SECOND = 64, /* with LAB_LORA: another one in slot 1, rank 5, scale 0.7 */
    LAB_DORA = 128   /* with LAB_LORA: its branches have magnitudes */
};

enum { LAB_MOST = 24, LAB_IDS = 12, LAB_TARGETS = 9, LAB_ROWS = 160 };

typedef struct lab lab;
typedef void lab_build(lab *l);

struct lab {
    nib_ctx *ctx;
    nib_build b;
    nib_params params;
    nib_linear linears[LAB_MOST];
    nib_embedding embeddings[LAB_MOST];
    nib_norm norms[LAB_MOST];
    nib_vector vectors[LAB_MOST];
    size_t linear_count, embedding_count, norm_count, vector_count;
    float *owned[2 * LAB_MOST];
    size_t owned_count;
    nib_rope rope;
    uint32_t random;
    uint32_t lengths[4];    /* of the sequences, 0 ends; may be changed by the build function */
    size_t targets;         /* rows of the head */
    size_t elements;        /* of each matrix that are tried */
    nib_loss_kind loss;     /* of the head; may be set by the build function before the head */
    bool weighted;          /* the rows of the loss have weights */
    double label_smoothing, noise; /* of the run; may be set by the build function */
    int variant;            /* for the build function */
    nib_plan *plan;
    nib_run *run;
    nib_batch batch;
    nib_input source;       /* lab_source()'s; 0: none */
    uint32_t source_lengths[4], source_offsets[5], source_ids[LAB_ROWS];
    uint32_t offsets[5], ids[LAB_ROWS], positions[LAB_ROWS], logit_index[LAB_ROWS],
        logit_targets[LAB_ROWS];
    float wanted[LAB_ROWS * LAB_TARGETS], weights[LAB_ROWS];
};

/* Builds, whatever l->b.status then is.  lab_close() in any case. */
void lab_start(lab *l, nib_ctx *ctx, nib_dtype type, lab_build *build, int variant);
/* Builds; false (with a failed check) when the builder refuses.  lab_close() in any case. */
bool lab_open(lab *l, nib_ctx *ctx, nib_dtype type, lab_build *build, int variant);
void lab_close(lab *l);
bool lab_plan(lab *l, nib_plan_kind kind); /* in place of the plan before */
/* A training step: the summed loss; gradients are those of this step alone.  Norms of branches with
 * magnitudes stay as they were measured first: constants, as a backward pass takes them. */
double lab_step(lab *l);

/* For build functions. */
float lab_random(lab *l); /* in [-1, 1) */
nib_linear *lab_linear(lab *l, const char *name, size_t out, size_t in, int how);
nib_embedding *lab_embedding(lab *l, const char *name, size_t width,
                             int how); /* [LAB_IDS, width] */
/* Apply them, with the sizes they were made with; lab_head() puts the linear "head" on top. */
nib_value lab_apply(lab *l, nib_value x, const char *name);
nib_value lab_embed(lab *l, const char *name);
void lab_head(lab *l, nib_value hidden);
/* A second axis, of as many sequences: source_lengths rows in each. */
nib_value lab_source(lab *l, const char *embedding);
nib_vector *lab_vector(lab *l, const char *name, size_t width, int how);
void lab_norm(lab *l, const char *name, size_t width, bool bias, int how);
/* The last norm has a weight for each of `rows` heads: its width is that of all. */
void lab_norm_rows(lab *l, size_t rows);
/* Logit rows and a head [l->targets, width] behind `hidden`. */
void lab_finish(lab *l, nib_value hidden, size_t width, int how);

#endif
