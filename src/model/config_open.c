/* config_open.c - from config.json to an architecture and what it read. */
#include <stdio.h>

#include "base/place.h"
#include "base/words.h"
#include "model/gguf_model.h"
#include "base/filemap.h"
#include "model/model.h"

static const nib_arch *const architectures[] = {
#define ARCH(name) &nib_arch_##name,
#include "model/arch_list.h"
#undef ARCH
};

static const nib_arch *find_arch(const char *model_type)
{
    for (size_t i = 0; i < NIB_COUNT(architectures); i++)
        for (const char *const *t = architectures[i]->model_types; *t; t++)
            if (strcmp(*t, model_type) == 0) return architectures[i];
    return NULL;
}

/* --- a type that is not known --- */

enum { MOST_NEAREST = 3 };

/* The known types nearest to a name, the nearest first. */
typedef struct nearest {
    const char *name;
    size_t known; /* how many there are */
    const char *types[MOST_NEAREST];
    size_t apart[MOST_NEAREST], count;
} nearest;

/* Half of the letters others is another name. */
static void look_at(void *self, const char *type)
{
    nearest *n = self;
    size_t apart = nib_words_apart(n->name, type), i;

    n->known++;
    if (2 * apart > strlen(n->name)) return;
    for (i = n->count; i > 0 && n->apart[i - 1] > apart; i--) {
        if (i == MOST_NEAREST) continue;
        n->types[i] = n->types[i - 1];
        n->apart[i] = n->apart[i - 1];
    }
    if (i == MOST_NEAREST) return;
    n->types[i] = type;
    n->apart[i] = apart;
    if (n->count < MOST_NEAREST) n->count++;
}

static nib_status unknown_type(const char *where, const char *model_type, nib_error *err)
{
    nearest n = { .name = model_type };
    char names[200] = "";
    size_t used = 0;

    for (size_t i = 0; i < NIB_COUNT(architectures); i++)
        for (const char *const *t = architectures[i]->model_types; *t; t++) look_at(&n, *t);
    nib_wrapper_types(look_at, &n);
    for (size_t i = 0; i < n.count && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                                 n.types[i]);
    return nib_fail(err, NIB_E_UNSUPPORTED,
                    "%s: model_type '%s' is none of the %zu that are known%s%s (README.md lists "
                    "them)", where, model_type, n.known, used ? ", nearest: " : "", names);
}

static nib_status read_type(const json_t *json, const char *where, const char **model_type,
                            nib_error *err)
{
    nib_status status = NIB_OK;

    *model_type = NULL;
    if (!json_is_object(json)) return nib_fail(err, NIB_E_FORMAT, "%s: not an object", where);
    status = nib_json_get_string(json, where, "model_type", model_type, err);
    if (!status && !*model_type)
        status = nib_fail(err, NIB_E_FORMAT, "%s: model_type is missing", where);
    return status;
}

/* dtype, before transformers 4.56 torch_dtype: a type of torch, by its name there. */
static void check_dtype(nib_reader *r)
{
    static const char *const known[] = { "float32", "float16", "bfloat16", "float64", "float",
                                         "half", "double", "float8_e4m3fn", "float8_e5m2" };
    const char *key = nib_read_either(r, "dtype", "torch_dtype");
    const json_t *value = nib_read_any(r, key);
    const char *name = json_string_value(value);

    if (!value || json_is_null(value)) return;
    for (size_t i = 0; name && i < NIB_COUNT(known); i++)
        if (strcmp(name, known[i]) == 0) return;
    nib_read_fail(r, NIB_E_FORMAT, "%s is %s%s%s, known are float32, float16, bfloat16, float64, "
                  "float8_e4m3fn, float8_e5m2", key, name ? "'" : "", name ? name : "not a text",
                  name ? "'" : "");
}

/* The keys of a model that stands alone, or of the text in another. */
static nib_status read_values(nib_ctx *ctx, const json_t *json, const char *where, bool warn,
                              nib_config *c, nib_error *err)
{
    nib_reader r = { .ctx = ctx, .json = json, .where = where, .config = c };
    const char *model_type;
    nib_status status = read_type(json, where, &model_type, err);

    if (status) return status;
    c->arch = find_arch(model_type);
    if (!c->arch) return unknown_type(where, model_type, err);
    c->values = nib_new(ctx, c->arch->config_bytes);
    if (c->values) c->arch->read(&r, c->values);
    else nib_read_fail(&r, NIB_E_NOMEM, "out of memory");
    check_dtype(&r);
    if (r.status) {
        if (err) *err = r.error;
        return r.status;
    }
    if (warn) nib_read_warn_unused(&r);
    return NIB_OK;
}

static nib_status read_wrapped(nib_ctx *ctx, const json_t *json, const char *where, bool warn,
                               nib_config *c, nib_error *err)
{
    nib_reader r = { .ctx = ctx, .json = json, .where = where, .config = c };
    char *inside = nib_sprintf(ctx, "%s: text_config", where);
    json_t *text = NULL;
    nib_status status = inside ? nib_wrapper_text(c->wrapper, json, where, &text, err)
                               : nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);

    if (!status) status = read_values(ctx, text, inside, warn, c, err);
    check_dtype(&r);
    if (!status && r.status) {
        if (err) *err = r.error;
        status = r.status;
    }
    nib_read_any(&r, "text_config");
    nib_read_any(&r, "tie_word_embeddings");
    for (const char *const *k = c->wrapper->keys; *k; k++) nib_read_any(&r, *k);
    if (!status && warn) nib_read_warn_unused(&r);
    json_decref(text);
    nib_free(ctx, inside);
    return status;
}

