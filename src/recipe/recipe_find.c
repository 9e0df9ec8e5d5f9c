/* recipe_find.c - names of keys: dashes, aliases, and the nearest to one that is unknown. */
#include "recipe/recipe_keys.h"

#include "base/words.h"

size_t nib_recipe_find(const char *name)
{
    for (size_t i = 0; i < nib_recipe_row_count; i++)
        if (nib_words_same(name, nib_recipe_rows[i].key.name)) return i;
    return SIZE_MAX;
}

size_t nib_recipe_follow(size_t row)
{
    if (nib_recipe_rows[row].key.use != NIB_RECIPE_ALIAS) return row;
    row = nib_recipe_find(nib_recipe_rows[row].key.help);
    assert(row != SIZE_MAX && nib_recipe_rows[row].key.use != NIB_RECIPE_ALIAS);
    return row;
}

const char *nib_recipe_nearest(const char *name)
{
    size_t best = SIZE_MAX;
    const char *nearest = NULL;

    for (size_t i = 0; i < nib_recipe_row_count; i++) {
        size_t d = nib_words_apart(name, nib_recipe_rows[i].key.name);
        if (d < best) best = d, nearest = nib_recipe_rows[i].key.name;
    }
    return best * 5 <= strlen(name) ? nearest : NULL; /* a fifth: else it is another word */
}

bool nib_recipe_key_is_list(const char *name)
{
    size_t found = nib_recipe_find(name);
    nib_recipe_kind kind = found == SIZE_MAX ? NIB_KEY_NONE
                                             : nib_recipe_rows[nib_recipe_follow(found)].kind;

    return kind == NIB_KEY_SOURCES || kind == NIB_KEY_NAMES || kind == NIB_KEY_NUMBERS ||
           kind == NIB_KEY_PATTERN || kind == NIB_KEY_ARGUMENTS || kind == NIB_KEY_WORDS;
}
