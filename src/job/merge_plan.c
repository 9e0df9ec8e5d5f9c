/* merge_plan.c - see merge_plan.h. */
#include "job/merge_plan.h"

#include <math.h>
#include <stdio.h>

#include "format/tensor_values.h"
#include "job/labelled.h"

enum { NAME_ROOM = 700 };

typedef struct maker {
    nib_model *m;
    bool convert;
    nib_dtype dtype;
    bool add_prefix; /* the source's names lack the architecture's prefix and must have it */
    nib_merge_plan plan;
} maker;

static const nib_weight *base_weight(const nib_weight *weight, const nib_weight *frozen)
{
    return frozen ? frozen : weight;
}

/* The model's head is the embedding and no longer can be. */
static bool head_differs(const nib_model *m)
{
    const nib_embedding *e = m->embedding;
    const nib_linear *h = m->head;

    if (!m->tied) return false;
    if (e->branches.count || h->branches.count) return true;
    if (e->full && h->full)
        return memcmp(e->full->value, h->full->value, nib_param_count(e->full) * sizeof(float)) !=
               0;
    return e->full || h->full;
}

/* --- whose a tensor is --- */

static bool is_tensor(const maker *k, const nib_tensor *t, const char *module, const char *part)
{
    char name[NAME_ROOM];
    const nib_tensor *found;

    snprintf(name, sizeof name, "%s%s", module, part);
    found = nib_model_tensor(k->m->tensors, k->m->config, name);
    return found && strcmp(found->name, t->name) == 0;
}

static bool is_head_weight(const maker *k, const nib_tensor *t)
{
    return k->m->head && is_tensor(k, t, k->m->head->name, ".weight");
}

static bool is_new(const nib_model *m, const nib_linear *l)
{
    for (size_t i = 0; i < m->new_count; i++)
        if (m->new_linears[i] == l) return true;
    return false;
}

bool nib_merge_drops_head(const nib_model *m)
{
    return nib_task_has_head(m->purpose.task) ||
           (m->purpose.task == NIB_TASK_FEATURE_EXTRACTION &&
            (m->stored.format || nib_tensors_gguf(m->tensors)));
}

/* Of a head for another task. */
static bool is_foreign_head(const nib_model *m, const nib_tensor *t)
{
    const char *const *heads = m->config->arch->other_heads;

    if (!nib_merge_drops_head(m)) return false;
    for (; heads && *heads; heads++)
        if (strncmp(t->name, *heads, strlen(*heads)) == 0) return true;
    return false;
}

/* One of the tensors that lie beside a packed weight's own. */
static bool is_part_of(const maker *k, const nib_weight *w, const char *name)
{
    return !nib_weight_is_dense(w) && w->source &&
           nib_format_is_piece_of(k->m->stored.format, w->source, name);
}

/* A tensor of a tied head of its own beside a packed embedding: the merged embedding takes its
 * place, or a head is written anew. */
static bool is_packed_copy(const nib_linear *head, const char *name)
{
    size_t n = strlen(head->name);

    return !nib_weight_is_dense(base_weight(head->weight, head->frozen)) &&
           strncmp(name, head->name, n) == 0 && strncmp(name + n, ".weight", 7) == 0;
}

static void set_weight(nib_merge_item *item, const nib_weight *w, bool transposed,
                       const nib_branch *branch)
{
    item->kind = NIB_MERGE_WEIGHT;
    item->weight = w;
    item->branch = branch;
    item->plan.rank = 2;
    item->transposed = transposed;
    item->plan.shape[transposed] = w->out;
    item->plan.shape[!transposed] = w->in;
}

/* `first` and the linears behind it are the slices; of packed ones the tensor is the dense one's.
 */
static void set_stack(const maker *k, nib_merge_item *item, const nib_linear *first)
{
    uint64_t count = item->plan.shape[0];
    size_t i = 0;

    while (k->m->linears[i] != first) i++;
    set_weight(item, first->weight, first->transposed, NULL);
    item->kind = NIB_MERGE_STACK;
    item->slices = k->m->linears + i;
    item->plan.rank = 3;
    item->plan.shape[2] = item->plan.shape[1];
    item->plan.shape[1] = item->plan.shape[0];
    item->plan.shape[0] = count;
    item->plan.dtype = first->weight->dtype;
}

