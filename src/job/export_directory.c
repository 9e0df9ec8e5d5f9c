/* export_directory.c - see export_directory.h: merging without need of an adapter, held to the
 * prompts. */
#include "job/export_directory.h"

#include "job/export_verify.h"
#include "job/merge_check.h"
#include "text/model_file.h"
#include "text/tokenizer.h"

bool nib_export_is_directory(const nib_export_options *o)
{
    static const char end[] = ".gguf";
    size_t n = strlen(o->out);
    bool file = n >= sizeof end - 1 && strcmp(o->out + n - (sizeof end - 1), end) == 0;

    return !file && nib_model_is_gguf(o->model);
}

typedef struct checking {
    nib_ctx *ctx;
    const nib_export_options *options;
    nib_export_result result;
} checking;

/* Weights as they lie, or decoded into float32, are the model's own; a merged sum is rounded to the
 * file's type. */
static double most_difference(const nib_export_options *o)
{
    if (!o->dtype) return o->adapter ? 0.1 : 1e-4;
    if (strcmp(o->dtype, "float32") == 0) return 1e-4;
    return strcmp(o->dtype, "float16") == 0 ? 0.02 : 0.1;
}

static nib_status check(void *self, nib_model *m, const char *dir, nib_error *err)
{
    checking *k = self;
    const nib_export_options *o = k->options;
    nib_tensors *written = NULL;
    nib_tokenizer *t = NULL;
    nib_model *w = NULL;
    nib_export_check found = { 0 };
    nib_status status = nib_tensors_open(k->ctx, dir, &written, err);

    if (status) return status;
    k->result.tensors = nib_tensors_count(written);
    k->result.bytes = 0; /* of two ways to merge each is checked */
    for (size_t i = 0; i < k->result.tensors; i++)
        k->result.bytes += nib_tensors_at(written, i)->bytes;
    nib_tensors_close(written);
    status = nib_export_open_written(m, dir, &w, err);
    if (!status && !o->no_verify) status = nib_tokenizer_open_any(k->ctx, o->model, &t, err);
    if (!status && !o->no_verify)
        status = nib_export_verify(m, w, t, most_difference(o), &found, err);
    nib_model_close(w);
    nib_tokenizer_close(t);
    k->result.prompts = found.prompts;
    k->result.greatest_difference = found.greatest;
    return status;
}

nib_status nib_export_directory(nib_ctx *ctx, const nib_export_options *options,
                                nib_export_result *result, nib_error *err)
{
    const nib_export_options *o = options;
    checking k = { .ctx = ctx, .options = o };
    nib_merge_options merge = { .model = o->model, .adapter = o->adapter, .out = o->out,
                                .dtype = o->dtype, .overwrite = o->overwrite,
                                .on_progress = o->on_progress, .user = o->user };
    bool encoder;
    nib_status status;

    if (o->quantize)
        return nib_fail(err, NIB_E_INVALID, "quantize is of GGUF files, and %s is a directory to "
                        "be: dtype names the type of its weights, nibble quantize makes them "
                        "low-bit", o->out);
    if (o->modelfile)
        return nib_fail(err, NIB_E_INVALID, "modelfile is of GGUF files, and %s is a directory to "
                        "be", o->out);
    status = nib_export_is_encoder(ctx, o->model, &encoder, err);
    if (!status)
        status = nib_merge_checked(ctx, &merge, (nib_merge_check){ check, &k, encoder }, err);
    if (!status && result) *result = k.result;
    return status;
}
