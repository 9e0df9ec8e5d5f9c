/* bind.c - linears, embeddings, norms and vectors made of the file's tensors. */
#include "model/bind.h"

#include <math.h>
#include <stdio.h>

#include "format/tensor_values.h"
#include "model/bind_weight.h"
#include "model/new_head.h"

/* A vector of `width` floats, copied and widened; NIB_OK with NULL when the tensor is absent.
 * `older`: what TensorFlow's checkpoints called the part, or NULL. */
static nib_status open_vector(nib_bind *b, const char *module, const char *part, const char *older,
                              size_t width, float **out, nib_error *err)
{
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t = nib_bind_find(b, module, part, name);

    if (!t && older) t = nib_bind_find(b, module, older, name);

    *out = NULL;
    if (!t) return NIB_OK;
    if (!nib_dtype_is_float(t->dtype) || t->rank != 1 || (width && t->shape[0] != width))
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s is %s with %" PRIu64 " elements and rank %u, expected "
                        "a float vector of %zu",
                        t->file, name, t->dtype_name, t->elements, t->rank, width);
    *out = nib_new_array(b->model->ctx, t->elements, sizeof(float));
    if (!*out) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    nib_tensor_values(t, 0, (size_t)t->elements, *out);
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

/* The module's name in the library; NULL: no memory. */
static char *library_name(const nib_model *m, const char *module)
{
    char name[NIB_MODULE_NAME_ROOM];

    nib_wrapper_module(m->config->wrapper, module, name);
    return nib_strdup(m->ctx, name);
}

/* The bias of an expert: a row of a tensor that holds those of all. */
static nib_status bind_stacked_bias(nib_bind *b, nib_linear *l, const nib_linear_spec *spec,
                                    nib_error *err)
{
    char name[NIB_BIND_NAME_ROOM];
    char module[NIB_MODULE_NAME_ROOM];
    const nib_tensor *t;

    nib_wrapper_module(b->model->config->wrapper, spec->stack_bias, module);
    t = nib_bind_find(b, module, "", name);
    if (!t) return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s is missing", b->model->dir, name);
    if (!nib_dtype_is_float(t->dtype) || t->rank != 2 || t->shape[0] != spec->slices ||
        t->shape[1] != spec->out)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s is %s [%" PRIu64 ", ...] of %" PRIu64 " elements, expected floats "
                        "[%zu, %zu]",
                        t->file, name, t->dtype_name, t->rank ? t->shape[0] : 0, t->elements,
                        spec->slices, spec->out);
    l->bias = nib_new_array(b->model->ctx, spec->out, sizeof(float));
    if (!l->bias) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    nib_tensor_values(t, (uint64_t)spec->slice * spec->out, spec->out, l->bias);
    b->model->parameters += spec->out;
    b->model->owned_bytes += spec->out * sizeof(float);
    return NIB_OK;
}

static nib_status bind_bias(nib_bind *b, nib_linear *l, const nib_linear_spec *spec,
                            nib_error *err)
{
    const char *part = spec->bias_name ? "" : ".bias", *module = l->name;
    bool wanted = spec->bias;
    nib_status status;

    if (spec->bias_name) {
        module = l->bias_name = library_name(b->model, spec->bias_name);
        if (!module) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", l->name);
    }
    if (spec->stack && !b->blank)
        return spec->stack_bias ? bind_stacked_bias(b, l, spec, err) : NIB_OK;
    if (b->blank) return wanted ? blank_vector(b, l->weight->out, 0, &l->bias, err) : NIB_OK;
    status = open_vector(b, module, part, NULL, l->weight->out, &l->bias, err);
    if (status) return status;
    if (wanted && !l->bias)
        return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s%s is missing", b->model->dir, module,
                        part);
    if (!wanted && l->bias)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: tensor %s.bias is there, but config.json says that "
                        "there is none",
                        b->model->dir, l->name);
    return NIB_OK;
}

