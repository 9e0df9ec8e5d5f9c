/* hash.h - SHA-256, which tells whether two inputs are the same, and CRC-32C, which tells
 * whether a file is still what was written; FNV-1a, for tables and keys. */
#ifndef NIB_BASE_HASH_H
#define NIB_BASE_HASH_H

#include "base/base.h"

/* FIPS 180-4.  Starts with nib_sha256_begin(). */
typedef struct nib_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64];
} nib_sha256;

void nib_sha256_begin(nib_sha256 *h);
void nib_sha256_add(nib_sha256 *h, const void *data, size_t bytes);
void nib_sha256_end(nib_sha256 *h, char hex[65]); /* 64 digits and NUL */

/* CRC-32C (Castagnoli; reflected 0x82F63B78, initial and final value inverted).  crc is that of
 * the bytes before, 0 at the beginning: "123456789" gives 0xE3069283. */
uint32_t nib_crc32c(uint32_t crc, const void *data, size_t bytes);

/* FNV-1a of 32 bits (Fowler, Noll, Vo): quick, and the same in every run. */
static inline uint32_t nib_fnv1a(const char *p, size_t bytes)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < bytes; i++) h = (h ^ (uint8_t)p[i]) * 16777619u;
    return h;
}

#endif
