"""Fifty steps of `nibble finetune` from the same adapter, in the same order, against PEFT and torch's
AdamW: tests/golden/train (made by tests/golden/make/train_pico.py)."""
import json
import os
import tempfile

from common import GOLDEN, PICO, SHOP, check, json_lines, main, nibble

TRAIN = os.path.join(GOLDEN, "train")


def curve(batch=None, accumulation=1):
    stored = json.load(open(os.path.join(TRAIN, "steps.json")))
    s, want = stored["settings"], stored["steps"]
    with tempfile.TemporaryDirectory() as work:
        lines = json_lines(nibble(
            "finetune", PICO, "--data", SHOP, "--output-dir", os.path.join(work, "out"),
            "--adapter", os.path.join(TRAIN, "adapter"), "--compute-dtype", "float32",
            "--per-device-train-batch-size", batch or s["batch"],
            "--gradient-accumulation-steps", accumulation, "--max-steps", s["steps"], "--seed", s["seed"],
            "--learning-rate", s["learning_rate"], "--warmup-steps", s["warmup_steps"],
            "--lr-scheduler-type", "linear", "--max-grad-norm", s["max_grad_norm"], "--json"))
    got = [line for line in lines if "step" in line and "grad_norm" in line]
    check(len(got) == len(want), f"{len(got)} steps reported, expected {len(want)}")
    for g, w in zip(got, want):
        check(g["step"] == w["step"], f"step {g['step']} expected {w['step']}")
        check(abs(g["loss"] - w["loss"]) <= 1e-3, f"step {w['step']}: loss {g['loss']}, expected {w['loss']}")
        check(abs(g["grad_norm"] - w["grad_norm"]) <= 5e-3 * w["grad_norm"],
              f"step {w['step']}: grad_norm {g['grad_norm']}, expected {w['grad_norm']}")
        check(abs(g["learning_rate"] - w["learning_rate"]) <= 1e-9,
              f"step {w['step']}: learning_rate {g['learning_rate']}, expected {w['learning_rate']}")


if __name__ == "__main__":
    main([("fifty steps equal PEFT's", curve),
          ("fifty steps with batches of 4 and 2 accumulated equal PEFT's",
           lambda: curve(4, 2))])
