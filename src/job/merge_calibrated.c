/* merge_calibrated.c - see merge_calibrated.h.
 *
 * Calibration runs the merged model, so that model is written first: dense, into the directory that
 * is under construction, where a failure removes it.  The layers that are finished lie beside OUT:
 * the same command writes the same dense model again and resumes behind them. */
#include "job/merge_calibrated.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/outfile.h"
#include "job/quantize_dense.h"

nib_status nib_merge_calibrated_begin(nib_ctx *ctx, const char *dir, nib_merge_calibrated *c,
                                      nib_error *err)
{
    c->ctx = ctx;
    c->dir = dir;
    c->dense = nib_sprintf(ctx, "%s/.dense", dir);
    c->packed = nib_sprintf(ctx, "%s/.packed", dir);
    if (!c->dense || !c->packed) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    return mkdir(c->dense, 0777) ? nib_fail(err, NIB_E_IO, "%s: %s", c->dense, strerror(errno))
                                 : NIB_OK;
}

void nib_merge_calibrated_free(nib_merge_calibrated *c)
{
    if (!c->ctx) return;
    nib_free(c->ctx, c->dense);
    nib_free(c->ctx, c->packed);
    *c = (nib_merge_calibrated){ 0 };
}

static nib_status move_up(const nib_merge_calibrated *c, const char *name, nib_error *err)
{
    char *from = nib_sprintf(c->ctx, "%s/%s", c->packed, name),
         *to = nib_sprintf(c->ctx, "%s/%s", c->dir, name);
    nib_status status = NIB_OK;

    if (!from || !to) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", name);
    else if (rename(from, to)) status = nib_fail(err, NIB_E_IO, "%s: %s", to, strerror(errno));
    nib_free(c->ctx, from);
    nib_free(c->ctx, to);
    return status;
}

static nib_status move_all(const nib_merge_calibrated *c, nib_error *err)
{
    DIR *dir = opendir(c->packed);
    nib_status status = NIB_OK;

    if (!dir) return nib_fail(err, NIB_E_IO, "%s: %s", c->packed, strerror(errno));
    for (const struct dirent *e; !status && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
            status = move_up(c, e->d_name, err);
    closedir(dir);
    return status;
}

nib_status nib_merge_calibrated_end(nib_merge_calibrated *c, nib_merge_result *result,
                                    nib_error *err)
{
    const nib_merge_options *o = c->options;
    nib_quantize_options q = o->quantize;
    nib_quantize_result made;
    nib_status status;

    q.adapter = NULL;
    q.model = c->dense;
    q.out = c->packed;
    q.settings = c->settings;
    q.dtype = o->dtype;
    q.overwrite = o->overwrite;
    q.on_progress = o->on_progress;
    q.user = o->user;
    status = nib_quantize_dense(c->ctx, &q, o->out, c->kept, &made, err);
    if (!status) status = move_all(c, err);
    if (!status) status = nib_tree_remove(c->ctx, c->packed, err);
    if (!status) status = nib_tree_remove(c->ctx, c->dense, err);
    if (status) return status;
    result->matrices = made.matrices;
    result->bytes = made.bytes_after;
    return NIB_OK;
}
