/* new_head.c - see new_head.h.  torch draws from its own generator, whose numbers nobody relies on:
 * the law is the same, the numbers are Philox's. */
#include "model/new_head.h"

#include <math.h>

#include "base/hash.h"
#include "base/random.h"

enum { SALT = 0x68656164 }; /* apart from the keys of other draws of the seed */

static void draw(float *out, size_t n, double deviation, uint64_t seed, const char *module)
{
    const uint32_t key[2] = { (uint32_t)seed ^ nib_fnv1a(module, strlen(module)),
                              (uint32_t)(seed >> 32) ^ SALT };

    nib_normal_fill(out, n, key, 0, 0, deviation);
}

static nib_status note(nib_model *m, nib_linear *l, nib_error *err)
{
    if (!nib_grow(m->ctx, &m->new_linears, &m->new_capacity, m->new_count + 1,
                  sizeof *m->new_linears))
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", l->name);
    m->new_linears[m->new_count++] = l;
    return NIB_OK;
}

nib_status nib_new_head(nib_model *m, nib_linear *l, const nib_linear_spec *spec,
                        const nib_model_options *o, nib_error *err)
{
    const json_t *range = json_object_get(m->json, "initializer_range");
    double deviation = range ? json_number_value(range) : 0.02;
    size_t n = spec->out * spec->in; /* the builder has checked the product */
    float *values;
    nib_status status;

    if ((range && !json_is_number(range)) || !(deviation >= 0 && isfinite(deviation)))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s/config.json: initializer_range is no number of 0 or more", m->dir);
    values = nib_new_array(m->ctx, n, sizeof *values);
    if (spec->bias) l->bias = nib_new_array(m->ctx, spec->out, sizeof *l->bias);
    if (!values || (spec->bias && !l->bias)) {
        nib_free(m->ctx, values);
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", l->name);
    }
    draw(values, n, deviation, o->head_seed, l->name);
    status = nib_weight_dense(m->ctx, spec->out, spec->in, NIB_F32, values, values, &l->weight,
                              err);
    if (status) {
        nib_free(m->ctx, values);
        return status;
    }
    l->weight->source = "";
    m->parameters += n + (spec->bias ? spec->out : 0);
    m->weight_bytes += l->weight->bytes;
    m->owned_bytes += l->weight->bytes;
    return note(m, l, err);
}
