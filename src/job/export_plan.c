/* export_plan.c - see export_plan.h. */
#include "job/export_plan.h"

#include <math.h>
#include <stdio.h>

#include "format/tensor_values.h"
#include "model/gguf_listed.h"

typedef struct maker {
    const nib_model *m;
    const nib_gguf_naming *n;
    const nib_export_type *type;
    const nib_importances *importances; /* NULL: none */
    nib_export_mix mix;
    bool untied;  /* the head is written, though it was the embedding */
    nib_export_plan plan;
} maker;

static nib_status append(maker *k, const nib_export_item *item, nib_error *err)
{
    nib_export_plan *p = &k->plan;

    if (!nib_grow(k->m->ctx, &p->items, &p->capacity, p->count + 1, sizeof *p->items))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory for the list of tensors", k->m->dir);
    p->items[p->count++] = *item;
    if (item->weight) p->widest = nib_max(p->widest, item->weight->in);
    return NIB_OK;
}

/* "blk.0.attn_q.weight" of a tensor. */
static nib_status find_name(const maker *k, const char *tensor, nib_gguf_tensor_name *out,
                            nib_error *err)
{
    if (nib_gguf_tensor_of(k->n, tensor, out)) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: GGUF's %s has no place for %s", k->m->dir,
                    k->n->family->architecture, tensor);
}

static void set_name(nib_export_item *item, const char *name, nib_gguf_held held)
{
    snprintf(item->name, sizeof item->name, "%s", name);
    item->held = held;
}

/* Of a module's part that is one tensor there. */
static nib_status name_item(const maker *k, const char *module, const char *part,
                            nib_export_item *item, nib_error *err)
{
    nib_gguf_tensor_name found;
    char tensor[NIB_MODULE_NAME_ROOM + 8];
    nib_status status;

    snprintf(tensor, sizeof tensor, "%s%s", module, part);
    status = find_name(k, tensor, &found, err);
    if (!status) set_name(item, found.name, found.held);
    return status;
}

/* What its blocks are weighed by; Q8_0's and MXFP4's are not. */
static nib_status set_importance(maker *k, nib_export_item *item, bool outside, nib_error *err)
{
    const nib_importance *e;
    size_t want = (size_t)item->shape[item->rank - 1];

    if (!k->importances || item->type->dtype != NIB_DTYPE_OTHER ||
        (strcmp(item->type->name, "Q8_0") == 0 && !item->open) ||
        strcmp(item->type->name, "MXFP4") == 0)
        return NIB_OK;
    e = nib_importance_of(k->importances, item->name);
    if (!e) k->plan.unimportant += !outside;
    if (!e) return NIB_OK;
    if (strstr(item->name, "_exps.")) want *= nib_gguf_experts(k->m->graph);
    if (item->heads) want *= (size_t)item->shape[0];
    if (e->count != want)
        return nib_fail(err, NIB_E_MISMATCH, "%s: the importances of %s are %zu, expected one of "
                        "each of %zu inputs", k->m->dir, item->name, e->count, want);
    item->importance = e->values;
    return NIB_OK;
}

static const nib_gguf_type *matrix_type(maker *k, const nib_export_item *item, bool head)
{
    return nib_export_mix_next(&k->mix, item->name, item->weight, item->branch != NULL,
                               (size_t)item->shape[item->rank - 1], head);
}

/* Is its type to be chosen later? */
static bool is_open(const maker *k, const nib_export_item *item)
{
    return k->type->mix == NIB_EXPORT_ALLOTTED && strcmp(item->type->name, "Q8_0") == 0;
}

/* Whether what is moved has as many rows, or columns, as the heads have. */
static nib_status check_rows(const maker *k, const char *module, const nib_weight *w,
                             nib_gguf_held held, nib_error *err)
{
    const nib_gguf_heads *h = &k->n->heads;
    bool columns = nib_gguf_reorders_columns(h, held);
    size_t count = columns ? w->in : w->out;
    char sizes[160];

    if ((!columns && !nib_gguf_reorders(h, held)) || nib_gguf_rows_fit(h, held, count))
        return NIB_OK;
    nib_gguf_heads_text(h, held, sizes);
    return nib_fail(err, NIB_E_MISMATCH, "%s: %s has %zu %s, which are not those of %s", k->m->dir,
                    module, count, columns ? "columns" : "rows", sizes);
}

