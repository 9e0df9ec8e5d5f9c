/* bit_plan.c - see bit_plan.h. */
#include "job/bit_plan.h"

#include <math.h>
#include <stdio.h>

#include "job/bit_rules.h"

static const char *const widths[NIB_BIT_WIDTHS] = { "2", "3", "4", "8" };
static const unsigned width_bits[NIB_BIT_WIDTHS] = { 2, 3, 4, 8 };

enum { MOST_SETTINGS = 32, MOST_NAME = 600 };

/* --- what is asked for --- */

nib_status nib_bit_plan_asked(const nib_quantize_options *o, const nib_held *held,
                              const char *algorithm, bool *asked, nib_error *err)
{
    const char *name;
    nib_status status = nib_allot_asked(o->target_size, o->target_bpw, asked, &name, err);

    if (status || !*asked) return status;
    if (nib_setting_value(o->settings, "bits"))
        return nib_fail(err, NIB_E_INVALID, "bits and %s: with a target each matrix gets bits of "
                        "its own; leave one of them out", name);
    if (!held->format->name || strcmp(held->format->name, "gptq") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: written of format gptq, whose files have "
                        "rules for single modules, and of GGUF (nibble export), not of %s", name,
                        held->format->known);
    if (algorithm && strcmp(algorithm, "gptq") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: errors are measured of algorithms gptq and "
                        "rtn, not of %s", name, algorithm);
    return NIB_OK;
}

/* --- matrices --- */

nib_status nib_bit_plan_create(nib_ctx *ctx, const nib_quantize_options *o, size_t matrices,
                               nib_bit_plan *p, nib_error *err)
{
    *p = (nib_bit_plan){ .ctx = ctx, .options = o };
    p->matrices = nib_new_array(ctx, matrices, sizeof *p->matrices);
    p->parts = nib_new_array(ctx, matrices, sizeof *p->parts);
    if (p->matrices && p->parts) return NIB_OK;
    return nib_fail(err, NIB_E_NOMEM, "%zu matrices: out of memory", matrices);
}

void nib_bit_plan_free(nib_bit_plan *p)
{
    if (!p->ctx) return;
    nib_free(p->ctx, p->matrices);
    nib_free(p->ctx, p->parts);
    *p = (nib_bit_plan){ 0 };
}

/* What is asked for, in so many bits. */
static nib_status form_of(const nib_bit_plan *p, size_t width, const nib_gptq_options *gptq,
                          nib_form *form, nib_error *err)
{
    const nib_setting *asked = p->options->settings, *idle;
    nib_setting settings[MOST_SETTINGS + 2];
    nib_held held;
    size_t n = 0;
    nib_status status;

    for (; asked && asked[n].key; n++) {
        if (n == MOST_SETTINGS)
            return nib_fail(err, NIB_E_INVALID, "more than %d settings", MOST_SETTINGS);
        settings[n] = asked[n];
    }
    settings[n++] = (nib_setting){ "bits", widths[width] };
    settings[n] = (nib_setting){ 0 };
    status = nib_held_asked(settings, &held, &idle, err);
    if (!status) *form = gptq ? nib_gptq_form(&held.form, gptq) : held.form;
    return status;
}

static nib_status add_width(nib_bit_plan *p, const nib_format *format, size_t width, size_t out,
                            size_t in, nib_dtype dtype, const nib_gptq_options *gptq,
                            nib_error *err)
{
    nib_bit_matrix *m = &p->matrices[p->count];
    nib_allot_part *part = &p->parts[p->count];
    nib_form form = { 0 };
    char name[MOST_NAME];
    nib_parts_out parts;
    nib_status status = form_of(p, width, gptq, &form, err);

    form.dtype = dtype;
    snprintf(name, sizeof name, "%s.weight", m->module);
    if (!status) status = nib_gptq_check(&form, gptq ? gptq : &nib_gptq_defaults, out, in, err);
    if (!status)
        status = format->plan(&form, out, in, (nib_learned){ 0 }, name, &parts, err);
    if (status) return status;
    m->bits[part->count] = width_bits[width];
    m->forms[part->count] = form;
    for (size_t i = 0; i < parts.count; i++)
        part->choices[part->count].bytes += parts.parts[i].bytes;
    part->count++;
    return NIB_OK;
}

nib_status nib_bit_plan_add(nib_bit_plan *p, const nib_format *format, const char *module,
                            size_t out, size_t in, nib_dtype dtype, const nib_gptq_options *gptq,
                            nib_error *err)
{
    nib_bit_matrix *m = &p->matrices[p->count];
    nib_error last;

    m->module = module;
    m->weights = (uint64_t)out * in;
    p->parts[p->count].weight = (double)m->weights;
    for (size_t i = 0; i < NIB_BIT_WIDTHS; i++) {
        nib_status status = add_width(p, format, i, out, in, dtype, gptq, &last);
        if (status && status != NIB_E_UNSUPPORTED)
            return nib_fail(err, status, "%s: %s", module, last.message);
    }
    if (!p->parts[p->count].count)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: %s", module, last.message);
    p->count++;
    return NIB_OK;
}

const nib_form *nib_bit_plan_form(const nib_bit_plan *p, size_t i, nib_allot_which which)
{
    return &p->matrices[i].forms[nib_allot_choice_of(&p->parts[i], which)];
}

/* --- the target --- */

