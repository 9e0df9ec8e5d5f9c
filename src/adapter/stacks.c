/* stacks.c - see stacks.h. */
#include "adapter/stacks.h"

#include <math.h>
#include <stdio.h>

#include "adapter/attach.h"

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "target_parameters: out of memory");
}

/* --- which tensors --- */

/* PEFT's rule: the whole name, or its end behind a dot. */
static bool means(const char *item, const char *name)
{
    size_t n = strlen(name), m = strlen(item);

    return strcmp(item, name) == 0 ||
           (n > m && name[n - m - 1] == '.' && strcmp(name + n - m, item) == 0);
}

/* The tensor's name that `item` means: the file's, or that of the other version; NULL: none. */
static const char *meant(const char *item, const nib_linear *l)
{
    if (l->stack && means(item, l->stack)) return l->stack;
    return l->stack_also && means(item, l->stack_also) ? l->stack_also : NULL;
}

const char *nib_stack_target(const nib_peft_config *cfg, const nib_linear *l)
{
    const char *name = NULL;

    for (size_t i = 0; !name && i < cfg->target_parameters.count; i++)
        name = meant(cfg->target_parameters.names[i], l);
    return name;
}

/* The last two parts of the tensors' names, those of the first layer that has them. */
static void list_stacks(const nib_model *m, char *out, size_t room)
{
    size_t used = 0;

    snprintf(out, room, "none");
    for (size_t i = 0; i < 2 * m->linear_count && used < room; i++) {
        const nib_linear *l = m->linears[i % m->linear_count];
        const char *at = i < m->linear_count ? l->stack : l->stack_also, *end;

        if (!at || l->slice) continue;
        end = strrchr(at, '.');
        while (end > at && end[-1] != '.') end--;
        at = end;
        if (used && strstr(out, at)) continue;
        used += (size_t)snprintf(out + used, room - used, "%s%s", used ? ", " : "", at);
    }
}

nib_status nib_stacks_check(const nib_adapter *a, nib_error *err)
{
    const nib_peft_names *t = &a->config.target_parameters;
    const char *of_file = NULL, *other = NULL;
    char known[400];

    if (t->count && a->config.lora_dropout > 0)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "target_parameters with lora_dropout %g: parameters have adapters without "
                        "dropout (PEFT refuses the two together too); set it to 0",
                        a->config.lora_dropout);
    if (t->count && a->config.use_dora)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "target_parameters with use_dora: parameters have adapters without "
                        "magnitudes (PEFT refuses the two together too); set use_dora to false");
    for (size_t i = 0; i < t->count; i++) {
        bool found = false;
        for (size_t k = 0; k < a->model->linear_count && !found; k++) {
            const nib_linear *l = a->model->linears[k];
            const char *name = meant(t->names[i], l);
            found = name != NULL;
            if (found && name == l->stack) of_file = t->names[i];
            if (found && name != l->stack) other = t->names[i];
        }
        if (of_file && other)
            return nib_fail(err, NIB_E_MISMATCH,
                            "target_parameters: %s and %s are names of two versions of "
                            "transformers; take those of one", of_file, other);
        if (found) continue;
        list_stacks(a->model, known, sizeof known);
        return nib_fail(err, NIB_E_MISMATCH,
                        "target_parameters: %s is no tensor of experts of %s; known here: %s",
                        t->names[i], a->model->dir, known);
    }
    return NIB_OK;
}

nib_status nib_stacks_add(nib_adapter *a, const nib_linear *l, const char *tensor, nib_error *err)
{
    nib_stack *s = a->stack_count ? &a->stacks[a->stack_count - 1] : NULL;

    if (l->slice == 0) {
        if (!nib_grow(a->ctx, &a->stacks, &a->stack_capacity, a->stack_count + 1,
                      sizeof *a->stacks))
            return no_memory(err);
        s = &a->stacks[a->stack_count++];
        *s = (nib_stack){ .tensor = tensor, .first = a->params.count,
                          .transposed = l->transposed };
    }
    assert(s && strcmp(s->tensor, tensor) == 0); /* slices come one after another */
    s->experts++;
    return NIB_OK;
}

static size_t module_bytes(const nib_stack *s)
{
    return (size_t)(strrchr(s->tensor, '.') - s->tensor);
}

static bool same_module(const nib_stack *x, const nib_stack *y)
{
    size_t n = module_bytes(x);

    return n == module_bytes(y) && memcmp(x->tensor, y->tensor, n) == 0;
}

nib_status nib_stacks_name(nib_adapter *a, nib_error *err)
{
    static const char *const ends[2] = { ".lora_A.weight", ".lora_B.weight" };

    for (size_t i = 0; i < a->stack_count; i++) {
        nib_stack *s = &a->stacks[i];
        char inside[200] = "";
        size_t used = 0;

        for (size_t k = i + 1; k < a->stack_count && used < sizeof inside; k++)
            if (same_module(s, &a->stacks[k]))
                used += (size_t)snprintf(inside + used, sizeof inside - used, ".base_layer");
        for (size_t k = 0; k < 2; k++) {
            s->names[k] = nib_sprintf(a->ctx, NIB_PEFT_PREFIX "%.*s%s%s", (int)module_bytes(s),
                                      s->tensor, inside, ends[k]);
            if (!s->names[k]) return no_memory(err);
        }
    }
    return NIB_OK;
}

