"""Optimizers and schedules against the libraries they are named after: learning rates step by step with transformers,
groups with the Trainer's and with PEFT's LoRA+, ten steps of each optimizer with torch and bitsandbytes through
build/tests/interop/dump_optimizer, and whole runs of the program.

bitsandbytes' optimizers have a path for the CPU (backends/cpu/ops.py): codes and scales are equal to it bit for bit.
Values are so but for the last place: torch takes its square roots from MKL, which rounds about a fifth of them up or
down by one."""
import itertools
import json
import os
import subprocess
import tempfile

import torch
from safetensors.torch import load_file, save_file

from common import GOLDEN, PICO, SHOP, TOP, check, json_lines, main, nibble

DUMP = os.environ.get("DUMP_OPTIMIZER") or os.path.join(TOP, "build", "tests", "interop", "dump_optimizer")


def dump(*arguments, fails=False):
    done = subprocess.run([DUMP, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    message = done.stderr.decode(errors="replace").strip()
    check((done.returncode != 0) == fails, f"dump_optimizer {arguments}: exit {done.returncode}: {message}")
    return message if fails else done.stdout.decode()


# --- schedules ---

def rates(name, steps, warmup, arguments):
    from transformers import get_scheduler
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    schedule = get_scheduler(name, optimizer, warmup, steps, scheduler_specific_kwargs=arguments)
    out = []
    for _ in range(steps):
        out.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return out


def schedules():
    from transformers import TrainingArguments
    cases = [("linear", {}), ("cosine", {}), ("cosine", {"num_cycles": 1.3}), ("cosine_with_restarts", {}),
             ("cosine_with_restarts", {"num_cycles": 3}), ("constant", {}), ("constant_with_warmup", {})]
    for (name, arguments), steps, (warmup, ratio) in itertools.product(cases, (1, 7, 100), ((0, 0), (3, 0), (0, 0.05), (3, 0.5), (0, 1))):
        theirs = TrainingArguments(warmup_steps=warmup, warmup_ratio=ratio, use_cpu=True, report_to="none").get_warmup_steps(steps)
        more = [f"lr_scheduler_kwargs={json.dumps(arguments)}"] if arguments else []
        got = dump("schedule", steps, "learning_rate=3e-4", f"lr_scheduler_type={name}", f"warmup_steps={warmup}",
                   f"warmup_ratio={ratio}", *more).split()
        want = rates(name, steps, theirs, arguments)
        check([float(x) for x in got] == want, f"{name} {arguments} of {steps} steps, warm-up {warmup} {ratio}: {got}, transformers has {want}")


def schedule_arguments():
    for name, arguments, says in [("linear", "num_cycles=2", "linear has no 'num_cycles'"), ("cosine", "{num_waves: 2}", "has no 'num_waves'"),
                                  ("constant", "num_cycles=2", "constant has no"), ("cosine", "num_cycles=-1", "num_cycles is -1")]:
        message = dump("schedule", 5, f"lr_scheduler_type={name}", f"lr_scheduler_kwargs={arguments}", fails=True)
        check(says in message, f"{name} {arguments}: {message}")


# --- groups ---

def peft_model(directory, work, targets, save, bias, **more):
    from peft import LoraConfig, get_peft_model
    from reference_training import load_model
    torch.manual_seed(1)
    model = get_peft_model(load_model(directory), LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=targets, modules_to_save=save,
                                                             bias=bias, **more))
    model.save_pretrained(work)
    return model


def file_name(name):
    """A parameter's name as the adapter's file has it."""
    return name.replace(".modules_to_save.default", "").replace(".default", "")


def check_groups(model, optimizer, directory, work, *keys):
    names = {id(p): file_name(n) for n, p in model.named_parameters()}
    want = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    lines = [line.split("\t") for line in dump("groups", directory, work, *keys).splitlines()]
    got = {name: (float(rate), float(decay)) for name, rate, decay in lines}
    check(set(got) == set(want), f"other parameters: {sorted(set(got) ^ set(want))}")
    wrong = {n: (got[n], want[n]) for n in got if got[n] != want[n]}
    check(not wrong, f"rate and decay, expected: {wrong}")
    return {decay for _, decay in got.values()}, {rate for rate, _ in got.values()}


def groups():
    from peft.optimizers import create_loraplus_optimizer
    from transformers import Trainer, TrainingArguments
    cases = [("llama-bias", ["q_proj", "v_proj"], ["lm_head", "norm", "embed_tokens"], "all"), ("qwen2", ["q_proj"], None, "lora_only"),
             ("gptj", ["q_proj", "wte"], ["lm_head"], "none"), ("falcon-rw", ["query_key_value"], ["ln_f"], "none"), ("falcon-rw", ["dense"], None, "all"),
             ("llama", ["embed_tokens", "down_proj"], ["input_layernorm"], "none")]
    for (name, targets, save, bias), in zip(cases):
        directory = os.path.join(GOLDEN, "models", name)
        with tempfile.TemporaryDirectory() as work:
            model = peft_model(directory, work, targets, save, bias)
            arguments = TrainingArguments(os.path.join(work, "t"), weight_decay=0.1, learning_rate=3e-4, use_cpu=True, report_to="none")
            optimizer = Trainer(model, arguments).create_optimizer()
            decays, _ = check_groups(model, optimizer, directory, work, "learning_rate=3e-4", "weight_decay=0.1")
            check(0.1 in decays, f"{name}: nothing decays")
            optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, lr=3e-4, loraplus_lr_ratio=16, loraplus_lr_embedding=5e-5,
                                                  loraplus_weight_decay=0.2)
            _, rates = check_groups(model, optimizer, directory, work, "learning_rate=3e-4", "loraplus_lr_ratio=16",
                                    "loraplus_lr_embedding=5e-5", "loraplus_weight_decay=0.2")
            check(len(rates) >= 2, f"{name}: one rate")


