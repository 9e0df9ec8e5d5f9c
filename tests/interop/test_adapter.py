"""Adapters both ways: PEFT's read here and nibble's read by PEFT give the same logits, in float32
within 1e-4; merged models too; and llama.cpp's converter takes one."""
import os
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from common import GOLDEN, PICO, SHOP, check, check_logits, evaluate, main, nibble, write_ids
from reference_training import load_model as base

TIED = os.path.join(GOLDEN, "models", "llama-gqa-tied")
BIASED = os.path.join(GOLDEN, "models", "llama-bias")  # untied head, biases everywhere
GPT2 = os.path.join(GOLDEN, "models", "gpt2")

# What PEFT writes: name -> (model, LoraConfig's arguments).
FROM_PEFT = {
    "defaults of the family": (PICO, {}),
    "rslora on all linears": (PICO, dict(r=4, lora_alpha=3, use_rslora=True, target_modules="all-linear")),
    "rank_pattern and alpha_pattern": (PICO, dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"],
        rank_pattern={"down_proj": 6, r"model.layers.2.self_attn.q_proj": 2}, alpha_pattern={"q_proj": 5})),
    "a regular expression": (PICO, dict(target_modules=r".*layers\.[0-3]\.(mlp\.up|self_attn\.v)_proj")),
    "exclude_modules": (PICO, dict(target_modules="all-linear", exclude_modules=["down_proj"])),
    "layers_to_transform": (PICO, dict(target_modules=["v_proj"], layers_to_transform=[1, 4])),
    "embeddings": (BIASED, dict(r=4, target_modules=["embed_tokens", "q_proj"])),
    "modules_to_save: head and norm": (BIASED, dict(target_modules=["o_proj"], modules_to_save=["lm_head", "norm"])),
    "modules_to_save: embeddings": (BIASED, dict(target_modules=["o_proj"], modules_to_save=["embed_tokens"])),
    "modules_to_save: Conv1D": (GPT2, dict(target_modules=["c_fc"], modules_to_save=["c_attn", "c_proj"])),
    "bias all": (BIASED, dict(target_modules=["v_proj"], bias="all")),
    "bias lora_only": (BIASED, dict(target_modules=["up_proj"], bias="lora_only")),
    "trained rows, tied": (TIED, dict(target_modules=["q_proj"], trainable_token_indices=[9, 3, 100])),
    "DoRA, with biases": (BIASED, dict(r=4, use_dora=True, target_modules=["embed_tokens", "q_proj", "down_proj"], bias="lora_only")),
}

# What nibble writes: name -> (model, options of finetune, NF4).
TO_PEFT = {
    "defaults": (PICO, [], False),
    "all-linear": (PICO, ["--r", 8, "--lora-alpha", 16, "--target-modules", "all-linear"], False),
    "rslora, gaussian": (PICO, ["--use-rslora", "--init-lora-weights", "gaussian", "--target-modules", "q_proj,up_proj"], False),
    "a regular expression": (PICO, ["--target-modules", r"regex:.*layers\.[0-3]\.(mlp\.up|self_attn\.v)_proj"], False),
    "embeddings, head, norm, biases": (BIASED, ["--target-modules", "embed_tokens,q_proj,down_proj",
                                                "--modules-to-save", "lm_head,norm", "--bias", "all"], False),
    "modules_to_save: Conv1D": (GPT2, ["--target-modules", "c_fc", "--modules-to-save", "c_attn,c_proj"], False),
    "NF4 base": (PICO, ["--target-modules", "all-linear"], True),
    "trained rows, tied, NF4 base": (TIED, ["--target-modules", "q_proj", "--trainable-token-indices", "9,3,100"], True),
    "DoRA, NF4 base": (PICO, ["--use-dora", "--lora-dropout", 0.1, "--target-modules", "all-linear"], True),
}
NF4 = ["--load-in-4bit", "--bnb-4bit-quant-type", "nf4"]


def sequences(vocabulary, seed=5):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randint(0, vocabulary, (n,), generator=rng) for n in (33, 8)]


def logits(model, data):
    with torch.no_grad():
        return [model(input_ids=x[None]).logits[0].float() for x in data]


def compare(directory, adapter, model, work, what, *more):
    """nibble's logits with the adapter against those of `model`, which already has it."""
    data = sequences(model.config.vocab_size)
    path = os.path.join(work, "data.jsonl")
    write_ids(path, [(x, x) for x in data])
    want = logits(model, data)
    got, _ = evaluate(directory, path, "--adapter", adapter, *more)
    check_logits(got, want, 1e-4, what)
    return data, want


def from_peft(directory, arguments):
    torch.manual_seed(1)
    model = get_peft_model(base(directory), LoraConfig(task_type="CAUSAL_LM", **arguments)).eval()
    rng = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                noise = torch.randn(p.shape, generator=rng)
                p.add_(noise * (0.1 if "lora_" not in name or "lora_B" in name or "embedding_B" in name else 0.05))
    with tempfile.TemporaryDirectory() as work:
        adapter = os.path.join(work, "adapter")
        model.save_pretrained(adapter)
        data, want = compare(directory, adapter, model, work, "PEFT's adapter")
        bare = logits(base(directory), data)
        check(max((a - b).abs().max().item() for a, b in zip(want, bare)) > 1e-2, "the adapter changes nothing: an idle test")


def train_here(directory, options, out, work):
    data = SHOP
    if directory != PICO:
        data = os.path.join(work, "train.jsonl")
        write_ids(data, [(x, x) for x in sequences(128, 8) + sequences(128, 9)])
    nibble("finetune", directory, "--data", data, "--output-dir", out, "--compute-dtype", "float32", "--max-steps", 6,
           "--per-device-train-batch-size", 4, "--learning-rate", "1e-2", "--seed", 1, *options)


def to_peft(directory, options, nf4):
    with tempfile.TemporaryDirectory() as work:
        adapter = os.path.join(work, "adapter")
        more = NF4 if nf4 else []
        train_here(directory, [*options, *more], adapter, work)
        model = PeftModel.from_pretrained(base(directory, nf4), adapter).eval()
        data, want = compare(directory, adapter, model, work, "nibble's adapter", *more)
        bare = logits(base(directory, nf4), data)
        check(max((a - b).abs().max().item() for a, b in zip(want, bare)) > 1e-2, "the adapter changes nothing: an idle test")


def merge():
    with tempfile.TemporaryDirectory() as work:
        adapter, out = os.path.join(work, "adapter"), os.path.join(work, "merged")
        train_here(PICO, ["--target-modules", "all-linear"], adapter, work)
        nibble("merge", PICO, "--adapter", adapter, out, "--dtype", "float32")
        want = PeftModel.from_pretrained(base(PICO), adapter).merge_and_unload()
        data = sequences(2048)
        check_logits(logits(base(out), data), logits(want, data), 1e-4, "merged")
        stored, expected = load_file(os.path.join(out, "model.safetensors")), want.state_dict()
        for name, tensor in stored.items():
            check(tensor.dtype == torch.float32, f"{name} is {tensor.dtype}")
            worst = (tensor - expected[name]).abs().max().item()
            check(worst <= 1e-6, f"{name} differs by {worst:.3g}")


if __name__ == "__main__":
    main([(f"from PEFT: {n}", lambda a=a: from_peft(*a)) for n, a in FROM_PEFT.items()] +
         [(f"to PEFT: {n}", lambda a=a: to_peft(*a)) for n, a in TO_PEFT.items()] +
         [("merged weights equal PEFT's", merge)])
