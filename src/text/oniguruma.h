/* oniguruma.h - regular expressions of tokenizer files, written in PCRE2's language.
 *
 * The files are written for Oniguruma (its own syntax), which reads the same signs otherwise:
 *
 *     {1,3}+ {2}?     the interval, repeated; the interval, or nothing
 *     {,3}            from none to three
 *     ^ $             the ends of every line
 *     (?m)            the dot takes a newline too
 *     \h \v           a hexadecimal digit; the vertical tab
 *     \w \b [[:x:]]   by Unicode's properties, each in its own way
 *     [a[bc]] [a&&b]  classes in classes, intersections
 *     [ &c. \p{Han}   the script, without its extensions
 *
 * What has no equal is refused by name.  Character classes follow the Unicode version of PCRE2
 * (10.42: Unicode 14), Oniguruma's that of tokenizers 0.22.2 (Unicode 16): characters that are
 * younger may differ. */
#ifndef NIB_TEXT_ONIGURUMA_H
#define NIB_TEXT_ONIGURUMA_H

#include "base/base.h"

/* *out is the caller's, nib_free(); for PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE with newline LF.
 * NIB_E_UNSUPPORTED names `where`, the pattern, and what is not translated. */
nib_status nib_oniguruma_translate(nib_ctx *ctx, const char *pattern, const char *where, char **out,
                                   nib_error *err);

#endif
