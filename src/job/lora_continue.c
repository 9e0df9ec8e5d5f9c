/* lora_continue.c - options of LoraConfig beside an adapter that is trained further.
 *
 * PEFT takes all of them from the adapter's own file.  An option that asks for something else
 * would be without effect, and is an error. */
#include "job/lora_continue.h"

#include "adapter/peft_tokens.h"
#include "format/jsontext.h"
#include "job/lora_options.h"

/* The fields that choose modules: whether two configs agree on them is seen on the model. */
static const char *const choosing[] = { "target_modules", "exclude_modules", "layers_to_transform",
                                        "layers_pattern" };

typedef struct comparison {
    const nib_adapter *a;
    const nib_peft_config *has; /* the adapter's */
    nib_peft_config asked;
    nib_text found;             /* "r 16 (4), bias all (none)" */
} comparison;

static void put_names(nib_text *t, const nib_peft_names *n)
{
    if (n->kind == NIB_PEFT_NONE) nib_text_puts(t, "null");
    else if (n->kind == NIB_PEFT_ALL_LINEAR) nib_text_puts(t, "all-linear");
    else if (n->kind == NIB_PEFT_REGEX) nib_text_printf(t, "'%.200s'", n->names[0]);
    else nib_text_puts(t, "[");
    for (size_t i = 0; n->kind == NIB_PEFT_LIST && i < n->count; i++)
        nib_text_printf(t, "%s%.200s", i ? ", " : "", n->names[i]);
    if (n->kind == NIB_PEFT_LIST) nib_text_puts(t, "]");
}

static void put_pattern(nib_text *t, const nib_peft_pattern *p, size_t count)
{
    nib_text_puts(t, "{");
    for (size_t i = 0; i < count; i++)
        nib_text_printf(t, "%s%.200s: %g", i ? ", " : "", p[i].key, p[i].value);
    nib_text_puts(t, "}");
}

static void put_layers(nib_text *t, const nib_peft_config *c)
{
    nib_text_puts(t, "[");
    for (size_t i = 0; i < c->layers_count; i++)
        nib_text_printf(t, "%s%" PRId64, i ? ", " : "", c->layers[i]);
    nib_text_puts(t, "]");
}

static void put_tokens(nib_text *t, const nib_peft_config *c)
{
    if (!c->token_lists) nib_text_puts(t, "null");
    for (size_t i = 0; i < c->token_lists; i++) {
        const nib_peft_tokens *list = &c->tokens[i];
        if (i) nib_text_puts(t, ", ");
        if (list->module) nib_text_printf(t, "%.200s: ", list->module);
        nib_text_puts(t, "[");
        for (size_t k = 0; k < list->count; k++)
            nib_text_printf(t, "%s%" PRIu32, k ? ", " : "", list->ids[k]);
        nib_text_puts(t, "]");
    }
}

static void put_value(nib_text *t, const nib_peft_config *c, const char *key)
{
    static const char *const biases[] = { "none", "all", "lora_only" };

    if (strcmp(key, "r") == 0) nib_text_printf(t, "%" PRId64, c->r);
    else if (strcmp(key, "lora_alpha") == 0) nib_text_printf(t, "%g", c->lora_alpha);
    else if (strcmp(key, "lora_dropout") == 0) nib_text_printf(t, "%g", c->lora_dropout);
    else if (strcmp(key, "use_rslora") == 0) nib_text_puts(t, c->use_rslora ? "true" : "false");
    else if (strcmp(key, "use_dora") == 0) nib_text_puts(t, c->use_dora ? "true" : "false");
    else if (strcmp(key, "bias") == 0) nib_text_puts(t, biases[c->bias]);
    else if (strcmp(key, "init_lora_weights") == 0) nib_text_puts(t, c->init_lora_weights);
    else if (strcmp(key, "target_modules") == 0) put_names(t, &c->target_modules);
    else if (strcmp(key, "target_parameters") == 0) put_names(t, &c->target_parameters);
    else if (strcmp(key, "exclude_modules") == 0) put_names(t, &c->exclude_modules);
    else if (strcmp(key, "modules_to_save") == 0) put_names(t, &c->modules_to_save);
    else if (strcmp(key, "layers_pattern") == 0) put_names(t, &c->layers_pattern);
    else if (strcmp(key, "layers_to_transform") == 0) put_layers(t, c);
    else if (strcmp(key, "trainable_token_indices") == 0) put_tokens(t, c);
    else if (strcmp(key, "rank_pattern") == 0) put_pattern(t, c->rank_pattern, c->rank_count);
    else if (strcmp(key, "alpha_pattern") == 0) put_pattern(t, c->alpha_pattern, c->alpha_count);
}