def loraplus_refusals():
    for keys, says in [(("loraplus_lr_ratio=4", "weight_decay=0.1"), "the decay is loraplus_weight_decay"),
                       (("loraplus_weight_decay=0.1",), "loraplus_weight_decay: has no effect without"),
                       (("loraplus_lr_embedding=1e-4",), "loraplus_lr_embedding: has no effect without"),
                       (("optim=adafactor",), "one of adamw_torch adamw_bnb_8bit paged_adamw_32bit paged_adamw_8bit"),
                       (("optim=adamw_hf",), "'adamw_hf' is not one of")]:
        message = dump("steps", "none", "none", 1, *keys, fails=True)
        check(says in message, f"{keys}: {message}")


# --- steps ---

SHAPES = {"a.lora_A": (16, 300), "a.lora_B": (257, 16), "embed": (80, 60), "small.lora_B": (30, 4), "a.bias": (5000,), "whole.lora_A": (64, 64)}


def problem(steps):
    """Values of all sizes, some zeros, and in the last parameter a block without any gradient."""
    g = torch.Generator().manual_seed(5)
    tensors = {f"p.{n}": torch.randn(s, generator=g) * 0.1 for n, s in SHAPES.items()}
    for t, (n, s) in itertools.product(range(steps), SHAPES.items()):
        x = torch.randn(s, generator=g) * torch.exp(2 * torch.randn(s, generator=g))
        x = torch.where(torch.rand(s, generator=g) < 0.1, torch.zeros(s), x)
        if n == "whole.lora_A":
            x.view(-1)[256:512] = 0
        tensors[f"g.{t}.{n}"] = x
    return tensors


