/* fuzz_config.c - any text as config.json, and the first layers of the graph it asks for.
 *
 * The weights the graph is bound to are shapes without data, as the sizes of config.json want
 * them, so that a config that is taken must also give a graph whose pieces fit. */
#include <stdlib.h>

#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { MOST_MODULES = 64, FEED_FORWARD = 48 };

typedef struct shapes {
    const nib_config *config;
    const nib_arch *arch;
    nib_weight weights[MOST_MODULES];
    nib_linear linears[MOST_MODULES];
    nib_norm norms[MOST_MODULES];
    nib_embedding embedding;
    size_t linear_count, norm_count;
} shapes;

/* How many channels a linear takes and gives, by the end of its name. */
static void shape_of(const nib_config *c, const char *module, nib_weight *w)
{
    static const struct { const char *end; char in, out; } known[] = {
        { ".q_proj", 'w', 'q' }, { ".k_proj", 'w', 'k' }, { ".v_proj", 'w', 'k' }, { ".o_proj", 'q', 'w' },
        { ".out_proj", 'q', 'w' }, { ".dense", 'q', 'w' }, { ".query_key_value", 'w', 'a' },
        { ".gate_proj", 'w', 'f' }, { ".up_proj", 'w', 'f' }, { ".down_proj", 'f', 'w' },
        { ".fc_in", 'w', 'f' }, { ".fc_out", 'f', 'w' }, { ".dense_h_to_4h", 'w', 'f' },
        { ".dense_4h_to_h", 'f', 'w' }, { "lm_head", 'w', 'v' },
    };
    size_t q = c->heads * c->head_dim, k = c->kv_heads * c->head_dim;
    char in = 0, out = 0;

    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (nib_name_ends(module, known[i].end)) in = known[i].in, out = known[i].out;
    if (!in) abort();
    w->in = in == 'w' ? c->width : in == 'q' ? q : FEED_FORWARD;
    w->out = out == 'w' ? c->width : out == 'q' ? q : out == 'k' ? k : out == 'a' ? q + 2 * k
             : out == 'v' ? c->vocabulary : FEED_FORWARD;
}

static nib_status bind_linear(void *self, const char *module, nib_linear **out, nib_error *err)
{
    shapes *s = self;
    size_t i = s->linear_count++;

    if (i >= MOST_MODULES)
        return nib_fail(err, NIB_E_INVALID, "more linears than there is room for");
    shape_of(s->config, module, &s->weights[i]);
    s->linears[i].weight = &s->weights[i];
    (void)s->arch->has_bias(s->config, module);
    *out = &s->linears[i];
    return NIB_OK;
}

static nib_status bind_embedding(void *self, const char *module, nib_embedding **out,
                                 nib_error *err)
{
    shapes *s = self;
    nib_weight *w = &s->weights[MOST_MODULES - 1];

    (void)module, (void)err;
    w->out = s->config->vocabulary;
    w->in = s->config->width;
    s->embedding.weight = w;
    *out = &s->embedding;
    return NIB_OK;
}

static nib_status bind_norm(void *self, const char *module, bool bias, nib_norm **out,
                            nib_error *err)
{
    shapes *s = self;
    size_t i = s->norm_count++;

    (void)module, (void)bias;
    if (i >= MOST_MODULES) return nib_fail(err, NIB_E_INVALID, "more norms than there is room for");
    s->norms[i].width = s->config->width;
    *out = &s->norms[i];
    return NIB_OK;
}

static void build(nib_ctx *ctx, const nib_arch *arch, const nib_config *c)
{
    static shapes s;
    nib_build b = { .graph = nib_graph_create(ctx, NIB_F32),
                    .binder = { .self = &s, .linear = bind_linear, .embedding = bind_embedding, .norm = bind_norm } };
    nib_value x;

    if (!b.graph) abort();
    s = (shapes){ .config = c, .arch = arch };
    x = nib_embed(&b, arch->embedding);
    for (size_t i = 0; i < nib_min(c->layers, 2); i++) x = arch->layer(&b, c, (int)i, x);
    x = arch->back(&b, c, nib_to_logit_rows(&b, x));
    nib_set_head(&b, x, arch->head);
    if (!b.status) nib_graph_mark(b.graph);
    nib_graph_destroy(b.graph);
    /* What config.json alone decides fits together: a mismatch could only be blamed on tensors. */
    if (b.status == NIB_E_MISMATCH) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static nib_ctx *ctx; /* one for the whole run: it starts threads */
    const nib_arch *arch;
    nib_config *config;
    json_t *json;
    nib_error err;

    if (!ctx && nib_ctx_create(&(nib_ctx_options){ .threads = 1 }, &ctx, &err)) abort();
    if (nib_json_parse((const char *)data, bytes, "config.json", 0, &json, &err)) return 0;
    if (nib_config_parse(ctx, json, "config.json", &arch, &config, &err) == NIB_OK) {
        if (!config->width || !config->vocabulary || !config->layers || !config->kv_heads ||
            !config->head_dim)
            abort();
        build(ctx, arch, config);
        nib_config_free(ctx, config);
    }
    json_decref(json);
    return 0;
}
