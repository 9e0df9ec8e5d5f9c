/* test_lookup.c - what is guessed, and how often. */
#include "test.h"

#include "generate/lookup.h"

static const struct guess {
    const char *name;
    uint32_t ids[12];
    size_t count, wanted, found;
    uint32_t guesses[NIB_MOST_GUESSES];
} guess_cases[] = {
    { "three tokens agree", { 1, 2, 3, 4, 5, 1, 2, 3 }, 8, 3, 3, { 4, 5, 1 } },
    { "two agree", { 9, 2, 3, 4, 5, 1, 2, 3 }, 8, 2, 2, { 4, 5 } },
    { "one is not enough", { 9, 9, 3, 4, 5, 1, 2, 3 }, 8, 3, 0, { 0 } },
    { "the last of several", { 1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3 }, 11, 1, 1, { 5 } },
    { "three before two that are nearer", { 1, 2, 3, 4, 7, 2, 3, 5, 1, 2, 3 }, 11, 1, 1, { 4 } },
    { "a text that repeats itself", { 8, 8, 8, 8 }, 4, 3, 3, { 8, 8, 8 } },
    { "a period of two", { 1, 2, 1, 2, 1 }, 5, 3, 3, { 2, 1, 2 } },
    { "no room", { 1, 2, 3, 1, 2, 3 }, 6, 0, 0, { 0 } },
    { "too short", { 1, 1 }, 2, 3, 0, { 0 } },
    { "nothing", { 0 }, 0, 3, 0, { 0 } },
};

static void test_guesses(void)
{
    for (size_t i = 0; i < NIB_COUNT(guess_cases); i++) {
        const struct guess *c = &guess_cases[i];
        nib_lookup l = nib_lookup_begin(NIB_MOST_GUESSES);
        uint32_t *ids = test_guarded(c->count * sizeof *ids), guesses[NIB_MOST_GUESSES] = { 0 };
        size_t n;

        for (size_t t = 0; t < c->count; t++) ids[t] = c->ids[t];
        l.width = NIB_MOST_GUESSES;
        n = nib_lookup_guess(&l, ids, c->count, c->wanted, guesses);
        CHECK(n == c->found, "%s: %zu guesses, expected %zu", c->name, n, c->found);
        for (size_t g = 0; g < n; g++)
            CHECK(guesses[g] == c->guesses[g], "%s: guess %zu is %u, expected %u", c->name, g,
                  guesses[g], c->guesses[g]);
    }
}

/* Right guesses make more of them, wrong ones fewer and pauses, right ones end these. */
static void test_learning(void)
{
    static const uint32_t ids[] = { 8, 8, 8, 8 };
    nib_lookup l = nib_lookup_begin(2), none = nib_lookup_begin(0);
    uint32_t guesses[NIB_MOST_GUESSES];
    size_t made = nib_lookup_guess(&l, ids, 4, 3, guesses), pauses[3];

    CHECK(made == 1, "%zu guesses at first", made);
    nib_lookup_learn(&l, 1, 1);
    nib_lookup_learn(&l, 2, 2);
    made = nib_lookup_guess(&l, ids, 4, 3, guesses);
    CHECK(made == 2, "%zu guesses after right ones, of 2 at most", made);
    for (int wrong = 0; wrong < 3; wrong++) {
        nib_lookup_learn(&l, 1, 0);
        for (pauses[wrong] = 0; nib_lookup_guess(&l, ids, 4, 3, guesses) == 0; pauses[wrong]++)
            continue;
    }
    CHECK(pauses[0] == 1 && pauses[1] == 2 && pauses[2] == 4, "pauses of %zu, %zu and %zu tokens",
          pauses[0], pauses[1], pauses[2]);
    nib_lookup_learn(&l, 2, 1);
    nib_lookup_learn(&l, 1, 0);
    made = nib_lookup_guess(&l, ids, 4, 3, guesses);
    CHECK(made == 0 && nib_lookup_guess(&l, ids, 4, 3, guesses) == 1,
          "the pause after a right guess is not one token");
    CHECK(nib_lookup_guess(&none, ids, 4, 3, guesses) == 0, "guesses where none are wanted");
}

static const test_case cases[] = {
    { "what followed the last time", test_guesses },
    { "more guesses while they are right", test_learning },
};

int main(void) { return test_main("test_lookup", cases, NIB_COUNT(cases)); }
