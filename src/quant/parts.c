/* parts.c - the tensors that a format writes of a matrix. */
#include <stdio.h>

#include "quant/format.h"

nib_status nib_parts_put(nib_parts_out *to, const char *module, const char *piece, nib_dtype dtype,
                         unsigned rank, uint64_t rows, uint64_t columns, const void *data,
                         nib_error *err)
{
    nib_part_out *p = &to->parts[to->count];
    int n = snprintf(p->name, sizeof p->name, "%s%s", module, piece);

    if (n < 0 || (size_t)n >= sizeof p->name)
        return nib_fail(err, NIB_E_INVALID, "%.100s...: a name of %zu bytes is too long", module,
                        strlen(module));
    p->dtype = dtype;
    p->rank = rank;
    p->shape[0] = rows;
    p->shape[1] = columns;
    p->data = data;
    p->bytes = (size_t)((rank > 0 ? rows : 1) * (rank > 1 ? columns : 1) * nib_dtype_bytes(dtype));
    to->count++;
    return NIB_OK;
}

void nib_module_of_weight(const char *name, char module[512])
{
    size_t n = strlen(name), end = strlen(".weight");

    assert(n > end && strcmp(name + n - end, ".weight") == 0);
    snprintf(module, 512, "%.*s", (int)nib_min(n - end, 511), name);
}
