/* targets.c - see targets.h; PEFT's rules: formats.md 3.4, 3.5. */
#include "adapter/targets.h"

#include <stdio.h>

const char *const *nib_default_targets(const nib_config *config, size_t *count)
{
    const char *const *names = config->wrapper ? config->wrapper->default_targets
                                               : config->arch->default_targets;

    for (*count = 0; names[*count];) ++*count;
    return names;
}

/* All-linear, as the modules that it meant. */
static nib_status name_linears(nib_adapter *a, nib_error *err)
{
    nib_peft_names *t = &a->config.target_modules, named = { 0 };
    size_t count = 0, others = 0;
    size_t room = a->model->linear_count + a->model->norm_count + a->model->embedding_count;
    const char **targets = nib_new_array(a->ctx, room, sizeof *targets);
    nib_status status;

    if (!targets) return nib_fail(err, NIB_E_NOMEM, "adapter: out of memory");
    /* targets from the front, others from the back */
    for (size_t i = 0; i < a->model->linear_count; i++) {
        const nib_linear *l = a->model->linears[i];
        if (l->parameter) continue; /* no module */
        targets[nib_branch_at(&l->branches, a->slot) ? count++ : room - ++others] = l->name;
    }
    for (size_t i = 0; i < a->model->embedding_count; i++)
        targets[room - ++others] = a->model->embeddings[i]->name;
    for (size_t i = 0; i < a->model->norm_count; i++)
        targets[room - ++others] = a->model->norms[i]->name;
    status = nib_peft_condense(a->ctx, targets, count, targets + room - others, others, &named,
                               err);
    if (!status) {
        nib_peft_names_free(a->ctx, t);
        *t = named;
    }
    nib_free(a->ctx, targets);
    return status;
}

/* --- inside a wrapper --- */

enum { MOST_ENDS = 32, EXPRESSION_ROOM = 1200 };

/* The last parts of the modules' names that are targets, each once. */
typedef struct ends {
    const char *names[MOST_ENDS];
    size_t count;
} ends;

static const char *last_part(const char *module)
{
    const char *dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

static bool has_end(const ends *e, const char *module)
{
    for (size_t i = 0; i < e->count; i++)
        if (strcmp(e->names[i], last_part(module)) == 0) return true;
    return false;
}

/* Would the expression mean the module? */
static bool is_meant(const ends *e, const char *module)
{
    static const char inside[] = "language_model.";
    const char *at = strstr(module, inside);

    return at && strchr(at + strlen(inside), '.') && has_end(e, module);
}

/* The ends of all targets; false: too many, or the expression would not mean just the targets. */
static bool find_ends(const nib_adapter *a, ends *e)
{
    const nib_model *m = a->model;
    bool exact = true;

    *e = (ends){ .count = 0 };
    for (size_t i = 0; i < m->linear_count; i++) {
        const nib_linear *l = m->linears[i];
        if (l->parameter || !nib_branch_at(&l->branches, a->slot) || has_end(e, l->name)) continue;
        if (e->count == MOST_ENDS) return false;
        e->names[e->count++] = last_part(l->name);
    }
    for (size_t i = 0; i < m->linear_count; i++)
        exact &= m->linears[i]->parameter ||
                 is_meant(e, m->linears[i]->name) ==
                 (nib_branch_at(&m->linears[i]->branches, a->slot) != NULL);
    for (size_t i = 0; i < m->embedding_count; i++)
        exact &= is_meant(e, m->embeddings[i]->name) ==
                 (nib_branch_at(&m->embeddings[i]->branches, a->slot) != NULL);
    for (size_t i = 0; i < m->norm_count; i++) exact &= !is_meant(e, m->norms[i]->name);
    return exact && e->count;
}

static nib_status name_inside(nib_adapter *a, nib_error *err)
{
    char text[EXPRESSION_ROOM];
    const char *one = text;
    size_t used;
    ends e;

    /* PEFT takes layers_to_transform with lists alone */
    if (a->config.layers_count || !find_ends(a, &e)) return NIB_OK;
    used = (size_t)snprintf(text, sizeof text, ".*language_model\\..*\\.(");
    for (size_t i = 0; i < e.count && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i ? "|" : "",
                                 e.names[i]);
    if (used + 2 > sizeof text) return NIB_OK; /* the list means the same modules */
    snprintf(text + used, sizeof text - used, ")");
    return nib_peft_names_set(a->ctx, &a->config.target_modules, NIB_PEFT_REGEX, &one, 1, err);
}

nib_status nib_name_targets(nib_adapter *a, nib_error *err)
{
    nib_peft_names *t = &a->config.target_modules;
    size_t count;
    const char *const *defaults = nib_default_targets(a->model->config, &count);
    nib_status status = NIB_OK;

    if (t->kind == NIB_PEFT_REGEX) return NIB_OK;
    if (t->kind == NIB_PEFT_NONE && !count) return NIB_OK; /* target_parameters alone */
    if (t->kind == NIB_PEFT_NONE)
        status = nib_peft_names_set(a->ctx, t, NIB_PEFT_LIST, defaults, count, err);
    else if (t->kind == NIB_PEFT_ALL_LINEAR)
        status = name_linears(a, err);
    if (!status && a->model->config->wrapper) status = name_inside(a, err);
    return status;
}
