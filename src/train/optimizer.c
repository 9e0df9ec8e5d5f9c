/* optimizer.c - the forms of AdamW, and a step of each, divided between threads by element. */
#include "train/optimizer.h"

#include <math.h>

#include "base/thread.h"
#include "quant/dynamic_map.h"

enum { TILE = 1 << 16 }; /* whole blocks of 8-bit moments */

typedef struct form { const char *name; bool eight_bit, paged; } form;
static const form forms[] = {
    { "adamw_torch", false, false }, { "adamw_bnb_8bit", true, false },
    { "paged_adamw_32bit", false, true }, { "paged_adamw_8bit", true, true },
};

static const form *find(const char *name)
{
    for (size_t i = 0; i < NIB_COUNT(forms); i++)
        if (strcmp(forms[i].name, name) == 0) return &forms[i];
    return NULL;
}

static bool is_rate(double x) { return x >= 0 && isfinite(x); }

nib_status nib_optimizer_check(const nib_train_options *o, nib_error *err)
{
    if (!find(o->optim))
        return nib_fail(err, NIB_E_INVALID,
                        "optim: '%s', known are adamw_torch, adamw_bnb_8bit, paged_adamw_32bit, "
                        "paged_adamw_8bit",
                        o->optim);
    if (!is_rate(o->weight_decay))
        return nib_fail(err, NIB_E_INVALID, "weight_decay: %g is not a rate", o->weight_decay);
    if (!is_rate(o->loraplus_lr_ratio) || !is_rate(o->loraplus_lr_embedding) ||
        !is_rate(o->loraplus_weight_decay))
        return nib_fail(err, NIB_E_INVALID,
                        "loraplus_lr_ratio %g, loraplus_lr_embedding %g, loraplus_weight_decay %g: "
                        "numbers from 0 on",
                        o->loraplus_lr_ratio, o->loraplus_lr_embedding, o->loraplus_weight_decay);
    if (o->loraplus_lr_ratio > 0 && o->weight_decay > 0)
        return nib_fail(
            err, NIB_E_INVALID,
            "weight_decay: %g would have no effect, with loraplus_lr_ratio the decay is "
            "loraplus_weight_decay",
            o->weight_decay);
    if (!(o->loraplus_lr_ratio > 0) &&
        (o->loraplus_weight_decay > 0 || o->loraplus_lr_embedding != NIB_LORAPLUS_LR_EMBEDDING))
        return nib_fail(err, NIB_E_INVALID, "%s: has no effect without loraplus_lr_ratio",
                        o->loraplus_weight_decay > 0 ? "loraplus_weight_decay"
                                                     : "loraplus_lr_embedding");
    return NIB_OK;
}

bool nib_optimizer_is_paged(const nib_train_options *o) { return find(o->optim)->paged; }

uint64_t nib_optimizer_bytes(const nib_params *params, const nib_train_options *o, uint64_t *paged)
{
    const form *f = find(o->optim);
    uint64_t states = nib_optimizer_layout(params, f->eight_bit, NULL, NULL);
    uint64_t tables = params->count * sizeof(nib_moments) +
                      (f->eight_bit ? sizeof(nib_moment_maps) : 0);

    *paged = f->paged ? states : 0;
    return tables + states - *paged;
}

/* --- making --- */

static void make_map(bool with_sign, nib_moment_map *map)
{
    nib_dynamic_map(with_sign, map->values);
    nib_dynamic_lookup(map->values, map->lookup);
}

static nib_status make_memory(nib_optimizer *o, size_t bytes, const char *page_dir, nib_error *err)
{
    nib_status status;

    if (!o->paged) return nib_arena_create(o->ctx, bytes, &o->arena, err);
    assert(page_dir);
    status = nib_pagefile_create(o->ctx, page_dir, bytes, &o->file, err);
    return status ? nib_fail_in(err, status, "optim: states that can be paged out") : NIB_OK;
}

