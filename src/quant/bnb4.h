/* bnb4.h - what the files of the bitsandbytes 4-bit scheme share. */
#ifndef NIB_QUANT_BNB4_H
#define NIB_QUANT_BNB4_H

#include "quant/weight.h"

extern const float nib_nf4_table[16], nib_fp4_table[16]; /* code -> value, formats.md 4.2 */
extern const nib_scheme nib_bnb4_scheme;


bool nib_bnb4_blocksize_known(uint64_t blocksize); /* 32, 64, ... 4096 */

#endif
