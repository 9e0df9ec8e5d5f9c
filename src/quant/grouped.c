/* grouped.c - the scheme of grouped integers: what a weight of it is. */
#include "quant/grouped.h"

#include <math.h>

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

nib_form nib_grouped_form(const nib_grouped_options *o)
{
    return nib_grouped_form_of(&nib_grouped_scheme, o);
}

static nib_form form(const nib_weight *w)
{
    nib_grouped_options o = nib_as_grouped(w)->options;

    o.dtype = w->dtype;
    return nib_grouped_form(&o);
}

static bool parse(const char *text, nib_form *f)
{
    return nib_grouped_parse(&nib_grouped_scheme, text, f);
}

static bool bytes(const nib_form *f, size_t out, size_t in, uint64_t *bytes)
{
    nib_grouped_options o = nib_grouped_form_options(f);
    nib_grouped_sizes s;

    if (!nib_grouped_sizes_of(&o, out, in, &s)) return false;
    *bytes = s.codes + s.scales + s.zeros + s.groups + s.unpacked;
    return true;
}

static nib_status encode(nib_ctx *ctx, const nib_form *f, const nib_weight *from, nib_weight **w,
                         nib_error *err)
{
    nib_grouped made = { 0 };
    nib_status status = nib_grouped_encode(ctx, f, from, &made, err);

    if (!status) status = nib_grouped_create(ctx, &made, w, err);
    if (status) nib_free(ctx, made.owned);
    return status;
}

const nib_scheme nib_grouped_scheme = {
    .name = "grouped", .decode_tile = nib_grouped_decode_tile, .destroy = destroy, .form = form,
    .finite = is_finite, .pack = nib_grouped_pack, .dot_kind = nib_grouped_dot_kind,
    .dot_ready = nib_grouped_dot_ready, .dot = nib_grouped_dot, .dot_wide = nib_grouped_dot_wide,
    .describe = nib_grouped_describe,
    .parse = parse, .bytes = bytes, .encode = encode,
};
