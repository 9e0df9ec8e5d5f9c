/* copy_directory.c - see copy_directory.h. */
#include "job/copy_directory.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "job/quantize_config.h"

typedef struct copying {
    nib_ctx *ctx;
    bool module;     /* a folder of a module, whose weights are its own */
    char left[300];  /* names that are not copied */
    size_t used;
} copying;

static bool ends_in_one_of(const char *name, const char *const *ends, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (nib_ends_with(name, ends[i])) return true;
    return false;
}

/* Weights as nibble reads them, and their indices. */
static bool is_weight(const char *name)
{
    static const char *const ends[] = { ".safetensors", ".safetensors.index.json",
                                        "pytorch_model.bin", ".bin.index.json" };

    return ends_in_one_of(name, ends, NIB_COUNT(ends)) ||
           (strncmp(name, "pytorch_model-", 14) == 0 && strstr(name, ".bin"));
}

static bool is_other_weight(const char *name)
{
    static const char *const ends[] = { ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx",
                                        ".ot", ".ckpt" };

    return ends_in_one_of(name, ends, NIB_COUNT(ends));
}

static void leave(copying *c, const char *name)
{
    if (c->used + strlen(name) + 3 < sizeof c->left)
        c->used += (size_t)snprintf(c->left + c->used, sizeof c->left - c->used, "%s%s",
                                    c->used ? ", " : "", name);
}

static nib_status copy_files(copying *c, const char *from, const char *to, nib_error *err);

/* A folder: the files of a module, or nothing. */
static nib_status copy_folder(copying *c, const char *from, const char *to, const char *name,
                              nib_error *err)
{
    char *config = nib_sprintf(c->ctx, "%s/config.json", from);
    nib_status status = NIB_OK;

    if (!config) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", from);
    if (strcmp(name, "additional_chat_templates") == 0) {
        /* nib_copy_templates() */
    } else if (c->module || !nib_file_exists(config)) {
        leave(c, name);
    } else if (mkdir(to, 0777)) {
        status = nib_fail(err, NIB_E_IO, "%s: %s", to, strerror(errno));
    } else {
        c->module = true;
        status = copy_files(c, from, to, err);
        c->module = false;
    }
    nib_free(c->ctx, config);
    return status;
}

static nib_status copy_entry(copying *c, const char *from, const char *to, const char *name,
                             nib_error *err)
{
    char *source = nib_sprintf(c->ctx, "%s/%s", from, name),
         *target = nib_sprintf(c->ctx, "%s/%s", to, name);
    struct stat at;
    nib_status status = NIB_OK;

    if (!source || !target) status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", from);
    else if (stat(source, &at))
        status = nib_fail(err, NIB_E_IO, "%s: %s", source, strerror(errno));
    else if (S_ISDIR(at.st_mode)) status = copy_folder(c, source, target, name, err);
    else if (!c->module && (is_weight(name) || strcmp(name, "config.json") == 0)) status = NIB_OK;
    else if (!S_ISREG(at.st_mode) || (is_other_weight(name) && !c->module)) leave(c, name);
    else status = nib_outfile_copy(c->ctx, source, target, err);
    nib_free(c->ctx, source);
    nib_free(c->ctx, target);
    return status;
}

static nib_status copy_files(copying *c, const char *from, const char *to, nib_error *err)
{
    DIR *d = opendir(from);
    nib_status status = d ? NIB_OK : nib_fail(err, NIB_E_IO, "%s: %s", from, strerror(errno));

    for (const struct dirent *e; d && !status && (e = readdir(d));)
        if (e->d_name[0] != '.') status = copy_entry(c, from, to, e->d_name, err);
    if (d) closedir(d);
    return status;
}

nib_status nib_copy_directory(nib_ctx *ctx, const char *from, const char *to, nib_error *err)
{
    copying c = { .ctx = ctx };
    nib_status status = copy_files(&c, from, to, err);

    if (!status) status = nib_copy_templates(ctx, from, to, err);
    if (!status && c.used)
        nib_note(ctx, "%s: not copied, for they may hold the old vocabulary: %s", from, c.left);
    return status;
}
