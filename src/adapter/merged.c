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

char *nib_merged_list(nib_ctx *ctx, const nib_tensors *tensors, nib_adapter *const *more,
                      size_t count)
{
    const char *before = tensors ? nib_tensors_metadata(tensors, NIB_MERGED_KEY) : NULL;
    char *list = nib_strdup(ctx, before ? before : "");

    for (size_t i = 0; list && i < count; i++) {
        char digits[DIGITS + 1], *shorter = list;
        fingerprint(more[i], digits);
        list = nib_sprintf(ctx, "%s%s%s", shorter, *shorter ? "," : "", digits);
        nib_free(ctx, shorter);
    }
    return list;
}

char *nib_merged_list_without(nib_ctx *ctx, const nib_tensors *tensors, nib_adapter *const *fewer,
                              size_t count)
{
    char *list = nib_merged_list(ctx, tensors, NULL, 0);

    for (size_t i = 0; list && i < count; i++) {
        char digits[DIGITS + 1], *at, *end;
        fingerprint(fewer[i], digits);
        at = strstr(list, digits);
        if (!at) continue;
        end = at + DIGITS;
        if (*end) end++;             /* the comma behind it, */
        else if (at > list) at--;    /* or the one before */
        memmove(at, end, strlen(end) + 1);
    }
    return list;
}

nib_status nib_merged_check(const nib_adapter *a, nib_error *err)
{
    const nib_tensors *tensors = a->model->tensors;
    const char *merged = tensors ? nib_tensors_metadata(tensors, NIB_MERGED_KEY) : NULL;
    char digits[DIGITS + 1];

    if (!merged) {
        nib_warn_code(a->ctx, "not-merged", "%s does not say which adapters it holds: it is taken "
                      "at your word that %s is one of them", a->model->dir, a->dir);
        return NIB_OK;
    }
    fingerprint(a, digits);
    if (strstr(merged, digits)) return NIB_OK;
    return nib_fail(err, NIB_E_MISMATCH, "%s: is not merged into %s, which holds %s", a->dir,
                    a->model->dir, *merged ? "others" : "none");
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
