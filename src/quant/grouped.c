/* grouped.c - the scheme of grouped integers: its form, and what a weight of it is. */
#include "quant/grouped.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void destroy(nib_ctx *ctx, nib_weight *w)
{
    nib_free(ctx, ((nib_grouped *)w)->owned);
    nib_free(ctx, w);
}

static bool is_finite(const nib_weight *w)
{
    const nib_grouped *q = nib_as_grouped(w);
    float scales[64];

    for (size_t g = 0; g < q->groups; g++)
        for (size_t o = 0; o < w->out; o += NIB_COUNT(scales)) {
            size_t count = nib_min(NIB_COUNT(scales), w->out - o);
            nib_grouped_scales(q, &q->kernels, g, o, count, scales);
            for (size_t i = 0; i < count; i++)
                if (!isfinite(scales[i])) return false;
        }
    return true;
}

nib_status nib_grouped_create(nib_ctx *ctx, const nib_grouped *made, nib_weight **w, nib_error *err)
{
    nib_grouped *q = nib_new(ctx, sizeof *q);

    if (!q)
        return nib_fail(err, NIB_E_NOMEM, "weight of %zu x %zu: out of memory", made->base.out,
                        made->base.in);
    *q = *made;
    q->base.scheme = &nib_grouped_scheme;
    q->kernels = nib_kernels_for(nib_ctx_cpu(ctx));
    *w = &q->base;
    return NIB_OK;
}

/* --- the form --- */

enum { MAKER, BITS, GROUP, ASYMMETRIC, ACT_ORDER }; /* of nib_form.settings */

static const char *const makers[] = { [NIB_GROUPED_GPTQ] = "gptq", [NIB_GROUPED_AWQ] = "awq",
                                      [NIB_GROUPED_PACK] = "pack-quantized",
                                      [NIB_GROUPED_INT] = "int-quantized" };

nib_form nib_grouped_form(const nib_grouped_options *o)
{
    return (nib_form){ .scheme = &nib_grouped_scheme, .dtype = o->dtype,
                       .settings = { [MAKER] = o->maker, [BITS] = o->bits, [GROUP] = o->group,
                                     [ASYMMETRIC] = o->asymmetric,
                                     [ACT_ORDER] = o->act_order } };
}

nib_grouped_options nib_grouped_form_options(const nib_form *f)
{
    assert(f->scheme == &nib_grouped_scheme);
    return (nib_grouped_options){ .maker = (nib_grouped_maker)f->settings[MAKER],
                                  .bits = f->settings[BITS], .group = f->settings[GROUP],
                                  .asymmetric = f->settings[ASYMMETRIC],
                                  .act_order = f->settings[ACT_ORDER], .dtype = f->dtype };
}

static nib_form form(const nib_weight *w)
{
    nib_grouped_options o = nib_as_grouped(w)->options;

    o.dtype = w->dtype;
    return nib_grouped_form(&o);
}

/* "gptq 4 128 sym", "awq 4 row asym", "gptq 3 128 sym act-order" */
static void describe(const nib_form *f, char text[NIB_FORM_ROOM])
{
    nib_grouped_options o = nib_grouped_form_options(f);
    char group[16] = "row";

    if (o.group == NIB_GROUP_TENSOR) snprintf(group, sizeof group, "tensor");
    else if (o.group != NIB_GROUP_ROW) snprintf(group, sizeof group, "%u", o.group);
    snprintf(text, NIB_FORM_ROOM, "%s %u %s %s%s", makers[o.maker], o.bits, group,
             o.asymmetric ? "asym" : "sym", o.act_order ? " act-order" : "");
}

static bool parse(const char *text, nib_form *f)
{
    char maker[16], group[16], sym[8], order[16] = "", again[NIB_FORM_ROOM];
    nib_grouped_options o = { .dtype = f->dtype };
    nib_form read;

    if (sscanf(text, "%15s %u %15s %7s %15s", maker, &o.bits, group, sym, order) < 4 ||
        o.bits < 2 || o.bits > 8)
        return false;
    for (unsigned i = 0; i < NIB_COUNT(makers); i++)
        if (strcmp(maker, makers[i]) == 0) o.maker = (nib_grouped_maker)i;
    o.asymmetric = sym[0] == 'a';
    o.act_order = *order != 0;
    if (strcmp(group, "tensor") == 0) o.group = NIB_GROUP_TENSOR;
    else if (strcmp(group, "row") != 0) o.group = (unsigned)strtoul(group, NULL, 10);
    read = nib_grouped_form(&o);
    describe(&read, again); /* what is written otherwise is no form's text */
    if (strcmp(text, again) != 0) return false;
    *f = read;
    return true;
}

bool nib_grouped_sizes_of(const nib_grouped_options *o, size_t out, size_t in, nib_grouped_sizes *s)
{
    uint64_t elements, scales;
    bool words = o->maker != NIB_GROUPED_INT;

    *s = (nib_grouped_sizes){ 0 };
    if (!nib_mul_u64(out, in, &elements) || elements > SIZE_MAX / 16 || !out || !in) return false;
    s->group = o->group == NIB_GROUP_ROW || o->group == NIB_GROUP_TENSOR ? in
                                                                        : nib_min(o->group, in);
    s->group_count = nib_ceil_div(in, s->group);
    scales = o->group == NIB_GROUP_TENSOR ? 1 : (uint64_t)s->group_count * out;
    s->codes = !words ? elements
               : o->maker == NIB_GROUPED_AWQ ? (uint64_t)in * nib_ceil_div(out * o->bits, 32) * 4
               : o->maker == NIB_GROUPED_PACK ? (uint64_t)out * nib_ceil_div(in * o->bits, 32) * 4
                                              : (uint64_t)nib_ceil_div(in * o->bits, 32) * out * 4;
    s->scales = scales * (o->maker <= NIB_GROUPED_AWQ ? sizeof(uint16_t) : nib_dtype_bytes(o->dtype));
    if (o->maker <= NIB_GROUPED_AWQ || (o->asymmetric && words))
        s->zeros = (uint64_t)s->group_count * nib_ceil_div(out * o->bits, 32) * 4;
    else if (o->asymmetric)
        s->zeros = scales;
    if (o->maker == NIB_GROUPED_GPTQ || o->act_order) s->groups = in * sizeof(int32_t);
    if (o->asymmetric) s->unpacked = (uint64_t)s->group_count * out;
    return true;
}

static bool bytes(const nib_form *f, size_t out, size_t in, uint64_t *bytes)
{
    nib_grouped_options o = nib_grouped_form_options(f);
    nib_grouped_sizes s;

    if (!nib_grouped_sizes_of(&o, out, in, &s)) return false;
    *bytes = s.codes + s.scales + s.zeros + s.groups + s.unpacked;
    return true;
}

const nib_scheme nib_grouped_scheme = {
    .name = "grouped", .decode_tile = nib_grouped_decode_tile, .destroy = destroy, .form = form,
    .finite = is_finite, .pack = nib_grouped_pack, .dot_kind = nib_grouped_dot_kind,
    .dot_ready = nib_grouped_dot_ready, .dot = nib_grouped_dot, .describe = describe,
    .parse = parse, .bytes = bytes, .encode = nib_grouped_encode,
};