/* Are there packed tensors of experts, and no adapter of any? */
static bool keeps_experts(const maker *k)
{
    bool packed = false;

    if (nib_tensors_gguf(k->m->tensors)) return false; /* its blocks have no place in a directory */
    /* nor have MLX's: another format's config.json does not know them */
    if (k->m->stored.format && !k->m->stored.format->stack_ends[0]) return false;
    for (size_t i = 0; i < k->m->linear_count; i++) {
        const nib_linear *l = k->m->linears[i];
        if (!l->stack || nib_weight_is_dense(l->weight)) continue;
        if (l->branches.count || k->convert) return false;
        packed = true;
    }
    return packed;
}

static void set_vector(nib_merge_item *item, const float *values)
{
    item->kind = NIB_MERGE_VECTOR;
    item->values = values;
}

/* The same of a linear whose rows lie in tensors of an expert's own: each gets its part of them. */
static bool match_apart(const maker *k, const nib_linear *l, const nib_tensor *t,
                        nib_merge_item *item, bool *drop)
{
    const nib_form form = nib_weight_form(l->weight);
    bool changes = l->branches.count || !nib_form_is_dense(&form);
    size_t rows = l->apart_sources[1] ? l->weight->out / 2 : l->weight->out;

    for (size_t i = 0; i < NIB_COUNT(l->apart_sources) && l->apart_sources[i]; i++) {
        if (nib_format_is_piece_of(k->m->stored.format, l->apart_sources[i], t->name))
            return *drop = true;
        if (strcmp(l->apart_sources[i], t->name) != 0) continue;
        if (!nib_dtype_is_float(t->dtype)) item->plan.dtype = l->weight->dtype;
        if (!changes && nib_dtype_is_float(t->dtype)) return true;
        set_weight(item, l->weight, false, nib_branch_at(&l->branches, 0));
        item->first_row = i * rows;
        item->plan.shape[0] = rows;
        return true;
    }
    return false;
}

/* Fills `item` when the tensor is the linear's and changes.  *drop: it is not written.  True: it
 * was the linear's, and nobody else need be asked. */
static bool match_linear(const maker *k, const nib_linear *l, const nib_tensor *t,
                         nib_merge_item *item, bool *drop)
{
    const nib_weight *base = base_weight(l->weight, l->frozen);
    bool tied = l == k->m->head && k->m->tied;

    if (l->apart_sources[0]) return match_apart(k, l, t, item, drop);
    if (is_new(k->m, l)) /* written behind the others; the file's is for other labels */
        return *drop = is_tensor(k, t, l->name, ".weight") || is_tensor(k, t, l->name, ".bias");
    if (tied ? is_packed_copy(l, t->name) : is_part_of(k, base, t->name))
        return *drop = !(l->stack && k->plan.keeps_experts), true;
    if (tied ? is_tensor(k, t, l->name, ".weight") : strcmp(base->source, t->name) == 0) {
        /* a copy of the embedding beside it stays one */
        if (tied && !k->plan.untied && !l->rows) return true;
        if (l->stack) {
            if (l->branches.count || t->straight ||
                (!nib_weight_is_dense(l->weight) && !k->plan.keeps_experts))
                set_stack(k, item, l);
            return true;
        }
        item->linear = l;
        if (l->full || l->branches.count || tied || !nib_weight_is_dense(base) || t->straight)
            set_weight(item, l->weight, l->transposed, nib_branch_at(&l->branches, 0));
        if (!nib_weight_is_dense(base)) item->plan.dtype = base->dtype;
        return true;
    }
    if (!is_tensor(k, t, l->bias_name ? l->bias_name : l->name, l->bias_name ? "" : ".bias"))
        return false;
    if (l->bias_param) set_vector(item, l->bias);
    return true;
}

static bool match_norm(const maker *k, const nib_norm *n, const nib_tensor *t, nib_merge_item *item)
{
    bool weight = is_tensor(k, t, n->name, ".weight") || is_tensor(k, t, n->name, ".gamma");
    bool bias = is_tensor(k, t, n->name, ".bias") || is_tensor(k, t, n->name, ".beta");

    if (weight && n->weight_param) set_vector(item, n->weight);
    if (bias && n->bias_param) set_vector(item, n->bias);
    return weight || bias;
}

