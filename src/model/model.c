/* model.c - opening a model directory and building its graph. */
#include "model/model.h"

#include "graph/sink.h"
#include "model/bind.h"
#include "model/gguf_model.h"

nib_dtype nib_compute_type(nib_ctx *ctx, nib_compute compute)
{
    switch (compute) {
    case NIB_COMPUTE_AUTO: return nib_ctx_cpu(ctx) & NIB_CPU_AVX512BF16 ? NIB_BF16 : NIB_F32;
    case NIB_COMPUTE_BFLOAT16: return NIB_BF16;
    case NIB_COMPUTE_FLOAT32: case NIB_COMPUTE_FLOAT16: break;
    }
    return NIB_F32;
}

/* An encoder's words are torch's Embedding with padding_idx pad_token_id. */
static void know_padding(nib_model *m)
{
    const json_t *padding = json_object_get(m->json, "pad_token_id");
    json_int_t id = json_is_integer(padding) ? json_integer_value(padding) : -1;

    if (nib_arch_words(m->config->arch) != NIB_TASK_MASKED_LM || id < 0) return;
    m->embedding->has_padding = (uint64_t)id < m->embedding->weight->out;
    m->embedding->padding = (uint32_t)id;
}

static nib_status build_graph(nib_model *m, nib_bind *bind, nib_dtype compute, nib_error *err)
{
    nib_build b = { .binder = nib_bind_make(bind), .labels = m->purpose.labels,
                    .features = m->purpose.task == NIB_TASK_FEATURE_EXTRACTION,
                    .loss = m->purpose.loss, .drops = bind->options->base_dropout };

    m->graph = b.graph = nib_graph_create(m->ctx, compute);
    if (!m->graph) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", m->dir);
    m->config->arch->build(&b, m->config->values, m->purpose.task);
    if (b.status) {
        if (err) *err = b.error;
        return b.status;
    }
    if (m->graph->rows_read == NIB_READ_LAST) {
        const json_t *padding = json_object_get(m->json, "pad_token_id");
        m->graph->padding = json_is_integer(padding) ? json_integer_value(padding) : -1;
    }
    know_padding(m);
    nib_bind_advise(bind);
    return nib_sink_logit_rows(m->graph, err);
}

/* The type of blank weights: what config.json names. */
static nib_status read_blank(nib_model *m, const char *where, nib_bind *b, nib_error *err)
{
    static const struct { const char *name; nib_dtype dtype; } types[] = {
        { "float32", NIB_F32 }, { "float16", NIB_F16 }, { "bfloat16", NIB_BF16 },
        { "auto", NIB_F32 },
    };
    const char *type = "float32";
    nib_status status;

    if ((status = nib_json_get_string(m->json, where, "torch_dtype", &type, err)) ||
        (status = nib_json_get_string(m->json, where, "dtype", &type, err)))
        return status;
    if (strncmp(type, "torch.", 6) == 0) type += 6;
    b->blank_dtype = NIB_F32;
    for (size_t i = 0; i < NIB_COUNT(types); i++)
        if (strcmp(type, types[i].name) == 0) b->blank_dtype = types[i].dtype;
    return NIB_OK;
}

/* quantize_experts: in the form of the linears, stored or asked for. */
static nib_status choose_experts(nib_model *m, nib_bind *bind, nib_error *err)
{
    const nib_held *held = m->stored.format ? &m->stored : &bind->asked;

    if (!held->format)
        return nib_fail(err, NIB_E_INVALID,
                        "quantize_experts without load_in_4bit or load_in_8bit: experts are "
                        "quantized as the linears are");
    if (!held->format->flag)
        return nib_fail(err, NIB_E_INVALID,
                        "quantize_experts: %s is stored as %s; known are models in the forms of "
                        "load_in_4bit and load_in_8bit, stored or while loading",
                        m->dir, held->format->known);
    bind->experts = *held;
    return NIB_OK;
}

/* The settings of weights: what they ask for, and where they are without effect. */
static nib_status read_settings(nib_model *m, const nib_model_options *o, nib_bind *bind,
                                nib_error *err)
{
    const nib_setting *idle;
    nib_status status = nib_held_asked(o->settings, &bind->asked, &idle, err);

    if (status) return status;
    if (m->stored.format) status = nib_held_agrees(&m->stored, o->settings, o->model, &idle, err);
    if (!status && idle)
        nib_note(m->ctx, "%s is without effect: nothing asks for the weights it is about",
                 idle->key);
    if (!status && o->quantize_experts) status = choose_experts(m, bind, err);
    return status;
}

