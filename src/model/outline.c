/* outline.c - a graph over shapes, and the sizes read off it. */
#include "model/outline.h"

#include "graph/sink.h"
#include "model/purpose.h"

/* Modules live as long as the outline is made. */
typedef struct shapes {
    nib_ctx *ctx;
    void **owned;
    size_t count, capacity;
    size_t linears;
    bool tied;
} shapes;

/* Zeroed memory that goes with the others; NULL: no memory. */
static void *take(shapes *s, size_t bytes)
{
    void *p;

    if (!nib_grow(s->ctx, &s->owned, &s->capacity, s->count + 1, sizeof *s->owned)) return NULL;
    p = nib_new(s->ctx, bytes);
    if (p) s->owned[s->count++] = p;
    return p;
}

static nib_status no_memory(const char *module, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", module);
}

static nib_weight *shape(shapes *s, size_t out, size_t in)
{
    nib_weight *w = take(s, sizeof *w);

    if (w) w->out = out, w->in = in;
    return w;
}

static nib_status bind_linear(void *self, const char *module, const nib_linear_spec *spec,
                              nib_linear **out, nib_error *err)
{
    shapes *s = self;
    nib_linear *l = take(s, sizeof *l);

    if (!l || !(l->weight = shape(s, spec->out, spec->in))) return no_memory(module, err);
    if (spec->head) s->tied = spec->tied_to != NULL;
    else s->linears++;
    *out = l;
    return NIB_OK;
}

static nib_status bind_embedding(void *self, const char *module, size_t rows, size_t width,
                                 nib_embedding **out, nib_error *err)
{
    shapes *s = self;
    nib_embedding *e = take(s, sizeof *e);

    if (!e || !(e->weight = shape(s, rows, width))) return no_memory(module, err);
    *out = e;
    return NIB_OK;
}

static nib_status bind_norm(void *self, const char *module, const nib_norm_spec *spec,
                            nib_norm **out, nib_error *err)
{
    nib_norm *n = take(self, sizeof *n);

    if (!n) return no_memory(module, err);
    n->width = spec->width;
    n->rows = spec->rows;
    *out = n;
    return NIB_OK;
}

static nib_status bind_vector(void *self, const char *tensor, const nib_vector_spec *spec,
                              nib_vector **out, nib_error *err)
{
    nib_vector *v = take(self, sizeof *v);

    if (!v) return no_memory(tensor, err);
    v->width = nib_vector_count(spec);
    *out = v;
    return NIB_OK;
}

/* Rows of the table of words. */
static size_t words_of(const nib_graph *g)
{
    for (size_t i = 0; i < g->node_count; i++)
        if (g->nodes[i].embedding && g->nodes[i].row_input == NIB_IDS)
            return g->nodes[i].embedding->weight->out;
    return 0;
}

static void read_off(const nib_graph *g, const shapes *s, nib_outline *o)
{
    *o = (nib_outline){ .vocabulary = g->head ? g->head->weight->out : words_of(g),
                        .width = g->head ? g->head->weight->in : g->values[g->hidden].width,
                        .layers = (size_t)g->segments - 2, /* without front and back */
                        .positions = g->positions, .linears = s->linears, .tied = s->tied,
                        .box_limit = g->box_limit };
    for (size_t i = 0; i < g->node_count; i++) {
        const nib_attention_desc *a = &g->nodes[i].attention;
        if (!a->heads) continue;
        o->heads = a->heads;
        o->kv_heads = a->kv_heads;
        o->head_dim = a->head_dim;
        break;
    }
}

/* s: zeroed but for its context. */
static nib_status show(shapes *s, const nib_config *config, const char *where,
                       void (*see)(void *self, const nib_graph *g), void *self, nib_error *err)
{
    nib_ctx *ctx = s->ctx;
    nib_build b = { .graph = nib_graph_create(ctx, NIB_F32),
                    .binder = { s, bind_linear, bind_embedding, bind_norm, bind_vector } };
    nib_status status;

    if (!b.graph) return no_memory(where, err);
    config->arch->build(&b, config->values, nib_arch_words(config->arch));
    status = b.status ? nib_fail(err, b.status, "%s: %s", where, b.error.message)
                      : nib_sink_logit_rows(b.graph, err);
    if (!status) see(self, b.graph);
    nib_graph_destroy(b.graph);
    for (size_t i = 0; i < s->count; i++) nib_free(ctx, s->owned[i]);
    nib_free(ctx, s->owned);
    return status;
}

nib_status nib_outline_show(nib_ctx *ctx, const nib_config *config, const char *where,
                            void (*see)(void *self, const nib_graph *g), void *self, nib_error *err)
{
    shapes s = { .ctx = ctx };

    return show(&s, config, where, see, self, err);
}

typedef struct reading { const shapes *s; nib_outline *out; } reading;

static void read_graph(void *self, const nib_graph *g)
{
    const reading *r = self;

    read_off(g, r->s, r->out);
}

nib_status nib_outline_make(nib_ctx *ctx, const nib_config *config, const char *where,
                            nib_outline *out, nib_error *err)
{
    shapes s = { .ctx = ctx };
    reading r = { &s, out };
    nib_status status = show(&s, config, where, read_graph, &r, err);

    if (!status) out->refused_fields = config->arch->refused_fields;
    return status;
}
