"""Makes tests/golden/quant/bnb4.bin with bitsandbytes 0.50.2 on the CPU.

Run from the top of the repository with torch and bitsandbytes installed:
    python tests/golden/make/bnb4_golden.py
A record (little-endian) is
    u8 source (0: values follow, 1: a matrix of models/pico), u8 dtype (0 f32, 1 f16, 2 bf16),
    u8 fp4, u8 nested, u32 blocksize, u32 out, u32 in, u16 length, name, [values]
    u64 FNV-1a of: codes, absmax (f32), 8-bit absmax, nested absmax, decoded f32 (0: not recorded)
    f32 offset, u16 length, quant_state text
NaN block scales are hashed as 7fc00000; decoded values come from the library's plain path (its
vector path restarts blocks on each row)."""
import struct
import sys

import bitsandbytes.functional as F
import numpy as np
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from safetensors.torch import load_file

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def fnv(data):
    h = 0xCBF29CE484222325
    for b in data:
        h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def raw(t):
    return t.contiguous().view(torch.uint8).numpy().tobytes()


def record(out, source, name, x, quant_type, blocksize, nested):
    packed, plain = F.quantize_4bit(x, blocksize=blocksize, quant_type=quant_type)
    absmax = plain.absmax.numpy().copy()
    absmax[np.isnan(absmax)] = np.uint32(0x7FC00000).view(np.float32)
    hashes = [fnv(packed.numpy().tobytes()), fnv(absmax.tobytes()), 0, 0, 0]
    offset, state = 0.0, plain
    if nested:
        again, state = F.quantize_4bit(x, blocksize=blocksize, quant_type=quant_type, compress_statistics=True)
        assert torch.equal(again, packed)
        offset = state.offset.item()
        hashes[2] = fnv(state.absmax.numpy().tobytes())
        hashes[3] = fnv(state.state2.absmax.numpy().tobytes())
        scale = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
    else:
        scale = plain.absmax
    if np.isfinite(absmax).all():
        code = state.code
        dec = _dequantize_4bit_compute(packed.reshape(-1), scale, code, blocksize, x.shape, torch.float32)
        hashes[4] = fnv((dec + 0).numpy().tobytes())
    key = "bitsandbytes__" + quant_type
    text = raw(state.as_dict(packed=True)["quant_state." + key])
    out.write(struct.pack("<4B3IH", source, DTYPES.index(x.dtype), quant_type == "fp4", nested, blocksize,
                          x.shape[0], x.shape[1], len(name)) + name.encode())
    if source == 0:
        out.write(raw(x))
    out.write(struct.pack("<5QfH", *hashes, offset, len(text)) + text)


def synthetic(g, quant_type, out, inn):
    """Normal values with ties between codes, their neighbours, zeros and tiny values strewn in."""
    code = np.sort(F.get_4bit_type(quant_type, device="cpu").numpy())
    mid = (code[:-1] + code[1:]) / np.float32(2)
    hard = np.concatenate([mid, np.nextafter(mid, np.float32(2)), np.nextafter(mid, np.float32(-2)),
                           np.float32([0, -0.0, 1, -1, 1e-30, 1e-9])]).astype(np.float32)
    x = np.clip(g.standard_normal(out * inn) / 2, -1, 1).astype(np.float32)
    k = np.arange(0, x.size, 5)
    x[k] = g.choice(hard, k.size)
    return torch.from_numpy(x.reshape(out, inn))


def main():
    g = np.random.default_rng(20240607)
    pico = load_file("models/pico/model.safetensors")
    with open("tests/golden/quant/bnb4.bin", "wb") as out:
        for quant_type in ("nf4", "fp4"):
            for dtype in DTYPES:
                for blocksize, shape in ((64, (5, 96)), (32, (3, 37)), (128, (4, 129)), (4096, (3, 1500))):
                    if blocksize == 4096 and dtype != torch.float32:
                        continue
                    x = synthetic(g, quant_type, *shape).to(dtype)
                    record(out, 0, "", x, quant_type, blocksize, False)
            for kind in range(5):
                x = synthetic(g, quant_type, 3, 100)
                if kind == 0:
                    x[0, :70] = 0  # a whole block of zeros
                if kind == 1:
                    x[2, 20:] = 0  # a short last block of zeros
                if kind == 2:
                    x[1, 7] = float("nan")
                if kind == 3:
                    x[1, 7] = float("-inf")
                if kind == 4:
                    x *= 1e-39
                record(out, 0, "", x, quant_type, 64, False)
            for name in sorted(n for n, t in pico.items() if t.dim() == 2 and ".layers." in n):
                record(out, 1, name, pico[name], quant_type, 64, False)
                record(out, 1, name, pico[name], quant_type, 64, True)
            for dtype in DTYPES:
                for blocksize in (32, 128, 256, 512, 1024, 2048, 4096):
                    name = "model.layers.3.mlp.down_proj.weight"
                    record(out, 1, name, pico[name].to(dtype), quant_type, blocksize, blocksize < 200)


if __name__ == "__main__":
    sys.exit(main())
