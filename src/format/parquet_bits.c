/* parquet_bits.c - unpacking small integers, one at a time. */
#include "format/parquet_bits.h"

/* `width` <= 64 bits from bit `first` on, lowest first. */
static uint64_t bits_at(const uint8_t *p, uint64_t first, unsigned width)
{
    unsigned shift = first & 7, have = 8 - shift;
    uint64_t value;

    if (width == 0) return 0;
    p += first >> 3;
    value = *p >> shift;
    while (have < width) {
        value |= (uint64_t)*++p << have;
        have += 8;
    }
    return width == 64 ? value : value & (((uint64_t)1 << width) - 1);
}

static uint32_t bits_highest_first(const uint8_t *p, uint64_t first, unsigned width)
{
    uint32_t value = 0;

    for (uint64_t bit = first; bit < first + width; bit++)
        value = value << 1 | (p[bit >> 3] >> (7 - (bit & 7)) & 1);
    return value;
}

static bool take_varint(const uint8_t **at, const uint8_t *end, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;

        *out |= (uint64_t)(byte & 127) << shift;
        if (!(byte & 128)) return true;
    }
    return false;
}

unsigned nib_bit_width(uint32_t most)
{
    return most ? 32 - (unsigned)__builtin_clz(most) : 0;
}

nib_rle nib_rle_open(const uint8_t *data, size_t bytes, unsigned width)
{
    return (nib_rle){ .at = data, .end = data + bytes, .width = width };
}

nib_rle nib_bit_packed_open(const uint8_t *data, size_t bytes, unsigned width)
{
    return (nib_rle){ .at = data + bytes, .end = data + bytes, .width = width, .packed = data,
                      .left = width ? (uint64_t)bytes * 8 / width : UINT64_MAX,
                      .highest_first = true };
}

static bool next_run(nib_rle *r)
{
    uint64_t head, most;
    unsigned bytes = (r->width + 7) / 8;

    if (!take_varint(&r->at, r->end, &head)) return false;
    r->index = 0;
    if (head & 1) {
        if (head >> 1 > UINT32_MAX) return false;
        r->left = (head >> 1) * 8;
        r->packed = r->at;
        most = r->width ? (uint64_t)(r->end - r->at) * 8 / r->width : UINT64_MAX;
        r->left = r->left < most ? r->left : most; /* some writers cut the last group */
        r->at += nib_min((size_t)(r->end - r->at), (size_t)((head >> 1) * r->width));
        return true;
    }
    if (bytes > (size_t)(r->end - r->at)) return false;
    r->left = head >> 1;
    r->packed = NULL;
    r->value = 0;
    for (unsigned i = 0; i < bytes; i++) r->value |= (uint32_t)*r->at++ << 8 * i;
    return true;
}

bool nib_rle_next(nib_rle *r, uint32_t *out)
{
    while (r->left == 0)
        if (!next_run(r)) return false;
    r->left--;
    if (!r->packed) *out = r->value;
    else if (r->highest_first)
        *out = bits_highest_first(r->packed, r->index++ * r->width, r->width);
    else *out = (uint32_t)bits_at(r->packed, r->index++ * r->width, r->width);
    return true;
}

static int64_t from_zigzag(uint64_t v)
{
    return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

bool nib_delta_open(const uint8_t *data, size_t bytes, nib_delta *out)
{
    nib_delta d = { .at = data, .end = data + bytes };
    uint64_t block, first;

    if (!take_varint(&d.at, d.end, &block) || !take_varint(&d.at, d.end, &d.miniblocks) ||
        !take_varint(&d.at, d.end, &d.count) || !take_varint(&d.at, d.end, &first))
        return false;
    if (d.miniblocks == 0 || block > 1 << 24 || block % d.miniblocks || block / d.miniblocks % 8)
        return false;
    d.a_miniblock = block / d.miniblocks;
    if (d.a_miniblock == 0 || d.count > INT32_MAX) return false;
    d.left = d.count;
    d.value = (uint64_t)from_zigzag(first);
    d.miniblock = d.miniblocks - 1; /* at its end: a block begins */
    d.index = d.a_miniblock;
    *out = d;
    return true;
}

static bool next_miniblock(nib_delta *d)
{
    uint64_t bytes, least;

    if (++d->miniblock == d->miniblocks) {
        if (!take_varint(&d->at, d->end, &least) || d->miniblocks > (size_t)(d->end - d->at))
            return false;
        d->least = (uint64_t)from_zigzag(least);
        d->widths = d->at;
        d->at += d->miniblocks;
        d->miniblock = 0;
    }
    if (d->widths[d->miniblock] > 64) return false;
    bytes = d->a_miniblock / 8 * d->widths[d->miniblock];
    if (bytes > (size_t)(d->end - d->at)) return false;
    d->packed = d->at;
    d->at += bytes;
    d->index = 0;
    return true;
}

const uint8_t *nib_delta_end(nib_delta d)
{
    for (uint64_t left = d.count ? d.count - 1 : 0; left;) {
        if (!next_miniblock(&d)) return NULL;
        left -= left < d.a_miniblock ? left : d.a_miniblock;
    }
    return d.at;
}

bool nib_delta_next(nib_delta *d, int64_t *out)
{
    if (d->left == 0) return false;
    if (d->left < d->count) {
        unsigned width;

        if (d->index == d->a_miniblock && !next_miniblock(d)) return false;
        width = d->widths[d->miniblock];
        d->value += d->least + bits_at(d->packed, d->index++ * width, width);
    }
    d->left--;
    *out = (int64_t)d->value;
    return true;
}
