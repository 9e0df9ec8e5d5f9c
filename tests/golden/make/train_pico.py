"""Makes tests/golden/train/: fifty steps of PEFT + torch AdamW on models/pico with models/shop.jsonl.

Run from the top of the repository, in an environment with tests/requirements.txt:
    python tests/golden/make/train_pico.py
Writes adapter/ (PEFT's form, as it was before the first step: A random, B zero) and steps.json: the
settings and each step's loss, grad_norm (before clipping) and learning_rate.  All in float32, eager
attention, records run one by one, so that no padding plays a part."""
import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "interop"))

from reference_training import load, lora, save_adapter, train  # noqa: E402

OUT = os.path.join("tests", "golden", "train")
SETTINGS = dict(r=8, lora_alpha=16, seed=42, batch=8, steps=50, learning_rate=5e-3, warmup_steps=10, max_grad_norm=1.0)

if __name__ == "__main__":
    model, tokenizer = load("models/pico")
    model = lora(model, SETTINGS["r"], SETTINGS["lora_alpha"], seed=7, name="nibble/pico")
    save_adapter(model, os.path.join(OUT, "adapter"))
    steps = train(model, tokenizer, "models/shop.jsonl", **{k: v for k, v in SETTINGS.items() if k not in ("r", "lora_alpha")})
    with open(os.path.join(OUT, "steps.json"), "w") as f:
        f.write('{"settings": ' + json.dumps(SETTINGS) + ',\n "steps": [\n')
        f.write(",\n".join("  " + json.dumps(s) for s in steps) + "\n]}\n")
    print("loss", steps[0]["loss"], "->", steps[-1]["loss"])
