/* parquet_unpack.c - hands on to each decompressor. */
#include "format/parquet_unpack.h"

#include <zlib.h>
#include <zstd.h>

#include "format/snappy.h"

static const char *const names[] = { "UNCOMPRESSED", "SNAPPY", "GZIP", "LZO",
                                     "BROTLI",       "LZ4",    "ZSTD", "LZ4_RAW" };

const char *nib_parquet_codec_name(int64_t codec)
{
    return codec >= 0 && codec < (int64_t)NIB_COUNT(names) ? names[codec] : "unknown";
}

bool nib_parquet_codec_known(int64_t codec)
{
    return codec == NIB_PARQUET_UNCOMPRESSED || codec == NIB_PARQUET_SNAPPY ||
           codec == NIB_PARQUET_GZIP || codec == NIB_PARQUET_ZSTD;
}

static void *zlib_alloc(void *ctx, unsigned count, unsigned bytes_each)
{
    return nib_new_array(ctx, count, bytes_each);
}

static void zlib_free(void *ctx, void *p)
{
    nib_free(ctx, p);
}

/* One gzip or zlib member, or several.  Lengths fit zlib's 32 bits: the caller's limit is lower. */
static const char *unpack_gzip(nib_ctx *ctx, const uint8_t *in, size_t in_bytes, uint8_t *out,
                               size_t out_bytes)
{
    z_stream z = { .zalloc = zlib_alloc, .zfree = zlib_free, .opaque = ctx, .next_in = (Bytef *)in,
                   .avail_in = (unsigned)in_bytes, .next_out = out, .avail_out = (unsigned)out_bytes };
    uint8_t nothing;
    int result;

    if (out_bytes == 0) z.next_out = &nothing; /* zlib takes no NULL */
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

const char *nib_parquet_unpack(nib_ctx *ctx, nib_parquet_codec codec, const uint8_t *in,
                               size_t in_bytes, uint8_t *out, size_t out_bytes)
{
    switch (codec) {
    case NIB_PARQUET_SNAPPY:
        return nib_snappy_decode(in, in_bytes, out, out_bytes)
                   ? NULL
                   : "the page is not the Snappy data it says";
    case NIB_PARQUET_GZIP: return unpack_gzip(ctx, in, in_bytes, out, out_bytes);
    case NIB_PARQUET_ZSTD:
        return ZSTD_decompress(out, out_bytes, in, in_bytes) == out_bytes
                   ? NULL
                   : "the page is not the Zstandard data it says";
    default: break;
    }
    return "unknown codec";
}
