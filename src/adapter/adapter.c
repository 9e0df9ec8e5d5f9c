/* adapter.c - making, reading and writing adapters in PEFT's form. */
#include "adapter/adapter.h"

#include <stdio.h>

#include "adapter/attach.h"
#include "adapter/halves.h"
#include "adapter/initialize.h"
#include "adapter/magnitudes.h"
#include "adapter/peft_card.h"
#include "adapter/peft_tensor.h"
#include "adapter/prompt_note.h"
#include "adapter/stacks.h"
#include "adapter/start_save.h"
#include "adapter/targets.h"
#include "base/filemap.h"

/* In __metadata__ of adapter_model.safetensors: PEFT and safetensors hand it on unread, and it goes
 * where the weights go, while PEFT warns of keys in adapter_config.json that it does not know. */
static const char base_form_key[] = "nibble.base_form";
static const char unfinished_key[] = "nibble.unfinished";

void nib_base_form(const nib_model *m, char form[NIB_BASE_FORM_ROOM])
{
    nib_form found = nib_form_dense(NIB_F32);

    for (size_t i = 0; i < m->linear_count && nib_form_is_dense(&found); i++)
        found = nib_weight_form(m->linears[i]->frozen ? m->linears[i]->frozen
                                                      : m->linears[i]->weight);
    nib_form_text(&found, form);
}

static nib_status make_matcher(nib_adapter *a, nib_error *err)
{
    const nib_config *c = a->model->config;
    size_t count;
    const char *const *defaults = nib_default_targets(c, &count);

    if (!count && a->config.target_modules.kind == NIB_PEFT_NONE &&
        !a->config.target_parameters.count)
        return nib_fail(err, NIB_E_INVALID,
                        "target_modules is not given, and PEFT has no default for %s: "
                        "give names of modules, or all-linear",
                        c->wrapper ? c->wrapper->model_type : c->arch->model_types[0]);
    return nib_peft_matcher_create(a->ctx, &a->config, defaults, count, &a->match, err);
}

nib_status nib_adapter_create(nib_model *model, nib_peft_config *config, unsigned slot,
                              uint64_t seed, nib_adapter **out, nib_error *err)
{
    return nib_adapter_create_from(model, config, slot, seed, &(nib_start_options){ 0 }, out, err);
}

nib_status nib_adapter_create_from(nib_model *model, nib_peft_config *config, unsigned slot,
                                   uint64_t seed, const nib_start_options *start,
                                   nib_adapter **out, nib_error *err)
{
    nib_adapter *a = nib_new(model->ctx, sizeof *a);
    nib_status status;

    if (!a) return nib_fail(err, NIB_E_NOMEM, "adapter: out of memory");
    assert(slot < NIB_MAX_SLOTS);
    *a = (nib_adapter){ .ctx = model->ctx, .model = model, .slot = slot, .config = *config };
    *config = nib_peft_config_default(); /* taken over */
    status = make_matcher(a, err);
    if (!status) status = nib_adapter_attach(a, true, err);
    if (!status) status = nib_name_targets(a, err);
    if (!status) status = nib_start_check(a, start, err);
    if (status) goto done;
    nib_adapter_initialize(a, seed);
    status = nib_start_run(a, seed, start, err);
    if (status) goto done;
    nib_adapter_measure(a, true);
    *out = a;
    a = NULL; /* handed over */
done:
    nib_adapter_close(a);
    return status;
}

/* --- reading --- */

static bool has_tensor(const nib_tensors *file, const nib_model *m, const char *module,
                       const char *suffix)
{
    char name[640];
    snprintf(name, sizeof name, NIB_PEFT_PREFIX "%s%s", nib_model_module(m, module), suffix);
    return nib_tensors_find(file, name) != NULL;
}

static void store_only(nib_param *p)
{
    p->kind = NIB_PARAM_STORED;
    p->wants_grad = false;
}

/* What a run that trains a whole model adds to its checkpoints: the head with the embedding, and
 * biases that are parameters of their own (job/whole.h). */
static nib_status attach_whole(nib_adapter *a, const nib_tensors *file, nib_error *err)
{
    nib_status status = NIB_OK;

    (void)nib_attach_tied_head(a);
    for (size_t i = 0; i < a->model->linear_count && !status; i++) {
        nib_linear *l = a->model->linears[i];
        if (l->full && l->bias && !l->bias_param &&
            has_tensor(file, a->model, l->bias_name ? l->bias_name : l->name,
                       l->bias_name ? "" : ".bias"))
            status = nib_attach_bias(a, l, ".bias", err);
    }
    return status;
}

