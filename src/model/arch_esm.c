/* arch_esm.c - ESM, BERT's kin for proteins: norms before each half of a layer, learned positions
 * or rotation, and token dropout (formats-encoder.md 3.8).  Rives et al. 2021,
 * doi:10.1073/pnas.2016239118; Lin et al. 2023, doi:10.1126/science.ade2574. */
#include <math.h>
#include <string.h>

#include "model/arch_bert.h"

static const float kept_in_training = 1 - 0.15f * 0.8f; /* of every model */

enum { NO_WORD = (1 << 30) - 1 };

typedef struct esm {
    nib_bert bert;
    bool norms_first, drops_masks;
    uint32_t mask;
    nib_rope rope;
} esm;

static void read_positions(nib_reader *r, esm *m)
{
    const json_t *kind = nib_read_any(r, "position_embedding_type");
    const char *name = kind ? json_string_value(kind) : "absolute";
    bool rotates = name && strcmp(name, "rotary") == 0;

    if (!name || (!rotates && strcmp(name, "absolute") != 0))
        nib_read_fail(r, NIB_E_UNSUPPORTED,
                      "position_embedding_type is '%s', known are absolute and rotary",
                      name ? name : "no text");
    if (!r->status && rotates) {
        m->bert.rope = &m->rope;
        m->rope = nib_read_rope(r, (nib_rope_spec){ .theta = 10000, .fixed = true,
                                                    .rot = m->bert.head_dim,
                                                    .positions = m->bert.positions });
    }
}

static void read_esm(nib_reader *r, void *config)
{
    esm *m = config;

    nib_bert_read_others(r, &m->bert, "esm", true);
    m->bert.vocabulary = nib_read_size(r, "vocab_size");
    m->bert.positions = nib_read_size_or(r, "max_position_embeddings", 1026);
    m->bert.types = 0;
    m->bert.activation = NIB_ACT_GELU; /* hidden_act is not looked at */
    m->bert.head_dropout = m->bert.dropout; /* nor is classifier_dropout */
    read_positions(r, m);
    m->norms_first = nib_read_bool(r, "emb_layer_norm_before", false);
    m->drops_masks = nib_read_bool(r, "token_dropout", false);
    m->mask = (uint32_t)nib_read_int_or(r, "mask_token_id", 0, 1 << 30, NO_WORD);
    nib_read_any(r, "hidden_act");
    nib_read_any(r, "vocab_list"); /* of the folding model alone */
    nib_read_any(r, "esmfold_config");
    nib_read_must_be_off(r, "is_folding_model", "ESMFold is not known here");
}

static nib_value embed(nib_build *b, const esm *m)
{
    const nib_bert *bert = &m->bert;
    nib_value x = nib_embed(b, NIB_IDS, bert->vocabulary, bert->width,
                            "esm.embeddings.word_embeddings");

    nib_set_positions(b, bert->positions - bert->first);
    if (m->drops_masks) x = nib_mask_words(b, x, m->mask, kept_in_training);
    if (!bert->rope) nib_set_position_padding(b, bert->first - 1);
    if (!bert->rope)
        x = nib_add(b, x, nib_embed_offset(b, NIB_POSITIONS, bert->first, bert->positions,
                                           bert->width, "esm.embeddings.position_embeddings"));
    if (m->norms_first) x = nib_apply_layer_norm(b, x, bert->eps, "esm.embeddings.layer_norm");
    return x; /* hidden_dropout_prob has no place here, as in the reference */
}

/* h = x + attention(norm(x));  y = h + mlp(norm(h)). */
static nib_value layer(nib_build *b, const esm *m, int i, nib_value x)
{
    const nib_bert *bert = &m->bert;
    nib_value h = nib_apply_layer_norm(b, x, bert->eps, "esm.encoder.layer.%d.attention.LayerNorm",
                                       i);

    x = nib_add(b, nib_bert_attend(b, bert, i, h), x);
    h = nib_apply_layer_norm(b, x, bert->eps, "esm.encoder.layer.%d.LayerNorm", i);
    h = nib_apply_linear(b, h, bert->inner, true, "esm.encoder.layer.%d.intermediate.dense", i);
    h = nib_apply_linear(b, nib_activate(b, h, bert->activation), bert->width, true,
                         "esm.encoder.layer.%d.output.dense", i);
    return nib_add(b, nib_dropout(b, h, bert->dropout), x);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const esm *m = config;
    const nib_bert_words words = {
        .dense = "lm_head.dense", .norm = "lm_head.layer_norm", .head = "lm_head.decoder",
        .bias = "lm_head.bias", .table = "esm.embeddings.word_embeddings",
        .width = m->bert.width, .activation = NIB_ACT_GELU,
    };
    nib_value x = embed(b, m);

    for (int i = 0; i < (int)m->bert.layers; i++) {
        nib_segment(b);
        x = layer(b, m, i, x);
    }
    nib_segment(b);
    x = nib_apply_layer_norm(b, x, m->bert.eps, "esm.encoder.emb_layer_norm_after");
    if (task == NIB_TASK_SEQ_CLS) nib_bert_classify(b, &m->bert, x, NIB_ACT_TANH);
    else if (task == NIB_TASK_TOKEN_CLS) nib_bert_tag(b, &m->bert, x);
    else if (task == NIB_TASK_FEATURE_EXTRACTION) nib_give_rows(b, x);
    else nib_bert_predict_words(b, &m->bert, x, &words);
}

static const char *const heads[] = { "lm_head.", "classifier.", "esm.pooler.", "pooler.",
                                     NULL };
static const char *const contacts[] = { "esm.contact_head.", "contact_head.", NULL };
static const char *const types[] = { "esm", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_esm = { .model_types = types, .config_bytes = sizeof(esm),
                                .read = read_esm, .prefix = "esm.",
                                .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                         1 << NIB_TASK_FEATURE_EXTRACTION |
                                         1 << NIB_TASK_MASKED_LM,
                                .build = build, .default_targets = targets,
                                .other_heads = heads, .other_parts = contacts };
