"""Makes tests/golden/mlx/: models of tests/golden/models/ and floats/ whose own files stack the experts, quantized and saved by
mlx_lm, which splits what is gate and up there, and the logits that mlx_lm computes of them in float32.

    python tests/golden/make/mlx_experts_golden.py

in an environment with mlx and mlx-cpu 0.32.4 and mlx-lm 0.32.2.  tests/golden/README.md says what the files hold."""
import json
import os
import shutil
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import mlx.core as mx
import numpy as np
from mlx_lm import utils
from safetensors.numpy import save_file

mx.set_default_device(mx.cpu)
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..", "mlx")
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 89, 79]


def own_rules(path, module):
    """A stack of two halves in a width of its own and one that stays dense, the router in 8 bits."""
    if path.endswith(("0.block_sparse_moe.switch_mlp.gate_proj", "0.block_sparse_moe.switch_mlp.up_proj")):
        return {"group_size": 32, "bits": 6}
    if path.endswith("router.layer"):
        return {"group_size": 64, "bits": 8}
    return not path.endswith(("1.block_sparse_moe.switch_mlp.gate_proj", "1.block_sparse_moe.switch_mlp.up_proj"))


# name -> where it lies, keys for mlx_lm alone, mode, predicate
MODELS = {
    "granitemoe": ("models/granitemoe", {}, "affine", own_rules),
    "gemma4-moe": ("models/gemma4-moe", dict(global_head_dim=32), "affine", None),
    "gpt-oss": ("floats/gpt-oss-mxfp4", dict(rope_scaling=dict(  # mlx_lm knows truncate true alone
        rope_type="yarn", factor=4.0, beta_fast=32.0, beta_slow=1.0, truncate=True, original_max_position_embeddings=32)),
        "affine", None),
}


def make(name):
    source, keys, mode, predicate = MODELS[name]
    directory = os.path.join(TOP, name)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    with tempfile.TemporaryDirectory() as work:
        for f in ("config.json", "model.safetensors"):
            shutil.copy(os.path.join(HERE, "..", source, f), work)
        path = os.path.join(work, "config.json")
        with open(path) as f:
            config = json.load(f) | keys
        with open(path, "w") as f:
            json.dump(config, f)
        model, config = utils.load_model(Path(work), lazy=False)
        model.set_dtype(mx.float32)  # scales too: a bfloat16 one would be rounded with after each product
        model, config = utils.quantize_model(model, config, 32, 4, mode=mode, quant_predicate=predicate)
        utils.save_model(directory, model, donate_model=False)
        utils.save_config(config, os.path.join(directory, "config.json"))
    for f in os.listdir(directory):
        if f not in ("config.json", "model.safetensors"):
            os.remove(os.path.join(directory, f))
    model, _ = utils.load_model(Path(directory), lazy=False)
    logits = model(mx.array([IDS]))[0].astype(mx.float32)
    save_file({"ids": np.array(IDS, np.int32), "logits": np.array(logits)}, os.path.join(directory, "expected.safetensors"))
    print(name, sum(os.path.getsize(os.path.join(directory, f)) for f in os.listdir(directory)), float(mx.abs(logits).max()))


if __name__ == "__main__":
    for name in MODELS:
        make(name)
