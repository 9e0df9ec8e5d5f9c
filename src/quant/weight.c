/* weight.c - what all schemes share. */
#include "quant/weight.h"

void nib_weight_destroy(nib_ctx *ctx, nib_weight *w)
{
    if (w) w->scheme->destroy(ctx, w);
}
