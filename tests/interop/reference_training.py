"""QLoRA training as PEFT, bitsandbytes and torch do it: the curve that nibble's is held to.

Written out instead of the Trainer, which divides by another count (docs/formats.md 14.3) and pads;
order of records, schedule, clipping and AdamW are the Trainer's."""
import json
import math
import os

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler

from common import in_float


def load_model(directory, nf4=False):
    """The model in float32, or with bitsandbytes' NF4 linears computing in float32."""
    settings = {}
    if nf4:
        from transformers import BitsAndBytesConfig
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager", **settings)
    return in_float(model.eval())


def load(directory, nf4=False):
    return load_model(directory, nf4), AutoTokenizer.from_pretrained(directory)


def lora(model, r, alpha, seed=None, name=None, adapter=None, targets="all-linear"):
    if name:
        model.name_or_path = name
    if adapter:
        return PeftModel.from_pretrained(model, adapter, is_trainable=True)
    torch.manual_seed(seed)
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=r, lora_alpha=alpha, target_modules=targets))


def save_adapter(model, directory):
    model.save_pretrained(directory)
    readme = os.path.join(directory, "README.md")
    if os.path.exists(readme):
        os.remove(readme)
    path = os.path.join(directory, "adapter_config.json")
    config = json.load(open(path))
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # a set in PEFT: its order changes from run to run
    json.dump(config, open(path, "w"), indent=2, sort_keys=True)


def records(path, tokenizer):
    """Token ids and labels: prompt and completion tokenized together, end token appended, and
    supervised from where the tokens of the prompt alone and of both part, as TRL has it."""
    out = []
    for line in open(path, encoding="utf-8"):
        if not line.strip():
            continue
        r = json.loads(line)
        text = r["prompt"] + r["completion"]
        if not text.endswith(tokenizer.eos_token):
            text += tokenizer.eos_token
        ids, prompt = tokenizer(text)["input_ids"], tokenizer(r["prompt"])["input_ids"]
        same = next((i for i, (a, b) in enumerate(zip(prompt, ids)) if a != b), len(prompt))
        out.append((torch.tensor(ids), torch.tensor([-100] * same + ids[same:])))
    return out


def loss_sum(model, ids, labels):
    z = model(input_ids=ids[None]).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(z, labels[1:], ignore_index=-100, reduction="sum")


def padded_loss_sum(model, chosen):
    """All records in one padded batch: quicker where every record would decode the whole 4-bit model."""
    longest = max(len(ids) for ids, _ in chosen)
    ids, labels, mask = (torch.full((len(chosen), longest), fill) for fill in (0, -100, 0))
    for i, (x, y) in enumerate(chosen):
        ids[i, : len(x)], labels[i, : len(y)], mask[i, : len(x)] = x, y, 1
    z = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(z.transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="sum")


def train(model, tokenizer, path, seed, batch, steps, learning_rate, warmup_steps, max_grad_norm, padded=False,
          make_optimizer=None, schedule="linear", schedule_arguments=None):
    """path: a file of prompts and completions, or a list of (ids, labels), which needs no tokenizer.
    make_optimizer: called with the model in place of AdamW over its parameters."""
    data = path if isinstance(path, list) else records(path, tokenizer)
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = make_optimizer(model) if make_optimizer else torch.optim.AdamW(
        params, lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    schedule = get_scheduler(schedule, optimizer, warmup_steps, steps, scheduler_specific_kwargs=schedule_arguments or {})
    out, epoch, order = [], 0, []
    for step in range(1, steps + 1):
        if not order:
            order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed + epoch)).tolist()
            epoch += 1
        chosen, order = order[:batch], order[batch:]
        count = sum(int((data[i][1][1:] != -100).sum()) for i in chosen)
        total = 0.0
        for part in [chosen] if padded else [[i] for i in chosen]:
            loss = padded_loss_sum(model, [data[i] for i in part]) if padded else loss_sum(model, *data[part[0]])
            (loss / count).backward()
            total += float(loss.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(params, max_grad_norm))
        assert math.isfinite(norm)
        out.append(dict(step=step, loss=total / count, grad_norm=norm, learning_rate=schedule.get_last_lr()[0]))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return out
