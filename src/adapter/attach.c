/* attach.c - which module gets which parameter (formats.md 3.4, 3.6). */
#include "adapter/attach.h"

#include <math.h>
#include <stdio.h>

#include "adapter/stacks.h"
#include "adapter/tokens.h"
#include "base/hash.h"
#include "graph/magnitude.h"

enum { NAME_ROOM = 640 };

static nib_status no_memory(const char *name, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
}

static nib_param *add_param(nib_adapter *a, nib_param_kind kind, const char *module,
                            const char *suffix, size_t rows, size_t cols)
{
    char name[NAME_ROOM];
    nib_param *p;

    snprintf(name, sizeof name, NIB_PEFT_PREFIX "%s%s", nib_model_module(a->model, module), suffix);
    p = nib_params_add(a->ctx, &a->params, name, rows, cols);
    if (!p) return NULL;
    p->kind = kind;
    p->wants_grad = a->trains;
    return p;
}

/* --- low-rank branches --- */

/* DoRA's, of what comes out of the branch's module. */
static nib_status attach_magnitude(nib_adapter *a, const char *module, nib_branch *to,
                                   nib_error *err)
{
    nib_param *p = add_param(a, NIB_PARAM_MAGNITUDE, module, ".lora_magnitude_vector", 1,
                             to->b->rows);

    return p && nib_magnitude_attach(a->ctx, to, p) ? NIB_OK : no_memory(module, err);
}

/* known: the name by which patterns know the module. */
static nib_status attach_branch(nib_adapter *a, const char *module, const char *known,
                                nib_branches *table, size_t in, size_t out, bool embedding,
                                nib_error *err)
{
    const char *suffix_a = embedding ? ".lora_embedding_A" : ".lora_A.weight";
    const char *suffix_b = embedding ? ".lora_embedding_B" : ".lora_B.weight";
    nib_branch branch = { .dropout = (float)a->config.lora_dropout,
                          .key = nib_fnv1a(module, strlen(module)) }, *to;
    int64_t rank;
    double alpha;
    nib_status status = nib_peft_rank(a->match, known, &rank, &alpha, err);

    if (status) return status;
    branch.scale = (float)(alpha / (a->config.use_rslora ? sqrt((double)rank) : (double)rank));
    branch.a = add_param(a, embedding ? NIB_PARAM_LORA_EMBEDDING : NIB_PARAM_LORA_A, module,
                         suffix_a, (size_t)rank, in);
    if (!branch.a) return no_memory(module, err);
    branch.b = add_param(a, embedding ? NIB_PARAM_LORA_EMBEDDING : NIB_PARAM_LORA_B, module,
                         suffix_b, out, (size_t)rank);
    if (!branch.b) return no_memory(module, err);
    to = nib_branch_add(a->ctx, table, a->slot);
    if (!to) return no_memory(module, err);
    *to = branch;
    return a->config.use_dora ? attach_magnitude(a, module, to, err) : NIB_OK;
}

/* --- full copies --- */

/* A dense float weight over the parameter's value, which gets the frozen weight's values. */
static nib_status copy_weight(nib_adapter *a, const nib_weight *frozen, nib_param *p,
                              nib_weight **out, nib_error *err)
{
    nib_status status;

    nib_weight_decode(frozen, 0, frozen->out, p->value);
    if (!nib_grow(a->ctx, &a->copies, &a->copy_capacity, a->copy_count + 1, sizeof *a->copies))
        return no_memory(p->name, err);
    status = nib_weight_dense(a->ctx, frozen->out, frozen->in, NIB_F32, p->value, NULL, out, err);
    if (!status) a->copies[a->copy_count++] = *out;
    return status;
}

nib_status nib_attach_full_linear(nib_adapter *a, nib_linear *l, const char *suffix,
                                  nib_error *err)
{
    nib_weight *copy;
    nib_status status;

    l->full = add_param(a, NIB_PARAM_LINEAR, l->name, suffix, l->weight->out, l->weight->in);
    if (!l->full) return no_memory(l->name, err);
    l->full->across = l->transposed;
    status = copy_weight(a, l->weight, l->full, &copy, err);
    if (status) return status;
    l->frozen = l->weight;
    l->weight = copy;
    return NIB_OK;
}

nib_status nib_attach_full_embedding(nib_adapter *a, nib_embedding *e, const char *suffix,
                                     nib_error *err)
{
    nib_weight *copy;
    nib_status status;

    e->full = add_param(a, NIB_PARAM_EMBEDDING, e->name, suffix, e->weight->out, e->weight->in);
    if (!e->full) return no_memory(e->name, err);
    status = copy_weight(a, e->weight, e->full, &copy, err);
    if (status) return status;
    e->frozen = e->weight;
    e->weight = copy;
    return NIB_OK;
}

