/* gunzip.c - pages of gzip data, by zlib. */
#include "format/gunzip.h"

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
