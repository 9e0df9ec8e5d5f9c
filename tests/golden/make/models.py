"""Makes tests/golden/models/: a tiny random model of each architecture variant, a PEFT adapter for
it, and what transformers and PEFT compute with them in float32.

Run from the top of the repository, in an environment with tests/requirements.txt:
    python tests/golden/make/models.py [VARIANT...]
Those of VARIANTS_5 need transformers 5 (they were made with 5.24.0): the same in an environment with it.
tests/golden/README.md says what the files hold.  The seed of a variant is made of its name, so one
variant can be made again alone."""
import contextlib
import json
import os
import shutil
import sys
import zlib

os.environ["HF_HUB_OFFLINE"] = "1"  # PEFT would look for the base model there when saving

import bitsandbytes.functional as F
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models")
LENGTHS = (37, 12)
VOCABULARY = 128

LLAMA = dict(model_type="llama", vocab_size=VOCABULARY, hidden_size=64, intermediate_size=64, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=256, rms_norm_eps=1e-5,
             tie_word_embeddings=False)
NORMS = {k: v for k, v in LLAMA.items() if k != "rms_norm_eps"}  # of kin with layer norms
NEOX = {k: v for k, v in NORMS.items() if k != "num_key_value_heads"}
FALCON = dict(model_type="falcon", vocab_size=VOCABULARY, hidden_size=64, ffn_hidden_size=64, num_hidden_layers=2,
              num_attention_heads=4, max_position_embeddings=256)

# Beside the text, which is all that is looked at.
SIGLIP = dict(model_type="siglip_vision_model", hidden_size=8, intermediate_size=8, num_hidden_layers=1,
              num_attention_heads=2, image_size=8, patch_size=4)
PIXTRAL = dict(model_type="pixtral", hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
               head_dim=4, image_size=8, patch_size=4)

DEEPSEEK = LLAMA | dict(num_attention_heads=2, num_key_value_heads=2, qk_nope_head_dim=32, qk_rope_head_dim=16,
                        v_head_dim=32, kv_lora_rank=64, moe_intermediate_size=64, n_routed_experts=4,
                        num_experts_per_tok=2)
DELTA = LLAMA | dict(num_attention_heads=2, num_key_value_heads=1, head_dim=32, linear_num_key_heads=2,
                     linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=16,
                     layer_types=["linear_attention", "full_attention"])
GRANITE4 = LLAMA | dict(model_type="granitemoehybrid", num_attention_heads=2, num_key_value_heads=1, mamba_n_heads=8,
                        mamba_d_state=24, mamba_chunk_size=16, shared_intermediate_size=64, embedding_multiplier=3.0,
                        attention_multiplier=0.2, residual_multiplier=0.5, logits_scaling=2.0)
FALCON_H1 = LLAMA | dict(model_type="falcon_h1", num_attention_heads=2, num_key_value_heads=1, mamba_d_ssm=64, mamba_n_heads=4,
                         mamba_n_groups=2, mamba_d_state=12, mamba_chunk_size=16, rope_theta=500.0, embedding_multiplier=1.5,
                         lm_head_multiplier=0.75, key_multiplier=0.8, attention_in_multiplier=1.2,
                         attention_out_multiplier=0.9, ssm_in_multiplier=0.7, ssm_out_multiplier=1.3,
                         mlp_multipliers=[0.9, 1.1], ssm_multipliers=[1.2, 0.8, 1.4, 0.7, 0.9], tie_word_embeddings=True)
ROPE_5 = dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.25)

