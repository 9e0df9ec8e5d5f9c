"""A hundred steps of a BERT classifier, with LoRA and whole, against PEFT and transformers' Trainer.  Without dropout the loss
is the same at every step.  With dropout the masks differ, so accuracies of five seeds are compared:
    python tests/interop/test_classify_steps.py seeds
trains ten of each (some minutes) and prints means, standard errors and their difference; docs/conventions.md has what it printed."""
import json
import math
import os
import random
import sys
import tempfile

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

from common import GOLDEN, TOP, check, json_lines, main, nibble

WORDS = os.path.join(GOLDEN, "pairs", "4.json")
KINDS = ["buying", "delivery", "events", "hours", "payment", "rental", "repair", "returns", "shop"]
STEPS, BATCH, LIMIT, PAD = 100, 8, 24, 275


def make_base(directory, dropout, width=32):
    torch.manual_seed(5)
    config = BertConfig(vocab_size=276, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=2,
                        max_position_embeddings=32, pad_token_id=PAD, initializer_range=0.15, num_labels=len(KINDS),
                        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
                        id2label=dict(enumerate(KINDS)), label2id={k: i for i, k in enumerate(KINDS)})
    BertForSequenceClassification(config).save_pretrained(directory)
    Tokenizer.from_file(WORDS).save(os.path.join(directory, "tokenizer.json"))


def records(name):
    tokenizer = Tokenizer.from_file(WORDS)
    tokenizer.enable_truncation(LIMIT)
    rows = [json.loads(line) for line in open(os.path.join(TOP, "models", name))]
    return [dict(input_ids=tokenizer.encode(r["text"]).ids, labels=KINDS.index(r["label"])) for r in rows]


def collate(rows):
    longest = max(len(r["input_ids"]) for r in rows)
    ids = torch.tensor([r["input_ids"] + [PAD] * (longest - len(r["input_ids"])) for r in rows])
    return dict(input_ids=ids, attention_mask=(ids != PAD).long(), labels=torch.tensor([r["labels"] for r in rows]))


def load(base, lora, begin=None):
    model = BertForSequenceClassification.from_pretrained(base, attn_implementation="eager")
    if not lora:
        return model
    model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, lora_dropout=0.0))
    if begin:
        torch.manual_seed(9)
        with torch.no_grad():
            for n, p in model.named_parameters():
                if "lora_" in n:
                    p.copy_(torch.randn(p.shape) * 0.1)
        model.save_pretrained(begin)
    return model


def arguments(out, rate, seed, steps):
    return TrainingArguments(out, per_device_train_batch_size=BATCH, max_steps=steps, learning_rate=rate, seed=seed, logging_steps=1,
                             report_to=[], save_strategy="no", log_level="error", use_cpu=True, disable_tqdm=True, dataloader_num_workers=0)


def trainer_run(model, out, rate, seed=42, steps=STEPS):
    set_seed(seed)
    trainer = Trainer(model, arguments(out, rate, seed, steps), train_dataset=records("kinds.jsonl"), data_collator=collate)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def nibble_run(base, out, rate, lora, *more, seed=42, steps=STEPS):
    how = ["--full"] if not lora else []
    lines = json_lines(nibble("finetune", base, "task_type=SEQ_CLS", f"data={TOP}/models/kinds.jsonl", f"output_dir={out}",
                              f"learning_rate={rate}", f"max_steps={steps}", f"per_device_train_batch_size={BATCH}", f"seed={seed}",
                              f"max_seq_length={LIMIT}", "save_strategy=no", "compute_dtype=float32", "--json", *how, *more))
    return [line["loss"] for line in lines if "loss" in line]


def steps(lora):
    rate = 1e-2 if lora else 3e-3
    with tempfile.TemporaryDirectory() as work:
        base, begin = os.path.join(work, "base"), os.path.join(work, "begin")
        make_base(base, 0.0)
        model = load(base, lora, begin)
        got = nibble_run(base, os.path.join(work, "out"), rate, lora, *([f"adapter={begin}"] if lora else []))
        want = trainer_run(model, os.path.join(work, "theirs"), rate)
        check(len(got) == len(want) == STEPS, f"{len(got)} and {len(want)} steps")
        worst = max(range(STEPS), key=lambda i: abs(got[i] - want[i]))
        check(abs(got[worst] - want[worst]) <= 1e-3, f"step {worst + 1}: loss {got[worst]}, the Trainer's {want[worst]}")
        first, last = sum(want[:20]) / 20, sum(want[-20:]) / 20
        check(last < first - 0.1, f"the loss went from {first} to {last}: nothing was learned")


def accuracy(model):
    rows = records("kinds-test.jsonl")
    with torch.no_grad():
        said = model.eval()(**{k: v for k, v in collate(rows).items() if k != "labels"}).logits.argmax(1)
    return sum(int(a) == r["labels"] for a, r in zip(said, rows)) / len(rows)


def seeds(lora, rate):
    """Accuracies on the questions held out, of the Trainer and of nibble, with dropout."""
    both = ([], [])
    with tempfile.TemporaryDirectory() as work:
        base = os.path.join(work, "base")
        make_base(base, 0.1, 64)
        for seed in range(1, 6):
            torch.manual_seed(seed)
            model = load(base, lora)
            trainer_run(model, os.path.join(work, "theirs"), rate, seed, 500)
            both[0].append(accuracy(model))
            out = os.path.join(work, f"out{seed}")
            nibble_run(base, out, rate, lora, *(["r=4", "lora_alpha=8"] if lora else []), seed=seed, steps=500)
            where = [base, "--adapter", out] if lora else [out]
            text = nibble("evaluate", *where, "--data", f"{TOP}/models/kinds-test.jsonl", "--max-seq-length", LIMIT, "--json")
            both[1].append(json_lines(text)[0]["accuracy"])
    means = [sum(x) / 5 for x in both]
    errors = [math.sqrt(sum((v - m) ** 2 for v in x) / 4 / 5) for x, m in zip(both, means)]
    both_error = math.hypot(*errors)
    print(f"{'LoRA' if lora else 'full'}: Trainer {both[0]} mean {means[0]:.3f} +- {errors[0]:.3f}, "
          f"nibble {both[1]} mean {means[1]:.3f} +- {errors[1]:.3f}, difference {means[1] - means[0]:+.3f}, two errors {2 * both_error:.3f}",
          flush=True)
    check(abs(means[1] - means[0]) <= 2 * both_error, "they differ")


if __name__ == "__main__":
    random.seed(1)
    if sys.argv[1:] == ["seeds"]:
        del sys.argv[1]
        main([("five seeds, LoRA", lambda: seeds(True, 5e-3)), ("five seeds, full", lambda: seeds(False, 5e-4))])
    main([("a hundred steps, LoRA", lambda: steps(True)), ("a hundred steps, full", lambda: steps(False))])
