/* bind.c - linears, embeddings and norms made of the file's tensors.
 *
 * A dense or 4-bit weight stays on the map.  When quantizing while loading, each matrix
 * is encoded as its pages are read, and the pages are given back. */
#include "model/bind.h"

#include <stdio.h>

#include "model/blank.h"
#include "quant/bnb4_file.h"

enum { NAME_ROOM = 600 };

static const nib_tensor *find(const nib_bind *b, const char *module, const char *part, char *name)
{
    snprintf(name, NAME_ROOM, "%s%s", module, part);
    if (b->blank) return NULL;
    return nib_model_tensor(b->model->tensors, b->model->arch, name);
}

static bool is_float(nib_dtype t) { return t == NIB_F32 || t == NIB_F16 || t == NIB_BF16; }

/* --- weights --- */

static nib_bnb4_options options_of(const nib_bind *b, nib_dtype dtype)
{
    const char *type = b->bnb.bnb_4bit_quant_type;
    return (nib_bnb4_options){ .fp4 = type && strcmp(type, "fp4") == 0,
                               .double_quant = b->bnb.bnb_4bit_use_double_quant,
                               .blocksize = b->bnb.blocksize ? (unsigned)b->bnb.blocksize : 64, .dtype = dtype };
}

/* Encodes a dense weight and takes the encoded one's place. */
static nib_status encode(nib_bind *b, const nib_tensor *t, nib_weight **w, nib_error *err)
{
    nib_ctx *ctx = b->model->ctx;
    nib_bnb4_options o = options_of(b, t->dtype);
    nib_weight *encoded = NULL;
    nib_status status;

    if (nib_should_stop(ctx))
        return nib_fail(err, NIB_E_INTERRUPTED, "interrupted while the weights were quantized");
    status = nib_bnb4_encode_weight(ctx, &o, *w, &encoded, err);
    if (status) return nib_fail_in(err, status, "%s: %s", t->file, t->name);
    encoded->source = t->name;
    nib_filemap_release(t->map, t->data, t->bytes);
    nib_weight_destroy(ctx, *w);
    *w = encoded;
    b->model->owned_bytes += encoded->resident_bytes;
    b->model->quantized_now = true;
    if (b->progress.report && b->expected)
        b->progress.report(b->progress.user, "quantizing",
                           (double)(b->model->linear_count + 1) / (double)b->expected);
    return NIB_OK;
}

static nib_status open_dense(nib_bind *b, const nib_tensor *t, nib_weight **w, nib_error *err)
{
    nib_status status;

    if (!is_float(t->dtype))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: %s is %s, expected float32, float16 or bfloat16", t->file, t->name,
                        t->dtype_name);
    if (t->rank != 2)
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has rank %u, expected a matrix", t->file,
                        t->name, t->rank);
    status = nib_weight_dense(b->model->ctx, (size_t)t->shape[0], (size_t)t->shape[1], t->dtype,
                              t->data, NULL, w, err);
    if (!status) (*w)->source = t->name;
    return status;
}

static nib_bnb4_view view_of(const nib_tensor *t)
{
    return (nib_bnb4_view){ .name = t->name, .dtype = t->dtype, .elements = t->elements,
                            .bytes = t->bytes, .data = t->data };
}

static nib_status open_4bit(nib_bind *b, const nib_tensor *t, const char *module, nib_weight **w,
                            nib_error *err)
{
    nib_bnb4_parts parts = { .weight = view_of(t) };
    char name[NAME_ROOM + 64];
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_BNB4_SUFFIXES && !status; i++) {
        const nib_tensor *part;
        nib_bnb4_view view;
        snprintf(name, sizeof name, "%s.weight%s", module, nib_bnb4_suffixes[i]);
        part = nib_model_tensor(b->model->tensors, b->model->arch, name);
        if (!part) continue;
        view = view_of(part);
        status = nib_bnb4_parts_add(&parts, &view, err);
    }
    if (!status) status = nib_bnb4_open(b->model->ctx, &parts, w, err);
    return status ? nib_fail_in(err, status, "%s", t->file) : NIB_OK;
}

/* --- tensors that would change what a weight means --- */

/* What follows "M.weight" in the name of a tensor that belongs to it ("M.weight.absmax"), or
 * NULL. */
static const char *piece_of(const char *name)
{
    const char *p = NULL, *next = name;

    while ((next = strstr(next, ".weight."))) p = next, next++;
    return p ? p + strlen(".weight") : NULL;
}

static bool known_piece(const char *piece)
{
    for (size_t i = 0; i < NIB_BNB4_SUFFIXES; i++)
        if (strcmp(piece, nib_bnb4_suffixes[i]) == 0) return true;
    return false;
}

