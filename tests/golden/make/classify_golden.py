"""Makes tests/golden/classify/: a tiny BERT without a classifier, records of every kind of label, an
adapter to begin from, and what PEFT makes of them in some steps of AdamW in float32, without dropout.

Run from the top of the repository, in an environment with tests/requirements.txt:
    python tests/golden/make/classify_golden.py
tests/golden/README.md says what the files hold."""
import json
import os
import random
import shutil
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification
from transformers import AutoModelForTokenClassification, get_linear_schedule_with_warmup

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "classify")
BASE = os.path.join(TOP, "base")
TOKENIZER = os.path.join(TOP, "..", "pairs", "4.json")  # <s> A </s> B </s>, the second text of type 1
STEPS, BATCH, RATE, LIMIT = 6, 4, 1e-2, 24
MASK = "!"  # no word of the records: a piece that hides them
WORDS = "good bad fine poor old new red blue".split()
rng = random.Random(3)


def words(most):
    return [rng.choice(WORDS) for _ in range(rng.randint(2, most))]


def records(kind):
    for _ in range(STEPS * BATCH):
        if kind == "token":
            w = words(7)
            yield dict(tokens=w, ner_tags=["Q" if x in WORDS[:4] else "C" if x in WORDS[6:] else "O" for x in w])
        elif kind == "graded":
            yield dict(query=" ".join(words(5)), passage=" ".join(words(4)), label=round(rng.random(), 2))
        elif kind == "regression":
            yield dict(sentence1=" ".join(words(5)), sentence2=" ".join(words(3)), label=round(rng.uniform(0, 5), 2))
        elif kind == "multi":
            yield dict(text=" ".join(words(6)), labels=[x for x in ("sport", "art", "news") if rng.random() < 0.5])
        else:
            yield dict(premise=" ".join(words(5)), hypothesis=" ".join(words(9)),
                       label=rng.choice(["no", "no", "yes", "maybe"]))


def encode(tokenizer, kind, rows):
    """Token ids, type ids and answers, from the tokenizers library."""
    names = {"class": ["maybe", "no", "yes"], "balanced": ["maybe", "no", "yes"], "multi": ["art", "news", "sport"],
             "token": ["C", "O", "Q"], "regression": ["LABEL_0"], "graded": ["LABEL_0"]}[kind]
    tokenizer.enable_truncation(LIMIT)
    for r in rows:
        if kind == "token":
            e = tokenizer.encode(r["tokens"], is_pretokenized=True)
            answer, before = [], None
            for w in e.word_ids:
                answer.append(-100 if w is None or w == before else names.index(r["ner_tags"][w]))
                before = w
            answer = torch.tensor(answer)
        elif kind == "regression":
            e, answer = tokenizer.encode(r["sentence1"], r["sentence2"]), torch.tensor(r["label"])
        elif kind == "graded":
            e, answer = tokenizer.encode(r["query"], r["passage"]), torch.tensor([r["label"]])
        elif kind == "multi":
            e, answer = tokenizer.encode(r["text"]), torch.tensor([float(n in r["labels"]) for n in names])
        else:
            e, answer = tokenizer.encode(r["premise"], r["hypothesis"]), torch.tensor(names.index(r["label"]))
        yield torch.tensor(e.ids), torch.tensor(e.type_ids), answer


def padded(rows, value=0):
    longest = max(len(x) for x in rows)
    return torch.stack([torch.nn.functional.pad(x, (0, longest - len(x)), value=value) for x in rows])


