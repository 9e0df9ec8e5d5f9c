/* mlx_experts.c - see mlx_experts.h. */
#include "model/mlx_experts.h"

#include <stdio.h>

#include "quant/mlx_names.h"

/* LEAST_BYTES: of an expert's piece, or lists of tensors would outgrow the file. */
enum { MOST_EXPERTS = 1 << 16, LEAST_BYTES = 32 };

/* Of a module block_sparse_moe with a gate that is a linear, which MLX gives mixtral's experts. */
static bool has_modules(const nib_tensors *tensors, const char *name)
{
    static const char of[] = ".block_sparse_moe.";
    const char *at = strstr(name, of);
    char gate[NIB_MLX_NAME_ROOM];

    if (!at || snprintf(gate, sizeof gate, "%.*sgate.weight", (int)(at - name) + (int)sizeof of - 1,
                        name) >= (int)sizeof gate)
        return false;
    return nib_tensors_find(tensors, gate) != NULL;
}

/* Takes the second half to the first, whose shape becomes that of both. */
static nib_status join(const nib_tensors *tensors, nib_tensor *t, const char *name, bool turns,
                       nib_tensor *rest, nib_error *err)
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
    t->axis = 1; /* of [experts, out, in], and of a bias [experts, out] */
    t->shape[1] *= 2; /* both lie in the file: no overflow */
    t->elements *= 2;
    return NIB_OK;
}

/* A stack under the name that the family's own files have for it. */
static nib_status keep_stacked(nib_tensors *tensors, nib_tensor *t, const char *to,
                               const char *other, bool turns, nib_error *err)
{
    char *kept = nib_tensors_alloc(tensors, strlen(to) + 1);
    nib_tensor *rest = nib_tensors_alloc(tensors, sizeof *rest);
    nib_status status = NIB_OK;

    if (!kept || !rest) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", t->file);
    t->straight = true;
    if (*other) status = join(tensors, t, other, turns, rest, err);
    if (!status) t->name = strcpy(kept, to);
    return status;
}

static nib_status change(void *self, nib_tensor *t, nib_error *err)
{
    char name[NIB_MLX_NAME_ROOM], rest[NIB_MLX_NAME_ROOM], *kept;
    bool second, turns;

    if (nib_mlx_stacked(t->name, name, rest, &second, &turns) && !has_modules(self, t->name)) {
        t->foreign = t->is_rest = second;
        return second ? NIB_OK : keep_stacked(self, t, name, rest, turns, err);
    }
    if (!nib_mlx_experts_of(t->name, name)) return NIB_OK;
    if (t->rank != 3 || !t->shape[0] || t->shape[0] > MOST_EXPERTS ||
        t->bytes / t->shape[0] < LEAST_BYTES)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s has rank %u, %" PRIu64 " experts and %" PRIu64
                        " bytes, expected rank 3, at most %d experts and %d bytes for each",
                        t->file, t->name, t->rank, t->rank ? t->shape[0] : 0, t->bytes,
                        MOST_EXPERTS, LEAST_BYTES);
    kept = nib_tensors_alloc(self, strlen(name) + 1);
    if (!kept) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", t->file);
    t->name = strcpy(kept, name);
    t->slices = (uint32_t)t->shape[0];
    return NIB_OK;
}

nib_status nib_mlx_take_experts(nib_tensors *tensors, nib_error *err)
{
    return nib_tensors_change(tensors, change, tensors, err);
}
