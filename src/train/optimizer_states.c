/* optimizer_states.c - where the moments of each parameter lie, and what they are called in a
 * checkpoint.
 *
 * One block of memory, each tensor from a line of cache on: m, v, and of 8-bit ones their
 * scales. */
#include "train/optimizer.h"

enum {
    LINE = 64,
    MIN_8BIT_SIZE = 4096 /* values: bitsandbytes' min_8bit_size */,
    NAMES_32 = 2,
    NAMES_8 = 6
};

/* Embeddings keep 32 bits, as Trainer registers them with bitsandbytes. */
static bool has_codes(const nib_param *p, bool eight_bit)
{
    return eight_bit && nib_param_count(p) >= MIN_8BIT_SIZE && p->kind != NIB_PARAM_EMBEDDING;
}

static size_t blocks_of(const nib_param *p)
{
    return nib_ceil_div(nib_param_count(p), NIB_MOMENT_BLOCK);
}

static void *place(uint8_t *base, size_t *used, size_t bytes)
{
    void *p = base ? base + *used : NULL;
    *used += nib_round_up(bytes, LINE);
    return p;
}

size_t nib_optimizer_layout(const nib_params *params, bool eight_bit, nib_moments *moments,
                            uint8_t *base)
{
    size_t used = 0;

    for (size_t i = 0; i < params->count; i++) {
        const nib_param *p = params->items[i];
        bool codes = has_codes(p, eight_bit);
        size_t bytes = nib_param_count(p) * (codes ? 1 : sizeof(float)),
               scales = codes ? blocks_of(p) * sizeof(float) : 0;
        nib_moments m = { .eight_bit = codes };

        if (!nib_param_is_trained(p)) continue;
        m.m = place(base, &used, bytes);
        m.v = place(base, &used, bytes);
        m.m_absmax = place(base, &used, scales);
        m.v_absmax = place(base, &used, scales);
        if (moments) moments[i] = m;
    }
    return used;
}

/* --- as named tensors --- */

static size_t names_of(const nib_optimizer *o, size_t i)
{
    return !nib_param_is_trained(o->params->items[i]) ? 0
           : o->moments[i].eight_bit                  ? NAMES_8
                                                      : NAMES_32;
}

size_t nib_optimizer_states(const nib_optimizer *o)
{
    size_t count = 0;

    for (size_t i = 0; i < o->params->count; i++) count += names_of(o, i);
    return count;
}

static nib_optimizer_state vector(const nib_param *p, const char *name, float *data, size_t count)
{
    return (nib_optimizer_state){ .param = p, .name = name, .dtype = NIB_F32,
                                  .rank = 1, .shape = { count }, .data = data,
                                  .bytes = count * sizeof *data };
}

nib_optimizer_state nib_optimizer_state_at(const nib_optimizer *o, size_t i)
{
    static const char *const names[] = {
        "state1", "state2", "absmax1", "absmax2", "qmap1", "qmap2"
    };
    bool torch = !o->eight_bit && !o->paged;
    size_t at = 0;
    const nib_param *p;
    const nib_moments *m;
    nib_optimizer_state s;

    for (; i >= names_of(o, at); at++) i -= names_of(o, at);
    p = o->params->items[at];
    m = &o->moments[at];
    if (i >= 4) {
        s = vector(p, names[i], i == 4 ? o->maps->m.values : o->maps->v.values, 256);
        s.fixed = true;
        return s;
    }
    if (i >= 2) {
        s = vector(p, names[i], i == 2 ? m->m_absmax : m->v_absmax, blocks_of(p));
        s.scale = true;
        return s;
    }
    return (nib_optimizer_state){ .param = p,
                                  .name = torch ? i ? "exp_avg_sq" : "exp_avg" : names[i],
                                  .dtype = m->eight_bit ? NIB_U8 : NIB_F32,
                                  .rank = 2, .shape = { p->rows, p->cols },
                                  .data = i ? m->v : m->m,
                                  .bytes = nib_param_count(p) *
                                           (m->eight_bit ? 1 : sizeof(float)) };
}
