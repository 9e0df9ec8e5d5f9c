"""Makes tests/golden/experts/: Qwen3.5-MoE with its experts apart, a linear for each projection, as transformers 5 saves a model of
its own and as quantizers pack it, and what transformers computes of them in float32.

    python tests/golden/make/experts_golden.py

with transformers 5.24.0, bitsandbytes 0.50.2, torch 2.13.  tests/golden/README.md says what the files hold."""
import json
import os
import shutil

import bitsandbytes.functional as F
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, FineGrainedFP8Config

from models import DELTA, ROPE_5, TOP, fill, generator

OUT = os.path.join(os.path.dirname(TOP), "experts")
SMALL = DELTA | dict(hidden_size=64, vocab_size=32, num_hidden_layers=1, layer_types=["full_attention"], head_dim=16,
                     num_experts=2, num_experts_per_tok=1, moe_intermediate_size=64, shared_expert_intermediate_size=64,
                     rope_parameters=ROPE_5)


def clear(name):
    directory = os.path.join(OUT, name)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    return directory


def save(model, directory):
    """In transformers 5's own form; a model that was loaded would be saved as it came."""
    model.to(torch.bfloat16).save_pretrained(directory)
    os.remove(os.path.join(directory, "generation_config.json"))
    assert any(".experts.0.gate_proj.weight" in k for k in load_file(os.path.join(directory, "model.safetensors")))


def make_dense():
    """tests/golden/models/qwen3-5-moe, of which ../parameters has an adapter."""
    source = os.path.join(TOP, "qwen3-5-moe")
    fused = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source))
    model.load_state_dict(fused.state_dict())
    save(model, clear("dense"))


def start(name):
    directory = clear(name)
    settings = dict(SMALL, model_type="qwen3_5_moe_text")
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings)).float()
    fill(model, generator(name))
    save(model, directory)
    return directory, load_file(os.path.join(directory, "model.safetensors"))


def is_expert(name):
    return ".experts." in name and name.endswith("_proj.weight")


def logits_of(directory, **how):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager",
                                                 experts_implementation="eager", **how).eval()
    ids = torch.randint(0, 32, (12,), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return {"ids": ids.int(), "logits": model(input_ids=ids[None]).logits[0].float().contiguous()}


def finish(directory, tensors, quantization, expected):
    path = os.path.join(directory, "config.json")
    config = json.load(open(path))
    config["quantization_config"] = quantization
    json.dump(config, open(path, "w"), indent=2)
    save_file(tensors, os.path.join(directory, "model.safetensors"), {"format": "pt"})
    save_file(expected if isinstance(expected, dict) else expected(), os.path.join(directory, "expected.safetensors"))
    print(directory, sum(os.path.getsize(os.path.join(directory, f)) for f in os.listdir(directory)), "bytes")


def make_fp8():
    """E4M3 with a scale of each 128 x 128, here of each matrix, as Qwen releases it; transformers decodes it while loading."""
    directory, tensors = start("fp8")
    out = {}
    for name, w in tensors.items():
        out[name] = w
        if is_expert(name):
            scale = w.float().abs().max() / 448
            out[name] = (w.float() / scale).to(torch.float8_e4m3fn)
            out[name + "_scale_inv"] = scale.reshape(1, 1)
    others = sorted({k.removesuffix(".weight") for k in tensors if k.endswith(".weight") and not is_expert(k)})
    finish(directory, out, {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [128, 128],
                            "modules_to_not_convert": others},
           lambda: logits_of(directory, quantization_config=FineGrainedFP8Config(dequantize=True, modules_to_not_convert=others)))


def make_nf4():
    """Linears of bitsandbytes as transformers 4 saves those of families whose experts are modules; the decoded model's logits."""
    directory, tensors = start("nf4")
    out, decoded = {}, {}
    for name, w in tensors.items():
        out[name] = decoded[name] = w
        if is_expert(name):
            codes, state = F.quantize_4bit(w.float(), blocksize=64, quant_type="nf4")
            out[name] = codes
            out |= {f"{name}.{k}": v for k, v in state.as_dict(packed=True).items()}
            decoded[name] = F.dequantize_4bit(codes, state).contiguous()
    save_file(decoded, os.path.join(directory, "model.safetensors"), {"format": "pt"})
    finish(directory, out, {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4",
                            "bnb_4bit_compute_dtype": "float32", "bnb_4bit_use_double_quant": False}, logits_of(directory))


if __name__ == "__main__":
    make_dense()
    make_fp8()
    make_nf4()
