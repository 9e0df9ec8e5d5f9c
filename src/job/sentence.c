/* sentence.c - see sentence.h. */
#include "job/sentence.h"

#include <stdio.h>

#include "base/filemap.h"
#include "job/sentence_dense.h"
#include "model/gguf_model.h"
#include "text/model_file.h"

/* DIR/PATH/NAME, or without the middle. */
static char *join(nib_ctx *ctx, const char *dir, const char *path, const char *name)
{
    return nib_sprintf(ctx, "%s%s%s%s%s", dir, *path ? "/" : "", path, *name ? "/" : "", name);
}

/* Its model_max_length is 1e30, digit by digit, where nothing is known. */
#define TOKENIZER "tokenizer_config.json"

/* NULL with NIB_OK: there is no such file.  *where is the caller's in any case. */
static nib_status read_object(nib_ctx *ctx, const char *dir, const char *path, const char *name,
                              char **where, json_t **out, nib_error *err)
{
    nib_status status = NIB_OK;

    *out = NULL;
    *where = join(ctx, dir, path, name);
    if (!*where) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (nib_file_exists(*where))
        status = nib_json_read(ctx, *where, strcmp(name, TOKENIZER) == 0 ? NIB_JSON_BIG_NUMBERS : 0,
                               out, err);
    if (!status && *out && !json_is_object(*out) && strcmp(name, "modules.json") != 0) {
        json_decref(*out);
        *out = NULL;
        status = nib_fail(err, NIB_E_FORMAT, "%s: expected an object", *where);
    }
    return status;
}

/* --- the Transformer --- */

static nib_status read_limits(nib_sentence *s, const json_t *config, const char *where,
                              nib_error *err)
{
    const char *task = "feature-extraction";
    bool lower = false;
    nib_status status = nib_json_get_int(config, where, "max_seq_length", 1, 1 << 30, &s->longest,
                                         err);

    if (!status) status = nib_json_get_bool(config, where, "do_lower_case", &lower, err);
    if (!status) status = nib_json_get_string(config, where, "transformer_task", &task, err);
    if (status) return status;
    if (lower)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: do_lower_case is true, which is only known of "
                        "tokenizers", where);
    if (strcmp(task, "feature-extraction") != 0)
        return nib_fail(err, NIB_E_UNSUPPORTED, "%s: transformer_task is '%s', known is "
                        "feature-extraction", where, task);
    return NIB_OK;
}

static nib_status read_transformer(nib_sentence *s, const char *dir, const char *path,
                                   nib_error *err)
{
    static const char *const files[] = {
        "sentence_bert_config.json", "sentence_roberta_config.json",
        "sentence_distilbert_config.json", "sentence_camembert_config.json",
        "sentence_albert_config.json", "sentence_xlm-roberta_config.json",
        "sentence_mpnet_config.json", "sentence_xlnet_config.json",
    };
    nib_status status = NIB_OK;
    bool found = false;

    s->model_dir = join(s->ctx, dir, path, "");
    if (!s->model_dir) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    for (size_t i = 0; i < NIB_COUNT(files) && !status && !found; i++) {
        json_t *config;
        char *where;
        status = read_object(s->ctx, s->model_dir, "", files[i], &where, &config, err);
        if (!status && config) status = read_limits(s, config, where, err);
        found = config != NULL;
        json_decref(config);
        nib_free(s->ctx, where);
    }
    return status;
}

/* What limits the tokenizer where no file of sentence-transformers does. */
static nib_status read_tokenizer_limit(nib_sentence *s, nib_error *err)
{
    json_t *config = NULL;
    char *where = NULL;
    const json_t *most;
    nib_status status = NIB_OK;

    if (s->longest) return NIB_OK;
    status = read_object(s->ctx, s->model_dir, "", TOKENIZER, &where, &config, err);
    most = json_object_get(config, "model_max_length");
    if (!status && json_is_number(most) && json_number_value(most) >= 1 &&
        json_number_value(most) < 1 << 30)
        s->longest = (int64_t)json_number_value(most);
    json_decref(config);
    nib_free(s->ctx, where);
    return status;
}

/* --- Pooling --- */

static nib_status add_mode(nib_sentence *s, const json_t *mode, const char *where, nib_error *err)
{
    if (!json_is_string(mode))
        return nib_fail(err, NIB_E_FORMAT, "%s: pooling_mode is no name and no list of names",
                        where);
    return nib_pooler_add(&s->pooler, json_string_value(mode), json_string_length(mode), where,
                          err);
}

const char *nib_pool_switch(nib_pool_mode mode)
{
    static const char *const keys[NIB_POOL_MODES] = {
        [NIB_MODE_CLS] = "pooling_mode_cls_token", [NIB_MODE_MAX] = "pooling_mode_max_tokens",
        [NIB_MODE_MEAN] = "pooling_mode_mean_tokens",
        [NIB_MODE_MEAN_SQRT] = "pooling_mode_mean_sqrt_len_tokens",
        [NIB_MODE_WEIGHTED] = "pooling_mode_weightedmean_tokens",
        [NIB_MODE_LAST] = "pooling_mode_lasttoken",
    };

    return keys[mode];
}

