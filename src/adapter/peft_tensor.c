/* peft_tensor.c - see peft_tensor.h. */
#include "adapter/peft_tensor.h"

#include <math.h>

nib_status nib_peft_tensor_values(const nib_tensor *t, size_t rows, size_t cols, float *to,
                                  nib_error *err)
{
    bool vector = rows == 1 && t->rank == 1 && t->shape[0] == cols;

    if (t->dtype != NIB_F32 && t->dtype != NIB_F16 && t->dtype != NIB_BF16)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %s, expected a float type", t->file, t->name,
                        t->dtype_name);
    if (!vector && (t->rank != 2 || t->shape[0] != rows || t->shape[1] != cols))
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s is [%" PRIu64 ", %" PRIu64 "], the model and adapter_config.json "
                        "need [%zu, %zu]: take the model that it was trained on",
                        t->file, t->name, t->shape[0], t->rank > 1 ? t->shape[1] : 1, rows, cols);
    nib_convert(to, NIB_F32, t->data, t->dtype, t->elements);
    for (size_t i = 0; i < t->elements; i++)
        if (!isfinite(to[i]))
            return nib_fail(err, NIB_E_FORMAT, "%s: %s: value %zu is not finite", t->file, t->name,
                            i);
    return NIB_OK;
}
