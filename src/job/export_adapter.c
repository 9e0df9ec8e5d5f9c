/* export_adapter.c - see export_adapter.h; the form: export_lora.h.
 *
 * The base is opened for its names, the order of its rows and the prompts that are read back: its
 * weights stay on the map. */
#include "job/export_adapter.h"

#include <stdio.h>
#include <unistd.h>

#include "base/filemap.h"
#include "base/outname.h"
#include "job/export_lora.h"
#include "job/export_place.h"
#include "job/export_verify.h"
#include "job/modelfile.h"
#include "job/quantize_config.h"
#include "text/tokenizer.h"

typedef struct run {
    nib_ctx *ctx;
    const nib_export_options *options;
    nib_dtype type;
    nib_peft_config config;
    const char *base;
    nib_model *model;
    nib_adapter *adapter;
    nib_tokenizer *tokenizer; /* NULL: the model has none */
    nib_gguf_naming naming;
    nib_lora_list list;
    nib_gguf_writer *writer;
    nib_modelfile modelfile;
    char *temporary;          /* the whole file, not yet checked */
    nib_export_result result;
} run;

static bool holds(const char *dir, const char *name)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s", dir, name);

    return n > 0 && (size_t)n < sizeof path && nib_file_exists(path);
}

bool nib_export_is_adapter(const char *dir)
{
    return holds(dir, "adapter_config.json") && !holds(dir, "config.json");
}

static nib_status read_options(run *r, nib_error *err)
{
    static const struct { const char *name; nib_dtype type; } types[] = {
        { "F32", NIB_F32 }, { "F16", NIB_F16 }, { "BF16", NIB_BF16 },
    };
    const nib_export_options *o = r->options;

    if (o->dtype)
        return nib_fail(err, NIB_E_INVALID, "dtype is of a directory, which a GGUF file is "
                        "exported to: of an adapter quantize names the type");
    if (o->adapter)
        return nib_fail(err, NIB_E_INVALID, "%s is an adapter, and --adapter another; MODEL "
                        "--adapter writes a model, ADAPTER alone a LoRA file", o->model);
    for (size_t i = 0; o->quantize && i < NIB_COUNT(types); i++) {
        r->type = types[i].type;
        if (strcmp(o->quantize, types[i].name) == 0) return nib_export_check_place(r->ctx, o, err);
    }
    if (!o->quantize) return nib_export_check_place(r->ctx, o, err);
    return nib_fail(err, NIB_E_INVALID, "quantize '%s': an adapter is written as F32, F16 or BF16",
                    o->quantize);
}

static nib_status find_base(run *r, nib_error *err)
{
    const nib_export_options *o = r->options;
    nib_status status = nib_peft_config_read(r->ctx, o->model, &r->config, err);

    if (status) return status;
    r->base = o->base ? o->base : r->config.base_model_name_or_path;
    if (r->base && nib_file_exists(r->base)) return nib_quantize_check_places(r->base, o->out, err);
    return nib_fail(err, NIB_E_INVALID, "%s: its base model '%s' is no file or directory here; "
                    "--base names it", o->model, r->base ? r->base : "");
}

/* What the form has no place for is reported before the base is opened where the config tells. */
static nib_status check_config(const run *r, nib_error *err)
{
    const nib_peft_config *c = &r->config;

    if (c->modules_to_save.count)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: modules_to_save (%s) has no place in a LoRA "
                        "GGUF; export MODEL --adapter puts it into the model", r->options->model,
                        c->modules_to_save.names[0]);
    if (c->bias != NIB_PEFT_BIAS_NONE)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: bias has no place in a LoRA GGUF; export "
                        "MODEL --adapter puts it into the model", r->options->model);
    return NIB_OK;
}

