"""Makes tests/golden/floats/VARIANT/: a tiny llama in each container of E4M3 weights, with what grouped_golden.py
puts beside one (its functions are used).

    python tests/golden/make/floats_golden.py

in the environment of grouped_golden.py.  The variants ct-* were written by compressed-tensors 0.20.1; the others are
made here with torch's float8_e4m3fn, by the text of formats-quant.md 1 and 3.5, without any of nibble's code."""
import os

import grouped_golden as grouped
import torch
from models import generator

grouped.TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "floats")
E4M3 = torch.float8_e4m3fn
BLOCK = (32, 48)  # none divides both sides: edges are short


def expand(scale, shape, rows, columns):
    return scale.repeat_interleave(rows, 0)[:shape[0]].repeat_interleave(columns, 1)[:, :shape[1]]


def maxima(w, rows, columns):
    return torch.stack([torch.stack([part.abs().max() for part in band.split(columns, 1)]) for band in w.split(rows, 0)])


def encode(w, scale):
    """Codes for scales that are multiplied."""
    return (w / scale).clamp(-448, 448).to(E4M3)


def make_block(name, w, dtype=torch.float32):
    scale = (maxima(w, *BLOCK) / 448).to(dtype)
    wide = expand(scale.float(), w.shape, *BLOCK)
    q = encode(w, wide)
    return {"weight": q, "weight_scale_inv": scale}, q.float() * wide


def make_power(name, w):
    """Scales that are powers of two, stored as F8_E8M0: DeepSeek-V3.1's scale_fmt ue8m0."""
    scale = torch.exp2(torch.ceil(torch.log2(maxima(w, *BLOCK) / 448)))
    wide = expand(scale, w.shape, *BLOCK)
    q = encode(w, wide)
    return {"weight": q, "weight_scale_inv": scale.to(torch.float8_e8m0fnu)}, q.float() * wide


def make_tensor(name, w):
    """AutoFP8: one scale, and one of the inputs."""
    scale = w.abs().max() / 448
    q = encode(w, scale)
    return {"weight": q, "weight_scale": scale, "input_scale": torch.tensor(0.5)}, q.float() * scale


def make_inverse(name, w):
    """GPTQModel: reciprocals, a row."""
    scale = 448 / w.abs().amax(1)
    q = (w * scale[:, None]).clamp(-448, 448).to(E4M3)
    return {"weight": q, "weight_scale_inv": scale}, q.float() / scale[:, None]


MADE = {
    "fp8-block": (make_block, {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3",
                               "weight_block_size": list(BLOCK), "modules_to_not_convert": ["lm_head", "layers.0.mlp"]}),
    "fp8-power": (make_power, {"quant_method": "fp8", "activation_scheme": "dynamic", "scale_fmt": "ue8m0",
                               "weight_block_size": list(BLOCK), "ignored_layers": ["lm_head"]}),
    "fp8-inverse": (make_inverse, {"quant_method": "fp8", "format": "float8_e4m3fn", "weight_scale_method": "row",
                                   "weight_scale_semantics": "inverse", "bits": 8, "lm_head": False}),
    "modelopt": (make_tensor, {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head", "*layers.1.mlp*"],
                               "kv_cache_scheme": None, "producer": {"name": "modelopt", "version": "0.47.0"}}),
}
DENSE = {"fp8-block": ["lm_head", "layers.0.mlp"], "modelopt": ["lm_head", "layers.1.mlp"]}


def make(variant):
    rng = generator("floats " + variant)
    model = grouped.new_model(rng)
    maker, quantization = MADE[variant]
    tensors, decoded = {}, {}
    for name, m in model.named_modules():
        if isinstance(m, torch.nn.Linear) and not any(e in name for e in DENSE.get(variant, ["lm_head"])):
            parts, decoded[name] = maker(name, m.weight.data)
            tensors |= {f"{name}.{k}": v.contiguous() for k, v in parts.items()}
    grouped.finish(variant, model, tensors | grouped.rest(model, decoded), decoded, quantization, rng)


FLOAT = {"num_bits": 8, "type": "float", "symmetric": True}
LIBRARY = {"ct-float": {"config_groups": {
    "group_0": {"targets": ["Linear"], "weights": FLOAT | {"strategy": "channel"},
                "input_activations": FLOAT | {"strategy": "token", "dynamic": True}}}, "ignore": ["lm_head"]}}


def make_library(variant):
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    rng = generator("floats " + variant)
    model = grouped.new_model(rng).to(torch.bfloat16)
    apply_quantization_config(model, QuantizationConfig(quantization_status="initialized", **LIBRARY[variant]))
    decoded = {}
    for name, m in model.named_modules():
        if not hasattr(m, "weight_scale"):
            continue
        args, w = m.quantization_scheme.weights, m.weight.data
        scale, zero = calculate_qparams(w.amin(1, keepdim=True), w.amax(1, keepdim=True), args)
        m.weight_scale.data.copy_(scale)
        q = quantize(w, m.weight_scale, None, args, dtype=E4M3)
        decoded[name] = dequantize(q, m.weight_scale, None, args).float()
    grouped.write_library(variant, model, "floats " + variant, decoded, rng)


if __name__ == "__main__":
    for v in MADE:
        make(v)
    for v in LIBRARY:
        make_library(v)
