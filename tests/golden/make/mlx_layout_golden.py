"""Makes those of tests/golden/mlx/ that have convolutions, and DeepSeek-V3: random models, quantized and saved by mlx_lm, which lays out more than their
experts in its own way, and the logits that mlx_lm computes of them in float32.

    python tests/golden/make/mlx_layout_golden.py

in an environment with transformers 5.24.0, mlx and mlx-cpu 0.32.4 and mlx-lm 0.32.2."""
import json
import os
import sys
import tempfile

from safetensors.torch import load_file, save_file

import mlx_experts_golden as golden
from models import DEEPSEEK, DELTA, GRANITE4, NORMS, ROPE_5, generator, write_model

MOE = dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=32, shared_expert_intermediate_size=32)
DELTA = DELTA | dict(linear_num_key_heads=1, linear_num_value_heads=2, linear_key_head_dim=32, linear_value_head_dim=32,
                     full_attention_interval=2)

# name -> settings of transformers, keys for mlx_lm, which knows other names and rules
MODELS = {
    "lfm2": (NORMS | dict(model_type="lfm2", num_key_value_heads=2, conv_L_cache=3, conv_bias=False, full_attn_idxs=[1],
                          block_auto_adjust_ff_dim=False, tie_word_embeddings=True, norm_eps=1e-5),
             dict(block_dim=64, conv_dim=64, conv_dim_out=64, block_multiple_of=32, block_ffn_dim_multiplier=1.0, block_ff_dim=64,
                  full_attn_idxs=[1])),
    "qwen3-next": (DELTA | MOE | dict(model_type="qwen3_next", intermediate_size=64, norm_topk_prob=True, decoder_sparse_step=1,
                                      mlp_only_layers=[], rope_parameters=dict(rope_type="default", rope_theta=500.0,
                                                                               partial_rotary_factor=0.25)),
                   dict(decoder_sparse_step=1, mlp_only_layers=[])),
    "qwen3-5-moe": (DELTA | MOE | dict(model_type="qwen3_5_moe_text", rope_parameters=ROPE_5), {}),
    "granite-hybrid": (GRANITE4 | dict(num_hidden_layers=2, num_local_experts=0, position_embedding_type="nope",
                                       layer_types=["mamba", "attention"], tie_word_embeddings=True),
                       dict(layer_types=["mamba", "attention"])),
    "deepseek-v3": (DEEPSEEK | dict(model_type="deepseek_v3", num_hidden_layers=1, q_lora_rank=64, first_k_dense_replace=0,
                                    n_group=2, topk_group=1, n_shared_experts=1, rms_norm_eps=1e-6), {}),
    "granite-hybrid-experts": (GRANITE4 | dict(num_hidden_layers=2, num_local_experts=4, num_experts_per_tok=2,
                                               intermediate_size=32, position_embedding_type="rope",
                                               layer_types=["attention", "mamba"], tie_word_embeddings=True),
                               dict(layer_types=["attention", "mamba"])),
}


def take_apart(directory):
    """Experts as qwen3_next's own files have them: write_model keeps what transformers 5 has in memory."""
    path = os.path.join(directory, "model.safetensors")
    out = {}
    for name, w in load_file(path).items():
        of, _, part = name.rpartition(".experts.")
        names = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}.get(part)
        if not of or not names:
            out[name] = w
            continue
        for e, one in enumerate(w):
            out |= {f"{of}.experts.{e}.{n}.weight": x.clone() for n, x in zip(names, one.chunk(len(names)))}
    save_file(out, path, {"format": "pt"})


def change_config(directory, keys):
    path = os.path.join(directory, "config.json")
    config = json.load(open(path)) | keys
    rope = config.get("rope_parameters") or {}
    config |= {k: rope[k] for k in ("rope_theta", "partial_rotary_factor") if k in rope}
    kind = config["model_type"]
    if kind.endswith("_text"):  # mlx_lm knows the model with pictures
        config = {"model_type": kind.removesuffix("_text"), "text_config": config, "tie_word_embeddings": False,
                  "dtype": config["dtype"]}
    json.dump(config, open(path, "w"), indent=2)


if __name__ == "__main__":
    for name in sys.argv[1:] or MODELS:
        settings, keys = MODELS[name]
        with tempfile.TemporaryDirectory() as work:
            write_model(work, "bfloat16", settings, generator("mlx " + name))
            if name == "qwen3-next":
                take_apart(work)
            change_config(work, keys)
            golden.MODELS[name] = (work, {}, "affine", None)
            golden.make(name)
