/* tokens.c - see tokens.h; the rules: peft 0.21.2, utils/other.py, set_additional_trainable_modules
 * and tuners/trainable_tokens/layer.py. */
#include "adapter/tokens.h"

#include <stdio.h>

#include "adapter/attach.h"
#include "quant/replaced.h"

/* Every list must mean the embedding, or with it the head that is the embedding, alike. */
static nib_status check_lists(const nib_adapter *a, const nib_peft_tokens **list, nib_error *err)
{
    const nib_model *m = a->model;
    const nib_peft_config *c = &a->config;
    const nib_peft_tokens *words = NULL, *head = NULL;

    for (size_t i = 0; i < c->token_lists; i++) {
        const nib_peft_tokens *t = &c->tokens[i];
        if (!t->module || nib_ends_with(m->embedding->name, t->module)) words = t;
        else if (m->tied && m->head && nib_ends_with(m->head->name, t->module)) head = t;
        else
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "trainable_token_indices: %s; rows are trained of %s%s alone",
                            t->module, m->embedding->name,
                            m->tied ? " and the head that is the same" : "");
    }
    if (!words || (head && (head->count != words->count ||
                            memcmp(head->ids, words->ids, words->count * sizeof *words->ids) != 0)))
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "trainable_token_indices: the head is %s, so that its list must be that of "
                        "the embedding", m->embedding->name);
    *list = words;
    return NIB_OK;
}

/* What else may not change the modules. */
static nib_status check_modules(const nib_adapter *a, nib_error *err)
{
    const nib_model *m = a->model;
    const nib_linear *h = m->tied ? m->head : NULL;
    const char *other = m->embedding->full || m->embedding->branches.count ? m->embedding->name
                        : h && (h->full || h->branches.count) ? h->name : NULL;

    if (other)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "trainable_token_indices: %s has an adapter or is saved whole too; one of "
                        "the two", other);
    if (h && h->bias)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "trainable_token_indices: %s is the embedding and has a bias, which PEFT "
                        "leaves out then", h->name);
    return NIB_OK;
}

static nib_status check_words(const nib_adapter *a, const nib_peft_tokens *list, nib_error *err)
{
    size_t words = a->model->embedding->weight->out;

    for (size_t i = 0; i < list->count; i++)
        if (list->ids[i] >= words)
            return nib_fail(err, NIB_E_MISMATCH,
                            "trainable_token_indices: %" PRIu32 ", but %s has %zu rows, 0 .. %zu",
                            list->ids[i], a->model->embedding->name, words, words - 1);
    return NIB_OK;
}

static nib_status attach(nib_adapter *a, const nib_peft_tokens *list, nib_error *err)
{
    nib_embedding *e = a->model->embedding;
    nib_linear *h = a->model->tied ? a->model->head : NULL;
    size_t width = e->weight->in;
    char name[NIB_MODULE_NAME_ROOM + 60];
    nib_weight *w;
    nib_status status;

    snprintf(name, sizeof name, NIB_PEFT_PREFIX "%s.token_adapter.trainable_tokens_delta",
             nib_model_module(a->model, e->name));
    e->rows = nib_params_add(a->ctx, &a->params, name, list->count, width);
    if (!e->rows || !nib_grow(a->ctx, &a->copies, &a->copy_capacity, a->copy_count + 1,
                              sizeof *a->copies))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    e->rows->kind = NIB_PARAM_ROWS;
    e->rows->wants_grad = a->trains;
    for (size_t i = 0; i < list->count; i++)
        nib_weight_decode(e->weight, list->ids[i], list->ids[i] + 1, e->rows->value + i * width);
    status = nib_weight_replaced(a->ctx, e->weight, list->ids, list->count, e->rows->value, &w,
                                 err);
    if (status) return nib_fail_in(err, status, "trainable_token_indices");
    a->copies[a->copy_count++] = w;
    e->frozen = e->weight;
    e->weight = w;
    if (!h) return NIB_OK;
    h->rows = e->rows;
    h->frozen = h->weight;
    h->weight = w;
    return NIB_OK;
}

nib_status nib_tokens_attach(nib_adapter *a, nib_error *err)
{
    const nib_peft_tokens *list = NULL;
    nib_status status;

    if (!a->config.token_lists) return NIB_OK;
    status = check_lists(a, &list, err);
    if (!status) status = check_modules(a, err);
    if (!status) status = check_words(a, list, err);
    return status ? status : attach(a, list, err);
}

void nib_tokens_detach(const nib_adapter *a)
{
    nib_embedding *e = a->model->embedding;
    nib_linear *h = a->model->head;
    bool own = false;

    for (size_t i = 0; e->rows && i < a->params.count; i++) own |= a->params.items[i] == e->rows;
    if (!own) return;
    if (h && h->rows == e->rows) {
        h->weight = h->frozen;
        h->frozen = NULL;
        h->rows = NULL;
    }
    if (e->frozen) e->weight = e->frozen; /* or it was not finished */
    e->frozen = NULL;
    e->rows = NULL;
}
