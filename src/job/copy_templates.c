/* copy_templates.c - a model's other chat templates, which chats with tools and the like need,
 * carried to what is made of it as save_pretrained does: DIR/additional_chat_templates/NAME.jinja.
 */
#include <dirent.h>
#include <errno.h>

#include "base/filemap.h"
#include "base/outfile.h"
#include "base/outname.h"
#include "job/quantize_config.h"

static const char folder[] = "additional_chat_templates";
enum { TEMPLATE_BYTES = 4 << 20 }; /* what chat.c reads */

static nib_status no_memory(nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", folder);
}

static nib_status copy_one(nib_ctx *ctx, const char *from, const char *to, const char *name,
                           nib_error *err)
{
    char *source = nib_sprintf(ctx, "%s/%s", from, name),
         *target = nib_sprintf(ctx, "%s/%s", to, name), *text = NULL;
    size_t bytes;
    nib_status status = source && target ? NIB_OK : no_memory(err);

    if (!status) status = nib_make_folder(to, err);
    if (!status) status = nib_file_read(ctx, source, TEMPLATE_BYTES, &text, &bytes, err);
    if (!status) status = nib_outfile_replace(ctx, target, text, bytes, err);
    nib_free(ctx, text);
    nib_free(ctx, source);
    nib_free(ctx, target);
    return status;
}

nib_status nib_copy_templates(nib_ctx *ctx, const char *model, const char *dir, nib_error *err)
{
    char *from = nib_sprintf(ctx, "%s/%s", model, folder),
         *to = nib_sprintf(ctx, "%s/%s", dir, folder);
    DIR *d = from ? opendir(from) : NULL;
    nib_status status = from && to ? NIB_OK : no_memory(err);

    if (!status && !d && errno != ENOENT && errno != ENOTDIR)
        status = nib_fail(err, NIB_E_IO, "%s: %s", from, strerror(errno));
    for (const struct dirent *e; d && !status && (e = readdir(d));) {
        size_t n = strlen(e->d_name);
        if (n > 6 && strcmp(e->d_name + n - 6, ".jinja") == 0)
            status = copy_one(ctx, from, to, e->d_name, err);
    }
    if (d) closedir(d);
    nib_free(ctx, from);
    nib_free(ctx, to);
    return status;
}
