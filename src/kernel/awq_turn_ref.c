/* awq_turn_ref.c - AWQ's words turned, code by code. */
#include "kernel/kernels.h"

void nib_awq_turn_ref(size_t count, const uint8_t *rows, size_t next, uint32_t *to)
{
    static const unsigned nibble_of[8] = { 0, 4, 1, 5, 2, 6, 3, 7 };

    for (size_t b = 0; b < count; b++)
        for (size_t o = 0; o < NIB_AWQ_OUTPUTS; o++) {
            uint32_t word = 0;
            for (size_t t = 0; t < NIB_AWQ_INPUTS; t++) {
                const uint8_t *row = rows + (b * NIB_AWQ_INPUTS + t) * next;
                word |= (nib_load_le32(row + o / 8 * 4) >> 4 * nibble_of[o % 8] & 15) << 4 * t;
            }
            to[b * NIB_AWQ_OUTPUTS + o] = word;
        }
}
