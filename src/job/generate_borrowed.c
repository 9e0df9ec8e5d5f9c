/* generate_borrowed.c - see generate_borrowed.h. */
#include "job/generate_borrowed.h"

#include "job/generate_parts.h"

static nib_status open_all(nib_generator *g, const char *dir, nib_adapter *adapter, nib_error *err)
{
    nib_status status;

    g->dir = nib_strdup(g->ctx, dir);
    g->adapters = nib_new_array(g->ctx, 1, sizeof *g->adapters);
    g->names = nib_new_array(g->ctx, 1, sizeof *g->names);
    g->adapter_count = g->names ? 1 : 0; /* names are the generator's, adapters are not */
    if (g->names) g->names[0] = nib_strdup(g->ctx, "default");
    if (!g->dir || !g->adapters || !g->names || !g->names[0])
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    g->adapters[0] = adapter;
    g->prompts = (nib_prompts){ .ctx = g->ctx, .dir = g->dir, .tokenizer = g->tokenizer };
    status = nib_generation_read(g->ctx, dir, nib_tokenizer_special(g->tokenizer), &g->defaults,
                                 err);
    if (!status) status = nib_sampler_init(g->ctx, g->model->head->weight->out, &g->sampler, err);
    return status ? status : nib_generation_check(&g->defaults, g->sampler.vocabulary, err);
}

nib_status nib_generator_borrow(nib_ctx *ctx, const char *dir, nib_tokenizer *tokenizer,
                                nib_model *model, nib_adapter *adapter, nib_generator **out,
                                nib_error *err)
{
    nib_generator *g = nib_new(ctx, sizeof *g);
    nib_status status;

    assert(adapter->slot == 0);
    if (!g) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    *g = (nib_generator){ .ctx = ctx, .tokenizer = tokenizer, .model = model, .borrows = true };
    status = open_all(g, dir, adapter, err);
    if (status) goto done;
    *out = g;
    g = NULL; /* handed over */
done:
    nib_generator_close(g);
    return status;
}

nib_status nib_generator_bytes(nib_generator *g, size_t capacity, uint64_t *bytes, nib_error *err)
{
    nib_status status = nib_decoder_bytes(g->ctx, g->model->graph, capacity, 1, bytes, err);

    if (!status)
        *bytes += nib_state_bytes(g->model->graph, capacity) + nib_sampler_bytes(&g->sampler) +
                  capacity * sizeof *g->ids;
    return status;
}

nib_status nib_generator_reserve(nib_generator *g, size_t capacity, nib_error *err)
{
    nib_status status = nib_generator_make_room(g, capacity, err);

    if (!status && !nib_grow(g->ctx, &g->ids, &g->ids_capacity, capacity, sizeof *g->ids))
        status = nib_fail(err, NIB_E_NOMEM, "%zu tokens: out of memory", capacity);
    return status;
}

void nib_generator_changed(nib_generator *g)
{
    if (g->decoder) nib_decoder_forget_head(g->decoder);
}
