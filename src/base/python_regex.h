/* python_regex.h - regular expressions of Python's re, run by PCRE2 under limits. */
#ifndef NIB_BASE_PYTHON_REGEX_H
#define NIB_BASE_PYTHON_REGEX_H

#include "base/base.h"

typedef struct nib_python_regex nib_python_regex;

/* `pattern` is checked alone, then put between `before` and `after`, which are our own.  `what`
 * names it in errors.  NIB_E_UNSUPPORTED, NIB_E_FORMAT, NIB_E_NOMEM. */
nib_status nib_python_regex_create(nib_ctx *ctx, const char *what, const char *before,
                                   const char *pattern, const char *after, nib_python_regex **out,
                                   nib_error *err);
void nib_python_regex_destroy(nib_ctx *ctx, nib_python_regex *re); /* NULL is fine */

/* re.match(), or re.fullmatch() when `full`.  *group (may be NULL) gets the start and end of the
 * group named idx, or -1.  NIB_E_FORMAT: the match passed its limits. */
nib_status nib_python_regex_match(const nib_python_regex *re, const char *subject, bool full,
                                  bool *yes, int64_t group[2], nib_error *err);

#endif
