/* gguf_family.h - how a family's tensors and keys are called in GGUF (formats-quant.md 7.3): a
 * table in the file of its architecture.
 *
 * A GGUF model is read as the directory that it was converted from: its keys become a config.json,
 * its tensors get their names there, and what the converter moved is undone where a tensor is
 * read.  So architectures, adapters and merges know of the family alone. */
#ifndef NIB_MODEL_GGUF_FAMILY_H
#define NIB_MODEL_GGUF_FAMILY_H

#include "format/gguf.h"
#include "format/json.h"

/* How the file holds a tensor otherwise than the family's own files do. */
typedef enum nib_gguf_held {
    NIB_GGUF_AS_IS,
    NIB_GGUF_Q_ROWS,   /* each head's halves are interleaved: [heads, d / 2, 2], theirs [heads, 2,
                          d / 2] */
    NIB_GGUF_K_ROWS,   /* the same with the key/value heads */
    NIB_GGUF_HEADS,    /* all q, all k, all v: [3, heads, d], theirs [heads, 3, d] */
    NIB_GGUF_GROUPS,   /* the same where a group is its query heads, then k, then v */
    NIB_GGUF_ONE_PLUS, /* a norm's weight with 1 added */
    NIB_GGUF_STRAIGHT, /* a Conv1D's weight as [out, in] */
    NIB_GGUF_CONV,     /* a convolution's [channels, 1, taps] as [channels, taps] */
    NIB_GGUF_FROM_FIRST, /* of positions: without the rows before a text's first token's; out
                          only */
    NIB_GGUF_ONE_ROW,  /* a matrix of one row, of older files as a vector */
    NIB_GGUF_FLAT,     /* a vector as a matrix, [n, 1] or of groups [groups, n / groups] */
    NIB_GGUF_DECAY,    /* the same, -exp(x) for each x */
    NIB_GGUF_TURNS,    /* of two tensors: rows of theirs are of each by turns; straight too */
    NIB_GGUF_LATENT,   /* of two tensors: theirs has each head's rows of keys and then of values,
                          [heads, keys + values, in]; here are the keys [heads, in, keys] and the
                          values [heads, values, in] */
    NIB_GGUF_DECAYS,   /* a vector: -exp(x) for each x */
    /* Of the gated delta rule, whose key heads each have several heads of values: */
    NIB_GGUF_KEY_GROUPS, /* of two tensors: theirs has of each key head its q, its k, the v and the
                          z of its heads; here are all q, all k, all v, and in the second all z */
    NIB_GGUF_TILED,    /* rows of heads of values: theirs are those of the first key head, then
                          those of the second; here the first of each key head, then the second */
    NIB_GGUF_TILED_QKV,  /* the same behind the rows of q and k, which are as they were */
    NIB_GGUF_TILED_CONV, /* a convolution's channels so, [channels, taps] */
    NIB_GGUF_TILED_ONES, /* a row or a value for each head of values, in that order */
    NIB_GGUF_TILED_DECAYS, /* the same, -exp(x) for each x */
    NIB_GGUF_TILED_COLUMNS /* columns as the rows of NIB_GGUF_TILED */
} nib_gguf_held;
enum { NIB_GGUF_HELD_KINDS = NIB_GGUF_TILED_COLUMNS + 1 };

typedef struct nib_gguf_name {
    const char *gguf;   /* "attn_q" of "blk.0.attn_q.weight"; "output_norm" */
    const char *module; /* "model.layers.%d.self_attn.q_proj"; with %d of each layer, with a second
                           of each expert, which lie in one tensor */
    nib_gguf_held held;
} nib_gguf_name;

/* A tensor by its whole name, where a module's and ".weight" is not it, or where theirs is two
 * here: the rows of `gguf` and then those of `rest`.  %d: of each layer. */
typedef struct nib_gguf_whole {
    const char *gguf, *rest; /* "ffn_gate_exps.weight"; rest NULL: one here too */
    const char *tensor;      /* "model.layers.%d.mlp.experts.gate_up_proj" */
    nib_gguf_held held;
} nib_gguf_whole;

/* "attention.head_count", behind the architecture and a dot, and config.json's name for it. */
typedef struct nib_gguf_key { const char *gguf, *config; } nib_gguf_key;

/* A tensor of one number in each layer, of rank 0 or 1, that is a key there, by its whole name: a
 * list of them, %d being the layer's number ("xielu.beta", "model.layers.%d.mlp.act_fn.beta"). */
typedef struct nib_gguf_listed {
    const char *key, *tensor;
    unsigned rank;
} nib_gguf_listed;

