"""Makes tests/golden/quant/encode.safetensors: rows of values, and the blocks that ggml's own quantizers make of them.

Run from the top of the repository, in an environment with tests/requirements.txt (xllamacpp's library has ggml's functions):
    python tests/golden/make/encode_golden.py

values float32 [N, 256], importance float32 [N, 256]; of each type, under its name, uint8 [N, bytes of 256 values],
and under NAME.weighted those of each row with its importances.  NAME.wide, NAME.wide.weighted: of the last 4 pairs of rows as rows
of 512."""
import ctypes
import glob
import os
import sysconfig

import numpy
from safetensors.numpy import save_file

TYPES = dict(Q4_0=(2, 144), Q4_1=(3, 160), Q5_0=(6, 176), Q5_1=(7, 192), Q8_0=(8, 272), Q4_K=(12, 144), Q5_K=(13, 176),
             Q6_K=(14, 210), IQ4_NL=(20, 144), MXFP4=(39, 136))


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
    importance = (numpy.random.default_rng(6).standard_normal(values.shape) ** 2).astype(numpy.float32)
    importance[14, ::3] = 0
    importance[15] *= 1e6
    out = {"values": values, "importance": importance}

    def encode(number, bytes_of_256, x, weights):
        x = numpy.ascontiguousarray(x)
        blocks = numpy.zeros((len(x), bytes_of_256 * x.shape[1] // 256), numpy.uint8)
        for row in range(len(x)):
            w = None if weights is None else numpy.ascontiguousarray(weights[row])
            size = library.ggml_quantize_chunk(number, x[row].ctypes.data, blocks[row].ctypes.data, 0, 1, x.shape[1],
                                               None if w is None else w.ctypes.data)
            assert size == blocks[row].nbytes, (number, size)
        return blocks

    for name, (number, width) in TYPES.items():
        out[name] = encode(number, width, values, None)
        out[name + ".weighted"] = encode(number, width, values, importance)
        out[name + ".wide"] = encode(number, width, values[16:].reshape(4, 512), None)
        out[name + ".wide.weighted"] = encode(number, width, values[16:].reshape(4, 512), importance[16:].reshape(4, 512))
    save_file(out, "tests/golden/quant/encode.safetensors")


main()