const nib_stack *nib_stacks_at(const nib_adapter *a, size_t i)
{
    for (size_t k = 0; k < a->stack_count; k++)
        if (i >= a->stacks[k].first && i - a->stacks[k].first < 2 * a->stacks[k].experts)
            return &a->stacks[k];
    return NULL;
}

void nib_stacks_free(nib_adapter *a)
{
    for (size_t i = 0; i < a->stack_count; i++) {
        nib_free(a->ctx, a->stacks[i].names[0]);
        nib_free(a->ctx, a->stacks[i].names[1]);
    }
    nib_free(a->ctx, a->stacks);
}

/* --- files --- */

typedef struct sizes { size_t experts, rank, in, out; } sizes;

static sizes sizes_of(const nib_adapter *a, const nib_stack *s)
{
    const nib_param *first = a->params.items[s->first], *second = a->params.items[s->first + 1];

    return (sizes){ s->experts, first->rows, first->cols, second->rows };
}

bool nib_stack_is_swapped(const nib_adapter *a, const nib_stack *s,
                          const nib_tensor *const ab[2], bool *tells)
{
    sizes z = sizes_of(a, s);

    *tells = s->transposed && z.in != z.out;
    return *tells && ab[0]->rank == 2 && ab[0]->shape[1] == z.out && ab[1]->rank == 2 &&
           ab[1]->shape[0] == z.in;
}

static nib_status check_tensor(const nib_tensor *t, size_t rows, size_t columns, nib_error *err)
{
    if (t->dtype != NIB_F32 && t->dtype != NIB_F16 && t->dtype != NIB_BF16)
        return nib_fail(err, NIB_E_FORMAT, "%s: %s is %s, expected a float type", t->file, t->name,
                        t->dtype_name);
    if (t->rank == 2 && t->shape[0] == rows && t->shape[1] == columns) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH,
                    "%s: %s is [%" PRIu64 ", %" PRIu64 "], the model and adapter_config.json need "
                    "[%zu, %zu]: take the model that it was trained on",
                    t->file, t->name, t->shape[0], t->rank > 1 ? t->shape[1] : 1, rows, columns);
}

static nib_status value_at(const nib_tensor *t, size_t i, float *to, nib_error *err)
{
    nib_convert(to, NIB_F32, (const char *)t->data + i * nib_dtype_bytes(t->dtype), t->dtype, 1);
    if (isfinite(*to)) return NIB_OK;
    return nib_fail(err, NIB_E_FORMAT, "%s: %s: value %zu is not finite", t->file, t->name, i);
}

nib_status nib_stack_read(const nib_adapter *a, const nib_stack *s, const nib_tensor *const ab[2],
                          bool swapped, nib_error *err)
{
    sizes z = sizes_of(a, s);
    size_t in = swapped ? z.out : z.in, out = swapped ? z.in : z.out, wide = z.rank * z.experts;
    nib_status status = check_tensor(ab[0], wide, in, err);

    if (!status) status = check_tensor(ab[1], out, wide, err);
    for (size_t e = 0; e < z.experts && !status; e++) {
        float *pa = a->params.items[s->first + 2 * e]->value;
        float *pb = a->params.items[s->first + 2 * e + 1]->value;

        for (size_t k = 0; k < z.rank; k++) {
            for (size_t i = 0; i < in && !status; i++)
                status = value_at(ab[0], (e * z.rank + k) * in + i,
                                  swapped ? pb + i * z.rank + k : pa + k * in + i, err);
            for (size_t o = 0; o < out && !status; o++)
                status = value_at(ab[1], o * wide + k * z.experts + e,
                                  swapped ? pa + k * out + o : pb + o * z.rank + k, err);
        }
    }
    return status;
}

void nib_stack_plan(const nib_adapter *a, const nib_stack *s, nib_tensor_plan plans[2])
{
    sizes z = sizes_of(a, s);

    plans[0] = (nib_tensor_plan){ .name = s->names[0], .dtype = NIB_F32, .rank = 2,
                                  .shape = { z.experts * z.rank, z.in } };
    plans[1] = (nib_tensor_plan){ .name = s->names[1], .dtype = NIB_F32, .rank = 2,
                                  .shape = { z.out, z.experts * z.rank } };
}

nib_status nib_stack_write(const nib_adapter *a, const nib_stack *s, nib_tensor_writer *w,
                           nib_error *err)
{
    sizes z = sizes_of(a, s);
    nib_param *const *params = a->params.items + s->first;
    size_t wide = z.rank * z.experts;
    float *row = nib_new_array(a->ctx, wide, sizeof *row);
    nib_status status = row ? NIB_OK : no_memory(err);

    for (size_t e = 0; e < z.experts && !status; e++)
        status = nib_tensor_writer_put(w, params[2 * e]->value, z.rank * z.in * sizeof *row, err);
    for (size_t o = 0; o < z.out && !status; o++) {
        for (size_t e = 0; e < z.experts; e++)
            for (size_t k = 0; k < z.rank; k++)
                row[k * z.experts + e] = params[2 * e + 1]->value[o * z.rank + k];
        status = nib_tensor_writer_put(w, row, wide * sizeof *row, err);
    }
    nib_free(a->ctx, row);
    return status;
}
