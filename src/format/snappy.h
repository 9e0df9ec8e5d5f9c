/* snappy.h - Snappy's raw format, decoding only.
 *
 *     varint: bytes of the text | elements: a tag byte, its low two bits
 *     00  literal: length - 1 in the upper six bits; 60 .. 63: in the next 1 .. 4 bytes; the bytes
 *     01  copy: length - 4 in bits 2-4, offset: bits 5-7 << 8 | next byte
 *     10  copy: length - 1 in the upper six bits, offset in the next 2 bytes
 *     11  the same with 4 bytes
 *
 * A copy may reach into what it writes.  Written here because the library needs a C++ runtime.
 * Source: google/snappy, format_description.txt. */
#ifndef NIB_FORMAT_SNAPPY_H
#define NIB_FORMAT_SNAPPY_H

#include "base/base.h"

/* Fills out [out_bytes].  False: not Snappy, or its text has another length. */
bool nib_snappy_decode(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes);

#endif