/* Experts in one tensor stay as they are stored in a model whose linears are low-bit, or are
 * quantized on request. */
static void note_experts(const nib_model *m, bool asked)
{
    size_t tensors = 0, dense = 0;
    uint64_t bytes = 0;

    if (!m->asked.format && !m->stored.format) return;
    for (size_t i = 0; i < m->linear_count; i++) {
        const nib_linear *l = m->linears[i];
        const nib_form form = nib_weight_form(l->weight);
        if (!l->stack) continue;
        tensors += l->slice == 0;
        dense += l->slice == 0 && nib_form_is_dense(&form);
        bytes += l->weight->bytes;
    }
    if (dense)
        nib_note(m->ctx, "%s: %zu tensors of experts stay dense, %.1f MiB: they are no linears; "
                         "quantize_experts quantizes them while loading",
                 m->dir, dense, (double)bytes / (1 << 20));
    else if (tensors)
        nib_note(m->ctx, "%s: %zu tensors of experts are quantized, each expert a matrix, to %.1f "
                         "MiB",
                 m->dir, tensors, (double)bytes / (1 << 20));
    else if (asked)
        nib_note(m->ctx, "quantize_experts is without effect: no tensor of %s holds several "
                         "experts",
                 m->dir);
}

typedef enum opening { OPEN_WHOLE, OPEN_BLANK, OPEN_FEATURES } opening;

static nib_status read_purpose(nib_model *m, const nib_model_options *o, opening how,
                               const char *where, nib_error *err)
{
    const nib_arch *arch = m->config->arch;
    nib_model_options wanted = *o;

    if (how == OPEN_FEATURES && !(o->task == NIB_TASK_CAUSAL_LM &&
                                  arch->tasks >> NIB_TASK_CAUSAL_LM & 1))
        wanted.task = arch->tasks >> NIB_TASK_FEATURE_EXTRACTION & 1
                          ? NIB_TASK_FEATURE_EXTRACTION : NIB_TASK_CAUSAL_LM;
    return nib_purpose_read(m->json, arch, &wanted, where, &m->purpose, err);
}

static nib_status open_parts(nib_model *m, const nib_model_options *o, nib_dtype compute,
                             opening how, nib_model_progress progress, nib_error *err)
{
    bool blank = how == OPEN_BLANK;
    nib_claims claims = { 0 };
    nib_bind bind = { .model = m, .progress = progress, .claims = &claims,
                      .options = o, .blank = blank };
    bool gguf = nib_gguf_is_file(o->model);
    char *where = nib_sprintf(m->ctx, "%s%s", o->model, gguf ? "" : "/config.json");
    nib_outline outline;
    nib_status status;

    m->dir = nib_strdup(m->ctx, o->model);
    if (!where || !m->dir) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", o->model);
        goto done;
    }
    status = nib_config_open(m->ctx, o->model, !blank, &m->json, &m->config, err);
    if (!status)
        status = read_purpose(m, o, how, where, err);
    if (!status) status = nib_outline_make(m->ctx, m->config, where, &outline, err);
    if (!status) status = nib_held_read(m->ctx, m->json, where, &m->stored, err);
    if (!status) status = read_settings(m, o, &bind, err);
    if (!status && blank) status = read_blank(m, where, &bind, err);
    /* of a GGUF the tensors alone tell what each is stored as */
    if (!status && (!blank || gguf))
        status = nib_model_tensors_open(m->ctx, o->model, &m->tensors, err);
    if (status) goto done;
    m->asked = bind.asked;
    bind.expected = outline.linears;
    if (!blank) status = nib_bind_check(&bind, err);
    if (!status) status = build_graph(m, &bind, compute, err);
    if (!status && !blank)
        status = nib_warn_unused(m->ctx, m->dir, m->tensors, m->config,
                                 m->config->arch->other_heads, &claims, err);
    /* once: a plan ahead of the weights comes by */
    if (!status && !blank) note_experts(m, o->quantize_experts);
