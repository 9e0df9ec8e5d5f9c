/* jinja_utf8.c - characters of UTF-8, and finding text in text; knows nothing of values. */
#include "text/jinja_parts.h"

#include <utf8proc.h>

size_t jin_char(const char *p, size_t n, int32_t *c)
{
    utf8proc_ssize_t got = utf8proc_iterate((const utf8proc_uint8_t *)p,
                                            (utf8proc_ssize_t)nib_min(n, 4), c);

    if (got > 0) return (size_t)got;
    *c = (unsigned char)*p;
    return 1;
}

size_t jin_length(jstr s)
{
    size_t count = 0;
    int32_t c;
    for (size_t i = 0; i < s.n; count++) i += jin_char(s.p + i, s.n - i, &c);
    return count;
}

bool jin_space(int32_t c)
{
    if (c <= 0x20) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

size_t jin_find(jstr s, jstr what, size_t from)
{
    const char *hit;

    if (from > s.n) return SIZE_MAX;
    if (!what.n) return from;
    hit = s.n > from ? memmem(s.p + from, s.n - from, what.p, what.n) : NULL;
    return hit ? (size_t)(hit - s.p) : SIZE_MAX;
}

size_t jin_offset(jstr s, int64_t at)
{
    size_t i = 0;
    int32_t c;

    while (at-- > 0 && i < s.n) i += jin_char(s.p + i, s.n - i, &c);
    return i;
}

size_t jin_find_last(jstr s, jstr what)
{
    for (size_t i = s.n + 1; i-- > 0;)
        if (i + what.n <= s.n && (!what.n || !memcmp(s.p + i, what.p, what.n))) return i;
    return SIZE_MAX;
}
