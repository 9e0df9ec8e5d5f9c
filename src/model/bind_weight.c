/* bind_weight.c - weights made of the file's tensors.
 *
 * A dense or packed weight stays on the map.  When quantizing while loading, each matrix
 * is encoded as its pages are read, and the pages are given back. */
#include "model/bind_weight.h"

#include <stdio.h>

#include "quant/stored.h"
#include "quant/transposed.h"

const nib_tensor *nib_bind_find(const nib_bind *b, const char *module, const char *part,
                                char name[NIB_BIND_NAME_ROOM])
{
    const nib_tensor *t;

    snprintf(name, NIB_BIND_NAME_ROOM, "%s%s", module, part);
    if (b->blank) return NULL;
    t = nib_model_tensor(b->model->tensors, b->model->config, name);
    nib_claim(b->model->ctx, b->claims, t);
    return t;
}

/* The values of a weight that lie in the tensor, given back to the map. */
static void release(const nib_tensor *t, const nib_bind_spec *spec)
{
    size_t bytes = spec->stack ? t->bytes / spec->slices : t->bytes;

    nib_filemap_release(t->map, (const char *)t->data + (spec->stack ? spec->slice * bytes : 0),
                        bytes);
}

/* Encodes a dense weight and takes its place. */
static nib_status encode(nib_bind *b, const nib_tensor *t, const nib_bind_spec *spec,
                         nib_weight **w, nib_error *err)
{
    nib_ctx *ctx = b->model->ctx;
    const nib_held *held = spec->stack ? &b->experts : &b->asked;
    nib_form form = held->form;
    const nib_tensor *stored = t;
    nib_weight *encoded = NULL;
    nib_status status;

    if (t->rest && t->rest->dtype == NIB_DTYPE_OTHER) stored = t->rest;
    if (stored->dtype == NIB_DTYPE_OTHER)
        return nib_fail(err, NIB_E_INVALID,
                        "%s: %s is stored as %s already, and %s would encode it again; leave the "
                        "option out: an adapter is trained on the weights as they lie",
                        t->file, stored->name, stored->dtype_name, held->format->flag);
    if (nib_should_stop(ctx))
        return nib_fail(err, NIB_E_INTERRUPTED, "interrupted while the weights were quantized");
    form.dtype = t->dtype;
    status = nib_form_encode(ctx, &form, *w, &encoded, err);
    if (status) return nib_fail_in(err, status, "%s: %s", t->file, t->name);
    encoded->source = t->name;
    release(t, spec);
    nib_weight_destroy(ctx, *w);
    *w = encoded;
    b->model->owned_bytes += encoded->bytes;
    b->model->quantized_now |= !b->model->stored.format;
    if (b->progress.report && b->expected)
        b->progress.report(b->progress.user, "quantizing",
                           (double)(b->model->linear_count + 1) / (double)b->expected);
    return NIB_OK;
}

static nib_status not_computable(const nib_tensor *t, nib_error *err)
{
    char known[200];

    nib_stored_known(known, sizeof known);
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: %s is %s, expected float32, float16 or bfloat16, or in a GGUF file %s",
                    t->file, t->name, t->dtype_name, known);
}

/* Is the tensor's type one that weights are made of? */
static bool is_computable(const nib_tensor *t)
{
    return nib_dtype_is_float(t->dtype) || nib_stored_is_known(t->dtype_name);
}

/* A matrix of slice `slice` of `slices` equal parts of the tensor: values or blocks, as its own
 * type tells. */
static nib_status open_part(nib_ctx *ctx, const nib_tensor *t, size_t slice, size_t slices,
                            size_t out, size_t in, nib_weight **w, nib_error *err)
{
    const uint8_t *data = (const uint8_t *)t->data + slice * (size_t)(t->bytes / slices);
    nib_status status;

    if (!is_computable(t)) return not_computable(t, err);
    status = nib_dtype_is_float(t->dtype)
                 ? nib_weight_dense(ctx, out, in, t->dtype, data, NULL, w, err)
                 : nib_weight_blocks(ctx, t->dtype_name, out, in, data, t->rest ? NULL : t->rows,
                                     w, err);
    if (status) return nib_fail_in(err, status, "%s: %s", t->file, t->name);
    (*w)->source = t->name;
    return NIB_OK;
}

