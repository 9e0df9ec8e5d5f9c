/* differences.h - gradients of a lab's graph against finite differences of its loss.
 *
 * Differences: (8 (f(+h) - f(-h)) - (f(+2h) - f(-2h))) / 12h with h = 2^-5.  Steps are exact in
 * float; the formula's own error is h^4 / 30 of the fifth derivative, 3e-8 of it.  A row's loss is
 * a float of about 2, so that the sum of 13 rows, made in double, is off by some 4e-7 and the
 * quotient by some 2e-5, where the greatest gradients are 0.2 to 10: up to 2e-4 of a matrix's
 * greatest was seen, 5e-4 is allowed, and a wrong term is 1e-2 or more.
 *
 * In bfloat16 differences say nothing (a value has 8 bits); there the gradients are held to those
 * of float32: every value on the way is rounded by up to 2^-9, a handful of times; 1.1 % of the
 * greatest was seen, 3 % is allowed. */
#ifndef NIB_TESTS_DIFFERENCES_H
#define NIB_TESTS_DIFFERENCES_H

#include "lab.h"

/* Variants 0 .. count - 1 of a build function, on every instruction set of this machine. */
void check_gradients(lab_build *build, int count, const char *what);
/* One variant on one of them. */
void check_gradients_on(const char *isa, lab_build *build, int variant, const char *what);

/* The input: values of an embedding whose table is trained. */
nib_value input(lab *l, const char *name, size_t width);

#endif
