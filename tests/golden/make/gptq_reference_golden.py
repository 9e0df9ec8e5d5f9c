"""Makes tests/golden/quant/gptq_reference.safetensors: what GPTQModel's own class for one matrix makes of the matrix
and the inputs of gptq_golden.py: its Hessian, and with that the codes.

    GPTQMODEL_CPU_WORKERS=2 python tests/golden/make/gptq_reference_golden.py    (GPTQModel 7.7.0, torch 2.13.0)

Its H is 2 / n x^T x, of inputs that are always 0 the diagonal is 1, and equal diagonals have no order (an unstable
sort): x is scaled so that H is x^T x, and the sort made stable, so that such inputs have the places they have here.
hessian: the upper triangle of H, row by row; CASE.codes [out, in],
CASE.g_idx [in], CASE.error its own mean loss."""
import functools
import os

import torch
from gptqmodel import QuantizeConfig
from gptqmodel.quantization.gptq import GPTQ
from safetensors.torch import load_file, save_file

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "quant")
CASES = [("plain4", 4, 32, True, False, False, False), ("asym4", 4, 32, False, False, False, False),
         ("rows4", 4, -1, False, False, False, False), ("act4", 4, 32, True, True, False, False),
         ("actrows3", 3, -1, True, True, False, False), ("static4", 4, 64, False, True, True, False),
         ("eight", 8, 64, True, True, True, False), ("aware3", 3, 64, True, False, False, True)]


def quantize(w, x, bits, group, sym, desc_act, static, aware):
    config = QuantizeConfig(bits=bits, group_size=group, sym=sym, desc_act=desc_act, static_groups=static,
                            act_group_aware=aware)
    linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    linear.weight.data = w.clone()
    task = GPTQ(linear, config)
    task.quantizer.configure(perchannel=True)
    for batch in (x.float() * (len(x) / 2) ** .5).split(48):
        task.add_batch(batch[None], None)
    hessian = task.finalize_hessian().clone()
    q, scales, zeros, g_idx, _, error, _, _ = task.quantize()
    scales, zeros, g_idx = scales.float().cpu(), zeros.float().cpu(), g_idx.to(torch.int32)
    by = scales[:, g_idx.long()]
    codes = torch.round(q.float() / by + zeros[:, g_idx.long()])
    assert ((codes - zeros[:, g_idx.long()]) * by - q.float()).abs().max() < 1e-5
    return hessian, codes.to(torch.uint8), g_idx, error


def main():
    torch.argsort = functools.partial(torch.argsort, stable=True)
    given = load_file(os.path.join(HERE, "gptq.safetensors"))
    out = {}
    for name, *settings in CASES:
        hessian, codes, g_idx, error = quantize(given["w"], given["x"], *settings)
        rows, columns = torch.triu_indices(*hessian.shape)
        out["hessian"] = hessian[rows, columns].contiguous()
        differ = (codes != given[name + ".codes"]).sum().item()
        print(f"{name}: {differ} of {codes.numel()} codes differ from gptq_golden.py's, error {error}")
        out.update({name + ".codes": codes.contiguous(), name + ".g_idx": g_idx})
    save_file(out, os.path.join(HERE, "gptq_reference.safetensors"))


if __name__ == "__main__":
    main()
