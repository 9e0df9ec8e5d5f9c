/* recipe_values.h - what the files share that read a recipe's values: recipe_scalar.c,
 * recipe_list.c, recipe_value.c.
 *
 * place: "file:line:column: key" or "key", for errors.  more: a list is added to.  Texts and lists
 * live as long as the recipe. */
#ifndef NIB_RECIPE_VALUES_H
#define NIB_RECIPE_VALUES_H

#include "recipe/recipe_keys.h"

/* --- recipe_scalar.c --- */

/* NIB_E_INVALID: "PLACE: 'VALUE' is not EXPECTED". */
nib_status nib_recipe_wrong(const char *place, const nib_yaml_node *n, nib_error *err,
                            const char *expected);
nib_status nib_recipe_no_memory(const char *place, nib_error *err);
/* False: it is none. */
bool nib_recipe_bool(const nib_yaml_node *n, bool *out);
bool nib_recipe_integer(const nib_yaml_node *n, int64_t lo, int64_t hi, int64_t *out);
bool nib_recipe_number(const char *text, double *out);
bool nib_recipe_size(const nib_yaml_node *n, uint64_t *out);
/* The word of `words` that a text is; "a=b" gives b for a.  *known false: none; NULL: none, or no
 * memory. */
const char *nib_recipe_word(nib_recipe *r, const char *words, const char *text, bool *known);
nib_status nib_recipe_text(nib_recipe *r, const nib_recipe_row *row, const nib_yaml_node *n,
                           const char *place, const char **out, nib_error *err);
nib_status nib_recipe_steps(const nib_recipe_row *row, const nib_yaml_node *n, const char *place,
                            int *steps, double *fraction, nib_error *err);

/* --- recipe_list.c --- */

nib_status nib_recipe_words(nib_recipe *r, const nib_recipe_row *row, const nib_yaml_node *n,
                            const char *place, const char **out, nib_error *err);
nib_status nib_recipe_names(nib_recipe *r, const nib_yaml_node *n, const char *place, bool more,
                            nib_names *out, nib_error *err);
/* "FILE", "FILE:WEIGHT" or a list of these.  One without a weight is `data` alone. */
nib_status nib_recipe_sources(nib_recipe *r, const nib_yaml_node *n, const char *place, bool more,
                              const char **data, nib_data_sources *out, nib_error *err);
nib_status nib_recipe_numbers(nib_recipe *r, const nib_yaml_node *n, const char *place, bool more,
                              const int **out, size_t *count, nib_error *err);
nib_status nib_recipe_pattern(nib_recipe *r, const nib_yaml_node *n, const char *place, bool more,
                              const nib_pattern **out, size_t *count, nib_error *err);
nib_status nib_recipe_arguments(nib_recipe *r, const nib_yaml_node *n, const char *place,
                                bool more, const nib_argument **out, size_t *count,
                                nib_error *err);

#endif