def make_whole():
    """A classifier that is trained itself: all of it, and its head alone."""
    directory = os.path.join(TOP, "whole")
    model = AutoModelForSequenceClassification.from_pretrained(BASE, num_labels=3)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.startswith("classifier") or "pooler" in name:
                p.copy_(torch.randn(p.shape) * 0.3)
    model.to(torch.bfloat16).save_pretrained(directory)
    shutil.copy(TOKENIZER, os.path.join(directory, "tokenizer.json"))
    rows = list(records("class"))
    with open(os.path.join(directory, "train.jsonl"), "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    data = list(encode(Tokenizer.from_file(TOKENIZER), "class", rows))
    out = {}
    for how in ("full", "head"):
        model = AutoModelForSequenceClassification.from_pretrained(
            directory, dtype=torch.float32, attn_implementation="eager", hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0)
        for name, p in model.named_parameters():
            p.requires_grad = how == "full" or name.startswith("classifier")
        losses, norms = train(model, data, "class", decay=0.1)
        with torch.no_grad():
            loss, _, _ = forward(model.eval(), data, "class")
        out[how] = dict(losses=losses, grad_norms=norms, loss=float(loss))
        print(how, [round(x, 4) for x in losses], round(float(loss), 4))
    json.dump(out, open(os.path.join(directory, "expected.json"), "w"))


def forward(model, batch, kind, weight=None):
    ids, types, answers = zip(*batch)
    labels = padded(answers, -100) if kind == "token" else torch.stack(answers)
    mask = padded([torch.ones_like(x) for x in ids])
    out = model(input_ids=padded(ids), token_type_ids=padded(types), attention_mask=mask, labels=labels)
    if weight is None:
        return out.loss, out.logits, mask
    return torch.nn.functional.cross_entropy(out.logits, labels, weight=weight), out.logits, mask


def make_base():
    os.makedirs(BASE)
    config = AutoConfig.for_model("bert", vocab_size=276, hidden_size=16, intermediate_size=24, num_hidden_layers=1,
                                  num_attention_heads=2, max_position_embeddings=32, layer_norm_eps=1e-5,
                                  pad_token_id=275)  # no word of the records: torch gives its row no gradient
    model = AutoModelForMaskedLM.from_config(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            r = torch.randn(p.shape)
            p.copy_(1 + 0.1 * r if name.endswith("LayerNorm.weight") else 0.1 * r if p.dim() == 1 else
                    0.5 * r if "embeddings" in name else r / p.shape[1] ** 0.5)
    model.to(torch.bfloat16).save_pretrained(BASE)
    shutil.copy(TOKENIZER, os.path.join(BASE, "tokenizer.json"))


def open_model(kind):
    labels = 1 if kind in ("regression", "graded") else 3
    problem = {"regression": "regression", "multi": "multi_label_classification",
               "graded": "multi_label_classification"}.get(kind, "single_label_classification")
    auto = AutoModelForTokenClassification if kind == "token" else AutoModelForSequenceClassification
    more = {} if kind == "token" else dict(problem_type=problem)
    model = auto.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager", num_labels=labels,
                                 hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **more)
    save = ["classifier"] if kind == "token" else ["pooler", "classifier"]
    lora = LoraConfig(task_type="TOKEN_CLS" if kind == "token" else "SEQ_CLS", r=2, lora_alpha=4, modules_to_save=save)
    model = get_peft_model(model, lora)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.copy_(torch.randn(p.shape) * (0.2 if "lora_B" in name else p.shape[-1] ** -0.5))
    return model


def save_adapter(model, directory):
    model.save_pretrained(directory)
    os.remove(os.path.join(directory, "README.md"))
    path = os.path.join(directory, "adapter_config.json")
    stored = json.load(open(path))
    stored["target_modules"].sort()
    stored["base_model_name_or_path"] = "nibble/classify"
    json.dump(stored, open(path, "w"), indent=2, sort_keys=True)


def train(model, data, kind, decay=0.0):
    weight = None
    if kind == "balanced":
        count = torch.bincount(torch.stack([a for _, _, a in data]))
        weight = len(data) / (len(count) * count.float())
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    plain = [p for n, p in model.named_parameters() if p.requires_grad and ("LayerNorm" in n or n.endswith("bias"))]
    decayed = [p for p in trained if not any(p is q for q in plain)]
    optimizer = torch.optim.AdamW([dict(params=decayed, weight_decay=decay), dict(params=plain, weight_decay=0.0)],
                                  lr=RATE)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, STEPS)
    losses, norms = [], []
    for s in range(STEPS):
        loss, _, _ = forward(model, data[s * BATCH:(s + 1) * BATCH], kind, weight)
        loss.backward()
        losses.append(float(loss))
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained, 1.0)))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return losses, norms