nib_status nib_attach_bias(nib_adapter *a, nib_linear *l, const char *suffix, nib_error *err)
{
    nib_param *p = l->bias_name ? add_param(a, NIB_PARAM_BIAS, l->bias_name, "", 1, l->weight->out)
                                : add_param(a, NIB_PARAM_BIAS, l->name, suffix, 1, l->weight->out);

    if (!p) return no_memory(l->name, err);
    memcpy(p->value, l->bias, l->weight->out * sizeof(float));
    l->bias_param = p;
    l->frozen_bias = l->bias;
    l->bias = p->value;
    return NIB_OK;
}

static nib_status attach_norm(nib_adapter *a, nib_norm *n, bool weight, bool bias,
                              nib_error *err)
{
    if (weight && n->weights == NIB_NORM_BARE) return NIB_OK; /* there is nothing to be saved */
    if (weight && n->weights == NIB_NORM_SCALE)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "modules_to_save: %s has a scale of its own, which is not trained",
                        n->name);
    if (weight && n->rows)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "modules_to_save: %s has a weight for each of %zu heads, which is not "
                        "trained", n->name, n->rows);
    if (weight) {
        nib_param_kind kind = n->bias ? NIB_PARAM_LAYER_NORM : NIB_PARAM_RMS_NORM;
        n->weight_param = add_param(a, kind, n->name, ".weight", 1, n->width);
        if (!n->weight_param) return no_memory(n->name, err);
        memcpy(n->weight_param->value, n->weight, n->width * sizeof(float));
        n->frozen_weight = n->weight;
        n->weight = n->weight_param->value;
    }
    if (bias) {
        n->bias_param = add_param(a, NIB_PARAM_BIAS, n->name, ".bias", 1, n->width);
        if (!n->bias_param) return no_memory(n->name, err);
        memcpy(n->bias_param->value, n->bias, n->width * sizeof(float));
        n->frozen_bias = n->bias;
        n->bias = n->bias_param->value;
    }
    return NIB_OK;
}

/* --- modules --- */

/* Of a module saved whole PEFT trains a copy, its bias too; with bias "all" it stores M.bias,
 * M.modules_to_save.bias and M.original_module.bias (peft 0.21.2). */
static nib_status check_saved_bias(const nib_adapter *a, const char *module, const float *bias,
                                   nib_error *err)
{
    if (!bias || a->config.bias != NIB_PEFT_BIAS_ALL) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: bias all with modules_to_save %s, which has a bias: PEFT then stores that "
                    "bias under three names, which is not taken; leave out one of the two",
                    a->dir ? a->dir : "adapter", module);
}

/* PEFT's ensure_weight_tying: where the embedding and the head are one tensor, and the targets name
 * one of them by embed_tokens or lm_head (its EMBEDDING_LAYER_NAMES), both get the same adapter,
 * the head the embedding's transposed.  Files hold both. */
static nib_status is_tied_target(const nib_adapter *a, bool *yes, nib_error *err)
{
    static const char *const known[] = { "embed_tokens", "lm_head" };
    const nib_peft_names *targets = &a->config.target_modules;
    nib_status status = NIB_OK;

    *yes = false;
    if (!a->config.ensure_weight_tying || !a->model->tied) return NIB_OK;
    for (size_t k = 0; k < NIB_COUNT(known) && !status && !*yes; k++) {
        if (targets->kind == NIB_PEFT_REGEX)
            status = nib_peft_match(a->match, known[k], false, false, yes, err);
        for (size_t i = 0; targets->kind == NIB_PEFT_LIST && i < targets->count; i++) {
            const char *dot = strrchr(targets->names[i], '.');
            *yes |= strcmp(dot ? dot + 1 : targets->names[i], known[k]) == 0;
        }
    }
    return status;
}

/* Two parameters that are one in PEFT would part when trained. */
static nib_status check_tied(const nib_adapter *a, nib_error *err)
{
    bool saved = nib_peft_saves(&a->config, a->model->embedding->name) ||
                 (a->model->head && nib_peft_saves(&a->config, a->model->head->name));
    bool target;
    nib_status status = a->model->head ? is_tied_target(a, &target, err) : NIB_OK;

    if (!status && a->model->head && target && a->config.use_dora)
        status = nib_fail(err, NIB_E_UNSUPPORTED,
                          "%s: ensure_weight_tying with use_dora: %s and %s would have one adapter "
                          "and norms of their own; leave out one of the two",
                          a->dir ? a->dir : "adapter", a->model->embedding->name,
                          a->model->head->name);
    if (status || !a->model->head || !a->trains || !a->config.ensure_weight_tying ||
        !a->model->tied || a->config.whole)
        return status;
    if (!target && !saved) return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: ensure_weight_tying makes the adapters of %s and %s one, which is "
                    "evaluated, merged and generated with but not trained further",
                    a->dir ? a->dir : "adapter", a->model->embedding->name, a->model->head->name);
}

