/* start_check.c - which starts there are, and what cannot be one: see start.h. */
#include <stdlib.h>

#include "adapter/start.h"
#include "quant/singular.h"

nib_start nib_start_of(const char *init, int *iterations)
{
    static const struct { const char *name; nib_start start; } known[] = {
        { "true", NIB_START_PLAIN },   { "false", NIB_START_PLAIN },
        { "gaussian", NIB_START_PLAIN }, { "orthogonal", NIB_START_ORTHOGONAL },
        { "pissa", NIB_START_PISSA },  { "olora", NIB_START_OLORA },
        { "loftq", NIB_START_LOFTQ },
    };
    static const char some[] = "pissa_niter_";
    size_t n = sizeof some - 1;

    *iterations = NIB_SVD_EXACT;
    for (size_t i = 0; i < NIB_COUNT(known); i++)
        if (strcmp(init, known[i].name) == 0) return known[i].start;
    if (strncmp(init, some, n) != 0 || !init[n] ||
        strlen(init) >= sizeof ((nib_peft_config *)0)->init_lora_weights ||
        strspn(init + n, "0123456789") != strlen(init + n))
        return NIB_START_UNKNOWN;
    init += n;
    init += strspn(init, "0"); /* Python's int() takes them too */
    if (strlen(init) > 4) return NIB_START_UNKNOWN;
    *iterations = atoi(init);
    return NIB_START_PISSA;
}

/* --- what cannot be --- */

bool nib_start_is_low(const nib_linear *l)
{
    nib_form form = nib_weight_form(l->weight);
    return !nib_form_is_dense(&form);
}

static nib_status check_odd(const nib_branch *b, const nib_linear *l, nib_error *err)
{
    if (b->a->rows % 2 == 0) return NIB_OK;
    return nib_fail(err, NIB_E_INVALID, "init_lora_weights orthogonal needs an even r: that of %s "
                    "is %zu", l->name, b->a->rows);
}

const nib_linear *nib_start_original(const nib_start_options *o, const nib_linear *l)
{
    for (size_t i = 0; o->original && i < o->original->linear_count; i++) {
        const nib_linear *other = o->original->linears[i];
        if (strcmp(other->name, l->name) == 0)
            return !nib_start_is_low(other) && other->weight->out == l->weight->out &&
                           other->weight->in == l->weight->in
                       ? other
                       : NULL;
    }
    return NULL;
}

/* Of a base that is low-bit as it is stored. */
static nib_status check_stored(const nib_adapter *a, nib_start kind, const nib_start_options *o,
                               const nib_linear *l, nib_error *err)
{
    const char *init = a->config.init_lora_weights;

    if (kind != NIB_START_LOFTQ)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "init_lora_weights %s: %s of %s is low-bit as it is stored, and stays so; "
                        "name the dense model, with load_in_4bit or load_in_8bit, or take loftq",
                        init, l->name, a->model->dir);
    if (a->config.loftq_iter > 1)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "loftq_config: loftq_iter %" PRId64 " would quantize %s again, which is "
                        "low-bit as it is stored: take 1, or the dense model with load_in_4bit or "
                        "load_in_8bit", a->config.loftq_iter, a->model->dir);
    if (!o->original)
        return nib_fail(err, NIB_E_INVALID,
                        "init_lora_weights loftq: %s of %s is low-bit as it is stored: name the "
                        "model that was quantized with base_original", l->name, a->model->dir);
    if (!nib_start_original(o, l))
        return nib_fail(err, NIB_E_MISMATCH,
                        "base_original: %s has no dense %s of [%zu, %zu]: name the model that was "
                        "quantized", o->original->dir, l->name, l->weight->out, l->weight->in);
    return NIB_OK;
}

