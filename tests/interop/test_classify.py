"""Classifiers and finders of answers that nibble writes, opened by transformers and PEFT: merged from PEFT's adapter, quantized, trained
here.  Their answers are nibble's own of the same records."""
import json
import os
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM, AutoModelForQuestionAnswering, AutoModelForSequenceClassification

from common import GOLDEN, check, in_float, json_lines, main, nibble

CLASSIFY = os.path.join(GOLDEN, "classify")
WHOLE = os.path.join(CLASSIFY, "whole")
DATA = os.path.join(CLASSIFY, "class", "train.jsonl")


def open_model(directory, labels=3):
    return in_float(AutoModelForSequenceClassification.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", num_labels=labels).eval())


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


def decoded(model):
    """The model with dense layers in place of 4-bit ones, by their table: with AVX-512 bitsandbytes 0.50.2 decodes matrices
    of 16 columns to other values."""
    for name, layer in list(model.named_modules()):
        if type(layer).__name__ != "Linear4bit":
            continue
        state, codes = layer.weight.quant_state, layer.weight.data.flatten().long()
        values = state.code[torch.stack([codes >> 4, codes & 15], 1).flatten()].float()
        scales = state.absmax.repeat_interleave(state.blocksize)[:values.numel()]
        dense = torch.nn.Linear(layer.in_features, layer.out_features)
        dense.weight.data = (values * scales).view(state.shape)
        dense.bias.data = layer.bias.data.float()
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, dense)
    return model


def quantized(bits):
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "packed")
        nibble("quantize", WHOLE, out, f"--load-in-{bits}bit", *(() if bits == 4 else ("--llm-int8-threshold", "0")))
        model = open_model(out)
        packed = {n for n, m in model.named_modules() if type(m).__name__ in ("Linear4bit", "Linear8bitLt")}
        check(len(packed) == 6 and all(".layer.0." in n for n in packed), f"packed are {sorted(packed)}")
        compare(out, decoded(model), f"{bits} bits", 1e-4 if bits == 4 else 1e-2)


def begun_on_quantized():
    """A classifier on quantized words' weights: PEFT can train its head, which is dense."""
    with tempfile.TemporaryDirectory() as work:
        out = os.path.join(work, "packed")
        nibble("quantize", os.path.join(CLASSIFY, "base"), out, "--load-in-4bit")
        model = get_peft_model(open_model(out), LoraConfig(task_type="SEQ_CLS", r=2, modules_to_save=["pooler"]))
        kinds = {type(m).__name__ for n, m in model.named_modules() if n.endswith(("pooler.dense", "classifier"))}
        check("Linear4bit" not in kinds, f"the head's modules are {kinds}")


def best_of(model, record, tokenizer):
    """The least of a window's logits for no answer, less the best span's, over a question's windows."""
    e = tokenizer.encode(record["question"].lstrip(), record["context"])
    none, best = [], []
    for w in [e] + e.overflowing:
        with torch.no_grad():
            out = model(input_ids=torch.tensor([w.ids]), token_type_ids=torch.tensor([w.type_ids]))
        start, end = out.start_logits[0], out.end_logits[0]
        none.append(float(start[0] + end[0]))
        places = [i for i, s in enumerate(w.sequence_ids) if s == 1]
        best += [float(start[i] + end[k]) for i in places for k in places if i <= k < i + 30]
    return min(none) - max(best)


def answers():
    """An adapter trained here in PEFT, and merged in transformers."""
    questions = os.path.join(GOLDEN, "questions")
    base, data = (os.path.join(questions, name) for name in ("base", "train.jsonl"))
    short = ("--max-seq-length", "24", "--doc-stride", "4")
    tokenizer = Tokenizer.from_file(os.path.join(base, "tokenizer.json"))
    tokenizer.enable_truncation(24, stride=4, strategy="only_second")
    with tempfile.TemporaryDirectory() as work:
        adapter, out = (os.path.join(work, name) for name in ("adapter", "merged"))
        nibble("finetune", base, "--data", data, "--output-dir", adapter, "--max-steps", "4", "--learning-rate", "0.01", "--r", "2",
               "--compute-dtype", "float32", *short)
        nibble("merge", base, "--adapter", adapter, out, "--dtype", "float32")
        opened, info = AutoModelForQuestionAnswering.from_pretrained(out, output_loading_info=True)
        check(not any(info.values()), f"what transformers finds missing or too much: {info}")
        tuned = PeftModel.from_pretrained(AutoModelForQuestionAnswering.from_pretrained(base, dtype=torch.float32), adapter)
        check(set(tuned.peft_config["default"].modules_to_save) == {"qa_outputs"}, "the adapter saves other modules than PEFT")
        lines = json_lines(nibble("predict", out, "--data", data, "--compute-dtype", "float32", *short))
        # PEFT's own forward leaves out the types of the tokens
        for model, what in ((opened.eval(), "merged"), (tuned.eval().base_model, "PEFT")):
            for record, line in zip([json.loads(line) for line in open(data)], lines, strict=True):
                want = best_of(model, record, tokenizer)
                check(abs(line["null_score_diff"] - want) < 1e-3, f"{what}: {line}, expected {want}")


def masked_whole():
    """All of a model for masked words, whose head is the embedding: what is written is complete, and still one matrix."""
    base, data = (os.path.join(CLASSIFY, "masked", name) for name in ("base", "train.jsonl"))
    with tempfile.TemporaryDirectory() as out:
        nibble("finetune", base, "--data", data, "--output-dir", out, "--full", "--max-steps", "4", "--overwrite")
        opened, info = AutoModelForMaskedLM.from_pretrained(out, output_loading_info=True)
        check(not any(info.values()), f"what transformers finds missing or too much: {info}")
        words, head = opened.get_input_embeddings().weight, opened.get_output_embeddings().weight
        before = AutoModelForMaskedLM.from_pretrained(base, dtype=torch.float32)
        check(words is head and not torch.equal(words, before.get_input_embeddings().weight), "the words' matrix is as it was, or two")
        check(not torch.equal(opened.cls.predictions.bias, before.cls.predictions.bias), "the head's bias is as it was")


if __name__ == "__main__":
    main([("merged", lambda: merged(False)), ("merged, of a bare encoder", lambda: merged(True)),
          ("4 bits", lambda: quantized(4)), ("8 bits", lambda: quantized(8)),
          ("begun on 4 bits", begun_on_quantized), ("masked words, whole", masked_whole),
          ("answers in a context", answers)])
