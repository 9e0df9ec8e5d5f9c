/* model.c - opening a model directory and building its graph. */
#include "model/model.h"

#include "graph/sink.h"
#include "model/bind.h"

nib_dtype nib_compute_type(nib_ctx *ctx, nib_compute compute)
{
    switch (compute) {
    case NIB_COMPUTE_AUTO: return nib_ctx_cpu(ctx) & NIB_CPU_AVX512BF16 ? NIB_BF16 : NIB_F32;
    case NIB_COMPUTE_BFLOAT16: return NIB_BF16;
    case NIB_COMPUTE_FLOAT32: case NIB_COMPUTE_FLOAT16: break;
    }
    return NIB_F32;
}

/* What config.json says of quantization: nothing, or bitsandbytes' 4 bit. */
static nib_status read_quantization(nib_model *m, const char *where, nib_error *err)
{
    const json_t *q = json_object_get(m->json, "quantization_config");
    const char *method = "bitsandbytes";
    bool four = false, eight = false;
    nib_status status;

    if (!q || json_is_null(q)) return NIB_OK;
    if (!json_is_object(q))
        return nib_fail(err, NIB_E_FORMAT, "%s: quantization_config is not an object", where);
    if ((status = nib_json_get_string(q, where, "quant_method", &method, err)) ||
        (status = nib_json_get_bool(q, where, "load_in_4bit", &four, err)) ||
        (status = nib_json_get_bool(q, where, "load_in_8bit", &eight, err)))
        return status;
    if (strcmp(method, "bitsandbytes") != 0 || eight || !four)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: quantized with %s%s, known is bitsandbytes with "
                        "load_in_4bit",
                        where, method, eight ? " (8 bit)" : "");
    m->stored_4bit = true;
    return NIB_OK;
}

static nib_status build_graph(nib_model *m, nib_bind *bind, nib_dtype compute, nib_error *err)
{
    nib_build b = { .binder = nib_bind_make(bind) };

    m->graph = b.graph = nib_graph_create(m->ctx, compute);
    if (!m->graph) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", m->dir);
    m->config->arch->build(&b, m->config->values, NIB_TASK_CAUSAL_LM);
    if (b.status) {
        if (err) *err = b.error;
        return b.status;
    }
    nib_bind_advise(bind);
    return nib_sink_logit_rows(m->graph, err);
}

/* What blank weights are to become: the type config.json names, the 4-bit form it or the caller
 * asks for. */
static nib_status read_blank(nib_model *m, const char *where, nib_bind *b, nib_error *err)
{
    static const struct { const char *name; nib_dtype dtype; } types[] = {
        { "float32", NIB_F32 }, { "float16", NIB_F16 }, { "bfloat16", NIB_BF16 }, { "auto", NIB_F32 },
    };
    const json_t *q = json_object_get(m->json, "quantization_config");
    const char *type = "float32";
    nib_status status;

    if ((status = nib_json_get_string(m->json, where, "torch_dtype", &type, err)) ||
        (status = nib_json_get_string(m->json, where, "dtype", &type, err)))
        return status;
    if (strncmp(type, "torch.", 6) == 0) type += 6;
    b->blank_dtype = NIB_F32;
    for (size_t i = 0; i < NIB_COUNT(types); i++)
        if (strcmp(type, types[i].name) == 0) b->blank_dtype = types[i].dtype;
    b->blank_4bit = m->stored_4bit || b->bnb.load_in_4bit;
    if (!m->stored_4bit) return NIB_OK;
    b->bnb = (nib_bnb_options){ .load_in_4bit = true };
    if ((status = nib_json_get_string(q, where, "bnb_4bit_quant_type", &b->bnb.bnb_4bit_quant_type,
                                      err)))
        return status;
    return nib_json_get_bool(q, where, "bnb_4bit_use_double_quant",
                             &b->bnb.bnb_4bit_use_double_quant, err);
}

nib_status nib_model_check_bnb(const nib_bnb_options *bnb, nib_error *err)
{
    const char *type = bnb->bnb_4bit_quant_type ? bnb->bnb_4bit_quant_type : "nf4";
    int n = bnb->blocksize;

    if (strcmp(type, "nf4") != 0 && strcmp(type, "fp4") != 0)
        return nib_fail(err, NIB_E_INVALID, "bnb_4bit_quant_type '%s'; nf4 and fp4 are known",
                        type);
    if (n && (n < 32 || n > 4096 || (n & (n - 1))))
        return nib_fail(err, NIB_E_INVALID,
                        "bnb_4bit_blocksize %d; a power of two from 32 to 4096 is due", n);
    return NIB_OK;
}

