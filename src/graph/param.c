/* param.c - the list of trained things. */
#include "graph/param.h"

nib_param *nib_params_add(nib_ctx *ctx, nib_params *list, const char *name, size_t rows,
                          size_t cols)
{
    nib_param *p = nib_new(ctx, sizeof *p);
    size_t count;

    if (!p) return NULL;
    *p = (nib_param){ .rows = rows, .cols = cols };
    if (__builtin_mul_overflow(rows, cols, &count)) goto failed;
    p->name = nib_strdup(ctx, name);
    p->value = nib_new_array(ctx, count, sizeof *p->value);
    p->grad = nib_new_array(ctx, count, sizeof *p->grad);
    if (!p->name || !p->value || !p->grad) goto failed;
    if (!nib_grow(ctx, &list->items, &list->capacity, list->count + 1, sizeof *list->items))
        goto failed;
    list->items[list->count++] = p;
    return p;
failed:
    nib_free(ctx, p->name);
    nib_free(ctx, p->value);
    nib_free(ctx, p->grad);
    nib_free(ctx, p);
    return NULL;
}

void nib_params_free(nib_ctx *ctx, nib_params *list)
{
    for (size_t i = 0; i < list->count; i++) {
        nib_free(ctx, list->items[i]->name);
        nib_free(ctx, list->items[i]->value);
        nib_free(ctx, list->items[i]->grad);
        nib_free(ctx, list->items[i]);
    }
    nib_free(ctx, list->items);
    *list = (nib_params){ 0 };
}

void nib_params_clear_grads(nib_params *list)
{
    for (size_t i = 0; i < list->count; i++)
        memset(list->items[i]->grad, 0, nib_param_count(list->items[i]) * sizeof(float));
}

size_t nib_params_trained_bytes(const nib_params *list)
{
    size_t bytes = 0;

    for (size_t i = 0; i < list->count; i++)
        if (nib_param_is_trained(list->items[i]))
            bytes += nib_param_count(list->items[i]) * sizeof(float);
    return bytes;
}

void nib_params_copy_out(const nib_params *list, uint8_t *copy)
{
    for (size_t i = 0; i < list->count; i++) {
        const nib_param *p = list->items[i];

        if (!nib_param_is_trained(p)) continue;
        memcpy(copy, p->value, nib_param_count(p) * sizeof(float));
        copy += nib_param_count(p) * sizeof(float);
    }
}

void nib_params_copy_back(nib_params *list, const uint8_t *copy)
{
    for (size_t i = 0; i < list->count; i++) {
        nib_param *p = list->items[i];

        if (!nib_param_is_trained(p)) continue;
        memcpy(p->value, copy, nib_param_count(p) * sizeof(float));
        copy += nib_param_count(p) * sizeof(float);
    }
}
