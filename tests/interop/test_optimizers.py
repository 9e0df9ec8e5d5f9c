"""Optimizers and schedules against the libraries they are named after: learning rates step by step with transformers,
groups with the Trainer's and with PEFT's LoRA+, ten steps of each optimizer with torch and bitsandbytes through
build/tests/interop/dump_optimizer, and whole runs of the program.

bitsandbytes' optimizers have a path for the CPU (backends/cpu/ops.py): codes and scales are equal to it bit for bit.
Values are so but for the last place: about a fifth of torch's vector square roots are off by one there."""
import itertools
import json
import os
import subprocess
import tempfile

import torch
from safetensors.torch import load_file, save_file

from common import GOLDEN, NIBBLE, PICO, SHOP, TOP, Skip, check, json_lines, main, nibble, of_the_day, write_ids

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
             ("cosine_with_restarts", {"num_cycles": 3}), ("constant", {}), ("constant_with_warmup", {}),
             ("cosine_with_min_lr", {"min_lr": 1e-5}), ("cosine_with_min_lr", {"min_lr_rate": 0.1, "num_cycles": 1.5}),
             ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1, "warmup_lr_rate": 0.05}), ("polynomial", {"power": 2, "lr_end": 1e-5}),
             ("inverse_sqrt", {}), ("warmup_stable_decay", {"num_decay_steps": 3, "decay_type": "1-sqrt", "min_lr_ratio": 0.1}),
             ("warmup_stable_decay", {"num_decay_steps": 2, "num_stable_steps": 1, "warmup_type": "cosine"})]
    warmups = ((0, 0), (3, 0), (0, 0.05), (3, 0.5), (0, 1))
    for (name, arguments), steps, (warmup, ratio) in of_the_day(itertools.product(cases, (1, 7, 100), warmups), 35):
        theirs = TrainingArguments(warmup_steps=warmup, warmup_ratio=ratio, use_cpu=True, report_to="none").get_warmup_steps(steps)
        if name == "polynomial" and theirs >= steps:
            continue  # theirs divides by 0 after the last step
        more = [f"lr_scheduler_kwargs={json.dumps(arguments)}"] if arguments else []
        got = dump("schedule", steps, "learning_rate=3e-4", f"lr_scheduler_type={name}", f"warmup_steps={warmup}",
                   f"warmup_ratio={ratio}", *more).split()
        want = rates(name, steps, theirs, arguments)
        check([float(x) for x in got] == want, f"{name} {arguments} of {steps} steps, warm-up {warmup} {ratio}: {got}, transformers has {want}")


def schedule_arguments():
    for name, arguments, says in [("linear", "num_cycles=2", "linear has no 'num_cycles'"), ("cosine", "{num_waves: 2}", "has no 'num_waves'"),
                                  ("constant", "num_cycles=2", "constant has no"), ("cosine", "num_cycles=-1", "num_cycles is -1")]:
        message = dump("schedule", 5, "warmup_steps=0", "warmup_ratio=0", f"lr_scheduler_type={name}",
                       f"lr_scheduler_kwargs={arguments}", fails=True)
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


# --- the program ---

def check_run(what, steps, make, schedule, arguments, warmup, *more):
    """`nibble finetune` from an adapter of rank 48, whose matrices are large enough for codes, and the same with the libraries."""
    import reference_training as reference
    with tempfile.TemporaryDirectory(dir=os.path.join(TOP, "build")) as work:
        model, tokenizer = reference.load(PICO)
        model = reference.lora(model, 48, 48, seed=3, name="pico")
        reference.save_adapter(model, f"{work}/adapter")
        want = reference.train(model, tokenizer, SHOP, seed=5, batch=4, steps=steps, learning_rate=1e-3, warmup_steps=warmup, max_grad_norm=1.0,
                               padded=True, make_optimizer=make, schedule=schedule, schedule_arguments=arguments)
        kwargs = ["--lr-scheduler-kwargs", ",".join(f"{k}={v}" for k, v in arguments.items())] if arguments else []
        got = [line for line in json_lines(nibble(
            "finetune", PICO, "--data", SHOP, "--output-dir", f"{work}/out", "--adapter", f"{work}/adapter", "--compute-dtype", "float32",
            "--per-device-train-batch-size", 4, "--max-steps", steps, "--seed", 5, "--learning-rate", 1e-3, "--warmup-steps", warmup,
            "--lr-scheduler-type", schedule, "--json", *kwargs, *more)) if "grad_norm" in line]
        states = load_file(f"{work}/out/checkpoint-{steps}/optimizer.safetensors")
    check(len(got) == steps, f"{what}: {len(got)} steps")
    for g, w in zip(got, want):
        check(g["learning_rate"] == w["learning_rate"], f"{what}: step {w['step']}: learning_rate {g['learning_rate']}, expected {w['learning_rate']}")
        check(abs(g["loss"] - w["loss"]) <= 2e-3, f"{what}: step {w['step']}: loss {g['loss']}, expected {w['loss']}")
        check(abs(g["grad_norm"] - w["grad_norm"]) <= 2e-2 * w["grad_norm"], f"{what}: step {w['step']}: grad_norm {g['grad_norm']}, expected {w['grad_norm']}")
    check(want[-1]["loss"] < want[0]["loss"] - 0.05, f"{what}: the loss went from {want[0]['loss']} to {want[-1]['loss']}")
    return states


