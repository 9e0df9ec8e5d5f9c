/* unpacked.h - files that may be packed with gzip (RFC 1952) or Zstandard (RFC 8878), whole. */
#ifndef NIB_FORMAT_UNPACKED_H
#define NIB_FORMAT_UNPACKED_H

#include "base/filemap.h"

/* The most that a file may hold unpacked: it is held in memory while it is read. */
#define NIB_UNPACKED_MOST ((uint64_t)4 << 30)

/* Maps a file; one that is packed (by its first bytes) is unpacked, of one frame or several, and
 * the map holds what was in it; of that, pages given back are gone.  NIB_E_IO, NIB_E_FORMAT
 * (damaged), NIB_E_UNSUPPORTED (more than NIB_UNPACKED_MOST unpacked) or NIB_E_NOMEM. */
nib_status nib_unpacked_open(nib_ctx *ctx, const char *path, nib_filemap *out, nib_error *err);

#endif
