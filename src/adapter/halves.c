/* halves.c - see halves.h.  Of A the halves are rows, one after the other; of B columns. */
#include "adapter/halves.h"

#include <math.h>

#include "adapter/peft_tensor.h"

static void scale(nib_peft_pattern *pattern, size_t count, double by)
{
    for (size_t i = 0; i < count; i++) pattern[i].value *= by;
}

void nib_halves_double(nib_peft_config *c)
{
    double alpha = c->use_rslora ? sqrt(2) : 2;

    c->r *= 2;
    c->lora_alpha *= alpha;
    scale(c->rank_pattern, c->rank_count, 2);
    scale(c->alpha_pattern, c->alpha_count, alpha);
}

void nib_halves_fill(const nib_branch *b, const float *a0, const float *b0)
{
    size_t rank = b->a->rows / 2, in = b->a->cols;

    memcpy(b->a->value + rank * in, a0, rank * in * sizeof *a0);
    for (size_t i = 0; i < b->b->rows; i++)
        for (size_t q = 0; q < rank; q++)
            b->b->value[(2 * i + 1) * rank + q] = -b0[i * rank + q];
}

/* A or B of a linear or an embedding, by the file's name. */
static bool is_b(const nib_param *p)
{
    const char *at = p->name;

    for (const char *next; (next = strstr(at + 1, ".lora_"));) at = next;
    at += strlen(".lora_");
    return *at == 'B' || strcmp(at, "embedding_B") == 0;
}

bool nib_halves_apply(const nib_adapter *a, size_t i)
{
    return a->taken_count && !a->recoded && nib_param_is_low_rank(a->params.items[i]);
}

nib_half nib_halves_second(const nib_adapter *a, const nib_param *p)
{
    for (size_t i = 0; i < a->taken_count; i++) {
        const nib_branch *b = nib_branch_at(&a->taken[i].linear->branches, a->slot);
        if (b && b->a == p) return (nib_half){ a->taken[i].a, false };
        if (b && b->b == p) return (nib_half){ a->taken[i].b, true };
    }
    return (nib_half){ NULL, false };
}

void nib_halves_plan(const nib_adapter *a, size_t i, nib_tensor_plan *plan)
{
    const nib_param *p = a->params.items[i];
    bool b = is_b(p);

    *plan = (nib_tensor_plan){ .name = p->name, .dtype = NIB_F32, .rank = 2,
                               .shape = { b ? p->rows : 2 * p->rows, b ? 2 * p->cols : p->cols } };
}

/* Both halves as the file has them: of A one row after the other, of B in turn. */
static void join(const nib_adapter *a, const nib_param *p, float *to)
{
    const nib_half half = nib_halves_second(a, p);
    size_t pieces = is_b(p) ? p->rows : 1, n = nib_param_count(p) / pieces;

    for (size_t k = 0; k < pieces; k++)
        for (size_t i = 0; i < n; i++) {
            to[2 * k * n + i] = p->value[k * n + i];
            to[(2 * k + 1) * n + i] = nib_half_value(half, k * n + i);
        }
}

static nib_status no_memory(const nib_param *p, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", p->name);
}

nib_status nib_halves_write(const nib_adapter *a, size_t i, nib_tensor_writer *w, nib_error *err)
{
    const nib_param *p = a->params.items[i];
    float *both = nib_new_array(a->ctx, nib_param_count(p), 2 * sizeof *both);
    nib_status status;

    if (!both) return no_memory(p, err);
    join(a, p, both);
    status = nib_tensor_writer_put(w, both, 2 * nib_param_count(p) * sizeof *both, err);
    nib_free(a->ctx, both);
    return status;
}

nib_status nib_halves_other(const char *where, nib_error *err)
{
    return nib_fail(err, NIB_E_MISMATCH,
                    "%s: what the adapter took of the base when it began is another than is taken "
                    "here, with other kernels or another LAPACK: the run cannot be resumed "
                    "exactly; resume it on a machine like the one where it began, or train that "
                    "adapter further with --adapter", where);
}

nib_status nib_halves_read(const nib_adapter *a, size_t i, const nib_tensor *t, nib_error *err)
{
    nib_param *p = a->params.items[i];
    bool b = is_b(p), same = true;
    const nib_half half = nib_halves_second(a, p);
    size_t pieces = b ? p->rows : 1, n = nib_param_count(p) / pieces;
    float *both = nib_new_array(a->ctx, nib_param_count(p), 2 * sizeof *both);
    nib_status status = both ? NIB_OK : no_memory(p, err);

    if (!status)
        status = nib_peft_tensor_values(t, b ? p->rows : 2 * p->rows, b ? 2 * p->cols : p->cols,
                                        both, err);
    for (size_t k = 0; k < pieces && !status; k++) {
        memcpy(p->value + k * n, both + 2 * k * n, n * sizeof *both);
        for (size_t q = 0; q < n; q++)
            same &= both[(2 * k + 1) * n + q] == nib_half_value(half, k * n + q);
    }
    if (!status && !same)
        status = nib_halves_other(t->file, err);
    nib_free(a->ctx, both);
    return status;
}

nib_status nib_halves_read_first(nib_param *p, const nib_tensor *t, nib_error *err)
{
    bool b = is_b(p);
    size_t pieces = b ? p->rows : 1, n = nib_param_count(p) / pieces / 2;
    nib_status status = nib_peft_tensor_values(t, b ? p->rows : p->rows / 2,
                                               b ? p->cols / 2 : p->cols, p->value, err);

    /* from the last on, for a piece goes where later ones lie */
    for (size_t k = pieces; k-- > 0 && !status;) {
        memmove(p->value + 2 * k * n, p->value + k * n, n * sizeof *p->value);
        memset(p->value + (2 * k + 1) * n, 0, n * sizeof *p->value);
    }
    return status;
}
