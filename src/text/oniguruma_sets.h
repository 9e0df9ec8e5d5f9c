/* oniguruma_sets.h - Oniguruma's named sets of characters as members of a PCRE2 class. */
#ifndef NIB_TEXT_ONIGURUMA_SETS_H
#define NIB_TEXT_ONIGURUMA_SETS_H

#include "base/base.h"

typedef struct nib_onig_set nib_onig_set;
struct nib_onig_set {
    const char *name, *members;
    bool negated;              /* everything but the members */
    bool cased;                /* holds letters of one case */
    const nib_onig_set *alone; /* what it is outside of a class, where that differs */
};

/* \d, [[:digit:]], \p{Digit} */
typedef enum nib_onig_kind { NIB_ONIG_ESCAPE, NIB_ONIG_BRACKET, NIB_ONIG_PROPERTY } nib_onig_kind;

/* NULL: there is none.  Names of properties are in lower case, without blanks, - and _. */
const nib_onig_set *nib_onig_set_named(nib_onig_kind kind, const char *name, size_t bytes);

#define NIB_ONIG_WORD                                                                              \
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"
/* \b and \B */
#define NIB_ONIG_BOUNDARY                                                                          \
    "(?:(?<=[" NIB_ONIG_WORD "])(?![" NIB_ONIG_WORD "])|(?<![" NIB_ONIG_WORD                       \
    "])(?=[" NIB_ONIG_WORD "]))"
#define NIB_ONIG_NO_BOUNDARY                                                                       \
    "(?:(?<=[" NIB_ONIG_WORD "])(?=[" NIB_ONIG_WORD "])|(?<![" NIB_ONIG_WORD                       \
    "])(?![" NIB_ONIG_WORD "]))"

#endif
