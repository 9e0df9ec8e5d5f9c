/* unused.c - see unused.h. */
#include "model/unused.h"

#include <stdio.h>
#include <stdlib.h>

#include "model/bind_weight.h"

void nib_claim(nib_ctx *ctx, nib_claims *c, const nib_tensor *t)
{
    if (!t || c->failed) return;
    if (!nib_grow(ctx, &c->tensors, &c->capacity, c->count + 1, sizeof *c->tensors)) {
        c->failed = true;
        return;
    }
    c->tensors[c->count++] = t;
}

void nib_claims_free(nib_ctx *ctx, nib_claims *c)
{
    nib_free(ctx, c->tensors);
    *c = (nib_claims){ 0 };
}

static int by_address(const void *a, const void *b)
{
    const nib_tensor *const *x = a, *const *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Buffers of the reference's modules that old versions saved: angles of rotation, causal masks,
 * positions; and the divisors of angles that a GGUF's config.json is made of. */
static bool is_buffer(const char *name)
{
    static const char *const ends_of[] = { "rotary_emb.inv_freq", "rotary_embeddings.inv_freq",
                                           ".attn.bias", ".attn.masked_bias",
                                           ".attention.bias", ".attention.masked_bias",
                                           "embeddings.position_ids", "embeddings.token_type_ids",
                                           "rope_freqs.weight", "rope_factors_long.weight",
                                           "rope_factors_short.weight" };

    for (size_t i = 0; i < NIB_COUNT(ends_of); i++)
        if (nib_ends_with(name, ends_of[i])) return true;
    return false;
}

/* What the file holds beside the text is whole as it is: a note, and nothing to look at. */
static void tell_beside(nib_ctx *ctx, const char *dir, const nib_wrapper *w, size_t count)
{
    char names[200] = "";
    size_t used = 0;

    for (const char *const *b = w->beside; *b && used < sizeof names; b++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", *b);
    nib_note(ctx, "%s: %zu tensors of other media are not read (%s): %s takes text only here", dir,
             count, names, w->model_type);
}

static bool begins_as(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (strncmp(name, *names, strlen(*names)) == 0) return true;
    return false;
}

static void tell_counts(nib_ctx *ctx, const char *dir, size_t heads, size_t parts)
{
    if (heads)
        nib_note(ctx, "%s: %zu tensor%s of heads for other tasks: not used", dir, heads,
                 heads == 1 ? "" : "s");
    if (parts)
        nib_note(ctx, "%s: %zu tensor%s of parts that are not computed here: kept as they are",
                 dir, parts, parts == 1 ? "" : "s");
}

nib_status nib_warn_unused(nib_ctx *ctx, const char *dir, const nib_tensors *tensors,
                           const nib_config *config, const char *const *heads, nib_claims *c,
                           nib_error *err)
{
    char names[500] = "";
    size_t used = 0, unused = 0, beside = 0, other = 0, parts = 0;

    if (c->failed) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (c->count) qsort(c->tensors, c->count, sizeof *c->tensors, by_address);
    for (size_t i = 0; i < nib_tensors_count(tensors); i++) {
        const nib_tensor *t = nib_tensors_at(tensors, i);
        if (is_buffer(t->name) || t->is_rest ||
            (c->count && bsearch(&t, c->tensors, c->count, sizeof *c->tensors, by_address)))
            continue;
        if (nib_wrapper_is_beside(config->wrapper, t->name)) beside++;
        else if (begins_as(heads, t->name)) other++;
        else if (begins_as(config->arch->other_parts, t->name)) parts++;
        else if (unused++ < 4)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%.100s",
                                     used ? ", " : "", t->name);
    }
    if (unused)
        nib_warn_code(ctx, "unused-tensors", "%s: %zu tensor%s that no module uses: %s%s", dir,
                      unused, unused == 1 ? "" : "s", names, unused > 4 ? ", ..." : "");
    tell_counts(ctx, dir, other, parts);
    if (beside) tell_beside(ctx, dir, config->wrapper, beside);
    return NIB_OK;
}

static void claim_module(const nib_model *m, const nib_tensors *tensors, nib_claims *c,
                         const char *module)
{
    static const char *const parts[] = { ".weight", ".bias" };
    char name[NIB_BIND_NAME_ROOM];

    for (size_t i = 0; i < NIB_COUNT(parts); i++) {
        snprintf(name, sizeof name, "%s%s", module, parts[i]);
        nib_claim(m->ctx, c, nib_model_tensor(tensors, m->config, name));
    }
}

/* A tensor of all experts, and that of their biases (gpt_oss's names). */
static void claim_stack(const nib_model *m, const nib_tensors *tensors, nib_claims *c,
                        const char *stack)
{
    char bias[NIB_BIND_NAME_ROOM];

    snprintf(bias, sizeof bias, "%s_bias", stack);
    nib_claim(m->ctx, c, nib_model_tensor(tensors, m->config, stack));
    nib_claim(m->ctx, c, nib_model_tensor(tensors, m->config, bias));
}

static void claim_norm(const nib_model *m, const nib_tensors *tensors, nib_claims *c,
                       const nib_norm *n)
{
    char name[NIB_BIND_NAME_ROOM];

    claim_module(m, tensors, c, n->name);
    snprintf(name, sizeof name, "%s.scale", n->name);
    if (n->weights == NIB_NORM_SCALE)
        nib_claim(m->ctx, c, nib_model_tensor(tensors, m->config, name));
    for (size_t h = 0; n->weights == NIB_NORM_APART && h < n->rows; h++) {
        snprintf(name, sizeof name, "%s" NIB_NORM_APART_PART, n->name, h);
        nib_claim(m->ctx, c, nib_model_tensor(tensors, m->config, name));
    }
}

nib_status nib_model_warn_unused(const nib_model *m, const nib_tensors *tensors, nib_error *err)
{
    nib_claims c = { 0 };
    nib_status status;

    for (size_t i = 0; i < m->linear_count; i++) {
        const nib_linear *l = m->linears[i];
        if (l->stack) claim_stack(m, tensors, &c, l->stack);
        else claim_module(m, tensors, &c, l->name);
        for (size_t k = 0; k < NIB_COUNT(l->apart) && l->apart[k]; k++)
            claim_module(m, tensors, &c, l->apart[k]);
        if (l->bias_name)
            nib_claim(m->ctx, &c, nib_model_tensor(tensors, m->config, l->bias_name));
    }
    for (size_t i = 0; i < m->norm_count; i++) claim_norm(m, tensors, &c, m->norms[i]);
    for (size_t i = 0; i < m->vector_count; i++)
        nib_claim(m->ctx, &c, nib_model_tensor(tensors, m->config, m->vectors[i]->name));
    for (size_t i = 0; i < m->embedding_count; i++)
        claim_module(m, tensors, &c, m->embeddings[i]->name);
    status = nib_warn_unused(m->ctx, m->dir, tensors, m->config, NULL, &c, err);
    nib_claims_free(m->ctx, &c);
    return status;
}