/* Older files have a switch for each. */
static nib_status read_switches(nib_sentence *s, const json_t *config, const char *where,
                                nib_error *err)
{
    nib_status status = NIB_OK;

    for (int m = 0; m < NIB_POOL_MODES && !status; m++) {
        bool on = false;
        status = nib_json_get_bool(config, where, nib_pool_switch((nib_pool_mode)m), &on, err);
        if (!status && on) s->pooler.modes[s->pooler.count++] = (nib_pool_mode)m;
    }
    return status;
}

static nib_status read_pooling(nib_sentence *s, const char *dir, const char *path, nib_error *err)
{
    json_t *config;
    char *where;
    const json_t *mode;
    bool with_prompt = true;
    nib_status status = read_object(s->ctx, dir, path, "config.json", &where, &config, err);

    if (!status && !config) status = nib_fail(err, NIB_E_IO, "%s: is missing", where);
    mode = json_object_get(config, "pooling_mode");
    if (!status) status = nib_json_get_bool(config, where, "include_prompt", &with_prompt, err);
    if (!status && json_is_array(mode))
        for (size_t i = 0; i < json_array_size(mode) && !status; i++)
            status = add_mode(s, json_array_get(mode, i), where, err);
    else if (!status && mode) status = add_mode(s, mode, where, err);
    else if (!status) status = read_switches(s, config, where, err);
    s->without_prompt = !with_prompt;
    json_decref(config);
    nib_free(s->ctx, where);
    return status;
}

/* --- modules.json --- */

/* sentence_transformers.models.Pooling, whatever the folders before it. */
static const char *class_of(const char *type)
{
    const char *dot = strrchr(type, '.');
    return dot ? dot + 1 : type;
}

static nib_status read_dense(nib_sentence *s, const char *dir, const char *path, nib_error *err)
{
    nib_dense *list = nib_new_array(s->ctx, s->dense_count + 1, sizeof *list);

    if (!list) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    if (s->dense_count) memcpy(list, s->dense, s->dense_count * sizeof *list);
    nib_free(s->ctx, s->dense);
    s->dense = list;
    return nib_sentence_dense_read(s->ctx, dir, path, &s->dense[s->dense_count++], err);
}

nib_status nib_sentence_check(const nib_sentence *s, size_t width, nib_error *err)
{
    width *= s->pooler.count;
    for (size_t i = 0; i < s->dense_count; i++) {
        if (s->dense[i].in != width)
            return nib_fail(err, NIB_E_MISMATCH, "%s: in_features is %zu, but it gets %zu numbers",
                            s->dense[i].path, s->dense[i].in, width);
        width = s->dense[i].out;
    }
    return NIB_OK;
}

static nib_status add_module(nib_sentence *s, const json_t *module, size_t i, const char *dir,
                             const char *where, nib_error *err)
{
    const char *type = json_string_value(json_object_get(module, "type"));
    const char *path = json_string_value(json_object_get(module, "path"));
    const char *name = type ? class_of(type) : "";

    if (!type || !path)
        return nib_fail(err, NIB_E_FORMAT, "%s: module %zu has no type or no path", where, i);
    if (*path == '/' || strstr(path, ".."))
        return nib_fail(err, NIB_E_INVALID, "%s: the path '%s' of module %zu leaves the directory",
                        where, path, i);
    if (i == 0 && strcmp(name, "Transformer") == 0) return read_transformer(s, dir, path, err);
    if (i == 1 && strcmp(name, "Pooling") == 0) return read_pooling(s, dir, path, err);
    if (i > 1 && strcmp(name, "Dense") == 0 && !s->normalize) return read_dense(s, dir, path, err);
    if (i > 1 && strcmp(name, "Normalize") == 0) return s->normalize = true, NIB_OK;
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: module %zu is '%s', known are Transformer, "
                    "Pooling, any number of Dense, and Normalize, in this order", where, i, type);
}

static nib_status read_modules(nib_sentence *s, const char *dir, nib_error *err)
{
    json_t *modules;
    char *where;
    nib_status status = read_object(s->ctx, dir, "", "modules.json", &where, &modules, err);

    if (!status && !modules) status = read_transformer(s, dir, "", err);
    else if (!status && (!json_is_array(modules) || !json_array_size(modules)))
        status = nib_fail(err, NIB_E_FORMAT, "%s: expected a list of modules", where);
    for (size_t i = 0; i < json_array_size(modules) && !status; i++)
        status = add_module(s, json_array_get(modules, i), i, dir, where, err);
    json_decref(modules);
    nib_free(s->ctx, where);
    return status;
}

/* --- a GGUF file --- */

