/* finetune_elsewhere.c - what other programs cannot take of the adapter that a run will write. */
#include "job/finetune_job.h"
#include "job/labelled.h"

/* Sources: vLLM's PEFTHelper (modules_to_save raises, alpha_pattern is not read); llama.cpp's
 * convert_lora_to_gguf.py (stops on any tensor that is not lora_A or lora_B; one alpha for all,
 * read from lora_alpha). */
void nib_finetune_warn_elsewhere(const nib_finetune_job *j)
{
    const nib_peft_config *c = &j->adapter->config;

    /* both take adapters of models that generate, and a classifier's has its head in any case */
    if (nib_finetune_is_whole(j->o) || nib_task_has_head(j->model->purpose.task)) return;
    if (c->modules_to_save.count)
        nib_warn(
            j->ctx,
            "modules_to_save: vLLM refuses such an adapter, and llama.cpp's converter stops on it");
    if (c->bias != NIB_PEFT_BIAS_NONE)
        nib_warn(j->ctx, "bias: llama.cpp's converter stops on an adapter with biases");
    if (c->alpha_count)
        nib_warn(j->ctx,
                 "alpha_pattern: vLLM and llama.cpp's converter ignore it and scale otherwise");
    if (c->use_dora)
        nib_warn(j->ctx, "use_dora: vLLM refuses such an adapter, and llama.cpp's converter stops "
                 "on it");
    if (c->use_rslora)
        nib_warn(j->ctx, "use_rslora: llama.cpp's converter ignores it and scales otherwise");
}
