"""Makes tests/golden/quant/awq.safetensors: the factors, clipped ranges and codes of activation-aware quantization of
the matrix and inputs in gptq.safetensors, computed here in numpy by the text of formats.md 7.3 and 7.4, which AutoAWQ
was held to: errors in float64 over all rows, the quantizer in float16.

    python tests/golden/make/awq_golden.py

The first 16 and the last 16 rows are two matrices of one input.  factors [160]; losses [21], of the ratios 0, 1/20, ...,
and of factors of 1; clipped [32, 160]: what clipping leaves of W diag(s)."""
import os

import numpy as np
import torch
from safetensors.torch import load_file, save_file

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "quant")
GROUP = 32


def f16(x):
    return np.asarray(x, np.float16)


def rounded(w):
    """4 bits with zero points, all operations in float16."""
    w = f16(w).reshape(len(w), -1, GROUP)
    high, low = w.max(-1, keepdims=True), w.min(-1, keepdims=True)
    scale = np.maximum(high - low, f16(1e-5)) / f16(15)
    zero = np.clip(-np.round(low / scale), 0, 15)
    code = np.clip(np.round(w / scale) + zero, 0, 15)
    return ((code.astype(np.float64) - zero.astype(np.float64)) * scale.astype(np.float64)).reshape(len(w), -1)


def factors(w, x, ratio):
    shares = np.abs(w).reshape(len(w), -1, GROUP)
    shares = (shares / (shares.max(-1, keepdims=True) + 1e-6)).reshape(w.shape)
    s = np.abs(x).mean(0) ** ratio / (shares.mean(0) ** (1 - ratio) + 1e-4)
    s = np.maximum(s, 1e-4)
    return (s / np.sqrt(s.max() * s.min())).astype(np.float32)


def clipped(w, x, s):
    w = w.copy()
    for g in range(0, w.shape[1], GROUP):
        block, inputs = w[:, g:g + GROUP], x[:, g:g + GROUP] / s[g:g + GROUP]
        most = np.abs(block).max(1, keepdims=True)
        tries = [np.clip(block, -most * (1 - k / 20), most * (1 - k / 20)) for k in range(10)]
        errors = np.stack([np.square(inputs @ (rounded(t) - block).T).sum(0) for t in tries])
        best = errors.argmin(0)
        w[:, g:g + GROUP] = np.stack([tries[k][r] for r, k in enumerate(best)])
    return w


if __name__ == "__main__":
    given = load_file(os.path.join(HERE, "gptq.safetensors"))
    w = given["w"].to(torch.float64).numpy()
    x = given["x"].to(torch.float64).numpy()
    tries = [factors(w, x, i / 20) for i in range(20)] + [np.ones(w.shape[1], np.float32)]
    losses = np.array([np.square(x @ (rounded((w * s).astype(np.float32)) / s - w).T).sum() for s in tries])
    s = tries[int(losses.argmin())]
    scaled = (w.astype(np.float32) * s)
    save_file({"factors": torch.from_numpy(s), "losses": torch.from_numpy(losses.astype(np.float32)),
               "clipped": torch.from_numpy(clipped(scaled.astype(np.float64), x, s).astype(np.float32))},
              os.path.join(HERE, "awq.safetensors"), {"numpy": np.__version__, "torch": torch.__version__})
    print(losses, losses.argmin())
