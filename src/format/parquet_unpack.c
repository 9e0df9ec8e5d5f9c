/* parquet_unpack.c - hands on to each decompressor. */
#include "format/parquet_unpack.h"

#include <brotli/decode.h>
#include <lz4.h>
#include <zstd.h>

#include "format/gunzip.h"
#include "format/snappy.h"

static const char *const names[] = { "UNCOMPRESSED", "SNAPPY", "GZIP", "LZO",
                                     "BROTLI",       "LZ4",    "ZSTD", "LZ4_RAW" };

const char *nib_parquet_codec_name(int64_t codec)
{
    return codec >= 0 && codec < (int64_t)NIB_COUNT(names) ? names[codec] : "unknown";
}

bool nib_parquet_codec_known(int64_t codec)
{
    return codec >= 0 && codec < (int64_t)NIB_COUNT(names) && codec != NIB_PARQUET_LZO;
}

/* --- LZ4 --- */

static bool unpack_lz4_raw(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
    return LZ4_decompress_safe((const char *)in, (char *)out, (int)in_bytes, (int)out_bytes) ==
           (int)out_bytes;
}

static uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Hadoop's framing: blocks of [u32 BE unpacked bytes][u32 BE packed bytes][LZ4 block]. */
static bool unpack_lz4_hadoop(const uint8_t *in, size_t in_bytes, uint8_t *out, size_t out_bytes)
{
    while (in_bytes >= 8) {
        size_t large = load_be32(in), small = load_be32(in + 4);

        if (small > in_bytes - 8 || large > out_bytes ||
            !unpack_lz4_raw(in + 8, small, out, large))
            return false;
        in += 8 + small;
        in_bytes -= 8 + small;
        out += large;
        out_bytes -= large;
    }
    return in_bytes == 0 && out_bytes == 0;
}

/* --- Brotli --- */

static void *brotli_alloc(void *ctx, size_t bytes) { return nib_alloc(ctx, bytes); }
static void brotli_free(void *ctx, void *p) { nib_free(ctx, p); }

static const char *unpack_brotli(nib_ctx *ctx, const uint8_t *in, size_t in_bytes, uint8_t *out,
                                 size_t out_bytes)
{
    BrotliDecoderState *state = BrotliDecoderCreateInstance(brotli_alloc, brotli_free, ctx);
    BrotliDecoderResult result;
    BrotliDecoderErrorCode why;

    if (!state) return "out of memory";
    result = BrotliDecoderDecompressStream(state, &in_bytes, &in, &out_bytes, &out, NULL);
    why = BrotliDecoderGetErrorCode(state);
    BrotliDecoderDestroyInstance(state);
    if (result == BROTLI_DECODER_RESULT_SUCCESS && !in_bytes && !out_bytes) return NULL;
    return why <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES &&
                   why >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES
               ? "out of memory"
               : "the page is not the Brotli data it says";
}

/* --- all --- */

const char *nib_parquet_unpack(nib_ctx *ctx, nib_parquet_codec codec, const uint8_t *in,
                               size_t in_bytes, uint8_t *out, size_t out_bytes)
{
    switch (codec) {
    case NIB_PARQUET_SNAPPY:
        return nib_snappy_decode(in, in_bytes, out, out_bytes)
                   ? NULL
                   : "the page is not the Snappy data it says";
    case NIB_PARQUET_GZIP: return nib_gunzip(ctx, in, in_bytes, out, out_bytes);
    case NIB_PARQUET_BROTLI: return unpack_brotli(ctx, in, in_bytes, out, out_bytes);
    case NIB_PARQUET_LZ4: /* old writers put a bare block there: Arrow reads it so, too */
        return unpack_lz4_hadoop(in, in_bytes, out, out_bytes) ||
                       unpack_lz4_raw(in, in_bytes, out, out_bytes)
                   ? NULL
                   : "the page is not the LZ4 data it says";
    case NIB_PARQUET_LZ4_RAW:
        return unpack_lz4_raw(in, in_bytes, out, out_bytes)
                   ? NULL
                   : "the page is not the LZ4 data it says";
    case NIB_PARQUET_ZSTD:
        return ZSTD_decompress(out, out_bytes, in, in_bytes) == out_bytes
                   ? NULL
                   : "the page is not the Zstandard data it says";
    default: break;
    }
    return "unknown codec";
}