/* Whether the file agrees with what config.json makes of the weight. */
static nib_status check_shape(const nib_bind *b, const char *module, const nib_weight *w,
                              size_t out, size_t in, nib_error *err)
{
    if (w->out == out && w->in == in) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH,
                    "%s: %s.weight is [%zu, %zu], the sizes in config.json make it [%zu, %zu]",
                    b->model->dir, module, w->out, w->in, out, in);
}

/* The modules of an expert in files that have each apart. */
static nib_status name_apart(const nib_model *m, nib_linear *l, const nib_linear_spec *spec,
                             nib_error *err)
{
    for (size_t i = 0; i < NIB_COUNT(l->apart) && spec->apart[i]; i++)
        if (!(l->apart[i] = library_name(m, spec->apart[i])))
            return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", l->name);
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
    nib_free(ctx, l->stack);
    nib_free(ctx, l->stack_also);
    nib_free(ctx, l->apart[0]);
    nib_free(ctx, l->apart[1]);
    nib_free(ctx, l->bias);
    nib_free(ctx, l->bias_name);
    nib_free(ctx, l->name);
    nib_free(ctx, l);
}

static nib_embedding *find_embedding(const nib_model *m, const char *module)
{
    char name[NIB_MODULE_NAME_ROOM];

    nib_wrapper_module(m->config->wrapper, module, name);
    for (size_t i = 0; i < m->embedding_count; i++)
        if (strcmp(m->embeddings[i]->name, name) == 0) return m->embeddings[i];
    return NULL;
}

/* A file that has a tensor for the tied head too: another one than the embedding is not used. */
static nib_status check_tied_copy(nib_bind *b, const char *module, const nib_weight *embedding,
                                  nib_error *err)
{
    bool same;
    nib_status status = nib_bind_same(b, module, embedding, &same, err);

    if (!status && !same)
        nib_warn_code(b->model->ctx, "unused-tensors",
                      "%s: %s.weight differs from the embedding it is tied to; the embedding is "
                      "used",
                      b->model->dir, module);
    return status;
}

static nib_status tied_weight(nib_bind *b, nib_linear *l, const nib_linear_spec *spec,
                              nib_error *err)
{
    nib_embedding *e = find_embedding(b->model, spec->tied_to);

    assert(e); /* the architecture embeds before its head */
    l->weight = e->weight;
    l->owns_weight = false;
    b->model->tied = true;
    return check_tied_copy(b, l->name, e->weight, err);
}

/* A part of a head that the files lack, or hold for another number of labels than asked for. */
static bool is_new(nib_bind *b, const nib_linear_spec *spec, const char *module)
{
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t = nib_bind_find(b, module, ".weight", name);

    if (!spec->may_be_new || b->blank) return false;
    return !t || (spec->head && b->options->num_labels && t->shape[0] != spec->out);
}

static nib_status bind_weight_and_bias(nib_bind *b, nib_linear *l, const nib_linear_spec *spec,
                                       nib_error *err)
{
    nib_bind_spec wanted = { .out = spec->out, .in = spec->in, .transposed = spec->transposed,
                             .quantizable = !spec->head && !spec->parameter, .head = spec->head,
                             .stays_dense = l->of_head, .stack = l->stack, .slice = spec->slice,
                             .slices = spec->slices,
                             .apart = { l->apart[0], l->apart[1] },
                             .sources = l->apart_sources };
    nib_status status;

    if (is_new(b, spec, l->name)) return nib_new_head(b->model, l, spec, b->options, err);
    status = spec->tied_to ? tied_weight(b, l, spec, err)
                           : nib_bind_weight(b, l->name, wanted, &l->weight, err);
    if (!status && spec->head && spec->may_be_new && l->weight->out != spec->out)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s is a head for %zu labels, config.json names %zu: give "
                        "num_labels %zu to begin a new head",
                        b->model->dir, l->name, l->weight->out, spec->out, spec->out);
    if (!status) status = check_shape(b, l->name, l->weight, spec->out, spec->in, err);
    return status ? status : bind_bias(b, l, spec, err);
}

