/* bind_stored.c - see bind_stored.h. */
#include "model/bind_stored.h"

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

/* Pieces that other quantizers put beside or in place of M.weight: a weight that has one is not
 * what its own tensor says. */
nib_status nib_bind_check_beside(const nib_bind *b, const char *module, nib_error *err)
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

nib_status nib_bind_missing(const nib_bind *b, const char *name, nib_error *err)
{
    return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s is missing", b->model->dir, name);
}

nib_format_module nib_bind_module(const char *name, const nib_bind_spec *spec)
{
    return (nib_format_module){ .name = name,
                                .class = spec->stack        ? "Experts"
                                         : spec->embedding  ? "Embedding"
                                         : spec->transposed ? "Conv1D"
                                                            : "Linear",
                                .head = spec->head, .in = spec->in };
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
bool nib_bind_is_computable(const nib_tensor *t)
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

    if (!nib_bind_is_computable(t)) return not_computable(t, err);
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
nib_status nib_bind_open_held(nib_ctx *ctx, const nib_tensor *t, size_t slice, size_t slices,
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

nib_status nib_bind_open_own(nib_bind *b, const nib_tensor *t, bool transposed, nib_weight **w,
                           nib_error *err)
{
    if (!nib_bind_is_computable(t)) return not_computable(t, err);
    if (t->rank != 2)
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has rank %u, expected a matrix", t->file,
                        t->name, t->rank);
    return nib_bind_open_held(b->model->ctx, t, 0, 1, transposed, w, err);
}

bool nib_bind_find_part(void *self, const char *name, nib_part *out)
{
    const nib_bind *b = self;
    const nib_tensor *t = nib_model_tensor(b->model->tensors, b->model->config, name);

    nib_claim(b->model->ctx, b->claims, t);
    if (!t) return false;
    *out = nib_tensor_part(t);
    return true;
}

/* The weight as the file holds it: as its format says, or dense. */
nib_status nib_bind_open_stored(nib_bind *b, const char *module, const nib_bind_spec *spec,
                              nib_weight **w, nib_error *err)
{
    nib_model *m = b->model;
    const nib_format_module is = nib_bind_module(module, spec);
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t = nib_bind_find(b, module, ".weight", name);
    nib_status status = nib_bind_check_beside(b, module, err);

    if (status) return status;
    *w = NULL;
    if (m->stored.format)
        status = m->stored.format->open(m->ctx, (nib_part_finder){ nib_bind_find_part, b },
                                        &m->stored, &is, w, err);
    if (status) return nib_fail_in(err, status, "%s", t ? t->file : m->dir);
    if (*w) return NIB_OK;
    return t ? nib_bind_open_own(b, t, spec->transposed, w, err) : nib_bind_missing(b, name, err);
}
