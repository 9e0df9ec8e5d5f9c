/* merged.c - see merged.h.  A fingerprint is of the adapter's parameters, their names and values,
 * so that it is the same whatever file they come from. */
#include "adapter/merged.h"

#include "base/hash.h"

enum { DIGITS = 16 };

static void fingerprint(const nib_adapter *a, char digits[DIGITS + 1])
{
    nib_sha256 h;
    char hex[65];

    nib_sha256_begin(&h);
    for (size_t i = 0; i < a->params.count; i++) {
        const nib_param *p = a->params.items[i];
        nib_sha256_add(&h, p->name, strlen(p->name) + 1);
        nib_sha256_add(&h, p->value, nib_param_count(p) * sizeof *p->value);
    }
    nib_sha256_end(&h, hex);
    memcpy(digits, hex, DIGITS);
    digits[DIGITS] = 0;
}

char *nib_merged_list(nib_ctx *ctx, const nib_tensors *tensors, const nib_adapter *more)
{
    const char *before = tensors ? nib_tensors_metadata(tensors, NIB_MERGED_KEY) : NULL;
    char digits[DIGITS + 1] = "";

    if (more) fingerprint(more, digits);
    return nib_sprintf(ctx, "%s%s%s", before ? before : "", before && more ? "," : "", digits);
}

void nib_merged_warn(const nib_adapter *a)
{
    const nib_tensors *tensors = a->model->tensors;
    const char *merged = tensors ? nib_tensors_metadata(tensors, NIB_MERGED_KEY) : NULL,
               *base = a->config.base_model_name_or_path;
    char digits[DIGITS + 1];

    if (!merged) return;
    fingerprint(a, digits);
    if (strstr(merged, digits))
        nib_warn_code(a->ctx, "merged-already",
                      "%s: this adapter is merged into %s already, so that its change counts "
                      "twice: leave it out, or name the model it was trained on%s%s",
                      a->dir, a->model->dir, base ? ", " : "", base ? base : "");
}
