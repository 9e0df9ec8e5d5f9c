/* copyfile.c - a file copied by pieces whose pages are given back, so that copying a tokenizer of
 * 10 MB does not raise a run's peak by as much. */
#include "base/filemap.h"
#include "base/outfile.h"

nib_status nib_outfile_copy(nib_ctx *ctx, const char *from, const char *to, nib_error *err)
{
    const size_t piece = 1 << 20;
    nib_filemap map = { 0 };
    nib_outfile *out = NULL;
    nib_status status = nib_filemap_open(from, &map, err);

    if (!status) status = nib_outfile_create(ctx, to, &out, err);
    for (size_t at = 0; !status && at < map.bytes; at += piece) {
        size_t bytes = nib_min(piece, map.bytes - at);
        status = nib_outfile_write(out, map.base + at, bytes, err);
        nib_filemap_release(&map, map.base + at, bytes);
    }
    if (!status) status = nib_outfile_commit(out, err);
    else nib_outfile_discard(out);
    nib_filemap_close(&map);
    return status;
}
