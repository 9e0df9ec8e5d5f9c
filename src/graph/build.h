/* build.h - adding operations to a graph, in the words of the papers.
 *
 * The builder keeps the first error, and later calls do nothing, so an architecture's
 * functions need no checks.  Names are printf formats of module paths; binding a name
 * to its tensors is the model's part (nib_binder). */
#ifndef NIB_GRAPH_BUILD_H
#define NIB_GRAPH_BUILD_H

#include "graph/graph.h"

typedef struct nib_value { int id; } nib_value;

/* What an architecture knows of a linear before its tensors are seen. */
typedef struct nib_linear_spec {
    size_t out, in;
    bool bias;
    bool transposed;     /* the file holds [in, out] (GPT-2's Conv1D) */
    bool head;           /* the graph's head: never quantized while loading */
    bool router;         /* it chooses experts: all-linear does not mean it */
    bool parameter;      /* the reference has a bare parameter here and no Linear: no target means
                            it, and its weight stays dense */
    bool bypassed;       /* PEFT refuses adapters of it: all-linear does not mean it */
    const char *stack;   /* the tensor of which it is slice `slice` of `slices`, NULL: none; and */
    const char *stack_also; /* its name in another version of the reference, or NULL */
    const char *stack_bias; /* that of the biases, or NULL */
    const char *apart[2]; /* the modules that hold its rows, one behind the other, in files that
                             have every expert apart; NULL: none, or one alone */
    size_t slice, slices;
    bool may_be_new;     /* a checkpoint made for another task lacks it: it begins at random */
    const char *tied_to; /* the embedding whose table it is, or NULL */
    const char *bias_name; /* the tensor of its bias; NULL: "<module>.bias" */
} nib_linear_spec;

typedef struct nib_norm_spec {
    size_t width;  /* numbers of the weight, those of all rows */
    bool bias;     /* it has "<module>.bias" */
    bool one_plus; /* it multiplies by 1 + weight */
    nib_norm_weights weights;
    size_t rows;   /* nib_norm's */
} nib_norm_spec;

/* How the numbers of a vector lie in memory. */
typedef enum nib_vector_form {
    NIB_VECTOR_PLAIN, /* as in the file */
    NIB_VECTOR_TAPS,  /* [channels, 1, k] as [k, channels]: a depthwise convolution's */
    NIB_VECTOR_DECAY, /* d as -e^d */
    NIB_VECTOR_MIX    /* m as the two taps 1 - m and m: a token mixed with the one before */
} nib_vector_form;

typedef struct nib_vector_spec {
    nib_vector_form form;
    unsigned rank;
    size_t shape[3]; /* of the tensor */
} nib_vector_spec;

/* The numbers that a vector of this spec holds. */
static inline size_t nib_vector_count(const nib_vector_spec *spec)
{
    size_t n = spec->form == NIB_VECTOR_MIX ? 2 : 1;
    for (unsigned i = 0; i < spec->rank; i++) n *= spec->shape[i];
    return n;
}

/* How the builder gets weights: by module path, vectors by the whole name of their tensor.  The
 * binder checks the file against the spec, or makes blank weights of it.  What is
 * returned belongs to the binder. */
typedef struct nib_binder {
    void *self;
    nib_status (*linear)(void *self, const char *module, const nib_linear_spec *spec,
                         nib_linear **out, nib_error *err);
    nib_status (*embedding)(void *self, const char *module, size_t rows, size_t width,
                            nib_embedding **out, nib_error *err);
    nib_status (*norm)(void *self, const char *module, const nib_norm_spec *spec, nib_norm **out,
                       nib_error *err);
    nib_status (*vector)(void *self, const char *tensor, const nib_vector_spec *spec,
                         nib_vector **out, nib_error *err);
} nib_binder;

typedef struct nib_build {
    nib_graph *graph;
    nib_binder binder;
    int segment;
    size_t labels;       /* of a classifier: rows of its head; 0: the model gives words */
    nib_loss_kind loss;  /* of a classifier */
    bool features;       /* what a head of words would read is what the graph gives */
    bool drops;          /* dropout is built in; else it is asked for and not there */
    uint32_t dropouts;   /* places of it so far, there or not */
    size_t matrices;     /* of experts so far */
    nib_status status;
    nib_error error;
} nib_build;

void nib_build_fail(nib_build *b, nib_status status, const char *format, ...) NIB_PRINTF(3, 4);

/* What follows belongs to the next segment: before each layer, and before what follows the last. */
void nib_segment(nib_build *b);
/* The most tokens of a sequence that the model was made for. */
void nib_set_positions(nib_build *b, size_t positions);

/* Tokens `id` have no position of their own and are not counted. */
void nib_set_position_padding(nib_build *b, size_t id);

