"""Makes tests/golden/pages/: words with boxes of a page, what LayoutLMv3's tokenizer makes of them, and the scores of two small LiLT
models (tests/golden/encoders, made before).

    python tests/golden/make/pages_golden.py        (transformers 4.57.6, tokenizers 0.22.2)

<kind>/: config.json and model.safetensors of lilt-token or lilt-seq, the tokenizer, and data.jsonl; expected.json: of each record the
scores, of a record of words a list for each word whose first token fits."""
import json
import os
import random
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
OUT = os.path.join(TOP, "pages")
WORDS = "Invoice total 12 due Friday Ünit - a".split()
LIMIT = 26  # tokens


def tokenizer(path):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.train_from_iterator(["x"], trainers.BpeTrainer(vocab_size=96, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
                                                      initial_alphabet=sorted(set("ĠInvoicetal12duFrydÃľ-n")), show_progress=False))
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    t.decoder = decoders.ByteLevel()
    t.save(os.path.join(path, "tokenizer.json"))
    with open(os.path.join(path, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "LayoutLMv3Tokenizer"}, f)
    return AutoTokenizer.from_pretrained(path)


def records(kind):
    rng = random.Random(kind)
    for i in range(6):
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, 6))]
        corners = [sorted(rng.sample(range(32), 2)) + sorted(rng.sample(range(32), 2)) for _ in words]
        record = dict(words=words, bboxes=[[a, c, b, d] for a, b, c, d in corners])
        if kind == "token":
            record["ner_tags"] = [rng.randint(0, 2) for _ in words]
        if i == 4:
            del record["bboxes"]
        yield record


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    for kind, auto in (("token", AutoModelForTokenClassification), ("seq", AutoModelForSequenceClassification)):
        path = os.path.join(OUT, kind)
        os.makedirs(path)
        for name in ("config.json", "model.safetensors"):
            shutil.copy(os.path.join(TOP, "encoders", "lilt-" + kind, name), path)
        t, expected, rows = tokenizer(path), [], list(records(kind))
        model = auto.from_pretrained(path, dtype=torch.float32).eval()
        for r in rows:
            boxes = r.get("bboxes", [[0, 0, 0, 0]] * len(r["words"]))
            e = t(r["words"], boxes=boxes, return_tensors="pt", truncation=True, max_length=LIMIT)
            with torch.no_grad():
                scores = model(**e).logits[0].softmax(-1)
            if kind == "token":
                first = {}
                for at, word in enumerate(e.word_ids()):
                    if word is not None:
                        first.setdefault(word, at)
                scores = scores[list(first.values())]
            expected.append(scores.tolist())
        with open(os.path.join(path, "data.jsonl"), "w") as f:
            f.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
        with open(os.path.join(path, "expected.json"), "w") as f:
            json.dump(expected, f)


if __name__ == "__main__":
    main()
