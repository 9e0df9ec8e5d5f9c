"""Merged models against PEFT, on the golden models.

    NIBBLE=build/nibble python tests/interop/test_merge.py [nf4 sum]

- nf4: merged back into NF4, codes and scales are those of PEFT's merge_and_unload on the 4-bit base, but for the
  order in which the products of rank r are added, which rounds otherwise;
- sum: two adapters at once are PEFT's add_weighted_adapter with combination_type "cat", merged, to rounding;
- what nibble wrote opens with from_pretrained, with those logits."""
import os
import tempfile

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from common import GOLDEN, check, in_float, main, nibble, of_the_day

MODELS = of_the_day(["llama", "gptj", "falcon-7b", "qwen2", "mistral-window"], 2)
IDS = torch.tensor([[5, 17, 100, 31, 64, 77, 90, 8, 11, 30]])


def opened(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, device_map="cpu").eval()


def nf4():
    for name in MODELS:
        model = os.path.join(GOLDEN, "models", name)
        with tempfile.TemporaryDirectory() as work:
            base, out = os.path.join(work, "base"), os.path.join(work, "out")
            nibble("quantize", model, base, "--load-in-4bit", "--dtype", "float32")
            nibble("merge", base, "--adapter", os.path.join(model, "adapter"), out, "--format", "nf4")
            theirs = PeftModel.from_pretrained(opened(base), os.path.join(model, "adapter")).merge_and_unload()
            want, got, codes = theirs.state_dict(), load_file(os.path.join(out, "model.safetensors")), 0
            for key, value in got.items():
                if value.dtype == torch.uint8 and key.endswith("weight"):
                    codes += 1
                    differ = (value.flatten() != want[key].flatten()).float().mean().item()
                    check(differ < 1e-3, f"{name}: {differ:.2%} of the codes of {key}")
                    check(torch.allclose(got[key + ".absmax"], want[key + ".absmax"], rtol=1e-6, atol=0),
                          f"{name}: scales of {key}")
            check(codes > 5, f"{name}: {codes} matrices of codes")
            worst = (in_float(opened(out))(IDS).logits - in_float(theirs)(IDS).logits).abs().max().item()
            check(worst < 1e-3, f"{name}: logits differ by {worst}")


def sums():
    for name in MODELS:
        model = os.path.join(GOLDEN, "models", name)
        adapter = os.path.join(model, "adapter")
        with tempfile.TemporaryDirectory() as work:
            out = os.path.join(work, "out")
            nibble("merge", model, "--adapter", adapter, "--adapter", adapter + ":0.5", out, "--dtype", "float32")
            theirs = PeftModel.from_pretrained(opened(model), adapter, adapter_name="one")
            theirs.load_adapter(adapter, adapter_name="two")
            theirs.add_weighted_adapter(["one", "two"], [1.0, 0.5], "both", combination_type="cat")
            theirs.set_adapter("both")
            worst = (in_float(opened(out))(IDS).logits - in_float(theirs)(IDS).logits).abs().max().item()
            check(worst < 1e-4, f"{name}: logits differ by {worst}")


if __name__ == "__main__":
    main([("nf4", nf4), ("sum", sums)])
