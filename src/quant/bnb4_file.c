/* bnb4_file.c - a 4-bit weight from and to the tensors of a checkpoint (see bnb4_file.h). */
#include "kernel/kernels.h"
#include "quant/bnb4_file.h"

#include <math.h>
#include <stdio.h>

#include "quant/bnb4.h"
#include "quant/bnb4_state.h"

const char *const nib_bnb4_suffixes[NIB_BNB4_SUFFIXES + 1] = {
    ".absmax",
    ".quant_map",
    ".nested_absmax",
    ".nested_quant_map",
    ".quant_state.bitsandbytes__nf4",
    ".quant_state.bitsandbytes__fp4",
    NULL,
};

nib_status nib_bnb4_parts_add(nib_bnb4_parts *parts, const nib_part *view, nib_error *err)
{
    nib_part *places[NIB_BNB4_SUFFIXES] = { &parts->absmax,        &parts->quant_map,
                                                 &parts->nested_absmax, &parts->nested_quant_map,
                                                 &parts->quant_state,   &parts->quant_state };
    size_t stem = strlen(parts->weight.name), i = 0;

    assert(strncmp(view->name, parts->weight.name, stem) == 0);
    while (i < NIB_BNB4_SUFFIXES && strcmp(view->name + stem, nib_bnb4_suffixes[i]) != 0) i++;
    if (i == NIB_BNB4_SUFFIXES)
        return nib_fail(err, NIB_E_FORMAT, "%s: not a part of a bitsandbytes 4-bit weight",
                        view->name);
    if (places[i]->name)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is there too", view->name, places[i]->name);
    *places[i] = *view;
    if (i >= 4) parts->fp4 = i == 5;
    return NIB_OK;
}

/* A tensor that must be there, of one type and length. */
static nib_status check(const nib_bnb4_parts *parts, const nib_part *v, const char *suffix,
                        nib_dtype dtype, uint64_t elements, nib_error *err)
{
    if (!v->name) return nib_fail(err, NIB_E_FORMAT, "%s%s is missing", parts->weight.name, suffix);
    if (v->dtype != dtype)
        return nib_fail(err, NIB_E_FORMAT, "%s: dtype %s, expected %s", v->name,
                        nib_dtype_name(v->dtype), nib_dtype_name(dtype));
    if (v->elements != elements || v->bytes != elements * nib_dtype_bytes(dtype))
        return nib_fail(err, NIB_E_FORMAT, "%s: %" PRIu64 " values, expected %" PRIu64 "",
                        v->name, v->elements, elements);
    return NIB_OK;
}

static bool storage_known(nib_dtype t)
{
    return t == NIB_U8 || t == NIB_I8 || t == NIB_F16 || t == NIB_BF16 || t == NIB_F32 ||
           t == NIB_F64;
}

static nib_status check_all(const nib_bnb4_parts *parts, const nib_bnb4_state *state,
                            uint64_t *blocks, nib_error *err)
{
    uint64_t elements;
    nib_status status;

    if (!state->shape[0] || !state->shape[1] ||
        !nib_mul_u64(state->shape[0], state->shape[1], &elements) || elements > SIZE_MAX / 8)
        return nib_fail(err, NIB_E_FORMAT, "%s: a shape of %" PRIu64 " x %" PRIu64,
                        parts->quant_state.name, state->shape[0], state->shape[1]);
    if (state->fp4 != parts->fp4)
        return nib_fail(err, NIB_E_FORMAT, "%s: the text says %s", parts->quant_state.name,
                        state->fp4 ? "fp4" : "nf4");
    if (!storage_known(parts->weight.dtype))
        return nib_fail(err, NIB_E_FORMAT, "%s: packed codes stored as %s", parts->weight.name,
                        nib_dtype_name(parts->weight.dtype));
    if (parts->weight.bytes != elements / 2 + elements % 2)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: %" PRIu64 " bytes; the shape %" PRIu64 " x %" PRIu64
                        " of its quant_state needs %" PRIu64,
                        parts->weight.name, parts->weight.bytes, state->shape[0], state->shape[1],
                        elements / 2 + elements % 2);
    *blocks = (elements - 1) / state->blocksize + 1;
    status = check(parts, &parts->quant_map, ".quant_map", NIB_F32, 16, err);
    if (!status)
        status =
            check(parts, &parts->absmax, ".absmax", state->nested ? NIB_U8 : NIB_F32, *blocks, err);
    if (status) return status;
    if (state->nested) {
        status = check(parts, &parts->nested_absmax, ".nested_absmax", NIB_F32,
                       (*blocks - 1) / NIB_NESTED_BLOCK + 1, err);
        return status
                   ? status
                   : check(parts, &parts->nested_quant_map, ".nested_quant_map", NIB_F32, 256, err);
    }
    if (parts->nested_absmax.name || parts->nested_quant_map.name)
        return nib_fail(err, NIB_E_FORMAT, "%s: present, but the quant_state is not nested",
                        parts->nested_absmax.name ? parts->nested_absmax.name
                                                  : parts->nested_quant_map.name);
    return NIB_OK;
}

