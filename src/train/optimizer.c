/* optimizer.c - AdamW, divided between threads by element. */
#include "train/optimizer.h"

#include <math.h>

#include "base/thread.h"

enum { TILE = 1 << 16 };

nib_status nib_optimizer_init(nib_ctx *ctx, const nib_kernels *k, nib_params *params,
                              const nib_train_options *o, nib_optimizer *out, nib_error *err)
{
    size_t elements = 0;

    for (size_t i = 0; i < params->count; i++) elements += nib_param_count(params->items[i]);
    *out = (nib_optimizer){ .ctx = ctx, .k = k, .params = params, .elements = elements,
                            .beta1 = o->adam_beta1, .beta2 = o->adam_beta2,
                            .weight_decay = o->weight_decay,
                            .settings = { .beta1 = (float)o->adam_beta1, .beta2 = (float)o->adam_beta2,
                                          .rest1 = (float)(1 - o->adam_beta1), .rest2 = (float)(1 - o->adam_beta2),
                                          .eps = (float)o->adam_epsilon } };
    out->m = nib_new_array(ctx, elements, sizeof *out->m);
    out->v = nib_new_array(ctx, elements, sizeof *out->v);
    if (out->m && out->v) return NIB_OK;
    nib_optimizer_free(out);
    return nib_fail(err, NIB_E_NOMEM, "optimizer: out of memory for %zu elements", elements);
}

void nib_optimizer_free(nib_optimizer *o)
{
    if (!o->ctx) return;
    nib_free(o->ctx, o->m);
    nib_free(o->ctx, o->v);
    *o = (nib_optimizer){ 0 };
}

double nib_gradient_norm(const nib_kernels *k, const nib_params *params, double scale)
{
    double sum = 0;

    for (size_t i = 0; i < params->count; i++)
        sum += k->sum_squares(nib_param_count(params->items[i]), params->items[i]->grad);
    return sqrt(sum) * scale;
}

typedef struct update { nib_optimizer *o; nib_adamw s; nib_param *p; float *m, *v; size_t count; } update;

static void update_tile(void *arg, size_t tile, unsigned worker)
{
    update *u = arg;
    size_t at = tile * TILE;

    (void)worker;
    u->o->k->adamw(&u->s, nib_min(TILE, u->count - at), u->p->value + at, u->p->grad + at, u->m + at, u->v + at);
}

void nib_optimizer_step(nib_optimizer *o, double learning_rate, double scale)
{
    size_t done = 0;

    o->step++;
    o->settings.lr = (float)learning_rate;
    o->settings.grad_scale = (float)scale;
    o->settings.bias1 = 1 - pow(o->beta1, (double)o->step);
    o->settings.bias2 = 1 - pow(o->beta2, (double)o->step);
    for (size_t i = 0; i < o->params->count; i++) {
        nib_param *p = o->params->items[i];
        update u = { o, o->settings, p, o->m + done, o->v + done, nib_param_count(p) };

        u.s.weight_decay = p->decays ? (float)o->weight_decay : 0;
        nib_parallel_for(o->ctx, nib_ceil_div(u.count, TILE), update_tile, &u);
        done += u.count;
    }
}

size_t nib_optimizer_states(const nib_optimizer *o) { return 2 * o->params->count; }

nib_optimizer_state nib_optimizer_state_at(const nib_optimizer *o, size_t i)
{
    const nib_param *p = o->params->items[i / 2];
    size_t before = 0;

    for (size_t k = 0; k < i / 2; k++) before += nib_param_count(o->params->items[k]);
    return (nib_optimizer_state){ .param = p, .name = i % 2 ? "exp_avg_sq" : "exp_avg", .dtype = NIB_F32, .rank = 2,
                                  .shape = { p->rows, p->cols }, .data = (i % 2 ? o->v : o->m) + before,
                                  .bytes = nib_param_count(p) * sizeof(float) };
}
