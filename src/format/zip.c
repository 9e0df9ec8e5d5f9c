/* zip.c - see zip.h. */
#include "format/zip.h"

#include <stdlib.h>

enum {
    END = 0x06054b50, END_BYTES = 22,
    LOCATOR64 = 0x07064b50, LOCATOR64_BYTES = 20,
    END64 = 0x06064b50, END64_BYTES = 56,
    ENTRY = 0x02014b50, ENTRY_BYTES = 46,
    LOCAL = 0x04034b50, LOCAL_BYTES = 30,
    EXTRA64 = 1, ENCRYPTED = 1, LONGEST_COMMENT = 65535
};

typedef struct archive {
    const uint8_t *base;
    uint64_t bytes;
    const char *where;
    uint64_t directory, directory_end, entries;
} archive;

/* Is [at, at + bytes) inside the first `room` bytes? */
static bool fits(uint64_t at, uint64_t bytes, uint64_t room)
{
    return at <= room && bytes <= room - at;
}

static nib_status broken(const archive *a, const char *what, nib_error *err)
{
    return nib_fail(err, NIB_E_FORMAT, "%s: a ZIP archive that is broken or truncated: %s",
                    a->where, what);
}

/* The end record: the last one in the file whose comment ends with the file. */
static nib_status find_directory(archive *a, nib_error *err)
{
    const uint8_t *end = NULL;
    uint64_t least = a->bytes > END_BYTES + LONGEST_COMMENT
                         ? a->bytes - END_BYTES - LONGEST_COMMENT : 0, at = 0;

    if (a->bytes < END_BYTES) return broken(a, "the central directory is missing", err);
    for (at = a->bytes - END_BYTES; !end; at--) {
        const uint8_t *p = a->base + at;
        bool fills = nib_load_le16(p + 20) == a->bytes - at - END_BYTES;
        if (nib_load_le32(p) == END && fills) end = p;
        if (end || at == least) break;
    }
    if (!end) return broken(a, "the central directory is missing", err);
    if (nib_load_le16(end + 4) || nib_load_le16(end + 6))
        return broken(a, "it is one of several volumes", err);
    a->entries = nib_load_le16(end + 10);
    a->directory = nib_load_le32(end + 16);
    a->directory_end = a->directory + nib_load_le32(end + 12);
    if (at >= LOCATOR64_BYTES && nib_load_le32(end - LOCATOR64_BYTES) == LOCATOR64) {
        uint64_t record = nib_load_le64(end - LOCATOR64_BYTES + 8);
        const uint8_t *r = fits(record, END64_BYTES, at) ? a->base + record : NULL;
        if (!r || nib_load_le32(r) != END64)
            return broken(a, "its zip64 record is not where its locator points", err);
        a->entries = nib_load_le64(r + 32);
        a->directory = nib_load_le64(r + 48);
        a->directory_end = a->directory + nib_load_le64(r + 40);
    }
    if (a->directory > a->directory_end || a->directory_end > at ||
        a->entries > (a->directory_end - a->directory) / ENTRY_BYTES)
        return broken(a, "its central directory lies outside the file", err);
    return NIB_OK;
}

/* The zip64 field holds those of the three that do not fit in 32 bits, in this order. */
static bool read_extra64(const uint8_t *extra, size_t bytes, uint64_t *usize, uint64_t *csize,
                         uint64_t *offset)
{
    uint64_t *const values[] = { usize, csize, offset };

    for (size_t at = 0; at + 4 <= bytes;) {
        size_t length = nib_load_le16(extra + at + 2), used = 0;
        const uint8_t *field = extra + at + 4;

        if (length > bytes - at - 4) return false;
        for (size_t i = 0; nib_load_le16(extra + at) == EXTRA64 && i < NIB_COUNT(values); i++) {
            if (*values[i] != UINT32_MAX) continue;
            if (used + 8 > length) return false;
            *values[i] = nib_load_le64(field + used);
            used += 8;
        }
        at += 4 + length;
    }
    return true;
}

static bool plain_name(const char *name, size_t bytes)
{
    return bytes && name[0] != '/' && !memchr(name, '\\', bytes) && !memchr(name, 0, bytes) &&
           !memmem(name, bytes, "..", 2);
}

