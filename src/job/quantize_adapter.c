/* quantize_adapter.c - quantizing a model, or one with an adapter: W + B A in float32, calibrated
 * on the data that the adapter was trained on.
 *
 * The sum lies in OUT.merged/ meanwhile, 4 bytes a parameter, so that it is rounded once, by the
 * quantizer.  A killed run leaves it, marked; the next one makes it again. */
#include <string.h>

#include "base/filemap.h"
#include "base/outname.h"
#include "job/bit_plan.h"
#include "job/quantize_config.h"
#include "job/quantize_dense.h"
#include "job/quantize_gguf.h"
#include "job/rundir.h"
#include "nibble/merge.h"
#include "nibble/recipe.h"
#include "text/model_file.h"

typedef struct job {
    nib_ctx *ctx;
    nib_quantize_options o;  /* of the quantization of the sum */
    const nib_quantize_options *asked;
    nib_recipe *recipe;      /* the adapter's, whose strings o borrows; or NULL */
    nib_rundir dir;
    char *merged;
    char dtype[16];
} job;

/* --- data --- */

/* What the adapter was trained on, as its recipe says, in place of calibration data. */
static nib_status take_training_data(job *j, nib_error *err)
{
    char *path = nib_sprintf(j->ctx, "%s/recipe.yaml", j->asked->adapter);
    int length = j->o.calibration.max_seq_length;
    const nib_finetune_options *trained;
    nib_status status = NIB_OK;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", j->asked->adapter);
    if (!nib_file_exists(path)) {
        status = nib_fail(err, NIB_E_INVALID,
                          "%s: no recipe.yaml that names the data it was trained on; name texts "
                          "with --calibration-data FILE, or round to nearest (--algorithm rtn)",
                          j->asked->adapter);
        goto done;
    }
    status = nib_recipe_create(j->ctx, &j->recipe, err);
    if (!status) status = nib_recipe_load(j->recipe, path, err);
    if (!status) status = nib_recipe_finetune_options(j->recipe, &trained, err);
    if (status) goto done;
    j->o.calibration = trained->data;
    if (length) j->o.calibration.max_seq_length = length;
    nib_note(j->ctx, "%s: calibrated on what it was trained on, %s", j->asked->adapter,
             trained->data.data ? trained->data.data : "nothing");
done:
    nib_free(j->ctx, path);
    return status;
}

static bool is_rounded(const nib_quantize_options *o)
{
    const char *format = nib_setting_value(o->settings, "format");

    return o->algorithm ? strcmp(o->algorithm, "rtn") == 0 : !format;
}

/* --- the sum --- */

/* Of what is not quantized: the model's. */
static nib_status read_dtype(job *j, nib_error *err)
{
    static const char *const known[] = { "float32", "float16", "bfloat16" };
    nib_config *config = NULL;
    json_t *json = NULL;
    const char *dtype;
    nib_status status = nib_config_open(j->ctx, j->asked->model, false, &json, &config, err);

    if (status) return status;
    dtype = json_string_value(json_object_get(json, "dtype"));
    if (!dtype) dtype = json_string_value(json_object_get(json, "torch_dtype"));
    strcpy(j->dtype, known[0]);
    for (size_t i = 0; dtype && i < NIB_COUNT(known); i++)
        if (strcmp(dtype, known[i]) == 0) strcpy(j->dtype, known[i]);
    if (!j->o.dtype) j->o.dtype = j->dtype;
    nib_config_free(j->ctx, config);
    json_decref(json);
    return NIB_OK;
}

static nib_status check_places(const job *j, nib_error *err)
{
    nib_status status = nib_quantize_check_places(j->asked->model, j->asked->out, err);

    return status ? status : nib_quantize_check_places(j->asked->adapter, j->asked->out, err);
}

/* What contradicts a target shows before anything is merged. */
static nib_status check_target(const job *j, nib_error *err)
{
    nib_held held;
    const nib_setting *idle;
    bool asked;
    nib_status status = nib_held_asked(j->asked->settings, &held, &idle, err);

    if (status || !held.format) return status; /* quantize() says what is missing */
    return nib_bit_plan_asked(j->asked, &held, j->asked->algorithm, &asked, err);
}

static nib_status open_place(job *j, nib_error *err)
{
    json_t *identity = json_pack("{s:s}", "holds", "an adapter merged, to be quantized");
    char *path = nib_beside(j->ctx, j->asked->out, ".merged");
    nib_status status;

    if (path) j->merged = nib_sprintf(j->ctx, "%s/model", path);
    if (!identity || !j->merged)
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", j->asked->out);
    else status = nib_rundir_open(j->ctx, path, NIB_RUNDIR_NEW, &j->dir, err);
    if (!status) status = nib_rundir_begin(&j->dir, identity, 0, NULL, err);
    json_decref(identity);
    nib_free(j->ctx, path);
    return status;
}

static nib_status merge(job *j, nib_error *err)
{
    const nib_merge_options merging = { .model = j->asked->model, .adapter = j->asked->adapter,
                                        .out = j->merged, .dtype = "float32", .overwrite = true,
                                        .unmeasured = true,
                                        .on_progress = j->asked->on_progress,
                                        .user = j->asked->user };

    return nib_merge(j->ctx, &merging, err);
}

static nib_status quantize_sum(job *j, nib_quantize_result *result, nib_error *err)
{
    nib_status status = check_places(j, err);

    if (!status) status = check_target(j, err);
    if (!status && !j->o.calibration.data && !is_rounded(&j->o))
        status = take_training_data(j, err);
    if (!status) status = read_dtype(j, err);
    if (!status) status = open_place(j, err);
    if (!status) status = merge(j, err);
    if (status) return status;
    j->o.model = j->merged;
    return nib_quantize_dense(j->ctx, &j->o, j->asked->out, NULL, result, err);
}

nib_status nib_quantize(nib_ctx *ctx, const nib_quantize_options *options,
                        nib_quantize_result *result, nib_error *err)
{
    job j = { .ctx = ctx, .o = *options, .asked = options, .dir = { .lock = -1 } };
    nib_error gone;
    nib_status status;

    if (!options->adapter && nib_model_is_gguf(options->model))
        return nib_quantize_gguf(ctx, options, result, err);
    if (!options->adapter) return nib_quantize_dense(ctx, options, NULL, NULL, result, err);
    status = quantize_sum(&j, result, err);
    if (j.dir.began) {
        nib_status removed = nib_rundir_remove(&j.dir, &gone);
        if (!status && removed) status = nib_fail(err, removed, "%s", gone.message);
    }
    nib_rundir_close(&j.dir);
    nib_recipe_destroy(j.recipe);
    nib_free(ctx, j.merged);
    return status;
}
