/* export_lora.c - see export_lora.h. */
#include "job/export_lora.h"

#include <math.h>
#include <stdio.h>

/* --- the list --- */

static nib_status refuse(const nib_adapter *a, const char *module, const char *what, nib_error *err)
{
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s: %s has no place in a LoRA GGUF; export MODEL "
                    "--adapter puts it into the model", a->dir, module, what);
}

/* PEFT writes the frozen matrix beside some adapters: it says nothing that the base does not. */
static bool is_base(nib_ctx *ctx, const nib_param *full, const nib_weight *base)
{
    float *row = nib_new_array(ctx, base->in, sizeof *row);
    bool same = row && full->kind == NIB_PARAM_STORED && full->rows == base->out &&
                full->cols == base->in;

    for (size_t r = 0; same && r < base->out; r++) {
        nib_weight_decode(base, r, r + 1, row);
        same = memcmp(row, full->value + r * base->in, base->in * sizeof *row) == 0;
    }
    nib_free(ctx, row);
    return same;
}

static nib_status add(nib_lora_list *list, const nib_adapter *a, const nib_gguf_naming *n,
                      const char *module, nib_branch *branch, bool embedding, nib_error *err)
{
    const nib_model *m = a->model;
    char name[NIB_GGUF_NAME_ROOM];
    const nib_gguf_name *found = nib_gguf_name_of(n, module, name);
    nib_lora_pair *p;

    if (!found) return refuse(a, module, "a module that llama.cpp has not", err);
    if (branch->magnitude) return refuse(a, module, "a branch with magnitudes (use_dora)", err);
    if (embedding && strcmp(name, "token_embd") != 0)
        return refuse(a, module, "an adapter of an embedding that is not the tokens'", err);
    if (nib_gguf_is_of_experts(found))
        return refuse(a, module, "an adapter of experts", err);
    if (m->tied && strcmp(name, embedding ? "token_embd" : "output") == 0)
        return refuse(a, module, embedding ? "the embedding of a model whose head it is"
                                           : "the head of a model whose embedding it is", err);
    if (nib_gguf_reorders(&n->heads, found->held) &&
        !nib_gguf_rows_fit(&n->heads, found->held, branch->b->rows))
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has %zu rows, which are not those of its "
                        "heads", a->dir, module, branch->b->rows);
    if (!nib_grow(a->ctx, &list->items, &list->capacity, list->count + 1, sizeof *list->items))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", a->dir);
    p = &list->items[list->count++];
    *p = (nib_lora_pair){ .branch = branch, .embedding = embedding, .held = found->held };
    snprintf(p->name, sizeof p->name, "%s.weight", name);
    p->factor = branch->scale * (float)branch->a->rows / list->alpha;
    if (fabsf(p->factor - 1) <= 1e-6f) p->factor = 1; /* alpha / R and back again */
    list->scaled += p->factor != 1;
    return NIB_OK;
}

static nib_status add_linear(nib_lora_list *list, const nib_adapter *a, const nib_gguf_naming *n,
                             const nib_linear *l, nib_error *err)
{
    nib_branch *branch = nib_branch_at(&l->branches, 0);
    nib_gguf_tensor_name name;

    if (l->bias_param) return refuse(a, l->name, "a trained bias", err);
    if (l->full && !is_base(a->ctx, l->full, l->frozen))
        return refuse(a, l->name, "a full copy (modules_to_save)", err);
    if (!branch) return NIB_OK;
    if (l->stack) return refuse(a, l->stack, "an adapter of experts (target_parameters)", err);
    if (nib_gguf_weight_of(n, l, &name) && *name.rest)
        return refuse(a, l->name, "an adapter of a matrix that is two there (gate and up, kv_b)",
                      err);
    return add(list, a, n, l->name, branch, false, err);
}

static nib_status add_embedding(nib_lora_list *list, const nib_adapter *a, const nib_gguf_naming *n,
                                const nib_embedding *e, nib_error *err)
{
    nib_branch *branch = nib_branch_at(&e->branches, 0);

    if (e->rows) return refuse(a, e->name, "trained rows (trainable_token_indices)", err);
    if (e->full && !is_base(a->ctx, e->full, e->frozen))
        return refuse(a, e->name, "a full copy (modules_to_save)", err);
    return branch ? add(list, a, n, e->name, branch, true, err) : NIB_OK;
}

