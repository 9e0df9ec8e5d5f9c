/* test_sampler.c - greedy choice and sampling against transformers' logits processors. */
#include "test.h"

#include <math.h>

#include "generate/sampler.h"

enum { WORDS = 12, DRAWS = 200000 };

static const float logits[WORDS] = { 2.0f,  -1.5f, 0.25f, 3.5f, 1.0f,  3.0f,
                                     0.25f, -0.5f, 2.75f, 1.0f, -4.0f, 3.25f };
static const uint32_t seen[] = { 3, 7, 0 };

/* transformers 4.57.6; tests/golden/make/sampler_golden.py prints these. */
static const struct golden {
    const char *name;
    double temperature, top_p, min_p, penalty, typical, epsilon, eta;
    int top_k;
    uint32_t best;
    double p[WORDS];
} goldens[] = {
    { "temperature", 0.7, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0,
      3, { 0.0429952, 0.0002897, 0.00352926, 0.366481, 0.0103039, 0.179408,
        0.00352926, 0.00120884, 0.125527, 0.0103039, 8.1451e-06, 0.256417 } },
    { "top_k", 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 4,
      3, { 0, 0, 0, 0.349932, 0, 0.212244,
        0, 0, 0.165296, 0, 0, 0.272527 } },
    { "top_k with ties", 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 6,
      3, { 0.0687613, 0, 0, 0.308167, 0.0252959, 0.186912,
        0, 0, 0.145568, 0.0252959, 0, 0.24 } },
    { "top_p", 1.0, 0.8, 0.0, 1.0, 1.0, 0.0, 0.0, 0,
      3, { 0, 0, 0, 0.349932, 0, 0.212244,
        0, 0, 0.165296, 0, 0, 0.272527 } },
    { "top_p of one", 1.0, 0.05, 0.0, 1.0, 1.0, 0.0, 0.0, 0,
      3, { 0, 0, 0, 1, 0, 0,
        0, 0, 0, 0, 0, 0 } },
    { "min_p", 1.0, 1.0, 0.3, 1.0, 1.0, 0.0, 0.0, 0,
      3, { 0, 0, 0, 0.349932, 0, 0.212244,
        0, 0, 0.165296, 0, 0, 0.272527 } },
    { "penalty", 1.0, 1.0, 0.0, 1.5, 1.0, 0.0, 0.0, 0,
      11, { 0.0449791, 0.00264551, 0.0152239, 0.122266, 0.0322289, 0.238142,
        0.0152239, 0.00560055, 0.185465, 0.0322289, 0.000217157, 0.30578 } },
    { "penalty below one", 1.0, 1.0, 0.0, 0.6, 1.0, 0.0, 0.0, 0,
      3, { 0.0637036, 0.000507077, 0.00291803, 0.776069, 0.00617746, 0.0456456,
        0.00291803, 0.00168356, 0.0355489, 0.00617746, 4.16234e-05, 0.0586102 } },
    { "typical", 1.0, 1.0, 0.0, 1.0, 0.5, 0.0, 0.0, 0,
      3, { 0, 0, 0, 0, 0, 0.326496,
        0, 0, 0.254275, 0, 0, 0.419229 } },
    { "typical of little", 1.0, 1.0, 0.0, 1.0, 0.1, 0.0, 0.0, 0,
      3, { 0, 0, 0, 0, 0, 1,
        0, 0, 0, 0, 0, 0 } },
    { "typical, warm", 2.0, 1.0, 0.0, 1.0, 0.8, 0.0, 0.0, 0,
      3, { 0.107504, 0, 0, 0.227585, 0.0652042, 0.177243,
        0, 0, 0.156417, 0.0652042, 0, 0.200843 } },
    { "epsilon", 1.0, 1.0, 0.0, 1.0, 1.0, 0.05, 0.0, 0,
      3, { 0.0724254, 0, 0, 0.324588, 0, 0.196873,
        0, 0, 0.153325, 0, 0, 0.252789 } },
    { "epsilon above all", 1.0, 1.0, 0.0, 1.0, 1.0, 0.9, 0.0, 0,
      3, { 0, 0, 0, 1, 0, 0,
        0, 0, 0, 0, 0, 0 } },
    { "eta", 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.1, 0,
      3, { 0.0724254, 0, 0, 0.324588, 0, 0.196873,
        0, 0, 0.153325, 0, 0, 0.252789 } },
    { "eta of little", 0.5, 1.0, 0.0, 1.0, 1.0, 0.0, 0.02, 0,
      3, { 0.0221539, 0, 0, 0.444973, 0, 0.163696,
        0, 0, 0.0992869, 0, 0, 0.26989 } },
    { "all cuts", 1.3, 0.95, 0.05, 1.0, 0.9, 0.03, 0.05, 9,
      3, { 0.0932424, 0, 0, 0.295612, 0, 0.201227,
        0, 0, 0.166023, 0, 0, 0.243896 } },
    { "all", 1.4, 0.9, 0.2, 1.2, 1.0, 0.0, 0.0, 8,
      11, { 0.0797265, 0, 0, 0.1947, 0.0495217, 0.206641,
        0, 0, 0.172848, 0.0495217, 0, 0.247041 } },
};