/* The same value, lists of names as sets. */
static bool same_names(const nib_peft_names *x, const nib_peft_names *y)
{
    if (x->kind != y->kind || x->count != y->count) return x->count == 0 && y->count == 0;
    for (size_t i = 0; i < x->count; i++) {
        bool found = false;
        for (size_t k = 0; k < y->count && !found; k++)
            found = strcmp(x->names[i], y->names[k]) == 0;
        if (!found) return false;
    }
    return true;
}

static bool same_pattern(const nib_peft_pattern *x, size_t count, const nib_peft_pattern *y,
                         size_t other_count)
{
    if (count != other_count) return false;
    for (size_t i = 0; i < count; i++) /* in order: the first key that matches wins */
        if (strcmp(x[i].key, y[i].key) != 0 || x[i].value != y[i].value) return false;
    return true;
}

static bool same_layers(const nib_peft_config *x, const nib_peft_config *y)
{
    if (x->layers_count != y->layers_count) return false;
    for (size_t i = 0; i < x->layers_count; i++) {
        bool found = false;
        for (size_t k = 0; k < y->layers_count && !found; k++) found = x->layers[i] == y->layers[k];
        if (!found) return false;
    }
    return true;
}

static bool same_value(const nib_peft_config *x, const nib_peft_config *y, const char *key)
{
    if (strcmp(key, "r") == 0) return x->r == y->r;
    if (strcmp(key, "lora_alpha") == 0) return x->lora_alpha == y->lora_alpha;
    if (strcmp(key, "lora_dropout") == 0) return x->lora_dropout == y->lora_dropout;
    if (strcmp(key, "use_rslora") == 0) return x->use_rslora == y->use_rslora;
    if (strcmp(key, "use_dora") == 0) return x->use_dora == y->use_dora;
    if (strcmp(key, "bias") == 0) return x->bias == y->bias;
    if (strcmp(key, "init_lora_weights") == 0)
        return strcmp(x->init_lora_weights, y->init_lora_weights) == 0;
    if (strcmp(key, "target_modules") == 0)
        return same_names(&x->target_modules, &y->target_modules);
    if (strcmp(key, "target_parameters") == 0)
        return same_names(&x->target_parameters, &y->target_parameters);
    if (strcmp(key, "exclude_modules") == 0)
        return same_names(&x->exclude_modules, &y->exclude_modules);
    if (strcmp(key, "modules_to_save") == 0)
        return same_names(&x->modules_to_save, &y->modules_to_save);
    if (strcmp(key, "layers_pattern") == 0)
        return same_names(&x->layers_pattern, &y->layers_pattern);
    if (strcmp(key, "layers_to_transform") == 0) return same_layers(x, y);
    if (strcmp(key, "trainable_token_indices") == 0) return nib_peft_tokens_same(x, y);
    if (strcmp(key, "rank_pattern") == 0)
        return same_pattern(x->rank_pattern, x->rank_count, y->rank_pattern, y->rank_count);
    assert(strcmp(key, "alpha_pattern") == 0);
    return same_pattern(x->alpha_pattern, x->alpha_count, y->alpha_pattern, y->alpha_count);
}

/* Where nobody listed what was given: what is not PEFT's default. */
static bool is_given(const comparison *c, const nib_lora_options *o, const char *key)
{
    const nib_peft_config plain = nib_peft_config_default();

    if (!o->given) return !same_value(&c->asked, &plain, key);
    for (size_t i = 0; o->given[i]; i++)
        if (strcmp(o->given[i], key) == 0) return true;
    return false;
}

static void note_difference(comparison *c, const char *key)
{
    nib_text_puts(&c->found, c->found.bytes ? ", " : "");
    nib_text_printf(&c->found, "%s ", key);
    put_value(&c->found, &c->asked, key);
    nib_text_puts(&c->found, " (the adapter has ");
    put_value(&c->found, c->has, key);
    nib_text_puts(&c->found, ")");
}