static nib_status open_parts(nib_model *m, const nib_model_options *o, nib_dtype compute,
                             bool blank, nib_model_progress progress, nib_error *err)
{
    nib_bind bind = { .model = m, .bnb = o->bnb, .progress = progress, .blank = blank };
    char *where = nib_sprintf(m->ctx, "%s/config.json", o->model);
    nib_outline outline;
    nib_status status = nib_model_check_bnb(&o->bnb, err);

    if (status) goto done;
    m->dir = nib_strdup(m->ctx, o->model);
    if (!where || !m->dir) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", o->model);
        goto done;
    }
    status = nib_config_open(m->ctx, o->model, !blank, &m->json, &m->config, err);
    if (!status) status = nib_outline_make(m->ctx, m->config, where, &outline, err);
    if (!status) status = read_quantization(m, where, err);
    if (!status)
        status = blank ? read_blank(m, where, &bind, err)
                       : nib_tensors_open(m->ctx, o->model, &m->tensors, err);
    if (status) goto done;
    if (o->bnb.load_in_4bit && m->stored_4bit)
        nib_note(m->ctx, "%s is in 4 bit already: its own settings are used", o->model);
    else if (!o->bnb.load_in_4bit &&
             (o->bnb.bnb_4bit_use_double_quant || o->bnb.blocksize || o->bnb.bnb_4bit_quant_type))
        nib_note(m->ctx, "bnb_4bit options are without effect without load_in_4bit");
    bind.expected = outline.linears;
    if (!blank) status = nib_bind_check(&bind, err);
    if (!status) status = build_graph(m, &bind, compute, err);
done:
    nib_free(m->ctx, where);
    return status;
}

static nib_status open_model(nib_ctx *ctx, const nib_model_options *options, nib_dtype compute,
                             bool blank, nib_model_progress progress, nib_model **out,
                             nib_error *err)
{
    nib_model *m = nib_new(ctx, sizeof *m);
    nib_status status;

    if (!m) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", options->model);
    m->ctx = ctx;
    status = open_parts(m, options, compute, blank, progress, err);
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
    return open_model(ctx, options, compute, false, progress, out, err);
}

nib_status nib_model_open_blank(nib_ctx *ctx, const nib_model_options *options, nib_dtype compute,
                                nib_model **out, nib_error *err)
{
    return open_model(ctx, options, compute, true, (nib_model_progress){ 0 }, out, err);
}

void nib_model_close(nib_model *m)
{
    if (!m) return;
    nib_graph_destroy(m->graph);
    for (size_t i = 0; i < m->linear_count; i++) {
        nib_linear *l = m->linears[i];
        if (l->owns_weight) nib_weight_destroy(m->ctx, l->weight);
        nib_free(m->ctx, l->bias);
        nib_free(m->ctx, l->name);
        nib_free(m->ctx, l);
    }
    nib_free(m->ctx, m->linears);
    for (size_t i = 0; i < m->norm_count; i++) {
        nib_free(m->ctx, m->norms[i]->name);
        nib_free(m->ctx, m->norms[i]->weight);
        nib_free(m->ctx, m->norms[i]->bias);
        nib_free(m->ctx, m->norms[i]);
    }
    nib_free(m->ctx, m->norms);
    for (size_t i = 0; i < m->embedding_count; i++) {
        if (m->embeddings[i]->owns_weight) nib_weight_destroy(m->ctx, m->embeddings[i]->weight);
        nib_free(m->ctx, m->embeddings[i]->name);
        nib_free(m->ctx, m->embeddings[i]);
    }
    nib_free(m->ctx, m->embeddings);
    nib_tensors_close(m->tensors);
    nib_config_free(m->ctx, m->config);
    json_decref(m->json);
    nib_free(m->ctx, m->dir);
    nib_free(m->ctx, m);
}

bool nib_model_is_layer_linear(const nib_graph *g, const char *tensor_name)
{
    size_t n = strlen(tensor_name);

    if (n < 7 || strcmp(tensor_name + n - 7, ".weight") != 0) return false;
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_linear *l = g->nodes[i].linear;
        if (l && l != g->head && strlen(l->name) == n - 7 &&
            strncmp(l->name, tensor_name, n - 7) == 0)
            return true;
    }
    return false;
}