static bool match_embedding(const maker *k, const nib_embedding *e, const nib_tensor *t,
                            nib_merge_item *item, bool *drop)
{
    const nib_weight *base = base_weight(e->weight, e->frozen);

    if (is_part_of(k, base, t->name)) return *drop = true;
    if (strcmp(base->source, t->name) != 0) return false;
    if (e->full || e->rows || e->branches.count || !nib_weight_is_dense(base))
        set_weight(item, e->weight, false, nib_branch_at(&e->branches, 0));
    if (!nib_weight_is_dense(base)) item->plan.dtype = base->dtype;
    item->embedding = true;
    return true;
}

static void match(const maker *k, const nib_tensor *t, nib_merge_item *item, bool *drop)
{
    for (size_t i = 0; i < k->m->embedding_count; i++)
        if (match_embedding(k, k->m->embeddings[i], t, item, drop)) return;
    for (size_t i = 0; i < k->m->linear_count; i++)
        if (match_linear(k, k->m->linears[i], t, item, drop)) return;
    for (size_t i = 0; i < k->m->norm_count; i++)
        if (match_norm(k, k->m->norms[i], t, item)) return;
    *drop = is_foreign_head(k->m, t);
}

/* --- the list --- */

static nib_status no_memory(const maker *k, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory for the list of tensors", k->m->dir);
}

static nib_status keep_name(maker *k, const char *prefix, const char *name, const char **out,
                            nib_error *err)
{
    nib_merge_plan *p = &k->plan;
    nib_ctx *ctx = k->m->ctx;
    char *made;

    if (!nib_grow(ctx, &p->names, &p->name_capacity, p->name_count + 1, sizeof *p->names))
        return no_memory(k, err);
    made = nib_sprintf(ctx, "%s%s", prefix, name);
    if (!made) return no_memory(k, err);
    *out = p->names[p->name_count++] = made;
    return NIB_OK;
}

/* GGUF holds vectors as float32: one that loses nothing by it gets the type of the matrices, which
 * it had before.  What 1 was added to was rounded then. */
static bool narrows(const maker *k, const nib_merge_item *item)
{
    const nib_tensor *t = item->source;
    float most = t && t->offset != 0 ? 0x1p-24f : 0;
    bool half = k->plan.dtype == NIB_F16 || k->plan.dtype == NIB_BF16;

    if (!half || !t || t->dtype != NIB_F32 || item->kind != NIB_MERGE_COPY ||
        !nib_tensors_gguf(k->m->tensors))
        return false;
    for (uint64_t i = 0; i < t->elements; i++) {
        uint8_t narrow[4];
        float v, again;
        nib_tensor_values(t, i, 1, &v);
        nib_convert(narrow, k->plan.dtype, &v, NIB_F32, 1);
        nib_convert(&again, NIB_F32, narrow, k->plan.dtype, 1);
        if (!(fabsf(v - again) <= most)) return false;
    }
    return true;
}

static nib_status append(maker *k, nib_merge_item *item, nib_error *err)
{
    nib_merge_plan *p = &k->plan;

    if (!k->convert && narrows(k, item)) item->plan.dtype = p->dtype;
    if (k->convert && nib_dtype_is_float(item->plan.dtype)) item->plan.dtype = k->dtype;
    if (!nib_grow(k->m->ctx, &p->items, &p->capacity, p->count + 1, sizeof *p->items))
        return no_memory(k, err);
    if (item->weight)
        p->widest = nib_max(p->widest, nib_merge_row_width(item));
    p->items[p->count++] = *item;
    return NIB_OK;
}

/* What is written is called M.weight, whatever held it ("M.qweight"), and experts' tensors as dense
 * ones are. */
static nib_status set_name(maker *k, const nib_tensor *t, nib_merge_item *item, nib_error *err)
{
    static const char end[] = ".weight";
    const char *last = strrchr(t->name, '.');
    bool rename = item->kind == NIB_MERGE_WEIGHT && last && strcmp(last, end) != 0;
    size_t stack = item->kind == NIB_MERGE_STACK
                       ? nib_format_stack_bytes(k->m->stored.format, t->name) : 0;
    bool prefix = k->add_prefix && !is_head_weight(k, t);
    char name[NAME_ROOM];
    size_t kept = rename ? (size_t)(last - t->name) : stack ? stack : strlen(t->name);

    if (!rename && !stack && !prefix) return NIB_OK;
    if (kept + sizeof end > sizeof name)
        return nib_fail(err, NIB_E_INVALID, "%s: too long a name", t->name);
    memcpy(name, t->name, kept);
    strcpy(name + kept, rename ? end : "");
    return keep_name(k, prefix ? nib_config_prefix(k->m->config) : "", name, &item->plan.name, err);
}

