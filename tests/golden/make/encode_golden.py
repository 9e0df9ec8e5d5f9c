"""Makes tests/golden/quant/encode.safetensors: rows of values, and the blocks that ggml's own quantizers make of them.

Run from the top of the repository, in an environment with tests/requirements.txt and xllamacpp
(2026.10.11549), whose library has
ggml's functions:
    python tests/golden/make/encode_golden.py

values float32 [N, 256]; of each type, under its name, uint8 [N, bytes of 256 values]."""
import ctypes
import glob
import os
import sysconfig

import numpy
from safetensors.numpy import save_file

TYPES = dict(Q4_0=(2, 144), Q4_1=(3, 160), Q5_0=(6, 176), Q5_1=(7, 192), Q8_0=(8, 272), Q4_K=(12, 144), Q5_K=(13, 176),
             Q6_K=(14, 210))


def rows():
    r = numpy.random.default_rng(5)
    x = r.standard_normal((24, 256)).astype(numpy.float32)
    x[1] = 0
    x[2] = abs(x[2])
    x[3] = -abs(x[3])
    x[4] = numpy.round(x[4] * 2) / 2       # ties
    x[5] *= 1e-20
    x[6] = 1.5
    x[7, ::2] = 0
    x[8, 32:64] = 0                        # one part of zeros
    x[9, :16] = 0.25
    x[10] *= numpy.repeat(10.0 ** r.uniform(-4, 4, 8), 32).astype(numpy.float32)
    x[11, 5] = 300                         # an outlier
    x[12] = numpy.float16(x[12] * 0.02)
    x[13] = numpy.tile(numpy.arange(-16, 16), 8) / 4
    return x


def main():
    package = os.environ.get("XLLAMACPP", os.path.join(sysconfig.get_path("purelib"), "xllamacpp"))
    library = ctypes.CDLL(glob.glob(os.path.join(package, "*.so"))[0])
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                            ctypes.c_int64, ctypes.c_void_p]
    values = rows()
    out = {"values": values}
    for name, (number, width) in TYPES.items():
        blocks = numpy.zeros((len(values), width), numpy.uint8)
        size = library.ggml_quantize_chunk(number, values.ctypes.data, blocks.ctypes.data, 0, len(values), 256, None)
        assert size == blocks.nbytes, (name, size)
        out[name] = blocks
    save_file(out, "tests/golden/quant/encode.safetensors")


main()
