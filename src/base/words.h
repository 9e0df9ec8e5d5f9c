/* words.h - how far apart two names are, to answer an unknown one with those it may have meant. */
#ifndef NIB_BASE_WORDS_H
#define NIB_BASE_WORDS_H

#include <stdbool.h>
#include <stddef.h>

/* Letters to change, add or drop to make one name of the other; capitals and small letters, dashes
 * and underscores are the same.  Names of more than 64 letters are as far as can be. */
size_t nib_words_apart(const char *a, const char *b);
bool nib_words_same(const char *a, const char *b);

#endif