/* A config.json in the making.  It keeps its first error, and later calls do nothing. */
typedef struct nib_gguf_config {
    nib_ctx *ctx;
    const char *where;          /* the file */
    const char *architecture;
    const nib_tensors *tensors; /* under their own names */
    const nib_gguf *keys;
    json_t *json;
    bool *asked; /* of each of the keys' values: it has been asked for */
    nib_status status;
    nib_error error;
} nib_gguf_config;

struct nib_graph;
struct nib_gguf_writer;

/* The architecture's keys on their way out. */
typedef struct nib_gguf_put {
    const struct nib_graph *graph;
    const json_t *config; /* of the text, where the model has several media */
    const char *architecture;
    struct nib_gguf_writer *w;
    const char **unsaid;  /* what no key can say, as nib_gguf_family.unsaid; NULL at first */
} nib_gguf_put;

/* What the file holds multiplied, one factor after the other: all of a tensor, and then the rows
 * before `end` of a part. */
typedef struct nib_gguf_fold {
    float all;
    unsigned parts;
    struct { size_t end; float by; } part[5];
} nib_gguf_fold;
/* v, of row `row`, as it is there; narrow: rounded to float16 after each factor. */
float nib_gguf_folded(const nib_gguf_fold *f, size_t row, bool narrow, float v);
bool nib_gguf_folds(const nib_gguf_fold *f); /* is any factor not 1? */

typedef struct nib_gguf_family {
    const char *architecture;   /* general.architecture */
    const char *lacks;          /* of several that have the name: the files of this one are without
                                   this tensor; NULL: the first that has no such mark */
    const char *model_type, *class_name; /* config.json's */
    const nib_gguf_name *names; /* NULL at the end */
    const nib_gguf_whole *tensors; /* before the names; NULL at the end, or itself */
    /* those that are written, where it depends on the model; NULL: all */
    const nib_gguf_whole *(*choose)(const struct nib_graph *g);
    const nib_gguf_key *keys;   /* NULL at the end; those that are absent are left out */
    const nib_gguf_listed *listed; /* NULL at the end, or itself */
    void (*finish)(nib_gguf_config *c); /* what is not one key for another, or NULL */
    void (*put)(const nib_gguf_put *p); /* the same on the way out, or NULL */
    const char *const *unadapted; /* "attn_q.weight", of each layer or of none: of these llama.cpp
                                     leaves adapters out, or scales them otherwise; NULL at the
                                     end, or itself */
    const char *merged;         /* tokenizer.ggml.model of its SentencePiece BPE, which keeps its
                                   merges; NULL: llama, with scores */
    /* Factors of config.json that the file's tensors hold, by their names without the layer; NULL:
     * none.  And their keys there, which the file lacks; NULL at the end. */
    void (*fold)(const json_t *config, const struct nib_graph *g, const char *tensor,
                 nib_gguf_fold *out);
    const char *const *folded;
    bool full;                  /* each token sees those behind it too: attention.causal is false */
    bool mscales;               /* the length of what yarn rotates is by its log_multiplier */
    bool own_head;              /* llama.cpp asks for a head, also where it is the embedding */
    bool by_kind;               /* layers that slide have sizes of their own, and which do is always
                                   listed; of the others rope_freqs says which channels turn */
    const char *variant;        /* where this tensor is there, the names are variant_names; or
                                   NULL */
    const nib_gguf_name *variant_names;
    /* what llama.cpp guesses otherwise than the graph computes, where no key can say it; NULL:
     * nothing.  May be NULL itself */
    const char *(*unsaid)(const struct nib_graph *g);
} nib_gguf_family;

/* Does the name stand for a matrix of each expert? */
bool nib_gguf_is_of_experts(const nib_gguf_name *n);
/* Is the tensor there ("blk.0.attn_q.bias")? */
bool nib_gguf_has(const nib_gguf_config *c, const char *tensor);
/* A number among the architecture's keys. */
double nib_gguf_get(nib_gguf_config *c, const char *key, double fallback);
/* The value of a key of the architecture, which counts as used then; NULL: absent. */
const nib_gguf_value *nib_gguf_key_value(const nib_gguf_config *c, const char *key);
/* A text, or a number, one or the same for every layer, under another name; v NULL: nothing. */
void nib_gguf_copy(nib_gguf_config *c, const nib_gguf_value *v, const char *to);
/* The shortest decimal that is this float: 1e-6, and not 9.999999974752427e-07. */
double nib_gguf_shortest(float value);
/* Sets a key of config.json; `value` is taken over, also on failure. */
void nib_gguf_set(nib_gguf_config *c, const char *key, json_t *value);
/* On the way out: a number under a key of the architecture. */
void nib_gguf_put_own(const nib_gguf_put *p, const char *key, nib_gguf_kind kind, double value);
void nib_gguf_fail(nib_gguf_config *c, nib_status status, const char *format, ...)
    NIB_PRINTF(3, 4);

