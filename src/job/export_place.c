/* export_place.c - see export_place.h. */
#include "job/export_place.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "base/outname.h"
#include "job/modelfile.h"
#include "job/quantize_config.h"

static nib_status check_file(const char *path, bool overwrite, nib_error *err)
{
    struct stat there;

    if (!overwrite && nib_file_exists(path))
        return nib_fail(err, NIB_E_INVALID, "%s is there already; --overwrite replaces it", path);
    if (lstat(path, &there) == 0 && !S_ISREG(there.st_mode))
        return nib_fail(err, NIB_E_INVALID, "%s: is there and not a regular file", path);
    return NIB_OK;
}

nib_status nib_export_check_place(nib_ctx *ctx, const nib_export_options *o, nib_error *err)
{
    char *modelfile = o->modelfile ? nib_modelfile_path(ctx, o->out) : NULL;
    const char *const inputs[] = { o->model, o->adapter, o->base, o->imatrix,
                                   o->calibration.data };
    const char *const outputs[] = { o->out, o->imatrix_out, modelfile };
    nib_status status = NIB_OK;

    for (size_t i = 0; i < NIB_COUNT(outputs) && !status; i++) {
        for (size_t k = 0; k < NIB_COUNT(inputs) && outputs[i] && !status; k++)
            if (inputs[k]) status = nib_quantize_check_places(inputs[k], outputs[i], err);
        if (outputs[i] && !status) status = check_file(outputs[i], o->overwrite, err);
    }
    for (size_t i = 1; i < NIB_COUNT(outputs) && !status; i++)
        if (outputs[i] && nib_quantize_is_same_place(outputs[i], o->out))
            status = nib_fail(err, NIB_E_INVALID, "%s: would be written twice", o->out);
    nib_free(ctx, modelfile);
    return status;
}

nib_status nib_export_put_in_place(nib_ctx *ctx, const char *temporary, const char *out,
                                   nib_error *err)
{
    if (rename(temporary, out))
        return nib_fail(err, NIB_E_IO, "%s: cannot be renamed to: %s", out, strerror(errno));
    return nib_sync_parent(ctx, out, err);
}
