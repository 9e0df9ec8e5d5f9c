"""llama.cpp itself, as the wheel of xllamacpp carries it: one shared object that exports the C API, called through ctypes.

Parameters are structs passed by value.  Only the few fields at their beginning that matter here are named; the rest is room, for a
function reads its own size of it and the defaults come from llama.cpp."""
import ctypes
import glob
import importlib.util
import os

import numpy as np

from common import Skip

P, I, F = ctypes.c_void_p, ctypes.c_int32, ctypes.c_float
TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q2_K": 10, "Q3_K": 11, "Q4_K": 12, "Q5_K": 13,
         "Q6_K": 14, "IQ4_NL": 20, "IQ4_XS": 23, "BF16": 30, "MXFP4": 39}


class Room(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint8 * 1024)]


class Context(ctypes.Structure):
    _fields_ = [("n_ctx", ctypes.c_uint32), ("n_batch", ctypes.c_uint32), ("n_ubatch", ctypes.c_uint32), ("other", I * 4),
                ("threads", I), ("batch_threads", I), ("kinds", I * 2), ("pooling", I), ("attention", I), ("flash", I), ("ropes", I * 12), ("k", I), ("v", I),
                ("rest", ctypes.c_uint8 * 912)]


class Batch(ctypes.Structure):
    _fields_ = [("count", I), ("tokens", ctypes.POINTER(I)), ("embd", P), ("pos", ctypes.POINTER(I)), ("seq_count", ctypes.POINTER(I)),
                ("seq", ctypes.POINTER(ctypes.POINTER(I))), ("wanted", ctypes.POINTER(ctypes.c_int8))]


SIGNATURES = {
    "llama_backend_init": (None, ()), "llama_log_set": (None, (P, P)),
    "llama_model_default_params": (Room, ()), "llama_context_default_params": (Context, ()),
    "llama_model_load_from_file": (P, (ctypes.c_char_p, Room)), "llama_model_free": (None, (P,)),
    "llama_init_from_model": (P, (P, Context)), "llama_free": (None, (P,)),
    "llama_model_get_vocab": (P, (P,)), "llama_vocab_n_tokens": (I, (P,)), "llama_model_n_embd": (I, (P,)),
    "llama_batch_init": (Batch, (I, I, I)), "llama_batch_free": (None, (Batch,)), "llama_decode": (I, (P, Batch)),
    "llama_get_logits": (ctypes.POINTER(F), (P,)), "llama_get_embeddings": (ctypes.POINTER(F), (P,)),
    "llama_set_embeddings": (None, (P, ctypes.c_bool)),
    "llama_adapter_lora_init": (P, (P, ctypes.c_char_p)), "llama_set_adapters_lora": (I, (P, ctypes.POINTER(P), ctypes.c_size_t, ctypes.POINTER(F))),
    "llama_tokenize": (I, (P, ctypes.c_char_p, I, ctypes.POINTER(I), I, ctypes.c_bool, ctypes.c_bool)),
    "ggml_quantize_chunk": (ctypes.c_size_t, (I, P, P, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, P)),
}
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
_library = None
_log = ctypes.CFUNCTYPE(None, I, ctypes.c_char_p, P)
lines = []  # what llama.cpp reported, for messages


@_log
def _keep(level, text, _):
    lines.append((text or b"").decode(errors="replace"))


def library():
    """llama.cpp, ready; Skip where the wheel is not installed."""
    global _library
    if _library:
        return _library
    spec = importlib.util.find_spec("xllamacpp")
    if not spec:
        raise Skip("xllamacpp is not installed")
    found = glob.glob(os.path.join(os.path.dirname(spec.origin), "*.so"))
    library = ctypes.CDLL(found[0])
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, list(arguments)
    library.llama_log_set(_keep, None)
    library.llama_backend_init()
    _library = library
    return library


class Model:
    """A GGUF file in llama.cpp, with adapters or without."""

    def __init__(self, path, adapter=None):
        self.lib = library()
        del lines[:]
        self.model = self.lib.llama_model_load_from_file(os.fsencode(path), self.lib.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"{path}: llama.cpp does not load it: {''.join(lines[-6:])}")
        params = self.lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 256
        params.threads = params.batch_threads = 1
        assert (params.flash, params.k, params.v) == (-1, 1, 1), "another version of llama_context_params"
        params.flash = params.k = params.v = 0  # keys and values as floats: nothing but the weights is rounded
        params.pooling = 0  # rows of an encoder one by one
        self.context = self.lib.llama_init_from_model(self.model, params)
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        if adapter:
            loaded = self.lib.llama_adapter_lora_init(self.model, os.fsencode(adapter))
            if not loaded:
                raise RuntimeError(f"{adapter}: llama.cpp does not load it: {''.join(lines[-6:])}")
            self.lib.llama_set_adapters_lora(self.context, (P * 1)(loaded), 1, (F * 1)(1.0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lib.llama_free(self.context)
        self.lib.llama_model_free(self.model)

    def tokens(self, text, special=True):
        data, room = text.encode(), (I * (len(text.encode()) + 16))()
        count = self.lib.llama_tokenize(self.vocab, data, len(data), room, len(room), special, True)
        return list(room[:count])

    def _run(self, ids):
        batch = self.lib.llama_batch_init(len(ids), 0, 1)
        batch.count = len(ids)
        for i, token in enumerate(ids):
            batch.tokens[i], batch.pos[i], batch.seq_count[i], batch.seq[i][0], batch.wanted[i] = int(token), i, 1, 0, 1
        failed = self.lib.llama_decode(self.context, batch)
        self.lib.llama_batch_free(batch)
        if failed:
            raise RuntimeError(f"llama_decode: {failed}: {''.join(lines[-6:])}")

    def logits(self, ids):
        self._run(ids)
        width = self.lib.llama_vocab_n_tokens(self.vocab)
        return np.ctypeslib.as_array(self.lib.llama_get_logits(self.context), (len(ids), width)).copy()

    def embeddings(self, ids):
        self.lib.llama_set_embeddings(self.context, True)
        self._run(ids)
        width = self.lib.llama_model_n_embd(self.model)
        return np.ctypeslib.as_array(self.lib.llama_get_embeddings(self.context), (len(ids), width)).copy()


def quantize(values, kind, importance=None):
    """The bytes that ggml makes of rows of float32; importance: a weight of each column."""
    values = np.ascontiguousarray(values, np.float32)
    out = np.zeros(values.size * 4, np.uint8)
    if importance is not None:
        importance = np.ascontiguousarray(importance, np.float32)
    used = library().ggml_quantize_chunk(TYPES[kind], values.ctypes.data, out.ctypes.data, 0, values.size // values.shape[-1],
                                         values.shape[-1], importance.ctypes.data if importance is not None else None)
    return out[:used].tobytes()