/* Rows of a table [rows, width] by an input of the batch. */
nib_value nib_embed(nib_build *b, nib_input ids, size_t rows, size_t width, const char *module);
/* Row ids + offset: tables of positions whose first rows are for padding. */
nib_value nib_embed_offset(nib_build *b, nib_input ids, size_t offset, size_t rows, size_t width,
                           const char *module);
nib_value nib_apply_linear(nib_build *b, nib_value x, size_t out, bool bias, const char *format,
                           ...) NIB_PRINTF(5, 6);
/* The same of one that PEFT refuses adapters of, because the reference's kernels read its weight
 * past the module. */
nib_value nib_apply_bypassed_linear(nib_build *b, nib_value x, size_t out, bool bias,
                                    const char *format, ...) NIB_PRINTF(5, 6);
/* The same of a part of a classifier before its head, with a bias: it may be new. */
nib_value nib_apply_new_linear(nib_build *b, nib_value x, size_t out, const char *module);
/* The same with a bias whose tensor is no part of the module: bias_name and format are
 * formats of the layer's number. */
nib_value nib_apply_linear_bias_of(nib_build *b, nib_value x, size_t out, const char *bias_name,
                                   const char *format, int layer);
/* The same of a weight that the file holds as [in, out], with a bias: GPT-2's Conv1D. */
nib_value nib_apply_conv1d(nib_build *b, nib_value x, size_t out, const char *format, ...)
    NIB_PRINTF(4, 5);
/* A linear, and a layer norm with a bias, alone: for what is applied several times (its gradients
 * add up), or never, because nothing reads what the reference makes with it (files hold it, and
 * adapters may have a part for it).  They belong to the binder; NULL after an error. */
nib_linear *nib_bind_linear(nib_build *b, size_t out, size_t in, bool bias, const char *format,
                            ...) NIB_PRINTF(5, 6);
nib_value nib_apply_bound_linear(nib_build *b, nib_value x, nib_linear *l);
nib_norm *nib_bind_layer_norm(nib_build *b, size_t width, const char *format, ...)
    NIB_PRINTF(3, 4);
nib_value nib_apply_bound_norm(nib_build *b, nib_value x, nib_norm *norm, float eps);
nib_value nib_apply_rms_norm(nib_build *b, nib_value x, float eps, const char *format, ...)
    NIB_PRINTF(4, 5);
/* Of each of `heads` heads of x, with one weight [width / heads] for all. */
nib_value nib_apply_rms_norm_heads(nib_build *b, nib_value x, size_t heads, float eps,
                                   const char *format, ...) NIB_PRINTF(5, 6);
/* The same (1 head: of the whole row) in another of the reference's forms: gemma's, olmo2's. */
nib_value nib_apply_rms_norm_form(nib_build *b, nib_value x, size_t heads, nib_rms_form form,
                                  float eps, const char *format, ...) NIB_PRINTF(6, 7);
/* Of each of `groups` parts of x, each with its weights in one [width]. */
nib_value nib_apply_rms_norm_groups(nib_build *b, nib_value x, size_t groups, float eps,
                                    const char *format, ...) NIB_PRINTF(5, 6);
nib_value nib_apply_layer_norm(nib_build *b, nib_value x, float eps, const char *format, ...)
    NIB_PRINTF(4, 5);
/* The same without a bias. */
nib_value nib_apply_layer_norm_plain(nib_build *b, nib_value x, float eps, const char *format, ...)
    NIB_PRINTF(4, 5);
/* The same with a bias, multiplied by 1 + weight: nemotron's. */
nib_value nib_apply_layer_norm_one_plus(nib_build *b, nib_value x, float eps, const char *format,
                                        ...) NIB_PRINTF(4, 5);
/* Layer norm of each of `heads` heads of x; bias: of NIB_NORM_SHARED alone. */
nib_value nib_apply_layer_norm_heads(nib_build *b, nib_value x, size_t heads,
                                     nib_norm_weights weights, bool bias, float eps,
                                     const char *format, ...) NIB_PRINTF(7, 8);
/* x / sqrt(mean(x^2) + eps) of each head, without a weight; `format` names it in errors. */
nib_value nib_rms_heads(nib_build *b, nib_value x, size_t heads, float eps, const char *format, ...)
    NIB_PRINTF(5, 6);
/* A whole row with a weight in the tensor M.scale. */
nib_value nib_apply_rms_norm_scale(nib_build *b, nib_value x, float eps, const char *format, ...)
    NIB_PRINTF(4, 5);
