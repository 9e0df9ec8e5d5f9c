"""Attention of gpt_oss (sinks, with a window and without) and of gemma2 (soft cap), forward and backward, and the three RMS norms
of llama, olmo2 and gemma2 in bfloat16: tests/golden/kernel/operations.safetensors.  What is computed is transformers' own functions
and modules, in their eager form."""
import os
from types import SimpleNamespace

import torch
from safetensors.torch import save_file
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward as gemma2_attention
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward as gpt_oss_attention
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "kernel")
T, HEADS, KV, D, SCALE, CAP, WIDTH = 11, 4, 2, 8, 0.45, 1.5, 40
torch.manual_seed(3)


def mask(window):
    i = torch.arange(T)
    seen = (i[None] <= i[:, None]) & (i[None] > i[:, None] - window)
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]


def attend(name, function, window, sinks, **more):
    """Rows of all heads, as nibble keeps them: [T, heads * D]."""
    q, k, v = (torch.randn(1, n, T, D, requires_grad=True) for n in (HEADS, KV, KV))
    s = torch.randn(HEADS, requires_grad=True)
    module = SimpleNamespace(num_key_value_groups=HEADS // KV, sinks=s, training=False)
    o, _ = function(module, q, k, v, mask(window), scaling=SCALE, dropout=0.0, **more)
    d_o = torch.randn_like(o)
    (o * d_o).sum().backward()
    rows = lambda x: x.detach()[0].transpose(0, 1).reshape(T, -1).contiguous()
    out = {"q": rows(q), "k": rows(k), "v": rows(v), "o": o.detach()[0].reshape(T, -1), "d_o": d_o[0].reshape(T, -1),
           "dq": rows(q.grad), "dk": rows(k.grad), "dv": rows(v.grad)}
    if sinks:
        out |= {"sinks": s.detach(), "d_sinks": s.grad}
    return {f"{name}.{key}": value for key, value in out.items()}


def norms():
    x = torch.randn(5, WIDTH).bfloat16()
    w = torch.randn(WIDTH).bfloat16()
    out = {"norm.x": x, "norm.w": w.float()}
    for name, module in (("first", LlamaRMSNorm), ("last", Olmo2RMSNorm), ("one_plus", Gemma2RMSNorm)):
        norm = module(WIDTH, eps=1e-6)
        norm.weight.data = w
        out[f"norm.{name}"] = norm(x).detach()
    return out


if __name__ == "__main__":
    os.makedirs(HERE, exist_ok=True)
    save_file({**attend("sinks", gpt_oss_attention, T, True), **attend("window", gpt_oss_attention, 4, True),
               **attend("cap", gemma2_attention, T, False, softcap=CAP), **norms()}, os.path.join(HERE, "operations.safetensors"))
