"""Models that mlx-lm quantizes on the spot: nibble's logits of its directory against those of the weights that mlx decodes.  Three a
day, --all for all.

mlx and mlx-lm need not be there (.ci/run installs tests/requirements-mlx.txt where it can): without them all is skipped."""
import importlib.util
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from common import Skip, check, check_logits, evaluate, main, of_the_day, write_ids
from models import generator, write_model
from second_shapes import VOCABULARY, shape

def lfm2_keys(config):
    width = config["hidden_size"]
    return dict(block_dim=width, conv_dim=width, conv_dim_out=width, block_ff_dim=config["intermediate_size"], block_multiple_of=32,
                block_ffn_dim_multiplier=1.0, full_attn_idxs=[i for i, k in enumerate(config["layer_types"]) if k == "full_attention"])


# variant of models.py, settings of mlx_lm: bits and group, or a mode of floats with its own; some with keys that only mlx_lm reads,
# made of config.json's
CASES = {
    "llama in 4 bits": ("llama-gqa-tied", dict(group_size=64, bits=4)),
    "llama in 8 bits": ("llama", dict(group_size=64, bits=8)),
    "llama in 3 bits": ("llama-bias", dict(group_size=32, bits=3)),
    "qwen3_moe in 4 bits": ("qwen3-moe", dict(group_size=32, bits=4)),
    "olmo2 in 6 bits": ("olmo2", dict(group_size=64, bits=6)),
    "granitemoe in 4 bits": ("granitemoe", dict(group_size=32, bits=4)),
    "qwen3 in mxfp4": ("qwen3", dict(group_size=32, bits=4, mode="mxfp4")),
    "lfm2 in 4 bits": ("lfm2", dict(group_size=32, bits=4), lfm2_keys),
    "granitemoehybrid in 4 bits": ("granite-hybrid-experts", dict(group_size=32, bits=4)),
    "llama in mxfp8": ("llama", dict(group_size=32, bits=8, mode="mxfp8")),
}


def sequences():
    rng = torch.Generator().manual_seed(5)
    return [(x, x) for x in (torch.randint(0, VOCABULARY, (n,), generator=rng) for n in (7, 40))]


def quantized(source, out, settings):
    """mlx_lm's directory of the model in `source`, and its logits with the weights that mlx decodes, in float32."""
    import mlx.core as mx
    from mlx_lm import utils
    mx.set_default_device(mx.cpu)
    model, config = utils.load_model(Path(source), lazy=False)
    model, config = utils.quantize_model(model, config, **settings)
    utils.save_model(out, model, donate_model=False)
    utils.save_config(config, os.path.join(out, "config.json"))
    decoded, _ = utils.load_model(Path(out), lazy=False)
    decoded = utils.dequantize_model(decoded)
    decoded.set_dtype(mx.float32)
    return [torch.from_numpy(np.array(decoded(mx.array([x.tolist()]))[0])) for x, _ in sequences()]


def add_keys(path, more):
    with open(path) as f:
        config = json.load(f)
    with open(path, "w") as f:
        json.dump(config | more(config), f)


def case(name):
    variant, settings, *keys = CASES[name]
    with tempfile.TemporaryDirectory() as work:
        source, theirs, path = (os.path.join(work, x) for x in ("model", "mlx", "data.jsonl"))
        write_model(source, *shape(variant), generator(name))
        for more in keys:
            add_keys(os.path.join(source, "config.json"), more)
        want = quantized(source, theirs, settings)
        write_ids(path, sequences())
        check_logits(evaluate(theirs, path)[0], want, 1e-4 * max(1, *(float(z.abs().max()) for z in want)), name)
        with safe_open(os.path.join(theirs, "model.safetensors"), "np") as f:
            check(any(n.endswith(".scales") for n in f.keys()), "mlx_lm quantized nothing")


def missing():
    raise Skip("mlx-lm is not installed")


if __name__ == "__main__":
    installed = importlib.util.find_spec("mlx") and importlib.util.find_spec("mlx_lm")
    main([(n, lambda n=n: case(n)) for n in of_the_day(CASES, 3)] if installed else [("mlx", missing)])
