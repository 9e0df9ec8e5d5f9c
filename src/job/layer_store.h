/* layer_store.h - the finished layers of a calibrated quantization, beside its output, so that one
 * that was interrupted resumes behind the last of them.
 *
 *     OUT.unfinished/.nibble-run.json         what must be the same to resume (rundir.h)
 *                    layer-00007.safetensors  tensors as the output will hold them, each file whole
 *                                             or absent; "nibble.report" in its metadata
 *                    errors-00007.json        what was measured of the layer before, where bits are
 *                                             allotted
 *
 * A finished layer lies on its file's map, so that what has been encoded takes no memory. */
#ifndef NIB_JOB_LAYER_STORE_H
#define NIB_JOB_LAYER_STORE_H

#include "format/safetensors.h"
#include "job/rundir.h"
#include "quant/format.h"

#define NIB_LAYER_REPORT "nibble.report"

typedef struct nib_layer_store {
    nib_ctx *ctx;
    nib_rundir dir;
    nib_tensors **layers; /* [count] NULL: not finished */
    size_t count;
    bool unread;          /* what lies there was not looked at to the end */
    bool measured;        /* errors of some layer lie there */
} nib_layer_store;

/* identity: of a store that is there it must be the same, or with `overwrite` it begins anew.
 * NIB_E_MISMATCH names what differs; NIB_E_IO: another process is at work there. */
nib_status nib_layer_store_open(nib_ctx *ctx, const char *out, json_t *identity, int64_t started,
                                size_t layers, bool overwrite, nib_layer_store *s, nib_error *err);
/* When the one that is there was begun, which templates may write into texts; 0: none is. */
int64_t nib_layer_store_started(nib_ctx *ctx, const char *out);
/* Keeps what is finished; a store without any of it is removed.  A zeroed one is fine. */
void nib_layer_store_close(nib_layer_store *s);
/* Removes the one that lies beside `out`, closed, if there is one. */
nib_status nib_layer_store_forget(nib_ctx *ctx, const char *out, nib_error *err);
/* The output stands: the store is removed. */
nib_status nib_layer_store_remove(nib_layer_store *s, nib_error *err);

/* A layer is finished: data[i] is what plans[i] says.  The file is opened again. */
nib_status nib_layer_store_put(nib_layer_store *s, size_t layer, const nib_tensor_plan *plans,
                               const void *const *data, size_t count, const char *report,
                               nib_error *err);
/* What was measured of a layer, any JSON; *out NULL: nothing was, else the caller's. */
nib_status nib_layer_store_put_errors(nib_layer_store *s, size_t layer, const json_t *errors,
                                      nib_error *err);
nib_status nib_layer_store_errors(nib_layer_store *s, size_t layer, json_t **out, nib_error *err);
const nib_tensor *nib_layer_store_find(const nib_layer_store *s, const char *name); /* or NULL */
/* Looks in them all, for formats. */
nib_part_finder nib_layer_store_finder(const nib_layer_store *s);

#endif