/* Scales must be finite, plain ones not negative: one pass, without a branch a value. */
static nib_status check_scales(const nib_part *v, const float *x, size_t count,
                               bool negative_too, nib_error *err)
{
    unsigned wrong = 0;

    for (size_t i = 0; i < count; i++)
        wrong |= (fabsf(x[i]) < INFINITY && (negative_too || x[i] >= 0)) ? 0 : 1;
    if (!wrong) return NIB_OK;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(x[i]) || (!negative_too && x[i] < 0))
            return nib_fail(err, NIB_E_FORMAT, "%s: value %zu is %g", v->name, i, (double)x[i]);
    return NIB_OK;
}

/* A float array where it lies, or when it is misaligned its copy in *room. */
static const float *floats(const nib_part *v, float **room)
{
    float *copy = *room;

    if ((uintptr_t)v->data % _Alignof(float) == 0) return v->data;
    memcpy(copy, v->data, (size_t)v->bytes);
    *room += v->elements;
    return copy;
}

static nib_status fill(nib_bnb4 *b, const nib_bnb4_parts *parts, const nib_bnb4_state *state,
                       uint64_t blocks, nib_error *err)
{
    float *room = b->owned;
    nib_status status;

    b->codes = parts->weight.data;
    memcpy(b->table, parts->quant_map.data, sizeof b->table);
    status = check_scales(&parts->quant_map, b->table, 16, true, err);
    if (status) return status;
    if (!state->nested) {
        b->absmax = floats(&parts->absmax, &room);
        return check_scales(&parts->absmax, b->absmax, (size_t)blocks, false, err);
    }
    b->absmax_q = parts->absmax.data;
    b->nested_absmax = floats(&parts->nested_absmax, &room);
    b->nested_offset = state->nested_offset;
    memcpy(b->nested_table, parts->nested_quant_map.data, sizeof b->nested_table);
    status = check_scales(&parts->nested_quant_map, b->nested_table, 256, true, err);
    return status ? status
                  : check_scales(&parts->nested_absmax, b->nested_absmax,
                                 (size_t)parts->nested_absmax.elements, true, err);
}

