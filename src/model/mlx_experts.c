/* mlx_experts.c - see mlx_experts.h. */
#include "model/mlx_experts.h"

#include <stdio.h>

#include "model/mlx_halves.h"
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

static nib_status change(void *self, nib_tensor *t, nib_error *err)
{
    enum { OUTPUTS = 1 }; /* of [experts, out, in], and of a bias [experts, out] */
    char name[NIB_MLX_NAME_ROOM], *kept;
    nib_mlx_place to;

    if (nib_mlx_stacked(t->name, &to) && !has_modules(self, t->name))
        return nib_mlx_keep(self, t, &to, OUTPUTS, err);
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
