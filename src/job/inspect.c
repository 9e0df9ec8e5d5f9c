/* inspect.c - what lies in a model directory, an adapter directory or a file of weights.
 *
 * The report is a JSON object; its text form is printed from that object, so that both say the
 * same. */
#include "nibble/inspect.h"

#include <sys/stat.h>

#include "adapter/adapter.h"
#include "adapter/prompt_note.h"
#include "base/filemap.h"
#include "format/safetensors.h"
#include "job/dense_modules.h"
#include "job/report.h"
#include "model/gguf_model.h"
#include "model/model.h"

typedef struct totals {
    uint64_t tensors, bytes, elements;
    json_t *dtypes; /* name -> elements */
} totals;

static nib_status no_memory(const char *path, nib_error *err)
{
    return nib_fail(err, NIB_E_NOMEM, "%s: out of memory for the report", path);
}

/* Sums over a file's tensors; `dtypes` becomes the caller's. */
static bool sum_tensors(const nib_tensors *tensors, totals *sum)
{
    *sum = (totals){ .dtypes = json_object() };
    if (!sum->dtypes) return false;
    for (size_t i = 0; i < nib_tensors_count(tensors); i++) {
        const nib_tensor *t = nib_tensors_at(tensors, i);
        json_int_t so_far = json_integer_value(json_object_get(sum->dtypes, t->dtype_name));

        sum->tensors++;
        sum->bytes += t->bytes;
        sum->elements += t->elements;
        if (json_object_set_new(sum->dtypes, t->dtype_name,
                                json_integer(so_far + (json_int_t)t->elements)))
            return false;
    }
    return true;
}

static bool set_count(json_t *to, const char *key, uint64_t value)
{
    return json_object_set_new(to, key, json_integer((json_int_t)value)) == 0;
}

static bool set_totals(json_t *to, const totals *sum)
{
    return set_count(to, "tensors", sum->tensors) && set_count(to, "bytes", sum->bytes) &&
           json_object_set(to, "elements_by_dtype", sum->dtypes) == 0;
}

/* --- a model --- */

typedef struct packed_weights {
    const nib_format *format; /* NULL: there are none */
    nib_form form;            /* of the first */
    uint64_t matrices, parameters;
    uint64_t bytes;      /* of all their pieces */
    const char *strange; /* whose pieces there are that cannot be read, or NULL */
} packed_weights;

/* Weights as the model means them: packed matrices by their own shape, their scales not at all. */
static nib_status count_parameters(const nib_tensors *tensors, const nib_held *held,
                                   uint64_t *parameters, packed_weights *packed, nib_error *err)
{
    uint64_t total = 0;

    *packed = (packed_weights){ 0 };
    for (size_t i = 0; i < nib_tensors_count(tensors); i++) {
        const nib_tensor *t = nib_tensors_at(tensors, i);
        const nib_part part = nib_tensor_part(t);
        const nib_format *format;
        nib_form form;
        uint64_t shape[2];
        nib_status status;

        for (const nib_strange_piece *s = nib_strange_pieces; s->part && !packed->strange; s++)
            if (nib_ends_with(t->name, s->part)) packed->strange = s->whose;
        if (!nib_format_is_piece(&part, nib_tensors_finder(tensors))) {
            total += t->elements;
            continue;
        }
        packed->bytes += t->bytes;
        status = nib_format_describe(&part, nib_tensors_finder(tensors), held, &format, shape,
                                     &form, err);
        if (status) return nib_fail_in(err, status, "%s", t->file);
        if (!format) continue;
        if (!packed->matrices++) packed->format = format, packed->form = form;
        packed->parameters += shape[0] * shape[1];
    }
    *parameters = total + packed->parameters;
    return NIB_OK;
}

/* A setting's value as JSON has it. */
static json_t *setting_value(const char *value)
{
    char *end;
    long long number = strtoll(value, &end, 10);
    double real;

    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0)
        return json_boolean(*value == 't');
    if (*value && !*end) return json_integer(number);
    real = strtod(value, &end);
    return *value && !*end ? json_real(real) : json_string(value);
}

