"""`nibble perplexity` against a small computation of its own with transformers, on the model in
models/pico and its README: the windows of the GPTQ paper, with a stride, those of llama.cpp, and the
distance of the NF4 model from the dense one.

    NIBBLE=build/nibble python tests/interop/test_perplexity.py"""
import json
import math
import os
import tempfile

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import PICO, TOP, check, main, nibble
from models import round_nf4

LENGTH = 48


def text():
    with open(os.path.join(TOP, "models", "pico", "README.md"), encoding="utf-8") as f:
        return f.read()


def load(nf4=False):
    model = AutoModelForCausalLM.from_pretrained(PICO, dtype=torch.float32).eval()
    if nf4:
        round_nf4(model)
    return model


def log_probabilities(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0].double(), dim=-1)


def windows(ids, preset, stride):
    """(the ids that are read, the position of the first, the first of those predicted)"""
    n = len(ids)
    if preset == "gptq" and not stride:
        return [(ids[b:b + LENGTH], b, b + 1) for b in range(0, n // LENGTH * LENGTH, LENGTH)]
    if preset == "llama.cpp":
        return [(ids[b:b + LENGTH], b, b + LENGTH // 2 + 1) for b in range(0, n // LENGTH * LENGTH, LENGTH)]
    out, before = [], 1
    for begin in range(0, n, stride):
        end = min(begin + LENGTH, n)
        out.append((ids[begin:end], begin, before))
        before = end
        if end == n:
            break
    return out


def measured(preset, stride, more=(), data=text, path_of=None):
    content = data()
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "data.txt")
        if path_of:
            path = path_of(work)
        else:
            with open(path, "w", encoding="utf-8") as f:
                f.write(content)
        got = json.loads(nibble("perplexity", PICO, "--data", path, "--preset", preset, "--context-length", LENGTH,
                                *(("--stride", stride) if stride else ()), "--compute-dtype", "float32", "--json", *more))
    if preset == "llama.cpp":
        content = content.removesuffix("\n")
    ids = AutoTokenizer.from_pretrained(PICO)(content)["input_ids"]
    check(got["tokens"] == len(ids), f"{got['tokens']} tokens, expected {len(ids)}")
    return got, ids


def near(got, want, limit, what):
    check(abs(got - want) <= limit * abs(want), f"{what} is {got}, expected {want}")


def protocol(preset, stride=0, **more):
    got, ids = measured(preset, stride, **more)
    model, losses = load(), []
    for read, begin, first in windows(ids, preset, stride):
        rows = log_probabilities(model, read)
        losses += [-rows[t - begin - 1, ids[t]].item() for t in range(first, begin + len(read))]
    mean = sum(losses) / len(losses)
    deviation = math.sqrt(sum(x * x for x in losses) / len(losses) - mean * mean)
    check(got["predicted"] == len(losses), f"{got['predicted']} tokens predicted, expected {len(losses)}")
    near(got["loss"], mean, 1e-5, "loss")
    near(got["perplexity"], math.exp(mean), 2e-4, "perplexity")
    near(got["perplexity_error"], math.exp(mean) * deviation / math.sqrt(len(losses) - 1), 1e-3, "its error")


def rows_of_records(work):
    """Papers join the rows of a data set by two line breaks."""
    path = os.path.join(work, "data.jsonl")
    with open(path, "w", encoding="utf-8") as f:
        for part in text().split("\n\n"):
            f.write(json.dumps({"text": part}) + "\n")
    return path


def divergence():
    got, ids = measured("gptq", 0, more=("--load-in-4bit", "--reference", PICO, "--worst", "3"))
    model, reference = load(nf4=True), load()
    found = []
    for read, begin, first in windows(ids, "gptq", 0):
        p, q = log_probabilities(model, read), log_probabilities(reference, read)
        apart = (q.exp() * (q - p)).sum(-1)
        for t in range(first, begin + len(read)):
            r = t - begin - 1
            found.append((apart[r].item(), t, -p[r, ids[t]].item(), -q[r, ids[t]].item(),
                          p[r].argmax() == q[r].argmax()))
    n = len(found)
    near(got["divergence"], sum(f[0] for f in found) / n, 1e-3, "divergence")
    near(got["divergence_worst"], max(f[0] for f in found), 1e-3, "greatest divergence")
    near(got["loss"], sum(f[2] for f in found) / n, 1e-5, "loss")
    near(got["reference_loss"], sum(f[3] for f in found) / n, 1e-5, "reference loss")
    agreement = sum(bool(f[4]) for f in found) / n
    check(abs(got["agreement"] - agreement) <= 2 / n, f"agreement {got['agreement']}, expected {agreement}")
    worst = sorted(found, reverse=True)[:3]
    check([w["position"] for w in got["worst"]] == [w[1] for w in worst], f"worst {got['worst']}, expected {worst}")
    for w, want in zip(got["worst"], worst):
        near(w["divergence"], want[0], 1e-3, "worst divergence")
        near(w["loss"], want[2], 1e-4, "worst loss")
        near(w["reference_loss"], want[3], 1e-4, "worst reference loss")


if __name__ == "__main__":
    main([("the windows of papers", lambda: protocol("gptq")),
          ("rows joined as papers join them", lambda: protocol("gptq", path_of=rows_of_records)),
          ("a stride", lambda: protocol("gptq", 16)),
          ("the windows of llama.cpp", lambda: protocol("llama.cpp")),
          ("divergence from a reference", divergence)])
