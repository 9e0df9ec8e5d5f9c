/* mlx_layout.c - see mlx_layout.h. */
#include "model/mlx_layout.h"

#include <stdio.h>

#include "model/mlx_halves.h"

static const char lfm2[] = ".conv.conv.weight", delta[] = ".linear_attn.conv1d.weight",
                  mamba[] = ".mamba.conv1d.weight";

/* What the convolutions tell of the family. */
typedef struct changing {
    nib_tensors *tensors;
    bool lfm2, delta, granite;
    bool dense; /* granite without experts */
    bool latent; /* DeepSeek-V3's kv_b_proj is two that are packed */
} changing;

static bool is_turned(const nib_tensor *t, const char *end)
{
    return t->rank == 3 && t->shape[2] == 1 && t->shape[1] > 1 && nib_ends_with(t->name, end);
}

/* Is there a tensor `part` in the layer of the convolution? */
static bool has_beside(const nib_tensors *tensors, const nib_tensor *conv, const char *part)
{
    char beside[NIB_MLX_NAME_ROOM];
    int top = (int)(strlen(conv->name) - strlen(mamba));
    int n = snprintf(beside, sizeof beside, "%.*s%s", top, conv->name, part);

    return n < (int)sizeof beside && nib_tensors_find(tensors, beside);
}

/* Before any has changed. */
static changing look(nib_tensors *tensors)
{
    changing c = { .tensors = tensors };

    for (size_t i = 0; i < nib_tensors_count(tensors); i++) {
        const nib_tensor *t = nib_tensors_at(tensors, i);
        c.lfm2 |= is_turned(t, lfm2);
        c.delta |= is_turned(t, delta);
        c.latent |= nib_ends_with(t->name, ".self_attn.embed_q.scales");
        if (!is_turned(t, mamba)) continue;
        c.dense |= has_beside(tensors, t, ".mlp.down_proj.weight");
        c.granite |= c.dense || has_beside(tensors, t, ".shared_mlp.output_linear.weight");
    }
    return c;
}

/* Norms of 1 + w; that of the recurrence's output is none. */
static bool is_one_more(const nib_tensor *t)
{
    static const char *const ends[] = { ".input_layernorm.weight",
                                        ".post_attention_layernorm.weight", "model.norm.weight",
                                        ".q_norm.weight", ".k_norm.weight" };

    for (size_t i = 0; i < NIB_COUNT(ends); i++)
        if (t->rank == 1 && nib_ends_with(t->name, ends[i])) return true;
    return false;
}

/* The keys' tensors get kv_b_proj's name, by which the format finds the values' (format_mlx.c). */
static nib_status name_latent(const changing *c, nib_tensor *t, nib_error *err)
{
    char name[NIB_MLX_NAME_ROOM], *kept;

    if (strstr(t->name, ".self_attn.unembed_out.")) t->foreign = t->is_rest = true;
    if (!nib_mlx_latent_of(t->name, name)) return NIB_OK;
    kept = nib_tensors_alloc(c->tensors, strlen(name) + 1);
    if (!kept) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", t->file);
    t->name = strcpy(kept, name);
    return NIB_OK;
}

static nib_status change(void *self, nib_tensor *t, nib_error *err)
{
    const changing *c = self;
    nib_mlx_place to;

    if ((c->lfm2 && is_turned(t, lfm2)) || (c->delta && is_turned(t, delta)) ||
        (c->granite && is_turned(t, mamba))) {
        t->shape[2] = t->shape[1];
        t->shape[1] = 1;
    }
    if (c->delta && is_one_more(t)) t->offset = -1;
    if (c->latent) return name_latent(c, t, err);
    return c->dense && nib_mlx_shared(t->name, &to) ? nib_mlx_keep(c->tensors, t, &to, 0, err)
                                                    : NIB_OK;
}

nib_status nib_mlx_take_layout(nib_tensors *tensors, nib_error *err)
{
    changing c = look(tensors);

    if (!c.lfm2 && !c.delta && !c.granite && !c.latent) return NIB_OK;
    return nib_tensors_change(tensors, change, &c, err);
}
