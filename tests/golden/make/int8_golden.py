"""Makes tests/golden/quant/int8.safetensors with bitsandbytes 0.50.2 and torch 2.13.0 on the CPU.

Run from the top of the repository with torch, bitsandbytes and safetensors installed:
    python tests/golden/make/int8_golden.py

numbers.NAME.*    a row of numbers x in both ways of include/nibble/int8.h: absmax.codes and absmax
                  from int8_vectorwise_quant, zero.codes, zero.step and zero.point from torch's
                  MinMaxObserver of qint8 (per_tensor_affine) and quantize_per_tensor.
weight.TYPE.*     a matrix w [24, 200] of float32, float16 or bfloat16 as Linear8bitLt quantizes it:
                  codes [24, 200], SCB [24].
product.*         rows x [6, 200] times the float32 matrix above plus bias, by Linear8bitLt in eval
                  mode, each row by itself: y.none without outliers (threshold 0), y.six with
                  threshold 6, which rows 1 to 4 have 1, 3, 60 and 200 of; row 5 is zero.
                  x.bfloat16 and y.bfloat16: the same in bfloat16, threshold 6.  grad: of
                  sum(y * dy) for x, training mode.  y.train: training mode, which multiplies by
                  the dequantized matrix."""
import bitsandbytes as bnb
import bitsandbytes.functional as F
import torch
from safetensors.torch import save_file
from torch.ao.quantization import MinMaxObserver

OUT, IN = 24, 200


def numbers(name, x, to):
    codes, absmax, _ = F.int8_vectorwise_quant(x[None].clone())
    observer = MinMaxObserver(dtype=torch.qint8, qscheme=torch.per_tensor_affine)
    observer(x)
    step, point = observer.calculate_qparams()
    affine = torch.quantize_per_tensor(x, float(step), int(point), torch.qint8)
    to.update({f"numbers.{name}.x": x, f"numbers.{name}.absmax.codes": codes[0],
               f"numbers.{name}.absmax": absmax, f"numbers.{name}.zero.codes": affine.int_repr(),
               f"numbers.{name}.zero.step": step, f"numbers.{name}.zero.point": point.to(torch.int32),
               f"numbers.{name}.zero.restored": affine.dequantize()})


def linear(w, bias, threshold):
    made = bnb.nn.Linear8bitLt(IN, OUT, bias=bias is not None, has_fp16_weights=False, threshold=threshold)
    made.weight = bnb.nn.Int8Params(w.clone(), requires_grad=False, has_fp16_weights=False).to("cpu")
    if bias is not None:
        made.bias = torch.nn.Parameter(bias.clone(), requires_grad=False)
    return made


def each_row(layer, x):
    layer.eval()
    with torch.no_grad():
        return torch.cat([layer(x[i:i + 1]) for i in range(len(x))])


def main():
    torch.manual_seed(8)
    to = {}
    numbers("example", torch.tensor([1.2, -0.5, -4.3, 1.2, -3.1, 0.8, 2.4, 5.4]), to)
    numbers("normal", torch.randn(1000), to)
    numbers("relu", torch.randn(333).relu() * 40, to)
    numbers("negative", -torch.rand(77) - 3, to)
    numbers("halves", torch.arange(-254, 255).float() / 2, to)

    w = torch.randn(OUT, IN) * torch.logspace(-3, 1, OUT)[:, None]
    w[7] = 0
    w[:7] = (w[:7] * 64).round() / 64 * torch.rand(7, 1)  # halves of the greatest: ties, by how a quotient is rounded
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        layer = linear(w.to(kind), None, 0.0)
        name = "weight." + str(kind).removeprefix("torch.")
        to.update({name + ".w": w.to(kind), name + ".codes": layer.weight.data.clone(),
                   name + ".SCB": layer.weight.SCB.clone()})

    x = torch.randn(6, IN).clamp(-5.9, 5.9)
    for row, count in ((1, 1), (2, 3), (3, 60), (4, IN)):
        columns = torch.randperm(IN)[:count]
        x[row, columns] = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) * (6 + 30 * torch.rand(count))
    x[5] = 0
    x[2, 0] = 5.9999  # 6.0 in float16: an outlier
    bias, dy = torch.randn(OUT), torch.randn(6, OUT)
    low = x.to(torch.bfloat16)
    to.update({"product.x": x, "product.bias": bias, "product.dy": dy, "product.y.none": each_row(linear(w, bias, 0.0), x),
               "product.y.six": each_row(linear(w, bias, 6.0), x), "product.x.bfloat16": low,
               "product.y.bfloat16": each_row(linear(w, bias.to(torch.bfloat16), 6.0), low)})
    layer = linear(w, bias, 6.0).train()
    x = x.clone().requires_grad_()
    y = layer(x)
    (y * dy).sum().backward()
    to.update({"product.y.train": y.detach(), "product.grad": x.grad})
    save_file({k: v.contiguous() for k, v in to.items()}, "tests/golden/quant/int8.safetensors")


main()
