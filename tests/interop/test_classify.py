"""Classifiers that nibble writes, opened by transformers: merged from PEFT's adapter, and quantized.
Their answers are nibble's own of the same records."""
import json
import os
import tempfile

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

from common import GOLDEN, check, json_lines, main, nibble

CLASSIFY = os.path.join(GOLDEN, "classify")
WHOLE = os.path.join(CLASSIFY, "whole")
DATA = os.path.join(CLASSIFY, "class", "train.jsonl")


def open_model(directory, labels=3):
    return AutoModelForSequenceClassification.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", num_labels=labels).eval()


def compare(directory, model, what, limit):
    """Scores of the records in DATA."""
    tokenizer = Tokenizer.from_file(os.path.join(WHOLE, "tokenizer.json"))
    tokenizer.enable_truncation(32)
    lines = json_lines(nibble("predict", directory, "--data", DATA, "--compute-dtype", "float32"))
    records = [json.loads(line) for line in open(DATA)]
    check(len(lines) == len(records), f"{what}: {len(lines)} answers to {len(records)} records")
    for record, line in zip(records, lines):
        e = tokenizer.encode(record["premise"], record["hypothesis"])
        with torch.no_grad():
            z = model(input_ids=torch.tensor([e.ids]), token_type_ids=torch.tensor([e.type_ids])).logits[0].float()
        want = torch.softmax(z, 0)
        got = torch.tensor([line["scores"][model.config.id2label[i]] for i in range(len(want))])
        check((got - want).abs().max() <= limit, f"{what}: scores {got.tolist()}, the library's {want.tolist()}")


def merged(bare):
    """bare: the base's tensors lack the prefix, as an exported encoder's do, and have a pooler."""
    torch.manual_seed(3)
    with tempfile.TemporaryDirectory() as work:
        base, adapter, out = (os.path.join(work, name) for name in ("base", "adapter", "merged"))
        model = open_model(WHOLE)
        (model.bert if bare else model).save_pretrained(base)
        Tokenizer.from_file(os.path.join(WHOLE, "tokenizer.json")).save(os.path.join(base, "tokenizer.json"))
        model = get_peft_model(open_model(base), LoraConfig(task_type="SEQ_CLS", r=2))
        with torch.no_grad():
            for p in model.parameters():
                if p.requires_grad:
                    p.copy_(torch.randn(p.shape) * 0.3)
        model.eval().save_pretrained(adapter)
        nibble("merge", base, "--adapter", adapter, out, "--dtype", "float32")
        opened, info = AutoModelForSequenceClassification.from_pretrained(out, output_loading_info=True)
        check(not any(info.values()), f"what transformers finds missing or too much: {info}")
        compare(out, opened.eval(), "merged", 1e-5)
        compare(out, model.merge_and_unload(), "merged, against PEFT", 1e-5)


def quantized(bits):
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "packed")
        nibble("quantize", WHOLE, out, f"--load-in-{bits}bit", *(() if bits == 4 else ("--llm-int8-threshold", "0")))
        model = open_model(out)
        packed = {n for n, m in model.named_modules() if type(m).__name__ in ("Linear4bit", "Linear8bitLt")}
        check(len(packed) == 6 and all(".layer.0." in n for n in packed), f"packed are {sorted(packed)}")
        compare(out, model, f"{bits} bits", 1e-4 if bits == 4 else 1e-2)


def begun_on_quantized():
    """A classifier on quantized words' weights: PEFT can train its head, which is dense."""
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "packed")
        nibble("quantize", os.path.join(CLASSIFY, "base"), out, "--load-in-4bit")
        model = get_peft_model(open_model(out), LoraConfig(task_type="SEQ_CLS", r=2, modules_to_save=["pooler"]))
        kinds = {type(m).__name__ for n, m in model.named_modules() if n.endswith(("pooler.dense", "classifier"))}
        check("Linear4bit" not in kinds, f"the head's modules are {kinds}")


if __name__ == "__main__":
    main([("merged", lambda: merged(False)), ("merged, of a bare encoder", lambda: merged(True)),
          ("4 bits", lambda: quantized(4)), ("8 bits", lambda: quantized(8)),
          ("begun on 4 bits", begun_on_quantized)])
