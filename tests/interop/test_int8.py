"""nibble's 8-bit weights against transformers + bitsandbytes, on the small model in models/pico.

    NIBBLE=build/nibble python tests/interop/test_int8.py

- every tensor that nibble quantize --load-in-8bit writes equals the one transformers saves for the
  same model, byte for byte, and so does quantization_config;
- what nibble wrote opens with from_pretrained, with the same codes and scales;
- what transformers saved is read by nibble, whose logits are those of the library in eval mode, a
  row of a linear's input at a time (for a whole batch it chooses outliers by columns: a deviation
  that docs/formats.md 4.7 states; those logits are compared loosely)."""
import json
import os
import shutil
import tempfile

import bitsandbytes as bnb
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from common import PICO, check, evaluate, main, nibble, write_ids
from int8_models import by_rows, mend_constant

plain_forward = bnb.nn.Linear8bitLt.forward
SEQUENCES = [[5, 17, 200, 31, 64, 77, 90, 8, 11, 300], [9, 9, 41, 256, 12]]


def theirs(work, threshold):
    """The model in models/pico as transformers quantizes and saves it."""
    out = os.path.join(work, "theirs")
    config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=threshold)
    model = AutoModelForCausalLM.from_pretrained(PICO, quantization_config=config, dtype=torch.bfloat16, device_map="cpu")
    model.save_pretrained(out)
    return out


def ours(work, *more):
    out = os.path.join(work, "ours")
    nibble("quantize", PICO, out, "--load-in-8bit", *more)
    return out


def layers(directory):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16, device_map="cpu")
    return {n: (m.weight.data, m.weight.SCB) for n, m in model.named_modules()
            if isinstance(m, bnb.nn.Linear8bitLt)}


def same_files():
    with tempfile.TemporaryDirectory() as work:
        a, b = ours(work), theirs(work, 6.0)
        x, y = (load_file(os.path.join(d, "model.safetensors")) for d in (a, b))
        check(set(x) == set(y), f"names: {set(x) ^ set(y)}")
        for name in x:
            check(x[name].dtype == y[name].dtype and x[name].shape == y[name].shape,
                  f"{name}: {x[name].dtype} {tuple(x[name].shape)}, {y[name].dtype} {tuple(y[name].shape)}")
            check(torch.equal(x[name], y[name]), f"{name} differs")
        check(sum(n.endswith(".SCB") for n in x) == 42, "42 8-bit matrices are expected")
        p, q = (json.load(open(os.path.join(d, "config.json")))["quantization_config"] for d in (a, b))
        p.pop("llm_int8_skip_modules"), q.pop("llm_int8_skip_modules")  # ours names the default
        check(p == q, f"quantization_config {p}, expected {q}")


def opens_in_transformers():
    with tempfile.TemporaryDirectory() as work:
        a, b = layers(ours(work, "--llm-int8-threshold", "4.5")), layers(theirs(work, 6.0))
        check(len(a) == 42 and set(a) == set(b), f"{len(a)} and {len(b)} 8-bit layers")
        for name in a:
            check(torch.equal(a[name][0], b[name][0]) and torch.equal(a[name][1], b[name][1]), f"{name} differs")
        stored = json.load(open(os.path.join(work, "ours", "config.json")))["quantization_config"]
        check(stored["llm_int8_threshold"] == 4.5, f"threshold {stored['llm_int8_threshold']} is stored")


def reference_logits(directory, as_nibble):
    """as_nibble: a row of a linear's input at a time, and with the constant of int8_models.py."""
    mended = mend_constant() if as_nibble else None
    bnb.nn.Linear8bitLt.forward = by_rows(plain_forward) if as_nibble else plain_forward
    try:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, device_map="cpu",
                                                     attn_implementation="eager").eval()
        with torch.no_grad():
            return [model(input_ids=torch.tensor([x])).logits[0] for x in SEQUENCES]
    finally:
        bnb.nn.Linear8bitLt.forward = plain_forward
        del mended


def same_logits():
    """A threshold of 2 gives each row outliers.  Where the order of a float sum moves a value across the middle of two
    codes, all that follows changes by parts of a code (1e-2 of the largest logit): that happens to some tokens, while
    the others agree to 1e-6."""
    for threshold in (6.0, 2.0, 0.0):
        with tempfile.TemporaryDirectory() as work:
            directory, data = theirs(work, threshold), os.path.join(work, "data.jsonl")
            write_ids(data, [(x, x) for x in SEQUENCES])
            got = torch.cat(evaluate(directory, data)[0])
            for as_nibble in (True, False):
                want = torch.cat(reference_logits(directory, as_nibble))
                off = (got - want).abs().amax(1) / want.abs().max()
                close = (off <= 1e-5).float().mean().item()
                print(f"  threshold {threshold}, {'a row at a time' if as_nibble else 'batch'}: {close:.0%} of the tokens "
                      f"agree to 1e-5, all to {off.max():.2g} of the largest logit")
                check(off.max() <= 5e-2, f"threshold {threshold}: off by {off.max():.3g} of the largest logit")
                check(close >= 0.5 or not as_nibble, f"threshold {threshold}: only {close:.0%} of the tokens agree")


if __name__ == "__main__":
    main([("same files", same_files), ("opens in transformers", opens_in_transformers), ("same logits", same_logits)])
