"""Makes tests/golden/quant/mlx.safetensors: small matrices that mlx.core quantized, in every width, group and type,
with what it decodes of them; and tests/golden/grouped/mlx*/: tiny models that mlx_lm quantized and saved, a PEFT
adapter for each, and what transformers and PEFT compute in float32 with the weights that mlx decodes.

    python tests/golden/make/mlx_golden.py

in an environment with tests/requirements.txt, mlx and mlx-cpu 0.32.4 and mlx-lm 0.32.2."""
import copy
import json
import os
import shutil
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import mlx.core as mx
import numpy as np
import torch
from grouped_golden import SETTINGS, TOP, new_model
from mlx_lm import utils
from models import generator, record, sequences
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

mx.set_default_device(mx.cpu)
HERE = os.path.dirname(os.path.abspath(__file__))
FLOATS = [("mxfp4", 32, 4), ("nvfp4", 16, 4), ("mxfp8", 32, 8)]
TYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
GROUPED = SETTINGS | dict(max_position_embeddings=256)


def to_torch(x):
    """Bit for bit: numpy has no bfloat16."""
    kinds = {mx.bfloat16: (mx.uint16, torch.bfloat16), mx.uint32: (mx.uint32, torch.uint32)}
    seen, kind = kinds.get(x.dtype, (x.dtype, None))
    t = torch.from_numpy(np.array(x.view(seen)))
    return t.view(kind) if kind else t


def make_matrices():
    """Two groups a row (of 128, one), 33 rows: a panel and one more.  Negative and positive ranges, zeros, one value alone."""
    rng = np.random.default_rng(16)
    out = {}
    for i, bits in enumerate((2, 3, 4, 5, 6, 8)):
        for j, group in enumerate((32, 64, 128)):
            name = list(TYPES)[(i + j) % 3]
            x = rng.standard_normal((33, min(2 * group, 128))).astype(np.float32) * np.linspace(0.01, 2, 33)[:, None].astype(np.float32)
            x[3] = np.abs(x[3])
            x[4] = -np.abs(x[4])
            x[5] = 0
            x[6] = 0.25
            w = mx.array(x).astype(TYPES[name])
            q, scales, biases = mx.quantize(w, group, bits)
            decoded = mx.dequantize(q, scales, biases, group, bits)
            assert decoded.dtype == w.dtype
            key = f"{bits}.{group}"
            out |= {f"{key}.values": to_torch(w), f"{key}.weight": to_torch(q), f"{key}.scales": to_torch(scales),
                    f"{key}.biases": to_torch(biases), f"{key}.decoded": to_torch(decoded)}
    for mode, group, bits in FLOATS:
        x = rng.standard_normal((33, 64)).astype(np.float32) * np.geomspace(0.001, 50, 33)[:, None].astype(np.float32)
        x[5] = 0
        q, scales = mx.quantize(mx.array(x).astype(mx.bfloat16), group, bits, mode)
        out |= {f"{mode}.weight": to_torch(q), f"{mode}.scales": to_torch(scales),
                f"{mode}.decoded": to_torch(mx.dequantize(q, scales, None, group, bits, mode))}
    # the originals are made of those of one width, to keep the file small
    out = {k: v for k, v in out.items() if not k.endswith(".values") or k[0] == "3"}
    path = os.path.join(HERE, "..", "quant", "mlx.safetensors")
    save_file(out, path, {"format": "mlx"})
    print(path, os.path.getsize(path))


def mixed(path, module):
    """Two widths and groups, and a module that stays dense."""
    if path.endswith("layers.0.self_attn.v_proj"):
        return {"group_size": 64, "bits": 6}
    if path.endswith("layers.1.mlp.down_proj"):
        return {"group_size": 32, "bits": 3, "mode": "affine"}
    if path.endswith("layers.1.self_attn.o_proj"):
        return {"group_size": 64, "bits": 8}
    return not path.endswith("layers.0.mlp.up_proj")


def experts(path, module):
    """As the family has it, the router in 8 bits; a stack of experts by a rule of its own."""
    if path.endswith("mlp.gate"):
        return {"group_size": 64, "bits": 8}
    return {"group_size": 32, "bits": 6} if path.endswith("switch_mlp.down_proj") else True