/* Full embeddings that PEFT stores beside the adapter, under either spelling. */
static nib_status attach_saved_embeddings(nib_adapter *a, const nib_tensors *file, nib_error *err)
{
    static const char *const spellings[] = { ".base_layer.weight", ".weight" };
    nib_model *m = a->model;
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_COUNT(spellings) && !status; i++) {
        if (!m->embedding->full && !m->embedding->rows &&
            has_tensor(file, m, m->embedding->name, spellings[i])) {
            status = nib_attach_full_embedding(a, m->embedding, spellings[i], err);
            if (!status) store_only(m->embedding->full);
        }
        if (!status && m->head && !m->head->full && !m->head->rows &&
            has_tensor(file, m, m->head->name, spellings[i])) {
            status = nib_attach_full_linear(a, m->head, spellings[i], err);
            if (!status) store_only(m->head->full);
        }
    }
    return status ? status : attach_whole(a, file, err);
}

/* A tensor by its name, or as some files have it with the adapter's name, which PEFT calls
 * "default": M.lora_A.default.weight, M.lora_embedding_A.default. */
static const nib_tensor *find_named(const nib_tensors *file, const char *name)
{
    const nib_tensor *t = nib_tensors_find(file, name);
    const char *branch = strstr(name, ".lora_"), *dot;
    char longer[700];

    if (t || !branch) return t;
    for (const char *next; (next = strstr(branch + 1, ".lora_"));) branch = next;
    dot = strchr(branch + 1, '.');
    if (!dot) dot = name + strlen(name);
    snprintf(longer, sizeof longer, "%.*s.default%s", (int)(dot - name), name, dot);
    return nib_tensors_find(file, longer);
}

/* A parameter's tensor; inside a wrapper under the module's older name too. */
static const nib_tensor *find_param(const nib_adapter *a, const nib_tensors *file,
                                    const nib_param *p)
{
    const nib_tensor *t = find_named(file, p->name);
    char module[NIB_MODULE_NAME_ROOM], name[NIB_MODULE_NAME_ROOM + sizeof NIB_PEFT_PREFIX];

    if (t || !a->model->config->wrapper ||
        !nib_wrapper_older(p->name + strlen(NIB_PEFT_PREFIX), module))
        return t;
    snprintf(name, sizeof name, NIB_PEFT_PREFIX "%s", module);
    return find_named(file, name);
}

static nib_status missing(const char *dir, const char *name, nib_error *err)
{
    return nib_fail(err, NIB_E_MISMATCH,
                    "%s: tensor %s is missing, which adapter_config.json and the model ask for: "
                    "take the model that it was trained on",
                    dir, name);
}

/* Branches of tensors of experts.  Whether inputs and outputs are swapped is the same for all that
 * lie as [E, in, out]; where they are equally many, the others tell. */
static nib_status read_stacks(nib_adapter *a, const char *dir, const nib_tensors *file,
                              nib_error *err)
{
    bool swapped = false, told = false, tells, transposed = false;

    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < a->stack_count; i++) {
            const nib_stack *s = &a->stacks[i];
            const nib_tensor *ab[2];
            nib_status status;

            for (size_t k = 0; k < 2; k++)
                if (!(ab[k] = find_named(file, s->names[k])))
                    return missing(dir, s->names[k], err);
            if (pass == 0 && !told) {
                swapped = nib_stack_is_swapped(a, s, ab, &tells);
                told = tells;
            }
            transposed |= s->transposed;
            if (pass == 0) continue;
            status = nib_stack_read(a, s, ab, swapped && s->transposed, err);
            if (status) return status;
        }
    }
    if (transposed && !told)
        nib_warn_code(a->ctx, "parameter-order",
                      "%s: experts have as many inputs as outputs, so that the file does not tell "
                      "whether PEFT ran on transformers 4, which swaps A and B; read as of 5", dir);
    return NIB_OK;
}

static nib_status read_values(nib_adapter *a, const char *dir, const nib_tensors *file,
                              nib_error *err)
{
    for (size_t i = 0; i < a->params.count; i++) {
        nib_param *p = a->params.items[i];
        const nib_tensor *t;
        nib_status status;

        if (p->apart || nib_stacks_at(a, i)) continue;
        t = find_param(a, file, p);
        if (!t) return missing(dir, p->name, err);
        if (nib_halves_apply(a, i)) status = nib_halves_read(a, i, t, err);
        else if (a->doubled && nib_param_is_low_rank(p)) status = nib_halves_read_first(p, t, err);
        else if (p->across) status = nib_peft_tensor_across(t, p->rows, p->cols, p->value, err);
        else status = nib_peft_tensor_values(t, p->rows, p->cols, p->value, err);
        if (status) return status;
    }
    return read_stacks(a, dir, file, err);
}

