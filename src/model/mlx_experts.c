/* mlx_experts.c - see mlx_experts.h. */
#include "model/mlx_experts.h"

#include "quant/mlx_names.h"

/* LEAST_BYTES: of an expert's piece, or lists of tensors would outgrow the file. */
enum { MOST_EXPERTS = 1 << 16, LEAST_BYTES = 32 };

static nib_status change(void *self, nib_tensor *t, nib_error *err)
{
    char name[NIB_MLX_NAME_ROOM], *kept;

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