done:
    nib_claims_free(m->ctx, &claims);
    nib_free(m->ctx, where);
    return status;
}

static nib_status open_model(nib_ctx *ctx, const nib_model_options *options, nib_dtype compute,
                             opening how, nib_model_progress progress, nib_model **out,
                             nib_error *err)
{
    nib_model *m = nib_new(ctx, sizeof *m);
    nib_status status;

    if (!m) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", options->model);
    m->ctx = ctx;
    status = open_parts(m, options, compute, how, progress, err);
    if (status) goto done;
    *out = m;
    m = NULL; /* handed over */
done:
    nib_model_close(m);
    return status;
}

nib_status nib_model_open(nib_ctx *ctx, const nib_model_options *options, nib_dtype compute,
                          nib_model_progress progress, nib_model **out, nib_error *err)
{
    return open_model(ctx, options, compute, OPEN_WHOLE, progress, out, err);
}

nib_status nib_model_open_features(nib_ctx *ctx, const nib_model_options *options,
                                   nib_dtype compute, nib_model_progress progress,
                                   nib_model **out, nib_error *err)
{
    return open_model(ctx, options, compute, OPEN_FEATURES, progress, out, err);
}

nib_status nib_model_open_blank(nib_ctx *ctx, const nib_model_options *options, nib_dtype compute,
                                nib_model **out, nib_error *err)
{
    return open_model(ctx, options, compute, OPEN_BLANK, (nib_model_progress){ 0 }, out, err);
}

const char *nib_model_module(const nib_model *m, const char *module)
{
    const char *prefix = nib_config_prefix(m->config);
    size_t n = strlen(prefix);

    return m->purpose.task == NIB_TASK_FEATURE_EXTRACTION && strncmp(module, prefix, n) == 0
               ? module + n
               : module;
}

bool nib_model_is_changed(const nib_model *m)
{
    for (size_t i = 0; i < m->embedding_count; i++)
        if (m->embeddings[i]->frozen) return true;
    for (size_t i = 0; i < m->linear_count; i++)
        if (m->linears[i]->frozen || m->linears[i]->frozen_bias) return true;
    for (size_t i = 0; i < m->norm_count; i++)
        if (m->norms[i]->frozen_weight || m->norms[i]->frozen_bias) return true;
    return false;
}

void nib_model_close(nib_model *m)
{
    if (!m) return;
    nib_graph_destroy(m->graph);
    for (size_t i = 0; i < m->linear_count; i++) {
        nib_linear *l = m->linears[i];
        if (l->owns_weight) nib_weight_destroy(m->ctx, l->weight);
        nib_free(m->ctx, l->stack);
        nib_free(m->ctx, l->stack_also);
        nib_free(m->ctx, l->apart[0]);
        nib_free(m->ctx, l->apart[1]);
        nib_free(m->ctx, l->bias);
        nib_free(m->ctx, l->bias_name);
        nib_free(m->ctx, l->name);
        nib_free(m->ctx, l);
    }
    nib_free(m->ctx, m->linears);
    nib_free(m->ctx, m->new_linears);
    for (size_t i = 0; i < m->norm_count; i++) {
        nib_free(m->ctx, m->norms[i]->name);
        nib_free(m->ctx, m->norms[i]->weight);
        nib_free(m->ctx, m->norms[i]->bias);
        nib_free(m->ctx, m->norms[i]);
    }
    nib_free(m->ctx, m->norms);
    for (size_t i = 0; i < m->vector_count; i++) {
        nib_free(m->ctx, m->vectors[i]->name);
        nib_free(m->ctx, m->vectors[i]->value);
        nib_free(m->ctx, m->vectors[i]);
    }
    nib_free(m->ctx, m->vectors);
    for (size_t i = 0; i < m->embedding_count; i++) {
        if (m->embeddings[i]->owns_weight) nib_weight_destroy(m->ctx, m->embeddings[i]->weight);
        nib_free(m->ctx, m->embeddings[i]->name);
        nib_free(m->ctx, m->embeddings[i]);
    }
    nib_free(m->ctx, m->embeddings);
    nib_held_free(m->ctx, &m->stored);
    nib_tensors_close(m->tensors);
    nib_config_free(m->ctx, m->config);
    json_decref(m->json);
    nib_free(m->ctx, m->dir);
    nib_free(m->ctx, m);
}
