/* utf8.h - reading and writing UTF-8 by code points; input is checked once, then trusted. */
#ifndef NIB_TEXT_UTF8_H
#define NIB_TEXT_UTF8_H

#include "base/base.h"

/* Bytes of the character that begins with this byte, in valid text. */
static inline size_t nib_utf8_length(char first)
{
    uint8_t b = (uint8_t)first;
    return b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

static inline uint32_t nib_utf8_read(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    if (b[0] < 0x80) return b[0];
    if (b[0] < 0xe0) return (b[0] & 31u) << 6 | (b[1] & 63u);
    if (b[0] < 0xf0) return (b[0] & 15u) << 12 | (b[1] & 63u) << 6 | (b[2] & 63u);
    return (b[0] & 7u) << 18 | (b[1] & 63u) << 12 | (b[2] & 63u) << 6 | (b[3] & 63u);
}

/* Writes a code point; its bytes. */
static inline size_t nib_utf8_write(uint32_t c, char *p)
{
    if (c < 0x80) return p[0] = (char)c, 1;
    if (c < 0x800) return p[0] = (char)(0xc0 | c >> 6), p[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return p[0] = (char)(0xe0 | c >> 12), p[1] = (char)(0x80 | (c >> 6 & 63)),
               p[2] = (char)(0x80 | (c & 63)), 3;
    return p[0] = (char)(0xf0 | c >> 18), p[1] = (char)(0x80 | (c >> 12 & 63)),
           p[2] = (char)(0x80 | (c >> 6 & 63)), p[3] = (char)(0x80 | (c & 63)), 4;
}

/* Bytes of the valid character at p, at most `left` bytes away from the end; 0: invalid. */
static inline size_t nib_utf8_valid(const char *p, size_t left)
{
    const uint8_t *b = (const uint8_t *)p;
    size_t n = b[0] < 0x80   ? 1
               : b[0] < 0xc2 ? 0
               : b[0] < 0xe0 ? 2
               : b[0] < 0xf0 ? 3
               : b[0] < 0xf5 ? 4
                             : 0;

    if (n == 0 || n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((b[i] & 0xc0) != 0x80) return 0;
    if ((b[0] == 0xe0 && b[1] < 0xa0) || (b[0] == 0xed && b[1] > 0x9f) ||
        (b[0] == 0xf0 && b[1] < 0x90) || (b[0] == 0xf4 && b[1] > 0x8f))
        return 0;
    return n;
}

/* Where the character before `at` begins; at > 0. */
static inline size_t nib_utf8_before(const char *text, size_t at)
{
    do at--;
    while (((uint8_t)text[at] & 0xc0) == 0x80);
    return at;
}

/* Characters of valid text. */
static inline size_t nib_utf8_count(const char *text, size_t bytes)
{
    size_t n = 0;

    for (size_t i = 0; i < bytes; i++) n += ((uint8_t)text[i] & 0xc0) != 0x80;
    return n;
}

/* Unicode's White_Space. */
static inline bool nib_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 32 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}
/* Python's str.isspace(): the four separators of ASCII too. */
static inline bool nib_is_python_space(uint32_t c)
{
    return nib_is_space(c) || (c >= 0x1c && c <= 0x1f);
}
static inline bool nib_utf8_is_space(const char *p) { return nib_is_space(nib_utf8_read(p)); }

#endif