/* The same where the tensor is two: each gives half of the rows, or all that are its own. */
static nib_status open_halves(nib_ctx *ctx, const nib_tensor *t, size_t slice, size_t slices,
                              size_t out, size_t in, nib_weight **w, nib_error *err)
{
    nib_weight *first = NULL, *second = NULL;
    size_t behind = t->rows ? (size_t)t->rest->shape[0] : out / 2;
    nib_status status = open_part(ctx, t, slice, slices, out - behind, in, &first, err);

    if (!status) status = open_part(ctx, t->rest, slice, slices, behind, in, &second, err);
    if (!status) status = nib_weight_joined(ctx, first, second, t->turns, w, err);
    if (!status) return NIB_OK;
    nib_weight_destroy(ctx, first);
    nib_weight_destroy(ctx, second);
    return status;
}

/* The same where the second has the values of each head, whose keys the first has turned. */
static nib_status open_latent(nib_ctx *ctx, const nib_tensor *t, nib_weight **w, nib_error *err)
{
    size_t heads = (size_t)t->rest->shape[0], in = (size_t)t->shape[1];
    size_t values = (size_t)t->rest->shape[1], keys = (size_t)t->shape[0] / heads - values;
    nib_weight *first = NULL, *second = NULL;
    nib_status status = open_part(ctx, t, 0, 1, heads * in, keys, &first, err);

    if (!status) status = open_part(ctx, t->rest, 0, 1, heads * values, in, &second, err);
    if (!status) status = nib_weight_latent(ctx, first, second, heads, w, err);
    if (!status) return NIB_OK;
    nib_weight_destroy(ctx, first);
    nib_weight_destroy(ctx, second);
    return status;
}

/* A matrix as the family's own files hold it, [rows, columns] there, each row where the file has
 * it. */
static nib_status open_held(nib_ctx *ctx, const nib_tensor *t, size_t slice, size_t slices,
                            bool transposed, nib_weight **w, nib_error *err)
{
    size_t out = (size_t)t->shape[t->rank - 2], in = (size_t)t->shape[t->rank - 1];
    nib_weight *stored = NULL;
    nib_status status =
        t->latent ? open_latent(ctx, t, &stored, err)
                  : (t->rest ? open_halves : open_part)(ctx, t, slice, slices, out, in, &stored,
                                                        err);

    if (status) return status;
    *w = stored;
    if (t->rows && (t->rest || nib_dtype_is_float(t->dtype)))
        status = nib_weight_reordered(ctx, stored, t->rows, w, err);
    else if (t->columns) status = nib_weight_columns(ctx, stored, t->columns, w, err);
    else if (transposed && !t->straight) status = nib_weight_transposed(ctx, stored, w, err);
    if (status) {
        nib_weight_destroy(ctx, stored);
        *w = NULL;
    }
    return status;
}

static nib_status open_own(nib_bind *b, const nib_tensor *t, bool transposed, nib_weight **w,
                           nib_error *err)
{
    if (!is_computable(t)) return not_computable(t, err);
    if (t->rank != 2)
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has rank %u, expected a matrix", t->file,
                        t->name, t->rank);
    return open_held(b->model->ctx, t, 0, 1, transposed, w, err);
}

static bool find_part(void *self, const char *name, nib_part *out)
{
    const nib_bind *b = self;
    const nib_tensor *t = nib_model_tensor(b->model->tensors, b->model->config, name);

    nib_claim(b->model->ctx, b->claims, t);
    if (!t) return false;
    *out = nib_tensor_part(t);
    return true;
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

/* Is it a tensor beside M.weight, such as M.SCB? */
static bool is_beside(const nib_format *format, const char *name)
{
    const char *last = strrchr(name, '.');

    return last && nib_format_has_piece(format, last);
}

static nib_status check_tensor(const nib_bind *b, const nib_tensor *t, nib_error *err)
{
    const nib_format *format = b->model->stored.format;
    const nib_part part = nib_tensor_part(t);
    nib_status status;

    if (!format || !format->check) return NIB_OK;
    status = format->check(&part, nib_tensors_finder(b->model->tensors), err);
    return status ? nib_fail_in(err, status, "%s", t->file) : NIB_OK;
}

nib_status nib_bind_check(const nib_bind *b, nib_error *err)
{
    const nib_tensors *tensors = b->model->tensors;
    const nib_format *format = b->model->stored.format;
    char names[400] = "";
    size_t strange = 0, used = 0, pieces = 0;
    nib_status status;

    for (size_t i = 0; i < nib_tensors_count(tensors); i++) {
        const nib_tensor *t = nib_tensors_at(tensors, i);
        const char *piece = piece_of(t->name);
        pieces += piece || is_beside(format, t->name);
        status = check_tensor(b, t, err);
        if (status) return status;
        if (!piece) continue;
        if (nib_format_has_piece(format, piece)) continue;
        if (strange++ < 3)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%.120s",
                                     used ? ", " : "", t->name);
    }
    if (format && !pieces)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: config.json says %s, but no tensor is quantized (none ends in "
                        "%s): a dense model has no quantization_config",
                        b->model->dir, format->known, format->pieces[0]);
    if (!strange) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: %zu tensors belong to weights in a way that is not known%s: %s%s",
                    b->model->dir, strange,
                    format ? "" : " (config.json has no quantization_config)", names,
                    strange > 3 ? ", ..." : "");
}

