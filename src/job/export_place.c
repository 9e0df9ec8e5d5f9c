/* export_place.c - see export_place.h. */
#include "job/export_place.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "base/outname.h"
#include "job/quantize_config.h"

nib_status nib_export_check_place(const nib_export_options *o, nib_error *err)
{
    struct stat there;
    nib_status status = nib_quantize_check_places(o->model, o->out, err);

    if (!status && o->adapter) status = nib_quantize_check_places(o->adapter, o->out, err);
    if (!status && !o->overwrite && nib_file_exists(o->out))
        status = nib_fail(err, NIB_E_INVALID, "%s is there already; --overwrite replaces it",
                          o->out);
    if (!status && lstat(o->out, &there) == 0 && !S_ISREG(there.st_mode))
        status = nib_fail(err, NIB_E_INVALID, "%s: is there and not a regular file", o->out);
    return status;
}

nib_status nib_export_put_in_place(nib_ctx *ctx, const char *temporary, const char *out,
                                   nib_error *err)
{
    if (rename(temporary, out))
        return nib_fail(err, NIB_E_IO, "%s: cannot be renamed to: %s", out, strerror(errno));
    return nib_sync_parent(ctx, out, err);
}
