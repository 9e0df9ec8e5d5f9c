/* graph.h - a model as a list of operations on named values.
 *
 * An architecture's function adds one layer after another through the builder
 * (build.h).  From the list come the forward pass, the backward pass (the nodes in
 * reverse), the adapter targets and the memory plan (plan.h).
 *
 * A value lives on a row axis of the batch: tokens, the rows that get logits, one row a
 * sequence, the tokens of a second text.  Its elements are of the compute type; side values (row
 * statistics) are float. */
#ifndef NIB_GRAPH_GRAPH_H
#define NIB_GRAPH_GRAPH_H

#include "graph/module.h"
#include "kernel/kernels.h"

/* An index into graph->axes.  Every graph has the first two; the builder adds others. */
typedef int nib_axis;
enum { NIB_TOKENS, NIB_LOGIT_ROWS, NIB_MAX_AXES = 8 };

/* How the rows of an axis follow from the batch. */
typedef enum nib_axis_kind {
    NIB_AXIS_GIVEN,    /* the batch brings them with their offsets: tokens, source tokens */
    NIB_AXIS_PICKED,   /* rows of the parent that the batch lists: those that get logits */
    NIB_AXIS_SEQUENCES, /* one row a sequence */
    NIB_AXIS_SPAN,     /* rows of a table of distances: those that the longest sequence of tokens
                          reaches, from the middle on both sides (nib_span) */
    NIB_AXIS_ROUTED    /* each row of the parent as often as it chooses experts, in an order that
                          a value says (routes.h) */
} nib_axis_kind;

/* A table of 2 half rows for the distances -half .. half - 1 from key to query; with `buckets`, far
 * ones share a row by their logarithm, those up to `most` (DeBERTa: distances.h). */
typedef struct nib_span {
    size_t half;    /* 0: the axis is none */
    size_t buckets; /* 0: every distance is its own */
    size_t most;
} nib_span;

typedef struct nib_axis_info {
    const char *name;
    nib_axis_kind kind;
    nib_axis parent; /* of a picked or routed axis; else the axis itself */
    size_t times;    /* rows for each of the parent; 1 but for a routed axis */
    nib_span span;
} nib_axis_info;

/* An index into graph->inputs: what a batch brings for each row of an axis, 32-bit integers.
 * Every graph has the first three, on NIB_TOKENS; the builder adds others. */
typedef int nib_input;
enum { NIB_IDS, NIB_POSITIONS, NIB_TYPES /* 0: the first text, 1: the second */ };
enum { NIB_MAX_ROW_INPUTS = 12 };
/* Where a token stands on its page, as inputs one after another: a box's left, upper, right and
 * lower edge, its height and its width. */
enum { NIB_BOX_INPUTS = 6 };

typedef struct nib_input_info {
    const char *name;
    nib_axis axis;
} nib_input_info;

enum { NIB_MAX_INPUTS = 8, NIB_NONE = -1 };

typedef struct nib_graph nib_graph;
typedef struct nib_node nib_node;
typedef struct nib_run nib_run;
typedef struct nib_state nib_state; /* state.h */
typedef struct nib_backend nib_backend; /* backend.h */

/* Heads one after another in a row. */
static inline nib_heads nib_plain_heads(size_t heads, size_t head_dim)
{
    return (nib_heads){ .row_stride = heads * head_dim, .head_stride = head_dim,
                        .per_group = heads };
}

typedef struct nib_value_info {
    nib_axis axis;
    size_t width;
    nib_dtype dtype;
    int node;            /* that makes it; NIB_NONE for a view */
    int view_of;         /* the value it is a piece of, or NIB_NONE */
    size_t offset;       /* of a view: elements from the start of a row */
    nib_heads layout;    /* where heads lie: of a view, and of a plain value */
    size_t heads, head_dim; /* of a view */
    int readers;         /* times that nodes read it */
    size_t viewed;       /* channels that lie in views of it */
    bool needs_grad;     /* a trained parameter lies below it */
    int last_read;       /* the last segment that reads it or a view of it, the head's of what is
                            read there; like needs_grad found by nib_graph_mark() */
} nib_value_info;

/* Which rows of a sequence NIB_LOGIT_ROWS holds. */
typedef enum nib_rows_read {
    NIB_READ_LISTED, /* those that the batch wants answers for: words, tags */
    NIB_READ_FIRST,  /* one a sequence, the first (BERT's classifiers) */
    NIB_READ_LAST    /* one a sequence, the last that is no padding (a decoder's score) */
} nib_rows_read;

