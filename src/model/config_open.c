/* config_open.c - from config.json to an architecture. */
#include <stdio.h>

#include "model/model.h"

static const nib_arch *const architectures[] = { &nib_arch_llama, &nib_arch_mistral, &nib_arch_qwen2,
                                                 &nib_arch_gptj, &nib_arch_falcon };

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
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", *t);
    return nib_fail(err, NIB_E_UNSUPPORTED, "%s: model_type '%s', known are %s", where, model_type, known);
}

/* Sizes whose products would not fit are absurd whatever the tensors say. */
static nib_status check_sizes(const nib_config *c, const char *where, nib_error *err)
{
    uint64_t n;

    if (c->layers > 10000 || c->heads > 65536 || !nib_mul_u64(c->vocabulary, c->width, &n) ||
        n > (uint64_t)1 << 44 || !nib_mul_u64(c->heads, c->head_dim, &n) || n > (uint64_t)1 << 24)
        return nib_fail(err, NIB_E_FORMAT, "%s: absurd sizes: %zu layers, %zu words, width %zu, %zu heads "
                        "of %zu", where, c->layers, c->vocabulary, c->width, c->heads, c->head_dim);
    return NIB_OK;
}

nib_status nib_config_open(nib_ctx *ctx, const char *dir, json_t **json, const nib_arch **arch,
                           nib_config **config, nib_error *err)
{
    char *path = nib_sprintf(ctx, "%s/config.json", dir);
    const char *model_type = NULL;
    nib_config *c = NULL;
    json_t *j = NULL;
    nib_status status;

    if (!path) return nib_fail(err, NIB_E_NOMEM, "%s: out of memory", dir);
    status = nib_json_read(ctx, path, 0, &j, err);
    if (status) goto done;
    if (!json_is_object(j)) {
        status = nib_fail(err, NIB_E_FORMAT, "%s: not an object", path);
        goto done;
    }
    status = nib_json_get_string(j, path, "model_type", &model_type, err);
    if (status) goto done;
    if (!model_type) {
        status = nib_fail(err, NIB_E_FORMAT, "%s: model_type is missing", path);
        goto done;
    }
    *arch = find_arch(model_type);
    if (!*arch) {
        status = unknown_type(path, model_type, err);
        goto done;
    }
    c = nib_new(ctx, (*arch)->config_bytes);
    if (!c) {
        status = nib_fail(err, NIB_E_NOMEM, "%s: out of memory", path);
        goto done;
    }
    status = (*arch)->read(ctx, j, path, c, err);
    if (!status) status = check_sizes(c, path, err);
    if (status) goto done;
    *json = j;
    *config = c;
    j = NULL; /* handed over */
    c = NULL;
done:
    nib_config_free(ctx, c);
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

const nib_tensor *nib_model_tensor(const nib_tensors *tensors, const nib_arch *arch, const char *name)
{
    const nib_tensor *t = nib_tensors_find(tensors, name);
    size_t n = strlen(arch->prefix);

    if (t || strncmp(name, arch->prefix, n) != 0) return t;
    return nib_tensors_find(tensors, name + n);
}
