/* gunzip.h - gzip (RFC 1952) and zlib (RFC 1950) data, by zlib; memory is the context's. */
#ifndef NIB_FORMAT_GUNZIP_H
#define NIB_FORMAT_GUNZIP_H

#include "base/filemap.h"

/* The most that a file may hold unpacked: it is held in memory while it is read. */
#define NIB_GUNZIP_MOST ((uint64_t)4 << 30)

/* Unpacks one member or several into exactly out_bytes.  NULL, or what is wrong. */
const char *nib_gunzip(nib_ctx *ctx, const uint8_t *in, size_t in_bytes, uint8_t *out,
                       size_t out_bytes);

/* Maps a file; one that is gzip data (by its first bytes) is unpacked, and the map holds what was
 * in it; of that, pages given back are gone.  NIB_E_IO, NIB_E_FORMAT (damaged), NIB_E_UNSUPPORTED
 * (more than NIB_GUNZIP_MOST unpacked) or NIB_E_NOMEM. */
nib_status nib_gunzip_open(nib_ctx *ctx, const char *path, nib_filemap *out, nib_error *err);

#endif