static nib_status attach_embedding(nib_adapter *a, nib_embedding *e, nib_error *err)
{
    bool target, tied = false;
    nib_status status = nib_peft_match(a->match, nib_model_module(a->model, e->name), false, false,
                                       &target, err);

    if (!status && e == a->model->embedding) status = is_tied_target(a, &tied, err);
    if (status) return status;
    target |= tied;
    if (nib_peft_saves(&a->config, e->name))
        return nib_attach_full_embedding(a, e, ".weight", err);
    if (!target) return NIB_OK;
    return attach_branch(a, e->name, e->name, &e->branches, e->weight->out, e->weight->in, true,
                         err);
}

bool nib_attach_tied_head(nib_adapter *a)
{
    const nib_embedding *e = a->model->embedding;
    nib_linear *h = a->model->head;

    if (!a->config.ensure_weight_tying || !a->model->tied || !h || h->full || !e->full ||
        h->weight != e->frozen)
        return false;
    h->full = e->full;
    h->frozen = h->weight;
    h->weight = e->weight;
    return true;
}

/* A bare parameter of the reference. */
static nib_status attach_parameter(nib_adapter *a, nib_linear *l, nib_error *err)
{
    const char *tensor = nib_stack_target(&a->config, l);
    nib_status status;

    if (l->bias && a->config.bias == NIB_PEFT_BIAS_ALL)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "bias all: the bias of %s, which is no module's but a parameter of its "
                        "own, is not trained; use lora_only or none",
                        l->stack ? l->stack : l->name);
    if (!tensor) return NIB_OK;
    status = nib_stacks_add(a, l, tensor, err);
    if (status) return status;
    return attach_branch(a, l->name, tensor, &l->branches, l->weight->in, l->weight->out, false,
                         err);
}

static nib_status refuse_bypassed(const nib_linear *l, nib_error *err)
{
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "target_modules: %s has no adapter in PEFT, because the reference's kernels "
                    "read its weight past the module; leave it out (all-linear does)", l->name);
}

static nib_status attach_linear(nib_adapter *a, nib_linear *l, nib_error *err)
{
    bool shared = a->config.whole && a->model->tied && l == a->model->head;
    bool target, saved = shared || nib_peft_saves(&a->config, l->name), tied = false;
    /* the module's own */
    const float *bias = l->bias_name && !a->config.whole ? NULL : l->bias;
    nib_status status;

    if (l->parameter) return attach_parameter(a, l, err);
    status = nib_peft_match(a->match, nib_model_module(a->model, l->name),
                            !l->router && !l->bypassed, l == a->model->head, &target, err);
    if (!status && target && l->bypassed) return refuse_bypassed(l, err);
    if (!status && l == a->model->head) status = is_tied_target(a, &tied, err);
    if (status) return status;
    target |= tied;
    if (saved) {
        status = check_saved_bias(a, l->name, bias, err);
        if (status) return status;
        if (!shared || !nib_attach_tied_head(a))
            status = nib_attach_full_linear(a, l, ".weight", err);
        if (!status && bias) status = nib_attach_bias(a, l, ".bias", err);
        return status;
    }
    if (target) {
        status = attach_branch(a, l->name, l->name, &l->branches, l->weight->in, l->weight->out,
                               false, err);
        if (status) return status;
    }
    if (l->bias_name && a->config.bias == NIB_PEFT_BIAS_ALL)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "bias all: %s, which is no module's bias but a parameter of its own, is "
                        "not trained; use lora_only or none", l->bias_name);
    if (bias && (a->config.bias == NIB_PEFT_BIAS_ALL ||
                 (a->config.bias == NIB_PEFT_BIAS_LORA_ONLY && target)))
        status = nib_attach_bias(a, l, target ? ".base_layer.bias" : ".bias", err);
    return status;
}

/* Full copies and biases change the module itself: only one adapter can have them. */
static nib_status check_slot(const nib_adapter *a, nib_error *err)
{
    if (a->slot == 0 ||
        (a->config.bias == NIB_PEFT_BIAS_NONE && a->config.modules_to_save.count == 0 &&
         a->config.token_lists == 0))
        return NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: biases, modules_to_save or trainable_token_indices, which only the first "
                    "of several adapters may have",
                    a->dir ? a->dir : "adapter");
}

