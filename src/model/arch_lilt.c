/* arch_lilt.c - LiLT: BERT's layers over text beside narrower ones over where it stands on the
 * page; each layer adds the scores of both (formats-encoder.md 3.10).  Wang et al. 2022,
 * arXiv:2202.13669.
 *
 * Scores of both streams are one product: heads are queries and keys of the text joined with those
 * of the layout, which are scaled so that one factor serves for both. */
#include <math.h>
#include <stdio.h>

#include "model/arch_bert.h"

typedef struct lilt {
    nib_bert bert;
    size_t shrink; /* the layout's widths are the text's divided by this */
    size_t places; /* rows of the tables of edges */
} lilt;

/* One of the two streams of a layer. */
typedef struct stream {
    const char *mark; /* in front of the names of its modules */
    size_t width, inner;
} stream;

static const char *const tables[] = { "x", "y", "x", "y", "h", "w" }; /* of the boxes' inputs */

static void read_lilt(nib_reader *r, void *config)
{
    lilt *m = config;
    nib_bert *bert = &m->bert;

    nib_bert_read_keys(r, bert, "lilt", true);
    bert->vocabulary = nib_read_size_or(r, "vocab_size", 30522);
    bert->first = (size_t)nib_read_int_or(r, "pad_token_id", 0, 1 << 30, 0) + 1;
    m->shrink = nib_read_size_or(r, "channel_shrink_ratio", 4);
    m->places = nib_read_size_or(r, "max_2d_position_embeddings", 1024);
    if (!r->status && m->places > UINT16_MAX)
        nib_read_fail(r, NIB_E_UNSUPPORTED, "max_2d_position_embeddings is %zu, known are up to %d",
                      m->places, UINT16_MAX);
    if (!r->status && (bert->width % NIB_COUNT(tables) || bert->head_dim % m->shrink ||
                       bert->inner % m->shrink))
        nib_read_fail(r, NIB_E_FORMAT,
                      "hidden_size %zu in heads of %zu and intermediate_size %zu: expected a "
                      "multiple of %zu, and multiples of channel_shrink_ratio %zu",
                      bert->width, bert->head_dim, bert->inner, NIB_COUNT(tables), m->shrink);
}

/* The six parts of a box side by side, through a linear, and the token's position. */
static nib_value embed_boxes(nib_build *b, const lilt *m)
{
    size_t width = m->bert.width / m->shrink, part = m->bert.width / NIB_COUNT(tables);
    nib_input box = nib_add_boxes(b, m->places);
    nib_value x = { NIB_NONE }, positions;

    for (size_t i = 0; i < NIB_COUNT(tables); i++) {
        char name[64];
        nib_value y;
        snprintf(name, sizeof name, "lilt.layout_embeddings.%s_position_embeddings", tables[i]);
        y = nib_embed(b, box + (nib_input)i, m->places, part, name);
        x = i ? nib_join_heads(b, x, y, 1, false) : y;
    }
    x = nib_apply_linear(b, x, width, true, "lilt.layout_embeddings.box_linear_embeddings");
    positions = nib_embed_offset(b, NIB_POSITIONS, m->bert.first, m->bert.positions, width,
                                 "lilt.layout_embeddings.box_position_embeddings");
    x = nib_apply_layer_norm(b, nib_add(b, x, positions), m->bert.eps,
                             "lilt.layout_embeddings.LayerNorm");
    return nib_dropout(b, x, m->bert.dropout);
}

static nib_value project(nib_build *b, stream s, const char *part, int i, nib_value x)
{
    return nib_apply_linear(b, x, s.width, true, "lilt.encoder.layer.%d.attention.self.%s%s", i,
                            s.mark, part);
}

/* What follows attention in one of the streams: as in BERT's layer. */
static nib_value finish(nib_build *b, const nib_bert *m, stream s, int i, nib_value a, nib_value x)
{
    a = nib_apply_linear(b, a, s.width, true, "lilt.encoder.layer.%d.attention.%soutput.dense", i,
                         s.mark);
    x = nib_apply_layer_norm(b, nib_add(b, nib_dropout(b, a, m->dropout), x), m->eps,
                             "lilt.encoder.layer.%d.attention.%soutput.LayerNorm", i, s.mark);
    a = nib_apply_linear(b, x, s.inner, true, "lilt.encoder.layer.%d.%sintermediate.dense", i,
                         s.mark);
    a = nib_apply_linear(b, nib_activate(b, a, m->activation), s.width, true,
                         "lilt.encoder.layer.%d.%soutput.dense", i, s.mark);
    return nib_apply_layer_norm(b, nib_add(b, nib_dropout(b, a, m->dropout), x), m->eps,
                                "lilt.encoder.layer.%d.%soutput.LayerNorm", i, s.mark);
}

