"""Adapters that start from the weights: PiSSA, OLoRA and LoftQ take of the base what PEFT takes, by value where the result is
defined, by what is left where it is not; PEFT's files are read here and nibble's there, also where the base was quantized again."""
import inspect
import os
import tempfile
import types

import bitsandbytes
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import loftq_utils
from safetensors.torch import load_file

from common import PICO, SHOP, check, check_logits, evaluate, main, nibble, of_the_day, write_ids
from reference_training import load_model as base

R, ALPHA = 8, 12  # a scale that is not 1
TARGETS = ["q_proj", "down_proj"]


def finetune(out, init, *more, rate=1e-2, steps=6, alpha=ALPHA):
    nibble("finetune", PICO, "--data", SHOP, "--output-dir", out, "--compute-dtype", "float32", "--max-steps", steps,
           "--per-device-train-batch-size", 4, "--learning-rate", rate, "--seed", 1, "--r", R, "--lora-alpha", alpha,
           "--target-modules", ",".join(TARGETS), "--init-lora-weights", init, *more)


def peft_model(init):
    torch.manual_seed(1)
    return get_peft_model(base(PICO), LoraConfig(task_type="CAUSAL_LM", r=R, lora_alpha=ALPHA, target_modules=TARGETS,
                                                 init_lora_weights=init)).eval()


def weights():
    return {n.removesuffix(".weight"): p.detach().clone() for n, p in base(PICO).named_parameters()
            if n.split(".")[-2] in TARGETS}


def factors(directory):
    """A and B of an adapter's file, by module."""
    t = load_file(os.path.join(directory, "adapter_model.safetensors"))
    prefix, a = "base_model.model.", ".lora_A.weight"
    return {n[len(prefix):-len(a)]: (t[n], t[n.replace("lora_A", "lora_B")]) for n in t if n.endswith(a)}


def taken(init):
    """What nibble takes out of the base, as its file has it beside what it trained (not at all)."""
    with tempfile.TemporaryDirectory() as work:
        finetune(work + "/out", init, rate="1e-30", steps=1)
        return {n: (a[R:], -b[:, R:]) for n, (a, b) in factors(work + "/out").items()}


def starts_alike(init):
    model, ours, scale = peft_model(init), taken(init), ALPHA / R
    before = weights()
    check(set(ours) == set(before) and len(ours) > 4, f"{len(ours)} modules, expected {len(before)}")
    for name, module in model.base_model.model.named_modules():
        if name not in ours:
            continue
        a, b = ours[name]
        theirs = module.lora_A["default"].weight.detach(), module.lora_B["default"].weight.detach()
        norm = before[name].norm()
        left = (before[name] - scale * b @ a).norm() / norm
        expected = module.base_layer.weight.detach().norm() / norm
        if "niter" in init:
            check(left <= 1.001 * expected, f"{name}: {left:.4f} of W left, PEFT {expected:.4f}")
            continue
        check(abs(left - expected) < 1e-5, f"{name}: {left:.6f} of W left, PEFT {expected:.6f}")
        worst = (b @ a - theirs[1] @ theirs[0]).abs().max()
        check(worst < 2e-5, f"{name}: B A differs by {worst:.3g}")
        if init == "olora":
            worst = max((x - y).abs().max() for x, y in zip((a, b), theirs))
            check(worst < 2e-5, f"{name}: A or B differs by {worst:.3g}")


def logits(model, data):
    with torch.no_grad():
        return [model(input_ids=x[None]).logits[0].float() for x in data]


def compare(directory, adapter, model, work, limit=1e-4):
    rng = torch.Generator().manual_seed(5)
    data = [torch.randint(0, 2048, (n,), generator=rng) for n in (33, 8)]
    write_ids(work + "/data.jsonl", [(x, x) for x in data])
    got, _ = evaluate(directory, work + "/data.jsonl", "--adapter", adapter)
    check_logits(got, logits(model, data), limit, "logits")


def from_peft(init):
    # torch's singular vectors in float32 are off by up to 5e-6 in B A (float64), ours by 1e-7
    limit = 3e-4 if init == "pissa" else 1e-4
    model, rng = peft_model(init), torch.Generator().manual_seed(9)
    with torch.no_grad(), tempfile.TemporaryDirectory() as work:
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.02 * torch.randn(p.shape, generator=rng))
        model.save_pretrained(work + "/adapter")
        again = PeftModel.from_pretrained(base(PICO), work + "/adapter").eval()
        compare(PICO, work + "/adapter", again, work, limit)
        compare(PICO, work + "/adapter", model, work, limit)


