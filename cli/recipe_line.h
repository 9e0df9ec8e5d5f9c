/* recipe_line.h - a command line whose options are the keys of a recipe:
 *
 *     nibble VERB MODEL|RECIPE [--key value ...] [key=value ...] */
#ifndef NIB_CLI_RECIPE_LINE_H
#define NIB_CLI_RECIPE_LINE_H

#include "session.h"

enum { RECIPE_MOST_OPTIONS = 400, RECIPE_NAME_ROOM = 128 };

/* Large: not for the stack. */
typedef struct recipe_line {
    nib_recipe *recipe;
    const nib_finetune_options *o; /* what was read; borrowed from the recipe */
    option_pairs pairs;            /* in the order given */
    char names[RECIPE_MOST_OPTIONS][RECIPE_NAME_ROOM],
        positional_names[OPTION_POSITIONAL_ROOM][RECIPE_NAME_ROOM];
    const char *path;              /* of the recipe file, or NULL */
} recipe_line;

/* Fills to[0..): every key, and the `own_count` options of the verb itself behind them.  The usage
 * lists the keys that are used and, unless `listed` is NULL, that it says yes to.  Returns their
 * number. */
size_t recipe_line_options(recipe_line *r, bool (*listed)(const char *name), const option *own,
                           size_t own_count, option to[RECIPE_MOST_OPTIONS]);
/* MODEL, or RECIPE; what follows is key=value.  After options_parse().  0, or an exit status. */
int recipe_line_sort(recipe_line *r, verb *v);
/* Reads file and command line: r->o.  A mistake on the command line is misuse (an exit status), one
 * in the file an error in *status. */
int recipe_line_read(recipe_line *r, session *s, verb *v, nib_status *status);
void recipe_line_free(recipe_line *r);

#endif