nib_status nib_bind_check(const nib_bind *b, nib_error *err)
{
    const nib_tensors *tensors = b->model->tensors;
    char names[400] = "";
    size_t strange = 0, used = 0, pieces = 0;

    for (size_t i = 0; i < nib_tensors_count(tensors); i++) {
        const nib_tensor *t = nib_tensors_at(tensors, i);
        const char *piece = piece_of(t->name);
        if (!piece) continue;
        pieces++;
        if (b->model->stored_4bit && known_piece(piece)) continue;
        if (strange++ < 3)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%.120s",
                                     used ? ", " : "", t->name);
    }
    if (b->model->stored_4bit && !pieces)
        return nib_fail(
            err, NIB_E_MISMATCH,
            "%s: config.json says quantized by bitsandbytes to 4 bit, but no tensor is "
            "(M.weight.absmax and the like are missing): a dense model has no quantization_config",
            b->model->dir);
    if (!strange) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: %zu tensors belong to weights in a way that is not known%s: %s%s",
                    b->model->dir, strange,
                    b->model->stored_4bit ? "" : " (config.json has no quantization_config)", names,
                    strange > 3 ? ", ..." : "");
}

/* Pieces that other quantizers put beside or in place of M.weight: a weight that has one is not
 * what its own tensor says. */
static nib_status check_beside(const nib_bind *b, const char *module, nib_error *err)
{
    static const struct { const char *part, *whose; } known[] = {
        { ".qweight", "GPTQ or AWQ" }, { ".qzeros", "GPTQ or AWQ" }, { ".scales", "GPTQ or AWQ" },
        { ".g_idx", "GPTQ" }, { ".SCB", "LLM.int8" }, { ".weight_format", "LLM.int8" },
        { ".codes", "AQLM" }, { ".codebooks", "AQLM" }, { ".weight_packed", "compressed-tensors" },
        { ".weight_scale", "scaled float8 or int8" }, { ".weight_scale_inv", "scaled float8" },
    };
    char name[NAME_ROOM];

    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (find(b, module, known[i].part, name))
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: tensor %s is a piece of a quantized weight (%s); known is "
                            "bitsandbytes with 4 bit",
                            b->model->dir, name, known[i].whose);
    return NIB_OK;
}

static nib_status missing(const nib_bind *b, const char *name, nib_error *err)
{
    return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s is missing", b->model->dir, name);
}

/* quant_storage may be a float type: then the quant_state tells. */
static bool is_4bit(const nib_bind *b, const nib_tensor *t, const char *module)
{
    char name[NAME_ROOM];

    if (!b->model->stored_4bit) return false;
    return !is_float(t->dtype) || find(b, module, ".weight.quant_state.bitsandbytes__nf4", name) ||
           find(b, module, ".weight.quant_state.bitsandbytes__fp4", name);
}

/* A weight that is not there, of the shape config.json gives it. */
static nib_status blank_weight(nib_bind *b, const char *module, bool in_layers, nib_weight **w,
                               nib_error *err)
{
    nib_model *m = b->model;
    nib_bnb4_options four = options_of(b, b->blank_dtype);
    nib_shape s = strcmp(module, m->arch->embedding) == 0
                      ? (nib_shape){ m->config->vocabulary, m->config->width }
                      : m->arch->shape(m->config, module);
    nib_status status;

    if (!s.out)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: the shape of %s is not known without its tensor", m->dir, module);
    status = nib_blank_create(m->ctx, s.out, s.in, in_layers && b->blank_4bit ? &four : NULL,
                              b->blank_dtype, w, err);
    if (status) return status;
    m->quantized_now |= in_layers && b->blank_4bit && !m->stored_4bit;
    m->parameters += (uint64_t)s.out * s.in;
    m->weight_bytes += (*w)->resident_bytes;
    return NIB_OK;
}

static nib_status open_weight(nib_bind *b, const char *module, bool in_layers, nib_weight **w,
                              nib_error *err)
{
    char name[NAME_ROOM];
    const nib_tensor *t = find(b, module, ".weight", name);
    nib_status status = check_beside(b, module, err);

    if (b->blank) return blank_weight(b, module, in_layers, w, err);
    if (status) return status;
    if (!t) return missing(b, name, err);
    if (is_4bit(b, t, module)) {
        status = open_4bit(b, t, module, w, err);
    } else {
        status = open_dense(b, t, w, err);
        if (!status && b->bnb.load_in_4bit && in_layers) status = encode(b, t, w, err);
    }
    if (status) return status;
    b->model->parameters += (uint64_t)(*w)->out * (*w)->in;
    b->model->weight_bytes += (*w)->resident_bytes;
    return NIB_OK;
}

/* A vector of `width` floats, copied and widened; NIB_OK with NULL when the tensor is absent. */
static nib_status open_vector(nib_bind *b, const char *module, const char *part, size_t width,
                              float **out, nib_error *err)
{
    char name[NAME_ROOM];
    const nib_tensor *t = find(b, module, part, name);

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
    char name[NAME_ROOM];
    const nib_tensor *t = find(b, l->name, ".weight", name);

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
    char name[NAME_ROOM];
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
    t = find(b, module, ".weight", name);
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