static nib_status bind_linear(void *self, const char *module, const nib_linear_spec *spec,
                              nib_linear **out, nib_error *err)
{
    nib_bind *b = self;
    nib_model *m = b->model;
    nib_linear *l = nib_new(m->ctx, sizeof *l);
    nib_status status;

    if (!l || !(l->name = library_name(m, module)) ||
        (spec->stack && !(l->stack = library_name(m, spec->stack))) ||
        (spec->stack_also && !(l->stack_also = library_name(m, spec->stack_also)))) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", module);
        goto done;
    }
    l->owns_weight = true;
    l->transposed = spec->transposed;
    l->router = spec->router;
    l->parameter = spec->parameter;
    l->of_head = spec->head || spec->may_be_new || nib_arch_is_of_head(m->config->arch, l->name);
    l->bypassed = spec->bypassed;
    l->slice = spec->slice;
    status = name_apart(m, l, spec, err);
    if (!status) status = bind_weight_and_bias(b, l, spec, err);
    if (!status) status = add_linear(m, l, err);
    if (status) goto done;
    if (spec->head) m->head = l;
    *out = l;
    l = NULL; /* handed over */
done:
    free_linear(m->ctx, l);
    return status;
}

static nib_status bind_embedding(void *self, const char *module, size_t rows, size_t width,
                                 nib_embedding **out, nib_error *err)
{
    nib_bind *b = self;
    nib_model *m = b->model;
    nib_embedding *e = find_embedding(m, module); /* one table of several inputs is one module */
    nib_status status;

    if (e) {
        *out = e;
        return check_shape(b, e->name, e->weight, rows, width, err);
    }
    e = nib_new(m->ctx, sizeof *e);
    if (!e || !(e->name = library_name(m, module)) ||
        !nib_grow(m->ctx, &m->embeddings, &m->embedding_capacity, m->embedding_count + 1,
                  sizeof *m->embeddings)) {
        if (e) nib_free(m->ctx, e->name);
        nib_free(m->ctx, e);
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", module);
    }
    m->embeddings[m->embedding_count++] = e; /* the model frees it, whole or half built */
    if (!m->embedding) m->embedding = e;
    e->owns_weight = true;
    status = nib_bind_weight(b, e->name,
                             (nib_bind_spec){ .out = rows, .in = width, .embedding = true },
                             &e->weight, err);
    if (!status) status = check_shape(b, e->name, e->weight, rows, width, err);
    if (!status) *out = e;
    return status;
}

/* M.weight [rows, channels]. */
static nib_status open_rows(nib_bind *b, nib_norm *n, nib_error *err)
{
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t = nib_bind_find(b, n->name, ".weight", name);

    if (!t) return NIB_OK;
    if (!nib_dtype_is_float(t->dtype) || t->rank != 2 || t->shape[0] != n->rows ||
        t->shape[1] != nib_norm_channels(n))
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s is %s with %" PRIu64 " elements and rank %u, expected floats "
                        "[%zu, %zu]",
                        t->file, name, t->dtype_name, t->elements, t->rank, n->rows,
                        nib_norm_channels(n));
    n->weight = nib_new_array(b->model->ctx, n->width, sizeof(float));
    if (!n->weight) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    nib_convert(n->weight, NIB_F32, t->data, t->dtype, n->width);
    b->model->parameters += n->width;
    b->model->owned_bytes += n->width * sizeof(float);
    return NIB_OK;
}

/* A tensor for each row. */
static nib_status open_apart(nib_bind *b, nib_norm *n, nib_error *err)
{
    size_t d = nib_norm_channels(n);
    nib_status status = NIB_OK;

    n->weight = nib_new_array(b->model->ctx, n->width, sizeof(float));
    if (!n->weight) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", n->name);
    for (size_t h = 0; h < n->rows && !status; h++) {
        char part[40];
        float *row = NULL;

        snprintf(part, sizeof part, NIB_NORM_APART_PART, h);
        status = open_vector(b, n->name, part, NULL, d, &row, err);
        if (!status && !row)
            status = nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s%s is missing", b->model->dir,
                              n->name, part);
        if (row) memcpy(n->weight + h * d, row, d * sizeof *row);
        nib_free(b->model->ctx, row);
    }
    return status;
}