/* Pieces that other quantizers put beside or in place of M.weight: a weight that has one is not
 * what its own tensor says. */
static nib_status check_beside(const nib_bind *b, const char *module, nib_error *err)
{
    char name[NIB_BIND_NAME_ROOM], known[NIB_FORMATS_ROOM];

    nib_formats_known(known, sizeof known);
    for (const nib_strange_piece *p = nib_strange_pieces; p->part; p++)
        if (!nib_format_has_piece(b->model->stored.format, p->part) &&
            nib_bind_find(b, module, p->part, name))
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: tensor %s is a piece of a quantized weight (%s)%s; known are: %s",
                            b->model->dir, name, p->whose,
                            b->model->stored.format ? ""
                                                    : ", but config.json has no "
                                                      "quantization_config",
                            known);
    return NIB_OK;
}

static nib_status missing(const nib_bind *b, const char *name, nib_error *err)
{
    return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s is missing", b->model->dir, name);
}

static nib_format_module module_of(const char *name, const nib_bind_spec *spec)
{
    return (nib_format_module){ .name = name,
                                .class = spec->stack        ? "Experts"
                                         : spec->embedding  ? "Embedding"
                                         : spec->transposed ? "Conv1D"
                                                            : "Linear",
                                .head = spec->head, .in = spec->in };
}

/* The form of a weight that is not read: of a GGUF's tensors each tells its own. */
static void blank_form(const nib_bind *b, const char *module, const char *stack, nib_form *form)
{
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t;

    if (!b->model->tensors) return;
    snprintf(name, sizeof name, "%s%s", stack ? stack : module, stack ? "" : ".weight");
    t = nib_model_tensor(b->model->tensors, b->model->config, name);
    if (!t) return;
    if (nib_stored_is_known(t->dtype_name)) nib_form_parse(t->dtype_name, form);
    else if (nib_dtype_is_float(t->dtype)) *form = nib_form_dense(t->dtype);
}

/* A weight that is not there, of the shape that config.json gives it. */
static nib_status blank_weight(nib_bind *b, const char *module, const nib_bind_spec *spec,
                               nib_weight **w, nib_error *err)
{
    nib_model *m = b->model;
    const nib_format_module is = module_of(spec->stack ? spec->stack : module, spec);
    const nib_held *held = spec->stack ? &b->experts : &b->asked;
    nib_form form = held->form;
    bool packed = (spec->stack || (spec->quantizable && !spec->stays_dense)) && held->format;
    nib_status status = NIB_OK;

    if (m->stored.format && (spec->stack ? m->stored.format->open_slice != NULL && !held->format
                                         : spec->quantizable || spec->head || spec->embedding))
        status = m->stored.format->packs(&m->stored, &is, &packed, &form, err);
    if (status) return nib_fail_in(err, status, "%s", m->dir);
    if (!packed) form = nib_form_dense(b->blank_dtype);
    form.dtype = b->blank_dtype;
    if (!packed) blank_form(b, module, spec->stack, &form);
    status = nib_weight_blank(m->ctx, &form, spec->out, spec->in, w, err);
    if (status) return status;
    m->quantized_now |= packed && !m->stored.format;
    m->parameters += (uint64_t)spec->out * spec->in;
    m->weight_bytes += (*w)->bytes;
    return NIB_OK;
}

/* The weight as the file holds it: as its format says, or dense. */
static nib_status open_stored(nib_bind *b, const char *module, const nib_bind_spec *spec,
                              nib_weight **w, nib_error *err)
{
    nib_model *m = b->model;
    const nib_format_module is = module_of(module, spec);
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t = nib_bind_find(b, module, ".weight", name);
    nib_status status = check_beside(b, module, err);

    if (status) return status;
    *w = NULL;
    if (m->stored.format)
        status = m->stored.format->open(m->ctx, (nib_part_finder){ find_part, b }, &m->stored, &is,
                                        w, err);
    if (status) return nib_fail_in(err, status, "%s", t ? t->file : m->dir);
    if (*w) return NIB_OK;
    return t ? open_own(b, t, spec->transposed, w, err) : missing(b, name, err);
}

