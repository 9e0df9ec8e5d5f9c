/* grouped_open.c - see grouped_open.h. */
#include "quant/grouped_open.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool nib_module_part(nib_part_finder find, const char *module, const char *piece, nib_part *out)
{
    char name[700];

    snprintf(name, sizeof name, "%s%s", module, piece);
    return find.find(find.self, name, out);
}

nib_status nib_check_matrix(const nib_part *p, nib_dtype dtype, uint64_t rows, uint64_t columns,
                            nib_error *err)
{
    if (p->dtype != dtype)
        return nib_fail(err, NIB_E_FORMAT, "%s: dtype %s, expected %s", p->name,
                        nib_dtype_name(p->dtype), nib_dtype_name(dtype));
    if (p->rank != 2 || p->shape[0] != rows || p->shape[1] != columns)
        return nib_fail(err, NIB_E_FORMAT, "%s: [%" PRIu64 ", %" PRIu64 "] of rank %u, expected "
                        "[%" PRIu64 ", %" PRIu64 "]", p->name, p->rank ? p->shape[0] : 0,
                        p->rank > 1 ? p->shape[1] : 0, p->rank, rows, columns);
    return NIB_OK;
}

static float value_at(const nib_part *p, size_t i)
{
    float x = 0;
    uint16_t h;

    if (p->dtype == NIB_F32) {
        memcpy(&x, (const char *)p->data + i * 4, 4);
        return x;
    }
    memcpy(&h, (const char *)p->data + i * 2, 2);
    return p->dtype == NIB_F16 ? nib_f16_to_f32(h) : nib_bf16_to_f32(h);
}

/* *zeros: how many are 0. */
static nib_status check_values(const nib_part *p, bool negative, size_t *zeros, nib_error *err)
{
    *zeros = 0;
    if (p->dtype != NIB_F16 && p->dtype != NIB_BF16 && p->dtype != NIB_F32)
        return nib_fail(err, NIB_E_FORMAT, "%s: dtype %s, expected float16, bfloat16 or float32",
                        p->name, nib_dtype_name(p->dtype));
    for (size_t i = 0; i < p->elements; i++) {
        float x = value_at(p, i);
        if (!isfinite(x) || (x < 0 && !negative))
            return nib_fail(err, NIB_E_FORMAT, "%s: value %zu is %g, expected a finite number%s",
                            p->name, i, (double)x, negative ? "" : ", not negative");
        *zeros += x == 0;
    }
    return NIB_OK;
}

nib_status nib_check_biases(const nib_part *p, nib_error *err)
{
    return check_values(p, true, &(size_t){ 0 }, err);
}

nib_status nib_check_scales(nib_ctx *ctx, const nib_part *p, bool negative, nib_error *err)
{
    size_t zeros = 0;
    nib_status status = check_values(p, negative, &zeros, err);

    if (zeros)
        nib_warn(ctx, "%s: %zu of %" PRIu64 " scales are 0: so are the weights that have them",
                 p->name, zeros, p->elements);
    return status;
}

/* --- act-order --- */

/* *in_order: i / group for each i, or 0 for each, as faulty exports have it. */
static nib_status check_groups(nib_ctx *ctx, const nib_grouped *q, const nib_part *p,
                               bool *in_order, nib_error *err)
{
    bool none = q->groups > 1;

    if (p->dtype != NIB_I32 || p->rank != 1 || p->elements != q->base.in)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: %" PRIu64 " values of %s, expected %zu of int32, the "
                        "inputs of the weight",
                        p->name, p->elements, nib_dtype_name(p->dtype), q->base.in);
    *in_order = true;
    for (size_t i = 0; i < q->base.in; i++) {
        uint32_t g = nib_load_le32((const uint8_t *)p->data + i * 4);
        if (g >= q->groups)
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: value %zu is %d, expected a group from 0 to %zu", p->name, i,
                            (int)(int32_t)g, q->groups - 1);
        *in_order &= g == i / q->group;
        none &= g == 0;
    }
    if (none)
        nib_warn(ctx, "%s: all values are 0, of %zu groups: taken as groups in order", p->name,
                 q->groups);
    *in_order |= none;
    return NIB_OK;
}

/* --- zero points --- */

/* Whether all are the same, which becomes q->zero. */
static bool one_zero(nib_grouped *q, nib_zero_of_fn *zero_of, const void *self)
{
    if (!zero_of) return true;
    q->zero = zero_of(self, 0, 0);
    for (size_t g = 0; g < q->groups; g++)
        for (size_t o = 0; o < q->base.out; o++)
            if (zero_of(self, g, o) != q->zero) return false;
    return true;
}

nib_status nib_grouped_open(nib_ctx *ctx, nib_grouped *q, nib_zero_of_fn *zero_of, const void *self,
                            const nib_part *g_idx, uint64_t bytes, nib_weight **w, nib_error *err)
{
    const size_t zeros = q->groups * q->base.out, copied = q->base.in * sizeof(int32_t);
    bool in_order = true, same = one_zero(q, zero_of, self), copy;
    uint8_t *block = NULL;
    nib_status status = g_idx ? check_groups(ctx, q, g_idx, &in_order, err) : NIB_OK;

    if (status) return status;
    copy = !in_order && (uintptr_t)g_idx->data % _Alignof(int32_t);
    q->base.owned_bytes = (same ? 0 : zeros) + (copy ? copied : 0);
    q->base.bytes = (size_t)bytes + q->base.owned_bytes;
    if (q->base.owned_bytes) {
        block = nib_alloc(ctx, q->base.owned_bytes);
        if (!block)
            return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", q->base.out,
                            q->base.in);
    }
    q->owned = block;
    q->options.act_order = !in_order;
    if (!in_order) {
        q->g_idx = g_idx->data;
        if (copy) q->g_idx = memcpy(block, g_idx->data, copied);
    }
    if (!same) {
        uint8_t *to = block + (copy ? copied : 0);
        q->zeros = to;
        for (size_t g = 0; g < q->groups; g++)
            for (size_t o = 0; o < q->base.out; o++) *to++ = (uint8_t)zero_of(self, g, o);
    }
    status = nib_grouped_create(ctx, q, w, err);
    if (status) nib_free(ctx, block);
    return status;
}

/* --- settings --- */

nib_status nib_setting_group(const nib_setting *list, const char *where, const char *key,
                             unsigned *group, nib_error *err)
{
    const char *value = nib_setting_value(list, key);
    nib_status status;

    if (value && strcmp(value, "-1") == 0) return *group = NIB_GROUP_ROW, NIB_OK;
    status = nib_setting_count(list, where, key, group, err);
    if (!status && value && (*group == 0 || *group >= NIB_GROUP_TENSOR))
        status = nib_fail(err, NIB_E_INVALID, "%s%s: expected -1 (a row) or more than 0, got %s",
                          where, key, value);
    return status;
}

void nib_settings_put_group(nib_settings *to, const char *key, unsigned group)
{
    if (group == NIB_GROUP_ROW) nib_settings_put(to, key, "-1");
    else nib_settings_put_count(to, key, group);
}