def make(kind):
    directory = os.path.join(TOP, kind)
    os.makedirs(directory)
    rows = list(records(kind))
    with open(os.path.join(directory, "train.jsonl"), "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    data = list(encode(Tokenizer.from_file(TOKENIZER), kind, rows))
    model = open_model(kind)
    save_adapter(model, os.path.join(directory, "begin"))
    losses, norms = train(model, data, kind)
    with torch.no_grad():
        loss, logits, mask = forward(model.eval(), data, kind)
    picked = padded([a for _, _, a in data], -100) != -100 if kind == "token" else None
    out = dict(losses=losses, grad_norms=norms, loss=float(loss), tokens=[x.tolist() for x, _, _ in data],
               types=[t.tolist() for _, t, _ in data],
               logits=[z[p].tolist() for z, p in zip(logits, picked)] if kind == "token" else logits.tolist())
    json.dump(out, open(os.path.join(directory, "expected.json"), "w"))
    print(kind, [round(x, 4) for x in losses], round(float(loss), 4))


def philox(key, counter):
    """Philox 4x32-10 (Salmon et al. 2011)."""
    k, c = list(key), list(counter)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def hide(ids, special, record, epoch, mask, size, seed=42):
    """What nibble hides of a record: ids with words in their places, labels."""
    out, labels = list(ids), [-100] * len(ids)
    for i in range(len(ids)):
        draw = philox((seed ^ 0x6D61736B, 0), (record, i, 0, epoch))
        unit = [(d >> 8) * 2.0**-24 for d in draw]
        if special[i] or unit[0] >= torch.tensor(0.15, dtype=torch.float32).item():
            continue
        labels[i] = ids[i]
        if unit[1] < torch.tensor(0.8).item():
            out[i] = mask
        elif unit[1] < torch.tensor(0.9).item():
            out[i] = draw[2] * size >> 32
    return torch.tensor(out), torch.tensor(labels)


def make_masked():
    """A masked language model with LoRA, two epochs of other hidden words, and its loss by the words of epoch 0."""
    directory = os.path.join(TOP, "masked")
    os.makedirs(directory)
    shutil.copytree(BASE, os.path.join(directory, "base"))
    with open(os.path.join(directory, "base", "tokenizer_config.json"), "w") as f:
        json.dump(dict(tokenizer_class="PreTrainedTokenizerFast", mask_token=MASK), f)
    rows = [dict(text=" ".join(words(12))) for _ in range(12)]
    with open(os.path.join(directory, "train.jsonl"), "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in rows)
    model = AutoModelForMaskedLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager",
                                                 hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=["query", "value"]))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.copy_(torch.randn(p.shape) * (0.2 if "lora_B" in name else p.shape[-1] ** -0.5))
    save_adapter(model, os.path.join(directory, "begin"))
    train_masked(model, rows, os.path.join(directory, "expected.json"), RATE, 0.0)


def make_masked_whole():
    """The same trained itself, the head being the embedding."""
    directory = os.path.join(TOP, "masked")
    model = AutoModelForMaskedLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager",
                                                 hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    rows = [json.loads(line) for line in open(os.path.join(directory, "train.jsonl"))]
    train_masked(model, rows, os.path.join(directory, "whole.json"), 2e-3, 0.1)


def train_masked(model, rows, path, rate, decay):
    tokenizer = Tokenizer.from_file(TOKENIZER)
    tokenizer.enable_truncation(LIMIT)
    encoded = [tokenizer.encode(r["text"]) for r in rows]
    mask, size = tokenizer.token_to_id(MASK), model.config.vocab_size

    def loss_of(records, epoch):
        hidden = [hide(e.ids, e.special_tokens_mask, i, epoch, mask, size) for i, e in records]
        keep = padded([torch.ones_like(x) for x, _ in hidden])
        labels = padded([y for _, y in hidden], -100)
        return model(input_ids=padded([x for x, _ in hidden]), attention_mask=keep, labels=labels).loss, int((labels >= 0).sum())

    trained = [p for p in model.parameters() if p.requires_grad]
    plain = [p for n, p in model.named_parameters() if p.requires_grad and ("LayerNorm" in n or n.endswith("bias"))]
    decayed = [p for p in trained if not any(p is q for q in plain)]
    optimizer = torch.optim.AdamW([dict(params=decayed, weight_decay=decay), dict(params=plain, weight_decay=0.0)], lr=rate)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, STEPS)
    losses, norms = [], []
    for s in range(STEPS):
        at = s * BATCH % len(rows)
        loss, _ = loss_of(list(enumerate(encoded))[at:at + BATCH], s * BATCH // len(rows))
        loss.backward()
        losses.append(float(loss))
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained, 1.0)))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    with torch.no_grad():
        loss, hidden = loss_of(list(enumerate(encoded)), 0)
    json.dump(dict(losses=losses, grad_norms=norms, loss=float(loss), hidden=hidden), open(path, "w"))
    print("masked", losses, float(loss), hidden)


if __name__ == "__main__":
    if sys.argv[1:] == ["masked-whole"]:  # this alone; it draws nothing
        sys.exit(make_masked_whole())
    shutil.rmtree(TOP, ignore_errors=True)
    torch.manual_seed(11)
    make_base()
    for kind in ("class", "balanced", "multi", "regression", "token"):
        make(kind)
    make_whole()
    make("graded")  # a cross-encoder: sentence-transformers' BinaryCrossEntropyLoss is this loss
    make_masked()
    make_masked_whole()