static nib_status add_tensor(maker *k, const nib_tensor *t, bool *head_written, nib_error *err)
{
    nib_merge_item item = { .kind = NIB_MERGE_COPY, .source = t,
                            .plan = { .name = t->name, .dtype = t->dtype, .rank = t->rank } };
    bool drop = false;
    nib_status status;

    if (t->foreign) return NIB_OK; /* divisors of angles: config.json has them */
    memcpy(item.plan.shape, t->shape, sizeof item.plan.shape);
    match(k, t, &item, &drop);
    if (drop) return NIB_OK;
    if (is_head_weight(k, t) ||
        (k->m->head && !k->m->tied && item.weight == k->m->head->weight))
        *head_written = true;
    if (!nib_dtype_bytes(item.plan.dtype))
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s has dtype %s, which cannot be written",
                        t->file, t->name, t->dtype_name);
    status = set_name(k, t, &item, err);
    return status ? status : append(k, &item, err);
}

/* The head that was the embedding, in the embedding's type. */
static nib_status add_head(maker *k, nib_error *err)
{
    const nib_embedding *e = k->m->embedding;
    nib_merge_item item = { .plan = { .dtype = base_weight(e->weight, e->frozen)->dtype } };
    nib_status status = keep_name(k, k->m->head->name, ".weight", &item.plan.name, err);

    if (status) return status;
    set_weight(&item, k->m->head->weight, false, nib_branch_at(&k->m->head->branches, 0));
    return append(k, &item, err);
}

/* A part of the classifier that the source has not, in the type of the layers. */
static nib_status add_new(maker *k, const nib_linear *l, nib_error *err)
{
    nib_merge_item weight = { .plan = { .dtype = k->plan.dtype } };
    nib_merge_item bias = { .plan = { .dtype = k->plan.dtype, .rank = 1,
                                      .shape = { l->weight->out } } };
    nib_status status = keep_name(k, l->name, ".weight", &weight.plan.name, err);

    if (!l->full)
        return nib_fail(err, NIB_E_MISMATCH,
                        "%s: %s is neither in its files nor in the adapter, which was trained "
                        "over random values of it: train with %s among modules_to_save",
                        k->m->dir, l->name, l->name);
    if (status) return status;
    set_weight(&weight, l->weight, false, nib_branch_at(&l->branches, 0));
    status = append(k, &weight, err);
    if (status || !l->bias) return status;
    set_vector(&bias, l->bias);
    status = keep_name(k, l->name, ".bias", &bias.plan.name, err);
    return status ? status : append(k, &bias, err);
}

/* The type of the weights of the layers, for config.json. */
static nib_dtype linear_dtype(const maker *k)
{
    const nib_linear *l = k->m->linears[0];

    return k->convert ? k->dtype : base_weight(l->weight, l->frozen)->dtype;
}

nib_status nib_merge_plan_make(nib_model *m, bool convert, nib_dtype dtype, nib_merge_plan *out,
                               nib_error *err)
{
    maker k = { .m = m, .convert = convert, .dtype = dtype };
    const char *embedding = base_weight(m->embedding->weight, m->embedding->frozen)->source;
    bool head_written = false;
    nib_status status = NIB_OK;

    k.plan.untied = head_differs(m);
    k.plan.keeps_experts = keeps_experts(&k);
    k.plan.dtype = linear_dtype(&k);
    /* Beside a head of its own, names without the prefix would no longer be understood. */
    k.add_prefix = (k.plan.untied || m->new_count) &&
                   strncmp(embedding, nib_config_prefix(m->config),
                           strlen(nib_config_prefix(m->config))) != 0;
    for (size_t i = 0; i < nib_tensors_count(m->tensors) && !status; i++)
        status = add_tensor(&k, nib_tensors_at(m->tensors, i), &head_written, err);
    if (!status && k.plan.untied && !head_written) status = add_head(&k, err);
    for (size_t i = 0; i < m->new_count && !status; i++)
        status = add_new(&k, m->new_linears[i], err);
    if (status) nib_merge_plan_free(m->ctx, &k.plan);
    else *out = k.plan;
    return status;
}

void nib_merge_plan_free(nib_ctx *ctx, nib_merge_plan *plan)
{
    for (size_t i = 0; i < plan->name_count; i++) nib_free(ctx, plan->names[i]);
    nib_free(ctx, plan->names);
    nib_free(ctx, plan->items);
    *plan = (nib_merge_plan){ 0 };
}
