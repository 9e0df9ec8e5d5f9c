/* gunzip.c - whole gzip files into anonymous memory, grown as they unpack. */
#include "format/gunzip.h"

#include <sys/mman.h>
#include <zlib.h>

static void *zlib_alloc(void *ctx, unsigned count, unsigned bytes)
{
    return nib_new_array(ctx, count, bytes);
}

static void zlib_free(void *ctx, void *p)
{
    nib_free(ctx, p);
}

static z_stream stream_of(nib_ctx *ctx, const uint8_t *in)
{
    return (z_stream){
        .zalloc = zlib_alloc, .zfree = zlib_free, .opaque = ctx, .next_in = (Bytef *)(uintptr_t)in
    };
}

/* Lengths fit zlib's 32 bits: the caller's limit is lower. */
const char *nib_gunzip(nib_ctx *ctx, const uint8_t *in, size_t in_bytes, uint8_t *out,
                       size_t out_bytes)
{
    z_stream z = stream_of(ctx, in);
    uint8_t nothing;
    int result;

    z.avail_in = (unsigned)in_bytes;
    z.next_out = out_bytes ? out : &nothing; /* zlib takes no NULL */
    z.avail_out = (unsigned)out_bytes;
    if (inflateInit2(&z, 15 + 32) != Z_OK) return "out of memory";
    do {
        result = inflate(&z, Z_FINISH);
    } while (result == Z_STREAM_END && z.avail_in > 0 && inflateReset(&z) == Z_OK);
    inflateEnd(&z);
    if (result == Z_MEM_ERROR) return "out of memory";
    return result == Z_STREAM_END && z.avail_in == 0 && z.avail_out == 0
               ? NULL
               : "the page is not the gzip data it says";
}

typedef struct room { /* anonymous pages */
    uint8_t *base;
    size_t bytes, used;
} room;

static bool grow(room *r)
{
    size_t bytes = r->bytes ? 2 * r->bytes : (size_t)1 << 20;
    void *base = r->base ? mremap(r->base, r->bytes, bytes, MREMAP_MAYMOVE)
                         : mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED) return false;
    r->base = base;
    r->bytes = bytes;
    return true;
}

/* One call of inflate with as much of both ends as its 32 bits hold. */
static int step(z_stream *z, const nib_filemap *packed, size_t *at, room *r)
{
    enum { PIECE = 1 << 30 };
    size_t in = nib_min(packed->bytes - *at, PIECE), out = nib_min(r->bytes - r->used, PIECE);
    int result;

    z->next_in = (Bytef *)(uintptr_t)packed->base + *at;
    z->avail_in = (unsigned)in;
    z->next_out = r->base + r->used;
    z->avail_out = (unsigned)out;
    result = inflate(z, Z_NO_FLUSH);
    *at += in - z->avail_in;
    r->used += out - z->avail_out;
    return result;
}

static nib_status unpack(nib_ctx *ctx, const char *path, const nib_filemap *packed, room *r,
                         nib_error *err)
{
    z_stream z = stream_of(ctx, packed->base);
    size_t at = 0;
    int result = Z_OK;
    nib_status status = NIB_OK;

    if (inflateInit2(&z, 15 + 16) != Z_OK)
        return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    while (!status && !(result == Z_STREAM_END && at == packed->bytes)) {
        if (result == Z_STREAM_END) inflateReset(&z); /* the next member */
        if (r->used == r->bytes && r->used >= NIB_GUNZIP_MOST)
            status = nib_fail(
                err, NIB_E_UNSUPPORTED,
                "%s: more than %d GiB unpacked: unpack it first, then it is read in place", path,
                (int)(NIB_GUNZIP_MOST >> 30));
        else if (r->used == r->bytes && !grow(r))
            status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory after %zu bytes", path, r->used);
        if (status) break;
        result = step(&z, packed, &at, r);
        if (result == Z_MEM_ERROR)
            status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
        else if (result == Z_BUF_ERROR && at == packed->bytes && r->used < r->bytes)
            status = nib_fail(err, NIB_E_FORMAT,
                              "%s: the gzip data ends in the middle: is the file cut short?", path);
        else if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            status = nib_fail(err, NIB_E_FORMAT, "%s: damaged gzip data at byte %zu", path, at);
        else if (result == Z_OK && at == packed->bytes && r->used < r->bytes)
            status = nib_fail(err, NIB_E_FORMAT,
                              "%s: the gzip data ends in the middle: is the file cut short?", path);
    }
    inflateEnd(&z);
    return status;
}

nib_status nib_gunzip_open(nib_ctx *ctx, const char *path, nib_filemap *out, nib_error *err)
{
    nib_filemap packed = { 0 };
    room r = { 0 };
    nib_status status = nib_filemap_open(path, &packed, err);

    if (status) return status;
    if (packed.bytes < 2 || packed.base[0] != 0x1f || packed.base[1] != 0x8b) {
        *out = packed;
        return NIB_OK;
    }
    status = unpack(ctx, path, &packed, &r, err);
    if (!status) {
        size_t page = 4096, kept = nib_round_up(nib_max(r.used, 1), page);
        if (kept < r.bytes) munmap(r.base + kept, r.bytes - kept);
        *out = (nib_filemap){ .base = r.used ? r.base : NULL,
                              .bytes = r.used,
                              .device = packed.device,
                              .inode = packed.inode,
                              .mtime_ns = packed.mtime_ns };
        if (!r.used) munmap(r.base, kept);
    } else if (r.base) {
        munmap(r.base, r.bytes);
    }
    nib_filemap_close(&packed);
    return status;
}
