"""encoders.py - embedding texts beside sentence-transformers, and a LoRA step of a classifier beside PEFT.

    python bench/peers/encoders.py [--nibble build/nibble] [--work DIR] [--threads 2] [--repetitions 3] [--small]

Needs torch, transformers, peft and sentence-transformers in the environment that runs it.  Models have random weights of MiniLM-L6's
and BERT-base's shapes (--small: tiny ones, to try the script), made once in DIR.  Texts of 5 to 120 words and of 30 words, of which
each makes one token; the records of a step of 20 to 120 tokens and of 64.  Both programs do equal work in turns, each run a process of
its own: nibble in its own compute type, the peers in float32 and in bfloat16, padded in batches of 32 sorted by length, as encode()
does, and of 16 records.  Prints rows of the best and the median figure, and the peak of memory."""
import argparse
import json
import os
import random
import sys
import tempfile
import time

from measure import Sample, run_process, say
from measure import compare as in_turns

WORDS = [a + b for a in "bcdfglmnprst" for b in ("a", "e", "i", "o", "u")]
SHAPES = {"minilm": dict(hidden_size=384, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=12),
          "bert": dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)}
SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
WARM_UP, STEPS = 1, 4


def make_model(directory, shape):
    """A BERT of random weights whose tokenizer knows each of the words, and sentence-transformers' files."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + WORDS)}
    t = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.TemplateProcessing(single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
                                                     special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    torch.manual_seed(1)
    BertModel(BertConfig(vocab_size=30522, **shape)).save_pretrained(directory)
    PreTrainedTokenizerFast(tokenizer_object=t, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
                            model_max_length=512).save_pretrained(directory)


def make_data(path, count, lengths, labelled, rng):
    with open(path, "w") as f:
        for _ in range(count):
            record = dict(text=" ".join(rng.choice(WORDS) for _ in range(rng.randint(*lengths))))
            f.write(json.dumps(record | (dict(label=rng.choice(["a", "b"])) if labelled else {})) + "\n")


# --- what a child process of the peers does ---


def peer_embed(model, data, kind):
    import torch
    from sentence_transformers import SentenceTransformer
    texts = [json.loads(line)["text"] for line in open(data)]
    m = SentenceTransformer(model, device="cpu", model_kwargs=dict(dtype=getattr(torch, kind)))
    m.encode(texts[:32])
    start = time.perf_counter()
    m.encode(texts, batch_size=32)
    return [len(texts) / (time.perf_counter() - start)]


def peer_step(model, data, kind):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    rows = [json.loads(line) for line in open(data)]
    torch.manual_seed(1)
    m = AutoModelForSequenceClassification.from_pretrained(model, dtype=getattr(torch, kind))
    m = get_peft_model(m, LoraConfig(task_type="SEQ_CLS", r=8, target_modules=["query", "value"])).train()
    batch = AutoTokenizer.from_pretrained(model)([r["text"] for r in rows], padding=True, return_tensors="pt")
    labels = torch.tensor([r["label"] == "b" for r in rows]).long()
    optimizer = torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-3)
    seconds = []
    for _ in range(WARM_UP + STEPS):
        start = time.perf_counter()
        m(**batch, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    return [len(rows) / s for s in seconds[WARM_UP:]]


# --- nibble ---


def own_embed(o, model, data):
    out = os.path.join(o.work, "embedded.npy")
    text, peak = run_process([o.nibble, "embed", model, "--data", data, "--out", out, "--overwrite", "--threads", o.threads, "--json"],
                             o.threads)
    r = next(json.loads(line) for line in text.splitlines() if line.startswith("{") and "seconds" in line)
    return Sample({"rate": [r["texts"] / r["seconds"]]}, peak)


def own_step(o, model, data, records):
    with tempfile.TemporaryDirectory(dir=o.work) as out:
        text, peak = run_process(
            [o.nibble, "finetune", model, "--task-type", "SEQ_CLS", "--data", data, "--output-dir", out, "--overwrite", "--defaults", "peft",
             "--r", 8, "--target-modules", "query,value", "--per-device-train-batch-size", records, "--max-steps", WARM_UP + STEPS,
             "--learning-rate", "1e-3", "--logging-steps", 1, "--save-strategy", "no", "--max-seq-length", 512, "--threads", o.threads,
             "--json"], o.threads)
    tokens = sum(len(json.loads(line)["text"].split()) + 2 for line in open(data))
    steps = [json.loads(line) for line in text.splitlines() if line.startswith("{") and "tokens_per_second" in line]
    return Sample({"rate": [records * s["tokens_per_second"] / tokens for s in steps[WARM_UP:]]}, peak)


def compare(o, title, own, peer, model, data):
    runs = {"nibble": own} | {f"peer, {kind}": lambda kind=kind: peer_of(o, peer, model, data, kind) for kind in ("float32", "bfloat16")}
    result, = in_turns(title, {"rate": (title, "/s", False)}, runs, o.repetitions)
    for name, got in result["programs"].items():
        print(f"{title:34} {name:16} best {got['best']:9.2f}/s  median {got['median']:9.2f}/s  "
              f"peak {got['peak_memory_bytes'] / 2**20:7.0f} MiB", flush=True)


def peer_of(o, peer, model, data, kind):
    text, peak = run_process([sys.executable, __file__, "--threads", o.threads, "--peer", peer, model, data, kind], o.threads)
    return Sample({"rate": json.loads(text.splitlines()[-1])}, peak)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--nibble", default="build/nibble")
    p.add_argument("--work", default="build/bench-encoders")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repetitions", type=int, default=3)
    p.add_argument("--small", action="store_true")
    p.add_argument("--peer", nargs=4, help=argparse.SUPPRESS)
    p.add_argument("--make", nargs=2, help=argparse.SUPPRESS)
    o = p.parse_args()
    if o.peer:
        import torch
        torch.set_num_threads(o.threads)
        what, *rest = o.peer
        print(json.dumps((peer_embed if what == "embed" else peer_step)(*rest)))
        return
    if o.make:
        make_model(o.make[0], SMALL if o.small else SHAPES[o.make[1]])
        return
    os.makedirs(o.work, exist_ok=True)
    rng = random.Random(3)
    paths = {}
    for name in SHAPES:
        paths[name] = os.path.join(o.work, name + ("-small" if o.small else ""))
        if not os.path.exists(os.path.join(paths[name], "tokenizer.json")):
            say(f"making {paths[name]}")
            # elsewhere: a child's peak begins with what its parent holds, so this process holds little
            run_process([sys.executable, __file__, "--make", paths[name], name] + ["--small"] * o.small, o.threads)
    for title, count, lengths in (("embed, 5 to 120 tokens", 64 if o.small else 512, (3, 118)), ("embed, 32 tokens", 64 if o.small else 512, (30, 30))):
        data = os.path.join(o.work, "texts.jsonl")
        make_data(data, count, lengths, False, rng)
        compare(o, title, lambda data=data: own_embed(o, paths["minilm"], data), "embed", paths["minilm"], data)
    for title, lengths in (("LoRA step, 16 of 20 to 120 tokens", (18, 118)), ("LoRA step, 16 of 64 tokens", (62, 62))):
        data = os.path.join(o.work, "records.jsonl")
        make_data(data, 16, lengths, True, rng)
        compare(o, title, lambda data=data: own_step(o, paths["bert"], data, 16), "step", paths["bert"], data)


if __name__ == "__main__":
    main()
