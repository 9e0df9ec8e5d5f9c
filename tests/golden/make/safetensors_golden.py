"""Makes tests/golden/format/*.safetensors with the reference library (safetensors 0.8.0, numpy).

Run from the top of the repository: python3 tests/golden/make/safetensors_golden.py
"""
import json
import os
import numpy as np
from safetensors.numpy import save_file

OUT = "tests/golden/format"
os.makedirs(OUT, exist_ok=True)


def ramp(dtype, *shape):
    n = int(np.prod(shape))
    return (np.arange(n) % 251).astype(dtype).reshape(shape)


# Every type numpy has, odd lengths, rank 0, an empty tensor, names that need escapes.
save_file({
    "z.u8": ramp(np.uint8, 5),
    "a.bool": np.array([True, False, True]),
    "b.i8": ramp(np.int8, 3),
    "c.i16": ramp(np.int16, 2, 2),
    "d.u16": ramp(np.uint16, 3),
    "e.f16": ramp(np.float16, 2, 3),
    "f.i32": ramp(np.int32, 4),
    "g.u32": ramp(np.uint32, 1),
    "h.f32": ramp(np.float32, 2, 1, 3),
    "i.f64": ramp(np.float64, 2),
    "j.i64": ramp(np.int64, 2),
    "k.u64": ramp(np.uint64, 1),
    "scalar": np.array(7, dtype=np.float32),
    "empty": np.zeros((0, 4), dtype=np.float32),
    'quote"back\\slash\ttab': ramp(np.float32, 1),
    "größe.日本": ramp(np.uint8, 2),
}, f"{OUT}/every-type.safetensors", metadata={"format": "pt"})

save_file({"test": np.zeros((2, 2), dtype=np.int32)}, f"{OUT}/small.safetensors")
