/* wrapper_list.c - every model of several media whose text is known, once. */
#include "model/wrapper.h"

static const char *const no_targets[] = { NULL };

static const char *const gemma3_texts[] = { "gemma3_text", NULL };
static const char *const gemma3_keys[] = { "vision_config", "mm_tokens_per_image",
                                           "boi_token_index", "eoi_token_index",
                                           "image_token_index", NULL };
static const char *const towers[] = { "vision_tower", "multi_modal_projector", NULL };

static const char *const mistral3_texts[] = { "mistral", "ministral3", NULL };
static const char *const mistral3_keys[] = { "vision_config", "image_token_index",
                                             "projector_hidden_act", "vision_feature_layer",
                                             "multimodal_projector_bias", "spatial_merge_size",
                                             NULL };
/* The class's own. */
static const char mistral3_text[] =
    "{\"model_type\": \"mistral\", \"hidden_size\": 5120, \"intermediate_size\": 32768, "
    "\"num_hidden_layers\": 40, \"num_attention_heads\": 32, \"num_key_value_heads\": 8, "
    "\"head_dim\": 128, \"hidden_act\": \"silu\", \"max_position_embeddings\": 131072, "
    "\"rms_norm_eps\": 1e-5, \"rope_theta\": 1e9, \"sliding_window\": null, "
    "\"vocab_size\": 131072}";

static const char *const qwen3_5_texts[] = { "qwen3_5_text", NULL };
static const char *const qwen3_5_moe_texts[] = { "qwen3_5_moe_text", NULL };
static const char *const qwen3_5_keys[] = { "vision_config", "image_token_id", "video_token_id",
                                            "vision_start_token_id", "vision_end_token_id", NULL };
static const char *const qwen3_5_beside[] = { "visual", "mtp", NULL }; /* mtp: guesses ahead */
static const char *const gemma4_texts[] = { "gemma4_text", NULL };
static const char *const gemma4_keys[] = { "vision_config", "audio_config", "boi_token_id",
                                           "eoi_token_id", "image_token_id", "video_token_id",
                                           "boa_token_id", "eoa_token_id", "eoa_token_index",
                                           "audio_token_id", NULL };
static const char *const gemma4_beside[] = { "vision_tower", "audio_tower", "embed_vision",
                                             "embed_audio", NULL };
static const char *const gemma4_targets[] = { "q_proj", "v_proj", NULL };

static const nib_wrapper wrappers[] = {
    { "gemma3", gemma3_texts, NULL, gemma3_keys, towers, no_targets },
    { "gemma4", gemma4_texts, NULL, gemma4_keys, gemma4_beside, gemma4_targets },
    { "mistral3", mistral3_texts, mistral3_text, mistral3_keys, towers, no_targets },
    { "qwen3_5", qwen3_5_texts, NULL, qwen3_5_keys, qwen3_5_beside, no_targets },
    { "qwen3_5_moe", qwen3_5_moe_texts, NULL, qwen3_5_keys, qwen3_5_beside, no_targets },
};

const nib_wrapper *nib_wrapper_find(const char *model_type)
{
    for (size_t i = 0; i < NIB_COUNT(wrappers); i++)
        if (strcmp(wrappers[i].model_type, model_type) == 0) return &wrappers[i];
    return NULL;
}

void nib_wrapper_types(void (*each)(void *self, const char *model_type), void *self)
{
    for (size_t i = 0; i < NIB_COUNT(wrappers); i++) each(self, wrappers[i].model_type);
}
