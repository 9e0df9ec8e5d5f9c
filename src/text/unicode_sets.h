/* unicode_sets.h - the sets of characters and the lower case that the tokenizers library goes by.
 *
 * Each is of the Unicode version that the library's part has it from (formats-encoder.md 1), so the
 * tables are our own: utf8proc's change with the version installed. */
#ifndef NIB_TEXT_UNICODE_SETS_H
#define NIB_TEXT_UNICODE_SETS_H

#include "base/base.h"

typedef enum nib_unicode_set {
    NIB_SET_CONTROLS,    /* BertNormalizer's clean_text removes them */
    NIB_SET_NONSPACING,  /* its strip_accents does */
    NIB_SET_MARKS,       /* StripAccents does */
    NIB_SET_PUNCTUATION, /* BertPreTokenizer, Punctuation */
    NIB_SET_WORD,        /* \w of Whitespace and of single_word */
    NIB_SET_NUMBERS,     /* Digits */
    NIB_SET_LATE_FORMS   /* decomposed by Unicode today, but not by the library */
} nib_unicode_set;

bool nib_unicode_in(nib_unicode_set set, uint32_t c);
/* UnicodeScripts': a number for each script; 0: the character joins those of any. */
uint32_t nib_unicode_script_of(uint32_t c);
/* One character; U+0130, the only one that becomes two, is given back as i. */
uint32_t nib_unicode_lower(uint32_t c);

#endif