/* PEFT holds one adapter for a tied embedding and head, and loads the head's values last: what it
 * writes is twice the same.  Two that differ mean that somebody changed one of them. */
static nib_status check_tied_values(const nib_adapter *a, const char *where, nib_error *err)
{
    const nib_branch *e = nib_branch_at(&a->model->embedding->branches, a->slot);
    const nib_branch *h = a->model->head ? nib_branch_at(&a->model->head->branches, a->slot) : NULL;
    bool same = true;

    if (!a->config.ensure_weight_tying || !a->model->tied || !e || !h) return NIB_OK;
    same = e->a->rows == h->b->cols && e->a->cols == h->b->rows && e->b->rows == h->a->cols &&
           e->b->cols == h->a->rows;
    for (size_t r = 0; same && r < e->a->rows; r++) {
        for (size_t v = 0; same && v < e->a->cols; v++)
            same = e->a->value[r * e->a->cols + v] == h->b->value[v * h->b->cols + r];
        for (size_t d = 0; same && d < e->b->rows; d++)
            same = e->b->value[d * e->b->cols + r] == h->a->value[r * h->a->cols + d];
    }
    if (same) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH,
                    "%s: ensure_weight_tying is set, and the adapters of %s and %s differ",
                    where, a->model->embedding->name, a->model->head->name);
}

/* Of a module saved whole PEFT may store its copy and the base's own weight once more
 * (save_embedding_layers); what it loads is M.weight alone. */
static bool is_saved_twice(const nib_adapter *a, const char *name)
{
    static const char *const infixes[] = { ".modules_to_save.", ".original_module." };

    for (size_t i = 0; i < NIB_COUNT(infixes); i++) {
        const char *at = strstr(name, infixes[i]), *rest;
        char plain[640];

        if (!at) continue;
        rest = at + strlen(infixes[i]);
        snprintf(plain, sizeof plain, "%.*s.%s", (int)(at - name), name, rest);
        for (size_t k = 0; k < a->params.count; k++)
            if (strcmp(a->params.items[k]->name, plain) == 0) return true;
    }
    return false;
}

/* PEFT gives the modules beside a wrapper's text adapters too where their names match. */
static bool is_beside(const nib_adapter *a, const char *name)
{
    size_t n = strlen(NIB_PEFT_PREFIX);

    return strncmp(name, NIB_PEFT_PREFIX, n) == 0 &&
           nib_wrapper_is_beside(a->model->config->wrapper, name + n);
}

/* Tensors that belong to no module mean another model, or a variant that is not computed. */
static nib_status refuse_leftovers(const nib_adapter *a, const nib_tensors *file, nib_error *err)
{
    size_t beside = 0;

    for (size_t i = 0; i < nib_tensors_count(file); i++) {
        const nib_tensor *t = nib_tensors_at(file, i);
        bool known = is_saved_twice(a, t->name);
        if (is_beside(a, t->name)) {
            beside++;
            continue;
        }
        for (size_t j = 0; j < 2 * a->stack_count && !known; j++)
            known = find_named(file, a->stacks[j / 2].names[j % 2]) == t;
        for (size_t j = 0; j < a->params.count && !known; j++) {
            const nib_stack *stack = nib_stacks_at(a, j);
            if (stack) j += 2 * stack->experts - 1;
            else known = find_param(a, file, a->params.items[j]) == t;
        }
        if (!known)
            return nib_fail(err, NIB_E_MISMATCH,
                            "%s: tensor %s belongs to no module that adapter_config.json "
                            "and %s name: take the model that it was trained on",
                            t->file, t->name, a->model->dir);
    }
    if (beside)
        nib_warn(a->ctx, "%s: %zu tensors adapt other media than text: they are not read, and not "
                 "in what is merged or trained from here", a->dir ? a->dir : "adapter", beside);
    return NIB_OK;
}

char *nib_adapter_file(nib_ctx *ctx, const char *dir)
{
    char *path = nib_sprintf(ctx, "%s/adapter_model.safetensors", dir), *older;

    if (!path || nib_file_exists(path)) return path;
    older = nib_sprintf(ctx, "%s/adapter_model.bin", dir);
    if (older && !nib_file_exists(older)) { /* then the first is the one to ask for */
        nib_free(ctx, older);
        return path;
    }
    nib_free(ctx, path);
    return older;
}