/* What llama.cpp numbers so. */
static const struct { nib_pool_mode mode; unsigned number; } gguf_modes[] = {
    { NIB_MODE_MEAN, 1 }, { NIB_MODE_CLS, 2 }, { NIB_MODE_LAST, 3 },
};

unsigned nib_sentence_gguf_pooling(const nib_sentence *s)
{
    for (size_t i = 0; i < NIB_COUNT(gguf_modes) && s->pooler.count == 1; i++)
        if (gguf_modes[i].mode == s->pooler.modes[0]) return gguf_modes[i].number;
    return 0;
}

static nib_status read_gguf(nib_sentence *s, const char *path, nib_error *err)
{
    nib_tensors *t = NULL;
    char architecture[64], key[100];
    uint64_t number;
    nib_status status;

    s->model_dir = nib_sprintf(s->ctx, "%s", path);
    if (!s->model_dir) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
    status = nib_tensors_open(s->ctx, path, &t, err);
    if (!status)
        status = nib_gguf_architecture(nib_tensors_gguf(t), path, architecture, sizeof architecture,
                                       err);
    if (!status) {
        snprintf(key, sizeof key, "%s.pooling_type", architecture);
        if (!nib_gguf_count(nib_gguf_find(nib_tensors_gguf(t), key), 0, &number)) number = 0;
        for (size_t i = 0; i < NIB_COUNT(gguf_modes); i++)
            if (gguf_modes[i].number == number)
                s->pooler = (nib_pooler){ .modes = { gguf_modes[i].mode }, .count = 1 };
    }
    nib_tensors_close(t);
    return status;
}

nib_status nib_sentence_open(nib_ctx *ctx, const char *dir, nib_sentence *out, nib_error *err)
{
    bool gguf = nib_model_is_gguf(dir);
    nib_status status;

    *out = (nib_sentence){ .ctx = ctx };
    status = gguf ? read_gguf(out, dir, err) : read_modules(out, dir, err);
    if (!status) status = read_tokenizer_limit(out, err);
    if (!status)
        status = read_object(ctx, dir, "", "config_sentence_transformers.json", &out->where,
                             &out->settings, err);
    if (!out->pooler.count) out->pooler = (nib_pooler){ .modes = { NIB_MODE_MEAN }, .count = 1 };
    if (status) nib_sentence_close(out);
    return status;
}

nib_status nib_sentence_open_with(nib_ctx *ctx, const char *dir, const char *adapter,
                                  nib_sentence *out, nib_error *err)
{
    nib_sentence own;
    char *model_dir;
    nib_status status = nib_sentence_open(ctx, dir, out, err);

    if (status || !adapter || !nib_sentence_is_one(ctx, adapter)) return status;
    status = nib_sentence_open(ctx, adapter, &own, err);
    if (status) {
        nib_sentence_close(out);
        return status;
    }
    model_dir = own.model_dir;
    own.model_dir = out->model_dir;
    out->model_dir = model_dir;
    nib_sentence_close(out);
    *out = own;
    return NIB_OK;
}

nib_status nib_sentence_model(nib_ctx *ctx, const char *dir, char **model_dir, nib_error *err)
{
    nib_sentence s;
    nib_status status = nib_sentence_open(ctx, dir, &s, err);

    if (status) return status;
    *model_dir = s.model_dir;
    s.model_dir = NULL;
    nib_sentence_close(&s);
    return NIB_OK;
}

bool nib_sentence_is_one(nib_ctx *ctx, const char *dir)
{
    char *path = join(ctx, dir, "", "modules.json");
    bool there = path && nib_file_exists(path);

    nib_free(ctx, path);
    return there;
}

void nib_sentence_close(nib_sentence *s)
{
    if (!s->ctx) return;
    nib_free(s->ctx, s->model_dir);
    nib_free(s->ctx, s->where);
    nib_dense_free(s->ctx, s->dense, s->dense_count);
    json_decref(s->settings);
    *s = (nib_sentence){ 0 };
}

static void list_prompts(json_t *prompts, char *out, size_t room)
{
    const char *name;
    json_t *value;
    size_t used = 0;

    snprintf(out, room, "none");
    json_object_foreach(prompts, name, value)
        if (used + 2 < room)
            used += (size_t)snprintf(out + used, room - used, "%s%.60s", used ? ", " : "", name);
}

nib_status nib_sentence_prompt(const nib_sentence *s, const char *name, const char **text,
                               nib_error *err)
{
    json_t *prompts = json_object_get(s->settings, "prompts");
    const json_t *prompt;
    char known[400];
    nib_status status = NIB_OK;

    *text = NULL;
    if (!name && s->settings)
        status = nib_json_get_string(s->settings, s->where, "default_prompt_name", &name, err);
    if (status || !name) return status;
    prompt = json_object_get(prompts, name);
    *text = json_string_value(prompt);
    if (*text) return NIB_OK;
    list_prompts(prompts, known, sizeof known);
    return nib_fail(err, NIB_E_INVALID, "%s: there is no prompt '%s', known are: %s",
                    s->where, name, known);
}
