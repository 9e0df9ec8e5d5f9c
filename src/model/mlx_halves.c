/* mlx_halves.c - see mlx_halves.h. */
#include "model/mlx_halves.h"

/* Takes the second half to the first, whose shape becomes that of both. */
static nib_status join(const nib_tensors *tensors, nib_tensor *t, const char *name, bool turns,
                       unsigned axis, nib_tensor *rest, nib_error *err)
{
    const nib_tensor *found = nib_tensors_find(tensors, name);

    if (!found || found->rank != t->rank || t->rank < 2 || t->rank > 3 ||
        found->dtype != t->dtype || memcmp(found->shape, t->shape, sizeof t->shape) != 0 ||
        !t->elements)
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has %" PRIu64 " elements of type %s, and %s "
                        "beside it %" PRIu64 " of type %s, expected the same shape and type",
                        t->file, t->name, t->elements, nib_dtype_name(t->dtype), name,
                        found ? found->elements : 0, found ? nib_dtype_name(found->dtype) : "none");
    *rest = *found;
    t->rest = rest;
    t->turns = turns;
    t->axis = axis;
    t->shape[axis] *= 2; /* both lie in the file: no overflow */
    t->elements *= 2;
    return NIB_OK;
}

nib_status nib_mlx_keep(nib_tensors *tensors, nib_tensor *t, const nib_mlx_place *to,
                        unsigned axis, nib_error *err)
{
    nib_status status = NIB_OK;
    nib_tensor *rest;
    char *kept;

    t->foreign = t->is_rest = to->second;
    if (to->second) return NIB_OK;
    kept = nib_tensors_alloc(tensors, strlen(to->name) + 1);
    rest = nib_tensors_alloc(tensors, sizeof *rest);
    if (!kept || !rest) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", t->file);
    t->straight = true;
    if (*to->rest) status = join(tensors, t, to->rest, to->turns, axis, rest, err);
    if (!status) t->name = strcpy(kept, to->name);
    return status;
}
