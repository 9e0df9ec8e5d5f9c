/* snappy.c - element by element; every length is held to what is left on both sides. */
#include "format/snappy.h"

typedef struct stream {
    const uint8_t *at, *end;
    uint8_t *out;
    size_t done, bytes;
} stream;

static size_t left(const stream *s)
{
    return (size_t)(s->end - s->at);
}

/* n <= 4 bytes, little-endian. */
static bool take(stream *s, unsigned n, uint32_t *out)
{
    if (n > left(s)) return false;
    *out = 0;
    for (unsigned i = 0; i < n; i++) *out |= (uint32_t)*s->at++ << 8 * i;
    return true;
}

static bool take_length(stream *s, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint32_t byte;

        if (!take(s, 1, &byte)) return false;
        *out |= (uint64_t)(byte & 127) << shift;
        if (!(byte & 128)) return true;
    }
    return false;
}

static bool literal(stream *s, uint32_t tag)
{
    uint32_t more = tag >> 2;
    size_t length;

    if (more >= 60 && !take(s, more - 59, &more)) return false;
    length = (size_t)more + 1;
    if (length > left(s) || length > s->bytes - s->done) return false;
    memcpy(s->out + s->done, s->at, length);
    s->at += length;
    s->done += length;
    return true;
}

static bool copy(stream *s, size_t length, size_t offset)
{
    uint8_t *to = s->out + s->done;
    const uint8_t *from;

    if (offset == 0 || offset > s->done || length > s->bytes - s->done) return false;
    from = to - offset;
    /* one by one: it may repeat what it writes */
    for (size_t i = 0; i < length; i++) to[i] = from[i];
    s->done += length;
    return true;
}

bool nib_snappy_decode(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
    stream s = { .at = in, .end = in + in_bytes, .out = out, .bytes = out_bytes };
    uint64_t length;

    if (!take_length(&s, &length) || length != out_bytes) return false;
    while (s.at < s.end) {
        uint32_t tag = *s.at++, offset;
        bool good;

        switch (tag & 3) {
        case 0: good = literal(&s, tag); break;
        case 1:
            good = take(&s, 1, &offset) && copy(&s, (tag >> 2 & 7) + 4, (tag >> 5) << 8 | offset);
            break;
        case 2: good = take(&s, 2, &offset) && copy(&s, (tag >> 2) + 1, offset); break;
        default: good = take(&s, 4, &offset) && copy(&s, (tag >> 2) + 1, offset); break;
        }
        if (!good) return false;
    }
    return s.done == s.bytes;
}
