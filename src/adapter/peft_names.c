/* peft_names.c - names of an adapter's tensors on disk. */
#include "adapter/peft_names.h"

static const char prefix[] = "base_model.model.";

/* By kind; when taking a name apart the first that fits, so longer before shorter. */
static const char *const endings[] = {
    [NIB_PEFT_LORA_A] = ".lora_A.weight",
    [NIB_PEFT_LORA_B] = ".lora_B.weight",
    [NIB_PEFT_EMBEDDING_A] = ".lora_embedding_A",
    [NIB_PEFT_EMBEDDING_B] = ".lora_embedding_B",
    [NIB_PEFT_BASE_BIAS] = ".base_layer.bias",
    [NIB_PEFT_BASE_WEIGHT] = ".base_layer.weight",
    [NIB_PEFT_WEIGHT] = ".weight",
    [NIB_PEFT_BIAS] = ".bias",
};

char *nib_peft_tensor_name(nib_ctx *ctx, const char *module, nib_peft_tensor kind)
{
    assert((size_t)kind < NIB_COUNT(endings));
    return nib_sprintf(ctx, "%s%s%s", prefix, module, endings[kind]);
}

bool nib_peft_tensor_parse(const char *name, const char **module, size_t *module_bytes,
                           nib_peft_tensor *kind)
{
    size_t length;

    if (strncmp(name, prefix, sizeof prefix - 1)) return false;
    name += sizeof prefix - 1;
    length = strlen(name);
    for (size_t i = 0; i < NIB_COUNT(endings); i++) {
        size_t n = strlen(endings[i]);
        if (length <= n || strcmp(name + length - n, endings[i])) continue;
        *module = name;
        *module_bytes = length - n;
        *kind = (nib_peft_tensor)i;
        return true;
    }
    return false;
}