/* Nothing reads the layout's stream behind the last layer's scores. */
static void bind_idle(nib_build *b, stream s, int i)
{
    nib_bind_linear(b, s.width, s.width, true, "lilt.encoder.layer.%d.attention.self.%svalue",
                         i, s.mark);
    nib_bind_linear(b, s.width, s.width, true,
                         "lilt.encoder.layer.%d.attention.%soutput.dense", i, s.mark);
    nib_bind_layer_norm(b, s.width, "lilt.encoder.layer.%d.attention.%soutput.LayerNorm", i,
                       s.mark);
    nib_bind_linear(b, s.inner, s.width, true, "lilt.encoder.layer.%d.%sintermediate.dense",
                         i, s.mark);
    nib_bind_linear(b, s.width, s.inner, true, "lilt.encoder.layer.%d.%soutput.dense", i,
                         s.mark);
    nib_bind_layer_norm(b, s.width, "lilt.encoder.layer.%d.%soutput.LayerNorm", i, s.mark);
}

static void layer(nib_build *b, const lilt *m, int i, nib_value *x, nib_value *place)
{
    const nib_bert *bert = &m->bert;
    size_t n = bert->heads, d = bert->head_dim, narrow = d / m->shrink;
    stream text = { "", bert->width, bert->inner },
           layout = { "layout_", bert->width / m->shrink, bert->inner / m->shrink };
    nib_attention_desc attention = { .heads = n, .kv_heads = n, .head_dim = d + narrow, .v_dim = d,
                                     .full = true, .scale = 1 / sqrtf((float)d),
                                     .drop = { .p = bert->attention_dropout } };
    bool last = i + 1 == (int)bert->layers;

    nib_value q = project(b, text, "query", i, *x), k = project(b, text, "key", i, *x);
    nib_value v = project(b, text, "value", i, *x);
    nib_value pq = project(b, layout, "query", i, *place);
    nib_value pk = project(b, layout, "key", i, *place);
    pq = nib_scale(b, pq, sqrtf((float)d / (float)narrow));
    q = nib_join_heads(b, q, pq, n, false);
    k = nib_join_heads(b, k, pk, n, false);
    *x = finish(b, bert, text, i, nib_attend(b, q, k, v, &attention), *x);
    if (last) {
        bind_idle(b, layout, i);
        return;
    }
    v = project(b, layout, "value", i, *place);
    attention.v_dim = narrow;
    *place = finish(b, bert, layout, i, nib_attend(b, q, k, v, &attention), *place);
}

static void build(nib_build *b, const void *config, nib_task task)
{
    const lilt *m = config;
    nib_value x = nib_bert_embed(b, &m->bert), place = embed_boxes(b, m);

    for (int i = 0; i < (int)m->bert.layers; i++) {
        nib_segment(b);
        layer(b, m, i, &x, &place);
    }
    nib_segment(b);
    if (task == NIB_TASK_SEQ_CLS) nib_bert_classify(b, &m->bert, x, NIB_ACT_TANH);
    else if (task == NIB_TASK_TOKEN_CLS) nib_bert_tag(b, &m->bert, x);
    else if (task == NIB_TASK_QUESTION_ANS) nib_bert_find_answer(b, x);
    else nib_give_rows(b, x);
}

static const char *const heads[] = { "classifier.", "qa_outputs.", "lilt.pooler.", "pooler.",
                                     NULL };
static const char *const types[] = { "lilt", NULL };
static const char *const targets[] = { NULL };

const nib_arch nib_arch_lilt = { .model_types = types, .config_bytes = sizeof(lilt),
                                 .read = read_lilt, .prefix = "lilt.",
                                 .tasks = 1 << NIB_TASK_SEQ_CLS | 1 << NIB_TASK_TOKEN_CLS |
                                          1 << NIB_TASK_FEATURE_EXTRACTION |
                                          1 << NIB_TASK_QUESTION_ANS,
                                 .build = build, .default_targets = targets,
                                 .other_heads = heads };