static nib_status add_matrix(maker *k, const char *module, const nib_weight *w,
                             const nib_branch *branch, bool columns, bool head, nib_error *err)
{
    nib_export_item item = { .rank = 2, .shape = { w->out, w->in }, .weight = w, .branch = branch,
                             .row_step = 1, .columns = columns };
    nib_status status = name_item(k, module, ".weight", &item, err);

    if (status) return status;
    status = check_rows(k, module, w, item.held, err);
    if (status) return status;
    if (item.held == NIB_GGUF_FROM_FIRST) {
        item.first_row = nib_gguf_first_position(k->m->graph);
        item.shape[0] -= item.first_row;
    }
    item.fold = nib_gguf_fold_of(k->n, k->m, item.name);
    item.folds = nib_gguf_folds(&item.fold);
    item.type = matrix_type(k, &item, head);
    item.open = is_open(k, &item) && !head;
    status = set_importance(k, &item, columns || head, err);
    return status ? status : append(k, &item, err);
}

/* The tensor that the expert's matrix is the next slice of; NULL: a new one. */
static nib_export_item *item_of_experts(const maker *k, const char *name)
{
    const nib_export_plan *p = &k->plan;

    for (size_t i = p->count, back = 0; i-- && back < 8; back++)
        if (strcmp(p->items[i].name, name) == 0) return &p->items[i];
    return NULL;
}

static nib_status no_list(const maker *k, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory for the list of tensors", k->m->dir);
}

/* A tensor of the linear's rows, or of half of them (part 0, 1), with room for the other experts'
 * behind them. */
static nib_status add_rows(maker *k, const nib_linear *l, const nib_gguf_tensor_name *name,
                           int part, nib_error *err)
{
    bool turns = name->held == NIB_GGUF_TURNS, halves = *name->rest != 0;
    size_t rows = l->weight->out / (halves ? 2 : 1);
    const nib_branch *branch = nib_branch_at(&l->branches, 0);
    nib_export_item item = { .rank = 2, .shape = { rows, l->weight->in }, .weight = l->weight,
                             .branch = branch, .row_step = turns ? 2 : 1 };
    nib_status status;

    if (halves && l->weight->out % 2)
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has %zu rows, which are not two parts",
                        k->m->dir, l->name, l->weight->out);
    if (part) item.first_row = turns ? 1 : rows;
    set_name(&item, part ? name->rest : name->name, name->held);
    item.type = matrix_type(k, &item, false);
    item.open = is_open(k, &item);
    status = set_importance(k, &item, false, err);
    return status ? status : append(k, &item, err);
}

/* Keys (part 0) or values of all heads, whose rows lie by turns in the linear's. */
static nib_status add_heads(maker *k, const nib_linear *l, const nib_gguf_tensor_name *name,
                            int part, nib_error *err)
{
    const nib_attention_desc *a = nib_gguf_attention(k->m->graph);
    size_t out = l->weight->out, in = l->weight->in, values = a->v_dim, keys;
    nib_export_item item = { .rank = 3, .weight = l->weight, .row_step = 1, .heads = true,
                             .turned = !part, .branch = nib_branch_at(&l->branches, 0) };
    nib_status status;

    if (out % a->heads || !values || values >= out / a->heads)
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has %zu rows, which are not those of %zu "
                        "heads' keys and %zu values", k->m->dir, l->name, out, a->heads, values);
    keys = out / a->heads - values;
    item.shape[0] = a->heads;
    item.shape[1] = part ? values : in;
    item.shape[2] = part ? in : keys;
    item.first_row = part ? keys : 0;
    set_name(&item, part ? name->rest : name->name, name->held);
    item.type = matrix_type(k, &item, false);
    status = set_importance(k, &item, false, err);
    return status ? status : append(k, &item, err);
}

/* All q, k and v (part 0) or z of key heads' groups. */
static nib_status add_groups(maker *k, const nib_linear *l, const nib_gguf_tensor_name *name,
                             int part, nib_error *err)
{
    size_t first = (size_t)nib_gguf_group_rows(&k->n->heads);
    nib_export_item item = { .rank = 2, .weight = l->weight, .row_step = 1,
                             .branch = nib_branch_at(&l->branches, 0) };
    nib_status status = check_rows(k, l->name, l->weight, name->held, err);

    if (status) return status;
    item.shape[0] = part ? l->weight->out - first : first;
    item.shape[1] = l->weight->in;
    item.first_place = part ? first : 0;
    set_name(&item, part ? name->rest : name->name, name->held);
    item.type = matrix_type(k, &item, false);
    item.open = is_open(k, &item);
    status = set_importance(k, &item, false, err);
    return status ? status : append(k, &item, err);
}

/* An expert's matrix, behind those of the ones before it. */
static nib_status add_slice(maker *k, const nib_linear *l, const nib_gguf_tensor_name *name,
                            int part, nib_error *err)
{
    nib_export_item *item = item_of_experts(k, part ? name->rest : name->name);
    nib_status status;

    if (!item) {
        status = add_rows(k, l, name, part, err);
        if (status) return status;
        item = &k->plan.items[k->plan.count - 1];
        item->rank = 3;
        item->shape[2] = item->shape[1];
        item->shape[1] = item->shape[0];
        item->shape[0] = 0;
    }
    if (!nib_grow(k->m->ctx, &item->experts, &item->expert_capacity, (size_t)item->shape[0] + 1,
                  sizeof *item->experts))
        return no_list(k, err);
    item->experts[item->shape[0]++] = l;
    return NIB_OK;
}