# variant -> (dtype of the file, config.json).  Each dtype is exact in float32, so it is no source
# of differences; the smaller ones keep the repository small and the three readers tested.
VARIANTS_4 = {
    "llama": ("float32", LLAMA),
    "llama-gqa-tied": ("bfloat16", LLAMA | dict(num_key_value_heads=2, tie_word_embeddings=True, num_hidden_layers=3)),
    "llama-bias": ("bfloat16", LLAMA | dict(num_key_value_heads=2, attention_bias=True, mlp_bias=True)),
    # Wave lengths 6 and 20 are kept, 63 lies between, the longer ones are divided.
    "llama-rope-llama3": ("bfloat16", LLAMA | dict(
        max_position_embeddings=1024, rope_theta=10000.0,
        rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                          original_max_position_embeddings=128))),
    "llama-rope-linear": ("float16", LLAMA | dict(
        max_position_embeddings=1024, rope_theta=500.0, rope_scaling=dict(rope_type="linear", factor=4.0))),
    # The window is shorter than the first sequence, and a head is not hidden_size / heads wide.
    "mistral-window": ("bfloat16", LLAMA | dict(model_type="mistral", num_attention_heads=2, num_key_value_heads=1,
                                                head_dim=64, sliding_window=9)),
    "qwen2": ("bfloat16", LLAMA | dict(model_type="qwen2", num_key_value_heads=2, rope_theta=1000000.0)),
    # Only the layers from max_window_layers on see through the window.
    "qwen2-window": ("bfloat16", LLAMA | dict(model_type="qwen2", num_key_value_heads=1, tie_word_embeddings=True,
                                              use_sliding_window=True, sliding_window=7, max_window_layers=1)),
    "gptj": ("bfloat16", dict(model_type="gptj", vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_inner=64,
                              n_positions=256, rotary_dim=8, tie_word_embeddings=False)),
    "falcon-7b": ("bfloat16", FALCON | dict(multi_query=True, parallel_attn=True, bias=False,
                                            new_decoder_architecture=False, alibi=False)),
    "falcon-new-2norms": ("bfloat16", FALCON | dict(new_decoder_architecture=True, num_kv_heads=2, bias=False,
                                                    num_ln_in_parallel_attn=2, tie_word_embeddings=False)),
    "falcon-new-1norm": ("bfloat16", FALCON | dict(new_decoder_architecture=True, num_kv_heads=1, bias=False,
                                                   num_ln_in_parallel_attn=1)),
    # 16 heads: slopes that are no powers of two, so that their rounding to bfloat16 shows.
    "falcon-rw": ("bfloat16", FALCON | dict(multi_query=False, parallel_attn=False, bias=True, alibi=True,
                                            num_attention_heads=16, new_decoder_architecture=False)),
    # A norm for each head of q and k; heads wider than hidden_size / heads.
    "qwen3": ("bfloat16", LLAMA | dict(model_type="qwen3", num_key_value_heads=2, head_dim=32, attention_bias=False,
                                       rope_theta=1000000.0)),
    # Both caps are felt, the scale is not that of the head's width, the first layer has a window.
    "gemma2": ("bfloat16", LLAMA | dict(model_type="gemma2", num_key_value_heads=2, head_dim=32, sliding_window=9,
                                        query_pre_attn_scalar=24, attn_logit_softcapping=3.0, num_hidden_layers=3,
                                        final_logit_softcapping=4.0, hidden_activation="gelu_pytorch_tanh",
                                        tie_word_embeddings=True, pad_token_id=0)),
    # Two ropes, one of them scaled; two layers with a window, then one without.
    "gemma3": ("bfloat16", LLAMA | dict(model_type="gemma3_text", num_key_value_heads=1, head_dim=32, sliding_window=9,
                                        query_pre_attn_scalar=24, sliding_window_pattern=3, num_hidden_layers=3,
                                        rope_theta=50000.0, rope_local_base_freq=500.0,
                                        rope_scaling=dict(rope_type="linear", factor=4.0),
                                        hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True,
                                        pad_token_id=0)),
    # Text inside models with pictures; the class does not know the cap of the logits.
    "gemma3-wrapped": ("bfloat16", dict(
        model_type="gemma3", mm_tokens_per_image=1, vision_config=SIGLIP, text_config=LLAMA | dict(
            model_type="gemma3_text", num_key_value_heads=1, head_dim=32, sliding_window=9, num_hidden_layers=2,
            query_pre_attn_scalar=24, final_logit_softcapping=0.5, layer_types=["sliding_attention", "full_attention"],
            hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True, pad_token_id=0))),
    "mistral3-wrapped": ("bfloat16", dict(
        model_type="mistral3", vision_config=PIXTRAL, image_token_index=5, tie_word_embeddings=False,
        text_config=LLAMA | dict(model_type="mistral", num_hidden_layers=1, num_key_value_heads=2, sliding_window=None))),
    "phi3": ("bfloat16", LLAMA | dict(model_type="phi3", num_key_value_heads=2, sliding_window=9,
                                      partial_rotary_factor=0.5, pad_token_id=0)),
    # The first sequence is longer than the original length, the second is not.
    "phi3-longrope": ("bfloat16", LLAMA | dict(
        model_type="phi3", num_key_value_heads=2, pad_token_id=0, original_max_position_embeddings=20,
        rope_scaling=dict(type="longrope", short_factor=[1.0 + 0.1 * i for i in range(8)],
                          long_factor=[1.5 + 0.4 * i for i in range(8)]))),
    # The first sequence is longer than the model's length, the second is not.
    "llama-dynamic": ("bfloat16", LLAMA | dict(num_hidden_layers=1, num_key_value_heads=1, max_position_embeddings=20,
                                               rope_scaling=dict(rope_type="dynamic", factor=3.0))),
    "gemma": ("bfloat16", LLAMA | dict(model_type="gemma", num_key_value_heads=1, head_dim=32, tie_word_embeddings=True,
                                       hidden_activation="gelu_pytorch_tanh", pad_token_id=0)),
    "smollm3": ("bfloat16", LLAMA | dict(model_type="smollm3", num_key_value_heads=2, num_hidden_layers=3,
                                         no_rope_layer_interval=2, tie_word_embeddings=True, pad_token_id=0)),
    "granite": ("bfloat16", LLAMA | dict(model_type="granite", num_key_value_heads=2, embedding_multiplier=3.0,
                                         attention_multiplier=0.2, residual_multiplier=0.5, logits_scaling=2.0)),
    "olmo2": ("bfloat16", LLAMA | dict(model_type="olmo2", num_key_value_heads=2)),
    # The rope is scaled in the last layer alone, the others have a window.
    "olmo3": ("bfloat16", LLAMA | dict(model_type="olmo3", num_key_value_heads=2, num_hidden_layers=4, sliding_window=9,
                                       rope_theta=500.0, rope_scaling=dict(
                                           rope_type="yarn", factor=4.0, original_max_position_embeddings=32))),
    "cohere": ("bfloat16", NORMS | dict(model_type="cohere", num_key_value_heads=2, tie_word_embeddings=True,
                                        logit_scale=0.5, pad_token_id=0)),
    "cohere2": ("bfloat16", NORMS | dict(model_type="cohere2", num_key_value_heads=2, tie_word_embeddings=True,
                                         num_hidden_layers=2, sliding_window=9, sliding_window_pattern=2,
                                         logit_scale=0.5, pad_token_id=0)),
    # A norm for each head of q and k, each with its own weight: one tensor, or a tensor each.
    "cohere-norms": ("bfloat16", NORMS | dict(model_type="cohere", num_hidden_layers=1, num_key_value_heads=2,
                                              use_qk_norm=True, tie_word_embeddings=True, pad_token_id=0)),
    "stablelm-norms": ("bfloat16", NORMS | dict(model_type="stablelm", num_hidden_layers=1, num_key_value_heads=2,
                                                qk_layernorm=True)),
    "phi-norms": ("bfloat16", NORMS | dict(model_type="phi", num_hidden_layers=1, num_key_value_heads=2,
                                           qk_layernorm=True)),
    "starcoder2": ("bfloat16", NORMS | dict(model_type="starcoder2", num_key_value_heads=2, sliding_window=9,
                                            tie_word_embeddings=True)),
    "stablelm": ("bfloat16", NORMS | dict(model_type="stablelm", num_key_value_heads=2, use_qkv_bias=True,
                                          partial_rotary_factor=0.5)),
    "stablelm-parallel": ("bfloat16", NORMS | dict(model_type="stablelm", use_parallel_residual=True)),
    "phi": ("bfloat16", NORMS | dict(model_type="phi", num_key_value_heads=2, partial_rotary_factor=0.5)),
    "glm": ("bfloat16", LLAMA | dict(model_type="glm", num_key_value_heads=2, head_dim=16, pad_token_id=0)),
    "glm4": ("bfloat16", LLAMA | dict(model_type="glm4", num_key_value_heads=2, head_dim=16, pad_token_id=0)),
    "gpt-neox": ("bfloat16", NEOX | dict(model_type="gpt_neox", rotary_pct=0.5, layer_norm_eps=1e-5)),
    "gpt-neox-sequential": ("bfloat16", NEOX | dict(model_type="gpt_neox", use_parallel_residual=False,
                                                     attention_bias=False, rotary_emb_base=500)),
    "codegen": ("bfloat16", dict(model_type="codegen", vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_inner=64,
                                 n_positions=256, rotary_dim=8, tie_word_embeddings=False)),
    "gpt-neo": ("bfloat16", dict(model_type="gpt_neo", vocab_size=VOCABULARY, hidden_size=64, num_layers=2, num_heads=4,
                                 intermediate_size=64, max_position_embeddings=256, window_size=9,
                                 attention_types=[[["global", "local"], 1]])),
    "gpt-bigcode": ("bfloat16", dict(model_type="gpt_bigcode", vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4,
                                     n_inner=64, n_positions=256)),
    "gpt-bigcode-heads": ("bfloat16", dict(model_type="gpt_bigcode", vocab_size=VOCABULARY, n_embd=64, n_layer=2,
                                           n_head=4, n_inner=64, n_positions=256, multi_query=False)),
    "opt": ("bfloat16", dict(model_type="opt", vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, ffn_dim=64,
                             num_attention_heads=4, max_position_embeddings=256, word_embed_proj_dim=64, pad_token_id=1)),
    # The form of 350M.
    "opt-after": ("bfloat16", dict(model_type="opt", vocab_size=VOCABULARY, hidden_size=128, num_hidden_layers=1,
                                   ffn_dim=64, num_attention_heads=4, max_position_embeddings=256,
                                   word_embed_proj_dim=64, do_layer_norm_before=False, pad_token_id=1)),
    # Positions that no tensor holds.
    "xglm": ("bfloat16", dict(model_type="xglm", vocab_size=VOCABULARY, d_model=64, num_layers=2, ffn_dim=64,
                              attention_heads=4, max_position_embeddings=256)),
    "open-llama": ("bfloat16", LLAMA | dict(model_type="open-llama")),
    "open-llama-head": ("bfloat16", LLAMA | dict(model_type="open-llama", shared_input_output_embedding=False,
                                                 use_stable_embedding=False, num_hidden_layers=1)),
    "gpt-neox-japanese": ("bfloat16", dict(model_type="gpt_neox_japanese", vocab_size=VOCABULARY, hidden_size=64,
                                           num_hidden_layers=2, num_attention_heads=4, intermediate_multiple_size=1,
                                           rotary_pct=0.5, max_position_embeddings=256)),
    "ministral": ("bfloat16", LLAMA | dict(model_type="ministral", num_key_value_heads=2, head_dim=16, sliding_window=9,
                                           layer_types=["sliding_attention", "full_attention"])),
    "seed-oss": ("bfloat16", LLAMA | dict(model_type="seed_oss", num_hidden_layers=1, num_key_value_heads=2, head_dim=32,
                                          attention_out_bias=True, mlp_bias=True)),
    "ernie4-5": ("bfloat16", LLAMA | dict(model_type="ernie4_5", num_hidden_layers=1, num_key_value_heads=2, head_dim=32, use_bias=True,
                                          tie_word_embeddings=True)),
    "exaone4": ("bfloat16", LLAMA | dict(model_type="exaone4", num_key_value_heads=2, sliding_window=9, sliding_window_pattern=2)),
    "hunyuan": ("bfloat16", LLAMA | dict(model_type="hunyuan_v1_dense", num_hidden_layers=1, num_key_value_heads=2, head_dim=32,
                                         rope_scaling=dict(type="dynamic", alpha=4.0, factor=1.0))),
    "nemotron": ("bfloat16", NORMS | dict(model_type="nemotron", num_hidden_layers=1, num_key_value_heads=2, head_dim=32, norm_eps=1e-4,
                                          mlp_bias=True)),
    # Numbers of xIELU that are felt; the rope's bands as of llama-rope-llama3.
    "apertus": ("bfloat16", LLAMA | dict(model_type="apertus", num_key_value_heads=2, max_position_embeddings=1024, rope_theta=10000.0,
                                         rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                                           original_max_position_embeddings=128))),
    "bloom": ("bfloat16", dict(model_type="bloom", vocab_size=VOCABULARY, hidden_size=64, n_layer=2, n_head=16,
                               pad_token_id=3)),
    # The first layer has no experts.
    "qwen3-moe": ("bfloat16", LLAMA | dict(model_type="qwen3_moe", num_key_value_heads=1, head_dim=32,
                                           num_attention_heads=2, num_hidden_layers=2, num_experts=4,
                                           num_experts_per_tok=2, moe_intermediate_size=64, norm_topk_prob=True,
                                           decoder_sparse_step=1, mlp_only_layers=[0], rope_theta=1000000.0)),
    "qwen2-moe": ("bfloat16", LLAMA | dict(model_type="qwen2_moe", num_attention_heads=2, num_key_value_heads=1,
                                           num_hidden_layers=1, num_experts=4, num_experts_per_tok=3,
                                           moe_intermediate_size=64, shared_expert_intermediate_size=128)),
    "mixtral": ("bfloat16", LLAMA | dict(model_type="mixtral", num_attention_heads=2, num_key_value_heads=1,
                                         num_hidden_layers=1, num_local_experts=4, num_experts_per_tok=2,
                                         sliding_window=9)),
    # All experts in one tensor, which has no adapter.
    "granitemoe": ("bfloat16", LLAMA | dict(model_type="granitemoe", num_attention_heads=2, num_key_value_heads=1,
                                            num_hidden_layers=2, num_local_experts=4, num_experts_per_tok=2,
                                            embedding_multiplier=3.0, attention_multiplier=0.2,
                                            residual_multiplier=0.5, logits_scaling=2.0)),
    # A layer of each kind, in either order: without experts and rotation, and with both.
    "granite-hybrid": ("bfloat16", GRANITE4 | dict(layer_types=["mamba", "attention"], num_local_experts=0,
                                                   tie_word_embeddings=True)),
    "granite-hybrid-experts": ("bfloat16", GRANITE4 | dict(
        layer_types=["attention", "mamba"], mamba_expand=1, num_local_experts=3, num_experts_per_tok=2, intermediate_size=8,
        tie_word_embeddings=True, position_embedding_type="rope", rope_theta=500.0, mamba_conv_bias=False, mamba_proj_bias=True)),
    # Factors everywhere and two groups of heads; a norm of the groups before the gate, and behind it.
    "falcon-h1": ("bfloat16", FALCON_H1 | dict(num_hidden_layers=1, projectors_bias=True)),
    "falcon-h1-norm": ("bfloat16", FALCON_H1 | dict(num_hidden_layers=1, mamba_rms_norm=True, mamba_proj_bias=True)),
    "falcon-h1-gate-norm": ("bfloat16", FALCON_H1 | dict(num_hidden_layers=1, mamba_rms_norm=True,
                                                         mamba_norm_before_gate=False, ssm_multipliers=None)),
    # Some gates and ups are beyond the limit; the first layer has a window.
    "gpt-oss": ("bfloat16", LLAMA | dict(model_type="gpt_oss", num_attention_heads=2, num_key_value_heads=1, head_dim=32,
                                         num_hidden_layers=2, num_local_experts=4, num_experts_per_tok=2,
                                         sliding_window=9, rope_theta=500.0, rope_scaling=dict(
                                             rope_type="yarn", factor=4.0, beta_fast=32.0, beta_slow=1.0,
                                             truncate=False, original_max_position_embeddings=32))),
    "deepseek-v2": ("bfloat16", DEEPSEEK | dict(model_type="deepseek_v2", q_lora_rank=None, num_hidden_layers=1,
                                                first_k_dense_replace=0, n_shared_experts=1,
                                                topk_method="group_limited_greedy", n_group=2, topk_group=1)),
    # The scores are sharpened by the rope's scale.
    "deepseek-v3": ("bfloat16", DEEPSEEK | dict(model_type="deepseek_v3", q_lora_rank=64, num_hidden_layers=1,
                                                first_k_dense_replace=0, n_shared_experts=1, n_group=2, topk_group=1,
                                                routed_scaling_factor=2.5, rope_scaling=dict(
                                                    rope_type="yarn", factor=4.0, mscale=1.0, mscale_all_dim=0.7,
                                                    original_max_position_embeddings=32))),
    # The last layer is attention here, a convolution there.
    "lfm2": ("bfloat16", dict(model_type="lfm2", vocab_size=VOCABULARY, hidden_size=64, block_ff_dim=96,
                              block_multiple_of=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                              max_position_embeddings=256, layer_types=["conv", "full_attention"])),
    "lfm2-bias": ("bfloat16", dict(model_type="lfm2", vocab_size=VOCABULARY, hidden_size=64, intermediate_size=64,
                                   block_auto_adjust_ff_dim=False, num_hidden_layers=2, num_attention_heads=4,
                                   num_key_value_heads=1, max_position_embeddings=256, full_attn_idxs=[0],
                                   conv_L_cache=5, conv_bias=True, rope_theta=500.0)),
    # Projections lie key head by key head.
    "qwen3-next": ("bfloat16", DELTA | dict(model_type="qwen3_next", num_hidden_layers=1, use_cache=False,
                                            layer_types=["linear_attention"], num_experts=3, num_experts_per_tok=2, moe_intermediate_size=64, decoder_sparse_step=1,
                                            shared_expert_intermediate_size=64, norm_topk_prob=True, rope_theta=500.0,
                                            partial_rotary_factor=0.25)),
    "rwkv": ("bfloat16", dict(model_type="rwkv", vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2,
                              intermediate_size=64, context_length=256, use_cache=False)),
    "gpt2": ("bfloat16", dict(model_type="gpt2", vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_inner=64,
                              n_positions=256)),
}

