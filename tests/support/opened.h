/* opened.h - for tests of formats: a weight opened from tensors in memory as config.json says, and
 * whether its tiles and products are those of its decoded values. */
#ifndef NIB_TESTS_OPENED_H
#define NIB_TESTS_OPENED_H

#include "quant/format.h"
#include "test.h"

enum { TEST_PARTS = 8 };
/* The tensors of module "m". */
typedef struct test_parts { nib_part items[TEST_PARTS]; size_t count; } test_parts;
nib_part_finder test_parts_finder(test_parts *p);

/* The weight of m, a Linear; json: the quantization_config. */
nib_status test_open_weight(nib_ctx *ctx, const char *json, test_parts *p, nib_weight **w,
                            nib_error *err);
/* Tiles of any place and size are pieces of `all`, the decoded weight. */
void test_check_tiles(const nib_weight *w, const float *all);
/* Products of `rows` rows in the compute type have the bits of those with the dense values. */
void test_check_products(nib_ctx *ctx, const nib_weight *w, const float *all, nib_dtype type,
                         size_t rows);
/* Dots of one to four rows of float32 are near those of the dense values, and a row's bits are the
 * same alone. */
void test_check_dots(nib_ctx *ctx, const nib_weight *w, const float *all);

#endif
