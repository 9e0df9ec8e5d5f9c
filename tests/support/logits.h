/* logits.h - what a model makes of a text. */
#ifndef NIB_TESTS_LOGITS_H
#define NIB_TESTS_LOGITS_H

#include "model/model.h"
#include "test.h"

/* Logits [count, vocabulary] of one sequence of at most 64 tokens; false with a failure noted. */
bool test_compute(const nib_model *m, const uint32_t *ids, size_t count, float *logits);

#endif
