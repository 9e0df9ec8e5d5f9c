/* grouped_form.c - the form of grouped integers: its settings, its text, and the sizes that it
 * gives. */
#include <stdio.h>
#include <stdlib.h>

#include "quant/grouped.h"

enum { MAKER, BITS, GROUP, ASYMMETRIC, ACT_ORDER }; /* of nib_form.settings */

static const char *const makers[] = { [NIB_GROUPED_GPTQ] = "gptq", [NIB_GROUPED_AWQ] = "awq",
                                      [NIB_GROUPED_PACK] = "pack-quantized",
                                      [NIB_GROUPED_INT] = "int-quantized",
                                      [NIB_GROUPED_MLX] = "mlx" };

nib_form nib_grouped_form_of(const nib_scheme *scheme, const nib_grouped_options *o)
{
    return (nib_form){ .scheme = scheme, .dtype = o->dtype,
                       .settings = { [MAKER] = o->maker, [BITS] = o->bits, [GROUP] = o->group,
                                     [ASYMMETRIC] = o->asymmetric,
                                     [ACT_ORDER] = o->act_order } };
}

nib_grouped_options nib_grouped_form_options(const nib_form *f)
{
    return (nib_grouped_options){ .maker = (nib_grouped_maker)f->settings[MAKER],
                                  .bits = f->settings[BITS], .group = f->settings[GROUP],
                                  .asymmetric = f->settings[ASYMMETRIC],
                                  .act_order = f->settings[ACT_ORDER], .dtype = f->dtype };
}

/* "gptq 4 128 sym", "awq 4 row asym", "gptq 3 128 sym act-order", "mlx 4 64 affine" */
void nib_grouped_describe(const nib_form *f, char text[NIB_FORM_ROOM])
{
    nib_grouped_options o = nib_grouped_form_options(f);
    char group[16] = "row";

    if (o.group == NIB_GROUP_TENSOR) snprintf(group, sizeof group, "tensor");
    else if (o.group != NIB_GROUP_ROW) snprintf(group, sizeof group, "%u", o.group);
    snprintf(text, NIB_FORM_ROOM, "%s %u %s %s%s", makers[o.maker], o.bits, group,
             o.maker == NIB_GROUPED_MLX ? "affine" : o.asymmetric ? "asym" : "sym",
             o.act_order ? " act-order" : "");
}

bool nib_grouped_parse(const nib_scheme *scheme, const char *text, nib_form *f)
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
    read = nib_grouped_form_of(scheme, &o);
    nib_grouped_describe(&read, again); /* what is written otherwise is no form's text */
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
               : o->maker >= NIB_GROUPED_PACK ? (uint64_t)out * nib_ceil_div(in * o->bits, 32) * 4
                                              : (uint64_t)nib_ceil_div(in * o->bits, 32) * out * 4;
    s->scales = scales *
                (o->maker <= NIB_GROUPED_AWQ ? sizeof(uint16_t) : nib_dtype_bytes(o->dtype));
    if (o->maker == NIB_GROUPED_MLX) { /* biases in their place */
        s->zeros = s->scales;
        return true;
    }
    if (o->maker <= NIB_GROUPED_AWQ || (o->asymmetric && words))
        s->zeros = (uint64_t)s->group_count * nib_ceil_div(out * o->bits, 32) * 4;
    else if (o->asymmetric)
        s->zeros = scales;
    if (o->maker == NIB_GROUPED_GPTQ || o->act_order) s->groups = in * sizeof(int32_t);
    if (o->asymmetric) s->unpacked = (uint64_t)s->group_count * out;
    return true;
}
