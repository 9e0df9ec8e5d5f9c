"""Adapters on tensors of experts (target_parameters): PEFT's read here, nibble's read by PEFT, both merged."""
import os
import tempfile
import warnings

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from common import GOLDEN, WithTransformers5, check, check_logits, evaluate, main, nibble, write_ids

NEWER = transformers.__version__ >= "5"
FUSED = ["experts.gate_up_proj", "experts.down_proj"]
PARAMETERS = {"granitemoe": FUSED if NEWER else ["input_linear.weight", "output_linear.weight"], "gpt-oss": FUSED}


def base(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()


def sequences(seed):
    rng = torch.Generator().manual_seed(seed)
    return [torch.randint(10, 120, (n,), generator=rng) for n in (17, 8)]


def compare(directory, model, work, what, *more):
    data = sequences(5)
    path = os.path.join(work, "data.jsonl")
    write_ids(path, [(x, x) for x in data])
    got, _ = evaluate(directory, path, *more)
    with torch.no_grad():
        want = [model(input_ids=x[None]).logits[0].float() for x in data]
    check_logits(got, want, 1e-4, what)


def from_peft(name):
    directory = os.path.join(GOLDEN, "models", name)
    torch.manual_seed(1)
    model = get_peft_model(base(directory), LoraConfig(task_type="CAUSAL_LM", r=3, target_modules=["k_proj"],
                                                       target_parameters=PARAMETERS[name])).eval()
    with torch.no_grad():
        for _, p in model.named_parameters():
            if p.requires_grad:
                p.copy_(0.1 * torch.randn(p.shape))
    with tempfile.TemporaryDirectory() as work:
        adapter, out = os.path.join(work, "adapter"), os.path.join(work, "merged")
        model.save_pretrained(adapter)
        compare(directory, model, work, "PEFT's adapter", "--adapter", adapter)
        nibble("merge", directory, "--adapter", adapter, out, "--dtype", "float32")
        compare(out, model, work, "PEFT's adapter, merged here")


def to_peft(name):
    directory = os.path.join(GOLDEN, "models", name)
    with tempfile.TemporaryDirectory() as work:
        adapter, out, data = (os.path.join(work, x) for x in ("adapter", "merged", "train.jsonl"))
        write_ids(data, [(x, x) for x in sequences(8) + sequences(9)])
        nibble("finetune", directory, "--data", data, "--output-dir", adapter, "--compute-dtype", "float32", "--max-steps", 6,
               "--learning-rate", "1e-2", "--target-modules", "q_proj", "--target-parameters", ",".join(PARAMETERS[name]))
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            model = PeftModel.from_pretrained(base(directory), adapter).eval()
        changed = [n for n, p in model.named_parameters() if "lora_B" in n and "q_proj" not in n and bool(p.any())]
        check(len(changed) == 4, f"experts trained: {changed}")
        compare(directory, model, work, "nibble's adapter", "--adapter", adapter)
        nibble("merge", directory, "--adapter", adapter, out, "--dtype", "float32")
        compare(directory, base(out), work, "merged here, opened there", "--adapter", adapter)


def of_5(name):
    return f"{name}, transformers 5"


if __name__ == "__main__":
    cases = {"granitemoe: to PEFT": lambda: to_peft("granitemoe"), "granitemoe: from PEFT": lambda: from_peft("granitemoe"),
             "gpt-oss: to PEFT": lambda: to_peft("gpt-oss"), "gpt-oss: from PEFT": lambda: from_peft("gpt-oss")}
    if NEWER:
        main([(of_5(name), f) for name, f in cases.items()])
    elsewhere = WithTransformers5(__file__, map(of_5, cases))
    del cases["gpt-oss: to PEFT"]  # what transformers 4 lacks is in docs/formats-quant.md 9.6
    main([*cases.items(), *((name, lambda name=name: elsewhere.case(name)) for name in elsewhere.command[2:])])