nib_status nib_bnb4_open(nib_ctx *ctx, const nib_bnb4_parts *parts, nib_weight **w, nib_error *err)
{
    const nib_part *scales;
    nib_bnb4_state state;
    nib_bnb4 *made = NULL;
    nib_status status;
    uint64_t blocks = 0;

    if (!parts->quant_state.name)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: packed, but no quant_state.bitsandbytes__nf4 or __fp4 beside it",
                        parts->weight.name);
    if (parts->quant_state.dtype != NIB_U8)
        return nib_fail(err, NIB_E_FORMAT, "%s: dtype %s, expected uint8",
                        parts->quant_state.name, nib_dtype_name(parts->quant_state.dtype));
    status = nib_bnb4_state_parse(parts->quant_state.data, (size_t)parts->quant_state.bytes,
                                  parts->quant_state.name, &state, err);
    if (status) return status;
    status = check_all(parts, &state, &blocks, err);
    if (status) return status;

    made = nib_new(ctx, sizeof *made);
    if (!made) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", parts->weight.name);
        goto done;
    }
    made->base = (nib_weight){
        .scheme = &nib_bnb4_scheme, .out = (size_t)state.shape[0], .in = (size_t)state.shape[1],
        .bytes = (size_t)(parts->weight.bytes + parts->absmax.bytes + parts->nested_absmax.bytes),
        .dtype = state.dtype, .source = parts->weight.name,
    };
    made->decode = nib_kernels_for(nib_ctx_cpu(ctx)).decode4;
    made->blocksize = (unsigned)state.blocksize;
    made->is_fp4 = state.fp4;
    scales = state.nested ? &parts->nested_absmax : &parts->absmax;
    if ((uintptr_t)scales->data % _Alignof(float)) {
        made->base.owned_bytes = (size_t)scales->bytes;
        made->owned = nib_alloc(ctx, (size_t)scales->bytes);
        if (!made->owned) {
            status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", scales->name);
            goto done;
        }
    }
    status = fill(made, parts, &state, blocks, err);
    if (status) goto done;
    *w = &made->base;
    made = NULL; /* handed over */
done:
    if (made) nib_weight_destroy(ctx, &made->base);
    return status;
}

/* --- writing --- */

/* b NULL: planning. */
static nib_status list(const nib_bnb4_state *state, const nib_bnb4 *b, const char *name,
                       nib_parts_out *to, nib_error *err)
{
    uint64_t elements = state->shape[0] * state->shape[1];
    uint64_t blocks = (elements - 1) / state->blocksize + 1,
             nested = (blocks - 1) / NIB_NESTED_BLOCK + 1;
    size_t text_bytes = nib_bnb4_state_write(state, to->text, sizeof to->text);
    nib_status status;

    to->count = 0;
    status = nib_parts_put(to, name, "", NIB_U8, 2, elements / 2 + elements % 2, 1,
                           b ? b->codes : NULL, err);
    if (!status && state->nested)
        status = nib_parts_put(to, name, ".absmax", NIB_U8, 1, blocks, 0, b ? b->absmax_q : NULL,
                               err);
    else if (!status)
        status = nib_parts_put(to, name, ".absmax", NIB_F32, 1, blocks, 0, b ? b->absmax : NULL,
                               err);
    if (!status)
        status = nib_parts_put(to, name, ".quant_map", NIB_F32, 1, 16, 0, b ? b->table : NULL, err);
    if (!status && state->nested)
        status = nib_parts_put(to, name, ".nested_absmax", NIB_F32, 1, nested, 0,
                               b ? b->nested_absmax : NULL, err);
    if (!status && state->nested)
        status = nib_parts_put(to, name, ".nested_quant_map", NIB_F32, 1, 256, 0,
                               b ? b->nested_table : NULL, err);
    if (!status)
        status = nib_parts_put(to, name, nib_bnb4_suffixes[state->fp4 ? 5 : 4], NIB_U8, 1,
                               text_bytes, 0, b ? to->text : NULL, err);
    return status;
}

nib_status nib_bnb4_tensors(const nib_weight *w, const char *name, nib_parts_out *parts,
                            nib_error *err)
{
    const nib_bnb4 *b = (const nib_bnb4 *)w;
    nib_bnb4_state s = { .fp4 = b->is_fp4,
                         .nested = !b->absmax,
                         .blocksize = b->blocksize,
                         .shape = { w->out, w->in },
                         .dtype = w->dtype,
                         .nested_offset = b->nested_offset };

    assert(w->scheme == &nib_bnb4_scheme);
    return list(&s, b, name, parts, err);
}

nib_status nib_bnb4_plan(const nib_bnb4_options *options, size_t out, size_t in,
                         float nested_offset, const char *name, nib_parts_out *parts,
                         nib_error *err)
{
    nib_bnb4_state s = { .fp4 = options->fp4,
                         .nested = options->double_quant,
                         .blocksize = options->blocksize,
                         .shape = { out, in },
                         .dtype = options->dtype,
                         .nested_offset = nested_offset };

    return list(&s, NULL, name, parts, err);
}
