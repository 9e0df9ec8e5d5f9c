"""Learning rates of torch's ReduceLROnPlateau.

    python tests/golden/make/plateau_golden.py        (torch 2.13)

Writes tests/golden/train/plateau.txt, a line each: the arguments ("mode=max,factor=0.5"; "-": none), then for each of thirty evaluations the
metric and the two groups' rates after it, as hexadecimal doubles."""
import os
import random

import torch

RATES = [3e-4, 7e-5]
CASES = [{}, {"patience": 2}, {"patience": 0, "factor": 0.5}, {"patience": 1, "cooldown": 2}, {"patience": 1, "min_lr": 1e-5},
         {"patience": 0, "factor": 0.3, "eps": 1e-5}, {"patience": 1, "threshold": 0.1}, {"patience": 1, "threshold": 0.05, "threshold_mode": "abs"},
         {"mode": "max", "patience": 2, "factor": 0.7}, {"mode": "max", "patience": 1, "threshold": 0.1, "threshold_mode": "abs"},
         {"patience": 0, "factor": 0}, {"patience": 3, "cooldown": 1, "factor": 0.9}]
rng = random.Random(5)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "train", "plateau.txt"), "w") as f:
    for kwargs in CASES:
        o = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": r} for r in RATES], lr=1)
        s = torch.optim.lr_scheduler.ReduceLROnPlateau(o, **kwargs)
        f.write(",".join(f"{k}={v}" for k, v in kwargs.items()) or "-")
        metric = 2.0
        for _ in range(30):
            metric = abs(metric + rng.choice([-0.2, -0.05, -1e-5, 0, 1e-5, 0.02, 0.1, -0.01]))
            s.step(metric)
            f.write(" " + " ".join(float(x).hex() for x in [metric] + [g["lr"] for g in o.param_groups]))
        f.write("\n")
