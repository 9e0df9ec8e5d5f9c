"""Makes tests/golden/floats/gpt-oss-mxfp4/: a tiny gpt_oss as the published ones are stored, its experts in MXFP4, and what
grouped_golden.py puts beside a model (its functions are used).

    python tests/golden/make/mxfp4_golden.py

with transformers 4.57.6.  The codes are made here (formats-quant.md 3.1, 3.3, without any of nibble's code); transformers
decodes them, reads the directory and computes."""
import json
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from models import LLAMA, fill, generator, record, sequences
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "floats", "gpt-oss-mxfp4")
LEVELS = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
SETTINGS = LLAMA | dict(model_type="gpt_oss", num_attention_heads=2, num_key_value_heads=1, head_dim=32, intermediate_size=96,
                        num_hidden_layers=2, num_local_experts=3, num_experts_per_tok=2, sliding_window=9,
                        rope_theta=500.0, rope_scaling=dict(rope_type="yarn", factor=4.0, beta_fast=32.0, beta_slow=1.0,
                                                            truncate=False, original_max_position_embeddings=32))

QUANTIZATION = {"quant_method": "mxfp4", "modules_to_not_convert": [
    "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}


def pack(w):
    """[E, in, out] as blocks [E, out, in / 32, 16] and scales [E, out, in / 32]."""
    parts = w.transpose(1, 2).reshape(w.shape[0], w.shape[2], -1, 32).float()
    e = torch.floor(torch.log2(parts.abs().amax(-1))) - 2
    x = parts / torch.exp2(e)[..., None]
    codes = (x.abs()[..., None] - LEVELS).abs().argmin(-1) + 8 * (x < 0)
    return (codes[..., 0::2] | codes[..., 1::2] << 4).to(torch.uint8), (e + 127).to(torch.uint8)


def main():
    rng = generator("gpt-oss-mxfp4")
    settings = dict(SETTINGS)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    fill(model, rng)
    tensors, decoded = {}, {}
    for name, p in model.state_dict().items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            tensors[name] = p.to(torch.bfloat16)
            continue
        blocks, scales = pack(p * torch.exp2(torch.arange(p.shape[2]) % 5 - 2.0))
        tensors[name + "_blocks"], tensors[name + "_scales"] = blocks.contiguous(), scales.contiguous()
        decoded[name] = convert_moe_packed_tensors(blocks, scales).float()  # [E, in, out]
    shutil.rmtree(TOP, ignore_errors=True)
    os.makedirs(TOP)
    config = model.config.to_dict() | {"quantization_config": QUANTIZATION, "dtype": "bfloat16",
                                       "architectures": ["GptOssForCausalLM"]}
    with open(os.path.join(TOP, "config.json"), "w") as f:
        json.dump(config, f, indent=1, sort_keys=True)
    save_file(tensors, os.path.join(TOP, "model.safetensors"), {"format": "pt"})

    model = AutoModelForCausalLM.from_pretrained(TOP, attn_implementation="eager").float().eval()
    ids, labels = sequences(rng)
    out = {}
    for i, (x, y) in enumerate(zip(ids, labels)):
        out[f"ids.{i}"], out[f"labels.{i}"] = x.int(), y.int()
    for name, w in decoded.items():
        assert torch.equal(model.get_parameter(name), w), name
        if ".layers.1." in name:
            out[f"decoded.{name}.2"] = w[2].T.contiguous() + 0.0  # -0 is 0
    with torch.no_grad():
        record(out, "", model, ids, labels)
    lora = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"],
                                            task_type="CAUSAL_LM"))
    for p in lora.parameters():
        if p.requires_grad:
            p.data.copy_(torch.randn(p.shape, generator=rng) * 0.1)
    lora.save_pretrained(os.path.join(TOP, "adapter"))
    os.remove(os.path.join(TOP, "adapter", "README.md"))
    record(out, "lora.", lora, ids, labels, gradients=True)
    save_file(out, os.path.join(TOP, "expected.safetensors"))
    print(sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(TOP) for f in fs), "bytes")


if __name__ == "__main__":
    main()
