/* arch_bert.h - what BERT and its kin have in common: the keys, the layer, the classifiers. */
#ifndef NIB_MODEL_ARCH_BERT_H
#define NIB_MODEL_ARCH_BERT_H

#include "model/arch.h"

typedef struct nib_bert {
    const char *prefix;  /* of the encoder's modules: "bert" */
    size_t vocabulary, width, layers, heads, head_dim, inner;
    size_t embedded;     /* channels of the embeddings */
    size_t positions;    /* rows of the table */
    size_t first;        /* the row of a text's first token */
    size_t types;
    float eps;
    nib_activation activation;
    const nib_rope *rope; /* of queries and keys; NULL: they are not rotated */
    float dropout, attention_dropout, head_dropout, answer_dropout; /* while training */
} nib_bert;

/* The keys, with the values that the class gives where they are absent; first: where positions
 * begin behind the padding's row (RoBERTa), pad_token_id + 1. */
void nib_bert_read_keys(nib_reader *r, nib_bert *m, const char *prefix, bool after_padding);
/* The same without position_embedding_type. */
void nib_bert_read_others(nib_reader *r, nib_bert *m, const char *prefix, bool after_padding);
/* The keys that are known with one value alone, position_embedding_type among them; tied:
 * tie_word_embeddings too. */
void nib_bert_refuse_variants(nib_reader *r, bool tied);
/* Words, positions and types added and normed, of m->embedded channels. */
nib_value nib_bert_embed(nib_build *b, const nib_bert *m);
/* The attention of layer i over h, with its output projection. */
nib_value nib_bert_attend(nib_build *b, const nib_bert *m, int i, nib_value h);
/* What follows the heads `a` of layer i over x: their projection and the MLP, norms behind each. */
nib_value nib_bert_finish_layer(nib_build *b, const nib_bert *m, int i, nib_value a, nib_value x);
/* The layers, each a segment, norms behind each half; then the segment of what follows. */
nib_value nib_bert_encode(nib_build *b, const nib_bert *m, nib_value x);
/* A classifier of two linears on the first token: out_proj(act(dense(x))). */
void nib_bert_classify(nib_build *b, const nib_bert *m, nib_value x, nib_activation activation);
/* A classifier of one linear behind a pooler on the first token: classifier(tanh(pooler(x))). */
void nib_bert_classify_pooled(nib_build *b, const nib_bert *m, nib_value x, const char *pooler);
/* A classifier of each token. */
void nib_bert_tag(nib_build *b, const nib_bert *m, nib_value x);
/* Where an answer begins and ends, of each token. */
void nib_bert_find_answer(nib_build *b, nib_value x);
/* Masked words: dense, activation and norm on the rows that get logits, then the table of the words
 * with a bias of its own. */
typedef struct nib_bert_words {
    const char *dense, *norm, *head, *bias, *table; /* modules; bias: a tensor */
    size_t width;        /* behind dense */
    nib_activation activation;
} nib_bert_words;
void nib_bert_predict_words(nib_build *b, const nib_bert *m, nib_value x,
                            const nib_bert_words *words);

/* Names of modules in GGUF, of a family whose prefix is `p`. */
#define NIB_BERT_GGUF_NAMES(p, positions)                                                          \
    { "token_embd", p ".embeddings.word_embeddings", NIB_GGUF_AS_IS },                             \
    { "token_types", p ".embeddings.token_type_embeddings", NIB_GGUF_ONE_ROW },                    \
    { "position_embd", p ".embeddings.position_embeddings", positions },                           \
    { "token_embd_norm", p ".embeddings.LayerNorm", NIB_GGUF_AS_IS },                              \
    { "attn_q", p ".encoder.layer.%d.attention.self.query", NIB_GGUF_AS_IS },                      \
    { "attn_k", p ".encoder.layer.%d.attention.self.key", NIB_GGUF_AS_IS },                        \
    { "attn_v", p ".encoder.layer.%d.attention.self.value", NIB_GGUF_AS_IS },                      \
    { "attn_output", p ".encoder.layer.%d.attention.output.dense", NIB_GGUF_AS_IS },               \
    { "attn_output_norm", p ".encoder.layer.%d.attention.output.LayerNorm", NIB_GGUF_AS_IS },      \
    { "ffn_up", p ".encoder.layer.%d.intermediate.dense", NIB_GGUF_AS_IS },                        \
    { "ffn_down", p ".encoder.layer.%d.output.dense", NIB_GGUF_AS_IS },                            \
    { "layer_output_norm", p ".encoder.layer.%d.output.LayerNorm", NIB_GGUF_AS_IS }
extern const nib_gguf_key nib_bert_gguf_keys[];

#endif
