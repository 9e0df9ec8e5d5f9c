/* bind.c - linears, embeddings and norms made of the file's tensors. */
#include "model/bind.h"

#include <stdio.h>

#include "model/bind_weight.h"

static bool is_float(nib_dtype t) { return t == NIB_F32 || t == NIB_F16 || t == NIB_BF16; }

/* A vector of `width` floats, copied and widened; NIB_OK with NULL when the tensor is absent. */
static nib_status open_vector(nib_bind *b, const char *module, const char *part, size_t width,
                              float **out, nib_error *err)
{
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t = nib_bind_find(b, module, part, name);

    *out = NULL;
    if (!t) return NIB_OK;
    if (!is_float(t->dtype) || t->rank != 1 || (width && t->shape[0] != width))
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s is %s with %" PRIu64 " elements and rank %u, expected "
                        "a float vector of %zu",
                        t->file, name, t->dtype_name, t->elements, t->rank, width);
    *out = nib_new_array(b->model->ctx, t->elements, sizeof(float));
    if (!*out) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    nib_convert(*out, NIB_F32, t->data, t->dtype, t->elements);
    b->model->parameters += t->elements;
    b->model->owned_bytes += t->elements * sizeof(float);
    return NIB_OK;
}

/* The same without the tensor: all of one value. */
static nib_status blank_vector(nib_bind *b, size_t width, float value, float **out, nib_error *err)
{
    *out = nib_new_array(b->model->ctx, width, sizeof(float));
    if (!*out) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", b->model->dir);
    for (size_t i = 0; i < width; i++) (*out)[i] = value;
    b->model->parameters += width;
    b->model->owned_bytes += width * sizeof(float);
    return NIB_OK;
}

/* --- modules --- */

/* A weight, the shape of a blank one from the architecture's answer. */
static nib_status open_weight(nib_bind *b, const char *module, bool quantizable, nib_weight **w,
                              nib_error *err)
{
    const nib_model *m = b->model;
    nib_shape s = { 0 };

    if (b->blank && strcmp(module, m->arch->embedding) == 0)
        s = (nib_shape){ m->config->vocabulary, m->config->width };
    else if (b->blank)
        s = m->arch->shape(m->config, module);
    return nib_bind_weight(b, module, s.out, s.in, quantizable, w, err);
}

static nib_status bind_bias(nib_bind *b, nib_linear *l, nib_error *err)
{
    bool wanted = b->model->arch->has_bias(b->model->config, l->name);
    nib_status status;

    if (b->blank) return wanted ? blank_vector(b, l->weight->out, 0, &l->bias, err) : NIB_OK;
    status = open_vector(b, l->name, ".bias", l->weight->out, &l->bias, err);
    if (status) return status;
    if (wanted && !l->bias)
        return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s.bias is missing", b->model->dir,
                        l->name);
    if (!wanted && l->bias)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: tensor %s.bias is there, but config.json says that "
                        "there is none",
                        b->model->dir, l->name);
    return NIB_OK;
}

static nib_status add_linear(nib_model *m, nib_linear *l, nib_error *err)
{
    if (!nib_grow(m->ctx, &m->linears, &m->linear_capacity, m->linear_count + 1,
                  sizeof *m->linears))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", l->name);
    m->linears[m->linear_count++] = l;
    return NIB_OK;
}

static void free_linear(nib_ctx *ctx, nib_linear *l)
{
    if (!l) return;
    if (l->owns_weight) nib_weight_destroy(ctx, l->weight);
    nib_free(ctx, l->bias);
    nib_free(ctx, l->name);
    nib_free(ctx, l);
}

/* The head: its own tensor, or the embedding's weight when tied. */
static nib_status head_weight(nib_bind *b, nib_linear *l, nib_error *err)
{
    nib_model *m = b->model;
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t = nib_bind_find(b, l->name, ".weight", name);

    if (!m->config->tied) return open_weight(b, l->name, false, &l->weight, err);
    if (t && (t->bytes != m->embedding->weight->out * m->embedding->weight->in *
                              nib_dtype_bytes(t->dtype) ||
              memcmp(t->data, m->embedding->weight->as.dense.data, t->bytes) != 0))
        nib_warn(m->ctx, "%s: %s differs from the embedding it is tied to; the embedding is used",
                 t->file, t->name);
    l->weight = m->embedding->weight;
    l->owns_weight = false;
    return NIB_OK;
}

