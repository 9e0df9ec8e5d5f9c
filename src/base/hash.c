/* hash.c - see hash.h. */
#include "base/hash.h"

#include <stdio.h>

static uint32_t rotate(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }

static void take_block(nib_sha256 *h, const uint8_t *p)
{
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5,
        0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
        0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
        0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
        0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
        0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
        0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5,
        0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
        0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    };
    uint32_t w[64], s[8];

    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
               (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(s, h->state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) +
                      ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
        uint32_t t2 = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) +
                      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) h->state[i] += s[i];
}

void nib_sha256_begin(nib_sha256 *h)
{
    *h = (nib_sha256){ .state = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
}

void nib_sha256_add(nib_sha256 *h, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    size_t held = h->bytes % 64;

    if (!bytes) return; /* data may be NULL then */
    h->bytes += bytes;
    if (held) {
        size_t n = nib_min(64 - held, bytes);
        memcpy(h->block + held, p, n);
        if (held + n < 64) return;
        take_block(h, h->block);
        p += n;
        bytes -= n;
    }
    for (; bytes >= 64; p += 64, bytes -= 64) take_block(h, p);
    if (bytes) memcpy(h->block, p, bytes);
}

void nib_sha256_end(nib_sha256 *h, char hex[65])
{
    uint8_t end[72] = { 0x80 };
    uint64_t bits = h->bytes * 8;
    size_t pad = 64 - (h->bytes + 8) % 64; /* 1 to 64: the 0x80 and zeros up to the length */

    for (int i = 0; i < 8; i++) end[pad + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
    nib_sha256_add(h, end, pad + 8);
    for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", h->state[i]);
}

/* --- CRC-32C --- */

/* Four bits at a time: 16 words of table. */
static uint32_t crc_short(uint32_t crc, const uint8_t *p, size_t bytes)
{
    static const uint32_t nibbles[16] = {
        0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
        0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
        0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
    };

    for (size_t i = 0; i < bytes; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ nibbles[crc & 15];
        crc = crc >> 4 ^ nibbles[crc & 15];
    }
    return crc;
}

/* Eight bytes at a time: table[k][b] is what byte b does k bytes before the end.  The tables are
 * made for each call, 2048 words, which a long piece pays back. */
static uint32_t crc_long(uint32_t crc, const uint8_t *p, size_t words)
{
    uint32_t table[8][256];

    for (unsigned b = 0; b < 256; b++) table[0][b] = crc_short(0, &(uint8_t){ (uint8_t)b }, 1);
    for (unsigned k = 1; k < 8; k++)
        for (unsigned b = 0; b < 256; b++)
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 255];
    for (size_t i = 0; i < words; i++, p += 8) {
        uint32_t lo = nib_load_le32(p) ^ crc, hi = nib_load_le32(p + 4);
        crc = table[7][lo & 255] ^ table[6][lo >> 8 & 255] ^ table[5][lo >> 16 & 255] ^
              table[4][lo >> 24] ^ table[3][hi & 255] ^ table[2][hi >> 8 & 255] ^
              table[1][hi >> 16 & 255] ^ table[0][hi >> 24];
    }
    return crc;
}

uint32_t nib_crc32c(uint32_t crc, const void *data, size_t bytes)
{
    enum { LONG = 1 << 15 };
    const uint8_t *p = data;
    size_t words = bytes >= LONG ? bytes / 8 : 0;

    crc = ~crc;
    if (words) crc = crc_long(crc, p, words);
    return ~crc_short(crc, p + 8 * words, bytes - 8 * words);
}
