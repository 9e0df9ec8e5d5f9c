"""Makes tests/golden/grouped/VARIANT/: a tiny llama in each container of grouped integers, a PEFT adapter, and
what transformers and PEFT compute in float32 with the decoded weights.

    python tests/golden/make/grouped_golden.py

in an environment with tests/requirements.txt and compressed-tensors 0.20.1, which writes the variants ct-*.
Those of GPTQ, AutoRound and AWQ are packed here, by the text of formats.md 6, 7 and formats-quant.md 4, without
any of nibble's code: the libraries that write them do not run beside these versions.

expected.safetensors holds what models.py's does, and `decoded.NAME`, the weights of some modules."""
import json
import os
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from models import LLAMA, fill, generator, record, sequences
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "grouped")
SETTINGS = LLAMA | dict(num_key_value_heads=2, intermediate_size=96)
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def stream(values, bits):
    """[n, columns] codes as [n * bits / 32, columns] words: a little-endian stream of bits down each column."""
    values = values.astype(np.uint64)
    words = np.zeros((values.shape[0] * bits // 32, values.shape[1]), np.uint64)
    for v in range(values.shape[0]):
        at = v * bits
        words[at // 32] |= values[v] << np.uint64(at % 32) & np.uint64(0xffffffff)
        if at % 32 + bits > 32:
            words[at // 32 + 1] |= values[v] >> np.uint64(32 - at % 32)
    return torch.from_numpy(words.astype(np.uint32).view(np.int32).copy())


def grid(w, bits, group, sym, dtype, groups=None):
    """Codes [in, out], zeros and scales [groups, out], and the decoded weight, of round to nearest."""
    w = w.float().T  # [in, out]
    n = w.shape[0]
    group = n if group == -1 else group
    groups = torch.arange(n) // group if groups is None else groups
    count, top = int(groups.max()) + 1, 2**bits - 1
    scales, zeros = torch.zeros(count, w.shape[1]), torch.zeros(count, w.shape[1])
    for g in range(count):
        part = w[groups == g]
        low, high = part.min(0).values, part.max(0).values
        if sym:
            scales[g], zeros[g] = torch.maximum(-low, high) * 2 / top, (top + 1) // 2
        else:
            scales[g] = (high - low) / top
            zeros[g] = torch.clamp(torch.round(-low / scales[g]), 0, top)
    zeros[0, :3] = 0 if not sym else zeros[0, :3]  # what the first version of GPTQ stores as -1
    scales = scales.to(dtype)
    codes = torch.clamp(torch.round(w / scales.float()[groups]) + zeros[groups], 0, top)
    decoded = scales[groups] * (codes - zeros[groups]).to(dtype)
    return codes.numpy(), zeros.numpy(), scales, decoded.T.float().contiguous()


def gptq(w, bits, group, sym, zeros="words", order=None, dtype=torch.float16, g_idx=True):
    codes, z, scales, decoded = grid(w, bits, group, sym, dtype, order)
    packed = stream(z.T, bits).numpy().view(np.uint32)  # words down the outputs
    if zeros == "words":
        ones = sum(1 << at for at in range(0, 32, bits))
        packed = packed - np.uint32(ones)
    elif zeros == "fields":
        packed = stream((z.T - 1) % 2**bits, bits).numpy().view(np.uint32)
    out = {"qweight": stream(codes, bits), "scales": scales,
           "qzeros": torch.from_numpy(np.ascontiguousarray(packed.T).view(np.int32).copy())}
    if g_idx:
        n = w.shape[1]
        out["g_idx"] = (torch.arange(n) // (n if group == -1 else group) if order is None else order).int()
    return out, decoded


def awq_words(values):
    """[rows, out] as [rows, out / 8]: nibble j of a word is column order[j]."""
    values = values.astype(np.uint32).reshape(values.shape[0], -1, 8)
    words = sum(values[:, :, AWQ_ORDER[j]] << np.uint32(4 * j) for j in range(8)).astype(np.uint32)
    return torch.from_numpy(words.view(np.int32).copy())


def awq(w, group, dtype=torch.float16):
    codes, zeros, scales, decoded = grid(w, 4, group, False, dtype)
    return {"qweight": awq_words(codes), "qzeros": awq_words(zeros), "scales": scales}, decoded


def make_gptq(name, w, rng):
    """GPTQModel 7.7: first version, z = 0 among the zero points; an 8-bit head."""
    if name == "lm_head":
        return gptq(w, 8, 32, True)
    return gptq(w, 4, 32, False)


def make_order(name, w, rng):
    """Second version, act-order, 3 bits; a dense layer, 8 bits in some modules."""
    if name == "lm_head" or name.startswith("model.layers.0."):
        return None
    if ".mlp." in name:
        return gptq(w, 8, 64, True, zeros="plain")
    order = torch.arange(w.shape[1]) // 32
    return gptq(w, 3, 32, True, zeros="plain", order=order[torch.randperm(w.shape[1], generator=rng)])


def make_round(name, w, rng):
    """AutoRound's own container: zero points as they are, no g_idx, a row a group."""
    return None if name == "lm_head" else gptq(w, 2, -1, False, zeros="plain", g_idx=False)


def make_three(name, w, rng):
    """AutoGPTQ, 3 bits, symmetric, first version field by field; bfloat16 scales."""
    return None if name == "lm_head" else gptq(w, 3, 32, True, zeros="fields", dtype=torch.bfloat16)


def make_awq(name, w, rng):
    return None if name == "lm_head" else awq(w, 32)


PACKED = {
    "gptq": (make_gptq, {
        "bits": 4, "group_size": 32, "desc_act": False, "lm_head": True, "method": "gptq", "quant_method": "gptq",
        "format": "gptq", "checkpoint_format": "gptq", "pack_dtype": "int32", "sym": False,
        "dynamic": {"lm_head": {"bits": 8, "group_size": 32, "sym": True, "desc_act": False, "mse": 2.4}},
        "meta": {"quantizer": ["gptqmodel:7.7.0"], "damp_percent": 0.05}}),
    "gptq-order": (make_order, {
        "bits": 3, "group_size": 32, "desc_act": True, "lm_head": False, "quant_method": "gptq", "format": "gptq_v2",
        "checkpoint_format": "gptq_v2", "pack_dtype": "int32", "sym": True,
        "dynamic": {"-:model\\.layers\\.0\\..*": {}, ".*\\.mlp\\..*": {"bits": 8, "group_size": 64}}}),
    "auto-round": (make_round, {
        "bits": 2, "group_size": -1, "sym": False, "data_type": "int", "quant_method": "auto-round",
        "packing_format": "auto_round", "autoround_version": "0.16.1"}),
    "gptq-3": (make_three, {"bits": 3, "group_size": 32, "damp_percent": 0.01, "desc_act": False, "sym": True,
                            "true_sequential": True, "quant_method": "gptq"}),
    "awq": (make_awq, {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm",
                       "modules_to_not_convert": None}),
}

INT4 = {"num_bits": 4, "type": "int", "symmetric": False, "strategy": "group", "group_size": 32}
CHANNEL = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
ACTIVATIONS = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
LIBRARY = {
    # exact name before expression before class
    "ct-packed": {"config_groups": {
        "group_0": {"targets": ["Linear"], "weights": INT4 | {"num_bits": 3, "symmetric": True}},
        "group_1": {"targets": ["re:.*self_attn.*"], "weights": INT4},
        "group_2": {"targets": ["model.layers.1.self_attn.o_proj"], "weights": CHANNEL}},
        "ignore": ["lm_head", "re:model.layers.0.mlp.*"]},
    "ct-int": {"config_groups": {
        "group_0": {"targets": ["Linear"], "weights": CHANNEL, "input_activations": ACTIVATIONS}}, "ignore": ["lm_head"]},
}


def new_model(rng, settings=SETTINGS):
    settings = dict(settings)
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    fill(model, rng)
    for name, m in model.named_modules():  # scales of every group differ
        if isinstance(m, torch.nn.Linear):
            m.weight.data *= torch.linspace(0.5, 1.5, m.weight.shape[1])
    for p in model.parameters():  # not of the buffers: the rope's are float32
        p.data = p.data.to(torch.bfloat16).float()
    return model


def finish(variant, model, tensors, decoded, quantization, rng):
    directory = os.path.join(TOP, variant)
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    config = model.config.to_dict() | {"quantization_config": quantization, "dtype": "bfloat16",
                                       "architectures": ["LlamaForCausalLM"]}
    with open(os.path.join(directory, "config.json"), "w") as f:
        json.dump(config, f, indent=1, sort_keys=True)
    save_file(tensors, os.path.join(directory, "model.safetensors"), {"format": "pt"})
    for name, w in decoded.items():
        model.get_submodule(name).weight.data.copy_(w)
    ids, labels = sequences(rng)
    out = {}
    for i, (x, y) in enumerate(zip(ids, labels)):
        out[f"ids.{i}"], out[f"labels.{i}"] = x.int(), y.int()
    for name in list(decoded)[-2:]:
        out[f"decoded.{name}"] = decoded[name].clone()
    with torch.no_grad():
        record(out, "", model, ids, labels)
    lora = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=[
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], task_type="CAUSAL_LM"))
    for name, p in lora.named_parameters():
        if p.requires_grad:
            p.data.copy_(torch.randn(p.shape, generator=rng) * 0.1)
    lora.save_pretrained(os.path.join(directory, "adapter"))
    os.remove(os.path.join(directory, "adapter", "README.md"))
    record(out, "lora.", lora, ids, labels, gradients=True)
    save_file(out, os.path.join(directory, "expected.safetensors"))
    print(variant, sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(directory) for f in fs))


def rest(model, packed):
    return {k: v.to(torch.bfloat16).contiguous() for k, v in model.state_dict().items()
            if k.removesuffix(".weight") not in packed}


def make_packed(variant):
    rng = generator("grouped " + variant)
    model = new_model(rng)
    maker, quantization = PACKED[variant]
    tensors, decoded = {}, {}
    for name, m in model.named_modules():
        if not isinstance(m, torch.nn.Linear):
            continue
        made = maker(name, m.weight.data, rng)
        if made is None:
            continue
        tensors |= {f"{name}.{k}": v.contiguous() for k, v in made[0].items()}
        decoded[name] = made[1]
    finish(variant, model, tensors | rest(model, decoded), decoded, quantization, rng)


def make_library(variant):
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
    from compressed_tensors.quantization.utils import calculate_qparams

    rng = generator("grouped " + variant)
    model = new_model(rng).to(torch.bfloat16)
    apply_quantization_config(model, QuantizationConfig(quantization_status="initialized", **LIBRARY[variant]))
    decoded = {}
    for name, m in model.named_modules():
        if not hasattr(m, "quantization_scheme") or not hasattr(m, "weight_scale"):
            continue
        args = m.quantization_scheme.weights
        w = m.weight.data
        parts = w.reshape(w.shape[0], -1, args.group_size) if args.group_size else w[:, None]
        scale, zero = calculate_qparams(parts.amin(-1), parts.amax(-1), args)
        m.weight_scale.data.copy_(scale)
        if hasattr(m, "weight_zero_point"):
            m.weight_zero_point.data.copy_(zero)
        q = quantize(w, m.weight_scale, getattr(m, "weight_zero_point", None), args, dtype=torch.int8)
        decoded[name] = dequantize(q, m.weight_scale, getattr(m, "weight_zero_point", None), args).float()
    write_library(variant, model, "grouped " + variant, decoded, rng)


def write_library(variant, model, seed, decoded, rng):
    from compressed_tensors.compressors import ModelCompressor

    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    tensors = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    scratch = tempfile.mkdtemp()
    with open(os.path.join(scratch, "config.json"), "w") as f:
        f.write("{}")
    compressor.update_config(scratch)
    with open(os.path.join(scratch, "config.json")) as f:
        quantization = json.load(f)["quantization_config"]
    shutil.rmtree(scratch)
    fresh = new_model(generator(seed))
    finish(variant, fresh, tensors, decoded, quantization, rng)


if __name__ == "__main__":
    for v in PACKED:
        make_packed(v)
    for v in LIBRARY:
        make_library(v)
