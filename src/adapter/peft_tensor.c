/* peft_tensor.c - see peft_tensor.h. */
#include "adapter/peft_tensor.h"

#include <math.h>

static nib_status check(const nib_tensor *t, size_t rows, size_t cols, nib_error *err)
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
    return NIB_OK;
}

static nib_status check_finite(const nib_tensor *t, float value, size_t i, nib_error *err)
{
    if (isfinite(value)) return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT, "%s: %s: value %zu is not finite", t->file, t->name, i);
}

nib_status nib_peft_tensor_values(const nib_tensor *t, size_t rows, size_t cols, float *to,
                                  nib_error *err)
{
    nib_status status = check(t, rows, cols, err);

    if (status) return status;
    nib_convert(to, NIB_F32, t->data, t->dtype, t->elements);
    for (size_t i = 0; i < t->elements && !status; i++) status = check_finite(t, to[i], i, err);
    return status;
}

nib_status nib_peft_tensor_across(const nib_tensor *t, size_t rows, size_t cols, float *to,
                                  nib_error *err)
{
    nib_status status = check(t, cols, rows, err);
    float piece[256];

    for (size_t k = 0; k < cols && !status; k++)
        for (size_t r = 0; r < rows && !status; r += NIB_COUNT(piece)) {
            size_t count = nib_min(NIB_COUNT(piece), rows - r), at = k * rows + r;
            nib_convert(piece, NIB_F32, (const char *)t->data + at * nib_dtype_bytes(t->dtype),
                        t->dtype, count);
            for (size_t i = 0; i < count && !status; i++) {
                to[(r + i) * cols + k] = piece[i];
                status = check_finite(t, piece[i], at + i, err);
            }
        }
    return status;
}
