/* blank.c - random weights in the place of those that are not there (quant/weight_blank.c). */
#include "model/model.h"
#include "quant/replaced.h"

/* What is no blank weight stays. */
static nib_status fill(nib_ctx *ctx, nib_weight **w, nib_error *err)
{
    nib_weight *blank = *w, *filled = NULL;
    nib_status status;

    if (!nib_weight_is_blank(blank)) return NIB_OK;
    status = nib_weight_fill(ctx, blank, &filled, err);
    if (status) return status;
    filled->source = "";
    nib_weight_destroy(ctx, blank);
    *w = filled;
    return NIB_OK;
}

nib_status nib_model_fill(nib_model *m, nib_model_progress progress, nib_error *err)
{
    nib_embedding *e = m->embedding;
    nib_weight **w = e->frozen ? &e->frozen : &e->weight, *old = *w;
    nib_status status = NIB_OK;

    /* A map gives only the rows in use; an embedding that is not the head too decodes its own. */
    if (m->tied) status = fill(m->ctx, w, err);
    if (e->rows && *w != old) nib_replaced_move(e->weight, *w); /* it read the blank one */
    for (size_t i = 0; i < m->linear_count && !status; i++) { /* tied weights are one */
        nib_linear *l = m->linears[i];
        if (l->frozen == old) l->frozen = *w;
        if (l->weight == old) l->weight = *w;
    }
    for (size_t i = 0; i < m->linear_count && !status; i++) {
        nib_linear *l = m->linears[i];
        status = fill(m->ctx, l->frozen ? &l->frozen : &l->weight, err);
        if (progress.report)
            progress.report(progress.user, "random weights",
                            (double)(i + 1) / (double)m->linear_count);
    }
    return status;
}