def to_peft(init):
    with tempfile.TemporaryDirectory() as work:
        finetune(work + "/out", init)
        compare(PICO, work + "/out", PeftModel.from_pretrained(base(PICO), work + "/out").eval(), work)


NF4 = ["--load-in-4bit", "--bnb-4bit-quant-type", "nf4"]


def quantized_again(init, *more):
    """The base of base_change/, opened by transformers, with the adapter by PEFT."""
    with tempfile.TemporaryDirectory() as work:
        finetune(work + "/out", init, *NF4, *more)
        nibble("quantize", PICO, work + "/base", "--adapter", work + "/out/base_change", *NF4)
        compare(work + "/base", work + "/out", PeftModel.from_pretrained(base(work + "/base"), work + "/out").eval(), work)


def loftq_on_cpu():
    """PEFT's module with the device that it names changed."""
    module = types.ModuleType("loftq_on_cpu")
    source = inspect.getsource(loftq_utils)
    check(source.count('"cuda"') >= 2, "PEFT names its device in another way")
    exec(compile(source.replace('"cuda"', '"cpu"'), "loftq_on_cpu", "exec"), module.__dict__)
    return module


def loftq(bits, iterations):
    """|W - Q - B A| over all matrices against PEFT's procedure, and against nothing done."""
    peft, before = loftq_on_cpu(), weights()
    form = NF4 if bits == 4 else ["--load-in-8bit"]
    square = dict(ours=0.0, theirs=0.0, plain=0.0, new=0.0)
    with tempfile.TemporaryDirectory() as work:
        finetune(work + "/out", "loftq", *form, "--loftq-config", f"loftq_bits={bits},loftq_iter={iterations}",
                 rate="1e-30", steps=1, alpha=R)
        change = ["--adapter", work + "/out/base_change"] if iterations > 1 else []
        nibble("quantize", PICO, work + "/base", *form, *change)
        model = base(work + "/base")
        for name, (a, b) in factors(work + "/out").items():
            w, module = before[name], model.get_submodule(name)
            if bits == 4:
                q = bitsandbytes.functional.dequantize_4bit(module.weight.data, module.weight.quant_state).float()
            else:
                q = bitsandbytes.functional.int8_vectorwise_dequant(module.weight.data, module.weight.SCB)
            square["ours"] += (w - q - b @ a).square().sum().item()
            d, la, lb = peft.loftq_init(w, num_bits=bits, reduced_rank=R, num_iter=iterations)
            square["theirs"] += (w - d - lb @ la).square().sum().item()
            plain, _, _ = peft.loftq_init(w, num_bits=bits, reduced_rank=R, num_iter=1)
            square["plain"] += (w - plain).square().sum().item()
            if bits == 4 and iterations == 1:  # replace_lora_weights_loftq
                na, nb = peft._loftq_init_new(module.weight, w, num_bits=4, reduced_rank=R)
                square["new"] += (w - q - nb @ na).square().sum().item()
    ours, theirs, plain, new = (square[k] ** 0.5 for k in ("ours", "theirs", "plain", "new"))
    print(f"  |W - Q| {plain:.4f}, |W - Q - B A| {ours:.4f}, PEFT {theirs:.4f}")
    check(ours <= 1.005 * theirs, f"{ours}, PEFT {theirs}")
    check(ours < 0.99 * plain, f"{ours}, without LoftQ {plain}")
    check(not new or ours <= 1.005 * new, f"{ours}, replace_lora_weights_loftq {new}")


CASES = [(f"{init}: takes what PEFT takes", lambda i=init: starts_alike(i)) for init in ("pissa", "olora", "pissa_niter_4")]
CASES += [(f"{init}: PEFT's adapter", lambda i=init: from_peft(i)) for init in ("pissa", "olora", "orthogonal")]
CASES += [(f"{init}: nibble's adapter", lambda i=init: to_peft(i)) for init in ("pissa", "olora", "orthogonal")]
CASES += [("pissa of NF4", lambda: quantized_again("pissa")),
          ("loftq of NF4, three iterations", lambda: quantized_again("loftq", "--loftq-config", "loftq_iter=3"))]
CASES += [(f"loftq: {b} bits, {n} iterations, within .5 % of PEFT", lambda b=b, n=n: loftq(b, n))
          for b, n in ((4, 1), (4, 5), (8, 1), (8, 5))]

if __name__ == "__main__":
    main(of_the_day(CASES, 5))