static nib_status open_all(run *r, nib_error *err)
{
    nib_model_options model = { .compute_dtype = NIB_COMPUTE_FLOAT32 };
    nib_status status = find_base(r, err);

    if (!status) status = check_config(r, err);
    model.model = r->base;
    if (!status)
        status = nib_model_open(r->ctx, &model, NIB_F32, (nib_model_progress){ 0 }, &r->model, err);
    if (!status)
        status = nib_adapter_open(r->model, r->options->model, 0, false, &r->adapter, err);
    if (!status) status = nib_tokenizer_open_any(r->ctx, r->base, &r->tokenizer, err);
    if (!status) status = nib_gguf_naming_of(r->model, &r->naming, err);
    if (!status) status = nib_lora_list_make(r->adapter, &r->naming, &r->list, err);
    if (!status && r->list.scaled)
        nib_note(r->ctx, "%zu of %zu pairs have another scale than alpha %g over their rank: it is "
                 "multiplied into B", r->list.scaled, r->list.count, (double)r->list.alpha);
    return status;
}

static nib_status write_file(run *r, nib_error *err)
{
    nib_gguf_writer *writer;
    nib_status status = nib_gguf_writer_create(r->ctx, &r->writer, err);

    if (status) return status;
    nib_lora_declare(&r->list, &r->naming, r->type, r->writer);
    r->result.bytes = nib_gguf_writer_bytes(r->writer);
    r->result.tensors = 2 * r->list.tensors;
    r->temporary = nib_temp_beside(r->ctx, r->options->out, err);
    if (!r->temporary) return NIB_E_NOMEM;
    status = nib_gguf_writer_open(r->writer, r->temporary, err);
    if (!status)
        status = nib_lora_write(r->ctx, &r->list, &r->naming, r->type, r->writer, err);
    if (status) return status;
    writer = r->writer;
    r->writer = NULL;
    return nib_gguf_writer_commit(writer, err);
}

static nib_status verify(run *r, nib_error *err)
{
    double most = r->type == NIB_F32 ? 1e-4 : r->type == NIB_F16 ? 0.02 : 0.1;
    nib_export_check check = { 0 };
    nib_lora_read read = { 0 };
    nib_status status = NIB_OK;

    if (!r->options->no_verify) {
        status = nib_lora_open(r->ctx, &r->list, &r->naming, r->temporary, &read, err);
        if (!status)
            status = nib_export_verify_swap(r->model, r->tokenizer, nib_lora_swap, &read, most,
                                            &check, err);
    }
    r->result.prompts = check.prompts;
    r->result.greatest_difference = check.greatest;
    nib_lora_close(&read);
    return status;
}

static nib_status prepare_modelfile(run *r, nib_error *err)
{
    if (!r->options->modelfile) return NIB_OK;
    r->modelfile = (nib_modelfile){ .model = r->base, .tokenizer = r->tokenizer,
                                    .out = r->options->out, .base = r->base };
    return nib_modelfile_prepare(r->ctx, &r->modelfile, err);
}

static nib_status export(run *r, nib_error *err)
{
    nib_status status = read_options(r, err);

    if (!status) status = open_all(r, err);
    if (!status) status = prepare_modelfile(r, err);
    if (!status) status = nib_warnings_check(r->ctx, err); /* before anything is written */
    nib_warnings_repeat(r->ctx);
    if (!status) status = write_file(r, err);
    if (!status) status = verify(r, err);
    if (!status)
        status = nib_export_put_in_place(r->ctx, r->temporary, r->options->out, err);
    if (status || !r->options->modelfile) return status;
    return nib_modelfile_write(r->ctx, &r->modelfile, err);
}

nib_status nib_export_adapter(nib_ctx *ctx, const nib_export_options *options,
                              nib_export_result *result, nib_error *err)
{
    run r = { .ctx = ctx, .options = options, .type = NIB_F32 };
    nib_status status = export(&r, err);

    if (!status && result) *result = r.result;
    nib_gguf_writer_discard(r.writer);
    if (r.temporary) unlink(r.temporary); /* nothing is there after the rename */
    nib_free(ctx, r.temporary);
    nib_lora_list_free(ctx, &r.list);
    nib_modelfile_free(ctx, &r.modelfile);
    nib_tokenizer_close(r.tokenizer);
    nib_adapter_close(r.adapter);
    nib_model_close(r.model);
    nib_peft_config_free(ctx, &r.config);
    return status;
}
