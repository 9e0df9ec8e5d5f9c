/* lookup.c - the latest tokens, looked up among all before. */
#include "generate/lookup.h"

enum { LONGEST = 3, SHORTEST = 2 /* tokens that must agree */, LONGEST_PAUSE = 16 };

nib_lookup nib_lookup_begin(size_t most)
{
    assert(most <= NIB_MOST_GUESSES);
    return (nib_lookup){ .most = most, .width = nib_min(most, 1), .pause = 1 };
}

/* The end of the last run before the end that agrees with the last n ids; 0: there is none. */
static size_t find(const uint32_t *ids, size_t count, size_t n)
{
    const uint32_t *latest = ids + count - n;

    for (size_t end = count; --end >= n;)
        if (memcmp(ids + end - n, latest, n * sizeof *ids) == 0) return end;
    return 0;
}

size_t nib_lookup_guess(nib_lookup *l, const uint32_t *ids, size_t count, size_t room,
                        uint32_t *guesses)
{
    size_t wanted = nib_min(l->width, room), end = 0;

    if (l->left > 0) {
        l->left--;
        return 0;
    }
    for (size_t n = LONGEST; wanted > 0 && n >= SHORTEST && !end; n--)
        if (count > n) end = find(ids, count, n);
    /* a text that repeats itself continues with the guesses */
    for (size_t i = 0; end && i < wanted; i++)
        guesses[i] = end + i < count ? ids[end + i] : guesses[end + i - count];
    return end ? wanted : 0;
}

void nib_lookup_learn(nib_lookup *l, size_t made, size_t right)
{
    if (right > 0) l->pause = 1;
    if (right == made) {
        l->width = nib_min(l->width + 1, l->most);
    } else if (right == 0) {
        l->left = l->pause;
        l->pause = nib_min(2 * l->pause, LONGEST_PAUSE);
        l->width = 1;
    }
}
