/* torchfile.h - the tensors of a file that torch.save wrote: .bin, .pt, .pth (formats.md 2).
 *
 *     a ZIP archive of stored members:  X/data.pkl   a pickle that describes the tensors
 *                                       X/data/K     the bytes of storage K
 *
 * A tensor whose elements lie in order is a view of the map, any other a copy in order.  Works on
 * memory, so that a fuzzer can feed it; safetensors.c gives it a map and opens both kinds. */
#ifndef NIB_FORMAT_TORCHFILE_H
#define NIB_FORMAT_TORCHFILE_H

#include "format/safetensors_header.h"

/* By the ending of its name. */
bool nib_torchfile_is(const char *path);

/* *out as nib_safetensors_parse() gives it, without metadata, in the pickle's order; *copies: what
 * is no view of `base`, closed by the caller with nib_filemap_close(), after *out.  NIB_E_FORMAT,
 * NIB_E_UNSUPPORTED (another form, with the way to convert it; what a pickle asks for),
 * NIB_E_NOMEM. */
nib_status nib_torchfile_parse(nib_ctx *ctx, const uint8_t *base, size_t bytes, const char *where,
                               nib_safetensors_header *out, nib_filemap *copies, nib_error *err);

#endif
