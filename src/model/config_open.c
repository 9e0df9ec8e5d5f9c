/* config_open.c - from config.json to an architecture. */
#include <stdio.h>

#include "model/model.h"

static const nib_arch *const architectures[] = { &nib_arch_llama, &nib_arch_mistral,
                                                 &nib_arch_qwen2, &nib_arch_gptj,
                                                 &nib_arch_falcon };

static const nib_arch *find_arch(const char *model_type)
{
    for (size_t i = 0; i < NIB_COUNT(architectures); i++)
        for (const char *const *t = architectures[i]->model_types; *t; t++)
            if (strcmp(*t, model_type) == 0) return architectures[i];
    return NULL;
}

static nib_status unknown_type(const char *where, const char *model_type, nib_error *err)
{
    char known[256] = "";
    size_t used = 0;

    for (size_t i = 0; i < NIB_COUNT(architectures); i++)
        for (const char *const *t = architectures[i]->model_types; *t && used < sizeof known; t++)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
                                     *t);
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: model_type '%s', known are %s", where, model_type,
                    known);
}

/* Sizes whose products would not fit are absurd whatever the tensors say. */
static nib_status check_sizes(const nib_config *c, const char *where, nib_error *err)
{
    uint64_t n;

    if (c->layers > 10000 || !nib_mul_u64(c->vocabulary, c->width, &n) || n > (uint64_t)1 << 44)
        return nib_fail(err, NIB_E_FORMAT, "%s: absurd sizes: %zu layers, %zu words, width %zu",
                        where, c->layers, c->vocabulary, c->width);
    return NIB_OK;
}

nib_status nib_config_parse(nib_ctx *ctx, const json_t *json, const char *where,
                            const nib_arch **arch, nib_config **config, nib_error *err)
{
    const char *model_type = NULL;
    const nib_arch *found;
    nib_config *c;
    nib_status status;

    if (!json_is_object(json)) return nib_fail(err, NIB_E_FORMAT, "%s: not an object", where);
    status = nib_json_get_string(json, where, "model_type", &model_type, err);
    if (status) return status;
    if (!model_type) return nib_fail(err, NIB_E_FORMAT, "%s: model_type is missing", where);
    found = find_arch(model_type);
    if (!found) return unknown_type(where, model_type, err);
    c = nib_new(ctx, found->config_bytes);
    if (!c) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", where);
    status = found->read(ctx, json, where, c, err);
    if (!status) status = check_sizes(c, where, err);
    if (status) goto done;
    *arch = found;
    *config = c;
    c = NULL; /* handed over */
done:
    nib_config_free(ctx, c);
    return status;
}

nib_status nib_config_open(nib_ctx *ctx, const char *dir, json_t **json, const nib_arch **arch,
                           nib_config **config, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/config.json", dir);
    json_t *j = NULL;
    nib_status status;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    status = nib_json_read(ctx, path, 0, &j, err);
    if (!status) status = nib_config_parse(ctx, j, path, arch, config, err);
    if (status) goto done;
    *json = j;
    j = NULL; /* handed over */
done:
    json_decref(j);
    nib_free(ctx, path);
    return status;
}

void nib_config_free(nib_ctx *ctx, nib_config *config)
{
    if (!config) return;
    nib_free(ctx, config->rope_inv);
    nib_free(ctx, config);
}

const nib_tensor *nib_model_tensor(const nib_tensors *tensors, const nib_arch *arch,
                                   const char *name)
{
    const nib_tensor *t = nib_tensors_find(tensors, name);
    size_t n = strlen(arch->prefix);

    if (t || strncmp(name, arch->prefix, n) != 0) return t;
    return nib_tensors_find(tensors, name + n);
}