/* Do the modules that `mixed` chooses have branches in the adapter, and no others? */
static nib_status chooses_same(const comparison *c, const nib_peft_config *mixed, bool *same,
                               nib_error *err)
{
    const nib_model *m = c->a->model;
    const char *const *defaults = m->config->arch->default_targets;
    nib_peft_matcher *match = NULL;
    size_t count = 0;
    nib_status status;

    while (defaults[count]) count++;
    *same = true;
    status = nib_peft_matcher_create(c->a->ctx, mixed, defaults, count, &match, err);
    for (size_t i = 0; i < m->linear_count && !status; i++) {
        const nib_linear *l = m->linears[i];
        bool yes = false, has = nib_branch_at(&l->branches, c->a->slot) != NULL;
        if (l->parameter) continue; /* target_parameters is compared as it is */
        status = nib_peft_match(match, nib_model_module(m, l->name), true, l == m->head, &yes, err);
        *same = *same && (yes && !nib_peft_saves(c->has, l->name)) == has;
    }
    for (size_t i = 0; i < m->embedding_count && !status; i++) {
        const nib_embedding *e = m->embeddings[i];
        bool yes = false, has = nib_branch_at(&e->branches, c->a->slot) != NULL;
        status = nib_peft_match(match, nib_model_module(m, e->name), false, false, &yes, err);
        *same = *same && (yes && !nib_peft_saves(c->has, e->name)) == has;
    }
    nib_peft_matcher_destroy(match);
    return status;
}

/* What chooses modules, given or else the adapter's own, against the modules it is on. */
static nib_status compare_choice(comparison *c, const nib_lora_options *o, nib_error *err)
{
    nib_peft_config mixed = *c->has; /* borrows from both */
    bool same = true, differs = false;
    nib_status status = NIB_OK;

    if (is_given(c, o, "target_modules")) mixed.target_modules = c->asked.target_modules;
    if (is_given(c, o, "exclude_modules")) mixed.exclude_modules = c->asked.exclude_modules;
    if (is_given(c, o, "layers_pattern")) mixed.layers_pattern = c->asked.layers_pattern;
    if (is_given(c, o, "layers_to_transform")) {
        mixed.layers = c->asked.layers;
        mixed.layers_count = c->asked.layers_count;
    }
    for (size_t i = 0; i < NIB_COUNT(choosing); i++)
        differs |= is_given(c, o, choosing[i]) && !same_value(&c->asked, c->has, choosing[i]);
    if (differs) status = chooses_same(c, &mixed, &same, err);
    for (size_t i = 0; i < NIB_COUNT(choosing) && !status && !same; i++)
        if (is_given(c, o, choosing[i]) && !same_value(&c->asked, c->has, choosing[i]))
            note_difference(c, choosing[i]);
    return status;
}

nib_status nib_lora_continues(const nib_adapter *a, const nib_lora_options *o, nib_error *err)
{
    static const char *const plain[] = { "r", "lora_alpha", "lora_dropout", "use_rslora",
                                         "use_dora", "bias", "init_lora_weights",
                                         "modules_to_save", "rank_pattern", "alpha_pattern",
                                         "trainable_token_indices", "target_parameters" };
    comparison c = { .a = a, .has = &a->config, .found = { .ctx = a->ctx } };
    nib_status status;

    status = nib_lora_config(a->ctx, o, &c.asked, err);
    if (status) return status;
    for (size_t i = 0; i < NIB_COUNT(plain); i++)
        if (is_given(&c, o, plain[i]) && !same_value(&c.asked, c.has, plain[i]))
            note_difference(&c, plain[i]);
    status = compare_choice(&c, o, err);
    if (status) goto done;
    if (c.found.failed) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", a->dir);
    else if (c.found.bytes)
        status = nib_fail(err, NIB_E_INVALID,
                          "%s: an adapter that is trained further keeps its own "
                          "adapter_config.json, and these options contradict it: %s; leave them "
                          "out, or leave out --adapter to train a new one",
                          a->dir, c.found.data);
done:
    nib_text_free(&c.found);
    nib_peft_config_free(a->ctx, &c.asked);
    return status;
}
