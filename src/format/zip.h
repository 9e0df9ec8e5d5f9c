/* zip.h - the members of a ZIP archive of stored files, where they lie.
 *
 * For PyTorch's archives (formats.md 2.1): nothing in them is compressed, so a member is a view
 * of the map.  The common libraries hand out copies and no offsets, which is why the directory is
 * read here.  Sizes and places come from the central directory (or its zip64 records), for
 * PyTorch's local headers hold zeros.  Format: PKWARE APPNOTE 6.3.10, 4.3 and 4.4. */
#ifndef NIB_FORMAT_ZIP_H
#define NIB_FORMAT_ZIP_H

#include "base/base.h"

typedef struct nib_zip_member {
    const char *name; /* on the map, not NUL-terminated */
    size_t name_bytes;
    const uint8_t *data;
    uint64_t bytes;
} nib_zip_member;

/* The archive's members in the order of their data.  `where` names it in errors.  NIB_E_FORMAT: no
 * archive, a member that is compressed, encrypted, outside the file, over another, of a name that
 * comes twice or leaves its folder; NIB_E_NOMEM.  *out is the caller's to free with nib_free(). */
nib_status nib_zip_list(nib_ctx *ctx, const uint8_t *base, size_t bytes, const char *where,
                        nib_zip_member **out, size_t *count, nib_error *err);

#endif