nib_value nib_activate(nib_build *b, nib_value x, nib_activation activation);
/* xIELU with the numbers <module>.alpha_p and alpha_n [1], beta and eps []; x may be a view. */
nib_value nib_apply_xielu(nib_build *b, nib_value x, const char *format, ...) NIB_PRINTF(3, 4);
nib_value nib_gate(nib_build *b, nib_value gate, nib_value up,
                   nib_activation activation); /* act(gate) * up */
nib_value nib_add(nib_build *b, nib_value x, nib_value y);
/* x under dropout while training; x itself where p is 0 or the graph has none. */
nib_value nib_dropout(nib_build *b, nib_value x, float p);
/* c x, rounded once; x itself when c is 1.  Where the reference rounds the factor to the compute
 * type first (gemma's sqrt(H)), c is nib_rounded_factor(b, ...). */
nib_value nib_scale(nib_build *b, nib_value x, float c);
/* The same by the number that a vector holds; it gets no gradient. */
nib_value nib_scale_by(nib_build *b, nib_value x, const nib_vector *c);
float nib_rounded_factor(const nib_build *b, float c);
/* `heads` heads of `head_dim` inside a wider value: a view, not a copy, for norms, rotation,
 * attention and what works value by value.  The views of one value must not overlap, and together
 * cover it; each is read once, and the value itself by nothing: anything else fails.  (A value
 * without views may be read any number of times.) */
nib_value nib_heads_of(nib_build *b, nib_value x, size_t heads, size_t head_dim, size_t offset,
                       nib_heads layout);
/* Channels [offset, offset + width) as a view; it may be read as heads. */
nib_value nib_columns_of(nib_build *b, nib_value x, size_t offset, size_t width);
nib_value nib_rotate(nib_build *b, nib_value x, size_t heads, size_t head_dim,
                     const nib_rope *rope);
/* Heads [x_h | y_h]; shared: y is one head that all get.  Either may be a view. */
nib_value nib_join_heads(nib_build *b, nib_value x, nib_value y, size_t heads, bool shared);
/* x + [sin(w (p + offset)) | cos(w (p + offset))] of tokens at position p, w = `frequencies`
 * [width / 2], which live as long as the graph. */
nib_value nib_add_sinusoid(nib_build *b, nib_value x, size_t offset, const float *frequencies);
/* The rows of tokens `word` become 0, the others are scaled by kept / (1 - their part of the
 * sequence): ESM's token dropout. */
nib_value nib_mask_words(nib_build *b, nib_value x, uint32_t word, float kept);
/* k and v live on one axis, which may be another than q's (graph.h, nib_attention_desc). */
nib_value nib_attend(nib_build *b, nib_value q, nib_value k, nib_value v,
                     const nib_attention_desc *d);
/* The rows of a table [2 span half, width] of distances, on an axis of their own. */
nib_value nib_embed_span(nib_build *b, const nib_span *span, size_t width, const char *module);
/* Attention over all tokens of a sequence whose scores are q . k + q . keys[r] + k . queries[r], r
 * the row of their distance: `keys` and `queries` are projections of a table's rows, or absent
 * ({ NIB_NONE }), but for one (op_disentangled.c). */
nib_value nib_attend_apart(nib_build *b, nib_value q, nib_value k, nib_value v, nib_value keys,
                           nib_value queries, const nib_attention_desc *d);
/* nib_attend() of one head whose weights are each key's by itself (op_weigh_keys.c). */
nib_value nib_weigh_keys(nib_build *b, nib_value q, nib_value k, nib_value v,
                         const nib_attention_desc *d);
/* w x + b, channel by channel: row `row` of <module>_weight and <module>_bias [rows, width]; rows
 * 0: <module>.weight [width], without a bias. */
nib_value nib_apply_affine(nib_build *b, nib_value x, size_t rows, size_t row, const char *format,
                           ...) NIB_PRINTF(5, 6);
/* Exponential moving averages of tokens' channels with `states` each, from both sides or from
 * before (op_average.c): <module>.damping_factor, decay_factor, ema_expansion_matrix
 * [directions width, states, 1], kernel_projection_matrix [directions width, states] and
 * residual_weight [width]. */
typedef struct nib_average_spec {
    size_t states, truncation; /* truncation 0: none */
    bool both;
} nib_average_spec;
nib_value nib_average_around(nib_build *b, nib_value x, const nib_average_spec *spec,
                             const char *format, ...) NIB_PRINTF(4, 5);
/* A convolution of an odd number of taps around each token that mixes channels within groups:
 * <module>.weight [width, width / groups, taps] and <module>.bias. */
nib_value nib_mix_near(nib_build *b, nib_value x, size_t groups, size_t taps, const char *module);
/* A depthwise causal convolution of tokens with the taps <module>.weight [channels, 1, taps], which
 * generation carries rows for.  x may be a view; it is channels [offset, offset + its width). */