nib_status nib_config_parse(nib_ctx *ctx, const json_t *json, const char *where, bool warn,
                            nib_config **config, nib_error *err)
{
    const char *model_type;
    nib_config *c = NULL;
    nib_status status = read_type(json, where, &model_type, err);

    if (status) return status;
    c = nib_new(ctx, sizeof *c);
    if (!c) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    c->wrapper = nib_wrapper_find(model_type);
    status = c->wrapper ? read_wrapped(ctx, json, where, warn, c, err)
                        : read_values(ctx, json, where, warn, c, err);
    if (status) goto done;
    *config = c;
    c = NULL; /* handed over */
done:
    nib_config_free(ctx, c);
    return status;
}

/* hf_quant_config.json has its settings in a member of its own. */
static void unwrap(json_t **said)
{
    json_t *inner = json_object_get(*said, "quantization");

    if (!json_is_object(inner)) return;
    json_incref(inner);
    json_decref(*said);
    *said = inner;
}

/* MLX's own key, beside quantization_config or alone, is what its library goes by. */
static bool take_mlx(json_t *config)
{
    json_t *said = json_object_get(config, "quantization");

    if (!json_object_get(said, "group_size") || !json_object_get(said, "bits")) return true;
    return !json_object_set(config, "quantization_config", said) &&
           !json_object_del(config, "quantization");
}

/* What older writers (AutoGPTQ, AutoAWQ, ModelOpt) say of quantization lies in a file of its own;
 * config.json wins where it says anything. */
static nib_status add_quantization(nib_ctx *ctx, const char *dir, json_t *config, nib_error *err)
{
    static const struct { const char *file, *method; } files[] = {
        { "quantize_config.json", "gptq" }, { "quant_config.json", "awq" },
        { "hf_quant_config.json", "modelopt" } };
    nib_status status = NIB_OK;

    if (!take_mlx(config)) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    for (size_t i = 0; i < NIB_COUNT(files) && !status; i++) {
        char *path = nib_sprintf(ctx, "%s/%s", dir, files[i].file);
        json_t *said = NULL;

        if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
        if (!json_object_get(config, "quantization_config") && nib_file_exists(path)) {
            status = nib_json_read(ctx, path, 0, &said, err);
            if (!status) unwrap(&said);
            if (!status && json_is_object(said) && !json_object_get(said, "quant_method") &&
                !json_object_get(said, "method") &&
                json_object_set_new(said, "quant_method", json_string(files[i].method)))
                status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
            if (!status && json_object_set(config, "quantization_config", said))
                status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
        }
        json_decref(said);
        nib_free(ctx, path);
    }
    return status;
}

nib_status nib_config_open(nib_ctx *ctx, const char *dir, bool warn, json_t **json,
                           nib_config **config, nib_error *err)
{
    bool gguf = nib_gguf_is_file(dir);
    char *path = nib_sprintf(ctx, "%s%s", dir, gguf ? "" : "/config.json");
    json_t *j = NULL;
    nib_status status;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    status = gguf ? nib_gguf_config_make(ctx, dir, &j, err)
                  : nib_place_check(dir, "config.json", NIB_PLACE_MODEL, err);
    if (!status && !gguf) status = nib_json_read(ctx, path, 0, &j, err);
    if (!status && !gguf && json_is_object(j)) status = add_quantization(ctx, dir, j, err);
    if (!status) status = nib_config_parse(ctx, j, path, warn, config, err);
    if (status) goto done;
    *json = j;
    j = NULL; /* handed over */
done:
    json_decref(j);
    nib_free(ctx, path);
    return status;
}

nib_status nib_config_outline(nib_ctx *ctx, const char *dir, json_t **json, nib_outline *outline,
                              nib_error *err)
{
    nib_config *config = NULL;
    json_t *j = NULL;
    nib_status status = nib_config_open(ctx, dir, false, &j, &config, err);

    if (!status) status = nib_outline_make(ctx, config, dir, outline, err);
    nib_config_free(ctx, config);
    if (status) {
        json_decref(j);
        return status;
    }
    *json = j;
    return NIB_OK;
}

void nib_config_free(nib_ctx *ctx, nib_config *config)
{
    if (!config) return;
    for (size_t i = 0; i < config->block_count; i++) nib_free(ctx, config->blocks[i]);
    nib_free(ctx, config->values);
    nib_free(ctx, config);
}

const char *nib_config_prefix(const nib_config *config)
{
    return config->wrapper ? "" : config->arch->prefix;
}

const nib_tensor *nib_model_tensor(const nib_tensors *tensors, const nib_config *config,
                                   const char *name)
{
    const nib_tensor *t = nib_wrapper_tensor(config->wrapper, tensors, name);
    size_t n = strlen(nib_config_prefix(config));

    if (t || !n || strncmp(name, nib_config_prefix(config), n) != 0) return t;
    return nib_tensors_find(tensors, name + n);
}
