/* bind_weight.c - weights made of the file's tensors.
 *
 * A dense or 4-bit weight stays on the map.  When quantizing while loading, each matrix
 * is encoded as its pages are read, and the pages are given back. */
#include "model/bind_weight.h"

#include <stdio.h>

#include "model/blank.h"
#include "quant/bnb4_file.h"

const nib_tensor *nib_bind_find(const nib_bind *b, const char *module, const char *part,
                                char name[NIB_BIND_NAME_ROOM])
{
    snprintf(name, NIB_BIND_NAME_ROOM, "%s%s", module, part);
    if (b->blank) return NULL;
    return nib_model_tensor(b->model->tensors, b->model->config->arch, name);
}

static bool is_float(nib_dtype t) { return t == NIB_F32 || t == NIB_F16 || t == NIB_BF16; }

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
    char name[NIB_BIND_NAME_ROOM + 64];
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_BNB4_SUFFIXES && !status; i++) {
        const nib_tensor *part;
        nib_bnb4_view view;
        snprintf(name, sizeof name, "%s.weight%s", module, nib_bnb4_suffixes[i]);
        part = nib_model_tensor(b->model->tensors, b->model->config->arch, name);
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
    char name[NIB_BIND_NAME_ROOM];

    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (nib_bind_find(b, module, known[i].part, name))
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
    char name[NIB_BIND_NAME_ROOM];

    if (!b->model->stored_4bit) return false;
    return !is_float(t->dtype) || nib_bind_find(b, module, ".weight.quant_state.bitsandbytes__nf4", name) ||
           nib_bind_find(b, module, ".weight.quant_state.bitsandbytes__fp4", name);
}

/* A weight that is not there, of the shape that config.json gives it. */
static nib_status blank_weight(nib_bind *b, const char *module, size_t out, size_t in,
                               bool quantizable, nib_weight **w, nib_error *err)
{
    nib_model *m = b->model;
    nib_bnb4_options four = options_of(b, b->blank_dtype);
    nib_status status;

    if (!out || !in)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: the shape of %s is not known without its tensor", m->dir, module);
    status = nib_blank_create(m->ctx, out, in, quantizable && b->blank_4bit ? &four : NULL,
                              b->blank_dtype, w, err);
    if (status) return status;
    m->quantized_now |= quantizable && b->blank_4bit && !m->stored_4bit;
    m->parameters += (uint64_t)out * in;
    m->weight_bytes += (*w)->resident_bytes;
    return NIB_OK;
}

nib_status nib_bind_weight(nib_bind *b, const char *module, size_t out, size_t in, bool quantizable,
                           nib_weight **w, nib_error *err)
{
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t = nib_bind_find(b, module, ".weight", name);
    nib_status status = check_beside(b, module, err);

    if (b->blank) return blank_weight(b, module, out, in, quantizable, w, err);
    if (status) return status;
    if (!t) return missing(b, name, err);
    if (is_4bit(b, t, module)) {
        status = open_4bit(b, t, module, w, err);
    } else {
        status = open_dense(b, t, w, err);
        if (!status && b->bnb.load_in_4bit && quantizable) status = encode(b, t, w, err);
    }
    if (status) return status;
    b->model->parameters += (uint64_t)(*w)->out * (*w)->in;
    b->model->weight_bytes += (*w)->resident_bytes;
    return NIB_OK;
}
