"""A second shape of each variant of tests/golden/make/models.py: other widths, heads, groups, windows, experts and one layer
more, so that no two sizes that were equal by chance stay so.  Rows of linears remain multiples of 64 (models.round_nf4)."""
import models

VOCABULARY = 160
WIDTH = {64: 192, 128: 384}
INNER = {64: 128, 96: 160, 128: 192, 8: 24}
HEADS = {2: 4, 4: 6, 16: 12}
GROUPS = {1: 2, 2: 3}
CHANGED = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), {128: VOCABULARY}),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "word_embed_proj_dim"), WIDTH),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim", "block_ff_dim", "moe_intermediate_size",
                     "shared_expert_intermediate_size", "shared_intermediate_size", "hidden_size_per_layer_input",
                     "kv_lora_rank", "q_lora_rank"), INNER),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "attention_heads"), HEADS),
    **dict.fromkeys(("num_kv_heads", "num_global_key_value_heads", "mamba_n_groups", "n_group", "topk_group"), GROUPS),
    **dict.fromkeys(("sliding_window", "window_size", "local_attention"), {7: 11, 9: 14, 18: 26}),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), {3: 5, 4: 6}),
    **dict.fromkeys(("num_experts_per_tok", "top_k_experts"), {2: 3, 3: 2}),
    "max_position_embeddings": {20: 30}, "original_max_position_embeddings": {20: 30}, "rotary_dim": {8: 12},
    "query_pre_attn_scalar": {24: 40}, "conv_L_cache": {5: 4},
    "qk_nope_head_dim": {32: 48}, "v_head_dim": {32: 48},
    "linear_num_key_heads": {2: 3}, "linear_num_value_heads": {4: 6}, "linear_key_head_dim": {8: 12},
    "linear_value_head_dim": {16: 32}, "mrope_section": {2: 2},
    "mamba_n_heads": {4: 6, 8: 12}, "mamba_d_ssm": {64: 192}, "mamba_d_state": {12: 20, 24: 20}, "mamba_chunk_size": {16: 24},
}
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers")

# What follows from other sizes.
BESIDE = {
    "deepseek-v3": dict(num_experts_per_tok=2),  # the best of 4: never a negative one, where transformers 4 would leave the groups
    "codegen": dict(n_embd=128, n_head=8),  # a multiple of four heads
    "phi3-longrope": dict(rope_scaling=dict(type="longrope", short_factor=[1.0 + 0.05 * i for i in range(16)],
                                            long_factor=[1.5 + 0.2 * i for i in range(16)])),
    "gpt-neo": dict(attention_types=[[["global", "local"], 1], [["local"], 1]]),
    "gemma4": dict(head_dim=32, global_head_dim=64),
    "gemma4-moe": dict(head_dim=32, global_head_dim=64),
}


def second(settings):
    out = dict(settings)
    for key, value in settings.items():
        if key == "text_config":
            out[key] = second(value)
        elif key in CHANGED and isinstance(value, int):
            out[key] = CHANGED[key].get(value, value)
        elif key in DEPTHS:
            out[key] = value + 1
        elif key == "layer_types":
            out[key] = [*value, value[0]]
    heads = settings.get("num_attention_heads")
    if "num_key_value_heads" in settings:
        groups = settings["num_key_value_heads"]
        out["num_key_value_heads"] = HEADS[heads] if groups == heads else GROUPS[groups]
    if "head_dim" in settings:
        out["head_dim"] = 32 if heads == 2 else 64
    return out


def shape(name):
    """(dtype of the file, settings) of the variant."""
    dtype, settings = (models.VARIANTS_4 | models.VARIANTS_5)[name]
    settings = second(settings) | BESIDE.get(name, {})
    if name == "gemma4-wrapped":
        settings["text_config"] |= dict(head_dim=32, global_head_dim=64)
    if name == "qwen3-5-wrapped":
        settings["vision_config"] = settings["vision_config"] | dict(out_hidden_size=WIDTH[64])
    return dtype, settings
