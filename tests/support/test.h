/* test.h - what every unit test uses: CHECK, guarded buffers, seeded numbers.
 *
 * A test program is a list of TEST(name) functions run by TEST_MAIN; it prints a line
 * for each failure and ends with exit status 1 if any failed.  tests/run.sh counts. */
#ifndef NIB_TESTS_TEST_H
#define NIB_TESTS_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "nibble/context.h"
#include "nibble/model.h"

/* With the address sanitizer what is freed stays resident: no limit of memory holds there. */
#ifdef __SANITIZE_ADDRESS__ /* gcc's word */
#define TEST_ADDRESS_SANITIZER
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define TEST_ADDRESS_SANITIZER
#endif
#endif

typedef struct test_case { const char *name; void (*run)(void); } test_case;

/* Runs the cases; prints "ok NAME", "FAILED NAME" or "skipped NAME: reason" each. */
int test_main(const char *program, const test_case *cases, size_t count);

void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void test_skip(const char *reason); /* then return from the test */

#define CHECK(condition, ...) \
    do { if (!(condition)) test_fail(__FILE__, __LINE__, "" __VA_ARGS__); } while (0)
/* For what later lines depend on: leaves the test function. */
#define REQUIRE(condition, ...) \
    do { if (!(condition)) { test_fail(__FILE__, __LINE__, "" __VA_ARGS__); return; } } while (0)
/* A call that must succeed: prints its error message otherwise. */
#define REQUIRE_OK(call, err) REQUIRE((call) == NIB_OK, "%s", (err).message)

uint32_t test_rand(void);          /* seeded anew for each case */
float test_rand_float(void);       /* uniform in [-1, 1) */
void *
test_guarded(size_t bytes); /* 64-byte aligned END: next byte is unreadable; freed after the case */
/* Frees all but the first `kept` of them, where a case makes thousands. */
void test_free_guarded(size_t kept);
size_t test_guarded_count(void);
/* A fresh directory for this case, removed after it.  It lies in TEST_MEMORY_DIR where that is set
 * (tests/run.sh: syncing to a disk is most of the time of some tests), unless test_on_disk() was
 * called before: for paged states, which nibble refuses to keep in memory. */
const char *test_tmpdir(void);
void test_on_disk(void);
const char *test_data(const char *relative); /* path of a file below the repository's top */
nib_ctx *test_ctx(void);           /* a context with 2 threads, destroyed after the case */
nib_ctx *test_ctx_threads(int threads, const char *isa);

/* Where a walk through steps that are many and alike begins, if it takes every `stride`-th of them,
 * counted from 0: another one each day, so that all had their turn after `stride` days.  The walks
 * of one day differ by `shift`.  NIBBLE_ALL_CASES=1 makes *stride 1: every step. */
long test_first_of_the_day(long *stride, long shift);
/* The step behind k; the last step is always taken.  Beyond `last`: the walk is over. */
long test_next_step(long k, long stride, long last);

/* An allocator that fails at its nth call (0: never) and counts what is not given back. */
typedef struct test_heap { size_t calls, fail_at, live; } test_heap;
nib_ctx *test_ctx_heap(test_heap *heap);
void test_ctx_release(nib_ctx *ctx); /* before the case ends: for cases that make many */

/* Settings of weights: 4 bit, its scales plain or in 8 bits. */
extern const nib_setting test_four_bit[], test_four_bit_double[];

#endif