static nib_sampling settings(const struct golden *g, bool do_sample)
{
    return (nib_sampling){ .do_sample = do_sample, .temperature = g->temperature, .top_p = g->top_p,
                           .min_p = g->min_p, .repetition_penalty = g->penalty,
                           .typical_p = g->typical, .epsilon_cutoff = g->epsilon,
                           .eta_cutoff = g->eta, .top_k = g->top_k, .seed = 7 };
}

static uint32_t draw(nib_sampler *s, const nib_sampling *o, uint64_t number)
{
    return nib_sample(s, o, NULL, NULL, (nib_logits){ WORDS, logits, NULL }, number);
}

static bool open_sampler(nib_sampler *s)
{
    nib_error err;

    if (nib_sampler_init(test_ctx(), WORDS, s, &err)) return false;
    for (size_t i = 0; i < NIB_COUNT(seen); i++) nib_sampler_see(s, seen[i]);
    return true;
}

/* The frequency of every word within five standard deviations of transformers' probability; a word
 * it leaves out is never drawn. */
static void test_frequencies(void)
{
    nib_sampler s;

    REQUIRE(open_sampler(&s));
    for (size_t i = 0; i < NIB_COUNT(goldens); i++) {
        nib_sampling o = settings(&goldens[i], true);
        double count[WORDS] = { 0 };

        for (uint64_t d = 0; d < DRAWS; d++) count[draw(&s, &o, d)]++;
        for (size_t w = 0; w < WORDS; w++) {
            double p = goldens[i].p[w], room = 5 * sqrt(p * (1 - p) / DRAWS);
            CHECK(fabs(count[w] / DRAWS - p) <= room, "%s: word %zu: %g of the draws, expected %g",
                  goldens[i].name, w, count[w] / DRAWS, p);
        }
    }
    nib_sampler_free(&s);
}

static void test_greedy(void)
{
    nib_sampler s;

    REQUIRE(open_sampler(&s));
    for (size_t i = 0; i < NIB_COUNT(goldens); i++) {
        nib_sampling o = settings(&goldens[i], false);
        uint32_t id = draw(&s, &o, 0);
        CHECK(id == goldens[i].best, "%s: word %u, expected %u", goldens[i].name, id,
              goldens[i].best);
    }
    nib_sampler_free(&s);
}

/* A draw is a function of seed and number, and both matter. */
static void test_draws(void)
{
    nib_sampling o = settings(&goldens[0], true), other = o;
    size_t same_seed = 0, same_number = 0;
    nib_sampler s;

    other.seed = 8;
    REQUIRE(open_sampler(&s));
    for (uint64_t d = 0; d < 100; d++) {
        uint32_t id = draw(&s, &o, d);
        CHECK(draw(&s, &o, d) == id, "draw %d is not repeatable", (int)d);
        same_seed += draw(&s, &other, d) == id;
        same_number += draw(&s, &o, d + 1) == id;
    }
    CHECK(same_seed < 80 && same_number < 80, "%zu and %zu of 100 draws are alike", same_seed,
          same_number);
    nib_sampler_forget(&s);
    o = settings(&goldens[6], false);
    CHECK(draw(&s, &o, 0) == 3, "a penalty stays after nib_sampler_forget()");
    nib_sampler_free(&s);
}

/* As many of the greatest as are needed, in any order, give the same draws as all. */
static void test_needs(void)
{
    nib_sampler s;

    REQUIRE(open_sampler(&s));
    for (size_t i = 0; i < NIB_COUNT(goldens); i++)
        for (int sampled = 0; sampled < 2; sampled++) {
            nib_sampling o = settings(&goldens[i], sampled);
            size_t needs = nib_sampling_needs(&o, NIB_COUNT(seen)), count = 0;
            uint32_t ids[WORDS];
            float values[WORDS];

            CHECK((needs > 0) == (goldens[i].penalty >= 1 && (!sampled || goldens[i].top_k > 0)) &&
                      (needs == 0 || needs == (sampled ? (size_t)o.top_k : 1) +
                                                  (o.repetition_penalty > 1 ? NIB_COUNT(seen) : 0)),
                  "%s: %zu logits are needed", goldens[i].name, needs);
            /* from the end, so that ties come in the wrong order */
            for (size_t w = WORDS; needs && w-- > 0;) {
                size_t greater = 0;
                for (size_t j = 0; j < WORDS; j++) greater += logits[j] > logits[w];
                if (greater >= needs) continue;
                ids[count] = (uint32_t)w;
                values[count++] = logits[w];
            }
            for (uint64_t d = 0; needs && d < 1000; d++) {
                uint32_t id = nib_sample(&s, &o, NULL, NULL, (nib_logits){ count, values, ids }, d);
                CHECK(id == draw(&s, &o, d), "%s: draw %d of %zu logits is word %u",
                      goldens[i].name, (int)d, count, id);
            }
        }
    nib_sampler_free(&s);
}

static const test_case cases[] = {
    { "frequencies are transformers' probabilities", test_frequencies },
    { "greedy takes the best after the penalty", test_greedy },
    { "draws repeat, and differ by seed and number", test_draws },
    { "the greatest logits that are needed decide as all of them do", test_needs },
};

int main(void) { return test_main("test_sampler", cases, NIB_COUNT(cases)); }
