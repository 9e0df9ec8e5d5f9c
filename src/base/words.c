/* words.c - see words.h (Levenshtein 1966). */
#include "base/words.h"

#include <stdint.h>
#include <string.h>

#include "base/base.h"

enum { NAME_ROOM = 64 };

static char plain(char c)
{
    return c == '-' ? '_' : c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool nib_words_same(const char *a, const char *b)
{
    while (*a && plain(*a) == plain(*b)) a++, b++;
    return plain(*a) == plain(*b);
}

size_t nib_words_apart(const char *a, const char *b)
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