/* The biases of all experts, in one tensor or two; l is the first one's linear, and the others'
 * follow it. */
static nib_status add_biases(maker *k, const nib_linear *const *l, nib_error *err)
{
    size_t experts = nib_gguf_experts(k->m->graph), out = l[0]->weight->out;
    nib_gguf_tensor_name name;
    char tensor[NIB_MODULE_NAME_ROOM + 8];
    nib_status status;

    snprintf(tensor, sizeof tensor, "%s_bias", l[0]->stack);
    status = find_name(k, tensor, &name, err);
    for (int part = 0; part < (*name.rest ? 2 : 1) && !status; part++) {
        bool halves = *name.rest != 0, turns = name.held == NIB_GGUF_TURNS;
        size_t rows = halves ? out / 2 : out, first = !part ? 0 : turns ? 1 : rows;
        nib_export_item item = { .type = nib_gguf_type_named("F32"), .rank = 2,
                                 .shape = { experts, rows } };
        item.values = item.made = nib_new_array(k->m->ctx, experts * rows, sizeof *item.made);
        if (!item.made) return no_list(k, err);
        for (size_t i = 0; i < experts * rows; i++)
            item.made[i] = l[i / rows]->bias[first + i % rows * (turns ? 2 : 1)];
        set_name(&item, part ? name.rest : name.name, NIB_GGUF_AS_IS);
        status = append(k, &item, err);
        if (status) nib_free(k->m->ctx, item.made);
    }
    return status;
}

/* Linear i, unless it is an ordinary one (*done false). */
static nib_status add_expert(maker *k, size_t i, bool *done, nib_error *err)
{
    const nib_linear *l = k->m->linears[i];
    nib_gguf_tensor_name name;
    bool found = nib_gguf_weight_of(k->n, l, &name), experts = nib_gguf_is_expert(k->n, l);
    nib_status status = NIB_OK;

    *done = experts || (found && *name.rest);
    if (!*done) return NIB_OK;
    if (!found)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: GGUF's %s has no place for %s", k->m->dir,
                        k->n->family->architecture, l->stack ? l->stack : l->name);
    for (int part = 0; part < (*name.rest ? 2 : 1) && !status; part++)
        status = (experts                             ? add_slice
                  : name.held == NIB_GGUF_LATENT     ? add_heads
                  : name.held == NIB_GGUF_KEY_GROUPS ? add_groups
                                                     : add_rows)(k, l, &name, part, err);
    if (!status && l->stack && l->bias && l->slice == 0)
        status = add_biases(k, (const nib_linear *const *)k->m->linears + i, err);
    return status;
}

static nib_status add_values(maker *k, const char *module, const char *part, const float *values,
                             size_t rows, size_t count, nib_error *err)
{
    nib_export_item item = { .rank = rows ? 2 : 1, .shape = { count }, .values = values,
                             .type = nib_gguf_type_named("F32") };
    nib_status status;

    if (!values) return NIB_OK;
    if (rows) item.shape[0] = rows, item.shape[1] = count / rows;
    status = name_item(k, module, part, &item, err);
    if (item.held == NIB_GGUF_ONE_PLUS && strcmp(part, ".weight") == 0) item.offset = 1;
    if (item.held == NIB_GGUF_FLAT && item.rank == 1) { /* one group */
        item.rank = 2;
        item.shape[1] = item.shape[0];
        item.shape[0] = 1;
    }
    return status ? status : append(k, &item, err);
}