static nib_status open_norm_weight(nib_bind *b, nib_norm *n, nib_error *err)
{
    switch (n->weights) {
    case NIB_NORM_ROWS: return open_rows(b, n, err);
    case NIB_NORM_APART: return open_apart(b, n, err);
    case NIB_NORM_SCALE: return open_vector(b, n->name, ".scale", NULL, n->width, &n->weight, err);
    case NIB_NORM_BARE: case NIB_NORM_SHARED: case NIB_NORM_GROUPS: break;
    }
    return open_vector(b, n->name, ".weight", ".gamma", n->width, &n->weight, err);
}

/* A weight of ones that no tensor has. */
static nib_status make_ones(nib_bind *b, nib_norm *n, nib_error *err)
{
    n->weight = nib_new_array(b->model->ctx, n->width, sizeof(float));
    if (!n->weight) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", n->name);
    for (size_t i = 0; i < n->width; i++) n->weight[i] = 1;
    return NIB_OK;
}

static nib_status bind_norm(void *self, const char *module, const nib_norm_spec *spec,
                            nib_norm **out, nib_error *err)
{
    nib_bind *b = self;
    nib_model *m = b->model;
    nib_norm *n = nib_new(m->ctx, sizeof *n);
    nib_status status;

    if (!n || !(n->name = library_name(m, module)) ||
        !nib_grow(m->ctx, &m->norms, &m->norm_capacity, m->norm_count + 1, sizeof *m->norms)) {
        if (n) nib_free(m->ctx, n->name);
        nib_free(m->ctx, n);
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", module);
    }
    m->norms[m->norm_count++] = n;
    n->width = spec->width;
    n->weights = spec->weights;
    n->rows = spec->rows;
    if (n->weights == NIB_NORM_BARE) {
        status = make_ones(b, n, err);
        if (!status) *out = n;
        return status;
    }
    if (b->blank) {
        status = blank_vector(b, n->width, 1, &n->weight, err);
        if (!status && spec->bias) status = blank_vector(b, n->width, 0, &n->bias, err);
        if (!status) *out = n;
        return status;
    }
    status = open_norm_weight(b, n, err);
    if (!status && spec->bias)
        status = open_vector(b, n->name, ".bias", ".beta", n->width, &n->bias, err);
    if (status) return status;
    if (!n->weight || (spec->bias && !n->bias))
        return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s.%s is missing", m->dir, n->name,
                        n->weight ? "bias" : "weight");
    *out = n;
    return NIB_OK;
}

/* --- vectors --- */

static nib_status check_vector(const nib_tensor *t, const nib_vector_spec *spec, nib_error *err)
{
    char found[80] = "", wanted[80] = "";
    bool same = t->rank == spec->rank && nib_dtype_is_float(t->dtype);
    size_t used[2] = { 0 };

    for (unsigned i = 0; i < t->rank && used[0] < 60; i++) {
        used[0] += (size_t)snprintf(found + used[0], sizeof found - used[0], "%s%" PRIu64,
                                    i ? ", " : "", t->shape[i]);
        same = same && t->shape[i] == spec->shape[i];
    }
    for (unsigned i = 0; i < spec->rank; i++)
        used[1] += (size_t)snprintf(wanted + used[1], sizeof wanted - used[1], "%s%zu",
                                    i ? ", " : "", spec->shape[i]);
    if (same) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH,
                    "%s: %s is %s [%s], the sizes in config.json make it floats [%s]", t->file,
                    t->name, t->dtype_name, found, wanted);
}

/* From the file's numbers to the form that is computed with. */
static void form_vector(const nib_vector_spec *spec, const float *from, size_t count, float *to)
{
    size_t k = spec->form == NIB_VECTOR_TAPS ? spec->shape[spec->rank - 1] : 1;

    for (size_t i = 0; i < count; i++) {
        if (spec->form == NIB_VECTOR_MIX) to[i] = 1 - from[i], to[count + i] = from[i];
        else if (spec->form == NIB_VECTOR_DECAY) to[i] = -expf(from[i]);
        else to[i % k * (count / k) + i / k] = from[i];
    }
}

