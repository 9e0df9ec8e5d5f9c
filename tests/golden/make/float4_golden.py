"""Makes tests/golden/floats/{ct-nvfp4,ct-mxfp4,modelopt-nvfp4}/: a tiny llama in E2M1 weights, with what grouped_golden.py puts
beside one (its functions are used).

    python tests/golden/make/float4_golden.py ct-nvfp4 ct-mxfp4      in the environment of grouped_golden.py
    python tests/golden/make/float4_golden.py modelopt-nvfp4         with nvidia-modelopt 0.47.0 in place of compressed-tensors

The library of the name writes the tensors and decodes them."""
import os
import sys

import grouped_golden as grouped
import torch
from models import generator

grouped.TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "floats")
FLOAT4 = {"num_bits": 4, "type": "float", "symmetric": True, "dynamic": False}
LIBRARY = {
    "ct-nvfp4": FLOAT4 | {"strategy": "tensor_group", "group_size": 16, "scale_dtype": "torch.float8_e4m3fn"},
    "ct-mxfp4": FLOAT4 | {"strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"},
}


def make_library(variant):
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    rng = generator("floats " + variant)
    model = grouped.new_model(rng).to(torch.bfloat16)
    scheme = {"group_0": {"targets": ["Linear"], "weights": LIBRARY[variant]}}
    apply_quantization_config(model, QuantizationConfig(quantization_status="initialized", config_groups=scheme,
                                                        ignore=["lm_head", "model.layers.0.mlp.up_proj"]))
    compressor = BaseCompressor.get_value_from_registry(variant[3:] + "-pack-quantized")
    decoded = {}
    for name, m in model.named_modules():
        if not hasattr(m, "weight_scale"):
            continue
        args, w = m.quantization_scheme.weights, m.weight.data
        parts = w.reshape(w.shape[0], -1, args.group_size)
        more = {}
        if args.strategy == "tensor_group":
            m.weight_global_scale.data.copy_(generate_gparam(w.amin(), w.amax()))
            more["global_scale"] = m.weight_global_scale
        scale, _ = calculate_qparams(parts.amin(-1), parts.amax(-1), args, **more)
        m.weight_scale.data.copy_(scale)
        state = {k: v.data for k, v in m.named_parameters() if k.startswith("weight")}
        packed = compressor.compress(state, m.quantization_scheme)
        decoded[name] = compressor.decompress(packed, m.quantization_scheme)["weight"].float() + 0.0  # -0 is 0
    grouped.write_library(variant, model, "floats " + variant, decoded, rng)


def make_modelopt(variant):
    from modelopt.torch.quantization.qtensor import NVFP4QTensor

    rng = generator("floats " + variant)
    model = grouped.new_model(rng)
    tensors, decoded = {}, {}
    for name, m in model.named_modules():
        if not isinstance(m, torch.nn.Linear) or "lm_head" in name or "layers.1.mlp" in name:
            continue
        w = m.weight.data.to(torch.bfloat16)
        q, scale, scale_2 = NVFP4QTensor.quantize(w, 16)
        tensors |= {f"{name}.weight": q._quantized_data, f"{name}.weight_scale": scale.contiguous(),
                    f"{name}.weight_scale_2": scale_2.float(), f"{name}.input_scale": torch.tensor(0.01)}
        decoded[name] = q.dequantize(torch.bfloat16, scale=scale, double_scale=scale_2, block_sizes={-1: 16}).float() + 0.0
    quantization = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "*layers.1.mlp*"],
                    "kv_cache_scheme": None, "producer": {"name": "modelopt", "version": "0.47.0"}}
    grouped.finish(variant, model, tensors | grouped.rest(model, decoded), decoded, quantization, rng)


if __name__ == "__main__":
    for v in sys.argv[1:]:
        (make_library if v in LIBRARY else make_modelopt)(v)