/* What a head is trained for, z being its values and N the rows (weighted by the batch's weights):
 * sums over rows, divided by nib_run's loss_weight once a step (op_loss.c). */
typedef enum nib_loss_kind {
    NIB_LOSS_CROSS_ENTROPY, /* one of the head's rows is right: words, classes, tags */
    NIB_LOSS_BINARY,        /* each of the head's rows is right or not: several labels */
    NIB_LOSS_SQUARED,       /* numbers: regression */
    NIB_LOSS_SPAN           /* of each of the head's two rows one of a sequence's rows is right:
                               where an answer begins, where it ends */
} nib_loss_kind;

/* What one row a sequence is made of. */
typedef enum nib_pooling { NIB_POOL_FIRST, NIB_POOL_LAST, NIB_POOL_MEAN } nib_pooling;

/* Pointers of one execution of a node; NULL where there is nothing. */
typedef struct nib_io {
    const void *in[NIB_MAX_INPUTS];
    void *out, *side;
    const void *d_out;
    void *d_in[NIB_MAX_INPUTS];     /* NULL: this gradient is not wanted */
    bool accumulate[NIB_MAX_INPUTS];/* add to d_in rather than write it */
    bool same_input; /* forward: the step before was this operation too, of the same input, which it
                        may have left ready in scratch: nothing between two steps touches that */
} nib_io;

/* What an operation is, whoever computes it. */
typedef struct nib_op {
    int id;                  /* nib_op_id (operations.h) */
    const char *name;
    unsigned keeps_inputs;   /* bit i: backward reads input i; linears decide by keeps() */
    bool keeps_output;
    bool keeps_side;
    bool cheap;              /* its output is computed again rather than kept */
    bool row_wise;           /* a row of the output depends on that row of the inputs alone */
    bool passes_gradient;    /* dx = dy for every input: gradients may share one buffer */
    bool constant;           /* no gradient goes through it: a choice */
    bool objective;          /* gradients begin here: backward has no d_out, reads the inputs, and
                                does forward's work too, which a training plan leaves out */
    /* Bytes of scratch for a batch of at most `rows` on the node's axis (0 when NULL). */
    size_t (*scratch)(const nib_graph *g, const nib_node *node, const size_t rows[NIB_MAX_AXES]);
    /* More of it, for what each thread needs for the sequence it computes: its rows are those of
     * the longest that a run takes, which the plan does not know (nib_run_longest(); 0 when NULL).
     */
    size_t (*longest_scratch)(const nib_graph *g, const nib_node *node,
                              const size_t rows[NIB_MAX_AXES]);
    /* Bytes of state for generation with room for `capacity` tokens. */
    size_t (*state)(const nib_graph *g, const nib_node *node, size_t capacity);
    /* Copies the node's piece of a state for the tokens that `from` holds; NULL: all of it. */
    void (*copy_state)(const nib_node *node, nib_state *to, const nib_state *from);
    bool folds;              /* its state is made of all tokens so far, so that the last ones cannot
                                be taken out of it, and it is one size whatever the capacity */
} nib_op;

/* How it is computed (backend.h). */
typedef void nib_op_fn(nib_run *run, const nib_node *node, const nib_io *io);
typedef struct nib_op_functions { nib_op_fn *forward, *backward; } nib_op_functions;

enum { NIB_MOST_GROWN = 512 }; /* rotated channels of a head whose angles grow with the length */

/* Cosines and sines of positions; made once a model for the greatest length in use. */
typedef struct nib_rope {
    size_t rot;              /* rotated channels of a head */
    bool interleaved;
    double theta;            /* the base of the angles before any scaling (rope_theta) */
    const float *inv;        /* [rot / 2] angle of position 1 */
    float attention_factor;  /* multiplies cosine and sine (yarn, longrope) */
    float growth;            /* they grow with the position t too: */
    size_t growth_every;     /* by 1 + growth ln(1 + floor(t / growth_every)); 0: they do not */
    const float *long_inv;   /* longrope: the angles in sequences longer than long_from; or NULL */
    size_t long_from;
    double base, growth_factor; /* dynamic: the base of the angles, and how it grows with the */
    size_t grows_from;       /* length of sequences longer than this; 0: of none */
    size_t limit;            /* positions beyond have no angles here; 0: none has */
} nib_rope;