def floats(path, module):
    """Each mode of floats in some module, beside integers."""
    for end, (mode, group, bits) in zip(("q_proj", "down_proj", "o_proj"), FLOATS):
        if path.endswith(end):
            return {"group_size": group, "bits": bits, "mode": mode}
    return True


# variant -> settings, type of the file, group, bits, predicate
MODELS = {
    "mlx": (GROUPED, "bfloat16", 32, 4, mixed),
    # intermediate_size is no whole number of groups: down_proj stays dense
    "mlx-floats": (GROUPED, "bfloat16", 32, 4, floats),
    "mlx-moe": (dict(model_type="qwen3_moe", vocab_size=128, hidden_size=64, intermediate_size=64, num_hidden_layers=2,
                     num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=256,
                     rms_norm_eps=1e-5, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, norm_topk_prob=True,
                     decoder_sparse_step=1, mlp_only_layers=[0], tie_word_embeddings=False), "bfloat16", 32, 4, experts),
    "mlx-tied": (GROUPED | dict(model_type="qwen2", tie_word_embeddings=True), "float16", 64, 5, None),
}


def decoded_of(module):
    w = mx.dequantize(module.weight, module.scales, module.get("biases"), module.group_size, module.bits, module.mode)
    return to_torch(w.astype(mx.float32))


def make_model(variant):
    settings, dtype, group, bits, predicate = MODELS[variant]
    rng = generator("mlx " + variant)
    directory = os.path.join(TOP, variant)
    source, made = tempfile.mkdtemp(), tempfile.mkdtemp()
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    model = new_model(rng, settings)
    copy.deepcopy(model).to(getattr(torch, dtype)).save_pretrained(source)
    for p in model.parameters():
        p.data = p.data.to(getattr(torch, dtype)).float()
    theirs, config = utils.load_model(utils.Path(source), lazy=False)
    theirs, config = utils.quantize_model(theirs, config, group, bits, quant_predicate=predicate)
    utils.save_model(made, theirs, donate_model=False)
    utils.save_config(config, os.path.join(made, "config.json"))
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(os.path.join(made, name), os.path.join(directory, name))
    decoded = {}
    for name, module in theirs.named_modules():
        if "scales" in module:
            made_of = decoded_of(module)
            stack = name.replace("switch_mlp", "experts.{}")
            for i, w in enumerate(made_of if made_of.ndim == 3 else [made_of]):
                decoded[stack.format(i)] = w
                model.get_submodule(stack.format(i)).weight.data.copy_(w)
    finish(directory, model, decoded, rng)
    shutil.rmtree(source)
    shutil.rmtree(made)


def finish(directory, model, decoded, rng):
    ids, labels = sequences(rng)
    out = {}
    for i, (x, y) in enumerate(zip(ids, labels)):
        out[f"ids.{i}"], out[f"labels.{i}"] = x.int(), y.int()
    names = [n for n in decoded if n != "lm_head" and "embed" not in n]
    for name in names[-2:]:
        out[f"decoded.{name}"] = decoded[name].clone()
    with torch.no_grad():
        record(out, "", model, ids, labels)
    lora = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, p in lora.named_parameters():
        if p.requires_grad:
            p.data.copy_(torch.randn(p.shape, generator=rng) * 0.1)
    lora.save_pretrained(os.path.join(directory, "adapter"))
    os.remove(os.path.join(directory, "adapter", "README.md"))
    path = os.path.join(directory, "adapter", "adapter_config.json")
    with open(path) as f:
        stored = json.load(f)
    stored["target_modules"].sort()  # PEFT keeps a set: its order changes from run to run
    with open(path, "w") as f:
        json.dump(stored, f, indent=2, sort_keys=True)
    record(out, "lora.", lora, ids, labels, gradients=True)
    save_file(out, os.path.join(directory, "expected.safetensors"))
    print(directory, len(decoded), sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(directory) for f in fs))


if __name__ == "__main__":
    if not sys.argv[1:]:
        make_matrices()
    for v in sys.argv[1:] or MODELS:
        make_model(v)
