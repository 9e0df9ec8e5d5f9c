"""Twenty steps of QLoRA on NF4 follow the loss of PEFT + bitsandbytes within 1 %, for families of different kinds: norms of
heads, windows and scaled embeddings, fused projections, experts, convolutions, a delta rule, state spaces.  Random models in
the second shape (second_shapes.py), which learn sequences where each token follows from the one before; two a day, --all
for all."""
import os
import tempfile

import torch

from common import WithTransformers5, check, json_lines, main, nibble, of_the_day, write_ids
from models import VARIANTS, generator, text_targets, write_model
from reference_training import load_model, lora, save_adapter, train
from second_shapes import VOCABULARY, shape

FAMILIES = ["qwen3", "gemma3", "gpt-neox", "qwen3-moe", "lfm2", "granite-hybrid", "qwen3-5"]
STEPS = dict(seed=3, batch=4, steps=20, learning_rate=1e-2, warmup_steps=4, max_grad_norm=1.0)


def sequences():
    out = []
    for i in range(24):
        ids = [7 * i % VOCABULARY]
        while len(ids) < 20 + i:
            ids.append((3 * ids[-1] + 1) % VOCABULARY)
        out.append((torch.tensor(ids), torch.tensor([-100] * (i % 5) + ids[i % 5:])))
    return out


def steps(name):
    data = sequences()
    with tempfile.TemporaryDirectory() as work:
        directory, start, path, out = (os.path.join(work, x) for x in ("model", "start", "data.jsonl", "out"))
        write_model(directory, *shape(name), generator(name))
        write_ids(path, data)
        model = load_model(directory, nf4=True)
        packed = sum(type(m).__name__ == "Linear4bit" for m in model.modules())
        check(packed > 4, f"{packed} linears in 4 bits: an idle test")
        model = lora(model, 8, 16, seed=11, name=f"nibble/{name}", targets=text_targets(model))
        save_adapter(model, start)
        want = train(model, None, data, **STEPS)
        lines = json_lines(nibble(
            "finetune", directory, "--data", path, "--output-dir", out, "--adapter", start, "--load-in-4bit",
            "--bnb-4bit-quant-type", "nf4", "--compute-dtype", "float32", "--per-device-train-batch-size", STEPS["batch"],
            "--max-steps", STEPS["steps"], "--seed", STEPS["seed"], "--learning-rate", STEPS["learning_rate"],
            "--warmup-steps", STEPS["warmup_steps"], "--max-grad-norm", STEPS["max_grad_norm"], "--json"))
    got = [line for line in lines if "step" in line and "grad_norm" in line]
    check(len(got) == len(want), f"{len(got)} steps reported, expected {len(want)}")
    for g, w in zip(got, want):
        check(abs(g["loss"] - w["loss"]) <= 0.01 * w["loss"], f"step {w['step']}: loss {g['loss']}, expected {w['loss']}")
    check(want[-1]["loss"] < 0.9 * want[0]["loss"], f"nothing learnt: {want[0]['loss']} to {want[-1]['loss']}")
    print(f"  loss {want[0]['loss']:.3f} -> {want[-1]['loss']:.3f}, "
          f"greatest difference {max(abs(g['loss'] - w['loss']) / w['loss'] for g, w in zip(got, want)):.3%}")


def title(name):
    return f"{name}: 20 QLoRA steps within 1 % of PEFT + bitsandbytes"


if __name__ == "__main__":
    chosen = of_the_day(FAMILIES, 2)
    elsewhere = WithTransformers5(__file__, [title(n) for n in chosen if n not in VARIANTS])
    main([(title(n), lambda n=n: steps(n) if n in VARIANTS else elsewhere.case(title(n))) for n in chosen])
