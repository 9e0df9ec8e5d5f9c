"""Makes tests/golden/quant/gptq.safetensors: a small matrix, inputs, and what GPTQ makes of them, computed here
in float64 with numpy by the text of formats.md 6.6, which GPTQModel 7.7 was held to.

    python tests/golden/make/gptq_golden.py

w [32, 160] and x [192, 160] (bfloat16; three inputs are always 0, neighbours are alike); CASE.codes, CASE.scales,
CASE.zeros, CASE.g_idx, and CASE.error, the squared error of the outputs."""
import os

import numpy as np
import torch
from safetensors.torch import save_file

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "quant", "gptq.safetensors")
ROWS, INPUTS, SAMPLES, BLOCK = 32, 160, 192, 128
# name, bits, group (-1: rows), symmetric, desc_act ("aware": act_group_aware), static_groups, mse
CASES = [("plain4", 4, 32, True, False, False, 0), ("asym4", 4, 32, False, False, False, 0),
         ("rows4", 4, -1, False, False, False, 0), ("act4", 4, 32, True, True, False, 0),
         ("actrows3", 3, -1, True, True, False, 0), ("static4", 4, 64, False, True, True, 0),
         ("mse3", 3, 32, True, False, False, 2.4), ("mseact2", 2, 64, False, True, False, 2.4),
         ("eight", 8, 64, True, True, True, 0), ("aware3", 3, 64, True, "aware", False, 0)]


def data():
    rng = np.random.default_rng(7)
    w = rng.standard_normal((ROWS, INPUTS)).astype(np.float32) * 0.05
    x = rng.standard_normal((SAMPLES, INPUTS)) @ (np.eye(INPUTS) + 0.6 * np.eye(INPUTS, k=1) + 0.3 * np.eye(INPUTS, k=5))
    x *= np.exp(rng.standard_normal(INPUTS))
    x[:, [3, 64, 159]] = 0
    return w, torch.from_numpy(x).to(torch.bfloat16)


def parameters(w, bits, sym, mse):
    """Scales and zero points of the rows of w."""
    low, high = np.minimum(w.min(1), 0), np.maximum(w.max(1), 0)
    if sym:
        high = np.maximum(-low, high)
        low = -high
    top = 2**bits - 1
    flat = (low == 0) & (high == 0)
    low, high = np.where(flat, -1, low), np.where(flat, 1, high)

    def grid(share):
        scale = (high - low) * share / top
        return scale, np.full_like(scale, (top + 1) // 2) if sym else np.round(-low * share / scale)

    best = grid(1)
    if not mse:
        return best
    def distance(g):
        q = g[0][:, None] * (np.clip(np.round(w / g[0][:, None]) + g[1][:, None], 0, top) - g[1][:, None])
        return (np.abs(q - w) ** mse).sum(1)
    least = distance(best)
    for i in range(1, 80):
        g = grid(1 - i / 100)
        d = distance(g)
        better = (d < least) & ~flat
        least = np.where(better, d, least)
        best = tuple(np.where(better, a, b) for a, b in zip(g, best))
    return best


def gptq(w, h, bits, group, sym, desc_act, static, mse):
    w, h = w.astype(np.float64), h.copy()
    n, top = w.shape[1], 2**bits - 1
    groups = 1 if group == -1 else -(-n // group)
    size = n if group == -1 else group
    scales, zeros = np.zeros((groups, len(w))), np.zeros((groups, len(w)))
    if group == -1:
        scales[0], zeros[0] = parameters(w, bits, sym, mse)
    dead = np.diag(h) == 0
    h[dead, dead] = 1
    w[:, dead] = 0
    if static and group != -1:
        for g in range(groups):
            scales[g], zeros[g] = parameters(w[:, g * size:(g + 1) * size], bits, sym, mse)
    order = np.argsort(-np.diag(h), kind="stable") if desc_act is True else np.arange(n)
    if desc_act == "aware":
        whole = np.diag(h)[:n // size * size].reshape(-1, size)
        parts = [g * size + np.argsort(-whole[g], kind="stable") for g in np.argsort(-whole.max(1), kind="stable")]
        order = np.concatenate(parts + [np.arange(n // size * size, n)])
    w, h = w[:, order], h[np.ix_(order, order)]
    h = h + 0.05 * np.diag(h).mean() * np.eye(n)
    u = np.linalg.cholesky(np.linalg.inv(h)).T
    codes, g_idx = np.zeros((len(w), n), np.uint8), np.zeros(n, np.int32)
    for b in range(0, n, BLOCK):
        e = min(b + BLOCK, n)
        block, errors = w[:, b:e].copy(), np.zeros((len(w), e - b))
        for c in range(b, e):
            g = order[c] // size if static or desc_act == "aware" else c // size
            if group != -1 and not static and c % size == 0:
                scales[g], zeros[g] = parameters(w[:, c:c + size], bits, sym, mse)
            code = np.clip(np.round(block[:, c - b] / scales[g]) + zeros[g], 0, top)
            codes[:, order[c]], g_idx[order[c]] = code, g
            errors[:, c - b] = (block[:, c - b] - scales[g] * (code - zeros[g])) / u[c, c]
            block[:, c - b:] -= np.outer(errors[:, c - b], u[c, c:e])
        w[:, e:] -= errors @ u[b:e, e:]
    return codes, scales, zeros.astype(np.uint8), g_idx


if __name__ == "__main__":
    w, x = data()
    rows = x.to(torch.float64).numpy()
    h = rows.T @ rows
    out = {"w": torch.from_numpy(w), "x": x}
    for name, *settings in CASES:
        codes, scales, zeros, g_idx = gptq(w, h, *settings)
        decoded = scales[g_idx].T * (codes - zeros[g_idx].T.astype(np.float64))
        out |= {f"{name}.codes": torch.from_numpy(codes), f"{name}.scales": torch.from_numpy(scales.astype(np.float32)),
                f"{name}.zeros": torch.from_numpy(zeros), f"{name}.g_idx": torch.from_numpy(g_idx),
                f"{name}.error": torch.tensor([np.square(rows @ (w - decoded).T).sum()], dtype=torch.float32)}
    save_file(out, OUT, {"numpy": np.__version__, "torch": torch.__version__})
