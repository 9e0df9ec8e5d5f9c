/* test_recurrence.c - gradients of what is carried from token to token besides keys and values:
 * convolutions. */
#include <math.h>
#include <string.h>

#include "differences.h"
#include "test.h"

/* Of a plain value, of columns and of heads of one; with an activation, a bias, part of the taps;
 * of more taps than a sequence has tokens; with another reader. */
static void build_conv(lab *l)
{
    enum { WIDTH = 12 };
    nib_value x = input(l, "embed", 7), y, z;
    nib_conv_spec conv = { .taps = 3, .channels = WIDTH };

    l->elements = 30;
    l->b.segment++;
    lab_linear(l, "w", 2 * WIDTH, 7, LAB_LORA | LAB_TRAIN);
    lab_linear(l, "v", WIDTH, 7, LAB_LORA);
    z = lab_apply(l, x, "v");
    y = lab_apply(l, x, "w");
    if (l->variant & 1) conv.silu = conv.bias = true, conv.taps = 4;
    if (l->variant & 2) conv.channels = 3 * WIDTH, conv.offset = WIDTH, conv.taps += 10;
    lab_vector(l, "c.weight", conv.taps * conv.channels, 0);
    lab_vector(l, "c.bias", conv.channels, 0);
    if (l->variant < 2) {
        x = nib_columns_of(&l->b, y, 0, WIDTH);
        y = nib_columns_of(&l->b, y, WIDTH, WIDTH);
    } else {
        nib_heads pairs = { .head_stride = 6, .per_group = 4 };
        x = nib_heads_of(&l->b, y, 4, 3, 3, pairs);
        y = nib_heads_of(&l->b, y, 4, 3, 0, pairs);
    }
    x = nib_convolve(&l->b, x, &conv, "c");
    y = nib_add(&l->b, x, nib_gate(&l->b, y, z, NIB_ACT_SILU));
    lab_finish(l, nib_add(&l->b, nib_convolve(&l->b, z, &conv, "c"), y), WIDTH, 0);
}
static void test_conv(void) { check_gradients(build_conv, 4, "convolution"); }

/* Two mixes of one value, which goes on as it is too. */
static void build_mix(lab *l)
{
    nib_value x = input(l, "embed", 10), y;

    l->b.segment++;
    lab_vector(l, "m", 20, 0);
    y = nib_mix_before(&l->b, x, "m");
    y = nib_gate(&l->b, y, nib_mix_before(&l->b, x, "m"), NIB_ACT_SILU);
    lab_finish(l, nib_add(&l->b, x, y), 10, 0);
}
static void test_mix(void) { check_gradients(build_mix, 1, "mix with the row before"); }

int main(void)
{
    static const test_case cases[] = { { "conv", test_conv }, { "mix", test_mix } };
    return test_main("recurrence", cases, NIB_COUNT(cases));
}