/* What a packed weight takes on average, scales and codebooks with it, and which are not packed. */
static bool set_shares(json_t *q, const nib_tensors *tensors, const packed_weights *p)
{
    if (!p->parameters) return true;
    return json_object_set_new(q, "bits_per_weight",
                               json_real(8 * (double)p->bytes / (double)p->parameters)) == 0 &&
           json_object_set_new(q, "dense_modules", nib_dense_modules(tensors)) == 0;
}

/* What config.json says of quantization, and what the tensors are; null: neither anything. */
static json_t *quantization(const json_t *config, const nib_tensors *tensors,
                            const packed_weights *p)
{
    const json_t *said = json_object_get(config, "quantization_config");
    json_t *q;
    nib_settings settings = { 0 };
    char text[NIB_FORM_ROOM];
    bool good = true;

    if (json_is_null(said)) said = NULL;
    if (!said && !p->matrices && !p->strange) return json_null();
    q = json_object();
    if (p->format) {
        nib_form_text(&p->form, text);
        p->format->settings(&p->form, &settings);
        good = json_object_set_new(q, "method", json_string(p->format->method)) == 0 &&
               json_object_set_new(q, "form", json_string(text)) == 0;
        for (size_t i = 0; i < settings.count && good; i++)
            good = json_object_set_new(q, settings.items[i].key,
                                       setting_value(settings.items[i].value)) == 0;
        good = good && json_object_set_new(q, "dtype",
                                           json_string(nib_dtype_name(p->form.dtype))) == 0;
    } else {
        const char *method = json_string_value(json_object_get(said, "quant_method"));
        if (!method) method = p->strange;
        if (!method && json_object_get(said, "bits") && json_object_get(said, "group_size"))
            method = "mlx"; /* which names no method */
        good = json_object_set_new(q, "method", method ? json_string(method) : json_null()) == 0;
    }
    good = good && set_count(q, "matrices", p->matrices) &&
           set_count(q, "parameters", p->parameters) && set_shares(q, tensors, p) &&
           json_object_set(q, "quantization_config",
                           said ? (json_t *)(uintptr_t)said : json_null()) == 0;
    if (good) return q;
    json_decref(q);
    return NULL;
}

/* Keys of config.json and, of a dense model, tensors that no verb would use. */
static nib_status warn_unused(nib_ctx *ctx, const char *path, const nib_tensors *tensors,
                              bool dense, nib_error *err)
{
    nib_model_options options = { .model = path };
    nib_config *config = NULL;
    nib_model *model = NULL;
    json_t *json = NULL;
    nib_status status = nib_config_open(ctx, path, true, &json, &config, err);

    if (!status && dense) status = nib_model_open_blank(ctx, &options, NIB_F32, &model, err);
    if (!status && dense) status = nib_model_warn_unused(model, tensors, err);
    nib_model_close(model);
    nib_config_free(ctx, config);
    json_decref(json);
    return status;
}

/* The same of a GGUF, whose tensors each tell what they are. */
static json_t *block_types(const nib_tensors *tensors)
{
    json_t *types = json_object(), *q;
    uint64_t matrices = 0, parameters = 0, bytes = 0;

    for (size_t i = 0; i < nib_tensors_count(tensors); i++) {
        const nib_tensor *t = nib_tensors_at(tensors, i);
        json_int_t so_far = json_integer_value(json_object_get(types, t->dtype_name));
        if (t->rank < 2) continue;
        parameters += t->elements;
        bytes += t->bytes;
        matrices += t->dtype == NIB_DTYPE_OTHER;
        json_object_set_new(types, t->dtype_name, json_integer(so_far + 1));
    }
    if (!matrices) {
        json_decref(types);
        return json_null();
    }
    q = json_pack("{s:s, s:I, s:I, s:f, s:o, s:o}", "method", "gguf", "matrices",
                  (json_int_t)matrices, "parameters", (json_int_t)parameters, "bits_per_weight",
                  8 * (double)bytes / (double)parameters, "matrices_by_type", types,
                  "dense_modules", nib_dense_modules(tensors));
    return q;
}

