"""Ten steps of bitsandbytes' AdamW with 8-bit states, and transformers' learning rates: tests/golden/train/adamw8.safetensors
and tests/golden/train/schedules.txt.  Values and gradients follow from a generator of 32 bits that tests/train/test_optimizer.c
has too, so that only results are stored."""
import itertools
import os

import bitsandbytes
import torch
from safetensors.torch import save_file
from transformers import get_inverse_sqrt_schedule, get_scheduler

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "train")
COUNT, STEPS = 4096 + 300, 10
state = 12345


def numbers(scaled):
    """In [-1, 1); scaled: by powers of two that differ from place to place, every eleventh is 0, and block 3 too."""
    global state
    out = []
    for i in range(COUNT):
        state = (state * 1664525 + 1013904223) % 2**32
        x = (state >> 8) * 2.0**-23 - 1
        if scaled:
            x = 0.0 if i % 11 == 0 or i // 256 == 3 else x * 2.0 ** -(i % 13)
        out.append(x)
    return torch.tensor(out, dtype=torch.float32)


def adamw8():
    p = torch.nn.Parameter(numbers(False))
    optimizer = bitsandbytes.optim.AdamW([p], lr=0.01, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1, optim_bits=8)
    for _ in range(STEPS):
        p.grad = numbers(True)
        optimizer.step()
    s = optimizer.state[p]
    return {"value": p.detach(), **{k: s[k] for k in ("state1", "state2", "absmax1", "absmax2", "qmap1", "qmap2")}}


LEARNING_RATE = 3e-4
SCHEDULES = [
    ("linear", {}), ("cosine", {}), ("cosine", {"num_cycles": 1.25}), ("cosine_with_restarts", {}),
    ("cosine_with_restarts", {"num_cycles": 3}), ("constant", {}), ("constant_with_warmup", {}),
    ("cosine_with_min_lr", {"min_lr": 1e-5}), ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
    ("cosine_with_min_lr", {"min_lr_rate": 0.3, "num_cycles": 1.5}),
    ("cosine_warmup_with_min_lr", {"min_lr": 1e-5}), ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.2, "warmup_lr_rate": 0.05}),
    ("polynomial", {}), ("polynomial", {"power": 2, "lr_end": 1e-5}), ("polynomial", {"power": 0.7, "lr_end": 0}),
    ("inverse_sqrt", {}), ("inverse_sqrt", {"timescale": 3}),
    ("warmup_stable_decay", {"num_decay_steps": 3}),
    ("warmup_stable_decay", {"num_decay_steps": 3, "num_stable_steps": 2, "min_lr_ratio": 0.1, "num_cycles": 0.3}),
    ("warmup_stable_decay", {"num_decay_steps": 4, "warmup_type": "cosine", "decay_type": "linear", "min_lr_ratio": 0.1}),
    ("warmup_stable_decay", {"num_decay_steps": 5, "warmup_type": "1-sqrt", "decay_type": "1-sqrt"}),
]


def schedules():
    """A line each: name, steps, warm-up, its arguments ("-": none), then the factors as hexadecimal doubles."""
    for (name, arguments), (steps, warmup) in itertools.product(SCHEDULES, [(1, 0), (9, 0), (11, 4), (5, 7)]):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LEARNING_RATE)
        if name == "inverse_sqrt":  # get_scheduler() drops its argument
            schedule = get_inverse_sqrt_schedule(optimizer, warmup, **arguments)
        else:
            schedule = get_scheduler(name, optimizer, warmup, steps, scheduler_specific_kwargs=arguments)
        factors = [float(schedule.lr_lambdas[0](t)).hex() for t in range(steps)]
        given = ",".join(f"{k}={v!r}".replace("'", "") for k, v in arguments.items())
        yield " ".join([name, str(steps), str(warmup), given or "-", *factors])


if __name__ == "__main__":
    save_file(adamw8(), os.path.join(HERE, "adamw8.safetensors"))
    with open(os.path.join(HERE, "schedules.txt"), "w") as f:
        f.write("\n".join(schedules()) + "\n")