static nib_status check_vectors(const nib_adapter *a, nib_error *err)
{
    const nib_model *m = a->model;

    for (size_t i = 0; i < m->norm_count; i++)
        if (m->norms[i]->weight_param || m->norms[i]->bias_param)
            return refuse(a, m->norms[i]->name, "a trained norm", err);
    for (size_t i = 0; i < m->vector_count; i++)
        if (m->vectors[i]->param) return refuse(a, m->vectors[i]->name, "a trained vector", err);
    return NIB_OK;
}

/* PEFT's scale is alpha / R, with use_rslora alpha / sqrt(R).  Of alpha 0 llama.cpp takes 1. */
static float alpha_of(const nib_peft_config *c)
{
    double alpha = c->use_rslora ? c->lora_alpha * sqrt((double)c->r) : c->lora_alpha;

    return isfinite(alpha) && (float)alpha != 0 ? (float)alpha : 1;
}

nib_status nib_lora_list_make(const nib_adapter *a, const nib_gguf_naming *n, nib_lora_list *out,
                              nib_error *err)
{
    const nib_model *m = a->model;
    nib_lora_list list = { .alpha = alpha_of(&a->config) };
    nib_status status = check_vectors(a, err);

    for (size_t i = 0; i < m->embedding_count && !status; i++)
        status = add_embedding(&list, a, n, m->embeddings[i], err);
    for (size_t i = 0; i < m->linear_count && !status; i++)
        status = add_linear(&list, a, n, m->linears[i], err);
    if (!status && !list.count)
        status = nib_fail(err, NIB_E_MISMATCH, "%s: holds no low-rank factors", a->dir);
    if (status) nib_lora_list_free(a->ctx, &list);
    else *out = list;
    return status;
}

void nib_lora_list_free(nib_ctx *ctx, nib_lora_list *list)
{
    nib_free(ctx, list->items);
    *list = (nib_lora_list){ 0 };
}

/* --- one factor as the file has it, and back --- */

enum { A, B };

/* Where value i of the branch's factor lies in the file. */
static size_t place(const nib_lora_pair *p, int which, const nib_gguf_heads *heads, size_t i)
{
    size_t cols = (which == A ? p->branch->a : p->branch->b)->cols, row = i / cols, col = i % cols;

    if (which == A) return p->embedding ? col * p->branch->a->rows + row : i;
    if (!nib_gguf_reorders(heads, p->held)) return i;
    return (size_t)nib_gguf_place(heads, p->held, row) * cols + col;
}

static const nib_param *factor(const nib_lora_pair *p, int which, uint64_t shape[2])
{
    const nib_param *f = which == A ? p->branch->a : p->branch->b;
    bool turned = which == A && p->embedding;

    shape[turned] = f->rows;
    shape[!turned] = f->cols;
    return f;
}

static void part_name(const nib_lora_pair *p, int which, char room[NIB_GGUF_NAME_ROOM + 24])
{
    snprintf(room, NIB_GGUF_NAME_ROOM + 24, "%s.lora_%c", p->name, which == A ? 'a' : 'b');
}

static const nib_gguf_type *file_type(nib_dtype type)
{
    return nib_gguf_type_named(type == NIB_F32 ? "F32" : type == NIB_F16 ? "F16" : "BF16");
}

/* --- out --- */

void nib_lora_declare(const nib_lora_list *list, const nib_gguf_naming *n, nib_dtype type,
                      nib_gguf_writer *w)
{
    const char *architecture = n->family->architecture;

    nib_gguf_put_text(w, "general.architecture", architecture, strlen(architecture));
    nib_gguf_put_text(w, "general.type", "adapter", 7);
    nib_gguf_put_text(w, "adapter.type", "lora", 4);
    nib_gguf_put_number(w, "adapter.lora.alpha", NIB_GGUF_F32, (double)list->alpha);
    for (size_t i = 0; i < 2 * list->count; i++) {
        const nib_lora_pair *p = &list->items[i / 2];
        char name[NIB_GGUF_NAME_ROOM + 24];
        uint64_t shape[2];
        factor(p, i % 2, shape);
        part_name(p, i % 2, name);
        nib_gguf_add_tensor(w, name, file_type(type), 2, shape);
    }
}

