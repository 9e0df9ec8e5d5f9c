/* merged.c - see merged.h.  A fingerprint is of the adapter's parameters, their names and values,
 * so that it is the same whatever file they come from. */
#include "adapter/merged.h"

#include <stdio.h>

#include "adapter/halves.h"
#include "base/hash.h"

enum { DIGITS = NIB_FINGERPRINT_ROOM - 1 };

void nib_merged_fingerprint(const nib_adapter *a, bool change, char digits[NIB_FINGERPRINT_ROOM])
{
    nib_sha256 h;
    char hex[65];

    nib_sha256_begin(&h);
    for (size_t i = 0; i < a->params.count; i++) {
        const nib_param *p = a->params.items[i];
        const nib_half half = change ? nib_halves_second(a, p) : (nib_half){ NULL, false };
        size_t n = nib_param_count(p);
        if (change && !nib_param_is_low_rank(p)) continue;
        nib_sha256_add(&h, p->name, strlen(p->name) + 1);
        if (!change) nib_sha256_add(&h, p->value, n * sizeof *p->value);
        for (size_t k = 0; change && k < n; k++) {
            float x = nib_half_value(half, k);
            nib_sha256_add(&h, &x, sizeof x);
        }
    }
    nib_sha256_end(&h, hex);
    memcpy(digits, hex, DIGITS);
    digits[DIGITS] = 0;
}

static void fingerprint(const nib_adapter *a, char digits[DIGITS + 1])
{
    nib_merged_fingerprint(a, false, digits);
}

/* The options of `quantize` that make a base of the form. */
static void write_options(const char *form, char out[160])
{
    char type[8] = "";
    unsigned block = 0;

    if (strncmp(form, "int8", 4) == 0) snprintf(out, 160, "--load-in-8bit");
    else if (sscanf(form, "%7s %u", type, &block) == 2)
        snprintf(out, 160, "--load-in-4bit --bnb-4bit-quant-type %s --bnb-4bit-blocksize %u%s",
                 type, block, strstr(form, "double") ? " --bnb-4bit-use-double-quant" : "");
    else snprintf(out, 160, "(to %s)", form);
}

nib_status nib_merged_check_change(const nib_adapter *a, const char *dir, nib_error *err)
{
    const nib_tensors *tensors = a->model->tensors;
    const char *merged = tensors ? nib_tensors_metadata(tensors, NIB_MERGED_KEY) : NULL,
               *base = a->config.base_model_name_or_path;
    char options[160];

    if (!a->base_change[0] || !tensors || (merged && strstr(merged, a->base_change)))
        return NIB_OK;
    write_options(a->base_form, options);
    return nib_fail(err, NIB_E_MISMATCH,
                    "%s: it was trained on a base that its start changed, which %s is not; make it "
                    "with `nibble quantize %s BASE --adapter %s/base_change %s`, and use BASE",
                    dir, a->model->dir, base && *base ? base : "MODEL", dir, options);
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
        nib_warn_code(a->ctx, "not-merged", "%s does not say which adapters it holds: that %s "
                      "is one of them is not checked", a->model->dir, a->dir);
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