nib_status nib_optimizer_init(nib_ctx *ctx, const nib_kernels *k, nib_params *params,
                              const nib_train_options *o, const char *page_dir, nib_optimizer *out,
                              nib_error *err)
{
    const form *f = find(o->optim);
    size_t bytes = nib_optimizer_layout(params, f->eight_bit, NULL, NULL);
    nib_status status;

    *out = (nib_optimizer){ .ctx = ctx, .k = k, .params = params,
                            .eight_bit = f->eight_bit, .paged = f->paged,
                            .beta1 = o->adam_beta1, .beta2 = o->adam_beta2,
                            .settings = { .beta1 = (float)o->adam_beta1,
                                          .beta2 = (float)o->adam_beta2,
                                          .rest1 = (float)(1 - o->adam_beta1),
                                          .rest2 = (float)(1 - o->adam_beta2),
                                          .eps = (float)o->adam_epsilon } };
    out->moments = nib_new_array(ctx, params->count, sizeof *out->moments);
    if (f->eight_bit) out->maps = nib_new(ctx, sizeof *out->maps);
    status = out->moments && (out->maps || !f->eight_bit)
                 ? make_memory(out, bytes, page_dir, err)
                 : nib_fail(err, NIB_E_NOMEM, "optimizer: out of memory for %zu parameters",
                            params->count);
    if (status) {
        nib_optimizer_free(out);
        return status;
    }
    if (f->eight_bit) {
        make_map(true, &out->maps->m);
        make_map(false, &out->maps->v);
    }
    nib_optimizer_layout(params, f->eight_bit, out->moments,
                         f->paged ? out->file.base : out->arena.base);
    for (size_t i = 0; i < params->count; i++)
        nib_optimizer_group(o, params->items[i], &out->moments[i]);
    return NIB_OK;
}

void nib_optimizer_free(nib_optimizer *o)
{
    if (!o->ctx) return;
    nib_pagefile_close(&o->file);
    nib_arena_destroy(o->ctx, &o->arena);
    nib_free(o->ctx, o->maps);
    nib_free(o->ctx, o->moments);
    *o = (nib_optimizer){ 0 };
}

/* --- a step --- */

double nib_gradient_norm(const nib_kernels *k, const nib_params *params, double scale)
{
    double sum = 0;

    for (size_t i = 0; i < params->count; i++)
        if (nib_param_is_trained(params->items[i]))
            sum += k->sum_squares(nib_param_count(params->items[i]), params->items[i]->grad);
    return sqrt(sum) * scale;
}

typedef struct update {
    const nib_optimizer *o;
    nib_adamw s;
    const nib_param *p;
    const nib_moments *m;
} update;

static void update_tile(void *arg, size_t tile, unsigned worker)
{
    const update *u = arg;
    const nib_moments *m = u->m;
    size_t at = tile * TILE, block = at / NIB_MOMENT_BLOCK,
           n = nib_min(TILE, nib_param_count(u->p) - at);
    float *p = u->p->value + at, *g = u->p->grad + at;

    (void)worker;
    if (m->eight_bit)
        u->o->k->adamw8(&u->s, u->o->maps, n, p, g,
                        (nib_moments8){ (uint8_t *)m->m + at, (uint8_t *)m->v + at,
                                        m->m_absmax + block, m->v_absmax + block });
    else
        u->o->k->adamw(&u->s, n, p, g, (float *)m->m + at, (float *)m->v + at);
}

void nib_optimizer_lower_rates(nib_optimizer *o, const nib_plateau *p)
{
    for (size_t i = 0; i < o->params->count; i++)
        o->moments[i].learning_rate = nib_plateau_lower(p, o->moments[i].learning_rate);
}

void nib_optimizer_step(nib_optimizer *o, double factor, double scale)
{
    assert(o->moments);
    o->step++;
    o->settings.grad_scale = (float)scale;
    o->settings.bias1 = 1 - pow(o->beta1, (double)o->step);
    o->settings.bias2 = 1 - pow(o->beta2, (double)o->step);
    for (size_t i = 0; i < o->params->count; i++) {
        update u = { o, o->settings, o->params->items[i], &o->moments[i] };

        if (!nib_param_is_trained(u.p)) continue;
        u.s.lr = u.m->learning_rate * factor;
        u.s.weight_decay = u.m->weight_decay;
        nib_parallel_for(o->ctx, nib_ceil_div(nib_param_count(u.p), TILE), update_tile, &u);
    }
}
