"""Adapters on tensors of experts (target_parameters) as PEFT writes them, with logits, loss and the gradient of every A and B, on
the models of ../models.  transformers 4 does not mark gpt_oss's tensors as [E, in, out], transformers 5 does: both forms.

    python parameters_golden.py      once with transformers 4.57.6 and once with 5.24.0; peft 0.21.2, torch 2.13"""
import json
import os
import sys

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

from models import TOP, class_of

OUT = os.path.join(os.path.dirname(TOP), "parameters")
FUSED = ["experts.gate_up_proj", "experts.down_proj"]
CASES = {4: {"gpt-oss-swapped": ("gpt-oss", dict(target_modules=["q_proj"], target_parameters=FUSED,
                                                 rank_pattern={"experts.down_proj": 3})),
             "granitemoe": ("granitemoe", dict(target_modules=[], target_parameters=[
                 "input_linear.weight", "output_linear.weight"]))},
         5: {"granitemoe-names-5": ("granitemoe", dict(target_modules=["q_proj"], target_parameters=FUSED)),
             "gpt-oss": ("gpt-oss", dict(target_modules=["q_proj"], target_parameters=FUSED,
                                         rank_pattern={"experts.down_proj": 3})),
             "qwen3-5-moe": ("qwen3-5-moe", dict(target_modules=["out_proj"], target_parameters=FUSED)),
             "one": ("gpt-oss", dict(target_modules=[], use_rslora=True,
                                     target_parameters=["model.layers.1.mlp.experts.gate_up_proj"]))}}


def make(name, base, settings):
    config = transformers.AutoConfig.from_pretrained(os.path.join(TOP, base))
    more = {"experts_implementation": "eager"} if transformers.__version__ >= "5" else {}
    model = class_of(config).from_pretrained(os.path.join(TOP, base), dtype=torch.float32, attn_implementation="eager",
                                             **more).eval()
    model.name_or_path = f"nibble/{base}"
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, **settings)).eval()
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if p.requires_grad:
                p.copy_(torch.randn(p.shape, generator=rng) * (0.1 if "lora_B" in n else p.shape[1] ** -0.5))
    directory = os.path.join(OUT, name)
    model.save_pretrained(directory)
    os.remove(os.path.join(directory, "README.md"))
    stored = json.load(open(os.path.join(directory, "adapter_config.json")))
    for key in ("target_modules", "target_parameters"):
        stored[key].sort()  # PEFT keeps sets
    json.dump(stored, open(os.path.join(directory, "adapter_config.json"), "w"), indent=2, sort_keys=True)

    ids = torch.randint(0, 128, (14,), generator=rng)
    logits = model(input_ids=ids[None]).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[:-1], ids[1:])
    loss.backward()
    out = {"ids": ids.int(), "logits": logits.detach().contiguous(), "loss": loss.detach()}
    for n, p in model.named_parameters():
        if p.requires_grad:
            assert p.grad.abs().max() > 0, n
            out["grad." + n.replace(".default", "")] = p.grad.contiguous()
    save_file(out, os.path.join(directory, "expected.safetensors"))
    print(name, sum(os.path.getsize(os.path.join(directory, f)) for f in os.listdir(directory)), "bytes")


if __name__ == "__main__":
    for case, (of, how) in CASES[int(transformers.__version__[0])].items():
        make(case, of, how)
