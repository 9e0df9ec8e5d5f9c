/* jsontext.c - JSON as the Python libraries write it. */
#include "format/jsontext.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void nib_text_free(nib_text *t)
{
    nib_free(t->ctx, t->data);
    *t = (nib_text){ .ctx = t->ctx };
}

void nib_text_put(nib_text *t, const char *s, size_t bytes)
{
    if (t->failed) return;
    if (!nib_grow(t->ctx, &t->data, &t->room, t->bytes + bytes + 1, 1)) {
        t->failed = true;
        return;
    }
    memcpy(t->data + t->bytes, s, bytes);
    t->bytes += bytes;
    t->data[t->bytes] = 0;
}

void nib_text_puts(nib_text *t, const char *s) { nib_text_put(t, s, strlen(s)); }

void nib_text_printf(nib_text *t, const char *format, ...)
{
    char line[512];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert(length >= 0 && (size_t)length < sizeof line);
    nib_text_put(t, line, (size_t)length);
}

/* One character of valid UTF-8 that is not ASCII, as one escape or a surrogate pair. */
static size_t put_escaped(nib_text *t, const uint8_t *s)
{
    size_t length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    uint32_t c = s[0] & (0xffu >> (length + 1));

    for (size_t i = 1; i < length; i++) c = c << 6 | (s[i] & 0x3f);
    if (c < 0x10000) nib_text_printf(t, "\\u%04x", (unsigned)c);
    else nib_text_printf(t, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((c - 0x10000) >> 10)),
                         (unsigned)(0xdc00 + ((c - 0x10000) & 0x3ff)));
    return length;
}

void nib_text_json_string(nib_text *t, const char *s, bool ascii)
{
    static const char named[] = "b\bf\fn\nr\rt\t\"\"\\\\"; /* letter of the escape, character */

    nib_text_put(t, "\"", 1);
    while (*s) {
        uint8_t c = (uint8_t)*s;
        const char *name = NULL;

        for (size_t i = 0; i + 1 < sizeof named; i += 2)
            if ((uint8_t)named[i + 1] == c) name = &named[i];
        if (name) {
            nib_text_put(t, "\\", 1);
            nib_text_put(t, name, 1);
        } else if (c < 0x20 || (c == 0x7f && ascii)) {
            nib_text_printf(t, "\\u%04x", (unsigned)c);
        } else if (c >= 0x80 && ascii) {
            s += put_escaped(t, (const uint8_t *)s) - 1;
        } else {
            nib_text_put(t, s, 1);
        }
        s++;
    }
    nib_text_put(t, "\"", 1);
}

/* repr() takes the fewest digits that read back, with an exponent below 1e-4 and from 1e16. */
void nib_text_json_float(nib_text *t, double value)
{
    char shortest[40], fixed[40];
    int digits, exponent = 0, decimals;

    assert(isfinite(value));
    for (digits = 0; digits < 17; digits++) {
        snprintf(shortest, sizeof shortest, "%.*e", digits, value);
        if (strtod(shortest, NULL) == value) break;
    }
    exponent = atoi(strchr(shortest, 'e') + 1);
    if (value != 0 && (exponent < -4 || exponent >= 16)) {
        nib_text_puts(t, shortest); /* C and Python write exponents alike, two digits at least */
        return;
    }
    decimals = digits - exponent;
    snprintf(fixed, sizeof fixed, "%.*f", decimals > 1 ? decimals : 1, value);
    nib_text_puts(t, fixed);
}
