/* checksum.h - the hash of a file as the hub names it, taken while the file arrives.
 *
 *     SHA-256 of the bytes                              large files (Git LFS)
 *     SHA-1 of "blob <bytes in decimal>\0" and the bytes   the others, as git names a blob
 *
 * libcrypto computes them. */
#ifndef NIB_HUB_CHECKSUM_H
#define NIB_HUB_CHECKSUM_H

#include "hub/listing.h"

typedef struct nib_checksum nib_checksum;

/* size: bytes of the whole file.  *out is the caller's. */
nib_status nib_checksum_create(nib_ctx *ctx, bool sha256, uint64_t size, nib_checksum **out,
                               nib_error *err);
nib_status nib_checksum_restart(nib_checksum *c, nib_error *err);
nib_status nib_checksum_add(nib_checksum *c, const void *data, size_t bytes, nib_error *err);
/* Of all that was added; nothing can be added behind it before a restart. */
nib_status nib_checksum_end(nib_checksum *c, char hash[NIB_HUB_HASH + 1], nib_error *err);
void nib_checksum_destroy(nib_checksum *c); /* NULL is fine */

enum { NIB_HUB_SHORT = 28 }; /* characters of SHA-1 in base64 */

/* SHA-1 of a text in base64 for addresses ('-' and '_'). */
nib_status nib_checksum_short(const char *text, char out[NIB_HUB_SHORT + 1], nib_error *err);

#endif
