/* gguf_compare.c - whether a model that was written and read back computes what it did: the graphs,
 * operation by operation.  A scale, a window or an angle that no key of GGUF can say shows here,
 * also where the weights are rounded so coarsely that logits would not tell. */
#include <math.h>

#include "model/gguf_keys.h"

/* What passed through a key is a float of 32 bits. */
static bool close_to(double a, double b) { return fabs(a - b) <= 1e-5 * fmax(fabs(a), fabs(b)); }

static bool same_rope(const nib_rope *a, const nib_rope *b)
{
    if (!a || !b) return a == b;
    if (a->rot != b->rot || a->interleaved != b->interleaved || a->limit != b->limit ||
        !a->long_inv != !b->long_inv || (a->long_inv && a->long_from != b->long_from) ||
        a->growth_every != b->growth_every || a->grows_from != b->grows_from ||
        !close_to((double)a->growth, (double)b->growth) ||
        !close_to(a->growth_factor, b->growth_factor) ||
        !close_to((double)a->attention_factor, (double)b->attention_factor))
        return false;
    for (size_t i = 0; i < a->rot / 2; i++)
        if (!close_to((double)a->inv[i], (double)b->inv[i]) ||
            (a->long_inv && !close_to((double)a->long_inv[i], (double)b->long_inv[i])))
            return false;
    return true;
}

static bool same_route(const nib_route_desc *a, const nib_route_desc *b)
{
    return a->experts == b->experts && a->top == b->top && a->scores == b->scores &&
           nib_max(a->groups, 1) == nib_max(b->groups, 1) &&
           (a->groups <= 1 || a->top_groups == b->top_groups) &&
           a->group_pairs == b->group_pairs && a->normalize == b->normalize &&
           !a->bias == !b->bias && !a->gains == !b->gains &&
           close_to((double)a->scale, (double)b->scale);
}

/* INFINITY too: steps have no greatest. */
static bool close_or_same(float a, float b) { return a == b || close_to((double)a, (double)b); }

static bool same_scan(const nib_scan_desc *a, const nib_scan_desc *b)
{
    return a->heads == b->heads && a->key_heads == b->key_heads && a->rows == b->rows &&
           a->columns == b->columns && a->delta == b->delta && !a->skip == !b->skip &&
           close_or_same(a->least, b->least) && close_or_same(a->most, b->most);
}

/* What differs between two nodes; NULL: nothing. */
static const char *difference(const nib_node *a, const nib_node *b, bool all_slide)
{
    const nib_attention_desc *x = &a->attention, *y = &b->attention;

    if (a->op != b->op || a->input_count != b->input_count) return "the operation";
    if (a->rms_form != b->rms_form) return "the form of the norm";
    if (!close_to((double)a->eps, (double)b->eps)) return "the epsilon";
    if (!close_to((double)a->scale, (double)b->scale)) return "a scale";
    if (a->activation != b->activation) return "the activation";
    if (!same_route(&a->route, &b->route)) return "how experts are chosen";
    if (!same_rope(a->rope, b->rope)) return "the angles of the rope";
    if (x->heads != y->heads || x->kv_heads != y->kv_heads || x->head_dim != y->head_dim)
        return "the heads";
    if (!close_to((double)x->scale, (double)y->scale)) return "the scale of the scores";
    if (!close_to((double)x->cap, (double)y->cap)) return "the cap of the scores";
    if ((x->window != y->window && !all_slide) || x->chunk != y->chunk)
        return "the sliding window";
    if (!same_scan(&a->scan, &b->scan)) return "a scan's heads or the limits of its steps";
    if (!x->alibi_slopes != !y->alibi_slopes) return "ALiBi";
    return NULL;
}

/* The window that all layers have in `a` and none has in `b`; 0: it is not so. */
static size_t lost_window(const nib_graph *a, const nib_graph *b)
{
    size_t window = 0;

    for (size_t i = 0; i < a->node_count; i++) {
        size_t own = a->nodes[i].attention.window;
        if (!a->nodes[i].attention.heads) continue;
        if (!own || (window && own != window) || b->nodes[i].attention.window) return 0;
        window = own;
    }
    return window;
}

static nib_status compare(const nib_model *m, const nib_graph *a, const nib_graph *b,
                          nib_error *err)
{
    const char *what = NULL;
    size_t i = 0, window = 0;

    if (a->node_count != b->node_count) what = "the number of operations";
    else window = lost_window(a, b);
    for (; !what && i < a->node_count; i++)
        what = difference(&a->nodes[i], &b->nodes[i], window != 0);
    if (!what && (!close_to((double)a->logit_scale, (double)b->logit_scale) ||
                  !close_to((double)a->logit_cap, (double)b->logit_cap)))
        what = "the scale of the logits";
    if (!what && window)
        nib_warn_code(m->ctx, "gguf-window", "%s: GGUF's %s has no sliding window: texts of more "
                      "than %zu tokens are read otherwise there", m->dir,
                      m->config->arch->gguf->architecture, window);
    if (!what) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: config.json says what no key of GGUF's %s can: "
                    "%s would be another (operation %zu of %zu)", m->dir,
                    m->config->arch->gguf->architecture, what, i, a->node_count);
}

typedef struct comparing {
    const nib_model *m;
    const nib_graph *written;
    nib_status status;
    nib_error *err;
} comparing;

static void see(void *self, const nib_graph *g)
{
    comparing *c = self;

    c->status = compare(c->m, g, c->written, c->err);
}

/* The model as it is without the factors that the file's tensors hold. */
static nib_status compare_folded(const nib_model *m, const nib_graph *written, nib_error *err)
{
    comparing c = { .m = m, .written = written, .err = err };
    json_t *json = json_copy(m->json);
    nib_config *config = NULL;
    nib_status status;

    if (!json) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", m->dir);
    for (const char *const *key = m->config->arch->gguf->folded; *key; key++)
        json_object_del(json, *key);
    status = nib_config_parse(m->ctx, json, m->dir, false, &config, err);
    if (!status) status = nib_outline_show(m->ctx, config, m->dir, see, &c, err);
    if (!status) status = c.status;
    if (config) nib_config_free(m->ctx, config);
    json_decref(json);
    return status;
}

nib_status nib_gguf_compare_graphs(const nib_model *m, const nib_model *written, nib_error *err)
{
    return m->config->arch->gguf->folded ? compare_folded(m, written->graph, err)
                                         : compare(m, m->graph, written->graph, err);
}
