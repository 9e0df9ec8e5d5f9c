/* layer_store.c - see layer_store.h. */
#include "job/layer_store.h"

#include <stdio.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "base/outname.h"
#include "format/json.h"
#include "job/identity.h"
#include "model/held.h"

static nib_status no_memory(const char *what, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", what);
}

static char *layer_path(const nib_layer_store *s, size_t layer)
{
    return nib_sprintf(s->ctx, "%s/layer-%05zu.safetensors", s->dir.path, layer);
}

/* --- opening --- */

static nib_status open_dir(nib_layer_store *s, const char *out, nib_error *err)
{
    char *path = nib_beside(s->ctx, out, ".unfinished");
    nib_status status;

    if (!path) return no_memory(out, err);
    status = nib_rundir_open(s->ctx, path, NIB_RUNDIR_NEW, &s->dir, err);
    nib_free(s->ctx, path);
    return status;
}

/* *same: the layers that are there are of this run. */
static nib_status compare(const nib_layer_store *s, const json_t *identity, bool overwrite,
                          bool *same, nib_error *err)
{
    const json_t *there = s->dir.mark ? json_object_get(s->dir.mark, "identity") : identity;
    char *differ = nib_identity_differences(s->ctx, there, identity);
    nib_status status = NIB_OK;

    if (!differ) return no_memory(s->dir.path, err);
    *same = !*differ;
    if (*differ && !overwrite)
        status = nib_fail(err, NIB_E_MISMATCH,
                          "%s: holds layers of a quantization that was interrupted, and these "
                          "differ: %s; it resumes with the same settings, overwrite begins anew, "
                          "or name another output",
                          s->dir.path, differ);
    nib_free(s->ctx, differ);
    return status;
}

static char *errors_path(const nib_layer_store *s, size_t layer)
{
    return nib_sprintf(s->ctx, "%s/errors-%05zu.json", s->dir.path, layer);
}

static nib_status open_layers(nib_layer_store *s, nib_error *err)
{
    nib_status status = NIB_OK;
    size_t found = 0;

    s->layers = nib_new_array(s->ctx, s->count, sizeof *s->layers);
    if (!s->layers) return no_memory(s->dir.path, err);
    for (size_t i = 0; i < s->count && !status; i++) {
        char *path = layer_path(s, i);
        if (!path) return no_memory(s->dir.path, err);
        if (nib_file_exists(path)) {
            status = nib_tensors_open(s->ctx, path, &s->layers[i], err);
            found++;
        }
        nib_free(s->ctx, path);
        path = errors_path(s, i);
        s->measured |= path && nib_file_exists(path);
        nib_free(s->ctx, path);
    }
    if (found && !status)
        nib_note(s->ctx, "%s: %zu of %zu layers are finished; the others follow", s->dir.path,
                 found, s->count);
    return status;
}

int64_t nib_layer_store_started(nib_ctx *ctx, const char *out)
{
    char *path = nib_beside(ctx, out, ".unfinished/.nibble-run.json");
    json_t *mark = path ? json_load_file(path, 0, NULL) : NULL;
    int64_t started;

    started = json_integer_value(json_object_get(mark, "started"));
    json_decref(mark);
    nib_free(ctx, path);
    return started > 0 ? started : 0;
}

nib_status nib_layer_store_open(nib_ctx *ctx, const char *out, json_t *identity, int64_t started,
                                size_t layers, bool overwrite, nib_layer_store *s, nib_error *err)
{
    bool same = true;
    nib_status status;

    *s = (nib_layer_store){ .ctx = ctx, .dir = { .lock = -1 }, .count = layers };
    status = open_dir(s, out, err);
    if (!status) status = compare(s, identity, overwrite, &same, err);
    if (!status && !same) {
        status = nib_rundir_remove(&s->dir, err);
        if (!status) status = open_dir(s, out, err);
    }
    if (!status) status = nib_rundir_begin(&s->dir, identity, started, NULL, err);
    s->unread = true;
    if (!status) status = open_layers(s, err);
    s->unread = status != NIB_OK;
    return status;
}

static void close_layers(nib_layer_store *s, size_t *finished)
{
    *finished = 0;
    for (size_t i = 0; s->layers && i < s->count; i++) {
        *finished += s->layers[i] != NULL;
        nib_tensors_close(s->layers[i]);
    }
    nib_free(s->ctx, s->layers);
    s->layers = NULL;
}