/* The experts of a layer, their modules under `of`, and what chooses them. */
#define NIB_GGUF_EXPERTS(of, gate, up, down)                                                       \
    { "ffn_gate_inp", "model.layers.%d." of ".gate", NIB_GGUF_AS_IS },                             \
    { "ffn_gate_exps", "model.layers.%d." of ".experts.%d." gate, NIB_GGUF_AS_IS },                \
    { "ffn_up_exps", "model.layers.%d." of ".experts.%d." up, NIB_GGUF_AS_IS },                    \
    { "ffn_down_exps", "model.layers.%d." of ".experts.%d." down, NIB_GGUF_AS_IS }

/* What llama and its kin share. */
extern const nib_gguf_name nib_gguf_llama_names[], nib_gguf_plain_names[],
    nib_gguf_mixtral_names[];
extern const nib_gguf_key nib_gguf_llama_keys[];
/* As macros, for families that add their own. */
#define NIB_GGUF_LLAMA_ATTENTION(q, k)                                                             \
    { "attn_q", "model.layers.%d.self_attn.q_proj", q },                                           \
    { "attn_k", "model.layers.%d.self_attn.k_proj", k },                                           \
    { "attn_v", "model.layers.%d.self_attn.v_proj", NIB_GGUF_AS_IS },                              \
    { "attn_output", "model.layers.%d.self_attn.o_proj", NIB_GGUF_AS_IS }
#define NIB_GGUF_LLAMA_MLP                                                                         \
    { "ffn_gate", "model.layers.%d.mlp.gate_proj", NIB_GGUF_AS_IS },                               \
    { "ffn_up", "model.layers.%d.mlp.up_proj", NIB_GGUF_AS_IS },                                   \
    { "ffn_down", "model.layers.%d.mlp.down_proj", NIB_GGUF_AS_IS }
#define NIB_GGUF_LLAMA_ENDS(norm)                                                                  \
    { "token_embd", "model.embed_tokens", NIB_GGUF_AS_IS },                                        \
    { "output_norm", "model.norm", norm },                                                         \
    { "output", "lm_head", NIB_GGUF_AS_IS }
/* All of nib_gguf_llama_keys but the epsilon. */
#define NIB_GGUF_LLAMA_KEYS                                                                        \
    { "context_length", "max_position_embeddings" }, { "embedding_length", "hidden_size" },        \
    { "block_count", "num_hidden_layers" }, { "feed_forward_length", "intermediate_size" },        \
    { "attention.head_count", "num_attention_heads" },                                             \
    { "attention.head_count_kv", "num_key_value_heads" },                                          \
    { "rope.freq_base", "rope_theta" }
/* attention.sliding_window_pattern, where it is there: as layer_types. */
void nib_gguf_set_sliding(nib_gguf_config *c);
/* Which layers see all, where the first does: one of so many; of one alone the number of layers. */
size_t nib_gguf_global_every(const struct nib_graph *g);
/* The first attention's; NULL: there is none. */
const struct nib_attention_desc *nib_gguf_attention(const struct nib_graph *g);
size_t nib_gguf_experts(const struct nib_graph *g); /* of a layer that has some; 0: none has */
/* head_count_kv of each layer, 0 where there is no attention: num_key_value_heads, and layer_types
 * of two names. */
void nib_gguf_set_mixed(nib_gguf_config *c, const char *attention, const char *other);
/* `key` true or false, whether layer 0 has the bias. */
void nib_gguf_set_bias(nib_gguf_config *c, const char *key, const char *tensor);
void nib_gguf_llama_finish(nib_gguf_config *c); /* attention_bias, mlp_bias where they are true */
/* The feed-forward part's width, of its tensor: converters write 4 * width as the key of some
 * families, whatever their models have. */
void nib_gguf_set_inner(nib_gguf_config *c, const char *key);
/* How many times as long yarn makes what is rotated, in llama.cpp whatever yarn_attn_factor is. */
double nib_gguf_yarn_length(double factor);
/* rope.dimension_count as the fraction of a head that `key` is. */
void nib_gguf_set_partial(nib_gguf_config *c, const char *key);

#endif
