/* oniguruma_sets.c - see oniguruma_sets.h.  Compared with tokenizers 0.22.2 code point by code
 * point; they differ where PCRE2's Unicode is older. */
#include "text/oniguruma_sets.h"

#define SPACES                                                                                     \
    "\\x{9}-\\x{D}\\x{20}\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}"    \
    "\\x{205F}\\x{3000}"
#define WORDS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"

/* \w by itself, though not in a class, takes six signs of Latin-1 too. */
static const nib_onig_set lone_word = { "w", NIB_ONIG_WORD, false, false, NULL };

static const nib_onig_set escapes[] = {
    { "d", "\\p{Nd}", false, false, NULL }, { "s", SPACES, false, false, NULL },
    { "w", WORDS, false, false, &lone_word }, { "h", "0-9A-Fa-f", false, false, NULL },
};
static const nib_onig_set brackets[] = {
    { "alnum", "\\p{Alphabetic}\\p{Nd}", false, false, NULL },
    { "alpha", "\\p{Alphabetic}", false, false, NULL },
    { "ascii", "\\x{0}-\\x{7F}", false, false, NULL },
    { "blank", "\\p{Zs}\\x{9}", false, false, NULL },
    { "cntrl", "\\p{Cc}", false, false, NULL },
    { "digit", "\\p{Nd}", false, false, NULL },
    { "graph", "\\p{Z}\\p{Cc}\\p{Cn}\\p{Cs}", true, false, NULL },
    { "lower", "\\p{Lowercase}", false, true, NULL },
    { "print", "\\p{Zl}\\p{Zp}\\p{Cc}\\p{Cn}\\p{Cs}", true, false, NULL },
    { "punct", "\\p{P}\\p{S}", false, false, NULL },
    { "space", SPACES, false, false, NULL },
    { "upper", "\\p{Uppercase}", false, true, NULL },
    { "word", WORDS, false, false, NULL },
    { "xdigit", "0-9A-Fa-f", false, false, NULL },
};
/* \p{...}: names in lower case without blanks, dashes and underscores. */
static const nib_onig_set properties[] = {
    { "l", "\\p{L}", false, false, NULL }, { "letter", "\\p{L}", false, false, NULL },
    { "lu", "\\p{Lu}", false, true, NULL }, { "uppercaseletter", "\\p{Lu}", false, true, NULL },
    { "ll", "\\p{Ll}", false, true, NULL }, { "lowercaseletter", "\\p{Ll}", false, true, NULL },
    { "lt", "\\p{Lt}", false, true, NULL }, { "titlecaseletter", "\\p{Lt}", false, true, NULL },
    { "lm", "\\p{Lm}", false, false, NULL }, { "modifierletter", "\\p{Lm}", false, false, NULL },
    { "lo", "\\p{Lo}", false, false, NULL }, { "otherletter", "\\p{Lo}", false, false, NULL },
    { "lc", "\\p{L&}", false, true, NULL }, { "casedletter", "\\p{L&}", false, true, NULL },
    { "m", "\\p{M}", false, false, NULL }, { "mark", "\\p{M}", false, false, NULL },
    { "mn", "\\p{Mn}", false, false, NULL }, { "nonspacingmark", "\\p{Mn}", false, false, NULL },
    { "mc", "\\p{Mc}", false, false, NULL }, { "spacingmark", "\\p{Mc}", false, false, NULL },
    { "me", "\\p{Me}", false, false, NULL }, { "enclosingmark", "\\p{Me}", false, false, NULL },
    { "n", "\\p{N}", false, false, NULL }, { "number", "\\p{N}", false, false, NULL },
    { "nd", "\\p{Nd}", false, false, NULL }, { "decimalnumber", "\\p{Nd}", false, false, NULL },
    { "nl", "\\p{Nl}", false, false, NULL }, { "letternumber", "\\p{Nl}", false, false, NULL },
    { "no", "\\p{No}", false, false, NULL }, { "othernumber", "\\p{No}", false, false, NULL },
    { "p", "\\p{P}", false, false, NULL }, { "punctuation", "\\p{P}", false, false, NULL },
    { "punct", "\\p{P}", false, false, NULL }, { "pc", "\\p{Pc}", false, false, NULL },
    { "pd", "\\p{Pd}", false, false, NULL }, { "ps", "\\p{Ps}", false, false, NULL },
    { "pe", "\\p{Pe}", false, false, NULL }, { "pi", "\\p{Pi}", false, false, NULL },
    { "pf", "\\p{Pf}", false, false, NULL }, { "po", "\\p{Po}", false, false, NULL },
    { "s", "\\p{S}", false, false, NULL }, { "symbol", "\\p{S}", false, false, NULL },
    { "sm", "\\p{Sm}", false, false, NULL }, { "sc", "\\p{Sc}", false, false, NULL },
    { "sk", "\\p{Sk}", false, false, NULL }, { "so", "\\p{So}", false, false, NULL },
    { "z", "\\p{Z}", false, false, NULL }, { "separator", "\\p{Z}", false, false, NULL },
    { "zs", "\\p{Zs}", false, false, NULL }, { "zl", "\\p{Zl}", false, false, NULL },
    { "zp", "\\p{Zp}", false, false, NULL }, { "c", "\\p{C}", false, false, NULL },
    { "cc", "\\p{Cc}", false, false, NULL }, { "cf", "\\p{Cf}", false, false, NULL },
    { "cn", "\\p{Cn}", false, false, NULL }, { "co", "\\p{Co}", false, false, NULL },
    { "alpha", "\\p{Alphabetic}", false, false, NULL },
    { "alphabetic", "\\p{Alphabetic}", false, false, NULL },
    { "alnum", "\\p{Alphabetic}\\p{Nd}", false, false, NULL },
    { "digit", "\\p{Nd}", false, false, NULL },
    { "space", SPACES, false, false, NULL }, { "whitespace", SPACES, false, false, NULL },
    { "upper", "\\p{Uppercase}", false, true, NULL },
    { "uppercase", "\\p{Uppercase}", false, true, NULL },
    { "lower", "\\p{Lowercase}", false, true, NULL },
    { "lowercase", "\\p{Lowercase}", false, true, NULL },
    { "emoji", "\\p{Emoji}", false, false, NULL },
    { "any", "\\x{0}-\\x{10FFFF}", false, false, NULL },
    { "ascii", "\\x{0}-\\x{7F}", false, false, NULL },
    { "han", "\\p{sc:Han}", false, false, NULL },
    { "hiragana", "\\p{sc:Hiragana}", false, false, NULL },
    { "katakana", "\\p{sc:Katakana}", false, false, NULL },
    { "hangul", "\\p{sc:Hangul}", false, false, NULL },
    { "latin", "\\p{sc:Latin}", false, false, NULL },
    { "cyrillic", "\\p{sc:Cyrillic}", false, false, NULL },
    { "greek", "\\p{sc:Greek}", false, false, NULL },
    { "arabic", "\\p{sc:Arabic}", false, false, NULL },
    { "hebrew", "\\p{sc:Hebrew}", false, false, NULL },
    { "thai", "\\p{sc:Thai}", false, false, NULL },
    { "devanagari", "\\p{sc:Devanagari}", false, false, NULL },
    { "bopomofo", "\\p{sc:Bopomofo}", false, false, NULL },
    { "khmer", "\\p{sc:Khmer}", false, false, NULL },
    { "lao", "\\p{sc:Lao}", false, false, NULL },
    { "myanmar", "\\p{sc:Myanmar}", false, false, NULL },
    { "tamil", "\\p{sc:Tamil}", false, false, NULL },
    { "bengali", "\\p{sc:Bengali}", false, false, NULL },
};

const nib_onig_set *nib_onig_set_named(nib_onig_kind kind, const char *name, size_t bytes)
{
    const nib_onig_set *sets = kind == NIB_ONIG_ESCAPE    ? escapes
                               : kind == NIB_ONIG_BRACKET ? brackets
                                                          : properties;
    size_t count = kind == NIB_ONIG_ESCAPE    ? NIB_COUNT(escapes)
                   : kind == NIB_ONIG_BRACKET ? NIB_COUNT(brackets)
                                              : NIB_COUNT(properties);

    for (size_t i = 0; i < count; i++)
        if (strlen(sets[i].name) == bytes && memcmp(sets[i].name, name, bytes) == 0)
            return &sets[i];
    return NULL;
}
