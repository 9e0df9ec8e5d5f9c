/* schemes.c - the list of schemes, and what asks all of them. */
#include "quant/additive.h"
#include "quant/block.h"
#include "quant/bnb4.h"
#include "quant/dense.h"
#include "quant/float4.h"
#include "quant/float8.h"
#include "quant/grouped.h"
#include "quant/int8.h"

/* Every scheme once. */
static const nib_scheme *const schemes[] = { &nib_dense_scheme, &nib_bnb4_scheme,
                                             &nib_int8_scheme, &nib_grouped_scheme,
                                             &nib_block_scheme, &nib_float8_scheme,
                                             &nib_float4_scheme, &nib_additive_scheme };

bool nib_form_parse(const char *text, nib_form *f)
{
    for (size_t i = 0; i < NIB_COUNT(schemes); i++)
        if (schemes[i]->parse(text, f)) return true;
    return false;
}