/* Dropout while training (op_dropout.c, kernel/attention.h); p 0: none. */
typedef struct nib_drop {
    float p;
    uint32_t key; /* of the place in the model */
} nib_drop;

typedef enum nib_weighing { NIB_WEIGH_LAPLACE, NIB_WEIGH_RELU2 } nib_weighing;

/* What an attention is; what is 0, false or NULL is not there (formulas: kernel/attention.h).
 * Keys and values may live on another axis than queries: each sequence then sees all of its rows
 * there (cross attention), and `full` must be set. */
typedef struct nib_attention_desc {
    size_t heads, kv_heads;
    size_t head_dim, v_dim; /* of a head of q and k, and of v and the output; v_dim 0: head_dim */
    float scale, cap;       /* scores are scaled, then capped: cap * tanh(score / cap) */
    bool full;              /* later tokens are seen too; such a graph does not generate */
    size_t window;          /* fewer than `window` positions away, on both sides when `full` */
    /* Tokens at the beginning of each sequence that are seen whatever the window, and whose own
     * queries another attention has: the rows of this one are those behind them, and 0 is given for
     * theirs; or, of_globals, theirs alone, and 0 for the others.  full, of one axis. */
    size_t globals;
    bool of_globals;
    size_t chunk;           /* in the same chunk of so many positions */
    const float *alibi_slopes; /* [heads]; lives as long as the graph; added before scaling */
    bool alibi_exact;          /* slope and product are not rounded to bfloat16 */
    const nib_vector *sinks;   /* [heads]; lives as long as the graph */
    /* [rows, heads] added to the scaled score by the distance from query to key, T5's buckets of
     * both directions; full, of one axis, without a cap; not trained; lives as long as the graph */
    const nib_vector *buckets;
    size_t bucket_count;       /* of the rows, those of both directions */
    size_t bucket_reach;       /* distances from here on are in the last one */
    /* The same of one head, in the place of buckets: number distance_zero + key - query of a list,
     * or [2 n] turned by the query's place times [2 n] turned by the key's (distances.h) */
    const nib_vector *by_distance;
    size_t distance_zero;
    const nib_vector *turned, *turned_key;
    nib_weighing weighing;     /* of nib_weigh_keys(): what stands in the place of the softmax */
    nib_drop drop;             /* of the probabilities; the key is the builder's */
    int key_rows, query_rows;  /* of nib_attend_apart(): which inputs are projections of the table
                                  of distances; 0: none is */
} nib_attention_desc;

/* How tokens choose experts, and how much each of these counts (op_route.c). */
typedef enum nib_route_scores {
    NIB_ROUTE_SOFTMAX, /* of all logits */
    NIB_ROUTE_SIGMOID, /* of each */
    NIB_ROUTE_CHOSEN   /* softmax of the logits of those chosen, which are the greatest */
} nib_route_scores;

typedef struct nib_route_desc {
    size_t experts, top;     /* how many there are, how many a row takes */
    nib_route_scores scores;
    size_t groups, top_groups; /* only experts of the best groups are taken; 0: of all */
    bool group_pairs;        /* a group counts what its best two make; else what its best does */
    const nib_vector *bias;  /* [experts] added to scores for choosing alone, or NULL; lives as long
                                as the graph */
    bool normalize;          /* weights are divided by their sum + eps */
    float eps, scale;        /* and multiplied by scale (0: 1) */
    const nib_vector *gains; /* [experts] and by that of the expert, or NULL; not trained */
} nib_route_desc;

/* A depthwise causal convolution (kernel/conv.h): each channel over the row and those before. */
typedef struct nib_conv_desc {
    size_t taps;              /* 0: the node is none */
    size_t channels, offset;  /* of the taps: all of them, and the first that is used */
    const nib_vector *weight; /* [taps, channels] */
    const nib_vector *bias;   /* [channels] or NULL */
    bool silu;
} nib_conv_desc;

/* A recurrence over a matrix of each head (kernel/scan.h, op_scan.c): the gated delta rule, or
 * Mamba-2's state space.  Head h of v has the queries and keys of head h / (heads / key_heads). */
typedef struct nib_scan_desc {
    size_t heads, key_heads, rows, columns; /* the matrix's: widths of a head of q and k, and of v;
                                               heads 0: the node is none */
    bool delta;
    const nib_vector *log_decay, *dt_bias;  /* [heads] A_log, dt_bias */
    const nib_vector *skip;                 /* [heads] D, or NULL */
    float least, most;                      /* the state space's steps are kept within */
} nib_scan_desc;