# What transformers 4.57 lacks or computes otherwise.
GEMMA4 = dict(vocab_size=VOCABULARY, vocab_size_per_layer_input=VOCABULARY, hidden_size=64, intermediate_size=64,
              num_attention_heads=4, num_key_value_heads=2, head_dim=16, global_head_dim=32, sliding_window=9,
              max_position_embeddings=256, final_logit_softcapping=4.0, pad_token_id=0)
MODERN = dict(model_type="modernbert-decoder", vocab_size=VOCABULARY, hidden_size=64, intermediate_size=64,
              num_attention_heads=4, local_attention=18, max_position_embeddings=256, pad_token_id=0, bos_token_id=1,
              eos_token_id=2, cls_token_id=1, sep_token_id=2)
VARIANTS_5 = {
    # A layer of each kind; two heads of values for each of keys, matrices that are not square.
    "qwen3-5": ("bfloat16", DELTA | dict(model_type="qwen3_5_text", rope_parameters=ROPE_5)),
    "qwen3-5-wrapped": ("bfloat16", dict(
        model_type="qwen3_5", image_token_id=5, video_token_id=6, vision_start_token_id=7, vision_end_token_id=8,
        text_config=DELTA | dict(model_type="qwen3_5_text", num_hidden_layers=1, layer_types=["linear_attention"], use_cache=False,
                                 rope_parameters=ROPE_5 | dict(mrope_section=[2, 1, 1], mrope_interleaved=True)),
        vision_config=dict(depth=1, hidden_size=16, intermediate_size=16, num_heads=2, out_hidden_size=64, patch_size=2,
                           spatial_merge_size=1, temporal_patch_size=1, num_position_embeddings=4))),
    # All experts in one tensor, which has no adapter.
    "qwen3-5-moe": ("bfloat16", DELTA | dict(model_type="qwen3_5_moe_text", num_hidden_layers=1, num_experts=3,
                                             layer_types=["linear_attention"], use_cache=False, num_experts_per_tok=2,
                                             moe_intermediate_size=64, shared_expert_intermediate_size=64,
                                             rope_parameters=ROPE_5)),
    # Wider heads in layers that see everything; the last one reads the keys and values of the one before; pieces of a
    # second embedding.
    "gemma4": ("bfloat16", GEMMA4 | dict(model_type="gemma4_text", num_hidden_layers=3, num_kv_shared_layers=1,
                                         num_key_value_heads=1, use_double_wide_mlp=True,
                                         hidden_size_per_layer_input=64,
                                         layer_types=["sliding_attention", "full_attention", "full_attention"])),
    # Experts beside the dense part, each with a gain; the router sees the stream itself.
    "gemma4-moe": ("bfloat16", GEMMA4 | dict(model_type="gemma4_text", num_hidden_layers=1, num_key_value_heads=1,
                                             hidden_size_per_layer_input=0, layer_types=["full_attention"],
                                             enable_moe_block=True, num_experts=4, top_k_experts=2,
                                             moe_intermediate_size=64)),
    # Values that are the keys in the last layer, with fewer of them; no second embedding; inside a model with pictures.
    "gemma4-wrapped": ("bfloat16", dict(model_type="gemma4", vision_config=None, audio_config=None, text_config=GEMMA4 | dict(
        model_type="gemma4_text", num_hidden_layers=2, attention_k_eq_v=True, num_global_key_value_heads=1,
        hidden_size_per_layer_input=0, layer_types=["sliding_attention", "full_attention"]))),
    # Two ropes; a window in all layers but the first; a linear and a norm before the words.
    "modernbert-decoder": ("bfloat16", MODERN | dict(num_hidden_layers=2)),
    "modernbert-decoder-bias": ("bfloat16", MODERN | dict(num_hidden_layers=1, norm_bias=True, attention_bias=True, mlp_bias=True,
                                                          classifier_bias=True, decoder_bias=False,
                                                          tie_word_embeddings=False)),
    # Queries grow from position 16 on; the rope is scaled.
    "ministral3": ("bfloat16", LLAMA | dict(
        model_type="ministral3", num_key_value_heads=2, head_dim=16, sliding_window=None, rope_parameters=dict(
            rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=16, beta_fast=32.0,
            beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.5))),
}
VARIANTS = VARIANTS_5 if transformers.__version__.startswith("5.") else VARIANTS_4


