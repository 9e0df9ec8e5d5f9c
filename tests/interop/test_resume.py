"""Checkpoints as the Python libraries meet them: transformers reads trainer_state.json, whose keys are those
of a run of the real Trainer; PEFT loads every checkpoint's adapter; optimizer.safetensors opens."""
import glob
import json
import os
import tempfile

import torch
from common import check, json_lines, main, nibble
from runs import MODEL, arguments, data, killed
from safetensors.torch import load_file
from transformers.trainer_callback import TrainerState


def run(work, out, *more):
    nibble(*arguments(work, out, "--max-steps", 12, "--save-steps", 4, "--eval-strategy", "steps", "--eval-steps", 2,
                      "--eval-data", data(os.path.join(work, "eval.jsonl"), 3), "--load-best-model-at-end",
                      "--early-stopping-patience", 9, "--logging-steps", 2, *more))
    return os.path.join(work, out)


def trainer(work):
    """A run of the real Trainer with the same strategies; its last checkpoint."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, EarlyStoppingCallback, Trainer, TrainingArguments
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(MODEL), LoraConfig(r=4, target_modules="all-linear"))
    rows = [{"input_ids": torch.tensor(r["input_ids"]), "labels": torch.tensor(r["labels"])}
            for r in map(json.loads, open(data(os.path.join(work, "data.jsonl"))))]
    args = TrainingArguments(os.path.join(work, "trainer"), max_steps=12, save_steps=4, eval_strategy="steps", eval_steps=2,
                             logging_steps=2, load_best_model_at_end=True, per_device_train_batch_size=1,
                             per_device_eval_batch_size=1, label_names=["labels"], report_to="none",
                             use_cpu=True, disable_tqdm=True, save_total_limit=2, learning_rate=1e-3)
    Trainer(model, args, train_dataset=rows, eval_dataset=rows[:3],
            callbacks=[EarlyStoppingCallback(early_stopping_patience=9)]).train()
    return os.path.join(work, "trainer", "checkpoint-12")


def shape(value):
    """Types and keys of a JSON value; numbers are numbers."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def state():
    with tempfile.TemporaryDirectory() as work:
        ours = os.path.join(run(work, "out"), "checkpoint-12", "trainer_state.json")
        theirs = os.path.join(trainer(work), "trainer_state.json")
        text = open(ours).read()
        got, want = json.loads(text), json.load(open(theirs))
        check(text == json.dumps(got, indent=2, sort_keys=True) + "\n", "not as json.dumps(indent=2, sort_keys=True) writes it")
        check(set(got) == set(want), f"keys on one side only: {sorted(set(got) ^ set(want))}")
        for key in want:
            if key != "log_history":
                check(shape(got[key]) == shape(want[key]), f"{key}: {got[key]!r}, the Trainer writes {want[key]!r}")
        ours_log = [dict(e) for e in got["log_history"]]
        for e in ours_log:
            for own in ("eval_perplexity", "peak_memory_bytes"):  # nibble's own
                e.pop(own, None)
        check([sorted(e) for e in ours_log] == [sorted(e) for e in want["log_history"]], "log_history has other entries: "
              f"{[sorted(e) for e in ours_log]}, the Trainer's are {[sorted(e) for e in want['log_history']]}")
        check([e["step"] for e in ours_log] == [e["step"] for e in want["log_history"]], "other steps")
        check([e["epoch"] for e in ours_log if "loss" in e][-1] > 0, "no epochs")
        loaded = TrainerState.load_from_json(ours)
        check(loaded.global_step == 12 and loaded.best_global_step == got["best_global_step"], "transformers reads other values")


def adapters():
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    with tempfile.TemporaryDirectory() as work:
        out = run(work, "out", "--save-total-limit", 0)
        for folder in sorted(glob.glob(os.path.join(out, "checkpoint-*"))):
            model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(MODEL), folder)
            weights = load_file(os.path.join(folder, "adapter_model.safetensors"))
            states = load_file(os.path.join(folder, "optimizer.safetensors"))
            loaded = {k.replace(".default", ""): v for k, v in model.state_dict().items() if "lora_" in k}
            check(set(loaded) == set(weights), "PEFT loads other tensors")
            check(all(torch.equal(loaded[k], weights[k]) for k in weights), "PEFT loads other values")
            check({k.rsplit(".", 1)[0] for k in states} == set(weights), "states are of other parameters")
            check(all(states[k].shape == weights[k.rsplit(".", 1)[0]].shape for k in states), "states have other shapes")


def evaluations():
    """eval_loss of step N is what evaluating checkpoint-N gives."""
    with tempfile.TemporaryDirectory() as work:
        out = run(work, "out", "--save-total-limit", 0)
        history = json.load(open(os.path.join(out, "trainer_state.json")))["log_history"]
        losses = {e["step"]: e for e in history if "eval_loss" in e}
        check(sorted(losses) == [2, 4, 6, 8, 10, 12], f"evaluations at {sorted(losses)}")
        for step in (4, 8, 12):
            got = json_lines(nibble("evaluate", MODEL, "--adapter", os.path.join(out, f"checkpoint-{step}"), "--load-in-4bit",
                                    "--data", os.path.join(work, "eval.jsonl"), "--compute-dtype", "float32", "--json"))[-1]
            check(got["loss"] == losses[step]["eval_loss"], f"step {step}: {losses[step]['eval_loss']}, evaluate gives {got['loss']}")
            check(got["perplexity"] == losses[step]["eval_perplexity"], f"step {step}: another perplexity")


def killed_and_resumed():
    with tempfile.TemporaryDirectory() as work:
        more = ("--max-steps", 300, "--save-steps", 7, "--report-to", "jsonl", "--save-total-limit", 3)
        nibble(*arguments(work, "whole", *more))
        for lines in (20, 90, 91, 200):
            killed(arguments(work, "out", *more), os.path.join(work, "out", "log.jsonl"), lines)
        nibble(*arguments(work, "out", *more))
        whole, out = (open(os.path.join(work, d, "adapter_model.safetensors"), "rb").read() for d in ("whole", "out"))
        check(whole == out, "other bytes after four kills")
        steps = [json.loads(line)["step"] for line in open(os.path.join(work, "out", "log.jsonl"))]
        check(steps == [*range(1, 301), 300], "log.jsonl holds a step twice or misses one")


if __name__ == "__main__":
    main([("resume_trainer_state", state), ("resume_adapters", adapters), ("resume_evaluations", evaluations),
          ("resume_killed", killed_and_resumed)])