def whole_runs():
    import bitsandbytes as bnb
    from peft.optimizers import create_loraplus_optimizer

    def eight_bit(model):
        return bnb.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, optim_bits=8)

    def loraplus(model):
        return create_loraplus_optimizer(model, bnb.optim.PagedAdamW32bit, lr=1e-3, loraplus_lr_ratio=4, loraplus_weight_decay=0.1)

    states = check_run("8-bit", 12, eight_bit, "cosine_with_restarts", {"num_cycles": 2}, 3, "--optim", "paged_adamw_8bit", "--weight-decay", 0.05)
    check(any(t.dtype == torch.uint8 for t in states.values()), "no codes")
    check_run("LoRA+", 12, loraplus, "cosine", None, 2, "--optim", "paged_adamw_32bit", "--loraplus-lr-ratio", 4, "--loraplus-weight-decay", 0.1)


# --- more states than memory ---

def control_group(limit):
    """A memory group for a child process, and the file its id goes to."""
    own = next((line.split(":", 2)[2].strip() for line in open("/proc/self/cgroup") if ":memory:" in line), None)
    path = f"/sys/fs/cgroup/{f'memory{own}/' if own else ''}nibble-test-{os.getpid()}"
    try:
        os.mkdir(path)
    except OSError as e:
        raise Skip(f"no memory cgroup can be made here: {e.strerror}")
    settings = [("memory.limit_in_bytes", limit), ("memory.memsw.limit_in_bytes", limit)] if own else [("memory.max", limit), ("memory.swap.max", 0)]
    try:
        for i, (name, value) in enumerate(settings):
            if i == 0 or os.path.exists(f"{path}/{name}"):  # the second is not everywhere
                with open(f"{path}/{name}", "w") as f:
                    f.write(str(value))
    except OSError as e:
        os.rmdir(path)
        raise Skip(f"no memory cgroup can be made here: {e.strerror}")
    return path


def run_within(group, command):
    def enter():
        with open(f"{group}/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, preexec_fn=enter)


def more_states_than_memory():
    """32 MiB of memory beyond the plan, more than 100 MiB of states: in memory the plan refuses them (it sees the group's limit), in a file they do."""
    with tempfile.TemporaryDirectory(dir=os.path.join(TOP, "build")) as work:
        write_ids(f"{work}/data.jsonl", [(list(range(1, 20)),) * 2] * 4)
        arguments = ["finetune", os.path.join(GOLDEN, "models", "llama"), "--data", f"{work}/data.jsonl", "--defaults", "peft", "--compute-dtype", "float32", "--r", "10000",
                     "--target-modules", "all-linear", "--max-steps", "3", "--save-steps", "0", "--per-device-train-batch-size", "1", "--json"]
        plan = json_lines(nibble(*arguments, "--optim", "paged_adamw_32bit", "--dry-run"))[-1]
        check(plan["paged"] > 100 << 20, f"{plan['paged']} bytes of states")
        group = control_group(plan["planned_memory_bytes"] + (32 << 20))
        try:
            done = {optim: run_within(group, [NIBBLE, *arguments, "--optim", optim, "--output-dir", f"{work}/{optim}"])
                    for optim in ("adamw_torch", "paged_adamw_32bit")}
        finally:
            os.rmdir(group)
        if done["adamw_torch"].returncode == 0:
            raise Skip("the memory cgroup that was made does not limit a program")
        said = done["adamw_torch"].stderr.decode(errors="replace")
        check(done["adamw_torch"].returncode == 1 and "the plan needs" in said, f"states in memory: exit {done['adamw_torch'].returncode}: {said[-500:]}")
        check(done["paged_adamw_32bit"].returncode == 0, f"states in a file: exit {done['paged_adamw_32bit'].returncode}: "
              f"{done['paged_adamw_32bit'].stderr.decode(errors='replace')[-1000:]}")
        check(len(json_lines(done["paged_adamw_32bit"].stdout.decode())) >= 4, "not three steps and an end")


if __name__ == "__main__":
    main([("schedules equal transformers'", schedules), ("schedule arguments", schedule_arguments), ("groups are the Trainer's and PEFT's", groups),
          ("loraplus and optim refusals", loraplus_refusals), ("ten steps of each optimizer", optimizers),
          ("whole runs equal the libraries'", whole_runs), ("more states than memory", more_states_than_memory)])