static nib_status report_model(nib_ctx *ctx, const char *path, json_t *report, nib_error *err)
{
    nib_outline o;
    nib_tensors *tensors = NULL;
    packed_weights packed;
    json_t *json = NULL, *quantized = NULL;
    const char *dtype;
    totals sum = { 0 };
    uint64_t parameters = 0;
    const json_t *said;
    bool dense;
    nib_held held = { 0 };
    nib_status status = nib_config_outline(ctx, path, &json, &o, err);

    if (!status) status = nib_model_tensors_open(ctx, path, &tensors, err);
    /* what cannot be read is shown all the same */
    if (!status && nib_held_read(ctx, json, path, &held, NULL)) nib_held_free(ctx, &held);
    if (!status) status = count_parameters(tensors, &held, &parameters, &packed, err);
    if (status) goto done;
    said = json_object_get(json, "quantization_config");
    dense = !packed.matrices && !packed.strange && (!said || json_is_null(said));
    status = warn_unused(ctx, path, tensors, dense, err);
    if (status) goto done;
    quantized = nib_tensors_gguf(tensors) ? block_types(tensors)
                                          : quantization(json, tensors, &packed);
    dtype = json_string_value(
        json_object_get(json, json_object_get(json, "dtype") ? "dtype" : "torch_dtype"));
    if (json_object_set_new(report, "kind", json_string("model")) ||
        json_object_set_new(report, "architecture",
                            json_incref(json_object_get(json, "model_type"))) ||
        !set_count(report, "layers", o.layers) || !set_count(report, "width", o.width) ||
        !set_count(report, "heads", o.heads) ||
        !set_count(report, "key_value_heads", o.kv_heads) ||
        !set_count(report, "head_dim", o.head_dim) ||
        !set_count(report, "vocabulary", o.vocabulary) ||
        !set_count(report, "max_positions", o.positions) ||
        json_object_set_new(report, "tied_embeddings", json_boolean(o.tied)) ||
        json_object_set_new(report, "dtype", dtype ? json_string(dtype) : json_null()) ||
        !set_count(report, "parameters", parameters) || !quantized ||
        json_object_set(report, "quantization", quantized) || !sum_tensors(tensors, &sum) ||
        !set_totals(report, &sum) ||
        (nib_prompt_note(tensors) &&
         json_object_set_new(report, "prompt", json_string(nib_prompt_note(tensors)))))
        status = no_memory(path, err);
done:
    nib_held_free(ctx, &held);
    json_decref(sum.dtypes);
    json_decref(quantized);
    nib_tensors_close(tensors);
    json_decref(json);
    return status;
}

/* --- an adapter --- */

