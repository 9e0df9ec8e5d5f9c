/* bind_experts.c - see bind_experts.h. */
#include "model/bind_experts.h"

#include <stdio.h>

#include "quant/stored.h"

/* Is there a weight of the module, dense or packed in the format of the files? */
static bool has_module(const nib_bind *b, const char *module)
{
    const nib_format *f = b->model->stored.format;
    char name[NIB_BIND_NAME_ROOM];

    if (nib_bind_find(b, module, ".weight", name)) return true;
    for (size_t i = 0; f && f->pieces[i]; i++)
        if (nib_bind_find(b, module, f->pieces[i], name)) return true;
    return false;
}

/* In a packed tensor of all experts, where the format of the files has such; *w stays NULL where
 * this is none. */
static nib_status open_packed_slice(nib_bind *b, const nib_bind_spec *spec, nib_weight **w,
                                    nib_error *err)
{
    const nib_held *stored = &b->model->stored;
    const nib_format_slice slice = { spec->stack, spec->slice, spec->slices, spec->out, spec->in };
    nib_status status;

    *w = NULL;
    if (!stored->format || !stored->format->open_slice) return NIB_OK;
    status = stored->format->open_slice(b->model->ctx,
                                        (nib_part_finder){ nib_bind_find_part, b }, stored,
                                        &slice, w, err);
    return status ? nib_fail_in(err, status, "%s", b->model->dir) : NIB_OK;
}

/* No tensor of experts, but perhaps one that only a format makes a meaning of. */
static nib_status missing_stack(const nib_bind *b, const nib_bind_spec *spec, const char *name,
                                nib_error *err)
{
    const char *last = strrchr(name, '.');
    char module[NIB_BIND_NAME_ROOM];
    nib_status status;

    snprintf(module, sizeof module, "%.*s", (int)(last ? last - name : 0), name);
    status = nib_bind_check_beside(b, module, err);
    if (status || !spec->apart[0]) return status ? status : nib_bind_missing(b, name, err);
    return nib_fail(err, NIB_E_MISMATCH, "%s: tensor %s of all experts is missing, and so is "
                    "%s.weight of this one", b->model->dir, name, spec->apart[0]);
}

/* One of the modules that hold an expert's rows.  A dense one may be in files of a format whose
 * rules say nothing of it: for them it was a part of a stack, which is no Linear. */
static nib_status open_module_apart(nib_bind *b, const char *module, const nib_bind_spec *spec,
                                    nib_weight **w, nib_error *err)
{
    size_t rows = spec->apart[1] ? spec->out / 2 : spec->out;
    nib_bind_spec one = { .quantizable = true, .in = spec->in };
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t = nib_bind_find(b, module, ".weight", name);
    nib_status status;

    if (t && nib_dtype_is_float(t->dtype)) {
        status = nib_bind_check_beside(b, module, err);
        if (!status) status = nib_bind_open_own(b, t, false, w, err);
    } else {
        status = nib_bind_open_stored(b, module, &one, w, err);
    }
    if (status || ((*w)->out == rows && (*w)->in == spec->in)) return status;
    return nib_fail(err, NIB_E_MISMATCH,
                    "%s: %s.weight is [%zu, %zu], the sizes in config.json make it [%zu, %zu]",
                    b->model->dir, module, (*w)->out, (*w)->in, rows, spec->in);
}

/* The matrix of an expert whose rows the files have in modules of its own. */
static nib_status open_apart(nib_bind *b, const nib_bind_spec *spec, nib_weight **w, nib_error *err)
{
    nib_weight *halves[2] = { NULL, NULL };
    nib_status status = open_module_apart(b, spec->apart[0], spec, &halves[0], err);

    if (!status && spec->apart[1])
        status = open_module_apart(b, spec->apart[1], spec, &halves[1], err);
    for (size_t i = 0; i < NIB_COUNT(halves) && !status && halves[i]; i++)
        spec->sources[i] = halves[i]->source;
    if (!status && halves[1])
        status = nib_weight_joined(b->model->ctx, halves[0], halves[1], false, w, err);
    else if (!status) *w = halves[0];
    if (!status) return NIB_OK;
    nib_weight_destroy(b->model->ctx, halves[0]);
    nib_weight_destroy(b->model->ctx, halves[1]);
    return status;
}

nib_status nib_bind_slice(nib_bind *b, const nib_bind_spec *spec, nib_weight **w, nib_error *err)
{
    char name[NIB_BIND_NAME_ROOM];
    const nib_tensor *t = nib_bind_find(b, spec->stack, "", name);
    bool turned = spec->transposed && !(t && t->straight), apart;
    size_t rows = turned ? spec->in : spec->out, columns = turned ? spec->out : spec->in;
    nib_status status = open_packed_slice(b, spec, w, err);

    if (status || *w) return status;
    apart = spec->apart[0] && has_module(b, spec->apart[0]);
    if (apart && t)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s holds all experts, and there is a %s too: one of them is left over "
                        "from another model; take it out", t->file, name, spec->apart[0]);
    if (apart) return open_apart(b, spec, w, err);
    if (!t) return missing_stack(b, spec, name, err);
    if (!nib_bind_is_computable(t) || t->rank != 3 || t->shape[0] != spec->slices ||
        t->shape[1] != rows || t->shape[2] != columns)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s is %s of rank %u with %" PRIu64 " elements, the sizes in "
                        "config.json make it floats [%zu, %zu, %zu]",
                        t->file, name, t->dtype_name, t->rank, t->elements, spec->slices, rows,
                        columns);
    return nib_bind_open_held(b->model->ctx, t, spec->slice, spec->slices, spec->transposed, w,
                              err);
}
