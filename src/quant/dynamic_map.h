/* dynamic_map.h - bitsandbytes' 8-bit dynamic map: 256 sorted values with a fraction
 * that shortens as the exponent falls.  Bit-equal to PyTorch 2.13 on AVX2 and AVX-512
 * (formats.md 4.5; Dettmers et al. 2022, arXiv:2110.02861). */
#ifndef NIB_QUANT_DYNAMIC_MAP_H
#define NIB_QUANT_DYNAMIC_MAP_H

#include "base/base.h"

void nib_dynamic_map(bool with_sign, float map[256]);

/* Quantizes blocks of `blocksize` values (the last may be short) as the CPU library does,
 * through its table of 65536 entries: absmax [ceil(count / blocksize)], codes [count].
 * `lookup` is made by nib_dynamic_lookup().  Values must be finite. */
enum { NIB_DYNAMIC_LOOKUP = 65536 };
void nib_dynamic_lookup(const float map[256], uint8_t lookup[NIB_DYNAMIC_LOOKUP]);
void nib_dynamic_encode(const uint8_t lookup[NIB_DYNAMIC_LOOKUP], const float *x, size_t count,
                        size_t blocksize, uint8_t *codes, float *absmax);

#endif
