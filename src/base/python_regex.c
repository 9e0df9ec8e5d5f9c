/* python_regex.c - regular expressions of Python's re, run by PCRE2 under limits.
 *
 * A scan before compiling refuses what PCRE2 would accept but read otherwise (\Z, \v, \h,
 * {,n}, [:alpha:], verbs, recursion), so that a difference is an error and never a
 * module more or less. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/python_regex.h"

#include <pcre2.h>

enum { MATCH_LIMIT = 1000000, DEPTH_LIMIT = 10000, HEAP_LIMIT_KIB = 32 << 10, LONGEST = 64 << 10 };

struct nib_python_regex {
    pcre2_general_context *general;
    pcre2_code *code;
    pcre2_match_context *limits;
    pcre2_match_data *data;
    const char *pattern; /* borrowed, for messages */
};

static void *take(PCRE2_SIZE bytes, void *ctx) { return nib_alloc(ctx, bytes); }
static void give(void *p, void *ctx) { nib_free(ctx, p); }

/* The construct at p that Python and PCRE2 may read differently, or NULL; *step is its size. */
static const char *construct_outside(const char *p, size_t *step)
{
    static const char *const groups[] = { "(?:", "(?=", "(?!", "(?<=", "(?<!", "(?P<", "(?P=" };

    *step = 1;
    if (p[0] == '\\') {
        *step = 2;
        if (!p[1]) return "a backslash at the end";
        if (strchr("ABbdDsSwWafnrt", p[1]) || (p[1] >= '1' && p[1] <= '9')) return NULL;
        if (p[1] == 'x') return NULL; /* two digits or a compile error decided below */
        if ((p[1] >= 'a' && p[1] <= 'z') || (p[1] >= 'A' && p[1] <= 'Z') || p[1] == '0')
            return "an escape";
        return NULL;
    }
    if (p[0] == '(' && p[1] == '*') return "(*";
    if (p[0] == '(' && p[1] == '?') {
        for (size_t i = 0; i < NIB_COUNT(groups); i++)
            if (strncmp(p, groups[i], strlen(groups[i])) == 0) return NULL;
        return "a group";
    }
    if (p[0] == '{' && p[1] == ',') return "{,";
    return NULL;
}

static const char *construct_in_class(const char *p, size_t *step)
{
    *step = 1;
    if (p[0] == '\\') {
        *step = 2;
        if (!p[1]) return "a backslash at the end";
        if (strchr("dDsSwWafnrt", p[1])) return NULL;
        if ((p[1] >= 'a' && p[1] <= 'z') || (p[1] >= 'A' && p[1] <= 'Z') ||
            (p[1] >= '0' && p[1] <= '9'))
            return "an escape in a class";
        return NULL;
    }
    if (p[0] == '[') return "[ in a class";
    if ((p[0] == '-' && p[1] == '-') || (p[0] == '&' && p[1] == '&') ||
        (p[0] == '|' && p[1] == '|') || (p[0] == '~' && p[1] == '~'))
        return "a set operation"; /* Python keeps these for the future */
    return NULL;
}

static bool hexadecimal(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static nib_status check_subset(const char *what, const char *pattern, nib_error *err)
{
    bool in_class = false;

    if (strlen(pattern) > LONGEST)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: a pattern of %zu bytes, at most %d are allowed", what, strlen(pattern),
                        LONGEST);
    for (const char *p = pattern; *p;) {
        size_t step;
        const char *bad = in_class ? construct_in_class(p, &step) : construct_outside(p, &step);

        if (!bad && !in_class && p[0] == '\\' && p[1] == 'x' &&
            !(hexadecimal(p[2]) && hexadecimal(p[3])))
            bad = "\\x without two digits";
        if (bad)
            return nib_fail(err, NIB_E_UNSUPPORTED,
                            "%s: \"%.300s\": %s (\"%.4s\") is not supported in "
                            "patterns",
                            what, pattern, bad, p);
        if (!in_class && p[0] == '[') {
            in_class = true;
            if (p[1] == '^') step++;
            if (p[step] == ']') step++; /* a ] that comes first is a character */
        } else if (in_class && p[0] == ']') {
            in_class = false;
        }
        p += step;
    }
    return NIB_OK;
}

