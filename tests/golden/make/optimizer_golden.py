"""Ten steps of bitsandbytes' AdamW with 8-bit states, and transformers' learning rates: tests/golden/train/adamw8.safetensors
and tests/golden/train/schedules.txt.  Values and gradients follow from a generator of 32 bits that tests/train/test_optimizer.c
has too, so that only results are stored."""
import itertools
import os

import bitsandbytes
import torch
from safetensors.torch import save_file
from transformers import get_scheduler

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


def schedules():
    """A line each: name, steps, warm-up, num_cycles (0: not given), then the factors as hexadecimal doubles."""
    for (name, cycles), (steps, warmup) in itertools.product(
            [("linear", 0), ("cosine", 0), ("cosine", 1.25), ("cosine_with_restarts", 0), ("cosine_with_restarts", 3), ("constant", 0),
             ("constant_with_warmup", 0)], [(1, 0), (9, 0), (11, 4), (5, 7)]):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        more = {"scheduler_specific_kwargs": {"num_cycles": cycles}} if cycles else {}
        schedule = get_scheduler(name, optimizer, warmup, steps, **more)
        factors = []
        for _ in range(steps):
            factors.append(float(schedule.get_last_lr()[0]).hex())
            optimizer.step()
            schedule.step()
        yield " ".join([name, str(steps), str(warmup), str(cycles), *factors])


if __name__ == "__main__":
    save_file(adamw8(), os.path.join(HERE, "adamw8.safetensors"))
    with open(os.path.join(HERE, "schedules.txt"), "w") as f:
        f.write("\n".join(schedules()) + "\n")
