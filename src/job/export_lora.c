/* export_lora.c - see export_lora.h. */
#include "job/export_lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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

/* Where a pair goes: a matrix's name there, or that of one of two that theirs is. */
typedef struct place_there {
    const char *module; /* for messages */
    const char *name;
    nib_gguf_held held;
    int part, parts;    /* of two: 0 or 1 of 2 */
    size_t slice, slices;
} place_there;

static nib_status add(nib_lora_list *list, const nib_adapter *a, const nib_gguf_naming *n,
                      const place_there *at, nib_branch *branch, bool embedding, nib_error *err)
{
    bool turns = at->held == NIB_GGUF_TURNS;
    bool columns = nib_gguf_reorders_columns(&n->heads, at->held);
    size_t rows = branch->b->rows / (size_t)at->parts;
    size_t count = columns ? branch->a->cols : branch->b->rows, first = rows;
    char sizes[160];
    nib_lora_pair *p;

    nib_gguf_heads_text(&n->heads, at->held, sizes);
    if ((columns || nib_gguf_reorders(&n->heads, at->held)) &&
        !nib_gguf_rows_fit(&n->heads, at->held, count))
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has %zu %s, which are not those of %s", a->dir,
                        at->module, count, columns ? "columns" : "rows", sizes);
    if (at->held == NIB_GGUF_KEY_GROUPS) {
        first = (size_t)nib_gguf_group_rows(&n->heads);
        rows = at->part ? branch->b->rows - first : first;
    }
    if (!nib_grow(a->ctx, &list->items, &list->capacity, list->count + 1, sizeof *list->items))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", a->dir);
    p = &list->items[list->count++];
    *p = (nib_lora_pair){ .branch = branch, .embedding = embedding, .held = at->held,
                          .rows = rows, .row_step = at->parts == 2 && turns ? 2 : 1,
                          .slice = at->slice, .slices = at->slices };
    if (at->part) p->first_row = turns ? 1 : first;
    p->fold = nib_gguf_fold_of(n, a->model, at->name);
    snprintf(p->name, sizeof p->name, "%s", at->name);
    return NIB_OK;
}

/* Modules that llama.cpp multiplies by without asking for an adapter, or with one that it scales
 * otherwise. */
static bool is_deaf(const nib_gguf_naming *n, const char *name)
{
    const char *stem = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;

    stem = stem ? stem + 1 : name;
    for (const char *const *d = n->family->unadapted; d && *d; d++)
        if (strcmp(stem, *d) == 0) return true;
    return false;
}

static nib_status check_linear(const nib_adapter *a, const nib_linear *l, nib_error *err)
{
    if (l->bias_param) return refuse(a, l->name, "a trained bias", err);
    if (l->full && !is_base(a->ctx, l->full, l->frozen))
        return refuse(a, l->name, "a full copy (modules_to_save)", err);
    return NIB_OK;
}

/* slices: how many experts there are, or 0. */
static nib_status add_linear(nib_lora_list *list, const nib_adapter *a, const nib_gguf_naming *n,
                             const nib_linear *l, size_t slice, size_t slices, nib_error *err)
{
    const char *module = l->stack ? l->stack : l->name;
    nib_branch *branch = nib_branch_at(&l->branches, 0);
    nib_gguf_tensor_name name;
    nib_status status = check_linear(a, l, err);

    if (status || !branch) return status;
    if (!nib_gguf_weight_of(n, l, &name))
        return refuse(a, module, "a module that llama.cpp has not", err);
    if (branch->magnitude) return refuse(a, module, "a branch with magnitudes (use_dora)", err);
    if (name.held == NIB_GGUF_LATENT || is_deaf(n, name.name))
        return refuse(a, module, "an adapter of a matrix whose adapters llama.cpp leaves out "
                      "or scales otherwise", err);
    if (a->model->tied && strcmp(name.name, "output.weight") == 0)
        return refuse(a, module, "the head of a model whose embedding it is", err);
    for (int part = 0; part < (*name.rest ? 2 : 1) && !status; part++) {
        const place_there at = { .module = module, .name = part ? name.rest : name.name,
                                 .held = name.held, .part = part, .parts = *name.rest ? 2 : 1,
                                 .slice = slice, .slices = slices };
        status = add(list, a, n, &at, branch, false, err);
    }
    return status;
}

static nib_status add_experts(nib_lora_list *list, const nib_adapter *a, const nib_gguf_naming *n,
                              const nib_node *node, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < node->route.experts && !status; i++)
        status = add_linear(list, a, n, node->experts[i], i, node->route.experts, err);
    return status;
}