void nib_layer_store_close(nib_layer_store *s)
{
    size_t finished;

    if (!s->ctx) return;
    close_layers(s, &finished);
    if (s->dir.began && !finished && !s->measured && !s->unread) nib_rundir_remove(&s->dir, NULL);
    else if (s->dir.path) nib_rundir_close(&s->dir);
    *s = (nib_layer_store){ 0 };
}

nib_status nib_layer_store_forget(nib_ctx *ctx, const char *out, nib_error *err)
{
    nib_layer_store s = { .ctx = ctx, .dir = { .lock = -1 } };
    nib_status status = open_dir(&s, out, err); /* one that is not there is made for a moment */

    return status ? status : nib_rundir_remove(&s.dir, err);
}

nib_status nib_layer_store_remove(nib_layer_store *s, nib_error *err)
{
    size_t finished;
    nib_status status;

    close_layers(s, &finished);
    status = nib_rundir_remove(&s->dir, err);
    *s = (nib_layer_store){ 0 };
    return status;
}

/* --- layers --- */

nib_status nib_layer_store_put(nib_layer_store *s, size_t layer, const nib_tensor_plan *plans,
                               const void *const *data, size_t count, const char *report,
                               nib_error *err)
{
    const char *const notes[] = { NIB_LAYER_REPORT, report, NULL };
    char *path = layer_path(s, layer), stem[32];
    nib_tensor_writer *writer = NULL;
    nib_status status;

    if (!path) return no_memory(s->dir.path, err);
    snprintf(stem, sizeof stem, "layer-%05zu", layer);
    status = nib_tensor_writer_create_noted(s->ctx, s->dir.path, stem, plans, count, 0, notes,
                                            &writer, err);
    for (size_t i = 0; i < count && !status; i++) {
        uint64_t bytes = nib_dtype_bytes(plans[i].dtype);
        for (unsigned k = 0; k < plans[i].rank; k++) bytes *= plans[i].shape[k];
        status = nib_tensor_writer_put(writer, data[i], (size_t)bytes, err);
    }
    if (!status) {
        status = nib_tensor_writer_commit(writer, err);
        writer = NULL;
    }
    if (writer) nib_tensor_writer_discard(writer);
    if (!status) status = nib_tensors_open(s->ctx, path, &s->layers[layer], err);
    nib_free(s->ctx, path);
    return status;
}

/* --- what is measured before --- */

nib_status nib_layer_store_put_errors(nib_layer_store *s, size_t layer, const json_t *errors,
                                      nib_error *err)
{
    char *path = errors_path(s, layer), *text = nib_json_dump(s->ctx, errors, JSON_COMPACT);
    nib_status status = path && text ? nib_outfile_replace(s->ctx, path, text, strlen(text), err)
                                     : no_memory(s->dir.path, err);

    s->measured |= status == NIB_OK;
    nib_free(s->ctx, text);
    nib_free(s->ctx, path);
    return status;
}

nib_status nib_layer_store_errors(nib_layer_store *s, size_t layer, json_t **out, nib_error *err)
{
    char *path = errors_path(s, layer);
    nib_status status = NIB_OK;

    *out = NULL;
    if (!path) return no_memory(s->dir.path, err);
    if (nib_file_exists(path)) status = nib_json_read(s->ctx, path, NIB_JSON_ANY_VALUE, out, err);
    nib_free(s->ctx, path);
    return status;
}

const nib_tensor *nib_layer_store_find(const nib_layer_store *s, const char *name)
{
    const nib_tensor *t = NULL;

    for (size_t i = 0; s->layers && i < s->count && !t; i++)
        if (s->layers[i]) t = nib_tensors_find(s->layers[i], name);
    return t;
}

static bool find_part(void *self, const char *name, nib_part *out)
{
    const nib_tensor *t = nib_layer_store_find(self, name);

    if (t) *out = nib_tensor_part(t);
    return t != NULL;
}

nib_part_finder nib_layer_store_finder(const nib_layer_store *s)
{
    return (nib_part_finder){ find_part, (void *)(uintptr_t)s };
}
