/* recipe_find.c - names of keys: dashes, aliases, and the nearest to one that is unknown. */
#include "job/recipe_keys.h"

enum { NAME_ROOM = 64 };

static char plain(char c)
{
    return c == '-' ? '_' : c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool same(const char *a, const char *b)
{
    while (*a && plain(*a) == plain(*b)) a++, b++;
    return plain(*a) == plain(*b);
}

size_t nib_recipe_find(const char *name)
{
    for (size_t i = 0; i < nib_recipe_row_count; i++)
        if (same(name, nib_recipe_rows[i].key.name)) return i;
    return SIZE_MAX;
}

size_t nib_recipe_follow(size_t row)
{
    if (nib_recipe_rows[row].key.use != NIB_RECIPE_ALIAS) return row;
    row = nib_recipe_find(nib_recipe_rows[row].key.help);
    assert(row != SIZE_MAX && nib_recipe_rows[row].key.use != NIB_RECIPE_ALIAS);
    return row;
}

/* Letters to change, add or drop to make one name of the other (Levenshtein 1966). */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_ROOM + 1], n = strlen(b);

    if (n > NAME_ROOM || strlen(a) > NAME_ROOM) return SIZE_MAX - 1;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = corner + (plain(a[i - 1]) != plain(b[j - 1]));
            corner = row[j];
            row[j] = nib_min(best, nib_min(row[j], row[j - 1]) + 1);
        }
    }
    return row[n];
}

const char *nib_recipe_nearest(const char *name)
{
    size_t best = SIZE_MAX;
    const char *nearest = NULL;

    for (size_t i = 0; i < nib_recipe_row_count; i++) {
        size_t d = distance(name, nib_recipe_rows[i].key.name);
        if (d < best) best = d, nearest = nib_recipe_rows[i].key.name;
    }
    return best * 5 <= strlen(name) ? nearest : NULL; /* a fifth: else it is another word */
}

bool nib_recipe_key_is_list(const char *name)
{
    size_t found = nib_recipe_find(name);
    nib_recipe_kind kind = found == SIZE_MAX ? NIB_KEY_NONE
                                             : nib_recipe_rows[nib_recipe_follow(found)].kind;

    return kind == NIB_KEY_NAMES || kind == NIB_KEY_NUMBERS || kind == NIB_KEY_PATTERN ||
           kind == NIB_KEY_ARGUMENTS || kind == NIB_KEY_WORDS;
}