static nib_status add_embedding(nib_lora_list *list, const nib_adapter *a, const nib_gguf_naming *n,
                                const nib_embedding *e, nib_error *err)
{
    const place_there at = { .module = e->name, .name = "token_embd.weight", .parts = 1 };
    nib_branch *branch = nib_branch_at(&e->branches, 0);
    char name[NIB_GGUF_NAME_ROOM];

    if (e->rows) return refuse(a, e->name, "trained rows (trainable_token_indices)", err);
    if (e->full && !is_base(a->ctx, e->full, e->frozen))
        return refuse(a, e->name, "a full copy (modules_to_save)", err);
    if (!branch) return NIB_OK;
    if (!nib_gguf_name_of(n, e->name, name))
        return refuse(a, e->name, "a module that llama.cpp has not", err);
    if (branch->magnitude) return refuse(a, e->name, "a branch with magnitudes (use_dora)", err);
    if (strcmp(name, "token_embd") != 0)
        return refuse(a, e->name, "an adapter of an embedding that is not the tokens'", err);
    if (a->model->tied)
        return refuse(a, e->name, "the embedding of a model whose head it is", err);
    return add(list, a, n, &at, branch, true, err);
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

/* --- which pairs are one tensor --- */

static int by_tensor(const void *x, const void *y)
{
    const nib_lora_pair *a = x, *b = y;

    if (a->tensor != b->tensor) return a->tensor < b->tensor ? -1 : 1;
    return a->slice < b->slice ? -1 : a->slice > b->slice;
}

/* The first pair before i of the same tensor, or i.  Those of a tensor are near each other. */
static size_t tensor_of(const nib_lora_list *list, size_t i)
{
    for (size_t k = i; k-- > 0 && list->items[i].slices;)
        if (strcmp(list->items[k].name, list->items[i].name) == 0) return list->items[k].tensor;
    return i;
}

static size_t owner_of(const nib_lora_list *list, size_t i)
{
    const nib_lora_pair *p = &list->items[i];

    for (size_t k = 0; k < i && (p->row_step != 1 || p->rows != p->branch->b->rows); k++)
        if (list->items[k].branch == p->branch) return k;
    return i;
}

/* Pairs [first, end) of one tensor: its rank is the greatest of theirs. */
static void set_tensor(nib_lora_list *list, size_t first, size_t end)
{
    size_t rank = 0;

    for (size_t i = first; i < end; i++) rank = nib_max(rank, list->items[i].branch->a->rows);
    for (size_t i = first; i < end; i++) {
        nib_lora_pair *p = &list->items[i];
        p->tensor = first;
        p->rank = rank;
        p->owner = owner_of(list, i);
        p->factor = p->branch->scale * (float)rank / list->alpha;
        if (fabsf(p->factor - 1) <= 1e-6f) p->factor = 1; /* alpha / R and back again */
        list->scaled += p->factor != 1;
    }
    list->tensors++;
}

static void gather(nib_lora_list *list)
{
    size_t end;

    for (size_t i = 0; i < list->count; i++) list->items[i].tensor = tensor_of(list, i);
    qsort(list->items, list->count, sizeof *list->items, by_tensor);
    for (size_t i = 0; i < list->count; i = end) {
        for (end = i + 1; end < list->count; end++)
            if (list->items[end].tensor != list->items[i].tensor) break;
        set_tensor(list, i, end);
    }
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
        if (!nib_gguf_is_expert(n, m->linears[i]))
            status = add_linear(&list, a, n, m->linears[i], 0, 0, err);
    for (size_t i = 0; i < m->graph->node_count && !status; i++)
        if (m->graph->nodes[i].experts)
            status = add_experts(&list, a, n, &m->graph->nodes[i], err);
    if (!status && !list.count)
        status = nib_fail(err, NIB_E_MISMATCH, "%s: holds no low-rank factors", a->dir);
    if (!status) gather(&list);
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

static size_t columns_of(const nib_lora_pair *p) { return p->branch->a->cols; }

/* A tensor's shape in the file, of one matrix or of all experts'. */
static unsigned shape_of(const nib_lora_pair *p, int which, uint64_t shape[3])
{
    size_t rows = which == A ? p->rank : p->rows, cols = which == A ? columns_of(p) : p->rank;
    bool turned = which == A && p->embedding;
    unsigned rank = 0;

    if (p->slices) shape[rank++] = p->slices;
    shape[rank++] = turned ? cols : rows;
    shape[rank++] = turned ? rows : cols;
    return rank;
}

/* Where value `col` of the factor's row `row`, of those that are this matrix's, lies in it. */
static size_t place(const nib_lora_pair *p, int which, const nib_gguf_heads *heads, size_t row,
                    size_t col)
{
    if (which == A && nib_gguf_reorders_columns(heads, p->held))
        col = (size_t)nib_gguf_place(heads, p->held, col);
    if (which == A) return p->embedding ? col * p->rank + row : row * columns_of(p) + col;
    if (p->held != NIB_GGUF_KEY_GROUPS && nib_gguf_reorders(heads, p->held))
        row = (size_t)nib_gguf_place(heads, p->held, row);
    return row * p->rank + col;
}

/* How many rows and columns of the branch's own factor the file has of this matrix, and which row
 * of it row r is. */
static size_t rows_of(const nib_lora_pair *p, int which)
{
    return which == A ? p->branch->a->rows : p->rows;
}
static size_t row_of(const nib_lora_pair *p, int which, const nib_gguf_heads *heads, size_t r)
{
    if (which == A) return r;
    if (p->held == NIB_GGUF_KEY_GROUPS)
        return (size_t)nib_gguf_group_row_at(heads, p->first_row + r);
    return p->first_row + r * p->row_step;
}
static const nib_param *factor(const nib_lora_pair *p, int which)
{
    return which == A ? p->branch->a : p->branch->b;
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
        uint64_t shape[3];
        unsigned rank = shape_of(p, i % 2, shape);
        if (p->tensor != i / 2) continue;
        part_name(p, i % 2, name);
        nib_gguf_add_tensor(w, name, file_type(type), rank, shape);
    }
}

/* The values of a matrix's factor, where the branch has none 0; of an expert without one all. */
static nib_status write_slice(nib_ctx *ctx, const nib_lora_pair *p, int which, bool zeros,
                              const nib_gguf_heads *heads, nib_dtype type, nib_gguf_writer *w,
                              nib_error *err)
{
    const nib_param *f = factor(p, which);
    size_t count = p->rank * (which == A ? columns_of(p) : p->rows);
    float *wide = nib_new_array(ctx, count, sizeof *wide);
    void *narrow = nib_new_array(ctx, count, nib_dtype_bytes(type));
    bool fits = true;
    nib_status status = NIB_OK;

    if (!wide || !narrow) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", p->name);
    for (size_t i = 0; i < rows_of(p, which) * f->cols && !status && !zeros; i++) {
        size_t row = i / f->cols, col = i % f->cols;
        size_t at = row_of(p, which, heads, row);
        float v = f->value[at * f->cols + col];
        if (which == B) v = nib_gguf_folded(&p->fold, at, false, v * p->factor);
        fits &= isfinite(v) && (type != NIB_F16 || fabsf(v) < 65520);
        wide[place(p, which, heads, row, col)] = v;
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

/* A factor of the tensor whose first pair is `at`. */
static nib_status write_factor(nib_ctx *ctx, const nib_lora_list *list, size_t at, int which,
                               const nib_gguf_heads *heads, nib_dtype type, nib_gguf_writer *w,
                               nib_error *err)
{
    const nib_lora_pair *first = &list->items[at];
    nib_status status = NIB_OK;

    if (!first->slices) return write_slice(ctx, first, which, false, heads, type, w, err);
    for (size_t s = 0; s < first->slices && !status; s++) {
        bool here = at < list->count && list->items[at].tensor == first->tensor &&
                    list->items[at].slice == s;
        status = write_slice(ctx, here ? &list->items[at] : first, which, !here, heads, type, w,
                             err);
        at += here;
    }
    return status;
}

nib_status nib_lora_write(nib_ctx *ctx, const nib_lora_list *list, const nib_gguf_naming *n,
                          nib_dtype type, nib_gguf_writer *w, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < 2 * list->count && !status; i++)
        if (list->items[i / 2].tensor == i / 2)
            status = write_factor(ctx, list, i / 2, i % 2, &n->heads, type, w, err);
    return status;
}

/* --- and back --- */

static nib_status read_factor(nib_lora_read *r, const nib_tensors *t, size_t at,
                              const nib_gguf_heads *heads, nib_error *err)
{
    const nib_lora_pair *p = &r->list->items[at / 2];
    int which = at % 2;
    const nib_param *f = factor(p, which);
    char name[NIB_GGUF_NAME_ROOM + 24];
    uint64_t shape[3];
    unsigned rank = shape_of(p, which, shape);
    size_t count = p->rank * (which == A ? columns_of(p) : p->rows);
    float **to = &r->values[2 * p->owner + (size_t)which];
    const nib_tensor *found;
    float *wide;

    part_name(p, which, name);
    found = nib_tensors_find(t, name);
    if (!found || found->rank != rank || memcmp(found->shape, shape, rank * sizeof *shape) != 0 ||
        found->dtype > NIB_BF16)
        return nib_fail(err, NIB_E_MISMATCH, "%s of the file written is not what was written",
                        name);
    wide = nib_new_array(r->ctx, count, sizeof *wide);
    if (!*to) *to = nib_new_array(r->ctx, nib_param_count(f), sizeof *wide);
    if (wide && *to) {
        size_t bytes = count * nib_dtype_bytes(found->dtype);
        nib_convert(wide, NIB_F32, (const uint8_t *)found->data + p->slice * bytes, found->dtype,
                    count);
        for (size_t i = 0; i < rows_of(p, which) * f->cols; i++) {
            size_t row = row_of(p, which, heads, i / f->cols);
            float by = which == B ? nib_gguf_folded(&p->fold, row, false, 1) : 1;
            (*to)[row * f->cols + i % f->cols] =
                wide[place(p, which, heads, i / f->cols, i % f->cols)] / by;
        }
    }
    nib_free(r->ctx, wide);
    return wide && *to ? NIB_OK : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
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
        r.scales[i] = (float)alpha / (float)list->items[i].rank;
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
        if (r->list->items[i].owner != i) continue;
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
