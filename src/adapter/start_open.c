/* start_open.c - adapters of PEFT's that started from the weights, opened (start.h). */
#include <stdio.h>

#include "adapter/halves.h"
#include "adapter/start.h"
#include "quant/singular.h"

static const char with_dora[] =
    "with use_dora what was taken out of the base is not put back by a sum, where outputs have "
    "sizes of their own";

const char *nib_start_refused(const nib_peft_config *c)
{
    int iterations;

    switch (nib_start_of(c->init_lora_weights, &iterations)) {
    case NIB_START_PLAIN: case NIB_START_ORTHOGONAL: return NULL;
    case NIB_START_OLORA: return c->use_dora ? with_dora : NULL;
    case NIB_START_PISSA:
        return c->use_dora                 ? with_dora
               : iterations == NIB_SVD_EXACT
                   ? NULL
                   : "init_lora_weights took a random subspace out of the base, which nobody finds "
                     "again: convert it where it was trained "
                     "(path_initial_model_for_weight_conversion)";
    case NIB_START_LOFTQ:
        return c->loftq_bits && c->loftq_bits != 4 && c->loftq_bits != 8
                   ? "loftq_bits is neither 4 nor 8, and no base is known in such a form"
               : c->loftq_iter == 1
                   ? NULL
                   : "LoftQ's second and later iterations changed the base: save that with it, and "
                     "the adapter with init_lora_weights true";
    case NIB_START_UNKNOWN: break;
    }
    return strcmp(c->init_lora_weights, "eva") == 0 || strcmp(c->init_lora_weights, "mica") == 0
               ? NULL
               : "init_lora_weights changed the base model by the data it was shown: the adapter "
                 "does not fit the original one";
}

nib_status nib_start_open(nib_adapter *a, nib_error *err)
{
    nib_peft_config *c = &a->config;
    const char *why = nib_start_refused(c);
    int iterations;
    nib_start kind = nib_start_of(c->init_lora_weights, &iterations);

    if (why)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: init_lora_weights is %s: %s", a->dir,
                        c->init_lora_weights, why);
    if (kind == NIB_START_LOFTQ) /* what it was trained on, where the file does not say it */
        snprintf(a->base_form, sizeof a->base_form, c->loftq_bits == 8 ? "int8" : "nf4 64");
    a->doubled = kind == NIB_START_PISSA || kind == NIB_START_OLORA;
    if (a->doubled) nib_halves_double(c);
    return NIB_OK;
}

/* PEFT has pissa of dense weights alone, and encodes the rest of a low-bit one again for olora. */
static nib_status check_dense(const nib_adapter *a, nib_error *err)
{
    for (size_t i = 0; i < a->model->linear_count; i++) {
        const nib_linear *l = a->model->linears[i];
        if (nib_branch_at(&l->branches, a->slot) && nib_start_is_low(l))
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: init_lora_weights is %s, which took its part out of dense "
                            "weights, and %s is low-bit: use the dense model, or convert the "
                            "adapter where it was trained "
                            "(path_initial_model_for_weight_conversion)", a->dir,
                            a->config.init_lora_weights, l->name);
    }
    return NIB_OK;
}

nib_status nib_start_opened(nib_adapter *a, nib_error *err)
{
    const nib_start_options none = { 0 };
    nib_status status;

    if (!a->doubled) return NIB_OK;
    status = check_dense(a, err);
    if (!status) status = nib_start_check(a, &none, err);
    if (!status) status = nib_start_run(a, 0, &none, err);
    if (status) return nib_fail_in(err, status, "%s", a->dir);
    nib_note(a->ctx, "%s: init_lora_weights is %s: what PEFT takes of the base whenever it opens "
             "such an adapter is put back into it, so that it is a LoRA of rank %" PRId64 " on %s",
             a->dir, a->config.init_lora_weights, a->config.r, a->model->dir);
    strcpy(a->config.init_lora_weights, "true");
    a->doubled = false; /* what is written and read from now on has both halves */
    return NIB_OK;
}
