/* arch_mistral.c - Mistral: llama's layer with a sliding window (formats.md 10.5).
 * Jiang et al. 2023, arXiv:2310.06825. */
#include "model/arch_llama.h"

static void read_mistral(nib_reader *r, void *config)
{
    nib_llama *m = config;

    nib_llama_read(r, config);
    m->window = nib_read_size_or_null(r, "sliding_window", 4096, 0);
    m->qkv_bias = m->o_bias = m->mlp_bias = false;
}

static const char *const types[] = { "mistral", NULL };

const nib_arch nib_arch_mistral = { .model_types = types, .config_bytes = sizeof(nib_llama),
                                    .read = read_mistral, .prefix = "model.",
                                    .tasks = 1 << NIB_TASK_CAUSAL_LM, .build = nib_llama_build,
                                    .default_targets = nib_llama_targets };