static json_t *names_value(const nib_peft_names *names)
{
    json_t *list;

    if (names->kind == NIB_PEFT_NONE) return json_null();
    if (names->kind == NIB_PEFT_ALL_LINEAR) return json_string("all-linear");
    if (names->kind == NIB_PEFT_REGEX) return json_string(names->names[0]);
    list = json_array();
    for (size_t i = 0; list && i < names->count; i++)
        if (json_array_append_new(list, json_string(names->names[i]))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* Why the other verbs refuse the adapter; NULL: they do not. */
static json_t *why_refused(nib_ctx *ctx, const nib_peft_config *cfg)
{
    const char *start = nib_start_refused(cfg);
    char *text = nib_sprintf(ctx, "%s%s%s%s", cfg->not_computed ? cfg->not_computed : "",
                             cfg->not_computed && start ? ", " : "", start ? start : "",
                             cfg->not_computed ? "; only inspect takes such an adapter" : "");
    json_t *made = text ? json_string(text) : NULL;

    nib_free(ctx, text);
    return made;
}

static bool set_lora(json_t *report, const nib_peft_config *cfg)
{
    static const char *const biases[] = { "none", "all", "lora_only" };

    return set_count(report, "rank", (uint64_t)cfg->r) &&
           !json_object_set_new(report, "alpha", json_real(cfg->lora_alpha)) &&
           !json_object_set_new(report, "dropout", json_real(cfg->lora_dropout)) &&
           !json_object_set_new(report, "rslora", json_boolean(cfg->use_rslora)) &&
           !json_object_set_new(report, "dora", json_boolean(cfg->use_dora)) &&
           !json_object_set_new(report, "init_lora_weights",
                                json_string(cfg->init_lora_weights)) &&
           !json_object_set_new(report, "bias", json_string(biases[cfg->bias])) &&
           !json_object_set_new(report, "target_modules", names_value(&cfg->target_modules)) &&
           !json_object_set_new(report, "modules_to_save", names_value(&cfg->modules_to_save));
}

static nib_status report_adapter(nib_ctx *ctx, const char *path, json_t *report, nib_error *err)
{
    nib_peft_config cfg = { 0 };
    nib_tensors *tensors = NULL;
    char *file = nib_adapter_file(ctx, path);
    const char *unfinished, *prompt;
    totals sum = { 0 };
    nib_status status;

    if (!file) return no_memory(path, err);
    status = nib_peft_config_describe(ctx, path, &cfg, err);
    if (!status) status = nib_tensors_open(ctx, file, &tensors, err);
    if (status) goto done;
    if (json_object_set_new(report, "kind", json_string("adapter")) ||
        json_object_set_new(report, "peft_type", json_string(cfg.peft_type)) ||
        ((cfg.not_computed || nib_start_refused(&cfg)) &&
         json_object_set_new(report, "not_computed", why_refused(ctx, &cfg))) ||
        json_object_set_new(report, "base_model", cfg.base_model_name_or_path
                            ? json_string(cfg.base_model_name_or_path) : json_null()) ||
        (strcmp(cfg.peft_type, "LORA") == 0 && !set_lora(report, &cfg)) ||
        !sum_tensors(tensors, &sum) || !set_count(report, "parameters", sum.elements) ||
        !set_totals(report, &sum))
        status = no_memory(path, err);
    unfinished = nib_tensors_metadata(tensors, "nibble.unfinished");
    prompt = nib_prompt_note(tensors);
    if (!status && prompt && json_object_set_new(report, "prompt", json_string(prompt)))
        status = no_memory(path, err);
    if (!status && unfinished &&
        json_object_set_new(report, "unfinished", json_string(unfinished)))
        status = no_memory(path, err);
done:
    json_decref(sum.dtypes);
    nib_tensors_close(tensors);
    nib_peft_config_free(ctx, &cfg);
    nib_free(ctx, file);
    return status;
}

/* --- a file --- */

static json_t *tensor_row(const nib_tensor *t)
{
    json_t *shape = json_array();

    for (unsigned i = 0; i < t->rank; i++)
        if (json_array_append_new(shape, json_integer((json_int_t)t->shape[i]))) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:s, s:o, s:I}", "name", t->name, "dtype", t->dtype_name, "shape",
                     shape, "bytes", (json_int_t)t->bytes);
}

static nib_status report_file(nib_ctx *ctx, const char *path, json_t *report, nib_error *err)
{
    nib_tensors *tensors = NULL;
    json_t *table = NULL;
    totals sum = { 0 };
    nib_status status = nib_tensors_open(ctx, path, &tensors, err);

    if (status) return status;
    table = json_array();
    for (size_t i = 0; i < nib_tensors_count(tensors) && !status; i++)
        if (json_array_append_new(table, tensor_row(nib_tensors_at(tensors, i))))
            status = no_memory(path, err);
    if (!status && (json_object_set_new(report, "kind", json_string("tensors")) ||
                    !sum_tensors(tensors, &sum) || !set_count(report, "parameters", sum.elements) ||
                    !set_totals(report, &sum) || json_object_set(report, "table", table)))
        status = no_memory(path, err);
    json_decref(table);
    json_decref(sum.dtypes);
    nib_tensors_close(tensors);
    return status;
}

