/* parquet_unpack.h - the compressions of Parquet pages: none, Snappy, gzip, Zstandard, Brotli and
 * LZ4 (bare blocks, or in Hadoop's frame).  LZO is not read.
 * A page's header says how long the text is; a byte more or less is a mistake. */
#ifndef NIB_FORMAT_PARQUET_UNPACK_H
#define NIB_FORMAT_PARQUET_UNPACK_H

#include "base/base.h"

/* CompressionCodec of parquet.thrift. */
typedef enum nib_parquet_codec {
    NIB_PARQUET_UNCOMPRESSED,
    NIB_PARQUET_SNAPPY,
    NIB_PARQUET_GZIP,
    NIB_PARQUET_LZO,
    NIB_PARQUET_BROTLI,
    NIB_PARQUET_LZ4,
    NIB_PARQUET_ZSTD,
    NIB_PARQUET_LZ4_RAW
} nib_parquet_codec;

const char *nib_parquet_codec_name(int64_t codec); /* "codec 9" is "unknown" */
bool nib_parquet_codec_known(int64_t codec);       /* whether nib_parquet_unpack() takes it */

/* Fills out [out_bytes] from in.  NULL, or what is wrong. */
const char *nib_parquet_unpack(nib_ctx *ctx, nib_parquet_codec codec, const uint8_t *in,
                               size_t in_bytes, uint8_t *out, size_t out_bytes);

#endif
