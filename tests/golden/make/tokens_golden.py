"""Makes tests/golden/tokens/: adapters that train single rows of the embedding beside q_proj (trainable_token_indices,
peft 0.21.2), on the two models of adapter-files/, whose head is a matrix of its own or the embedding, and what PEFT
computes with them.

Run from the top of the repository, after adapter_files_golden.py: python tests/golden/make/tokens_golden.py
tests/golden/README.md says what the files hold."""
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TOP = os.path.join(GOLDEN, "tokens")
CASES = {"untied": ("base", [5, 1, 8, 30]), "tied": ("tied", {"embed_tokens": [8, 1, 5, 31], "lm_head": [8, 1, 5, 31]})}
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]])


def base(name):
    return AutoModelForCausalLM.from_pretrained(f"{GOLDEN}/adapter-files/{name}", dtype=torch.float32, attn_implementation="eager")


def make(out, name, model, tokens):
    config = LoraConfig(r=2, lora_alpha=3, task_type="CAUSAL_LM", target_modules=["q_proj"], trainable_token_indices=tokens)
    made = get_peft_model(base(model), config)
    torch.manual_seed(8)
    with torch.no_grad():
        for p in made.parameters():
            if p.requires_grad:
                p.normal_(0, 0.3)
    for config in made.peft_config.values():
        config.base_model_name_or_path = model
    made.save_pretrained(f"{TOP}/{name}", save_embedding_layers=False)
    os.remove(f"{TOP}/{name}/README.md")
    made = PeftModel.from_pretrained(base(model), f"{TOP}/{name}", is_trainable=True)
    with torch.no_grad():
        out[f"{name}.logits"] = made.eval()(IDS).logits[0].contiguous()
    loss = made(IDS, labels=IDS).loss
    loss.backward()
    out[f"{name}.loss"] = loss.detach()
    for n, p in made.named_parameters():
        if p.requires_grad:
            out[f"{name}.grad.{n.replace('.default', '')}"] = p.grad.contiguous()


def main():
    shutil.rmtree(TOP, ignore_errors=True)
    out = {"ids": IDS[0].to(torch.int32)}
    for name, (model, tokens) in CASES.items():
        make(out, name, model, tokens)
    os.makedirs(TOP, exist_ok=True)
    save_file(out, f"{TOP}/expected.safetensors")
    print({k: tuple(v.shape) for k, v in out.items()})


if __name__ == "__main__":
    main()