/* attach: the file may hold embeddings that the config does not name. */
static nib_status read_tensors(nib_adapter *a, const char *dir, bool attach, nib_error *err)
{
    char *path = nib_adapter_file(a->ctx, dir);
    nib_tensors *file = NULL;
    nib_status status;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    status = nib_tensors_open(a->ctx, path, &file, err);
    if (!status && attach) status = attach_saved_embeddings(a, file, err);
    if (!status) status = read_values(a, dir, file, err);
    if (!status) status = check_tied_values(a, dir, err);
    if (!status) status = refuse_leftovers(a, file, err);
    if (!status) nib_adapter_measure(a, false);
    if (!status) {
        const char *form = nib_tensors_metadata(file, base_form_key);
        const char *unfinished = nib_tensors_metadata(file, unfinished_key);
        const char *prompt = nib_tensors_metadata(file, NIB_PROMPT_KEY);
        if (form) snprintf(a->base_form, sizeof a->base_form, "%s", form);
        nib_free(a->ctx, a->prompt_form);
        a->prompt_form = prompt ? nib_strdup(a->ctx, prompt) : NULL;
        if (prompt && !a->prompt_form)
            status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
        snprintf(a->unfinished, sizeof a->unfinished, "%s", unfinished ? unfinished : "");
        if (!status && attach) {
            const char *change = nib_tensors_metadata(file, NIB_BASE_CHANGE_KEY);
            snprintf(a->base_change, sizeof a->base_change, "%s", change ? change : "");
            status = nib_merged_check_change(a, dir, err);
        }
    }
    nib_tensors_close(file);
    nib_free(a->ctx, path);
    return status;
}

nib_status nib_adapter_read_values(nib_adapter *a, const char *dir, nib_error *err)
{
    nib_status status = read_tensors(a, dir, false, err);

    return status ? status : nib_start_same_change(a, dir, err);
}

static nib_status open_dir(nib_model *model, const char *dir, unsigned slot, bool train,
                           bool merged, nib_adapter **out, nib_error *err)
{
    nib_adapter *a = nib_new(model->ctx, sizeof *a);
    nib_status status;

    assert(slot < NIB_MAX_SLOTS);
    if (!a) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    *a = (nib_adapter){ .ctx = model->ctx, .model = model, .slot = slot };
    a->dir = nib_strdup(model->ctx, dir);
    if (!a->dir) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
        goto done;
    }
    status = nib_peft_config_read(model->ctx, dir, &a->config, err);
    if (!status) status = nib_start_open(a, err);
    if (!status) status = make_matcher(a, err);
    if (!status) status = nib_adapter_attach(a, train, err);
    if (!status) status = read_tensors(a, a->dir, true, err);
    if (!status) status = nib_start_opened(a, err);
    if (!status && merged) status = nib_merged_check(a, err);
    if (status) goto done;
    if (a->unfinished[0])
        nib_warn_code(a->ctx, "unfinished-adapter", "%s: the run that wrote this adapter was %s",
                      dir, a->unfinished);
    if (!merged) nib_merged_warn(a);
    *out = a;
    a = NULL; /* handed over */
done:
    nib_adapter_close(a);
    return status;
}

nib_status nib_adapter_open(nib_model *model, const char *dir, unsigned slot, bool train,
                            nib_adapter **out, nib_error *err)
{
    return open_dir(model, dir, slot, train, false, out, err);
}

nib_status nib_adapter_open_merged(nib_model *model, const char *dir, unsigned slot,
                                   nib_adapter **out, nib_error *err)
{
    return open_dir(model, dir, slot, false, true, out, err);
}

void nib_adapter_close(nib_adapter *a)
{
    if (!a) return;
    nib_start_undo(a);
    nib_adapter_detach(a);
    nib_stacks_free(a);
    for (size_t i = 0; i < a->copy_count; i++) nib_weight_destroy(a->ctx, a->copies[i]);
    nib_free(a->ctx, a->copies);
    nib_params_free(a->ctx, &a->params);
    nib_peft_matcher_destroy(a->match);
    nib_peft_config_free(a->ctx, &a->config);
    nib_free(a->ctx, a->dir);
    nib_free(a->ctx, a->prompt_form);
    nib_free(a->ctx, a);
}

/* --- writing --- */

/* Keys and texts in turn, NULL at the end. */
static void list_notes(const nib_adapter *a, const char *form, const char *notes[9])
{
    size_t n = 0;

    notes[n++] = base_form_key;
    notes[n++] = form;
    if (a->prompt_form) {
        notes[n++] = NIB_PROMPT_KEY;
        notes[n++] = a->prompt_form;
    }
    if (a->unfinished[0]) {
        notes[n++] = unfinished_key;
        notes[n++] = a->unfinished;
    }
    if (a->base_change[0]) {
        notes[n++] = NIB_BASE_CHANGE_KEY;
        notes[n++] = a->base_change;
    }
    notes[n] = NULL;
}

