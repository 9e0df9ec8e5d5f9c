/* model.h - a model directory as a graph bound to its tensors.
 *
 * Opening reads config.json, finds the architecture, maps the weights and builds the
 * graph.  Linears, embeddings and norms belong to the model; adapters fill their slots. */
#ifndef NIB_MODEL_MODEL_H
#define NIB_MODEL_MODEL_H

#include "format/safetensors.h"
#include "model/held.h"
#include "model/outline.h"
#include "model/purpose.h"

typedef struct nib_model {
    nib_ctx *ctx;
    char *dir;
    nib_config *config;
    json_t *json;                /* config.json */
    nib_tensors *tensors;
    nib_graph *graph;
    nib_linear **linears;        /* in the order of the graph; the head last */
    size_t linear_count, linear_capacity;
    nib_embedding **embeddings;  /* in the order of the graph */
    size_t embedding_count, embedding_capacity;
    nib_embedding *embedding;    /* the first: of the words */
    nib_norm **norms;
    size_t norm_count, norm_capacity;
    nib_vector **vectors;        /* by the names of their tensors */
    size_t vector_count, vector_capacity;
    nib_linear *head;            /* NULL: opened for its features */
    nib_linear **new_linears;    /* parts of the head that the files lack: they begin at random */
    size_t new_count, new_capacity;
    nib_purpose purpose;         /* what it is built for */
    bool tied;                   /* the head is the embedding */
    nib_held stored;             /* how config.json says the file holds its weights */
    nib_held asked;              /* what the caller's settings ask for */
    bool quantized_now;          /* `asked` quantized it while loading */
    uint64_t parameters;         /* elements of all weights, tied ones once, packed ones unpacked */
    uint64_t weight_bytes;       /* of all weights, mapped or owned */
    uint64_t owned_bytes;        /* of those quantized while loading, and small float copies */
} nib_model;

typedef struct nib_model_progress {
    void (*report)(void *user, const char *what, double share);
    void *user;
} nib_model_progress;

/* Opens a model for computing.  compute: NIB_F32 or NIB_BF16. */
nib_status nib_model_open(nib_ctx *ctx, const nib_model_options *options, nib_dtype compute,
                          nib_model_progress progress, nib_model **out, nib_error *err);
/* The same for NIB_TASK_FEATURE_EXTRACTION: without a head.  Of a family that only gives words, and
 * with the task CAUSAL_LM (whose adapters have other names), the model is opened for these; what
 * its head reads are the features. */
nib_status nib_model_open_features(nib_ctx *ctx, const nib_model_options *options,
                                   nib_dtype compute, nib_model_progress progress,
                                   nib_model **out, nib_error *err);
void nib_model_close(nib_model *m);

/* The same without the weights, which need not be there: their shapes follow from config.json, they
 * decode to random values (norms to ones) and take no memory.  For planning; nib_model_fill() then
 * puts random weights of the sizes planned in their place, so that a step can be timed. */
nib_status nib_model_open_blank(nib_ctx *ctx, const nib_model_options *options, nib_dtype compute,
                                nib_model **out, nib_error *err);
nib_status nib_model_fill(nib_model *m, nib_model_progress progress, nib_error *err);

/* The compute type of NIB_COMPUTE_AUTO and the others on this machine; float16 becomes float32. */
nib_dtype nib_compute_type(nib_ctx *ctx, nib_compute compute);

/* config.json, of a GGUF file one made of its keys, read by its architecture, without weights;
 * freed with nib_config_free().  warn: keys
 * that are not used are named in a warning.  *json: json_decref(). */
nib_status nib_config_open(nib_ctx *ctx, const char *dir, bool warn, json_t **json,
                           nib_config **config, nib_error *err);
/* The same of a config.json that has been parsed; `where` names it in errors. */
nib_status nib_config_parse(nib_ctx *ctx, const json_t *json, const char *where, bool warn,
                            nib_config **config, nib_error *err);
/* config.json and the sizes that it gives the model. */
nib_status nib_config_outline(nib_ctx *ctx, const char *dir, json_t **json, nib_outline *outline,
                              nib_error *err);
void nib_config_free(nib_ctx *ctx, nib_config *config);

/* Warns of tensors that no module of the model, which may be blank, would read. */
nib_status nib_model_warn_unused(const nib_model *m, const nib_tensors *tensors, nib_error *err);

/* Do biases or whole modules of an adapter stand in the model's own, where no slot leaves them
 * out? */
bool nib_model_is_changed(const nib_model *m);

/* What the reference's class for the model's purpose calls a module: a model of features is the
 * bare one, whose names lack the prefix. */
const char *nib_model_module(const nib_model *m, const char *module);
/* What names of tensors begin with, and lack in a base-only export; "" where none may lack it. */
const char *nib_config_prefix(const nib_config *config);
/* A tensor by the name of the model's module and part; files without the prefix are understood, and
 * older names inside a wrapper. */
const nib_tensor *nib_model_tensor(const nib_tensors *tensors, const nib_config *config,
                                   const char *name);

#endif