/* --- which of them --- */

static nib_status holds(nib_ctx *ctx, const char *dir, const char *name, bool *yes, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/%s", dir, name);

    if (!path) return no_memory(dir, err);
    *yes = nib_file_exists(path);
    nib_free(ctx, path);
    return NIB_OK;
}

/* A GGUF of a family that is known; of others, adapters and importance matrices, the tensors are
 * listed. */
static nib_status is_gguf_model(nib_ctx *ctx, const char *path, bool *yes, nib_error *err)
{
    const nib_gguf_family *family;
    nib_tensors *tensors = NULL;
    nib_error ignored;
    nib_status status = NIB_OK;

    *yes = false;
    if (!nib_gguf_is_file(path)) return NIB_OK;
    status = nib_tensors_open(ctx, path, &tensors, err);
    if (!status)
        *yes = nib_gguf_family_of(tensors, path, &family, &ignored) == NIB_OK;
    nib_tensors_close(tensors);
    return status;
}

static nib_status report_any(nib_ctx *ctx, const char *path, json_t *report, nib_error *err)
{
    bool adapter = false, model = false, weights = false;
    struct stat at;
    nib_status status;

    if (!nib_file_exists(path) || stat(path, &at))
        return nib_fail(err, NIB_E_IO,
                        "%s: there is no such file or directory; inspect takes a model, an "
                        "adapter or a file of weights",
                        path);
    if (json_object_set_new(report, "path", json_string(path))) return no_memory(path, err);
    if (!S_ISDIR(at.st_mode)) {
        status = is_gguf_model(ctx, path, &model, err);
        if (status) return status;
        return (model ? report_model : report_file)(ctx, path, report, err);
    }
    status = holds(ctx, path, "adapter_config.json", &adapter, err);
    if (!status) status = holds(ctx, path, "config.json", &model, err);
    /* A trainer that saves an adapter may put its base's config.json beside it. */
    if (!status) status = holds(ctx, path, "adapter_model.safetensors", &weights, err);
    if (!status && !weights) status = holds(ctx, path, "adapter_model.bin", &weights, err);
    if (status) return status;
    if (model && !(adapter && weights)) return report_model(ctx, path, report, err);
    if (adapter) return report_adapter(ctx, path, report, err);
    return nib_fail(err, NIB_E_FORMAT,
                    "%s: holds neither config.json (a model) nor adapter_config.json "
                    "(an adapter)",
                    path);
}

/* {"code", "text"} of each warning from `first` on. */
static nib_status report_warnings(nib_ctx *ctx, size_t first, json_t *report, nib_error *err)
{
    json_t *list = json_array();
    int bad = 0;

    for (size_t i = first; i < nib_ctx_warning_count(ctx); i++) {
        nib_warning w = nib_ctx_warning(ctx, i);
        bad |= json_array_append_new(list, json_pack("{s:s, s:s}", "code", w.code, "text", w.text));
    }
    if (json_array_size(list)) bad |= json_object_set(report, "warnings", list);
    json_decref(list);
    return bad ? no_memory("warnings", err) : NIB_OK;
}

nib_status nib_inspect(nib_ctx *ctx, const char *path, nib_report_form form, char **out,
                       nib_error *err)
{
    json_t *report = json_object();
    size_t before = nib_ctx_warning_count(ctx);
    nib_status status = report ? report_any(ctx, path, report, err) : no_memory(path, err);

    if (!status) status = nib_warnings_check(ctx, err);
    nib_warnings_repeat(ctx);
    if (!status && form == NIB_REPORT_JSON) status = report_warnings(ctx, before, report, err);
    if (!status) status = nib_report_make(ctx, report, form, out, err);
    json_decref(report);
    return status;
}
