/* disk.c - whether a file system has room, asked before the first byte is written. */
#include <sys/statvfs.h>

#include "base/outfile.h"
#include "base/outname.h"

nib_status nib_disk_check(nib_ctx *ctx, const char *path, uint64_t bytes, nib_error *err)
{
    char *parent = nib_parent_of(ctx, path);
    struct statvfs disk;
    uint64_t free_bytes = UINT64_MAX;
    int failed = parent ? statvfs(parent, &disk) : 0;
    nib_status status = NIB_OK;

    if (!parent) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    if (failed) /* the directory is not there: making the file says so */
        free_bytes = UINT64_MAX;
    else if (!nib_mul_u64(disk.f_bavail, disk.f_frsize, &free_bytes)) free_bytes = UINT64_MAX;
    if (free_bytes < bytes)
        status = nib_fail(err, NIB_E_IO, "%s: %.1f MB are wanted, and its file system has %.1f MB",
                          path, (double)bytes / 1e6, (double)free_bytes / 1e6);
    nib_free(ctx, parent);
    return status;
}
