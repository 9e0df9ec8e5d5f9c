"""nibble quantize against transformers + bitsandbytes, on the small model in models/pico.

    NIBBLE=build/nibble python tests/interop/test_bnb4.py

For NF4 and FP4, plain and double-quantized:
- every tensor nibble writes equals the one transformers saves for the same model, byte for byte
  (with double quantization the mean of the scales may differ by one unit in the last place: then
  codes are compared, and scales to that unit);
- what nibble wrote opens with from_pretrained, and its layers dequantize to the same values;
- what transformers saved is read by nibble: evaluate gives the same logits for both directories.
A line `ok NAME` or `FAILED NAME` for each form; exit 1 if any failed."""
import os
import shutil
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

warnings.filterwarnings("ignore")
TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
NIBBLE = os.environ.get("NIBBLE", os.path.join(TOP, "build", "nibble"))
PICO = os.path.join(TOP, "models", "pico")
passed = failed = 0


def check(ok, what):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print("FAILED", what)


def raw(t):
    return t.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def same_state_but_offset(a, b):
    """quant_state texts whose offsets are neighbouring floats."""
    (x, p), (y, q) = ((t.rsplit(b": ", 1)) for t in (a, b))
    p, q = (np.float32(v[:-1].decode()) for v in (p, q))
    return x == y and abs(int(p.view(np.int32)) - int(q.view(np.int32))) <= 1


def compare_files(ours, theirs, what):
    check(set(ours) == set(theirs), f"{what}: names {set(ours) ^ set(theirs)}")
    other_offset = set()
    for name in ours:
        if ".quant_state." in name and raw(ours[name]) != raw(theirs[name]):
            stem = name.split(".quant_state.")[0]
            other_offset.add(stem)
            check(same_state_but_offset(raw(ours[name]), raw(theirs[name])), f"{what}: {name}")
    for name in ours:
        a, b = ours[name], theirs[name]
        check(a.dtype == b.dtype and a.shape == b.shape, f"{what}: {name} {a.dtype} {a.shape}, {b.dtype} {b.shape}")
        stem = name.rsplit(".", 1)[0]
        if ".quant_state." in name or (stem in other_offset and not name.endswith("quant_map")):
            continue
        check(raw(a) == raw(b), f"{what}: {name}")


def dequantized(directory):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16, device_map="cpu")
    return {n: dequantize_4bit(m.weight.data, m.weight.quant_state)
            for n, m in model.named_modules() if isinstance(m, Linear4bit)}


def run(*arguments):
    done = subprocess.run([NIBBLE, *arguments], capture_output=True, text=True)
    check(done.returncode == 0, f"{' '.join(arguments[:2])}: {done.stderr.strip()}")
    return done.returncode == 0


def logits(directory, work, name):
    data, out = os.path.join(work, "data.jsonl"), os.path.join(work, name)
    with open(data, "w") as f:
        f.write('{"text": "How do I fix a puncture?"}\n{"text": "The shop opens at nine."}\n')
    if not run("evaluate", directory, "--data", data, "--compute-dtype", "float32", "--logits", out):
        return None
    return load_file(out)


def one(quant_type, double, work):
    what = quant_type + (" double" if double else "")
    ours, theirs = os.path.join(work, "ours"), os.path.join(work, "theirs")
    arguments = ["quantize", PICO, ours, "--load-in-4bit", "--bnb-4bit-quant-type", quant_type]
    if not run(*arguments, *(["--bnb-4bit-use-double-quant"] if double else [])):
        return
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=quant_type, bnb_4bit_use_double_quant=double)
    model = AutoModelForCausalLM.from_pretrained(PICO, quantization_config=config, dtype=torch.bfloat16, device_map="cpu")
    model.save_pretrained(theirs)
    for name in ("tokenizer.json", "tokenizer_config.json"): # records are texts
        shutil.copy(os.path.join(ours, name), theirs)
    compare_files(load_file(os.path.join(ours, "model.safetensors")),
                  load_file(os.path.join(theirs, "model.safetensors")), what)
    a, b = dequantized(ours), dequantized(theirs)
    check(len(a) == 42 and set(a) == set(b), f"{what}: {len(a)} and {len(b)} 4-bit layers")
    for name in a:
        near = (a[name].float() - b[name].float()).abs().max().item()
        check(torch.equal(a[name], b[name]) or (double and near < 1e-3), f"{what}: {name} off by {near}")
    if os.environ.get("NIBBLE_ONLY_QUANTIZE"):
        return
    p, q = logits(ours, work, "a.safetensors"), logits(theirs, work, "b.safetensors")
    if p and q:
        limit = 1e-3 if double else 0
        check(all((p[k] - q[k]).abs().max().item() <= limit for k in p), f"{what}: logits of the two directories")


def main():
    for quant_type in ("nf4", "fp4"):
        for double in (False, True):
            work, before = tempfile.mkdtemp(prefix="nibble-bnb4-"), failed
            try:
                one(quant_type, double, work)
            finally:
                shutil.rmtree(work)
            print(f"{'ok' if failed == before else 'FAILED'} {quant_type}{' double' if double else ''}")
    print(f"{passed} checks passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
