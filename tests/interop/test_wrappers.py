"""Text inside models with pictures: PEFT's adapters, which have the vision tower's modules too, and
nibble's, which have the text's alone; merged and quantized directories opened by transformers."""
import os
import tempfile
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig

from common import GOLDEN, check, check_logits, evaluate, in_float, main, nibble, write_ids
from models import class_of

MODELS = [os.path.join(GOLDEN, "models", name) for name in ("gemma3-wrapped", "mistral3-wrapped")]


def base(directory):
    config = AutoConfig.from_pretrained(directory)
    model = class_of(config).from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    return in_float(model.eval())


def sequences(seed):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randint(10, 120, (n,), generator=rng) for n in (33, 8)]


def logits(model, data):
    with torch.no_grad():
        return [model(input_ids=x[None]).logits[0].float() for x in data]


def compare(directory, model, work, what, *more):
    data = sequences(5)
    path = os.path.join(work, "data.jsonl")
    write_ids(path, [(x, x) for x in data])
    got, _ = evaluate(directory, path, *more)
    check_logits(got, logits(model, data), 1e-4, what)


def train(directory, out, work, *options):
    data = os.path.join(work, "train.jsonl")
    write_ids(data, [(x, x) for x in sequences(8) + sequences(9)])
    nibble("finetune", directory, "--data", data, "--output-dir", out, "--compute-dtype", "float32", "--max-steps", 6,
           "--learning-rate", "1e-2", *options)


def from_peft(directory):
    torch.manual_seed(1)
    model = get_peft_model(base(directory), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"])).eval()
    check(any("vision_tower" in n for n, p in model.named_parameters() if p.requires_grad), "an idle test")
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.copy_(0.1 * torch.randn(p.shape))
    with tempfile.TemporaryDirectory() as work:
        adapter = os.path.join(work, "adapter")
        model.save_pretrained(adapter)
        compare(directory, model, work, "PEFT's adapter", "--adapter", adapter)


def to_peft(directory):
    with tempfile.TemporaryDirectory() as work:
        adapter = os.path.join(work, "adapter")
        train(directory, adapter, work, "--target-modules", "q_proj,v_proj")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # "Found missing adapter keys"
            model = PeftModel.from_pretrained(base(directory), adapter).eval()
        check(not any("vision" in n for n, _ in model.named_parameters() if "lora" in n), "adapters beside the text")
        compare(directory, model, work, "nibble's adapter", "--adapter", adapter)


def merged(directory):
    """With a head of its own afterwards, which changes both keys of tied embeddings."""
    with tempfile.TemporaryDirectory() as work:
        adapter, out = os.path.join(work, "adapter"), os.path.join(work, "merged")
        train(directory, adapter, work, "--target-modules", "q_proj", "--modules-to-save", "lm_head")
        nibble("merge", directory, "--adapter", adapter, out, "--dtype", "float32")
        compare(directory, base(out), work, "merged", "--adapter", adapter)
        compare(out, base(out), work, "merged, opened here")


def quantized(directory):
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "nf4")
        nibble("quantize", directory, out, "--load-in-4bit", "--bnb-4bit-quant-type", "nf4")
        model = base(out)
        kinds = {type(m).__name__ for n, m in model.named_modules() if "language_model" in n and n.endswith("_proj")}
        check(kinds == {"Linear4bit"}, f"linears of the text are {kinds}")
        compare(out, model, work, "quantized")


if __name__ == "__main__":
    main([(f"{os.path.basename(d)}: {name}", lambda f=f, d=d: f(d)) for d in MODELS for name, f in
          (("from PEFT", from_peft), ("to PEFT", to_peft), ("merged", merged), ("quantized", quantized))])
