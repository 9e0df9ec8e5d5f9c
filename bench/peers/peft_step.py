"""peft_step.py - the QLoRA step of transformers, PEFT and bitsandbytes on one batch, timed step by step.

    python peft_step.py MODEL DATA --batch N --steps N --compute float32 [--checkpointing] [--threads N]

MODEL is a bitsandbytes NF4 directory, DATA jsonl of {input_ids, labels}.  The batch is padded to its
longest record; a step is forward, backward, clipping, AdamW.  Prints one JSON object a step.

--compute: float32; bfloat16 (model, activations and 4-bit products); autocast (float32 model, products
under torch.autocast, which is what TrainingArguments' bf16 does)."""
import argparse
import contextlib
import json
import time

import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging


def load(o):
    kind = torch.float32 if o.compute == "float32" else torch.bfloat16
    config = AutoConfig.from_pretrained(o.model)
    config.quantization_config["bnb_4bit_compute_dtype"] = str(kind).removeprefix("torch.")
    config.use_cache = False
    model = AutoModelForCausalLM.from_pretrained(
        o.model, config=config, dtype=torch.bfloat16 if o.compute == "bfloat16" else torch.float32)
    if o.checkpointing or o.compute != "bfloat16":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=o.checkpointing)
    torch.manual_seed(1)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=16, target_modules="all-linear"))
    return model.train()


def collate(records):
    """As DataCollatorForSeq2Seq, which needs a tokenizer; a model of random weights has none."""
    longest = max(len(r["input_ids"]) for r in records)

    def padded(key, fill):
        return torch.tensor([r[key] + [fill] * (longest - len(r[key])) for r in records])
    mask = torch.tensor([[1] * len(r["input_ids"]) + [0] * (longest - len(r["input_ids"])) for r in records])
    return {"input_ids": padded("input_ids", 0), "labels": padded("labels", -100), "attention_mask": mask}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("data")
    p.add_argument("--batch", type=int, required=True)
    p.add_argument("--steps", type=int, required=True)
    p.add_argument("--at-least", type=int, default=1, help="steps that are done however long they take")
    p.add_argument("--seconds", type=float, default=float("inf"), help="after which no other step begins")
    p.add_argument("--compute", choices=("float32", "bfloat16", "autocast"), required=True)
    p.add_argument("--checkpointing", action="store_true")
    p.add_argument("--threads", type=int, default=2)
    o = p.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(o.threads)
    model = load(o)
    with open(o.data) as f:
        batch = collate([json.loads(line) for line in f][:o.batch])
    parameters = [x for x in model.parameters() if x.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.0)
    cast = torch.autocast("cpu", torch.bfloat16) if o.compute == "autocast" else contextlib.nullcontext()
    end = time.perf_counter() + o.seconds
    for step in range(1, o.steps + 1):
        start = time.perf_counter()
        if step > o.at_least and start > end:
            break
        with cast:
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        value = float(loss.detach())
        print(json.dumps({"step": step, "loss": value, "seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
