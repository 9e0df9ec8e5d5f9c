"""Makes tests/golden/whole.json: of models of tests/golden/encoders/ and tests/golden/models/ whose head is the embedding, what
transformers computes when all parameters are trained: the loss of one text in float32, of each parameter's gradient the norm and two
sums, and the tensors that save_pretrained writes.

Run from the top of the repository, in an environment with tests/requirements.txt:
    python tests/golden/make/whole_golden.py
tests/golden/README.md says what the file holds."""
import json
import os
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
LENGTH = 13
MASKED = ["bert-mlm", "roberta-mlm", "electra-mlm", "distilbert-mlm", "modernbert-mlm", "prelayernorm-mlm", "albert-mlm", "longformer-mlm",
          "esm-mlm", "deberta-mlm"]
WORDS = ["llama-gqa-tied", "gemma", "bloom", "opt", "gpt2"]


def text(vocabulary, masked):
    ids = [5 + (i * i * 7 + i * 3) % (vocabulary - 5) for i in range(LENGTH)]
    if not masked:
        return ids, ids
    return ids, [(5 * x + i) % vocabulary if i % 3 == 1 else -100 for i, x in enumerate(ids)]


def numbers(gradient):
    g = gradient.double().flatten()
    i = torch.arange(len(g), dtype=torch.float64)
    return [float(f"{x:.7g}") for x in (g.norm(), (g * torch.cos(0.37 * i)).sum(), (g * torch.sin(1 + 0.011 * i * i)).sum())]


def make(name, masked):
    directory = os.path.join(TOP, "encoders" if masked else "models", name)
    auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    model = auto.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").eval()
    head = model.get_output_embeddings()  # DeBERTa's newer head multiplies by the table, and is no linear
    assert name == "deberta-mlm" or head.weight is model.get_input_embeddings().weight, name
    ids, labels = text(model.config.vocab_size, masked)
    loss = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
    loss.backward()
    gradients = {n: numbers(p.grad) for n, p in model.named_parameters() if p.grad is not None}
    unused = [n for n, p in model.named_parameters() if p.grad is None]
    with tempfile.TemporaryDirectory() as out:
        model.save_pretrained(out)
        with safe_open(os.path.join(out, "model.safetensors"), "pt") as f:
            tensors = sorted(k for k in f.keys() if not k.endswith("inv_freq"))
    print(name, float(loss), len(gradients), unused)
    return dict(directory=os.path.relpath(directory, TOP), masked=masked, loss=float(loss), gradients=gradients, tensors=tensors)


if __name__ == "__main__":
    torch.manual_seed(1)
    out = {name: make(name, name in MASKED) for name in MASKED + WORDS}
    with open(os.path.join(TOP, "whole.json"), "w") as f:
        f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in out.items()) + "\n}\n")