static nib_tensor_plan plan_of(const nib_param *p)
{
    nib_tensor_plan plan = { .name = p->name, .dtype = NIB_F32, .rank = 2,
                             .shape = { p->across ? p->cols : p->rows,
                                        p->across ? p->rows : p->cols } };

    if (nib_param_is_vector(p)) {
        plan.rank = 1;
        plan.shape[0] = p->cols;
        plan.shape[1] = 0;
    }
    return plan;
}

static nib_status put_values(nib_ctx *ctx, const nib_param *p, nib_tensor_writer *w, nib_error *err)
{
    float *row;
    nib_status status = NIB_OK;

    if (!p->across)
        return nib_tensor_writer_put(w, p->value, nib_param_count(p) * sizeof *row, err);
    row = nib_new_array(ctx, p->rows, sizeof *row);
    if (!row) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", p->name);
    for (size_t k = 0; k < p->cols && !status; k++) {
        for (size_t r = 0; r < p->rows; r++) row[r] = p->value[r * p->cols + k];
        status = nib_tensor_writer_put(w, row, p->rows * sizeof *row, err);
    }
    nib_free(ctx, row);
    return status;
}

static nib_status write_tensors(const nib_adapter *a, const char *dir, nib_error *err)
{
    nib_tensor_plan *plans = nib_new_array(a->ctx, a->params.count, sizeof *plans);
    nib_tensor_writer *w = NULL;
    size_t count = 0;
    char form[NIB_BASE_FORM_ROOM];
    const char *notes[9];
    nib_status status;

    if (!plans) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    for (size_t i = 0; i < a->params.count; i++) {
        const nib_param *p = a->params.items[i];
        const nib_stack *stack = nib_stacks_at(a, i);

        if (stack && stack->first == i) {
            nib_stack_plan(a, stack, plans + count);
            count += 2;
        }
        if (nib_halves_apply(a, i)) nib_halves_plan(a, i, &plans[count++]);
        else if (!stack && !p->apart) plans[count++] = plan_of(p);
    }
    nib_base_form(a->model, form);
    list_notes(a, form, notes);
    status = nib_tensor_writer_create_noted(a->ctx, dir, "adapter_model", plans, count, 0, notes,
                                            &w, err);
    for (size_t i = 0; i < a->params.count && !status; i++) {
        const nib_stack *stack = nib_stacks_at(a, i);

        if (stack && stack->first == i) status = nib_stack_write(a, stack, w, err);
        if (nib_halves_apply(a, i)) status = nib_halves_write(a, i, w, err);
        else if (!stack && !a->params.items[i]->apart)
            status = put_values(a->ctx, a->params.items[i], w, err);
    }
    if (status) nib_tensor_writer_discard(w);
    else status = nib_tensor_writer_commit(w, err);
    nib_free(a->ctx, plans);
    return status;
}

nib_status nib_adapter_save(const nib_adapter *a, const char *dir, const char *training,
                            nib_error *err)
{
    nib_peft_config saved;
    nib_status status = nib_start_saved(a, &saved, err);

    if (status) return status;
    status = write_tensors(a, dir, err);
    if (!status) status = nib_peft_config_write(a->ctx, dir, &saved, err);
    if (!status) status = nib_peft_card_write(a->ctx, dir, &saved, training, err);
    if (!status) status = nib_start_save_change(a, dir, err);
    nib_start_saved_free(a, &saved);
    return status;
}

uint64_t nib_adapter_trainable(const nib_adapter *a)
{
    uint64_t n = 0;
    for (size_t i = 0; i < a->params.count; i++)
        if (nib_param_is_trained(a->params.items[i])) n += nib_param_count(a->params.items[i]);
    return n;
}

/* Biases are trained in place, stored embeddings are the model's; low-rank factors and full copies
 * come on top. */
uint64_t nib_adapter_all(const nib_adapter *a)
{
    uint64_t n = a->model->parameters;
    for (size_t i = 0; i < a->params.count; i++) {
        const nib_param *p = a->params.items[i];
        size_t length = strlen(p->name);
        bool bias = length > 5 && strcmp(p->name + length - 5, ".bias") == 0 &&
                    a->config.modules_to_save.count == 0;
        if (!bias && nib_param_is_trained(p)) n += nib_param_count(p);
    }
    return n;
}