def generator(name):
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def head_of(model):
    """The weight of the head; open-llama's shared one is no module."""
    if getattr(model.config, "shared_input_output_embedding", False):
        return model.get_input_embeddings().weight
    return model.get_output_embeddings().weight


def fill(model, rng):
    """Random weights that keep activations near 1 and logits near 2, whatever the depth."""
    tied = head_of(model) is model.get_input_embeddings().weight
    transposed = {f"{name}.weight" for name in conv1ds(model)}
    with torch.no_grad():
        for name, p in model.named_parameters():
            r = torch.randn(p.shape, generator=rng)
            if p.dim() == 1:
                kind = model.config.model_type
                centred = (name.endswith("bias") or kind.startswith(("gemma", "qwen3_5", "qwen3_next", "nemotron"))
                           and not kind.startswith("gemma4") and "linear_attn" not in name)
                slow = name.endswith(("A_log", "time_decay"))  # so that what came long before still counts
                p.copy_(0.5 * r - 2 if slow else 0.2 * r if centred else 1 + 0.2 * r)
            elif (model.config.model_type == "gpt_oss"
                  and name.endswith(("_proj_bias", "experts.gate_up_proj", "experts.down_proj"))):
                wide = 3.0 if "gate_up" in name else 1.0
                p.copy_(0.2 * r if p.dim() == 2 else wide * r / p.shape[1] ** 0.5)
            elif p is model.get_input_embeddings().weight:
                p.copy_(r * (0.25 if tied else 1.0))
            elif p is head_of(model):
                p.copy_(0.25 * r)
            elif "time_mix" in name:
                p.copy_(torch.rand(p.shape, generator=rng))
            elif name.endswith(("wpe.weight", "embed_positions.weight")):
                p.copy_(0.3 * r)
            else:
                p.copy_(r / p.shape[-2 if name in transposed else -1] ** 0.5)