/* What PEFT would give to modules that are no linears here: it adapts convolutions too, saves
 * modules whole, and trains every parameter with "bias" in its name. */
static nib_status check_vector(const nib_adapter *a, const char *tensor, nib_error *err)
{
    char module[640];
    const char *dot = strrchr(tensor, '.');
    bool target;
    nib_status status;

    snprintf(module, sizeof module, "%.*s", (int)(dot ? dot - tensor : 0), tensor);
    status = nib_peft_match(a->match, module, false, false, &target, err);
    if (!status && (target || nib_peft_saves(&a->config, module)))
        status = nib_fail(err, NIB_E_UNSUPPORTED,
                          "%s: %s is a convolution or a recurrence, which stays as it is; name the "
                          "linears around it",
                          target ? "target_modules" : "modules_to_save", module);
    if (!status && a->config.bias == NIB_PEFT_BIAS_ALL && strstr(dot ? dot : tensor, "bias"))
        status = nib_fail(err, NIB_E_UNSUPPORTED,
                          "bias all: %s would be trained, which is not known of a convolution or a "
                          "recurrence; set bias to lora_only or none",
                          tensor);
    return status;
}

/* --- names that mean nothing --- */

static bool means(const char *name, const char *module, bool dotted)
{
    size_t n = strlen(name), m = strlen(module);

    for (; !dotted && m > n; m--) /* a module that this one lies in */
        if ((!module[m] || module[m] == '.') && strncmp(module + m - n, name, n) == 0) return true;
    if (n > m || strncmp(module + m - n, name, n) != 0) return false;
    return !dotted || n == m || module[m - n - 1] == '.';
}

static bool means_any(const nib_model *m, const char *name, bool dotted)
{
    for (size_t i = 0; i < m->embedding_count; i++)
        if (means(name, m->embeddings[i]->name, dotted)) return true;
    for (size_t i = 0; i < m->linear_count; i++)
        if (means(name, m->linears[i]->name, dotted)) return true;
    for (size_t i = 0; i < m->norm_count; i++)
        if (means(name, m->norms[i]->name, dotted)) return true;
    return false;
}

/* PEFT names both for every classifier. */
static bool is_default_saved(const char *name)
{
    return strcmp(name, "classifier") == 0 || strcmp(name, "score") == 0;
}

/* The one that it names for every model of answers: ModernBERT's head is called otherwise, and PEFT
 * then saves nothing. */
static bool is_of_answers(const nib_adapter *a, const char *name)
{
    return a->model->purpose.task == NIB_TASK_QUESTION_ANS && strcmp(name, "qa_outputs") == 0;
}

/* A name that no module has is taken by PEFT without a word while others match; it is a mistake
 * often enough to be reported.  *found: some name of the list means a module. */
static void tell_unknown(const nib_adapter *a, const nib_peft_names *list, const char *what,
                         bool dotted, bool *found)
{
    *found = false;
    for (size_t i = 0; list->kind == NIB_PEFT_LIST && i < list->count; i++) {
        if (means_any(a->model, list->names[i], dotted) ||
            (list == &a->config.modules_to_save && is_of_answers(a, list->names[i])))
            *found = true;
        else if (list == &a->config.modules_to_save && is_default_saved(list->names[i])) continue;
        else if (a->model->tensors) /* once: a plan ahead of the weights comes by too */
            nib_warn_code(a->ctx, "no-module", "%s: no module of %s is called %s", what,
                          a->model->dir, list->names[i]);
    }
}

/* The last parts of the linears' names, each once: what target_modules may hold. */
static const char *list_linears(const nib_model *m, char *out, size_t room)
{
    size_t used = 0;

    *out = 0;
    for (size_t i = 0; i < m->linear_count; i++) {
        const char *dot = strrchr(m->linears[i]->name, '.'),
                   *name = dot ? dot + 1 : m->linears[i]->name, *at = out;
        size_t n = strlen(name);
        bool listed = false;

        while ((at = strstr(at, name)) && !listed) {
            listed = (at == out || at[-1] == ' ') && (!at[n] || at[n] == ',');
            at += n;
        }
        if (listed || used + n + 3 > room) continue;
        used += (size_t)snprintf(out + used, room - used, "%s%s", used ? ", " : "", name);
    }
    return out;
}

