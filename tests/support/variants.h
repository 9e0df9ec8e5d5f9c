/* variants.h - what tests of kernels share: every instruction set of this machine in turn, numbers
 * in guarded buffers of either type, and how far two results are apart. */
#ifndef NIB_TESTS_VARIANTS_H
#define NIB_TESTS_VARIANTS_H

#include "kernel/kernels.h"
#include "test.h"

/* The next set this machine has, beginning with avx2 at *i = 0: its name and kernels; NULL at the
 * end.
 *
 *     for (size_t level = 0; (name = test_next_variant(&level, &k));) ... */
const char *test_next_variant(size_t *i, nib_kernels *k);

/* n values of `type` in [-size, size); size 0: zeros. */
void *test_values(nib_dtype type, size_t n, float size);
float *test_floats(size_t n, float size);

/* The greatest |a - b| / (1 + |b|); infinite when one is NaN and the other is not. */
float test_worst(nib_dtype type, const void *a, const void *b, size_t n);

#endif
