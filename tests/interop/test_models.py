"""`nibble evaluate` against live transformers and PEFT for every variant in tests/golden/models, on
sequences that the golden data does not hold: dense, with the adapter, and both on an NF4 base."""
import os
import tempfile

import torch
from peft import PeftModel
from transformers import AutoConfig

from common import GOLDEN, check, check_logits, evaluate, main, of_the_day, write_ids
from models import VARIANTS, VOCABULARY, attention_of, class_of, round_nf4, run

MODELS = os.path.join(GOLDEN, "models")
NF4 = ("--load-in-4bit", "--bnb-4bit-quant-type", "nf4")


def sequences():
    rng = torch.Generator().manual_seed(2)
    out = []
    for length in (2, 200, 61, 17):
        ids = torch.randint(0, VOCABULARY, (length,), generator=rng)
        labels = ids.clone()
        labels[1 + length // 4: length // 3] = -100
        out.append((ids, labels))
    return out


def variant(name):
    directory = os.path.join(MODELS, name)
    adapter = os.path.join(directory, "adapter")
    data = sequences()
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "data.jsonl")
        write_ids(path, data)
        for nf4 in (False, True):
            config = AutoConfig.from_pretrained(directory)
            model = class_of(config).from_pretrained(directory, dtype=torch.float32,
                                                     attn_implementation=attention_of(config)).eval()
            if nf4:
                round_nf4(model)
            for with_adapter in (False, True):
                if with_adapter:
                    model = PeftModel.from_pretrained(model, adapter).eval()
                with torch.no_grad():
                    want, loss = run(model, *zip(*data))
                what = ("NF4" if nf4 else "dense") + (" with adapter" if with_adapter else "")
                got, ours = evaluate(directory, path, *(NF4 if nf4 else ()), *(("--adapter", adapter) if with_adapter else ()))
                check_logits(got, want, 1e-4, what)
                check(abs(ours - float(loss)) <= 1e-5, f"{what}: loss {ours}, expected {float(loss)}")


if __name__ == "__main__":
    main([(f"{name} equals transformers", lambda name=name: variant(name)) for name in of_the_day(VARIANTS, 8)])
