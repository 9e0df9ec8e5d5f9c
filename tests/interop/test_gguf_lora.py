"""llama.cpp's convert_lora_to_gguf.py, as the source package of llama-cpp-python carries it, converts an
adapter that nibble wrote, and the values arrive.  The package is kept in ~/.cache/nibble-tests."""
import os
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file

from common import PICO, SHOP, check, main, nibble
from llama_cpp import llama_cpp

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down"}
HEADS = {"attn_q": 6, "attn_k": 2}


def permuted(b, heads):
    """llama.cpp's order of the rows of q and k: pairs beside each other instead of half a head apart."""
    return b.reshape(heads, 2, b.shape[0] // heads // 2, b.shape[1]).swapaxes(1, 2).reshape(b.shape)


def converts():
    from gguf import GGUFReader
    converter = os.path.join(llama_cpp(), "convert_lora_to_gguf.py")
    with tempfile.TemporaryDirectory() as work:
        adapter, out = os.path.join(work, "adapter"), os.path.join(work, "lora.gguf")
        nibble("finetune", PICO, "--data", SHOP, "--output-dir", adapter, "--r", 8, "--lora-alpha", 16,
               "--target-modules", "all-linear", "--max-steps", 2, "--learning-rate", "1e-3")
        done = subprocess.run([sys.executable, converter, "--base", PICO, "--outfile", out, "--outtype", "f32", adapter],
                              capture_output=True, text=True)
        check(done.returncode == 0, f"convert_lora_to_gguf.py: exit {done.returncode}: {done.stderr[-1500:]}")
        reader = GGUFReader(out)
        got = {t.name: torch.from_numpy(t.data.copy()) for t in reader.tensors}
        alpha = reader.fields["adapter.lora.alpha"].contents()
        want = load_file(os.path.join(adapter, "adapter_model.safetensors"))
    check(alpha == 16, f"adapter.lora.alpha is {alpha}, expected 16")
    check(len(got) == len(want) == 84, f"{len(got)} tensors in the GGUF, {len(want)} in the adapter, expected 84")
    for name, tensor in want.items():
        layer, module, ab = name.removeprefix("base_model.model.model.layers.").removesuffix(".weight").replace(
            ".", " ", 1).replace(".lora_", " lora_").split(" ")
        short = NAMES[module]
        if ab == "lora_B" and short in HEADS:
            tensor = permuted(tensor, HEADS[short])
        full = f"blk.{layer}.{short}.weight.{ab.lower()}"
        check(full in got, f"{full} is missing")
        check(torch.equal(got[full], tensor), f"{full} is not {name}")


if __name__ == "__main__":
    main([("llama.cpp's converter takes an adapter", converts)])