static nib_status write_factor(nib_ctx *ctx, const nib_lora_pair *p, int which,
                               const nib_gguf_heads *heads, nib_dtype type, nib_gguf_writer *w,
                               nib_error *err)
{
    uint64_t shape[2];
    const nib_param *f = factor(p, which, shape);
    size_t count = nib_param_count(f);
    float *wide = nib_new_array(ctx, count, sizeof *wide);
    void *narrow = nib_new_array(ctx, count, nib_dtype_bytes(type));
    bool fits = true;
    nib_status status = NIB_OK;

    if (!wide || !narrow) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", p->name);
    for (size_t i = 0; i < count && !status; i++) {
        float v = f->value[i] * (which == B ? p->factor : 1);
        fits &= isfinite(v) && (type != NIB_F16 || fabsf(v) < 65520);
        wide[place(p, which, heads, i)] = v;
    }
    if (!status && !fits)
        status = nib_fail(err, NIB_E_NUMERIC, "%s: a factor holds a value that is not finite, or "
                          "that F16 cannot hold; F32 or BF16 may", p->name);
    if (!status) {
        nib_convert(narrow, type, wide, NIB_F32, count);
        status = nib_gguf_writer_put(w, narrow, count * nib_dtype_bytes(type), err);
    }
    nib_free(ctx, wide);
    nib_free(ctx, narrow);
    return status;
}

nib_status nib_lora_write(nib_ctx *ctx, const nib_lora_list *list, const nib_gguf_naming *n,
                          nib_dtype type, nib_gguf_writer *w, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < 2 * list->count && !status; i++)
        status = write_factor(ctx, &list->items[i / 2], i % 2, &n->heads, type, w, err);
    return status;
}

/* --- and back --- */

static nib_status read_factor(nib_lora_read *r, const nib_tensors *t, size_t at,
                              const nib_gguf_heads *heads, nib_error *err)
{
    const nib_lora_pair *p = &r->list->items[at / 2];
    char name[NIB_GGUF_NAME_ROOM + 24];
    uint64_t shape[2];
    const nib_param *f = factor(p, at % 2, shape);
    size_t count = nib_param_count(f);
    const nib_tensor *found;
    float *wide;

    part_name(p, at % 2, name);
    found = nib_tensors_find(t, name);
    if (!found || found->rank != 2 || found->shape[0] != shape[0] || found->shape[1] != shape[1] ||
        found->dtype > NIB_BF16)
        return nib_fail(err, NIB_E_MISMATCH, "%s of the file written is not what was written",
                        name);
    wide = nib_new_array(r->ctx, count, sizeof *wide);
    r->values[at] = nib_new_array(r->ctx, count, sizeof *wide);
    if (wide && r->values[at]) {
        nib_convert(wide, NIB_F32, found->data, found->dtype, count);
        for (size_t i = 0; i < count; i++)
            r->values[at][i] = wide[place(p, at % 2, heads, i)];
    }
    nib_free(r->ctx, wide);
    return wide && r->values[at] ? NIB_OK
                                 : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
}

nib_status nib_lora_open(nib_ctx *ctx, const nib_lora_list *list, const nib_gguf_naming *n,
                         const char *path, nib_lora_read *out, nib_error *err)
{
    nib_lora_read r = { .ctx = ctx, .list = list };
    nib_tensors *t = NULL;
    double alpha = 0;
    nib_status status = nib_tensors_open(ctx, path, &t, err);

    if (status) return status;
    r.values = nib_new_array(ctx, 2 * list->count, sizeof *r.values);
    r.scales = nib_new_array(ctx, list->count, sizeof *r.scales);
    if (!r.values || !r.scales) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    if (!status &&
        !nib_gguf_number(nib_gguf_find(nib_tensors_gguf(t), "adapter.lora.alpha"), 0, &alpha))
        status = nib_fail(err, NIB_E_MISMATCH, "%s: adapter.lora.alpha is missing", path);
    for (size_t i = 0; i < 2 * list->count && !status; i++)
        status = read_factor(&r, t, i, &n->heads, err);
    for (size_t i = 0; i < list->count && !status; i++)
        r.scales[i] = (float)alpha / (float)list->items[i].branch->b->cols;
    nib_tensors_close(t);
    if (status) nib_lora_close(&r);
    else *out = r;
    return status;
}

void nib_lora_swap(void *read)
{
    nib_lora_read *r = read;

    for (size_t i = 0; i < r->list->count; i++) {
        nib_branch *branch = r->list->items[i].branch;
        float *a = branch->a->value, *b = branch->b->value, scale = branch->scale;
        branch->a->value = r->values[2 * i];
        branch->b->value = r->values[2 * i + 1];
        branch->scale = r->scales[i];
        r->values[2 * i] = a;
        r->values[2 * i + 1] = b;
        r->scales[i] = scale;
    }
}

void nib_lora_close(nib_lora_read *r)
{
    for (size_t i = 0; r->values && i < 2 * r->list->count; i++) nib_free(r->ctx, r->values[i]);
    nib_free(r->ctx, r->values);
    nib_free(r->ctx, r->scales);
    *r = (nib_lora_read){ 0 };
}