nib_status nib_python_regex_create(nib_ctx *ctx, const char *what, const char *before,
                                   const char *pattern, const char *after, nib_python_regex **out,
                                   nib_error *err)
{
    nib_python_regex *re = NULL;
    pcre2_compile_context *how = NULL;
    char *whole = NULL;
    int number;
    PCRE2_SIZE at;
    nib_status status = check_subset(what, pattern, err);

    if (status) return status;
    re = nib_new(ctx, sizeof *re);
    whole = nib_sprintf(ctx, "%s%s%s", before, pattern, after);
    if (!re || !whole) goto no_memory;
    re->pattern = pattern;
    re->general = pcre2_general_context_create(take, give, ctx);
    if (!re->general) goto no_memory;
    how = pcre2_compile_context_create(re->general);
    re->limits = pcre2_match_context_create(re->general);
    if (!how || !re->limits) goto no_memory;
    pcre2_set_newline(how, PCRE2_NEWLINE_LF);
    pcre2_set_parens_nest_limit(how, 100);
    pcre2_set_match_limit(re->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(re->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(re->limits, HEAP_LIMIT_KIB);
    re->code = pcre2_compile((PCRE2_SPTR)whole, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                             &number, &at, how);
    if (!re->code) {
        PCRE2_UCHAR why[128] = { 0 };
        /* ERR21: heap failed */
        if (number == PCRE2_ERROR_NOMEMORY || number == 121) goto no_memory;
        pcre2_get_error_message(number, why, sizeof why);
        status = nib_fail(err, NIB_E_FORMAT,
                          "%s: \"%.300s\" cannot be read as a regular expression (PCRE2 "
                          "reports: %s); names of modules can be given as a list instead",
                          what, pattern, (const char *)why);
        goto done;
    }
    re->data = pcre2_match_data_create_from_pattern(re->code, re->general);
    if (!re->data) goto no_memory;
    *out = re;
    re = NULL; /* handed over */
    goto done;
no_memory:
    status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", what);
done:
    pcre2_compile_context_free(how);
    nib_free(ctx, whole);
    nib_python_regex_destroy(ctx, re);
    return status;
}

void nib_python_regex_destroy(nib_ctx *ctx, nib_python_regex *re)
{
    if (!re) return;
    pcre2_match_data_free(re->data);
    pcre2_code_free(re->code);
    pcre2_match_context_free(re->limits);
    pcre2_general_context_free(re->general);
    nib_free(ctx, re);
}

nib_status nib_python_regex_match(const nib_python_regex *re, const char *subject, bool full,
                                  bool *yes, int64_t group[2], nib_error *err)
{
    uint32_t how = PCRE2_ANCHORED | (full ? PCRE2_ENDANCHORED : 0);
    int result = pcre2_match(re->code, (PCRE2_SPTR)subject, strlen(subject), 0, how, re->data,
                             re->limits);

    if (result < 0 && result != PCRE2_ERROR_NOMATCH) {
        PCRE2_UCHAR why[128] = { 0 };
        pcre2_get_error_message(result, why, sizeof why);
        if (result == PCRE2_ERROR_NOMEMORY)
            return nib_fail(err, NIB_E_NOMEM, "pattern \"%.300s\": out of memory", re->pattern);
        return nib_fail(err, NIB_E_FORMAT,
                        "pattern \"%.300s\": to match it with %.300s takes more steps than are "
                        "tried (PCRE2: %s); write it without nested repeats, or give "
                        "names as a list",
                        re->pattern, subject, (const char *)why);
    }
    *yes = result > 0;
    if (group) {
        int number = pcre2_substring_number_from_name(re->code, (PCRE2_SPTR) "idx");
        const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(re->data);
        group[0] = group[1] = -1;
        if (*yes && number > 0 && number < result) {
            group[0] = (int64_t)ends[2 * number];
            group[1] = (int64_t)ends[2 * number + 1];
        }
    }
    return NIB_OK;
}
