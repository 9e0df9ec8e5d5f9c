/* gunzip.h - gzip (RFC 1952) and zlib (RFC 1950) data, by zlib; memory is the context's. */
#ifndef NIB_FORMAT_GUNZIP_H
#define NIB_FORMAT_GUNZIP_H

#include "base/base.h"

/* Unpacks one member or several into exactly out_bytes.  NULL, or what is wrong. */
const char *nib_gunzip(nib_ctx *ctx, const uint8_t *in, size_t in_bytes, uint8_t *out,
                       size_t out_bytes);

#endif
