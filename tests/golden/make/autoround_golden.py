"""Makes tests/golden/grouped/autoround/: a tiny llama that AutoRound quantized and exported in its own container, symmetric, with
negative scales, and what grouped_golden.py puts beside a model (its functions are used).

    python tests/golden/make/autoround_golden.py

with AutoRound 0.16.1, transformers 4.57.6 and torch 2.13.0 on a CPU.  Weights are decoded by the text of formats-quant.md 4.4:
the library's own decoding is a GPU's."""
import json
import os
import tempfile

import grouped_golden as grouped
import torch
from auto_round import AutoRound
from words_tokenizer import save_tokenizer
from models import generator
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

VARIANT = "autoround"


def unpack(words, bits, down):
    """Fields of words, along the first side or the second."""
    fields = torch.stack([words >> shift & (2**bits - 1) for shift in range(0, 32, bits)], 1 if down else 2)
    return fields.reshape(-1, words.shape[1]) if down else fields.reshape(words.shape[0], -1)


def decode(t, name, bits, group):
    codes = unpack(t[name + ".qweight"], bits, True)
    zeros = (unpack(t[name + ".qzeros"], bits, False) + 1) % 2**bits
    of = torch.arange(codes.shape[0]) // group
    scales = t[name + ".scales"]
    return ((codes - zeros[of]).to(scales.dtype) * scales[of]).T.float().contiguous()


def main(work):
    rng = generator("grouped " + VARIANT)
    model = grouped.new_model(rng)
    dense = os.path.join(work, "dense")
    grouped.new_model(generator("grouped " + VARIANT)).to(torch.bfloat16).save_pretrained(dense)  # the rope's buffers with it
    save_tokenizer(dense)
    loaded = AutoModelForCausalLM.from_pretrained(dense, dtype=torch.bfloat16)
    r = AutoRound(loaded, AutoTokenizer.from_pretrained(dense), bits=4, group_size=32, sym=True, iters=0, disable_opt_rtn=True)
    r.quantize_and_save(os.path.join(work, "out"), format="auto_round")
    found = next(d for d, _, files in os.walk(os.path.join(work, "out")) if "model.safetensors" in files)
    with open(os.path.join(found, "config.json")) as f:
        quantization = json.load(f)["quantization_config"]
    tensors = load_file(os.path.join(found, "model.safetensors"))
    names = [k[:-8] for k in tensors if k.endswith(".qweight")]
    assert len(names) == 14 and any((tensors[n + ".scales"] < 0).any() for n in names), names
    grouped.finish(VARIANT, model, tensors, {n: decode(tensors, n, 4, 32) for n in names}, quantization, rng)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as where:
        os.chdir(where)  # logs are written beside
        main(where)