/* As the model's own files hold it, without dimensions of one. */
static nib_status add_vector(maker *k, const nib_vector *v, nib_error *err)
{
    const nib_model *m = k->m;
    const nib_tensor *t = nib_model_tensor(m->tensors, m->config, v->name);
    const char *part = strrchr(v->name, '.');
    nib_export_item item = { .type = nib_gguf_type_named("F32") };
    char module[NIB_MODULE_NAME_ROOM];
    nib_tensor held;
    nib_status status;

    if (!t || !part || t->dtype > NIB_BF16 || v->param)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s is not what its files hold", m->dir,
                        v->name);
    if (nib_gguf_listed_of(k->n->family, v->name)) return NIB_OK; /* it is among the keys */
    snprintf(module, sizeof module, "%.*s", (int)(part - v->name), v->name);
    status = name_item(k, module, part, &item, err);
    if (status) return status;
    for (unsigned i = 0; i < t->rank; i++)
        if (t->shape[i] != 1 && item.rank < 2) item.shape[item.rank++] = t->shape[i];
    if (!item.rank) item.shape[item.rank++] = 1;
    if (item.held == NIB_GGUF_FLAT || item.held == NIB_GGUF_DECAY) {
        item.rank = 2;
        item.shape[0] = t->elements;
        item.shape[1] = 1;
    }
    if (nib_gguf_reorders(&k->n->heads, item.held) &&
        !nib_gguf_rows_fit(&k->n->heads, item.held, t->shape[0]))
        return nib_fail(err, NIB_E_MISMATCH, "%s: %s has %" PRIu64 " rows, which are not those of "
                        "its heads", m->dir, v->name, t->shape[0]);
    held = *t;
    item.values = item.made = nib_new_array(m->ctx, (size_t)t->elements, sizeof *item.made);
    if (!item.made) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", v->name);
    held.decay &= !nib_gguf_decays(item.held); /* it is so there already */
    nib_tensor_values(&held, 0, (size_t)t->elements, item.made);
    for (uint64_t i = 0; nib_gguf_decays(item.held) && !t->decay && i < t->elements; i++)
        item.made[i] = -expf(item.made[i]);
    status = append(k, &item, err);
    if (status) nib_free(m->ctx, item.made);
    return status;
}

/* Is the tied head another matrix than the embedding by now? */
static bool head_differs(const nib_model *m)
{
    return m->tied && (m->embedding->branches.count || m->head->branches.count ||
                       m->embedding->full || m->head->full);
}

static nib_status add_modules(maker *k, nib_error *err)
{
    const nib_model *m = k->m;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < m->embedding_count && !status; i++) {
        const nib_embedding *e = m->embeddings[i];
        status = add_matrix(k, e->name, e->weight, nib_branch_at(&e->branches, 0), true,
                            m->tied && !k->untied, err);
    }
    for (size_t i = 0; i < m->linear_count && !status; i++) {
        const nib_linear *l = m->linears[i];
        bool done;
        status = add_expert(k, i, &done, err);
        if (status || done) continue;
        if (l != m->head || !m->tied || k->untied)
            status = add_matrix(k, l->name, l->weight, nib_branch_at(&l->branches, 0), false,
                                l == m->head, err);
        if (!status) status = add_values(k, l->name, ".bias", l->bias, 0, l->weight->out, err);
    }
    for (size_t i = 0; i < m->norm_count && !status; i++) {
        const nib_norm *n = m->norms[i];
        if (n->weights == NIB_NORM_BARE) continue;
        status = add_values(k, n->name, n->weights == NIB_NORM_SCALE ? ".scale" : ".weight",
                            n->weight, n->rows, n->width, err);
        if (!status) status = add_values(k, n->name, ".bias", n->bias, n->rows, n->width, err);
    }
    for (size_t i = 0; i < m->vector_count && !status; i++)
        status = add_vector(k, m->vectors[i], err);
    return status;
}

nib_status nib_export_plan_make(const nib_model *m, const nib_gguf_naming *n,
                                const nib_export_type *type, const nib_gguf_keys_out *keys,
                                const nib_importances *importances, nib_export_plan *out,
                                nib_error *err)
{
    maker k = { .m = m, .n = n, .type = type, .importances = importances,
                .untied = head_differs(m) || n->family->own_head,
                .plan = { .heads = n->heads } };
    nib_status status = NIB_OK;

    nib_export_mix_begin(&k.mix, m, n, type, importances != NULL);
    if (type->mix == NIB_EXPORT_EXPERTS && !nib_gguf_experts(m->graph))
        status = nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s is the type of experts, and there are "
                          "none", m->dir, type->name);
    if (!status) status = add_modules(&k, err);
    k.plan.fallbacks = k.mix.fallbacks;

    for (size_t i = 0; i < keys->divisor_count && !status; i++) {
        nib_export_item item = { .rank = 1, .shape = { keys->divisors[i].count },
                                 .values = keys->divisors[i].values,
                                 .type = nib_gguf_type_named("F32") };
        snprintf(item.name, sizeof item.name, "%s", keys->divisors[i].name);
        status = append(&k, &item, err);
    }
    if (status) nib_export_plan_free(m->ctx, &k.plan);
    else *out = k.plan;
    return status;
}

size_t nib_export_row_of(const nib_export_plan *plan, const nib_export_item *item, size_t at)
{
    if (item->held == NIB_GGUF_KEY_GROUPS)
        return (size_t)nib_gguf_group_row_at(&plan->heads, item->first_place + at);
    return item->first_row + at * item->row_step;
}

void nib_export_plan_free(nib_ctx *ctx, nib_export_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        nib_free(ctx, plan->items[i].experts);
        nib_free(ctx, plan->items[i].made);
    }
    nib_free(ctx, plan->items);
    *plan = (nib_export_plan){ 0 };
}
