/* tidy.h - clean_up_tokenization_spaces: decoded text without the blanks before points
 *
 * transformers replaces ten strings in the decoded text, one after another (formats.md 11.9).  Here
 * a text may come in pieces, and each byte goes out as soon as nothing can change it. */
#ifndef NIB_TEXT_TIDY_H
#define NIB_TEXT_TIDY_H

#include "base/base.h"

enum { NIB_TIDY_STEPS = 10, NIB_TIDY_HELD = 3 * NIB_TIDY_STEPS };

/* Zeroed: a text begins, and is left as it is; `on`: it is cleaned. */
typedef struct nib_tidy {
    bool on;
    uint8_t held[NIB_TIDY_STEPS]; /* bytes of its string that each step has met so far, 3 at most */
} nib_tidy;

/* Writes what is final to `out`, at most bytes + NIB_TIDY_HELD, and gives the number.  Never more
 * has been written than read: of a text that begins, `out` may be `text` itself. */
size_t nib_tidy_push(nib_tidy *t, const char *text, size_t bytes, char *out);
/* What was held back, at most NIB_TIDY_HELD; the next text may begin. */
size_t nib_tidy_finish(nib_tidy *t, char *out);

#endif
