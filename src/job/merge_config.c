/* merge_config.c - see merge_config.h. */
#include "job/merge_config.h"

#include "job/bit_rules.h"
#include "job/python_json.h"
#include "job/quantize_config.h"

/* Inside a wrapper transformers 4 reads the text's key and 5 the outer one. */
static bool untie(json_t *config)
{
    static const char key[] = "tie_word_embeddings";
    json_t *text = json_object_get(config, "text_config");

    return !json_object_set_new(config, key, json_false()) &&
           (!json_is_object(text) || !json_object_set_new(text, key, json_false()));
}

nib_status nib_merge_write_config(const nib_model *m, const nib_merge_plan *plan,
                                  const nib_merge_packed *packed, const nib_labels *labels,
                                  bool set_dtype, const char *dir,
                                  nib_error *err)
{
    const nib_quantize_options dense = { .skip_modules = packed->dense,
                                         .skip_count = packed->dense_count };
    json_t *config = json_deep_copy(m->json);
    char *path = nib_sprintf(m->ctx, "%s/config.json", dir);
    const char *key = json_object_get(config, "dtype") ? "dtype" : "torch_dtype";
    bool set = set_dtype || m->stored.format || !json_object_get(config, key);
    nib_status status = NIB_OK;

    if (config && !plan->keeps_experts) json_object_del(config, "quantization_config");
    if (!config || !path ||
        (set && json_object_set_new(config, key, json_string(nib_dtype_name(plan->dtype)))) ||
        (plan->untied && !untie(config)) ||
        ((m->purpose.task != NIB_TASK_FEATURE_EXTRACTION || nib_merge_drops_head(m)) &&
         !nib_set_label_config(config, m, labels)))
        status = nib_fail(err, NIB_E_NOMEM, "config.json: out of memory");
    if (!status && packed->held.format)
        status = nib_quantize_set_config(m->ctx, &dense, &packed->held, m, config, err);
    for (size_t i = 0; !status && packed->held.format && i < packed->wide->count; i++)
        status = nib_bit_rule_put(m->ctx, config, packed->wide->modules[i], 8, err);
    if (!status) status = nib_python_json_write(m->ctx, path, config, err);
    json_decref(config);
    nib_free(m->ctx, path);
    return status;
}