static uint64_t weights_of(const nib_bit_plan *p)
{
    uint64_t weights = 0;

    for (size_t i = 0; i < p->count; i++) weights += p->matrices[i].weights;
    return weights;
}

double nib_bit_plan_bits(const nib_bit_plan *p, nib_allot_which which)
{
    uint64_t bytes = nib_allot_bytes(p->parts, p->count, which);

    return 8 * (double)bytes / (double)nib_max(weights_of(p), 1);
}

/* The room in the packed tensors' bytes.  Those of all files less those of the packed ones are the
 * rest: dense tensors and headers, which are the longest where tensors are. */
nib_status nib_bit_plan_set_room(nib_bit_plan *p, uint64_t least, uint64_t most, nib_error *err)
{
    const nib_quantize_options *o = p->options;
    uint64_t narrow = nib_allot_bytes(p->parts, p->count, NIB_ALLOT_LEAST),
             wide = nib_allot_bytes(p->parts, p->count, NIB_ALLOT_MOST);
    double low = nib_bit_plan_bits(p, NIB_ALLOT_LEAST), high = nib_bit_plan_bits(p, NIB_ALLOT_MOST);

    if (o->target_size && (o->target_size < least || o->target_size > most))
        return nib_fail(err, NIB_E_INVALID, "target_size: %.6g MB are asked for, and %s takes "
                        "%.6g MB with all matrices at their narrowest and %.6g MB at their widest "
                        "(2 to 8 bits): name a size from %" PRIu64 " to %" PRIu64 " bytes",
                        (double)o->target_size / 1e6, o->model, (double)least / 1e6,
                        (double)most / 1e6, least, most);
    if (!o->target_size && (o->target_bpw < low || o->target_bpw > high))
        return nib_fail(err, NIB_E_INVALID, "target_bpw: %g bits a weight are asked for, scales "
                        "counted; %s takes %.4f with all matrices at their narrowest and %.4f at "
                        "their widest (2 to 8 bits)", o->target_bpw, o->model, low, high);
    if (o->target_size) {
        uint64_t rest = most - wide;
        p->room = o->target_size > rest ? o->target_size - rest : 0;
    } else {
        p->room = (uint64_t)(o->target_bpw * (double)weights_of(p) / 8);
    }
    p->room = nib_max(p->room, narrow); /* a header less long makes up for the difference */
    return NIB_OK;
}

nib_status nib_bit_plan_measure(nib_bit_plan *p, size_t i, const nib_weight *w, nib_error *err)
{
    nib_allot_part *part = &p->parts[i];
    double whole = 0;
    nib_status status = nib_weight_distance(p->ctx, w, NULL, &whole, err);

    for (size_t k = 0; k < part->count && !status; k++) {
        nib_weight *made = NULL;
        double lost = 0;
        status = nib_form_encode(p->ctx, &p->matrices[i].forms[k], w, &made, err);
        if (!status) status = nib_weight_distance(p->ctx, w, made, &lost, err);
        nib_weight_destroy(p->ctx, made);
        part->choices[k].error = whole > 0 ? lost / whole : 0;
        if (!status && !isfinite(part->choices[k].error))
            status = nib_fail(err, NIB_E_NUMERIC, "the matrix holds a value that is not finite");
    }
    return status ? nib_fail_in(err, status, "%s", p->matrices[i].module) : NIB_OK;
}

/* How many matrices have each width; and which one most weights have. */
static void count_widths(nib_bit_plan *p, size_t matrices[NIB_BIT_WIDTHS])
{
    uint64_t weights[NIB_BIT_WIDTHS] = { 0 }, most = 0;

    for (size_t i = 0; i < p->count; i++)
        for (size_t k = 0; k < NIB_BIT_WIDTHS; k++) {
            if (p->matrices[i].bits[p->parts[i].chosen] != width_bits[k]) continue;
            matrices[k]++;
            weights[k] += p->matrices[i].weights;
        }
    for (size_t k = 0; k < NIB_BIT_WIDTHS; k++)
        if (weights[k] > most) most = weights[k], p->usual_bits = width_bits[k];
    for (size_t i = 0; i < p->count; i++)
        if (p->matrices[i].bits[p->parts[i].chosen] == p->usual_bits)
            p->usual = p->matrices[i].forms[p->parts[i].chosen];
}

nib_status nib_bit_plan_allot(nib_bit_plan *p, nib_error *err)
{
    size_t matrices[NIB_BIT_WIDTHS] = { 0 };
    nib_status status = nib_allot(p->ctx, p->parts, p->count, p->room, err);

    if (status) return status;
    count_widths(p, matrices);
    p->allotted = true;
    nib_note(p->ctx, "bits allotted by measured error: 2 bits to %zu matrices, 3 to %zu, 4 to %zu, "
             "8 to %zu: %.4f bits a weight, scales counted", matrices[0], matrices[1], matrices[2],
             matrices[3], nib_bit_plan_bits(p, NIB_ALLOT_CHOSEN));
    return NIB_OK;
}

nib_status nib_bit_plan_put_rules(const nib_bit_plan *p, json_t *config, nib_error *err)
{
    nib_status status = NIB_OK;

    for (size_t i = 0; i < p->count && !status; i++) {
        unsigned bits = p->matrices[i].bits[p->parts[i].chosen];
        if (bits != p->usual_bits)
            status = nib_bit_rule_put(p->ctx, config, p->matrices[i].module, bits, err);
    }
    return status;
}
