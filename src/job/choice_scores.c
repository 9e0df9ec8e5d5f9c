/* choice_scores.c - see choice_scores.h. */
#include "job/choice_scores.h"

#include <math.h>

#include "text/utf8.h"

size_t nib_choice_scores(const double *log_likelihood, const char *const *texts, size_t count,
                         size_t right, nib_answer_scores *out)
{
    static const nib_answer_score scores[] = { NIB_ANSWER_ACC, NIB_ANSWER_ACC_NORM,
                                               NIB_ANSWER_ACC_BYTES };
    size_t picked[3] = { 0 };
    double most[3] = { -(double)INFINITY, -(double)INFINITY, -(double)INFINITY };

    for (size_t i = 0; i < count; i++) {
        size_t bytes = strlen(texts[i]);
        const double by[] = { 1, (double)nib_utf8_count(texts[i], bytes), (double)bytes };
        for (size_t k = 0; k < 3; k++) {
            double score = log_likelihood[i] / by[k];
            if (score > most[k]) most[k] = score, picked[k] = i;
        }
    }
    *out = (nib_answer_scores){ 0 };
    for (size_t s = 0; s < NIB_ANSWER_SCORES; s++) out->of[s] = (double)NAN;
    for (size_t k = 0; k < 3; k++) out->of[scores[k]] = picked[k] == right;
    return picked[0];
}