static nib_status check_names(const nib_adapter *a, nib_error *err)
{
    char names[400];
    const nib_peft_names *saved = &a->config.modules_to_save;
    bool found;

    tell_unknown(a, &a->config.target_modules, "target_modules", true, &found);
    tell_unknown(a, &a->config.exclude_modules, "exclude_modules", true, &found);
    tell_unknown(a, saved, "modules_to_save", false, &found);
    if (saved->kind == NIB_PEFT_LIST && saved->count && !found)
        return nib_fail(err, NIB_E_MISMATCH,
                        "modules_to_save: no module of %s matched; its linears are called %s",
                        a->model->dir, list_linears(a->model, names, sizeof names));
    return NIB_OK;
}

nib_status nib_adapter_attach(nib_adapter *a, bool train, nib_error *err)
{
    nib_model *m = a->model;
    size_t before = a->params.count;
    char names[400];
    nib_status status = check_slot(a, err);

    a->trains = train;
    if (!status) status = check_tied(a, err);
    if (!status) status = nib_stacks_check(a, err);
    if (!status && train) status = check_names(a, err);
    for (size_t i = 0; i < m->embedding_count && !status; i++)
        status = attach_embedding(a, m->embeddings[i], err);
    for (size_t i = 0; i < m->linear_count && !status; i++)
        status = attach_linear(a, m->linears[i], err);
    if (!status) status = nib_tokens_attach(a, err);
    if (!status) status = nib_stacks_name(a, err);
    for (size_t i = 0; i < m->norm_count && !status; i++) {
        const char *name = m->norms[i]->name;
        bool saved = nib_peft_saves(&a->config, name), target;
        bool bias = m->norms[i]->bias && (saved || a->config.bias == NIB_PEFT_BIAS_ALL);
        status = nib_peft_match(a->match, name, false, false, &target, err);
        if (!status && target && !saved)
            status = nib_fail(err, NIB_E_UNSUPPORTED,
                              "target_modules: %s is a norm, which cannot have a "
                              "low-rank adapter; modules_to_save trains it whole",
                              name);
        if (!status && saved) status = check_saved_bias(a, name, m->norms[i]->bias, err);
        if (!status) status = attach_norm(a, m->norms[i], saved, bias, err);
    }
    for (size_t i = 0; i < m->vector_count && !status; i++)
        status = check_vector(a, m->vectors[i]->name, err);
    if (status) return status;
    if (a->params.count == before)
        return nib_fail(err, NIB_E_MISMATCH,
                        "target_modules: no module of %s matched; its linears are called %s",
                        m->dir, list_linears(m, names, sizeof names));
    return NIB_OK;
}

/* --- taking them out --- */

static bool owns(const nib_adapter *a, const nib_param *p)
{
    for (size_t i = 0; p && i < a->params.count; i++)
        if (a->params.items[i] == p) return true;
    return false;
}

static void detach_linear(const nib_adapter *a, nib_linear *l)
{
    nib_branch *branch = nib_branch_at(&l->branches, a->slot);

    if (branch && owns(a, branch->a)) nib_branch_remove(a->ctx, &l->branches, a->slot);
    if (owns(a, l->full)) {
        if (l->frozen) l->weight = l->frozen; /* or the copy could not be made */
        l->frozen = NULL;
        l->full = NULL;
    }
    if (owns(a, l->bias_param)) {
        l->bias = l->frozen_bias;
        l->frozen_bias = NULL;
        l->bias_param = NULL;
    }
}

static void detach_embedding(const nib_adapter *a, nib_embedding *e)
{
    nib_branch *branch = nib_branch_at(&e->branches, a->slot);

    if (branch && owns(a, branch->a)) nib_branch_remove(a->ctx, &e->branches, a->slot);
    if (owns(a, e->full)) {
        if (e->frozen) e->weight = e->frozen;
        e->frozen = NULL;
        e->full = NULL;
    }
}

static void detach_norm(const nib_adapter *a, nib_norm *n)
{
    if (owns(a, n->weight_param)) {
        n->weight = n->frozen_weight;
        n->frozen_weight = NULL;
        n->weight_param = NULL;
    }
    if (owns(a, n->bias_param)) {
        n->bias = n->frozen_bias;
        n->frozen_bias = NULL;
        n->bias_param = NULL;
    }
}

void nib_adapter_detach(nib_adapter *a)
{
    nib_model *m = a->model;

    nib_tokens_detach(a);
    for (size_t i = 0; i < m->linear_count; i++) detach_linear(a, m->linears[i]);
    for (size_t i = 0; i < m->norm_count; i++) detach_norm(a, m->norms[i]);
    for (size_t i = 0; i < m->embedding_count; i++) detach_embedding(a, m->embeddings[i]);
}
