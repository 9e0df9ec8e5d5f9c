/* option_words.h - the words that people bring for options and verbs: aliases, which are taken, and
 * synonyms, which are only suggested. */
#ifndef NIB_CLI_OPTION_WORDS_H
#define NIB_CLI_OPTION_WORDS_H

#include <stddef.h>

/* The i-th option that an alias may stand for, with dashes; NULL: there are no more. */
const char *option_word_alias(const char *name, size_t i);
/* The i-th option that a word may mean, with dashes; `no-x` is a flag x set to false. */
const char *option_word_synonym(const char *name, size_t i);
/* The verb that a word is an alias of; else NULL. */
const char *verb_word_alias(const char *name);
/* The i-th alias of a verb; NULL: there are no more. */
const char *verb_word_alias_of(const char *verb, size_t i);
/* The verb that a word may mean; else NULL. */
const char *verb_word_synonym(const char *name);
/* Letters to change, add or drop to make one name of the other (Levenshtein 1966); 99 for names of
 * 63 letters and more. */
size_t option_word_distance(const char *a, const char *b);

#endif