/* Moving averages of each channel (op_average.c); all but the last are [directions, channels,
 * states]. */
typedef struct nib_average_desc {
    size_t states;                  /* 0: the node is none */
    bool both;                      /* two directions */
    size_t truncation;              /* 0: none */
    const nib_vector *damping, *decay, *expansion, *projection;
    const nib_vector *residual;     /* [channels] */
} nib_average_desc;

/* A convolution along tokens that mixes channels within groups (op_mix_near.c). */
typedef struct nib_near_desc {
    size_t width, groups, taps;      /* taps 0: the node is none */
    const nib_vector *weight, *bias; /* [width, width / groups, taps], [width] */
} nib_near_desc;

/* Row `row` of tables of weights and biases, a number a channel. */
typedef struct nib_affine_desc {
    const nib_vector *weight, *bias; /* weight NULL: the node is none; bias NULL: there is none */
    size_t row;
} nib_affine_desc;

/* xIELU's numbers, one each (kernel/elementwise.h): softplus of the alphas counts, and beta is
 * added to that of the negative one. */
typedef struct nib_xielu_desc {
    const nib_vector *alpha_p, *alpha_n, *beta, *eps; /* NULL: the node is none */
} nib_xielu_desc;

/* RWKV's averages over time (kernel/wkv.h). */
typedef struct nib_wkv_desc {
    const nib_vector *decay, *first; /* [width] -e^time_decay, time_first; NULL: the node is none */
} nib_wkv_desc;

struct nib_node {
    const nib_op *op;
    int inputs[NIB_MAX_INPUTS];
    int input_count;
    int output, side;        /* side: float row statistics kept for backward, or NIB_NONE */
    int segment;
    uint32_t use;            /* how often its linear is applied before it */
    bool trains;             /* owns a trained parameter */
    nib_linear *linear;
    nib_linear **experts;    /* [route.experts] the same linear of each, the graph's array */
    nib_route_desc route;
    nib_embedding *embedding;
    nib_norm *norm;
    nib_rms_form rms_form;
    float eps, scale;
    nib_drop drop;           /* of a dropout */
    const nib_vector *scale_by; /* scale: its first number in the place of `scale`; or NULL */
    nib_activation activation;
    nib_pooling pooling;
    nib_loss_kind loss;      /* of an objective, whose head is `linear` */
    nib_input row_input;     /* embedding: which input of the batch names its rows, */
    uint32_t row_offset;     /* added to what it names; sinusoid: to the position; masked words: the
                                mask's id */
    const float *frequencies; /* sinusoid: [width / 2] */
    const nib_rope *rope;
    nib_attention_desc attention;
    nib_conv_desc conv;
    nib_scan_desc scan;
    nib_wkv_desc wkv;
    nib_average_desc average;
    nib_affine_desc affine;
    nib_xielu_desc xielu;
    nib_near_desc near;
    size_t state_index;      /* which piece of a state, where the operation has one; */
    bool shares_state;       /* an earlier node's, which has written what this one reads */
};

struct nib_graph {
    nib_ctx *ctx;
    nib_dtype type;          /* compute type */
    nib_precision precision; /* of products of few rows while generating */
    uint32_t cpu;
    nib_kernels kernels;
    nib_node *nodes;
    size_t node_count, node_capacity;
    nib_value_info *values;
    size_t value_count, value_capacity;
    nib_axis_info axes[NIB_MAX_AXES];
    size_t axis_count;
    nib_input_info inputs[NIB_MAX_ROW_INPUTS];
    size_t input_count;
    nib_input boxes;         /* the first of NIB_BOX_INPUTS; 0: there are none */
    size_t box_limit;        /* their numbers are below this */
    int segments;            /* front 0, layers 1 .. L, back L + 1 */
    int hidden;              /* final hidden states, usually on NIB_LOGIT_ROWS */
    nib_linear *head;        /* NULL: the graph gives hidden states */
    nib_rows_read rows_read; /* which rows a batch has to pick */
    int64_t padding;         /* NIB_READ_LAST passes over such tokens at the end; -1: none */
    int64_t position_padding; /* such tokens have no position and are not counted (RoBERTa's kin);
                                 -1: all are */
    size_t positions;        /* the most tokens of a sequence that the model was made for */
    size_t position_limit;   /* the most that it can take (a table of positions); 0: any number */
    size_t length_switch;    /* longer sequences are rotated otherwise (longrope); 0: none are */
    size_t length_grows;     /* longer ones are rotated by their length (dynamic); 0: none are */
    float logit_scale, logit_cap; /* of the head's values (nib_set_logits) */
    float noise_scale;            /* of the embedding's noise: 1, or where the library's embedding
                                   * multiplies by a scale itself, one by that */
    size_t state_count;      /* nodes whose operation has a state */
};