typedef struct nib_conv_spec {
    size_t taps, channels, offset;
    bool bias, silu;
} nib_conv_spec;
nib_value nib_convolve(nib_build *b, nib_value x, const nib_conv_spec *spec, const char *format,
                       ...) NIB_PRINTF(4, 5);
/* m x + (1 - m) times the row before, or nothing before the first; m is the tensor named [1, 1,
 * width]. */
nib_value nib_mix_before(nib_build *b, nib_value x, const char *format, ...) NIB_PRINTF(3, 4);
/* The gated delta rule (formats.md 10.47) of q and k [key heads of `rows`], made unit vectors, v
 * [heads of `columns`], and for each head b and a; <module>.A_log and dt_bias.  All may be
 * views. */
typedef struct nib_scan_spec {
    size_t heads, key_heads, rows, columns;
    float least, most; /* of the state space's steps */
} nib_scan_spec;
nib_value nib_apply_delta_rule(nib_build *b, nib_value q, nib_value k, nib_value v, nib_value beta,
                               nib_value a, const nib_scan_spec *spec, const char *format, ...)
    NIB_PRINTF(8, 9);
/* Mamba-2's state space (formats.md 10.50): reads [key heads of `rows`] C, writes B, x [heads of
 * `columns`], and a step for each head; <module>.A_log, dt_bias and D. */
nib_value nib_apply_state_space(nib_build *b, nib_value reads, nib_value writes, nib_value x,
                                nib_value steps, const nib_scan_spec *spec, const char *format,
                                ...) NIB_PRINTF(7, 8);
/* RWKV's averages of v over time, weighted by k (formats.md 10.54): <module>.time_decay and
 * time_first. */
nib_value nib_average_before(nib_build *b, nib_value k, nib_value v, const char *format, ...)
    NIB_PRINTF(4, 5);
/* From token rows to logit rows: everything after this works on supervised rows only.  x itself
 * when it is there already. */
nib_value nib_to_logit_rows(nib_build *b, nib_value x);
/* The same where a batch picks one row of each sequence (graph.h, nib_rows_read). */
nib_value nib_to_one_row(nib_build *b, nib_value x, nib_rows_read which);
/* One row a sequence, of the axis of sequences, which is made when it is first asked for. */
nib_value nib_pool_rows(nib_build *b, nib_value x, nib_pooling pooling);
/* Another axis whose rows the batch brings (source tokens), and another input of an axis's rows
 * (type ids). */
nib_axis nib_add_axis(nib_build *b, const char *name);
nib_input nib_add_input(nib_build *b, const char *name, nib_axis axis);
/* The tokens' boxes, numbers below `limit`: the first of NIB_BOX_INPUTS inputs. */
nib_input nib_add_boxes(nib_build *b, size_t limit);
/* Logits are cap * tanh(scale * z / cap) of the head's values z, or scale * z when cap is 0;
 * without a call, z.  scale > 0, so that the order of the words stays. */
void nib_set_logits(nib_build *b, float scale, float cap);
/* nib_graph's noise_scale; without a call, 1. */
void nib_set_noise_scale(nib_build *b, float scale);
/* A learned vector [width] by the name of its tensor (sinks of an attention, the bias of a choice);
 * NULL after an error. */
const nib_vector *nib_bind_vector(nib_build *b, size_t width, const char *format, ...)
    NIB_PRINTF(3, 4);
/* The same of a tensor [1, width]. */
const nib_vector *nib_bind_row(nib_build *b, size_t width, const char *format, ...)
    NIB_PRINTF(3, 4);
/* The same of a table [rows, width]. */
const nib_vector *nib_bind_table(nib_build *b, size_t rows, size_t width, const char *tensor);
/* The head: a linear that the loss and the sampler pull rows from. */
typedef struct nib_head_spec {
    size_t rows;         /* words of the vocabulary, or classes */
    bool bias;
    const char *tied_to; /* the embedding whose table it is, or NULL */
    nib_loss_kind loss;
    bool may_be_new;
    const char *bias_name; /* the tensor of its bias; NULL: "<module>.bias" */
} nib_head_spec;

/* Without a head: the rows that a batch picks are what the graph gives (readout.h). */
void nib_give_rows(nib_build *b, nib_value x);
/* On the hidden states as they are. */
void nib_set_head(nib_build *b, nib_value hidden, nib_head_spec spec, const char *module);
/* A classifier's, of the builder's labels and loss, on the hidden states as they are. */
void nib_class_head(nib_build *b, nib_value x, bool bias, const char *module);
/* On the rows that get logits; a builder of features has these rows in its place. */
void nib_head(nib_build *b, nib_value x, nib_head_spec spec, const char *module);

#endif