/* The same where the format of the files has packed tensors of experts; *w stays NULL where this
 * is none. */
static nib_status open_packed_slice(nib_bind *b, const nib_bind_spec *spec, nib_weight **w,
                                    nib_error *err)
{
    const nib_held *stored = &b->model->stored;
    const nib_format_slice slice = { spec->stack, spec->slice, spec->slices, spec->out, spec->in };
    nib_status status;

    *w = NULL;
    if (!stored->format || !stored->format->open_slice) return NIB_OK;
    status = stored->format->open_slice(b->model->ctx, (nib_part_finder){ find_part, b }, stored,
                                        &slice, w, err);
    return status ? nib_fail_in(err, status, "%s", b->model->dir) : NIB_OK;
}

/* No tensor of experts, but perhaps one that only a format makes a meaning of. */
static nib_status missing_stack(const nib_bind *b, const char *name, nib_error *err)
{
    const char *last = strrchr(name, '.');
    char module[NIB_BIND_NAME_ROOM];
    nib_status status;

    snprintf(module, sizeof module, "%.*s", (int)(last ? last - name : 0), name);
    status = check_beside(b, module, err);
    return status ? status : missing(b, name, err);
}

/* A matrix of a tensor that holds those of all experts. */
static nib_status open_slice(nib_bind *b, const nib_bind_spec *spec, nib_weight **w, nib_error *err)
{
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t = nib_bind_find(b, spec->stack, "", name);
    bool turned = spec->transposed && !(t && t->straight);
    size_t rows = turned ? spec->in : spec->out, columns = turned ? spec->out : spec->in;
    nib_status status = open_packed_slice(b, spec, w, err);

    if (status || *w) return status;
    if (!t) return missing_stack(b, name, err);
    if (!is_computable(t) || t->rank != 3 || t->shape[0] != spec->slices || t->shape[1] != rows ||
        t->shape[2] != columns)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s is %s of rank %u with %" PRIu64 " elements, the sizes in "
                        "config.json make it floats [%zu, %zu, %zu]",
                        t->file, name, t->dtype_name, t->rank, t->elements, spec->slices, rows,
                        columns);
    return open_held(b->model->ctx, t, spec->slice, spec->slices, spec->transposed, w, err);
}

nib_status nib_bind_weight(nib_bind *b, const char *module, nib_bind_spec spec, nib_weight **w,
                           nib_error *err)
{
    char name[NIB_BIND_NAME_ROOM];
    nib_status status;
    bool encodes;

    if (b->blank) return blank_weight(b, module, &spec, w, err);
    status = spec.stack ? open_slice(b, &spec, w, err)
                        : open_stored(b, module, &spec, w, err);
    encodes = spec.stack ? b->experts.format != NULL
                         : spec.quantizable && !spec.stays_dense && b->asked.format &&
                               !b->model->stored.format;
    if (!status && encodes)
        status = encode(b, nib_bind_find(b, spec.stack ? spec.stack : module,
                                         spec.stack ? "" : ".weight", name),
                        &spec, w, err);
    if (status) return status;
    b->model->parameters += (uint64_t)(*w)->out * (*w)->in;
    b->model->weight_bytes += (*w)->bytes;
    return NIB_OK;
}

/* The tensor of a linear that is no slice; NULL: there is none. */
static const nib_tensor *tensor_of(const nib_model *m, const nib_linear *l)
{
    return l->weight->source && !l->stack ? nib_tensors_find(m->tensors, l->weight->source) : NULL;
}

nib_status nib_bind_original(nib_model *m, const nib_linear *l, nib_weight **w, nib_error *err)
{
    const nib_tensor *t = tensor_of(m, l);
    nib_bind b = { .model = m };

    if (!t) return missing(&b, l->name, err);
    return open_own(&b, t, l->transposed, w, err);
}

void nib_bind_release(const nib_model *m, const nib_linear *l)
{
    const nib_tensor *t = tensor_of(m, l);

    if (t) nib_filemap_release(t->map, t->data, t->bytes);
}

nib_status nib_bind_same(nib_bind *b, const char *module, const nib_weight *w, bool *same,
                         nib_error *err)
{
    nib_weight *other = NULL;
    char name[NIB_BIND_NAME_ROOM];
    nib_status status;

    *same = true;
    if (!nib_bind_find(b, module, ".weight", name)) return NIB_OK;
    status = open_stored(b, module, &(nib_bind_spec){ .head = true }, &other, err);
    if (!status) status = nib_weight_same(b->model->ctx, w, other, same, err);
    nib_weight_destroy(b->model->ctx, other);
    return status;
}
