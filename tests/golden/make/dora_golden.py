"""Makes tests/golden/dora/: a tiny model of random weights, a DoRA adapter (peft 0.21.2) on its embedding, its
head and all linears between, and what PEFT computes with it on the weights as they are, in NF4 and, of a
training step, on what bitsandbytes' 8 bits decode to (on a CPU PEFT's DoRA loses the scales of its own).

Run from the top of the repository: python tests/golden/make/dora_golden.py
tests/golden/README.md says what the files hold."""
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"

import bitsandbytes as bnb
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "dora")
CONFIG = dict(model_type="llama", vocab_size=32, hidden_size=64, intermediate_size=64, num_hidden_layers=1,
              num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=64, attention_bias=True)
TARGETS = ["embed_tokens", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]])
NF4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
INT8 = BitsAndBytesConfig(load_in_8bit=True)


def base(held=None):
    return AutoModelForCausalLM.from_pretrained(f"{TOP}/base", dtype=torch.float32, attn_implementation="eager",
                                                quantization_config=held, device_map="cpu")


def make_base():
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**CONFIG))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.15) if p.ndim == 2 else p.uniform_(0.5, 1.5)
    model.save_pretrained(f"{TOP}/base")
    os.remove(f"{TOP}/base/generation_config.json")


def decoded():
    """The model with its linears as they are in 8 bits, in float32."""
    model, held = base(), base(INT8)
    with torch.no_grad():
        for name, module in held.named_modules():
            if isinstance(module, bnb.nn.Linear8bitLt):
                w = module.weight
                model.get_submodule(name).weight.copy_(w.data.float() * (w.SCB.float() / 127)[:, None])
    return model


def make_adapter(name, **kw):
    """The magnitudes are up to a third away from the norms they began as."""
    model = get_peft_model(base(), LoraConfig(r=2, lora_alpha=3, task_type="CAUSAL_LM", use_dora=True, **kw))
    torch.manual_seed(4)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if "magnitude" in n:
                p.mul_(torch.empty_like(p).uniform_(0.7, 1.3))
            elif p.requires_grad:
                p.normal_(0, 0.3)
    for config in model.peft_config.values():
        config.base_model_name_or_path = "base"
    model.save_pretrained(f"{TOP}/{name}", save_embedding_layers=False)
    os.remove(f"{TOP}/{name}/README.md")


def record(out, mark, model):
    model = PeftModel.from_pretrained(model, f"{TOP}/adapter", is_trainable=True)
    with torch.no_grad():
        out[f"{mark}logits"] = model.eval()(IDS).logits[0].float().contiguous()
    model.train()  # without dropout
    loss = model(IDS, labels=IDS).loss
    loss.backward()
    out[f"{mark}loss"] = loss.detach().float()
    for name, p in model.named_parameters():
        if p.requires_grad:
            name = name.replace(".default", "").replace("_vector.weight", "_vector")
            out[f"{mark}grad.{name}"] = p.grad.float().contiguous()


def main():
    shutil.rmtree(TOP, ignore_errors=True)
    make_base()
    make_adapter("adapter", target_modules=TARGETS)
    out = {"ids": IDS[0].to(torch.int32)}
    for mark, model in (("", base()), ("nf4.", base(NF4)), ("int8.", decoded())):
        record(out, mark, model)
    del out["int8.logits"]  # activations are in 8 bits too then
    fresh = get_peft_model(base(), LoraConfig(r=2, task_type="CAUSAL_LM", use_dora=True, target_modules=["embed_tokens", "down_proj"]))
    for name, p in fresh.named_parameters():
        if "magnitude" in name:
            out[f"begin.{name.replace('.default.weight', '')}"] = p.detach().clone()
    save_file(out, f"{TOP}/expected.safetensors")
    print({k: tuple(v.shape) for k, v in out.items() if "grad" not in k})


if __name__ == "__main__":
    main()
