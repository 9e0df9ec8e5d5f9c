"""A real model, SmolLM2-135M-Instruct: greedy continuations of ten prompts equal transformers' token for
token in float32, and 100 QLoRA steps follow the loss of PEFT + bitsandbytes within 2 %."""
import json
import os
import tempfile

import torch

from common import SHOP, check, json_lines, main, nibble
from reference_training import load, lora, save_adapter, train
from smollm2 import smollm2

NEW_TOKENS = 40
CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in 1987,",
    "def fibonacci(n):\n",
    "Water boils at 100",
    "Überraschung! Die Straße nach",
    "1, 2, 3, 4, 5,",
    CHAT.format("What is a bicycle?"),
    CHAT.format("Write three short rules for safe riding."),
    CHAT.format("Translate to French: good morning, my friends 🙂"),
    CHAT.format("Is 17 a prime number? Answer in one sentence."),
]
STEPS = dict(seed=3, batch=4, steps=100, learning_rate=1e-3, warmup_steps=10, max_grad_norm=1.0)


def greedy():
    directory = smollm2()
    model, tokenizer = load(directory)
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "prompts.jsonl")
        with open(path, "w", encoding="utf-8") as f:
            for p in PROMPTS:
                f.write(json.dumps({"prompt": p}) + "\n")
        answers = json_lines(nibble("generate", directory, "--prompts", path, "--max-new-tokens", NEW_TOKENS,
                                    "--do-sample", "false", "--compute-dtype", "float32"))
    check(len(answers) == len(PROMPTS), f"{len(answers)} answers to {len(PROMPTS)} prompts")
    for prompt, answer in zip(PROMPTS, answers):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW_TOKENS,
                                 pad_token_id=tokenizer.eos_token_id, output_logits=True, return_dict_in_generate=True)
        new = out.sequences[0, ids.shape[1]:]
        got = answer["completion"]

        def text(n):
            return tokenizer.decode(new[:n], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if got == text(len(new)):
            continue
        # They part at some token: fine if its two best logits are as good as equal.
        same = max(n for n in range(len(new)) if got.startswith(text(n).rstrip("\ufffd")))
        best = out.logits[same][0].topk(2).values
        check(float(best[0] - best[1]) < 1e-4, f"{prompt!r}: {got!r}, expected {text(len(new))!r}")


def training():
    directory = smollm2()
    model, tokenizer = load(directory, nf4=True)
    model = lora(model, 8, 16, seed=11, name="HuggingFaceTB/SmolLM2-135M-Instruct")
    with tempfile.TemporaryDirectory() as work:
        start = os.path.join(work, "start")
        save_adapter(model, start)
        want = train(model, tokenizer, SHOP, padded=True, **STEPS)
        del model
        lines = json_lines(nibble(
            "finetune", directory, "--data", SHOP, "--output-dir", os.path.join(work, "out"), "--adapter", start,
            "--load-in-4bit", "--bnb-4bit-quant-type", "nf4", "--compute-dtype", "float32",
            "--per-device-train-batch-size", STEPS["batch"], "--max-steps", STEPS["steps"], "--seed", STEPS["seed"],
            "--learning-rate", STEPS["learning_rate"], "--warmup-steps", STEPS["warmup_steps"],
            "--lr-scheduler-type", "linear", "--max-grad-norm", STEPS["max_grad_norm"], "--json"))
    got = [line for line in lines if "step" in line and "grad_norm" in line]
    check(len(got) == len(want), f"{len(got)} steps reported, expected {len(want)}")
    for g, w in zip(got, want):
        check(abs(g["loss"] - w["loss"]) <= 0.02 * w["loss"], f"step {w['step']}: loss {g['loss']}, expected {w['loss']}")
    print(f"  loss {want[0]['loss']:.3f} -> {want[-1]['loss']:.3f}, "
          f"greatest difference {max(abs(g['loss'] - w['loss']) / w['loss'] for g, w in zip(got, want)):.2%}")


if __name__ == "__main__":
    main([("SmolLM2: greedy continuations equal transformers'", greedy),
          ("SmolLM2: 100 QLoRA steps within 2 % of PEFT + bitsandbytes", training)])
