/* test_allot.c - sizes chosen so that errors add up to little: held to all combinations there
 * are. */
#include <math.h>

#include "job/allot.h"
#include "test.h"

enum { PARTS = 6, CHOICES = 4 };

static double error_of(const nib_allot_part *parts, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += parts[i].weight * parts[i].choices[parts[i].chosen].error;
    return sum;
}

/* The least that any combination in the room reaches. */
static double best_of_all(nib_allot_part *parts, uint64_t room)
{
    double best = INFINITY;

    for (unsigned n = 0; n < 1u << (2 * PARTS); n++) {
        for (size_t i = 0; i < PARTS; i++) parts[i].chosen = n >> (2 * i) & 3;
        if (nib_allot_bytes(parts, PARTS, NIB_ALLOT_CHOSEN) <= room)
            best = fmin(best, error_of(parts, PARTS));
    }
    return best;
}

/* Widths 2, 3, 4, 8 of matrices of other sizes, whose errors fall about as 4^-bits. */
static void make(nib_allot_part *parts)
{
    static const unsigned bits[CHOICES] = { 2, 3, 4, 8 };

    for (size_t i = 0; i < PARTS; i++) {
        uint64_t size = 100 + test_rand() % 900;
        double scale = 1 + 9 * fabs((double)test_rand_float());
        parts[i] = (nib_allot_part){ .count = CHOICES, .weight = (double)size };
        for (size_t k = 0; k < CHOICES; k++)
            parts[i].choices[k] = (nib_allot_choice){
                size * bits[k],
                scale * pow(4, -(double)bits[k]) * (1 + .2 * (double)test_rand_float()) };
    }
}

static void test_near_the_best(void)
{
    double worst = 0, sum = 0;
    nib_error err;

    for (int n = 0; n < 60; n++) {
        nib_allot_part parts[PARTS], same[PARTS];
        uint64_t least, most, room;
        double best, got, all;
        make(parts);
        all = error_of(parts, PARTS); /* where none is larger than the smallest */
        least = nib_allot_bytes(parts, PARTS, NIB_ALLOT_LEAST);
        most = nib_allot_bytes(parts, PARTS, NIB_ALLOT_MOST);
        room = least + test_rand() % (most - least);
        best = best_of_all(parts, room);
        memcpy(same, parts, sizeof same);
        REQUIRE_OK(nib_allot(test_ctx(), parts, PARTS, room, &err), err);
        CHECK(nib_allot_bytes(parts, PARTS, NIB_ALLOT_CHOSEN) <= room);
        got = error_of(parts, PARTS);
        CHECK(got >= best * (1 - 1e-12));
        worst = fmax(worst, (got - best) / (all - best));
        sum += (got - best) / (all - best);
        REQUIRE_OK(nib_allot(test_ctx(), same, PARTS, room, &err), err);
        for (size_t i = 0; i < PARTS; i++) CHECK(same[i].chosen == parts[i].chosen);
    }
    CHECK(worst < .25 && sum / 60 < .01, "misses %g, on the mean %g, of what the best combination "
          "gains", worst, sum / 60);
}

/* Parts that are alike, with room for some of them: an exchange of two gains nothing. */
static void test_alike(void)
{
    nib_allot_part parts[PARTS];
    nib_error err;
    uint64_t least, step;

    make(parts);
    for (size_t i = 1; i < PARTS; i++) parts[i] = parts[0];
    least = nib_allot_bytes(parts, PARTS, NIB_ALLOT_LEAST);
    step = parts[0].choices[1].bytes > parts[0].choices[0].bytes
               ? parts[0].choices[1].bytes - parts[0].choices[0].bytes
               : parts[0].choices[0].bytes - parts[0].choices[1].bytes;
    for (uint64_t halves = 1; halves < 2 * PARTS; halves++) {
        uint64_t room = least + halves * step / 2;
        REQUIRE_OK(nib_allot(test_ctx(), parts, PARTS, room, &err), err);
        CHECK(nib_allot_bytes(parts, PARTS, NIB_ALLOT_CHOSEN) <= room);
    }
}

/* The whole room, and the least: every part at its largest, and at its smallest. */
static void test_ends(void)
{
    nib_allot_part parts[PARTS];
    nib_error err;

    make(parts);
    REQUIRE_OK(nib_allot(test_ctx(), parts, PARTS, nib_allot_bytes(parts, PARTS, NIB_ALLOT_MOST),
                         &err), err);
    for (size_t i = 0; i < PARTS; i++) CHECK(parts[i].chosen == 3);
    REQUIRE_OK(nib_allot(test_ctx(), parts, PARTS, nib_allot_bytes(parts, PARTS, NIB_ALLOT_LEAST),
                         &err), err);
    for (size_t i = 0; i < PARTS; i++) CHECK(parts[i].chosen == 0);
}

/* A choice that is larger and no better is never taken, in whichever order they stand; one that is
 * above the line between its neighbours only to fill what is left. */
static void test_beaten(void)
{
    nib_allot_part parts[2] = {
        { .choices = { { 400, .5 }, { 100, 1 }, { 300, 1.5 }, { 200, .6 } }, .count = 4,
          .weight = 1 },
        { .choices = { { 100, 1 }, { 200, .99 }, { 300, .1 } }, .count = 3, .weight = 1 },
    };
    nib_error err;

    REQUIRE_OK(nib_allot(test_ctx(), parts, 2, 500, &err), err);
    CHECK(parts[0].chosen == 3 && parts[1].chosen == 2, "%zu and %zu", parts[0].chosen,
          parts[1].chosen);
    REQUIRE_OK(nib_allot(test_ctx(), parts, 2, 399, &err), err);
    CHECK(parts[0].chosen == 3 && parts[1].chosen == 0, "%zu and %zu", parts[0].chosen,
          parts[1].chosen);
    parts[1].choices[2].bytes = 900;
    REQUIRE_OK(nib_allot(test_ctx(), parts, 2, 400, &err), err);
    CHECK(parts[0].chosen == 3 && parts[1].chosen == 1, "%zu and %zu", parts[0].chosen,
          parts[1].chosen);
}

int main(void)
{
    static const test_case cases[] = {
        { "near the best", test_near_the_best },
        { "ends", test_ends },
        { "parts that are alike", test_alike },
        { "beaten choices", test_beaten },
    };
    return test_main("allot", cases, NIB_COUNT(cases));
}