/* The entry at `at`, which becomes the place of the next. */
static nib_status read_entry(const archive *a, uint64_t *at, nib_zip_member *out, nib_error *err)
{
    const uint8_t *e = a->base + *at, *local;
    uint64_t usize, csize, offset, data;
    size_t name_bytes, extra_bytes, comment_bytes;
    int shown;

    if (!fits(*at, ENTRY_BYTES, a->directory_end) || nib_load_le32(e) != ENTRY)
        return broken(a, "an entry of its directory is not one", err);
    name_bytes = nib_load_le16(e + 28);
    extra_bytes = nib_load_le16(e + 30);
    csize = nib_load_le32(e + 20);
    usize = nib_load_le32(e + 24);
    offset = nib_load_le32(e + 42);
    comment_bytes = nib_load_le16(e + 32);
    if (!fits(*at + ENTRY_BYTES, name_bytes + extra_bytes + comment_bytes, a->directory_end) ||
        !read_extra64(e + ENTRY_BYTES + name_bytes, extra_bytes, &usize, &csize, &offset))
        return broken(a, "an entry of its directory passes the end", err);
    *at += ENTRY_BYTES + name_bytes + extra_bytes + comment_bytes;
    *out = (nib_zip_member){ .name = (const char *)e + ENTRY_BYTES, .name_bytes = name_bytes };
    shown = name_bytes < 200 ? (int)name_bytes : 200;
    if (!plain_name(out->name, name_bytes))
        return nib_fail(err, NIB_E_FORMAT, "%s: member '%.*s' has a name that leaves its folder",
                        a->where, shown, out->name);
    if (nib_load_le16(e + 8) & ENCRYPTED)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: member %.*s is encrypted", a->where, shown,
                        out->name);
    if (nib_load_le16(e + 10) != 0 || csize != usize)
        return nib_fail(err, NIB_E_UNSUPPORTED,
                        "%s: member %.*s is compressed, which PyTorch never writes: unpack the "
                        "archive and pack it without compression (zip -0)", a->where, shown,
                        out->name);
    local = fits(offset, LOCAL_BYTES, a->directory) ? a->base + offset : NULL;
    if (!local || nib_load_le32(local) != LOCAL)
        return broken(a, "a member is not where its directory has it", err);
    data = offset + LOCAL_BYTES + nib_load_le16(local + 26) + nib_load_le16(local + 28);
    if (!fits(data, usize, a->directory))
        return nib_fail(err, NIB_E_FORMAT,
                        "%s: truncated: member %.*s has %" PRIu64 " bytes at %" PRIu64
                        ", past the end", a->where, shown, out->name, usize, data);
    out->data = a->base + data;
    out->bytes = usize;
    return NIB_OK;
}

static int by_data(const void *a, const void *b)
{
    const nib_zip_member *x = a, *y = b;

    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int by_name(const void *a, const void *b)
{
    const nib_zip_member *x = *(const nib_zip_member *const *)a;
    const nib_zip_member *y = *(const nib_zip_member *const *)b;
    size_t n = x->name_bytes < y->name_bytes ? x->name_bytes : y->name_bytes;
    int order = memcmp(x->name, y->name, n);

    return order ? order : x->name_bytes < y->name_bytes ? -1 : x->name_bytes > y->name_bytes;
}

static nib_status check_members(nib_ctx *ctx, const archive *a, const nib_zip_member *list,
                                size_t count, nib_error *err)
{
    const nib_zip_member **sorted = nib_new_array(ctx, count, sizeof *sorted);
    nib_status status = NIB_OK;

    if (!sorted) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", a->where);
    for (size_t i = 0; i < count; i++) sorted[i] = &list[i];
    for (size_t i = 1; i < count && !status; i++)
        if (list[i - 1].bytes && list[i].bytes &&
            list[i].data < list[i - 1].data + list[i - 1].bytes)
            status = broken(a, "two members lie over each other", err);
    qsort(sorted, count, sizeof *sorted, by_name);
    for (size_t i = 1; i < count && !status; i++)
        if (by_name(&sorted[i - 1], &sorted[i]) == 0)
            status = broken(a, "two members have one name", err);
    nib_free(ctx, sorted);
    return status;
}

nib_status nib_zip_list(nib_ctx *ctx, const uint8_t *base, size_t bytes, const char *where,
                        nib_zip_member **out, size_t *count, nib_error *err)
{
    archive a = { .base = base, .bytes = bytes, .where = where };
    nib_zip_member *list = NULL;
    uint64_t at;
    nib_status status = find_directory(&a, err);

    if (status) return status;
    list = nib_new_array(ctx, (size_t)a.entries, sizeof *list);
    if (!list) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    at = a.directory;
    for (uint64_t i = 0; i < a.entries && !status; i++) status = read_entry(&a, &at, &list[i], err);
    if (!status && a.entries) qsort(list, (size_t)a.entries, sizeof *list, by_data);
    if (!status) status = check_members(ctx, &a, list, (size_t)a.entries, err);
    if (status) goto done;
    *out = list;
    *count = (size_t)a.entries;
    list = NULL; /* handed over */
done:
    nib_free(ctx, list);
    return status;
}
