#!/usr/bin/env python3
"""grid.py - the experiments of docs/defaults.md: adapters trained with several settings on three data sets and
two models, each judged by its loss on held-out records and by its answers to them.

    python bench/defaults/grid.py --nibble build/nibble --work DIR --model pico=models/pico --stage sweep
    python bench/defaults/grid.py --work DIR --table

A run is finetune without checkpoints and then evaluate --generate, both on the model in NF4 with double
quantization.  Results are lines of DIR/results.jsonl; what stands there is not run again, so an interrupted grid
continues.  Every setting but those of the config "none given" is explicit: the table stays true when
defaults change."""
import argparse
import collections
import json
import os
import re
import shutil
import statistics
import subprocess
import sys

import records

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = os.path.join(HERE, "..", "..", "models")
TEMPLATES = ["--prompt-template", "Message: {message}\\nOrder:", "--completion-template", " {order}"]

LIBRARIES = {"r": 8, "lora_alpha": 8, "per_device_train_batch_size": 8, "learning_rate": 2e-4,
             "lr_scheduler_type": "linear", "warmup_ratio": 0}  # target_modules: the family's, q_proj and v_proj
TEACH = {"target_modules": "all-linear", "r": 16, "lora_alpha": 32, "per_device_train_batch_size": 4,
         "learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_ratio": 0.05}


def teach(**changed):
    return {**TEACH, **changed}


CONFIGS = {
    "libraries": LIBRARIES,
    "lr 2e-4": teach(learning_rate=2e-4),
    "lr 5e-4": teach(learning_rate=5e-4),
    "lr 1e-3": teach(),
    "lr 2e-3": teach(learning_rate=2e-3),
    "lr 5e-3": teach(learning_rate=5e-3),
    "lr 1e-2": teach(learning_rate=1e-2),
    "none given": {},
}
# One setting changed, at the rate that is best for the model.
ABLATIONS = {"q and v": {"target_modules": "q_proj,v_proj"}, "r 8 and alpha 16": {"r": 8, "lora_alpha": 16}, "alpha 16": {"lora_alpha": 16},
             "batch 2": {"per_device_train_batch_size": 2}, "batch 8": {"per_device_train_batch_size": 8},
             "linear": {"lr_scheduler_type": "linear"}, "no warm-up": {"warmup_ratio": 0}, "warm-up .1": {"warmup_ratio": 0.1}}
RATES = ["lr 2e-4", "lr 5e-4", "lr 1e-3", "lr 2e-3", "lr 5e-3", "lr 1e-2"]


def data_sets(work):
    return {"shop": (os.path.join(MODELS, "shop.jsonl"), os.path.join(MODELS, "shop-test.jsonl"), []),
            "chats": (f"{work}/chats.jsonl", f"{work}/chats-test.jsonl", []),
            "orders": (f"{work}/orders.jsonl", f"{work}/orders-test.jsonl", TEMPLATES)}


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--nibble", default="build/nibble")
    p.add_argument("--work", required=True)
    p.add_argument("--model", help="NAME=DIR")
    p.add_argument("--configs", default="libraries,lr 1e-3", help="comma list; known: " + ", ".join([*CONFIGS, *ABLATIONS]))
    p.add_argument("--rate", default="1e-3", help="the learning rate of the configs with one setting changed")
    p.add_argument("--data", default="shop,chats,orders")
    p.add_argument("--seeds", default="1", help="1,2,3")
    p.add_argument("--threads", default="1")
    p.add_argument("--table", action="store_true", help="print the results as Markdown and stop")
    return p.parse_args()


def run(args):
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(str(a) for a in args)}\nexit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def losses(lines):
    """The last losses of a run's JSON lines."""
    found = {}
    for line in lines.splitlines():
        for key, value in json.loads(line).items():
            if key in ("train_loss", "eval_loss", "train_runtime"):
                found[key] = value
    return found


def experiment(o, model, data, config, values, seed):
    train, test, form = data_sets(o.work)[data]
    out = f"{o.work}/out-{os.getpid()}"
    given = [f"{k}={v}" for k, v in values.items()]
    shutil.rmtree(out, ignore_errors=True)
    lines = run([o.nibble, "finetune", model, "--data", train, "--eval-data", test, "--output-dir", out, *form, "--eval-strategy",
                 "steps", "--eval-steps", "0.9999", "--save-strategy", "no", "--logging-steps", "1000", "--seed", seed, "--threads", o.threads, "--json", *given])
    judged = json.loads(run([o.nibble, "evaluate", model, "--generate", "--data", test, *form, "--adapter", f"tuned={out}", "--no-base",
                             "--threads", o.threads, "--json"]))
    shutil.rmtree(out)
    return {**losses(lines), **exact(judged)}


def exact(judged):
    tuned = next(c for c in judged["contestants"] if c["name"] == "tuned")
    return {"records": judged["records"], "exact": round(judged["records"] * tuned["scores"]["exact_match"]["score"])}


def identity(r):
    return r["model"], r["data"], r["config"], r["seed"]


def read(work):
    path = f"{work}/results.jsonl"
    return [json.loads(line) for line in open(path, encoding="utf-8")] if os.path.exists(path) else []


def grid(o):
    name, directory = o.model.split("=", 1)
    quantized = f"{o.work}/{name}-nf4"
    os.makedirs(o.work, exist_ok=True)
    if not os.path.exists(f"{o.work}/chats.jsonl"):
        records.make(o.work)
    if not os.path.exists(quantized):
        run([o.nibble, "quantize", directory, quantized, "--load-in-4bit", "--bnb-4bit-use-double-quant"])
    there = {identity(r) for r in read(o.work)}
    for seed in o.seeds.split(","):
        for config in o.configs.split(","):
            values = CONFIGS[config] if config in CONFIGS else teach(learning_rate=o.rate, **ABLATIONS[config])
            for data in o.data.split(","):
                r = {"model": name, "data": data, "config": config, "seed": int(seed)}
                if identity(r) in there:
                    continue
                r.update(experiment(o, quantized, data, config, values, seed))
                with open(f"{o.work}/results.jsonl", "a", encoding="utf-8") as f:
                    f.write(json.dumps(r) + "\n")
                print(json.dumps(r), flush=True)


def table(o):
    cells = collections.defaultdict(list)
    for r in read(o.work):
        cells[r["model"], r["config"], r["data"]].append(r)
    names = ["shop", "chats", "orders"]
    print("| model | settings | seeds | " + " | ".join(names) + " |\n|---|---|---|" + "---|" * len(names))
    order = [*CONFIGS, *ABLATIONS]
    for model, config in sorted({(m, c) for m, c, _ in cells}, key=lambda k: (k[0], order.index(k[1]))):
        row, seeds = [], set()
        for data in names:
            c = cells[model, config, data]
            seeds.add(len(c))
            if not c:
                row.append("")
                continue
            loss = statistics.mean(r["eval_loss"] for r in c)
            right = [r["exact"] for r in c]
            spread = f" ({min(right)} to {max(right)})" if len(c) > 1 else ""
            row.append(re.sub(r"\b0\.", ".", f"{loss:.3f}") + f", {statistics.mean(right):.1f}{spread} of {c[0]['records']}")
        print(f"| {model} | {config} | {max(seeds)} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    asked = options()
    table(asked) if asked.table else grid(asked)
