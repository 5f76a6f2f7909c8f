"""ggml's own quantizers for benches/formats: one request per line on stdin, one answer per line on stdout.

load ROWS.f32 COLUMNS IMPORTANCE.f32   raw float32 rows, and one weight per column
encode TYPE ROWS WEIGHED               encode the first ROWS rows, with the weights if WEIGHED is 1: thread seconds
decode ROWS                            decode what was encoded last: thread seconds
save PATH                              write the bytes that were encoded last

TYPE is a GGUF type number. Needs PyPI llama-cpp-python, for its libggml-base alone.
"""
import ctypes as C
import importlib.util
import pathlib
import sys
import time

Floats = C.POINTER(C.c_float)
ToFloat = C.CFUNCTYPE(None, C.c_void_p, Floats, C.c_int64)


class Traits(C.Structure):
    """The head of ggml_type_traits in ggml.h."""

    _fields_ = [("name", C.c_char_p), ("block", C.c_int64), ("interleave", C.c_int64), ("bytes", C.c_size_t),
                ("is_quantized", C.c_bool), ("to_float", ToFloat), ("from_float_ref", C.c_void_p)]


def ggml_base():
    folder = pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent / "lib"
    base = C.CDLL(str(next(p for p in sorted(folder.iterdir()) if "ggml-base" in p.name)))
    base.ggml_quantize_chunk.argtypes = [C.c_int, Floats, C.c_void_p, C.c_int64, C.c_int64, C.c_int64, Floats]
    base.ggml_quantize_chunk.restype = C.c_size_t
    base.ggml_row_size.argtypes, base.ggml_row_size.restype = [C.c_int, C.c_int64], C.c_size_t
    base.ggml_get_type_traits.argtypes, base.ggml_get_type_traits.restype = [C.c_int], C.POINTER(Traits)
    return base


def floats(path):
    data = pathlib.Path(path).read_bytes()
    return (C.c_float * (len(data) // 4)).from_buffer_copy(data)


class Quantizer:
    def __init__(self):
        self.base = ggml_base()

    def load(self, rows, columns, importance):
        self.rows, self.columns, self.importance = floats(rows), int(columns), floats(importance)
        self.back = (C.c_float * len(self.rows))()
        return "loaded"

    def encode(self, kind, rows, weighed):
        self.kind, rows = int(kind), int(rows)
        self.bytes = (C.c_uint8 * (rows * self.base.ggml_row_size(self.kind, self.columns)))()
        C.memset(self.bytes, 1, len(self.bytes))  # touch the pages
        self.base.ggml_quantize_init(self.kind)
        weights = self.importance if weighed == "1" else None
        start = time.thread_time_ns()
        self.base.ggml_quantize_chunk(self.kind, self.rows, self.bytes, 0, rows, self.columns, weights)
        return (time.thread_time_ns() - start) / 1e9

    def decode(self, rows):
        to_float = self.base.ggml_get_type_traits(self.kind).contents.to_float
        values = int(rows) * self.columns
        start = time.thread_time_ns()
        if to_float:
            to_float(self.bytes, self.back, values)
        else:  # float32 has no decoder
            C.memmove(self.back, self.bytes, 4 * values)
        return (time.thread_time_ns() - start) / 1e9

    def save(self, path):
        pathlib.Path(path).write_bytes(self.bytes)
        return "saved"


quantizer = Quantizer()
print("ready", flush=True)
for line in sys.stdin:
    verb, *arguments = line.rstrip("\n").split("\t")
    print(getattr(quantizer, verb)(*arguments), flush=True)