static nib_status check_linear(const nib_adapter *a, nib_start kind, const nib_start_options *o,
                               const nib_branch *b, const nib_linear *l, nib_error *err)
{
    const char *init = a->config.init_lora_weights;
    size_t rank = a->doubled ? b->a->rows / 2 : b->a->rows;

    if (kind == NIB_START_ORTHOGONAL) return check_odd(b, l, err);
    if (rank > nib_min(l->weight->out, l->weight->in))
        return nib_fail(err, NIB_E_INVALID, "init_lora_weights %s: %s is [%zu, %zu], which is less "
                        "than its r %zu", init, l->name, l->weight->out, l->weight->in, rank);
    if (!l->owns_weight && kind != NIB_START_LOFTQ)
        return nib_fail(err, NIB_E_UNSUPPORTED, "init_lora_weights %s: %s has the embedding's "
                        "weight, which would change with it; leave it out of target_modules", init,
                        l->name);
    return nib_start_is_low(l) && !a->model->quantized_now && !nib_weight_is_blank(l->weight)
               ? check_stored(a, kind, o, l, err)
               : NIB_OK;
}

/* Bits of a form by its text: "int8", "nf4 64", "gptq 4 128 sym"; 0: it does not tell. */
static int64_t bits_of(const char *text)
{
    const char *space = strchr(text, ' ');

    if (strncmp(text, "int8", 4) == 0) return 8;
    if (strncmp(text, "nf4", 3) == 0 || strncmp(text, "fp4", 3) == 0) return 4;
    return space ? atoi(space + 1) : 0;
}

static nib_status check_loftq(const nib_adapter *a, nib_error *err)
{
    int64_t bits = a->config.loftq_bits;
    char text[NIB_FORM_ROOM] = "dense";
    nib_form form = nib_form_dense(NIB_F32);

    for (size_t i = 0; i < a->model->linear_count && nib_form_is_dense(&form); i++)
        form = nib_weight_form(a->model->linears[i]->weight);
    nib_form_text(&form, text);
    if (nib_form_is_dense(&form))
        return nib_fail(err, NIB_E_INVALID,
                        "init_lora_weights loftq makes up for what quantizing loses, and %s is "
                        "dense: give load_in_4bit or load_in_8bit", a->model->dir);
    if (bits && bits_of(text) && bits != bits_of(text))
        return nib_fail(err, NIB_E_INVALID,
                        "loftq_config: loftq_bits is %" PRId64 ", and the base is %s; known are 4 "
                        "with load_in_4bit and 8 with load_in_8bit", bits, text);
    return NIB_OK;
}

nib_status nib_start_check(const nib_adapter *a, const nib_start_options *o, nib_error *err)
{
    int iterations;
    nib_start kind = nib_start_of(a->config.init_lora_weights, &iterations);
    nib_status status = NIB_OK;

    if (o->original && (kind != NIB_START_LOFTQ || a->model->quantized_now))
        nib_note(a->ctx, "base_original is without effect: it is for init_lora_weights loftq on a "
                         "model that is low-bit as it is stored");
    if (kind == NIB_START_PLAIN) return NIB_OK;
    assert(kind != NIB_START_UNKNOWN);
    if (a->config.use_dora && kind != NIB_START_ORTHOGONAL)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "init_lora_weights %s with use_dora: what is taken out of the base is not "
                        "put back by a sum where outputs have sizes of their own; known with "
                        "use_dora are true, false, gaussian and orthogonal",
                        a->config.init_lora_weights);
    if (a->slot && !a->doubled && kind != NIB_START_ORTHOGONAL)
        return nib_fail(err, NIB_E_UNSUPPORTED, "init_lora_weights %s: only the first of several "
                        "adapters may change the base", a->config.init_lora_weights);
    if (a->config.target_parameters.count)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "init_lora_weights %s is of linears, and target_parameters names tensors "
                        "of experts: known for these are true, false and gaussian",
                        a->config.init_lora_weights);
    if (kind == NIB_START_LOFTQ) status = check_loftq(a, err);
    for (size_t i = 0; i < a->model->linear_count && !status; i++) {
        const nib_linear *l = a->model->linears[i];
        const nib_branch *b = nib_branch_at(&l->branches, a->slot);
        if (b) status = check_linear(a, kind, o, b, l, err);
    }
    return status;
}