static nib_status bind_linear(void *self, const char *module, nib_linear **out, nib_error *err)
{
    nib_bind *b = self;
    nib_model *m = b->model;
    bool head = strcmp(module, m->arch->head) == 0;
    nib_linear *l = nib_new(m->ctx, sizeof *l);
    nib_status status;

    if (!l || !(l->name = nib_strdup(m->ctx, module))) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", module);
        goto done;
    }
    l->owns_weight = true;
    status = head ? head_weight(b, l, err) : open_weight(b, module, true, &l->weight, err);
    if (!status) status = bind_bias(b, l, err);
    if (!status && head && l->weight->out != m->config->vocabulary)
        status = nib_fail(err, NIB_E_MISMATCH, "%s: %s has %zu rows, vocab_size is %zu", m->dir,
                          module, l->weight->out, m->config->vocabulary);
    if (!status) status = add_linear(m, l, err);
    if (status) goto done;
    if (head) m->head = l;
    *out = l;
    l = NULL; /* handed over */
done:
    free_linear(m->ctx, l);
    return status;
}

static nib_status bind_embedding(void *self, const char *module, nib_embedding **out,
                                 nib_error *err)
{
    nib_bind *b = self;
    nib_model *m = b->model;
    nib_embedding *e = nib_new(m->ctx, sizeof *e);
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t;
    nib_status status;

    if (!e) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", module);
    m->embedding = e; /* the model frees it, whole or half built */
    e->owns_weight = true;
    e->name = nib_strdup(m->ctx, module);
    if (!e->name) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", module);
    status = open_weight(b, module, false, &e->weight, err);
    if (status) return status;
    if (e->weight->out != m->config->vocabulary || e->weight->in != m->config->width)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s.weight is [%zu, %zu], config.json says [%zu, %zu]", m->dir, module,
                        e->weight->out, e->weight->in, m->config->vocabulary, m->config->width);
    t = nib_bind_find(b, module, ".weight", name);
    /* a tied one is the head */
    if (t && t->map && !m->config->tied) nib_filemap_sparse(t->map, t->data, (size_t)t->bytes);
    *out = e;
    return NIB_OK;
}

static nib_status bind_norm(void *self, const char *module, bool bias, nib_norm **out,
                            nib_error *err)
{
    nib_bind *b = self;
    nib_model *m = b->model;
    nib_norm *n = nib_new(m->ctx, sizeof *n);
    nib_status status;

    if (!n || !(n->name = nib_strdup(m->ctx, module)) ||
        !nib_grow(m->ctx, &m->norms, &m->norm_capacity, m->norm_count + 1, sizeof *m->norms)) {
        if (n) nib_free(m->ctx, n->name);
        nib_free(m->ctx, n);
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", module);
    }
    m->norms[m->norm_count++] = n;
    n->width = m->config->width;
    if (b->blank) {
        status = blank_vector(b, n->width, 1, &n->weight, err);
        if (!status && bias) status = blank_vector(b, n->width, 0, &n->bias, err);
        if (!status) *out = n;
        return status;
    }
    status = open_vector(b, module, ".weight", n->width, &n->weight, err);
    if (!status && bias) status = open_vector(b, module, ".bias", n->width, &n->bias, err);
    if (status) return status;
    if (!n->weight || (bias && !n->bias))
        return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s.%s is missing", m->dir, module,
                        n->weight ? "bias" : "weight");
    *out = n;
    return NIB_OK;
}

nib_binder nib_bind_make(nib_bind *bind)
{
    return (nib_binder){ .self = bind, .linear = bind_linear, .embedding = bind_embedding,
                         .norm = bind_norm };
}
