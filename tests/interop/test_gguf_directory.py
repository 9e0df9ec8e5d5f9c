"""transformers opens the directories that export makes of GGUF files and computes what it computed of the models that these were
converted from; tokenizers give the same ids."""
import os
import tempfile

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from common import GOLDEN, PICO, WithTransformers5, check, main, nibble, of_the_day

FAMILIES = sorted(f[:-5] for f in os.listdir(os.path.join(GOLDEN, "gguf")) if f.endswith(".gguf"))
NEWER = int(transformers.__version__.split(".")[0]) >= 5
FIVE = ["gemma4", "gemma4-moe", "ministral3", "qwen3-5", "qwen3-5-moe"]  # which transformers 4 lacks


def models():
    expected = load_file(os.path.join(GOLDEN, "gguf", "expected.safetensors"))
    for name in FIVE if NEWER else of_the_day([f for f in FAMILIES if f not in FIVE], 8):
        with tempfile.TemporaryDirectory() as work:
            out = os.path.join(work, "hf")
            nibble("export", os.path.join(GOLDEN, "gguf", name + ".gguf"), out)
            kind = AutoModel if "bert" in name else AutoModelForCausalLM
            model, report = kind.from_pretrained(out, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
            lacking = {n for v in report.values() for n in v if not n.startswith("pooler.")}
            check(not lacking, f"{name}: {report}")
            with torch.no_grad():
                made = model(expected["ids"][None].long())
            got = (made.last_hidden_state if "bert" in name else made.logits)[0]
            worst = ((got - expected[name]).abs().max() / expected[name].abs().max()).item()
            check(worst <= 1e-5, f"{name}: logits differ by {worst:.3g} of the largest")


def tokenizer():
    with open(os.path.join(GOLDEN, "text", "strings"), "rb") as f:
        strings = [s.decode() for s in f.read().split(b"\x01")[:-1]]
    with tempfile.TemporaryDirectory() as work:
        file, out = os.path.join(work, "pico.gguf"), os.path.join(work, "hf")
        nibble("export", PICO, file, "--quantize", "BF16")
        nibble("export", file, out)
        want, got = load_file(os.path.join(PICO, "model.safetensors")), load_file(os.path.join(out, "model.safetensors"))
        check(want.keys() == got.keys() and all(torch.equal(want[n], got[n]) and want[n].dtype == got[n].dtype for n in want),
              "pico: other tensors")
        before, after = AutoTokenizer.from_pretrained(PICO), AutoTokenizer.from_pretrained(out)
        for s in strings:
            check(before(s)["input_ids"] == after(s)["input_ids"], f"pico: {s!r} has other ids")
        turns = [{"role": "user", "content": "Hello"}]
        check(before.apply_chat_template(turns, tokenize=False) == after.apply_chat_template(turns, tokenize=False),
              "pico: another chat template")
        check((before.eos_token, before.bos_token, before.pad_token) == (after.eos_token, after.bos_token, after.pad_token),
              "pico: other special tokens")


if __name__ == "__main__":
    newer = "transformers 5 opens what was a GGUF"
    elsewhere = WithTransformers5(__file__, [newer])
    main([("transformers opens what was a GGUF", models), (newer, models if NEWER else lambda: elsewhere.case(newer)),
          ("tokenizer of what was a GGUF", tokenizer)])
