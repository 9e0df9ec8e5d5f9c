/* bind_weight.c - weights made of the file's tensors.
 *
 * A dense or packed weight stays on the map.  When quantizing while loading, each matrix
 * is encoded as its pages are read, and the pages are given back. */
#include "model/bind_weight.h"

#include <stdio.h>

#include "model/bind_experts.h"
#include "quant/stored.h"

/* The values of a weight that lie in the tensor, or in two, given back to the map. */
static void release(const nib_bind *b, const nib_tensor *t, const nib_bind_spec *spec)
{
    bool slice = spec->stack && !spec->sources[0];
    size_t bytes = slice ? t->bytes / spec->slices : t->bytes;
    char name[NIB_BIND_NAME_ROOM];

    nib_filemap_release(t->map, (const char *)t->data + (slice ? spec->slice * bytes : 0), bytes);
    if (slice || !spec->apart[1]) return;
    t = nib_bind_find(b, spec->apart[1], ".weight", name);
    if (t) nib_filemap_release(t->map, t->data, t->bytes);
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
    release(b, t, spec);
    nib_weight_destroy(ctx, *w);
    *w = encoded;
    b->model->owned_bytes += encoded->bytes;
    b->model->quantized_now |= !b->model->stored.format;
    if (b->progress.report && b->expected)
        b->progress.report(b->progress.user, "quantizing",
                           (double)(b->model->linear_count + 1) / (double)b->expected);
    return NIB_OK;
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

/* Does who writes the format take a stack of experts apart, and packs each?  bitsandbytes leaves it
 * dense. */
static bool packs_apart(const nib_format *format)
{
    return format && !format->flag && !format->open_slice;
}

/* A weight that is not there, of the shape that config.json gives it. */
static nib_status blank_weight(nib_bind *b, const char *module, const nib_bind_spec *spec,
                               nib_weight **w, nib_error *err)
{
    nib_model *m = b->model;
    const bool apart = spec->apart[0] && packs_apart(m->stored.format);
    const nib_bind_spec one = { .quantizable = true, .in = spec->in };
    const nib_format_module is = apart ? nib_bind_module(spec->apart[0], &one)
                                       : nib_bind_module(spec->stack ? spec->stack : module, spec);
    const nib_held *held = spec->stack ? &b->experts : &b->asked;
    nib_form form = held->form;
    bool packed = (spec->stack || (spec->quantizable && !spec->stays_dense)) && held->format;
    nib_status status = NIB_OK;

    if (m->stored.format &&
        (apart || (spec->stack ? m->stored.format->open_slice != NULL && !held->format
                               : spec->quantizable || spec->head || spec->embedding)))
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

/* Is the weight, as the file holds it, to be encoded? */
static bool is_asked_for(const nib_bind *b, const nib_bind_spec *spec, const nib_weight *w)
{
    const nib_form form = nib_weight_form(w);

    if (spec->stack) return b->experts.format && (!spec->sources[0] || nib_form_is_dense(&form));
    return spec->quantizable && !spec->stays_dense && b->asked.format && !b->model->stored.format;
}

nib_status nib_bind_weight(nib_bind *b, const char *module, nib_bind_spec spec, nib_weight **w,
                           nib_error *err)
{
    const char *holder;
    char name[NIB_BIND_NAME_ROOM];
    nib_status status;

    if (b->blank) return blank_weight(b, module, &spec, w, err);
    status = spec.stack ? nib_bind_slice(b, &spec, w, err)
                        : nib_bind_open_stored(b, module, &spec, w, err);
    if (status) return status;
    holder = spec.stack && spec.sources[0] ? spec.apart[0] : spec.stack ? spec.stack : module;
    if (is_asked_for(b, &spec, *w))
        status = encode(b, nib_bind_find(b, holder, holder == spec.stack ? "" : ".weight", name),
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

    if (!t) return nib_bind_missing(&b, l->name, err);
    return nib_bind_open_own(&b, t, l->transposed, w, err);
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
    status = nib_bind_open_stored(b, module, &(nib_bind_spec){ .head = true }, &other, err);
    if (!status) status = nib_weight_same(b->model->ctx, w, other, same, err);
    nib_weight_destroy(b->model->ctx, other);
    return status;
}
