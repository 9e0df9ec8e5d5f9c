/* charsmap.c - see charsmap.h. */
#include "text/charsmap.h"

#include "text/utf8.h"

struct nib_charsmap {
    uint8_t *bytes;
    size_t units, room; /* of the trie; bytes of replacements */
};

static uint32_t unit_at(const nib_charsmap *m, size_t i)
{
    return nib_load_le32(m->bytes + 4 + 4 * i);
}

static const char *replacements(const nib_charsmap *m)
{
    return (const char *)m->bytes + 4 + 4 * m->units;
}

static nib_status check(const nib_charsmap *m, size_t count, const char *where, nib_error *err)
{
    const char *p = replacements(m);

    if (m->room && p[m->room - 1] != 0)
        return nib_fail(err, NIB_E_FORMAT, "%s: precompiled_charsmap: the last text has no end",
                        where);
    for (size_t i = 0, n; i < m->room; i += n)
        if (!(n = nib_utf8_valid(p + i, m->room - i)))
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: precompiled_charsmap: byte %zu of %zu is no UTF-8", where,
                            count - m->room + i, count);
    return NIB_OK;
}

/* Of a copy of the bytes. */
static nib_status create(nib_ctx *ctx, const uint8_t *bytes, size_t count, const char *where,
                         nib_charsmap **out, nib_error *err)
{
    uint64_t trie = count >= 4 ? nib_load_le32(bytes) : 0;
    nib_charsmap *m;
    nib_status status;

    if (count < 4 || trie > count - 4 || trie % 4 || trie == 0)
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: precompiled_charsmap: a trie of %" PRIu64 " bytes in %zu", where, trie,
                        count);
    m = nib_new(ctx, sizeof *m);
    if (m) m->bytes = nib_alloc(ctx, count);
    if (!m || !m->bytes) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
        goto done;
    }
    memcpy(m->bytes, bytes, count);
    m->units = (size_t)trie / 4;
    m->room = count - 4 - (size_t)trie;
    status = check(m, count, where, err);
    if (status) goto done;
    *out = m;
    m = NULL; /* handed over */
done:
    nib_charsmap_destroy(ctx, m);
    return status;
}

void nib_charsmap_destroy(nib_ctx *ctx, nib_charsmap *m)
{
    if (!m) return;
    nib_free(ctx, m->bytes);
    nib_free(ctx, m);
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

nib_status nib_charsmap_bytes(nib_ctx *ctx, const char *text, const char *where, uint8_t **out,
                              size_t *count, nib_error *err)
{
    size_t length = strlen(text), used = 0, pads = 0;
    uint8_t *bytes = nib_alloc(ctx, length + 1);

    if (!bytes) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    while (pads < 2 && pads < length && text[length - 1 - pads] == '=') pads++;
    for (size_t i = 0; i < length - pads; i++) {
        int v = base64_value(text[i]);

        if (v < 0 || length % 4) {
            nib_free(ctx, bytes);
            return nib_fail(err, NIB_E_FORMAT,
                            "%s: precompiled_charsmap is not base64 (character %zu of %zu)",
                            where, i, length);
        }
        switch (i % 4) {
        case 0: bytes[used] = (uint8_t)(v << 2); break;
        case 1: bytes[used++] |= (uint8_t)(v >> 4), bytes[used] = (uint8_t)(v << 4); break;
        case 2: bytes[used++] |= (uint8_t)(v >> 2), bytes[used] = (uint8_t)(v << 6); break;
        default: bytes[used++] |= (uint8_t)v; break;
        }
    }
    *out = bytes;
    *count = used;
    return NIB_OK;
}

nib_status nib_charsmap_from_base64(nib_ctx *ctx, const char *text, const char *where,
                                    nib_charsmap **out, nib_error *err)
{
    size_t count = 0;
    uint8_t *bytes = NULL;
    nib_status status;

    *out = NULL;
    if (!*text) return NIB_OK;
    status = nib_charsmap_bytes(ctx, text, where, &bytes, &count, err);
    if (!status) status = create(ctx, bytes, count, where, out, err);
    nib_free(ctx, bytes);
    return status;
}

char *nib_charsmap_to_base64(nib_ctx *ctx, const uint8_t *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = nib_alloc(ctx, count / 3 * 4 + 5), *to = text;

    for (size_t i = 0; i < count && text; i += 3) {
        size_t n = nib_min(count - i, 3);
        uint32_t v = (uint32_t)bytes[i] << 16 | (n > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                     (n > 2 ? bytes[i + 2] : 0);

        for (size_t k = 0; k < 4; k++) *to++ = k <= n ? digits[v >> (18 - 6 * k) & 63] : '=';
    }
    if (text) *to = 0;
    return text;
}

static size_t offset_of(uint32_t unit) { return (size_t)(unit >> 10) << ((unit & 512) >> 6); }

const char *nib_charsmap_find(const nib_charsmap *m, const char *text, size_t bytes)
{
    size_t node = offset_of(unit_at(m, 0)), to;
    uint32_t unit;

    for (size_t i = 0; i < bytes && text[i]; i++) {
        uint8_t c = (uint8_t)text[i];

        node ^= c;
        if (node >= m->units) return NULL;
        unit = unit_at(m, node);
        if ((unit & 0x800000ff) != c) return NULL;
        node ^= offset_of(unit);
        if (!(unit & 256)) continue;
        if (node >= m->units) return NULL;
        to = unit_at(m, node) & 0x7fffffff;
        return to < m->room ? replacements(m) + to : NULL;
    }
    return NULL;
}