def reference(kind, tensors, steps, decay, ratio):
    import bitsandbytes as bnb
    from transformers import get_scheduler
    params = {n: torch.nn.Parameter(tensors[f"p.{n}"].clone()) for n in SHAPES}
    rate = 3e-3
    groups = []
    for n, p in params.items():
        fast = "lora_B" in n or p.ndim == 1
        groups.append({"params": [p], "lr": rate * ratio if ratio and fast else rate, "weight_decay": 0 if "bias" in n else decay})
    make = {"adamw_torch": lambda: torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-7),
            "adamw_bnb_8bit": lambda: bnb.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-7, optim_bits=8),
            "paged_adamw_32bit": lambda: bnb.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-7, optim_bits=32, is_paged=True),
            "paged_adamw_8bit": lambda: bnb.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-7, optim_bits=8, is_paged=True)}
    if "8bit" in kind:
        module = torch.nn.Embedding(*SHAPES["embed"])
        module.weight = params["embed"]
        bnb.optim.GlobalOptimManager.get_instance().register_module_override(module, "weight", {"optim_bits": 32})
    optimizer = make[kind]()
    schedule = get_scheduler("cosine", optimizer, 2, steps)
    for t in range(steps):
        for n, p in params.items():
            p.grad = tensors[f"g.{t}.{n}"].clone()
        optimizer.step()
        schedule.step()
    return params, {n: optimizer.state[p] for n, p in params.items()}


def check_steps(kind, steps, decay, ratio):
    tensors = problem(steps)
    params, states = reference(kind, tensors, steps, decay, ratio)
    what = f"{kind}, {steps} steps, decay {decay}, ratio {ratio}"
    with tempfile.TemporaryDirectory(dir=os.path.join(TOP, "build")) as work:
        save_file(tensors, f"{work}/in.safetensors")
        keys = [f"loraplus_lr_ratio={ratio}", f"loraplus_weight_decay={decay}"] if ratio else [f"weight_decay={decay}"]
        dump("steps", f"{work}/in.safetensors", work, steps, f"optim={kind}", "learning_rate=3e-3", "adam_beta2=0.98", "adam_epsilon=1e-7",
             "lr_scheduler_type=cosine", "warmup_steps=2", *keys)
        values, got = load_file(f"{work}/values.safetensors"), load_file(f"{work}/optimizer.safetensors")
    for n, p in params.items():
        moved = (p.detach() - tensors[f"p.{n}"]).abs().max()
        off = (values[n].view_as(p) - p.detach()).abs().max()
        check(off <= 2e-6 * moved + 3e-7 * p.detach().abs().max(), f"{what}: values of {n} differ by {off:g}, having moved by {moved:g}")
        names = {k.rsplit(".", 1)[1] for k in got if k.startswith(n + ".")}
        want = {k for k in states[n] if k != "step"}
        check(names == want, f"{what}: {n} has the states {sorted(names)}, expected {sorted(want)}")
        for k in want:
            a, b = got[f"{n}.{k}"].view_as(states[n][k]), states[n][k]
            check(a.dtype == b.dtype, f"{what}: {k} of {n} is {a.dtype}, expected {b.dtype}")
            if b.dtype == torch.float32 and k.startswith(("state", "exp_avg")):
                check(torch.allclose(a, b, rtol=1e-6, atol=1e-6 * b.abs().max().item()), f"{what}: {k} of {n} differs by {(a - b).abs().max():g}")
            else:
                wrong = (a != b).sum().item()
                check(wrong == 0, f"{what}: {wrong} of {a.numel()} {k} of {n} differ")
    return got


def optimizers():
    for kind in ("adamw_torch", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit"):
        for steps, decay, ratio in ((1, 0.0, 0), (10, 0.0, 0), (10, 0.3, 0), (10, 0.3, 8)):
            states = check_steps(kind, steps, decay, ratio)
            codes = sum(t.numel() for t in states.values() if t.dtype == torch.uint8)
            check((codes > 0) == ("8bit" in kind), f"{kind}: {codes} codes")


if __name__ == "__main__":
    main([("schedules equal transformers'", schedules), ("schedule arguments", schedule_arguments), ("groups are the Trainer's and PEFT's", groups),
          ("loraplus and optim refusals", loraplus_refusals), ("ten steps of each optimizer", optimizers)])
