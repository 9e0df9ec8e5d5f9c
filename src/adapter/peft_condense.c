/* peft_condense.c - long lists of module paths as the fewest suffixes that tell them apart.
 *
 * Targets in the order of their suffixes, shortest first; each not yet covered takes its
 * shortest suffix that no other module has.  The order is PEFT's and decides the result. */
#include <stdlib.h>

#include "adapter/peft_match.h"

enum { FEWEST = 20 };

/* The suffix of `s` that begins after the next dot to the left of `from`; s itself at the end. */
static const char *longer_suffix(const char *s, const char *from)
{
    for (from--; from > s; from--)
        if (from[-1] == '.') return from;
    return s;
}

/* Compares the lists of suffixes, shortest first, as Python compares lists of strings. */
static int by_suffixes(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    const char *p = x + strlen(x), *q = y + strlen(y);

    while (p > x && q > y) {
        int order;
        p = longer_suffix(x, p);
        q = longer_suffix(y, q);
        order = strcmp(p, q);
        if (order) return order;
    }
    return p > x ? 1 : q > y ? -1 : 0;
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_suffix_of_any(const char *suffix, const char *const *names, size_t count)
{
    size_t m = strlen(suffix);

    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(names[i]);
        if (n >= m && strcmp(names[i] + n - m, suffix) == 0 &&
            (n == m || names[i][n - m - 1] == '.'))
            return true;
    }
    return false;
}

static bool is_one_of(const char *suffix, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(suffix, names[i]) == 0) return true;
    return false;
}

static bool covered(const char *name, const char *const *suffixes, size_t count)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < count; i++) {
        size_t m = strlen(suffixes[i]);
        if (n > m && name[n - m - 1] == '.' && strcmp(name + n - m, suffixes[i]) == 0) return true;
    }
    return false;
}

nib_status nib_peft_condense(nib_ctx *ctx, const char *const *targets, size_t count,
                             const char *const *others, size_t other_count, nib_peft_names *out,
                             nib_error *err)
{
    const char **sorted = nib_new_array(ctx, count, sizeof *sorted);
    const char **chosen = nib_new_array(ctx, count, sizeof *chosen);
    size_t chosen_count = 0;
    nib_status status;

    if (!sorted || !chosen) {
        status = nib_fail(err, NIB_E_NOMEM, "target_modules: out of memory");
        goto done;
    }
    for (size_t i = 0; i < count; i++) sorted[i] = targets[i];
    qsort(sorted, count, sizeof *sorted, by_suffixes);
    for (size_t i = 0; count >= FEWEST && i < count; i++) {
        const char *suffix = sorted[i] + strlen(sorted[i]);
        while (suffix > sorted[i] && !covered(sorted[i], chosen, chosen_count)) {
            suffix = longer_suffix(sorted[i], suffix);
            if (is_suffix_of_any(suffix, others, other_count) ||
                is_one_of(suffix, chosen, chosen_count))
                continue;
            chosen[chosen_count++] = suffix;
            break;
        }
    }
    if (chosen_count == 0 || chosen_count >= count) {
        status = nib_peft_names_set(ctx, out, NIB_PEFT_LIST, targets, count, err);
    } else {
        qsort(chosen, chosen_count, sizeof *chosen, by_string);
        status = nib_peft_names_set(ctx, out, NIB_PEFT_LIST, chosen, chosen_count, err);
    }
done:
    nib_free(ctx, sorted);
    nib_free(ctx, chosen);
    return status;
}