/* What lies as -exp(A_log) must be below 0. */
static nib_status check_decay(const nib_tensor *t, const float *numbers, nib_error *err)
{
    nib_tensor stored = *t;
    float value;

    stored.decay = false;
    for (uint64_t i = 0; t->decay && i < t->elements; i++) {
        if (isfinite(numbers[i])) continue;
        nib_tensor_values(&stored, i, 1, &value);
        return nib_fail(err, NIB_E_FORMAT, "%s: value %" PRIu64 " of %s is stored as %g, expected "
                        "-exp(A_log), a finite number below 0", t->file, i, t->name,
                        (double)value);
    }
    return NIB_OK;
}

static nib_status read_vector(nib_bind *b, const nib_tensor *t, const nib_vector_spec *spec,
                              float *to, nib_error *err)
{
    float *numbers = nib_new_array(b->model->ctx, t->elements, sizeof *numbers);
    nib_status status;

    if (!numbers) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", t->name);
    nib_tensor_values(t, 0, (size_t)t->elements, numbers);
    status = check_decay(t, numbers, err);
    if (!status) form_vector(spec, numbers, t->elements, to);
    nib_free(b->model->ctx, numbers);
    return status;
}

/* Taps that several convolutions of a layer read parts of are bound by each: the same vector, among
 * the last ones.  NULL: it is new. */
static nib_vector *find_vector(const nib_model *m, const char *tensor)
{
    char name[NIB_MODULE_NAME_ROOM];

    nib_wrapper_module(m->config->wrapper, tensor, name);
    for (size_t i = m->vector_count; i > 0 && m->vector_count - i < 4; i--)
        if (strcmp(m->vectors[i - 1]->name, name) == 0) return m->vectors[i - 1];
    return NULL;
}

static nib_status bind_vector(void *self, const char *tensor, const nib_vector_spec *spec,
                              nib_vector **out, nib_error *err)
{
    nib_bind *b = self;
    nib_model *m = b->model;
    char name[NIB_BIND_NAME_ROOM];
    nib_vector *v = find_vector(m, tensor);
    const nib_tensor *t;

    if (v) {
        *out = v;
        return NIB_OK;
    }
    v = nib_new(m->ctx, sizeof *v);
    if (!v || !(v->name = library_name(m, tensor)) ||
        !nib_grow(m->ctx, &m->vectors, &m->vector_capacity, m->vector_count + 1,
                  sizeof *m->vectors)) {
        if (v) nib_free(m->ctx, v->name);
        nib_free(m->ctx, v);
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", tensor);
    }
    t = nib_bind_find(b, v->name, "", name);
    m->vectors[m->vector_count++] = v; /* the model frees it, whole or half built */
    v->width = nib_vector_count(spec);
    *out = v;
    if (b->blank) {
        float value = spec->form == NIB_VECTOR_DECAY ? -1 : 0.5f;
        return blank_vector(b, v->width, value, &v->value, err);
    }
    if (!t) return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s is missing", m->dir, v->name);
    if (check_vector(t, spec, err)) return err->status;
    v->value = nib_new_array(m->ctx, v->width, sizeof *v->value);
    if (!v->value) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", tensor);
    m->parameters += t->elements;
    m->owned_bytes += v->width * sizeof *v->value;
    return read_vector(b, t, spec, v->value, err);
}

/* Rows of an embedding are read here and there; one that is the head too is read whole. */
void nib_bind_advise(const nib_bind *b)
{
    nib_model *m = b->model;
    char name[NIB_BIND_NAME_ROOM];

    for (size_t i = 0; i < m->embedding_count; i++) {
        const nib_embedding *e = m->embeddings[i];
        const nib_tensor *t = nib_bind_find(b, e->name, ".weight", name);
        if (t && t->map && !(m->head && e->weight == m->head->weight))
            nib_filemap_sparse(t->map, t->data, (size_t)t->bytes);
    }
}

nib_binder nib_bind_make(nib_bind *bind)
{
    return (nib_binder){ .self = bind, .linear = bind_linear, .embedding = bind_embedding,
                         .norm = bind_norm, .vector = bind_vector };
}
