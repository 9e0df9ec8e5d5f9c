/* bnb4_tables.c - what bitsandbytes fixes of its 4-bit formats: codes and sizes of blocks. */
#include "quant/bnb4.h"

const float nib_nf4_table[16] = {
    -0x1p+0f,        -0x1.647362p-1f, -0x1.0cd66p-1f,  -0x1.94654p-2f,
    -0x1.23449ap-2f, -0x1.7a6a7ep-3f, -0x1.74f0e2p-4f, 0,
    0x1.45f5fep-4f,  0x1.4995c6p-3f,  0x1.f809bap-3f,  0x1.5a0674p-2f,
    0x1.c3497p-2f,   0x1.200f56p-1f,  0x1.722766p-1f,  0x1p+0f,
};
const float nib_fp4_table[16] = {
    0, 0x1.555556p-8f,  0x1.555556p-1f,  0x1p+0f,   0x1.555556p-2f,
    0x1p-1f,            0x1.555556p-3f,  0x1p-2f, /* code 8 is +0 in files, so here: */
    0, -0x1.555556p-8f, -0x1.555556p-1f, -0x1p+0f,  -0x1.555556p-2f,
    -0x1p-1f,           -0x1.555556p-3f, -0x1p-2f,
};

bool nib_bnb4_blocksize_known(uint64_t blocksize)
{
    return blocksize >= 32 && blocksize <= 4096 && (blocksize & (blocksize - 1)) == 0;
}