def is_text(name):
    """Not of the pictures' part of a model, nor of the projector between the two."""
    return "vision_tower" not in name and "multi_modal_projector" not in name and ".visual." not in name


def text_targets(model):
    """all-linear, inside a wrapper of the text alone, as nibble means it."""
    if model.config.model_type == "falcon_h1":  # PEFT refuses out_proj
        return ["in_proj", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    if not hasattr(model.config, "text_config"):
        return "all-linear"
    more = "|in_proj_qkv|in_proj_z|in_proj_a|in_proj_b|out_proj" if model.config.model_type == "qwen3_5" else ""
    return rf".*language_model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj{more})"


def fill_buffers(model, rng):
    """What is stored but no parameter: how much DeepSeek's experts are favoured, gemma4's factors of whole layers."""
    for name, b in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            b.copy_((0.1 * torch.randn(b.shape, generator=rng)).bfloat16())
        elif name.endswith("layer_scalar"):
            b.copy_(0.5 + torch.rand(1, generator=rng))
        elif name.endswith("act_fn.eps"):  # the default, -1e-6, would hardly be felt
            b.fill_(-0.125)
        elif name.endswith("act_fn.beta"):
            b.fill_(0.375)


def conv1ds(model):
    """GPT-2's linears, whose weight is [in, out]."""
    return {name: m for name, m in model.named_modules() if type(m).__name__ == "Conv1D"}


def round_nf4(model):
    """Puts the weight of every linear but the head on the NF4 grid, as bitsandbytes quantizes it."""
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind not in ("Linear", "FalconLinear", "Conv1D") or module.weight is head_of(model) \
                or not is_text(name):
            continue
        w = module.weight.data.T.contiguous() if kind == "Conv1D" else module.weight.data
        assert w.shape[1] % 64 == 0, name  # else blocks cross rows, where the library's AVX-512 decoding is wrong
        codes, state = F.quantize_4bit(w, blocksize=64, quant_type="nf4")
        decoded = F.dequantize_4bit(codes, state)
        high_first = torch.stack([codes.flatten() >> 4, codes.flatten() & 15], 1).flatten().long()
        plain = (state.code[high_first].reshape(-1, 64) * state.absmax[:, None]).reshape(w.shape)
        assert torch.equal(decoded, plain), name
        module.weight.data = plain.T.contiguous() if kind == "Conv1D" else plain


def sequences(rng):
    ids, labels = [], []
    for length in LENGTHS:
        x = torch.randint(0, VOCABULARY, (length,), generator=rng)
        y = x.clone()
        y[: length // 3] = -100
        y[length // 2] = -100
        ids.append(x)
        labels.append(y)
    return ids, labels


def run(model, ids, labels):
    """Logits of each sequence alone, and the mean loss over the supervised tokens of both."""
    logits = [model(input_ids=x[None]).logits[0] for x in ids]
    total, count = 0, 0
    for z, y in zip(logits, labels):
        total = total + torch.nn.functional.cross_entropy(z[:-1], y[1:], ignore_index=-100, reduction="sum")
        count += int((y[1:] != -100).sum())
    return logits, total / count


def record(out, prefix, model, ids, labels, gradients=False):
    logits, loss = run(model, ids, labels)
    for i, z in enumerate(logits):
        out[f"{prefix}logits.{i}"] = z.detach().contiguous()
    out[f"{prefix}loss"] = loss.detach()
    if gradients:
        loss.backward()
        for name, p in model.named_parameters():
            if p.requires_grad:
                out[f"{prefix.replace('lora.', 'grad.')}{name.replace('.default', '')}"] = p.grad.contiguous()


def class_of(config):
    """The auto class that has the model: transformers 4.57's class of causal models lacks mistral3."""
    return AutoModelForCausalLM if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModelForImageTextToText


def uninitialized(config):
    """transformers 4.57 loads StableLM with norms of heads, but stumbles over their missing biases when it sets first values."""
    if config.model_type == "stablelm" and config.qk_layernorm:
        return transformers.modeling_utils.no_init_weights()
    return contextlib.nullcontext()


def attention_of(config):
    """Eager attention, but for ALiBi: transformers 4.57's eager Falcon adds the bias twice, once to
    the scores and once inside the mask; its sdpa path, the default, adds it once."""
    return "sdpa" if getattr(config, "alibi", False) else "eager"


def write_model(directory, dtype, settings, rng):
    """A random model's config.json and model.safetensors; the configuration."""
    settings = dict(settings)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    config._attn_implementation = attention_of(config)
    with uninitialized(config):
        model = class_of(config).from_config(config, attn_implementation=attention_of(config)).float().eval()
    fill(model, rng)
    fill_buffers(model, rng)
    fused = {"save_original_format": False} if "num_experts" in settings and VARIANTS is VARIANTS_5 else {}  # as published
    model.to(getattr(torch, dtype)).save_pretrained(directory, **fused)
    generation = os.path.join(directory, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)
    return config


def random_lora(model, rng):
    return {n: torch.randn(p.shape, generator=rng) * (0.1 if "lora_B" in n else p.shape[1] ** -0.5)
            for n, p in model.named_parameters() if p.requires_grad}


def with_lora(model, rng, lora=None):
    """The model with an adapter on all linears, A and B random, or `lora`; and these values."""
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=text_targets(model)))
    lora = lora or random_lora(model, rng)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if p.requires_grad:
                p.copy_(lora[n])
    return model, lora


def make(variant):
    dtype, settings = VARIANTS[variant]
    directory = os.path.join(TOP, variant)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    rng = generator(variant)
    config = write_model(directory, dtype, settings, rng)

    ids, labels = sequences(rng)
    out = {}
    for i, (x, y) in enumerate(zip(ids, labels)):
        out[f"ids.{i}"], out[f"labels.{i}"] = x.int(), y.int()
    lora = None
    for prefix in ("", "nf4."):
        model = class_of(config).from_pretrained(directory, torch_dtype=torch.float32,
                                                 attn_implementation=attention_of(config)).eval()
        if prefix:
            round_nf4(model)
        with torch.no_grad():
            record(out, prefix, model, ids, labels)
        model.name_or_path = f"nibble/{variant}"
        model, lora = with_lora(model, rng, lora)
        if not prefix:
            adapter = os.path.join(directory, "adapter")
            model.save_pretrained(adapter)
            os.remove(os.path.join(adapter, "README.md"))
            config_path = os.path.join(adapter, "adapter_config.json")
            stored = json.load(open(config_path))
            if isinstance(stored["target_modules"], list):
                stored["target_modules"].sort()  # PEFT keeps a set: its order changes from run to run
            json.dump(stored, open(config_path, "w"), indent=2, sort_keys=True)
        record(out, prefix + "lora.", model.eval(), ids, labels, gradients=True)
    save_file(out, os.path.join(directory, "expected.safetensors"))
    for f in os.listdir(directory):
        assert f in ("config.json", "model.safetensors", "expected.safetensors", "adapter"), f

    spread = {k: round(float(out[k].std()), 3) for k in ("logits.0", "lora.logits.0", "nf4.logits.0")}
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(directory) for f in fs)
    small = min(float(v.abs().max()) for k, v in out.items() if "grad." in k)
    print(f"{variant}: {size / 1000:.0f} KB, loss {float(out['loss']):.4f}, std of logits {spread}, "
          f"smallest of the matrices' greatest gradients {small:.2g}")


if __name__ == "__main__":
    for name in sys.argv[1:] or VARIANTS:
        make(name)