/* The value whose memory v lies in: its base when it is a view, else itself. */
static inline int nib_value_base(const nib_graph *g, int v)
{
    return g->values[v].view_of >= 0 ? g->values[v].view_of : v;
}

/* The positions of a sequence's tokens: 0, 1, 2, ..., but for position_padding: such a token's row
 * is the one before that of position 0 (UINT32_MAX: an embedding's offset takes it there). */
void nib_graph_place(const nib_graph *g, const uint32_t *ids, size_t count, uint32_t *positions);

/* The row of a sequence that a classifier reads (rows_read): of a decoder's the last that is no
 * padding, or the first where all are. */
size_t nib_graph_row_read(const nib_graph *g, const uint32_t *ids, size_t count);

nib_graph *nib_graph_create(nib_ctx *ctx, nib_dtype type); /* NULL: no memory */
void nib_graph_destroy(nib_graph *g);

/* Marks which values need a gradient, from what the modules train, and where each is read last;
 * call again when that changes. */
void nib_graph_mark(nib_graph *g);

/* What the head is trained for. */
nib_loss_kind nib_graph_loss(const nib_graph *g);

/* Rows of logits at a time: 48 MiB of them, but enough for the product to be worth its panels. */
size_t nib_logit_chunk(size_t vocabulary, size_t logit_rows);

/* True if backward of this node reads input i / its output / its side value. */
bool nib_node_keeps_input(const nib_graph *g, const nib_node *n, int i);

/* The rows of one axis in a batch. */
typedef struct nib_axis_rows {
    size_t count;
    const uint32_t *offsets; /* of a given axis: [sequences + 1] first row of each sequence */
    const uint32_t *picks;   /* of a picked axis: [count] rows of its parent, ascending */
} nib_axis_rows;

/* A batch: the rows of its sequences one after another, never padded. */
typedef struct nib_batch {
    size_t sequences;
    nib_axis_rows axes[NIB_MAX_AXES];    /* NIB_LOGIT_ROWS: tokens whose next token counts */
    const uint32_t *inputs[NIB_MAX_ROW_INPUTS]; /* [rows of the input's axis]: the ids, the
                                                   positions (from 0 in each sequence), ...;
                                                   NULL: all are 0 */
    const uint32_t *targets;     /* [rows of the head's axis] right answers; NULL without a loss */
    const float *wanted;         /* [rows of the head's axis, rows of the head] instead, for losses
                                    that are no cross-entropy: 0 and 1, or numbers; of spans 1 where
                                    the answer begins and ends, nowhere in the sequence: no loss */
    const float *weights;        /* [rows of the head's axis] of the rows in the loss; NULL: 1 */
    const uint8_t *slots;        /* [sequences] adapter slot, NIB_NO_SLOT: none; NULL: slot 0; the
                                    same for all where a graph has an axis of distances */
    const bool *generated;       /* [sequences] its rows are tokens that were generated, or guesses
                                    of such: their products are dots (linear.h); NULL: none are */
    nib_state *const *states;    /* [sequences] what they carry, each its own; NULL entries, or NULL
                                    for all: nothing */
    const uint32_t *records; /* [sequences] record numbers, for dropout; NULL without training */
    uint32_t epoch;
} nib_batch;
enum { NIB_NO_SLOT = 255 };

/* Rows of a table that the longest sequence of tokens reaches (distances.c). */
size_t nib_batch_span_rows(const nib_graph *g, const nib_batch *b, nib_axis axis);

static inline size_t nib_batch_rows(const nib_graph *g, const nib_batch *b, nib_axis axis)
{
    const nib_axis_info *info = &g->axes[axis];

    if (info->kind == NIB_AXIS_SEQUENCES) return b->sequences;
    if (info->kind == NIB_AXIS_SPAN) return nib_batch_span_rows(g, b, axis);
    return info->kind == NIB_AXIS_ROUTED ? info->times * b->axes[info->parent].count
                                         : b->axes[axis].count;
}

#endif
